//! Objects over HTTP, signed with AWS's crate: conditions, ranges, odd keys, checksums, lists, restarts. Run: `cargo
//! test -p glimpse-local --test objects`.

#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; clippy exempts only functions marked as tests"
)]

mod common;

use std::time::Duration;

use common::{TestBed, assert_status, header, s3_error, xml_text, xml_texts};
use reqwest::Method;

#[tokio::test]
async fn put_object_roundtrips() {
    let bed = TestBed::new().await;
    let headers = [
        ("content-type", "video/mp4"),
        ("cache-control", "max-age=1"),
        ("x-amz-meta-name", "Ski%20trip.mp4"),
        ("x-amz-meta-visibility", "private"),
    ];
    let put = bed.client.send(Method::PUT, "uploads/o/v", &headers, b"hello").await;
    assert_status(&put, 200);
    assert_eq!(header(&put, "etag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    for method in [Method::GET, Method::HEAD] {
        let got = bed.client.send(method.clone(), "uploads/o/v", &[], b"").await;
        assert_status(&got, 200);
        for (name, value) in headers {
            assert_eq!(header(&got, name), value, "{method}");
        }
        assert_eq!((header(&got, "content-length"), header(&got, "accept-ranges")), ("5", "bytes"));
        assert!(header(&got, "last-modified").ends_with("GMT"));
        assert_eq!(got.bytes().await.unwrap(), if method == Method::GET { &b"hello"[..] } else { b"" });
    }
    assert_status(&bed.client.send(Method::DELETE, "uploads/o/v", &[], b"").await, 204);
    assert_status(&bed.client.send(Method::DELETE, "uploads/o/v", &[], b"").await, 204);
    assert_eq!(s3_error(bed.client.get("uploads/o/v", &[]).await).await, (404, "NoSuchKey".into()));
    assert_eq!(bed.cloud.store().list(""), Vec::<String>::new());
}

#[tokio::test]
async fn conditional_reads_follow_rfc_9110() {
    let bed = TestBed::new().await;
    let put = bed.client.put("k", b"hello").await;
    let etag = header(&put, "etag").to_owned();
    let (past, future) = ("Mon, 01 Jan 2024 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT");
    let cases: [(&[(&str, &str)], u16); 12] = [
        (&[("if-match", &etag)], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-none-match", &etag)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-modified-since", future)], 304),
        (&[("if-modified-since", past)], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-unmodified-since", future)], 200),
        (&[("if-match", &etag), ("if-unmodified-since", past)], 200),
        (&[("if-none-match", "\"other\""), ("if-modified-since", future)], 200),
    ];
    for (headers, status) in cases {
        for method in [Method::GET, Method::HEAD] {
            let got = bed.client.send(method.clone(), "k", headers, b"").await;
            assert_eq!(got.status().as_u16(), status, "{method} {headers:?}");
            if status == 304 {
                assert_eq!(header(&got, "etag"), etag);
                assert_eq!(got.bytes().await.unwrap().len(), 0, "a 304 has no body");
            }
        }
    }
}

#[tokio::test]
async fn ranges_are_clamped_or_rejected() {
    let bed = TestBed::new().await;
    bed.client.put("k", b"0123456789").await;
    bed.client.put("empty", b"").await;
    let cases: [(&str, &str, u16, &str, &str); 9] = [
        ("k", "bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("k", "bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("k", "bytes=8-", 206, "89", "bytes 8-9/10"),
        ("k", "bytes=8-100", 206, "89", "bytes 8-9/10"),
        ("k", "bytes=-3", 206, "789", "bytes 7-9/10"),
        ("k", "bytes=-100", 206, "0123456789", "bytes 0-9/10"),
        ("k", "bytes=10-", 416, "", "bytes */10"),
        ("k", "bytes=-0", 416, "", "bytes */10"),
        ("empty", "bytes=0-", 416, "", "bytes */0"),
    ];
    for (key, range, status, body, content_range) in cases {
        let got = bed.client.get(key, &[("range", range)]).await;
        assert_eq!(got.status().as_u16(), status, "{range}");
        assert_eq!(header(&got, "content-range"), content_range, "{range}");
        if status == 206 {
            assert_eq!(header(&got, "content-length"), body.len().to_string());
            assert_eq!(got.text().await.unwrap(), body, "{range}");
        } else {
            assert_eq!(s3_error(got).await.1, "InvalidRange", "{range}");
        }
        let head = bed.client.send(Method::HEAD, key, &[("range", range)], b"").await;
        assert_eq!(head.status().as_u16(), status, "HEAD {range}");
    }
}

#[tokio::test]
async fn concurrent_if_none_match_has_one_winner() {
    let bed = TestBed::new().await;
    let writers = (0..16).map(|number: u8| {
        let client = bed.client.clone();
        async move {
            client.send(Method::PUT, "media/x", &[("if-none-match", "*")], &[number]).await.status().as_u16()
        }
    });
    let mut statuses = futures::future::join_all(writers).await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!(statuses[1..].iter().all(|status| *status == 412), "{statuses:?}");

    let etag = header(&bed.client.get("media/x", &[]).await, "etag").to_owned();
    let put = |headers: [(&'static str, String); 1], key: &'static str| {
        let client = bed.client.clone();
        async move {
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            s3_error(client.send(Method::PUT, key, &headers, b"new").await).await
        }
    };
    assert_eq!(put([("if-match", "\"other\"".into())], "media/x").await, (412, "PreconditionFailed".into()));
    assert_eq!(put([("if-match", etag.clone())], "nowhere").await, (404, "NoSuchKey".into()));
    assert_eq!(put([("if-none-match", etag.clone())], "media/x").await.0, 501);
    assert_eq!(put([("if-match", etag)], "media/x").await.0, 200);
}

#[tokio::test]
async fn legal_keys_do_not_collide() {
    let bed = TestBed::new().await;
    // The segments `.` and `..` are valid too, but no HTTP client sends them unchanged.
    let long = "é".repeat(512);
    let keys = [
        "x",
        "x/y",
        "x/",
        "a b",
        "a+b",
        "a%20b",
        "a%2Fb",
        "a//b",
        "/lead",
        "//",
        "ü/日本/🎬",
        "e\u{301}",
        "\u{e9}",
        "q?m#f&a=b",
        "semi;colon",
        "star*'()!~",
        "tab\there",
        "back\\slash",
        "\"quoted\"<>",
        &long,
    ];
    for key in keys {
        assert_eq!(
            s3_error(bed.client.put(key, key.as_bytes()).await).await,
            (200, String::new()),
            "{key:?}"
        );
    }
    for key in keys {
        let got = bed.client.get(key, &[]).await;
        assert_eq!(got.text().await.unwrap(), key);
    }
    let mut expected: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
    expected.sort();
    assert_eq!(bed.cloud.store().list(""), expected);
    let page = bed.client.query(Method::GET, "", &[("list-type", "2"), ("encoding-type", "url")], b"").await;
    let found: Vec<_> = xml_texts(&page.text().await.unwrap(), "Key")
        .iter()
        .map(|key| {
            percent_encoding::percent_decode_str(&key.replace('+', " ")).decode_utf8().unwrap().into_owned()
        })
        .collect();
    assert_eq!(found, expected);
    let too_long = bed.client.put(&"a".repeat(1025), b"").await;
    assert_eq!(s3_error(too_long).await, (400, "KeyTooLongError".into()));
}

#[tokio::test]
async fn rejects_body_not_matching_headers() {
    let bed = TestBed::new().await;
    // printf hello | openssl dgst -sha256 -binary | base64, and the same for the others.
    let right = [
        ("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
        ("x-amz-checksum-crc32", "NhCmhg=="),
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
    ];
    for (name, value) in right {
        assert_status(&bed.client.send(Method::PUT, "k", &[(name, value)], b"hello").await, 200);
        let wrong = bed.client.send(Method::PUT, "wrong", &[(name, value)], b"hellO").await;
        assert_eq!(s3_error(wrong).await, (400, "BadDigest".into()), "{name}");
    }
    let kept = bed.client.send(Method::PUT, "k", &[right[0]], b"hello").await;
    assert_eq!(header(&kept, "x-amz-checksum-sha256"), right[0].1);
    let response = bed.client.get("k", &[("x-amz-checksum-mode", "ENABLED")]).await;
    assert_eq!(header(&response, "x-amz-checksum-sha256"), right[0].1);
    let invalid = bed.client.send(Method::PUT, "k", &[("content-md5", "x")], b"hello").await;
    assert_eq!(s3_error(invalid).await, (400, "InvalidDigest".into()));

    // Signed for another body: the signature covers the body's SHA-256.
    let request = bed.client.request(Method::PUT, "wrong", &[], &[], b"hello".to_vec()).body("hellO");
    assert_eq!(s3_error(request.send().await.unwrap()).await, (400, "XAmzContentSHA256Mismatch".into()));
    assert!(bed.cloud.store().head("wrong").is_none());
}

#[tokio::test]
async fn presigned_put_enforces_signed_headers() {
    let bed = TestBed::new().await;
    let signed = [("content-length", "5"), ("content-type", "video/mp4"), ("if-none-match", "*")];
    let url = |key: &str| bed.client.presign(&Method::PUT, key, &signed, Duration::from_mins(1));
    let put =
        |url: String, kind: &'static str, body: &'static str, more: Option<(&'static str, &'static str)>| {
            let mut request =
                bed.client.http.put(url).header("content-type", kind).header("if-none-match", "*");
            if let Some((name, value)) = more {
                request = request.header(name, value);
            }
            async move { s3_error(request.body(body).send().await.unwrap()).await }
        };
    assert_eq!(put(url("a"), "video/mp4", "hello", None).await.0, 200);
    assert_eq!(put(url("a"), "video/mp4", "hello", None).await, (412, "PreconditionFailed".into()));
    let mismatch = (403, "SignatureDoesNotMatch".to_owned());
    assert_eq!(put(url("b"), "video/mp4", "hello!", None).await, mismatch, "longer");
    assert_eq!(put(url("b"), "video/mp4", "hell", None).await, mismatch, "shorter");
    assert_eq!(put(url("b"), "text/html", "hello", None).await, mismatch, "another type");
    let denied = (403, "AccessDenied".to_owned());
    assert_eq!(
        put(url("b"), "video/mp4", "hello", Some(("x-amz-meta-name", "x"))).await,
        denied,
        "more metadata"
    );
    assert_eq!(
        put(url("b").replace("/b?", "/c?"), "video/mp4", "hello", None).await,
        mismatch,
        "another key"
    );
    let unsigned = bed.client.http.put(bed.client.url("b", &[])).body("hello").send().await.unwrap();
    assert_eq!(s3_error(unsigned).await, denied, "no signature");
    assert_eq!(bed.cloud.store().list(""), ["a"]);
}

#[tokio::test]
async fn lists_pages_in_byte_order() {
    let bed = TestBed::new().await;
    for key in ["a/1", "a/2", "a/b/3", "b", "c d", "é"] {
        bed.cloud.store().put(key, b"x".to_vec(), "text/plain").await.unwrap();
    }
    let list = |query: Vec<(&'static str, String)>| {
        let client = bed.client.clone();
        async move {
            let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = client.query(Method::GET, "", &query, b"").await;
            assert_status(&answer, 200);
            answer.text().await.unwrap()
        }
    };
    let two = || ("list-type", "2".to_owned());
    let all = list(vec![two()]).await;
    assert_eq!(xml_texts(&all, "Key"), ["a/1", "a/2", "a/b/3", "b", "c d", "é"]);
    assert_eq!((xml_text(&all, "KeyCount"), xml_text(&all, "IsTruncated")), ("6".into(), "false".into()));

    let mut found = Vec::new();
    let mut token = None;
    loop {
        let mut query = vec![two(), ("max-keys", "2".into()), ("delimiter", "/".into())];
        query.extend(token.take().map(|token| ("continuation-token", token)));
        let page = list(query).await;
        found.extend(xml_texts(&page, "Key"));
        found.extend(xml_texts(&page, "Prefix").into_iter().filter(|prefix| !prefix.is_empty()));
        if xml_text(&page, "IsTruncated") == "false" {
            break;
        }
        token = Some(xml_text(&page, "NextContinuationToken"));
    }
    found.sort();
    assert_eq!(found, ["a/", "b", "c d", "é"]);

    let behind = list(vec![two(), ("start-after", "b".into())]).await;
    assert_eq!(xml_texts(&behind, "Key"), ["c d", "é"]);
    let under = list(vec![two(), ("prefix", "a/".into()), ("delimiter", "/".into())]).await;
    assert_eq!(xml_texts(&under, "Key"), ["a/1", "a/2"]);
    let spelled = list(vec![two(), ("prefix", "c".into()), ("encoding-type", "url".into())]).await;
    assert_eq!(xml_texts(&spelled, "Key"), ["c+d"]);
    let old = list(vec![("marker", "a/2".into()), ("max-keys", "1".into())]).await;
    assert_eq!(xml_texts(&old, "Key"), ["a/b/3"]);
    let wrong =
        bed.client.query(Method::GET, "", &[("list-type", "2"), ("continuation-token", "*")], b"").await;
    assert_eq!(s3_error(wrong).await, (400, "InvalidArgument".into()));
}

#[tokio::test]
async fn copies_and_deletes_many_objects() {
    let bed = TestBed::new().await;
    bed.client
        .send(Method::PUT, "a b", &[("content-type", "text/plain"), ("x-amz-meta-n", "1")], b"hello")
        .await;
    let copy = bed.client.send(Method::PUT, "copy", &[("x-amz-copy-source", "/glimpse/a%20b")], b"").await;
    assert_status(&copy, 200);
    bed.client.send(Method::DELETE, "a b", &[], b"").await;
    let got = bed.client.get("copy", &[]).await;
    assert_eq!((header(&got, "content-type"), header(&got, "x-amz-meta-n")), ("text/plain", "1"));
    assert_eq!(got.text().await.unwrap(), "hello");
    let none = bed.client.send(Method::PUT, "copy", &[("x-amz-copy-source", "/glimpse/gone")], b"").await;
    assert_eq!(s3_error(none).await, (404, "NoSuchKey".into()));

    let body = "<Delete><Object><Key>copy</Key></Object><Object><Key>gone</Key></Object></Delete>";
    let deleted = bed.client.query(Method::POST, "", &[("delete", "")], body.as_bytes()).await;
    assert_eq!(xml_texts(&deleted.text().await.unwrap(), "Key"), ["copy", "gone"]);
    assert_eq!(bed.cloud.store().list(""), Vec::<String>::new());
}

#[tokio::test]
async fn restart_keeps_objects_and_sweeps_orphans() {
    let bed = TestBed::new().await;
    bed.client.put("kept", b"1").await;
    bed.client.put("replaced", b"old").await;
    bed.client.put("replaced", b"new").await;
    bed.client.put("deleted", b"x").await;
    bed.client.send(Method::DELETE, "deleted", &[], b"").await;
    bed.client.put("uploads/o/v", b"video").await;
    // Files that a crash during an upload leaves behind.
    let blobs = bed.folder.path().join("s3/blobs");
    std::fs::write(blobs.join("orphan"), "half").unwrap();
    let bed = bed.restart().await;
    assert_eq!(bed.cloud.store().list(""), ["kept", "replaced", "uploads/o/v"]);
    assert_eq!(bed.client.get("replaced", &[]).await.text().await.unwrap(), "new");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 3);
    assert_eq!(bed.cloud.queue().depth().visible, 1, "the event is still there, once");
    bed.client.put("media/x", b"").await;
    assert_eq!(bed.cloud.queue().depth().visible, 1, "only uploads send events");
}

#[tokio::test]
async fn upload_sends_s3_event() {
    let bed = TestBed::new().await;
    bed.client.put("uploads/o/a b+c", b"hello").await;
    let message = bed.cloud.queue().messages().remove(0);
    let event: serde_json::Value = serde_json::from_str(&message.body).unwrap();
    let record = &event["Records"][0];
    assert_eq!(record["eventName"], "ObjectCreated:Put");
    assert_eq!(record["s3"]["object"]["key"], "uploads/o/a+b%2Bc");
    assert_eq!(record["s3"]["object"]["size"], 5);
    assert_eq!(record["s3"]["object"]["eTag"], "5d41402abc4b2a76b9719d911017c592");
    bed.client.put("uploads/o/second", b"").await;
    let next: serde_json::Value = serde_json::from_str(&bed.cloud.queue().messages()[1].body).unwrap();
    let sequencer = |event: &serde_json::Value| event["Records"][0]["s3"]["object"]["sequencer"].to_string();
    assert!(sequencer(&next) > sequencer(&event));
}

#[tokio::test]
async fn faults_hit_given_number_of_times() {
    use glimpse_local::s3::fault::{FaultKind, InjectedFault};
    let bed = TestBed::new().await;
    bed.client.put("uploads/v", &vec![7; 100_000]).await;
    let fault = |kind| InjectedFault { method: Method::GET, prefix: "uploads/".into(), times: 1, kind };
    bed.cloud.fault_injector().add(fault(FaultKind::SlowDown));
    bed.cloud.fault_injector().add(fault(FaultKind::Truncate { after_bytes: 1000 }));
    assert_eq!(s3_error(bed.client.get("uploads/v", &[]).await).await, (503, "SlowDown".into()));
    let mut cut = bed.client.get("uploads/v", &[]).await;
    assert_status(&cut, 200);
    let mut arrived = 0;
    let broken = loop {
        match cut.chunk().await {
            Ok(Some(bytes)) => arrived += bytes.len(),
            ended => break ended,
        }
    };
    assert!(broken.is_err(), "the body is incomplete");
    assert_eq!(arrived, 1000, "the bytes before the cut arrive");
    assert_eq!(bed.client.get("uploads/v", &[]).await.bytes().await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn cors_allows_configured_origins() {
    use glimpse_local::s3::cors::CorsRule;
    let bed = TestBed::with_config(|config| {
        config.s3.cors_rules = vec![CorsRule::for_uploads(["http://app.example".to_owned()])];
    })
    .await;
    let preflight = |origin: &'static str| {
        let request = bed.client.http.request(Method::OPTIONS, bed.client.url("k", &[]));
        request.header("origin", origin).header("access-control-request-method", "PUT").send()
    };
    let good = preflight("http://app.example").await.unwrap();
    assert_status(&good, 200);
    assert_eq!(header(&good, "access-control-allow-origin"), "http://app.example");
    assert_status(&preflight("http://evil.example").await.unwrap(), 403);
    let refused = bed.client.http.put(bed.client.url("k", &[])).header("origin", "http://app.example");
    let refused = refused.body("x").send().await.unwrap();
    assert_status(&refused, 403);
    assert_eq!(
        header(&refused, "access-control-allow-origin"),
        "http://app.example",
        "error responses are readable too"
    );
}
