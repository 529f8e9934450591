//! Builds the canonical [`Variant`] of a request's parameters, and the shortest parameters of a variant.

use std::borrow::Cow;

use thiserror::Error;

use crate::limits;
use crate::variant::parameter::ParameterValues;
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
    pub why: Cow<'static, str>,
}

impl BadParameter {
    /// Keeps at most 32 harmless characters of the name, so that a message can contain it.
    pub(super) fn new(name: &str, why: Cow<'static, str>) -> Self {
        let is_harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        Self { name: name.chars().filter(is_harmless).take(32).collect(), why }
    }
}

impl ParameterValues {
    /// The requested variant in canonical form.
    pub(super) fn build(self, kind: VariantKind, format: OutputFormat) -> Result<Variant, BadParameter> {
        let params = match kind {
            VariantKind::Thumbnail => VariantParams::Thumbnail(self.thumbnail(format)?),
            VariantKind::Animation => VariantParams::Animation(self.animation()?),
            VariantKind::Storyboard => VariantParams::Storyboard,
        };
        Ok(Variant { params, format })
    }

    fn thumbnail(mut self, format: OutputFormat) -> Result<ThumbnailParams, BadParameter> {
        self.apply_dpr()?;
        let default_quality = format.default_quality();
        if self.quality.is_some() && default_quality.is_none() {
            return Err(BadParameter::new("quality", "is not supported for PNG, which is lossless".into()));
        }
        let quality = self.quality.map(|quality| quality as u8).filter(|own| Some(*own) != default_quality);
        // Without both sides the aspect ratio is never changed, so every mode equals `Preserve`.
        let is_box = self.width.is_some() && self.height.is_some();
        let bounds = self.bounds(limits::THUMBNAIL_WIDTH, limits::MAX_THUMBNAIL_SIDE);
        let fit = self.fit.filter(|_| is_box).and_then(|index| Fit::ALL.get(index as usize));
        let quarters = match self.rotate {
            Some(90) => 1,
            Some(180) => 2,
            Some(270) => 3,
            _ => 0,
        };
        Ok(ThumbnailParams {
            time_ms: self.time_ms,
            bounds,
            fit: fit.copied().unwrap_or(Fit::Preserve),
            orientation: Orientation::new(quarters, self.flip_v == Some(1), self.flip_h == Some(1)),
            blur: self.blur.map(|radius| radius as u8),
            quality,
            has_play_button: self.play == Some(1),
        })
    }

    /// Multiplies width and height, or the default width, by `dpr`.
    fn apply_dpr(&mut self) -> Result<(), BadParameter> {
        let Some(hundredths) = self.dpr_hundredths.take() else { return Ok(()) };
        if self.width.is_none() && self.height.is_none() {
            self.width = Some(limits::THUMBNAIL_WIDTH.into());
        }
        for side in [&mut self.width, &mut self.height].into_iter().flatten() {
            *side = (*side * hundredths + 50) / 100;
            if *side > limits::MAX_THUMBNAIL_SIDE.into() {
                let why =
                    format!("must not enlarge a side to more than {} pixels", limits::MAX_THUMBNAIL_SIDE);
                return Err(BadParameter::new("dpr", why.into()));
            }
        }
        Ok(())
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
            let [min, max] = [limits::MIN_SPAN_MS, limits::MAX_SPAN_MS].map(number::format_seconds);
            let why = format!("must be {min} to {max} seconds after `start`, which defaults to 0");
            return Err(BadParameter::new("end", why.into()));
        }
        let bounds = self.bounds(limits::ANIMATION_WIDTH, limits::MAX_ANIMATION_SIDE);
        let fps = self.fps.map_or(limits::ANIMATION_FPS, |fps| fps as u32);
        Ok(AnimationParams { span_ms, bounds, fps, max_bytes: self.max_bytes })
    }

    fn bounds(&self, default_width: u32, max_side: u32) -> Bounds {
        let side = |value: Option<u64>| value.map(|side| side as u32);
        Bounds::new(side(self.width), side(self.height), default_width, max_side)
    }

    /// The shortest values that request an image: the inverse of [`ParameterValues::build`].
    pub(super) fn from_params(params: VariantParams) -> Self {
        match params {
            VariantParams::Thumbnail(still) => Self::from_thumbnail(still),
            VariantParams::Animation(moving) => Self::from_animation(moving),
            VariantParams::Storyboard => Self::default(),
        }
    }

    fn from_thumbnail(still: ThumbnailParams) -> Self {
        let ThumbnailParams { time_ms, bounds, fit, orientation, blur, quality, has_play_button } = still;
        let has_mode = fit != Fit::Preserve;
        let (width, height) = if has_mode {
            (Some(bounds.width), Some(bounds.height))
        } else {
            bounds.to_parameters(limits::THUMBNAIL_WIDTH, limits::MAX_THUMBNAIL_SIDE)
        };
        let (degrees, flip_v, flip_h) = orientation.to_parameters();
        Self {
            time_ms,
            width: width.map(u64::from),
            height: height.map(u64::from),
            fit: has_mode.then_some(fit as u64),
            rotate: (degrees != 0).then_some(degrees.into()),
            flip_v: flip_v.then_some(1),
            flip_h: flip_h.then_some(1),
            blur: blur.map(u64::from),
            quality: quality.map(u64::from),
            play: has_play_button.then_some(1),
            ..Self::default()
        }
    }

    fn from_animation(moving: AnimationParams) -> Self {
        let AnimationParams { span_ms, bounds, fps, max_bytes } = moving;
        let (width, height) = bounds.to_parameters(limits::ANIMATION_WIDTH, limits::MAX_ANIMATION_SIDE);
        Self {
            start_ms: span_ms.map(|(start, _)| start),
            end_ms: span_ms.map(|(_, end)| end),
            width: width.map(u64::from),
            height: height.map(u64::from),
            fps: (fps != limits::ANIMATION_FPS).then_some(fps.into()),
            max_bytes,
            ..Self::default()
        }
    }
}
