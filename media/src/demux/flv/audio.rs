//! Reads the samples of AAC from the tags of a Flash video: Adobe Flash Video File Format Specification 10.1, E.4.2.

use std::ops::Range;

use bytes::Bytes;

use crate::demux::aac;
use crate::demux::audio::{self, AudioRun, AudioSample, AudioTrack, SampleClock};
use crate::demux::budget::STEPS_PER_SAMPLE;
use crate::demux::buffer::SparseBuffer;
use crate::demux::error::ReadError;
use crate::demux::flv::TIMESCALE;
use crate::demux::flv::bisect::{
    FlvSeeker, MAX_READ_AHEAD_BYTES, MAX_RUN_BYTES, MAX_SCAN_BYTES, READ_AHEAD_BYTES, TagContent, read_tag,
};
use crate::demux::flv::header::FIRST_TAG_OFFSET;
use crate::demux::flv::tag::{HEADER_BYTES, TagType};
use crate::demux::mp4;

/// The sound format of AAC, in the high bits of an audio tag's first byte.
const AAC: u8 = 10;
/// The bytes before the data: sound format and packet type.
const AUDIO_HEADER_BYTES: u64 = 2;
/// How many bytes at the beginning are searched for the configuration.
const MAX_CONFIG_SEARCH_BYTES: u64 = 2 << 20;
/// How many milliseconds before the requested time tags are read, and how many of video after it: audio may be stored
/// earlier or later.
const LEAD_MS: i64 = 500;
const LAG_MS: i64 = 2000;

/// An audio tag.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AudioTag {
    /// The decoder configuration.
    Config(Bytes),
    /// A frame, at this range of the source.
    Frame(Range<u64>),
    /// Another codec, or nothing.
    Other,
}

/// Reads the samples of `range_ms`; `None` if there is no AAC. `seeker` searches a large file; `start_ms` is the time at
/// which the presentation starts.
///
/// # Errors
/// The bytes that are missing; [`ReadError::Unsupported`] if the configuration changes.
pub(super) fn read(
    buffer: &SparseBuffer,
    seeker: Option<&FlvSeeker>,
    start_ms: i64,
    range_ms: Range<u64>,
) -> Result<Option<AudioRun>, ReadError> {
    let Some(config) = find_config(buffer)? else { return Ok(None) };
    let (Some(parsed), Some(sample_entry)) = (aac::parse(&config), mp4::write_audio_entry(&config)) else {
        return Ok(None);
    };
    let timescale = parsed.sample_rate;
    let range = audio::ticks_from_ms(range_ms.start, timescale)
        ..audio::ticks_from_ms(range_ms.end, timescale).saturating_add(1);
    let tag_time = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).saturating_add(start_ms);
    let first = match seeker {
        Some(seeker) if range_ms.start.cast_signed() > LEAD_MS => {
            let mut remaining_bytes = MAX_SCAN_BYTES;
            seeker
                .locate(buffer, tag_time(range_ms.start).saturating_sub(LEAD_MS), &mut remaining_bytes)?
                .offset
        }
        _ => FIRST_TAG_OFFSET,
    };
    let mut clock = SampleClock::new(timescale, parsed.frame_samples);
    let mut samples: Vec<AudioSample> = Vec::new();
    let mut at = first;
    let until = tag_time(range_ms.end);
    while at.saturating_sub(first) <= MAX_RUN_BYTES {
        let ahead = ((at - first) / 2).clamp(READ_AHEAD_BYTES, MAX_READ_AHEAD_BYTES);
        let Some(TagContent { tag, .. }) = read_tag(buffer, at, ahead)? else { break };
        let time = tag.time_ms.cast_signed();
        if tag.tag_type == TagType::Audio {
            buffer.budget().spend(STEPS_PER_SAMPLE)?;
            match parse_tag(buffer, at, tag.body_bytes)? {
                AudioTag::Config(other) if other != config => {
                    return Err(ReadError::Unsupported("audio configuration changes"));
                }
                AudioTag::Frame(_) if time >= until => break,
                AudioTag::Frame(data) => {
                    let ticks =
                        time.saturating_sub(start_ms).saturating_mul(timescale.into()) / i64::from(TIMESCALE);
                    // Tags have at most 16 MiB.
                    samples.push(clock.place(data.start, (data.end - data.start) as u32, ticks));
                }
                AudioTag::Config(_) | AudioTag::Other => {}
            }
        } else if tag.tag_type == TagType::Video && time > until.saturating_add(LAG_MS) {
            break;
        }
        at += tag.total_bytes() as u64;
    }
    let samples = audio::select(samples.into_iter(), range);
    Ok(Some(AudioRun { track: AudioTrack { timescale, sample_entry }, samples }))
}

/// The first decoder configuration; `None` if the audio is not AAC.
fn find_config(buffer: &SparseBuffer) -> Result<Option<Bytes>, ReadError> {
    let mut at = FIRST_TAG_OFFSET;
    while at < MAX_CONFIG_SEARCH_BYTES {
        let Some(TagContent { tag, .. }) = read_tag(buffer, at, READ_AHEAD_BYTES)? else { break };
        if tag.tag_type == TagType::Audio {
            match parse_tag(buffer, at, tag.body_bytes)? {
                AudioTag::Config(config) => return Ok(Some(config)),
                AudioTag::Frame(_) => {}
                AudioTag::Other => return Ok(None),
            }
        }
        at += tag.total_bytes() as u64;
    }
    Ok(None)
}

/// Parses the audio tag at `at`.
fn parse_tag(buffer: &SparseBuffer, at: u64, body_bytes: usize) -> Result<AudioTag, ReadError> {
    let body = at + HEADER_BYTES as u64;
    let end = body + body_bytes as u64;
    if (body_bytes as u64) <= AUDIO_HEADER_BYTES {
        return Ok(AudioTag::Other);
    }
    let head = buffer.get(body..body + AUDIO_HEADER_BYTES)?;
    let [format, packet] = head[..] else { return Ok(AudioTag::Other) };
    Ok(match (format >> 4, packet) {
        (AAC, 0) if body_bytes <= aac::MAX_CONFIG_BYTES => {
            AudioTag::Config(buffer.get(body + AUDIO_HEADER_BYTES..end)?)
        }
        (AAC, 1) => AudioTag::Frame(body + AUDIO_HEADER_BYTES..end),
        _ => AudioTag::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
        let [high, time @ ..] = time_ms.to_be_bytes();
        let size = (body.len() as u32).to_be_bytes();
        let foot = (body.len() as u32 + 11).to_be_bytes();
        [&[kind][..], &size[1..], &time, &[high, 0, 0, 0], body, &foot].concat()
    }

    fn buffer(tags: &[Vec<u8>]) -> SparseBuffer {
        let file: Bytes = [vec![0; FIRST_TAG_OFFSET as usize], tags.concat()].concat().into();
        let mut buffer = SparseBuffer::new(file.len() as u64);
        buffer.insert(0, &file);
        buffer
    }

    const CONFIG: &[u8] = &[0xaf, 0, 0x11, 0x90];
    const FRAME: &[u8] = &[0xaf, 1, 7, 7, 7];

    #[test]
    fn reads_frames_of_a_time() {
        let times = [100, 121, 143, 164, 185].map(|time| tag(8, time, FRAME));
        let known = buffer(&[vec![tag(8, 0, CONFIG)], times.to_vec()].concat());
        let run = read(&known, None, 100, 30..60).unwrap().unwrap();
        assert_eq!(run.track.timescale, 48_000);
        let samples: Vec<_> = run.samples.iter().map(|sample| (sample.pts, sample.size)).collect();
        assert_eq!(samples, [(0, 3), (1024, 3), (2048, 3)]);
    }

    #[test]
    fn other_audio_is_left_out() {
        for (name, tags) in [
            ("MP3", vec![tag(8, 0, &[0x2f, 0xff, 0xfb])]),
            ("no audio", vec![]),
            ("no configuration", vec![tag(8, 0, FRAME)]),
            ("empty tag", vec![tag(8, 0, &[0xaf])]),
            ("invalid configuration", vec![tag(8, 0, &[0xaf, 0, 0xff, 0xff])]),
        ] {
            assert_eq!(read(&buffer(&tags), None, 0, 0..1000), Ok(None), "{name}");
        }
        let changed = [tag(8, 0, CONFIG), tag(8, 10, &[0xaf, 0, 0x12, 0x10])];
        assert!(matches!(read(&buffer(&changed), None, 0, 0..1000), Err(ReadError::Unsupported(_))));
    }
}
