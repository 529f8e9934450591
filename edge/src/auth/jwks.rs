//! JSON Web Key Sets ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)): selects the keys that are usable, and
//! decides when a set is refreshed. Pure: callers do the fetching.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use glimpse_contract::{Json, object};

use super::token::{Algorithm, TokenError, UnverifiedToken};

/// How long a fetched set is used before it is fetched again, in milliseconds.
const FRESH_MS: u64 = 10 * 60 * 1000;
/// How long a set is used while its issuer is unreachable, in milliseconds.
const STALE_MS: u64 = 24 * 60 * 60 * 1000;
/// The shortest interval between two fetches caused by an unknown key id or a failed fetch, in milliseconds.
const RETRY_MS: u64 = 60 * 1000;
/// The shortest accepted RSA modulus, in bytes: 2048 bits, RFC 7518 section 3.3.
const MIN_RSA_BYTES: usize = 256;
/// The length of a coordinate of a P-256 key, in bytes.
const COORDINATE_BYTES: usize = 32;

/// A public key, restricted to one algorithm.
#[derive(Debug, Clone, PartialEq)]
pub struct Jwk {
    /// Its key id in the set.
    pub key_id: Option<String>,
    /// The only algorithm that it verifies.
    pub algorithm: Algorithm,
    /// The members of the key itself and no others, ready for import.
    pub members: Json,
}

/// The input of a signature verification.
#[derive(Debug)]
pub struct Verification<'a> {
    /// The matching key.
    pub key: &'a Jwk,
    /// The signed bytes.
    pub signing_input: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// The usable keys of an issuer, and the time of their fetch.
#[derive(Debug, Clone, Default)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    /// How many times the keys were replaced.
    version: u64,
    fetched_at_ms: Option<u64>,
    tried_at_ms: Option<u64>,
    /// Deadline of the fetch in progress.
    refresh_deadline_ms: Option<u64>,
}

/// How a request obtains a key of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshDecision {
    /// Use the set as it is.
    UseCached,
    /// Fetch the set; the other requests wait.
    Refresh,
    /// Wait: another request is fetching the set.
    WaitForOther,
}

impl Jwk {
    /// The verification of a token with this key.
    ///
    /// # Errors
    /// A signature whose length does not match the key.
    pub fn verification<'a>(
        &'a self,
        token: &'a UnverifiedToken<'_>,
    ) -> Result<Verification<'a>, TokenError> {
        // RFC 7518 section 3.4 and RFC 8032: both signatures are 64 bytes. DER and trailing bytes are invalid.
        let has_fixed_length = matches!(self.algorithm, Algorithm::Es256 | Algorithm::EdDsa);
        if has_fixed_length && token.signature.len() != 64 {
            return Err(TokenError::Signature);
        }
        Ok(Verification {
            key: self,
            signing_input: token.signing_input.as_bytes(),
            signature: &token.signature,
        })
    }
}

/// Parses a configured set. `None` unless all of its keys are usable, each with a unique key id.
pub fn parse_jwks(text: &str) -> Option<Vec<Jwk>> {
    let document = Json::parse(text.as_bytes())?;
    let keys: Vec<Jwk> = document.get("keys").as_array()?.iter().map(parse_jwk).collect::<Option<_>>()?;
    let is_named = |(place, key): (usize, &Jwk)| {
        key.key_id.is_some() && keys[..place].iter().all(|other| other.key_id != key.key_id)
    };
    (!keys.is_empty() && keys.iter().enumerate().all(is_named)).then_some(keys)
}

impl JwkSet {
    /// Whether to fetch the set before this token is verified: it is missing or old, or lacks the key that the token
    /// names. At most once a minute.
    pub fn needs_refresh(&self, token: &UnverifiedToken<'_>, now_ms: u64) -> bool {
        if self.tried_at_ms.is_some_and(|tried| now_ms < tried + RETRY_MS) {
            return false;
        }
        self.fetched_at_ms.is_none_or(|fetched| now_ms >= fetched + FRESH_MS) || self.find(token).is_none()
    }

    /// The next action before this token is verified. Of concurrent requests, one fetches the set; requests that can
    /// use the cached set do not wait for it.
    pub fn decide(&self, token: &UnverifiedToken<'_>, now_ms: u64) -> RefreshDecision {
        if !self.needs_refresh(token, now_ms) {
            return RefreshDecision::UseCached;
        }
        if self.refresh_deadline_ms.is_none_or(|until| now_ms >= until) {
            return RefreshDecision::Refresh;
        }
        if self.verification(token, now_ms).is_ok() {
            RefreshDecision::UseCached
        } else {
            RefreshDecision::WaitForOther
        }
    }

    /// Records that a fetch is in progress. After the deadline, other requests no longer wait for it.
    pub fn begin_refresh(&mut self, deadline_ms: u64) {
        self.refresh_deadline_ms = Some(deadline_ms);
    }

    /// Records the result of a fetch: a set with a usable key replaces the old one; otherwise the old one stays.
    pub fn finish_refresh(&mut self, body: Option<&[u8]>, now_ms: u64) {
        self.tried_at_ms = Some(now_ms);
        self.refresh_deadline_ms = None;
        let document = body.and_then(Json::parse).unwrap_or_default();
        let keys: Vec<Jwk> =
            document.get("keys").as_array().unwrap_or_default().iter().filter_map(parse_jwk).collect();
        if !keys.is_empty() {
            self.keys = keys;
            self.version += 1;
            self.fetched_at_ms = Some(now_ms);
        }
    }

    /// The version of the keys: each fetch that replaces them makes another.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version of the keys, as long as the set is not old enough to be fetched again.
    pub fn fresh_version(&self, now_ms: u64) -> Option<u64> {
        let is_fresh = self.fetched_at_ms.is_some_and(|fetched| now_ms < fetched + FRESH_MS);
        is_fresh.then_some(self.version)
    }

    /// The verification of a token.
    ///
    /// # Errors
    /// No matching key, or a set that is too old.
    pub fn verification<'a>(
        &'a self,
        token: &'a UnverifiedToken<'_>,
        now_ms: u64,
    ) -> Result<Verification<'a>, TokenError> {
        if self.fetched_at_ms.is_none_or(|fetched| now_ms >= fetched + STALE_MS) {
            return Err(TokenError::NoKey);
        }
        self.find(token).ok_or(TokenError::NoKey)?.verification(token)
    }

    fn find(&self, token: &UnverifiedToken<'_>) -> Option<&Jwk> {
        let mut matching = self.keys.iter().filter(|key| key.algorithm == token.algorithm);
        match &token.key_id {
            Some(id) => matching.find(|key| key.key_id.as_ref() == Some(id)),
            // Without a key id, exactly one key must match.
            None => matching.next().filter(|_| matching.next().is_none()),
        }
    }
}

/// Returns the key if it is public, strong enough, meant for signatures, and of a supported algorithm.
fn parse_jwk(members: &Json) -> Option<Jwk> {
    let text = |name: &str| members.get(name).as_str();
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if *members.get("key_ops") != Json::Null {
        members.get("key_ops").as_array()?.iter().find(|operation| operation.as_str() == Some("verify"))?;
    }
    let (algorithm, public_members) = match (text("kty")?, text("crv")) {
        ("RSA", None) => {
            let modulus = decode_integer(text("n")?, 0)?;
            let exponent = decode_integer(text("e")?, 0)?;
            let is_odd = exponent.last().is_some_and(|last| last % 2 == 1);
            if modulus.len() < MIN_RSA_BYTES || !is_odd || exponent == [1] {
                return None;
            }
            (
                Algorithm::Rs256,
                object! { "kty" => "RSA", "n" => encode_base64url(&modulus), "e" => encode_base64url(&exponent) },
            )
        }
        ("EC", Some("P-256")) => {
            let [x, y] = [
                decode_integer(text("x")?, COORDINATE_BYTES)?,
                decode_integer(text("y")?, COORDINATE_BYTES)?,
            ];
            let members = object! { "kty" => "EC", "crv" => "P-256", "x" => encode_base64url(&x), "y" => encode_base64url(&y) };
            (Algorithm::Es256, members)
        }
        ("OKP", Some("Ed25519")) => {
            let point = decode_base64url(text("x")?)?;
            check_ed25519_point(&point)?;
            (
                Algorithm::EdDsa,
                object! { "kty" => "OKP", "crv" => "Ed25519", "x" => encode_base64url(&point) },
            )
        }
        _ => return None,
    };
    if let Some(declared) = text("alg") {
        let is_match = match algorithm {
            Algorithm::Rs256 => declared == "RS256",
            Algorithm::Es256 => declared == "ES256",
            Algorithm::EdDsa => declared == "EdDSA" || declared == "Ed25519",
            Algorithm::Hs256 => false,
        };
        if !is_match {
            return None;
        }
    }
    Some(Jwk { key_id: text("kid").map(str::to_owned), algorithm, members: public_members })
}

/// Checks that this is the canonical encoding of a point, and not one of small order. A signature by a point of small
/// order is valid for every message, RFC 8032 section 8 and <https://eprint.iacr.org/2020/1244>.
fn check_ed25519_point(encoded: &[u8]) -> Option<()> {
    /// The y coordinates of the points of order 1, 2, 4 or 8, in little-endian bytes.
    const SMALL_ORDER: [[u8; 32]; 5] = [
        from_low_byte(0),
        from_low_byte(1),
        // Two points of order 8 and their negatives.
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        // p - 1
        below_2_255(0xec),
    ];
    /// p = 2^255 - 19
    const P: [u8; 32] = below_2_255(0xed);
    let mut y: [u8; 32] = encoded.try_into().ok()?;
    // The highest bit is the sign of x.
    y[31] &= 0x7f;
    let is_below_p = y.iter().rev().lt(P.iter().rev());
    (is_below_p && !SMALL_ORDER.contains(&y)).then_some(())
}

/// A one-byte number, in 32 bytes.
const fn from_low_byte(low: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = low;
    bytes
}

/// A number just below 2^255, by its lowest byte.
const fn below_2_255(low: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = low;
    bytes[31] = 0x7f;
    bytes
}

/// Decodes a member of a key. Some issuers pad them.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok().filter(|bytes| !bytes.is_empty())
}

fn encode_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An unsigned integer of at least this many bytes. RFC 7518 forbids a leading zero octet in a modulus (section
/// 6.3.1.1) and requires leading zeros of a coordinate (section 6.2.1.2); libraries violate both, and WebCrypto imports
/// neither.
fn decode_integer(text: &str, min_bytes: usize) -> Option<Vec<u8>> {
    let bytes = decode_base64url(text)?;
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let significant = &bytes[first..];
    let mut padded = vec![0; min_bytes.saturating_sub(significant.len())];
    padded.extend_from_slice(significant);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::verified::{TokenDigest, VerifiedTokens};

    fn rsa(bytes: usize) -> Value {
        json!({ "kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode(vec![0xab; bytes]), "e": "AQAB" })
    }

    fn ec(kid: &str) -> Value {
        json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": "AA", "y": "AA" })
    }

    fn with_member(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn set(keys: &[Value], now_ms: u64) -> JwkSet {
        let mut set = JwkSet::default();
        set.finish_refresh(Some(json!({ "keys": keys }).to_string().as_bytes()), now_ms);
        set
    }

    fn token(header: &str) -> String {
        format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode("{}"),
            URL_SAFE_NO_PAD.encode([1; 64])
        )
    }

    #[test]
    fn key_matches_only_its_algorithm() {
        let set = set(&[rsa(256), ec("e")], 0);
        for (header, fits) in [
            (r#"{"alg":"RS256","kid":"r"}"#, true),
            (r#"{"alg":"ES256","kid":"e"}"#, true),
            (r#"{"alg":"ES256"}"#, true),
            (r#"{"alg":"ES256","kid":"r"}"#, false),
            (r#"{"alg":"HS256","kid":"r"}"#, false),
            (r#"{"alg":"EdDSA","kid":"e"}"#, false),
            (r#"{"alg":"RS256","kid":"../r"}"#, false),
        ] {
            let text = token(header);
            let token = UnverifiedToken::parse(&text).unwrap();
            assert_eq!(set.verification(&token, 1).is_ok(), fits, "{header}");
        }
    }

    #[test]
    fn token_without_kid_needs_single_match() {
        let text = token(r#"{"alg":"ES256"}"#);
        let token = UnverifiedToken::parse(&text).unwrap();
        assert!(set(&[ec("a"), ec("b")], 0).verification(&token, 1).is_err());
    }

    /// Row J7 of the threat model.
    #[test]
    fn rejects_weak_or_unusable_keys() {
        for key in [
            rsa(255),
            with_member(rsa(256), "e", json!("AQ")),
            with_member(rsa(256), "e", json!("Ag")),
            with_member(rsa(256), "alg", json!("RS512")),
            with_member(rsa(256), "use", json!("enc")),
            with_member(rsa(256), "key_ops", json!(["sign"])),
            with_member(ec("e"), "crv", json!("P-384")),
            with_member(ec("e"), "alg", json!("HS256")),
            json!({ "kty": "oct", "k": "c2VjcmV0" }),
            json!({ "kty": "RSA" }),
            with_member(rsa(256), "n", json!(URL_SAFE_NO_PAD.encode([vec![0; 2], vec![0xab; 255]].concat()))),
            with_member(rsa(256), "n", json!(URL_SAFE_NO_PAD.encode([0; 256]))),
            with_member(rsa(256), "e", json!("AAE")),
            with_member(rsa(256), "e", json!("AAA")),
        ] {
            assert!(set(std::slice::from_ref(&key), 0).keys.is_empty(), "{key} was accepted");
        }
        assert_eq!(set(&[with_member(rsa(256), "use", json!("sig"))], 0).keys.len(), 1, "the control");
    }

    /// Row J7 of the threat model: every signature verifies with these keys.
    #[test]
    fn rejects_small_order_ed25519_points() {
        let is_accepted = |bytes: &[u8]| {
            let key =
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": "o", "x": URL_SAFE_NO_PAD.encode(bytes) });
            let in_set = set(std::slice::from_ref(&key), 0).keys.len() == 1;
            assert_eq!(in_set, parse_jwks(&json!({ "keys": [key] }).to_string()).is_some());
            in_set
        };
        let point = |text: &str| hex::decode(text).unwrap();
        // RFC 8032, section 7.1, test 1, and the base point.
        let good = point("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert!(is_accepted(&good), "the control");
        assert!(is_accepted(&[&[0x58][..], &[0x66; 31]].concat()), "the base point");
        for y in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            // Not below p: other encodings of 0, 1 and 18.
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let mut bytes = point(y);
            assert!(!is_accepted(&bytes), "{y}");
            bytes[31] |= 0x80;
            assert!(!is_accepted(&bytes), "{y} with the sign bit");
        }
        assert!(!is_accepted(&good[..31]) && !is_accepted(&[&good[..], &[0]].concat()), "32 bytes");
    }

    #[test]
    fn keeps_only_public_members() {
        let set = set(&[with_member(ec("e"), "x5u", json!("https://evil.example"))], 0);
        let zero = URL_SAFE_NO_PAD.encode([0; 32]);
        assert_eq!(
            set.keys[0].members,
            object! { "kty" => "EC", "crv" => "P-256", "x" => &zero, "y" => &zero }
        );
    }

    /// Keys with the leading zeros of Java's and .NET's big integers are rewritten so that WebCrypto imports them.
    #[test]
    fn normalizes_leading_zeros_and_padding() {
        let canonical = set(&[rsa(256)], 0).keys[0].members.clone();
        let modulus = [vec![0], vec![0xab; 256]].concat();
        for (name, value) in [
            ("n", URL_SAFE_NO_PAD.encode(&modulus)),
            ("n", base64::engine::general_purpose::URL_SAFE.encode([0xab; 256])),
            ("e", URL_SAFE_NO_PAD.encode([0, 1, 0, 1])),
        ] {
            let set = set(&[with_member(rsa(256), name, json!(value))], 0);
            assert_eq!(set.keys.first().map(|key| &key.members), Some(&canonical), "{name}");
        }
        let short = URL_SAFE_NO_PAD.encode([7; 31]);
        let whole = URL_SAFE_NO_PAD.encode([vec![0], vec![7; 31]].concat());
        let key = set(&[with_member(ec("e"), "x", json!(short))], 0).keys.remove(0);
        assert_eq!(key.members.get("x").as_str(), Some(whole.as_str()));
    }

    /// Row J3 of the threat model, the part before WebCrypto, which verifies the signature itself.
    #[test]
    fn rejects_der_signature() {
        let set = set(&[ec("e")], 0);
        let text = token(r#"{"alg":"ES256"}"#) + "AA";
        let token = UnverifiedToken::parse(&text);
        assert!(token.is_err() || set.verification(&token.unwrap(), 1).is_err());
    }

    /// Row J8 of the threat model: one fetch at a time.
    #[test]
    fn concurrent_refresh_fetches_once() {
        let text = token(r#"{"alg":"ES256","kid":"e"}"#);
        let token = UnverifiedToken::parse(&text).unwrap();
        let document = json!({ "keys": [ec("e")] }).to_string();
        let mut set = JwkSet::default();
        assert_eq!(set.decide(&token, 0), RefreshDecision::Refresh);
        set.begin_refresh(3000);
        assert_eq!(
            (set.decide(&token, 0), set.decide(&token, 2999)),
            (RefreshDecision::WaitForOther, RefreshDecision::WaitForOther)
        );
        assert_eq!(set.decide(&token, 3000), RefreshDecision::Refresh, "the first fetch timed out");
        set.begin_refresh(6000);
        set.finish_refresh(Some(document.as_bytes()), 3100);
        assert_eq!(set.decide(&token, 3100), RefreshDecision::UseCached);

        let old = 3100 + FRESH_MS;
        assert_eq!(set.decide(&token, old), RefreshDecision::Refresh);
        set.begin_refresh(old + 3000);
        assert_eq!(set.decide(&token, old), RefreshDecision::UseCached, "an old key is still valid");
        set.finish_refresh(None, old);
        let unknown = self::token(r#"{"alg":"ES256","kid":"new"}"#);
        let unknown = UnverifiedToken::parse(&unknown).unwrap();
        assert_eq!(
            set.decide(&unknown, old),
            RefreshDecision::UseCached,
            "a failed fetch is not retried immediately"
        );
        assert_eq!(set.decide(&unknown, old + RETRY_MS), RefreshDecision::Refresh);
        set.begin_refresh(old + RETRY_MS + 3000);
        assert_eq!(
            set.decide(&unknown, old + RETRY_MS),
            RefreshDecision::WaitForOther,
            "the old set does not contain the key"
        );
    }

    /// Rows J2 and J8 of the threat model.
    #[test]
    fn unknown_kid_refetches_at_most_once_per_minute() {
        let mut set = set(&[ec("e")], 0);
        let known = token(r#"{"alg":"ES256","kid":"e"}"#);
        let unknown = token(r#"{"alg":"ES256","kid":"new"}"#);
        let known = UnverifiedToken::parse(&known).unwrap();
        let unknown = UnverifiedToken::parse(&unknown).unwrap();
        assert!(!set.needs_refresh(&unknown, RETRY_MS - 1), "just fetched");
        assert!(set.needs_refresh(&unknown, RETRY_MS));
        assert!(!set.needs_refresh(&known, RETRY_MS), "a known key needs no fetch");

        for bad in [None, Some(&b"<html>"[..]), Some(b"{\"keys\":[]}"), Some(b"{}"), Some(b"")] {
            set.finish_refresh(bad, RETRY_MS);
            assert!(set.verification(&known, RETRY_MS).is_ok(), "a usable set is kept");
        }
        assert!(!set.needs_refresh(&unknown, RETRY_MS + 1), "at most one fetch per minute");
        assert!(set.needs_refresh(&known, FRESH_MS), "old");
        assert!(set.verification(&known, STALE_MS - 1).is_ok(), "stale, but the issuer is unreachable");
        assert!(set.verification(&known, STALE_MS).is_err(), "too old to be trusted");
    }

    /// Row J12 of the threat model: a verification is remembered for the keys that made it.
    #[test]
    fn removed_key_ends_remembered_tokens() {
        let (mut set, mut known) = (set(&[ec("e")], 0), VerifiedTokens::new());
        let digest = TokenDigest::new("a.b.c");
        known.insert(digest, "carol", set.version(), 3600, 0);
        let find = |set: &JwkSet, known: &VerifiedTokens<&'static str>, now_ms: u64| {
            set.fresh_version(now_ms).and_then(|keys| known.get(digest, keys, now_ms))
        };
        assert_eq!(find(&set, &known, 1000), Some("carol"), "the control");
        set.finish_refresh(None, 1000);
        assert_eq!(find(&set, &known, 1000), Some("carol"), "a failed fetch replaces no key");
        set.finish_refresh(Some(json!({ "keys": [ec("new")] }).to_string().as_bytes()), 2000);
        assert_eq!(find(&set, &known, 2000), None);

        // A set that is due to be fetched vouches for no token: its issuer may have removed the key.
        known.insert(digest, "carol", set.version(), 3600, FRESH_MS);
        assert_eq!(find(&set, &known, 2000 + FRESH_MS - 1), Some("carol"), "the control");
        assert_eq!(find(&set, &known, 2000 + FRESH_MS), None);
        assert_eq!(find(&JwkSet::default(), &known, FRESH_MS), None);
    }
}
