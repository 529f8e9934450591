//! Decides how an invocation is answered: its jobs one after another, a line of log each, and what fails goes back.

use glimpse_contract::Code;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::error::JobError;
use crate::lambda::metrics;
use crate::preview::event::{self, BatchResponse, Job};
use crate::preview::service::{Done, Report, Workshop};
use crate::store::Store;
use crate::workflow::backfill;

/// How an invocation is answered.
#[derive(Debug)]
pub struct Answer {
    /// The response, or why a direct invocation is to be tried again.
    pub result: Result<Value, JobError>,
    /// Whether a decoder crashed: the process must end once the answer is given (THREATS F12).
    pub tainted: bool,
}

/// Does everything that `payload` asks for. `deadline` leaves time to answer before Lambda's own.
pub async fn invoke<S: Store>(
    workshop: &Workshop<S>,
    bucket: &str,
    payload: &Value,
    deadline: Instant,
) -> Answer {
    if let Some(batch) = payload.get("backfill") {
        if payload.get("give_up") == Some(&Value::Bool(true)) {
            return backfill::give_up(workshop, batch).await;
        }
        return Box::pin(backfill::answer(workshop, batch, deadline)).await;
    }
    let intake = event::read(payload, bucket);
    for reason in &intake.ignored {
        info!(metric = "event_ignored", reason, "ignored");
    }
    let mut failed = Vec::new();
    let mut first_error = None;
    for (message, reason) in intake.malformed {
        warn!(metric = "event_malformed", message, reason, "malformed");
        first_error.get_or_insert(JobError::Transient { code: Code::BadParameter, why: reason.to_owned() });
        failed.extend(message);
    }
    let mut tainted = false;
    for job in &intake.jobs {
        let report = if tainted {
            // Whatever a crashed decoder left in this sandbox, no other file meets it.
            failed_report(JobError::internal("the environment is being replaced"))
        } else if Instant::now() >= deadline {
            failed_report(JobError::internal("no time left in this invocation"))
        } else {
            workshop.run(job, deadline).await
        };
        log(job, &report);
        tainted |= report.tainted;
        if let Err(error) = report.result {
            failed.extend(job.message.clone());
            first_error.get_or_insert(error);
        }
    }
    let result = match first_error {
        Some(error) if !intake.queued => Err(error),
        _ if intake.queued => serde_json::to_value(BatchResponse::of(failed)).map_err(JobError::internal),
        _ => Ok(json!({})),
    };
    Answer { result, tainted }
}

fn failed_report(error: JobError) -> Report {
    Report {
        result: Err(error),
        tainted: false,
        counts: crate::source::reader::Counts::default(),
        steps_ms: [0; 4],
        trace_id: None,
    }
}

/// The one line of a job, and its metrics.
pub(crate) fn log(job: &Job, report: &Report) {
    let (state, code) = match &report.result {
        Ok(Done::Ready) => ("ready", None),
        Ok(Done::Rejected(code)) => ("rejected", Some(*code)),
        Ok(Done::Already) => ("already", None),
        Ok(Done::Superseded) => ("superseded", Some(Code::Superseded)),
        Err(error) => ("failed_transient", Some(error.code())),
    };
    let [index_ms, look_ms, encode_ms, publish_ms] = report.steps_ms;
    let counts = report.counts;
    let why = report.result.as_ref().err().map(ToString::to_string);
    info!(
        metric = "job", video = %job.video, trace_id = report.trace_id.map(display), owner = %job.owner, state,
        code = code.map(Code::as_str), why,
        source_bytes = job.bytes, requests = counts.requests, read_bytes = counts.bytes,
        round_trips = counts.round_trips, waited_ms = counts.waited.as_millis() as u64, index_ms, look_ms,
        encode_ms, publish_ms,
        receives = job.receives, "job"
    );
    if let Some(record) = metrics::of_job(job.video, report) {
        metrics::emit(&record);
    }
    if report.tainted {
        error!(metric = "decoder_crash", video = %job.video, "a decoder crashed: this environment ends");
    }
}
