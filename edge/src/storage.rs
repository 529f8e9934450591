//! Decides what S3's answers mean to a client: there, not there, or trouble that is not the client's.

use glimpse_contract::{Code, Key, Problem};
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::platform::{self, Incoming, Outgoing};
use crate::s3::{self, S3Request};
use crate::sign::SignError;

/// The largest JSON document or listing that is read, in bytes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// A signed request; what cannot be signed is our own fault.
pub(crate) fn sign(signed: Result<S3Request, SignError>, request_id: &str) -> Result<S3Request, Problem> {
    signed.map_err(|error| {
        platform::log_error("sign", request_id, &error.to_string());
        Problem::new(Code::Internal)
    })
}

/// Sends a signed request.
pub(crate) async fn send(request: &S3Request, request_id: &str) -> Result<Incoming, Problem> {
    platform::fetch(Outgoing::plain(request.method, &request.url)).await.map_err(|error| {
        platform::log_error("storage", request_id, &error.to_string());
        Problem::new(Code::Upstream)
    })
}

/// The problem behind a status that should not have come: a refused signature, a missing permission, a fault.
pub(crate) fn unexpected(status: u16, request_id: &str) -> Problem {
    platform::log_error("storage", request_id, &format!("S3 answered {status}"));
    Problem::new(if status == 503 { Code::Busy } else { Code::Upstream })
}

/// A JSON document of ours; `None` if it is not there.
pub(crate) async fn read_json<T: DeserializeOwned>(
    key: &Key,
    config: &Config,
    now_ms: u64,
    request_id: &str,
) -> Result<Option<T>, Problem> {
    let found = send(&sign(s3::get(key, config, now_ms), request_id)?, request_id).await?;
    match found.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(unexpected(status, request_id)),
    }
    let trouble = |detail: String| {
        platform::log_error("storage", request_id, &detail);
        Problem::new(Code::Upstream)
    };
    let bytes = found.bytes(MAX_DOCUMENT_BYTES).await.map_err(|error| trouble(error.to_string()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| trouble(format!("{key}: {error}")))
}
