//! Decides nothing by itself: decodes an API request, asks the pure modules, reads the bucket, encodes the answer.

use futures_util::future::{join, join_all};
use glimpse_contract::{
    Code, Failure, Key, META_NAME, Manifest, Owner, Problem, VideoId, decode_name, limits,
};
use serde::Serialize;
use worker::Request;

use crate::auth::Caller;
use crate::config::Config;
use crate::platform;
use crate::reply::Reply;
use crate::s3::{self, Listing};
use crate::storage::{self, MAX_DOCUMENT_BYTES};
use crate::upload::{answer_uppy, grant, parse_new_video, parse_uppy, presign_upload};
use crate::video::{Uploaded, Video};

/// The longest JSON body that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Videos a page of a listing, unless asked otherwise.
const PAGE: usize = 12;
/// The most videos a page: each costs up to three requests to the bucket, and a Worker of Cloudflare's free plan
/// may make 50, <https://developers.cloudflare.com/workers/platform/limits/#subrequests>.
const MAX_PAGE: usize = 16;

/// `GET /api/me`
pub(crate) fn me(caller: &Caller, config: &Config) -> Reply {
    #[derive(Serialize)]
    struct Limits {
        max_upload_bytes: u64,
        types: &'static [&'static str],
    }
    #[derive(Serialize)]
    struct Me<'a> {
        owner: &'a Owner,
        subject: &'a str,
        name: Option<&'a str>,
        email: Option<&'a str>,
        limits: Limits,
    }
    Reply::json(
        200,
        &Me {
            owner: &caller.owner,
            subject: &caller.subject,
            name: caller.name.as_deref(),
            email: caller.email.as_deref(),
            limits: Limits { max_upload_bytes: config.max_upload_bytes, types: limits::UPLOAD_TYPES },
        },
    )
}

/// `POST /api/videos` with JSON
pub(crate) async fn create(
    request: &mut Request,
    caller: &Caller,
    config: &Config,
    request_id: &str,
) -> Result<Reply, Problem> {
    #[derive(Serialize)]
    struct Created<U> {
        video: Video,
        upload: U,
    }
    let content_type = platform::header(request, "content-type").unwrap_or_default();
    if content_type.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json"))
    {
        return Err(Problem::because(Code::TypeNotAllowed, "Send a JSON object as application/json."));
    }
    let length = platform::header(request, "content-length").and_then(|text| text.parse::<usize>().ok());
    if length.is_none_or(|length| length > MAX_BODY_BYTES) {
        return Err(Problem::because(
            Code::TooLarge,
            "The body must be JSON of at most 64 KiB with its length.",
        ));
    }
    let body = request.bytes().await.map_err(|_| Problem::new(Code::BadParameter))?;
    let wanted = parse_new_video(&body, config)?;
    let now_ms = platform::now_ms();
    let id = VideoId::new(now_ms, platform::random());
    let grant = grant(&caller.owner, id, &wanted.name, &wanted.content_type)?;
    let upload = presign_upload(&grant, &wanted, config, now_ms).map_err(|error| {
        platform::log_error("sign", request_id, &error.to_string());
        Problem::new(Code::Internal)
    })?;
    let uploaded = Uploaded { name: grant.name, bytes: wanted.size, content_type: grant.content_type };
    let video = Video::granted(id, uploaded, &config.public_url);
    Ok(Reply::json(201, &Created { video, upload }).with("location", format!("/api/videos/{id}")))
}

/// `GET /s3/params`
pub(crate) fn uppy_params(query: Option<&str>, caller: &Caller, config: &Config) -> Result<Reply, Problem> {
    let wanted = parse_uppy(query.unwrap_or_default())?;
    let now_ms = platform::now_ms();
    let id = VideoId::new(now_ms, platform::random());
    let grant = grant(&caller.owner, id, &wanted.filename, &wanted.content_type)?;
    Ok(Reply::json(200, &answer_uppy(&grant, config, now_ms)))
}

/// `GET /api/videos/{video}`
pub(crate) async fn show(
    video: VideoId,
    caller: &Caller,
    config: &Config,
    request_id: &str,
) -> Result<Reply, Problem> {
    let found = find(video, &caller.owner, config, request_id).await?;
    found.map(|video| Reply::json(200, &video)).ok_or_else(|| Problem::new(Code::NotFound))
}

/// `GET /api/videos`
pub(crate) async fn list(
    query: Option<&str>,
    caller: &Caller,
    config: &Config,
    request_id: &str,
) -> Result<Reply, Problem> {
    #[derive(Serialize)]
    struct Page {
        videos: Vec<Video>,
        cursor: Option<VideoId>,
    }
    let (limit, cursor) = parse_list(query.unwrap_or_default())?;
    let request = s3::list(&caller.owner, cursor, limit, config, platform::now_ms());
    let found = storage::send(&storage::sign(request, request_id)?, request_id).await?;
    if found.status != 200 {
        return Err(storage::unexpected(found.status, request_id));
    }
    let bytes = found.bytes(MAX_DOCUMENT_BYTES).await.unwrap_or_default();
    let listing = Listing::read(&String::from_utf8_lossy(&bytes))
        .ok_or_else(|| storage::unexpected(200, request_id))?;
    let each = listing.items.iter().map(|item| find(item.video, &caller.owner, config, request_id));
    let mut videos = Vec::with_capacity(listing.items.len());
    for found in join_all(each).await {
        // One that was deleted in between is left out; trouble with the storage is not hidden.
        videos.extend(found?);
    }
    let cursor = listing.items.last().filter(|_| listing.is_truncated).map(|last| last.video);
    Ok(Reply::json(200, &Page { videos, cursor }))
}

/// A video of this owner, from its manifest or, before there is one, from its upload.
///
/// Somebody else's video is `None`, like one that never was: whether an id exists is nobody else's business.
async fn find(
    video: VideoId,
    owner: &Owner,
    config: &Config,
    request_id: &str,
) -> Result<Option<Video>, Problem> {
    let now_ms = platform::now_ms();
    let manifest: Option<Manifest> =
        storage::read_json(&Key::Manifest(video), config, now_ms, request_id).await?;
    if let Some(manifest) = manifest {
        let is_theirs = manifest.owner == *owner;
        return Ok(is_theirs.then(|| Video::from_manifest(&manifest, &config.public_url)));
    }
    let source = Key::Source { owner: owner.clone(), video };
    let head = storage::sign(s3::head(&source, config, now_ms), request_id)?;
    let failure_key = Key::Failure(video);
    let (head, failure) = join(
        storage::send(&head, request_id),
        storage::read_json::<Failure>(&failure_key, config, now_ms, request_id),
    )
    .await;
    let head = head?;
    match head.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(storage::unexpected(status, request_id)),
    }
    let uploaded = Uploaded {
        name: head.header(META_NAME).map(|text| decode_name(&text)).unwrap_or_default(),
        bytes: head.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0),
        content_type: head.header("content-type").unwrap_or_default(),
    };
    Ok(Some(Video::without_manifest(video, uploaded, failure?.as_ref(), &config.public_url)))
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
