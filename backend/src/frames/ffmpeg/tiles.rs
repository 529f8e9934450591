//! Decodes the frames of a storyboard with ffmpeg: in one pass over the source, or with one seek per tile.
//!
//! A seek costs a child process and, without an index, a search or a read of everything before it; a pass reads all
//! bytes once. Measured with fifty tiles on a transport stream of 80 MB: seeks read 94 MB in 130 requests and took 3.5
//! s of processor time, the pass read 81 MB in one request and took 1.0 s. On a Flash video of 39 MB, seeks read more
//! than 500 MB if they had time for it.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::JobError;
use crate::frames::decoder::Priority;
use crate::frames::exit_status;
use crate::frames::ffmpeg::{FfmpegSource, poster};
use crate::frames::{RgbFrame, StoryboardFrames};
use glimpse_media::container::StoryboardStrategy;
use glimpse_media::ffmpeg_args::{DecodeRequest, SeekTarget};
use glimpse_media::image::placeholder;
use glimpse_media::plan::{self, TileTimes};
use glimpse_media::size::Size;

/// Sources up to this duration are decoded as a whole, in milliseconds: cheaper than fifty seeks.
const WHOLE_MS: u64 = 30_000;

/// The storyboard with tiles of this size; if nothing can be decoded, its tiles show the poster.
pub(super) async fn storyboard(
    source: &FfmpegSource,
    tile_times: &TileTimes,
    size: Size,
    poster: Option<&RgbFrame>,
) -> Result<StoryboardFrames, JobError> {
    let count = tile_times.count();
    let frames = match (tile_times.length_ms(), tile_times.is_whole()) {
        (0, _) => Vec::new(),
        (..=WHOLE_MS, true) => decode_short(source, tile_times, size).await?,
        (_, true) => decode_long(source, tile_times, size).await?,
        (..=WHOLE_MS, false) => decode_short_part(source, tile_times, size).await?,
        (_, false) => decode_by_seeks(source, tile_times, size).await?,
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
async fn decode_short(
    source: &FfmpegSource,
    tile_times: &TileTimes,
    size: Size,
) -> Result<Vec<Bytes>, JobError> {
    let count = tile_times.count();
    let mut frames =
        decode_pass(source, tile_times, size, SeekTarget::SlotMiddles, source.best_effort()).await?;
    // The last frames of any source may be missing.
    if frames.len() * 8 < count * 7
        && source.container.storyboard_strategy(source.proxy.total_bytes()) == StoryboardStrategy::SinglePass
    {
        let keyframes =
            decode_pass(source, tile_times, size, SeekTarget::FileStart, source.best_effort()).await?;
        frames.extend(keyframes.into_iter().skip(frames.len()));
    }
    Ok(frames)
}

/// Decodes a short part of a source from the middle of its first tile on. If nothing can be decoded there in time, each
/// tile is a keyframe.
async fn decode_short_part(
    source: &FfmpegSource,
    tile_times: &TileTimes,
    size: Size,
) -> Result<Vec<Bytes>, JobError> {
    let seek = source.exact_seek(tile_times.middle_ms(0));
    let frames = decode_pass(source, tile_times, size, seek, source.best_effort()).await?;
    if frames.is_empty() { decode_by_seeks(source, tile_times, size).await } else { Ok(frames) }
}

async fn decode_long(
    source: &FfmpegSource,
    tile_times: &TileTimes,
    size: Size,
) -> Result<Vec<Bytes>, JobError> {
    let count = tile_times.count();
    if source.container.storyboard_strategy(source.proxy.total_bytes()) != StoryboardStrategy::SinglePass {
        return decode_by_seeks(source, tile_times, size).await;
    }
    let mut frames =
        decode_pass(source, tile_times, size, SeekTarget::FileStart, source.decoder.full_scan()).await?;
    // With keyframes far apart, many tiles are equal. The frames between them are decoded if that is cheap.
    let distinct = 1 + frames.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if distinct * 2 < count && is_full_decode_cheap(source) {
        let exact =
            decode_pass(source, tile_times, size, SeekTarget::SlotMiddles, source.best_effort()).await?;
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
    tile_times: &TileTimes,
    size: Size,
    seek: SeekTarget,
    priority: Priority,
) -> Result<Vec<Bytes>, JobError> {
    let keyframes_only = seek == SeekTarget::FileStart;
    let (fps, count) = (Some(tile_times.rate()), tile_times.count() as u32);
    let request = DecodeRequest { seek, keyframes_only, fps, count, size };
    Ok(exit_status::catch_rejection(source.decode(&request, priority).await)?.unwrap_or_default())
}

/// One keyframe for each tile, empty where there is none, as far as the time allows.
async fn decode_by_seeks(
    source: &FfmpegSource,
    tile_times: &TileTimes,
    size: Size,
) -> Result<Vec<Bytes>, JobError> {
    let priority = source.best_effort();
    let requests: Vec<DecodeRequest> = (0..tile_times.count())
        .map(|place| SeekTarget::Keyframe(tile_times.middle_ms(place)))
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
