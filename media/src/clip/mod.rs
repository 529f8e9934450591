//! Makes clips: a part of a video as an MP4 file of its own. Samples are copied from the source without decoding, or,
//! if that is not possible, frames are encoded. Does no IO.
//!
//! A copied clip begins with the keyframe at or before its start. An edit list hides what precedes the start, so that players
//! begin exactly there, with picture and sound in sync.

mod audio;
mod encoder;
mod video;

pub use encoder::ClipEncoder;

use std::ops::Range;

use bytes::Bytes;
use glimpse_contract::limits;
use thiserror::Error;

use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Demuxer, Track};
use crate::demux::error::ReadError;
use crate::mux::{self, MuxError, MuxTrack};

/// A part of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipRequest {
    /// Start of the part, in milliseconds from the start of the video.
    pub start_ms: u64,
    /// End of the part, exclusive, in milliseconds from the start of the video. The clip ends with the video if that is
    /// earlier.
    pub end_ms: u64,
    /// Whether the clip has the sound of the part.
    pub has_audio: bool,
}

/// A clip: a header, and the bytes of the source that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipPlan {
    /// Everything before the first sample: `ftyp`, `moov`, and the header of `mdat`.
    pub header: Bytes,
    /// The bytes of the source that follow, in this order. Neighbors are merged. Not empty; no range is empty or extends
    /// past the end of the source. They may overlap, and need not ascend.
    pub ranges: Vec<Range<u64>>,
    /// The length of the whole file, in bytes: the header and all ranges.
    pub total_bytes: u64,
    /// Start of what is presented, in milliseconds from the start of the video.
    pub start_ms: u64,
    /// End of what is presented, in milliseconds from the start of the video: the requested one, or that of the video.
    pub end_ms: u64,
    /// Whether the clip has sound.
    pub has_audio: bool,
}

/// A track of a clip, and where its samples are in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipTrack {
    /// The track for the writer of MP4 files.
    pub track: MuxTrack,
    /// The bytes of each sample in the source, in decoding order.
    pub sources: Vec<Range<u64>>,
}

/// Why there is no clip of the requested part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClipError {
    /// The samples cannot be copied: the frames have to be encoded.
    #[error("samples cannot be copied: {0}")]
    Reencode(ReencodeReason),
    /// The part is empty, or begins at or after the end of the video.
    #[error("nothing is shown in the requested part")]
    Empty,
    /// The part has more bytes than are read for one clip.
    #[error("the requested part has too many bytes")]
    TooLarge,
}

/// Why samples cannot be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReencodeReason {
    /// The codec is not H.264.
    #[error("the codec is not H.264")]
    Codec,
    /// A profile that browsers do not decode: more than 8 bits, or other chroma than 4:2:0.
    #[error("browsers do not decode this profile of H.264")]
    Profile,
    /// The samples are not stored as in an MP4: after start codes, or without their first bytes.
    #[error("samples are stored in another format")]
    Format,
    /// The decoder's configuration changes within the part.
    #[error("the decoder configuration changes")]
    Configuration,
    /// There is no keyframe from which the part can be decoded: the index is wrong, or frames are refreshed gradually.
    #[error("no keyframe to begin with")]
    Keyframes,
    /// The part consists of several pieces of the media, which an edit list arranges.
    #[error("an edit list arranges several pieces")]
    Edits,
}

/// Plans a clip of a video. The index of the video was read by `demuxer`; `buffer` has the bytes that are known.
///
/// # Errors
/// The outer error: the bytes that are missing, or why reading cannot continue. The inner error: why there is no clip.
pub fn plan(
    demuxer: &dyn Demuxer,
    buffer: &SparseBuffer,
    request: ClipRequest,
) -> Result<Result<ClipPlan, ClipError>, ReadError> {
    let Some(span) = Span::new(demuxer.track(), request) else { return Ok(Err(ClipError::Empty)) };
    let picture = match video::plan(demuxer, buffer, span)? {
        Ok(picture) => picture,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let sound = if request.has_audio { plan_sound(demuxer, buffer, span)? } else { None };
    Ok(assemble([Some(picture), sound].into_iter().flatten(), span).map_err(|_| ClipError::TooLarge))
}

/// Plans the sound of a clip whose frames are encoded. `None` if none is requested, or none can be copied.
///
/// # Errors
/// The bytes that are missing, or why reading cannot continue.
pub fn plan_audio(
    demuxer: &dyn Demuxer,
    buffer: &SparseBuffer,
    request: ClipRequest,
) -> Result<Option<ClipTrack>, ReadError> {
    match Span::new(demuxer.track(), request) {
        Some(span) if request.has_audio => plan_sound(demuxer, buffer, span),
        _ => Ok(None),
    }
}

/// Plans the sound of a clip. `None` if nothing can be copied: there is no AAC track, or nothing sounds in the part.
fn plan_sound(
    demuxer: &dyn Demuxer,
    buffer: &SparseBuffer,
    span: Span,
) -> Result<Option<ClipTrack>, ReadError> {
    let run = match demuxer.find_audio(buffer, span.start_ms..span.end_ms) {
        // The audio is not read natively, but the video is.
        Err(ReadError::Unsupported(_)) => None,
        other => other?,
    };
    Ok(run.and_then(|run| audio::plan(run, span)))
}

/// The presented part of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start_ms: u64,
    /// Rounded up.
    end_ms: u64,
    /// Duration of the video, in ticks of `timescale`.
    duration: i64,
    timescale: u32,
}

impl Span {
    /// The requested part of a video; `None` if nothing is shown in it.
    fn new(track: &Track, request: ClipRequest) -> Option<Self> {
        let timescale = track.timescale.max(1);
        let duration = if track.duration > 0 { track.duration } else { track.video_end };
        let most = i128::from(limits::MAX_DURATION_MS) * i128::from(timescale) / 1000;
        let duration = if duration > 0 { duration } else { i64::try_from(most).unwrap_or(i64::MAX) };
        let duration_ms = (u128::from(duration.unsigned_abs()) * 1000).div_ceil(u128::from(timescale));
        let duration_ms = u64::try_from(duration_ms).unwrap_or(u64::MAX);
        let end_ms = request.end_ms.min(duration_ms);
        (request.start_ms < end_ms).then_some(Self {
            start_ms: request.start_ms,
            end_ms,
            duration,
            timescale,
        })
    }

    /// The start, in ticks of this timescale.
    fn start(&self, timescale: u32) -> i64 {
        rescale(self.start_ms, timescale, 1000)
    }

    /// The end, in ticks of this timescale: at most the duration of the video, which is no whole number of milliseconds.
    fn end(&self, timescale: u32) -> i64 {
        let end = rescale(self.end_ms, timescale, 1000);
        end.min(rescale(self.duration.unsigned_abs(), timescale, self.timescale))
    }
}

/// Converts ticks from one timescale to another, rounded to the nearest.
fn rescale(ticks: u64, to: u32, from: u32) -> i64 {
    let from = u128::from(from.max(1));
    i64::try_from((u128::from(ticks) * u128::from(to) + from / 2) / from).unwrap_or(i64::MAX)
}

/// The longest duration of a sample: readers take greater numbers for negative ones.
const MAX_SAMPLE_TICKS: u32 = i32::MAX.cast_unsigned();

/// The duration of a sample that is this long.
fn sample_ticks(ticks: i64) -> u32 {
    u32::try_from(ticks.max(0)).unwrap_or(MAX_SAMPLE_TICKS).min(MAX_SAMPLE_TICKS)
}

/// Writes the header of a clip, and puts the samples of its tracks in order.
fn assemble(tracks: impl Iterator<Item = ClipTrack>, span: Span) -> Result<ClipPlan, MuxError> {
    let (tracks, sources): (Vec<MuxTrack>, Vec<Vec<Range<u64>>>) =
        tracks.map(|ClipTrack { track, sources }| (track, sources)).unzip();
    let header = mux::write_header(&tracks)?;
    let sources =
        header.order.iter().filter_map(|index| sources.get(index.track)?.get(index.sample).cloned());
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for source in sources {
        match ranges.last_mut() {
            Some(last) if last.end == source.start => last.end = source.end,
            _ => ranges.push(source),
        }
    }
    Ok(ClipPlan {
        header: header.bytes,
        ranges,
        total_bytes: header.total_bytes,
        start_ms: span.start_ms,
        end_ms: span.end_ms,
        has_audio: tracks.len() > 1,
    })
}
