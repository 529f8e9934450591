//! Decides what all of a small file holds: every frame of the track, read once, damage skipped.

use glimpse_contract::Code;

use super::cluster::{Frame, Reader, Step, Walk};
use super::resync::{self, Found};
use super::run::Run;
use crate::demux::known::{Fault, Known};
use crate::demux::movie::{Aim, Sample, Want};

/// The most frames of a file that is indexed whole: a second of each would be 17 bytes long.
const MAX_FRAMES: usize = 500_000;

/// Every frame of a track.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// In stored order.
    pub(super) frames: Vec<Frame>,
    /// When keyframes are shown, and their place in `frames`; ascending.
    pub(super) keys: Vec<(i64, usize)>,
}

impl Index {
    /// Reads all of the segment from `first` on.
    ///
    /// # Errors
    /// What is missing of it; [`Code::Truncated`] if there is no frame.
    pub(super) fn read(known: &Known, reader: Reader, first: u64) -> Result<Self, Fault> {
        // One piece, so that nothing is gathered again for every element.
        let mut whole = Known::new(known.total());
        whole.learn(first, &known.bytes(first..reader.end)?);
        let mut frames = Vec::new();
        let mut walk = Walk::new(&whole, reader, first);
        loop {
            match walk.next() {
                Step::Frame(frame) if frames.len() < MAX_FRAMES => frames.push(frame),
                Step::Frame(_) => return Err(Fault::Foreign("more frames than bytes allow")),
                Step::Damaged(at) => match resync::first(&whole, reader, at + 1, reader.end) {
                    Found::Cluster(place) => walk = Walk::new(&whole, reader, place.at),
                    Found::Gap(_) | Found::Nothing => break,
                },
                Step::Gap(_) | Step::End => break,
            }
        }
        if frames.is_empty() {
            return Err(Fault::Refused(Code::Truncated));
        }
        let keyed = frames.iter().enumerate().filter(|(_, frame)| frame.is_key);
        let mut keys: Vec<_> = keyed.map(|(place, frame)| (frame.pts, place)).collect();
        if keys.is_empty() {
            return Err(Fault::Foreign("no keyframe"));
        }
        keys.sort_unstable();
        Ok(Self { frames, keys })
    }

    /// Counts times from another origin.
    pub(super) fn rebase(&mut self, origin: i64) {
        for frame in &mut self.frames {
            frame.pts -= origin;
        }
        for (time, _) in &mut self.keys {
            *time -= origin;
        }
    }

    /// When the last frame ends, if a frame takes as long as `frame_ticks`, or as all do on average.
    pub(super) fn end(&self, frame_ticks: i64) -> i64 {
        let first = self.frames.iter().map(|frame| frame.pts).min().unwrap_or(0);
        let last = self.frames.iter().map(|frame| frame.pts).max().unwrap_or(0);
        let average =
            (last - first) / i64::try_from(self.frames.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
        last + if frame_ticks > 0 { frame_ticks } else { average.max(1) }
    }

    /// The samples of a want.
    pub(super) fn run(&self, want: &Want, patience: usize) -> Vec<Sample> {
        let before = self.keys.partition_point(|(time, _)| *time <= want.from);
        let Some((time, place)) = self.keys.get(before.saturating_sub(1)).copied() else { return Vec::new() };
        let not_before = if want.aim == Aim::Keyframe { time } else { i64::MIN };
        let mut run = Run::new(*want, not_before, before == 0, patience);
        for frame in self.frames.iter().skip(place) {
            run.push(*frame);
            if run.is_done() {
                break;
            }
        }
        run.samples()
    }
}
