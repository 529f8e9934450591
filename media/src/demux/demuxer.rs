//! The interface of all demuxers: the properties of the selected video track, and requests for its samples.

use std::ops::Range;

use bytes::Bytes;

use crate::demux::audio::AudioRun;
use crate::demux::buffer::SparseBuffer;
use crate::demux::error::ReadError;

/// The identity matrix: ISO 14496-12, 8.3.2.
pub const IDENTITY_MATRIX: [i32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Properties of the selected video track.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// The codec by ffmpeg's name (`h264`), one of [`crate::codec::CODECS`].
    pub codec: &'static str,
    /// Ticks per second, the unit of every time below. Not 0.
    pub timescale: u32,
    /// Complete sample entry boxes (`avc1` with its `avcC`, …) for the excerpt's `stsd`, rebuilt from the fields that
    /// were parsed. At least one.
    pub sample_entries: Vec<Bytes>,
    /// The display matrix, as in `tkhd`: ISO 14496-12, 8.3.2.
    pub matrix: [i32; 9],
    /// Width and height from `tkhd`, as 16.16 fixed-point numbers, before the matrix is applied; 0 if unspecified. In a
    /// QuickTime file without a `pasp`, they alone determine the pixel aspect ratio.
    pub display_size: [u32; 2],
    /// Duration as players show it, in ticks: that of the longest track that is played; 0 if unknown.
    pub duration: i64,
    /// Presentation time of the first frame, in ticks. Greater than 0 if audio starts earlier.
    pub video_start: i64,
    /// End of the last frame, in ticks. Not greater than `duration`, and equal to it if unknown.
    pub video_end: i64,
    /// Average frames per second; 0 if unknown.
    pub fps: f64,
    /// Bytes that precede the data of every sample (Matroska's header stripping).
    pub sample_prefix: Bytes,
    /// Whether the file has audio.
    pub has_audio: bool,
    /// Presentation times of all keyframes, in ticks, ascending. `None` if the index does not list all of them.
    pub keyframes: Option<Vec<i64>>,
    /// Whether frames are refreshed gradually (periodic intra refresh), so that no frame in the middle of the video can
    /// be decoded alone.
    pub is_intra_refresh: bool,
    /// The visible part of the coded frame, if it is not all of it.
    pub crop: Option<Crop>,
    /// The Dolby Vision configuration, if there is one.
    pub dolby_vision: Option<DolbyVision>,
}

/// A rectangle within a coded frame, in pixels. Neither side is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// Distance from the left edge of the frame.
    pub left: u32,
    /// Distance from the top edge of the frame.
    pub top: u32,
    /// Width of the rectangle.
    pub width: u32,
    /// Height of the rectangle.
    pub height: u32,
}

/// The fields of a Dolby Vision configuration record: Dolby Vision Streams within the ISO Base Media File Format, 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DolbyVision {
    /// The profile: 5 is a base layer in IPT-PQ, which no other decoder displays correctly.
    pub profile: u8,
    /// What the base layer is compatible with (`dv_bl_signal_compatibility_id`): 0 is nothing, 1 is HDR10, 2 is SDR, 4
    /// is HLG.
    pub compatibility: u8,
}

impl DolbyVision {
    /// Parses a `dvcC`, `dvvC` or `dvwC`.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let [major, _, profile, _, compatibility, ..] = record else { return None };
        let found = Self { profile: profile >> 1, compatibility: compatibility >> 4 };
        (*major > 0 && *major < 4).then_some(found)
    }

    /// The profile, if its base layer does not contain conventional pixels: ETSI GS CCM 001.
    pub fn incompatible_profile(self) -> Option<u8> {
        match (self.profile, self.compatibility) {
            (5, _) => Some(5),
            (10, 0) => Some(10),
            _ => None,
        }
    }
}

impl Track {
    /// Size of a NAL unit's length field in bytes; see [`nal_length_size`].
    pub fn nal_length_size(&self) -> usize {
        nal_length_size(&self.sample_entries)
    }
}

/// Size of a NAL unit's length field in bytes: `lengthSizeMinusOne` of ISO 14496-15, 5.3.3 and 8.3.3. 0 if no entry has
/// such a record: the units then follow start codes.
pub fn nal_length_size(entries: &[Bytes]) -> usize {
    let find_length_size = |configuration: [u8; 4], at: usize| {
        entries.iter().find_map(|entry| {
            let place = entry.windows(4).position(|word| word == configuration)?;
            entry.get(place + 4 + at).map(|byte| usize::from(byte & 3) + 1)
        })
    };
    find_length_size(*b"avcC", 4).or_else(|| find_length_size(*b"hvcC", 21)).unwrap_or(0)
}

/// An encoded sample. Times are in ticks of the track, with the edit list applied: 0 is the start of the presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Byte offset of its data in the source.
    pub offset: u64,
    /// Size of its data in bytes; not 0.
    pub size: u32,
    /// Decoding time.
    pub dts: i64,
    /// Presentation time. A sample with a negative time, or with `i64::MAX`, is never shown, but others may depend on
    /// it.
    pub pts: i64,
    /// Whether decoding can start at this sample.
    pub is_key: bool,
    /// Index of its description in [`Track::sample_entries`].
    pub entry: u16,
}

/// A request for the samples of a time range of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRequest {
    /// Start of the range, in ticks.
    pub from: i64,
    /// End of the range, in ticks, exclusive. Not later than `from`: only the one frame that is shown at `from`.
    pub until: i64,
    /// How precisely the range is matched.
    pub mode: SeekMode,
}

/// How precisely the returned samples match the requested range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekMode {
    /// The keyframe at or before `from` is sufficient, alone (`until <= from`) or with the samples that follow it for
    /// `until - from`. Without an index, any keyframe near `from` is sufficient.
    Keyframe,
    /// All samples that are needed to show exactly `from..until`, from the keyframe at or before it.
    Exact,
}

/// A file whose header was read.
pub trait Demuxer: Send + Sync + std::fmt::Debug {
    /// The selected video track.
    fn track(&self) -> &Track;

    /// Returns the samples of each request, in decoding order, starting with a keyframe. Empty if there is nothing to
    /// show.
    ///
    /// # Errors
    /// The bytes that are missing for all requests together, or the reason why reading cannot continue.
    fn find_samples(
        &self,
        buffer: &SparseBuffer,
        requests: &[SampleRequest],
    ) -> Result<Vec<Vec<Sample>>, ReadError>;

    /// Returns the same file with the keyframes as the samples themselves indicate them, after the index was found to
    /// mark other samples as keyframes. `None` if this is not possible.
    ///
    /// # Errors
    /// The bytes that are missing.
    fn with_verified_keyframes(&self, _buffer: &SparseBuffer) -> Result<Option<Box<dyn Demuxer>>, ReadError> {
        Ok(None)
    }

    /// Returns the AAC track that is played with the video, and its samples that sound within a range of milliseconds
    /// from the start of the presentation, with one sample before them if there is one. The track is the first that is
    /// enabled and a default; otherwise the first. `None` if there is no AAC.
    ///
    /// # Errors
    /// The bytes that are missing, or the reason why reading cannot continue.
    fn find_audio(
        &self,
        _buffer: &SparseBuffer,
        _range_ms: Range<u64>,
    ) -> Result<Option<AudioRun>, ReadError> {
        Ok(None)
    }
}
