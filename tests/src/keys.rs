//! Decides which tokens the stories carry: good ones, and each kind of bad one, made by Node's own crypto.

use std::process::Command;

use glimpse_contract::Json;
use glimpse_edge::auth::{Claims, Secret, sign_hs256};
use serde_json::{Value, json};

use crate::env_path;

/// The issuer of the stories' tokens.
pub const ISSUER: &str = "https://id.example";
/// The audience that they are for.
pub const AUDIENCE: &str = "glimpse-stories";
/// The secret that HS256 tokens are signed with.
pub const SECRET: &str = "a bearer secret for stories only, 256 bits";

/// Unix seconds now.
#[expect(clippy::disallowed_methods, reason = "a story's tokens are good from now on")]
pub fn now_secs() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}

/// A bearer token of this person, good for an hour.
pub fn bearer_token(subject: &str) -> String {
    let claims = json!({ "iss": ISSUER, "sub": subject, "aud": AUDIENCE, "exp": now_secs() + 3600 });
    sign_hs256(&to_json(&claims), &Secret::new(SECRET.as_bytes().to_vec()))
}

/// The same document as the Worker reads it.
///
/// # Panics
/// If the Worker would not.
pub fn to_json(value: &Value) -> Json {
    Json::parse(value.to_string().as_bytes()).expect("a document without a name that comes twice")
}

/// What an ID token of these members claims.
///
/// # Panics
/// If it is none.
pub fn claims(members: &Value) -> Claims {
    Claims::from_json(&to_json(members)).expect("claims")
}

/// A key set and tokens by name, made by `keys/mint.mjs`: `jwks`, `good` (by algorithm) and `bad` (by reason), and the
/// same for delivery tokens of the video `delivery.video`.
///
/// # Panics
/// If Node does not make them.
pub fn generate_tokens() -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/keys/mint.mjs");
    let output = Command::new(env_path("GLIMPSE_NODE"))
        .args([script, ISSUER, AUDIENCE])
        .output()
        .expect("node starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("mint.mjs prints JSON")
}
