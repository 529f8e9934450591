//! Upload tokens: signed permissions to upload a number of videos within limits.
//!
//! A token is a JWT (HS256) that this deployment or its operator's backend signs with a shared secret. It is part of
//! the path (`/u/{token}/s3/…`), for clients that cannot set headers. Nothing is stored about it: the ids of its videos
//! are derived from it, so that it cannot be used for more videos than it states.

use std::collections::BTreeMap;

use glimpse_contract::{
    ClientMetadata, InvalidMember, Json, Owner, TraceId, VideoId, Visibility, limits, object,
};
use sha2::{Digest as _, Sha256};

use super::claims::numeric_date;
use super::token::{TokenError, UnverifiedToken, sign_hs256_with_kid, verify_hs256};
use super::{SKEW_SECS, Secret};

/// The longest path segment that is parsed as a token, in bytes.
const MAX_BYTES: usize = 4 * 1024;
const MAX_JTI_BYTES: usize = 64;
const MIN_JTI_BYTES: usize = 8;
const MAX_TYPES: usize = 32;

/// The secrets of upload tokens by key id; the first one signs, all of them verify.
#[derive(Debug, Clone, Default)]
pub struct UploadKeys(pub Vec<(String, Secret)>);

impl UploadKeys {
    /// The secret with this key id.
    fn secret(&self, key_id: Option<&str>) -> Result<&Secret, TokenError> {
        let key = self.0.iter().find(|(known, _)| Some(known.as_str()) == key_id);
        key.map(|(_, secret)| secret).ok_or(TokenError::NoKey)
    }

    /// Signs a token with the first secret; `None` if there is none.
    pub fn sign(&self, token: &UploadToken) -> Option<String> {
        let (key_id, secret) = self.0.first()?;
        Some(sign_hs256_with_kid(key_id, &token.to_json(), secret))
    }
}

/// Permission of the bearer to upload some videos.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadToken {
    /// The issuer of the account that will own the videos.
    pub iss: String,
    /// The subject of that account.
    pub sub: String,
    /// This deployment's [`audience`].
    pub aud: String,
    /// Time of issue, in Unix seconds.
    pub iat: u64,
    /// Expiry, in Unix seconds.
    pub exp: u64,
    /// Random text that distinguishes it from every other token of its account.
    pub jti: String,
    /// The maximum size of each video in bytes; the deployment's limit if absent.
    pub max_bytes: Option<u64>,
    /// The media types that may be uploaded; all that the deployment accepts if absent.
    pub types: Option<Vec<String>>,
    /// The number of videos; one if absent.
    pub videos: Option<u32>,
    /// The visibility of the images; the deployment's default if absent.
    pub visibility: Option<Visibility>,
    /// The customer's id of the video; it is returned in the manifest.
    pub external_id: Option<String>,
    /// The customer's fields; they are returned in the manifest.
    pub metadata: BTreeMap<String, String>,
    /// The trace of its uploads, unless they have another one.
    pub trace_id: Option<TraceId>,
    /// Set if the token is restricted to the remaining uploads of one video; issued by this deployment itself.
    pub only: Option<VideoId>,
}

/// The member `videos`, or another small number.
pub(crate) fn parse_u32(json: &Json, name: &'static str) -> Result<Option<u32>, InvalidMember> {
    let number = json.get_opt_u64(name)?.map(u32::try_from);
    number.transpose().map_err(|_| InvalidMember { name, expected: "a small number" })
}

/// The member `visibility`. An unknown value is rejected.
pub(crate) fn parse_visibility(json: &Json) -> Result<Option<Visibility>, InvalidMember> {
    let visibility = json.get_opt_str("visibility")?.map(|word| word.parse());
    visibility.transpose().map_err(|_| InvalidMember { name: "visibility", expected: "public or signed" })
}

/// The member `metadata`.
pub(crate) fn parse_metadata(json: &Json) -> Result<BTreeMap<String, String>, InvalidMember> {
    match json.get("metadata") {
        Json::Null => Ok(BTreeMap::new()),
        value => {
            value.as_str_map().ok_or(InvalidMember { name: "metadata", expected: "an object of strings" })
        }
    }
}

/// The `aud` of the upload tokens of a deployment: the URL prefix of their paths.
pub fn audience(public_url: &str) -> String {
    format!("{public_url}/u")
}

/// Claims that libraries and identity providers add to every token, and that do not concern an upload.
pub(super) const IGNORED_CLAIMS: [&str; 4] = ["nonce", "azp", "name", "email"];

impl UploadToken {
    /// Parses the claims of a verified token, and checks the audience.
    fn from_json(json: &Json, audience: &str) -> Result<Self, TokenError> {
        let has_audience = match json.get("aud") {
            Json::String(one) => one == audience,
            _ => json
                .get_opt_str_array("aud")
                .ok()
                .flatten()
                .ok_or(TokenError::Malformed)?
                .iter()
                .any(|one| one == audience),
        };
        if !has_audience {
            return Err(TokenError::WrongIssuerOrAudience);
        }
        let date = |name| numeric_date(json, name)?.ok_or(TokenError::Malformed);
        let (iat, exp) = (date("iat")?, date("exp")?);
        Self::from_members(json, audience, iat, exp).map_err(|_| TokenError::Malformed)
    }

    fn from_members(json: &Json, audience: &str, iat: u64, exp: u64) -> Result<Self, InvalidMember> {
        const KNOWN_CLAIMS: &[&str] = &[
            "iss",
            "sub",
            "aud",
            "iat",
            "exp",
            "nbf",
            "jti",
            "max_bytes",
            "types",
            "videos",
            "visibility",
            "external_id",
            "metadata",
            "trace_id",
            "only",
        ];
        let is_known = |name: &str| KNOWN_CLAIMS.contains(&name) || IGNORED_CLAIMS.contains(&name);
        if !json.members().iter().all(|(name, _)| is_known(name)) {
            return Err(InvalidMember { name: "", expected: "one of the known members" });
        }
        let only = json.get_opt_str("only")?.map(|text| text.parse());
        let trace_id = json.get_opt_str("trace_id")?.map(|text| text.parse());
        Ok(Self {
            iss: json.get_str("iss")?,
            sub: json.get_str("sub")?,
            aud: audience.to_owned(),
            iat,
            exp,
            jti: json.get_str("jti")?,
            max_bytes: json.get_opt_u64("max_bytes")?,
            types: json.get_opt_str_array("types")?,
            videos: parse_u32(json, "videos")?,
            visibility: parse_visibility(json)?,
            external_id: json.get_opt_str("external_id")?,
            metadata: parse_metadata(json)?,
            trace_id: trace_id
                .transpose()
                .map_err(|_| InvalidMember { name: "trace_id", expected: "a trace id" })?,
            only: only.transpose().map_err(|_| InvalidMember { name: "only", expected: "a video" })?,
        })
    }

    fn to_json(&self) -> Json {
        let mut json = object! {
            "iss" => &self.iss,
            "sub" => &self.sub,
            "aud" => &self.aud,
            "iat" => self.iat,
            "exp" => self.exp,
            "jti" => &self.jti,
        };
        let types = self.types.as_ref().map(|types| types.iter().map(Json::from).collect::<Vec<_>>());
        for (name, value) in [
            ("max_bytes", self.max_bytes.into()),
            ("types", types.into()),
            ("videos", self.videos.into()),
            ("visibility", self.visibility.map(Visibility::as_str).into()),
            ("only", self.only.into()),
        ] {
            if value != Json::Null {
                json.put(name, value);
            }
        }
        self.client_metadata().insert_into(&mut json);
        json
    }

    /// Parses and verifies a token.
    ///
    /// # Errors
    /// A malformed token, one of another deployment or key, one that is expired or valid for too long, or invalid
    /// claims.
    pub fn parse(text: &str, keys: &UploadKeys, public_url: &str, now_ms: u64) -> Result<Self, TokenError> {
        if text.len() > MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let key_id = UnverifiedToken::parse(text)?.key_id;
        let json = verify_hs256(text, keys.secret(key_id.as_deref())?)?;
        let token = Self::from_json(&json, &audience(public_url))?;
        token.check(numeric_date(&json, "nbf")?, now_ms)?;
        Ok(token)
    }

    fn check(&self, nbf: Option<u64>, now_ms: u64) -> Result<(), TokenError> {
        if self.iss.is_empty() || self.sub.is_empty() {
            return Err(TokenError::WrongIssuerOrAudience);
        }
        let now = now_ms / 1000;
        let lifetime_secs = self.exp.checked_sub(self.iat).ok_or(TokenError::Malformed)?;
        if self.exp.saturating_add(SKEW_SECS) <= now {
            return Err(TokenError::Expired);
        }
        if self.iat.max(nbf.unwrap_or(0)) > now + SKEW_SECS {
            return Err(TokenError::NotYetValid);
        }
        if lifetime_secs > limits::MAX_UPLOAD_TOKEN_SECS {
            return Err(TokenError::LifetimeTooLong);
        }
        self.check_claims().map_err(|_| TokenError::Malformed)
    }

    /// Checks that the claims are valid.
    ///
    /// # Errors
    /// A sentence that names the invalid claim.
    pub fn check_claims(&self) -> Result<(), &'static str> {
        if !(MIN_JTI_BYTES..=MAX_JTI_BYTES).contains(&self.jti.len()) {
            return Err("`jti` must have 8 to 64 bytes");
        }
        if !(1..=limits::MAX_TOKEN_VIDEOS).contains(&self.video_count()) {
            return Err("`videos` must be a number from 1 to 100");
        }
        if self.max_bytes == Some(0) {
            return Err("`max_bytes` must be at least 1");
        }
        if let Some(types) = &self.types {
            let is_known = |kind: &String| limits::UPLOAD_TYPES.binary_search(&kind.as_str()).is_ok();
            if types.is_empty() || types.len() > MAX_TYPES || !types.iter().all(is_known) {
                return Err("`types` must be accepted video types, such as video/mp4");
            }
        }
        self.client_metadata().check()
    }

    /// The client metadata in the manifest of each of its videos.
    pub fn client_metadata(&self) -> ClientMetadata {
        ClientMetadata {
            external_id: self.external_id.clone(),
            metadata: self.metadata.clone(),
            trace_id: self.trace_id,
        }
    }

    /// The owner of its videos.
    pub fn owner(&self) -> Owner {
        Owner::new(&self.iss, &self.sub)
    }

    /// The number of videos.
    pub fn video_count(&self) -> u32 {
        self.videos.unwrap_or(1)
    }

    /// The ids of its videos, all of one millisecond. They are derived from the account and `jti` alone.
    pub fn video_ids(&self) -> Vec<VideoId> {
        (0..self.video_count()).map(|place| self.video_id(place)).collect()
    }

    fn video_id(&self, index: u32) -> VideoId {
        // Tokens of one second are spread over its milliseconds, so that a listing of one returns few objects of
        // others.
        let digest = self.digest(u32::MAX);
        let milli = u64::from(u16::from_be_bytes([digest[0], digest[1]])) % 1000;
        let mut random = [0; 10];
        random.copy_from_slice(&self.digest(index)[..10]);
        VideoId::new(self.iat * 1000 + milli, random)
    }

    fn digest(&self, index: u32) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for part in [self.iss.as_bytes(), self.sub.as_bytes(), self.jti.as_bytes()] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(index.to_be_bytes());
        hasher.finalize().into()
    }

    /// Whether this is the id of one of its videos.
    pub fn allows_video(&self, video: VideoId) -> bool {
        match self.only {
            Some(only) => only == video,
            None => (0..self.video_count()).any(|place| self.video_id(place) == video),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::sign_hs256;
    use crate::testing::example_token;

    const URL: &str = "https://video.example";
    const NOW_MS: u64 = 1_700_000_000_000;

    fn keys() -> UploadKeys {
        UploadKeys(vec![("b".into(), Secret::new(vec![2; 32])), ("a".into(), Secret::new(vec![1; 32]))])
    }

    fn parse(token: &UploadToken) -> Result<UploadToken, TokenError> {
        UploadToken::parse(&keys().sign(token).unwrap(), &keys(), URL, NOW_MS)
    }

    #[test]
    fn accepts_token_of_any_configured_key() {
        let mut token = example_token();
        token.types = Some(vec!["video/mp4".into()]);
        token.external_id = Some("order 7".into());
        assert_eq!(parse(&token), Ok(token.clone()));
        let older = sign_hs256_with_kid("a", &token.to_json(), &keys().0[1].1);
        assert_eq!(UploadToken::parse(&older, &keys(), URL, NOW_MS), Ok(token.clone()));
        let rotated = UploadKeys(keys().0[..1].to_vec());
        assert_eq!(UploadToken::parse(&older, &rotated, URL, NOW_MS), Err(TokenError::NoKey));
        let nameless = sign_hs256(&token.to_json(), &keys().0[0].1);
        assert_eq!(UploadToken::parse(&nameless, &keys(), URL, NOW_MS), Err(TokenError::NoKey));
    }

    #[test]
    fn rejects_invalid_claims() {
        let check_rejected = |change: fn(&mut UploadToken), error| {
            let mut token = example_token();
            change(&mut token);
            assert_eq!(parse(&token), Err(error), "{token:?}");
        };
        check_rejected(|t| t.aud = "https://other.example/u".into(), TokenError::WrongIssuerOrAudience);
        check_rejected(|t| t.sub = String::new(), TokenError::WrongIssuerOrAudience);
        check_rejected(|t| t.exp = t.iat - 1, TokenError::Malformed);
        check_rejected(|t| (t.iat, t.exp) = (t.iat - 1000, t.iat - SKEW_SECS), TokenError::Expired);
        check_rejected(|t| (t.iat, t.exp) = (t.iat + 61, t.exp + 61), TokenError::NotYetValid);
        check_rejected(|t| t.exp = t.iat + limits::MAX_UPLOAD_TOKEN_SECS + 1, TokenError::LifetimeTooLong);
        check_rejected(|t| t.jti = "short".into(), TokenError::Malformed);
        check_rejected(|t| t.videos = Some(0), TokenError::Malformed);
        check_rejected(|t| t.videos = Some(101), TokenError::Malformed);
        check_rejected(|t| t.max_bytes = Some(0), TokenError::Malformed);
        check_rejected(|t| t.types = Some(vec![]), TokenError::Malformed);
        check_rejected(|t| t.types = Some(vec!["text/html".into()]), TokenError::Malformed);
        check_rejected(|t| t.external_id = Some("x".repeat(200)), TokenError::Malformed);
        let unknown = object! { "iss" => "i", "sub" => "s", "aud" => audience(URL), "iat" => NOW_MS / 1000,
        "exp" => NOW_MS / 1000 + 9, "jti" => "0123456789", "max_byte" => 5_u64 };
        let text = sign_hs256_with_kid("b", &unknown, &keys().0[0].1);
        assert_eq!(
            UploadToken::parse(&text, &keys(), URL, NOW_MS),
            Err(TokenError::Malformed),
            "a misspelled limit would not be enforced"
        );
    }

    /// Claims that JWT libraries add by default.
    #[test]
    fn accepts_claims_of_other_libraries() {
        let good = example_token();
        let sign = |from: &str, to: &str| {
            let text = good.to_json().to_string();
            let changed = text.replace(from, to);
            assert!(from.is_empty() || changed != text, "{text} does not contain {from}");
            sign_hs256_raw(&changed)
        };
        let parse = |text: &str| UploadToken::parse(text, &keys(), URL, NOW_MS);
        let (iat, exp) = (format!("\"iat\":{}", good.iat), format!("\"exp\":{}", good.exp));
        let aud = format!("\"{}\"", good.aud);
        let nbf = format!("{iat},\"nbf\":{}", good.iat);
        for (from, to) in [
            (&aud, format!("[{aud}]")),
            (&aud, format!("[\"other\",{aud}]")),
            (&iat, format!("{iat}.25")),
            (&exp, format!("{exp}.999")),
            (&iat, nbf.clone()),
            (&iat, format!("{nbf}.5")),
            (&iat, format!("{iat},\"email\":[\"a\"],\"name\":{{}},\"nonce\":1,\"azp\":[]")),
        ] {
            let token = parse(&sign(from, &to)).unwrap_or_else(|error| panic!("{to}: {error}"));
            assert_eq!(token.video_ids(), good.video_ids(), "{to}: the same videos");
        }
        for (from, to) in [
            (&aud, "[\"other\"]".to_owned()),
            (&aud, "[]".to_owned()),
            (&aud, "17".to_owned()),
            (&iat, format!("{iat},\"nbf\":\"1\"")),
            (&exp, "\"exp\":\"1\"".to_owned()),
            (&iat, "\"iat\":-1".to_owned()),
            (&iat, format!("{iat},\"max_byte\":5")),
        ] {
            assert!(parse(&sign(from, &to)).is_err(), "{to}");
        }
        let later = sign(&iat, &format!("{iat},\"nbf\":{}", good.iat + 61));
        assert_eq!(parse(&later), Err(TokenError::NotYetValid));
    }

    /// A token with these claims, signed with the first secret.
    fn sign_hs256_raw(claims: &str) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        use hmac::Mac as _;
        let signed =
            [r#"{"alg":"HS256","kid":"b"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let mac = crate::auth::token::mac(&signed, &keys().0[0].1).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    #[test]
    fn video_ids_are_deterministic() {
        let mut token = example_token();
        token.videos = Some(100);
        let video_ids = token.video_ids();
        assert_eq!(video_ids.iter().collect::<BTreeSet<_>>().len(), 100);
        assert!(
            video_ids.iter().all(|slot| token.allows_video(*slot)
                && slot.timestamp_prefix() == video_ids[0].timestamp_prefix())
        );
        assert_eq!(video_ids[0].timestamp_ms() / 1000, token.iat);
        let mut other = token.clone();
        (other.exp, other.videos, other.max_bytes) = (other.exp + 5, Some(3), Some(9));
        assert_eq!(other.video_ids(), video_ids[..3]);
        assert!(!other.allows_video(video_ids[3]));
        other.jti.push('x');
        assert!(!video_ids.contains(&other.video_ids()[0]));
        other.only = Some(video_ids[7]);
        assert!(other.allows_video(video_ids[7]) && !other.allows_video(other.video_ids()[0]));
    }
}
