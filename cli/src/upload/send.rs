//! Sends one signed request to the storage.

use std::sync::Arc;
use std::time::Duration;

use glimpse_doctor::http::{RequestBody, WebClient};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::sleep;

use super::body::{AttemptProgress, Content};
use super::progress::FileProgress;
use crate::failure::{ExitStatus, Failure};
use crate::output::clean;
use crate::retry;

/// Time without a byte sent or received after which an attempt is given up.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest response of the storage that is read, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// A signed request, as the deployment returned it. It is a secret.
#[derive(Clone)]
pub(crate) struct SignedPut {
    /// The URL with its signature.
    pub(crate) url: String,
    /// The signed headers.
    pub(crate) headers: Vec<(String, String)>,
}

/// The result of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PutOutcome {
    /// The storage has it, with this ETag.
    Stored(String),
    /// The storage had it before.
    AlreadyStored,
    /// The signature is not accepted, for example because it has expired.
    Refused(Failure),
    /// The storage does not know the upload in parts.
    NoSuchUpload,
    /// Another attempt may succeed, after this delay if the storage asks for one.
    Retry(Failure, Option<Duration>),
    /// No attempt can succeed.
    Fatal(Failure),
}

/// Sends a content.
pub(crate) async fn put(
    client: &WebClient,
    signed: &SignedPut,
    content: &Content,
    progress: &Arc<FileProgress>,
) -> PutOutcome {
    let attempt = AttemptProgress::new(progress);
    let request = match build_request(signed, content, &attempt) {
        Ok(request) => request,
        Err(failure) => return PutOutcome::Fatal(failure),
    };
    let exchange = async {
        let (head, body) = client.open(request).await?.into_parts();
        let body =
            Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(|error| error.to_string())?;
        Ok((head, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    let stalled = async {
        let mut sent = None;
        while sent != Some(attempt.sent()) {
            sent = Some(attempt.sent());
            sleep(STALL_TIMEOUT).await;
        }
        Err(format!("nothing was sent for {} s", STALL_TIMEOUT.as_secs()))
    };
    let result: Result<_, String> = tokio::select! {
        result = exchange => result,
        result = stalled => result,
    };
    let outcome = match result {
        Ok((head, body)) => {
            let header =
                |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            evaluate(head.status.as_u16(), header("etag"), header("retry-after"), &body)
        }
        Err(why) => {
            let message = format!("no response from the storage: {}", clean(&why));
            PutOutcome::Retry(Failure::new(ExitStatus::Unavailable, message), None)
        }
    };
    if matches!(outcome, PutOutcome::Stored(_) | PutOutcome::AlreadyStored) {
        attempt.keep();
    }
    outcome
}

fn build_request(
    signed: &SignedPut,
    content: &Content,
    attempt: &Arc<AttemptProgress>,
) -> Result<Request<RequestBody>, Failure> {
    let invalid = |what: &str| Failure::failed(format!("the deployment returned an invalid {what}"));
    let mut request = Request::new(content.to_body(attempt));
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = signed.url.parse().map_err(|_| invalid("URL"))?;
    for (name, value) in &signed.headers {
        let name = HeaderName::try_from(name).map_err(|_| invalid("header"))?;
        let value = HeaderValue::try_from(value).map_err(|_| invalid("header"))?;
        request.headers_mut().insert(name, value);
    }
    request.headers_mut().insert(CONTENT_LENGTH, content.bytes().into());
    Ok(request)
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
fn evaluate(status: u16, etag: &str, retry_after: &str, body: &str) -> PutOutcome {
    let text = |name: &str| {
        let content = body.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once("</"));
        content.map(|(text, _)| clean(text).chars().take(160).collect::<String>()).unwrap_or_default()
    };
    let code = text("Code");
    let failure = |status_of_program| {
        let details = [status.to_string(), code.clone(), text("Message")];
        let details: Vec<String> = details.into_iter().filter(|part| !part.is_empty()).collect();
        Failure::new(status_of_program, format!("the storage responded {}", details.join(" ")))
    };
    match status {
        200 => PutOutcome::Stored(etag.to_owned()),
        412 => PutOutcome::AlreadyStored,
        404 if code == "NoSuchUpload" => PutOutcome::NoSuchUpload,
        // A clock that differs by more than 15 minutes is not fixed by another signature.
        403 if code != "RequestTimeTooSkewed" => PutOutcome::Refused(failure(ExitStatus::Failed)),
        409 => PutOutcome::Retry(failure(ExitStatus::Unavailable), None),
        _ if retry::is_transient(status) || code == "RequestTimeout" => {
            PutOutcome::Retry(failure(ExitStatus::Unavailable), retry::parse_retry_after(retry_after))
        }
        _ => PutOutcome::Fatal(failure(ExitStatus::Failed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> String {
        format!("<Error><Code>{code}</Code><Message>Why.</Message><Secret>hush</Secret></Error>")
    }

    #[test]
    fn responses_map_to_outcomes() {
        assert_eq!(evaluate(200, "\"e\"", "", ""), PutOutcome::Stored("\"e\"".into()));
        assert_eq!(evaluate(412, "", "", &error("PreconditionFailed")), PutOutcome::AlreadyStored);
        assert_eq!(evaluate(404, "", "", &error("NoSuchUpload")), PutOutcome::NoSuchUpload);
        assert!(matches!(evaluate(404, "", "", &error("NoSuchBucket")), PutOutcome::Fatal(_)));
        assert!(matches!(evaluate(403, "", "", &error("AccessDenied")), PutOutcome::Refused(_)));
        assert!(matches!(evaluate(403, "", "", &error("RequestTimeTooSkewed")), PutOutcome::Fatal(_)));
        assert!(matches!(evaluate(400, "", "", &error("RequestTimeout")), PutOutcome::Retry(_, None)));
        assert!(matches!(evaluate(400, "", "", &error("BadDigest")), PutOutcome::Fatal(_)));
        let PutOutcome::Retry(failure, delay) = evaluate(503, "", "7", &error("SlowDown")) else {
            panic!("503 is transient");
        };
        assert_eq!(failure.message, "the storage responded 503 SlowDown Why.");
        assert_eq!(delay, Some(Duration::from_secs(7)));
    }
}
