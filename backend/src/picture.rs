//! Decides how frames become pictures, and whether what an encoder made is what it was asked for. Pure.

pub mod album;
pub mod check;
pub mod colour;
pub mod fit;
pub mod gif;
pub mod icc;
pub mod ipt;
pub mod jpeg;
pub mod palette;
pub mod png;
pub mod score;
pub mod storyboard;
pub mod webp;
