//! Encodes frames as H.264 in MP4: constant quality, B-frames, a keyframe at each cut. Does no IO.
//!
//! The encoder is a pure Rust crate and part of the program. Colors are BT.709 in limited range with half the resolution
//! of chroma (4:2:0), which every player supports. Without the feature `h264` there is no encoder.

mod mp4;
mod sps;
mod stream;
mod yuv;

use bytes::Bytes;
use glimpse_contract::OutputFormat;
use rusty_h264_common::{Profile, YuvFrame};
use rusty_h264_encoder::{Encoder, EncoderConfig, Preset};

use crate::image::header::{self, ImageError};
use crate::image::{encoded_size, placeholder};
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
/// The frames that are converted and encoded together, at most: they are in memory a second time. Less than 128, so that
/// picture order counts of eight bits, two per frame, are unambiguous.
const GROUP_FRAMES: usize = 90;
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
    header::check_size(size, MAX_SIDE)?;
    let scaled_size = size.scale_by_percent(options.scale_percent);
    let coded_size = encoded_size(OutputFormat::Mp4, scaled_size);
    let frame_step = options.frame_step.max(1);
    let selected: Vec<&[u8]> = frames.iter().step_by(frame_step).map(AsRef::as_ref).collect();
    let encoder = Encoder::new(configure(coded_size, options.qp))
        .map_err(|error| ImageError::Encoder(format!("H.264: {error:?}")))?;
    let mut stream = stream::Stream::default();
    let mut rest = selected.as_slice();
    while !rest.is_empty() {
        let group = &rest[..rest.len().min(GROUP_FRAMES)];
        let planes: Vec<YuvFrame> = group
            .iter()
            .map(|frame| {
                if scaled_size == size {
                    yuv::convert(frame, size, coded_size)
                } else {
                    yuv::convert(&placeholder::shrink(frame, size, scaled_size), scaled_size, coded_size)
                }
            })
            .collect();
        let mut count = group.len();
        let mut units =
            encoder.encode_all(&planes).map_err(|error| ImageError::Encoder(format!("H.264: {error:?}")))?;
        // The next group begins with a keyframe. Two in a row would need different identifiers, so a cut at the last
        // frame begins the next group.
        if group.len() < rest.len()
            && group.len() > 1
            && units.last().is_some_and(|unit| stream::is_key(unit))
        {
            units.pop();
            count -= 1;
        }
        stream.append(&units, count)?;
        rest = &rest[count..];
    }
    mp4::write(&stream, coded_size, &frame_times(frames.len(), fps, frame_step))
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
