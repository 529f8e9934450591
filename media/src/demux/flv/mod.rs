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

use crate::demux::buffer::{ReadError, SparseBuffer};
use crate::demux::demuxer::{Demuxer, IDENTITY_MATRIX, Sample, SampleRequest, Track, nal_length_size};
use crate::demux::flv::bisect::{FlvSeeker, ReadUntil};
use crate::demux::flv::tag::TagType;
use crate::demux::index::{PresentedSpan, SampleIndex};
use crate::demux::mp4;

/// Ticks a second: a tag's time is in milliseconds.
const TIMESCALE: u32 = 1000;
/// Up to this size a file is read whole.
const READ_WHOLE_BYTES: u64 = 8 * 1024 * 1024;
/// How much of the end is looked at for the last picture.
const TAIL_WINDOWS: [u64; 3] = [256 << 10, 1 << 20, 4 << 20];
/// How long a picture is shown where nothing tells, in milliseconds.
const DEFAULT_FRAME_MS: i64 = 40;
/// The bytes in which tags are looked for in one step: each of them may be the first of one.
const SCANNED_BYTES_PER_STEP: u64 = 4;

/// A file whose head was read.
#[derive(Debug, Clone)]
pub struct Flv {
    track: Track,
    samples: FlvSamples,
}

#[derive(Debug, Clone)]
enum FlvSamples {
    All(SampleIndex),
    /// So many that they are looked for when they are wanted.
    OnDemand(FlvSeeker),
}

/// A picture, and when it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TagPosition {
    offset: u64,
    time_ms: i64,
}

/// Reads the head of a file, and its end.
///
/// # Errors
/// What is missing, or why the file is left to the relay.
pub fn open(buffer: &SparseBuffer) -> Result<Flv, ReadError> {
    buffer.check_budget(open_with_limit(buffer, READ_WHOLE_BYTES))
}

/// As [`open`], with moments searched for as in a large file, however small it is.
///
/// # Errors
/// As [`open`].
pub fn open_by_bisection(buffer: &SparseBuffer) -> Result<Flv, ReadError> {
    buffer.check_budget(open_with_limit(buffer, 0))
}

fn open_with_limit(buffer: &SparseBuffer, read_whole_bytes: u64) -> Result<Flv, ReadError> {
    let total = buffer.total_bytes();
    if total <= read_whole_bytes {
        buffer.get(0..total)?;
    }
    let header = header::read(buffer)?;
    let entry = mp4::write_sample_entry(header.codec, header.size, &header.decoder_config);
    let entry = entry.ok_or(ReadError::Unsupported("a configuration that is not understood"))?;
    let (codec, mut has_audio, mut fps) = (header.codec, header.has_audio, header.fps);
    let entries = vec![entry];
    let mut seeker = FlvSeeker {
        codec,
        nal_length_size: nal_length_size(&entries),
        verify_keyframes: false,
        span: PresentedSpan {
            media_start: header.start_ms,
            media_end: i64::MAX,
            presentation_start: 0,
            starts_at_frame: false,
        },
        first_keyframe: header.first_keyframe,
        end: TagPosition { offset: total, time_ms: i64::MAX },
        frame_ms: if fps > 0.0 { (1000.0 / fps) as i64 } else { DEFAULT_FRAME_MS },
        decoder_config: header.decoder_config,
    };
    let (samples, video_end, audio_end, keyframes) = if total <= read_whole_bytes {
        let mut index = seeker.read_samples(buffer, header.first_keyframe, ReadUntil::End)?;
        if fps == 0.0 {
            fps = index.frame_rate(TIMESCALE);
        }
        buffer.budget().spend(total / SCANNED_BYTES_PER_STEP)?;
        let last_audio = last_audio_time(&buffer.get(0..total)?);
        has_audio |= last_audio.is_some();
        index.map_to_presentation(seeker.span, seeker.frame_ms);
        let (end, keyframes) = (index.end().max(0), index.key_times());
        (FlvSamples::All(index), end, last_audio, Some(keyframes))
    } else {
        let file_tail = read_tail(buffer)?;
        has_audio |= file_tail.last_audio_ms.is_some();
        if fps == 0.0 {
            fps = file_tail.fps;
        }
        seeker.end = TagPosition {
            time_ms: file_tail.last_video.time_ms.saturating_add(seeker.frame_ms),
            ..file_tail.last_video
        };
        if seeker.end.time_ms <= header.first_keyframe.time_ms {
            return Err(ReadError::Unsupported("times that begin anew"));
        }
        let end = seeker.end.time_ms - header.start_ms;
        (FlvSamples::OnDemand(seeker), end, file_tail.last_audio_ms, None)
    };
    // Sound that goes on behind the last picture is played.
    let duration = video_end.max(audio_end.map_or(0, |time| time.saturating_sub(header.start_ms)));
    if duration > limits::MAX_DURATION_MS.cast_signed() {
        return Err(ReadError::Unsupported("a length that is hardly meant"));
    }
    let track = Track {
        codec,
        timescale: TIMESCALE,
        sample_entries: entries,
        matrix: IDENTITY_MATRIX,
        display_size: [0; 2],
        duration,
        video_start: 0,
        video_end,
        fps,
        sample_prefix: Bytes::new(),
        has_audio,
        keyframes,
        is_intra_refresh: false,
        crop: None,
        dolby_vision: None,
    };
    Ok(Flv { track, samples })
}

/// What the end of a file tells.
struct FlvTail {
    last_video: TagPosition,
    /// When the last sound begins.
    last_audio_ms: Option<i64>,
    /// Pictures a second; 0 if there are too few.
    fps: f64,
}

fn read_tail(buffer: &SparseBuffer) -> Result<FlvTail, ReadError> {
    let total = buffer.total_bytes();
    for length in TAIL_WINDOWS {
        let from = total.saturating_sub(length);
        let bytes = buffer.get(from..total)?;
        buffer.budget().spend(2 * bytes.len() as u64 / SCANNED_BYTES_PER_STEP)?;
        let pictures: Vec<TagPosition> = tag::find_tags(&bytes)
            .filter(|(_, tag)| tag.tag_type == TagType::Video)
            .map(|(at, tag)| TagPosition { offset: from + at as u64, time_ms: tag.time_ms.cast_signed() })
            .collect();
        let Some((first, last)) = pictures.first().zip(pictures.last()) else { continue };
        let span = last.time_ms - first.time_ms;
        return Ok(FlvTail {
            last_video: *last,
            last_audio_ms: last_audio_time(&bytes),
            fps: if span > 0 { (pictures.len() - 1) as f64 * 1000.0 / span as f64 } else { 0.0 },
        });
    }
    Err(ReadError::Unsupported("no picture near the end"))
}

/// When the last sound among these bytes begins, in milliseconds.
fn last_audio_time(bytes: &[u8]) -> Option<i64> {
    tag::find_tags(bytes)
        .filter(|(_, tag)| tag.tag_type == TagType::Audio)
        .map(|(_, tag)| tag.time_ms.cast_signed())
        .last()
}

impl Demuxer for Flv {
    fn track(&self) -> &Track {
        &self.track
    }

    fn with_verified_keyframes(&self, buffer: &SparseBuffer) -> Result<Option<Box<dyn Demuxer>>, ReadError> {
        let mut demuxer = self.clone();
        match &mut demuxer.samples {
            FlvSamples::All(index) => {
                index.verify_keyframes(buffer, demuxer.track.codec, demuxer.track.nal_length_size())?;
                demuxer.track.keyframes = Some(index.key_times());
                demuxer.track.is_intra_refresh = index.is_intra_refresh();
            }
            FlvSamples::OnDemand(finder) => finder.verify_keyframes = true,
        }
        Ok(Some(Box::new(demuxer)))
    }

    fn find_samples(
        &self,
        buffer: &SparseBuffer,
        requests: &[SampleRequest],
    ) -> Result<Vec<Vec<Sample>>, ReadError> {
        match &self.samples {
            FlvSamples::All(index) => {
                requests.iter().map(|want| index.find_samples(*want, buffer.budget())).collect()
            }
            FlvSamples::OnDemand(finder) => buffer.check_budget(finder.find_samples(buffer, requests)),
        }
    }
}
