//! A bucket of uploads in memory, and what is found missing in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::preview::event;
use crate::reconcile::service::*;
use crate::store::memory::Memory;

const NOW_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 60 * 60 * 1000;
const WINDOW: Window = Window { older_than_secs: 900, younger_than_secs: 3 * 3600 };

#[derive(Debug, Default)]
struct Fake {
    uploads: BTreeMap<String, Upload>,
    page: usize,
    sent: Mutex<Vec<String>>,
    waiting: u64,
}

impl Uploads for &Fake {
    async fn page(&self, after: Option<&str>) -> Result<Page, StoreError> {
        let behind = |key: &&String| after.is_none_or(|after| key.as_str() > after);
        let keys: Vec<&String> = self.uploads.keys().filter(behind).collect();
        let next = (keys.len() > self.page).then(|| keys[self.page - 1].clone());
        let uploads = keys.iter().take(self.page).map(|key| self.uploads[*key].clone()).collect();
        Ok(Page { uploads, next })
    }
}

impl Outbox for &Fake {
    async fn waiting(&self) -> Result<u64, JobError> {
        Ok(self.waiting)
    }

    async fn send(&self, body: String) -> Result<(), JobError> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        Ok(())
    }
}

impl Fake {
    fn new() -> Self {
        Self { page: 2, ..Self::default() }
    }

    fn add(&mut self, who: &str, age_ms: u64) -> VideoId {
        let number = u8::try_from(self.uploads.len()).unwrap();
        let video = VideoId::new(NOW_MS - age_ms, [number; 10]);
        let owner = Owner::of("https://id.example", who);
        let key = Key::Source { owner: owner.clone(), video }.to_string();
        let etag = "\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned();
        self.uploads.insert(key, Upload { owner, video, etag, bytes: 7, modified_ms: NOW_MS - age_ms });
        video
    }

    /// The videos that the messages are about, as the function reads them.
    fn videos(&self) -> Vec<VideoId> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |body: &String| event::read(&serde_json::from_str(body).unwrap(), "glimpse");
        sent.iter().flat_map(|body| read(body).jobs).map(|job| job.video).collect()
    }
}

async fn run(fake: &Fake, store: Memory) -> Result<Tally, JobError> {
    let patrol = Patrol { store, uploads: fake, queue: fake, bucket: "glimpse".into(), now_ms: || NOW_MS };
    patrol.run(WINDOW, Instant::now() + Duration::from_mins(1)).await
}

/// Row E5.
#[tokio::test]
async fn an_upload_that_nothing_became_of_is_queued_again() {
    let mut fake = Fake::new();
    let store = Memory::default();
    let lost = fake.add("ann", HOUR_MS);
    let ready = fake.add("ann", HOUR_MS);
    let failed = fake.add("bob", HOUR_MS);
    let also_lost = fake.add("bob", 2 * HOUR_MS);
    fake.add("bob", 60_000);
    fake.add("cleo", 4 * HOUR_MS);
    store.create_manifest(&Key::Manifest(ready), Bytes::from_static(b"{}")).await.unwrap();
    store.put_failure(&Key::Failure(failed), Bytes::from_static(b"{}")).await.unwrap();
    let tally = run(&fake, store).await.unwrap();
    let mut found = fake.videos();
    found.sort_by_key(ToString::to_string);
    let mut expected = [lost, also_lost];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);
    assert_eq!((tally.looked, tally.queued, tally.busy), (4, 2, false));
}

/// Row E5: what was given up is not queued again, nor what is being retried.
#[tokio::test]
async fn a_message_that_is_retried_gets_no_second_one() {
    let mut fake = Fake::new();
    let store = Memory::default();
    let given_up = fake.add("ann", HOUR_MS);
    let retried = fake.add("ann", HOUR_MS);
    let forgotten = fake.add("ann", HOUR_MS);
    let attempt = |started_at: u64| {
        let attempt = json!({ "message": "m", "number": 3, "started_at": started_at });
        Bytes::from(attempt.to_string())
    };
    let leased =
        json!({ "code": "internal", "attempt": { "lease_expires_at": NOW_MS + 1, "ends_at": NOW_MS + 2 } });
    store.put_failure(&Key::Failure(given_up), leased.to_string().into()).await.unwrap();
    store.put_failure(&Key::Attempt(retried), attempt(NOW_MS - HOUR_MS)).await.unwrap();
    store.put_failure(&Key::Attempt(forgotten), attempt(NOW_MS - 25 * HOUR_MS)).await.unwrap();
    let tally = run(&fake, store).await.unwrap();
    assert_eq!(fake.videos(), [forgotten], "a message that does not come for a day is lost");
    assert_eq!((tally.looked, tally.queued), (3, 1));
}

#[tokio::test]
async fn a_message_is_an_event_of_that_very_object() {
    let mut fake = Fake::new();
    let video = fake.add("ann", HOUR_MS);
    run(&fake, Memory::default()).await.unwrap();
    let body = fake.sent.lock().unwrap()[0].clone();
    let intake = event::read(&serde_json::from_str(&body).unwrap(), "glimpse");
    let job = &intake.jobs[0];
    assert_eq!((job.video, job.bytes), (video, 7));
    assert_eq!(job.etag, "\"d41d8cd98f00b204e9800998ecf8427e\"");
    assert_eq!(job.received_ms, NOW_MS - HOUR_MS);
    assert!(intake.malformed.is_empty() && intake.ignored.is_empty());
}

#[tokio::test]
async fn a_queue_that_is_behind_gets_no_more() {
    let mut fake = Fake { waiting: BUSY + 1, ..Fake::new() };
    fake.add("ann", HOUR_MS);
    let tally = run(&fake, Memory::default()).await.unwrap();
    assert!(tally.busy && fake.videos().is_empty());
}

#[tokio::test]
async fn an_owners_old_videos_are_not_gone_through() {
    let mut fake = Fake::new();
    for _ in 0..100 {
        fake.add("ann", 10 * 24 * HOUR_MS);
    }
    let owners = ["bob", "cleo", "dan"];
    let lost = owners.map(|who| fake.add(who, HOUR_MS));
    let tally = run(&fake, Memory::default()).await.unwrap();
    assert!(lost.iter().all(|video| fake.videos().contains(video)), "nobody is skipped");
    assert!(tally.pages < 10, "{tally:?}");
}

#[tokio::test]
async fn what_fails_or_takes_too_long_is_an_error() {
    let mut fake = Fake::new();
    fake.add("ann", HOUR_MS);
    let patrol = Patrol {
        store: Memory::default(),
        uploads: &fake,
        queue: &fake,
        bucket: "glimpse".into(),
        now_ms: || NOW_MS,
    };
    assert!(patrol.run(WINDOW, Instant::now()).await.is_err(), "no time");
    assert!(fake.videos().is_empty());
}

#[test]
fn a_window_is_said_whole() {
    let read = |text: &str| Window::read(&serde_json::from_str(text).unwrap());
    assert_eq!(read(r#"{"older_than_secs": 900, "younger_than_secs": 10800}"#).unwrap(), WINDOW);
    for wrong in [
        "{}",
        r#"{"older_than_secs": 900}"#,
        r#"{"older_than_secs": 900, "younger_than_secs": 900}"#,
        r#"{"older_than_secs": 900, "younger_than_secs": 10800, "bucket": "x"}"#,
        r#"{"older_than_secs": -1, "younger_than_secs": 10800}"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
