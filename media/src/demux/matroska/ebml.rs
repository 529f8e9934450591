//! Decides how EBML is read: element headers out of what is known of a source, values out of whole bodies.
//! RFC 8794. The tree is walked by hand, level by level, so that nothing nests deeper than the code does.

use std::ops::Range;

use crate::demux::buffer::{Fault, Known};

/// The longest header of an element: four bytes of ID, eight of size (RFC 8794, 5 and 6).
const MAX_HEADER: usize = 12;

/// An element in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// Its ID, marker bits and all, as the specification prints it.
    pub(super) id: u32,
    /// Where its body begins.
    pub(super) body: u64,
    /// The length of its body; none if it is unknown.
    pub(super) size: Option<u64>,
}

impl Element {
    /// Where its body lies, as far as `limit`.
    pub(super) fn range(&self, limit: u64) -> Range<u64> {
        let end = self.size.map_or(limit, |size| self.body.saturating_add(size)).min(limit);
        self.body.min(end)..end
    }
}

/// What stands at a place where an element is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// An element's header.
    Element(Element),
    /// The bytes from here on are not known, and are needed to tell.
    Gap(u64),
    /// Nothing: the place where elements end.
    End,
    /// No element: the bytes are damaged, or end within a header.
    Damaged,
}

/// Looks at the element whose header begins at `at`, in a parent that ends at `limit`.
pub(super) fn look(known: &Known, at: u64, limit: u64) -> Seen {
    // Every walk ends where there is no budget left, and then its answer counts for nothing.
    if at >= limit || known.budget().is_over() {
        return Seen::End;
    }
    let mut bytes = [0; MAX_HEADER];
    let most = (limit.min(known.total()).saturating_sub(at)).min(MAX_HEADER as u64) as usize;
    let length = known.peek(at, &mut bytes[..most]);
    match header(&bytes[..length]) {
        Header::Whole { id, length, size } => Seen::Element(Element { id, body: at + length as u64, size }),
        Header::Short if length < most => Seen::Gap(at + length as u64),
        Header::Short | Header::Bad => Seen::Damaged,
    }
}

/// The bytes of an element's body.
///
/// # Errors
/// [`Fault::Missing`] if they are not known; a refusal if the source ends before they do.
pub(super) fn body(known: &Known, element: &Element) -> Result<bytes::Bytes, Fault> {
    known.bytes(element.body..element.body.saturating_add(element.size.unwrap_or(0)))
}

enum Header {
    Whole { id: u32, length: usize, size: Option<u64> },
    Short,
    Bad,
}

fn header(bytes: &[u8]) -> Header {
    let Some(first) = bytes.first() else { return Header::Short };
    let id_length = first.leading_zeros() as usize + 1;
    if id_length > 4 {
        return Header::Bad;
    }
    let Some(id) = bytes.get(..id_length) else { return Header::Short };
    match vint(&bytes[id_length..]) {
        Vint::Whole { value, length } => {
            let size = (value != unknown(length)).then_some(value);
            Header::Whole { id: uint(id) as u32, length: id_length + length, size }
        }
        Vint::Short => Header::Short,
        Vint::Bad => Header::Bad,
    }
}

/// A number of variable length, RFC 8794, 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vint {
    /// Its value without the marker, and how many bytes it takes.
    Whole { value: u64, length: usize },
    /// More bytes are needed.
    Short,
    /// No such number begins with a zero byte.
    Bad,
}

/// Reads the number that `bytes` begin with.
pub(super) fn vint(bytes: &[u8]) -> Vint {
    let Some(first) = bytes.first() else { return Vint::Short };
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return Vint::Bad;
    }
    match bytes.get(..length) {
        Some(whole) => Vint::Whole { value: uint(whole) & unknown(length), length },
        None => Vint::Short,
    }
}

/// All ones in the bits of a number of that many bytes: an unknown size, RFC 8794, 6.2.
fn unknown(length: usize) -> u64 {
    (1 << (7 * length)) - 1
}

/// An unsigned integer's body. One that is too long is read as 0.
pub(super) fn uint(body: &[u8]) -> u64 {
    if body.len() > 8 {
        return 0;
    }
    body.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// A float's body: four or eight bytes, or none for 0.
pub(super) fn float(body: &[u8]) -> f64 {
    if let Ok(four) = <[u8; 4]>::try_from(body) {
        f64::from(f32::from_be_bytes(four))
    } else if let Ok(eight) = <[u8; 8]>::try_from(body) {
        f64::from_be_bytes(eight)
    } else {
        0.0
    }
}

/// A string's body: up to the first zero byte (RFC 8794, 7.4).
pub(super) fn text(body: &[u8]) -> &[u8] {
    body.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The children in a body that is known whole: IDs with bodies. Ends at the first that does not parse; one that
/// reaches over its parent's end is cut there.
pub(super) fn children(body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let Header::Whole { id, length, size } = header(rest) else { return None };
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
    fn check(bytes: &'static [u8], expected: Seen) {
        let mut known = Known::new(bytes.len() as u64);
        known.learn(0, &Bytes::from_static(bytes));
        assert_eq!(look(&known, 0, bytes.len() as u64), expected, "{bytes:x?}");
    }

    fn element(id: u32, body: u64, size: impl Into<Option<u64>>) -> Seen {
        Seen::Element(Element { id, body, size: size.into() })
    }

    #[test]
    fn reads_headers_of_every_length() {
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
    fn tells_damage_from_what_is_not_known() {
        check(&[], Seen::End);
        check(&[0x08, 0x81], Seen::Damaged);
        check(&[0xa3, 0x00], Seen::Damaged);
        check(&[0x1f, 0x43], Seen::Damaged);
        let mut known = Known::new(100);
        known.learn(0, &Bytes::from_static(&[0x1f, 0x43]));
        assert_eq!(look(&known, 0, 100), Seen::Gap(2));
    }

    #[test]
    fn values_of_every_length_are_read() {
        assert_eq!(uint(&[1, 0]), 256);
        assert_eq!(uint(&[]), 0);
        assert_eq!(uint(&[1; 9]), 0);
        assert!((float(&1.5_f32.to_be_bytes()) - 1.5).abs() < f64::EPSILON);
        assert!((float(&2.5_f64.to_be_bytes()) - 2.5).abs() < f64::EPSILON);
        assert!(float(&[1, 2]).abs() < f64::EPSILON);
        assert_eq!(text(b"webm\0\0"), b"webm");
    }

    #[test]
    fn children_end_with_their_parent() {
        let body = [0xd7, 0x81, 1, 0xec, 0x85, 0, 0];
        assert_eq!(children(&body).collect::<Vec<_>>(), [(0xd7, &[1][..]), (0xec, &[0, 0][..])]);
        assert_eq!(children(&[0x00, 0x81]).count(), 0);
    }
}
