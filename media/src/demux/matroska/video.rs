//! Decides how pictures are to be shown, out of the element `Video`: size, shape of pixels, fields, colours, turn.
//! RFC 9559, 5.1.4.1.28; where it leaves a choice, as ffmpeg's demuxer does.

use crate::demux::demuxer::{Crop, UPRIGHT};
use crate::demux::matroska::ebml::{children, float, uint};
use crate::demux::matroska::ids;

/// What `Video` says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Video {
    /// Size as coded.
    pub(super) width: u64,
    pub(super) height: u64,
    crop: [u64; 4],
    display: [u64; 2],
    display_unit: u64,
    stereo: u64,
    interlaced: u64,
    field_order: Option<u64>,
    /// Colours, if the file tells anything of them.
    pub(super) colour: Option<Colour>,
    projection: Projection,
}

/// Colours by the numbers of ITU-T H.273, 2 where they are not told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Colour {
    pub(super) primaries: u16,
    pub(super) transfer: u16,
    pub(super) matrix: u16,
    pub(super) is_full_range: bool,
    /// Brightest pixel and brightest mean of a frame, in candela a square metre.
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

/// Reads the body of a `Video`.
pub(super) fn read(body: &[u8]) -> Video {
    let mut video = Video::default();
    for (id, body) in children(body) {
        match id {
            ids::PIXEL_WIDTH => video.width = clamped(body),
            ids::PIXEL_HEIGHT => video.height = clamped(body),
            ids::PIXEL_CROP_LEFT => video.crop[0] = clamped(body),
            ids::PIXEL_CROP_RIGHT => video.crop[1] = clamped(body),
            ids::PIXEL_CROP_TOP => video.crop[2] = clamped(body),
            ids::PIXEL_CROP_BOTTOM => video.crop[3] = clamped(body),
            ids::DISPLAY_WIDTH => video.display[0] = clamped(body),
            ids::DISPLAY_HEIGHT => video.display[1] = clamped(body),
            ids::DISPLAY_UNIT => video.display_unit = uint(body),
            ids::STEREO_MODE => video.stereo = uint(body),
            ids::FLAG_INTERLACED => video.interlaced = uint(body),
            ids::FIELD_ORDER => video.field_order = Some(uint(body)),
            ids::COLOUR => video.colour = colour(body),
            ids::PROJECTION => video.projection = projection(body),
            _ => {}
        }
    }
    video
}

impl Video {
    /// Width over height of a pixel, reduced, if the file tells it: where it does not, the stream may.
    pub(super) fn pixel_shape(&self) -> Option<(u32, u32)> {
        const UNKNOWN_UNIT: u64 = 4;
        let [left, right, top, bottom] = self.crop;
        let [display_width, display_height] = self.display;
        let width = self.width.checked_sub(left + right).filter(|width| *width > 0)?;
        let height = self.height.checked_sub(top + bottom).filter(|height| *height > 0)?;
        if self.display_unit >= UNKNOWN_UNIT || display_width == 0 || display_height == 0 {
            return None;
        }
        // The display size is one eye's; the frame holds both, squeezed or side by side.
        let (wide, high) = match self.stereo {
            1 | 8 | 9 | 11 => (2, 1),
            2 | 3 | 6 | 7 => (1, 2),
            _ => (1, 1),
        };
        Some(reduced(height * display_width * wide, width * display_height * high))
    }

    /// The part of a picture that is shown, if that is not all: RFC 9559, 5.1.4.1.28.8 to 5.1.4.1.28.11.
    pub(super) fn crop(&self) -> Option<Crop> {
        let [left, right, top, bottom] = self.crop;
        let width = self.width.checked_sub(left + right).filter(|width| *width > 0)?;
        let height = self.height.checked_sub(top + bottom).filter(|height| *height > 0)?;
        let is_all = (width, height) == (self.width, self.height);
        // None of them has more than 16 bits.
        let [left, top, width, height] = [left, top, width, height].map(|side| side as u32);
        (!is_all).then_some(Crop { left, top, width, height })
    }

    /// The body of a `fiel` box (QuickTime File Format, "Field handling"), if the order of fields is known.
    pub(super) fn fields(&self) -> Option<[u8; 2]> {
        match (self.interlaced, self.field_order) {
            (2, _) | (1, Some(0)) => Some([1, 0]),
            (1, Some(order @ (1 | 6))) => Some([2, order as u8]),
            // Matroska names the field that is stored first, QuickTime the one that is shown first.
            (1, Some(9)) => Some([2, 14]),
            (1, Some(14)) => Some([2, 9]),
            _ => None,
        }
    }

    /// The display matrix: a flat picture may be turned and mirrored by its pose.
    pub(super) fn matrix(&self) -> [i32; 9] {
        let Projection { kind, yaw, pitch, roll } = self.projection;
        let is_mirrored = (yaw.abs() - 180.0).abs() < f64::EPSILON;
        if kind != 0 || pitch != 0.0 || !(is_mirrored || yaw == 0.0) || !roll.is_finite() {
            return UPRIGHT;
        }
        // The roll is anticlockwise; the matrix' first row and column are the picture's right.
        let angle = if is_mirrored { -roll } else { roll }.to_radians();
        let fixed = |value: f64| (value * 65536.0).round() as i32;
        let mirror = if is_mirrored { -1.0 } else { 1.0 };
        let (sin, cos) = angle.sin_cos();
        [fixed(cos * mirror), fixed(-sin), 0, fixed(sin * mirror), fixed(cos), 0, 0, 0, 0x4000_0000]
    }
}

/// Sizes far beyond any picture are all alike; so no product of them overflows.
fn clamped(body: &[u8]) -> u64 {
    uint(body).min(u64::from(u16::MAX))
}

fn reduced(mut num: u64, mut den: u64) -> (u32, u32) {
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

fn colour(body: &[u8]) -> Option<Colour> {
    const UNSPECIFIED: u16 = 2;
    const FULL: u64 = 2;
    let mut colour = Colour {
        primaries: UNSPECIFIED,
        transfer: UNSPECIFIED,
        matrix: UNSPECIFIED,
        is_full_range: false,
        light: None,
        mastering: None,
    };
    let plain = colour;
    let (mut max, mut mean) = (0, 0);
    let number = |body: &[u8]| u8::try_from(uint(body)).map_or(UNSPECIFIED, u16::from);
    for (id, body) in children(body) {
        match id {
            ids::PRIMARIES => colour.primaries = number(body),
            ids::TRANSFER => colour.transfer = number(body),
            ids::MATRIX_COEFFICIENTS => colour.matrix = number(body),
            ids::RANGE => colour.is_full_range = uint(body) == FULL,
            ids::MAX_CLL => max = clamped(body) as u16,
            ids::MAX_FALL => mean = clamped(body) as u16,
            ids::MASTERING => colour.mastering = mastering(body),
            _ => {}
        }
    }
    if max > 0 || mean > 0 {
        colour.light = Some((max, mean));
    }
    (colour != plain).then_some(colour)
}

/// All ten numbers of a mastering display, or none.
fn mastering(body: &[u8]) -> Option<[f64; 10]> {
    let mut values = [f64::NAN; 10];
    for (id, body) in children(body) {
        if (ids::RED_X..=ids::LUMINANCE_MIN).contains(&id)
            && let Some(value) = values.get_mut((id - ids::RED_X) as usize)
        {
            *value = float(body);
        }
    }
    values.iter().all(|value| value.is_finite() && *value >= 0.0).then_some(values)
}

fn projection(body: &[u8]) -> Projection {
    let mut projection = Projection::default();
    for (id, body) in children(body) {
        match id {
            ids::PROJECTION_TYPE => projection.kind = uint(body),
            ids::POSE_YAW => projection.yaw = float(body),
            ids::POSE_PITCH => projection.pitch = float(body),
            ids::POSE_ROLL => projection.roll = float(body),
            _ => {}
        }
    }
    projection
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Video {
        Video { width: 720, height: 576, ..Video::default() }
    }

    #[test]
    fn the_shape_of_pixels_is_as_ffmpeg_computes_it() {
        for (video, expected) in [
            (plain(), None),
            (Video { display: [1024, 576], ..plain() }, Some((64, 45))),
            (Video { display: [720, 576], ..plain() }, Some((1, 1))),
            (Video { display: [16, 9], display_unit: 3, ..plain() }, Some((64, 45))),
            (Video { display: [16, 9], display_unit: 4, ..plain() }, None),
            (Video { display: [720, 0], ..plain() }, None),
            (Video { display: [704, 576], crop: [8, 8, 0, 0], ..plain() }, Some((1, 1))),
            (Video { display: [704, 576], crop: [400, 400, 0, 0], ..plain() }, None),
            (Video { display: [360, 576], stereo: 1, ..plain() }, Some((1, 1))),
            (Video { display: [720, 288], stereo: 3, ..plain() }, Some((1, 1))),
        ] {
            assert_eq!(video.pixel_shape(), expected, "{video:?}");
        }
    }

    #[test]
    fn what_is_cropped_is_not_shown() {
        let crop = |left, top, width, height| Some(Crop { left, top, width, height });
        for (sides, expected) in [
            ([0, 0, 0, 0], None),
            ([8, 16, 2, 4], crop(8, 2, 696, 570)),
            ([0, 0, 0, 576], None),
            ([400, 400, 0, 0], None),
        ] {
            assert_eq!(Video { crop: sides, ..plain() }.crop(), expected, "{sides:?}");
        }
    }

    #[test]
    fn a_roll_turns_and_half_a_yaw_mirrors() {
        const ONE: i32 = 0x1_0000;
        for ((yaw, pitch, roll), expected) in [
            ((0.0, 0.0, 0.0), [ONE, 0, 0, ONE]),
            // Anticlockwise by a quarter: what points right points up.
            ((0.0, 0.0, 90.0), [0, -ONE, ONE, 0]),
            ((0.0, 0.0, -90.0), [0, ONE, -ONE, 0]),
            ((0.0, 0.0, 180.0), [-ONE, 0, 0, -ONE]),
            ((180.0, 0.0, 0.0), [-ONE, 0, 0, ONE]),
            ((0.0, 10.0, 90.0), [ONE, 0, 0, ONE]),
            ((45.0, 0.0, 90.0), [ONE, 0, 0, ONE]),
            ((0.0, 0.0, f64::INFINITY), [ONE, 0, 0, ONE]),
        ] {
            let video = Video { projection: Projection { kind: 0, yaw, pitch, roll }, ..plain() };
            let [a, b, _, c, d, ..] = video.matrix();
            assert_eq!([a, b, c, d], expected, "{yaw} {pitch} {roll}");
        }
        let sphere =
            Video { projection: Projection { kind: 1, roll: 90.0, ..Projection::default() }, ..plain() };
        assert_eq!(sphere.matrix(), UPRIGHT);
    }

    #[test]
    fn the_order_of_fields_is_translated() {
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
            let video = Video { interlaced, field_order: order, ..plain() };
            assert_eq!(video.fields(), expected, "{interlaced} {order:?}");
        }
    }
}
