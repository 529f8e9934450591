//! Decides where in a large file without cues that hold the samples of a want are looked for: near the share of bytes
//! that a time has of all time, from the next cluster on.

use std::ops::Range;

use crate::demux::buffer::{Fault, held};
use crate::demux::demuxer::{Aim, Sample, Want};
use crate::demux::matroska::cluster::{Step, Walk};
use crate::demux::matroska::collector::Run;
use crate::demux::matroska::cue_seek::{CLUSTER_HEAD, Finder, MAX_STRETCH, MIN_KEYFRAME, MIN_MORE, share};
use crate::demux::matroska::resync::{self, Found, Place};

/// The most that is read to find keyframes for all wants together: what a job has room for beside its decoder.
const BUDGET: u64 = 96 << 20;
/// Of it for one want, at least and at most. What browsers record has a keyframe every 3 seconds, at 2.5 Mbit/s about
/// 1 MiB.
const WINDOW: Range<u64> = (512 << 10)..(8 << 20);
/// How much before a guess is read where nothing comes after it.
const LAST: u64 = 2 << 20;
/// A bracket this narrow is walked instead of narrowed again.
const NARROW: u64 = 1 << 20;
/// How often a bracket is narrowed by the share of bytes that a time has, and how often at all: then by halves.
const GUESSES: u32 = 6;
const MAX_ROUNDS: u32 = 32;

/// A keyframe that was found, and the cluster from which on it was.
#[derive(Debug, Clone, Copy)]
struct Start {
    place: Place,
    time: i64,
}

impl Finder<'_> {
    /// The samples of wants where no cue helps. For [`Aim::Keyframe`] the next keyframe after the guessed place will
    /// do, and where none is found in what may be read for it, the nearest of those found for others.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn by_search(&self, wants: &[Want]) -> Result<Vec<Vec<Sample>>, Fault> {
        let budget = (BUDGET / wants.len().max(1) as u64).clamp(WINDOW.start, WINDOW.end);
        let mut missing = Vec::new();
        let mut starts = Vec::with_capacity(wants.len());
        for want in wants {
            let start = match want.aim {
                Aim::Keyframe => self.near(want.from, budget),
                Aim::Exact => self.before(want.from).map(|place| Some(Start { place, time: place.time })),
            };
            starts.push(held(start, &mut missing)?.flatten());
        }
        if !missing.is_empty() {
            return Err(Fault::Missing(missing));
        }
        let found: Vec<Start> = starts.iter().flatten().copied().collect();
        let first = Start { place: self.first, time: i64::MIN };
        let mut runs = Vec::with_capacity(wants.len());
        for (want, start) in wants.iter().zip(starts) {
            let nearest = || found.iter().min_by_key(|found| found.time.abs_diff(want.from)).copied();
            let start = start.or_else(nearest).unwrap_or(first);
            let run = match want.aim {
                Aim::Keyframe => {
                    let run = Run::new(*want, start.time, false, self.patience);
                    self.run_at(run, start.place, want.until.saturating_sub(want.from))
                }
                Aim::Exact => self.exact(want, start.place),
            };
            runs.push(held(run, &mut missing)?.unwrap_or_default());
        }
        if missing.is_empty() { Ok(runs) } else { Err(Fault::Missing(missing)) }
    }

    /// A run from a cluster on that takes about as long as `ticks`.
    fn run_at(&self, run: Run, place: Place, ticks: i64) -> Result<Vec<Sample>, Fault> {
        let all = (self.end.time.saturating_sub(self.first.time), self.end.at.saturating_sub(self.first.at));
        let bytes = share(ticks, all.0, all.1);
        let likely = place.at.saturating_add(bytes).saturating_add(bytes / 4).saturating_add(MIN_KEYFRAME);
        let walk = Walk::new(self.known, self.reader, place.at);
        self.walk(walk, run, place.at, likely, MAX_STRETCH)
    }

    /// What shows a moment, from a cluster on, or from earlier ones if no keyframe before the moment is there.
    fn exact(&self, want: &Want, mut place: Place) -> Result<Vec<Sample>, Fault> {
        let end = want.until.max(want.from.saturating_add(1));
        let mut back = WINDOW.start;
        loop {
            let is_first = place.at <= self.first.at;
            let run = Run::new(*want, i64::MIN, is_first, self.patience);
            let run = self.run_at(run, place, end.saturating_sub(place.time))?;
            if !run.is_empty() || is_first {
                return Ok(run);
            }
            let from = place.at.saturating_sub(back).max(self.first.at);
            place = match resync::first(self.known, self.reader, from, place.at) {
                Found::Cluster(place) if back < MAX_STRETCH => place,
                Found::Gap(gap) => {
                    let end = place.at.max(gap.saturating_add(CLUSTER_HEAD)).min(self.reader.end);
                    return Err(self.missing(gap..end));
                }
                Found::Cluster(_) | Found::Nothing => self.first,
            };
            back = back.saturating_mul(2);
        }
    }

    /// A keyframe near a time, within `budget` bytes of where that most likely lies.
    fn near(&self, time: i64, budget: u64) -> Result<Option<Start>, Fault> {
        let at = Self::guess(self.first, self.end, time);
        let limit = at.saturating_add(budget).min(self.reader.end);
        let more = |gap: u64| {
            let more = gap.saturating_sub(at).max(WINDOW.start);
            self.missing(gap..limit.min(gap.saturating_add(more)))
        };
        if at <= self.first.at.saturating_add(MIN_MORE) {
            return self.keyframe_from(self.first, limit, more);
        }
        let found = match resync::first(self.known, self.reader, at, limit) {
            Found::Cluster(place) => self.keyframe_from(place, limit, more)?,
            Found::Gap(gap) if gap < limit => return Err(more(gap)),
            Found::Gap(_) | Found::Nothing => None,
        };
        if found.is_some() || limit < self.reader.end {
            return Ok(found);
        }
        // The file ends: what comes before will do.
        let from = at.saturating_sub(budget.min(LAST)).max(self.first.at);
        let gaps = self.known.gaps(from..at);
        if gaps.is_empty() { Ok(self.last_keyframe(from, at, time)) } else { Err(Fault::Missing(gaps)) }
    }

    /// The first keyframe from a cluster on, as far as `limit`.
    fn keyframe_from(
        &self,
        place: Place,
        limit: u64,
        more: impl Fn(u64) -> Fault,
    ) -> Result<Option<Start>, Fault> {
        let mut walk = Walk::new(self.known, self.reader, place.at);
        loop {
            match walk.next() {
                Step::Frame(frame) if frame.is_key => return Ok(Some(Start { place, time: frame.pts })),
                Step::Frame(frame) if frame.offset < limit => {}
                Step::Gap(gap) if gap < limit => return Err(more(gap)),
                _ => return Ok(None),
            }
        }
    }

    /// The last keyframe at or before a time from a stretch on of which all is known.
    fn last_keyframe(&self, from: u64, to: u64, time: i64) -> Option<Start> {
        let Found::Cluster(place) = resync::first(self.known, self.reader, from, to) else { return None };
        let mut walk = Walk::new(self.known, self.reader, place.at);
        let mut last = None;
        while let Step::Frame(frame) = walk.next() {
            if frame.is_key && (last.is_none() || frame.pts <= time) {
                last = Some(Start { place, time: frame.pts });
            }
        }
        last
    }

    /// Where a time most likely lies between two places.
    fn guess(low: Place, high: Place, time: i64) -> u64 {
        let bytes = high.at.saturating_sub(low.at);
        let share = share(time.saturating_sub(low.time), high.time.saturating_sub(low.time), bytes);
        low.at.saturating_add(share.min(bytes))
    }

    /// A cluster at or before a time, and not long before it.
    fn before(&self, time: i64) -> Result<Place, Fault> {
        let (mut low, mut high) = (self.first, self.end);
        for round in 0..MAX_ROUNDS {
            let bytes = high.at.saturating_sub(low.at);
            let left = share(time.saturating_sub(low.time), high.time.saturating_sub(low.time), bytes);
            if bytes <= NARROW || left <= NARROW {
                break;
            }
            // Where times and bytes run apart, halving gets there all the same.
            let is_guess = round < GUESSES;
            let guess = if is_guess {
                Self::guess(low, high, time).saturating_sub(NARROW)
            } else {
                low.at + bytes / 2
            };
            let guess = guess.clamp(low.at + 1, high.at);
            match resync::first(self.known, self.reader, guess, high.at) {
                Found::Cluster(place) if place.time <= time => low = place,
                Found::Cluster(place) => high = Place { at: guess, time: place.time },
                Found::Nothing => high.at = guess,
                Found::Gap(gap) if gap.saturating_sub(guess) > WINDOW.end => high.at = guess,
                Found::Gap(gap) => {
                    let more = gap.saturating_sub(guess).max(NARROW);
                    return Err(self.missing(gap..gap.saturating_add(more).min(self.reader.end)));
                }
            }
        }
        Ok(low)
    }
}
