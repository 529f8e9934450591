//! Sizes as a table, pixels one by one, and whatever is asked of whatever video.

use glimpse_contract::Variant;
use proptest::prelude::*;

use crate::image::resize::*;

fn asked(name: &str) -> Still {
    Variant::from_file_name(name).and_then(Variant::still).unwrap_or_else(|| panic!("{name} is a thumbnail"))
}

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

/// A frame whose pixels tell where they were: red is the column, green the row.
fn map(size: Size) -> Bytes {
    let pixels = (0..size.height).flat_map(|y| (0..size.width).map(move |x| [x as u8, y as u8, 7]));
    pixels.flatten().collect::<Vec<u8>>().into()
}

#[test]
fn sizes_are_as_documented() {
    for (shown, name, scale, out) in [
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
        let framing = still(size(shown.0, shown.1), &asked(name));
        assert_eq!(framing.scale, size(scale.0, scale.1), "{shown:?} {name}");
        assert_eq!(framing.size, size(out.0, out.1), "{shown:?} {name}");
    }
}

#[track_caller]
fn shows(name: &str, shown: Size, expected: &[&[(u8, u8)]]) {
    let framing = Framing { scale: shown, ..still(shown, &asked(name)) };
    let out = framing.apply(map(shown), shown).unwrap();
    let rows: Vec<Vec<(u8, u8)>> = out
        .chunks_exact(framing.size.width as usize * RGB)
        .map(|line| line.chunks_exact(RGB).map(|pixel| (pixel[0], pixel[1])).collect())
        .collect();
    assert_eq!(rows.len(), 8.max(expected.len()), "{name}");
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(&row[..expected.len()], *expected, "{name}");
    }
}

#[test]
fn pixels_go_where_they_should() {
    let shown = size(12, 8);
    shows("thumbnail.png", shown, &[&[(0, 0), (1, 0)], &[(0, 1), (1, 1)]]);
    shows("thumbnail-flip_h_true.png", shown, &[&[(11, 0), (10, 0)], &[(11, 1)]]);
    shows("thumbnail-flip_v_true.png", shown, &[&[(0, 7), (1, 7)], &[(0, 6)]]);
    shows("thumbnail-rotate_180.png", shown, &[&[(11, 7), (10, 7)], &[(11, 6)]]);
    let rest = [&[][..]; 10];
    let rows =
        |first: &'static [(u8, u8)], second: &'static [(u8, u8)]| [&[first, second][..], &rest[..]].concat();
    shows("thumbnail-rotate_90.png", shown, &rows(&[(0, 7), (0, 6)], &[(1, 7)]));
    shows("thumbnail-rotate_270.png", shown, &rows(&[(11, 0), (11, 1)], &[(10, 0)]));
    shows("thumbnail-rotate_90-flip_h_true.png", shown, &rows(&[(0, 0), (0, 1)], &[(1, 0)]));
    shows("thumbnail-rotate_90-flip_v_true.png", shown, &rows(&[(11, 7), (11, 6)], &[(10, 7)]));
    shows("thumbnail-width_8-height_8-fit_mode_crop.png", shown, &[&[(2, 0), (3, 0)], &[(2, 1)]]);
    shows(
        "thumbnail-width_12-height_12-fit_mode_pad.png",
        shown,
        &[&[(0, 0)], &[(0, 0)], &[(0, 0), (1, 0)], &[(0, 1)], &[], &[], &[], &[], &[], &[], &[], &[]],
    );
}

#[test]
fn smart_cropping_finds_the_detail() {
    let shown = size(64, 16);
    let framing = still(shown, &asked("thumbnail-width_16-height_16-fit_mode_smartcrop.png"));
    assert_eq!(framing.scale, shown);
    let left_of = |frame: Vec<u8>| {
        let (turned, whole) = (Bytes::from(frame), shown);
        busiest(&turned, whole, largest_cut(whole, framing.size)).left
    };
    let flat = vec![90; shown.frame_bytes()];
    assert_eq!(left_of(flat.clone()), 24, "a flat picture is cut in the middle");
    for at in [0u32, 9, 48] {
        let mut frame = flat.clone();
        for (index, pixel) in frame.chunks_exact_mut(RGB).enumerate() {
            let (x, y) = (index as u32 % 64, index as u32 / 64);
            // A board of squares, from edge to edge of the part.
            if (at + 1..at + 15).contains(&x) && (x + y) % 2 == 0 {
                pixel.fill(255);
            }
        }
        assert!(left_of(frame).abs_diff(at) <= 1, "at {at}");
    }
}

#[test]
fn a_frame_that_is_not_as_long_as_it_says_is_refused() {
    let framing = still(size(32, 24), &asked("thumbnail-rotate_90.png"));
    assert!(framing.apply(map(size(32, 23)), size(32, 24)).is_err());
    assert!(framing.apply(Bytes::new(), size(0, 24)).is_err());
}

#[test]
fn the_defaults_are_sized_as_ever() {
    let (poster, reel) = (Variant::DEFAULTS[0].still().unwrap(), Variant::DEFAULTS[2].moving().unwrap());
    for shown in [(1920, 1080), (1080, 1920), (1, 8192), (8192, 1), (641, 1281), (1080, 2520), (3, 5)] {
        let shown = size(shown.0, shown.1);
        assert_eq!(still(shown, &poster).size, shown.fitted(limits::THUMBNAIL_WIDTH), "{shown:?}");
        assert_eq!(moving(shown, &reel), shown.fitted(limits::ANIMATED_WIDTH), "{shown:?}");
    }
}

proptest! {
    #[test]
    fn a_picture_has_the_size_that_was_asked_for(
        shown_width in 1..200u32,
        shown_height in 1..200u32,
        width in 8..100u32,
        height in 8..100u32,
        fit in prop::sample::select(vec!["", "-fit_mode_stretch", "-fit_mode_crop", "-fit_mode_smartcrop", "-fit_mode_pad"]),
        turn in prop::sample::select(vec!["", "-rotate_90", "-rotate_180", "-rotate_270", "-flip_v_true", "-flip_h_true", "-rotate_90-flip_v_true", "-rotate_90-flip_h_true"]),
    ) {
        // A box of twice the height has a shorter name.
        let height = if height == width * 2 { height - 1 } else { height };
        let shown = size(shown_width, shown_height);
        let asked = asked(&format!("thumbnail-width_{width}-height_{height}{fit}{turn}.png"));
        let framing = still(shown, &asked);
        let frame = map(framing.scale);
        let out = framing.apply(frame, framing.scale).unwrap();
        prop_assert_eq!(out.len(), framing.size.frame_bytes());
        if fit.is_empty() {
            let turned = if asked.turn.swaps_sides() { swapped(shown) } else { shown };
            prop_assert!(framing.size.width <= width.min(turned.width));
            prop_assert!(framing.size.height <= height.min(turned.height));
            let is_touching = framing.size.width == width || framing.size.height == height;
            prop_assert!(is_touching || framing.size == turned, "as large as may be");
        } else {
            prop_assert_eq!(framing.size, size(width, height));
        }
    }

    #[test]
    fn whatever_is_asked_of_whatever_video_takes_bounded_memory(
        shown_width in 1..=limits::MAX_DIMENSION,
        shown_height in 1..=limits::MAX_DIMENSION,
        width in limits::MIN_SIDE..=limits::MAX_THUMBNAIL_SIDE,
        height in limits::MIN_SIDE..=limits::MAX_THUMBNAIL_SIDE,
        fit in prop::sample::select(vec![Fit::Preserve, Fit::Stretch, Fit::Crop, Fit::SmartCrop, Fit::Pad]),
    ) {
        let asked = Still { time_ms: None, bounds: Bounds { width, height }, fit, turn: Turn::NONE };
        let framing = still(size(shown_width, shown_height), &asked);
        prop_assert!(framing.scale.frame_bytes() <= 51_000_000, "{:?}", framing);
        prop_assert!(framing.scale.width >= 1 && framing.scale.height >= 1);
        let whole = framing.scale;
        let cut = largest_cut(whole, framing.size);
        prop_assert!(cut.width <= whole.width && cut.height <= whole.height, "{:?} of {:?}", cut, whole);
    }
}
