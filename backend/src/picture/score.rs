//! Decides how well a frame would do as a poster. Pure.

/// How a frame looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Larger is better.
    pub value: f64,
    /// Whether there is next to nothing to be seen: black, white, one colour.
    pub blank: bool,
}

/// Below this spread of brightness a frame is taken for empty: noise and a station's logo stay below it.
const BLANK_DEVIATION: f64 = 6.0;
/// A frame so dark, or so bright, on average shows hardly anything.
const DARK: f64 = 18.0;
const BRIGHT: f64 = 240.0;

/// Scores a raw `rgb24` frame of this width.
pub fn score(frame: &[u8], width: u32) -> Score {
    let luma: Vec<f64> = frame
        .chunks_exact(3)
        .map(|pixel| 0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2]))
        .collect();
    let count = luma.len().max(1) as f64;
    let mean = luma.iter().sum::<f64>() / count;
    let deviation = (luma.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let width = (width as usize).max(1);
    let edges: f64 = luma
        .chunks_exact(width)
        .map(|row| row.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>())
        .sum::<f64>()
        / count;
    let colour = frame
        .chunks_exact(3)
        .map(|pixel| {
            let (low, high) = (pixel.iter().min(), pixel.iter().max());
            f64::from(high.copied().unwrap_or(0) - low.copied().unwrap_or(0))
        })
        .sum::<f64>()
        / count;
    // Middling brightness is best; contrast, edges and colour add up with falling weight.
    let exposure = 1.0 - ((mean - 118.0).abs() / 137.0).min(1.0);
    let value = exposure
        + (deviation / 64.0).min(1.0)
        + 0.7 * (edges / 12.0).min(1.0)
        + 0.4 * (colour / 96.0).min(1.0);
    Score { value, blank: deviation < BLANK_DEVIATION || !(DARK..=BRIGHT).contains(&mean) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(value: u8) -> Vec<u8> {
        vec![value; 64 * 64 * 3]
    }

    fn chequered(low: u8, high: u8) -> Vec<u8> {
        (0..64 * 64).flat_map(|at| [if (at / 8 + at / 512) % 2 == 0 { low } else { high }; 3]).collect()
    }

    #[test]
    fn what_shows_something_beats_what_shows_nothing() {
        let good = score(&chequered(60, 180), 64);
        assert!(!good.blank);
        for (name, frame) in
            [("black", flat(0)), ("white", flat(255)), ("grey", flat(128)), ("dim", chequered(0, 12))]
        {
            let bad = score(&frame, 64);
            assert!(bad.blank, "{name}");
            assert!(bad.value < good.value, "{name}");
        }
    }

    #[test]
    fn an_empty_frame_is_blank() {
        assert!(score(&[], 0).blank);
    }
}
