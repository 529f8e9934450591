//! Decodes the frames of all default outputs in one pass over the source, for sources in which a seek costs as much as
//! reading all of it. The pass decodes only keyframes where there are some, and starts at the beginning of the file.
//!
//! Measured on an AVI of 432 MB without an index: decoding twenty positions by seeks read 3.3 GB.

use std::time::Duration;

use bytes::Bytes;
use glimpse_contract::limits;
use tokio::task::spawn_blocking;

use crate::error::JobError;
use crate::frames::exit_status;
use crate::frames::ffmpeg::missing_index::is_index_missing;
use crate::frames::ffmpeg::{FfmpegSource, duration, tiles};
use crate::frames::poster_selector::is_better;
use crate::frames::{AnimationFrames, RgbFrame, StoryboardFrames};
use glimpse_media::container::SeekSupport;
use glimpse_media::ffmpeg_args::{self, DecodeRequest, SeekTarget};
use glimpse_media::image::{placeholder, score, storyboard};
use glimpse_media::plan::TileTimes;
use glimpse_media::probe;
use glimpse_media::size::Size;

/// Sources up to this duration are decoded as a whole anyway, in milliseconds.
const SHORT_MS: u64 = 6_000;
/// Sources up to this size are cached by the source proxy, so that no request reads them again.
const CACHED_BYTES: u64 = 64 * 1024 * 1024;
/// The most that one request reads where there is an index, including the index.
const MAX_SEEK_BYTES: u64 = 24 * 1024 * 1024;
/// How often the number of bytes read is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The maximum number of frames of an animation from a full scan, and their rate per second.
const PREVIEW_FRAMES: usize = 50;
const PREVIEW_FPS: f64 = 10.0;

/// Whether a full scan is the only cheap way to decode a source.
async fn is_needed(source: &FfmpegSource) -> Result<bool, JobError> {
    if source.info.duration_ms <= SHORT_MS {
        return Ok(false);
    }
    match source.container.seek_support() {
        SeekSupport::Unsupported => Ok(!tiles::is_full_decode_cheap(source)),
        SeekSupport::OptionalIndex if source.proxy.total_bytes() > CACHED_BYTES => {
            Ok(is_index_missing(&source.proxy, source.container).await? || !are_seeks_cheap(source).await?)
        }
        SeekSupport::OptionalIndex | SeekSupport::Reliable => Ok(false),
    }
}

/// Whether a request near the end reads few bytes and returns a frame.
async fn are_seeks_cheap(source: &FfmpegSource) -> Result<bool, JobError> {
    let before = source.stats().bytes;
    let bytes_read = || source.stats().bytes.saturating_sub(before);
    let at_ms = source.info.duration_ms / 100 * 99;
    let seek = SeekTarget::Keyframe(at_ms);
    let size = storyboard::tile_size(source.info.display_size.scale_to_fit(limits::THUMBNAIL_WIDTH));
    let request = DecodeRequest { seek, keyframes_only: true, fps: None, count: 1, size };
    let too_much = async {
        while bytes_read() <= MAX_SEEK_BYTES {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        look = source.decode(&request, source.best_effort()) => {
            let found = exit_status::catch_rejection(look)?.is_ok_and(|frames| !frames.is_empty());
            Ok(found && bytes_read() <= MAX_SEEK_BYTES && is_seek_past_middle(source, at_ms).await?)
        }
        () = too_much => Ok(false),
    }
}

/// Whether a seek to a time near the end ends in the second half. In an AVI without an index it stays near the
/// beginning.
async fn is_seek_past_middle(source: &FfmpegSource, at_ms: u64) -> Result<bool, JobError> {
    let (input, start_ms) = (source.decoder_input(), source.info.start_ms);
    let args = ffmpeg_args::packet_at(input.ffmpeg_input(), source.info.stream, start_ms + at_ms);
    let report = duration::try_ffprobe(&source.decoder, input, &args).await?;
    let end_ms = report.and_then(|report| probe::parse_end_ms(&report));
    Ok(end_ms.is_some_and(|end_ms| end_ms.saturating_sub(start_ms) >= at_ms / 2))
}

/// The frames of a full scan.
pub(super) struct FullScan {
    /// Evenly distributed over the whole duration, as far as the time allowed; at least one.
    frames: Vec<Bytes>,
    size: Size,
    /// How many frames a complete scan has.
    count: usize,
    best: usize,
}

/// Scans the whole source for the frames of these tiles, in this size, if that is the only cheap way; `None` if not, or
/// if nothing could be decoded.
pub(super) async fn scan_if_needed(
    source: &FfmpegSource,
    tile_times: &TileTimes,
    size: Size,
) -> Result<Option<FullScan>, JobError> {
    if !is_needed(source).await? {
        return Ok(None);
    }
    let count = tile_times.count();
    let priority = source.decoder.full_scan();
    let frames = tiles::decode_pass(source, tile_times, size, SeekTarget::FileStart, priority).await?;
    if frames.is_empty() {
        return Ok(None);
    }
    let scored = spawn_blocking(move || {
        let scores: Vec<_> = frames.iter().map(|frame| score::score(frame, size.width)).collect();
        let mut best = 0;
        for index in 1..scores.len() {
            if is_better(&scores[index], &scores[best]) {
                best = index;
            }
        }
        FullScan { frames, size, count, best }
    });
    scored.await.map(Some).map_err(JobError::internal)
}

impl FullScan {
    /// The best of the frames.
    pub(super) fn poster(&self) -> RgbFrame {
        RgbFrame { rgb: self.frames[self.best].clone(), size: self.size }
    }

    /// An animation of the whole duration in a few seconds.
    pub(super) async fn animation(&self, source: &FfmpegSource) -> Result<AnimationFrames, JobError> {
        let size = source.info.display_size.scale_to_fit(limits::ANIMATION_WIDTH);
        let frames = self.shrink_frames(self.preview_frames(), size).await?;
        Ok(AnimationFrames { frames, size, fps: PREVIEW_FPS })
    }

    /// The frames of an animation, in their original size.
    pub(super) fn preview_frames(&self) -> Vec<Bytes> {
        let step = self.frames.len().div_ceil(PREVIEW_FRAMES).max(1);
        self.frames.iter().step_by(step).cloned().collect()
    }

    /// The tiles of the storyboard, in this size. If the scan ended early, the last frame fills the remaining tiles.
    pub(super) async fn storyboard(&self, size: Size) -> Result<StoryboardFrames, JobError> {
        let mut frames = self.shrink_frames(self.frames.clone(), size).await?;
        if let Some(last) = frames.last().cloned() {
            frames.resize(self.count, last);
        }
        Ok(StoryboardFrames { frames, size })
    }

    async fn shrink_frames(&self, frames: Vec<Bytes>, to: Size) -> Result<Vec<Bytes>, JobError> {
        let from = self.size;
        let shrunk = spawn_blocking(move || {
            frames.iter().map(|frame| Bytes::from(placeholder::shrink(frame, from, to))).collect()
        });
        shrunk.await.map_err(JobError::internal)
    }
}
