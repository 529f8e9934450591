//! Decides what is told of a video's outcome, and under which id: a pure function of what lies in the bucket, so that
//! telling it again tells the same.

use std::fmt::Write as _;

use glimpse_contract::video::{Uploaded, Video};
use glimpse_contract::{Json, Manifest, Passthrough, State, TraceId, VideoId, iso_date};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::preview::publish::FailureNote;

/// The version of a message that this code writes; it reads no other.
const VERSION: u32 = 1;

/// What has become of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Its pictures exist.
    #[serde(rename = "video.ready")]
    Ready,
    /// Its file is refused for good.
    #[serde(rename = "video.rejected")]
    Rejected,
    /// The last try failed for a reason that may pass; it is with the dead letters.
    #[serde(rename = "video.failed")]
    Failed,
    /// Its owner deleted it.
    #[serde(rename = "video.deleted")]
    Deleted,
}

impl Kind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "video.ready",
            Self::Rejected => "video.rejected",
            Self::Failed => "video.failed",
            Self::Deleted => "video.deleted",
        }
    }
}

/// What is told of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What has become of it.
    pub kind: Kind,
    /// The video.
    pub video: VideoId,
    /// The trace that its upload is part of.
    pub trace_id: TraceId,
    /// The very text that is posted and signed.
    pub body: String,
}

/// One message in the notify queue: what is told of which video, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    version: u32,
    /// What has become of it.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The video.
    pub video: VideoId,
    /// The trace that its upload is part of; the message of an earlier version names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The endpoint that it is for, by its name.
    pub to: String,
    /// The very text that is posted and signed.
    pub body: String,
}

#[derive(Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: Kind,
    created_at: String,
    data: Json,
}

impl News {
    /// What a manifest tells. `public_url` is the origin of the URLs that are handed out.
    pub fn of_manifest(manifest: &Manifest, public_url: &str) -> Self {
        let kind = match manifest.state {
            _ if manifest.is_deleted() => Kind::Deleted,
            State::Ready => Kind::Ready,
            State::Rejected => Kind::Rejected,
        };
        let video = Video::from_manifest(manifest, &public_url);
        Self::new(kind, (manifest.video, &manifest.passthrough), manifest.timings.committed, &video)
    }

    /// What the note of a failure tells.
    pub fn of_failure(note: &FailureNote, public_url: &str) -> Self {
        let FailureNote { failure, name, bytes, content_type, visibility } = note;
        let uploaded = Uploaded {
            name: name.clone(),
            bytes: *bytes,
            content_type: content_type.clone(),
            passthrough: failure.passthrough.clone(),
            visibility: *visibility,
        };
        let video = Video::without_manifest(failure.video, uploaded, Some(failure), &public_url);
        Self::new(Kind::Failed, (failure.video, &failure.passthrough), failure.failed_at, &video)
    }

    fn new(kind: Kind, of: (VideoId, &Passthrough), at_ms: u64, shown: &Video) -> Self {
        let (video, passthrough) = of;
        let trace_id = passthrough.trace(video);
        let body = Body { kind, created_at: iso_date(at_ms), data: shown.to_json() };
        let body = serde_json::to_string(&body).expect("our own types are plain data");
        Self { kind, video, trace_id, body }
    }

    /// The same as a message for one endpoint.
    pub fn to(&self, endpoint: &str) -> Notice {
        let Self { kind, video, trace_id, body } = self.clone();
        Notice { version: VERSION, kind, video, trace_id: Some(trace_id), to: endpoint.to_owned(), body }
    }
}

impl Notice {
    /// The id under which the endpoint is told: the same at every try, and for whatever twin of it there may be.
    pub fn id(&self) -> String {
        let mut id = String::from("msg_");
        for byte in &self.digest()[..16] {
            write!(id, "{byte:02x}").expect("a text takes more text");
        }
        id
    }

    /// The trace that goes along: that of the upload, in which the telling is named by the first half of its id.
    pub fn traceparent(&self) -> String {
        let mut parent = [0; 8];
        parent.copy_from_slice(&self.digest()[..8]);
        self.trace_id.unwrap_or_else(|| TraceId::of(self.video)).traceparent(u64::from_be_bytes(parent))
    }

    fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for part in ["glimpse webhook", &self.video.to_string(), self.kind.as_str(), &self.to] {
            hasher.update(part);
            hasher.update([0]);
        }
        hasher.finalize().into()
    }

    /// The message's text.
    pub fn to_message(&self) -> String {
        serde_json::to_string(self).expect("our own types are plain data")
    }

    /// Reads a message's text; none if this code has not written it.
    pub fn from_message(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|notice: &Self| notice.version == VERSION)
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::{
        Code, Failure, MANIFEST_VERSION, Output, Owner, Passthrough, Reads, RejectedBecause, Source, Timings,
        Visibility,
    };
    use serde_json::Value;

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            video: VideoId::new(1_700_000_000_000, [1; 10]),
            owner: Owner::of("iss", "sub"),
            visibility: Visibility::Public,
            passthrough: Passthrough {
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
            reads: Reads::default(),
        }
    }

    fn told(news: &News) -> Value {
        serde_json::from_str(&news.body).unwrap()
    }

    #[test]
    fn a_ready_video_is_told_as_the_api_shows_it() {
        let manifest = manifest();
        let news = News::of_manifest(&manifest, "https://v.example");
        let body = told(&news);
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
            assert!(!news.to("crm").to_message().contains(hidden), "{hidden}");
        }
    }

    #[test]
    fn every_outcome_has_its_type() {
        let mut manifest = manifest();
        manifest.state = State::Rejected;
        manifest.rejected = Some(RejectedBecause { code: Code::NotAVideo });
        let rejected = News::of_manifest(&manifest, "https://v.example");
        assert_eq!(told(&rejected)["data"]["problem"]["code"], "not_a_video");
        manifest.rejected = Some(RejectedBecause { code: Code::Deleted });
        let deleted = News::of_manifest(&manifest, "https://v.example");
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: manifest.video,
            owner: manifest.owner.clone(),
            code: Code::Upstream,
            failed_at: 1,
            passthrough: manifest.passthrough.clone(),
        };
        let note = FailureNote {
            failure,
            name: "a.mp4".into(),
            bytes: 7,
            content_type: "video/mp4".into(),
            visibility: Some(Visibility::Signed),
        };
        let failed = News::of_failure(&note, "https://v.example");
        for (news, kind, state) in [
            (&rejected, "video.rejected", "rejected"),
            (&deleted, "video.deleted", "deleted"),
            (&failed, "video.failed", "failed"),
        ] {
            let body = told(news);
            assert_eq!((&body["type"], &body["data"]["state"]), (&kind.into(), &state.into()));
            assert_eq!(news.kind.as_str(), kind);
        }
        let data = &told(&failed)["data"];
        assert_eq!(
            (&data["external_id"], &data["name"], &data["bytes"]),
            (&"order 7".into(), &"a.mp4".into(), &7.into())
        );
        assert_eq!(data["visibility"], "signed");
    }

    #[test]
    fn an_id_follows_from_video_outcome_and_endpoint() {
        let id = |manifest: &Manifest, endpoint: &str| {
            News::of_manifest(manifest, "https://v.example").to(endpoint).id()
        };
        assert_eq!(
            id(&manifest(), "crm"),
            News::of_manifest(&manifest(), "https://elsewhere.example").to("crm").id()
        );
        // printf 'glimpse webhook\0%s\0video.ready\0crm\0' VIDEO | sha256sum | head -c 32
        assert_eq!(id(&manifest(), "crm"), "msg_8e24f7832413cb014a0adada0e9c4aad");
        let mut other = manifest();
        other.video = VideoId::new(1_700_000_000_000, [2; 10]);
        let mut rejected = manifest();
        rejected.state = State::Rejected;
        let ids =
            [id(&manifest(), "crm"), id(&manifest(), "billing"), id(&other, "crm"), id(&rejected, "crm")];
        for (place, id) in ids.iter().enumerate() {
            assert!(!ids[place + 1..].contains(id), "{ids:?}");
            assert!(id.len() == 36 && !id.contains('.'), "{id}");
        }
    }

    #[test]
    fn the_trace_of_the_upload_goes_along() {
        let notice = News::of_manifest(&manifest(), "https://v.example").to("crm");
        let traceparent = notice.traceparent();
        assert_eq!(traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-8e24f7832413cb01-01");
        assert!(notice.id().contains(&traceparent[36..52]), "{}", notice.id());
        let mut untraced = manifest();
        untraced.passthrough.trace_id = None;
        let news = News::of_manifest(&untraced, "https://v.example");
        let own = TraceId::of(untraced.video);
        assert_eq!((news.trace_id, &told(&news)["data"]["trace_id"]), (own, &own.to_string().into()));
        let of_before = Notice { trace_id: None, ..news.to("crm") };
        assert!(!of_before.to_message().contains("4bf9"));
        assert_eq!(of_before.traceparent(), news.to("crm").traceparent());
    }

    #[test]
    fn a_message_survives_its_text_and_nothing_else_is_one() {
        let notice = News::of_manifest(&manifest(), "https://v.example").to("crm");
        assert_eq!(Notice::from_message(&notice.to_message()), Some(notice.clone()));
        let newer = notice.to_message().replace("\"version\":1", "\"version\":2");
        for text in ["", "{}", "null", "{\"Records\":[]}", &newer] {
            assert_eq!(Notice::from_message(text), None, "{text}");
        }
        assert!(notice.to_message().len() < 16 * 1024, "far below the 256 KiB of a message");
    }
}
