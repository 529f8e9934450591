//! Selects the poster among candidate frames and scales each of them to a tile, while they arrive.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::sync::mpsc;

use glimpse_media::image::crossfade::{self, Sketch};
use glimpse_media::image::placeholder;
use glimpse_media::image::score::{self, Score};
use glimpse_media::size::Size;

/// How many frames are compared with their neighbors.
const FINALISTS: usize = 4;
/// What a frame of a crossfade loses of its score. Different scenes of a film differ by more.
const MIXTURE_PENALTY: f64 = 0.6;

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
    /// All frames, scaled to tiles, in order; those that are no candidates are empty.
    pub tiles: Vec<Bytes>,
    /// The best frame in its original size; `None` if there were no frames.
    pub best: Option<BestFrame>,
    /// All frames in their original size, in order, if they are also those of the animation; those that it does not
    /// show are empty.
    pub kept: Vec<Bytes>,
}

/// The frames of one pass that makes tiles and animation, by their index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharedFrames {
    /// Those among which the poster is selected.
    pub candidates: BTreeSet<u32>,
    /// Those that the animation shows.
    pub kept: BTreeSet<u32>,
}

impl PosterSelection {
    /// Whether all frames are blank.
    pub fn is_blank(&self) -> bool {
        self.best.as_ref().is_none_or(|best| best.score.blank)
    }
}

/// Whether one frame makes a better poster than another.
pub fn is_better(one: &Score, other: &Score) -> bool {
    (!one.blank, one.value) > (!other.blank, other.value)
}

/// Receives frames of `size` until the channel is closed. All are candidates, unless `shared` says otherwise. The function
/// computes and blocks, so it needs its own thread.
pub fn select_poster(
    mut frames: mpsc::Receiver<Bytes>,
    size: Size,
    tile: Size,
    shared: Option<SharedFrames>,
) -> PosterSelection {
    let mut selector = PosterSelector { shared, ..PosterSelector::default() };
    while let Some(rgb) = frames.blocking_recv() {
        selector.push(rgb, size, tile);
    }
    selector.finish()
}

/// A selection that is not finished.
#[derive(Debug, Default)]
struct PosterSelector {
    shared: Option<SharedFrames>,
    tiles: Vec<Bytes>,
    kept: Vec<Bytes>,
    /// Of each candidate, its index and its sketch.
    sketches: Vec<(u32, Sketch)>,
    /// The best frames so far, the best one first.
    finalists: Vec<BestFrame>,
}

impl PosterSelector {
    fn push(&mut self, rgb: Bytes, size: Size, tile: Size) {
        let slot = self.tiles.len() as u32;
        if let Some(SharedFrames { candidates, kept }) = &self.shared {
            self.kept.push(if kept.contains(&slot) { rgb.clone() } else { Bytes::new() });
            if !candidates.contains(&slot) {
                self.tiles.push(Bytes::new());
                return;
            }
        }
        self.tiles.push(if tile == size {
            rgb.clone()
        } else {
            placeholder::shrink(&rgb, size, tile).into()
        });
        self.sketches.push((slot, Sketch::new(&rgb, size)));
        let score = score::score(&rgb, size.width);
        // Of equal frames the earlier one is first, so that the same source always has the same poster.
        let place = self.finalists.partition_point(|other| !is_better(&score, &other.score));
        if place < FINALISTS {
            self.finalists.truncate(FINALISTS - 1);
            self.finalists.insert(place, BestFrame { score, rgb, slot });
        }
    }

    fn finish(self) -> PosterSelection {
        let Self { tiles, kept, sketches, finalists, .. } = self;
        let mut best: Option<BestFrame> = None;
        for mut frame in finalists {
            if is_mixture(&sketches, frame.slot) {
                frame.score.value -= MIXTURE_PENALTY;
            }
            if best.as_ref().is_none_or(|best| is_better(&frame.score, &best.score)) {
                best = Some(frame);
            }
        }
        PosterSelection { tiles, best, kept }
    }
}

/// Whether a candidate is a mixture of its neighbors among the candidates.
fn is_mixture(sketches: &[(u32, Sketch)], slot: u32) -> bool {
    let place = sketches.partition_point(|(other, _)| *other < slot);
    let neighbors = place.checked_sub(1).and_then(|first| sketches.get(first..first + 3));
    neighbors.is_some_and(|near| crossfade::is_mixture(&near[0].1, &near[1].1, &near[2].1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 128, height: 72 };

    /// A scene of fields with this mean luma: the score is highest in the middle.
    fn scene(period: usize, mean: f64) -> Vec<u8> {
        let width = SIZE.width as usize;
        (0..width * SIZE.height as usize)
            .flat_map(|at| {
                let (x, y) = (at % width, at / width);
                let wave = ((x / period + y / period) % 2) as f64 - 0.5;
                let grain = ((x * 7 + y * 13) % 16) as f64;
                [(mean + 60.0 * wave + grain) as u8; 3]
            })
            .collect()
    }

    fn mix(one: &[u8], other: &[u8]) -> Vec<u8> {
        one.iter().zip(other).map(|(one, other)| one.midpoint(*other)).collect()
    }

    fn select(frames: &[Vec<u8>]) -> u32 {
        let mut selector = PosterSelector::default();
        for frame in frames {
            selector.push(frame.clone().into(), SIZE, SIZE);
        }
        selector.finish().best.unwrap().slot
    }

    #[test]
    fn frame_of_crossfade_is_not_selected() {
        let (one, other) = (scene(16, 50.0), scene(24, 190.0));
        let mixed = mix(&one, &other);
        let value = |frame: &[u8]| score::score(frame, SIZE.width).value;
        assert!(value(&mixed) > value(&one) && value(&mixed) > value(&other), "its brightness is better");
        assert_ne!(select(&[one.clone(), mixed.clone(), other.clone()]), 1);
        // Without the scenes around it, it is no mixture.
        assert_eq!(select(&[one.clone(), one, mixed]), 2);
    }

    #[test]
    fn shared_pass_keeps_frames_and_selects_candidates() {
        let (good, dark) = (scene(16, 110.0), scene(16, 50.0));
        let shared = SharedFrames { candidates: BTreeSet::from([1, 3]), kept: BTreeSet::from([0, 2]) };
        let mut selector = PosterSelector { shared: Some(shared), ..PosterSelector::default() };
        for frame in [&good, &dark, &good, &dark] {
            selector.push(frame.clone().into(), SIZE, SIZE);
        }
        let selection = selector.finish();
        assert_eq!((selection.best.unwrap().slot, selection.tiles.len()), (1, 4));
        assert_eq!(selection.kept, [good.clone(), Vec::new(), good, Vec::new()]);
    }

    #[test]
    fn first_of_equal_frames_is_selected() {
        let frame = scene(16, 110.0);
        let black = vec![0; frame.len()];
        let mut frames = vec![black; 3];
        frames.extend(vec![frame; 2 * FINALISTS]);
        assert_eq!(select(&frames), 3);
    }
}
