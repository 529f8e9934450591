//! HTTP handlers for signing in and out with a browser: the redirects of `auth::oidc`, with its fetches and cookies.

use std::cell::{Cell, RefCell};

use glimpse_contract::{Code, Json, Problem};

use crate::auth::authenticate::{
    METADATA_TIMEOUT_MS, POLL_INTERVAL_MS, fetch_metadata, session_caller, verify_with_jwks,
};
use crate::auth::{
    Claims, Cookies, Discovery, ExpectedClaims, FetchDecision, FetchState, LoginState, Oidc, Session,
    authorize_url, callback_state, loopback_url, parse_callback, token_request,
};
use crate::config::Config;
use crate::context::RequestContext;
use crate::http::query::{Query, decode_lossy};
use crate::http::response::Reply;
use crate::platform::{self, FetchRequest, Request, RequestBody};

const MAX_TOKEN_RESPONSE_BYTES: usize = 64 * 1024;

thread_local! {
    static DISCOVERY: RefCell<Option<Discovery>> = const { RefCell::new(None) };
    static FETCH_STATE: Cell<FetchState> = const { Cell::new(FetchState::Idle) };
}

/// `GET /auth/login`: redirects the browser to the provider.
pub(crate) async fn login(
    request: &Request,
    query: Query<'_>,
    ctx: &RequestContext<'_>,
) -> Result<Reply, Problem> {
    let config = ctx.config;
    let oidc = require_oidc(config)?;
    let discovery = discover(oidc, ctx.request_id).await?;
    let return_to = query.get("return_to").map_or_else(|| "/".to_owned(), decode_lossy);
    let login = LoginState::new(&platform::random_bytes(), &return_to, ctx.now_ms);
    let url = authorize_url(&discovery, oidc, &redirect_uri(config), &login);
    let cookies = Cookies::new(config.is_https());
    let mut reply = Reply::redirect(&url).with_header("set-cookie", cookies.set_login(&login, oidc));
    let cookie_header = platform::header(request, "cookie").unwrap_or_default();
    reply
        .headers
        .extend(cookies.clear_old_logins(&cookie_header).into_iter().map(|cookie| ("set-cookie", cookie)));
    Ok(reply)
}

/// `GET /auth/callback`: completes the sign-in after the provider's redirect; on failure, redirects to the page with an error.
pub(crate) async fn callback(
    request: &Request,
    query: Query<'_>,
    ctx: &RequestContext<'_>,
) -> Result<Reply, Problem> {
    let config = ctx.config;
    let oidc = require_oidc(config)?;
    // A code can be used once. Link scanners and prefetching browsers send HEAD, which must not change anything.
    if request.method() == "HEAD" {
        return Ok(Reply::empty(200).with_header("cache-control", "no-store"));
    }
    if let Some(url) = loopback_url(query) {
        // Not a redirect: the provider's form may lead to this origin only (`form-action` of its content security policy).
        return Ok(Reply::empty(200)
            .with_header("cache-control", "no-store")
            .with_header("refresh", format!("0;url={url}")));
    }
    let cookies = Cookies::new(config.is_https());
    let cookie_header = platform::header(request, "cookie").unwrap_or_default();
    let mut reply = match exchange_code(&cookie_header, query, oidc, ctx).await {
        Ok((session, return_to)) => {
            Reply::redirect(&return_to).with_header("set-cookie", cookies.set_session(&session, oidc))
        }
        Err(reason) => {
            platform::log_error("sign_in", ctx.request_id, &reason);
            // If the browser is already signed in, this is the URL of a completed sign-in, opened again by a reload.
            let is_signed_in = session_caller(&cookie_header, config, ctx.now_ms).is_some();
            let is_reload = is_signed_in && !has_login(&cookie_header, query, oidc, config);
            Reply::redirect(if is_reload { "/" } else { "/?sign_in=failed" })
        }
    };
    let cleared = callback_state(query).and_then(|state| cookies.clear_login(&state));
    reply.headers.extend(cleared.map(|cookie| ("set-cookie", cookie)));
    Ok(reply)
}

/// Whether the browser has started the sign-in of this state and not completed it.
fn has_login(cookie_header: &str, query: Query<'_>, oidc: &Oidc, config: &Config) -> bool {
    let state = callback_state(query);
    state.and_then(|state| Cookies::new(config.is_https()).login(cookie_header, &state, oidc)).is_some()
}

/// `POST /auth/logout`: signs the browser out of this deployment; the provider's session is not affected.
pub(crate) fn logout(config: &Config) -> Reply {
    Reply::empty(204)
        .with_header("set-cookie", Cookies::new(config.is_https()).clear_session())
        .with_header("cache-control", "no-store")
}

async fn exchange_code(
    cookie_header: &str,
    query: Query<'_>,
    oidc: &Oidc,
    ctx: &RequestContext<'_>,
) -> Result<(Session, String), String> {
    let RequestContext { config, request_id, now_ms, .. } = *ctx;
    let (code, state) = parse_callback(query)?;
    let login = Cookies::new(config.is_https())
        .login(cookie_header, &state, oidc)
        .ok_or("no matching sign-in cookie")?;
    login.check(&state, now_ms).map_err(|error| error.to_string())?;
    let discovery = discover(oidc, request_id).await.map_err(|problem| problem.detail)?;

    let (body, authorization) = token_request(&discovery, oidc, &redirect_uri(config), &code, &login);
    let mut headers =
        vec![("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")];
    if let Some(authorization) = &authorization {
        headers.push(("authorization", authorization));
    }
    let token_call = FetchRequest {
        headers: &headers,
        body: RequestBody::Text(&body),
        ..FetchRequest::new("POST", &discovery.token_endpoint)
    };
    let response = platform::fetch(token_call).await.map_err(|error| error.to_string())?;
    if response.status != 200 {
        return Err(format!("the token endpoint returned {}", response.status));
    }
    let bytes = response.bytes(MAX_TOKEN_RESPONSE_BYTES).await.map_err(|error| error.to_string())?;
    let json = Json::parse(&bytes).unwrap_or_default();
    let id_token = json.get("id_token").as_str().ok_or("the token response has no id_token")?;

    let (claims, _): (Claims, _) =
        verify_with_jwks(id_token, &discovery.jwks_uri, now_ms).await.map_err(|error| error.to_string())?;
    let expected = ExpectedClaims { issuer: &oidc.issuer, audience: &oidc.client_id };
    claims.check(expected, now_ms).map_err(|error| error.to_string())?;
    if claims.nonce.as_deref() != Some(login.nonce.as_str()) {
        return Err("the ID token's nonce does not match".to_owned());
    }
    if claims.azp.as_ref().is_some_and(|party| *party != oidc.client_id) {
        return Err("the ID token was issued to another client".to_owned());
    }
    Ok((Session::new(claims, &config.public_url, now_ms), login.return_to))
}

fn require_oidc(config: &Config) -> Result<&Oidc, Problem> {
    config.oidc.as_ref().ok_or_else(|| {
        Problem::with_detail(Code::NotFound, "Browser sign-in is not configured. Use a bearer token.")
    })
}

fn redirect_uri(config: &Config) -> String {
    format!("{}/auth/callback", config.public_url)
}

/// Fetches the provider's discovery document. One request fetches it while others wait. A failure is remembered for
/// some seconds, in which no sign-in sends another request to the provider.
async fn discover(oidc: &Oidc, request_id: &str) -> Result<Discovery, Problem> {
    let failure = || {
        Problem::with_detail(Code::Upstream, "The sign-in provider returned an invalid response. Try again.")
    };
    loop {
        if let Some(discovery) = DISCOVERY.with_borrow(Clone::clone) {
            return Ok(discovery);
        }
        let now_ms = platform::now_ms();
        match FETCH_STATE.get().decide(now_ms) {
            FetchDecision::Fail => return Err(failure()),
            FetchDecision::Wait => platform::sleep_ms(POLL_INTERVAL_MS).await,
            FetchDecision::Fetch => {
                FETCH_STATE.set(FetchState::Pending(now_ms + u64::from(METADATA_TIMEOUT_MS)));
                break;
            }
        }
    }
    let body = fetch_metadata(&Discovery::url(&oidc.issuer)).await;
    let Some(discovery) = body.and_then(|body| Discovery::parse(&body, &oidc.issuer)) else {
        FETCH_STATE.set(FetchState::new_failed(platform::now_ms()));
        platform::log_error("discovery", request_id, "the discovery document is missing or invalid");
        return Err(failure());
    };
    FETCH_STATE.set(FetchState::Idle);
    DISCOVERY.with_borrow_mut(|slot| *slot = Some(discovery.clone()));
    Ok(discovery)
}
