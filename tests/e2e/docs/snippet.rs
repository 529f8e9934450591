//! The Rust snippet of docs/private-videos.md, verbatim; the tests of `private` compare the two.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

fn sign(text: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(text.as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// Path and query of the link to a private picture; `target` is such as `/{video}/thumbnail.jpg?time=10`.
pub fn picture_path(target: &str, expires: u64, kid: &str, secret: &str) -> String {
    let joint = if target.contains('?') { '&' } else { '?' };
    let path = format!("{target}{joint}expires={expires}&kid={kid}");
    format!("{path}&sig={}", sign(&path, secret))
}

/// A JWT of these claims: `sub`, `aud`, `exp` and the picture's parameters.
pub fn picture_token(claims: &Value, kid: &str, secret: &str) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT", "kid": kid });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    format!("{signed}.{}", sign(&signed, secret))
}
