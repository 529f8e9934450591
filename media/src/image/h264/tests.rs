//! Reads encoded videos with our own demuxer. `backend/tests/mp4.rs` compares them with the source, by a full ffmpeg.

use std::ops::Range;

use glimpse_contract::OutputFormat;

use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::Demuxer as _;
use crate::demux::mp4::{self, Mp4};
use crate::image::h264::mp4::TIMESCALE;
use crate::image::h264::*;

/// A gradient that moves, with a cut in the middle.
fn film(size: Size, count: usize) -> Vec<Vec<u8>> {
    let (width, height) = (size.width as usize, size.height as usize);
    (0..count)
        .map(|time| {
            let cut = if time < count / 2 { 0 } else { 90 };
            let pixel = |at: usize| {
                let (x, y) = (at % width, at / width);
                [x * 3 + time * 5, y * 4 + cut, x + y + cut].map(|level| (level % 256) as u8)
            };
            (0..width * height).flat_map(pixel).collect()
        })
        .collect()
}

fn open(bytes: &Bytes) -> Mp4 {
    let mut buffer = SparseBuffer::new(bytes.len() as u64);
    buffer.insert(0, bytes);
    mp4::open(&buffer).unwrap()
}

/// The presentation times of all samples, in ticks, in the order in which they are shown, and those of keyframes.
fn sample_times(bytes: &Bytes) -> (Vec<i64>, Vec<i64>) {
    let samples: Vec<_> = open(bytes).all_samples().unwrap().collect();
    let mut times: Vec<i64> = samples.iter().map(|sample| sample.pts).collect();
    times.sort_unstable();
    (times, samples.iter().filter(|sample| sample.is_key).map(|sample| sample.pts).collect())
}

fn header(bytes: &Bytes) -> Option<header::ImageHeader> {
    header::parse(OutputFormat::Mp4, bytes)
}

const SIZE: Size = Size { width: 96, height: 64 };

#[test]
fn demuxer_reads_times_and_keyframes() {
    for (fps, ticks) in [(15.0, 6000), (30.0, 3000), (12.5, 7200), (0.5, 180_000)] {
        let bytes = encode(&film(SIZE, 20), SIZE, fps, HIGH_QUALITY).unwrap();
        assert_eq!(header(&bytes), Some(header::ImageHeader { size: SIZE, frames: 20 }));
        let (times, keys) = sample_times(&bytes);
        assert_eq!(times, (0..20).map(|place| place * ticks).collect::<Vec<_>>(), "{fps}");
        assert_eq!(keys, [0, 10 * ticks], "{fps}: a keyframe at the cut");
        let demuxer = open(&bytes);
        let track = demuxer.track();
        assert_eq!((track.codec, track.timescale, track.duration), ("h264", TIMESCALE, 20 * ticks));
        assert!(!track.has_audio);
    }
}

#[test]
fn fractional_rates_do_not_drift() {
    let bytes = encode(&film(SIZE, 50), SIZE, 24_000.0 / 1001.0, HIGH_QUALITY).unwrap();
    for (place, time) in (0..50).zip(sample_times(&bytes).0) {
        let exact = f64::from(place) * 90_000.0 * 1001.0 / 24_000.0;
        assert!((time as f64 - exact).abs() < 0.51, "frame {place}: {time}, not {exact}");
    }
}

#[test]
fn sides_are_even() {
    for (width, height, expected) in
        [(1, 1, (2, 2)), (2, 3, (2, 2)), (17, 1, (16, 2)), (33, 47, (32, 46)), (100, 60, (100, 60))]
    {
        let size = Size { width, height };
        let bytes = encode(&film(size, 5), size, 10.0, HIGH_QUALITY).unwrap();
        let expected = Size { width: expected.0, height: expected.1 };
        assert_eq!(header(&bytes), Some(header::ImageHeader { size: expected, frames: 5 }));
        assert_eq!(encoded_size(OutputFormat::Mp4, size), expected);
    }
}

#[test]
fn any_number_of_frames_is_encoded() {
    for count in [1, 2, 3, 4, 89, 90, 91, 178, 181] {
        let bytes = encode(&film(SIZE, count), SIZE, 15.0, HIGH_QUALITY).unwrap();
        let (times, keys) = sample_times(&bytes);
        assert_eq!(times.len(), count);
        assert_eq!(*times.last().unwrap(), (i64::try_from(count).unwrap() - 1) * 6000, "{count}");
        assert!(keys.windows(2).all(|pair| pair[1] - pair[0] > 6000), "{count}: {keys:?}");
    }
}

#[test]
fn output_does_not_depend_on_the_run() {
    let frames = film(SIZE, 30);
    let one = encode(&frames, SIZE, 15.0, HIGH_QUALITY).unwrap();
    assert_eq!(encode(&frames, SIZE, 15.0, HIGH_QUALITY).unwrap(), one);
}

#[test]
fn stays_within_byte_limit() {
    let noise = |at: usize| ((at as u32).wrapping_mul(2_654_435_761).rotate_left(9) >> 13) as u8;
    let length = SIZE.frame_bytes();
    let frames: Vec<Vec<u8>> =
        (0..40).map(|frame| (frame * length..(frame + 1) * length).map(noise).collect()).collect();
    let full_bytes = encode(&frames, SIZE, 20.0, HIGH_QUALITY).unwrap().len();
    for share in [1, 2, 5, 10] {
        let max_bytes = full_bytes / share;
        let bytes = encode_within(&frames, SIZE, 20.0, max_bytes).unwrap();
        assert!(bytes.len() <= max_bytes, "1/{share}: {} of {max_bytes}", bytes.len());
        let demuxer = open(&bytes);
        assert_eq!(demuxer.track().duration, 180_000, "1/{share}: two seconds");
    }
    let result = encode_within(&frames, SIZE, 20.0, 100);
    assert!(matches!(result, Err(ImageError::TooManyBytes { max_bytes: 100, .. })), "{result:?}");
}

#[test]
fn index_precedes_frames() {
    let bytes = encode(&film(SIZE, 3), SIZE, 15.0, HIGH_QUALITY).unwrap();
    let find = |kind: &[u8]| bytes.windows(4).position(|word| word == kind).unwrap();
    assert!(find(b"ftyp") < find(b"moov") && find(b"moov") < find(b"mdat"));
    assert_eq!(bytes.windows(4).filter(|word| word == b"trak").count(), 1, "no sound");
    // Any other length is not this file.
    for range in [0..bytes.len() - 1, 1..bytes.len(), 0..40] as [Range<usize>; 3] {
        assert_eq!(header(&bytes.slice(range)), None);
    }
}

#[test]
fn rejects_invalid_frames() {
    let none: [Vec<u8>; 0] = [];
    assert_eq!(encode(&none, SIZE, 15.0, HIGH_QUALITY), Err(ImageError::NoFrames));
    let short = [vec![0; 5]];
    assert!(matches!(encode(&short, SIZE, 15.0, HIGH_QUALITY), Err(ImageError::FrameLength { .. })));
    let wide = Size { width: 2562, height: 2 };
    let result = encode(&[vec![0; wide.frame_bytes()]], wide, 15.0, HIGH_QUALITY);
    assert_eq!(result, Err(ImageError::UnsupportedSize { width: 2562, height: 2 }));
}

#[test]
fn never_panics_on_extreme_frames() {
    let size = Size { width: 34, height: 18 };
    let noise = |seed: u32| -> Vec<u8> {
        let level = |at: u32| ((at ^ seed).wrapping_mul(2_246_822_519).rotate_left(11) >> 17) as u8;
        (0..size.frame_bytes() as u32).map(level).collect()
    };
    let solid = |level: u8| vec![level; size.frame_bytes()];
    let checkers: Vec<u8> = (0..size.frame_bytes()).map(|at| if at / 3 % 2 == 0 { 255 } else { 0 }).collect();
    let frames: Vec<Vec<u8>> = (0..24)
        .map(|time| match time % 6 {
            0 => solid(0),
            1 => solid(255),
            2 => checkers.clone(),
            3 => noise(time),
            4 => solid(128),
            _ => noise(7),
        })
        .collect();
    for qp in [0, 1, 12, 24, 40, 51, 255] {
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300, 15.0] {
            let bytes = encode(&frames, size, fps, Options { qp, ..HIGH_QUALITY }).unwrap();
            assert_eq!(header(&bytes).unwrap().frames, 24, "{qp} {fps}");
        }
    }
}
