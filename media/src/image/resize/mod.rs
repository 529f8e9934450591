//! Decides how a frame is brought into the box that was asked for: scaled, turned, cut, padded. Pure.
//!
//! The order: the decoder scales the whole picture ([`Framing::scale`]), it is turned, and then cut out or padded, so
//! that the box is that of the delivered picture. Mirrorings change nothing about cutting and padding, which are
//! symmetric, and so may be part of the turn.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use glimpse_contract::{Bounds, Fit, Moving, Still, Turn, limits};

use crate::image::header::{self, PictureError};
use crate::size::Size;

/// The most pixels that a whole picture is scaled to, so that something may be cut out of it: 50 MB raw. Beyond it (a
/// strip that covers a square) the cut is enlarged afterwards, which shows nothing less: the source has no more.
const MAX_SCALED_PIXELS: u64 = 16_777_216;

/// Bytes of a pixel.
const RGB: usize = 3;

/// How a frame becomes a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The size to which the decoder scales the whole picture, before it is turned.
    pub scale: Size,
    /// The size of the picture.
    pub size: Size,
    turn: Turn,
    rest: Rest,
}

/// What becomes of a scaled and turned frame that is not of the picture's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// It is.
    None,
    /// The middle stays.
    Cut,
    /// Where there is most to see stays.
    CutSmartly,
    /// Black is around it.
    Pad,
}

/// How a still picture of a video that is shown at this size is made.
pub fn still(shown: Size, still: &Still) -> Framing {
    let turned = if still.turn.swaps_sides() { swapped(shown) } else { shown };
    let bounds = Size { width: still.bounds.width, height: still.bounds.height };
    let (scale, size, rest) = match still.fit {
        Fit::Preserve => {
            let size = preserved(turned, still.bounds);
            (size, size, Rest::None)
        }
        Fit::Stretch => (bounds, bounds, Rest::None),
        Fit::Crop => (bounded(covering(turned, bounds)), bounds, Rest::Cut),
        Fit::SmartCrop => (bounded(covering(turned, bounds)), bounds, Rest::CutSmartly),
        Fit::Pad => (inside(turned, bounds), bounds, Rest::Pad),
    };
    let scale = if still.turn.swaps_sides() { swapped(scale) } else { scale };
    Framing { scale, size, turn: still.turn, rest }
}

/// The size of a moving picture of a video that is shown at this size.
pub fn moving(shown: Size, moving: &Moving) -> Size {
    preserved(shown, moving.bounds)
}

impl Framing {
    /// Makes the picture's raw `rgb24` frame out of a decoded one.
    ///
    /// # Errors
    /// The frame is not as long as its size says.
    pub fn apply(&self, frame: Bytes, decoded: Size) -> Result<Bytes, PictureError> {
        header::frames(&[&frame], decoded)?;
        header::sides(decoded, u16::MAX)?;
        let (frame, whole) = turned(frame, decoded, self.turn);
        let cut = match self.rest {
            Rest::None => Cut { left: 0, top: 0, size: whole },
            Rest::Cut => middle(whole, largest_cut(whole, self.size)),
            Rest::CutSmartly => busiest(&frame, whole, largest_cut(whole, self.size)),
            Rest::Pad => return Ok(padded(&frame, whole, self.size)),
        };
        Ok(cut_out(frame, whole, cut, self.size))
    }
}

/// A part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    left: u32,
    top: u32,
    size: Size,
}

fn swapped(size: Size) -> Size {
    Size { width: size.height, height: size.width }
}

/// `side` times `to` divided by `from`, rounded, at least one.
fn in_proportion(side: u32, to: u32, from: u32) -> u32 {
    let from = u64::from(from.max(1));
    let scaled = (u64::from(side) * u64::from(to) + from / 2) / from;
    u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
}

/// Whether the first is the wider shape, or as wide.
fn is_wider(one: Size, other: Size) -> bool {
    u64::from(one.width) * u64::from(other.height) >= u64::from(other.width) * u64::from(one.height)
}

/// As large as the box allows at the same shape.
fn inside(size: Size, bounds: Size) -> Size {
    if is_wider(size, bounds) {
        let height = in_proportion(size.height, bounds.width, size.width).min(bounds.height);
        Size { width: bounds.width, height }
    } else {
        let width = in_proportion(size.width, bounds.height, size.height).min(bounds.width);
        Size { width, height: bounds.height }
    }
}

/// As large as the box allows at the same shape, and never scaled up.
fn preserved(size: Size, bounds: Bounds) -> Size {
    if size.width <= bounds.width && size.height <= bounds.height {
        return size;
    }
    inside(size, Size { width: bounds.width, height: bounds.height })
}

/// As small as covers the box at the same shape.
fn covering(size: Size, bounds: Size) -> Size {
    if is_wider(size, bounds) {
        let width = in_proportion(size.width, bounds.height, size.height).max(bounds.width);
        Size { width, height: bounds.height }
    } else {
        let height = in_proportion(size.height, bounds.width, size.width).max(bounds.height);
        Size { width: bounds.width, height }
    }
}

/// The same shape, small enough to be held in memory.
fn bounded(size: Size) -> Size {
    let longest = size.width.max(size.height);
    let mut to = longest.min(limits::MAX_DIMENSION);
    let pixels = u64::from(size.width) * u64::from(size.height);
    if pixels > MAX_SCALED_PIXELS {
        let by = (MAX_SCALED_PIXELS as f64 / pixels as f64).sqrt();
        to = to.min((f64::from(longest) * by) as u32);
    }
    if to == longest {
        return size;
    }
    Size { width: in_proportion(size.width, to, longest), height: in_proportion(size.height, to, longest) }
}

/// The largest part of a frame that has the shape of `shape`.
fn largest_cut(whole: Size, shape: Size) -> Size {
    if whole.width >= shape.width && whole.height >= shape.height && covering(whole, shape) == whole {
        return shape;
    }
    inside(shape, whole)
}

fn middle(whole: Size, size: Size) -> Cut {
    Cut { left: (whole.width - size.width) / 2, top: (whole.height - size.height) / 2, size }
}

/// The part with the most detail: the largest sum of differences in brightness between neighbours, to the right and
/// below. Of equal parts the one nearest to the middle, so that a flat picture is cut as by [`Fit::Crop`].
fn busiest(frame: &[u8], whole: Size, size: Size) -> Cut {
    let centre = middle(whole, size);
    let (columns, rows) = detail(frame, whole);
    let left = densest(&columns, size.width as usize, centre.left as usize);
    let top = densest(&rows, size.height as usize, centre.top as usize);
    Cut { left: left as u32, top: top as u32, size }
}

/// Where a window of that length holds the most; of equal places the one nearest to `home`.
fn densest(amounts: &[u64], length: usize, home: usize) -> usize {
    let mut sum: u64 = amounts.iter().take(length).sum();
    let (mut best, mut best_sum) = (0usize, sum);
    for (first, (leaving, entering)) in amounts.iter().zip(amounts.iter().skip(length)).enumerate() {
        sum = sum + entering - leaving;
        let place = first + 1;
        if sum > best_sum || (sum == best_sum && place.abs_diff(home) < best.abs_diff(home)) {
            (best, best_sum) = (place, sum);
        }
    }
    best
}

/// How much detail there is in each column and in each row.
fn detail(frame: &[u8], size: Size) -> (Vec<u64>, Vec<u64>) {
    let (width, height) = (size.width as usize, size.height as usize);
    let (mut columns, mut rows) = (vec![0; width], vec![0; height]);
    let mut above: Option<Vec<i32>> = None;
    for (line, row) in frame.chunks_exact(width * RGB).zip(&mut rows) {
        // BT.709's weights in 256ths.
        let brightness: Vec<i32> = line
            .chunks_exact(RGB)
            .map(|pixel| match pixel {
                [red, green, blue] => {
                    (54 * i32::from(*red) + 183 * i32::from(*green) + 19 * i32::from(*blue)) >> 8
                }
                _ => 0,
            })
            .collect();
        let left = std::iter::once(None).chain(brightness.iter().map(Some));
        for (x, ((here, left), column)) in brightness.iter().zip(left).zip(&mut columns).enumerate() {
            let up = above.as_ref().and_then(|above| above.get(x));
            let difference = |other: Option<&i32>| other.map_or(0, |other| u64::from(here.abs_diff(*other)));
            let amount = difference(left) + difference(up);
            *column += amount;
            *row += amount;
        }
        above = Some(brightness);
    }
    (columns, rows)
}

/// The frame turned clockwise, then mirrored.
fn turned(frame: Bytes, size: Size, turn: Turn) -> (Bytes, Size) {
    if turn == Turn::NONE {
        return (frame, size);
    }
    let (width, height) = (size.width as usize, size.height as usize);
    let to = if turn.swaps_sides() { swapped(size) } else { size };
    let (to_width, to_height) = (to.width as usize, to.height as usize);
    let mut out = Vec::with_capacity(frame.len());
    for y in 0..to_height {
        for x in 0..to_width {
            let x = if turn.is_mirrored() { to_width - 1 - x } else { x };
            let (from_x, from_y) = match turn.quarters() {
                0 => (x, y),
                1 => (y, height - 1 - x),
                2 => (width - 1 - x, height - 1 - y),
                _ => (width - 1 - y, x),
            };
            let at = (from_y * width + from_x) * RGB;
            out.extend_from_slice(&frame[at..at + RGB]);
        }
    }
    (out.into(), to)
}

/// The frame in the middle of a black one.
fn padded(frame: &[u8], size: Size, to: Size) -> Bytes {
    // A frame that is larger than its box (which no decoder makes that was asked for less) is cut first.
    let kept = Size { width: size.width.min(to.width), height: size.height.min(to.height) };
    let cut = middle(size, kept);
    let place = middle(to, kept);
    let mut out = vec![0; to.frame_bytes()];
    let length = kept.width as usize * RGB;
    let lines = frame.chunks_exact(size.width as usize * RGB).skip(cut.top as usize);
    let slots = out.chunks_exact_mut(to.width as usize * RGB).skip(place.top as usize);
    for (line, slot) in lines.zip(slots).take(kept.height as usize) {
        let (from, at) = (cut.left as usize * RGB, place.left as usize * RGB);
        slot[at..at + length].copy_from_slice(&line[from..from + length]);
    }
    out.into()
}

/// The part, at the picture's size.
fn cut_out(frame: Bytes, whole: Size, cut: Cut, to: Size) -> Bytes {
    if cut.size == whole && whole == to {
        return frame;
    }
    let (left, length) = (cut.left as usize * RGB, cut.size.width as usize * RGB);
    let lines = frame.chunks_exact(whole.width as usize * RGB).skip(cut.top as usize);
    let mut part = Vec::with_capacity(cut.size.frame_bytes());
    for line in lines.take(cut.size.height as usize) {
        part.extend_from_slice(&line[left..left + length]);
    }
    if cut.size == to { part.into() } else { resized(&part, cut.size, to) }
}

/// The frame at another size, bilinear: for what the decoder cannot scale, which is seldom and small.
fn resized(frame: &[u8], size: Size, to: Size) -> Bytes {
    let across = taps(size.width, to.width);
    let down = taps(size.height, to.height);
    let line_bytes = size.width as usize * RGB;
    let mut out = Vec::with_capacity(to.frame_bytes());
    for (first, second, weight) in down {
        let (upper, lower) =
            (&frame[first * line_bytes..][..line_bytes], &frame[second * line_bytes..][..line_bytes]);
        let row: Vec<f32> =
            upper.iter().zip(lower).map(|(a, b)| mixed(f32::from(*a), f32::from(*b), weight)).collect();
        for (first, second, weight) in &across {
            for channel in 0..RGB {
                let (a, b) = (row[first * RGB + channel], row[second * RGB + channel]);
                out.push((mixed(a, b, *weight) + 0.5) as u8);
            }
        }
    }
    out.into()
}

fn mixed(a: f32, b: f32, weight: f32) -> f32 {
    a + (b - a) * weight
}

/// For each of `to` pixels, which two of `from` it lies between, and how near to the second.
fn taps(from: u32, to: u32) -> Vec<(usize, usize, f32)> {
    let last = from.saturating_sub(1);
    (0..to)
        .map(|place| {
            let at = (f64::from(place) + 0.5) * f64::from(from) / f64::from(to) - 0.5;
            let at = at.clamp(0.0, f64::from(last));
            let first = at.floor() as u32;
            (first as usize, (first + 1).min(last) as usize, (at - f64::from(first)) as f32)
        })
        .collect()
}
