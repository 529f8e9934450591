//! Finds the samples of a request in a large file by its cues, and estimates how many bytes to fetch.

use std::ops::Range;

use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Sample, SampleRequest, SeekMode};
use crate::demux::error::ReadError;
use crate::demux::matroska::cluster::{ClusterContext, ClusterEvent, ClusterReader};
use crate::demux::matroska::collector::SampleCollector;
use crate::demux::matroska::cues::Cue;
use crate::demux::matroska::resync::ClusterPosition;

/// How many bytes are fetched for a cluster's header: ID, size, timestamp and elements that may precede it.
pub(super) const CLUSTER_HEADER_BYTES: u64 = 64;
/// Ranges closer together than this are fetched as one.
const MERGE_DISTANCE: u64 = 16 << 10;
/// The fewest and the most bytes that are fetched for one keyframe.
pub(super) const MIN_KEYFRAME_BYTES: u64 = 32 << 10;
const MAX_KEYFRAME_BYTES: u64 = 512 << 10;
/// The fewest bytes that are fetched if a run is longer than estimated.
pub(super) const MIN_MORE_BYTES: u64 = 64 << 10;
/// The most bytes that are read for one run. Keyframes of real videos are closer together.
pub(super) const MAX_RUN_BYTES: u64 = 64 << 20;
/// How many earlier cues are tried if there is no keyframe before the requested time at the best one.
const MAX_CUES_BACK: usize = 4;

/// The properties of a file that are needed to search it.
#[derive(Debug)]
pub(super) struct MatroskaSeeker<'a> {
    pub(super) buffer: &'a SparseBuffer,
    pub(super) context: ClusterContext,
    pub(super) cues: &'a [Cue],
    /// The first cluster, and the end of the last as far as it is known.
    pub(super) first_cluster: ClusterPosition,
    pub(super) end: ClusterPosition,
    pub(super) reorder_depth: usize,
    /// The expected size of a keyframe.
    pub(super) keyframe_bytes: u64,
}

impl MatroskaSeeker<'_> {
    /// Returns the samples of a request by the cues; `None` if the cues are wrong.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn find_by_cues(&self, request: &SampleRequest) -> Result<Option<Vec<Sample>>, ReadError> {
        let before = self.cues.partition_point(|cue| cue.time <= request.from).saturating_sub(1);
        for place in (before.saturating_sub(MAX_CUES_BACK)..=before).rev() {
            if let Some(run) = self.find_by_cue(request, place)? {
                return Ok(Some(run));
            }
            if request.mode == SeekMode::Keyframe {
                break;
            }
        }
        Ok(None)
    }

    fn find_by_cue(&self, request: &SampleRequest, place: usize) -> Result<Option<Vec<Sample>>, ReadError> {
        let Some(cue) = self.cues.get(place) else { return Ok(None) };
        let block = cue.cluster.saturating_add(cue.relative_position.unwrap_or(0));
        let likely_bytes = self.likely_run_bytes(request, place);
        let need_until = |gap: u64| {
            let end = block
                .saturating_add(likely_bytes)
                .max(gap.saturating_add(CLUSTER_HEADER_BYTES))
                .min(self.context.end);
            let head = (cue.cluster + CLUSTER_HEADER_BYTES).min(self.context.end);
            if block.saturating_sub(head) < MERGE_DISTANCE {
                return self.need_range(cue.cluster..end);
            }
            ReadError::NeedMore(
                [cue.cluster..head, block..end]
                    .into_iter()
                    .flat_map(|range| self.buffer.missing_ranges(range))
                    .collect(),
            )
        };
        let mut clusters = ClusterReader::new(self.buffer, self.context, cue.cluster);
        match clusters.enter_cluster() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(gap) => return Err(need_until(gap)),
        }
        // A block's timestamp is a 16-bit number relative to its cluster.
        let farthest = self.context.clock.duration_to_ticks(1 << 15);
        if clusters.cluster_time().is_none_or(|time| (time - cue.time).abs() > farthest) {
            return Ok(None);
        }
        if let Some(relative) = cue.relative_position
            && let Some(body) = clusters.cluster_body()
        {
            let at = body.saturating_add(relative);
            match clusters.peek_time(at) {
                Ok(Some(pts)) if (pts - cue.time).abs() <= 1 => clusters.seek(at),
                Ok(_) => {}
                Err(gap) => return Err(need_until(gap)),
            }
        }
        let start = clusters.position();
        let collector = SampleCollector::new(*request, cue.time - 1, place == 0, self.reorder_depth);
        let samples = self.collect_samples(
            clusters,
            collector,
            start,
            start.saturating_add(likely_bytes),
            MAX_RUN_BYTES,
        )?;
        Ok(Some(samples).filter(|run| !run.is_empty()))
    }

    /// Estimates how many bytes from a cue contain all samples of a request.
    fn likely_run_bytes(&self, request: &SampleRequest, place: usize) -> u64 {
        let Some(cue) = self.cues.get(place) else { return MIN_KEYFRAME_BYTES };
        let here = cue.cluster.saturating_add(cue.relative_position.unwrap_or(0));
        let block_offset = |cue: &Cue| cue.cluster.saturating_add(cue.relative_position.unwrap_or(0));
        let next = self.cues.get(place + 1);
        let gap = next.map_or(self.context.end, block_offset).saturating_sub(here).max(CLUSTER_HEADER_BYTES);
        let keyframe_bytes = (self.keyframe_bytes + self.keyframe_bytes / 4)
            .max(gap / 8)
            .clamp(MIN_KEYFRAME_BYTES, MAX_KEYFRAME_BYTES);
        let ticks = match request.mode {
            SeekMode::Keyframe => request.until.saturating_sub(request.from),
            SeekMode::Exact => request.until.max(request.from.saturating_add(1)).saturating_sub(cue.time),
        };
        if ticks <= 1 {
            return keyframe_bytes.min(gap);
        }
        // Up to the first cue at or after the end, with interpolation between the last two.
        let end = cue.time.saturating_add(ticks);
        let last = self.cues.partition_point(|cue| cue.time < end).max(place + 1);
        let low = self.cues.get(last - 1).unwrap_or(cue);
        let (high, high_time) = self
            .cues
            .get(last)
            .map_or((self.context.end, self.end.time), |cue| (block_offset(cue), cue.time));
        let share_bytes = proportion(
            end.saturating_sub(low.time),
            high_time.saturating_sub(low.time),
            high.saturating_sub(block_offset(low)),
        );
        let whole = high.saturating_sub(here);
        let wanted = block_offset(low)
            .saturating_sub(here)
            .saturating_add(share_bytes + share_bytes / 4)
            .saturating_add(keyframe_bytes);
        wanted.min(whole.saturating_add(CLUSTER_HEADER_BYTES)).min(MAX_RUN_BYTES)
    }

    /// Reads clusters until a run is complete. Fetches missing bytes up to `likely_end`, or by an estimate from the
    /// bytes that were read so far.
    pub(super) fn collect_samples(
        &self,
        mut clusters: ClusterReader<'_>,
        mut collector: SampleCollector,
        start: u64,
        likely_end: u64,
        max_bytes: u64,
    ) -> Result<Vec<Sample>, ReadError> {
        while !collector.is_done() {
            match clusters.next() {
                ClusterEvent::Frame(frame) if frame.offset.saturating_sub(start) > max_bytes => break,
                ClusterEvent::Frame(frame) => collector.push(frame),
                ClusterEvent::Gap(gap) if gap.saturating_sub(start) > max_bytes => break,
                ClusterEvent::Gap(gap) => {
                    let read_bytes = gap.saturating_sub(start);
                    let more = Self::remaining_bytes(&collector, read_bytes)
                        .unwrap_or(read_bytes / 2)
                        .clamp(MIN_MORE_BYTES, MAX_RUN_BYTES / 4);
                    let end = likely_end.max(gap.saturating_add(more)).min(self.context.end);
                    let from = collector.first_frame().map_or(gap, |frame| frame.offset).min(gap);
                    return Err(self.need_range(from..end));
                }
                ClusterEvent::End | ClusterEvent::Damaged(_) => break,
            }
        }
        Ok(collector.into_samples())
    }

    /// Estimates the remaining bytes of a run from the bytes that were read so far.
    fn remaining_bytes(collector: &SampleCollector, read_bytes: u64) -> Option<u64> {
        let (first, reached, end) = (collector.first_frame()?.pts, collector.latest_pts()?, collector.end()?);
        (reached > first).then(|| {
            let more = proportion(end.saturating_sub(reached), reached - first, read_bytes);
            more.saturating_add(more / 4).saturating_add(MIN_KEYFRAME_BYTES)
        })
    }

    pub(super) fn need_range(&self, range: Range<u64>) -> ReadError {
        ReadError::NeedMore(self.buffer.missing_ranges(range))
    }
}

/// The share of `bytes` that corresponds to the ratio of `part` to `whole`.
pub(super) fn proportion(part: i64, whole: i64, bytes: u64) -> u64 {
    if part <= 0 || whole <= 0 {
        return 0;
    }
    (u128::from(bytes) * part as u128 / whole as u128).min(u128::from(u64::MAX / 8)) as u64
}
