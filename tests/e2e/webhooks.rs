//! Webhooks: every outcome is delivered, can be verified, and duplicates can be recognized.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use e2e::person::ApiClient;
use e2e::stack::{NotifyOptions, Options, Stack};
use e2e::{env_path, eventually, media};
use glimpse_local::clock::WallClock;
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);
/// The secret of an endpoint.
pub(crate) const OLD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedWebhook {
    pub(crate) headers: BTreeMap<String, String>,
    body: String,
}

impl ReceivedWebhook {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn event_type(&self) -> String {
        self.event()["type"].as_str().unwrap().to_owned()
    }
}

/// A webhook receiver.
#[derive(Debug, Clone)]
pub(crate) struct WebhookSink {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<ReceivedWebhook>>>,
}

impl WebhookSink {
    /// Responds to the request with each number, from 0, with the result of `answer`.
    async fn new(answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static) -> Self {
        let received = Arc::<Mutex<Vec<ReceivedWebhook>>>::default();
        let store = Arc::clone(&received);
        let take = async move |headers: HeaderMap, body: Bytes| {
            let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
            let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let mut store = store.lock().unwrap();
            store.push(ReceivedWebhook { headers, body });
            answer(store.len() - 1)
        };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, Router::new().fallback(take)).await });
        Self { url, requests: received }
    }

    pub(crate) async fn ok() -> Self {
        Self::new(|_| StatusCode::NO_CONTENT.into_response()).await
    }

    fn requests(&self) -> Vec<ReceivedWebhook> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until the receiver got this many requests.
    pub(crate) async fn wait_for(&self, times: usize) -> Vec<ReceivedWebhook> {
        eventually("a webhook", LIMIT, || async {
            let received = self.requests();
            (received.len() >= times).then_some(received)
        })
        .await
    }
}

/// A clock that a test advances.
#[derive(Debug, Clone, Default)]
struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    fn clock(&self) -> WallClock {
        let ahead = Arc::clone(&self.0);
        WallClock::new(move || Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::Relaxed)))
    }

    fn advance(&self, secs: i64) {
        self.0.fetch_add(secs, Ordering::Relaxed);
    }
}

/// Waits until no delivery is pending.
async fn wait_until_idle(stack: &Stack) {
    eventually("an idle notify function", LIMIT, || async {
        let invocations = stack.cloud.notify().unwrap().invocations();
        let is_idle = invocations.iter().all(|invocation| invocation.outcome.is_success());
        (stack.cloud.notify_queue().unwrap().depth().visible == 0 && is_idle).then_some(())
    })
    .await;
}

/// The S3 event of the first outcome, as it was in the queue.
fn first_outcome_event(stack: &Stack) -> String {
    let invocations = stack.cloud.notify().unwrap().invocations();
    let event: Value = serde_json::from_slice(&invocations[0].payload).unwrap();
    event["Records"][0]["body"].as_str().unwrap().to_owned()
}

/// Runs a program over the received requests; it verifies every signature with third-party libraries and with the
/// snippet of the documentation.
fn verify_with(program: &mut Command, received: &[ReceivedWebhook], secrets: &[&str]) {
    let received: Vec<_> = received
        .iter()
        .map(|received| json!({ "headers": received.headers, "body": received.body }))
        .collect();
    let input = json!({ "received": received, "secrets": secrets }).to_string();
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains(&format!("verified {}", received.len())), "it verified each request: {stdout}");
}

#[tokio::test]
async fn webhook_is_retried_until_accepted() {
    let hands = ManualClock::default();
    let steady = WebhookSink::ok().await;
    let flaky = WebhookSink::new(|number| match number {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let elsewhere = WebhookSink::ok().await;
    let target = elsewhere.url.clone();
    let moved = WebhookSink::new(move |_| Redirect::temporary(&target).into_response()).await;
    let urls = format!(
        "steady={} flaky={} moved={} inside=http://10.0.0.1/hooks metadata=https://169.254.169.254/",
        steady.url, flaky.url, moved.url
    );
    let secrets = format!(
        "steady={NEW_SECRET},steady={OLD_SECRET} flaky={OLD_SECRET} moved={OLD_SECRET} inside={OLD_SECRET} metadata={OLD_SECRET}"
    );
    let notify =
        NotifyOptions { urls, secrets, has_topic: true, max_receives: 3, ..NotifyOptions::default() };
    let stack =
        Stack::start(Options { notify: Some(notify), clock: Some(hands.clock()), ..Options::default() })
            .await;
    let ann = ApiClient::new(&stack, "ann");
    let more = json!({ "external_id": "order 7", "metadata": { "shop": "é" } });
    let clip = media::clip(2, "320x240");
    let (video, upload) = ann.create("a b.mp4", "video/mp4", clip.len(), more).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!(video_json["state"], "ready", "{video_json}");

    let delivery = steady.wait_for(1).await.remove(0);
    assert_eq!(delivery.event_type(), "video.ready");
    assert_eq!(delivery.event()["data"], video_json, "the data equals the API's response");
    assert_eq!(video_json["external_id"], "order 7");
    flaky.wait_for(1).await;
    wait_until_idle(&stack).await;
    hands.advance(6);
    flaky.wait_for(2).await;
    wait_until_idle(&stack).await;
    hands.advance(34);
    let tries = flaky.wait_for(3).await;
    wait_until_idle(&stack).await;
    assert_eq!(steady.requests().len(), 1, "no retry after a successful delivery");
    for again in &tries {
        assert_eq!((again.id(), &again.body), (tries[0].id(), &tries[0].body), "one id, one body");
    }
    assert_eq!(delivery.body, tries[0].body);
    assert_ne!(delivery.id(), tries[0].id(), "ids differ between endpoints");
    assert!(moved.requests().len() >= 2 && elsewhere.requests().is_empty(), "no redirect is followed");

    // The failed deliveries are dead letters now; a redrive would restart their attempts.
    let notices = stack.cloud.notify_queue().unwrap();
    hands.advance(150);
    let dead = eventually("dead letters", LIMIT, || async {
        let dead = notices.dead_letters();
        (dead.len() == 3).then_some(dead)
    })
    .await;
    let letters: Vec<_> =
        dead.iter().map(|message| serde_json::from_str::<Value>(&message.body).unwrap()).collect();
    for name in ["moved", "inside", "metadata"] {
        assert!(letters.iter().any(|notice| notice["to"] == name), "{name}: {letters:?}");
    }
    assert!(notices.messages().is_empty());

    // A duplicate event, a day or a second later, has the same id.
    notices.send(first_outcome_event(&stack)).unwrap();
    let duplicates = steady.wait_for(2).await;
    assert_eq!((duplicates[0].id(), &duplicates[0].body), (duplicates[1].id(), &duplicates[1].body));

    let published = stack.cloud.published_messages();
    assert_eq!(published[0].subject, format!("Glimpse: video {video} is ready"));
    assert_eq!(published[0].attributes, [("type".to_owned(), "video.ready".to_owned())]);
    assert!(published[0].message.contains("External id: order 7"), "{}", published[0].message);

    let root = env_path("GLIMPSE_ROOT");
    for secrets in [&[NEW_SECRET][..], &[OLD_SECRET]] {
        let mut node = Command::new(env_path("GLIMPSE_NODE"));
        verify_with(node.arg(root.join("tests/clients/webhooks/verify.mjs")), &duplicates, secrets);
        let mut python = Command::new(env_path("GLIMPSE_PYTHON"));
        verify_with(python.arg(root.join("tests/clients/webhooks/verify.py")), &duplicates, secrets);
    }
    let mut node = Command::new(env_path("GLIMPSE_NODE"));
    verify_with(node.arg(root.join("tests/clients/webhooks/verify.mjs")), &tries, &[OLD_SECRET]);
    println!("process start to first poll: preview {:?}", stack.init_durations());
    let notify = stack.cloud.notify().unwrap().invocations();
    let first_polls: Vec<_> = notify.iter().filter_map(|invocation| invocation.init_duration).collect();
    println!("process start to first poll: notify {first_polls:?}");
}

/// Every outcome is delivered, and a temporary outage of a queue loses none.
#[tokio::test]
async fn every_outcome_is_delivered_despite_lost_events() {
    let hands = ManualClock::default();
    let receiver = WebhookSink::ok().await;
    let notify =
        NotifyOptions { urls: receiver.url.clone(), secrets: OLD_SECRET.into(), ..NotifyOptions::default() };
    let stack = Stack::start(Options {
        notify: Some(notify),
        max_receives: 2,
        clock: Some(hands.clock()),
        ..Options::default()
    })
    .await;
    let ann = ApiClient::new(&stack, "ann");

    // The commit does not wait for deliveries; an event that could not be forwarded is sent again. Each call has three
    // attempts.
    stack.cloud.fail_services(3);
    let rejected = ann.upload("notes.mp4", "video/mp4", b"Dear diary".to_vec()).await;
    assert_eq!(ann.wait_for_outcome(&rejected).await["state"], "rejected");
    eventually("an event that was lost", LIMIT, || async {
        let invocations = stack.cloud.notify().unwrap().invocations();
        let lines = invocations.iter().flat_map(|invocation| &invocation.lines);
        let is_over = invocations.iter().all(|invocation| invocation.outcome.is_success());
        (lines.filter(|line| line.contains("sqs returned 503")).count() == 1 && is_over).then_some(())
    })
    .await;
    assert_eq!(receiver.requests().len(), 0);
    hands.advance(6);
    let deliveries = receiver.wait_for(1).await;
    assert_eq!(
        (deliveries[0].event_type(), &deliveries[0].event()["data"]["id"]),
        ("video.rejected".into(), &json!(rejected))
    );
    assert_eq!(deliveries[0].event()["data"]["problem"]["code"], "not_a_video");
    assert_eq!(ann.wait_for_outcome(&rejected).await["state"], "rejected", "the video has not failed");

    let deleted = ann.call(Method::DELETE, &format!("/api/videos/{rejected}"), None).await;
    assert_eq!(deleted.status, 200);
    let deliveries = receiver.wait_for(2).await;
    assert_eq!(
        (deliveries[1].event_type(), &deliveries[1].event()["data"]["id"]),
        ("video.deleted".into(), &json!(rejected))
    );
    assert_eq!(deliveries[1].event()["data"]["name"], "", "no data of the file is kept");

    let kind = FaultKind::InternalError;
    stack.cloud.fault_injector().add(InjectedFault {
        method: Method::GET,
        prefix: "uploads/".into(),
        times: 10_000,
        kind,
    });
    let failed = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    eventually("the first attempt", LIMIT, || async {
        let depth = stack.cloud.queue().depth();
        let invocations = stack.cloud.invocations();
        let is_over = invocations.iter().all(|invocation| invocation.outcome.is_success());
        (depth.in_flight == 1 && is_over && invocations.len() == 2).then_some(())
    })
    .await;
    hands.advance(40);
    let deliveries = receiver.wait_for(3).await;
    assert_eq!(
        (deliveries[2].event_type(), &deliveries[2].event()["data"]["id"]),
        ("video.failed".into(), &json!(failed))
    );
    let video_json = ann.get(&format!("/api/videos/{failed}")).await.json();
    assert_eq!(deliveries[2].event()["data"], video_json, "the data equals the API's response");
}

/// As deployed: by HTTPS, to public addresses only.
#[tokio::test]
async fn webhooks_to_private_addresses_are_rejected() {
    let receiver = WebhookSink::ok().await;
    let port = receiver.url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let urls = format!(
        "a=https://localhost:{port}/ b=https://127.0.0.1:{port}/ c=https://[::ffff:127.0.0.1]:{port}/"
    );
    let secrets = format!("a={OLD_SECRET} b={OLD_SECRET} c={OLD_SECRET}");
    let notify = NotifyOptions { urls, secrets, is_strict: true, ..NotifyOptions::default() };
    let stack = Stack::start(Options { notify: Some(notify), ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("notes.mp4", "video/mp4", b"Dear diary".to_vec()).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "rejected");
    eventually("three refusals", LIMIT, || async {
        let invocations = stack.cloud.notify().unwrap().invocations();
        let lines = invocations.iter().flat_map(|invocation| &invocation.lines);
        let refused = lines.filter(|line| line.contains("is not a public address")).count();
        (refused == 3).then_some(())
    })
    .await;
    assert_eq!(receiver.requests().len(), 0);
}
