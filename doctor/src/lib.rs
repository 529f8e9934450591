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

use crate::http::{Answer, Question, Web};
use crate::issue::Ill;
use crate::report::{Finding, Step};

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
    pub proof: Option<Proof>,
    /// The origins whose pages upload; the Worker's own if there is none.
    pub origins: Vec<String>,
    /// How long the pictures may take.
    pub wait: Duration,
}

/// How a caller proves who he is. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// A bearer token.
    Token(String),
    /// A browser's session cookie, `name=value`.
    Cookie(String),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(***)")
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
type Found<T> = Result<(T, String), Finding>;

fn ill<T>(ill: Ill, seen: impl Into<String>) -> Found<T> {
    Err(Finding::new(ill, seen))
}

/// Somebody who looks.
#[derive(Debug)]
struct Visit<'a> {
    web: Web,
    settings: &'a Settings,
    now: fn() -> Timestamp,
}

impl Visit<'_> {
    /// Asks the edge as nobody in particular.
    async fn look(&self, question: Question<'_>) -> Result<Answer, Finding> {
        self.web.ask(question).await.map_err(|why| Finding::new(Ill::Unreachable, why))
    }

    /// Asks the API as whoever looks.
    async fn call(&self, mut question: Question<'_>) -> Result<Answer, Finding> {
        match &self.settings.proof {
            Some(Proof::Token(token)) => question = question.with("authorization", format!("Bearer {token}")),
            Some(Proof::Cookie(cookie)) => {
                question = question.with("cookie", cookie).with("origin", &self.settings.edge);
            }
            None => {}
        }
        self.look(question).await
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
struct Stopped;

/// Keeps the steps, and tells each when it is done.
struct Record<T> {
    steps: Vec<Step>,
    tell: T,
}

impl<T: FnMut(&Step)> Record<T> {
    fn note<V>(&mut self, name: &'static str, found: Found<V>) -> Result<V, Stopped> {
        let (value, result) = match found {
            Ok((value, seen)) => (Ok(value), Ok(seen)),
            Err(finding) => (Err(Stopped), Err(finding)),
        };
        let step = Step { name, result };
        (self.tell)(&step);
        self.steps.push(step);
        value
    }
}

/// Walks, tells each step when it is done, and answers all of them: at most one is a failure, and then nearly the last, since
/// only the deletion comes after it.
///
/// # Errors
/// This machine cannot ask anybody.
pub async fn examine(
    settings: &Settings,
    now: fn() -> Timestamp,
    tell: impl FnMut(&Step),
) -> anyhow::Result<Vec<Step>> {
    let visit = Visit { web: Web::new()?, settings, now };
    let mut record = Record { steps: Vec::new(), tell };
    let mut granted = None;
    let walked = walk(&visit, &mut record, &mut granted).await;
    if let Some(video) = granted {
        let deleted = edge::delete(&visit, &video).await;
        match (walked, deleted) {
            // What was wrong before is the cause, and one thing is said.
            (Err(Stopped), Err(finding)) => {
                let left = format!("the video {video} is left behind: {}", finding.seen);
                let _ = record.note("delete", Ok(((), left)));
            }
            (_, deleted) => {
                let _ = record.note("delete", deleted);
            }
        }
    }
    Ok(record.steps)
}

async fn walk<T: FnMut(&Step)>(
    visit: &Visit<'_>,
    record: &mut Record<T>,
    granted: &mut Option<String>,
) -> Result<(), Stopped> {
    record.note("edge", edge::reach(visit).await)?;
    record.note("token", edge::sign_in(visit).await)?;
    let grant = record.note("grant", edge::grant(visit).await)?;
    *granted = Some(grant.video.to_string());
    record.note("clock", clock::ours(visit, &grant))?;
    record.note("bucket", bucket::reach(visit, &grant).await)?;
    record.note("cors", bucket::preflight(visit, &grant).await)?;
    record.note("limits", bucket::limits(visit, &grant).await)?;
    record.note("upload", bucket::upload(visit, &grant).await)?;
    record.note("once", bucket::once(visit, &grant).await)?;
    record.note("private", bucket::private(visit, &grant).await)?;
    record.note("pictures", processing::outcome(visit, &grant).await)?;
    let picture = record.note("delivery", delivery::picture(visit, &grant).await)?;
    record.note("etag", delivery::conditional(visit, &picture).await)?;
    record.note("render", delivery::render(visit, &grant).await)?;
    record.note("cache", delivery::cache(visit, &picture).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_does_not_print() {
        let settings = Settings {
            edge: "https://video.example".into(),
            proof: Some(Proof::Token("hush".into())),
            origins: Vec::new(),
            wait: Duration::from_secs(1),
        };
        let text = format!("{settings:?} {:?}", settings.proof);
        assert!(text.contains("video.example") && !text.contains("hush"), "{text}");
    }
}
