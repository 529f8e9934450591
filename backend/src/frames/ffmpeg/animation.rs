//! Decides which moments the moving preview shows: all of a short video, snippets over the whole of a longer one.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::{Code, limits};

use crate::error::JobError;
use crate::frames::decoder::Worth;
use crate::frames::exit_status;
use crate::frames::ffmpeg::{Relayed, poster};
use crate::frames::{Frame, Reel};
use glimpse_media::ffmpeg_args::{Frames, Seek};
use glimpse_media::image::placeholder;
use glimpse_media::image::score::score;
use glimpse_media::plan::{SNIPPET_MS, SNIPPETS, WHOLE_MS};
use glimpse_media::size::Size;

/// Where the snippets begin, in milliseconds: from 10% to 90%, each whole.
fn beginnings(duration_ms: u64) -> [u64; SNIPPETS as usize] {
    let last = duration_ms.saturating_sub(SNIPPET_MS);
    std::array::from_fn(|place| {
        (duration_ms / 10 + duration_ms * 8 * place as u64 / (10 * (SNIPPETS - 1))).min(last)
    })
}

/// The moving preview of a source; at least its poster.
pub(super) async fn reel(source: &Relayed, poster: Option<&Frame>) -> Result<Reel, JobError> {
    let size = source.info.shown.fitted(limits::ANIMATED_WIDTH);
    let fps = source.rate();
    let mut frames = frames(source, size, fps).await?;
    if frames.is_empty() {
        let chosen;
        let poster = if let Some(poster) = poster {
            poster
        } else {
            chosen = poster::choose(source).await?;
            &chosen
        };
        frames.push(placeholder::shrink(&poster.rgb, poster.size, size).into());
    }
    Ok(Reel { frames, size, fps })
}

/// Decodes the frames of a moving preview; there may be none.
pub(super) async fn frames(source: &Relayed, size: Size, fps: f64) -> Result<Vec<Bytes>, JobError> {
    let count = |ms: u64| ((ms as f64 * fps / 1000.0).round() as u32).max(1);
    let frames = |seek, ms| Frames { seek, keyframes_only: false, fps: Some(fps), count: count(ms), size };

    let mut list = if source.info.duration_ms > WHOLE_MS {
        snippets(source, size, |seek| frames(seek, SNIPPET_MS)).await?
    } else {
        Vec::new()
    };
    // A single snippet: the file is much shorter than it says, or has no other keyframe.
    if list.len() <= count(SNIPPET_MS) as usize {
        let worth = if list.is_empty() { Worth::Needed } else { source.extra() };
        let whole = or_none(source.decode(&frames(Seek::Start, WHOLE_MS), worth).await)?;
        if whole.len() > list.len() {
            list = whole;
        }
    }
    Ok(list)
}

/// One child a snippet, two at a time: a moment that cannot be decoded costs its own second and no more, and no
/// decoder holds memory while others work.
async fn snippets(
    source: &Relayed,
    size: Size,
    frames: impl Fn(Seek) -> Frames,
) -> Result<Vec<Bytes>, JobError> {
    let beginnings = beginnings(source.info.duration_ms);
    let wanted: Vec<_> = beginnings.iter().map(|ms| frames(Seek::Keyframe(*ms))).collect();
    let mut found: Vec<Vec<Bytes>> = futures::stream::iter(wanted)
        .map(|frames| async move { or_none(source.decode(&frames, Worth::Needed).await) })
        .buffered(2)
        .try_collect()
        .await?;
    // Keyframes far apart: two snippets begin at the same one, or one at the black before everything. Those are
    // decoded from their very moment.
    // A moment that takes too long is left out, and so are those that lie even further from their keyframe.
    let mut slow = false;
    let extra = source.extra();
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
            let moment = frames(source.exact(beginnings[place]));
            let look = exit_status::of_a_look(source.decode(&moment, extra).await)?;
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
    exit_status::of_a_look(result).map(Result::unwrap_or_default)
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
