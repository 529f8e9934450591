//! Image encoders, resizing, scoring of frames, and checks of encoder output. Does no IO.

use bytes::Bytes;
use glimpse_contract::{OutputFormat, limits};

use crate::image::header::ImageError;
use crate::image::storyboard::{Sheet, TileMap};
use crate::size::Size;

pub mod avif;
pub mod blur;
pub mod crossfade;
pub mod dolby_vision;
pub mod gif;
#[cfg(feature = "h264")]
pub mod h264;
pub mod header;
pub mod icc;
pub mod jpeg;
pub mod palette;
pub mod placeholder;
pub mod play_button;
pub mod png;
pub mod resize;
pub mod score;
pub mod storyboard;
pub mod webp;

/// What an image is encoded from. Frames are raw `rgb24`, sRGB.
#[derive(Debug, Clone, Copy)]
pub enum EncoderInput<'a> {
    /// A thumbnail.
    Thumbnail {
        /// The frame.
        frame: &'a [u8],
        /// Its size.
        size: Size,
    },
    /// An animation.
    Animation {
        /// The frames, at least one.
        frames: &'a [Bytes],
        /// Their size.
        size: Size,
        /// Frames per second.
        fps: f64,
        /// The maximum size in bytes, to which quality and dimensions are reduced.
        max_bytes: Option<usize>,
    },
    /// A storyboard: its sheet, or the table of its tiles.
    Storyboard(&'a Sheet),
}

/// Encodes an image or a table, each in the quality for its kind, and checks the header of the image.
///
/// # Errors
/// The frames are not of their size, the kind does not have this format, no animation is small enough, or the encoder
/// fails.
pub fn encode(format: OutputFormat, input: EncoderInput<'_>) -> Result<Bytes, ImageError> {
    let (bytes, size) = match input {
        EncoderInput::Thumbnail { frame, size } => (encode_thumbnail(format, frame, size, None)?, size),
        EncoderInput::Animation { frames, size, fps, max_bytes } => {
            (encode_animation(format, frames, size, fps, max_bytes)?, size)
        }
        EncoderInput::Storyboard(sheet) => (encode_storyboard(format, sheet)?, sheet.size),
    };
    match format {
        OutputFormat::Vtt | OutputFormat::Json | OutputFormat::M3u8 => Ok(bytes),
        _ => {
            // To keep within a limit of bytes, an animation may also have been scaled down.
            let may_shrink = matches!(input, EncoderInput::Animation { max_bytes: Some(_), .. });
            verify(format, bytes, encoded_size(format, size), may_shrink)
        }
    }
}

/// Encodes a requested thumbnail from a raw `rgb24` frame, and checks its header. Unlike [`encode`], in all formats of
/// thumbnails: programs that only encode default outputs do not link the encoder of AVIF.
///
/// `quality` is from 1 to 100; `None` is the format's default.
///
/// # Errors
/// The frame is not of its size, thumbnails do not have this format, or the encoder fails.
pub fn encode_requested_thumbnail(
    format: OutputFormat,
    frame: &[u8],
    size: Size,
    quality: Option<u8>,
) -> Result<Bytes, ImageError> {
    let bytes = match format {
        OutputFormat::Avif => avif::encode(frame, size, quality.unwrap_or(limits::AVIF_QUALITY))?,
        _ => encode_thumbnail(format, frame, size, quality)?,
    };
    verify(format, bytes, size, false)
}

/// Whether this build has an encoder for the format.
pub fn has_encoder(format: OutputFormat) -> bool {
    format != OutputFormat::Mp4 || cfg!(feature = "h264")
}

/// The size of an output that is encoded from frames of this size. The sides of a video are even: an odd side loses its
/// last row or column, and the pixels keep their shape. A side of one pixel is doubled.
pub fn encoded_size(format: OutputFormat, size: Size) -> Size {
    let even = |side: u32| (side & !1).max(2);
    match format {
        OutputFormat::Mp4 => Size { width: even(size.width), height: even(size.height) },
        _ => size,
    }
}

fn encode_thumbnail(
    format: OutputFormat,
    frame: &[u8],
    size: Size,
    quality: Option<u8>,
) -> Result<Bytes, ImageError> {
    let quality = quality.or(format.default_quality()).unwrap_or(100);
    match format {
        OutputFormat::Jpg => jpeg::encode(frame, size, quality),
        OutputFormat::Png => png::encode(frame, size),
        OutputFormat::Webp => webp::encode(frame, size, f32::from(quality)),
        _ => Err(unsupported(format)),
    }
}

fn encode_animation(
    format: OutputFormat,
    frames: &[Bytes],
    size: Size,
    fps: f64,
    max_bytes: Option<usize>,
) -> Result<Bytes, ImageError> {
    match (format, max_bytes) {
        (OutputFormat::Gif, None) => gif::encode(frames, size, fps, &gif::HIGH_QUALITY),
        (OutputFormat::Gif, Some(max_bytes)) => gif::encode_within(frames, size, fps, max_bytes),
        (OutputFormat::Webp, None) => webp::encode_animation(frames, size, fps, webp::HIGH_QUALITY),
        (OutputFormat::Webp, Some(max_bytes)) => webp::encode_animation_within(frames, size, fps, max_bytes),
        #[cfg(feature = "h264")]
        (OutputFormat::Mp4, None) => h264::encode(frames, size, fps, h264::HIGH_QUALITY),
        #[cfg(feature = "h264")]
        (OutputFormat::Mp4, Some(max_bytes)) => h264::encode_within(frames, size, fps, max_bytes),
        #[cfg(not(feature = "h264"))]
        (OutputFormat::Mp4, _) => Err(ImageError::NoEncoder(format.extension())),
        _ => Err(unsupported(format)),
    }
}

fn encode_storyboard(format: OutputFormat, sheet: &Sheet) -> Result<Bytes, ImageError> {
    match format {
        OutputFormat::Jpg => jpeg::encode(&sheet.frame, sheet.size, jpeg::SHEET_QUALITY),
        OutputFormat::Webp => webp::encode_sheet(&sheet.frame, sheet.size),
        OutputFormat::Vtt | OutputFormat::Json | OutputFormat::M3u8 => {
            encode_table(format, &sheet.tile_map, SHEET_FILE_NAME)
        }
        _ => Err(unsupported(format)),
    }
}

/// Writes the table of a storyboard's tiles; `sheet_url` is the URL of the sheet.
///
/// # Errors
/// The format is not that of a table.
pub fn encode_table(format: OutputFormat, tile_map: &TileMap, sheet_url: &str) -> Result<Bytes, ImageError> {
    match format {
        OutputFormat::Vtt => Ok(tile_map.to_webvtt(sheet_url).into()),
        OutputFormat::Json => Ok(tile_map.to_json(sheet_url).into()),
        OutputFormat::M3u8 => Ok(tile_map.to_m3u8(sheet_url).into()),
        _ => Err(unsupported(format)),
    }
}

/// The sheet's URL in the tables, relative to them.
const SHEET_FILE_NAME: &str = "storyboard.jpg";

/// The error of a format that a kind of image does not have: `VariantKind::formats` lists those that it has.
fn unsupported(format: OutputFormat) -> ImageError {
    ImageError::Encoder(format!("no {} of this kind of image", format.extension()))
}

/// Returns the image if its header has this format and this size or, where it `may_shrink`, at most this size.
fn verify(format: OutputFormat, bytes: Bytes, size: Size, may_shrink: bool) -> Result<Bytes, ImageError> {
    let header = header::parse(format, &bytes);
    let is_expected = header.is_some_and(|header| {
        let Size { width, height } = header.size;
        header.size == size || (may_shrink && width <= size.width && height <= size.height)
    });
    if is_expected {
        Ok(bytes)
    } else {
        Err(ImageError::Encoder(format!("unexpected output {header:?}, expected an image of {size:?}")))
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VariantKind;

    use super::*;
    use crate::image::storyboard::Tile;

    #[test]
    fn encodes_exactly_the_formats_of_each_kind() {
        let size = Size { width: 64, height: 36 };
        let frame = Bytes::from(vec![90; size.frame_bytes()]);
        let sheet = storyboard::build_sheet(&[Tile { start_ms: 0, frame: &frame }], size, 1000).unwrap();
        let frames = [frame.clone(), Bytes::from(vec![200; size.frame_bytes()])];
        for (kind, input) in [
            (VariantKind::Thumbnail, EncoderInput::Thumbnail { frame: &frame, size }),
            (
                VariantKind::Animation,
                EncoderInput::Animation { frames: &frames, size, fps: 5.0, max_bytes: None },
            ),
            (
                VariantKind::Animation,
                EncoderInput::Animation { frames: &frames, size, fps: 5.0, max_bytes: Some(20_000) },
            ),
            (VariantKind::Storyboard, EncoderInput::Storyboard(&sheet)),
        ] {
            for format in OutputFormat::ALL {
                let encoded = match input {
                    EncoderInput::Thumbnail { frame, size } => {
                        encode_requested_thumbnail(format, frame, size, None)
                    }
                    _ => encode(format, input),
                };
                assert_eq!(
                    encoded.is_ok(),
                    kind.formats().contains(&format) && has_encoder(format),
                    "{kind:?} {format:?}: {encoded:?}"
                );
            }
        }
    }

    #[test]
    fn quality_of_thumbnails_changes_bytes() {
        let size = Size { width: 64, height: 36 };
        let frame: Vec<u8> =
            (0..size.frame_bytes() as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for format in [OutputFormat::Jpg, OutputFormat::Webp, OutputFormat::Avif] {
            let encode = |quality| encode_requested_thumbnail(format, &frame, size, quality).unwrap();
            let sizes = [1, 25, 50, 75, 100].map(|quality| encode(Some(quality)).len());
            assert!(sizes.is_sorted() && sizes[0] * 2 < sizes[4], "{format:?} {sizes:?}");
            assert_eq!(encode(None), encode(format.default_quality()), "{format:?}");
            if format != OutputFormat::Avif {
                let default = super::encode(format, EncoderInput::Thumbnail { frame: &frame, size });
                assert_eq!(default.unwrap(), encode(None), "{format:?}");
            }
        }
    }

    #[test]
    fn rejects_output_of_another_size() {
        let size = Size { width: 64, height: 36 };
        let larger = Size { width: 65, height: 36 };
        let bytes = jpeg::encode(&vec![90; size.frame_bytes()], size, jpeg::POSTER_QUALITY).unwrap();
        for (expected, may_shrink, is_accepted) in
            [(size, false, true), (larger, false, false), (larger, true, true)]
        {
            let verified = verify(OutputFormat::Jpg, bytes.clone(), expected, may_shrink);
            assert_eq!(verified.is_ok(), is_accepted, "{expected:?}");
        }
        assert!(verify(OutputFormat::Webp, bytes, size, true).is_err());
    }
}
