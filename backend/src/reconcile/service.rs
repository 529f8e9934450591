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
const BUSY: u64 = 100;
/// How many messages one run sends at the most. The next run finds the others.
const MAX_QUEUED: u64 = 1000;
/// How many uploads are asked about side by side.
const SIDE_BY_SIDE: usize = 16;
/// How much later than its id an upload may begin: an upload token lives a day, and what it began is given up after another.
const MAX_GRANT_MS: u64 = 2 * 24 * 60 * 60 * 1000;

/// Which uploads are looked at, by their age: what the schedule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Younger ones may be in work, in seconds.
    pub older_than_secs: u64,
    /// Older ones were looked at before, in seconds.
    pub younger_than_secs: u64,
}

impl Window {
    /// Reads an invocation's payload.
    ///
    /// # Errors
    /// It does not name a window, or an empty one.
    pub fn read(payload: &Value) -> Result<Self, JobError> {
        let window = Self::deserialize(payload).map_err(JobError::internal)?;
        if window.older_than_secs >= window.younger_than_secs {
            return Err(JobError::internal("a window that nothing is in"));
        }
        Ok(window)
    }
}

/// A source as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
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
pub struct Page {
    /// Those of the page that are ours.
    pub uploads: Vec<Upload>,
    /// The key to go on behind, if there are more.
    pub next: Option<String>,
}

/// The bucket's uploads, listed.
pub trait Uploads: Send + Sync {
    /// Those behind that key, or the first ones.
    fn page(&self, after: Option<&str>) -> impl Future<Output = Result<Page, StoreError>> + Send;
}

/// The queue that S3's events go to.
pub trait Outbox: Send + Sync {
    /// How many messages wait to be delivered, about.
    fn waiting(&self) -> impl Future<Output = Result<u64, JobError>> + Send;

    /// Sends a message.
    fn send(&self, body: String) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// What a run did, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests for names.
    pub pages: u64,
    /// Uploads inside the window.
    pub looked: u64,
    /// Those that were queued again.
    pub queued: u64,
    /// The queue was behind, and nothing was looked at.
    pub busy: bool,
}

impl Tally {
    /// Writes the one line of a run and its metrics, and answers what the invocation does.
    pub fn logged(self) -> Value {
        let Self { pages, looked, queued, busy } = self;
        tracing::info!(metric = "reconcile", pages, looked, queued, busy, "reconcile");
        metrics::emit(&metrics::of_patrol(self));
        json!({ "pages": pages, "looked": looked, "queued": queued, "busy": busy })
    }
}

/// What a run needs.
#[derive(Debug)]
pub struct Patrol<S, U, O> {
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

impl<S: Store, U: Uploads, O: Outbox> Patrol<S, U, O> {
    /// Goes through the bucket once, until `deadline` at the longest.
    ///
    /// # Errors
    /// S3 or the queue failed, or the time was too short to see everything.
    pub async fn run(&self, window: Window, deadline: Instant) -> Result<Tally, JobError> {
        let mut tally = Tally::default();
        if self.queue.waiting().await? > BUSY {
            tally.busy = true;
            return Ok(tally);
        }
        let now_ms = (self.now_ms)();
        let youngest = now_ms.saturating_sub(window.older_than_secs * 1000);
        let oldest = now_ms.saturating_sub(window.younger_than_secs * 1000);
        let mut after = None;
        loop {
            if Instant::now() >= deadline {
                return Err(JobError::internal(format!("no time to see every upload: {tally:?}")));
            }
            let page = self.uploads.page(after.as_deref()).await.map_err(JobError::upstream)?;
            tally.pages += 1;
            after = page.next.map(|last| skipped(last, page.uploads.last(), oldest));
            let mut due: Vec<Upload> = page.uploads;
            due.retain(|upload| (oldest..=youngest).contains(&upload.modified_ms));
            tally.looked += due.len() as u64;
            let mut lost = stream::iter(due)
                .map(|upload| async move { Ok::<_, JobError>((self.is_lost(&upload).await?, upload)) })
                .buffer_unordered(SIDE_BY_SIDE);
            while let Some(asked) = lost.next().await {
                let (is_lost, upload): (bool, Upload) = asked?;
                if is_lost && tally.queued < MAX_QUEUED {
                    self.queue.send(message(&upload, &self.bucket)).await?;
                    tally.queued += 1;
                    tracing::warn!(video = %upload.video, owner = %upload.owner, "an upload's event was missed");
                }
            }
            if after.is_none() || tally.queued == MAX_QUEUED {
                return Ok(tally);
            }
        }
    }

    /// Whether nothing says what became of it. What failed for the last time lies with the dead letters, for people.
    async fn is_lost(&self, upload: &Upload) -> Result<bool, JobError> {
        for key in [Key::Manifest(upload.video), Key::Failure(upload.video)] {
            match self.store.head(&key).await {
                Ok(_) => return Ok(false),
                Err(StoreError::Gone) => {}
                Err(error) => return Err(JobError::upstream(error)),
            }
        }
        // A message that is being retried comes again by itself.
        Ok(!attempt::is_retried(&self.store, upload.video, (self.now_ms)()).await?)
    }
}

/// The key to go on behind. An owner's videos stand with the newest first, so behind one that is too old all of that owner
/// are: then the next owner is.
fn skipped(last: String, upload: Option<&Upload>, oldest_ms: u64) -> String {
    match upload {
        Some(upload) if upload.video.granted_at_ms() + MAX_GRANT_MS < oldest_ms => {
            // No key of this owner is behind it, and none of another one before.
            format!("{}~", Key::uploads_of(&upload.owner))
        }
        _ => last,
    }
}

/// The event that was missed, as S3 would have sent it.
fn message(upload: &Upload, bucket: &str) -> String {
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
