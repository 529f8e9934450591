//! Decodes WebPs with an independent decoder and compares them with the original frames.

use std::io::Cursor;

use glimpse_contract::OutputFormat;
use image_webp::{LoopCount, WebPDecoder};

use crate::image::webp::*;

/// The frames of a WebP as a viewer shows them, raw `rgb24`, and their durations in milliseconds.
fn decode_webp(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u32>) {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).unwrap();
    assert_eq!(decoder.icc_profile().unwrap().as_deref(), Some(icc::srgb()));
    assert_eq!(decoder.exif_metadata().unwrap(), None);
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut buffer = vec![0; decoder.output_buffer_size().unwrap()];
    let rgb = |buffer: &[u8]| buffer.chunks_exact(channels).flat_map(|pixel| &pixel[..3]).copied().collect();
    if !decoder.is_animated() {
        decoder.read_image(&mut buffer).unwrap();
        return (vec![rgb(&buffer)], vec![0]);
    }
    assert_eq!(decoder.loop_count(), LoopCount::Forever);
    (0..decoder.num_frames())
        .map(|_| {
            let time = decoder.read_frame(&mut buffer).unwrap();
            (rgb(&buffer), time)
        })
        .unzip()
}

fn psnr(left: &[u8], right: &[u8]) -> f64 {
    assert_eq!(left.len(), right.len());
    let squares: f64 = left.iter().zip(right).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (65_025.0 / (squares / left.len() as f64).max(1e-9)).log10()
}

/// A gray gradient with a moving bright square; with `has_cut`, another scene from the middle on.
fn scene(size: Size, count: usize, has_cut: bool) -> Vec<Vec<u8>> {
    let (width, height) = (size.width as usize, size.height as usize);
    (0..count)
        .map(|time| {
            let other = has_cut && time >= count / 2;
            let pixels = (0..width * height).flat_map(|at| {
                let (x, y) = (at % width, at / width);
                let inside = x / 8 == time % 4 + 1 && y / 8 == 1;
                let base = if other { 255 - y * 200 / height } else { 40 + x * 150 / width };
                [if inside { 230 } else { base as u8 }; 3]
            });
            pixels.collect()
        })
        .collect()
}

const SIZE: Size = Size { width: 100, height: 60 };

#[test]
fn roundtrips_a_still() {
    for (width, height) in [(1, 1), (1, 33), (3, 5), (100, 60)] {
        let size = Size { width, height };
        let frame = scene(size, 1, false).remove(0);
        let bytes = encode(&frame, size, POSTER_QUALITY).unwrap();
        assert_eq!(header::parse(OutputFormat::Webp, &bytes), Some(header::ImageHeader { size, frames: 1 }));
        let (frames, _) = decode_webp(&bytes);
        assert!(psnr(&frames[0], &frame) > 30.0, "{width}x{height}");
    }
}

#[test]
fn roundtrips_an_animation_with_timing() {
    for has_cut in [false, true] {
        let frames = scene(SIZE, 15, has_cut);
        let (decoded, times) = decode_webp(&encode_animation(&frames, SIZE, 15.0, HIGH_QUALITY).unwrap());
        assert_eq!(decoded.len(), frames.len());
        assert_eq!(times.iter().sum::<u32>(), 1000);
        assert!(times.iter().all(|time| (66..=67).contains(time)), "{times:?}");
        for (place, (shown, frame)) in decoded.iter().zip(&frames).enumerate() {
            let psnr = psnr(shown, frame);
            assert!(psnr > 30.0, "cut {has_cut}, frame {place}: {psnr}");
        }
    }
}

/// Unchanged blocks beside drawn blocks: pixels at the edges are as accurate as elsewhere, and unchanged blocks are not
/// modified.
#[test]
fn block_edges_are_as_good_as_block_centers() {
    let size = Size { width: 320, height: 176 };
    let (width, height) = (size.width as usize, size.height as usize);
    let texture = |x: f64, y: f64| 120.0 + 60.0 * (x / 11.0).sin() + 50.0 * (y / 7.0 + x / 23.0).cos();
    let frames: Vec<Vec<u8>> = (0..12)
        .map(|time| {
            let shift = f64::from(time) * 3.0;
            let pixels = (0..width * height).flat_map(|at| {
                let (x, y) = ((at % width) as f64, (at / width) as f64);
                // Bright and dark spots that move over a fixed background.
                let spot = ((x - 40.0 - 2.0 * shift) / 60.0).floor() as i32 + (y / 50.0).floor() as i32;
                let inside = (x - 2.0 * shift).rem_euclid(80.0) < 34.0 && y.rem_euclid(60.0) < 38.0;
                let level = if inside {
                    texture(2.0 * x - shift, y) * 0.5 + f64::from(spot & 1) * 110.0
                } else {
                    texture(x, y)
                };
                [level, 0.8 * level + 20.0, 0.6 * level + 60.0].map(|channel| channel.clamp(0.0, 255.0) as u8)
            });
            pixels.collect()
        })
        .collect();
    assert_edges_are_accurate(&frames, size);
}

/// Every second block is drawn, in turns, and all of its neighbors are hidden pixels of a gradient.
#[test]
fn hidden_pixels_do_not_change_drawn_blocks() {
    let size = Size { width: 320, height: 176 };
    let width = size.width as usize;
    let frames: Vec<Vec<u8>> = (0..12)
        .map(|time| {
            let pixels = (0..width * size.height as usize).flat_map(|at| {
                let (x, y) = (at % width, at / width);
                let turn = (time + (x / BLOCK + y / BLOCK) % 2) % 4;
                let wave = 128.0 + 60.0 * (x as f64 / 20.0).sin() + 30.0 * (y as f64 / 10.0).cos();
                let level = wave + if turn < 2 { 0.0 } else { 8.0 };
                [level, 0.8 * level + 20.0, 0.6 * level + 60.0].map(|channel| channel.clamp(0.0, 255.0) as u8)
            });
            pixels.collect()
        })
        .collect();
    assert_edges_are_accurate(&frames, size);
}

/// The side of a block of an animation.
const BLOCK: usize = 16;

/// Checks that pixels at the edges of blocks are as accurate as the others.
#[track_caller]
fn assert_edges_are_accurate(frames: &[Vec<u8>], size: Size) {
    let bytes = encode_animation(frames, size, 12.0, HIGH_QUALITY).unwrap();
    let (decoded, _) = decode_webp(&bytes);
    let width = size.width as usize;
    let (mut edges, mut inner) = ((0_u64, 0_u64), (0_u64, 0_u64));
    for (shown, frame) in decoded.iter().zip(frames).skip(1) {
        for (at, (one, other)) in shown.chunks_exact(3).zip(frame.chunks_exact(3)).enumerate() {
            let (x, y) = (at % width % BLOCK, at / width % BLOCK);
            let off: u64 = one.iter().zip(other).map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
            let is_edge = matches!(x, 0 | 15) || matches!(y, 0 | 15);
            let sum = if is_edge { &mut edges } else { &mut inner };
            *sum = (sum.0 + off, sum.1 + 3);
        }
    }
    let mean = |(sum, count): (u64, u64)| sum as f64 / count as f64;
    let (edges, inner) = (mean(edges), mean(inner));
    assert!(
        edges < inner * 1.35 + 0.3,
        "{edges:.2} at the edges, {inner:.2} elsewhere, {} bytes",
        bytes.len()
    );
}

#[test]
fn unchanged_frames_are_stored_once() {
    let frames = vec![scene(SIZE, 1, false).remove(0); 30];
    let bytes = encode_animation(&frames, SIZE, 15.0, HIGH_QUALITY).unwrap();
    assert_eq!(
        header::parse(OutputFormat::Webp, &bytes),
        Some(header::ImageHeader { size: SIZE, frames: 1 })
    );
    let moving = encode_animation(&scene(SIZE, 30, false), SIZE, 15.0, HIGH_QUALITY).unwrap();
    assert!(moving.len() < bytes.len() * 12, "{} and {}", moving.len(), bytes.len());
}

#[test]
fn roundtrips_odd_sizes() {
    for (width, height) in [(1, 1), (1, 9), (17, 1), (3, 5), (33, 47)] {
        let size = Size { width, height };
        let frames: Vec<Vec<u8>> = (0..4).map(|time| vec![time * 60; size.frame_bytes()]).collect();
        let (decoded, _) = decode_webp(&encode_animation(&frames, size, 10.0, HIGH_QUALITY).unwrap());
        assert_eq!(decoded.len(), 4, "{width}x{height}");
        assert!(psnr(&decoded[3], &frames[3]) > 30.0, "{width}x{height}");
    }
}

#[test]
fn stays_within_byte_limit() {
    let byte =
        |at: u32| (at.wrapping_mul(2_654_435_761).rotate_left(9).wrapping_mul(2_246_822_519) >> 24) as u8;
    let length = SIZE.frame_bytes() as u32;
    let frames: Vec<Vec<u8>> =
        (0..20).map(|frame| (frame * length..(frame + 1) * length).map(byte).collect()).collect();
    let full_bytes = encode_animation(&frames, SIZE, 20.0, HIGH_QUALITY).unwrap().len();
    for share in [1, 2, 5, 20, 50] {
        let max_bytes = full_bytes / share;
        let bytes = encode_animation_within(&frames, SIZE, 20.0, max_bytes).unwrap();
        assert!(bytes.len() <= max_bytes, "1/{share}: {} of {max_bytes}", bytes.len());
        assert_eq!(decode_webp(&bytes).1.iter().sum::<u32>(), 1000, "1/{share}");
    }
    let result = encode_animation_within(&frames, SIZE, 20.0, 100);
    assert!(matches!(result, Err(ImageError::TooManyBytes { max_bytes: 100, .. })), "{result:?}");
}

#[test]
fn rejects_invalid_frames() {
    let none: [Vec<u8>; 0] = [];
    assert_eq!(encode_animation(&none, SIZE, 15.0, HIGH_QUALITY), Err(ImageError::NoFrames));
    let wide = Size { width: 16_384, height: 1 };
    let result = encode(&vec![0; wide.frame_bytes()], wide, 80.0);
    assert_eq!(result, Err(ImageError::UnsupportedSize { width: 16_384, height: 1 }));
}
