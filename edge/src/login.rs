//! Decides nothing by itself: the browser's way through the OpenID provider and back, as `auth::oidc` lays it out.

use std::cell::RefCell;

use glimpse_contract::{Code, Json, Problem};

use crate::auth::{
    Claims, Cookies, Discovery, Expected, LoginState, Oidc, Session, authorize_url, callback_query,
    token_request,
};
use crate::config::Config;
use crate::identify::{by_key_set, fetch_metadata};
use crate::platform::{self, Outgoing, Request, Sent};
use crate::reply::Reply;

const MAX_TOKEN_ANSWER_BYTES: usize = 64 * 1024;

thread_local! {
    static DISCOVERY: RefCell<Option<Discovery>> = const { RefCell::new(None) };
}

/// Sends the browser to the provider.
pub(crate) async fn login(query: Option<&str>, config: &Config, request_id: &str) -> Result<Reply, Problem> {
    let oidc = configured(config)?;
    let discovery = discover(oidc, request_id).await?;
    let return_to = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("return_to="))
        .map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned());
    let login = LoginState::new(&platform::random(), return_to.as_deref().unwrap_or("/"), platform::now_ms());
    let url = authorize_url(&discovery, oidc, &redirect_uri(config), &login);
    Ok(Reply::redirect(&url).with("set-cookie", Cookies::new(config.is_https()).set_login(&login, oidc)))
}

/// Takes the browser back from the provider, signed in; or back to the page, which says that it did not work.
pub(crate) async fn callback(
    request: &Request,
    query: Option<&str>,
    config: &Config,
    request_id: &str,
) -> Result<Reply, Problem> {
    let oidc = configured(config)?;
    let cookies = Cookies::new(config.is_https());
    match exchange(request, query.unwrap_or_default(), oidc, config, request_id).await {
        Ok((session, return_to)) => Ok(Reply::redirect(&return_to)
            .with("set-cookie", cookies.set_session(&session, oidc))
            .with("set-cookie", cookies.clear_login())),
        Err(reason) => {
            platform::log_error("sign_in", request_id, &reason);
            Ok(Reply::redirect("/?sign_in=failed").with("set-cookie", cookies.clear_login()))
        }
    }
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
        .login(&cookie, oidc)
        .ok_or("the browser brought no sign-in of ours back")?;
    login.check(&state, now_ms).map_err(|error| error.to_string())?;
    let discovery = discover(oidc, request_id).await.map_err(|problem| problem.detail)?;

    let (body, authorization) = token_request(oidc, &redirect_uri(config), &code, &login);
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

async fn discover(oidc: &Oidc, request_id: &str) -> Result<Discovery, Problem> {
    if let Some(known) = DISCOVERY.with_borrow(Clone::clone) {
        return Ok(known);
    }
    let found = fetch_metadata(&Discovery::url(&oidc.issuer)).await;
    let Some(discovery) = found.and_then(|body| Discovery::read(&body, &oidc.issuer)) else {
        platform::log_error("discovery", request_id, "the provider's description is missing or not its own");
        return Err(Problem::because(
            Code::Upstream,
            "The sign-in provider does not answer as it should. Try again.",
        ));
    };
    DISCOVERY.with_borrow_mut(|slot| *slot = Some(discovery.clone()));
    Ok(discovery)
}
