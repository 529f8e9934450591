//! What a job does when it is not alone or not the first, and when the storage fails it.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod support;

use glimpse_backend::config::Tools;
use glimpse_backend::error::JobError;
use glimpse_backend::preview::service::Done;
use glimpse_backend::store::StoreError;
use glimpse_backend::store::memory::Fault;
use glimpse_contract::{Attempt, Code, Failure, Grant, Json, Key, State, Variant, Visibility};
use support::{Scene, installed, instead_of_ffmpeg, make, tools};

fn clip() -> Vec<u8> {
    let arguments = "-f lavfi -i testsrc=s=96x64:r=10:d=0.5 -c:v libx264 -pix_fmt yuv420p";
    make(tempfile::tempdir().unwrap().path(), "clip.mp4", arguments)
}

/// Files that are read in several pieces: one by its own index, one by ffmpeg through the relay.
fn large() -> [(&'static str, Vec<u8>); 2] {
    let noise = "-f lavfi -i testsrc=s=640x480:r=10:d=1.2,noise=alls=100:allf=t";
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("by index", "clip.mp4", "-c:v libx264 -preset ultrafast -qp 10 -pix_fmt yuv420p"),
        ("by relay", "clip.ts", "-c:v mpeg2video -q:v 2"),
    ]
    .map(|(way, name, arguments)| (way, make(folder.path(), name, &format!("{noise} {arguments}"))));
    assert!(files.iter().all(|(_, bytes)| bytes.len() > 1_200_000), "too small to be read in pieces");
    files
}

fn pictures(scene: &Scene) -> Vec<Vec<u8>> {
    Variant::DEFAULTS.iter().map(|variant| scene.output(&variant.file_name())).collect()
}

fn trouble() -> StoreError {
    StoreError::Transient("503 SlowDown".into())
}

/// The first read, of a file's first bytes, works; what is asked for afterwards does not.
fn fail_later_reads(scene: &Scene) {
    scene.workshop.store.fail_next_read(Fault::EndAfter(usize::MAX));
    for _ in 0..100 {
        scene.workshop.store.fail_next_read(Fault::Refuse(trouble()));
    }
}

#[tokio::test]
async fn e1_the_same_event_again_decodes_nothing() {
    let scene = Scene::new(clip());
    assert_eq!(scene.run().await.result, Ok(Done::Ready));
    let (before, counts) = (scene.manifest(), scene.workshop.store.counts());
    let again = scene.run().await;
    assert_eq!((again.result, again.counts.requests), (Ok(Done::Already), 0));
    assert_eq!(
        (scene.manifest(), scene.workshop.store.counts()),
        (before, counts),
        "nothing was read or written"
    );

    let refused = Scene::new(b"plain text".to_vec());
    assert_eq!(refused.run().await.result, Ok(Done::Rejected(Code::NotAVideo)));
    assert_eq!(refused.run().await.result, Ok(Done::Already));
}

#[tokio::test]
async fn e1_the_same_event_eight_times_at_once_makes_one_manifest() {
    let bytes = clip();
    let alone = Scene::new(bytes.clone());
    alone.run().await;

    let scene = Scene::new(bytes);
    let results = futures::future::join_all((0..8).map(|_| scene.run())).await;
    let results: Vec<_> = results.into_iter().map(|report| report.result.unwrap()).collect();
    assert_eq!(results.iter().filter(|done| **done == Done::Ready).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|done| **done == Done::Already).count(), 7, "{results:?}");
    assert_eq!(scene.workshop.store.keys().len(), Variant::DEFAULTS.len() + 2);
    assert_eq!(pictures(&scene), pictures(&alone), "the same file has the same pictures, to the byte");
    assert_eq!(scene.manifest(), alone.manifest());
}

#[tokio::test]
async fn e9_a_run_that_died_half_way_is_completed() {
    let scene = Scene::new(clip());
    scene.run().await;
    let whole = pictures(&scene);
    scene.workshop.store.delete(&Key::Manifest(scene.job.video));
    scene.workshop.store.delete(&Key::Output(scene.job.video, Variant::DEFAULTS[2]));
    assert_eq!(scene.run().await.result, Ok(Done::Ready));
    assert_eq!(pictures(&scene), whole);
}

#[tokio::test]
async fn a_manifest_that_meets_another_write_is_settled() {
    let text = || b"plain text".to_vec();
    for (bytes, faults, expected) in [
        (clip(), vec![StoreError::Lost], Ok(Done::Already)),
        (clip(), vec![StoreError::Conflict], Ok(Done::Ready)),
        (text(), vec![StoreError::Conflict, StoreError::Conflict, StoreError::Lost], Ok(Done::Already)),
        (text(), vec![StoreError::Conflict], Ok(Done::Rejected(Code::NotAVideo))),
        (text(), (0..20).map(|_| StoreError::Conflict).collect(), Err(Code::Upstream)),
        (text(), vec![trouble()], Err(Code::Upstream)),
    ] {
        let scene = Scene::new(bytes);
        let text = format!("{faults:?}");
        for fault in faults {
            scene.workshop.store.fail_next_create(fault);
        }
        assert_eq!(scene.run().await.result.map_err(|error| error.code()), expected, "{text}");
    }
}

#[tokio::test]
async fn e7_a_source_that_is_gone_is_refused_for_good() {
    let before = Scene::new(clip());
    before.workshop.store.delete(&before.job.key);
    let mut scenes = vec![("before", before)];
    for (way, bytes) in large() {
        let meanwhile = Scene::new(bytes);
        meanwhile.workshop.store.fail_next_read(Fault::EndAfter(usize::MAX));
        for _ in 0..20 {
            meanwhile.workshop.store.fail_next_read(Fault::Refuse(StoreError::Gone));
        }
        scenes.push((way, meanwhile));
    }
    for (name, scene) in scenes {
        let report = scene.run().await;
        assert_eq!(report.result, Ok(Done::Rejected(Code::SourceGone)), "{name}");
        let manifest = scene.manifest().unwrap();
        assert_eq!(manifest.state, State::Rejected);
        assert_eq!(manifest.source.etag, scene.job.etag, "it still says which object was meant");
    }
}

#[tokio::test]
async fn e2_a_source_that_was_replaced_is_left_to_its_own_event() {
    let before = Scene::new(clip());
    let grant = Grant {
        owner: before.job.owner.clone(),
        video: before.job.video,
        name: "other.mp4".into(),
        content_type: "video/mp4".into(),
        visibility: Visibility::Public,
        passthrough: glimpse_contract::Passthrough::default(),
    };
    before.workshop.store.upload(&grant, b"another file".to_vec());
    let mut scenes = vec![("before", before)];
    for (way, bytes) in large() {
        let meanwhile = Scene::new(bytes);
        meanwhile.workshop.store.fail_next_read(Fault::EndAfter(usize::MAX));
        for _ in 0..20 {
            meanwhile.workshop.store.fail_next_read(Fault::Refuse(StoreError::Changed));
        }
        scenes.push((way, meanwhile));
    }
    for (name, scene) in scenes {
        assert_eq!(scene.run().await.result, Ok(Done::Superseded), "{name}");
        assert_eq!(scene.workshop.store.keys().len(), 1, "{name}: nothing is written about it");
    }
}

#[tokio::test]
async fn e10_a_storage_in_trouble_is_no_fault_of_the_file() {
    let at_once = Scene::new(clip());
    for _ in 0..100 {
        at_once.workshop.store.fail_next_read(Fault::Refuse(trouble()));
    }
    let mut scenes = vec![("at once", at_once)];
    for (way, bytes) in large() {
        let later = Scene::new(bytes);
        fail_later_reads(&later);
        scenes.push((way, later));
    }
    for (name, scene) in scenes {
        let result = scene.run().await.result;
        assert!(
            matches!(&result, Err(JobError::Transient { code: Code::Upstream, .. })),
            "{name}: {result:?}"
        );
        assert_eq!(scene.workshop.store.keys().len(), 1, "{name}: neither manifest nor failure yet");
    }
}

#[tokio::test]
async fn e10_reads_that_break_off_are_mended_unseen() {
    for (way, bytes) in large() {
        let alone = Scene::new(bytes.clone());
        alone.run().await;
        let scene = Scene::new(bytes);
        scene.workshop.store.fail_next_read(Fault::EndAfter(usize::MAX));
        for fault in
            [Fault::BreakAfter(700), Fault::EndAfter(300), Fault::Refuse(trouble()), Fault::BreakAfter(0)]
        {
            scene.workshop.store.fail_next_read(fault);
        }
        assert_eq!(scene.run().await.result, Ok(Done::Ready), "{way}");
        assert_eq!(pictures(&scene), pictures(&alone), "{way}");
    }
}

#[tokio::test]
async fn e13_a_signature_that_is_refused_is_tried_again_and_no_fault_of_the_file() {
    let skewed = || StoreError::Transient("S3 answered 403 RequestTimeTooSkewed".into());
    let once = Scene::new(clip());
    once.workshop.store.fail_next_read(Fault::Refuse(skewed()));
    assert_eq!(once.run().await.result, Ok(Done::Ready));
    let always = Scene::new(clip());
    for _ in 0..100 {
        always.workshop.store.fail_next_read(Fault::Refuse(skewed()));
    }
    let result = always.run().await.result;
    assert!(matches!(&result, Err(JobError::Transient { code: Code::Upstream, .. })), "{result:?}");
    assert_eq!(always.manifest(), None, "the queue tries again");
}

/// A program that no processor of this machine's kind runs.
fn foreign(folder: &std::path::Path) -> std::path::PathBuf {
    // The head of an ELF file for a processor that nobody has (EM_AVR32).
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xad\x18\x01".to_vec();
    bytes.resize(4096, 0);
    installed(folder, &bytes)
}

#[tokio::test]
async fn what_only_the_operator_mends_is_told_at_once_and_no_fault_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let denied = || StoreError::Denied("S3 answered 403 AccessDenied".into());
    for (ffmpeg, code) in [
        ("/nowhere/ffmpeg".into(), Code::NoDecoder),
        (foreign(folder.path()), Code::NoDecoder),
        (tools().ffmpeg, Code::NoAccess),
    ] {
        let mut scene = Scene::with_tools(clip(), Tools { ffmpeg, ..tools() });
        if code == Code::NoAccess {
            for _ in 0..100 {
                scene.workshop.store.fail_next_read(Fault::Refuse(denied()));
            }
        }
        let result = scene.run().await.result;
        assert!(
            matches!(&result, Err(JobError::Transient { code: found, .. }) if *found == code),
            "{result:?}"
        );
        let failure = scene.workshop.store.get(&Key::Failure(scene.job.video)).unwrap();
        let failure: Failure = serde_json::from_slice(&failure.bytes).unwrap();
        assert_eq!((failure.code, scene.manifest()), (code, None), "the queue tries again");
        scene.workshop.tools = tools();
        scene.workshop.store.heal();
        assert_eq!(scene.run().await.result, Ok(Done::Ready), "once it is mended");
    }
}

#[tokio::test]
async fn e12_the_last_failure_is_written_down_and_a_later_success_outranks_it() {
    let [(_, bytes), _] = large();
    let mut scene = Scene::new(bytes);
    scene.job.receives = scene.workshop.max_receives;
    fail_later_reads(&scene);
    assert!(scene.run().await.result.is_err(), "the queue still hears of it");
    let failure = scene.workshop.store.get(&Key::Failure(scene.job.video)).unwrap();
    let failure: Failure = serde_json::from_slice(&failure.bytes).unwrap();
    assert_eq!((failure.code, failure.video), (Code::Upstream, scene.job.video));
    assert_eq!(scene.manifest(), None);

    scene.workshop.store.heal();
    assert_eq!(scene.run().await.result, Ok(Done::Ready));
    assert_eq!(scene.manifest().unwrap().state, State::Ready);
}

/// What is recorded of the last failure, and of the attempt that it is of; as the edge reads it.
fn failed(scene: &Scene) -> Option<(Failure, Attempt)> {
    let object = scene.workshop.store.get(&Key::Failure(scene.job.video))?;
    let json = Json::read(&object.bytes).unwrap();
    Some((Failure::of_json(&json).unwrap(), Attempt::of_failure(&json).unwrap()))
}

/// Begins a job whose decoder never ends, and drops it once `is_recorded`: what a kill looks like from outside.
async fn killed(scene: &Scene, is_recorded: impl Fn(&Scene) -> bool) {
    let run = scene.run();
    tokio::pin!(run);
    while !is_recorded(scene) {
        tokio::select! {
            report = &mut run => panic!("it ends: {report:?}"),
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
        }
    }
}

#[tokio::test]
async fn e12_a_killed_last_attempt_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::with_tools(clip(), instead_of_ffmpeg(folder.path(), "exec sleep 600"));
    scene.job.receives = scene.workshop.max_receives;
    killed(&scene, |scene| failed(scene).is_some()).await;
    let now_ms = (scene.workshop.now_ms)();
    let (failure, attempt) = failed(&scene).unwrap();
    assert_eq!((failure.code, failure.video), (Code::Internal, scene.job.video));
    assert_eq!((attempt.message.as_str(), attempt.number), ("m", 5));
    assert!(attempt.is_running(now_ms) && !attempt.is_running(now_ms + 30_000), "{attempt:?}");
    assert!((5 * 60_000..6 * 60_000).contains(&(attempt.ends_at - now_ms)), "{attempt:?}");
    assert_eq!(scene.manifest(), None);

    // A redrive makes the pictures: the manifest outranks the note, whatever its lease says.
    scene.workshop.tools = tools();
    scene.job.receives = 1;
    assert_eq!(scene.run().await.result, Ok(Done::Ready));
    assert_eq!(scene.manifest().unwrap().state, State::Ready);
}

#[tokio::test]
async fn e12_a_last_attempt_that_ends_says_how() {
    let mut good = Scene::new(clip());
    good.job.receives = good.workshop.max_receives;
    assert_eq!(good.run().await.result, Ok(Done::Ready));
    assert_eq!(good.manifest().unwrap().state, State::Ready);
    assert_eq!(failed(&good), None, "nothing is left of the record");

    let [(_, bytes), _] = large();
    let mut bad = Scene::new(bytes);
    bad.job.receives = bad.workshop.max_receives;
    fail_later_reads(&bad);
    assert!(bad.run().await.result.is_err());
    let (failure, attempt) = failed(&bad).unwrap();
    assert_eq!((failure.code, attempt.ends_at), (Code::Upstream, 0), "it counts at once");
    assert!(!attempt.is_running((bad.workshop.now_ms)()));
    assert_eq!(attempt.message, "m");
}

#[tokio::test]
async fn an_attempt_that_cannot_be_recorded_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::with_tools(clip(), instead_of_ffmpeg(folder.path(), "exec sleep 600"));
    scene.job.receives = scene.workshop.max_receives;
    scene.workshop.store.fail_next_create(trouble());
    let result = scene.run().await.result;
    assert!(matches!(&result, Err(JobError::Transient { code: Code::Upstream, .. })), "{result:?}");
    assert_eq!(failed(&scene).unwrap().0.code, Code::Upstream);
}

#[tokio::test]
async fn a_duplicate_message_stops_where_another_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::with_tools(clip(), instead_of_ffmpeg(folder.path(), "exec sleep 600"));
    let now_ms = (scene.workshop.now_ms)();
    let key = Key::Attempt(scene.job.video);
    scene.job.receives = 2;
    scene.job.sent_ms = now_ms - 60_000;
    killed(&scene, |scene| scene.workshop.store.get(&key).is_some()).await;
    assert_eq!(failed(&scene), None, "more attempts follow");

    scene.workshop.tools = tools();
    let own = scene.job.message.replace("duplicate".into());
    assert_eq!(scene.run().await.result, Ok(Done::Already), "the other message comes again");
    assert_eq!(scene.manifest(), None);
    scene.job.sent_ms = now_ms + 1;
    assert_eq!(scene.run().await.result, Ok(Done::Ready), "a message that is sent later is no duplicate");

    // The attempt of the first message again.
    scene.workshop.store.delete(&Key::Manifest(scene.job.video));
    scene.workshop.store.delete(&key);
    scene.job.message = own;
    scene.job.sent_ms = now_ms - 60_000;
    assert_eq!(scene.run().await.result, Ok(Done::Ready), "nor is the message itself");
}
