//! Decides what a Flash video tells before its first picture: what its decoder needs, and what its script says.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::buffer::{ReadError, SparseBuffer};
use crate::demux::flv::bisect::{READ_AHEAD_BYTES, TagContent, read_tag};
use crate::demux::flv::tag::{HEADER_BYTES, Tag, TagType, VIDEO_HEADER_BYTES, VideoTag};
use crate::demux::flv::{SCANNED_BYTES_PER_STEP, TagPosition};

/// Where the first tag begins: behind the header, and the size of the tag before it, of which there is none.
const FIRST_TAG_OFFSET: u64 = 13;
/// Where the header says what is in the file, and the bit of pictures.
const FLAGS_OFFSET: u64 = 4;
const VIDEO_FLAG: u8 = 1;
/// The most tags and bytes that are walked over to the first picture.
const MAX_TAGS: usize = 4096;
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The longest script that is read.
const MAX_SCRIPT_BYTES: usize = 1024 * 1024;

/// What is known before the first picture.
#[derive(Debug)]
pub(super) struct FlvHeader {
    pub(super) codec: &'static str,
    /// What the decoder is configured with.
    pub(super) decoder_config: Bytes,
    /// Width and height, as the script says.
    pub(super) size: [u16; 2],
    /// Pictures a second, as the script says; 0 if it does not.
    pub(super) fps: f64,
    /// Whether sound comes before the first picture.
    pub(super) has_audio: bool,
    /// The first keyframe.
    pub(super) first_keyframe: TagPosition,
    /// The time of the first picture, when the film begins.
    pub(super) start_ms: i64,
}

/// Reads as far as to the first keyframe.
///
/// # Errors
/// What is missing; [`Code::Truncated`] where the file ends before the pictures that its header promises;
/// [`ReadError::Unsupported`] where the relay has to read the file.
pub(super) fn read(buffer: &SparseBuffer) -> Result<FlvHeader, ReadError> {
    let (mut at, mut start_ms) = (FIRST_TAG_OFFSET, None);
    let (mut has_audio, mut has_video) = (false, false);
    let (mut script, mut decoder_config) = (ScriptData::default(), None);
    for _ in 0..MAX_TAGS {
        let Some(TagContent { tag, video: picture }) = read_tag(buffer, at, READ_AHEAD_BYTES)? else {
            if !has_video && has_video_flag(buffer)? && is_truncated_at(buffer, at)? {
                return Err(ReadError::Rejected(Code::Truncated));
            }
            break;
        };
        has_video |= tag.tag_type == TagType::Video;
        let body = at + HEADER_BYTES as u64;
        let time = tag.time_ms.cast_signed();
        // What only configures has any time, often none.
        if matches!(picture, VideoTag::CodedFrame { .. }) {
            start_ms.get_or_insert(time);
        }
        match (tag.tag_type, picture) {
            (TagType::Audio, _) => has_audio = true,
            (TagType::Script, _) if tag.body_bytes <= MAX_SCRIPT_BYTES => {
                buffer.budget().spend(tag.body_bytes as u64 / SCANNED_BYTES_PER_STEP)?;
                script.parse(&buffer.get(body..body + tag.body_bytes as u64)?);
            }
            (_, VideoTag::SequenceHeader(codec, from)) => {
                let record =
                    buffer.get(body + from.min(tag.body_bytes) as u64..body + tag.body_bytes as u64)?;
                decoder_config.get_or_insert((codec, record));
            }
            (_, VideoTag::Unsupported) => {
                return Err(ReadError::Unsupported("a codec that is not put into a digest"));
            }
            (_, VideoTag::CodedFrame { is_key: true, .. }) => {
                let first = TagPosition { offset: at, time_ms: time };
                let Some((codec, record)) = decoder_config else { break };
                let size = script.size().ok_or(ReadError::Unsupported("no size is told"))?;
                let start_ms = start_ms.unwrap_or(time);
                return Ok(FlvHeader {
                    codec,
                    decoder_config: record,
                    size,
                    fps: script.fps(),
                    has_audio,
                    first_keyframe: first,
                    start_ms,
                });
            }
            _ => {}
        }
        at += tag.total_bytes() as u64;
        if at > MAX_BYTES {
            break;
        }
    }
    Err(ReadError::Unsupported("no configured picture at the beginning"))
}

/// Whether the header says that there are pictures.
fn has_video_flag(buffer: &SparseBuffer) -> Result<bool, ReadError> {
    let flags = buffer.get(FLAGS_OFFSET..FLAGS_OFFSET + 1)?;
    Ok(flags.first().is_some_and(|flags| flags & VIDEO_FLAG != 0))
}

/// Whether the file ends at `at` or within the tag that begins there. Of a tag of pictures as much may be there as ffmpeg
/// can show, if its codec is not read here.
fn is_truncated_at(buffer: &SparseBuffer, at: u64) -> Result<bool, ReadError> {
    let end = at.saturating_add((HEADER_BYTES + VIDEO_HEADER_BYTES) as u64).min(buffer.total_bytes());
    if at >= end {
        return Ok(true);
    }
    let bytes = buffer.get(at..end)?;
    let Some(tag) = Tag::parse(&bytes) else { return Ok(bytes.len() < HEADER_BYTES) };
    let is_unsupported = tag.tag_type == TagType::Video
        && VideoTag::parse(bytes.get(HEADER_BYTES..).unwrap_or_default()) == VideoTag::Unsupported;
    Ok(!is_unsupported && at + (HEADER_BYTES + tag.body_bytes) as u64 > buffer.total_bytes())
}

/// Facts of the script: numbers by their names, in AMF 0.
#[derive(Debug, Default)]
struct ScriptData {
    width: Option<f64>,
    height: Option<f64>,
    frame_rate: Option<f64>,
}

impl ScriptData {
    fn parse(&mut self, body: &[u8]) {
        self.width = self.width.or(find_number(body, b"\0\x05width\0"));
        self.height = self.height.or(find_number(body, b"\0\x06height\0"));
        self.frame_rate = self.frame_rate.or(find_number(body, b"\0\x09framerate\0"));
    }

    fn size(&self) -> Option<[u16; 2]> {
        let side = |side: Option<f64>| {
            side.filter(|side| (1.0..=f64::from(limits::MAX_DIMENSION)).contains(side))
                .map(|side| side as u16)
        };
        Some([side(self.width)?, side(self.height)?])
    }

    fn fps(&self) -> f64 {
        self.frame_rate.filter(|rate| (1.0..=1000.0).contains(rate)).unwrap_or(0.0)
    }
}

/// The number behind a property's name and the mark of numbers.
fn find_number(body: &[u8], name: &[u8]) -> Option<f64> {
    let at = body.windows(name.len()).position(|window| window == name)? + name.len();
    body.get(at..)?.first_chunk().map(|bytes| f64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_numbers_by_name() {
        let property = |name: &str, value: f64| {
            [&(name.len() as u16).to_be_bytes()[..], name.as_bytes(), &[0], &value.to_be_bytes()].concat()
        };
        let mut script = ScriptData::default();
        script.parse(
            &[property("width", 1280.0), property("height", 720.0), property("framerate", 30.0)].concat(),
        );
        assert_eq!((script.size(), script.fps()), (Some([1280, 720]), 30.0));
        let mut odd = ScriptData::default();
        odd.parse(
            &[property("width", f64::NAN), property("height", 720.0), property("framerate", -1.0)].concat(),
        );
        assert_eq!((odd.size(), odd.fps()), (None, 0.0));
        let mut cut = ScriptData::default();
        cut.parse(&[&property("height", 720.0)[..], b"\0\x05width\0\x40"].concat());
        assert_eq!((cut.size(), cut.height), (None, Some(720.0)));
    }
}
