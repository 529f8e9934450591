//! Functions: real processes that implement the Runtime API, invoked directly and by the queue. Run: `cargo test -p
//! glimpse-local --test function`.

#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; clippy exempts only functions marked as tests"
)]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{TestBed, wait_for};
use glimpse_local::lambda::InvocationOutcome;
use glimpse_local::{Config, FunctionSettings};
use serde_json::Value;
use tokio::sync::watch;

/// Cargo builds the examples of a package before its tests.
fn function_binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples/function")
}

fn with_function(change: impl FnOnce(&mut Config, &mut FunctionSettings)) -> impl FnOnce(&mut Config) {
    move |config| {
        let mut function = FunctionSettings::new(function_binary());
        function.timeout = Duration::from_secs(10);
        config.queue.visibility_timeout = Duration::from_millis(50);
        config.queue.max_receive_count = 2;
        change(config, &mut function);
        config.function = Some(function);
    }
}

fn error_type(outcome: &InvocationOutcome) -> &str {
    match outcome {
        InvocationOutcome::Failure { error_type: kind, .. } => kind,
        InvocationOutcome::Success(_) => "success",
        InvocationOutcome::Running => "running",
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn reuses_warm_environment() {
    let bed = TestBed::with_config(with_function(|_, _| {})).await;
    let function = bed.cloud.function().unwrap();
    for _ in 0..3 {
        let InvocationOutcome::Success(body) = function.invoke("{}").await else { panic!("it answers") };
        let report: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(report["arn"], "arn:aws:lambda:us-east-1:000000000000:function:glimpse-preview");
        assert_eq!((report["region"].as_str(), report["home"].as_str()), (Some("us-east-1"), Some("")));
        assert!(report["trace"].as_str().unwrap().starts_with("Root=1-"));
        let now =
            i64::try_from(common::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let left = report["deadline"].as_str().unwrap().parse::<i64>().unwrap() - now;
        assert!((1_000..=10_000).contains(&left), "{left}");
        wait_for("the environment is warm", || (function.warm_environments() == 1).then_some(())).await;
    }
    assert_eq!(function.environments_started(), 1);
    let all = bed.cloud.invocations();
    assert!(all[0].init_duration.is_some() && all[1].init_duration.is_none());
    assert!(all[0].max_memory_bytes > Some(0));
    let lines = &all[0].lines;
    let begins = |line: &str| lines.iter().filter(|other| other.starts_with(line)).count();
    for line in ["cold start", "START RequestId: ", "working on ", "END RequestId: ", "REPORT RequestId: "] {
        assert_eq!(begins(line), 1, "{line} in {lines:?}");
    }
    assert!(lines.last().unwrap().contains("\tInit Duration: "));
    assert!(all[1].lines.iter().any(|line| line == &format!("working on {}", all[1].request_id)));
    bed.cloud.stop().await;
}

#[tokio::test]
async fn messages_wait_until_function_is_ready() {
    let (sender, ready) = watch::channel(false);
    let bed = TestBed::with_config(with_function(|config, _| config.function_ready = Some(ready))).await;
    common::assert_status(&bed.client.put("uploads/o/v", b"x").await, 200);
    // Long enough for an invocation, and for the message to come back from one.
    let deadline = tokio::time::Instant::now() + Duration::from_millis(300);
    while tokio::time::Instant::now() < deadline {
        assert!(bed.cloud.invocations().is_empty(), "the function is not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sender.send_replace(true);
    wait_for("the invocation", || (bed.cloud.invocations().len() == 1).then_some(())).await;
    bed.cloud.stop().await;

    // A cloud whose function never becomes ready can be stopped.
    let (_sender, ready) = watch::channel(false);
    let bed = TestBed::with_config(with_function(|config, _| config.function_ready = Some(ready))).await;
    bed.cloud.stop().await;
}

#[tokio::test]
async fn timeout_kills_process_tree() {
    let bed =
        TestBed::with_config(with_function(|_, function| function.timeout = Duration::from_millis(600)))
            .await;
    let function = bed.cloud.function().unwrap();
    let outcome = function.invoke("\"hang\"").await;
    assert_eq!(error_type(&outcome), "Sandbox.Timedout");
    let lines = wait_for("the report", || {
        let lines = bed.cloud.invocations().remove(0).lines;
        lines.last().is_some_and(|line| line.starts_with("REPORT")).then_some(lines)
    })
    .await;
    assert!(lines.iter().any(|line| line.ends_with("Task timed out after 0.60 seconds")), "{lines:?}");
    let grandchild = lines.iter().find_map(|line| line.strip_prefix("grandchild ")).unwrap().to_owned();
    wait_for("the grandchild is gone", || (!is_alive(&grandchild)).then_some(())).await;
    assert_eq!(error_type(&function.invoke("{}").await), "success", "the next one gets a new environment");
    assert_eq!(function.environments_started(), 2);
}

#[tokio::test]
async fn distinguishes_crash_from_reported_error() {
    let bed = TestBed::with_config(with_function(|_, _| {})).await;
    let function = bed.cloud.function().unwrap();
    assert_eq!(error_type(&function.invoke("\"fail\"").await), "Refused");
    assert_eq!(error_type(&function.invoke("\"crash\"").await), "Runtime.ExitError");
    assert_eq!(error_type(&function.invoke("{}").await), "success");
    assert_eq!(function.environments_started(), 2, "an error keeps the environment, a crash does not");
}

#[tokio::test]
async fn init_failure_has_reason() {
    for (init, expected) in [("error", "Config"), ("exit", "Runtime.ExitError"), ("hang", "Sandbox.Timedout")]
    {
        let bed = TestBed::with_config(with_function(|_, function| {
            function.env.insert("GLIMPSE_TEST_INIT".into(), init.into());
            function.init_timeout = Duration::from_millis(500);
        }))
        .await;
        let outcome = bed.cloud.function().unwrap().invoke("{}").await;
        assert_eq!(error_type(&outcome), expected, "{init}");
    }
}

#[tokio::test]
async fn concurrency_is_limited() {
    let bed = TestBed::with_config(with_function(|_, function| function.concurrency = 2)).await;
    let function = bed.cloud.function().unwrap();
    let started = std::time::Instant::now();
    let outcomes = futures::future::join_all((0..4).map(|_| function.invoke("\"slow\""))).await;
    assert!(outcomes.iter().all(InvocationOutcome::is_success));
    assert_eq!(function.environments_started(), 2);
    assert!(started.elapsed() >= Duration::from_millis(800), "two rounds of 400 ms");
}

#[tokio::test]
async fn shuts_down_idle_environment() {
    let bed = TestBed::with_config(with_function(|_, function| {
        function.idle_timeout = Some(Duration::from_millis(30));
    }))
    .await;
    let function = bed.cloud.function().unwrap();
    function.invoke("{}").await;
    wait_for("it is warm", || (function.warm_environments() == 1).then_some(())).await;
    wait_for("it is gone", || (function.warm_environments() == 0).then_some(())).await;
}

#[tokio::test]
async fn upload_invokes_function_and_drains_queue() {
    let bed = TestBed::with_config(with_function(|_, _| {})).await;
    bed.client.put("uploads/o/v", b"video").await;
    let invocation = wait_for("the invocation", || {
        bed.cloud.invocations().into_iter().find(|invocation| invocation.outcome.is_success())
    })
    .await;
    let event: Value = serde_json::from_slice(&invocation.payload).unwrap();
    let record = &event["Records"][0];
    assert_eq!(
        (record["eventSource"].as_str(), record["awsRegion"].as_str()),
        (Some("aws:sqs"), Some("us-east-1"))
    );
    assert_eq!(record["attributes"]["ApproximateReceiveCount"], "1");
    let inner: Value = serde_json::from_str(record["body"].as_str().unwrap()).unwrap();
    assert_eq!(inner["Records"][0]["s3"]["object"]["key"], "uploads/o/v");
    wait_for("the queue is empty", || {
        let depth = bed.cloud.queue().depth();
        (depth.visible + depth.in_flight + depth.dead == 0).then_some(())
    })
    .await;
    bed.cloud.queue().send(record["body"].as_str().unwrap()).unwrap();
    wait_for("the same event again", || (bed.cloud.invocations().len() == 2).then_some(())).await;
}

#[tokio::test]
async fn failing_message_becomes_dead_letter() {
    for body in ["\"fail\"", "\"crash\"", "\"batch\""] {
        let bed = TestBed::with_config(with_function(|_, _| {})).await;
        bed.cloud.queue().send(body).unwrap();
        wait_for("the dead letter", || (bed.cloud.queue().depth().dead == 1).then_some(())).await;
        let counts: Vec<_> = bed
            .cloud
            .invocations()
            .iter()
            .map(|invocation| {
                let event: Value = serde_json::from_slice(&invocation.payload).unwrap();
                event["Records"][0]["attributes"]["ApproximateReceiveCount"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(counts, ["1", "2"], "{body}");
        assert_eq!(bed.cloud.queue().dead_letters()[0].body, body);
    }
}

#[tokio::test]
async fn redelivers_in_flight_message_after_restart() {
    let bed = TestBed::with_config(with_function(|config, _| {
        config.queue.visibility_timeout = Duration::from_mins(1);
    }))
    .await;
    bed.cloud.queue().send("\"hang\"").unwrap();
    let grandchild = wait_for("the function is working", || {
        let all = bed.cloud.invocations();
        all.first()?.lines.iter().find_map(|line| line.strip_prefix("grandchild ").map(str::to_owned))
    })
    .await;
    let bed = bed.restart().await;
    assert!(!is_alive(&grandchild), "nothing outlives the cloud");
    assert_eq!((bed.cloud.queue().depth().visible, bed.cloud.queue().messages()[0].receives), (1, 1));
}

#[tokio::test]
async fn missing_binary_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path());
    config.function = Some(FunctionSettings::new("/nowhere/preview"));
    let error = glimpse_local::Cloud::start(config).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no function binary at /nowhere/preview: build it, or name another one"
    );
}
