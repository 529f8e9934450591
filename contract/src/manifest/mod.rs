//! Records that the backend writes and the edge reads: a video's manifest, failure record and poster choice.

mod read;

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::{Owner, VideoId};
use crate::problem::Code;
use crate::trace::TraceId;

/// Version that this code writes. Readers accept every version and ignore unknown fields.
pub const MANIFEST_VERSION: u32 = 1;

/// Who can view the images of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Anyone with the URL.
    #[default]
    Public,
    /// The owner, and holders of a delivery token.
    Signed,
}

impl Visibility {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Signed => "signed",
        }
    }

    /// Parses a stored value. An unknown one means `Signed`, the stricter one.
    pub fn parse_lenient(word: &str) -> Self {
        word.parse().unwrap_or(Self::Signed)
    }
}

/// Error of a visibility that is neither `public` nor `signed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be public or signed")]
pub struct ParseVisibilityError;

impl FromStr for Visibility {
    type Err = ParseVisibilityError;

    fn from_str(word: &str) -> Result<Self, ParseVisibilityError> {
        [Self::Public, Self::Signed]
            .into_iter()
            .find(|visibility| visibility.as_str() == word)
            .ok_or(ParseVisibilityError)
    }
}

/// Final state of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All default outputs exist.
    Ready,
    /// The file is permanently rejected, for the reason in [`Manifest::rejected`].
    Rejected,
}

/// Reason of a permanent rejection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The problem's code.
    pub code: Code,
}

/// Client metadata of a video, set when its upload is granted. Glimpse does not interpret it, and returns it in the
/// API, in the manifest and in webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ClientMetadata {
    /// The customer's id of the video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Additional fields of the customer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The trace that the upload belongs to. Always present in responses and webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
}

impl ClientMetadata {
    /// The trace of the upload; the video's default trace id if the upload did not belong to a trace.
    pub fn trace_id_or_default(&self, video: VideoId) -> TraceId {
        self.trace_id.unwrap_or_else(|| TraceId::from_video(video))
    }

    /// Sets the default trace id if there is none.
    #[must_use]
    pub fn with_default_trace_id(self, video: VideoId) -> Self {
        Self { trace_id: Some(self.trace_id_or_default(video)), ..self }
    }
}

/// Properties of the uploaded file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// S3's ETag, with quotes.
    pub etag: String,
    /// Size in bytes.
    pub bytes: u64,
    /// The declared media type.
    pub content_type: String,
    /// The original file name, decoded, for display only.
    pub name: String,
    /// The container, detected from the file's bytes (`mov`, `matroska`, …); empty if unknown.
    pub container: String,
    /// The video codec (`h264`, …); empty if there is none.
    pub codec: String,
    /// Display width in pixels, after rotation and with the pixel aspect ratio applied.
    pub width: u32,
    /// Display height in pixels.
    pub height: u32,
    /// Duration in milliseconds.
    pub duration_ms: u64,
    /// Average frame rate in frames per second; 0 if unknown.
    pub fps: f64,
    /// Clockwise rotation for display: 0, 90, 180 or 270 degrees.
    pub rotation: u32,
    /// Whether the transfer function is PQ or HLG.
    pub hdr: bool,
    /// Whether the file has an audio track.
    pub has_audio: bool,
}

/// An existing output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The canonical file name (`thumbnail.jpg`): the last segment of the key.
    pub variant: String,
    /// Size in bytes.
    pub bytes: u64,
    /// The media type.
    pub content_type: String,
    /// S3's ETag, with quotes.
    pub etag: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// The end of each processing step, in Unix milliseconds; 0 for a step that was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// S3 stored the upload: the time in S3's event.
    pub received: u64,
    /// Container and codec were detected.
    pub probed: u64,
    /// All outputs were rendered.
    pub rendered: u64,
    /// The manifest was about to be written: the commit.
    pub committed: u64,
}

/// Statistics of the reads from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadStats {
    /// Number of ranged reads.
    pub requests: u64,
    /// Number of bytes received.
    pub bytes: u64,
    /// Number of sequential waits for the storage.
    pub round_trips: u64,
}

/// `media/{video}/manifest.json`: the outcome of a video. It is written last and only once, which is the commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The writer's [`MANIFEST_VERSION`].
    pub version: u32,
    /// The video's id.
    pub video: VideoId,
    /// The video's owner.
    pub owner: Owner,
    /// Who can view the images.
    #[serde(default)]
    pub visibility: Visibility,
    /// Client metadata of the video.
    #[serde(flatten)]
    pub client_metadata: ClientMetadata,
    /// The final state: ready or rejected.
    pub state: State,
    /// The reason of the rejection; absent when ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejection>,
    /// Properties of the source.
    pub source: Source,
    /// The outputs; empty when rejected.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// The poster's thumbhash, which encodes a blurred placeholder: about 25 bytes, in base64,
    /// <https://evanw.github.io/thumbhash/>.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbhash: Option<String>,
    /// The poster's dominant color as `#rrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dominant_color: Option<String>,
    /// The time of the poster's frame in the video, in milliseconds; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poster_ms: Option<u64>,
    /// The end of each processing step.
    #[serde(default)]
    pub timings: Timings,
    /// Statistics of the reads from the source.
    #[serde(default)]
    pub reads: ReadStats,
}

impl Manifest {
    /// Whether this is a tombstone: the owner has deleted the video, and only this manifest is left.
    pub fn is_deleted(&self) -> bool {
        self.rejected.as_ref().is_some_and(|rejection| rejection.code == Code::Deleted)
    }
}

/// `media/{video}/poster.json`: the owner's choice of the poster. It is written after the default thumbnails that show
/// it, and replaces only the choice that was read before (compare-and-swap). The loser of a race writes thumbnails and
/// choice again, so that both always come from the same request in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poster {
    /// The writer's [`MANIFEST_VERSION`].
    pub version: u32,
    /// The video's id.
    pub video: VideoId,
    /// The chosen time in milliseconds; absent after a reset to the best frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Number of the choice: 1, 2, and so on.
    pub revision: u64,
    /// The current default thumbnails.
    pub outputs: Vec<Output>,
    /// As in [`Manifest::thumbhash`].
    pub thumbhash: String,
    /// As in [`Manifest::dominant_color`].
    pub dominant_color: String,
    /// Time of the choice, in Unix milliseconds.
    pub chosen_at: u64,
}

impl Manifest {
    /// Applies a later choice of the poster to the manifest.
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

/// `media/{video}/failure.json`: the last attempt failed with a transient error. A manifest outranks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The writer's [`MANIFEST_VERSION`].
    pub version: u32,
    /// The video's id.
    pub video: VideoId,
    /// The video's owner.
    pub owner: Owner,
    /// The problem's code.
    pub code: Code,
    /// The end of the last attempt, in Unix milliseconds.
    pub failed_at: u64,
    /// Client metadata of the video.
    #[serde(flatten)]
    pub client_metadata: ClientMetadata,
}

/// One delivery of a video's message to a function. It is recorded before the function opens the source: as
/// `media/{video}/attempt.json` from the second delivery on, and as the member `attempt` of a [`Failure`]. A function
/// that is killed cannot write a record, so the record of its last delivery becomes the failure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// The id of the SQS message.
    pub message: String,
    /// Number of the delivery of that message, from 1.
    pub number: u32,
    /// The start of the attempt, in Unix milliseconds.
    pub started_at: u64,
    /// Expiry of the lease, in Unix milliseconds: the failure does not count before. The running function renews it; 0
    /// once the attempt has ended.
    #[serde(default)]
    pub lease_expires_at: u64,
    /// The function's timeout: it no longer runs after this time, in Unix milliseconds; 0 once the attempt has ended.
    #[serde(default)]
    pub ends_at: u64,
}

impl Attempt {
    /// Whether the function is still running, according to its lease: the failure does not count yet.
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
        assert_eq!(Visibility::parse_lenient("public"), Visibility::Public);
        assert_eq!(Visibility::parse_lenient("friends"), Visibility::Signed);
        assert_eq!("friends".parse::<Visibility>(), Err(ParseVisibilityError));
        for visibility in [Visibility::Public, Visibility::Signed] {
            assert_eq!(visibility.as_str().parse(), Ok(visibility));
        }
    }
}
