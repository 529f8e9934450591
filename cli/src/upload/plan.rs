//! How a file is split into parts, and which parts are left to send. Pure.

use glimpse_contract::limits;

/// The largest file that is sent in one request unless asked otherwise, in bytes. It cannot be resumed.
pub(crate) const MAX_WHOLE_BYTES: u64 = 16 * MIB;
/// The smallest part, except for the last one, in bytes: large enough that few parts are signed, small enough that
/// little is sent again after an interruption.
const MIN_PART_BYTES: u64 = 16 * MIB;
const MIB: u64 = 1024 * 1024;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The number, from 1.
    pub(crate) number: u64,
    /// Where it begins, in bytes.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) bytes: u64,
}

/// A part that the storage has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredPart {
    /// The number.
    pub(crate) number: u64,
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// Its ETag.
    pub(crate) etag: String,
}

/// The size of the parts of a file of this length, in bytes: whole MiB, so that there are at most 10,000 parts.
pub(crate) fn part_bytes(file_bytes: u64) -> u64 {
    file_bytes.div_ceil(limits::MAX_PARTS).next_multiple_of(MIB).max(MIN_PART_BYTES)
}

/// All parts of a file.
pub(crate) fn parts(file_bytes: u64, part_bytes: u64) -> Vec<Part> {
    let count = file_bytes.div_ceil(part_bytes.max(1));
    (0..count)
        .map(|index| {
            let offset = index * part_bytes;
            Part { number: index + 1, offset, bytes: part_bytes.min(file_bytes - offset) }
        })
        .collect()
}

/// The parts that the storage does not have. A stored part of another length is sent again.
pub(crate) fn missing(parts: &[Part], stored: &[StoredPart]) -> Vec<Part> {
    let is_stored =
        |part: &Part| stored.iter().any(|found| (found.number, found.bytes) == (part.number, part.bytes));
    parts.iter().filter(|part| !is_stored(part)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file() {
        for bytes in [1, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 2_000_000_000, 200_000_000_001] {
            let parts = parts(bytes, part_bytes(bytes));
            assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), bytes);
            let mut offset = 0;
            for (index, part) in parts.iter().enumerate() {
                assert_eq!((part.number, part.offset), (index as u64 + 1, offset), "{bytes}");
                assert!(part.bytes >= limits::MIN_PART_BYTES || part.number == parts.len() as u64);
                offset += part.bytes;
            }
        }
        assert_eq!(parts(0, 16 * MIB), []);
    }

    #[test]
    fn largest_file_has_at_most_10_000_parts() {
        for bytes in [160_000 * MIB, 160_000 * MIB + 1, limits::MAX_MULTIPART_UPLOAD_BYTES] {
            let size = part_bytes(bytes);
            assert!(parts(bytes, size).len() as u64 <= limits::MAX_PARTS, "{bytes}");
            assert!(size.is_multiple_of(MIB) && size <= 5 * 1024 * MIB, "{bytes}: {size}");
        }
        assert_eq!(part_bytes(2_000_000_000), 16 * MIB);
    }

    #[test]
    fn stored_parts_are_not_sent_again() {
        let all = parts(40 * MIB, 16 * MIB);
        let stored = |number, bytes| StoredPart { number, bytes, etag: "\"e\"".into() };
        let numbers = |stored: &[StoredPart]| -> Vec<u64> {
            missing(&all, stored).iter().map(|part| part.number).collect()
        };
        assert_eq!(numbers(&[]), [1, 2, 3]);
        assert_eq!(numbers(&[stored(2, 16 * MIB), stored(3, 8 * MIB)]), [1]);
        assert_eq!(
            numbers(&[stored(1, 5 * MIB), stored(9, 16 * MIB)]),
            [1, 2, 3],
            "another size, another file"
        );
    }
}
