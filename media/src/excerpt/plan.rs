//! Decides which samples of a source make a digest, and which of its frames are the wanted pictures. Pure.

use crate::demux::demuxer::{Aim, Sample};
use crate::excerpt::mp4_writer::Shot;
use crate::plan::Stretch;

/// The most bytes of samples in one digest.
const MAX_DIGEST_BYTES: u64 = 96 * 1024 * 1024;
/// The most that is decoded for one digest: 40 seconds of 1080p at 30 frames a second.
const MAX_DIGEST_PIXELS: u64 = 1200 * 1920 * 1080;

/// One wanted picture: the frame of which slot it is, and when that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Which frame of the digest.
    pub slot: u32,
    /// When it is shown in the source, in ticks.
    pub pts: i64,
}

/// The samples of a digest, and where in it the wanted pictures are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// The samples, in decoding order.
    pub shots: Vec<Shot>,
    /// For each stretch its pictures, as many as moments, or none where the source has nothing there.
    pub picks: Vec<Vec<Pick>>,
}

impl Layout {
    /// The samples that the picture of one slot needs, and only that is shown.
    pub fn alone(&self, slot: u32) -> Vec<Shot> {
        let mut first = 0;
        for stretch in self.shots.chunk_by(|_, next| !next.cut) {
            let mut shown: Vec<&Shot> = stretch.iter().filter(|shot| shot.shown).collect();
            shown.sort_by_key(|shot| shot.sample.pts);
            if let Some(wanted) = shown.get((slot - first) as usize) {
                let run: Vec<Sample> = stretch.iter().map(|shot| shot.sample).collect();
                let is_wanted: Vec<bool> = stretch.iter().map(|shot| std::ptr::eq(shot, *wanted)).collect();
                return needed(&run, &is_wanted);
            }
            first += shown.len() as u32;
        }
        Vec::new()
    }
}

/// Finds the pictures of each stretch among the samples that the demuxer found for it.
pub fn lay(stretches: &[Stretch], runs: Vec<Vec<Sample>>) -> Layout {
    let mut layout = Layout::default();
    let mut slots = 0;
    // Where the sample that begins a stretch of a single picture went: tiles often share it.
    let mut seen: Vec<(u64, Pick)> = Vec::new();
    for (stretch, mut run) in stretches.iter().zip(runs) {
        let Some(key) = run.first().copied() else {
            layout.picks.push(Vec::new());
            continue;
        };
        // What is shown before the keyframe refers to what is not there. What is never shown may be needed.
        run.retain(|sample| sample.pts >= key.pts || sample.pts < 0);
        let base = match stretch.want.aim {
            // Where no keyframe is shown, the very moment was looked for.
            Aim::Keyframe => {
                if key.pts >= 0 {
                    key.pts
                } else {
                    stretch.want.from
                }
            }
            Aim::Exact => 0,
        };
        let mut order: Vec<usize> = (0..run.len()).collect();
        order.sort_by_key(|place| run[*place].pts);
        // Before the first picture is shown, it stands for what is to come; only where none is ever shown, another one.
        let hidden = order.partition_point(|place| run[*place].pts < 0);
        let least = if hidden < order.len() { hidden + 1 } else { 1 };
        let shown_at: Vec<usize> = stretch
            .moments
            .iter()
            .map(|moment| {
                let after = order.partition_point(|place| run[*place].pts <= moment + base);
                order[after.max(least) - 1]
            })
            .collect();
        if let ([only], 1) = (shown_at.as_slice(), stretch.moments.len())
            && let Some((_, pick)) = seen.iter().find(|(offset, _)| *offset == run[*only].offset)
        {
            layout.picks.push(vec![*pick]);
            continue;
        }
        let mut shown = vec![false; run.len()];
        for place in &shown_at {
            shown[*place] = true;
        }
        // Slots are numbered in the order in which they are shown.
        let mut number = vec![0; run.len()];
        for place in order.iter().filter(|place| shown[**place]) {
            number[*place] = slots;
            slots += 1;
        }
        let picks: Vec<Pick> =
            shown_at.iter().map(|place| Pick { slot: number[*place], pts: run[*place].pts }).collect();
        if let ([pick], [only]) = (picks.as_slice(), shown_at.as_slice()) {
            seen.push((run[*only].offset, *pick));
        }
        layout.shots.extend(needed(&run, &shown));
        layout.picks.push(picks);
    }
    layout
}

/// The samples of a run that its shown pictures need: from a keyframe on, up to each.
fn needed(run: &[Sample], shown: &[bool]) -> Vec<Shot> {
    let mut shots = Vec::with_capacity(run.len());
    let mut pending = Vec::new();
    // When the earliest of the pictures is shown that are wanted from each place on.
    let mut earliest: Vec<i64> = run
        .iter()
        .zip(shown)
        .rev()
        .scan(i64::MAX, |earliest, (sample, shown)| {
            *earliest = if *shown { sample.pts.min(*earliest) } else { *earliest };
            Some(*earliest)
        })
        .collect();
    earliest.reverse();
    // Whether nothing that is shown from here on stands before this keyframe: pictures of an open group do, and refer to
    // what was before it.
    let closed = |place: usize| earliest[place] >= run[place].pts;
    let (mut cut, mut met_shown, mut met_over) = (false, false, false);
    for (place, (sample, shown)) in run.iter().zip(shown).enumerate() {
        if sample.key && closed(place) {
            // Another stretch of an edit list begins: with what is never shown, behind what is shown no more, or with what
            // stands earlier in the file.
            let before = place.checked_sub(1).map(|before| run[before].offset);
            let is_earlier = before.is_some_and(|before| sample.offset < before);
            if met_over || met_shown && sample.pts < 0 || is_earlier {
                (cut, met_shown, met_over) = (true, false, false);
            }
            pending.clear();
        }
        met_over |= sample.pts == i64::MAX;
        met_shown |= sample.pts >= 0;
        let is_first = pending.is_empty();
        pending.push(Shot { sample: *sample, shown: *shown, cut: cut && is_first });
        if *shown {
            shots.append(&mut pending);
            cut = false;
        }
    }
    if let Some(first) = shots.first_mut() {
        first.cut = true;
    }
    shots
}

/// Whether these samples, of so many pixels each, are too much for one digest.
pub fn is_too_much(layout: &Layout, pixels: u64) -> bool {
    layout.shots.iter().map(|shot| u64::from(shot.sample.size)).sum::<u64>() > MAX_DIGEST_BYTES
        || (layout.shots.len() as u64).saturating_mul(pixels) > MAX_DIGEST_PIXELS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::demuxer::Want;

    fn sample(offset: u64, pts: i64, key: bool) -> Sample {
        Sample { offset, size: 1, dts: 0, pts, key, entry: 0 }
    }

    #[test]
    fn stretches_of_an_edit_list_are_decoded_apart() {
        // I P B of which P is shown no more, then a stretch whose keyframe is never shown.
        let run = vec![
            sample(10, 0, true),
            sample(11, i64::MAX, false),
            sample(12, 1, false),
            sample(3, -5, true),
            sample(4, 2, false),
        ];
        let want = Want { from: 0, until: 3, aim: Aim::Exact };
        let layout = lay(&[Stretch { want, moments: vec![0, 1, 2] }], vec![run]);
        let picked: Vec<i64> = layout.picks[0].iter().map(|pick| pick.pts).collect();
        assert_eq!(picked, [0, 1, 2]);
        let shots: Vec<_> =
            layout.shots.iter().map(|shot| (shot.sample.offset, shot.shown, shot.cut)).collect();
        assert_eq!(
            shots,
            [(10, true, true), (11, false, false), (12, true, false), (3, false, true), (4, true, false)]
        );
        // Before the first picture is shown, it is that one and none that is never shown.
        let late = vec![sample(1, -1, true), sample(2, 9, false), sample(3, 12, false)];
        let layout = lay(&[Stretch { want, moments: vec![0, 10] }], vec![late]);
        assert_eq!(layout.picks[0].iter().map(|pick| pick.pts).collect::<Vec<_>>(), [9, 9]);
    }

    #[test]
    fn many_keyframes_are_laid_out_in_one_pass() {
        // Work for each pair of these would take minutes.
        let count = 300_000;
        let run: Vec<Sample> = (0..count).map(|place| sample(place as u64, place, true)).collect();
        let moments: Vec<i64> = (0..1000).map(|place| place * count / 1000).collect();
        let want = Want { from: 0, until: count, aim: Aim::Exact };
        let layout = lay(&[Stretch { want, moments }], vec![run]);
        assert_eq!(layout.shots.len(), 1000);
    }

    #[test]
    fn one_picture_of_many_needs_only_what_it_refers_to() {
        // Two stretches: I P B of which P and B are shown, and a keyframe alone.
        let run = vec![sample(0, 0, true), sample(1, 20, false), sample(2, 10, false)];
        let first = Stretch { want: Want { from: 10, until: 21, aim: Aim::Exact }, moments: vec![10, 20] };
        let second = Stretch { want: Want { from: 90, until: 90, aim: Aim::Keyframe }, moments: vec![0] };
        let layout = lay(&[first, second], vec![run, vec![sample(3, 90, true)]]);
        let alone = |slot| -> Vec<(u64, bool)> {
            layout.alone(slot).iter().map(|shot| (shot.sample.offset, shot.shown)).collect()
        };
        assert_eq!(alone(0), vec![(0, false), (1, false), (2, true)]);
        assert_eq!(alone(1), vec![(0, false), (1, true)]);
        assert_eq!(alone(2), vec![(3, true)]);
        assert_eq!(alone(3), []);
        assert!(layout.alone(2)[0].cut);
    }

    #[test]
    fn a_wanted_picture_is_the_one_shown_at_its_moment() {
        // In decoding order, as B-frames make it; one leading picture belongs to what came before.
        let run =
            vec![sample(0, 100, true), sample(1, 90, false), sample(2, 130, false), sample(3, 110, false)];
        let stretch = Stretch {
            want: Want { from: 105, until: 131, aim: Aim::Exact },
            moments: vec![105, 115, 129, 130],
        };
        let layout = lay(&[stretch], vec![run]);
        let pts: Vec<i64> = layout.picks[0].iter().map(|pick| pick.pts).collect();
        assert_eq!(pts, [100, 110, 110, 130]);
        let slots: Vec<u32> = layout.picks[0].iter().map(|pick| pick.slot).collect();
        assert_eq!(slots, [0, 1, 1, 2]);
        let offsets: Vec<u64> = layout.shots.iter().map(|shot| shot.sample.offset).collect();
        assert_eq!(offsets, [0, 2, 3], "the leading picture is not decoded");
        assert!(layout.shots[0].cut && !layout.shots[1].cut);
    }

    #[test]
    fn an_open_group_is_decoded_from_the_keyframe_before() {
        // I P I B: the last one is shown before the second keyframe and refers to both sides.
        let run = vec![sample(0, 0, true), sample(1, 20, false), sample(2, 40, true), sample(3, 30, false)];
        let want = Want { from: 30, until: 30, aim: Aim::Exact };
        let layout = lay(&[Stretch { want, moments: vec![30] }], vec![run.clone()]);
        assert_eq!((layout.shots.len(), layout.picks[0][0].pts), (4, 30));
        let want = Want { from: 40, until: 40, aim: Aim::Exact };
        let layout = lay(&[Stretch { want, moments: vec![40] }], vec![run]);
        assert_eq!(layout.shots.len(), 1);
    }

    #[test]
    fn what_no_picture_needs_is_left_out_and_what_two_need_comes_once() {
        let stretch =
            |from| Stretch { want: Want { from, until: from, aim: Aim::Keyframe }, moments: vec![0] };
        let runs =
            vec![vec![sample(7, 0, true)], Vec::new(), vec![sample(7, 0, true)], vec![sample(9, 5, true)]];
        let layout = lay(&[stretch(0), stretch(1), stretch(2), stretch(5)], runs);
        assert_eq!(layout.shots.len(), 2);
        assert_eq!(layout.picks[0], layout.picks[2]);
        assert!(layout.picks[1].is_empty());
        assert_eq!(layout.picks[3], [Pick { slot: 1, pts: 5 }]);

        let run: Vec<Sample> =
            (0..10).zip((0..).step_by(10)).map(|(place, pts)| sample(place, pts, true)).collect();
        let few = Stretch { want: Want { from: 0, until: 100, aim: Aim::Exact }, moments: vec![0, 50] };
        assert_eq!(lay(&[few], vec![run]).shots.len(), 2, "every picture is a keyframe: only the shown ones");
    }
}
