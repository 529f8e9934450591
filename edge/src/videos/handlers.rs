//! HTTP handlers that show, list and watch an owner's videos, from the objects in the bucket.

use futures_util::future::{join, join_all};
use futures_util::stream;
use glimpse_contract::video::{UploadDetails, Video};
use glimpse_contract::{
    Attempt, ClientMetadata, Code, Failure, Json, Key, META_VISIBILITY, Problem, VideoId, Visibility,
    decode_name, object,
};

use crate::auth::Caller;
use crate::config::Config;
use crate::context::ApiContext;
use crate::http::query::Query;
use crate::http::response::{ChunkStream, Reply, ReplyBody};
use crate::platform::{self, Request};
use crate::s3::{ListPage, ObjectSelection};
use crate::videos::delete;
use crate::videos::events::{EventStream, MAX_POLLS, is_finished, poll_delay_ms};
use crate::videos::links::SignedLinks;

/// The default number of videos on a page.
const DEFAULT_PAGE_SIZE: usize = 12;
/// The maximum number of videos on a page: each costs up to three requests to the bucket, and a Worker of Cloudflare's
/// free plan may make 50, <https://developers.cloudflare.com/workers/platform/limits/#subrequests>.
const MAX_PAGE_SIZE: usize = 16;

/// The JSON of a video for this caller: with an upload token, the state only.
pub(crate) fn json_for(video: &Video, caller: &Caller) -> Json {
    if caller.upload_token().is_some() { video.status_json() } else { video.to_json() }
}

/// The same in the response to the request that created the upload, which may be part of a trace.
pub(crate) fn created_json_for(video: &Video, caller: &Caller) -> Json {
    let mut json = json_for(video, caller);
    if caller.upload_token().is_some() {
        json.put("trace_id", video.trace_id().into());
    }
    json
}

/// `GET /api/videos/{video}`
pub(crate) async fn show(video: VideoId, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    match find(video, context).await? {
        Some(video) => Ok(Reply::json(200, &json_for(&video, context.caller))),
        None => Err(Problem::new(Code::NotFound)),
    }
}

/// `GET /api/videos`
pub(crate) async fn list(query: Query<'_>, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    let (limit, cursor) = parse_list_query(query)?;
    let selection = ObjectSelection::sources(&context.caller.owner, cursor, limit);
    let listing = context.bucket().list_objects(selection, ListPage::parse).await?;
    let lookups = listing.items.iter().map(|item| find(item.video, context));
    let (mut videos, mut late_sources) = (Vec::with_capacity(listing.items.len()), Vec::new());
    for (item, found) in listing.items.iter().zip(join_all(lookups).await) {
        match found {
            // Skip deleted videos, and delete a source that was uploaded later; do not hide storage errors.
            Err(problem) if problem.code == Code::Deleted => late_sources.push(item.video),
            found => videos.extend(found?.map(|video| video.to_json())),
        }
    }
    delete::delete_late_sources(&late_sources, context).await;
    let cursor = listing.items.last().filter(|_| listing.is_truncated).map(|last| last.video);
    Ok(Reply::json(200, &object! { "videos" => Json::Array(videos), "cursor" => cursor }))
}

/// Finds a video of this caller, by its manifest or, before there is one, by its upload.
///
/// A video of another owner is `None`, like one that never existed: the response does not reveal whether an id exists.
///
/// # Errors
/// `deleted`, or a storage error.
pub(crate) async fn find(video: VideoId, context: &ApiContext<'_>) -> Result<Option<Video>, Problem> {
    if !context.caller.allows_video(video) {
        return Ok(None);
    }
    let bucket = context.bucket();
    let links = SignedLinks::new(context.config, context.now_ms);
    if let Some(manifest) = bucket.get_manifest_with_poster(video).await? {
        if manifest.owner != context.caller.owner {
            return Ok(None);
        }
        if manifest.is_deleted() {
            return Err(Problem::new(Code::Deleted));
        }
        return Ok(Some(Video::from_manifest(&manifest, &links)));
    }
    let (source_key, failure_key) = (context.source_key(video), Key::Failure(video));
    let (head, failure) = join(bucket.head_object(&source_key), bucket.get_json(&failure_key)).await;
    let Some(head) = head? else { return Ok(None) };
    let uploaded = UploadDetails {
        name: head.header(glimpse_contract::META_NAME).map(|text| decode_name(&text)).unwrap_or_default(),
        bytes: head.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0),
        content_type: head.header("content-type").unwrap_or_default(),
        client_metadata: ClientMetadata::from_headers(|name| head.header(name)),
        visibility: head.header(META_VISIBILITY).map(|word| Visibility::parse_lenient(&word)),
    };
    // A failure record is written before the last attempt, for a function that is killed: it counts once that attempt
    // is over.
    let failure = failure?.filter(|json| {
        !Attempt::from_failure_json(json).is_some_and(|attempt| attempt.is_running(context.now_ms))
    });
    let failure = failure.as_ref().and_then(Failure::from_json);
    Ok(Some(Video::from_upload(video, uploaded, failure.as_ref(), &links)))
}

/// `GET /api/videos/{video}/events`
pub(crate) async fn watch(
    video: VideoId,
    request: &Request,
    context: ApiContext<'_>,
) -> Result<Reply, Problem> {
    let last_event_id = platform::header(request, "last-event-id");
    // An error in the request is reported by the status, not in the stream.
    let first = load_video(video, false, &context).await?;
    if is_finished(last_event_id.as_deref(), &first) {
        return Ok(Reply::empty(204).with_header("cache-control", "no-store"));
    }
    let stream = EventStream::resume_after(last_event_id.as_deref())
        .with_status_only(context.caller.upload_token().is_some());
    let state = WatchState {
        stream,
        video,
        first: Some(first),
        was_uploading: false,
        polls: 0,
        context: OwnedContext::from_context(&context),
    };
    let chunks = stream::unfold(Some(state), |state| async {
        let mut state = state?;
        let found = if let Some(first) = state.first.take() {
            first
        } else {
            platform::sleep_ms(poll_delay_ms(state.polls)).await;
            load_video(state.video, state.was_uploading, &state.context.as_context()).await.ok()?
        };
        state.was_uploading = found.state() == "uploading";
        state.polls += 1;
        let (text, is_finished) = state.stream.observe(&found);
        let next = (!is_finished && state.polls < MAX_POLLS).then_some(state);
        Some((text.into_bytes(), next))
    });
    let mut reply = Reply::empty(200)
        .with_header("content-type", "text/event-stream; charset=utf-8")
        .with_header("cache-control", "no-store")
        .with_header("x-content-type-options", "nosniff");
    reply.body = ReplyBody::Stream(ChunkStream(Box::pin(chunks)));
    Ok(reply)
}

struct WatchState {
    stream: EventStream,
    video: VideoId,
    first: Option<Video>,
    /// Whether the last poll found no upload.
    was_uploading: bool,
    polls: u32,
    context: OwnedContext,
}

/// An [`ApiContext`] that outlives the function that handles it.
struct OwnedContext {
    caller: Caller,
    config: &'static Config,
    request_id: String,
}

impl OwnedContext {
    fn from_context(context: &ApiContext<'_>) -> Self {
        Self {
            caller: context.caller.clone(),
            config: context.config,
            request_id: context.request_id.to_owned(),
        }
    }

    /// The context of a poll, at the current time.
    fn as_context(&self) -> ApiContext<'_> {
        ApiContext {
            caller: &self.caller,
            config: self.config,
            request_id: &self.request_id,
            now_ms: platform::now_ms(),
            trace_id: None,
        }
    }
}

/// The current state of the video; a recently granted video that does not exist yet is being uploaded. During the
/// upload, a poll costs one request, which is also the cost of an invalid id.
async fn load_video(video: VideoId, was_uploading: bool, context: &ApiContext<'_>) -> Result<Video, Problem> {
    if (!was_uploading || context.bucket().head_object(&context.source_key(video)).await?.is_some())
        && let Some(found) = find(video, context).await?
    {
        return Ok(found);
    }
    if !(context.caller.allows_video(video) && video.is_within_processing_window(context.now_ms)) {
        return Err(Problem::new(Code::NotFound));
    }
    let links = SignedLinks::new(context.config, context.now_ms);
    Ok(Video::uploading(video, UploadDetails::default(), &links))
}

fn parse_list_query(query: Query<'_>) -> Result<(usize, Option<VideoId>), Problem> {
    let (mut limit, mut cursor) = (DEFAULT_PAGE_SIZE, None);
    for pair in query.pairs() {
        let bad = |detail: &str| Problem::with_detail(Code::BadParameter, detail);
        match (pair.name, pair.value) {
            ("limit", Some(text)) => {
                limit = text
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_PAGE_SIZE).contains(limit))
                    .ok_or_else(|| bad("The parameter `limit` must be a number from 1 to 16."))?;
            }
            ("cursor", Some(text)) => {
                let found = text.parse().map_err(|_| bad("The parameter `cursor` is invalid."))?;
                cursor = Some(found);
            }
            _ => return Err(bad("Unknown parameter: only `limit` and `cursor` are allowed.")),
        }
    }
    Ok((limit, cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_invalid_list_query() {
        let parse_list_query = |query: &str| parse_list_query(Query(query));
        assert_eq!(parse_list_query(""), Ok((DEFAULT_PAGE_SIZE, None)));
        let id = VideoId::new(5, [1; 10]);
        assert_eq!(parse_list_query(&format!("limit=16&cursor={id}")), Ok((16, Some(id))));
        for bad in ["limit=0", "limit=17", "limit=x", "cursor=../x", "offset=3", "limit"] {
            assert_eq!(parse_list_query(bad).unwrap_err().code, Code::BadParameter, "{bad}");
        }
    }
}
