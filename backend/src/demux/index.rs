//! Decides which samples a moment needs, out of a list of all that are known, in decoding order.

use super::movie::{Aim, Sample, Want};

/// The most samples that are indexed: 18 hours at 60 frames a second. Kept in columns of 26 bytes a sample.
pub(super) const MAX_SAMPLES: usize = 4_000_000;

/// Samples in decoding order. Times are those of the track until [`Index::place`] was called.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    offsets: Vec<u64>,
    sizes: Vec<u32>,
    dts: Vec<i64>,
    /// When each is shown, from its `dts` on.
    shifts: Vec<i32>,
    entries: Vec<u16>,
    /// The places of keyframes, ascending.
    keys: Vec<u32>,
    /// The places of keyframes among them that are shown later than every one before: searched by time.
    sorted: Vec<u32>,
    /// How much earlier than it is decoded a picture is shown at most, as a negative number, or 0.
    least_shift: i64,
    /// When the first picture is shown, and when nothing more is.
    begin: i64,
    end: i64,
}

/// What of a track is shown, in its own ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    /// Where it begins in the media, and where it ends.
    pub(super) from: i64,
    pub(super) until: i64,
    /// When it begins to be shown.
    pub(super) at: i64,
    /// Whether `at` is the moment of the first picture that is shown, rather than that of `from`.
    pub(super) to_picture: bool,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.sizes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Appends a sample. Its decoding time must not be before that of the last one.
    pub(super) fn push(&mut self, sample: Sample) {
        // A picture is shown at most hours after it was decoded: what does not fit 32 bits is damaged.
        let shift = i32::try_from(sample.pts.saturating_sub(sample.dts)).unwrap_or(0);
        let dts = self.dts.last().map_or(sample.dts, |last| sample.dts.max(*last));
        if sample.key {
            self.keys.push(self.len() as u32);
        }
        self.least_shift = self.least_shift.min(shift.into());
        self.offsets.push(sample.offset);
        self.sizes.push(sample.size);
        self.dts.push(dts);
        self.shifts.push(shift);
        self.entries.push(sample.entry);
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Pictures a second, of so many ticks a second; 0 if there are too few.
    pub(super) fn rate(&self, timescale: u32) -> f64 {
        let (Some(first), Some(last)) = (self.dts.first(), self.dts.last()) else { return 0.0 };
        let ticks = last.saturating_sub(*first);
        if ticks > 0 { (self.len() - 1) as f64 * f64::from(timescale) / ticks as f64 } else { 0.0 }
    }

    /// When the first keyframe is shown.
    pub(super) fn first_key(&self) -> Option<i64> {
        self.keys.first().map(|place| self.pts(*place as usize))
    }

    /// When the last picture is decoded.
    pub(super) fn last_dts(&self) -> Option<i64> {
        self.dts.last().copied()
    }

    /// See [`Index::least_shift`].
    pub(super) fn least_shift(&self) -> i64 {
        self.least_shift
    }

    /// Moves all times so that 0 is the first moment shown, and remembers where the last one ends.
    /// `last` is how long the picture that comes last is shown.
    pub(super) fn place(&mut self, shown: Shown, last: i64) {
        let inside = |pts: &i64| (shown.from..shown.until).contains(pts);
        let begin = (0..self.len()).map(|place| self.pts(place)).filter(inside).min();
        let zero = if shown.to_picture { begin.unwrap_or(shown.from) } else { shown.from };
        let offset = zero.saturating_sub(shown.at);
        let over = (0..self.len()).map(|place| self.pts(place)).max().unwrap_or(0).saturating_add(last);
        self.begin = begin.unwrap_or(zero).saturating_sub(offset).max(0);
        self.end = over.min(shown.until).saturating_sub(offset);
        let late = i32::try_from(shown.at).unwrap_or(i32::MAX);
        for (dts, shift) in self.dts.iter_mut().zip(&mut self.shifts) {
            if dts.saturating_add((*shift).into()) < shown.from {
                // Never shown, therefore before 0 even where the track begins later.
                *shift = shift.saturating_sub(late);
            }
            *dts = dts.saturating_sub(offset);
        }
        self.sort_keys();
    }

    fn sort_keys(&mut self) {
        let mut latest = i64::MIN;
        let keys = std::mem::take(&mut self.keys);
        self.sorted = keys
            .iter()
            .copied()
            .filter(|place| {
                let pts = self.pts(*place as usize);
                let later = pts > latest;
                latest = latest.max(pts);
                later
            })
            .collect();
        self.keys = keys;
    }

    /// Takes no picture but the first keyframe for one.
    pub(super) fn keep_first_key(&mut self) {
        self.keys.truncate(1);
        self.sort_keys();
    }

    /// When nothing more is shown, in ticks.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// When the keyframes are shown that are shown at all.
    pub(super) fn key_times(&self) -> Vec<i64> {
        self.shown_keys().map(|(_, pts)| pts).collect()
    }

    fn shown_keys(&self) -> impl Iterator<Item = (usize, i64)> {
        let first = self.sorted.partition_point(|place| self.pts(*place as usize) < 0);
        self.sorted
            .iter()
            .skip(first)
            .map(|place| (*place as usize, self.pts(*place as usize)))
            .take_while(|(_, pts)| *pts < self.end)
    }

    /// Every sample, in decoding order.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let mut keys = self.keys.iter().peekable();
        (0..self.len()).filter_map(move |place| {
            let key = keys.next_if(|key| **key as usize == place).is_some();
            self.sample(place, key)
        })
    }

    fn pts(&self, place: usize) -> i64 {
        let dts = self.dts.get(place).copied().unwrap_or_default();
        dts.saturating_add(self.shifts.get(place).copied().unwrap_or_default().into())
    }

    fn sample(&self, place: usize, key: bool) -> Option<Sample> {
        Some(Sample {
            offset: *self.offsets.get(place)?,
            size: *self.sizes.get(place)?,
            dts: *self.dts.get(place)?,
            pts: self.pts(place),
            key,
            entry: *self.entries.get(place)?,
        })
    }

    /// The samples of a want, in decoding order, beginning with a keyframe. See [`Aim`].
    /// Where no keyframe is ever shown, every aim is exact.
    pub(super) fn run(&self, want: Want) -> Vec<Sample> {
        let from = want.from.clamp(self.begin, self.end.saturating_sub(1).max(self.begin));
        let length = want.until.saturating_sub(want.from).max(0);
        if want.aim == Aim::Keyframe
            && let Some((key, pts)) = self.shown_key(from)
        {
            return self.stretch(key, pts, pts.saturating_add(length).min(self.end.max(pts)));
        }
        let before = self.sorted.partition_point(|place| self.pts(*place as usize) <= from);
        let Some(key) = self.sorted.get(before.saturating_sub(1)) else { return Vec::new() };
        let until = if length == 0 { from } else { want.until.min(self.end) };
        self.stretch(*key as usize, from, until)
    }

    /// The last keyframe shown at or before `from`, else the first that is shown.
    fn shown_key(&self, from: i64) -> Option<(usize, i64)> {
        let before = self.sorted.partition_point(|place| self.pts(*place as usize) <= from);
        let place =
            before.checked_sub(1).and_then(|before| self.sorted.get(before)).map(|place| *place as usize);
        place
            .map(|place| (place, self.pts(place)))
            .filter(|(_, pts)| *pts >= 0)
            .or_else(|| self.shown_keys().next())
    }

    /// The samples from the keyframe at the place `key` on that are needed to show `from..until`; if that is empty,
    /// the picture that is shown at `from`. What follows the keyframe but is shown before it may need what came
    /// before it (an open GOP), and is not among them.
    fn stretch(&self, key: usize, from: i64, until: i64) -> Vec<Sample> {
        let floor = self.pts(key);
        let from = from.max(floor);
        let bound = until.max(from.saturating_add(1));
        // Nothing is shown earlier than `least_shift` after it is decoded.
        let stop = self.dts.partition_point(|dts| dts.saturating_add(self.least_shift) < bound).max(key + 1);
        let wanted = |place: &usize| *place == key || self.pts(*place) > floor;
        let first = (key..stop).filter(wanted).map(|place| self.pts(place)).filter(|pts| *pts <= from).max();
        let first = first.unwrap_or(floor);
        let shown = first..until.max(first.saturating_add(1));
        let last = (key..stop).rev().find(|place| wanted(place) && shown.contains(&self.pts(*place)));
        let mut keys =
            self.keys.iter().skip(self.keys.partition_point(|place| (*place as usize) < key)).peekable();
        (key..=last.unwrap_or(key))
            .filter_map(|place| {
                let is_key = keys.next_if(|key| **key as usize == place).is_some();
                if wanted(&place) { self.sample(place, is_key) } else { None }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Shown = Shown { from: 0, until: i64::MAX, at: 0, to_picture: false };

    /// Samples of these moments and kinds, each a tick after the last in decoding order.
    fn index(pictures: &[(i64, bool)], shown: Shown) -> Index {
        let mut index = Index::default();
        for (place, (pts, key)) in (0..).zip(pictures) {
            index.push(Sample { offset: place as u64, size: 1, dts: place, pts: *pts, key: *key, entry: 0 });
        }
        index.place(shown, 1);
        index
    }

    fn run(index: &Index, from: i64, until: i64, aim: Aim) -> Vec<i64> {
        index.run(Want { from, until, aim }).iter().map(|sample| sample.pts).collect()
    }

    /// Two groups, the second one open: what is shown at 4 and 5 comes after its keyframe and needs the first.
    const OPEN: &[(i64, bool)] = &[
        (0, true),
        (3, false),
        (1, false),
        (2, false),
        (6, true),
        (4, false),
        (5, false),
        (9, false),
        (7, false),
        (8, false),
    ];

    #[test]
    fn a_want_gets_what_it_needs_and_no_more() {
        let index = index(OPEN, ALL);
        for (aim, from, until, expected) in [
            (Aim::Keyframe, 0, 0, &[0][..]),
            (Aim::Keyframe, 5, 0, &[0]),
            (Aim::Keyframe, 6, 6, &[6]),
            (Aim::Keyframe, 99, 0, &[6]),
            (Aim::Keyframe, -5, i64::MIN, &[0]),
            (Aim::Keyframe, 7, 9, &[6, 9, 7]),
            (Aim::Keyframe, 2, 4, &[0, 3, 1]),
            (Aim::Keyframe, 2, 7, &[0, 3, 1, 2, 6, 4]),
            (Aim::Exact, 0, 0, &[0]),
            (Aim::Exact, 2, 0, &[0, 3, 1, 2]),
            (Aim::Exact, 3, 3, &[0, 3]),
            (Aim::Exact, 4, 0, &[0, 3, 1, 2, 6, 4]),
            (Aim::Exact, 4, 6, &[0, 3, 1, 2, 6, 4, 5]),
            (Aim::Exact, 7, 8, &[6, 9, 7]),
            (Aim::Exact, 99, 0, &[6, 9]),
            (Aim::Exact, 9, i64::MAX, &[6, 9]),
            (Aim::Exact, 8, i64::MAX, &[6, 9, 7, 8]),
        ] {
            assert_eq!(run(&index, from, until, aim), expected, "{aim:?} {from}..{until}");
        }
        assert_eq!(index.key_times(), [0, 6]);
    }

    #[test]
    fn an_edit_hides_what_it_leaves_out() {
        let edit = Shown { from: 2, until: 6, at: 10, to_picture: true };
        let index = index(OPEN, edit);
        assert_eq!(index.end(), 14);
        assert!(index.key_times().is_empty());
        assert_eq!(run(&index, 10, 0, Aim::Exact), [-2, 11, -1, 10]);
        assert_eq!(run(&index, 99, 0, Aim::Exact), [-2, 11, -1, 10, 14, 12, 13]);
        // Nothing is shown yet: the first picture stands for it.
        assert_eq!(run(&index, 5, 0, Aim::Exact), [-2, 11, -1, 10]);
    }

    #[test]
    fn where_no_keyframe_is_shown_the_picture_itself_is() {
        let edit = Shown { from: 2, until: 5, at: 0, to_picture: true };
        let index = index(OPEN, edit);
        assert!(index.key_times().is_empty());
        assert_eq!(run(&index, 0, 0, Aim::Keyframe), [-2, 1, -1, 0]);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert!(run(&index(&[], ALL), 0, 5, Aim::Exact).is_empty());
        assert!(run(&index(&[(0, false)], ALL), 0, 5, Aim::Keyframe).is_empty());
    }

    /// Groups of pictures: a keyframe, then others in any order, some of them shown before it.
    fn pictures() -> impl Strategy<Value = Vec<(i64, bool)>> {
        let group = (0_i64..4, 0_i64..8).prop_flat_map(|(ahead, behind)| {
            let others = |range: std::ops::Range<i64>| Just(range.collect::<Vec<_>>()).prop_shuffle();
            (Just((ahead, behind)), others(-ahead..0), others(1..behind + 1))
        });
        prop::collection::vec(group, 1..6).prop_map(|groups| {
            let (mut pictures, mut at) = (Vec::new(), 0);
            for ((ahead, behind), before, after) in groups {
                let key = at + ahead;
                at = key + behind + 1;
                pictures.push((key, true));
                pictures.extend(before.iter().chain(&after).map(|apart| (key + apart, false)));
            }
            pictures
        })
    }

    proptest! {
        #[test]
        fn what_is_wanted_is_there_in_order_and_can_be_decoded(
            pictures in pictures(), from in -2_i64..60, length in 0_i64..30, exact: bool,
        ) {
            let index = index(&pictures, ALL);
            let aim = if exact { Aim::Exact } else { Aim::Keyframe };
            let found = run(&index, from, from + length, aim);
            let whole: Vec<i64> = pictures.iter().map(|(pts, _)| *pts).collect();
            let keys: Vec<i64> = pictures.iter().filter(|(_, key)| *key).map(|(pts, _)| *pts).collect();
            // It begins with the keyframe before what is wanted, and keeps the order of decoding.
            let key = keys.iter().copied().rfind(|key| *key <= from.max(0)).unwrap_or(keys[0]);
            prop_assert_eq!(found[0], key);
            let places: Vec<_> = found.iter().map(|pts| whole.iter().position(|other| other == pts).unwrap()).collect();
            prop_assert!(places.is_sorted_by(|one, other| one < other));
            // Nothing that needs what came before the keyframe.
            prop_assert!(found.iter().all(|pts| *pts >= key));
            let first = if exact {
                whole.iter().copied().filter(|pts| *pts <= from.max(0)).max().unwrap_or(key).max(key)
            } else {
                key
            };
            let until = if exact { from + length } else { key + length };
            let wanted = whole.iter().filter(|pts| **pts == first || (first..until).contains(*pts));
            for pts in wanted {
                prop_assert!(found.contains(pts), "{} is missing", pts);
            }
            // All that stands between, for others may need it; and it ends with what is wanted.
            let between = &whole[places[0]..=places[places.len() - 1]];
            prop_assert_eq!(between.iter().filter(|pts| **pts >= key).count(), found.len());
            let last = found[found.len() - 1];
            prop_assert!(last == first || (first..until).contains(&last));
        }
    }
}
