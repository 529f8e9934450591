//! Parses the payload of an invocation: envelopes of S3, SQS, SNS and EventBridge become jobs. Pure.
//!
//! Formats: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>.

use glimpse_contract::{Key, Owner, VideoId};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;

/// One uploaded source to process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The key of the source.
    pub key: Key,
    /// The owner of the video.
    pub owner: Owner,
    /// The video.
    pub video: VideoId,
    /// The ETag of the object in the event, with quotes.
    pub etag: String,
    /// The length of the source in bytes.
    pub bytes: u64,
    /// When S3 received the upload, in Unix milliseconds; 0 if the event does not contain it.
    pub received_ms: u64,
    /// The id of the queue message that contained the event; `None` if the Lambda was invoked directly.
    pub message: Option<String>,
    /// How many times that message was delivered, including this time; 1 for a direct invocation.
    pub receives: u32,
    /// When that message was sent, in Unix milliseconds; 0 if unknown.
    pub sent_ms: u64,
}

/// The parsed payload of an invocation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ParsedEvent {
    /// Whether the event comes from a queue, which expects the ids of the failed messages.
    pub is_from_queue: bool,
    /// The jobs, in order.
    pub jobs: Vec<Job>,
    /// Why parts of the payload contain no job: for the log.
    pub ignored: Vec<&'static str>,
    /// Parts that cannot be parsed: the message id, if they came from a queue, and the reason.
    pub malformed: Vec<(Option<String>, &'static str)>,
}

/// The response to a queue: the messages to deliver again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SqsBatchResponse {
    /// The failed messages, each once.
    pub batch_item_failures: Vec<SqsBatchItemFailure>,
}

/// A message to deliver again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SqsBatchItemFailure {
    /// The id of the message.
    pub item_identifier: String,
}

impl SqsBatchResponse {
    /// The response that lists these messages.
    pub fn from_failures(message_ids: impl IntoIterator<Item = String>) -> Self {
        let mut failures: Vec<SqsBatchItemFailure> = Vec::new();
        for item_identifier in message_ids {
            if failures.iter().all(|failure| failure.item_identifier != item_identifier) {
                failures.push(SqsBatchItemFailure { item_identifier });
            }
        }
        Self { batch_item_failures: failures }
    }
}

/// The maximum nesting of envelopes: SQS around SNS around S3.
const MAX_DEPTH: u32 = 3;

/// Parses the payload of an invocation. `bucket` is the deployment's own: events of other buckets are ignored.
pub fn parse(payload: &Value, bucket: &str) -> ParsedEvent {
    let mut parsed = ParsedEvent::default();
    let delivery = QueueDelivery { message: None, receives: 1, sent_ms: 0 };
    parse_envelope(payload, bucket, &delivery, MAX_DEPTH, &mut parsed);
    parsed
}

struct QueueDelivery {
    message: Option<String>,
    receives: u32,
    sent_ms: u64,
}

fn parse_envelope(
    value: &Value,
    bucket: &str,
    delivery: &QueueDelivery,
    depth: u32,
    parsed: &mut ParsedEvent,
) {
    let Some(depth) = depth.checked_sub(1) else {
        parsed.malformed.push((delivery.message.clone(), "envelopes are nested too deeply"));
        return;
    };
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if text("Event") == Some("s3:TestEvent") {
        parsed.ignored.push("an S3 test event");
    } else if let Some(records) = value.get("Records").and_then(Value::as_array) {
        if records.is_empty() {
            parsed.ignored.push("no records");
        }
        for record in records {
            parse_record(record, bucket, delivery, depth, parsed);
        }
    } else if text("Type") == Some("Notification") {
        parse_body(text("Message"), bucket, delivery, depth, parsed);
    } else if text("source").is_some() && value.get("detail-type").is_some() {
        parse_eventbridge(value, bucket, delivery, parsed);
    } else {
        parsed.malformed.push((delivery.message.clone(), "an unknown event format"));
    }
}

/// Parses the JSON text inside an envelope.
fn parse_body(
    body: Option<&str>,
    bucket: &str,
    delivery: &QueueDelivery,
    depth: u32,
    parsed: &mut ParsedEvent,
) {
    match body.map(serde_json::from_str::<Value>) {
        Some(Ok(value)) => parse_envelope(&value, bucket, delivery, depth, parsed),
        Some(Err(_)) => parsed.malformed.push((delivery.message.clone(), "the body is not JSON")),
        None => parsed.malformed.push((delivery.message.clone(), "the body is missing")),
    }
}

fn parse_record(value: &Value, bucket: &str, delivery: &QueueDelivery, depth: u32, parsed: &mut ParsedEvent) {
    let source = value.get("eventSource").or_else(|| value.get("EventSource")).and_then(Value::as_str);
    match source {
        Some("aws:sqs") => {
            parsed.is_from_queue = true;
            let Some(message) = value.get("messageId").and_then(Value::as_str) else {
                parsed.malformed.push((None, "a message without an id"));
                return;
            };
            let number = |path: &str| value.pointer(path).and_then(Value::as_str);
            let receives = number("/attributes/ApproximateReceiveCount");
            let receives = receives.and_then(|count| count.parse().ok()).unwrap_or(1);
            let sent_ms = number("/attributes/SentTimestamp");
            let sent_ms = sent_ms.and_then(|ms| ms.parse().ok()).unwrap_or(0);
            let delivery = QueueDelivery { message: Some(message.to_owned()), receives, sent_ms };
            parse_body(value.get("body").and_then(Value::as_str), bucket, &delivery, depth, parsed);
        }
        Some("aws:sns") => {
            let message = value.pointer("/Sns/Message").and_then(Value::as_str);
            parse_body(message, bucket, delivery, depth, parsed);
        }
        Some("aws:s3") => parse_s3_record(value, bucket, delivery, parsed),
        Some(_) => parsed.ignored.push("a record of another service"),
        None => parsed.malformed.push((delivery.message.clone(), "a record without a source")),
    }
}

/// Parses one record of an S3 notification. Its key is form-encoded.
fn parse_s3_record(value: &Value, bucket: &str, delivery: &QueueDelivery, parsed: &mut ParsedEvent) {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    // "The major version is incremented if Amazon S3 makes a change that is not backward compatible."
    if !text("/eventVersion").is_some_and(|version| version.starts_with("2.")) {
        parsed.ignored.push("an unknown event version");
        return;
    }
    // Older notifications have no `s3:` before the name; newer ones have it in the documentation of some regions.
    let name = text("/eventName").unwrap_or_default();
    if !name.strip_prefix("s3:").unwrap_or(name).starts_with("ObjectCreated:") {
        parsed.ignored.push("an event other than a creation");
        return;
    }
    let object = ObjectCreated {
        bucket: text("/s3/bucket/name"),
        key: text("/s3/object/key").and_then(decode_form),
        etag: text("/s3/object/eTag"),
        bytes: value.pointer("/s3/object/size").and_then(Value::as_u64),
        time: text("/eventTime"),
    };
    push_job(object, bucket, delivery, parsed);
}

/// Parses an EventBridge event. Its key is not encoded: only notifications encode it.
fn parse_eventbridge(value: &Value, bucket: &str, delivery: &QueueDelivery, parsed: &mut ParsedEvent) {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    if text("/source") != Some("aws.s3") {
        parsed.ignored.push("an event of another service");
        return;
    }
    if text("/detail-type") != Some("Object Created") {
        parsed.ignored.push("an event other than a creation");
        return;
    }
    let object = ObjectCreated {
        bucket: text("/detail/bucket/name"),
        key: text("/detail/object/key").map(str::to_owned),
        etag: text("/detail/object/etag"),
        bytes: value.pointer("/detail/object/size").and_then(Value::as_u64),
        time: text("/time"),
    };
    push_job(object, bucket, delivery, parsed);
}

struct ObjectCreated<'a> {
    bucket: Option<&'a str>,
    key: Option<String>,
    etag: Option<&'a str>,
    bytes: Option<u64>,
    time: Option<&'a str>,
}

fn push_job(object: ObjectCreated<'_>, bucket: &str, delivery: &QueueDelivery, parsed: &mut ParsedEvent) {
    let (Some(event_bucket), Some(key), Some(etag)) = (object.bucket, object.key, object.etag) else {
        parsed.malformed.push((delivery.message.clone(), "a record without bucket, key or ETag"));
        return;
    };
    if event_bucket != bucket {
        parsed.ignored.push("an object of another bucket");
        return;
    }
    let Ok(Key::Source { owner, video }) = key.parse::<Key>() else {
        parsed.ignored.push("a key that is not the key of a source");
        return;
    };
    let received_ms = object
        .time
        .and_then(|time| time.parse::<Timestamp>().ok())
        .and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .unwrap_or(0);
    parsed.jobs.push(Job {
        key: Key::Source { owner: owner.clone(), video },
        owner,
        video,
        etag: format!("\"{}\"", etag.trim_matches('"')),
        bytes: object.bytes.unwrap_or(0),
        received_ms,
        message: delivery.message.clone(),
        receives: delivery.receives,
        sent_ms: delivery.sent_ms,
    });
}

/// Decodes `application/x-www-form-urlencoded` text once: `+` is a space, then `%XX` is a byte.
pub(crate) fn decode_form(text: &str) -> Option<String> {
    let with_spaces = text.replace('+', " ");
    percent_decode_str(&with_spaces).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn video() -> VideoId {
        VideoId::new(1_700_000_000_000, *b"0123456789")
    }

    fn owner() -> Owner {
        Owner::new("https://id.example", "alice")
    }

    fn key() -> String {
        Key::Source { owner: owner(), video: video() }.to_string()
    }

    fn s3(key: &str) -> Value {
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1",
            "eventTime": "2023-11-14T22:13:20.123Z", "eventName": "ObjectCreated:Put",
            "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
            "requestParameters": {"sourceIPAddress": "203.0.113.7"},
            "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD"},
            "s3": {
                "s3SchemaVersion": "1.0", "configurationId": "uploads",
                "bucket": {"name": "glimpse", "ownerIdentity": {"principalId": "A3NL1KOZZKExample"}, "arn": "arn:aws:s3:::glimpse"},
                "object": {"key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": "0055AED6DCD90281E5"}
            }
        })
    }

    fn sqs(bodies: &[&str]) -> Value {
        let records: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(index, body)| {
                json!({
                    "messageId": format!("m{index}"), "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a", "body": body,
                    "attributes": {"ApproximateReceiveCount": "3", "SentTimestamp": "1545082649183", "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": "1545082649185"},
                    "messageAttributes": {}, "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3", "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:uploads", "awsRegion": "us-east-1"
                })
            })
            .collect();
        json!({ "Records": records })
    }

    fn eventbridge() -> Value {
        json!({
            "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": "Object Created",
            "source": "aws.s3", "account": "111122223333", "time": "2023-11-14T22:13:20Z", "region": "us-east-1",
            "resources": ["arn:aws:s3:::glimpse"],
            "detail": {"version": "0", "bucket": {"name": "glimpse"},
                "object": {"key": key(), "size": 5, "etag": "b57f9512698f4b09e608f4f2a65852e5", "sequencer": "00617F08299329D189"},
                "request-id": "N4N7GDK58NMKJ12R", "requester": "123456789012", "source-ip-address": "1.2.3.4", "reason": "PutObject"}
        })
    }

    fn job() -> Job {
        Job {
            key: Key::Source { owner: owner(), video: video() },
            owner: owner(),
            video: video(),
            etag: "\"d41d8cd98f00b204e9800998ecf8427e\"".into(),
            bytes: 1024,
            received_ms: 1_700_000_000_123,
            message: None,
            receives: 1,
            sent_ms: 0,
        }
    }

    #[test]
    fn parses_s3_notification() {
        let parsed = parse(&json!({"Records": [s3(&key())]}), "glimpse");
        assert_eq!(parsed, ParsedEvent { jobs: vec![job()], ..ParsedEvent::default() });
    }

    #[test]
    fn parses_all_records_of_a_message() {
        let body = json!({"Records": [s3(&key()), s3(&key())]}).to_string();
        let parsed = parse(&sqs(&[&body]), "glimpse");
        let expected = Job { message: Some("m0".into()), receives: 3, sent_ms: 1_545_082_649_183, ..job() };
        assert_eq!(
            parsed,
            ParsedEvent {
                is_from_queue: true,
                jobs: vec![expected.clone(), expected],
                ..ParsedEvent::default()
            }
        );
    }

    #[test]
    fn parses_eventbridge_direct_and_queued() {
        let direct = parse(&eventbridge(), "glimpse");
        assert_eq!((direct.jobs.len(), direct.is_from_queue), (1, false));
        assert_eq!(direct.jobs[0].received_ms, 1_700_000_000_000);
        assert_eq!(direct.jobs[0].etag, "\"b57f9512698f4b09e608f4f2a65852e5\"");
        let queued = parse(&sqs(&[&eventbridge().to_string()]), "glimpse");
        assert_eq!((queued.jobs.len(), queued.is_from_queue), (1, true));
    }

    #[test]
    fn parses_sns_envelope() {
        let message = json!({"Records": [s3(&key())]}).to_string();
        let wrapped = json!({"Type": "Notification", "MessageId": "dc1e94d9-56c5-5e96-808d-cc7f68faa162",
            "TopicArn": "arn:aws:sns:us-east-2:111122223333:uploads", "Subject": "Amazon S3 Notification",
            "Message": message, "Timestamp": "2023-11-14T22:13:20.000Z", "SignatureVersion": "1"});
        assert_eq!(parse(&sqs(&[&wrapped.to_string()]), "glimpse").jobs.len(), 1);
        let direct = json!({"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": {"Message": message}}]});
        assert_eq!(parse(&direct, "glimpse").jobs, vec![job()]);
    }

    #[test]
    fn e4_e6_ignores_irrelevant_events() {
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2014-10-13T15:57:02.089Z",
            "Bucket": "glimpse", "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR"});
        let record_with = |pointer: &str, to: Value| {
            let mut record = s3(&key());
            *record.pointer_mut(pointer).unwrap() = to;
            json!({"Records": [record]})
        };
        let mut deleted = eventbridge();
        deleted["detail-type"] = json!("Object Deleted");
        let cases = [
            test.clone(),
            sqs(&[&test.to_string()]),
            json!({"Records": []}),
            record_with("/eventName", json!("ObjectRemoved:Delete")),
            record_with("/eventVersion", json!("3.0")),
            record_with("/s3/bucket/name", json!("other")),
            record_with("/s3/object/key", json!(format!("media/{}/manifest.json", video()))),
            record_with("/s3/object/key", json!(format!("/{}", key()))),
            record_with("/s3/object/key", json!("uploads/../x")),
            record_with("/eventSource", json!("aws:kinesis")),
            deleted,
            json!({"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "detail": {}}),
        ];
        for case in cases {
            let parsed = parse(&case, "glimpse");
            assert!(parsed.jobs.is_empty() && parsed.malformed.is_empty(), "{case}: {parsed:?}");
            assert_eq!(parsed.ignored.len(), 1, "{case}");
        }
    }

    #[test]
    fn e8_malformed_body_fails_only_its_message() {
        let good = json!({"Records": [s3(&key())]}).to_string();
        let mut keyless = s3(&key());
        keyless["s3"]["object"].as_object_mut().unwrap().remove("key");
        let keyless = json!({"Records": [keyless]}).to_string();
        let parsed = parse(&sqs(&["{oops", &good, "[]", "null", &keyless, "\"text\""]), "glimpse");
        assert_eq!(parsed.jobs.len(), 1);
        let failed: Vec<_> = parsed.malformed.iter().filter_map(|(message, _)| message.as_deref()).collect();
        assert_eq!(failed, ["m0", "m2", "m3", "m4", "m5"]);
    }

    #[test]
    fn e3_decodes_key_exactly_once() {
        for (encoded, decoded) in [
            ("a+b", Some("a b")),
            ("a%2Bb", Some("a+b")),
            ("a%252Bb", Some("a%2Bb")),
            ("%F0%9F%8E%BF", Some("\u{1f3bf}")),
            ("a%2", Some("a%2")),
            ("%FF", None),
        ] {
            assert_eq!(decode_form(encoded).as_deref(), decoded, "{encoded}");
        }
        // The complete decoding, with the escapes that S3 would write if a key of Glimpse needed them.
        let escaped = key().replace('/', "%2F");
        assert_eq!(parse(&json!({"Records": [s3(&escaped)]}), "glimpse").jobs, vec![job()]);
        let twice = escaped.replace('%', "%25");
        assert!(parse(&json!({"Records": [s3(&twice)]}), "glimpse").jobs.is_empty());
    }

    #[test]
    fn e8_response_lists_each_message_once() {
        let response = SqsBatchResponse::from_failures(["a".to_owned(), "b".to_owned(), "a".to_owned()]);
        assert_eq!(
            serde_json::to_value(response).unwrap(),
            json!({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]})
        );
        assert_eq!(
            serde_json::to_value(SqsBatchResponse::from_failures([])).unwrap(),
            json!({"batchItemFailures": []})
        );
    }

    proptest! {
        #[test]
        fn parse_never_panics(body: String) {
            parse(&sqs(&[&body]), "glimpse");
        }
    }
}
