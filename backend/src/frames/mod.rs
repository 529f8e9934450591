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
pub struct Frame {
    /// Raw `rgb24`.
    pub rgb: Bytes,
    /// Its size.
    pub size: Size,
}

/// The frames of a moving preview.
#[derive(Debug, Clone, PartialEq)]
pub struct Reel {
    /// Raw `rgb24`, at least one.
    pub frames: Vec<Bytes>,
    /// Their size.
    pub size: Size,
    /// Frames a second.
    pub fps: f64,
}

/// A storyboard's pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiles {
    /// Raw `rgb24`, at least one, evenly spread over the whole length.
    pub frames: Vec<Bytes>,
    /// Their size.
    pub size: Size,
}

/// Everything that the default pictures are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Footage {
    /// What is known of the video.
    pub info: MediaInfo,
    /// The best frame.
    pub poster: Frame,
    /// When the poster is shown, in milliseconds; none where that is not known.
    pub poster_ms: Option<u64>,
    /// The moving preview.
    pub reel: Reel,
    /// The storyboard.
    pub tiles: Tiles,
}

/// What the default pictures of one kind are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// The best frame, and when it is shown in milliseconds where that is known.
    Poster(Frame, Option<u64>),
    /// The moving preview.
    Reel(Reel),
    /// The storyboard.
    Tiles(Tiles),
}

/// How fast a moving preview is that may have at most `most` frames a second: not faster than its source.
pub fn rate(info_fps: f64, most: u32) -> f64 {
    let most = f64::from(most);
    if info_fps > 0.0 { info_fps.clamp(1.0, most) } else { most }
}
