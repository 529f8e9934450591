//! Decides which decoded frames of a video its pictures are made of, whichever way it was read.

pub mod decoder;
pub mod exit_status;
pub mod ffmpeg;
pub mod native;
pub mod poster_selector;
pub mod process;
pub mod time_budget;

use bytes::Bytes;

use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// One decoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbFrame {
    /// Raw `rgb24`.
    pub rgb: Bytes,
    /// Its size.
    pub size: Size,
}

/// The frames of a moving preview.
#[derive(Debug, Clone, PartialEq)]
pub struct AnimationFrames {
    /// Raw `rgb24`, at least one.
    pub frames: Vec<Bytes>,
    /// Their size.
    pub size: Size,
    /// Frames a second.
    pub fps: f64,
}

/// A storyboard's pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryboardFrames {
    /// Raw `rgb24`, at least one, evenly spread over the whole length.
    pub frames: Vec<Bytes>,
    /// Their size.
    pub size: Size,
}

/// Everything that the default pictures are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedFrames {
    /// What is known of the video.
    pub info: MediaInfo,
    /// The best frame.
    pub poster: RgbFrame,
    /// When the poster is shown, in milliseconds; none where that is not known.
    pub poster_ms: Option<u64>,
    /// The moving preview.
    pub animation: AnimationFrames,
    /// The storyboard.
    pub storyboard: StoryboardFrames,
}

/// What the default pictures of one kind are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum KindFrames {
    /// The best frame, and when it is shown in milliseconds where that is known.
    Poster(RgbFrame, Option<u64>),
    /// The moving preview.
    Animation(AnimationFrames),
    /// The storyboard.
    Storyboard(StoryboardFrames),
}

/// How fast a moving preview is that may have at most `most` frames a second: not faster than its source.
pub fn animation_fps(source_fps: f64, max_fps: u32) -> f64 {
    let max_fps = f64::from(max_fps);
    if source_fps > 0.0 { source_fps.clamp(1.0, max_fps) } else { max_fps }
}
