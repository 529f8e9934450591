//! Decides nothing by itself: a picture that the cache does not have, out of the bucket or from the function that makes
//! pictures, as `policy` and `render` choose.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::join;
use glimpse_contract::{
    Code, Key, Manifest, PictureRequest, Poster, Problem, RejectedBecause, State, VideoId, Visibility,
};
use worker::Env;

use super::handler::Found;
use super::policy::{NotThere, is_public_width, missing};
use super::render::{self, Answer, RenderRequest};
use crate::config::Config;
use crate::platform::{self, Limiter, Outgoing, Sent};
use crate::sign::SignError;
use crate::{s3, storage};

/// The largest picture that is served, in bytes.
const MAX_PICTURE_BYTES: usize = 32 * 1024 * 1024;

/// A picture at hand.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) etag: String,
    pub(super) bytes: Bytes,
    /// Where it came from, for `Server-Timing`.
    pub(super) from: &'static str,
    /// Whether it is for granted requests only.
    pub(super) is_private: bool,
}

/// Of a picture that is for granted requests only, to one that is not; nobody else answers so.
const PRIVATE: Code = Code::Unauthorized;

/// Whether the deployment lets everybody ask for a picture of this width.
pub(super) fn check_width(wanted: &PictureRequest, config: &Config) -> Result<(), Problem> {
    if is_public_width(wanted.variant, &config.public_widths) {
        return Ok(());
    }
    let widths: Vec<_> = config.public_widths.iter().map(u32::to_string).collect();
    let detail =
        format!("The parameter `width` must be one of {} here, without a height.", widths.join(", "));
    Err(Problem::because(Code::BadParameter, detail))
}

/// The picture, or why there is none. A private one is only looked into for a granted request.
pub(super) async fn find(
    wanted: &PictureRequest,
    is_granted: bool,
    config: &Config,
    env: &Env,
    request_id: &str,
) -> Found {
    match find_or_make(wanted, is_granted, config, env, request_id).await {
        Ok(found) => found,
        Err(problem) if problem.code == PRIVATE => Found::Private,
        Err(problem) => Found::Trouble(problem),
    }
}

/// Whether a picture of that visibility is private, if the request may see it.
fn judged(visibility: Visibility, is_granted: bool) -> Result<bool, Problem> {
    let is_private = visibility != Visibility::Public;
    if is_private && !is_granted { Err(Problem::new(PRIVATE)) } else { Ok(is_private) }
}

async fn find_or_make(
    wanted: &PictureRequest,
    is_granted: bool,
    config: &Config,
    env: &Env,
    request_id: &str,
) -> Result<Found, Problem> {
    let mut shown = wanted.clone();
    let mut picture = if wanted.variant.follows_poster() {
        let key = Key::Poster(wanted.video);
        let poster = storage::read_json(&key, config, platform::now_ms(), request_id);
        let (poster, picture) = join(poster, bucket(wanted, is_granted, config, request_id)).await;
        match poster?.as_ref().and_then(Poster::of_json).and_then(|poster| poster.time_ms) {
            None => picture?,
            Some(time_ms) => {
                shown.variant = wanted.variant.at(time_ms);
                bucket(&shown, is_granted, config, request_id).await?
            }
        }
    } else {
        bucket(wanted, is_granted, config, request_id).await?
    };
    if let Some(picture) = picture.take() {
        return Ok(Found::Picture(Rc::new(picture)));
    }
    make(&shown, is_granted, config, env, request_id).await
}

/// The picture out of the bucket, if it is there.
async fn bucket(
    wanted: &PictureRequest,
    is_granted: bool,
    config: &Config,
    request_id: &str,
) -> Result<Option<Picture>, Problem> {
    let key = Key::Output(wanted.video, wanted.variant);
    let signed = storage::sign(s3::get(&key, config, platform::now_ms()), request_id)?;
    let found = storage::send(&signed, request_id).await?;
    match found.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(storage::unexpected(status, request_id)),
    }
    let visibility = found.header(glimpse_contract::META_VISIBILITY);
    let visibility = visibility.map_or(Visibility::Public, |word| Visibility::from_word(&word));
    let is_private = judged(visibility, is_granted)?;
    let etag = found.header("etag").ok_or_else(|| storage::unexpected(200, request_id))?;
    let bytes = found.bytes(MAX_PICTURE_BYTES).await.map_err(|error| trouble(&error, request_id))?;
    Ok(Some(Picture { etag, bytes: bytes.into(), from: "s3", is_private }))
}

/// The picture made by the `render` Lambda, if it is one that may be made.
async fn make(
    wanted: &PictureRequest,
    is_granted: bool,
    config: &Config,
    env: &Env,
    request_id: &str,
) -> Result<Found, Problem> {
    let now_ms = platform::now_ms();
    let manifest = storage::manifest(wanted.video, config, now_ms, request_id).await?;
    let visibility = manifest.as_ref().map_or(Visibility::Public, |manifest| manifest.visibility);
    let is_private = judged(visibility, is_granted)?;
    let may_be_made = manifest.as_ref().filter(|manifest| render::may_be_made(wanted, manifest));
    let name = wanted.variant.file_name();
    let request = may_be_made.and_then(|manifest| {
        Some((manifest.owner.to_string(), render::request(wanted.video, &name, config, now_ms)?))
    });
    let Some((owner, request)) = request else { return Ok(not_there(wanted, manifest, now_ms)) };
    // Each picture costs the owner a function's time: who asks for ever new ones is slowed down.
    for (limiter, who) in
        [(Limiter::VideoRenders, &wanted.video.to_string()), (Limiter::OwnerRenders, &owner)]
    {
        if !platform::is_within(env, limiter, who).await {
            return Err(Problem::new(Code::Busy));
        }
    }
    let (answer, etag, bytes) = ask(request, request_id).await?;
    match (answer, etag) {
        (Answer::Made, Some(etag)) => {
            Ok(Found::Picture(Rc::new(Picture { etag, bytes: bytes.into(), from: "render", is_private })))
        }
        (Answer::Stored, _) => match bucket(wanted, is_granted, config, request_id).await? {
            Some(picture) => Ok(Found::Picture(Rc::new(Picture { from: "render", ..picture }))),
            None => Err(storage::unexpected(404, request_id)),
        },
        (Answer::Refused(problem), _) => {
            let retry_after_secs = (problem.code == Code::Processing).then_some(2);
            Ok(Found::Not(problem, retry_after_secs))
        }
        (Answer::Trouble(problem), _) => Err(problem),
        (Answer::Made, None) => Err(trouble(&"the function named no ETag", request_id)),
    }
}

/// What the function answers, with the ETag and the body.
async fn ask(
    request: Result<RenderRequest, SignError>,
    request_id: &str,
) -> Result<(Answer, Option<String>, Vec<u8>), Problem> {
    let request = storage::sign(request, request_id)?;
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = platform::fetch(Outgoing {
        method: render::METHOD,
        url: &request.url,
        headers: &headers,
        body: Sent::Nothing,
        patience_ms: render::PATIENCE_MS,
    })
    .await
    .map_err(|error| trouble(&error, request_id))?;
    let (status, etag) = (answer.status, answer.header("etag"));
    let bytes = answer.bytes(render::MAX_ANSWER_BYTES).await.map_err(|error| trouble(&error, request_id))?;
    let meaning = render::meaning(status, &bytes);
    if matches!(meaning, Answer::Trouble(_)) {
        platform::log_error("render", request_id, &format!("the function answered {status}"));
    }
    Ok((meaning, etag, bytes))
}

/// Has the function make another frame the poster, and returns what it says about it.
///
/// # Errors
/// There is no function here; what it says is wrong; or trouble with it.
pub(crate) async fn choose_poster(
    video: VideoId,
    time_ms: Option<u64>,
    config: &Config,
    request_id: &str,
) -> Result<Poster, Problem> {
    let name = glimpse_contract::poster_name(time_ms);
    let request = render::request(video, &name, config, platform::now_ms()).ok_or_else(|| {
        Problem::because(Code::NotFound, "No pictures are made on demand here: RENDER_URL is not set.")
    })?;
    let (answer, _, bytes) = ask(request, request_id).await?;
    match answer {
        Answer::Made => glimpse_contract::Json::read(&bytes)
            .as_ref()
            .and_then(Poster::of_json)
            .ok_or_else(|| trouble(&"the function's poster cannot be read", request_id)),
        Answer::Refused(problem) | Answer::Trouble(problem) => Err(problem),
        Answer::Stored => Err(Problem::new(Code::Upstream)),
    }
}

fn trouble(error: &dyn std::fmt::Display, request_id: &str) -> Problem {
    platform::log_error("picture", request_id, &error.to_string());
    Problem::new(Code::Upstream)
}

/// Why a picture is not there: on its way, refused, or unknown.
fn not_there(wanted: &PictureRequest, manifest: Option<Manifest>, now_ms: u64) -> Found {
    let committed = manifest.map(|manifest| match (manifest.state, manifest.rejected) {
        (State::Rejected, Some(RejectedBecause { code })) => Some(code),
        _ => None,
    });
    let NotThere { code, retry_after_secs } = missing(wanted.video, committed, now_ms);
    Found::Not(Problem::new(code), retry_after_secs)
}
