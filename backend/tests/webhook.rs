//! Tests of webhooks over real connections to receivers of every kind: allowed addresses, contents, accepted responses,
//! and retries.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::receiver;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::receiver::{ReceivedRequest, WebhookReceiver, tls};
use bytes::Bytes;
use futures::future::BoxFuture;
use glimpse_backend::aws::AwsError;
use glimpse_backend::aws::sqs::MessageQueue;
use glimpse_backend::notify::endpoint;
use glimpse_backend::notify::event::EventDelivery;
use glimpse_backend::notify::http::client::{AddressPolicy, HttpClient, HttpError, HttpRequest, Resolve};
use glimpse_backend::notify::service::Notifier;
use glimpse_backend::notify::signature::sign;
use glimpse_backend::preview::publish::{self, FailureRecord};
use glimpse_backend::store::memory::MemoryStore;
use glimpse_backend::store::{PutOptions, Store as _};
use glimpse_contract::{Failure, Key, Manifest, Owner, VideoId};
use serde_json::{Value, json};
use tokio::time::Instant;

const VIDEO: &str = "7yegr1n5zz040g2081040g2081";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW_MS: u64 = 1_700_000_000_500;
const LIMIT: Duration = Duration::from_secs(20);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A queue that records its calls.
#[derive(Debug, Default)]
struct RecordingQueue {
    sent: Mutex<Vec<EventDelivery>>,
    hidden: Mutex<Vec<(String, u64)>>,
}

impl MessageQueue for RecordingQueue {
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), AwsError>> {
        self.sent.lock().unwrap().push(EventDelivery::from_message(body).unwrap());
        Box::pin(async { Ok(()) })
    }

    fn change_visibility<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), AwsError>> {
        self.hidden.lock().unwrap().push((receipt.to_owned(), secs));
        Box::pin(async { Ok(()) })
    }
}

fn notifier_for(urls: &str, secrets: &str) -> (Notifier<MemoryStore>, Arc<RecordingQueue>) {
    let queue = Arc::new(RecordingQueue::default());
    let notifier = Notifier {
        store: Arc::default(),
        bucket: "glimpse".into(),
        public_url: "https://v.example".into(),
        queue: Arc::<RecordingQueue>::clone(&queue),
        endpoints: endpoint::parse(urls, secrets, true).unwrap(),
        topic: None,
        http_client: HttpClient::default(),
        address_policy: AddressPolicy::PublicOrLoopback,
        now_ms: || NOW_MS,
        random: || [0; 16],
    };
    (notifier, queue)
}

fn delivery_json(to: &str) -> Value {
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

/// Delivers one event to the endpoint without a name, and returns whether it will be retried.
async fn deliver_default(notifier: &Notifier<MemoryStore>, receives: u32) -> bool {
    deliver_text(notifier, delivery_json("default").to_string(), receives).await
}

async fn deliver_text(notifier: &Notifier<MemoryStore>, text: String, receives: u32) -> bool {
    let event = event(&[("m", text, receives)]);
    let response = notifier.handle(&event, Instant::now() + LIMIT).await.unwrap();
    !response["batchItemFailures"].as_array().unwrap().is_empty()
}

#[tokio::test]
async fn webhook_carries_body_and_both_signatures() {
    let receiver = WebhookReceiver::new(|_| OK.into()).await;
    let (notifier, queue) = notifier_for(&receiver.url("/hooks/glimpse?a=b"), SECRET);
    assert!(!deliver_default(&notifier, 1).await);
    let [request] = &receiver.requests()[..] else { panic!("{:?}", receiver.requests()) };
    let ReceivedRequest { line, headers, body } = request;
    assert_eq!(line, "POST /hooks/glimpse?a=b HTTP/1.1");
    let expected = delivery_json("default")["body"].as_str().unwrap().to_owned();
    assert_eq!(String::from_utf8_lossy(body), expected);
    let delivery = EventDelivery::from_message(&delivery_json("default").to_string()).unwrap();
    let signature = sign(&delivery.id(), NOW_MS / 1000, expected.as_bytes(), &notifier.endpoints[0].secrets);
    for (name, value) in [
        ("host", receiver.address().to_string()),
        ("content-type", "application/json".into()),
        ("content-length", body.len().to_string()),
        ("webhook-id", signature.id),
        ("webhook-timestamp", "1700000000".into()),
        ("webhook-signature", signature.standard_header),
        ("glimpse-signature", signature.glimpse_header),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert!(headers["user-agent"].starts_with("Glimpse-Webhooks/"));
    assert_eq!((queue.sent.lock().unwrap().len(), queue.hidden.lock().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn only_2xx_counts_as_delivered() {
    let elsewhere = WebhookReceiver::new(|_| OK.into()).await;
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
        let receiver = WebhookReceiver::new(move |_| answer.clone().into()).await;
        let (notifier, _) = notifier_for(&receiver.url("/"), SECRET);
        assert_eq!(!deliver_default(&notifier, 1).await, is_taken, "{:?}", receiver.requests());
        assert_eq!(receiver.requests().len(), 1);
    }
    assert_eq!(elsewhere.requests().len(), 0, "no redirect is followed");
}

#[tokio::test]
async fn failed_delivery_backs_off_then_dead_letters() {
    let receiver = WebhookReceiver::new(|number| {
        let wait = if number == 0 { "retry-after: 77\r\n" } else { "" };
        format!("HTTP/1.1 503 Busy\r\n{wait}content-length: 0\r\n\r\n").into()
    })
    .await;
    let (notifier, queue) = notifier_for(&receiver.url("/"), SECRET);
    for receives in [1, 2, 10, 11, 12] {
        assert!(deliver_default(&notifier, receives).await);
    }
    let hidden: Vec<_> = queue.hidden.lock().unwrap().iter().map(|(_, secs)| *secs).collect();
    assert_eq!(hidden, [77, 30, 30_000], "the requested delay, the planned one, and none after a day");
    let ids: Vec<_> =
        receiver.requests().iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "all attempts must have one id: {ids:?}");
}

#[tokio::test]
async fn each_endpoint_gets_its_own_message() {
    let (good, bad) = (WebhookReceiver::new(|_| OK.into()).await, WebhookReceiver::new(|_| "x".into()).await);
    let urls = format!("good={},bad={}", good.url("/"), bad.url("/"));
    let (notifier, queue) = notifier_for(&urls, &format!("good={SECRET} bad={SECRET}"));
    let event_text = commit_rejection(&notifier).await;
    assert!(!deliver_text(&notifier, event_text.clone(), 1).await);
    assert_eq!((good.requests().len(), bad.requests().len()), (0, 0), "nothing may be posted yet");
    let sent = queue.sent.lock().unwrap().clone();
    let names: Vec<_> = sent.iter().map(|notice| notice.to.clone()).collect();
    assert_eq!(names, ["good", "bad"]);
    assert_ne!(sent[0].id(), sent[1].id());
    let body: Value = serde_json::from_str(&sent[0].body).unwrap();
    assert_eq!((&body["type"], &body["data"]["state"]), (&"video.rejected".into(), &"rejected".into()));
    assert!(!deliver_text(&notifier, event_text, 1).await);
    assert_eq!(queue.sent.lock().unwrap()[2..], sent, "a duplicate event must send the same messages");

    let delivery_text = |to: &str| delivery_json(to).to_string();
    let batch = [
        ("m1", delivery_text("good"), 1),
        ("m2", delivery_text("bad"), 2),
        ("m3", delivery_text("gone"), 1),
        ("m4", "{oops".to_owned(), 1),
        ("m5", delivery_text("SNS"), 1),
    ];
    let response = notifier.handle(&event(&batch), Instant::now() + LIMIT).await.unwrap();
    let failed: Vec<_> = response["batchItemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["itemIdentifier"].clone())
        .collect();
    assert_eq!(failed, ["m2", "m4"], "an endpoint that is no longer configured is dropped");
    assert_eq!((good.requests().len(), bad.requests().len()), (1, 1));
    let mut hidden = queue.hidden.lock().unwrap().clone();
    hidden.sort();
    assert_eq!(hidden, [("receipt of m2".to_owned(), 30), ("receipt of m4".to_owned(), 5)]);

    for payload in [json!({}), json!({ "Records": [{ "body": "x" }] }), json!(null)] {
        assert!(notifier.handle(&payload, Instant::now() + LIMIT).await.is_err(), "{payload}");
    }
}

/// Commits a rejection, and returns the S3 event for it.
async fn commit_rejection(notifier: &Notifier<MemoryStore>) -> String {
    let manifest: Manifest = serde_json::from_value(json!({
        "version": 1, "video": VIDEO, "owner": Owner::new("i", "s"), "state": "rejected",
        "rejected": { "code": "not_a_video" }, "source": { "name": "a.mp4" },
    }))
    .unwrap();
    publish::commit_manifest(&*notifier.store, &manifest).await.unwrap();
    object_created(&Key::Manifest(VIDEO.parse().unwrap()))
}

/// The S3 event for a written object.
fn object_created(key: &Key) -> String {
    let object = json!({ "key": key.to_string(), "size": 5, "eTag": "e" });
    let s3 = json!({ "bucket": { "name": "glimpse" }, "object": object });
    json!({ "Records": [{ "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3 }] })
        .to_string()
}

#[tokio::test]
async fn unreadable_outcome_is_retried() {
    let (notifier, queue) = notifier_for("https://app.example/", SECRET);
    let key = Key::Manifest(VIDEO.parse().unwrap());
    notifier.store.put(&key, vec![b' '; 2 << 20].into(), PutOptions::JSON).await.unwrap();
    assert!(
        deliver_text(&notifier, object_created(&key), 1).await,
        "an object larger than any manifest is an error"
    );
    notifier.store.remove_object(&key);
    let event_text = commit_rejection(&notifier).await;
    assert!(!deliver_text(&notifier, event_text, 2).await);
    assert_eq!(queue.sent.lock().unwrap().len(), 1);

    let failure: Failure = serde_json::from_value(json!({
        "version": 1, "video": VIDEO, "owner": Owner::new("i", "s"), "code": "upstream", "failed_at": 1,
    }))
    .unwrap();
    let record = FailureRecord {
        failure,
        name: "a.mp4".into(),
        bytes: 7,
        content_type: "video/mp4".into(),
        visibility: None,
    };
    publish::put_failure(&*notifier.store, &record).await.unwrap();
    let key = Key::Failure(VIDEO.parse().unwrap());
    assert!(!deliver_text(&notifier, object_created(&key), 1).await);
    let body: Value = serde_json::from_str(&queue.sent.lock().unwrap()[1].body).unwrap();
    assert_eq!((&body["type"], &body["data"]["bytes"]), (&"video.failed".into(), &7.into()));
    let read: Failure = serde_json::from_slice(&notifier.store.get(&key, 1 << 20).await.unwrap().1).unwrap();
    assert_eq!(read, record.failure, "the edge must still be able to parse it");

    notifier.store.remove_object(&key);
    assert!(!deliver_text(&notifier, object_created(&key), 1).await, "a missing outcome is dropped");
    let broken = Key::Manifest(VideoId::new(1, [3; 10]));
    notifier.store.put(&broken, Bytes::from_static(b"{oops"), PutOptions::JSON).await.unwrap();
    assert!(
        deliver_text(&notifier, object_created(&broken), 1).await,
        "an invalid outcome is retried until it is dead-lettered"
    );
    assert_eq!(queue.sent.lock().unwrap().len(), 2);
}

/// The S3 event for the current object under this key.
fn object_created_now(notifier: &Notifier<MemoryStore>, key: &Key) -> String {
    let etag = notifier.store.object(key).unwrap().head.etag;
    object_created(key).replace("\"e\"", &etag)
}

#[tokio::test]
async fn failure_is_sent_after_its_attempt_ends() {
    let (notifier, queue) = notifier_for("https://app.example/", SECRET);
    let key = Key::Failure(VIDEO.parse().unwrap());
    let note = |ends_at: u64| {
        let attempt = json!({ "message": "m", "number": 5, "started_at": 1, "lease_expires_at": 0, "ends_at": ends_at });
        let note = json!({
            "version": 1, "video": VIDEO, "owner": Owner::new("i", "s"), "code": "internal", "failed_at": 1,
            "name": "a.mp4", "bytes": 7, "content_type": "video/mp4", "visibility": "public", "attempt": attempt,
        });
        Bytes::from(note.to_string())
    };
    let sent = || queue.sent.lock().unwrap().len();
    // The function may still succeed.
    notifier.store.put(&key, note(NOW_MS + 60_001), PutOptions::JSON).await.unwrap();
    let event_text = object_created_now(&notifier, &key);
    assert!(deliver_text(&notifier, event_text.clone(), 1).await, "the message must be retried");
    assert_eq!(
        *queue.hidden.lock().unwrap(),
        [("receipt of m".to_owned(), 61)],
        "the message is hidden until the lease ends"
    );
    assert_eq!(sent(), 0);
    // The function renewed its lease: the newer record has its own event.
    notifier.store.put(&key, note(NOW_MS + 60_000), PutOptions::JSON).await.unwrap();
    assert!(!deliver_text(&notifier, event_text.clone(), 2).await);
    assert_eq!(sent(), 0);
    // The function succeeded.
    let manifest = commit_rejection(&notifier).await;
    assert!(!deliver_text(&notifier, object_created_now(&notifier, &key), 2).await);
    assert_eq!(sent(), 0, "only the manifest's event is sent");
    assert!(!deliver_text(&notifier, manifest, 1).await);
    assert_eq!(sent(), 1);
    notifier.store.remove_object(&Key::Manifest(VIDEO.parse().unwrap()));
    // The function was killed.
    notifier.store.put(&key, note(NOW_MS), PutOptions::JSON).await.unwrap();
    assert!(!deliver_text(&notifier, object_created_now(&notifier, &key), 2).await);
    let body: Value = serde_json::from_str(&queue.sent.lock().unwrap()[1].body).unwrap();
    assert_eq!(
        (&body["type"], &body["data"]["problem"]["code"]),
        (&"video.failed".into(), &"internal".into())
    );
    // The attempt failed by itself.
    notifier.store.put(&key, note(0), PutOptions::JSON).await.unwrap();
    assert!(!deliver_text(&notifier, object_created_now(&notifier, &key), 1).await);
    assert_eq!(sent(), 3);
}

fn json_request(url: &http::Uri) -> HttpRequest<'_> {
    HttpRequest { url, headers: Vec::new(), body: Bytes::from_static(b"{}") }
}

/// A resolver that returns these addresses for every name, and counts its calls.
fn resolver(addresses: Vec<SocketAddr>) -> (Resolve, Arc<AtomicUsize>) {
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    let resolve: Resolve = Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let addresses = addresses.clone();
        Box::pin(async move { io::Result::Ok(addresses) })
    });
    (resolve, lookups)
}

#[tokio::test]
async fn non_public_address_is_never_connected() {
    let receiver = WebhookReceiver::new(|_| OK.into()).await;
    let here = receiver.address();
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", here.port()).parse().unwrap();
    let public: SocketAddr = "203.0.114.1:443".parse().unwrap();
    let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
    let url: http::Uri = format!("https://hooks.example:{}/", here.port()).parse().unwrap();
    for addresses in [vec![here], vec![mapped], vec![public, here], vec![here, public], vec![metadata]] {
        let (resolve, _) = resolver(addresses.clone());
        let client = HttpClient::new(resolve, Arc::new(Vec::new));
        let result = client.post(json_request(&url), AddressPolicy::Public, LIMIT).await;
        assert!(matches!(result, Err(HttpError::NonPublicAddress(_))), "{addresses:?}: {result:?}");
    }
    let (nothing, _) = resolver(Vec::new());
    let result = HttpClient::new(nothing, Arc::new(Vec::new))
        .post(json_request(&url), AddressPolicy::Public, LIMIT)
        .await;
    assert!(matches!(result, Err(HttpError::Resolve(_))), "{result:?}");
    assert_eq!(receiver.connections(), 0, "no connection may be made");

    // Any spelling of an address: the result of the system's resolver counts.
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "127.1", "2130706433", "0x7f.1", "0"]
    {
        let url: http::Uri = format!("https://{host}:{}/", here.port()).parse().unwrap();
        let result = HttpClient::default().post(json_request(&url), AddressPolicy::Public, LIMIT).await;
        assert!(
            matches!(result, Err(HttpError::NonPublicAddress(_) | HttpError::Resolve(_))),
            "{host}: {result:?}"
        );
    }
    assert_eq!(receiver.connections(), 0);
    let control = HttpClient::default();
    let url = receiver.url("/").parse().unwrap();
    assert_eq!(
        control.post(json_request(&url), AddressPolicy::Anywhere, LIMIT).await.unwrap().status,
        200,
        "the control must be delivered"
    );
}

#[tokio::test]
async fn connects_to_the_checked_address() {
    let receiver = WebhookReceiver::new(|_| OK.into()).await;
    let (resolve, resolutions) = resolver(vec![receiver.address()]);
    let client = HttpClient::new(resolve, Arc::new(Vec::new));
    let url = "http://hooks.example:1/".parse().unwrap();
    let response = client.post(json_request(&url), AddressPolicy::PublicOrLoopback, LIMIT).await.unwrap();
    assert_eq!(
        (response.status, resolutions.load(Ordering::Relaxed)),
        (200, 1),
        "the name must be resolved once"
    );
    assert_eq!(
        receiver.requests()[0].headers["host"],
        "hooks.example:1",
        "the host header must be unchanged"
    );
}

#[tokio::test]
async fn plain_http_only_to_loopback_in_development() {
    let receiver = WebhookReceiver::new(|_| OK.into()).await;
    let url = receiver.url("/").parse().unwrap();
    let result = HttpClient::default().post(json_request(&url), AddressPolicy::Public, LIMIT).await;
    assert!(matches!(result, Err(HttpError::NotHttps)), "{result:?}");
    let (resolve, _) = resolver(vec!["203.0.114.1:80".parse().unwrap()]);
    let client = HttpClient::new(resolve, Arc::new(Vec::new));
    let result = client.post(json_request(&url), AddressPolicy::PublicOrLoopback, LIMIT).await;
    assert!(matches!(result, Err(HttpError::NotHttps)), "{result:?}");
    assert_eq!(receiver.connections(), 0);
    for (url, word) in [("ftp://a.example/", "scheme"), ("/path", "scheme")] {
        let url = url.parse().unwrap();
        let error =
            HttpClient::default().post(json_request(&url), AddressPolicy::Anywhere, LIMIT).await.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn silent_or_endless_response_is_bounded() {
    let silent = WebhookReceiver::new(|_| receiver::CannedReply::Silence).await;
    let url = silent.url("/").parse().unwrap();
    let limit = Duration::from_millis(300);
    let result = HttpClient::default().post(json_request(&url), AddressPolicy::PublicOrLoopback, limit).await;
    assert!(matches!(result, Err(HttpError::TimedOut(_))), "{result:?}");

    for endless in [
        // A body without an end is accepted by its status; a head without an end is not a response.
        receiver::CannedReply::Flood("HTTP/1.1 200 OK\r\n\r\n", "x"),
        receiver::CannedReply::Flood("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
    ] {
        let is_body = matches!(endless, receiver::CannedReply::Flood(_, "x"));
        let flood = WebhookReceiver::new(move |_| endless.clone()).await;
        let url = flood.url("/").parse().unwrap();
        let result =
            HttpClient::default().post(json_request(&url), AddressPolicy::PublicOrLoopback, LIMIT).await;
        match result {
            Ok(answer) => assert!(is_body && answer.status == 200 && answer.body.len() == 64 * 1024),
            Err(error) => assert!(!is_body && matches!(error, HttpError::Protocol(_)), "{error}"),
        }
    }
}

#[tokio::test]
async fn receiver_must_prove_its_name() {
    let (authority, acceptor) = tls();
    let receiver = WebhookReceiver::with_tls(acceptor, |_| OK.into()).await;
    let (resolve, _) = resolver(vec![receiver.address()]);
    let trusting = HttpClient::new(Arc::clone(&resolve), Arc::new(move || vec![authority.clone()]));
    let untrusting = HttpClient::new(resolve, Arc::new(Vec::new));
    let post = async |poster: &HttpClient, url: &str| {
        poster.post(json_request(&url.parse().unwrap()), AddressPolicy::PublicOrLoopback, LIMIT).await
    };
    assert_eq!(post(&trusting, "https://hooks.example/").await.unwrap().status, 200);
    for (poster, url) in [
        (&trusting, "https://other.example/"),
        (&trusting, "https://127.0.0.1/"),
        (&untrusting, "https://hooks.example/"),
    ] {
        let result = post(poster, url).await;
        assert!(matches!(result, Err(HttpError::Tls(_))), "{url}: {result:?}");
    }
    assert_eq!(receiver.requests().len(), 1, "other receivers must get no request");
    let plain = post(&trusting, "http://hooks.example/").await;
    assert!(plain.is_err(), "the receiver accepts only TLS: {plain:?}");
}
