//! Maps pixels to palette colors with ordered dithering. Does no IO.
//!
//! The pattern that mixes two colors has a fixed position on the screen, so that unchanged colors are shown by
//! unchanged pixels: nothing flickers, and unchanged pixels need not be stored. For each cell of the color space, a
//! table contains the two colors and the ratio in which they are mixed.

use crate::image::palette::{Palette, YccColor, quantization_table, to_ycc};

/// Shades per channel in the table.
const SHADES: usize = 64;
const SHADE_OF: [u8; 256] = quantization_table(SHADES, 48, 2);
/// The value at the center of each shade.
const CELL_CENTERS: [f32; SHADES] = cell_centers();

const fn cell_centers() -> [f32; SHADES] {
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

/// How many neighbors of a color are tried as the second color.
const MAX_PARTNERS: usize = 16;

/// The order in which the pixels of each 4x4 square change to the brighter color (Bayer's matrix).
const BAYER_4X4: [[u8; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];
/// The number of mixing ratios.
const SHARES: f32 = 16.0;

/// Blocks with a larger weight are detailed and not dithered.
const MAX_DITHERED_WEIGHT: f32 = 2.0;
/// The threshold that selects the nearer of two colors.
const NEAREST_THRESHOLD: u8 = 7;

/// The colors of a cell: the darker color, the brighter one, and in the bits above both the number of bright pixels out
/// of sixteen, plus 1. 0 until it is computed: only the cells that are used are computed.
type DitherPair = u32;

fn pack_pair(dark: usize, bright: usize, share: u8) -> DitherPair {
    dark as u32 | (bright as u32) << 8 | (u32::from(share) + 1) << 16
}

/// The color mixtures of a palette.
#[derive(Debug)]
pub(crate) struct Dither<'a> {
    palette: &'a Palette,
    neighbors: Vec<Vec<u8>>,
    pairs: Vec<DitherPair>,
    /// How much worse a pattern is than the same error in a single color.
    roughness: f32,
}

impl<'a> Dither<'a> {
    pub(crate) fn new(palette: &'a Palette, roughness: f32) -> Self {
        Self {
            palette,
            neighbors: palette.neighbors(MAX_PARTNERS),
            pairs: vec![0; SHADES * SHADES * SHADES],
            roughness,
        }
    }

    /// Computes the indexes of a row of pixels. `weights` has a value for each eight pixels: how detailed the image is
    /// there. A pattern improves gradients on flat areas, and is only noise in detailed ones.
    pub(crate) fn dither_row(&mut self, y: usize, pixels: &[u8], weights: &[f32], indexes: &mut [u8]) {
        let pattern = BAYER_4X4[y % 4];
        let blocks = pixels.chunks(8 * 3).zip(indexes.chunks_mut(8)).zip(weights);
        for ((pixels, indexes), weight) in blocks {
            let pattern = if *weight > MAX_DITHERED_WEIGHT { [NEAREST_THRESHOLD; 4] } else { pattern };
            for (x, (pixel, index)) in pixels.chunks_exact(3).zip(indexes).enumerate() {
                let cell = pixel
                    .iter()
                    .fold(0, |cell, value| cell * SHADES + usize::from(SHADE_OF[usize::from(*value)]));
                let mut pair = self.pairs[cell];
                if pair == 0 {
                    pair = self.pick_pair(cell);
                    self.pairs[cell] = pair;
                }
                let is_bright = pair >> 16 > u32::from(pattern[x % 4]) + 1;
                *index = (pair >> (8 * u32::from(is_bright))) as u8;
            }
        }
    }

    #[cold]
    fn pick_pair(&self, cell: usize) -> DitherPair {
        let levels = [cell / SHADES / SHADES, cell / SHADES % SHADES, cell % SHADES];
        let target = to_ycc(levels.map(|shade| CELL_CENTERS[shade]));
        let colors = self.palette.ycc_colors();
        let nearest = self.palette.nearest(target);
        let nearest_color = colors[nearest];
        let error = sub(target, nearest_color);
        let (mut best, mut partner, mut share) = (dot(error, error), nearest, 0.0);
        for &other in &self.neighbors[nearest] {
            let step = sub(colors[usize::from(other)], nearest_color);
            let length = dot(step, step);
            let candidate_share = (dot(error, step) / length).clamp(0.0, 0.5);
            let candidate_share = f32::from((candidate_share * SHARES + 0.5) as u8) / SHARES;
            let residual = sub(error, step.map(|value| value * candidate_share));
            let cost =
                dot(residual, residual) + self.roughness * candidate_share * (1.0 - candidate_share) * length;
            if cost < best {
                (best, partner, share) = (cost, usize::from(other), candidate_share);
            }
        }
        // The palette is sorted by brightness.
        let share = (share * SHARES) as u8;
        if partner < nearest {
            pack_pair(partner, nearest, SHARES as u8 - share)
        } else {
            pack_pair(nearest, partner, share)
        }
    }
}

fn sub(left: YccColor, right: YccColor) -> YccColor {
    [left[0] - right[0], left[1] - right[1], left[2] - right[2]]
}

fn dot(left: YccColor, right: YccColor) -> f32 {
    left[0] * right[0] + left[1] * right[1] + left[2] * right[2]
}
