//! What a job does when it is not alone or not the first, and when the storage fails it.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod support;

use glimpse_backend::config::Tools;
use glimpse_backend::error::JobError;
use glimpse_backend::job::Done;
use glimpse_backend::store::StoreError;
use glimpse_backend::store::memory::Fault;
use glimpse_contract::{Code, Failure, Grant, Key, State, Variant, Visibility};
use support::{Scene, installed, make, tools};

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
