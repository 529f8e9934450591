//! Decides what is asked of SQS: to take a message, and to hide one for longer. Its JSON protocol,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html>.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use serde_json::{Value, json};

use super::{AwsClient, AwsError, AwsRequest, endpoint_root};

/// The longest time that a message may be hidden for, in seconds,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>.
pub const MAX_VISIBILITY_TIMEOUT_SECS: u64 = 12 * 60 * 60;

/// A queue, narrowed to what the backend does with it.
pub trait MessageQueue: Send + Sync + std::fmt::Debug {
    /// Sends a message. Twice is two messages.
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), AwsError>>;

    /// Hides a message that was received for so many seconds from now.
    fn change_visibility<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), AwsError>>;
}

/// A queue of SQS.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: AwsClient,
    /// As SQS names it.
    queue_url: String,
    endpoint: Uri,
}

impl SqsQueue {
    /// The queue of that URL; none if it is not an address.
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
