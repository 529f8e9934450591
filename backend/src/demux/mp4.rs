//! Decides where the pictures of an MP4, QuickTime or 3GP file lie, by its own index: ISO 14496-12 and the QuickTime
//! File Format. Progressive files with their index at either end, and fragmented ones.
//!
//! What is believed of a file: nothing that costs more than the bytes it has. Sizes are cut to what there is room
//! for, nesting is followed to a fixed depth without recursion, other files are never opened.

mod boxes;
mod codec;
mod edits;
mod entry;
mod fragment;
mod fragmented;
mod hints;
mod layout;
mod moov;
mod seek;
mod tables;

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use self::fragment::Run;
use self::seek::Fragments;
use super::index::{Index, Shown};
use super::known::{Fault, Known, held};
use super::movie::{Movie, Sample, Track, Want};

/// A file of this family whose index was read.
#[derive(Debug)]
pub struct Mp4 {
    track: Track,
    samples: Samples,
}

/// What is known of the samples.
#[derive(Debug)]
enum Samples {
    All(Index),
    /// So many that they are looked up when they are wanted.
    Fragments(Box<Fragments>),
}

/// Reads the index of a file.
///
/// # Errors
/// What is missing, or why the file is refused or left to the relay.
pub fn open(known: &Known) -> Result<Mp4, Fault> {
    let layout = layout::find(known)?;
    let moov = known.bytes(layout.moov.clone())?;
    let movie = moov::read(&moov)?;
    let found = match &movie.extends {
        Some(extends) => fragmented::read(known, &layout, &movie, extends)?,
        None => None,
    };
    let Found { samples, last_tick, fps } = match found {
        Some(found) => found,
        None => progressive(known, &movie)?,
    };
    let timescale = movie.chosen.timescale;
    let duration = last_tick.max(0);
    if duration / i64::from(timescale) > (limits::MAX_DURATION_MS / 1000).cast_signed() {
        return Err(Fault::Refused(Code::TooLong));
    }
    let keyframes = match &samples {
        Samples::All(index) => Some(index.key_times()),
        Samples::Fragments(_) => None,
    };
    let track = Track {
        codec: movie.pictures.first().map_or("", |picture| picture.codec),
        timescale,
        entries: movie.pictures.iter().map(entry::Picture::to_bytes).collect(),
        matrix: movie.matrix,
        display: movie.chosen.display,
        duration,
        fps,
        prefix: Bytes::new(),
        has_audio: movie.has_audio,
        keyframes,
    };
    Ok(Mp4 { track, samples })
}

/// A sample entry for pictures of this size whose decoder is configured by this record (of `avcC`, `hvcC` or `av1C`); none
/// if that is damaged.
pub(super) fn sample_entry(codec: &str, [width, height]: [u16; 2], record: &[u8]) -> Option<Bytes> {
    let (kind, configuration) = match codec {
        "h264" => (*b"avc1", *b"avcC"),
        "hevc" => (*b"hvc1", *b"hvcC"),
        "av1" => (*b"av01", *b"av1C"),
        _ => return None,
    };
    let mut body = [0; 78];
    body[7] = 1;
    body[24..26].copy_from_slice(&width.to_be_bytes());
    body[26..28].copy_from_slice(&height.to_be_bytes());
    // 72 dots an inch, one frame a sample, 24 bits, no colour table: ISO 14496-12, 12.1.3.
    (body[29], body[33], body[41], body[75], body[76], body[77]) = (0x48, 0x48, 1, 24, 0xff, 0xff);
    let mut body = body.to_vec();
    boxes::write(&mut body, configuration, |out| out.extend_from_slice(record));
    let entry::Entry::Known(picture) = entry::read(kind, &body, &[true]) else { return None };
    let bytes = picture.to_bytes();
    // What is damaged is left out of an entry.
    bytes.windows(4).any(|word| word == configuration).then_some(bytes)
}

/// The samples of a file, and what follows from them.
struct Found {
    samples: Samples,
    /// When nothing more is shown, in ticks.
    last_tick: i64,
    fps: f64,
}

/// Pictures a second, of so many in so many ticks.
fn rate(count: usize, ticks: i64, timescale: u32) -> f64 {
    if ticks > 0 { count as f64 * f64::from(timescale) / ticks as f64 } else { 0.0 }
}

/// The samples of a file whose tables tell all of them.
fn progressive(known: &Known, movie: &moov::Movie<'_>) -> Result<Found, Fault> {
    let chosen = &movie.chosen;
    let shown = edits::read(chosen.elst, chosen.timescale, (movie.timescale, movie.wait), false)?;
    let read = tables::read(chosen.stbl, &movie.entries, known.total())?;
    all(
        Run { index: read.index, clock: 0, last: read.last, count: read.count, ticks: read.ticks },
        shown,
        chosen,
    )
}

fn all(run: Run, shown: Shown, chosen: &moov::Trak<'_>) -> Result<Found, Fault> {
    let Run { mut index, last, count, ticks, .. } = run;
    if index.is_empty() {
        return Err(Fault::Refused(Code::Truncated));
    }
    index.place(shown, last);
    let fps = rate(count, ticks, chosen.timescale);
    Ok(Found { last_tick: index.end(), samples: Samples::All(index), fps })
}

impl Mp4 {
    /// Every sample, in decoding order, if all are known.
    pub fn samples(&self) -> Option<impl Iterator<Item = Sample>> {
        match &self.samples {
            Samples::All(index) => Some(index.samples()),
            Samples::Fragments(_) => None,
        }
    }
}

impl Movie for Mp4 {
    fn track(&self) -> &Track {
        &self.track
    }

    fn distrust_keyframes(&mut self) -> bool {
        let Samples::All(index) = &mut self.samples else { return false };
        index.keep_first_key();
        self.track.keyframes = Some(index.key_times());
        true
    }

    fn runs(&self, known: &Known, wants: &[Want]) -> Result<Vec<Vec<Sample>>, Fault> {
        let fragments = match &self.samples {
            Samples::All(index) => return Ok(wants.iter().map(|want| index.run(*want)).collect()),
            Samples::Fragments(fragments) => fragments,
        };
        let mut look = seek::MAX_LOOK;
        let (mut runs, mut missing) = (Vec::with_capacity(wants.len()), Vec::new());
        for want in wants {
            runs.extend(held(fragments.run(known, *want, &mut look), &mut missing)?);
        }
        if missing.is_empty() { Ok(runs) } else { Err(Fault::all_missing(missing)) }
    }
}
