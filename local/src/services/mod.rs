//! Decides how the cloud's queue and topic are asked over HTTP, as SQS and SNS are: who may ask, and for what.

mod sns;
mod sqs;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use crate::clock::{Clock, Entropy};
use crate::config::{FunctionSettings, NotifySettings, S3Settings};
use crate::queue::Queue;
use crate::sigv4::{self, BadSignature, Scope};

/// The largest body of a request, in bytes: a message of SQS with its envelope.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// The account that queues and topics are said to belong to.
const ACCOUNT: &str = "000000000000";

/// Something that was published to the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The subject of a mail.
    pub subject: String,
    /// The text.
    pub message: String,
    /// The message attributes: names and their string values.
    pub attributes: Vec<(String, String)>,
}

/// A queue and a topic with an address. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Services(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Queue,
    endpoint: String,
    queue_url: String,
    topic_arn: String,
    published: Mutex<Vec<Published>>,
    /// So many requests to come are answered with an error.
    refusals: AtomicU32,
    /// The one key pair and its region.
    signer: S3Settings,
    clock: Clock,
    entropy: Entropy,
}

impl Services {
    /// The services at that address.
    pub(crate) fn new(
        address: SocketAddr,
        queue: Queue,
        signer: S3Settings,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        let endpoint = format!("http://{address}");
        let queue_url = format!("{endpoint}/{ACCOUNT}/{}", queue.settings().name);
        let topic_arn = format!("arn:aws:sns:{}:{ACCOUNT}:glimpse-videos", signer.region);
        let (published, refusals) = (Mutex::default(), AtomicU32::new(0));
        Self(Arc::new(Inner {
            queue,
            endpoint,
            queue_url,
            topic_arn,
            published,
            refusals,
            signer,
            clock,
            entropy,
        }))
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// What was published so far, oldest first.
    pub(crate) fn published(&self) -> Vec<Published> {
        self.0.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The function with what it finds of them in its environment.
    pub(crate) fn function(&self, settings: NotifySettings) -> Option<FunctionSettings> {
        let NotifySettings { function, has_topic, public_url, .. } = settings;
        let Inner { endpoint, queue_url, topic_arn, .. } = &*self.0;
        let mut function = function?;
        let mut set = |name: &str, value: &str| function.env.insert(name.to_owned(), value.to_owned());
        set("NOTIFY_QUEUE_URL", queue_url);
        set("PUBLIC_URL", &public_url);
        if has_topic {
            set("SNS_TOPIC_ARN", topic_arn);
            set("AWS_ENDPOINT_URL_SNS", endpoint);
        }
        Some(function)
    }

    /// Answers so many requests with an error.
    pub(crate) fn refuse(&self, times: u32) {
        self.0.refusals.store(times, Ordering::Relaxed);
    }

    /// Answers one request.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
        _: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let response = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(body) => self.0.ask(&parts, &body.to_bytes()),
            Err(_) => Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(Bytes::new()),
        };
        let response = response.unwrap_or_else(|_| Response::new(Bytes::new()));
        tracing::debug!(target: "services", status = response.status().as_u16());
        Ok(response.map(Full::new))
    }
}

impl Inner {
    fn ask(&self, parts: &Parts, body: &[u8]) -> http::Result<Response<Bytes>> {
        let one_less = |left: u32| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Bytes::new());
        }
        let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        if let Some(target) = target {
            let answer = match self.verify(parts, body, "sqs") {
                Ok(()) => sqs::answer(target, body, &self.queue, &self.queue_url),
                Err(why) => sqs::Answer::forbidden(&why.to_string()),
            };
            return answer.into_response();
        }
        let answer = match self.verify(parts, body, "sns") {
            Ok(()) => sns::answer(body, &self.topic_arn),
            Err(why) => Err(sns::Refusal::forbidden(&why.to_string())),
        };
        if let Ok(published) = &answer {
            self.published.lock().unwrap_or_else(PoisonError::into_inner).push(published.clone());
        }
        sns::response(answer.map(|_| self.entropy.uuid()))
    }

    fn verify(&self, parts: &Parts, body: &[u8], service: &str) -> Result<(), BadSignature> {
        let S3Settings { access_key_id, region, secret_access_key, .. } = &self.signer;
        let scope = Scope { access_key_id, region, service };
        let verified = sigv4::verify(parts, body, scope, secret_access_key, self.clock.now());
        if let Err(why) = &verified {
            tracing::info!(target: "services", %why, service, "a signature does not count");
        }
        verified
    }
}
