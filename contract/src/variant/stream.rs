//! Parses thumbnail URLs in Cloudflare Stream's format,
//! <https://developers.cloudflare.com/stream/viewing-videos/displaying-thumbnails/>.
//!
//! They are aliases of Glimpse's images. The defaults are Glimpse's, not Stream's (second 0, which is usually black,
//! and 8 frames per second), so that an alias without parameters is an existing image. With both sides and no `fit`, a
//! thumbnail is cropped, as in Stream; an animation keeps its aspect ratio.

use super::{Fit, OutputFormat, VariantKind, number};
use crate::limits;
use crate::variant::builder::{BadParameter, VariantBuilder, parse_fps, parse_side};

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
    builder: VariantBuilder,
}

impl StreamParams {
    /// Sets one parameter. The error describes the expected value.
    pub(super) fn set(&mut self, kind: VariantKind, name: &str, value: &str) -> Result<(), &'static str> {
        match (kind, name) {
            (_, "time") => {
                let ms = number::parse_clock(value).filter(|ms| *ms <= limits::MAX_DURATION_MS);
                self.time_ms = Some(ms.ok_or("must be a time up to 24h, such as 1m2s")?);
            }
            (_, "width") => self.builder.width = Some(parse_side(kind, value)?),
            (_, "height") => self.builder.height = Some(parse_side(kind, value)?),
            (_, "fit") => {
                self.fit = Some(match value {
                    "clip" => Fit::Preserve,
                    "scale" => Fit::Stretch,
                    "crop" => Fit::Crop,
                    "fill" => Fit::Pad,
                    _ => return Err("must be clip, scale, crop or fill"),
                });
            }
            (VariantKind::Animation, "duration") => {
                let spans = limits::MIN_SPAN_MS..=limits::MAX_SPAN_MS;
                let ms = number::parse_clock(value).filter(|ms| spans.contains(ms));
                self.duration_ms = Some(ms.ok_or("must be a time from 0.25s to 10s")?);
            }
            (VariantKind::Animation, "fps") => self.builder.fps = Some(parse_fps(value)?),
            (_, "duration" | "fps") => return Err("is not supported for this kind of image"),
            _ => return Err("is unknown"),
        }
        Ok(())
    }

    /// Converts the parameters to Glimpse's.
    pub(super) fn into_builder(self, kind: VariantKind) -> Result<VariantBuilder, BadParameter> {
        let Self { time_ms, duration_ms, fit, builder: mut draft } = self;
        if kind == VariantKind::Animation {
            let is_box = draft.width.is_some() && draft.height.is_some();
            if is_box && fit.is_some_and(|fit| fit != Fit::Preserve) {
                return Err(BadParameter::new(
                    "fit",
                    "must be clip: an animation keeps the video's aspect ratio",
                ));
            }
            draft.start_ms = time_ms.or(duration_ms.map(|_| 0));
            draft.end_ms = draft.start_ms.zip(duration_ms).map(|(start, length)| start + length);
        } else {
            draft.time_ms = time_ms;
            draft.fit = Some(fit.unwrap_or(Fit::Crop));
        }
        Ok(draft)
    }
}
