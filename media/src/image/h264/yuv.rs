//! Converts RGB to BT.709 in limited range, with chroma at half the resolution: ITU-R BT.709-6, 3 and 4. Does no IO.

use rusty_h264_common::YuvFrame;

use crate::size::Size;

/// The bits of the fraction of a factor.
const FRACTION_BITS: u32 = 16;
/// The factors of red, green and blue, with the scale of limited range: 219 or 224 of 255 levels.
const LUMA: [i32; 3] = [11_966, 40_254, 4_064];
const BLUE_DIFFERENCE: [i32; 3] = [-6_596, -22_188, 28_784];
const RED_DIFFERENCE: [i32; 3] = [28_784, -26_145, -2_639];
/// The weights of the pixels left of a chroma sample, at it, and right of it, in each of two rows. Chroma is located at
/// the left one of two pixels, halfway between two rows: ITU-T H.264, figure E-1, type 0.
const COLUMN_WEIGHTS: [i32; 3] = [1, 2, 1];
/// The bits of the sum of all weights.
const WEIGHT_BITS: u32 = 3;

/// Converts a raw `rgb24` frame of size `from`. Rows and columns beyond `to`, which is even, are dropped; missing ones
/// repeat the last.
pub(super) fn convert(frame: &[u8], from: Size, to: Size) -> YuvFrame {
    let stride = from.width as usize * 3;
    let (width, height) = (to.width as usize, to.height as usize);
    let last_row = (from.height as usize).saturating_sub(1);
    let row = |y: usize| {
        let start = y.min(last_row) * stride;
        frame.get(start..start + stride).unwrap_or_default()
    };
    let mut luma = Vec::with_capacity(width * height);
    let (mut blue, mut red) =
        (Vec::with_capacity(width * height / 4), Vec::with_capacity(width * height / 4));
    // For each channel, the sums of two rows, with the first and the last column repeated.
    let mut sums = vec![[0_i32; 3]; width + 2];
    for y in (0..height).step_by(2) {
        let rows = [row(y), row(y + 1)];
        sums.fill([0; 3]);
        for row in rows {
            let pixels = row.chunks_exact(3).chain(row.rchunks_exact(3).take(1));
            for (sum, pixel) in sums[1..=width].iter_mut().zip(pixels) {
                let rgb = [pixel[0], pixel[1], pixel[2]].map(i32::from);
                luma.push(level(rgb, LUMA, 16, 0));
                for (sum, value) in sum.iter_mut().zip(rgb) {
                    *sum += value;
                }
            }
        }
        sums[0] = sums[1];
        sums[width + 1] = sums[width];
        for place in sums.windows(3).step_by(2) {
            let mut rgb = [0; 3];
            for (sum, weight) in place.iter().zip(COLUMN_WEIGHTS) {
                for (total, value) in rgb.iter_mut().zip(sum) {
                    *total += value * weight;
                }
            }
            blue.push(level(rgb, BLUE_DIFFERENCE, 128, WEIGHT_BITS));
            red.push(level(rgb, RED_DIFFERENCE, 128, WEIGHT_BITS));
        }
    }
    YuvFrame { width, height, y: luma, u: blue, v: red }
}

/// The weighted sum of red, green and blue, plus an offset. The colors are sums of `2^weight_bits` values.
fn level(rgb: [i32; 3], factors: [i32; 3], offset: i32, weight_bits: u32) -> u8 {
    let bits = FRACTION_BITS + weight_bits;
    let sum: i32 = rgb.iter().zip(factors).map(|(value, factor)| value * factor).sum();
    ((sum + (offset << bits) + (1 << (bits - 1))) >> bits).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ITU-R BT.709-6, 3.2 and 4.6: 8-bit levels of pure colors.
    #[test]
    fn pure_colors_have_their_levels() {
        for (rgb, expected) in [
            ([0, 0, 0], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128]),
            ([255, 0, 0], [63, 102, 240]),
            ([0, 255, 0], [173, 42, 26]),
            ([0, 0, 255], [32, 240, 118]),
            ([128, 128, 128], [126, 128, 128]),
        ] {
            let size = Size { width: 6, height: 4 };
            let frame = convert(&rgb.repeat(24), size, size);
            assert_eq!((frame.y.len(), frame.u.len(), frame.v.len()), (24, 6, 6));
            for (plane, level) in [(&frame.y, expected[0]), (&frame.u, expected[1]), (&frame.v, expected[2])]
            {
                assert!(plane.iter().all(|value| *value == level), "{rgb:?}: {plane:?}, expected {level}");
            }
        }
    }

    #[test]
    fn odd_sides_are_cropped_or_repeated() {
        let gray = |levels: &[u8]| -> Vec<u8> { levels.iter().flat_map(|level| [*level; 3]).collect() };
        let luma = |level: u8| (16.0 + f64::from(level) * 219.0 / 255.0).round() as u8;
        let (size, even) = (Size { width: 3, height: 3 }, Size { width: 2, height: 2 });
        let cropped = convert(&gray(&[0, 50, 9, 100, 150, 9, 9, 9, 9]), size, even);
        assert_eq!(cropped.y, [0, 50, 100, 150].map(luma));
        let single = convert(&gray(&[200]), Size { width: 1, height: 1 }, even);
        assert_eq!((single.y, single.u), (vec![luma(200); 4], vec![128]));
    }

    /// A sample of chroma is at the left one of its two pixels.
    #[test]
    fn chroma_is_located_left() {
        let size = Size { width: 4, height: 2 };
        let row: Vec<u8> = [[255, 0, 0], [255, 0, 0], [0, 0, 0], [0, 0, 0]].concat();
        let frame = convert(&row.repeat(2), size, size);
        // The first sample is all red; the second has a quarter from the red pixel on its left.
        assert_eq!(frame.v, [240, 156]);
    }
}
