//! Decides where the pictures of an MP4, QuickTime or 3GP file lie, by its own index: ISO 14496-12 and the QuickTime
//! File Format. Progressive files with their index at either end, and fragmented ones.
//!
//! What is believed of a file: nothing that costs more than the bytes it has. Sizes are cut to what there is room
//! for, nesting is followed to a fixed depth without recursion, other files are never opened.

mod boxes;
mod codec;
mod edit_list;
mod fragment_index;
mod fragment_seek;
mod fragmented;
mod movie;
mod sample_entry;
mod sample_table;
mod top_level;
mod track_fragment;

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::budget::PARSED_PER_STEP;
use crate::demux::buffer::{Fault, Known, held};
use crate::demux::demuxer::{Movie, Sample, Track, Want};
use crate::demux::index::{Edited, Index, Shown};
use crate::demux::mp4::fragment_seek::{Fragments, Search};
use crate::demux::mp4::track_fragment::Run;

/// A file of this family whose index was read.
#[derive(Debug, Clone)]
pub struct Mp4 {
    track: Track,
    samples: Samples,
}

/// What is known of the samples.
#[derive(Debug, Clone)]
enum Samples {
    All(Box<Index>),
    /// Stretches of them that an edit list puts together.
    Edited(Box<Edited>),
    /// So many that they are looked up when they are wanted.
    Fragments(Box<Fragments>),
}

/// Reads the index of a file.
///
/// # Errors
/// What is missing, or why the file is refused or left to the relay.
pub fn open(known: &Known) -> Result<Mp4, Fault> {
    known.within_budget(read(known))
}

fn read(known: &Known) -> Result<Mp4, Fault> {
    let layout = top_level::find(known)?;
    let moov = known.bytes(layout.moov.clone())?;
    known.budget().spend(moov.len() as u64 / PARSED_PER_STEP)?;
    let movie = movie::read(&moov, layout.is_cut)?;
    let found = match &movie.extends {
        Some(extends) => fragmented::read(known, &layout, &movie, extends)?,
        None => None,
    };
    let Found { samples, last_tick, sound_tick, fps } = match found {
        Some(found) => found,
        None => progressive(known, &movie)?,
    };
    let timescale = movie.chosen.timescale;
    let picture_end = last_tick.max(0);
    // A clock of sound that jumps to where no film is let through is not believed.
    let longest =
        i64::try_from(limits::MAX_DURATION_MS / 1000).unwrap_or(i64::MAX).saturating_mul(timescale.into());
    let duration = if sound_tick > longest { picture_end } else { picture_end.max(sound_tick) };
    if duration / i64::from(timescale) > (limits::MAX_DURATION_MS / 1000).cast_signed() {
        return Err(Fault::Refused(Code::TooLong));
    }
    let keyframes = match &samples {
        Samples::All(index) => Some(index.key_times()),
        Samples::Edited(edited) => Some(edited.key_times()),
        Samples::Fragments(_) => None,
    };
    let picture_begin = match &samples {
        Samples::All(index) => index.begin(),
        Samples::Edited(edited) => edited.begin(),
        Samples::Fragments(fragments) => fragments.shown.at,
    };
    let first = movie.pictures.first();
    let crop = first.and_then(|picture| picture.crop);
    let mut track = Track {
        codec: movie.pictures.first().map_or("", |picture| picture.codec),
        timescale,
        entries: movie.pictures.iter().map(sample_entry::Picture::to_bytes).collect(),
        matrix: movie.matrix,
        display: movie.chosen.display,
        duration,
        picture_begin: picture_begin.clamp(0, picture_end),
        picture_end,
        fps,
        prefix: Bytes::new(),
        has_audio: movie.has_audio,
        keyframes,
        gradual: false,
        crop,
        dolby_vision: first.and_then(|picture| picture.dolby_vision),
    };
    let is_whole = |first: &sample_entry::Picture| {
        track.display == [first.width, first.height].map(|side| u32::from(side) << 16)
    };
    if let (Some(crop), Some(first)) = (crop, first.filter(|first| !is_whole(first))) {
        // The header of a track has the size of what is shown (QuickTime File Format, "Track header"): of the whole picture it
        // is so much larger. Some writers leave there the size of the whole picture.
        let whole = |side: u32, all: u16, shown: u32| {
            u32::try_from(u64::from(side) * u64::from(all) / u64::from(shown)).unwrap_or(side)
        };
        let [width, height] = track.display;
        track.display = [whole(width, first.width, crop.width), whole(height, first.height, crop.height)];
    }
    let mut movie = Mp4 { track, samples };
    let has_keys = match &movie.samples {
        Samples::All(index) => index.has_keys(),
        Samples::Edited(edited) => edited.has_keys(),
        Samples::Fragments(_) => true,
    };
    if !has_keys {
        movie = movie.with_keyframes_of_pictures(known)?;
    }
    Ok(movie)
}

/// The codec of the first track of pictures: of a file that is refused for it.
///
/// # Errors
/// What is missing.
pub fn codec_name(known: &Known) -> Result<Option<String>, Fault> {
    let layout = top_level::find(known)?;
    let moov = known.bytes(layout.moov)?;
    known.budget().spend(moov.len() as u64 / PARSED_PER_STEP)?;
    Ok(movie::codec_name(&moov))
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
    let sample_entry::Entry::Known(picture) = sample_entry::read(kind, &body, &[true]) else { return None };
    let bytes = picture.to_bytes();
    // What is damaged is left out of an entry.
    bytes.windows(4).any(|word| word == configuration).then_some(bytes)
}

/// The samples of a file, and what follows from them.
struct Found {
    samples: Samples,
    /// When nothing more is shown, and when nothing more is heard, in ticks.
    last_tick: i64,
    sound_tick: i64,
    fps: f64,
}

/// Pictures a second, of so many in so many ticks.
fn rate(count: usize, ticks: i64, timescale: u32) -> f64 {
    if ticks > 0 { count as f64 * f64::from(timescale) / ticks as f64 } else { 0.0 }
}

/// The samples of a file whose tables tell all of them.
fn progressive(known: &Known, movie: &movie::Movie<'_>) -> Result<Found, Fault> {
    let chosen = &movie.chosen;
    let shown = edit_list::read(chosen.elst, chosen.timescale, (movie.timescale, movie.wait), false)?;
    let read = sample_table::read(chosen.stbl, &movie.entries, known)?;
    // What was cut off is as long as its pictures.
    let sound_tick = if read.cut { 0 } else { sound(movie, known.total()) };
    let found = all(
        Run { index: read.index, clock: 0, last: read.last, count: read.count, ticks: read.ticks },
        &shown,
        chosen,
        known,
    )?;
    Ok(Found { sound_tick, ..found })
}

/// When nothing more is heard, in ticks of the shown track; not later than the movie says that it ends.
fn sound(movie: &movie::Movie<'_>, total: u64) -> i64 {
    let to = movie.chosen.timescale;
    let end = |trak: &movie::Trak<'_>| {
        let ticks = sample_table::ticks(trak.stbl, total)?;
        let end = edit_list::end(trak.elst, trak.timescale, (movie.timescale, movie.wait), ticks);
        Some(edit_list::rescale(u64::try_from(end).unwrap_or(0), to, trak.timescale))
    };
    let told = edit_list::rescale(movie.length.saturating_sub(movie.wait), to, movie.timescale);
    let last = movie.heard.iter().filter_map(end).max().unwrap_or(0);
    if told > 0 { last.min(told) } else { last }
}

fn all(run: Run, shown: &[Shown], chosen: &movie::Trak<'_>, known: &Known) -> Result<Found, Fault> {
    let Run { mut index, last, count, ticks, .. } = run;
    if index.is_empty() {
        return Err(Fault::Refused(Code::Truncated));
    }
    let fps = rate(count, ticks, chosen.timescale);
    if let [only] = shown {
        index.place(*only, last);
        return Ok(Found {
            last_tick: index.end(),
            samples: Samples::All(Box::new(index)),
            sound_tick: 0,
            fps,
        });
    }
    let edited = Edited::new(index, shown.to_vec(), last, known)?;
    Ok(Found { last_tick: edited.end(), samples: Samples::Edited(Box::new(edited)), sound_tick: 0, fps })
}

impl Mp4 {
    /// The same with keyframes as the coded pictures tell them.
    fn with_keyframes_of_pictures(mut self, known: &Known) -> Result<Self, Fault> {
        match &mut self.samples {
            Samples::All(index) => {
                index.verify(known, self.track.codec, self.track.nal_length())?;
                self.track.keyframes = Some(index.key_times());
                self.track.gradual = index.is_gradual();
            }
            Samples::Edited(edited) => {
                edited.verify(known, self.track.codec, self.track.nal_length())?;
                self.track.keyframes = Some(edited.key_times());
            }
            Samples::Fragments(fragments) => fragments.context.verifies = true,
        }
        Ok(self)
    }

    /// Every sample, in decoding order, if all are known.
    pub fn samples(&self) -> Option<impl Iterator<Item = Sample>> {
        match &self.samples {
            Samples::All(index) => Some(index.samples()),
            Samples::Edited(_) | Samples::Fragments(_) => None,
        }
    }
}

impl Movie for Mp4 {
    fn track(&self) -> &Track {
        &self.track
    }

    fn verified(&self, known: &Known) -> Result<Option<Box<dyn Movie>>, Fault> {
        self.clone().with_keyframes_of_pictures(known).map(|movie| Some(Box::new(movie) as Box<dyn Movie>))
    }

    fn runs(&self, known: &Known, wants: &[Want]) -> Result<Vec<Vec<Sample>>, Fault> {
        let fragments = match &self.samples {
            Samples::All(index) => {
                return wants.iter().map(|want| index.run(*want, known.budget())).collect();
            }
            Samples::Edited(edited) => {
                return wants.iter().map(|want| edited.run(*want, known.budget())).collect();
            }
            Samples::Fragments(fragments) => fragments,
        };
        let (mut search, mut last) = (Search::default(), None);
        let (mut runs, mut missing) = (Vec::with_capacity(wants.len()), Vec::new());
        for want in wants {
            runs.extend(held(fragments.run(known, *want, &mut search, &mut last), &mut missing)?);
        }
        known.within_budget(if missing.is_empty() { Ok(runs) } else { Err(Fault::all_missing(missing)) })
    }
}
