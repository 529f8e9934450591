//! Function URLs: authorization and responses. Run: `cargo test -p glimpse-local --test function_url`.

#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; clippy exempts only functions marked as tests"
)]

mod common;

use std::path::PathBuf;

use common::TestBed;
use glimpse_local::FunctionUrlSettings;
use reqwest::{Method, Response};
use serde_json::Value;

/// Cargo builds the examples of a package before its tests.
fn function_binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples/function")
}

async fn start_bed() -> TestBed {
    TestBed::with_config(|config| config.render = Some(FunctionUrlSettings::new(function_binary()))).await
}

/// The headers with which AWS's crate signs a request.
fn sign_headers(
    bed: &TestBed,
    method: &Method,
    url: &str,
    service: &str,
    secret: &str,
    body: &[u8],
) -> Vec<(String, String)> {
    common::signed_headers(bed, (method.as_str(), url, service), std::iter::empty(), secret, body)
}

async fn call(
    bed: &TestBed,
    method: Method,
    url: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Response {
    let mut request = bed.client.http.request(method, url).body(body.to_vec());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn signed_request_invokes_function() {
    let bed = start_bed().await;
    let url = format!("{}/a/b%20c.jpg?x=1", bed.cloud.addresses().render.as_ref().unwrap());
    let secret = bed.client.settings.secret_access_key.clone();
    for (method, body) in [(Method::GET, &b""[..]), (Method::POST, b""), (Method::POST, b"{\"a\":1}")] {
        let headers = sign_headers(&bed, &method, &url, "lambda", &secret, body);
        let answer = call(&bed, method.clone(), &url, &headers, body).await;
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers()["etag"], "\"e\"");
        let event: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(event["rawPath"], "/a/b%20c.jpg");
        assert_eq!(event["rawQueryString"], "x=1");
        assert_eq!(event["requestContext"]["http"]["method"], method.as_str());
        assert_eq!(event["headers"]["authorization"], Value::Null);
    }
    assert_eq!(bed.cloud.render().unwrap().environments_started(), 1);
    bed.cloud.stop().await;
}

#[tokio::test]
async fn rejects_unsigned_request() {
    let bed = start_bed().await;
    let url = format!("{}/a.jpg", bed.cloud.addresses().render.as_ref().unwrap());
    let secret = bed.client.settings.secret_access_key.clone();
    let of = |service: &str, secret: &str, body: &[u8]| {
        sign_headers(&bed, &Method::POST, &url, service, secret, body)
    };
    let mut late = of("lambda", &secret, b"");
    late.retain(|(name, _)| name != "x-amz-date");
    late.push(("x-amz-date".into(), "20200101T000000Z".into()));
    for (why, headers, body) in [
        ("nothing", Vec::new(), &b""[..]),
        ("another service", of("s3", &secret, b""), b""),
        ("another secret", of("lambda", "wrong", b""), b""),
        ("another body", of("lambda", &secret, b""), b"x"),
        ("another time", late, b""),
    ] {
        let answer = call(&bed, Method::POST, &url, &headers, body).await;
        assert_eq!(answer.status(), 403, "{why}");
        assert_eq!(answer.text().await.unwrap(), r#"{"Message":"Forbidden"}"#, "{why}");
    }
    let presigned = format!("{url}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00");
    assert_eq!(call(&bed, Method::GET, &presigned, &[], b"").await.status(), 403);
    assert_eq!(bed.cloud.render().unwrap().environments_started(), 0, "the function was never invoked");
    bed.cloud.stop().await;
}

#[tokio::test]
async fn function_error_is_502() {
    let bed = start_bed().await;
    let url = format!("{}/a.jpg", bed.cloud.addresses().render.as_ref().unwrap());
    let secret = bed.client.settings.secret_access_key.clone();
    let mut headers = sign_headers(&bed, &Method::GET, &url, "lambda", &secret, b"");
    headers.push(("x-please".into(), "fail".into()));
    let answer = call(&bed, Method::GET, &url, &headers, b"").await;
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.text().await.unwrap(), r#"{"Message":"Internal Server Error"}"#);
    bed.cloud.stop().await;
}
