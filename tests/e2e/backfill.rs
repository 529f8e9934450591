//! A backfill over a bucket of videos without outputs: the project's own definition with the real function.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use e2e::person::{ApiClient, fetch};
use e2e::stack::{Options, ShellScript, Stack};
use e2e::{eventually, keys, media};
use glimpse_contract::{Key, Owner};
use glimpse_local::Config;
use glimpse_local::clock::WallClock;
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use glimpse_local::workflow::{ExecutionEvent, ExecutionRecord};
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);
const HOSTILE_PLAYLIST: &[u8] = b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data\n";
/// Number of keys under `uploads/` that belong to other owners: more than fit into two batches.
const OTHER_OWNERS_VIDEOS: u64 = 21;

/// Number of videos by result: ready, rejected, kept, ignored.
type BackfillCounts = [u64; 4];

/// The result of an execution.
struct BackfillRun {
    record: ExecutionRecord,
    /// The sums over all successful batches.
    counts: BackfillCounts,
    /// The failed batches.
    failed: Vec<Value>,
    /// The number of objects in all batches.
    items: u64,
}

/// Sends events for Kay's uploads only, once each; all other videos have been in the bucket since before events were
/// configured.
fn send_events_for_kay_only(config: &mut Config) {
    config.s3.event_prefix = Key::uploads_prefix(&owner("kay"));
    config.queue.max_receive_count = 1;
    // Large enough for a slow machine: a batch that times out is retried, and the retry counts the finished videos as
    // kept.
    config.function.as_mut().unwrap().timeout = Duration::from_mins(10);
}

fn owner(name: &str) -> Owner {
    Owner::new(keys::ISSUER, name)
}

/// All objects below a prefix: their ETags and modification times.
fn objects(stack: &Stack, prefix: &str) -> BTreeMap<String, (String, i64)> {
    let store = stack.cloud.store();
    let found = store.list(prefix).into_iter().filter_map(|key| Some((store.head(&key)?, key)));
    found.map(|(object, key)| (key, (object.etag, object.modified_ms))).collect()
}

/// The keys of a video's objects.
fn object_names(stack: &Stack, video: &str) -> BTreeSet<String> {
    let prefix = format!("media/{video}/");
    stack.cloud.store().list(&prefix).iter().map(|key| key[prefix.len()..].to_owned()).collect()
}

async fn read_json(stack: &Stack, key: &str) -> Value {
    serde_json::from_slice(&stack.cloud.store().get(key).await.unwrap()).unwrap()
}

async fn run_backfill(stack: &Stack, input: Value) -> BackfillRun {
    let reports = || stack.cloud.store().list("backfill/").into_iter().collect::<BTreeSet<_>>();
    let before = reports();
    let record = stack.cloud.backfill(input).await.unwrap();
    let written: Vec<String> = reports().difference(&before).cloned().collect();
    let manifest_key = written.iter().find(|key| key.ends_with("/manifest.json")).unwrap();
    if let Some(Ok(output)) = &record.result {
        let location = json!({"Bucket": stack.cloud.settings().bucket, "Key": manifest_key});
        assert_eq!(*output, json!({ "ResultWriterDetails": location }));
    }
    let files = read_json(stack, manifest_key).await["ResultFiles"].clone();
    let mut run = BackfillRun { record, counts: [0; 4], failed: Vec::new(), items: 0 };
    let mut named = 1;
    for file in
        ["SUCCEEDED", "FAILED", "PENDING"].iter().flat_map(|status| files[*status].as_array().unwrap())
    {
        named += 1;
        for batch in read_json(stack, file["Key"].as_str().unwrap()).await.as_array().unwrap() {
            let text = |name: &str| serde_json::from_str::<Value>(batch[name].as_str().unwrap()).unwrap();
            run.items += text("Input")["Items"].as_array().unwrap().len() as u64;
            if batch["Status"] != "SUCCEEDED" {
                run.failed.push(batch.clone());
                continue;
            }
            let output = text("Output");
            for (sum, name) in run.counts.iter_mut().zip(["made", "refused", "kept", "ignored"]) {
                *sum += output[name].as_u64().unwrap();
            }
        }
    }
    assert_eq!(written.len(), named, "the manifest names all outputs: {written:?}");
    run
}

/// The results that the function has logged, once there are as many as `batches`: the summed counts, and the number of
/// failed batches.
async fn logged_counts(stack: &Stack, batches: usize) -> (BackfillCounts, u64) {
    let lines: Vec<Value> = eventually("a log line for each batch", LIMIT, || async {
        let lines = stack.cloud.invocations().into_iter().flat_map(|invocation| invocation.lines);
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let lines: Vec<Value> = lines.filter(|line| line["metric"] == "backfill").collect();
        assert!(lines.len() <= batches, "{lines:?}");
        (lines.len() == batches).then_some(lines)
    })
    .await;
    let sum = |name: &str| lines.iter().map(|line| line[name].as_u64().unwrap()).sum();
    (["made", "refused", "kept", "ignored"].map(sum), sum("failed"))
}

/// An upload that ended in the dead-letter queue because its outputs could not be written.
async fn upload_that_fails(stack: &Stack, api: &ApiClient) -> String {
    let body = media::clip(1, "160x120");
    let (video, upload) = api.create("failed.mp4", "video/mp4", body.len(), json!({})).await;
    let prefix = format!("media/{video}/storyboard");
    let refusal =
        InjectedFault { method: Method::PUT, prefix, times: 10_000, kind: FaultKind::InternalError };
    stack.cloud.fault_injector().add(refusal);
    assert_eq!(api.put(&upload, body).await.status, 200);
    assert_eq!(api.wait_for_outcome(&video).await["state"], "failed");
    stack.cloud.fault_injector().clear();
    video
}

#[tokio::test]
async fn backfill_makes_missing_outputs_and_is_idempotent() {
    let stack =
        Stack::start(Options { configure: Some(send_events_for_kay_only), ..Options::default() }).await;
    let (ann, kay) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "kay"));
    let clip = media::clip(1, "160x120");
    let kept = kay.upload("kept.mp4", "video/mp4", clip.clone()).await;
    assert_eq!(kay.wait_for_outcome(&kept).await["state"], "ready");
    let failed = upload_that_fails(&stack, &kay).await;
    let mp4 = ann.upload("a.mp4", "video/mp4", clip.clone()).await;
    let webm = ann.upload("b.webm", "video/webm", media::webm(1, "160x120")).await;
    let (private, upload) =
        ann.create("c.mp4", "video/mp4", clip.len(), json!({"visibility": "signed"})).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    let hostile = ann.upload("d.mp4", "video/mp4", HOSTILE_PLAYLIST.to_vec()).await;
    for number in 0..OTHER_OWNERS_VIDEOS {
        // Keys that sort before and after those of the test's owners.
        let folder = if number % 2 == 0 { "-archive" } else { "zoo/2025" };
        let key = format!("uploads/{folder}/holiday {number}.mp4");
        stack.cloud.store().put(&key, b"another file".to_vec(), "video/mp4").await.unwrap();
    }
    assert_eq!(ann.get(&format!("/api/videos/{mp4}")).await.json()["state"], "processing");
    let before = objects(&stack, "");
    assert_eq!(
        before.keys().filter(|key| key.starts_with("uploads/")).count() as u64,
        6 + OTHER_OWNERS_VIDEOS
    );

    let first = run_backfill(&stack, json!({})).await;
    assert!(first.failed.is_empty() && first.record.result.clone().unwrap().is_ok(), "{:?}", first.record);
    assert_eq!(
        (first.counts, first.items),
        ([4, 1, 1, OTHER_OWNERS_VIDEOS], 6 + OTHER_OWNERS_VIDEOS),
        "all objects were listed"
    );
    assert_eq!(logged_counts(&stack, 3).await, (first.counts, 0), "the log has the same counts");
    for (person, video) in [(&kay, &failed), (&ann, &mp4), (&ann, &webm), (&ann, &private)] {
        let video_json = person.wait_for_outcome(video).await;
        assert_eq!(video_json["state"], "ready", "{video_json}");
        let mut expected_names = object_names(&stack, video);
        assert_eq!(
            expected_names.remove("failure.json"),
            *video == failed,
            "the failure record remains, and the manifest outranks it"
        );
        assert_eq!(expected_names, object_names(&stack, &kept), "all outputs and the manifest");
    }
    assert_eq!(ann.get(&format!("/{webm}/thumbnail.jpg")).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&private).await["visibility"], "signed");
    assert_ne!(fetch(Method::GET, &format!("{}/{private}/thumbnail.jpg", stack.edge), &[]).await.status, 200);
    let video_json = ann.wait_for_outcome(&hostile).await;
    assert_eq!(
        (&video_json["state"], &video_json["problem"]["code"]),
        (&json!("rejected"), &json!("not_a_video"))
    );
    assert_eq!(object_names(&stack, &hostile), BTreeSet::from(["manifest.json".to_owned()]));
    let after = objects(&stack, "");
    let written_before = format!("media/{failed}/");
    for (key, object) in &before {
        if key.starts_with(&written_before) && !key.ends_with("/failure.json") {
            // Outputs of the failed attempt, which no manifest names.
            continue;
        }
        assert_eq!(after.get(key), Some(object), "{key} must not change");
    }
    for key in after.keys().filter(|key| !before.contains_key(*key)) {
        assert!(key.starts_with("media/") || key.starts_with("backfill/"), "{key}");
    }

    let second = run_backfill(&stack, json!({})).await;
    assert!(second.record.result.clone().unwrap().is_ok(), "{:?}", second.record);
    assert_eq!((second.counts, second.items), ([0, 0, 6, OTHER_OWNERS_VIDEOS], 6 + OTHER_OWNERS_VIDEOS));
    let mut after_rerun = objects(&stack, "");
    after_rerun.retain(|key, _| after.contains_key(key) || !key.starts_with("backfill/"));
    assert_eq!(after_rerun, after, "only the report is written");

    check_older_outcomes_are_reprocessed(&stack, [&mp4, &private, &hostile], &webm).await;
    let rest = |prefix: &str| objects(&stack, prefix);
    for prefix in [format!("media/{kept}/"), format!("media/{failed}/"), "uploads/".to_owned()] {
        let same: BTreeMap<_, _> =
            after.clone().into_iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
        assert_eq!(rest(&prefix), same, "other objects must not change");
    }
}

/// Processes Ann's videos again, first while one manifest cannot be read, then once it can.
async fn check_older_outcomes_are_reprocessed(stack: &Stack, others: [&String; 3], unread: &str) {
    let manifest =
        |video: &str| stack.cloud.store().head(&format!("media/{video}/manifest.json")).unwrap().etag;
    let (old, old_unread) = (others.map(|video| manifest(video)), manifest(unread));
    let prefix = format!("media/{unread}/manifest.json");
    let refusal =
        InjectedFault { method: Method::GET, prefix, times: 10_000, kind: FaultKind::InternalError };
    stack.cloud.fault_injector().add(refusal);
    let input = json!({"prefix": Key::uploads_prefix(&owner("ann")), "before": WallClock::system().now().to_string()});
    let run = run_backfill(stack, input.clone()).await;
    stack.cloud.fault_injector().clear();
    let fault = run.record.result.clone().unwrap().unwrap_err();
    assert_eq!(fault.error, "States.ExceedToleratedFailureThreshold");
    assert_eq!((run.counts, run.items, run.failed.len()), ([0; 4], 4, 1));
    let failed = &run.failed[0];
    assert_eq!((&failed["Status"], &failed["Error"]), (&json!("FAILED"), &json!("upstream")));
    let cause = failed["Cause"].as_str().unwrap();
    assert!(cause.contains(unread) && others.iter().all(|video| !cause.contains(*video)), "{cause}");
    let tries =
        run.record.events.iter().filter(|event| matches!(event, ExecutionEvent::Retried { .. })).count();
    assert_eq!(tries, 5);
    // Six batches of the earlier executions, and six attempts. The retries kept what the first attempt had finished.
    let (counts, failures) = logged_counts(stack, 12).await;
    assert_eq!((counts[0], counts[1], failures), (4 + 2, 1 + 1, 6));
    let rewritten = others.map(|video| manifest(video));
    assert!(
        old.iter().zip(&rewritten).all(|(old, new)| old != new),
        "the batch continued with the other videos"
    );
    assert_eq!(manifest(unread), old_unread);

    let run = run_backfill(stack, input).await;
    assert!(run.record.result.clone().unwrap().is_ok(), "{:?}", run.record);
    assert_eq!((run.counts, run.failed.len()), ([1, 0, 3, 0], 0));
    assert_ne!(manifest(unread), old_unread);
    assert_eq!(others.map(|video| manifest(video)), rewritten);
}

/// Sends no events for Ann's uploads; a transport stream gets the function killed.
fn kill_on_transport_stream(config: &mut Config) {
    let function = config.function.as_mut().unwrap();
    let ffmpeg = function.env["GLIMPSE_FFMPEG"].clone();
    let script = format!(
        "for word in \"$@\"; do case \"$word\" in mpegts) kill -9 $PPID;; esac; done\nexec {ffmpeg} \"$@\""
    );
    function.env.insert("GLIMPSE_FFMPEG".into(), ShellScript::install(&config.data.join("killing"), &script));
    config.s3.event_prefix = Key::uploads_prefix(&owner("kay"));
}

/// Row A1: a file that kills its function is found by processing each video alone, and ends as failed.
#[tokio::test]
async fn crashing_video_does_not_affect_other_batches() {
    let stack =
        Stack::start(Options { configure: Some(kill_on_transport_stream), ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = || media::clip(1, "160x120");
    let good = &ann.upload("a.mp4", "video/mp4", clip()).await;
    let killing = &ann.upload("b.ts", "video/mp2t", media::ts(1, "160x120")).await;
    let other = &ann.upload("c.mp4", "video/mp4", clip()).await;
    let run = run_backfill(&stack, json!({})).await;
    let fault = run.record.result.clone().unwrap().unwrap_err();
    assert_eq!(fault.error, "States.ExceedToleratedFailureThreshold");
    let cause = run.failed[0]["Cause"].as_str().unwrap();
    assert_eq!((run.failed.len(), &run.failed[0]["Error"]), (1, &json!("internal")));
    assert!(cause.contains(killing) && !cause.contains(good) && !cause.contains(other), "{cause}");
    for video in [good, other] {
        assert_eq!(ann.wait_for_outcome(video).await["state"], "ready");
    }
    let video_json = ann.wait_for_outcome(killing).await;
    assert_eq!(
        (&video_json["state"], &video_json["problem"]["code"]),
        (&json!("failed"), &json!("internal"))
    );
    let caught = run.record.events.iter().filter_map(|event| match event {
        ExecutionEvent::Caught { state, error, next } => {
            Some((state.as_str(), error.as_str(), next.as_str()))
        }
        _ => None,
    });
    assert_eq!(
        caught.collect::<Vec<_>>(),
        [("Make", "Runtime.ExitError", "OneByOne"), ("MakeOne", "Runtime.ExitError", "Left")]
    );
}
