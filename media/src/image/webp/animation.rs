//! Encodes animated WebP: for each frame, only the changed region, with its duration. Does no IO.

use std::num::NonZeroUsize;
use std::thread;

use bytes::Bytes;
use webp::PixelLayout;

use crate::image::header::ImageError;
use crate::image::placeholder;
use crate::image::webp::{FAST_METHOD, MAX_SIDE, encode_image, header, icc, riff};
use crate::size::Size;

/// How much quality may be lost to reduce the size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnimationOptions {
    /// libwebp's quality, 0 to 100.
    pub quality: f32,
    /// Only every n-th frame is encoded.
    pub frame_step: usize,
    /// Width and height as a percentage of the frames'.
    pub scale_percent: u32,
}

/// The default without a size limit.
pub const HIGH_QUALITY: AnimationOptions =
    AnimationOptions { quality: 50.0, frame_step: 1, scale_percent: 100 };

/// Options in decreasing quality, tried until the size fits.
const QUALITY_LADDER: [AnimationOptions; 11] = [
    HIGH_QUALITY,
    AnimationOptions { quality: 40.0, ..HIGH_QUALITY },
    AnimationOptions { quality: 30.0, ..HIGH_QUALITY },
    AnimationOptions { quality: 20.0, ..HIGH_QUALITY },
    AnimationOptions { quality: 30.0, frame_step: 2, scale_percent: 100 },
    AnimationOptions { quality: 20.0, frame_step: 2, scale_percent: 100 },
    AnimationOptions { quality: 20.0, frame_step: 2, scale_percent: 75 },
    AnimationOptions { quality: 20.0, frame_step: 3, scale_percent: 50 },
    AnimationOptions { quality: 15.0, frame_step: 4, scale_percent: 40 },
    AnimationOptions { quality: 10.0, frame_step: 6, scale_percent: 25 },
    AnimationOptions { quality: 5.0, frame_step: 10, scale_percent: 15 },
];

/// The side of the blocks that are kept or drawn: that of libwebp's macroblocks, so that no macroblock is drawn
/// partially.
const BLOCK: usize = 16;
/// The largest difference, out of 255, of the pixels in a block that is not drawn again.
const CHANGE_THRESHOLD: u8 = 6;
/// An alpha channel is used if at least one block in this many is unchanged: fewer do not outweigh its size.
const ALPHA_MIN_RATIO: usize = 8;
/// The longest duration of a frame, in milliseconds (24 bits).
const MAX_FRAME_MS: u64 = 0x00ff_ffff;

/// Encodes raw `rgb24` frames at `fps` frames per second, looping forever.
pub fn encode_animation<F: AsRef<[u8]> + Sync>(
    frames: &[F],
    size: Size,
    fps: f64,
    options: AnimationOptions,
) -> Result<Bytes, ImageError> {
    header::check_frames(frames, size)?;
    header::check_size(size, MAX_SIDE)?;
    let selected: Vec<&[u8]> = frames.iter().step_by(options.frame_step.max(1)).map(AsRef::as_ref).collect();
    let durations_ms = frame_durations_ms(frames.len(), fps, options.frame_step);
    let scaled_size = size.scale_by_percent(options.scale_percent);
    if scaled_size == size {
        return write_webp(&selected, &durations_ms, size, options.quality);
    }
    let shrunk_frames: Vec<Vec<u8>> =
        selected.iter().map(|frame| placeholder::shrink(frame, size, scaled_size)).collect();
    let frame_refs: Vec<&[u8]> = shrunk_frames.iter().map(AsRef::as_ref).collect();
    write_webp(&frame_refs, &durations_ms, scaled_size, options.quality)
}

/// The same in at most `max_bytes`: first lower quality, then fewer frames, fewer pixels.
pub fn encode_animation_within<F: AsRef<[u8]> + Sync>(
    frames: &[F],
    size: Size,
    fps: f64,
    max_bytes: usize,
) -> Result<Bytes, ImageError> {
    header::encode_within(&QUALITY_LADDER, max_bytes, |options| encode_animation(frames, size, fps, *options))
}

/// The durations in milliseconds of every `frame_step`-th of `count` frames. Their sum is the duration of all frames.
fn frame_durations_ms(count: usize, fps: f64, frame_step: usize) -> Vec<u32> {
    let fps = if fps.is_finite() && fps > 0.0 { fps } else { 1.0 };
    let at = |place: usize| (place as f64 * 1000.0 / fps).round().min(1e15) as u64;
    let frame_step = frame_step.max(1);
    (0..count)
        .step_by(frame_step)
        .map(|place| (at((place + frame_step).min(count)) - at(place)).clamp(1, MAX_FRAME_MS) as u32)
        .collect()
}

/// The region of a frame that is drawn, in pixels.
#[derive(Debug, Clone)]
struct AnmfFrame {
    frame: usize,
    duration_ms: u32,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    /// For each block of the region, whether it is drawn; empty if all are.
    drawn_blocks: Vec<bool>,
}

/// The regions of the frames that changed since they were last drawn.
fn changed_frames(frames: &[&[u8]], durations_ms: &[u32], size: Size) -> Vec<AnmfFrame> {
    let (width, height) = (size.width as usize, size.height as usize);
    let (columns, rows) = (width.div_ceil(BLOCK), height.div_ceil(BLOCK));
    let mut out: Vec<AnmfFrame> = Vec::with_capacity(frames.len());
    // The frame from which each block was drawn.
    let mut source = vec![0_usize; columns * rows];
    for (number, (frame, time_ms)) in frames.iter().zip(durations_ms).enumerate() {
        let drawn: Vec<bool> = (0..columns * rows)
            .map(|block| {
                number == 0
                    || has_block_changed(frame, frames[source[block]], size, block % columns, block / columns)
            })
            .collect();
        for (source, drawn) in source.iter_mut().zip(&drawn) {
            if *drawn {
                *source = number;
            }
        }
        let drawn_indices = || (0..drawn.len()).filter(|block| drawn[*block]);
        let Some(top) = drawn_indices().next().map(|block| block / columns) else {
            match out.last_mut() {
                Some(last) if u64::from(last.duration_ms + time_ms) <= MAX_FRAME_MS => {
                    last.duration_ms += time_ms;
                }
                _ => out.push(filler_frame(number, *time_ms, size)),
            }
            continue;
        };
        let bottom = drawn_indices().next_back().map_or(top, |block| block / columns) + 1;
        let left = drawn_indices().map(|block| block % columns).min().unwrap_or(0);
        let right = drawn_indices().map(|block| block % columns).max().unwrap_or(0) + 1;
        let inner: Vec<bool> = (top..bottom)
            .flat_map(|row| &drawn[row * columns + left..row * columns + right])
            .copied()
            .collect();
        let skipped = inner.iter().filter(|drawn| !**drawn).count();
        // Blocks that are unchanged within the region save bytes; a small number does not outweigh the alpha channel.
        let is_opaque = skipped * ALPHA_MIN_RATIO < inner.len();
        if is_opaque {
            for row in top..bottom {
                source[row * columns + left..row * columns + right].fill(number);
            }
        }
        out.push(AnmfFrame {
            frame: number,
            duration_ms: *time_ms,
            left: left * BLOCK,
            top: top * BLOCK,
            width: (right * BLOCK).min(width) - left * BLOCK,
            height: (bottom * BLOCK).min(height) - top * BLOCK,
            drawn_blocks: if is_opaque { Vec::new() } else { inner },
        });
    }
    out
}

/// A region of one or two pixels that is drawn again, for when nothing changes and the previous frame already has the
/// maximum duration.
fn filler_frame(frame: usize, duration_ms: u32, size: Size) -> AnmfFrame {
    let (width, height) = (size.width.min(2) as usize, size.height.min(2) as usize);
    AnmfFrame { frame, duration_ms, left: 0, top: 0, width, height, drawn_blocks: Vec::new() }
}

fn has_block_changed(new: &[u8], old: &[u8], size: Size, column: usize, row: usize) -> bool {
    let width = size.width as usize;
    let (left, right) = (column * BLOCK, ((column + 1) * BLOCK).min(width));
    (row * BLOCK..((row + 1) * BLOCK).min(size.height as usize)).any(|y| {
        let run = (y * width + left) * 3..(y * width + right) * 3;
        new[run.clone()].iter().zip(&old[run]).any(|(new, old)| new.abs_diff(*old) > CHANGE_THRESHOLD)
    })
}

/// Encodes the chunks of a region.
fn encode_frame(region: &AnmfFrame, frame: &[u8], size: Size, quality: f32) -> Result<Vec<u8>, ImageError> {
    let stride = size.width as usize * 3;
    let (width, height) = (region.width as u16, region.height as u16);
    let rows = frame
        .chunks_exact(stride)
        .skip(region.top)
        .take(region.height)
        .map(|row| &row[region.left * 3..(region.left + region.width) * 3]);
    if region.drawn_blocks.is_empty() {
        let pixels: Vec<u8> = rows.flatten().copied().collect();
        return encode_image(&pixels, PixelLayout::Rgb, width, height, quality, FAST_METHOD);
    }
    let blocks = region.width.div_ceil(BLOCK);
    let mut pixels = Vec::with_capacity(region.width * region.height * 4);
    for (y, row) in rows.enumerate() {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let drawn = region.drawn_blocks[y / BLOCK * blocks + x / BLOCK];
            pixels.extend_from_slice(pixel);
            pixels.push(if drawn { 255 } else { 0 });
        }
    }
    encode_image(&pixels, PixelLayout::Rgba, width, height, quality, FAST_METHOD)
}

fn write_webp(frames: &[&[u8]], durations_ms: &[u32], size: Size, quality: f32) -> Result<Bytes, ImageError> {
    let regions = changed_frames(frames, durations_ms, size);
    let images = encode_frames(&regions, |region| encode_frame(region, frames[region.frame], size, quality))?;
    if let ([_], [image]) = (regions.as_slice(), images.as_slice()) {
        let mut file = riff::RiffWriter::new(size, riff::ICC);
        file.write_chunk(*b"ICCP", icc::srgb());
        file.write_raw(image);
        return Ok(file.finish().into());
    }
    let alpha = if regions.iter().any(|region| !region.drawn_blocks.is_empty()) { riff::ALPHA } else { 0 };
    let mut file = riff::RiffWriter::new(size, riff::ICC | riff::ANIMATION | alpha);
    file.write_chunk(*b"ICCP", icc::srgb());
    // The background color is not used; loops forever.
    file.write_chunk(*b"ANIM", &[0; 6]);
    for (region, image) in regions.iter().zip(&images) {
        // Blended if there is alpha, otherwise overwritten. Nothing is disposed afterwards.
        let flags = if region.drawn_blocks.is_empty() { 0b10 } else { 0b00 };
        let sides = [region.left / 2, region.top / 2, region.width - 1, region.height - 1];
        let mut data: Vec<u8> = sides.iter().flat_map(|side| riff::u24_le(*side as u32)).collect();
        data.extend(riff::u24_le(region.duration_ms));
        data.push(flags);
        data.extend_from_slice(image);
        file.write_chunk(*b"ANMF", &data);
    }
    Ok(file.finish().into())
}

/// Encodes the regions on all processors. They are independent of each other.
fn encode_frames(
    regions: &[AnmfFrame],
    encode: impl Fn(&AnmfFrame) -> Result<Vec<u8>, ImageError> + Sync,
) -> Result<Vec<Vec<u8>>, ImageError> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).clamp(1, 4);
    // Assigned round-robin: neighboring regions take about the same time.
    let results_by_thread: Vec<Vec<Result<Vec<u8>, ImageError>>> = thread::scope(|scope| {
        let encode = &encode;
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || regions.iter().skip(thread).step_by(threads).map(encode).collect())
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or_default()).collect()
    });
    let mut results: Vec<_> = results_by_thread.into_iter().map(Vec::into_iter).collect();
    (0..regions.len())
        .map(|index| {
            let thread_error = || Err(ImageError::Encoder("an encoder thread panicked".to_owned()));
            results[index % threads].next().unwrap_or_else(thread_error)
        })
        .collect()
}
