//! Decides nothing by itself: a picture that the cache does not have, out of the bucket or from the function that makes
//! pictures, as `policy` and `render` choose.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::join;
use glimpse_contract::{
    Code, Key, Manifest, Owner, PictureRequest, Poster, Problem, RejectedBecause, State, VideoId, Visibility,
};
use worker::Env;

use crate::config::Config;
use crate::delivery::cache_policy::{NotThere, absent_for_ms, missing};
use crate::delivery::handler::Found;
use crate::delivery::recent::Recent;
use crate::delivery::render_client::{self, Answer, RenderRequest};
use crate::platform::{self, Limiter, Outgoing, Sent};
use crate::s3::sigv4::SignError;
use crate::s3::sigv4::timestamp::iso_date;
use crate::s3::{self, client};
use crate::s3::{RecentPictures, S3Request};

/// The largest picture that is served, in bytes.
const MAX_PICTURE_BYTES: usize = 32 * 1024 * 1024;
/// How long it is remembered that a video has its new pictures of a day, in milliseconds.
const FULL_MS: u64 = 60_000;
/// When an anonymous caller may try again after that, in seconds.
const FULL_RETRY_SECS: u32 = 3_600;
/// The most pages of a listing that are read to count the new pictures of a video: 5,000 objects.
const MOST_PAGES: usize = 5;
/// The time over which new pictures are counted, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

thread_local! {
    // Videos without a manifest, and videos whose new pictures of the day are made.
    static ABSENT: RefCell<Recent> = const { RefCell::new(Recent::new()) };
    static FULL: RefCell<Recent> = const { RefCell::new(Recent::new()) };
}

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

/// What the bucket says about a picture without sending it.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    pub(super) etag: String,
    pub(super) length: u64,
    /// Whether it is for granted requests only.
    pub(super) is_private: bool,
}

/// What a request may see, and by whom it is counted.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    /// Whether it may see private pictures.
    pub(super) is_granted: bool,
    /// Who asks, where that is known and matters.
    pub(super) caller: Option<Owner>,
    /// The client's address, as [`crate::http::client_address::client_key`] has it.
    pub(super) client: String,
}

impl Rights {
    /// What requests have in common that get the same answer.
    pub(super) fn key(&self) -> String {
        let caller = self.caller.as_ref().map(Owner::to_string).unwrap_or_default();
        [if self.is_granted { "granted" } else { "" }, &caller].concat()
    }

    /// Whether the bounds for anonymous callers hold for a picture of this owner.
    fn is_bound(&self, owner: &Owner) -> bool {
        !self.is_granted && self.caller.as_ref() != Some(owner)
    }
}

/// Of a picture that is for granted requests only, to one that is not; nobody else answers so.
const PRIVATE: Code = Code::Unauthorized;

/// Whether a video had no manifest a moment ago.
pub(crate) fn is_absent(video: VideoId) -> bool {
    ABSENT.with_borrow(|absent| absent.has(video, platform::now_ms()))
}

/// Remembers for a moment that a video has no manifest.
pub(crate) fn note_absent(video: VideoId) {
    let now_ms = platform::now_ms();
    ABSENT.with_borrow_mut(|absent| absent.note(video, absent_for_ms(video, now_ms), now_ms));
}

/// The picture, or why there is none. A private one is only looked into for a granted request.
pub(super) async fn find(
    wanted: &PictureRequest,
    rights: &Rights,
    config: &Config,
    env: &Env,
    request_id: &str,
) -> Found {
    found(find_or_make(wanted, rights, config, env, request_id).await)
}

/// What is known about the picture without reading it: what HEAD answers, and whether a copy is still the same. Nothing is
/// made for it.
pub(super) async fn describe(
    wanted: &PictureRequest,
    rights: &Rights,
    config: &Config,
    request_id: &str,
) -> Found {
    found(headers_of(wanted, rights, config, request_id).await)
}

fn found(outcome: Result<Found, Problem>) -> Found {
    match outcome {
        Ok(found) => found,
        Err(problem) if problem.code == PRIVATE => Found::Private,
        Err(problem) => Found::Trouble(problem),
    }
}

/// Whether a picture of that visibility is private, if the request may see it.
fn judged(visibility: Visibility, rights: &Rights) -> Result<bool, Problem> {
    let is_private = visibility != Visibility::Public;
    if is_private && !rights.is_granted { Err(Problem::new(PRIVATE)) } else { Ok(is_private) }
}

async fn find_or_make(
    wanted: &PictureRequest,
    rights: &Rights,
    config: &Config,
    env: &Env,
    request_id: &str,
) -> Result<Found, Problem> {
    if is_absent(wanted.video) {
        return Ok(not_there(wanted, None, platform::now_ms()));
    }
    let read = async |shown: &PictureRequest| bucket(shown, rights, config, request_id).await;
    let (shown, picture) = at_its_key(wanted, config, request_id, read).await?;
    if let Some(picture) = picture {
        return Ok(Found::Picture(Rc::new(picture)));
    }
    make(wanted, &shown, rights, config, env, request_id).await
}

async fn headers_of(
    wanted: &PictureRequest,
    rights: &Rights,
    config: &Config,
    request_id: &str,
) -> Result<Found, Problem> {
    if is_absent(wanted.video) {
        return Ok(not_there(wanted, None, platform::now_ms()));
    }
    let read = async |shown: &PictureRequest| bucket_headers(shown, rights, config, request_id).await;
    let (shown, headers) = at_its_key(wanted, config, request_id, read).await?;
    if let Some(headers) = headers {
        return Ok(Found::Headers(headers));
    }
    let manifest = manifest(wanted.video, config, request_id).await?;
    let visibility = manifest.as_ref().map_or(Visibility::Public, |manifest| manifest.visibility);
    let is_private = judged(visibility, rights)?;
    let can_be_made = |manifest: &Manifest| render_client::may_be_made(&shown, manifest);
    if config.render_url.is_some() && manifest.as_ref().is_some_and(can_be_made) {
        return Ok(Found::NotMade { is_private });
    }
    Ok(not_there(wanted, manifest, platform::now_ms()))
}

/// What `read` finds under the picture's key, and the picture of that key: it is the one of the chosen moment where the
/// picture follows the poster.
async fn at_its_key<T>(
    wanted: &PictureRequest,
    config: &Config,
    request_id: &str,
    read: impl AsyncFn(&PictureRequest) -> Result<Option<T>, Problem>,
) -> Result<(PictureRequest, Option<T>), Problem> {
    let mut shown = wanted.clone();
    if !wanted.variant.follows_poster() {
        let found = read(&shown).await?;
        return Ok((shown, found));
    }
    let key = Key::Poster(wanted.video);
    let poster = client::read_json(&key, config, platform::now_ms(), request_id);
    let (poster, found) = join(poster, read(wanted)).await;
    match poster?.as_ref().and_then(Poster::of_json).and_then(|poster| poster.time_ms) {
        None => Ok((shown, found?)),
        Some(time_ms) => {
            shown.variant = wanted.variant.at(time_ms);
            let found = read(&shown).await?;
            Ok((shown, found))
        }
    }
}

/// The manifest; that there is none is remembered for a moment.
async fn manifest(video: VideoId, config: &Config, request_id: &str) -> Result<Option<Manifest>, Problem> {
    let manifest = client::manifest(video, config, platform::now_ms(), request_id).await?;
    if manifest.is_none() {
        note_absent(video);
    }
    Ok(manifest)
}

/// What the bucket answers about a picture, if it is there and the request may see it: the answer, its ETag, and whether it
/// is private.
async fn answered(
    request: Result<S3Request, SignError>,
    rights: &Rights,
    request_id: &str,
) -> Result<Option<(platform::Incoming, String, bool)>, Problem> {
    let found = client::send(&client::sign(request, request_id)?, request_id).await?;
    match found.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(client::unexpected(status, request_id)),
    }
    let visibility = found.header(glimpse_contract::META_VISIBILITY);
    let visibility = visibility.map_or(Visibility::Public, |word| Visibility::from_word(&word));
    match judged(visibility, rights) {
        Ok(is_private) => {
            let etag = found.header("etag").ok_or_else(|| client::unexpected(200, request_id))?;
            Ok(Some((found, etag, is_private)))
        }
        Err(problem) => {
            found.discard().await;
            Err(problem)
        }
    }
}

/// The picture out of the bucket, if it is there.
async fn bucket(
    wanted: &PictureRequest,
    rights: &Rights,
    config: &Config,
    request_id: &str,
) -> Result<Option<Picture>, Problem> {
    let key = Key::Output(wanted.video, wanted.variant);
    let request = s3::get(&key, config, platform::now_ms());
    let Some((found, etag, is_private)) = answered(request, rights, request_id).await? else {
        return Ok(None);
    };
    let bytes = found.bytes(MAX_PICTURE_BYTES).await.map_err(|error| trouble(&error, request_id))?;
    Ok(Some(Picture { etag, bytes: bytes.into(), from: "s3", is_private }))
}

/// What the bucket says about the picture, if it is there.
async fn bucket_headers(
    wanted: &PictureRequest,
    rights: &Rights,
    config: &Config,
    request_id: &str,
) -> Result<Option<Headers>, Problem> {
    let key = Key::Output(wanted.video, wanted.variant);
    let request = s3::head(&key, config, platform::now_ms());
    let Some((found, etag, is_private)) = answered(request, rights, request_id).await? else {
        return Ok(None);
    };
    let length = found.header("content-length").and_then(|text| text.parse().ok());
    let length = length.ok_or_else(|| client::unexpected(200, request_id))?;
    Ok(Some(Headers { etag, length, is_private }))
}

/// The picture made by the `render` Lambda, if it is one that may be made. `shown` is the picture of its key.
async fn make(
    wanted: &PictureRequest,
    shown: &PictureRequest,
    rights: &Rights,
    config: &Config,
    env: &Env,
    request_id: &str,
) -> Result<Found, Problem> {
    let now_ms = platform::now_ms();
    let manifest = manifest(wanted.video, config, request_id).await?;
    let visibility = manifest.as_ref().map_or(Visibility::Public, |manifest| manifest.visibility);
    let is_private = judged(visibility, rights)?;
    let may_be_made = manifest.as_ref().filter(|manifest| render_client::may_be_made(shown, manifest));
    let name = shown.variant.file_name();
    let request = may_be_made.and_then(|manifest| {
        Some((manifest.owner.clone(), render_client::request(wanted.video, &name, config, now_ms)?))
    });
    let Some((owner, request)) = request else { return Ok(not_there(wanted, manifest, now_ms)) };
    // A default picture that shows another moment is not bounded: there is one of each.
    if rights.is_bound(&owner) && !wanted.variant.is_default() {
        if !platform::is_within(env, Limiter::ClientRenders, &rights.client).await {
            return Ok(Found::Limited(rights.client.clone()));
        }
        if !may_be_added(wanted.video, config, request_id).await? {
            let detail = "Enough new pictures of this video were made today. Pictures that exist are served.";
            return Ok(Found::Not(Problem::because(Code::Busy, detail), Some(FULL_RETRY_SECS)));
        }
    }
    // Each picture costs the owner a function's time: who asks for ever new ones is slowed down.
    for (limiter, who) in
        [(Limiter::VideoRenders, &wanted.video.to_string()), (Limiter::OwnerRenders, &owner.to_string())]
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
        (Answer::Stored, _) => match bucket(shown, rights, config, request_id).await? {
            Some(picture) => Ok(Found::Picture(Rc::new(Picture { from: "render", ..picture }))),
            None => Err(client::unexpected(404, request_id)),
        },
        (Answer::Refused(problem), _) if problem.code == Code::Processing => Ok(Found::Not(problem, Some(2))),
        (Answer::Refused(problem), _) => Ok(Found::Refused { problem, is_private }),
        (Answer::Trouble(problem), _) => Err(problem),
        (Answer::Made, None) => Err(trouble(&"the function named no ETag", request_id)),
    }
}

/// Whether another new picture of this video may be made for an anonymous caller today. S3 is the only counter: the
/// pictures in the video's folder are listed, and those of the last day are counted. A listing costs a sixth of what the
/// function costs that makes the picture.
async fn may_be_added(video: VideoId, config: &Config, request_id: &str) -> Result<bool, Problem> {
    let now_ms = platform::now_ms();
    if config.public_variants_per_day == 0 || FULL.with_borrow(|full| full.has(video, now_ms)) {
        return Ok(false);
    }
    let since = iso_date(now_ms.saturating_sub(DAY_MS));
    let (mut count, mut after) = (0, None);
    for _ in 0..MOST_PAGES {
        let request = s3::list_media_behind(video, after.as_deref(), config, now_ms);
        let answer = client::send(&client::sign(request, request_id)?, request_id).await?;
        if answer.status != 200 {
            return Err(client::unexpected(answer.status, request_id));
        }
        let page = RecentPictures::read(&client::text(answer).await, &since);
        let page = page.ok_or_else(|| client::unexpected(200, request_id))?;
        count += page.count;
        if count >= config.public_variants_per_day {
            break;
        }
        after = page.next;
        if after.is_none() {
            return Ok(true);
        }
    }
    FULL.with_borrow_mut(|full| full.note(video, FULL_MS, now_ms));
    Ok(false)
}

/// What the function answers, with the ETag and the body.
async fn ask(
    request: Result<RenderRequest, SignError>,
    request_id: &str,
) -> Result<(Answer, Option<String>, Vec<u8>), Problem> {
    let request = client::sign(request, request_id)?;
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = platform::fetch(Outgoing {
        method: render_client::METHOD,
        url: &request.url,
        headers: &headers,
        body: Sent::Nothing,
        patience_ms: render_client::PATIENCE_MS,
    })
    .await
    .map_err(|error| trouble(&error, request_id))?;
    let (status, etag) = (answer.status, answer.header("etag"));
    let bytes =
        answer.bytes(render_client::MAX_ANSWER_BYTES).await.map_err(|error| trouble(&error, request_id))?;
    let meaning = render_client::meaning(status, &bytes);
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
    let request = render_client::request(video, &name, config, platform::now_ms()).ok_or_else(|| {
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
