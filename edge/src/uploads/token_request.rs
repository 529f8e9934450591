//! Parses requests for upload tokens, and issues the tokens. Pure.

use std::collections::BTreeMap;

use glimpse_contract::{Code, InvalidMember, Json, Problem, Visibility, limits};

use crate::auth::{Caller, UploadToken, parse_metadata, parse_u32, parse_visibility, upload_audience};
use crate::config::Config;
use crate::uploads::fields::sanitize_for_message;

/// The members of the body.
const KNOWN_MEMBERS: &[&str] =
    &["max_bytes", "types", "videos", "expires_in", "visibility", "external_id", "metadata"];

/// The body of `POST /api/upload-tokens`; every member is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadTokenRequest {
    /// The maximum size of each video in bytes.
    pub max_bytes: Option<u64>,
    /// The media types that may be uploaded.
    pub types: Option<Vec<String>>,
    /// The number of videos; one if absent.
    pub videos: Option<u32>,
    /// The lifetime in seconds; an hour if absent.
    pub expires_in: Option<u64>,
    /// The visibility of the images.
    pub visibility: Option<Visibility>,
    /// The customer's id of the video.
    pub external_id: Option<String>,
    /// The customer's fields.
    pub metadata: BTreeMap<String, String>,
}

impl UploadTokenRequest {
    fn from_json(json: &Json) -> Result<Self, InvalidMember> {
        Ok(Self {
            max_bytes: json.get_opt_u64("max_bytes")?,
            types: json.get_opt_str_array("types")?,
            videos: parse_u32(json, "videos")?,
            expires_in: json.get_opt_u64("expires_in")?,
            visibility: parse_visibility(json)?,
            external_id: json.get_opt_str("external_id")?,
            metadata: parse_metadata(json)?,
        })
    }
}

/// Parses the body; an empty one requests a token with all defaults.
///
/// # Errors
/// `bad_parameter`, with the name of the invalid member.
pub fn parse_token_request(body: &[u8]) -> Result<UploadTokenRequest, Problem> {
    if body.is_empty() {
        return Ok(UploadTokenRequest::default());
    }
    let bad = |detail: String| Problem::with_detail(Code::BadParameter, detail);
    let json = Json::parse_lenient(body).filter(Json::is_object);
    let json = json.ok_or_else(|| bad("The body must be a JSON object.".to_owned()))?;
    if let Some(name) = json.unknown_member(KNOWN_MEMBERS) {
        return Err(bad(format!("Unknown member `{}`.", sanitize_for_message(name))));
    }
    UploadTokenRequest::from_json(&json).map_err(|wrong| bad(format!("{wrong}.")))
}

/// The token for this caller.
///
/// # Errors
/// An invalid claim.
pub fn build_upload_token(
    request: UploadTokenRequest,
    caller: &Caller,
    config: &Config,
    jti: [u8; 16],
    now_ms: u64,
) -> Result<UploadToken, Problem> {
    let bad = |why: &str| Problem::with_detail(Code::BadParameter, format!("{why}."));
    let ttl_secs = request.expires_in.unwrap_or(limits::UPLOAD_TOKEN_SECS);
    if !(1..=limits::MAX_UPLOAD_TOKEN_SECS).contains(&ttl_secs) {
        return Err(bad("`expires_in` must be a number of seconds from 1 to 86400"));
    }
    let token = UploadToken {
        iss: caller.issuer.clone(),
        sub: caller.subject.clone(),
        aud: upload_audience(&config.public_url),
        iat: now_ms / 1000,
        exp: now_ms / 1000 + ttl_secs,
        jti: hex::encode(jti),
        max_bytes: request.max_bytes,
        types: request.types,
        videos: request.videos,
        visibility: request.visibility,
        external_id: request.external_id,
        metadata: request.metadata,
        ..UploadToken::default()
    };
    token.check_claims().map_err(bad)?;
    Ok(token)
}
