//! Decides where in a file its index lies: walks the outermost boxes, with as few round trips as can be.

use std::ops::Range;

use glimpse_contract::Code;

use crate::demux::buffer::{ReadError, SparseBuffer};
use crate::demux::mp4::boxes::{self, BoxHeader, FourCc, MAX_HEADER_BYTES};

/// The longest index that is read: 64 MiB, some 20 hours of video.
pub(super) const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;
/// What lies behind the media data is fetched whole up to this size: an index of two hours of video.
const TAIL_BYTES: u64 = 8 * 1024 * 1024;
/// How much is fetched to read a head far away, and what may come with it.
pub(super) const PEEK_BYTES: u64 = 16 * 1024;
/// The most boxes that are walked over, and those of them that a round trip may be spent on.
const MAX_BOXES: usize = 20_000;
const MAX_JUMPS: usize = 64;

/// The first bytes, which are known from the beginning on.
const PREFETCHED_BYTES: u64 = 64 * 1024;

/// Where the movie is, and what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopLevelBoxes {
    /// The body of `moov`.
    pub(super) moov: Range<u64>,
    /// Whether the file ends before it does.
    pub(super) is_truncated: bool,
    /// The outermost boxes that were seen before it, which a fragmented file may have its index among.
    pub(super) preceding: Vec<(FourCc, Range<u64>)>,
}

/// Finds `moov`, and has it fetched.
///
/// # Errors
/// What is missing; [`Code::Truncated`] if there is no movie, [`Code::NotAVideo`] if there are still pictures in its place.
pub(super) fn find_moov(buffer: &SparseBuffer) -> Result<TopLevelBoxes, ReadError> {
    let mut preceding = Vec::new();
    let mut at = 0;
    let mut jumps = 0;
    for _ in 0..MAX_BOXES {
        if at >= PREFETCHED_BYTES {
            jumps += 1;
        }
        if jumps > MAX_JUMPS {
            return Err(ReadError::Unsupported("media data in too many pieces"));
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
                return Err(ReadError::Unsupported("a larger index than is read"));
            }
            buffer.get(body.clone())?;
            let is_truncated = at.saturating_add(head.size) > buffer.total_bytes();
            return Ok(TopLevelBoxes { moov: body, is_truncated, preceding });
        }
        preceding.push((head.kind, at..body.end));
        at = body.end;
    }
    Err(ReadError::Unsupported("too many boxes"))
}

/// Whether these outermost boxes are those of an image (HEIC, AVIF): what a film has in `moov` they have in a `meta` of
/// pictures, ISO 14496-12, 8.11.1 and ISO 23008-12, 6.2. A film may have a `meta`, too: of its tags.
fn is_image_file(buffer: &SparseBuffer, boxes: &[(FourCc, Range<u64>)]) -> Result<bool, ReadError> {
    for (_, place) in boxes.iter().filter(|(kind, _)| kind == b"meta") {
        let begin = buffer.get(place.start..place.end.min(place.start + PEEK_BYTES))?;
        // Behind its own head and version stands its handler.
        let handler = begin.get(12..).and_then(|children| boxes::child(children, *b"hdlr"));
        if handler.and_then(|body| body.get(8..12)) == Some(b"pict") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The head of the box that begins at `at`; nothing where the file ends, or where no box can begin.
///
/// # Errors
/// What is missing: as many bytes as `ahead` says, for what is likely to be read next.
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
