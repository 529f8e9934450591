//! Finds the index of a file among the top-level boxes, with as few round trips as possible.

use std::ops::Range;

use glimpse_contract::Code;

use crate::demux::buffer::SparseBuffer;
use crate::demux::error::ReadError;
use crate::demux::mp4::boxes::{self, BoxHeader, FourCc, MAX_HEADER_BYTES};

/// The longest index that is read: 64 MiB, about 20 hours of video.
pub(super) const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;
/// The rest of the file after the media data is fetched completely up to this size: the index of a two-hour video.
const TAIL_BYTES: u64 = 8 * 1024 * 1024;
/// How much is fetched to read a distant header and the bytes after it.
pub(super) const PEEK_BYTES: u64 = 16 * 1024;
/// The most boxes that are skipped, and the most of them that may cost a round trip.
const MAX_BOXES: usize = 20_000;
const MAX_JUMPS: usize = 64;

/// How much of the beginning of the file is prefetched.
const PREFETCHED_BYTES: u64 = 64 * 1024;

/// The position of the movie, and the boxes before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopLevelBoxes {
    /// The body of `moov`.
    pub(super) moov: Range<u64>,
    /// Whether the file ends within it.
    pub(super) is_truncated: bool,
    /// The top-level boxes before it, which may contain the index of a fragmented file.
    pub(super) preceding: Vec<(FourCc, Range<u64>)>,
}

/// Finds and fetches `moov`.
///
/// # Errors
/// The bytes that are missing; [`Code::Truncated`] if there is no movie, [`Code::NotAVideo`] if the file contains still
/// images instead.
pub(super) fn find_moov(buffer: &SparseBuffer) -> Result<TopLevelBoxes, ReadError> {
    let mut preceding = Vec::new();
    let mut at = 0;
    let mut jumps = 0;
    for _ in 0..MAX_BOXES {
        if at >= PREFETCHED_BYTES {
            jumps += 1;
        }
        if jumps > MAX_JUMPS {
            return Err(ReadError::Unsupported("too many round trips to find the movie box"));
        }
        let rest = buffer.total_bytes().saturating_sub(at);
        let Some(head) = header_at(buffer, at, if rest <= TAIL_BYTES { rest } else { PEEK_BYTES })? else {
            return Err(ReadError::Rejected(if is_image_file(buffer, &preceding)? {
                Code::NotAVideo
            } else {
                Code::Truncated
            }));
        };
        let body = at + head.header_bytes..at.saturating_add(head.size).min(buffer.total_bytes());
        if &head.kind == b"moov" {
            if body.end - body.start > MAX_INDEX_BYTES {
                return Err(ReadError::Unsupported("movie box is too large"));
            }
            buffer.get(body.clone())?;
            let is_truncated = at.saturating_add(head.size) > buffer.total_bytes();
            return Ok(TopLevelBoxes { moov: body, is_truncated, preceding });
        }
        preceding.push((head.kind, at..body.end));
        at = body.end;
    }
    Err(ReadError::Unsupported("too many top-level boxes"))
}

/// Whether these top-level boxes are those of an image file (HEIC, AVIF), which has a `meta` box with the handler
/// `pict` instead of `moov`: ISO 14496-12, 8.11.1 and ISO 23008-12, 6.2. A video may have a `meta` box with tags.
fn is_image_file(buffer: &SparseBuffer, boxes: &[(FourCc, Range<u64>)]) -> Result<bool, ReadError> {
    for (_, place) in boxes.iter().filter(|(kind, _)| kind == b"meta") {
        let begin = buffer.get(place.start..place.end.min(place.start + PEEK_BYTES))?;
        // The handler follows the header and the version.
        let handler = begin.get(12..).and_then(|children| boxes::child(children, *b"hdlr"));
        if handler.and_then(|body| body.get(8..12)) == Some(b"pict") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The header of the box at `at`; `None` at the end of the file, or if there is no valid box.
///
/// # Errors
/// The bytes that are missing: `prefetch_bytes`, for the bytes that are likely to be read next.
pub(super) fn header_at(
    buffer: &SparseBuffer,
    at: u64,
    prefetch_bytes: u64,
) -> Result<Option<BoxHeader>, ReadError> {
    let room = buffer.total_bytes().saturating_sub(at);
    if room < 8 {
        return Ok(None);
    }
    match buffer.get(at..at + room.min(MAX_HEADER_BYTES)) {
        Ok(bytes) => Ok(boxes::parse_header(&bytes, room)),
        Err(ReadError::NeedMore(_)) => Err(ReadError::NeedMore(
            buffer.missing_ranges(at..at + room.min(prefetch_bytes.max(MAX_HEADER_BYTES))),
        )),
        Err(fault) => Err(fault),
    }
}
