//! Parses the samples of a movie fragment: ISO 14496-12, 8.8.

use crate::demux::budget::{PARSED_BYTES_PER_STEP, STEPS_PER_SAMPLE, WorkBudget};
use crate::demux::demuxer::Sample;
use crate::demux::error::ReadError;
use crate::demux::index::{SampleIndex, max_samples, too_many_samples};
use crate::demux::mp4::boxes::{BoxReader, child, children};
use crate::demux::mp4::movie::TrackExtends;

/// The parameters for reading all fragments of a file.
#[derive(Debug, Clone)]
pub(super) struct FragmentContext {
    /// The selected track.
    pub(super) track_id: u32,
    pub(super) defaults: Vec<TrackExtends>,
    /// The sample entry index of each sample description.
    pub(super) entries: Vec<Option<u16>>,
    /// Size of the file.
    pub(super) total_bytes: u64,
    /// The codec, and the size of a NAL unit's length field in bytes.
    pub(super) codec: &'static str,
    pub(super) nal_length_size: usize,
    /// Whether a keyframe flag is ignored unless the sample itself confirms it.
    pub(super) verify_keyframes: bool,
}

/// The samples of consecutive fragments, and the state for the next fragment.
#[derive(Debug, Clone, Default)]
pub(super) struct FragmentSamples {
    pub(super) index: SampleIndex,
    /// Decoding time of the next sample, if its fragment does not specify it.
    pub(super) next_dts: i64,
    /// Duration of the last sample.
    pub(super) last_duration: i64,
    /// Number of samples, in the file or beyond its end, and their total duration in ticks.
    pub(super) count: usize,
    pub(super) ticks: i64,
}

/// Decoding time of the fragment's first sample of the selected track, if it has any and specifies it.
///
/// # Errors
/// The reason why the budget is exhausted.
pub(super) fn first_decode_time(
    moof: &[u8],
    context: &FragmentContext,
    budget: &WorkBudget,
) -> Result<Option<i64>, ReadError> {
    budget.spend(moof.len() as u64 / PARSED_BYTES_PER_STEP)?;
    let time = decode_times(moof).find(|(track, _)| *track == context.track_id);
    Ok(time.and_then(|(_, time)| i64::try_from(time).ok()))
}

/// The decoding times of the first samples of a fragment's tracks, in ticks of each track, as far as specified.
pub(super) fn decode_times(moof: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    children(moof).filter(|(kind, _)| kind == b"traf").filter_map(|(_, traf)| {
        let mut fields = BoxReader(child(traf, *b"tfhd")?);
        fields.version_and_flags()?;
        Some((fields.u32()?, decode_time(traf)?))
    })
}

/// The end times of these tracks in a fragment that specifies their start, in ticks of each track.
pub(super) fn end_times(moof: &[u8], tracks: &[u32], defaults: &[TrackExtends]) -> Vec<(u32, u64)> {
    let trafs = children(moof).filter(|(kind, _)| kind == b"traf");
    let end = |traf: &[u8]| {
        let header = child(traf, *b"tfhd")?;
        let track = BoxReader(header.get(4..)?).u32().filter(|track| tracks.contains(track))?;
        let duration = default_duration(header, track, defaults)?;
        let runs = children(traf).filter(|(kind, _)| kind == b"trun");
        let ticks =
            runs.fold(0_u64, |sum, (_, run)| sum.saturating_add(run_ticks(run, duration).unwrap_or(0)));
        Some((track, decode_time(traf)?.saturating_add(ticks)))
    };
    trafs.filter_map(|(_, traf)| end(traf)).collect()
}

/// The default sample duration of a track in a fragment: ISO 14496-12, 8.8.7.
fn default_duration(header: &[u8], track: u32, defaults: &[TrackExtends]) -> Option<u32> {
    let mut fields = BoxReader(header);
    let (_, flags) = fields.version_and_flags()?;
    fields.take(4)?;
    fields.take(if flags & 0x01 != 0 { 8 } else { 0 } + if flags & 0x02 != 0 { 4 } else { 0 })?;
    let known = defaults.iter().find(|defaults| defaults.track_id == track);
    if flags & 0x08 != 0 { fields.u32() } else { Some(known.map_or(0, |defaults| defaults.duration)) }
}

/// The total duration of the samples of a run: ISO 14496-12, 8.8.8.
fn run_ticks(run: &[u8], duration: u32) -> Option<u64> {
    let mut fields = BoxReader(run);
    let (_, flags) = fields.version_and_flags()?;
    let count = fields.u32()?;
    if flags & 0x100 == 0 {
        // Without per-sample fields, the number of samples is limited as elsewhere.
        let count = if flags & 0xf00 == 0 { count.min(MAX_UNIFORM_SAMPLES) } else { count };
        return Some(u64::from(count) * u64::from(duration));
    }
    fields.take([0x01, 0x04].iter().filter(|bit| flags & **bit != 0).count() * 4)?;
    let entry_bytes = [0x100, 0x200, 0x400, 0x800].iter().filter(|bit| flags & **bit != 0).count() * 4;
    let entries = fields.0.chunks_exact(entry_bytes).take(count as usize);
    Some(entries.filter_map(|row| BoxReader(row).u32()).map(u64::from).sum())
}

/// Parses a `tfdt` box: ISO 14496-12, 8.8.12.
fn decode_time(traf: &[u8]) -> Option<u64> {
    let mut fields = BoxReader(child(traf, *b"tfdt")?);
    let (version, _) = fields.version_and_flags()?;
    fields.versioned_uint(version)
}

/// Appends the samples of the fragment with this body, whose box starts at `start`.
///
/// # Errors
/// The reason why there are more samples than are indexed, or why the budget is exhausted.
pub(super) fn append_samples(
    moof: &[u8],
    start: u64,
    context: &FragmentContext,
    run: &mut FragmentSamples,
    budget: &WorkBudget,
) -> Result<(), ReadError> {
    budget.spend(moof.len() as u64 / PARSED_BYTES_PER_STEP)?;
    let mut data_end = start;
    for (_, traf) in children(moof).filter(|(kind, _)| kind == b"traf") {
        let Some(header) =
            child(traf, *b"tfhd").and_then(|body| TrackFragmentHeader::parse(body, start, data_end, context))
        else {
            continue;
        };
        let is_shown = header.defaults.track_id == context.track_id;
        if let Some(time) = decode_time(traf).filter(|_| is_shown).and_then(|time| i64::try_from(time).ok()) {
            run.next_dts = time;
        }
        let mut offset = header.base;
        for (_, body) in children(traf).filter(|(kind, _)| kind == b"trun") {
            let Some(mut track_run) = TrackRun::parse(body, &header, offset) else { continue };
            let is_empty = track_run.remaining == 0;
            if is_shown {
                append_run(&mut track_run, context, run, budget)?;
            } else {
                track_run.skip_rest();
            }
            offset = track_run.offset;
            if !is_empty {
                data_end = offset;
            }
        }
    }
    Ok(())
}

/// Appends the samples of a run of the selected track.
fn append_run(
    track_run: &mut TrackRun<'_>,
    context: &FragmentContext,
    run: &mut FragmentSamples,
    budget: &WorkBudget,
) -> Result<(), ReadError> {
    let description = track_run.header.defaults.description_index.checked_sub(1);
    let entry = description.and_then(|place| *context.entries.get(place as usize)?);
    if track_run.is_uniform() {
        // Samples beyond the end of the file are counted with their duration.
        let present_count =
            entry.map_or(0, |_| track_run.fitting_samples(context.total_bytes)).min(track_run.remaining);
        let missing_count = track_run.remaining - present_count;
        track_run.remaining = present_count;
        append_entries(track_run, entry, context, run, budget)?;
        track_run.remaining = missing_count;
        let ticks = i64::from(missing_count).saturating_mul(track_run.header.defaults.duration.into());
        run.count = run.count.saturating_add(missing_count as usize);
        run.ticks = run.ticks.saturating_add(ticks);
        run.next_dts = run.next_dts.saturating_add(ticks);
        track_run.skip_rest();
        return Ok(());
    }
    append_entries(track_run, entry, context, run, budget)
}

fn append_entries(
    track_run: &mut TrackRun<'_>,
    entry: Option<u16>,
    context: &FragmentContext,
    run: &mut FragmentSamples,
    budget: &WorkBudget,
) -> Result<(), ReadError> {
    budget.spend(u64::from(track_run.remaining) * STEPS_PER_SAMPLE)?;
    while let Some(RunEntry { offset, size, duration: delta, composition_offset: shift, flags }) =
        track_run.next()
    {
        run.count = run.count.saturating_add(1);
        run.ticks = run.ticks.saturating_add(delta.into());
        let dts = run.next_dts;
        run.next_dts = dts.saturating_add(delta.into());
        if let Some(entry) = entry
            && size > 0
            && offset.saturating_add(size.into()) <= context.total_bytes
        {
            let is_key = flags & (NON_SYNC_SAMPLE | DEPENDS_ON_OTHERS) == 0;
            if run.index.len() >= max_samples(context.total_bytes) {
                return Err(too_many_samples(context.total_bytes));
            }
            let pts = dts.saturating_add(shift.into());
            run.index.push(Sample { offset, size, dts, pts, is_key, entry });
            run.last_duration = delta.into();
        }
    }
    Ok(())
}

/// Flags of a sample: ISO 14496-12, 8.8.3.1.
const NON_SYNC_SAMPLE: u32 = 0x0001_0000;
const DEPENDS_ON_OTHERS: u32 = 0x0100_0000;

/// The contents of `tfhd`: ISO 14496-12, 8.8.7.
struct TrackFragmentHeader {
    base: u64,
    defaults: TrackExtends,
}

impl TrackFragmentHeader {
    /// `start` is the offset of the fragment, `previous_data_end` the end of the previous track fragment's data.
    fn parse(body: &[u8], start: u64, previous_data_end: u64, context: &FragmentContext) -> Option<Self> {
        let mut fields = BoxReader(body);
        let (_, flags) = fields.version_and_flags()?;
        let track = fields.u32()?;
        let known = context.defaults.iter().find(|defaults| defaults.track_id == track);
        let fallback = TrackExtends { track_id: track, description_index: 1, duration: 0, size: 0, flags: 0 };
        let mut defaults = known.copied().unwrap_or(fallback);
        let mut base = if flags & 0x02_0000 != 0 { start } else { previous_data_end };
        if flags & 0x01 != 0 {
            base = fields.u64()?;
        }
        let TrackExtends { description_index: description, duration, size, flags: sample_flags, .. } =
            &mut defaults;
        for (bit, field) in [(0x02, description), (0x08, duration), (0x10, size), (0x20, sample_flags)] {
            if flags & bit != 0 {
                *field = fields.u32()?;
            }
        }
        Some(Self { base, defaults })
    }
}

/// A sample of a run.
struct RunEntry {
    offset: u64,
    size: u32,
    duration: u32,
    composition_offset: i32,
    flags: u32,
}

/// The most samples of a run without per-sample fields: one per second for a whole day.
const MAX_UNIFORM_SAMPLES: u32 = 86_400;

/// Flags for the fields of each sample in a run: duration, size, flags, composition offset.
const ENTRY_FIELDS: [u32; 4] = [0x100, 0x200, 0x400, 0x800];

/// Reads the samples of a `trun`, ISO 14496-12, 8.8.8; stops where it is truncated. Without per-sample fields, samples
/// take no bytes in the run, so their number is limited to [`MAX_UNIFORM_SAMPLES`].
struct TrackRun<'a> {
    header: &'a TrackFragmentHeader,
    fields: BoxReader<'a>,
    flags: u32,
    /// The flags of the first sample, if they differ.
    first_flags: Option<u32>,
    /// Number of samples that have not been read.
    remaining: u32,
    /// Offset of the next sample's data.
    offset: u64,
}

impl<'a> TrackRun<'a> {
    /// Parses the beginning of the body. `next` is the offset of the samples' data, unless the run specifies it.
    fn parse(body: &'a [u8], header: &'a TrackFragmentHeader, next: u64) -> Option<Self> {
        let mut fields = BoxReader(body);
        let (_, flags) = fields.version_and_flags()?;
        let count = fields.u32()?;
        let mut offset = next;
        if flags & 0x01 != 0 {
            offset = header.base.checked_add_signed(fields.i32()?.into())?;
        }
        let first = if flags & 0x04 != 0 { Some(fields.u32()?) } else { None };
        let mut track_run = Self { header, fields, flags, first_flags: first, remaining: 0, offset };
        let max_entries = track_run
            .fields
            .0
            .len()
            .checked_div(track_run.entry_bytes())
            .unwrap_or(MAX_UNIFORM_SAMPLES as usize);
        track_run.remaining = count.min(u32::try_from(max_entries).unwrap_or(u32::MAX));
        Some(track_run)
    }

    /// Size of a sample's fields in the run, in bytes.
    fn entry_bytes(&self) -> usize {
        ENTRY_FIELDS.iter().filter(|bit| self.flags & **bit != 0).count() * 4
    }

    fn is_uniform(&self) -> bool {
        self.entry_bytes() == 0
    }

    /// How many samples of the default size fit in a file of `total` bytes from the current offset.
    fn fitting_samples(&self, total: u64) -> u32 {
        let room = total.saturating_sub(self.offset).checked_div(self.header.defaults.size.into());
        u32::try_from(room.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    fn next(&mut self) -> Option<RunEntry> {
        self.remaining = self.remaining.checked_sub(1)?;
        let mut read_field =
            |bit: u32| if self.flags & bit == 0 { Some(None) } else { self.fields.u32().map(Some) };
        let [duration, size, flags, shift] = ENTRY_FIELDS;
        let sample_duration = read_field(duration)?.unwrap_or(self.header.defaults.duration);
        let size = read_field(size)?.unwrap_or(self.header.defaults.size);
        let flags = read_field(flags)?;
        let flags = self.first_flags.take().or(flags).unwrap_or(self.header.defaults.flags);
        let composition_offset = read_field(shift)?.unwrap_or(0).cast_signed();
        let offset = self.offset;
        self.offset = offset.saturating_add(size.into());
        Some(RunEntry { offset, size, duration: sample_duration, composition_offset, flags })
    }

    /// Moves to the end of the remaining samples. If all have the same size, this takes constant time.
    fn skip_rest(&mut self) {
        if self.flags & 0x200 != 0 {
            while self.next().is_some() {}
            return;
        }
        let bytes = u64::from(self.remaining).saturating_mul(self.header.defaults.size.into());
        self.offset = self.offset.saturating_add(bytes);
        self.remaining = 0;
    }
}
