//! Finds the fragments of a time in a file that is too large to be read completely: by an index, or by interpolation
//! over byte positions.

use crate::demux::budget::{BYTES_PER_STEP, STEPS_PER_SAMPLE};
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Sample, SampleRequest, SeekMode};
use crate::demux::error::ReadError;
use crate::demux::index::{PresentedSpan, SampleIndex};
use crate::demux::mp4::boxes::MAX_HEADER_BYTES;
use crate::demux::mp4::fragment_index::AccessPoint;
use crate::demux::mp4::top_level::{PEEK_BYTES, header_at};
use crate::demux::mp4::track_fragment::{self, FragmentContext, FragmentSamples};

/// The longest `moof` box that is read.
const MAX_FRAGMENT_HEADER: u64 = 8 * 1024 * 1024;
/// How far a fragment is searched, in increasing windows.
const SCAN_WINDOWS: [u64; 4] = [256 * 1024, 1024 * 1024, 4 * 1024 * 1024, 16 * 1024 * 1024];
/// The most bytes that are scanned in one call, and for the last fragment of a file.
const MAX_SCAN_BYTES: u64 = 128 * 1024 * 1024;
/// The precision at which the search stops; the rest is read sequentially.
const WALK_BYTES: u64 = 512 * 1024;
/// The most guesses for one time, and the most boxes that are read for it: some writers put each frame into a separate
/// fragment.
const MAX_GUESSES: usize = 12;
pub(super) const MAX_BOXES: usize = 1 << 15;
/// The most boxes between the start of a segment and its fragment.
const MAX_SEGMENT_BOXES: usize = 16;
/// The most segments whose headers are fetched together.
const MAX_PREFETCH_HEADERS: usize = 64;
/// The most bytes that are fetched ahead at once.
const MAX_PREFETCH_BYTES: u64 = 256 * 1024;
/// How many earlier fragments are tried if there is no keyframe before the requested time, each time twice as far back:
/// a keyframe may be thousands of fragments away.
const MAX_STEPS_BACK: u32 = 12;

/// A file with many fragments.
#[derive(Debug, Clone)]
pub(super) struct FragmentSeeker {
    pub(super) context: FragmentContext,
    /// The first fragment.
    pub(super) first: AccessPoint,
    /// Positions of fragments from an index; empty if there is no index.
    pub(super) access_points: Vec<AccessPoint>,
    /// Samples before all fragments, and the time of the first fragment.
    pub(super) leading_samples: FragmentSamples,
    pub(super) span: PresentedSpan,
    /// End of the last fragment, in media ticks; 0 if unknown.
    pub(super) end_time: i64,
}

/// Samples that were read for one request, which the next request often needs, too.
#[derive(Debug, Default)]
pub(super) struct FragmentCache {
    start_offset: u64,
    until_dts: Option<i64>,
    index: SampleIndex,
}

impl FragmentSeeker {
    /// Returns the samples of a request. `scan` contains the results of earlier scans, `cache` the samples of the last
    /// request.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn find_samples(
        &self,
        buffer: &SparseBuffer,
        request: SampleRequest,
        scan: &mut FragmentScan,
        cache: &mut Option<FragmentCache>,
    ) -> Result<Vec<Sample>, ReadError> {
        let offset = self.span.media_start.saturating_sub(self.span.presentation_start);
        let from = request.from.max(0).saturating_add(offset);
        let is_single_frame = request.until <= request.from;
        let until =
            if is_single_frame { from.saturating_add(1) } else { request.until.saturating_add(offset) };
        let stop = if request.mode == SeekMode::Keyframe && is_single_frame { None } else { Some(until) };
        let mut back = 0;
        loop {
            let start = self.locate(buffer, from, request.mode, back, scan)?;
            let loaded =
                match cache.take().filter(|last| (last.start_offset, last.until_dts) == (start.offset, stop))
                {
                    Some(last) => last,
                    None => self.load(buffer, start, stop)?,
                };
            let samples = cache.insert(loaded).index.find_samples(request, buffer.budget())?;
            let is_late = samples.first().is_none_or(|key| key.pts > request.from);
            let can_go_back = start.offset > self.first.offset && back < MAX_STEPS_BACK;
            if !is_late || request.mode == SeekMode::Keyframe && !samples.is_empty() || !can_go_back {
                return Ok(samples);
            }
            back += 1;
        }
    }

    /// Finds a fragment that starts at or before `from`, further back with each increment of `back`.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn locate(
        &self,
        buffer: &SparseBuffer,
        from: i64,
        aim: SeekMode,
        back: u32,
        scan: &mut FragmentScan,
    ) -> Result<AccessPoint, ReadError> {
        let place = self.access_points.partition_point(|hint| hint.media_time <= from).saturating_sub(1);
        let place = place.saturating_sub((1_usize << back) - 1);
        if let Some(access_point) = self.access_points.get(place)
            && access_point.offset >= self.first.offset
            && is_segment_start(buffer, access_point.offset)?
        {
            return Ok(*access_point);
        }
        if self.end_time <= self.first.media_time {
            return Ok(self.first);
        }
        // About 5, 10, 20 seconds, as a fraction of the duration, since the timescale is not known here.
        let step = ((self.end_time - self.first.media_time) / 512).saturating_mul((1_i64 << back) - 1);
        self.bisect(buffer, from.saturating_sub(step), aim, scan)
    }

    /// Searches for a fragment by interpolation, assuming a constant bitrate.
    fn bisect(
        &self,
        buffer: &SparseBuffer,
        from: i64,
        aim: SeekMode,
        search: &mut FragmentScan,
    ) -> Result<AccessPoint, ReadError> {
        let (mut low, mut high) =
            (self.first, AccessPoint { offset: self.context.total_bytes, media_time: self.end_time });
        for _ in 0..MAX_GUESSES {
            if from <= low.media_time || high.offset.saturating_sub(low.offset) <= WALK_BYTES {
                break;
            }
            let part = (from - low.media_time) as f64 / (high.media_time - low.media_time).max(1) as f64;
            let guess = ((high.offset - low.offset) as f64 * part.clamp(0.0, 1.0)) as u64;
            let guess =
                (low.offset + guess.saturating_sub(WALK_BYTES / 4)).clamp(low.offset + 1, high.offset - 1);
            match search.find_fragment(buffer, guess, high.offset, &self.context)? {
                Some(found) if found.media_time <= from => low = found,
                found => {
                    high = AccessPoint {
                        offset: guess,
                        media_time: found.map_or(high.media_time, |found| found.media_time),
                    }
                }
            }
            if aim == SeekMode::Keyframe && low.offset > self.first.offset {
                break;
            }
        }
        Ok(low)
    }

    /// Reads fragments from `start` until all samples before `until_dts` are loaded, or, if it is `None`, until there
    /// is a keyframe.
    fn load(
        &self,
        buffer: &SparseBuffer,
        start: AccessPoint,
        until_dts: Option<i64>,
    ) -> Result<FragmentCache, ReadError> {
        if let Some(stop) = until_dts {
            self.prefetch_headers(buffer, start, stop)?;
        }
        let is_first = start.offset <= self.first.offset;
        if is_first {
            buffer.budget().spend(self.leading_samples.index.len() as u64 * STEPS_PER_SAMPLE)?;
        }
        let mut samples = if is_first {
            self.leading_samples.clone()
        } else {
            FragmentSamples { next_dts: start.media_time, ..FragmentSamples::default() }
        };
        read_fragments(buffer, start.offset, &self.context, &mut samples, until_dts, MAX_BOXES)?;
        samples.index.map_to_presentation(self.span, samples.last_duration);
        Ok(FragmentCache { start_offset: start.offset, until_dts, index: samples.index })
    }

    /// Requests the headers of all segments that start before `until_dts` at once.
    fn prefetch_headers(
        &self,
        buffer: &SparseBuffer,
        start: AccessPoint,
        until_dts: i64,
    ) -> Result<(), ReadError> {
        let first = self.access_points.partition_point(|hint| hint.offset < start.offset);
        let inside = self
            .access_points
            .iter()
            .skip(first)
            .take_while(|hint| hint.media_time < until_dts)
            .take(MAX_PREFETCH_HEADERS);
        let missing: Vec<_> = inside
            .filter(|hint| !buffer.missing_ranges(hint.offset..hint.offset + MAX_HEADER_BYTES).is_empty())
            .flat_map(|hint| buffer.missing_ranges(hint.offset..hint.offset.saturating_add(PEEK_BYTES)))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(ReadError::from_missing_ranges(missing)) }
    }
}

/// Reads the fragments from `at` into `samples`, over at most `max_boxes` boxes: until all samples before `until_dts`
/// are loaded, or, if it is `None`, until there is a keyframe. Returns the offset of the next box.
///
/// # Errors
/// The bytes that are missing.
pub(super) fn read_fragments(
    buffer: &SparseBuffer,
    mut at: u64,
    context: &FragmentContext,
    samples: &mut FragmentSamples,
    until_dts: Option<i64>,
    max_boxes: usize,
) -> Result<u64, ReadError> {
    for walked in 0..max_boxes as u64 {
        let is_complete = match until_dts {
            Some(stop) => {
                samples.next_dts.saturating_add(samples.index.min_composition_offset()) >= stop
                    && !samples.index.is_empty()
            }
            None => samples.index.has_keys(),
        };
        if is_complete {
            break;
        }
        // The more boxes there are, the smaller they are, and the more of them one round trip should fetch.
        let ahead = (PEEK_BYTES * (1 + walked / 4)).min(MAX_PREFETCH_BYTES);
        let Some(head) = header_at(buffer, at, ahead)? else { break };
        let end = at.saturating_add(head.size).min(context.total_bytes);
        if &head.kind == b"moof" {
            if head.size > MAX_FRAGMENT_HEADER {
                return Err(ReadError::Unsupported("fragment header is too large"));
            }
            let body = buffer.get(at + head.header_bytes..end)?;
            let before = samples.index.len();
            track_fragment::append_samples(&body, at, context, samples, buffer.budget())?;
            if context.verify_keyframes {
                samples.index.verify_keyframes_from(
                    before,
                    buffer,
                    context.codec,
                    context.nal_length_size,
                )?;
            }
        }
        at = end;
    }
    Ok(at)
}

/// Results of earlier scans for fragments, and the number of bytes that may still be scanned.
#[derive(Debug)]
pub(super) struct FragmentScan {
    remaining_bytes: u64,
    /// Scanned ranges, and the fragment at the end of each, if one was found.
    scanned: Vec<(u64, u64, Option<AccessPoint>)>,
}

impl Default for FragmentScan {
    fn default() -> Self {
        Self { remaining_bytes: MAX_SCAN_BYTES, scanned: Vec::new() }
    }
}

impl FragmentScan {
    /// The first likely fragment of the track that starts at or after `from` and before `limit`.
    ///
    /// # Errors
    /// The bytes that are missing; [`ReadError::Unsupported`] if there is none nearby.
    pub(super) fn find_fragment(
        &mut self,
        buffer: &SparseBuffer,
        from: u64,
        limit: u64,
        context: &FragmentContext,
    ) -> Result<Option<AccessPoint>, ReadError> {
        let is_covering = |(begin, end, found): &&(u64, u64, Option<AccessPoint>)| {
            *begin <= from && if found.is_some() { from <= *end } else { limit <= *end }
        };
        if let Some((_, end, found)) = self.scanned.iter().find(is_covering) {
            return Ok(found.filter(|_| *end < limit));
        }
        let found = self.scan(buffer, from, limit, context)?;
        self.scanned.push((from, found.map_or(limit, |found| found.offset), found));
        Ok(found)
    }

    fn scan(
        &mut self,
        buffer: &SparseBuffer,
        from: u64,
        limit: u64,
        context: &FragmentContext,
    ) -> Result<Option<AccessPoint>, ReadError> {
        let mut at = from;
        for window in SCAN_WINDOWS {
            let end = from.saturating_add(window).min(limit).max(at);
            let bytes =
                buffer.get(at..end.saturating_add(MAX_HEADER_BYTES * 2).min(context.total_bytes).max(at))?;
            let mut rest = &bytes[..];
            while at < end {
                let place = find_moof(rest);
                let cost = place.unwrap_or(rest.len()) as u64 + MAX_HEADER_BYTES;
                buffer.budget().spend(cost / BYTES_PER_STEP)?;
                self.remaining_bytes = self
                    .remaining_bytes
                    .checked_sub(cost)
                    .ok_or(ReadError::Unsupported("too many bytes without fragments"))?;
                let Some(offset) = place.map(|place| at + place as u64).filter(|offset| *offset < end) else {
                    break;
                };
                if let Some(time) = fragment_time(buffer, offset, context)? {
                    return Ok(Some(AccessPoint { offset, media_time: time }));
                }
                rest = rest.get((offset + 1 - at) as usize..).unwrap_or_default();
                at = offset + 1;
            }
            at = at.max(end);
            if end >= limit {
                return Ok(None);
            }
        }
        Err(ReadError::Unsupported("no fragment nearby"))
    }
}

/// Whether a segment starts at `at`, as an index states: a fragment, possibly after boxes that may precede one. The
/// index of another version of the file points into the media data.
///
/// # Errors
/// The bytes that are missing.
pub(super) fn is_segment_start(buffer: &SparseBuffer, mut at: u64) -> Result<bool, ReadError> {
    for _ in 0..MAX_SEGMENT_BOXES {
        let Some(head) = header_at(buffer, at, PEEK_BYTES)? else { return Ok(false) };
        let end = at.saturating_add(head.size);
        match &head.kind {
            // Its fixed-size header comes first: ISO 14496-12, 8.8.5.
            b"moof" => {
                let begin =
                    buffer.get(at..at.saturating_add(head.header_bytes + 8).min(buffer.total_bytes()))?;
                return Ok(begin.ends_with(b"\0\0\0\x10mfhd") && end <= buffer.total_bytes());
            }
            b"styp" | b"sidx" | b"ssix" | b"prft" | b"emsg" | b"uuid" | b"free" | b"skip" | b"meta" => {
                at = end;
            }
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// The start time of the fragment at `offset`, if it is a fragment of the track.
///
/// # Errors
/// The bytes that are missing.
pub(super) fn fragment_time(
    buffer: &SparseBuffer,
    offset: u64,
    context: &FragmentContext,
) -> Result<Option<i64>, ReadError> {
    let Some(head) = header_at(buffer, offset, PEEK_BYTES)? else { return Ok(None) };
    let end = offset.saturating_add(head.size);
    if end > context.total_bytes || head.size > MAX_FRAGMENT_HEADER {
        return Ok(None);
    }
    track_fragment::first_decode_time(&buffer.get(offset + head.header_bytes..end)?, context, buffer.budget())
}

/// The position in `bytes` of a likely `moof`: with a plausible size, and directly followed by its fixed-size header.
fn find_moof(bytes: &[u8]) -> Option<usize> {
    const MOOF_PATTERN: &[u8; 12] = b"moof\0\0\0\x10mfhd";
    let mut at = 4;
    loop {
        let window = bytes.get(at..at + MOOF_PATTERN.len())?;
        // The last letter occurs only once in it; otherwise skip to the next position where this byte would match.
        at += match window.last()? {
            b'd' if window == MOOF_PATTERN && bytes.get(at - 4) == Some(&0) => return Some(at - 4),
            b'h' => 1,
            b'f' => 2,
            b'm' => 3,
            0x10 => 4,
            0 => 5,
            b'o' => 9,
            _ => MOOF_PATTERN.len(),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_moof_at_any_offset(
            before in prop::collection::vec(prop::sample::select(b"\0mofhd\x10x".to_vec()), 0..200),
        ) {
            let naive = |bytes: &[u8]| {
                bytes.windows(16).position(|window| window[0] == 0 && &window[4..] == b"moof\0\0\0\x10mfhd")
            };
            let mut bytes = before.clone();
            prop_assert_eq!(find_moof(&bytes), naive(&bytes));
            bytes.extend_from_slice(b"\0\0\x01\0moof\0\0\0\x10mfhd");
            prop_assert_eq!(find_moof(&bytes), naive(&bytes));
            prop_assert_eq!(find_moof(&bytes), Some(before.len()));
        }
    }
}
