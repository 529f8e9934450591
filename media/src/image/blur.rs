//! Gaussian blur of raw frames by three box filters per direction. Does no IO.

use crate::image::header::{self, ImageError};
use crate::size::Size;

/// Bytes per pixel.
const RGB: usize = 3;
/// The number of box filters whose convolution approximates a Gaussian.
const PASSES: usize = 3;
/// How many samples of a row are filtered vertically at once.
const STRIP: usize = 48;

/// Blurs a raw `rgb24` frame by a Gaussian of this standard deviation in pixels. Beyond the edges, the frame continues
/// with the color of its edge.
///
/// The time does not depend on the deviation.
///
/// # Errors
/// The frame does not have the length for its size.
pub fn blur(frame: &[u8], size: Size, deviation: u8) -> Result<Vec<u8>, ImageError> {
    header::check_frames(&[frame], size)?;
    let mut out = frame.to_vec();
    if deviation == 0 || frame.is_empty() {
        return Ok(out);
    }
    let filter = BoxFilter::from_deviation(f32::from(deviation));
    let (row_bytes, height) = (size.width as usize * RGB, size.height as usize);
    let mut samples: Vec<f32> = Vec::new();
    let mut scratch = Vec::new();
    for row in out.chunks_exact_mut(row_bytes) {
        samples.clear();
        samples.extend(row.iter().map(|sample| f32::from(*sample)));
        filter.apply(&mut samples, &mut scratch, RGB);
        for (target, sample) in row.iter_mut().zip(&samples) {
            *target = to_byte(*sample);
        }
    }
    for start in (0..row_bytes).step_by(STRIP) {
        let lanes = STRIP.min(row_bytes - start);
        samples.clear();
        for row in out.chunks_exact(row_bytes) {
            samples.extend(row[start..start + lanes].iter().map(|sample| f32::from(*sample)));
        }
        filter.apply(&mut samples, &mut scratch, lanes);
        debug_assert_eq!(samples.len(), lanes * height);
        for (row, filtered) in out.chunks_exact_mut(row_bytes).zip(samples.chunks_exact(lanes)) {
            for (target, sample) in row[start..start + lanes].iter_mut().zip(filtered) {
                *target = to_byte(*sample);
            }
        }
    }
    Ok(out)
}

fn to_byte(sample: f32) -> u8 {
    (sample + 0.5).clamp(0.0, 255.0) as u8
}

/// A box filter of fractional width: the extended box filter of Gwosdek et al., "Theoretical Foundations of Gaussian
/// Convolution by Extended Box Filtering", 2011. Its variance is exact for every deviation.
#[derive(Debug, Clone, Copy)]
struct BoxFilter {
    /// Samples of full weight on each side of the center.
    radius: usize,
    /// The weight of the next sample on each side, 0 to 1.
    edge_weight: f32,
    /// The reciprocal of the sum of all weights.
    scale: f32,
}

impl BoxFilter {
    /// The filter of which [`PASSES`] passes have this deviation.
    fn from_deviation(deviation: f32) -> Self {
        let variance = deviation * deviation / PASSES as f32;
        let radius = ((12.0 * variance + 1.0).sqrt() * 0.5 - 0.5).floor();
        let edge_weight = (2.0 * radius + 1.0) * (radius * (radius + 1.0) - 3.0 * variance)
            / (6.0 * (variance - (radius + 1.0) * (radius + 1.0)));
        let scale = 1.0 / (2.0 * radius + 1.0 + 2.0 * edge_weight);
        Self { radius: radius as usize, edge_weight, scale }
    }

    /// Filters `lanes` interleaved sequences.
    fn apply(self, samples: &mut Vec<f32>, scratch: &mut Vec<f32>, lanes: usize) {
        for _ in 0..PASSES {
            self.apply_once(samples, scratch, lanes);
            std::mem::swap(samples, scratch);
        }
    }

    fn apply_once(self, samples: &[f32], filtered: &mut Vec<f32>, lanes: usize) {
        let last = samples.len() / lanes - 1;
        let at = |index: usize| &samples[index.min(last) * lanes..][..lanes];
        let before = |index: usize, distance: usize| at(index.saturating_sub(distance));
        // The window around the first sample.
        let mut sums: Vec<f32> = at(0).iter().map(|sample| sample * (self.radius + 1) as f32).collect();
        for index in 1..=self.radius {
            for (sum, sample) in sums.iter_mut().zip(at(index)) {
                *sum += sample;
            }
        }
        filtered.clear();
        for index in 0..=last {
            let outer = before(index, self.radius + 1).iter().zip(at(index + self.radius + 1));
            filtered.extend(
                sums.iter().zip(outer).map(|(sum, (a, b))| (sum + self.edge_weight * (a + b)) * self.scale),
            );
            let moved = at(index + self.radius + 1).iter().zip(before(index, self.radius));
            for (sum, (entering, leaving)) in sums.iter_mut().zip(moved) {
                *sum += entering - leaving;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact Gaussian in one direction, with clamped edges.
    fn gaussian(samples: &[f64], deviation: f64) -> Vec<f64> {
        let last = samples.len() as i64 - 1;
        let reach = (deviation * 6.0) as i64;
        let weights: Vec<f64> =
            (-reach..=reach).map(|at| (-(at * at) as f64 / (2.0 * deviation * deviation)).exp()).collect();
        let total: f64 = weights.iter().sum();
        (0..=last)
            .map(|center| {
                let sum: f64 = (-reach..=reach)
                    .zip(&weights)
                    .map(|(at, weight)| samples[(center + at).clamp(0, last) as usize] * weight)
                    .sum();
                sum / total
            })
            .collect()
    }

    #[test]
    fn is_close_to_gaussian() {
        // A bar in the middle, one pixel high: only the horizontal direction has an effect.
        let size = Size { width: 400, height: 1 };
        let bar: Vec<f64> = (0..400).map(|x| if (180..220).contains(&x) { 255.0 } else { 0.0 }).collect();
        let frame: Vec<u8> = bar.iter().flat_map(|sample| [*sample as u8; RGB]).collect();
        for (deviation, tolerance) in [(1, 5.0), (2, 5.0), (5, 5.0), (20, 5.0), (60, 5.0)] {
            let blurred = blur(&frame, size, deviation).unwrap();
            let exact = gaussian(&bar, f64::from(deviation));
            let pairs = exact.iter().zip(blurred.chunks_exact(RGB));
            let worst = pairs.map(|(a, b)| (a - f64::from(b[0])).abs()).fold(0.0, f64::max);
            assert!(worst < tolerance, "deviation {deviation}: {worst}");
        }
    }

    #[test]
    fn keeps_flat_frames() {
        for (width, height) in [(1, 1), (2, 3), (65, 33)] {
            let size = Size { width, height };
            let frame: Vec<u8> = [200u8, 0, 255].repeat(size.frame_bytes() / RGB);
            for deviation in [1, 7, 100] {
                assert_eq!(blur(&frame, size, deviation).unwrap(), frame, "{width}x{height} {deviation}");
            }
        }
    }

    #[test]
    fn both_directions_are_equal() {
        let size = Size { width: 61, height: 61 };
        let mut frame = vec![0; size.frame_bytes()];
        frame[(30 * 61 + 30) * RGB..][..RGB].fill(255);
        frame[(30 * 61 + 5) * RGB..][..RGB].fill(255);
        let mut turned = vec![0; size.frame_bytes()];
        turned[(30 * 61 + 30) * RGB..][..RGB].fill(255);
        turned[(5 * 61 + 30) * RGB..][..RGB].fill(255);
        let (frame, turned) = (blur(&frame, size, 1).unwrap(), blur(&turned, size, 1).unwrap());
        assert!(frame[(30 * 61 + 30) * RGB] > 20);
        for y in 0..61 {
            for x in 0..61 {
                let (a, b) = (frame[(y * 61 + x) * RGB], turned[(x * 61 + y) * RGB]);
                assert!(a.abs_diff(b) <= 1, "{x} {y}");
            }
        }
    }

    #[test]
    fn rejects_wrong_length() {
        assert!(blur(&[0; 5], Size { width: 1, height: 2 }, 1).is_err());
    }
}
