//! Decides which pixels of a frame are drawn, and in which colours, over what is shown already. Pure.

use crate::image::gif::Loss;
use crate::image::gif::dither::Dither;
use crate::image::gif::lzw;
use crate::image::palette::{BLOCK, Palette, Weights};
use crate::size::Size;

/// How many neighbours of a colour may stand for it.
const NEIGHBOURS: usize = 8;

/// A frame's changed part, encoded.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) codes: Vec<u8>,
    pub(crate) delay_cs: u16,
}

/// What a viewer sees while the frames are written.
#[derive(Debug)]
pub(crate) struct Screen<'a> {
    width: usize,
    height: usize,
    colours: &'a [[u8; 3]],
    dither: Dither<'a>,
    loss: Loss,
    /// For each colour those that are most like it.
    neighbours: Vec<Vec<u8>>,
    lzw: lzw::Encoder,
    /// The index of each pixel as it is shown; nothing yet before the first frame.
    shown: Vec<u8>,
    blank: bool,
    /// The index of each pixel as it should be.
    wanted: Vec<u8>,
    /// The index of each pixel as it is best written: `wanted`, or transparent where what is shown will do.
    written: Vec<u8>,
}

/// Squared error, 16 times that of a channel: the channels weigh about as they are seen.
fn error(colour: [u8; 3], pixel: &[u8]) -> i32 {
    let away = |channel: usize| i32::from(colour[channel]) - i32::from(pixel[channel]);
    let [red, green, blue] = [away(0), away(1), away(2)];
    5 * red * red + 8 * green * green + 3 * blue * blue
}

impl<'a> Screen<'a> {
    pub(crate) fn new(size: Size, palette: &'a Palette, loss: &Loss) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        let colours = palette.colours();
        // An index is as long as the largest, the transparent one, needs; never below two bits (GIF89a, appendix F).
        let bits = (colours.len() as u32 + 1).next_power_of_two().trailing_zeros().clamp(2, 8);
        Self {
            width,
            height,
            colours,
            dither: Dither::new(palette, loss.roughness),
            loss: *loss,
            neighbours: palette.neighbours(NEIGHBOURS),
            lzw: lzw::Encoder::new(bits),
            shown: vec![0; width * height],
            blank: true,
            wanted: vec![0; width * height],
            written: vec![0; width * height],
        }
    }

    /// The index that leaves a pixel as it is: the one after the palette's.
    pub(crate) fn transparent(&self) -> u8 {
        self.colours.len() as u8
    }

    /// A pixel that changes nothing.
    pub(crate) fn nothing(&mut self, delay_cs: u16) -> Part {
        let codes = self.lzw.encode(&mut [self.transparent()], 1, |_, _, _| None);
        Part { left: 0, top: 0, width: 1, height: 1, codes, delay_cs }
    }

    /// Draws a raw `rgb24` frame, whose blocks bear so much error, over what is shown; none if nothing changes.
    pub(crate) fn draw(&mut self, frame: &[u8], weights: &Weights, delay_cs: u16) -> Option<Part> {
        let (mut left, mut right, mut top, mut bottom) = (self.width, 0, self.height, 0);
        for ((y, row), weights) in frame.chunks_exact(self.width * 3).enumerate().zip(weights.rows()) {
            if let Some((first, last)) = self.choose(y, row, weights) {
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
        (top..bottom).for_each(|y| pixels.extend_from_slice(&self.written[run(y)]));
        let (transparent, limit) = (self.transparent(), self.loss.near * 16.0);
        let (colours, neighbours) = (self.colours, &self.neighbours);
        let (wanted, written, shown) = (&self.wanted, &self.written, &self.shown);
        let codes = self.lzw.encode(&mut pixels, width, |x, y, follows| {
            if !follows.any() {
                return None;
            }
            let (x, y) = (left + x, top + y);
            let at = y * self.width + x;
            if written[at] == transparent && follows.has(shown[at]) {
                return Some(shown[at]);
            }
            let own = &neighbours[usize::from(wanted[at])];
            let mut likely = own.iter().copied().filter(|other| follows.has(*other)).peekable();
            likely.peek()?;
            let pixel = &frame[at * 3..at * 3 + 3];
            let limit = error(colours[usize::from(wanted[at])], pixel) + (limit * weights.at(x, y)) as i32;
            likely.find(|other| error(colours[usize::from(*other)], pixel) <= limit)
        });
        for (y, row) in (top..bottom).zip(pixels.chunks_exact(width)) {
            for (shown, index) in self.shown[y * self.width + left..].iter_mut().zip(row) {
                if *index != transparent {
                    *shown = *index;
                }
            }
        }
        self.blank = false;
        Some(Part { left, top, width, height: bottom - top, codes, delay_cs })
    }

    /// Chooses a row's indexes; answers the first and the last pixel that changes.
    fn choose(&mut self, y: usize, row: &[u8], weights: &[f32]) -> Option<(usize, usize)> {
        let run = y * self.width..(y + 1) * self.width;
        let wanted = &mut self.wanted[run.clone()];
        self.dither.row(y, row, weights, wanted);
        let written = &mut self.written[run.clone()];
        written.copy_from_slice(wanted);
        if self.blank {
            return Some((0, self.width - 1));
        }
        let transparent = self.colours.len() as u8;
        let shown = &self.shown[run];
        let (mut first, mut last) = (None, 0);
        for (block, weight) in weights.iter().enumerate() {
            let limit = (self.loss.still * 16.0 * weight) as i32;
            for x in block * BLOCK..((block + 1) * BLOCK).min(self.width) {
                let (old, new) = (shown[x], wanted[x]);
                let stays = old == new || {
                    let pixel = &row[x * 3..x * 3 + 3];
                    let more = error(self.colours[usize::from(old)], pixel) - limit;
                    more <= 0 || more <= error(self.colours[usize::from(new)], pixel)
                };
                if stays {
                    written[x] = transparent;
                } else {
                    first = first.or(Some(x));
                    last = x;
                }
            }
        }
        first.map(|first| (first, last))
    }
}
