//! Responses before they reach the runtime, and their conversion: the only place that constructs a response.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use glimpse_contract::{Json, Problem, object};
use wasm_bindgen::{JsCast as _, JsValue};

use web_sys::Response;

/// Bytes that are generated while they are sent.
pub(crate) struct ChunkStream(pub(crate) Pin<Box<dyn Stream<Item = Vec<u8>>>>);

impl fmt::Debug for ChunkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkStream")
    }
}

/// The body of a response.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// No body.
    Empty,
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// The body of another response, passed through unread.
    ResponseBody(Response),
    /// Another response unchanged, with its status and headers.
    Response(Response),
    /// Another response, with these headers instead of its own.
    ResponseWithHeaders(Response),
    /// A stream of bytes.
    Stream(ChunkStream),
}

/// A response: status, headers and body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: ReplyBody,
}

impl Reply {
    /// A response without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Empty }
    }

    /// A JSON response, never cached: it is specific to the caller.
    pub(crate) fn json(status: u16, value: &Json) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Text(value.to_string()) }
            .with_header("content-type", "application/json; charset=utf-8")
            .with_header("cache-control", "no-store")
            .with_header("x-content-type-options", "nosniff")
    }

    /// An XML response in S3's format.
    pub(crate) fn xml(status: u16, xml: String) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Text(xml) }
            .with_header("content-type", "application/xml")
            .with_header("cache-control", "no-store")
            .with_header("x-content-type-options", "nosniff")
    }

    /// `application/problem+json`, RFC 9457.
    pub(crate) fn problem(problem: &Problem, request_id: &str) -> Self {
        let mut reply = Self::json(problem.code.status(), &problem.body(request_id));
        reply.set_header("content-type", "application/problem+json; charset=utf-8");
        reply
    }

    /// A cached response, unchanged.
    pub(crate) fn from_response(response: Response) -> Self {
        Self { status: 200, headers: Vec::new(), body: ReplyBody::Response(response) }
    }

    /// A cached response, unchanged except for the headers that are added.
    pub(crate) fn from_response_with_headers(response: Response) -> Self {
        Self {
            status: response.status(),
            headers: Vec::new(),
            body: ReplyBody::ResponseWithHeaders(response),
        }
    }

    /// Redirects the browser.
    pub(crate) fn redirect(location: &str) -> Self {
        Self::empty(302).with_header("location", location).with_header("cache-control", "no-store")
    }

    /// Adds a header.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets a header, replacing earlier values.
    pub(crate) fn set_header(&mut self, name: &'static str, value: &str) {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
    }

    /// Converts to the runtime's response. The response to `HEAD` keeps its headers and loses its body.
    pub(crate) fn into_response(self, is_head: bool) -> Result<Response, JsValue> {
        if let ReplyBody::Response(response) = self.body {
            return Ok(response);
        }
        if let ReplyBody::ResponseWithHeaders(response) = &self.body {
            let body = response.body().filter(|_| !is_head);
            let changed =
                Response::new_with_opt_readable_stream_and_init(body.as_ref(), response.unchecked_ref())?;
            let headers = changed.headers();
            for (name, value) in &self.headers {
                headers.set(name, value)?;
            }
            return Ok(changed);
        }
        let init = response_init(self.status, &self.headers)?;
        let stream = match self.body {
            _ if is_head => None,
            ReplyBody::Empty => None,
            ReplyBody::Text(text) => return Response::new_with_opt_str_and_init(Some(&text), &init),
            ReplyBody::Bytes(bytes) => {
                let bytes = js_sys::Uint8Array::from(&bytes[..]);
                return Response::new_with_opt_buffer_source_and_init(Some(&bytes), &init);
            }
            ReplyBody::Stream(chunks) => {
                let chunks = chunks.0.map(|chunk| Ok(js_sys::Uint8Array::from(chunk.as_slice()).into()));
                Some(wasm_streams::ReadableStream::from_stream(chunks).into_raw().unchecked_into())
            }
            ReplyBody::ResponseBody(response)
            | ReplyBody::Response(response)
            | ReplyBody::ResponseWithHeaders(response) => response.body(),
        };
        Response::new_with_opt_readable_stream_and_init(stream.as_ref(), &init)
    }
}

/// Status and headers for the runtime's constructor. They are passed to JavaScript as one string: a call for each name
/// and value cost as much as the signature of an upload.
fn response_init(status: u16, headers: &[(&'static str, String)]) -> Result<web_sys::ResponseInit, JsValue> {
    let mut object = object! {};
    for (index, (name, value)) in headers.iter().enumerate() {
        if headers[..index].iter().any(|(other, _)| other == name) {
            // A sign-in sets two cookies: an object has each name once, and pairs are slower.
            let pair =
                |(name, value): &(&'static str, String)| Json::Array(vec![(*name).into(), value.into()]);
            object = Json::Array(headers.iter().map(pair).collect());
            break;
        }
        object.put(name, value.into());
    }
    let init = object! { "status" => status, "headers" => object };
    Ok(js_sys::JSON::parse(&init.to_string())?.unchecked_into())
}
