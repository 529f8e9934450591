//! Decides which of the frames that pass by are the samples of a want, and gives them the decoding times that
//! Matroska does not keep.

use crate::demux::demuxer::{Aim, Sample, Want};
use crate::demux::matroska::cluster::Frame;

/// The most samples of a run: eight minutes of 60 frames a second, far more than anybody decodes at once.
const MAX_RUN: usize = 1 << 15;

/// Frames on their way to be a run.
#[derive(Debug)]
pub(super) struct Run {
    want: Want,
    /// Frames before this time do not begin a run.
    not_before: i64,
    /// Whether a keyframe after the moment begins it too: nothing comes before it.
    is_first: bool,
    patience: usize,
    frames: Vec<Frame>,
    /// How many frames were shown too late, one after another.
    late: usize,
    is_done: bool,
}

impl Run {
    /// Waits for the keyframe that begins the run: for [`Aim::Keyframe`] the first at or after `not_before`; for
    /// [`Aim::Exact`] the last at or before the moment, or, with `is_first`, the first there is.
    pub(super) fn new(want: Want, not_before: i64, is_first: bool, patience: usize) -> Self {
        Self { want, not_before, is_first, patience, frames: Vec::new(), late: 0, is_done: false }
    }

    /// Whether no frame that follows in the file is needed.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The keyframe that it begins with.
    pub(super) fn first(&self) -> Option<&Frame> {
        self.frames.first()
    }

    /// The latest time of its frames.
    pub(super) fn reached(&self) -> Option<i64> {
        self.frames.iter().map(|frame| frame.pts).max()
    }

    /// When its keyframe is shown.
    fn begin(&self) -> Option<i64> {
        self.frames.first().map(|frame| frame.pts)
    }

    /// When it ends, exclusive, once it began.
    pub(super) fn end(&self) -> Option<i64> {
        let begin = self.begin()?;
        Some(match self.want.aim {
            Aim::Keyframe if self.want.until <= self.want.from => begin.saturating_add(1),
            Aim::Keyframe => begin.saturating_add(self.want.until.saturating_sub(self.want.from)),
            Aim::Exact => self.want.until.max(self.want.from.saturating_add(1)).max(begin.saturating_add(1)),
        })
    }

    /// Takes the next frame in stored order.
    pub(super) fn push(&mut self, frame: Frame) {
        let is_begin = frame.is_key
            && match self.want.aim {
                Aim::Keyframe => self.frames.is_empty() && frame.pts >= self.not_before,
                Aim::Exact => frame.pts <= self.want.from || (self.is_first && self.frames.is_empty()),
            };
        if is_begin {
            self.frames.clear();
            self.late = 0;
        } else if self.frames.is_empty() {
            // Nothing of what passes before the first keyframe can be decoded. One that comes too late ends it all.
            self.is_done = self.want.aim == Aim::Exact && frame.is_key;
            return;
        }
        let leads = self.begin().is_some_and(|begin| frame.pts < begin);
        if !leads {
            self.frames.push(frame);
        }
        let Some(end) = self.end() else { return };
        self.late = if frame.pts >= end { self.late + 1 } else { 0 };
        // What follows the next keyframe and is shown before it is worth no further bytes where near is near enough.
        let is_near = self.want.aim == Aim::Keyframe
            && (self.want.until <= self.want.from || (frame.is_key && frame.pts >= end));
        self.is_done = is_near || self.late >= self.patience || self.frames.len() >= MAX_RUN;
    }

    /// The samples up to the last that is shown before the end.
    pub(super) fn samples(mut self) -> Vec<Sample> {
        let Some(end) = self.end() else { return Vec::new() };
        let kept = self.frames.iter().rposition(|frame| frame.pts < end).map_or(0, |last| last + 1);
        self.frames.truncate(kept);
        samples(&self.frames)
    }
}

/// Frames as samples. A frame is decoded when the frame of its rank in the order of showing is shown, all shifted to
/// earlier by as much as it takes that none is shown before it is decoded: so times of decoding ascend strictly.
/// They depend on which frames the run has; only their order and their distance to `pts` mean something.
pub(super) fn samples(frames: &[Frame]) -> Vec<Sample> {
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
            key: frame.is_key,
            entry: 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(pts: i64, is_key: bool) -> Frame {
        Frame { offset: 1000 + pts as u64, size: 10, pts, is_key }
    }

    /// Two open groups of pictures in stored order: the second keyframe is followed by pictures shown before it.
    fn film() -> Vec<Frame> {
        [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11, 16, 14, 13, 15]
            .map(|pts| frame(pts, pts == 0 || pts == 8))
            .to_vec()
    }

    #[track_caller]
    fn check((aim, from, until): (Aim, i64, i64), expected: &[i64]) {
        let mut run = Run::new(Want { from, until, aim }, from.min(8), false, 8);
        for frame in film() {
            if run.is_done() {
                break;
            }
            run.push(frame);
        }
        let found: Vec<i64> = run.samples().iter().map(|sample| sample.pts).collect();
        assert_eq!(found, expected, "{aim:?} {from}..{until}");
    }

    #[test]
    fn takes_what_a_want_needs_and_no_more() {
        check((Aim::Keyframe, 0, 0), &[0]);
        check((Aim::Keyframe, 8, 0), &[8]);
        check((Aim::Keyframe, 9, 0), &[8]);
        check((Aim::Keyframe, 0, 3), &[0, 4, 2, 1]);
        check((Aim::Keyframe, 8, 11), &[8, 12, 10, 9]);
        check((Aim::Exact, 0, 0), &[0]);
        check((Aim::Exact, 1, 0), &[0, 4, 2, 1]);
        check((Aim::Exact, 3, 4), &[0, 4, 2, 1, 3]);
        check((Aim::Exact, 7, 0), &[0, 4, 2, 1, 3, 8, 6, 5, 7]);
        check((Aim::Exact, 9, 10), &[8, 12, 10, 9]);
        check((Aim::Exact, 15, 99), &[8, 12, 10, 9, 11, 16, 14, 13, 15]);
        check((Aim::Exact, -1, -1), &[]);
    }

    proptest! {
        #[test]
        fn decoding_times_ascend_and_are_never_late(times in prop::collection::vec(-1000_i64..1000, 0..50)) {
            let frames: Vec<Frame> = times.iter().map(|pts| Frame { offset: 0, size: 1, pts: *pts, is_key: false }).collect();
            let samples = samples(&frames);
            prop_assert_eq!(samples.len(), frames.len());
            prop_assert!(samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
            prop_assert!(samples.iter().all(|sample| sample.dts <= sample.pts));
        }
    }
}
