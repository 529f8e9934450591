//! Parses `Range` headers: RFC 9110, section 14. Decoders use single ranges only.

use std::ops::Range;

use http::HeaderValue;

/// The range that a request selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestedRange {
    /// The whole source: there is no range, or one that must be ignored.
    Full,
    /// These bytes, at least one.
    Partial(Range<u64>),
    /// Bytes outside the source.
    Unsatisfiable,
}

impl RequestedRange {
    pub(super) fn parse(header: Option<&HeaderValue>, total_bytes: u64) -> Self {
        let Some(spec) =
            header.and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("bytes="))
        else {
            return Self::Full;
        };
        let Some((first, last)) = spec.split_once('-') else { return Self::Full };
        let range = match (parse_digits(first), parse_digits(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(total_bytes),
            (Some(first), None) if last.is_empty() => first..total_bytes,
            (None, Some(length)) if first.is_empty() => total_bytes.saturating_sub(length)..total_bytes,
            _ => return Self::Full,
        };
        if range.start < range.end { Self::Partial(range) } else { Self::Unsatisfiable }
    }
}

fn parse_digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_single_ranges() {
        for (header, expected) in [
            ("bytes=0-", RequestedRange::Partial(0..100)),
            ("bytes=0-9", RequestedRange::Partial(0..10)),
            ("bytes=99-", RequestedRange::Partial(99..100)),
            ("bytes=90-200", RequestedRange::Partial(90..100)),
            ("bytes=5-18446744073709551615", RequestedRange::Partial(5..100)),
            ("bytes=-10", RequestedRange::Partial(90..100)),
            ("bytes=-200", RequestedRange::Partial(0..100)),
            ("bytes=100-", RequestedRange::Unsatisfiable),
            ("bytes=-0", RequestedRange::Unsatisfiable),
            ("bytes=9-5", RequestedRange::Full),
            ("bytes=0-1,5-6", RequestedRange::Full),
            ("bytes=+1-2", RequestedRange::Full),
            ("bytes=", RequestedRange::Full),
            ("lines=1-2", RequestedRange::Full),
        ] {
            let value = HeaderValue::from_static(header);
            assert_eq!(RequestedRange::parse(Some(&value), 100), expected, "{header}");
        }
        assert_eq!(RequestedRange::parse(None, 100), RequestedRange::Full);
    }
}
