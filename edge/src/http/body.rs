//! Reads the bodies of requests to the API, within their limits.

use glimpse_contract::{Code, Problem};

use crate::platform::{self, Request};

/// The longest JSON body that is read, in bytes.
const MAX_JSON_BYTES: usize = 64 * 1024;

/// Reads a JSON body.
///
/// # Errors
/// `too_large`
pub(crate) async fn read_json(request: &Request) -> Result<Vec<u8>, Problem> {
    platform::read_body(request, MAX_JSON_BYTES)
        .await
        .ok_or_else(|| Problem::with_detail(Code::TooLarge, "The body must be JSON of at most 64 KiB."))
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// `too_large`
pub(crate) async fn read(request: &Request, limit: usize) -> Result<Vec<u8>, Problem> {
    platform::read_body(request, limit).await.ok_or_else(|| {
        let detail = format!("The body must have at most {limit} bytes.");
        Problem::with_detail(Code::TooLarge, detail)
    })
}
