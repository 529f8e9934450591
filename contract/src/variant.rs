//! Decides which pictures of a video exist and how a URL names them: parse, check, canonical text.

use thiserror::Error;

use crate::id::VideoId;
use crate::limits;

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One still frame: the poster.
    Thumbnail,
    /// A short moving preview.
    Animated,
}

/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG, `image/jpeg`.
    Jpg,
    /// GIF89a, `image/gif`.
    Gif,
    /// WebP, still or animated, `image/webp`.
    Webp,
}

impl Format {
    /// The file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpg => "jpg",
            Self::Gif => "gif",
            Self::Webp => "webp",
        }
    }

    /// The media type, fixed by the format and never by what is stored.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
        }
    }
}

/// One picture of a video. Equal pictures have equal values, and so equal file names and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    kind: Kind,
    format: Format,
}

impl Variant {
    /// The pictures that exist before anybody asks for one.
    pub const DEFAULTS: [Self; 4] = [
        Self { kind: Kind::Thumbnail, format: Format::Jpg },
        Self { kind: Kind::Thumbnail, format: Format::Webp },
        Self { kind: Kind::Animated, format: Format::Gif },
        Self { kind: Kind::Animated, format: Format::Webp },
    ];

    /// What the picture shows.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// How the picture is encoded.
    pub fn format(self) -> Format {
        self.format
    }

    /// The widest this picture gets, in pixels; a narrower source is never scaled up.
    pub fn max_width(self) -> u32 {
        match self.kind {
            Kind::Thumbnail => limits::THUMBNAIL_WIDTH,
            Kind::Animated => limits::ANIMATED_WIDTH,
        }
    }

    /// The canonical text with its extension: the last segment of the URL and of the key.
    pub fn file_name(self) -> String {
        let stem = match self.kind {
            Kind::Thumbnail => "thumbnail",
            Kind::Animated => "animated",
        };
        format!("{stem}.{}", self.format.extension())
    }

    /// The picture of that canonical text, if there is one.
    pub fn from_file_name(name: &str) -> Option<Self> {
        Self::DEFAULTS.into_iter().find(|variant| variant.file_name() == name)
    }
}

/// How many characters of an ETag a URL carries as its revision.
pub const REVISION_LEN: usize = 8;

/// The revision that `v=` of a URL carries: the first characters of the picture's ETag, without its quotes.
///
/// ```
/// # use glimpse_contract::revision_of_etag;
/// assert_eq!(revision_of_etag("\"0123456789abcdef\""), Some("01234567"));
/// assert_eq!(revision_of_etag("\"0123\""), None);
/// ```
pub fn revision_of_etag(etag: &str) -> Option<&str> {
    let revision = etag.trim_matches('"').get(..REVISION_LEN)?;
    is_revision(revision).then_some(revision)
}

fn is_revision(text: &str) -> bool {
    text.len() == REVISION_LEN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A query parameter that is unknown, repeated or out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parameter `{name}`: {why}")]
pub struct BadParameter {
    /// The parameter, as far as it is safe to repeat.
    pub name: String,
    /// What would be right.
    pub why: &'static str,
}

/// A request for a picture, read from the raw bytes of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureRequest {
    /// Of which video.
    pub video: VideoId,
    /// Which picture.
    pub variant: Variant,
    /// The revision that the URL fixes, if it does.
    pub revision: Option<String>,
}

impl PictureRequest {
    /// Reads `/{video}/{file}` and its query, as they stand on the wire: nothing is decoded or normalised.
    ///
    /// `None` if the path names no picture.
    ///
    /// # Errors
    /// A parameter that is unknown, repeated, or asks for a picture that is not among the defaults.
    pub fn parse(path: &str, query: Option<&str>) -> Option<Result<Self, BadParameter>> {
        let (video, file) = path.strip_prefix('/')?.split_once('/')?;
        let video = video.parse().ok()?;
        let variant = Variant::from_file_name(file)?;
        Some(revision_of_query(variant, query.unwrap_or_default()).map(|revision| Self {
            video,
            variant,
            revision,
        }))
    }

    /// The path and query of this request in canonical form: one text, and one cache entry, a picture.
    pub fn canonical(&self) -> String {
        let file = self.variant.file_name();
        match &self.revision {
            Some(revision) => format!("/{}/{file}?v={revision}", self.video),
            None => format!("/{}/{file}", self.video),
        }
    }
}

fn revision_of_query(variant: Variant, query: &str) -> Result<Option<String>, BadParameter> {
    let mut seen = Vec::new();
    let mut revision = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bad = |why| Err(BadParameter { name: printable(name), why });
        if seen.contains(&name) {
            return bad("is given twice");
        }
        seen.push(name);
        match name {
            "v" if is_revision(value) => revision = Some(value.to_owned()),
            "v" => return bad("is the revision of a URL that this API handed out, eight hexadecimal digits"),
            "width" if value == variant.max_width().to_string() => {}
            "width" => {
                return bad("this picture exists in its default width only (thumbnail 640, animated 320)");
            }
            _ => return bad("is not known here"),
        }
    }
    Ok(revision)
}

/// At most 32 harmless characters of a name, so that an error can repeat it.
fn printable(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: &str = "7zzzzzzzzz0123456789abcdef";

    #[track_caller]
    fn check(path: &str, query: &str, expected: Result<&str, &str>) {
        let parsed =
            PictureRequest::parse(&format!("/{VIDEO}{path}"), Some(query)).expect("a picture's path");
        match (parsed, expected) {
            (Ok(request), Ok(canonical)) => assert_eq!(request.canonical(), format!("/{VIDEO}{canonical}")),
            (Err(error), Err(name)) => assert_eq!(error.name, name),
            (parsed, expected) => panic!("{path}?{query}: {parsed:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn equal_requests_have_one_canonical_text() {
        check("/thumbnail.jpg", "", Ok("/thumbnail.jpg"));
        check("/thumbnail.jpg", "width=640", Ok("/thumbnail.jpg"));
        check("/thumbnail.jpg", "width=640&v=0123abcd", Ok("/thumbnail.jpg?v=0123abcd"));
        check("/thumbnail.jpg", "v=0123abcd&width=640", Ok("/thumbnail.jpg?v=0123abcd"));
        check("/animated.webp", "&&width=320&", Ok("/animated.webp"));
    }

    #[test]
    fn refuses_unknown_repeated_and_foreign_parameters_by_name() {
        check("/thumbnail.jpg", "time=3", Err("time"));
        check("/thumbnail.jpg", "width=641", Err("width"));
        check("/thumbnail.jpg", "width=0640", Err("width"));
        check("/thumbnail.jpg", "width=640&width=640", Err("width"));
        check("/animated.gif", "width=640", Err("width"));
        check("/thumbnail.jpg", "v=0123ABCD", Err("v"));
        check("/thumbnail.jpg", "v", Err("v"));
        check("/thumbnail.jpg", "V=0123abcd", Err("V"));
        check("/thumbnail.jpg", "%76=0123abcd", Err("76"));
        check("/thumbnail.jpg", "<script>=1", Err("script"));
    }

    #[test]
    fn other_paths_are_no_pictures() {
        for path in [
            "/",
            "",
            "//thumbnail.jpg",
            "/7zzzzzzzzz0123456789abcdef",
            "/7zzzzzzzzz0123456789abcdef/",
            "/7zzzzzzzzz0123456789abcdef//thumbnail.jpg",
            "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg/",
            "/7zzzzzzzzz0123456789abcdef/Thumbnail.jpg",
            "/7zzzzzzzzz0123456789abcdef/thumbnail%2Ejpg",
            "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg;x",
            "/7ZZZZZZZZZ0123456789ABCDEF/thumbnail.jpg",
            "/7zzzzzzzzz0123456789abcdef/manifest.json",
            "/7zzzzzzzzz0123456789abcdef/thumbnail.gif",
        ] {
            assert_eq!(PictureRequest::parse(path, None), None, "{path}");
        }
    }

    #[test]
    fn every_default_survives_its_file_name() {
        for variant in Variant::DEFAULTS {
            assert_eq!(Variant::from_file_name(&variant.file_name()), Some(variant));
        }
    }
}
