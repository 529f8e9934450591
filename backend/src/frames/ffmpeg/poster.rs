//! Selects the poster from frames at several times: the one with the most content, and a blank one only if the video
//! has no other.

use bytes::Bytes;
use futures::StreamExt as _;
use glimpse_contract::{Code, limits};

use crate::error::JobError;
use crate::frames::RgbFrame;
use crate::frames::decoder::Priority;
use crate::frames::exit_status;
use crate::frames::ffmpeg::FfmpegSource;
use crate::frames::poster_selector::is_better;
use glimpse_media::ffmpeg_args::{DecodeRequest, SeekTarget};
use glimpse_media::image::score::{self, Score};
use glimpse_media::size::Size;

/// Times of the candidates, in percent of the duration: after the intro and before the credits.
const CANDIDATE_PERCENTS: [u64; 7] = [5, 15, 30, 45, 55, 65, 80];
/// Sources up to this duration are decoded from the start, in milliseconds: cheaper than seeking.
const SHORT_MS: u64 = 6_000;
/// How many frames of a short source are decoded.
const SHORT_FRAMES: u32 = 12;
/// Sources up to this duration are searched as a whole before a blank poster is accepted, in milliseconds.
const SEARCHED_MS: u64 = 10 * 60 * 1000;
/// How many frames that search decodes.
const SEARCH_FRAMES: u32 = 30;

/// Finds the poster of a source, in the size of a default poster.
pub(super) async fn choose(source: &FfmpegSource) -> Result<RgbFrame, JobError> {
    choose_at_size(source, source.info.display_size.scale_to_fit(limits::THUMBNAIL_WIDTH)).await
}

/// Finds the poster of a source, in this size.
pub(super) async fn choose_at_size(source: &FfmpegSource, size: Size) -> Result<RgbFrame, JobError> {
    let info = &source.info;
    let mut best = BestCandidate::default();
    let request = |seek, keyframes_only, fps, count| DecodeRequest { seek, keyframes_only, fps, count, size };

    if info.duration_ms <= SHORT_MS {
        // An unknown duration is assumed to be half a minute.
        let length_ms = if info.duration_ms == 0 { 30_000 } else { info.duration_ms };
        let fps = f64::from(SHORT_FRAMES) * 1000.0 / length_ms as f64;
        let whole = [request(SeekTarget::FirstFrame, false, Some(fps), SHORT_FRAMES)];
        score_frames(source, &whole, Priority::Required, &mut best).await?;
    } else {
        let at = |percent: u64| info.duration_ms * percent / 100;
        let keyframes =
            CANDIDATE_PERCENTS.map(|percent| request(SeekTarget::Keyframe(at(percent)), true, None, 1));
        score_frames(source, &keyframes, Priority::Required, &mut best).await?;
        if best.is_blank() {
            // There is only one keyframe, or a long black beginning: decode the exact times.
            let priority = source.best_effort();
            let exact =
                CANDIDATE_PERCENTS.map(|percent| request(source.exact_seek(at(percent)), false, None, 1));
            score_frames(source, &exact, priority, &mut best).await?;
            if best.is_blank() && info.duration_ms <= SEARCHED_MS {
                let fps = f64::from(SEARCH_FRAMES) * 1000.0 / info.duration_ms as f64;
                let search = [request(SeekTarget::FirstFrame, false, Some(fps), SEARCH_FRAMES)];
                score_frames(source, &search, priority, &mut best).await?;
            }
        }
    }
    if best.frame.is_none() {
        // The index is wrong, or the file is truncated: the first frame that can be decoded is the poster.
        let first = [request(SeekTarget::FirstFrame, false, None, 1)];
        score_frames(source, &first, Priority::Required, &mut best).await?;
    }
    match best.frame {
        Some((_, rgb)) if source.decoder.is_concealed(&rgb) => Err(JobError::Rejected(Code::Truncated)),
        Some((_, rgb)) => Ok(RgbFrame { rgb, size }),
        None => Err(JobError::Rejected(best.rejection.unwrap_or(Code::Truncated))),
    }
}

async fn score_frames(
    source: &FfmpegSource,
    requests: &[DecodeRequest],
    priority: Priority,
    best: &mut BestCandidate,
) -> Result<(), JobError> {
    let max_children = if source.info.has_large_frames() { 1 } else { 2 };
    let mut frames = futures::stream::iter(requests.to_vec())
        .map(|request| async move { source.decode(&request, priority).await })
        .buffered(max_children);
    while let Some(result) = frames.next().await {
        let found = exit_status::catch_rejection(result)?;
        // A timeout ends the search: the other requests would take as long.
        let is_slow = found == Err(Code::TimedOut);
        best.push(found, requests[0].size);
        if is_slow {
            break;
        }
    }
    Ok(())
}

#[derive(Default)]
struct BestCandidate {
    frame: Option<(Score, Bytes)>,
    /// Why the last request without frames returned none.
    rejection: Option<Code>,
}

impl BestCandidate {
    fn is_blank(&self) -> bool {
        self.rejection != Some(Code::TimedOut) && self.frame.as_ref().is_none_or(|(score, _)| score.blank)
    }

    /// Adds the result of one request.
    fn push(&mut self, result: Result<Vec<Bytes>, Code>, Size { width, .. }: Size) {
        let frames = result.unwrap_or_else(|code| {
            self.rejection = Some(code);
            Vec::new()
        });
        for frame in frames {
            let score = score::score(&frame, width);
            // Of equal frames the earlier one is kept, so that the same source always has the same poster.
            if self.frame.as_ref().is_none_or(|(best, _)| is_better(&score, best)) {
                self.frame = Some((score, frame));
            }
        }
    }
}
