//! Decides which of a palette's colours a pixel is shown in. Pure.
//!
//! Between two colours a pattern that is fixed to the screen mixes them, so that a colour that stays is shown by pixels
//! that stay: nothing shimmers, and what does not change need not be stored. For each cell of colours a table knows
//! which two colours to mix and how much of each.

use super::super::palette::{Palette, Seen, seen};

/// Bits of each channel of the table's cells.
const BITS: u32 = 5;
/// How many of a colour's neighbours are tried as its partner.
const PARTNERS: usize = 16;

/// The order in which the pixels of each 4x4 square turn to the brighter colour (Bayer's matrix).
const PATTERN: [[u8; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];
/// How many shares a mixture has.
const SHARES: f32 = 16.0;

/// From which weight on a block is busy.
const BUSY: f32 = 2.0;
/// The threshold that chooses the nearer of two colours.
const EVEN: u8 = 7;

/// What stands for a cell of colours.
#[derive(Debug, Clone, Copy)]
struct Mixture {
    dark: u8,
    bright: u8,
    /// How many of sixteen pixels are bright; `UNKNOWN` until somebody asks.
    share: u8,
}

const UNKNOWN: u8 = 255;

/// The mixtures of a palette's colours.
#[derive(Debug)]
pub(crate) struct Dither<'a> {
    palette: &'a Palette,
    neighbours: Vec<Vec<u8>>,
    cells: Vec<Mixture>,
    /// How much a pattern is worse than the same error in one colour.
    roughness: f32,
}

impl<'a> Dither<'a> {
    pub(crate) fn new(palette: &'a Palette, roughness: f32) -> Self {
        let unknown = Mixture { dark: 0, bright: 0, share: UNKNOWN };
        Self {
            palette,
            neighbours: palette.neighbours(PARTNERS),
            cells: vec![unknown; 1 << (3 * BITS)],
            roughness,
        }
    }

    /// The indexes of a row of pixels; `weights` says of each eight of them how busy the picture is there: a pattern
    /// shows a gradient on a surface, and is only noise in what is busy.
    pub(crate) fn row(&mut self, y: usize, pixels: &[u8], weights: &[f32], indexes: &mut [u8]) {
        let pattern = PATTERN[y % 4];
        let blocks = pixels.chunks(8 * 3).zip(indexes.chunks_mut(8)).zip(weights);
        for ((pixels, indexes), weight) in blocks {
            let pattern = if *weight > BUSY { [EVEN; 4] } else { pattern };
            for (x, (pixel, index)) in pixels.chunks_exact(3).zip(indexes).enumerate() {
                let cell =
                    pixel.iter().fold(0, |cell, value| (cell << BITS) | usize::from(value >> (8 - BITS)));
                let mut mixture = self.cells[cell];
                if mixture.share == UNKNOWN {
                    mixture = self.mix(cell);
                    self.cells[cell] = mixture;
                }
                *index = if mixture.share > pattern[x % 4] { mixture.bright } else { mixture.dark };
            }
        }
    }

    #[cold]
    fn mix(&self, cell: usize) -> Mixture {
        let middle = |channel: u32| {
            let value = (cell >> (channel * BITS)) & ((1 << BITS) - 1);
            ((value << (8 - BITS)) + (1 << (7 - BITS))) as f32
        };
        let wanted = seen([middle(2), middle(1), middle(0)]);
        let places = self.palette.places();
        let nearest = self.palette.nearest(wanted);
        let own = places[nearest];
        let away = sub(wanted, own);
        let (mut best, mut partner, mut share) = (dot(away, away), nearest, 0.0);
        for &other in &self.neighbours[nearest] {
            let step = sub(places[usize::from(other)], own);
            let length = dot(step, step);
            let part = (dot(away, step) / length).clamp(0.0, 0.5);
            let part = f32::from((part * SHARES + 0.5) as u8) / SHARES;
            let rest = sub(away, step.map(|value| value * part));
            let cost = dot(rest, rest) + self.roughness * part * (1.0 - part) * length;
            if cost < best {
                (best, partner, share) = (cost, usize::from(other), part);
            }
        }
        // The palette is sorted by brightness.
        let share = (share * SHARES) as u8;
        if partner < nearest {
            Mixture { dark: partner as u8, bright: nearest as u8, share: SHARES as u8 - share }
        } else {
            Mixture { dark: nearest as u8, bright: partner as u8, share }
        }
    }
}

fn sub(left: Seen, right: Seen) -> Seen {
    [left[0] - right[0], left[1] - right[1], left[2] - right[2]]
}

fn dot(left: Seen, right: Seen) -> f32 {
    left[0] * right[0] + left[1] * right[1] + left[2] * right[2]
}
