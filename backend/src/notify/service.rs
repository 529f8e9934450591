//! Handler of the `notify` Lambda: fans an outcome out into one message per endpoint, posts webhooks, and leaves failed
//! messages in the queue with a growing visibility timeout.
//!
//! A webhook is delivered when the receiver returns a status of 2xx. Any other result is retried: an error may be an
//! outage, a redirect a mistake in the configuration, a private address a mistake in DNS. After a day the queue moves
//! the message to the dead-letter queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use glimpse_contract::{Attempt, Key, Outcome, TRACEPARENT, VideoId};
use http::HeaderValue;
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::aws::AwsError;
use crate::aws::sns::SnsTopic;
use crate::aws::sqs::MessageQueue;
use crate::error::JobError;
use crate::lambda::metrics::{self, MetricRecord, metric};
use crate::notify::backoff::{MAX_ATTEMPTS, backoff_secs, retry_after_secs};
use crate::notify::email::EmailText;
use crate::notify::endpoint::WebhookEndpoint;
use crate::notify::event::{EventDelivery, VideoEvent};
use crate::notify::http::client::{AddressPolicy, HttpClient, HttpError, HttpRequest};
use crate::notify::message::{self, NotifyMessage, OutcomeObject};
use crate::notify::signature::{self, SIGNATURE_HEADER, WebhookSignature};
use crate::preview::attempt;
use crate::preview::event::SqsBatchResponse;
use crate::store::{ObjectMeta, Store, StoreError};

/// The timeout of a delivery, connection and response together: as Standard Webhooks recommends.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum size of a manifest, in bytes.
const MAX_OUTCOME_BYTES: u64 = 1024 * 1024;
/// The endpoint name of messages for the topic. No endpoint can have it, because it is not a valid name.
const TOPIC_NAME: &str = "SNS";
/// The `User-Agent` header of webhooks.
const USER_AGENT: &str = concat!("Glimpse-Webhooks/", env!("CARGO_PKG_VERSION"));

/// The dependencies of the `notify` Lambda.
#[derive(Debug)]
pub struct Notifier<S> {
    /// The bucket that outcomes are read from.
    pub store: Arc<S>,
    /// The name of the bucket.
    pub bucket: String,
    /// The origin of the URLs in events.
    pub public_url: String,
    /// The function's own queue.
    pub queue: Arc<dyn MessageQueue>,
    /// The endpoints of webhooks.
    pub endpoints: Vec<WebhookEndpoint>,
    /// A topic that also receives the events.
    pub topic: Option<SnsTopic>,
    /// The HTTP client.
    pub http_client: HttpClient,
    /// The addresses to which webhooks may be sent.
    pub address_policy: AddressPolicy,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
    /// Random bits from the system.
    pub random: fn() -> [u8; 16],
}

/// A message of the queue, as Lambda passes it to the function.
struct SqsMessage<'a> {
    id: &'a str,
    receipt: &'a str,
    body: &'a str,
    receives: u32,
}

/// Why a message was not processed.
#[derive(Debug, Error)]
enum NotifyError {
    #[error("unknown message format")]
    Malformed,
    #[error("the invocation ended before the work was done")]
    DeadlineExceeded,
    #[error("the last attempt may still be running")]
    AttemptRunning { secs: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("invalid outcome: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the endpoint returned {status}")]
    UnexpectedStatus { status: u16, retry_after_secs: Option<u64> },
}

impl<S: Store> Notifier<S> {
    /// Processes a batch of messages, and returns the ids of those to retry.
    ///
    /// # Errors
    /// The payload is not an SQS event.
    pub async fn handle(&self, payload: &Value, deadline: Instant) -> Result<Value, JobError> {
        let records = payload.get("Records").and_then(Value::as_array);
        let records = records.ok_or_else(|| JobError::internal("not an SQS event"))?;
        let messages: Option<Vec<_>> = records.iter().map(SqsMessage::from_record).collect();
        let messages = messages.ok_or_else(|| JobError::internal("a record is not an SQS message"))?;
        let failed = join_all(messages.iter().map(|message| self.process_message(message, deadline))).await;
        let failed = failed.into_iter().flatten().map(str::to_owned);
        serde_json::to_value(SqsBatchResponse::from_failures(failed)).map_err(JobError::internal)
    }

    /// Processes one message. Returns its id if that failed or was too early; the message is then hidden until its next
    /// attempt.
    async fn process_message<'a>(&self, message: &SqsMessage<'a>, deadline: Instant) -> Option<&'a str> {
        let result = timeout_at(deadline, self.handle_message(message))
            .await
            .unwrap_or(Err(NotifyError::DeadlineExceeded));
        let Err(why) = result else { return None };
        if let NotifyError::AttemptRunning { secs } = why {
            info!(
                metric = "outcome_pending",
                message = message.id,
                secs,
                "the last attempt may still be running"
            );
            if let Err(error) = self.queue.change_visibility(message.receipt, secs).await {
                // The queue's default visibility timeout applies instead, and the message is checked again then.
                warn!(message = message.id, %error, "could not change visibility timeout");
            }
            return Some(message.id);
        }
        let retry_after = match &why {
            NotifyError::UnexpectedStatus { retry_after_secs, .. } => *retry_after_secs,
            _ => None,
        };
        let pause = backoff_secs(message.receives, retry_after, (self.random)()[0]);
        if message.receives >= MAX_ATTEMPTS {
            error!(metric = "webhook_dead_lettered", message = message.id, receives = message.receives, %why, "moved to the dead-letter queue");
            metrics::emit(&delivery_record(DeliveryResult::DeadLettered));
        } else {
            warn!(metric = "webhook_failed", message = message.id, receives = message.receives, pause, %why, "delivery failed");
            metrics::emit(&delivery_record(DeliveryResult::Retried));
            if let Err(error) = self.queue.change_visibility(message.receipt, pause).await {
                // The queue's default visibility timeout applies instead.
                warn!(message = message.id, %error, "could not change visibility timeout");
            }
        }
        Some(message.id)
    }

    async fn handle_message(&self, message: &SqsMessage<'_>) -> Result<(), NotifyError> {
        match message::parse(message.body, &self.bucket).ok_or(NotifyError::Malformed)? {
            NotifyMessage::OutcomesWritten(outcomes) => {
                for outcome in outcomes {
                    self.fan_out(outcome).await?;
                }
                Ok(())
            }
            NotifyMessage::Delivery(delivery) => self.deliver(&delivery, message.receives).await,
        }
    }

    /// Sends one message per endpoint to the queue. From then on each delivery is independent, and its content is
    /// fixed.
    async fn fan_out(&self, outcome: OutcomeObject) -> Result<(), NotifyError> {
        let Some(event) = self.load_event(&outcome).await? else {
            info!(metric = "outcome_superseded", ?outcome, "outcome no longer exists");
            return Ok(());
        };
        let names = self.endpoints.iter().map(|endpoint| endpoint.name.as_str());
        let names = names.chain(self.topic.as_ref().map(|_| TOPIC_NAME));
        let deliveries: Vec<_> = names.map(|name| event.to_delivery(name).to_message()).collect();
        info!(metric = "outcome", video = %event.video, trace_id = %event.trace_id, kind = event.kind.as_str(), notices = deliveries.len(), "fanned out");
        let results = join_all(deliveries.iter().map(|delivery| self.queue.send(delivery))).await;
        Ok(results.into_iter().collect::<Result<(), _>>()?)
    }

    /// The event of an outcome; `None` if the object is gone, or another one has replaced it.
    async fn load_event(&self, outcome: &OutcomeObject) -> Result<Option<VideoEvent>, NotifyError> {
        match &outcome.outcome {
            Outcome::Manifest(video) => {
                let Some((_, json)) = self.get_if_exists(&Key::Manifest(*video)).await? else {
                    return Ok(None);
                };
                Ok(Some(VideoEvent::from_manifest(&serde_json::from_slice(&json)?, &self.public_url)))
            }
            Outcome::Failure(video) => {
                let Some((head, json)) = self.get_if_exists(&Key::Failure(*video)).await? else {
                    return Ok(None);
                };
                if let Some(attempt) = attempt::parse_attempt(&json)
                    && !self.is_final_failure(*video, &attempt, outcome.etag.as_deref(), &head).await?
                {
                    return Ok(None);
                }
                Ok(Some(VideoEvent::from_failure(&serde_json::from_slice(&json)?, &self.public_url)))
            }
        }
    }

    /// Whether the failure of an attempt is final. A killed function leaves the failure record that it wrote before the
    /// attempt.
    async fn is_final_failure(
        &self,
        video: VideoId,
        attempt: &Attempt,
        etag: Option<&str>,
        head: &ObjectMeta,
    ) -> Result<bool, NotifyError> {
        // If another record has replaced the one of this event, that record has its own event.
        if etag.is_some_and(|etag| etag != head.etag.trim_matches('"')) {
            return Ok(false);
        }
        if attempt.ends_at == 0 {
            return Ok(true);
        }
        // So does the manifest.
        match self.store.head(&Key::Manifest(video)).await {
            Ok(_) => return Ok(false),
            Err(StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let left_ms = attempt.ends_at.saturating_sub((self.now_ms)());
        if left_ms > 0 {
            return Err(NotifyError::AttemptRunning { secs: left_ms.div_ceil(1000) });
        }
        Ok(true)
    }

    async fn get_if_exists(&self, key: &Key) -> Result<Option<(ObjectMeta, Bytes)>, StoreError> {
        match self.store.get(key, MAX_OUTCOME_BYTES).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn deliver(&self, delivery: &EventDelivery, receives: u32) -> Result<(), NotifyError> {
        let topic = self.topic.as_ref().filter(|_| delivery.to == TOPIC_NAME);
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.name == delivery.to);
        match (topic, endpoint) {
            (Some(topic), _) => {
                topic.publish(EmailText::from_delivery(delivery).as_sns_message()).await?;
                info!(metric = "topic_published", video = %delivery.video, trace_id = delivery.trace_id.map(display),
                    kind = delivery.kind.as_str(), "published");
                metrics::emit(&delivery_record(DeliveryResult::Delivered));
                Ok(())
            }
            (None, Some(endpoint)) => self.post_webhook(delivery, endpoint, receives).await,
            (None, None) => {
                warn!(metric = "endpoint_removed", to = delivery.to, video = %delivery.video, "endpoint no longer configured");
                Ok(())
            }
        }
    }

    async fn post_webhook(
        &self,
        delivery: &EventDelivery,
        endpoint: &WebhookEndpoint,
        receives: u32,
    ) -> Result<(), NotifyError> {
        let id = delivery.id();
        let now_secs = (self.now_ms)() / 1000;
        let signature = signature::sign(&id, now_secs, delivery.body.as_bytes(), &endpoint.secrets);
        let body = Bytes::copy_from_slice(delivery.body.as_bytes());
        let request = HttpRequest {
            url: &endpoint.url,
            headers: webhook_headers(&signature, &delivery.traceparent()),
            body,
        };
        let started = Instant::now();
        let response = self.http_client.post(request, self.address_policy, RESPONSE_TIMEOUT).await;
        let ms = started.elapsed().as_millis() as u64;
        let status = response.as_ref().map(|answer| answer.status).ok();
        info!(
            metric = "webhook", id, endpoint = endpoint.name, video = %delivery.video,
            trace_id = delivery.trace_id.map(display), kind = delivery.kind.as_str(),
            receives, status, ms, "posted"
        );
        let response = response?;
        if (200..300).contains(&response.status) {
            metrics::emit(&delivery_record(DeliveryResult::Delivered));
            return Ok(());
        }
        let now_secs = (self.now_ms)() / 1000;
        let retry_after_secs = response.retry_after.and_then(|text| retry_after_secs(&text, now_secs));
        Err(NotifyError::UnexpectedStatus { status: response.status, retry_after_secs })
    }
}

impl<'a> SqsMessage<'a> {
    fn from_record(record: &'a Value) -> Option<Self> {
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

fn webhook_headers(signature: &WebhookSignature, traceparent: &str) -> Vec<(&'static str, HeaderValue)> {
    let text =
        |text: &str| HeaderValue::from_str(text).expect("ids, numbers, base64 and hexadecimal are ASCII");
    vec![
        ("content-type", HeaderValue::from_static("application/json")),
        ("user-agent", HeaderValue::from_static(USER_AGENT)),
        ("webhook-id", text(&signature.id)),
        ("webhook-timestamp", text(&signature.timestamp)),
        ("webhook-signature", text(&signature.standard_header)),
        (SIGNATURE_HEADER, text(&signature.glimpse_header)),
        (TRACEPARENT, text(traceparent)),
    ]
}

/// The result of one delivery attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryResult {
    /// The receiver accepted it.
    Delivered,
    /// It will be retried.
    Retried,
    /// It was moved to the dead-letter queue.
    DeadLettered,
}

/// The record of one delivery attempt.
pub(crate) fn delivery_record(result: DeliveryResult) -> MetricRecord {
    let count = |name, expected| metric(name, "Count", u8::from(result == expected));
    let metrics = vec![
        count("Delivered", DeliveryResult::Delivered),
        count("Retried", DeliveryResult::Retried),
        count("GivenUp", DeliveryResult::DeadLettered),
    ];
    MetricRecord { function: "notify", outcome: None, metrics, fields: Vec::new() }
}
