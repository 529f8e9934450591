//! Recognizes frames of a crossfade: mixtures of the frames before and after them. Does no IO.

use crate::size::Size;

/// Columns and rows of a sketch.
const COLUMNS: usize = 32;
const ROWS: usize = 18;
/// Two frames differ if the root mean square of the difference of their cells is at least this luma.
const MIN_CONTRAST: f32 = 12.0;
/// The least share of each of the two frames in a mixture.
const MIN_SHARE: f32 = 0.2;
/// The largest part of that difference by which a mixture may differ from the two frames' weighted mean, since they move.
/// Three in four frames of crossfades are below it, and one in twelve of other scenes.
const MAX_RESIDUAL: f32 = 0.5;

/// The mean luma of each cell of a coarse grid over a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch(Vec<f32>);

impl Sketch {
    /// The sketch of a raw `rgb24` frame.
    pub fn new(frame: &[u8], size: Size) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        let mut sums = [(0_u32, 0_u32); COLUMNS * ROWS];
        for (y, row) in frame.chunks_exact(width.max(1) * 3).enumerate().take(height) {
            let cells = &mut sums[y * ROWS / height * COLUMNS..][..COLUMNS];
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
                let (sum, count) = &mut cells[x * COLUMNS / width];
                *sum += (77 * red + 150 * green + 29 * blue) >> 8;
                *count += 1;
            }
        }
        Self(sums.iter().map(|(sum, count)| *sum as f32 / (*count).max(1) as f32).collect())
    }
}

/// Whether a frame is a mixture of the frames `before` and `after` it, which differ.
pub fn is_mixture(before: &Sketch, frame: &Sketch, after: &Sketch) -> bool {
    let difference = || before.0.iter().zip(&after.0).map(|(before, after)| before - after);
    let contrast: f32 = difference().map(|step| step * step).sum();
    if contrast < MIN_CONTRAST * MIN_CONTRAST * (COLUMNS * ROWS) as f32 {
        return false;
    }
    let to_frame = || frame.0.iter().zip(&after.0).map(|(frame, after)| frame - after);
    // The share with the least squared error.
    let share = to_frame().zip(difference()).map(|(own, step)| own * step).sum::<f32>() / contrast;
    let residual: f32 = to_frame().zip(difference()).map(|(own, step)| (own - share * step).powi(2)).sum();
    (MIN_SHARE..=1.0 - MIN_SHARE).contains(&share) && residual < MAX_RESIDUAL * MAX_RESIDUAL * contrast
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 160, height: 90 };

    fn frame(luma: impl Fn(f64, f64) -> f64) -> Vec<u8> {
        let (width, height) = (SIZE.width, SIZE.height);
        (0..width * height)
            .flat_map(|at| {
                let (x, y) =
                    (f64::from(at % width) / f64::from(width), f64::from(at / width) / f64::from(height));
                [luma(x, y).clamp(0.0, 255.0) as u8; 3]
            })
            .collect()
    }

    fn hills(x: f64, y: f64) -> f64 {
        if y < 0.5 + 0.2 * (x * 7.0).sin() { 180.0 } else { 60.0 + 40.0 * x }
    }

    fn room(x: f64, y: f64) -> f64 {
        if (0.3..0.6).contains(&x) && y > 0.3 { 220.0 } else { 40.0 + 60.0 * y }
    }

    fn is_mixture_of(middle: &[u8]) -> bool {
        let [before, middle, after] =
            [&frame(hills), middle, &frame(room)].map(|frame| Sketch::new(frame, SIZE));
        is_mixture(&before, &middle, &after)
    }

    #[test]
    fn mixture_of_two_scenes_is_recognized() {
        for share in [0.3, 0.5, 0.7] {
            // The scene before has moved on.
            let mixed = frame(|x, y| share * hills(x + 0.02, y) + (1.0 - share) * room(x, y));
            assert!(is_mixture_of(&mixed), "{share}");
        }
    }

    #[test]
    fn frame_of_one_scene_is_no_mixture() {
        assert!(!is_mixture_of(&frame(hills)) && !is_mixture_of(&frame(room)));
        assert!(!is_mixture_of(&frame(|x, y| hills(y, x))), "a third scene");
        assert!(!is_mixture_of(&frame(|_, _| 0.0)), "black");
        let still = Sketch::new(&frame(hills), SIZE);
        assert!(!is_mixture(&still, &still, &still), "no change");
    }

    #[test]
    fn small_and_empty_frames_have_sketches() {
        for size in
            [Size { width: 1, height: 1 }, Size { width: 3, height: 200 }, Size { width: 0, height: 0 }]
        {
            let frame = vec![200; size.width as usize * size.height as usize * 3];
            let sketch = Sketch::new(&frame, size);
            assert!(sketch.0.iter().all(|luma| [0.0, 200.0].contains(luma)), "{size:?}");
        }
    }
}
