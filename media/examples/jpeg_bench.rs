//! Compares Glimpse's JPEG encoder with ffmpeg's: bytes at equal SSIM, and time per frame, on frames of each given
//! video.
//!
//! `cargo run --release -p glimpse-media --example jpeg_bench -- [--width N] FILM...` with `ffmpeg` on the path.
//! ffmpeg's `mjpeg -q:v 3` is the reference; the bytes of the other encoders are interpolated between the two qualities
//! around its SSIM.

#[path = "support/ssim.rs"]
mod ssim;

use std::fs;
use std::io::{Write as _, stdout};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::bail;
use glimpse_media::image::{icc, jpeg};
use glimpse_media::size::Size;
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, QuantizationTableType, SamplingFactor};
use ssim::channel_ssim;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

/// Frames of each video.
const FRAMES: usize = 8;
const QUALITIES: [u8; 9] = [60, 66, 72, 76, 80, 84, 88, 92, 95];
/// The best of this many runs counts.
const RUNS: usize = 5;
/// An encoder configuration.
struct Way {
    table: fn() -> QuantizationTableType,
    /// `None` for one interleaved scan with the standard's Huffman codes.
    scans: Option<u8>,
    optimised: bool,
}

fn ours() -> QuantizationTableType {
    QuantizationTableType::Custom(Box::new(jpeg::QUANTIZATION_TABLE))
}

/// The encoder library has no decoder. The decoder that is used here misreads files with one scan per component, so
/// that they do not reach the SSIM.
const WAYS: &[(&str, Way)] = &[
    ("the standard's codes, one scan", Way { table: ours, scans: None, optimised: false }),
    ("one scan per component", Way { table: ours, scans: None, optimised: true }),
    ("2 scans", Way { table: ours, scans: Some(2), optimised: true }),
    ("3 scans", Way { table: ours, scans: Some(3), optimised: true }),
    ("4 scans", Way { table: ours, scans: Some(4), optimised: true }),
    ("8 scans", Way { table: ours, scans: Some(8), optimised: true }),
    ("2 scans, annex K", two_scans(|| QuantizationTableType::Default)),
    ("2 scans, flat", two_scans(|| QuantizationTableType::Flat)),
    ("2 scans, MS-SSIM", two_scans(|| QuantizationTableType::CustomMsSsim)),
    ("2 scans, PSNR-HVS", two_scans(|| QuantizationTableType::CustomPsnrHvs)),
    ("2 scans, Robidoux", two_scans(|| QuantizationTableType::ImageMagick)),
    ("2 scans, Klein", two_scans(|| QuantizationTableType::KleinSilversteinCarney)),
];

const fn two_scans(table: fn() -> QuantizationTableType) -> Way {
    Way { table, scans: Some(2), optimised: true }
}

fn main() -> anyhow::Result<()> {
    let mut films: Vec<String> = std::env::args().skip(1).collect();
    let mut width = 640;
    if films.first().is_some_and(|word| word == "--width") && films.len() > 1 {
        width = films[1].parse()?;
        films.drain(..2);
    }
    if films.is_empty() {
        bail!("no videos given");
    }
    let size = Size { width, height: width * 9 / 16 / 2 * 2 };
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let raw = path("frames.rgb");
    for film in films {
        let Size { width, height } = size;
        ffmpeg(&format!(
            "-v error -y -i {film} -an -vf fps=2,scale={width}:{height}:flags=area -frames:v {FRAMES} -pix_fmt rgb24 -f rawvideo {raw}"
        ))?;
        let bytes = fs::read(&raw)?;
        let frames: Vec<&[u8]> = bytes.chunks_exact(size.frame_bytes()).collect();
        writeln!(stdout(), "{film}: {} frames of {width}x{height}", frames.len())?;
        let command = format!(
            "-v error -y -threads 1 -f rawvideo -pixel_format rgb24 -video_size {width}x{height} -framerate 1 -i {raw} -vf scale=out_range=pc -c:v mjpeg -q:v 3 -pix_fmt yuvj420p {}",
            path("%d.jpg")
        );
        ffmpeg(&command)?;
        let theirs: Vec<Vec<u8>> =
            (1..=frames.len()).map(|n| fs::read(path(&format!("{n}.jpg")))).collect::<Result<_, _>>()?;
        let mark = judge(&frames, &theirs, size)?;
        writeln!(stdout(), "  {:8.0} bytes, SSIM {:.5}: ffmpeg {command}", mark.0, mark.1)?;
        let own = frames
            .iter()
            .map(|frame| jpeg::encode(frame, size, jpeg::POSTER_QUALITY))
            .collect::<Result<Vec<_>, _>>()?;
        let found = judge(&frames, &own, size)?;
        writeln!(stdout(), "  {:8.0} bytes, SSIM {:.5}: glimpse's default", found.0, found.1)?;
        for (name, way) in WAYS {
            let curve: Vec<(f64, f64)> = QUALITIES
                .iter()
                .map(|quality| {
                    let made = frames
                        .iter()
                        .map(|frame| encode(frame, size, *quality, way))
                        .collect::<Result<Vec<_>, _>>()?;
                    judge(&frames, &made, size)
                })
                .collect::<anyhow::Result<_>>()?;
            let equal = at(&curve, mark.1).map_or_else(
                || "no".into(),
                |bytes| format!("{bytes:.0} ({:+.1}%)", 100.0 * (bytes / mark.0 - 1.0)),
            );
            let cpu = (0..RUNS)
                .map(|_| -> anyhow::Result<f64> {
                    let started = Instant::now();
                    for frame in &frames {
                        encode(frame, size, 84, way)?;
                    }
                    Ok(started.elapsed().as_secs_f64() * 1000.0 / frames.len() as f64)
                })
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .fold(f64::MAX, f64::min);
            writeln!(stdout(), "  {equal} bytes at ffmpeg's SSIM, {cpu:.1} ms: {name}")?;
        }
    }
    Ok(())
}

fn encode(frame: &[u8], size: Size, quality: u8, way: &Way) -> anyhow::Result<Vec<u8>> {
    let mut to = Vec::new();
    let mut encoder = Encoder::new(&mut to, quality);
    let scaled = |table: QuantizationTableType| match table {
        QuantizationTableType::Custom(steps) => {
            let percent = if quality < 50 { 5000 / u32::from(quality) } else { 200 - 2 * u32::from(quality) };
            QuantizationTableType::Custom(Box::new(
                steps.map(|step| ((u32::from(step) * percent + 50) / 100).clamp(1, 255) as u16),
            ))
        }
        other => other,
    };
    encoder.set_quantization_tables(scaled((way.table)()), scaled((way.table)()));
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    if let Some(scans) = way.scans {
        encoder.set_progressive_scans(scans);
    }
    encoder.set_optimized_huffman_tables(way.optimised);
    encoder.add_icc_profile(icc::srgb())?;
    encoder.encode(frame, size.width as u16, size.height as u16, ColorType::Rgb)?;
    Ok(to)
}

/// Mean size in bytes and mean SSIM of encoded frames.
fn judge<B: AsRef<[u8]>>(frames: &[&[u8]], pictures: &[B], size: Size) -> anyhow::Result<(f64, f64)> {
    let (mut bytes, mut sum) = (0.0, 0.0);
    for (frame, picture) in frames.iter().zip(pictures) {
        let picture = picture.as_ref();
        bytes += picture.len() as f64;
        let pixels =
            JpegDecoder::new(ZCursor::new(picture)).decode().map_err(|error| anyhow::anyhow!("{error:?}"))?;
        sum += (0..3).map(|channel| channel_ssim(frame, &pixels, size, channel)).sum::<f64>() / 3.0;
    }
    let count = frames.len() as f64;
    Ok((bytes / count, sum / count))
}

/// The number of bytes at which a curve of (bytes, SSIM) reaches an SSIM.
fn at(curve: &[(f64, f64)], ssim: f64) -> Option<f64> {
    curve.windows(2).find(|pair| pair[0].1 <= ssim && ssim <= pair[1].1).map(|pair| {
        let part = (ssim - pair[0].1) / (pair[1].1 - pair[0].1);
        pair[0].0 + part * (pair[1].0 - pair[0].0)
    })
}

fn ffmpeg(arguments: &str) -> anyhow::Result<()> {
    let output =
        Command::new("ffmpeg").arg("-nostdin").args(arguments.split(' ')).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
