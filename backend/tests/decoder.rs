//! Tests of a job whose decoder crashes, hangs or floods its output: scripts replace ffmpeg.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::time::Duration;

use crate::support::{TestJob, fake_ffmpeg, make};
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::preview::handler::handle;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_contract::{Code, Key};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

fn fixture(folder: &TempDir, script: &str) -> TestJob {
    let arguments = "-f lavfi -i testsrc=s=96x64:r=10:d=0.5 -c:v libx264 -pix_fmt yuv420p";
    let bytes = make(folder.path(), "clip.mp4", arguments);
    let mut fixture = TestJob::with_tools(bytes, fake_ffmpeg(folder.path(), script));
    let second = Duration::from_secs(1);
    fixture.service.time_budget = TimeBudget { child: second, best_effort: second, job: 4 * second };
    fixture
}

/// An SQS batch with this job and then one of another video.
fn batch(fixture: &TestJob) -> Value {
    let record = |message: &str, key: &str| {
        let body = json!({ "Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "eventTime": "2026-01-01T00:00:00.000Z",
            "s3": { "bucket": { "name": "glimpse" }, "object": {
                "key": key, "size": fixture.job.bytes, "eTag": fixture.job.etag.trim_matches('"') } },
        }] });
        json!({ "eventSource": "aws:sqs", "messageId": message, "body": body.to_string(),
            "attributes": { "ApproximateReceiveCount": "1" } })
    };
    let other = glimpse_contract::VideoId::new(1_700_000_000_000, [2; 10]);
    let other = Key::Source { owner: fixture.job.owner.clone(), video: other };
    json!({ "Records": [record("first", &fixture.job.key.to_string()), record("second", &other.to_string())] })
}

#[tokio::test]
async fn f12_crash_rejects_file_and_restarts_environment() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["SEGV", "ABRT", "ILL"] {
        let fixture = fixture(&folder, &format!("kill -s {signal} $$"));
        let answer =
            handle(&fixture.service, "glimpse", &batch(&fixture), Instant::now() + Duration::from_mins(5))
                .await;
        assert!(answer.must_restart, "{signal}: the process must exit");
        assert_eq!(
            answer.result.unwrap(),
            json!({ "batchItemFailures": [{ "itemIdentifier": "second" }] }),
            "the crashed file is rejected, and the next one is left to another environment"
        );
        assert_eq!(fixture.manifest().unwrap().rejected.unwrap().code, Code::DecoderCrash);
    }
}

#[tokio::test]
async fn f13_hung_decoder_is_killed_with_its_group() {
    let folder = tempfile::tempdir().unwrap();
    // A unique sleep duration identifies these processes.
    let mark = format!("6543.{}", std::process::id());
    let fixture = fixture(&folder, &format!("sleep {mark} & sleep {mark}"));
    let started = Instant::now();
    let report = fixture.run().await;
    assert_eq!(report.result, Ok(JobOutcome::Rejected(Code::TimedOut)));
    assert!(!report.must_restart);
    assert!(started.elapsed() < Duration::from_secs(15), "took {:?}", started.elapsed());
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_running(&mark) {
        assert!(Instant::now() < deadline, "a process of the group is still running");
        tokio::task::yield_now().await;
    }
}

fn is_running(mark: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| line.windows(mark.len()).any(|word| word == mark.as_bytes()))
    })
}

#[tokio::test]
async fn e11_invocation_deadline_does_not_reject_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut fixture = fixture(&folder, "sleep 600");
    fixture.service.time_budget = TimeBudget::default();
    let report = fixture.service.run(&fixture.job, Instant::now() + Duration::from_secs(2)).await;
    assert_eq!(report.result.map_err(|error| error.code()), Err(Code::Internal));
    assert_eq!(fixture.manifest(), None, "the job is retried");
}

#[tokio::test]
async fn f14_f15_output_flood_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    for (script, code) in [
        ("yes", Code::Truncated),
        ("yes >&2", Code::TimedOut),
        ("yes | head -c 3000000 >&2; exit 1", Code::Truncated),
        ("exit 0", Code::Truncated),
        ("echo 'Picture size 65535x65535 is invalid' >&2; exit 1", Code::TooManyPixels),
        (
            "echo 'Error submitting packet to decoder: Cannot allocate memory' >&2; exit 1",
            Code::TooMuchMemory,
        ),
        ("echo 'Error submitting packet to decoder: Cannot allocate memory' >&2", Code::TooMuchMemory),
        // As the kernel does when memory runs out.
        ("kill -9 $$", Code::TooMuchMemory),
    ] {
        let fixture = fixture(&folder, script);
        let started = Instant::now();
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Rejected(code)), "{script}");
        assert!(started.elapsed() < Duration::from_secs(15), "{script} took {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn missing_decoder_does_not_reject_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut fixture = fixture(&folder, "exit 0");
    fixture.service.tools.ffmpeg = folder.path().join("nothing");
    let result = fixture.run().await.result;
    assert_eq!(result.map_err(|error| error.code()), Err(Code::NoDecoder));
    assert_eq!(fixture.manifest(), None);
}
