//! Tests of the source proxy over a socket, with HTTP requests like those of a decoder.

use glimpse_contract::{Grant, Key, Owner, VideoId, Visibility};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::source::proxy::*;
use crate::store::memory::{MemoryStore, ReadFault};

struct ProxyFixture {
    store: Arc<MemoryStore>,
    proxy: SourceProxy,
    bytes: Vec<u8>,
    key: Key,
}

fn open_fixture(length: usize) -> ProxyFixture {
    let store = Arc::new(MemoryStore::default());
    let grant = Grant {
        owner: Owner::new("iss", "sub"),
        video: VideoId::new(1, [1; 10]),
        name: "a.mp4".into(),
        content_type: "video/mp4".into(),
        visibility: Visibility::Public,
        client_metadata: glimpse_contract::ClientMetadata::default(),
    };
    let bytes: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
    let etag = store.upload(&grant, bytes.clone());
    let source = SourceObject { key: grant.key(), etag, bytes: length as u64 };
    let proxy = SourceProxy::open(Arc::clone(&store), source, [7; 16]).unwrap();
    ProxyFixture { store, proxy, bytes, key: grant.key() }
}

/// Sends one request and returns the head and the body of the response.
async fn request(proxy: &SourceProxy, method: &str, path: &str, range: Option<&str>) -> (String, Vec<u8>) {
    let authority = proxy.url().strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(&authority).await.unwrap();
    let range = range.map(|range| format!("Range: {range}\r\n")).unwrap_or_default();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{range}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    // If S3 fails while the proxy sends a body, the connection is reset or closed early.
    let _ = stream.read_to_end(&mut response).await;
    // If the body fails immediately, the response may never be sent.
    let Some(split) = response.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
        return (String::new(), Vec::new());
    };
    (String::from_utf8(response[..split].to_vec()).unwrap().to_lowercase(), response[split..].to_vec())
}

#[tokio::test]
async fn serves_full_and_partial_content() {
    let fixture = open_fixture(100_000);
    let path = fixture.proxy.secret_path();
    for (range, status, expected) in [
        (None, "200", 0..100_000),
        (Some("bytes=0-"), "206", 0..100_000),
        (Some("bytes=40000-"), "206", 40_000..100_000),
        (Some("bytes=5-9"), "206", 5..10),
    ] {
        let (head, body) = request(&fixture.proxy, "GET", path, range).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(head.contains(&format!("content-length: {}", expected.len())), "{head}");
        assert_eq!(body, fixture.bytes[expected]);
    }
    let (head, body) = request(&fixture.proxy, "HEAD", path, Some("bytes=10-19")).await;
    assert!(head.contains("content-range: bytes 10-19/100000") && body.is_empty(), "{head}");
    let (head, _) = request(&fixture.proxy, "GET", path, Some("bytes=100000-")).await;
    assert!(head.starts_with("http/1.1 416"), "{head}");
    assert_eq!(fixture.proxy.first_error(), None);
    let counts = fixture.proxy.stats();
    assert_eq!((counts.requests, counts.bytes), (1, 100_000), "every byte was fetched once");
}

#[tokio::test]
async fn serves_prepended_bytes() {
    let fixture = open_fixture(1000);
    fixture.proxy.prepend(Bytes::from_static(b"header"));
    let expected_bytes = [b"header", &fixture.bytes[..]].concat();
    for (range, expected) in [
        (None, 0..1006),
        (Some("bytes=2-4"), 2..5),
        (Some("bytes=4-7"), 4..8),
        (Some("bytes=1000-"), 1000..1006),
    ] {
        let (head, body) = request(&fixture.proxy, "GET", fixture.proxy.secret_path(), range).await;
        assert!(head.contains(&format!("content-length: {}", expected.len())), "{head}");
        assert_eq!(body, expected_bytes[expected], "{range:?}");
    }
    assert_eq!(fixture.proxy.read(0..3).await.unwrap(), fixture.bytes[..3]);
}

#[tokio::test]
async fn range_url_serves_a_part_as_a_whole() {
    let fixture = open_fixture(1000);
    fixture.proxy.skip(100);
    let path = fixture.proxy.secret_path();
    let part = fixture.proxy.range_url(&(300..700));
    let part = &part[part.find(path).unwrap()..];
    for (path, range, total, expected) in [
        (path, None, 900, 100..1000),
        (path, Some("bytes=10-19"), 900, 110..120),
        (part, None, 400, 300..700),
        (part, Some("bytes=100-"), 400, 400..700),
        (part, Some("bytes=-10"), 400, 690..700),
    ] {
        let (head, body) = request(&fixture.proxy, "GET", path, range).await;
        assert_eq!(body, fixture.bytes[expected], "{path} {range:?}");
        assert!(range.is_none() || head.contains(&format!("/{total}\r\n")), "{head}");
    }
    for wrong in ["-0-1001", "-5-5", "-9-3", "-0", "-a-b", "x"] {
        let (head, _) = request(&fixture.proxy, "GET", &format!("{path}{wrong}"), None).await;
        assert!(head.starts_with("http/1.1 404"), "{wrong}: {head}");
    }
    assert_eq!(
        fixture.proxy.read(0..3).await.unwrap(),
        fixture.bytes[..3],
        "reads of this process include the hidden bytes"
    );
}

#[tokio::test]
async fn cached_bytes_are_not_fetched_again() {
    let fixture = open_fixture(1_000_000);
    let path = fixture.proxy.secret_path();
    for (range, expected, fetched_bytes) in [
        ("bytes=600000-", 600_000..1_000_000, 400_000),
        ("bytes=700000-800000", 700_000..800_001, 400_000),
        ("bytes=100000-", 100_000..1_000_000, 900_000),
        ("bytes=0-99999", 0..100_000, 1_000_000),
        ("bytes=0-", 0..1_000_000, 1_000_000),
    ] {
        let (_, body) = request(&fixture.proxy, "GET", path, Some(range)).await;
        assert_eq!(body, fixture.bytes[expected], "{range}");
        assert_eq!(
            fixture.proxy.stats().bytes,
            fetched_bytes,
            "{range}: cached bytes are not requested again"
        );
    }
    assert_eq!(fixture.proxy.stats().requests, 3);
}

#[tokio::test]
async fn middle_of_a_large_source_is_not_cached() {
    let fixture = open_fixture(70 * 1024 * 1024);
    let path = fixture.proxy.secret_path();
    for _ in 0..2 {
        for range in ["bytes=0-999", "bytes=10000000-10000999", "bytes=73400000-"] {
            let first: usize = range["bytes=".len()..range.find('-').unwrap()].parse().unwrap();
            let (_, body) = request(&fixture.proxy, "GET", path, Some(range)).await;
            assert_eq!(body, fixture.bytes[first..first + body.len()], "{range}");
        }
    }
    assert_eq!(fixture.proxy.stats().requests, 4, "head and tail once, the middle twice");
}

#[tokio::test]
async fn f2_serves_one_path_and_two_methods_only() {
    let fixture = open_fixture(10);
    let path = fixture.proxy.secret_path().to_owned();
    assert_eq!(path.len(), 33, "128 bits in hexadecimal");
    for other in
        ["/", "/etc/passwd", &path[..32], &format!("{path}/"), &format!("{path}?x"), &format!("/{path}")]
    {
        assert!(request(&fixture.proxy, "GET", other, None).await.0.starts_with("http/1.1 404"), "{other}");
    }
    assert!(request(&fixture.proxy, "POST", &path, None).await.0.starts_with("http/1.1 405"));
    assert_eq!(fixture.proxy.stats().requests, 0);
}

#[tokio::test]
async fn e10_resumes_an_interrupted_body() {
    let fixture = open_fixture(100_000);
    fixture.store.fail_next_read(ReadFault::BreakAfter(30_000));
    fixture.store.fail_next_read(ReadFault::Fail(StoreError::Transient("503".into())));
    fixture.store.fail_next_read(ReadFault::EndAfter(10_000));
    let (_, body) = request(&fixture.proxy, "GET", fixture.proxy.secret_path(), Some("bytes=1000-")).await;
    assert_eq!(body, fixture.bytes[1000..], "no byte is lost or duplicated");
    assert_eq!(fixture.proxy.stats().requests, 4);
    assert_eq!(fixture.proxy.first_error(), None, "a resumed read is not an error");
}

#[tokio::test]
async fn e10_gives_up_after_empty_reads_and_records_the_error() {
    let fixture = open_fixture(1000);
    for _ in 0..10 {
        fixture.store.fail_next_read(ReadFault::Fail(StoreError::Transient("503 SlowDown".into())));
    }
    let (head, _) = request(&fixture.proxy, "GET", fixture.proxy.secret_path(), None).await;
    assert!(head.starts_with("http/1.1 502"), "{head}");
    assert_eq!(fixture.proxy.first_error(), Some(SourceError::Unavailable("503 SlowDown".into())));
    assert_eq!(fixture.proxy.stats().requests, 4);
}

#[tokio::test]
async fn e7_records_that_the_source_was_deleted() {
    let fixture = open_fixture(100_000);
    fixture.store.fail_next_read(ReadFault::BreakAfter(50_000));
    fixture.store.fail_next_read(ReadFault::Fail(StoreError::NotFound));
    let (_, body) = request(&fixture.proxy, "GET", fixture.proxy.secret_path(), None).await;
    assert!(body.len() < 100_000, "the body must be shorter than its content-length");
    assert_eq!(fixture.proxy.first_error(), Some(SourceError::Deleted));
}

#[tokio::test]
async fn e2_records_that_the_source_was_replaced() {
    let fixture = open_fixture(100);
    let Key::Source { owner, video } = fixture.key.clone() else { unreachable!() };
    let grant = Grant {
        owner,
        video,
        name: "b.mp4".into(),
        content_type: "video/mp4".into(),
        visibility: Visibility::Public,
        client_metadata: glimpse_contract::ClientMetadata::default(),
    };
    fixture.store.upload(&grant, vec![9; 100]);
    let (head, _) = request(&fixture.proxy, "GET", fixture.proxy.secret_path(), None).await;
    assert!(head.starts_with("http/1.1 412"), "{head}");
    assert_eq!(fixture.proxy.first_error(), Some(SourceError::Replaced));
}

#[tokio::test]
async fn stalled_client_stops_reads_from_s3() {
    let length = 64 * 1024 * 1024;
    let fixture = open_fixture(length);
    let authority =
        fixture.proxy.url().strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(&authority).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nHost: {authority}\r\n\r\n", fixture.proxy.secret_path());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1024];
    stream.read_exact(&mut first).await.unwrap();
    // Wait until the socket buffers are full; then nothing more is read.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut before = u64::MAX;
    while before != fixture.proxy.stats().bytes {
        assert!(tokio::time::Instant::now() < deadline, "the proxy does not stop reading");
        before = fixture.proxy.stats().bytes;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < length as u64 / 2, "{before} bytes were read ahead");
    drop(stream);
    assert_eq!(fixture.proxy.stats().requests, 1);
}
