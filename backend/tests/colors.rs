//! Tests that pixels are converted by the color numbers of the source where they are supported, and by the default for
//! its size where not: all 256 values of each number. Dolby Vision's own planes have their own colors.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use glimpse_backend::frames::decoder::{Decoder, DecoderInput, FrameFormat, Priority};
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_media::ffmpeg_args::{self, DecodeQuality};
use glimpse_media::size::Size;
use support::{TestJob, decode_pixels_at, make, tools};
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

fn mean_difference(one: &[u8], other: &[u8]) -> f64 {
    let sum: f64 = one.iter().zip(other).map(|(one, other)| f64::from(one.abs_diff(*other))).sum();
    sum / one.len().max(1) as f64
}

/// Decodes the first frame of a small video, or returns the error.
async fn decode_first_frame(file: Vec<u8>) -> Result<Bytes, String> {
    let studio = Decoder::new(&tools(), &TimeBudget::default(), Instant::now() + Duration::from_mins(1));
    let file = Bytes::from(file);
    let feed = DecoderInput::Excerpt(&file);
    let info = studio.probe(feed).await.map_err(|error| error.to_string())?;
    let arguments = ffmpeg_args::decode_excerpt(
        &info,
        false,
        &[1, 0, 0, 0, 1, 0, 0, 0, 1],
        (SIZE, 1),
        DecodeQuality::Full,
    );
    let frames =
        studio.decode_frames(feed, &arguments, FrameFormat::new(&info, SIZE, 1), Priority::Required).await;
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
        let scene = TestJob::new(std::fs::read(media.join("bugs").join(name)).unwrap());
        assert_eq!(scene.run().await.result, Ok(JobOutcome::Ready), "{name}");
    }
}

/// A night scene: the sky is blue and the grass below it is not violet. Decoded as ordinary pixels, it would be green
/// above violet.
#[tokio::test]
async fn dolby_vision_has_natural_colors() {
    let Some(media) = support::media_folder() else { return };
    let folder = tempfile::tempdir().unwrap();
    let scene = TestJob::new(std::fs::read(media.join("bugs/dovi-5.mp4")).unwrap());
    assert_eq!(scene.run().await.result, Ok(JobOutcome::Ready));
    assert!(scene.manifest().unwrap().source.hdr);
    let size = Size { width: 64, height: 36 };
    for name in ["thumbnail.webp", "thumbnail.jpg"] {
        let pixels = decode_pixels_at(folder.path(), &scene.output(name), size);
        let mean = |lines: std::ops::Range<usize>| -> [f64; 3] {
            let part = &pixels[lines.start * 64 * 3..lines.end * 64 * 3];
            [0, 1, 2].map(|channel| {
                part.iter().skip(channel).step_by(3).map(|value| f64::from(*value)).sum::<f64>()
                    / (part.len() / 3) as f64
            })
        };
        let (sky, grass) = (mean(0..8), mean(26..36));
        assert!(sky[2] > sky[1] && sky[2] > sky[0] + 15.0, "{name}: the sky is {sky:?}");
        assert!(grass[1] > grass[0].min(grass[2]), "{name}: the grass is {grass:?}");
    }
}
