//! Orientation of an image: rotation and mirroring, with eight distinct results.

/// A clockwise rotation, then an optional horizontal flip.
///
/// Both flips together are a rotation by 180°, so the sixteen combinations of `rotate`, `flip_v` and `flip_h` have
/// eight distinct results. Equal results have equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Orientation {
    quarters: u8,
    is_mirrored: bool,
}

impl Orientation {
    /// The identity.
    pub const NONE: Self = Self { quarters: 0, is_mirrored: false };

    /// Rotation by `quarters` times 90° clockwise, then `flip_v` (top to bottom), then `flip_h` (left to right).
    pub fn new(quarters: u8, flip_v: bool, flip_h: bool) -> Self {
        // A vertical flip equals a rotation by 180° and a horizontal flip.
        let quarters = (quarters + if flip_v { 2 } else { 0 }) % 4;
        Self { quarters, is_mirrored: flip_v != flip_h }
    }

    /// The rotation in quarter turns clockwise, 0 to 3. It is applied first.
    pub fn quarters(self) -> u8 {
        self.quarters
    }

    /// Whether the image is flipped left to right after the rotation.
    pub fn is_mirrored(self) -> bool {
        self.is_mirrored
    }

    /// Whether width and height are swapped.
    pub fn swaps_width_and_height(self) -> bool {
        self.quarters % 2 == 1
    }

    /// The canonical parameters: degrees, `flip_v` and `flip_h`.
    pub(super) fn to_parameters(self) -> (u32, bool, bool) {
        match (self.quarters, self.is_mirrored) {
            (0, true) => (0, false, true),
            (2, true) => (0, true, false),
            (3, true) => (90, true, false),
            (quarters, true) => (u32::from(quarters) * 90, false, true),
            (quarters, false) => (u32::from(quarters) * 90, false, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Reference implementation on an image of two rows and three columns.
    fn transform(quarters: u8, flip_v: bool, flip_h: bool) -> Vec<Vec<u8>> {
        let mut rows = vec![vec![1, 2, 3], vec![4, 5, 6]];
        for _ in 0..quarters {
            rows = (0..rows[0].len()).map(|x| rows.iter().rev().map(|row| row[x]).collect()).collect();
        }
        if flip_v {
            rows.reverse();
        }
        if flip_h {
            for row in &mut rows {
                row.reverse();
            }
        }
        rows
    }

    #[test]
    fn orientations_are_equal_iff_images_are() {
        let mut orientations: HashMap<Vec<Vec<u8>>, Orientation> = HashMap::new();
        for quarters in 0..4 {
            for (flip_v, flip_h) in [(false, false), (false, true), (true, false), (true, true)] {
                let orientation = Orientation::new(quarters, flip_v, flip_h);
                assert_eq!(
                    *orientations.entry(transform(quarters, flip_v, flip_h)).or_insert(orientation),
                    orientation
                );
                let (degrees, flip_v, flip_h) = orientation.to_parameters();
                assert_eq!(Orientation::new((degrees / 90) as u8, flip_v, flip_h), orientation);
                assert_eq!(
                    transform(orientation.quarters(), false, orientation.is_mirrored()),
                    transform((degrees / 90) as u8, flip_v, flip_h)
                );
            }
        }
        assert_eq!(orientations.len(), 8);
        let mut turns: Vec<_> = orientations.values().collect();
        turns.dedup();
        assert_eq!(turns.iter().collect::<std::collections::HashSet<_>>().len(), 8);
    }
}
