//! Conversion between HTTP and a function's JSON: payload format 2.0,
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::lambda::InvocationOutcome;

/// The maximum size of a function's response, in bytes,
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
pub(super) const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;

/// The caller and time of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestMetadata<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) source_ip: &'a str,
    pub(super) request_id: &'a str,
    pub(super) now_ms: i64,
}

/// The event for a request with a valid signature.
pub(super) fn from_request(parts: &Parts, body: &[u8], metadata: RequestMetadata<'_>) -> Value {
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    // AWS verifies the signature; functions do not receive it.
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::AUTHORIZATION) {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str())
            .and_modify(|joined| joined.extend([",", &value]))
            .or_insert_with(|| value.clone().into_owned());
    }
    headers.insert("x-forwarded-for", metadata.source_ip.to_owned());
    let domain = headers.get("host").cloned().unwrap_or_default();
    let user_agent = headers.get("user-agent").cloned().unwrap_or_default();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "authorizer": { "iam": {
                "accessKey": metadata.access_key_id,
                "accountId": "000000000000",
                "userArn": "arn:aws:iam::000000000000:user/glimpse-edge",
            } },
            "domainName": domain,
            "domainPrefix": "local",
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": metadata.source_ip,
                "userAgent": user_agent,
            },
            "requestId": metadata.request_id,
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": metadata.now_ms,
        },
        "isBase64Encoded": !body.is_empty(),
    });
    if !body.is_empty() {
        event["body"] = STANDARD.encode(body).into();
    }
    event
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionResponse {
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// The HTTP response for a function's result. An error of the function, and a response that is too long or malformed,
/// is a 502 without details.
pub(super) fn to_response(outcome: &InvocationOutcome) -> Response<Bytes> {
    let payload = match outcome {
        InvocationOutcome::Success(answer) if answer.len() <= MAX_RESPONSE_BYTES => answer,
        _ => return message_response(StatusCode::BAD_GATEWAY, "Internal Server Error"),
    };
    let Ok(value) = serde_json::from_slice::<Value>(payload) else {
        return message_response(StatusCode::BAD_GATEWAY, "Internal Server Error");
    };
    if value.get("statusCode").is_none() {
        // Any other payload is the body.
        let mut response = Response::new(payload.clone());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        return response;
    }
    parse_response(value)
        .unwrap_or_else(|| message_response(StatusCode::BAD_GATEWAY, "Internal Server Error"))
}

fn parse_response(value: Value) -> Option<Response<Bytes>> {
    let output: FunctionResponse = serde_json::from_value(value).ok()?;
    let text = output.body.unwrap_or_default();
    let body = if output.is_base64_encoded { STANDARD.decode(text).ok()? } else { text.into_bytes() };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(output.status_code).ok()?;
    for (name, value) in output.headers {
        let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        response.headers_mut().insert(name, value);
    }
    if !response.headers().contains_key(header::CONTENT_TYPE) && !response.body().is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Some(response)
}

/// A response with a message in AWS's wording.
pub(super) fn message_response(status: StatusCode, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(json!({ "Message": message }).to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn request_becomes_event() {
        let request = Request::post("http://127.0.0.1:9002/a/b.jpg?x=1&y=%20")
            .header("host", "127.0.0.1:9002")
            .header("authorization", "secret")
            .header("x-two", "1")
            .header("x-two", "2");
        let parts = request.body(()).unwrap().into_parts().0;
        let origin =
            RequestMetadata { access_key_id: "AKID", source_ip: "127.0.0.1", request_id: "r", now_ms: 7 };
        let event = from_request(&parts, b"", origin);
        assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!("/a/b.jpg"), &json!("x=1&y=%20")));
        assert_eq!(event["requestContext"]["http"]["method"], "POST");
        assert_eq!((&event["headers"]["x-two"], &event["body"]), (&json!("1,2"), &Value::Null));
        assert!(!event.to_string().contains("secret"));
        let event = from_request(&parts, b"hi", origin);
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("aGk="), &json!(true)));
    }

    #[test]
    fn function_output_becomes_response() {
        let respond = |text: &str| to_response(&InvocationOutcome::Success(Bytes::from(text.to_owned())));
        let picture = respond(
            r#"{"statusCode":200,"headers":{"content-type":"image/gif","ETag":"\"e\""},"body":"R0lG","isBase64Encoded":true}"#,
        );
        assert_eq!((picture.status().as_u16(), &picture.body()[..]), (200, &b"GIF"[..]));
        assert_eq!(picture.headers()["content-type"], "image/gif");
        assert_eq!(picture.headers()["etag"], "\"e\"");
        assert_eq!(respond(r#"{"statusCode":204}"#).status(), 204);
        assert_eq!(respond(r#"{"statusCode":410,"body":"gone"}"#).body(), "gone");
        assert_eq!(respond(r#"{"hello":1}"#).headers()["content-type"], "application/json");
        let long = format!("\"{}\"", "x".repeat(MAX_RESPONSE_BYTES));
        for nonsense in [
            "",
            "{",
            r#"{"statusCode":"x"}"#,
            r#"{"statusCode":7}"#,
            r#"{"statusCode":200,"body":"%","isBase64Encoded":true}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
            &long,
        ] {
            assert_eq!(respond(nonsense).status(), 502, "{}", &nonsense[..nonsense.len().min(60)]);
        }
        let failure = InvocationOutcome::Failure {
            error_type: "Boom".into(),
            payload: "{\"errorMessage\":\"secret\"}".into(),
        };
        let failed = to_response(&failure);
        assert_eq!(
            (failed.status().as_u16(), &failed.body()[..]),
            (502, &br#"{"Message":"Internal Server Error"}"#[..])
        );
    }
}
