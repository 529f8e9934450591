//! Variants: the images of a video, in canonical form, with their names in URLs and keys.
//!
//! A [`Variant`] is canonical by construction: requests that differ only in notation (an explicit default,
//! `rotate=180` instead of both flips, an explicit default box) have one value, and therefore one name, one key and one
//! cache entry. Requests whose results differ for some video have different values.

mod builder;
mod expectation;
mod format;
mod number;
mod orientation;
mod parameter;
mod request;
mod stream;
#[cfg(test)]
mod tests;

pub use crate::variant::builder::BadParameter;
pub use crate::variant::orientation::Orientation;
pub use format::{OutputFormat, VariantKind};
pub use parameter::{PARAMETERS, Parameter, ParameterType};
pub use request::{REVISION_LEN, VariantRequest, revision_from_etag};

use crate::limits;
use crate::variant::parameter::ParameterValues;

/// How a thumbnail is fitted into its box. Mux's `fit_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fit {
    /// As large as fits into the box with the video's aspect ratio, and never larger than the video.
    Preserve,
    /// Exactly the box; the aspect ratio changes.
    Stretch,
    /// Exactly the box; the excess is cropped equally on both sides.
    Crop,
    /// Exactly the box; the excess is cropped where the frame has the least detail.
    SmartCrop,
    /// Exactly the box; the rest is filled with black.
    Pad,
}

impl Fit {
    /// All modes, in the order of their numbers.
    const ALL: [Self; 5] = [Self::Preserve, Self::Stretch, Self::Crop, Self::SmartCrop, Self::Pad];

    /// The value on the wire, Mux's `fit_mode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preserve => "preserve",
            Self::Stretch => "stretch",
            Self::Crop => "crop",
            Self::SmartCrop => "smartcrop",
            Self::Pad => "pad",
        }
    }
}

/// The box of a delivered image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// Parameters of a thumbnail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThumbnailParams {
    /// The time of the frame, in milliseconds from the beginning; `None` for the poster.
    pub time_ms: Option<u64>,
    /// The box.
    pub bounds: Bounds,
    /// How the frame is fitted into the box.
    pub fit: Fit,
    /// The orientation. It is applied before the fit, so that the box is that of the delivered image.
    pub orientation: Orientation,
    /// The standard deviation of a Gaussian blur, in pixels of the image.
    pub blur: Option<u8>,
    /// The quality of the encoder, 1 to 100; `None` for the format's default.
    pub quality: Option<u8>,
    /// Whether a play button and the length of the video are drawn in.
    pub has_play_button: bool,
}

/// Parameters of an animation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnimationParams {
    /// Start and end, in milliseconds from the beginning; `None` for snippets of the whole video.
    pub span_ms: Option<(u64, u64)>,
    /// The box. The aspect ratio is kept, and the animation is never scaled up.
    pub bounds: Bounds,
    /// Maximum frame rate, in frames per second.
    pub fps: u32,
    /// Maximum size in bytes.
    pub max_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum VariantParams {
    Thumbnail(ThumbnailParams),
    Animation(AnimationParams),
    Storyboard,
}

/// One image of a video. Equal images have equal values, and therefore equal file names and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    params: VariantParams,
    format: OutputFormat,
}

/// The target of a request to the `render` function that changes the poster: `poster`, or `poster-time_1.5`.
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
        blur: None,
        quality: None,
        has_play_button: false,
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
    /// The box for a width without a height: twice as high, so that a very tall video does not produce a huge image,
    /// and at most `max_side`.
    const fn from_width(width: u32, max_side: u32) -> Self {
        let twice = width * 2;
        Self { width, height: if twice < max_side { twice } else { max_side } }
    }

    /// The box for the requested sides. For a height without a width, the width is `max_side`.
    fn new(width: Option<u32>, height: Option<u32>, default_width: u32, max_side: u32) -> Self {
        match (width, height) {
            (Some(width), Some(height)) => Self { width, height },
            (None, Some(height)) => Self { width: max_side, height },
            (width, None) => Self::from_width(width.unwrap_or(default_width), max_side),
        }
    }

    /// The shortest `width` and `height` that request this box: the inverse of [`Bounds::new`].
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
    /// The default outputs, which exist without a request.
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

    /// The kind of the image.
    pub fn kind(self) -> VariantKind {
        match self.params {
            VariantParams::Thumbnail(_) => VariantKind::Thumbnail,
            VariantParams::Animation(_) => VariantKind::Animation,
            VariantParams::Storyboard => VariantKind::Storyboard,
        }
    }

    /// The format of the image.
    pub fn format(self) -> OutputFormat {
        self.format
    }

    /// The parameters, if the variant is a thumbnail.
    pub fn thumbnail(self) -> Option<ThumbnailParams> {
        match self.params {
            VariantParams::Thumbnail(still) => Some(still),
            VariantParams::Animation(_) | VariantParams::Storyboard => None,
        }
    }

    /// The parameters, if the variant is an animation.
    pub fn animation(self) -> Option<AnimationParams> {
        match self.params {
            VariantParams::Animation(moving) => Some(moving),
            VariantParams::Thumbnail(_) | VariantParams::Storyboard => None,
        }
    }

    /// Whether this is a default output.
    pub fn is_default(self) -> bool {
        Self::DEFAULTS.contains(&self)
    }

    /// Whether the variant has a fixed time, so that a later choice of the poster does not change the image.
    pub fn is_fixed(self) -> bool {
        match self.params {
            VariantParams::Thumbnail(still) => still.time_ms.is_some(),
            VariantParams::Animation(moving) => moving.span_ms.is_some(),
            VariantParams::Storyboard => false,
        }
    }

    /// Whether this is an on-demand image of the poster. If the owner has chosen a poster, it is rendered at that time
    /// and stored under the key of that time, so that no stored object becomes stale.
    pub fn depends_on_poster(self) -> bool {
        self.kind() == VariantKind::Thumbnail && !self.is_fixed() && !self.is_default()
    }

    /// Sets the time of a thumbnail, in milliseconds; other variants are returned unchanged.
    #[must_use]
    pub fn with_time_ms(self, ms: u64) -> Self {
        match self.params {
            VariantParams::Thumbnail(still) => Self {
                params: VariantParams::Thumbnail(ThumbnailParams { time_ms: Some(ms), ..still }),
                ..self
            },
            VariantParams::Animation(_) | VariantParams::Storyboard => self,
        }
    }

    /// The file name in the URL: kind and extension.
    pub fn base_name(self) -> String {
        format!("{}.{}", self.kind().as_str(), self.format.extension())
    }

    /// The canonical parameters, in a fixed order and without defaults.
    pub fn parameters(self) -> Vec<(&'static str, String)> {
        ParameterValues::from_params(self.params).into_texts(self.kind())
    }

    /// The canonical query of the URL; empty for the defaults.
    pub fn query(self) -> String {
        let pairs: Vec<_> = self.parameters().iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }

    /// The canonical file name, the last segment of the key: `{kind}[-{parameter}_{value}…].{ext}`, such as
    /// `thumbnail-time_1.5-width_200.jpg`. It consists of letters, digits, `-`, `_` and `.`, which need no escaping in
    /// S3 keys and URLs.
    pub fn file_name(self) -> String {
        let mut name = self.kind().as_str().to_owned();
        for (parameter, value) in self.parameters() {
            name.extend(["-", parameter, "_", &value]);
        }
        name.extend([".", self.format.extension()]);
        name
    }

    /// Parses a canonical file name: the inverse of [`Variant::file_name`].
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.')?;
        let mut segments = stem.split('-');
        let kind = VariantKind::parse(segments.next()?)?;
        let format = kind.format(extension)?;
        let mut values = ParameterValues::default();
        for segment in segments {
            let (parameter, value) = segment.rsplit_once('_')?;
            values.set(kind, parameter, value).ok()?;
        }
        let variant = values.build(kind, format).ok()?;
        (variant.file_name() == name).then_some(variant)
    }
}
