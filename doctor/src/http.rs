//! Decides how another machine is asked: the only place of this crate that connects. No redirect is followed, no proxy
//! asked, nothing kept.

use std::error::Error;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// The most of an answer that is read, in bytes: a picture.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// How long an answer may take: longer than a picture on demand.
const TIMEOUT: Duration = Duration::from_secs(45);

/// Asks others.
#[derive(Debug, Clone)]
pub(crate) struct WebClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// A question.
#[derive(Debug, Clone)]
pub(crate) struct WebRequest<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl<'a> WebRequest<'a> {
    /// One without headers and body.
    pub(crate) fn new(method: Method, url: &'a str) -> Self {
        Self { method, url, headers: Vec::new(), body: Bytes::new() }
    }

    /// The same with one more header.
    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// An answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl WebResponse {
    /// A header as text; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; `null` if it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of the problem of Glimpse's that it is; empty if it is none.
    pub(crate) fn problem_code(&self) -> String {
        let is_problem = self.header("content-type").starts_with("application/problem+json");
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        if is_problem { code } else { String::new() }
    }

    /// Status and what was said of it, on one line.
    pub(crate) fn summary(&self) -> String {
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
    /// One that trusts the authorities of this machine.
    ///
    /// # Errors
    /// The machine has none.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .context("this machine trusts no certificate authority: install ca-certificates")?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// The answer, or why there is none, with its causes.
    pub(crate) async fn send(&self, request: WebRequest<'_>) -> Result<WebResponse, String> {
        let mut http_request = Request::new(Full::new(request.body));
        *http_request.method_mut() = request.method;
        *http_request.uri_mut() = request.url.parse().map_err(|_| "this is no URL".to_owned())?;
        for (name, value) in request.headers {
            let name = HeaderName::try_from(name).map_err(|_| "a header's name is none".to_owned())?;
            let value = HeaderValue::try_from(value).map_err(|_| format!("{name} has no such value"))?;
            http_request.headers_mut().insert(name, value);
        }
        let exchange = async {
            let response = self.0.request(http_request).await.map_err(|error| error_chain(&error))?;
            let (head, body) = response.into_parts();
            let body =
                Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| error.to_string())?;
            Ok(WebResponse { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
        };
        timeout(TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {} s", TIMEOUT.as_secs())))
    }
}

/// An error with its causes, each once.
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
