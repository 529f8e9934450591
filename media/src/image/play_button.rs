//! Draws a play button and the length of the video into a raw frame. Does no IO.
//!
//! All shapes are signed distance functions, so their edges are smooth at every size. The digits are paths of this
//! file; no font is read. Dark translucent areas below the white shapes give them contrast on every picture.

mod digits;

use crate::image::header::{self, ImageError};
use crate::image::play_button::digits::Glyph;
use crate::size::Size;

/// Bytes per pixel.
const RGB: usize = 3;
const WHITE: f32 = 255.0;
const BLACK: f32 = 0.0;

/// The diameter of the button, as a part of the shorter side.
const DIAMETER: f32 = 0.22;
/// The smallest diameter, in pixels, if the frame is large enough.
const MIN_DIAMETER: f32 = 32.0;
/// The largest diameter, as a part of the shorter side.
const MAX_DIAMETER: f32 = 0.6;
/// The opacity of the dark areas.
const DISC_OPACITY: f32 = 0.62;
const LABEL_OPACITY: f32 = 0.74;
/// Parts of the button's radius.
const RING_WIDTH: f32 = 0.07;
const TRIANGLE_RADIUS: f32 = 0.5;
const TRIANGLE_ROUNDING: f32 = 0.09;
/// The smallest height of digits, in pixels.
const MIN_DIGIT_HEIGHT: f32 = 7.0;

/// Draws a play button in the center and, at the bottom right, the length of the video in milliseconds, unless it is
/// zero or the frame is too small for it.
///
/// # Errors
/// The frame does not have the length for its size.
pub fn draw(frame: &[u8], size: Size, duration_ms: u64) -> Result<Vec<u8>, ImageError> {
    header::check_frames(&[frame], size)?;
    let mut canvas = Canvas { frame: frame.to_vec(), size };
    let shorter = size.width.min(size.height) as f32;
    let center = Point { x: size.width as f32 / 2.0, y: size.height as f32 / 2.0 };
    let radius = (shorter * DIAMETER).max(MIN_DIAMETER).min(shorter * MAX_DIAMETER) / 2.0;
    draw_button(&mut canvas, center, radius);
    if duration_ms > 0 {
        let label = Label::new(&format_duration(duration_ms), size);
        if label.fits(size, center, radius) {
            label.draw(&mut canvas);
        }
    }
    Ok(canvas.frame)
}

/// The length as `m:ss` or `h:mm:ss`, rounded, and at least a second: the same text as on the page.
fn format_duration(ms: u64) -> String {
    let seconds = ((ms + 500) / 1000).max(1);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A position in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    x: f32,
    y: f32,
}

impl Point {
    fn distance(self, other: Self) -> f32 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    fn distance_to_line(self, from: Self, to: Self) -> f32 {
        let (dx, dy) = (to.x - from.x, to.y - from.y);
        let square = (dx * dx + dy * dy).max(f32::MIN_POSITIVE);
        let along = (((self.x - from.x) * dx + (self.y - from.y) * dy) / square).clamp(0.0, 1.0);
        self.distance(Self { x: from.x + dx * along, y: from.y + dy * along })
    }
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rect {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

struct Canvas {
    frame: Vec<u8>,
    size: Size,
}

impl Canvas {
    /// Fills the shape with a gray level. `distance` is the signed distance from the shape's edge, negative inside.
    fn fill(&mut self, area: Rect, level: f32, opacity: f32, distance: impl Fn(Point) -> f32) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let rows = (area.top.floor().max(0.0) as usize)..(area.bottom.ceil().max(0.0) as usize).min(height);
        let columns = (area.left.floor().max(0.0) as usize)..(area.right.ceil().max(0.0) as usize).min(width);
        for y in rows {
            for x in columns.clone() {
                let center = Point { x: x as f32 + 0.5, y: y as f32 + 0.5 };
                let coverage = (0.5 - distance(center)).clamp(0.0, 1.0) * opacity;
                if coverage == 0.0 {
                    continue;
                }
                for sample in &mut self.frame[(y * width + x) * RGB..][..RGB] {
                    let old = f32::from(*sample);
                    *sample = (old + (level - old) * coverage + 0.5) as u8;
                }
            }
        }
    }
}

/// A dark disc with a white ring and a white triangle.
fn draw_button(canvas: &mut Canvas, center: Point, radius: f32) {
    let area = Rect {
        left: center.x - radius - 1.0,
        top: center.y - radius - 1.0,
        right: center.x + radius + 1.0,
        bottom: center.y + radius + 1.0,
    };
    let half_ring = (radius * RING_WIDTH).max(1.5) / 2.0;
    // The disc ends below the ring: at the same edge it would shine through as a dark line.
    canvas.fill(area, BLACK, DISC_OPACITY, |at| at.distance(center) - (radius - half_ring));
    canvas.fill(area, WHITE, 1.0, |at| (at.distance(center) - (radius - half_ring)).abs() - half_ring);
    let rounding = radius * TRIANGLE_ROUNDING;
    // The distance from the center of a triangle to its sides is half of that to its corners. The corners are moved
    // inward by what the rounding adds outside.
    let corner = radius * TRIANGLE_RADIUS - rounding;
    canvas.fill(area, WHITE, 1.0, |at| {
        triangle_distance(Point { x: at.x - center.x, y: at.y - center.y }, corner) - rounding
    });
}

/// The signed distance from an equilateral triangle around the origin that points to the right; `corner` is the distance
/// of its corners from the origin.
fn triangle_distance(at: Point, corner: f32) -> f32 {
    let half_side = corner * 3f32.sqrt() / 2.0;
    let corners = [
        Point { x: corner, y: 0.0 },
        Point { x: -corner / 2.0, y: half_side },
        Point { x: -corner / 2.0, y: -half_side },
    ];
    let edge = [(0, 1), (1, 2), (2, 0)]
        .into_iter()
        .map(|(from, to)| at.distance_to_line(corners[from], corners[to]))
        .fold(f32::INFINITY, f32::min);
    let slope = 3f32.sqrt() / 2.0;
    let is_inside = at.x > -corner / 2.0 && at.x / 2.0 + at.y.abs() * slope < corner / 2.0;
    if is_inside { -edge } else { edge }
}

/// The length of the video on a dark rounded rectangle.
struct Label {
    area: Rect,
    glyphs: Vec<(Glyph, Rect)>,
    stroke: f32,
}

impl Label {
    /// At the bottom right of a frame of this size. Positions are whole pixels, so that straight strokes are sharp.
    fn new(text: &str, size: Size) -> Self {
        let shorter = size.width.min(size.height) as f32;
        let digit_height = (5.0 + shorter * 0.024).max(MIN_DIGIT_HEIGHT).round();
        let stroke = (digit_height * 0.15).max(1.3);
        let digit_width = (digit_height * 0.6).round();
        let colon_width = (digit_height * 0.2).round().max(stroke.ceil());
        let spacing = (digit_height * 0.17).round().max(1.0);
        let padding_x = (digit_height * 0.5).round();
        let padding_y = (digit_height * 0.45).round();
        let margin = (digit_height * 0.7).round();
        let glyphs: Vec<Glyph> = text.chars().filter_map(Glyph::from_char).collect();
        let glyph_width = |glyph: &Glyph| if *glyph == Glyph::Colon { colon_width } else { digit_width };
        let text_width: f32 = glyphs.iter().map(|glyph| glyph_width(glyph) + spacing).sum::<f32>() - spacing;
        let (right, bottom) = (size.width as f32 - margin, size.height as f32 - margin);
        let area = Rect {
            left: right - text_width - 2.0 * padding_x,
            top: bottom - digit_height - 2.0 * padding_y,
            right,
            bottom,
        };
        let mut left = area.left + padding_x;
        let top = area.top + padding_y;
        let glyphs = glyphs.into_iter().map(|glyph| {
            let width = glyph_width(&glyph);
            let place = Rect { left, top, right: left + width, bottom: top + digit_height };
            left += width + spacing;
            (glyph, place)
        });
        Self { glyphs: glyphs.collect(), area, stroke }
    }

    /// Whether the label is within the frame and below or beside the button.
    fn fits(&self, size: Size, button: Point, radius: f32) -> bool {
        let nearest = Point {
            x: button.x.clamp(self.area.left, self.area.right),
            y: button.y.clamp(self.area.top, self.area.bottom),
        };
        let gap = 1.0;
        self.area.left >= (size.width as f32 - self.area.right)
            && self.area.top >= 0.0
            && button.distance(nearest) >= radius + gap
    }

    fn draw(&self, canvas: &mut Canvas) {
        let Rect { left, top, right, bottom } = self.area;
        let rounding = (bottom - top) * 0.22;
        canvas.fill(self.area, BLACK, LABEL_OPACITY, |at| {
            let outside = |value: f32, low: f32, high: f32| (low - value).max(value - high);
            let x = outside(at.x, left + rounding, right - rounding);
            let y = outside(at.y, top + rounding, bottom - rounding);
            x.max(0.0).hypot(y.max(0.0)) + x.max(y).min(0.0) - rounding
        });
        for (glyph, place) in &self.glyphs {
            let around = Rect {
                left: place.left - 1.0,
                top: place.top - 1.0,
                right: place.right + 1.0,
                bottom: place.bottom + 1.0,
            };
            let outline = glyph.outline(*place, self.stroke);
            canvas.fill(around, WHITE, 1.0, |at| outline.distance(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Size = Size { width: 640, height: 360 };

    fn drawn(level: u8, size: Size, duration_ms: u64) -> Vec<u8> {
        draw(&vec![level; size.frame_bytes()], size, duration_ms).unwrap()
    }

    fn level(frame: &[u8], size: Size, x: u32, y: u32) -> u8 {
        frame[(y * size.width + x) as usize * RGB]
    }

    /// The contrast ratio of two gray levels, WCAG 2.2.
    fn contrast(light: u8, dark: u8) -> f64 {
        let luminance = |level: u8| {
            let value = f64::from(level) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        (luminance(light) + 0.05) / (luminance(dark) + 0.05)
    }

    #[test]
    fn formats_durations() {
        for (ms, expected) in [
            (7_000, "0:07"),
            (7_499, "0:07"),
            (7_500, "0:08"),
            (67, "0:01"),
            (59_499, "0:59"),
            (60_000, "1:00"),
            (754_000, "12:34"),
            (3_723_000, "1:02:03"),
            (86_400_000, "24:00:00"),
        ] {
            assert_eq!(format_duration(ms), expected);
        }
    }

    #[test]
    fn has_contrast_on_white_and_black() {
        for size in [120, 320, 640, 1920].map(|width| Size { width, height: width * 9 / 16 }) {
            for background in [0, 255] {
                let frame = drawn(background, size, 754_000);
                let (x, y) = (size.width / 2, size.height / 2);
                let triangle = level(&frame, size, x, y);
                let radius = (size.height as f32 * DIAMETER).max(MIN_DIAMETER) / 2.0;
                let disc = level(&frame, size, x, y - (radius * 0.7) as u32);
                assert!(triangle > 250, "{size:?}: {triangle}");
                assert!(contrast(triangle, disc) >= 4.5, "{size:?} {background}: {triangle} {disc}");
                // Outside of the shapes nothing changes.
                assert_eq!(level(&frame, size, 0, 0), background);
                assert_eq!(level(&frame, size, x, y - radius as u32 - 3), background);
            }
        }
    }

    /// The columns of the label that contain light pixels, as widths of the connected parts, without those inside a
    /// digit.
    fn label_parts(text: &str) -> usize {
        let size = Size { width: 1920, height: 1080 };
        let label = Label::new(text, size);
        let mut canvas = Canvas { frame: vec![0; size.frame_bytes()], size };
        label.draw(&mut canvas);
        let is_light = |x: u32| (0..size.height).any(|y| level(&canvas.frame, size, x, y) > 128);
        (1..size.width).filter(|x| is_light(*x) && !is_light(*x - 1)).count()
    }

    #[test]
    fn label_has_a_shape_per_character() {
        for text in ["0:07", "12:34", "1:02:03", "5:56", "8:49"] {
            assert_eq!(label_parts(text), text.len(), "{text}");
        }
    }

    #[test]
    fn label_depends_on_duration() {
        let frames = [0, 7_000, 8_000, 754_000, 3_723_000].map(|ms| drawn(90, BOX, ms));
        for (index, frame) in frames.iter().enumerate() {
            assert!(frames[..index].iter().all(|other| other != frame), "{index}");
        }
        assert_eq!(drawn(90, BOX, 7_000), drawn(90, BOX, 7_400));
    }

    #[test]
    fn small_frames_have_no_label() {
        for (width, height) in [(1, 1), (8, 8), (40, 24), (8, 300), (60, 60)] {
            let size = Size { width, height };
            assert_eq!(drawn(90, size, 754_000), drawn(90, size, 0), "{width}x{height}");
        }
        let size = Size { width: 120, height: 68 };
        assert_ne!(drawn(90, size, 754_000), drawn(90, size, 0));
    }

    #[test]
    fn button_is_symmetric() {
        for size in [BOX, Size { width: 321, height: 181 }] {
            let frame = drawn(90, size, 0);
            for y in 0..size.height {
                for x in 0..size.width {
                    let below = level(&frame, size, x, size.height - 1 - y);
                    assert!(level(&frame, size, x, y).abs_diff(below) <= 1, "{x} {y}");
                }
            }
        }
    }

    #[test]
    fn rejects_wrong_length() {
        assert!(draw(&[0; 5], Size { width: 1, height: 2 }, 1).is_err());
    }
}
