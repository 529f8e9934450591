//! Delivery tokens: signed permissions to view images of one private video until an expiry. Pure.
//!
//! There are two forms. A JWT as Mux defines it contains the parameters of the image as claims. A short signature
//! covers the URL of the image: its canonical path and query, followed by `expires` and `kid`. A signed text of one
//! form is never valid in the other: a JWT begins with `ey`, a path with `/`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use glimpse_contract::{Json, VideoId, limits, object};
use hmac::Mac as _;

use super::claims::numeric_date;
use super::token::{TokenError, UnverifiedToken, decode, mac, sign_hs256_with_kid};
use super::upload_token::IGNORED_CLAIMS;
use super::{Jwk, SKEW_SECS, Secret, Verification};

/// The keys that verify delivery tokens; without any, only the owner can view a private video.
#[derive(Debug, Clone, Default)]
pub struct DeliveryKeys {
    /// Secrets by key id, for HS256 and for the short form. The first one signs, all of them verify.
    pub secrets: Vec<(String, Secret)>,
    /// Public keys, each with a key id and exactly one algorithm.
    pub public: Vec<Jwk>,
}

/// The claims that are not image parameters: those of RFC 7519, and the key id as in Mux's examples.
const REGISTERED_CLAIMS: [&str; 8] = ["sub", "aud", "exp", "nbf", "iat", "iss", "jti", "kid"];

/// The longest JWT that is accepted in a URL, in bytes.
const MAX_URL_TOKEN_BYTES: usize = 8 * 1024;

/// The kind of resource that a token gives access to: Mux's `aud`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenScope {
    /// `t`: a thumbnail.
    Thumbnail,
    /// `g`: an animation.
    Animation,
    /// `s`: the storyboard, sheet and tables.
    Storyboard,
    /// `v`: the source, as it was uploaded.
    Original,
    /// `c`: a clip. Mux has no such kind.
    Clip,
}

impl TokenScope {
    /// All scopes.
    pub const ALL: [Self; 5] =
        [Self::Thumbnail, Self::Animation, Self::Storyboard, Self::Original, Self::Clip];

    /// The value of `aud` in a token.
    pub fn audience(self) -> &'static str {
        match self {
            Self::Thumbnail => "t",
            Self::Animation => "g",
            Self::Storyboard => "s",
            Self::Original => "v",
            Self::Clip => "c",
        }
    }
}

/// The claims of a verified JWT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryToken {
    /// The video.
    pub video: VideoId,
    /// Expiry, in Unix seconds.
    pub expires_at_secs: u64,
    /// The parameters of the image, as a query. They are parsed like those of a URL.
    pub query: String,
    audiences: Vec<String>,
}

/// A signature of the short form, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlSignature {
    /// Expiry, in Unix seconds.
    pub expires_at_secs: u64,
    /// The id of the secret that signed it.
    pub key_id: String,
    signature: Vec<u8>,
    sent_targets: Vec<String>,
}

impl DeliveryKeys {
    /// Verifies a JWT with the secret that its `kid` names, or returns the public key to verify it with. `kid` is in
    /// the header, or among the claims, as in Mux's examples.
    ///
    /// # Errors
    /// An unknown key id, a key of another algorithm, or a wrong signature.
    pub fn verify<'a>(
        &'a self,
        token: &'a UnverifiedToken<'_>,
        claims: &Json,
    ) -> Result<Option<Verification<'a>>, TokenError> {
        if token.signing_input.len() > MAX_URL_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let kid_claim = claims.get_opt_str("kid").map_err(|_| TokenError::Malformed)?;
        let key_id = match (token.key_id.as_deref(), kid_claim.as_deref()) {
            (Some(one), Some(other)) if one != other => return Err(TokenError::NoKey),
            (one, other) => one.or(other).ok_or(TokenError::NoKey)?,
        };
        if let Some(secret) = self.secret(key_id) {
            return token.check_hs256(secret).map(|()| None);
        }
        let is_match = |key: &&Jwk| key.key_id.as_deref() == Some(key_id) && key.algorithm == token.algorithm;
        self.public.iter().find(is_match).ok_or(TokenError::NoKey)?.verification(token).map(Some)
    }

    /// Verifies a short signature of the image at this canonical path and query, or of the URL as received.
    ///
    /// # Errors
    /// An unknown key id, a wrong signature, or an expiry that is in the past or too far in the future.
    pub fn verify_url(
        &self,
        url_signature: &UrlSignature,
        target: &str,
        now_ms: u64,
    ) -> Result<(), TokenError> {
        let secret = self.secret(&url_signature.key_id).ok_or(TokenError::NoKey)?;
        let canonical_url = url_to_sign(target, url_signature.expires_at_secs, &url_signature.key_id);
        let is_signed = |text: &String| mac(text, secret).verify_slice(&url_signature.signature).is_ok();
        if !is_signed(&canonical_url) && !url_signature.sent_targets.iter().any(is_signed) {
            return Err(TokenError::Signature);
        }
        check_expiry(url_signature.expires_at_secs, now_ms)
    }

    /// Path and query of a link to the image at this canonical path and query, signed with the first secret; `None` if
    /// there is no secret.
    pub fn sign_url(&self, target: &str, expires_at_secs: u64) -> Option<String> {
        let (key_id, secret) = self.secrets.first()?;
        Some(append_signature(target, expires_at_secs, key_id, secret))
    }

    /// Signs such a link with the same secret as an existing signature.
    pub fn sign_url_like(&self, url_signature: &UrlSignature, target: &str) -> Option<String> {
        let secret = self.secret(&url_signature.key_id)?;
        Some(append_signature(target, url_signature.expires_at_secs, &url_signature.key_id, secret))
    }

    /// Issues a JWT for an image with these canonical parameters, signed with the first secret; `None` if there is no
    /// secret.
    pub fn sign(
        &self,
        video: VideoId,
        scope: TokenScope,
        parameters: &[(&'static str, String)],
        expires_at_secs: u64,
    ) -> Option<String> {
        let (key_id, secret) = self.secrets.first()?;
        let mut claims = object! { "sub" => video, "aud" => scope.audience(), "exp" => expires_at_secs };
        for (name, value) in parameters {
            claims.put(name, value.into());
        }
        Some(sign_hs256_with_kid(key_id, &claims, secret))
    }

    fn secret(&self, key_id: &str) -> Option<&Secret> {
        self.secrets.iter().find(|(known, _)| known == key_id).map(|(_, secret)| secret)
    }
}

fn url_to_sign(target: &str, expires_at_secs: u64, key_id: &str) -> String {
    let separator = if target.contains('?') { '&' } else { '?' };
    format!("{target}{separator}expires={expires_at_secs}&kid={key_id}")
}

fn append_signature(target: &str, expires_at_secs: u64, key_id: &str, secret: &Secret) -> String {
    let text = url_to_sign(target, expires_at_secs, key_id);
    let signature = URL_SAFE_NO_PAD.encode(mac(&text, secret).finalize().into_bytes());
    format!("{text}&sig={signature}")
}

/// Checks that the expiry is in the future, within the skew, and not beyond the maximum lifetime of a token.
fn check_expiry(expires_at_secs: u64, now_ms: u64) -> Result<(), TokenError> {
    let now = now_ms / 1000;
    if expires_at_secs.saturating_add(SKEW_SECS) <= now {
        return Err(TokenError::Expired);
    }
    let is_too_far = expires_at_secs > now + limits::MAX_DELIVERY_TOKEN_SECS + SKEW_SECS;
    if is_too_far { Err(TokenError::LifetimeTooLong) } else { Ok(()) }
}

impl UrlSignature {
    /// Parses the three parameters of the short form.
    ///
    /// # Errors
    /// An expiry that is not a number in canonical form, or a signature that is not strict base64url.
    pub fn parse(expires: &str, key_id: &str, signature: &str) -> Result<Self, TokenError> {
        let expires_at_secs: u64 = expires.parse().map_err(|_| TokenError::Malformed)?;
        if expires_at_secs.to_string() != expires {
            return Err(TokenError::Malformed);
        }
        Ok(Self {
            expires_at_secs,
            key_id: key_id.to_owned(),
            signature: decode(signature)?,
            sent_targets: Vec::new(),
        })
    }

    /// Adds the texts that a client may have signed without knowledge of the canonical form: path and query in the
    /// order and spelling of the URL, without the signature.
    #[must_use]
    pub fn with_sent_url(self, path: &str, query: &str) -> Self {
        let without = |names: &[&str]| {
            let is_kept = |pair: &&str| !names.contains(&pair.split('=').next().unwrap_or_default());
            let pairs: Vec<_> = query.split('&').filter(is_kept).collect();
            [path, "?", &pairs.join("&")].concat()
        };
        // A revision is added to links that are already signed, but a client may also have signed it.
        Self { sent_targets: vec![without(&["sig", "v"]), without(&["sig"])], ..self }
    }
}

impl DeliveryToken {
    /// Parses verified claims, and checks that they are currently valid.
    ///
    /// Every claim that is not registered in RFC 7519 is a parameter of the image. An unknown parameter is rejected, as
    /// in a URL, since it may have been meant to restrict the token.
    ///
    /// # Errors
    /// A claim that is missing or of another type, or a token that is expired, not yet valid, or valid for too long.
    pub fn from_claims(claims: &Json, now_ms: u64) -> Result<Self, TokenError> {
        let malformed = |_| TokenError::Malformed;
        let expires_at_secs = numeric_date(claims, "exp")?.ok_or(TokenError::Malformed)?;
        check_expiry(expires_at_secs, now_ms)?;
        for claim in ["nbf", "iat"] {
            if numeric_date(claims, claim)?.unwrap_or(0) > now_ms / 1000 + SKEW_SECS {
                return Err(TokenError::NotYetValid);
            }
        }
        let video =
            claims.get("sub").as_str().and_then(|text| text.parse().ok()).ok_or(TokenError::WrongVideo)?;
        let audiences = match claims.get("aud").as_str() {
            Some(one) => vec![one.to_owned()],
            None => claims.get_opt_str_array("aud").map_err(malformed)?.unwrap_or_default(),
        };
        let mut query = String::new();
        for (name, value) in claims.members() {
            if REGISTERED_CLAIMS.contains(&name.as_str()) || IGNORED_CLAIMS.contains(&name.as_str()) {
                continue;
            }
            let separator = if query.is_empty() { "" } else { "&" };
            query.extend([separator, name, "=", &parse_parameter(name, value)?]);
        }
        Ok(Self { video, expires_at_secs, query, audiences })
    }

    /// Checks that the token gives access to this scope of the video.
    ///
    /// # Errors
    /// A token for another video or another scope.
    pub fn check_scope(&self, video: VideoId, scope: TokenScope) -> Result<(), TokenError> {
        if self.video != video {
            return Err(TokenError::WrongVideo);
        }
        let has_audience = self.audiences.iter().any(|audience| audience == scope.audience());
        if has_audience { Ok(()) } else { Err(TokenError::WrongKind) }
    }

    /// Whether the token gives access to this scope of the video.
    pub fn allows(&self, video: VideoId, scope: TokenScope) -> bool {
        self.check_scope(video, scope).is_ok()
    }
}

/// A parameter's value in its URL encoding. No character of the value or the name may end the parameter.
fn parse_parameter(name: &str, value: &Json) -> Result<String, TokenError> {
    let text = scalar_to_string(value).ok_or(TokenError::Malformed)?;
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if is_plain(&text) && is_plain(name) { Ok(text) } else { Err(TokenError::Malformed) }
}

/// A string, number or boolean in its URL encoding; fractions are rounded to thousandths, the finest resolution of any
/// parameter.
pub fn scalar_to_string(value: &Json) -> Option<String> {
    Some(match value {
        Json::String(text) => text.clone(),
        Json::Integer(number) => number.to_string(),
        Json::Bool(value) => value.to_string(),
        Json::Float(number) if (0.0..1e9).contains(number) => {
            let thousandths = (number * 1000.0 + 0.5) as u64;
            match thousandths % 1000 {
                0 => (thousandths / 1000).to_string(),
                rest => format!("{}.{rest:03}", thousandths / 1000),
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::{Algorithm, parse_jwks};

    const NOW_MS: u64 = 1_700_000_000_000;
    const NOW: u64 = NOW_MS / 1000;

    fn video() -> VideoId {
        VideoId::new(1, [1; 10])
    }

    fn keys() -> DeliveryKeys {
        let secret = |byte| Secret::new(vec![byte; 32]);
        DeliveryKeys { secrets: vec![("b".into(), secret(2)), ("a".into(), secret(1))], public: Vec::new() }
    }

    fn claims() -> Value {
        json!({ "sub": video().to_string(), "aud": "t", "exp": NOW + 60 })
    }

    fn claims_with(changes: &Value) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    fn parse_with(keys: &DeliveryKeys, text: &str) -> Result<DeliveryToken, TokenError> {
        let token = UnverifiedToken::parse(text)?;
        let claims = token.claims()?;
        match keys.verify(&token, &claims)? {
            None => DeliveryToken::from_claims(&claims, NOW_MS),
            Some(_) => Err(TokenError::Signature),
        }
    }

    /// Signs a token without the code under test, with fractions as in JSON.
    fn sign_with_header(header: &Value, claims: &Value, secret: &Secret) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(mac(&text, secret).finalize().into_bytes());
        format!("{text}.{signature}")
    }

    fn sign_with_kid(key_id: &str, claims: &Value, secret: &Secret) -> String {
        sign_with_header(&json!({ "alg": "HS256", "kid": key_id }), claims, secret)
    }

    fn sign(claims: &Value, secret: &Secret) -> String {
        sign_with_header(&json!({ "alg": "HS256" }), claims, secret)
    }

    fn parse(claims: &Value) -> Result<DeliveryToken, TokenError> {
        parse_with(&keys(), &sign_with_kid("b", claims, &keys().secrets[0].1))
    }

    #[test]
    fn token_is_bound_to_video_and_kind() {
        let token = parse(&claims_with(&json!({ "time": 14.2, "width": "640", "flip_h": true, "iss": "x" })))
            .unwrap();
        assert_eq!(token.expires_at_secs, NOW + 60);
        let mut query: Vec<_> = token.query.split('&').collect();
        query.sort_unstable();
        assert_eq!(query, ["flip_h=true", "time=14.200", "width=640"]);
        let rounded = |time: f64| parse(&claims_with(&json!({ "time": time }))).unwrap().query;
        assert_eq!((rounded(1.00051).as_str(), rounded(2.9996).as_str()), ("time=1.001", "time=3"));
        assert!(token.allows(video(), TokenScope::Thumbnail));
        for other in [TokenScope::Animation, TokenScope::Storyboard, TokenScope::Original] {
            assert!(!token.allows(video(), other), "{other:?}");
        }
        assert!(!token.allows(VideoId::new(1, [2; 10]), TokenScope::Thumbnail));
        let both = parse(&claims_with(&json!({ "aud": ["t", "s"] }))).unwrap();
        assert!(both.allows(video(), TokenScope::Storyboard) && !both.allows(video(), TokenScope::Animation));
    }

    /// Rows J5 and J6 of the threat model for delivery tokens, within and beyond 60 s of skew.
    #[test]
    fn rejects_wrong_times_audiences_and_videos() {
        for good in [
            json!({}),
            json!({ "exp": NOW - 59 }),
            json!({ "exp": NOW + limits::MAX_DELIVERY_TOKEN_SECS }),
            json!({ "nbf": NOW + 60, "iat": NOW + 60 }),
            json!({ "exp": 1_700_000_060.5, "iat": 1_699_999_999.25 }),
            json!({ "email": ["a@b.example"], "name": {}, "nonce": 1, "azp": "x" }),
        ] {
            assert!(parse(&claims_with(&good)).is_ok(), "{good}");
        }
        for bad in [
            json!({ "exp": NOW - 60 }),
            json!({ "exp": null }),
            json!({ "exp": (NOW + 60).to_string() }),
            json!({ "exp": -1 }),
            json!({ "exp": NOW + limits::MAX_DELIVERY_TOKEN_SECS + 61 }),
            json!({ "exp": u64::MAX }),
            json!({ "nbf": NOW + 61 }),
            json!({ "iat": NOW + 61 }),
            json!({ "iat": "1" }),
            json!({ "sub": null }),
            json!({ "sub": "alice" }),
            json!({ "sub": video().to_string().to_uppercase() }),
            json!({ "aud": 1 }),
            json!({ "aud": [1] }),
            json!({ "width": [640] }),
            json!({ "width": { "a": 1 } }),
            json!({ "width": "1&time=2" }),
            json!({ "time=1&width": "2" }),
            json!({ "time": "%31" }),
            json!({ "time": -1.5 }),
            json!({ "time": 1e300 }),
        ] {
            assert!(parse(&claims_with(&bad)).is_err(), "{bad}");
        }
        for none in
            [json!({ "aud": null }), json!({ "aud": "T" }), json!({ "aud": "ts" }), json!({ "aud": [] })]
        {
            let token = parse(&claims_with(&none)).unwrap();
            assert!(TokenScope::ALL.iter().all(|what| !token.allows(video(), *what)), "{none}");
        }
    }

    /// Rows J1, J2, J4 and D9 of the threat model for delivery tokens.
    #[test]
    fn key_is_selected_by_kid_and_algorithm() {
        let older = sign_with_kid("a", &claims(), &keys().secrets[1].1);
        assert!(parse_with(&keys(), &older).is_ok());
        let mut rotated = keys();
        rotated.secrets.truncate(1);
        assert_eq!(parse_with(&rotated, &older), Err(TokenError::NoKey), "D9: removed");

        let b = &keys().secrets[0].1;
        let claimed = sign(&claims_with(&json!({ "kid": "b" })), b);
        assert!(parse_with(&keys(), &claimed).is_ok(), "as in Mux's examples");
        for (why, text) in [
            ("no kid", sign(&claims(), b)),
            ("another kid", sign_with_kid("a", &claims(), b)),
            ("an unknown kid", sign_with_kid("../b", &claims(), b)),
            ("two kids", sign_with_kid("b", &claims_with(&json!({ "kid": "a" })), b)),
            ("kid is a number", sign_with_kid("b", &claims_with(&json!({ "kid": 1 })), b)),
        ] {
            assert!(parse_with(&keys(), &text).is_err(), "{why}");
        }

        // J1: the public key as a secret, and a secret's key id with a public key's algorithm.
        let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"e"}]}"#;
        let public = DeliveryKeys { public: parse_jwks(jwks).unwrap(), ..keys() };
        let forged = sign_with_kid("e", &claims(), &Secret::new(jwks.as_bytes().to_vec()));
        assert_eq!(parse_with(&public, &forged), Err(TokenError::NoKey));
        let header = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = |head: &str, bytes: usize| {
            let signature = URL_SAFE_NO_PAD.encode(vec![1; bytes]);
            format!("{}.{}.{signature}", header(head), header(&claims().to_string()))
        };
        let verify = |text: &str| {
            let token = UnverifiedToken::parse(text)?;
            let claims = token.claims()?;
            public.verify(&token, &claims).map(|found| found.map(|needed| needed.key.algorithm))
        };
        assert_eq!(verify(&token(r#"{"alg":"EdDSA","kid":"e"}"#, 64)), Ok(Some(Algorithm::EdDsa)));
        for head in
            [r#"{"alg":"ES256","kid":"e"}"#, r#"{"alg":"RS256","kid":"e"}"#, r#"{"alg":"EdDSA","kid":"b"}"#]
        {
            assert!(verify(&token(head, 64)).is_err(), "{head}");
        }
        assert!(verify(&token(r#"{"alg":"EdDSA","kid":"e"}"#, 65)).is_err(), "J3: a trailing byte");
        let twice = format!("{{\"sub\":\"{0}\",\"aud\":\"t\",\"exp\":{1},\"aud\":\"s\"}}", video(), NOW + 60);
        let text = format!("{}.{}.AA", header(r#"{"alg":"HS256","kid":"b"}"#), header(&twice));
        assert!(UnverifiedToken::parse(&text).unwrap().claims().is_err(), "J4: a duplicate claim");
    }

    #[test]
    fn configured_keys_need_kid_and_are_public() {
        let key = |more: &str| {
            format!(
                r#"{{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"{more}}}"#
            )
        };
        let set = |keys: &[String]| parse_jwks(&format!("{{\"keys\":[{}]}}", keys.join(",")));
        assert_eq!(set(&[key(r#","kid":"a""#), key(r#","kid":"b""#)]).unwrap().len(), 2);
        for bad in [
            vec![],
            vec![key("")],
            vec![key(r#","kid":"a""#), key(r#","kid":"a""#)],
            vec![key(r#","kid":"a","use":"enc""#)],
            vec![key(r#","kid":"a""#), r#"{"kty":"oct","k":"AA","kid":"s"}"#.to_owned()],
        ] {
            assert!(set(&bad).is_none(), "{bad:?}");
        }
    }

    /// Row D1 of the threat model for the short form.
    #[test]
    fn signed_url_is_bound_to_target_and_expiry() {
        let target = format!("/{}/thumbnail.jpg?time=1.5", video());
        let link = keys().sign_url(&target, NOW + 60).unwrap();
        let (signed, signature) = link.split_once("&sig=").unwrap();
        assert_eq!(signed, format!("{target}&expires={}&kid=b", NOW + 60));
        let check = |target: &str, expires: &str, key_id: &str, signature: &str| {
            keys().verify_url(&UrlSignature::parse(expires, key_id, signature)?, target, NOW_MS)
        };
        let expires = (NOW + 60).to_string();
        assert_eq!(check(&target, &expires, "b", signature), Ok(()), "the control");
        for (why, result) in [
            ("another second", check(&target.replace("1.5", "1.6"), &expires, "b", signature)),
            ("another file", check(&target.replace("jpg", "png"), &expires, "b", signature)),
            ("later", check(&target, &(NOW + 61).to_string(), "b", signature)),
            ("another key", check(&target, &expires, "a", signature)),
            ("an unknown key", check(&target, &expires, "c", signature)),
            ("cut", check(&target, &expires, "b", &signature[..40])),
            ("empty", check(&target, &expires, "b", "")),
            ("padded", check(&target, &expires, "b", &format!("{signature}="))),
            ("another spelling of the time", check(&target, &format!("0{expires}"), "b", signature)),
            ("no number", check(&target, "x", "b", signature)),
        ] {
            assert!(result.is_err(), "{why}");
        }
        let check_expiry_at = |until: u64| {
            let link = keys().sign_url(&target, until).unwrap();
            check(&target, &until.to_string(), "b", link.split_once("&sig=").unwrap().1)
        };
        assert_eq!(
            (check_expiry_at(NOW - 59), check_expiry_at(NOW - 60)),
            (Ok(()), Err(TokenError::Expired)),
            "60 s of skew"
        );
        assert_eq!(
            check_expiry_at(NOW + limits::MAX_DELIVERY_TOKEN_SECS + 61),
            Err(TokenError::LifetimeTooLong)
        );
    }

    /// A client that signs the URL as it sends it, in any order and spelling.
    #[test]
    fn signed_url_verifies_as_sent() {
        let path = format!("/{}/thumbnail.jpg", video());
        let canonical = format!("{path}?time=1&width=320");
        let secret = &keys().secrets[0].1;
        let sign = |text: &str| URL_SAFE_NO_PAD.encode(mac(text, secret).finalize().into_bytes());
        let check = |signed: &str, sent: &str| {
            let short = UrlSignature::parse(&(NOW + 60).to_string(), "b", &sign(signed)).unwrap();
            keys().verify_url(&short.with_sent_url(&path, sent), &canonical, NOW_MS)
        };
        let end = format!("expires={}&kid=b", NOW + 60);
        for (signed, sent) in [
            (format!("width=320&time=1&{end}"), format!("width=320&time=1&{end}&sig=x")),
            (format!("{end}&time=1.00&width=320"), format!("{end}&time=1.00&width=320&sig=x")),
            (format!("width=320&time=1&{end}"), format!("width=320&time=1&{end}&sig=x&v=01234567")),
            (
                format!("width=320&v=01234567&time=1&{end}"),
                format!("width=320&v=01234567&time=1&{end}&sig=x"),
            ),
            (format!("time=1&{end}&width=320"), format!("time=1&sig=x&{end}&width=320")),
        ] {
            assert_eq!(check(&format!("{path}?{signed}"), &sent), Ok(()), "{signed} as {sent}");
        }
        for (signed, sent) in [
            (format!("width=320&time=1&{end}"), format!("width=640&time=1&{end}&sig=x")),
            (format!("width=320&{end}"), format!("width=320&time=1&{end}&sig=x")),
            (format!("width=320&time=1&{end}"), format!("time=1&width=320&{end}&sig=x")),
        ] {
            assert_eq!(
                check(&format!("{path}?{signed}"), &sent),
                Err(TokenError::Signature),
                "{signed} as {sent}"
            );
        }
        let other = format!("{}?width=320&time=1&{end}", path.replace("jpg", "png"));
        assert!(check(&other, &format!("width=320&time=1&{end}&sig=x")).is_err(), "another path");
    }

    proptest! {
        #[test]
        fn changed_character_is_rejected(place in 0_usize..200, letter in "[A-Za-z0-9_=&?./-]") {
            let target = format!("/{}/storyboard.vtt", video());
            let link = keys().sign_url(&target, NOW + 60).unwrap();
            let place = place % link.len();
            let mut text = link.clone();
            text.replace_range(place..=place, &letter);
            let is_valid = (|| {
                let (rest, signature) = text.split_once("&sig=")?;
                let (rest, key_id) = rest.split_once("&kid=")?;
                let (target, expires) = rest.split_once("?expires=")?;
                let short = UrlSignature::parse(expires, key_id, signature).ok()?;
                keys().verify_url(&short, target, NOW_MS).ok()
            })();
            prop_assert_eq!(is_valid.is_some(), text == link);
        }

        #[test]
        fn from_claims_never_panics(text in "\\PC{0,80}") {
            let _ = Json::parse(text.as_bytes()).map(|claims| DeliveryToken::from_claims(&claims, NOW_MS));
        }
    }
}
