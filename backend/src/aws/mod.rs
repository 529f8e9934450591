//! Client for AWS services other than S3: one POST, signed with Signature Version 4 and retried a few times.
//!
//! The backend needs three calls of SQS and one of SNS. They are signed with `aws-sigv4` and sent by [`HttpClient`], which
//! webhooks need anyway. Their SDKs would be two more crates to compile, and would not make a program smaller.

pub mod sns;
pub mod sqs;

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderValue, Uri};
use thiserror::Error;

use crate::notify::http::client::{AddressPolicy, HttpClient, HttpError, HttpRequest};

/// Timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of attempts for a call that fails with a transient error.
const MAX_ATTEMPTS: u32 = 3;
/// Pause after the first attempt. Each following pause is twice as long.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);

/// Why a call to a service failed.
#[derive(Debug, Error)]
pub enum AwsError {
    /// The service cannot be reached.
    #[error("{service} cannot be reached: {source}")]
    Unreachable {
        /// The name of the service.
        service: &'static str,
        /// The cause.
        source: HttpError,
    },
    /// The service returned an error.
    #[error("{service} returned {status} {code}")]
    ErrorResponse {
        /// The name of the service.
        service: &'static str,
        /// The HTTP status.
        status: u16,
        /// The service's error code; empty if the response has none.
        code: String,
    },
    /// The request cannot be signed.
    #[error("a request to {0} cannot be signed")]
    Signing(&'static str),
    /// The service returned 200, but the response lacks a required value.
    #[error("the response of {service} does not contain {value}")]
    MissingValue {
        /// The name of the service.
        service: &'static str,
        /// What is missing.
        value: &'static str,
    },
}

/// A client for one region, with the credentials of the function's role.
#[derive(Debug, Clone)]
pub struct AwsClient {
    /// The region of the service.
    pub region: String,
    /// The role's credentials.
    pub credentials: Credentials,
    /// The HTTP client.
    pub http_client: HttpClient,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
}

/// One call: a POST to the root of a service.
struct AwsRequest<'a> {
    service: &'static str,
    url: &'a Uri,
    headers: Vec<(&'static str, HeaderValue)>,
    body: Bytes,
}

impl AwsClient {
    /// Sends the request until the service returns 200, returns a permanent error, or the attempts are used up.
    async fn send(&self, call: AwsRequest<'_>) -> Result<Bytes, AwsError> {
        let mut backoff = INITIAL_BACKOFF;
        for _ in 1..MAX_ATTEMPTS {
            match self.send_once(&call).await {
                Err(error) if error.is_transient() => tokio::time::sleep(backoff).await,
                result => return result,
            }
            backoff *= 2;
        }
        self.send_once(&call).await
    }

    async fn send_once(&self, request: &AwsRequest<'_>) -> Result<Bytes, AwsError> {
        let service = request.service;
        let mut headers = request.headers.clone();
        headers.extend(self.auth_headers(request).ok_or(AwsError::Signing(service))?);
        let http_request = HttpRequest { url: request.url, headers, body: request.body.clone() };
        let response = self.http_client.post(http_request, AddressPolicy::Anywhere, ATTEMPT_TIMEOUT).await;
        let response = response.map_err(|source| AwsError::Unreachable { service, source })?;
        if response.status == 200 {
            return Ok(response.body);
        }
        Err(AwsError::ErrorResponse { service, status: response.status, code: error_code(&response.body) })
    }

    /// The headers of the signature.
    fn auth_headers(&self, request: &AwsRequest<'_>) -> Option<Vec<(&'static str, HeaderValue)>> {
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(request.service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_millis((self.now_ms)()))
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let headers = request.headers.iter().filter_map(|(name, value)| Some((*name, value.to_str().ok()?)));
        let host = request.url.authority()?.as_str();
        let headers = headers.chain([("host", host)]);
        let body = SignableBody::Bytes(&request.body);
        let signable = SignableRequest::new("POST", request.url.to_string(), headers, body).ok()?;
        let (instructions, _) = sign(signable, &params.into()).ok()?.into_parts();
        let (headers, _) = instructions.into_parts();
        headers
            .into_iter()
            .map(|header| Some((header.name(), HeaderValue::try_from(header.value()).ok()?)))
            .collect()
    }
}

impl AwsError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // SQS throttles with status 400 or 403 and `RequestThrottled` or `ThrottlingException`.
            Self::ErrorResponse { status, code, .. } => {
                *status == 429 || *status >= 500 || code.contains("Throttl")
            }
            Self::Signing(_) | Self::MissingValue { .. } => false,
        }
    }
}

/// The error code of a response, from JSON (`__type`) or XML (`Code`). It is logged, so only a short run of safe
/// characters is kept.
fn error_code(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text_after = |prefix: &str| text.split_once(prefix).map(|(_, rest)| rest.to_owned());
    let rest = text_after("\"__type\":\"").or_else(|| text_after("<Code>")).unwrap_or_default();
    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '#')).take(100).collect()
}

/// The root URL of a service: the URL without its path.
fn endpoint_root(url: &Uri) -> Option<Uri> {
    let (scheme, authority) = (url.scheme()?.clone(), url.authority()?.clone());
    Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(token: Option<&str>) -> AwsClient {
        let token = token.map(str::to_owned);
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        AwsClient {
            region: "us-east-1".into(),
            credentials: Credentials::new("AKIDEXAMPLE", secret, token, None, "test"),
            http_client: HttpClient::default(),
            now_ms: || 1_440_938_160_000,
        }
    }

    fn auth_headers(token: Option<&str>) -> Vec<(&'static str, HeaderValue)> {
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let request = AwsRequest { service: "service", url: &url, headers: Vec::new(), body: Bytes::new() };
        client(token).auth_headers(&request).unwrap()
    }

    /// `post-vanilla` and `post-sts-header-before` of the AWS Signature Version 4 test suite.
    #[test]
    fn matches_sigv4_test_vector() {
        let headers = auth_headers(None);
        let header = |name| headers.iter().find(|(known, _)| *known == name).unwrap().1.to_str().unwrap();
        assert_eq!(
            header("authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(header("x-amz-date"), "20150830T123600Z");
        assert!(auth_headers(Some("token")).iter().any(|(name, _)| *name == "x-amz-security-token"));
    }

    #[test]
    fn extracts_only_the_error_code() {
        for (body, code) in [
            (
                r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"m"}"#,
                "com.amazonaws.sqs#QueueDoesNotExist",
            ),
            ("<ErrorResponse><Error><Code>AuthorizationError</Code>", "AuthorizationError"),
            ("<html>\u{7}", ""),
            ("<Code>a\nb", "a"),
        ] {
            assert_eq!(error_code(body.as_bytes()), code);
        }
    }

    #[test]
    fn retries_only_transient_errors() {
        let is_transient = |status, code: &str| {
            AwsError::ErrorResponse { service: "sqs", status, code: code.to_owned() }.is_transient()
        };
        for (status, code) in [
            (429, ""),
            (500, "InternalFailure"),
            (503, ""),
            (403, "com.amazonaws.sqs#RequestThrottled"),
            (400, "com.amazon.coral.service#ThrottlingException"),
        ] {
            assert!(is_transient(status, code), "{status} {code}");
        }
        for (status, code) in [(400, "com.amazonaws.sqs#QueueDoesNotExist"), (403, "AccessDenied"), (307, "")]
        {
            assert!(!is_transient(status, code), "{status} {code}");
        }
        let value = "the number of messages";
        assert!(!AwsError::MissingValue { service: "sqs", value }.is_transient());
        assert!(!AwsError::Signing("sqs").is_transient());
    }

    #[test]
    fn debug_hides_secrets() {
        let text = format!("{:?}", client(Some("very-secret-token")));
        assert!(
            text.contains("AKIDEXAMPLE") && !text.contains("wJalr") && !text.contains("very-secret"),
            "{text}"
        );
    }
}
