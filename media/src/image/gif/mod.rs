//! Decides how frames become a GIF: one palette for all of them, a pattern that stays where it is, and of each frame
//! only what changed. Pure.

mod dither;
mod lzw;
mod screen;
mod timing;

use std::borrow::Cow;

use bytes::Bytes;
use gif::{DisposalMethod, Encoder, Frame, Repeat};

use crate::image::gif::screen::{Part, Screen};
use crate::image::gif::timing::Shown;
use crate::image::header::{self, PictureError};
use crate::image::palette::{Histogram, Palette, Weights};
use crate::image::placeholder;
use crate::size::Size;

/// How much may be lost on the way to fewer bytes.
///
/// Squared errors are of one channel in steps of 255, for a flat surface; more is allowed where a picture is busy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Colours of the palette, 2 to 255.
    pub colours: usize,
    /// How much rougher a pattern of two colours is than one colour with the same error: from 1 on there is none.
    pub roughness: f32,
    /// How much more squared error a pixel may have for staying as it is.
    pub still: f32,
    /// How much more squared error a pixel may have for making a code longer.
    pub near: f32,
    /// Every so many frames one is shown.
    pub every: usize,
    /// The sides, in percent of the frames'.
    pub percent: u32,
}

/// What is used where nothing is said about bytes. Measured on films, at 60 frames of 320x180: fewer bytes than ffmpeg's
/// palette of 128 colours and Bayer pattern of scale 5, and nearer to the frames.
pub const FINE: Loss = Loss { colours: 255, roughness: 0.7, still: 2.5, near: 1.5, every: 1, percent: 100 };

/// What is tried until it fits: loss goes first, then colours, then frames, then pixels.
const STEPS: [Loss; 13] = [
    FINE,
    Loss { still: 8.0, near: 8.0, ..FINE },
    Loss { still: 16.0, near: 14.0, ..FINE },
    ROUGH,
    Loss { colours: 128, still: 36.0, near: 32.0, ..ROUGH },
    Loss { colours: 64, still: 48.0, near: 44.0, ..ROUGH },
    Loss { colours: 128, every: 2, ..ROUGH },
    Loss { colours: 64, still: 48.0, near: 44.0, every: 2, ..ROUGH },
    Loss { colours: 64, still: 48.0, near: 44.0, every: 2, percent: 75, ..ROUGH },
    Loss { colours: 64, still: 48.0, near: 44.0, every: 3, percent: 50, ..ROUGH },
    Loss { colours: 48, still: 48.0, near: 44.0, every: 4, percent: 40, ..ROUGH },
    Loss { colours: 32, still: 64.0, near: 64.0, every: 6, percent: 25, ..ROUGH },
    Loss { colours: 16, still: 96.0, near: 96.0, every: 10, percent: 12, ..ROUGH },
];
const ROUGH: Loss = Loss { colours: 192, roughness: 0.85, still: 24.0, near: 20.0, ..FINE };

/// Encodes raw `rgb24` frames that come at `fps` a second, to be shown for ever.
pub fn encode<F: AsRef<[u8]>>(
    frames: &[F],
    size: Size,
    fps: f64,
    loss: &Loss,
) -> Result<Bytes, PictureError> {
    header::frames(frames, size)?;
    let weights = weigh(frames, size);
    write(frames, size, fps, (&weights, &counted(frames, size, &weights)), loss)
}

/// The same in at most `max_bytes`: loss goes first, then colours, then frames, then pixels.
pub fn encode_within<F: AsRef<[u8]>>(
    frames: &[F],
    size: Size,
    fps: f64,
    max_bytes: usize,
) -> Result<Bytes, PictureError> {
    header::frames(frames, size)?;
    let weights = weigh(frames, size);
    let histogram = counted(frames, size, &weights);
    header::within(&STEPS, max_bytes, |loss| write(frames, size, fps, (&weights, &histogram), loss))
}

fn weigh<F: AsRef<[u8]>>(frames: &[F], size: Size) -> Vec<Weights> {
    frames.iter().map(|frame| Weights::of(frame.as_ref(), size.width as usize)).collect()
}

fn counted<F: AsRef<[u8]>>(frames: &[F], size: Size, weights: &[Weights]) -> Histogram {
    Histogram::of(frames, size.width as usize, weights)
}

fn write<F: AsRef<[u8]>>(
    frames: &[F],
    size: Size,
    fps: f64,
    (weights, histogram): (&[Weights], &Histogram),
    loss: &Loss,
) -> Result<Bytes, PictureError> {
    let palette = histogram.palette(loss.colours.clamp(2, 255));
    let small = if loss.percent >= 100 {
        size
    } else {
        size.fitted((size.width.saturating_mul(loss.percent) / 100).max(1))
    };
    let (width, height) = header::sides(small, u16::MAX)?;
    let mut screen = Screen::new(small, &palette, loss);
    let schedule = timing::schedule(frames.len(), fps, loss.every);
    let parts = parts((frames, weights), size, &schedule, &mut screen, small);

    let fault = |error: gif::EncodingError| PictureError::Encoder(error.to_string());
    let bytes: usize = parts.iter().map(|part| part.codes.len() * 257 / 256 + 32).sum();
    let to = Vec::with_capacity(bytes + 1024);
    let mut encoder = Encoder::new(to, width, height, &table(&palette)).map_err(fault)?;
    if parts.len() > 1 {
        encoder.set_repeat(Repeat::Infinite).map_err(fault)?;
    }
    for part in parts {
        let frame = Frame {
            delay: part.delay_cs,
            dispose: DisposalMethod::Keep,
            transparent: Some(screen.transparent()),
            left: part.left as u16,
            top: part.top as u16,
            width: part.width as u16,
            height: part.height as u16,
            buffer: Cow::Owned(part.codes),
            ..Frame::default()
        };
        encoder.write_lzw_pre_encoded_frame(&frame).map_err(fault)?;
    }
    Ok(encoder.into_inner().map_err(fault)?.into())
}

/// The changed part of each frame. One that changes nothing makes the one before last longer.
fn parts<F: AsRef<[u8]>>(
    (frames, weights): (&[F], &[Weights]),
    size: Size,
    schedule: &[Shown],
    screen: &mut Screen<'_>,
    small: Size,
) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(schedule.len());
    for Shown { frame, delay_cs } in schedule {
        let (Some(own), Some(weights)) = (frames.get(*frame).map(AsRef::as_ref), weights.get(*frame)) else {
            continue;
        };
        let drawn = if size == small {
            screen.draw(own, weights, *delay_cs)
        } else {
            let shrunk = placeholder::shrink(own, size, small);
            screen.draw(&shrunk, &Weights::of(&shrunk, small.width as usize), *delay_cs)
        };
        match (drawn, parts.last_mut()) {
            (Some(part), _) => parts.push(part),
            (None, Some(last)) if last.delay_cs.checked_add(*delay_cs).is_some() => last.delay_cs += delay_cs,
            (None, _) => parts.push(screen.nothing(*delay_cs)),
        }
    }
    parts
}

/// The palette's bytes, with a place for what is transparent.
fn table(palette: &Palette) -> Vec<u8> {
    let mut list = palette.colours().concat();
    list.extend([0; 3]);
    list
}

#[cfg(test)]
mod tests;
