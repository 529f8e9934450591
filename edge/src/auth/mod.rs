//! Authentication of callers by a bearer token or a session cookie, and the tokens that Glimpse issues.

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

/// Secret bytes, which are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps secret bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for cryptographic operations.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Authentication of API clients: `Authorization: Bearer` with a JWT of one issuer.
#[derive(Debug, Clone)]
pub struct JwtIssuer {
    /// The only accepted `iss`.
    pub issuer: String,
    /// The accepted values of `aud`; for a token without `aud`, the accepted clients.
    pub audiences: Vec<String>,
    /// The keys that verify the tokens.
    pub keys: JwtKeys,
}

/// The keys that verify bearer tokens, chosen by the deployment, never by the token.
#[derive(Debug, Clone)]
pub enum JwtKeys {
    /// HS256 with this secret.
    Secret(Secret),
    /// The key set at this URL: RS256, ES256 or EdDSA, by the type of the key.
    Jwks(String),
}

/// Browser sign-in: OpenID Connect, authorization code flow with PKCE.
#[derive(Debug, Clone)]
pub struct Oidc {
    /// The provider's issuer identifier.
    pub issuer: String,
    /// The client id of this deployment at the provider.
    pub client_id: String,
    /// Set for a confidential client.
    pub client_secret: Option<Secret>,
    /// The secret that signs session cookies.
    pub session_secret: Secret,
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The owner of the caller's videos.
    pub owner: Owner,
    /// The issuer of the subject.
    pub issuer: String,
    /// The subject, as its issuer names it.
    pub subject: String,
    /// The display name.
    pub name: Option<String>,
    /// The email address.
    pub email: Option<String>,
    /// Expiry of the credential, in Unix seconds: nothing that is issued to this caller may outlive it.
    pub expires_at: u64,
    /// The upload token and its limits, if that is the only credential.
    pub token: Option<UploadToken>,
}
