//! Validates the parameters of an image request and builds the canonical [`Variant`].

use thiserror::Error;

use crate::limits;
use crate::variant::{
    AnimationParams, Bounds, Fit, Orientation, OutputFormat, ThumbnailParams, Variant, VariantKind,
    VariantParams, number,
};

/// Error of a query parameter that is unknown, repeated, out of range, or in conflict with another one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parameter `{name}`: {why}")]
pub struct BadParameter {
    /// The parameter's name, sanitized for messages.
    pub name: String,
    /// The expected value.
    pub why: &'static str,
}

impl BadParameter {
    /// Keeps at most 32 harmless characters of the name, so that a message can contain it.
    pub(super) fn new(name: &str, why: &'static str) -> Self {
        let is_harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        Self { name: name.chars().filter(is_harmless).take(32).collect(), why }
    }
}

/// The parameters that were parsed so far.
#[derive(Debug, Default)]
pub(super) struct VariantBuilder {
    pub(super) time_ms: Option<u64>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) fit: Option<Fit>,
    pub(super) quarters: u8,
    pub(super) flip_v: bool,
    pub(super) flip_h: bool,
    pub(super) start_ms: Option<u64>,
    pub(super) end_ms: Option<u64>,
    pub(super) fps: Option<u32>,
    pub(super) max_bytes: Option<u64>,
}

/// Names of all parameters, of all kinds of images.
const PARAMETER_NAMES: [&str; 11] =
    ["time", "width", "height", "fit_mode", "rotate", "flip_v", "flip_h", "start", "end", "fps", "max_bytes"];

impl VariantBuilder {
    /// Sets one parameter, with Mux's name and syntax. The error describes the expected value.
    pub(super) fn set(&mut self, kind: VariantKind, name: &str, value: &str) -> Result<(), &'static str> {
        match (kind, name) {
            (VariantKind::Thumbnail, "time") => self.time_ms = Some(parse_time(value)?),
            (VariantKind::Thumbnail | VariantKind::Animation, "width") => {
                self.width = Some(parse_side(kind, value)?)
            }
            (VariantKind::Thumbnail | VariantKind::Animation, "height") => {
                self.height = Some(parse_side(kind, value)?)
            }
            (VariantKind::Thumbnail, "fit_mode") => {
                let fit = Fit::parse(value);
                self.fit = Some(fit.ok_or("must be preserve, stretch, crop, smartcrop or pad")?);
            }
            (VariantKind::Thumbnail, "rotate") => {
                self.quarters = match value {
                    "90" => 1,
                    "180" => 2,
                    "270" => 3,
                    _ => return Err("must be 90, 180 or 270: degrees clockwise"),
                }
            }
            (VariantKind::Thumbnail, "flip_v") => self.flip_v = parse_bool(value)?,
            (VariantKind::Thumbnail, "flip_h") => self.flip_h = parse_bool(value)?,
            (VariantKind::Animation, "start") => self.start_ms = Some(parse_time(value)?),
            (VariantKind::Animation, "end") => self.end_ms = Some(parse_end(value)?),
            (VariantKind::Animation, "fps") => self.fps = Some(parse_fps(value)?),
            (VariantKind::Animation, "max_bytes") => {
                let range = limits::MIN_MAX_BYTES..=limits::MAX_MAX_BYTES;
                let bytes = number::parse_u64(value).filter(|bytes| range.contains(bytes));
                self.max_bytes = Some(bytes.ok_or("must be a number of bytes from 10000 to 16777216")?);
            }
            (_, name) if PARAMETER_NAMES.contains(&name) => {
                return Err("is not supported for this kind of image");
            }
            _ => return Err("is unknown"),
        }
        Ok(())
    }

    /// The requested variant in canonical form.
    pub(super) fn build(self, kind: VariantKind, format: OutputFormat) -> Result<Variant, BadParameter> {
        let params = match kind {
            VariantKind::Thumbnail => VariantParams::Thumbnail(self.thumbnail()),
            VariantKind::Animation => VariantParams::Animation(self.animation()?),
            VariantKind::Storyboard => VariantParams::Storyboard,
        };
        Ok(Variant { params, format })
    }

    fn thumbnail(self) -> ThumbnailParams {
        // Without both sides the aspect ratio is never changed, so every mode equals `Preserve`.
        let is_box = self.width.is_some() && self.height.is_some();
        let bounds =
            Bounds::new(self.width, self.height, limits::THUMBNAIL_WIDTH, limits::MAX_THUMBNAIL_SIDE);
        ThumbnailParams {
            time_ms: self.time_ms,
            bounds,
            fit: self.fit.filter(|_| is_box).unwrap_or(Fit::Preserve),
            orientation: Orientation::new(self.quarters, self.flip_v, self.flip_h),
        }
    }

    fn animation(self) -> Result<AnimationParams, BadParameter> {
        let span_ms = match (self.start_ms, self.end_ms) {
            (None, None) => None,
            (Some(start), None) => Some((start, start + limits::DEFAULT_SPAN_MS)),
            (start, Some(end)) => Some((start.unwrap_or(0), end)),
        };
        let spans = limits::MIN_SPAN_MS..=limits::MAX_SPAN_MS;
        if let Some((start, end)) = span_ms
            && !end.checked_sub(start).is_some_and(|length| spans.contains(&length))
        {
            return Err(BadParameter::new(
                "end",
                "must be 0.25 to 10 seconds after `start`, which defaults to 0",
            ));
        }
        let bounds =
            Bounds::new(self.width, self.height, limits::ANIMATION_WIDTH, limits::MAX_ANIMATION_SIDE);
        let fps = self.fps.unwrap_or(limits::ANIMATION_FPS);
        Ok(AnimationParams { span_ms, bounds, fps, max_bytes: self.max_bytes })
    }
}

fn parse_time(value: &str) -> Result<u64, &'static str> {
    let ms = number::parse_seconds(value).filter(|ms| *ms <= limits::MAX_DURATION_MS);
    ms.ok_or("must be seconds from 0 to 86400, such as 1.5")
}

fn parse_end(value: &str) -> Result<u64, &'static str> {
    let ms = number::parse_seconds(value).filter(|ms| *ms <= limits::MAX_DURATION_MS + limits::MAX_SPAN_MS);
    ms.ok_or("must be seconds from 0 to 86410, such as 1.5")
}

pub(super) fn parse_side(kind: VariantKind, value: &str) -> Result<u32, &'static str> {
    let (max, reason) = match kind {
        VariantKind::Animation => (limits::MAX_ANIMATION_SIDE, "must be a number of pixels from 8 to 640"),
        _ => (limits::MAX_THUMBNAIL_SIDE, "must be a number of pixels from 8 to 3840"),
    };
    number::parse_in_range(value, limits::MIN_SIDE..=max).ok_or(reason)
}

pub(super) fn parse_fps(value: &str) -> Result<u32, &'static str> {
    let fps = number::parse_in_range(value, 1..=limits::MAX_ANIMATION_FPS);
    fps.ok_or("must be a number of frames per second from 1 to 30")
}

fn parse_bool(value: &str) -> Result<bool, &'static str> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    }
}
