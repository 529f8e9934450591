//! The logical screen of a GIF: selects which pixels of a frame are drawn over the displayed ones, and with which
//! colors. Does no IO.

use crate::image::gif::LossyOptions;
use crate::image::gif::dither::Dither;
use crate::image::gif::lzw;
use crate::image::palette::{BLOCK, BlockWeights, Palette};
use crate::size::Size;

/// How many neighbors of a color may replace it.
const NEIGHBORS: usize = 8;

/// The changed part of a frame, encoded.
#[derive(Debug)]
pub(crate) struct FrameRect {
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) codes: Vec<u8>,
    pub(crate) delay_cs: u16,
}

/// The state of the screen while frames are written.
#[derive(Debug)]
pub(crate) struct LogicalScreen<'a> {
    width: usize,
    height: usize,
    colors: &'a [[u8; 3]],
    dither: Dither<'a>,
    options: LossyOptions,
    /// The most similar colors for each color.
    neighbors: Vec<Vec<u8>>,
    lzw: lzw::LzwEncoder,
    /// The displayed index of each pixel; invalid before the first frame.
    displayed: Vec<u8>,
    is_blank: bool,
    /// The ideal index of each pixel.
    target: Vec<u8>,
    /// The index that is written for each pixel: `target`, or transparent if the displayed one is acceptable.
    output: Vec<u8>,
}

/// Squared error, scaled by 16. The channels are weighted approximately by their visibility.
fn color_error(color: [u8; 3], pixel: &[u8]) -> i32 {
    let difference = |channel: usize| i32::from(color[channel]) - i32::from(pixel[channel]);
    let [red, green, blue] = [difference(0), difference(1), difference(2)];
    5 * red * red + 8 * green * green + 3 * blue * blue
}

impl<'a> LogicalScreen<'a> {
    pub(crate) fn new(size: Size, palette: &'a Palette, options: &LossyOptions) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        let colors = palette.colors();
        // The index size has to include the transparent index, and is at least two bits (GIF89a, appendix F).
        let bits = (colors.len() as u32 + 1).next_power_of_two().trailing_zeros().clamp(2, 8);
        Self {
            width,
            height,
            colors,
            dither: Dither::new(palette, options.roughness),
            options: *options,
            neighbors: palette.neighbors(NEIGHBORS),
            lzw: lzw::LzwEncoder::new(bits),
            displayed: vec![0; width * height],
            is_blank: true,
            target: vec![0; width * height],
            output: vec![0; width * height],
        }
    }

    /// The index that leaves a pixel unchanged: the one after the palette's colors.
    pub(crate) fn transparent_index(&self) -> u8 {
        self.colors.len() as u8
    }

    /// A single pixel that changes nothing.
    pub(crate) fn empty_rect(&mut self, delay_cs: u16) -> FrameRect {
        let codes = self.lzw.encode(&mut [self.transparent_index()], 1, |_, _, _| None);
        FrameRect { left: 0, top: 0, width: 1, height: 1, codes, delay_cs }
    }

    /// Draws a raw `rgb24` frame over the displayed one. `weights` is the error tolerance of each block. Returns `None`
    /// if nothing changes.
    pub(crate) fn draw(&mut self, frame: &[u8], weights: &BlockWeights, delay_cs: u16) -> Option<FrameRect> {
        let (mut left, mut right, mut top, mut bottom) = (self.width, 0, self.height, 0);
        for ((y, row), weights) in frame.chunks_exact(self.width * 3).enumerate().zip(weights.rows()) {
            if let Some((first, last)) = self.choose_row(y, row, weights) {
                left = left.min(first);
                right = right.max(last + 1);
                top = top.min(y);
                bottom = y + 1;
            }
        }
        if right == 0 {
            return None;
        }
        let width = right - left;
        let run = |y: usize| y * self.width + left..y * self.width + right;
        let mut pixels = Vec::with_capacity(width * (bottom - top));
        (top..bottom).for_each(|y| pixels.extend_from_slice(&self.output[run(y)]));
        let (transparent, limit) = (self.transparent_index(), self.options.lzw_tolerance * 16.0);
        let (colors, neighbors) = (self.colors, &self.neighbors);
        let (target, output, displayed) = (&self.target, &self.output, &self.displayed);
        let codes = self.lzw.encode(&mut pixels, width, |x, y, continuations| {
            if !continuations.has_any() {
                return None;
            }
            let (x, y) = (left + x, top + y);
            let at = y * self.width + x;
            if output[at] == transparent && continuations.contains(displayed[at]) {
                return Some(displayed[at]);
            }
            let similar = &neighbors[usize::from(target[at])];
            let mut candidates =
                similar.iter().copied().filter(|other| continuations.contains(*other)).peekable();
            candidates.peek()?;
            let pixel = &frame[at * 3..at * 3 + 3];
            let limit =
                color_error(colors[usize::from(target[at])], pixel) + (limit * weights.get(x, y)) as i32;
            candidates.find(|other| color_error(colors[usize::from(*other)], pixel) <= limit)
        });
        for (y, row) in (top..bottom).zip(pixels.chunks_exact(width)) {
            for (shown, index) in self.displayed[y * self.width + left..].iter_mut().zip(row) {
                if *index != transparent {
                    *shown = *index;
                }
            }
        }
        self.is_blank = false;
        Some(FrameRect { left, top, width, height: bottom - top, codes, delay_cs })
    }

    /// Chooses the indexes of a row, and returns the first and the last pixel that changes.
    fn choose_row(&mut self, y: usize, row: &[u8], weights: &[f32]) -> Option<(usize, usize)> {
        let run = y * self.width..(y + 1) * self.width;
        let target = &mut self.target[run.clone()];
        self.dither.dither_row(y, row, weights, target);
        let output = &mut self.output[run.clone()];
        output.copy_from_slice(target);
        if self.is_blank {
            return Some((0, self.width - 1));
        }
        let transparent = self.colors.len() as u8;
        let displayed = &self.displayed[run];
        let (mut first, mut last) = (None, 0);
        for (block, weight) in weights.iter().enumerate() {
            let limit = (self.options.keep_tolerance * 16.0 * weight) as i32;
            for x in block * BLOCK..((block + 1) * BLOCK).min(self.width) {
                let (old, new) = (displayed[x], target[x]);
                let is_kept = old == new || {
                    let pixel = &row[x * 3..x * 3 + 3];
                    let excess = color_error(self.colors[usize::from(old)], pixel) - limit;
                    excess <= 0 || excess <= color_error(self.colors[usize::from(new)], pixel)
                };
                if is_kept {
                    output[x] = transparent;
                } else {
                    first = first.or(Some(x));
                    last = x;
                }
            }
        }
        first.map(|first| (first, last))
    }
}
