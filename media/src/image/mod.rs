//! Image encoders, resizing, scoring of frames, and checks of encoder output. Does no IO.

pub mod dolby_vision;
pub mod gif;
pub mod header;
pub mod icc;
pub mod jpeg;
pub mod palette;
pub mod placeholder;
pub mod png;
pub mod resize;
pub mod score;
pub mod storyboard;
pub mod webp;
