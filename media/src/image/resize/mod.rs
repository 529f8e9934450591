//! Resizes a frame to the requested box: scales, rotates, crops and pads it. Does no IO.
//!
//! The order: the decoder scales the whole frame ([`Geometry::decode_size`]), the frame is rotated, and then it is
//! cropped or padded, so that the box applies to the delivered image. Mirroring does not affect cropping and padding,
//! which are symmetric, and is therefore done together with the rotation.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use glimpse_contract::{AnimationParams, Bounds, Fit, Orientation, ThumbnailParams, limits};

use crate::image::header::{self, ImageError};
use crate::size::{Size, scale_side};

/// The most pixels to which a whole frame is scaled before cropping: 50 MB raw. Beyond that (a narrow strip that covers
/// a square), the crop is enlarged afterwards, without a loss of detail: the source has no more.
const MAX_SCALED_PIXELS: u64 = 16_777_216;

/// Bytes per pixel.
const RGB: usize = 3;

/// How a frame is converted to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The size to which the decoder scales the whole frame, before rotation.
    pub decode_size: Size,
    /// The size of the image.
    pub size: Size,
    orientation: Orientation,
    action: FitAction,
}

/// How a scaled and rotated frame is adapted to another aspect ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FitAction {
    /// The aspect ratio is the same.
    None,
    /// Keep the center.
    Crop,
    /// Keep the part with the most detail.
    SmartCrop,
    /// Add black bars.
    Pad,
}

/// The geometry of a still image of a video with this display size.
pub fn thumbnail_geometry(display_size: Size, still: &ThumbnailParams) -> Geometry {
    let ThumbnailParams { bounds, fit, orientation, .. } = *still;
    let oriented = if orientation.swaps_width_and_height() { swap_sides(display_size) } else { display_size };
    let box_size = Size { width: bounds.width, height: bounds.height };
    let (decode_size, size, action) = match fit {
        Fit::Preserve => {
            let size = shrink_to_fit(oriented, bounds);
            (size, size, FitAction::None)
        }
        Fit::Stretch => (box_size, box_size, FitAction::None),
        Fit::Crop => (limit_pixels(cover(oriented, box_size)), box_size, FitAction::Crop),
        Fit::SmartCrop => (limit_pixels(cover(oriented, box_size)), box_size, FitAction::SmartCrop),
        Fit::Pad => (fit_inside(oriented, box_size), box_size, FitAction::Pad),
    };
    let decode_size =
        if orientation.swaps_width_and_height() { swap_sides(decode_size) } else { decode_size };
    Geometry { decode_size, size, orientation, action }
}

/// The size of an animation of a video with this display size.
pub fn animation_size(display_size: Size, moving: &AnimationParams) -> Size {
    shrink_to_fit(display_size, moving.bounds)
}

impl Geometry {
    /// Converts a decoded frame to the raw `rgb24` frame of the image.
    ///
    /// # Errors
    /// The frame does not have the length for its size.
    pub fn apply(&self, frame: Bytes, decoded_size: Size) -> Result<Bytes, ImageError> {
        header::check_frames(&[&frame], decoded_size)?;
        header::check_size(decoded_size, u16::MAX)?;
        let (frame, oriented_size) = orient(frame, decoded_size, self.orientation);
        let rect = match self.action {
            FitAction::None => CropRect { left: 0, top: 0, size: oriented_size },
            FitAction::Crop => center_crop(oriented_size, largest_crop(oriented_size, self.size)),
            FitAction::SmartCrop => smart_crop(&frame, oriented_size, largest_crop(oriented_size, self.size)),
            FitAction::Pad => return Ok(pad(&frame, oriented_size, self.size)),
        };
        Ok(crop_and_resize(frame, oriented_size, rect, self.size))
    }
}

/// A part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CropRect {
    left: u32,
    top: u32,
    size: Size,
}

fn swap_sides(size: Size) -> Size {
    Size { width: size.height, height: size.width }
}

/// Whether the aspect ratio of `one` is at least that of `other`.
fn is_wider(one: Size, other: Size) -> bool {
    u64::from(one.width) * u64::from(other.height) >= u64::from(other.width) * u64::from(one.height)
}

/// The largest size within the box with the same aspect ratio.
fn fit_inside(size: Size, bounds: Size) -> Size {
    if is_wider(size, bounds) {
        let height = scale_side(size.height, bounds.width, size.width).min(bounds.height);
        Size { width: bounds.width, height }
    } else {
        let width = scale_side(size.width, bounds.height, size.height).min(bounds.width);
        Size { width, height: bounds.height }
    }
}

/// The largest size within the box with the same aspect ratio, never scaled up.
fn shrink_to_fit(size: Size, bounds: Bounds) -> Size {
    if size.width <= bounds.width && size.height <= bounds.height {
        return size;
    }
    fit_inside(size, Size { width: bounds.width, height: bounds.height })
}

/// The smallest size that covers the box with the same aspect ratio.
fn cover(size: Size, bounds: Size) -> Size {
    if is_wider(size, bounds) {
        let width = scale_side(size.width, bounds.height, size.height).max(bounds.width);
        Size { width, height: bounds.height }
    } else {
        let height = scale_side(size.height, bounds.width, size.width).max(bounds.height);
        Size { width: bounds.width, height }
    }
}

/// The same aspect ratio, within the limit of pixels in memory.
fn limit_pixels(size: Size) -> Size {
    let longest = size.width.max(size.height);
    let mut to = longest.min(limits::MAX_DIMENSION);
    let pixels = u64::from(size.width) * u64::from(size.height);
    if pixels > MAX_SCALED_PIXELS {
        let by = (MAX_SCALED_PIXELS as f64 / pixels as f64).sqrt();
        to = to.min((f64::from(longest) * by) as u32);
    }
    if to == longest {
        return size;
    }
    Size { width: scale_side(size.width, to, longest), height: scale_side(size.height, to, longest) }
}

/// The largest part of a frame with the aspect ratio of `shape`.
fn largest_crop(frame_size: Size, shape: Size) -> Size {
    if frame_size.width >= shape.width
        && frame_size.height >= shape.height
        && cover(frame_size, shape) == frame_size
    {
        return shape;
    }
    fit_inside(shape, frame_size)
}

fn center_crop(frame_size: Size, size: Size) -> CropRect {
    CropRect { left: (frame_size.width - size.width) / 2, top: (frame_size.height - size.height) / 2, size }
}

/// The part with the most detail: the largest sum of luma differences between neighbors, to the right and below. The
/// one nearest to the center among equal parts, so that a flat image is cropped as by [`Fit::Crop`].
fn smart_crop(frame: &[u8], frame_size: Size, size: Size) -> CropRect {
    let center = center_crop(frame_size, size);
    let (columns, rows) = detail_sums(frame, frame_size);
    let left = densest_window(&columns, size.width as usize, center.left as usize);
    let top = densest_window(&rows, size.height as usize, center.top as usize);
    CropRect { left: left as u32, top: top as u32, size }
}

/// The position of a window of this length with the largest sum; the one nearest to `preferred` among equal positions.
fn densest_window(amounts: &[u64], length: usize, preferred: usize) -> usize {
    let mut sum: u64 = amounts.iter().take(length).sum();
    let (mut best, mut best_sum) = (0usize, sum);
    for (first, (leaving, entering)) in amounts.iter().zip(amounts.iter().skip(length)).enumerate() {
        sum = sum + entering - leaving;
        let start = first + 1;
        if sum > best_sum || (sum == best_sum && start.abs_diff(preferred) < best.abs_diff(preferred)) {
            (best, best_sum) = (start, sum);
        }
    }
    best
}

/// The amount of detail in each column and in each row.
fn detail_sums(frame: &[u8], size: Size) -> (Vec<u64>, Vec<u64>) {
    let (width, height) = (size.width as usize, size.height as usize);
    let (mut columns, mut rows) = (vec![0; width], vec![0; height]);
    let mut above: Option<Vec<i32>> = None;
    for (line, row) in frame.chunks_exact(width * RGB).zip(&mut rows) {
        // BT.709's weights in 256ths.
        let brightness: Vec<i32> = line
            .chunks_exact(RGB)
            .map(|pixel| match pixel {
                [red, green, blue] => {
                    (54 * i32::from(*red) + 183 * i32::from(*green) + 19 * i32::from(*blue)) >> 8
                }
                _ => 0,
            })
            .collect();
        let left = std::iter::once(None).chain(brightness.iter().map(Some));
        for (x, ((here, left), column)) in brightness.iter().zip(left).zip(&mut columns).enumerate() {
            let up = above.as_ref().and_then(|above| above.get(x));
            let difference = |other: Option<&i32>| other.map_or(0, |other| u64::from(here.abs_diff(*other)));
            let amount = difference(left) + difference(up);
            *column += amount;
            *row += amount;
        }
        above = Some(brightness);
    }
    (columns, rows)
}

/// Rotates the frame clockwise, then mirrors it.
fn orient(frame: Bytes, size: Size, orientation: Orientation) -> (Bytes, Size) {
    if orientation == Orientation::NONE {
        return (frame, size);
    }
    let (width, height) = (size.width as usize, size.height as usize);
    let to = if orientation.swaps_width_and_height() { swap_sides(size) } else { size };
    let (to_width, to_height) = (to.width as usize, to.height as usize);
    let mut out = Vec::with_capacity(frame.len());
    for y in 0..to_height {
        for x in 0..to_width {
            let x = if orientation.is_mirrored() { to_width - 1 - x } else { x };
            let (from_x, from_y) = match orientation.quarters() {
                0 => (x, y),
                1 => (y, height - 1 - x),
                2 => (width - 1 - x, height - 1 - y),
                _ => (width - 1 - y, x),
            };
            let at = (from_y * width + from_x) * RGB;
            out.extend_from_slice(&frame[at..at + RGB]);
        }
    }
    (out.into(), to)
}

/// Centers the frame in a black one.
fn pad(frame: &[u8], size: Size, padded_size: Size) -> Bytes {
    // A frame that is larger than its box is cropped first. Decoders do not output such a frame unless requested.
    let kept = Size { width: size.width.min(padded_size.width), height: size.height.min(padded_size.height) };
    let source_rect = center_crop(size, kept);
    let target_rect = center_crop(padded_size, kept);
    let mut out = vec![0; padded_size.frame_bytes()];
    let length = kept.width as usize * RGB;
    let lines = frame.chunks_exact(size.width as usize * RGB).skip(source_rect.top as usize);
    let slots = out.chunks_exact_mut(padded_size.width as usize * RGB).skip(target_rect.top as usize);
    for (line, slot) in lines.zip(slots).take(kept.height as usize) {
        let (from, at) = (source_rect.left as usize * RGB, target_rect.left as usize * RGB);
        slot[at..at + length].copy_from_slice(&line[from..from + length]);
    }
    out.into()
}

/// Crops the frame, and resizes the result to `target_size`.
fn crop_and_resize(frame: Bytes, frame_size: Size, rect: CropRect, target_size: Size) -> Bytes {
    if rect.size == frame_size && frame_size == target_size {
        return frame;
    }
    let (left, length) = (rect.left as usize * RGB, rect.size.width as usize * RGB);
    let lines = frame.chunks_exact(frame_size.width as usize * RGB).skip(rect.top as usize);
    let mut cropped = Vec::with_capacity(rect.size.frame_bytes());
    for line in lines.take(rect.size.height as usize) {
        cropped.extend_from_slice(&line[left..left + length]);
    }
    if rect.size == target_size { cropped.into() } else { resize_bilinear(&cropped, rect.size, target_size) }
}

/// Resizes the frame with bilinear filtering, for cases that the decoder cannot scale. They are rare, and the frames
/// are small.
fn resize_bilinear(frame: &[u8], size: Size, target_size: Size) -> Bytes {
    let across = resample_weights(size.width, target_size.width);
    let down = resample_weights(size.height, target_size.height);
    let line_bytes = size.width as usize * RGB;
    let mut out = Vec::with_capacity(target_size.frame_bytes());
    for (first, second, weight) in down {
        let (upper, lower) =
            (&frame[first * line_bytes..][..line_bytes], &frame[second * line_bytes..][..line_bytes]);
        let row: Vec<f32> =
            upper.iter().zip(lower).map(|(a, b)| lerp(f32::from(*a), f32::from(*b), weight)).collect();
        for (first, second, weight) in &across {
            for channel in 0..RGB {
                let (a, b) = (row[first * RGB + channel], row[second * RGB + channel]);
                out.push((lerp(a, b, *weight) + 0.5) as u8);
            }
        }
    }
    out.into()
}

fn lerp(a: f32, b: f32, weight: f32) -> f32 {
    a + (b - a) * weight
}

/// For each of `to` pixels, the two neighboring pixels out of `from`, and the weight of the second.
fn resample_weights(from: u32, to: u32) -> Vec<(usize, usize, f32)> {
    let last = from.saturating_sub(1);
    (0..to)
        .map(|index| {
            let at = (f64::from(index) + 0.5) * f64::from(from) / f64::from(to) - 0.5;
            let at = at.clamp(0.0, f64::from(last));
            let first = at.floor() as u32;
            (first as usize, (first + 1).min(last) as usize, (at - f64::from(first)) as f32)
        })
        .collect()
}
