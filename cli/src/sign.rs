//! Tokens and links signed with the deployment's secret, without a request. Pure: the time is an argument.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::secret::Secret;

/// At least 256 random bits, as the deployment requires.
const MIN_SECRET_BYTES: usize = 32;

/// A secret and its name: one pair of `DELIVERY_TOKEN_SECRETS` or `UPLOAD_TOKEN_SECRETS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SigningKey {
    kid: String,
    secret: Secret,
}

impl FromStr for SigningKey {
    type Err = &'static str;

    /// Parses `key=secret`; of several pairs, separated by commas, the first, with which the deployment signs, too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = text.split(',').next().unwrap_or_default().trim();
        let (kid, secret) = pair.split_once('=').ok_or("must be a pair key=secret")?;
        let is_kid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if kid.is_empty() || !kid.bytes().all(is_kid) {
            return Err("must be a pair key=secret, with a key of letters, digits, - and _");
        }
        if secret.len() < MIN_SECRET_BYTES {
            return Err("must have a secret of at least 32 characters");
        }
        Ok(Self { kid: kid.to_owned(), secret: Secret::new(secret) })
    }
}

impl SigningKey {
    /// Path and query of a link, valid until `expires` (Unix seconds): the short form of a delivery token. `path` is
    /// canonical.
    pub(crate) fn sign_path(&self, path: &str, expires: u64) -> String {
        let separator = if path.contains('?') { '&' } else { '?' };
        let text = format!("{path}{separator}expires={expires}&kid={}", self.kid);
        format!("{text}&sig={}", self.mac(&text))
    }

    /// A JSON Web Token of these claims, HS256.
    pub(crate) fn sign_token(&self, claims: &Value) -> String {
        let header = json!({ "alg": "HS256", "kid": self.kid, "typ": "JWT" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(claims));
        format!("{text}.{}", self.mac(&text))
    }

    fn mac(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.expose().as_bytes())
            .expect("HMAC accepts a key of any length");
        mac.update(text.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = "2026=0123456789abcdef0123456789abcdef";

    #[test]
    fn key_is_the_first_pair() {
        let key: SigningKey = format!(" {PAIR}, 2025=x").parse().unwrap();
        assert_eq!(key, PAIR.parse().unwrap());
        assert!(!format!("{key:?}").contains("0123456789abcdef"));
        for wrong in [
            "",
            "2026",
            "=0123456789abcdef0123456789abcdef",
            "a b=0123456789abcdef0123456789abcdef",
            "a=short",
        ] {
            assert!(wrong.parse::<SigningKey>().is_err(), "{wrong}");
        }
    }

    /// Checked with `openssl dgst -sha256 -hmac`.
    #[test]
    fn link_and_token_have_known_signatures() {
        let key: SigningKey = PAIR.parse().unwrap();
        let link = key.sign_path("/v/thumbnail.jpg", 1_800_000_000);
        assert_eq!(
            link,
            "/v/thumbnail.jpg?expires=1800000000&kid=2026&sig=A1oatYwjYXaMElZ-ekUVfl81mJjjCE17dv1_T6EZMaU"
        );
        assert!(key.sign_path("/v/a?b=c", 1).starts_with("/v/a?b=c&expires=1&"));
        let token = key.sign_token(&json!({ "sub": "v" }));
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[1]).unwrap(), br#"{"sub":"v"}"#);
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 32);
    }
}
