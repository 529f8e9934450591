//! Decodes the frames of the animation with ffmpeg: all of a short video, snippets distributed over a longer one.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::{Code, limits};

use crate::error::JobError;
use crate::frames::decoder::Priority;
use crate::frames::exit_status;
use crate::frames::ffmpeg::{FfmpegSource, poster};
use crate::frames::{AnimationFrames, RgbFrame};
use glimpse_media::ffmpeg_args::{DecodeRequest, SeekTarget};
use glimpse_media::image::placeholder;
use glimpse_media::image::score::score;
use glimpse_media::plan::{FULL_ANIMATION_MS, SNIPPET_COUNT, SNIPPET_MS};
use glimpse_media::size::Size;

/// Start times of the snippets in milliseconds: from 10% to 90% of the duration, each snippet complete.
fn snippet_starts_ms(duration_ms: u64) -> [u64; SNIPPET_COUNT as usize] {
    let max_start_ms = duration_ms.saturating_sub(SNIPPET_MS);
    std::array::from_fn(|index| {
        (duration_ms / 10 + duration_ms * 8 * index as u64 / (10 * (SNIPPET_COUNT - 1))).min(max_start_ms)
    })
}

/// The animation of a source; if it has no frames, its poster as a single frame.
pub(super) async fn animation(
    source: &FfmpegSource,
    poster: Option<&RgbFrame>,
) -> Result<AnimationFrames, JobError> {
    let size = source.info.display_size.scale_to_fit(limits::ANIMATION_WIDTH);
    let fps = source.animation_fps();
    let mut frames = decode_snippet_frames(source, size, fps).await?;
    if frames.is_empty() {
        let own_poster;
        let poster = if let Some(poster) = poster {
            poster
        } else {
            own_poster = poster::choose(source).await?;
            &own_poster
        };
        frames.push(placeholder::shrink(&poster.rgb, poster.size, size).into());
    }
    Ok(AnimationFrames { frames, size, fps })
}

/// Decodes the frames of an animation; there may be none.
pub(super) async fn decode_snippet_frames(
    source: &FfmpegSource,
    size: Size,
    fps: f64,
) -> Result<Vec<Bytes>, JobError> {
    let count = |ms: u64| ((ms as f64 * fps / 1000.0).round() as u32).max(1);
    let request =
        |seek, ms| DecodeRequest { seek, keyframes_only: false, fps: Some(fps), count: count(ms), size };

    let mut frames = if source.info.duration_ms > FULL_ANIMATION_MS {
        decode_snippets(source, size, |seek| request(seek, SNIPPET_MS)).await?
    } else {
        Vec::new()
    };
    // At most one snippet: the file is much shorter than its reported duration, or has no other keyframe.
    if frames.len() <= count(SNIPPET_MS) as usize {
        let priority = if frames.is_empty() { Priority::Required } else { source.best_effort() };
        let whole =
            or_empty(source.decode(&request(SeekTarget::FirstFrame, FULL_ANIMATION_MS), priority).await)?;
        if whole.len() > frames.len() {
            frames = whole;
        }
    }
    Ok(frames)
}

/// Runs one child per snippet, two at a time. A position that cannot be decoded costs only its own second, and no
/// decoder holds memory while others work.
async fn decode_snippets(
    source: &FfmpegSource,
    size: Size,
    request_at: impl Fn(SeekTarget) -> DecodeRequest,
) -> Result<Vec<Bytes>, JobError> {
    let starts_ms = snippet_starts_ms(source.info.duration_ms);
    let requests: Vec<_> = starts_ms.iter().map(|ms| request_at(SeekTarget::Keyframe(*ms))).collect();
    let mut snippets: Vec<Vec<Bytes>> = futures::stream::iter(requests)
        .map(|request| async move { or_empty(source.decode(&request, Priority::Required).await) })
        .buffered(2)
        .try_collect()
        .await?;
    // With keyframes far apart, two snippets may begin at the same one, or one at a black beginning. Those are decoded
    // from their exact position. If one of them times out, it is skipped, and so are the later ones, which are even
    // further from their keyframe.
    let mut has_timed_out = false;
    let priority = source.best_effort();
    let firsts: Vec<Option<Bytes>> = snippets.iter().map(|frames| frames.first().cloned()).collect();
    for index in 0..snippets.len() {
        let is_repeated = index > 0 && firsts[index].is_some() && firsts[index] == firsts[index - 1];
        let is_blank = snippets[index]
            .get(snippets[index].len() / 2)
            .is_some_and(|frame| score(frame, size.width).blank);
        if !is_repeated && !is_blank {
            continue;
        }
        let mut exact = Vec::new();
        if !has_timed_out {
            let request = request_at(source.exact_seek(starts_ms[index]));
            let result = exit_status::catch_rejection(source.decode(&request, priority).await)?;
            has_timed_out = result == Err(Code::TimedOut);
            exact = result.unwrap_or_default();
        }
        if is_repeated || !exact.is_empty() {
            snippets[index] = exact;
        }
    }
    Ok(snippets.into_iter().flatten().collect())
}

/// Returns no frames for a position that cannot be decoded.
fn or_empty(result: Result<Vec<Bytes>, JobError>) -> Result<Vec<Bytes>, JobError> {
    exit_status::catch_rejection(result).map(Result::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_are_spread_over_the_video() {
        assert_eq!(snippet_starts_ms(60_000), [6_000, 18_000, 30_000, 42_000, 54_000]);
        assert_eq!(snippet_starts_ms(6_001), [600, 1800, 3000, 4200, 5001]);
        assert!(snippet_starts_ms(limits::MAX_DURATION_MS).is_sorted());
    }
}
