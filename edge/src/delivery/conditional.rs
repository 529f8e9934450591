//! Conditional and range requests for an image: 200, 206, 304 or 416 by RFC 9110, sections 13 and 14. Pure.

/// The conditional and range headers of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditional<'a> {
    /// `If-None-Match`
    pub if_none_match: Option<&'a str>,
    /// `Range`
    pub range: Option<&'a str>,
    /// `If-Range`
    pub if_range: Option<&'a str>,
}

/// The kind of response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionalResponse {
    /// 200 with the whole image.
    Full,
    /// 206 with these bytes, both ends included.
    Partial(u64, u64),
    /// 304: the client's copy is current.
    NotModified,
    /// 416: the range is not satisfiable.
    Unsatisfiable,
}

/// Evaluates a request for an image of `length` bytes with a strong `etag`.
///
/// Multiple ranges are answered with the whole image, as section 14.2 allows: images are small, and overlapping ranges
/// are an attack.
pub fn evaluate_preconditions(request: Conditional<'_>, etag: &str, length: u64) -> ConditionalResponse {
    if request.if_none_match.is_some_and(|tags| is_weak_match(tags, etag)) {
        return ConditionalResponse::NotModified;
    }
    let Some(range) = request.range else { return ConditionalResponse::Full };
    // Section 13.1.5: strong comparison; a date cannot match, since no Last-Modified is sent.
    if request.if_range.is_some_and(|tag| tag.trim() != etag || tag.starts_with("W/")) {
        return ConditionalResponse::Full;
    }
    evaluate_range(range, length).unwrap_or(ConditionalResponse::Full)
}

/// Section 13.1.2: `*` or a list of tags, by weak comparison.
fn is_weak_match(tags: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|tag| opaque(tag) == opaque(etag))
}

/// The bytes of a `Range` with one range; `None` if the header must be ignored.
fn evaluate_range(range: &str, length: u64) -> Option<ConditionalResponse> {
    let (unit, spec) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let spec = spec.trim();
    let (first, last) = spec.split_once('-')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) || (first.is_empty() && last.is_empty()) {
        return None;
    }
    // A number beyond 64 bits is also beyond the end of every image.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    if first.is_empty() {
        let suffix_length = number(last).min(length);
        return Some(if suffix_length == 0 {
            ConditionalResponse::Unsatisfiable
        } else {
            ConditionalResponse::Partial(length - suffix_length, length - 1)
        });
    }
    let first = number(first);
    if last.is_empty() || number(last) >= first {
        if first >= length {
            return Some(ConditionalResponse::Unsatisfiable);
        }
        let last = if last.is_empty() { length - 1 } else { number(last).min(length - 1) };
        return Some(ConditionalResponse::Partial(first, last));
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"abc\"";

    #[track_caller]
    fn check_range(range: &str, expected: ConditionalResponse) {
        let request = Conditional { range: Some(range), ..Conditional::default() };
        assert_eq!(evaluate_preconditions(request, ETAG, 10), expected, "{range}");
    }

    #[test]
    fn parses_ranges() {
        check_range("bytes=0-0", ConditionalResponse::Partial(0, 0));
        check_range("bytes=2-5", ConditionalResponse::Partial(2, 5));
        check_range("bytes=2-", ConditionalResponse::Partial(2, 9));
        check_range("bytes=0-99", ConditionalResponse::Partial(0, 9));
        check_range("bytes=-3", ConditionalResponse::Partial(7, 9));
        check_range("bytes=-99", ConditionalResponse::Partial(0, 9));
        check_range("Bytes=0-1", ConditionalResponse::Partial(0, 1));
        check_range("bytes=9-9", ConditionalResponse::Partial(9, 9));
        check_range("bytes=10-", ConditionalResponse::Unsatisfiable);
        check_range("bytes=10-20", ConditionalResponse::Unsatisfiable);
        check_range("bytes=-0", ConditionalResponse::Unsatisfiable);
        check_range("bytes=99999999999999999999-", ConditionalResponse::Unsatisfiable);
        check_range("bytes=5-2", ConditionalResponse::Full);
        check_range("bytes=-", ConditionalResponse::Full);
        check_range("bytes=a-b", ConditionalResponse::Full);
        check_range("bytes=+1-2", ConditionalResponse::Full);
        check_range("bytes=0-1,3-4", ConditionalResponse::Full);
        check_range("lines=0-1", ConditionalResponse::Full);
        check_range("0-1", ConditionalResponse::Full);
    }

    #[test]
    fn preconditions_precede_range() {
        let evaluate = |if_none_match, range, if_range| {
            evaluate_preconditions(Conditional { if_none_match, range, if_range }, ETAG, 10)
        };
        assert_eq!(evaluate(Some("\"abc\""), None, None), ConditionalResponse::NotModified);
        assert_eq!(evaluate(Some("W/\"abc\""), Some("bytes=0-1"), None), ConditionalResponse::NotModified);
        assert_eq!(evaluate(Some("\"x\", \"abc\""), None, None), ConditionalResponse::NotModified);
        assert_eq!(evaluate(Some("*"), None, None), ConditionalResponse::NotModified);
        assert_eq!(evaluate(Some("\"x\""), None, None), ConditionalResponse::Full);
        assert_eq!(evaluate(Some("abc"), None, None), ConditionalResponse::Full);
        assert_eq!(evaluate(None, Some("bytes=0-1"), Some("\"abc\"")), ConditionalResponse::Partial(0, 1));
        assert_eq!(evaluate(None, Some("bytes=0-1"), Some("\"x\"")), ConditionalResponse::Full);
        assert_eq!(evaluate(None, Some("bytes=0-1"), Some("W/\"abc\"")), ConditionalResponse::Full);
        assert_eq!(
            evaluate(None, Some("bytes=0-1"), Some("Tue, 14 Nov 2023 22:13:20 GMT")),
            ConditionalResponse::Full
        );
    }

    proptest! {
        #[test]
        fn range_lies_within_length(first in 0_u64..20, last in 0_u64..20, length in 1_u64..15) {
            let text = format!("bytes={first}-{last}");
            let request = Conditional { range: Some(&text), ..Conditional::default() };
            if let ConditionalResponse::Partial(a, b) = evaluate_preconditions(request, ETAG, length) {
                prop_assert!(a <= b && b < length && a == first);
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}", length in 1_u64..9) {
            let request = Conditional { range: Some(&text), if_none_match: Some(&text), if_range: Some(&text) };
            let _ = evaluate_preconditions(request, ETAG, length);
        }
    }
}
