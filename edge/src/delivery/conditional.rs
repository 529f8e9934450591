//! Decides 200, 206, 304 or 416 for a picture at hand: RFC 9110, sections 13 and 14. Pure.

/// What a request says about the copy that it has or the part that it wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditional<'a> {
    /// `If-None-Match`
    pub if_none_match: Option<&'a str>,
    /// `Range`
    pub range: Option<&'a str>,
    /// `If-Range`
    pub if_range: Option<&'a str>,
}

/// Which answer is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// 200 with everything.
    Whole,
    /// 206 with these bytes, both ends included.
    Part(u64, u64),
    /// 304: the client has it already.
    NotModified,
    /// 416: there is no such part.
    Unsatisfiable,
}

/// Which answer is right for a picture of `length` bytes with a strong `etag`.
///
/// Several ranges at once are answered with everything, as section 14.2 allows: a picture is small, and
/// overlapping ranges are an attack.
pub fn decide(request: Conditional<'_>, etag: &str, length: u64) -> Served {
    if request.if_none_match.is_some_and(|tags| matches_weakly(tags, etag)) {
        return Served::NotModified;
    }
    let Some(range) = request.range else { return Served::Whole };
    // Section 13.1.5: strong comparison; a date cannot match, since no Last-Modified is sent.
    if request.if_range.is_some_and(|tag| tag.trim() != etag || tag.starts_with("W/")) {
        return Served::Whole;
    }
    part(range, length).unwrap_or(Served::Whole)
}

/// Section 13.1.2: `*` or a list of tags, compared without regard to weakness.
fn matches_weakly(tags: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|tag| opaque(tag) == opaque(etag))
}

/// The part that a `Range` of one range asks for; `None` if it is not to be heeded.
fn part(range: &str, length: u64) -> Option<Served> {
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
    // A number beyond 64 bits is beyond every picture too.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    if first.is_empty() {
        let wanted = number(last).min(length);
        return Some(if wanted == 0 {
            Served::Unsatisfiable
        } else {
            Served::Part(length - wanted, length - 1)
        });
    }
    let first = number(first);
    if last.is_empty() || number(last) >= first {
        if first >= length {
            return Some(Served::Unsatisfiable);
        }
        let last = if last.is_empty() { length - 1 } else { number(last).min(length - 1) };
        return Some(Served::Part(first, last));
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"abc\"";

    #[track_caller]
    fn range(range: &str, expected: Served) {
        let request = Conditional { range: Some(range), ..Conditional::default() };
        assert_eq!(decide(request, ETAG, 10), expected, "{range}");
    }

    #[test]
    fn ranges() {
        range("bytes=0-0", Served::Part(0, 0));
        range("bytes=2-5", Served::Part(2, 5));
        range("bytes=2-", Served::Part(2, 9));
        range("bytes=0-99", Served::Part(0, 9));
        range("bytes=-3", Served::Part(7, 9));
        range("bytes=-99", Served::Part(0, 9));
        range("Bytes=0-1", Served::Part(0, 1));
        range("bytes=9-9", Served::Part(9, 9));
        range("bytes=10-", Served::Unsatisfiable);
        range("bytes=10-20", Served::Unsatisfiable);
        range("bytes=-0", Served::Unsatisfiable);
        range("bytes=99999999999999999999-", Served::Unsatisfiable);
        range("bytes=5-2", Served::Whole);
        range("bytes=-", Served::Whole);
        range("bytes=a-b", Served::Whole);
        range("bytes=+1-2", Served::Whole);
        range("bytes=0-1,3-4", Served::Whole);
        range("lines=0-1", Served::Whole);
        range("0-1", Served::Whole);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let of =
            |if_none_match, range, if_range| decide(Conditional { if_none_match, range, if_range }, ETAG, 10);
        assert_eq!(of(Some("\"abc\""), None, None), Served::NotModified);
        assert_eq!(of(Some("W/\"abc\""), Some("bytes=0-1"), None), Served::NotModified);
        assert_eq!(of(Some("\"x\", \"abc\""), None, None), Served::NotModified);
        assert_eq!(of(Some("*"), None, None), Served::NotModified);
        assert_eq!(of(Some("\"x\""), None, None), Served::Whole);
        assert_eq!(of(Some("abc"), None, None), Served::Whole);
        assert_eq!(of(None, Some("bytes=0-1"), Some("\"abc\"")), Served::Part(0, 1));
        assert_eq!(of(None, Some("bytes=0-1"), Some("\"x\"")), Served::Whole);
        assert_eq!(of(None, Some("bytes=0-1"), Some("W/\"abc\"")), Served::Whole);
        assert_eq!(of(None, Some("bytes=0-1"), Some("Tue, 14 Nov 2023 22:13:20 GMT")), Served::Whole);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_picture(first in 0_u64..20, last in 0_u64..20, length in 1_u64..15) {
            let text = format!("bytes={first}-{last}");
            let request = Conditional { range: Some(&text), ..Conditional::default() };
            if let Served::Part(a, b) = decide(request, ETAG, length) {
                prop_assert!(a <= b && b < length && a == first);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,40}", length in 1_u64..9) {
            let request = Conditional { range: Some(&text), if_none_match: Some(&text), if_range: Some(&text) };
            let _ = decide(request, ETAG, length);
        }
    }
}
