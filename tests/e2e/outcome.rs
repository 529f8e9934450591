//! The outcome of every upload is committed once: outputs, a rejection, or a failure that can be redriven.

use std::time::Duration;

use e2e::person::ApiClient;
use e2e::stack::{NotifyOptions, Options, ShellScript, Stack};
use e2e::{eventually, media};
use glimpse_local::Config;
use glimpse_local::lambda::InvocationOutcome;
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use reqwest::Method;
use serde_json::Value;

use crate::webhooks::{self, WebhookSink};

const LIMIT: Duration = Duration::from_secs(90);

/// Rows E1, F1 and F21 of docs/threat-model.md, end to end.
#[tokio::test]
async fn non_video_is_rejected_with_reason() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let files: [(&str, &[u8], &str); 3] = [
        ("notes.mp4", b"Dear diary, this is a text file.\n", "not_a_video"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data\n", "not_a_video"),
        ("page.webm", b"<!doctype html><script>alert(1)</script>", "not_a_video"),
    ];
    for (name, body, code) in files {
        let video = ann.upload(name, "video/mp4", body.to_vec()).await;
        let video_json = ann.wait_for_outcome(&video).await;
        assert_eq!(
            (&video_json["state"], &video_json["problem"]["code"]),
            (&"rejected".into(), &code.into()),
            "{name}"
        );
        assert!(video_json["problem"]["message"].as_str().unwrap().contains("not a video"), "{video_json}");
        let picture = ann.get(&format!("/{video}/thumbnail.jpg")).await;
        assert_eq!((picture.status.as_u16(), picture.code().as_str()), (422, code), "{name}");
        let remaining_keys = stack.cloud.store().list(&format!("media/{video}/"));
        assert_eq!(remaining_keys, [format!("media/{video}/manifest.json")], "only the reason is written");
    }
    wait_until_idle(&stack).await;
    assert!(stack.cloud.queue().dead_letters().is_empty(), "a rejected file is not retried");
}

/// Row E1: a repeated event, and many concurrent ones, change nothing.
#[tokio::test]
async fn duplicate_events_change_nothing() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    wait_until_idle(&stack).await;
    let state = || {
        let store = stack.cloud.store();
        store.list("media/").into_iter().map(|key| (store.head(&key).unwrap(), key)).collect::<Vec<_>>()
    };
    let before = state();
    let event = first_s3_event(&stack);
    for _ in 0..4 {
        stack.cloud.queue().send(event.clone()).unwrap();
    }
    wait_until_idle(&stack).await;
    assert_eq!(state(), before, "objects, ETags and times are the same");
    assert!(stack.cloud.invocations().iter().all(|invocation| invocation.outcome.is_success()));
}

/// Row E5: a lost event is replaced, whatever the state of other uploads.
#[tokio::test]
async fn reconcile_requeues_lost_events() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let done = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&done).await["state"], "ready");
    wait_until_idle(&stack).await;
    let video = ann.upload("b.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    wait_until_idle(&stack).await;
    // As if the event had been lost: only the source exists.
    for key in stack.cloud.store().list(&format!("media/{video}/")) {
        stack.cloud.store().delete(&key).await.unwrap();
    }
    let reconcile = stack.cloud.reconcile().unwrap();
    let young = r#"{"older_than_secs": 900, "younger_than_secs": 10800}"#;
    let any = r#"{"older_than_secs": 0, "younger_than_secs": 10800}"#;
    for (window, expected) in [(young, (0, 0)), (any, (2, 1))] {
        let InvocationOutcome::Success(answer) = reconcile.invoke(window).await else { panic!("it answers") };
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (&answer["looked"], &answer["queued"]),
            (&expected.0.into(), &expected.1.into()),
            "{answer}"
        );
    }
    eventually("its outputs", LIMIT, || async {
        let remaining_keys = stack.cloud.store().list(&format!("media/{video}/manifest.json"));
        (!remaining_keys.is_empty()).then_some(())
    })
    .await;
    wait_until_idle(&stack).await;
    let outcome = reconcile.invoke(any).await;
    assert!(outcome.is_success(), "{outcome:?}");
    assert!(stack.cloud.queue().dead_letters().is_empty());
}

/// Rows E10 and E12: a storage error is retried, then dead-lettered, then redriven.
#[tokio::test]
async fn transient_failure_retries_dead_letters_and_redrives() {
    let stack = Stack::start(Options { max_receives: 2, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let fault = |times| InjectedFault {
        method: Method::GET,
        prefix: "uploads/".into(),
        times,
        kind: FaultKind::InternalError,
    };
    stack.cloud.fault_injector().add(fault(10_000));
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    let failed = eventually("the failed state", LIMIT, || async {
        let video_json = ann.get(&format!("/api/videos/{video}")).await.json();
        (video_json["state"] == "failed").then_some(video_json)
    })
    .await;
    assert_eq!(failed["problem"]["code"], "upstream", "{failed}");
    eventually("the dead letter", LIMIT, || async {
        (!stack.cloud.queue().dead_letters().is_empty()).then_some(())
    })
    .await;

    stack.cloud.fault_injector().clear();
    stack.cloud.queue().redrive().unwrap();
    let video_json = eventually("the redrive", LIMIT, || async {
        let video_json = ann.get(&format!("/api/videos/{video}")).await.json();
        (video_json["state"] == "ready").then_some(video_json)
    })
    .await;
    assert_eq!(video_json["problem"], Value::Null, "a manifest outranks a failure record");
}

/// A function that is killed whenever it decodes, twice for each message, with a short timeout.
fn kill_function_on_decode(config: &mut Config) {
    let program = ShellScript::install(&config.data, "kill -9 $PPID");
    let function = config.function.as_mut().unwrap();
    function.env.insert("GLIMPSE_FFMPEG".into(), program);
    function.timeout = Duration::from_secs(20);
    config.queue.visibility_timeout = Duration::from_secs(1);
}

/// Rows E12 and A1: a job that can no longer write counts as failed once its lease has expired.
#[tokio::test]
async fn e12_killed_function_ends_as_failed() {
    let receiver = WebhookSink::ok().await;
    let notify = NotifyOptions {
        urls: receiver.url.clone(),
        secrets: webhooks::OLD_SECRET.into(),
        ..NotifyOptions::default()
    };
    let configure = Some(kill_function_on_decode as fn(&mut Config));
    let stack =
        Stack::start(Options { max_receives: 2, notify: Some(notify), configure, ..Options::default() })
            .await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    let note = format!("media/{video}/failure.json");
    eventually("a failure record before the last attempt ends", LIMIT, || async {
        stack.cloud.store().head(&note).map(drop)
    })
    .await;
    let video_json = ann.get(&format!("/api/videos/{video}")).await.json();
    assert_eq!(video_json["state"], "processing", "the last attempt may still succeed: {video_json}");
    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!(
        (&video_json["state"], &video_json["problem"]["code"]),
        (&"failed".into(), &"internal".into())
    );
    let listed = ann.get("/api/videos").await.json();
    assert_eq!(listed["videos"][0]["state"], "failed", "{listed}");
    assert!(stack.cloud.invocations().iter().all(|invocation| !invocation.outcome.is_success()));
    eventually("the dead letter", LIMIT, || async {
        (!stack.cloud.queue().dead_letters().is_empty()).then_some(())
    })
    .await;
    assert_eq!(stack.cloud.invocations().len(), 2, "one invocation for each receive");

    let any = r#"{"older_than_secs": 0, "younger_than_secs": 10800}"#;
    let InvocationOutcome::Success(answer) = stack.cloud.reconcile().unwrap().invoke(any).await else {
        panic!("it answers")
    };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        (&answer["looked"], &answer["queued"]),
        (&1.into(), &0.into()),
        "a failed video is not queued again"
    );

    let deliveries = receiver.wait_for(1).await;
    assert_eq!(
        (deliveries[0].event_type(), &deliveries[0].event()["data"]),
        ("video.failed".into(), &video_json)
    );
    let deleted = ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await;
    assert_eq!(deleted.status, 200);
    assert!(stack.cloud.store().head(&note).is_none(), "a deleted video leaves no failure record");
    assert_eq!(receiver.wait_for(2).await[1].event_type(), "video.deleted", "one event for the failure");
}

/// Processes a minute of full HD, and prints times that `cargo xtask test` shows with `--nocapture`.
#[tokio::test]
async fn processes_a_minute_of_full_hd() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(60, "1920x1080");
    let video = ann.upload("minute.mp4", "video/mp4", clip).await;
    let uploaded = std::time::Instant::now();
    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!(video_json["state"], "ready", "{video_json}");
    println!("upload finished to ready: {} ms", uploaded.elapsed().as_millis());
    println!("process start to first poll: {:?}", stack.init_durations());
}

/// Waits until the queue is empty and no function runs.
async fn wait_until_idle(stack: &Stack) {
    eventually("the queue is empty", LIMIT, || async {
        stack.cloud.queue().messages().is_empty().then_some(())
    })
    .await;
}

/// The S3 event of the function's first invocation, as it was in the queue.
fn first_s3_event(stack: &Stack) -> String {
    let invocations = stack.cloud.invocations();
    let event: Value = serde_json::from_slice(&invocations[0].payload).unwrap();
    event["Records"][0]["body"].as_str().unwrap().to_owned()
}
