//! Encodes frames as GIF: with one palette for all frames, ordered dithering with a fixed pattern, and only the changed
//! part of each frame. Does no IO.

mod dither;
mod lzw;
mod screen;
mod timing;

use std::borrow::Cow;

use bytes::Bytes;
use gif::{DisposalMethod, Encoder, Frame, Repeat};

use crate::image::gif::screen::{FrameRect, LogicalScreen};
use crate::image::gif::timing::FrameTiming;
use crate::image::header::{self, ImageError};
use crate::image::palette::{BlockWeights, Histogram, Palette};
use crate::image::placeholder;
use crate::size::Size;

/// How much quality may be lost to reduce the size.
///
/// Errors are squared differences of one channel, whose values are 0 to 255, for a flat area. More is allowed in
/// detailed areas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossyOptions {
    /// Colors of the palette, 2 to 255.
    pub colors: usize,
    /// How much worse a dither pattern is than a single color with the same error: 1 and above disables dithering.
    pub roughness: f32,
    /// How much additional squared error is allowed to leave a pixel unchanged.
    pub keep_tolerance: f32,
    /// How much additional squared error is allowed to extend an LZW code.
    pub lzw_tolerance: f32,
    /// Only every n-th frame is encoded.
    pub frame_step: usize,
    /// Width and height as a percentage of the frames'.
    pub scale_percent: u32,
}

/// The default without a size limit. Measured on videos, with 60 frames of 320x180: smaller than ffmpeg's palette of
/// 128 colors with a Bayer pattern of scale 5, and closer to the original frames.
pub const HIGH_QUALITY: LossyOptions = LossyOptions {
    colors: 255,
    roughness: 0.7,
    keep_tolerance: 2.5,
    lzw_tolerance: 1.5,
    frame_step: 1,
    scale_percent: 100,
};

/// Options in decreasing quality, tried until the size fits: first lossier encoding, then fewer colors, fewer frames,
/// fewer pixels.
const QUALITY_LADDER: [LossyOptions; 13] = [
    HIGH_QUALITY,
    LossyOptions { keep_tolerance: 8.0, lzw_tolerance: 8.0, ..HIGH_QUALITY },
    LossyOptions { keep_tolerance: 16.0, lzw_tolerance: 14.0, ..HIGH_QUALITY },
    LOW_QUALITY,
    LossyOptions { colors: 128, keep_tolerance: 36.0, lzw_tolerance: 32.0, ..LOW_QUALITY },
    LossyOptions { colors: 64, keep_tolerance: 48.0, lzw_tolerance: 44.0, ..LOW_QUALITY },
    LossyOptions { colors: 128, frame_step: 2, ..LOW_QUALITY },
    LossyOptions { colors: 64, keep_tolerance: 48.0, lzw_tolerance: 44.0, frame_step: 2, ..LOW_QUALITY },
    LossyOptions {
        colors: 64,
        keep_tolerance: 48.0,
        lzw_tolerance: 44.0,
        frame_step: 2,
        scale_percent: 75,
        ..LOW_QUALITY
    },
    LossyOptions {
        colors: 64,
        keep_tolerance: 48.0,
        lzw_tolerance: 44.0,
        frame_step: 3,
        scale_percent: 50,
        ..LOW_QUALITY
    },
    LossyOptions {
        colors: 48,
        keep_tolerance: 48.0,
        lzw_tolerance: 44.0,
        frame_step: 4,
        scale_percent: 40,
        ..LOW_QUALITY
    },
    LossyOptions {
        colors: 32,
        keep_tolerance: 64.0,
        lzw_tolerance: 64.0,
        frame_step: 6,
        scale_percent: 25,
        ..LOW_QUALITY
    },
    LossyOptions {
        colors: 16,
        keep_tolerance: 96.0,
        lzw_tolerance: 96.0,
        frame_step: 10,
        scale_percent: 12,
        ..LOW_QUALITY
    },
];
const LOW_QUALITY: LossyOptions =
    LossyOptions { colors: 192, roughness: 0.85, keep_tolerance: 24.0, lzw_tolerance: 20.0, ..HIGH_QUALITY };

/// Encodes raw `rgb24` frames at `fps` frames per second, looping forever.
pub fn encode<F: AsRef<[u8]>>(
    frames: &[F],
    size: Size,
    fps: f64,
    options: &LossyOptions,
) -> Result<Bytes, ImageError> {
    GifSource::new(frames, size, fps)?.write(options)
}

/// The same in at most `max_bytes`: first lossier encoding, then fewer colors, fewer frames, fewer pixels.
pub fn encode_within<F: AsRef<[u8]>>(
    frames: &[F],
    size: Size,
    fps: f64,
    max_bytes: usize,
) -> Result<Bytes, ImageError> {
    let source = GifSource::new(frames, size, fps)?;
    header::encode_within(&QUALITY_LADDER, max_bytes, |options| source.write(options))
}

/// Frames with what every attempt to encode them needs.
struct GifSource<'a, F> {
    frames: &'a [F],
    size: Size,
    fps: f64,
    /// The weights of each frame.
    weights: Vec<BlockWeights>,
    histogram: Histogram,
}

impl<'a, F: AsRef<[u8]>> GifSource<'a, F> {
    fn new(frames: &'a [F], size: Size, fps: f64) -> Result<Self, ImageError> {
        header::check_frames(frames, size)?;
        let width = size.width as usize;
        let weights: Vec<BlockWeights> =
            frames.iter().map(|frame| BlockWeights::from_frame(frame.as_ref(), width)).collect();
        let histogram = Histogram::from_frames(frames, width, &weights);
        Ok(Self { frames, size, fps, weights, histogram })
    }

    fn write(&self, options: &LossyOptions) -> Result<Bytes, ImageError> {
        let palette = self.histogram.palette(options.colors.clamp(2, 255));
        let scaled_size = self.size.scale_by_percent(options.scale_percent);
        let (width, height) = header::check_size(scaled_size, u16::MAX)?;
        let mut screen = LogicalScreen::new(scaled_size, &palette, options);
        let schedule = timing::schedule(self.frames.len(), self.fps, options.frame_step);
        let rects = self.changed_rects(&schedule, &mut screen, scaled_size);

        let encoder_error = |error: gif::EncodingError| ImageError::Encoder(error.to_string());
        let bytes: usize = rects.iter().map(|rect| rect.codes.len() * 257 / 256 + 32).sum();
        let out = Vec::with_capacity(bytes + 1024);
        let mut encoder = Encoder::new(out, width, height, &color_table(&palette)).map_err(encoder_error)?;
        if rects.len() > 1 {
            encoder.set_repeat(Repeat::Infinite).map_err(encoder_error)?;
        }
        for rect in rects {
            let frame = Frame {
                delay: rect.delay_cs,
                dispose: DisposalMethod::Keep,
                transparent: Some(screen.transparent_index()),
                left: rect.left as u16,
                top: rect.top as u16,
                width: rect.width as u16,
                height: rect.height as u16,
                buffer: Cow::Owned(rect.codes),
                ..Frame::default()
            };
            encoder.write_lzw_pre_encoded_frame(&frame).map_err(encoder_error)?;
        }
        Ok(encoder.into_inner().map_err(encoder_error)?.into())
    }

    /// The changed part of each frame. A frame without changes extends the duration of the previous one.
    fn changed_rects(
        &self,
        schedule: &[FrameTiming],
        screen: &mut LogicalScreen<'_>,
        scaled_size: Size,
    ) -> Vec<FrameRect> {
        let mut rects: Vec<FrameRect> = Vec::with_capacity(schedule.len());
        for FrameTiming { frame, delay_cs } in schedule {
            let (Some(frame_rgb), Some(weights)) =
                (self.frames.get(*frame).map(AsRef::as_ref), self.weights.get(*frame))
            else {
                continue;
            };
            let drawn = if self.size == scaled_size {
                screen.draw(frame_rgb, weights, *delay_cs)
            } else {
                let shrunk = placeholder::shrink(frame_rgb, self.size, scaled_size);
                screen.draw(
                    &shrunk,
                    &BlockWeights::from_frame(&shrunk, scaled_size.width as usize),
                    *delay_cs,
                )
            };
            match (drawn, rects.last_mut()) {
                (Some(rect), _) => rects.push(rect),
                (None, Some(last)) if last.delay_cs.checked_add(*delay_cs).is_some() => {
                    last.delay_cs += delay_cs;
                }
                (None, _) => rects.push(screen.empty_rect(*delay_cs)),
            }
        }
        rects
    }
}

/// The bytes of the palette, including an entry for transparency.
fn color_table(palette: &Palette) -> Vec<u8> {
    let mut list = palette.colors().concat();
    list.extend([0; 3]);
    list
}

#[cfg(test)]
mod tests;
