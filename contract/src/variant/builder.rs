//! Decides what each parameter may be, and which picture they ask for together.

use thiserror::Error;

use crate::limits;
use crate::variant::{Bounds, Fit, Format, Kind, Moving, Shows, Still, Turn, Variant, number};

/// A query parameter that is unknown, repeated, out of its range or against another one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parameter `{name}`: {why}")]
pub struct BadParameter {
    /// The parameter, as far as it is safe to repeat.
    pub name: String,
    /// What would be right.
    pub why: &'static str,
}

impl BadParameter {
    /// At most 32 harmless characters of the name, so that an error can repeat it.
    pub(super) fn new(name: &str, why: &'static str) -> Self {
        let is_harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        Self { name: name.chars().filter(is_harmless).take(32).collect(), why }
    }
}

/// What was asked for so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
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

/// The name of every parameter that some picture has.
const KNOWN: [&str; 11] =
    ["time", "width", "height", "fit_mode", "rotate", "flip_v", "flip_h", "start", "end", "fps", "max_bytes"];

impl Draft {
    /// Takes one parameter in Mux's words, or says what would be right.
    pub(super) fn set(&mut self, kind: Kind, name: &str, value: &str) -> Result<(), &'static str> {
        match (kind, name) {
            (Kind::Thumbnail, "time") => self.time_ms = Some(moment(value)?),
            (Kind::Thumbnail | Kind::Animated, "width") => self.width = Some(side(kind, value)?),
            (Kind::Thumbnail | Kind::Animated, "height") => self.height = Some(side(kind, value)?),
            (Kind::Thumbnail, "fit_mode") => {
                let fit = Fit::from_word(value);
                self.fit = Some(fit.ok_or("must be preserve, stretch, crop, smartcrop or pad")?);
            }
            (Kind::Thumbnail, "rotate") => {
                self.quarters = match value {
                    "90" => 1,
                    "180" => 2,
                    "270" => 3,
                    _ => return Err("must be 90, 180 or 270: degrees clockwise"),
                }
            }
            (Kind::Thumbnail, "flip_v") => self.flip_v = yes_or_no(value)?,
            (Kind::Thumbnail, "flip_h") => self.flip_h = yes_or_no(value)?,
            (Kind::Animated, "start") => self.start_ms = Some(moment(value)?),
            (Kind::Animated, "end") => self.end_ms = Some(end(value)?),
            (Kind::Animated, "fps") => self.fps = Some(fps(value)?),
            (Kind::Animated, "max_bytes") => {
                let range = limits::MIN_MAX_BYTES..=limits::MAX_MAX_BYTES;
                let bytes = number::whole(value).filter(|bytes| range.contains(bytes));
                self.max_bytes = Some(bytes.ok_or("must be a number of bytes from 10000 to 16777216")?);
            }
            (_, name) if KNOWN.contains(&name) => return Err("does not go with this kind of picture"),
            _ => return Err("is not known here"),
        }
        Ok(())
    }

    /// The picture that was asked for, in its canonical form.
    pub(super) fn settle(self, kind: Kind, format: Format) -> Result<Variant, BadParameter> {
        let shows = match kind {
            Kind::Thumbnail => Shows::Thumbnail(self.still()),
            Kind::Animated => Shows::Animated(self.moving()?),
            Kind::Storyboard => Shows::Storyboard,
        };
        Ok(Variant { shows, format })
    }

    fn still(self) -> Still {
        // Nothing has to give way where only one side is asked for: then every mode is the first.
        let is_box = self.width.is_some() && self.height.is_some();
        let bounds = Bounds::of(self.width, self.height, limits::THUMBNAIL_WIDTH, limits::MAX_THUMBNAIL_SIDE);
        Still {
            time_ms: self.time_ms,
            bounds,
            fit: self.fit.filter(|_| is_box).unwrap_or(Fit::Preserve),
            turn: Turn::new(self.quarters, self.flip_v, self.flip_h),
        }
    }

    fn moving(self) -> Result<Moving, BadParameter> {
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
                "must lie 0.25 to 10 seconds after `start`, which is 0 if left out",
            ));
        }
        let bounds = Bounds::of(self.width, self.height, limits::ANIMATED_WIDTH, limits::MAX_ANIMATED_SIDE);
        let fps = self.fps.unwrap_or(limits::ANIMATED_FPS);
        Ok(Moving { span_ms, bounds, fps, max_bytes: self.max_bytes })
    }
}

fn moment(value: &str) -> Result<u64, &'static str> {
    let ms = number::seconds(value).filter(|ms| *ms <= limits::MAX_DURATION_MS);
    ms.ok_or("must be seconds from 0 to 86400, such as 1.5")
}

fn end(value: &str) -> Result<u64, &'static str> {
    let ms = number::seconds(value).filter(|ms| *ms <= limits::MAX_DURATION_MS + limits::MAX_SPAN_MS);
    ms.ok_or("must be seconds from 0 to 86410, such as 1.5")
}

pub(super) fn side(kind: Kind, value: &str) -> Result<u32, &'static str> {
    let (max, why) = match kind {
        Kind::Animated => (limits::MAX_ANIMATED_SIDE, "must be a number of pixels from 8 to 640"),
        _ => (limits::MAX_THUMBNAIL_SIDE, "must be a number of pixels from 8 to 3840"),
    };
    number::within(value, limits::MIN_SIDE..=max).ok_or(why)
}

pub(super) fn fps(value: &str) -> Result<u32, &'static str> {
    let fps = number::within(value, 1..=limits::MAX_ANIMATED_FPS);
    fps.ok_or("must be a number of frames a second from 1 to 30")
}

fn yes_or_no(value: &str) -> Result<bool, &'static str> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    }
}
