//! The workflow produces the same outcomes: the project's definitions, the real functions, every retry and every catch.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::person::ApiClient;
use e2e::stack::{Options, Stack};
use e2e::{eventually, media};
use glimpse_local::Config;
use glimpse_local::lambda::{InvocationOutcome, LoggedInvocation};
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use glimpse_local::workflow::{ExecutionEvent, ExecutionRecord};
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(3);

async fn stack(broken: &[(&str, &str)]) -> Stack {
    let broken: BTreeMap<String, String> =
        broken.iter().map(|(step, line)| ((*step).to_owned(), (*line).to_owned())).collect();
    Stack::start(Options { workflow: Some(broken), ..Options::default() }).await
}

/// The video's execution, once it has ended.
async fn wait_for_execution(stack: &Stack, video: &str) -> ExecutionRecord {
    eventually("the end of the execution", LIMIT, || async {
        let mut records = stack.cloud.executions().into_iter();
        records.find(|record| record.name.starts_with(video) && record.result.is_some())
    })
    .await
}

fn retries_of(record: &ExecutionRecord, state_name: &str) -> Vec<(String, Duration, Duration)> {
    let to_retry = |event: &ExecutionEvent| match event {
        ExecutionEvent::Retried { state, error, wait, max_wait: longest, .. } if state == state_name => {
            Some((error.clone(), *wait, *longest))
        }
        _ => None,
    };
    record.events.iter().filter_map(to_retry).collect()
}

fn caught_errors(record: &ExecutionRecord) -> Vec<(String, String, String)> {
    let to_caught = |event: &ExecutionEvent| match event {
        ExecutionEvent::Caught { state, error, next } => Some((state.clone(), error.clone(), next.clone())),
        _ => None,
    };
    record.events.iter().filter_map(to_caught).collect()
}

fn output_etags(stack: &Stack, video: &str) -> Vec<(String, String)> {
    let store = stack.cloud.store();
    let keys =
        store.list(&format!("media/{video}/")).into_iter().filter(|key| !key.ends_with("manifest.json"));
    keys.map(|key| (store.head(&key).unwrap().etag, key)).collect()
}

/// The cost of processing: milliseconds of functions, and requests for bytes of the source.
async fn processing_effort(stack: &Stack, video: &str, functions: &[Vec<LoggedInvocation>]) -> (u128, Value) {
    let took = functions.iter().flatten().map(|invocation| invocation.duration.as_millis()).sum();
    let manifest = stack.cloud.store().get(&format!("media/{video}/manifest.json")).await.unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    (took, manifest["reads"]["requests"].clone())
}

/// A manifest without times and costs.
async fn stable_manifest(ann: &ApiClient, video: &str) -> Value {
    let mut video_json = ann.wait_for_outcome(video).await;
    video_json.as_object_mut().unwrap().remove("timings");
    video_json
}

#[tokio::test]
async fn workflow_matches_queue_and_ignores_duplicates() {
    let change = |config: &mut Config| {
        for function in config.workflow.iter_mut().flat_map(|workflow| workflow.functions.values_mut()) {
            function.env.insert("METRICS_NAMESPACE".into(), "Glimpse/here".into());
        }
    };
    let workflow = Some(BTreeMap::new());
    let stack = Stack::start(Options { workflow, configure: Some(change), ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(8, "640x360")).await;
    let video_json = stable_manifest(&ann, &video).await;
    assert_eq!(video_json["state"], "ready", "{video_json}");
    let record = wait_for_execution(&stack, &video).await;
    assert_eq!(record.result, Some(Ok(json!({"outcome": {"state": "ready", "code": null}}))));
    assert!(record.name.starts_with(&video) && record.name.len() <= 80, "{}", record.name);
    assert!(
        retries_of(&record, "Probe").is_empty() && caught_errors(&record).is_empty(),
        "{:?}",
        record.events
    );
    assert!(stack.cloud.store().list("work/").is_empty(), "no staged outputs remain");
    assert!(stack.cloud.invocations().is_empty(), "the queue's function did not run");
    assert_eq!(ann.get(&format!("/{video}/thumbnail.jpg")).await.status, 200);
    let by_workflow = output_etags(&stack, &video);
    assert_eq!(by_workflow.len(), 9);
    let steps = ["probe", "poster", "animation", "storyboard", "publish"]
        .map(|step| stack.cloud.step(step).unwrap().invocations());
    assert!(steps.iter().all(|step| step.len() == 1), "each step once");
    let by_steps = processing_effort(&stack, &video, &steps).await;
    let lines = steps.iter().flatten().flat_map(|invocation| &invocation.lines);
    let lines: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of =
        |name: &str| lines.iter().filter(|line| line["metric"] == "step" && line["step"] == name).count();
    for step in ["probe", "poster", "animation", "storyboard", "publish"] {
        assert_eq!(of(step), 1, "one line of {step}: {lines:?}");
        let record = lines.iter().find(|line| line["Function"] == step).unwrap();
        assert_eq!((&record["Outcome"], &record["video"]), (&json!("done"), &json!(video)), "{record}");
        assert!(record["StepMs"].is_u64() && record["BytesRead"].is_u64() == (step != "publish"), "{record}");
    }
    let about = lines.iter().filter(|line| line["video"] == *video);
    assert!(
        about.clone().count() >= 10 && about.clone().all(|line| line["trace_id"] == video_json["trace_id"]),
        "{lines:?}"
    );

    // A duplicate event, and one for an unrelated object, change nothing (E1).
    let before = record.events.len();
    let mut duplicate = record.input.clone();
    duplicate["id"] = "another".into();
    stack.cloud.start_workflow(duplicate.clone());
    stack.cloud.start_workflow(record.input.clone());
    // An execution for a version of the video that never existed starts, and finds the work done.
    duplicate["detail"]["object"]["etag"] = "00000000000000000000000000000000".into();
    stack.cloud.start_workflow(duplicate);
    let last = eventually("the end of the other version's execution", LIMIT, || async {
        let record = stack
            .cloud
            .executions()
            .into_iter()
            .find(|record| record.name.ends_with("-00000000000000000000000000000000"))?;
        record.result
    })
    .await;
    assert!(matches!(&last, Ok(found) if found["found"]["state"] == "already"), "{last:?}");
    assert_eq!(stack.cloud.executions().len(), 2, "an execution's name is used once");
    assert_eq!(stack.cloud.executions()[0].events.len(), before);
    assert_eq!(output_etags(&stack, &video), by_workflow);

    // The queue's function produces the same bytes.
    for key in stack.cloud.store().list(&format!("media/{video}/")) {
        stack.cloud.store().delete(&key).await.unwrap();
    }
    stack.cloud.queue().send(record.input.to_string()).unwrap();
    eventually("the queue's outcome", LIMIT, || async {
        let found = stack.cloud.invocations().into_iter().next()?;
        matches!(found.outcome, InvocationOutcome::Success(_)).then_some(())
    })
    .await;
    assert_eq!(output_etags(&stack, &video), by_workflow);
    assert_eq!(stable_manifest(&ann, &video).await, video_json);
    let in_one = processing_effort(&stack, &video, &[stack.cloud.invocations()]).await;
    println!("(ms of functions, requests): by steps {by_steps:?}, in one pass {in_one:?}");
}

#[tokio::test]
async fn workflow_rejects_non_video_without_failing() {
    let stack = stack(&[]).await;
    let ann = ApiClient::new(&stack, "ann");
    let hostile: &[u8] = b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data\n";
    let video = ann.upload("list.mp4", "video/mp4", hostile.to_vec()).await;
    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!(
        (&video_json["state"], &video_json["problem"]["code"]),
        (&"rejected".into(), &"not_a_video".into())
    );
    let record = wait_for_execution(&stack, &video).await;
    assert_eq!(record.result, Some(Ok(json!({"outcome": {"state": "rejected", "code": "not_a_video"}}))));
    let entered = |event: &ExecutionEvent| match event {
        ExecutionEvent::Entered(name) => Some(name.clone()),
        _ => None,
    };
    let states: Vec<String> = record.events.iter().filter_map(entered).collect();
    assert_eq!(states, ["Probe", "IsThereSomething", "Publish"], "no decoder was started");
    let remaining_keys = stack.cloud.store().list(&format!("media/{video}/"));
    assert_eq!(
        remaining_keys,
        [format!("media/{video}/manifest.json")],
        "terminal: only the reason is written"
    );
}

#[tokio::test]
async fn workflow_survives_transient_storage_errors() {
    let stack = stack(&[]).await;
    let ann = ApiClient::new(&stack, "ann");
    let body = media::clip(2, "320x240");
    let (video, upload) = ann.create("a.mp4", "video/mp4", body.len(), json!({})).await;
    // More errors than a function's own retries cover (16 of one read, 4 of each of four outputs), so that the step
    // itself fails, once.
    for (method, prefix, times) in
        [(Method::GET, "uploads/".to_owned(), 20), (Method::PUT, format!("media/{video}/storyboard"), 14)]
    {
        stack.cloud.fault_injector().add(InjectedFault { method, prefix, times, kind: FaultKind::SlowDown });
    }
    assert_eq!(ann.put(&upload, body).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let record = wait_for_execution(&stack, &video).await;
    assert!(matches!(record.result, Some(Ok(_))), "{record:?}");
    for state in ["Probe", "Publish"] {
        let retries = retries_of(&record, state);
        assert!(!retries.is_empty() && retries.len() <= 4, "{state}: {retries:?}");
        for (error, wait, longest) in retries {
            assert_eq!(error, "upstream", "{state}");
            assert!(wait <= longest && longest <= Duration::from_mins(2), "{state}: {wait:?} of {longest:?}");
        }
    }
    assert!(caught_errors(&record).is_empty());
}

#[tokio::test]
async fn crashed_step_is_retried_then_fails() {
    // Out of memory: the function is killed with all its children. A hang: its timeout ends it.
    let once = r#"if mkdir "$MARK" 2>/dev/null; then kill -9 $PPID; fi; exec "$FFMPEG" "$@""#;
    let stack_once = stack(&[("animation", once)]).await;
    let ann = ApiClient::new(&stack_once, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let record = wait_for_execution(&stack_once, &video).await;
    let errors: Vec<_> = retries_of(&record, "Animation").into_iter().map(|(error, ..)| error).collect();
    assert_eq!(errors, ["Runtime.ExitError"]);
    drop(stack_once);

    let stack = stack(&[("animation", "kill -9 $PPID")]).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!(
        (&video_json["state"], &video_json["problem"]["code"]),
        (&"failed".into(), &"internal".into()),
        "{video_json}"
    );
    let record = wait_for_execution(&stack, &video).await;
    let fault = record.result.clone().unwrap().unwrap_err();
    assert_eq!(fault.error, "Runtime.ExitError", "the execution fails with the error's name");
    assert_eq!(retries_of(&record, "Animation").len(), 4);
    assert_eq!(caught_errors(&record), [("Pictures".into(), "Runtime.ExitError".into(), "GiveUp".into())]);
    let remaining_keys = stack.cloud.store().list(&format!("media/{video}/"));
    assert_eq!(remaining_keys, [format!("media/{video}/failure.json")]);
    assert!(stack.cloud.store().list("work/").is_empty(), "outputs of the other branches are deleted");
    // If the event is sent to the queue later, the outputs are generated after all.
    stack.cloud.queue().send(record.input.to_string()).unwrap();
    eventually("the later outcome", LIMIT, || async {
        (ann.get(&format!("/api/videos/{video}")).await.json()["state"] == "ready").then_some(())
    })
    .await;
}

#[tokio::test]
async fn hanging_step_times_out() {
    let once = r#"if mkdir "$MARK" 2>/dev/null; then kill -STOP $PPID; exit 1; fi; exec "$FFMPEG" "$@""#;
    let stack = stack(&[("poster", once)]).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let errors: Vec<_> = retries_of(&wait_for_execution(&stack, &video).await, "Poster")
        .into_iter()
        .map(|(error, ..)| error)
        .collect();
    assert_eq!(errors, ["Sandbox.Timedout"]);
}

#[tokio::test]
async fn failed_publish_and_failed_report_end_execution() {
    let stack = stack(&[]).await;
    let ann = ApiClient::new(&stack, "ann");
    for (what, states) in [("storyboard", vec!["Publish"]), ("", vec!["Publish", "GiveUp"])] {
        let body = media::clip(2, "320x240");
        let (video, upload) = ann.create("a.mp4", "video/mp4", body.len(), json!({})).await;
        let prefix = format!("media/{video}/{what}");
        stack.cloud.fault_injector().add(InjectedFault {
            method: Method::PUT,
            prefix,
            times: 10_000,
            kind: FaultKind::InternalError,
        });
        assert_eq!(ann.put(&upload, body).await.status, 200);
        let record = wait_for_execution(&stack, &video).await;
        stack.cloud.fault_injector().clear();
        let from: Vec<_> =
            caught_errors(&record).into_iter().map(|(state, error, _)| (state, error)).collect();
        assert_eq!(from, states.iter().map(|state| ((*state).into(), "upstream".into())).collect::<Vec<_>>());
        for state in states {
            assert_eq!(retries_of(&record, state).len(), 4, "{state}");
        }
        assert_eq!(record.result.unwrap().unwrap_err().error, "upstream");
        if what.is_empty() {
            assert!(stack.cloud.store().list(&format!("media/{video}/")).is_empty());
        } else {
            let video_json = ann.wait_for_outcome(&video).await;
            assert_eq!(
                (&video_json["state"], &video_json["problem"]["code"]),
                (&"failed".into(), &"upstream".into())
            );
        }
    }
}

#[tokio::test]
async fn video_deleted_while_processing_stays_deleted() {
    let stack = stack(&[]).await;
    let ann = ApiClient::new(&stack, "ann");
    // The staged outputs cannot be read until this fault is removed.
    let staged = InjectedFault {
        method: Method::GET,
        prefix: "work/".into(),
        times: 10_000,
        kind: FaultKind::SlowDown,
    };
    stack.cloud.fault_injector().add(staged);
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    eventually("all outputs are staged", LIMIT, || async {
        (stack.cloud.store().list(&format!("work/{video}/")).len() == 9).then_some(())
    })
    .await;
    assert_eq!(ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await.status, 200);
    stack.cloud.fault_injector().clear();
    let record = wait_for_execution(&stack, &video).await;
    assert_eq!(record.result, Some(Ok(json!({"outcome": {"state": "already", "code": null}}))));
    let remaining_keys = stack.cloud.store().list("");
    let mark = format!("media/{video}/manifest.json");
    assert!(remaining_keys.iter().all(|key| !key.contains(&video) || *key == mark), "{remaining_keys:?}");
    assert_eq!(ann.get(&format!("/{video}/thumbnail.jpg")).await.status, 410);
}
