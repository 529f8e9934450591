//! Tests of sizes as a table, of single pixels, and of arbitrary parameters and videos.

use glimpse_contract::Variant;
use proptest::prelude::*;

use crate::image::resize::*;

fn parse_thumbnail(name: &str) -> ThumbnailParams {
    Variant::from_file_name(name)
        .and_then(Variant::thumbnail)
        .unwrap_or_else(|| panic!("{name} is a thumbnail"))
}

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

/// A frame whose pixels contain their coordinates: red is the column, green the row.
fn coordinate_frame(size: Size) -> Bytes {
    let pixels = (0..size.height).flat_map(|y| (0..size.width).map(move |x| [x as u8, y as u8, 7]));
    pixels.flatten().collect::<Vec<u8>>().into()
}

#[test]
fn computes_documented_sizes() {
    for (display_size, name, scale, out) in [
        ((1920, 1080), "thumbnail.jpg", (640, 360), (640, 360)),
        ((1080, 1920), "thumbnail.jpg", (640, 1138), (640, 1138)),
        ((320, 240), "thumbnail.jpg", (320, 240), (320, 240)),
        ((320, 240), "thumbnail-width_800-height_800.jpg", (320, 240), (320, 240)),
        ((1920, 1080), "thumbnail-width_200.jpg", (200, 113), (200, 113)),
        ((1920, 1080), "thumbnail-height_90.jpg", (160, 90), (160, 90)),
        ((1920, 1080), "thumbnail-width_200-height_50.jpg", (89, 50), (89, 50)),
        ((1920, 1080), "thumbnail-width_200-rotate_90.jpg", (356, 200), (200, 356)),
        ((320, 240), "thumbnail-width_800-height_100-fit_mode_stretch.jpg", (800, 100), (800, 100)),
        ((320, 240), "thumbnail-width_800-height_100-fit_mode_stretch-rotate_90.jpg", (100, 800), (800, 100)),
        ((1920, 1080), "thumbnail-width_100-height_100-fit_mode_crop.jpg", (178, 100), (100, 100)),
        ((1920, 1080), "thumbnail-width_100-height_100-fit_mode_crop-rotate_270.jpg", (178, 100), (100, 100)),
        ((32, 24), "thumbnail-width_100-height_100-fit_mode_smartcrop.jpg", (133, 100), (100, 100)),
        ((1920, 1080), "thumbnail-width_100-height_100-fit_mode_pad.jpg", (100, 56), (100, 100)),
        ((32, 24), "thumbnail-width_100-height_100-fit_mode_pad.jpg", (100, 75), (100, 100)),
        ((8192, 1), "thumbnail-width_100-height_100-fit_mode_crop.jpg", (8192, 1), (100, 100)),
    ] {
        let geometry = thumbnail_geometry(size(display_size.0, display_size.1), &parse_thumbnail(name));
        assert_eq!(geometry.decode_size, size(scale.0, scale.1), "{display_size:?} {name}");
        assert_eq!(geometry.size, size(out.0, out.1), "{display_size:?} {name}");
    }
}

#[track_caller]
fn check(name: &str, display_size: Size, expected: &[&[(u8, u8)]]) {
    let geometry =
        Geometry { decode_size: display_size, ..thumbnail_geometry(display_size, &parse_thumbnail(name)) };
    let out = geometry.apply(coordinate_frame(display_size), display_size).unwrap();
    let rows: Vec<Vec<(u8, u8)>> = out
        .chunks_exact(geometry.size.width as usize * RGB)
        .map(|line| line.chunks_exact(RGB).map(|pixel| (pixel[0], pixel[1])).collect())
        .collect();
    assert_eq!(rows.len(), 8.max(expected.len()), "{name}");
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(&row[..expected.len()], *expected, "{name}");
    }
}

#[test]
fn moves_pixels_as_requested() {
    let display_size = size(12, 8);
    check("thumbnail.png", display_size, &[&[(0, 0), (1, 0)], &[(0, 1), (1, 1)]]);
    check("thumbnail-flip_h_true.png", display_size, &[&[(11, 0), (10, 0)], &[(11, 1)]]);
    check("thumbnail-flip_v_true.png", display_size, &[&[(0, 7), (1, 7)], &[(0, 6)]]);
    check("thumbnail-rotate_180.png", display_size, &[&[(11, 7), (10, 7)], &[(11, 6)]]);
    let rest = [&[][..]; 10];
    let rows =
        |first: &'static [(u8, u8)], second: &'static [(u8, u8)]| [&[first, second][..], &rest[..]].concat();
    check("thumbnail-rotate_90.png", display_size, &rows(&[(0, 7), (0, 6)], &[(1, 7)]));
    check("thumbnail-rotate_270.png", display_size, &rows(&[(11, 0), (11, 1)], &[(10, 0)]));
    check("thumbnail-rotate_90-flip_h_true.png", display_size, &rows(&[(0, 0), (0, 1)], &[(1, 0)]));
    check("thumbnail-rotate_90-flip_v_true.png", display_size, &rows(&[(11, 7), (11, 6)], &[(10, 7)]));
    check("thumbnail-width_8-height_8-fit_mode_crop.png", display_size, &[&[(2, 0), (3, 0)], &[(2, 1)]]);
    check(
        "thumbnail-width_12-height_12-fit_mode_pad.png",
        display_size,
        &[&[(0, 0)], &[(0, 0)], &[(0, 0), (1, 0)], &[(0, 1)], &[], &[], &[], &[], &[], &[], &[], &[]],
    );
}

#[test]
fn smart_crop_finds_the_detail() {
    let display_size = size(64, 16);
    let geometry = thumbnail_geometry(
        display_size,
        &parse_thumbnail("thumbnail-width_16-height_16-fit_mode_smartcrop.png"),
    );
    assert_eq!(geometry.decode_size, display_size);
    let left_of = |frame: Vec<u8>| {
        let (turned, whole) = (Bytes::from(frame), display_size);
        smart_crop(&turned, whole, largest_crop(whole, geometry.size)).left
    };
    let flat = vec![90; display_size.frame_bytes()];
    assert_eq!(left_of(flat.clone()), 24, "a flat image is cropped at the center");
    for at in [0u32, 9, 48] {
        let mut frame = flat.clone();
        for (index, pixel) in frame.chunks_exact_mut(RGB).enumerate() {
            let (x, y) = (index as u32 % 64, index as u32 / 64);
            // A checkerboard from edge to edge of the part.
            if (at + 1..at + 15).contains(&x) && (x + y) % 2 == 0 {
                pixel.fill(255);
            }
        }
        assert!(left_of(frame).abs_diff(at) <= 1, "at {at}");
    }
}

#[test]
fn rejects_wrong_frame_length() {
    let geometry = thumbnail_geometry(size(32, 24), &parse_thumbnail("thumbnail-rotate_90.png"));
    assert!(geometry.apply(coordinate_frame(size(32, 23)), size(32, 24)).is_err());
    assert!(geometry.apply(Bytes::new(), size(0, 24)).is_err());
}

#[test]
fn default_outputs_keep_their_sizes() {
    let (poster, animation) =
        (Variant::DEFAULTS[0].thumbnail().unwrap(), Variant::DEFAULTS[2].animation().unwrap());
    for display_size in [(1920, 1080), (1080, 1920), (1, 8192), (8192, 1), (641, 1281), (1080, 2520), (3, 5)]
    {
        let display_size = size(display_size.0, display_size.1);
        assert_eq!(
            thumbnail_geometry(display_size, &poster).size,
            display_size.scale_to_fit(limits::THUMBNAIL_WIDTH),
            "{display_size:?}"
        );
        assert_eq!(
            animation_size(display_size, &animation),
            display_size.scale_to_fit(limits::ANIMATION_WIDTH),
            "{display_size:?}"
        );
    }
}

proptest! {
    #[test]
    fn output_has_the_requested_size(
        shown_width in 1..200u32,
        shown_height in 1..200u32,
        width in 8..100u32,
        height in 8..100u32,
        fit in prop::sample::select(vec!["", "-fit_mode_stretch", "-fit_mode_crop", "-fit_mode_smartcrop", "-fit_mode_pad"]),
        turn in prop::sample::select(vec!["", "-rotate_90", "-rotate_180", "-rotate_270", "-flip_v_true", "-flip_h_true", "-rotate_90-flip_v_true", "-rotate_90-flip_h_true"]),
    ) {
        // A box whose height is twice its width has a shorter canonical form.
        let height = if height == width * 2 { height - 1 } else { height };
        let display_size = size(shown_width, shown_height);
        let params = parse_thumbnail(&format!("thumbnail-width_{width}-height_{height}{fit}{turn}.png"));
        let geometry = thumbnail_geometry(display_size, &params);
        let frame = coordinate_frame(geometry.decode_size);
        let out = geometry.apply(frame, geometry.decode_size).unwrap();
        prop_assert_eq!(out.len(), geometry.size.frame_bytes());
        if fit.is_empty() {
            let oriented = if params.orientation.swaps_width_and_height() { swap_sides(display_size) } else { display_size };
            prop_assert!(geometry.size.width <= width.min(oriented.width));
            prop_assert!(geometry.size.height <= height.min(oriented.height));
            let is_touching = geometry.size.width == width || geometry.size.height == height;
            prop_assert!(is_touching || geometry.size == oriented, "the size is the largest possible");
        } else {
            prop_assert_eq!(geometry.size, size(width, height));
        }
    }

    #[test]
    fn any_request_takes_bounded_memory(
        shown_width in 1..=limits::MAX_DIMENSION,
        shown_height in 1..=limits::MAX_DIMENSION,
        width in limits::MIN_SIDE..=limits::MAX_THUMBNAIL_SIDE,
        height in limits::MIN_SIDE..=limits::MAX_THUMBNAIL_SIDE,
        fit in prop::sample::select(vec![Fit::Preserve, Fit::Stretch, Fit::Crop, Fit::SmartCrop, Fit::Pad]),
    ) {
        // Not every box is written as such in a canonical name: the largest one, for instance, has a width alone.
        let params = ThumbnailParams { bounds: Bounds { width, height }, fit, ..parse_thumbnail("thumbnail.jpg") };
        let geometry = thumbnail_geometry(size(shown_width, shown_height), &params);
        prop_assert!(geometry.decode_size.frame_bytes() <= 51_000_000, "{:?}", geometry);
        prop_assert!(geometry.decode_size.width >= 1 && geometry.decode_size.height >= 1);
        let whole = geometry.decode_size;
        let crop = largest_crop(whole, geometry.size);
        prop_assert!(crop.width <= whole.width && crop.height <= whole.height, "{:?} of {:?}", crop, whole);
    }
}
