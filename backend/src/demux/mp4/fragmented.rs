//! Decides how a file of movie fragments is read: whole if it is small, else by the index it may have, else by looking
//! for fragments. ISO 14496-12, 8.8 and 8.16.

use std::ops::Range;

use super::super::index::Shown;
use super::super::known::{Fault, Known};
use super::fragment::{self, Context, Run};
use super::hints::{self, Hint};
use super::layout::{Layout, PEEK, head_at};
use super::moov::{Extends, Movie};
use super::seek::{self, Fragments, MAX_LOOK};
use super::{Found, Samples, all, edits, rate, tables};

/// Up to this size a fragmented file is read whole.
const WHOLE: u64 = 8 * 1024 * 1024;
/// How much of the end of a fragmented file is fetched, for the index that may be there.
const END: u64 = 256 * 1024;
/// The most boxes between the movie and its first fragment, or in a small file altogether.
const MAX_BETWEEN: usize = 64;
const MAX_BOXES: usize = 1 << 20;

/// The samples of a file that may have fragments; nothing if it has none.
///
/// # Errors
/// What is missing, or why the file is refused or left to the relay.
pub(super) fn read(
    known: &Known,
    layout: &Layout,
    movie: &Movie<'_>,
    extends: &Extends,
) -> Result<Option<Found>, Fault> {
    let total = known.total();
    if total <= WHOLE {
        known.bytes(0..total)?;
    }
    let Some(Beginning { first, segments }) = first_fragment(known, layout.moov.end)? else {
        return Ok(None);
    };
    let (chosen, timescale) = (&movie.chosen, movie.chosen.timescale);
    let context = Context {
        track: chosen.id,
        defaults: extends.defaults.clone(),
        entries: movie.entries.clone(),
        total,
    };
    let mut shown = edits::read(chosen.elst, timescale, (movie.timescale, movie.wait), true)?;
    let read = tables::read(chosen.stbl, &movie.entries, total)?;
    let mut before =
        Run { index: read.index, clock: read.ticks, last: read.last, count: read.count, ticks: read.ticks };
    if total <= WHOLE {
        let is_bare = before.count == 0;
        seek::walk(known, first, &context, &mut before, Some(i64::MAX), MAX_BOXES)?;
        if is_bare {
            shown.from = begin(known, first, movie, &before, shown)?;
        }
        return all(before, shown, chosen).map(Some);
    }
    let ahead = layout.before.iter().filter(|(kind, _)| kind == b"sidx").map(|(_, place)| place.clone());
    let segments: Vec<_> = ahead.chain(segments).collect();
    let indexed = hints::segments(known, &segments, chosen.id, timescale)?;
    let mut start = before.clone();
    seek::walk(known, first, &context, &mut start, None, MAX_BETWEEN)?;
    if before.count == 0 {
        shown.from = begin(known, first, movie, &start, shown)?;
    }
    let fps = rate(start.count, start.ticks, timescale);
    let told = extends.length.max(movie.length).saturating_sub(movie.wait);
    let mut told = edits::rescale(told, timescale, movie.timescale);
    told = told.max(i64::try_from(chosen.length).unwrap_or(i64::MAX));
    let own = Hint { offset: first, time: before.clock };
    let (hints, complete, until) = match indexed {
        Some((hints, until)) => (hints, true, until),
        None => by_the_end(known, own, &context, told)?,
    };
    let last_tick = until.saturating_sub(shown.from).saturating_add(shown.at);
    let samples = Samples::Fragments(Box::new(Fragments { context, hints, complete, before, shown, until }));
    Ok(Some(Found { samples, last_tick, fps }))
}

/// Where in the media the film begins whose first fragments are in `run`: where its edit list says, or later. What is
/// recorded of a stream keeps the stream's clock (`tfdt`, ISO 14496-12, 8.8.12), which may have begun days ago: it is
/// 0 when the first of the tracks begins.
fn begin(known: &Known, first: u64, movie: &Movie<'_>, run: &Run, shown: Shown) -> Result<i64, Fault> {
    let Some(own) = run.index.samples().map(|sample| sample.dts).min() else { return Ok(shown.from) };
    let Some(head) = head_at(known, first, PEEK)? else { return Ok(shown.from) };
    let moof = known.bytes(first + head.own..first.saturating_add(head.size).min(known.total()))?;
    let others = fragment::begin(&moof).filter(|(track, _)| *track != movie.chosen.id);
    let zero = others.fold(own, |zero, (track, time)| {
        let clock = movie.clocks.iter().find(|(id, _)| *id == track);
        clock.map_or(zero, |(_, scale)| zero.min(edits::rescale(time, movie.chosen.timescale, *scale)))
    });
    let late = i64::from(movie.chosen.timescale).saturating_mul(edits::LATE_SECS.cast_signed());
    // Some lists count the stream's clock in.
    let is_late = zero >= late && shown.from < zero;
    Ok(if is_late { shown.from.saturating_add(zero) } else { shown.from })
}

/// Where the first fragment begins, and the segment indexes before it.
struct Beginning {
    first: u64,
    segments: Vec<Range<u64>>,
}

fn first_fragment(known: &Known, from: u64) -> Result<Option<Beginning>, Fault> {
    let (mut at, mut segments) = (from, Vec::new());
    for _ in 0..MAX_BETWEEN {
        let Some(head) = head_at(known, at, PEEK)? else { break };
        let end = at.saturating_add(head.size).min(known.total());
        match &head.kind {
            b"moof" => return Ok(Some(Beginning { first: at, segments })),
            b"sidx" => segments.push(at..end),
            _ => {}
        }
        at = end;
    }
    Ok(None)
}

/// What the end of a file tells: the index that may stand there, or its last fragment; and when that ends.
fn by_the_end(
    known: &Known,
    first: Hint,
    context: &Context,
    told: i64,
) -> Result<(Vec<Hint>, bool, i64), Fault> {
    let total = known.total();
    known.bytes(total.saturating_sub(END)..total)?;
    if let Some(hints) = hints::random_access(known, context.track)? {
        let last = hints.last().copied().unwrap_or(first);
        let until = ends(known, last, context)?.unwrap_or(told).max(last.time);
        return Ok((hints, true, until));
    }
    let mut look = MAX_LOOK;
    for window in [END, END * 4, END * 16, END * 64] {
        let from = total.saturating_sub(window).max(first.offset);
        known.bytes(from..total)?;
        if let Some(found) = seek::next(known, from, total, context, &mut look)? {
            let until = ends(known, found, context)?.unwrap_or(told).max(found.time);
            return Ok((vec![first], false, until));
        }
    }
    Err(Fault::Foreign("no fragment near the end"))
}

/// When the fragments from this one to the end of the file are over.
fn ends(known: &Known, from: Hint, context: &Context) -> Result<Option<i64>, Fault> {
    let mut run = Run { clock: from.time, ..Run::default() };
    seek::walk(known, from.offset, context, &mut run, Some(i64::MAX), MAX_BETWEEN)?;
    Ok((run.count > 0).then_some(run.clock))
}
