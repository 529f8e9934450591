//! Decides how a state of the workflow is answered: a document for the next one, or an error that it retries by its name.

use glimpse_contract::Code;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{error, info};

use super::commit::Publisher;
use super::look::Ended;
use super::{Found, Handed, Step};
use crate::error::JobError;
use crate::event::{self, Job};
use crate::invoke::Answer;
use crate::job::{Done, Workshop};
use crate::source::Counts;
use crate::store::Store;

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
        Station::Commit(publisher) => {
            let result = commit(publisher, bucket, payload).await;
            if let Err(error) = &result {
                info!(metric = "step", step = Step::Publish.as_str(), state = "failed_transient", why = %error, "step");
            }
            Answer { result, tainted: false }
        }
    }
}

async fn look<S: Store>(
    step: Step,
    workshop: &Workshop<S>,
    bucket: &str,
    payload: &Value,
    deadline: Instant,
) -> Answer {
    let Step::Picture(kind) = step else {
        let job = match the_job(payload, bucket) {
            Ok(Some(job)) => job,
            Ok(None) => return Answer { result: told(&Found::Ignored), tainted: false },
            Err(error) => return Answer { result: Err(error), tainted: false },
        };
        let ended = Box::pin(workshop.probe(&job, deadline)).await;
        return logged(step, &job.video.to_string(), ended);
    };
    match handed(payload).map(|handed| handed.found) {
        Ok(Some(Found::Look(task))) => {
            let ended = Box::pin(workshop.picture(kind, &task, deadline)).await;
            logged(step, &task.draft.video.to_string(), ended)
        }
        Ok(_) => Answer { result: Err(malformed("there is nothing to make pictures of")), tainted: false },
        Err(error) => Answer { result: Err(error), tainted: false },
    }
}

async fn commit<S: Store>(
    publisher: &Publisher<S>,
    bucket: &str,
    payload: &Value,
) -> Result<Value, JobError> {
    let handed = handed(payload)?;
    if let Some(fault) = &handed.error {
        let job = if handed.found.is_none() { the_job(payload, bucket)? } else { None };
        let written = publisher.give_up(fault, handed.found, job.as_ref()).await?;
        let state = if written { "failed" } else { "already" };
        info!(
            metric = "step",
            step = Step::Publish.as_str(),
            state,
            why = fault.error,
            cause = fault.cause,
            "step"
        );
        return Ok(json!({ "state": state, "code": fault.code().as_str() }));
    }
    let video = match &handed.found {
        Some(Found::Look(task)) => task.draft.video.to_string(),
        Some(Found::Refused { draft, .. }) => draft.video.to_string(),
        _ => String::new(),
    };
    let (state, code) = match publisher.publish(handed).await? {
        Done::Ready => ("ready", None),
        Done::Rejected(code) => ("rejected", Some(code)),
        Done::Already => ("already", None),
        Done::Superseded => ("superseded", None),
    };
    let code = code.map(Code::as_str);
    info!(metric = "step", step = Step::Publish.as_str(), video, state, code, "step");
    Ok(json!({ "state": state, "code": code }))
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

/// Writes the one line of a step.
fn logged<T: Serialize>(step: Step, video: &str, ended: Ended<T>) -> Answer {
    let Ended { result, tainted, counts: Counts { requests, bytes, round_trips, .. } } = ended;
    let why = result.as_ref().err().map(ToString::to_string);
    let result = result.and_then(|document| told(&document));
    let state = result.as_ref().ok().and_then(|document| document["state"].as_str());
    let code = result.as_ref().ok().and_then(|document| document["code"].as_str());
    info!(
        metric = "step",
        step = step.as_str(),
        video,
        state = state.unwrap_or("failed_transient"),
        code,
        why,
        requests,
        read_bytes = bytes,
        round_trips,
        "step"
    );
    if tainted {
        error!(metric = "decoder_crash", video, "a decoder crashed: this environment ends");
    }
    Answer { result, tainted }
}
