//! Decides what is asked of SQS: to take a message, and to hide one for longer. Its JSON protocol,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html>.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use serde_json::{Value, json};

use super::{Call, CallError, Caller, root_of};

/// The longest time that a message may be hidden for, in seconds,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>.
pub const MAX_HIDDEN_SECS: u64 = 12 * 60 * 60;

/// A queue, narrowed to what the backend does with it.
pub trait Queue: Send + Sync + std::fmt::Debug {
    /// Sends a message. Twice is two messages.
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), CallError>>;

    /// Hides a message that was received for so many seconds from now.
    fn hide<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), CallError>>;
}

/// A queue of SQS.
#[derive(Debug, Clone)]
pub struct Sqs {
    caller: Caller,
    /// As SQS names it.
    queue: String,
    endpoint: Uri,
}

impl Sqs {
    /// The queue of that URL; none if it is not an address.
    pub fn new(queue: &str, caller: Caller) -> Option<Self> {
        let endpoint = root_of(&queue.parse().ok()?)?;
        Some(Self { caller, queue: queue.to_owned(), endpoint })
    }

    async fn ask(&self, target: &'static str, body: Value) -> Result<(), CallError> {
        let headers = vec![
            ("content-type", HeaderValue::from_static("application/x-amz-json-1.0")),
            ("x-amz-target", HeaderValue::from_static(target)),
        ];
        let body = Bytes::from(body.to_string());
        self.caller.call(Call { service: "sqs", url: &self.endpoint, headers, body }).await.map(drop)
    }
}

impl Queue for Sqs {
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        let body = json!({ "QueueUrl": self.queue, "MessageBody": body });
        Box::pin(self.ask("AmazonSQS.SendMessage", body))
    }

    fn hide<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), CallError>> {
        let secs = secs.min(MAX_HIDDEN_SECS);
        let body = json!({ "QueueUrl": self.queue, "ReceiptHandle": receipt, "VisibilityTimeout": secs });
        Box::pin(self.ask("AmazonSQS.ChangeMessageVisibility", body))
    }
}
