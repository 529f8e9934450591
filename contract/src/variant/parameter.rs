//! The table of image parameters: name, kind of image, values and description. The parser, the canonical text and the
//! OpenAPI document are derived from it.

use std::borrow::Cow;

use crate::limits;
use crate::variant::{Fit, VariantKind, expectation, number};

/// One query parameter of one kind of image.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The kind of image that has this parameter.
    pub kind: VariantKind,
    /// The name in URLs and file names, as at Mux.
    pub name: &'static str,
    /// The values.
    pub value: ParameterType,
    /// The parsed value among those of a request.
    field: fn(&mut ParameterValues) -> &mut Option<u64>,
}

/// The type and the range of a parameter's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterType {
    /// Seconds from 0, parsed as milliseconds.
    Seconds {
        /// The maximum, in milliseconds.
        max_ms: u64,
    },
    /// An integer.
    Integer {
        /// The minimum.
        min: u64,
        /// The maximum.
        max: u64,
        /// What is counted, in the plural.
        unit: &'static str,
    },
    /// A number with at most two decimals, parsed as hundredths.
    Hundredths {
        /// The minimum, in hundredths.
        min: u64,
        /// The maximum, in hundredths.
        max: u64,
    },
    /// One of several words.
    Words {
        /// The words, each with the number that represents it.
        words: &'static [(&'static str, u64)],
        /// The end of the error message.
        note: &'static str,
    },
}

/// All parameters. Those of one kind are in the order of the canonical text, which is part of keys and URLs.
pub const PARAMETERS: [Parameter; 25] = [
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "time",
        value: ParameterType::Seconds { max_ms: limits::MAX_DURATION_MS },
        field: |values| &mut values.time_ms,
    },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "width",
        value: side(limits::MAX_THUMBNAIL_SIDE),
        field: |values| &mut values.width,
    },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "height",
        value: side(limits::MAX_THUMBNAIL_SIDE),
        field: |values| &mut values.height,
    },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "fit_mode",
        value: ParameterType::Words { words: &FIT_WORDS, note: "" },
        field: |values| &mut values.fit,
    },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "rotate",
        value: ParameterType::Words {
            words: &[("90", 90), ("180", 180), ("270", 270)],
            note: ": degrees clockwise",
        },
        field: |values| &mut values.rotate,
    },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "flip_v",
        value: BOOL,
        field: |values| &mut values.flip_v,
    },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "flip_h",
        value: BOOL,
        field: |values| &mut values.flip_h,
    },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "blur",
        value: ParameterType::Integer { min: 1, max: limits::MAX_BLUR as u64, unit: "pixels" },
        field: |values| &mut values.blur,
    },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "quality",
        value: ParameterType::Integer { min: 1, max: 100, unit: "percent" },
        field: |values| &mut values.quality,
    },
    Parameter { kind: VariantKind::Thumbnail, name: "play", value: BOOL, field: |values| &mut values.play },
    Parameter {
        kind: VariantKind::Thumbnail,
        name: "dpr",
        value: ParameterType::Hundredths { min: 100, max: limits::MAX_DPR_HUNDREDTHS },
        field: |values| &mut values.dpr_hundredths,
    },
    Parameter {
        kind: VariantKind::Animation,
        name: "start",
        value: ParameterType::Seconds { max_ms: limits::MAX_DURATION_MS },
        field: |values| &mut values.start_ms,
    },
    Parameter {
        kind: VariantKind::Animation,
        name: "end",
        value: ParameterType::Seconds { max_ms: limits::MAX_DURATION_MS + limits::MAX_SPAN_MS },
        field: |values| &mut values.end_ms,
    },
    Parameter {
        kind: VariantKind::Animation,
        name: "width",
        value: side(limits::MAX_ANIMATION_SIDE),
        field: |values| &mut values.width,
    },
    Parameter {
        kind: VariantKind::Animation,
        name: "height",
        value: side(limits::MAX_ANIMATION_SIDE),
        field: |values| &mut values.height,
    },
    Parameter {
        kind: VariantKind::Animation,
        name: "fps",
        value: ParameterType::Integer {
            min: 1,
            max: limits::MAX_ANIMATION_FPS as u64,
            unit: "frames per second",
        },
        field: |values| &mut values.fps,
    },
    Parameter {
        kind: VariantKind::Animation,
        name: "max_bytes",
        value: ParameterType::Integer {
            min: limits::MIN_MAX_BYTES,
            max: limits::MAX_MAX_BYTES,
            unit: "bytes",
        },
        field: |values| &mut values.max_bytes,
    },
    Parameter {
        kind: VariantKind::Storyboard,
        name: "asset_start_time",
        value: ParameterType::Seconds { max_ms: limits::MAX_DURATION_MS },
        field: |values| &mut values.start_ms,
    },
    Parameter {
        kind: VariantKind::Storyboard,
        name: "asset_end_time",
        value: ParameterType::Seconds { max_ms: limits::MAX_DURATION_MS },
        field: |values| &mut values.end_ms,
    },
    Parameter {
        kind: VariantKind::Storyboard,
        name: "tiles",
        value: ParameterType::Integer {
            min: limits::MIN_TILES as u64,
            max: limits::MAX_TILES as u64,
            unit: "tiles",
        },
        field: |values| &mut values.tiles,
    },
    Parameter {
        kind: VariantKind::Storyboard,
        name: "interval",
        value: ParameterType::Seconds { max_ms: limits::MAX_DURATION_MS },
        field: |values| &mut values.interval_ms,
    },
    Parameter {
        kind: VariantKind::Storyboard,
        name: "width",
        value: side(limits::MAX_TILE_WIDTH),
        field: |values| &mut values.width,
    },
    Parameter {
        kind: VariantKind::Clip,
        name: "start",
        value: ParameterType::Seconds { max_ms: limits::MAX_DURATION_MS },
        field: |values| &mut values.start_ms,
    },
    Parameter {
        kind: VariantKind::Clip,
        name: "end",
        value: ParameterType::Seconds { max_ms: limits::MAX_DURATION_MS + limits::MAX_CLIP_MS },
        field: |values| &mut values.end_ms,
    },
    Parameter { kind: VariantKind::Clip, name: "audio", value: BOOL, field: |values| &mut values.audio },
];

impl Parameter {
    /// One sentence for the API's documentation. Not a member of the table, so that the Worker does not contain it.
    #[expect(clippy::match_same_arms, reason = "each parameter has a row")]
    pub fn description(&self) -> Option<&'static str> {
        Some(match (self.kind, self.name) {
            (VariantKind::Thumbnail, "time") => "The time, in seconds; without it, that of the poster.",
            (VariantKind::Thumbnail, "width") => {
                "Width in pixels; without it, by the aspect ratio, or at most 640 if `height` is not set either."
            }
            (VariantKind::Thumbnail, "height") => "Height in pixels; without it, by the aspect ratio.",
            (VariantKind::Thumbnail, "fit_mode") => {
                "How the frame is fitted to width and height, if both are set: `preserve` fits it inside and never \
                 enlarges it, `stretch` changes its aspect ratio, `crop` cuts equally on both sides, `smartcrop` cuts \
                 where there is the least detail, `pad` adds black edges."
            }
            (VariantKind::Thumbnail, "rotate") => "Degrees clockwise.",
            (VariantKind::Thumbnail, "flip_v") => "Flip vertically.",
            (VariantKind::Thumbnail, "flip_h") => "Flip horizontally.",
            (VariantKind::Thumbnail, "blur") => {
                "Radius of a Gaussian blur in pixels of the image: its standard deviation, as in CSS."
            }
            (VariantKind::Thumbnail, "quality") => {
                "Quality of the encoder: by default 81 for JPEG, 80 for WebP and 57 for AVIF; not for PNG."
            }
            (VariantKind::Thumbnail, "play") => {
                "Draw a play button and the length of the video, for mail and other places that show only images."
            }
            (VariantKind::Thumbnail, "dpr") => {
                "Factor for width and height, or for the default width, for screens with more than one pixel per CSS \
                 pixel."
            }
            (VariantKind::Animation, "start") => "Start of the clip, in seconds.",
            (VariantKind::Animation, "end") => {
                "End of the clip, in seconds: 0.25 to 10 after the start; 5 after it by default."
            }
            (VariantKind::Animation, "width") => {
                "Width in pixels; without it, by the aspect ratio, or at most 320 if `height` is not set either."
            }
            (VariantKind::Animation, "height") => "Height in pixels; without it, by the aspect ratio.",
            (VariantKind::Animation, "fps") => "The maximum frame rate.",
            (VariantKind::Animation, "max_bytes") => {
                "The maximum size in bytes: quality is reduced first, then frames and dimensions."
            }
            (VariantKind::Storyboard, "asset_start_time") => {
                "Start of the part that is shown, in seconds. The times in the tables count from it."
            }
            (VariantKind::Storyboard, "asset_end_time") => "End of the part that is shown, in seconds.",
            (VariantKind::Storyboard, "tiles") => "The number of tiles; not together with `interval`.",
            (VariantKind::Storyboard, "interval") => {
                "Seconds from one tile to the next, at least 0.1; not together with `tiles`."
            }
            (VariantKind::Storyboard, "width") => {
                "Width of one tile in pixels; without it, the longer side is 192."
            }
            (VariantKind::Clip, "start") => "Start of the clip, in seconds.",
            (VariantKind::Clip, "end") => {
                "End of the clip, in seconds: 0.25 to 60 after the start; 10 after it by default."
            }
            (VariantKind::Clip, "audio") => "Whether the clip has the video's sound.",
            _ => return None,
        })
    }
}

/// The words of `fit_mode`, each with the position of its mode in [`Fit::ALL`].
const FIT_WORDS: [(&str, u64); Fit::ALL.len()] = {
    let mut words = [("", 0); Fit::ALL.len()];
    let mut index = 0;
    while index < words.len() {
        words[index] = (Fit::ALL[index].as_str(), index as u64);
        index += 1;
    }
    words
};

const BOOL: ParameterType = ParameterType::Words { words: &[("true", 1), ("false", 0)], note: "" };

const fn side(max: u32) -> ParameterType {
    ParameterType::Integer { min: limits::MIN_SIDE as u64, max: max as u64, unit: "pixels" }
}

/// The values of a request's parameters that were parsed so far, as numbers of their [`ParameterType`].
#[derive(Debug, Default)]
pub(super) struct ParameterValues {
    pub(super) time_ms: Option<u64>,
    pub(super) width: Option<u64>,
    pub(super) height: Option<u64>,
    /// A position in [`Fit::ALL`].
    pub(super) fit: Option<u64>,
    /// Degrees.
    pub(super) rotate: Option<u64>,
    pub(super) flip_v: Option<u64>,
    pub(super) flip_h: Option<u64>,
    pub(super) blur: Option<u64>,
    pub(super) quality: Option<u64>,
    pub(super) play: Option<u64>,
    /// Never part of the canonical text: it is applied to width and height.
    pub(super) dpr_hundredths: Option<u64>,
    pub(super) start_ms: Option<u64>,
    pub(super) end_ms: Option<u64>,
    pub(super) fps: Option<u64>,
    pub(super) max_bytes: Option<u64>,
    pub(super) tiles: Option<u64>,
    pub(super) interval_ms: Option<u64>,
    pub(super) audio: Option<u64>,
}

impl ParameterValues {
    /// Sets one parameter. The error describes the expected value.
    pub(super) fn set(&mut self, kind: VariantKind, name: &str, text: &str) -> Result<(), Cow<'static, str>> {
        let mut is_known = false;
        for parameter in PARAMETERS.iter().filter(|parameter| parameter.name == name) {
            if parameter.kind == kind {
                let value = parameter.value.parse(text).ok_or_else(|| parameter.value.expectation())?;
                *(parameter.field)(self) = Some(value);
                return Ok(());
            }
            is_known = true;
        }
        Err(if is_known { "is not supported for this kind of image" } else { "is unknown" }.into())
    }

    /// Names and texts of the values that are set, in canonical order: the inverse of [`ParameterValues::set`].
    pub(super) fn into_texts(mut self, kind: VariantKind) -> Vec<(&'static str, String)> {
        PARAMETERS
            .iter()
            .filter(|parameter| parameter.kind == kind)
            .filter_map(|parameter| {
                let value = (*(parameter.field)(&mut self))?;
                Some((parameter.name, parameter.value.format(value)))
            })
            .collect()
    }
}

impl ParameterType {
    fn parse(self, text: &str) -> Option<u64> {
        match self {
            Self::Seconds { max_ms } => number::parse_seconds(text).filter(|ms| *ms <= max_ms),
            Self::Integer { min, max, .. } => {
                number::parse_u64(text).filter(|value| (min..=max).contains(value))
            }
            Self::Hundredths { min, max } => {
                number::parse_hundredths(text).filter(|value| (min..=max).contains(value))
            }
            Self::Words { words, .. } => {
                words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
            }
        }
    }

    fn format(self, value: u64) -> String {
        match self {
            Self::Seconds { .. } => number::format_seconds(value),
            Self::Integer { .. } => value.to_string(),
            Self::Hundredths { .. } => number::format_hundredths(value),
            Self::Words { words, .. } => {
                let word = words.iter().find(|(_, number)| *number == value);
                word.map(|(word, _)| *word).unwrap_or_default().to_owned()
            }
        }
    }

    /// The values, as the end of the message of an error.
    fn expectation(self) -> Cow<'static, str> {
        match self {
            Self::Seconds { max_ms } => {
                format!("must be seconds from 0 to {}, such as 1.5", number::format_seconds(max_ms)).into()
            }
            Self::Integer { min, max, unit } => {
                format!("must be a number of {unit} from {min} to {max}").into()
            }
            Self::Hundredths { min, max } => {
                let [min, max] = [min, max].map(number::format_hundredths);
                format!("must be a number from {min} to {max} with at most two decimals").into()
            }
            Self::Words { words, note } => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                (expectation::must_be_one_of(&words) + note).into()
            }
        }
    }
}
