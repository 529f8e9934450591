//! Authentication of callers by a bearer token or a session cookie, and the tokens that Glimpse issues.

pub(crate) mod authenticate;
pub(crate) mod carrier;
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
pub(crate) mod verified;

pub use crate::auth::retry_after_failure::{FetchDecision, FetchState};
pub use claims::{Audience, Claims, ExpectedClaims, SKEW_SECS};
pub use delivery_token::{DeliveryKeys, DeliveryToken, TokenScope, UrlSignature, scalar_to_string};
pub use jwks::{Jwk, JwkSet, RefreshDecision, Verification, parse_jwks};
pub use oidc::{
    Discovery, LoginState, authorize_url, callback_state, loopback_url, parse_callback, sanitize_return_path,
    token_request,
};
pub use session::{Cookies, SESSION_SECS, Session};
pub use token::{
    Algorithm, MAX_TOKEN_BYTES, TokenError, UnverifiedToken, sign_hs256, sign_hs256_with_kid, verify_hs256,
};
pub use upload_token::{UploadKeys, UploadToken, audience as upload_audience};
pub(crate) use upload_token::{parse_metadata, parse_u32, parse_visibility};

use std::fmt;

use glimpse_contract::{Owner, VideoId};

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
    /// Expiry of the credential, in Unix seconds: nothing that is issued to this caller may outlive it.
    pub expires_at: u64,
    /// Who the credential authenticates.
    pub principal: Principal,
}

/// Who a credential authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user of the deployment, by a bearer token or a session.
    User {
        /// The display name.
        name: Option<String>,
        /// The email address.
        email: Option<String>,
    },
    /// The bearer of an upload token, within its limits. It authenticates no user.
    UploadToken(Box<UploadToken>),
}

impl Caller {
    /// The caller with these verified claims of a user.
    pub fn from_claims(claims: Claims) -> Self {
        Self {
            owner: Owner::new(&claims.iss, &claims.sub),
            issuer: claims.iss,
            subject: claims.sub,
            expires_at: claims.exp,
            principal: Principal::User { name: claims.name, email: claims.email },
        }
    }

    /// The bearer of a verified upload token.
    pub fn from_upload_token(token: UploadToken) -> Self {
        Self {
            owner: token.owner(),
            issuer: token.iss.clone(),
            subject: token.sub.clone(),
            expires_at: token.exp,
            principal: Principal::UploadToken(Box::new(token)),
        }
    }

    /// The upload token, if that is the credential.
    pub fn upload_token(&self) -> Option<&UploadToken> {
        match &self.principal {
            Principal::User { .. } => None,
            Principal::UploadToken(token) => Some(token),
        }
    }

    /// The video of the follow-up token, if that is the credential: it gives access to one multipart upload.
    pub fn follow_up_video(&self) -> Option<VideoId> {
        self.upload_token().and_then(|token| token.only)
    }

    /// Whether the credential covers the video, if it is one of the owner's.
    pub fn allows_video(&self, video: VideoId) -> bool {
        self.upload_token().is_none_or(|token| token.allows_video(video))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{example_token, example_token_holder, example_user};

    use super::*;

    #[test]
    fn upload_token_limits_its_bearer() {
        let (user, holder) = (example_user(), example_token_holder());
        let video = example_token().video_ids()[0];
        let other = VideoId::new(1, [1; 10]);
        assert!(user.allows_video(other) && user.upload_token().is_none());
        assert!(holder.allows_video(video) && !holder.allows_video(other));
        assert_eq!((holder.owner.clone(), holder.expires_at), (example_token().owner(), example_token().exp));
        assert_eq!((user.follow_up_video(), holder.follow_up_video()), (None, None));
        let follow_up = UploadToken { only: Some(video), ..example_token() };
        assert_eq!(Caller::from_upload_token(follow_up).follow_up_video(), Some(video));
    }
}
