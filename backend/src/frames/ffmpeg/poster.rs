//! Decides which frame stands for a video: of several moments the one that shows most, and never an empty one where
//! the video has anything else.

use bytes::Bytes;
use futures::StreamExt as _;
use glimpse_contract::{Code, limits};

use crate::error::JobError;
use crate::frames::Frame;
use crate::frames::decoder::Worth;
use crate::frames::exit_status;
use crate::frames::ffmpeg::Relayed;
use crate::frames::poster_selector::is_better;
use glimpse_media::ffmpeg_args::{Frames, Seek};
use glimpse_media::image::score::{self, Score};
use glimpse_media::size::Size;

/// Where candidates are taken, in hundredths of the length: late enough for intros, early enough for credits.
const PLACES_PERCENT: [u64; 7] = [5, 15, 30, 45, 55, 65, 80];
/// A source up to this length is looked through from its start, which is cheaper than to seek in it.
const SHORT_MS: u64 = 6_000;
/// How many frames such a look takes.
const LOOK_FRAMES: u32 = 12;
/// A source up to this length is looked through as a whole before an empty poster is accepted.
const SEARCHED_MS: u64 = 10 * 60 * 1000;
/// How many frames that search takes.
const SEARCH_FRAMES: u32 = 30;
/// Sources larger than this are decoded one at a time: each 4K decoder takes a few hundred megabytes.
const LARGE_PIXELS: u64 = 1920 * 1200;

/// Finds the poster of a source, in the size of a default poster.
pub(super) async fn choose(source: &Relayed) -> Result<Frame, JobError> {
    choose_in(source, source.info.shown.fitted(limits::THUMBNAIL_WIDTH)).await
}

/// Finds the poster of a source, in this size.
pub(super) async fn choose_in(source: &Relayed, size: Size) -> Result<Frame, JobError> {
    let info = &source.info;
    let mut best = Best::default();
    let frames = |seek, keyframes_only, fps, count| Frames { seek, keyframes_only, fps, count, size };

    if info.duration_ms <= SHORT_MS {
        // A length that is not known is taken for this look as half a minute.
        let length_ms = if info.duration_ms == 0 { 30_000 } else { info.duration_ms };
        let fps = f64::from(LOOK_FRAMES) * 1000.0 / length_ms as f64;
        let whole = [frames(Seek::Start, false, Some(fps), LOOK_FRAMES)];
        look(source, &whole, Worth::Needed, &mut best).await?;
    } else {
        let at = |percent: u64| info.duration_ms * percent / 100;
        let fast = PLACES_PERCENT.map(|percent| frames(Seek::Keyframe(at(percent)), true, None, 1));
        look(source, &fast, Worth::Needed, &mut best).await?;
        if best.is_blank() {
            // One keyframe for the whole of it, or a long black beginning: look at those very moments.
            let extra = source.extra();
            let exact = PLACES_PERCENT.map(|percent| frames(source.exact(at(percent)), false, None, 1));
            look(source, &exact, extra, &mut best).await?;
            if best.is_blank() && info.duration_ms <= SEARCHED_MS {
                let fps = f64::from(SEARCH_FRAMES) * 1000.0 / info.duration_ms as f64;
                let search = [frames(Seek::Start, false, Some(fps), SEARCH_FRAMES)];
                look(source, &search, extra, &mut best).await?;
            }
        }
    }
    if best.frame.is_none() {
        // The index lies, or the file is cut off: whatever comes first is the poster.
        let first = [frames(Seek::Start, false, None, 1)];
        look(source, &first, Worth::Needed, &mut best).await?;
    }
    match best.frame {
        Some((_, rgb)) if source.studio.is_concealed(&rgb) => Err(JobError::Refused(Code::Truncated)),
        Some((_, rgb)) => Ok(Frame { rgb, size }),
        None => Err(JobError::Refused(best.refusal.unwrap_or(Code::Truncated))),
    }
}

async fn look(source: &Relayed, list: &[Frames], worth: Worth, best: &mut Best) -> Result<(), JobError> {
    let coded = source.info.coded;
    let large = u64::from(coded.width) * u64::from(coded.height) > LARGE_PIXELS;
    let mut found = futures::stream::iter(list.to_vec())
        .map(|frames| async move { source.decode(&frames, worth).await })
        .buffered(if large { 1 } else { 2 });
    while let Some(result) = found.next().await {
        let found = exit_status::of_a_look(result)?;
        // One that took too long ends the look: the others would take as long.
        let slow = found == Err(Code::TimedOut);
        best.add(found, list[0].size);
        if slow {
            break;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Best {
    frame: Option<(Score, Bytes)>,
    /// Why the last look without frames had none.
    refusal: Option<Code>,
}

impl Best {
    fn is_blank(&self) -> bool {
        self.refusal != Some(Code::TimedOut) && self.frame.as_ref().is_none_or(|(score, _)| score.blank)
    }

    /// Takes what one look brought.
    fn add(&mut self, found: Result<Vec<Bytes>, Code>, Size { width, .. }: Size) {
        let frames = found.unwrap_or_else(|code| {
            self.refusal = Some(code);
            Vec::new()
        });
        for frame in frames {
            let score = score::score(&frame, width);
            // Of equals the earlier one stays: the same source has the same poster every time.
            if self.frame.as_ref().is_none_or(|(best, _)| is_better(&score, best)) {
                self.frame = Some((score, frame));
            }
        }
    }
}
