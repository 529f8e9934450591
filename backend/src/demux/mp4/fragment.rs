//! Decides where the samples of one movie fragment lie and when they are shown: ISO 14496-12, 8.8.

use super::super::index::{Index, MAX_SAMPLES};
use super::super::known::Fault;
use super::super::movie::Sample;
use super::boxes::{Fields, child, children};
use super::moov::Defaults;

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
pub(super) fn begins(moof: &[u8], context: &Context) -> Option<i64> {
    let (_, time) = begin(moof).find(|(track, _)| *track == context.track)?;
    i64::try_from(time).ok()
}

/// The tracks of a fragment that say when their first sample is decoded, and when, in ticks of their own.
pub(super) fn begin(moof: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    children(moof).filter(|(kind, _)| kind == b"traf").filter_map(|(_, traf)| {
        let mut fields = Fields(child(traf, *b"tfhd")?);
        fields.full()?;
        Some((fields.u32()?, decode_time(traf)?))
    })
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
/// [`Fault::Foreign`] where there are more samples than are indexed.
pub(super) fn read(moof: &[u8], start: u64, context: &Context, run: &mut Run) -> Result<(), Fault> {
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
            let samples = read_samples(body, &header, &mut offset);
            for sample in samples {
                let Some(Row { offset, size, delta, shift, flags }) = sample else { break };
                behind = offset.saturating_add(size.into());
                if !is_shown {
                    continue;
                }
                if run.count >= MAX_SAMPLES {
                    return Err(Fault::Foreign("more samples than are indexed"));
                }
                run.count += 1;
                run.ticks = run.ticks.saturating_add(delta.into());
                let dts = run.clock;
                run.clock = dts.saturating_add(delta.into());
                let description = header.defaults.description.checked_sub(1);
                let entry = description.and_then(|place| *context.entries.get(place as usize)?);
                if let Some(entry) = entry
                    && size > 0
                    && behind <= context.total
                {
                    let key = flags & (NOT_SYNC | NEEDS_OTHERS) == 0;
                    let pts = dts.saturating_add(shift.into());
                    run.index.push(Sample { offset, size, dts, pts, key, entry });
                    run.last = delta.into();
                }
            }
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

/// The samples of a `trun`, ISO 14496-12, 8.8.8; nothing more where it is cut off. Without fields of their own, the
/// samples of a run take no bytes of it: no more of them are believed than would fit a second each of a day.
fn read_samples<'a>(
    body: &'a [u8],
    header: &'a Header,
    next: &'a mut u64,
) -> impl Iterator<Item = Option<Row>> {
    let mut fields = Fields(body);
    let (mut flags, mut left, mut first) = (0, 0, None);
    let mut start = || {
        flags = fields.full()?.1;
        left = fields.u32()?;
        if flags & 0x01 != 0 {
            *next = header.base.checked_add_signed(fields.i32()?.into())?;
        }
        if flags & 0x04 != 0 {
            first = Some(fields.u32()?);
        }
        Some(())
    };
    if start().is_none() {
        left = 0;
    }
    if flags & 0xf00 == 0 {
        left = left.min(MAX_BARE);
    }
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let mut own = |bit: u32| if flags & bit == 0 { Some(None) } else { fields.u32().map(Some) };
        let mut row = || {
            let delta = own(0x100)?.unwrap_or(header.defaults.duration);
            let size = own(0x200)?.unwrap_or(header.defaults.size);
            let of_sample = own(0x400)?;
            let of_sample = first.take().or(of_sample).unwrap_or(header.defaults.flags);
            let shift = own(0x800)?.unwrap_or(0).cast_signed();
            let offset = *next;
            *next = offset.saturating_add(size.into());
            Some(Row { offset, size, delta, shift, flags: of_sample })
        };
        Some(row())
    })
}

/// The most samples of a run that say nothing of themselves.
const MAX_BARE: u32 = 86_400;
