//! Decides which of a palette's colours a pixel is shown in. Pure.
//!
//! Between two colours a pattern that is fixed to the screen mixes them, so that a colour that stays is shown by pixels
//! that stay: nothing shimmers, and what does not change need not be stored. For each cell of colours a table knows
//! which two colours to mix and how much of each.

use crate::image::palette::{Palette, Seen, seen, shades};

/// Shades of each channel that the table's cells tell apart.
const SHADES: usize = 64;
const SHADE_OF: [u8; 256] = shades(SHADES, 48, 2);
/// The value in the middle of each shade.
const MIDDLES: [f32; SHADES] = middles();

const fn middles() -> [f32; SHADES] {
    let (mut sums, mut counts) = ([0.0; SHADES], [0.0; SHADES]);
    let mut value = 0;
    while value < 256 {
        sums[SHADE_OF[value] as usize] += value as f32;
        counts[SHADE_OF[value] as usize] += 1.0;
        value += 1;
    }
    let mut shade = 0;
    while shade < SHADES {
        sums[shade] /= counts[shade];
        shade += 1;
    }
    sums
}

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

/// What stands for a cell of colours: the darker colour, the brighter one, and above both one more than how many of
/// sixteen pixels are bright. 0 until somebody asks, so that a table of them costs only what is asked for.
type Mixture = u32;

fn mixture(dark: usize, bright: usize, share: u8) -> Mixture {
    dark as u32 | (bright as u32) << 8 | (u32::from(share) + 1) << 16
}

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
        Self {
            palette,
            neighbours: palette.neighbours(PARTNERS),
            cells: vec![0; SHADES * SHADES * SHADES],
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
                let cell = pixel
                    .iter()
                    .fold(0, |cell, value| cell * SHADES + usize::from(SHADE_OF[usize::from(*value)]));
                let mut mixture = self.cells[cell];
                if mixture == 0 {
                    mixture = self.mix(cell);
                    self.cells[cell] = mixture;
                }
                let is_bright = mixture >> 16 > u32::from(pattern[x % 4]) + 1;
                *index = (mixture >> (8 * u32::from(is_bright))) as u8;
            }
        }
    }

    #[cold]
    fn mix(&self, cell: usize) -> Mixture {
        let middles = [cell / SHADES / SHADES, cell / SHADES % SHADES, cell % SHADES];
        let wanted = seen(middles.map(|shade| MIDDLES[shade]));
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
            mixture(partner, nearest, SHARES as u8 - share)
        } else {
            mixture(nearest, partner, share)
        }
    }
}

fn sub(left: Seen, right: Seen) -> Seen {
    [left[0] - right[0], left[1] - right[1], left[2] - right[2]]
}

fn dot(left: Seen, right: Seen) -> f32 {
    left[0] * right[0] + left[1] * right[1] + left[2] * right[2]
}
