//! Containers, frames and images: demuxers over sparse bytes, the plan of frames to decode, MP4 excerpts, arguments for
//! ffmpeg, and encoders for GIF, WebP, JPEG and PNG. Does no IO, is not async, and reads no clock except for deadlines
//! that the caller sets.

mod bits;
pub mod clip;
pub mod codec;
pub mod container;
pub mod demux;
pub mod excerpt;
pub mod ffmpeg_args;
pub mod image;
pub mod mux;
pub mod plan;
pub mod probe;
pub mod size;
