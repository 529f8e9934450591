//! Decides which of many candidate frames is the poster, and makes each of them a tile, while they come in.

use bytes::Bytes;
use tokio::sync::mpsc;

use glimpse_media::image::placeholder;
use glimpse_media::image::score::{self, Score};
use glimpse_media::size::Size;

/// The best frame so far.
#[derive(Debug, Clone, PartialEq)]
pub struct BestFrame {
    /// What it is worth.
    pub score: Score,
    /// Raw `rgb24`.
    pub rgb: Bytes,
    /// Its number among the frames.
    pub slot: u32,
}

/// What was found among the frames.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PosterSelection {
    /// Every frame made small, in order.
    pub tiles: Vec<Bytes>,
    /// The best of them, as it came; none if there were none.
    pub best: Option<BestFrame>,
}

impl PosterSelection {
    /// Whether there is nothing to be seen in any of them.
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
        // Of equals the earlier one stays: the same source has the same poster every time.
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

/// Takes frames of `size` until there are no more. It computes and waits: it has a thread to itself.
pub fn select_poster(mut frames: mpsc::Receiver<Bytes>, size: Size, tile: Size) -> PosterSelection {
    let mut selection = PosterSelection::default();
    while let Some(rgb) = frames.blocking_recv() {
        selection.push(rgb, size, tile);
    }
    selection
}
