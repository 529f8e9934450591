//! Tests of still images against a full ffmpeg: AVIF against its source frame, and the blur against ffmpeg's.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::path::Path;
use std::process::Command;

use glimpse_contract::{OutputFormat, limits};
use glimpse_media::image::{avif, blur, encode_requested_thumbnail};
use glimpse_media::size::Size;

use crate::support::compare::mean_difference;
use crate::support::{decode_pixels, reference_program};

type Rgb = [u8; 3];

/// The pure colors, grays, and two colors of skin and grass.
const PATCHES: [Rgb; 12] = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 0],
    [0, 255, 255],
    [255, 0, 255],
    [255, 255, 255],
    [0, 0, 0],
    [128, 128, 128],
    [16, 16, 16],
    [224, 172, 140],
    [86, 125, 70],
];

/// Patches side by side, four in a row.
fn patches(size: Size) -> Vec<u8> {
    let (width, height) = (size.width as usize, size.height as usize);
    let patch = |x: usize, y: usize| PATCHES[y * 3 / height * 4 + x * 4 / width];
    (0..width * height).flat_map(|at| patch(at % width, at / width)).collect()
}

/// A frame with edges, gradients and texture.
fn reference_frame(size: Size) -> Vec<u8> {
    // The source itself has only even sizes.
    let filter = format!("format=rgb24,scale={}:{}", size.width, size.height);
    run_ffmpeg(&["-f", "lavfi", "-i", "testsrc2=s=640x360:r=1:d=1", "-vf", &filter, "-frames:v", "1"])
}

/// The first frame as raw `rgb24`.
fn run_ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(reference_program("ffmpeg"))
        .args(["-nostdin", "-v", "error"])
        .args(arguments)
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Decodes an AVIF, which must have exactly this size.
fn decode_still(folder: &Path, bytes: &[u8], size: Size) -> Vec<u8> {
    let pixels = decode_pixels(folder, "still.avif", bytes);
    assert_eq!(pixels.len(), size.frame_bytes());
    pixels
}

#[test]
fn avif_has_the_colors_of_its_source() {
    let folder = tempfile::tempdir().unwrap();
    for (width, height) in [(320, 180), (321, 183), (99, 75)] {
        let size = Size { width, height };
        let bytes = avif::encode(&patches(size), size, limits::AVIF_QUALITY).unwrap();
        let decoded = decode_still(folder.path(), &bytes, size);
        for (index, expected) in PATCHES.iter().enumerate() {
            let x = (index as u32 % 4 * 2 + 1) * width / 8;
            let y = (index as u32 / 4 * 2 + 1) * height / 6;
            let found = &decoded[(y * width + x) as usize * 3..][..3];
            let is_near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 4);
            assert!(is_near, "{width}x{height}: {found:?} instead of {expected:?}");
        }
    }
}

#[test]
fn avif_is_similar_to_its_source() {
    let folder = tempfile::tempdir().unwrap();
    for (width, height) in [(65, 33), (320, 180), (641, 361)] {
        let size = Size { width, height };
        let frame = reference_frame(size);
        let mut last = f64::INFINITY;
        for (quality, most) in [(20, 16.0), (limits::AVIF_QUALITY, 13.5), (95, 13.0)] {
            let bytes = avif::encode(&frame, size, quality).unwrap();
            // Small frames have mostly colored edges, of which subsampled chroma loses a part.
            let most = if width < 320 { most } else { most / 3.0 };
            let difference = mean_difference(&decode_still(folder.path(), &bytes, size), &frame);
            assert!(difference < most, "{width}x{height} {quality}: {difference}");
            assert!(difference <= last + 0.2, "{width}x{height} {quality}: {difference} {last}");
            last = difference;
        }
    }
}

#[test]
fn avif_is_smaller_than_webp() {
    let size = Size { width: 640, height: 360 };
    let frame = reference_frame(size);
    let encode = |format| encode_requested_thumbnail(format, &frame, size, None).unwrap().len();
    let (avif, webp) = (encode(OutputFormat::Avif), encode(OutputFormat::Webp));
    assert!(avif < webp, "{avif} {webp}");
}

#[test]
fn blur_is_close_to_gblur() {
    let size = Size { width: 320, height: 180 };
    let frame = reference_frame(size);
    for deviation in [1, 3, 8, 20] {
        let filter = format!("format=rgb24,scale=320:180,format=gbrp,gblur=sigma={deviation}:steps=6");
        let expected = run_ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=640x360:r=1:d=1",
            "-vf",
            &filter,
            "-frames:v",
            "1",
        ]);
        let blurred = blur::blur(&frame, size, deviation).unwrap();
        // Beyond the edges, the filters continue the frame differently.
        let margin = usize::from(deviation) * 3;
        let inner = |frame: &[u8]| -> Vec<u8> {
            let rows = frame.chunks_exact(320 * 3).skip(margin).take(180 - 2 * margin.min(80));
            rows.flat_map(|row| row[margin * 3..(320 - margin) * 3].to_vec()).collect()
        };
        let difference = mean_difference(&inner(&blurred), &inner(&expected));
        // Six recursive passes of gblur differ by up to 2.2 from the exact Gaussian.
        assert!(difference < 3.5, "{deviation}: {difference}");
    }
}
