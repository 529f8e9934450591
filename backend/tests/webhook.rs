//! Where webhooks go, what they carry, what counts as taken, and what happens to those that are not: over real
//! connections to receivers of every kind.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod receiver;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use glimpse_backend::aws::CallError;
use glimpse_backend::aws::sqs::Queue;
use glimpse_backend::notify::endpoint;
use glimpse_backend::notify::event::Notice;
use glimpse_backend::notify::http::client::{Letter, PostError, Poster, Reach, Resolve};
use glimpse_backend::notify::service::Mailroom;
use glimpse_backend::notify::signature::sign;
use glimpse_backend::preview::publish::{self, FailureNote};
use glimpse_backend::store::Store as _;
use glimpse_backend::store::memory::Memory;
use glimpse_contract::{Failure, Key, Manifest, Owner, VideoId};
use receiver::{Receiver, Request, tls};
use serde_json::{Value, json};
use tokio::time::Instant;

const VIDEO: &str = "7yegr1n5zz040g2081040g2081";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW_MS: u64 = 1_700_000_000_500;
const LIMIT: Duration = Duration::from_secs(20);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A queue that remembers what it was asked.
#[derive(Debug, Default)]
struct Desk {
    sent: Mutex<Vec<Notice>>,
    hidden: Mutex<Vec<(String, u64)>>,
}

impl Queue for Desk {
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        self.sent.lock().unwrap().push(Notice::from_message(body).unwrap());
        Box::pin(async { Ok(()) })
    }

    fn hide<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), CallError>> {
        self.hidden.lock().unwrap().push((receipt.to_owned(), secs));
        Box::pin(async { Ok(()) })
    }
}

fn room(urls: &str, secrets: &str) -> (Mailroom<Memory>, Arc<Desk>) {
    let desk = Arc::new(Desk::default());
    let room = Mailroom {
        store: Arc::default(),
        bucket: "glimpse".into(),
        public_url: "https://v.example".into(),
        queue: Arc::<Desk>::clone(&desk),
        endpoints: endpoint::parse(urls, secrets, true).unwrap(),
        topic: None,
        poster: Poster::default(),
        reach: Reach::PublicOrLoopback,
        now_ms: || NOW_MS,
        random: || [0; 16],
    };
    (room, desk)
}

fn notice(to: &str) -> Value {
    json!({
        "version": 1, "type": "video.ready", "video": "7yegr1n5zz040g2081040g2081", "to": to,
        "body": "{\"type\":\"video.ready\",\"data\":{\"name\":\"é\"}}",
    })
}

fn event(messages: &[(&str, String, u32)]) -> Value {
    let record = |(id, body, receives): &(&str, String, u32)| {
        json!({
            "messageId": id, "receiptHandle": format!("receipt of {id}"), "body": body, "eventSource": "aws:sqs",
            "attributes": { "ApproximateReceiveCount": receives.to_string() },
        })
    };
    json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() })
}

/// Delivers one notice for the endpoint without a name, and says whether it is to come again.
async fn deliver(room: &Mailroom<Memory>, receives: u32) -> bool {
    deliver_text(room, notice("default").to_string(), receives).await
}

async fn deliver_text(room: &Mailroom<Memory>, text: String, receives: u32) -> bool {
    let event = event(&[("m", text, receives)]);
    let answer = room.answer(&event, Instant::now() + LIMIT).await.unwrap();
    !answer["batchItemFailures"].as_array().unwrap().is_empty()
}

#[tokio::test]
async fn a_webhook_carries_its_body_and_both_signatures() {
    let receiver = Receiver::new(|_| OK.into()).await;
    let (room, desk) = room(&receiver.url("/hooks/glimpse?a=b"), SECRET);
    assert!(!deliver(&room, 1).await);
    let [request] = &receiver.requests()[..] else { panic!("{:?}", receiver.requests()) };
    let Request { line, headers, body } = request;
    assert_eq!(line, "POST /hooks/glimpse?a=b HTTP/1.1");
    let expected = notice("default")["body"].as_str().unwrap().to_owned();
    assert_eq!(String::from_utf8_lossy(body), expected);
    let notice = Notice::from_message(&notice("default").to_string()).unwrap();
    let signed = sign(&notice.id(), NOW_MS / 1000, expected.as_bytes(), &room.endpoints[0].secrets);
    for (name, value) in [
        ("host", receiver.address().to_string()),
        ("content-type", "application/json".into()),
        ("content-length", body.len().to_string()),
        ("webhook-id", signed.id),
        ("webhook-timestamp", "1700000000".into()),
        ("webhook-signature", signed.standard),
        ("glimpse-signature", signed.plain),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert!(headers["user-agent"].starts_with("Glimpse-Webhooks/"));
    assert_eq!((desk.sent.lock().unwrap().len(), desk.hidden.lock().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn only_a_status_of_2xx_is_taken() {
    let elsewhere = Receiver::new(|_| OK.into()).await;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url("/"));
    let moved =
        format!("HTTP/1.1 308 Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url("/"));
    for (answer, is_taken) in [
        (OK, true),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        ("HTTP/1.1 299 Fine\r\ncontent-length: 2\r\n\r\nok", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbreaks off", true),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", true),
        (&redirect, false),
        (&moved, false),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", false),
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", false),
        ("SSH-2.0-OpenSSH_9.2\r\n", false),
        ("", false),
    ] {
        let answer = answer.to_owned();
        let receiver = Receiver::new(move |_| answer.clone().into()).await;
        let (room, _) = room(&receiver.url("/"), SECRET);
        assert_eq!(!deliver(&room, 1).await, is_taken, "{:?}", receiver.requests());
        assert_eq!(receiver.requests().len(), 1);
    }
    assert_eq!(elsewhere.requests().len(), 0, "no redirect is followed");
}

#[tokio::test]
async fn what_is_not_taken_is_hidden_for_longer_each_time_and_at_last_left_to_the_queue() {
    let receiver = Receiver::new(|number| {
        let wait = if number == 0 { "retry-after: 77\r\n" } else { "" };
        format!("HTTP/1.1 503 Busy\r\n{wait}content-length: 0\r\n\r\n").into()
    })
    .await;
    let (room, desk) = room(&receiver.url("/"), SECRET);
    for receives in [1, 2, 10, 11, 12] {
        assert!(deliver(&room, receives).await);
    }
    let hidden: Vec<_> = desk.hidden.lock().unwrap().iter().map(|(_, secs)| *secs).collect();
    assert_eq!(hidden, [77, 30, 30_000], "as it was asked, as it is planned, and not once the day is over");
    let ids: Vec<_> =
        receiver.requests().iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one id at every try: {ids:?}");
}

#[tokio::test]
async fn each_endpoint_has_a_message_of_its_own() {
    let (good, bad) = (Receiver::new(|_| OK.into()).await, Receiver::new(|_| "x".into()).await);
    let urls = format!("good={},bad={}", good.url("/"), bad.url("/"));
    let (room, desk) = room(&urls, &format!("good={SECRET} bad={SECRET}"));
    let written = rejected(&room).await;
    assert!(!deliver_text(&room, written.clone(), 1).await);
    assert_eq!((good.requests().len(), bad.requests().len()), (0, 0), "nothing is posted yet");
    let sent = desk.sent.lock().unwrap().clone();
    let names: Vec<_> = sent.iter().map(|notice| notice.to.clone()).collect();
    assert_eq!(names, ["good", "bad"]);
    assert_ne!(sent[0].id(), sent[1].id());
    let body: Value = serde_json::from_str(&sent[0].body).unwrap();
    assert_eq!((&body["type"], &body["data"]["state"]), (&"video.rejected".into(), &"rejected".into()));
    assert!(!deliver_text(&room, written, 1).await);
    assert_eq!(desk.sent.lock().unwrap()[2..], sent, "word that comes twice is told twice, and is the same");

    let of = |to: &str| notice(to).to_string();
    let batch = [
        ("m1", of("good"), 1),
        ("m2", of("bad"), 2),
        ("m3", of("gone"), 1),
        ("m4", "{oops".to_owned(), 1),
        ("m5", of("SNS"), 1),
    ];
    let answer = room.answer(&event(&batch), Instant::now() + LIMIT).await.unwrap();
    let failed: Vec<_> = answer["batchItemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["itemIdentifier"].clone())
        .collect();
    assert_eq!(failed, ["m2", "m4"], "an endpoint that is configured no more is nobody");
    assert_eq!((good.requests().len(), bad.requests().len()), (1, 1));
    let mut hidden = desk.hidden.lock().unwrap().clone();
    hidden.sort();
    assert_eq!(hidden, [("receipt of m2".to_owned(), 30), ("receipt of m4".to_owned(), 5)]);

    for payload in [json!({}), json!({ "Records": [{ "body": "x" }] }), json!(null)] {
        assert!(room.answer(&payload, Instant::now() + LIMIT).await.is_err(), "{payload}");
    }
}

/// Commits a rejection, and returns S3's word of it.
async fn rejected(room: &Mailroom<Memory>) -> String {
    let manifest: Manifest = serde_json::from_value(json!({
        "version": 1, "video": VIDEO, "owner": Owner::of("i", "s"), "state": "rejected",
        "rejected": { "code": "not_a_video" }, "source": { "name": "a.mp4" },
    }))
    .unwrap();
    publish::commit(&*room.store, &manifest).await.unwrap();
    written(&Key::Manifest(VIDEO.parse().unwrap()))
}

/// S3's word that an object was written.
fn written(key: &Key) -> String {
    let object = json!({ "key": key.to_string(), "size": 5, "eTag": "e" });
    let s3 = json!({ "bucket": { "name": "glimpse" }, "object": object });
    json!({ "Records": [{ "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3 }] })
        .to_string()
}

#[tokio::test]
async fn an_outcome_that_cannot_be_read_yet_is_told_later() {
    let (room, desk) = room("https://app.example/", SECRET);
    let key = Key::Manifest(VIDEO.parse().unwrap());
    room.store.create_manifest(&key, vec![b' '; 2 << 20].into()).await.unwrap();
    assert!(deliver_text(&room, written(&key), 1).await, "longer than any manifest is");
    room.store.delete(&key);
    let word = rejected(&room).await;
    assert!(!deliver_text(&room, word, 2).await);
    assert_eq!(desk.sent.lock().unwrap().len(), 1);

    let failure: Failure = serde_json::from_value(json!({
        "version": 1, "video": VIDEO, "owner": Owner::of("i", "s"), "code": "upstream", "failed_at": 1,
    }))
    .unwrap();
    let note = FailureNote {
        failure,
        name: "a.mp4".into(),
        bytes: 7,
        content_type: "video/mp4".into(),
        visibility: None,
    };
    publish::failure(&*room.store, &note).await.unwrap();
    let key = Key::Failure(VIDEO.parse().unwrap());
    assert!(!deliver_text(&room, written(&key), 1).await);
    let body: Value = serde_json::from_str(&desk.sent.lock().unwrap()[1].body).unwrap();
    assert_eq!((&body["type"], &body["data"]["bytes"]), (&"video.failed".into(), &7.into()));
    let read: Failure = serde_json::from_slice(&room.store.whole(&key, 1 << 20).await.unwrap().1).unwrap();
    assert_eq!(read, note.failure, "the edge reads what it always read");

    room.store.delete(&key);
    assert!(!deliver_text(&room, written(&key), 1).await, "one that is gone is nothing to tell");
    let broken = Key::Manifest(VideoId::new(1, [3; 10]));
    room.store.create_manifest(&broken, Bytes::from_static(b"{oops")).await.unwrap();
    assert!(deliver_text(&room, written(&broken), 1).await, "one that is broken is for the dead letters");
    assert_eq!(desk.sent.lock().unwrap().len(), 2);
}

/// S3's word of what lies under that key now.
fn written_now(room: &Mailroom<Memory>, key: &Key) -> String {
    let etag = room.store.get(key).unwrap().head.etag;
    written(key).replace("\"e\"", &etag)
}

#[tokio::test]
async fn a_failure_is_told_once_its_attempt_is_over() {
    let (room, desk) = room("https://app.example/", SECRET);
    let key = Key::Failure(VIDEO.parse().unwrap());
    let note = |ends_at: u64| {
        let attempt = json!({ "message": "m", "number": 5, "started_at": 1, "lease_expires_at": 0, "ends_at": ends_at });
        let note = json!({
            "version": 1, "video": VIDEO, "owner": Owner::of("i", "s"), "code": "internal", "failed_at": 1,
            "name": "a.mp4", "bytes": 7, "content_type": "video/mp4", "visibility": "public", "attempt": attempt,
        });
        Bytes::from(note.to_string())
    };
    let sent = || desk.sent.lock().unwrap().len();
    // The function may still make it.
    room.store.put_failure(&key, note(NOW_MS + 60_001)).await.unwrap();
    let word = written_now(&room, &key);
    assert!(deliver_text(&room, word.clone(), 1).await, "it comes again");
    assert_eq!(*desk.hidden.lock().unwrap(), [("receipt of m".to_owned(), 61)], "when its time is over");
    assert_eq!(sent(), 0);
    // It renewed its lease: the newer note has an event of its own.
    room.store.put_failure(&key, note(NOW_MS + 60_000)).await.unwrap();
    assert!(!deliver_text(&room, word.clone(), 2).await);
    assert_eq!(sent(), 0);
    // It made it.
    let manifest = rejected(&room).await;
    assert!(!deliver_text(&room, written_now(&room, &key), 2).await);
    assert_eq!(sent(), 0, "the manifest's event tells");
    assert!(!deliver_text(&room, manifest, 1).await);
    assert_eq!(sent(), 1);
    room.store.delete(&Key::Manifest(VIDEO.parse().unwrap()));
    // It was killed.
    room.store.put_failure(&key, note(NOW_MS)).await.unwrap();
    assert!(!deliver_text(&room, written_now(&room, &key), 2).await);
    let body: Value = serde_json::from_str(&desk.sent.lock().unwrap()[1].body).unwrap();
    assert_eq!(
        (&body["type"], &body["data"]["problem"]["code"]),
        (&"video.failed".into(), &"internal".into())
    );
    // It failed by itself.
    room.store.put_failure(&key, note(0)).await.unwrap();
    assert!(!deliver_text(&room, written_now(&room, &key), 1).await);
    assert_eq!(sent(), 3);
}

fn letter(url: &http::Uri) -> Letter<'_> {
    Letter { url, headers: Vec::new(), body: Bytes::from_static(b"{}") }
}

/// A resolver that knows every name by these addresses, and counts how often it is asked.
fn resolver(addresses: Vec<SocketAddr>) -> (Resolve, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolve: Resolve = Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let addresses = addresses.clone();
        Box::pin(async move { io::Result::Ok(addresses) })
    });
    (resolve, asked)
}

#[tokio::test]
async fn a_name_with_any_address_that_is_not_public_is_never_connected_to() {
    let receiver = Receiver::new(|_| OK.into()).await;
    let here = receiver.address();
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", here.port()).parse().unwrap();
    let public: SocketAddr = "203.0.114.1:443".parse().unwrap();
    let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
    let url: http::Uri = format!("https://hooks.example:{}/", here.port()).parse().unwrap();
    for addresses in [vec![here], vec![mapped], vec![public, here], vec![here, public], vec![metadata]] {
        let (resolve, _) = resolver(addresses.clone());
        let poster = Poster::new(resolve, Arc::new(Vec::new));
        let result = poster.post(letter(&url), Reach::Public, LIMIT).await;
        assert!(matches!(result, Err(PostError::Refused(_))), "{addresses:?}: {result:?}");
    }
    let (nothing, _) = resolver(Vec::new());
    let result = Poster::new(nothing, Arc::new(Vec::new)).post(letter(&url), Reach::Public, LIMIT).await;
    assert!(matches!(result, Err(PostError::Unknown(_))), "{result:?}");
    assert_eq!(receiver.connections(), 0, "not a byte");

    // However an address is written: what counts is what the system's resolver makes of it.
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "127.1", "2130706433", "0x7f.1", "0"]
    {
        let url: http::Uri = format!("https://{host}:{}/", here.port()).parse().unwrap();
        let result = Poster::default().post(letter(&url), Reach::Public, LIMIT).await;
        assert!(matches!(result, Err(PostError::Refused(_) | PostError::Unknown(_))), "{host}: {result:?}");
    }
    assert_eq!(receiver.connections(), 0);
    let control = Poster::default();
    let url = receiver.url("/").parse().unwrap();
    assert_eq!(control.post(letter(&url), Reach::Anywhere, LIMIT).await.unwrap().status, 200, "the control");
}

#[tokio::test]
async fn the_address_that_was_judged_is_the_one_that_is_connected_to() {
    let receiver = Receiver::new(|_| OK.into()).await;
    let (resolve, asked) = resolver(vec![receiver.address()]);
    let poster = Poster::new(resolve, Arc::new(Vec::new));
    let url = "http://hooks.example:1/".parse().unwrap();
    let answer = poster.post(letter(&url), Reach::PublicOrLoopback, LIMIT).await.unwrap();
    assert_eq!((answer.status, asked.load(Ordering::Relaxed)), (200, 1), "one question, and its answer");
    assert_eq!(receiver.requests()[0].headers["host"], "hooks.example:1", "and the name as it was");
}

#[tokio::test]
async fn plain_http_is_for_this_machine_in_development_alone() {
    let receiver = Receiver::new(|_| OK.into()).await;
    let url = receiver.url("/").parse().unwrap();
    let result = Poster::default().post(letter(&url), Reach::Public, LIMIT).await;
    assert!(matches!(result, Err(PostError::NotHttps)), "{result:?}");
    let (resolve, _) = resolver(vec!["203.0.114.1:80".parse().unwrap()]);
    let poster = Poster::new(resolve, Arc::new(Vec::new));
    let result = poster.post(letter(&url), Reach::PublicOrLoopback, LIMIT).await;
    assert!(matches!(result, Err(PostError::NotHttps)), "{result:?}");
    assert_eq!(receiver.connections(), 0);
    for (url, word) in [("ftp://a.example/", "scheme"), ("/path", "scheme")] {
        let url = url.parse().unwrap();
        let error = Poster::default().post(letter(&url), Reach::Anywhere, LIMIT).await.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn neither_silence_nor_a_flood_keeps_anybody() {
    let silent = Receiver::new(|_| receiver::Reply::Silence).await;
    let url = silent.url("/").parse().unwrap();
    let limit = Duration::from_millis(300);
    let result = Poster::default().post(letter(&url), Reach::PublicOrLoopback, limit).await;
    assert!(matches!(result, Err(PostError::TimedOut(_))), "{result:?}");

    for endless in [
        // A body without an end counts by its status; a head without an end is no answer.
        receiver::Reply::Flood("HTTP/1.1 200 OK\r\n\r\n", "x"),
        receiver::Reply::Flood("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
    ] {
        let is_body = matches!(endless, receiver::Reply::Flood(_, "x"));
        let flood = Receiver::new(move |_| endless.clone()).await;
        let url = flood.url("/").parse().unwrap();
        let result = Poster::default().post(letter(&url), Reach::PublicOrLoopback, LIMIT).await;
        match result {
            Ok(answer) => assert!(is_body && answer.status == 200 && answer.body.len() == 64 * 1024),
            Err(error) => assert!(!is_body && matches!(error, PostError::Exchange(_)), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_receiver_has_to_prove_its_name() {
    let (authority, acceptor) = tls();
    let receiver = Receiver::with_tls(acceptor, |_| OK.into()).await;
    let (resolve, _) = resolver(vec![receiver.address()]);
    let trusting = Poster::new(Arc::clone(&resolve), Arc::new(move || vec![authority.clone()]));
    let wary = Poster::new(resolve, Arc::new(Vec::new));
    let post = async |poster: &Poster, url: &str| {
        poster.post(letter(&url.parse().unwrap()), Reach::PublicOrLoopback, LIMIT).await
    };
    assert_eq!(post(&trusting, "https://hooks.example/").await.unwrap().status, 200);
    for (poster, url) in [
        (&trusting, "https://other.example/"),
        (&trusting, "https://127.0.0.1/"),
        (&wary, "https://hooks.example/"),
    ] {
        let result = post(poster, url).await;
        assert!(matches!(result, Err(PostError::Tls(_))), "{url}: {result:?}");
    }
    assert_eq!(receiver.requests().len(), 1, "nobody else was told anything");
    let plain = post(&trusting, "http://hooks.example/").await;
    assert!(plain.is_err(), "it speaks TLS alone: {plain:?}");
}
