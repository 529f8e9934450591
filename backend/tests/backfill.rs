//! Tests of a backfill batch: which videos get outputs, which outcomes are kept, and what is retried.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::time::Duration;

use crate::support::{TestJob, make};
use bytes::Bytes;
use glimpse_backend::preview::publish;
use glimpse_backend::store::memory::ReadFault;
use glimpse_backend::store::{PutOptions, Store as _, StoreError};
use glimpse_backend::workflow::backfill::handle;
use glimpse_contract::{Code, Key, Manifest, Rejection, State, Variant, Visibility};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The clock of the test service is at 1,700,000,001 s.
const AFTER: &str = "2023-11-14T22:13:22Z";
const BEFORE: &str = "2023-11-14T22:13:21Z";

fn clip() -> Vec<u8> {
    let arguments = "-f lavfi -i testsrc=s=96x64:r=10:d=0.5 -c:v libx264 -pix_fmt yuv420p";
    make(tempfile::tempdir().unwrap().path(), "clip.mp4", arguments)
}

fn batch_item(fixture: &TestJob) -> Value {
    json!({"Key": fixture.job.key.to_string(), "Etag": fixture.job.etag, "Size": fixture.job.bytes,
        "LastModified": 1_699_999_000, "StorageClass": "STANDARD"})
}

async fn backfill(fixture: &TestJob, items: &[Value], before: &str) -> Result<Value, (Code, String)> {
    let payload = json!({"backfill": {"Items": items, "BatchInput": {"before": before}}});
    let answer = handle(&fixture.service, &payload, Instant::now() + Duration::from_mins(5)).await;
    answer.result.map_err(|error| (error.code(), error.to_string()))
}

fn summary(made: u32, refused: u32, kept: u32, ignored: u32) -> Value {
    json!({"made": made, "refused": refused, "kept": kept, "ignored": ignored})
}

#[tokio::test]
async fn processes_only_videos_without_outcome() {
    let fixture = TestJob::new(clip());
    let foreign = json!({"Key": "uploads/holiday.mp4", "ETag": "\"x\"", "Size": 1, "LastModified": 1});
    assert_eq!(backfill(&fixture, &[batch_item(&fixture), foreign], "").await, Ok(summary(1, 0, 0, 1)));
    let before = (fixture.manifest(), fixture.service.store.counts());
    assert_eq!(before.0.as_ref().unwrap().timings.received, 1_699_999_000_000);
    assert_eq!(backfill(&fixture, &[batch_item(&fixture)], "").await, Ok(summary(0, 0, 1, 0)));
    assert_eq!(
        backfill(&fixture, &[batch_item(&fixture)], BEFORE).await,
        Ok(summary(0, 0, 1, 0)),
        "the outcome is not outdated"
    );
    assert_eq!((fixture.manifest(), fixture.service.store.counts()), before);

    let text = TestJob::new(b"plain text".to_vec());
    assert_eq!(backfill(&text, &[batch_item(&text)], "").await, Ok(summary(0, 1, 0, 0)));
}

#[tokio::test]
async fn reprocesses_outcomes_older_than_before() {
    let fixture = TestJob::new(clip());
    fixture.run().await;
    let original = fixture.manifest().unwrap();
    // An outcome of an older version.
    let old = Manifest { thumbhash: None, ..original.clone() };
    replace_manifest(&fixture, &old).await;
    put_output(&fixture, "storyboard.jpg", "old").await;
    assert_eq!(backfill(&fixture, &[batch_item(&fixture)], AFTER).await, Ok(summary(1, 0, 0, 0)));
    let reprocessed = fixture.manifest().unwrap();
    assert_eq!((&reprocessed.outputs, &reprocessed.thumbhash), (&original.outputs, &original.thumbhash));
    assert_ne!(fixture.output("storyboard.jpg"), b"old");

    // A rejection is processed again, and does not replace existing outputs.
    replace_manifest(&fixture, &rejected_manifest(&original, Code::UnsupportedCodec)).await;
    assert_eq!(backfill(&fixture, &[batch_item(&fixture)], AFTER).await, Ok(summary(1, 0, 0, 0)));
    let text = TestJob::new(b"plain text".to_vec());
    replace_manifest(&text, &Manifest { video: text.job.video, ..original }).await;
    assert_eq!(backfill(&text, &[batch_item(&text)], AFTER).await, Ok(summary(0, 0, 1, 0)));
    assert_eq!(text.manifest().unwrap().state, State::Ready);
}

#[tokio::test]
async fn keeps_chosen_poster_and_deletion() {
    let fixture = TestJob::new(clip());
    fixture.run().await;
    let original = fixture.manifest().unwrap();
    put_output(&fixture, "thumbnail.jpg", "chosen").await;
    let key = Key::Poster(fixture.job.video);
    fixture.service.store.put(&key, Bytes::from("{}"), PutOptions::JSON).await.unwrap();
    put_output(&fixture, "animated.gif", "old").await;
    assert_eq!(backfill(&fixture, &[batch_item(&fixture)], AFTER).await, Ok(summary(1, 0, 0, 0)));
    assert_eq!(
        fixture.output("thumbnail.jpg"),
        b"chosen",
        "a chosen poster is stored under the default's key"
    );
    assert_ne!(fixture.output("animated.gif"), b"old");
    let reprocessed = fixture.manifest().unwrap();
    assert_eq!((&reprocessed.outputs, reprocessed.poster_ms), (&original.outputs, original.poster_ms));

    replace_manifest(&fixture, &rejected_manifest(&original, Code::Deleted)).await;
    assert_eq!(backfill(&fixture, &[batch_item(&fixture)], AFTER).await, Ok(summary(0, 0, 1, 0)));
    assert!(fixture.manifest().unwrap().is_deleted());
}

#[tokio::test]
async fn batch_reports_failures_and_continues() {
    let fixture = TestJob::new(clip());
    for _ in 0..500 {
        fixture.service.store.fail_next_read(ReadFault::Fail(StoreError::Transient("503 SlowDown".into())));
    }
    let (code, reason) = backfill(&fixture, &[batch_item(&fixture)], "").await.unwrap_err();
    assert_eq!(code, Code::Upstream);
    assert!(reason.contains(&fixture.job.video.to_string()), "{reason}");
    fixture.service.store.clear_faults();
    assert_eq!(
        backfill(&fixture, &[batch_item(&fixture), batch_item(&fixture)], "").await,
        Ok(summary(1, 0, 1, 0))
    );

    // The state machine matches this error by name and retries immediately.
    let late = TestJob::new(clip());
    let items = json!([{"Key": "x", "Etag": "x"}, batch_item(&late)]);
    let payload = json!({"backfill": {"Items": items, "BatchInput": {"before": ""}}});
    let soon = Instant::now() + Duration::from_secs(20);
    let error = handle(&late.service, &payload, soon).await.result.unwrap_err();
    assert_eq!(error.code().as_str(), "timed_out");
    for batch in [json!({}), json!({"Items": [], "BatchInput": {"before": "yesterday"}})] {
        let payload = json!({ "backfill": batch });
        let error = handle(&late.service, &payload, soon).await.result.unwrap_err();
        assert_eq!(error.code(), Code::BadParameter, "{payload}");
    }
}

fn rejected_manifest(original: &Manifest, code: Code) -> Manifest {
    let rejected = Some(Rejection { code });
    Manifest { state: State::Rejected, rejected, outputs: Vec::new(), ..original.clone() }
}

async fn replace_manifest(fixture: &TestJob, manifest: &Manifest) {
    fixture.service.store.remove_object(&Key::Manifest(fixture.job.video));
    assert!(publish::commit_manifest(&*fixture.service.store, manifest).await.unwrap());
}

async fn put_output(fixture: &TestJob, name: &str, bytes: &'static str) {
    let key = Key::Output(fixture.job.video, Variant::from_file_name(name).unwrap());
    let options = PutOptions::new("image/jpeg").with_visibility(Visibility::Signed);
    fixture.service.store.put(&key, Bytes::from(bytes), options).await.unwrap();
}

#[tokio::test]
async fn give_up_records_unprocessed_as_failed() {
    let record_failures = async |fixture: &TestJob, items: &[Value], before: &str| {
        let batch = json!({"Items": items, "BatchInput": {"before": before}});
        let payload = json!({"backfill": batch, "give_up": true});
        let deadline = Instant::now() + Duration::from_mins(5);
        let answer = handle(&fixture.service, &payload, deadline).await;
        answer.result.map_err(|error| (error.code(), error.to_string()))
    };
    let fixture = TestJob::new(clip());
    let (code, reason) = record_failures(&fixture, &[batch_item(&fixture)], "").await.unwrap_err();
    assert!(code == Code::Internal && reason.contains(&fixture.job.video.to_string()), "{reason}");
    let record = fixture.service.store.object(&Key::Failure(fixture.job.video)).unwrap();
    let record: Value = serde_json::from_slice(&record.bytes).unwrap();
    assert_eq!(
        (&record["code"], &record["name"], &record["visibility"]),
        (&json!("internal"), &json!("Ski trip é.mp4"), &json!("signed"))
    );
    assert_eq!(fixture.manifest(), None);

    fixture.run().await;
    fixture.service.store.remove_object(&Key::Failure(fixture.job.video));
    let foreign = json!({"Key": "uploads/holiday.mp4", "ETag": "\"x\"", "Size": 1, "LastModified": 1});
    assert_eq!(
        record_failures(&fixture, &[batch_item(&fixture), foreign], "").await,
        Ok(summary(0, 0, 1, 1))
    );
    assert_eq!(record_failures(&fixture, &[batch_item(&fixture)], BEFORE).await, Ok(summary(0, 0, 1, 0)));
    assert!(
        record_failures(&fixture, &[batch_item(&fixture)], AFTER).await.is_err(),
        "the older outcome is kept"
    );
    assert_eq!(
        fixture.service.store.object(&Key::Failure(fixture.job.video)),
        None,
        "the older outcome is better than a failure"
    );
}
