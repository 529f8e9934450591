//! Calls of a deployment's API: credential, retries, and problems as failures.

use std::time::Duration;

use bytes::Bytes;
use glimpse_doctor::http::{RequestBody, WebClient, WebRequest, WebResponse};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::config::Credential;
use crate::failure::{CommandResult, ExitStatus, Failure};
use crate::origin::DeploymentUrl;
use crate::output::clean;
use crate::retry;

/// How often a call of the API is sent, at most: a person waits for it.
const MAX_CALL_ATTEMPTS: u32 = 4;
/// Time until a response begins.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(45);

/// A client of one deployment with one credential.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: WebClient,
    url: DeploymentUrl,
    credential: Option<Credential>,
}

/// A response that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorResponse {
    pub(crate) status: u16,
    pub(crate) failure: Failure,
}

/// Random number from 0 to 1, for delays.
pub(crate) fn random_fraction() -> f64 {
    // Without randomness, the delay is the longest.
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

impl Api {
    /// Creates a client.
    ///
    /// # Errors
    /// This machine has no certificate authorities.
    pub(crate) fn new(url: DeploymentUrl, credential: Option<Credential>) -> CommandResult<Self> {
        let client = WebClient::new().map_err(|error| Failure::failed(format!("{error:#}")))?;
        Ok(Self { client, url, credential })
    }

    /// The deployment's address.
    pub(crate) fn url(&self) -> &DeploymentUrl {
        &self.url
    }

    /// The client, for requests to other addresses.
    pub(crate) fn client(&self) -> &WebClient {
        &self.client
    }

    /// Calls the API, again after a transient error, and returns the JSON of the response.
    ///
    /// # Errors
    /// The problem of the response, or no response.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> CommandResult<Value> {
        self.try_call(method, path, body).await.map_err(|error| error.failure)
    }

    /// The same, with the status of an error.
    ///
    /// # Errors
    /// The response, with status 0 if there was none.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ErrorResponse> {
        let mut failures = 0;
        loop {
            let (error, retry_after) = match self.send_once(method.clone(), path, body).await {
                Ok(response) if (200..300).contains(&response.status) => return Ok(response.json()),
                Ok(response) => {
                    let retry_after = retry::parse_retry_after(response.header("retry-after"));
                    (error_response(&response), retry_after)
                }
                Err(why) => (self.no_response(&why), None),
            };
            failures += 1;
            let is_transient = error.status == 0 || retry::is_transient(error.status);
            if !is_transient || failures >= MAX_CALL_ATTEMPTS {
                return Err(error);
            }
            sleep(retry::delay(failures, retry_after, random_fraction())).await;
        }
    }

    async fn send_once(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<WebResponse, String> {
        let url = self.url.call(path);
        let mut request = WebRequest::new(method, &url);
        request.headers = self.headers();
        if let Some(body) = body {
            request.headers.push(("content-type".to_owned(), "application/json".to_owned()));
            request.body = Bytes::from(body.to_string());
        }
        self.client.send(request).await
    }

    /// The headers with the credential. A deployment accepts a cookie only with an origin.
    fn headers(&self) -> Vec<(String, String)> {
        let header = |name: &str, value: String| (name.to_owned(), value);
        match &self.credential {
            // An upload token in the URL is the credential.
            _ if self.url.upload_token().is_some() => Vec::new(),
            None => Vec::new(),
            Some(Credential::Token(token)) => {
                vec![header("authorization", format!("Bearer {}", token.expose()))]
            }
            Some(Credential::Session { cookie, .. }) => {
                vec![
                    header("cookie", cookie.expose().to_owned()),
                    header("origin", self.url.origin().to_owned()),
                ]
            }
        }
    }

    /// Opens a stream: returns the response before its body.
    ///
    /// # Errors
    /// There was no response. The message names the deployment.
    pub(crate) async fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Incoming>, ErrorResponse> {
        let url = self.url.call(path);
        let mut request = WebRequest::new(Method::GET, &url);
        request.headers = self.headers();
        for (name, value) in headers {
            request = request.with_header(name, *value);
        }
        let request: Request<RequestBody> = request.into_http().map_err(|why| self.no_response(&why))?;
        match timeout(RESPONSE_TIMEOUT, self.client.open(request)).await {
            Ok(response) => response.map_err(|why| self.no_response(&why)),
            Err(_) => Err(self.no_response(&format!("none within {} s", RESPONSE_TIMEOUT.as_secs()))),
        }
    }

    fn no_response(&self, why: &str) -> ErrorResponse {
        let message = format!("no response from {}: {}", self.url, clean(why));
        ErrorResponse { status: 0, failure: Failure::new(ExitStatus::Unavailable, message) }
    }
}

/// The exit status for a response.
fn exit_status(status: u16) -> ExitStatus {
    match status {
        401 => ExitStatus::Unauthenticated,
        404 | 410 => ExitStatus::NotFound,
        408 | 429 | 500..=599 => ExitStatus::Unavailable,
        _ => ExitStatus::Failed,
    }
}

/// The failure that a response reports: Glimpse's problem, or its status.
pub(crate) fn error_response(response: &WebResponse) -> ErrorResponse {
    let status = response.status;
    let code = Some(response.problem_code()).filter(|code| !code.is_empty());
    let json = response.json();
    let message = match (&code, json["detail"].as_str()) {
        (Some(_), Some(detail)) => clean(detail),
        _ => format!("the response has the status {status} and is not from Glimpse: check the address"),
    };
    let request_id = json["request_id"].as_str().map(clean).filter(|_| code.is_some());
    let mut failure = Failure { code, request_id, ..Failure::new(exit_status(status), message) };
    if status == 401 {
        failure.message.push_str(" Run `glimpse login`, or set GLIMPSE_TOKEN.");
    }
    ErrorResponse { status, failure }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::secret::Secret;

    fn response(status: u16, content_type: &str, body: &str) -> WebResponse {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", content_type.parse().unwrap());
        WebResponse { status, headers, body: Bytes::from(body.to_owned()) }
    }

    #[test]
    fn problems_become_failures() {
        let body = r#"{"code":"not_found","detail":"Nothing\u001b[1m here.","request_id":"r1"}"#;
        let found = error_response(&response(404, "application/problem+json", body));
        assert_eq!(found.failure.status, ExitStatus::NotFound);
        assert_eq!(found.failure.to_string(), "Nothing[1m here. (not_found, request r1)");
        let html = error_response(&response(404, "text/html", "<h1>x</h1>"));
        assert!(html.failure.message.contains("not from Glimpse"), "{}", html.failure);
    }

    #[test]
    fn statuses_map_to_exit_statuses() {
        for (status, expected) in [
            (400, ExitStatus::Failed),
            (401, ExitStatus::Unauthenticated),
            (403, ExitStatus::Failed),
            (404, ExitStatus::NotFound),
            (410, ExitStatus::NotFound),
            (429, ExitStatus::Unavailable),
            (502, ExitStatus::Unavailable),
        ] {
            assert_eq!(exit_status(status), expected, "{status}");
        }
    }

    #[test]
    fn credential_is_sent_and_not_printed() {
        let api = |credential| {
            let url = DeploymentUrl::parse("https://video.example").unwrap();
            Api { client: WebClient::new().unwrap(), url, credential }
        };
        let token = api(Some(Credential::Token(Secret::new("hush"))));
        assert_eq!(token.headers(), [("authorization".into(), "Bearer hush".into())]);
        assert!(!format!("{token:?}").contains("hush"));
        let session = Credential::Session { cookie: Secret::new("glimpse=hush"), expires_at: 1 };
        let headers = api(Some(session)).headers();
        assert_eq!(headers[0], ("cookie".into(), "glimpse=hush".into()));
        assert_eq!(headers[1], ("origin".into(), "https://video.example".into()));
    }
}
