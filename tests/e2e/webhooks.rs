//! Whoever wants to hear of a video's outcome hears of it, can verify it, and can tell a twin from news.

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
use e2e::person::Person;
use e2e::stack::{Notify, Options, Stack};
use e2e::{eventually, media, named};
use glimpse_local::clock::Clock;
use glimpse_local::s3::fault::{Fault, FaultKind};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);
/// The secret of an endpoint.
pub(crate) const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A request that a receiver was sent.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) headers: BTreeMap<String, String>,
    body: String,
}

impl Heard {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.event()["type"].as_str().unwrap().to_owned()
    }
}

/// Somebody's server for webhooks.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Receiver {
    /// Answers the request of each number, from 0, as `answer` says.
    async fn new(answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static) -> Self {
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let kept = Arc::clone(&heard);
        let take = async move |headers: HeaderMap, body: Bytes| {
            let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
            let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let mut kept = kept.lock().unwrap();
            kept.push(Heard { headers, body });
            answer(kept.len() - 1)
        };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, Router::new().fallback(take)).await });
        Self { url, heard }
    }

    pub(crate) async fn ok() -> Self {
        Self::new(|_| StatusCode::NO_CONTENT.into_response()).await
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until it has heard so many times.
    pub(crate) async fn hears(&self, times: usize) -> Vec<Heard> {
        eventually("a webhook", LIMIT, || async {
            let heard = self.heard();
            (heard.len() >= times).then_some(heard)
        })
        .await
    }
}

/// A clock that a story moves on.
#[derive(Debug, Clone, Default)]
struct Hands(Arc<AtomicI64>);

impl Hands {
    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::new(move || Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::Relaxed)))
    }

    fn pass(&self, secs: i64) {
        self.0.fetch_add(secs, Ordering::Relaxed);
    }
}

/// Waits until nobody tells anybody anything.
async fn quiet(stack: &Stack) {
    eventually("an idle notify function", LIMIT, || async {
        let invocations = stack.cloud.notify().unwrap().invocations();
        let is_idle = invocations.iter().all(|invocation| invocation.outcome.is_success());
        (stack.cloud.notices().unwrap().depth().visible == 0 && is_idle).then_some(())
    })
    .await;
}

/// S3's word of the first outcome, as it lay in the queue.
fn first_word(stack: &Stack) -> String {
    let invocations = stack.cloud.notify().unwrap().invocations();
    let event: Value = serde_json::from_slice(&invocations[0].payload).unwrap();
    event["Records"][0]["body"].as_str().unwrap().to_owned()
}

/// Runs a program over what was heard; it judges every signature by other people's code and by the snippet of the docs.
fn verified_by(program: &mut Command, heard: &[Heard], secrets: &[&str]) {
    let heard: Vec<_> =
        heard.iter().map(|heard| json!({ "headers": heard.headers, "body": heard.body })).collect();
    let input = json!({ "heard": heard, "secrets": secrets }).to_string();
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&format!("verified {}", heard.len())), "it has looked at each: {said}");
}

#[tokio::test]
async fn a_webhook_is_tried_until_it_is_taken_and_goes_nowhere_else() {
    let hands = Hands::default();
    let steady = Receiver::ok().await;
    let flaky = Receiver::new(|number| match number {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let elsewhere = Receiver::ok().await;
    let target = elsewhere.url.clone();
    let moved = Receiver::new(move |_| Redirect::temporary(&target).into_response()).await;
    let urls = format!(
        "steady={} flaky={} moved={} inside=http://10.0.0.1/hooks metadata=https://169.254.169.254/",
        steady.url, flaky.url, moved.url
    );
    let secrets = format!("steady={NEW},steady={OLD} flaky={OLD} moved={OLD} inside={OLD} metadata={OLD}");
    let notify = Notify { urls, secrets, has_topic: true, max_receives: 3, ..Notify::default() };
    let stack =
        Stack::start(Options { notify: Some(notify), clock: Some(hands.clock()), ..Options::default() })
            .await;
    let ann = Person::new(&stack, "ann");
    let more = json!({ "external_id": "order 7", "metadata": { "shop": "é" } });
    let clip = media::clip(2, "320x240");
    let (video, upload) = ann.create("a b.mp4", "video/mp4", clip.len(), more).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    let shown = ann.outcome(&video).await;
    assert_eq!(shown["state"], "ready", "{shown}");

    let told = steady.hears(1).await.remove(0);
    assert_eq!(told.kind(), "video.ready");
    assert_eq!(told.event()["data"], shown, "it says what the API says");
    assert_eq!(shown["external_id"], "order 7");
    flaky.hears(1).await;
    quiet(&stack).await;
    hands.pass(6);
    flaky.hears(2).await;
    quiet(&stack).await;
    hands.pass(34);
    let tries = flaky.hears(3).await;
    quiet(&stack).await;
    assert_eq!(steady.heard().len(), 1, "who has taken it is left alone");
    for again in &tries {
        assert_eq!((again.id(), &again.body), (tries[0].id(), &tries[0].body), "one id, one body");
    }
    assert_eq!(told.body, tries[0].body);
    assert_ne!(told.id(), tries[0].id(), "each endpoint has ids of its own");
    assert!(moved.heard().len() >= 2 && elsewhere.heard().is_empty(), "no redirect is followed");

    // Those that were never taken are dead letters now; a redrive would begin anew.
    let notices = stack.cloud.notices().unwrap();
    hands.pass(150);
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

    // A twin of the event, a day or a second later, is known by its id.
    notices.send(first_word(&stack)).unwrap();
    let twins = steady.hears(2).await;
    assert_eq!((twins[0].id(), &twins[0].body), (twins[1].id(), &twins[1].body));

    let published = stack.cloud.published();
    assert_eq!(published[0].subject, format!("Glimpse: video {video} is ready"));
    assert_eq!(published[0].attributes, [("type".to_owned(), "video.ready".to_owned())]);
    assert!(published[0].message.contains("External id: order 7"), "{}", published[0].message);

    let root = named("GLIMPSE_ROOT");
    for secrets in [&[NEW][..], &[OLD]] {
        let mut node = Command::new(named("GLIMPSE_NODE"));
        verified_by(node.arg(root.join("tests/clients/webhooks/verify.mjs")), &twins, secrets);
        let mut python = Command::new(named("GLIMPSE_PYTHON"));
        verified_by(python.arg(root.join("tests/clients/webhooks/verify.py")), &twins, secrets);
    }
    let mut node = Command::new(named("GLIMPSE_NODE"));
    verified_by(node.arg(root.join("tests/clients/webhooks/verify.mjs")), &tries, &[OLD]);
    println!("process start to first poll: preview {:?}", stack.init_durations());
    let notify = stack.cloud.notify().unwrap().invocations();
    let first_polls: Vec<_> = notify.iter().filter_map(|invocation| invocation.init_duration).collect();
    println!("process start to first poll: notify {first_polls:?}");
}

/// Every outcome is told, and a queue that is out of order for a while loses none.
#[tokio::test]
async fn every_outcome_is_told_even_if_the_word_of_it_was_lost() {
    let hands = Hands::default();
    let receiver = Receiver::ok().await;
    let notify = Notify { urls: receiver.url.clone(), secrets: OLD.into(), ..Notify::default() };
    let stack = Stack::start(Options {
        notify: Some(notify),
        max_receives: 2,
        clock: Some(hands.clock()),
        ..Options::default()
    })
    .await;
    let ann = Person::new(&stack, "ann");

    // The commit does not wait for anybody who hears of it; what could not be passed on comes again. Each call is tried
    // three times.
    stack.cloud.refuse_services(3);
    let rejected = ann.upload("notes.mp4", "video/mp4", b"Dear diary".to_vec()).await;
    assert_eq!(ann.outcome(&rejected).await["state"], "rejected");
    eventually("a word that was lost", LIMIT, || async {
        let invocations = stack.cloud.notify().unwrap().invocations();
        let lines = invocations.iter().flat_map(|invocation| &invocation.lines);
        let is_over = invocations.iter().all(|invocation| invocation.outcome.is_success());
        (lines.filter(|line| line.contains("sqs answered 503")).count() == 1 && is_over).then_some(())
    })
    .await;
    assert_eq!(receiver.heard().len(), 0);
    hands.pass(6);
    let told = receiver.hears(1).await;
    assert_eq!((told[0].kind(), &told[0].event()["data"]["id"]), ("video.rejected".into(), &json!(rejected)));
    assert_eq!(told[0].event()["data"]["problem"]["code"], "not_a_video");
    assert_eq!(ann.outcome(&rejected).await["state"], "rejected", "and it has not failed");

    let deleted = ann.call(Method::DELETE, &format!("/api/videos/{rejected}"), None).await;
    assert_eq!(deleted.status, 200);
    let told = receiver.hears(2).await;
    assert_eq!((told[1].kind(), &told[1].event()["data"]["id"]), ("video.deleted".into(), &json!(rejected)));
    assert_eq!(told[1].event()["data"]["name"], "", "nothing of the file is kept");

    let kind = FaultKind::InternalError;
    stack.cloud.faults().add(Fault { method: Method::GET, prefix: "uploads/".into(), times: 10_000, kind });
    let failed = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    eventually("the first try", LIMIT, || async {
        let depth = stack.cloud.queue().depth();
        let invocations = stack.cloud.invocations();
        let is_over = invocations.iter().all(|invocation| invocation.outcome.is_success());
        (depth.in_flight == 1 && is_over && invocations.len() == 2).then_some(())
    })
    .await;
    hands.pass(40);
    let told = receiver.hears(3).await;
    assert_eq!((told[2].kind(), &told[2].event()["data"]["id"]), ("video.failed".into(), &json!(failed)));
    let shown = ann.get(&format!("/api/videos/{failed}")).await.json();
    assert_eq!(told[2].event()["data"], shown, "it says what the API says");
}

/// As deployed: by https, to the public internet, and nowhere else.
#[tokio::test]
async fn a_deployment_tells_nobody_on_its_own_side_of_the_wall() {
    let receiver = Receiver::ok().await;
    let port = receiver.url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let urls = format!(
        "a=https://localhost:{port}/ b=https://127.0.0.1:{port}/ c=https://[::ffff:127.0.0.1]:{port}/"
    );
    let secrets = format!("a={OLD} b={OLD} c={OLD}");
    let notify = Notify { urls, secrets, is_strict: true, ..Notify::default() };
    let stack = Stack::start(Options { notify: Some(notify), ..Options::default() }).await;
    let ann = Person::new(&stack, "ann");
    let video = ann.upload("notes.mp4", "video/mp4", b"Dear diary".to_vec()).await;
    assert_eq!(ann.outcome(&video).await["state"], "rejected");
    eventually("three refusals", LIMIT, || async {
        let invocations = stack.cloud.notify().unwrap().invocations();
        let lines = invocations.iter().flat_map(|invocation| &invocation.lines);
        let refused = lines.filter(|line| line.contains("is no public address")).count();
        (refused == 3).then_some(())
    })
    .await;
    assert_eq!(receiver.heard().len(), 0);
}
