//! Decides which fragments a moment lies in, where the file is too large to read all of them: by the hints of an
//! index, or by looking for a fragment where one should be.

use super::super::index::Shown;
use super::super::known::{Fault, Known};
use super::super::movie::{Aim, Sample, Want};
use super::boxes::HEAD_BYTES;
use super::fragment::{self, Context, Run};
use super::hints::Hint;
use super::layout::{PEEK, head_at};

/// The longest fragment head that is read.
const MAX_HEAD: u64 = 8 * 1024 * 1024;
/// How far a fragment is looked for, in ever larger steps.
const WINDOWS: [u64; 4] = [256 * 1024, 1024 * 1024, 4 * 1024 * 1024, 16 * 1024 * 1024];
/// The most bytes that are looked through for one question, and for the last fragment of a file.
pub(super) const MAX_LOOK: u64 = 128 * 1024 * 1024;
/// When the place of a fragment is known this well, the rest is walked.
const NEAR: u64 = 512 * 1024;
/// The most guesses that are made for a moment, and the most boxes that are walked over for it.
const MAX_GUESSES: usize = 12;
const MAX_BOXES: usize = 256;
/// The most segments whose heads are fetched together.
const MAX_AHEAD: usize = 64;
/// The most that is fetched at once to walk on.
const MAX_PEEK: u64 = 256 * 1024;
/// How often an earlier fragment is tried where one has no keyframe before what is wanted.
const MAX_STEPS_BACK: u32 = 6;

/// A file of many fragments.
#[derive(Debug)]
pub(super) struct Fragments {
    pub(super) context: Context,
    /// Where fragments begin; at least the first one.
    pub(super) hints: Vec<Hint>,
    /// Whether the hints tell of the whole file.
    pub(super) complete: bool,
    /// Samples that stand before all fragments, and when the first fragment begins.
    pub(super) before: Run,
    pub(super) shown: Shown,
    /// When the last fragment ends, in ticks of the media; 0 if not known.
    pub(super) until: i64,
}

impl Fragments {
    /// The samples of a want. `look` is how many bytes may still be looked through.
    ///
    /// # Errors
    /// What is missing for it.
    pub(super) fn run(&self, known: &Known, want: Want, look: &mut u64) -> Result<Vec<Sample>, Fault> {
        let offset = self.shown.from.saturating_sub(self.shown.at);
        let from = want.from.max(0).saturating_add(offset);
        let alone = want.until <= want.from;
        let until = if alone { from.saturating_add(1) } else { want.until.saturating_add(offset) };
        let stop = if want.aim == Aim::Keyframe && alone { None } else { Some(until) };
        let mut back = 0;
        loop {
            let start = self.locate(known, from, want.aim, back, look)?;
            let mut run = self.gather(known, start, stop)?;
            run.index.place(self.shown, run.last);
            let samples = run.index.run(want);
            let late = samples.first().is_none_or(|key| key.pts > want.from);
            let can_go_back = start.offset > self.first().offset && back < MAX_STEPS_BACK;
            if !late || want.aim == Aim::Keyframe && !samples.is_empty() || !can_go_back {
                return Ok(samples);
            }
            back += 1;
        }
    }

    fn first(&self) -> Hint {
        self.hints.first().copied().unwrap_or(Hint { offset: 0, time: 0 })
    }

    /// A fragment that begins at or before `from`, ever further before it with each step `back`.
    fn locate(&self, known: &Known, from: i64, aim: Aim, back: u32, look: &mut u64) -> Result<Hint, Fault> {
        if self.complete || self.until <= self.first().time {
            let place = self.hints.partition_point(|hint| hint.time <= from).saturating_sub(1);
            let place = place.saturating_sub((1_usize << back) - 1);
            return Ok(self.hints.get(place).copied().unwrap_or(self.first()));
        }
        // Five seconds, ten, twenty: in parts of the length, as the time scale is not at hand.
        let step = (self.until - self.first().time) / 512 * ((1_i64 << back) - 1);
        self.search(known, from.saturating_sub(step), aim, look)
    }

    /// Looks for the fragment where it should be if all seconds had as many bytes.
    fn search(&self, known: &Known, from: i64, aim: Aim, look: &mut u64) -> Result<Hint, Fault> {
        let (mut low, mut high) = (self.first(), Hint { offset: self.context.total, time: self.until });
        for _ in 0..MAX_GUESSES {
            if from <= low.time || high.offset.saturating_sub(low.offset) <= NEAR {
                break;
            }
            let part = (from - low.time) as f64 / (high.time - low.time).max(1) as f64;
            let guess = ((high.offset - low.offset) as f64 * part.clamp(0.0, 1.0)) as u64;
            let guess = (low.offset + guess.saturating_sub(NEAR / 4)).clamp(low.offset + 1, high.offset - 1);
            match next(known, guess, high.offset, &self.context, look)? {
                Some(found) if found.time <= from => low = found,
                found => high = Hint { offset: guess, time: found.map_or(high.time, |found| found.time) },
            }
            if aim == Aim::Keyframe && low.offset > self.first().offset {
                break;
            }
        }
        Ok(low)
    }

    /// Reads fragments from `start` on until what is decoded at `stop` is among them, or a keyframe if there is none.
    fn gather(&self, known: &Known, start: Hint, stop: Option<i64>) -> Result<Run, Fault> {
        if let Some(stop) = stop {
            self.ahead(known, start, stop)?;
        }
        let begins = start.offset <= self.first().offset;
        let mut run = if begins { self.before.clone() } else { Run { clock: start.time, ..Run::default() } };
        walk(known, start.offset, &self.context, &mut run, stop, MAX_BOXES)?;
        Ok(run)
    }

    /// Has the heads of all segments fetched at once that begin within the stretch.
    fn ahead(&self, known: &Known, start: Hint, stop: i64) -> Result<(), Fault> {
        let first = self.hints.partition_point(|hint| hint.offset < start.offset);
        let inside = self.hints.iter().skip(first).take_while(|hint| hint.time < stop).take(MAX_AHEAD);
        let missing: Vec<_> = inside
            .filter(|hint| !known.gaps(hint.offset..hint.offset + HEAD_BYTES).is_empty())
            .flat_map(|hint| known.gaps(hint.offset..hint.offset.saturating_add(PEEK)))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(Fault::all_missing(missing)) }
    }
}

/// Reads the fragments from `at` on into `run`, over at most `boxes` boxes: until what is decoded at `stop` is among
/// them, or a keyframe if there is none.
///
/// # Errors
/// What is missing.
pub(super) fn walk(
    known: &Known,
    mut at: u64,
    context: &Context,
    run: &mut Run,
    stop: Option<i64>,
    boxes: usize,
) -> Result<(), Fault> {
    for walked in 0..boxes as u64 {
        let enough = match stop {
            Some(stop) => run.clock.saturating_add(run.index.least_shift()) >= stop && !run.index.is_empty(),
            None => run.index.has_keys(),
        };
        if enough {
            break;
        }
        // The more boxes there are, the smaller they are, and the more of them one round trip should bring.
        let ahead = (PEEK * (1 + walked / 4)).min(MAX_PEEK);
        let Some(head) = head_at(known, at, ahead)? else { break };
        let end = at.saturating_add(head.size).min(context.total);
        if &head.kind == b"moof" {
            if head.size > MAX_HEAD {
                return Err(Fault::Foreign("a larger fragment than is read"));
            }
            let body = known.bytes(at + head.own..end)?;
            fragment::read(&body, at, context, run)?;
        }
        at = end;
    }
    Ok(())
}

/// The first fragment of the track that begins at or after `from` and before `limit`, by its looks. `look` is how
/// many bytes may still be looked through.
///
/// # Errors
/// What is missing; [`Fault::Foreign`] if none is near.
pub(super) fn next(
    known: &Known,
    from: u64,
    limit: u64,
    context: &Context,
    look: &mut u64,
) -> Result<Option<Hint>, Fault> {
    let mut at = from;
    for window in WINDOWS {
        let end = from.saturating_add(window).min(limit);
        while at < end {
            let bytes = known.bytes(at..end.saturating_add(HEAD_BYTES * 2).min(context.total))?;
            let place = looks_like_fragment(&bytes);
            let cost = place.unwrap_or(bytes.len()) as u64 + HEAD_BYTES;
            *look = look.checked_sub(cost).ok_or(Fault::Foreign("fragments that are hard to find"))?;
            let Some(offset) = place.map(|place| at + place as u64).filter(|offset| *offset < end) else {
                break;
            };
            if let Some(time) = begins(known, offset, context)? {
                return Ok(Some(Hint { offset, time }));
            }
            at = offset + 1;
        }
        at = at.max(end);
        if end >= limit {
            return Ok(None);
        }
    }
    Err(Fault::Foreign("no fragment within reach"))
}

/// When the fragment at `offset` begins, if there is one of the track.
fn begins(known: &Known, offset: u64, context: &Context) -> Result<Option<i64>, Fault> {
    let Some(head) = head_at(known, offset, PEEK)? else { return Ok(None) };
    let end = offset.saturating_add(head.size);
    if end > context.total || head.size > MAX_HEAD {
        return Ok(None);
    }
    Ok(fragment::begins(&known.bytes(offset + head.own..end)?, context))
}

/// Where in `bytes` a `moof` seems to begin: with a sane size, and with its header of a fixed size right behind.
fn looks_like_fragment(bytes: &[u8]) -> Option<usize> {
    const LOOKS: &[u8; 12] = b"moof\0\0\0\x10mfhd";
    let mut at = 4;
    loop {
        let window = bytes.get(at..at + LOOKS.len())?;
        // The last letter stands only once in it: else the next place is where this byte would fit.
        at += match window.last()? {
            b'd' if window == LOOKS && bytes.get(at - 4) == Some(&0) => return Some(at - 4),
            b'h' => 1,
            b'f' => 2,
            b'm' => 3,
            0x10 => 4,
            0 => 5,
            b'o' => 9,
            _ => LOOKS.len(),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_fragment_is_seen_wherever_it_begins(
            before in prop::collection::vec(prop::sample::select(b"\0mofhd\x10x".to_vec()), 0..200),
        ) {
            let slow = |bytes: &[u8]| {
                bytes.windows(16).position(|window| window[0] == 0 && &window[4..] == b"moof\0\0\0\x10mfhd")
            };
            let mut bytes = before.clone();
            prop_assert_eq!(looks_like_fragment(&bytes), slow(&bytes));
            bytes.extend_from_slice(b"\0\0\x01\0moof\0\0\0\x10mfhd");
            prop_assert_eq!(looks_like_fragment(&bytes), slow(&bytes));
            prop_assert_eq!(looks_like_fragment(&bytes), Some(before.len()));
        }
    }
}
