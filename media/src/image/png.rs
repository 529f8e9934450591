//! Encodes frames as PNG. Does no IO.

use bytes::Bytes;
use png::{BitDepth, ColorType, Compression, Encoder, Filter, SrgbRenderingIntent};

use crate::image::header::{self, ImageError};
use crate::size::Size;

/// Up to this many pixels, better compression is worth its time: 1920x1080.
const BALANCED_PIXELS: u64 = 1920 * 1080;

/// Encodes a raw `rgb24` frame, tagged as sRGB (<https://www.w3.org/TR/png-3/#11sRGB>).
pub fn encode(frame: &[u8], size: Size) -> Result<Bytes, ImageError> {
    header::check_frames(&[frame], size)?;
    let encoder_error = |error: png::EncodingError| ImageError::Encoder(error.to_string());
    // The library's limit is 2^31 - 1. This one is the same as for the other formats.
    let (width, height) = header::check_size(size, u16::MAX)?;
    let mut out = Vec::with_capacity(frame.len() / 2 + 1024);
    let mut encoder = Encoder::new(&mut out, u32::from(width), u32::from(height));
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_source_srgb(SrgbRenderingIntent::Perceptual);
    // A request waits for the result: for large images, speed is more important than size.
    let pixels = u64::from(size.width) * u64::from(size.height);
    encoder.set_compression(if pixels > BALANCED_PIXELS { Compression::Fast } else { Compression::Balanced });
    encoder.set_filter(Filter::Adaptive);
    let mut writer = encoder.write_header().map_err(encoder_error)?;
    writer.write_image_data(frame).map_err(encoder_error)?;
    writer.finish().map_err(encoder_error)?;
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use glimpse_contract::OutputFormat;

    use super::*;

    #[test]
    fn roundtrips_as_srgb() {
        for (width, height) in [(1, 1), (3, 5), (64, 31)] {
            let size = Size { width, height };
            let frame: Vec<u8> = (0..size.frame_bytes() as u32)
                .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect();
            let bytes = encode(&frame, size).unwrap();
            assert_eq!(
                header::parse(OutputFormat::Png, &bytes),
                Some(header::ImageHeader { size, frames: 1 })
            );
            let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes[..])).read_info().unwrap();
            assert_eq!(reader.info().srgb, Some(SrgbRenderingIntent::Perceptual));
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut pixels).unwrap();
            assert!(pixels == frame, "{width}x{height}");
            for length in 0..bytes.len() {
                assert_eq!(header::parse(OutputFormat::Png, &bytes[..length]), None, "truncated to {length}");
            }
        }
    }
}
