//! The `render` function: on-demand images and clips, and posters that the owner chooses.

mod clip;
pub mod frame_source;
pub mod http;
mod poster;
mod refusal;
pub mod service;
mod storyboard;
