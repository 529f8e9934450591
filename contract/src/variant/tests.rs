//! Tests of URLs and their canonical forms: tables, and comparison with an independent model.

use proptest::prelude::*;

use super::*;

const VIDEO: &str = "7zzzzzzzzz0123456789abcdef";

/// Requested URLs and their canonical forms.
const EQUIVALENT_URLS: &[(&str, &str)] = &[
    // Defaults, explicit or not.
    ("thumbnail.jpg", "thumbnail.jpg"),
    ("thumbnail.png", "thumbnail.png"),
    ("thumbnail.webp", "thumbnail.webp"),
    ("thumbnail.avif", "thumbnail.avif"),
    ("thumbnail.avif?quality=57&dpr=2", "thumbnail.avif?width=1280"),
    ("thumbnail.avif?quality=80", "thumbnail.avif?quality=80"),
    ("animated.gif", "animated.gif"),
    ("animated.webp", "animated.webp"),
    ("animated.mp4", "animated.mp4"),
    ("animated.mp4?fps=15", "animated.mp4"),
    ("storyboard.jpg", "storyboard.jpg"),
    ("storyboard.webp", "storyboard.webp"),
    ("storyboard.vtt", "storyboard.vtt"),
    ("storyboard.json", "storyboard.json"),
    ("storyboard.m3u8", "storyboard.m3u8"),
    ("thumbnail.jpg?", "thumbnail.jpg"),
    ("thumbnail.jpg?&&", "thumbnail.jpg"),
    ("thumbnail.jpg?width=640", "thumbnail.jpg"),
    ("thumbnail.jpg?&width=640&", "thumbnail.jpg"),
    ("thumbnail.jpg?width=640&height=1280", "thumbnail.jpg"),
    ("thumbnail.jpg?height=1280&width=640", "thumbnail.jpg"),
    ("thumbnail.jpg?fit_mode=preserve", "thumbnail.jpg"),
    ("thumbnail.jpg?fit_mode=crop", "thumbnail.jpg"),
    ("thumbnail.jpg?fit_mode=smartcrop&width=640", "thumbnail.jpg"),
    ("thumbnail.jpg?flip_v=false&flip_h=false", "thumbnail.jpg"),
    ("thumbnail.jpg?rotate=180&flip_v=true&flip_h=true", "thumbnail.jpg"),
    ("animated.gif?width=320", "animated.gif"),
    ("animated.gif?fps=15", "animated.gif"),
    ("animated.gif?width=320&height=640&fps=15", "animated.gif"),
    // The revision.
    ("thumbnail.jpg?v=0123abcd", "thumbnail.jpg?v=0123abcd"),
    ("thumbnail.jpg?width=640&v=0123abcd", "thumbnail.jpg?v=0123abcd"),
    ("thumbnail.jpg?v=0123abcd&width=200", "thumbnail.jpg?width=200&v=0123abcd"),
    ("storyboard.vtt?v=0123abcd", "storyboard.vtt?v=0123abcd"),
    ("storyboard.vtt?format=webp", "storyboard.vtt?format=webp"),
    ("storyboard.json?v=0123abcd&format=webp", "storyboard.json?format=webp&v=0123abcd"),
    ("storyboard.json?format=jpg", "storyboard.json"),
    ("thumbnail.jpg?time=12.3456789", "thumbnail.jpg?time=12.346"),
    ("thumbnail.jpg?time=0.30000000000000004", "thumbnail.jpg?time=0.3"),
    ("thumbnail.jpg?time=86399.99999", "thumbnail.jpg?time=86400"),
    ("animated.gif?start=1.00049&end=3.4995001", "animated.gif?start=1&end=3.5"),
    ("thumbnails/thumbnail.jpg?time=1m2.34567s", "thumbnail.jpg?time=62.346"),
    ("thumbnail.jpg?v=0123abcd&time=1", "thumbnail.jpg?time=1"),
    ("animated.gif?v=0123abcd&start=1", "animated.gif?start=1&end=6"),
    // Times.
    ("thumbnail.jpg?time=0", "thumbnail.jpg?time=0"),
    ("thumbnail.jpg?time=0.000", "thumbnail.jpg?time=0"),
    ("thumbnail.jpg?time=1", "thumbnail.jpg?time=1"),
    ("thumbnail.jpg?time=1.0", "thumbnail.jpg?time=1"),
    ("thumbnail.jpg?time=1.500", "thumbnail.jpg?time=1.5"),
    ("thumbnail.jpg?time=1.05", "thumbnail.jpg?time=1.05"),
    ("thumbnail.jpg?time=0.001", "thumbnail.jpg?time=0.001"),
    ("thumbnail.jpg?time=86400", "thumbnail.jpg?time=86400"),
    // Sizes.
    ("thumbnail.jpg?width=200", "thumbnail.jpg?width=200"),
    ("thumbnail.jpg?width=8", "thumbnail.jpg?width=8"),
    ("thumbnail.jpg?width=3840", "thumbnail.jpg?width=3840"),
    ("thumbnail.jpg?width=3840&height=3840", "thumbnail.jpg?width=3840"),
    ("thumbnail.jpg?width=2000&height=3840", "thumbnail.jpg?width=2000"),
    ("thumbnail.jpg?width=200&height=400", "thumbnail.jpg?width=200"),
    ("thumbnail.jpg?width=200&height=399", "thumbnail.jpg?width=200&height=399"),
    ("thumbnail.jpg?width=200&height=401", "thumbnail.jpg?width=200&height=401"),
    ("thumbnail.jpg?height=200", "thumbnail.jpg?height=200"),
    ("thumbnail.jpg?height=200&width=3840", "thumbnail.jpg?height=200"),
    ("thumbnail.jpg?height=3840", "thumbnail.jpg?width=3840"),
    ("thumbnail.jpg?height=1280", "thumbnail.jpg?height=1280"),
    ("thumbnail.jpg?width=640&height=360", "thumbnail.jpg?width=640&height=360"),
    ("animated.gif?width=640", "animated.gif?width=640"),
    ("animated.gif?width=640&height=640", "animated.gif?width=640"),
    ("animated.gif?height=640", "animated.gif?width=640"),
    ("animated.gif?height=200", "animated.gif?height=200"),
    ("animated.gif?height=200&width=640", "animated.gif?height=200"),
    ("animated.gif?width=320&height=180", "animated.gif?width=320&height=180"),
    ("animated.gif?width=100&height=200", "animated.gif?width=100"),
    // Fit modes, and the order of parameters.
    ("thumbnail.jpg?fit_mode=crop&height=100&width=200", "thumbnail.jpg?width=200&height=100&fit_mode=crop"),
    (
        "thumbnail.jpg?width=200&height=100&fit_mode=smartcrop",
        "thumbnail.jpg?width=200&height=100&fit_mode=smartcrop",
    ),
    ("thumbnail.jpg?width=200&height=100&fit_mode=pad", "thumbnail.jpg?width=200&height=100&fit_mode=pad"),
    (
        "thumbnail.jpg?width=200&height=100&fit_mode=stretch",
        "thumbnail.jpg?width=200&height=100&fit_mode=stretch",
    ),
    ("thumbnail.jpg?width=200&height=100&fit_mode=preserve", "thumbnail.jpg?width=200&height=100"),
    (
        "thumbnail.jpg?width=640&height=1280&fit_mode=crop",
        "thumbnail.jpg?width=640&height=1280&fit_mode=crop",
    ),
    ("thumbnail.jpg?width=3840&height=200&fit_mode=pad", "thumbnail.jpg?width=3840&height=200&fit_mode=pad"),
    ("thumbnail.jpg?width=200&fit_mode=crop", "thumbnail.jpg?width=200"),
    ("thumbnail.jpg?height=200&fit_mode=stretch", "thumbnail.jpg?height=200"),
    // Rotations and flips.
    ("thumbnail.jpg?rotate=90", "thumbnail.jpg?rotate=90"),
    ("thumbnail.jpg?rotate=180", "thumbnail.jpg?rotate=180"),
    ("thumbnail.jpg?rotate=270", "thumbnail.jpg?rotate=270"),
    ("thumbnail.jpg?flip_h=true", "thumbnail.jpg?flip_h=true"),
    ("thumbnail.jpg?flip_v=true", "thumbnail.jpg?flip_v=true"),
    ("thumbnail.jpg?flip_h=true&flip_v=true", "thumbnail.jpg?rotate=180"),
    ("thumbnail.jpg?rotate=180&flip_h=true", "thumbnail.jpg?flip_v=true"),
    ("thumbnail.jpg?rotate=180&flip_v=true", "thumbnail.jpg?flip_h=true"),
    ("thumbnail.jpg?rotate=90&flip_h=true", "thumbnail.jpg?rotate=90&flip_h=true"),
    ("thumbnail.jpg?rotate=90&flip_v=true", "thumbnail.jpg?rotate=90&flip_v=true"),
    ("thumbnail.jpg?rotate=270&flip_h=true", "thumbnail.jpg?rotate=90&flip_v=true"),
    ("thumbnail.jpg?rotate=270&flip_v=true", "thumbnail.jpg?rotate=90&flip_h=true"),
    ("thumbnail.jpg?rotate=270&flip_v=true&flip_h=true", "thumbnail.jpg?rotate=90"),
    ("thumbnail.jpg?rotate=90&flip_v=true&flip_h=true", "thumbnail.jpg?rotate=270"),
    // Effects and quality.
    ("thumbnail.jpg?blur=1", "thumbnail.jpg?blur=1"),
    ("thumbnail.png?blur=100", "thumbnail.png?blur=100"),
    ("thumbnail.jpg?quality=81", "thumbnail.jpg"),
    ("thumbnail.webp?quality=81", "thumbnail.webp?quality=81"),
    ("thumbnail.webp?quality=80", "thumbnail.webp"),
    ("thumbnail.jpg?quality=100", "thumbnail.jpg?quality=100"),
    ("thumbnail.jpg?play=true", "thumbnail.jpg?play=true"),
    ("thumbnail.jpg?play=false", "thumbnail.jpg"),
    (
        "thumbnail.jpg?play=true&quality=60&blur=8&width=320",
        "thumbnail.jpg?width=320&blur=8&quality=60&play=true",
    ),
    // Device pixel ratios.
    ("thumbnail.jpg?dpr=1", "thumbnail.jpg"),
    ("thumbnail.jpg?dpr=1.00", "thumbnail.jpg"),
    ("thumbnail.jpg?dpr=2", "thumbnail.jpg?width=1280"),
    ("thumbnail.jpg?dpr=3", "thumbnail.jpg?width=1920"),
    ("thumbnail.jpg?width=320&dpr=2", "thumbnail.jpg"),
    ("thumbnail.jpg?dpr=1.5&width=320", "thumbnail.jpg?width=480"),
    ("thumbnail.jpg?dpr=1.50&width=320", "thumbnail.jpg?width=480"),
    ("thumbnail.jpg?dpr=1.25&width=321", "thumbnail.jpg?width=401"),
    ("thumbnail.jpg?dpr=1.01&width=50", "thumbnail.jpg?width=51"),
    ("thumbnail.jpg?dpr=1.01&width=49", "thumbnail.jpg?width=49"),
    ("thumbnail.jpg?dpr=2&height=200", "thumbnail.jpg?height=400"),
    ("thumbnail.jpg?dpr=2&height=1920", "thumbnail.jpg?width=3840"),
    (
        "thumbnail.jpg?dpr=2&width=200&height=100&fit_mode=crop",
        "thumbnail.jpg?width=400&height=200&fit_mode=crop",
    ),
    ("thumbnail.jpg?dpr=3&width=1280", "thumbnail.jpg?width=3840"),
    ("thumbnail.jpg?dpr=2&blur=8&width=160", "thumbnail.jpg?width=320&blur=8"),
    // All parameters, in any order.
    (
        "thumbnail.webp?flip_h=true&rotate=90&fit_mode=crop&height=300&width=400&time=2.250&v=00000000",
        "thumbnail.webp?time=2.25&width=400&height=300&fit_mode=crop&rotate=90&flip_h=true",
    ),
    // Spans.
    ("animated.gif?start=2", "animated.gif?start=2&end=7"),
    ("animated.gif?start=2&end=7", "animated.gif?start=2&end=7"),
    ("animated.gif?end=7&start=2.0", "animated.gif?start=2&end=7"),
    ("animated.gif?end=3", "animated.gif?start=0&end=3"),
    ("animated.gif?start=0", "animated.gif?start=0&end=5"),
    ("animated.gif?start=0&end=0.25", "animated.gif?start=0&end=0.25"),
    ("animated.gif?start=1.5&end=11.5", "animated.gif?start=1.5&end=11.5"),
    ("animated.gif?start=86400", "animated.gif?start=86400&end=86405"),
    ("animated.gif?fps=30&start=1", "animated.gif?start=1&end=6&fps=30"),
    ("animated.gif?fps=1", "animated.gif?fps=1"),
    ("animated.webp?max_bytes=10000", "animated.webp?max_bytes=10000"),
    (
        "animated.webp?max_bytes=500000&fps=10&height=90&width=160&end=4&start=1",
        "animated.webp?start=1&end=4&width=160&height=90&fps=10&max_bytes=500000",
    ),
    // Storyboards.
    ("storyboard.jpg?width=240&tiles=100", "storyboard.jpg?tiles=100&width=240"),
    ("storyboard.webp?tiles=2", "storyboard.webp?tiles=2"),
    ("storyboard.json?interval=10.0", "storyboard.json?interval=10"),
    ("storyboard.vtt?interval=0.1&width=320", "storyboard.vtt?interval=0.1&width=320"),
    ("storyboard.vtt?format=webp&tiles=50", "storyboard.vtt?tiles=50&format=webp"),
    ("storyboard.m3u8?v=0123abcd&format=webp&width=8", "storyboard.m3u8?width=8&format=webp&v=0123abcd"),
    ("storyboard.m3u8?format=jpg", "storyboard.m3u8"),
    ("storyboard.jpg?asset_start_time=0", "storyboard.jpg"),
    ("storyboard.jpg?asset_start_time=0.000&asset_end_time=60", "storyboard.jpg?asset_end_time=60"),
    (
        "storyboard.jpg?tiles=10&asset_end_time=90.50&asset_start_time=30.0004",
        "storyboard.jpg?asset_start_time=30&asset_end_time=90.5&tiles=10",
    ),
    // Clips.
    ("clip.mp4", "clip.mp4?start=0&end=10"),
    ("clip.mp4?start=0&end=10&audio=true", "clip.mp4?start=0&end=10"),
    ("clip.mp4?end=10.000&v=0123abcd", "clip.mp4?start=0&end=10"),
    ("clip.mp4?start=5", "clip.mp4?start=5&end=15"),
    ("clip.mp4?audio=false&end=7.50&start=2", "clip.mp4?start=2&end=7.5&audio=false"),
    ("clip.mp4?audio=false", "clip.mp4?start=0&end=10&audio=false"),
    ("clip.mp4?start=1&end=1.25", "clip.mp4?start=1&end=1.25"),
    ("clip.mp4?start=1&end=61", "clip.mp4?start=1&end=61"),
    ("clip.mp4?start=86400&end=86460", "clip.mp4?start=86400&end=86460"),
    // Cloudflare Stream's names.
    ("thumbnails/thumbnail.jpg", "thumbnail.jpg"),
    ("thumbnails/thumbnail.jpg?v=0123abcd", "thumbnail.jpg?v=0123abcd"),
    ("thumbnails/thumbnail.jpg?time=1m2s", "thumbnail.jpg?time=62"),
    ("thumbnails/thumbnail.jpg?time=62s", "thumbnail.jpg?time=62"),
    ("thumbnails/thumbnail.jpg?time=0s", "thumbnail.jpg?time=0"),
    ("thumbnails/thumbnail.jpg?time=8m", "thumbnail.jpg?time=480"),
    ("thumbnails/thumbnail.jpg?time=1h1m1.5s", "thumbnail.jpg?time=3661.5"),
    ("thumbnails/thumbnail.jpg?width=640", "thumbnail.jpg"),
    ("thumbnails/thumbnail.jpg?height=270", "thumbnail.jpg?height=270"),
    ("thumbnails/thumbnail.jpg?height=270&fit=crop", "thumbnail.jpg?height=270"),
    ("thumbnails/thumbnail.jpg?width=200&height=100", "thumbnail.jpg?width=200&height=100&fit_mode=crop"),
    (
        "thumbnails/thumbnail.jpg?fit=crop&width=200&height=100",
        "thumbnail.jpg?width=200&height=100&fit_mode=crop",
    ),
    ("thumbnails/thumbnail.jpg?width=200&height=100&fit=clip", "thumbnail.jpg?width=200&height=100"),
    (
        "thumbnails/thumbnail.jpg?width=200&height=100&fit=scale",
        "thumbnail.jpg?width=200&height=100&fit_mode=stretch",
    ),
    (
        "thumbnails/thumbnail.jpg?width=200&height=100&fit=fill",
        "thumbnail.jpg?width=200&height=100&fit_mode=pad",
    ),
    ("thumbnails/thumbnail.gif", "animated.gif"),
    ("thumbnails/thumbnail.gif?fps=15", "animated.gif"),
    ("thumbnails/thumbnail.gif?fps=8", "animated.gif?fps=8"),
    ("thumbnails/thumbnail.gif?time=1m", "animated.gif?start=60&end=65"),
    ("thumbnails/thumbnail.gif?duration=5s", "animated.gif?start=0&end=5"),
    ("thumbnails/thumbnail.gif?duration=2s&time=1m2s", "animated.gif?start=62&end=64"),
    ("thumbnails/thumbnail.gif?time=24h&duration=10s", "animated.gif?start=86400&end=86410"),
    ("thumbnails/thumbnail.gif?height=200", "animated.gif?height=200"),
    ("thumbnails/thumbnail.gif?width=200&height=100", "animated.gif?width=200&height=100"),
    ("thumbnails/thumbnail.gif?width=200&height=100&fit=clip", "animated.gif?width=200&height=100"),
    ("thumbnails/thumbnail.gif?width=200&fit=crop", "animated.gif?width=200"),
];

/// Rejected URLs, and the parameter in the error.
const REJECTED_URLS: &[(&str, &str)] = &[
    ("thumbnail.jpg?Time=1", "Time"),
    ("thumbnail.jpg?time=1&time=1", "time"),
    ("thumbnail.jpg?width=640&width=640", "width"),
    ("thumbnail.jpg?time=01", "time"),
    ("thumbnail.jpg?time=+1", "time"),
    ("thumbnail.jpg?time=-1", "time"),
    ("thumbnail.jpg?time=1e3", "time"),
    ("thumbnail.jpg?time=1.", "time"),
    ("thumbnail.jpg?time=.5", "time"),
    ("thumbnail.jpg?time=1.0001x", "time"),
    ("thumbnail.jpg?time=86400.0005", "time"),
    ("thumbnail.jpg?time=1s", "time"),
    ("thumbnail.jpg?time=86400.001", "time"),
    ("thumbnail.jpg?time=%31", "time"),
    ("thumbnail.jpg?time", "time"),
    ("thumbnail.jpg?time=", "time"),
    ("thumbnail.jpg?time=1#", "time"),
    ("thumbnail.jpg?time=1;width=2", "time"),
    ("thumbnail.jpg?width=0640", "width"),
    ("thumbnail.jpg?width=7", "width"),
    ("thumbnail.jpg?width=3841", "width"),
    ("thumbnail.jpg?width=640px", "width"),
    ("thumbnail.jpg?width=640.0", "width"),
    ("thumbnail.jpg?width=4294967936", "width"),
    ("thumbnail.jpg?width=99999999999999999999999", "width"),
    ("thumbnail.jpg?height=0", "height"),
    ("thumbnail.jpg?width=100&height=-1", "height"),
    ("thumbnail.jpg?fit_mode=Crop", "fit_mode"),
    ("thumbnail.jpg?fit_mode=", "fit_mode"),
    ("thumbnail.jpg?fit_mode=clip", "fit_mode"),
    ("thumbnail.jpg?fit=crop", "fit"),
    ("thumbnail.jpg?rotate=0", "rotate"),
    ("thumbnail.jpg?rotate=360", "rotate"),
    ("thumbnail.jpg?rotate=-90", "rotate"),
    ("thumbnail.jpg?rotate=45", "rotate"),
    ("thumbnail.jpg?flip_v=1", "flip_v"),
    ("thumbnail.jpg?flip_h", "flip_h"),
    ("thumbnail.jpg?flip_h=TRUE", "flip_h"),
    ("thumbnail.jpg?blur=0", "blur"),
    ("thumbnail.jpg?blur=101", "blur"),
    ("thumbnail.jpg?blur=1.5", "blur"),
    ("thumbnail.jpg?quality=0", "quality"),
    ("thumbnail.jpg?quality=101", "quality"),
    ("thumbnail.jpg?quality=080", "quality"),
    ("thumbnail.png?quality=80", "quality"),
    ("thumbnail.jpg?play=1", "play"),
    ("thumbnail.jpg?play", "play"),
    ("thumbnail.jpg?dpr=0.99", "dpr"),
    ("thumbnail.jpg?dpr=3.01", "dpr"),
    ("thumbnail.jpg?dpr=1.500", "dpr"),
    ("thumbnail.jpg?dpr=2x", "dpr"),
    ("thumbnail.jpg?dpr=1&dpr=1", "dpr"),
    ("thumbnail.jpg?width=1281&dpr=3", "dpr"),
    ("thumbnail.jpg?width=320&height=3000&dpr=1.5", "dpr"),
    ("animated.gif?blur=8", "blur"),
    ("animated.gif?quality=80", "quality"),
    ("animated.gif?dpr=2", "dpr"),
    ("animated.gif?play=true", "play"),
    ("storyboard.jpg?dpr=2", "dpr"),
    ("thumbnails/thumbnail.jpg?dpr=2", "dpr"),
    ("thumbnails/thumbnail.jpg?blur=2", "blur"),
    ("thumbnail.jpg?start=1", "start"),
    ("thumbnail.jpg?fps=15", "fps"),
    ("thumbnail.jpg?token=x", "token"),
    ("thumbnail.jpg?v=0123ABCD", "v"),
    ("thumbnail.jpg?v=0123abc", "v"),
    ("thumbnail.jpg?v", "v"),
    ("thumbnail.jpg?V=0123abcd", "V"),
    ("thumbnail.jpg?%76=0123abcd", "76"),
    ("thumbnail.jpg?<script>=1", "script"),
    ("thumbnail.jpg?=1", ""),
    ("thumbnail.avif?width=1", "width"),
    ("animated.avif", "format"),
    ("storyboard.png", "format"),
    ("animated.gif?time=1", "time"),
    ("animated.gif?rotate=90", "rotate"),
    ("animated.gif?fit_mode=crop", "fit_mode"),
    ("animated.gif?width=641", "width"),
    ("animated.gif?height=641", "height"),
    ("animated.gif?fps=0", "fps"),
    ("animated.gif?fps=31", "fps"),
    ("animated.gif?fps=12.5", "fps"),
    ("animated.gif?max_bytes=9999", "max_bytes"),
    ("animated.gif?max_bytes=16777217", "max_bytes"),
    ("animated.gif?max_bytes=1e6", "max_bytes"),
    ("animated.gif?start=2&end=2", "end"),
    ("animated.gif?start=2&end=1", "end"),
    ("animated.gif?start=2&end=2.249", "end"),
    ("animated.gif?start=2&end=12.001", "end"),
    ("animated.gif?end=10.001", "end"),
    ("animated.gif?end=0.249", "end"),
    ("animated.gif?start=86400.001", "start"),
    ("animated.gif?end=86410.001&start=86401", "end"),
    ("storyboard.jpg?width=640", "width"),
    ("storyboard.jpg?width=321", "width"),
    ("storyboard.jpg?height=100", "height"),
    ("storyboard.jpg?tiles=1", "tiles"),
    ("storyboard.jpg?tiles=401", "tiles"),
    ("storyboard.jpg?tiles=10.0", "tiles"),
    ("storyboard.jpg?tiles=10&interval=1", "interval"),
    ("storyboard.jpg?interval=0", "interval"),
    ("storyboard.jpg?interval=0.099", "interval"),
    ("storyboard.jpg?asset_start_time=-1", "asset_start_time"),
    ("storyboard.jpg?asset_start_time=10&asset_end_time=10", "asset_end_time"),
    ("storyboard.jpg?asset_end_time=0", "asset_end_time"),
    ("storyboard.jpg?program_start_time=1707740400", "program_start_time"),
    ("thumbnail.jpg?asset_start_time=1", "asset_start_time"),
    ("animated.gif?asset_end_time=1", "asset_end_time"),
    ("storyboard.jpg?format=jpg", "format"),
    ("storyboard.m3u8?format=png", "format"),
    ("storyboard.vtt?format=png", "format"),
    ("storyboard.vtt?format=", "format"),
    ("storyboard.json?format=webp&format=webp", "format"),
    ("storyboard.webp?format=webp", "format"),
    ("thumbnail.jpg?format=webp", "format"),
    ("storyboard.json?time=1", "time"),
    ("clip.mp4?start=86400.001", "start"),
    ("clip.mp4?start=-1", "start"),
    ("clip.mp4?start=1&end=1.249", "end"),
    ("clip.mp4?start=1&end=61.001", "end"),
    ("clip.mp4?start=2&end=1", "end"),
    ("clip.mp4?end=60.001", "end"),
    ("clip.mp4?end=86460.001&start=86400", "end"),
    ("clip.mp4?audio=1", "audio"),
    ("clip.mp4?audio=", "audio"),
    ("clip.mp4?audio=false&audio=false", "audio"),
    ("clip.mp4?width=640", "width"),
    ("clip.mp4?time=1", "time"),
    ("animated.gif?audio=false", "audio"),
    ("thumbnails/thumbnail.jpg?time=62", "time"),
    ("thumbnails/thumbnail.jpg?time=2s1m", "time"),
    ("thumbnails/thumbnail.jpg?time=24h1s", "time"),
    ("thumbnails/thumbnail.jpg?fit=pad", "fit"),
    ("thumbnails/thumbnail.jpg?fit_mode=crop", "fit_mode"),
    ("thumbnails/thumbnail.jpg?duration=2s", "duration"),
    ("thumbnails/thumbnail.jpg?fps=8", "fps"),
    ("thumbnails/thumbnail.jpg?rotate=90", "rotate"),
    ("thumbnails/thumbnail.gif?duration=11s", "duration"),
    ("thumbnails/thumbnail.gif?duration=0.1s", "duration"),
    ("thumbnails/thumbnail.gif?duration=2s&duration=2s", "duration"),
    ("thumbnails/thumbnail.gif?fps=31", "fps"),
    ("thumbnails/thumbnail.gif?width=641", "width"),
    ("thumbnails/thumbnail.gif?width=200&height=100&fit=crop", "fit"),
];

fn parse(url: &str) -> Option<Result<VariantRequest, BadParameter>> {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    VariantRequest::parse(&format!("/{VIDEO}/{path}"), query)
}

/// Row D3 of docs/threat-model.md: order and notation of parameters.
#[test]
fn equal_requests_share_canonical_form() {
    for (requested, canonical) in EQUIVALENT_URLS {
        let request = parse(requested)
            .expect("the path names an image")
            .unwrap_or_else(|bad| panic!("{requested}: {bad}"));
        assert_eq!(request.canonical(), format!("/{VIDEO}/{canonical}"), "{requested}");
        let again =
            parse(canonical).expect("the path names an image").expect("canonical parameters are valid");
        assert_eq!((&again, again.canonical()), (&request, request.canonical()), "{requested}");
        let name = request.variant.file_name();
        assert_eq!(Variant::from_file_name(&name), Some(request.variant), "{name}");
    }
    assert!(EQUIVALENT_URLS.len() + REJECTED_URLS.len() >= 200);
}

/// Row D3 of docs/threat-model.md: unknown, repeated and encoded parameters, `;`, a fragment.
#[test]
fn rejection_names_the_parameter() {
    for (requested, name) in REJECTED_URLS {
        let bad = parse(requested).expect("the path names an image").expect_err(requested);
        assert_eq!(bad.name, *name, "{requested}: {bad}");
    }
}

/// The ranges in the messages follow from the limits.
#[test]
fn rejection_describes_the_expected_value() {
    for (requested, why) in [
        ("thumbnail.jpg?time=x", "must be seconds from 0 to 86400, such as 1.5"),
        ("thumbnail.jpg?width=x", "must be a number of pixels from 8 to 3840"),
        ("thumbnail.jpg?height=x", "must be a number of pixels from 8 to 3840"),
        ("thumbnail.jpg?fit_mode=x", "must be preserve, stretch, crop, smartcrop or pad"),
        ("thumbnail.jpg?rotate=x", "must be 90, 180 or 270: degrees clockwise"),
        ("thumbnail.jpg?flip_v=x", "must be true or false"),
        ("thumbnail.jpg?flip_h=x", "must be true or false"),
        ("thumbnail.jpg?blur=x", "must be a number of pixels from 1 to 100"),
        ("thumbnail.jpg?quality=x", "must be a number of percent from 1 to 100"),
        ("thumbnail.png?quality=80", "is not supported for PNG, which is lossless"),
        ("thumbnail.jpg?play=x", "must be true or false"),
        ("thumbnail.jpg?dpr=x", "must be a number from 1 to 3 with at most two decimals"),
        ("thumbnail.jpg?width=3840&dpr=1.01", "must not enlarge a side to more than 3840 pixels"),
        ("thumbnail.jpg?start=1", "is not supported for this kind of image"),
        ("thumbnail.jpg?x=1", "is unknown"),
        ("thumbnail.jpg?width=8&width=8", "is repeated"),
        ("thumbnail.jpg?v=x", "must be eight hexadecimal digits, from a URL that this API returned"),
        ("animated.gif?start=x", "must be seconds from 0 to 86400, such as 1.5"),
        ("animated.gif?end=x", "must be seconds from 0 to 86410, such as 1.5"),
        ("animated.gif?start=1&end=1", "must be 0.25 to 10 seconds after `start`, which defaults to 0"),
        ("animated.gif?width=x", "must be a number of pixels from 8 to 640"),
        ("animated.gif?height=x", "must be a number of pixels from 8 to 640"),
        ("animated.gif?fps=x", "must be a number of frames per second from 1 to 30"),
        ("animated.gif?max_bytes=x", "must be a number of bytes from 10000 to 16777216"),
        ("storyboard.jpg?height=8", "is not supported for this kind of image"),
        ("animated.gif?asset_start_time=1", "is not supported for this kind of image"),
        ("storyboard.jpg?tiles=x", "must be a number of tiles from 2 to 400"),
        ("storyboard.jpg?interval=x", "must be seconds from 0 to 86400, such as 1.5"),
        ("storyboard.jpg?interval=0.05", "must be at least 0.1 seconds"),
        (
            "storyboard.jpg?interval=1&tiles=2",
            "must not be combined with `tiles`, which determines the interval",
        ),
        ("storyboard.jpg?width=x", "must be a number of pixels from 8 to 320"),
        (
            "storyboard.jpg?asset_start_time=2&asset_end_time=1",
            "must be after `asset_start_time`, which defaults to 0",
        ),
        ("storyboard.jpg?format=webp", "is for the tables of a storyboard: an image has one format"),
        ("animated.avif", "must be gif, webp or mp4: AVIF is not supported for animations"),
        ("storyboard.png", "must be jpg, webp, vtt, json or m3u8: PNG is not supported for storyboards"),
        ("clip.mp4?start=x", "must be seconds from 0 to 86400, such as 1.5"),
        ("clip.mp4?end=x", "must be seconds from 0 to 86460, such as 1.5"),
        ("clip.mp4?end=61", "must be 0.25 to 60 seconds after `start`, which defaults to 0"),
        ("clip.mp4?audio=x", "must be true or false"),
        ("storyboard.vtt?format=x", "must be jpg or webp, the format of the sheet"),
        ("thumbnails/thumbnail.jpg?time=x", "must be a time up to 24h, such as 1m2s"),
        ("thumbnails/thumbnail.jpg?width=x", "must be a number of pixels from 8 to 3840"),
        ("thumbnails/thumbnail.jpg?fit=x", "must be clip, scale, crop or fill"),
        ("thumbnails/thumbnail.jpg?fps=8", "is not supported for this kind of image"),
        ("thumbnails/thumbnail.gif?height=x", "must be a number of pixels from 8 to 640"),
        ("thumbnails/thumbnail.gif?duration=x", "must be a time from 0.25s to 10s"),
        ("thumbnails/thumbnail.gif?fps=x", "must be a number of frames per second from 1 to 30"),
        ("thumbnails/thumbnail.gif?start=1", "is unknown"),
    ] {
        let bad = parse(requested).expect("the path names an image").expect_err(requested);
        assert_eq!(bad.why, why, "{requested}");
    }
}

/// A row of the table is enough: the parser accepts its values and the canonical text repeats them. A variant keeps
/// them: every value except the default changes the file name.
#[test]
fn every_parameter_roundtrips() {
    for parameter in PARAMETERS {
        let samples: Vec<String> = match parameter.value {
            ParameterType::Seconds { max_ms } => vec![number::format_seconds(max_ms)],
            ParameterType::Integer { min, max, .. } => vec![min.to_string(), max.to_string()],
            ParameterType::Hundredths { min, max } => [min, max].map(number::format_hundredths).into(),
            ParameterType::Words { words, .. } => words.iter().map(|(word, _)| (*word).to_owned()).collect(),
        };
        let same =
            PARAMETERS.iter().filter(|other| (other.kind, other.name) == (parameter.kind, parameter.name));
        assert_eq!(same.count(), 1, "{}", parameter.name);
        for text in samples {
            let mut values = ParameterValues::default();
            values.set(parameter.kind, parameter.name, &text).unwrap();
            assert_eq!(values.into_texts(parameter.kind), [(parameter.name, text.clone())]);

            // Values that this one needs to have an effect.
            let others: &[(&str, &str)] = match parameter.name {
                "fit_mode" => &[("width", "100"), ("height", "100")],
                "end" => &[("start", "86400")],
                _ => &[],
            };
            let build = |own: &[(&str, &str)]| {
                let mut values = ParameterValues::default();
                for (name, text) in others.iter().chain(own) {
                    values.set(parameter.kind, name, text).unwrap();
                }
                values.build(parameter.kind, parameter.kind.formats()[0]).unwrap()
            };
            let (without, variant) = (build(&[]), build(&[(parameter.name, &text)]));
            let default = if parameter.name == "audio" { "true" } else { "false" };
            let is_default =
                ["preserve", default].contains(&text.as_str()) || (parameter.name == "dpr" && text == "1");
            let name = variant.file_name();
            assert_eq!(name == without.file_name(), is_default, "{} {text}: {name}", parameter.name);
            assert_eq!(Variant::from_file_name(&name), Some(variant), "{name}");
        }
    }
}

/// Row D3 of docs/threat-model.md: case, `%2e%2e`, `//`, NUL, a backslash, path suffixes.
#[test]
fn rejects_other_paths() {
    for path in [
        "/",
        "",
        "//thumbnail.jpg",
        "/7zzzzzzzzz0123456789abcdef",
        "/7zzzzzzzzz0123456789abcdef/",
        "/7zzzzzzzzz0123456789abcdef//thumbnail.jpg",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg/",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg/x.css",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg%2Fx.css",
        "/7zzzzzzzzz0123456789abcdef%2Fthumbnail.jpg",
        "/7zzzzzzzzz0123456789abcdef/Thumbnail.jpg",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.JPG",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.jpeg",
        "/7zzzzzzzzz0123456789abcdef/thumbnail",
        "/7zzzzzzzzz0123456789abcdef/thumbnail%2Ejpg",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg;x",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg%00",
        "/7zzzzzzzzz0123456789abcdef/./thumbnail.jpg",
        "/7zzzzzzzzz0123456789abcdef/%2e%2e/thumbnail.jpg",
        "/7zzzzzzzzz0123456789abcdef\\thumbnail.jpg",
        "/7ZZZZZZZZZ0123456789ABCDEF/thumbnail.jpg",
        "/7zzzzzzzzz0123456789abcdef/manifest.json",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.gif",
        "/7zzzzzzzzz0123456789abcdef/thumbnail.json",
        "/7zzzzzzzzz0123456789abcdef/animated.jpg",
        "/7zzzzzzzzz0123456789abcdef/storyboard.gif",
        "/7zzzzzzzzz0123456789abcdef/clip.webm",
        "/7zzzzzzzzz0123456789abcdef/clip-start_0-end_10.mp4",
        "/7zzzzzzzzz0123456789abcdef/thumbnails/clip.mp4",
        // The file name in the key is not a URL: an image has one canonical URL.
        "/7zzzzzzzzz0123456789abcdef/thumbnail-width_200.jpg",
        "/7zzzzzzzzz0123456789abcdef/thumbnails/",
        "/7zzzzzzzzz0123456789abcdef/thumbnails/thumbnail.png",
        "/7zzzzzzzzz0123456789abcdef/thumbnails/animated.gif",
        "/7zzzzzzzzz0123456789abcdef/thumbnails//thumbnail.jpg",
        "/7zzzzzzzzz0123456789abcdef/thumbnails/thumbnails/thumbnail.jpg",
    ] {
        assert_eq!(VariantRequest::parse(path, None), None, "{path}");
    }
}

#[test]
fn on_demand_thumbnail_depends_on_poster() {
    for (requested, at) in [
        ("thumbnail.jpg", None),
        ("thumbnail.webp", None),
        ("thumbnail.png", Some("thumbnail-time_1.5.png")),
        ("thumbnail.avif", Some("thumbnail-time_1.5.avif")),
        ("thumbnail.jpg?width=200", Some("thumbnail-time_1.5-width_200.jpg")),
        ("thumbnail.jpg?width=200&time=3", None),
        ("thumbnail.jpg?play=true", Some("thumbnail-time_1.5-play_true.jpg")),
        ("thumbnail.jpg?blur=8&quality=60", Some("thumbnail-time_1.5-blur_8-quality_60.jpg")),
        ("thumbnail.jpg?dpr=2", Some("thumbnail-time_1.5-width_1280.jpg")),
        ("thumbnail.jpg?dpr=1&quality=81", None),
        ("animated.gif?width=200", None),
        ("storyboard.jpg", None),
        ("clip.mp4", None),
    ] {
        let variant = parse(requested).unwrap().unwrap().variant;
        assert_eq!(variant.depends_on_poster(), at.is_some(), "{requested}");
        if let Some(name) = at {
            assert_eq!(variant.with_time_ms(1500).file_name(), name);
        }
    }
}

#[test]
fn file_names_are_pinned() {
    for (url, name) in [
        ("thumbnail.jpg", "thumbnail.jpg"),
        ("thumbnail.jpg?time=1.5&width=200", "thumbnail-time_1.5-width_200.jpg"),
        (
            "thumbnail.png?time=0&width=200&height=100&fit_mode=crop&rotate=90&flip_v=true",
            "thumbnail-time_0-width_200-height_100-fit_mode_crop-rotate_90-flip_v_true.png",
        ),
        (
            "animated.webp?start=1&width=160&fps=10&max_bytes=500000",
            "animated-start_1-end_6-width_160-fps_10-max_bytes_500000.webp",
        ),
        (
            "thumbnail.webp?width=320&blur=8&quality=60&play=true",
            "thumbnail-width_320-blur_8-quality_60-play_true.webp",
        ),
        ("storyboard.vtt", "storyboard.vtt"),
        ("storyboard.m3u8?v=0123abcd&format=webp", "storyboard.m3u8"),
        ("storyboard.jpg?tiles=100&width=240", "storyboard-tiles_100-width_240.jpg"),
        (
            "storyboard.vtt?asset_start_time=1.5&asset_end_time=60&interval=2.5&format=webp",
            "storyboard-asset_start_time_1.5-asset_end_time_60-interval_2.5.vtt",
        ),
        ("clip.mp4?start=1.5", "clip-start_1.5-end_11.5.mp4"),
        ("clip.mp4?end=4&audio=false", "clip-start_0-end_4-audio_false.mp4"),
    ] {
        assert_eq!(parse(url).unwrap().unwrap().variant.file_name(), name);
    }
}

#[test]
fn rejects_noncanonical_file_names() {
    for name in [
        "",
        ".jpg",
        "thumbnail",
        "thumbnail.gif",
        "animated.avif",
        "thumbnail-.jpg",
        "thumbnail-width.jpg",
        "thumbnail-width_.jpg",
        "thumbnail-width_640.jpg",
        "thumbnail-width_0200.jpg",
        "thumbnail-width_200-width_200.jpg",
        "thumbnail-width_200-time_1.jpg",
        "thumbnail-time_1.0.jpg",
        "thumbnail-time_1.jpg.jpg",
        "thumbnail-rotate_180-flip_h_true.jpg",
        "thumbnail-flip_h_false.jpg",
        "thumbnail-fit_mode_crop.jpg",
        "thumbnail-width_200-fit_mode_crop.jpg",
        "thumbnail-width_200-height_400.jpg",
        "thumbnail-dpr_2.jpg",
        "thumbnail-width_200-dpr_1.jpg",
        "thumbnail-quality_81.jpg",
        "thumbnail-quality_60.png",
        "thumbnail-play_false.jpg",
        "thumbnail-quality_60-blur_8.jpg",
        "animated-start_1.gif",
        "animated-start_1-end_20.gif",
        "storyboard-width_400.jpg",
        "storyboard-width_200-tiles_10.jpg",
        "storyboard-tiles_10-interval_1.jpg",
        "storyboard-asset_start_time_0.jpg",
        "storyboard-tiles_1.vtt",
        "storyboard-format_webp.vtt",
        "clip.mp4",
        "clip-start_1.mp4",
        "clip-end_10.mp4",
        "clip-start_0-end_10-audio_true.mp4",
        "clip-start_0-end_61.mp4",
        "clip-start_0-end_10.webm",
        "../thumbnail.jpg",
        "thumbnail-width_200/x.jpg",
        "manifest.json",
        "poster.json",
    ] {
        assert_eq!(Variant::from_file_name(name), None, "{name}");
    }
}

#[test]
fn defaults_have_bare_names() {
    let names = Variant::DEFAULTS.map(Variant::file_name);
    assert_eq!(
        names,
        [
            "thumbnail.jpg",
            "thumbnail.webp",
            "animated.gif",
            "animated.webp",
            "storyboard.jpg",
            "storyboard.webp",
            "storyboard.vtt",
            "storyboard.json",
            "animated.mp4",
        ]
    );
    for variant in Variant::DEFAULTS {
        assert_eq!(Variant::from_file_name(&variant.base_name()), Some(variant));
        assert!(variant.is_default() && !variant.is_fixed());
        assert_eq!(variant.is_made_on_demand(), variant.format() == OutputFormat::Mp4, "{variant:?}");
    }
    let thumbnail = Variant::DEFAULTS[0].thumbnail().unwrap();
    assert_eq!(thumbnail.bounds, Bounds { width: 640, height: 1280 });
    let animation = Variant::DEFAULTS[2].animation().unwrap();
    assert_eq!((animation.bounds, animation.fps), (Bounds { width: 320, height: 640 }, 15));
}

/// Parameters of a thumbnail request as a client writes them.
#[derive(Debug, Clone)]
struct ParameterText {
    pairs: Vec<(&'static str, String)>,
}

impl ParameterText {
    fn url(&self, file: &str) -> String {
        let pairs: Vec<_> = self.pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{file}?{}", pairs.join("&"))
    }

    fn get(&self, wanted: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
    }

    fn number(&self, wanted: &str) -> Option<u32> {
        self.get(wanted).map(|text| text.parse().unwrap())
    }
}

/// Texts of the parameters that select the frame: time, sides, fit, rotation and flips.
type ThumbnailTexts = (
    Option<&'static str>,
    Option<u32>,
    Option<u32>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
);
/// Texts of blur, quality, play and dpr.
type EffectTexts = (Option<&'static str>, Option<&'static str>, Option<&'static str>, Option<&'static str>);

/// Few values, so that two requests are often equivalent.
fn thumbnails() -> impl Strategy<Value = ParameterText> {
    let time = prop::option::of(prop::sample::select(vec!["0", "0.0", "1", "1.000", "1.5", "1.50"]));
    let side = || prop::option::of(prop::sample::select(vec![8u32, 320, 640, 1280, 1920, 3840]));
    let fit = prop::option::of(prop::sample::select(vec!["preserve", "stretch", "crop", "smartcrop", "pad"]));
    let rotate = prop::option::of(prop::sample::select(vec!["90", "180", "270"]));
    let flip = || prop::option::of(prop::sample::select(vec!["true", "false"]));
    let option = |values: Vec<&'static str>| prop::option::weighted(0.25, prop::sample::select(values));
    let effects = (
        option(vec!["1", "8"]),
        option(vec!["60", "80", "81"]),
        option(vec!["true", "false"]),
        option(vec!["1", "1.00", "1.5", "2", "2.0", "3"]),
    );
    let frame = (time, side(), side(), fit, rotate, flip(), flip());
    let is_within_limit = |(frame, effects): &(ThumbnailTexts, EffectTexts)| {
        let dpr: f64 = effects.3.map_or(1.0, |text| text.parse().unwrap());
        [frame.1, frame.2].into_iter().flatten().all(|side| f64::from(side) * dpr <= 3840.0)
    };
    let requests = (frame, effects).prop_filter("too large", is_within_limit);
    (requests, any::<prop::sample::Index>()).prop_map(
        |(((time, width, height, fit, rotate, flip_v, flip_h), (blur, quality, play, dpr)), first)| {
            let mut pairs: Vec<_> = [
                ("time", time.map(str::to_owned)),
                ("width", width.map(|side| side.to_string())),
                ("height", height.map(|side| side.to_string())),
                ("fit_mode", fit.map(str::to_owned)),
                ("rotate", rotate.map(str::to_owned)),
                ("flip_v", flip_v.map(str::to_owned)),
                ("flip_h", flip_h.map(str::to_owned)),
                ("blur", blur.map(str::to_owned)),
                ("quality", quality.map(str::to_owned)),
                ("play", play.map(str::to_owned)),
                ("dpr", dpr.map(str::to_owned)),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
            if !pairs.is_empty() {
                let first = first.index(pairs.len());
                pairs.rotate_left(first);
            }
            ParameterText { pairs }
        },
    )
}

/// The visible effect of a request: the time, the sizes for videos of many aspect ratios, the mode where it matters,
/// and the corners.
#[derive(Debug, PartialEq)]
struct ImageEffect {
    moment: Option<u64>,
    sizes: Vec<(u64, u64)>,
    mode: String,
    corners: [[u8; 3]; 3],
    blur: Option<String>,
    /// That of a JPEG.
    quality: u32,
    has_play_button: bool,
}

fn effect(parameters: &ParameterText) -> ImageEffect {
    let time_ms = parameters.get("time").map(|text| (text.parse::<f64>().unwrap() * 1000.0).round() as u64);
    let dpr: f64 = parameters.get("dpr").map_or(1.0, |text| text.parse().unwrap());
    let scale = |side: u32| (f64::from(side) * dpr).round() as u32;
    let (mut width, height) = (parameters.number("width").map(scale), parameters.number("height").map(scale));
    if width.is_none() && height.is_none() {
        width = Some(scale(640));
    }
    let mode = match (width, height, parameters.get("fit_mode")) {
        (Some(_), Some(_), Some(mode)) => mode,
        _ => "preserve",
    };
    // A missing side is limited by the largest side that can be requested.
    let (most_wide, most_high) = match (width, height) {
        (Some(width), Some(height)) => (width, height),
        (None, Some(height)) => (3840, height),
        (width, None) => (width.unwrap_or(640), (width.unwrap_or(640) * 2).min(3840)),
    };
    let mut corners = [[1, 2, 3], [4, 5, 6], [7, 8, 9]];
    for _ in 0..parameters.number("rotate").unwrap_or(0) / 90 {
        let old = corners;
        for (y, row) in corners.iter_mut().enumerate() {
            for (x, corner) in row.iter_mut().enumerate() {
                *corner = old[2 - x][y];
            }
        }
    }
    if parameters.get("flip_v") == Some("true") {
        corners.reverse();
    }
    if parameters.get("flip_h") == Some("true") {
        for row in &mut corners {
            row.reverse();
        }
    }
    let sizes = if mode == "preserve" {
        // Widths and heights of videos after rotation: strips in both directions, and the aspect ratio of every box.
        let sides = [1u64, 8, 320, 640, 1280, 1920, 3840, 8192];
        let shapes = sides.iter().flat_map(|width| sides.iter().map(move |height| (*width, *height)));
        shapes
            .map(|(width, height)| {
                let (most_wide, most_high) = (u64::from(most_wide), u64::from(most_high));
                if width <= most_wide && height <= most_high {
                    (width, height)
                } else if width * most_high >= height * most_wide {
                    (most_wide, height * most_wide * 1000 / width)
                } else {
                    (width * most_high * 1000 / height, most_high)
                }
            })
            .collect()
    } else {
        vec![(u64::from(most_wide), u64::from(most_high))]
    };
    ImageEffect {
        moment: time_ms,
        sizes,
        mode: mode.to_owned(),
        corners,
        blur: parameters.get("blur").map(str::to_owned),
        quality: parameters.number("quality").unwrap_or(81),
        has_play_button: parameters.get("play") == Some("true"),
    }
}

#[test]
fn every_parameter_is_described() {
    for parameter in &PARAMETERS {
        let description = parameter.description().unwrap_or_else(|| panic!("{}", parameter.name));
        assert!(description.ends_with('.'), "{description}");
    }
}

proptest! {
    // Many requests are compared pairwise, so that enough pairs are equivalent.
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn keys_are_equal_iff_images_are(all in prop::collection::vec(thumbnails(), 64)) {
        let all: Vec<_> = all
            .iter()
            .map(|written| {
                let url = written.url("thumbnail.jpg");
                let name = parse(&url).unwrap().unwrap().variant.file_name();
                (url, name, effect(written))
            })
            .collect();
        for (index, (url, name, effect_of_url)) in all.iter().enumerate() {
            for (other_url, other_name, other_effect) in &all[..index] {
                prop_assert_eq!(name == other_name, effect_of_url == other_effect, "{} {}", url, other_url);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn thumbnail_name_and_url_roundtrip(written in thumbnails()) {
        let request = parse(&written.url("thumbnail.webp")).unwrap().unwrap();
        let name = request.variant.file_name();
        prop_assert_eq!(Variant::from_file_name(&name), Some(request.variant));
        prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{}", name);
        let canonical = request.canonical();
        let again = parse(canonical.strip_prefix(&format!("/{VIDEO}/")).unwrap()).unwrap().unwrap();
        prop_assert_eq!(again.canonical(), canonical);
    }

    #[test]
    fn animation_name_and_url_roundtrip(
        start in prop::option::of(0..=86_400_000u64),
        length in prop::option::of(250..=10_000u64),
        width in prop::option::of(8..=640u32),
        height in prop::option::of(8..=640u32),
        fps in prop::option::of(1..=30u32),
        max_bytes in prop::option::of(10_000..=16_777_216u64),
    ) {
        let end = length.map(|length| start.unwrap_or(0) + length);
        let pairs: Vec<_> = [
            start.map(|ms| format!("start={}", number::format_seconds(ms))),
            end.map(|ms| format!("end={}", number::format_seconds(ms))),
            width.map(|side| format!("width={side}")),
            height.map(|side| format!("height={side}")),
            fps.map(|fps| format!("fps={fps}")),
            max_bytes.map(|bytes| format!("max_bytes={bytes}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let request = parse(&format!("animated.gif?{}", pairs.join("&"))).unwrap().unwrap();
        prop_assert_eq!(Variant::from_file_name(&request.variant.file_name()), Some(request.variant));
        let canonical = request.canonical();
        let again = parse(canonical.strip_prefix(&format!("/{VIDEO}/")).unwrap()).unwrap().unwrap();
        prop_assert_eq!(&again, &request);
        let animation = request.variant.animation().unwrap();
        prop_assert_eq!(animation.span_ms, end.or(start.map(|ms| ms + 5_000)).map(|end| (start.unwrap_or(0), end)));
        prop_assert_eq!((animation.fps, animation.max_bytes), (fps.unwrap_or(15), max_bytes));
    }

    #[test]
    fn clip_name_and_url_roundtrip(
        start in prop::option::of(0..=86_400_000u64),
        length in prop::option::of(250..=60_000u64),
        audio in prop::option::of(any::<bool>()),
    ) {
        let end = length.map(|length| start.unwrap_or(0) + length);
        let pairs: Vec<_> = [
            start.map(|ms| format!("start={}", number::format_seconds(ms))),
            end.map(|ms| format!("end={}", number::format_seconds(ms))),
            audio.map(|audio| format!("audio={audio}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let request = parse(&format!("clip.mp4?{}", pairs.join("&"))).unwrap().unwrap();
        prop_assert_eq!(Variant::from_file_name(&request.variant.file_name()), Some(request.variant));
        let canonical = request.canonical();
        let again = parse(canonical.strip_prefix(&format!("/{VIDEO}/")).unwrap()).unwrap().unwrap();
        prop_assert_eq!(&again, &request);
        prop_assert!(request.variant.is_fixed() && !request.variant.is_default());
        let start = start.unwrap_or(0);
        let span_ms = (start, end.unwrap_or(start + 10_000));
        let clip = ClipParams { span_ms, has_audio: audio != Some(false) };
        prop_assert_eq!(request.variant.clip(), Some(clip));
    }

    #[test]
    fn storyboard_name_and_url_roundtrip(
        start in prop::option::of(0..=86_000_000u64),
        length in prop::option::of(1..=400_000u64),
        spacing in 0..3_u8,
        tiles in 2..=400_u32,
        interval in 100..=86_400_000_u64,
        width in prop::option::of(8..=320_u32),
        format in prop::sample::select(VariantKind::Storyboard.formats()),
    ) {
        let end = length.map(|length| start.unwrap_or(0) + length);
        let (spacing_text, spacing) = match spacing {
            0 => (None, TileSpacing::Default),
            1 => (Some(format!("tiles={tiles}")), TileSpacing::Count(tiles)),
            _ => (
                Some(format!("interval={}", number::format_seconds(interval))),
                TileSpacing::IntervalMs(interval),
            ),
        };
        let pairs: Vec<_> = [
            width.map(|width| format!("width={width}")),
            spacing_text,
            end.map(|ms| format!("asset_end_time={}", number::format_seconds(ms))),
            start.map(|ms| format!("asset_start_time={}", number::format_seconds(ms))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let request = parse(&format!("storyboard.{}?{}", format.extension(), pairs.join("&"))).unwrap().unwrap();
        let variant = request.variant;
        prop_assert_eq!(
            variant.storyboard(),
            Some(StoryboardParams { start_ms: start.unwrap_or(0), end_ms: end, spacing, width })
        );
        prop_assert_eq!(Variant::from_file_name(&variant.file_name()), Some(variant));
        let canonical = request.canonical();
        let again = parse(canonical.strip_prefix(&format!("/{VIDEO}/")).unwrap()).unwrap().unwrap();
        prop_assert_eq!(&again, &request);
        // The sheet and the tables have the same parameters.
        for other in VariantKind::Storyboard.formats() {
            let sibling = variant.storyboard_as(*other).unwrap();
            prop_assert_eq!((sibling.format(), sibling.query()), (*other, variant.query()));
        }
        prop_assert_eq!(variant.storyboard_as(OutputFormat::Png), None);
    }

    #[test]
    fn never_panics(path in "\\PC{0,40}", query in "\\PC{0,80}|([a-z_]{1,9}=[0-9.a-z]{0,9}&){0,9}") {
        let _ = VariantRequest::parse(&path, Some(&query));
        let _ = VariantRequest::parse(&format!("/{VIDEO}/{path}"), Some(&query));
        for file in ["thumbnail.jpg", "animated.gif", "storyboard.vtt", "storyboard.m3u8", "clip.mp4", "thumbnails/thumbnail.gif"] {
            let _ = VariantRequest::parse(&format!("/{VIDEO}/{file}"), Some(&query));
        }
        let _ = Variant::from_file_name(&path);
        let _ = Variant::from_file_name(&format!("thumbnail-{path}.jpg"));
    }
}
