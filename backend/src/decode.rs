//! Decides how ffmpeg is used: the arguments it is given, and the one place that starts it.

pub mod arguments;
pub mod codecs;
pub mod process;
