//! Decides where the samples of a track lie and when they are shown, by the tables of `stbl`: ISO 14496-12, 8.6
//! and 8.7. No table costs more than the bytes it has and the samples that the file has room for.

use crate::demux::budget::SAMPLE;
use crate::demux::buffer::{Fault, Known};
use crate::demux::demuxer::Sample;
use crate::demux::index::{Index, most_samples, too_many_samples};
use crate::demux::mp4::boxes::{Fields, Kind, child, children};

/// How many samples are read between two looks at the budget.
const BATCH: usize = 1024;

/// A list of runs, each of as many samples as its first number says.
struct Runs<'a> {
    rest: &'a [u8],
    left: u32,
    value: i32,
}

impl<'a> Runs<'a> {
    /// Of a table of `(count, value)`, ISO 14496-12, 8.6.1.2: `body` begins with the number of rows.
    fn new(body: Option<&'a [u8]>) -> Self {
        let mut fields = Fields(body.unwrap_or_default());
        let rows = fields.full().and_then(|_| fields.u32()).unwrap_or(0);
        Self { rest: rows_of(fields.0, rows, 8), left: 0, value: 0 }
    }

    /// The value of the next sample; that of the last one where the table has ended.
    fn next(&mut self) -> i32 {
        while self.left == 0 {
            let mut fields = Fields(self.rest);
            let (Some(count), Some(value)) = (fields.u32(), fields.i32()) else { return self.value };
            *self = Self { rest: fields.0, left: count, value };
        }
        self.left -= 1;
        self.value
    }

    /// As [`Runs::next`], but nothing where the table has ended.
    fn next_within(&mut self) -> Option<i32> {
        (self.left > 0 || self.rest.len() >= 8).then(|| self.next())
    }
}

/// The rows that are there, of as many as were promised.
fn rows_of(bytes: &[u8], rows: u32, width: usize) -> &[u8] {
    let promised = usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(width);
    &bytes[..promised.min(bytes.len() / width * width)]
}

/// The sizes of samples: ISO 14496-12, 8.7.3.
enum Sizes<'a> {
    Same(u32),
    Each(&'a [u8], usize),
}

impl Sizes<'_> {
    fn get(&self, place: usize) -> Option<u32> {
        match self {
            Self::Same(size) => Some(*size),
            Self::Each(bytes, 4) => {
                let byte = *bytes.get(place / 2)?;
                Some(u32::from(if place.is_multiple_of(2) { byte >> 4 } else { byte & 15 }))
            }
            Self::Each(bytes, bits) => {
                let width = bits / 8;
                let start = place.checked_mul(width)?;
                let number = bytes.get(start..start.checked_add(width)?)?;
                Some(number.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
            }
        }
    }
}

fn sizes(stbl: &[u8]) -> Option<(Sizes<'_>, usize)> {
    let (mut fields, compact) = match child(stbl, *b"stsz") {
        Some(body) => (Fields(body), false),
        None => (Fields(child(stbl, *b"stz2")?), true),
    };
    fields.full()?;
    let first = fields.u32()?;
    let count = fields.u32()? as usize;
    let bits = if compact { first as usize & 0xff } else { 32 };
    if !compact && first != 0 {
        return Some((Sizes::Same(first), count));
    }
    if !matches!(bits, 4 | 8 | 16 | 32) {
        return None;
    }
    Some((Sizes::Each(fields.0, bits), count.min(fields.0.len().saturating_mul(8) / bits)))
}

/// How many samples the tables of a track name.
pub(super) fn sample_count(stbl: &[u8]) -> usize {
    sizes(stbl).map_or(0, |(_, count)| count)
}

/// How long all samples of a track take, in ticks, by its tables alone; none if its last chunk is not in a file of `total`
/// bytes.
pub(super) fn ticks(stbl: &[u8], total: u64) -> Option<i64> {
    let last = Chunks::new(stbl)?.iter().last()?;
    let (mut left, mut ticks) = (sample_count(stbl) as u64, 0_i64);
    let mut fields = Fields(child(stbl, *b"stts")?);
    fields.full()?;
    let rows = fields.u32()?;
    for row in rows_of(fields.0, rows, 8).chunks_exact(8) {
        let mut fields = Fields(row);
        let (count, delta) = (u64::from(fields.u32()?).min(left), i64::from(fields.u32()?));
        ticks = ticks.saturating_add(delta.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)));
        left -= count;
    }
    (last < total).then_some(ticks)
}

/// Where chunks begin: ISO 14496-12, 8.7.5.
struct Chunks<'a> {
    bytes: &'a [u8],
    width: usize,
}

impl<'a> Chunks<'a> {
    fn new(stbl: &'a [u8]) -> Option<Self> {
        let (body, width) = match child(stbl, *b"stco") {
            Some(body) => (body, 4),
            None => (child(stbl, *b"co64")?, 8),
        };
        let mut fields = Fields(body);
        fields.full()?;
        let rows = fields.u32()?;
        Some(Self { bytes: rows_of(fields.0, rows, width), width })
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        self.bytes
            .chunks_exact(self.width)
            .map(|row| row.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

/// How many samples each chunk has, and which description: ISO 14496-12, 8.7.4.
struct Layout<'a> {
    rest: &'a [u8],
    per_chunk: u32,
    description: u32,
}

impl<'a> Layout<'a> {
    fn new(stbl: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(child(stbl, *b"stsc")?);
        fields.full()?;
        let rows = fields.u32()?;
        Some(Self { rest: rows_of(fields.0, rows, 12), per_chunk: 0, description: 1 })
    }

    /// Moves to the chunk of this number; the first is 1.
    fn go_to(&mut self, chunk: u32) {
        loop {
            let mut fields = Fields(self.rest);
            let row = (fields.u32(), fields.u32(), fields.u32());
            let (Some(first), Some(per_chunk), Some(description)) = row else { return };
            if first > chunk {
                return;
            }
            *self = Self { rest: fields.0, per_chunk, description };
        }
    }
}

/// Which samples are keyframes: ISO 14496-12, 8.6.2 and 8.9 (`rap `), and QuickTime's partial sync samples.
struct Keys<'a> {
    full: Option<&'a [u8]>,
    partial: Option<&'a [u8]>,
    /// Those tables count from 1, but some writers count from 0.
    base: u32,
    access: Option<Runs<'a>>,
    every: bool,
    first: bool,
}

impl<'a> Keys<'a> {
    fn new(stbl: &'a [u8]) -> Self {
        let list = |kind: Kind| {
            let mut fields = Fields(child(stbl, kind)?);
            fields.full()?;
            let rows = fields.u32()?;
            Some(rows_of(fields.0, rows, 4))
        };
        let (full, partial) = (list(*b"stss"), list(*b"stps").filter(|list| !list.is_empty()));
        let from_one =
            |list: Option<&[u8]>| list.and_then(|list| Fields(list).u32()).is_some_and(|first| first > 0);
        let access =
            children(stbl).filter(|(kind, _)| kind == b"sbgp").find_map(|(_, body)| access_points(body));
        Self {
            base: u32::from(from_one(full) || from_one(partial)),
            every: full.is_none(),
            first: full.is_some_and(<[u8]>::is_empty) && partial.is_none() && access.is_none(),
            full,
            partial,
            access,
        }
    }

    /// Whether the next sample, of this number from 0 on, is a keyframe.
    fn next(&mut self, place: u32) -> bool {
        let number = place.saturating_add(self.base);
        let full = listed(&mut self.full, number);
        let partial = listed(&mut self.partial, number);
        let access = self.access.as_mut().and_then(Runs::next_within).is_some_and(|group| group > 0);
        self.every || full || partial || access || (self.first && place == 0)
    }
}

/// Whether the ascending list has this number next. Smaller ones are skipped.
fn listed(list: &mut Option<&[u8]>, number: u32) -> bool {
    let Some(rest) = list else { return false };
    let mut fields = Fields(rest);
    while let Some(next) = fields.u32() {
        if next > number {
            return false;
        }
        *rest = fields.0;
        if next == number {
            return true;
        }
    }
    false
}

/// The runs of a grouping by random access points.
fn access_points(body: &[u8]) -> Option<Runs<'_>> {
    let mut fields = Fields(body);
    let (version, _) = fields.full()?;
    let grouping: Kind = fields.array()?;
    if version == 1 {
        fields.u32()?;
    }
    let rows = fields.u32()?;
    (&grouping == b"rap ").then(|| Runs { rest: rows_of(fields.0, rows, 8), left: 0, value: 0 })
}

/// What the tables of a track told.
pub(super) struct Read {
    pub(super) index: Index,
    /// How long the last sample is shown.
    pub(super) last: i64,
    /// How long all samples take that the tables name, in ticks, and how many they are.
    pub(super) ticks: i64,
    pub(super) count: usize,
    /// Whether samples lie beyond the end of the file.
    pub(super) cut: bool,
}

/// Reads the tables. `entries` says what each sample description became.
///
/// # Errors
/// [`Fault::Foreign`] where there are more samples than are indexed; why there is no budget left.
pub(super) fn read(stbl: &[u8], entries: &[Option<u16>], known: &Known) -> Result<Read, Fault> {
    let total = known.total();
    let mut read = Read { index: Index::default(), last: 0, ticks: 0, count: 0, cut: false };
    let parts = (sizes(stbl), Chunks::new(stbl), Layout::new(stbl));
    let (Some((sizes, count)), Some(chunks), Some(mut layout)) = parts else { return Ok(read) };
    // Of samples of one size no more are read than the file has room for: the others are not there.
    let count = match &sizes {
        Sizes::Same(size) => count
            .min(usize::try_from(total / u64::from(*size).max(1)).unwrap_or(usize::MAX).saturating_add(1)),
        Sizes::Each(..) => count,
    };
    let Some(stts) = child(stbl, *b"stts") else { return Ok(read) };
    let (mut deltas, mut shifts) = (Runs::new(Some(stts)), Runs::new(child(stbl, *b"ctts")));
    let mut keys = Keys::new(stbl);
    let mut dts = 0_i64;
    for (chunk, start) in (1_u32..).zip(chunks.iter()) {
        layout.go_to(chunk);
        let entry = layout.description.checked_sub(1).and_then(|place| *entries.get(place as usize)?);
        let mut offset = start;
        for _ in 0..layout.per_chunk {
            let Some(size) = sizes.get(read.count).filter(|_| read.count < count) else { return Ok(read) };
            if read.index.len() >= most_samples(total) {
                return Err(too_many_samples(total));
            }
            if read.count.is_multiple_of(BATCH) {
                known.budget().spend(BATCH as u64 * SAMPLE)?;
            }
            // A picture is at least one tick long, as ffmpeg has it where a table says less than nothing.
            let (delta, shift) = (i64::from(deltas.next()), i64::from(shifts.next_within().unwrap_or(0)));
            let delta = if delta < 0 { 1 } else { delta };
            let key = keys.next(read.count as u32);
            let end = offset.saturating_add(size.into());
            if let Some(entry) = entry
                && size > 0
                && end <= total
            {
                read.index.push(Sample { offset, size, dts, pts: dts + shift, key, entry });
                read.last = delta;
            }
            read.cut |= end > total;
            offset = end;
            dts = dts.saturating_add(delta);
            read.ticks = dts;
            read.count += 1;
        }
    }
    Ok(read)
}
