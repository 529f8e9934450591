//! Computes a color palette for the frames of an animation. Does no IO.
//!
//! The colors are counted in a histogram with 40 shades per channel, the histogram is split where its variance is
//! largest, and a few rounds of k-means move each color to the mean of the colors that it represents.

/// The most pixels that are counted: more do not change the palette and only take time.
const MAX_SAMPLES: usize = 1 << 19;
/// Rounds of k-means after the split.
const K_MEANS_ROUNDS: u32 = 3;
/// The weight of a color difference relative to a luma difference: vision, and all metrics based on it, are more
/// sensitive to luma.
const CHROMA_WEIGHT: f32 = 0.7;

/// A color in a space where distances are approximately perceptual: luma and two color differences. It is a linear
/// transformation of RGB, so that a mean is a mean in both.
pub(crate) type YccColor = [f32; 3];

/// Converts a color to [`YccColor`] (BT.601 luma).
pub(crate) fn to_ycc([red, green, blue]: [f32; 3]) -> YccColor {
    let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    [luma, (blue - luma) * CHROMA_WEIGHT, (red - luma) * CHROMA_WEIGHT]
}

fn to_rgb([luma, blue, red]: YccColor) -> [u8; 3] {
    let (blue, red) = (blue / CHROMA_WEIGHT + luma, red / CHROMA_WEIGHT + luma);
    let green = (luma - 0.299 * red - 0.114 * blue) / 0.587;
    [red, green, blue].map(|value| value.round().clamp(0.0, 255.0) as u8)
}

/// Shades per channel in the histogram.
const SHADES: usize = 40;

/// Maps each channel value to one of `count` shades. Values below `dark` have one shade per `dark_step`, since small
/// differences are visible in dark areas.
pub(crate) const fn quantization_table(count: usize, dark: usize, dark_step: usize) -> [u8; 256] {
    let mut table = [0; 256];
    let below = dark / dark_step;
    let mut value = 0;
    while value < 256 {
        table[value] = if value < dark {
            value / dark_step
        } else {
            below + (value - dark) * (count - below) / (256 - dark)
        } as u8;
        value += 1;
    }
    table
}

const SHADE_OF: [u8; 256] = quantization_table(SHADES, 32, 4);

/// A color of the histogram.
#[derive(Debug, Clone, Copy)]
struct HistogramBin {
    weight: f32,
    color: YccColor,
}

/// The side of the blocks whose detail is measured.
pub(crate) const BLOCK: usize = 8;
/// The luma variance of a block at which twice the error of a flat block is equally visible: the stabilizing constant
/// of SSIM (`(0.03 * 255)^2`, <https://doi.org/10.1109/TIP.2003.819861>).
const SSIM_C2: f32 = 58.5;
/// Upper bound of the weight of a detailed block relative to a flat one.
const MAX_WEIGHT: f32 = 48.0;
/// Below this luma, errors are more visible the darker the block is, by the other constant of SSIM: `(0.01 * 255)^2`.
const DARK: f32 = 7.0;
const SSIM_C1: f32 = 6.5;
/// Upper bound of the weight of a pixel in a dark block relative to one in a bright and flat block.
const MAX_SHARE: f32 = 12.0;

/// The error tolerance of each block of a frame: 1 for a flat block, more for a detailed one, less for a dark one.
#[derive(Debug, Clone, Default)]
pub struct BlockWeights {
    list: Vec<f32>,
    columns: usize,
    height: usize,
}

impl BlockWeights {
    /// Computes the weights of a raw `rgb24` frame of this width.
    pub fn from_frame(frame: &[u8], width: usize) -> Self {
        let width = width.max(1);
        let (columns, height) = (width.div_ceil(BLOCK), frame.len() / 3 / width);
        let mut list = Vec::with_capacity(columns * height.div_ceil(BLOCK));
        for rows in frame.chunks(BLOCK * width * 3) {
            for left in (0..width).step_by(BLOCK) {
                list.push(block_weight(rows, width, left..(left + BLOCK).min(width)));
            }
        }
        Self { list, columns, height }
    }

    /// The weights of the blocks for each row of pixels.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.height).map(|y| &self.list[y / BLOCK * self.columns..][..self.columns])
    }

    /// The weight of the block that contains a pixel.
    pub(crate) fn get(&self, x: usize, y: usize) -> f32 {
        self.list[y / BLOCK * self.columns + x / BLOCK]
    }
}

fn block_weight(rows: &[u8], width: usize, columns: std::ops::Range<usize>) -> f32 {
    let (mut sum, mut squares, mut count) = (0_u32, 0_u32, 0_u32);
    // Every second row is sufficient.
    for row in rows.chunks_exact(width * 3).step_by(2) {
        for pixel in row[columns.start * 3..columns.end * 3].chunks_exact(3) {
            let luma = 5 * u32::from(pixel[0]) + 9 * u32::from(pixel[1]) + 2 * u32::from(pixel[2]);
            sum += luma;
            squares += luma * luma;
            count += 1;
        }
    }
    let (sum, squares, count) = (sum as f32 / 16.0, squares as f32 / 256.0, count.max(1) as f32);
    let mean = sum / count;
    let variance = (squares / count - mean * mean).max(0.0);
    let dark = (2.0 * mean * mean + SSIM_C1) / (2.0 * DARK * DARK + SSIM_C1);
    (1.0 + variance / SSIM_C2).min(MAX_WEIGHT) * dark.min(1.0)
}

/// The number of occurrences of each color.
#[derive(Debug, Clone)]
pub struct Histogram {
    bins: Vec<HistogramBin>,
}

impl Histogram {
    /// Counts the pixels of raw `rgb24` frames of this width, at most half a million of them, evenly distributed.
    /// Pixels of a block count less if its weight, from its detail and luma, is large (see [`BlockWeights`]).
    pub fn from_frames<F: AsRef<[u8]>>(frames: &[F], width: usize, weights: &[BlockWeights]) -> Self {
        let pixels: usize = frames.iter().map(|frame| frame.as_ref().len() / 3).sum();
        // An odd step does not select only certain columns in rows of even length.
        let step = (pixels / MAX_SAMPLES).max(1) | 1;
        let mut counts = vec![[0.0_f32; 4]; SHADES * SHADES * SHADES];
        let mut skip = 0;
        for (frame, weights) in frames.iter().zip(weights) {
            for (row, weights) in frame.as_ref().chunks_exact(width.max(1) * 3).zip(weights.rows()) {
                let mut x = skip;
                while let Some(&[red, green, blue]) = row.get(x * 3..x * 3 + 3) {
                    let pixel = [red, green, blue];
                    let place = pixel
                        .iter()
                        .fold(0, |place, value| place * SHADES + usize::from(SHADE_OF[usize::from(*value)]));
                    let count = &mut counts[place];
                    let share = weights[x / BLOCK].recip().min(MAX_SHARE);
                    count[0] += share;
                    for (sum, value) in count[1..].iter_mut().zip(pixel) {
                        *sum += share * f32::from(value);
                    }
                    x += step;
                }
                skip = x - width;
            }
        }
        let bins = counts
            .iter()
            .filter(|count| count[0] > 0.0)
            .map(|[weight, sums @ ..]| HistogramBin {
                weight: *weight,
                color: to_ycc(sums.map(|sum| sum / weight)),
            })
            .collect();
        Self { bins }
    }

    /// The colors that represent all others, at least one and at most `max_colors`, sorted from dark to bright.
    pub fn palette(&self, max_colors: usize) -> Palette {
        let mut bins = self.bins.clone();
        let mut clusters = split_boxes(&mut bins, max_colors.clamp(1, 256));
        for _ in 0..K_MEANS_ROUNDS {
            k_means_step(&bins, &mut clusters);
        }
        let mut colors: Vec<[u8; 3]> = clusters.into_iter().map(to_rgb).map(snap_extremes).collect();
        let luma = |[red, green, blue]: &[u8; 3]| {
            299 * u32::from(*red) + 587 * u32::from(*green) + 114 * u32::from(*blue)
        };
        colors.sort_unstable_by_key(|color| (luma(color), *color));
        colors.dedup();
        Palette::new(colors)
    }
}

/// Changes a color that is nearly black or white to black or white: bars and fades are, and the eye compares them with
/// the page.
fn snap_extremes(color: [u8; 3]) -> [u8; 3] {
    if color.iter().all(|value| *value < 4) {
        [0; 3]
    } else if color.iter().all(|value| *value > 251) {
        [255; 3]
    } else {
        color
    }
}

/// A box of the split: a range of bins and its statistics.
#[derive(Debug, Clone, Copy)]
struct ColorBox {
    start: usize,
    end: usize,
    mean: YccColor,
    axis: usize,
    spread: f32,
}

fn measure_box(bins: &[HistogramBin], start: usize, end: usize) -> ColorBox {
    let (mut weight, mut sum, mut squares) = (0.0_f64, [0.0_f64; 3], [0.0_f64; 3]);
    for bin in &bins[start..end] {
        let bin_weight = f64::from(bin.weight);
        weight += bin_weight;
        for channel in 0..3 {
            let value = f64::from(bin.color[channel]);
            sum[channel] += bin_weight * value;
            squares[channel] += bin_weight * value * value;
        }
    }
    let weight = weight.max(1e-9);
    let spread: [f64; 3] =
        std::array::from_fn(|channel| squares[channel] - sum[channel] * sum[channel] / weight);
    let axis = (0..3).fold(0, |best, axis| if spread[axis] > spread[best] { axis } else { best });
    ColorBox { start, end, mean: sum.map(|sum| (sum / weight) as f32), axis, spread: spread[axis] as f32 }
}

/// Splits at the mean where the variance is largest, until there are enough boxes. Returns their means.
fn split_boxes(bins: &mut [HistogramBin], max_boxes: usize) -> Vec<YccColor> {
    let mut boxes = vec![measure_box(bins, 0, bins.len())];
    while boxes.len() < max_boxes {
        let widest = boxes
            .iter()
            .enumerate()
            .filter(|(_, color_box)| color_box.end - color_box.start > 1 && color_box.spread > 0.0)
            .max_by(|(_, left), (_, right)| left.spread.total_cmp(&right.spread));
        let Some((place, &color_box)) = widest else { break };
        let run = &mut bins[color_box.start..color_box.end];
        let mut middle = 0;
        for at in 0..run.len() {
            if run[at].color[color_box.axis] < color_box.mean[color_box.axis] {
                run.swap(at, middle);
                middle += 1;
            }
        }
        // With a variance near zero, rounding may put all bins on one side.
        let middle = color_box.start + middle.clamp(1, run.len() - 1);
        boxes[place] = measure_box(bins, color_box.start, middle);
        boxes.push(measure_box(bins, middle, color_box.end));
    }
    boxes.iter().map(|color_box| color_box.mean).collect()
}

/// One round of k-means: each color moves to the mean of the bins that are nearest to it.
fn k_means_step(bins: &[HistogramBin], clusters: &mut [YccColor]) {
    let nearest = NearestSearch::new(clusters.iter().copied());
    let mut sums = vec![[0.0_f64; 4]; clusters.len()];
    for bin in bins {
        let sum = &mut sums[nearest.find(bin.color)];
        let weight = f64::from(bin.weight);
        sum[0] += weight;
        for channel in 0..3 {
            sum[channel + 1] += weight * f64::from(bin.color[channel]);
        }
    }
    for (cluster, sum) in clusters.iter_mut().zip(&sums) {
        if sum[0] > 0.0 {
            *cluster = [1, 2, 3].map(|channel| (sum[channel] / sum[0]) as f32);
        }
    }
}

/// How many colors are compared at once.
const LANES: usize = 8;

/// Finds the nearest color of a list.
#[derive(Debug, Clone)]
struct NearestSearch {
    /// The channels of `LANES` colors each, one channel after another; padded with a color that is far from all others.
    blocks: Vec<[[f32; LANES]; 3]>,
}

impl NearestSearch {
    fn new(colors: impl Iterator<Item = YccColor>) -> Self {
        let mut blocks: Vec<[[f32; LANES]; 3]> = Vec::new();
        for (place, color) in colors.enumerate() {
            if place % LANES == 0 {
                blocks.push([[1e6; LANES]; 3]);
            }
            if let Some(block) = blocks.last_mut() {
                for channel in 0..3 {
                    block[channel][place % LANES] = color[channel];
                }
            }
        }
        Self { blocks }
    }

    fn find(&self, color: YccColor) -> usize {
        let mut best = [f32::MAX; LANES];
        let mut best_block = [0_u32; LANES];
        for (number, block) in (0_u32..).zip(&self.blocks) {
            for lane in 0..LANES {
                let [a, b, c] = [0, 1, 2].map(|channel: usize| block[channel][lane] - color[channel]);
                let distance = a * a + b * b + c * c;
                let nearer = distance < best[lane];
                best[lane] = if nearer { distance } else { best[lane] };
                best_block[lane] = if nearer { number } else { best_block[lane] };
            }
        }
        let lane = (0..LANES).fold(0, |lane, other| if best[other] < best[lane] { other } else { lane });
        best_block[lane] as usize * LANES + lane
    }
}

/// Squared distance of two colors.
pub(crate) fn squared_distance(left: YccColor, right: YccColor) -> f32 {
    (0..3).map(|channel| (left[channel] - right[channel]).powi(2)).sum()
}

/// A list of colors, sorted from dark to bright.
#[derive(Debug, Clone)]
pub struct Palette {
    colors: Vec<[u8; 3]>,
    ycc_colors: Vec<YccColor>,
    search: NearestSearch,
}

impl Palette {
    fn new(colors: Vec<[u8; 3]>) -> Self {
        let ycc_colors: Vec<YccColor> = colors.iter().map(|colour| to_ycc(colour.map(f32::from))).collect();
        let search = NearestSearch::new(ycc_colors.iter().copied());
        Self { colors, ycc_colors, search }
    }

    /// The colors in RGB.
    pub fn colors(&self) -> &[[u8; 3]] {
        &self.colors
    }

    /// The colors as [`YccColor`].
    pub(crate) fn ycc_colors(&self) -> &[YccColor] {
        &self.ycc_colors
    }

    /// The index of the most similar color.
    pub(crate) fn nearest(&self, color: YccColor) -> usize {
        self.search.find(color)
    }

    /// For each color, the `count` most similar others, in order of similarity.
    pub(crate) fn neighbors(&self, count: usize) -> Vec<Vec<u8>> {
        let mut order: Vec<(f32, u8)> = Vec::new();
        self.ycc_colors
            .iter()
            .map(|own| {
                order.clear();
                let others =
                    self.ycc_colors.iter().zip(0_u8..=255).filter(|(other, _)| !std::ptr::eq(*other, own));
                order.extend(others.map(|(other, index)| (squared_distance(*own, *other), index)));
                let by_distance = |left: &(f32, u8), right: &(f32, u8)| {
                    left.0.total_cmp(&right.0).then(left.1.cmp(&right.1))
                };
                if order.len() > count {
                    order.select_nth_unstable_by(count, by_distance);
                    order.truncate(count);
                }
                order.sort_unstable_by(by_distance);
                order.iter().map(|(_, index)| *index).collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn test_histogram<F: AsRef<[u8]>>(frames: &[F], width: usize) -> Histogram {
        let weights: Vec<_> =
            frames.iter().map(|frame| BlockWeights::from_frame(frame.as_ref(), width)).collect();
        Histogram::from_frames(frames, width, &weights)
    }

    #[test]
    fn keeps_all_of_few_colors() {
        let colors: [[u8; 3]; 4] = [[10, 10, 10], [250, 0, 0], [0, 0, 250], [250, 250, 250]];
        let frame: Vec<u8> = colors.iter().cycle().take(400).flatten().copied().collect();
        let mut palette = test_histogram(&[frame], 20).palette(255).colors().to_vec();
        palette.sort_unstable();
        let mut expected = colors;
        expected.sort_unstable();
        assert_eq!(palette, expected);
    }

    #[test]
    fn empty_histogram_has_one_color() {
        assert_eq!(test_histogram::<&[u8]>(&[], 1).palette(255).colors().len(), 1);
    }

    #[test]
    fn more_colors_reduce_the_error() {
        let byte =
            |at: u32| (at.wrapping_mul(2_654_435_761).rotate_left(9).wrapping_mul(2_246_822_519) ^ at) as u8;
        let frame: Vec<u8> = (0..90_000_u32).map(|at| byte(byte(at).into()) ^ byte(at / 7)).collect();
        let histogram = test_histogram(&[&frame], 300);
        let error = |most: usize| {
            let palette = histogram.palette(most);
            assert!(palette.colors().len() <= most);
            let away = |pixel: &[u8]| {
                let at = to_ycc([0, 1, 2].map(|channel: usize| f32::from(pixel[channel])));
                f64::from(squared_distance(palette.ycc_colors()[palette.nearest(at)], at))
            };
            frame.chunks_exact(3).map(away).sum::<f64>()
        };
        let errors = [2, 16, 128, 255].map(error);
        assert!(errors.windows(2).all(|pair| pair[1] < pair[0] * 0.8), "{errors:?}");
    }

    proptest! {
        #[test]
        fn nearest_color_has_least_distance(
            colours in prop::collection::vec(any::<[u8; 3]>(), 1..60),
            pixel in any::<[u8; 3]>(),
        ) {
            let palette = Palette::new(colours);
            let at = to_ycc(pixel.map(f32::from));
            let least = palette.ycc_colors().iter().map(|place| squared_distance(*place, at)).fold(f32::MAX, f32::min);
            let found = squared_distance(palette.ycc_colors()[palette.nearest(at)], at);
            prop_assert!((found - least).abs() <= 1e-3 * (1.0 + least));
        }

        #[test]
        fn neighbors_are_sorted_by_distance(colours in prop::collection::vec(any::<[u8; 3]>(), 1..40)) {
            let palette = Palette::new(colours);
            for (own, list) in palette.neighbors(8).iter().enumerate() {
                prop_assert_eq!(list.len(), 8.min(palette.colors().len() - 1));
                let far: Vec<f32> = list
                    .iter()
                    .map(|other| squared_distance(palette.ycc_colors()[usize::from(*other)], palette.ycc_colors()[own]))
                    .collect();
                prop_assert!(far.is_sorted());
            }
        }
    }
}
