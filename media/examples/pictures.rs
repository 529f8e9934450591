//! Encodes raw frames with Glimpse's encoders, and compares decoded images with those frames. `media/bench` runs it, and
//! measures the CPU time of its processes.
//!
//! - `pictures formats` prints the formats of each kind, one line per kind.
//! - `pictures encode KIND FORMAT WIDTHxHEIGHT RAW OUT [QUALITY]` encodes all frames of RAW as an `animation` of 15 frames
//!   per second, or its first frame as a `thumbnail`, of which only the latter has a quality.
//! - `pictures decode WEBP COUNT RAW` decodes an animated WebP as COUNT frames at 15 frames per second: ffmpeg before
//!   version 8 does not.
//! - `pictures compare WIDTHxHEIGHT RAW OTHER_RAW [--ssim]` prints the mean SSIM and SSIMULACRA2 of all frames; with
//!   `--ssim` only the former.
//!
//! Raw frames are `rgb24`, sRGB.

#[path = "support/ssim.rs"]
mod ssim;

use std::fs;
use std::io::{BufReader, Cursor, Write as _, stdout};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use glimpse_contract::{OutputFormat, VariantKind};
use glimpse_media::image::{self, EncoderInput};
use glimpse_media::size::Size;
use ssim::channel_ssim;
use ssimulacra2::LinearRgb;

const FPS: f64 = 15.0;
const USAGE: &str = "pictures formats|encode|decode|compare: see the documentation of the file";

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["formats"] => print_formats(),
        ["encode", kind, format, size, raw, out, ref rest @ ..] => {
            let (format, size) = (parse_format(format)?, parse_size(size)?);
            let frames = read_frames(raw, size)?;
            let encoded = match (kind, rest) {
                ("animation", []) => {
                    let frames = &frames;
                    image::encode(
                        format,
                        EncoderInput::Animation { frames, size, fps: FPS, max_bytes: None },
                    )?
                }
                ("thumbnail", []) => image::encode_requested_thumbnail(format, &frames[0], size, None)?,
                ("thumbnail", [quality]) => {
                    image::encode_requested_thumbnail(format, &frames[0], size, Some(quality.parse()?))?
                }
                _ => bail!("no {kind} with {rest:?}"),
            };
            Ok(fs::write(out, encoded)?)
        }
        ["decode", webp, count, raw] => Ok(fs::write(raw, decode_webp(&fs::read(webp)?, count.parse()?)?)?),
        ["compare", size, raw, other, ref rest @ ..] => {
            compare(parse_size(size)?, raw, other, rest == ["--ssim"])
        }
        _ => bail!(USAGE),
    }
}

fn print_formats() -> anyhow::Result<()> {
    for (name, kind) in [("animation", VariantKind::Animation), ("thumbnail", VariantKind::Thumbnail)] {
        let formats: Vec<&str> = kind.formats().iter().map(|format| format.extension()).collect();
        writeln!(stdout(), "{name} {}", formats.join(" "))?;
    }
    Ok(())
}

fn parse_format(name: &str) -> anyhow::Result<OutputFormat> {
    let format = OutputFormat::ALL.into_iter().find(|format| format.extension() == name);
    format.with_context(|| format!("unknown format {name}"))
}

fn parse_size(text: &str) -> anyhow::Result<Size> {
    let (width, height) = text.split_once('x').with_context(|| format!("no size: {text}"))?;
    Ok(Size { width: width.parse()?, height: height.parse()? })
}

/// The frames of a file, at least one.
fn read_frames(path: &str, size: Size) -> anyhow::Result<Vec<Bytes>> {
    let bytes = Bytes::from(fs::read(path)?);
    let length = size.frame_bytes();
    ensure!(
        !bytes.is_empty() && bytes.len().is_multiple_of(length),
        "{path} has {} bytes, a frame has {length}",
        bytes.len()
    );
    Ok((0..bytes.len() / length).map(|n| bytes.slice(n * length..(n + 1) * length)).collect())
}

/// The frames that are visible in the middle of each of `count` intervals.
fn decode_webp(file: &[u8], count: usize) -> anyhow::Result<Vec<u8>> {
    let mut decoder = image_webp::WebPDecoder::new(BufReader::new(Cursor::new(file)))?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut canvas = vec![0; decoder.output_buffer_size().context("the image is too large")?];
    let mut raw = Vec::new();
    let (mut end_ms, mut read) = (0.0, 0);
    for n in 0..count {
        let time_ms = (n as f64 + 0.5) * 1000.0 / FPS;
        while end_ms <= time_ms && read < decoder.num_frames() {
            end_ms += f64::from(decoder.read_frame(&mut canvas)?);
            read += 1;
        }
        raw.extend(canvas.chunks_exact(channels).flat_map(|pixel| &pixel[..3]));
    }
    ensure!(read == decoder.num_frames(), "{read} of {} frames are visible", decoder.num_frames());
    Ok(raw)
}

fn compare(size: Size, raw: &str, other: &str, only_ssim: bool) -> anyhow::Result<()> {
    let (frames, others) = (read_frames(raw, size)?, read_frames(other, size)?);
    ensure!(frames.len() == others.len(), "{} frames instead of {}", others.len(), frames.len());
    let linear = srgb_to_linear();
    let (mut ssim, mut ssimulacra2) = (0.0, 0.0);
    for (frame, other) in frames.iter().zip(&others) {
        ssim += (0..3).map(|channel| channel_ssim(frame, other, size, channel)).sum::<f64>() / 3.0;
        if !only_ssim {
            let [frame, other] = [frame, other].map(|frame| linear_image(frame, size, &linear));
            ssimulacra2 += ssimulacra2::compute_frame_ssimulacra2(frame?, other?)?;
        }
    }
    let count = frames.len() as f64;
    let ssimulacra2 = if only_ssim { serde_json::Value::Null } else { (ssimulacra2 / count).into() };
    writeln!(stdout(), "{}", serde_json::json!({ "ssim": ssim / count, "ssimulacra2": ssimulacra2 }))?;
    Ok(())
}

/// The linear values of the 8-bit values of sRGB (IEC 61966-2-1).
fn srgb_to_linear() -> [f32; 256] {
    std::array::from_fn(|value| {
        let value = value as f64 / 255.0;
        (if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }) as f32
    })
}

fn linear_image(frame: &[u8], size: Size, linear: &[f32; 256]) -> anyhow::Result<LinearRgb> {
    let pixels =
        frame.chunks_exact(3).map(|pixel| [0, 1, 2].map(|n| linear[usize::from(pixel[n])])).collect();
    let image = LinearRgb::new(pixels, size.width as usize, size.height as usize);
    image.map_err(|error| anyhow::anyhow!("{error:?}"))
}
