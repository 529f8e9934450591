//! Decides what S3's answers mean to a client: there, not there, or trouble that is not the client's.

use glimpse_contract::{Code, Json, Key, Manifest, Poster, Problem, State, VideoId};

use crate::config::Config;
use crate::platform::{self, Incoming, Outgoing, PATIENCE_MS, Sent};
use crate::s3::sigv4::SignError;
use crate::s3::{self, S3Request};

/// How long the storage may take to take a video's bytes, in milliseconds: as long as somebody's connection is slow.
const SEND_PATIENCE_MS: u32 = 60 * 60 * 1000;
/// The largest JSON document or listing that is read, in bytes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// A signed request; what cannot be signed is our own fault.
pub(crate) fn sign<T>(signed: Result<T, SignError>, request_id: &str) -> Result<T, Problem> {
    signed.map_err(|error| {
        platform::log_error("sign", request_id, &error.to_string());
        Problem::new(Code::Internal)
    })
}

/// Sends a signed request.
pub(crate) async fn send(request: &S3Request, request_id: &str) -> Result<Incoming, Problem> {
    let body = request.body.as_deref().map_or(Sent::Nothing, Sent::Text);
    send_with(request, body, request_id).await
}

/// Sends a signed request with a body that is no text of ours.
pub(crate) async fn send_with(
    request: &S3Request,
    body: Sent<'_>,
    request_id: &str,
) -> Result<Incoming, Problem> {
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        // It is signed, and set by whoever sends the body.
        .filter(|(name, _)| *name != "content-length")
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let patience_ms = match &body {
        Sent::Nothing | Sent::Text(_) => PATIENCE_MS,
        Sent::Bytes(_) | Sent::Stream(_) => SEND_PATIENCE_MS,
    };
    let outgoing =
        Outgoing { method: request.method, url: &request.url, headers: &headers, body, patience_ms };
    platform::fetch(outgoing).await.map_err(|error| {
        platform::log_error("storage", request_id, &error.to_string());
        Problem::new(Code::Upstream)
    })
}

/// The body of an answer of S3 as text, at most [`MAX_DOCUMENT_BYTES`] of it; what is longer or broken off is empty.
pub(crate) async fn text(answer: Incoming) -> String {
    let bytes = answer.bytes(MAX_DOCUMENT_BYTES).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The problem behind a status that should not have come: a refused signature, a missing permission, a fault.
pub(crate) fn unexpected(status: u16, request_id: &str) -> Problem {
    platform::log_error("storage", request_id, &format!("S3 answered {status}"));
    Problem::new(match status {
        403 => Code::NoAccess,
        503 => Code::Busy,
        _ => Code::Upstream,
    })
}

/// A JSON document of ours; `None` if it is not there.
pub(crate) async fn read_json(
    key: &Key,
    config: &Config,
    now_ms: u64,
    request_id: &str,
) -> Result<Option<Json>, Problem> {
    let found = send(&sign(s3::get(key, config, now_ms), request_id)?, request_id).await?;
    match found.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(unexpected(status, request_id)),
    }
    let bytes = found.bytes(MAX_DOCUMENT_BYTES).await.map_err(|_| unreadable(key, request_id))?;
    Json::read(&bytes).map(Some).ok_or_else(|| unreadable(key, request_id))
}

/// The manifest of a video; `None` if there is none.
pub(crate) async fn manifest(
    video: VideoId,
    config: &Config,
    now_ms: u64,
    request_id: &str,
) -> Result<Option<Manifest>, Problem> {
    let key = Key::Manifest(video);
    let Some(json) = read_json(&key, config, now_ms, request_id).await? else { return Ok(None) };
    Manifest::of_json(&json).map(Some).ok_or_else(|| unreadable(&key, request_id))
}

/// The same with what a later choice of the poster has changed.
pub(crate) async fn manifest_with_poster(
    video: VideoId,
    config: &Config,
    now_ms: u64,
    request_id: &str,
) -> Result<Option<Manifest>, Problem> {
    let Some(mut manifest) = manifest(video, config, now_ms, request_id).await? else { return Ok(None) };
    if manifest.state == State::Ready {
        let poster = read_json(&Key::Poster(video), config, now_ms, request_id).await?;
        if let Some(poster) = poster.as_ref().and_then(Poster::of_json) {
            manifest.apply(poster);
        }
    }
    Ok(Some(manifest))
}

fn unreadable(key: &Key, request_id: &str) -> Problem {
    platform::log_error("storage", request_id, &format!("{key} cannot be read"));
    Problem::new(Code::Upstream)
}
