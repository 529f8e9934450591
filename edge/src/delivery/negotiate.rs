//! Content negotiation: the image format of URLs without an extension, RFC 9110, section 12.5.1. Pure.

use glimpse_contract::OutputFormat;

/// The formats of a thumbnail that can be negotiated, with their names in `NEGOTIATE`.
const STILL_FORMATS: [(&str, OutputFormat); 3] =
    [("avif", OutputFormat::Avif), ("webp", OutputFormat::Webp), ("jpeg", OutputFormat::Jpg)];
/// The formats of an animation, by preference.
const MOVING_FORMATS: [OutputFormat; 2] = [OutputFormat::Webp, OutputFormat::Gif];

/// The formats of a thumbnail, by preference; without `NEGOTIATE`, WebP and JPEG.
///
/// `None` if a word is unknown or repeated, or JPEG is missing, which every client supports.
pub fn parse_formats(text: Option<&str>) -> Option<Vec<OutputFormat>> {
    let mut formats = Vec::new();
    for word in text.unwrap_or("webp,jpeg").split(',') {
        let (_, format) = STILL_FORMATS.iter().find(|(name, _)| *name == word.trim())?;
        if formats.contains(format) {
            return None;
        }
        formats.push(*format);
    }
    formats.contains(&OutputFormat::Jpg).then_some(formats)
}

/// Whether the format of this path is negotiated: `/{video}/thumbnail` and `/{video}/animated`.
pub(super) fn is_negotiable(path: &str) -> bool {
    let file = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(_, file)| file);
    matches!(file, Some("thumbnail" | "animated"))
}

/// The path with the extension that `Accept` selects among these formats of a thumbnail; `None` if the path is not
/// negotiable. The header selects nothing but the extension, so the cache key needs only the format.
pub fn negotiate_path(
    path: &str,
    still_formats: &[OutputFormat],
    accept: impl FnOnce() -> Option<String>,
) -> Option<String> {
    if !is_negotiable(path) {
        return None;
    }
    let formats = if path.ends_with("/animated") { &MOVING_FORMATS } else { still_formats };
    let format = preferred_format(&accept().unwrap_or_default(), formats);
    Some([path, ".", format.extension()].concat())
}

/// The format that the client accepts most, among equal ones the first. `image/*` and `*/*` do not count as WebP or
/// AVIF unless the universal format is excluded: clients without them send these ranges.
fn preferred_format(accept: &str, formats: &[OutputFormat]) -> OutputFormat {
    let is_plain = |format: OutputFormat| matches!(format, OutputFormat::Jpg | OutputFormat::Gif);
    let plain = formats.iter().copied().find(|format| is_plain(*format)).unwrap_or(OutputFormat::Jpg);
    let (plain_quality, _) = quality_of_type(accept, plain.content_type());
    let mut best = (plain, 0);
    for &format in formats {
        let (quality, is_named) = quality_of_type(accept, format.content_type());
        if quality > best.1 && (is_named || is_plain(format) || plain_quality == 0) {
            best = (format, quality);
        }
    }
    best.0
}

/// The quality of a type, in thousandths, and whether the header contains its name. The most specific range counts.
fn quality_of_type(accept: &str, kind: &str) -> (u32, bool) {
    let (mut quality, mut precision) = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let range_precision = if name.eq_ignore_ascii_case(kind) {
            3
        } else if name.eq_ignore_ascii_case("image/*") {
            2
        } else if name == "*/*" {
            1
        } else {
            continue;
        };
        if range_precision > precision {
            precision = range_precision;
            let weight = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('='));
            quality = weight.map_or(1000, |text| parse_quality_thousandths(text.trim()));
        }
    }
    (quality, precision == 3)
}

/// A quality in thousandths. An invalid one is 0.
fn parse_quality_thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().chain(*b"000").take(3);
    let is_weight = matches!(whole, "0" | "1")
        && fraction.len() <= 3
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_weight {
        return 0;
    }
    let fraction = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    match (whole, fraction) {
        ("1", 0) => 1000,
        ("1", _) => 0,
        _ => fraction,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn negotiate(path: &str, formats: Option<&str>, accept: Option<&str>) -> Option<String> {
        negotiate_path(path, &parse_formats(formats).unwrap(), || accept.map(str::to_owned))
    }

    #[test]
    fn avif_is_picked_if_configured() {
        const CHROME: &str = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
        for (formats, accept, extension) in [
            (None, CHROME, "webp"),
            (Some("avif,webp,jpeg"), CHROME, "avif"),
            (Some("webp, avif, jpeg"), CHROME, "webp"),
            (Some("avif,jpeg"), CHROME, "avif"),
            (Some("jpeg"), CHROME, "jpg"),
            (Some("jpeg,webp,avif"), CHROME, "jpg"),
            (Some("jpeg,webp,avif"), "image/webp,*/*;q=0.8", "webp"),
            (Some("avif,webp,jpeg"), "image/webp,*/*", "webp"),
            (Some("avif,webp,jpeg"), "image/*", "jpg"),
            (Some("avif,webp,jpeg"), "", "jpg"),
            (Some("avif,webp,jpeg"), "image/avif;q=0,image/webp", "webp"),
            (Some("avif,webp,jpeg"), "image/avif;q=0.8,image/webp;q=0.9", "webp"),
            (Some("avif,webp,jpeg"), "image/avif;q=0.5,image/webp;q=0.5,image/jpeg;q=0.6", "jpg"),
            (Some("avif,webp,jpeg"), "image/*,image/jpeg;q=0", "avif"),
            (Some("avif,webp,jpeg"), "image/avif;q=x", "jpg"),
        ] {
            let path = negotiate("/v/thumbnail", formats, Some(accept));
            assert_eq!(path.unwrap(), format!("/v/thumbnail.{extension}"), "{formats:?} {accept:?}");
        }
    }

    #[test]
    fn rejects_invalid_lists() {
        for text in ["", ",", "avif", "avif,webp", "webp,jpeg,webp", "AVIF,jpeg", "png,jpeg", "jpg", "jpeg,"]
        {
            assert_eq!(parse_formats(Some(text)), None, "{text:?}");
        }
    }

    #[test]
    fn picks_preferred_format() {
        for (accept, extension) in [
            (None, "jpg"),
            (Some(""), "jpg"),
            (Some("*/*"), "jpg"),
            (Some("image/*"), "jpg"),
            (Some("image/*,*/*;q=0.8"), "jpg"),
            (Some("image/webp"), "webp"),
            (Some("image/webp,*/*"), "webp"),
            (Some("IMAGE/WEBP"), "webp"),
            // The headers of Chrome, Firefox and Safari for an image, and of Chrome for a page.
            (Some("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"), "webp"),
            (Some("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"), "webp"),
            (
                Some("image/webp,image/avif,image/jxl,image/heic,video/*;q=0.8,image/png,image/*;q=0.8"),
                "webp",
            ),
            (Some("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8"), "webp"),
            (Some("image/webp;q=0.5,image/jpeg;q=0.9"), "jpg"),
            (Some("image/webp;q=0.9,image/jpeg;q=0.9"), "webp"),
            (Some("image/webp;q=0.899,image/jpeg;q=0.9"), "jpg"),
            (Some("image/webp;q=0.5"), "webp"),
            (Some("image/webp;q=0.5,*/*"), "jpg"),
            (Some("image/webp;q=0"), "jpg"),
            (Some("image/webp;q=0,*/*"), "jpg"),
            (Some("image/*,image/jpeg;q=0"), "webp"),
            (Some("image/webp ; Q = 0.000 , image/jpeg"), "jpg"),
            (Some("image/webp;level=1;q=0.3,image/jpeg;q=0.2"), "webp"),
            (Some("image/webp;q=1.001"), "jpg"),
            (Some("image/webp;q=x"), "jpg"),
            (Some("image/avif"), "jpg"),
            (Some("text/html"), "jpg"),
            (Some("image/webpx"), "jpg"),
        ] {
            let path = negotiate("/v/thumbnail", None, accept);
            assert_eq!(path.as_deref(), Some(format!("/v/thumbnail.{extension}").as_str()), "{accept:?}");
        }
        let animated = |accept: &str| negotiate("/v/animated", Some("jpeg"), Some(accept)).unwrap();
        assert_eq!(
            (animated("image/webp").as_str(), animated("*/*").as_str()),
            ("/v/animated.webp", "/v/animated.gif")
        );
    }

    #[test]
    fn only_thumbnail_and_animated_are_negotiable() {
        for path in [
            "/v/storyboard",
            "/v/thumbnail/",
            "/v//thumbnail",
            "/v/thumbnail.",
            "/thumbnail",
            "/v/a/thumbnail",
        ] {
            assert!(!is_negotiable(path), "{path}");
        }
        assert!(is_negotiable("/v/thumbnail"));
    }

    proptest! {
        #[test]
        fn never_panics(accept in "[ -~]{0,60}|[a-z/*,;=q0-9. ]{0,60}") {
            let path = negotiate("/v/thumbnail", None, Some(&accept)).unwrap();
            let is_named = accept.to_ascii_lowercase().contains("image/");
            prop_assert!(path == "/v/thumbnail.jpg" || (is_named && path == "/v/thumbnail.webp"));
        }
    }
}
