//! Session and sign-in cookies. Their values are tokens that this deployment signs.

use glimpse_contract::object;

use super::oidc::cookie_suffix;
use super::token::{TokenError, sign_hs256, verify_hs256};
use super::{Claims, ExpectedClaims, LoginState, Oidc};

/// How long a session is valid, in seconds.
pub const SESSION_SECS: u64 = 12 * 60 * 60;
/// The most sign-ins in progress per browser. Each is a cookie of some 600 bytes.
const MAX_LOGINS: usize = 8;
/// The longest name or email address that a session contains, in bytes: browsers drop a cookie of more than 4096 bytes.
const MAX_DISPLAY_BYTES: usize = 256;

/// The cookies of this deployment. With TLS, their names begin with `__Host-`, which binds them to this exact host and
/// to secure connections (RFC 6265bis section 4.1.3.2). A development machine uses plain HTTP, where that is not
/// possible.
#[derive(Debug, Clone, Copy)]
pub struct Cookies {
    is_https: bool,
}

/// A session of a user who signed in with a browser. The claims contain the provider's issuer and subject, so that the
/// same user has the same videos by cookie and by bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    name: Option<String>,
    email: Option<String>,
}

impl Session {
    /// Creates a session from a verified ID token.
    pub fn new(id_token: Claims, public_url: &str, now_ms: u64) -> Self {
        Self {
            iss: id_token.iss,
            sub: id_token.sub,
            aud: audience(public_url),
            exp: now_ms / 1000 + SESSION_SECS,
            name: id_token.name.filter(|name| name.len() <= MAX_DISPLAY_BYTES),
            email: id_token.email.filter(|email| email.len() <= MAX_DISPLAY_BYTES),
        }
    }

    /// Verifies a session cookie, and returns its claims.
    ///
    /// # Errors
    /// A value that is invalid, of another deployment, or expired.
    pub fn verify(value: &str, oidc: &Oidc, public_url: &str, now_ms: u64) -> Result<Claims, TokenError> {
        let claims = Claims::from_json(&verify_hs256(value, &oidc.session_secret)?)?;
        claims.check(ExpectedClaims { issuer: &oidc.issuer, audience: &audience(public_url) }, now_ms)?;
        Ok(claims)
    }
}

fn audience(public_url: &str) -> String {
    format!("glimpse-session {public_url}")
}

impl Cookies {
    /// The cookies of a deployment with or without TLS.
    pub fn new(is_https: bool) -> Self {
        Self { is_https }
    }

    /// The name of the session cookie.
    pub(crate) fn session_name(self) -> &'static str {
        if self.is_https { "__Host-glimpse" } else { "glimpse" }
    }

    fn login_name(self) -> &'static str {
        if self.is_https { "__Host-glimpse-login" } else { "glimpse-login" }
    }

    /// `Set-Cookie` of a session.
    pub fn set_session(self, session: &Session, oidc: &Oidc) -> String {
        let claims = object! {
            "iss" => &session.iss,
            "sub" => &session.sub,
            "aud" => &session.aud,
            "exp" => session.exp,
            "name" => session.name.as_deref(),
            "email" => session.email.as_deref(),
        };
        self.set(self.session_name(), &sign_hs256(&claims, &oidc.session_secret), SESSION_SECS)
    }

    /// `Set-Cookie` that signs a browser out.
    pub fn clear_session(self) -> String {
        self.set(self.session_name(), "", 0)
    }

    /// `Set-Cookie` of a sign-in in progress. Each sign-in has its own cookie, so that two tabs can sign in at once.
    pub fn set_login(self, login: &LoginState, oidc: &Oidc) -> String {
        let value = sign_hs256(&login.to_json(), &oidc.session_secret);
        self.set(&self.login_cookie(&login.state).unwrap_or_default(), &value, 600)
    }

    /// `Set-Cookie` that removes the sign-in of this state; `None` if the state is invalid.
    pub fn clear_login(self, state: &str) -> Option<String> {
        Some(self.set(&self.login_cookie(state)?, "", 0))
    }

    /// `Set-Cookie`s that remove the oldest sign-ins of a `Cookie` header that contains too many. A browser sends older
    /// cookies first, RFC 6265 section 5.4.
    pub fn clear_old_logins(self, header: &str) -> Vec<String> {
        let suffixes: Vec<&str> = header
            .split(';')
            .filter_map(|pair| {
                pair.trim().strip_prefix(self.login_name())?.strip_prefix('-')?.split_once('=')
            })
            .map(|(suffix, _)| suffix)
            .collect();
        let excess = (suffixes.len() + 1).saturating_sub(MAX_LOGINS);
        suffixes[..excess].iter().filter_map(|suffix| self.clear_login(suffix)).collect()
    }

    fn login_cookie(self, state: &str) -> Option<String> {
        Some([self.login_name(), "-", cookie_suffix(state)?].concat())
    }

    /// The value of the session cookie in a `Cookie` header.
    pub fn session(self, header: &str) -> Option<&str> {
        find_cookie(header, self.session_name())
    }

    /// The sign-in of this state in a `Cookie` header, if its signature is valid.
    pub fn login(self, header: &str, state: &str, oidc: &Oidc) -> Option<LoginState> {
        let value = find_cookie(header, &self.login_cookie(state)?)?;
        LoginState::from_json(&verify_hs256(value, &oidc.session_secret).ok()?)
    }

    // `Lax`: the provider returns the browser by a link, and the cookie must be sent along.
    fn set(self, name: &str, value: &str, max_age_secs: u64) -> String {
        let secure = if self.is_https { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={max_age_secs}; HttpOnly; SameSite=Lax{secure}")
    }
}

fn find_cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Audience, Secret};

    const NOW_MS: u64 = 1_700_000_000_000;

    fn oidc() -> Oidc {
        Oidc {
            issuer: "https://id.example".into(),
            client_id: "c".into(),
            client_secret: None,
            session_secret: Secret::new(vec![7; 32]),
        }
    }

    fn session() -> Session {
        let claims = Claims {
            iss: "https://id.example".into(),
            sub: "alice".into(),
            aud: Audience::One("c".into()),
            exp: NOW_MS / 1000 + 10,
            nbf: None,
            iat: None,
            nonce: None,
            name: Some("Alice".into()),
            email: None,
            azp: None,
            client_id: None,
            token_use: None,
        };
        Session::new(claims, "https://video.example", NOW_MS)
    }

    #[test]
    fn session_roundtrips_and_is_bound_to_deployment() {
        let set = Cookies::new(true).set_session(&session(), &oidc());
        assert!(
            set.starts_with("__Host-glimpse=") && set.ends_with("; HttpOnly; SameSite=Lax; Secure"),
            "{set}"
        );
        let header = format!("a=b; {}; glimpse=x", set.split(';').next().unwrap());
        let value = Cookies::new(true).session(&header).unwrap();
        let verify = |url: &str, now_ms| Session::verify(value, &oidc(), url, now_ms);
        assert_eq!(verify("https://video.example", NOW_MS).unwrap().sub, "alice");
        assert!(verify("https://other.example", NOW_MS).is_err());
        assert!(verify("https://video.example", NOW_MS + (SESSION_SECS + 61) * 1000).is_err());
        let mut other = oidc();
        other.session_secret = Secret::new(vec![8; 32]);
        assert!(Session::verify(value, &other, "https://video.example", NOW_MS).is_err());
    }

    #[test]
    fn login_state_is_not_a_session() {
        let login = LoginState::new(&[1; 96], "/", NOW_MS);
        let set = Cookies::new(false).set_login(&login, &oidc());
        let header = set.split(';').next().unwrap();
        assert_eq!(Cookies::new(false).login(header, &login.state, &oidc()), Some(login));
        let value = header.split_once('=').unwrap().1;
        assert!(Session::verify(value, &oidc(), "http://localhost:8787", NOW_MS).is_err());
    }

    #[test]
    fn concurrent_logins_do_not_collide() {
        let cookies = Cookies::new(true);
        let logins = [1, 2].map(|byte| LoginState::new(&[byte; 96], "/", NOW_MS));
        let header: Vec<_> = logins
            .iter()
            .map(|login| cookies.set_login(login, &oidc()).split(';').next().unwrap().to_owned())
            .collect();
        let header = header.join("; ");
        for login in &logins {
            assert_eq!(cookies.login(&header, &login.state, &oidc()).as_ref(), Some(login));
        }
        // A state with the same beginning finds the cookie; the whole state is compared afterwards.
        let similar = format!("{}x", &logins[0].state[..16]);
        let found = cookies.login(&header, &similar, &oidc()).unwrap();
        assert_eq!(found.check(&similar, NOW_MS), Err(TokenError::WrongIssuerOrAudience));
        let cleared = cookies.clear_login(&logins[0].state).unwrap();
        assert!(header.starts_with(cleared.split_once('=').unwrap().0), "{cleared}");
        for evil in ["", "short", "x; Domain=evil.ex", "0123456789abcde\u{e9}", "0123456789\r\nabcdefgh"] {
            assert_eq!(
                (cookies.clear_login(evil), cookies.login(&header, evil, &oidc())),
                (None, None),
                "{evil:?}"
            );
        }
    }

    #[test]
    fn keeps_at_most_eight_logins() {
        let cookies = Cookies::new(false);
        let header = |count: usize| {
            let pairs: Vec<_> = (0..count).map(|place| format!("glimpse-login-{place:016}=x")).collect();
            format!("a=b; {}; glimpse=y", pairs.join("; "))
        };
        assert!(cookies.clear_old_logins(&header(7)).is_empty());
        let cleared = cookies.clear_old_logins(&header(10));
        let names: Vec<_> = cleared.iter().map(|text| text.split_once('=').unwrap().0).collect();
        let oldest = [0, 1, 2].map(|place| format!("glimpse-login-{place:016}"));
        assert_eq!(names, oldest, "room for one more");
    }

    #[test]
    fn session_fits_in_cookie() {
        let mut claims =
            Claims::from_json(&object! { "iss" => "https://id.example", "sub" => "alice", "aud" => "c",
            "exp" => NOW_MS / 1000 + 10, "name" => "n".repeat(4000), "email" => "e".repeat(4000) })
            .unwrap();
        claims.sub = "s".repeat(255);
        let set =
            Cookies::new(true).set_session(&Session::new(claims, "https://video.example", NOW_MS), &oidc());
        assert!(set.len() < 4096, "{}", set.len());
    }

    #[test]
    fn cookie_is_matched_by_full_name() {
        let cookies = Cookies::new(false);
        assert_eq!(cookies.session("glimpse-login=x; xglimpse=y"), None);
        assert_eq!(cookies.session("glimpse-login=x;glimpse=z"), Some("z"));
    }
}
