//! The `render` function: on-demand images, and posters that the owner chooses.

pub mod frame_source;
pub mod http;
mod poster;
mod refusal;
pub mod service;
mod storyboard;
