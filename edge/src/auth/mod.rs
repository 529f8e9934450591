//! Decides who is asking: a bearer token, or the session cookie of somebody who signed in with a browser.

pub(crate) mod authenticate;
mod claims;
mod delivery_token;
mod jwks;
pub(crate) mod login;
mod oidc;
#[cfg(test)]
mod providers;
mod retry_after_failure;
mod session;
mod token;
mod upload_token;

pub use crate::auth::retry_after_failure::{FetchDecision, FetchState};
pub use claims::{Audience, Claims, ExpectedClaims, SKEW_SECS};
pub use delivery_token::{DeliveryKeys, DeliveryToken, TokenScope, UrlSignature, scalar_to_string};
pub use jwks::{Jwk, JwkSet, RefreshDecision, Verification, parse_jwks};
pub use oidc::{
    Discovery, LoginState, authorize_url, callback_state, parse_callback, sanitize_return_path, token_request,
};
pub use session::{Cookies, SESSION_SECS, Session};
pub use token::{
    Algorithm, MAX_TOKEN_BYTES, TokenError, UnverifiedToken, sign_hs256, sign_hs256_with_kid, verify_hs256,
};
#[cfg(test)]
pub(crate) use upload_token::tests::example_token;
pub use upload_token::{UploadKeys, UploadToken, audience as upload_audience};
pub(crate) use upload_token::{parse_metadata, parse_u32, parse_visibility};

use std::fmt;

use glimpse_contract::Owner;

/// Bytes that cannot print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps these bytes secret.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one who computes with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How API clients prove who they are: `Authorization: Bearer` with a JWT of one issuer.
#[derive(Debug, Clone)]
pub struct JwtIssuer {
    /// The only `iss` that is accepted.
    pub issuer: String,
    /// The `aud`s of which a token must carry one; of a token without `aud`, the clients.
    pub audiences: Vec<String>,
    /// With what tokens are verified.
    pub keys: JwtKeys,
}

/// With what a bearer token is verified: the choice is the deployment's, never the token's.
#[derive(Debug, Clone)]
pub enum JwtKeys {
    /// HS256 with this secret.
    Secret(Secret),
    /// The key set at this URL: RS256, ES256 or EdDSA, by the key's own type.
    Jwks(String),
}

/// How people sign in with a browser: OpenID Connect, code flow with PKCE.
#[derive(Debug, Clone)]
pub struct Oidc {
    /// The provider's issuer identifier.
    pub issuer: String,
    /// The id under which the provider knows this deployment.
    pub client_id: String,
    /// Set for a confidential client.
    pub client_secret: Option<Secret>,
    /// What session cookies are signed with.
    pub session_secret: Secret,
}

/// Who is asking, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose videos are meant.
    pub owner: Owner,
    /// Who vouches for the subject.
    pub issuer: String,
    /// The subject, as its issuer names it.
    pub subject: String,
    /// A name to greet with.
    pub name: Option<String>,
    /// A mail address.
    pub email: Option<String>,
    /// When the proof ends, in Unix seconds: nothing that is issued to this caller may outlive it.
    pub expires_at: u64,
    /// Set for somebody who holds no more than an upload token: what it allows.
    pub token: Option<UploadToken>,
}
