//! Tests of the reconciler with an in-memory bucket of uploads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::preview::event;
use crate::reconcile::service::*;
use crate::store::PutOptions;
use crate::store::memory::MemoryStore;

const NOW_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 60 * 60 * 1000;
const WINDOW: ScanWindow = ScanWindow { older_than_secs: 900, younger_than_secs: 3 * 3600 };

#[derive(Debug, Default)]
struct FakeBucket {
    uploads: BTreeMap<String, UploadedSource>,
    page_size: usize,
    sent: Mutex<Vec<String>>,
    depth: u64,
}

impl ListUploads for &FakeBucket {
    async fn list_page(&self, after: Option<&str>) -> Result<UploadPage, StoreError> {
        let behind = |key: &&String| after.is_none_or(|after| key.as_str() > after);
        let keys: Vec<&String> = self.uploads.keys().filter(behind).collect();
        let next = (keys.len() > self.page_size).then(|| keys[self.page_size - 1].clone());
        let uploads = keys.iter().take(self.page_size).map(|key| self.uploads[*key].clone()).collect();
        Ok(UploadPage { uploads, next })
    }
}

impl UploadQueue for &FakeBucket {
    async fn depth(&self) -> Result<u64, JobError> {
        Ok(self.depth)
    }

    async fn send(&self, body: String) -> Result<(), JobError> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        Ok(())
    }
}

impl FakeBucket {
    fn new() -> Self {
        Self { page_size: 2, ..Self::default() }
    }

    fn add_upload(&mut self, subject: &str, age_ms: u64) -> VideoId {
        let number = u8::try_from(self.uploads.len()).unwrap();
        let video = VideoId::new(NOW_MS - age_ms, [number; 10]);
        let owner = Owner::new("https://id.example", subject);
        let key = Key::Source { owner: owner.clone(), video }.to_string();
        let etag = "\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned();
        self.uploads
            .insert(key, UploadedSource { owner, video, etag, bytes: 7, modified_ms: NOW_MS - age_ms });
        video
    }

    /// The videos of the sent messages, as the `preview` function parses them.
    fn queued_videos(&self) -> Vec<VideoId> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |body: &String| event::parse(&serde_json::from_str(body).unwrap(), "glimpse");
        sent.iter().flat_map(|body| read(body).jobs).map(|job| job.video).collect()
    }
}

async fn reconcile(bucket: &FakeBucket, store: MemoryStore) -> Result<ReconcileSummary, JobError> {
    let reconciler =
        Reconciler { store, uploads: bucket, queue: bucket, bucket: "glimpse".into(), now_ms: || NOW_MS };
    reconciler.run(WINDOW, Instant::now() + Duration::from_mins(1)).await
}

/// Threat E5.
#[tokio::test]
async fn missed_upload_is_requeued() {
    let mut bucket = FakeBucket::new();
    let store = MemoryStore::default();
    let missed = bucket.add_upload("ann", HOUR_MS);
    let ready = bucket.add_upload("ann", HOUR_MS);
    let failed = bucket.add_upload("bob", HOUR_MS);
    let also_missed = bucket.add_upload("bob", 2 * HOUR_MS);
    bucket.add_upload("bob", 60_000);
    bucket.add_upload("cleo", 4 * HOUR_MS);
    store.put(&Key::Manifest(ready), Bytes::from_static(b"{}"), PutOptions::JSON).await.unwrap();
    store.put(&Key::Failure(failed), Bytes::from_static(b"{}"), PutOptions::JSON).await.unwrap();
    let summary = reconcile(&bucket, store).await.unwrap();
    let mut found = bucket.queued_videos();
    found.sort_by_key(ToString::to_string);
    let mut expected = [missed, also_missed];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);
    assert_eq!((summary.looked, summary.queued, summary.busy), (4, 2, false));
}

/// Threat E5: uploads that failed permanently or are being retried are not queued again.
#[tokio::test]
async fn retried_message_is_not_requeued() {
    let mut bucket = FakeBucket::new();
    let store = MemoryStore::default();
    let given_up = bucket.add_upload("ann", HOUR_MS);
    let retried = bucket.add_upload("ann", HOUR_MS);
    let forgotten = bucket.add_upload("ann", HOUR_MS);
    let attempt = |started_at: u64| {
        let attempt = json!({ "message": "m", "number": 3, "started_at": started_at });
        Bytes::from(attempt.to_string())
    };
    let leased =
        json!({ "code": "internal", "attempt": { "lease_expires_at": NOW_MS + 1, "ends_at": NOW_MS + 2 } });
    store.put(&Key::Failure(given_up), leased.to_string().into(), PutOptions::JSON).await.unwrap();
    store.put(&Key::Attempt(retried), attempt(NOW_MS - HOUR_MS), PutOptions::JSON).await.unwrap();
    store.put(&Key::Attempt(forgotten), attempt(NOW_MS - 25 * HOUR_MS), PutOptions::JSON).await.unwrap();
    let summary = reconcile(&bucket, store).await.unwrap();
    assert_eq!(bucket.queued_videos(), [forgotten], "an attempt older than a day does not prove a message");
    assert_eq!((summary.looked, summary.queued), (3, 1));
}

#[tokio::test]
async fn requeued_message_parses_as_s3_event() {
    let mut bucket = FakeBucket::new();
    let video = bucket.add_upload("ann", HOUR_MS);
    reconcile(&bucket, MemoryStore::default()).await.unwrap();
    let body = bucket.sent.lock().unwrap()[0].clone();
    let parsed = event::parse(&serde_json::from_str(&body).unwrap(), "glimpse");
    let job = &parsed.jobs[0];
    assert_eq!((job.video, job.bytes), (video, 7));
    assert_eq!(job.etag, "\"d41d8cd98f00b204e9800998ecf8427e\"");
    assert_eq!(job.received_ms, NOW_MS - HOUR_MS);
    assert!(parsed.malformed.is_empty() && parsed.ignored.is_empty());
}

#[tokio::test]
async fn long_queue_gets_no_messages() {
    let mut bucket = FakeBucket { depth: MAX_BACKLOG + 1, ..FakeBucket::new() };
    bucket.add_upload("ann", HOUR_MS);
    let summary = reconcile(&bucket, MemoryStore::default()).await.unwrap();
    assert!(summary.busy && bucket.queued_videos().is_empty());
}

#[tokio::test]
async fn skips_old_videos_of_an_owner() {
    let mut bucket = FakeBucket::new();
    for _ in 0..100 {
        bucket.add_upload("ann", 10 * 24 * HOUR_MS);
    }
    let owners = ["bob", "cleo", "dan"];
    let missed = owners.map(|who| bucket.add_upload(who, HOUR_MS));
    let summary = reconcile(&bucket, MemoryStore::default()).await.unwrap();
    assert!(missed.iter().all(|video| bucket.queued_videos().contains(video)), "no upload is skipped");
    assert!(summary.pages < 10, "{summary:?}");
}

#[tokio::test]
async fn expired_deadline_is_an_error() {
    let mut bucket = FakeBucket::new();
    bucket.add_upload("ann", HOUR_MS);
    let reconciler = Reconciler {
        store: MemoryStore::default(),
        uploads: &bucket,
        queue: &bucket,
        bucket: "glimpse".into(),
        now_ms: || NOW_MS,
    };
    assert!(reconciler.run(WINDOW, Instant::now()).await.is_err(), "the deadline has passed");
    assert!(bucket.queued_videos().is_empty());
}

#[test]
fn window_needs_valid_bounds() {
    let read = |text: &str| ScanWindow::from_payload(&serde_json::from_str(text).unwrap());
    assert_eq!(read(r#"{"older_than_secs": 900, "younger_than_secs": 10800}"#).unwrap(), WINDOW);
    for invalid in [
        "{}",
        r#"{"older_than_secs": 900}"#,
        r#"{"older_than_secs": 900, "younger_than_secs": 900}"#,
        r#"{"older_than_secs": 900, "younger_than_secs": 10800, "bucket": "x"}"#,
        r#"{"older_than_secs": -1, "younger_than_secs": 10800}"#,
    ] {
        assert!(read(invalid).is_err(), "{invalid}");
    }
}
