//! Decides what all of a small file holds: every frame of the track, read once, damage skipped.

use glimpse_contract::Code;

use crate::demux::budget::{Budget, LOOKUP, SAMPLE};
use crate::demux::buffer::{Fault, Known};
use crate::demux::demuxer::{Aim, Sample, Want};
use crate::demux::index::VERIFIED_HEAD;
use crate::demux::matroska::cluster::{Frame, Reader, Step, Walk};
use crate::demux::matroska::codec::Codec;
use crate::demux::matroska::collector::Run;
use crate::demux::matroska::resync::{self, Found};
use crate::demux::reference::{Access, access};

/// The most frames of a file that is indexed whole: a second of each would be 17 bytes long.
const MAX_FRAMES: usize = 500_000;

/// Every frame of a track.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// In stored order.
    pub(super) frames: Vec<Frame>,
    /// When keyframes are shown, and their place in `frames`; ascending.
    pub(super) keys: Vec<(i64, usize)>,
    /// When the first pictures are shown that are right after a recovery point, and the place of that; ascending.
    pub(super) gradual: Vec<(i64, usize)>,
    /// When the last block of any track begins.
    pub(super) latest: i64,
}

/// What tells keyframes apart by their own bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) codec: Codec,
    /// What stands before the bytes of each frame.
    pub(super) prefix: &'a [u8],
    /// How many bytes the length of a NAL unit takes.
    pub(super) nal_length: usize,
}

impl Judge<'_> {
    fn access(&self, known: &Known, frame: &Frame) -> Access {
        let size = u64::from(frame.size).min(VERIFIED_HEAD);
        let mut head = known.available(frame.offset..frame.offset + size);
        if !self.prefix.is_empty() {
            head = [self.prefix, &head].concat().into();
        }
        access(self.codec.name(), &head, self.nal_length)
    }
}

impl Index {
    /// Reads all of the segment from `first` on.
    ///
    /// # Errors
    /// What is missing of it; [`Code::Truncated`] if there is no frame.
    pub(super) fn read(known: &Known, reader: Reader, first: u64, judge: &Judge<'_>) -> Result<Self, Fault> {
        // One piece, so that nothing is gathered again for every element.
        let mut whole = known.emptied();
        whole.learn(first, &known.bytes(first..reader.end)?);
        let (mut frames, mut latest) = (Vec::new(), 0);
        let mut walk = Walk::new(&whole, reader, first);
        loop {
            match walk.next() {
                Step::Frame(frame) if frames.len() < MAX_FRAMES => frames.push(frame),
                Step::Frame(_) => return Err(Fault::Foreign("more frames than bytes allow")),
                Step::Damaged(at) => match resync::first(&whole, reader, at + 1, reader.end) {
                    Found::Cluster(place) => {
                        latest = latest.max(walk.latest());
                        walk = Walk::new(&whole, reader, place.at);
                    }
                    Found::Gap(_) | Found::Nothing => break,
                },
                Step::Gap(_) | Step::End => break,
            }
        }
        known.budget().spend(frames.len() as u64 * SAMPLE)?;
        if frames.is_empty() {
            return Err(Fault::Refused(Code::Truncated));
        }
        latest = latest.max(walk.latest());
        // Everything is known: then the frames themselves tell which of them are keyframes, not who wrote the file.
        let mut points = Vec::new();
        let mut is_told = false;
        for (place, frame) in frames.iter_mut().enumerate() {
            let access = judge.access(&whole, frame);
            is_told |= access != Access::Unknown;
            match access {
                Access::Point => frame.is_key = true,
                Access::Dependent => frame.is_key = false,
                Access::Gradual(count) => {
                    frame.is_key = false;
                    points.push((place, count));
                }
                Access::Unknown => {}
            }
        }
        let keyed = frames.iter().enumerate().filter(|(_, frame)| frame.is_key);
        let mut keys: Vec<_> = keyed.map(|(place, frame)| (frame.pts, place)).collect();
        if keys.is_empty() {
            if !is_told {
                return Err(Fault::Foreign("no keyframe"));
            }
            // Decoding has to begin somewhere.
            keys.extend(frames.first().map(|frame| (frame.pts, 0)));
        }
        keys.sort_unstable();
        let mut gradual: Vec<_> = points
            .into_iter()
            .filter_map(|(place, count)| Some((frames.get(place + count as usize)?.pts, place)))
            .collect();
        gradual.sort_unstable();
        Ok(Self { frames, keys, gradual, latest })
    }

    /// Counts times from another origin.
    pub(super) fn rebase(&mut self, origin: i64) {
        for frame in &mut self.frames {
            frame.pts -= origin;
        }
        for (time, _) in self.keys.iter_mut().chain(&mut self.gradual) {
            *time -= origin;
        }
        self.latest -= origin;
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
    ///
    /// # Errors
    /// Why there is no budget left.
    pub(super) fn run(&self, want: &Want, patience: usize, budget: &Budget) -> Result<Vec<Sample>, Fault> {
        let before = self.keys.partition_point(|(time, _)| *time <= want.from);
        let Some((time, place)) = self.keys.get(before.saturating_sub(1)).copied() else {
            return Ok(Vec::new());
        };
        let not_before = if want.aim == Aim::Keyframe { time } else { i64::MIN };
        let mut run = Run::new(*want, not_before, before == 0, patience);
        let right = self.gradual.partition_point(|(time, _)| *time <= want.from);
        let recovery =
            right.checked_sub(1).and_then(|at| self.gradual.get(at)).map_or(0, |(_, place)| *place);
        let place = if want.aim == Aim::Exact { place.max(recovery) } else { place };
        let mut pushed = 0;
        for (frame, at) in self.frames.iter().skip(place).zip(place..) {
            // Decoding begins with a recovery point as with a keyframe.
            run.push(Frame { is_key: frame.is_key || at == place, ..*frame });
            pushed += 1;
            if run.is_done() {
                break;
            }
        }
        budget.spend(LOOKUP + pushed * SAMPLE)?;
        Ok(run.samples())
    }
}
