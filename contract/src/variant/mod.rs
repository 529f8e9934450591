//! Decides which pictures of a video exist and how keys and URLs name them: check, canonical form, canonical text.
//!
//! A [`Variant`] is canonical by construction: whatever may be written in several ways (a default that is spelled
//! out, `rotate=180` and both flips, a box that is the default's) is one value, and so one name, one key, one cache
//! entry. What differs for some video is another value.

mod builder;
mod format;
mod number;
mod orientation;
mod request;
mod stream;
#[cfg(test)]
mod tests;

pub use crate::variant::builder::BadParameter;
pub use crate::variant::orientation::Orientation;
pub use format::{OutputFormat, VariantKind};
pub use request::{REVISION_LEN, VariantRequest, revision_from_etag};

use crate::limits;

/// How a still picture is brought into its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fit {
    /// As large as the box allows at the video's own shape, and never larger than the video is.
    Preserve,
    /// Exactly the box; the shape gives way.
    Stretch,
    /// Exactly the box; what does not fit is cut off on both sides alike.
    Crop,
    /// Exactly the box; what does not fit is cut off where there is least to see.
    SmartCrop,
    /// Exactly the box; what the picture leaves free is black.
    Pad,
}

impl Fit {
    /// The word on the wire, Mux's `fit_mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preserve => "preserve",
            Self::Stretch => "stretch",
            Self::Crop => "crop",
            Self::SmartCrop => "smartcrop",
            Self::Pad => "pad",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Preserve, Self::Stretch, Self::Crop, Self::SmartCrop, Self::Pad]
            .into_iter()
            .find(|fit| fit.as_str() == word)
    }
}

/// The box of a picture as it is delivered, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// What a thumbnail shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThumbnailParams {
    /// The moment, in milliseconds from the beginning; `None` for the best frame.
    pub time_ms: Option<u64>,
    /// Its box.
    pub bounds: Bounds,
    /// How it is brought into the box.
    pub fit: Fit,
    /// Which way up: turned before it is fitted, so that the box is that of the delivered picture.
    pub orientation: Orientation,
}

/// What an animation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnimationParams {
    /// From when to when, in milliseconds from the beginning; `None` for a reel over the whole video.
    pub span_ms: Option<(u64, u64)>,
    /// Its box; the video's shape is kept, and it is never scaled up.
    pub bounds: Bounds,
    /// Frames a second, at most.
    pub fps: u32,
    /// Its length in bytes, at most.
    pub max_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum VariantParams {
    Thumbnail(ThumbnailParams),
    Animation(AnimationParams),
    Storyboard,
}

/// One picture of a video. Equal pictures have equal values, and so equal file names and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    params: VariantParams,
    format: OutputFormat,
}

/// What the function that makes pictures is asked for to change the poster: `poster`, or `poster-time_1.5`.
pub fn poster_target_name(time_ms: Option<u64>) -> String {
    let time = time_ms.map(|ms| format!("-time_{}", number::format_seconds(ms)));
    ["poster", &time.unwrap_or_default()].concat()
}

impl ThumbnailParams {
    const DEFAULT: Self = Self {
        time_ms: None,
        bounds: Bounds::from_width(limits::THUMBNAIL_WIDTH, limits::MAX_THUMBNAIL_SIDE),
        fit: Fit::Preserve,
        orientation: Orientation::NONE,
    };
}

impl AnimationParams {
    const DEFAULT: Self = Self {
        span_ms: None,
        bounds: Bounds::from_width(limits::ANIMATION_WIDTH, limits::MAX_ANIMATION_SIDE),
        fps: limits::ANIMATION_FPS,
        max_bytes: None,
    };
}

impl Bounds {
    /// The box of a width alone: twice as high, so that a strip of a picture takes no more room than a picture, and
    /// nowhere more than `max_side`.
    const fn from_width(width: u32, max_side: u32) -> Self {
        let twice = width * 2;
        Self { width, height: if twice < max_side { twice } else { max_side } }
    }

    /// The box of what was asked for. A height alone leaves the width as free as it may be.
    fn new(width: Option<u32>, height: Option<u32>, default_width: u32, max_side: u32) -> Self {
        match (width, height) {
            (Some(width), Some(height)) => Self { width, height },
            (None, Some(height)) => Self { width: max_side, height },
            (width, None) => Self::from_width(width.unwrap_or(default_width), max_side),
        }
    }

    /// The shortest way to ask for this box: the inverse of [`Bounds::new`].
    fn to_parameters(self, default_width: u32, max_side: u32) -> (Option<u32>, Option<u32>) {
        if self == Self::from_width(self.width, max_side) {
            ((self.width != default_width).then_some(self.width), None)
        } else if self.width == max_side {
            (None, Some(self.height))
        } else {
            (Some(self.width), Some(self.height))
        }
    }
}

impl Variant {
    /// The pictures that exist before anybody asks for one.
    pub const DEFAULTS: [Self; 8] = [
        Self { params: VariantParams::Thumbnail(ThumbnailParams::DEFAULT), format: OutputFormat::Jpg },
        Self { params: VariantParams::Thumbnail(ThumbnailParams::DEFAULT), format: OutputFormat::Webp },
        Self { params: VariantParams::Animation(AnimationParams::DEFAULT), format: OutputFormat::Gif },
        Self { params: VariantParams::Animation(AnimationParams::DEFAULT), format: OutputFormat::Webp },
        Self { params: VariantParams::Storyboard, format: OutputFormat::Jpg },
        Self { params: VariantParams::Storyboard, format: OutputFormat::Webp },
        Self { params: VariantParams::Storyboard, format: OutputFormat::Vtt },
        Self { params: VariantParams::Storyboard, format: OutputFormat::Json },
    ];

    /// What the picture shows.
    pub fn kind(self) -> VariantKind {
        match self.params {
            VariantParams::Thumbnail(_) => VariantKind::Thumbnail,
            VariantParams::Animation(_) => VariantKind::Animation,
            VariantParams::Storyboard => VariantKind::Storyboard,
        }
    }

    /// How the picture is encoded.
    pub fn format(self) -> OutputFormat {
        self.format
    }

    /// What exactly it shows, if it is a thumbnail.
    pub fn thumbnail(self) -> Option<ThumbnailParams> {
        match self.params {
            VariantParams::Thumbnail(still) => Some(still),
            VariantParams::Animation(_) | VariantParams::Storyboard => None,
        }
    }

    /// What exactly it shows, if it is an animation.
    pub fn animation(self) -> Option<AnimationParams> {
        match self.params {
            VariantParams::Animation(moving) => Some(moving),
            VariantParams::Thumbnail(_) | VariantParams::Storyboard => None,
        }
    }

    /// Whether it exists before anybody asks for it.
    pub fn is_default(self) -> bool {
        Self::DEFAULTS.contains(&self)
    }

    /// Whether its name fixes what it shows, whatever poster the owner may choose later.
    pub fn is_fixed(self) -> bool {
        match self.params {
            VariantParams::Thumbnail(still) => still.time_ms.is_some(),
            VariantParams::Animation(moving) => moving.span_ms.is_some(),
            VariantParams::Storyboard => false,
        }
    }

    /// Whether it shows the poster and is made on demand: then it is the picture of the moment that the owner has chosen, if
    /// there is one, and lies under that moment's key. So no object of it can become stale.
    pub fn depends_on_poster(self) -> bool {
        self.kind() == VariantKind::Thumbnail && !self.is_fixed() && !self.is_default()
    }

    /// The same thumbnail of that moment, in milliseconds; any other picture as it is.
    #[must_use]
    pub fn with_time_ms(self, ms: u64) -> Self {
        match self.params {
            VariantParams::Thumbnail(still) => Self {
                params: VariantParams::Thumbnail(ThumbnailParams { time_ms: Some(ms), ..still }),
                ..self
            },
            _ => self,
        }
    }

    /// The file of its URL: kind and extension.
    pub fn base_name(self) -> String {
        format!("{}.{}", self.kind().as_str(), self.format.extension())
    }

    /// The canonical parameters, in their fixed order and without what is the default.
    pub fn parameters(self) -> Vec<(&'static str, String)> {
        match self.params {
            VariantParams::Thumbnail(still) => still.parameters(),
            VariantParams::Animation(moving) => moving.parameters(),
            VariantParams::Storyboard => Vec::new(),
        }
    }

    /// The canonical query of its URL; empty for the defaults.
    pub fn query(self) -> String {
        let pairs: Vec<_> = self.parameters().iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }

    /// The canonical text with its extension, the last segment of the key: `{kind}[-{parameter}_{value}…].{ext}`,
    /// such as `thumbnail-time_1.5-width_200.jpg`. It is made of letters, digits, `-`, `_` and `.`, which neither S3
    /// nor a URL has another spelling for.
    pub fn file_name(self) -> String {
        let mut name = self.kind().as_str().to_owned();
        for (parameter, value) in self.parameters() {
            name.extend(["-", parameter, "_", &value]);
        }
        name.extend([".", self.format.extension()]);
        name
    }

    /// The picture of that canonical text, if there is one: the inverse of [`Variant::file_name`].
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.')?;
        let mut segments = stem.split('-');
        let kind = VariantKind::parse(segments.next()?)?;
        let format = kind.format(extension)?;
        let mut builder = builder::VariantBuilder::default();
        for segment in segments {
            let (parameter, value) = segment.rsplit_once('_')?;
            builder.set(kind, parameter, value).ok()?;
        }
        let variant = builder.build(kind, format).ok()?;
        (variant.file_name() == name).then_some(variant)
    }
}

impl ThumbnailParams {
    fn parameters(self) -> Vec<(&'static str, String)> {
        let (width, height) = if self.fit == Fit::Preserve {
            self.bounds.to_parameters(limits::THUMBNAIL_WIDTH, limits::MAX_THUMBNAIL_SIDE)
        } else {
            (Some(self.bounds.width), Some(self.bounds.height))
        };
        let (degrees, flip_v, flip_h) = self.orientation.to_parameters();
        [
            ("time", self.time_ms.map(number::format_seconds)),
            ("width", width.map(|width| width.to_string())),
            ("height", height.map(|height| height.to_string())),
            ("fit_mode", (self.fit != Fit::Preserve).then(|| self.fit.as_str().to_owned())),
            ("rotate", (degrees != 0).then(|| degrees.to_string())),
            ("flip_v", flip_v.then(|| "true".to_owned())),
            ("flip_h", flip_h.then(|| "true".to_owned())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

impl AnimationParams {
    fn parameters(self) -> Vec<(&'static str, String)> {
        let (width, height) = self.bounds.to_parameters(limits::ANIMATION_WIDTH, limits::MAX_ANIMATION_SIDE);
        [
            ("start", self.span_ms.map(|(start, _)| number::format_seconds(start))),
            ("end", self.span_ms.map(|(_, end)| number::format_seconds(end))),
            ("width", width.map(|width| width.to_string())),
            ("height", height.map(|height| height.to_string())),
            ("fps", (self.fps != limits::ANIMATION_FPS).then(|| self.fps.to_string())),
            ("max_bytes", self.max_bytes.map(|bytes| bytes.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}
