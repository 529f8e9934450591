//! Decides how an answer becomes a response: the one place that builds `worker::Response`.

use std::fmt;
use std::pin::Pin;

use futures_util::Stream;
use glimpse_contract::Problem;
use serde::Serialize;
use worker::{Headers, Response, ResponseBuilder};

/// Bytes that are made while they are sent.
pub(crate) struct Chunks(pub(crate) Pin<Box<dyn Stream<Item = worker::Result<Vec<u8>>>>>);

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chunks")
    }
}

/// What a response carries.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The body of another response, passed on without being read.
    Upstream(Response),
    /// Bytes as they come.
    Stream(Chunks),
}

/// An answer: status, headers and body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

impl Reply {
    /// No body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Empty }
    }

    /// A JSON body, never cached: it is about the one who asked.
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("our own types are plain data");
        Self { status, headers: Vec::new(), body: Body::Bytes(body) }
            .with("content-type", "application/json; charset=utf-8")
            .with("cache-control", "no-store")
            .with("x-content-type-options", "nosniff")
    }

    /// An XML body, as S3 would answer it.
    pub(crate) fn xml(status: u16, xml: String) -> Self {
        Self { status, headers: Vec::new(), body: Body::Bytes(xml.into_bytes()) }
            .with("content-type", "application/xml")
            .with("cache-control", "no-store")
            .with("x-content-type-options", "nosniff")
    }

    /// `application/problem+json`, RFC 9457.
    pub(crate) fn problem(problem: &Problem, request_id: &str) -> Self {
        let mut reply = Self::json(problem.code.status(), &problem.body(request_id));
        reply.replace("content-type", "application/problem+json; charset=utf-8");
        reply
    }

    /// Sends the browser elsewhere.
    pub(crate) fn redirect(location: &str) -> Self {
        Self::empty(302).with("location", location).with("cache-control", "no-store")
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets a header anew.
    pub(crate) fn replace(&mut self, name: &'static str, value: &str) {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
    }

    /// The response. The answer to `HEAD` keeps its headers and loses its body.
    pub(crate) fn into_response(self, is_head: bool) -> worker::Result<Response> {
        let headers = Headers::new();
        for (name, value) in &self.headers {
            headers.append(name, value)?;
        }
        let builder = ResponseBuilder::new().with_status(self.status).with_headers(headers);
        Ok(match self.body {
            _ if is_head => builder.empty(),
            Body::Empty => builder.empty(),
            Body::Bytes(bytes) => builder.fixed(bytes),
            Body::Stream(chunks) => builder.from_stream(chunks.0)?,
            Body::Upstream(response) => builder.body(response.into_parts().1),
        })
    }
}
