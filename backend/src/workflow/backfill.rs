//! Processes a batch of existing videos: generates missing outcomes, and replaces outdated ones. A batch is retried as
//! a whole, and skips the videos that it has processed.
//!
//! A batch contains objects that a distributed map lists,
//! <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>.

use std::time::Duration;

use glimpse_contract::{Code, Key, Manifest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tracing::info;

use crate::error::JobError;
use crate::lambda::Invocation;
use crate::preview::event::Job;
use crate::preview::handler::log_report;
use crate::preview::publish::ExistingManifest;
use crate::preview::service::{JobOutcome, PreviewService};
use crate::store::{Store, StoreError};

/// No further video is started with less time left: most take a few seconds.
const MIN_TIME_LEFT: Duration = Duration::from_mins(1);
/// The maximum size of a manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// A batch of objects in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BackfillBatch {
    items: Vec<BatchItem>,
    #[serde(default)]
    batch_input: BatchOptions,
}

/// The options of all objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchOptions {
    /// Outcomes from before this time are replaced, RFC 3339; empty: none.
    #[serde(default)]
    before: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchItem {
    key: String,
    #[serde(alias = "ETag")]
    etag: String,
    #[serde(default)]
    size: u64,
    /// In Unix seconds.
    #[serde(default)]
    last_modified: u64,
}

/// The result of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct BatchSummary {
    /// Videos whose outputs were published.
    made: u32,
    /// Videos that were rejected.
    refused: u32,
    /// Videos whose existing outcome was kept.
    kept: u32,
    /// Objects that are not sources.
    ignored: u32,
}

/// The batch in an invocation of the `preview` Lambda; `None` if the payload is an event.
pub fn find_batch(payload: &Value) -> Option<&Value> {
    payload.get("backfill")
}

/// Processes the batch of this payload, or records its failures if the state machine gives it up.
pub async fn handle<S: Store>(service: &PreviewService<S>, payload: &Value, deadline: Instant) -> Invocation {
    let batch = find_batch(payload).unwrap_or(&Value::Null);
    if payload.get("give_up") == Some(&Value::Bool(true)) {
        return record_failures(service, batch).await;
    }
    process(service, batch, deadline).await
}

/// Records all videos of a batch that have no outcome as failed. Called for the videos that still failed when each was
/// retried alone.
async fn record_failures<S: Store>(service: &PreviewService<S>, batch: &Value) -> Invocation {
    let result = match parse(batch) {
        Ok((batch, before_ms)) => record_unprocessed(service, &batch, before_ms).await,
        Err(error) => Err(error),
    };
    Invocation { result, must_restart: false }
}

async fn record_unprocessed<S: Store>(
    service: &PreviewService<S>,
    batch: &BackfillBatch,
    before_ms: u64,
) -> Result<Value, JobError> {
    let (mut summary, mut failed) = (BatchSummary::default(), Vec::new());
    for item in &batch.items {
        let Some(job) = job_from_item(item) else {
            summary.ignored += 1;
            continue;
        };
        match load_existing(service, &job).await? {
            Some(existing) if is_up_to_date(&existing, before_ms) => {
                summary.kept += 1;
                continue;
            }
            // The older outcome is better than none.
            Some(_) => {}
            None => service.record_failure(&job, Code::Internal).await?,
        }
        failed.push(job.video.to_string());
    }
    info!(
        metric = "backfill_given_up",
        kept = summary.kept,
        ignored = summary.ignored,
        failed = failed.len(),
        "backfill"
    );
    if failed.is_empty() {
        return serde_json::to_value(summary).map_err(JobError::internal);
    }
    Err(JobError::internal(format!("failed: {}", failed.join(" "))))
}

/// Whether to keep the existing outcome.
fn is_up_to_date(existing: &ExistingManifest, before_ms: u64) -> bool {
    existing.manifest.is_deleted() || existing.manifest.timings.committed >= before_ms
}

/// Processes a batch until `deadline`.
async fn process<S: Store>(service: &PreviewService<S>, batch: &Value, deadline: Instant) -> Invocation {
    let (batch, before_ms) = match parse(batch) {
        Ok(read) => read,
        Err(error) => return Invocation { result: Err(error), must_restart: false },
    };
    let (mut summary, mut must_restart) = (BatchSummary::default(), false);
    let (mut failed, mut code, mut left) = (Vec::new(), None, 0);
    for (index, item) in batch.items.iter().enumerate() {
        // A crashed decoder may have left something in this environment: no other file may be processed in it.
        if must_restart || (index > 0 && Instant::now() + MIN_TIME_LEFT > deadline) {
            left += 1;
            continue;
        }
        let Some(job) = job_from_item(item) else {
            summary.ignored += 1;
            continue;
        };
        let (outcome, crashed) = process_if_outdated(service, &job, before_ms, deadline).await;
        must_restart = crashed;
        match outcome {
            Ok(JobOutcome::Ready) => summary.made += 1,
            Ok(JobOutcome::Rejected(_)) => summary.refused += 1,
            Ok(JobOutcome::AlreadyProcessed | JobOutcome::Superseded) => summary.kept += 1,
            Err(error) => {
                code.get_or_insert(error.code());
                failed.push(job.video.to_string());
            }
        }
    }
    let BatchSummary { made, refused, kept, ignored } = summary;
    info!(metric = "backfill", made, refused, kept, ignored, failed = failed.len(), left, "backfill");
    let result = if left > 0 {
        // The state machine matches this error by name, and retries immediately.
        let why = format!("{left} of {} remain", batch.items.len());
        Err(JobError::Transient { code: Code::TimedOut, why })
    } else if let Some(code) = code {
        Err(JobError::Transient { code, why: format!("failed: {}", failed.join(" ")) })
    } else {
        serde_json::to_value(summary).map_err(JobError::internal)
    };
    Invocation { result, must_restart }
}

/// Generates a missing or outdated outcome. Also returns whether a decoder crashed.
async fn process_if_outdated<S: Store>(
    service: &PreviewService<S>,
    job: &Job,
    before_ms: u64,
    deadline: Instant,
) -> (Result<JobOutcome, JobError>, bool) {
    let existing = match load_existing(service, job).await {
        Ok(existing) => existing,
        Err(error) => return (Err(error), false),
    };
    if existing.as_ref().is_some_and(|existing| is_up_to_date(existing, before_ms)) {
        return (Ok(JobOutcome::AlreadyProcessed), false);
    }
    let report = Box::pin(service.run_replacing(job, existing.as_ref(), deadline)).await;
    log_report(job, &report);
    (report.result, report.must_restart)
}

async fn load_existing<S: Store>(
    service: &PreviewService<S>,
    job: &Job,
) -> Result<Option<ExistingManifest>, JobError> {
    match service.store.get(&Key::Manifest(job.video), MAX_MANIFEST_BYTES).await {
        Ok((head, json)) => {
            let manifest: Manifest = serde_json::from_slice(&json).map_err(JobError::internal)?;
            Ok(Some(ExistingManifest { etag: head.etag, manifest }))
        }
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(JobError::storage(error)),
    }
}

/// The batch, and the time in Unix milliseconds before which outcomes are outdated; 0 if none are.
fn parse(batch: &Value) -> Result<(BackfillBatch, u64), JobError> {
    let bad_parameter = |why: String| JobError::Transient { code: Code::BadParameter, why };
    let batch = BackfillBatch::deserialize(batch).map_err(|error| bad_parameter(error.to_string()))?;
    let before = &batch.batch_input.before;
    if before.is_empty() {
        return Ok((batch, 0));
    }
    let timestamp: Timestamp = before
        .parse()
        .map_err(|_| bad_parameter(format!("{before} is not a time like 2026-11-24T12:00:00Z")))?;
    let before_ms = u64::try_from(timestamp.as_millisecond()).unwrap_or(0);
    Ok((batch, before_ms))
}

fn job_from_item(item: &BatchItem) -> Option<Job> {
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
