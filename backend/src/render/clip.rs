//! Makes clips: copies the samples of H.264, and encodes the frames of other codecs.

use bytes::Bytes;
use glimpse_contract::{ClipParams, Code, Problem, limits};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::error::JobError;
use crate::render::service::{FrameSource, OpenFrameSource, RenderError, RenderService};
use crate::store::Store;
use glimpse_media::clip::{ClipEncoder, ClipError, ClipRequest};
use glimpse_media::image::header::ImageError;
use glimpse_media::size::Size;

/// Maximum length of a clip whose frames are encoded, in milliseconds.
const MAX_ENCODED_MS: u64 = 10_000;
/// Maximum width and height of a clip whose frames are encoded, in pixels.
const MAX_ENCODED_SIDE: u32 = 1_280;
/// Maximum frame rate of a clip whose frames are encoded, in frames per second.
const MAX_ENCODED_FPS: f64 = 30.0;
/// How many frames wait for the encoder, at most.
const FRAME_QUEUE_LEN: usize = 4;

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
                encode_clip(source, ClipRequest { end_ms, ..request }).await
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

/// Decodes and encodes the frames of a clip, both at the same time, and copies its sound.
async fn encode_clip<C: FrameSource>(source: &C, request: ClipRequest) -> Result<Bytes, RenderError> {
    let ClipRequest { start_ms, end_ms, .. } = request;
    if end_ms.saturating_sub(start_ms) > MAX_ENCODED_MS {
        return Err(bad_parameter(
            "The parameter `end` must be at most 10 seconds after `start`: the samples of this video cannot be copied, \
             and are encoded for a clip.",
        ));
    }
    let size = encoded_size(source.display_size());
    let fps = source.frame_rate(MAX_ENCODED_FPS);
    let mut encoder = ClipEncoder::new(size).map_err(|error| encoder_error(&error))?;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(FRAME_QUEUE_LEN);
    let encoding = spawn_blocking(move || {
        while let Some(frame) = receiver.blocking_recv() {
            encoder.push(&frame)?;
        }
        Ok(encoder)
    });
    source.send_frames((start_ms, end_ms), size, fps, sender).await?;
    let sound = source.read_clip_audio(request).await?;
    let encoder = encoding.await.map_err(JobError::internal)?.map_err(|error| encoder_error(&error))?;
    let bytes = spawn_blocking(move || encoder.finish(fps, sound)).await.map_err(JobError::internal)?;
    let bytes = bytes.map_err(|error| encoder_error(&error))?;
    check_bytes(bytes.len() as u64)?;
    Ok(bytes)
}

/// The size of the frames of an encoded clip: even, and at most [`MAX_ENCODED_SIDE`].
fn encoded_size(display_size: Size) -> Size {
    let Size { width, height } = display_size;
    let scale = (f64::from(MAX_ENCODED_SIDE) / f64::from(width.max(height))).min(1.0);
    let even = |side: u32| ((f64::from(side) * scale) as u32 / 2 * 2).max(2);
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
    fn encoded_sides_are_even_and_limited() {
        for (width, height, expected) in [
            (1920, 1080, (1280, 720)),
            (1080, 1920, (720, 1280)),
            (641, 361, (640, 360)),
            (8192, 16, (1280, 2)),
            (1, 1, (2, 2)),
        ] {
            let size = encoded_size(Size { width, height });
            assert_eq!((size.width, size.height), expected, "{width}x{height}");
        }
    }
}
