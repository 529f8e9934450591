//! Examples for the unit tests of all modules: a configuration, callers, a grant.

use glimpse_contract::{Grant, Owner, VideoId};

use crate::auth::{Caller, Principal, UploadToken, upload_audience};
use crate::config::{Config, ConfigErrors};
use crate::uploads::{UploadPolicy, create_grant};

const VARIABLES: &[(&str, &str)] = &[
    ("PUBLIC_URL", "https://video.example"),
    ("S3_BUCKET", "clips"),
    ("S3_REGION", "eu-central-1"),
    ("S3_ACCESS_KEY_ID", "AKID"),
    ("S3_SECRET_ACCESS_KEY", "hush-hush"),
    ("JWT_ISSUER", "https://id.example"),
    ("JWT_AUDIENCE", "glimpse"),
    ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
    ("OIDC_ISSUER", "https://id.example"),
    ("OIDC_CLIENT_ID", "client"),
    ("SESSION_SECRET", "fedcba9876543210fedcba9876543210"),
    ("ALLOWED_ORIGINS", "https://app.example, https://other.example"),
];

/// The time at which the example token is issued, in Unix seconds.
const ISSUED_AT_SECS: u64 = 1_700_000_000;

/// Parses the example variables with these changes.
pub(crate) fn parse_example_config(changes: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_lookup(|name| {
        let mut variables = changes.iter().chain(VARIABLES);
        variables.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

/// A valid configuration.
pub(crate) fn example_config() -> Config {
    example_config_with(&[])
}

/// The same with other values.
pub(crate) fn example_config_with(changes: &[(&str, &str)]) -> Config {
    parse_example_config(changes).unwrap()
}

/// An upload token of that deployment, without limits.
pub(crate) fn example_token() -> UploadToken {
    UploadToken {
        iss: "https://id.example".into(),
        sub: "alice".into(),
        aud: upload_audience("https://video.example"),
        iat: ISSUED_AT_SECS,
        exp: ISSUED_AT_SECS + 3600,
        jti: "0123456789abcdef".into(),
        ..UploadToken::default()
    }
}

/// A user.
pub(crate) fn example_user() -> Caller {
    Caller {
        owner: Owner::new("i", "s"),
        issuer: "i".into(),
        subject: "s".into(),
        expires_at: u64::MAX,
        principal: Principal::User { name: None, email: None },
    }
}

/// The bearer of [`example_token`].
pub(crate) fn example_token_holder() -> Caller {
    Caller::from_upload_token(example_token())
}

/// A grant of a public video.
pub(crate) fn example_grant() -> Grant {
    let policy = UploadPolicy::from_config(&example_config());
    let owner = Owner::new("i", "s");
    create_grant(&owner, VideoId::new(1, [0; 10]), "a b.mp4", "video/mp4", &policy).unwrap()
}
