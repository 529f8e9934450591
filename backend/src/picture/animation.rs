//! Decides which moments the moving preview shows: all of a short video, snippets over the whole of a longer one.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::{Code, limits};

use super::colour;
use super::poster::Poster;
use super::studio::Studio;
use crate::decode::arguments::{Frames, Seek, Size};
use crate::error::JobError;
use crate::probe::MediaInfo;

/// A source up to this length is shown as a whole, up to this length.
const WHOLE_MS: u64 = 6_000;
/// How many snippets show a longer one.
const SNIPPETS: u64 = 5;
/// How long each is.
const SNIPPET_MS: u64 = 1_000;

/// The preview's raw frames.
#[derive(Debug, Clone)]
pub struct Reel {
    /// Raw `rgb24`, at least one.
    pub frames: Vec<Bytes>,
    /// Their size.
    pub size: Size,
    /// Frames a second.
    pub fps: f64,
}

/// Where the snippets begin, in milliseconds: from 10% to 90%, each whole.
fn beginnings(duration_ms: u64) -> [u64; SNIPPETS as usize] {
    let last = duration_ms.saturating_sub(SNIPPET_MS);
    std::array::from_fn(|place| {
        (duration_ms / 10 + duration_ms * 8 * place as u64 / (10 * (SNIPPETS - 1))).min(last)
    })
}

/// Decodes the frames of the moving preview.
pub async fn reel(
    studio: &Studio<'_>,
    info: &MediaInfo,
    tone_map: bool,
    poster: &Poster,
) -> Result<Reel, JobError> {
    let size = info.shown.fitted(limits::ANIMATED_WIDTH);
    let most = f64::from(limits::ANIMATED_FPS);
    let fps = if info.fps > 0.0 { info.fps.clamp(1.0, most) } else { most };
    let count = |ms: u64| ((ms as f64 * fps / 1000.0).round() as u32).max(1);
    let frames = |seek, ms| Frames { seek, keyframes_only: false, fps: Some(fps), count: count(ms), size };

    let mut list = if info.duration_ms > WHOLE_MS {
        snippets(studio, info, tone_map, |seek| frames(seek, SNIPPET_MS)).await?
    } else {
        Vec::new()
    };
    if list.is_empty() {
        list = or_none(studio.decode(info, tone_map, &frames(Seek::Start, WHOLE_MS)).await)?;
    }
    if list.is_empty() {
        list.push(colour::shrink(&poster.frame, poster.size, size).into());
    }
    Ok(Reel { frames: list, size, fps })
}

/// One child a snippet, two at a time: a moment that cannot be decoded costs its own second and no more, and no
/// decoder holds memory while others work.
async fn snippets(
    studio: &Studio<'_>,
    info: &MediaInfo,
    tone_map: bool,
    frames: impl Fn(Seek) -> Frames,
) -> Result<Vec<Bytes>, JobError> {
    let beginnings = beginnings(info.duration_ms);
    let wanted: Vec<_> = beginnings.iter().map(|ms| frames(Seek::Keyframe(*ms))).collect();
    let mut found: Vec<Vec<Bytes>> = futures::stream::iter(&wanted)
        .map(|frames| async { or_none(studio.decode(info, tone_map, frames).await) })
        .buffered(2)
        .try_collect()
        .await?;
    // Keyframes far apart: two snippets begin at the same one. Those are decoded from their very moment.
    for place in 1..found.len() {
        if !found[place].is_empty() && found[place].first() == found[place - 1].first() {
            let exact =
                or_none(studio.decode(info, tone_map, &frames(Seek::Exact(beginnings[place]))).await)?;
            found[place] = exact;
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// A moment that takes too long is left out.
fn or_none(result: Result<Vec<Bytes>, JobError>) -> Result<Vec<Bytes>, JobError> {
    match result {
        Err(JobError::Refused(Code::TimedOut)) => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_are_spread_over_the_whole() {
        assert_eq!(beginnings(60_000), [6_000, 18_000, 30_000, 42_000, 54_000]);
        assert_eq!(beginnings(6_001), [600, 1800, 3000, 4200, 5001]);
        assert!(beginnings(limits::MAX_DURATION_MS).is_sorted());
    }
}
