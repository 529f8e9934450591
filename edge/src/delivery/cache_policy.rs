//! Decides how long a picture may be kept, and what is said of one that is not there. Pure.

use glimpse_contract::{Code, PictureRequest, Problem, Variant, VideoId, limits, revision_of_etag};

use crate::config::{Config, PublicVariants};

/// How far a clock may be behind that made an id, in milliseconds.
const SKEW_MS: u64 = 60 * 1000;

/// How long a picture may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// The URL fixes the picture: a year, and never asked again.
    Immutable,
    /// The owner may choose another picture for this URL: five minutes, then a look in the background.
    Bare,
    /// The URL carries another revision than the entry that it is answered from, and which of the two is newer is not known
    /// for sure: some seconds.
    Doubtful,
}

/// How long a bare entry is believed that a revision is not the present one, in milliseconds. So a revision that was made
/// up costs a look into the bucket once in this time at the most, and a poster that was chosen elsewhere is seen here
/// after it.
pub(super) const BELIEVED_MS: u64 = 10_000;

/// How a picture of a bare URL's entry may be sent for the same URL with a revision: for good if it is the picture's own,
/// for a moment if the entry is young, and not at all (`None`: ask the bucket) otherwise.
pub fn judge_bare(revision: &str, etag: &str, age_ms: u64) -> Option<CachePolicy> {
    match revision_of_etag(etag) {
        Some(own) if own == revision => Some(CachePolicy::Immutable),
        _ => (age_ms < BELIEVED_MS).then_some(CachePolicy::Doubtful),
    }
}

/// How long it is remembered that a picture is still being made, in milliseconds: short, because a video that is ready has
/// its pictures at once.
pub(super) const PROCESSING_MS: u64 = 200;
/// How long it is remembered that there is no such picture, in milliseconds.
pub(super) const NEGATIVE_MS: u64 = 5_000;

/// How long it is remembered that a video has no manifest, in milliseconds.
pub fn absent_for_ms(video: VideoId, now_ms: u64) -> u64 {
    if missing(video, None, now_ms).code == Code::Processing { PROCESSING_MS } else { NEGATIVE_MS }
}

/// Whether anonymous callers may ask for this picture.
///
/// # Errors
/// `bad_parameter`, with what may be asked for.
pub fn check_open(variant: Variant, config: &Config) -> Result<(), Problem> {
    let widths = &config.public_widths;
    let detail = match config.public_variants {
        _ if variant.is_default() => return Ok(()),
        PublicVariants::Any if is_public_width(variant, widths) => return Ok(()),
        PublicVariants::Listed if is_listed(variant, widths) => return Ok(()),
        PublicVariants::None => {
            "Only the pictures that every video has are served here without a token.".to_owned()
        }
        PublicVariants::Listed if widths.is_empty() => {
            "Only pictures without parameters are served here without a token.".to_owned()
        }
        which => {
            let widths: Vec<_> = widths.iter().map(u32::to_string).collect();
            let more = if which == PublicVariants::Listed { "or another parameter" } else { "" };
            let detail = format!(
                "The parameter `width` must be one of {} here, without a height {more}",
                widths.join(", ")
            );
            [detail.trim_end(), "."].concat()
        }
    };
    Err(Problem::because(Code::BadParameter, detail))
}

/// Whether nothing but the width differs from the default, and that is one of the list.
fn is_listed(variant: Variant, widths: &[u32]) -> bool {
    variant
        .parameters()
        .iter()
        .all(|(name, value)| *name == "width" && value.parse().is_ok_and(|width| widths.contains(&width)))
}

/// Whether everybody may ask for a picture of this size: any, where no widths are named; else the defaults and these
/// widths, each without a height.
fn is_public_width(variant: Variant, widths: &[u32]) -> bool {
    widths.is_empty()
        || variant.parameters().iter().all(|(name, value)| match *name {
            "height" => false,
            "width" => value.parse().is_ok_and(|width| widths.contains(&width)),
            _ => true,
        })
}

impl CachePolicy {
    /// The policy for a picture with this ETag: a revision that is not the picture's own fixes nothing, a time does.
    pub fn of(request: &PictureRequest, etag: &str) -> Self {
        match (&request.revision, revision_of_etag(etag)) {
            (Some(asked), Some(found)) if asked == found => Self::Immutable,
            _ if request.variant.is_fixed() => Self::Immutable,
            _ => Self::Bare,
        }
    }
}

/// The header's text.
pub fn cache_control(policy: CachePolicy) -> &'static str {
    match policy {
        CachePolicy::Immutable => "public, max-age=31536000, immutable",
        CachePolicy::Bare => "public, max-age=300, stale-while-revalidate=86400",
        CachePolicy::Doubtful => "public, max-age=5",
    }
}

/// Why a picture is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotThere {
    /// What the client is told.
    pub code: Code,
    /// In how many seconds it should ask again, if at all.
    pub retry_after_secs: Option<u32>,
}

/// What is said of a picture that the bucket does not hold.
///
/// Nobody but the owner can be asked whether an upload is on its way (its key begins with the owner), so the id
/// itself tells: granted less than a day ago and without a manifest, it may still come.
pub fn missing(video: VideoId, committed: Option<Option<Code>>, now_ms: u64) -> NotThere {
    match committed {
        Some(Some(rejected)) => NotThere { code: rejected, retry_after_secs: None },
        Some(None) => NotThere { code: Code::NotFound, retry_after_secs: None },
        None => {
            let granted = video.granted_at_ms();
            let on_its_way = granted <= now_ms + SKEW_MS && now_ms < granted + limits::PROCESSING_WINDOW_MS;
            if on_its_way {
                NotThere { code: Code::Processing, retry_after_secs: Some(2) }
            } else {
                NotThere { code: Code::NotFound, retry_after_secs: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(revision: Option<&str>) -> PictureRequest {
        let path = format!("/{}/thumbnail.jpg", VideoId::new(1, [0; 10]));
        let query = revision.map(|revision| format!("v={revision}"));
        PictureRequest::parse(&path, query.as_deref()).unwrap().unwrap()
    }

    #[test]
    fn only_the_pictures_own_revision_is_kept_for_ever() {
        let etag = "\"0123456789abcdef0123456789abcdef\"";
        assert_eq!(CachePolicy::of(&request(Some("01234567")), etag), CachePolicy::Immutable);
        assert_eq!(CachePolicy::of(&request(Some("76543210")), etag), CachePolicy::Bare);
        assert_eq!(CachePolicy::of(&request(None), etag), CachePolicy::Bare);
    }

    #[test]
    fn a_time_fixes_a_picture_and_a_size_does_not() {
        let etag = "\"0123456789abcdef0123456789abcdef\"";
        for (url, policy) in [
            ("thumbnail.jpg?time=1", CachePolicy::Immutable),
            ("animated.gif?start=1", CachePolicy::Immutable),
            ("animated.gif?end=1", CachePolicy::Immutable),
            ("thumbnail.jpg?width=200", CachePolicy::Bare),
            ("thumbnail.jpg?width=200&v=01234567", CachePolicy::Immutable),
            ("thumbnail.jpg?width=200&v=76543210", CachePolicy::Bare),
            ("storyboard.vtt", CachePolicy::Bare),
        ] {
            let (file, query) = url.split_once('?').unwrap_or((url, ""));
            let path = format!("/{}/{file}", VideoId::new(1, [0; 10]));
            let request = PictureRequest::parse(&path, Some(query)).unwrap().unwrap();
            assert_eq!(CachePolicy::of(&request, etag), policy, "{url}");
        }
    }

    #[test]
    fn a_revision_that_is_made_up_is_answered_from_the_bare_entry_for_a_moment() {
        let etag = "\"0123456789abcdef0123456789abcdef\"";
        assert_eq!(judge_bare("01234567", etag, u64::MAX), Some(CachePolicy::Immutable));
        assert_eq!(judge_bare("76543210", etag, BELIEVED_MS - 1), Some(CachePolicy::Doubtful));
        assert_eq!(judge_bare("76543210", etag, BELIEVED_MS), None, "another poster may have been chosen");
        assert_eq!(judge_bare("76543210", "odd", 0), Some(CachePolicy::Doubtful));
    }

    #[test]
    fn only_widths_that_are_named_are_public() {
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
            let (file, query) = url.split_once('?').unwrap_or((url, ""));
            let path = format!("/{}/{file}", VideoId::new(1, [0; 10]));
            let variant = PictureRequest::parse(&path, Some(query)).unwrap().unwrap().variant;
            assert_eq!(is_public_width(variant, &[160, 320]), is_public, "{url}");
            assert!(is_public_width(variant, &[]), "{url}");
        }
    }

    #[test]
    fn a_deployment_bounds_what_anonymous_callers_may_ask_for() {
        let config = |variants: &str, widths: &str| {
            crate::config::tests::with(&[("PUBLIC_VARIANTS", variants), ("PUBLIC_WIDTHS", widths)])
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
        ] {
            let (file, query) = url.split_once('?').unwrap_or((url, ""));
            let path = format!("/{}/{file}", VideoId::new(1, [0; 10]));
            let variant = PictureRequest::parse(&path, Some(query)).unwrap().unwrap().variant;
            assert_eq!(check_open(variant, &config("any", "")).is_ok(), any, "{url}");
            assert_eq!(check_open(variant, &listed).is_ok(), listed_too, "{url}");
            assert_eq!(check_open(variant, &config("none", "160,320")).is_ok(), none, "{url}");
        }
        let path = format!("/{}/thumbnail.jpg", VideoId::new(1, [0; 10]));
        let variant = PictureRequest::parse(&path, Some("width=321")).unwrap().unwrap().variant;
        let detail = |config: &Config| check_open(variant, config).unwrap_err().detail;
        assert_eq!(
            detail(&config("any", "160,320")),
            "The parameter `width` must be one of 160, 320 here, without a height."
        );
        assert_eq!(
            detail(&listed),
            "The parameter `width` must be one of 160, 320 here, without a height or another parameter."
        );
        assert!(detail(&config("listed", "")).starts_with("Only pictures without parameters"));
    }

    #[test]
    fn a_missing_picture_is_on_its_way_for_a_day() {
        let granted = 1_700_000_000_000;
        let video = VideoId::new(granted, [0; 10]);
        let code = |committed, now_ms| missing(video, committed, now_ms).code;
        assert_eq!(code(None, granted), Code::Processing);
        assert_eq!(code(None, granted + limits::PROCESSING_WINDOW_MS - 1), Code::Processing);
        assert_eq!(code(None, granted + limits::PROCESSING_WINDOW_MS), Code::NotFound);
        assert_eq!(code(None, granted - SKEW_MS - 1), Code::NotFound, "an id from the future is made up");
        assert_eq!(code(Some(Some(Code::NotAVideo)), granted), Code::NotAVideo);
        assert_eq!(code(Some(None), granted), Code::NotFound);
    }
}
