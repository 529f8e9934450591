//! The relay is spoken to as a decoder speaks: HTTP over a socket.

use glimpse_contract::{Grant, Owner, VideoId, Visibility};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::source::proxy::*;
use crate::store::memory::{Fault, Memory};

struct Scene {
    store: Arc<Memory>,
    relay: Relay,
    bytes: Vec<u8>,
    key: Key,
}

fn scene(length: usize) -> Scene {
    let store = Arc::new(Memory::default());
    let grant = Grant {
        owner: Owner::of("iss", "sub"),
        video: VideoId::new(1, [1; 10]),
        name: "a.mp4".into(),
        content_type: "video/mp4".into(),
        visibility: Visibility::Public,
        passthrough: glimpse_contract::Passthrough::default(),
    };
    let bytes: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
    let etag = store.upload(&grant, bytes.clone());
    let source = Source { key: grant.key(), etag, bytes: length as u64 };
    let relay = Relay::open(Arc::clone(&store), source, [7; 16]).unwrap();
    Scene { store, relay, bytes, key: grant.key() }
}

/// Sends one request and returns the head and the body of the answer.
async fn ask(relay: &Relay, method: &str, path: &str, range: Option<&str>) -> (String, Vec<u8>) {
    let authority = relay.url().strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(&authority).await.unwrap();
    let range = range.map(|range| format!("Range: {range}\r\n")).unwrap_or_default();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{range}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A body that S3 failed at ends with a reset or an early close.
    let _ = stream.read_to_end(&mut answer).await;
    // An answer whose body fails at once may never leave at all.
    let Some(split) = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
        return (String::new(), Vec::new());
    };
    (String::from_utf8(answer[..split].to_vec()).unwrap().to_lowercase(), answer[split..].to_vec())
}

#[tokio::test]
async fn serves_all_and_parts() {
    let scene = scene(100_000);
    let path = scene.relay.secret_path();
    for (range, status, expected) in [
        (None, "200", 0..100_000),
        (Some("bytes=0-"), "206", 0..100_000),
        (Some("bytes=40000-"), "206", 40_000..100_000),
        (Some("bytes=5-9"), "206", 5..10),
    ] {
        let (head, body) = ask(&scene.relay, "GET", path, range).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(head.contains(&format!("content-length: {}", expected.len())), "{head}");
        assert_eq!(body, scene.bytes[expected]);
    }
    let (head, body) = ask(&scene.relay, "HEAD", path, Some("bytes=10-19")).await;
    assert!(head.contains("content-range: bytes 10-19/100000") && body.is_empty(), "{head}");
    let (head, _) = ask(&scene.relay, "GET", path, Some("bytes=100000-")).await;
    assert!(head.starts_with("http/1.1 416"), "{head}");
    assert_eq!(scene.relay.seen(), None);
    let counts = scene.relay.counts();
    assert_eq!((counts.requests, counts.bytes), (1, 100_000), "every byte was fetched once");
}

#[tokio::test]
async fn what_is_put_before_the_source_is_found_there() {
    let scene = scene(1000);
    scene.relay.put_before(Bytes::from_static(b"header"));
    let whole = [b"header", &scene.bytes[..]].concat();
    for (range, expected) in [
        (None, 0..1006),
        (Some("bytes=2-4"), 2..5),
        (Some("bytes=4-7"), 4..8),
        (Some("bytes=1000-"), 1000..1006),
    ] {
        let (head, body) = ask(&scene.relay, "GET", scene.relay.secret_path(), range).await;
        assert!(head.contains(&format!("content-length: {}", expected.len())), "{head}");
        assert_eq!(body, whole[expected], "{range:?}");
    }
    assert_eq!(scene.relay.read(0..3).await.unwrap(), scene.bytes[..3]);
}

#[tokio::test]
async fn a_part_is_found_as_if_it_were_the_whole() {
    let scene = scene(1000);
    scene.relay.skip(100);
    let path = scene.relay.secret_path();
    let part = scene.relay.url_of(&(300..700));
    let part = &part[part.find(path).unwrap()..];
    for (path, range, total, expected) in [
        (path, None, 900, 100..1000),
        (path, Some("bytes=10-19"), 900, 110..120),
        (part, None, 400, 300..700),
        (part, Some("bytes=100-"), 400, 400..700),
        (part, Some("bytes=-10"), 400, 690..700),
    ] {
        let (head, body) = ask(&scene.relay, "GET", path, range).await;
        assert_eq!(body, scene.bytes[expected], "{path} {range:?}");
        assert!(range.is_none() || head.contains(&format!("/{total}\r\n")), "{head}");
    }
    for wrong in ["-0-1001", "-5-5", "-9-3", "-0", "-a-b", "x"] {
        let (head, _) = ask(&scene.relay, "GET", &format!("{path}{wrong}"), None).await;
        assert!(head.starts_with("http/1.1 404"), "{wrong}: {head}");
    }
    assert_eq!(scene.relay.read(0..3).await.unwrap(), scene.bytes[..3], "its own reads see all of it");
}

#[tokio::test]
async fn what_passed_by_is_not_fetched_again() {
    let scene = scene(1_000_000);
    let path = scene.relay.secret_path();
    for (range, expected, fetched) in [
        ("bytes=600000-", 600_000..1_000_000, 400_000),
        ("bytes=700000-800000", 700_000..800_001, 400_000),
        ("bytes=100000-", 100_000..1_000_000, 900_000),
        ("bytes=0-99999", 0..100_000, 1_000_000),
        ("bytes=0-", 0..1_000_000, 1_000_000),
    ] {
        let (_, body) = ask(&scene.relay, "GET", path, Some(range)).await;
        assert_eq!(body, scene.bytes[expected], "{range}");
        assert_eq!(scene.relay.counts().bytes, fetched, "{range}: what is there is not asked for");
    }
    assert_eq!(scene.relay.counts().requests, 3);
}

#[tokio::test]
async fn the_middle_of_a_large_source_is_fetched_as_often_as_it_is_asked_for() {
    let scene = scene(70 * 1024 * 1024);
    let path = scene.relay.secret_path();
    for _ in 0..2 {
        for range in ["bytes=0-999", "bytes=10000000-10000999", "bytes=73400000-"] {
            let first: usize = range["bytes=".len()..range.find('-').unwrap()].parse().unwrap();
            let (_, body) = ask(&scene.relay, "GET", path, Some(range)).await;
            assert_eq!(body, scene.bytes[first..first + body.len()], "{range}");
        }
    }
    assert_eq!(scene.relay.counts().requests, 4, "head and tail once, the middle twice");
}

#[tokio::test]
async fn f2_answers_one_path_and_two_methods_only() {
    let scene = scene(10);
    let path = scene.relay.secret_path().to_owned();
    assert_eq!(path.len(), 33, "128 bits in hexadecimal");
    for other in
        ["/", "/etc/passwd", &path[..32], &format!("{path}/"), &format!("{path}?x"), &format!("/{path}")]
    {
        assert!(ask(&scene.relay, "GET", other, None).await.0.starts_with("http/1.1 404"), "{other}");
    }
    assert!(ask(&scene.relay, "POST", &path, None).await.0.starts_with("http/1.1 405"));
    assert_eq!(scene.relay.counts().requests, 0);
}

#[tokio::test]
async fn e10_resumes_a_body_that_broke_off() {
    let scene = scene(100_000);
    scene.store.fail_next_read(Fault::BreakAfter(30_000));
    scene.store.fail_next_read(Fault::Refuse(StoreError::Transient("503".into())));
    scene.store.fail_next_read(Fault::EndAfter(10_000));
    let (_, body) = ask(&scene.relay, "GET", scene.relay.secret_path(), Some("bytes=1000-")).await;
    assert_eq!(body, scene.bytes[1000..], "not a byte is lost or doubled");
    assert_eq!(scene.relay.counts().requests, 4);
    assert_eq!(scene.relay.seen(), None, "what was mended is no failure");
}

#[tokio::test]
async fn e10_gives_up_after_a_few_fruitless_reads_and_remembers_why() {
    let scene = scene(1000);
    for _ in 0..10 {
        scene.store.fail_next_read(Fault::Refuse(StoreError::Transient("503 SlowDown".into())));
    }
    let (head, _) = ask(&scene.relay, "GET", scene.relay.secret_path(), None).await;
    assert!(head.starts_with("http/1.1 502"), "{head}");
    assert_eq!(scene.relay.seen(), Some(Seen::Trouble("503 SlowDown".into())));
    assert_eq!(scene.relay.counts().requests, 4);
}

#[tokio::test]
async fn e7_remembers_that_the_source_went_away() {
    let scene = scene(100_000);
    scene.store.fail_next_read(Fault::BreakAfter(50_000));
    scene.store.fail_next_read(Fault::Refuse(StoreError::Gone));
    let (_, body) = ask(&scene.relay, "GET", scene.relay.secret_path(), None).await;
    assert!(body.len() < 100_000, "the reader notices that the body is short");
    assert_eq!(scene.relay.seen(), Some(Seen::Gone));
}

#[tokio::test]
async fn e2_remembers_that_the_source_was_replaced() {
    let scene = scene(100);
    let Key::Source { owner, video } = scene.key.clone() else { unreachable!() };
    let grant = Grant {
        owner,
        video,
        name: "b.mp4".into(),
        content_type: "video/mp4".into(),
        visibility: Visibility::Public,
        passthrough: glimpse_contract::Passthrough::default(),
    };
    scene.store.upload(&grant, vec![9; 100]);
    let (head, _) = ask(&scene.relay, "GET", scene.relay.secret_path(), None).await;
    assert!(head.starts_with("http/1.1 412"), "{head}");
    assert_eq!(scene.relay.seen(), Some(Seen::Changed));
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_not_read_ahead_for() {
    let length = 64 * 1024 * 1024;
    let scene = scene(length);
    let authority = scene.relay.url().strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(&authority).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nHost: {authority}\r\n\r\n", scene.relay.secret_path());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1024];
    stream.read_exact(&mut first).await.unwrap();
    // Whatever sockets buffer is taken; then nothing more is.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut before = u64::MAX;
    while before != scene.relay.counts().bytes {
        assert!(tokio::time::Instant::now() < deadline, "the relay reads on and on");
        before = scene.relay.counts().bytes;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < length as u64 / 2, "{before} bytes were read ahead");
    drop(stream);
    assert_eq!(scene.relay.counts().requests, 1);
}
