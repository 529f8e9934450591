//! Decides which part of each frame a moving WebP holds, and for how long. Pure.

use std::num::NonZeroUsize;
use std::thread;

use bytes::Bytes;
use webp::PixelLayout;

use crate::image::header::PictureError;
use crate::image::placeholder;
use crate::image::webp::{LONGEST_SIDE, header, icc, picture, riff};
use crate::size::Size;

/// How much may be lost on the way to fewer bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// libwebp's, 0 to 100.
    pub quality: f32,
    /// Every so many frames one is shown.
    pub every: usize,
    /// The sides, in percent of the frames'.
    pub percent: u32,
}

/// What is used where nothing is said about bytes.
pub const FINE: Motion = Motion { quality: 48.0, every: 1, percent: 100 };

/// What is tried one after the other until it fits.
const STEPS: [Motion; 11] = [
    FINE,
    Motion { quality: 38.0, ..FINE },
    Motion { quality: 30.0, ..FINE },
    Motion { quality: 20.0, ..FINE },
    Motion { quality: 30.0, every: 2, percent: 100 },
    Motion { quality: 20.0, every: 2, percent: 100 },
    Motion { quality: 20.0, every: 2, percent: 75 },
    Motion { quality: 20.0, every: 3, percent: 50 },
    Motion { quality: 15.0, every: 4, percent: 40 },
    Motion { quality: 10.0, every: 6, percent: 25 },
    Motion { quality: 5.0, every: 10, percent: 15 },
];

/// How much work libwebp spends on a frame, of 0 to 6.
const METHOD: i32 = 4;
/// The side of the blocks that are kept or drawn: libwebp's macroblocks, so that none is half drawn.
const BLOCK: usize = 16;
/// By how much of 255 the pixels of a block that stays may have changed.
const STILL: u8 = 6;
/// Whether alpha is worth its cost: from one block in so many on.
const ALPHA_FROM: usize = 8;
/// The longest a frame can be shown, in milliseconds (24 bits).
const LONGEST_MS: u64 = 0x00ff_ffff;

/// Encodes raw `rgb24` frames that come at `fps` a second, to be shown for ever.
pub fn animation<F: AsRef<[u8]> + Sync>(
    frames: &[F],
    size: Size,
    fps: f64,
    motion: Motion,
) -> Result<Bytes, PictureError> {
    header::frames(frames, size)?;
    header::sides(size, LONGEST_SIDE)?;
    let chosen: Vec<&[u8]> = frames.iter().step_by(motion.every.max(1)).map(AsRef::as_ref).collect();
    let times = times(frames.len(), fps, motion.every);
    let small = if motion.percent >= 100 { size } else { scaled(size, motion.percent) };
    if small == size {
        return write(&chosen, &times, size, motion.quality);
    }
    let shrunk: Vec<Vec<u8>> = chosen.iter().map(|frame| placeholder::shrink(frame, size, small)).collect();
    let shrunk: Vec<&[u8]> = shrunk.iter().map(AsRef::as_ref).collect();
    write(&shrunk, &times, small, motion.quality)
}

/// The same in at most `max_bytes`: quality goes first, then frames, then pixels.
pub fn animation_within<F: AsRef<[u8]> + Sync>(
    frames: &[F],
    size: Size,
    fps: f64,
    max_bytes: usize,
) -> Result<Bytes, PictureError> {
    header::within(&STEPS, max_bytes, |motion| animation(frames, size, fps, *motion))
}

fn scaled(size: Size, percent: u32) -> Size {
    size.fitted((size.width.saturating_mul(percent) / 100).max(1))
}

/// For how many milliseconds every `every`th of `count` frames is shown: together as long as all of them.
fn times(count: usize, fps: f64, every: usize) -> Vec<u32> {
    let fps = if fps.is_finite() && fps > 0.0 { fps } else { 1.0 };
    let at = |place: usize| (place as f64 * 1000.0 / fps).round().min(1e15) as u64;
    let every = every.max(1);
    (0..count)
        .step_by(every)
        .map(|place| (at((place + every).min(count)) - at(place)).clamp(1, LONGEST_MS) as u32)
        .collect()
}

/// The part of a frame that is drawn, in pixels.
#[derive(Debug, Clone)]
struct Part {
    frame: usize,
    time_ms: u32,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    /// For each block of the part whether it is drawn; empty where all are.
    drawn: Vec<bool>,
}

/// Which parts of the frames are drawn: what has changed since it was drawn last.
fn parts(frames: &[&[u8]], times: &[u32], size: Size) -> Vec<Part> {
    let (width, height) = (size.width as usize, size.height as usize);
    let (columns, rows) = (width.div_ceil(BLOCK), height.div_ceil(BLOCK));
    let mut parts: Vec<Part> = Vec::with_capacity(frames.len());
    // The frame that each block was drawn from.
    let mut source = vec![0_usize; columns * rows];
    for (number, (frame, time_ms)) in frames.iter().zip(times).enumerate() {
        let drawn: Vec<bool> = (0..columns * rows)
            .map(|block| {
                number == 0 || differs(frame, frames[source[block]], size, block % columns, block / columns)
            })
            .collect();
        for (source, drawn) in source.iter_mut().zip(&drawn) {
            if *drawn {
                *source = number;
            }
        }
        let places = || (0..drawn.len()).filter(|block| drawn[*block]);
        let Some(top) = places().next().map(|block| block / columns) else {
            match parts.last_mut() {
                Some(last) if u64::from(last.time_ms + time_ms) <= LONGEST_MS => last.time_ms += time_ms,
                _ => parts.push(corner(number, *time_ms, size)),
            }
            continue;
        };
        let bottom = places().next_back().map_or(top, |block| block / columns) + 1;
        let left = places().map(|block| block % columns).min().unwrap_or(0);
        let right = places().map(|block| block % columns).max().unwrap_or(0) + 1;
        let inside: Vec<bool> = (top..bottom)
            .flat_map(|row| &drawn[row * columns + left..row * columns + right])
            .copied()
            .collect();
        let kept = inside.iter().filter(|drawn| !**drawn).count();
        // What is kept although it could be drawn saves bytes; a little of it does not pay for the alpha.
        let whole = kept * ALPHA_FROM < inside.len();
        if whole {
            for row in top..bottom {
                source[row * columns + left..row * columns + right].fill(number);
            }
        }
        parts.push(Part {
            frame: number,
            time_ms: *time_ms,
            left: left * BLOCK,
            top: top * BLOCK,
            width: (right * BLOCK).min(width) - left * BLOCK,
            height: (bottom * BLOCK).min(height) - top * BLOCK,
            drawn: if whole { Vec::new() } else { inside },
        });
    }
    parts
}

/// A pixel or two that are drawn again, where nothing changes and the frame before is shown as long as can be.
fn corner(frame: usize, time_ms: u32, size: Size) -> Part {
    let (width, height) = (size.width.min(2) as usize, size.height.min(2) as usize);
    Part { frame, time_ms, left: 0, top: 0, width, height, drawn: Vec::new() }
}

fn differs(new: &[u8], old: &[u8], size: Size, column: usize, row: usize) -> bool {
    let width = size.width as usize;
    let (left, right) = (column * BLOCK, ((column + 1) * BLOCK).min(width));
    (row * BLOCK..((row + 1) * BLOCK).min(size.height as usize)).any(|y| {
        let run = (y * width + left) * 3..(y * width + right) * 3;
        new[run.clone()].iter().zip(&old[run]).any(|(new, old)| new.abs_diff(*old) > STILL)
    })
}

/// A part's chunks.
fn encode(part: &Part, frame: &[u8], size: Size, quality: f32) -> Result<Vec<u8>, PictureError> {
    let stride = size.width as usize * 3;
    let (width, height) = (part.width as u16, part.height as u16);
    let rows = frame
        .chunks_exact(stride)
        .skip(part.top)
        .take(part.height)
        .map(|row| &row[part.left * 3..(part.left + part.width) * 3]);
    if part.drawn.is_empty() {
        let pixels: Vec<u8> = rows.flatten().copied().collect();
        return picture(&pixels, PixelLayout::Rgb, width, height, quality, METHOD);
    }
    let blocks = part.width.div_ceil(BLOCK);
    let mut pixels = Vec::with_capacity(part.width * part.height * 4);
    for (y, row) in rows.enumerate() {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let drawn = part.drawn[y / BLOCK * blocks + x / BLOCK];
            pixels.extend_from_slice(pixel);
            pixels.push(if drawn { 255 } else { 0 });
        }
    }
    picture(&pixels, PixelLayout::Rgba, width, height, quality, METHOD)
}

fn write(frames: &[&[u8]], times: &[u32], size: Size, quality: f32) -> Result<Bytes, PictureError> {
    let parts = parts(frames, times, size);
    let images = encode_all(&parts, |part| encode(part, frames[part.frame], size, quality))?;
    if let ([_], [image]) = (parts.as_slice(), images.as_slice()) {
        let mut file = riff::File::new(size, riff::ICC);
        file.chunk(*b"ICCP", icc::srgb());
        file.append(image);
        return Ok(file.finish().into());
    }
    let alpha = if parts.iter().any(|part| !part.drawn.is_empty()) { riff::ALPHA } else { 0 };
    let mut file = riff::File::new(size, riff::ICC | riff::MOVING | alpha);
    file.chunk(*b"ICCP", icc::srgb());
    // Any background; shown for ever.
    file.chunk(*b"ANIM", &[0; 6]);
    for (part, image) in parts.iter().zip(&images) {
        // Blended where there is alpha, as it is where there is none; nothing is taken away afterwards.
        let flags = if part.drawn.is_empty() { 0b10 } else { 0b00 };
        let sides = [part.left / 2, part.top / 2, part.width - 1, part.height - 1];
        let mut data: Vec<u8> = sides.iter().flat_map(|side| riff::three(*side as u32)).collect();
        data.extend(riff::three(part.time_ms));
        data.push(flags);
        data.extend_from_slice(image);
        file.chunk(*b"ANMF", &data);
    }
    Ok(file.finish().into())
}

/// Encodes the parts on all processors: none depends on another.
fn encode_all(
    parts: &[Part],
    encode: impl Fn(&Part) -> Result<Vec<u8>, PictureError> + Sync,
) -> Result<Vec<Vec<u8>>, PictureError> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).clamp(1, 4);
    // Dealt out like cards: neighbours cost alike.
    let dealt: Vec<Vec<Result<Vec<u8>, PictureError>>> = thread::scope(|scope| {
        let encode = &encode;
        let hands: Vec<_> = (0..threads)
            .map(|hand| scope.spawn(move || parts.iter().skip(hand).step_by(threads).map(encode).collect()))
            .collect();
        hands.into_iter().map(|hand| hand.join().unwrap_or_default()).collect()
    });
    let mut dealt: Vec<_> = dealt.into_iter().map(Vec::into_iter).collect();
    (0..parts.len())
        .map(|place| {
            let died = || Err(PictureError::Encoder("an encoder's thread ended early".to_owned()));
            dealt[place % threads].next().unwrap_or_else(died)
        })
        .collect()
}
