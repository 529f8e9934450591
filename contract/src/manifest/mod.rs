//! Decides what backend writes and edge reads: the manifest of a video, and the note of a failed try.

mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{Owner, VideoId};
use crate::problem::Code;
use crate::trace::TraceId;

/// The version that this code writes. A reader accepts every version and ignores fields it does not know.
pub const MANIFEST_VERSION: u32 = 1;

/// Who may see the pictures of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Anybody who knows the URL.
    #[default]
    Public,
    /// Whoever holds a token, and the owner.
    Signed,
}

impl Visibility {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Signed => "signed",
        }
    }

    /// The visibility of that word. An unknown word is taken as the stricter one.
    pub fn parse(word: &str) -> Self {
        if word == "public" { Self::Public } else { Self::Signed }
    }
}

/// What has become of a video, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All default pictures exist.
    Ready,
    /// The file is refused for good; [`Manifest::rejected`] says why.
    Rejected,
}

/// Why a file is refused for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The problem's code.
    pub code: Code,
}

/// What the customer said about a video when it was granted. Glimpse does not look into it; it comes back in the
/// API, in the manifest and in webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ClientMetadata {
    /// The customer's own name of the video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The customer's own fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The trace that the upload is part of; in whatever is told of a video always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
}

impl ClientMetadata {
    /// The trace of the upload: the video's own, if it was part of no other.
    pub fn trace_id_or_default(&self, video: VideoId) -> TraceId {
        self.trace_id.unwrap_or_else(|| TraceId::from_video(video))
    }

    /// The same with its trace.
    #[must_use]
    pub fn with_default_trace_id(self, video: VideoId) -> Self {
        Self { trace_id: Some(self.trace_id_or_default(video)), ..self }
    }
}

/// What was found out about the uploaded file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// S3's ETag, quotes included.
    pub etag: String,
    /// Length in bytes.
    pub bytes: u64,
    /// The type that the uploader declared.
    pub content_type: String,
    /// The file's name as the user has it, decoded, for display only.
    pub name: String,
    /// The container by its bytes (`mov`, `matroska`, …); empty if it was not recognised.
    pub container: String,
    /// The video codec (`h264`, …); empty if there is none.
    pub codec: String,
    /// Width as shown, rotation and pixel shape applied, in pixels.
    pub width: u32,
    /// Height as shown, in pixels.
    pub height: u32,
    /// Length in milliseconds.
    pub duration_ms: u64,
    /// Frames a second on average; 0 if not known.
    pub fps: f64,
    /// Clockwise turn to be applied for showing: 0, 90, 180 or 270 degrees.
    pub rotation: u32,
    /// Whether the transfer function is PQ or HLG.
    pub hdr: bool,
    /// Whether there is sound.
    pub has_audio: bool,
}

/// One picture that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The picture's canonical text with extension (`thumbnail.jpg`): the last segment of its key.
    pub variant: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Its media type.
    pub content_type: String,
    /// S3's ETag, quotes included.
    pub etag: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// When each step was done, in Unix milliseconds; 0 where a step was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// S3 took the upload: the event's own time.
    pub received: u64,
    /// Container and codec were known.
    pub probed: u64,
    /// All pictures were made.
    pub rendered: u64,
    /// The manifest was about to be written.
    pub committed: u64,
}

/// What was read of the uploaded file to make its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadStats {
    /// Ranged reads.
    pub requests: u64,
    /// Bytes that came back.
    pub bytes: u64,
    /// Times that everything waited for the storage, one after another.
    pub round_trips: u64,
}

/// `media/{video}/manifest.json`: written last and once, it commits the outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`] of the writer.
    pub version: u32,
    /// Which video.
    pub video: VideoId,
    /// Whose video.
    pub owner: Owner,
    /// Who may see the pictures.
    #[serde(default)]
    pub visibility: Visibility,
    /// What the customer said about it.
    #[serde(flatten)]
    pub client_metadata: ClientMetadata,
    /// Ready or rejected.
    pub state: State,
    /// Why it was rejected; absent when ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejection>,
    /// What was found out about the file.
    pub source: Source,
    /// The pictures; empty when rejected.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// A blurred stand-in of the poster of about 25 bytes, base64, <https://evanw.github.io/thumbhash/>.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbhash: Option<String>,
    /// The poster's dominant colour as `#rrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dominant_color: Option<String>,
    /// When the poster's frame is shown in the video, in milliseconds; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poster_ms: Option<u64>,
    /// When each step was done.
    #[serde(default)]
    pub timings: Timings,
    /// What was read for it.
    #[serde(default)]
    pub reads: ReadStats,
}

impl Manifest {
    /// Whether the owner has deleted the video: then this is all that is left of it.
    pub fn is_deleted(&self) -> bool {
        self.rejected.as_ref().is_some_and(|rejection| rejection.code == Code::Deleted)
    }
}

/// `media/{video}/poster.json`: what the owner has chosen as poster. Written after the default thumbnails that show it, and
/// only over the choice that was there before: so whoever loses a race writes thumbnails and choice anew, and in the end
/// both are one person's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poster {
    /// [`MANIFEST_VERSION`] of the writer.
    pub version: u32,
    /// Which video.
    pub video: VideoId,
    /// The moment that was chosen, in milliseconds; absent after going back to the best frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Which choice it is: 1, 2 and so on.
    pub revision: u64,
    /// The default thumbnails as they are now.
    pub outputs: Vec<Output>,
    /// As in [`Manifest::thumbhash`].
    pub thumbhash: String,
    /// As in [`Manifest::dominant_color`].
    pub dominant_color: String,
    /// When it was chosen, in Unix milliseconds.
    pub chosen_at: u64,
}

impl Manifest {
    /// Takes over what a later choice of the poster has changed.
    pub fn apply_poster(&mut self, poster: Poster) {
        for output in poster.outputs {
            match self.outputs.iter_mut().find(|known| known.variant == output.variant) {
                Some(known) => *known = output,
                None => self.outputs.push(output),
            }
        }
        self.thumbhash = Some(poster.thumbhash);
        self.dominant_color = Some(poster.dominant_color);
        self.poster_ms = poster.time_ms.or(self.poster_ms);
    }
}

/// `media/{video}/failure.json`: the last try failed for a reason that may pass. A manifest outranks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// [`MANIFEST_VERSION`] of the writer.
    pub version: u32,
    /// Which video.
    pub video: VideoId,
    /// Whose video.
    pub owner: Owner,
    /// The problem's code.
    pub code: Code,
    /// When the last try ended, in Unix milliseconds.
    pub failed_at: u64,
    /// What the customer said about the video.
    #[serde(flatten)]
    pub client_metadata: ClientMetadata,
}

/// One delivery of a video to a function, as it is recorded before the function opens the file: as
/// `media/{video}/attempt.json` from the second delivery on, and as the member `attempt` of a [`Failure`]. A function that
/// is killed writes nothing, so the record of its last delivery is the failure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// The id of the queue's message.
    pub message: String,
    /// Which delivery of that message it is, from 1.
    pub number: u32,
    /// When it began, in Unix milliseconds.
    pub started_at: u64,
    /// The failure does not count before this moment, in Unix milliseconds. The function moves it while it works; 0 once
    /// the attempt has ended.
    #[serde(default)]
    pub lease_expires_at: u64,
    /// The function does not run any more after this moment, in Unix milliseconds; 0 once the attempt has ended.
    #[serde(default)]
    pub ends_at: u64,
}

impl Attempt {
    /// Whether the function still reports that it works: the failure does not count yet.
    pub fn is_running(&self, now_ms: u64) -> bool {
        now_ms < self.lease_expires_at.min(self.ends_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempt_ends_with_lease_or_deadline() {
        let attempt = |lease_expires_at, ends_at| Attempt { lease_expires_at, ends_at, ..Attempt::default() };
        assert!(attempt(20, 30).is_running(19));
        assert!(!attempt(20, 30).is_running(20));
        assert!(!attempt(40, 30).is_running(30));
        assert!(!attempt(0, 0).is_running(0));
    }

    fn ready() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            video: VideoId::new(1_700_000_000_000, [1; 10]),
            owner: Owner::new("iss", "sub"),
            visibility: Visibility::Public,
            client_metadata: ClientMetadata::default(),
            state: State::Ready,
            rejected: None,
            source: Source { name: "clip.mp4".into(), width: 1920, ..Source::default() },
            outputs: Vec::new(),
            thumbhash: None,
            dominant_color: None,
            poster_ms: None,
            timings: Timings::default(),
            reads: ReadStats::default(),
        }
    }

    #[test]
    fn manifest_roundtrips() {
        let mut manifest = ready();
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(!text.contains("metadata") && !text.contains("external_id"), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);

        manifest.client_metadata.external_id = Some("order 7".into());
        manifest.client_metadata.metadata.insert("a".into(), "b".into());
        manifest.state = State::Rejected;
        manifest.rejected = Some(Rejection { code: Code::NotAVideo });
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(text.contains(r#""state":"rejected","rejected":{"code":"not_a_video"}"#), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }

    #[test]
    fn ignores_unknown_fields_and_defaults_missing_ones() {
        let text = format!(
            r#"{{"version":9,"video":"{}","owner":"{}","state":"ready","source":{{"moon":1}},"new":[1]}}"#,
            VideoId::new(1, [1; 10]),
            Owner::new("iss", "sub"),
        );
        let manifest: Manifest = serde_json::from_str(&text).unwrap();
        assert_eq!((manifest.version, manifest.outputs.len()), (9, 0));
    }

    #[test]
    fn unknown_visibility_is_signed() {
        assert_eq!(Visibility::parse("public"), Visibility::Public);
        assert_eq!(Visibility::parse("friends"), Visibility::Signed);
    }
}
