//! Decides which bytes a `Range` header asks for: RFC 9110, section 14, of which a decoder uses single ranges.

use std::ops::Range;

use http::HeaderValue;

/// What a request wants of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: there is no range, or one that is to be ignored.
    All,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that do not exist.
    Nothing,
}

impl Asked {
    pub(super) fn parse(header: Option<&HeaderValue>, total: u64) -> Self {
        let Some(spec) =
            header.and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("bytes="))
        else {
            return Self::All;
        };
        let Some((first, last)) = spec.split_once('-') else { return Self::All };
        let range = match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(total),
            (Some(first), None) if last.is_empty() => first..total,
            (None, Some(length)) if first.is_empty() => total.saturating_sub(length)..total,
            _ => return Self::All,
        };
        if range.start < range.end { Self::Part(range) } else { Self::Nothing }
    }
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_single_ranges() {
        for (header, expected) in [
            ("bytes=0-", Asked::Part(0..100)),
            ("bytes=0-9", Asked::Part(0..10)),
            ("bytes=99-", Asked::Part(99..100)),
            ("bytes=90-200", Asked::Part(90..100)),
            ("bytes=5-18446744073709551615", Asked::Part(5..100)),
            ("bytes=-10", Asked::Part(90..100)),
            ("bytes=-200", Asked::Part(0..100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=9-5", Asked::All),
            ("bytes=0-1,5-6", Asked::All),
            ("bytes=+1-2", Asked::All),
            ("bytes=", Asked::All),
            ("lines=1-2", Asked::All),
        ] {
            let value = HeaderValue::from_static(header);
            assert_eq!(Asked::parse(Some(&value), 100), expected, "{header}");
        }
        assert_eq!(Asked::parse(None, 100), Asked::All);
    }
}
