//! Cache lifetimes of images, and the responses for missing images. Pure.

use glimpse_contract::{Code, Problem, Variant, VariantRequest, VideoId, revision_from_etag};

use crate::config::{Config, PublicVariants};

/// The cache lifetime of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// The URL determines the image: a year, without revalidation.
    Immutable,
    /// The owner may choose another image for this URL: five minutes, then revalidation in the background.
    StaleWhileRevalidate,
    /// The revision in the URL differs from that of the cached entry, and it is not known which is newer: some seconds.
    ShortLived,
}

/// How long an unversioned entry is trusted to hold the current revision, in milliseconds. It limits requests with
/// invalid revisions to one read of the bucket in this time, and it is the delay until a poster that was chosen
/// elsewhere is seen.
pub(super) const REVISION_MISS_TTL_MS: u64 = 10_000;

/// The policy for the image of an unversioned entry when the URL contains a revision: immutable if the revision
/// matches, short-lived if the entry is young, and `None` (check the bucket) otherwise.
pub fn revision_policy(revision: &str, etag: &str, age_ms: u64) -> Option<CachePolicy> {
    match revision_from_etag(etag) {
        Some(own) if own == revision => Some(CachePolicy::Immutable),
        _ => (age_ms < REVISION_MISS_TTL_MS).then_some(CachePolicy::ShortLived),
    }
}

/// How long it is remembered that an image is still being generated, in milliseconds: short, because the images of a
/// ready video are available immediately.
pub(super) const PROCESSING_TTL_MS: u64 = 200;
/// How long it is remembered that an image does not exist, in milliseconds.
pub(super) const NEGATIVE_TTL_MS: u64 = 5_000;

/// How long it is remembered that a video has no manifest, in milliseconds.
pub fn absence_ttl_ms(video: VideoId, now_ms: u64) -> u64 {
    if missing_status(video, None, now_ms).code == Code::Processing {
        PROCESSING_TTL_MS
    } else {
        NEGATIVE_TTL_MS
    }
}

/// Checks that anonymous callers may request this image.
///
/// # Errors
/// `bad_parameter`, with the available parameters.
pub fn check_public_variant(variant: Variant, config: &Config) -> Result<(), Problem> {
    let widths = &config.public_widths;
    let detail = match config.public_variants {
        _ if variant.is_default() => return Ok(()),
        PublicVariants::Any if is_public_width(variant, widths) => return Ok(()),
        PublicVariants::Listed if is_listed_variant(variant, widths) => return Ok(()),
        PublicVariants::Listed if variant.clip().is_some() => {
            "Without a token, clips are not available.".to_owned()
        }
        PublicVariants::None => "Without a token, only the default images are available.".to_owned(),
        PublicVariants::Listed if widths.is_empty() => {
            "Without a token, only images without parameters are available.".to_owned()
        }
        which => {
            let widths: Vec<_> = widths.iter().map(u32::to_string).collect();
            let more = if which == PublicVariants::Listed { "or another parameter" } else { "" };
            let detail = format!(
                "The parameter `width` must be one of {}, without a height {more}",
                widths.join(", ")
            );
            [detail.trim_end(), "."].concat()
        }
    };
    Err(Problem::with_detail(Code::BadParameter, detail))
}

/// Whether the image differs from the default only in its width, and the width is in the list.
fn is_listed_variant(variant: Variant, widths: &[u32]) -> bool {
    variant
        .parameters()
        .iter()
        .all(|(name, value)| *name == "width" && value.parse().is_ok_and(|width| widths.contains(&width)))
}

/// Whether this size is available to every caller: any size if no widths are configured; otherwise the defaults and
/// these widths, without a height.
fn is_public_width(variant: Variant, widths: &[u32]) -> bool {
    widths.is_empty()
        || variant.parameters().iter().all(|(name, value)| match *name {
            "height" => false,
            "width" => value.parse().is_ok_and(|width| widths.contains(&width)),
            _ => true,
        })
}

impl CachePolicy {
    /// The policy for an image with this ETag: a revision of another image determines nothing, a time does.
    pub fn from_request(request: &VariantRequest, etag: &str) -> Self {
        match (&request.revision, revision_from_etag(etag)) {
            (Some(requested), Some(current)) if requested == current => Self::Immutable,
            _ if request.variant.is_fixed() => Self::Immutable,
            _ => Self::StaleWhileRevalidate,
        }
    }
}

/// The value of `Cache-Control`.
pub fn cache_control(policy: CachePolicy) -> &'static str {
    match policy {
        CachePolicy::Immutable => "public, max-age=31536000, immutable",
        CachePolicy::StaleWhileRevalidate => "public, max-age=300, stale-while-revalidate=86400",
        CachePolicy::ShortLived => "public, max-age=5",
    }
}

/// The response for a missing image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingStatus {
    /// The problem code.
    pub code: Code,
    /// After how many seconds to retry, if at all.
    pub retry_after_secs: Option<u32>,
}

/// The response for an image that is not in the bucket.
///
/// Only the owner could be asked whether an upload is in progress (its key begins with the owner). The id itself is
/// used instead: an id that was created within the processing window, without a manifest, may still be uploaded.
pub fn missing_status(video: VideoId, rejection: Option<Option<Code>>, now_ms: u64) -> MissingStatus {
    match rejection {
        Some(Some(rejected)) => MissingStatus { code: rejected, retry_after_secs: None },
        None if video.is_within_processing_window(now_ms) => {
            MissingStatus { code: Code::Processing, retry_after_secs: Some(2) }
        }
        Some(None) | None => MissingStatus { code: Code::NotFound, retry_after_secs: None },
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::limits;

    use super::*;

    fn request(revision: Option<&str>) -> VariantRequest {
        let path = format!("/{}/thumbnail.jpg", VideoId::new(1, [0; 10]));
        let query = revision.map(|revision| format!("v={revision}"));
        VariantRequest::parse(&path, query.as_deref()).unwrap().unwrap()
    }

    #[test]
    fn only_current_revision_is_immutable() {
        let etag = "\"0123456789abcdef0123456789abcdef\"";
        assert_eq!(CachePolicy::from_request(&request(Some("01234567")), etag), CachePolicy::Immutable);
        assert_eq!(
            CachePolicy::from_request(&request(Some("76543210")), etag),
            CachePolicy::StaleWhileRevalidate
        );
        assert_eq!(CachePolicy::from_request(&request(None), etag), CachePolicy::StaleWhileRevalidate);
    }

    #[test]
    fn time_makes_immutable_and_size_does_not() {
        let etag = "\"0123456789abcdef0123456789abcdef\"";
        for (url, policy) in [
            ("thumbnail.jpg?time=1", CachePolicy::Immutable),
            ("animated.gif?start=1", CachePolicy::Immutable),
            ("animated.gif?end=1", CachePolicy::Immutable),
            ("thumbnail.jpg?width=200", CachePolicy::StaleWhileRevalidate),
            ("thumbnail.jpg?width=200&v=01234567", CachePolicy::Immutable),
            ("thumbnail.jpg?width=200&v=76543210", CachePolicy::StaleWhileRevalidate),
            ("storyboard.vtt", CachePolicy::StaleWhileRevalidate),
        ] {
            let (file, query) = url.split_once('?').unwrap_or((url, ""));
            let path = format!("/{}/{file}", VideoId::new(1, [0; 10]));
            let request = VariantRequest::parse(&path, Some(query)).unwrap().unwrap();
            assert_eq!(CachePolicy::from_request(&request, etag), policy, "{url}");
        }
    }

    #[test]
    fn unknown_revision_gets_short_ttl() {
        let etag = "\"0123456789abcdef0123456789abcdef\"";
        assert_eq!(revision_policy("01234567", etag, u64::MAX), Some(CachePolicy::Immutable));
        assert_eq!(
            revision_policy("76543210", etag, REVISION_MISS_TTL_MS - 1),
            Some(CachePolicy::ShortLived)
        );
        assert_eq!(
            revision_policy("76543210", etag, REVISION_MISS_TTL_MS),
            None,
            "another poster may have been chosen"
        );
        assert_eq!(revision_policy("76543210", "odd", 0), Some(CachePolicy::ShortLived));
    }

    fn parse_variant(url: &str) -> Variant {
        let (file, query) = url.split_once('?').unwrap_or((url, ""));
        let path = format!("/{}/{file}", VideoId::new(1, [0; 10]));
        VariantRequest::parse(&path, Some(query)).unwrap().unwrap().variant
    }

    #[test]
    fn only_listed_widths_are_public() {
        for (url, is_public) in [
            ("thumbnail.jpg", true),
            ("thumbnail.jpg?width=640", true),
            ("thumbnail.png?time=3&rotate=90", true),
            ("thumbnail.jpg?width=320", true),
            ("animated.gif?width=160&fps=10", true),
            ("storyboard.vtt", true),
            ("thumbnail.jpg?width=321", false),
            ("thumbnail.jpg?width=3840", false),
            ("thumbnail.jpg?height=320", false),
            ("thumbnail.jpg?width=320&height=180", false),
            ("animated.gif?width=640", false),
        ] {
            let variant = parse_variant(url);
            assert_eq!(is_public_width(variant, &[160, 320]), is_public, "{url}");
            assert!(is_public_width(variant, &[]), "{url}");
        }
    }

    #[test]
    fn public_variants_setting_is_enforced() {
        let config = |variants: &str, widths: &str| {
            crate::testing::example_config_with(&[("PUBLIC_VARIANTS", variants), ("PUBLIC_WIDTHS", widths)])
        };
        let listed = config("listed", "160,320");
        for (url, any, listed_too, none) in [
            ("thumbnail.jpg", true, true, true),
            ("thumbnail.webp", true, true, true),
            ("thumbnail.jpg?width=640", true, true, true),
            ("animated.gif", true, true, true),
            ("storyboard.json", true, true, true),
            ("thumbnail.png", true, true, false),
            ("thumbnail.jpg?width=320", true, true, false),
            ("animated.webp?width=160", true, true, false),
            ("thumbnail.jpg?width=321", true, false, false),
            ("thumbnail.jpg?time=1", true, false, false),
            ("thumbnail.jpg?width=320&time=1", true, false, false),
            ("thumbnail.jpg?width=320&rotate=90", true, false, false),
            ("thumbnail.jpg?height=320", true, false, false),
            ("animated.gif?fps=10", true, false, false),
            ("animated.gif?max_bytes=20000", true, false, false),
            ("animated.gif?start=1", true, false, false),
            ("clip.mp4", true, false, false),
            ("clip.mp4?end=5&audio=false", true, false, false),
        ] {
            let variant = parse_variant(url);
            assert_eq!(check_public_variant(variant, &config("any", "")).is_ok(), any, "{url}");
            assert_eq!(check_public_variant(variant, &listed).is_ok(), listed_too, "{url}");
            assert_eq!(check_public_variant(variant, &config("none", "160,320")).is_ok(), none, "{url}");
        }
        let detail =
            |url: &str, config: &Config| check_public_variant(parse_variant(url), config).unwrap_err().detail;
        let width = "thumbnail.jpg?width=321";
        assert_eq!(
            detail(width, &config("any", "160,320")),
            "The parameter `width` must be one of 160, 320, without a height."
        );
        assert_eq!(
            detail(width, &listed),
            "The parameter `width` must be one of 160, 320, without a height or another parameter."
        );
        assert_eq!(detail("clip.mp4?end=5", &listed), "Without a token, clips are not available.");
        assert!(
            detail(width, &config("listed", ""))
                .starts_with("Without a token, only images without parameters")
        );
    }

    #[test]
    fn missing_image_is_202_within_processing_window() {
        let granted = 1_700_000_000_000;
        let video = VideoId::new(granted, [0; 10]);
        let code = |committed, now_ms| missing_status(video, committed, now_ms).code;
        assert_eq!(code(None, granted), Code::Processing);
        assert_eq!(code(None, granted + limits::PROCESSING_WINDOW_MS - 1), Code::Processing);
        assert_eq!(code(None, granted + limits::PROCESSING_WINDOW_MS), Code::NotFound);
        assert_eq!(
            code(None, granted - limits::MAX_CLOCK_SKEW_MS - 1),
            Code::NotFound,
            "an id from the future is invalid"
        );
        assert_eq!(code(Some(Some(Code::NotAVideo)), granted), Code::NotAVideo);
        assert_eq!(code(Some(None), granted), Code::NotFound);
    }
}
