//! Authenticates requests with the runtime's APIs: fetches key sets and caches them in the isolate, and remembers the
//! callers of verified tokens.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::thread::LocalKey;

use glimpse_contract::{Code, Problem};

use crate::auth::carrier::{Carrier, Credential, find_credential};
use crate::auth::verified::{TokenDigest, VerifiedTokens};
use crate::auth::{
    Caller, Claims, Cookies, JwkSet, JwtIssuer, JwtKeys, MAX_TOKEN_BYTES, RefreshDecision, Session,
    TokenError, UnverifiedToken, UploadToken, verify_hs256,
};
use crate::config::Config;
use crate::context::RequestContext;
use crate::platform::{self, FetchRequest, Request};

/// The largest key set or discovery document that is read, in bytes.
const MAX_METADATA_BYTES: usize = 64 * 1024;
/// Timeout of fetching such a document, in milliseconds: a request waits for it.
pub(crate) const METADATA_TIMEOUT_MS: u32 = 3_000;
/// How often a request checks whether another request's fetch has finished, in milliseconds.
pub(crate) const POLL_INTERVAL_MS: u64 = 20;

thread_local! {
    // Public keys by the URL of their set, for the lifetime of this isolate.
    static JWK_SETS: RefCell<HashMap<String, Rc<JwkSet>>> = RefCell::new(HashMap::new());
    static BEARER_TOKENS: CallerMemory = const { RefCell::new(VerifiedTokens::new()) };
    static SESSIONS: CallerMemory = const { RefCell::new(VerifiedTokens::new()) };
    static UPLOAD_TOKENS: CallerMemory = const { RefCell::new(VerifiedTokens::new()) };
}

/// The callers of the verified tokens of one kind.
type CallerMemory = RefCell<VerifiedTokens<Rc<Caller>>>;

/// The version of keys in the configuration: an isolate has one configuration.
pub(crate) const CONFIGURED_KEYS: u64 = 0;

/// Authenticates the caller: by an upload token in the path, a bearer token, or a session cookie, in this order.
///
/// # Errors
/// `unauthorized` with the same text for every invalid credential; `forbidden_origin` for a state-changing request with
/// this browser's cookie from a page of another origin.
pub(crate) async fn authenticate(
    request: &Request,
    path_token: Option<&str>,
    ctx: &RequestContext<'_>,
) -> Result<Rc<Caller>, Problem> {
    let RequestContext { config, request_id, now_ms, .. } = *ctx;
    let unauthorized = || Problem::new(Code::Unauthorized);
    match find_credential(path_token, |name| platform::header(request, name)).ok_or_else(unauthorized)? {
        Credential::UploadToken(text) => {
            let caller = remembered(&UPLOAD_TOKENS, text, now_ms, || {
                let token = UploadToken::parse(text, &config.upload_keys, &config.public_url, now_ms);
                token.map(Caller::from_upload_token)
            });
            caller.map_err(|error| reject(error, request_id))
        }
        Credential::Authorization(header) => {
            // RFC 9110 section 11.4: one or more spaces.
            let (scheme, token) = header.split_once(' ').unwrap_or_default();
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(unauthorized());
            }
            let issuer = config.jwt_issuer.as_ref().ok_or(TokenError::NoKey);
            let caller = match issuer {
                Ok(issuer) => bearer(token.trim(), issuer, now_ms).await,
                Err(error) => Err(error),
            };
            caller.map_err(|error| reject(error, request_id))
        }
        Credential::Cookie(header) => {
            let caller = session_caller(&header, config, now_ms).ok_or_else(unauthorized)?;
            let is_safe = matches!(request.method(), "GET" | "HEAD");
            if !is_safe {
                let origin = platform::header(request, "origin");
                if !origin.is_some_and(|origin| config.allows_origin(&origin)) {
                    return Err(Problem::new(Code::ForbiddenOrigin));
                }
            }
            Ok(caller)
        }
    }
}

/// Whether a request has a header with a credential, verified or not.
pub(crate) fn has_credentials(request: &Request) -> bool {
    Carrier::ALL.into_iter().filter_map(Carrier::header).any(|name| platform::header(request, name).is_some())
}

/// The user of a valid session in a `Cookie` header.
pub(crate) fn session_caller(cookie_header: &str, config: &Config, now_ms: u64) -> Option<Rc<Caller>> {
    let oidc = config.oidc.as_ref()?;
    let value = Cookies::new(config.is_https()).session(cookie_header)?;
    let verify = || Session::verify(value, oidc, &config.public_url, now_ms).map(Caller::from_claims);
    remembered(&SESSIONS, value, now_ms, verify).ok()
}

/// The caller of a token that keys of the configuration verify, and that only this isolate's memory of its kind has.
fn remembered(
    memory: &'static LocalKey<CallerMemory>,
    text: &str,
    now_ms: u64,
    verify: impl FnOnce() -> Result<Caller, TokenError>,
) -> Result<Rc<Caller>, TokenError> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let digest = TokenDigest::new(text);
    if let Some(caller) = memory.with_borrow(|known| known.get(digest, CONFIGURED_KEYS, now_ms)) {
        return Ok(caller);
    }
    let caller = Rc::new(verify()?);
    remember(memory, digest, &caller, CONFIGURED_KEYS, now_ms);
    Ok(caller)
}

fn remember(
    memory: &'static LocalKey<CallerMemory>,
    digest: TokenDigest,
    caller: &Rc<Caller>,
    keys: u64,
    now_ms: u64,
) {
    memory.with_borrow_mut(|known| {
        known.insert(digest, Rc::clone(caller), keys, caller.expires_at, now_ms);
    });
}

/// Only the log contains the reason; the response is the same for every token.
fn reject(error: TokenError, request_id: &str) -> Problem {
    platform::log_error("token", request_id, &error.to_string());
    Problem::new(Code::Unauthorized)
}

/// The caller of a bearer token.
async fn bearer(text: &str, issuer: &JwtIssuer, now_ms: u64) -> Result<Rc<Caller>, TokenError> {
    let check = |claims: Claims| -> Result<Caller, TokenError> {
        claims.check_bearer(&issuer.issuer, &issuer.audiences, now_ms)?;
        Ok(Caller::from_claims(claims))
    };
    let url = match &issuer.keys {
        JwtKeys::Secret(secret) => {
            return remembered(&BEARER_TOKENS, text, now_ms, || {
                check(Claims::from_json(&verify_hs256(text, secret)?)?)
            });
        }
        JwtKeys::Jwks(url) => url,
    };
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let digest = TokenDigest::new(text);
    // A set that has to be fetched again is, before it verifies another token: a removed key is then unknown.
    let version = JWK_SETS.with_borrow(|sets| sets.get(url)?.fresh_version(now_ms));
    if let Some(keys) = version
        && let Some(caller) = BEARER_TOKENS.with_borrow(|known| known.get(digest, keys, now_ms))
    {
        return Ok(caller);
    }
    let (claims, keys) = verify_with_jwks(text, url, now_ms).await?;
    let caller = Rc::new(check(claims)?);
    remember(&BEARER_TOKENS, digest, &caller, keys, now_ms);
    Ok(caller)
}

/// The claims of a token whose signature verifies with a key of the set at `url`, and the version of that set.
pub(crate) async fn verify_with_jwks(
    text: &str,
    url: &str,
    now_ms: u64,
) -> Result<(Claims, u64), TokenError> {
    let token = UnverifiedToken::parse(text)?;
    let set = load_jwk_set(&token, url).await;
    let verification = set.verification(&token, now_ms)?;
    if !platform::verify(&verification).await {
        return Err(TokenError::Signature);
    }
    Ok((Claims::from_json(&token.claims()?)?, set.version()))
}

/// Returns the set at `url`. Fetches it first if this token needs that and no other request is fetching it.
async fn load_jwk_set(token: &UnverifiedToken<'_>, url: &str) -> Rc<JwkSet> {
    let with_set = |change: &mut dyn FnMut(&mut Rc<JwkSet>)| {
        JWK_SETS.with_borrow_mut(|sets| change(sets.entry(url.to_owned()).or_default()));
    };
    loop {
        let now_ms = platform::now_ms();
        let mut cached = Rc::default();
        with_set(&mut |set| cached = Rc::clone(set));
        match cached.decide(token, now_ms) {
            RefreshDecision::UseCached => return cached,
            RefreshDecision::WaitForOther => platform::sleep_ms(POLL_INTERVAL_MS).await,
            RefreshDecision::Refresh => {
                let deadline_ms = now_ms + u64::from(METADATA_TIMEOUT_MS);
                with_set(&mut |set| Rc::make_mut(set).begin_refresh(deadline_ms));
                let body = fetch_metadata(url).await;
                with_set(&mut |set| Rc::make_mut(set).finish_refresh(body.as_deref(), platform::now_ms()));
            }
        }
    }
}

/// Fetches a small public document: a key set or a discovery document.
pub(crate) async fn fetch_metadata(url: &str) -> Option<Vec<u8>> {
    let headers = [("accept", "application/json")];
    let request =
        FetchRequest { headers: &headers, timeout_ms: METADATA_TIMEOUT_MS, ..FetchRequest::new("GET", url) };
    let response = platform::fetch(request).await.ok().filter(|found| found.status == 200)?;
    response.bytes(MAX_METADATA_BYTES).await.ok()
}
