//! Decides where in a large file the samples of a want are looked for by its cues, and how much is asked for.

use std::ops::Range;

use crate::demux::buffer::{Fault, Known};
use crate::demux::demuxer::{Aim, Sample, Want};
use crate::demux::matroska::cluster::{Reader, Step, Walk};
use crate::demux::matroska::collector::Run;
use crate::demux::matroska::cues::Cue;
use crate::demux::matroska::resync::Place;

/// What is asked for of the head of a cluster: ID, size, timestamp and what may stand before it.
pub(super) const CLUSTER_HEAD: u64 = 64;
/// Ranges nearer than this are asked for as one.
const NEAR: u64 = 16 << 10;
/// The least and the most that is asked for one keyframe.
pub(super) const MIN_KEYFRAME: u64 = 32 << 10;
const MAX_KEYFRAME: u64 = 512 << 10;
/// The least that is asked for where a stretch turned out longer than was thought.
pub(super) const MIN_MORE: u64 = 64 << 10;
/// The longest stretch that is walked for one run. More lies between keyframes of no file that people watch.
pub(super) const MAX_STRETCH: u64 = 64 << 20;
/// How many cues before the right one are tried where that has no keyframe before the moment.
const MAX_BACK: usize = 4;

/// What is known of a file when moments are looked for in it.
#[derive(Debug)]
pub(super) struct Finder<'a> {
    pub(super) known: &'a Known,
    pub(super) reader: Reader,
    pub(super) cues: &'a [Cue],
    /// The first cluster, and the end of the last as well as it is known.
    pub(super) first: Place,
    pub(super) end: Place,
    pub(super) patience: usize,
    /// How large a keyframe may be expected to be.
    pub(super) keyframe: u64,
}

impl Finder<'_> {
    /// The samples of a want by the cues; none if they do not hold what they promise.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn by_cues(&self, want: &Want) -> Result<Option<Vec<Sample>>, Fault> {
        let before = self.cues.partition_point(|cue| cue.time <= want.from).saturating_sub(1);
        for place in (before.saturating_sub(MAX_BACK)..=before).rev() {
            if let Some(run) = self.by_cue(want, place)? {
                return Ok(Some(run));
            }
            if want.aim == Aim::Keyframe {
                break;
            }
        }
        Ok(None)
    }

    fn by_cue(&self, want: &Want, place: usize) -> Result<Option<Vec<Sample>>, Fault> {
        let Some(cue) = self.cues.get(place) else { return Ok(None) };
        let block = cue.cluster.saturating_add(cue.relative.unwrap_or(0));
        let window = self.window(want, place);
        let ask = |gap: u64| {
            let end = block.saturating_add(window).max(gap.saturating_add(CLUSTER_HEAD)).min(self.reader.end);
            let head = (cue.cluster + CLUSTER_HEAD).min(self.reader.end);
            if block.saturating_sub(head) < NEAR {
                return self.missing(cue.cluster..end);
            }
            Fault::Missing(
                [cue.cluster..head, block..end]
                    .into_iter()
                    .flat_map(|range| self.known.gaps(range))
                    .collect(),
            )
        };
        let mut walk = Walk::new(self.known, self.reader, cue.cluster);
        match walk.enter() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(gap) => return Err(ask(gap)),
        }
        // A block's time is a number of 16 bits from its cluster's on.
        let farthest = self.reader.clock.length(1 << 15);
        if walk.cluster_time().is_none_or(|time| (time - cue.time).abs() > farthest) {
            return Ok(None);
        }
        if let Some(relative) = cue.relative
            && let Some(body) = walk.cluster_body()
        {
            let at = body.saturating_add(relative);
            match walk.peek(at) {
                Ok(Some(pts)) if (pts - cue.time).abs() <= 1 => walk.jump(at),
                Ok(_) => {}
                Err(gap) => return Err(ask(gap)),
            }
        }
        let start = walk.at();
        let run = Run::new(*want, cue.time - 1, place == 0, self.patience);
        let run = self.walk(walk, run, start, start.saturating_add(window), MAX_STRETCH)?;
        Ok(Some(run).filter(|run| !run.is_empty()))
    }

    /// How many bytes from a cue on most likely hold all that a want needs.
    fn window(&self, want: &Want, place: usize) -> u64 {
        let Some(cue) = self.cues.get(place) else { return MIN_KEYFRAME };
        let here = cue.cluster.saturating_add(cue.relative.unwrap_or(0));
        let place_of = |cue: &Cue| cue.cluster.saturating_add(cue.relative.unwrap_or(0));
        let next = self.cues.get(place + 1);
        let gap = next.map_or(self.reader.end, place_of).saturating_sub(here).max(CLUSTER_HEAD);
        let keyframe = (self.keyframe + self.keyframe / 4).max(gap / 8).clamp(MIN_KEYFRAME, MAX_KEYFRAME);
        let ticks = match want.aim {
            Aim::Keyframe => want.until.saturating_sub(want.from),
            Aim::Exact => want.until.max(want.from.saturating_add(1)).saturating_sub(cue.time),
        };
        if ticks <= 1 {
            return keyframe.min(gap);
        }
        // Up to the first cue at or after the end, by the share of the stretch between the last two.
        let end = cue.time.saturating_add(ticks);
        let last = self.cues.partition_point(|cue| cue.time < end).max(place + 1);
        let low = self.cues.get(last - 1).unwrap_or(cue);
        let (high, high_time) =
            self.cues.get(last).map_or((self.reader.end, self.end.time), |cue| (place_of(cue), cue.time));
        let share = share(
            end.saturating_sub(low.time),
            high_time.saturating_sub(low.time),
            high.saturating_sub(place_of(low)),
        );
        let whole = high.saturating_sub(here);
        let wanted =
            place_of(low).saturating_sub(here).saturating_add(share + share / 4).saturating_add(keyframe);
        wanted.min(whole.saturating_add(CLUSTER_HEAD)).min(MAX_STRETCH)
    }

    /// Walks on until a run is done. What is missing is asked for up to `likely`, or by how far the run came.
    pub(super) fn walk(
        &self,
        mut walk: Walk<'_>,
        mut run: Run,
        start: u64,
        likely: u64,
        most: u64,
    ) -> Result<Vec<Sample>, Fault> {
        while !run.is_done() {
            match walk.next() {
                Step::Frame(frame) if frame.offset.saturating_sub(start) > most => break,
                Step::Frame(frame) => run.push(frame),
                Step::Gap(gap) if gap.saturating_sub(start) > most => break,
                Step::Gap(gap) => {
                    let come = gap.saturating_sub(start);
                    let more =
                        Self::remaining(&run, come).unwrap_or(come / 2).clamp(MIN_MORE, MAX_STRETCH / 4);
                    let end = likely.max(gap.saturating_add(more)).min(self.reader.end);
                    let from = run.first().map_or(gap, |frame| frame.offset).min(gap);
                    return Err(self.missing(from..end));
                }
                Step::End | Step::Damaged(_) => break,
            }
        }
        Ok(run.samples())
    }

    /// How many bytes a run that came so far still takes, by how it came here.
    fn remaining(run: &Run, come: u64) -> Option<u64> {
        let (first, reached, end) = (run.first()?.pts, run.reached()?, run.end()?);
        (reached > first).then(|| {
            let more = share(end.saturating_sub(reached), reached - first, come);
            more.saturating_add(more / 4).saturating_add(MIN_KEYFRAME)
        })
    }

    pub(super) fn missing(&self, range: Range<u64>) -> Fault {
        Fault::Missing(self.known.gaps(range))
    }
}

/// The part of `bytes` that `part` of `whole` has.
pub(super) fn share(part: i64, whole: i64, bytes: u64) -> u64 {
    if part <= 0 || whole <= 0 {
        return 0;
    }
    (u128::from(bytes) * part as u128 / whole as u128).min(u128::from(u64::MAX / 8)) as u64
}
