//! Parses thumbnail URLs in Cloudflare Stream's format,
//! <https://developers.cloudflare.com/stream/viewing-videos/displaying-thumbnails/>.
//!
//! They are aliases of Glimpse's images. The defaults are Glimpse's, not Stream's (second 0, which is usually black,
//! and 8 frames per second), so that an alias without parameters is an existing image. With both sides and no `fit`, a
//! thumbnail is cropped, as in Stream; an animation keeps its aspect ratio.

use std::borrow::Cow;

use super::{Fit, OutputFormat, VariantKind, number};
use crate::limits;
use crate::variant::builder::BadParameter;
use crate::variant::parameter::ParameterValues;

/// Parses the file name in `thumbnails/{file_name}` into kind and format.
pub(super) fn parse_file_name(name: &str) -> Option<(VariantKind, OutputFormat)> {
    match name {
        "thumbnail.jpg" => Some((VariantKind::Thumbnail, OutputFormat::Jpg)),
        "thumbnail.gif" => Some((VariantKind::Animation, OutputFormat::Gif)),
        _ => None,
    }
}

/// The Stream parameters that were parsed so far.
#[derive(Debug, Default)]
pub(super) struct StreamParams {
    time_ms: Option<u64>,
    duration_ms: Option<u64>,
    fit: Option<Fit>,
    values: ParameterValues,
}

impl StreamParams {
    /// Sets one parameter. The error describes the expected value.
    pub(super) fn set(
        &mut self,
        kind: VariantKind,
        name: &str,
        value: &str,
    ) -> Result<(), Cow<'static, str>> {
        match (kind, name) {
            (_, "time") => {
                let ms = number::parse_clock(value).filter(|ms| *ms <= limits::MAX_DURATION_MS);
                let hours = limits::MAX_DURATION_MS / 3_600_000;
                self.time_ms =
                    Some(ms.ok_or_else(|| format!("must be a time up to {hours}h, such as 1m2s"))?);
            }
            (_, "width" | "height") | (VariantKind::Animation, "fps") => {
                self.values.set(kind, name, value)?;
            }
            (_, "fit") => {
                self.fit = Some(match value {
                    "clip" => Fit::Preserve,
                    "scale" => Fit::Stretch,
                    "crop" => Fit::Crop,
                    "fill" => Fit::Pad,
                    _ => return Err("must be clip, scale, crop or fill".into()),
                });
            }
            (VariantKind::Animation, "duration") => {
                let spans = limits::MIN_SPAN_MS..=limits::MAX_SPAN_MS;
                let ms = number::parse_clock(value).filter(|ms| spans.contains(ms));
                let expectation = || {
                    let [min, max] = [limits::MIN_SPAN_MS, limits::MAX_SPAN_MS].map(number::format_seconds);
                    format!("must be a time from {min}s to {max}s")
                };
                self.duration_ms = Some(ms.ok_or_else(expectation)?);
            }
            (_, "duration" | "fps") => return Err("is not supported for this kind of image".into()),
            _ => return Err("is unknown".into()),
        }
        Ok(())
    }

    /// Converts the parameters to Glimpse's.
    pub(super) fn into_values(self, kind: VariantKind) -> Result<ParameterValues, BadParameter> {
        let Self { time_ms, duration_ms, fit, mut values } = self;
        if kind == VariantKind::Animation {
            let is_box = values.width.is_some() && values.height.is_some();
            if is_box && fit.is_some_and(|fit| fit != Fit::Preserve) {
                return Err(BadParameter::new(
                    "fit",
                    "must be clip: an animation keeps the video's aspect ratio".into(),
                ));
            }
            values.start_ms = time_ms.or(duration_ms.map(|_| 0));
            values.end_ms = values.start_ms.zip(duration_ms).map(|(start, length)| start + length);
        } else {
            values.time_ms = time_ms;
            values.fit = Some(fit.unwrap_or(Fit::Crop) as u64);
        }
        Ok(values)
    }
}
