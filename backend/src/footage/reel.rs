//! Decides which moments the moving preview shows: all of a short video, snippets over the whole of a longer one.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::{Code, limits};

use super::colour;
use super::poster::Poster;
use super::score::score;
use super::studio::{Studio, Worth};
use crate::decode::arguments::{Frames, Seek};
use crate::error::JobError;
use crate::outcome;
use crate::probe::MediaInfo;
use crate::size::Size;

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
        snippets(studio, info, tone_map, size, |seek| frames(seek, SNIPPET_MS)).await?
    } else {
        Vec::new()
    };
    // A single snippet: the file is much shorter than it says, or has no other keyframe.
    if list.len() <= count(SNIPPET_MS) as usize {
        let worth = if list.is_empty() { Worth::Needed } else { studio.extra() };
        let whole = or_none(studio.decode(info, tone_map, &frames(Seek::Start, WHOLE_MS), worth).await)?;
        if whole.len() > list.len() {
            list = whole;
        }
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
    size: Size,
    frames: impl Fn(Seek) -> Frames,
) -> Result<Vec<Bytes>, JobError> {
    let beginnings = beginnings(info.duration_ms);
    let wanted: Vec<_> = beginnings.iter().map(|ms| frames(Seek::Keyframe(*ms))).collect();
    let mut found: Vec<Vec<Bytes>> = futures::stream::iter(&wanted)
        .map(|frames| async { or_none(studio.decode(info, tone_map, frames, Worth::Needed).await) })
        .buffered(2)
        .try_collect()
        .await?;
    // Keyframes far apart: two snippets begin at the same one, or one at the black before everything. Those are
    // decoded from their very moment.
    // A moment that takes too long is left out, and so are those that lie even further from their keyframe.
    let mut slow = false;
    let extra = studio.extra();
    let firsts: Vec<Option<Bytes>> = found.iter().map(|frames| frames.first().cloned()).collect();
    for place in 0..found.len() {
        let again = place > 0 && firsts[place].is_some() && firsts[place] == firsts[place - 1];
        let blank =
            found[place].get(found[place].len() / 2).is_some_and(|frame| score(frame, size.width).blank);
        if !again && !blank {
            continue;
        }
        let mut exact = Vec::new();
        if !slow {
            let moment = frames(Seek::Exact(beginnings[place]));
            let look = outcome::of_a_look(studio.decode(info, tone_map, &moment, extra).await)?;
            slow = look == Err(Code::TimedOut);
            exact = look.unwrap_or_default();
        }
        if again || !exact.is_empty() {
            found[place] = exact;
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// A moment that cannot be decoded is left out.
fn or_none(result: Result<Vec<Bytes>, JobError>) -> Result<Vec<Bytes>, JobError> {
    outcome::of_a_look(result).map(Result::unwrap_or_default)
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
