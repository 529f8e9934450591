//! Decides what a message of the notify queue is: word from S3 that an outcome was written, or a notice for one endpoint.
//! Pure.

use glimpse_contract::{Key, VideoId};
use serde_json::Value;

use crate::notify::event::Notice;
use crate::preview::event::form_decoded;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake {
    /// Outcomes that were written; none, if the message is about something else.
    Written(Vec<Outcome>),
    /// Somebody is to be told.
    Notice(Notice),
}

/// An object that says what has become of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its manifest.
    Manifest(VideoId),
    /// The note of its last failure.
    Failure {
        /// Which video.
        video: VideoId,
        /// The ETag of the note that the event is about, without quotes; none if the event does not say it.
        etag: Option<String>,
    },
}

/// Reads a message's text; none if it is nothing that is known here. `bucket` is ours.
pub fn read(text: &str, bucket: &str) -> Option<Intake> {
    if let Some(notice) = Notice::from_message(text) {
        return Some(Intake::Notice(notice));
    }
    let event: Value = serde_json::from_str(text).ok()?;
    if event.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Some(Intake::Written(Vec::new()));
    }
    let records = event.get("Records")?.as_array()?;
    Some(Intake::Written(records.iter().filter_map(|record| outcome(record, bucket)).collect()))
}

fn outcome(record: &Value, bucket: &str) -> Option<Outcome> {
    let text = |path: &str| record.pointer(path).and_then(Value::as_str);
    let name = text("/eventName")?;
    let is_written = name.strip_prefix("s3:").unwrap_or(name).starts_with("ObjectCreated:");
    if text("/eventSource") != Some("aws:s3") || !is_written || text("/s3/bucket/name") != Some(bucket) {
        return None;
    }
    match form_decoded(text("/s3/object/key")?)?.parse() {
        Ok(Key::Manifest(video)) => Some(Outcome::Manifest(video)),
        Ok(Key::Failure(video)) => {
            let etag = text("/s3/object/eTag").map(|etag| etag.trim_matches('"').to_owned());
            Some(Outcome::Failure { video, etag })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
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
    fn an_outcome_is_written_by_whatever_kind_of_write() {
        let manifest = Key::Manifest(video()).to_string();
        for name in ["ObjectCreated:Put", "s3:ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload"] {
            let read = read(&event(name, "glimpse", &manifest), "glimpse");
            assert_eq!(read, Some(Intake::Written(vec![Outcome::Manifest(video())])), "{name}");
        }
        let failure = event("ObjectCreated:Put", "glimpse", &Key::Failure(video()).to_string());
        let expected = Outcome::Failure { video: video(), etag: Some("e".into()) };
        assert_eq!(read(&failure, "glimpse"), Some(Intake::Written(vec![expected])));
    }

    #[test]
    fn other_events_ask_for_nothing_and_other_texts_are_not_known() {
        let manifest = Key::Manifest(video()).to_string();
        let poster = Key::Poster(video()).to_string();
        for text in [
            event("ObjectRemoved:Delete", "glimpse", &manifest),
            event("ObjectCreated:Put", "other", &manifest),
            event("ObjectCreated:Put", "glimpse", &poster),
            event("ObjectCreated:Put", "glimpse", &format!("/{manifest}")),
            event("ObjectCreated:Put", "glimpse", "%FF"),
            json!({ "Records": [] }).to_string(),
            json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "glimpse" }).to_string(),
        ] {
            assert_eq!(read(&text, "glimpse"), Some(Intake::Written(Vec::new())), "{text}");
        }
        for text in ["", "{oops", "[]", "null", "{}", "{\"Records\":1}", "{\"version\":2}"] {
            assert_eq!(read(text, "glimpse"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            read(&text, "glimpse");
        }
    }
}
