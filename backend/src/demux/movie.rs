//! Decides what a demuxer tells of a file: the track that is shown, and which samples a moment of it needs.

use bytes::Bytes;

use super::known::{Fault, Known};

/// A matrix that changes nothing: ISO 14496-12, 8.3.2.
pub const UPRIGHT: [i32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// What is known of the video track that is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// The codec by ffmpeg's name (`h264`), one of [`crate::decode::codecs::CODECS`].
    pub codec: &'static str,
    /// Ticks a second of every time below. Not 0.
    pub timescale: u32,
    /// Whole sample entry boxes (`avc1` with its `avcC`, …), rebuilt from what was understood: what goes into the
    /// digest's `stsd`. At least one.
    pub entries: Vec<Bytes>,
    /// The display matrix as in `tkhd`: ISO 14496-12, 8.3.2.
    pub matrix: [i32; 9],
    /// Width and height that `tkhd` says, as 16.16 numbers, before the matrix is applied; 0 where nothing is said. A
    /// QuickTime file without a `pasp` tells the shape of its pixels by them alone.
    pub display: [u32; 2],
    /// Length as shown, in ticks; 0 if it cannot be told.
    pub duration: i64,
    /// Frames a second on average; 0 if it cannot be told.
    pub fps: f64,
    /// Bytes that stand before those of every sample (Matroska's header stripping).
    pub prefix: Bytes,
    /// Whether the file has sound.
    pub has_audio: bool,
    /// Where keyframes are shown, in ticks, ascending, if the index tells all of them.
    pub keyframes: Option<Vec<i64>>,
}

/// One coded picture. Times are in ticks of the track, with the edit list applied: 0 is the first moment shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Where its bytes begin in the source.
    pub offset: u64,
    /// How many they are; not 0.
    pub size: u32,
    /// When it is decoded.
    pub dts: i64,
    /// When it is shown. Below 0: never, but others may need it.
    pub pts: i64,
    /// Whether decoding can begin with it.
    pub key: bool,
    /// Which of [`Track::entries`] describes it.
    pub entry: u16,
}

/// A stretch of a track that somebody wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// From when on, in ticks.
    pub from: i64,
    /// Until when, in ticks, exclusive. Not later than `from`: only the one picture shown at `from`.
    pub until: i64,
    /// How near a stretch has to be.
    pub aim: Aim,
}

/// How near a found stretch has to be to the one that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// The keyframe at or before `from` will do, alone (`until <= from`) or with what follows it for as long as
    /// `until - from`. Where no index tells, any keyframe near there will do.
    Keyframe,
    /// All that is needed to show `from..until` itself: from the keyframe at or before it on.
    Exact,
}

/// What a demuxer knows once a file's head was read.
pub trait Movie: Send + Sync + std::fmt::Debug {
    /// The track that is shown.
    fn track(&self) -> &Track;

    /// The samples of each want, in decoding order, beginning with a keyframe; none where there is nothing to show.
    ///
    /// # Errors
    /// What is missing for all of the wants together, or why the file cannot be read on.
    fn runs(&self, known: &Known, wants: &[Want]) -> Result<Vec<Vec<Sample>>, Fault>;

    /// Takes no picture but the first for a keyframe from now on: the index was found to call others so that are none.
    /// Whether that can be done.
    fn distrust_keyframes(&mut self) -> bool {
        false
    }
}
