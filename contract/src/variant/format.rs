//! Kinds of images, and the output formats of each kind.

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
            Self::Thumbnail => &[OutputFormat::Jpg, OutputFormat::Png, OutputFormat::Webp],
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
    ///
    /// The layer has no encoder for AVIF or H.264: no suitably licensed encoder is small enough.
    pub(super) fn unsupported_format(self, extension: &str) -> Option<&'static str> {
        match (self, extension) {
            (Self::Thumbnail, "avif") => {
                Some("must be jpg, png or webp: AVIF is not supported for thumbnails")
            }
            (Self::Animation, "mp4") => Some("must be gif or webp: MP4 is not supported for animations"),
            (Self::Animation, "avif") => Some("must be gif or webp: AVIF is not supported for animations"),
            (Self::Storyboard, "png") => {
                Some("must be jpg, webp, vtt or json: PNG is not supported for storyboards")
            }
            _ => None,
        }
    }
}

impl OutputFormat {
    /// The file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Vtt => "vtt",
            Self::Json => "json",
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
        }
    }
}
