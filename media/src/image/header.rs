//! Decides whether frames are what they are said to be, and whether an encoder's output is a picture of the format and
//! size that was asked for, by its bytes. Pure.

use bytes::Bytes;
use glimpse_contract::Format;

use crate::size::Size;

/// What a picture's own bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its size.
    pub size: Size,
    /// How many frames it has, at least one.
    pub frames: u32,
}

/// Why frames did not become a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// There are none.
    #[error("no frame to encode")]
    NoFrames,
    /// A frame does not have three bytes for each pixel.
    #[error("a frame of {found} bytes where its size says {expected}")]
    FrameLength {
        /// Its own bytes.
        found: usize,
        /// Those that its size says.
        expected: usize,
    },
    /// The format cannot hold a picture of that size, or a picture has no pixels.
    #[error("no picture of this format is {width}x{height}")]
    Sides {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
    },
    /// The smallest that can be made is larger than what was asked for.
    #[error("{least_bytes} bytes is the least, and {max_bytes} are allowed")]
    DoesNotFit {
        /// The smallest picture's bytes.
        least_bytes: usize,
        /// What was asked for.
        max_bytes: usize,
    },
    /// The encoder has its own reason.
    #[error("the encoder refused: {0}")]
    Encoder(String),
}

/// Whether there are frames, and all of this size.
pub fn frames<F: AsRef<[u8]>>(frames: &[F], size: Size) -> Result<(), PictureError> {
    if frames.is_empty() {
        return Err(PictureError::NoFrames);
    }
    let expected = size.frame_bytes();
    match frames.iter().map(|frame| frame.as_ref().len()).find(|found| *found != expected) {
        Some(found) => Err(PictureError::FrameLength { found, expected }),
        None => Ok(()),
    }
}

/// The sides of a picture of at most `most` pixels each way, at least one.
pub(crate) fn sides(size: Size, most: u16) -> Result<(u16, u16), PictureError> {
    let held = |side: u32| u16::try_from(side).ok().filter(|side| (1..=most).contains(side));
    match (held(size.width), held(size.height)) {
        (Some(width), Some(height)) => Ok((width, height)),
        _ => Err(PictureError::Sides { width: size.width, height: size.height }),
    }
}

/// Makes a picture by the first of `steps`, from the finest to the smallest, that is at most `max_bytes` long: tries the
/// finest, and halves the rest.
pub(crate) fn within<S>(
    steps: &[S],
    max_bytes: usize,
    mut make: impl FnMut(&S) -> Result<Bytes, PictureError>,
) -> Result<Bytes, PictureError> {
    let mut least_bytes = usize::MAX;
    let mut best = None;
    let (mut low, mut high) = (0, steps.len());
    let mut next = 0;
    while let Some(step) = steps.get(next).filter(|_| low < high) {
        let bytes = make(step)?;
        least_bytes = least_bytes.min(bytes.len());
        if bytes.len() <= max_bytes {
            best = Some(bytes);
            high = next;
        } else {
            low = next + 1;
        }
        next = usize::midpoint(low, high);
    }
    best.ok_or(PictureError::DoesNotFit { least_bytes, max_bytes })
}

/// Reads a whole picture; none if it is no complete picture of that format.
pub fn facts(format: Format, bytes: &[u8]) -> Option<Facts> {
    match format {
        Format::Jpg => jpeg(bytes),
        Format::Gif => gif(bytes),
        Format::Webp => webp(bytes),
        Format::Png => png(bytes),
        Format::Vtt | Format::Json => None,
    }
}

fn big(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn little(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn jpeg(bytes: &[u8]) -> Option<Facts> {
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
            let size = Size { height: big(bytes, at + 5)?, width: big(bytes, at + 7)? };
            return Some(Facts { size, frames: 1 });
        }
        at += 2 + big(bytes, at + 2)? as usize;
    }
}

/// <https://www.w3.org/TR/png-3/#5DataRep>
fn png(bytes: &[u8]) -> Option<Facts> {
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
            return (at == bytes.len()).then_some(Facts { size: size?, frames: 1 });
        }
    }
}

fn gif(bytes: &[u8]) -> Option<Facts> {
    if !bytes.starts_with(b"GIF89a") || bytes.last() != Some(&0x3b) {
        return None;
    }
    let size = Size { width: little(bytes, 6)?, height: little(bytes, 8)? };
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
            0x3b => return (frames > 0 && at + 1 == bytes.len()).then_some(Facts { size, frames }),
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

fn webp(bytes: &[u8]) -> Option<Facts> {
    let riff = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    if !bytes.starts_with(b"RIFF") || bytes.get(8..12)? != b"WEBP" || riff + 8 != bytes.len() {
        return None;
    }
    let mut size = None;
    let (mut stills, mut moving) = (0, 0);
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
                stills += 1;
                let found = Size { width: little(data, 6)? & 0x3fff, height: little(data, 8)? & 0x3fff };
                size.get_or_insert(found);
            }
            b"VP8L" => {
                stills += 1;
                let bits = u32::from_le_bytes(data.get(1..5)?.try_into().ok()?);
                size.get_or_insert(Size { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 });
            }
            b"ANMF" => moving += 1,
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    let frames = if moving > 0 { moving } else { stills };
    Some(Facts { size: size?, frames }).filter(|facts| facts.frames > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest GIF there is: one pixel.
    const GIF: &[u8] =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x01D\0;";
    /// The smallest lossless WebP: one pixel.
    const WEBP: &[u8] = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0";

    #[test]
    fn reads_size_and_frames() {
        let one = Some(Facts { size: Size { width: 1, height: 1 }, frames: 1 });
        assert_eq!(facts(Format::Gif, GIF), one);
        assert_eq!(facts(Format::Webp, WEBP), one);
    }

    #[test]
    fn a_cut_picture_is_none() {
        for (format, bytes) in [(Format::Gif, GIF), (Format::Webp, WEBP)] {
            for length in 0..bytes.len() {
                assert_eq!(facts(format, &bytes[..length]), None, "{format:?} cut to {length}");
            }
        }
        assert_eq!(facts(Format::Jpg, b"\xff\xd8\xff\xd9"), None);
    }

    #[test]
    fn the_finest_that_fits_is_taken() {
        let steps: Vec<usize> = (0..10).map(|step| 1000 - step * 100).collect();
        for max_bytes in 100..1100 {
            let mut tries = 0;
            let made = within(&steps, max_bytes, |length| {
                tries += 1;
                Ok(vec![0; *length].into())
            });
            assert_eq!(made.unwrap().len(), (max_bytes / 100 * 100).min(1000));
            assert!(tries <= 5);
        }
        let made = within(&steps, 99, |length| Ok(vec![0; *length].into()));
        assert_eq!(made, Err(PictureError::DoesNotFit { least_bytes: 100, max_bytes: 99 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            for (format, magic) in [
                (Format::Jpg, b"\xff\xd8\xff".as_slice()),
                (Format::Gif, b"GIF89a"),
                (Format::Webp, b"RIFF\x08\0\0\0WEBP"),
                (Format::Png, b"\x89PNG\r\n\x1a\n"),
            ] {
                let _ = facts(format, &[magic, &tail, b"\xff\xd9"].concat());
                let _ = facts(format, &[magic, &tail, b";"].concat());
            }
        }
    }
}
