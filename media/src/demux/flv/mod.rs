//! Decides what a Flash video shows and where it lies, by its tags: Adobe Flash Video File Format Specification 10.1,
//! annex E. Recorders of streams write such files, of hours, and without an index.
//!
//! A small file is read whole; in a large one moments are searched for, which any tag leads to. H.264, HEVC and AV1 are
//! read here; what is older is left to ffmpeg.

mod bisect;
mod header;
pub mod tag;

use bytes::Bytes;
use glimpse_contract::limits;

use crate::demux::buffer::{Fault, Known};
use crate::demux::demuxer::{Movie, Sample, Track, UPRIGHT, Want, nal_length};
use crate::demux::flv::bisect::{Finder, Stop};
use crate::demux::flv::tag::Kind;
use crate::demux::index::{Index, Shown};
use crate::demux::mp4;

/// Ticks a second: a tag's time is in milliseconds.
const TIMESCALE: u32 = 1000;
/// Up to this size a file is read whole.
const WHOLE: u64 = 8 * 1024 * 1024;
/// How much of the end is looked at for the last picture.
const TAILS: [u64; 3] = [256 << 10, 1 << 20, 4 << 20];
/// How long a picture is shown where nothing tells, in milliseconds.
const PICTURE_MS: i64 = 40;
/// The bytes in which tags are looked for in one step: each of them may be the first of one.
const SCANNED_PER_STEP: u64 = 4;

/// A file whose head was read.
#[derive(Debug, Clone)]
pub struct Flv {
    track: Track,
    samples: Samples,
}

#[derive(Debug, Clone)]
enum Samples {
    All(Index),
    /// So many that they are looked for when they are wanted.
    Searched(Finder),
}

/// A picture, and when it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    at: u64,
    time: i64,
}

/// Reads the head of a file, and its end.
///
/// # Errors
/// What is missing, or why the file is left to the relay.
pub fn open(known: &Known) -> Result<Flv, Fault> {
    known.within_budget(open_within(known, WHOLE))
}

/// As [`open`], with moments searched for as in a large file, however small it is.
///
/// # Errors
/// As [`open`].
pub fn open_searching(known: &Known) -> Result<Flv, Fault> {
    known.within_budget(open_within(known, 0))
}

fn open_within(known: &Known, whole: u64) -> Result<Flv, Fault> {
    let total = known.total();
    if total <= whole {
        known.bytes(0..total)?;
    }
    let head = header::read(known)?;
    let entry = mp4::sample_entry(head.codec, head.size, &head.record);
    let entry = entry.ok_or(Fault::Foreign("a configuration that is not understood"))?;
    let (codec, mut has_audio, mut fps) = (head.codec, head.has_audio, head.fps);
    let entries = vec![entry];
    let mut finder = Finder {
        codec,
        nal_length: nal_length(&entries),
        verifies: false,
        shown: Shown { from: head.zero, until: i64::MAX, at: 0, to_picture: false },
        first: head.first,
        end: Place { at: total, time: i64::MAX },
        picture: if fps > 0.0 { (1000.0 / fps) as i64 } else { PICTURE_MS },
        record: head.record,
    };
    let (samples, picture_end, sound_end, keyframes) = if total <= whole {
        let mut index = finder.gather(known, head.first, Stop::End)?;
        if fps == 0.0 {
            fps = index.rate(TIMESCALE);
        }
        known.budget().spend(total / SCANNED_PER_STEP)?;
        let sound = last_sound(&known.bytes(0..total)?);
        has_audio |= sound.is_some();
        index.place(finder.shown, finder.picture);
        let (end, keyframes) = (index.end().max(0), index.key_times());
        (Samples::All(index), end, sound, Some(keyframes))
    } else {
        let tail = tail(known)?;
        has_audio |= tail.sound.is_some();
        if fps == 0.0 {
            fps = tail.fps;
        }
        finder.end = Place { time: tail.last.time.saturating_add(finder.picture), ..tail.last };
        if finder.end.time <= head.first.time {
            return Err(Fault::Foreign("times that begin anew"));
        }
        let end = finder.end.time - head.zero;
        (Samples::Searched(finder), end, tail.sound, None)
    };
    // Sound that goes on behind the last picture is played.
    let duration = picture_end.max(sound_end.map_or(0, |time| time.saturating_sub(head.zero)));
    if duration > limits::MAX_DURATION_MS.cast_signed() {
        return Err(Fault::Foreign("a length that is hardly meant"));
    }
    let track = Track {
        codec,
        timescale: TIMESCALE,
        entries,
        matrix: UPRIGHT,
        display: [0; 2],
        duration,
        picture_begin: 0,
        picture_end,
        fps,
        prefix: Bytes::new(),
        has_audio,
        keyframes,
        gradual: false,
        crop: None,
        dolby_vision: None,
    };
    Ok(Flv { track, samples })
}

/// What the end of a file tells.
struct Tail {
    last: Place,
    /// When the last sound begins.
    sound: Option<i64>,
    /// Pictures a second; 0 if there are too few.
    fps: f64,
}

fn tail(known: &Known) -> Result<Tail, Fault> {
    let total = known.total();
    for length in TAILS {
        let from = total.saturating_sub(length);
        let bytes = known.bytes(from..total)?;
        known.budget().spend(2 * bytes.len() as u64 / SCANNED_PER_STEP)?;
        let pictures: Vec<Place> = tag::tags(&bytes)
            .filter(|(_, tag)| tag.kind == Kind::Video)
            .map(|(at, tag)| Place { at: from + at as u64, time: tag.time_ms.cast_signed() })
            .collect();
        let Some((first, last)) = pictures.first().zip(pictures.last()) else { continue };
        let span = last.time - first.time;
        return Ok(Tail {
            last: *last,
            sound: last_sound(&bytes),
            fps: if span > 0 { (pictures.len() - 1) as f64 * 1000.0 / span as f64 } else { 0.0 },
        });
    }
    Err(Fault::Foreign("no picture near the end"))
}

/// When the last sound among these bytes begins, in milliseconds.
fn last_sound(bytes: &[u8]) -> Option<i64> {
    tag::tags(bytes)
        .filter(|(_, tag)| tag.kind == Kind::Sound)
        .map(|(_, tag)| tag.time_ms.cast_signed())
        .last()
}

impl Movie for Flv {
    fn track(&self) -> &Track {
        &self.track
    }

    fn verified(&self, known: &Known) -> Result<Option<Box<dyn Movie>>, Fault> {
        let mut movie = self.clone();
        match &mut movie.samples {
            Samples::All(index) => {
                index.verify(known, movie.track.codec, movie.track.nal_length())?;
                movie.track.keyframes = Some(index.key_times());
                movie.track.gradual = index.is_gradual();
            }
            Samples::Searched(finder) => finder.verifies = true,
        }
        Ok(Some(Box::new(movie)))
    }

    fn runs(&self, known: &Known, wants: &[Want]) -> Result<Vec<Vec<Sample>>, Fault> {
        match &self.samples {
            Samples::All(index) => wants.iter().map(|want| index.run(*want, known.budget())).collect(),
            Samples::Searched(finder) => known.within_budget(finder.runs(known, wants)),
        }
    }
}
