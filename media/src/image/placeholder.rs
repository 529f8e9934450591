//! Computes the placeholder of a poster: a thumbhash and a dominant color. Does no IO.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::size::Size;

/// The longest side that the thumbhash algorithm accepts.
const MAX_HASH_SIDE: u32 = 100;

/// The thumbhash of a raw `rgb24` frame, in base64, <https://evanw.github.io/thumbhash/>.
pub fn thumbhash(frame: &[u8], size: Size) -> String {
    let longest = size.width.max(size.height).max(1);
    let scale_side = |side: u32| {
        if longest <= MAX_HASH_SIDE { side } else { (side * MAX_HASH_SIDE / longest).max(1) }
    };
    let small = Size { width: scale_side(size.width), height: scale_side(size.height) };
    let rgba: Vec<u8> = shrink(frame, size, small)
        .chunks_exact(3)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255])
        .collect();
    STANDARD.encode(thumbhash::rgba_to_thumb_hash(small.width as usize, small.height as usize, &rgba))
}

/// Scales a raw `rgb24` frame down: each pixel is the mean of its area, including fractions of pixels. Values are
/// averaged without linearization, like in ffmpeg's scaler.
pub fn shrink(frame: &[u8], from: Size, to: Size) -> Vec<u8> {
    if from == to {
        return frame.to_vec();
    }
    let (stride, line) = (from.width as usize * 3, to.width as usize * 3);
    let mut small = vec![0; to.frame_bytes()];
    if stride == 0 || line == 0 {
        return small;
    }
    let columns = AreaWeights::new(from.width, to.width);
    let rows = AreaWeights::new(from.height, to.height);
    let mut sums = vec![0_u32; stride];
    for (place, out) in small.chunks_exact_mut(line).enumerate() {
        sums.fill(0);
        for (row, weight) in rows.weights_at(place) {
            let row = frame.get(row * stride..(row + 1) * stride).unwrap_or_default();
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * u32::from(*value);
            }
        }
        for (place, pixel) in out.chunks_exact_mut(3).enumerate() {
            let mut total = [1 << (2 * WEIGHT_BITS - 1); 3];
            for (column, weight) in columns.weights_at(place) {
                for (total, sum) in
                    total.iter_mut().zip(sums.get(column * 3..column * 3 + 3).unwrap_or_default())
                {
                    *total += weight * sum;
                }
            }
            for (value, total) in pixel.iter_mut().zip(total) {
                *value = (total >> (2 * WEIGHT_BITS)) as u8;
            }
        }
    }
    small
}

/// Bits of a weight: two weights and the eight bits of a pixel need just under 32 bits, including the rounding term.
const WEIGHT_BITS: u32 = 12;

/// The source pixels of each output pixel in a row or column, and their weights.
struct AreaWeights {
    first: Vec<usize>,
    /// The weights of the first output pixel, followed by those of the second and so on.
    weights: Vec<u32>,
    /// The start of each output pixel's weights.
    offsets: Vec<usize>,
}

impl AreaWeights {
    fn new(from: u32, to: u32) -> Self {
        let (from, to) = (u64::from(from), u64::from(to));
        let mut spans = Self { first: Vec::new(), weights: Vec::new(), offsets: vec![0] };
        for index in 0..to {
            // In units of which a source pixel has `to` and an output pixel `from`.
            let (start, end) = (index * from, (index + 1) * from);
            // Weights are differences of rounded sums, so that their sum is always exactly 1.
            let share = |at: u64| {
                ((at.clamp(start, end) - start) << WEIGHT_BITS).checked_div(from).unwrap_or(0) as u32
            };
            let pixels = start / to..end.div_ceil(to);
            spans.first.push(pixels.start as usize);
            spans.weights.extend(pixels.map(|pixel| share((pixel + 1) * to) - share(pixel * to)));
            spans.offsets.push(spans.weights.len());
        }
        spans
    }

    /// The source pixels of an output pixel, with their weights.
    fn weights_at(&self, place: usize) -> impl Iterator<Item = (usize, u32)> {
        let weights = &self.weights[self.offsets[place]..self.offsets[place + 1]];
        (self.first[place]..).zip(weights.iter().copied())
    }
}

/// The most frequent color of a raw `rgb24` frame, with a preference for saturated ones, as `#rrggbb`.
pub fn dominant_color(frame: &[u8]) -> String {
    // Four bits per channel: similar colors share a bin, different ones do not.
    let mut bins = vec![(0_u64, [0_u64; 3]); 4096];
    for pixel in frame.chunks_exact(3) {
        let bin = pixel.iter().fold(0_usize, |index, value| (index << 4) | usize::from(value >> 4));
        let (count, sum) = &mut bins[bin];
        *count += 1;
        for (total, value) in sum.iter_mut().zip(pixel) {
            *total += u64::from(*value);
        }
    }
    let weight = |(count, sum): &(u64, [u64; 3])| {
        let mean = sum.map(|total| total / (*count).max(1));
        let spread = mean.iter().max().unwrap_or(&0) - mean.iter().min().unwrap_or(&0);
        count * (64 + spread)
    };
    // The first of equal bins, so that the result is deterministic.
    let best = bins.iter().fold(&bins[0], |best, bin| if weight(bin) > weight(best) { bin } else { best });
    let [red, green, blue] = best.1.map(|total| total / best.0.max(1));
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dominant_color_covers_most() {
        let frame: Vec<u8> = [[250_u8, 10, 10]; 60].into_iter().chain([[20, 20, 20]; 40]).flatten().collect();
        assert_eq!(dominant_color(&frame), "#fa0a0a");
        assert_eq!(dominant_color(&[]), "#000000");
    }

    #[test]
    fn thumbhash_is_short_at_any_size() {
        for (width, height) in [(1, 1), (640, 360), (100, 100), (640, 1), (1, 8192), (101, 3)] {
            let size = Size { width, height };
            let hash = thumbhash(&vec![128; size.frame_bytes()], size);
            assert!((5..=40).contains(&hash.len()), "{width}x{height}: {hash}");
        }
    }

    /// The mean of the area, in floating point.
    fn reference_shrink(frame: &[u8], from: Size, to: Size) -> Vec<f64> {
        let share = |place: u32, pixel: u32, from: u32, to: u32| {
            let ratio = f64::from(from) / f64::from(to);
            let (start, end) = (f64::from(place) * ratio, f64::from(place + 1) * ratio);
            ((f64::from(pixel) + 1.0).min(end) - f64::from(pixel).max(start)).max(0.0) / ratio
        };
        let mut small = Vec::new();
        for y in 0..to.height {
            for x in 0..to.width {
                let mut sums = [0.0; 3];
                for row in 0..from.height {
                    for column in 0..from.width {
                        let weight =
                            share(y, row, from.height, to.height) * share(x, column, from.width, to.width);
                        let at = ((row * from.width + column) * 3) as usize;
                        for (sum, value) in sums.iter_mut().zip(&frame[at..at + 3]) {
                            *sum += weight * f64::from(*value);
                        }
                    }
                }
                small.extend(sums);
            }
        }
        small
    }

    #[test]
    fn shrink_averages_the_area() {
        for (from, to) in [
            ((8, 8), (4, 4)),
            ((9, 7), (4, 3)),
            ((13, 5), (1, 1)),
            ((6, 6), (5, 6)),
            ((3, 2), (6, 5)),
            ((1, 1), (1, 1)),
        ] {
            let [from, to] = [from, to].map(|(width, height)| Size { width, height });
            let frame: Vec<u8> = (0..from.frame_bytes() as u32)
                .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect();
            let small = shrink(&frame, from, to);
            assert_eq!(small.len(), to.frame_bytes());
            for (fast, slow) in small.iter().zip(reference_shrink(&frame, from, to)) {
                assert!((f64::from(*fast) - slow).abs() <= 0.6, "{from:?} to {to:?}: {fast}, {slow}");
            }
        }
    }

    #[test]
    fn shrink_preserves_flat_colors() {
        for value in [0, 1, 254, 255] {
            for (width, height) in [(640, 360), (641, 1), (1, 8192), (8192, 3)] {
                let from = Size { width, height };
                let to = Size { width: width.div_ceil(3), height: height.div_ceil(7) };
                let small = shrink(&vec![value; from.frame_bytes()], from, to);
                assert!(small.iter().all(|shrunk| *shrunk == value), "{width}x{height}: {value}");
            }
        }
    }
}
