//! The structural similarity of two frames, for the benchmarks.

use glimpse_media::size::Size;

/// The structural similarity of one channel of raw `rgb24` frames, in windows of 8x8 pixels every four
/// (doi.org/10.1109/TIP.2003.819861).
pub(crate) fn channel_ssim(one: &[u8], other: &[u8], size: Size, channel: usize) -> f64 {
    let (width, height) = (size.width as usize, size.height as usize);
    let (mut total, mut count) = (0.0, 0.0);
    for top in (0..height.saturating_sub(7)).step_by(4) {
        for left in (0..width.saturating_sub(7)).step_by(4) {
            let mut sums = [0_u64; 5];
            for y in top..top + 8 {
                for x in left..left + 8 {
                    let at = (y * width + x) * 3 + channel;
                    let (a, b) = (u64::from(one[at]), u64::from(other[at]));
                    for (sum, more) in sums.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                        *sum += more;
                    }
                }
            }
            let [a, b, aa, bb, ab] = sums.map(|sum| sum as f64 / 64.0);
            let (c1, c2) = (6.5025, 58.5225);
            total += (2.0 * a * b + c1) * (2.0 * (ab - a * b) + c2)
                / ((a * a + b * b + c1) * (aa - a * a + bb - b * b + c2));
            count += 1.0;
        }
    }
    total / count
}
