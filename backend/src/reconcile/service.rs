//! Decides which uploads nothing became of, and queues them again (THREATS E5): S3's events are delivered at least once as
//! a rule, and a rule is not a promise.
//!
//! What it looks at is bounded: names of a thousand objects a request, two small questions for each upload inside a
//! window of time, and of an owner's uploads only those that are young enough, since a video's id counts time down.

use futures::StreamExt as _;
use futures::stream;
use glimpse_contract::{Key, Owner, VideoId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::JobError;
use crate::lambda::metrics;
use crate::preview::attempt;
use crate::store::{Store, StoreError};

/// So many messages waiting are a queue that is behind, and no event that is missing: more would put it further behind.
const MAX_BACKLOG: u64 = 100;
/// How many messages one run sends at the most. The next run finds the others.
const MAX_REQUEUED: u64 = 1000;
/// How many uploads are asked about side by side.
const CONCURRENCY: usize = 16;
/// How much later than its id an upload may begin: an upload token lives a day, and what it began is given up after another.
const MAX_GRANT_MS: u64 = 2 * 24 * 60 * 60 * 1000;

/// Which uploads are looked at, by their age: what the schedule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanWindow {
    /// Younger ones may be in work, in seconds.
    pub older_than_secs: u64,
    /// Older ones were looked at before, in seconds.
    pub younger_than_secs: u64,
}

impl ScanWindow {
    /// Reads an invocation's payload.
    ///
    /// # Errors
    /// It does not name a window, or an empty one.
    pub fn from_payload(payload: &Value) -> Result<Self, JobError> {
        let window = Self::deserialize(payload).map_err(JobError::internal)?;
        if window.older_than_secs >= window.younger_than_secs {
            return Err(JobError::internal("a window that nothing is in"));
        }
        Ok(window)
    }
}

/// A source as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedSource {
    /// Whose it is.
    pub owner: Owner,
    /// Which video.
    pub video: VideoId,
    /// Its ETag, quotes included.
    pub etag: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written, in Unix milliseconds; an upload in parts: when it was begun.
    pub modified_ms: u64,
}

/// Some of the uploads, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadPage {
    /// Those of the page that are ours.
    pub uploads: Vec<UploadedSource>,
    /// The key to go on behind, if there are more.
    pub next: Option<String>,
}

/// The bucket's uploads, listed.
pub trait ListUploads: Send + Sync {
    /// Those behind that key, or the first ones.
    fn list_page(
        &self,
        start_after: Option<&str>,
    ) -> impl Future<Output = Result<UploadPage, StoreError>> + Send;
}

/// The queue that S3's events go to.
pub trait UploadQueue: Send + Sync {
    /// How many messages wait to be delivered, about.
    fn depth(&self) -> impl Future<Output = Result<u64, JobError>> + Send;

    /// Sends a message.
    fn send(&self, body: String) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// What a run did, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReconcileSummary {
    /// Requests for names.
    pub pages: u64,
    /// Uploads inside the window.
    pub looked: u64,
    /// Those that were queued again.
    pub queued: u64,
    /// The queue was behind, and nothing was looked at.
    pub busy: bool,
}

impl ReconcileSummary {
    /// Writes the one line of a run and its metrics, and answers what the invocation does.
    pub fn report(self) -> Value {
        let Self { pages, looked, queued, busy } = self;
        tracing::info!(metric = "reconcile", pages, looked, queued, busy, "reconcile");
        metrics::emit(&metrics::reconcile_record(self));
        json!({ "pages": pages, "looked": looked, "queued": queued, "busy": busy })
    }
}

/// What a run needs.
#[derive(Debug)]
pub struct Reconciler<S, U, O> {
    /// Asked whether something became of an upload.
    pub store: S,
    /// Asked for the uploads.
    pub uploads: U,
    /// Where those go that nothing became of.
    pub queue: O,
    /// The bucket's name, for the messages.
    pub bucket: String,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
}

impl<S: Store, U: ListUploads, O: UploadQueue> Reconciler<S, U, O> {
    /// Goes through the bucket once, until `deadline` at the longest.
    ///
    /// # Errors
    /// S3 or the queue failed, or the time was too short to see everything.
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
                return Err(JobError::internal(format!("no time to see every upload: {summary:?}")));
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

    /// Whether nothing says what became of it. What failed for the last time lies with the dead letters, for people.
    async fn is_missed(&self, upload: &UploadedSource) -> Result<bool, JobError> {
        for key in [Key::Manifest(upload.video), Key::Failure(upload.video)] {
            match self.store.head(&key).await {
                Ok(_) => return Ok(false),
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(JobError::upstream(error)),
            }
        }
        // A message that is being retried comes again by itself.
        Ok(!attempt::is_retried(&self.store, upload.video, (self.now_ms)()).await?)
    }
}

/// The key to go on behind. An owner's videos stand with the newest first, so behind one that is too old all of that owner
/// are: then the next owner is.
fn next_start_after(last: String, upload: Option<&UploadedSource>, oldest_ms: u64) -> String {
    match upload {
        Some(upload) if upload.video.timestamp_ms() + MAX_GRANT_MS < oldest_ms => {
            // No key of this owner is behind it, and none of another one before.
            format!("{}~", Key::uploads_prefix(&upload.owner))
        }
        _ => last,
    }
}

/// The event that was missed, as S3 would have sent it.
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
            // Nothing in a key of ours has to be encoded.
            "object": { "key": key.to_string(), "size": upload.bytes, "eTag": upload.etag.trim_matches('"') },
        },
    }] })
    .to_string()
}

#[cfg(test)]
mod tests;
