//! Encodes frames as AVIF. Does no IO.
//!
//! rav1e encodes the image, without assembly, so that no assembler is needed to build it. It is linked only by programs
//! that call [`encode`]: not through [`crate::image::encode`], which encodes the default outputs.

use avif_serialize::Aviffy;
use avif_serialize::constants as container;
use bytes::Bytes;
use glimpse_contract::limits;
use rav1e::prelude::{
    BlockSize, ChromaSampling, ColorDescription, ColorPrimaries, Config, Context, EncoderConfig,
    EncoderStatus, MatrixCoefficients, PartitionRange, PixelRange, SceneDetectionSpeed, SpeedSettings,
    TransferCharacteristics, Tune,
};

use crate::image::header::{self, ImageError};
use crate::size::Size;

/// Bits per sample. With ten, an image of the same quality is a twentieth smaller than with eight, although its source
/// has eight: predictions are rounded less.
const BIT_DEPTH: u8 = 10;
/// The largest sample.
const MAX_SAMPLE: f32 = ((1 << BIT_DEPTH) - 1) as f32;
/// BT.709's weights of red and blue.
const RED_WEIGHT: f32 = 0.2126;
const BLUE_WEIGHT: f32 = 0.0722;
/// Up to this many pixels, better compression is worth its time: 640x1138, a tall poster.
const BALANCED_PIXELS: u64 = 640 * 1_138;
/// Up to this many pixels, the time is that of a Full HD image.
const FAST_PIXELS: u64 = 1_920 * 1_080;
/// From this many pixels on, the image is divided into two tiles, which two threads encode.
const TWO_TILES_PIXELS: u64 = 320 * 180;
/// The quantizer of quality 100, the lowest that is useful.
const BEST_QUANTIZER: u32 = 10;

/// Encodes a raw `rgb24` frame, sRGB: BT.709 in full range, chroma subsampled by half in both directions.
///
/// The output does not depend on the number of threads.
///
/// # Errors
/// The frame does not have the length for its size, has more than [`limits::MAX_AVIF_PIXELS`], or the encoder fails.
pub fn encode(frame: &[u8], size: Size, quality: u8) -> Result<Bytes, ImageError> {
    header::check_frames(&[frame], size)?;
    let (width, height) = header::check_size(size, u16::MAX)?;
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits::MAX_AVIF_PIXELS {
        return Err(ImageError::UnsupportedSize { width: size.width, height: size.height });
    }
    let config = encoder_config(size, pixels, quality);
    let config = Config::new().with_encoder_config(config).with_threads(thread_count(pixels));
    let mut context: Context<u16> = config.new_context().map_err(encoder_error)?;
    let mut picture = context.new_frame();
    let planes = to_planes(frame, size);
    for (target, plane) in picture.planes.iter_mut().zip(&planes) {
        target.copy_from_raw_u8(&plane.samples, plane.width * 2, 2);
    }
    context.send_frame(picture).map_err(encoder_error)?;
    context.flush();
    let mut data = Vec::new();
    loop {
        match context.receive_packet() {
            Ok(packet) => data.extend_from_slice(&packet.data),
            Err(EncoderStatus::Encoded) => {}
            Err(EncoderStatus::LimitReached) => break,
            Err(status) => return Err(encoder_error(status)),
        }
    }
    let mut file = Aviffy::new();
    file.set_matrix_coefficients(container::MatrixCoefficients::Bt709)
        .set_color_primaries(container::ColorPrimaries::Bt709)
        .set_transfer_characteristics(container::TransferCharacteristics::Srgb)
        .set_full_color_range(true)
        .set_chroma_subsampling((true, true))
        .set_seq_profile(0);
    Ok(file.to_vec(&data, None, size.width, size.height, BIT_DEPTH).into())
}

fn encoder_error(error: impl std::fmt::Display) -> ImageError {
    ImageError::Encoder(format!("rav1e: {error}"))
}

fn encoder_config(size: Size, pixels: u64, quality: u8) -> EncoderConfig {
    EncoderConfig {
        width: size.width as usize,
        height: size.height as usize,
        bit_depth: usize::from(BIT_DEPTH),
        chroma_sampling: ChromaSampling::Cs420,
        pixel_range: PixelRange::Full,
        color_description: Some(ColorDescription {
            color_primaries: ColorPrimaries::BT709,
            transfer_characteristics: TransferCharacteristics::SRGB,
            matrix_coefficients: MatrixCoefficients::BT709,
        }),
        still_picture: true,
        quantizer: quantizer(quality),
        tune: Tune::Psnr,
        tiles: tile_count(pixels),
        speed_settings: speed_settings(pixels),
        ..EncoderConfig::default()
    }
}

/// The settings for a number of pixels, chosen by measurement: a request waits for the result.
fn speed_settings(pixels: u64) -> SpeedSettings {
    let mut settings = if pixels <= BALANCED_PIXELS {
        let mut settings = SpeedSettings::from_preset(6);
        // Choosing the transform of each block saves more than any other search of the slower presets.
        settings.transform.rdo_tx_decision = true;
        settings.transform.reduced_tx_set = false;
        settings
    } else if pixels <= FAST_PIXELS {
        SpeedSettings::from_preset(8)
    } else {
        let mut settings = SpeedSettings::from_preset(10);
        settings.partition.partition_range =
            PartitionRange::new(BlockSize::BLOCK_16X16, BlockSize::BLOCK_32X32);
        settings
    };
    settings.rdo_lookahead_frames = 1;
    settings.scene_detection_mode = SceneDetectionSpeed::None;
    settings
}

/// The quantizer's index, 0 to 255. Its steps grow exponentially, so equal differences look equal.
fn quantizer(quality: u8) -> usize {
    let worse = u32::from(100 - quality.clamp(1, 100));
    (BEST_QUANTIZER + worse * (255 - BEST_QUANTIZER) / 99) as usize
}

/// The number of tiles. It depends only on the size, so that every machine makes the same image.
fn tile_count(pixels: u64) -> usize {
    if pixels < TWO_TILES_PIXELS { 1 } else { 2 }
}

fn thread_count(pixels: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tile_count(pixels).min(cores)
}

/// One component of an image: little-endian samples of 16 bits.
struct Plane {
    samples: Vec<u8>,
    width: usize,
}

/// Converts a frame to luma and both chroma planes. A chroma sample is the mean of up to four pixels.
fn to_planes(frame: &[u8], size: Size) -> [Plane; 3] {
    let width = size.width as usize;
    let chroma_width = width.div_ceil(2);
    let chroma_bytes = chroma_width * (size.height as usize).div_ceil(2) * 2;
    let mut luma = Vec::with_capacity(frame.len() / 3 * 2);
    let (mut blue, mut red) = (Vec::with_capacity(chroma_bytes), Vec::with_capacity(chroma_bytes));
    let push = |plane: &mut Vec<u8>, sample: f32| {
        plane.extend_from_slice(&((sample + 0.5).clamp(0.0, MAX_SAMPLE) as u16).to_le_bytes());
    };
    // Sums of two lines: red, green, blue.
    let mut sums = vec![[0u16; 3]; chroma_width];
    for pair in frame.chunks(width * 3 * 2) {
        sums.fill([0; 3]);
        for line in pair.chunks_exact(width * 3) {
            for (x, pixel) in line.chunks_exact(3).enumerate() {
                let rgb = [0, 1, 2].map(|channel| u16::from(pixel[channel]));
                push(&mut luma, luma_of(rgb.map(|sample| f32::from(sample) * (MAX_SAMPLE / 255.0))));
                for (sum, sample) in sums[x / 2].iter_mut().zip(rgb) {
                    *sum += sample;
                }
            }
        }
        let lines = pair.len() / (width * 3);
        for (x, sum) in sums.iter().enumerate() {
            let columns = (width - x * 2).min(2);
            let scale = MAX_SAMPLE / (255 * lines * columns) as f32;
            let rgb = sum.map(|sample| f32::from(sample) * scale);
            let center = f32::from(1u16 << (BIT_DEPTH - 1));
            let luma = luma_of(rgb);
            push(&mut blue, (rgb[2] - luma) / (2.0 * (1.0 - BLUE_WEIGHT)) + center);
            push(&mut red, (rgb[0] - luma) / (2.0 * (1.0 - RED_WEIGHT)) + center);
        }
    }
    [
        Plane { samples: luma, width },
        Plane { samples: blue, width: chroma_width },
        Plane { samples: red, width: chroma_width },
    ]
}

fn luma_of([red, green, blue]: [f32; 3]) -> f32 {
    RED_WEIGHT * red + (1.0 - RED_WEIGHT - BLUE_WEIGHT) * green + BLUE_WEIGHT * blue
}

#[cfg(test)]
mod tests {
    use glimpse_contract::OutputFormat;

    use super::*;

    /// Noise over a gradient.
    fn test_frame(size: Size) -> Vec<u8> {
        (0..size.frame_bytes() as u32)
            .map(|at| {
                let noise = at.wrapping_mul(2_654_435_761) >> 26;
                ((at / 3 % size.width * 190 / size.width) + noise) as u8
            })
            .collect()
    }

    #[test]
    fn header_has_size() {
        for (width, height) in [(1, 1), (1, 17), (17, 1), (3, 5), (64, 64), (65, 33), (321, 181)] {
            let size = Size { width, height };
            let bytes = encode(&test_frame(size), size, limits::AVIF_QUALITY).unwrap();
            let header = header::parse(OutputFormat::Avif, &bytes);
            assert_eq!(header, Some(header::ImageHeader { size, frames: 1 }), "{width}x{height}");
            for length in [0, 20, bytes.len() / 2, bytes.len() - 1] {
                assert_eq!(
                    header::parse(OutputFormat::Avif, &bytes[..length]),
                    None,
                    "truncated to {length}"
                );
            }
        }
    }

    #[test]
    fn is_tagged_as_srgb_in_full_range() {
        let size = Size { width: 64, height: 64 };
        let bytes = encode(&test_frame(size), size, limits::AVIF_QUALITY).unwrap();
        // ISO/IEC 23008-12: primaries BT.709, transfer sRGB, matrix BT.709, full range.
        let tag = b"colrnclx\0\x01\0\x0d\0\x01\x80";
        assert!(bytes.windows(tag.len()).any(|window| window == tag));
    }

    #[test]
    fn higher_quality_has_more_bytes() {
        let size = Size { width: 96, height: 64 };
        let frame = test_frame(size);
        let sizes = [1, 20, 40, 60, 80, 100].map(|quality| encode(&frame, size, quality).unwrap().len());
        assert!(sizes.is_sorted() && sizes[0] * 4 < sizes[5], "{sizes:?}");
    }

    #[test]
    fn quantizers_cover_the_range() {
        let all: Vec<usize> = (1..=100).map(quantizer).collect();
        assert_eq!((all[0], all[99]), (255, BEST_QUANTIZER as usize));
        assert!(all.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn output_is_deterministic() {
        let size = Size { width: 640, height: 180 };
        let frame = test_frame(size);
        assert_eq!(tile_count(640 * 180), 2);
        assert_eq!(encode(&frame, size, 40).unwrap(), encode(&frame, size, 40).unwrap());
    }

    #[test]
    fn rejects_too_many_pixels() {
        let height = (limits::MAX_AVIF_PIXELS / 1_000 + 1) as u32;
        let size = Size { width: 1_000, height };
        let result = encode(&vec![0; size.frame_bytes()], size, 50);
        assert_eq!(result, Err(ImageError::UnsupportedSize { width: 1_000, height }));
    }

    #[test]
    fn rejects_wrong_frame_length() {
        let result = encode(&[0; 47], Size { width: 4, height: 4 }, 80);
        assert_eq!(result, Err(ImageError::FrameLength { found: 47, expected: 48 }));
    }
}
