//! `glimpse login`, `logout` and `whoami`.
//!
//! Sign-in is that of the deployment's own page, of which the browser does one half and this program the other: it
//! starts the sign-in and keeps its cookie, with PKCE's code verifier; the browser signs in at the provider, which
//! returns it to the deployment; and the deployment sends it on to this program's port on the loopback interface (RFC
//! 8252 section 7.3), by the beginning of the state. This program completes the sign-in at the deployment, which checks
//! the ID token and returns a session. So the provider needs no other client and no other redirect URI, and the client
//! secret stays in the deployment.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use glimpse_doctor::http::{WebRequest, WebResponse};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::api::{Api, error_response};
use crate::config::{Config, Credential};
use crate::context::Context;
use crate::failure::{CommandResult, ExitStatus, Failure};
use crate::origin::DeploymentUrl;
use crate::output::{clean, format_bytes, format_fields, print_note};
use crate::secret::Secret;
use crate::videos::open_browser;

/// How long the deployment waits for a sign-in at the provider.
const SIGN_IN_TIMEOUT: Duration = Duration::from_mins(10);
/// How long a browser may take to send its request to this program.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest URL that is read from the terminal, in bytes.
const MAX_PASTED_BYTES: usize = 16 * 1024;

/// The page that the browser shows at the end.
const DONE_PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Glimpse</title>\
                         <body style=\"font:1.25rem system-ui;margin:4rem\"><p>Return to the terminal. You can close this page.</p>";

/// `glimpse login`.
pub(crate) async fn login(context: &Context, url: Option<&str>, has_no_browser: bool) -> CommandResult<()> {
    let url = match url {
        Some(url) => DeploymentUrl::parse(url).map_err(Failure::usage)?,
        None => context.deployment()?,
    };
    if url.upload_token().is_some() {
        return Err(Failure::usage("the URL of an upload token is a credential: pass it as --url instead"));
    }
    let file = context.folders()?.config_file();
    let mut config = Config::load(&file)?;
    let credential = match &context.token {
        Some(token) => Credential::Token(token.clone()),
        None => sign_in(context, &url, has_no_browser).await?,
    };
    let api = Api::new(url.clone(), Some(credential.clone()))?;
    let me = api.call(Method::GET, "/api/me", None).await?;
    config.deployments.insert(url.origin().to_owned(), credential.clone());
    config.default = Some(url.origin().to_owned());
    config.save(&file)?;
    let document = describe_caller(&url, &me, &credential);
    context.output.print(&document, || format!("signed in to {url} as {}", display_name(&me)))
}

/// `glimpse logout`: forgets the credential of the deployment.
pub(crate) fn logout(context: &Context, is_all: bool) -> CommandResult<()> {
    let file = context.folders()?.config_file();
    let mut config = Config::load(&file)?;
    let removed: Vec<String> = if is_all {
        std::mem::take(&mut config.deployments).into_keys().collect()
    } else {
        let url = context.deployment()?;
        config.deployments.remove(url.origin()).map(|_| url.origin().to_owned()).into_iter().collect()
    };
    if config.default.as_ref().is_some_and(|default| removed.contains(default)) {
        config.default = None;
    }
    if !removed.is_empty() {
        config.save(&file)?;
    }
    context.output.print(&json!({ "signed_out": removed }), || match removed.as_slice() {
        [] => "there was no credential".to_owned(),
        all => format!("signed out of {}", all.join(", ")),
    })
}

/// `glimpse whoami`.
pub(crate) async fn whoami(context: &Context) -> CommandResult<()> {
    let api = context.api()?;
    let credential = context.credential(api.url())?;
    let me = api.call(Method::GET, "/api/me", None).await?;
    let document = match &credential {
        Some(credential) => describe_caller(api.url(), &me, credential),
        None => json!({ "url": api.url().origin(), "caller": me }),
    };
    context.output.print(&document, || {
        let mut fields = vec![("deployment".to_owned(), api.url().to_string())];
        let mut push = |name: &str, value: Option<String>| {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        };
        for name in ["name", "email", "subject", "owner"] {
            push(name, me[name].as_str().map(clean));
        }
        push("expires", document["expires_at"].as_str().map(str::to_owned));
        push("maximum size", me["limits"]["max_upload_bytes"].as_u64().map(format_bytes));
        format_fields(&fields)
    })
}

fn describe_caller(url: &DeploymentUrl, me: &Value, credential: &Credential) -> Value {
    let (kind, expires_at) = match credential {
        Credential::Token(_) => ("token", None),
        Credential::Session { expires_at, .. } => ("session", Some(*expires_at)),
    };
    // The expiry of a session in GLIMPSE_COOKIE is not known.
    let expires_at = expires_at.and_then(|secs| secs.checked_mul(1000)).map(glimpse_contract::format_rfc3339);
    json!({ "url": url.origin(), "credential": kind, "expires_at": expires_at, "caller": me })
}

fn display_name(me: &Value) -> String {
    let name = ["name", "email", "subject"].into_iter().find_map(|name| me[name].as_str());
    clean(name.unwrap_or("an unnamed user"))
}

/// A sign-in that the deployment has started.
#[derive(Debug)]
struct SignIn {
    /// The URL at the provider, with this program's state.
    authorize_url: String,
    /// This program's state.
    state: String,
    /// The deployment's state.
    original_state: String,
    /// The deployment's cookie of this sign-in.
    cookie: Secret,
}

/// Signs in with a browser, and returns the session.
async fn sign_in(context: &Context, url: &DeploymentUrl, has_no_browser: bool) -> CommandResult<Credential> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(|error| Failure::io("cannot listen on the loopback interface", &error))?;
    let port = listener.local_addr().map_err(|error| Failure::io("cannot listen", &error))?.port();
    let api = Api::new(url.clone(), None)?;
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
    let state = format!("loopback.{port}.{}", URL_SAFE_NO_PAD.encode(random));
    let sign_in = start(&api, state).await?;

    print_note(format!("Sign in with your browser:\n\n  {}\n", sign_in.authorize_url));
    let has_browser = !has_no_browser && open_browser(&sign_in.authorize_url).is_ok();
    if !has_browser || io::stdin().is_terminal() {
        print_note(
            "If the browser is on another machine, its last page cannot be loaded: paste that page's address here.",
        );
    }
    let callback = timeout(SIGN_IN_TIMEOUT, wait_for_callback(listener, &sign_in.state))
        .await
        .map_err(|_| Failure::failed("the sign-in was not completed within 10 minutes"))??;
    complete(&api, &sign_in, &callback, context.now_secs()).await
}

async fn start(api: &Api, state: String) -> CommandResult<SignIn> {
    let address = api.url().call("/auth/login");
    let response = send(api, WebRequest::new(Method::GET, &address)).await?;
    if response.status != 302 {
        let failure = error_response(&response).failure;
        return Err(match failure.status {
            ExitStatus::NotFound => {
                Failure { message: format!("{} Pass --token.", failure.message), ..failure }
            }
            _ => failure,
        });
    }
    let (authorize_url, original_state) = replace_state(response.header("location"), &state)
        .ok_or_else(|| Failure::failed(format!("{} starts no sign-in: check the address", api.url())))?;
    let cookie = cookie_pair(&response.headers, |name| name.contains("glimpse-login-"))
        .ok_or_else(|| Failure::failed(format!("{} sets no cookie for the sign-in", api.url())))?;
    Ok(SignIn { authorize_url, state, original_state, cookie: Secret::new(cookie.0) })
}

/// Completes the sign-in with the query of the callback.
async fn complete(api: &Api, sign_in: &SignIn, callback: &str, now_secs: u64) -> CommandResult<Credential> {
    if let Some(error) = query_value(callback, "error") {
        return Err(Failure::new(
            ExitStatus::Unauthenticated,
            format!("the provider has denied the sign-in: {}", clean(error)),
        ));
    }
    let (address, _) =
        replace_state(&format!("{}?{callback}", api.url().call("/auth/callback")), &sign_in.original_state)
            .ok_or_else(|| Failure::failed("the callback has no state"))?;
    let request = WebRequest::new(Method::GET, &address).with_header("cookie", sign_in.cookie.expose());
    let response = send(api, request).await?;
    let session = cookie_pair(&response.headers, |name| name == "glimpse" || name == "__Host-glimpse");
    let Some((cookie, max_age)) = session else {
        return Err(Failure::new(
            ExitStatus::Unauthenticated,
            format!("{} has not accepted the sign-in: its log names the reason", api.url()),
        ));
    };
    Ok(Credential::Session { cookie: Secret::new(cookie), expires_at: now_secs + max_age })
}

async fn send(api: &Api, request: WebRequest<'_>) -> CommandResult<WebResponse> {
    api.client().send(request).await.map_err(|why| {
        Failure::new(ExitStatus::Unavailable, format!("no response from {}: {}", api.url(), clean(&why)))
    })
}

/// The URL with another state, and the state that it had.
fn replace_state(url: &str, state: &str) -> Option<(String, String)> {
    let (path, query) = url.split_once('?')?;
    let original = query_value(query, "state")?.to_owned();
    let replace = |pair: &str| match pair.split_once('=') {
        Some(("state", _)) => format!("state={state}"),
        _ => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(replace).collect();
    Some((format!("{path}?{}", pairs.join("&")), original))
}

/// A value of a query, as it was sent.
fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(other, _)| *other == name)
        .map(|pair| pair.1)
}

/// The first cookie that is set with such a name: `name=value`, and its lifetime in seconds.
fn cookie_pair(headers: &HeaderMap, is_name: impl Fn(&str) -> bool) -> Option<(String, u64)> {
    let mut set = headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    set.find_map(|text| {
        let mut parts = text.split(';').map(str::trim);
        let pair = parts.next()?;
        let (name, value) = pair.split_once('=')?;
        let max_age = parts.find_map(|part| part.strip_prefix("Max-Age=")?.parse().ok())?;
        (is_name(name) && !value.is_empty() && max_age > 0).then(|| (pair.to_owned(), max_age))
    })
}

/// The query of a callback with this state, from a request's target, a URL or a pasted line.
fn callback_query(text: &str, state: &str) -> Option<String> {
    let (_, query) = text.trim().split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    (query_value(query, "state") == Some(state)).then(|| query.to_owned())
}

/// Waits for the browser's request, or for a pasted URL.
async fn wait_for_callback(listener: TcpListener, state: &str) -> CommandResult<String> {
    let (sender, mut receiver) = mpsc::channel(4);
    read_pasted_urls(sender.clone());
    loop {
        tokio::select! {
            Some(line) = receiver.recv() => {
                if let Some(query) = callback_query(&line, state) {
                    return Ok(query);
                }
                if line.contains("://") {
                    print_note("That address is not the end of this sign-in.");
                }
            }
            accepted = listener.accept() => {
                let (stream, _) = accepted.map_err(|error| Failure::io("cannot accept a connection", &error))?;
                let (sender, state) = (sender.clone(), state.to_owned());
                let service = service_fn(move |request| {
                    let answer = answer(&request, &state, &sender);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false);
                let connection = server.serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
        }
    }
}

/// The response to a request on the loopback interface. Requests without this sign-in's state, which only the browser
/// knows, are not found.
fn answer<T>(request: &Request<T>, state: &str, sender: &mpsc::Sender<String>) -> Response<Full<Bytes>> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let is_callback = request.method() == Method::GET && callback_query(target, state).is_some();
    let (status, page) = if is_callback { (200, DONE_PAGE) } else { (404, "") };
    if is_callback {
        let _ = sender.try_send(target.to_owned());
    }
    Response::builder()
        .status(status)
        .header("content-type", "text/html; charset=utf-8")
        .header("cache-control", "no-store")
        .header("referrer-policy", "no-referrer")
        .header("connection", "close")
        .body(Full::new(Bytes::from_static(page.as_bytes())))
        .expect("the response is valid")
}

/// Sends the lines of standard input, in a thread that ends with the program.
fn read_pasted_urls(sender: mpsc::Sender<String>) {
    if !io::stdin().is_terminal() {
        return;
    }
    std::thread::spawn(move || {
        let mut line = String::new();
        while io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            let text = std::mem::take(&mut line);
            if text.len() <= MAX_PASTED_BYTES && sender.blocking_send(text).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "loopback.8123.abc";

    #[test]
    fn state_of_the_authorization_is_replaced() {
        let url = "https://id.example/auth?response_type=code&state=ORIGINAL&nonce=n&code_challenge=c";
        let (replaced, original) = replace_state(url, STATE).unwrap();
        assert_eq!(original, "ORIGINAL");
        assert_eq!(replaced, url.replace("ORIGINAL", STATE));
        assert_eq!(replace_state("https://id.example/auth?nonce=n", STATE), None);
        assert_eq!(replace_state("/", STATE), None);
    }

    #[test]
    fn callback_must_have_this_state() {
        let query = "code=a%2Bb&state=loopback.8123.abc";
        for text in [
            format!("/?{query}"),
            format!(" http://127.0.0.1:8123/?{query}\n"),
            format!("https://video.example/auth/callback?{query}#x"),
        ] {
            assert_eq!(callback_query(&text, STATE).as_deref(), Some(query), "{text}");
        }
        for text in ["", "/", "/?code=a", "/?code=a&state=loopback.8123.abd", "/favicon.ico"] {
            assert_eq!(callback_query(text, STATE), None, "{text}");
        }
    }

    #[test]
    fn only_the_callback_is_answered() {
        let (sender, mut receiver) = mpsc::channel(1);
        let status = |method: &str, target: &str| {
            let request = Request::builder().method(method).uri(target).body(()).unwrap();
            answer(&request, STATE, &sender).status().as_u16()
        };
        assert_eq!(status("GET", "/favicon.ico"), 404);
        assert_eq!(status("GET", "/?code=x&state=loopback.8123.wrong"), 404);
        assert_eq!(status("POST", "/?code=x&state=loopback.8123.abc"), 404);
        assert!(receiver.try_recv().is_err());
        assert_eq!(status("GET", "/?code=x&state=loopback.8123.abc"), 200);
        assert_eq!(receiver.try_recv().unwrap(), "/?code=x&state=loopback.8123.abc");
    }

    #[test]
    fn cookies_are_read_with_their_lifetime() {
        let mut headers = HeaderMap::new();
        for text in [
            "__Host-glimpse-login-AAAA=; Path=/; Max-Age=0; HttpOnly",
            "__Host-glimpse=eyJ.x.y; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure",
        ] {
            headers.append("set-cookie", text.parse().unwrap());
        }
        let session = cookie_pair(&headers, |name| name == "__Host-glimpse");
        assert_eq!(session, Some(("__Host-glimpse=eyJ.x.y".to_owned(), 43_200)));
        assert_eq!(cookie_pair(&headers, |name| name.contains("glimpse-login-")), None, "a removed cookie");
    }
}
