//! Decides which fragments a moment lies in, where the file is too large to read all of them: by the hints of an
//! index, or by looking for a fragment where one should be.

use crate::demux::budget::{BYTES_PER_STEP, SAMPLE};
use crate::demux::buffer::{Fault, Known};
use crate::demux::demuxer::{Aim, Sample, Want};
use crate::demux::index::{Index, Shown};
use crate::demux::mp4::boxes::HEAD_BYTES;
use crate::demux::mp4::fragment_index::Hint;
use crate::demux::mp4::top_level::{PEEK, head_at};
use crate::demux::mp4::track_fragment::{self, Context, Run};

/// The longest fragment head that is read.
const MAX_HEAD: u64 = 8 * 1024 * 1024;
/// How far a fragment is looked for, in ever larger steps.
const WINDOWS: [u64; 4] = [256 * 1024, 1024 * 1024, 4 * 1024 * 1024, 16 * 1024 * 1024];
/// The most bytes that are looked through for one question, and for the last fragment of a file.
const MAX_LOOK: u64 = 128 * 1024 * 1024;
/// When the place of a fragment is known this well, the rest is walked.
const NEAR: u64 = 512 * 1024;
/// The most guesses that are made for a moment, and the most boxes that are walked over for it: some writers put each
/// picture into a fragment of its own.
const MAX_GUESSES: usize = 12;
pub(super) const MAX_BOXES: usize = 1 << 15;
/// The most boxes between the place where a segment begins and its fragment.
const MAX_AHEAD_BOXES: usize = 16;
/// The most segments whose heads are fetched together.
const MAX_AHEAD: usize = 64;
/// The most that is fetched at once to walk on.
const MAX_PEEK: u64 = 256 * 1024;
/// How often an earlier fragment is tried where one has no keyframe before what is wanted, each time twice as far: a
/// keyframe may be thousands of fragments away.
const MAX_STEPS_BACK: u32 = 12;

/// A file of many fragments.
#[derive(Debug, Clone)]
pub(super) struct Fragments {
    pub(super) context: Context,
    /// The first fragment.
    pub(super) first: Hint,
    /// Where fragments begin, as an index says; none if there is no index.
    pub(super) hints: Vec<Hint>,
    /// Samples that stand before all fragments, and when the first fragment begins.
    pub(super) before: Run,
    pub(super) shown: Shown,
    /// When the last fragment ends, in ticks of the media; 0 if not known.
    pub(super) until: i64,
}

/// What was read for one want, which the next one often needs, too.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    start: u64,
    stop: Option<i64>,
    index: Index,
}

impl Fragments {
    /// The samples of a want. `search` is what was looked through for those before, `last` what was read for the last one.
    ///
    /// # Errors
    /// What is missing for it.
    pub(super) fn run(
        &self,
        known: &Known,
        want: Want,
        search: &mut Search,
        last: &mut Option<Gathered>,
    ) -> Result<Vec<Sample>, Fault> {
        let offset = self.shown.from.saturating_sub(self.shown.at);
        let from = want.from.max(0).saturating_add(offset);
        let alone = want.until <= want.from;
        let until = if alone { from.saturating_add(1) } else { want.until.saturating_add(offset) };
        let stop = if want.aim == Aim::Keyframe && alone { None } else { Some(until) };
        let mut back = 0;
        loop {
            let start = self.locate(known, from, want.aim, back, search)?;
            let gathered = match last.take().filter(|last| (last.start, last.stop) == (start.offset, stop)) {
                Some(last) => last,
                None => self.gather(known, start, stop)?,
            };
            let samples = last.insert(gathered).index.run(want, known.budget())?;
            let late = samples.first().is_none_or(|key| key.pts > want.from);
            let can_go_back = start.offset > self.first.offset && back < MAX_STEPS_BACK;
            if !late || want.aim == Aim::Keyframe && !samples.is_empty() || !can_go_back {
                return Ok(samples);
            }
            back += 1;
        }
    }

    /// A fragment that begins at or before `from`, ever further before it with each step `back`.
    fn locate(
        &self,
        known: &Known,
        from: i64,
        aim: Aim,
        back: u32,
        search: &mut Search,
    ) -> Result<Hint, Fault> {
        let place = self.hints.partition_point(|hint| hint.time <= from).saturating_sub(1);
        let place = place.saturating_sub((1_usize << back) - 1);
        if let Some(hint) = self.hints.get(place)
            && hint.offset >= self.first.offset
            && is_segment(known, hint.offset)?
        {
            return Ok(*hint);
        }
        if self.until <= self.first.time {
            return Ok(self.first);
        }
        // Five seconds, ten, twenty: in parts of the length, as the time scale is not at hand.
        let step = ((self.until - self.first.time) / 512).saturating_mul((1_i64 << back) - 1);
        self.search(known, from.saturating_sub(step), aim, search)
    }

    /// Looks for the fragment where it should be if all seconds had as many bytes.
    fn search(&self, known: &Known, from: i64, aim: Aim, search: &mut Search) -> Result<Hint, Fault> {
        let (mut low, mut high) = (self.first, Hint { offset: self.context.total, time: self.until });
        for _ in 0..MAX_GUESSES {
            if from <= low.time || high.offset.saturating_sub(low.offset) <= NEAR {
                break;
            }
            let part = (from - low.time) as f64 / (high.time - low.time).max(1) as f64;
            let guess = ((high.offset - low.offset) as f64 * part.clamp(0.0, 1.0)) as u64;
            let guess = (low.offset + guess.saturating_sub(NEAR / 4)).clamp(low.offset + 1, high.offset - 1);
            match search.next(known, guess, high.offset, &self.context)? {
                Some(found) if found.time <= from => low = found,
                found => high = Hint { offset: guess, time: found.map_or(high.time, |found| found.time) },
            }
            if aim == Aim::Keyframe && low.offset > self.first.offset {
                break;
            }
        }
        Ok(low)
    }

    /// Reads fragments from `start` on until what is decoded at `stop` is among them, or a keyframe if there is none.
    fn gather(&self, known: &Known, start: Hint, stop: Option<i64>) -> Result<Gathered, Fault> {
        if let Some(stop) = stop {
            self.ahead(known, start, stop)?;
        }
        let begins = start.offset <= self.first.offset;
        if begins {
            known.budget().spend(self.before.index.len() as u64 * SAMPLE)?;
        }
        let mut run = if begins { self.before.clone() } else { Run { clock: start.time, ..Run::default() } };
        walk(known, start.offset, &self.context, &mut run, stop, MAX_BOXES)?;
        run.index.place(self.shown, run.last);
        Ok(Gathered { start: start.offset, stop, index: run.index })
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
/// them, or a keyframe if there is none. Says where the next box begins.
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
) -> Result<u64, Fault> {
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
            let before = run.index.len();
            track_fragment::read(&body, at, context, run, known.budget())?;
            if context.verifies {
                run.index.verify_from(before, known, context.codec, context.nal_length)?;
            }
        }
        at = end;
    }
    Ok(at)
}

/// What looking for fragments came to so far, and how many bytes may still be looked through.
#[derive(Debug)]
pub(super) struct Search {
    left: u64,
    /// From where to where was looked, and the fragment that begins there, if one does.
    seen: Vec<(u64, u64, Option<Hint>)>,
}

impl Default for Search {
    fn default() -> Self {
        Self { left: MAX_LOOK, seen: Vec::new() }
    }
}

impl Search {
    /// The first fragment of the track that begins at or after `from` and before `limit`, by its looks.
    ///
    /// # Errors
    /// What is missing; [`Fault::Foreign`] if none is near.
    pub(super) fn next(
        &mut self,
        known: &Known,
        from: u64,
        limit: u64,
        context: &Context,
    ) -> Result<Option<Hint>, Fault> {
        let covers = |(begin, end, found): &&(u64, u64, Option<Hint>)| {
            *begin <= from && if found.is_some() { from <= *end } else { limit <= *end }
        };
        if let Some((_, end, found)) = self.seen.iter().find(covers) {
            return Ok(found.filter(|_| *end < limit));
        }
        let found = self.look(known, from, limit, context)?;
        self.seen.push((from, found.map_or(limit, |found| found.offset), found));
        Ok(found)
    }

    fn look(
        &mut self,
        known: &Known,
        from: u64,
        limit: u64,
        context: &Context,
    ) -> Result<Option<Hint>, Fault> {
        let mut at = from;
        for window in WINDOWS {
            let end = from.saturating_add(window).min(limit).max(at);
            let bytes = known.bytes(at..end.saturating_add(HEAD_BYTES * 2).min(context.total).max(at))?;
            let mut rest = &bytes[..];
            while at < end {
                let place = looks_like_fragment(rest);
                let cost = place.unwrap_or(rest.len()) as u64 + HEAD_BYTES;
                known.budget().spend(cost / BYTES_PER_STEP)?;
                self.left =
                    self.left.checked_sub(cost).ok_or(Fault::Foreign("fragments that are hard to find"))?;
                let Some(offset) = place.map(|place| at + place as u64).filter(|offset| *offset < end) else {
                    break;
                };
                if let Some(time) = begins(known, offset, context)? {
                    return Ok(Some(Hint { offset, time }));
                }
                rest = rest.get((offset + 1 - at) as usize..).unwrap_or_default();
                at = offset + 1;
            }
            at = at.max(end);
            if end >= limit {
                return Ok(None);
            }
        }
        Err(Fault::Foreign("no fragment within reach"))
    }
}

/// Whether a segment begins at `at`, as an index says: a fragment, after what may stand before one. An index of another
/// version of the file points into its data.
///
/// # Errors
/// What is missing.
pub(super) fn is_segment(known: &Known, mut at: u64) -> Result<bool, Fault> {
    for _ in 0..MAX_AHEAD_BOXES {
        let Some(head) = head_at(known, at, PEEK)? else { return Ok(false) };
        let end = at.saturating_add(head.size);
        match &head.kind {
            // Its header of a fixed size comes first: ISO 14496-12, 8.8.5.
            b"moof" => {
                let begin = known.bytes(at..at.saturating_add(head.own + 8).min(known.total()))?;
                return Ok(begin.ends_with(b"\0\0\0\x10mfhd") && end <= known.total());
            }
            b"styp" | b"sidx" | b"ssix" | b"prft" | b"emsg" | b"uuid" | b"free" | b"skip" | b"meta" => {
                at = end;
            }
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// When the fragment at `offset` begins, if there is one of the track.
///
/// # Errors
/// What is missing.
pub(super) fn begins(known: &Known, offset: u64, context: &Context) -> Result<Option<i64>, Fault> {
    let Some(head) = head_at(known, offset, PEEK)? else { return Ok(None) };
    let end = offset.saturating_add(head.size);
    if end > context.total || head.size > MAX_HEAD {
        return Ok(None);
    }
    track_fragment::begins(&known.bytes(offset + head.own..end)?, context, known.budget())
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
