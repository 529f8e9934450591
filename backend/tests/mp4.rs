//! Compares the MP4s of animations with their frames, by a full ffmpeg: content, times, colors, and no warnings.
#![cfg(feature = "h264")]
#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use glimpse_contract::OutputFormat;
use glimpse_media::image::{self, EncoderInput, encoded_size, header};
use glimpse_media::size::Size;
use serde_json::Value;

use crate::support::reference_program;

/// A source of smooth colors that turn. Without colors and points ffmpeg chooses random ones, despite a seed.
const GRADIENTS: &str =
    "gradients=s=640x426:r=12:n=3:c0=0x203040:c1=0xd0a080:c2=0x305090:x0=0:y0=0:x1=639:y1=425:speed=0.1";

/// Raw frames of a source of ffmpeg.
fn make_frames(source: &str, size: Size, count: usize) -> Vec<Bytes> {
    let Size { width, height } = size;
    let arguments = format!(
        "-f lavfi -i {source} -vf scale={width}:{height},format=rgb24 -frames:v {count} -f rawvideo -"
    );
    let raw = Bytes::from(ffmpeg(&arguments));
    assert_eq!(raw.len(), size.frame_bytes() * count, "{source}");
    (0..count).map(|place| raw.slice(place * size.frame_bytes()..(place + 1) * size.frame_bytes())).collect()
}

/// Runs ffmpeg, which must not write a warning, and returns its output.
fn ffmpeg(arguments: &str) -> Vec<u8> {
    run("ffmpeg", &format!("-nostdin -v warning {arguments}"))
}

fn run(program: &str, arguments: &str) -> Vec<u8> {
    let output = Command::new(reference_program(program))
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && messages.is_empty(), "{program} {arguments}: {messages}");
    output.stdout
}

fn encode(frames: &[Bytes], size: Size, fps: f64, max_bytes: Option<usize>) -> Bytes {
    let input = EncoderInput::Animation { frames, size, fps, max_bytes };
    let bytes = image::encode(OutputFormat::Mp4, input).unwrap();
    let facts = header::parse(OutputFormat::Mp4, &bytes).unwrap();
    if max_bytes.is_none() {
        let expected =
            header::ImageHeader { size: encoded_size(OutputFormat::Mp4, size), frames: frames.len() as u32 };
        assert_eq!(facts, expected);
    }
    bytes
}

/// The frames as ffmpeg shows them, raw `rgb24`.
fn decode(file: &Path, size: Size) -> Vec<Vec<u8>> {
    let flags = "flags=bicubic+accurate_rnd+full_chroma_int";
    let raw = ffmpeg(&format!(
        "-i {} -vf scale={flags},format=rgb24 -fps_mode passthrough -f rawvideo -",
        file.display()
    ));
    raw.chunks_exact(size.frame_bytes()).map(<[u8]>::to_vec).collect()
}

/// ffprobe's description of the stream and the frames.
fn probe(file: &Path) -> (Value, Vec<Value>) {
    let json = run("ffprobe", &format!("-v warning -show_streams -show_frames -of json {}", file.display()));
    let found: Value = serde_json::from_slice(&json).unwrap();
    let streams = found["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 1, "no sound");
    (streams[0].clone(), found["frames"].as_array().unwrap().clone())
}

/// Signal to noise in decibels, of the part of the source frame that is in the video.
fn psnr(shown: &[u8], shown_size: Size, source: &[u8], size: Size) -> f64 {
    let (line, stride) = (shown_size.width as usize * 3, size.width as usize * 3);
    let rows = shown.chunks_exact(line).zip(source.chunks_exact(stride));
    let squares: f64 = rows
        .flat_map(|(one, other)| one.iter().zip(other))
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    10.0 * (65_025.0 / (squares / shown.len() as f64).max(1e-9)).log10()
}

#[test]
fn frames_and_times_are_those_of_the_source() {
    for (source, (width, height), count, fps) in [
        ("testsrc2=r=15", (320, 180), 60, 15.0),
        ("mandelbrot=r=15", (320, 180), 40, 30.0),
        (GRADIENTS, (320, 213), 30, 12.0),
        ("testsrc=r=15", (75, 101), 20, 24_000.0 / 1001.0),
        (GRADIENTS, (33, 9), 7, 1.0),
        ("testsrc2=r=15", (320, 180), 1, 15.0),
        ("testsrc2=r=30", (640, 360), 300, 30.0),
    ] {
        let size = Size { width, height };
        let what = format!("{source} {width}x{height}");
        let frames = make_frames(source, size, count);
        let bytes = encode(&frames, size, fps, None);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("animated.mp4");
        std::fs::write(&file, &bytes).unwrap();

        let (stream, found) = probe(&file);
        let even = encoded_size(OutputFormat::Mp4, size);
        assert_eq!(
            (stream["width"].as_u64(), stream["height"].as_u64()),
            (Some(even.width.into()), Some(even.height.into()))
        );
        let text = |name: &str| stream[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            [
                "codec_name",
                "profile",
                "pix_fmt",
                "color_range",
                "color_space",
                "color_transfer",
                "color_primaries",
                "sample_aspect_ratio"
            ]
            .map(text),
            ["h264", "Main", "yuv420p", "tv", "bt709", "bt709", "bt709", "1:1"],
            "{what}"
        );
        assert!((13..=31).contains(&stream["level"].as_i64().unwrap()), "{what}: {}", stream["level"]);
        let seconds = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
        assert!((seconds(&stream["duration"]) - count as f64 / fps).abs() < 2e-3, "{what}");
        let times: Vec<f64> = found.iter().map(|frame| seconds(&frame["pts_time"])).collect();
        assert_eq!(times.len(), count, "{what}");
        for (place, time) in times.iter().enumerate() {
            let expected = place as f64 / fps;
            assert!((time - expected).abs() < 2e-5, "{what}, frame {place}: {time}, not {expected}");
        }

        let shown = decode(&file, even);
        assert_eq!(shown.len(), count, "{what}");
        // Saturated colors lose half the resolution: a frame must be nearer to its own source than to the next one.
        for (place, frame) in shown.iter().enumerate() {
            let own = psnr(frame, even, &frames[place], size);
            assert!(own > 19.0, "{what}, frame {place}: {own:.1} dB");
            if let Some(next) = frames.get(place + 1).filter(|next| **next != frames[place]) {
                let other = psnr(frame, even, next, size);
                assert!(own > other, "{what}, frame {place}: {own:.1} dB, the next one {other:.1}");
            }
        }
    }
}

#[test]
fn pure_colors_stay_pure() {
    let size = Size { width: 64, height: 48 };
    let colors =
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 128, 128], [250, 200, 30]];
    let frames: Vec<Bytes> = colors.iter().map(|rgb| rgb.repeat(64 * 48).into()).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("colors.mp4");
    std::fs::write(&file, encode(&frames, size, 5.0, None)).unwrap();
    let shown = decode(&file, size);
    for (frame, rgb) in shown.iter().zip(&colors) {
        for pixel in frame.chunks_exact(3) {
            let off = pixel.iter().zip(rgb).map(|(one, other)| one.abs_diff(*other)).max().unwrap();
            assert!(off <= 4, "{pixel:?} is not {rgb:?}");
        }
    }
}

#[test]
fn small_files_of_noise_are_valid() {
    let size = Size { width: 320, height: 180 };
    let frames = make_frames("nullsrc=s=320x180:r=15,geq=random(1)*255:128:128", size, 45);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("noise.mp4");
    let whole = encode(&frames, size, 15.0, None).len();
    for max_bytes in [whole / 3, 100_000, 10_000] {
        let bytes = encode(&frames, size, 15.0, Some(max_bytes));
        assert!(bytes.len() <= max_bytes, "{} of {max_bytes}", bytes.len());
        std::fs::write(&file, &bytes).unwrap();
        let (stream, found) = probe(&file);
        assert_eq!(found.len() as u32, header::parse(OutputFormat::Mp4, &bytes).unwrap().frames);
        let duration: f64 = stream["duration"].as_str().unwrap().parse().unwrap();
        assert!((duration - 3.0).abs() < 2e-3, "{max_bytes}: {duration}");
    }
}
