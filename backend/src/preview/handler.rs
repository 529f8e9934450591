//! Handles an invocation of the `preview` Lambda: runs its jobs one after another, logs one line each, and returns the
//! failed messages to the queue.

use glimpse_contract::{Code, VideoId};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::error::JobError;
use crate::lambda::Invocation;
use crate::lambda::metrics::{self, MetricRecord, Subject, metric};
use crate::preview::event::{self, Job, SqsBatchResponse};
use crate::preview::service::{JobOutcome, JobReport, PreviewService, StepTimes};
use crate::store::Store;

/// Runs all jobs in `payload`. `deadline` must leave time to respond before Lambda's own deadline.
pub async fn handle<S: Store>(
    service: &PreviewService<S>,
    bucket: &str,
    payload: &Value,
    deadline: Instant,
) -> Invocation {
    let parsed = event::parse(payload, bucket);
    for reason in &parsed.ignored {
        info!(metric = "event_ignored", reason, "ignored");
    }
    let mut failed = Vec::new();
    let mut first_error = None;
    for (message, reason) in parsed.malformed {
        warn!(metric = "event_malformed", message, reason, "malformed");
        first_error.get_or_insert(JobError::Transient { code: Code::BadParameter, why: reason.to_owned() });
        failed.extend(message);
    }
    let mut must_restart = false;
    for job in &parsed.jobs {
        let report = if must_restart {
            // A crashed decoder may have left something in this environment: no other file may be processed in it.
            failed_report(JobError::internal("the environment is being replaced"))
        } else if Instant::now() >= deadline {
            failed_report(JobError::internal("the invocation ended before the work was done"))
        } else {
            service.run(job, deadline).await
        };
        log_report(job, &report);
        must_restart |= report.must_restart;
        if let Err(error) = report.result {
            failed.extend(job.message.clone());
            first_error.get_or_insert(error);
        }
    }
    let result = match first_error {
        Some(error) if !parsed.is_from_queue => Err(error),
        _ if parsed.is_from_queue => {
            serde_json::to_value(SqsBatchResponse::from_failures(failed)).map_err(JobError::internal)
        }
        _ => Ok(json!({})),
    };
    Invocation { result, must_restart }
}

fn failed_report(error: JobError) -> JobReport {
    JobReport {
        result: Err(error),
        must_restart: false,
        counts: crate::source::reader::IoStats::default(),
        steps: StepTimes::default(),
        queued_ms: None,
        trace_id: None,
    }
}

/// Writes the log line and the metrics of a job.
pub(crate) fn log_report(job: &Job, report: &JobReport) {
    let (state, code) = match &report.result {
        Ok(JobOutcome::Ready) => ("ready", None),
        Ok(JobOutcome::Rejected(code)) => ("rejected", Some(*code)),
        Ok(JobOutcome::AlreadyProcessed) => ("already", None),
        Ok(JobOutcome::Superseded) => ("superseded", Some(Code::Superseded)),
        Err(error) => ("failed_transient", Some(error.code())),
    };
    let StepTimes { check, index, fetch, decode, encode, publish } = report.steps;
    let is_known = job.received_ms > 0 && job.sent_ms > 0;
    let event_ms = is_known.then(|| job.sent_ms.saturating_sub(job.received_ms));
    let counts = report.counts;
    let why = report.result.as_ref().err().map(ToString::to_string);
    info!(
        metric = "job", video = %job.video, trace_id = report.trace_id.map(display), owner = %job.owner, state,
        code = code.map(Code::as_str), why,
        source_bytes = job.bytes, requests = counts.requests, read_bytes = counts.bytes,
        round_trips = counts.round_trips, waited_ms = counts.wait_time.as_millis() as u64, event_ms,
        queued_ms = report.queued_ms, check_ms = check, index_ms = index, look_ms = fetch + decode, fetch_ms = fetch,
        encode_ms = encode, publish_ms = publish,
        receives = job.receives, "job"
    );
    if let Some(record) = job_record(job.video, report) {
        metrics::emit(&record);
    }
    if report.must_restart {
        error!(metric = "decoder_crash", video = %job.video, "a decoder crashed: the environment is discarded");
    }
}

/// The record of a finished job; `None` if the job had nothing to do.
pub(crate) fn job_record(video: VideoId, report: &JobReport) -> Option<MetricRecord> {
    let (outcome, code) = match &report.result {
        Ok(JobOutcome::Ready) => ("ready", None),
        Ok(JobOutcome::Rejected(code)) => ("rejected", Some(*code)),
        Err(error) => ("failed", Some(error.code())),
        Ok(JobOutcome::AlreadyProcessed | JobOutcome::Superseded) => return None,
    };
    let counts = report.counts;
    let metrics = vec![
        metric("JobMs", "Milliseconds", report.steps.total()),
        metric("BytesRead", "Bytes", counts.bytes),
        metric("Requests", "Count", counts.requests),
        metric("RoundTrips", "Count", counts.round_trips),
    ];
    let mut fields = Subject { video, trace_id: report.trace_id }.fields();
    fields.push(("code", json!(code.map(Code::as_str))));
    Some(MetricRecord { function: "preview", outcome: Some(outcome), metrics, fields })
}
