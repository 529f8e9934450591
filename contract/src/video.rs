//! Builds the JSON of a video for the API and for webhooks, from its records in the bucket.

use std::collections::BTreeMap;

use crate::id::VideoId;
use crate::json::Json;
use crate::manifest::{ClientMetadata, Failure, Manifest, Output, State, Visibility};
use crate::object;
use crate::problem::Code;
use crate::time::format_rfc3339;
use crate::trace::TraceId;
use crate::variant::{Variant, revision_from_etag};

/// A video as the API returns it to its owner and webhooks report it.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    id: VideoId,
    state: &'static str,
    visibility: Option<Visibility>,
    name: String,
    bytes: u64,
    content_type: String,
    created_at: String,
    width: Option<u32>,
    height: Option<u32>,
    duration_ms: Option<u64>,
    has_audio: Option<bool>,
    thumbhash: Option<String>,
    dominant_color: Option<String>,
    poster_ms: Option<u64>,
    problem: Option<Code>,
    client_metadata: ClientMetadata,
    urls: BTreeMap<String, String>,
}

/// Properties of an upload that was not processed yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadDetails {
    /// The file's name.
    pub name: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The declared media type.
    pub content_type: String,
    /// Client metadata.
    pub client_metadata: ClientMetadata,
    /// Who can view the images, if known.
    pub visibility: Option<Visibility>,
}

/// Builds the URLs of a video's images. The implementation for `&str`, the public URL, adds no tokens.
pub trait LinkBuilder {
    /// The deployment's public URL, without a trailing slash.
    fn public_url(&self) -> &str;

    /// Adds a delivery token to the path of an image, if the image needs one and a token can be created.
    fn signed_path(&self, path: String, visibility: Option<Visibility>) -> String;
}

impl LinkBuilder for &str {
    fn public_url(&self) -> &str {
        self
    }

    fn signed_path(&self, path: String, _: Option<Visibility>) -> String {
        path
    }
}

impl Video {
    /// A video whose upload was granted.
    pub fn uploading(id: VideoId, upload: UploadDetails, links: &dyn LinkBuilder) -> Self {
        Self::unprocessed("uploading", id, upload, None, links)
    }

    /// An uploaded video without a manifest: processing, or failed if there is a failure record.
    pub fn from_upload(
        id: VideoId,
        upload: UploadDetails,
        failure: Option<&Failure>,
        links: &dyn LinkBuilder,
    ) -> Self {
        let state = if failure.is_some() { "failed" } else { "processing" };
        Self::unprocessed(state, id, upload, failure.map(|failure| failure.code), links)
    }

    fn unprocessed(
        state: &'static str,
        id: VideoId,
        upload: UploadDetails,
        problem: Option<Code>,
        links: &dyn LinkBuilder,
    ) -> Self {
        Self {
            id,
            state,
            visibility: upload.visibility,
            name: upload.name,
            bytes: upload.bytes,
            content_type: upload.content_type,
            created_at: format_rfc3339(id.timestamp_ms()),
            width: None,
            height: None,
            duration_ms: None,
            has_audio: None,
            thumbhash: None,
            dominant_color: None,
            poster_ms: None,
            problem,
            client_metadata: upload.client_metadata.with_default_trace_id(id),
            urls: urls(id, None, upload.visibility, links),
        }
    }

    /// `uploading`, `processing`, `ready`, `rejected` or `failed`; `deleted` in a webhook only.
    pub fn state(&self) -> &'static str {
        self.state
    }

    /// The status for the holder of an upload token. It contains nothing about the file or its images, because the
    /// holder can compute the ids of all videos of the token.
    pub fn status_json(&self) -> Json {
        object! { "id" => self.id, "state" => self.state, "problem" => self.problem_json() }
    }

    /// The trace that the video belongs to.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.client_metadata.trace_id
    }

    fn problem_json(&self) -> Option<Json> {
        self.problem.map(|code| {
            object! { "code" => code.as_str(), "title" => code.title(), "message" => code.message() }
        })
    }

    /// The JSON of the API.
    pub fn to_json(&self) -> Json {
        let mut json = object! {
            "id" => self.id,
            "state" => self.state,
            "visibility" => self.visibility.map(Visibility::as_str),
            "name" => &self.name,
            "bytes" => self.bytes,
            "content_type" => &self.content_type,
            "created_at" => &self.created_at,
            "width" => self.width,
            "height" => self.height,
            "duration_ms" => self.duration_ms,
            "has_audio" => self.has_audio,
            "thumbhash" => self.thumbhash.as_deref(),
            "dominant_color" => self.dominant_color.as_deref(),
            "poster_ms" => self.poster_ms,
            "problem" => self.problem_json(),
        };
        self.client_metadata.insert_into(&mut json);
        json.put("urls", (&self.urls).into());
        json
    }

    /// Why the video was rejected or has failed, if so.
    pub fn problem(&self) -> Option<Code> {
        self.problem
    }

    /// A video whose outcome is committed.
    pub fn from_manifest(manifest: &Manifest, links: &dyn LinkBuilder) -> Self {
        let Manifest { video: id, source, .. } = manifest;
        let visibility = Some(manifest.visibility);
        let is_ready = manifest.state == State::Ready;
        let nonzero = |value: u32| (value > 0).then_some(value);
        Self {
            id: *id,
            state: match manifest.state {
                State::Ready => "ready",
                State::Rejected if manifest.is_deleted() => "deleted",
                State::Rejected => "rejected",
            },
            visibility,
            name: source.name.clone(),
            bytes: source.bytes,
            content_type: source.content_type.clone(),
            created_at: format_rfc3339(id.timestamp_ms()),
            width: nonzero(source.width),
            height: nonzero(source.height),
            duration_ms: (source.duration_ms > 0).then_some(source.duration_ms),
            has_audio: is_ready.then_some(source.has_audio),
            thumbhash: manifest.thumbhash.clone(),
            dominant_color: manifest.dominant_color.clone(),
            poster_ms: manifest.poster_ms,
            problem: manifest.rejected.as_ref().map(|rejection| rejection.code),
            client_metadata: manifest.client_metadata.clone().with_default_trace_id(*id),
            urls: if is_ready {
                urls(*id, Some(&manifest.outputs), visibility, links)
            } else {
                BTreeMap::new()
            },
        }
    }
}

/// The URLs of the default outputs: without revisions while the video is not ready, then with them.
fn urls(
    id: VideoId,
    outputs: Option<&[Output]>,
    visibility: Option<Visibility>,
    links: &dyn LinkBuilder,
) -> BTreeMap<String, String> {
    let url = |file: String, etag: Option<&str>| {
        let mut target = links.signed_path(format!("/{id}/{file}"), visibility);
        if let Some(revision) = etag.and_then(revision_from_etag) {
            let separator = if target.contains('?') { "&" } else { "?" };
            target.extend([separator, "v=", revision]);
        }
        (file, format!("{}{target}", links.public_url()))
    };
    let Some(outputs) = outputs else {
        return Variant::DEFAULTS.into_iter().map(|variant| url(variant.file_name(), None)).collect();
    };
    // A video that was processed by an earlier version can lack outputs that are defaults today.
    let is_default =
        |output: &&Output| Variant::from_file_name(&output.variant).is_some_and(Variant::is_default);
    outputs.iter().filter(is_default).map(|output| url(output.variant.clone(), Some(&output.etag))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Owner;
    use crate::manifest::{MANIFEST_VERSION, ReadStats, Rejection, Source, Timings};

    fn links() -> &'static dyn LinkBuilder {
        &"https://v.example"
    }

    fn manifest() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            video: VideoId::new(1_700_000_000_000, [1; 10]),
            owner: Owner::new("i", "s"),
            visibility: Visibility::Public,
            client_metadata: ClientMetadata::default(),
            state: State::Ready,
            rejected: None,
            source: Source {
                name: "a.mp4".into(),
                width: 640,
                height: 360,
                duration_ms: 1500,
                ..Source::default()
            },
            outputs: ["thumbnail.jpg", "storyboard.vtt", "thumbnail-width_200.jpg", "hologram.bin"]
                .map(|variant| Output {
                    variant: variant.into(),
                    bytes: 5,
                    content_type: "image/jpeg".into(),
                    etag: "\"0123456789abcdef\"".into(),
                    width: 640,
                    height: 360,
                })
                .into(),
            thumbhash: None,
            dominant_color: None,
            poster_ms: None,
            timings: Timings::default(),
            reads: ReadStats::default(),
        }
    }

    #[test]
    fn ready_video_has_revisions_and_no_s3_keys() {
        let video = serde_json::to_value(Video::from_manifest(&manifest(), links()).to_json()).unwrap();
        assert_eq!(video["state"], "ready");
        assert_eq!(video["created_at"], "2023-11-14T22:13:20.000Z");
        assert_eq!(video["problem"], serde_json::Value::Null);
        let url = video["urls"]["thumbnail.jpg"].as_str().unwrap();
        assert!(url.ends_with("/thumbnail.jpg?v=01234567") && url.starts_with("https://v.example/"), "{url}");
        let files: Vec<_> = video["urls"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(files, ["storyboard.vtt", "thumbnail.jpg"], "only existing defaults");
        assert!(!video.to_string().contains("uploads/") && !video.to_string().contains("media/"));
    }

    #[test]
    fn rejected_video_has_message() {
        let mut manifest = manifest();
        manifest.state = State::Rejected;
        manifest.rejected = Some(Rejection { code: Code::NotAVideo });
        let video = serde_json::to_value(Video::from_manifest(&manifest, links()).to_json()).unwrap();
        assert_eq!(video["state"], "rejected");
        assert_eq!(video["problem"]["message"], Code::NotAVideo.message());
        let status = serde_json::to_value(Video::from_manifest(&manifest, links()).status_json()).unwrap();
        let names: Vec<_> = status.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["id", "problem", "state"]);
        assert_eq!((&status["state"], &status["problem"]), (&video["state"], &video["problem"]));
        assert_eq!(video["urls"].as_object().unwrap().len(), 0);
    }

    #[test]
    fn without_manifest_is_processing_or_failed() {
        let id = manifest().video;
        let uploaded = UploadDetails {
            name: "a".into(),
            bytes: 1,
            content_type: "video/mp4".into(),
            client_metadata: ClientMetadata::default(),
            visibility: None,
        };
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: id,
            owner: Owner::new("i", "s"),
            code: Code::Upstream,
            failed_at: 1,
            client_metadata: ClientMetadata::default(),
        };
        let state = |failure| {
            let video = Video::from_upload(id, uploaded.clone(), failure, links());
            serde_json::to_value(video.to_json()).unwrap()["state"].clone()
        };
        assert_eq!((state(None), state(Some(&failure))), ("processing".into(), "failed".into()));
        let video = Video::from_upload(id, uploaded.clone(), None, links());
        assert_eq!(video.urls.len(), Variant::DEFAULTS.len(), "all default outputs");
    }
}
