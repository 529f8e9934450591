//! Decides how a file of movie fragments is read: whole if it is small, else by the index it may have, else by looking
//! for fragments. ISO 14496-12, 8.8 and 8.16.

use std::ops::Range;

use crate::demux::budget::PARSED_PER_STEP;
use crate::demux::buffer::{Fault, Known};
use crate::demux::demuxer::nal_length;
use crate::demux::index::Shown;
use crate::demux::mp4::fragment_index::{self, Hint};
use crate::demux::mp4::fragment_seek::{self, Fragments, Search};
use crate::demux::mp4::movie::{Extends, Movie};
use crate::demux::mp4::sample_entry::Picture;
use crate::demux::mp4::top_level::{Layout, PEEK, head_at};
use crate::demux::mp4::track_fragment::{self, Context, Run};
use crate::demux::mp4::{Found, Samples, all, edit_list, rate, sample_table};

/// Up to this size a fragmented file is read whole.
const WHOLE: u64 = 8 * 1024 * 1024;
/// How much of the end of a fragmented file is fetched, for the index that may be there.
const END: u64 = 256 * 1024;
/// The most boxes between the movie and its first fragment, or in a small file altogether.
const MAX_BETWEEN: usize = 64;
const MAX_BOXES: usize = 1 << 20;
/// How many samples tell how many there are a second.
const ENOUGH_SAMPLES: usize = 50;

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
    let mut context = Context {
        track: chosen.id,
        defaults: extends.defaults.clone(),
        entries: movie.entries.clone(),
        total,
        codec: movie.pictures.first().map_or("", |picture| picture.codec),
        nal_length: nal_length(&movie.pictures.iter().map(Picture::to_bytes).collect::<Vec<_>>()),
        verifies: false,
    };
    let stretches = edit_list::read(chosen.elst, timescale, (movie.timescale, movie.wait), true)?;
    let [mut shown] = stretches[..] else { return Err(Fault::Foreign("an edit list of several stretches")) };
    let read = sample_table::read(chosen.stbl, &movie.entries, known)?;
    let mut before =
        Run { index: read.index, clock: read.ticks, last: read.last, count: read.count, ticks: read.ticks };
    if total <= WHOLE {
        let is_bare = before.count == 0;
        fragment_seek::walk(known, first, &context, &mut before, Some(i64::MAX), MAX_BOXES)?;
        if is_bare {
            shown.from = begin(known, first, movie, &before, shown)?;
        }
        let sound_tick = heard(known, first, movie, shown, MAX_BOXES)?;
        let found = all(before, &[shown], chosen, known)?;
        return Ok(Some(Found { sound_tick, ..found }));
    }
    let ahead = layout.before.iter().filter(|(kind, _)| kind == b"sidx").map(|(_, place)| place.clone());
    let segments: Vec<_> = ahead.chain(segments).collect();
    let indexed = fragment_index::segments(known, &segments, chosen.id, timescale)?;
    let mut start = before.clone();
    fragment_seek::walk(known, first, &context, &mut start, Some(i64::MIN), MAX_BETWEEN)?;
    if !start.index.has_keys() {
        // No picture is called a keyframe, not even the first: that is for the pictures to say.
        start.index.verify_from(0, known, context.codec, context.nal_length)?;
        context.verifies = start.index.has_keys();
    }
    start = before.clone();
    let rest = fragment_seek::walk(known, first, &context, &mut start, None, MAX_BETWEEN)?;
    if before.count == 0 {
        shown.from = begin(known, first, movie, &start, shown)?;
    }
    let fps = early_rate(known, rest, &context, &start, timescale)?;
    let told = extends.length.max(movie.length).saturating_sub(movie.wait);
    let mut told = edit_list::rescale(told, timescale, movie.timescale);
    told = told.max(i64::try_from(chosen.length).unwrap_or(i64::MAX));
    let time = fragment_seek::begins(known, first, &context)?.unwrap_or(before.clock);
    let first = Hint { offset: first, time };
    let (hints, until) = match indexed {
        // An index that was not changed along with the file is none.
        Some((hints, until)) if is_right(known, hints.first())? => (hints, until),
        _ => by_the_end(known, first, &context, told)?,
    };
    let last_tick = until.saturating_sub(shown.from).saturating_add(shown.at);
    let last = hints.last().map(|hint| hint.offset);
    let sound_tick = last.map_or(Ok(0), |last| heard(known, last, movie, shown, MAX_BETWEEN))?;
    let samples = Samples::Fragments(Box::new(Fragments { context, first, hints, before, shown, until }));
    Ok(Some(Found { samples, last_tick, sound_tick, fps }))
}

fn is_right(known: &Known, hint: Option<&Hint>) -> Result<bool, Fault> {
    hint.map_or(Ok(false), |hint| fragment_seek::is_segment(known, hint.offset))
}

/// Pictures a second, by the first fragments. One of few pictures tells little: more of them are read, as far as they are
/// known anyway.
fn early_rate(
    known: &Known,
    rest: u64,
    context: &Context,
    start: &Run,
    timescale: u32,
) -> Result<f64, Fault> {
    let (mut run, mut at) = (start.clone(), rest);
    while run.count < ENOUGH_SAMPLES {
        match fragment_seek::walk(known, at, context, &mut run, Some(i64::MAX), 1) {
            Ok(end) if end > at => at = end,
            Ok(_) | Err(Fault::Missing(_)) => break,
            Err(fault) => return Err(fault),
        }
    }
    Ok(rate(run.count, run.ticks, timescale))
}

/// Where in the media the film begins whose first fragments are in `run`: where its edit list says, or later. What is
/// recorded of a stream keeps the stream's clock (`tfdt`, ISO 14496-12, 8.8.12), which may have begun days ago: it is
/// 0 when the first of the tracks begins.
fn begin(known: &Known, first: u64, movie: &Movie<'_>, run: &Run, shown: Shown) -> Result<i64, Fault> {
    let Some(own) = run.index.samples().map(|sample| sample.dts).min() else { return Ok(shown.from) };
    let Some(head) = head_at(known, first, PEEK)? else { return Ok(shown.from) };
    let moof = known.bytes(first + head.own..first.saturating_add(head.size).min(known.total()))?;
    let others = track_fragment::begin(&moof).filter(|(track, _)| *track != movie.chosen.id);
    let zero = others.fold(own, |zero, (track, time)| {
        let clock = movie.clocks.iter().find(|(id, _)| *id == track);
        clock.map_or(zero, |(_, scale)| zero.min(edit_list::rescale(time, movie.chosen.timescale, *scale)))
    });
    let late = i64::from(movie.chosen.timescale).saturating_mul(edit_list::LATE_SECS.cast_signed());
    // Some lists count the stream's clock in.
    let is_late = zero >= late && shown.from < zero;
    Ok(if is_late { shown.from.saturating_add(zero) } else { shown.from })
}

/// When nothing more is heard of the fragments from `at` on, over at most so many boxes, in ticks of the shown track from
/// the film's beginning on.
fn heard(known: &Known, mut at: u64, movie: &Movie<'_>, shown: Shown, boxes: usize) -> Result<i64, Fault> {
    let tracks: Vec<u32> = movie.heard.iter().map(|trak| trak.id).collect();
    let defaults = movie.extends.as_ref().map(|extends| &extends.defaults[..]).unwrap_or_default();
    let mut last = None;
    for _ in 0..boxes {
        if tracks.is_empty() {
            break;
        }
        let Some(head) = head_at(known, at, PEEK)? else { break };
        let end = at.saturating_add(head.size).min(known.total());
        if &head.kind == b"moof" {
            let moof = known.bytes(at + head.own..end)?;
            known.budget().spend(moof.len() as u64 / PARSED_PER_STEP)?;
            for (track, ticks) in track_fragment::ends(&moof, &tracks, defaults) {
                let scale = movie.clocks.iter().find(|(id, _)| *id == track).map_or(1, |(_, scale)| *scale);
                last = last.max(Some(edit_list::rescale(ticks, movie.chosen.timescale, scale)));
            }
        }
        at = end;
    }
    Ok(last.map_or(0, |last| last.saturating_sub(shown.from).saturating_add(shown.at)))
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
fn by_the_end(known: &Known, first: Hint, context: &Context, told: i64) -> Result<(Vec<Hint>, i64), Fault> {
    let total = known.total();
    known.bytes(total.saturating_sub(END)..total)?;
    let mut search = Search::default();
    if let Some(hints) = fragment_index::random_access(known, context.track)?
        && let Some(last) = hints.last().copied()
        && fragment_seek::is_segment(known, last.offset)?
    {
        // Of many fragments behind the last one that is listed, the last are known.
        let from = total.saturating_sub(END).max(last.offset);
        let known_last = search.next(known, from, total, context)?.unwrap_or(last);
        let until = ends(known, known_last, context)?.unwrap_or(told).max(last.time);
        return Ok((hints, until));
    }
    for window in [END, END * 4, END * 16, END * 64] {
        let from = total.saturating_sub(window).max(first.offset);
        known.bytes(from..total)?;
        if let Some(found) = search.next(known, from, total, context)? {
            let until = ends(known, found, context)?.unwrap_or(told).max(found.time);
            return Ok((Vec::new(), until));
        }
    }
    Err(Fault::Foreign("no fragment near the end"))
}

/// When the fragments from this one to the end of the file are over.
fn ends(known: &Known, from: Hint, context: &Context) -> Result<Option<i64>, Fault> {
    let mut run = Run { clock: from.time, ..Run::default() };
    fragment_seek::walk(known, from.offset, context, &mut run, Some(i64::MAX), fragment_seek::MAX_BOXES)?;
    Ok((run.count > 0).then_some(run.clock))
}
