//! Parses the element `Video` of a track: frame size, pixel aspect ratio, field order, color and projection. RFC 9559,
//! 5.1.4.1.28; where it leaves a choice, like ffmpeg's demuxer.

use crate::demux::demuxer::{Crop, IDENTITY_MATRIX};
use crate::demux::matroska::ebml::{children, parse_float, parse_uint};
use crate::demux::matroska::ids;

/// The parsed fields of `Video`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct VideoElement {
    /// Size of the coded frame.
    pub(super) width: u64,
    pub(super) height: u64,
    crop: [u64; 4],
    display_size: [u64; 2],
    display_unit: u64,
    stereo: u64,
    interlaced: u64,
    field_order: Option<u64>,
    /// Color information, if present.
    pub(super) color: Option<ColorInfo>,
    projection: Projection,
}

/// Color code points of ITU-T H.273; 2 if unspecified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ColorInfo {
    pub(super) primaries: u16,
    pub(super) transfer: u16,
    pub(super) matrix: u16,
    pub(super) is_full_range: bool,
    /// Maximum content light level and maximum frame-average light level, in candela per square meter.
    pub(super) light: Option<(u16, u16)>,
    /// The mastering display: x and y of red, green, blue and white, then the highest and lowest luminance.
    pub(super) mastering: Option<[f64; 10]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Projection {
    kind: u64,
    yaw: f64,
    pitch: f64,
    roll: f64,
}

/// Parses the body of a `Video` element.
pub(super) fn parse(body: &[u8]) -> VideoElement {
    let mut video = VideoElement::default();
    for (id, body) in children(body) {
        match id {
            ids::PIXEL_WIDTH => video.width = parse_side(body),
            ids::PIXEL_HEIGHT => video.height = parse_side(body),
            ids::PIXEL_CROP_LEFT => video.crop[0] = parse_side(body),
            ids::PIXEL_CROP_RIGHT => video.crop[1] = parse_side(body),
            ids::PIXEL_CROP_TOP => video.crop[2] = parse_side(body),
            ids::PIXEL_CROP_BOTTOM => video.crop[3] = parse_side(body),
            ids::DISPLAY_WIDTH => video.display_size[0] = parse_side(body),
            ids::DISPLAY_HEIGHT => video.display_size[1] = parse_side(body),
            ids::DISPLAY_UNIT => video.display_unit = parse_uint(body),
            ids::STEREO_MODE => video.stereo = parse_uint(body),
            ids::FLAG_INTERLACED => video.interlaced = parse_uint(body),
            ids::FIELD_ORDER => video.field_order = Some(parse_uint(body)),
            ids::COLOUR => video.color = parse_color(body),
            ids::PROJECTION => video.projection = parse_projection(body),
            _ => {}
        }
    }
    video
}

impl VideoElement {
    /// Pixel aspect ratio (width to height), reduced. `None` if the file does not specify it; the stream may.
    pub(super) fn pixel_aspect_ratio(&self) -> Option<(u32, u32)> {
        const UNKNOWN_UNIT: u64 = 4;
        let [left, right, top, bottom] = self.crop;
        let [display_width, display_height] = self.display_size;
        let width = self.width.checked_sub(left + right).filter(|width| *width > 0)?;
        let height = self.height.checked_sub(top + bottom).filter(|height| *height > 0)?;
        if self.display_unit >= UNKNOWN_UNIT || display_width == 0 || display_height == 0 {
            return None;
        }
        // The display size is that of one eye. The frame contains both, squeezed or side by side.
        let (wide, high) = match self.stereo {
            1 | 8 | 9 | 11 => (2, 1),
            2 | 3 | 6 | 7 => (1, 2),
            _ => (1, 1),
        };
        Some(reduce_ratio(height * display_width * wide, width * display_height * high))
    }

    /// The visible part of the frame, if it is not all of it: RFC 9559, 5.1.4.1.28.8 to 5.1.4.1.28.11.
    pub(super) fn crop(&self) -> Option<Crop> {
        let [left, right, top, bottom] = self.crop;
        let width = self.width.checked_sub(left + right).filter(|width| *width > 0)?;
        let height = self.height.checked_sub(top + bottom).filter(|height| *height > 0)?;
        let is_all = (width, height) == (self.width, self.height);
        // Each of them fits in 16 bits.
        let [left, top, width, height] = [left, top, width, height].map(|side| side as u32);
        (!is_all).then_some(Crop { left, top, width, height })
    }

    /// The body of a `fiel` box (QuickTime File Format, "Field handling"), if the field order is known.
    pub(super) fn fiel_body(&self) -> Option<[u8; 2]> {
        match (self.interlaced, self.field_order) {
            (2, _) | (1, Some(0)) => Some([1, 0]),
            (1, Some(order @ (1 | 6))) => Some([2, order as u8]),
            // Matroska names the field that is stored first, QuickTime the one that is displayed first.
            (1, Some(9)) => Some([2, 14]),
            (1, Some(14)) => Some([2, 9]),
            _ => None,
        }
    }

    /// The display matrix: a flat projection can be rotated and mirrored by its pose.
    pub(super) fn display_matrix(&self) -> [i32; 9] {
        let Projection { kind, yaw, pitch, roll } = self.projection;
        let is_mirrored = (yaw.abs() - 180.0).abs() < f64::EPSILON;
        if kind != 0 || pitch != 0.0 || !(is_mirrored || yaw == 0.0) || !roll.is_finite() {
            return IDENTITY_MATRIX;
        }
        // The roll is counterclockwise. The first row and column of the matrix are the frame's right.
        let angle = if is_mirrored { -roll } else { roll }.to_radians();
        let fixed = |value: f64| (value * 65536.0).round() as i32;
        let mirror = if is_mirrored { -1.0 } else { 1.0 };
        let (sin, cos) = angle.sin_cos();
        [fixed(cos * mirror), fixed(-sin), 0, fixed(sin * mirror), fixed(cos), 0, 0, 0, 0x4000_0000]
    }
}

/// Clamps sizes that are far larger than any video frame, so that products do not overflow.
fn parse_side(body: &[u8]) -> u64 {
    parse_uint(body).min(u64::from(u16::MAX))
}

fn reduce_ratio(mut num: u64, mut den: u64) -> (u32, u32) {
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    num /= a.max(1);
    den /= a.max(1);
    while num.max(den) > u64::from(i32::MAX as u32) {
        num >>= 1;
        den >>= 1;
    }
    ((num as u32).max(1), (den as u32).max(1))
}

fn parse_color(body: &[u8]) -> Option<ColorInfo> {
    const UNSPECIFIED: u16 = 2;
    const FULL: u64 = 2;
    let mut color = ColorInfo {
        primaries: UNSPECIFIED,
        transfer: UNSPECIFIED,
        matrix: UNSPECIFIED,
        is_full_range: false,
        light: None,
        mastering: None,
    };
    let unspecified = color;
    let (mut max, mut mean) = (0, 0);
    let number = |body: &[u8]| u8::try_from(parse_uint(body)).map_or(UNSPECIFIED, u16::from);
    for (id, body) in children(body) {
        match id {
            ids::PRIMARIES => color.primaries = number(body),
            ids::TRANSFER => color.transfer = number(body),
            ids::MATRIX_COEFFICIENTS => color.matrix = number(body),
            ids::RANGE => color.is_full_range = parse_uint(body) == FULL,
            ids::MAX_CLL => max = parse_side(body) as u16,
            ids::MAX_FALL => mean = parse_side(body) as u16,
            ids::MASTERING => color.mastering = parse_mastering(body),
            _ => {}
        }
    }
    if max > 0 || mean > 0 {
        color.light = Some((max, mean));
    }
    (color != unspecified).then_some(color)
}

/// All ten numbers of a mastering display, or `None`.
fn parse_mastering(body: &[u8]) -> Option<[f64; 10]> {
    let mut values = [f64::NAN; 10];
    for (id, body) in children(body) {
        if (ids::RED_X..=ids::LUMINANCE_MIN).contains(&id)
            && let Some(value) = values.get_mut((id - ids::RED_X) as usize)
        {
            *value = parse_float(body);
        }
    }
    values.iter().all(|value| value.is_finite() && *value >= 0.0).then_some(values)
}

fn parse_projection(body: &[u8]) -> Projection {
    let mut projection = Projection::default();
    for (id, body) in children(body) {
        match id {
            ids::PROJECTION_TYPE => projection.kind = parse_uint(body),
            ids::POSE_YAW => projection.yaw = parse_float(body),
            ids::POSE_PITCH => projection.pitch = parse_float(body),
            ids::POSE_ROLL => projection.roll = parse_float(body),
            _ => {}
        }
    }
    projection
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> VideoElement {
        VideoElement { width: 720, height: 576, ..VideoElement::default() }
    }

    #[test]
    fn pixel_aspect_ratio_matches_ffmpeg() {
        for (video, expected) in [
            (video(), None),
            (VideoElement { display_size: [1024, 576], ..video() }, Some((64, 45))),
            (VideoElement { display_size: [720, 576], ..video() }, Some((1, 1))),
            (VideoElement { display_size: [16, 9], display_unit: 3, ..video() }, Some((64, 45))),
            (VideoElement { display_size: [16, 9], display_unit: 4, ..video() }, None),
            (VideoElement { display_size: [720, 0], ..video() }, None),
            (VideoElement { display_size: [704, 576], crop: [8, 8, 0, 0], ..video() }, Some((1, 1))),
            (VideoElement { display_size: [704, 576], crop: [400, 400, 0, 0], ..video() }, None),
            (VideoElement { display_size: [360, 576], stereo: 1, ..video() }, Some((1, 1))),
            (VideoElement { display_size: [720, 288], stereo: 3, ..video() }, Some((1, 1))),
        ] {
            assert_eq!(video.pixel_aspect_ratio(), expected, "{video:?}");
        }
    }

    #[test]
    fn crops_picture() {
        let crop = |left, top, width, height| Some(Crop { left, top, width, height });
        for (sides, expected) in [
            ([0, 0, 0, 0], None),
            ([8, 16, 2, 4], crop(8, 2, 696, 570)),
            ([0, 0, 0, 576], None),
            ([400, 400, 0, 0], None),
        ] {
            assert_eq!(VideoElement { crop: sides, ..video() }.crop(), expected, "{sides:?}");
        }
    }

    #[test]
    fn roll_rotates_and_half_yaw_mirrors() {
        const ONE: i32 = 0x1_0000;
        for ((yaw, pitch, roll), expected) in [
            ((0.0, 0.0, 0.0), [ONE, 0, 0, ONE]),
            // A quarter turn counterclockwise: right becomes up.
            ((0.0, 0.0, 90.0), [0, -ONE, ONE, 0]),
            ((0.0, 0.0, -90.0), [0, ONE, -ONE, 0]),
            ((0.0, 0.0, 180.0), [-ONE, 0, 0, -ONE]),
            ((180.0, 0.0, 0.0), [-ONE, 0, 0, ONE]),
            ((0.0, 10.0, 90.0), [ONE, 0, 0, ONE]),
            ((45.0, 0.0, 90.0), [ONE, 0, 0, ONE]),
            ((0.0, 0.0, f64::INFINITY), [ONE, 0, 0, ONE]),
        ] {
            let video = VideoElement { projection: Projection { kind: 0, yaw, pitch, roll }, ..video() };
            let [a, b, _, c, d, ..] = video.display_matrix();
            assert_eq!([a, b, c, d], expected, "{yaw} {pitch} {roll}");
        }
        let sphere = VideoElement {
            projection: Projection { kind: 1, roll: 90.0, ..Projection::default() },
            ..video()
        };
        assert_eq!(sphere.display_matrix(), IDENTITY_MATRIX);
    }

    #[test]
    fn translates_field_order() {
        for (interlaced, order, expected) in [
            (0, None, None),
            (2, None, Some([1, 0])),
            (1, None, None),
            (1, Some(2), None),
            (1, Some(1), Some([2, 1])),
            (1, Some(6), Some([2, 6])),
            (1, Some(9), Some([2, 14])),
            (1, Some(14), Some([2, 9])),
        ] {
            let video = VideoElement { interlaced, field_order: order, ..video() };
            assert_eq!(video.fiel_body(), expected, "{interlaced} {order:?}");
        }
    }
}
