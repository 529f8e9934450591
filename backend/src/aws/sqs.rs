//! SQS client that sends messages, changes their visibility timeout and counts them, over the JSON protocol:
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html>.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use serde_json::{Value, json};

use super::{AwsClient, AwsError, AwsRequest, endpoint_root};

/// The name of the service in signatures and errors.
const SERVICE: &str = "sqs";
/// The longest visibility timeout that SQS accepts, in seconds:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>.
pub const MAX_VISIBILITY_TIMEOUT_SECS: u64 = 12 * 60 * 60;

/// The attribute with the number of messages that wait for a receiver.
const MESSAGE_COUNT: &str = "ApproximateNumberOfMessages";

/// The operations of the queue between `notify` and the endpoints.
pub trait MessageQueue: Send + Sync + std::fmt::Debug {
    /// Sends a message. Not idempotent: two calls send two messages.
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), AwsError>>;

    /// Hides a received message for this many seconds from now.
    fn change_visibility<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), AwsError>>;
}

/// Where an SQS queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAddress {
    /// The queue's URL, as SQS returns it.
    url: String,
    endpoint: Uri,
}

impl QueueAddress {
    /// The address of the queue with this URL; `None` if the URL is invalid. `endpoint` replaces the host of the URL.
    pub fn parse(url: &str, endpoint: Option<&str>) -> Option<Self> {
        let endpoint = endpoint_root(&endpoint.unwrap_or(url).parse().ok()?)?;
        Some(Self { url: url.to_owned(), endpoint })
    }
}

/// An SQS queue.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: AwsClient,
    address: QueueAddress,
}

impl SqsQueue {
    /// A client of the queue at this address.
    pub fn new(address: QueueAddress, client: AwsClient) -> Self {
        Self { client, address }
    }

    /// The approximate number of messages that wait for a receiver.
    ///
    /// # Errors
    /// The last error, if SQS did not return the number.
    pub async fn waiting_messages(&self) -> Result<u64, AwsError> {
        let body = json!({ "QueueUrl": self.address.url, "AttributeNames": [MESSAGE_COUNT] });
        let response = self.call("AmazonSQS.GetQueueAttributes", body).await?;
        parse_message_count(&response)
            .ok_or(AwsError::MissingValue { service: SERVICE, value: "the number of messages" })
    }

    async fn call(&self, target: &'static str, body: Value) -> Result<Bytes, AwsError> {
        let headers = vec![
            ("content-type", HeaderValue::from_static("application/x-amz-json-1.0")),
            ("x-amz-target", HeaderValue::from_static(target)),
        ];
        let body = Bytes::from(body.to_string());
        self.client.send(AwsRequest { service: SERVICE, url: &self.address.endpoint, headers, body }).await
    }
}

/// The number of messages in a response of `GetQueueAttributes`, where it is a string of digits.
fn parse_message_count(response: &[u8]) -> Option<u64> {
    let response: Value = serde_json::from_slice(response).ok()?;
    response["Attributes"][MESSAGE_COUNT].as_str()?.parse().ok()
}

impl MessageQueue for SqsQueue {
    fn send<'a>(&'a self, body: &'a str) -> BoxFuture<'a, Result<(), AwsError>> {
        let body = json!({ "QueueUrl": self.address.url, "MessageBody": body });
        Box::pin(async move { self.call("AmazonSQS.SendMessage", body).await.map(drop) })
    }

    fn change_visibility<'a>(&'a self, receipt: &'a str, secs: u64) -> BoxFuture<'a, Result<(), AwsError>> {
        let secs = secs.min(MAX_VISIBILITY_TIMEOUT_SECS);
        let body =
            json!({ "QueueUrl": self.address.url, "ReceiptHandle": receipt, "VisibilityTimeout": secs });
        Box::pin(async move { self.call("AmazonSQS.ChangeMessageVisibility", body).await.map(drop) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_count_is_a_string_of_digits() {
        for (response, count) in [
            (r#"{"Attributes":{"ApproximateNumberOfMessages":"150"}}"#, Some(150)),
            (r#"{"Attributes":{"ApproximateNumberOfMessages":"0","DelaySeconds":"7"}}"#, Some(0)),
            (r#"{"Attributes":{"ApproximateNumberOfMessages":"-1"}}"#, None),
            (r#"{"Attributes":{"ApproximateNumberOfMessages":"many"}}"#, None),
            (r#"{"Attributes":{}}"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(parse_message_count(response.as_bytes()), count, "{response}");
        }
    }
}
