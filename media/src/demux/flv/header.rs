//! Decides what a Flash video tells before its first picture: what its decoder needs, and what its script says.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::buffer::{Fault, Known};
use crate::demux::flv::bisect::{AHEAD, Seen, look};
use crate::demux::flv::tag::{HEAD_BYTES, Kind, LOOK_BYTES, Picture, Tag};
use crate::demux::flv::{Place, SCANNED_PER_STEP};

/// Where the first tag begins: behind the header, and the size of the tag before it, of which there is none.
const FIRST: u64 = 13;
/// Where the header says what is in the file, and the bit of pictures.
const FLAGS: u64 = 4;
const VIDEO_FLAG: u8 = 1;
/// The most tags and bytes that are walked over to the first picture.
const MAX_TAGS: usize = 4096;
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The longest script that is read.
const MAX_SCRIPT: usize = 1024 * 1024;

/// What is known before the first picture.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) codec: &'static str,
    /// What the decoder is configured with.
    pub(super) record: Bytes,
    /// Width and height, as the script says.
    pub(super) size: [u16; 2],
    /// Pictures a second, as the script says; 0 if it does not.
    pub(super) fps: f64,
    /// Whether sound comes before the first picture.
    pub(super) has_audio: bool,
    /// The first keyframe.
    pub(super) first: Place,
    /// The time of the first picture, when the film begins.
    pub(super) zero: i64,
}

/// Reads as far as to the first keyframe.
///
/// # Errors
/// What is missing; [`Code::Truncated`] where the file ends before the pictures that its header promises;
/// [`Fault::Foreign`] where the relay has to read the file.
pub(super) fn read(known: &Known) -> Result<Head, Fault> {
    let (mut at, mut zero) = (FIRST, None);
    let (mut has_audio, mut has_video) = (false, false);
    let (mut script, mut configuration) = (Script::default(), None);
    for _ in 0..MAX_TAGS {
        let Some(Seen { tag, picture }) = look(known, at, AHEAD)? else {
            if !has_video && is_promised(known)? && is_end(known, at)? {
                return Err(Fault::Refused(Code::Truncated));
            }
            break;
        };
        has_video |= tag.kind == Kind::Video;
        let body = at + HEAD_BYTES as u64;
        let time = tag.time_ms.cast_signed();
        // What only configures has any time, often none.
        if matches!(picture, Picture::Coded { .. }) {
            zero.get_or_insert(time);
        }
        match (tag.kind, picture) {
            (Kind::Sound, _) => has_audio = true,
            (Kind::Script, _) if tag.size <= MAX_SCRIPT => {
                known.budget().spend(tag.size as u64 / SCANNED_PER_STEP)?;
                script.read(&known.bytes(body..body + tag.size as u64)?);
            }
            (_, Picture::Configuration(codec, from)) => {
                let record = known.bytes(body + from.min(tag.size) as u64..body + tag.size as u64)?;
                configuration.get_or_insert((codec, record));
            }
            (_, Picture::Foreign) => return Err(Fault::Foreign("a codec that is not put into a digest")),
            (_, Picture::Coded { key: true, .. }) => {
                let first = Place { at, time };
                let Some((codec, record)) = configuration else { break };
                let size = script.size().ok_or(Fault::Foreign("no size is told"))?;
                let zero = zero.unwrap_or(time);
                return Ok(Head { codec, record, size, fps: script.fps(), has_audio, first, zero });
            }
            _ => {}
        }
        at += tag.length() as u64;
        if at > MAX_BYTES {
            break;
        }
    }
    Err(Fault::Foreign("no configured picture at the beginning"))
}

/// Whether the header says that there are pictures.
fn is_promised(known: &Known) -> Result<bool, Fault> {
    let flags = known.bytes(FLAGS..FLAGS + 1)?;
    Ok(flags.first().is_some_and(|flags| flags & VIDEO_FLAG != 0))
}

/// Whether the file ends at `at` or within the tag that begins there. Of a tag of pictures as much may be there as ffmpeg
/// can show, if its codec is not read here.
fn is_end(known: &Known, at: u64) -> Result<bool, Fault> {
    let end = at.saturating_add((HEAD_BYTES + LOOK_BYTES) as u64).min(known.total());
    if at >= end {
        return Ok(true);
    }
    let bytes = known.bytes(at..end)?;
    let Some(tag) = Tag::read(&bytes) else { return Ok(bytes.len() < HEAD_BYTES) };
    let is_foreign = tag.kind == Kind::Video
        && Picture::read(bytes.get(HEAD_BYTES..).unwrap_or_default()) == Picture::Foreign;
    Ok(!is_foreign && at + (HEAD_BYTES + tag.size) as u64 > known.total())
}

/// Facts of the script: numbers by their names, in AMF 0.
#[derive(Debug, Default)]
struct Script {
    width: Option<f64>,
    height: Option<f64>,
    rate: Option<f64>,
}

impl Script {
    fn read(&mut self, body: &[u8]) {
        self.width = self.width.or(number(body, b"\0\x05width\0"));
        self.height = self.height.or(number(body, b"\0\x06height\0"));
        self.rate = self.rate.or(number(body, b"\0\x09framerate\0"));
    }

    fn size(&self) -> Option<[u16; 2]> {
        let side = |side: Option<f64>| {
            side.filter(|side| (1.0..=f64::from(limits::MAX_DIMENSION)).contains(side))
                .map(|side| side as u16)
        };
        Some([side(self.width)?, side(self.height)?])
    }

    fn fps(&self) -> f64 {
        self.rate.filter(|rate| (1.0..=1000.0).contains(rate)).unwrap_or(0.0)
    }
}

/// The number behind a property's name and the mark of numbers.
fn number(body: &[u8], name: &[u8]) -> Option<f64> {
    let at = body.windows(name.len()).position(|window| window == name)? + name.len();
    body.get(at..)?.first_chunk().map(|bytes| f64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_found_by_their_names() {
        let fact = |name: &str, value: f64| {
            [&(name.len() as u16).to_be_bytes()[..], name.as_bytes(), &[0], &value.to_be_bytes()].concat()
        };
        let mut script = Script::default();
        script.read(&[fact("width", 1280.0), fact("height", 720.0), fact("framerate", 30.0)].concat());
        assert_eq!((script.size(), script.fps()), (Some([1280, 720]), 30.0));
        let mut odd = Script::default();
        odd.read(&[fact("width", f64::NAN), fact("height", 720.0), fact("framerate", -1.0)].concat());
        assert_eq!((odd.size(), odd.fps()), (None, 0.0));
        let mut cut = Script::default();
        cut.read(&[&fact("height", 720.0)[..], b"\0\x05width\0\x40"].concat());
        assert_eq!((cut.size(), cut.height), (None, Some(720.0)));
    }
}
