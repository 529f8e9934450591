//! Decodes the frames of a storyboard with ffmpeg: in one pass over the source, or with one seek per tile.
//!
//! A seek costs a child process and, without an index, a search or a read of everything before it; a pass reads all
//! bytes once. Measured with fifty tiles on a transport stream of 80 MB: seeks read 94 MB in 130 requests and took 3.5
//! s of processor time, the pass read 81 MB in one request and took 1.0 s. On a Flash video of 39 MB, seeks read more
//! than 500 MB if they had time for it.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::limits;

use crate::error::JobError;
use crate::frames::decoder::Priority;
use crate::frames::exit_status;
use crate::frames::ffmpeg::{FfmpegSource, poster};
use crate::frames::{RgbFrame, StoryboardFrames};
use glimpse_media::container::StoryboardStrategy;
use glimpse_media::ffmpeg_args::{DecodeRequest, SeekTarget};
use glimpse_media::image::{placeholder, storyboard};
use glimpse_media::plan;
use glimpse_media::size::Size;

/// Sources up to this duration are decoded as a whole, in milliseconds: cheaper than fifty seeks.
const WHOLE_MS: u64 = 30_000;

/// The storyboard; if nothing can be decoded, its tiles show the poster.
pub(super) async fn storyboard(
    source: &FfmpegSource,
    poster: Option<&RgbFrame>,
) -> Result<StoryboardFrames, JobError> {
    let size = storyboard::tile_size(source.info.display_size.scale_to_fit(limits::THUMBNAIL_WIDTH));
    let duration_ms = source.info.duration_ms;
    let count = plan::tile_count(duration_ms);
    let frames = if duration_ms == 0 {
        Vec::new()
    } else if duration_ms <= WHOLE_MS {
        decode_short(source, count, size).await?
    } else {
        decode_long(source, count, size).await?
    };
    let first_frame = frames.iter().find(|frame| !frame.is_empty()).cloned();
    let mut previous = match (first_frame, poster) {
        (Some(frame), _) => frame,
        (None, Some(poster)) => placeholder::shrink(&poster.rgb, poster.size, size).into(),
        (None, None) => {
            let poster = poster::choose(source).await?;
            placeholder::shrink(&poster.rgb, poster.size, size).into()
        }
    };
    // A tile that could not be decoded in time repeats the one before it.
    let frames = (0..count)
        .map(|index| {
            if let Some(frame) = frames.get(index).filter(|frame| !frame.is_empty()) {
                previous = frame.clone();
            }
            previous.clone()
        })
        .collect();
    Ok(StoryboardFrames { frames, size })
}

/// Decodes all of a short source. If the time does not suffice, keyframes fill the gaps.
async fn decode_short(source: &FfmpegSource, count: usize, size: Size) -> Result<Vec<Bytes>, JobError> {
    let mut frames = decode_pass(source, count, size, SeekTarget::SlotMiddles, source.best_effort()).await?;
    // The last frames of any source may be missing.
    if frames.len() * 8 < count * 7
        && source.container.storyboard_strategy(source.proxy.total_bytes()) == StoryboardStrategy::SinglePass
    {
        let keyframes = decode_pass(source, count, size, SeekTarget::FileStart, source.best_effort()).await?;
        frames.extend(keyframes.into_iter().skip(frames.len()));
    }
    Ok(frames)
}

async fn decode_long(source: &FfmpegSource, count: usize, size: Size) -> Result<Vec<Bytes>, JobError> {
    if source.container.storyboard_strategy(source.proxy.total_bytes()) != StoryboardStrategy::SinglePass {
        return decode_by_seeks(source, 0..count, count, size).await;
    }
    let mut frames =
        decode_pass(source, count, size, SeekTarget::FileStart, source.decoder.full_scan()).await?;
    // With keyframes far apart, many tiles are equal. The frames between them are decoded if that is cheap.
    let distinct = 1 + frames.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if distinct * 2 < count && is_full_decode_cheap(source) {
        let exact = decode_pass(source, count, size, SeekTarget::SlotMiddles, source.best_effort()).await?;
        if exact.len() > distinct {
            let rest = frames.split_off(frames.len().min(exact.len()));
            frames = exact.into_iter().chain(rest).collect();
        }
    }
    Ok(frames)
}

pub(super) fn is_full_decode_cheap(source: &FfmpegSource) -> bool {
    let info = &source.info;
    let pixels = u64::from(info.coded_size.width) * u64::from(info.coded_size.height);
    let fps = if info.fps > 0.0 { info.fps } else { 30.0 };
    plan::is_within_budget(info.duration_ms as f64 * fps / 1000.0, pixels)
}

/// The frame of each tile in one pass, as far as it gets: the one at the tile's middle, or the keyframe before it.
pub(super) async fn decode_pass(
    source: &FfmpegSource,
    count: usize,
    size: Size,
    seek: SeekTarget,
    priority: Priority,
) -> Result<Vec<Bytes>, JobError> {
    let fps = count as f64 * 1000.0 / source.info.duration_ms as f64;
    let keyframes_only = seek == SeekTarget::FileStart;
    let request = DecodeRequest { seek, keyframes_only, fps: Some(fps), count: count as u32, size };
    Ok(exit_status::catch_rejection(source.decode(&request, priority).await)?.unwrap_or_default())
}

/// One keyframe for each of these tiles, empty where there is none, as far as the time allows.
async fn decode_by_seeks(
    source: &FfmpegSource,
    tiles: std::ops::Range<usize>,
    count: usize,
    size: Size,
) -> Result<Vec<Bytes>, JobError> {
    let priority = source.best_effort();
    let middle_ms = |tile: usize| source.info.duration_ms * (2 * tile as u64 + 1) / (2 * count as u64);
    let requests: Vec<DecodeRequest> = tiles
        .map(|place| SeekTarget::Keyframe(middle_ms(place)))
        .map(|seek| DecodeRequest { seek, keyframes_only: true, fps: None, count: 1, size })
        .collect();
    futures::stream::iter(requests)
        .map(|request| async move {
            let decoded = exit_status::catch_rejection(source.decode(&request, priority).await)?;
            Ok(decoded.unwrap_or_default().into_iter().next().unwrap_or_default())
        })
        .buffered(2)
        .try_collect()
        .await
}
