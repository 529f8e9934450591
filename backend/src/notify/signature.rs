//! Decides how a webhook proves that it is ours, in two spellings under the same secrets. Pure.
//!
//! Standard Webhooks, <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>:
//! base64 of HMAC-SHA256 over `id.timestamp.body`, by the bytes that a secret's base64 stands for. And as Mux and
//! Stripe sign, <https://www.mux.com/docs/core/verify-webhook-signatures>: hexadecimal digits of HMAC-SHA256 over
//! `timestamp.body`, by the secret's text as it stands. While a secret is changed for another, each signs.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

/// The header of the second spelling, `t=…,v1=…`.
pub const SIGNATURE_HEADER: &str = "glimpse-signature";

/// How many bytes a secret may stand for, as Standard Webhooks says.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A text that is not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a secret is `whsec_` and the base64 of 24 to 64 random bytes")]
pub struct ParseWebhookSecretError;

/// What signatures are made with. It never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret {
    text: String,
    bytes: Vec<u8>,
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for WebhookSecret {
    type Err = ParseWebhookSecretError;

    fn from_str(text: &str) -> Result<Self, ParseWebhookSecretError> {
        let encoded = text.strip_prefix("whsec_").ok_or(ParseWebhookSecretError)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| ParseWebhookSecretError)?;
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(ParseWebhookSecretError);
        }
        Ok(Self { text: text.to_owned(), bytes })
    }
}

/// The headers that a receiver verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSignature {
    /// `webhook-id`
    pub id: String,
    /// `webhook-timestamp`, Unix seconds.
    pub timestamp: String,
    /// `webhook-signature`: `v1,` and base64, one for each secret, spaces between.
    pub standard_header: String,
    /// [`SIGNATURE_HEADER`]
    pub glimpse_header: String,
}

/// Signs a message for one attempt, by every secret.
pub fn sign(id: &str, now_secs: u64, body: &[u8], secrets: &[WebhookSecret]) -> WebhookSignature {
    let timestamp = now_secs.to_string();
    let standard_header: Vec<_> = secrets
        .iter()
        .map(|secret| hmac(&secret.bytes, &[id.as_bytes(), timestamp.as_bytes(), body]))
        .map(|mac| format!("v1,{}", STANDARD.encode(mac)))
        .collect();
    let mut glimpse_header = format!("t={timestamp}");
    for secret in secrets {
        let mac = hmac(secret.text.as_bytes(), &[timestamp.as_bytes(), body]);
        glimpse_header.push_str(",v1=");
        glimpse_header.extend(mac.iter().map(|byte| format!("{byte:02x}")));
    }
    WebhookSignature {
        id: id.to_owned(),
        timestamp,
        standard_header: standard_header.join(" "),
        glimpse_header,
    }
}

/// HMAC-SHA256 over the parts with dots between.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            mac.update(b".");
        }
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl";
    const ID: &str = "msg_loFOjxBNrRLzqYUf";
    const NOW: u64 = 1_731_705_121;
    const BODY: &[u8] = br#"{"event_type":"ping","data":{"success":true}}"#;

    fn secret(text: &str) -> WebhookSecret {
        text.parse().unwrap()
    }

    /// The vector that Svix, the specification's first author, publishes:
    /// <https://docs.svix.com/receiving/verifying-payloads/how-manual>. The bytes of this secret are 18, fewer than the
    /// specification asks of one that is made today, so it is put together by hand.
    #[test]
    fn matches_published_svix_vector() {
        let bytes = STANDARD.decode(&SECRET["whsec_".len()..]).unwrap();
        let signed = sign(ID, NOW, BODY, &[WebhookSecret { text: SECRET.into(), bytes }]);
        assert_eq!(signed.standard_header, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
        assert_eq!((signed.id.as_str(), signed.timestamp.as_str()), (ID, "1731705121"));
    }

    #[test]
    fn each_secret_signs_both_headers() {
        let old = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let new = secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let both = sign(ID, NOW, BODY, &[new.clone(), old.clone()]);
        let [by_new, by_old] = [new, old].map(|secret| sign(ID, NOW, BODY, &[secret]));
        assert_eq!(both.standard_header, format!("{} {}", by_new.standard_header, by_old.standard_header));
        let old_alone = by_old.glimpse_header.strip_prefix("t=1731705121").unwrap();
        assert_eq!(both.glimpse_header, format!("{}{old_alone}", by_new.glimpse_header));
        assert_eq!(by_new.glimpse_header.len(), "t=1731705121,v1=".len() + 64);
        assert_ne!(by_new.standard_header, by_old.standard_header);
    }

    #[test]
    fn secret_is_validated_and_hidden_in_debug() {
        for text in [
            "",
            "whsec_",
            "plJ3nmyCDGBKInavdOK15jslplJ3nmyC",
            SECRET,
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_",
            "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert_eq!(text.parse::<WebhookSecret>(), Err(ParseWebhookSecretError), "{text}");
        }
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        assert!(long.parse::<WebhookSecret>().is_err());
        let good = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(format!("{good:?}"), "***");
    }
}
