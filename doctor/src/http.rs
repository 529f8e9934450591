//! HTTP client of the command-line tools. This is the only module of the crate that opens connections. It follows no
//! redirects, uses no proxy, and stores nothing.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// Maximum size of a response body, in bytes: an image.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Timeout of a request: longer than rendering an on-demand image takes.
const TIMEOUT: Duration = Duration::from_secs(45);

/// A request's body, which may be generated while it is sent.
pub type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// HTTP client.
#[derive(Debug, Clone)]
pub struct WebClient(Client<HttpsConnector<HttpConnector>, RequestBody>);

/// An HTTP request. Its `Debug` output is redacted: URL, headers and body may contain credentials.
#[derive(Clone)]
pub struct WebRequest<'a> {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: &'a str,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for WebRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

impl<'a> WebRequest<'a> {
    /// Creates a request without headers and body.
    pub fn new(method: Method, url: &'a str) -> Self {
        Self { method, url, headers: Vec::new(), body: Bytes::new() }
    }

    /// The request for [`WebClient::open`].
    ///
    /// # Errors
    /// The URL or a header is invalid. The message does not contain their values.
    pub fn into_http(self) -> Result<Request<RequestBody>, String> {
        let body = Full::new(self.body).map_err(|never: Infallible| match never {}).boxed_unsync();
        let mut http_request = Request::new(body);
        *http_request.method_mut() = self.method;
        *http_request.uri_mut() = self.url.parse().map_err(|_| "invalid URL".to_owned())?;
        for (name, value) in self.headers {
            let name = HeaderName::try_from(name).map_err(|_| "invalid header name".to_owned())?;
            let value =
                HeaderValue::try_from(value).map_err(|_| format!("invalid value of header {name}"))?;
            http_request.headers_mut().insert(name, value);
        }
        Ok(http_request)
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// An HTTP response with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl WebResponse {
    /// A header's value as text; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; `null` if it is invalid.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of Glimpse's problem in the body; empty if the response is not a problem.
    pub fn problem_code(&self) -> String {
        let is_problem = self.header("content-type").starts_with("application/problem+json");
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        if is_problem { code } else { String::new() }
    }

    /// Status, problem code and detail (or body) on one line.
    pub fn summary(&self) -> String {
        let detail = self.json()["detail"].as_str().map(str::to_owned);
        let text = detail.unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        [self.status.to_string(), self.problem_code(), text]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl WebClient {
    /// Creates a client that trusts this machine's certificate authorities.
    ///
    /// # Errors
    /// The machine has no certificate authorities.
    pub fn new() -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .context("this machine has no certificate authorities: install ca-certificates")?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// A message with its causes: the request is invalid, or there was no complete response in time.
    pub async fn send(&self, request: WebRequest<'_>) -> Result<WebResponse, String> {
        let request = request.into_http()?;
        let exchange = async {
            let (head, body) = self.open(request).await?.into_parts();
            let body =
                Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| error.to_string())?;
            Ok(WebResponse { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
        };
        timeout(TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no response within {} s", TIMEOUT.as_secs())))
    }

    /// Sends a request and returns the response before its body has been read. There is no timeout.
    ///
    /// # Errors
    /// A message with its causes: there was no response.
    pub async fn open(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, String> {
        self.0.request(request).await.map_err(|error| error_chain(&error))
    }
}

/// An error with its causes, without repetitions.
fn error_chain(error: &dyn Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        cause = error.source();
    }
    parts.join(": ")
}
