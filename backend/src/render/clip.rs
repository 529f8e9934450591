//! Makes clips: copies the samples of H.264, and encodes the frames of other codecs.

use bytes::Bytes;
use glimpse_contract::{ClipParams, Code, OutputFormat, Problem, limits};
use tokio::task::spawn_blocking;

use crate::error::JobError;
use crate::render::service::{FrameSource, OpenFrameSource, RenderError, RenderService};
use crate::store::Store;
use glimpse_media::clip::{ClipError, ClipRequest};
use glimpse_media::image::header::ImageError;
use glimpse_media::image::{self, EncoderInput};
use glimpse_media::size::Size;

/// Maximum length of a clip whose frames are encoded, in milliseconds.
const MAX_ENCODED_MS: u64 = 10_000;
/// Maximum width and height of a clip whose frames are encoded, in pixels.
const MAX_ENCODED_SIDE: u32 = 1_280;
/// Maximum frame rate of a clip whose frames are encoded, in frames per second.
const MAX_ENCODED_FPS: f64 = 30.0;
/// Maximum number of bytes of all decoded frames of a clip: longer clips get smaller frames. Together with the decoder
/// and the encoder this stays below 600 MB.
const MAX_FRAME_BYTES: f64 = 300e6;

impl<S: Store, C: OpenFrameSource> RenderService<S, C> {
    /// Makes a clip of a video with this frame rate, as a whole in memory: at most [`limits::MAX_CLIP_BYTES`].
    ///
    /// # Errors
    /// `bad_parameter` for a clip that is too long or too large, or any error that prevents reading the video.
    pub(super) async fn make_clip(
        source: &C::Source,
        clip: ClipParams,
        duration_ms: u64,
    ) -> Result<Bytes, RenderError> {
        let (start_ms, end_ms) = clip.span_ms;
        let request = ClipRequest { start_ms, end_ms, has_audio: clip.has_audio };
        match source.plan_clip(request).await? {
            Ok(plan) => {
                check_bytes(plan.total_bytes)?;
                Ok(source.read_clip(&plan).await?)
            }
            Err(ClipError::Empty) => {
                Err(bad_parameter("The parameter `start` is after the end of the video."))
            }
            Err(ClipError::TooLarge) => Err(bad_parameter(&format!(
                "The clip is too large: the limit is {} bytes. Request a shorter one.",
                limits::MAX_CLIP_BYTES
            ))),
            Err(ClipError::Reencode(reason)) => {
                tracing::debug!(%reason, "the clip is encoded");
                let end_ms = if duration_ms > 0 { end_ms.min(duration_ms) } else { end_ms };
                encode_clip(source, (start_ms, end_ms)).await
            }
        }
    }
}

/// Rejects a clip before its bytes are read.
fn check_bytes(bytes: u64) -> Result<(), RenderError> {
    if bytes <= limits::MAX_CLIP_BYTES {
        return Ok(());
    }
    Err(bad_parameter(&format!(
        "The clip has {bytes} bytes; the limit is {}. Request a shorter one.",
        limits::MAX_CLIP_BYTES
    )))
}

async fn encode_clip<C: FrameSource>(source: &C, (start, end): (u64, u64)) -> Result<Bytes, RenderError> {
    let length_ms = end.saturating_sub(start);
    if length_ms > MAX_ENCODED_MS {
        return Err(bad_parameter(
            "The parameter `end` must be at most 10 seconds after `start`: the samples of this video cannot be copied, \
             and are encoded for a clip.",
        ));
    }
    let size = encoded_size(source.display_size(), length_ms);
    let (frames, fps) = source.frames_between(Some((start, end)), size, MAX_ENCODED_FPS).await?;
    let encode = move || {
        let input = EncoderInput::Animation { frames: &frames, size, fps, max_bytes: None };
        image::encode(OutputFormat::Mp4, input)
    };
    let bytes = spawn_blocking(encode).await.map_err(JobError::internal)?;
    let bytes = bytes.map_err(|error| encoder_error(&error))?;
    check_bytes(bytes.len() as u64)?;
    Ok(bytes)
}

/// The size of the frames of an encoded clip: even, at most [`MAX_ENCODED_SIDE`], and so small that all frames fit into
/// [`MAX_FRAME_BYTES`].
fn encoded_size(display_size: Size, length_ms: u64) -> Size {
    let [width, height] = [display_size.width, display_size.height].map(f64::from);
    let frames = (length_ms as f64 / 1000.0 * MAX_ENCODED_FPS).ceil().max(1.0);
    let max_pixels = MAX_FRAME_BYTES / (frames * 3.0);
    let scale = (f64::from(MAX_ENCODED_SIDE) / width.max(height))
        .min((max_pixels / (width * height)).sqrt())
        .min(1.0);
    let even = |side: f64| ((side * scale) as u32 / 2 * 2).max(2);
    Size { width: even(width), height: even(height) }
}

/// The error of the encoder. A build without an encoder of H.264 copies clips only.
fn encoder_error(error: &ImageError) -> RenderError {
    if !matches!(error, ImageError::NoEncoder(_)) {
        return JobError::internal(error).into();
    }
    let detail = "The samples of this video cannot be copied into a clip, and this deployment has no encoder of H.264.";
    Problem::with_detail(Code::UnsupportedCodec, detail).into()
}

fn bad_parameter(detail: &str) -> RenderError {
    Problem::with_detail(Code::BadParameter, detail).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_frames_fit_into_memory() {
        for (width, height, length_ms, expected) in [
            (1920, 1080, 250, (1280, 720)),
            (1920, 1080, 3_000, (1280, 720)),
            (1920, 1080, 10_000, (768, 432)),
            (1080, 1920, 10_000, (432, 768)),
            (641, 361, 10_000, (640, 360)),
            (8192, 16, 10_000, (1280, 2)),
            (1, 1, 250, (2, 2)),
        ] {
            let size = encoded_size(Size { width, height }, length_ms);
            assert_eq!((size.width, size.height), expected, "{width}x{height}");
            assert!(size.frame_bytes() as f64 * (length_ms as f64 * 0.03).ceil() <= MAX_FRAME_BYTES);
        }
    }
}
