//! Demuxes Flash video (FLV): Adobe Flash Video File Format Specification 10.1, annex E. Stream recorders write such
//! files, hours long and without an index.
//!
//! Small files are read completely. In large files, times are found by bisection, since reading can start at any tag.
//! H.264, HEVC and AV1 are supported; older codecs are left to ffmpeg.

mod audio;
mod bisect;
mod header;
pub mod tag;

use std::ops::Range;

use bytes::Bytes;
use glimpse_contract::limits;

use crate::demux::audio::AudioRun;
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Demuxer, IDENTITY_MATRIX, Sample, SampleRequest, Track, nal_length_size};
use crate::demux::error::ReadError;
use crate::demux::flv::bisect::{FlvSeeker, ReadUntil};
use crate::demux::flv::tag::TagType;
use crate::demux::index::{PresentedSpan, SampleIndex};
use crate::demux::mp4;

/// Ticks per second: tag times are in milliseconds.
const TIMESCALE: u32 = 1000;
/// Files up to this size are read completely.
const READ_WHOLE_BYTES: u64 = 8 * 1024 * 1024;
/// How many bytes at the end are searched for the last frame.
const TAIL_WINDOWS: [u64; 3] = [256 << 10, 1 << 20, 4 << 20];
/// Duration of a frame if the frame rate is unknown, in milliseconds.
const DEFAULT_FRAME_MS: i64 = 40;
/// Bytes that are searched for tags in one step. Each byte may be the start of a tag.
const SCANNED_BYTES_PER_STEP: u64 = 4;

/// A file whose header was read.
#[derive(Debug, Clone)]
pub struct Flv {
    track: Track,
    samples: FlvSamples,
    /// The time at which the presentation starts.
    start_ms: i64,
}

#[derive(Debug, Clone)]
enum FlvSamples {
    All(SampleIndex),
    /// A large file, whose samples are searched on request.
    OnDemand(FlvSeeker),
}

/// The offset of a video tag and its decoding time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TagPosition {
    offset: u64,
    time_ms: i64,
}

/// Reads the header and the end of a file.
///
/// # Errors
/// The bytes that are missing, or the reason why the file is left to ffmpeg.
pub fn open(buffer: &SparseBuffer) -> Result<Flv, ReadError> {
    buffer.check_budget(open_with_limit(buffer, READ_WHOLE_BYTES))
}

/// Like [`open`], but searches by bisection as in a large file, regardless of the size.
///
/// # Errors
/// See [`open`].
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
    let entry = entry.ok_or(ReadError::Unsupported("codec configuration is not understood"))?;
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
        let last_audio = tag::last_audio_time_ms(&buffer.get(0..total)?).map(u64::cast_signed);
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
            return Err(ReadError::Unsupported("timestamps restart"));
        }
        let end = seeker.end.time_ms - header.start_ms;
        (FlvSamples::OnDemand(seeker), end, file_tail.last_audio_ms, None)
    };
    // Audio after the last frame is played.
    let duration = video_end.max(audio_end.map_or(0, |time| time.saturating_sub(header.start_ms)));
    if duration > limits::MAX_DURATION_MS.cast_signed() {
        return Err(ReadError::Unsupported("implausible duration"));
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
    Ok(Flv { track, samples, start_ms: header.start_ms })
}

/// What was found at the end of a file.
struct FlvTail {
    last_video: TagPosition,
    /// Start of the last audio tag.
    last_audio_ms: Option<i64>,
    /// Frames per second; 0 if there are too few.
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
            last_audio_ms: tag::last_audio_time_ms(&bytes).map(u64::cast_signed),
            fps: if span > 0 { (pictures.len() - 1) as f64 * 1000.0 / span as f64 } else { 0.0 },
        });
    }
    Err(ReadError::Unsupported("no video tag near the end"))
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

    fn find_audio(&self, buffer: &SparseBuffer, range_ms: Range<u64>) -> Result<Option<AudioRun>, ReadError> {
        let seeker = match &self.samples {
            FlvSamples::All(_) => None,
            FlvSamples::OnDemand(seeker) => Some(seeker),
        };
        buffer.check_budget(audio::read(buffer, seeker, self.start_ms, range_ms))
    }
}
