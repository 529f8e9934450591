//! Decides nothing by itself: shows, lists and watches an owner's videos, from what lies in the bucket.

use futures_util::future::{join, join_all};
use futures_util::stream;
use glimpse_contract::video::{Uploaded, Video};
use glimpse_contract::{
    Attempt, Code, Failure, Json, Key, META_VISIBILITY, Passthrough, Problem, VideoId, Visibility,
    decode_name, limits, object,
};

use crate::Call;
use crate::auth::Caller;
use crate::config::Config;
use crate::http::response::{Body, Chunks, Reply};
use crate::platform::{self, Request};
use crate::s3::client;
use crate::s3::{self, Listing};
use crate::videos::delete;
use crate::videos::events::{LOOKS, Watch, is_finished, pause_ms};
use crate::videos::links::Links;

/// Videos a page of a listing, unless asked otherwise.
const PAGE: usize = 12;
/// The most videos a page: each costs up to three requests to the bucket, and a Worker of Cloudflare's free plan
/// may make 50, <https://developers.cloudflare.com/workers/platform/limits/#subrequests>.
const MAX_PAGE: usize = 16;

/// A video as this caller may see it: the holder of an upload token sees its state alone.
pub(crate) fn json_for(video: &Video, caller: &Caller) -> Json {
    if caller.token.is_some() { video.status_json() } else { video.to_json() }
}

/// The same in the answer to the request that began the upload, which may be part of a trace.
pub(crate) fn begun_json_for(video: &Video, caller: &Caller) -> Json {
    let mut json = json_for(video, caller);
    if caller.token.is_some() {
        json.put("trace_id", video.trace_id().into());
    }
    json
}

/// `GET /api/videos/{video}`
pub(crate) async fn show(video: VideoId, call: &Call<'_>) -> Result<Reply, Problem> {
    match find(video, call).await? {
        Some(video) => Ok(Reply::json(200, &json_for(&video, call.caller))),
        None => Err(Problem::new(Code::NotFound)),
    }
}

/// `GET /api/videos`
pub(crate) async fn list(query: &str, call: &Call<'_>) -> Result<Reply, Problem> {
    let (limit, cursor) = parse_list(query)?;
    let request = s3::list(&call.caller.owner, cursor, limit, call.config, platform::now_ms());
    let found = client::send(&client::sign(request, call.request_id)?, call.request_id).await?;
    if found.status != 200 {
        return Err(client::unexpected(found.status, call.request_id));
    }
    let listing =
        Listing::read(&client::text(found).await).ok_or_else(|| client::unexpected(200, call.request_id))?;
    let each = listing.items.iter().map(|item| find(item.video, call));
    let (mut videos, mut late) = (Vec::with_capacity(listing.items.len()), Vec::new());
    for (item, found) in listing.items.iter().zip(join_all(each).await) {
        match found {
            // One that was deleted is left out, and its source came later; trouble with the storage is not hidden.
            Err(problem) if problem.code == Code::Deleted => late.push(item.video),
            found => videos.extend(found?.map(|video| video.to_json())),
        }
    }
    delete::remove_late(&late, call).await;
    let cursor = listing.items.last().filter(|_| listing.is_truncated).map(|last| last.video);
    Ok(Reply::json(200, &object! { "videos" => Json::List(videos), "cursor" => cursor }))
}

/// A video of this caller, from its manifest or, before there is one, from its upload.
///
/// Somebody else's video is `None`, like one that never was: whether an id exists is nobody else's business.
///
/// # Errors
/// `deleted`, or trouble with the storage.
pub(crate) async fn find(video: VideoId, call: &Call<'_>) -> Result<Option<Video>, Problem> {
    if call.caller.token.as_ref().is_some_and(|token| !token.covers(video)) {
        return Ok(None);
    }
    let (config, request_id, owner) = (call.config, call.request_id, &call.caller.owner);
    let now_ms = platform::now_ms();
    let manifest = client::manifest_with_poster(video, config, now_ms, request_id).await?;
    if let Some(manifest) = manifest {
        if manifest.owner != *owner {
            return Ok(None);
        }
        if manifest.is_deleted() {
            return Err(Problem::new(Code::Deleted));
        }
        return Ok(Some(Video::from_manifest(&manifest, &Links::new(config, now_ms))));
    }
    let source = Key::Source { owner: owner.clone(), video };
    let head = client::sign(s3::head(&source, config, now_ms), request_id)?;
    let failure_key = Key::Failure(video);
    let (head, failure) =
        join(client::send(&head, request_id), client::read_json(&failure_key, config, now_ms, request_id))
            .await;
    let head = head?;
    match head.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(client::unexpected(status, request_id)),
    }
    let uploaded = Uploaded {
        name: head.header(glimpse_contract::META_NAME).map(|text| decode_name(&text)).unwrap_or_default(),
        bytes: head.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0),
        content_type: head.header("content-type").unwrap_or_default(),
        passthrough: Passthrough::from_headers(|name| head.header(name)),
        visibility: head.header(META_VISIBILITY).map(|word| Visibility::from_word(&word)),
    };
    // Recorded before the last try, for a function that is killed: it counts once that try is over.
    let failure =
        failure?.filter(|json| !Attempt::of_failure(json).is_some_and(|attempt| attempt.is_running(now_ms)));
    let failure = failure.as_ref().and_then(Failure::of_json);
    Ok(Some(Video::without_manifest(video, uploaded, failure.as_ref(), &Links::new(config, now_ms))))
}

/// `GET /api/videos/{video}/events`
pub(crate) async fn watch(video: VideoId, request: &Request, call: Call<'_>) -> Result<Reply, Problem> {
    let last_event_id = platform::header(request, "last-event-id");
    // What is wrong with the question is said by a status, and not in the stream.
    let first = seen(video, false, &call).await?;
    if is_finished(last_event_id.as_deref(), &first) {
        return Ok(Reply::empty(204).with("cache-control", "no-store"));
    }
    let watch = Watch::behind(last_event_id.as_deref()).of_status_only(call.caller.token.is_some());
    let state = Watching {
        watch,
        video,
        first: Some(first),
        is_uploading: false,
        looks: 0,
        call: OwnedCall::of(&call),
    };
    let chunks = stream::unfold(Some(state), |state| async {
        let mut state = state?;
        let found = if let Some(first) = state.first.take() {
            first
        } else {
            platform::sleep_ms(pause_ms(state.looks)).await;
            seen(state.video, state.is_uploading, &state.call.borrow()).await.ok()?
        };
        state.is_uploading = found.state() == "uploading";
        state.looks += 1;
        let (text, is_over) = state.watch.saw(&found);
        let next = (!is_over && state.looks < LOOKS).then_some(state);
        Some((text.into_bytes(), next))
    });
    let mut reply = Reply::empty(200)
        .with("content-type", "text/event-stream; charset=utf-8")
        .with("cache-control", "no-store")
        .with("x-content-type-options", "nosniff");
    reply.body = Body::Stream(Chunks(Box::pin(chunks)));
    Ok(reply)
}

struct Watching {
    watch: Watch,
    video: VideoId,
    first: Option<Video>,
    /// Whether nothing had arrived at the last look.
    is_uploading: bool,
    looks: u32,
    call: OwnedCall,
}

/// A [`Call`] that outlives the function that answers it.
struct OwnedCall {
    caller: Caller,
    config: &'static Config,
    request_id: String,
}

impl OwnedCall {
    fn of(call: &Call<'_>) -> Self {
        Self { caller: call.caller.clone(), config: call.config, request_id: call.request_id.to_owned() }
    }

    fn borrow(&self) -> Call<'_> {
        Call { caller: &self.caller, config: self.config, request_id: &self.request_id, trace_id: None }
    }
}

/// The video as it is now; one that was granted not long ago and is not there yet is being uploaded. While it is, a look
/// costs one request: a made-up id is never more than this.
async fn seen(video: VideoId, was_uploading: bool, call: &Call<'_>) -> Result<Video, Problem> {
    if (!was_uploading || has_source(video, call).await?)
        && let Some(found) = find(video, call).await?
    {
        return Ok(found);
    }
    let age_ms = platform::now_ms().checked_sub(video.granted_at_ms());
    let is_foreign = call.caller.token.as_ref().is_some_and(|token| !token.covers(video));
    match age_ms {
        Some(age_ms) if age_ms < limits::PROCESSING_WINDOW_MS && !is_foreign => {
            Ok(Video::granted(video, Uploaded::default(), &Links::new(call.config, platform::now_ms())))
        }
        _ => Err(Problem::new(Code::NotFound)),
    }
}

async fn has_source(video: VideoId, call: &Call<'_>) -> Result<bool, Problem> {
    let source = Key::Source { owner: call.caller.owner.clone(), video };
    let head = s3::head(&source, call.config, platform::now_ms());
    let head = client::send(&client::sign(head, call.request_id)?, call.request_id).await?;
    match head.status {
        200 => Ok(true),
        404 => Ok(false),
        status => Err(client::unexpected(status, call.request_id)),
    }
}

fn parse_list(query: &str) -> Result<(usize, Option<VideoId>), Problem> {
    let (mut limit, mut cursor) = (PAGE, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let bad = |detail: &str| Problem::because(Code::BadParameter, detail);
        match pair.split_once('=') {
            Some(("limit", text)) => {
                limit = text
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_PAGE).contains(limit))
                    .ok_or_else(|| bad("The parameter `limit` must be a number from 1 to 16."))?;
            }
            Some(("cursor", text)) => {
                let found = text.parse().map_err(|_| bad("The parameter `cursor` is not one of ours."))?;
                cursor = Some(found);
            }
            _ => return Err(bad("Only the parameters `limit` and `cursor` are known here.")),
        }
    }
    Ok((limit, cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_asked_for_strictly() {
        assert_eq!(parse_list(""), Ok((PAGE, None)));
        let id = VideoId::new(5, [1; 10]);
        assert_eq!(parse_list(&format!("limit=16&cursor={id}")), Ok((16, Some(id))));
        for bad in ["limit=0", "limit=17", "limit=x", "cursor=../x", "offset=3", "limit"] {
            assert_eq!(parse_list(bad).unwrap_err().code, Code::BadParameter, "{bad}");
        }
    }
}
