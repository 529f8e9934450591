//! Upload in a single request, which the Worker streams to S3 without buffering the file.

use std::time::Duration;

use bytes::Bytes;
use e2e::media;
use e2e::person::{ApiClient, ApiResponse};
use e2e::stack::{Options, Stack};
use futures::stream;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MIB: usize = 1024 * 1024;

async fn stack(vars: &[(&str, &str)]) -> Stack {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Stack::start(Options { no_function: true, vars, ..Options::default() }).await
}

fn random_bytes(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(bytes).collect()
}

/// A body without a length, sent in chunks.
fn chunked_body(bytes: &[u8]) -> Body {
    let chunks: Vec<_> =
        bytes.chunks(100_000).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect();
    Body::wrap_stream(stream::iter(chunks))
}

fn multipart_form(fields: &[(&str, &str)], file: &[u8], cut: usize) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(
        b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"Ski trip.mp4\"\r\n\
          Content-Type: video/mp4\r\n\r\n",
    );
    body.extend_from_slice(file);
    body.extend(b"\r\n--XX--\r\n");
    body.truncate(body.len() - cut);
    ("multipart/form-data; boundary=XX".to_owned(), body)
}

#[track_caller]
fn created_video(answer: &ApiResponse) -> Value {
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    let video = answer.json()["video"].clone();
    assert_eq!(answer.header("location"), format!("/api/videos/{}", video["id"].as_str().unwrap()));
    assert!(video["urls"]["thumbnail.jpg"].as_str().unwrap().contains(video["id"].as_str().unwrap()));
    video
}

/// Asserts that the stored object has the sent bytes, with the declared name and type.
async fn assert_stored(stack: &Stack, video: &Value, sent: &[u8]) {
    let keys = stack.cloud.store().list("uploads/");
    let key = keys.iter().find(|key| key.ends_with(video["id"].as_str().unwrap())).expect("the source");
    let found = stack.cloud.store().get(key).await.expect("its bytes");
    assert_eq!(found.len(), sent.len());
    assert_eq!(Sha256::digest(&found), Sha256::digest(sent));
}

#[tokio::test]
async fn accepts_uploads_as_curl_sends_them() {
    let stack = stack(&[]).await;
    let ann = ApiClient::new(&stack, "ann");
    let file = random_bytes(20 * MIB + 7);

    // `curl -T "Ski trip.mp4" …/api/videos/`
    let answer = ann.send(Method::PUT, "/api/videos/Ski%20trip.mp4", &[], file.clone()).await;
    let video = created_video(&answer);
    assert_eq!((&video["name"], &video["content_type"]), (&json!("Ski trip.mp4"), &json!("video/mp4")));
    assert_stored(&stack, &video, &file).await;

    // `curl --data-binary @clip.mp4 …/api/videos?name=clip.mp4`
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let answer = ann.send(Method::POST, "/api/videos?name=clip.mov", &kind, file.clone()).await;
    let video = created_video(&answer);
    assert_eq!(video["content_type"], "video/quicktime");
    assert_stored(&stack, &video, &file).await;

    // `… | curl -T - …`: the length is unknown.
    let answer = ann.send(Method::PUT, "/api/videos/pipe.webm", &[], chunked_body(&file)).await;
    assert_stored(&stack, &created_video(&answer), &file).await;
    let answer = ann.send(Method::PUT, "/api/videos/short.webm", &[], chunked_body(&file[..1000])).await;
    assert_stored(&stack, &created_video(&answer), &file[..1000]).await;

    // `curl -F external_id=… -F file=@clip.mp4 …`
    let fields = [("external_id", "order 7"), ("metadata", r#"{"a":"b"}"#)];
    let (kind, body) = multipart_form(&fields, &file, 0);
    let answer = ann.send(Method::POST, "/api/videos", &[("content-type", &kind)], body).await;
    let video = created_video(&answer);
    assert_eq!((&video["name"], &video["external_id"]), (&json!("Ski trip.mp4"), &json!("order 7")));
    assert_stored(&stack, &video, &file).await;
    let (kind, body) = multipart_form(&[], &file[..8 * MIB], 0);
    let answer = ann.send(Method::POST, "/api/videos", &[("content-type", &kind)], chunked_body(&body)).await;
    assert_stored(&stack, &created_video(&answer), &file[..8 * MIB]).await;
    assert_eq!(stack.cloud.store().multipart_upload_count(), 0, "no parts remain");
}

#[tokio::test]
async fn too_large_upload_is_rejected_and_leaves_nothing() {
    let stack = stack(&[("MAX_UPLOAD_BYTES", "9000000"), ("MAX_BODY_BYTES", "12000000")]).await;
    let ann = ApiClient::new(&stack, "ann");
    let file = random_bytes(13_000_000);
    let refused = |answer: &ApiResponse, code: &str, word: &str| {
        assert_eq!(answer.code(), code, "{}", String::from_utf8_lossy(&answer.body));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{detail}");
    };
    let put = async |body: Body| ann.send(Method::PUT, "/api/videos/a.mp4", &[], body).await;
    refused(&put(file.clone().into()).await, "too_large", "signed upload");
    refused(&put(file[..10_000_000].to_vec().into()).await, "too_large", "9000000");
    refused(&put(chunked_body(&file[..10_000_000])).await, "too_large", "9000000");
    refused(&put(Body::from("")).await, "empty", "empty");
    let (kind, body) = multipart_form(&[], &file[..10_000_000], 0);
    let post = async |kind: &str, body: Vec<u8>| {
        ann.send(Method::POST, "/api/videos", &[("content-type", kind)], body).await
    };
    refused(&post(&kind, body).await, "too_large", "9000000");
    let (kind, body) = multipart_form(&[], b"", 0);
    refused(&post(&kind, body).await, "empty", "empty");
    let (kind, body) = multipart_form(&[], &file[..8_500_000], 40);
    refused(&post(&kind, body).await, "bad_parameter", "interrupted");
    // Fields after the file are rejected: the video would be created without them.
    for bytes in [1000, 8_500_000] {
        let (kind, mut body) = multipart_form(&[("external_id", "order 7")], &file[..bytes], "--\r\n".len());
        body.extend(b"\r\nContent-Disposition: form-data; name=\"visibility\"\r\n\r\nsigned\r\n--XX--\r\n");
        refused(&post(&kind, body).await, "bad_parameter", "`visibility` is after the file");
        let (kind, body) = multipart_form(&[], &file[..bytes], "--XX--\r\n".len());
        refused(&post(&kind, body).await, "bad_parameter", "interrupted");
    }
    let (kind, body) = multipart_form(&[("colour", "blue")], b"x", 0);
    refused(&post(&kind, body).await, "bad_parameter", "colour");
    refused(&post("multipart/form-data", b"x".to_vec()).await, "bad_parameter", "boundary");
    let nothing =
        b"--XX\r\nContent-Disposition: form-data; name=\"external_id\"\r\n\r\nx\r\n--XX--\r\n".to_vec();
    refused(&post("multipart/form-data; boundary=XX", nothing).await, "bad_parameter", "no file");
    refused(&post("text/html", b"<html>".to_vec()).await, "bad_parameter", "name");
    let html = ann.send(Method::PUT, "/api/videos/a.html", &[("content-type", "text/html")], "<html>").await;
    refused(&html, "type_not_allowed", "text/html");
    assert!(stack.cloud.store().list("").is_empty(), "nothing was stored");
    assert_eq!(stack.cloud.store().multipart_upload_count(), 0, "no unfinished upload remains");
}

/// A form without a file is rejected after 64 KiB, and its cost does not grow with its length.
#[tokio::test]
async fn form_without_file_is_rejected_after_64_kib() {
    let stack = stack(&[]).await;
    let ann = ApiClient::new(&stack, "ann");
    let header = "--XX\r\nContent-Disposition: form-data; name=\"external_id\"";
    let fields = format!("{header}\r\n\r\nx\r\n").repeat(30);
    for (what, start, unit, word) in [
        ("a preamble", "", "x", "65536 bytes before"),
        ("near-boundaries", "", "\r\n--XXx", "65536 bytes before"),
        ("line breaks", "", "\r\n", "65536 bytes before"),
        ("headers of a part", header, "\r\nX-Padding: x", "65536 bytes before"),
        ("one header", header, "x", "65536 bytes before"),
        ("a field", &format!("{header}\r\n\r\n"), "x", "`external_id` is too long"),
        ("fields", &fields, "x", "more than 20 fields"),
    ] {
        let mut body = start.as_bytes().to_vec();
        body.extend(unit.repeat(16 * MIB / unit.len()).bytes());
        let kind = [("content-type", "multipart/form-data; boundary=XX")];
        let started_at = std::time::Instant::now();
        for body in [Body::from(body.clone()), chunked_body(&body)] {
            let answer = ann.send(Method::POST, "/api/videos", &kind, body).await;
            assert_eq!(answer.code(), "bad_parameter", "{what}: {}", String::from_utf8_lossy(&answer.body));
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(word), "{what}: {detail}");
        }
        // A search of the whole buffer took 18 s for one of these bodies.
        assert!(started_at.elapsed() < Duration::from_secs(8), "{what}: {:?}", started_at.elapsed());
    }
    assert!(stack.cloud.store().list("").is_empty());
}

/// File names in the encodings of common clients.
#[tokio::test]
async fn accepts_file_names_of_common_clients() {
    let stack = stack(&[]).await;
    let ann = ApiClient::new(&stack, "ann");
    for (parameter, name, kind) in [
        (r#"filename="clip.mov""#, "clip.mov", "video/quicktime"),
        (r"filename*=UTF-8''Ski%20tr%C3%ADp.webm", "Ski tr\u{ed}p.webm", "video/webm"),
        (r#"filename="_.bin"; filename*=UTF-8''%F0%9F%8E%BF.mkv"#, "\u{1f3bf}.mkv", "video/x-matroska"),
        (r#"filename="=?utf-8?B?U2tpIHRyw61wLm1wNA==?=""#, "Ski tr\u{ed}p.mp4", "video/mp4"),
        (r#"filename="a%22b.mp4""#, "a\"b.mp4", "video/mp4"),
        (r#"filename="Ski%20tr%C3%ADp.mp4""#, "Ski tr\u{ed}p.mp4", "video/mp4"),
        (r#"filename="100% natural.mp4""#, "100% natural.mp4", "video/mp4"),
        (r#"filename="1000012345""#, "1000012345", "application/octet-stream"),
    ] {
        let body = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"file\"; {parameter}\r\n\r\nbytes\r\n--XX--\r\n"
        );
        let headers = [("content-type", "multipart/form-data; boundary=\"XX\"")];
        let video = created_video(&ann.send(Method::POST, "/api/videos", &headers, body).await);
        assert_eq!((&video["name"], &video["content_type"]), (&json!(name), &json!(kind)), "{parameter}");
    }
    let unnamed =
        "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\n\r\n--XX--\r\n";
    let headers = [("content-type", "multipart/form-data; boundary=XX")];
    let answer = ann.send(Method::POST, "/api/videos", &headers, unnamed).await;
    assert_eq!(answer.code(), "bad_parameter", "{}", String::from_utf8_lossy(&answer.body));
}

/// The API of the tutorial in one request, without the tutorial's limits.
#[tokio::test]
async fn prefer_wait_returns_ready_video() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let headers = [("prefer", "wait=30"), ("content-type", "video/mp4")];
    let clip = media::clip(2, "320x240");
    let mut answer = ann.send(Method::PUT, "/api/videos/clip.mp4", &headers, clip).await;
    if answer.status == 201 {
        // A slow machine: the first invocation may take longer than the wait. The next one finds the function warm.
        let video = answer.json()["video"]["id"].as_str().unwrap().to_owned();
        assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
        answer = ann.send(Method::PUT, "/api/videos/clip.mp4", &headers, media::clip(2, "320x240")).await;
    }
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("preference-applied"), "wait=30");
    let video = answer.json()["video"].clone();
    assert_eq!(video["state"], "ready");
    let poster = video["urls"]["thumbnail.jpg"].as_str().unwrap();
    let poster = e2e::person::fetch(Method::GET, poster, &[]).await;
    assert_eq!((poster.status.as_u16(), poster.header("content-type")), (200, "image/jpeg"));
}
