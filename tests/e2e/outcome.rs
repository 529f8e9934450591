//! Whatever is uploaded, the outcome is committed once: pictures, a reason, or a failure that can be redriven.

use std::time::Duration;

use e2e::person::Person;
use e2e::stack::{Notify, Options, Program, Stack};
use e2e::{eventually, media};
use glimpse_local::Config;
use glimpse_local::lambda::Outcome;
use glimpse_local::s3::fault::{Fault, FaultKind};
use reqwest::Method;
use serde_json::Value;

use crate::webhooks::{self, Receiver};

const LIMIT: Duration = Duration::from_secs(90);

/// Rows E1, F1 and F21 of the threat table, through the whole path.
#[tokio::test]
async fn a_file_that_is_no_video_is_refused_for_good_and_says_why() {
    let stack = Stack::start(Options::default()).await;
    let ann = Person::new(&stack, "ann");
    let files: [(&str, &[u8], &str); 3] = [
        ("notes.mp4", b"Dear diary, this is a text file.\n", "not_a_video"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data\n", "not_a_video"),
        ("page.webm", b"<!doctype html><script>alert(1)</script>", "not_a_video"),
    ];
    for (name, body, code) in files {
        let video = ann.upload(name, "video/mp4", body.to_vec()).await;
        let shown = ann.outcome(&video).await;
        assert_eq!(
            (&shown["state"], &shown["problem"]["code"]),
            (&"rejected".into(), &code.into()),
            "{name}"
        );
        assert!(shown["problem"]["message"].as_str().unwrap().contains("not a video"), "{shown}");
        let picture = ann.get(&format!("/{video}/thumbnail.jpg")).await;
        assert_eq!((picture.status.as_u16(), picture.code().as_str()), (422, code), "{name}");
        let kept = stack.cloud.store().list(&format!("media/{video}/"));
        assert_eq!(kept, [format!("media/{video}/manifest.json")], "nothing but the reason is written");
    }
    settled(&stack).await;
    assert!(stack.cloud.queue().dead_letters().is_empty(), "a bad file never loops");
}

/// Row E1: the same event once more, and many times at once, changes nothing.
#[tokio::test]
async fn the_same_event_twice_changes_nothing() {
    let stack = Stack::start(Options::default()).await;
    let ann = Person::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.outcome(&video).await["state"], "ready");
    settled(&stack).await;
    let state = || {
        let store = stack.cloud.store();
        store.list("media/").into_iter().map(|key| (store.head(&key).unwrap(), key)).collect::<Vec<_>>()
    };
    let before = state();
    let event = sqs_body(&stack);
    for _ in 0..4 {
        stack.cloud.queue().send(event.clone()).unwrap();
    }
    settled(&stack).await;
    assert_eq!(state(), before, "objects, ETags and times are the same");
    assert!(stack.cloud.invocations().iter().all(|invocation| invocation.outcome.is_success()));
}

/// Row E5: an event that never came is made up for, whatever has become of other uploads.
#[tokio::test]
async fn an_upload_whose_event_was_lost_becomes_pictures_all_the_same() {
    let stack = Stack::start(Options::default()).await;
    let ann = Person::new(&stack, "ann");
    let done = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.outcome(&done).await["state"], "ready");
    settled(&stack).await;
    let video = ann.upload("b.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.outcome(&video).await["state"], "ready");
    settled(&stack).await;
    // As if its event had been lost: nothing of it is there but the source.
    for key in stack.cloud.store().list(&format!("media/{video}/")) {
        stack.cloud.store().delete(&key).await.unwrap();
    }
    let reconcile = stack.cloud.reconcile().unwrap();
    let young = r#"{"older_than_secs": 900, "younger_than_secs": 10800}"#;
    let any = r#"{"older_than_secs": 0, "younger_than_secs": 10800}"#;
    for (window, expected) in [(young, (0, 0)), (any, (2, 1))] {
        let Outcome::Success(answer) = reconcile.invoke(window).await else { panic!("it answers") };
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (&answer["looked"], &answer["queued"]),
            (&expected.0.into(), &expected.1.into()),
            "{answer}"
        );
    }
    eventually("its pictures", LIMIT, || async {
        let kept = stack.cloud.store().list(&format!("media/{video}/manifest.json"));
        (!kept.is_empty()).then_some(())
    })
    .await;
    settled(&stack).await;
    let outcome = reconcile.invoke(any).await;
    assert!(outcome.is_success(), "{outcome:?}");
    assert!(stack.cloud.queue().dead_letters().is_empty());
}

/// Rows E10 and E12: trouble of the storage is tried again, then kept, then redriven.
#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_kept_and_redriven() {
    let stack = Stack::start(Options { max_receives: 2, ..Options::default() }).await;
    let ann = Person::new(&stack, "ann");
    let fault = |times| Fault {
        method: Method::GET,
        prefix: "uploads/".into(),
        times,
        kind: FaultKind::InternalError,
    };
    stack.cloud.faults().add(fault(10_000));
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    let failed = eventually("the failed state", LIMIT, || async {
        let shown = ann.get(&format!("/api/videos/{video}")).await.json();
        (shown["state"] == "failed").then_some(shown)
    })
    .await;
    assert_eq!(failed["problem"]["code"], "upstream", "{failed}");
    eventually("the dead letter", LIMIT, || async {
        (!stack.cloud.queue().dead_letters().is_empty()).then_some(())
    })
    .await;

    stack.cloud.faults().clear();
    stack.cloud.queue().redrive().unwrap();
    let shown = eventually("the redrive", LIMIT, || async {
        let shown = ann.get(&format!("/api/videos/{video}")).await.json();
        (shown["state"] == "ready").then_some(shown)
    })
    .await;
    assert_eq!(shown["problem"], Value::Null, "a manifest outranks a failure");
}

/// A function that is killed whenever it decodes, twice for each message, and not for long.
fn kills_its_function(config: &mut Config) {
    let program = Program::install(&config.data, "kill -9 $PPID");
    let function = config.function.as_mut().unwrap();
    function.env.insert("GLIMPSE_FFMPEG".into(), program);
    function.timeout = Duration::from_secs(20);
    config.queue.visibility = Duration::from_secs(1);
}

/// Rows E12 and A1: what writes nothing any more has failed all the same, once it is certain.
#[tokio::test]
async fn e12_a_killed_function_ends_as_failed() {
    let receiver = Receiver::ok().await;
    let notify = Notify { urls: receiver.url.clone(), secrets: webhooks::OLD.into(), ..Notify::default() };
    let change = Some(kills_its_function as fn(&mut Config));
    let stack =
        Stack::start(Options { max_receives: 2, notify: Some(notify), change, ..Options::default() }).await;
    let ann = Person::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    let note = format!("media/{video}/failure.json");
    eventually("a note before the last try ends", LIMIT, || async {
        stack.cloud.store().head(&note).map(drop)
    })
    .await;
    let shown = ann.get(&format!("/api/videos/{video}")).await.json();
    assert_eq!(shown["state"], "processing", "the last try may still make it: {shown}");
    let shown = ann.outcome(&video).await;
    assert_eq!((&shown["state"], &shown["problem"]["code"]), (&"failed".into(), &"internal".into()));
    let listed = ann.get("/api/videos").await.json();
    assert_eq!(listed["videos"][0]["state"], "failed", "{listed}");
    assert!(stack.cloud.invocations().iter().all(|invocation| !invocation.outcome.is_success()));
    eventually("the dead letter", LIMIT, || async {
        (!stack.cloud.queue().dead_letters().is_empty()).then_some(())
    })
    .await;
    assert_eq!(stack.cloud.invocations().len(), 2, "no more tries than the queue makes");

    let any = r#"{"older_than_secs": 0, "younger_than_secs": 10800}"#;
    let Outcome::Success(answer) = stack.cloud.reconcile().unwrap().invoke(any).await else {
        panic!("it answers")
    };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((&answer["looked"], &answer["queued"]), (&1.into(), &0.into()), "what was given up stays so");

    let told = receiver.hears(1).await;
    assert_eq!((told[0].kind(), &told[0].event()["data"]), ("video.failed".into(), &shown));
    let deleted = ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await;
    assert_eq!(deleted.status, 200);
    assert!(stack.cloud.store().head(&note).is_none(), "a deleted video leaves no note");
    assert_eq!(receiver.hears(2).await[1].kind(), "video.deleted", "it was told once");
}

/// The path on a minute of full HD: prints what `cargo xtask test` shows with `--nocapture`.
#[tokio::test]
async fn a_minute_of_full_hd_becomes_pictures() {
    let stack = Stack::start(Options::default()).await;
    let ann = Person::new(&stack, "ann");
    let clip = media::clip(60, "1920x1080");
    let video = ann.upload("minute.mp4", "video/mp4", clip).await;
    let uploaded = std::time::Instant::now();
    let shown = ann.outcome(&video).await;
    assert_eq!(shown["state"], "ready", "{shown}");
    println!("upload finished to ready: {} ms", uploaded.elapsed().as_millis());
    println!("process start to first poll: {:?}", stack.init_durations());
}

/// Waits until the queue is empty and nobody works.
async fn settled(stack: &Stack) {
    eventually("the queue is empty", LIMIT, || async {
        stack.cloud.queue().messages().is_empty().then_some(())
    })
    .await;
}

/// The S3 event of the function's first invocation, as it lay in the queue.
fn sqs_body(stack: &Stack) -> String {
    let invocations = stack.cloud.invocations();
    let event: Value = serde_json::from_slice(&invocations[0].payload).unwrap();
    event["Records"][0]["body"].as_str().unwrap().to_owned()
}
