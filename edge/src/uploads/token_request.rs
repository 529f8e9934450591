//! Decides what an upload token that is asked for may say. Pure.

use std::collections::BTreeMap;

use glimpse_contract::{Code, Json, Problem, Visibility, WrongMember, limits};

use crate::auth::{Caller, UploadToken, metadata, small, upload_audience, visibility};
use crate::config::Config;
use crate::uploads::fields::shown;

/// The members of the body.
const KNOWN: &[&str] =
    &["max_bytes", "types", "videos", "expires_in", "visibility", "external_id", "metadata"];

/// What the body of `POST /api/upload-tokens` may say; all of it may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mint {
    /// The most bytes of each video.
    pub max_bytes: Option<u64>,
    /// The media types that may be uploaded.
    pub types: Option<Vec<String>>,
    /// How many videos; one if absent.
    pub videos: Option<u32>,
    /// How long it lives, in seconds; an hour if absent.
    pub expires_in: Option<u64>,
    /// Who may see the pictures.
    pub visibility: Option<Visibility>,
    /// The customer's own name of the video.
    pub external_id: Option<String>,
    /// The customer's own fields.
    pub metadata: BTreeMap<String, String>,
}

impl Mint {
    fn of_json(json: &Json) -> Result<Self, WrongMember> {
        Ok(Self {
            max_bytes: json.whole_if("max_bytes")?,
            types: json.texts_if("types")?,
            videos: small(json, "videos")?,
            expires_in: json.whole_if("expires_in")?,
            visibility: visibility(json)?,
            external_id: json.text_if("external_id")?,
            metadata: metadata(json)?,
        })
    }
}

/// Reads the body; an empty one asks for a token with all defaults.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_mint(body: &[u8]) -> Result<Mint, Problem> {
    if body.is_empty() {
        return Ok(Mint::default());
    }
    let bad = |detail: String| Problem::because(Code::BadParameter, detail);
    let json = Json::read_lenient(body).filter(Json::is_object);
    let json = json.ok_or_else(|| bad("The body must be a JSON object.".to_owned()))?;
    if let Some(name) = json.unknown_member(KNOWN) {
        return Err(bad(format!("The member `{}` is not known here.", shown(name))));
    }
    Mint::of_json(&json).map_err(|wrong| bad(format!("{wrong}.")))
}

/// The token for this caller.
///
/// # Errors
/// A claim that no token may have.
pub fn token_of(
    mint: Mint,
    caller: &Caller,
    config: &Config,
    jti: [u8; 16],
    now_ms: u64,
) -> Result<UploadToken, Problem> {
    let bad = |why: &str| Problem::because(Code::BadParameter, format!("{why}."));
    let lives = mint.expires_in.unwrap_or(limits::UPLOAD_TOKEN_SECS);
    if !(1..=limits::MAX_UPLOAD_TOKEN_SECS).contains(&lives) {
        return Err(bad("`expires_in` must be a number of seconds from 1 to 86400"));
    }
    let token = UploadToken {
        iss: caller.issuer.clone(),
        sub: caller.subject.clone(),
        aud: upload_audience(&config.public_url),
        iat: now_ms / 1000,
        exp: now_ms / 1000 + lives,
        jti: hex::encode(jti),
        max_bytes: mint.max_bytes,
        types: mint.types,
        videos: mint.videos,
        visibility: mint.visibility,
        external_id: mint.external_id,
        metadata: mint.metadata,
        trace_id: None,
        only: None,
    };
    token.check_claims().map_err(bad)?;
    Ok(token)
}
