//! Tests of a job that runs concurrently or repeatedly, or whose storage fails.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support::{TestJob, fake_ffmpeg, install_program, make, tools};
use glimpse_backend::config::FfmpegTools;
use glimpse_backend::error::JobError;
use glimpse_backend::preview::outputs::default_variants;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::store::StoreError;
use glimpse_backend::store::memory::ReadFault;
use glimpse_contract::{Attempt, Code, Failure, Grant, Json, Key, State, Variant, Visibility};

fn clip() -> Vec<u8> {
    let arguments = "-f lavfi -i testsrc=s=96x64:r=10:d=0.5 -c:v libx264 -pix_fmt yuv420p";
    make(tempfile::tempdir().unwrap().path(), "clip.mp4", arguments)
}

/// Files that are read in several parts: one natively, one by ffmpeg through the source proxy.
fn large_files() -> [(&'static str, Vec<u8>); 2] {
    let noise = "-f lavfi -i testsrc=s=640x480:r=10:d=1.2,noise=alls=100:allf=t";
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("native", "clip.mp4", "-c:v libx264 -preset ultrafast -qp 10 -pix_fmt yuv420p"),
        ("ffmpeg", "clip.ts", "-c:v mpeg2video -q:v 2"),
    ]
    .map(|(way, name, arguments)| (way, make(folder.path(), name, &format!("{noise} {arguments}"))));
    assert!(files.iter().all(|(_, bytes)| bytes.len() > 1_200_000), "too small to be read in parts");
    files
}

fn outputs(fixture: &TestJob) -> Vec<Vec<u8>> {
    default_variants().map(|variant| fixture.output(&variant.file_name())).collect()
}

fn transient_error() -> StoreError {
    StoreError::Transient("503 SlowDown".into())
}

/// The first read, of a file's first bytes, succeeds; later reads fail.
fn fail_later_reads(fixture: &TestJob) {
    fixture.service.store.fail_next_read(ReadFault::EndAfter(usize::MAX));
    for _ in 0..100 {
        fixture.service.store.fail_next_read(ReadFault::Fail(transient_error()));
    }
}

#[tokio::test]
async fn e1_repeated_event_decodes_nothing() {
    let fixture = TestJob::new(clip());
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
    let (before, counts) = (fixture.manifest(), fixture.service.store.counts());
    assert_eq!(
        counts.1,
        default_variants().count() as u64 + 1,
        "each output and the manifest are written once"
    );
    let again = fixture.run().await;
    assert_eq!((again.result, again.counts.requests), (Ok(JobOutcome::AlreadyProcessed), 0));
    assert_eq!(
        (fixture.manifest(), fixture.service.store.counts()),
        (before, counts),
        "nothing was read or written"
    );

    let refused = TestJob::new(b"plain text".to_vec());
    assert_eq!(refused.run().await.result, Ok(JobOutcome::Rejected(Code::NotAVideo)));
    assert_eq!(refused.run().await.result, Ok(JobOutcome::AlreadyProcessed));
}

#[tokio::test]
async fn e1_concurrent_events_write_one_manifest() {
    let bytes = clip();
    let alone = TestJob::new(bytes.clone());
    alone.run().await;

    let fixture = TestJob::new(bytes);
    let results = futures::future::join_all((0..8).map(|_| fixture.run())).await;
    let results: Vec<_> = results.into_iter().map(|report| report.result.unwrap()).collect();
    assert_eq!(results.iter().filter(|done| **done == JobOutcome::Ready).count(), 1, "{results:?}");
    assert_eq!(
        results.iter().filter(|done| **done == JobOutcome::AlreadyProcessed).count(),
        7,
        "{results:?}"
    );
    assert_eq!(fixture.service.store.keys().len(), default_variants().count() + 2);
    assert_eq!(outputs(&fixture), outputs(&alone), "the same file has the same outputs, to the byte");
    assert_eq!(fixture.manifest(), alone.manifest());
}

#[tokio::test]
async fn e9_interrupted_run_is_completed() {
    let fixture = TestJob::new(clip());
    fixture.run().await;
    let whole = outputs(&fixture);
    fixture.service.store.remove_object(&Key::Manifest(fixture.job.video));
    fixture.service.store.remove_object(&Key::Output(fixture.job.video, Variant::DEFAULTS[2]));
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
    assert_eq!(outputs(&fixture), whole);
}

#[tokio::test]
async fn manifest_write_conflicts_are_resolved() {
    let text = || b"plain text".to_vec();
    for (bytes, faults, expected) in [
        (clip(), vec![StoreError::AlreadyExists], Ok(JobOutcome::AlreadyProcessed)),
        (clip(), vec![StoreError::Conflict], Ok(JobOutcome::Ready)),
        (
            text(),
            vec![StoreError::Conflict, StoreError::Conflict, StoreError::AlreadyExists],
            Ok(JobOutcome::AlreadyProcessed),
        ),
        (text(), vec![StoreError::Conflict], Ok(JobOutcome::Rejected(Code::NotAVideo))),
        (text(), (0..20).map(|_| StoreError::Conflict).collect(), Err(Code::Upstream)),
        (text(), vec![transient_error()], Err(Code::Upstream)),
    ] {
        let fixture = TestJob::new(bytes);
        let text = format!("{faults:?}");
        for fault in faults {
            fixture.service.store.fail_next_conditional_put(fault);
        }
        assert_eq!(fixture.run().await.result.map_err(|error| error.code()), expected, "{text}");
    }
}

#[tokio::test]
async fn e7_missing_source_is_rejected() {
    let before = TestJob::new(clip());
    before.service.store.remove_object(&before.job.key);
    let mut fixtures = vec![("before", before)];
    for (way, bytes) in large_files() {
        let meanwhile = TestJob::new(bytes);
        meanwhile.service.store.fail_next_read(ReadFault::EndAfter(usize::MAX));
        for _ in 0..20 {
            meanwhile.service.store.fail_next_read(ReadFault::Fail(StoreError::NotFound));
        }
        fixtures.push((way, meanwhile));
    }
    for (name, fixture) in fixtures {
        let report = fixture.run().await;
        assert_eq!(report.result, Ok(JobOutcome::Rejected(Code::SourceGone)), "{name}");
        let manifest = fixture.manifest().unwrap();
        assert_eq!(manifest.state, State::Rejected);
        assert_eq!(manifest.source.etag, fixture.job.etag, "the manifest contains the ETag of the event");
    }
}

#[tokio::test]
async fn e2_replaced_source_is_superseded() {
    let before = TestJob::new(clip());
    let grant = Grant {
        owner: before.job.owner.clone(),
        video: before.job.video,
        name: "other.mp4".into(),
        content_type: "video/mp4".into(),
        visibility: Visibility::Public,
        client_metadata: glimpse_contract::ClientMetadata::default(),
    };
    before.service.store.upload(&grant, b"another file".to_vec());
    let mut fixtures = vec![("before", before)];
    for (way, bytes) in large_files() {
        let meanwhile = TestJob::new(bytes);
        meanwhile.service.store.fail_next_read(ReadFault::EndAfter(usize::MAX));
        for _ in 0..20 {
            meanwhile.service.store.fail_next_read(ReadFault::Fail(StoreError::PreconditionFailed));
        }
        fixtures.push((way, meanwhile));
    }
    for (name, fixture) in fixtures {
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Superseded), "{name}");
        assert_eq!(fixture.service.store.keys().len(), 1, "{name}: nothing may be written about it");
    }
}

#[tokio::test]
async fn e10_storage_errors_are_transient() {
    let at_once = TestJob::new(clip());
    for _ in 0..100 {
        at_once.service.store.fail_next_read(ReadFault::Fail(transient_error()));
    }
    let mut fixtures = vec![("at once", at_once)];
    for (way, bytes) in large_files() {
        let later = TestJob::new(bytes);
        fail_later_reads(&later);
        fixtures.push((way, later));
    }
    for (name, fixture) in fixtures {
        let result = fixture.run().await.result;
        assert!(
            matches!(&result, Err(JobError::Transient { code: Code::Upstream, .. })),
            "{name}: {result:?}"
        );
        assert_eq!(fixture.service.store.keys().len(), 1, "{name}: neither manifest nor failure yet");
    }
}

#[tokio::test]
async fn e10_interrupted_reads_are_resumed() {
    for (way, bytes) in large_files() {
        let alone = TestJob::new(bytes.clone());
        alone.run().await;
        let fixture = TestJob::new(bytes);
        fixture.service.store.fail_next_read(ReadFault::EndAfter(usize::MAX));
        for fault in [
            ReadFault::BreakAfter(700),
            ReadFault::EndAfter(300),
            ReadFault::Fail(transient_error()),
            ReadFault::BreakAfter(0),
        ] {
            fixture.service.store.fail_next_read(fault);
        }
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{way}");
        assert_eq!(outputs(&fixture), outputs(&alone), "{way}");
    }
}

#[tokio::test]
async fn e13_rejected_signature_is_retried() {
    let skewed = || StoreError::Transient("S3 answered 403 RequestTimeTooSkewed".into());
    let once = TestJob::new(clip());
    once.service.store.fail_next_read(ReadFault::Fail(skewed()));
    assert_eq!(once.run().await.result, Ok(JobOutcome::Ready));
    let always = TestJob::new(clip());
    for _ in 0..100 {
        always.service.store.fail_next_read(ReadFault::Fail(skewed()));
    }
    let result = always.run().await.result;
    assert!(matches!(&result, Err(JobError::Transient { code: Code::Upstream, .. })), "{result:?}");
    assert_eq!(always.manifest(), None, "the queue retries");
}

/// A program for a processor that this machine does not have.
fn foreign_binary(folder: &std::path::Path) -> std::path::PathBuf {
    // The header of an ELF file for an uncommon processor (EM_AVR32).
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xad\x18\x01".to_vec();
    bytes.resize(4096, 0);
    install_program(folder, &bytes)
}

#[tokio::test]
async fn operator_errors_are_recorded_and_retried() {
    let folder = tempfile::tempdir().unwrap();
    let denied = || StoreError::Denied("S3 answered 403 AccessDenied".into());
    for (ffmpeg, code) in [
        ("/nowhere/ffmpeg".into(), Code::NoDecoder),
        (foreign_binary(folder.path()), Code::NoDecoder),
        (tools().ffmpeg, Code::NoAccess),
    ] {
        let mut fixture = TestJob::with_tools(clip(), FfmpegTools { ffmpeg, ..tools() });
        if code == Code::NoAccess {
            for _ in 0..100 {
                fixture.service.store.fail_next_read(ReadFault::Fail(denied()));
            }
        }
        let result = fixture.run().await.result;
        assert!(
            matches!(&result, Err(JobError::Transient { code: found, .. }) if *found == code),
            "{result:?}"
        );
        let failure = fixture.service.store.object(&Key::Failure(fixture.job.video)).unwrap();
        let failure: Failure = serde_json::from_slice(&failure.bytes).unwrap();
        assert_eq!((failure.code, fixture.manifest()), (code, None), "the queue retries");
        fixture.service.tools = tools();
        fixture.service.store.clear_faults();
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "once the operator has fixed it");
    }
}

#[tokio::test]
async fn e12_last_failure_is_recorded_until_a_later_success() {
    let [(_, bytes), _] = large_files();
    let mut fixture = TestJob::new(bytes);
    fixture.job.receives = fixture.service.max_receives;
    fail_later_reads(&fixture);
    assert!(fixture.run().await.result.is_err(), "the error is still returned to the queue");
    let failure = fixture.service.store.object(&Key::Failure(fixture.job.video)).unwrap();
    let failure: Failure = serde_json::from_slice(&failure.bytes).unwrap();
    assert_eq!((failure.code, failure.video), (Code::Upstream, fixture.job.video));
    assert_eq!(fixture.manifest(), None);

    fixture.service.store.clear_faults();
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
    assert_eq!(fixture.manifest().unwrap().state, State::Ready);
}

/// The recorded failure and its attempt, as the edge reads them.
fn recorded_failure(fixture: &TestJob) -> Option<(Failure, Attempt)> {
    let object = fixture.service.store.object(&Key::Failure(fixture.job.video))?;
    let json = Json::parse(&object.bytes).unwrap();
    Some((Failure::from_json(&json).unwrap(), Attempt::from_failure_json(&json).unwrap()))
}

/// Starts a job whose decoder never ends, and drops it once `is_recorded`: the same effect as a kill.
async fn kill_once(fixture: &TestJob, is_recorded: impl Fn(&TestJob) -> bool) {
    let run = fixture.run();
    tokio::pin!(run);
    while !is_recorded(fixture) {
        tokio::select! {
            report = &mut run => panic!("the job ended: {report:?}"),
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
        }
    }
}

#[tokio::test]
async fn e12_killed_last_attempt_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut fixture = TestJob::with_tools(clip(), fake_ffmpeg(folder.path(), "exec sleep 600"));
    fixture.job.receives = fixture.service.max_receives;
    kill_once(&fixture, |fixture| recorded_failure(fixture).is_some()).await;
    let now_ms = (fixture.service.now_ms)();
    let (failure, attempt) = recorded_failure(&fixture).unwrap();
    assert_eq!((failure.code, failure.video), (Code::Internal, fixture.job.video));
    assert_eq!((attempt.message.as_str(), attempt.number), ("m", 5));
    assert!(attempt.is_running(now_ms) && !attempt.is_running(now_ms + 30_000), "{attempt:?}");
    assert!((5 * 60_000..6 * 60_000).contains(&(attempt.ends_at - now_ms)), "{attempt:?}");
    assert_eq!(fixture.manifest(), None);

    // A redrive generates the outputs: the manifest outranks the failure record, regardless of its lease.
    fixture.service.tools = tools();
    fixture.job.receives = 1;
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
    assert_eq!(fixture.manifest().unwrap().state, State::Ready);
}

#[tokio::test]
async fn e12_completed_last_attempt_records_its_result() {
    let mut good = TestJob::new(clip());
    good.job.receives = good.service.max_receives;
    assert_eq!(good.run().await.result, Ok(JobOutcome::Ready));
    assert_eq!(good.manifest().unwrap().state, State::Ready);
    assert_eq!(recorded_failure(&good), None, "the record must be deleted");

    let [(_, bytes), _] = large_files();
    let mut bad = TestJob::new(bytes);
    bad.job.receives = bad.service.max_receives;
    fail_later_reads(&bad);
    assert!(bad.run().await.result.is_err());
    let (failure, attempt) = recorded_failure(&bad).unwrap();
    assert_eq!((failure.code, attempt.ends_at), (Code::Upstream, 0), "the failure counts immediately");
    assert!(!attempt.is_running((bad.service.now_ms)()));
    assert_eq!(attempt.message, "m");
}

#[tokio::test]
async fn unrecordable_attempt_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut fixture = TestJob::with_tools(clip(), fake_ffmpeg(folder.path(), "exec sleep 600"));
    fixture.job.receives = fixture.service.max_receives;
    fixture.service.store.fail_next_conditional_put(transient_error());
    let result = fixture.run().await.result;
    assert!(matches!(&result, Err(JobError::Transient { code: Code::Upstream, .. })), "{result:?}");
    assert_eq!(recorded_failure(&fixture).unwrap().0.code, Code::Upstream);
}

#[tokio::test]
async fn duplicate_message_stops_while_another_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let mut fixture = TestJob::with_tools(clip(), fake_ffmpeg(folder.path(), "exec sleep 600"));
    let now_ms = (fixture.service.now_ms)();
    let key = Key::Attempt(fixture.job.video);
    fixture.job.receives = 2;
    fixture.job.sent_ms = now_ms - 60_000;
    kill_once(&fixture, |fixture| fixture.service.store.object(&key).is_some()).await;
    assert_eq!(recorded_failure(&fixture), None, "more attempts follow");

    fixture.service.tools = tools();
    let own = fixture.job.message.replace("duplicate".into());
    assert_eq!(
        fixture.run().await.result,
        Ok(JobOutcome::AlreadyProcessed),
        "the other message will be delivered again"
    );
    assert_eq!(fixture.manifest(), None);
    fixture.job.sent_ms = now_ms + 1;
    assert_eq!(
        fixture.run().await.result,
        Ok(JobOutcome::Ready),
        "a message that is sent later is not a duplicate"
    );

    // The attempt of the first message again.
    fixture.service.store.remove_object(&Key::Manifest(fixture.job.video));
    fixture.service.store.remove_object(&key);
    fixture.job.message = own;
    fixture.job.sent_ms = now_ms - 60_000;
    assert_eq!(
        fixture.run().await.result,
        Ok(JobOutcome::Ready),
        "a redelivery of the same message is not a duplicate"
    );
}
