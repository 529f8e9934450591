//! Parses the messages of the notify queue: S3 events about outcomes, and deliveries to one endpoint. Pure.

use glimpse_contract::{Key, Outcome};
use serde_json::Value;

use crate::notify::event::EventDelivery;
use crate::preview::event::decode_form;

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyMessage {
    /// Outcomes that were written; empty if the message is about other objects.
    OutcomesWritten(Vec<OutcomeObject>),
    /// An event for one endpoint.
    Delivery(EventDelivery),
}

/// An object with an outcome, as S3's event names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeObject {
    /// The outcome.
    pub outcome: Outcome,
    /// The ETag, without quotes; `None` if the S3 event has none.
    pub etag: Option<String>,
}

/// Parses the text of a message; `None` if its format is unknown. `bucket` is the deployment's own.
pub fn parse(text: &str, bucket: &str) -> Option<NotifyMessage> {
    if let Some(delivery) = EventDelivery::from_message(text) {
        return Some(NotifyMessage::Delivery(delivery));
    }
    let event: Value = serde_json::from_str(text).ok()?;
    if event.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Some(NotifyMessage::OutcomesWritten(Vec::new()));
    }
    let records = event.get("Records")?.as_array()?;
    Some(NotifyMessage::OutcomesWritten(
        records.iter().filter_map(|record| parse_outcome(record, bucket)).collect(),
    ))
}

fn parse_outcome(record: &Value, bucket: &str) -> Option<OutcomeObject> {
    let text = |path: &str| record.pointer(path).and_then(Value::as_str);
    let name = text("/eventName")?;
    let is_written = name.strip_prefix("s3:").unwrap_or(name).starts_with("ObjectCreated:");
    if text("/eventSource") != Some("aws:s3") || !is_written || text("/s3/bucket/name") != Some(bucket) {
        return None;
    }
    let key: Key = decode_form(text("/s3/object/key")?)?.parse().ok()?;
    let etag = text("/s3/object/eTag").map(|etag| etag.trim_matches('"').to_owned());
    key.outcome().map(|outcome| OutcomeObject { outcome, etag })
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VideoId;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn video() -> VideoId {
        VideoId::new(1_700_000_000_000, [1; 10])
    }

    fn event(name: &str, bucket: &str, key: &str) -> String {
        let record = json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name,
            "s3": { "bucket": { "name": bucket }, "object": { "key": key, "size": 5, "eTag": "e" } },
        });
        json!({ "Records": [record] }).to_string()
    }

    #[test]
    fn accepts_every_object_created_event() {
        let written = |outcome| OutcomeObject { outcome, etag: Some("e".into()) };
        let manifest = Key::Manifest(video()).to_string();
        for name in ["ObjectCreated:Put", "s3:ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload"] {
            let parsed = parse(&event(name, "glimpse", &manifest), "glimpse");
            assert_eq!(
                parsed,
                Some(NotifyMessage::OutcomesWritten(vec![written(Outcome::Manifest(video()))])),
                "{name}"
            );
        }
        let failure = event("ObjectCreated:Put", "glimpse", &Key::Failure(video()).to_string());
        let expected = vec![written(Outcome::Failure(video()))];
        assert_eq!(parse(&failure, "glimpse"), Some(NotifyMessage::OutcomesWritten(expected)));
    }

    #[test]
    fn ignores_other_events_and_rejects_other_text() {
        let manifest = Key::Manifest(video()).to_string();
        let attempt = Key::Attempt(video()).to_string();
        for text in [
            event("ObjectRemoved:Delete", "glimpse", &manifest),
            event("ObjectCreated:Put", "other", &manifest),
            event("ObjectCreated:Put", "glimpse", &attempt),
            event("ObjectCreated:Put", "glimpse", &format!("/{manifest}")),
            event("ObjectCreated:Put", "glimpse", "%FF"),
            json!({ "Records": [] }).to_string(),
            json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "glimpse" }).to_string(),
        ] {
            assert_eq!(parse(&text, "glimpse"), Some(NotifyMessage::OutcomesWritten(Vec::new())), "{text}");
        }
        for text in ["", "{oops", "[]", "null", "{}", "{\"Records\":1}", "{\"version\":2}"] {
            assert_eq!(parse(text, "glimpse"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(text: String) {
            parse(&text, "glimpse");
        }
    }
}
