//! Writes and reads the chunks of a WebP file (RFC 9649, section 2.3 to 2.7). Does no IO.

use crate::size::Size;

/// `VP8X`: there is an ICC profile.
pub(super) const ICC: u8 = 0x20;
/// `VP8X`: some pixels may be transparent.
pub(super) const ALPHA: u8 = 0x10;
/// `VP8X`: the image is animated.
pub(super) const ANIMATION: u8 = 0x02;

/// Writes a file.
#[derive(Debug)]
pub(super) struct RiffWriter {
    bytes: Vec<u8>,
}

/// A 24-bit number in little-endian order.
pub(super) fn u24_le(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

impl RiffWriter {
    /// Starts an extended file (2.7) of this size, whose sides were checked.
    pub(super) fn new(size: Size, flags: u8) -> Self {
        let mut file = Self { bytes: b"RIFF\0\0\0\0WEBP".to_vec() };
        let [width, height] = [size.width, size.height].map(|side| u24_le(side.saturating_sub(1)));
        file.write_chunk(*b"VP8X", &[[flags, 0, 0, 0].as_slice(), &width, &height].concat());
        file
    }

    /// Appends a chunk.
    pub(super) fn write_chunk(&mut self, kind: [u8; 4], data: &[u8]) {
        self.bytes.extend(kind);
        self.bytes.extend((data.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(data);
        if data.len() % 2 == 1 {
            self.bytes.push(0);
        }
    }

    /// Appends complete chunks.
    pub(super) fn write_raw(&mut self, chunks: &[u8]) {
        self.bytes.extend_from_slice(chunks);
    }

    /// Returns the bytes of the file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = (self.bytes.len() as u32).saturating_sub(8).to_le_bytes();
        self.bytes[4..8].copy_from_slice(&length);
        self.bytes
    }
}

/// The image chunks of a file: `ALPH`, `VP8 ` and `VP8L`.
pub(super) fn image_chunks(file: &[u8]) -> Option<Vec<u8>> {
    let mut rest = file.get(12..)?;
    let mut chunks = Vec::with_capacity(file.len());
    while let Some(header) = rest.get(..8) {
        let length = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?) as usize;
        let padded_len = 8_usize.checked_add(length)?.checked_next_multiple_of(2)?;
        let chunk = rest.get(..padded_len)?;
        if matches!(&header[..4], b"ALPH" | b"VP8 " | b"VP8L") {
            chunks.extend_from_slice(chunk);
        }
        rest = &rest[padded_len..];
    }
    (!chunks.is_empty()).then_some(chunks)
}
