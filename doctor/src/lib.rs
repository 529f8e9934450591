//! Decides in which order a deployment is looked at, so that the first thing found wrong is the cause and not a consequence.
//!
//! A walk signs in, uploads a video of three kilobytes as a browser would, waits for its pictures, asks for them as a viewer
//! would, and deletes it again, also after a step has failed. It knows Glimpse by its wire alone, and neither Cloudflare's
//! nor AWS's side needs to be asked with credentials. Whoever has some can have the roles looked at first: `roles`.

mod bucket;
mod clock;
mod delivery;
mod edge;
mod http;
pub mod issue;
mod processing;
pub mod report;
pub mod roles;

use std::time::Duration;

use jiff::Timestamp;

use crate::http::{WebClient, WebRequest, WebResponse};
use crate::issue::Issue;
use crate::report::{CheckReport, Finding};

/// The video: two seconds of 160 by 90 pixels, made by
/// `ffmpeg -f lavfi -i "gradients=s=160x90:r=10:d=2:c0=0x204080:c1=0xf0c060:speed=0.05" -c:v libx264 -preset veryslow -crf 30
/// -g 10 -pix_fmt yuv420p -movflags +faststart -fflags +bitexact -flags:v +bitexact -map_metadata -1 clip.mp4`.
const CLIP: &[u8] = include_bytes!("../clip.mp4");

/// What is looked at, and as whom.
#[derive(Clone)]
pub struct Settings {
    /// The Worker's origin, without a slash at its end.
    pub edge: String,
    /// Who asks, if anybody does.
    pub credential: Option<ApiCredential>,
    /// The origins whose pages upload; the Worker's own if there is none.
    pub origins: Vec<String>,
    /// How long the pictures may take.
    pub processing_timeout: Duration,
}

/// How a caller proves who he is. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub enum ApiCredential {
    /// A bearer token.
    Token(String),
    /// A browser's session cookie, `name=value`.
    Cookie(String),
}

impl std::fmt::Debug for ApiCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiCredential(***)")
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("edge", &self.edge)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

/// What a step hands on and what it has seen, or what is wrong.
type CheckResult<T> = Result<(T, String), Finding>;

fn fail<T>(issue: Issue, observed: impl Into<String>) -> CheckResult<T> {
    Err(Finding::new(issue, observed))
}

/// Somebody who looks.
#[derive(Debug)]
struct CheckContext<'a> {
    client: WebClient,
    settings: &'a Settings,
    now: fn() -> Timestamp,
}

impl CheckContext<'_> {
    /// Asks the edge as nobody in particular.
    async fn fetch(&self, request: WebRequest<'_>) -> Result<WebResponse, Finding> {
        self.client.send(request).await.map_err(|why| Finding::new(Issue::Unreachable, why))
    }

    /// Asks the API as whoever looks.
    async fn fetch_as_caller(&self, mut request: WebRequest<'_>) -> Result<WebResponse, Finding> {
        match &self.settings.credential {
            Some(ApiCredential::Token(token)) => {
                request = request.with_header("authorization", format!("Bearer {token}"))
            }
            Some(ApiCredential::Cookie(cookie)) => {
                request = request.with_header("cookie", cookie).with_header("origin", &self.settings.edge);
            }
            None => {}
        }
        self.fetch(request).await
    }

    fn url(&self, path: &str) -> String {
        [&self.settings.edge, path].concat()
    }

    /// The origins whose pages upload.
    fn origins(&self) -> Vec<&str> {
        match self.settings.origins.as_slice() {
            [] => vec![&self.settings.edge],
            origins => origins.iter().map(String::as_str).collect(),
        }
    }
}

/// The walk is over before its end: a step has found something wrong.
struct CheckAborted;

/// Keeps the steps, and tells each when it is done.
struct CheckLog<T> {
    reports: Vec<CheckReport>,
    on_report: T,
}

impl<T: FnMut(&CheckReport)> CheckLog<T> {
    fn record<V>(&mut self, check: &'static str, result: CheckResult<V>) -> Result<V, CheckAborted> {
        let (value, result) = match result {
            Ok((value, observed)) => (Ok(value), Ok(observed)),
            Err(finding) => (Err(CheckAborted), Err(finding)),
        };
        let report = CheckReport { name: check, result };
        (self.on_report)(&report);
        self.reports.push(report);
        value
    }
}

/// Walks, tells each step when it is done, and answers all of them: at most one is a failure, and then nearly the last, since
/// only the deletion comes after it.
///
/// # Errors
/// This machine cannot ask anybody.
pub async fn run_checks(
    settings: &Settings,
    now: fn() -> Timestamp,
    on_report: impl FnMut(&CheckReport),
) -> anyhow::Result<Vec<CheckReport>> {
    let context = CheckContext { client: WebClient::new()?, settings, now };
    let mut log = CheckLog { reports: Vec::new(), on_report };
    let mut video_id = None;
    let outcome = run_check_sequence(&context, &mut log, &mut video_id).await;
    if let Some(video) = video_id {
        let deleted = edge::delete_video(&context, &video).await;
        match (outcome, deleted) {
            // What was wrong before is the cause, and one thing is said.
            (Err(CheckAborted), Err(finding)) => {
                let leftover = format!("the video {video} is left behind: {}", finding.observed);
                let _ = log.record("delete", Ok(((), leftover)));
            }
            (_, deleted) => {
                let _ = log.record("delete", deleted);
            }
        }
    }
    Ok(log.reports)
}

async fn run_check_sequence<T: FnMut(&CheckReport)>(
    context: &CheckContext<'_>,
    log: &mut CheckLog<T>,
    video_id: &mut Option<String>,
) -> Result<(), CheckAborted> {
    log.record("edge", edge::check_reachable(context).await)?;
    log.record("token", edge::check_sign_in(context).await)?;
    let grant = log.record("grant", edge::request_upload(context).await)?;
    *video_id = Some(grant.video.to_string());
    log.record("clock", clock::check_local(context, &grant))?;
    log.record("bucket", bucket::check_reachable(context, &grant).await)?;
    log.record("cors", bucket::check_cors(context, &grant).await)?;
    log.record("limits", bucket::check_enforcement(context, &grant).await)?;
    log.record("upload", bucket::check_upload(context, &grant).await)?;
    log.record("once", bucket::check_write_once(context, &grant).await)?;
    log.record("private", bucket::check_private(context, &grant).await)?;
    log.record("pictures", processing::check_outcome(context, &grant).await)?;
    let picture = log.record("delivery", delivery::check_poster(context, &grant).await)?;
    log.record("etag", delivery::check_conditional(context, &picture).await)?;
    log.record("render", delivery::check_render(context, &grant).await)?;
    log.record("cache", delivery::check_cache(context, &picture).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_credentials() {
        let settings = Settings {
            edge: "https://video.example".into(),
            credential: Some(ApiCredential::Token("hush".into())),
            origins: Vec::new(),
            processing_timeout: Duration::from_secs(1),
        };
        let text = format!("{settings:?} {:?}", settings.credential);
        assert!(text.contains("video.example") && !text.contains("hush"), "{text}");
    }
}
