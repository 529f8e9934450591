//! Decides how an invocation of the notify Lambda is answered: an outcome becomes a notice for each endpoint, a notice
//! is posted, and what fails stays in the queue, hidden for longer each time.
//!
//! Whoever takes a webhook with a status of 2xx has been told. Everything else is tried again: a refusal may be an
//! outage, a redirect a mistake in the configuration, a private address a mistake in a name. After a day the queue makes
//! it a dead letter.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use glimpse_contract::{Attempt, Key, TRACEPARENT, VideoId};
use http::HeaderValue;
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::aws::CallError;
use crate::aws::sns::Topic;
use crate::aws::sqs::Queue;
use crate::error::JobError;
use crate::lambda::metrics::{self, Told};
use crate::notify::backoff::{MAX_TRIES, pause_secs, retry_after_secs};
use crate::notify::email::Words;
use crate::notify::endpoint::Endpoint;
use crate::notify::event::{News, Notice};
use crate::notify::http::client::{Letter, PostError, Poster, Reach};
use crate::notify::message::{self, Intake, Outcome};
use crate::notify::signature::{self, SIGNATURE_HEADER, Signed};
use crate::preview::attempt;
use crate::preview::event::BatchResponse;
use crate::store::{Head, Store, StoreError};

/// How long a receiver may take, connection and answer together: as Standard Webhooks recommends.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// The longest manifest that is read, in bytes.
const MAX_OUTCOME_BYTES: u64 = 1024 * 1024;
/// The name under which a notice for the topic travels. No endpoint has it: it is not spelled like one's.
const TOPIC: &str = "SNS";
/// What the other side sees of us.
const USER_AGENT: &str = concat!("Glimpse-Webhooks/", env!("CARGO_PKG_VERSION"));

/// What the notify Lambda needs beside its event.
#[derive(Debug)]
pub struct Mailroom<S> {
    /// The bucket, where outcomes are read.
    pub store: Arc<S>,
    /// Its name.
    pub bucket: String,
    /// The origin of the URLs that are handed out.
    pub public_url: String,
    /// Its own queue.
    pub queue: Arc<dyn Queue>,
    /// Who is told.
    pub endpoints: Vec<Endpoint>,
    /// The topic that is told too.
    pub topic: Option<Topic>,
    /// The connections.
    pub poster: Poster,
    /// Where webhooks may go.
    pub reach: Reach,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
    /// Fresh random bits.
    pub random: fn() -> [u8; 16],
}

/// A message of the queue, as Lambda hands it over.
struct Message<'a> {
    id: &'a str,
    receipt: &'a str,
    body: &'a str,
    receives: u32,
}

/// Why somebody has not been told.
#[derive(Debug, Error)]
enum Untold {
    #[error("the message is none of ours")]
    Malformed,
    #[error("the invocation's time ended")]
    Late,
    #[error("the last attempt may still be running")]
    Early { secs: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the outcome cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Post(#[from] PostError),
    #[error("the answer was {status}")]
    Refused { status: u16, retry_after_secs: Option<u64> },
}

impl<S: Store> Mailroom<S> {
    /// Does what a batch of the queue asks for, and names the messages that are to come again.
    ///
    /// # Errors
    /// The event is not one of a queue.
    pub async fn answer(&self, payload: &Value, deadline: Instant) -> Result<Value, JobError> {
        let records = payload.get("Records").and_then(Value::as_array);
        let records = records.ok_or_else(|| JobError::internal("not an event of a queue"))?;
        let messages: Option<Vec<_>> = records.iter().map(Message::of).collect();
        let messages =
            messages.ok_or_else(|| JobError::internal("a record that is no message of a queue"))?;
        let failed = join_all(messages.iter().map(|message| self.settle(message, deadline))).await;
        let failed = failed.into_iter().flatten().map(str::to_owned);
        serde_json::to_value(BatchResponse::of(failed)).map_err(JobError::internal)
    }

    /// Does what one message asks for. Its id, if that failed or is too early: then it is hidden until its next try.
    async fn settle<'a>(&self, message: &Message<'a>, deadline: Instant) -> Option<&'a str> {
        let done = timeout_at(deadline, self.handle(message)).await.unwrap_or(Err(Untold::Late));
        let Err(why) = done else { return None };
        if let Untold::Early { secs } = why {
            info!(metric = "outcome_pending", message = message.id, secs, "a failure counts later");
            if let Err(error) = self.queue.hide(message.receipt, secs).await {
                // It comes back after the queue's own time instead, and is judged again then.
                warn!(message = message.id, %error, "its next delivery is not at the right time");
            }
            return Some(message.id);
        }
        let retry_after = match &why {
            Untold::Refused { retry_after_secs, .. } => *retry_after_secs,
            _ => None,
        };
        let pause = pause_secs(message.receives, retry_after, (self.random)()[0]);
        if message.receives >= MAX_TRIES {
            error!(metric = "webhook_dead", message = message.id, receives = message.receives, %why, "given up");
            metrics::emit(&metrics::of_notice(Told::GivenUp));
        } else {
            warn!(metric = "webhook_failed", message = message.id, receives = message.receives, pause, %why, "failed");
            metrics::emit(&metrics::of_notice(Told::Retried));
            if let Err(error) = self.queue.hide(message.receipt, pause).await {
                // It comes back after the queue's own time instead.
                warn!(message = message.id, %error, "its next try is sooner than it should be");
            }
        }
        Some(message.id)
    }

    async fn handle(&self, message: &Message<'_>) -> Result<(), Untold> {
        match message::read(message.body, &self.bucket).ok_or(Untold::Malformed)? {
            Intake::Written(outcomes) => {
                for outcome in outcomes {
                    self.spread(outcome).await?;
                }
                Ok(())
            }
            Intake::Notice(notice) => self.tell(&notice, message.receives).await,
        }
    }

    /// Leaves a notice for everybody: from then on each is told by itself, and always the same.
    async fn spread(&self, outcome: Outcome) -> Result<(), Untold> {
        let Some(news) = self.news(&outcome).await? else {
            info!(metric = "outcome_gone", ?outcome, "there is nothing to tell any more");
            return Ok(());
        };
        let names = self.endpoints.iter().map(|endpoint| endpoint.name.as_str());
        let names = names.chain(self.topic.as_ref().map(|_| TOPIC));
        let notices: Vec<_> = names.map(|name| news.to(name).to_message()).collect();
        info!(metric = "outcome", video = %news.video, trace_id = %news.trace_id, kind = news.kind.as_str(), notices = notices.len(), "spread");
        let sent = join_all(notices.iter().map(|notice| self.queue.send(notice))).await;
        Ok(sent.into_iter().collect::<Result<(), _>>()?)
    }

    /// What an outcome tells; nothing if it is gone, or another one has taken its place.
    async fn news(&self, outcome: &Outcome) -> Result<Option<News>, Untold> {
        match outcome {
            Outcome::Manifest(video) => {
                let Some((_, json)) = self.document(&Key::Manifest(*video)).await? else { return Ok(None) };
                Ok(Some(News::of_manifest(&serde_json::from_slice(&json)?, &self.public_url)))
            }
            Outcome::Failure { video, etag } => {
                let Some((head, json)) = self.document(&Key::Failure(*video)).await? else { return Ok(None) };
                if let Some(attempt) = attempt::of_note(&json)
                    && !self.counts(*video, &attempt, etag.as_deref(), &head).await?
                {
                    return Ok(None);
                }
                Ok(Some(News::of_failure(&serde_json::from_slice(&json)?, &self.public_url)))
            }
        }
    }

    /// Whether the failure of an attempt counts: a function that is killed leaves a note that it wrote before it began.
    async fn counts(
        &self,
        video: VideoId,
        attempt: &Attempt,
        etag: Option<&str>,
        head: &Head,
    ) -> Result<bool, Untold> {
        // The note that has replaced the one of this event has an event of its own.
        if etag.is_some_and(|etag| etag != head.etag.trim_matches('"')) {
            return Ok(false);
        }
        if attempt.ends_at == 0 {
            return Ok(true);
        }
        // So has the manifest.
        match self.store.head(&Key::Manifest(video)).await {
            Ok(_) => return Ok(false),
            Err(StoreError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
        let left_ms = attempt.ends_at.saturating_sub((self.now_ms)());
        if left_ms > 0 {
            return Err(Untold::Early { secs: left_ms.div_ceil(1000) });
        }
        Ok(true)
    }

    async fn document(&self, key: &Key) -> Result<Option<(Head, Bytes)>, StoreError> {
        match self.store.whole(key, MAX_OUTCOME_BYTES).await {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::Gone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn tell(&self, notice: &Notice, receives: u32) -> Result<(), Untold> {
        let topic = self.topic.as_ref().filter(|_| notice.to == TOPIC);
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.name == notice.to);
        match (topic, endpoint) {
            (Some(topic), _) => {
                topic.publish(Words::of(notice).as_mail()).await?;
                info!(metric = "topic_told", video = %notice.video, trace_id = notice.trace_id.map(display),
                    kind = notice.kind.as_str(), "published");
                metrics::emit(&metrics::of_notice(Told::Delivered));
                Ok(())
            }
            (None, Some(endpoint)) => self.post(notice, endpoint, receives).await,
            (None, None) => {
                warn!(metric = "endpoint_gone", to = notice.to, video = %notice.video, "nobody has this name any more");
                Ok(())
            }
        }
    }

    async fn post(&self, notice: &Notice, endpoint: &Endpoint, receives: u32) -> Result<(), Untold> {
        let id = notice.id();
        let now_secs = (self.now_ms)() / 1000;
        let signed = signature::sign(&id, now_secs, notice.body.as_bytes(), &endpoint.secrets);
        let body = Bytes::copy_from_slice(notice.body.as_bytes());
        let letter = Letter { url: &endpoint.url, headers: headers(&signed, &notice.traceparent()), body };
        let started = Instant::now();
        let answer = self.poster.post(letter, self.reach, ANSWER_LIMIT).await;
        let ms = started.elapsed().as_millis() as u64;
        let status = answer.as_ref().map(|answer| answer.status).ok();
        info!(
            metric = "webhook", id, endpoint = endpoint.name, video = %notice.video,
            trace_id = notice.trace_id.map(display), kind = notice.kind.as_str(),
            receives, status, ms, "posted"
        );
        let answer = answer?;
        if (200..300).contains(&answer.status) {
            metrics::emit(&metrics::of_notice(Told::Delivered));
            return Ok(());
        }
        let now_secs = (self.now_ms)() / 1000;
        let retry_after_secs = answer.retry_after.and_then(|text| retry_after_secs(&text, now_secs));
        Err(Untold::Refused { status: answer.status, retry_after_secs })
    }
}

impl<'a> Message<'a> {
    fn of(record: &'a Value) -> Option<Self> {
        let text = |path: &str| record.pointer(path).and_then(Value::as_str);
        let receives = text("/attributes/ApproximateReceiveCount").and_then(|count| count.parse().ok());
        Some(Self {
            id: text("/messageId")?,
            receipt: text("/receiptHandle")?,
            body: text("/body")?,
            receives: receives.unwrap_or(1),
        })
    }
}

fn headers(signed: &Signed, traceparent: &str) -> Vec<(&'static str, HeaderValue)> {
    let text =
        |text: &str| HeaderValue::from_str(text).expect("ids, numbers, base64 and hexadecimal are ASCII");
    vec![
        ("content-type", HeaderValue::from_static("application/json")),
        ("user-agent", HeaderValue::from_static(USER_AGENT)),
        ("webhook-id", text(&signed.id)),
        ("webhook-timestamp", text(&signed.timestamp)),
        ("webhook-signature", text(&signed.standard)),
        (SIGNATURE_HEADER, text(&signed.plain)),
        (TRACEPARENT, text(traceparent)),
    ]
}
