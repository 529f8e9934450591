//! Reads fragmented files: completely if small, otherwise by their index or by searching for fragments. ISO 14496-12,
//! 8.8 and 8.16.

use std::ops::Range;

use crate::demux::budget::PARSED_BYTES_PER_STEP;
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::nal_length_size;
use crate::demux::error::ReadError;
use crate::demux::index::PresentedSpan;
use crate::demux::mp4::fragment_index::{self, AccessPoint};
use crate::demux::mp4::fragment_seek::{self, FragmentScan, FragmentSeeker};
use crate::demux::mp4::movie::{MovieBox, MovieExtends};
use crate::demux::mp4::sample_entry::VisualSampleEntry;
use crate::demux::mp4::top_level::{PEEK_BYTES, TopLevelBoxes, header_at};
use crate::demux::mp4::track_fragment::{self, FragmentContext, FragmentSamples};
use crate::demux::mp4::{Mp4Samples, TrackSamples, build_samples, edit_list, frame_rate, sample_table};

/// Fragmented files up to this size are read completely.
const READ_WHOLE_BYTES: u64 = 8 * 1024 * 1024;
/// How many bytes at the end of a fragmented file are fetched, where an index may be.
const TAIL_BYTES: u64 = 256 * 1024;
/// The most boxes between the movie and its first fragment, or in total in a small file.
const MAX_LEADING_BOXES: usize = 64;
const MAX_BOXES: usize = 1 << 20;
/// The number of samples from which the frame rate is computed.
const FRAME_RATE_SAMPLES: usize = 50;

/// Reads the samples of a file that may have fragments; `None` if it has none.
///
/// # Errors
/// The bytes that are missing, or the reason why the file is rejected or left to ffmpeg.
pub(super) fn read(
    buffer: &SparseBuffer,
    top_level: &TopLevelBoxes,
    movie_box: &MovieBox<'_>,
    extends: &MovieExtends,
) -> Result<Option<TrackSamples>, ReadError> {
    let total = buffer.total_bytes();
    if total <= READ_WHOLE_BYTES {
        buffer.get(0..total)?;
    }
    let Some(FirstFragment { offset: first, segment_indexes: segments }) =
        find_first_fragment(buffer, top_level.moov.end)?
    else {
        return Ok(None);
    };
    let (track_box, timescale) = (&movie_box.track, movie_box.track.timescale);
    let mut context = FragmentContext {
        track_id: track_box.id,
        defaults: extends.defaults.clone(),
        entries: movie_box.entry_indices.clone(),
        total_bytes: total,
        codec: movie_box.sample_entries.first().map_or("", |picture| picture.codec),
        nal_length_size: nal_length_size(
            &movie_box.sample_entries.iter().map(VisualSampleEntry::to_bytes).collect::<Vec<_>>(),
        ),
        verify_keyframes: false,
    };
    let spans =
        edit_list::parse(track_box.elst, timescale, (movie_box.timescale, movie_box.start_delay), true)?;
    let [mut span] = spans[..] else {
        return Err(ReadError::Unsupported("edit list with several spans"));
    };
    let sample_table = sample_table::parse(track_box.stbl, &movie_box.entry_indices, buffer)?;
    let mut leading_samples = FragmentSamples {
        index: sample_table.index,
        next_dts: sample_table.total_ticks,
        last_duration: sample_table.last_duration,
        count: sample_table.count,
        ticks: sample_table.total_ticks,
    };
    if total <= READ_WHOLE_BYTES {
        let has_no_leading_samples = leading_samples.count == 0;
        fragment_seek::read_fragments(
            buffer,
            first,
            &context,
            &mut leading_samples,
            Some(i64::MAX),
            MAX_BOXES,
        )?;
        if has_no_leading_samples {
            span.media_start = media_start(buffer, first, movie_box, &leading_samples, span)?;
        }
        let audio_end_tick = audio_end(buffer, first, movie_box, span, MAX_BOXES)?;
        let track_samples = build_samples(leading_samples, &[span], track_box, buffer)?;
        let clock_start = span.media_start.saturating_sub(spans[0].media_start);
        return Ok(Some(TrackSamples { audio_end: audio_end_tick, clock_start, ..track_samples }));
    }
    let leading_indexes =
        top_level.preceding.iter().filter(|(kind, _)| kind == b"sidx").map(|(_, place)| place.clone());
    let index_ranges: Vec<_> = leading_indexes.chain(segments).collect();
    let indexed = fragment_index::read_segment_indexes(buffer, &index_ranges, track_box.id, timescale)?;
    let mut first_samples = leading_samples.clone();
    fragment_seek::read_fragments(
        buffer,
        first,
        &context,
        &mut first_samples,
        Some(i64::MIN),
        MAX_LEADING_BOXES,
    )?;
    if !first_samples.index.has_keys() {
        // No sample is marked as a keyframe, not even the first: detect keyframes from the samples themselves.
        first_samples.index.verify_keyframes_from(0, buffer, context.codec, context.nal_length_size)?;
        context.verify_keyframes = first_samples.index.has_keys();
    }
    first_samples = leading_samples.clone();
    let rest =
        fragment_seek::read_fragments(buffer, first, &context, &mut first_samples, None, MAX_LEADING_BOXES)?;
    if leading_samples.count == 0 {
        span.media_start = media_start(buffer, first, movie_box, &first_samples, span)?;
    }
    let fps = initial_frame_rate(buffer, rest, &context, &first_samples, timescale)?;
    let declared_movie_ticks =
        extends.fragment_duration.max(movie_box.duration).saturating_sub(movie_box.start_delay);
    let mut declared_end = edit_list::rescale(declared_movie_ticks, timescale, movie_box.timescale);
    declared_end = declared_end.max(i64::try_from(track_box.duration).unwrap_or(i64::MAX));
    let time = fragment_seek::fragment_time(buffer, first, &context)?.unwrap_or(leading_samples.next_dts);
    let first = AccessPoint { offset: first, media_time: time };
    let (access_points, until) = match indexed {
        // An index that was not updated together with the file is ignored.
        Some((hints, until)) if is_valid_index(buffer, hints.first())? => (hints, until),
        _ => read_tail(buffer, first, &context, declared_end)?,
    };
    let video_end = until.saturating_sub(span.media_start).saturating_add(span.presentation_start);
    let last_offset = access_points.last().map(|hint| hint.offset);
    let audio_end_tick =
        last_offset.map_or(Ok(0), |last| audio_end(buffer, last, movie_box, span, MAX_LEADING_BOXES))?;
    let samples = Mp4Samples::Fragments(Box::new(FragmentSeeker {
        context,
        first,
        access_points,
        leading_samples,
        span,
        end_time: until,
    }));
    let clock_start = span.media_start.saturating_sub(spans[0].media_start);
    Ok(Some(TrackSamples { samples, video_end, audio_end: audio_end_tick, fps, clock_start }))
}

fn is_valid_index(buffer: &SparseBuffer, access_point: Option<&AccessPoint>) -> Result<bool, ReadError> {
    access_point.map_or(Ok(false), |hint| fragment_seek::is_segment_start(buffer, hint.offset))
}

/// Frames per second in the first fragments. If the first one has few frames, more fragments are read, as far as they
/// are buffered.
fn initial_frame_rate(
    buffer: &SparseBuffer,
    rest: u64,
    context: &FragmentContext,
    start: &FragmentSamples,
    timescale: u32,
) -> Result<f64, ReadError> {
    let (mut samples, mut at) = (start.clone(), rest);
    while samples.count < FRAME_RATE_SAMPLES {
        match fragment_seek::read_fragments(buffer, at, context, &mut samples, Some(i64::MAX), 1) {
            Ok(end) if end > at => at = end,
            Ok(_) | Err(ReadError::NeedMore(_)) => break,
            Err(fault) => return Err(fault),
        }
    }
    Ok(frame_rate(samples.count, samples.ticks, timescale))
}

/// The media time at which the presentation starts, for a file whose first fragments are in `samples`: the time from
/// its edit list, or later. Recordings of a stream keep the stream's clock (`tfdt`, ISO 14496-12, 8.8.12), which may
/// have started days earlier; the presentation starts with the first of the tracks.
fn media_start(
    buffer: &SparseBuffer,
    first: u64,
    movie_box: &MovieBox<'_>,
    samples: &FragmentSamples,
    span: PresentedSpan,
) -> Result<i64, ReadError> {
    let Some(own) = samples.index.samples().map(|sample| sample.dts).min() else {
        return Ok(span.media_start);
    };
    let Some(head) = header_at(buffer, first, PEEK_BYTES)? else { return Ok(span.media_start) };
    let moof =
        buffer.get(first + head.header_bytes..first.saturating_add(head.size).min(buffer.total_bytes()))?;
    let others = track_fragment::decode_times(&moof).filter(|(track, _)| *track != movie_box.track.id);
    let earliest = others.fold(own, |zero, (track, time)| {
        let clock = movie_box.timescales.iter().find(|(id, _)| *id == track);
        clock.map_or(zero, |(_, scale)| zero.min(edit_list::rescale(time, movie_box.track.timescale, *scale)))
    });
    let late = i64::from(movie_box.track.timescale).saturating_mul(edit_list::LATE_SECS.cast_signed());
    // Some lists already include the stream's clock.
    let is_late = earliest >= late && span.media_start < earliest;
    Ok(if is_late { span.media_start.saturating_add(earliest) } else { span.media_start })
}

/// End of the audio in the fragments from `at`, within `boxes` boxes, in ticks of the selected track relative to the
/// start of the presentation.
fn audio_end(
    buffer: &SparseBuffer,
    mut at: u64,
    movie_box: &MovieBox<'_>,
    span: PresentedSpan,
    boxes: usize,
) -> Result<i64, ReadError> {
    let tracks: Vec<u32> = movie_box.audio_tracks.iter().map(|trak| trak.id).collect();
    let defaults = movie_box.extends.as_ref().map(|extends| &extends.defaults[..]).unwrap_or_default();
    let mut last = None;
    for _ in 0..boxes {
        if tracks.is_empty() {
            break;
        }
        let Some(head) = header_at(buffer, at, PEEK_BYTES)? else { break };
        let end = at.saturating_add(head.size).min(buffer.total_bytes());
        if &head.kind == b"moof" {
            let moof = buffer.get(at + head.header_bytes..end)?;
            buffer.budget().spend(moof.len() as u64 / PARSED_BYTES_PER_STEP)?;
            for (track, ticks) in track_fragment::end_times(&moof, &tracks, defaults) {
                let scale =
                    movie_box.timescales.iter().find(|(id, _)| *id == track).map_or(1, |(_, scale)| *scale);
                last = last.max(Some(edit_list::rescale(ticks, movie_box.track.timescale, scale)));
            }
        }
        at = end;
    }
    Ok(last.map_or(0, |last| last.saturating_sub(span.media_start).saturating_add(span.presentation_start)))
}

/// The position of the first fragment, and the segment indexes before it.
pub(super) struct FirstFragment {
    pub(super) offset: u64,
    segment_indexes: Vec<Range<u64>>,
}

/// Finds the first fragment after the movie, which ends at `from`; `None` if there is none.
///
/// # Errors
/// The bytes that are missing.
pub(super) fn find_first_fragment(
    buffer: &SparseBuffer,
    from: u64,
) -> Result<Option<FirstFragment>, ReadError> {
    let (mut at, mut segment_indexes) = (from, Vec::new());
    for _ in 0..MAX_LEADING_BOXES {
        let Some(head) = header_at(buffer, at, PEEK_BYTES)? else { break };
        let end = at.saturating_add(head.size).min(buffer.total_bytes());
        match &head.kind {
            b"moof" => return Ok(Some(FirstFragment { offset: at, segment_indexes })),
            b"sidx" => segment_indexes.push(at..end),
            _ => {}
        }
        at = end;
    }
    Ok(None)
}

/// Reads the end of a file: its index, or its last fragment. Returns the access points and the end time.
fn read_tail(
    buffer: &SparseBuffer,
    first: AccessPoint,
    context: &FragmentContext,
    declared_end: i64,
) -> Result<(Vec<AccessPoint>, i64), ReadError> {
    let total = buffer.total_bytes();
    buffer.get(total.saturating_sub(TAIL_BYTES)..total)?;
    let mut search = FragmentScan::default();
    if let Some(access_points) = fragment_index::read_mfra(buffer, context.track_id)?
        && let Some(last) = access_points.last().copied()
        && fragment_seek::is_segment_start(buffer, last.offset)?
    {
        // If many fragments follow the last indexed one, the last of them are buffered.
        let from = total.saturating_sub(TAIL_BYTES).max(last.offset);
        let last_fragment = search.find_fragment(buffer, from, total, context)?.unwrap_or(last);
        let until =
            fragments_end(buffer, last_fragment, context)?.unwrap_or(declared_end).max(last.media_time);
        return Ok((access_points, until));
    }
    for window in [TAIL_BYTES, TAIL_BYTES * 4, TAIL_BYTES * 16, TAIL_BYTES * 64] {
        let from = total.saturating_sub(window).max(first.offset);
        buffer.get(from..total)?;
        if let Some(found) = search.find_fragment(buffer, from, total, context)? {
            let until = fragments_end(buffer, found, context)?.unwrap_or(declared_end).max(found.media_time);
            return Ok((Vec::new(), until));
        }
    }
    Err(ReadError::Unsupported("no fragment near the end of the file"))
}

/// End of the fragments from this one to the end of the file.
fn fragments_end(
    buffer: &SparseBuffer,
    from: AccessPoint,
    context: &FragmentContext,
) -> Result<Option<i64>, ReadError> {
    let mut samples = FragmentSamples { next_dts: from.media_time, ..FragmentSamples::default() };
    fragment_seek::read_fragments(
        buffer,
        from.offset,
        context,
        &mut samples,
        Some(i64::MAX),
        fragment_seek::MAX_BOXES,
    )?;
    Ok((samples.count > 0).then_some(samples.next_dts))
}
