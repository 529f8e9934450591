//! Encodes frames as H.264 for MP4: constant quality, B-frames, a keyframe at each cut. Does no IO.
//!
//! The encoder is a pure Rust crate and part of the program. Colors are BT.709 in limited range with half the resolution
//! of chroma (4:2:0), which every player supports. Without the feature `h264` there is no encoder.

mod mp4;
mod sps;
mod stream;
mod yuv;

use std::fmt;

use bytes::Bytes;
use glimpse_contract::OutputFormat;
use rusty_h264_common::{Profile, YuvFrame};
use rusty_h264_encoder::{Encoder, EncoderConfig, Preset};

use crate::image::header::{self, ImageError};
use crate::image::{encoded_size, placeholder};
use crate::mux::{self, MuxTrack};
use crate::size::Size;

/// How much quality may be lost to reduce the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The quantization parameter, 0 to 51: six more is about half the bytes.
    pub qp: u8,
    /// Only every n-th frame is encoded.
    pub frame_step: usize,
    /// Width and height as a percentage of the frames'.
    pub scale_percent: u32,
}

/// The default without a size limit.
pub const HIGH_QUALITY: Options = Options { qp: 24, frame_step: 1, scale_percent: 100 };

/// Options in decreasing quality, tried until the size fits.
const QUALITY_LADDER: [Options; 13] = [
    HIGH_QUALITY,
    Options { qp: 27, ..HIGH_QUALITY },
    Options { qp: 30, ..HIGH_QUALITY },
    Options { qp: 33, ..HIGH_QUALITY },
    Options { qp: 36, ..HIGH_QUALITY },
    Options { qp: 39, ..HIGH_QUALITY },
    Options { qp: 38, frame_step: 2, scale_percent: 100 },
    Options { qp: 38, frame_step: 2, scale_percent: 75 },
    Options { qp: 38, frame_step: 3, scale_percent: 50 },
    Options { qp: 40, frame_step: 4, scale_percent: 40 },
    Options { qp: 42, frame_step: 6, scale_percent: 25 },
    Options { qp: 46, frame_step: 10, scale_percent: 15 },
    Options { qp: 51, frame_step: 20, scale_percent: 10 },
];

/// The largest side, in pixels: four times that of the largest animation.
const MAX_SIDE: u16 = 2560;
/// The frames that are encoded together, at most. Less than 128, so that picture order counts of eight bits, two per
/// frame, are unambiguous.
const GROUP_FRAMES: usize = 90;
/// The bytes of the planes that are encoded together, at most: large frames have smaller groups.
const GROUP_BYTES: usize = 64 * 1024 * 1024;
/// The non-reference frames between two reference frames.
const B_FRAMES: u32 = 2;
/// The sensitivity of the detection of cuts, 0 to 100: the encoder's usual one.
const SCENE_CUT: u32 = 40;
/// The least distance of two keyframes, in frames. Snippets have a second each, and many films have shorter scenes.
const MIN_KEYFRAME_DISTANCE: u32 = 3;

/// Encodes raw `rgb24` frames at `fps` frames per second. The size of the video is that of [`encoded_size`].
pub fn encode<F: AsRef<[u8]>>(
    frames: &[F],
    size: Size,
    fps: f64,
    options: Options,
) -> Result<Bytes, ImageError> {
    header::check_frames(frames, size)?;
    let frame_step = options.frame_step.max(1);
    let mut encoder = FrameEncoder::new(size, options)?;
    for frame in frames.iter().step_by(frame_step) {
        encoder.push(frame.as_ref())?;
    }
    encoder.finish(&frame_times(frames.len(), fps, frame_step))?.to_file()
}

/// Encodes one frame after another: only a group of them is in memory.
pub struct FrameEncoder {
    encoder: Encoder,
    size: Size,
    scaled_size: Size,
    coded_size: Size,
    /// The frames that are encoded together.
    group_frames: usize,
    /// The frames that are not encoded yet.
    pending: Vec<YuvFrame>,
    stream: stream::Stream,
}

impl fmt::Debug for FrameEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameEncoder").field("size", &self.size).finish_non_exhaustive()
    }
}

impl FrameEncoder {
    /// An encoder of raw `rgb24` frames of this size. `options.frame_step` is left to the caller.
    ///
    /// # Errors
    /// The size is not supported.
    pub fn new(size: Size, options: Options) -> Result<Self, ImageError> {
        header::check_size(size, MAX_SIDE)?;
        let scaled_size = size.scale_by_percent(options.scale_percent);
        let coded_size = encoded_size(OutputFormat::Mp4, scaled_size);
        let encoder =
            Encoder::new(configure(coded_size, options.qp)).map_err(|error| encoder_error(&error))?;
        // A plane of luma, and two of chroma with a quarter of its samples each.
        let plane_bytes = coded_size.width as usize * coded_size.height as usize * 3 / 2;
        let group_frames = (GROUP_BYTES / plane_bytes.max(1)).clamp(2, GROUP_FRAMES);
        let (pending, stream) = (Vec::new(), stream::Stream::default());
        Ok(Self { encoder, size, scaled_size, coded_size, group_frames, pending, stream })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// The frame is not of the encoder's size, or the encoder fails.
    pub fn push(&mut self, frame: &[u8]) -> Result<(), ImageError> {
        header::check_frames(&[frame], self.size)?;
        if self.pending.len() >= self.group_frames {
            self.encode_group(true)?;
        }
        self.pending.push(if self.scaled_size == self.size {
            yuv::convert(frame, self.size, self.coded_size)
        } else {
            let scaled = placeholder::shrink(frame, self.size, self.scaled_size);
            yuv::convert(&scaled, self.scaled_size, self.coded_size)
        });
        Ok(())
    }

    /// The video. `times` are those of the frames, in ticks of its track, and the end of the last one.
    ///
    /// # Errors
    /// There are no frames, or not as many as times, or the encoder fails.
    fn finish(mut self, times: &[u64]) -> Result<H264Video, ImageError> {
        while !self.pending.is_empty() {
            self.encode_group(false)?;
        }
        let track = mp4::to_track(&self.stream, self.coded_size, times)?;
        Ok(H264Video { track, samples: self.stream.frames.into_iter().map(|frame| frame.bytes).collect() })
    }

    /// The video, at `fps` frames per second.
    ///
    /// # Errors
    /// There are no frames, or the encoder fails.
    pub fn finish_at(self, fps: f64) -> Result<H264Video, ImageError> {
        let count = self.stream.frames.len() + self.pending.len();
        self.finish(&frame_times(count, fps, 1))
    }

    fn encode_group(&mut self, has_more: bool) -> Result<(), ImageError> {
        let mut units = self.encoder.encode_all(&self.pending).map_err(|error| encoder_error(&error))?;
        let mut count = self.pending.len();
        // The next group begins with a keyframe. Two in a row would need different identifiers, so a cut at the last
        // frame begins the next group.
        if has_more && count > 1 && units.last().is_some_and(|unit| stream::is_key(unit)) {
            units.pop();
            count -= 1;
        }
        self.stream.append(&units, count)?;
        self.pending.drain(..count);
        Ok(())
    }
}

fn encoder_error(error: &impl fmt::Debug) -> ImageError {
    ImageError::Encoder(format!("H.264: {error:?}"))
}

/// An encoded video: a track, and its samples.
#[derive(Debug)]
pub struct H264Video {
    /// The track.
    pub track: MuxTrack,
    /// The samples of the track, in decoding order.
    pub samples: Vec<Vec<u8>>,
}

impl H264Video {
    /// The video as an MP4 file without sound.
    ///
    /// # Errors
    /// The file would be too large.
    pub fn to_file(&self) -> Result<Bytes, ImageError> {
        let samples: Vec<&[u8]> = self.samples.iter().map(Vec::as_slice).collect();
        mux::write_file(std::slice::from_ref(&self.track), &[&samples])
            .map_err(|error| ImageError::Encoder(error.to_string()))
    }
}

/// The same in at most `max_bytes`: first lower quality, then fewer frames, fewer pixels.
pub fn encode_within<F: AsRef<[u8]>>(
    frames: &[F],
    size: Size,
    fps: f64,
    max_bytes: usize,
) -> Result<Bytes, ImageError> {
    header::encode_within(&QUALITY_LADDER, max_bytes, |options| encode(frames, size, fps, *options))
}

/// The encoder's configuration. Tools that cost more processor time than they save bytes are off: more references,
/// trellis quantization, weights, partitions of macroblocks, trial encodes of shapes, a tree of macroblocks.
/// docs/benchmarks.md has the measurements.
fn configure(size: Size, qp: u8) -> EncoderConfig {
    // A setting of the whole process: no partitions.
    rusty_h264_encoder::set_turbo(true);
    let mut config = EncoderConfig::baseline(size.width as usize, size.height as usize);
    config.profile = Profile::Main;
    config.preset = Preset::Balanced;
    config.cabac = true;
    (config.cabac_rdoq, config.cabac_rdoq_p, config.cabac_rdoq_b) = (0.0, 0.0, 0.0);
    config.weightp = false;
    config.tune_b_split = false;
    config.tune_shape_rd = false;
    config.tune_lme_hi = None;
    config.qp = qp.min(51);
    config.bframes = B_FRAMES;
    config.b_pyramid = false;
    config.gop_size = GROUP_FRAMES as u32;
    config.min_keyint = MIN_KEYFRAME_DISTANCE;
    config.scenecut = SCENE_CUT;
    config
}

/// The times of every `frame_step`-th of `count` frames, in ticks, and the end of the last one.
fn frame_times(count: usize, fps: f64, frame_step: usize) -> Vec<u64> {
    let fps = if fps.is_finite() && fps > 0.0 { fps } else { 1.0 };
    // The sum of all durations has 32 bits in most players.
    let max = f64::from(u32::MAX / 2);
    let time = |place: usize| (place as f64 * f64::from(mp4::TIMESCALE) / fps).round().min(max) as u64;
    let mut times: Vec<u64> = (0..count).step_by(frame_step).map(time).collect();
    times.push(time(count));
    // No two frames have the same time.
    for index in 1..times.len() {
        times[index] = times[index].max(times[index - 1] + 1);
    }
    times
}

#[cfg(test)]
mod tests;
