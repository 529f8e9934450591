//! Decides what a demuxer tells of a file: the track that is shown, and which samples a moment of it needs.

use bytes::Bytes;

use crate::demux::buffer::{ReadError, SparseBuffer};

/// A matrix that changes nothing: ISO 14496-12, 8.3.2.
pub const IDENTITY_MATRIX: [i32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// What is known of the video track that is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// The codec by ffmpeg's name (`h264`), one of [`crate::codec::CODECS`].
    pub codec: &'static str,
    /// Ticks a second of every time below. Not 0.
    pub timescale: u32,
    /// Whole sample entry boxes (`avc1` with its `avcC`, …), rebuilt from what was understood: what goes into the
    /// digest's `stsd`. At least one.
    pub sample_entries: Vec<Bytes>,
    /// The display matrix as in `tkhd`: ISO 14496-12, 8.3.2.
    pub matrix: [i32; 9],
    /// Width and height that `tkhd` says, as 16.16 numbers, before the matrix is applied; 0 where nothing is said. A
    /// QuickTime file without a `pasp` tells the shape of its pixels by them alone.
    pub display_size: [u32; 2],
    /// Length as players show it, in ticks: that of the longest track that is played; 0 if it cannot be told.
    pub duration: i64,
    /// When the first picture is shown, in ticks: later than 0 where sound comes before it.
    pub video_start: i64,
    /// When the last picture ends, in ticks; not after `duration`, and `duration` where it cannot be told.
    pub video_end: i64,
    /// Frames a second on average; 0 if it cannot be told.
    pub fps: f64,
    /// Bytes that stand before those of every sample (Matroska's header stripping).
    pub sample_prefix: Bytes,
    /// Whether the file has sound.
    pub has_audio: bool,
    /// Where keyframes are shown, in ticks, ascending, if the index tells all of them.
    pub keyframes: Option<Vec<i64>>,
    /// Whether pictures are renewed bit by bit (periodic intra refresh), so that no picture in the middle of the film can
    /// be decoded alone.
    pub is_intra_refresh: bool,
    /// The part of a coded picture that is shown, if that is not all of it.
    pub crop: Option<Crop>,
    /// The Dolby Vision configuration, if there is one.
    pub dolby_vision: Option<DolbyVision>,
}

/// A part of a coded picture, in pixels. Neither side is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// Pixels left of it.
    pub left: u32,
    /// Pixels above it.
    pub top: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

/// What a Dolby Vision configuration record says: Dolby Vision Streams within the ISO Base Media File Format, 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DolbyVision {
    /// The profile: 5 is a base layer in IPT-PQ, which no other decoder shows right.
    pub profile: u8,
    /// As what the base layer can be shown (`dv_bl_signal_compatibility_id`): 0 as nothing, 1 as HDR10, 2 as SDR, 4 as HLG.
    pub compatibility: u8,
}

impl DolbyVision {
    /// Reads a `dvcC`, `dvvC` or `dvwC`.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let [major, _, profile, _, compatibility, ..] = record else { return None };
        let found = Self { profile: profile >> 1, compatibility: compatibility >> 4 };
        (*major > 0 && *major < 4).then_some(found)
    }

    /// The profile, if pixels of its base layer are no common ones: ETSI GS CCM 001.
    pub fn incompatible_profile(self) -> Option<u8> {
        match (self.profile, self.compatibility) {
            (5, _) => Some(5),
            (10, 0) => Some(10),
            _ => None,
        }
    }
}

impl Track {
    /// How many bytes the length of a NAL unit takes; see [`nal_length_size`].
    pub fn nal_length_size(&self) -> usize {
        nal_length_size(&self.sample_entries)
    }
}

/// How many bytes the length of a NAL unit takes: `lengthSizeMinusOne` of ISO 14496-15, 5.3.3 and 8.3.3. None (0) where no
/// entry has such a record: units stand behind start codes.
pub fn nal_length_size(entries: &[Bytes]) -> usize {
    let find_length_size = |configuration: [u8; 4], at: usize| {
        entries.iter().find_map(|entry| {
            let place = entry.windows(4).position(|word| word == configuration)?;
            entry.get(place + 4 + at).map(|byte| usize::from(byte & 3) + 1)
        })
    };
    find_length_size(*b"avcC", 4).or_else(|| find_length_size(*b"hvcC", 21)).unwrap_or(0)
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
    /// When it is shown. Below 0, or the last there is: never, but others may need it.
    pub pts: i64,
    /// Whether decoding can begin with it.
    pub is_key: bool,
    /// Which of [`Track::sample_entries`] describes it.
    pub entry: u16,
}

/// A stretch of a track that somebody wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRequest {
    /// From when on, in ticks.
    pub from: i64,
    /// Until when, in ticks, exclusive. Not later than `from`: only the one picture shown at `from`.
    pub until: i64,
    /// How near a stretch has to be.
    pub mode: SeekMode,
}

/// How near a found stretch has to be to the one that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekMode {
    /// The keyframe at or before `from` will do, alone (`until <= from`) or with what follows it for as long as
    /// `until - from`. Where no index tells, any keyframe near there will do.
    Keyframe,
    /// All that is needed to show `from..until` itself: from the keyframe at or before it on.
    Exact,
}

/// What a demuxer knows once a file's head was read.
pub trait Demuxer: Send + Sync + std::fmt::Debug {
    /// The track that is shown.
    fn track(&self) -> &Track;

    /// The samples of each want, in decoding order, beginning with a keyframe; none where there is nothing to show.
    ///
    /// # Errors
    /// What is missing for all of the wants together, or why the file cannot be read on.
    fn find_samples(
        &self,
        buffer: &SparseBuffer,
        requests: &[SampleRequest],
    ) -> Result<Vec<Vec<Sample>>, ReadError>;

    /// The same movie with keyframes as the coded pictures themselves tell them, because the index was found to call others
    /// so that are none. None if that cannot be done.
    ///
    /// # Errors
    /// What is missing for it.
    fn with_verified_keyframes(&self, _buffer: &SparseBuffer) -> Result<Option<Box<dyn Demuxer>>, ReadError> {
        Ok(None)
    }
}
