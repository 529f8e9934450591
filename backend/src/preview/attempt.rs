//! Records each delivery before its file is opened, so that a killed function also leaves a failure.
//!
//! From the second delivery on, `attempt.json` states that the message is being retried: the reconciler then sends no
//! second message, and a duplicate message stops. Before the last delivery, `failure.json` is written with a lease.
//! While the function works it renews the lease, and the failure does not count. A killed function stops renewing, so
//! the failure counts once the lease has expired. A webhook is sent only after the function's time has certainly ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use glimpse_contract::{Attempt, Key, VideoId};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::error::JobError;
use crate::preview::event::Job;
use crate::preview::publish::{self, FailureRecord};
use crate::store::{PutCondition, PutOptions, Store, StoreError};

/// Interval between renewals of a lease.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Duration of a lease: two renewals may fail.
const LEASE_MS: u64 = 30_000;
/// How long after the end of its work a function has certainly ended: the programs' margin for the response, and an
/// allowance for clock differences.
const MARGIN_MS: u64 = 15_000;
/// How long to wait for a renewal in progress.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a record, in bytes.
const MAX_RECORD_BYTES: u64 = 64 * 1024;
/// For how long an attempt record proves that a message exists: longer than all deliveries of a message take.
const RETRY_WINDOW_MS: u64 = 24 * 60 * 60 * 1000;

/// The lease of the last attempt, which is renewed until it is released or dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Stops the renewals. The record is not written again after this.
    pub(crate) async fn release(mut self) {
        self.stop.notify_one();
        if timeout(LAST_WRITE_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The attempt of this job; `None` if it did not come from a queue.
pub(crate) fn from_job(job: &Job, now_ms: u64) -> Option<Attempt> {
    let message = job.message.clone()?;
    Some(Attempt { message, number: job.receives, started_at: now_ms, ..Attempt::default() })
}

/// Records the start of a later delivery.
pub(crate) async fn record<S: Store>(store: &S, video: VideoId, attempt: &Attempt) -> Result<(), JobError> {
    let json = Bytes::from(serde_json::to_vec(attempt).map_err(JobError::internal)?);
    store.put(&Key::Attempt(video), json, PutOptions::JSON).await.map_err(JobError::storage)?;
    Ok(())
}

/// Records the failure of the last delivery before it begins; the work must end by `work_deadline`. `None` if a failure
/// was recorded before: that one counts until a manifest replaces it.
pub(crate) async fn record_last<S: Store>(
    store: &Arc<S>,
    failure: FailureRecord,
    attempt: Attempt,
    now_ms: fn() -> u64,
    work_deadline: Instant,
) -> Result<Option<Lease>, JobError> {
    let remaining_ms = work_deadline.saturating_duration_since(Instant::now()).as_millis() as u64;
    let ends_at = now_ms() + remaining_ms + MARGIN_MS;
    let mut attempt = Attempt { ends_at, lease_expires_at: now_ms() + LEASE_MS, ..attempt };
    let video = failure.failure.video;
    let json = publish::failure_json(&failure, Some(&attempt))?;
    let options = PutOptions::JSON.with_condition(PutCondition::IfAbsent);
    match store.put(&Key::Failure(video), json, options).await {
        Ok(_) => {}
        Err(StoreError::AlreadyExists) => return Ok(None),
        Err(error) => return Err(JobError::storage(error)),
    }
    let stop = Arc::new(Notify::new());
    let (store, stopped) = (Arc::clone(store), Arc::clone(&stop));
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stopped.notified() => return,
                () = sleep(RENEWAL_INTERVAL) => {}
            }
            // If the video was deleted in the meantime, do not write the record again.
            if !matches!(publish::has_manifest(&*store, video).await, Ok(false)) {
                continue;
            }
            attempt.lease_expires_at = now_ms() + LEASE_MS;
            let Ok(json) = publish::failure_json(&failure, Some(&attempt)) else { return };
            if let Err(error) = store.put(&Key::Failure(video), json, PutOptions::JSON).await {
                tracing::warn!(%video, %error, "could not renew the lease of the last attempt");
            }
        }
    });
    Ok(Some(Lease { stop, task }))
}

/// Removes the failure record of a last attempt that did not fail. If that fails, the manifest outranks it.
pub(crate) async fn remove_failure<S: Store>(store: &S, video: VideoId) {
    if let Err(error) = store.delete(&Key::Failure(video)).await {
        tracing::warn!(%video, %error, "could not delete failure.json");
    }
}

/// Whether another message has been processed since this one was sent. Then this one is a duplicate, and the other one
/// determines the outcome. A message that the operator sends again is newer than the recorded one.
pub(crate) async fn is_duplicate<S: Store>(store: &S, job: &Job) -> Result<bool, JobError> {
    let Some(message) = &job.message else { return Ok(false) };
    if job.receives < 2 || job.sent_ms == 0 {
        return Ok(false);
    }
    let (attempt, failure) = tokio::join!(load_attempt(store, job.video), load_failure(store, job.video));
    let is_other = |attempt: Attempt| attempt.message != *message && attempt.started_at > job.sent_ms;
    Ok(attempt?.is_some_and(is_other) || failure?.is_some_and(is_other))
}

/// Whether a message about this video was processed recently and will be delivered again.
pub(crate) async fn is_retried<S: Store>(store: &S, video: VideoId, now_ms: u64) -> Result<bool, JobError> {
    let recent = |attempt: Attempt| attempt.started_at.saturating_add(RETRY_WINDOW_MS) > now_ms;
    Ok(load_attempt(store, video).await?.is_some_and(recent))
}

async fn load_attempt<S: Store>(store: &S, video: VideoId) -> Result<Option<Attempt>, JobError> {
    let json = read_record(store, &Key::Attempt(video)).await?;
    Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
}

async fn load_failure<S: Store>(store: &S, video: VideoId) -> Result<Option<Attempt>, JobError> {
    let json = read_record(store, &Key::Failure(video)).await?;
    Ok(json.and_then(|json| parse_attempt(&json)))
}

/// The attempt in a failure record; `None` if it names none.
pub(crate) fn parse_attempt(json: &[u8]) -> Option<Attempt> {
    #[derive(Deserialize)]
    struct FailureDocument {
        attempt: Option<Attempt>,
    }
    serde_json::from_slice::<FailureDocument>(json).ok()?.attempt
}

async fn read_record<S: Store>(store: &S, key: &Key) -> Result<Option<Bytes>, JobError> {
    match store.get(key, MAX_RECORD_BYTES).await {
        Ok((_, json)) => Ok(Some(json)),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(JobError::storage(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use glimpse_contract::{ClientMetadata, Code, Failure, MANIFEST_VERSION, Owner};

    use super::*;
    use crate::store::memory::MemoryStore;

    const NOW_MS: u64 = 1_700_000_000_000;
    static CLOCK: AtomicU64 = AtomicU64::new(NOW_MS);

    fn now_ms() -> u64 {
        CLOCK.load(Ordering::Relaxed)
    }

    fn video() -> VideoId {
        VideoId::new(NOW_MS, [1; 10])
    }

    fn failure_record() -> FailureRecord {
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: video(),
            owner: Owner::new("iss", "sub"),
            code: Code::Internal,
            failed_at: NOW_MS,
            client_metadata: ClientMetadata::default(),
        };
        let (name, content_type) = ("a.mp4".to_owned(), "video/mp4".to_owned());
        FailureRecord { failure, name, bytes: 7, content_type, visibility: None }
    }

    fn stored_attempt(store: &MemoryStore) -> Attempt {
        parse_attempt(&store.object(&Key::Failure(video())).unwrap().bytes).unwrap()
    }

    /// Advances both clocks until a renewal has happened.
    async fn advance(duration: Duration) {
        // Let the renewal start to wait before the clock advances.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        CLOCK.fetch_add(duration.as_millis() as u64, Ordering::Relaxed);
        tokio::time::advance(duration).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lease_is_renewed_until_released() {
        let store = Arc::new(MemoryStore::default());
        let attempt = Attempt { message: "m".into(), number: 5, started_at: NOW_MS, ..Attempt::default() };
        let deadline = Instant::now() + Duration::from_mins(4);
        let acquire = || record_last(&store, failure_record(), attempt.clone(), now_ms, deadline);
        let lease = acquire().await.unwrap().unwrap();
        let first = stored_attempt(&store);
        assert_eq!((first.number, first.lease_expires_at), (5, NOW_MS + LEASE_MS));
        assert_eq!(first.ends_at, NOW_MS + 240_000 + MARGIN_MS);
        advance(RENEWAL_INTERVAL).await;
        let renewed = stored_attempt(&store);
        assert_eq!(renewed.lease_expires_at, NOW_MS + 10_000 + LEASE_MS);
        assert_eq!(renewed.ends_at, first.ends_at, "a renewal does not extend the function's time");
        assert!(acquire().await.unwrap().is_none(), "a recorded failure is not replaced");

        // After a deletion or a commit the record is not written again.
        let tombstone = Bytes::from_static(b"{}");
        store.put(&Key::Manifest(video()), tombstone, PutOptions::JSON).await.unwrap();
        store.remove_object(&Key::Failure(video()));
        advance(RENEWAL_INTERVAL).await;
        assert_eq!(store.object(&Key::Failure(video())), None);
        store.remove_object(&Key::Manifest(video()));
        advance(RENEWAL_INTERVAL).await;
        assert!(store.object(&Key::Failure(video())).is_some());

        lease.release().await;
        store.remove_object(&Key::Failure(video()));
        advance(RENEWAL_INTERVAL * 3).await;
        assert_eq!(store.object(&Key::Failure(video())), None, "a released lease is not renewed");
        drop(acquire().await.unwrap().unwrap());
        store.remove_object(&Key::Failure(video()));
        advance(RENEWAL_INTERVAL * 3).await;
        assert_eq!(store.object(&Key::Failure(video())), None, "a dropped lease is not renewed");
    }
}
