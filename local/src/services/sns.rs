//! The topic: SNS's query protocol, as far as the functions use it,
//! <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::PublishedMessage;

/// The maximum size of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// The maximum length of a subject, in characters.
const MAX_SUBJECT_CHARS: usize = 100;

/// The reason why a message was not published.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SnsError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl SnsError {
    fn invalid_parameter(message: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "InvalidParameter", message: message.to_owned() }
    }

    pub(super) fn forbidden(why: &str) -> Self {
        Self { status: StatusCode::FORBIDDEN, code: "SignatureDoesNotMatch", message: why.to_owned() }
    }
}

/// Handles a request with a valid signature.
pub(super) fn publish(body: &[u8], topic_arn: &str) -> Result<PublishedMessage, SnsError> {
    let form = parse_form(body).ok_or_else(|| SnsError::invalid_parameter("the form is not UTF-8"))?;
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if (field("Action"), field("Version")) != ("Publish", "2010-03-31") {
        return Err(SnsError::invalid_parameter("only Publish of 2010-03-31 is supported"));
    }
    if field("TopicArn") != topic_arn {
        return Err(SnsError {
            status: StatusCode::NOT_FOUND,
            code: "NotFound",
            message: "no such topic".into(),
        });
    }
    let (subject, message) = (field("Subject"), field("Message"));
    // "Must be ASCII text that begins with a letter, number, or punctuation mark; must not include line breaks or
    // control characters; and must be less than 100 characters long."
    let is_subject = subject.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && subject.len() < MAX_SUBJECT_CHARS
        && !subject.starts_with(' ');
    if !is_subject || message.is_empty() || message.len() > MAX_MESSAGE_BYTES {
        return Err(SnsError::invalid_parameter("invalid subject or message"));
    }
    let mut attributes = Vec::new();
    for number in 1..=10 {
        let entry = |member: &str| field(&format!("MessageAttributes.entry.{number}.{member}"));
        if entry("Name").is_empty() {
            break;
        }
        if entry("Value.DataType") != "String" || entry("Value.StringValue").is_empty() {
            return Err(SnsError::invalid_parameter("an attribute must be a String that is not empty"));
        }
        attributes.push((entry("Name").to_owned(), entry("Value.StringValue").to_owned()));
    }
    Ok(PublishedMessage { subject: subject.to_owned(), message: message.to_owned(), attributes })
}

fn parse_form(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let decode =
        |text: &str| Some(percent_decode_str(&text.replace('+', " ")).decode_utf8().ok()?.into_owned());
    let text = std::str::from_utf8(body).ok()?;
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| Some((decode(name)?, decode(value)?)))
        .collect()
}

/// The response: the message's id, or the error.
pub(super) fn to_response(result: Result<String, SnsError>) -> http::Result<Response<Bytes>> {
    let (status, body) = match result {
        Ok(id) => (
            StatusCode::OK,
            format!(
                "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
                 <MessageId>{id}</MessageId></PublishResult></PublishResponse>"
            ),
        ),
        Err(SnsError { status, code, message }) => (
            status,
            format!(
                "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            ),
        ),
    };
    Response::builder().status(status).header("content-type", "text/xml").body(Bytes::from(body))
}
