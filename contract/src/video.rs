//! Decides what the API and webhooks say about a video, from what lies in the bucket.

use std::collections::BTreeMap;

use crate::id::VideoId;
use crate::json::Json;
use crate::manifest::{Failure, Manifest, Output, Passthrough, State, Visibility};
use crate::object;
use crate::problem::Code;
use crate::time::iso_date;
use crate::trace::TraceId;
use crate::variant::{Variant, revision_of_etag};

/// A video, as the API shows it to its owner and webhooks tell of it.
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
    passthrough: Passthrough,
    urls: BTreeMap<String, String>,
}

/// An uploaded file of which nothing is known yet but what its upload said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uploaded {
    /// The file's name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its declared type.
    pub content_type: String,
    /// What the customer said about it.
    pub passthrough: Passthrough,
    /// Who may see its pictures, if that is known.
    pub visibility: Option<Visibility>,
}

/// From what the URLs of a video's pictures are made. A text is the public address alone: its links carry no token.
pub trait Links {
    /// The deployment's public address, without a slash at its end.
    fn public_url(&self) -> &str;

    /// The path of a picture with what opens it to whoever gets the link, where that can be given.
    fn opened(&self, path: String, visibility: Option<Visibility>) -> String;
}

impl Links for &str {
    fn public_url(&self) -> &str {
        self
    }

    fn opened(&self, path: String, _: Option<Visibility>) -> String {
        path
    }
}

impl Video {
    /// A video that may now be uploaded.
    pub fn granted(id: VideoId, uploaded: Uploaded, links: &dyn Links) -> Self {
        Self::unfinished("uploading", id, uploaded, None, links)
    }

    /// A video that is uploaded and has no manifest: on its way, or failed if the last try said so.
    pub fn without_manifest(
        id: VideoId,
        uploaded: Uploaded,
        failure: Option<&Failure>,
        links: &dyn Links,
    ) -> Self {
        let state = if failure.is_some() { "failed" } else { "processing" };
        Self::unfinished(state, id, uploaded, failure.map(|failure| failure.code), links)
    }

    fn unfinished(
        state: &'static str,
        id: VideoId,
        uploaded: Uploaded,
        problem: Option<Code>,
        links: &dyn Links,
    ) -> Self {
        Self {
            id,
            state,
            visibility: uploaded.visibility,
            name: uploaded.name,
            bytes: uploaded.bytes,
            content_type: uploaded.content_type,
            created_at: iso_date(id.granted_at_ms()),
            width: None,
            height: None,
            duration_ms: None,
            has_audio: None,
            thumbhash: None,
            dominant_color: None,
            poster_ms: None,
            problem,
            passthrough: uploaded.passthrough.traced(id),
            urls: urls(id, None, uploaded.visibility, links),
        }
    }

    /// `uploading`, `processing`, `ready`, `rejected` or `failed`; `deleted` in a webhook only.
    pub fn state(&self) -> &'static str {
        self.state
    }

    /// What the holder of an upload token is told: how far it has come, and nothing about the file or its pictures. Whoever
    /// has the token can compute the ids of all its videos.
    pub fn status_json(&self) -> Json {
        object! { "id" => self.id, "state" => self.state, "problem" => self.problem_json() }
    }

    /// The trace that it is part of.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.passthrough.trace_id
    }

    fn problem_json(&self) -> Option<Json> {
        self.problem.map(|code| {
            object! { "code" => code.as_str(), "title" => code.title(), "message" => code.message() }
        })
    }

    /// As the API answers it.
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
        self.passthrough.put_into(&mut json);
        json.put("urls", (&self.urls).into());
        json
    }

    /// Why it has no pictures, if it has none.
    pub fn problem(&self) -> Option<Code> {
        self.problem
    }

    /// A video whose outcome is committed.
    pub fn from_manifest(manifest: &Manifest, links: &dyn Links) -> Self {
        let Manifest { video: id, source, .. } = manifest;
        let visibility = Some(manifest.visibility);
        let is_ready = manifest.state == State::Ready;
        let known = |value: u32| (value > 0).then_some(value);
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
            created_at: iso_date(id.granted_at_ms()),
            width: known(source.width),
            height: known(source.height),
            duration_ms: (source.duration_ms > 0).then_some(source.duration_ms),
            has_audio: is_ready.then_some(source.has_audio),
            thumbhash: manifest.thumbhash.clone(),
            dominant_color: manifest.dominant_color.clone(),
            poster_ms: manifest.poster_ms,
            problem: manifest.rejected.as_ref().map(|because| because.code),
            passthrough: manifest.passthrough.clone().traced(*id),
            urls: if is_ready {
                urls(*id, Some(&manifest.outputs), visibility, links)
            } else {
                BTreeMap::new()
            },
        }
    }
}

/// The URLs of the default pictures that there will be, or that there are; then with their revisions.
fn urls(
    id: VideoId,
    outputs: Option<&[Output]>,
    visibility: Option<Visibility>,
    links: &dyn Links,
) -> BTreeMap<String, String> {
    let url = |file: String, etag: Option<&str>| {
        let mut target = links.opened(format!("/{id}/{file}"), visibility);
        if let Some(revision) = etag.and_then(revision_of_etag) {
            let joint = if target.contains('?') { "&" } else { "?" };
            target.extend([joint, "v=", revision]);
        }
        (file, format!("{}{target}", links.public_url()))
    };
    let Some(outputs) = outputs else {
        return Variant::DEFAULTS.into_iter().map(|variant| url(variant.file_name(), None)).collect();
    };
    // A video that was made ready by an earlier version may lack what is a default today.
    let known = |output: &&Output| Variant::from_file_name(&output.variant).is_some_and(Variant::is_default);
    outputs.iter().filter(known).map(|output| url(output.variant.clone(), Some(&output.etag))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Owner;
    use crate::manifest::{MANIFEST_VERSION, Reads, RejectedBecause, Source, Timings};

    fn links() -> &'static dyn Links {
        &"https://v.example"
    }

    fn manifest() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            video: VideoId::new(1_700_000_000_000, [1; 10]),
            owner: Owner::of("i", "s"),
            visibility: Visibility::Public,
            passthrough: Passthrough::default(),
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
            reads: Reads::default(),
        }
    }

    #[test]
    fn a_ready_video_carries_revisions_and_no_key_of_the_bucket() {
        let video = serde_json::to_value(Video::from_manifest(&manifest(), links()).to_json()).unwrap();
        assert_eq!(video["state"], "ready");
        assert_eq!(video["created_at"], "2023-11-14T22:13:20.000Z");
        assert_eq!(video["problem"], serde_json::Value::Null);
        let url = video["urls"]["thumbnail.jpg"].as_str().unwrap();
        assert!(url.ends_with("/thumbnail.jpg?v=01234567") && url.starts_with("https://v.example/"), "{url}");
        let files: Vec<_> = video["urls"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(files, ["storyboard.vtt", "thumbnail.jpg"], "defaults that there are");
        assert!(!video.to_string().contains("uploads/") && !video.to_string().contains("media/"));
    }

    #[test]
    fn a_rejected_one_says_why_in_plain_words() {
        let mut manifest = manifest();
        manifest.state = State::Rejected;
        manifest.rejected = Some(RejectedBecause { code: Code::NotAVideo });
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
    fn without_a_manifest_it_is_on_its_way_or_failed() {
        let id = manifest().video;
        let uploaded = Uploaded {
            name: "a".into(),
            bytes: 1,
            content_type: "video/mp4".into(),
            passthrough: Passthrough::default(),
            visibility: None,
        };
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: id,
            owner: Owner::of("i", "s"),
            code: Code::Upstream,
            failed_at: 1,
            passthrough: Passthrough::default(),
        };
        let state = |failure| {
            let video = Video::without_manifest(id, uploaded.clone(), failure, links());
            serde_json::to_value(video.to_json()).unwrap()["state"].clone()
        };
        assert_eq!((state(None), state(Some(&failure))), ("processing".into(), "failed".into()));
        let video = Video::without_manifest(id, uploaded.clone(), None, links());
        assert_eq!(video.urls.len(), Variant::DEFAULTS.len(), "all that there will be");
    }
}
