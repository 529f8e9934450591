//! Events about the outcome of a video, and the ids of their deliveries. An event is a pure function of the objects in
//! the bucket, so generating it again returns the same event and id.

use std::fmt::Write as _;

use glimpse_contract::video::{UploadDetails, Video};
use glimpse_contract::{ClientMetadata, Json, Manifest, State, TraceId, VideoId, format_rfc3339};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::preview::publish::FailureRecord;

/// The version of the messages that this code writes. It reads no other.
const VERSION: u32 = 1;

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// The outputs exist.
    #[serde(rename = "video.ready")]
    Ready,
    /// The file was rejected permanently.
    #[serde(rename = "video.rejected")]
    Rejected,
    /// The last attempt failed with a transient error; the message is in the dead-letter queue.
    #[serde(rename = "video.failed")]
    Failed,
    /// The owner deleted the video.
    #[serde(rename = "video.deleted")]
    Deleted,
}

impl EventType {
    /// All types, in the order of `docs/webhooks.md`.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Rejected, Self::Failed, Self::Deleted];

    /// The name in messages and webhooks.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "video.ready",
            Self::Rejected => "video.rejected",
            Self::Failed => "video.failed",
            Self::Deleted => "video.deleted",
        }
    }

    /// What happened to the video, as the end of a sentence about it.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Ready => "is ready",
            Self::Rejected => "was rejected",
            Self::Failed => "failed",
            Self::Deleted => "was deleted",
        }
    }
}

/// An event about a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoEvent {
    /// The type.
    pub kind: EventType,
    /// The video.
    pub video: VideoId,
    /// The trace that its upload is part of.
    pub trace_id: TraceId,
    /// The text that is posted and signed, unchanged.
    pub body: String,
}

/// One message in the notify queue: an event and the endpoint that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventDelivery {
    version: u32,
    /// The type of the event.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The video.
    pub video: VideoId,
    /// The trace that its upload is part of; `None` in messages of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The name of the endpoint.
    pub to: String,
    /// The text that is posted and signed, unchanged.
    pub body: String,
}

#[derive(Serialize)]
struct EventBody {
    #[serde(rename = "type")]
    kind: EventType,
    created_at: String,
    data: Json,
}

impl VideoEvent {
    /// The event of a manifest. `public_url` is the origin of the URLs in it.
    pub fn from_manifest(manifest: &Manifest, public_url: &str) -> Self {
        let kind = match manifest.state {
            _ if manifest.is_deleted() => EventType::Deleted,
            State::Ready => EventType::Ready,
            State::Rejected => EventType::Rejected,
        };
        let video = Video::from_manifest(manifest, &public_url);
        Self::new(kind, (manifest.video, &manifest.client_metadata), manifest.timings.committed, &video)
    }

    /// The event of a failure record.
    pub fn from_failure(record: &FailureRecord, public_url: &str) -> Self {
        let FailureRecord { failure, name, bytes, content_type, visibility } = record;
        let uploaded = UploadDetails {
            name: name.clone(),
            bytes: *bytes,
            content_type: content_type.clone(),
            client_metadata: failure.client_metadata.clone(),
            visibility: *visibility,
        };
        let video = Video::from_upload(failure.video, uploaded, Some(failure), &public_url);
        Self::new(EventType::Failed, (failure.video, &failure.client_metadata), failure.failed_at, &video)
    }

    fn new(kind: EventType, subject: (VideoId, &ClientMetadata), at_ms: u64, document: &Video) -> Self {
        let (video, passthrough) = subject;
        let trace_id = passthrough.trace_id_or_default(video);
        let body = EventBody { kind, created_at: format_rfc3339(at_ms), data: document.to_json() };
        let body = serde_json::to_string(&body).expect("these types serialize to JSON");
        Self { kind, video, trace_id, body }
    }

    /// The event as a message for one endpoint.
    pub fn to_delivery(&self, endpoint: &str) -> EventDelivery {
        let Self { kind, video, trace_id, body } = self.clone();
        EventDelivery {
            version: VERSION,
            kind,
            video,
            trace_id: Some(trace_id),
            to: endpoint.to_owned(),
            body,
        }
    }
}

impl EventDelivery {
    /// The webhook id: the same for all attempts and for duplicate messages.
    pub fn id(&self) -> String {
        let mut id = String::from("msg_");
        for byte in &self.digest()[..16] {
            write!(id, "{byte:02x}").expect("writing to a String cannot fail");
        }
        id
    }

    /// The `traceparent` header: the trace of the upload, with the first half of the delivery's id as its parent id.
    pub fn traceparent(&self) -> String {
        let mut parent = [0; 8];
        parent.copy_from_slice(&self.digest()[..8]);
        self.trace_id
            .unwrap_or_else(|| TraceId::from_video(self.video))
            .traceparent(u64::from_be_bytes(parent))
    }

    fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for field in ["glimpse webhook", &self.video.to_string(), self.kind.as_str(), &self.to] {
            hasher.update(field);
            hasher.update([0]);
        }
        hasher.finalize().into()
    }

    /// The text of the message.
    pub fn to_message(&self) -> String {
        serde_json::to_string(self).expect("these types serialize to JSON")
    }

    /// Parses the text of a message; `None` if this code did not write it.
    pub fn from_message(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|delivery: &Self| delivery.version == VERSION)
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::{
        ClientMetadata, Code, Failure, MANIFEST_VERSION, Output, Owner, ReadStats, Rejection, Source,
        Timings, Visibility,
    };
    use serde_json::Value;

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            video: VideoId::new(1_700_000_000_000, [1; 10]),
            owner: Owner::new("iss", "sub"),
            visibility: Visibility::Public,
            client_metadata: ClientMetadata {
                external_id: Some("order 7".into()),
                metadata: [("shop".to_owned(), "é".to_owned())].into(),
                trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".parse().ok(),
            },
            state: State::Ready,
            rejected: None,
            source: Source {
                etag: "\"secret-etag\"".into(),
                name: "a.mp4".into(),
                duration_ms: 1_500,
                ..Source::default()
            },
            outputs: vec![Output {
                variant: "thumbnail.jpg".into(),
                bytes: 5,
                content_type: "image/jpeg".into(),
                etag: "\"0123456789abcdef\"".into(),
                width: 640,
                height: 360,
            }],
            thumbhash: None,
            dominant_color: None,
            poster_ms: None,
            timings: Timings { committed: 1_700_000_005_000, ..Timings::default() },
            reads: ReadStats::default(),
        }
    }

    fn parse_body(event: &VideoEvent) -> Value {
        serde_json::from_str(&event.body).unwrap()
    }

    #[test]
    fn ready_event_matches_api_document() {
        let manifest = manifest();
        let event = VideoEvent::from_manifest(&manifest, "https://v.example");
        let body = parse_body(&event);
        assert_eq!(
            (&body["type"], &body["created_at"]),
            (&"video.ready".into(), &"2023-11-14T22:13:25.000Z".into())
        );
        let shown = Video::from_manifest(&manifest, &"https://v.example").to_json();
        let shown = serde_json::to_value(shown).unwrap();
        assert_eq!(body["data"], shown);
        assert_eq!((&shown["external_id"], &shown["metadata"]["shop"]), (&"order 7".into(), &"é".into()));
        assert!(shown["urls"]["thumbnail.jpg"].as_str().unwrap().ends_with("/thumbnail.jpg?v=01234567"));
        for hidden in ["uploads/", "media/", "secret-etag", &manifest.owner.to_string()] {
            assert!(!event.to_delivery("crm").to_message().contains(hidden), "{hidden}");
        }
    }

    #[test]
    fn each_outcome_has_its_event_type() {
        let mut manifest = manifest();
        manifest.state = State::Rejected;
        manifest.rejected = Some(Rejection { code: Code::NotAVideo });
        let rejected = VideoEvent::from_manifest(&manifest, "https://v.example");
        assert_eq!(parse_body(&rejected)["data"]["problem"]["code"], "not_a_video");
        manifest.rejected = Some(Rejection { code: Code::Deleted });
        let deleted = VideoEvent::from_manifest(&manifest, "https://v.example");
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: manifest.video,
            owner: manifest.owner.clone(),
            code: Code::Upstream,
            failed_at: 1,
            client_metadata: manifest.client_metadata.clone(),
        };
        let record = FailureRecord {
            failure,
            name: "a.mp4".into(),
            bytes: 7,
            content_type: "video/mp4".into(),
            visibility: Some(Visibility::Signed),
        };
        let failed = VideoEvent::from_failure(&record, "https://v.example");
        for (event, kind, state) in [
            (&rejected, "video.rejected", "rejected"),
            (&deleted, "video.deleted", "deleted"),
            (&failed, "video.failed", "failed"),
        ] {
            let body = parse_body(event);
            assert_eq!((&body["type"], &body["data"]["state"]), (&kind.into(), &state.into()));
            assert_eq!(event.kind.as_str(), kind);
        }
        let data = &parse_body(&failed)["data"];
        assert_eq!(
            (&data["external_id"], &data["name"], &data["bytes"]),
            (&"order 7".into(), &"a.mp4".into(), &7.into())
        );
        assert_eq!(data["visibility"], "signed");
    }

    #[test]
    fn webhook_table_lists_every_event_type() {
        let docs = include_str!("../../../docs/webhooks.md");
        for kind in EventType::ALL {
            let row = format!("| `{}` | ", kind.as_str());
            assert!(docs.lines().any(|line| line.starts_with(&row)), "docs/webhooks.md lacks the row {row}");
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        let rows = docs.lines().filter(|line| line.starts_with("| `video.")).count();
        assert_eq!(rows, EventType::ALL.len(), "docs/webhooks.md has rows of unknown types");
    }

    #[test]
    fn id_depends_on_video_outcome_and_endpoint() {
        let id = |manifest: &Manifest, endpoint: &str| {
            VideoEvent::from_manifest(manifest, "https://v.example").to_delivery(endpoint).id()
        };
        assert_eq!(
            id(&manifest(), "crm"),
            VideoEvent::from_manifest(&manifest(), "https://elsewhere.example").to_delivery("crm").id()
        );
        // printf 'glimpse webhook\0%s\0video.ready\0crm\0' VIDEO | sha256sum | head -c 32
        assert_eq!(id(&manifest(), "crm"), "msg_8e24f7832413cb014a0adada0e9c4aad");
        let mut other = manifest();
        other.video = VideoId::new(1_700_000_000_000, [2; 10]);
        let mut rejected = manifest();
        rejected.state = State::Rejected;
        let ids =
            [id(&manifest(), "crm"), id(&manifest(), "billing"), id(&other, "crm"), id(&rejected, "crm")];
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[index + 1..].contains(id), "{ids:?}");
            assert!(id.len() == 36 && !id.contains('.'), "{id}");
        }
    }

    #[test]
    fn delivery_carries_upload_trace() {
        let delivery = VideoEvent::from_manifest(&manifest(), "https://v.example").to_delivery("crm");
        let traceparent = delivery.traceparent();
        assert_eq!(traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-8e24f7832413cb01-01");
        assert!(delivery.id().contains(&traceparent[36..52]), "{}", delivery.id());
        let mut untraced = manifest();
        untraced.client_metadata.trace_id = None;
        let event = VideoEvent::from_manifest(&untraced, "https://v.example");
        let own = TraceId::from_video(untraced.video);
        assert_eq!((event.trace_id, &parse_body(&event)["data"]["trace_id"]), (own, &own.to_string().into()));
        let without_trace = EventDelivery { trace_id: None, ..event.to_delivery("crm") };
        assert!(!without_trace.to_message().contains("4bf9"));
        assert_eq!(without_trace.traceparent(), event.to_delivery("crm").traceparent());
    }

    #[test]
    fn message_roundtrips_and_rejects_other_text() {
        let delivery = VideoEvent::from_manifest(&manifest(), "https://v.example").to_delivery("crm");
        assert_eq!(EventDelivery::from_message(&delivery.to_message()), Some(delivery.clone()));
        let newer = delivery.to_message().replace("\"version\":1", "\"version\":2");
        for text in ["", "{}", "null", "{\"Records\":[]}", &newer] {
            assert_eq!(EventDelivery::from_message(text), None, "{text}");
        }
        assert!(delivery.to_message().len() < 16 * 1024, "far below the limit of 256 KiB");
    }
}
