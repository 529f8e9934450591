//! Scores how suitable a frame is as a poster. Does no IO.

/// The score of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Larger is better.
    pub value: f64,
    /// Whether almost nothing is visible: black, white or a single color.
    pub blank: bool,
}

/// Frames with a smaller standard deviation of luma are blank: noise and a station logo are below it.
const BLANK_DEVIATION: f64 = 6.0;
/// Frames with a mean luma below or above these limits are blank, unless a fiftieth of their pixels is bright or dark
/// enough.
const DARK: f64 = 18.0;
const LIT: u8 = 48;
const BRIGHT: f64 = 240.0;
const SHADE: u8 = 200;
/// Approximate number of pixels that are sampled in each direction: the same score in a tenth of the time.
const SAMPLES_PER_SIDE: usize = 128;
/// Rows at the top and bottom, and columns at the sides, up to this luma are bars of a letterbox.
const MAX_BAR_LUMA: u8 = 24;
/// A frame in which two neighboring shades out of 32 have at least this share is a title card: a flat background with
/// some content.
const CARD_SHARE: f64 = 0.6;
/// Neighboring pixels differ by at most this luma if they belong to one flat area.
const FLAT_STEP: i32 = 1;
/// A frame of which this share of neighbors is flat, in both directions, was drawn and not filmed: color bars, a test
/// picture, text. Filmed scenes reach 0.8 rarely.
const FLAT_SHARE: f64 = 0.8;
/// The range from that share to the full penalty.
const FLAT_RANGE: f64 = 0.1;
/// Filmed scenes have a lower mean saturation, out of 255.
const MAX_SATURATION: f64 = 96.0;
/// The root mean square of the steps between neighbors, relative to the standard deviation: 0.1 to 0.3 in filmed scenes,
/// 1.4 in noise, where neighbors are unrelated, and below 0.1 in blurred frames.
const NOISE_STEP: f64 = 0.6;
const BLUR_STEP: f64 = 0.1;

/// Scores a raw `rgb24` frame of this width.
pub fn score(frame: &[u8], width: u32) -> Score {
    let view = FrameView {
        frame,
        width: (width as usize).max(1),
        height: frame.len() / 3 / (width as usize).max(1),
    };
    let Some(area) = view.active_area() else { return Score { value: 0.0, blank: true } };
    let stats = view.measure(area);
    let count = stats.count.max(1) as f64;
    let mean = stats.luma_sum as f64 / count;
    let deviation = (stats.luma_squares as f64 / count - mean * mean).max(0.0).sqrt();
    let share = |shades: &[u32]| f64::from(shades.iter().sum::<u32>()) / count;
    let entropy: f64 = stats
        .shades
        .iter()
        .filter(|shade| **shade > 0)
        .map(|shade| share(&[*shade]))
        .map(|part| -part * part.log2())
        .sum();
    let card = stats.shades.windows(2).map(share).fold(0.0, f64::max);
    let saturation = stats.saturation as f64 / count;
    let step = (stats.step_squares as f64 / count).sqrt() / deviation.max(1.0);
    let flat = stats.flat_steps.map(|flat| f64::from(flat) / count);
    let excess = |value: f64, limit: f64, range: f64| ((value - limit) / range).clamp(0.0, 1.0);
    // Medium brightness is best. Contrast, variety, sharpness and color increase the score. What no camera records
    // reduces it, and so does blur.
    let exposure = 1.0 - ((mean - 118.0).abs() / 137.0).min(1.0);
    let value = exposure
        + 0.7 * (deviation / 64.0).min(1.0)
        + 0.6 * (entropy / 4.5).min(1.0)
        + 0.8 * (stats.curvature as f64 / count / 12.0).min(1.0)
        + 0.4 * (saturation / MAX_SATURATION).min(1.0)
        - 1.2 * excess(card, CARD_SHARE, 1.0 - CARD_SHARE)
        - 1.5 * excess(flat[0].min(flat[1]), FLAT_SHARE, FLAT_RANGE)
        - excess(saturation, MAX_SATURATION, 64.0)
        - 2.0 * excess(step, NOISE_STEP, NOISE_STEP)
        - 0.8 * excess(BLUR_STEP - step, 0.0, 0.05);
    let [low, high] = stats.shade_range();
    let blank = deviation < BLANK_DEVIATION || (mean < DARK && high < LIT) || (mean > BRIGHT && low > SHADE);
    // A frame that consists only of a decoder's error concealment has a lower score than any coded frame.
    let value = if blank && is_concealment(frame) { CONCEALED_SCORE } else { value };
    Score { value, blank }
}

/// Whether a raw `rgb24` frame looks like the fill color that decoders use for missing pixels: nearly all of it is the
/// middle gray of YCbCr, or the green of all zeros. Coded frames may look the same.
pub fn is_concealment(frame: &[u8]) -> bool {
    let near = |channel: u8, level: u8| channel.abs_diff(level) <= CONCEALMENT_TOLERANCE;
    let filled = |pixel: &[u8]| match *pixel {
        [red, green, blue] => CONCEALMENT_COLORS
            .iter()
            .any(|fill| near(red, fill[0]) && near(green, fill[1]) && near(blue, fill[2])),
        _ => false,
    };
    let count = frame.len() / 3;
    count > 0 && frame.chunks_exact(3).filter(|pixel| filled(pixel)).count() > count / 16 * 15
}

/// 128, 128, 128 in limited and in full range; 0, 0, 0 by the matrices of BT.601 and BT.709.
const CONCEALMENT_COLORS: [[u8; 3]; 4] = [[130; 3], [128; 3], [0, 135, 0], [0, 77, 0]];
/// The maximum distance of a pixel from those colors, per channel.
const CONCEALMENT_TOLERANCE: u8 = 2;
/// The value of a frame that consists only of a fill color: lower than all penalties together.
const CONCEALED_SCORE: f64 = -8.0;

struct FrameView<'a> {
    frame: &'a [u8],
    width: usize,
    height: usize,
}

/// The part of a frame inside its bars. Each direction from, to.
#[derive(Debug, Clone, Copy)]
struct ActiveArea {
    columns: (usize, usize),
    rows: (usize, usize),
}

/// Statistics of the sampled pixels.
struct FrameStats {
    count: usize,
    /// Sums of luma and squared luma.
    luma_sum: u64,
    luma_squares: u64,
    /// Sum of the distances between a pixel's luma and the mean of its two neighbors: the first value that blur
    /// reduces.
    curvature: u64,
    /// Sum of the squared differences between a pixel's luma and that of its left neighbor.
    step_squares: u64,
    /// The number of pixels whose left neighbor, and whose upper neighbor, has the same luma.
    flat_steps: [u32; 2],
    /// Sum of the differences between the largest and the smallest channel.
    saturation: u64,
    /// The number of pixels of each of 32 shades.
    shades: [u32; 32],
}

impl FrameStats {
    /// The shades below and above which a fiftieth of the pixels are.
    fn shade_range(&self) -> [u8; 2] {
        let tail_count = (self.count / 50) as u32;
        let end = |order: &mut dyn Iterator<Item = usize>| {
            let mut sum = 0;
            for shade in order {
                sum += self.shades[shade];
                if sum > tail_count {
                    return (shade * 8) as u8;
                }
            }
            0
        };
        [end(&mut (0..32)), end(&mut (0..32).rev())]
    }
}

impl FrameView<'_> {
    fn luma(&self, x: usize, y: usize) -> i32 {
        let at = (y * self.width + x) * 3;
        let [red, green, blue] = [0, 1, 2].map(|channel| i32::from(self.frame[at + channel]));
        (77 * red + 150 * green + 29 * blue) >> 8
    }

    /// The area inside black bars; the whole frame if it is entirely black; `None` if there are no pixels.
    fn active_area(&self) -> Option<ActiveArea> {
        if self.width == 0 || self.height == 0 {
            return None;
        }
        let (across, down) = (self.width.div_ceil(SAMPLES_PER_SIDE), self.height.div_ceil(SAMPLES_PER_SIDE));
        let black = |x: usize, y: usize| self.luma(x, y) <= i32::from(MAX_BAR_LUMA);
        let lit_row = |y: &usize| !(0..self.width).step_by(across).all(|x| black(x, *y));
        let lit_column = |x: &usize| !(0..self.height).step_by(down).all(|y| black(*x, y));
        let (rows, columns) = (0..self.height, 0..self.width);
        let found = (
            rows.clone().find(lit_row),
            rows.rev().find(lit_row),
            columns.clone().find(lit_column),
            columns.rev().find(lit_column),
        );
        Some(match found {
            (Some(top), Some(bottom), Some(left), Some(right)) => {
                // Bars leave a frame of a minimum size. A light in the dark is not a frame with bars.
                let wide = (right + 1 - left) * 5 >= self.width * 2;
                let high = (bottom + 1 - top) * 5 >= self.height * 2;
                ActiveArea {
                    columns: if wide { (left, right + 1) } else { (0, self.width) },
                    rows: if high { (top, bottom + 1) } else { (0, self.height) },
                }
            }
            _ => ActiveArea { columns: (0, self.width), rows: (0, self.height) },
        })
    }

    fn measure(&self, area: ActiveArea) -> FrameStats {
        let ((left, right), (top, bottom)) = (area.columns, area.rows);
        let (across, down) =
            ((right - left).div_ceil(SAMPLES_PER_SIDE), (bottom - top).div_ceil(SAMPLES_PER_SIDE));
        let mut stats = FrameStats {
            count: 0,
            luma_sum: 0,
            luma_squares: 0,
            curvature: 0,
            step_squares: 0,
            flat_steps: [0; 2],
            saturation: 0,
            shades: [0; 32],
        };
        for y in (top..bottom).step_by(down) {
            for x in (left..right).step_by(across) {
                let luma = self.luma(x, y);
                let before = self.luma(x.saturating_sub(1), y);
                let after = self.luma((x + 1).min(self.width - 1), y);
                let above = self.luma(x, y.saturating_sub(1));
                let at = (y * self.width + x) * 3;
                let pixel = [0, 1, 2].map(|channel| self.frame[at + channel]);
                let low = pixel[0].min(pixel[1]).min(pixel[2]);
                let high = pixel[0].max(pixel[1]).max(pixel[2]);
                stats.count += 1;
                stats.luma_sum += luma as u64;
                stats.luma_squares += (luma * luma) as u64;
                stats.curvature += u64::from((2 * luma - before - after).unsigned_abs());
                stats.step_squares += u64::from((luma - before).unsigned_abs()).pow(2);
                for (flat, other) in stats.flat_steps.iter_mut().zip([before, above]) {
                    *flat += u32::from((luma - other).abs() <= FLAT_STEP);
                }
                stats.saturation += u64::from(high - low);
                stats.shades[(luma as usize / 8).min(31)] += 1;
            }
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 128;
    const HEIGHT: usize = 72;

    fn flat(value: u8) -> Vec<u8> {
        vec![value; 64 * 64 * 3]
    }

    fn checkerboard(low: u8, high: u8) -> Vec<u8> {
        (0..64 * 64).flat_map(|at| [if (at / 8 + at / 512) % 2 == 0 { low } else { high }; 3]).collect()
    }

    #[test]
    fn detail_beats_blank_frames() {
        let good = score(&checkerboard(60, 180), 64);
        assert!(!good.blank);
        for (name, frame) in
            [("black", flat(0)), ("white", flat(255)), ("gray", flat(128)), ("dim", checkerboard(0, 12))]
        {
            let bad = score(&frame, 64);
            assert!(bad.blank, "{name}");
            assert!(bad.value < good.value, "{name}");
        }
    }

    /// 130 in limited range, 128 in full range, and the green of zeros by both matrices.
    #[test]
    fn concealed_frame_scores_lowest() {
        for fill in [[130; 3], [128; 3], [129; 3], [0, 135, 0], [1, 77, 0]] {
            let frame = bytes(&vec![fill.map(f64::from); WIDTH * HEIGHT]);
            assert!(is_concealment(&frame), "{fill:?}");
            assert!(score(&frame, WIDTH as u32).value < score(&flat(0), 64).value, "{fill:?}");
        }
        for other in [[125; 3], [135; 3], [130, 130, 120], [0, 160, 0], [0; 3], [255; 3]] {
            assert!(!is_concealment(&bytes(&vec![other.map(f64::from); WIDTH * HEIGHT])), "{other:?}");
        }
        assert!(!is_concealment(&[]) && !is_concealment(&bytes(&scene())));
        // A strip of decoded pixels is visible content.
        let mut torn = vec![[130.0; 3]; WIDTH * HEIGHT];
        torn[..WIDTH * HEIGHT / 10].copy_from_slice(&scene()[..WIDTH * HEIGHT / 10]);
        assert!(!is_concealment(&bytes(&torn)));
    }

    #[test]
    fn empty_frame_is_blank() {
        assert!(score(&[], 0).blank);
        assert!(score(&[], 64).blank);
        assert!(score(&[1, 2, 3], 64).blank);
    }

    /// A landscape: sky, hills with texture, a lake.
    fn scene() -> Vec<[f64; 3]> {
        (0..WIDTH * HEIGHT)
            .map(|at| {
                let (x, y) = ((at % WIDTH) as f64, (at / WIDTH) as f64);
                let hill = 30.0 + 10.0 * (x / 17.0).sin();
                let grain =
                    (at as u32).wrapping_mul(2_654_435_761).rotate_left(9).wrapping_mul(2_246_822_519) >> 26;
                match y {
                    _ if y < hill => [110.0 + y, 150.0 + y, 230.0],
                    _ if y < 55.0 => [60.0 + f64::from(grain), 90.0 + 1.4 * f64::from(grain), 40.0],
                    _ => [20.0, 60.0 + y / 2.0 + f64::from(grain) / 4.0, 120.0],
                }
            })
            .collect()
    }

    fn bytes(pixels: &[[f64; 3]]) -> Vec<u8> {
        pixels.iter().flatten().map(|value| value.clamp(0.0, 255.0) as u8).collect()
    }

    /// Mixes each pixel with the corresponding one of another image.
    fn blend(pixels: &[[f64; 3]], share: f64, other: impl Fn(usize) -> [f64; 3]) -> Vec<u8> {
        let mix = |(at, pixel): (usize, &[f64; 3])| {
            let other = other(at);
            std::array::from_fn(|channel| pixel[channel] * (1.0 - share) + other[channel] * share)
        };
        bytes(&pixels.iter().enumerate().map(mix).collect::<Vec<_>>())
    }

    fn blur(pixels: &[[f64; 3]]) -> Vec<u8> {
        let mean = |at: usize| {
            let around = || (at.saturating_sub(4)..(at + 5).min(pixels.len())).map(|near| pixels[near]);
            let count = around().count() as f64;
            std::array::from_fn(|channel| around().map(|pixel| pixel[channel]).sum::<f64>() / count)
        };
        bytes(&(0..pixels.len()).map(mean).collect::<Vec<_>>())
    }

    fn letterbox(pixels: &[[f64; 3]]) -> Vec<u8> {
        let lit = |at: usize| (12..HEIGHT - 12).contains(&(at / WIDTH));
        blend(pixels, 1.0, |at| if lit(at) { pixels[at] } else { [0.0; 3] })
    }

    /// Lines of text on a flat background.
    fn card(ground: f64, ink: f64) -> Vec<u8> {
        let written =
            |at: usize| (at / WIDTH) % 18 < 4 && (20..100).contains(&(at % WIDTH)) && (at % WIDTH) % 5 < 2;
        blend(&scene(), 1.0, |at| if written(at) { [ink; 3] } else { [ground; 3] })
    }

    #[test]
    fn degraded_frames_score_lower() {
        let scene = scene();
        let real = bytes(&scene);
        let worse = [
            ("half faded to black", blend(&scene, 0.5, |_| [0.0; 3])),
            ("nearly faded to black", blend(&scene, 0.85, |_| [0.0; 3])),
            ("half faded to white", blend(&scene, 0.5, |_| [255.0; 3])),
            ("a white flash", blend(&scene, 0.95, |_| [255.0; 3])),
            ("blended with its mirror", blend(&scene, 0.5, |at| scene[scene.len() - 1 - at])),
            ("blurred", blur(&scene)),
            ("without color", blend(&scene, 1.0, |at| [scene[at].iter().sum::<f64>() / 3.0; 3])),
            ("white text on black", card(0.0, 255.0)),
            ("black text on white", card(255.0, 0.0)),
            ("white text on blue", card(70.0, 240.0)),
            ("black", vec![0; real.len()]),
            ("white", vec![255; real.len()]),
        ];
        let own = score(&real, WIDTH as u32);
        assert!(!own.blank);
        for (name, frame) in &worse {
            let other = score(frame, WIDTH as u32);
            assert!(other.blank || other.value < own.value - 0.1, "{name}: {other:?} against {own:?}");
        }
    }

    /// Bars of a few colors, and values without any relation.
    #[test]
    fn test_pictures_and_noise_score_lower() {
        let own = score(&bytes(&scene()), WIDTH as u32);
        let colors =
            [[191.0; 3], [191.0, 191.0, 0.0], [0.0, 191.0, 191.0], [0.0, 191.0, 0.0], [191.0, 0.0, 191.0]];
        let bars = blend(&scene(), 1.0, |at| colors[at % WIDTH * colors.len() / WIDTH]);
        let random = |at: usize| {
            let hash = (at as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
            hash.rotate_left(7).wrapping_mul(3_266_489_917).to_be_bytes()
        };
        let noise = blend(&scene(), 1.0, |at| {
            let [red, green, blue, _] = random(at);
            [red, green, blue].map(f64::from)
        });
        for (name, frame) in [("bars", bars), ("noise", noise)] {
            let other = score(&frame, WIDTH as u32);
            assert!(!other.blank && other.value < own.value - 0.5, "{name}: {other:?} against {own:?}");
        }
    }

    #[test]
    fn letterbox_does_not_lower_score() {
        let scene = scene();
        let (own, boxed) = (score(&bytes(&scene), WIDTH as u32), score(&letterbox(&scene), WIDTH as u32));
        assert!((own.value - boxed.value).abs() < 0.25, "{own:?} and {boxed:?}");
        let flash = score(&blend(&scene, 0.5, |_| [255.0; 3]), WIDTH as u32);
        assert!(boxed.value > flash.value);
    }

    #[test]
    fn dark_scene_beats_black() {
        let night = blend(&scene(), 0.9, |_| [0.0; 3]);
        let lights = |at: usize| {
            if at % 37 < 3 && (at / WIDTH).is_multiple_of(3) { [220.0, 190.0, 120.0] } else { [6.0; 3] }
        };
        let city = blend(&scene(), 1.0, lights);
        let black = score(&vec![0; night.len()], WIDTH as u32);
        assert!(black.blank);
        let result = score(&city, WIDTH as u32);
        assert!(!result.blank && result.value > black.value, "{result:?}");
        assert!(score(&night, WIDTH as u32).value > black.value);
    }

    #[test]
    fn white_flash_is_blank() {
        assert!(score(&blend(&scene(), 0.95, |_| [255.0; 3]), WIDTH as u32).blank);
    }
}
