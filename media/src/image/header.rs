//! Checks raw frames before encoding, and parses the headers of encoded images to verify their format and size. Does no
//! IO.

use bytes::Bytes;
use glimpse_contract::OutputFormat;

use crate::size::Size;

/// The contents of an image's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// The size of the image.
    pub size: Size,
    /// The number of frames, at least one.
    pub frames: u32,
}

/// Why frames could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// There are no frames.
    #[error("no frame to encode")]
    NoFrames,
    /// A frame does not have three bytes per pixel.
    #[error("frame has {found} bytes instead of {expected}")]
    FrameLength {
        /// The size of the frame in bytes.
        found: usize,
        /// The expected size in bytes.
        expected: usize,
    },
    /// The format does not support an image of that size, or the image has no pixels.
    #[error("the format does not support {width}x{height} pixels")]
    UnsupportedSize {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
    },
    /// The smallest possible image exceeds the size limit.
    #[error("the smallest image has {least_bytes} bytes, {max_bytes} are allowed")]
    TooManyBytes {
        /// The size of the smallest image in bytes.
        least_bytes: usize,
        /// The size limit in bytes.
        max_bytes: usize,
    },
    /// The encoder failed, with its message.
    #[error("the encoder failed: {0}")]
    Encoder(String),
}

/// Checks that there are frames, and that all of them have this size.
pub fn check_frames<F: AsRef<[u8]>>(frames: &[F], size: Size) -> Result<(), ImageError> {
    if frames.is_empty() {
        return Err(ImageError::NoFrames);
    }
    let expected = size.frame_bytes();
    match frames.iter().map(|frame| frame.as_ref().len()).find(|found| *found != expected) {
        Some(found) => Err(ImageError::FrameLength { found, expected }),
        None => Ok(()),
    }
}

/// The width and height of an image whose sides have at least one and at most `max_side` pixels.
pub(crate) fn check_size(size: Size, max_side: u16) -> Result<(u16, u16), ImageError> {
    let checked_side = |side: u32| u16::try_from(side).ok().filter(|side| (1..=max_side).contains(side));
    match (checked_side(size.width), checked_side(size.height)) {
        (Some(width), Some(height)) => Ok((width, height)),
        _ => Err(ImageError::UnsupportedSize { width: size.width, height: size.height }),
    }
}

/// Encodes with the first options of `ladder`, which is sorted from best to smallest, whose output has at most
/// `max_bytes`: tries the first, then searches the rest by bisection.
pub(crate) fn encode_within<S>(
    ladder: &[S],
    max_bytes: usize,
    mut encode: impl FnMut(&S) -> Result<Bytes, ImageError>,
) -> Result<Bytes, ImageError> {
    let mut least_bytes = usize::MAX;
    let mut best = None;
    let (mut low, mut high) = (0, ladder.len());
    let mut next = 0;
    while let Some(options) = ladder.get(next).filter(|_| low < high) {
        let bytes = encode(options)?;
        least_bytes = least_bytes.min(bytes.len());
        if bytes.len() <= max_bytes {
            best = Some(bytes);
            high = next;
        } else {
            low = next + 1;
        }
        next = usize::midpoint(low, high);
    }
    best.ok_or(ImageError::TooManyBytes { least_bytes, max_bytes })
}

/// Parses a complete image. `None` if it is incomplete or has another format.
pub fn parse(format: OutputFormat, bytes: &[u8]) -> Option<ImageHeader> {
    match format {
        OutputFormat::Jpg => parse_jpeg(bytes),
        OutputFormat::Gif => parse_gif(bytes),
        OutputFormat::Webp => parse_webp(bytes),
        OutputFormat::Png => parse_png(bytes),
        OutputFormat::Avif => parse_avif(bytes),
        OutputFormat::Vtt | OutputFormat::Json => None,
    }
}

fn be_u16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn le_u16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn parse_jpeg(bytes: &[u8]) -> Option<ImageHeader> {
    if !bytes.starts_with(&[0xff, 0xd8, 0xff]) || !bytes.ends_with(&[0xff, 0xd9]) {
        return None;
    }
    let mut at = 2;
    loop {
        let [0xff, marker] = *bytes.get(at..at + 2)? else {
            return None;
        };
        // Start of frame: baseline or progressive.
        if matches!(marker, 0xc0..=0xc2) {
            let size = Size { height: be_u16(bytes, at + 5)?, width: be_u16(bytes, at + 7)? };
            return Some(ImageHeader { size, frames: 1 });
        }
        at += 2 + be_u16(bytes, at + 2)? as usize;
    }
}

/// <https://www.w3.org/TR/png-3/#5DataRep>
fn parse_png(bytes: &[u8]) -> Option<ImageHeader> {
    let mut at = 8;
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return None;
    }
    let mut size = None;
    loop {
        let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let length = long(at)? as usize;
        let kind = bytes.get(at + 4..at + 8)?;
        if kind == b"IHDR" && size.is_none() {
            size = Some(Size { width: long(at + 8)?, height: long(at + 12)? });
        }
        at = at.checked_add(length)?.checked_add(12)?;
        if kind == b"IEND" {
            return (at == bytes.len()).then_some(ImageHeader { size: size?, frames: 1 });
        }
    }
}

/// A still AVIF: `ftyp` of the brand `avif`, `meta` with the size of one image (`ispe`), and `mdat`, which end with the
/// file, <https://aomediacodec.github.io/av1-avif/>.
fn parse_avif(bytes: &[u8]) -> Option<ImageHeader> {
    let mut size = None;
    let mut has_data = false;
    let mut first = true;
    for (kind, content) in boxes(bytes)? {
        match kind {
            b"ftyp" => (first && content.starts_with(b"avif")).then_some(())?,
            _ if first => return None,
            // Version and flags come before the boxes in it.
            b"meta" => size = Some(avif_size(content.get(4..)?)?),
            b"mdat" => has_data = !content.is_empty(),
            _ => {}
        }
        first = false;
    }
    size.filter(|_| has_data).map(|size| ImageHeader { size, frames: 1 })
}

/// The size in the only `ispe` of a `meta` box's content.
fn avif_size(meta: &[u8]) -> Option<Size> {
    let child = |boxes: &[(&[u8], &[u8])], wanted: &[u8]| {
        let mut found = boxes.iter().filter(|(kind, _)| *kind == wanted).map(|(_, content)| content.to_vec());
        found.next().filter(|_| found.next().is_none())
    };
    let properties = child(&boxes(meta)?, b"iprp")?;
    let container = child(&boxes(&properties)?, b"ipco")?;
    let extents = child(&boxes(&container)?, b"ispe")?;
    let side = |at: usize| Some(u32::from_be_bytes(extents.get(at..at + 4)?.try_into().ok()?));
    Some(Size { width: side(4)?, height: side(8)? })
}

/// The types and contents of ISO BMFF boxes, which must fill the bytes exactly.
fn boxes(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let (kind, content) = (rest.get(4..8)?, rest.get(8..length)?);
        found.push((kind, content));
        rest = &rest[length..];
    }
    Some(found)
}

fn parse_gif(bytes: &[u8]) -> Option<ImageHeader> {
    if !bytes.starts_with(b"GIF89a") || bytes.last() != Some(&0x3b) {
        return None;
    }
    let size = Size { width: le_u16(bytes, 6)?, height: le_u16(bytes, 8)? };
    let table = |flags: u8| {
        if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
    };
    let mut at = 13 + table(*bytes.get(10)?);
    let mut frames = 0;
    loop {
        match *bytes.get(at)? {
            0x21 => at += 2,
            0x2c => {
                frames += 1;
                at += 11 + table(*bytes.get(at + 9)?);
            }
            0x3b => return (frames > 0 && at + 1 == bytes.len()).then_some(ImageHeader { size, frames }),
            _ => return None,
        }
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
    }
}

fn parse_webp(bytes: &[u8]) -> Option<ImageHeader> {
    let riff = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    if !bytes.starts_with(b"RIFF") || bytes.get(8..12)? != b"WEBP" || riff + 8 != bytes.len() {
        return None;
    }
    let mut size = None;
    let (mut image_chunks, mut frame_chunks) = (0, 0);
    let mut at = 12;
    while at < bytes.len() {
        let kind = bytes.get(at..at + 4)?;
        let length = u32::from_le_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?) as usize;
        let data = bytes.get(at + 8..(at + 8).checked_add(length)?)?;
        match kind {
            b"VP8X" => {
                let edge = |at: usize| {
                    let low = data.get(at..at + 3)?;
                    Some(u32::from_le_bytes([low[0], low[1], low[2], 0]) + 1)
                };
                size = Some(Size { width: edge(4)?, height: edge(7)? });
            }
            b"VP8 " => {
                image_chunks += 1;
                let found = Size { width: le_u16(data, 6)? & 0x3fff, height: le_u16(data, 8)? & 0x3fff };
                size.get_or_insert(found);
            }
            b"VP8L" => {
                image_chunks += 1;
                let bits = u32::from_le_bytes(data.get(1..5)?.try_into().ok()?);
                size.get_or_insert(Size { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 });
            }
            b"ANMF" => frame_chunks += 1,
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    let frames = if frame_chunks > 0 { frame_chunks } else { image_chunks };
    Some(ImageHeader { size: size?, frames }).filter(|facts| facts.frames > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest possible GIF: one pixel.
    const GIF: &[u8] =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x01D\0;";
    /// The smallest lossless WebP: one pixel.
    const WEBP: &[u8] = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0";

    #[test]
    fn reads_size_and_frames() {
        let single_pixel = Some(ImageHeader { size: Size { width: 1, height: 1 }, frames: 1 });
        assert_eq!(parse(OutputFormat::Gif, GIF), single_pixel);
        assert_eq!(parse(OutputFormat::Webp, WEBP), single_pixel);
    }

    #[test]
    fn rejects_truncated_images() {
        for (format, bytes) in [(OutputFormat::Gif, GIF), (OutputFormat::Webp, WEBP)] {
            for length in 0..bytes.len() {
                assert_eq!(parse(format, &bytes[..length]), None, "{format:?} truncated to {length}");
            }
        }
        assert_eq!(parse(OutputFormat::Jpg, b"\xff\xd8\xff\xd9"), None);
    }

    #[test]
    fn picks_best_quality_within_limit() {
        let steps: Vec<usize> = (0..10).map(|step| 1000 - step * 100).collect();
        for max_bytes in 100..1100 {
            let mut tries = 0;
            let result = encode_within(&steps, max_bytes, |length| {
                tries += 1;
                Ok(vec![0; *length].into())
            });
            assert_eq!(result.unwrap().len(), (max_bytes / 100 * 100).min(1000));
            assert!(tries <= 5);
        }
        let result = encode_within(&steps, 99, |length| Ok(vec![0; *length].into()));
        assert_eq!(result, Err(ImageError::TooManyBytes { least_bytes: 100, max_bytes: 99 }));
    }

    proptest! {
        #[test]
        fn never_panics(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            for (format, magic) in [
                (OutputFormat::Jpg, b"\xff\xd8\xff".as_slice()),
                (OutputFormat::Gif, b"GIF89a"),
                (OutputFormat::Webp, b"RIFF\x08\0\0\0WEBP"),
                (OutputFormat::Png, b"\x89PNG\r\n\x1a\n"),
                (OutputFormat::Avif, b"\0\0\0\x0cftypavif"),
            ] {
                let _ = parse(format, &[magic, &tail, b"\xff\xd9"].concat());
                let _ = parse(format, &[magic, &tail, b";"].concat());
            }
        }
    }
}
