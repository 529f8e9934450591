//! HTTP endpoint of the queue: SQS's JSON protocol, as far as the reconciler uses it,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html>.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::clock::WallClock;
use crate::config::S3Settings;
use crate::queue::LocalQueue;
use crate::sigv4::{self, CredentialScope};

/// The maximum size of a request body, in bytes: a message of SQS with its envelope.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// The account id in the queue's URL and ARN.
const ACCOUNT: &str = "000000000000";

/// The endpoint of a queue. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SqsEndpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: LocalQueue,
    origin: String,
    /// The only key pair and its region.
    credentials: S3Settings,
    clock: WallClock,
}

impl SqsEndpoint {
    /// The queue at this address.
    pub(crate) fn new(
        address: SocketAddr,
        queue: LocalQueue,
        credentials: S3Settings,
        clock: WallClock,
    ) -> Self {
        Self(Arc::new(Inner { queue, origin: format!("http://{address}"), credentials, clock }))
    }

    /// The environment variables through which a function finds the queue.
    pub(crate) fn environment(&self) -> [(String, String); 2] {
        let Inner { queue, origin, .. } = &*self.0;
        let url = format!("{origin}/{ACCOUNT}/{}", queue.settings().name);
        [("UPLOAD_QUEUE_URL".into(), url), ("AWS_ENDPOINT_URL_SQS".into(), origin.clone())]
    }

    /// Handles one request.
    pub(crate) async fn handle(
        self,
        request: Request<Incoming>,
        _: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let (status, document) = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(body) => self.0.respond(&parts, &body.to_bytes()),
            Err(_) => error_document(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
        };
        let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
        *response.status_mut() = status;
        Ok(response)
    }
}

impl Inner {
    fn respond(&self, parts: &Parts, body: &[u8]) -> (StatusCode, Value) {
        let S3Settings { access_key_id, region, secret_access_key, .. } = &self.credentials;
        let scope = CredentialScope { access_key_id, region, service: "sqs" };
        if let Err(why) = sigv4::verify(parts, body, scope, secret_access_key, self.clock.now()) {
            tracing::info!(target: "sqs", %why, "invalid signature");
            return error_document(StatusCode::FORBIDDEN, "InvalidSignatureException");
        }
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let url = request["QueueUrl"].as_str().unwrap_or_default();
        if url.rsplit('/').next() != Some(self.queue.settings().name.as_str()) {
            return error_document(StatusCode::BAD_REQUEST, "QueueDoesNotExist");
        }
        match (target, request["MessageBody"].as_str()) {
            (Some("AmazonSQS.SendMessage"), Some(message)) => match self.queue.send(message) {
                Ok(id) => {
                    let digest = hex::encode(Md5::digest(message.as_bytes()));
                    (StatusCode::OK, json!({ "MessageId": id, "MD5OfMessageBody": digest }))
                }
                Err(_) => error_document(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
            },
            (Some("AmazonSQS.GetQueueAttributes"), _) => {
                let visible = self.queue.depth().visible.to_string();
                (StatusCode::OK, json!({ "Attributes": { "ApproximateNumberOfMessages": visible } }))
            }
            _ => error_document(StatusCode::BAD_REQUEST, "UnsupportedOperation"),
        }
    }
}

fn error_document(status: StatusCode, code: &str) -> (StatusCode, Value) {
    (status, json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": code }))
}
