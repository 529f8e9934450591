//! Identifies the caller and the operation of a request, in the terms of IAM policies, and logs them.
//!
//! The edge has the key pair. A function has it too, and also a session token, as on AWS; here the token is the
//! function's name.

use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde::Serialize;

/// The header with the session token.
const SESSION_TOKEN_HEADER: &str = "x-amz-security-token";
/// The header with an object's tags.
const TAGGING_HEADER: &str = "x-amz-tagging";

/// The maximum number of calls kept in memory.
const MAX_CALLS: usize = 10_000;

/// One call and its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedCall {
    /// `edge`, or the name of a function without the project's prefix.
    pub caller: String,
    /// The method.
    pub method: String,
    /// Empty for calls of the bucket itself.
    pub key: String,
    /// The status of the response.
    pub status: u16,
    /// The length of the response's body, as announced.
    pub bytes: u64,
    /// The length of the request's body, as announced.
    pub received_bytes: u64,
    /// The number of the part, for the upload of one.
    pub part: Option<String>,
}

/// The last calls, oldest first. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct CallLog(Arc<Mutex<VecDeque<LoggedCall>>>);

impl CallLog {
    /// Removes and returns the calls logged so far.
    pub fn take(&self) -> Vec<LoggedCall> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    pub(crate) fn push(&self, call: &S3Call, status: StatusCode, bytes: u64) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == MAX_CALLS {
            calls.pop_front();
        }
        let (caller, method, key) = (call.who.clone(), call.method.clone(), call.key.clone());
        let (received_bytes, part) = (call.body_bytes, call.query.get("partNumber").cloned());
        calls.push_back(LoggedCall {
            caller,
            method,
            key,
            status: status.as_u16(),
            bytes,
            received_bytes,
            part,
        });
    }
}

/// One request, before its response is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct S3Call {
    /// `edge`, or the name of a function without the project's prefix.
    who: String,
    method: String,
    /// Empty for calls of the bucket itself.
    key: String,
    /// The parameters, without those of the signature.
    query: BTreeMap<String, String>,
    /// Whether it sets object tags, which require another permission.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tagged: bool,
    /// The length of its body, as announced.
    #[serde(skip)]
    body_bytes: u64,
}

/// The logged line.
#[derive(Serialize)]
struct CallLogLine<'a> {
    #[serde(flatten)]
    call: &'a S3Call,
    status: u16,
}

impl S3Call {
    /// Identifies the request; `None` if it is not signed. A preflight has no caller, though its URL may be signed:
    /// only the bucket's CORS rules apply to it.
    pub(crate) fn from_request<B>(request: &Request<B>, key: &str) -> Option<Self> {
        let query = request.uri().query().unwrap_or_default();
        let is_form = is_form(request);
        let is_signed = request.headers().contains_key(http::header::AUTHORIZATION)
            || query.contains("X-Amz-Signature=")
            || is_form;
        let mut parameters: BTreeMap<String, String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        let query_token = parameters.remove("X-Amz-Security-Token");
        parameters.retain(|name, _| !name.starts_with("X-Amz-"));
        if is_form {
            parameters.insert("form".into(), String::new());
        }
        let header_token = request.headers().get(SESSION_TOKEN_HEADER).and_then(|token| token.to_str().ok());
        let token = header_token.or(query_token.as_deref());
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        (is_signed && request.method() != http::Method::OPTIONS).then(|| Self {
            who: token.map_or("edge", |name| name.trim_start_matches("glimpse-")).to_owned(),
            method: request.method().to_string(),
            key: key.to_owned(),
            query: parameters,
            tagged: request.headers().contains_key(TAGGING_HEADER),
            body_bytes: length.and_then(|length| length.parse().ok()).unwrap_or(0),
        })
    }

    /// Whether a 404 has to become a 403: a function's role may not list the bucket, and S3 reports missing keys only
    /// to callers who may, <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>.
    pub(crate) fn is_hidden_not_found(&self, status: StatusCode) -> bool {
        let is_read = ["GET", "HEAD"].contains(&self.method.as_str()) && !self.key.is_empty();
        self.who != "edge" && is_read && status == StatusCode::NOT_FOUND
    }

    /// Appends a line to the file. A write error is logged, and the line is missing.
    pub(crate) fn append_to(&self, status: StatusCode, file: &Path) {
        let line = CallLogLine { call: self, status: status.as_u16() };
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        text.push('\n');
        // One write of a short line: lines of concurrent writers do not mix.
        let file_result = OpenOptions::new().append(true).create(true).open(file);
        if let Err(error) = file_result.and_then(|mut file| file.write_all(text.as_bytes())) {
            tracing::error!(target: "s3", %error, file = %file.display(), "cannot log a call");
        }
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether the request is a form upload, whose authorization is in the body.
pub(crate) fn is_form<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    request.method() == http::Method::POST
        && content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<S3Call> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        S3Call::from_request(&request.body(()).unwrap(), "a/b")
    }

    #[test]
    fn call_is_attributed_to_signer() {
        let presigned = call("GET", "/glimpse/a/b?uploadId=x%2Fy&X-Amz-Signature=00", &[]).unwrap();
        assert_eq!((presigned.who.as_str(), &presigned.query["uploadId"]), ("edge", &"x/y".to_owned()));
        assert_eq!(presigned.query.len(), 1);
        let other = call("GET", "/glimpse/?X-Amz-Security-Token=test&X-Amz-Signature=00", &[]).unwrap();
        assert_eq!((other.who.as_str(), other.query.len()), ("test", 0));
        assert_eq!(
            call("OPTIONS", "/glimpse/a/b?X-Amz-Signature=00", &[]),
            None,
            "a browser's preflight has no caller"
        );
        let role = [("authorization", "AWS4-HMAC-SHA256 …"), (SESSION_TOKEN_HEADER, "glimpse-preview")];
        assert_eq!(call("HEAD", "/glimpse/a/b", &role).unwrap().who, "preview");
        assert_eq!(call("GET", "/glimpse/a/b", &[]), None);
        let tagging = [("authorization", "AWS4-HMAC-SHA256 …"), (TAGGING_HEADER, "a=b")];
        assert!(call("PUT", "/glimpse/a/b", &tagging).unwrap().tagged && !other.tagged);
    }

    #[test]
    fn missing_key_is_403_for_functions_only() {
        let signed = ("authorization", "AWS4-HMAC-SHA256 …");
        let edge = call("GET", "/glimpse/a/b", &[signed]).unwrap();
        let role = call("GET", "/glimpse/a/b", &[signed, (SESSION_TOKEN_HEADER, "glimpse-render")]).unwrap();
        assert!(!edge.is_hidden_not_found(StatusCode::NOT_FOUND));
        assert!(role.is_hidden_not_found(StatusCode::NOT_FOUND) && !role.is_hidden_not_found(StatusCode::OK));
    }
}
