//! S3 accepts exactly the requests that the edge granted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{APP_ORIGIN, Options, Stack};
use futures::stream;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const BODY: &[u8] = b"not a video, but S3 does not mind";

async fn stack() -> Stack {
    Stack::start(Options { no_function: true, ..Options::default() }).await
}

/// Rows U1, U2, U3, U5 and U6 of docs/threat-model.md.
#[tokio::test]
async fn presigned_put_enforces_every_signed_header() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let checksum = STANDARD.encode(Sha256::digest(BODY));
    let (video, upload) =
        ann.create("Ski trip ü.mp4", "video/mp4", BODY.len(), json!({ "checksum_sha256": checksum })).await;
    let without = |name: &'static str| {
        move |headers: &mut Vec<(String, String)>| headers.retain(|(known, _)| known != name)
    };
    let set = |name: &'static str, value: &'static str| {
        move |headers: &mut Vec<(String, String)>| {
            headers.retain(|(known, _)| known != name);
            headers.push((name.to_owned(), value.to_owned()));
        }
    };

    let longer = [BODY, b"!"].concat();
    let answer = ann.put(&upload, longer).await;
    assert_eq!(answer.status, 403, "U1: a longer body");
    let answer = ann.put(&upload, BODY[1..].to_vec()).await;
    assert_eq!(answer.status, 403, "U1: a shorter body");
    let answer = ann.put_with_headers(&upload, BODY.to_vec(), set("content-type", "text/html")).await;
    assert_eq!(answer.status, 403, "U2: another type");
    let answer = ann.put(&upload, BODY.iter().rev().copied().collect()).await;
    assert_eq!(answer.status, 400, "U3: other bytes of the same length");
    assert!(String::from_utf8_lossy(&answer.body).contains("BadDigest"), "U3");
    let answer = ann.put_with_headers(&upload, BODY.to_vec(), without("if-none-match")).await;
    assert_eq!(answer.status, 403, "U5: without the condition");
    let answer = ann.put_with_headers(&upload, BODY.to_vec(), without("x-amz-checksum-sha256")).await;
    assert_eq!(answer.status, 403, "U3: without the checksum");
    let answer = ann.put_with_headers(&upload, BODY.to_vec(), set("x-amz-meta-visibility", "signed")).await;
    assert_eq!(answer.status, 403, "U6: other metadata");
    let answer = ann.put_with_headers(&upload, BODY.to_vec(), set("x-amz-meta-extra", "1")).await;
    assert_eq!(answer.status, 403, "U6: metadata that was not granted");
    let answer = ann.put_with_headers(&upload, BODY.to_vec(), set("x-amz-acl", "public-read")).await;
    assert_eq!(answer.status, 403, "U6: an ACL");

    let mut elsewhere = upload.clone();
    elsewhere["url"] = json!(upload["url"].as_str().unwrap().replace(&video, "7zzzzzzzzz0123456789abcdef"));
    assert_eq!(ann.put(&elsewhere, BODY.to_vec()).await.status, 403, "U4: another key");
    assert!(stack.cloud.store().list("").is_empty(), "nothing was stored");

    let answer = ann.put(&upload, BODY.to_vec()).await;
    assert_eq!(answer.status, 200, "the control: {}", String::from_utf8_lossy(&answer.body));
    assert_eq!(ann.put(&upload, BODY.to_vec()).await.status, 412, "U5: a second time");

    let video_json = ann.get(&format!("/api/videos/{video}")).await.json();
    assert_eq!((&video_json["state"], &video_json["name"]), (&json!("processing"), &json!("Ski trip ü.mp4")));
    assert_eq!(video_json["bytes"], BODY.len());
    assert_eq!(stack.cloud.queue().messages().len(), 1, "one event for one upload");
}

/// Rows U1, U2, U4, U6, U7 and U8 of docs/threat-model.md: one change at a time, and the control at the end.
#[tokio::test]
async fn post_policy_rejects_any_single_change() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let answer = ann.get("//s3/params?filename=a+b.mp4&type=video%2Fmp4&metadata%5Bname%5D=x").await.json();
    let url = answer["url"].as_str().unwrap();
    let fields = form_fields(&answer);
    let refused = async |what: &str, fields: Vec<(String, String)>, file: Vec<u8>| {
        let answer = ann.post_form(url, &fields, file).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == 403 || answer.status == 400, "{what}: {} {text}", answer.status);
    };

    for changed in 0..fields.len() {
        let mut other = fields.clone();
        let name = other[changed].0.clone();
        other[changed].1.push('x');
        refused(&format!("{name} changed"), other, BODY.to_vec()).await;
        if name == "bucket" {
            // Without the field, S3 checks the condition against the bucket of the URL.
            continue;
        }
        let mut fewer = fields.clone();
        fewer.remove(changed);
        refused(&format!("{name} left out"), fewer, BODY.to_vec()).await;
    }
    for (name, value) in [
        ("x-amz-meta-extra", "1"),
        ("acl", "public-read"),
        ("tagging", "<Tagging/>"),
        ("success_action_redirect", "https://evil.example"),
        ("x-amz-storage-class", "GLACIER"),
        ("Cache-Control", "max-age=1"),
    ] {
        let mut more = fields.clone();
        more.push((name.to_owned(), value.to_owned()));
        refused(&format!("{name} added"), more, BODY.to_vec()).await;
    }
    let key = fields.iter().position(|(name, _)| name == "key").unwrap();
    let mut filename = fields.clone();
    filename[key].1 = "uploads/${filename}".to_owned();
    refused("U7: the file's own name as key", filename, BODY.to_vec()).await;
    refused("U1: an empty file", fields.clone(), Vec::new()).await;
    assert!(stack.cloud.store().list("").is_empty(), "nothing was stored");

    let answer = ann.post_form(url, &fields, BODY.to_vec()).await;
    assert_eq!(answer.status, 201, "the control: {}", String::from_utf8_lossy(&answer.body));
    assert!(!answer.header("etag").is_empty(), "Uppy v5 waits for the ETag forever");
    assert_eq!(stack.cloud.store().list("uploads/"), [fields[key].1.clone()]);
}

/// The fields of a form in the order of sending.
fn form_fields(answer: &Value) -> Vec<(String, String)> {
    let fields = answer["fields"].as_object().unwrap();
    fields.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// Row U1 for forms: S3 enforces the range, since Uppy does not send the length of the file.
#[tokio::test]
async fn form_cannot_exceed_the_length_range() {
    let vars = [("MAX_UPLOAD_BYTES".to_owned(), "1000".to_owned())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let form = async || {
        let answer = ann.get("/s3/params?filename=a.mp4&type=video/mp4").await.json();
        let fields = form_fields(&answer);
        (answer["url"].as_str().unwrap().to_owned(), fields)
    };
    let (url, fields) = form().await;
    let answer = ann.post_form(&url, &fields, vec![7; 1001]).await;
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("EntityTooLarge"));
    assert_eq!(ann.post_form(&url, &fields, vec![7; 1000]).await.status, 201, "the control");

    let answer = ann
        .call(Method::POST, "/api/videos", Some(json!({ "name": "a", "size": 1001, "type": "video/mp4" })))
        .await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "too_large"));
}

#[tokio::test]
async fn invalid_requests_name_the_problem() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let cases: [(Value, u16, &str, &str); 6] = [
        (json!({ "name": "a", "size": 0, "type": "video/mp4" }), 422, "empty", "empty"),
        (json!({ "name": "a", "size": 1, "type": "text/html" }), 415, "type_not_allowed", "text/html"),
        (json!({ "name": "a", "size": 1, "type": "image/svg+xml" }), 415, "type_not_allowed", "svg"),
        (json!({ "name": "", "size": 1, "type": "video/mp4" }), 400, "bad_parameter", "name"),
        (json!({ "size": 1, "type": "video/mp4" }), 400, "bad_parameter", "name"),
        (json!([1]), 400, "bad_parameter", "JSON object"),
    ];
    for (body, status, code, word) in cases {
        let answer = ann.call(Method::POST, "/api/videos", Some(body.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{body}");
        let problem = answer.json();
        for member in ["detail", "message", "error"] {
            assert!(problem[member].as_str().unwrap().contains(word), "{body}: {problem}");
        }
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
    }
    assert_eq!(ann.get("/s3/params?type=video/mp4").await.code(), "bad_parameter");
    assert_eq!(ann.get("/s3/sts").await.code(), "not_found");
    assert_eq!(ann.call(Method::DELETE, "/api/me", None).await.code(), "method_not_allowed");
    let url = format!("{}/api/videos", stack.edge);
    let answer = fetch(Method::POST, &url, &[("content-type", "application/json")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"));
}

/// Types that browsers declare for unknown videos are resolved equally on every route.
#[tokio::test]
async fn every_route_resolves_types_alike() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let signed = |answer: &ApiResponse, at: &str| {
        assert!(answer.status.is_success(), "{at}: {}", String::from_utf8_lossy(&answer.body));
        answer.json().pointer(at).unwrap_or_else(|| panic!("{at}")).clone()
    };
    for (declared, name, resolved) in [
        (json!(""), "IMG_1.MOV", "video/quicktime"),
        (Value::Null, "a.mkv", "video/x-matroska"),
        (json!("video/vnd.avi"), "a.avi", "video/x-msvideo"),
        (json!("application/mp4"), "a.mp4", "video/mp4"),
        (json!("text/vnd.trolltech.linguist"), "00001.ts", "video/mp2t"),
        (json!("audio/ogg"), "a.ogg", "video/ogg"),
        (json!("video/*"), "1000012345", "application/octet-stream"),
        (json!("Video/WebM; codecs=vp9"), "a", "video/webm"),
    ] {
        let body = json!({ "name": name, "size": 5, "type": declared });
        let answer = ann.call(Method::POST, "/api/videos", Some(body)).await;
        assert_eq!(signed(&answer, "/upload/headers/content-type"), resolved, "{declared} {name}");
        let created = answer.json();
        assert_eq!(ann.put(&created["upload"], b"bytes".to_vec()).await.status, 200, "{declared}");
        assert_eq!(created["video"]["content_type"], resolved);

        let declared_text = declared.as_str().unwrap_or("null");
        let query = format!("filename={name}&type={}", declared_text.replace('/', "%2F"));
        let form = ann.get(&format!("/s3/params?{query}")).await;
        assert_eq!(signed(&form, "/fields/content-type"), resolved, "{declared} {name}");
        let presign =
            |method: &str| json!({ "method": method, "key": name, "contentType": declared_text, "size": 5 });
        for method in ["PUT", "POST"] {
            let answer = ann.call(Method::POST, "/s3/presign", Some(presign(method))).await;
            assert_eq!(signed(&answer, "/headers/content-type"), resolved, "{method} {declared} {name}");
        }
        let creation = json!({ "filename": name, "type": declared });
        let creation = ann.call(Method::POST, "/s3/multipart", Some(creation)).await;
        assert_eq!(signed(&creation, "/bucket"), "glimpse");
        let headers = [("content-type", declared_text)];
        let sent = ann.send(Method::POST, &format!("/api/videos?name={name}"), &headers, "bytes").await;
        assert_eq!(signed(&sent, "/video/content_type"), resolved, "{declared} {name}");
    }
    for active in ["text/html", "image/svg+xml", "application/xhtml+xml; x=y", "TEXT/JAVASCRIPT", "text/xml"]
    {
        let body = json!({ "name": "a.mp4", "size": 5, "type": active });
        assert_eq!(
            ann.call(Method::POST, "/api/videos", Some(body)).await.code(),
            "type_not_allowed",
            "{active}"
        );
        let body = json!({ "filename": "a.mp4", "type": active });
        assert_eq!(ann.call(Method::POST, "/s3/multipart", Some(body)).await.code(), "type_not_allowed");
        let headers = [("content-type", active)];
        let sent = ann.send(Method::PUT, "/api/videos/a.mp4", &headers, "bytes").await;
        assert_eq!(sent.code(), "type_not_allowed", "{active}");
    }
}

/// Every document that JSON and the schema allow is accepted, in any framing.
#[tokio::test]
async fn accepts_chunked_bodies_and_unusual_json() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let send = async |path: &str, body: String, is_chunked: bool| {
        let body = if is_chunked {
            let pieces: Vec<_> = body.as_bytes().chunks(1000).map(<[u8]>::to_vec).collect();
            Body::wrap_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)))
        } else {
            Body::from(body)
        };
        ann.send(Method::POST, path, &[("content-type", "application/json")], body).await
    };
    let wide: Vec<_> = (0..1000).map(|place| format!("\"{place}\":{place}")).collect();
    let wide = format!(r#"{{"filename":"a.mp4","metadata":{{{}}}}}"#, wide.join(","));
    for (path, body) in [
        ("/api/videos", r#"{"name":"a.mp4","size":3.0,"type":"video/mp4"}"#.to_owned()),
        ("/api/videos", "\u{feff}{\"name\":\"a.mp4\",\"size\":3e0}".to_owned()),
        ("/api/videos", r#"{"name":"\ud83d.mp4","size":3,"other":{"a":1,"a":2}}"#.to_owned()),
        ("/s3/multipart", r#"{"filename":"a.mp4","metadata":{"x":"\udfff","x":null}}"#.to_owned()),
        ("/s3/multipart", wide),
        ("/api/upload-tokens", r#"{"videos":2.0}"#.to_owned()),
    ] {
        for is_chunked in [false, true] {
            let answer = send(path, body.clone(), is_chunked).await;
            assert!(
                answer.status.is_success(),
                "{path} {body:.60}: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
    }
    for is_chunked in [false, true] {
        let large = format!(r#"{{"filename":"a.mp4","x":"{}"}}"#, "x".repeat(64 * 1024));
        assert_eq!(send("/s3/multipart", large, is_chunked).await.code(), "too_large");
        assert_eq!(send("/api/videos", "{".to_owned(), is_chunked).await.code(), "bad_parameter");
    }
}

/// A long name is truncated before its extension, which determines the type.
#[tokio::test]
async fn long_name_keeps_its_extension() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let body = json!({ "name": "\u{e9}".repeat(300) + ".mov", "size": 5 });
    let created = ann.call(Method::POST, "/api/videos", Some(body)).await.json();
    let name = created["video"]["name"].as_str().unwrap();
    assert!(name.ends_with("\u{e9}.mov") && name.len() <= 255, "{name}");
    assert_eq!(created["upload"]["headers"]["content-type"], "video/quicktime");
    assert_eq!(ann.put(&created["upload"], b"bytes".to_vec()).await.status, 200);
    let video_json =
        ann.get(&format!("/api/videos/{}", created["video"]["id"].as_str().unwrap())).await.json();
    assert_eq!(video_json["name"], name);
}

/// Row U13 of docs/threat-model.md, at the edge and at the bucket.
#[tokio::test]
async fn cors_allows_only_configured_origins() {
    let stack = stack().await;
    let api = format!("{}/api/videos", stack.edge);
    let bucket = format!("{}/glimpse/uploads/x", stack.cloud.addresses().s3_endpoint);
    for url in [&api, &bucket] {
        let preflight = async |origin: &str| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type"),
            ];
            fetch(Method::OPTIONS, url, &headers).await.header("access-control-allow-origin").to_owned()
        };
        assert_eq!(preflight(APP_ORIGIN).await, APP_ORIGIN, "{url}");
        for foreign in
            ["https://evil.example", "null", "http://app.example", "https://app.example.evil.example"]
        {
            assert_eq!(preflight(foreign).await, "", "{url} from {foreign}");
        }
    }
    let answer = fetch(Method::GET, &api, &[("origin", APP_ORIGIN)]).await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        APP_ORIGIN,
        "a page must be able to read the problem"
    );
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
}

#[tokio::test]
async fn list_shows_own_videos_newest_first() {
    let stack = stack().await;
    let (ann, ben) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "ben"));
    let mut uploaded = Vec::new();
    for number in 0..5 {
        uploaded.insert(0, ann.upload(&format!("{number}.mp4"), "video/mp4", BODY.to_vec()).await);
    }
    let theirs = ben.upload("ben.mp4", "video/mp4", BODY.to_vec()).await;

    let mut listed_ids = Vec::new();
    let mut path = "/api/videos?limit=2".to_owned();
    loop {
        let page = ann.get(&path).await.json();
        listed_ids
            .extend(page["videos"].as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/api/videos?limit=2&cursor={cursor}");
    }
    assert_eq!(listed_ids, uploaded);
    assert_eq!(
        ann.get(&format!("/api/videos/{theirs}")).await.code(),
        "not_found",
        "U4: another owner's video"
    );
    assert_eq!(ann.get("/api/videos?limit=99").await.code(), "bad_parameter");
}
