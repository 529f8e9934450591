//! Decides which samples a moment needs, out of a list of all that are known, in decoding order.

use glimpse_contract::Code;

use crate::demux::budget::{Budget, LOOKUP, SAMPLE};
use crate::demux::buffer::{Fault, Known};
use crate::demux::demuxer::{Aim, Sample, Want};
use crate::demux::reference::{Access, access};

/// The most samples that are indexed: 18 hours at 60 frames a second. Kept in columns of 26 bytes a sample.
pub(super) const MAX_SAMPLES: usize = 4_000_000;
/// The most samples of a run: of pictures of 5,000 pixels more are not decoded at once. Where a moment needs more, the
/// keyframe before it stands for it.
const MAX_RUN: usize = 1 << 19;
/// The fewest bytes of a file in which so many samples can be real ones: 16 for each.
const MAX_SAMPLES_BYTES: u64 = 16 * MAX_SAMPLES as u64;

/// The most samples that are indexed of a file of `total` bytes: each has one at least.
pub(super) fn most_samples(total: u64) -> usize {
    usize::try_from(total).unwrap_or(MAX_SAMPLES).min(MAX_SAMPLES)
}

/// Why a file of `total` bytes with more samples than are indexed is not read here. One that has no room for so many
/// describes the same bytes again and again, which would keep every reader busy.
pub(super) fn too_many_samples(total: u64) -> Fault {
    if total < MAX_SAMPLES_BYTES {
        Fault::Refused(Code::TimedOut)
    } else {
        Fault::Foreign("more samples than are indexed")
    }
}

/// Up to so many bytes of samples are read to find the keyframes among them.
pub(super) const VERIFIED_WHOLE: u64 = 32 * 1024 * 1024;
/// Of more, the largest samples of each of so many parts of the film, and so many bytes of each: parameter sets and
/// messages stand before the first slice.
const VERIFIED_PARTS: i64 = 200;
const VERIFIED_OF_PART: usize = 2;
pub(super) const VERIFIED_HEAD: u64 = 4 * 1024;

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
    /// Recovery points, and the places of the first pictures after them that are right; ascending.
    gradual: Vec<(u32, u32)>,
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

    /// The keyframes as the coded pictures tell them: of all of them, or of those that are large for their surroundings
    /// where that would be too much to read. The first picture counts as one where there is no other.
    ///
    /// # Errors
    /// What is missing of them.
    pub(super) fn verify(&mut self, known: &Known, codec: &str, nal_length: usize) -> Result<(), Fault> {
        known.budget().spend(self.len() as u64 * LOOKUP)?;
        let all: u64 = self.sizes.iter().map(|size| u64::from(*size)).sum();
        let is_small = all <= VERIFIED_WHOLE;
        let places: Vec<usize> = if is_small { (0..self.len()).collect() } else { self.large_ones() };
        let range = |place: usize| {
            let (offset, size) = (self.offsets[place], u64::from(self.sizes[place]));
            offset..offset.saturating_add(if is_small { size } else { size.min(VERIFIED_HEAD) })
        };
        let missing: Vec<_> = places.iter().flat_map(|place| known.gaps(range(*place))).collect();
        if !missing.is_empty() {
            return Err(Fault::all_missing(missing));
        }
        let (mut keys, mut gradual) = (Vec::new(), Vec::new());
        // Counts of recovery points are of reference pictures: where pictures are reordered, up to three are shown for each.
        let pace = if self.shifts.iter().any(|shift| *shift != self.shifts[0]) { 3 } else { 1 };
        for place in places {
            match access(codec, &known.available(range(place)), nal_length) {
                Access::Point => keys.push(place as u32),
                Access::Gradual(count) => {
                    let right = (place as u64).saturating_add(u64::from(count) * pace);
                    if right < self.len() as u64 {
                        gradual.push((place as u32, right as u32));
                    }
                }
                // A picture that says nothing is what the index calls it.
                Access::Unknown if self.keys.binary_search(&(place as u32)).is_ok() => {
                    keys.push(place as u32);
                }
                Access::Dependent | Access::Unknown => {}
            }
        }
        self.keys = keys;
        self.gradual = gradual;
        self.begin_somewhere();
        self.sort_keys();
        Ok(())
    }

    /// As [`Index::verify`], of the sample at the place `first` and those behind it that are called keyframes: those of a
    /// fragment.
    ///
    /// # Errors
    /// What is missing of them.
    pub(super) fn verify_from(
        &mut self,
        first: usize,
        known: &Known,
        codec: &str,
        nal_length: usize,
    ) -> Result<(), Fault> {
        let called = self.keys.split_off(self.keys.partition_point(|key| (*key as usize) < first));
        let head = |place: u32| {
            let (offset, size) = (self.offsets[place as usize], u64::from(self.sizes[place as usize]));
            offset..offset.saturating_add(size.min(VERIFIED_HEAD))
        };
        let begin = (first < self.len()).then_some(first as u32).filter(|begin| !called.contains(begin));
        let places: Vec<u32> = begin.into_iter().chain(called.iter().copied()).collect();
        let missing: Vec<_> = places.iter().flat_map(|place| known.gaps(head(*place))).collect();
        if !missing.is_empty() {
            return Err(Fault::all_missing(missing));
        }
        let is_key = |place: &u32| match access(codec, &known.available(head(*place)), nal_length) {
            Access::Point => true,
            Access::Dependent => false,
            // Where nothing better is at hand, what follows a recovery point is about right.
            Access::Gradual(_) | Access::Unknown => called.contains(place),
        };
        let keys: Vec<u32> = places.into_iter().filter(is_key).collect();
        self.keys.extend(keys);
        Ok(())
    }

    /// Has the first picture count as a keyframe where no other does: decoding has to begin somewhere.
    pub(super) fn begin_somewhere(&mut self) {
        if self.keys.is_empty() && !self.is_empty() {
            self.keys.push(0);
        }
    }

    /// Whether pictures are renewed bit by bit, and keyframes are rare.
    pub(super) fn is_gradual(&self) -> bool {
        !self.gradual.is_empty()
    }

    /// The places of the samples that are the largest for a while, and of those that are called keyframes if those are few;
    /// ascending. Keyframes are among them.
    fn large_ones(&self) -> Vec<usize> {
        let (first, last) = (self.dts.first().copied().unwrap_or(0), self.dts.last().copied().unwrap_or(0));
        let step = ((last - first) / VERIFIED_PARTS + 1).max(1);
        let mut places = vec![0];
        let mut at = 0;
        while at < self.len() {
            let part = (self.dts[at] - first) / step;
            let end = at + self.dts[at..].partition_point(|dts| (dts - first) / step <= part);
            let mut part: Vec<usize> = (at..end).collect();
            part.sort_by_key(|place| std::cmp::Reverse(self.sizes[*place]));
            places.extend(part.iter().take(VERIFIED_OF_PART));
            at = end;
        }
        if self.keys.len() <= VERIFIED_PARTS as usize * VERIFIED_OF_PART {
            places.extend(self.keys.iter().map(|key| *key as usize));
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// When the first picture is shown, in ticks.
    pub(super) fn begin(&self) -> i64 {
        self.begin
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
    ///
    /// # Errors
    /// Why there is no budget left.
    pub(super) fn run(&self, want: Want, budget: &Budget) -> Result<Vec<Sample>, Fault> {
        let from = want.from.clamp(self.begin, self.end.saturating_sub(1).max(self.begin));
        let length = want.until.saturating_sub(want.from).max(0);
        if want.aim == Aim::Keyframe
            && let Some((key, pts)) = self.shown_key(from)
        {
            return self.stretch(key, pts, pts.saturating_add(length).min(self.end.max(pts)), budget);
        }
        let before = self.sorted.partition_point(|place| self.pts(*place as usize) <= from);
        let Some(key) = self.sorted.get(before.saturating_sub(1)) else { return Ok(Vec::new()) };
        let until = if length == 0 { from } else { want.until.min(self.end) };
        let right = self.gradual.partition_point(|(_, right)| self.pts(*right as usize) <= from);
        let recovery = right.checked_sub(1).and_then(|place| self.gradual.get(place)).map(|(point, _)| point);
        self.stretch((*key).max(*recovery.unwrap_or(key)) as usize, from, until, budget)
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
    fn stretch(&self, key: usize, from: i64, until: i64, budget: &Budget) -> Result<Vec<Sample>, Fault> {
        let floor = self.pts(key);
        let from = from.max(floor);
        let bound = until.max(from.saturating_add(1));
        // Nothing is shown earlier than `least_shift` after it is decoded.
        let stop = self.dts.partition_point(|dts| dts.saturating_add(self.least_shift) < bound).max(key + 1);
        if stop - key > MAX_RUN {
            budget.spend(LOOKUP)?;
            return Ok(self.sample(key, true).into_iter().collect());
        }
        budget.spend(LOOKUP + (stop - key) as u64 * SAMPLE)?;
        let wanted = |place: &usize| *place == key || self.pts(*place) > floor;
        let first = (key..stop).filter(wanted).map(|place| self.pts(place)).filter(|pts| *pts <= from).max();
        let first = first.unwrap_or(floor);
        let shown = first..until.max(first.saturating_add(1));
        let last = (key..stop).rev().find(|place| wanted(place) && shown.contains(&self.pts(*place)));
        let mut keys =
            self.keys.iter().skip(self.keys.partition_point(|place| (*place as usize) < key)).peekable();
        let samples = (key..=last.unwrap_or(key)).filter_map(|place| {
            let is_key = keys.next_if(|key| **key as usize == place).is_some();
            if wanted(&place) { self.sample(place, is_key) } else { None }
        });
        Ok(samples.collect())
    }
}

/// Stretches of a track that are shown one after another, in another order than that of the media or with parts left
/// out. Each is an index of its own, of the samples that it needs.
#[derive(Debug, Clone)]
pub(super) struct Edited {
    /// All samples, not placed.
    media: Index,
    stretches: Vec<Shown>,
    /// How long the last sample is shown.
    last: i64,
    /// By when they begin to be shown; at least one.
    parts: Vec<Index>,
}

impl Edited {
    /// # Errors
    /// Why there are more samples than are indexed, or why there is no budget left.
    pub(super) fn new(media: Index, stretches: Vec<Shown>, last: i64, known: &Known) -> Result<Self, Fault> {
        let mut edited = Self { media, stretches, last, parts: Vec::new() };
        edited.cut(known.budget(), most_samples(known.total()))?;
        if edited.parts.is_empty() {
            return Err(Fault::Refused(Code::Truncated));
        }
        Ok(edited)
    }

    /// Makes the parts, of at most so many samples.
    fn cut(&mut self, budget: &Budget, most: usize) -> Result<(), Fault> {
        self.media.sort_keys();
        let mut count = 0;
        self.parts.clear();
        for shown in &self.stretches {
            let range = self.media.needed(*shown);
            count += range.len();
            if count > most {
                return Err(Fault::Foreign("an edit list that repeats more than there is"));
            }
            budget.spend(range.len() as u64 * SAMPLE)?;
            let part = self.media.part(range, *shown, self.last);
            // Nothing of the media lies in such a stretch.
            if !part.is_empty() && part.begin < part.end {
                self.parts.push(part);
            }
        }
        Ok(())
    }

    /// See [`Index::has_keys`].
    pub(super) fn has_keys(&self) -> bool {
        self.media.has_keys()
    }

    /// See [`Index::begin`].
    pub(super) fn begin(&self) -> i64 {
        self.parts.first().map_or(0, Index::begin)
    }

    /// See [`Index::end`].
    pub(super) fn end(&self) -> i64 {
        self.parts.last().map_or(0, Index::end)
    }

    /// See [`Index::key_times`].
    pub(super) fn key_times(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.parts.iter().flat_map(Index::key_times).collect();
        times.sort_unstable();
        times
    }

    /// See [`Index::verify`].
    ///
    /// # Errors
    /// What is missing, or why there is no budget left.
    pub(super) fn verify(&mut self, known: &Known, codec: &str, nal_length: usize) -> Result<(), Fault> {
        self.media.verify(known, codec, nal_length)?;
        let mut edited = self.clone();
        // The same stretches may need more samples now: where those are too many, what was there is better than nothing.
        match edited.cut(known.budget(), MAX_SAMPLES) {
            Ok(()) => *self = edited,
            Err(Fault::Foreign(_)) => {}
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// The samples of a want, in decoding order. Where it reaches over several stretches, what each needs follows what the
    /// one before needs. Samples that are never shown have times below 0, or none that is ever reached.
    ///
    /// # Errors
    /// Why there is no budget left.
    pub(super) fn run(&self, want: Want, budget: &Budget) -> Result<Vec<Sample>, Fault> {
        let first = self.parts.partition_point(|part| part.begin <= want.from).saturating_sub(1);
        let mut run: Vec<Sample> = Vec::new();
        for (place, part) in self.parts.iter().enumerate().skip(first) {
            let want = if place == first {
                want
            } else {
                // How far the first one came from the moment that was wanted, the others come, too.
                let until = match want.aim {
                    Aim::Keyframe => {
                        let key = run.first().filter(|key| key.pts >= 0);
                        let begin = key.map_or(want.from, |key| key.pts);
                        begin.saturating_add(want.until.saturating_sub(want.from))
                    }
                    Aim::Exact => want.until,
                };
                if until <= part.begin || run.len() > MAX_RUN {
                    break;
                }
                Want { from: part.begin, until, aim: Aim::Exact }
            };
            let decoded = run.last().map_or(i64::MIN, |sample| sample.dts);
            // What is shown when the stretch is over, others need, and it is not shown itself.
            let hidden = |pts: i64| if pts < part.end { pts } else { i64::MAX };
            let samples = part.run(want, budget)?.into_iter();
            run.extend(samples.map(|sample| Sample {
                dts: sample.dts.max(decoded),
                pts: hidden(sample.pts),
                ..sample
            }));
        }
        Ok(run)
    }
}

impl Index {
    /// The places of the samples that a stretch of the media needs: from the keyframe before it on. Keys are sorted.
    fn needed(&self, shown: Shown) -> std::ops::Range<usize> {
        let before = self.sorted.partition_point(|place| self.pts(*place as usize) <= shown.from);
        let key = self.sorted.get(before.saturating_sub(1)).map_or(0, |place| *place as usize);
        let stop = self.dts.partition_point(|dts| dts.saturating_add(self.least_shift) < shown.until);
        key..stop.max(key)
    }

    /// An index of some of the samples, placed.
    fn part(&self, range: std::ops::Range<usize>, shown: Shown, last: i64) -> Self {
        let mut part = Self::default();
        let first = self.keys.partition_point(|key| (*key as usize) < range.start);
        let mut keys = self.keys.iter().skip(first).peekable();
        for place in range {
            let key = keys.next_if(|key| **key as usize == place).is_some();
            if let Some(sample) = self.sample(place, key) {
                part.push(sample);
            }
        }
        part.place(shown, last);
        part
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
        let run = index.run(Want { from, until, aim }, &Budget::of(0)).unwrap();
        run.iter().map(|sample| sample.pts).collect()
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

    /// A film of VP8: so many samples of 40,000 bytes, every fiftieth a keyframe of 60,000; the index calls these keyframes.
    fn film(count: u32, called: impl Fn(u32) -> bool) -> Index {
        let mut index = Index::default();
        for place in 0..count {
            let size = if place % 50 == 0 { 60_000 } else { 40_000 };
            let time = i64::from(place);
            let offset = u64::from(place) * 60_000;
            index.push(Sample { offset, size, dts: time, pts: time, key: called(place), entry: 0 });
        }
        index.place(ALL, 1);
        index
    }

    /// Verifies its keyframes; returns how many bytes that took.
    fn verified(index: &mut Index) -> u64 {
        let mut known = Known::new(index.len() as u64 * 60_000);
        loop {
            let Err(fault) = index.verify(&known, "vp8", 0) else { return known.held() };
            let Fault::Missing(ranges) = fault else { panic!("{fault:?}") };
            for range in ranges {
                let byte = |at: u64| u8::from(!at.is_multiple_of(50 * 60_000));
                let bytes: Vec<u8> = range.clone().map(byte).collect();
                known.learn(range.start, &bytes.into());
            }
        }
    }

    #[test]
    fn keyframes_are_found_by_their_bytes() {
        let right: Vec<i64> = (0..400).step_by(50).collect();
        for called in [|_: u32| true, |_| false, |place| place % 50 == 3, |place| place == 0] {
            let mut index = film(400, called);
            verified(&mut index);
            assert_eq!(index.key_times(), right);
            assert_eq!(run(&index, 120, 0, Aim::Keyframe), [100]);
        }
    }

    #[test]
    fn keyframes_of_a_large_film_are_among_the_large_samples() {
        let right: Vec<i64> = (0..5000).step_by(50).collect();
        for called in [|_: u32| true, |_| false, |place| place % 50 == 3, |place| place == 0] {
            let mut index = film(5000, called);
            let bytes = verified(&mut index);
            assert_eq!(index.key_times(), right);
            assert!(bytes < 3 << 20, "{bytes} bytes of 200 MB");
        }
    }

    #[test]
    fn a_film_without_a_keyframe_begins_somewhere() {
        let mut index = film(3, |_| false);
        for offset in &mut index.offsets {
            *offset += 1;
        }
        verified(&mut index);
        assert_eq!(index.key_times(), [0]);
    }

    #[test]
    fn what_is_renewed_bit_by_bit_is_decoded_from_the_recovery_point_before() {
        let mut index = film(400, |place| place == 0);
        index.gradual = vec![(50, 60), (100, 110), (150, 160)];
        assert_eq!(run(&index, 105, 0, Aim::Exact), (50..=105).collect::<Vec<_>>());
        assert_eq!(run(&index, 110, 0, Aim::Exact), (100..=110).collect::<Vec<_>>());
        assert_eq!(run(&index, 59, 0, Aim::Exact), (0..=59).collect::<Vec<_>>());
    }

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
