//! Reads the samples of the audio track that is played with the video, on request: the sample tables, or the fragments
//! of the requested time.

use std::ops::Range;

use crate::demux::audio::{self, AudioRun, AudioSample};
use crate::demux::budget::{PARSED_BYTES_PER_STEP, STEPS_PER_SAMPLE};
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::SeekMode;
use crate::demux::error::ReadError;
use crate::demux::index::{PresentedSpan, SampleIndex};
use crate::demux::mp4::fragment_seek::{self, FragmentScan, FragmentSeeker, MAX_BOXES};
use crate::demux::mp4::movie::{self, AacTrackBox, MovieBox};
use crate::demux::mp4::top_level::{PEEK_BYTES, header_at};
use crate::demux::mp4::track_fragment::{FragmentContext, FragmentSamples};
use crate::demux::mp4::{edit_list, fragmented, sample_table};

/// How many milliseconds before the requested time fragments are read: those of audio may be interleaved later than
/// those of video.
const LEAD_MS: u64 = 500;
/// How many milliseconds after the requested time fragments of video are skipped until one has audio.
const LAG_MS: u64 = 5000;
/// How many earlier fragments are tried if the audio begins after the requested time.
const MAX_STEPS_BACK: u32 = 4;

/// Where the movie of a file is.
#[derive(Debug, Clone)]
pub(super) struct MovieLocation {
    /// The body of `moov`.
    pub(super) moov: Range<u64>,
    /// Whether the file ends within it.
    pub(super) is_truncated: bool,
    /// The time of a stream's clock at which the presentation starts, in ticks of the video; 0 for other files.
    pub(super) clock_start: i64,
}

/// Reads the samples of `range_ms`; `None` if there is no AAC. `video` is the timescale of the video, and its seeker if
/// the file is searched for fragments.
///
/// # Errors
/// The bytes that are missing, or the reason why reading cannot continue.
pub(super) fn read(
    buffer: &SparseBuffer,
    location: &MovieLocation,
    video: (u32, Option<&FragmentSeeker>),
    range_ms: Range<u64>,
) -> Result<Option<AudioRun>, ReadError> {
    let moov = buffer.get(location.moov.clone())?;
    buffer.budget().spend(moov.len() as u64 / PARSED_BYTES_PER_STEP)?;
    let movie = movie::parse(&moov, location.is_truncated)?;
    let Some(aac) = &movie.aac_track else { return Ok(None) };
    let timescale = aac.track.timescale;
    let first_fragment = match &movie.extends {
        Some(_) => fragmented::find_first_fragment(buffer, location.moov.end)?,
        None => None,
    };
    let mut spans = edit_list::parse(
        aac.track_box.elst,
        timescale,
        (movie.timescale, movie.start_delay),
        first_fragment.is_some(),
    )?;
    let clock_start = u64::try_from(location.clock_start).unwrap_or(0);
    for span in &mut spans {
        span.media_start =
            span.media_start.saturating_add(edit_list::rescale(clock_start, timescale, video.0));
    }
    let range = audio::ticks_from_ms(range_ms.start, timescale)
        ..audio::ticks_from_ms(range_ms.end, timescale).saturating_add(1);
    let table = sample_table::parse(aac.track_box.stbl, &aac.entry_indices, buffer)?;
    let mut samples = FragmentSamples {
        index: table.index,
        next_dts: table.total_ticks,
        last_duration: table.last_duration,
        count: table.count,
        ticks: table.total_ticks,
    };
    if let Some(first) = first_fragment {
        let context = fragment_context(buffer, aac, &movie);
        if let Some(seeker) = video.1 {
            let span = spans.first().copied().unwrap_or(seeker.span);
            let search =
                FragmentSearch { buffer, context: &context, seeker, timescales: (video.0, timescale) };
            samples = search.find_samples(&samples, span, &range_ms, &range)?;
        } else {
            fragment_seek::read_fragments(
                buffer,
                first.offset,
                &context,
                &mut samples,
                Some(i64::MAX),
                MAX_BOXES,
            )?;
        }
    }
    // Each span looks at every sample.
    for _ in &spans {
        buffer.budget().spend(samples.index.len() as u64 * STEPS_PER_SAMPLE)?;
    }
    let samples = presented_samples(&samples.index, samples.last_duration, &spans, &range);
    Ok(Some(AudioRun { track: aac.track.clone(), samples }))
}

fn fragment_context(buffer: &SparseBuffer, aac: &AacTrackBox<'_>, movie: &MovieBox<'_>) -> FragmentContext {
    FragmentContext {
        track_id: aac.track_box.id,
        defaults: movie.extends.as_ref().map(|extends| extends.defaults.clone()).unwrap_or_default(),
        entries: aac.entry_indices.clone(),
        total_bytes: buffer.total_bytes(),
        codec: "aac",
        nal_length_size: 0,
        verify_keyframes: false,
    }
}

/// The search for the fragments of a time in a large file.
struct FragmentSearch<'a> {
    buffer: &'a SparseBuffer,
    /// The context of the audio.
    context: &'a FragmentContext,
    seeker: &'a FragmentSeeker,
    /// Ticks per second of the video and of the audio.
    timescales: (u32, u32),
}

impl FragmentSearch<'_> {
    /// Reads the fragments of a range, with the samples before all fragments if it is at the beginning.
    fn find_samples(
        &self,
        leading_samples: &FragmentSamples,
        span: PresentedSpan,
        range_ms: &Range<u64>,
        range: &Range<i64>,
    ) -> Result<FragmentSamples, ReadError> {
        let video_time = |ms: u64| {
            audio::ticks_from_ms(ms, self.timescales.0)
                .saturating_add(self.seeker.span.media_start)
                .saturating_sub(self.seeker.span.presentation_start)
        };
        let media_time =
            |ticks: i64| ticks.saturating_add(span.media_start).saturating_sub(span.presentation_start);
        let from = video_time(range_ms.start.saturating_sub(LEAD_MS));
        let until = video_time(range_ms.end.saturating_add(LAG_MS));
        let mut scans = FragmentScan::default();
        let mut back = 0;
        loop {
            let start = self.seeker.locate(self.buffer, from, SeekMode::Exact, back, &mut scans)?;
            let is_first = start.offset <= self.seeker.first.offset;
            let time = u64::try_from(start.media_time).unwrap_or(0);
            let mut samples = if is_first {
                leading_samples.clone()
            } else {
                FragmentSamples {
                    next_dts: edit_list::rescale(time, self.timescales.1, self.timescales.0),
                    ..FragmentSamples::default()
                }
            };
            self.read_fragments(start.offset, &mut samples, until, media_time(range.end))?;
            let begins_late =
                samples.index.samples().next().is_none_or(|first| first.dts > media_time(range.start));
            if !begins_late || is_first || back >= MAX_STEPS_BACK {
                return Ok(samples);
            }
            back += 1;
        }
    }

    /// Reads fragments until the audio reaches `until_dts`, or the video `video_until`.
    fn read_fragments(
        &self,
        mut at: u64,
        samples: &mut FragmentSamples,
        video_until: i64,
        until_dts: i64,
    ) -> Result<(), ReadError> {
        for _ in 0..MAX_BOXES {
            let is_complete = !samples.index.is_empty() && samples.next_dts >= until_dts;
            let Some(head) = header_at(self.buffer, at, PEEK_BYTES)? else { break };
            let video_time = match &head.kind {
                b"moof" => fragment_seek::fragment_time(self.buffer, at, &self.seeker.context)?,
                _ => None,
            };
            if is_complete || video_time.is_some_and(|time| time >= video_until) {
                break;
            }
            let next =
                fragment_seek::read_fragments(self.buffer, at, self.context, samples, Some(i64::MAX), 1)?;
            if next <= at {
                break;
            }
            at = next;
        }
        Ok(())
    }
}

/// The samples that sound within `range`, with presentation times. A sample whose beginning or end is cut off by an
/// edit is included as a whole.
fn presented_samples(
    index: &SampleIndex,
    last_duration: i64,
    spans: &[PresentedSpan],
    range: &Range<i64>,
) -> Vec<AudioSample> {
    let durations = index
        .samples()
        .skip(1)
        .zip(index.samples())
        .map(|(next, sample)| next.dts.saturating_sub(sample.dts))
        .chain(std::iter::once(last_duration));
    let all: Vec<(AudioSample, i64)> = index
        .samples()
        .zip(durations)
        .map(|(sample, duration)| {
            let duration = u32::try_from(duration).unwrap_or(u32::MAX);
            (AudioSample { offset: sample.offset, size: sample.size, pts: 0, duration }, sample.dts)
        })
        .collect();
    let mut presented = Vec::new();
    for (place, span) in spans.iter().enumerate() {
        // The decoder is primed by the sample before the first span. Others follow the previous span.
        let before = if place == 0 { i64::MAX } else { 0 };
        let place = |time: i64| time.saturating_sub(span.media_start).saturating_add(span.presentation_start);
        let inside = all.iter().filter(|(sample, dts)| {
            let end = dts.saturating_add(sample.duration.into());
            end.saturating_add(before) > span.media_start && *dts < span.media_end
        });
        let samples = inside.map(|(sample, dts)| AudioSample { pts: place(*dts), ..*sample });
        presented.extend(audio::select(samples, range.clone()));
    }
    presented.sort_by_key(|sample| sample.pts);
    presented
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::demuxer::Sample;

    /// Ten samples of 10 ticks.
    fn index() -> SampleIndex {
        let mut index = SampleIndex::default();
        for place in 0..10_i64 {
            let time = place * 10;
            index.push(Sample {
                offset: time.unsigned_abs(),
                size: 1,
                dts: time,
                pts: time,
                is_key: true,
                entry: 0,
            });
        }
        index
    }

    fn span(media_start: i64, media_end: i64, presentation_start: i64) -> PresentedSpan {
        PresentedSpan { media_start, media_end, presentation_start, starts_at_frame: false }
    }

    /// The offsets and times of the samples in a range.
    fn presented(spans: &[PresentedSpan], range: Range<i64>) -> Vec<(u64, i64)> {
        let samples = presented_samples(&index(), 10, spans, &range);
        samples.iter().map(|sample| (sample.offset, sample.pts)).collect()
    }

    #[test]
    fn edits_move_and_cut_samples() {
        let primed = [span(15, i64::MAX, 0)];
        assert_eq!(presented(&primed, 0..10), [(0, -15), (10, -5), (20, 5)]);
        assert_eq!(presented(&primed, 80..999), [(80, 65), (90, 75)]);
        let late = [span(0, 25, 100)];
        assert_eq!(presented(&late, 0..999), [(0, 100), (10, 110), (20, 120)]);
        assert_eq!(presented(&late, 0..100), []);
    }

    #[test]
    fn edits_repeat_and_reorder_samples() {
        let twice = [span(50, 70, 0), span(0, 20, 20)];
        assert_eq!(presented(&twice, 0..40), [(40, -10), (50, 0), (60, 10), (0, 20), (10, 30)]);
        assert_eq!(presented(&twice, 30..40), [(0, 20), (10, 30)]);
    }
}
