//! The decoded frames of a video from which its outputs are encoded, for both ways of reading a source.

pub mod decoder;
pub mod exit_status;
pub mod ffmpeg;
pub mod native;
pub mod poster_selector;
pub mod process;
pub mod source_frames;
pub mod time_budget;

use bytes::Bytes;

use crate::error::JobError;
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// One decoded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbFrame {
    /// Raw `rgb24`.
    pub rgb: Bytes,
    /// Its size.
    pub size: Size,
}

/// The frames of an animation.
#[derive(Debug, Clone, PartialEq)]
pub struct AnimationFrames {
    /// Raw `rgb24`, at least one.
    pub frames: Vec<Bytes>,
    /// Their size.
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
}

/// The frames of a storyboard's tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryboardFrames {
    /// Raw `rgb24`, at least one, evenly distributed over the whole duration.
    pub frames: Vec<Bytes>,
    /// Their size.
    pub size: Size,
}

/// The error of a clip, which is not made of the frames of default outputs.
fn no_default_frames() -> JobError {
    JobError::internal("a clip is not a default output")
}

/// The frames of all default outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedFrames {
    /// Information about the video.
    pub info: MediaInfo,
    /// The best frame.
    pub poster: RgbFrame,
    /// The time of the poster in milliseconds, if known.
    pub poster_ms: Option<u64>,
    /// The frames of the animation.
    pub animation: AnimationFrames,
    /// The frames of the storyboard.
    pub storyboard: StoryboardFrames,
}

/// The frames of one kind of default output.
#[derive(Debug, Clone, PartialEq)]
pub enum KindFrames {
    /// The best frame, and its time in milliseconds if known.
    Poster(RgbFrame, Option<u64>),
    /// The frames of the animation.
    Animation(AnimationFrames),
    /// The frames of the storyboard.
    Storyboard(StoryboardFrames),
}

/// The frame rate of an animation: at most `max_fps`, and not higher than that of its source.
pub fn animation_fps(source_fps: f64, max_fps: u32) -> f64 {
    let max_fps = f64::from(max_fps);
    if source_fps > 0.0 { source_fps.clamp(1.0, max_fps) } else { max_fps }
}
