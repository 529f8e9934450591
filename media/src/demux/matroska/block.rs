//! Parses the header and the lacing of a block: RFC 9559, 10.

use crate::demux::matroska::ebml::{Vint, parse_vint};

/// The header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// The number of its track.
    pub(super) track: u64,
    /// Presentation time relative to the timestamp of the cluster, in units of the file's timestamp scale.
    pub(super) relative_timestamp: i16,
    /// The keyframe flag of a `SimpleBlock`: decoding can start here.
    pub(super) is_key: bool,
    lacing: u8,
    length: usize,
}

/// Why a block could not be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockError {
    /// More bytes are needed.
    Incomplete,
    /// Not a valid block.
    Invalid,
}

/// Parses the header of the block at the start of `bytes`.
pub(super) fn parse_header(bytes: &[u8]) -> Result<BlockHeader, BlockError> {
    let (track, length) = read_vint(bytes)?;
    let Some([high, low, flags]) = bytes.get(length..length + 3) else { return Err(BlockError::Incomplete) };
    Ok(BlockHeader {
        track,
        relative_timestamp: i16::from_be_bytes([*high, *low]),
        is_key: flags & 0x80 != 0,
        lacing: flags >> 1 & 3,
        length: length + 3,
    })
}

/// Offsets, relative to the start of the block, and sizes of the frames in a block of `total` bytes. `bytes` contains
/// the buffered bytes from its start.
pub(super) fn frame_ranges(
    header: &BlockHeader,
    bytes: &[u8],
    total: u64,
) -> Result<Vec<(u64, u64)>, BlockError> {
    const XIPH: u8 = 1;
    const FIXED: u8 = 2;
    if header.lacing == 0 {
        let start = header.length as u64;
        return Ok(vec![(start, total.checked_sub(start).ok_or(BlockError::Invalid)?)]);
    }
    let count = usize::from(*bytes.get(header.length).ok_or(BlockError::Incomplete)?) + 1;
    let mut at = header.length + 1;
    // All sizes except the last, which is the rest.
    let mut sizes = Vec::with_capacity(count);
    match header.lacing {
        FIXED => {
            let rest = total.checked_sub(at as u64).ok_or(BlockError::Invalid)?;
            if rest % count as u64 != 0 {
                return Err(BlockError::Invalid);
            }
            sizes.resize(count - 1, rest / count as u64);
        }
        XIPH => {
            for _ in 1..count {
                let run = bytes.get(at..).unwrap_or_default().iter().take_while(|byte| **byte == 255).count();
                let last = *bytes.get(at + run).ok_or(BlockError::Incomplete)?;
                sizes.push(run as u64 * 255 + u64::from(last));
                at += run + 1;
            }
        }
        _ => {
            let mut size = 0_i64;
            for index in 1..count {
                let rest = bytes.get(at..).ok_or(BlockError::Incomplete)?;
                let (value, length) = read_vint(rest)?;
                let value = i64::try_from(value).map_err(|_| BlockError::Invalid)?;
                // After the first, sizes are differences, with an offset of half the range of their VINT.
                size = if index == 1 { value } else { size + value - ((1 << (7 * length - 1)) - 1) };
                sizes
                    .push(u64::try_from(size).ok().filter(|size| *size <= total).ok_or(BlockError::Invalid)?);
                at += length;
            }
        }
    }
    let mut start = at as u64;
    let mut frames = Vec::with_capacity(count);
    for size in sizes {
        frames.push((start, size));
        start = start.checked_add(size).filter(|start| *start <= total).ok_or(BlockError::Invalid)?;
    }
    frames.push((start, total.checked_sub(start).ok_or(BlockError::Invalid)?));
    Ok(frames)
}

fn read_vint(bytes: &[u8]) -> Result<(u64, usize), BlockError> {
    match parse_vint(bytes) {
        Vint::Complete { value, length } => Ok((value, length)),
        Vint::Incomplete => Err(BlockError::Incomplete),
        Vint::Invalid => Err(BlockError::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], total: u64, expected: Result<&[(u64, u64)], BlockError>) {
        let found = parse_header(bytes).and_then(|header| frame_ranges(&header, bytes, total));
        assert_eq!(found.as_deref().map_err(|trouble| *trouble), expected, "{bytes:x?}");
    }

    #[test]
    fn parses_header() {
        let header = parse_header(&[0x40, 0x81, 0xff, 0xfe, 0x80]).unwrap();
        assert_eq!((header.track, header.relative_timestamp, header.is_key), (129, -2, true));
        check(&[0x81, 0, 0], 9, Err(BlockError::Incomplete));
        check(&[0x00, 0, 0, 0], 9, Err(BlockError::Invalid));
    }

    #[test]
    fn splits_frames_of_every_lacing() {
        check(&[0x81, 0, 0, 0], 100, Ok(&[(4, 96)]));
        check(&[0x81, 0, 0, 0], 3, Err(BlockError::Invalid));
        check(&[0x81, 0, 0, 0x04, 2], 5 + 30, Ok(&[(5, 10), (15, 10), (25, 10)]));
        check(&[0x81, 0, 0, 0x04, 2], 5 + 31, Err(BlockError::Invalid));
        check(&[0x81, 0, 0, 0x02, 2, 255, 1, 3], 8 + 300, Ok(&[(8, 256), (264, 3), (267, 41)]));
        check(&[0x81, 0, 0, 0x02, 2, 255, 255], 8 + 300, Err(BlockError::Incomplete));
        check(&[0x81, 0, 0, 0x02, 1, 9], 6 + 8, Err(BlockError::Invalid));
        // The example of RFC 9559, 10.3.3: 800, 500 and 1000 bytes.
        check(
            &[0x81, 0, 0, 0x06, 2, 0x43, 0x20, 0x5e, 0xd3],
            9 + 2300,
            Ok(&[(9, 800), (809, 500), (1309, 1000)]),
        );
        check(&[0x81, 0, 0, 0x06, 2, 0x82, 0x80], 7 + 9, Err(BlockError::Invalid));
    }
}
