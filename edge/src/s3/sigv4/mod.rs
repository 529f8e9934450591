//! AWS Signature Version 4: presigned URLs and POST policies of S3, signed headers for a function. Pure: the clock is
//! an argument.

mod canonical;
mod headers;
mod post_policy;
mod presign;
pub mod timestamp;
mod url;

pub use crate::s3::sigv4::headers::{HeaderSigningParams, sign_headers};
pub use crate::s3::sigv4::post_policy::{PolicyCondition, PostPolicy, SignedForm, sign_post_policy};
pub use crate::s3::sigv4::presign::{PresignParams, presign};
pub use crate::s3::sigv4::url::{S3Bucket, encode_path, encode_query_value};

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

/// An access key of the bucket's account. The secret is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
    /// Set for temporary credentials only.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ***)", self.access_key_id)
    }
}

/// A URL or a header that is invalid in a request. It is not part of the message: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("invalid URL or header")]
pub struct SignError;

fn system_time(now_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_secret() {
        let credentials = Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: "hush".into(),
            session_token: Some("token".into()),
        };
        let text = format!("{credentials:?}");
        assert!(text.contains("AKID") && !text.contains("hush") && !text.contains("token"), "{text}");
    }
}
