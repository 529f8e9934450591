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
const PATIENCE: Duration = Duration::from_secs(45);

/// Asks others.
#[derive(Debug, Clone)]
pub(crate) struct Web(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// A question.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl<'a> Question<'a> {
    /// One without headers and body.
    pub(crate) fn new(method: Method, url: &'a str) -> Self {
        Self { method, url, headers: Vec::new(), body: Bytes::new() }
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// An answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header as text; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; `null` if it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of the problem of Glimpse's that it is; empty if it is none.
    pub(crate) fn code(&self) -> String {
        let is_problem = self.header("content-type").starts_with("application/problem+json");
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        if is_problem { code } else { String::new() }
    }

    /// Status and what was said of it, on one line.
    pub(crate) fn told(&self) -> String {
        let detail = self.json()["detail"].as_str().map(str::to_owned);
        let text = detail.unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        [self.status.to_string(), self.code(), text]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl Web {
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
    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<Answer, String> {
        let mut request = Request::new(Full::new(question.body));
        *request.method_mut() = question.method;
        *request.uri_mut() = question.url.parse().map_err(|_| "this is no URL".to_owned())?;
        for (name, value) in question.headers {
            let name = HeaderName::try_from(name).map_err(|_| "a header's name is none".to_owned())?;
            let value = HeaderValue::try_from(value).map_err(|_| format!("{name} has no such value"))?;
            request.headers_mut().insert(name, value);
        }
        let exchange = async {
            let answer = self.0.request(request).await.map_err(|error| chain(&error))?;
            let (head, body) = answer.into_parts();
            let body =
                Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| error.to_string())?;
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
        };
        timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {} s", PATIENCE.as_secs())))
    }
}

/// An error with its causes, each once.
fn chain(error: &dyn Error) -> String {
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
