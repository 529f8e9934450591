//! The `render` function: on-demand images and clips, and posters that the owner chooses.

mod clip;
pub mod frame_source;
pub mod http;
mod poster;
mod recent_sources;
mod refusal;
pub mod service;
mod storyboard;
