//! Parses EBML: element headers from buffered bytes of a source, and values from complete bodies. RFC 8794. Elements
//! are read level by level without recursion, so that the nesting depth is limited by the code.

use std::ops::Range;

use crate::demux::buffer::SparseBuffer;
use crate::demux::error::ReadError;

/// The longest header of an element: four bytes of ID, eight of size (RFC 8794, 5 and 6).
const MAX_HEADER_BYTES: usize = 12;

/// An element in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// Its ID with marker bits, as printed in the specification.
    pub(super) id: u32,
    /// Offset of its body.
    pub(super) body: u64,
    /// The length of its body; `None` if it is unknown.
    pub(super) size: Option<u64>,
}

impl Element {
    /// The byte range of its body, up to `limit`.
    pub(super) fn range(&self, limit: u64) -> Range<u64> {
        let end = self.size.map_or(limit, |size| self.body.saturating_add(size)).min(limit);
        self.body.min(end)..end
    }
}

/// The result of reading an element header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementRead {
    /// The header of an element.
    Element(Element),
    /// The bytes from this offset are needed and are not buffered.
    Gap(u64),
    /// The end of the parent element.
    End,
    /// No element: the bytes are damaged, or end within a header.
    Damaged,
}

/// Reads the header of the element at `at`, in a parent that ends at `limit`.
pub(super) fn read_element(buffer: &SparseBuffer, at: u64, limit: u64) -> ElementRead {
    // If the budget is exhausted, every walk ends and its result is discarded.
    if at >= limit || buffer.budget().is_exhausted() {
        return ElementRead::End;
    }
    let mut bytes = [0; MAX_HEADER_BYTES];
    let max_bytes =
        (limit.min(buffer.total_bytes()).saturating_sub(at)).min(MAX_HEADER_BYTES as u64) as usize;
    let length = buffer.peek(at, &mut bytes[..max_bytes]);
    match parse_header(&bytes[..length]) {
        ElementHeader::Complete { id, length, size } => {
            ElementRead::Element(Element { id, body: at + length as u64, size })
        }
        ElementHeader::Incomplete if length < max_bytes => ElementRead::Gap(at + length as u64),
        ElementHeader::Incomplete | ElementHeader::Invalid => ElementRead::Damaged,
    }
}

/// Reads the body of an element.
///
/// # Errors
/// [`ReadError::NeedMore`] if it is not buffered; a rejection if the source ends before it does.
pub(super) fn read_body(buffer: &SparseBuffer, element: &Element) -> Result<bytes::Bytes, ReadError> {
    buffer.get(element.body..element.body.saturating_add(element.size.unwrap_or(0)))
}

enum ElementHeader {
    Complete { id: u32, length: usize, size: Option<u64> },
    Incomplete,
    Invalid,
}

fn parse_header(bytes: &[u8]) -> ElementHeader {
    let Some(first) = bytes.first() else { return ElementHeader::Incomplete };
    let id_length = first.leading_zeros() as usize + 1;
    if id_length > 4 {
        return ElementHeader::Invalid;
    }
    let Some(id) = bytes.get(..id_length) else { return ElementHeader::Incomplete };
    match parse_vint(&bytes[id_length..]) {
        Vint::Complete { value, length } => {
            let size = (value != unknown_size(length)).then_some(value);
            ElementHeader::Complete { id: parse_uint(id) as u32, length: id_length + length, size }
        }
        Vint::Incomplete => ElementHeader::Incomplete,
        Vint::Invalid => ElementHeader::Invalid,
    }
}

/// A variable-length number, RFC 8794, 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vint {
    /// Its value without the marker, and its length in bytes.
    Complete { value: u64, length: usize },
    /// More bytes are needed.
    Incomplete,
    /// The first byte is zero, which is invalid.
    Invalid,
}

/// Parses the number at the start of `bytes`.
pub(super) fn parse_vint(bytes: &[u8]) -> Vint {
    let Some(first) = bytes.first() else { return Vint::Incomplete };
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return Vint::Invalid;
    }
    match bytes.get(..length) {
        Some(whole) => Vint::Complete { value: parse_uint(whole) & unknown_size(length), length },
        None => Vint::Incomplete,
    }
}

/// The value that means an unknown size, in a number of that many bytes: all ones. RFC 8794, 6.2.
fn unknown_size(length: usize) -> u64 {
    (1 << (7 * length)) - 1
}

/// Parses an unsigned integer. One that is too long is read as 0.
pub(super) fn parse_uint(body: &[u8]) -> u64 {
    if body.len() > 8 {
        return 0;
    }
    body.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// Parses a float: four or eight bytes, or an empty body for 0.
pub(super) fn parse_float(body: &[u8]) -> f64 {
    if let Ok(four) = <[u8; 4]>::try_from(body) {
        f64::from(f32::from_be_bytes(four))
    } else if let Ok(eight) = <[u8; 8]>::try_from(body) {
        f64::from_be_bytes(eight)
    } else {
        0.0
    }
}

/// Parses a string: up to the first zero byte (RFC 8794, 7.4).
pub(super) fn parse_string(body: &[u8]) -> &[u8] {
    body.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The children in a complete body: IDs and bodies. Stops at the first that is invalid. A child that extends past the
/// end of its parent is truncated.
pub(super) fn children(body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let ElementHeader::Complete { id, length, size } = parse_header(rest) else { return None };
        let after = rest.get(length..)?;
        let size =
            size.map_or(after.len(), |size| usize::try_from(size).unwrap_or(usize::MAX)).min(after.len());
        let (child, next) = after.split_at(size);
        rest = next;
        Some((id, child))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[track_caller]
    fn check(bytes: &'static [u8], expected: ElementRead) {
        let mut buffer = SparseBuffer::new(bytes.len() as u64);
        buffer.insert(0, &Bytes::from_static(bytes));
        assert_eq!(read_element(&buffer, 0, bytes.len() as u64), expected, "{bytes:x?}");
    }

    fn element(id: u32, body: u64, size: impl Into<Option<u64>>) -> ElementRead {
        ElementRead::Element(Element { id, body, size: size.into() })
    }

    #[test]
    fn parses_headers_of_every_length() {
        check(&[0xa3, 0x81], element(0xa3, 2, 1));
        check(&[0x42, 0x82, 0x40, 0x02], element(0x4282, 4, 2));
        check(&[0x2a, 0xd7, 0xb1, 0x83], element(0x002a_d7b1, 4, 3));
        check(&[0x1f, 0x43, 0xb6, 0x75, 0x01, 0, 0, 0, 0, 0, 0, 9], element(0x1f43_b675, 12, 9));
        check(&[0x1f, 0x43, 0xb6, 0x75, 0xff], element(0x1f43_b675, 5, None));
        check(
            &[0x1f, 0x43, 0xb6, 0x75, 0x01, 255, 255, 255, 255, 255, 255, 255],
            element(0x1f43_b675, 12, None),
        );
    }

    #[test]
    fn distinguishes_damage_from_missing_bytes() {
        check(&[], ElementRead::End);
        check(&[0x08, 0x81], ElementRead::Damaged);
        check(&[0xa3, 0x00], ElementRead::Damaged);
        check(&[0x1f, 0x43], ElementRead::Damaged);
        let mut buffer = SparseBuffer::new(100);
        buffer.insert(0, &Bytes::from_static(&[0x1f, 0x43]));
        assert_eq!(read_element(&buffer, 0, 100), ElementRead::Gap(2));
    }

    #[test]
    fn parses_values_of_every_length() {
        assert_eq!(parse_uint(&[1, 0]), 256);
        assert_eq!(parse_uint(&[]), 0);
        assert_eq!(parse_uint(&[1; 9]), 0);
        assert!((parse_float(&1.5_f32.to_be_bytes()) - 1.5).abs() < f64::EPSILON);
        assert!((parse_float(&2.5_f64.to_be_bytes()) - 2.5).abs() < f64::EPSILON);
        assert!(parse_float(&[1, 2]).abs() < f64::EPSILON);
        assert_eq!(parse_string(b"webm\0\0"), b"webm");
    }

    #[test]
    fn children_end_with_their_parent() {
        let body = [0xd7, 0x81, 1, 0xec, 0x85, 0, 0];
        assert_eq!(children(&body).collect::<Vec<_>>(), [(0xd7, &[1][..]), (0xec, &[0, 0][..])]);
        assert_eq!(children(&[0x00, 0x81]).count(), 0);
    }
}
