//! Parses the sample tables in `stbl` into samples: ISO 14496-12, 8.6 and 8.7. The cost is bounded by the bytes of the
//! tables and by the number of samples that fit in the file.

use crate::demux::budget::STEPS_PER_SAMPLE;
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::Sample;
use crate::demux::error::ReadError;
use crate::demux::index::{SampleIndex, max_samples, too_many_samples};
use crate::demux::mp4::boxes::{BoxReader, FourCc, child, children};

/// How many samples are read between two checks of the budget.
const BUDGET_CHECK_SAMPLES: usize = 1024;

/// A table of run lengths: pairs of a number of samples and their value.
struct RunLengthTable<'a> {
    rest: &'a [u8],
    remaining: u32,
    value: i32,
}

impl<'a> RunLengthTable<'a> {
    /// Parses a table of `(count, value)`, ISO 14496-12, 8.6.1.2. `body` starts with the number of entries.
    fn new(body: Option<&'a [u8]>) -> Self {
        let mut fields = BoxReader(body.unwrap_or_default());
        let rows = fields.version_and_flags().and_then(|_| fields.u32()).unwrap_or(0);
        Self { rest: table_rows(fields.0, rows, 8), remaining: 0, value: 0 }
    }

    /// The value of the next sample, or the last value after the end of the table.
    fn next(&mut self) -> i32 {
        while self.remaining == 0 {
            let mut fields = BoxReader(self.rest);
            let (Some(count), Some(value)) = (fields.u32(), fields.i32()) else { return self.value };
            *self = Self { rest: fields.0, remaining: count, value };
        }
        self.remaining -= 1;
        self.value
    }

    /// Like [`RunLengthTable::next`], but `None` after the end of the table.
    fn next_in_table(&mut self) -> Option<i32> {
        (self.remaining > 0 || self.rest.len() >= 8).then(|| self.next())
    }
}

/// The complete entries, at most `rows`.
fn table_rows(bytes: &[u8], rows: u32, width: usize) -> &[u8] {
    let promised = usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(width);
    &bytes[..promised.min(bytes.len() / width * width)]
}

/// The sizes of samples: ISO 14496-12, 8.7.3.
enum SampleSizes<'a> {
    Uniform(u32),
    PerSample(&'a [u8], usize),
}

impl SampleSizes<'_> {
    fn get(&self, place: usize) -> Option<u32> {
        match self {
            Self::Uniform(size) => Some(*size),
            Self::PerSample(bytes, 4) => {
                let byte = *bytes.get(place / 2)?;
                Some(u32::from(if place.is_multiple_of(2) { byte >> 4 } else { byte & 15 }))
            }
            Self::PerSample(bytes, bits) => {
                let width = bits / 8;
                let start = place.checked_mul(width)?;
                let number = bytes.get(start..start.checked_add(width)?)?;
                Some(number.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
            }
        }
    }
}

fn parse_sample_sizes(stbl: &[u8]) -> Option<(SampleSizes<'_>, usize)> {
    let (mut fields, compact) = match child(stbl, *b"stsz") {
        Some(body) => (BoxReader(body), false),
        None => (BoxReader(child(stbl, *b"stz2")?), true),
    };
    fields.version_and_flags()?;
    let first = fields.u32()?;
    let count = fields.u32()? as usize;
    let bits = if compact { first as usize & 0xff } else { 32 };
    if !compact && first != 0 {
        return Some((SampleSizes::Uniform(first), count));
    }
    if !matches!(bits, 4 | 8 | 16 | 32) {
        return None;
    }
    Some((SampleSizes::PerSample(fields.0, bits), count.min(fields.0.len().saturating_mul(8) / bits)))
}

/// The number of samples in a track's tables.
pub(super) fn sample_count(stbl: &[u8]) -> usize {
    parse_sample_sizes(stbl).map_or(0, |(_, count)| count)
}

/// The total duration of a track's samples, in ticks, from its tables alone; `None` if its last chunk is not in a file
/// of `total` bytes.
pub(super) fn total_ticks(stbl: &[u8], total: u64) -> Option<i64> {
    let last = ChunkOffsets::new(stbl)?.iter().last()?;
    let (mut remaining, mut sum) = (sample_count(stbl) as u64, 0_i64);
    let mut fields = BoxReader(child(stbl, *b"stts")?);
    fields.version_and_flags()?;
    let rows = fields.u32()?;
    for row in table_rows(fields.0, rows, 8).chunks_exact(8) {
        let mut fields = BoxReader(row);
        let (count, delta) = (u64::from(fields.u32()?).min(remaining), i64::from(fields.u32()?));
        sum = sum.saturating_add(delta.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)));
        remaining -= count;
    }
    (last < total).then_some(sum)
}

/// The offsets of chunks: ISO 14496-12, 8.7.5.
struct ChunkOffsets<'a> {
    bytes: &'a [u8],
    entry_bytes: usize,
}

impl<'a> ChunkOffsets<'a> {
    fn new(stbl: &'a [u8]) -> Option<Self> {
        let (body, width) = match child(stbl, *b"stco") {
            Some(body) => (body, 4),
            None => (child(stbl, *b"co64")?, 8),
        };
        let mut fields = BoxReader(body);
        fields.version_and_flags()?;
        let rows = fields.u32()?;
        Some(Self { bytes: table_rows(fields.0, rows, width), entry_bytes: width })
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        self.bytes
            .chunks_exact(self.entry_bytes)
            .map(|row| row.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

/// The number of samples per chunk, and their description: ISO 14496-12, 8.7.4.
struct SampleToChunk<'a> {
    rest: &'a [u8],
    per_chunk: u32,
    description: u32,
}

impl<'a> SampleToChunk<'a> {
    fn new(stbl: &'a [u8]) -> Option<Self> {
        let mut fields = BoxReader(child(stbl, *b"stsc")?);
        fields.version_and_flags()?;
        let rows = fields.u32()?;
        Some(Self { rest: table_rows(fields.0, rows, 12), per_chunk: 0, description: 1 })
    }

    /// Moves to the chunk with this number; the first is 1.
    fn seek_to_chunk(&mut self, chunk: u32) {
        loop {
            let mut fields = BoxReader(self.rest);
            let row = (fields.u32(), fields.u32(), fields.u32());
            let (Some(first), Some(per_chunk), Some(description)) = row else { return };
            if first > chunk {
                return;
            }
            *self = Self { rest: fields.0, per_chunk, description };
        }
    }
}

/// Keyframe tables: ISO 14496-12, 8.6.2 and 8.9 (`rap `), and QuickTime's partial sync samples.
struct SyncSamples<'a> {
    numbers: Option<&'a [u8]>,
    partial_numbers: Option<&'a [u8]>,
    /// Number of the first sample: the tables count from 1, but some writers count from 0.
    first_number: u32,
    rap_groups: Option<RunLengthTable<'a>>,
    are_all_sync: bool,
    is_only_first_sync: bool,
}

impl<'a> SyncSamples<'a> {
    fn new(stbl: &'a [u8]) -> Self {
        let list = |kind: FourCc| {
            let mut fields = BoxReader(child(stbl, kind)?);
            fields.version_and_flags()?;
            let rows = fields.u32()?;
            Some(table_rows(fields.0, rows, 4))
        };
        let (numbers, partial_numbers) = (list(*b"stss"), list(*b"stps").filter(|list| !list.is_empty()));
        let from_one =
            |list: Option<&[u8]>| list.and_then(|list| BoxReader(list).u32()).is_some_and(|first| first > 0);
        let rap_groups =
            children(stbl).filter(|(kind, _)| kind == b"sbgp").find_map(|(_, body)| parse_rap_groups(body));
        Self {
            first_number: u32::from(from_one(numbers) || from_one(partial_numbers)),
            are_all_sync: numbers.is_none(),
            is_only_first_sync: numbers.is_some_and(<[u8]>::is_empty)
                && partial_numbers.is_none()
                && rap_groups.is_none(),
            numbers,
            partial_numbers,
            rap_groups,
        }
    }

    /// Whether the next sample, with this zero-based number, is a keyframe.
    fn is_next_sync(&mut self, place: u32) -> bool {
        let number = place.saturating_add(self.first_number);
        let is_sync = skip_to(&mut self.numbers, number);
        let is_partial_sync = skip_to(&mut self.partial_numbers, number);
        let is_rap =
            self.rap_groups.as_mut().and_then(RunLengthTable::next_in_table).is_some_and(|group| group > 0);
        self.are_all_sync || is_sync || is_partial_sync || is_rap || (self.is_only_first_sync && place == 0)
    }
}

/// Whether the next number of the ascending list is `number`. Smaller numbers are skipped.
fn skip_to(list: &mut Option<&[u8]>, number: u32) -> bool {
    let Some(rest) = list else { return false };
    let mut fields = BoxReader(rest);
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

/// The runs of a sample grouping by random access points.
fn parse_rap_groups(body: &[u8]) -> Option<RunLengthTable<'_>> {
    let mut fields = BoxReader(body);
    let (version, _) = fields.version_and_flags()?;
    let grouping: FourCc = fields.take_array()?;
    if version == 1 {
        fields.u32()?;
    }
    let rows = fields.u32()?;
    (&grouping == b"rap ").then(|| RunLengthTable {
        rest: table_rows(fields.0, rows, 8),
        remaining: 0,
        value: 0,
    })
}

/// The result of parsing the tables of a track.
pub(super) struct SampleTable {
    pub(super) index: SampleIndex,
    /// Duration of the last sample.
    pub(super) last_duration: i64,
    /// Total duration of the samples in the tables, in ticks, and their number.
    pub(super) total_ticks: i64,
    pub(super) count: usize,
    /// Whether samples are beyond the end of the file.
    pub(super) is_truncated: bool,
}

/// Parses the tables. `entries` contains the sample entry index of each sample description.
///
/// # Errors
/// [`ReadError::Unsupported`] if there are more samples than are indexed; the reason why the budget is exhausted.
pub(super) fn parse(
    stbl: &[u8],
    entries: &[Option<u16>],
    buffer: &SparseBuffer,
) -> Result<SampleTable, ReadError> {
    let total = buffer.total_bytes();
    let mut table = SampleTable {
        index: SampleIndex::default(),
        last_duration: 0,
        total_ticks: 0,
        count: 0,
        is_truncated: false,
    };
    let parts = (parse_sample_sizes(stbl), ChunkOffsets::new(stbl), SampleToChunk::new(stbl));
    let (Some((sizes, count)), Some(chunks), Some(mut sample_to_chunk)) = parts else { return Ok(table) };
    // If all samples have the same size, only as many are read as fit in the file: the others do not exist.
    let count = match &sizes {
        SampleSizes::Uniform(size) => count
            .min(usize::try_from(total / u64::from(*size).max(1)).unwrap_or(usize::MAX).saturating_add(1)),
        SampleSizes::PerSample(..) => count,
    };
    let Some(stts) = child(stbl, *b"stts") else { return Ok(table) };
    let (mut durations, mut composition_offsets) =
        (RunLengthTable::new(Some(stts)), RunLengthTable::new(child(stbl, *b"ctts")));
    let mut sync_samples = SyncSamples::new(stbl);
    let mut dts = 0_i64;
    for (chunk, start) in (1_u32..).zip(chunks.iter()) {
        sample_to_chunk.seek_to_chunk(chunk);
        let entry =
            sample_to_chunk.description.checked_sub(1).and_then(|place| *entries.get(place as usize)?);
        let mut offset = start;
        for _ in 0..sample_to_chunk.per_chunk {
            let Some(size) = sizes.get(table.count).filter(|_| table.count < count) else { return Ok(table) };
            if table.index.len() >= max_samples(total) {
                return Err(too_many_samples(total));
            }
            if table.count.is_multiple_of(BUDGET_CHECK_SAMPLES) {
                buffer.budget().spend(BUDGET_CHECK_SAMPLES as u64 * STEPS_PER_SAMPLE)?;
            }
            // If the table contains a negative duration, the sample lasts one tick, as in ffmpeg.
            let (duration, composition_offset) =
                (i64::from(durations.next()), i64::from(composition_offsets.next_in_table().unwrap_or(0)));
            let duration = if duration < 0 { 1 } else { duration };
            let is_key = sync_samples.is_next_sync(table.count as u32);
            let end = offset.saturating_add(size.into());
            if let Some(entry) = entry
                && size > 0
                && end <= total
            {
                table.index.push(Sample { offset, size, dts, pts: dts + composition_offset, is_key, entry });
                table.last_duration = duration;
            }
            table.is_truncated |= end > total;
            offset = end;
            dts = dts.saturating_add(duration);
            table.total_ticks = dts;
            table.count += 1;
        }
    }
    Ok(table)
}
