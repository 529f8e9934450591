//! Tests that pixels are converted by the color numbers of the source where they are supported, and by the default for
//! its size where not: all 256 values of each number. Dolby Vision's own planes have their own colors.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::process::Command;
use std::time::Duration;

use crate::support::compare::mean_difference;
use crate::support::{TestJob, decode_pixels_at, make, tools};
use bytes::Bytes;
use glimpse_backend::frames::decoder::{Decoder, DecoderInput, FrameFormat, Priority};
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_media::ffmpeg_args::{self, DecodeQuality, ExcerptRequest};
use glimpse_media::size::Size;
use tokio::time::Instant;

const SIZE: Size = Size { width: 64, height: 36 };
/// Primaries, transfer and matrix that are written to a file to be found again: those of old television systems.
const NAMED: [u8; 3] = [4, 5, 7];

/// The offset of these numbers in a file, in bits; they occur only once.
fn bit_offset_of(file: &[u8], wanted: [u8; 3]) -> usize {
    let bit = |at: usize| file[at / 8] >> (7 - at % 8) & 1;
    let pattern: Vec<u8> = (0..24).map(|at| wanted[at / 8] >> (7 - at % 8) & 1).collect();
    let begin = file.windows(4).position(|word| word == b"avcC" || word == b"hvcC").unwrap() * 8;
    let places: Vec<usize> = (begin..begin + 8 * 200)
        .filter(|at| pattern.iter().enumerate().all(|(place, wanted)| bit(at + place) == *wanted))
        .collect();
    assert_eq!(places.len(), 1, "{places:?}");
    places[0]
}

/// The file with one of the three numbers changed.
fn with_color_number(file: &[u8], place: usize, which: usize, value: u8) -> Vec<u8> {
    let mut file = file.to_vec();
    for bit in 0..8 {
        let at = place + which * 8 + bit;
        let mask = 1 << (7 - at % 8);
        file[at / 8] = file[at / 8] & !mask | if value >> (7 - bit) & 1 == 1 { mask } else { 0 };
    }
    file
}

/// Decodes the first frame of a small video, or returns the error.
async fn decode_first_frame(file: Vec<u8>) -> Result<Bytes, String> {
    let decoder = Decoder::new(&tools(), &TimeBudget::default(), Instant::now() + Duration::from_mins(1));
    let file = Bytes::from(file);
    let input = DecoderInput::Excerpt(&file);
    let info = decoder.probe(input).await.map_err(|error| error.to_string())?;
    let arguments = ffmpeg_args::decode_excerpt(
        &info,
        false,
        &ExcerptRequest {
            matrix: [1, 0, 0, 0, 1, 0, 0, 0, 1],
            count: 1,
            size: SIZE,
            quality: DecodeQuality::Full,
            threads: ffmpeg_args::MAX_THREADS,
        },
    );
    let frames =
        decoder.decode_frames(input, &arguments, FrameFormat::new(&info, SIZE, 1), Priority::Required).await;
    let frames = frames.map_err(|error| error.to_string())?;
    frames.into_iter().next().ok_or_else(|| "no frame".into())
}

#[tokio::test]
async fn every_color_code_decodes() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc=s=64x36:r=1:d=1 -vf scale=out_color_matrix=bt601 -pix_fmt yuv420p \
                  -movflags +faststart";
    let x264 = "-c:v libx264 -x264-params colorprim=bt470m:transfer=bt470bg:colormatrix=smpte240m";
    let x265 = "-c:v libx265 -tag:v hvc1 \
                -x265-params log-level=none:colorprim=bt470m:transfer=bt470bg:colormatrix=smpte240m";
    let mut wrong = Vec::new();
    for (name, codec) in [("a.mp4", x264), ("hevc.mp4", x265)] {
        let file = make(folder.path(), name, &format!("{source} {codec}"));
        let place = bit_offset_of(&file, NAMED);
        // No matrix is declared: the default for the size applies.
        let right = decode_first_frame(with_color_number(&file, place, 2, 2)).await.unwrap();
        for which in 0..3 {
            let most = if name == "a.mp4" { 255 } else { 24 };
            for value in 0..=most {
                let named = which == 2 && [1, 4, 7, 9].contains(&value);
                let file = with_color_number(&with_color_number(&file, place, 2, 2), place, which, value);
                // The declared matrix is a different one, or the transfer function requires another conversion.
                let allowed = if named || which != 2 { 40.0 } else { 3.0 };
                match decode_first_frame(file).await {
                    Ok(found) if mean_difference(&found, &right) <= allowed => {}
                    Ok(found) => {
                        wrong.push(format!(
                            "{name} {which} {value}: off by {:.1}",
                            mean_difference(&found, &right)
                        ));
                    }
                    Err(why) => wrong.push(format!("{name} {which} {value}: {why}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} {wrong:#?}", wrong.len());
}

#[tokio::test]
async fn unsupported_color_codes_still_decode() {
    let Some(media) = support::media_folder() else { return };
    for name in ["named-matrix-14.mp4", "named-transfer-9.mp4"] {
        let fixture = TestJob::new(std::fs::read(media.join("bugs").join(name)).unwrap());
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
    }
}

type Matrix = [[f64; 3]; 3];

/// From linear light of ITU-R BT.2020 to XYZ.
const BT2020_TO_XYZ: Matrix =
    [[0.636_958, 0.144_617, 0.168_881], [0.262_700, 0.677_998, 0.059_302], [0.0, 0.028_073, 1.060_985]];
/// From XYZ to the cone responses of Hunt, Pointer and Estevez (D65).
const XYZ_TO_LMS: Matrix =
    [[0.400_24, 0.707_60, -0.080_81], [-0.226_30, 1.165_32, 0.045_70], [0.0, 0.0, 0.918_22]];
/// The crosstalk of 2 %.
const CROSSTALK: Matrix = [[0.96, 0.02, 0.02], [0.02, 0.96, 0.02], [0.02, 0.02, 0.96]];
/// From the coded cone responses to Ebner and Fairchild's IPT.
const LMS_TO_IPT: Matrix = [[0.4, 0.4, 0.2], [4.455, -4.851, 0.396], [0.8056, 0.3572, -1.1628]];
/// From the primaries of ITU-R BT.709 to those of BT.2020, ITU-R BT.2087.
const BT709_TO_BT2020: Matrix =
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]];
/// White, in cd/m2: ITU-R BT.2408.
const WHITE_NITS: f64 = 203.0;
/// Values up to this are not compressed, as a multiple of white.
const KNEE: f64 = 0.5;

fn multiply(matrix: &Matrix, v: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(v).map(|(one, other)| one * other).sum())
}

/// The vector whose product with `matrix` is `v`, by Cramer's rule.
fn solve(matrix: &Matrix, v: [f64; 3]) -> [f64; 3] {
    let determinant = |[[a, b, c], [d, e, f], [g, h, i]]: Matrix| {
        a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    };
    [0, 1, 2].map(|column| {
        let mut replaced = *matrix;
        for (row, value) in replaced.iter_mut().zip(v) {
            row[column] = value;
        }
        determinant(replaced) / determinant(*matrix)
    })
}

/// Decodes SMPTE ST 2084 to cd/m2.
fn pq_to_nits(coded: f64) -> f64 {
    let power = coded.clamp(0.0, 1.0).powf(4096.0 / 2523.0 / 128.0);
    let fraction = (power - 3424.0 / 4096.0).max(0.0) / (2413.0 / 128.0 - 2392.0 / 128.0 * power);
    10_000.0 * fraction.powf(16384.0 / 2610.0)
}

/// Encodes cd/m2 by SMPTE ST 2084.
fn nits_to_pq(nits: f64) -> f64 {
    let power = (nits / 10_000.0).max(0.0).powf(2610.0 / 16384.0);
    ((3424.0 / 4096.0 + 2413.0 / 128.0 * power) / (1.0 + 2392.0 / 128.0 * power))
        .powf(2523.0 / 4096.0 * 128.0)
}

/// The linear light of ITU-R BT.709 as multiples of white, from I, P and T between 0 and 1.
fn ipt_to_bt709([i, p, t]: [f64; 3]) -> [f64; 3] {
    let mixed = solve(&LMS_TO_IPT, [i, p - 0.5, t - 0.5]).map(pq_to_nits);
    let bt2020 = solve(&BT2020_TO_XYZ, solve(&XYZ_TO_LMS, solve(&CROSSTALK, mixed)));
    solve(&BT709_TO_BT2020, bt2020).map(|value| (value / WHITE_NITS).max(0.0))
}

/// I, P and T between 0 and 1, from linear light of ITU-R BT.709 as multiples of white.
fn bt709_to_ipt(color: [f64; 3]) -> [f64; 3] {
    let nits = multiply(&BT709_TO_BT2020, color).map(|value| value * WHITE_NITS);
    let mixed = multiply(&CROSSTALK, multiply(&XYZ_TO_LMS, multiply(&BT2020_TO_XYZ, nits)));
    let [i, p, t] = multiply(&LMS_TO_IPT, mixed.map(nits_to_pq));
    [i, p + 0.5, t + 0.5]
}

/// The display level of linear light, ITU-R BT.1886.
fn display_level(light: f64) -> f64 {
    255.0 * light.powf(1.0 / 2.4)
}

/// Adds a Dolby Vision configuration (ETSI GS CCM 001) to the end of the sample entry. `moov` must be the last box.
fn with_dolby_vision(mut file: Vec<u8>, profile: u8) -> Vec<u8> {
    let mut body = vec![1, 0, profile << 1, 1 << 3 | 5];
    body.resize(24, 0);
    let config_box = [&32_u32.to_be_bytes()[..], b"dvcC", &body].concat();
    let box_offset =
        |file: &[u8], kind: &[u8; 4]| file.windows(4).rposition(|word| word == kind).unwrap() - 4;
    let box_size = |file: &[u8], at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    let entry = box_offset(&file, b"hvc1");
    let end = entry + box_size(&file, entry) as usize;
    file.splice(end..end, config_box.iter().copied());
    for kind in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"] {
        let at = box_offset(&file, kind);
        let size = box_size(&file, at) + config_box.len() as u32;
        file[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    file
}

#[tokio::test]
async fn dolby_vision_of_known_colors_decodes_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let colors: [[f64; 3]; 6] = [
        [0.2, 0.2, 0.2],
        [0.4, 0.1, 0.05],
        [0.05, 0.4, 0.1],
        [0.1, 0.2, 0.45],
        [0.45, 0.3, 0.2],
        [0.01, 0.01, 0.02],
    ];
    // Vertical stripes in three planes, two of which have half the width and height.
    let samples =
        colors.map(|color| bt709_to_ipt(color).map(|value| ((value * 1023.0).round() as u16).to_le_bytes()));
    let mut frame = Vec::new();
    for (plane, width, height) in [(0, 192, 108), (1, 96, 54), (2, 96, 54)] {
        for _ in 0..height {
            frame.extend((0..width).flat_map(|x| samples[x * colors.len() / width][plane]));
        }
    }
    let raw = folder.path().join("raw");
    std::fs::write(&raw, frame.repeat(10)).unwrap();
    let arguments = format!(
        "-f rawvideo -pix_fmt yuv420p10le -color_range pc -s 192x108 -r 10 -i {} -c:v libx265 -tag:v hvc1 -crf 2 \
         -color_range pc -x265-params log-level=none:range=full",
        raw.display()
    );
    let video = with_dolby_vision(make(folder.path(), "video.mp4", &arguments), 5);
    let fixture = TestJob::new(video);
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
    assert!(fixture.manifest().unwrap().source.hdr);
    let size = Size { width: 192, height: 108 };
    let pixels = decode_pixels_at(folder.path(), &fixture.output("thumbnail.jpg"), size);
    for (stripe, color) in colors.into_iter().enumerate() {
        let at = (54 * 192 + stripe * 32 + 16) * 3;
        let found: [f64; 3] = [0, 1, 2].map(|channel| f64::from(pixels[at + channel]));
        let expected = color.map(display_level);
        let difference =
            found.iter().zip(expected).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max);
        assert!(difference <= 6.0, "{found:?}, expected {expected:?}");
    }
}

/// Only nearly uniform blocks are compared, for which the mean of the planes also gives the mean of the light.
const BLOCK_SIDE: usize = 8;

/// The poster of a recorded video has the colors that follow from the definition of its planes, block by block, where
/// the tone curve does not compress.
#[tokio::test]
async fn dolby_vision_has_natural_colors() {
    let Some(media) = support::media_folder() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = media.join("bugs/dovi-5.mp4");
    let fixture = TestJob::new(std::fs::read(&file).unwrap());
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
    let manifest = fixture.manifest().unwrap();
    assert!(manifest.source.hdr);
    let poster_ms = manifest.poster_ms.unwrap();
    let output = Command::new(support::reference_program("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(&file)
        .args(["-vf", &format!("select=gte(t\\,{}.{:03}-0.001)", poster_ms / 1000, poster_ms % 1000)])
        .args(["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-"])
        .output()
        .unwrap();
    let (width, height) = (manifest.source.width as usize, manifest.source.height as usize);
    let samples: Vec<f64> = output
        .stdout
        .chunks_exact(2)
        .map(|pair| f64::from(u16::from_le_bytes([pair[0], pair[1]])) / 1023.0)
        .collect();
    assert_eq!(samples.len(), width * height * 3 / 2);
    let mean = |plane: &[f64], stride: usize, (x, y): (usize, usize), side: usize| {
        let line = |y: usize| plane[y * stride + x..y * stride + x + side].iter().sum::<f64>();
        (y..y + side).map(line).sum::<f64>() / (side * side) as f64
    };
    let (first, rest) = samples.split_at(width * height);
    let (second, third) = rest.split_at(rest.len() / 2);
    for name in ["thumbnail.webp", "thumbnail.jpg"] {
        let size = Size { width: width as u32, height: height as u32 };
        let poster: Vec<f64> =
            decode_pixels_at(folder.path(), &fixture.output(name), size).into_iter().map(f64::from).collect();
        let (mut count, mut sum, mut brightest_counts) = (0, 0.0, [0; 3]);
        for y in (0..height - BLOCK_SIDE).step_by(BLOCK_SIDE) {
            for x in (0..width - BLOCK_SIDE).step_by(BLOCK_SIDE) {
                let line = |y: usize| &first[y * width + x..y * width + x + BLOCK_SIDE];
                let (min, max) = (y..y + BLOCK_SIDE)
                    .flat_map(line)
                    .fold((1.0_f64, 0.0_f64), |(min, max), value| (min.min(*value), max.max(*value)));
                let color = ipt_to_bt709([
                    mean(first, width, (x, y), BLOCK_SIDE),
                    mean(second, width / 2, (x / 2, y / 2), BLOCK_SIDE / 2),
                    mean(third, width / 2, (x / 2, y / 2), BLOCK_SIDE / 2),
                ]);
                if max - min > 0.03 || color.iter().any(|value| *value > KNEE) {
                    continue;
                }
                let expected = color.map(display_level);
                let found: [f64; 3] = [0, 1, 2].map(|channel| {
                    let line = |y: usize| (x..x + BLOCK_SIDE).map(move |x| (y * width + x) * 3 + channel);
                    (y..y + BLOCK_SIDE).flat_map(line).map(|at| poster[at]).sum::<f64>()
                        / (BLOCK_SIDE * BLOCK_SIDE) as f64
                });
                count += 1;
                sum += found.iter().zip(expected).map(|(one, other)| (one - other).abs()).sum::<f64>() / 3.0;
                let brightest =
                    (0..3).max_by(|one, other| expected[*one].total_cmp(&expected[*other])).unwrap();
                brightest_counts[brightest] += 1;
            }
        }
        let difference = sum / f64::from(count);
        eprintln!("{name}: off by {difference:.2} in {count} blocks, {brightest_counts:?}");
        assert!(count > 40, "{name}: {count} blocks");
        assert!(difference < 4.0, "{name}: off by {difference:.1}");
    }
}
