//! Decides how a state of the workflow is answered: a document for the next one, or an error that it retries by its name.

use glimpse_contract::{Code, VideoId};
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{error, info};

use crate::error::JobError;
use crate::lambda::metrics::{self, Subject};
use crate::preview::event::{self, Job};
use crate::preview::handler::Answer;
use crate::preview::service::{Done, Workshop};
use crate::source::reader::Counts;
use crate::store::Store;
use crate::workflow::decode::Ended;
use crate::workflow::publish::Publisher;
use crate::workflow::state::{Found, Handed, Step};

/// What one function of the workflow is.
#[derive(Debug)]
pub enum Station<S> {
    /// It opens videos.
    Look(Step, Workshop<S>),
    /// It commits what came of it.
    Commit(Publisher<S>),
}

/// Does this function's step of what `payload` asks for. `deadline` leaves time to answer before Lambda's own.
pub async fn answer<S: Store>(
    station: &Station<S>,
    bucket: &str,
    payload: &Value,
    deadline: Instant,
) -> Answer {
    match station {
        Station::Look(step, workshop) => look(*step, workshop, bucket, payload, deadline).await,
        Station::Commit(publisher) => commit(publisher, bucket, payload).await,
    }
}

async fn look<S: Store>(
    step: Step,
    workshop: &Workshop<S>,
    bucket: &str,
    payload: &Value,
    deadline: Instant,
) -> Answer {
    let started = Instant::now();
    let Step::Picture(kind) = step else {
        let job = match the_job(payload, bucket) {
            Ok(Some(job)) => job,
            Ok(None) => return Answer { result: told(&Found::Ignored), tainted: false },
            Err(error) => return Answer { result: Err(error), tainted: false },
        };
        let ended = Box::pin(workshop.probe(&job, deadline)).await;
        return logged(step, job.video, ended, started);
    };
    match handed(payload).map(|handed| handed.found) {
        Ok(Some(Found::Look(task))) => {
            let ended = Box::pin(workshop.picture(kind, &task, deadline)).await;
            logged(step, task.draft.video, ended, started)
        }
        Ok(_) => Answer { result: Err(malformed("there is nothing to make pictures of")), tainted: false },
        Err(error) => Answer { result: Err(error), tainted: false },
    }
}

async fn commit<S: Store>(publisher: &Publisher<S>, bucket: &str, payload: &Value) -> Answer {
    let started = Instant::now();
    let mut line = Line::default();
    let result = match commit_to(publisher, bucket, payload, &mut line).await {
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
    line.write(Step::Publish, Counts::default(), started);
    Answer { result, tainted: false }
}

/// What became of the video, and why. `line` becomes what is known of it, however it ends.
async fn commit_to<S: Store>(
    publisher: &Publisher<S>,
    bucket: &str,
    payload: &Value,
    line: &mut Line,
) -> Result<(&'static str, Option<Code>), JobError> {
    let handed = handed(payload)?;
    let draft = match &handed.found {
        Some(Found::Look(task)) => Some(&task.draft),
        Some(Found::Refused { draft, .. }) => Some(&**draft),
        _ => None,
    };
    line.of = draft.map(|draft| {
        let (video, passthrough) = (draft.video, &draft.passthrough);
        Subject { video, trace_id: Some(passthrough.trace(video)) }
    });
    if let Some(fault) = &handed.error {
        (line.why, line.cause) = (Some(fault.error.clone()), Some(fault.cause.clone()));
        let job = if handed.found.is_none() { the_job(payload, bucket)? } else { None };
        line.of = line.of.or(job.as_ref().map(|job| Subject { video: job.video, trace_id: None }));
        let written = publisher.give_up(fault, handed.found, job.as_ref()).await?;
        return Ok((if written { "failed" } else { "already" }, Some(fault.code())));
    }
    Ok(match publisher.publish(handed).await? {
        Done::Ready => ("ready", None),
        Done::Rejected(code) => ("rejected", Some(code)),
        Done::Already => ("already", None),
        Done::Superseded => ("superseded", None),
    })
}

fn handed(payload: &Value) -> Result<Handed, JobError> {
    Handed::deserialize(payload).map_err(|error| malformed(&error.to_string()))
}

/// The one upload that an event tells of; none if it is about something else.
fn the_job(payload: &Value, bucket: &str) -> Result<Option<Job>, JobError> {
    let mut intake = event::read(payload, bucket);
    if let Some((_, why)) = intake.malformed.first() {
        return Err(malformed(why));
    }
    for reason in &intake.ignored {
        info!(metric = "event_ignored", reason, "ignored");
    }
    if intake.jobs.len() > 1 {
        return Err(malformed("several uploads in one event"));
    }
    Ok(intake.jobs.pop())
}

/// What no state of the workflow hands over. It is tried again like any fault, and given up.
fn malformed(why: &str) -> JobError {
    JobError::Transient { code: Code::BadParameter, why: why.to_owned() }
}

fn told<T: Serialize>(document: &T) -> Result<Value, JobError> {
    serde_json::to_value(document).map_err(JobError::internal)
}

/// What is told of one step.
#[derive(Debug, Default)]
struct Line {
    of: Option<Subject>,
    /// What is handed on; `None` if the step is to be tried again.
    state: Option<String>,
    code: Option<String>,
    why: Option<String>,
    cause: Option<String>,
}

impl Line {
    /// Writes the one line of a step, and its metrics.
    fn write(&self, step: Step, counts: Counts, started: Instant) {
        let Self { of, state, code, why, cause } = self;
        let Counts { requests, bytes: read_bytes, round_trips, .. } = counts;
        info!(
            metric = "step",
            step = step.as_str(),
            video = of.map(|of| display(of.video)),
            trace_id = of.and_then(|of| of.trace_id).map(display),
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
        if let Some(record) = metrics::of_step(step, *of, state.as_deref(), ms, counts) {
            metrics::emit(&record);
        }
    }
}

fn logged<T: Serialize>(step: Step, video: VideoId, ended: Ended<T>, started: Instant) -> Answer {
    let Ended { result, tainted, counts, trace_id } = ended;
    let why = result.as_ref().err().map(ToString::to_string);
    let result = result.and_then(|document| told(&document));
    let word =
        |name: &str| result.as_ref().ok().and_then(|document| document[name].as_str()).map(str::to_owned);
    let of = Some(Subject { video, trace_id });
    Line { of, state: word("state"), code: word("code"), why, cause: None }.write(step, counts, started);
    if tainted {
        error!(metric = "decoder_crash", %video, "a decoder crashed: this environment ends");
    }
    Answer { result, tainted }
}
