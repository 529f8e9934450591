//! Decides how pictures are encoded, and which encoding each kind of picture comes in.

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VariantKind {
    /// One still frame: the poster, or the frame of a moment.
    Thumbnail,
    /// A short moving preview.
    Animation,
    /// Many small frames over the whole video on one sheet, or the table of what lies where on it.
    Storyboard,
}

/// How a picture is encoded.
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
    /// WebVTT, `text/vtt`: the table of a storyboard, for players.
    Vtt,
    /// JSON, `application/json`: the table of a storyboard, for programs.
    Json,
}

impl VariantKind {
    /// The first word of every picture's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Thumbnail => "thumbnail",
            Self::Animation => "animated",
            Self::Storyboard => "storyboard",
        }
    }

    /// The kind of that word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Thumbnail, Self::Animation, Self::Storyboard].into_iter().find(|kind| kind.as_str() == word)
    }

    /// What it comes in.
    pub fn formats(self) -> &'static [OutputFormat] {
        match self {
            Self::Thumbnail => &[OutputFormat::Jpg, OutputFormat::Png, OutputFormat::Webp],
            Self::Animation => &[OutputFormat::Gif, OutputFormat::Webp],
            Self::Storyboard => {
                &[OutputFormat::Jpg, OutputFormat::Webp, OutputFormat::Vtt, OutputFormat::Json]
            }
        }
    }

    /// The format of that extension, if this kind comes in it.
    pub(super) fn format(self, extension: &str) -> Option<OutputFormat> {
        self.formats().iter().copied().find(|format| format.extension() == extension)
    }

    /// What to ask for instead, if the extension is one that others serve and this layer has no encoder for.
    ///
    /// The layer has no encoder of AVIF or H.264: none of a fitting licence is small enough for a previewer.
    pub(super) fn unsupported_format(self, extension: &str) -> Option<&'static str> {
        match (self, extension) {
            (Self::Thumbnail, "avif") => {
                Some("must be jpg, png or webp: thumbnails are not made in AVIF here")
            }
            (Self::Animation, "mp4") => Some("must be gif or webp: animations are not made in MP4 here"),
            (Self::Animation, "avif") => Some("must be gif or webp: animations are not made in AVIF here"),
            (Self::Storyboard, "png") => {
                Some("must be jpg, webp, vtt or json: storyboards are not made in PNG here")
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

    /// The media type, fixed by the format and never by what is stored.
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
