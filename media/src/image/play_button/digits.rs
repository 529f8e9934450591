//! The shapes of digits and of the colon, as strokes of constant width.

use crate::image::play_button::{Point, Rect};

/// A character of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glyph {
    /// A decimal digit, 0 to 9.
    Digit(u8),
    /// Two dots.
    Colon,
}

/// The shape of a glyph at its place.
pub(super) struct Outline {
    /// Lines in pixels. A dot is a line of no length.
    lines: Vec<(Point, Point)>,
    /// Half of the stroke's width, in pixels.
    half_stroke: f32,
}

impl Glyph {
    pub(super) fn from_char(character: char) -> Option<Self> {
        match character {
            ':' => Some(Self::Colon),
            _ => character.to_digit(10).map(|digit| Self::Digit(digit as u8)),
        }
    }

    /// The shape at this place, with a stroke of this width within it.
    pub(super) fn outline(self, place: Rect, stroke: f32) -> Outline {
        let half_stroke = stroke / 2.0;
        if self == Self::Colon {
            let x = f32::midpoint(place.left, place.right);
            let height = place.bottom - place.top;
            // The dots are a little wider than strokes, which look lighter at their ends.
            let radius = half_stroke * 1.15;
            let lines = [0.3, 0.76].map(|part| {
                let dot = Point { x, y: place.top + height * part };
                (dot, dot)
            });
            return Outline { lines: lines.into(), half_stroke: radius };
        }
        let Self::Digit(digit) = self else { return Outline { lines: Vec::new(), half_stroke } };
        let width = place.right - place.left - stroke;
        let height = place.bottom - place.top - stroke;
        let at = |(x, y): (f32, f32)| Point {
            x: place.left + half_stroke + x * width,
            y: place.top + half_stroke + y * height,
        };
        let mut lines = Vec::new();
        let (mut start, mut pen) = ((0.0, 0.0), (0.0, 0.0));
        for step in path(digit) {
            match *step {
                Move(x, y) => {
                    start = (x, y);
                    pen = start;
                }
                Line(x, y) => {
                    lines.push((at(pen), at((x, y))));
                    pen = (x, y);
                }
                Curve(x1, y1, x2, y2, x, y) => {
                    for index in 1..=CURVE_LINES {
                        let here = index as f32 / CURVE_LINES as f32;
                        let before = (index - 1) as f32 / CURVE_LINES as f32;
                        let point = |part| curve_point([pen, (x1, y1), (x2, y2), (x, y)], part);
                        lines.push((at(point(before)), at(point(here))));
                    }
                    pen = (x, y);
                }
                Close => {
                    lines.push((at(pen), at(start)));
                    pen = start;
                }
            }
        }
        Outline { lines, half_stroke }
    }
}

impl Outline {
    /// The signed distance from the edge of the shape, in pixels.
    pub(super) fn distance(&self, at: Point) -> f32 {
        let nearest = self.lines.iter().map(|(from, to)| at.distance_to_line(*from, *to));
        nearest.fold(f32::INFINITY, f32::min) - self.half_stroke
    }
}

/// The number of lines that a curve is divided into.
const CURVE_LINES: usize = 12;

/// The point of a cubic Bézier curve.
fn curve_point([a, b, c, d]: [(f32, f32); 4], part: f32) -> (f32, f32) {
    let rest = 1.0 - part;
    let [p, q, r, s] =
        [rest * rest * rest, 3.0 * rest * rest * part, 3.0 * rest * part * part, part * part * part];
    (p * a.0 + q * b.0 + r * c.0 + s * d.0, p * a.1 + q * b.1 + r * c.1 + s * d.1)
}

/// A step of a path, in parts of the width and of the height of the digit.
enum Step {
    Move(f32, f32),
    Line(f32, f32),
    /// A cubic Bézier curve: two control points, and the end.
    Curve(f32, f32, f32, f32, f32, f32),
    Close,
}

use Step::{Close, Curve, Line, Move};

fn path(digit: u8) -> &'static [Step] {
    match digit {
        0 => &[
            Move(0.0, 0.32),
            Curve(0.0, 0.12, 0.2, 0.0, 0.5, 0.0),
            Curve(0.8, 0.0, 1.0, 0.12, 1.0, 0.32),
            Line(1.0, 0.68),
            Curve(1.0, 0.88, 0.8, 1.0, 0.5, 1.0),
            Curve(0.2, 1.0, 0.0, 0.88, 0.0, 0.68),
            Close,
        ],
        1 => &[Move(0.12, 0.2), Line(0.62, 0.0), Line(0.62, 1.0)],
        2 => &[
            Move(0.02, 0.25),
            Curve(0.05, 0.1, 0.22, 0.0, 0.5, 0.0),
            Curve(0.8, 0.0, 0.98, 0.11, 0.98, 0.28),
            Curve(0.98, 0.5, 0.62, 0.6, 0.0, 1.0),
            Line(1.0, 1.0),
        ],
        3 => &[
            Move(0.04, 0.19),
            Curve(0.1, 0.07, 0.27, 0.0, 0.49, 0.0),
            Curve(0.78, 0.0, 0.95, 0.1, 0.95, 0.25),
            Curve(0.95, 0.39, 0.78, 0.47, 0.5, 0.47),
            Line(0.36, 0.47),
            Move(0.5, 0.47),
            Curve(0.81, 0.47, 1.0, 0.57, 1.0, 0.73),
            Curve(1.0, 0.9, 0.8, 1.0, 0.49, 1.0),
            Curve(0.25, 1.0, 0.07, 0.92, 0.0, 0.79),
        ],
        4 => &[Move(0.76, 1.0), Line(0.76, 0.0), Line(0.0, 0.72), Line(1.0, 0.72)],
        5 => &[
            Move(0.92, 0.0),
            Line(0.16, 0.0),
            Line(0.08, 0.46),
            Curve(0.18, 0.39, 0.32, 0.355, 0.5, 0.355),
            Curve(0.82, 0.355, 1.0, 0.48, 1.0, 0.67),
            Curve(1.0, 0.88, 0.8, 1.0, 0.48, 1.0),
            Curve(0.25, 1.0, 0.07, 0.92, 0.0, 0.79),
        ],
        6 => SIX,
        7 => &[Move(0.0, 0.0), Line(1.0, 0.0), Line(0.36, 1.0)],
        8 => &[
            Move(0.5, 0.0),
            Curve(0.76, 0.0, 0.94, 0.09, 0.94, 0.235),
            Curve(0.94, 0.38, 0.76, 0.47, 0.5, 0.47),
            Curve(0.24, 0.47, 0.06, 0.38, 0.06, 0.235),
            Curve(0.06, 0.09, 0.24, 0.0, 0.5, 0.0),
            Move(0.5, 0.47),
            Curve(0.8, 0.47, 1.0, 0.57, 1.0, 0.735),
            Curve(1.0, 0.9, 0.8, 1.0, 0.5, 1.0),
            Curve(0.2, 1.0, 0.0, 0.9, 0.0, 0.735),
            Curve(0.0, 0.57, 0.2, 0.47, 0.5, 0.47),
        ],
        9 => NINE,
        _ => &[],
    }
}

const SIX: &[Step] = &[
    Move(0.9, 0.12),
    Curve(0.81, 0.04, 0.68, 0.0, 0.54, 0.0),
    Curve(0.2, 0.0, 0.0, 0.24, 0.0, 0.62),
    Curve(0.0, 0.87, 0.2, 1.0, 0.5, 1.0),
    Curve(0.8, 1.0, 1.0, 0.87, 1.0, 0.69),
    Curve(1.0, 0.51, 0.81, 0.39, 0.52, 0.39),
    Curve(0.25, 0.39, 0.05, 0.49, 0.0, 0.66),
];

/// Six, turned by half a revolution.
const NINE: &[Step] = &[
    Move(0.1, 0.88),
    Curve(0.19, 0.96, 0.32, 1.0, 0.46, 1.0),
    Curve(0.8, 1.0, 1.0, 0.76, 1.0, 0.38),
    Curve(1.0, 0.13, 0.8, 0.0, 0.5, 0.0),
    Curve(0.2, 0.0, 0.0, 0.13, 0.0, 0.31),
    Curve(0.0, 0.49, 0.19, 0.61, 0.48, 0.61),
    Curve(0.75, 0.61, 0.95, 0.51, 1.0, 0.34),
];
