//! A batch of videos that lie in the bucket: who gets pictures, whose stay, and what is tried again.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use glimpse_backend::preview::handler::invoke;
use glimpse_backend::preview::publish;
use glimpse_backend::store::memory::Fault;
use glimpse_backend::store::{Store as _, StoreError};
use glimpse_contract::{Code, Key, Manifest, RejectedBecause, State, Variant, Visibility};
use serde_json::{Value, json};
use support::{Scene, make};
use tokio::time::Instant;

/// The scene's clock says 1,700,000,001 s.
const AFTER: &str = "2023-11-14T22:13:22Z";
const BEFORE: &str = "2023-11-14T22:13:21Z";

fn clip() -> Vec<u8> {
    let arguments = "-f lavfi -i testsrc=s=96x64:r=10:d=0.5 -c:v libx264 -pix_fmt yuv420p";
    make(tempfile::tempdir().unwrap().path(), "clip.mp4", arguments)
}

fn item(scene: &Scene) -> Value {
    json!({"Key": scene.job.key.to_string(), "Etag": scene.job.etag, "Size": scene.job.bytes,
        "LastModified": 1_699_999_000, "StorageClass": "STANDARD"})
}

async fn run(scene: &Scene, items: &[Value], before: &str) -> Result<Value, (Code, String)> {
    let payload = json!({"backfill": {"Items": items, "BatchInput": {"before": before}}});
    let answer = invoke(&scene.workshop, "glimpse", &payload, Instant::now() + Duration::from_mins(5)).await;
    answer.result.map_err(|error| (error.code(), error.to_string()))
}

fn tally(made: u32, refused: u32, kept: u32, ignored: u32) -> Value {
    json!({"made": made, "refused": refused, "kept": kept, "ignored": ignored})
}

#[tokio::test]
async fn who_has_no_pictures_gets_them_and_who_has_keeps_them() {
    let scene = Scene::new(clip());
    let foreign = json!({"Key": "uploads/holiday.mp4", "ETag": "\"x\"", "Size": 1, "LastModified": 1});
    assert_eq!(run(&scene, &[item(&scene), foreign], "").await, Ok(tally(1, 0, 0, 1)));
    let before = (scene.manifest(), scene.workshop.store.counts());
    assert_eq!(before.0.as_ref().unwrap().timings.received, 1_699_999_000_000);
    assert_eq!(run(&scene, &[item(&scene)], "").await, Ok(tally(0, 0, 1, 0)));
    assert_eq!(run(&scene, &[item(&scene)], BEFORE).await, Ok(tally(0, 0, 1, 0)), "it is not older");
    assert_eq!((scene.manifest(), scene.workshop.store.counts()), before);

    let text = Scene::new(b"plain text".to_vec());
    assert_eq!(run(&text, &[item(&text)], "").await, Ok(tally(0, 1, 0, 0)));
}

#[tokio::test]
async fn what_is_older_is_made_anew_in_its_place() {
    let scene = Scene::new(clip());
    scene.run().await;
    let made = scene.manifest().unwrap();
    // As an older version of this code left it.
    let old = Manifest { thumbhash: None, ..made.clone() };
    write(&scene, &old).await;
    put(&scene, "storyboard.jpg", "old").await;
    assert_eq!(run(&scene, &[item(&scene)], AFTER).await, Ok(tally(1, 0, 0, 0)));
    let anew = scene.manifest().unwrap();
    assert_eq!((&anew.outputs, &anew.thumbhash), (&made.outputs, &made.thumbhash));
    assert_ne!(scene.output("storyboard.jpg"), b"old");

    // A refusal is looked at again, and what has pictures is not given up for one.
    write(&scene, &rejected(&made, Code::UnsupportedCodec)).await;
    assert_eq!(run(&scene, &[item(&scene)], AFTER).await, Ok(tally(1, 0, 0, 0)));
    let text = Scene::new(b"plain text".to_vec());
    write(&text, &Manifest { video: text.job.video, ..made }).await;
    assert_eq!(run(&text, &[item(&text)], AFTER).await, Ok(tally(0, 0, 1, 0)));
    assert_eq!(text.manifest().unwrap().state, State::Ready);
}

#[tokio::test]
async fn what_its_owner_decided_stays() {
    let scene = Scene::new(clip());
    scene.run().await;
    let made = scene.manifest().unwrap();
    put(&scene, "thumbnail.jpg", "chosen").await;
    let key = Key::Poster(scene.job.video);
    scene.workshop.store.put_poster(&key, Bytes::from("{}"), None).await.unwrap();
    put(&scene, "animated.gif", "old").await;
    assert_eq!(run(&scene, &[item(&scene)], AFTER).await, Ok(tally(1, 0, 0, 0)));
    assert_eq!(scene.output("thumbnail.jpg"), b"chosen", "a chosen poster lies under the default's key");
    assert_ne!(scene.output("animated.gif"), b"old");
    let anew = scene.manifest().unwrap();
    assert_eq!((&anew.outputs, anew.poster_ms), (&made.outputs, made.poster_ms));

    write(&scene, &rejected(&made, Code::Deleted)).await;
    assert_eq!(run(&scene, &[item(&scene)], AFTER).await, Ok(tally(0, 0, 1, 0)));
    assert!(scene.manifest().unwrap().is_deleted());
}

#[tokio::test]
async fn a_batch_says_what_failed_and_goes_on_with_the_others() {
    let scene = Scene::new(clip());
    for _ in 0..500 {
        scene.workshop.store.fail_next_read(Fault::Refuse(StoreError::Transient("503 SlowDown".into())));
    }
    let (code, why) = run(&scene, &[item(&scene)], "").await.unwrap_err();
    assert_eq!(code, Code::Upstream);
    assert!(why.contains(&scene.job.video.to_string()), "{why}");
    scene.workshop.store.heal();
    assert_eq!(run(&scene, &[item(&scene), item(&scene)], "").await, Ok(tally(1, 0, 1, 0)));

    // The name by which the state machine goes on at once.
    let late = Scene::new(clip());
    let items = json!([{"Key": "x", "Etag": "x"}, item(&late)]);
    let payload = json!({"backfill": {"Items": items, "BatchInput": {"before": ""}}});
    let soon = Instant::now() + Duration::from_secs(20);
    let error = invoke(&late.workshop, "glimpse", &payload, soon).await.result.unwrap_err();
    assert_eq!(error.code().as_str(), "timed_out");
    for batch in [json!({}), json!({"Items": [], "BatchInput": {"before": "yesterday"}})] {
        let wrong = json!({ "backfill": batch });
        let refused = invoke(&late.workshop, "glimpse", &wrong, soon).await.result.unwrap_err();
        assert_eq!(refused.code(), Code::BadParameter, "{wrong}");
    }
}

fn rejected(made: &Manifest, code: Code) -> Manifest {
    let rejected = Some(RejectedBecause { code });
    Manifest { state: State::Rejected, rejected, outputs: Vec::new(), ..made.clone() }
}

async fn write(scene: &Scene, manifest: &Manifest) {
    scene.workshop.store.delete(&Key::Manifest(scene.job.video));
    assert!(publish::commit(&*scene.workshop.store, manifest).await.unwrap());
}

async fn put(scene: &Scene, name: &str, bytes: &'static str) {
    let key = Key::Output(scene.job.video, Variant::from_file_name(name).unwrap());
    let put = scene.workshop.store.put_output(&key, Bytes::from(bytes), "image/jpeg", Visibility::Signed);
    put.await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_a_batch_is_recorded_as_failed() {
    let give_up = async |scene: &Scene, items: &[Value], before: &str| {
        let batch = json!({"Items": items, "BatchInput": {"before": before}});
        let payload = json!({"backfill": batch, "give_up": true});
        let deadline = Instant::now() + Duration::from_mins(5);
        let answer = invoke(&scene.workshop, "glimpse", &payload, deadline).await;
        answer.result.map_err(|error| (error.code(), error.to_string()))
    };
    let scene = Scene::new(clip());
    let (code, why) = give_up(&scene, &[item(&scene)], "").await.unwrap_err();
    assert!(code == Code::Internal && why.contains(&scene.job.video.to_string()), "{why}");
    let note = scene.workshop.store.get(&Key::Failure(scene.job.video)).unwrap();
    let note: Value = serde_json::from_slice(&note.bytes).unwrap();
    assert_eq!(
        (&note["code"], &note["name"], &note["visibility"]),
        (&json!("internal"), &json!("Ski trip é.mp4"), &json!("signed"))
    );
    assert_eq!(scene.manifest(), None);

    scene.run().await;
    scene.workshop.store.delete(&Key::Failure(scene.job.video));
    let foreign = json!({"Key": "uploads/holiday.mp4", "ETag": "\"x\"", "Size": 1, "LastModified": 1});
    assert_eq!(give_up(&scene, &[item(&scene), foreign], "").await, Ok(tally(0, 0, 1, 1)));
    assert_eq!(give_up(&scene, &[item(&scene)], BEFORE).await, Ok(tally(0, 0, 1, 0)));
    assert!(give_up(&scene, &[item(&scene)], AFTER).await.is_err(), "its outcome is still the older one");
    assert_eq!(scene.workshop.store.get(&Key::Failure(scene.job.video)), None, "which is better than none");
}
