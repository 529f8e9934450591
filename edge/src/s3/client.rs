//! Sends signed requests to S3, and maps its responses to results and problems.

use glimpse_contract::{Code, Json, Key, Manifest, Poster, Problem, State, VideoId};

use crate::config::Config;
use crate::platform::{self, FETCH_TIMEOUT_MS, FetchRequest, FetchResponse, RequestBody};
use crate::s3::sigv4::SignError;
use crate::s3::{self, S3Request};

/// Timeout of sending the bytes of a video to the storage, in milliseconds: long enough for a slow client connection.
const UPLOAD_TIMEOUT_MS: u32 = 60 * 60 * 1000;
/// The largest JSON document or list page that is read, in bytes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// Maps an error of signing to an internal error.
pub(crate) fn map_sign_error<T>(signed: Result<T, SignError>, request_id: &str) -> Result<T, Problem> {
    signed.map_err(|error| {
        platform::log_error("sign", request_id, &error.to_string());
        Problem::new(Code::Internal)
    })
}

/// Sends a signed request.
pub(crate) async fn send(request: &S3Request, request_id: &str) -> Result<FetchResponse, Problem> {
    let body = request.body.as_deref().map_or(RequestBody::Empty, RequestBody::Text);
    send_with_body(request, body, request_id).await
}

/// Sends a signed request with a body other than text.
pub(crate) async fn send_with_body(
    request: &S3Request,
    body: RequestBody<'_>,
    request_id: &str,
) -> Result<FetchResponse, Problem> {
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        // It is signed, and set by the runtime when it sends the body.
        .filter(|(name, _)| *name != "content-length")
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let timeout_ms = match &body {
        RequestBody::Empty | RequestBody::Text(_) => FETCH_TIMEOUT_MS,
        RequestBody::Bytes(_) | RequestBody::Stream(_) => UPLOAD_TIMEOUT_MS,
    };
    let fetch_request =
        FetchRequest { method: request.method, url: &request.url, headers: &headers, body, timeout_ms };
    platform::fetch(fetch_request).await.map_err(|error| {
        platform::log_error("storage", request_id, &error.to_string());
        Problem::new(Code::Upstream)
    })
}

/// The body of a response of S3 as text, at most [`MAX_DOCUMENT_BYTES`] of it; empty if it is longer or interrupted.
pub(crate) async fn read_text(response: FetchResponse) -> String {
    let bytes = response.bytes(MAX_DOCUMENT_BYTES).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The problem for an unexpected status: a rejected signature, a missing permission, an internal error of S3.
pub(crate) fn unexpected_status(status: u16, request_id: &str) -> Problem {
    platform::log_error("storage", request_id, &format!("S3 returned {status}"));
    Problem::new(match status {
        403 => Code::NoAccess,
        503 => Code::Busy,
        _ => Code::Upstream,
    })
}

/// Reads a JSON document; `None` if it does not exist.
pub(crate) async fn get_json(
    key: &Key,
    config: &Config,
    now_ms: u64,
    request_id: &str,
) -> Result<Option<Json>, Problem> {
    let response =
        send(&map_sign_error(s3::get_object(key, config, now_ms), request_id)?, request_id).await?;
    match response.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(unexpected_status(status, request_id)),
    }
    let bytes = response.bytes(MAX_DOCUMENT_BYTES).await.map_err(|_| unreadable_object(key, request_id))?;
    Json::parse(&bytes).map(Some).ok_or_else(|| unreadable_object(key, request_id))
}

/// The manifest of a video; `None` if there is none.
pub(crate) async fn get_manifest(
    video: VideoId,
    config: &Config,
    now_ms: u64,
    request_id: &str,
) -> Result<Option<Manifest>, Problem> {
    let key = Key::Manifest(video);
    let Some(json) = get_json(&key, config, now_ms, request_id).await? else { return Ok(None) };
    Manifest::from_json(&json).map(Some).ok_or_else(|| unreadable_object(&key, request_id))
}

/// The manifest with a poster that was chosen later.
pub(crate) async fn get_manifest_with_poster(
    video: VideoId,
    config: &Config,
    now_ms: u64,
    request_id: &str,
) -> Result<Option<Manifest>, Problem> {
    let Some(mut manifest) = get_manifest(video, config, now_ms, request_id).await? else { return Ok(None) };
    if manifest.state == State::Ready {
        let poster = get_json(&Key::Poster(video), config, now_ms, request_id).await?;
        if let Some(poster) = poster.as_ref().and_then(Poster::from_json) {
            manifest.apply_poster(poster);
        }
    }
    Ok(Some(manifest))
}

fn unreadable_object(key: &Key, request_id: &str) -> Problem {
    platform::log_error("storage", request_id, &format!("{key} is not valid JSON"));
    Problem::new(Code::Upstream)
}
