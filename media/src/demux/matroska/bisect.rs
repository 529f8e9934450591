//! Finds the samples of a request in a large file without usable cues, by interpolation over byte positions, reading
//! from the next cluster.

use std::ops::Range;

use crate::demux::demuxer::{Sample, SampleRequest, SeekMode};
use crate::demux::error::{ReadError, collect_missing};
use crate::demux::matroska::cluster::{ClusterEvent, ClusterReader};
use crate::demux::matroska::collector::SampleCollector;
use crate::demux::matroska::cue_seek::{
    CLUSTER_HEADER_BYTES, MAX_RUN_BYTES, MIN_KEYFRAME_BYTES, MIN_MORE_BYTES, MatroskaSeeker, proportion,
};
use crate::demux::matroska::resync::{self, ClusterPosition, ClusterSearch};

/// The most bytes that are read to find keyframes for all requests together: the memory that a job has beside its
/// decoder.
const MAX_SEARCH_BYTES: u64 = 96 << 20;
/// The range of the share of one request. Videos recorded by browsers have a keyframe every 3 seconds, which is about 1
/// MiB at 2.5 Mbit/s.
const REQUEST_BYTES: Range<u64> = (512 << 10)..(8 << 20);
/// How far before a guess is read if there is no keyframe after it.
const LOOK_BACK_BYTES: u64 = 2 << 20;
/// A bracket that is smaller than this is read sequentially.
const MIN_BRACKET_BYTES: u64 = 1 << 20;
/// The number of interpolations, and of all rounds: the rest are bisections.
const MAX_INTERPOLATIONS: u32 = 6;
const MAX_ROUNDS: u32 = 32;

/// A keyframe, and the cluster from which it was found.
#[derive(Debug, Clone, Copy)]
struct KeyframePosition {
    cluster: ClusterPosition,
    time: i64,
}

impl MatroskaSeeker<'_> {
    /// Returns the samples of requests for which the cues are not usable. In [`SeekMode::Keyframe`], the next keyframe
    /// after the estimated position is used; if there is none within the budget, the nearest one that was found for
    /// another request.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn find_by_bisection(
        &self,
        requests: &[SampleRequest],
    ) -> Result<Vec<Vec<Sample>>, ReadError> {
        let budget =
            (MAX_SEARCH_BYTES / requests.len().max(1) as u64).clamp(REQUEST_BYTES.start, REQUEST_BYTES.end);
        let mut missing = Vec::new();
        let mut starts = Vec::with_capacity(requests.len());
        for request in requests {
            let start = match request.mode {
                SeekMode::Keyframe => self.find_near(request.from, budget),
                SeekMode::Exact => self
                    .bisect(request.from)
                    .map(|place| Some(KeyframePosition { cluster: place, time: place.time })),
            };
            starts.push(collect_missing(start, &mut missing)?.flatten());
        }
        if !missing.is_empty() {
            return Err(ReadError::NeedMore(missing));
        }
        let found: Vec<KeyframePosition> = starts.iter().flatten().copied().collect();
        let first = KeyframePosition { cluster: self.first_cluster, time: i64::MIN };
        let mut runs = Vec::with_capacity(requests.len());
        for (request, start) in requests.iter().zip(starts) {
            let nearest = || found.iter().min_by_key(|found| found.time.abs_diff(request.from)).copied();
            let start = start.or_else(nearest).unwrap_or(first);
            let samples = match request.mode {
                SeekMode::Keyframe => {
                    let collector = SampleCollector::new(*request, start.time, false, self.reorder_depth);
                    self.collect_from(collector, start.cluster, request.until.saturating_sub(request.from))
                }
                SeekMode::Exact => self.find_exact(request, start.cluster),
            };
            runs.push(collect_missing(samples, &mut missing)?.unwrap_or_default());
        }
        if missing.is_empty() { Ok(runs) } else { Err(ReadError::NeedMore(missing)) }
    }

    /// Collects a run of about `ticks` from a cluster.
    fn collect_from(
        &self,
        collector: SampleCollector,
        cluster: ClusterPosition,
        ticks: i64,
    ) -> Result<Vec<Sample>, ReadError> {
        let all = (
            self.end.time.saturating_sub(self.first_cluster.time),
            self.end.offset.saturating_sub(self.first_cluster.offset),
        );
        let bytes = proportion(ticks, all.0, all.1);
        let likely =
            cluster.offset.saturating_add(bytes).saturating_add(bytes / 4).saturating_add(MIN_KEYFRAME_BYTES);
        let clusters = ClusterReader::new(self.buffer, self.context, cluster.offset);
        self.collect_samples(clusters, collector, cluster.offset, likely, MAX_RUN_BYTES)
    }

    /// Collects the samples that show the requested time, starting at a cluster, or at earlier ones if it has no
    /// keyframe before that time.
    fn find_exact(
        &self,
        request: &SampleRequest,
        mut cluster: ClusterPosition,
    ) -> Result<Vec<Sample>, ReadError> {
        let end = request.until.max(request.from.saturating_add(1));
        let mut step_back = REQUEST_BYTES.start;
        loop {
            let is_first = cluster.offset <= self.first_cluster.offset;
            let collector = SampleCollector::new(*request, i64::MIN, is_first, self.reorder_depth);
            let samples = self.collect_from(collector, cluster, end.saturating_sub(cluster.time))?;
            if !samples.is_empty() || is_first {
                return Ok(samples);
            }
            let from = cluster.offset.saturating_sub(step_back).max(self.first_cluster.offset);
            cluster = match resync::find_first(self.buffer, self.context, from, cluster.offset) {
                ClusterSearch::Cluster(place) if step_back < MAX_RUN_BYTES => place,
                ClusterSearch::Gap(gap) => {
                    let end =
                        cluster.offset.max(gap.saturating_add(CLUSTER_HEADER_BYTES)).min(self.context.end);
                    return Err(self.need_range(gap..end));
                }
                ClusterSearch::Cluster(_) | ClusterSearch::NotFound => self.first_cluster,
            };
            step_back = step_back.saturating_mul(2);
        }
    }

    /// Finds a keyframe near a time, within `budget` bytes of its estimated position.
    fn find_near(&self, time: i64, budget: u64) -> Result<Option<KeyframePosition>, ReadError> {
        let at = Self::interpolate(self.first_cluster, self.end, time);
        let limit = at.saturating_add(budget).min(self.context.end);
        let need_more = |gap: u64| {
            let more = gap.saturating_sub(at).max(REQUEST_BYTES.start);
            self.need_range(gap..limit.min(gap.saturating_add(more)))
        };
        if at <= self.first_cluster.offset.saturating_add(MIN_MORE_BYTES) {
            return self.first_keyframe(self.first_cluster, limit, need_more);
        }
        let found = match resync::find_first(self.buffer, self.context, at, limit) {
            ClusterSearch::Cluster(place) => self.first_keyframe(place, limit, need_more)?,
            ClusterSearch::Gap(gap) if gap < limit => return Err(need_more(gap)),
            ClusterSearch::Gap(_) | ClusterSearch::NotFound => None,
        };
        if found.is_some() || limit < self.context.end {
            return Ok(found);
        }
        // At the end of the file, an earlier keyframe is sufficient.
        let from = at.saturating_sub(budget.min(LOOK_BACK_BYTES)).max(self.first_cluster.offset);
        let gaps = self.buffer.missing_ranges(from..at);
        if gaps.is_empty() { Ok(self.last_keyframe(from, at, time)) } else { Err(ReadError::NeedMore(gaps)) }
    }

    /// The first keyframe from a cluster, up to `limit`.
    fn first_keyframe(
        &self,
        cluster: ClusterPosition,
        limit: u64,
        need_more: impl Fn(u64) -> ReadError,
    ) -> Result<Option<KeyframePosition>, ReadError> {
        let mut clusters = ClusterReader::new(self.buffer, self.context, cluster.offset);
        loop {
            match clusters.next() {
                ClusterEvent::Frame(frame) if frame.is_key => {
                    return Ok(Some(KeyframePosition { cluster, time: frame.pts }));
                }
                ClusterEvent::Frame(frame) if frame.offset < limit => {}
                ClusterEvent::Gap(gap) if gap < limit => return Err(need_more(gap)),
                _ => return Ok(None),
            }
        }
    }

    /// The last keyframe at or before a time in a completely buffered range; otherwise the first one in the range.
    fn last_keyframe(&self, from: u64, to: u64, time: i64) -> Option<KeyframePosition> {
        let ClusterSearch::Cluster(place) = resync::find_first(self.buffer, self.context, from, to) else {
            return None;
        };
        let mut clusters = ClusterReader::new(self.buffer, self.context, place.offset);
        let mut last = None;
        while let ClusterEvent::Frame(frame) = clusters.next() {
            if frame.is_key && (last.is_none() || frame.pts <= time) {
                last = Some(KeyframePosition { cluster: place, time: frame.pts });
            }
        }
        last
    }

    /// Estimates the position of a time between two clusters.
    fn interpolate(low: ClusterPosition, high: ClusterPosition, time: i64) -> u64 {
        let bytes = high.offset.saturating_sub(low.offset);
        let share_bytes =
            proportion(time.saturating_sub(low.time), high.time.saturating_sub(low.time), bytes);
        low.offset.saturating_add(share_bytes.min(bytes))
    }

    /// Finds a cluster shortly before a time.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn bisect(&self, time: i64) -> Result<ClusterPosition, ReadError> {
        let (mut low, mut high) = (self.first_cluster, self.end);
        for round in 0..MAX_ROUNDS {
            let bytes = high.offset.saturating_sub(low.offset);
            let gap_bytes =
                proportion(time.saturating_sub(low.time), high.time.saturating_sub(low.time), bytes);
            if bytes <= MIN_BRACKET_BYTES || gap_bytes <= MIN_BRACKET_BYTES {
                break;
            }
            // If the bitrate varies too much for interpolation, bisection still converges.
            let is_guess = round < MAX_INTERPOLATIONS;
            let guess = if is_guess {
                Self::interpolate(low, high, time).saturating_sub(MIN_BRACKET_BYTES)
            } else {
                low.offset + bytes / 2
            };
            let guess = guess.clamp(low.offset + 1, high.offset);
            match resync::find_first(self.buffer, self.context, guess, high.offset) {
                ClusterSearch::Cluster(place) if place.time <= time => low = place,
                ClusterSearch::Cluster(place) => high = ClusterPosition { offset: guess, time: place.time },
                ClusterSearch::NotFound => high.offset = guess,
                ClusterSearch::Gap(gap) if gap.saturating_sub(guess) > REQUEST_BYTES.end => {
                    high.offset = guess;
                }
                ClusterSearch::Gap(gap) => {
                    let more = gap.saturating_sub(guess).max(MIN_BRACKET_BYTES);
                    return Err(self.need_range(gap..gap.saturating_add(more).min(self.context.end)));
                }
            }
        }
        Ok(low)
    }
}
