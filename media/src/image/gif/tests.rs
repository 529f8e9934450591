//! Decodes GIFs with an independent decoder and compares them with the original frames.

use proptest::prelude::*;

use crate::image::gif::*;

/// A decoded GIF as a viewer shows it.
struct DecodedGif {
    frames: Vec<Vec<u8>>,
    delays_cs: Vec<u16>,
    size: Size,
    endless: bool,
}

fn decode_gif(bytes: &[u8]) -> DecodedGif {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    options.check_frame_consistency(true);
    let mut decoder = options.read_info(bytes).unwrap();
    let size = Size { width: decoder.width().into(), height: decoder.height().into() };
    let mut screen = vec![0; size.frame_bytes()];
    let mut played = DecodedGif { frames: Vec::new(), delays_cs: Vec::new(), size, endless: false };
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        for (y, row) in frame.buffer.chunks_exact(usize::from(frame.width) * 4).enumerate() {
            for (x, pixel) in row.chunks_exact(4).enumerate() {
                let at = (usize::from(frame.top) + y) * size.width as usize + usize::from(frame.left) + x;
                if pixel[3] == 255 {
                    screen[at * 3..at * 3 + 3].copy_from_slice(&pixel[..3]);
                }
            }
        }
        played.frames.push(screen.clone());
        played.delays_cs.push(frame.delay);
    }
    played.endless = decoder.repeat() == Repeat::Infinite;
    played
}

/// Peak signal-to-noise ratio, in decibels.
fn psnr(left: &[u8], right: &[u8]) -> f64 {
    assert_eq!(left.len(), right.len());
    let squares: f64 = left.iter().zip(right).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (65_025.0 / (squares / left.len() as f64).max(1e-9)).log10()
}

/// A gradient under a moving disc.
fn scene(size: Size, count: usize) -> Vec<Vec<u8>> {
    let (width, height) = (size.width as usize, size.height as usize);
    (0..count)
        .map(|time| {
            let pixels = (0..width * height).flat_map(|at| {
                let (x, y) = (at % width, at / width);
                let (away_x, away_y) = (x.abs_diff(time * 3 + 10), y.abs_diff(height / 2));
                if away_x * away_x + away_y * away_y < 64 {
                    [220, 60, 40]
                } else {
                    [(x * 200 / width) as u8, 80, (y * 250 / height) as u8]
                }
            });
            pixels.collect()
        })
        .collect()
}

fn noise(size: Size, count: u32) -> Vec<Vec<u8>> {
    let byte =
        |at: u32| (at.wrapping_mul(2_654_435_761).rotate_left(9).wrapping_mul(2_246_822_519) >> 24) as u8;
    let length = size.frame_bytes() as u32;
    (0..count).map(|frame| (frame * length..(frame + 1) * length).map(byte).collect()).collect()
}

const SIZE: Size = Size { width: 96, height: 54 };

#[test]
fn roundtrips_an_animation() {
    let frames = scene(SIZE, 20);
    let played = decode_gif(&encode(&frames, SIZE, 15.0, &HIGH_QUALITY).unwrap());
    assert_eq!(played.size, SIZE);
    assert!(played.endless);
    assert_eq!(played.delays_cs.iter().map(|delay| u32::from(*delay)).sum::<u32>(), 133);
    assert_eq!(played.frames.len(), frames.len());
    for (place, (shown, frame)) in played.frames.iter().zip(&frames).enumerate() {
        let psnr = psnr(shown, frame);
        assert!(psnr > 34.0, "frame {place}: {psnr}");
    }
}

#[test]
fn output_is_deterministic() {
    let frames = scene(SIZE, 5);
    assert_eq!(encode(&frames, SIZE, 15.0, &HIGH_QUALITY), encode(&frames, SIZE, 15.0, &HIGH_QUALITY));
}

#[test]
fn unchanged_frames_are_stored_once() {
    let frames = vec![scene(SIZE, 1).remove(0); 30];
    let played = decode_gif(&encode(&frames, SIZE, 15.0, &HIGH_QUALITY).unwrap());
    assert_eq!(played.delays_cs, [200]);
    let moving = encode(&scene(SIZE, 30), SIZE, 15.0, &HIGH_QUALITY).unwrap().len();
    let all = encode(&noise(SIZE, 30), SIZE, 15.0, &HIGH_QUALITY).unwrap().len();
    assert!(moving * 5 < all, "{moving} of {all}");
}

#[test]
fn still_surface_does_not_flicker() {
    // A gradient with film grain: noise of up to two steps in each direction, different in each frame.
    let size = Size { width: 64, height: 64 };
    let grain = noise(size, 12);
    let frames: Vec<Vec<u8>> = grain
        .iter()
        .map(|grain| {
            grain
                .iter()
                .enumerate()
                .map(|(at, grain)| (60 + at / 192 + usize::from(grain % 5)) as u8)
                .collect()
        })
        .collect();
    let changed_pixels = |options: &LossyOptions| {
        let played = decode_gif(&encode(&frames, size, 15.0, options).unwrap());
        let changed = |pair: &[Vec<u8>]| {
            pair[0]
                .chunks_exact(3)
                .zip(pair[1].chunks_exact(3))
                .filter(|(before, after)| before != after)
                .count()
        };
        played.frames.windows(2).map(changed).sum::<usize>()
    };
    let (kept, loose) = (
        changed_pixels(&HIGH_QUALITY),
        changed_pixels(&LossyOptions { keep_tolerance: 0.0, lzw_tolerance: 0.0, ..HIGH_QUALITY }),
    );
    assert!(kept * 3 < loose * 2, "{kept} pixels change, {loose} without `keep_tolerance`");
}

#[test]
fn two_colors_are_lossless() {
    let frames: Vec<Vec<u8>> = (0..4)
        .map(|time| {
            (0..64 * 64)
                .flat_map(|at| [if (at / 8 + at / 512 + time) % 2 == 0 { 12 } else { 240 }; 3])
                .collect()
        })
        .collect();
    let size = Size { width: 64, height: 64 };
    assert_eq!(decode_gif(&encode(&frames, size, 10.0, &HIGH_QUALITY).unwrap()).frames, frames);
}

#[test]
fn single_frame_does_not_loop() {
    let played = decode_gif(&encode(&scene(SIZE, 1), SIZE, 15.0, &HIGH_QUALITY).unwrap());
    assert_eq!(played.frames.len(), 1);
    assert!(!played.endless);
}

#[test]
fn stays_within_byte_limit() {
    let frames = noise(SIZE, 20);
    let full_bytes = encode(&frames, SIZE, 20.0, &HIGH_QUALITY).unwrap().len();
    let mut before = usize::MAX;
    for share in [1, 2, 4, 10, 30, 100] {
        let max_bytes = full_bytes / share;
        let bytes = encode_within(&frames, SIZE, 20.0, max_bytes).unwrap();
        assert!(bytes.len() <= max_bytes, "1/{share}: {} of {max_bytes}", bytes.len());
        assert!(bytes.len() <= before);
        before = bytes.len();
        let played = decode_gif(&bytes);
        assert_eq!(played.delays_cs.iter().map(|delay| u32::from(*delay)).sum::<u32>(), 100, "1/{share}");
    }
    match encode_within(&frames, SIZE, 20.0, 100) {
        Err(ImageError::TooManyBytes { least_bytes, max_bytes: 100 }) => assert!(least_bytes > 100),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rejects_invalid_frames() {
    let none: [Vec<u8>; 0] = [];
    assert_eq!(encode(&none, SIZE, 15.0, &HIGH_QUALITY), Err(ImageError::NoFrames));
    let short = ImageError::FrameLength { found: 5, expected: SIZE.frame_bytes() };
    assert_eq!(encode(&[vec![0; 5]], SIZE, 15.0, &HIGH_QUALITY), Err(short));
    let wide = Size { width: 65_536, height: 1 };
    let result = encode(&[vec![0; wide.frame_bytes()]], wide, 15.0, &HIGH_QUALITY);
    assert_eq!(result, Err(ImageError::UnsupportedSize { width: 65_536, height: 1 }));
    let empty = Size { width: 0, height: 4 };
    assert_eq!(
        encode(&[vec![]], empty, 15.0, &HIGH_QUALITY),
        Err(ImageError::UnsupportedSize { width: 0, height: 4 })
    );
}

#[test]
fn encodes_odd_sizes() {
    for (width, height) in [(1, 1), (1, 9), (9, 1), (3, 5), (8, 8), (7, 17), (321, 3)] {
        let size = Size { width, height };
        for options in QUALITY_LADDER {
            let played = decode_gif(&encode(&noise(size, 3), size, 15.0, &options).unwrap());
            if options.scale_percent == 100 {
                assert_eq!(played.size, size);
            }
            assert!(!played.frames.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_frames_roundtrip(
        width in 1_u32..20,
        height in 1_u32..20,
        count in 1_usize..6,
        seed in any::<u32>(),
        levels in 1_u8..=255,
        fps in 1.0_f64..50.0,
    ) {
        let size = Size { width, height };
        let frames: Vec<Vec<u8>> = noise(size, seed % 7 + count as u32)
            .split_off((seed % 7) as usize)
            .iter()
            .map(|frame| frame.iter().map(|value| value / levels * levels).collect())
            .collect();
        let played = decode_gif(&encode(&frames, size, fps, &HIGH_QUALITY).unwrap());
        prop_assert_eq!(played.size, size);
        prop_assert!(played.frames.len() <= count);
        let last = played.frames.last().zip(frames.last());
        prop_assert!(last.is_some_and(|(shown, frame)| psnr(shown, frame) > 14.0));
    }
}
