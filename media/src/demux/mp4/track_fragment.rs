//! Decides where the samples of one movie fragment lie and when they are shown: ISO 14496-12, 8.8.

use crate::demux::budget::{Budget, PARSED_PER_STEP, SAMPLE};
use crate::demux::buffer::Fault;
use crate::demux::demuxer::Sample;
use crate::demux::index::{Index, most_samples, too_many_samples};
use crate::demux::mp4::boxes::{Fields, child, children};
use crate::demux::mp4::movie::Defaults;

/// What every fragment of a file is read with.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// The track that is shown.
    pub(super) track: u32,
    pub(super) defaults: Vec<Defaults>,
    /// What each sample description became.
    pub(super) entries: Vec<Option<u16>>,
    /// Where the file ends.
    pub(super) total: u64,
    /// The codec, and how many bytes the length of a NAL unit takes.
    pub(super) codec: &'static str,
    pub(super) nal_length: usize,
    /// Whether samples are keyframes only if their own bytes say so.
    pub(super) verifies: bool,
}

/// The samples of fragments that follow one another, and what the next one needs to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub(super) index: Index,
    /// When the next sample is decoded, if its fragment does not say.
    pub(super) clock: i64,
    /// How long the last sample is shown.
    pub(super) last: i64,
    /// How many samples there were, in the file or beyond its end, and how many ticks they take.
    pub(super) count: usize,
    pub(super) ticks: i64,
}

/// When the fragment's first sample of the shown track is decoded, if it has any and says so.
///
/// # Errors
/// Why there is no budget left.
pub(super) fn begins(moof: &[u8], context: &Context, budget: &Budget) -> Result<Option<i64>, Fault> {
    budget.spend(moof.len() as u64 / PARSED_PER_STEP)?;
    let time = begin(moof).find(|(track, _)| *track == context.track);
    Ok(time.and_then(|(_, time)| i64::try_from(time).ok()))
}

/// The tracks of a fragment that say when their first sample is decoded, and when, in ticks of their own.
pub(super) fn begin(moof: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    children(moof).filter(|(kind, _)| kind == b"traf").filter_map(|(_, traf)| {
        let mut fields = Fields(child(traf, *b"tfhd")?);
        fields.full()?;
        Some((fields.u32()?, decode_time(traf)?))
    })
}

/// When the parts of these tracks end in a fragment that say when they begin: each with the track, in ticks of its own.
pub(super) fn ends(moof: &[u8], tracks: &[u32], defaults: &[Defaults]) -> Vec<(u32, u64)> {
    let trafs = children(moof).filter(|(kind, _)| kind == b"traf");
    let end = |traf: &[u8]| {
        let header = child(traf, *b"tfhd")?;
        let track = Fields(header.get(4..)?).u32().filter(|track| tracks.contains(track))?;
        let duration = default_duration(header, track, defaults)?;
        let runs = children(traf).filter(|(kind, _)| kind == b"trun");
        let ticks =
            runs.fold(0_u64, |sum, (_, run)| sum.saturating_add(run_ticks(run, duration).unwrap_or(0)));
        Some((track, decode_time(traf)?.saturating_add(ticks)))
    };
    trafs.filter_map(|(_, traf)| end(traf)).collect()
}

/// How long a sample of a track's part takes that does not say: ISO 14496-12, 8.8.7.
fn default_duration(header: &[u8], track: u32, defaults: &[Defaults]) -> Option<u32> {
    let mut fields = Fields(header);
    let (_, flags) = fields.full()?;
    fields.take(4)?;
    fields.take(if flags & 0x01 != 0 { 8 } else { 0 } + if flags & 0x02 != 0 { 4 } else { 0 })?;
    let known = defaults.iter().find(|defaults| defaults.track == track);
    if flags & 0x08 != 0 { fields.u32() } else { Some(known.map_or(0, |defaults| defaults.duration)) }
}

/// How long the samples of a run take: ISO 14496-12, 8.8.8.
fn run_ticks(run: &[u8], duration: u32) -> Option<u64> {
    let mut fields = Fields(run);
    let (_, flags) = fields.full()?;
    let count = fields.u32()?;
    if flags & 0x100 == 0 {
        // Without fields of their own, no more of them are believed than elsewhere.
        let count = if flags & 0xf00 == 0 { count.min(MAX_BARE) } else { count };
        return Some(u64::from(count) * u64::from(duration));
    }
    fields.take([0x01, 0x04].iter().filter(|bit| flags & **bit != 0).count() * 4)?;
    let width = [0x100, 0x200, 0x400, 0x800].iter().filter(|bit| flags & **bit != 0).count() * 4;
    let rows = fields.0.chunks_exact(width).take(count as usize);
    Some(rows.filter_map(|row| Fields(row).u32()).map(u64::from).sum())
}

/// ISO 14496-12, 8.8.12.
fn decode_time(traf: &[u8]) -> Option<u64> {
    let mut fields = Fields(child(traf, *b"tfdt")?);
    let (version, _) = fields.full()?;
    fields.sized(version)
}

/// Appends the samples of the fragment with this body, whose box begins at `start`.
///
/// # Errors
/// Why there are more samples than are indexed, or why there is no budget left.
pub(super) fn read(
    moof: &[u8],
    start: u64,
    context: &Context,
    run: &mut Run,
    budget: &Budget,
) -> Result<(), Fault> {
    budget.spend(moof.len() as u64 / PARSED_PER_STEP)?;
    let mut behind = start;
    for (_, traf) in children(moof).filter(|(kind, _)| kind == b"traf") {
        let Some(header) = child(traf, *b"tfhd").and_then(|body| Header::read(body, start, behind, context))
        else {
            continue;
        };
        let is_shown = header.defaults.track == context.track;
        if let Some(time) = decode_time(traf).filter(|_| is_shown).and_then(|time| i64::try_from(time).ok()) {
            run.clock = time;
        }
        let mut offset = header.base;
        for (_, body) in children(traf).filter(|(kind, _)| kind == b"trun") {
            let Some(mut rows) = Rows::read(body, &header, offset) else { continue };
            let is_empty = rows.left == 0;
            if is_shown {
                take(&mut rows, context, run, budget)?;
            } else {
                rows.skip();
            }
            offset = rows.offset;
            if !is_empty {
                behind = offset;
            }
        }
    }
    Ok(())
}

/// Appends the samples of a run of the shown track.
fn take(rows: &mut Rows<'_>, context: &Context, run: &mut Run, budget: &Budget) -> Result<(), Fault> {
    let description = rows.header.defaults.description.checked_sub(1);
    let entry = description.and_then(|place| *context.entries.get(place as usize)?);
    if rows.is_bare() {
        // Samples that are not there only take time, all the same.
        let there = entry.map_or(0, |_| rows.room(context.total)).min(rows.left);
        let rest = rows.left - there;
        rows.left = there;
        take_each(rows, entry, context, run, budget)?;
        rows.left = rest;
        let ticks = i64::from(rest).saturating_mul(rows.header.defaults.duration.into());
        run.count = run.count.saturating_add(rest as usize);
        run.ticks = run.ticks.saturating_add(ticks);
        run.clock = run.clock.saturating_add(ticks);
        rows.skip();
        return Ok(());
    }
    take_each(rows, entry, context, run, budget)
}

fn take_each(
    rows: &mut Rows<'_>,
    entry: Option<u16>,
    context: &Context,
    run: &mut Run,
    budget: &Budget,
) -> Result<(), Fault> {
    budget.spend(u64::from(rows.left) * SAMPLE)?;
    while let Some(Row { offset, size, delta, shift, flags }) = rows.next() {
        run.count = run.count.saturating_add(1);
        run.ticks = run.ticks.saturating_add(delta.into());
        let dts = run.clock;
        run.clock = dts.saturating_add(delta.into());
        if let Some(entry) = entry
            && size > 0
            && offset.saturating_add(size.into()) <= context.total
        {
            let key = flags & (NOT_SYNC | NEEDS_OTHERS) == 0;
            if run.index.len() >= most_samples(context.total) {
                return Err(too_many_samples(context.total));
            }
            let pts = dts.saturating_add(shift.into());
            run.index.push(Sample { offset, size, dts, pts, key, entry });
            run.last = delta.into();
        }
    }
    Ok(())
}

/// Flags of a sample: ISO 14496-12, 8.8.3.1.
const NOT_SYNC: u32 = 0x0001_0000;
const NEEDS_OTHERS: u32 = 0x0100_0000;

/// What `tfhd` says of a track's part: ISO 14496-12, 8.8.7.
struct Header {
    base: u64,
    defaults: Defaults,
}

impl Header {
    /// `start` is where the fragment begins, `behind` where the data of the part before this one ends.
    fn read(body: &[u8], start: u64, behind: u64, context: &Context) -> Option<Self> {
        let mut fields = Fields(body);
        let (_, flags) = fields.full()?;
        let track = fields.u32()?;
        let known = context.defaults.iter().find(|defaults| defaults.track == track);
        let nothing = Defaults { track, description: 1, duration: 0, size: 0, flags: 0 };
        let mut defaults = known.copied().unwrap_or(nothing);
        let mut base = if flags & 0x02_0000 != 0 { start } else { behind };
        if flags & 0x01 != 0 {
            base = fields.u64()?;
        }
        let Defaults { description, duration, size, flags: of_samples, .. } = &mut defaults;
        for (bit, field) in [(0x02, description), (0x08, duration), (0x10, size), (0x20, of_samples)] {
            if flags & bit != 0 {
                *field = fields.u32()?;
            }
        }
        Some(Self { base, defaults })
    }
}

/// One sample of a run.
struct Row {
    offset: u64,
    size: u32,
    delta: u32,
    shift: i32,
    flags: u32,
}

/// The most samples of a run that say nothing of themselves: more than fit a second each of a day.
const MAX_BARE: u32 = 86_400;

/// What a run says of each of its samples: duration, size, flags, shift.
const OWN: [u32; 4] = [0x100, 0x200, 0x400, 0x800];

/// The samples of a `trun`, ISO 14496-12, 8.8.8; nothing more where it is cut off. Without fields of their own, the
/// samples of a run take no bytes of it: no more of them are believed than [`MAX_BARE`].
struct Rows<'a> {
    header: &'a Header,
    fields: Fields<'a>,
    flags: u32,
    /// The flags of the first sample, if they are others.
    first: Option<u32>,
    /// How many samples are still to come.
    left: u32,
    /// Where the next one begins.
    offset: u64,
}

impl<'a> Rows<'a> {
    /// Reads the beginning of the body. `next` is where the samples begin, unless the run says so.
    fn read(body: &'a [u8], header: &'a Header, next: u64) -> Option<Self> {
        let mut fields = Fields(body);
        let (_, flags) = fields.full()?;
        let count = fields.u32()?;
        let mut offset = next;
        if flags & 0x01 != 0 {
            offset = header.base.checked_add_signed(fields.i32()?.into())?;
        }
        let first = if flags & 0x04 != 0 { Some(fields.u32()?) } else { None };
        let mut rows = Self { header, fields, flags, first, left: 0, offset };
        let most = rows.fields.0.len().checked_div(rows.width()).unwrap_or(MAX_BARE as usize);
        rows.left = count.min(u32::try_from(most).unwrap_or(u32::MAX));
        Some(rows)
    }

    /// How many bytes a sample has in the run.
    fn width(&self) -> usize {
        OWN.iter().filter(|bit| self.flags & **bit != 0).count() * 4
    }

    fn is_bare(&self) -> bool {
        self.width() == 0
    }

    /// How many samples of the default size there is room for in a file of `total` bytes, from here on.
    fn room(&self, total: u64) -> u32 {
        let room = total.saturating_sub(self.offset).checked_div(self.header.defaults.size.into());
        u32::try_from(room.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    fn next(&mut self) -> Option<Row> {
        self.left = self.left.checked_sub(1)?;
        let mut own = |bit: u32| if self.flags & bit == 0 { Some(None) } else { self.fields.u32().map(Some) };
        let [duration, size, flags, shift] = OWN;
        let delta = own(duration)?.unwrap_or(self.header.defaults.duration);
        let size = own(size)?.unwrap_or(self.header.defaults.size);
        let flags = own(flags)?;
        let flags = self.first.take().or(flags).unwrap_or(self.header.defaults.flags);
        let shift = own(shift)?.unwrap_or(0).cast_signed();
        let offset = self.offset;
        self.offset = offset.saturating_add(size.into());
        Some(Row { offset, size, delta, shift, flags })
    }

    /// Goes to where the samples end that are still to come. Where all have one size, that is not a matter of how many
    /// they are.
    fn skip(&mut self) {
        if self.flags & 0x200 != 0 {
            while self.next().is_some() {}
            return;
        }
        let bytes = u64::from(self.left).saturating_mul(self.header.defaults.size.into());
        self.offset = self.offset.saturating_add(bytes);
        self.left = 0;
    }
}
