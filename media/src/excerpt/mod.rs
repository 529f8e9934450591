//! Small MP4 files that hold only the samples which the decoder needs. Pure.

pub mod frame_size;
pub mod mp4_writer;
pub mod packed_bitstream;
pub mod plan;
