//! Reads the beginning of a Flash video, up to the first keyframe: the decoder configuration and the script data.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::buffer::SparseBuffer;
use crate::demux::error::ReadError;
use crate::demux::flv::bisect::{READ_AHEAD_BYTES, TagContent, read_tag};
use crate::demux::flv::tag::{HEADER_BYTES, Tag, TagType, VIDEO_HEADER_BYTES, VideoTag};
use crate::demux::flv::{SCANNED_BYTES_PER_STEP, TagPosition};

/// Offset of the first tag: after the header and the size of the previous tag, which is always 0.
pub(super) const FIRST_TAG_OFFSET: u64 = 13;
/// Offset of the header's flags, and the flag for video.
const FLAGS_OFFSET: u64 = 4;
const VIDEO_FLAG: u8 = 1;
/// The most bytes that are read to find the first frame.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The same if the header announces video, and none was found yet: one hour of audio.
const MAX_ANNOUNCED_BYTES: u64 = 64 * 1024 * 1024;
/// The longest script tag that is read.
const MAX_SCRIPT_BYTES: usize = 1024 * 1024;

/// What was found before the first keyframe.
#[derive(Debug)]
pub(super) struct FlvHeader {
    pub(super) codec: &'static str,
    /// The decoder configuration.
    pub(super) decoder_config: Bytes,
    /// Width and height from the script data.
    pub(super) size: [u16; 2],
    /// Frames per second from the script data; 0 if missing.
    pub(super) fps: f64,
    /// Whether there is audio before the first frame.
    pub(super) has_audio: bool,
    /// The first keyframe.
    pub(super) first_keyframe: TagPosition,
    /// The time of the first frame, at which the video starts.
    pub(super) start_ms: i64,
}

/// Reads up to the first keyframe.
///
/// # Errors
/// The bytes that are missing; [`Code::Truncated`] if the video that the header announces is missing;
/// [`ReadError::Unsupported`] if ffmpeg has to read the file.
pub(super) fn read(buffer: &SparseBuffer) -> Result<FlvHeader, ReadError> {
    let (mut at, mut start_ms) = (FIRST_TAG_OFFSET, None);
    let (mut has_audio, mut has_video) = (false, false);
    let (mut script, mut decoder_config) = (ScriptData::default(), None);
    loop {
        // The further the search is, the more bytes are read in one round trip.
        let Some(TagContent { tag, video: picture }) = read_tag(buffer, at, READ_AHEAD_BYTES.max(at))? else {
            if !has_video && has_video_flag(buffer)? && is_truncated_at(buffer, at)? {
                return Err(ReadError::Rejected(Code::Truncated));
            }
            break;
        };
        has_video |= tag.tag_type == TagType::Video;
        let body = at + HEADER_BYTES as u64;
        let time = tag.time_ms.cast_signed();
        // The time of a decoder configuration is arbitrary, and often 0.
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
                return Err(ReadError::Unsupported("codec is not supported in an excerpt"));
            }
            (_, VideoTag::CodedFrame { is_key: true, .. }) => {
                let first = TagPosition { offset: at, time_ms: time };
                let Some((codec, record)) = decoder_config else { break };
                let size = script.size().ok_or(ReadError::Unsupported("no frame size in the script data"))?;
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
        if at > MAX_BYTES && !has_video_flag(buffer)? || at > MAX_ANNOUNCED_BYTES && has_video {
            break;
        }
        if at > MAX_ANNOUNCED_BYTES {
            return Err(ReadError::Rejected(Code::Truncated));
        }
    }
    Err(ReadError::Unsupported("no frame with a decoder configuration at the beginning"))
}

/// Whether the header announces video.
fn has_video_flag(buffer: &SparseBuffer) -> Result<bool, ReadError> {
    let flags = buffer.get(FLAGS_OFFSET..FLAGS_OFFSET + 1)?;
    Ok(flags.first().is_some_and(|flags| flags & VIDEO_FLAG != 0))
}

/// Whether the file ends at `at` or within the tag that starts there. A truncated video tag of an unsupported codec
/// does not count: ffmpeg may be able to show its beginning.
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

/// Script data: numbers by name, in AMF 0.
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

/// The number after a property's name and the type marker for numbers.
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
