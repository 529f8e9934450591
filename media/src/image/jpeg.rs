//! Encodes frames as JPEG. Does no IO.

use bytes::Bytes;
use glimpse_contract::limits;
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, QuantizationTableType, SamplingFactor};

use crate::image::header::{self, ImageError};
use crate::image::icc;
use crate::size::Size;

/// The quantization steps at half of the best quality, row by row: the intra matrix of ISO/IEC 11172-2, 2.4.3.2, except
/// for the mean of a block, which that standard scales differently. For fine texture, which is frequent in videos, it
/// uses fewer bits than the example of ITU-T T.81, annex K: a tenth to a sixth fewer bytes for the same SSIM. Chroma
/// has the same steps as luma, since it is already subsampled by half in both directions.
#[rustfmt::skip]
pub const QUANTIZATION_TABLE: [u16; 64] = [
    21, 16, 19, 22, 26, 27, 29, 34,
    16, 16, 22, 24, 27, 29, 34, 37,
    19, 22, 26, 27, 29, 34, 34, 38,
    22, 22, 26, 27, 29, 34, 37, 40,
    22, 26, 27, 29, 32, 35, 40, 48,
    26, 27, 29, 32, 35, 40, 48, 58,
    26, 27, 29, 34, 38, 46, 56, 69,
    27, 29, 35, 38, 46, 56, 69, 83,
];

/// Quality for posters, from 1 to 100.
pub const POSTER_QUALITY: u8 = limits::JPEG_QUALITY;
/// Quality for storyboard sheets.
pub const SHEET_QUALITY: u8 = 75;

/// One scan for the mean of every block of a component, and another for the rest. The library's default of four ends
/// each block three times, which adds an eighth to the size, measured by `examples/jpeg_bench.rs`.
const PROGRESSIVE_SCANS: u8 = 2;

/// Encodes a raw `rgb24` frame: BT.601 in full range as in JFIF, chroma subsampled by half in both directions, sRGB.
/// Progressive, since the library's baseline output is either a sixth larger (with the standard's Huffman codes) or has
/// three scans that some decoders misread.
pub fn encode(frame: &[u8], size: Size, quality: u8) -> Result<Bytes, ImageError> {
    header::check_frames(&[frame], size)?;
    let (width, height) = header::check_size(size, u16::MAX)?;
    let encoder_error = |error: jpeg_encoder::EncodingError| ImageError::Encoder(error.to_string());
    let mut out = Vec::with_capacity(frame.len() / 16 + 1024);
    let mut encoder = Encoder::new(&mut out, quality.clamp(1, 100));
    let table =
        QuantizationTableType::Custom(Box::new(QUANTIZATION_TABLE.map(|step| scale_step(step, quality))));
    encoder.set_quantization_tables(table.clone(), table);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.set_progressive_scans(PROGRESSIVE_SCANS);
    encoder.set_optimized_huffman_tables(true);
    encoder.add_icc_profile(icc::srgb()).map_err(encoder_error)?;
    encoder.encode(frame, width, height, ColorType::Rgb).map_err(encoder_error)?;
    Ok(out.into())
}

/// Scales a quantization step by quality, as libjpeg and all its successors do: unchanged at 50, minimal at 100, and
/// many times larger toward 0.
fn scale_step(step: u16, quality: u8) -> u16 {
    let quality = u32::from(quality.clamp(1, 100));
    let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    ((u32::from(step) * percent + 50) / 100).clamp(1, 255) as u16
}

#[cfg(test)]
mod tests {
    use glimpse_contract::OutputFormat;
    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::bytestream::ZCursor;

    use super::*;

    /// Red to the left, blue to the right, darker to the bottom.
    fn test_frame(size: Size) -> Vec<u8> {
        let (width, height) = (size.width as usize, size.height as usize);
        (0..width * height)
            .flat_map(|at| {
                let light = 255 - at / width * 200 / height;
                if at % width < width / 2 { [light as u8, 20, 20] } else { [20, 20, light as u8] }
            })
            .collect()
    }

    #[test]
    fn roundtrips_with_icc_profile() {
        let size = Size { width: 128, height: 96 };
        let frame = test_frame(size);
        let bytes = encode(&frame, size, POSTER_QUALITY).unwrap();
        assert_eq!(header::parse(OutputFormat::Jpg, &bytes), Some(header::ImageHeader { size, frames: 1 }));
        let mut decoder = JpegDecoder::new(ZCursor::new(&bytes[..]));
        let pixels = decoder.decode().unwrap();
        assert_eq!(decoder.icc_profile().as_deref(), Some(icc::srgb()));
        assert!(decoder.exif().is_none());
        let squares: f64 = pixels.iter().zip(&frame).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
        let psnr = 10.0 * (65_025.0 / (squares / frame.len() as f64)).log10();
        assert!(psnr > 32.0, "{psnr}");
    }

    #[test]
    fn roundtrips_odd_sizes() {
        for (width, height) in [(1, 1), (1, 17), (17, 1), (3, 5), (16, 16), (65, 33)] {
            let size = Size { width, height };
            let bytes = encode(&test_frame(size), size, SHEET_QUALITY).unwrap();
            let mut decoder = JpegDecoder::new(ZCursor::new(&bytes[..]));
            decoder.decode().unwrap();
            assert_eq!(decoder.dimensions(), Some((width as usize, height as usize)));
        }
    }

    #[test]
    fn higher_quality_has_more_bytes() {
        let size = Size { width: 64, height: 64 };
        let frame: Vec<u8> =
            (0..size.frame_bytes() as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let sizes = [10, 50, 90].map(|quality| encode(&frame, size, quality).unwrap().len());
        assert!(sizes.is_sorted() && sizes[0] * 2 < sizes[2], "{sizes:?}");
    }

    #[test]
    fn writes_two_scans_per_component() {
        let size = Size { width: 64, height: 64 };
        let bytes = encode(&test_frame(size), size, POSTER_QUALITY).unwrap();
        // A scan of means and one of the rest for each component (ITU-T T.81, B.2.3). Within a scan, 0xff is never
        // followed by this byte.
        let scans = bytes.windows(2).filter(|pair| *pair == [0xff, 0xda]).count();
        assert_eq!(scans, 2 * 3);
        assert!(bytes.windows(2).any(|pair| pair == [0xff, 0xc2]), "progressive");
    }

    #[test]
    fn rejects_wrong_frame_length() {
        let size = Size { width: 4, height: 4 };
        let result = encode(&[0; 47], size, 80);
        assert_eq!(result, Err(ImageError::FrameLength { found: 47, expected: 48 }));
    }
}
