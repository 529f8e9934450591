//! Form uploads over HTTP: accepted as signed, rejected after each single change. Run: `cargo test -p glimpse-local
//! --test post`.

#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; clippy exempts only functions marked as tests"
)]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{TestBed, assert_status, header, s3_error, xml_text};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use reqwest::Response;
use serde_json::json;
use sha2::Sha256;

type PostForm = Vec<(String, String)>;

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A form as the edge signs it, created `age` ago and valid for `expires` from now.
fn signed_form(bed: &TestBed, age: SignedDuration, expires: SignedDuration) -> PostForm {
    let settings = &bed.client.settings;
    let now = Timestamp::try_from(common::now()).unwrap();
    let date = (now - age).strftime("%Y%m%dT%H%M%SZ").to_string();
    let scope = format!("{}/us-east-1/s3/aws4_request", &date[..8]);
    let credential = format!("{}/{scope}", settings.access_key_id);
    let mut fields: PostForm = [
        ("key", "uploads/o/v w"),
        ("Content-Type", "video/mp4"),
        ("success_action_status", "201"),
        ("x-amz-meta-name", "alp.mp4"),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", &credential),
        ("x-amz-date", &date),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let mut conditions: Vec<_> = fields.iter().map(|(name, value)| json!({ name: value })).collect();
    conditions.push(json!({ "bucket": settings.bucket }));
    conditions.push(json!(["content-length-range", 3, 8]));
    let policy = json!({ "expiration": format!("{:.3}", now + expires), "conditions": conditions });
    let policy = STANDARD.encode(policy.to_string());
    let secret = format!("AWS4{}", settings.secret_access_key);
    let key = scope.split('/').fold(secret.into_bytes(), |key, text| hmac(&key, text));
    fields.push(("policy".into(), policy.clone()));
    fields.push(("x-amz-signature".into(), hex::encode(hmac(&key, &policy))));
    fields
}

async fn post(bed: &TestBed, form: &PostForm, file: &[u8]) -> Response {
    let mut body = Vec::new();
    for (name, value) in form {
        body.extend(
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.mp4\"\r\nContent-Type: text/html\r\n\r\n");
    body.extend(file);
    body.extend(b"\r\n--b--\r\n");
    let request = bed
        .client
        .http
        .post(bed.client.url("", &[]))
        .header("content-type", "multipart/form-data; boundary=b");
    request.body(body).send().await.unwrap()
}

fn unexpired_form(bed: &TestBed) -> PostForm {
    signed_form(bed, SignedDuration::ZERO, SignedDuration::from_mins(15))
}

#[tokio::test]
async fn accepts_signed_form() {
    let bed = TestBed::new().await;
    let done = post(&bed, &unexpired_form(&bed), b"hello").await;
    assert_status(&done, 201);
    let location = format!("{}/glimpse/uploads/o/v%20w", bed.client.endpoint);
    assert_eq!(
        (header(&done, "location"), header(&done, "etag")),
        (location.as_str(), "\"5d41402abc4b2a76b9719d911017c592\"")
    );
    let document = done.text().await.unwrap();
    assert_eq!(xml_text(&document, "Location"), location);
    assert_eq!(
        (xml_text(&document, "Bucket"), xml_text(&document, "Key")),
        ("glimpse".into(), "uploads/o/v w".into())
    );
    assert_eq!(xml_text(&document, "ETag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    let stored = bed.cloud.store().head("uploads/o/v w").unwrap();
    assert_eq!(
        (stored.headers["content-type"].as_str(), stored.metadata["name"].as_str()),
        ("video/mp4", "alp.mp4")
    );
    assert_eq!(bed.cloud.store().get("uploads/o/v w").await.unwrap(), b"hello");
    assert!(bed.cloud.queue().messages()[0].body.contains("ObjectCreated:Post"));

    let hour = signed_form(&bed, SignedDuration::from_mins(50), SignedDuration::from_mins(10));
    assert_status(&post(&bed, &hour, b"hello").await, 201);
}

#[tokio::test]
async fn changed_forms_get_aws_errors() {
    let bed = TestBed::new().await;
    let denied = (403, "AccessDenied");
    let cases: [(&str, Option<&str>, (u16, &str)); 9] = [
        ("key", Some("uploads/o/other"), denied),
        ("Content-Type", Some("text/html"), denied),
        ("success_action_status", Some("200"), denied),
        ("x-amz-meta-name", None, denied),
        ("x-amz-meta-extra", Some("1"), denied),
        ("success_action_redirect", Some("https://evil.example"), denied),
        ("x-amz-date", Some("20200101T000000Z"), denied),
        ("x-amz-signature", Some("deadbeef"), (403, "SignatureDoesNotMatch")),
        ("policy", None, denied),
    ];
    for (name, value, expected) in cases {
        let mut form = unexpired_form(&bed);
        form.retain(|(other, _)| other != name);
        form.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        let (status, code) = s3_error(post(&bed, &form, b"hello").await).await;
        assert_eq!((status, code.as_str()), expected, "{name}: {value:?}");
    }
    let expired = signed_form(&bed, SignedDuration::from_mins(15), SignedDuration::from_secs(-1));
    assert_eq!(s3_error(post(&bed, &expired, b"hello").await).await, (403, "AccessDenied".into()));
    for (body, code) in [
        (&b"he"[..], "EntityTooSmall"),
        (b"hello you", "EntityTooLarge"),
        (&vec![0; 4 << 20], "EntityTooLarge"),
    ] {
        assert_eq!(s3_error(post(&bed, &unexpired_form(&bed), body).await).await, (400, code.into()));
    }
    assert_eq!(bed.cloud.store().list(""), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(bed.folder.path().join("s3/blobs")).unwrap().count(), 0);
    assert_eq!(bed.cloud.queue().depth().visible, 0);
}
