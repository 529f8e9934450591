//! A job in steps: the same pictures and documents as by one pass, and nothing twice, whatever comes late or again.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use glimpse_backend::error::JobError;
use glimpse_backend::frames::time_budget::Patience;
use glimpse_backend::preview::publish::{self, FailureNote};
use glimpse_backend::preview::service::{Done, Workshop};
use glimpse_backend::store::StoreError;
use glimpse_backend::store::memory::{self, Memory};
use glimpse_backend::workflow::handler::{Station, answer};
use glimpse_backend::workflow::publish::Publisher;
use glimpse_backend::workflow::state::{Fault, Found, Handed, Made, Step, Task};
use glimpse_contract::{
    Code, Key, Kind, MANIFEST_VERSION, Manifest, Reads, RejectedBecause, Source, State, Timings, Variant,
};
use serde_json::{Value, json};
use support::{Scene, make, tools};
use tokio::time::Instant;

const KINDS: [Kind; 3] = [Kind::Thumbnail, Kind::Animated, Kind::Storyboard];

fn film(name: &str, arguments: &str) -> Vec<u8> {
    make(tempfile::tempdir().unwrap().path(), name, arguments)
}

fn clip() -> Vec<u8> {
    film("clip.mp4", "-f lavfi -i testsrc=s=96x64:r=10:d=0.5 -c:v libx264 -pix_fmt yuv420p")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(5)
}

/// As it crosses the state of a workflow.
fn handed_on<T: serde::Serialize + serde::de::DeserializeOwned>(document: &T) -> T {
    serde_json::from_str(&serde_json::to_string(document).unwrap()).unwrap()
}

fn publisher(scene: &Scene) -> Publisher<Memory> {
    Publisher { store: Arc::clone(&scene.workshop.store), now_ms: scene.workshop.now_ms }
}

async fn probed(scene: &Scene) -> Found {
    handed_on(&scene.workshop.probe(&scene.job, soon()).await.result.unwrap())
}

async fn task(scene: &Scene) -> Box<Task> {
    match probed(scene).await {
        Found::Look(task) => task,
        other => panic!("{other:?}"),
    }
}

async fn made(scene: &Scene, task: &Task) -> Vec<Made> {
    let mut parts = Vec::new();
    for kind in KINDS {
        parts.push(handed_on(&scene.workshop.picture(kind, task, soon()).await.result.unwrap()));
    }
    parts
}

async fn publish(scene: &Scene, found: Found, parts: Vec<Made>) -> Done {
    publisher(scene).publish(Handed { found: Some(found), parts, error: None }).await.unwrap()
}

async fn in_steps(scene: &Scene) -> Done {
    match probed(scene).await {
        Found::Look(task) => {
            let parts = made(scene, &task).await;
            publish(scene, Found::Look(task), parts).await
        }
        refused @ Found::Refused { .. } => publish(scene, refused, Vec::new()).await,
        Found::Already => Done::Already,
        Found::Superseded => Done::Superseded,
        Found::Ignored => panic!("an upload was ignored"),
    }
}

/// Every object, and the manifest but for what tells of time and effort.
fn outcome(scene: &Scene) -> (Vec<(String, bytes::Bytes)>, Option<Manifest>) {
    let manifest = scene.manifest().map(|manifest| Manifest {
        timings: Timings::default(),
        reads: Reads::default(),
        ..manifest
    });
    let key = Key::Manifest(scene.job.video).to_string();
    let others = scene.workshop.store.keys().into_iter().filter(|name| *name != key);
    (
        others
            .map(|name| (name.clone(), scene.workshop.store.get(&name.parse().unwrap()).unwrap().bytes))
            .collect(),
        manifest,
    )
}

#[tokio::test]
async fn the_pictures_are_the_same_by_steps_and_by_one_pass() {
    let h264 = "-c:v libx264 -pix_fmt yuv420p";
    let mut films: Vec<(&str, Vec<u8>)> = Vec::new();
    // Pictures of several sizes, several sample entries, and a preview that is black but for the moment of the poster.
    if let Some(folder) = support::media() {
        for name in ["resize-ramp.webm", "resize-vp8.webm", "two-entries.mp4", "flash.mp4"] {
            films.push((name, std::fs::read(folder.join("bugs").join(name)).unwrap()));
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
        films.push((name, film(name, &arguments)));
    }
    for (name, bytes) in films {
        let (whole, steps) = (Scene::new(bytes.clone()), Scene::new(bytes));
        assert_eq!(whole.run().await.result, Ok(Done::Ready), "{name}");
        assert_eq!(in_steps(&steps).await, Done::Ready, "{name}");
        let (one, other) = (outcome(&whole), outcome(&steps));
        assert_eq!(one.1, other.1, "{name}");
        assert_eq!(one.0.len(), Variant::DEFAULTS.len() + 1, "{name}: pictures, source, nothing staged");
        assert!(one.0 == other.0, "{name}: other bytes");
        let reads = steps.manifest().unwrap().reads;
        assert!(reads.requests > 0 && reads.bytes > 0, "{name}: {reads:?}");
    }
}

#[tokio::test]
async fn f21_what_is_refused_is_refused_alike() {
    let mut torn = film("torn.mp4", "-f lavfi -i testsrc=s=320x240:r=10:d=2 -c:v libx264 -pix_fmt yuv420p");
    let media = torn.windows(4).position(|four| four == b"mdat").unwrap() + 4;
    let end = torn.windows(4).rposition(|four| four == b"moov").unwrap() - 4;
    torn[media..end].fill(0);
    for (name, bytes) in [
        ("text", b"plain text".to_vec()),
        ("empty", Vec::new()),
        ("nothing decodes", torn),
        ("sound", film("song.mp4", "-f lavfi -i sine=d=1 -c:a aac")),
    ] {
        let (whole, steps) = (Scene::new(bytes.clone()), Scene::new(bytes));
        let one = whole.run().await.result.unwrap();
        assert!(matches!(one, Done::Rejected(_)), "{name}: {one:?}");
        assert_eq!(in_steps(&steps).await, one, "{name}");
        let ((one, first), (other, second)) = (outcome(&whole), outcome(&steps));
        assert!(one == other, "{name}: terminal is a manifest and nothing else");
        // The survey has found out what it is, where one pass ends before it says so.
        let bare = |manifest: Option<Manifest>| {
            manifest.map(|manifest| Manifest { source: Source::default(), ..manifest })
        };
        assert_eq!(bare(first), bare(second), "{name}");
    }
}

#[tokio::test]
async fn e1_steps_that_come_late_or_again_change_nothing() {
    let scene = Scene::new(clip());
    let task = task(&scene).await;
    let (first, twin) = (made(&scene, &task).await, made(&scene, &task).await);
    assert_eq!(publish(&scene, Found::Look(task.clone()), first).await, Done::Ready);
    let before = (outcome(&scene), scene.manifest());
    assert_eq!(publish(&scene, Found::Look(task.clone()), twin).await, Done::Already);
    assert_eq!(probed(&scene).await, Found::Already);
    let writes = scene.workshop.store.counts();
    for part in made(&scene, &task).await {
        assert_eq!(part, Made::Already);
    }
    assert_eq!(scene.workshop.store.counts(), writes, "nothing was read or written");
    assert_eq!(publisher(&scene).give_up(&Fault::default(), Some(Found::Look(task)), None).await, Ok(false));
    assert_eq!((outcome(&scene), scene.manifest()), before);
}

#[tokio::test]
async fn e1_a_twin_that_clears_up_first_is_no_failure() {
    let scene = Scene::new(clip());
    let task = task(&scene).await;
    let parts = made(&scene, &task).await;
    for variant in Variant::DEFAULTS {
        scene.workshop.store.delete(&Key::Staged(scene.job.video, variant));
    }
    let handed = Handed { found: Some(Found::Look(task)), parts, error: None };
    let lost = publisher(&scene).publish(handed.clone()).await;
    assert!(matches!(lost, Err(JobError::Transient { code: Code::Upstream, .. })), "{lost:?}");
    assert_eq!(scene.manifest(), None, "E9: no manifest before every picture is there");
    assert_eq!(scene.run().await.result, Ok(Done::Ready));
    assert_eq!(publisher(&scene).publish(handed).await, Ok(Done::Already));
}

#[tokio::test]
async fn e9_what_is_staged_is_published_as_it_was_made_or_not_at_all() {
    let scene = Scene::new(clip());
    let task = task(&scene).await;
    let mut parts = made(&scene, &task).await;
    if let Made::Made { outputs, .. } = &mut parts[1] {
        outputs[0].etag = "\"other\"".into();
    }
    let other = Handed { found: Some(Found::Look(task.clone())), parts: parts.clone(), error: None };
    assert!(publisher(&scene).publish(other).await.is_err());
    parts.pop();
    let fewer = Handed { found: Some(Found::Look(task)), parts, error: None };
    assert!(publisher(&scene).publish(fewer).await.is_err());
    assert_eq!(scene.manifest(), None);
    assert!(scene.workshop.store.keys().iter().all(|key| !key.starts_with("media/")));
}

#[tokio::test]
async fn a_deletion_in_the_middle_leaves_nothing_but_its_mark() {
    for after in 0..=KINDS.len() {
        let scene = Scene::new(clip());
        let task = task(&scene).await;
        let mut parts = Vec::new();
        for (place, kind) in KINDS.into_iter().enumerate() {
            if place == after {
                delete(&scene, &task.draft).await;
            }
            parts.push(scene.workshop.picture(kind, &task, soon()).await.result.unwrap());
        }
        if after == KINDS.len() {
            delete(&scene, &task.draft).await;
        }
        assert_eq!(publish(&scene, Found::Look(task), parts).await, Done::Already);
        assert_eq!(scene.workshop.store.keys(), [Key::Manifest(scene.job.video).to_string()], "{after}");
        assert!(scene.manifest().unwrap().is_deleted());
    }
}

/// As the edge deletes: a mark first, then what there is.
async fn delete(scene: &Scene, draft: &Manifest) {
    let mark = Manifest {
        version: MANIFEST_VERSION,
        state: State::Rejected,
        rejected: Some(RejectedBecause { code: Code::Deleted }),
        ..draft.clone()
    };
    assert!(publish::commit(&*scene.workshop.store, &mark).await.unwrap());
    scene.workshop.store.delete(&scene.job.key);
}

#[tokio::test]
async fn e2_e7_a_source_that_goes_or_changes_meanwhile_is_as_in_one_pass() {
    let scene = Scene::new(clip());
    let found = task(&scene).await;
    scene.workshop.store.delete(&scene.job.key);
    let parts = made(&scene, &found).await;
    assert_eq!(parts[0], Made::Refused { code: Code::SourceGone });
    assert_eq!(publish(&scene, Found::Look(found), parts).await, Done::Rejected(Code::SourceGone));

    let mut other = Scene::new(clip());
    let mut task = task(&other).await;
    task.draft.source.etag = "\"older\"".into();
    let parts = made(&other, &task).await;
    assert_eq!(parts, [Made::Superseded, Made::Superseded, Made::Superseded]);
    assert_eq!(publish(&other, Found::Look(task), parts).await, Done::Superseded);
    other.job.etag = "\"older\"".into();
    assert_eq!(probed(&other).await, Found::Superseded);
    assert_eq!(other.manifest(), None);
}

#[tokio::test]
async fn e12_a_failure_is_written_down_as_the_queue_does() {
    let whole = Scene::new(clip());
    for _ in 0..500 {
        whole
            .workshop
            .store
            .fail_next_read(memory::Fault::Refuse(StoreError::Transient("503 SlowDown".into())));
    }
    let mut last = whole.job.clone();
    last.receives = whole.workshop.max_receives;
    let report = whole.workshop.run(&last, soon()).await;
    assert_eq!(report.result.unwrap_err().code(), Code::Upstream);
    let written = |scene: &Scene| -> FailureNote {
        let note = scene.workshop.store.get(&Key::Failure(scene.job.video)).unwrap();
        serde_json::from_slice(&note.bytes).unwrap()
    };
    let upstream = Fault { error: "upstream".into(), cause: String::new() };
    // Before anything is known of it, and after.
    let early = Scene::new(clip());
    assert_eq!(publisher(&early).give_up(&upstream, None, Some(&early.job)).await, Ok(true));
    assert_eq!(written(&early), written(&whole));
    let late = Scene::new(clip());
    let task = task(&late).await;
    made(&late, &task).await;
    assert_eq!(publisher(&late).give_up(&upstream, Some(Found::Look(task)), None).await, Ok(true));
    assert_eq!(written(&late), written(&whole));
    assert!(late.workshop.store.keys().iter().all(|key| !key.starts_with("work/")), "nothing stays staged");
    for (name, code) in
        [("Lambda.Unknown", Code::Internal), ("States.Timeout", Code::Internal), ("upstream", Code::Upstream)]
    {
        assert_eq!(Fault { error: name.into(), cause: String::new() }.code(), code, "{name}");
    }
}

/// An event as EventBridge hands it to a state machine.
fn event(scene: &Scene) -> Value {
    json!({
        "source": "aws.s3", "detail-type": "Object Created", "time": "2023-11-14T22:13:20Z",
        "detail": {"bucket": {"name": "glimpse"}, "object": {
            "key": scene.job.key.to_string(), "size": scene.job.bytes, "etag": scene.job.etag.trim_matches('"')}},
    })
}

fn station(scene: &Scene, word: &str) -> Station<Memory> {
    let step = Step::from_word(word).unwrap();
    if step == Step::Publish {
        return Station::Commit(publisher(scene));
    }
    let store = Arc::clone(&scene.workshop.store);
    let patience = Patience::default();
    let (now_ms, random) = (scene.workshop.now_ms, scene.workshop.random);
    Station::Look(step, Workshop { store, tools: tools(), now_ms, random, max_receives: u32::MAX, patience })
}

async fn said(scene: &Scene, word: &str, payload: &Value) -> Result<Value, JobError> {
    answer(&station(scene, word), "glimpse", payload, soon()).await.result
}

#[tokio::test]
async fn steps_hand_documents_over_that_a_state_can_hold() {
    let scene = Scene::new(clip());
    let found = said(&scene, "probe", &event(&scene)).await.unwrap();
    assert_eq!(found["state"], "look");
    let mut handed = json!({ "found": found });
    let mut parts = Vec::new();
    for word in ["poster", "animation", "storyboard"] {
        parts.push(said(&scene, word, &handed).await.unwrap());
    }
    handed["parts"] = parts.into();
    // https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html: 256 KiB; a name and metadata of the
    // longest add 5.
    assert!(handed.to_string().len() < 16 * 1024, "{} bytes", handed.to_string().len());
    assert_eq!(said(&scene, "publish", &handed).await.unwrap()["state"], "ready");
    assert_eq!(said(&scene, "probe", &event(&scene)).await.unwrap()["state"], "already");
    let given_up = json!({ "found": handed["found"], "error": {"Error": "upstream", "Cause": "x"} });
    assert_eq!(
        said(&scene, "publish", &given_up).await.unwrap()["state"],
        "already",
        "a manifest outranks it"
    );
}

#[tokio::test]
async fn e6_an_event_of_others_is_ignored_and_nonsense_is_an_error() {
    let scene = Scene::new(clip());
    let mut foreign = event(&scene);
    foreign["detail"]["bucket"]["name"] = "other".into();
    assert_eq!(said(&scene, "probe", &foreign).await.unwrap()["state"], "ignored");
    foreign["error"] = json!({"Error": "internal"});
    assert_eq!(said(&scene, "publish", &foreign).await.unwrap()["state"], "already");
    for (word, payload) in [
        ("probe", json!({})),
        ("poster", json!({})),
        ("poster", json!({"found": {"state": "already"}})),
        ("publish", json!({})),
        ("publish", json!({"found": {"state": "look"}})),
        ("publish", json!({"found": 1})),
    ] {
        assert!(said(&scene, word, &payload).await.is_err(), "{word} {payload}");
    }
    assert_eq!(scene.workshop.store.keys().len(), 1, "nothing was written");
}
