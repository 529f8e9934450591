//! The Rust snippet of docs/uploads.md, verbatim; `mod.rs` compares the two.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;

/// `now` in Unix seconds; `jti` is random.
pub fn upload_token(secret: &str, user: &str, now: u64, jti: &str) -> String {
    let claims = json!({
        "iss": "https://id.example.com", "sub": user, "aud": "https://video.example.com/u",
        "iat": now, "exp": now + 3600, "jti": jti, "max_bytes": 100_000_000,
    });
    let header = json!({ "alg": "HS256", "typ": "JWT", "kid": "2026" });
    let signed = [header, claims].map(|part| BASE64.encode(part.to_string())).join(".");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(mac.finalize().into_bytes()))
}
