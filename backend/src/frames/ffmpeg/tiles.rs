//! Decides how a storyboard's pictures are looked for: by one pass over the source, or by a seek for each.
//!
//! A seek costs a child and, where there is no index, a search, or all that lies before; a pass costs all bytes once.
//! Measured with fifty tiles on a transport stream of 80 MB: seeks read 94 MB by 130 requests and took 3.5 s of processor
//! time, the pass 81 MB by one and 1.0 s; on a Flash video of 39 MB seeks read more than 500 MB, if time was left for it.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::limits;

use crate::error::JobError;
use crate::frames::decoder::Worth;
use crate::frames::exit_status;
use crate::frames::ffmpeg::{Relayed, poster};
use crate::frames::{Frame, Tiles};
use glimpse_media::container::Container;
use glimpse_media::ffmpeg_args::{Frames, Seek};
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
enum Way {
    /// By a pass over all of it.
    Sweep,
    /// By seeks.
    Seeks,
    /// By seeks, which a look near the end has shown to be cheap (`pass`).
    Tried,
}

fn way(container: Container, bytes: u64) -> Way {
    match container {
        // They have no index, and no times that could be searched for.
        Container::Mpegvideo | Container::Gif => Way::Sweep,
        Container::Mpegts | Container::Mpeg | Container::Ogg | Container::Asf if bytes <= SEARCHED_BYTES => {
            Way::Sweep
        }
        Container::Avi | Container::Flv if bytes <= INDEXED_BYTES => Way::Sweep,
        Container::Avi | Container::Flv => Way::Tried,
        _ => Way::Seeks,
    }
}

/// The storyboard; of the poster where nothing of it can be looked at.
pub(super) async fn tiles(source: &Relayed, poster: Option<&Frame>) -> Result<Tiles, JobError> {
    let size = storyboard::tile_size(source.info.shown.fitted(limits::THUMBNAIL_WIDTH));
    let duration_ms = source.info.duration_ms;
    let count = plan::tiles(duration_ms);
    let frames = if duration_ms == 0 {
        Vec::new()
    } else if duration_ms <= WHOLE_MS {
        short(source, count, size).await?
    } else {
        long(source, count, size).await?
    };
    let found = frames.iter().find(|frame| !frame.is_empty()).cloned();
    let mut last = match (found, poster) {
        (Some(frame), _) => frame,
        (None, Some(poster)) => placeholder::shrink(&poster.rgb, poster.size, size).into(),
        (None, None) => {
            let poster = poster::choose(source).await?;
            placeholder::shrink(&poster.rgb, poster.size, size).into()
        }
    };
    // A moment that could not be looked at in time is like the one before it.
    let frames = (0..count)
        .map(|place| {
            if let Some(frame) = frames.get(place).filter(|frame| !frame.is_empty()) {
                last = frame.clone();
            }
            last.clone()
        })
        .collect();
    Ok(Tiles { frames, size })
}

/// All of a short source is decoded; what time does not allow is looked at by keyframes.
async fn short(source: &Relayed, count: usize, size: Size) -> Result<Vec<Bytes>, JobError> {
    let mut frames = pass(source, count, size, Seek::Middles, source.extra()).await?;
    // The last pictures may be missing of any source.
    if frames.len() * 8 < count * 7 && way(source.container, source.relay.total()) == Way::Sweep {
        let keyframes = pass(source, count, size, Seek::All, source.extra()).await?;
        frames.extend(keyframes.into_iter().skip(frames.len()));
    }
    Ok(frames)
}

async fn long(source: &Relayed, count: usize, size: Size) -> Result<Vec<Bytes>, JobError> {
    if way(source.container, source.relay.total()) != Way::Sweep {
        return seeks(source, 0..count, count, size).await;
    }
    let mut frames = pass(source, count, size, Seek::All, source.studio.sweep()).await?;
    // Keyframes far apart: many tiles are the same. What lies between is decoded where that is cheap.
    let distinct = 1 + frames.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if distinct * 2 < count && is_cheap(source) {
        let exact = pass(source, count, size, Seek::Middles, source.extra()).await?;
        if exact.len() > distinct {
            let rest = frames.split_off(frames.len().min(exact.len()));
            frames = exact.into_iter().chain(rest).collect();
        }
    }
    Ok(frames)
}

pub(super) fn is_cheap(source: &Relayed) -> bool {
    let info = &source.info;
    let pixels = u64::from(info.coded.width) * u64::from(info.coded.height);
    let fps = if info.fps > 0.0 { info.fps } else { 30.0 };
    plan::is_affordable(info.duration_ms as f64 * fps / 1000.0, pixels)
}

/// The picture of each tile out of one pass, as far as it comes: that of its middle, or the keyframe before it.
pub(super) async fn pass(
    source: &Relayed,
    count: usize,
    size: Size,
    seek: Seek,
    worth: Worth,
) -> Result<Vec<Bytes>, JobError> {
    let fps = count as f64 * 1000.0 / source.info.duration_ms as f64;
    let keyframes_only = seek == Seek::All;
    let frames = Frames { seek, keyframes_only, fps: Some(fps), count: count as u32, size };
    Ok(exit_status::of_a_look(source.decode(&frames, worth).await)?.unwrap_or_default())
}

/// One keyframe for each of these tiles, empty where there is none, as far as time allows.
async fn seeks(
    source: &Relayed,
    places: std::ops::Range<usize>,
    count: usize,
    size: Size,
) -> Result<Vec<Bytes>, JobError> {
    let worth = source.extra();
    let middle = |place: usize| source.info.duration_ms * (2 * place as u64 + 1) / (2 * count as u64);
    let looks: Vec<Frames> = places
        .map(|place| Seek::Keyframe(middle(place)))
        .map(|seek| Frames { seek, keyframes_only: true, fps: None, count: 1, size })
        .collect();
    futures::stream::iter(looks)
        .map(|frames| async move {
            let look = exit_status::of_a_look(source.decode(&frames, worth).await)?;
            Ok(look.unwrap_or_default().into_iter().next().unwrap_or_default())
        })
        .buffered(2)
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_index_is_passed_over_and_what_is_large_is_not() {
        const MIB: u64 = 1024 * 1024;
        for (container, mib, expected) in [
            (Container::Mpegts, 80, Way::Sweep),
            (Container::Mpegts, 2000, Way::Seeks),
            (Container::Mpeg, 256, Way::Sweep),
            (Container::Asf, 257, Way::Seeks),
            (Container::Mpegvideo, 2000, Way::Sweep),
            (Container::Avi, 64, Way::Sweep),
            (Container::Avi, 65, Way::Tried),
            (Container::Flv, 2000, Way::Tried),
            (Container::Mxf, 10, Way::Seeks),
            // Damaged ones that are not read by their index have one all the same.
            (Container::Mov, 10, Way::Seeks),
            (Container::Matroska, 10, Way::Seeks),
        ] {
            assert_eq!(way(container, mib * MIB), expected, "{container:?} of {mib} MiB");
        }
    }
}
