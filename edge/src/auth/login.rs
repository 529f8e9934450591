//! Decides nothing by itself: the browser's way through the OpenID provider and back, as `auth::oidc` lays it out.

use std::cell::{Cell, RefCell};

use glimpse_contract::{Code, Json, Problem};

use crate::auth::authenticate::{self, LOOK_AGAIN_MS, METADATA_PATIENCE_MS, by_key_set, fetch_metadata};
use crate::auth::{
    Attempt, Claims, Cookies, Discovery, Expected, LoginState, Next, Oidc, Session, authorize_url,
    callback_query, callback_state, token_request,
};
use crate::config::Config;
use crate::http::response::Reply;
use crate::platform::{self, Outgoing, Request, Sent};

const MAX_TOKEN_ANSWER_BYTES: usize = 64 * 1024;

thread_local! {
    static DISCOVERY: RefCell<Option<Discovery>> = const { RefCell::new(None) };
    static ATTEMPT: Cell<Attempt> = const { Cell::new(Attempt::None) };
}

/// Sends the browser to the provider.
pub(crate) async fn login(
    request: &Request,
    query: Option<&str>,
    config: &Config,
    request_id: &str,
) -> Result<Reply, Problem> {
    let oidc = configured(config)?;
    let discovery = discover(oidc, request_id).await?;
    let return_to = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("return_to="))
        .map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned());
    let login = LoginState::new(&platform::random(), return_to.as_deref().unwrap_or("/"), platform::now_ms());
    let url = authorize_url(&discovery, oidc, &redirect_uri(config), &login);
    let cookies = Cookies::new(config.is_https());
    let mut reply = Reply::redirect(&url).with("set-cookie", cookies.set_login(&login, oidc));
    let present = platform::header(request, "cookie").unwrap_or_default();
    reply.headers.extend(cookies.clear_old_logins(&present).into_iter().map(|cookie| ("set-cookie", cookie)));
    Ok(reply)
}

/// Takes the browser back from the provider, signed in; or back to the page, which says that it did not work.
pub(crate) async fn callback(
    request: &Request,
    query: Option<&str>,
    config: &Config,
    request_id: &str,
) -> Result<Reply, Problem> {
    let oidc = configured(config)?;
    // A code is good once. Scanners of links and browsers that look ahead ask by HEAD, which must change nothing.
    if request.method() == "HEAD" {
        return Ok(Reply::empty(200).with("cache-control", "no-store"));
    }
    let query = query.unwrap_or_default();
    let cookies = Cookies::new(config.is_https());
    let mut reply = match exchange(request, query, oidc, config, request_id).await {
        Ok((session, return_to)) => {
            Reply::redirect(&return_to).with("set-cookie", cookies.set_session(&session, oidc))
        }
        Err(reason) => {
            platform::log_error("sign_in", request_id, &reason);
            let is_reloaded = is_signed_in(request, config) && !has_login(request, query, oidc, config);
            Reply::redirect(if is_reloaded { "/" } else { "/?sign_in=failed" })
        }
    };
    let forgotten = callback_state(query).and_then(|state| cookies.clear_login(&state));
    reply.headers.extend(forgotten.map(|cookie| ("set-cookie", cookie)));
    Ok(reply)
}

/// Whether the browser is signed in already. Then an address of a sign-in that is over was opened once more, as by a reload.
fn is_signed_in(request: &Request, config: &Config) -> bool {
    authenticate::session(request, config, platform::now_ms()).is_some()
}

/// Whether the browser has begun the sign-in of this state, and not completed it.
fn has_login(request: &Request, query: &str, oidc: &Oidc, config: &Config) -> bool {
    let cookie = platform::header(request, "cookie").unwrap_or_default();
    let state = callback_state(query);
    state.and_then(|state| Cookies::new(config.is_https()).login(&cookie, &state, oidc)).is_some()
}

/// Signs the browser out here; the provider's own session is its own.
pub(crate) fn logout(config: &Config) -> Reply {
    Reply::empty(204)
        .with("set-cookie", Cookies::new(config.is_https()).clear_session())
        .with("cache-control", "no-store")
}

async fn exchange(
    request: &Request,
    query: &str,
    oidc: &Oidc,
    config: &Config,
    request_id: &str,
) -> Result<(Session, String), String> {
    let now_ms = platform::now_ms();
    let (code, state) = callback_query(query)?;
    let cookie = platform::header(request, "cookie").unwrap_or_default();
    let login = Cookies::new(config.is_https())
        .login(&cookie, &state, oidc)
        .ok_or("the browser brought no sign-in of ours back")?;
    login.check(&state, now_ms).map_err(|error| error.to_string())?;
    let discovery = discover(oidc, request_id).await.map_err(|problem| problem.detail)?;

    let (body, authorization) = token_request(&discovery, oidc, &redirect_uri(config), &code, &login);
    let mut headers =
        vec![("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")];
    if let Some(authorization) = &authorization {
        headers.push(("authorization", authorization));
    }
    let outgoing = Outgoing {
        headers: &headers,
        body: Sent::Text(&body),
        ..Outgoing::plain("POST", &discovery.token_endpoint)
    };
    let found = platform::fetch(outgoing).await.map_err(|error| error.to_string())?;
    if found.status != 200 {
        return Err(format!("the token endpoint answered {}", found.status));
    }
    let bytes = found.bytes(MAX_TOKEN_ANSWER_BYTES).await.map_err(|error| error.to_string())?;
    let answer = Json::read(&bytes).unwrap_or_default();
    let id_token = answer.get("id_token").text().ok_or("the token endpoint's answer has no id_token")?;

    let claims: Claims =
        by_key_set(id_token, &discovery.jwks_uri, now_ms).await.map_err(|error| error.to_string())?;
    let expected = Expected { issuer: &oidc.issuer, audience: &oidc.client_id };
    claims.check(expected, now_ms).map_err(|error| error.to_string())?;
    if claims.nonce.as_deref() != Some(login.nonce.as_str()) {
        return Err("the ID token belongs to another sign-in".to_owned());
    }
    if claims.azp.as_ref().is_some_and(|party| *party != oidc.client_id) {
        return Err("the ID token is for another client".to_owned());
    }
    Ok((Session::begin(claims, &config.public_url, now_ms), login.return_to))
}

fn configured(config: &Config) -> Result<&Oidc, Problem> {
    config.oidc.as_ref().ok_or_else(|| {
        Problem::because(Code::NotFound, "Signing in with a browser is not set up here: use a bearer token.")
    })
}

fn redirect_uri(config: &Config) -> String {
    format!("{}/auth/callback", config.public_url)
}

/// The provider's description. One request fetches it while others wait, and a failure is remembered for some seconds: a
/// provider that does not answer is asked once in that time, for all sign-ins.
async fn discover(oidc: &Oidc, request_id: &str) -> Result<Discovery, Problem> {
    let failure =
        || Problem::because(Code::Upstream, "The sign-in provider does not answer as it should. Try again.");
    loop {
        if let Some(known) = DISCOVERY.with_borrow(Clone::clone) {
            return Ok(known);
        }
        let now_ms = platform::now_ms();
        match ATTEMPT.get().next(now_ms) {
            Next::Fail => return Err(failure()),
            Next::Wait => platform::sleep_ms(LOOK_AGAIN_MS).await,
            Next::Fetch => {
                ATTEMPT.set(Attempt::Awaited(now_ms + u64::from(METADATA_PATIENCE_MS)));
                break;
            }
        }
    }
    let found = fetch_metadata(&Discovery::url(&oidc.issuer)).await;
    let Some(discovery) = found.and_then(|body| Discovery::read(&body, &oidc.issuer)) else {
        ATTEMPT.set(Attempt::failed(platform::now_ms()));
        platform::log_error("discovery", request_id, "the provider's description is missing or not its own");
        return Err(failure());
    };
    ATTEMPT.set(Attempt::None);
    DISCOVERY.with_borrow_mut(|slot| *slot = Some(discovery.clone()));
    Ok(discovery)
}
