//! An index of samples in decoding order, and selection of the samples that a time range needs.

use glimpse_contract::Code;

use crate::demux::budget::{STEPS_PER_LOOKUP, STEPS_PER_SAMPLE, WorkBudget};
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Sample, SampleRequest, SeekMode};
use crate::demux::error::ReadError;
use crate::demux::reference::{RandomAccess, random_access};

/// The most samples that are indexed: 18 hours at 60 frames per second. They are stored in columns of 26 bytes per
/// sample.
pub(super) const MAX_SAMPLES: usize = 4_000_000;
/// The most samples of a run: more frames of 5,000 pixels cannot be decoded at once. If a time needs more, the
/// preceding keyframe is returned instead.
const MAX_RUN_SAMPLES: usize = 1 << 19;
/// The smallest file in which `MAX_SAMPLES` samples are plausible: 16 bytes for each.
const MAX_SAMPLES_BYTES: u64 = 16 * MAX_SAMPLES as u64;

/// The most samples that are indexed in a file of `total` bytes: each has at least one byte.
pub(super) fn max_samples(total: u64) -> usize {
    usize::try_from(total).unwrap_or(MAX_SAMPLES).min(MAX_SAMPLES)
}

/// The error for a file of `total` bytes with more samples than are indexed. A file that is too small for that many
/// samples references the same bytes repeatedly, which would keep every reader busy.
pub(super) fn too_many_samples(total: u64) -> ReadError {
    if total < MAX_SAMPLES_BYTES {
        ReadError::Rejected(Code::TimedOut)
    } else {
        ReadError::Unsupported("more samples than are indexed")
    }
}

/// Up to this many bytes of samples are read completely to find the keyframes.
pub(super) const VERIFY_ALL_BYTES: u64 = 32 * 1024 * 1024;
/// For larger files, the video is divided into this many parts, of each of which the largest samples are checked, by
/// their first bytes: parameter sets and SEI messages precede the first slice.
const VERIFY_PARTS: i64 = 200;
const VERIFY_PER_PART: usize = 2;
pub(super) const VERIFY_HEAD_BYTES: u64 = 4 * 1024;

/// Samples in decoding order. Times are media times until [`SampleIndex::map_to_presentation`] is called.
#[derive(Debug, Clone, Default)]
pub(super) struct SampleIndex {
    offsets: Vec<u64>,
    sizes: Vec<u32>,
    dts: Vec<i64>,
    /// Presentation time of each sample, relative to its `dts`.
    composition_offsets: Vec<i32>,
    entries: Vec<u16>,
    /// Indexes of keyframes, ascending.
    keys: Vec<u32>,
    /// Indexes of the keyframes whose presentation time is later than that of all earlier keyframes. Searched by time.
    keys_by_time: Vec<u32>,
    /// Indexes of recovery points, and of the first correct frame after each; ascending.
    recovery_points: Vec<(u32, u32)>,
    /// The smallest composition offset (presentation time minus decoding time), if negative; otherwise 0.
    min_composition_offset: i64,
    /// Presentation time of the first frame, and end of the last.
    start: i64,
    end: i64,
}

/// The presented part of a track, in ticks of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PresentedSpan {
    /// Start and end of the span in media time.
    pub(super) media_start: i64,
    pub(super) media_end: i64,
    /// Presentation time at which the span starts.
    pub(super) presentation_start: i64,
    /// Whether `presentation_start` is the time of the first presented frame rather than of `media_start`.
    pub(super) starts_at_frame: bool,
}

impl SampleIndex {
    pub(super) fn len(&self) -> usize {
        self.sizes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Appends a sample. Its decoding time must not be earlier than that of the previous sample.
    pub(super) fn push(&mut self, sample: Sample) {
        // Frames are shown at most hours after they are decoded. Offsets that do not fit in 32 bits are invalid.
        let offset = i32::try_from(sample.pts.saturating_sub(sample.dts)).unwrap_or(0);
        let dts = self.dts.last().map_or(sample.dts, |last| sample.dts.max(*last));
        if sample.is_key {
            self.keys.push(self.len() as u32);
        }
        self.min_composition_offset = self.min_composition_offset.min(offset.into());
        self.offsets.push(sample.offset);
        self.sizes.push(sample.size);
        self.dts.push(dts);
        self.composition_offsets.push(offset);
        self.entries.push(sample.entry);
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Frames per second, with `timescale` ticks per second; 0 if there are too few samples.
    pub(super) fn frame_rate(&self, timescale: u32) -> f64 {
        let (Some(first), Some(last)) = (self.dts.first(), self.dts.last()) else { return 0.0 };
        let ticks = last.saturating_sub(*first);
        if ticks > 0 { (self.len() - 1) as f64 * f64::from(timescale) / ticks as f64 } else { 0.0 }
    }

    /// Presentation time of the first keyframe.
    pub(super) fn first_key_pts(&self) -> Option<i64> {
        self.keys.first().map(|place| self.pts(*place as usize))
    }

    /// Decoding time of the last sample.
    pub(super) fn last_dts(&self) -> Option<i64> {
        self.dts.last().copied()
    }

    /// See the field [`SampleIndex::min_composition_offset`].
    pub(super) fn min_composition_offset(&self) -> i64 {
        self.min_composition_offset
    }

    /// Shifts all times so that 0 is the start of the presentation, and stores the end of the last frame.
    /// `last_duration` is the duration of the last frame.
    pub(super) fn map_to_presentation(&mut self, span: PresentedSpan, last_duration: i64) {
        let inside = |pts: &i64| (span.media_start..span.media_end).contains(pts);
        let first_pts = (0..self.len()).map(|place| self.pts(place)).filter(inside).min();
        let zero =
            if span.starts_at_frame { first_pts.unwrap_or(span.media_start) } else { span.media_start };
        let offset = zero.saturating_sub(span.presentation_start);
        let last_end =
            (0..self.len()).map(|place| self.pts(place)).max().unwrap_or(0).saturating_add(last_duration);
        self.start = first_pts.unwrap_or(zero).saturating_sub(offset).max(0);
        self.end = last_end.min(span.media_end).saturating_sub(offset);
        let late = i32::try_from(span.presentation_start).unwrap_or(i32::MAX);
        for (dts, offset_ticks) in self.dts.iter_mut().zip(&mut self.composition_offsets) {
            if dts.saturating_add((*offset_ticks).into()) < span.media_start {
                // Never shown. Keeps it negative even if the track starts later than 0.
                *offset_ticks = offset_ticks.saturating_sub(late);
            }
            *dts = dts.saturating_sub(offset);
        }
        self.sort_keys();
    }

    fn sort_keys(&mut self) {
        let mut latest = i64::MIN;
        let keys = std::mem::take(&mut self.keys);
        self.keys_by_time = keys
            .iter()
            .copied()
            .filter(|place| {
                let pts = self.pts(*place as usize);
                let later = pts > latest;
                latest = latest.max(pts);
                later
            })
            .collect();
        self.keys = keys;
    }

    /// Replaces the keyframes with those that the samples themselves indicate. Checks all samples, or only those that
    /// are large relative to their neighbors if reading all would be too much. If no keyframe is found, the first
    /// sample becomes one.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn verify_keyframes(
        &mut self,
        buffer: &SparseBuffer,
        codec: &str,
        nal_length_size: usize,
    ) -> Result<(), ReadError> {
        buffer.budget().spend(self.len() as u64 * STEPS_PER_LOOKUP)?;
        let all: u64 = self.sizes.iter().map(|size| u64::from(*size)).sum();
        let is_small = all <= VERIFY_ALL_BYTES;
        let places: Vec<usize> = if is_small { (0..self.len()).collect() } else { self.largest_samples() };
        let range = |place: usize| {
            let (offset, size) = (self.offsets[place], u64::from(self.sizes[place]));
            offset..offset.saturating_add(if is_small { size } else { size.min(VERIFY_HEAD_BYTES) })
        };
        let missing: Vec<_> = places.iter().flat_map(|place| buffer.missing_ranges(range(*place))).collect();
        if !missing.is_empty() {
            return Err(ReadError::from_missing_ranges(missing));
        }
        let (mut keys, mut recovery_points) = (Vec::new(), Vec::new());
        // Recovery counts refer to reference pictures. With reordering, up to three frames are shown for each.
        let frames_per_count =
            if self.composition_offsets.iter().any(|shift| *shift != self.composition_offsets[0]) {
                3
            } else {
                1
            };
        for place in places {
            match random_access(codec, &buffer.get_available(range(place)), nal_length_size) {
                RandomAccess::Point => keys.push(place as u32),
                RandomAccess::RecoveryPoint(count) => {
                    let first_correct = (place as u64).saturating_add(u64::from(count) * frames_per_count);
                    if first_correct < self.len() as u64 {
                        recovery_points.push((place as u32, first_correct as u32));
                    }
                }
                // If the sample is inconclusive, the index decides.
                RandomAccess::Unknown if self.keys.binary_search(&(place as u32)).is_ok() => {
                    keys.push(place as u32);
                }
                RandomAccess::Dependent | RandomAccess::Unknown => {}
            }
        }
        self.keys = keys;
        self.recovery_points = recovery_points;
        self.ensure_keyframe();
        self.sort_keys();
        Ok(())
    }

    /// Like [`SampleIndex::verify_keyframes`], for the sample at index `first` and the samples after it that are marked
    /// as keyframes: those of a fragment.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn verify_keyframes_from(
        &mut self,
        first: usize,
        buffer: &SparseBuffer,
        codec: &str,
        nal_length_size: usize,
    ) -> Result<(), ReadError> {
        let marked = self.keys.split_off(self.keys.partition_point(|key| (*key as usize) < first));
        let head = |place: u32| {
            let (offset, size) = (self.offsets[place as usize], u64::from(self.sizes[place as usize]));
            offset..offset.saturating_add(size.min(VERIFY_HEAD_BYTES))
        };
        let begin = (first < self.len()).then_some(first as u32).filter(|begin| !marked.contains(begin));
        let places: Vec<u32> = begin.into_iter().chain(marked.iter().copied()).collect();
        let missing: Vec<_> = places.iter().flat_map(|place| buffer.missing_ranges(head(*place))).collect();
        if !missing.is_empty() {
            return Err(ReadError::from_missing_ranges(missing));
        }
        let is_key =
            |place: &u32| match random_access(codec, &buffer.get_available(head(*place)), nal_length_size) {
                RandomAccess::Point => true,
                RandomAccess::Dependent => false,
                // Without a better keyframe, frames after a recovery point are approximately correct.
                RandomAccess::RecoveryPoint(_) | RandomAccess::Unknown => marked.contains(place),
            };
        let keys: Vec<u32> = places.into_iter().filter(is_key).collect();
        self.keys.extend(keys);
        Ok(())
    }

    /// Makes the first sample a keyframe if there is no other: decoding has to start somewhere.
    pub(super) fn ensure_keyframe(&mut self) {
        if self.keys.is_empty() && !self.is_empty() {
            self.keys.push(0);
        }
    }

    /// Whether frames are refreshed gradually and keyframes are rare.
    pub(super) fn is_intra_refresh(&self) -> bool {
        !self.recovery_points.is_empty()
    }

    /// Indexes of the largest samples of each part, and of the marked keyframes if those are few; ascending. They
    /// include the real keyframes.
    fn largest_samples(&self) -> Vec<usize> {
        let (first, last) = (self.dts.first().copied().unwrap_or(0), self.dts.last().copied().unwrap_or(0));
        let step = ((last - first) / VERIFY_PARTS + 1).max(1);
        let mut places = vec![0];
        let mut at = 0;
        while at < self.len() {
            let part = (self.dts[at] - first) / step;
            let end = at + self.dts[at..].partition_point(|dts| (dts - first) / step <= part);
            let mut part: Vec<usize> = (at..end).collect();
            part.sort_by_key(|place| std::cmp::Reverse(self.sizes[*place]));
            places.extend(part.iter().take(VERIFY_PER_PART));
            at = end;
        }
        if self.keys.len() <= VERIFY_PARTS as usize * VERIFY_PER_PART {
            places.extend(self.keys.iter().map(|key| *key as usize));
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Presentation time of the first frame, in ticks.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// End of the last frame, in ticks.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// Presentation times of the keyframes that are shown.
    pub(super) fn key_times(&self) -> Vec<i64> {
        self.presented_keys().map(|(_, pts)| pts).collect()
    }

    fn presented_keys(&self) -> impl Iterator<Item = (usize, i64)> {
        let first = self.keys_by_time.partition_point(|place| self.pts(*place as usize) < 0);
        self.keys_by_time
            .iter()
            .skip(first)
            .map(|place| (*place as usize, self.pts(*place as usize)))
            .take_while(|(_, pts)| *pts < self.end)
    }

    /// All samples, in decoding order.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let mut keys = self.keys.iter().peekable();
        (0..self.len()).filter_map(move |place| {
            let is_key = keys.next_if(|key| **key as usize == place).is_some();
            self.sample(place, is_key)
        })
    }

    fn pts(&self, place: usize) -> i64 {
        let dts = self.dts.get(place).copied().unwrap_or_default();
        dts.saturating_add(self.composition_offsets.get(place).copied().unwrap_or_default().into())
    }

    fn sample(&self, place: usize, is_key: bool) -> Option<Sample> {
        Some(Sample {
            offset: *self.offsets.get(place)?,
            size: *self.sizes.get(place)?,
            dts: *self.dts.get(place)?,
            pts: self.pts(place),
            is_key,
            entry: *self.entries.get(place)?,
        })
    }

    /// Returns the samples of a request, in decoding order, starting with a keyframe. See [`SeekMode`]. If no keyframe
    /// is ever shown, every request is exact.
    ///
    /// # Errors
    /// The reason why the budget is exhausted.
    pub(super) fn find_samples(
        &self,
        request: SampleRequest,
        budget: &WorkBudget,
    ) -> Result<Vec<Sample>, ReadError> {
        let from = request.from.clamp(self.start, self.end.saturating_sub(1).max(self.start));
        let length = request.until.saturating_sub(request.from).max(0);
        if request.mode == SeekMode::Keyframe
            && let Some((key, pts)) = self.presented_key_before(from)
        {
            return self.samples_in_range(
                key,
                pts,
                pts.saturating_add(length).min(self.end.max(pts)),
                budget,
            );
        }
        let before = self.keys_by_time.partition_point(|place| self.pts(*place as usize) <= from);
        let Some(key) = self.keys_by_time.get(before.saturating_sub(1)) else { return Ok(Vec::new()) };
        let until = if length == 0 { from } else { request.until.min(self.end) };
        let recovered = self.recovery_points.partition_point(|(_, right)| self.pts(*right as usize) <= from);
        let recovery = recovered
            .checked_sub(1)
            .and_then(|place| self.recovery_points.get(place))
            .map(|(point, _)| point);
        self.samples_in_range((*key).max(*recovery.unwrap_or(key)) as usize, from, until, budget)
    }

    /// The last keyframe shown at or before `from`, otherwise the first one that is shown.
    fn presented_key_before(&self, from: i64) -> Option<(usize, i64)> {
        let before = self.keys_by_time.partition_point(|place| self.pts(*place as usize) <= from);
        let place = before
            .checked_sub(1)
            .and_then(|before| self.keys_by_time.get(before))
            .map(|place| *place as usize);
        place
            .map(|place| (place, self.pts(place)))
            .filter(|(_, pts)| *pts >= 0)
            .or_else(|| self.presented_keys().next())
    }

    /// Returns the samples from the keyframe at index `key` that are needed to show `from..until`, or, if that range is
    /// empty, the frame that is shown at `from`. Samples that follow the keyframe in decoding order but are shown
    /// before it are excluded: they may depend on earlier samples (an open GOP).
    fn samples_in_range(
        &self,
        key: usize,
        from: i64,
        until: i64,
        budget: &WorkBudget,
    ) -> Result<Vec<Sample>, ReadError> {
        let floor = self.pts(key);
        let from = from.max(floor);
        let bound = until.max(from.saturating_add(1));
        // No sample is shown earlier than `dts + min_composition_offset`.
        let stop = self
            .dts
            .partition_point(|dts| dts.saturating_add(self.min_composition_offset) < bound)
            .max(key + 1);
        if stop - key > MAX_RUN_SAMPLES {
            budget.spend(STEPS_PER_LOOKUP)?;
            return Ok(self.sample(key, true).into_iter().collect());
        }
        budget.spend(STEPS_PER_LOOKUP + (stop - key) as u64 * STEPS_PER_SAMPLE)?;
        let is_decodable = |place: &usize| *place == key || self.pts(*place) > floor;
        let first =
            (key..stop).filter(is_decodable).map(|place| self.pts(place)).filter(|pts| *pts <= from).max();
        let first = first.unwrap_or(floor);
        let shown = first..until.max(first.saturating_add(1));
        let last = (key..stop).rev().find(|place| is_decodable(place) && shown.contains(&self.pts(*place)));
        let mut keys =
            self.keys.iter().skip(self.keys.partition_point(|place| (*place as usize) < key)).peekable();
        let samples = (key..=last.unwrap_or(key)).filter_map(|place| {
            let is_key = keys.next_if(|key| **key as usize == place).is_some();
            if is_decodable(&place) { self.sample(place, is_key) } else { None }
        });
        Ok(samples.collect())
    }
}

/// Spans of a track that are presented one after another, in an order other than that of the media or with parts left
/// out. Each span has a separate index of the samples that it needs.
#[derive(Debug, Clone)]
pub(super) struct EditedIndex {
    /// All samples, with media times.
    media: SampleIndex,
    spans: Vec<PresentedSpan>,
    /// Duration of the last sample.
    last_duration: i64,
    /// Ordered by presentation start; at least one.
    parts: Vec<SampleIndex>,
}

impl EditedIndex {
    /// # Errors
    /// The reason why there are more samples than are indexed, or why the budget is exhausted.
    pub(super) fn new(
        media: SampleIndex,
        spans: Vec<PresentedSpan>,
        last_duration: i64,
        buffer: &SparseBuffer,
    ) -> Result<Self, ReadError> {
        let mut edited = Self { media, spans, last_duration, parts: Vec::new() };
        edited.build_parts(buffer.budget(), max_samples(buffer.total_bytes()))?;
        if edited.parts.is_empty() {
            return Err(ReadError::Rejected(Code::Truncated));
        }
        Ok(edited)
    }

    /// Builds the parts, with at most `max_samples` samples in total.
    fn build_parts(&mut self, budget: &WorkBudget, max_samples: usize) -> Result<(), ReadError> {
        self.media.sort_keys();
        let mut count = 0;
        self.parts.clear();
        for span in &self.spans {
            let range = self.media.decode_range(*span);
            count += range.len();
            if count > max_samples {
                return Err(ReadError::Unsupported("edit list repeats more samples than are indexed"));
            }
            budget.spend(range.len() as u64 * STEPS_PER_SAMPLE)?;
            let part = self.media.presented_part(range, *span, self.last_duration);
            // The media has no samples in such a span.
            if !part.is_empty() && part.start < part.end {
                self.parts.push(part);
            }
        }
        Ok(())
    }

    /// See [`SampleIndex::has_keys`].
    pub(super) fn has_keys(&self) -> bool {
        self.media.has_keys()
    }

    /// See [`SampleIndex::start`].
    pub(super) fn start(&self) -> i64 {
        self.parts.first().map_or(0, SampleIndex::start)
    }

    /// See [`SampleIndex::end`].
    pub(super) fn end(&self) -> i64 {
        self.parts.last().map_or(0, SampleIndex::end)
    }

    /// See [`SampleIndex::key_times`].
    pub(super) fn key_times(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.parts.iter().flat_map(SampleIndex::key_times).collect();
        times.sort_unstable();
        times
    }

    /// See [`SampleIndex::verify_keyframes`].
    ///
    /// # Errors
    /// The bytes that are missing, or the reason why the budget is exhausted.
    pub(super) fn verify_keyframes(
        &mut self,
        buffer: &SparseBuffer,
        codec: &str,
        nal_length_size: usize,
    ) -> Result<(), ReadError> {
        self.media.verify_keyframes(buffer, codec, nal_length_size)?;
        let mut edited = self.clone();
        // The same spans may need more samples now. If those are too many, keep the previous parts.
        match edited.build_parts(buffer.budget(), MAX_SAMPLES) {
            Ok(()) => *self = edited,
            Err(ReadError::Unsupported(_)) => {}
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Returns the samples of a request, in decoding order. If it covers several spans, the samples of each span follow
    /// those of the one before. Samples that are never shown have negative presentation times, or `i64::MAX`.
    ///
    /// # Errors
    /// The reason why the budget is exhausted.
    pub(super) fn find_samples(
        &self,
        request: SampleRequest,
        budget: &WorkBudget,
    ) -> Result<Vec<Sample>, ReadError> {
        let first = self.parts.partition_point(|part| part.start <= request.from).saturating_sub(1);
        let mut run: Vec<Sample> = Vec::new();
        for (place, part) in self.parts.iter().enumerate().skip(first) {
            let request = if place == first {
                request
            } else {
                // Later spans are shifted as far as the keyframe of the first is from the requested time.
                let until = match request.mode {
                    SeekMode::Keyframe => {
                        let key = run.first().filter(|key| key.pts >= 0);
                        let begin = key.map_or(request.from, |key| key.pts);
                        begin.saturating_add(request.until.saturating_sub(request.from))
                    }
                    SeekMode::Exact => request.until,
                };
                if until <= part.start || run.len() > MAX_RUN_SAMPLES {
                    break;
                }
                SampleRequest { from: part.start, until, mode: SeekMode::Exact }
            };
            let last_dts = run.last().map_or(i64::MIN, |sample| sample.dts);
            // Samples that would be shown after the end of the span are not shown, but others depend on them.
            let hidden = |pts: i64| if pts < part.end { pts } else { i64::MAX };
            let samples = part.find_samples(request, budget)?.into_iter();
            run.extend(samples.map(|sample| Sample {
                dts: sample.dts.max(last_dts),
                pts: hidden(sample.pts),
                ..sample
            }));
        }
        Ok(run)
    }
}

impl SampleIndex {
    /// Indexes of the samples that a span needs, from the keyframe before it. Keys are sorted.
    fn decode_range(&self, span: PresentedSpan) -> std::ops::Range<usize> {
        let before = self.keys_by_time.partition_point(|place| self.pts(*place as usize) <= span.media_start);
        let key = self.keys_by_time.get(before.saturating_sub(1)).map_or(0, |place| *place as usize);
        let stop =
            self.dts.partition_point(|dts| dts.saturating_add(self.min_composition_offset) < span.media_end);
        key..stop.max(key)
    }

    /// Builds an index of some of the samples, with presentation times.
    fn presented_part(&self, range: std::ops::Range<usize>, span: PresentedSpan, last_duration: i64) -> Self {
        let mut part = Self::default();
        let first = self.keys.partition_point(|key| (*key as usize) < range.start);
        let mut keys = self.keys.iter().skip(first).peekable();
        for place in range {
            let is_key = keys.next_if(|key| **key as usize == place).is_some();
            if let Some(sample) = self.sample(place, is_key) {
                part.push(sample);
            }
        }
        part.map_to_presentation(span, last_duration);
        part
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: PresentedSpan =
        PresentedSpan { media_start: 0, media_end: i64::MAX, presentation_start: 0, starts_at_frame: false };

    /// Samples with these presentation times and keyframe flags, one tick apart in decoding order.
    fn index(pictures: &[(i64, bool)], span: PresentedSpan) -> SampleIndex {
        let mut index = SampleIndex::default();
        for (place, (pts, key)) in (0..).zip(pictures) {
            index.push(Sample {
                offset: place as u64,
                size: 1,
                dts: place,
                pts: *pts,
                is_key: *key,
                entry: 0,
            });
        }
        index.map_to_presentation(span, 1);
        index
    }

    fn run(index: &SampleIndex, from: i64, until: i64, mode: SeekMode) -> Vec<i64> {
        let run = index.find_samples(SampleRequest { from, until, mode }, &WorkBudget::new(0)).unwrap();
        run.iter().map(|sample| sample.pts).collect()
    }

    /// Two GOPs, the second one open: the frames at 4 and 5 follow its keyframe and depend on the first GOP.
    const OPEN: &[(i64, bool)] = &[
        (0, true),
        (3, false),
        (1, false),
        (2, false),
        (6, true),
        (4, false),
        (5, false),
        (9, false),
        (7, false),
        (8, false),
    ];

    /// A VP8 video: `count` samples of 40,000 bytes, every fiftieth a keyframe of 60,000. The index marks other samples
    /// as keyframes.
    fn film(count: u32, is_marked: impl Fn(u32) -> bool) -> SampleIndex {
        let mut index = SampleIndex::default();
        for place in 0..count {
            let size = if place % 50 == 0 { 60_000 } else { 40_000 };
            let time = i64::from(place);
            let offset = u64::from(place) * 60_000;
            index.push(Sample { offset, size, dts: time, pts: time, is_key: is_marked(place), entry: 0 });
        }
        index.map_to_presentation(ALL, 1);
        index
    }

    /// Verifies the keyframes and returns the number of bytes that were read.
    fn verify_all(index: &mut SampleIndex) -> u64 {
        let mut buffer = SparseBuffer::new(index.len() as u64 * 60_000);
        loop {
            let Err(fault) = index.verify_keyframes(&buffer, "vp8", 0) else {
                return buffer.buffered_bytes();
            };
            let ReadError::NeedMore(ranges) = fault else { panic!("{fault:?}") };
            for range in ranges {
                let byte = |at: u64| u8::from(!at.is_multiple_of(50 * 60_000));
                let bytes: Vec<u8> = range.clone().map(byte).collect();
                buffer.insert(range.start, &bytes.into());
            }
        }
    }

    #[test]
    fn finds_keyframes_by_their_bytes() {
        let right: Vec<i64> = (0..400).step_by(50).collect();
        for called in [|_: u32| true, |_| false, |place| place % 50 == 3, |place| place == 0] {
            let mut index = film(400, called);
            verify_all(&mut index);
            assert_eq!(index.key_times(), right);
            assert_eq!(run(&index, 120, 0, SeekMode::Keyframe), [100]);
        }
    }

    #[test]
    fn checks_only_large_samples_of_large_file() {
        let right: Vec<i64> = (0..5000).step_by(50).collect();
        for called in [|_: u32| true, |_| false, |place| place % 50 == 3, |place| place == 0] {
            let mut index = film(5000, called);
            let bytes = verify_all(&mut index);
            assert_eq!(index.key_times(), right);
            assert!(bytes < 3 << 20, "read {bytes} bytes of 200 MB");
        }
    }

    #[test]
    fn uses_first_sample_without_keyframes() {
        let mut index = film(3, |_| false);
        for offset in &mut index.offsets {
            *offset += 1;
        }
        verify_all(&mut index);
        assert_eq!(index.key_times(), [0]);
    }

    #[test]
    fn intra_refresh_starts_at_recovery_point() {
        let mut index = film(400, |place| place == 0);
        index.recovery_points = vec![(50, 60), (100, 110), (150, 160)];
        assert_eq!(run(&index, 105, 0, SeekMode::Exact), (50..=105).collect::<Vec<_>>());
        assert_eq!(run(&index, 110, 0, SeekMode::Exact), (100..=110).collect::<Vec<_>>());
        assert_eq!(run(&index, 59, 0, SeekMode::Exact), (0..=59).collect::<Vec<_>>());
    }

    #[test]
    fn returns_only_needed_samples() {
        let index = index(OPEN, ALL);
        for (aim, from, until, expected) in [
            (SeekMode::Keyframe, 0, 0, &[0][..]),
            (SeekMode::Keyframe, 5, 0, &[0]),
            (SeekMode::Keyframe, 6, 6, &[6]),
            (SeekMode::Keyframe, 99, 0, &[6]),
            (SeekMode::Keyframe, -5, i64::MIN, &[0]),
            (SeekMode::Keyframe, 7, 9, &[6, 9, 7]),
            (SeekMode::Keyframe, 2, 4, &[0, 3, 1]),
            (SeekMode::Keyframe, 2, 7, &[0, 3, 1, 2, 6, 4]),
            (SeekMode::Exact, 0, 0, &[0]),
            (SeekMode::Exact, 2, 0, &[0, 3, 1, 2]),
            (SeekMode::Exact, 3, 3, &[0, 3]),
            (SeekMode::Exact, 4, 0, &[0, 3, 1, 2, 6, 4]),
            (SeekMode::Exact, 4, 6, &[0, 3, 1, 2, 6, 4, 5]),
            (SeekMode::Exact, 7, 8, &[6, 9, 7]),
            (SeekMode::Exact, 99, 0, &[6, 9]),
            (SeekMode::Exact, 9, i64::MAX, &[6, 9]),
            (SeekMode::Exact, 8, i64::MAX, &[6, 9, 7, 8]),
        ] {
            assert_eq!(run(&index, from, until, aim), expected, "{aim:?} {from}..{until}");
        }
        assert_eq!(index.key_times(), [0, 6]);
    }

    #[test]
    fn edit_list_hides_excluded_samples() {
        let edit =
            PresentedSpan { media_start: 2, media_end: 6, presentation_start: 10, starts_at_frame: true };
        let index = index(OPEN, edit);
        assert_eq!(index.end(), 14);
        assert!(index.key_times().is_empty());
        assert_eq!(run(&index, 10, 0, SeekMode::Exact), [-2, 11, -1, 10]);
        assert_eq!(run(&index, 99, 0, SeekMode::Exact), [-2, 11, -1, 10, 14, 12, 13]);
        // Nothing is shown yet: the first frame is returned.
        assert_eq!(run(&index, 5, 0, SeekMode::Exact), [-2, 11, -1, 10]);
    }

    #[test]
    fn without_presented_keyframe_seeks_exactly() {
        let edit =
            PresentedSpan { media_start: 2, media_end: 5, presentation_start: 0, starts_at_frame: true };
        let index = index(OPEN, edit);
        assert!(index.key_times().is_empty());
        assert_eq!(run(&index, 0, 0, SeekMode::Keyframe), [-2, 1, -1, 0]);
    }

    #[test]
    fn empty_index_returns_no_samples() {
        assert!(run(&index(&[], ALL), 0, 5, SeekMode::Exact).is_empty());
        assert!(run(&index(&[(0, false)], ALL), 0, 5, SeekMode::Keyframe).is_empty());
    }

    /// GOPs: a keyframe, then other frames in any order, some of them shown before it.
    fn pictures() -> impl Strategy<Value = Vec<(i64, bool)>> {
        let group = (0_i64..4, 0_i64..8).prop_flat_map(|(ahead, behind)| {
            let others = |range: std::ops::Range<i64>| Just(range.collect::<Vec<_>>()).prop_shuffle();
            (Just((ahead, behind)), others(-ahead..0), others(1..behind + 1))
        });
        prop::collection::vec(group, 1..6).prop_map(|groups| {
            let (mut pictures, mut at) = (Vec::new(), 0);
            for ((ahead, behind), before, after) in groups {
                let key = at + ahead;
                at = key + behind + 1;
                pictures.push((key, true));
                pictures.extend(before.iter().chain(&after).map(|apart| (key + apart, false)));
            }
            pictures
        })
    }

    proptest! {
        #[test]
        fn returns_decodable_samples_in_order(
            pictures in pictures(), from in -2_i64..60, length in 0_i64..30, exact: bool,
        ) {
            let index = index(&pictures, ALL);
            let aim = if exact { SeekMode::Exact } else { SeekMode::Keyframe };
            let found = run(&index, from, from + length, aim);
            let whole: Vec<i64> = pictures.iter().map(|(pts, _)| *pts).collect();
            let keys: Vec<i64> = pictures.iter().filter(|(_, key)| *key).map(|(pts, _)| *pts).collect();
            // It starts with the keyframe before the requested time, and keeps the decoding order.
            let key = keys.iter().copied().rfind(|key| *key <= from.max(0)).unwrap_or(keys[0]);
            prop_assert_eq!(found[0], key);
            let places: Vec<_> = found.iter().map(|pts| whole.iter().position(|other| other == pts).unwrap()).collect();
            prop_assert!(places.is_sorted_by(|one, other| one < other));
            // No frame that depends on frames before the keyframe.
            prop_assert!(found.iter().all(|pts| *pts >= key));
            let first = if exact {
                whole.iter().copied().filter(|pts| *pts <= from.max(0)).max().unwrap_or(key).max(key)
            } else {
                key
            };
            let until = if exact { from + length } else { key + length };
            let wanted = whole.iter().filter(|pts| **pts == first || (first..until).contains(*pts));
            for pts in wanted {
                prop_assert!(found.contains(pts), "{} is missing", pts);
            }
            // All frames in between are included, since others may depend on them, and the last frame is a requested
            // one.
            let between = &whole[places[0]..=places[places.len() - 1]];
            prop_assert_eq!(between.iter().filter(|pts| **pts >= key).count(), found.len());
            let last = found[found.len() - 1];
            prop_assert!(last == first || (first..until).contains(&last));
        }
    }
}
