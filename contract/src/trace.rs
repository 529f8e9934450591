//! Trace ids, which follow a video from its upload to its webhooks.
//!
//! A trace id is that of W3C Trace Context, <https://www.w3.org/TR/trace-context/#trace-id>: customers that trace their
//! requests find Glimpse's work in the same trace. Without a `traceparent`, the trace id is derived from the video's
//! id, so that every video has one, including old videos, and nothing has to be stored.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{ParseIdError, VideoId, as_text};

/// The header that propagates a trace, <https://www.w3.org/TR/trace-context/#traceparent-header>.
pub const TRACEPARENT: &str = "traceparent";
/// Length of a trace id in characters: 16 bytes in hexadecimal.
const TRACE_LEN: usize = 32;
/// Length of a parent id in characters: 8 bytes in hexadecimal.
const PARENT_LEN: usize = 16;

/// Id of a trace: 32 hexadecimal digits in lower case, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// The default trace id of a video: the 128 bits of its id.
    ///
    /// ```
    /// # use glimpse_contract::{TraceId, VideoId};
    /// let video: VideoId = "7xmg4ztpa10123456789abcdef".parse().unwrap();
    /// assert_eq!(TraceId::from_video(video).to_string(), "fda409fd594100443214c74254b635cf");
    /// ```
    pub fn from_video(video: VideoId) -> Self {
        // All zeros is not a valid trace id. The video id of that value would be of the year 10889.
        Self(video.to_u128().max(1))
    }

    /// Parses a `traceparent` header by the rules for parsers of version 00: for a later version, only the part shared
    /// with version 00 is read, <https://www.w3.org/TR/trace-context/#versioning-of-traceparent>. Returns `None` for a
    /// malformed header.
    ///
    /// ```
    /// # use glimpse_contract::TraceId;
    /// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// assert_eq!(TraceId::from_traceparent(header).unwrap().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    /// ```
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let mut fields = header.trim().splitn(5, '-');
        let [version, trace, parent, flags] =
            [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
        let is_supported = match version {
            "00" => fields.next().is_none(),
            version => version != "ff" && is_lower_hex(version, 2),
        };
        let has_parent = is_lower_hex(parent, PARENT_LEN) && parent.bytes().any(|digit| digit != b'0');
        if is_supported && has_parent && is_lower_hex(flags, 2) { trace.parse().ok() } else { None }
    }

    /// The `traceparent` header of a request within this trace. `parent` is the id of that request. The `sampled` flag
    /// is set, because every request is logged.
    pub fn traceparent(self, parent: u64) -> String {
        format!("00-{self}-{:016x}-01", parent.max(1))
    }
}

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceId {
    type Err = ParseIdError;

    /// Accepts only the canonical form.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let bits = is_lower_hex(text, TRACE_LEN).then(|| u128::from_str_radix(text, 16).ok()).flatten();
        bits.filter(|bits| *bits != 0).map(Self).ok_or(ParseIdError("trace id"))
    }
}

as_text!(TraceId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Cases from <https://www.w3.org/TR/trace-context/#traceparent-header-field-values> and from the working group's
    /// tests.
    #[test]
    fn parses_only_well_formed_traceparent() {
        for good in [GOOD, &GOOD.replace("-01", "-00"), &GOOD.replacen("00", "01", 1), &format!("\t{GOOD} ")]
        {
            assert!(TraceId::from_traceparent(good).is_some(), "{good}");
        }
        assert!(TraceId::from_traceparent(&format!("cc{}-what-the-future-holds", &GOOD[2..])).is_some());
        for bad in [
            "",
            "00",
            &GOOD[..52],
            &GOOD.to_uppercase(),
            &format!("{GOOD}-more"),
            &format!("{GOOD}-"),
            &format!("{GOOD}.x"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0", 1),
            &GOOD.replacen("00", "0g", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("4bf9", "4bf"),
            &GOOD.replace("4bf9", "+bf9"),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("-01", "-1"),
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(TraceId::from_traceparent(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn traceparent_roundtrips(now_ms in 0..1_u64 << 48, random: [u8; 10], parent: u64) {
            let video = VideoId::new(now_ms, random);
            let trace = TraceId::from_video(video);
            prop_assert_eq!(TraceId::from_traceparent(&trace.traceparent(parent)), Some(trace));
            prop_assert_eq!(trace.to_string().parse::<TraceId>(), Ok(trace));
        }

        #[test]
        fn accepted_traceparent_is_canonical(header in "[0-9a-f-]{50,60}") {
            if let Some(trace) = TraceId::from_traceparent(&header) {
                let field = format!("-{trace}-");
                prop_assert!(header.contains(&field));
            }
        }
    }
}
