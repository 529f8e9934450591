//! Multipart uploads over HTTP: the whole sequence, and every error of S3. Run: `cargo test -p glimpse-local --test
//! multipart`.

#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; clippy exempts only functions marked as tests"
)]

mod common;

use common::{TestBed, assert_status, header, s3_error, xml_text, xml_texts};
use reqwest::Method;

/// An upload id, the named parts, the expected code.
type CompletionCase<'a> = (&'a str, &'a [(u32, &'a str)], &'static str);

const PART_BYTES: usize = 5 * 1024 * 1024;

impl TestBed {
    async fn create_upload(&self, key: &str) -> String {
        let answer = self.client.request(
            Method::POST,
            key,
            &[("uploads", "")],
            &[("content-type", "video/mp4")],
            vec![],
        );
        xml_text(&answer.send().await.unwrap().text().await.unwrap(), "UploadId")
    }

    async fn part(&self, key: &str, id: &str, number: &str, body: &[u8]) -> (u16, String) {
        let answer =
            self.client.query(Method::PUT, key, &[("partNumber", number), ("uploadId", id)], body).await;
        match answer.status().as_u16() {
            200 => (200, header(&answer, "etag").to_owned()),
            _ => s3_error(answer).await,
        }
    }

    async fn complete(
        &self,
        key: &str,
        id: &str,
        parts: &[(u32, &str)],
        headers: &[(&str, &str)],
    ) -> (u16, String) {
        let parts: Vec<_> = parts
            .iter()
            .map(|(number, etag)| {
                let etag = etag.replace('"', "&quot;");
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let parts = parts.concat();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let request = self.client.request(Method::POST, key, &[("uploadId", id)], headers, body.into_bytes());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, if status == 200 { xml_text(&text, "ETag") } else { xml_text(&text, "Code") })
    }
}

#[tokio::test]
async fn completed_upload_survives_restart() {
    let mut bed = TestBed::new().await;
    let id = bed.create_upload("uploads/o/v").await;
    let (_, second) = bed.part("uploads/o/v", &id, "2", b"tail").await;
    let (_, stale) = bed.part("uploads/o/v", &id, "1", b"stale").await;
    bed = bed.restart().await;
    let (_, first) = bed.part("uploads/o/v", &id, "1", &vec![b'a'; PART_BYTES]).await;
    assert_ne!(first, stale);

    let listed =
        bed.client.query(Method::GET, "uploads/o/v", &[("uploadId", &id)], b"").await.text().await.unwrap();
    assert_eq!(xml_texts(&listed, "PartNumber"), ["1", "2"]);
    assert_eq!(xml_texts(&listed, "Size"), [PART_BYTES.to_string(), "4".into()]);
    let page =
        bed.client.query(Method::GET, "uploads/o/v", &[("uploadId", &id), ("max-parts", "1")], b"").await;
    let page = page.text().await.unwrap();
    assert_eq!(
        (xml_text(&page, "IsTruncated"), xml_text(&page, "NextPartNumberMarker")),
        ("true".into(), "1".into())
    );
    let rest = bed
        .client
        .query(Method::GET, "uploads/o/v", &[("uploadId", &id), ("part-number-marker", "1")], b"")
        .await;
    assert_eq!(xml_texts(&rest.text().await.unwrap(), "PartNumber"), ["2"]);
    let uploads = bed.client.query(Method::GET, "", &[("uploads", "")], b"").await.text().await.unwrap();
    assert_eq!(
        (xml_texts(&uploads, "UploadId"), xml_texts(&uploads, "Key")),
        (vec![id.clone()], vec!["uploads/o/v".into()])
    );

    let (status, etag) = bed.complete("uploads/o/v", &id, &[(1, &first), (2, &second)], &[]).await;
    assert_eq!(status, 200, "{etag}");
    assert!(etag.ends_with("-2\""), "{etag}");
    bed = bed.restart().await;
    let got = bed.client.get("uploads/o/v", &[("range", "bytes=5242878-")]).await;
    assert_eq!((header(&got, "etag"), header(&got, "content-type")), (etag.as_str(), "video/mp4"));
    assert_eq!(got.text().await.unwrap(), "aatail", "a range across two parts");
    let by_part = bed.client.query(Method::GET, "uploads/o/v", &[("partNumber", "2")], b"").await;
    assert_eq!(header(&by_part, "x-amz-mp-parts-count"), "2");
    assert_eq!(by_part.text().await.unwrap(), "tail");

    assert_eq!(bed.cloud.store().multipart_upload_count(), 0);
    let blobs = std::fs::read_dir(bed.folder.path().join("s3/blobs")).unwrap().count();
    assert_eq!(blobs, 2, "replaced parts are deleted");
    let events = bed.cloud.queue().messages();
    assert_eq!(events.len(), 1);
    assert!(events[0].body.contains("ObjectCreated:CompleteMultipartUpload"));
    assert_eq!(bed.complete("uploads/o/v", &id, &[(1, &first)], &[]).await, (404, "NoSuchUpload".into()));
}

#[tokio::test]
async fn invalid_completion_leaves_upload_unchanged() {
    let bed = TestBed::new().await;
    let id = bed.create_upload("k").await;
    let (_, one) = bed.part("k", &id, "1", b"small").await;
    let (_, two) = bed.part("k", &id, "2", b"small too").await;
    let cases: [CompletionCase<'_>; 7] = [
        (&id, &[(1, &one), (2, &two)], "EntityTooSmall"),
        (&id, &[(2, &two), (1, &one)], "InvalidPartOrder"),
        (&id, &[(1, &one), (1, &one)], "InvalidPartOrder"),
        (&id, &[(1, &two)], "InvalidPart"),
        (&id, &[(3, &one)], "InvalidPart"),
        (&id, &[], "MalformedXML"),
        ("none", &[(1, &one)], "NoSuchUpload"),
    ];
    for (id, parts, code) in cases {
        let (status, found) = bed.complete("k", id, parts, &[]).await;
        assert_eq!((status, found.as_str()), (if code == "NoSuchUpload" { 404 } else { 400 }, code));
    }
    let no_upload = (404, "NoSuchUpload".to_owned());
    assert_eq!(bed.complete("other", &id, &[(1, &one)], &[]).await, no_upload, "another key's upload");
    assert_eq!(bed.part("k", "none", "1", b"").await, no_upload);
    assert_eq!(bed.part("k", &id, "0", b"").await, (400, "InvalidArgument".into()));
    assert_eq!(bed.part("k", &id, "10001", b"").await, (400, "InvalidArgument".into()));

    bed.client.put("k", b"there").await;
    let absent = [("if-none-match", "*")];
    assert_eq!(bed.complete("k", &id, &[(2, &two)], &absent).await, (412, "PreconditionFailed".into()));
    bed.client.send(Method::DELETE, "k", &[], b"").await;
    assert_eq!(bed.complete("k", &id, &[(2, &two)], &absent).await.0, 200);
    assert_eq!(bed.client.get("k", &[]).await.text().await.unwrap(), "small too");
}

#[tokio::test]
async fn aborted_upload_is_deleted() {
    let bed = TestBed::new().await;
    let id = bed.create_upload("k").await;
    bed.part("k", &id, "1", b"x").await;
    let query = [("uploadId", id.as_str())];
    let abort = || bed.client.query(Method::DELETE, "k", &query, b"");
    assert_status(&abort().await, 204);
    assert_eq!(s3_error(abort().await).await, (404, "NoSuchUpload".into()));
    assert_eq!(bed.part("k", &id, "1", b"x").await, (404, "NoSuchUpload".into()));
    let uploads = bed.client.query(Method::GET, "", &[("uploads", "")], b"").await.text().await.unwrap();
    assert_eq!(xml_texts(&uploads, "UploadId"), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(bed.folder.path().join("s3/blobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn uploads_part_by_copy() {
    let bed = TestBed::new().await;
    bed.client.put("source", b"0123456789").await;
    let id = bed.create_upload("k").await;
    let headers = [("x-amz-copy-source", "/glimpse/source"), ("x-amz-copy-source-range", "bytes=2-4")];
    let query = [("partNumber", "1"), ("uploadId", id.as_str())];
    let copied = bed.client.request(Method::PUT, "k", &query, &headers, vec![]).send().await.unwrap();
    let etag = xml_text(&copied.text().await.unwrap(), "ETag");
    assert_eq!(bed.complete("k", &id, &[(1, &etag)], &[]).await.0, 200);
    assert_eq!(bed.client.get("k", &[]).await.text().await.unwrap(), "234");
}
