//! Decides how a storyboard's pictures are looked for: by one pass over the source, or by a seek for each.
//!
//! A seek costs a child and, where there is no index, a search, or all that lies before; a pass costs all bytes once.
//! Measured with fifty tiles on a transport stream of 80 MB: seeks read 94 MB by 130 requests and took 3.5 s of processor
//! time, the pass 81 MB by one and 1.0 s; on a Flash video of 39 MB seeks read more than 500 MB, if time was left for it.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::limits;

use crate::error::JobError;
use crate::frames::decoder::Priority;
use crate::frames::exit_status;
use crate::frames::ffmpeg::{FfmpegSource, poster};
use crate::frames::{RgbFrame, StoryboardFrames};
use glimpse_media::container::Container;
use glimpse_media::ffmpeg_args::{DecodeRequest, SeekTarget};
use glimpse_media::image::{placeholder, storyboard};
use glimpse_media::plan;
use glimpse_media::size::Size;

/// A source up to this length is decoded as a whole, in milliseconds: cheaper than fifty seeks.
const WHOLE_MS: u64 = 30_000;
/// A source up to this length is passed over where seeks are searches.
const SEARCHED_BYTES: u64 = 256 * 1024 * 1024;
/// A source up to this length is passed over although it may have an index.
const INDEXED_BYTES: u64 = 64 * 1024 * 1024;

/// How the pictures are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoryboardStrategy {
    /// By a pass over all of it.
    SinglePass,
    /// By seeks.
    Seeks,
    /// By seeks, which a look near the end has shown to be cheap (`decode_pass`).
    ProbedSeeks,
}

fn strategy(container: Container, bytes: u64) -> StoryboardStrategy {
    match container {
        // They have no index, and no times that could be searched for.
        Container::Mpegvideo | Container::Gif => StoryboardStrategy::SinglePass,
        Container::Mpegts | Container::Mpeg | Container::Ogg | Container::Asf if bytes <= SEARCHED_BYTES => {
            StoryboardStrategy::SinglePass
        }
        Container::Avi | Container::Flv if bytes <= INDEXED_BYTES => StoryboardStrategy::SinglePass,
        Container::Avi | Container::Flv => StoryboardStrategy::ProbedSeeks,
        _ => StoryboardStrategy::Seeks,
    }
}

/// The storyboard; of the poster where nothing of it can be looked at.
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
    // A moment that could not be looked at in time is like the one before it.
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

/// All of a short source is decoded; what time does not allow is looked at by keyframes.
async fn decode_short(source: &FfmpegSource, count: usize, size: Size) -> Result<Vec<Bytes>, JobError> {
    let mut frames = decode_pass(source, count, size, SeekTarget::SlotMiddles, source.best_effort()).await?;
    // The last pictures may be missing of any source.
    if frames.len() * 8 < count * 7
        && strategy(source.container, source.proxy.total_bytes()) == StoryboardStrategy::SinglePass
    {
        let keyframes = decode_pass(source, count, size, SeekTarget::FileStart, source.best_effort()).await?;
        frames.extend(keyframes.into_iter().skip(frames.len()));
    }
    Ok(frames)
}

async fn decode_long(source: &FfmpegSource, count: usize, size: Size) -> Result<Vec<Bytes>, JobError> {
    if strategy(source.container, source.proxy.total_bytes()) != StoryboardStrategy::SinglePass {
        return decode_by_seeks(source, 0..count, count, size).await;
    }
    let mut frames =
        decode_pass(source, count, size, SeekTarget::FileStart, source.decoder.full_scan()).await?;
    // Keyframes far apart: many tiles are the same. What lies between is decoded where that is cheap.
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

/// The picture of each tile out of one pass, as far as it comes: that of its middle, or the keyframe before it.
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

/// One keyframe for each of these tiles, empty where there is none, as far as time allows.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_unindexed_sources_use_a_single_pass() {
        const MIB: u64 = 1024 * 1024;
        for (container, size_mib, expected) in [
            (Container::Mpegts, 80, StoryboardStrategy::SinglePass),
            (Container::Mpegts, 2000, StoryboardStrategy::Seeks),
            (Container::Mpeg, 256, StoryboardStrategy::SinglePass),
            (Container::Asf, 257, StoryboardStrategy::Seeks),
            (Container::Mpegvideo, 2000, StoryboardStrategy::SinglePass),
            (Container::Avi, 64, StoryboardStrategy::SinglePass),
            (Container::Avi, 65, StoryboardStrategy::ProbedSeeks),
            (Container::Flv, 2000, StoryboardStrategy::ProbedSeeks),
            (Container::Mxf, 10, StoryboardStrategy::Seeks),
            // Damaged ones that are not read by their index have one all the same.
            (Container::Mov, 10, StoryboardStrategy::Seeks),
            (Container::Matroska, 10, StoryboardStrategy::Seeks),
        ] {
            assert_eq!(strategy(container, size_mib * MIB), expected, "{container:?} of {size_mib} MiB");
        }
    }
}
