//! Decides what is said about a video to whoever has its link. Pure.
//!
//! The name of the uploaded file is not: it was written for its owner's eyes. What the customer called it
//! (`metadata.title`) is.

use glimpse_contract::{
    Code, Json, Manifest, Output, Problem, State, VideoId, Visibility, object, revision_of_etag,
};

use crate::config::{Config, PublicVariants};
use crate::delivery::missing;

/// What a video is called that nobody has named.
const UNNAMED: &str = "Video";
/// The longest title that is shown, in characters: other sites cut longer ones anyhow.
const MAX_TITLE: usize = 120;
/// How wide posters are offered beside the one that exists, in pixels, where the deployment names no widths. Few, so that
/// nobody has many pictures made by looking at a page.
const WIDTHS: [u32; 6] = [80, 160, 320, 960, 1280, 1920];
/// The narrowest poster that is offered to browsers, in pixels; narrower ones are for cards.
const NARROWEST: u32 = 320;

/// What is said about a ready video.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Which video.
    pub video: VideoId,
    /// What it is called.
    pub title: String,
    /// Width as shown, in pixels.
    pub width: u32,
    /// Height as shown, in pixels.
    pub height: u32,
    /// Length in milliseconds.
    pub duration_ms: u64,
    thumbhash: Option<String>,
    dominant_color: Option<String>,
    outputs: Vec<Output>,
    public_url: String,
    widths: Vec<u32>,
}

/// The widths in which posters are made on demand, for everybody: those that the deployment names, or a few of ours.
pub(super) fn widths(config: &Config) -> Vec<u32> {
    let mut widths = match (&config.render_url, config.public_variants) {
        (None, _) | (_, PublicVariants::None) => Vec::new(),
        (Some(_), PublicVariants::Any) if config.public_widths.is_empty() => WIDTHS.to_vec(),
        (Some(_), _) => config.public_widths.clone(),
    };
    widths.sort_unstable();
    widths
}

impl Facts {
    /// The facts of a manifest; `widths` are those in which posters are made on demand, the narrowest first.
    pub fn of(manifest: &Manifest, public_url: &str, widths: Vec<u32>) -> Self {
        let title = manifest.passthrough.metadata.get("title").map(|title| title.trim()).unwrap_or_default();
        let title = if title.is_empty() { UNNAMED } else { title };
        Self {
            video: manifest.video,
            title: title.chars().take(MAX_TITLE).collect(),
            width: manifest.source.width,
            height: manifest.source.height,
            duration_ms: manifest.source.duration_ms,
            thumbhash: manifest.thumbhash.clone(),
            dominant_color: manifest.dominant_color.clone(),
            outputs: manifest.outputs.clone(),
            public_url: public_url.to_owned(),
            widths,
        }
    }

    /// The address of its page.
    pub fn page(&self) -> String {
        format!("{}/{}", self.public_url, self.video)
    }

    /// The poster's dominant colour as `#rrggbb`.
    pub fn color(&self) -> &str {
        self.dominant_color.as_deref().unwrap_or("#000000")
    }

    /// The origin of all addresses.
    pub fn origin(&self) -> &str {
        &self.public_url
    }

    /// The widths in which posters are made on demand, the narrowest first.
    pub fn widths(&self) -> &[u32] {
        &self.widths
    }

    /// A picture that exists.
    pub fn picture(&self, file: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.variant == file)
    }

    /// The address of a picture, with its revision if it exists.
    pub fn url(&self, file: &str) -> String {
        let revision = self.picture(file).and_then(|output| revision_of_etag(&output.etag));
        match revision {
            Some(revision) => format!("{}/{file}?v={revision}", self.page()),
            None => format!("{}/{file}", self.page()),
        }
    }

    /// The poster in every width that the video has, as `srcset` has it.
    fn srcset(&self, file: &str) -> String {
        let own = self.picture(file).map(|output| (output.width, self.url(file)));
        let is_other = |width: &&u32| {
            (NARROWEST..self.width).contains(*width) && own.as_ref().is_none_or(|(own, _)| own != *width)
        };
        let made: Vec<_> = self
            .widths
            .iter()
            .filter(is_other)
            .map(|width| (*width, format!("{}/{file}?width={width}", self.page())))
            .collect();
        let mut all: Vec<_> = own.into_iter().chain(made).collect();
        all.sort_by_key(|(width, _)| *width);
        let all: Vec<_> = all.iter().map(|(width, url)| format!("{url} {width}w")).collect();
        all.join(", ")
    }

    /// `meta.json`.
    pub fn meta(&self) -> Json {
        let size = |file: &str| {
            self.picture(file)
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
            "page" => self.page(),
            "urls" => Json::Object(self.outputs.iter().map(url).collect()),
            "srcset" => object! {
                "jpg" => self.srcset("thumbnail.jpg"),
                "webp" => self.srcset("thumbnail.webp"),
            },
            "poster" => size("thumbnail.jpg"),
            "animated" => size("animated.gif"),
        }
    }

    /// Length and size in words.
    pub fn summary(&self) -> String {
        format!("{} · {} × {}", clock(self.duration_ms), self.width, self.height)
    }
}

/// A length as players show it: `0:07`, `1:02:03`.
fn clock(ms: u64) -> String {
    let seconds = (ms + 500) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Why there is nothing to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotShown {
    /// What whoever asks is told.
    pub problem: Problem,
    /// In how many seconds they should ask again, if at all.
    pub retry_after_secs: Option<u32>,
    /// Whether everybody is told so.
    pub is_public: bool,
}

impl From<Problem> for NotShown {
    fn from(problem: Problem) -> Self {
        Self { problem, retry_after_secs: None, is_public: false }
    }
}

/// What is shown of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The video.
    pub facts: Facts,
    /// Whether that is for everybody, and may be kept where everybody finds it.
    pub is_public: bool,
}

/// What is shown of a video to somebody who is, or is not, its owner. Of a private one nobody else learns anything, not
/// even what became of it.
///
/// # Errors
/// It is on its way, refused, deleted, private, or unknown.
pub fn shown(
    video: VideoId,
    manifest: Option<&Manifest>,
    is_owner: bool,
    config: &Config,
    now_ms: u64,
) -> Result<Shown, NotShown> {
    let is_public = manifest.is_none_or(|manifest| manifest.visibility == Visibility::Public);
    if !is_public && !is_owner {
        let detail = "This video is private: sign in as its owner to see it.";
        return Err(Problem::because(Code::Unauthorized, detail).into());
    }
    match manifest {
        Some(manifest) if manifest.state == State::Ready => {
            Ok(Shown { facts: Facts::of(manifest, &config.public_url, widths(config)), is_public })
        }
        other => {
            let committed = other.map(|manifest| manifest.rejected.as_ref().map(|because| because.code));
            let not_there = missing(video, committed, now_ms);
            Err(NotShown {
                problem: Problem::new(not_there.code),
                retry_after_secs: not_there.retry_after_secs,
                is_public,
            })
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use glimpse_contract::{MANIFEST_VERSION, Owner, Passthrough, Reads, RejectedBecause, Source, Timings};

    use super::*;
    use crate::config::tests::{example, with};

    pub(crate) fn manifest() -> Manifest {
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
            owner: Owner::of("i", "s"),
            visibility: Visibility::Public,
            passthrough: Passthrough::default(),
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
            reads: Reads::default(),
        }
    }

    pub(crate) fn facts(manifest: &Manifest) -> Facts {
        Facts::of(manifest, "https://v.example", WIDTHS.to_vec())
    }

    #[test]
    fn meta_says_what_a_page_needs_and_nothing_of_the_bucket_or_the_file() {
        let meta = serde_json::to_value(facts(&manifest()).meta()).unwrap();
        let id = manifest().video;
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
        let owner = manifest().owner.to_string();
        for hidden in ["uploads/", "media/", "secret", "source", &owner] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }

    #[test]
    fn without_a_function_only_what_exists_is_offered() {
        let meta = Facts::of(&manifest(), "https://v.example", Vec::new()).meta();
        let meta = serde_json::to_value(meta).unwrap();
        assert!(meta["srcset"]["jpg"].as_str().unwrap().ends_with("?v=01234567 640w"));
        assert_eq!(meta["srcset"]["jpg"].as_str().unwrap().matches("w,").count(), 0);
    }

    #[test]
    fn only_public_widths_are_offered() {
        let render = ("RENDER_URL", "https://abc.lambda-url.eu-central-1.on.aws");
        assert_eq!(widths(&with(&[("PUBLIC_WIDTHS", "640,200")])), [0; 0]);
        assert_eq!(widths(&with(&[render])), WIDTHS);
        let widths = widths(&with(&[render, ("PUBLIC_WIDTHS", "1000,640,200,400")]));
        assert_eq!(widths, [200, 400, 640, 1000]);
        let meta = Facts::of(&manifest(), "https://v.example", widths).meta();
        let offered: Vec<_> = meta
            .get("srcset")
            .get("jpg")
            .text()
            .unwrap()
            .split(", ")
            .filter_map(|one| one.rsplit(' ').next())
            .collect();
        assert_eq!(offered, ["400w", "640w", "1000w"]);
    }

    #[test]
    fn a_title_is_the_customers_and_never_the_files_name() {
        let mut manifest = manifest();
        assert_eq!(facts(&manifest).title, "Video");
        manifest.passthrough.metadata.insert("title".into(), "  ".into());
        assert_eq!(facts(&manifest).title, "Video");
        manifest.passthrough.metadata.insert("title".into(), format!(" {} ", "ü".repeat(200)));
        assert_eq!(facts(&manifest).title, "ü".repeat(120));
    }

    #[test]
    fn lengths_in_words() {
        for (ms, expected) in
            [(0, "0:00"), (7_400, "0:07"), (59_500, "1:00"), (67_400, "1:07"), (3_723_000, "1:02:03")]
        {
            assert_eq!(clock(ms), expected);
        }
    }

    #[test]
    fn what_is_shown_and_to_whom() {
        let granted = 1_700_000_000_000;
        let check = |rejected: Option<Code>, visibility, is_owner, expected: Result<bool, (Code, bool)>| {
            let mut manifest = manifest();
            manifest.visibility = visibility;
            if let Some(code) = rejected {
                manifest.state = State::Rejected;
                manifest.rejected = Some(RejectedBecause { code });
            }
            let found = shown(manifest.video, Some(&manifest), is_owner, &example(), granted);
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

        let video = manifest().video;
        let none = |now_ms| {
            let none = shown(video, None, false, &example(), now_ms).unwrap_err();
            (none.problem.code, none.retry_after_secs)
        };
        assert_eq!(none(granted), (Code::Processing, Some(2)));
        assert_eq!(none(granted + 3 * 86_400_000), (Code::NotFound, None));
    }
}
