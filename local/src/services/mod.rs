//! HTTP endpoint of one of the cloud's queues and its topic, like SQS and SNS: verifies signatures and dispatches
//! requests.

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

use crate::clock::{Entropy, WallClock};
use crate::config::{FunctionSettings, NotifySettings, S3Settings};
use crate::queue::LocalQueue;
use crate::sigv4::{self, CredentialScope, SignatureError};

/// The maximum size of a request body, in bytes: a message of SQS with its envelope.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// The account id in the ARNs of queues and topics.
const ACCOUNT: &str = "000000000000";

/// A message that was published to the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedMessage {
    /// The subject of the email.
    pub subject: String,
    /// The text.
    pub message: String,
    /// The message attributes: names and their string values.
    pub attributes: Vec<(String, String)>,
}

/// The endpoint of a queue and a topic. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ServicesEndpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: LocalQueue,
    endpoint: String,
    queue_url: String,
    topic_arn: String,
    published: Mutex<Vec<PublishedMessage>>,
    /// The number of coming requests that get an error.
    failures_left: AtomicU32,
    /// The only key pair and its region.
    credentials: S3Settings,
    clock: WallClock,
    entropy: Entropy,
}

impl ServicesEndpoint {
    /// The services at this address.
    pub(crate) fn new(
        address: SocketAddr,
        queue: LocalQueue,
        credentials: S3Settings,
        clock: WallClock,
        entropy: Entropy,
    ) -> Self {
        let endpoint = format!("http://{address}");
        let queue_url = format!("{endpoint}/{ACCOUNT}/{}", queue.settings().name);
        let topic_arn = format!("arn:aws:sns:{}:{ACCOUNT}:glimpse-videos", credentials.region);
        let (published, failures_left) = (Mutex::default(), AtomicU32::new(0));
        Self(Arc::new(Inner {
            queue,
            endpoint,
            queue_url,
            topic_arn,
            published,
            failures_left,
            credentials,
            clock,
            entropy,
        }))
    }

    pub(crate) fn queue(&self) -> &LocalQueue {
        &self.0.queue
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// The messages published so far, oldest first.
    pub(crate) fn published_messages(&self) -> Vec<PublishedMessage> {
        self.0.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The function with the services' addresses in its environment.
    pub(crate) fn function_settings(&self, settings: NotifySettings) -> Option<FunctionSettings> {
        let NotifySettings { function, has_topic, public_url, .. } = settings;
        let Inner { endpoint, queue_url, topic_arn, .. } = &*self.0;
        let mut function = function?;
        let mut set_variable =
            |name: &str, value: &str| function.env.insert(name.to_owned(), value.to_owned());
        set_variable("NOTIFY_QUEUE_URL", queue_url);
        set_variable("PUBLIC_URL", &public_url);
        if has_topic {
            set_variable("SNS_TOPIC_ARN", topic_arn);
            set_variable("AWS_ENDPOINT_URL_SNS", endpoint);
        }
        Some(function)
    }

    /// The environment variables through which the reconciler finds the queue.
    pub(crate) fn upload_queue_environment(&self) -> [(String, String); 2] {
        let Inner { endpoint, queue_url, .. } = &*self.0;
        [("UPLOAD_QUEUE_URL".into(), queue_url.clone()), ("AWS_ENDPOINT_URL_SQS".into(), endpoint.clone())]
    }

    /// Responds to this many requests with an error.
    pub(crate) fn fail_next(&self, times: u32) {
        self.0.failures_left.store(times, Ordering::Relaxed);
    }

    /// Handles one request.
    pub(crate) async fn handle(
        self,
        request: Request<Incoming>,
        _: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let response = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(body) => self.0.respond(&parts, &body.to_bytes()),
            Err(_) => Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(Bytes::new()),
        };
        let response = response.unwrap_or_else(|_| Response::new(Bytes::new()));
        tracing::debug!(target: "services", status = response.status().as_u16());
        Ok(response.map(Full::new))
    }
}

impl Inner {
    fn respond(&self, parts: &Parts, body: &[u8]) -> http::Result<Response<Bytes>> {
        let decrement = |left: u32| left.checked_sub(1);
        if self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, decrement).is_ok() {
            return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Bytes::new());
        }
        let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        if let Some(target) = target {
            let response = match self.verify(parts, body, "sqs") {
                Ok(()) => sqs::dispatch(target, body, &self.queue, &self.queue_url),
                Err(why) => sqs::SqsResponse::forbidden(&why.to_string()),
            };
            return response.into_response();
        }
        let result = match self.verify(parts, body, "sns") {
            Ok(()) => sns::publish(body, &self.topic_arn),
            Err(why) => Err(sns::SnsError::forbidden(&why.to_string())),
        };
        if let Ok(published) = &result {
            self.published.lock().unwrap_or_else(PoisonError::into_inner).push(published.clone());
        }
        sns::to_response(result.map(|_| self.entropy.uuid()))
    }

    fn verify(&self, parts: &Parts, body: &[u8], service: &str) -> Result<(), SignatureError> {
        let S3Settings { access_key_id, region, secret_access_key, .. } = &self.credentials;
        let scope = CredentialScope { access_key_id, region, service };
        let result = sigv4::verify(parts, body, scope, secret_access_key, self.clock.now());
        if let Err(why) = &result {
            tracing::info!(target: "services", %why, service, "invalid signature");
        }
        result
    }
}
