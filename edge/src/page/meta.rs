//! Public metadata of a video, for everyone with its link. Pure.
//!
//! It does not contain the name of the uploaded file, which is only for its owner. The title is the customer's
//! `metadata.title`.

use glimpse_contract::{
    Code, Json, Manifest, Output, Problem, State, VideoId, Visibility, object, revision_from_etag,
};

use crate::config::{Config, PublicVariants};
use crate::delivery::missing_status;

/// The title of a video without one.
const DEFAULT_TITLE: &str = "Video";
/// The longest title that is shown, in characters: other sites truncate longer ones anyway.
const MAX_TITLE_CHARS: usize = 120;
/// The widths of the offered posters beside the existing one, in pixels, if the deployment configures none. Few, so
/// that a page view does not cause many renders.
const DEFAULT_POSTER_WIDTHS: [u32; 6] = [80, 160, 320, 960, 1280, 1920];
/// The narrowest poster in `srcset`, in pixels; narrower ones are for link previews.
const MIN_SRCSET_WIDTH: u32 = 320;

/// The metadata of a ready video.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoMeta {
    /// The video's id.
    pub video: VideoId,
    /// The title.
    pub title: String,
    /// Width as displayed, in pixels.
    pub width: u32,
    /// Height as displayed, in pixels.
    pub height: u32,
    /// Duration in milliseconds.
    pub duration_ms: u64,
    thumbhash: Option<String>,
    dominant_color: Option<String>,
    outputs: Vec<Output>,
    public_url: String,
    poster_widths: Vec<u32>,
}

/// The widths of on-demand posters for all callers: those of the deployment, or the defaults.
pub(super) fn poster_widths(config: &Config) -> Vec<u32> {
    let mut widths = match (&config.render_url, config.public_variants) {
        (None, _) | (_, PublicVariants::None) => Vec::new(),
        (Some(_), PublicVariants::Any) if config.public_widths.is_empty() => DEFAULT_POSTER_WIDTHS.to_vec(),
        (Some(_), _) => config.public_widths.clone(),
    };
    widths.sort_unstable();
    widths
}

impl VideoMeta {
    /// Reads the metadata from a manifest; `widths` are those of on-demand posters, the narrowest first.
    pub fn from_manifest(manifest: &Manifest, public_url: &str, widths: Vec<u32>) -> Self {
        let title =
            manifest.client_metadata.metadata.get("title").map(|title| title.trim()).unwrap_or_default();
        let title = if title.is_empty() { DEFAULT_TITLE } else { title };
        Self {
            video: manifest.video,
            title: title.chars().take(MAX_TITLE_CHARS).collect(),
            width: manifest.source.width,
            height: manifest.source.height,
            duration_ms: manifest.source.duration_ms,
            thumbhash: manifest.thumbhash.clone(),
            dominant_color: manifest.dominant_color.clone(),
            outputs: manifest.outputs.clone(),
            public_url: public_url.to_owned(),
            poster_widths: widths,
        }
    }

    /// The URL of its page.
    pub fn page_url(&self) -> String {
        format!("{}/{}", self.public_url, self.video)
    }

    /// The poster's dominant color as `#rrggbb`.
    pub fn color(&self) -> &str {
        self.dominant_color.as_deref().unwrap_or("#000000")
    }

    /// The origin of all URLs.
    pub fn origin(&self) -> &str {
        &self.public_url
    }

    /// The widths of on-demand posters, the narrowest first.
    pub fn poster_widths(&self) -> &[u32] {
        &self.poster_widths
    }

    /// An existing image.
    pub fn output(&self, file: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.variant == file)
    }

    /// The URL of an image, with its revision if it exists.
    pub fn url(&self, file: &str) -> String {
        let revision = self.output(file).and_then(|output| revision_from_etag(&output.etag));
        match revision {
            Some(revision) => format!("{}/{file}?v={revision}", self.page_url()),
            None => format!("{}/{file}", self.page_url()),
        }
    }

    /// The poster in every available width, as the value of `srcset`.
    fn srcset(&self, file: &str) -> String {
        let own = self.output(file).map(|output| (output.width, self.url(file)));
        let is_other = |width: &&u32| {
            (MIN_SRCSET_WIDTH..self.width).contains(*width)
                && own.as_ref().is_none_or(|(own, _)| own != *width)
        };
        let on_demand: Vec<_> = self
            .poster_widths
            .iter()
            .filter(is_other)
            .map(|width| (*width, format!("{}/{file}?width={width}", self.page_url())))
            .collect();
        let mut all: Vec<_> = own.into_iter().chain(on_demand).collect();
        all.sort_by_key(|(width, _)| *width);
        let all: Vec<_> = all.iter().map(|(width, url)| format!("{url} {width}w")).collect();
        all.join(", ")
    }

    /// The content of `meta.json`.
    pub fn to_json(&self) -> Json {
        let size = |file: &str| {
            self.output(file)
                .map(|picture| object! { "width" => picture.width, "height" => picture.height })
                .unwrap_or_default()
        };
        let url = |output: &Output| (output.variant.clone(), Json::from(self.url(&output.variant)));
        object! {
            "id" => self.video,
            "title" => &self.title,
            "width" => self.width,
            "height" => self.height,
            "duration_ms" => self.duration_ms,
            "thumbhash" => self.thumbhash.as_ref(),
            "dominant_color" => self.dominant_color.as_ref(),
            "page" => self.page_url(),
            "urls" => Json::Object(self.outputs.iter().map(url).collect()),
            "srcset" => object! {
                "jpg" => self.srcset("thumbnail.jpg"),
                "webp" => self.srcset("thumbnail.webp"),
            },
            "poster" => size("thumbnail.jpg"),
            "animated" => size("animated.gif"),
        }
    }

    /// Duration and size as text.
    pub fn summary(&self) -> String {
        format!("{} · {} × {}", format_duration(self.duration_ms), self.width, self.height)
    }
}

/// A duration as players show it: `0:07`, `1:02:03`.
fn format_duration(ms: u64) -> String {
    let seconds = (ms + 500) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The problem.
    pub problem: Problem,
    /// After how many seconds to retry, if at all.
    pub retry_after_secs: Option<u32>,
    /// Whether the response is the same for every caller.
    pub is_public: bool,
}

impl From<Problem> for Unavailable {
    fn from(problem: Problem) -> Self {
        Self { problem, retry_after_secs: None, is_public: false }
    }
}

/// The visible part of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoView {
    /// The video.
    pub meta: VideoMeta,
    /// Whether it is the same for every caller, and may be cached publicly.
    pub is_public: bool,
}

/// The view of a video for its owner or another caller. Other callers learn nothing about a private video, not even its
/// outcome.
///
/// # Errors
/// A video that is in progress, rejected, deleted, private, or unknown.
pub fn view_video(
    video: VideoId,
    manifest: Option<&Manifest>,
    is_owner: bool,
    config: &Config,
    now_ms: u64,
) -> Result<VideoView, Unavailable> {
    let is_public = manifest.is_none_or(|manifest| manifest.visibility == Visibility::Public);
    if !is_public && !is_owner {
        let detail = "This video is private. Sign in as its owner to view it.";
        return Err(Problem::with_detail(Code::Unauthorized, detail).into());
    }
    match manifest {
        Some(manifest) if manifest.state == State::Ready => Ok(VideoView {
            meta: VideoMeta::from_manifest(manifest, &config.public_url, poster_widths(config)),
            is_public,
        }),
        other => {
            let rejection = other.map(|manifest| manifest.rejected.as_ref().map(|because| because.code));
            let missing = missing_status(video, rejection, now_ms);
            Err(Unavailable {
                problem: Problem::new(missing.code),
                retry_after_secs: missing.retry_after_secs,
                is_public,
            })
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use glimpse_contract::{ClientMetadata, MANIFEST_VERSION, Owner, ReadStats, Rejection, Source, Timings};

    use super::*;
    use crate::testing::{example_config, example_config_with};

    pub(crate) fn example_manifest() -> Manifest {
        let output = |variant: &str, width, height| Output {
            variant: variant.into(),
            bytes: 5,
            content_type: "image/jpeg".into(),
            etag: "\"0123456789abcdef\"".into(),
            width,
            height,
        };
        Manifest {
            version: MANIFEST_VERSION,
            video: VideoId::new(1_700_000_000_000, [1; 10]),
            owner: Owner::new("i", "s"),
            visibility: Visibility::Public,
            client_metadata: ClientMetadata::default(),
            state: State::Ready,
            rejected: None,
            source: Source {
                name: "my secret plan.mp4".into(),
                etag: "\"source-etag\"".into(),
                width: 1280,
                height: 720,
                duration_ms: 67_400,
                ..Source::default()
            },
            outputs: vec![
                output("thumbnail.jpg", 640, 360),
                output("thumbnail.webp", 640, 360),
                output("animated.gif", 320, 180),
                output("animated.webp", 320, 180),
                output("storyboard.vtt", 0, 0),
            ],
            thumbhash: Some("3OcRJYB4d3h/iIeHeEh3eIhw+j3A".into()),
            dominant_color: Some("#aabbcc".into()),
            poster_ms: None,
            timings: Timings::default(),
            reads: ReadStats::default(),
        }
    }

    pub(crate) fn example_meta(manifest: &Manifest) -> VideoMeta {
        VideoMeta::from_manifest(manifest, "https://v.example", DEFAULT_POSTER_WIDTHS.to_vec())
    }

    #[test]
    fn meta_exposes_no_keys_or_file_name() {
        let meta = serde_json::to_value(example_meta(&example_manifest()).to_json()).unwrap();
        let id = example_manifest().video;
        assert_eq!(
            (&meta["width"], &meta["height"], &meta["duration_ms"]),
            (&1280.into(), &720.into(), &67_400.into())
        );
        assert_eq!(meta["urls"]["thumbnail.jpg"], format!("https://v.example/{id}/thumbnail.jpg?v=01234567"));
        assert_eq!(meta["urls"].as_object().unwrap().len(), 5);
        assert_eq!(meta["dominant_color"], "#aabbcc");
        assert_eq!(
            meta["srcset"]["webp"],
            format!(
                "https://v.example/{id}/thumbnail.webp?width=320 320w, \
                 https://v.example/{id}/thumbnail.webp?v=01234567 640w, \
                 https://v.example/{id}/thumbnail.webp?width=960 960w"
            )
        );
        let text = meta.to_string();
        let owner = example_manifest().owner.to_string();
        for hidden in ["uploads/", "media/", "secret", "source", &owner] {
            assert!(!text.contains(hidden), "{text} contains {hidden}");
        }
    }

    #[test]
    fn without_render_offers_only_existing_widths() {
        let meta = VideoMeta::from_manifest(&example_manifest(), "https://v.example", Vec::new()).to_json();
        let meta = serde_json::to_value(meta).unwrap();
        assert!(meta["srcset"]["jpg"].as_str().unwrap().ends_with("?v=01234567 640w"));
        assert_eq!(meta["srcset"]["jpg"].as_str().unwrap().matches("w,").count(), 0);
    }

    #[test]
    fn only_public_widths_are_offered() {
        let render = ("RENDER_URL", "https://abc.lambda-url.eu-central-1.on.aws");
        assert_eq!(poster_widths(&example_config_with(&[("PUBLIC_WIDTHS", "640,200")])), [0; 0]);
        assert_eq!(poster_widths(&example_config_with(&[render])), DEFAULT_POSTER_WIDTHS);
        let widths = poster_widths(&example_config_with(&[render, ("PUBLIC_WIDTHS", "1000,640,200,400")]));
        assert_eq!(widths, [200, 400, 640, 1000]);
        let meta = VideoMeta::from_manifest(&example_manifest(), "https://v.example", widths).to_json();
        let offered: Vec<_> = meta
            .get("srcset")
            .get("jpg")
            .as_str()
            .unwrap()
            .split(", ")
            .filter_map(|one| one.rsplit(' ').next())
            .collect();
        assert_eq!(offered, ["400w", "640w", "1000w"]);
    }

    #[test]
    fn title_comes_from_metadata_only() {
        let mut manifest = example_manifest();
        assert_eq!(example_meta(&manifest).title, "Video");
        manifest.client_metadata.metadata.insert("title".into(), "  ".into());
        assert_eq!(example_meta(&manifest).title, "Video");
        manifest.client_metadata.metadata.insert("title".into(), format!(" {} ", "ü".repeat(200)));
        assert_eq!(example_meta(&manifest).title, "ü".repeat(120));
    }

    #[test]
    fn formats_durations() {
        for (ms, expected) in
            [(0, "0:00"), (7_400, "0:07"), (59_500, "1:00"), (67_400, "1:07"), (3_723_000, "1:02:03")]
        {
            assert_eq!(format_duration(ms), expected);
        }
    }

    #[test]
    fn view_depends_on_visibility_and_owner() {
        let granted = 1_700_000_000_000;
        let check = |rejected: Option<Code>, visibility, is_owner, expected: Result<bool, (Code, bool)>| {
            let mut manifest = example_manifest();
            manifest.visibility = visibility;
            if let Some(code) = rejected {
                manifest.state = State::Rejected;
                manifest.rejected = Some(Rejection { code });
            }
            let found = view_video(manifest.video, Some(&manifest), is_owner, &example_config(), granted);
            let found = found.map(|shown| shown.is_public);
            assert_eq!(found.map_err(|none| (none.problem.code, none.is_public)), expected);
        };
        let (public, signed) = (Visibility::Public, Visibility::Signed);
        check(None, public, false, Ok(true));
        check(None, signed, true, Ok(false));
        check(Some(Code::NotAVideo), public, false, Err((Code::NotAVideo, true)));
        check(Some(Code::Deleted), public, true, Err((Code::Deleted, true)));
        check(Some(Code::NotAVideo), signed, true, Err((Code::NotAVideo, false)));
        for state in [None, Some(Code::NotAVideo), Some(Code::Deleted)] {
            check(state, signed, false, Err((Code::Unauthorized, false)));
        }

        let video = example_manifest().video;
        let unavailable_at = |now_ms| {
            let unavailable = view_video(video, None, false, &example_config(), now_ms).unwrap_err();
            (unavailable.problem.code, unavailable.retry_after_secs)
        };
        assert_eq!(unavailable_at(granted), (Code::Processing, Some(2)));
        assert_eq!(unavailable_at(granted + 3 * 86_400_000), (Code::NotFound, None));
    }
}
