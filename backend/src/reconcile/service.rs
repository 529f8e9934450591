//! Finds uploads without an outcome and queues them again (threat E5). S3 usually delivers its events at least once,
//! but does not guarantee it.
//!
//! Its requests are bounded: one request lists a thousand keys, each upload within a time window takes two small
//! requests, and of each owner only the recent uploads are listed, because the ids of videos sort the newest first.

use futures::StreamExt as _;
use futures::stream;
use glimpse_contract::{Key, Owner, VideoId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::JobError;
use crate::lambda::metrics::{self, MetricRecord, metric};
use crate::preview::attempt;
use crate::store::{Store, StoreError};

/// With more waiting messages than this, the queue is behind and no event is missing. More messages would put it
/// further behind.
const MAX_BACKLOG: u64 = 100;
/// Maximum number of messages per run. The next run finds the remaining uploads.
const MAX_REQUEUED: u64 = 1000;
/// How many uploads are checked concurrently.
const CONCURRENCY: usize = 16;
/// How long after the time in its id an upload may begin: an upload token is valid for a day, and an upload that it
/// began is aborted after another.
const MAX_GRANT_MS: u64 = 2 * 24 * 60 * 60 * 1000;

/// The age of the uploads to check, from the schedule's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanWindow {
    /// Younger ones may still be in progress, in seconds.
    pub older_than_secs: u64,
    /// Older ones have been checked before, in seconds.
    pub younger_than_secs: u64,
}

impl ScanWindow {
    /// Parses the payload of an invocation.
    ///
    /// # Errors
    /// The payload contains no window, or an empty one.
    pub fn from_payload(payload: &Value) -> Result<Self, JobError> {
        let window = Self::deserialize(payload).map_err(JobError::internal)?;
        if window.older_than_secs >= window.younger_than_secs {
            return Err(JobError::internal("the time window is empty"));
        }
        Ok(window)
    }
}

/// A source, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedSource {
    /// The owner of the video.
    pub owner: Owner,
    /// The video.
    pub video: VideoId,
    /// Its ETag, with quotes.
    pub etag: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written, in Unix milliseconds; for a multipart upload, when that was created.
    pub modified_ms: u64,
}

/// One page of uploads, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadPage {
    /// The uploads on the page; other objects are omitted.
    pub uploads: Vec<UploadedSource>,
    /// The key after which the next page starts, if there is one.
    pub next: Option<String>,
}

/// Lists the uploads in the bucket.
pub trait ListUploads: Send + Sync {
    /// The uploads after this key, or the first ones.
    fn list_page(
        &self,
        start_after: Option<&str>,
    ) -> impl Future<Output = Result<UploadPage, StoreError>> + Send;
}

/// The queue that receives S3's events.
pub trait UploadQueue: Send + Sync {
    /// The approximate number of waiting messages.
    fn depth(&self) -> impl Future<Output = Result<u64, JobError>> + Send;

    /// Sends a message.
    fn send(&self, body: String) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// The result of a run, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReconcileSummary {
    /// Number of list requests.
    pub pages: u64,
    /// Uploads within the window.
    pub looked: u64,
    /// Uploads that were queued again.
    pub queued: u64,
    /// Whether the queue was behind, so that nothing was checked.
    pub busy: bool,
}

impl ReconcileSummary {
    /// Writes the log line and the metrics of a run, and returns the response of the invocation.
    pub fn report(self) -> Value {
        let Self { pages, looked, queued, busy } = self;
        tracing::info!(metric = "reconcile", pages, looked, queued, busy, "reconcile");
        metrics::emit(&reconcile_record(self));
        json!({ "pages": pages, "looked": looked, "queued": queued, "busy": busy })
    }
}

/// The dependencies of a run.
#[derive(Debug)]
pub struct Reconciler<S, U, O> {
    /// The store in which outcomes are looked up.
    pub store: S,
    /// Lists the uploads.
    pub uploads: U,
    /// Receives the missed uploads.
    pub queue: O,
    /// The name of the bucket, for the messages.
    pub bucket: String,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
}

impl<S: Store, U: ListUploads, O: UploadQueue> Reconciler<S, U, O> {
    /// Scans the bucket once, at most until `deadline`.
    ///
    /// # Errors
    /// S3 or the queue failed, or the time did not suffice for all uploads.
    pub async fn run(&self, window: ScanWindow, deadline: Instant) -> Result<ReconcileSummary, JobError> {
        let mut summary = ReconcileSummary::default();
        if self.queue.depth().await? > MAX_BACKLOG {
            summary.busy = true;
            return Ok(summary);
        }
        let now_ms = (self.now_ms)();
        let youngest_ms = now_ms.saturating_sub(window.older_than_secs * 1000);
        let oldest_ms = now_ms.saturating_sub(window.younger_than_secs * 1000);
        let mut start_after = None;
        loop {
            if Instant::now() >= deadline {
                return Err(JobError::internal(format!(
                    "not all uploads could be checked in time: {summary:?}"
                )));
            }
            let page = self.uploads.list_page(start_after.as_deref()).await.map_err(JobError::upstream)?;
            summary.pages += 1;
            start_after = page.next.map(|last| next_start_after(last, page.uploads.last(), oldest_ms));
            let mut candidates: Vec<UploadedSource> = page.uploads;
            candidates.retain(|upload| (oldest_ms..=youngest_ms).contains(&upload.modified_ms));
            summary.looked += candidates.len() as u64;
            let mut checks = stream::iter(candidates)
                .map(|upload| async move { Ok::<_, JobError>((self.is_missed(&upload).await?, upload)) })
                .buffer_unordered(CONCURRENCY);
            while let Some(checked) = checks.next().await {
                let (is_missed, upload): (bool, UploadedSource) = checked?;
                if is_missed && summary.queued < MAX_REQUEUED {
                    self.queue.send(build_event(&upload, &self.bucket)).await?;
                    summary.queued += 1;
                    tracing::warn!(video = %upload.video, owner = %upload.owner, "an upload's event was missed");
                }
            }
            if start_after.is_none() || summary.queued == MAX_REQUEUED {
                return Ok(summary);
            }
        }
    }

    /// Whether an upload has neither an outcome nor an attempt. Uploads that failed permanently are in the dead-letter
    /// queue, for the operator.
    async fn is_missed(&self, upload: &UploadedSource) -> Result<bool, JobError> {
        for key in [Key::Manifest(upload.video), Key::Failure(upload.video)] {
            match self.store.head(&key).await {
                Ok(_) => return Ok(false),
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(JobError::upstream(error)),
            }
        }
        // A message that is being retried is delivered again by the queue.
        Ok(!attempt::is_retried(&self.store, upload.video, (self.now_ms)()).await?)
    }
}

/// The key after which to continue. The newest videos of an owner are listed first, so after one that is too old the
/// rest of that owner is skipped.
fn next_start_after(last: String, upload: Option<&UploadedSource>, oldest_ms: u64) -> String {
    match upload {
        Some(upload) if upload.video.timestamp_ms() + MAX_GRANT_MS < oldest_ms => {
            // `~` sorts after all keys of this owner, and before those of the next one.
            format!("{}~", Key::uploads_prefix(&upload.owner))
        }
        _ => last,
    }
}

/// The missed event, in the format of S3.
fn build_event(upload: &UploadedSource, bucket: &str) -> String {
    let key = Key::Source { owner: upload.owner.clone(), video: upload.video };
    let time = i64::try_from(upload.modified_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    json!({ "Records": [{
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": time.unwrap_or_default().to_string(),
        "eventName": "ObjectCreated:Reconciled",
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "reconcile",
            "bucket": { "name": bucket },
            // The keys of sources contain no characters that need encoding.
            "object": { "key": key.to_string(), "size": upload.bytes, "eTag": upload.etag.trim_matches('"') },
        },
    }] })
    .to_string()
}

/// The record of one run of the reconciler.
pub(crate) fn reconcile_record(summary: ReconcileSummary) -> MetricRecord {
    let metrics =
        vec![metric("Looked", "Count", summary.looked), metric("Requeued", "Count", summary.queued)];
    MetricRecord { function: "reconcile", outcome: None, metrics, fields: Vec::new() }
}

#[cfg(test)]
mod tests;
