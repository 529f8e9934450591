//! Decides where the samples of one movie fragment lie and when they are shown: ISO 14496-12, 8.8.

use crate::demux::budget::{PARSED_BYTES_PER_STEP, STEPS_PER_SAMPLE, WorkBudget};
use crate::demux::buffer::ReadError;
use crate::demux::demuxer::Sample;
use crate::demux::index::{SampleIndex, max_samples, too_many_samples};
use crate::demux::mp4::boxes::{BoxReader, child, children};
use crate::demux::mp4::movie::TrackExtends;

/// What every fragment of a file is read with.
#[derive(Debug, Clone)]
pub(super) struct FragmentContext {
    /// The track that is shown.
    pub(super) track_id: u32,
    pub(super) defaults: Vec<TrackExtends>,
    /// What each sample description became.
    pub(super) entries: Vec<Option<u16>>,
    /// Where the file ends.
    pub(super) total_bytes: u64,
    /// The codec, and how many bytes the length of a NAL unit takes.
    pub(super) codec: &'static str,
    pub(super) nal_length_size: usize,
    /// Whether samples are keyframes only if their own bytes say so.
    pub(super) verify_keyframes: bool,
}

/// The samples of fragments that follow one another, and what the next one needs to know.
#[derive(Debug, Clone, Default)]
pub(super) struct FragmentSamples {
    pub(super) index: SampleIndex,
    /// When the next sample is decoded, if its fragment does not say.
    pub(super) next_dts: i64,
    /// How long the last sample is shown.
    pub(super) last_duration: i64,
    /// How many samples there were, in the file or beyond its end, and how many ticks they take.
    pub(super) count: usize,
    pub(super) ticks: i64,
}

/// When the fragment's first sample of the shown track is decoded, if it has any and says so.
///
/// # Errors
/// Why there is no budget left.
pub(super) fn first_decode_time(
    moof: &[u8],
    context: &FragmentContext,
    budget: &WorkBudget,
) -> Result<Option<i64>, ReadError> {
    budget.spend(moof.len() as u64 / PARSED_BYTES_PER_STEP)?;
    let time = decode_times(moof).find(|(track, _)| *track == context.track_id);
    Ok(time.and_then(|(_, time)| i64::try_from(time).ok()))
}

/// The tracks of a fragment that say when their first sample is decoded, and when, in ticks of their own.
pub(super) fn decode_times(moof: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    children(moof).filter(|(kind, _)| kind == b"traf").filter_map(|(_, traf)| {
        let mut fields = BoxReader(child(traf, *b"tfhd")?);
        fields.version_and_flags()?;
        Some((fields.u32()?, decode_time(traf)?))
    })
}

/// When the parts of these tracks end in a fragment that say when they begin: each with the track, in ticks of its own.
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

/// How long a sample of a track's part takes that does not say: ISO 14496-12, 8.8.7.
fn default_duration(header: &[u8], track: u32, defaults: &[TrackExtends]) -> Option<u32> {
    let mut fields = BoxReader(header);
    let (_, flags) = fields.version_and_flags()?;
    fields.take(4)?;
    fields.take(if flags & 0x01 != 0 { 8 } else { 0 } + if flags & 0x02 != 0 { 4 } else { 0 })?;
    let known = defaults.iter().find(|defaults| defaults.track_id == track);
    if flags & 0x08 != 0 { fields.u32() } else { Some(known.map_or(0, |defaults| defaults.duration)) }
}

/// How long the samples of a run take: ISO 14496-12, 8.8.8.
fn run_ticks(run: &[u8], duration: u32) -> Option<u64> {
    let mut fields = BoxReader(run);
    let (_, flags) = fields.version_and_flags()?;
    let count = fields.u32()?;
    if flags & 0x100 == 0 {
        // Without fields of their own, no more of them are believed than elsewhere.
        let count = if flags & 0xf00 == 0 { count.min(MAX_UNIFORM_SAMPLES) } else { count };
        return Some(u64::from(count) * u64::from(duration));
    }
    fields.take([0x01, 0x04].iter().filter(|bit| flags & **bit != 0).count() * 4)?;
    let entry_bytes = [0x100, 0x200, 0x400, 0x800].iter().filter(|bit| flags & **bit != 0).count() * 4;
    let entries = fields.0.chunks_exact(entry_bytes).take(count as usize);
    Some(entries.filter_map(|row| BoxReader(row).u32()).map(u64::from).sum())
}

/// ISO 14496-12, 8.8.12.
fn decode_time(traf: &[u8]) -> Option<u64> {
    let mut fields = BoxReader(child(traf, *b"tfdt")?);
    let (version, _) = fields.version_and_flags()?;
    fields.versioned_uint(version)
}

/// Appends the samples of the fragment with this body, whose box begins at `start`.
///
/// # Errors
/// Why there are more samples than are indexed, or why there is no budget left.
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

/// Appends the samples of a run of the shown track.
fn append_run(
    track_run: &mut TrackRun<'_>,
    context: &FragmentContext,
    run: &mut FragmentSamples,
    budget: &WorkBudget,
) -> Result<(), ReadError> {
    let description = track_run.header.defaults.description_index.checked_sub(1);
    let entry = description.and_then(|place| *context.entries.get(place as usize)?);
    if track_run.is_uniform() {
        // Samples that are not there only take time, all the same.
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

/// What `tfhd` says of a track's part: ISO 14496-12, 8.8.7.
struct TrackFragmentHeader {
    base: u64,
    defaults: TrackExtends,
}

impl TrackFragmentHeader {
    /// `start` is where the fragment begins, `behind` where the data of the part before this one ends.
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

/// One sample of a run.
struct RunEntry {
    offset: u64,
    size: u32,
    duration: u32,
    composition_offset: i32,
    flags: u32,
}

/// The most samples of a run that say nothing of themselves: more than fit a second each of a day.
const MAX_UNIFORM_SAMPLES: u32 = 86_400;

/// What a run says of each of its samples: duration, size, flags, shift.
const ENTRY_FIELDS: [u32; 4] = [0x100, 0x200, 0x400, 0x800];

/// The samples of a `trun`, ISO 14496-12, 8.8.8; nothing more where it is cut off. Without fields of their own, the
/// samples of a run take no bytes of it: no more of them are believed than [`MAX_UNIFORM_SAMPLES`].
struct TrackRun<'a> {
    header: &'a TrackFragmentHeader,
    fields: BoxReader<'a>,
    flags: u32,
    /// The flags of the first sample, if they are others.
    first_flags: Option<u32>,
    /// How many samples are still to come.
    remaining: u32,
    /// Where the next one begins.
    offset: u64,
}

impl<'a> TrackRun<'a> {
    /// Reads the beginning of the body. `next` is where the samples begin, unless the run says so.
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

    /// How many bytes a sample has in the run.
    fn entry_bytes(&self) -> usize {
        ENTRY_FIELDS.iter().filter(|bit| self.flags & **bit != 0).count() * 4
    }

    fn is_uniform(&self) -> bool {
        self.entry_bytes() == 0
    }

    /// How many samples of the default size there is room for in a file of `total_bytes` bytes, from here on.
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

    /// Goes to where the samples end that are still to come. Where all have one size, that is not a matter of how many
    /// they are.
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
