//! Encodes frames as WebP, still or animated. Does no IO.
//!
//! libwebp encodes the images. The container (RFC 9649, section 2) is written here: for each frame only the changed
//! blocks, with its exact duration.

mod animation;
mod riff;

use bytes::Bytes;
use glimpse_contract::limits;
use webp::{Encoder, PixelLayout, WebPConfig};

use crate::image::header::{self, ImageError};
use crate::image::icc;
pub use crate::image::webp::animation::{
    AnimationOptions, HIGH_QUALITY, encode_animation, encode_animation_within,
};
use crate::size::Size;

/// The longest side (RFC 9649, section 2.5: 14 bits).
pub const MAX_SIDE: u16 = 16_383;
/// Quality for posters, from 0 to 100.
pub const POSTER_QUALITY: f32 = limits::WEBP_QUALITY as f32;
/// Quality for storyboard sheets.
const SHEET_QUALITY: f32 = 70.0;

/// libwebp's compression effort for a single image, 0 to 6: its default, above which there is little gain.
const STILL_METHOD: i32 = 4;
/// The effort for a storyboard sheet and the frames of an animation: half the CPU time of method 4, for 6 to 9% more
/// bytes at the same quality.
const FAST_METHOD: i32 = 2;

/// Encodes a raw `rgb24` frame, sRGB.
pub fn encode(frame: &[u8], size: Size, quality: f32) -> Result<Bytes, ImageError> {
    encode_still(frame, size, quality, STILL_METHOD)
}

/// Encodes a storyboard sheet, a raw `rgb24` frame, sRGB.
pub fn encode_sheet(frame: &[u8], size: Size) -> Result<Bytes, ImageError> {
    encode_still(frame, size, SHEET_QUALITY, FAST_METHOD)
}

fn encode_still(frame: &[u8], size: Size, quality: f32, method: i32) -> Result<Bytes, ImageError> {
    header::check_frames(&[frame], size)?;
    let (width, height) = header::check_size(size, MAX_SIDE)?;
    let image = encode_image(frame, PixelLayout::Rgb, width, height, quality, method)?;
    let mut file = riff::RiffWriter::new(size, riff::ICC);
    file.write_chunk(*b"ICCP", icc::srgb());
    file.write_raw(&image);
    Ok(file.finish().into())
}

/// Encodes the chunks of an image (`VP8 `, preceded by `ALPH` if there is alpha).
fn encode_image(
    pixels: &[u8],
    layout: PixelLayout,
    width: u16,
    height: u16,
    quality: f32,
    method: i32,
) -> Result<Vec<u8>, ImageError> {
    let encoder_error = |reason: &str| ImageError::Encoder(format!("libwebp: {reason}"));
    let mut config = WebPConfig::new().map_err(|()| encoder_error("incompatible libwebp version"))?;
    config.quality = quality.clamp(0.0, 100.0);
    config.method = method;
    // Preserves the colors of invisible pixels: VP8's loop filter crosses the edges of blocks, so other colors would be
    // visible as lines along the edges of the visible blocks.
    config.exact = 1;
    let encoded = Encoder::new(pixels, layout, u32::from(width), u32::from(height))
        .encode_advanced(&config)
        .map_err(|error| encoder_error(&format!("{error:?}")))?;
    riff::image_chunks(&encoded).ok_or_else(|| encoder_error("no image chunk in the output"))
}

#[cfg(test)]
mod tests;
