//! Decides how a notice reads in a mail: a subject, a few plain lines, and the event itself for programs. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use crate::aws::sns::Mail;
use crate::notify::event::{Kind, Notice};

/// A mail's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    subject: String,
    text: String,
    kind: Kind,
}

impl Words {
    /// The words for a notice.
    pub fn of(notice: &Notice) -> Self {
        let outcome = match notice.kind {
            Kind::Ready => "is ready",
            Kind::Rejected => "was rejected",
            Kind::Failed => "failed",
            Kind::Deleted => "was deleted",
        };
        let event: Value = serde_json::from_str(&notice.body).unwrap_or_default();
        let word = |path: &str| event.pointer(path).and_then(Value::as_str).filter(|word| !word.is_empty());
        let mut text = format!("Video {} {outcome}.\n\n", notice.video);
        for (name, path) in [
            ("Name", "/data/name"),
            ("External id", "/data/external_id"),
            ("Why", "/data/problem/message"),
            ("Picture", "/data/urls/thumbnail.jpg"),
            ("When", "/created_at"),
        ] {
            if let Some(word) = word(path) {
                writeln!(text, "{name}: {word}").expect("a text takes more text");
            }
        }
        write!(text, "\n{}\n", notice.body).expect("a text takes more text");
        Self { subject: format!("Glimpse: video {} {outcome}", notice.video), text, kind: notice.kind }
    }

    /// What is published.
    pub fn as_mail(&self) -> Mail<'_> {
        Mail { subject: &self.subject, text: &self.text, kind: self.kind.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(kind: &str, data: &Value) -> Notice {
        let body =
            serde_json::json!({ "type": kind, "created_at": "2023-11-14T22:13:25.000Z", "data": data });
        let message = serde_json::json!({
            "version": 1, "to": "SNS", "type": kind, "video": "7yegr1n5zz040g2081040g2081", "body": body.to_string(),
        });
        Notice::from_message(&message.to_string()).unwrap()
    }

    #[test]
    fn a_mail_says_what_happened_in_plain_words() {
        let data = serde_json::json!({
            "name": "Ski trip é.mp4", "external_id": "", "problem": { "message": "This is not a video." }, "urls": {},
        });
        let words = Words::of(&notice("video.rejected", &data));
        let mail = words.as_mail();
        assert_eq!(mail.subject, "Glimpse: video 7yegr1n5zz040g2081040g2081 was rejected");
        assert!(mail.subject.is_ascii() && mail.subject.len() < 100, "as SNS wants it");
        assert_eq!(mail.kind, "video.rejected");
        let lines: Vec<_> = mail.text.lines().take(5).collect();
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
        assert!(mail.text.trim_end().ends_with('}'), "the event itself: {}", mail.text);
    }
}
