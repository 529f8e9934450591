//! Decides how a service of AWS other than S3 is asked: one signed POST, tried a few times.
//!
//! Of SQS and SNS two calls and one are needed. Their SDKs would bring a client with its own runtime each, into a
//! binary whose size is its start-up; signed by `aws-sigv4` and sent by `net::post` they cost a few kilobytes.

pub mod sns;
pub mod sqs;

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderValue, Uri};
use thiserror::Error;

use crate::notify::http::client::{Letter, PostError, Poster, Reach};

/// How long one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(3);
/// How often a call is tried that fails in a way that may pass.
const TRIES: u32 = 3;
/// How long the first pause between tries is; the next is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why a service did not do what it was asked.
#[derive(Debug, Error)]
pub enum CallError {
    /// It cannot be reached.
    #[error("{service} cannot be reached: {source}")]
    Unreachable {
        /// Which.
        service: &'static str,
        /// Why.
        source: PostError,
    },
    /// It said no.
    #[error("{service} answered {status} {code}")]
    Refused {
        /// Which.
        service: &'static str,
        /// The status.
        status: u16,
        /// The service's own word for it; empty if it says none.
        code: String,
    },
    /// The request cannot be signed.
    #[error("a request to {0} cannot be signed")]
    Unsigned(&'static str),
}

/// Who asks, and how.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The region of the service.
    pub region: String,
    /// The role's credentials.
    pub credentials: Credentials,
    /// The connection.
    pub poster: Poster,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
}

/// A call: a POST to a service's root.
struct Call<'a> {
    service: &'static str,
    url: &'a Uri,
    headers: Vec<(&'static str, HeaderValue)>,
    body: Bytes,
}

impl Caller {
    /// Asks until the service has answered 200, or refuses, or was tried often enough.
    async fn call(&self, call: Call<'_>) -> Result<Bytes, CallError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.attempt(&call).await {
                Err(error) if error.may_pass() => tokio::time::sleep(pause).await,
                settled => return settled,
            }
            pause *= 2;
        }
        self.attempt(&call).await
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Bytes, CallError> {
        let service = call.service;
        let mut headers = call.headers.clone();
        headers.extend(self.signature(call).ok_or(CallError::Unsigned(service))?);
        let letter = Letter { url: call.url, headers, body: call.body.clone() };
        let answer = self.poster.post(letter, Reach::Anywhere, TRY_LIMIT).await;
        let answer = answer.map_err(|source| CallError::Unreachable { service, source })?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        Err(CallError::Refused { service, status: answer.status, code: code_of(&answer.body) })
    }

    /// The headers that prove who asks.
    fn signature(&self, call: &Call<'_>) -> Option<Vec<(&'static str, HeaderValue)>> {
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(call.service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_millis((self.now_ms)()))
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let headers = call.headers.iter().filter_map(|(name, value)| Some((*name, value.to_str().ok()?)));
        let host = call.url.authority()?.as_str();
        let headers = headers.chain([("host", host)]);
        let body = SignableBody::Bytes(&call.body);
        let request = SignableRequest::new("POST", call.url.to_string(), headers, body).ok()?;
        let (made, _) = sign(request, &params.into()).ok()?.into_parts();
        let (headers, _) = made.into_parts();
        headers
            .into_iter()
            .map(|header| Some((header.name(), HeaderValue::try_from(header.value()).ok()?)))
            .collect()
    }
}

impl CallError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Unsigned(_) => false,
        }
    }
}

/// What a service calls its error, in JSON (`__type`) or XML (`Code`); for the log, so nothing but a word.
fn code_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest.to_owned());
    let rest = after("\"__type\":\"").or_else(|| after("<Code>")).unwrap_or_default();
    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '#')).take(100).collect()
}

/// The address of a service's root: the URL without its path.
fn root_of(url: &Uri) -> Option<Uri> {
    let (scheme, authority) = (url.scheme()?.clone(), url.authority()?.clone());
    Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(token: Option<&str>) -> Caller {
        let token = token.map(str::to_owned);
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        Caller {
            region: "us-east-1".into(),
            credentials: Credentials::new("AKIDEXAMPLE", secret, token, None, "test"),
            poster: Poster::default(),
            now_ms: || 1_440_938_160_000,
        }
    }

    fn signed(token: Option<&str>) -> Vec<(&'static str, HeaderValue)> {
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let call = Call { service: "service", url: &url, headers: Vec::new(), body: Bytes::new() };
        caller(token).signature(&call).unwrap()
    }

    /// `post-vanilla` and `post-sts-header-before` of AWS's Signature Version 4 test suite.
    #[test]
    fn the_test_suites_vector_is_signed() {
        let headers = signed(None);
        let of = |name| headers.iter().find(|(known, _)| *known == name).unwrap().1.to_str().unwrap();
        assert_eq!(
            of("authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(of("x-amz-date"), "20150830T123600Z");
        assert!(signed(Some("token")).iter().any(|(name, _)| *name == "x-amz-security-token"));
    }

    #[test]
    fn a_services_own_word_is_kept_and_nothing_else() {
        for (body, code) in [
            (
                r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"m"}"#,
                "com.amazonaws.sqs#QueueDoesNotExist",
            ),
            ("<ErrorResponse><Error><Code>AuthorizationError</Code>", "AuthorizationError"),
            ("<html>\u{7}", ""),
            ("<Code>a\nb", "a"),
        ] {
            assert_eq!(code_of(body.as_bytes()), code);
        }
    }

    #[test]
    fn secrets_cannot_print() {
        let text = format!("{:?}", caller(Some("very-secret-token")));
        assert!(
            text.contains("AKIDEXAMPLE") && !text.contains("wJalr") && !text.contains("very-secret"),
            "{text}"
        );
    }
}
