//! Kinds of images, and the output formats of each kind.

use crate::limits;
use crate::variant::expectation;

/// The kind of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VariantKind {
    /// A still image: the poster, or the frame at a requested time.
    Thumbnail,
    /// A short moving preview, as GIF or WebP.
    Animation,
    /// A sheet of tiles over the whole video, or the table of the tiles' times and positions.
    Storyboard,
}

/// The format of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// JPEG, `image/jpeg`.
    Jpg,
    /// PNG, `image/png`.
    Png,
    /// GIF89a, `image/gif`.
    Gif,
    /// WebP, still or animated, `image/webp`.
    Webp,
    /// WebVTT, `text/vtt`: a storyboard table for players.
    Vtt,
    /// JSON, `application/json`: a storyboard table for programs.
    Json,
    /// AVIF, `image/avif`.
    Avif,
}

impl VariantKind {
    /// The kind in URLs and file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Thumbnail => "thumbnail",
            Self::Animation => "animated",
            Self::Storyboard => "storyboard",
        }
    }

    /// Parses the kind in URLs and file names.
    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Thumbnail, Self::Animation, Self::Storyboard].into_iter().find(|kind| kind.as_str() == word)
    }

    /// The supported formats of the kind.
    pub fn formats(self) -> &'static [OutputFormat] {
        match self {
            Self::Thumbnail => {
                &[OutputFormat::Jpg, OutputFormat::Png, OutputFormat::Webp, OutputFormat::Avif]
            }
            Self::Animation => &[OutputFormat::Gif, OutputFormat::Webp],
            Self::Storyboard => {
                &[OutputFormat::Jpg, OutputFormat::Webp, OutputFormat::Vtt, OutputFormat::Json]
            }
        }
    }

    /// The format with this extension, if the kind supports it.
    pub(super) fn format(self, extension: &str) -> Option<OutputFormat> {
        self.formats().iter().copied().find(|format| format.extension() == extension)
    }

    /// The supported formats, as an error message, if other services serve this extension and Glimpse does not.
    pub(super) fn unsupported_format(self, extension: &str) -> Option<String> {
        let reason = match (self, extension) {
            (Self::Animation, "mp4") => ": MP4 is not supported for animations",
            (Self::Animation, "avif") => ": AVIF is not supported for animations",
            (Self::Storyboard, "png") => ": PNG is not supported for storyboards",
            _ => return None,
        };
        let supported: Vec<_> = self.formats().iter().map(|format| format.extension()).collect();
        Some(expectation::must_be_one_of(&supported) + reason)
    }
}

impl OutputFormat {
    /// All formats.
    pub const ALL: [Self; 7] =
        [Self::Jpg, Self::Png, Self::Gif, Self::Webp, Self::Vtt, Self::Json, Self::Avif];

    /// The file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Vtt => "vtt",
            Self::Json => "json",
            Self::Avif => "avif",
        }
    }

    /// The quality of thumbnails without the parameter `quality`, from 1 to 100; `None` if the format has none.
    pub fn default_quality(self) -> Option<u8> {
        match self {
            Self::Jpg => Some(limits::JPEG_QUALITY),
            Self::Webp => Some(limits::WEBP_QUALITY),
            Self::Avif => Some(limits::AVIF_QUALITY),
            _ => None,
        }
    }

    /// The media type. It is fixed by the format and never read from the stored object.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Vtt => "text/vtt; charset=utf-8",
            Self::Json => "application/json",
            Self::Avif => "image/avif",
        }
    }
}
