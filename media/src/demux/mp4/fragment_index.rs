//! Decides where fragments begin and when, by the indexes that a file may have: `sidx` (ISO 14496-12, 8.16.3) and
//! `mfra` (8.8.9). What they say is a hint: the fragment itself is read before anything is believed.

use std::ops::Range;

use crate::demux::budget::PARSED_PER_STEP;
use crate::demux::buffer::{Fault, Known, held};
use crate::demux::mp4::boxes::{self, Fields, child, children};
use crate::demux::mp4::edit_list::rescale;
use crate::demux::mp4::top_level::MAX_INDEX;

/// A place where a fragment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) offset: u64,
    /// About when its first picture is shown, in ticks of the track as the media counts them.
    pub(super) time: i64,
}

/// The most segments that an index may refer to in an index of their own.
const MAX_NESTED: usize = 1024;
/// How much is fetched of an index that another one refers to at first.
const NESTED_PEEK: u64 = 4 * 1024;

/// What a segment index says.
#[derive(Debug)]
struct Segments {
    track: u32,
    hints: Vec<Hint>,
    /// Indexes that it refers to.
    nested: Vec<Range<u64>>,
    /// Where what it tells of ends, in bytes and in time.
    end: u64,
    until: i64,
}

/// The hints of the segment indexes among `boxes`, ascending, and when they end; nothing where those do not tell of
/// the whole file.
///
/// # Errors
/// What is missing of them.
pub(super) fn segments(
    known: &Known,
    boxes: &[Range<u64>],
    track: u32,
    timescale: u32,
) -> Result<Option<(Vec<Hint>, i64)>, Fault> {
    let mut read = Vec::new();
    for place in boxes {
        let bytes = known.bytes(place.clone())?;
        known.budget().spend(bytes.len() as u64 / PARSED_PER_STEP)?;
        read.extend(segment_index(&bytes, place.start, timescale, known.total()));
    }
    // Each track may have an index of its own.
    let own = read.iter().any(|index| index.track == track);
    read.retain(|index| !own || index.track == track);
    let mut hints: Vec<Hint> = read.iter().flat_map(|index| index.hints.clone()).collect();
    let (mut end, mut until) = ends(&read);
    let (mut missing, mut inner) = (Vec::new(), Vec::new());
    for place in read.iter().flat_map(|index| &index.nested).take(MAX_NESTED) {
        inner.extend(held(nested(known, place, timescale), &mut missing)?.flatten());
    }
    if !missing.is_empty() {
        return Err(Fault::all_missing(missing));
    }
    hints.extend(inner.iter().flat_map(|index| &index.hints));
    let (inner_end, inner_until) = ends(&inner);
    (end, until) = (end.max(inner_end), until.max(inner_until));
    sort(&mut hints);
    // Files made for streaming may have an index before each segment, of that one alone.
    let rest = known.total().saturating_sub(end);
    Ok((!hints.is_empty() && rest < known.total() / 16).then_some((hints, until)))
}

fn ends(read: &[Segments]) -> (u64, i64) {
    let end = read.iter().map(|index| index.end).max().unwrap_or(0);
    (end, read.iter().map(|index| index.until).max().unwrap_or(0))
}

fn nested(known: &Known, place: &Range<u64>, timescale: u32) -> Result<Option<Segments>, Fault> {
    let begin = known.bytes(place.start..place.end.min(place.start + NESTED_PEEK))?;
    let Some(head) = boxes::head(&begin, place.end - place.start).filter(|head| &head.kind == b"sidx") else {
        return Ok(None);
    };
    let end = place.start.saturating_add(head.size).min(place.end);
    let bytes = known.bytes(place.start..end)?;
    known.budget().spend(bytes.len() as u64 / PARSED_PER_STEP)?;
    Ok(segment_index(&bytes, place.start, timescale, known.total()))
}

/// Reads the whole box `sidx`, which begins at `start`.
fn segment_index(bytes: &[u8], start: u64, timescale: u32, total: u64) -> Option<Segments> {
    let head = boxes::head(bytes, bytes.len() as u64)?;
    let mut fields = Fields(bytes.get(head.own as usize..)?);
    let (version, _) = fields.full()?;
    let track = fields.u32()?;
    let own_scale = fields.u32()?.max(1);
    let (mut time, first) = (fields.sized(version)?, fields.sized(version)?);
    fields.take(2)?;
    let rows = fields.u16()?;
    let mut offset = start.checked_add(head.size)?.checked_add(first)?;
    let (mut hints, mut nested) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let (Some(size), Some(length), Some(_access)) = (fields.u32(), fields.u32(), fields.u32()) else {
            break;
        };
        if offset >= total {
            break;
        }
        let end = offset.saturating_add((size & 0x7fff_ffff).into());
        if size & 0x8000_0000 == 0 {
            hints.push(Hint { offset, time: rescale(time, timescale, own_scale) });
        } else if end > offset {
            nested.push(offset..end.min(total));
        }
        offset = end;
        time = time.saturating_add(length.into());
    }
    Some(Segments { track, hints, nested, end: offset, until: rescale(time, timescale, own_scale) })
}

/// Where the index at the end of the file begins, by its last 16 bytes: ISO 14496-12, 8.8.11.
///
/// # Errors
/// What is missing of it.
pub(super) fn random_access(known: &Known, track: u32) -> Result<Option<Vec<Hint>>, Fault> {
    let total = known.total();
    let last = known.bytes(total.saturating_sub(16)..total)?;
    let mut fields = Fields(&last);
    let (size, kind) = (fields.u32(), fields.array::<4>());
    let _ = fields.full();
    let length = u64::from(fields.u32().unwrap_or(0));
    if size != Some(16) || kind != Some(*b"mfro") || length <= 16 || length > total.min(MAX_INDEX) {
        return Ok(None);
    }
    let bytes = known.bytes(total - length..total)?;
    known.budget().spend(bytes.len() as u64 / PARSED_PER_STEP)?;
    let Some(mfra) = child(&bytes, *b"mfra") else { return Ok(None) };
    let mut tables = children(mfra).filter(|(kind, _)| kind == b"tfra");
    let mut hints = tables.find_map(|(_, body)| access_points(body, track, total)).unwrap_or_default();
    sort(&mut hints);
    Ok((!hints.is_empty()).then_some(hints))
}

/// ISO 14496-12, 8.8.10.
fn access_points(body: &[u8], track: u32, total: u64) -> Option<Vec<Hint>> {
    let mut fields = Fields(body);
    let (version, _) = fields.full()?;
    if fields.u32()? != track {
        return None;
    }
    let widths = fields.u32()?;
    let numbers = (widths >> 4 & 3) + (widths >> 2 & 3) + (widths & 3) + 3;
    let rows = fields.u32()?;
    let mut hints = Vec::new();
    for _ in 0..rows {
        let (Some(time), Some(offset)) = (fields.sized(version), fields.sized(version)) else { break };
        if fields.take(numbers as usize).is_none() {
            break;
        }
        if offset < total {
            hints.push(Hint { offset, time: i64::try_from(time).unwrap_or(i64::MAX) });
        }
    }
    Some(hints)
}

/// Ascending in both; what contradicts is left out.
fn sort(hints: &mut Vec<Hint>) {
    hints.sort_by_key(|hint| (hint.offset, hint.time));
    hints.dedup_by_key(|hint| hint.offset);
    let mut latest = i64::MIN;
    hints.retain(|hint| {
        let later = hint.time >= latest;
        latest = latest.max(hint.time);
        later
    });
}
