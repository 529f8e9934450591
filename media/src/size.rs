//! Sizes in pixels, and downscaling with the same aspect ratio.

/// A size, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Size {
    /// Bytes of a raw frame of this size, three per pixel.
    pub fn frame_bytes(self) -> usize {
        self.width as usize * self.height as usize * 3
    }

    /// This size, scaled down to a width of at most `max_width` and a height of at most twice that, with the same
    /// aspect ratio: a very tall frame would otherwise take as much memory as a hundred normal ones. Never scaled up;
    /// at least one pixel per side.
    #[must_use]
    pub fn scale_to_fit(self, max_width: u32) -> Self {
        let wide = if self.width <= max_width {
            self
        } else {
            Self { width: max_width, height: scale_side(self.height, max_width, self.width) }
        };
        let max_height = max_width.saturating_mul(2);
        if wide.height <= max_height {
            return wide;
        }
        Self { width: scale_side(self.width, max_height, self.height), height: max_height }
    }

    /// This size with a width of this percentage, and the same aspect ratio. Never scaled up; at least one pixel per
    /// side.
    #[must_use]
    pub fn scale_by_percent(self, percent: u32) -> Self {
        if percent >= 100 {
            self
        } else {
            self.scale_to_fit((self.width.saturating_mul(percent) / 100).max(1))
        }
    }
}

impl Default for Size {
    fn default() -> Self {
        Self { width: 1, height: 1 }
    }
}

/// `side * to / from`, rounded, at least 1.
pub(crate) fn scale_side(side: u32, to: u32, from: u32) -> u32 {
    let from = u64::from(from.max(1));
    let scaled = (u64::from(side) * u64::from(to) + from / 2) / from;
    u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_scales_up() {
        for ((width, height), max_width, expected) in [
            ((1920, 1080), 640, (640, 360)),
            ((1080, 1920), 640, (640, 1138)),
            ((321, 241), 640, (321, 241)),
            ((641, 3), 640, (640, 3)),
            ((8192, 1), 320, (320, 1)),
            ((1, 8192), 320, (1, 640)),
            ((320, 8192), 320, (25, 640)),
            ((1080, 2520), 640, (549, 1280)),
        ] {
            let scaled = Size { width, height }.scale_to_fit(max_width);
            assert_eq!((scaled.width, scaled.height), expected, "{width}x{height}");
        }
    }
}
