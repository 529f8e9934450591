//! Parses box headers and fields: ISO 14496-12, 4.2. Declared sizes are never trusted.

/// The four-character code of a box.
pub(super) type FourCc = [u8; 4];

/// The header of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BoxHeader {
    pub(super) kind: FourCc,
    /// Size of the header in bytes: 8 or 16.
    pub(super) header_bytes: u64,
    /// Declared size of the box in bytes, including the header: at least `header_bytes`.
    pub(super) size: u64,
}

/// Size of the longest header.
pub(super) const MAX_HEADER_BYTES: u64 = 16;

/// Parses the header of the box at the start of `bytes`, with `room` bytes until the end of its parent. `None` if it is
/// truncated or its size is smaller than its header.
pub(super) fn parse_header(bytes: &[u8], room: u64) -> Option<BoxHeader> {
    let mut fields = BoxReader(bytes);
    let short = fields.u32()?;
    let kind = fields.take_array()?;
    let (own, size) = match short {
        0 => (8, room),
        1 => (16, fields.u64()?),
        short => (8, u64::from(short)),
    };
    (size >= own).then_some(BoxHeader { kind, header_bytes: own, size })
}

/// The boxes in `bytes`, each with its body. A box that is longer than the remaining bytes is truncated.
pub(super) fn children(bytes: &[u8]) -> impl Iterator<Item = (FourCc, &[u8])> {
    marked_children(bytes).map(|(kind, body, _)| (kind, body))
}

/// Like [`children`], and whether each box is complete.
pub(super) fn marked_children(bytes: &[u8]) -> impl Iterator<Item = (FourCc, &[u8], bool)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = parse_header(rest, rest.len() as u64)?;
        let claimed = usize::try_from(head.size).unwrap_or(usize::MAX);
        let size = claimed.min(rest.len());
        let body = rest.get(head.header_bytes as usize..size)?;
        rest = rest.get(size..)?;
        Some((head.kind, body, size == claimed))
    })
}

/// The body of the first box of this type in `bytes`.
pub(super) fn child(bytes: &[u8], kind: FourCc) -> Option<&[u8]> {
    children(bytes).find(|(found, _)| *found == kind).map(|(_, body)| body)
}

/// Reads the fields of a box. Contains the bytes that have not been read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoxReader<'a>(pub(super) &'a [u8]);

impl<'a> BoxReader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take_array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take_array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take_array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.take_array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take_array().map(u64::from_be_bytes)
    }

    /// Reads a field of 64 bits in version 1 of its box and 32 bits in version 0.
    pub(super) fn versioned_uint(&mut self, version: u8) -> Option<u64> {
        if version == 1 { self.u64() } else { self.u32().map(u64::from) }
    }

    /// Reads the version and flags of a full box: ISO 14496-12, 4.2.
    pub(super) fn version_and_flags(&mut self) -> Option<(u8, u32)> {
        let word = self.u32()?;
        Some(((word >> 24) as u8, word & 0x00ff_ffff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mux::boxes::write_box;

    #[test]
    fn parses_every_header_width() {
        for (bytes, expected) in [
            (b"\0\0\0\x0cfree....".as_slice(), Some((8, 12))),
            (b"\0\0\0\0mdat", Some((8, 100))),
            (b"\0\0\0\x01mdat\0\0\0\x02\0\0\0\0", Some((16, 1 << 33))),
            (b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f", None),
            (b"\0\0\0\x07free", None),
            (b"\0\0\0\x08fre", None),
        ] {
            assert_eq!(
                parse_header(bytes, 100).map(|head| (head.header_bytes, head.size)),
                expected,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn iterates_over_truncated_boxes() {
        let bytes = b"\0\0\0\x09free.\0\0\0\x08wide\0\0\xff\xffmoovabc";
        let found: Vec<_> = children(bytes).collect();
        assert_eq!(found, [(*b"free", b".".as_slice()), (*b"wide", b""), (*b"moov", b"abc")]);
        assert_eq!(child(bytes, *b"moov"), Some(b"abc".as_slice()));
        assert_eq!(child(b"\0\0\0\0", *b"moov"), None);
    }

    #[test]
    fn roundtrips() {
        let mut out = Vec::new();
        write_box(&mut out, *b"moov", |out| write_box(out, *b"free", |out| out.push(7)));
        assert_eq!(child(child(&out, *b"moov").unwrap(), *b"free"), Some([7].as_slice()));
    }
}
