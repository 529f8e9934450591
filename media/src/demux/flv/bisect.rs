//! Decides where in a Flash video without an index the samples of a moment are: where they should be if all seconds had
//! as many bytes, from the next tag on.

use std::ops::Range;

use bytes::Bytes;

use crate::demux::budget::SAMPLE;
use crate::demux::buffer::{Fault, Known, held};
use crate::demux::demuxer::{Aim, Sample, Want};
use crate::demux::flv::tag::{HEAD_BYTES, Kind, LOOK_BYTES, Picture, Tag, tags};
use crate::demux::flv::{Place, SCANNED_PER_STEP};
use crate::demux::index::{Index, Shown, VERIFIED_HEAD};
use crate::demux::reference::{Access, access};

/// How much is fetched to read on.
pub(super) const AHEAD: u64 = 256 * 1024;
const MAX_AHEAD: u64 = 4 * 1024 * 1024;
/// How far a tag is looked for from a place on: the largest has to be in it as a whole.
const WINDOWS: [u64; 2] = [512 * 1024, 2 * 1024 * 1024];
/// The most bytes that are looked through for tags for one question.
const MAX_LOOK: u64 = 128 << 20;
/// How well a place has to be known, in bytes or milliseconds; the rest is walked.
const NEAR: u64 = 512 * 1024;
const NEAR_MS: i64 = 1_500;
/// How often a place is guessed by its share of time, and then by halves.
const GUESSES: usize = 5;
const MAX_GUESSES: usize = 10;
/// The most that is read to find keyframes for all wants together: what a job has room for beside its decoder; and of
/// it for one.
const BUDGET: u64 = 96 << 20;
const BUDGET_OF_ONE: Range<u64> = (512 << 10)..(8 << 20);
/// The longest stretch that is walked for a very moment.
const MAX_STRETCH: u64 = 64 << 20;
/// How often an earlier place is tried where there is no keyframe before what is wanted, and the first step, in
/// milliseconds: then twice as far, and so on.
const MAX_STEPS_BACK: u32 = 4;
const STEP_MS: i64 = 5_000;

/// A tag, and what is in it if it is of pictures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) tag: Tag,
    pub(super) picture: Picture,
}

/// The tag that begins at `at`; none where the file ends before it does, or where none begins.
///
/// # Errors
/// What is missing: as many bytes as `ahead` says.
pub(super) fn look(known: &Known, at: u64, ahead: u64) -> Result<Option<Seen>, Fault> {
    let end = at.saturating_add((HEAD_BYTES + LOOK_BYTES) as u64).min(known.total());
    if end < at.saturating_add(HEAD_BYTES as u64) {
        return Ok(None);
    }
    let bytes = match known.bytes(at..end) {
        Err(Fault::Missing(_)) => {
            return Err(Fault::Missing(known.gaps(at..at.saturating_add(ahead).max(end))));
        }
        other => other?,
    };
    let Some(tag) = Tag::read(&bytes) else { return Ok(None) };
    if at + (HEAD_BYTES + tag.size) as u64 > known.total() {
        return Ok(None);
    }
    let body = bytes.get(HEAD_BYTES..bytes.len().min(HEAD_BYTES + tag.size)).unwrap_or_default();
    let picture = if tag.kind == Kind::Video { Picture::read(body) } else { Picture::Nothing };
    Ok(Some(Seen { tag, picture }))
}

/// How far tags are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    /// To the end of the file.
    End,
    /// To a keyframe, and so much behind it, in milliseconds; but not more bytes than that.
    Keyframe(i64, u64),
    /// Until what is shown before that moment is there.
    Moment(i64),
}

/// A file in which moments are looked for.
#[derive(Debug, Clone)]
pub(super) struct Finder {
    pub(super) codec: &'static str,
    /// How many bytes the length of a NAL unit takes.
    pub(super) nal_length: usize,
    /// Whether pictures are keyframes only if their own bytes say so.
    pub(super) verifies: bool,
    pub(super) shown: Shown,
    pub(super) first: Place,
    /// The last picture, and when nothing more is shown.
    pub(super) end: Place,
    /// How long a picture is shown, in milliseconds.
    pub(super) picture: i64,
    /// What the decoder is configured with.
    pub(super) record: Bytes,
}

impl Finder {
    /// The samples of each want. Where no keyframe is near, those of the nearest that was found for another one.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn runs(&self, known: &Known, wants: &[Want]) -> Result<Vec<Vec<Sample>>, Fault> {
        let budget = (BUDGET / wants.len().max(1) as u64).clamp(BUDGET_OF_ONE.start, BUDGET_OF_ONE.end);
        let (mut runs, mut missing) = (Vec::with_capacity(wants.len()), Vec::new());
        let mut left = MAX_LOOK;
        for want in wants {
            runs.extend(held(self.run(known, *want, budget, &mut left), &mut missing)?);
        }
        if !missing.is_empty() {
            return Err(Fault::all_missing(missing));
        }
        let found = runs.clone();
        for (run, want) in runs.iter_mut().zip(wants).filter(|(run, _)| run.is_empty()) {
            let far = |run: &&Vec<Sample>| run.first().map_or(u64::MAX, |key| key.pts.abs_diff(want.from));
            *run = found.iter().min_by_key(far).cloned().unwrap_or_default();
        }
        Ok(runs)
    }

    fn run(&self, known: &Known, want: Want, budget: u64, left: &mut u64) -> Result<Vec<Sample>, Fault> {
        let zero = self.shown.from;
        let from = want.from.max(0).saturating_add(zero).min(self.end.time.saturating_sub(1));
        let length = want.until.saturating_sub(want.from).max(0);
        let is_near = want.aim == Aim::Keyframe;
        let stop = if is_near {
            Stop::Keyframe(length, budget)
        } else {
            Stop::Moment(from.saturating_add(length.max(1)))
        };
        for back in 0..=MAX_STEPS_BACK {
            let earlier = STEP_MS * ((1 << back) - 1);
            let place = self.locate(known, from.saturating_sub(earlier), left)?;
            let mut index = self.gather(known, place, stop)?;
            index.place(self.shown, self.picture);
            let samples = index.run(want, known.budget())?;
            let is_found = if is_near {
                !samples.is_empty() || back > 0
            } else {
                samples.first().is_some_and(|key| key.pts <= want.from)
            };
            if is_found || place.at <= self.first.at {
                return Ok(samples);
            }
        }
        Ok(Vec::new())
    }

    /// A tag at or before a time, and not long before it. `left` is how many bytes may still be looked through.
    fn locate(&self, known: &Known, time: i64, left: &mut u64) -> Result<Place, Fault> {
        let (mut low, mut high) = (self.first, self.end);
        for guess in 0..MAX_GUESSES {
            let bytes = high.at.saturating_sub(low.at);
            if time.saturating_sub(low.time) <= NEAR_MS || bytes <= NEAR {
                break;
            }
            let part = if guess < GUESSES {
                (time - low.time) as f64 / (high.time - low.time).max(1) as f64
            } else {
                0.5
            };
            let at = low.at + (bytes as f64 * part.clamp(0.0, 1.0)) as u64;
            let at = at.saturating_sub(NEAR / 2).clamp(low.at + 1, high.at);
            match next(known, at, high.at, left)? {
                Some(found) if found.time <= time => low = found,
                Some(found) => high = Place { at, time: found.time.min(high.time) },
                None => high = Place { at, time: high.time },
            }
        }
        Ok(low)
    }

    /// Reads pictures from a tag on.
    ///
    /// # Errors
    /// What is missing; [`Fault::Foreign`] where the decoder would have to be configured anew.
    pub(super) fn gather(&self, known: &Known, from: Place, stop: Stop) -> Result<Index, Fault> {
        let (mut index, mut at) = (Index::default(), from.at);
        loop {
            let come = at - from.at;
            let most = match stop {
                Stop::End => u64::MAX,
                Stop::Keyframe(_, budget) if !index.has_keys() => budget,
                Stop::Keyframe(..) | Stop::Moment(_) => MAX_STRETCH,
            };
            if come > most {
                break;
            }
            let Some(Seen { tag, picture }) = look(known, at, (come / 2).clamp(AHEAD, MAX_AHEAD))? else {
                break;
            };
            let body = at + HEAD_BYTES as u64;
            match picture {
                Picture::Configuration(_, from) => {
                    let record = body + from.min(tag.size) as u64..body + tag.size as u64;
                    if known.bytes(record)? != self.record {
                        return Err(Fault::Foreign("a configuration that changes"));
                    }
                }
                Picture::Foreign => return Err(Fault::Foreign("a codec that changes")),
                Picture::Coded { key, shift, at } if at < tag.size => {
                    let dts = tag.time_ms.cast_signed();
                    let (offset, size) = (body + at as u64, (tag.size - at) as u32);
                    let pts = dts.saturating_add(shift.into());
                    known.budget().spend(SAMPLE)?;
                    let key = if self.verifies { self.is_key(known, offset, size, key)? } else { key };
                    index.push(Sample { offset, size, dts, pts, key, entry: 0 });
                    if is_enough(&index, stop) {
                        break;
                    }
                }
                Picture::Coded { .. } | Picture::Nothing => {}
            }
            at += tag.length() as u64;
        }
        Ok(index)
    }
}

impl Finder {
    /// Whether a picture that the file calls a keyframe, or not, is one.
    fn is_key(&self, known: &Known, offset: u64, size: u32, called: bool) -> Result<bool, Fault> {
        let head = known.bytes(offset..offset + u64::from(size).min(VERIFIED_HEAD))?;
        Ok(match access(self.codec, &head, self.nal_length) {
            Access::Point => true,
            Access::Dependent => false,
            Access::Gradual(_) | Access::Unknown => called,
        })
    }
}

/// The first picture that begins in `from..to`, if there is one within reach. `left` is how many bytes may still be looked
/// through.
fn next(known: &Known, from: u64, to: u64, left: &mut u64) -> Result<Option<Place>, Fault> {
    for window in WINDOWS {
        let end = from.saturating_add(window).min(known.total());
        let bytes = known.bytes(from..end)?;
        let found = tags(&bytes).find(|(_, tag)| tag.kind == Kind::Video);
        let cost = found.map_or(bytes.len(), |(at, _)| at) as u64;
        known.budget().spend(cost / SCANNED_PER_STEP)?;
        *left = left.checked_sub(cost).ok_or(Fault::Foreign("tags that are hard to find"))?;
        if let Some((at, tag)) = found {
            let place = Place { at: from + at as u64, time: tag.time_ms.cast_signed() };
            return Ok(Some(place).filter(|place| place.at < to));
        }
        if end >= known.total() {
            break;
        }
    }
    Ok(None)
}

fn is_enough(index: &Index, stop: Stop) -> bool {
    // Nothing that comes is shown before this.
    let Some(reached) = index.last_dts().map(|dts| dts.saturating_add(index.least_shift())) else {
        return false;
    };
    match stop {
        Stop::End => false,
        Stop::Keyframe(0, _) => index.has_keys(),
        Stop::Keyframe(length, _) => {
            index.first_key().is_some_and(|key| reached >= key.saturating_add(length))
        }
        Stop::Moment(moment) => reached >= moment,
    }
}
