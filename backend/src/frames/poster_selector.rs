//! Selects the poster among candidate frames and scales each of them to a tile, while they arrive.

use bytes::Bytes;
use tokio::sync::mpsc;

use glimpse_media::image::placeholder;
use glimpse_media::image::score::{self, Score};
use glimpse_media::size::Size;

/// The best frame so far.
#[derive(Debug, Clone, PartialEq)]
pub struct BestFrame {
    /// Its score.
    pub score: Score,
    /// Raw `rgb24`.
    pub rgb: Bytes,
    /// Its index among the frames.
    pub slot: u32,
}

/// The result of a selection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PosterSelection {
    /// All frames, scaled to tiles, in order.
    pub tiles: Vec<Bytes>,
    /// The best frame in its original size; `None` if there were no frames.
    pub best: Option<BestFrame>,
}

impl PosterSelection {
    /// Whether all frames are blank.
    pub fn is_blank(&self) -> bool {
        self.best.as_ref().is_none_or(|best| best.score.blank)
    }

    fn push(&mut self, rgb: Bytes, size: Size, tile: Size) {
        let slot = self.tiles.len() as u32;
        self.tiles.push(if tile == size {
            rgb.clone()
        } else {
            placeholder::shrink(&rgb, size, tile).into()
        });
        let score = score::score(&rgb, size.width);
        // Of equal frames the earlier one is kept, so that the same source always has the same poster.
        let is_better_frame = self.best.as_ref().is_none_or(|best| is_better(&score, &best.score));
        if is_better_frame {
            self.best = Some(BestFrame { score, rgb, slot });
        }
    }
}

/// Whether one frame makes a better poster than another.
pub fn is_better(one: &Score, other: &Score) -> bool {
    (!one.blank, one.value) > (!other.blank, other.value)
}

/// Receives frames of `size` until the channel is closed. The function computes and blocks, so it needs its own thread.
pub fn select_poster(mut frames: mpsc::Receiver<Bytes>, size: Size, tile: Size) -> PosterSelection {
    let mut selection = PosterSelection::default();
    while let Some(rgb) = frames.blocking_recv() {
        selection.push(rgb, size, tile);
    }
    selection
}
