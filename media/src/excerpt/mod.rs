//! Excerpts: small MP4 files that contain only the samples that the decoder needs. Does no IO.

pub mod frame_size;
pub mod mp4_writer;
pub mod packed_bitstream;
pub mod plan;

use crate::demux::demuxer::Sample;

/// A sample of an excerpt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExcerptSample {
    /// The sample.
    pub source: Sample,
    /// Whether its frame is output.
    pub is_output: bool,
    /// Whether a new segment starts with it, whose samples do not depend on samples before it.
    pub is_discontinuity: bool,
}
