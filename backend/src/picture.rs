//! Decides what the pictures of a video show and whether what an encoder made is what it was asked for.

pub mod animation;
pub mod check;
pub mod colour;
pub mod poster;
pub mod score;
pub mod studio;
