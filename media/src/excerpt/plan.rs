//! Selects the samples of an excerpt, and maps its output frames to the requested frames. Does no IO.

use crate::demux::demuxer::{Sample, SeekMode};
use crate::excerpt::ExcerptSample;
use crate::plan::FrameRequest;

/// The most bytes of samples in one excerpt.
const MAX_EXCERPT_BYTES: u64 = 96 * 1024 * 1024;
/// The most pixels that are decoded for one excerpt: 40 seconds of 1080p at 30 frames per second.
const MAX_EXCERPT_PIXELS: u64 = 1200 * 1920 * 1080;

/// A requested frame: its index in the excerpt, and its presentation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePosition {
    /// Index of the frame among the excerpt's output frames.
    pub frame_index: u32,
    /// Presentation time in the source, in ticks.
    pub pts: i64,
}

/// The samples of an excerpt, and the positions of the requested frames in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExcerptPlan {
    /// The samples, in decoding order.
    pub samples: Vec<ExcerptSample>,
    /// The frames of each request, one for each of its times; empty if the source has no samples there.
    pub positions: Vec<Vec<FramePosition>>,
}

impl ExcerptPlan {
    /// The samples that are needed for one frame, with only that frame as output.
    pub fn samples_for_frame(&self, frame_index: u32) -> Vec<ExcerptSample> {
        let mut first = 0;
        for segment in self.samples.chunk_by(|_, next| !next.is_discontinuity) {
            let mut outputs: Vec<&ExcerptSample> = segment.iter().filter(|sample| sample.is_output).collect();
            outputs.sort_by_key(|sample| sample.source.pts);
            if let Some(wanted) = outputs.get((frame_index - first) as usize) {
                let run: Vec<Sample> = segment.iter().map(|sample| sample.source).collect();
                let is_wanted: Vec<bool> =
                    segment.iter().map(|sample| std::ptr::eq(sample, *wanted)).collect();
                return dependencies(&run, &is_wanted);
            }
            first += outputs.len() as u32;
        }
        Vec::new()
    }
}

/// Selects the frames of each request from the samples that the demuxer returned for it.
pub fn plan_excerpt(frame_requests: &[FrameRequest], runs: Vec<Vec<Sample>>) -> ExcerptPlan {
    let mut plan = ExcerptPlan::default();
    let mut frame_count = 0;
    // Positions of samples for requests of a single frame: storyboard tiles often share a sample.
    let mut single_frames: Vec<(u64, FramePosition)> = Vec::new();
    for (frame_request, mut run) in frame_requests.iter().zip(runs) {
        let Some(key) = run.first().copied() else {
            plan.positions.push(Vec::new());
            continue;
        };
        // Frames that are shown before the keyframe depend on missing samples. Frames that are never shown may be
        // needed.
        run.retain(|sample| sample.pts >= key.pts || sample.pts < 0);
        let base = match frame_request.samples.mode {
            // If no keyframe is shown, the exact time was searched.
            SeekMode::Keyframe => {
                if key.pts >= 0 {
                    key.pts
                } else {
                    frame_request.samples.from
                }
            }
            SeekMode::Exact => 0,
        };
        let mut order: Vec<usize> = (0..run.len()).collect();
        order.sort_by_key(|place| run[*place].pts);
        // Before the first presented frame, use the first one. Use a frame that is never shown only if there is no
        // other.
        let hidden = order.partition_point(|place| run[*place].pts < 0);
        let min_end = if hidden < order.len() { hidden + 1 } else { 1 };
        let shown_at: Vec<usize> = frame_request
            .times
            .iter()
            .map(|moment| {
                let after = order.partition_point(|place| run[*place].pts <= moment + base);
                order[after.max(min_end) - 1]
            })
            .collect();
        if let ([only], 1) = (shown_at.as_slice(), frame_request.times.len())
            && let Some((_, position)) = single_frames.iter().find(|(offset, _)| *offset == run[*only].offset)
        {
            plan.positions.push(vec![*position]);
            continue;
        }
        let mut is_output = vec![false; run.len()];
        for place in &shown_at {
            is_output[*place] = true;
        }
        // Frame indexes are in presentation order.
        let mut frame_indices = vec![0; run.len()];
        for place in order.iter().filter(|place| is_output[**place]) {
            frame_indices[*place] = frame_count;
            frame_count += 1;
        }
        let positions: Vec<FramePosition> = shown_at
            .iter()
            .map(|place| FramePosition { frame_index: frame_indices[*place], pts: run[*place].pts })
            .collect();
        if let ([position], [only]) = (positions.as_slice(), shown_at.as_slice()) {
            single_frames.push((run[*only].offset, *position));
        }
        plan.samples.extend(dependencies(&run, &is_output));
        plan.positions.push(positions);
    }
    plan
}

/// The samples of a run that its output frames depend on: from a keyframe up to each frame.
fn dependencies(run: &[Sample], is_output: &[bool]) -> Vec<ExcerptSample> {
    let mut samples = Vec::with_capacity(run.len());
    let mut pending = Vec::new();
    // The earliest presentation time of the output frames at or after each index.
    let mut earliest: Vec<i64> = run
        .iter()
        .zip(is_output)
        .rev()
        .scan(i64::MAX, |earliest, (sample, shown)| {
            *earliest = if *shown { sample.pts.min(*earliest) } else { *earliest };
            Some(*earliest)
        })
        .collect();
    earliest.reverse();
    // Whether no output frame from here on is shown before this keyframe: leading pictures of an open GOP are, and they
    // reference earlier frames.
    let is_closed_gop = |place: usize| earliest[place] >= run[place].pts;
    let (mut is_discontinuity, mut seen_presented, mut seen_past_end) = (false, false, false);
    for (place, (sample, shown)) in run.iter().zip(is_output).enumerate() {
        if sample.is_key && is_closed_gop(place) {
            // A new segment of an edit list starts if samples that are never shown follow presented ones, if samples
            // follow that are shown after the end of a span, or if the offset in the file decreases.
            let before = place.checked_sub(1).map(|before| run[before].offset);
            let is_earlier = before.is_some_and(|before| sample.offset < before);
            if seen_past_end || seen_presented && sample.pts < 0 || is_earlier {
                (is_discontinuity, seen_presented, seen_past_end) = (true, false, false);
            }
            pending.clear();
        }
        seen_past_end |= sample.pts == i64::MAX;
        seen_presented |= sample.pts >= 0;
        let is_first = pending.is_empty();
        pending.push(ExcerptSample {
            source: *sample,
            is_output: *shown,
            is_discontinuity: is_discontinuity && is_first,
        });
        if *shown {
            samples.append(&mut pending);
            is_discontinuity = false;
        }
    }
    if let Some(first) = samples.first_mut() {
        first.is_discontinuity = true;
    }
    samples
}

/// Whether these samples, of this many pixels each, exceed the limits of one excerpt.
pub fn is_over_budget(plan: &ExcerptPlan, pixels: u64) -> bool {
    plan.samples.iter().map(|sample| u64::from(sample.source.size)).sum::<u64>() > MAX_EXCERPT_BYTES
        || (plan.samples.len() as u64).saturating_mul(pixels) > MAX_EXCERPT_PIXELS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::demuxer::SampleRequest;

    fn sample(offset: u64, pts: i64, key: bool) -> Sample {
        Sample { offset, size: 1, dts: 0, pts, is_key: key, entry: 0 }
    }

    #[test]
    fn edit_list_segments_are_decoded_separately() {
        // I P B, of which P is after the end of the span, then a segment whose keyframe is never shown.
        let run = vec![
            sample(10, 0, true),
            sample(11, i64::MAX, false),
            sample(12, 1, false),
            sample(3, -5, true),
            sample(4, 2, false),
        ];
        let samples = SampleRequest { from: 0, until: 3, mode: SeekMode::Exact };
        let plan = plan_excerpt(&[FrameRequest { samples, times: vec![0, 1, 2] }], vec![run]);
        let times: Vec<i64> = plan.positions[0].iter().map(|pick| pick.pts).collect();
        assert_eq!(times, [0, 1, 2]);
        let planned: Vec<_> = plan
            .samples
            .iter()
            .map(|sample| (sample.source.offset, sample.is_output, sample.is_discontinuity))
            .collect();
        assert_eq!(
            planned,
            [(10, true, true), (11, false, false), (12, true, false), (3, false, true), (4, true, false)]
        );
        // Before the first presented frame, the result is that frame, not one that is never shown.
        let late = vec![sample(1, -1, true), sample(2, 9, false), sample(3, 12, false)];
        let plan = plan_excerpt(&[FrameRequest { samples, times: vec![0, 10] }], vec![late]);
        assert_eq!(plan.positions[0].iter().map(|pick| pick.pts).collect::<Vec<_>>(), [9, 9]);
    }

    #[test]
    fn plans_many_keyframes_in_linear_time() {
        // Quadratic work for these would take minutes.
        let count = 300_000;
        let run: Vec<Sample> = (0..count).map(|place| sample(place as u64, place, true)).collect();
        let moments: Vec<i64> = (0..1000).map(|place| place * count / 1000).collect();
        let samples = SampleRequest { from: 0, until: count, mode: SeekMode::Exact };
        let plan = plan_excerpt(&[FrameRequest { samples, times: moments }], vec![run]);
        assert_eq!(plan.samples.len(), 1000);
    }

    #[test]
    fn single_frame_needs_only_its_references() {
        // Two segments: I P B, of which P and B are output, and a keyframe alone.
        let run = vec![sample(0, 0, true), sample(1, 20, false), sample(2, 10, false)];
        let first = FrameRequest {
            samples: SampleRequest { from: 10, until: 21, mode: SeekMode::Exact },
            times: vec![10, 20],
        };
        let second = FrameRequest {
            samples: SampleRequest { from: 90, until: 90, mode: SeekMode::Keyframe },
            times: vec![0],
        };
        let plan = plan_excerpt(&[first, second], vec![run, vec![sample(3, 90, true)]]);
        let frame_samples = |slot| -> Vec<(u64, bool)> {
            plan.samples_for_frame(slot)
                .iter()
                .map(|sample| (sample.source.offset, sample.is_output))
                .collect()
        };
        assert_eq!(frame_samples(0), vec![(0, false), (1, false), (2, true)]);
        assert_eq!(frame_samples(1), vec![(0, false), (1, true)]);
        assert_eq!(frame_samples(2), vec![(3, true)]);
        assert_eq!(frame_samples(3), []);
        assert!(plan.samples_for_frame(2)[0].is_discontinuity);
    }

    #[test]
    fn picks_frame_presented_at_each_time() {
        // In decoding order with B-frames; one leading picture belongs to the previous GOP.
        let run =
            vec![sample(0, 100, true), sample(1, 90, false), sample(2, 130, false), sample(3, 110, false)];
        let frame_request = FrameRequest {
            samples: SampleRequest { from: 105, until: 131, mode: SeekMode::Exact },
            times: vec![105, 115, 129, 130],
        };
        let plan = plan_excerpt(&[frame_request], vec![run]);
        let pts: Vec<i64> = plan.positions[0].iter().map(|pick| pick.pts).collect();
        assert_eq!(pts, [100, 110, 110, 130]);
        let slots: Vec<u32> = plan.positions[0].iter().map(|pick| pick.frame_index).collect();
        assert_eq!(slots, [0, 1, 1, 2]);
        let offsets: Vec<u64> = plan.samples.iter().map(|sample| sample.source.offset).collect();
        assert_eq!(offsets, [0, 2, 3], "the leading picture is not decoded");
        assert!(plan.samples[0].is_discontinuity && !plan.samples[1].is_discontinuity);
    }

    #[test]
    fn open_gop_starts_at_previous_keyframe() {
        // I P I B: the last one is shown before the second keyframe and references both sides.
        let run = vec![sample(0, 0, true), sample(1, 20, false), sample(2, 40, true), sample(3, 30, false)];
        let samples = SampleRequest { from: 30, until: 30, mode: SeekMode::Exact };
        let layout = plan_excerpt(&[FrameRequest { samples, times: vec![30] }], vec![run.clone()]);
        assert_eq!((layout.samples.len(), layout.positions[0][0].pts), (4, 30));
        let samples = SampleRequest { from: 40, until: 40, mode: SeekMode::Exact };
        let plan = plan_excerpt(&[FrameRequest { samples, times: vec![40] }], vec![run]);
        assert_eq!(plan.samples.len(), 1);
    }

    #[test]
    fn skips_unneeded_and_shares_common_samples() {
        let frame_request = |from| FrameRequest {
            samples: SampleRequest { from, until: from, mode: SeekMode::Keyframe },
            times: vec![0],
        };
        let runs =
            vec![vec![sample(7, 0, true)], Vec::new(), vec![sample(7, 0, true)], vec![sample(9, 5, true)]];
        let plan =
            plan_excerpt(&[frame_request(0), frame_request(1), frame_request(2), frame_request(5)], runs);
        assert_eq!(plan.samples.len(), 2);
        assert_eq!(plan.positions[0], plan.positions[2]);
        assert!(plan.positions[1].is_empty());
        assert_eq!(plan.positions[3], [FramePosition { frame_index: 1, pts: 5 }]);

        let run: Vec<Sample> =
            (0..10).zip((0..).step_by(10)).map(|(place, pts)| sample(place, pts, true)).collect();
        let few = FrameRequest {
            samples: SampleRequest { from: 0, until: 100, mode: SeekMode::Exact },
            times: vec![0, 50],
        };
        assert_eq!(
            plan_excerpt(&[few], vec![run]).samples.len(),
            2,
            "every frame is a keyframe: only the output frames"
        );
    }
}
