//! Handles one state of the workflow: returns a document for the next state, or an error whose name the retry rules
//! match.

use glimpse_contract::{Code, VideoId};
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{error, info};

use crate::error::JobError;
use crate::lambda::Invocation;
use crate::lambda::metrics::{self, MetricRecord, Subject, metric};
use crate::preview::event::{self, Job};
use crate::preview::service::{JobOutcome, PreviewService};
use crate::source::reader::IoStats;
use crate::store::Store;
use crate::workflow::decode::StepReport;
use crate::workflow::publish::Publisher;
use crate::workflow::state::{ProbeResult, WorkflowState, WorkflowStep};

/// The function's part in the workflow.
#[derive(Debug)]
pub enum StepHandler<S> {
    /// A step that reads the video.
    Decode(WorkflowStep, PreviewService<S>),
    /// The step that commits the results.
    Publish(Publisher<S>),
}

/// Runs this function's step with `payload`. `deadline` must leave time to respond before Lambda's own deadline.
pub async fn handle<S: Store>(
    handler: &StepHandler<S>,
    bucket: &str,
    payload: &Value,
    deadline: Instant,
) -> Invocation {
    match handler {
        StepHandler::Decode(step, service) => {
            run_decode_step(*step, service, bucket, payload, deadline).await
        }
        StepHandler::Publish(publisher) => run_publish_step(publisher, bucket, payload).await,
    }
}

async fn run_decode_step<S: Store>(
    step: WorkflowStep,
    service: &PreviewService<S>,
    bucket: &str,
    payload: &Value,
    deadline: Instant,
) -> Invocation {
    let started = Instant::now();
    let WorkflowStep::Encode(kind) = step else {
        let job = match parse_single_job(payload, bucket) {
            Ok(Some(job)) => job,
            Ok(None) => return Invocation { result: to_json(&ProbeResult::Ignored), must_restart: false },
            Err(error) => return Invocation { result: Err(error), must_restart: false },
        };
        let report = Box::pin(service.probe(&job, deadline)).await;
        return finish_step(step, job.video, report, started);
    };
    match parse_input(payload).map(|handed| handed.found) {
        Ok(Some(ProbeResult::Look(task))) => {
            let report = Box::pin(service.make_outputs(kind, &task, deadline)).await;
            finish_step(step, task.draft.video, report, started)
        }
        Ok(_) => Invocation {
            result: Err(malformed_input("the input contains no video to process")),
            must_restart: false,
        },
        Err(error) => Invocation { result: Err(error), must_restart: false },
    }
}

async fn run_publish_step<S: Store>(publisher: &Publisher<S>, bucket: &str, payload: &Value) -> Invocation {
    let started = Instant::now();
    let mut line = StepLogLine::default();
    let result = match publish_or_record_failure(publisher, bucket, payload, &mut line).await {
        Ok((state, code)) => {
            line.state = Some(state.to_owned());
            line.code = code.map(|code| code.as_str().to_owned());
            Ok(json!({ "state": state, "code": line.code }))
        }
        Err(error) => {
            line.why = Some(error.to_string());
            Err(error)
        }
    };
    line.write(WorkflowStep::Publish, IoStats::default(), started);
    Invocation { result, must_restart: false }
}

/// Publishes the outcome, or records the failure. Returns the state and its code. `line` receives the data for the log,
/// also if this fails.
async fn publish_or_record_failure<S: Store>(
    publisher: &Publisher<S>,
    bucket: &str,
    payload: &Value,
    line: &mut StepLogLine,
) -> Result<(&'static str, Option<Code>), JobError> {
    let input = parse_input(payload)?;
    let draft = match &input.found {
        Some(ProbeResult::Look(task)) => Some(&task.draft),
        Some(ProbeResult::Refused { draft, .. }) => Some(&**draft),
        Some(ProbeResult::Already | ProbeResult::Superseded | ProbeResult::Ignored) | None => None,
    };
    line.subject = draft.map(|draft| {
        let (video, passthrough) = (draft.video, &draft.client_metadata);
        Subject { video, trace_id: Some(passthrough.trace_id_or_default(video)) }
    });
    if let Some(error) = &input.error {
        (line.why, line.cause) = (Some(error.error.clone()), Some(error.cause.clone()));
        let job = if input.found.is_none() { parse_single_job(payload, bucket)? } else { None };
        line.subject = line.subject.or(job.as_ref().map(|job| Subject { video: job.video, trace_id: None }));
        let is_recorded = publisher.record_failure(error, input.found, job.as_ref()).await?;
        return Ok((if is_recorded { "failed" } else { "already" }, Some(error.code())));
    }
    Ok(match publisher.publish(input).await? {
        JobOutcome::Ready => ("ready", None),
        JobOutcome::Rejected(code) => ("rejected", Some(code)),
        JobOutcome::AlreadyProcessed => ("already", None),
        JobOutcome::Superseded => ("superseded", None),
    })
}

fn parse_input(payload: &Value) -> Result<WorkflowState, JobError> {
    WorkflowState::deserialize(payload).map_err(|error| malformed_input(&error.to_string()))
}

/// The only upload in an event; `None` if the event is about something else.
fn parse_single_job(payload: &Value, bucket: &str) -> Result<Option<Job>, JobError> {
    let mut parsed = event::parse(payload, bucket);
    if let Some((_, why)) = parsed.malformed.first() {
        return Err(malformed_input(why));
    }
    for reason in &parsed.ignored {
        info!(metric = "event_ignored", reason, "ignored");
    }
    if parsed.jobs.len() > 1 {
        return Err(malformed_input("the event contains several uploads"));
    }
    Ok(parsed.jobs.pop())
}

/// Input that no state of the workflow sends. It is retried like any internal error, and then fails.
fn malformed_input(why: &str) -> JobError {
    JobError::Transient { code: Code::BadParameter, why: why.to_owned() }
}

fn to_json<T: Serialize>(document: &T) -> Result<Value, JobError> {
    serde_json::to_value(document).map_err(JobError::internal)
}

/// The log line of one step.
#[derive(Debug, Default)]
struct StepLogLine {
    subject: Option<Subject>,
    /// The state in the output; `None` if the step is to be retried.
    state: Option<String>,
    code: Option<String>,
    why: Option<String>,
    cause: Option<String>,
}

impl StepLogLine {
    /// Writes the log line and the metrics of a step.
    fn write(&self, step: WorkflowStep, counts: IoStats, started: Instant) {
        let Self { subject, state, code, why, cause } = self;
        let IoStats { requests, bytes: read_bytes, round_trips, .. } = counts;
        info!(
            metric = "step",
            step = step.as_str(),
            video = subject.map(|of| display(of.video)),
            trace_id = subject.and_then(|of| of.trace_id).map(display),
            state = state.as_deref().unwrap_or("failed_transient"),
            code,
            why,
            cause,
            requests,
            read_bytes,
            round_trips,
            "step"
        );
        let ms = started.elapsed().as_millis() as u64;
        if let Some(record) = step_record(step, *subject, state.as_deref(), ms, counts) {
            metrics::emit(&record);
        }
    }
}

fn finish_step<T: Serialize>(
    step: WorkflowStep,
    video: VideoId,
    report: StepReport<T>,
    started: Instant,
) -> Invocation {
    let StepReport { result, must_restart: tainted, counts, trace_id } = report;
    let why = result.as_ref().err().map(ToString::to_string);
    let result = result.and_then(|document| to_json(&document));
    let word =
        |name: &str| result.as_ref().ok().and_then(|document| document[name].as_str()).map(str::to_owned);
    let subject = Some(Subject { video, trace_id });
    StepLogLine { subject, state: word("state"), code: word("code"), why, cause: None }
        .write(step, counts, started);
    if tainted {
        error!(metric = "decoder_crash", %video, "a decoder crashed: the environment is discarded");
    }
    Invocation { result, must_restart: tainted }
}

/// The record of a finished workflow step; `None` if the step had nothing to do. `state` is the state in the step's
/// output, if it has any.
pub(crate) fn step_record(
    step: WorkflowStep,
    subject: Option<Subject>,
    state: Option<&str>,
    ms: u64,
    counts: IoStats,
) -> Option<MetricRecord> {
    let outcome = match state {
        Some("look" | "made" | "ready") => "done",
        Some("refused" | "rejected") => "rejected",
        Some("already" | "superseded" | "ignored") => return None,
        _ => "failed",
    };
    let mut metrics = vec![metric("StepMs", "Milliseconds", ms)];
    if step != WorkflowStep::Publish {
        metrics.extend([
            metric("BytesRead", "Bytes", counts.bytes),
            metric("Requests", "Count", counts.requests),
        ]);
    }
    let fields = subject.map(Subject::fields).unwrap_or_default();
    Some(MetricRecord { function: step.as_str(), outcome: Some(outcome), metrics, fields })
}
