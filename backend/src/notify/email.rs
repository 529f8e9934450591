//! Text of the email about an event: a subject, a few plain lines, and the event's JSON for programs. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use crate::aws::sns::SnsMessage;
use crate::notify::event::{EventDelivery, EventType};

/// The subject and the text of an email.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailText {
    subject: String,
    text: String,
    kind: EventType,
}

impl EmailText {
    /// The text for an event.
    pub fn from_delivery(delivery: &EventDelivery) -> Self {
        let summary = delivery.kind.summary();
        let event: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
        let field = |path: &str| event.pointer(path).and_then(Value::as_str).filter(|word| !word.is_empty());
        let mut text = format!("Video {} {summary}.\n\n", delivery.video);
        for (name, path) in [
            ("Name", "/data/name"),
            ("External id", "/data/external_id"),
            ("Why", "/data/problem/message"),
            ("Poster", "/data/urls/thumbnail.jpg"),
            ("When", "/created_at"),
        ] {
            if let Some(value) = field(path) {
                writeln!(text, "{name}: {value}").expect("writing to a String cannot fail");
            }
        }
        write!(text, "\n{}\n", delivery.body).expect("writing to a String cannot fail");
        Self { subject: format!("Glimpse: video {} {summary}", delivery.video), text, kind: delivery.kind }
    }

    /// The text as a message for SNS.
    pub fn as_sns_message(&self) -> SnsMessage<'_> {
        SnsMessage { subject: &self.subject, text: &self.text, kind: self.kind.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(kind: &str, data: &Value) -> EventDelivery {
        let body =
            serde_json::json!({ "type": kind, "created_at": "2023-11-14T22:13:25.000Z", "data": data });
        let message = serde_json::json!({
            "version": 1, "to": "SNS", "type": kind, "video": "7yegr1n5zz040g2081040g2081", "body": body.to_string(),
        });
        EventDelivery::from_message(&message.to_string()).unwrap()
    }

    #[test]
    fn email_text_describes_the_outcome() {
        let data = serde_json::json!({
            "name": "Ski trip é.mp4", "external_id": "", "problem": { "message": "This is not a video." }, "urls": {},
        });
        let email = EmailText::from_delivery(&delivery("video.rejected", &data));
        let message = email.as_sns_message();
        assert_eq!(message.subject, "Glimpse: video 7yegr1n5zz040g2081040g2081 was rejected");
        assert!(
            message.subject.is_ascii() && message.subject.len() < 100,
            "SNS requires an ASCII subject below 100 characters"
        );
        assert_eq!(message.kind, "video.rejected");
        let lines: Vec<_> = message.text.lines().take(5).collect();
        assert_eq!(
            lines,
            [
                "Video 7yegr1n5zz040g2081040g2081 was rejected.",
                "",
                "Name: Ski trip é.mp4",
                "Why: This is not a video.",
                "When: 2023-11-14T22:13:25.000Z"
            ]
        );
        assert!(message.text.trim_end().ends_with('}'), "the text ends with the event: {}", message.text);
    }
}
