//! Decides how long a picture may be kept, and what is said of one that is not there. Pure.

use glimpse_contract::{Code, PictureRequest, VideoId, limits, revision_of_etag};

/// How far a clock may be behind that made an id, in milliseconds.
const SKEW_MS: u64 = 60 * 1000;

/// How long a picture may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// The URL fixes the picture: a year, and never asked again.
    Immutable,
    /// The owner may choose another picture for this URL: five minutes, then a look in the background.
    Bare,
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
