//! Tests of a job in workflow steps: the same outputs and documents as in one job, and nothing twice, even if steps are
//! late or repeated.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{TestJob, make, tools};
use glimpse_backend::error::JobError;
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::preview::outputs::default_variants;
use glimpse_backend::preview::publish::{self, FailureRecord};
use glimpse_backend::preview::service::{JobOutcome, PreviewService};
use glimpse_backend::store::StoreError;
use glimpse_backend::store::memory::{self, MemoryStore};
use glimpse_backend::workflow::handler::{StepHandler, handle};
use glimpse_backend::workflow::publish::Publisher;
use glimpse_backend::workflow::state::{
    ErrorOutput, ProbeResult, StepInput, StepOutput, WorkflowState, WorkflowStep,
};
use glimpse_contract::{
    Code, Key, MANIFEST_VERSION, Manifest, ReadStats, Rejection, Source, State, Timings, VariantKind,
};
use serde_json::{Value, json};
use tokio::time::Instant;

const KINDS: [VariantKind; 3] = [VariantKind::Thumbnail, VariantKind::Animation, VariantKind::Storyboard];

fn encode(name: &str, arguments: &str) -> Vec<u8> {
    make(tempfile::tempdir().unwrap().path(), name, arguments)
}

fn clip() -> Vec<u8> {
    encode("clip.mp4", "-f lavfi -i testsrc=s=96x64:r=10:d=0.5 -c:v libx264 -pix_fmt yuv420p")
}

fn test_deadline() -> Instant {
    Instant::now() + Duration::from_mins(5)
}

/// Passes a document through JSON, like the state of a workflow.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(document: &T) -> T {
    serde_json::from_str(&serde_json::to_string(document).unwrap()).unwrap()
}

fn publisher(fixture: &TestJob) -> Publisher<MemoryStore> {
    Publisher { store: Arc::clone(&fixture.service.store), now_ms: fixture.service.now_ms }
}

async fn probe(fixture: &TestJob) -> ProbeResult {
    through_json(&fixture.service.probe(&fixture.job, test_deadline()).await.result.unwrap())
}

async fn step_input(fixture: &TestJob) -> Box<StepInput> {
    match probe(fixture).await {
        ProbeResult::Look(task) => task,
        other => panic!("{other:?}"),
    }
}

async fn make_parts(fixture: &TestJob, input: &StepInput) -> Vec<StepOutput> {
    let mut parts = Vec::new();
    for kind in KINDS {
        parts.push(through_json(
            &fixture.service.make_outputs(kind, input, test_deadline()).await.result.unwrap(),
        ));
    }
    parts
}

async fn publish_outcome(fixture: &TestJob, probed: ProbeResult, parts: Vec<StepOutput>) -> JobOutcome {
    publisher(fixture).publish(WorkflowState { found: Some(probed), parts, error: None }).await.unwrap()
}

async fn run_steps(fixture: &TestJob) -> JobOutcome {
    match probe(fixture).await {
        ProbeResult::Look(task) => {
            let parts = make_parts(fixture, &task).await;
            publish_outcome(fixture, ProbeResult::Look(task), parts).await
        }
        refused @ ProbeResult::Refused { .. } => publish_outcome(fixture, refused, Vec::new()).await,
        ProbeResult::Already => JobOutcome::AlreadyProcessed,
        ProbeResult::Superseded => JobOutcome::Superseded,
        ProbeResult::Ignored => panic!("an upload was ignored"),
    }
}

/// All objects, and the manifest without timings and read statistics.
fn stored_state(fixture: &TestJob) -> (Vec<(String, bytes::Bytes)>, Option<Manifest>) {
    let manifest = fixture.manifest().map(|manifest| Manifest {
        timings: Timings::default(),
        reads: ReadStats::default(),
        ..manifest
    });
    let key = Key::Manifest(fixture.job.video).to_string();
    let others = fixture.service.store.keys().into_iter().filter(|name| *name != key);
    (
        others
            .map(|name| (name.clone(), fixture.service.store.object(&name.parse().unwrap()).unwrap().bytes))
            .collect(),
        manifest,
    )
}

#[tokio::test]
async fn steps_match_single_pass() {
    let h264 = "-c:v libx264 -pix_fmt yuv420p";
    let mut sources: Vec<(&str, Vec<u8>)> = Vec::new();
    // Several frame sizes, several sample entries, and an animation that is black except at the time of the poster.
    if let Some(folder) = support::media_folder() {
        for name in ["resize-ramp.webm", "resize-vp8.webm", "two-entries.mp4", "flash.mp4"] {
            sources.push((name, std::fs::read(folder.join("bugs").join(name)).unwrap()));
        }
    }
    for (name, arguments) in [
        ("short.mp4", format!("-f lavfi -i testsrc=s=96x64:r=10:d=0.5 {h264}")),
        ("wide.mp4", format!("-f lavfi -i testsrc2=s=1280x720:r=25:d=9 -g 25 {h264} -preset ultrafast")),
        ("dark.mp4", format!("-f lavfi -i color=c=black:s=320x180:r=10:d=8 {h264}")),
        (
            "late.mkv",
            format!(
                "-f lavfi -i color=c=black:s=320x180:r=10:d=4 -f lavfi -i testsrc=s=320x180:r=10:d=4 -filter_complex concat=n=2 -g 200 {h264}"
            ),
        ),
        ("small.webm", "-f lavfi -i testsrc=s=128x96:r=12:d=3 -c:v libvpx".into()),
        ("stream.ts", "-f lavfi -i testsrc=s=320x240:r=25:d=8 -c:v mpeg2video -g 12".into()),
        ("old.avi", "-f lavfi -i testsrc=s=160x120:r=10:d=2 -c:v mpeg4".into()),
        ("long.avi", "-f lavfi -i testsrc=s=64x48:r=5:d=40 -c:v mpeg4 -g 10".into()),
    ] {
        sources.push((name, encode(name, &arguments)));
    }
    for (name, bytes) in sources {
        let (single_pass, steps) = (TestJob::new(bytes.clone()), TestJob::new(bytes));
        assert_eq!(single_pass.run().await.result, Ok(JobOutcome::Ready), "{name}");
        assert_eq!(run_steps(&steps).await, JobOutcome::Ready, "{name}");
        let (single, other) = (stored_state(&single_pass), stored_state(&steps));
        assert_eq!(single.1, other.1, "{name}");
        assert_eq!(
            single.0.len(),
            default_variants().count() + 1,
            "{name}: expected outputs and source, and nothing staged"
        );
        assert!(single.0 == other.0, "{name}: the bytes differ");
        let reads = steps.manifest().unwrap().reads;
        assert!(reads.requests > 0 && reads.bytes > 0, "{name}: {reads:?}");
    }
}

#[tokio::test]
async fn f21_rejections_match_single_pass() {
    let mut damaged =
        encode("torn.mp4", "-f lavfi -i testsrc=s=320x240:r=10:d=2 -c:v libx264 -pix_fmt yuv420p");
    let media = damaged.windows(4).position(|four| four == b"mdat").unwrap() + 4;
    let end = damaged.windows(4).rposition(|four| four == b"moov").unwrap() - 4;
    damaged[media..end].fill(0);
    for (name, bytes) in [
        ("text", b"plain text".to_vec()),
        ("empty", Vec::new()),
        ("nothing decodes", damaged),
        ("sound", encode("song.mp4", "-f lavfi -i sine=d=1 -c:a aac")),
    ] {
        let (single_pass, steps) = (TestJob::new(bytes.clone()), TestJob::new(bytes));
        let one = single_pass.run().await.result.unwrap();
        assert!(matches!(one, JobOutcome::Rejected(_)), "{name}: {one:?}");
        assert_eq!(run_steps(&steps).await, one, "{name}");
        let ((one, first), (other, second)) = (stored_state(&single_pass), stored_state(&steps));
        assert!(one == other, "{name}: the only result must be the manifest");
        // The probe step has determined the source's data, which a single job has not yet when it fails.
        let bare = |manifest: Option<Manifest>| {
            manifest.map(|manifest| Manifest { source: Source::default(), ..manifest })
        };
        assert_eq!(bare(first), bare(second), "{name}");
    }
}

#[tokio::test]
async fn e1_repeated_steps_change_nothing() {
    let fixture = TestJob::new(clip());
    let input = step_input(&fixture).await;
    let (first, duplicate) = (make_parts(&fixture, &input).await, make_parts(&fixture, &input).await);
    assert_eq!(publish_outcome(&fixture, ProbeResult::Look(input.clone()), first).await, JobOutcome::Ready);
    let before = (stored_state(&fixture), fixture.manifest());
    assert_eq!(
        publish_outcome(&fixture, ProbeResult::Look(input.clone()), duplicate).await,
        JobOutcome::AlreadyProcessed
    );
    assert_eq!(probe(&fixture).await, ProbeResult::Already);
    let writes = fixture.service.store.counts();
    for part in make_parts(&fixture, &input).await {
        assert_eq!(part, StepOutput::Already);
    }
    assert_eq!(fixture.service.store.counts(), writes, "nothing was read or written");
    assert_eq!(
        publisher(&fixture)
            .record_failure(&ErrorOutput::default(), Some(ProbeResult::Look(input)), None)
            .await,
        Ok(false)
    );
    assert_eq!((stored_state(&fixture), fixture.manifest()), before);
}

#[tokio::test]
async fn e1_duplicate_cleanup_is_not_a_failure() {
    let fixture = TestJob::new(clip());
    let input = step_input(&fixture).await;
    let parts = make_parts(&fixture, &input).await;
    for variant in default_variants() {
        fixture.service.store.remove_object(&Key::Staged(fixture.job.video, variant));
    }
    let state = WorkflowState { found: Some(ProbeResult::Look(input)), parts, error: None };
    let lost = publisher(&fixture).publish(state.clone()).await;
    assert!(matches!(lost, Err(JobError::Transient { code: Code::Upstream, .. })), "{lost:?}");
    assert_eq!(fixture.manifest(), None, "E9: no manifest before all outputs exist");
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
    assert_eq!(publisher(&fixture).publish(state).await, Ok(JobOutcome::AlreadyProcessed));
}

#[tokio::test]
async fn e9_changed_or_missing_staged_output_is_an_error() {
    let fixture = TestJob::new(clip());
    let input = step_input(&fixture).await;
    let mut parts = make_parts(&fixture, &input).await;
    if let StepOutput::Made { outputs, .. } = &mut parts[1] {
        outputs[0].etag = "\"other\"".into();
    }
    let other =
        WorkflowState { found: Some(ProbeResult::Look(input.clone())), parts: parts.clone(), error: None };
    assert!(publisher(&fixture).publish(other).await.is_err());
    parts.pop();
    let fewer = WorkflowState { found: Some(ProbeResult::Look(input)), parts, error: None };
    assert!(publisher(&fixture).publish(fewer).await.is_err());
    assert_eq!(fixture.manifest(), None);
    assert!(fixture.service.store.keys().iter().all(|key| !key.starts_with("media/")));
}

#[tokio::test]
async fn deletion_between_steps_leaves_only_tombstone() {
    for after in 0..=KINDS.len() {
        let fixture = TestJob::new(clip());
        let input = step_input(&fixture).await;
        let mut parts = Vec::new();
        for (index, kind) in KINDS.into_iter().enumerate() {
            if index == after {
                delete(&fixture, &input.draft).await;
            }
            parts.push(fixture.service.make_outputs(kind, &input, test_deadline()).await.result.unwrap());
        }
        if after == KINDS.len() {
            delete(&fixture, &input.draft).await;
        }
        assert_eq!(
            publish_outcome(&fixture, ProbeResult::Look(input), parts).await,
            JobOutcome::AlreadyProcessed
        );
        assert_eq!(fixture.service.store.keys(), [Key::Manifest(fixture.job.video).to_string()], "{after}");
        assert!(fixture.manifest().unwrap().is_deleted());
    }
}

/// Deletes a video like the edge: the tombstone first, then the objects.
async fn delete(fixture: &TestJob, draft: &Manifest) {
    let tombstone = Manifest {
        version: MANIFEST_VERSION,
        state: State::Rejected,
        rejected: Some(Rejection { code: Code::Deleted }),
        ..draft.clone()
    };
    assert!(publish::commit_manifest(&*fixture.service.store, &tombstone).await.unwrap());
    fixture.service.store.remove_object(&fixture.job.key);
}

#[tokio::test]
async fn e2_e7_gone_or_replaced_source_matches_single_pass() {
    let fixture = TestJob::new(clip());
    let input = step_input(&fixture).await;
    fixture.service.store.remove_object(&fixture.job.key);
    let parts = make_parts(&fixture, &input).await;
    assert_eq!(parts[0], StepOutput::Refused { code: Code::SourceGone });
    assert_eq!(
        publish_outcome(&fixture, ProbeResult::Look(input), parts).await,
        JobOutcome::Rejected(Code::SourceGone)
    );

    let mut other = TestJob::new(clip());
    let mut input = step_input(&other).await;
    input.draft.source.etag = "\"older\"".into();
    let parts = make_parts(&other, &input).await;
    assert_eq!(parts, [StepOutput::Superseded, StepOutput::Superseded, StepOutput::Superseded]);
    assert_eq!(publish_outcome(&other, ProbeResult::Look(input), parts).await, JobOutcome::Superseded);
    other.job.etag = "\"older\"".into();
    assert_eq!(probe(&other).await, ProbeResult::Superseded);
    assert_eq!(other.manifest(), None);
}

#[tokio::test]
async fn e12_failure_record_matches_single_pass() {
    let single_pass = TestJob::new(clip());
    for _ in 0..500 {
        single_pass
            .service
            .store
            .fail_next_read(memory::ReadFault::Fail(StoreError::Transient("503 SlowDown".into())));
    }
    let mut last = single_pass.job.clone();
    last.receives = single_pass.service.max_receives;
    let report = single_pass.service.run(&last, test_deadline()).await;
    assert_eq!(report.result.unwrap_err().code(), Code::Upstream);
    let failure_record = |fixture: &TestJob| -> FailureRecord {
        let note = fixture.service.store.object(&Key::Failure(fixture.job.video)).unwrap();
        serde_json::from_slice(&note.bytes).unwrap()
    };
    let upstream = ErrorOutput { error: "upstream".into(), cause: String::new() };
    // Before and after the probe step.
    let early = TestJob::new(clip());
    assert_eq!(publisher(&early).record_failure(&upstream, None, Some(&early.job)).await, Ok(true));
    assert_eq!(failure_record(&early), failure_record(&single_pass));
    let late = TestJob::new(clip());
    let input = step_input(&late).await;
    make_parts(&late, &input).await;
    assert_eq!(
        publisher(&late).record_failure(&upstream, Some(ProbeResult::Look(input)), None).await,
        Ok(true)
    );
    assert_eq!(failure_record(&late), failure_record(&single_pass));
    assert!(
        late.service.store.keys().iter().all(|key| !key.starts_with("work/")),
        "staged outputs must be deleted"
    );
    for (name, code) in
        [("Lambda.Unknown", Code::Internal), ("States.Timeout", Code::Internal), ("upstream", Code::Upstream)]
    {
        assert_eq!(ErrorOutput { error: name.into(), cause: String::new() }.code(), code, "{name}");
    }
}

/// An S3 event as EventBridge passes it to a state machine.
fn event(fixture: &TestJob) -> Value {
    json!({
        "source": "aws.s3", "detail-type": "Object Created", "time": "2023-11-14T22:13:20Z",
        "detail": {"bucket": {"name": "glimpse"}, "object": {
            "key": fixture.job.key.to_string(), "size": fixture.job.bytes, "etag": fixture.job.etag.trim_matches('"')}},
    })
}

fn step_handler(fixture: &TestJob, word: &str) -> StepHandler<MemoryStore> {
    let step = WorkflowStep::parse(word).unwrap();
    if step == WorkflowStep::Publish {
        return StepHandler::Publish(publisher(fixture));
    }
    let store = Arc::clone(&fixture.service.store);
    let patience = TimeBudget::default();
    let (now_ms, random) = (fixture.service.now_ms, fixture.service.random);
    StepHandler::Decode(
        step,
        PreviewService {
            store,
            tools: tools(),
            now_ms,
            random,
            max_receives: u32::MAX,
            time_budget: patience,
        },
    )
}

async fn run_step(fixture: &TestJob, word: &str, payload: &Value) -> Result<Value, JobError> {
    handle(&step_handler(fixture, word), "glimpse", payload, test_deadline()).await.result
}

#[tokio::test]
async fn step_documents_fit_workflow_state() {
    let fixture = TestJob::new(clip());
    let found = run_step(&fixture, "probe", &event(&fixture)).await.unwrap();
    assert_eq!(found["state"], "look");
    let mut state = json!({ "found": found });
    let mut parts = Vec::new();
    for word in ["poster", "animation", "storyboard"] {
        parts.push(run_step(&fixture, word, &state).await.unwrap());
    }
    state["parts"] = parts.into();
    // https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html: 256 KiB; a name and metadata of the
    // maximum length add 5.
    assert!(state.to_string().len() < 16 * 1024, "{} bytes", state.to_string().len());
    assert_eq!(run_step(&fixture, "publish", &state).await.unwrap()["state"], "ready");
    assert_eq!(run_step(&fixture, "probe", &event(&fixture)).await.unwrap()["state"], "already");
    let failed = json!({ "found": state["found"], "error": {"Error": "upstream", "Cause": "x"} });
    assert_eq!(
        run_step(&fixture, "publish", &failed).await.unwrap()["state"],
        "already",
        "a manifest outranks a failure"
    );
}

#[tokio::test]
async fn e6_ignores_foreign_events_and_rejects_malformed() {
    let fixture = TestJob::new(clip());
    let mut foreign = event(&fixture);
    foreign["detail"]["bucket"]["name"] = "other".into();
    assert_eq!(run_step(&fixture, "probe", &foreign).await.unwrap()["state"], "ignored");
    foreign["error"] = json!({"Error": "internal"});
    assert_eq!(run_step(&fixture, "publish", &foreign).await.unwrap()["state"], "already");
    for (word, payload) in [
        ("probe", json!({})),
        ("poster", json!({})),
        ("poster", json!({"found": {"state": "already"}})),
        ("publish", json!({})),
        ("publish", json!({"found": {"state": "look"}})),
        ("publish", json!({"found": 1})),
    ] {
        assert!(run_step(&fixture, word, &payload).await.is_err(), "{word} {payload}");
    }
    assert_eq!(fixture.service.store.keys().len(), 1, "nothing may be written");
}
