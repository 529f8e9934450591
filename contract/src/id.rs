//! Ids of videos and owners. A client can choose neither.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::limits;

/// Crockford's base32 alphabet in lower case, <https://www.crockford.com/base32.html>.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const VIDEO_LEN: usize = 26;
const OWNER_LEN: usize = 22;
const TIMESTAMP_BITS: u32 = 48;
/// Ten characters hold 50 bits: the 48 bits of the time, and the two bits by which 26 characters exceed 128 bits.
const TIMESTAMP_LEN: usize = 10;
const MAX_TIMESTAMP_MS: u64 = (1 << TIMESTAMP_BITS) - 1;

/// Error of a string that is not an id in its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a {0}")]
pub struct ParseIdError(pub(crate) &'static str);

/// Id of a video: 26 characters of Crockford's base32 in lower case.
///
/// Like a ULID, it consists of 48 bits of time and 80 random bits, but the time counts down
/// (2^48 - 1 - milliseconds since 1970), so that S3's key order lists the newest video first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VideoId(u128);

impl VideoId {
    /// Creates the id of a video that is granted at `now_ms` (Unix milliseconds), from 80 random bits.
    ///
    /// ```
    /// # use glimpse_contract::VideoId;
    /// let older = VideoId::new(1_000, [7; 10]);
    /// let newer = VideoId::new(2_000, [7; 10]);
    /// assert!(newer.to_string() < older.to_string());
    /// ```
    pub fn new(now_ms: u64, random: [u8; 10]) -> Self {
        let time = MAX_TIMESTAMP_MS - now_ms.min(MAX_TIMESTAMP_MS);
        let low = random.iter().fold(0_u128, |value, byte| (value << 8) | u128::from(*byte));
        Self((u128::from(time) << 80) | low)
    }

    /// The 128 bits of the id.
    pub(crate) fn to_u128(self) -> u128 {
        self.0
    }

    /// The ten characters that encode the time. Two ids share them if and only if they are of the same millisecond.
    pub fn timestamp_prefix(self) -> String {
        let mut text = self.to_string();
        text.truncate(TIMESTAMP_LEN);
        text
    }

    /// The time at which the edge created this id, in Unix milliseconds.
    pub fn timestamp_ms(self) -> u64 {
        MAX_TIMESTAMP_MS - (self.0 >> 80) as u64
    }

    /// Whether the video may still be uploading or processing at `now_ms` (Unix milliseconds) if it has no manifest:
    /// from its grant until [`limits::PROCESSING_WINDOW_MS`] later. An id from the future is invalid.
    pub fn is_within_processing_window(self, now_ms: u64) -> bool {
        let granted_ms = self.timestamp_ms();
        granted_ms <= now_ms + limits::MAX_CLOCK_SKEW_MS && now_ms < granted_ms + limits::PROCESSING_WINDOW_MS
    }
}

impl fmt::Display for VideoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; VIDEO_LEN];
        // Twelve characters hold 60 bits: in the Worker, shifting 128 bits is a call.
        for (place, slots) in text.rchunks_mut(12).enumerate() {
            let mut bits = (self.0 >> (60 * place)) as u64;
            for slot in slots.iter_mut().rev() {
                *slot = ALPHABET[(bits & 31) as usize];
                bits >>= 5;
            }
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for VideoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VideoId {
    type Err = ParseIdError;

    /// Accepts only the canonical form: no capitals, no `i l o u`, at most 128 bits.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        const ERROR: ParseIdError = ParseIdError("video id");
        if text.len() != VIDEO_LEN {
            return Err(ERROR);
        }
        let mut value = 0_u128;
        for (index, byte) in text.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|&letter| letter == byte).ok_or(ERROR)?;
            // 26 characters hold 130 bits: only three of the first character's five bits are used.
            if index == 0 && digit > 7 {
                return Err(ERROR);
            }
            value = (value << 5) | digit as u128;
        }
        Ok(Self(value))
    }
}

/// Id of an owner: 22 characters, base64url of the first 16 bytes of SHA-256 over `iss \0 sub`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Owner([u8; 16]);

impl Owner {
    /// The owner of a token's issuer and subject.
    ///
    /// ```
    /// # use glimpse_contract::Owner;
    /// assert_eq!(Owner::new("https://id.example", "alice").to_string().len(), 22);
    /// ```
    pub fn new(iss: &str, sub: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(iss.as_bytes());
        hasher.update([0]);
        hasher.update(sub.as_bytes());
        let digest = hasher.finalize();
        let mut first = [0_u8; 16];
        first.copy_from_slice(&digest[..16]);
        Self(first)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Owner {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        const ERROR: ParseIdError = ParseIdError("owner");
        if text.len() != OWNER_LEN {
            return Err(ERROR);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ERROR)?;
        Ok(Self(bytes.try_into().map_err(|_| ERROR)?))
    }
}

/// Implements `Serialize` and `Deserialize` of an id as its string form.
macro_rules! as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use as_text;
as_text!(VideoId);
as_text!(Owner);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn newest_sorts_first() {
        let old = VideoId::new(1_700_000_000_000, [0xff; 10]).to_string();
        let new = VideoId::new(1_700_000_000_001, [0; 10]).to_string();
        assert!(new < old, "{new} < {old}");
    }

    #[test]
    fn processing_window_ends_and_tolerates_skew() {
        let granted_ms = 1_700_000_000_000;
        let video = VideoId::new(granted_ms, [1; 10]);
        for (now_ms, expected) in [
            (granted_ms, true),
            (granted_ms + limits::PROCESSING_WINDOW_MS - 1, true),
            (granted_ms + limits::PROCESSING_WINDOW_MS, false),
            (granted_ms - limits::MAX_CLOCK_SKEW_MS, true),
            (granted_ms - limits::MAX_CLOCK_SKEW_MS - 1, false),
            (0, false),
        ] {
            assert_eq!(video.is_within_processing_window(now_ms), expected, "{now_ms}");
        }
    }

    #[test]
    fn owner_hash_is_pinned() {
        // printf 'https://id.example\0alice' | sha256sum | head -c 32 | xxd -r -p | base64, converted to base64url
        assert_eq!(Owner::new("https://id.example", "alice").to_string(), "iGDYsciok5F1j_m0eaWWJA");
        assert_ne!(
            Owner::new("a", "bc"),
            Owner::new("ab", "c"),
            "the separator keeps issuer and subject apart"
        );
    }

    #[test]
    fn rejects_noncanonical_video_ids() {
        let good = VideoId::new(1_700_000_000_000, *b"0123456789").to_string();
        assert!(good.parse::<VideoId>().is_ok());
        let cases = [
            "",
            &good[1..],
            &format!("{good}0"),
            &good.to_uppercase(),
            &format!("8{}", &good[1..]),
            &format!("{}u", &good[..25]),
            &format!("{} ", &good[..25]),
            "../../../../../etc/passwd.",
            "ééééééééééééé",
        ];
        for case in cases {
            assert!(case.parse::<VideoId>().is_err(), "{case:?} was accepted");
        }
    }

    #[test]
    fn rejects_owner_with_stray_bits() {
        // The last of 22 characters holds only two bits: `B` would set a bit beyond the sixteenth byte.
        let owner = Owner::new("a", "b").to_string();
        assert!(format!("{}B", &owner[..21]).parse::<Owner>().is_err());
        assert!(format!("{}=", &owner[..21]).parse::<Owner>().is_err());
        assert!(format!("{}/", &owner[..21]).parse::<Owner>().is_err());
    }

    proptest! {
        #[test]
        fn same_millisecond_shares_prefix(ms in 0..1_u64 << 48, a: [u8; 10], b: [u8; 10], other in 0..1_u64 << 48) {
            prop_assert_eq!(VideoId::new(ms, a).timestamp_prefix(), VideoId::new(ms, b).timestamp_prefix());
            prop_assert!(VideoId::new(ms, a).to_string().starts_with(&VideoId::new(ms, a).timestamp_prefix()));
            prop_assume!(ms != other);
            prop_assert_ne!(VideoId::new(ms, a).timestamp_prefix(), VideoId::new(other, a).timestamp_prefix());
        }

        #[test]
        fn video_id_roundtrips(now_ms in 0..=MAX_TIMESTAMP_MS, random: [u8; 10]) {
            let id = VideoId::new(now_ms, random);
            prop_assert_eq!(id.to_string().parse::<VideoId>(), Ok(id));
            prop_assert_eq!(id.timestamp_ms(), now_ms);
        }

        #[test]
        fn accepted_video_id_is_canonical(text in "[0-9a-z]{26}") {
            if let Ok(id) = text.parse::<VideoId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn owner_roundtrips(iss: String, sub: String) {
            let owner = Owner::new(&iss, &sub);
            prop_assert_eq!(owner.to_string().parse::<Owner>(), Ok(owner));
        }
    }
}
