//! Decides by which one id a video is followed from its upload to whoever is told of it.
//!
//! The id is W3C Trace Context's, <https://www.w3.org/TR/trace-context/#trace-id>: whoever traces their own requests finds
//! what Glimpse did in the same trace. Who sends none gets the one that follows from the video's id, so that every video
//! has one, old ones too, and nothing has to be stored for it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{ParseIdError, VideoId, as_text};

/// The header by which a trace is handed on, <https://www.w3.org/TR/trace-context/#traceparent-header>.
pub const TRACEPARENT: &str = "traceparent";
/// Characters of a trace id: 16 bytes in hexadecimal.
const TRACE_LEN: usize = 32;
/// Characters of the id of who hands on: 8 bytes.
const PARENT_LEN: usize = 16;

/// Names one trace: 32 hexadecimal digits in lower case, not all of them zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// The trace of a video whose upload was part of no other: the same 128 bits that its id spells.
    ///
    /// ```
    /// # use glimpse_contract::{TraceId, VideoId};
    /// let video: VideoId = "7xmg4ztpa10123456789abcdef".parse().unwrap();
    /// assert_eq!(TraceId::of(video).to_string(), "fda409fd594100443214c74254b635cf");
    /// ```
    pub fn from_video(video: VideoId) -> Self {
        // All zero is no trace id; as a video id it would be one of the year 10889.
        Self(video.to_u128().max(1))
    }

    /// The trace that a `traceparent` header names, by the rules for whoever knows version 00: of a later version the part
    /// that they share is read, <https://www.w3.org/TR/trace-context/#versioning-of-traceparent>. What is malformed
    /// names none.
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

    /// The `traceparent` of what is sent on within this trace. `parent` names the sending; the last bit says that it was
    /// recorded, as every log line is.
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

    /// Accepts the one canonical spelling only.
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

    /// The cases of <https://www.w3.org/TR/trace-context/#traceparent-header-field-values> and of the working group's tests.
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
