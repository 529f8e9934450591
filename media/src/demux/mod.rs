//! Container demuxers in safe Rust, which read only the bytes of the file: MP4 and MOV, Matroska and WebM, Flash video.

mod aac;
pub mod audio;
pub mod budget;
pub mod buffer;
pub mod demuxer;
pub mod error;
pub mod flv;
mod index;
pub mod matroska;
pub mod mp4;
pub mod reference;
