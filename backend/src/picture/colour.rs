//! Decides what stands in for a poster until it is there: a blurred hash and one colour. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::size::Size;

/// The longest side that the hash's algorithm accepts.
const HASH_SIDE: u32 = 100;

/// The thumbhash of a raw `rgb24` frame, base64, <https://evanw.github.io/thumbhash/>.
pub fn thumbhash(frame: &[u8], size: Size) -> String {
    let longest = size.width.max(size.height).max(1);
    let shorten = |side: u32| {
        if longest <= HASH_SIDE { side } else { (side * HASH_SIDE / longest).max(1) }
    };
    let small = Size { width: shorten(size.width), height: shorten(size.height) };
    let rgba: Vec<u8> = shrink(frame, size, small)
        .chunks_exact(3)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255])
        .collect();
    STANDARD.encode(thumbhash::rgba_to_thumb_hash(small.width as usize, small.height as usize, &rgba))
}

/// A raw `rgb24` frame made smaller: each pixel is the mean of those it stands for.
pub fn shrink(frame: &[u8], from: Size, to: Size) -> Vec<u8> {
    let mut small = Vec::with_capacity(to.frame_bytes());
    for y in 0..to.height as usize {
        let rows = band(y, to.height as usize, from.height as usize);
        for x in 0..to.width as usize {
            let columns = band(x, to.width as usize, from.width as usize);
            let mut sum = [0_u64; 3];
            for row in rows.clone() {
                for column in columns.clone() {
                    let at = (row * from.width as usize + column) * 3;
                    for (total, value) in sum.iter_mut().zip(&frame[at..at + 3]) {
                        *total += u64::from(*value);
                    }
                }
            }
            let count = (rows.len() * columns.len()).max(1) as u64;
            small.extend(sum.map(|total| (total / count) as u8));
        }
    }
    small
}

/// The source pixels that one pixel of the shrunk picture stands for.
fn band(place: usize, of: usize, total: usize) -> std::ops::Range<usize> {
    let start = place * total / of;
    start..((place + 1) * total / of).max(start + 1).min(total)
}

/// The colour that covers most of a raw `rgb24` frame, vivid ones counting more, as `#rrggbb`.
pub fn dominant(frame: &[u8]) -> String {
    // Four bits a channel: near colours fall together, different ones do not.
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
    // Of equals the first: the same frame has the same colour every time.
    let best = bins.iter().fold(&bins[0], |best, bin| if weight(bin) > weight(best) { bin } else { best });
    let [red, green, blue] = best.1.map(|total| total / best.0.max(1));
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dominant_colour_is_the_one_that_covers_most() {
        let frame: Vec<u8> = [[250_u8, 10, 10]; 60].into_iter().chain([[20, 20, 20]; 40]).flatten().collect();
        assert_eq!(dominant(&frame), "#fa0a0a");
        assert_eq!(dominant(&[]), "#000000");
    }

    #[test]
    fn a_hash_is_short_whatever_the_size() {
        for (width, height) in [(1, 1), (640, 360), (100, 100), (640, 1), (1, 8192), (101, 3)] {
            let size = Size { width, height };
            let hash = thumbhash(&vec![128; size.frame_bytes()], size);
            assert!((5..=40).contains(&hash.len()), "{width}x{height}: {hash}");
        }
    }
}
