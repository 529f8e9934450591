//! Decides what the queue answers: SQS's JSON protocol, as far as the functions use it,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html>.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use md5::{Digest as _, Md5};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::queue::{Queue, QueueError};

/// The largest message, in bytes: what every queue takes.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// The longest time that a message may be hidden for, in seconds.
const MAX_HIDDEN_SECS: u64 = 12 * 60 * 60;

/// An answer of SQS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
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

impl Answer {
    fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body }
    }

    fn refused(status: StatusCode, kind: &str, message: &str) -> Self {
        Self { status, body: json!({ "__type": kind, "message": message }) }
    }

    fn bad(kind: &str, message: &str) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, kind, message)
    }

    pub(super) fn forbidden(why: &str) -> Self {
        Self::refused(StatusCode::FORBIDDEN, "com.amazon.coral.service#InvalidSignatureException", why)
    }

    pub(super) fn into_response(self) -> http::Result<Response<Bytes>> {
        let body = Bytes::from(self.body.to_string());
        Response::builder()
            .status(self.status)
            .header("content-type", "application/x-amz-json-1.0")
            .body(body)
    }
}

/// Does what a request asks for, whose signature is right.
pub(super) fn answer(target: &str, body: &[u8], queue: &Queue, queue_url: &str) -> Answer {
    let done = match target {
        "AmazonSQS.SendMessage" => read(body).and_then(|asked| send(&asked, queue, queue_url)),
        "AmazonSQS.ChangeMessageVisibility" => read(body).and_then(|asked| hide(&asked, queue, queue_url)),
        _ => Err(Answer::bad("com.amazon.coral.service#UnknownOperationException", "not known here")),
    };
    done.map_or_else(|refusal| refusal, Answer::ok)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    let wrong = |error: serde_json::Error| {
        Answer::bad("com.amazon.coral.service#SerializationException", &error.to_string())
    };
    serde_json::from_slice(body).map_err(wrong)
}

fn send(asked: &SendMessage, queue: &Queue, queue_url: &str) -> Result<Value, Answer> {
    check(&asked.queue_url, queue_url)?;
    let SendMessage { message_body: text, .. } = asked;
    if text.is_empty() || text.len() > MAX_MESSAGE_BYTES {
        let message = "a message has between 1 and 262144 bytes";
        return Err(Answer::bad("com.amazon.coral.service#InvalidParameterValueException", message));
    }
    let id = queue.send(text.clone()).map_err(|error| failed(&error))?;
    Ok(json!({ "MessageId": id, "MD5OfMessageBody": hex::encode(Md5::digest(text.as_bytes())) }))
}

fn hide(asked: &ChangeMessageVisibility, queue: &Queue, queue_url: &str) -> Result<Value, Answer> {
    check(&asked.queue_url, queue_url)?;
    if asked.visibility_timeout > MAX_HIDDEN_SECS {
        let message = "a message is hidden for 12 hours at the most";
        return Err(Answer::bad("com.amazon.coral.service#InvalidParameterValueException", message));
    }
    let hidden = Duration::from_secs(asked.visibility_timeout);
    queue.change_visibility(&asked.receipt_handle, hidden).map_err(|error| failed(&error))?;
    Ok(json!({}))
}

fn check(asked: &str, queue_url: &str) -> Result<(), Answer> {
    let missing = || Answer::bad("com.amazonaws.sqs#QueueDoesNotExist", "there is no such queue");
    if asked == queue_url { Ok(()) } else { Err(missing()) }
}

fn failed(error: &QueueError) -> Answer {
    match error {
        QueueError::InvalidReceipt => {
            Answer::bad("com.amazonaws.sqs#ReceiptHandleIsInvalid", &error.to_string())
        }
        QueueError::Io(_) => Answer::refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "com.amazon.coral.service#InternalFailure",
            &error.to_string(),
        ),
    }
}
