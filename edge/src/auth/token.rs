//! Strict parser, signer and HS256 verifier of JSON Web Tokens in the compact form of [RFC
//! 7515](https://www.rfc-editor.org/rfc/rfc7515).
//!
//! A token never chooses its algorithm: [`UnverifiedToken::algorithm`] is only compared with that of the key. `jku`,
//! `x5u`, `x5c` and `jwk` of a header are ignored; `crit` is rejected, since no extension is supported.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use glimpse_contract::{Json, object};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

use super::Secret;

/// The longest accepted token, in bytes: Microsoft Entra puts up to 200 groups into a token, and each may have roles.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_KID_BYTES: usize = 128;

/// The supported signature algorithms, RFC 7518 and RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "RS256" => Self::Rs256,
            "ES256" => Self::Es256,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// Why a token is rejected. A client learns only what the signature has proven, so that there is no oracle; the log
/// contains the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not three strict base64url segments of JSON and a signature.
    #[error("malformed token")]
    Malformed,
    /// An algorithm, key or header parameter that this deployment does not accept.
    #[error("no matching key")]
    NoKey,
    /// The signature does not match the key.
    #[error("wrong signature")]
    Signature,
    /// Issued by or for another party.
    #[error("wrong issuer, audience or subject")]
    WrongIssuerOrAudience,
    /// It has expired.
    #[error("expired")]
    Expired,
    /// It is not valid yet.
    #[error("not valid yet")]
    NotYetValid,
    /// Its expiry is too far in the future.
    #[error("valid for too long")]
    LifetimeTooLong,
    /// A delivery token for another video.
    #[error("for another video")]
    WrongVideo,
    /// A delivery token for another kind of file.
    #[error("for another kind of file")]
    WrongKind,
}

/// A parsed token, not verified.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    /// The algorithm in the header.
    pub algorithm: Algorithm,
    /// The key id in the header.
    pub key_id: Option<String>,
    /// The signed text.
    pub signing_input: &'a str,
    /// The bytes of the signature.
    pub signature: Vec<u8>,
    claims: Vec<u8>,
}

impl<'a> UnverifiedToken<'a> {
    /// Splits and parses a compact token.
    ///
    /// # Errors
    /// Not three unpadded base64url segments, a header with an unsupported algorithm, or claims that are not an object.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signing_input.split_once('.').ok_or(TokenError::Malformed)?;
        let header = Json::parse(&decode(header)?).ok_or(TokenError::Malformed)?;
        let get = |name| header.get_opt_str(name).map_err(|_| TokenError::Malformed);
        let (algorithm, key_id) = (get("alg")?.ok_or(TokenError::Malformed)?, get("kid")?);
        // RFC 7515 section 4.1.9: `application/` may be omitted, and the case of a media type does not matter.
        let has_wrong_typ = get("typ")?.is_some_and(|typ| {
            let typ = typ.to_ascii_lowercase();
            !["jwt", "at+jwt"].contains(&typ.strip_prefix("application/").unwrap_or(&typ))
        });
        let has_long_kid = key_id.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES);
        let is_detached = !matches!(header.get("b64"), Json::Null | Json::Bool(true));
        if *header.get("crit") != Json::Null || is_detached || has_wrong_typ || has_long_kid {
            return Err(TokenError::NoKey);
        }
        Ok(Self {
            algorithm: Algorithm::parse(&algorithm).ok_or(TokenError::NoKey)?,
            key_id,
            signing_input,
            signature: decode(signature)?,
            claims: decode(claims)?,
        })
    }

    /// Parses the claims. They must not be used before the signature is verified.
    ///
    /// # Errors
    /// Claims that are not an object; a duplicate name.
    pub fn claims(&self) -> Result<Json, TokenError> {
        Json::parse(&self.claims).filter(Json::is_object).ok_or(TokenError::Malformed)
    }

    /// Verifies the signature with a secret, in constant time.
    ///
    /// # Errors
    /// A token of another algorithm, or a wrong signature.
    pub fn check_hs256(&self, secret: &Secret) -> Result<(), TokenError> {
        if self.algorithm != Algorithm::Hs256 {
            return Err(TokenError::NoKey);
        }
        mac(self.signing_input, secret).verify_slice(&self.signature).map_err(|_| TokenError::Signature)
    }
}

/// Verifies a token with a secret, in constant time.
///
/// # Errors
/// A malformed token, one of another algorithm, or a wrong signature.
pub fn verify_hs256(text: &str, secret: &Secret) -> Result<Json, TokenError> {
    let token = UnverifiedToken::parse(text)?;
    token.check_hs256(secret)?;
    token.claims()
}

/// Signs a token with HS256.
pub fn sign_hs256(claims: &Json, secret: &Secret) -> String {
    sign_with_header(&object! { "alg" => "HS256", "typ" => "JWT" }, claims, secret)
}

/// Signs a token with HS256, with the key id in its header.
pub fn sign_hs256_with_kid(key_id: &str, claims: &Json, secret: &Secret) -> String {
    sign_with_header(&object! { "alg" => "HS256", "kid" => key_id, "typ" => "JWT" }, claims, secret)
}

fn sign_with_header(header: &Json, claims: &Json, secret: &Secret) -> String {
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(mac(&token, secret).finalize().into_bytes());
    token.push('.');
    token.push_str(&signature);
    token
}

pub(super) fn mac(signing_input: &str, secret: &Secret) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC accepts a key of any length");
    mac.update(signing_input.as_bytes());
    mac
}

pub(super) fn decode(segment: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::Claims;

    fn verify(text: &str) -> Result<Claims, TokenError> {
        Claims::from_json(&verify_hs256(text, &secret())?)
    }

    fn secret() -> Secret {
        Secret::new(b"0123456789abcdef0123456789abcdef".to_vec())
    }

    fn token(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(mac(&signed, &secret()).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    const CLAIMS: &str = r#"{"iss":"i","sub":"s","aud":"a","exp":2000000000}"#;

    #[test]
    fn accepts_own_tokens() {
        let good = token(r#"{"alg":"HS256"}"#, CLAIMS);
        assert_eq!(verify(&good).unwrap().sub, "s");
    }

    /// The key and token of RFC 7515, appendix A.1.
    #[test]
    fn accepts_rfc_7515_example() {
        let key = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        let text = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let token = UnverifiedToken::parse(text).unwrap();
        mac(token.signing_input, &Secret::new(key)).verify_slice(&token.signature).unwrap();
    }

    /// Rows J1, J2 and J4 of the threat model, each beside a control that verifies.
    #[test]
    fn rejects_other_algorithms_headers_and_spellings() {
        let good = token(r#"{"alg":"HS256"}"#, CLAIMS);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let cases = [
            ("J1 none", token(r#"{"alg":"none"}"#, CLAIMS)),
            ("J1 None", token(r#"{"alg":"None"}"#, CLAIMS)),
            ("J1 no alg", token("{}", CLAIMS)),
            ("J1 unsigned", format!("{signed}.")),
            ("J1 another supported algorithm", token(r#"{"alg":"RS256"}"#, CLAIMS)),
            ("J1 stronger", token(r#"{"alg":"HS512"}"#, CLAIMS)),
            ("J2 crit", token(r#"{"alg":"HS256","crit":["x"]}"#, CLAIMS)),
            ("J2 b64", token(r#"{"alg":"HS256","b64":false}"#, CLAIMS)),
            ("J2 huge kid", token(&format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(129)), CLAIMS)),
            ("J2 kid is a number", token(r#"{"alg":"HS256","kid":1}"#, CLAIMS)),
            ("J4 padding", format!("{good}=")),
            ("J4 plain base64", good.replace('_', "/").replace('-', "+") + "+"),
            ("J4 white space", format!(" {good}")),
            ("J4 five segments", format!("{good}.e30.e30")),
            ("J4 two segments", signed.to_owned()),
            ("J4 two alg", token(r#"{"alg":"HS256","alg":"HS256"}"#, CLAIMS)),
            ("J4 two sub", token(r#"{"alg":"HS256"}"#, &CLAIMS.replace('{', r#"{"sub":"t","#))),
            (
                "J4 long",
                token(r#"{"alg":"HS256"}"#, &CLAIMS.replace("\"s\"", &format!("\"{}\"", "s".repeat(16_384)))),
            ),
            ("J4 JSON form", r#"{"payload":"e30","signatures":[]}"#.to_owned()),
            ("J6 other type", token(r#"{"alg":"HS256","typ":"dpop+jwt"}"#, CLAIMS)),
            ("J6 a type of events", token(r#"{"alg":"HS256","typ":"application/secevent+jwt"}"#, CLAIMS)),
            ("J6 a prefix twice", token(r#"{"alg":"HS256","typ":"application/application/jwt"}"#, CLAIMS)),
            ("J6 type is a number", token(r#"{"alg":"HS256","typ":1}"#, CLAIMS)),
            (
                "tampered",
                good.replace(
                    signed.split_once('.').unwrap().1,
                    &URL_SAFE_NO_PAD.encode(CLAIMS.replace("\"s\"", "\"t\"")),
                ),
            ),
            ("cut", format!("{signed}.{}", &signature[..20])),
        ];
        assert!(verify(&good).is_ok(), "the control");
        for (what, text) in cases {
            assert!(verify(&text).is_err(), "{what} was accepted");
        }
    }

    #[test]
    fn accepts_every_spelling_of_typ() {
        for typ in
            ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "Application/JWT", "application/at+jwt"]
        {
            let text = token(&format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#), CLAIMS);
            assert!(verify(&text).is_ok(), "{typ}");
        }
    }

    #[test]
    fn accepts_16_kib_token() {
        let groups = |count: usize| {
            let groups = vec!["\"00000000-0000-0000-0000-000000000000\""; count].join(",");
            token(r#"{"alg":"HS256"}"#, &CLAIMS.replace('}', &format!(r#","groups":[{groups}]}}"#)))
        };
        let long = groups(300);
        assert!((15_500..=MAX_TOKEN_BYTES).contains(&long.len()), "{}", long.len());
        assert!(verify(&long).is_ok());
        assert!(verify(&groups(400)).is_err(), "the control");
    }

    #[test]
    fn rejects_other_secret() {
        let good = token(r#"{"alg":"HS256"}"#, CLAIMS);
        assert_eq!(verify_hs256(&good, &Secret::new(vec![1; 32])).unwrap_err(), TokenError::Signature);
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in "[A-Za-z0-9_.=-]{0,200}") {
            let _ = verify(&text);
        }

        #[test]
        fn rejects_one_changed_character(place in 0_usize..150, letter in "[A-Za-z0-9_-]") {
            let good = token(r#"{"alg":"HS256"}"#, CLAIMS);
            let place = place % good.len();
            let mut text = good.clone();
            text.replace_range(place..=place, &letter);
            prop_assert_eq!(verify(&text).is_ok(), text == good);
        }
    }
}
