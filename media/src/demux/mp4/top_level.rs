//! Decides where in a file its index lies: walks the outermost boxes, with as few round trips as can be.

use std::ops::Range;

use glimpse_contract::Code;

use crate::demux::buffer::{Fault, Known};
use crate::demux::mp4::boxes::{self, HEAD_BYTES, Head, Kind};

/// The longest index that is read: 64 MiB, some 20 hours of video.
pub(super) const MAX_INDEX: u64 = 64 * 1024 * 1024;
/// What lies behind the media data is fetched whole up to this size: an index of two hours of video.
const TAIL: u64 = 8 * 1024 * 1024;
/// How much is fetched to read a head far away, and what may come with it.
pub(super) const PEEK: u64 = 16 * 1024;
/// The most boxes that are walked over, and those of them that a round trip may be spent on.
const MAX_BOXES: usize = 20_000;
const MAX_JUMPS: usize = 64;

/// The first bytes, which are known from the beginning on.
const FRONT: u64 = 64 * 1024;

/// Where the movie is, and what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The body of `moov`.
    pub(super) moov: Range<u64>,
    /// Whether the file ends before it does.
    pub(super) is_cut: bool,
    /// The outermost boxes that were seen before it, which a fragmented file may have its index among.
    pub(super) before: Vec<(Kind, Range<u64>)>,
}

/// Finds `moov`, and has it fetched.
///
/// # Errors
/// What is missing; [`Code::Truncated`] if there is no movie, [`Code::NotAVideo`] if there are still pictures in its place.
pub(super) fn find(known: &Known) -> Result<Layout, Fault> {
    let mut before = Vec::new();
    let mut at = 0;
    let mut jumps = 0;
    for _ in 0..MAX_BOXES {
        if at >= FRONT {
            jumps += 1;
        }
        if jumps > MAX_JUMPS {
            return Err(Fault::Foreign("media data in too many pieces"));
        }
        let rest = known.total().saturating_sub(at);
        let Some(head) = head_at(known, at, if rest <= TAIL { rest } else { PEEK })? else {
            return Err(Fault::Refused(if is_still(known, &before)? {
                Code::NotAVideo
            } else {
                Code::Truncated
            }));
        };
        let body = at + head.own..at.saturating_add(head.size).min(known.total());
        if &head.kind == b"moov" {
            if body.end - body.start > MAX_INDEX {
                return Err(Fault::Foreign("a larger index than is read"));
            }
            known.bytes(body.clone())?;
            let is_cut = at.saturating_add(head.size) > known.total();
            return Ok(Layout { moov: body, is_cut, before });
        }
        before.push((head.kind, at..body.end));
        at = body.end;
    }
    Err(Fault::Foreign("too many boxes"))
}

/// Whether these outermost boxes are those of an image (HEIC, AVIF): what a film has in `moov` they have in a `meta` of
/// pictures, ISO 14496-12, 8.11.1 and ISO 23008-12, 6.2. A film may have a `meta`, too: of its tags.
fn is_still(known: &Known, boxes: &[(Kind, Range<u64>)]) -> Result<bool, Fault> {
    for (_, place) in boxes.iter().filter(|(kind, _)| kind == b"meta") {
        let begin = known.bytes(place.start..place.end.min(place.start + PEEK))?;
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
pub(super) fn head_at(known: &Known, at: u64, ahead: u64) -> Result<Option<Head>, Fault> {
    let room = known.total().saturating_sub(at);
    if room < 8 {
        return Ok(None);
    }
    match known.bytes(at..at + room.min(HEAD_BYTES)) {
        Ok(bytes) => Ok(boxes::head(&bytes, room)),
        Err(Fault::Missing(_)) => Err(Fault::Missing(known.gaps(at..at + room.min(ahead.max(HEAD_BYTES))))),
        Err(fault) => Err(fault),
    }
}
