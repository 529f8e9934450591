//! Decides what a file is and where its pictures lie, by its bytes alone: containers are read in safe Rust.

pub mod budget;
pub mod buffer;
pub mod demuxer;
pub mod flv;
mod index;
pub mod matroska;
pub mod mp4;
pub mod reference;
