//! SQS client that sends messages and changes their visibility timeout over the JSON protocol:
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html>.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use serde_json::{Value, json};

use super::{AwsClient, AwsError, AwsRequest, endpoint_root};

/// The longest visibility timeout that SQS accepts, in seconds:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>.
pub const MAX_VISIBILITY_TIMEOUT_SECS: u64 = 12 * 60 * 60;

/// The queue operations that the backend uses.
pub trait MessageQueue: Send + Sync + std::fmt::Debug {
    /// Sends a message. Not idempotent: two calls send two messages.
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), AwsError>>;

    /// Hides a received message for this many seconds from now.
    fn change_visibility<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), AwsError>>;
}

/// An SQS queue.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: AwsClient,
    /// The queue's URL, as SQS returns it.
    queue_url: String,
    endpoint: Uri,
}

impl SqsQueue {
    /// The queue with this URL; `None` if the URL is invalid.
    pub fn new(queue_url: &str, client: AwsClient) -> Option<Self> {
        let endpoint = endpoint_root(&queue_url.parse().ok()?)?;
        Some(Self { client, queue_url: queue_url.to_owned(), endpoint })
    }

    async fn call(&self, target: &'static str, body: Value) -> Result<(), AwsError> {
        let headers = vec![
            ("content-type", HeaderValue::from_static("application/x-amz-json-1.0")),
            ("x-amz-target", HeaderValue::from_static(target)),
        ];
        let body = Bytes::from(body.to_string());
        self.client.send(AwsRequest { service: "sqs", url: &self.endpoint, headers, body }).await.map(drop)
    }
}

impl MessageQueue for SqsQueue {
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), AwsError>> {
        let body = json!({ "QueueUrl": self.queue_url, "MessageBody": body });
        Box::pin(self.call("AmazonSQS.SendMessage", body))
    }

    fn change_visibility<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), AwsError>> {
        let secs = secs.min(MAX_VISIBILITY_TIMEOUT_SECS);
        let body = json!({ "QueueUrl": self.queue_url, "ReceiptHandle": receipt, "VisibilityTimeout": secs });
        Box::pin(self.call("AmazonSQS.ChangeMessageVisibility", body))
    }
}
