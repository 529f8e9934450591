//! Browser sign-in with OpenID Connect: authorization code flow with PKCE. Pure: callers do the fetches and cookies.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use glimpse_contract::{Json, object};
use sha2::{Digest as _, Sha256};

use super::Oidc;
use super::token::TokenError;
use crate::config::is_safe_url;
use crate::http::query::{Query, decode_form};
use crate::s3::sigv4::encode_query_value;

/// How long a sign-in at the provider may take, in seconds.
const LOGIN_SECS: u64 = 10 * 60;
/// The audience in the cookies of this purpose only.
const LOGIN_AUDIENCE: &str = "glimpse-login";

/// The provider's discovery document, <https://openid.net/specs/openid-connect-discovery-1_0.html>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The issuer identifier: must equal the configured one.
    pub issuer: String,
    /// The URL that the browser is redirected to.
    pub authorization_endpoint: String,
    /// The URL that exchanges the code.
    pub token_endpoint: String,
    /// The URL of the key set.
    pub jwks_uri: String,
    /// Whether the provider accepts the client secret only in the form, not as `Authorization: Basic`.
    pub uses_client_secret_post: bool,
}

impl Discovery {
    /// The URL of the discovery document.
    pub fn url(issuer: &str) -> String {
        format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
    }

    /// Parses a discovery document, and compares its issuer with the configured one.
    pub fn parse(body: &[u8], issuer: &str) -> Option<Self> {
        let json = Json::parse(body)?;
        // Without a list it is `client_secret_basic`, OpenID Connect Discovery section 3.
        let methods = json.get("token_endpoint_auth_methods_supported").as_array();
        let supports =
            |method: &str| methods.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(method)));
        let discovery = Self {
            uses_client_secret_post: supports("client_secret_post") && !supports("client_secret_basic"),
            issuer: json.get_str("issuer").ok()?,
            authorization_endpoint: json.get_str("authorization_endpoint").ok()?,
            token_endpoint: json.get_str("token_endpoint").ok()?,
            jwks_uri: json.get_str("jwks_uri").ok()?,
        };
        let endpoints = [&discovery.authorization_endpoint, &discovery.token_endpoint, &discovery.jwks_uri];
        (discovery.issuer == issuer && endpoints.iter().all(|url| is_safe_url(url))).then_some(discovery)
    }
}

/// How many characters of the state name the cookie of a sign-in.
const COOKIE_SUFFIX_LEN: usize = 16;

/// The beginning of the state, which distinguishes the cookie of a sign-in from those of other sign-ins in the same
/// browser. `None` if the state is invalid.
pub(super) fn cookie_suffix(state: &str) -> Option<&str> {
    let suffix = state.get(..COOKIE_SUFFIX_LEN)?;
    suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)).then_some(suffix)
}

/// The state of a sign-in until the browser returns; stored in a signed cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginState {
    aud: String,
    exp: u64,
    /// Binds the callback to this browser.
    pub state: String,
    /// Binds the ID token to this sign-in.
    pub nonce: String,
    /// PKCE's code verifier, RFC 7636.
    pub verifier: String,
    /// The destination after the sign-in: a path of this origin.
    pub return_to: String,
}

impl LoginState {
    /// Starts a sign-in, from 96 random bytes.
    pub fn new(random: &[u8; 96], return_to: &str, now_ms: u64) -> Self {
        let part = |start: usize| URL_SAFE_NO_PAD.encode(&random[start..start + 32]);
        Self {
            aud: LOGIN_AUDIENCE.to_owned(),
            exp: now_ms / 1000 + LOGIN_SECS,
            state: part(0),
            nonce: part(32),
            verifier: part(64),
            return_to: sanitize_return_path(return_to).to_owned(),
        }
    }

    /// The content of the cookie.
    pub(super) fn to_json(&self) -> Json {
        object! {
            "aud" => &self.aud,
            "exp" => self.exp,
            "state" => &self.state,
            "nonce" => &self.nonce,
            "verifier" => &self.verifier,
            "return_to" => &self.return_to,
        }
    }

    /// Parses the content of the cookie.
    pub(super) fn from_json(json: &Json) -> Option<Self> {
        Some(Self {
            aud: json.get_str("aud").ok()?,
            exp: json.get_u64("exp").ok()?,
            state: json.get_str("state").ok()?,
            nonce: json.get_str("nonce").ok()?,
            verifier: json.get_str("verifier").ok()?,
            return_to: json.get_str("return_to").ok()?,
        })
    }

    /// Checks that the callback belongs to this sign-in.
    ///
    /// # Errors
    /// Another purpose, another state, or an expired sign-in.
    pub fn check(&self, state: &str, now_ms: u64) -> Result<(), TokenError> {
        if self.aud != LOGIN_AUDIENCE || self.state != state {
            return Err(TokenError::WrongIssuerOrAudience);
        }
        if self.exp <= now_ms / 1000 { Err(TokenError::Expired) } else { Ok(()) }
    }
}

/// Accepts only a path of this origin: `//host`, `/\host` and control characters lead elsewhere.
pub fn sanitize_return_path(path: &str) -> &str {
    let is_local = path.starts_with('/')
        && !matches!(path.as_bytes().get(1), Some(b'/' | b'\\'))
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { path } else { "/" }
}

/// The URL at which the browser signs in.
pub fn authorize_url(discovery: &Discovery, oidc: &Oidc, redirect_uri: &str, login: &LoginState) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(login.verifier.as_bytes()));
    let separator = if discovery.authorization_endpoint.contains('?') { '&' } else { '?' };
    format!(
        "{}{separator}{}",
        discovery.authorization_endpoint,
        encode_form(&[
            ("response_type", "code"),
            ("client_id", &oidc.client_id),
            ("redirect_uri", redirect_uri),
            ("scope", "openid profile email"),
            ("state", &login.state),
            ("nonce", &login.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ])
    )
}

fn query_value(query: Query<'_>, name: &str) -> Option<String> {
    query.get(name).map(decode_form)
}

/// The state in the provider's callback, whether the sign-in succeeded or not.
pub fn callback_state(query: Query<'_>) -> Option<String> {
    query_value(query, "state")
}

/// The provider's callback: `(code, state)`, or its `error`.
///
/// # Errors
/// The provider's error code, or `malformed`.
pub fn parse_callback(query: Query<'_>) -> Result<(String, String), String> {
    if let Some(error) = query_value(query, "error") {
        return Err(error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect());
    }
    query_value(query, "code").zip(callback_state(query)).ok_or_else(|| "malformed".to_owned())
}

/// The URL of the command-line tool that waits for this callback on the browser's machine (RFC 8252 section 7.3), which
/// the tool names by the beginning of the state. The code is of use only to the tool: it holds the sign-in's cookie, with
/// PKCE's code verifier.
pub fn loopback_url(query: Query<'_>) -> Option<String> {
    let state = query.get("state")?;
    let port: u16 = state.strip_prefix("loopback.")?.split('.').next()?.parse().ok()?;
    Some(format!("http://127.0.0.1:{port}/?{}", query.0))
}

/// The request that exchanges a code: the form, and the `Authorization` of a confidential client (RFC 6749 section
/// 2.3.1). A client uses one method of authentication (section 2.3): Okta rejects a request with a `client_id` beside
/// `Authorization`.
pub fn token_request(
    discovery: &Discovery,
    oidc: &Oidc,
    redirect_uri: &str,
    code: &str,
    login: &LoginState,
) -> (String, Option<String>) {
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", &login.verifier),
    ];
    let secret = oidc.client_secret.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()));
    let mut authorization = None;
    match &secret {
        Some(secret) if !discovery.uses_client_secret_post => {
            let pair = format!("{}:{}", encode_query_value(&oidc.client_id), encode_query_value(secret));
            authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
        secret => {
            pairs.push(("client_id", &oidc.client_id));
            pairs.extend(secret.as_deref().map(|secret| ("client_secret", secret)));
        }
    }
    (encode_form(&pairs), authorization)
}

fn encode_form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{name}={}", encode_query_value(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

    fn oidc() -> Oidc {
        Oidc {
            issuer: "https://id.example".into(),
            client_id: "my client".into(),
            client_secret: None,
            session_secret: Secret::new(vec![1; 32]),
        }
    }

    fn discovery() -> Discovery {
        Discovery {
            issuer: "https://id.example".into(),
            authorization_endpoint: "https://id.example/auth".into(),
            token_endpoint: "https://id.example/token".into(),
            jwks_uri: "https://id.example/jwks".into(),
            uses_client_secret_post: false,
        }
    }

    #[test]
    fn challenge_matches_rfc_7636_appendix_b() {
        let mut login = LoginState::new(&[0; 96], "/", 0);
        login.verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into();
        let url = authorize_url(&discovery(), &oidc(), "https://video.example/auth/callback", &login);
        assert!(url.contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&"), "{url}");
        assert!(
            url.contains("client_id=my%20client&redirect_uri=https%3A%2F%2Fvideo.example%2Fauth%2Fcallback&")
        );
    }

    #[test]
    fn returns_only_to_local_paths() {
        for path in ["/", "/videos?x=1#y", "/a/b"] {
            assert_eq!(sanitize_return_path(path), path);
        }
        for path in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\nb", "/ü", "javascript:1"]
        {
            assert_eq!(sanitize_return_path(path), "/", "{path:?}");
        }
    }

    #[test]
    fn discovery_must_match_issuer() {
        let text = |issuer: &str, jwks: &str| {
            format!(
                r#"{{"issuer":"{issuer}","authorization_endpoint":"https://id.example/a","token_endpoint":"https://id.example/t","jwks_uri":"{jwks}"}}"#
            )
        };
        let parse = |text: String| Discovery::parse(text.as_bytes(), "https://id.example");
        assert!(parse(text("https://id.example", "https://id.example/j")).is_some());
        assert!(parse(text("https://id.example/", "https://id.example/j")).is_none());
        assert!(parse(text("https://id.example", "http://id.example/j")).is_none());
        assert!(parse("<html>".into()).is_none());
    }

    #[test]
    fn callback_is_bound_to_its_login() {
        let login = LoginState::new(&[7; 96], "//evil.example", 0);
        assert_eq!(login.return_to, "/");
        assert_eq!(login.check(&login.state, 1000), Ok(()));
        assert_eq!(login.check("other", 1000), Err(TokenError::WrongIssuerOrAudience));
        assert_eq!(login.check(&login.state, LOGIN_SECS * 1000), Err(TokenError::Expired));
    }

    #[test]
    fn parses_callback() {
        let parse_callback = |query| parse_callback(Query(query));
        assert_eq!(parse_callback("code=a%2Bb&state=s+t&iss=x"), Ok(("a+b".into(), "s t".into())));
        assert_eq!(parse_callback("error=access_denied&state=s"), Err("access_denied".into()));
        assert_eq!(parse_callback("error=%3Cscript%3E"), Err("script".into()));
        assert_eq!(parse_callback("state=s"), Err("malformed".into()));
    }

    #[test]
    fn loopback_callback_leads_to_this_machine() {
        let loopback_url = |query| loopback_url(Query(query));
        assert_eq!(
            loopback_url("code=a%2Bb&state=loopback.8123.x-_y&iss=z").as_deref(),
            Some("http://127.0.0.1:8123/?code=a%2Bb&state=loopback.8123.x-_y&iss=z")
        );
        assert!(loopback_url("error=access_denied&state=loopback.1.x").is_some());
        for other in [
            "code=a",
            "code=a&state=AAAA",
            "code=a&state=loopback.",
            "code=a&state=loopback.x.y",
            "code=a&state=loopback.65536.y",
            "code=a&state=loopback.80@evil.example.y",
            "code=a&state=loopback.evil.example",
            "code=a&state=xloopback.80.y",
        ] {
            assert_eq!(loopback_url(other), None, "{other}");
        }
    }

    #[test]
    fn client_authenticates_in_one_way() {
        let mut oidc = oidc();
        let login = LoginState::new(&[0; 96], "/", 0);
        let token_request = |oidc: &Oidc, discovery: &Discovery| {
            token_request(discovery, oidc, "https://v/cb", "c&d", &login)
        };
        let (body, authorization) = token_request(&oidc, &discovery());
        assert!(body.contains("code=c%26d&") && body.ends_with("&client_id=my%20client"), "{body}");
        assert_eq!(authorization, None, "a public client");

        oidc.client_secret = Some(Secret::new(b"a:b".to_vec()));
        let (body, authorization) = token_request(&oidc, &discovery());
        assert!(body.contains("code_verifier=") && !body.contains("client_"), "{body}");
        assert_eq!(authorization.as_deref(), Some("Basic bXklMjBjbGllbnQ6YSUzQWI="));

        let (body, authorization) =
            token_request(&oidc, &Discovery { uses_client_secret_post: true, ..discovery() });
        assert!(body.ends_with("&client_id=my%20client&client_secret=a%3Ab"), "{body}");
        assert_eq!(authorization, None);
    }

    /// OpenID Connect Discovery, section 3: without a list it is `client_secret_basic`.
    #[test]
    fn discovery_selects_client_auth_method() {
        for (methods, in_form) in [
            ("", false),
            (r#","token_endpoint_auth_methods_supported":["client_secret_post"]"#, true),
            (r#","token_endpoint_auth_methods_supported":["private_key_jwt","client_secret_post"]"#, true),
            (
                r#","token_endpoint_auth_methods_supported":["client_secret_post","client_secret_basic"]"#,
                false,
            ),
            (r#","token_endpoint_auth_methods_supported":["client_secret_basic"]"#, false),
            (r#","token_endpoint_auth_methods_supported":[]"#, false),
            (r#","token_endpoint_auth_methods_supported":"client_secret_post""#, false),
        ] {
            let text = format!(
                r#"{{"issuer":"https://id.example","authorization_endpoint":"https://id.example/a","token_endpoint":"https://id.example/t","jwks_uri":"https://id.example/j"{methods}}}"#
            );
            let discovery = Discovery::parse(text.as_bytes(), "https://id.example").unwrap();
            assert_eq!(discovery.uses_client_secret_post, in_form, "{methods}");
        }
    }
}
