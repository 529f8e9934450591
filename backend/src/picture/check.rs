//! Decides whether an encoder's output is a picture of the format and size that was asked for, by its bytes. Pure.

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

/// Reads a whole picture; none if it is no complete picture of that format.
pub fn facts(format: Format, bytes: &[u8]) -> Option<Facts> {
    match format {
        Format::Jpg => jpeg(bytes),
        Format::Gif => gif(bytes),
        Format::Webp => webp(bytes),
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
        let [0xff, marker] = *bytes.get(at..at + 2)? else { return None };
        // Start of frame: baseline or progressive.
        if matches!(marker, 0xc0..=0xc2) {
            let size = Size { height: big(bytes, at + 5)?, width: big(bytes, at + 7)? };
            return Some(Facts { size, frames: 1 });
        }
        at += 2 + big(bytes, at + 2)? as usize;
    }
}

fn gif(bytes: &[u8]) -> Option<Facts> {
    if !bytes.starts_with(b"GIF89a") || bytes.last() != Some(&0x3b) {
        return None;
    }
    let size = Size { width: little(bytes, 6)?, height: little(bytes, 8)? };
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
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

    proptest! {
        #[test]
        fn any_bytes_are_survived(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            for (format, magic) in [
                (Format::Jpg, b"\xff\xd8\xff".as_slice()),
                (Format::Gif, b"GIF89a"),
                (Format::Webp, b"RIFF\x08\0\0\0WEBP"),
            ] {
                let _ = facts(format, &[magic, &tail, b"\xff\xd9"].concat());
                let _ = facts(format, &[magic, &tail, b";"].concat());
            }
        }
    }
}
