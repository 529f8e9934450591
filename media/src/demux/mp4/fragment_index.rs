//! Reads the indexes of fragments: `sidx` (ISO 14496-12, 8.16.3) and `mfra` (8.8.9). Their entries are only hints: the
//! fragments themselves are checked before they are used.

use std::ops::Range;

use crate::demux::budget::PARSED_BYTES_PER_STEP;
use crate::demux::buffer::SparseBuffer;
use crate::demux::error::{ReadError, collect_missing};
use crate::demux::mp4::boxes::{self, BoxReader, child, children};
use crate::demux::mp4::edit_list::rescale;
use crate::demux::mp4::top_level::MAX_INDEX_BYTES;

/// The position of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccessPoint {
    pub(super) offset: u64,
    /// Approximate presentation time of its first frame, in media ticks of the track.
    pub(super) media_time: i64,
}

/// The most nested segment indexes that are read.
const MAX_NESTED: usize = 1024;
/// How many bytes of a nested index are fetched at first.
const NESTED_PEEK: u64 = 4 * 1024;

/// A parsed segment index.
#[derive(Debug)]
struct SegmentIndex {
    track_id: u32,
    access_points: Vec<AccessPoint>,
    /// Nested indexes.
    nested: Vec<Range<u64>>,
    /// End of the indexed media, in bytes and in time.
    end_offset: u64,
    end_time: i64,
}

/// Returns the access points of the segment indexes in `boxes`, ascending, and the end time of the indexed media;
/// `None` if the indexes do not cover the whole file.
///
/// # Errors
/// The bytes that are missing.
pub(super) fn read_segment_indexes(
    buffer: &SparseBuffer,
    boxes: &[Range<u64>],
    track: u32,
    timescale: u32,
) -> Result<Option<(Vec<AccessPoint>, i64)>, ReadError> {
    let mut indexes = Vec::new();
    for place in boxes {
        let bytes = buffer.get(place.clone())?;
        buffer.budget().spend(bytes.len() as u64 / PARSED_BYTES_PER_STEP)?;
        indexes.extend(parse_sidx(&bytes, place.start, timescale, buffer.total_bytes()));
    }
    // Each track may have a separate index.
    let has_own_index = indexes.iter().any(|index| index.track_id == track);
    indexes.retain(|index| !has_own_index || index.track_id == track);
    let mut points: Vec<AccessPoint> = indexes.iter().flat_map(|index| index.access_points.clone()).collect();
    let (mut end, mut until) = coverage_end(&indexes);
    let (mut missing, mut nested_indexes) = (Vec::new(), Vec::new());
    for place in indexes.iter().flat_map(|index| &index.nested).take(MAX_NESTED) {
        nested_indexes
            .extend(collect_missing(read_nested_index(buffer, place, timescale), &mut missing)?.flatten());
    }
    if !missing.is_empty() {
        return Err(ReadError::from_missing_ranges(missing));
    }
    points.extend(nested_indexes.iter().flat_map(|index| &index.access_points));
    let (inner_end, inner_until) = coverage_end(&nested_indexes);
    (end, until) = (end.max(inner_end), until.max(inner_until));
    sort_access_points(&mut points);
    // Files made for streaming may have an index before each segment that covers only this segment.
    let rest = buffer.total_bytes().saturating_sub(end);
    Ok((!points.is_empty() && rest < buffer.total_bytes() / 16).then_some((points, until)))
}

fn coverage_end(indexes: &[SegmentIndex]) -> (u64, i64) {
    let end = indexes.iter().map(|index| index.end_offset).max().unwrap_or(0);
    (end, indexes.iter().map(|index| index.end_time).max().unwrap_or(0))
}

fn read_nested_index(
    buffer: &SparseBuffer,
    place: &Range<u64>,
    timescale: u32,
) -> Result<Option<SegmentIndex>, ReadError> {
    let begin = buffer.get(place.start..place.end.min(place.start + NESTED_PEEK))?;
    let Some(head) =
        boxes::parse_header(&begin, place.end - place.start).filter(|head| &head.kind == b"sidx")
    else {
        return Ok(None);
    };
    let end = place.start.saturating_add(head.size).min(place.end);
    let bytes = buffer.get(place.start..end)?;
    buffer.budget().spend(bytes.len() as u64 / PARSED_BYTES_PER_STEP)?;
    Ok(parse_sidx(&bytes, place.start, timescale, buffer.total_bytes()))
}

/// Parses a whole `sidx` box at offset `start`.
fn parse_sidx(bytes: &[u8], start: u64, timescale: u32, total: u64) -> Option<SegmentIndex> {
    let head = boxes::parse_header(bytes, bytes.len() as u64)?;
    let mut fields = BoxReader(bytes.get(head.header_bytes as usize..)?);
    let (version, _) = fields.version_and_flags()?;
    let track = fields.u32()?;
    let index_timescale = fields.u32()?.max(1);
    let (mut time, first) = (fields.versioned_uint(version)?, fields.versioned_uint(version)?);
    fields.take(2)?;
    let entries = fields.u16()?;
    let mut offset = start.checked_add(head.size)?.checked_add(first)?;
    let (mut points, mut nested) = (Vec::new(), Vec::new());
    for _ in 0..entries {
        let (Some(size), Some(length), Some(_access)) = (fields.u32(), fields.u32(), fields.u32()) else {
            break;
        };
        if offset >= total {
            break;
        }
        let end = offset.saturating_add((size & 0x7fff_ffff).into());
        if size & 0x8000_0000 == 0 {
            points.push(AccessPoint { offset, media_time: rescale(time, timescale, index_timescale) });
        } else if end > offset {
            nested.push(offset..end.min(total));
        }
        offset = end;
        time = time.saturating_add(length.into());
    }
    Some(SegmentIndex {
        track_id: track,
        access_points: points,
        nested,
        end_offset: offset,
        end_time: rescale(time, timescale, index_timescale),
    })
}

/// Reads the index at the end of the file, which is located by its last 16 bytes: ISO 14496-12, 8.8.11.
///
/// # Errors
/// The bytes that are missing.
pub(super) fn read_mfra(buffer: &SparseBuffer, track: u32) -> Result<Option<Vec<AccessPoint>>, ReadError> {
    let total = buffer.total_bytes();
    let last = buffer.get(total.saturating_sub(16)..total)?;
    let mut fields = BoxReader(&last);
    let (size, kind) = (fields.u32(), fields.take_array::<4>());
    let _ = fields.version_and_flags();
    let length = u64::from(fields.u32().unwrap_or(0));
    if size != Some(16) || kind != Some(*b"mfro") || length <= 16 || length > total.min(MAX_INDEX_BYTES) {
        return Ok(None);
    }
    let bytes = buffer.get(total - length..total)?;
    buffer.budget().spend(bytes.len() as u64 / PARSED_BYTES_PER_STEP)?;
    let Some(mfra) = child(&bytes, *b"mfra") else { return Ok(None) };
    let mut tables = children(mfra).filter(|(kind, _)| kind == b"tfra");
    let mut points = tables.find_map(|(_, body)| parse_tfra(body, track, total)).unwrap_or_default();
    sort_access_points(&mut points);
    Ok((!points.is_empty()).then_some(points))
}

/// Parses a `tfra` box: ISO 14496-12, 8.8.10.
fn parse_tfra(body: &[u8], track: u32, total: u64) -> Option<Vec<AccessPoint>> {
    let mut fields = BoxReader(body);
    let (version, _) = fields.version_and_flags()?;
    if fields.u32()? != track {
        return None;
    }
    let widths = fields.u32()?;
    let numbers = (widths >> 4 & 3) + (widths >> 2 & 3) + (widths & 3) + 3;
    let entries = fields.u32()?;
    let mut points = Vec::new();
    for _ in 0..entries {
        let (Some(time), Some(offset)) = (fields.versioned_uint(version), fields.versioned_uint(version))
        else {
            break;
        };
        if fields.take(numbers as usize).is_none() {
            break;
        }
        if offset < total {
            points.push(AccessPoint { offset, media_time: i64::try_from(time).unwrap_or(i64::MAX) });
        }
    }
    Some(points)
}

/// Sorts by offset and time, and drops inconsistent access points.
fn sort_access_points(points: &mut Vec<AccessPoint>) {
    points.sort_by_key(|hint| (hint.offset, hint.media_time));
    points.dedup_by_key(|hint| hint.offset);
    let mut latest = i64::MIN;
    points.retain(|hint| {
        let later = hint.media_time >= latest;
        latest = latest.max(hint.media_time);
        later
    });
}
