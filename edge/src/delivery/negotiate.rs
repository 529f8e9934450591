//! Content negotiation: the image format of URLs without an extension, RFC 9110, section 12.5.1. Pure.

/// The path with the extension that `Accept` selects, for `/{video}/thumbnail` and `/{video}/animated`; `None` for
/// every other path. The header selects nothing but the extension, so the cache key needs only the format.
pub fn negotiate_path(path: &str, accept: impl FnOnce() -> Option<String>) -> Option<String> {
    let (_, file) = path.strip_prefix('/')?.split_once('/')?;
    let (fallback, kind) = match file {
        "thumbnail" => (".jpg", "image/jpeg"),
        "animated" => (".gif", "image/gif"),
        _ => return None,
    };
    let takes_webp = accept().is_some_and(|accept| is_webp_preferred(&accept, kind));
    Some([path, if takes_webp { ".webp" } else { fallback }].concat())
}

/// Whether the client accepts WebP at least as much as the universal format. `image/*` and `*/*` do not count as WebP:
/// clients without WebP send them.
fn is_webp_preferred(accept: &str, plain: &str) -> bool {
    let (webp, is_named) = quality_of_type(accept, "image/webp");
    let (plain, _) = quality_of_type(accept, plain);
    webp > 0 && (plain == 0 || (is_named && webp >= plain))
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
            let path = negotiate_path("/v/thumbnail", || accept.map(str::to_owned));
            assert_eq!(path.as_deref(), Some(format!("/v/thumbnail.{extension}").as_str()), "{accept:?}");
        }
        let animated = |accept: &str| negotiate_path("/v/animated", || Some(accept.to_owned())).unwrap();
        assert_eq!(
            (animated("image/webp").as_str(), animated("*/*").as_str()),
            ("/v/animated.webp", "/v/animated.gif")
        );
    }

    #[test]
    fn only_thumbnail_and_animated_are_negotiable() {
        let is_negotiable = |path| negotiate_path(path, || None).is_some();
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
            let path = negotiate_path("/v/thumbnail", || Some(accept.clone())).unwrap();
            let is_named = accept.to_ascii_lowercase().contains("image/");
            prop_assert!(path == "/v/thumbnail.jpg" || (is_named && path == "/v/thumbnail.webp"));
        }
    }
}
