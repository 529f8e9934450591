//! Signatures of webhooks, in two formats with the same secrets. Pure.
//!
//! Standard Webhooks, <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>:
//! base64 of the HMAC-SHA256 over `id.timestamp.body`, with the bytes that the secret's base64 encodes as the key. And
//! the format of Mux and Stripe, <https://www.mux.com/docs/core/verify-webhook-signatures>: the HMAC-SHA256 over
//! `timestamp.body` in hexadecimal, with the text of the secret as the key. During the rotation of a secret, each of
//! them signs.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

/// The header of the second format, `t=…,v1=…`.
pub const SIGNATURE_HEADER: &str = "glimpse-signature";

/// The length of a secret in bytes, from Standard Webhooks.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The text is not a valid secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a secret must be `whsec_` followed by the base64 of 24 to 64 random bytes")]
pub struct ParseWebhookSecretError;

/// A signing secret. Its `Debug` output is redacted.
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

/// The signature headers of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSignature {
    /// `webhook-id`
    pub id: String,
    /// `webhook-timestamp`, Unix seconds.
    pub timestamp: String,
    /// `webhook-signature`: for each secret, `v1,` and base64, separated by spaces.
    pub standard_header: String,
    /// [`SIGNATURE_HEADER`]
    pub glimpse_header: String,
}

/// Signs a message for one attempt, with every secret.
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

/// HMAC-SHA256 over the parts, joined with dots.
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

    /// The test vector of Svix, the first author of the specification:
    /// <https://docs.svix.com/receiving/verifying-payloads/how-manual>. Its secret has 18 bytes, fewer than the
    /// specification requires of new ones, so it is constructed here without the parser.
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
