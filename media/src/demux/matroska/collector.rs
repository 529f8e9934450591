//! Collects the samples of a request from the frames of a file, and computes the decoding times that Matroska does not
//! store.

use crate::demux::demuxer::{Sample, SampleRequest, SeekMode};
use crate::demux::matroska::cluster::BlockFrame;

/// The most samples of a run: eight minutes at 60 frames per second, far more than are decoded at once.
const MAX_RUN_SAMPLES: usize = 1 << 15;

/// Collects the frames of a run.
#[derive(Debug)]
pub(super) struct SampleCollector {
    request: SampleRequest,
    /// Frames before this time do not start a run.
    min_pts: i64,
    /// Whether a keyframe after the requested time also starts the run: there is no earlier one.
    is_first: bool,
    reorder_depth: usize,
    frames: Vec<BlockFrame>,
    /// The number of consecutive frames that are shown after the end.
    late_frames: usize,
    is_done: bool,
}

impl SampleCollector {
    /// Creates a collector. The run starts with a keyframe: for [`SeekMode::Keyframe`] the first at or after `min_pts`;
    /// for [`SeekMode::Exact`] the last at or before the requested time, or, with `is_first`, the first one.
    pub(super) fn new(request: SampleRequest, min_pts: i64, is_first: bool, reorder_depth: usize) -> Self {
        Self { request, min_pts, is_first, reorder_depth, frames: Vec::new(), late_frames: 0, is_done: false }
    }

    /// Whether no later frame of the file is needed.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The keyframe at the start of the run.
    pub(super) fn first_frame(&self) -> Option<&BlockFrame> {
        self.frames.first()
    }

    /// The latest presentation time of the collected frames.
    pub(super) fn latest_pts(&self) -> Option<i64> {
        self.frames.iter().map(|frame| frame.pts).max()
    }

    /// Presentation time of the first keyframe.
    fn start(&self) -> Option<i64> {
        self.frames.first().map(|frame| frame.pts)
    }

    /// End of the run, exclusive, once it has started.
    pub(super) fn end(&self) -> Option<i64> {
        let begin = self.start()?;
        Some(match self.request.mode {
            SeekMode::Keyframe if self.request.until <= self.request.from => begin.saturating_add(1),
            SeekMode::Keyframe => begin.saturating_add(self.request.until.saturating_sub(self.request.from)),
            SeekMode::Exact => {
                self.request.until.max(self.request.from.saturating_add(1)).max(begin.saturating_add(1))
            }
        })
    }

    /// Adds the next frame, in stored order.
    pub(super) fn push(&mut self, frame: BlockFrame) {
        let is_start = frame.is_key
            && match self.request.mode {
                SeekMode::Keyframe => self.frames.is_empty() && frame.pts >= self.min_pts,
                SeekMode::Exact => {
                    frame.pts <= self.request.from || (self.is_first && self.frames.is_empty())
                }
            };
        if is_start {
            self.frames.clear();
            self.late_frames = 0;
        } else if self.frames.is_empty() {
            // Frames before the first keyframe cannot be decoded. A keyframe after the requested time ends the search.
            self.is_done = self.request.mode == SeekMode::Exact && frame.is_key;
            return;
        }
        let is_leading = self.start().is_some_and(|begin| frame.pts < begin);
        if !is_leading {
            self.frames.push(frame);
        }
        let Some(end) = self.end() else { return };
        self.late_frames = if frame.pts >= end { self.late_frames + 1 } else { 0 };
        // In keyframe mode, stop at the next keyframe after the end: frames that follow it but are shown before it are
        // not worth reading.
        let is_near = self.request.mode == SeekMode::Keyframe
            && (self.request.until <= self.request.from || (frame.is_key && frame.pts >= end));
        self.is_done =
            is_near || self.late_frames >= self.reorder_depth || self.frames.len() >= MAX_RUN_SAMPLES;
    }

    /// Returns the samples up to the last one that is shown before the end.
    pub(super) fn into_samples(mut self) -> Vec<Sample> {
        let Some(end) = self.end() else { return Vec::new() };
        let count = self.frames.iter().rposition(|frame| frame.pts < end).map_or(0, |last| last + 1);
        self.frames.truncate(count);
        frames_to_samples(&self.frames)
    }
}

/// Converts frames to samples. The decoding time of the n-th frame is the n-th presentation time in ascending order,
/// with all times shifted so that none exceeds its presentation time. Decoding times are therefore strictly ascending.
/// They depend on the frames of the run; only their order and their distance to `pts` are meaningful.
pub(super) fn frames_to_samples(frames: &[BlockFrame]) -> Vec<Sample> {
    let mut ranked: Vec<i64> = frames.iter().map(|frame| frame.pts).collect();
    ranked.sort_unstable();
    let mut last = None;
    for time in &mut ranked {
        *time = last.map_or(*time, |last: i64| (*time).max(last + 1));
        last = Some(*time);
    }
    let shift = ranked.iter().zip(frames).map(|(time, frame)| time - frame.pts).max().unwrap_or(0).max(0);
    ranked
        .iter()
        .zip(frames)
        .map(|(time, frame)| Sample {
            offset: frame.offset,
            size: frame.size,
            dts: time - shift,
            pts: frame.pts,
            is_key: frame.is_key,
            entry: 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(pts: i64, is_key: bool) -> BlockFrame {
        BlockFrame { offset: 1000 + pts as u64, size: 10, pts, is_key }
    }

    /// Two open GOPs in stored order: after the second keyframe come frames that are shown before it.
    fn frames_of_two_gops() -> Vec<BlockFrame> {
        [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11, 16, 14, 13, 15]
            .map(|pts| frame(pts, pts == 0 || pts == 8))
            .to_vec()
    }

    #[track_caller]
    fn check((mode, from, until): (SeekMode, i64, i64), expected: &[i64]) {
        let mut collector = SampleCollector::new(SampleRequest { from, until, mode }, from.min(8), false, 8);
        for frame in frames_of_two_gops() {
            if collector.is_done() {
                break;
            }
            collector.push(frame);
        }
        let found: Vec<i64> = collector.into_samples().iter().map(|sample| sample.pts).collect();
        assert_eq!(found, expected, "{mode:?} {from}..{until}");
    }

    #[test]
    fn collects_only_needed_samples() {
        check((SeekMode::Keyframe, 0, 0), &[0]);
        check((SeekMode::Keyframe, 8, 0), &[8]);
        check((SeekMode::Keyframe, 9, 0), &[8]);
        check((SeekMode::Keyframe, 0, 3), &[0, 4, 2, 1]);
        check((SeekMode::Keyframe, 8, 11), &[8, 12, 10, 9]);
        check((SeekMode::Exact, 0, 0), &[0]);
        check((SeekMode::Exact, 1, 0), &[0, 4, 2, 1]);
        check((SeekMode::Exact, 3, 4), &[0, 4, 2, 1, 3]);
        check((SeekMode::Exact, 7, 0), &[0, 4, 2, 1, 3, 8, 6, 5, 7]);
        check((SeekMode::Exact, 9, 10), &[8, 12, 10, 9]);
        check((SeekMode::Exact, 15, 99), &[8, 12, 10, 9, 11, 16, 14, 13, 15]);
        check((SeekMode::Exact, -1, -1), &[]);
    }

    proptest! {
        #[test]
        fn decode_times_ascend_and_precede_presentation(times in prop::collection::vec(-1000_i64..1000, 0..50)) {
            let frames: Vec<BlockFrame> = times.iter().map(|pts| BlockFrame { offset: 0, size: 1, pts: *pts, is_key: false }).collect();
            let samples = frames_to_samples(&frames);
            prop_assert_eq!(samples.len(), frames.len());
            prop_assert!(samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
            prop_assert!(samples.iter().all(|sample| sample.dts <= sample.pts));
        }
    }
}
