//! The queue: SQS's JSON protocol, as far as the functions use it,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html>.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use md5::{Digest as _, Md5};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::queue::{LocalQueue, QueueError};

/// The maximum size of a message, in bytes, which every queue accepts.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// The maximum visibility timeout, in seconds.
const MAX_VISIBILITY_TIMEOUT_SECS: u64 = 12 * 60 * 60;

/// The attribute with the number of messages that wait for a receiver.
const MESSAGE_COUNT: &str = "ApproximateNumberOfMessages";

/// A response of SQS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SqsResponse {
    status: StatusCode,
    body: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SendMessage {
    queue_url: String,
    message_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ChangeMessageVisibility {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetQueueAttributes {
    queue_url: String,
    attribute_names: Vec<String>,
}

impl SqsResponse {
    fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body }
    }

    fn error(status: StatusCode, error_type: &str, message: &str) -> Self {
        Self { status, body: json!({ "__type": error_type, "message": message }) }
    }

    fn bad_request(error_type: &str, message: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, error_type, message)
    }

    pub(super) fn forbidden(why: &str) -> Self {
        Self::error(StatusCode::FORBIDDEN, "com.amazon.coral.service#InvalidSignatureException", why)
    }

    pub(super) fn into_response(self) -> http::Result<Response<Bytes>> {
        let body = Bytes::from(self.body.to_string());
        Response::builder()
            .status(self.status)
            .header("content-type", "application/x-amz-json-1.0")
            .body(body)
    }
}

/// Handles a request with a valid signature.
pub(super) fn dispatch(target: &str, body: &[u8], queue: &LocalQueue, queue_url: &str) -> SqsResponse {
    let result = match target {
        "AmazonSQS.SendMessage" => parse_request(body).and_then(|request| send(&request, queue, queue_url)),
        "AmazonSQS.ChangeMessageVisibility" => {
            parse_request(body).and_then(|request| change_visibility(&request, queue, queue_url))
        }
        "AmazonSQS.GetQueueAttributes" => {
            parse_request(body).and_then(|request| get_attributes(&request, queue, queue_url))
        }
        _ => Err(SqsResponse::bad_request(
            "com.amazon.coral.service#UnknownOperationException",
            "not supported",
        )),
    };
    result.map_or_else(|refusal| refusal, SqsResponse::ok)
}

fn parse_request<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsResponse> {
    let invalid = |error: serde_json::Error| {
        SqsResponse::bad_request("com.amazon.coral.service#SerializationException", &error.to_string())
    };
    serde_json::from_slice(body).map_err(invalid)
}

fn send(request: &SendMessage, queue: &LocalQueue, queue_url: &str) -> Result<Value, SqsResponse> {
    check_queue_url(&request.queue_url, queue_url)?;
    let SendMessage { message_body: text, .. } = request;
    if text.is_empty() || text.len() > MAX_MESSAGE_BYTES {
        let message = "a message must have 1 to 262144 bytes";
        return Err(SqsResponse::bad_request(
            "com.amazon.coral.service#InvalidParameterValueException",
            message,
        ));
    }
    let id = queue.send(text.clone()).map_err(|error| queue_error(&error))?;
    Ok(json!({ "MessageId": id, "MD5OfMessageBody": hex::encode(Md5::digest(text.as_bytes())) }))
}

fn change_visibility(
    request: &ChangeMessageVisibility,
    queue: &LocalQueue,
    queue_url: &str,
) -> Result<Value, SqsResponse> {
    check_queue_url(&request.queue_url, queue_url)?;
    if request.visibility_timeout > MAX_VISIBILITY_TIMEOUT_SECS {
        let message = "the visibility timeout is at most 12 hours";
        return Err(SqsResponse::bad_request(
            "com.amazon.coral.service#InvalidParameterValueException",
            message,
        ));
    }
    let timeout = Duration::from_secs(request.visibility_timeout);
    queue.change_visibility(&request.receipt_handle, timeout).map_err(|error| queue_error(&error))?;
    Ok(json!({}))
}

fn get_attributes(
    request: &GetQueueAttributes,
    queue: &LocalQueue,
    queue_url: &str,
) -> Result<Value, SqsResponse> {
    check_queue_url(&request.queue_url, queue_url)?;
    if request.attribute_names != [MESSAGE_COUNT] {
        let message = "only ApproximateNumberOfMessages is supported";
        return Err(SqsResponse::bad_request("com.amazonaws.sqs#InvalidAttributeName", message));
    }
    Ok(json!({ "Attributes": { MESSAGE_COUNT: queue.depth().visible.to_string() } }))
}

fn check_queue_url(requested_url: &str, queue_url: &str) -> Result<(), SqsResponse> {
    let unknown_queue =
        || SqsResponse::bad_request("com.amazonaws.sqs#QueueDoesNotExist", "there is no such queue");
    if requested_url == queue_url { Ok(()) } else { Err(unknown_queue()) }
}

fn queue_error(error: &QueueError) -> SqsResponse {
    match error {
        QueueError::InvalidReceipt => {
            SqsResponse::bad_request("com.amazonaws.sqs#ReceiptHandleIsInvalid", &error.to_string())
        }
        QueueError::Io(_) => SqsResponse::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "com.amazon.coral.service#InternalFailure",
            &error.to_string(),
        ),
    }
}
