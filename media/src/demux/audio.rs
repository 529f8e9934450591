//! The AAC track that is played with the video: what an MP4 needs to carry it, and its samples.

use std::ops::Range;

use bytes::Bytes;

/// How far the times of a container may deviate from the clock of its samples, as a part of a second. Matroska and FLV
/// store milliseconds, and live recordings jitter.
const MAX_DEVIATION_PARTS: i64 = 100;

/// An AAC track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioTrack {
    /// Ticks per second, the unit of every time below. Not 0.
    pub timescale: u32,
    /// The complete sample entry box: `mp4a` with its `esds`, rebuilt from the fields that were parsed.
    pub sample_entry: Bytes,
}

/// An encoded audio frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSample {
    /// Byte offset of its data in the source.
    pub offset: u64,
    /// Size of its data in bytes; not 0.
    pub size: u32,
    /// Presentation time, in ticks of the track: 0 is the start of the presentation, as for the video. May be negative.
    pub pts: i64,
    /// Duration in ticks.
    pub duration: u32,
}

impl AudioSample {
    /// End of the sample, in ticks.
    pub fn end(&self) -> i64 {
        self.pts.saturating_add(self.duration.into())
    }
}

/// Consecutive samples of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioRun {
    /// The track.
    pub track: AudioTrack,
    /// The samples, ascending by time.
    pub samples: Vec<AudioSample>,
}

/// Selects the samples that sound in `range`, in ticks, and the one before them, which decoders need: every AAC frame
/// overlaps with the one before it.
pub(super) fn select(samples: impl Iterator<Item = AudioSample>, range: Range<i64>) -> Vec<AudioSample> {
    let (mut selected, mut before) = (Vec::new(), None);
    for sample in samples {
        if sample.end() <= range.start {
            before = Some(sample);
        } else if sample.pts < range.end {
            selected.push(sample);
        }
    }
    match (before, selected.first()) {
        (Some(before), Some(first)) if before.pts < first.pts => selected.insert(0, before),
        _ => {}
    }
    selected
}

/// Milliseconds as ticks, rounded down.
pub(super) fn ticks_from_ms(ms: u64, timescale: u32) -> i64 {
    i64::try_from(u128::from(ms) * u128::from(timescale) / 1000).unwrap_or(i64::MAX)
}

/// Replaces the times of consecutive frames, which the container rounds to milliseconds, by those of the clock of the
/// samples, in which every frame has the same duration. Where the times deviate by more than rounding and jitter, they
/// are right: sound was lost there, or the clocks differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleClock {
    timescale: u32,
    frame_ticks: u32,
    next: Option<i64>,
}

impl SampleClock {
    /// Creates a clock of `timescale` samples per second, and this many in each frame.
    pub(super) fn new(timescale: u32, frame_ticks: u32) -> Self {
        Self { timescale, frame_ticks, next: None }
    }

    /// The next frame, with the time of the container in ticks of the clock.
    pub(super) fn place(&mut self, offset: u64, size: u32, time: i64) -> AudioSample {
        let tolerance = (i64::from(self.timescale) / MAX_DEVIATION_PARTS).unsigned_abs();
        let pts = self.next.filter(|next| next.abs_diff(time) <= tolerance).unwrap_or(time);
        self.next = Some(pts.saturating_add(self.frame_ticks.into()));
        AudioSample { offset, size, pts, duration: self.frame_ticks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pts: i64) -> AudioSample {
        AudioSample { offset: pts.unsigned_abs(), size: 1, pts, duration: 10 }
    }

    #[test]
    fn selects_sounding_samples_and_one_before() {
        let times = |range: Range<i64>| {
            let samples = (-10..50).step_by(10).map(sample);
            select(samples, range).iter().map(|sample| sample.pts).collect::<Vec<_>>()
        };
        assert_eq!(times(0..20), [-10, 0, 10]);
        assert_eq!(times(5..6), [-10, 0]);
        assert_eq!(times(-10..1), [-10, 0]);
        assert_eq!(times(45..99), [30, 40]);
        assert_eq!(times(50..99), [0; 0]);
    }

    #[test]
    fn clock_removes_rounding_and_keeps_gaps() {
        let mut clock = SampleClock::new(48_000, 1024);
        let times: Vec<i64> =
            [0, 21, 43, 64, 185, 207].iter().map(|ms| clock.place(0, 1, ms * 48).pts).collect();
        assert_eq!(times, [0, 1024, 2048, 3072, 8880, 9904]);
    }

    #[test]
    fn clock_follows_a_slower_container() {
        // The container's clock gains 1 ms every frame.
        let mut clock = SampleClock::new(48_000, 1024);
        for frame in 0..1000_i64 {
            let time = frame * 1072;
            let pts = clock.place(0, 1, time).pts;
            assert!(pts.abs_diff(time) <= 480, "frame {frame}");
        }
    }
}
