//! Plans the sound of a clip: AAC frames with the clock of the source.

use crate::clip::{ClipTrack, MAX_SAMPLE_TICKS, Span, sample_ticks};
use crate::demux::audio::{AudioRun, AudioSample};
use crate::mux::{Edit, MuxSample, MuxTrack, MuxTrackKind};

/// Plans the samples that sound in a span, after one that primes the decoder; `None` if there are none.
pub(super) fn plan(run: AudioRun, span: Span) -> Option<ClipTrack> {
    let timescale = run.track.timescale;
    let (start, end) = (span.start(timescale), span.end(timescale));
    let first = run.samples.iter().position(|sample| sample.end() > start && sample.pts < end)?;
    let stop = run.samples.iter().rposition(|sample| sample.pts < end)? + 1;
    let samples = run.samples.get(first.saturating_sub(1)..stop)?;
    let (first, sounding, last) = (samples.first()?, run.samples.get(first)?, samples.last()?);
    let begin = sounding.pts.max(start);
    let delay_ms = i128::from(begin.saturating_sub(start)) * 1000 / i128::from(timescale.max(1));
    let edit = Edit {
        media_time: u64::try_from(begin.saturating_sub(first.pts)).unwrap_or(0),
        duration: u64::try_from(last.end().min(end).saturating_sub(begin)).unwrap_or(0),
    };
    Some(ClipTrack {
        track: MuxTrack {
            kind: MuxTrackKind::Audio,
            timescale,
            sample_entry: run.track.sample_entry,
            samples: mux_samples(samples),
            edit: Some(edit),
            delay_ms: u32::try_from(delay_ms).ok()?,
        },
        sources: samples.iter().map(|sample| sample.offset..sample.offset + u64::from(sample.size)).collect(),
    })
}

/// The samples with the times from each to the next.
fn mux_samples(samples: &[AudioSample]) -> Vec<MuxSample> {
    let next = samples.iter().skip(1).map(|next| Some(next.pts)).chain([None]);
    let timed = samples.iter().zip(next).map(|(sample, next)| MuxSample {
        size: sample.size,
        duration: next.map_or(sample.duration.min(MAX_SAMPLE_TICKS), |next| {
            sample_ticks(next.saturating_sub(sample.pts))
        }),
        composition_offset: 0,
        is_sync: true,
    });
    timed.collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::demux::audio::AudioTrack;

    /// 48 frames per second: a whole number of milliseconds would hide rounding.
    fn run(times: &[i64]) -> AudioRun {
        let samples = times.iter().map(|pts| AudioSample {
            offset: pts.unsigned_abs() * 10,
            size: 10,
            pts: *pts,
            duration: 1000,
        });
        AudioRun {
            track: AudioTrack { timescale: 48_000, sample_entry: Bytes::new() },
            samples: samples.collect(),
        }
    }

    /// The first source, the delay, and the edit of a clip.
    fn planned(times: &[i64], start_ms: u64, end_ms: u64) -> Option<(u64, u32, Edit)> {
        let span = Span { start_ms, end_ms, duration: 99_000, timescale: 1000 };
        let clip = plan(run(times), span)?;
        assert_eq!(clip.sources.len(), clip.track.samples.len());
        Some((clip.sources.first()?.start, clip.track.delay_ms, clip.track.edit?))
    }

    #[test]
    fn begins_within_a_frame_after_one_for_priming() {
        let times: Vec<i64> = (0..100).map(|frame| frame * 1000).collect();
        let edit = |media_time, duration| Edit { media_time, duration };
        assert_eq!(planned(&times, 0, 1000), Some((0, 0, edit(0, 48_000))));
        assert_eq!(planned(&times, 500, 1000), Some((230_000, 0, edit(1000, 24_000))));
        assert_eq!(planned(&times, 510, 1000), Some((230_000, 0, edit(1480, 23_520))));
        assert_eq!(planned(&times, 2000, 9000), Some((950_000, 0, edit(1000, 4000))));
        assert_eq!(planned(&times, 2084, 9000), None);
    }

    #[test]
    fn late_sound_begins_after_a_delay() {
        let times = [24_000, 25_000, 30_000];
        let edit = |media_time, duration| Edit { media_time, duration };
        assert_eq!(planned(&times, 0, 1000), Some((240_000, 500, edit(0, 7000))));
        assert_eq!(planned(&times, 0, 500), None);
        // A pause in the source lasts as long in the clip.
        assert_eq!(planned(&times, 550, 1000), Some((250_000, 75, edit(5000, 1000))));
        let clip = plan(run(&times), Span { start_ms: 0, end_ms: 1000, duration: 99, timescale: 1 }).unwrap();
        let durations: Vec<u32> = clip.track.samples.iter().map(|sample| sample.duration).collect();
        assert_eq!(durations, [1000, 5000, 1000]);
    }
}
