//! Decides what becomes of a batch of videos that lie in the bucket: those without an outcome get one, and those with an
//! older one a newer. A batch is tried again as a whole, and finds what it has done done.
//!
//! What a batch holds is what a distributed map lists,
//! <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>.

use std::time::Duration;

use glimpse_contract::{Code, Key, Manifest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tracing::info;

use crate::error::JobError;
use crate::preview::event::Job;
use crate::preview::handler::{Answer, log};
use crate::preview::publish::Standing;
use crate::preview::service::{Done, Workshop};
use crate::store::{Store, StoreError};

/// With less time than this no further video is begun: most take a few seconds.
const ENOUGH: Duration = Duration::from_mins(1);
/// The longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// Some objects of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    items: Vec<Item>,
    #[serde(default)]
    batch_input: Wish,
}

/// What is wanted of all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Outcomes from before this moment are made anew, RFC 3339; empty: none.
    #[serde(default)]
    before: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    key: String,
    #[serde(alias = "ETag")]
    etag: String,
    #[serde(default)]
    size: u64,
    /// Unix seconds.
    #[serde(default)]
    last_modified: u64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct Tally {
    /// Pictures were made.
    made: u32,
    /// Refused for good.
    refused: u32,
    /// The outcome that there was stays.
    kept: u32,
    /// No source of ours.
    ignored: u32,
}

/// Records every video of a batch that has no outcome as failed: what was left when each was tried by itself.
pub async fn give_up<S: Store>(workshop: &Workshop<S>, batch: &Value) -> Answer {
    let result = match read(batch) {
        Ok((batch, before_ms)) => given_up(workshop, &batch, before_ms).await,
        Err(error) => Err(error),
    };
    Answer { result, tainted: false }
}

async fn given_up<S: Store>(
    workshop: &Workshop<S>,
    batch: &Batch,
    before_ms: u64,
) -> Result<Value, JobError> {
    let (mut tally, mut failed) = (Tally::default(), Vec::new());
    for item in &batch.items {
        let Some(job) = job_of(item) else {
            tally.ignored += 1;
            continue;
        };
        match standing(workshop, &job).await? {
            Some(over) if stays(&over, before_ms) => {
                tally.kept += 1;
                continue;
            }
            // The older outcome is better than none.
            Some(_) => {}
            None => workshop.record_failure(&job, Code::Internal).await?,
        }
        failed.push(job.video.to_string());
    }
    info!(
        metric = "backfill_given_up",
        kept = tally.kept,
        ignored = tally.ignored,
        failed = failed.len(),
        "backfill"
    );
    if failed.is_empty() {
        return serde_json::to_value(tally).map_err(JobError::internal);
    }
    Err(JobError::internal(format!("failed: {}", failed.join(" "))))
}

/// Whether the outcome that there is stays.
fn stays(over: &Standing, before_ms: u64) -> bool {
    over.manifest.is_deleted() || over.manifest.timings.committed >= before_ms
}

/// Works through a batch until `deadline`.
pub async fn answer<S: Store>(workshop: &Workshop<S>, batch: &Value, deadline: Instant) -> Answer {
    let (batch, before_ms) = match read(batch) {
        Ok(read) => read,
        Err(error) => return Answer { result: Err(error), tainted: false },
    };
    let (mut tally, mut tainted) = (Tally::default(), false);
    let (mut failed, mut code, mut left) = (Vec::new(), None, 0);
    for (place, item) in batch.items.iter().enumerate() {
        // Whatever a crashed decoder left in this sandbox, no other file meets it.
        if tainted || (place > 0 && Instant::now() + ENOUGH > deadline) {
            left += 1;
            continue;
        }
        let Some(job) = job_of(item) else {
            tally.ignored += 1;
            continue;
        };
        let (done, crashed) = due(workshop, &job, before_ms, deadline).await;
        tainted = crashed;
        match done {
            Ok(Done::Ready) => tally.made += 1,
            Ok(Done::Rejected(_)) => tally.refused += 1,
            Ok(Done::Already | Done::Superseded) => tally.kept += 1,
            Err(error) => {
                code.get_or_insert(error.code());
                failed.push(job.video.to_string());
            }
        }
    }
    let Tally { made, refused, kept, ignored } = tally;
    info!(metric = "backfill", made, refused, kept, ignored, failed = failed.len(), left, "backfill");
    let result = if left > 0 {
        // The state machine knows it by this name, and goes on at once.
        let why = format!("{left} of {} are left", batch.items.len());
        Err(JobError::Transient { code: Code::TimedOut, why })
    } else if let Some(code) = code {
        Err(JobError::Transient { code, why: format!("failed: {}", failed.join(" ")) })
    } else {
        serde_json::to_value(tally).map_err(JobError::internal)
    };
    Answer { result, tainted }
}

/// Makes what a video has not, or has from before; and whether a decoder crashed at it.
async fn due<S: Store>(
    workshop: &Workshop<S>,
    job: &Job,
    before_ms: u64,
    deadline: Instant,
) -> (Result<Done, JobError>, bool) {
    let standing = match standing(workshop, job).await {
        Ok(standing) => standing,
        Err(error) => return (Err(error), false),
    };
    if standing.as_ref().is_some_and(|over| stays(over, before_ms)) {
        return (Ok(Done::Already), false);
    }
    let report = Box::pin(workshop.run_over(job, standing.as_ref(), deadline)).await;
    log(job, &report);
    (report.result, report.tainted)
}

async fn standing<S: Store>(workshop: &Workshop<S>, job: &Job) -> Result<Option<Standing>, JobError> {
    match workshop.store.whole(&Key::Manifest(job.video), MAX_MANIFEST_BYTES).await {
        Ok((head, json)) => {
            let manifest: Manifest = serde_json::from_slice(&json).map_err(JobError::internal)?;
            Ok(Some(Standing { etag: head.etag, manifest }))
        }
        Err(StoreError::Gone) => Ok(None),
        Err(error) => Err(JobError::storage(error)),
    }
}

/// The batch, and before which moment in Unix milliseconds an outcome is old; 0 if none is.
fn read(batch: &Value) -> Result<(Batch, u64), JobError> {
    let wrong = |why: String| JobError::Transient { code: Code::BadParameter, why };
    let batch = Batch::deserialize(batch).map_err(|error| wrong(error.to_string()))?;
    let before = &batch.batch_input.before;
    if before.is_empty() {
        return Ok((batch, 0));
    }
    let moment: Timestamp =
        before.parse().map_err(|_| wrong(format!("{before} is no moment as 2026-11-24T12:00:00Z is")))?;
    let before_ms = u64::try_from(moment.as_millisecond()).unwrap_or(0);
    Ok((batch, before_ms))
}

fn job_of(item: &Item) -> Option<Job> {
    let Ok(Key::Source { owner, video }) = item.key.parse::<Key>() else { return None };
    Some(Job {
        key: Key::Source { owner: owner.clone(), video },
        owner,
        video,
        etag: format!("\"{}\"", item.etag.trim_matches('"')),
        bytes: item.size,
        received_ms: item.last_modified.saturating_mul(1000),
        message: None,
        receives: 1,
        sent_ms: 0,
    })
}
