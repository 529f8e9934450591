//! Decides nothing: the Worker's wiring. Configuration, route, handler, reply.
//!
//! Pure modules (`auth`, `client`, `config`, `cors`, `events`, `moment`, `route`, `s3`, `sign`, `upload` and the parts of
//! `deliver` and `page` but their handlers) take the clock, randomness and configuration as arguments and are tested natively.
//! `platform` and `reply` are the only others that know the Workers runtime; `api`, `claim`, `companion`, `identify`,
//! `login`, `receive`, `remove`, `storage`, `videos`, `deliver::{access,fetch,handler,original}` and `page::handler` join the two.
//! `openapi` describes the routes and is no part of the Worker.

pub mod auth;
pub mod config;
pub mod delivery;
pub mod http;
#[cfg(not(target_arch = "wasm32"))]
pub mod openapi;
pub mod page;
mod platform;
pub mod s3;
pub mod uploads;
pub mod videos;

use std::cell::OnceCell;
use std::future::Future as _;
use std::task::{self, Poll, Waker};

use futures_util::future::{LocalBoxFuture, ready};
use glimpse_contract::{Code, Problem, TRACEPARENT, TraceId};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::future_to_promise;
use worker::{Context, Env, event, worker_sys};

use crate::delivery::Place;
use crate::delivery::signed_url::Proof;
use crate::http::response::Reply;
use crate::http::route::Route;
use crate::uploads::Allowance;
use auth::Caller;
use config::{Config, ConfigErrors};
use platform::{Limiter, Request};

/// What every handler needs that answers somebody who has proven who they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) config: &'static Config,
    pub(crate) request_id: &'a str,
    /// The trace that the request is part of, where something begins that can be part of one.
    pub(crate) trace_id: Option<TraceId>,
}

impl Call<'_> {
    /// What this caller may upload.
    pub(crate) fn allowance(&self) -> Allowance {
        let mut allowance = Allowance::of(self.caller, self.config);
        allowance.passthrough.trace_id = self.trace_id.or(allowance.passthrough.trace_id);
        allowance
    }
}

/// When somebody who was too fast may try again, in seconds: the period of the limits in wrangler.toml.
const RETRY_AFTER_SECS: &str = "10";

thread_local! {
    // Read and checked once for the isolate's life.
    static CONFIG: OnceCell<Result<&'static Config, ConfigErrors>> = const { OnceCell::new() };
}

/// Every isolate begins here. Without `queueMicrotask`, wasm-bindgen's executor takes its turns by promises: those are V8's
/// own, while workerd's microtasks carry a context along and cost ten times as much.
#[event(start)]
fn start() {
    // If it cannot be taken away, turns are slower and nothing else.
    let _ = js_sys::Reflect::set(&js_sys::global(), &"queueMicrotask".into(), &JsValue::UNDEFINED);
}

/// Every request comes in here, by the name that the runtime calls. What has to wait for nothing is answered at once: a
/// promise and a turn of the executor cost as much as a signature.
#[wasm_bindgen]
pub fn fetch(request: Request, env: Env, context: worker_sys::Context) -> Result<JsValue, JsValue> {
    let mut answer = Box::pin(answer(request, env, Context::new(context)));
    match answer.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        // The executor asks again whatever was asked here, which then knows whom to wake.
        Poll::Pending => Ok(future_to_promise(answer).into()),
    }
}

/// The same for `entry.js`: where the cache has the whole answer if it has any, this is the entry's URL, and only if there
/// is none the request comes in by [`fetch`]. A promise that wakes the module to hand a stored response on costs more
/// than all that is decided about it.
#[wasm_bindgen]
pub fn begin(request: Request, env: Env, context: worker_sys::Context) -> Result<JsValue, JsValue> {
    let url = request.url();
    let (path, query) = split_url(&url);
    let entry = match configuration(&env) {
        Ok(config) => delivery::entry_for_all(&request.method(), path, query, config),
        Err(_) => None,
    };
    match entry {
        Some(entry) => Ok(JsValue::from_str(&entry)),
        None => fetch(request, env, context),
    }
}

async fn answer(request: Request, env: Env, context: Context) -> Result<JsValue, JsValue> {
    let request_id = hex::encode(platform::random::<8>());
    let is_head = request.method() == "HEAD";
    let mut reply = respond(request, &env, &context, &request_id).await;
    reply.replace("x-request-id", &request_id);
    let response = reply.into_response(is_head).or_else(|_| {
        platform::log_error("answer", &request_id, "a header that cannot be one");
        Reply::problem(&Problem::new(Code::Internal), &request_id).into_response(is_head)
    });
    response.map(JsValue::from)
}

async fn respond(request: Request, env: &Env, context: &Context, request_id: &str) -> Reply {
    let config = match configuration(env) {
        Ok(config) => config,
        Err(errors) => {
            platform::log_error("configuration", request_id, &errors.to_string());
            let detail = "This deployment is not configured: its log says what is missing.";
            return Reply::problem(&Problem::because(Code::Internal, detail), request_id);
        }
    };
    let url = request.url();
    let (path, query) = split_url(&url);
    let is_api = crate::http::route::is_api(path);
    let origin = is_api.then(|| platform::header(&request, "origin")).flatten();
    let method = request.method();

    if method == "OPTIONS" {
        let mut reply = Reply::empty(204);
        let requested = platform::header(&request, "access-control-request-headers");
        reply.headers = if is_api {
            crate::http::cors::preflight_headers(config, origin.as_deref(), requested.as_deref())
        } else {
            crate::http::cors::picture_preflight_headers(requested.as_deref())
        };
        return reply;
    }
    let (token, sent_path) = crate::http::route::split_token(path);
    let negotiated = delivery::negotiated(sent_path, || platform::header(&request, "accept"));
    let path = negotiated.as_deref().unwrap_or(sent_path);
    // What proves something is taken out of a picture's query first: the rest names the picture, or the token does.
    let may_prove =
        matches!(method.as_str(), "GET" | "HEAD") && !is_api && !crate::http::route::is_document(path);
    let proof = if may_prove {
        delivery::proof(sent_path, query, config, request_id).await
    } else {
        Ok(Proof::Nothing)
    };
    let found =
        proof.map_err(|problem| crate::http::route::NoRoute { problem, allow: None }).and_then(|proof| {
            let route = crate::http::route::route(&method, path, proof.query().or(query))?;
            let is_open = token.is_none() || route.is_for_tokens();
            is_open.then_some((route, proof)).ok_or_else(|| crate::http::route::NoRoute {
                problem: Problem::because(Code::NotFound, "An upload token is for uploads only."),
                allow: None,
            })
        });
    let result = match found {
        Ok((route, proof)) => {
            let is_negotiated = negotiated.is_some();
            let place = &Place { config, env, context, request_id, is_negotiated };
            let asked = Asked { token, proof, query: query.unwrap_or_default(), place, config, request_id };
            handle(route, request, asked).await
        }
        Err(none) => {
            let mut reply = Reply::problem(&none.problem, request_id);
            if let Some(allow) = none.allow {
                reply.replace("allow", &allow);
            }
            Ok(reply)
        }
    };
    let mut reply = result.unwrap_or_else(|problem| {
        let mut reply = Reply::problem(&problem, request_id);
        if problem.code == Code::Unauthorized {
            reply.replace("www-authenticate", "Bearer");
        }
        if problem.code == Code::Busy {
            reply.replace("retry-after", RETRY_AFTER_SECS);
        }
        reply
    });
    if negotiated.is_some() {
        reply.headers.push(("vary", "Accept".to_owned()));
    }
    if is_api {
        reply.headers.extend(crate::http::cors::api_headers(config, origin.as_deref()));
    } else if reply.status >= 400
        && reply.headers.iter().all(|(name, _)| *name != "access-control-allow-origin")
    {
        // A player of another origin that asks for a picture may read why it got none.
        reply.headers.extend(crate::http::cors::picture_headers());
    }
    reply
}

/// What came with a request beside the request itself.
struct Asked<'a> {
    token: Option<&'a str>,
    proof: Proof,
    query: &'a str,
    place: &'a Place<'a>,
    config: &'static Config,
    request_id: &'a str,
}

async fn handle(route: Route, request: Request, asked: Asked<'_>) -> Result<Reply, Problem> {
    let Asked { token, query, place, config, request_id, .. } = asked;
    if let Some(open) = open_to_all(&route, &request, &asked) {
        return open.await;
    }
    let caller = crate::auth::authenticate::caller(&request, token, config, request_id).await?;
    if caller.token.as_ref().is_some_and(|token| token.only.is_some()) && !route.is_for_follow_ups() {
        return Err(Problem::new(Code::Unauthorized));
    }
    let (limiter, who) = match limiter(&route) {
        Some(limiter) => (Some(limiter), counted_as(&caller)),
        // The holder of an upload token is not authenticated further.
        None => (caller.token.as_ref().map(|_| Limiter::Reads), platform::client_key_of(&request)),
    };
    if let Some(limiter) = limiter
        && !platform::is_within(place.env, limiter, &who).await
    {
        return Err(Problem::new(Code::Busy));
    }
    let trace_id = begins_something(&route)
        .then(|| platform::header(&request, TRACEPARENT))
        .flatten()
        .and_then(|header| TraceId::from_traceparent(&header));
    let call = &Call { caller: &caller, config, request_id, trace_id };
    for_caller(&route, &request, query, call).await
}

/// An answer on its way. Each is a state machine of its own behind a pointer: put into one another, as `async` does by
/// itself, they were a single function of 160 kilobytes and a sixth larger.
type Answer<'a> = LocalBoxFuture<'a, Result<Reply, Problem>>;

/// The answer to what nobody has to prove anything for; `None` for everything else.
fn open_to_all<'a>(route: &'a Route, request: &'a Request, asked: &'a Asked<'_>) -> Option<Answer<'a>> {
    let Asked { ref proof, query, place, config, request_id, .. } = *asked;
    let about = |document| -> Answer<'a> { Box::pin(page::serve(request, document, place)) };
    Some(match route {
        Route::Health => at_once(Ok(Reply::empty(200).with("cache-control", "no-store"))),
        Route::Picture(wanted) => Box::pin(delivery::serve(request, wanted, proof, place)),
        Route::Original(video) if !matches!(proof, Proof::Nothing) => {
            Box::pin(delivery::original_by_token(*video, request, proof, place))
        }
        Route::Page(video) => about(page::Document::Page(*video)),
        Route::Meta(video) => about(page::Document::Meta(*video)),
        Route::Oembed => match page::Embed::parse(query, &config.public_url) {
            Ok(embed) => about(page::Document::Embed(embed)),
            Err(problem) => at_once(Err(problem)),
        },
        Route::PageWithSlash(video) => at_once(Ok(page::without_slash(*video, query))),
        Route::Login => Box::pin(crate::auth::login::login(request, Some(query), config, request_id)),
        Route::Callback => Box::pin(crate::auth::login::callback(request, Some(query), config, request_id)),
        _ => return None,
    })
}

/// The answer to somebody who has proven who they are.
fn for_caller<'a>(route: &'a Route, request: &'a Request, query: &'a str, call: &'a Call<'a>) -> Answer<'a> {
    match route {
        Route::Health
        | Route::Picture(_)
        | Route::Page(_)
        | Route::PageWithSlash(_)
        | Route::Meta(_)
        | Route::Oembed
        | Route::Login
        | Route::Callback => at_once(Err(Problem::new(Code::Internal))),
        Route::Logout => at_once(Ok(crate::auth::login::logout(call.config))),
        Route::Me => at_once(Ok(crate::uploads::handlers::me(call))),
        Route::CreateVideo => Box::pin(crate::uploads::handlers::create(request, query, call)),
        Route::SendVideo { name } => {
            Box::pin(crate::uploads::handlers::send(request, name.clone(), query, call))
        }
        Route::ListVideos => Box::pin(crate::videos::handlers::list(query, call)),
        Route::ShowVideo(video) => Box::pin(crate::videos::handlers::show(*video, call)),
        Route::WatchVideo(video) => Box::pin(crate::videos::handlers::watch(*video, request, *call)),
        Route::MintDelivery(video) => {
            Box::pin(crate::uploads::handlers::mint_delivery(*video, request, call))
        }
        Route::DeleteVideo(video) => Box::pin(crate::videos::delete::delete(*video, call)),
        Route::SetPoster(video) => Box::pin(crate::uploads::handlers::set_poster(*video, request, call)),
        Route::ResetPoster(video) => Box::pin(crate::uploads::handlers::reset_poster(*video, call)),
        Route::Original(video) => Box::pin(delivery::original(*video, request, query, call)),
        Route::ListUploads => Box::pin(crate::uploads::companion::list_uploads(call)),
        Route::MintToken => Box::pin(crate::uploads::handlers::mint(request, call)),
        Route::UppyParams => Box::pin(crate::uploads::companion::params(query, call)),
        Route::CreateMultipart => Box::pin(crate::uploads::companion::create(request, call)),
        Route::ListParts { upload_id } => {
            Box::pin(crate::uploads::companion::list_parts(upload_id, query, call))
        }
        Route::SignPart { upload_id, part } => {
            Box::pin(crate::uploads::companion::sign_part(upload_id, part, query, call))
        }
        Route::SignParts { upload_id } => {
            Box::pin(crate::uploads::companion::sign_parts(upload_id, query, call))
        }
        Route::CompleteMultipart { upload_id } => {
            Box::pin(crate::uploads::companion::complete(upload_id, request, query, call))
        }
        Route::AbortMultipart { upload_id } => {
            Box::pin(crate::uploads::companion::abort(upload_id, query, call))
        }
        Route::Presign => Box::pin(crate::uploads::companion::presign(request, call)),
    }
}

fn at_once(answer: Result<Reply, Problem>) -> Answer<'static> {
    Box::pin(ready(answer))
}

/// Under which key this caller is counted: an upload token by itself, so that its holder uses up nothing of its owner's.
fn counted_as(caller: &Caller) -> String {
    let token = caller.token.as_ref().map(|token| ["/", &token.jti].concat());
    [caller.owner.to_string(), token.unwrap_or_default()].concat()
}

/// What is counted by whom, so that nobody runs up a bill: new uploads and tokens, signatures of parts, event streams.
fn limiter(route: &Route) -> Option<Limiter> {
    match route {
        Route::CreateVideo
        | Route::SendVideo { .. }
        | Route::MintToken
        | Route::SetPoster(_)
        | Route::ResetPoster(_)
        | Route::UppyParams
        | Route::CreateMultipart => Some(Limiter::Grants),
        Route::SignPart { .. } | Route::SignParts { .. } | Route::Presign => Some(Limiter::Parts),
        Route::WatchVideo(_) => Some(Limiter::Streams),
        _ => None,
    }
}

/// Whether an upload, or the permission for one, begins with it: then the trace goes along.
fn begins_something(route: &Route) -> bool {
    matches!(route, Route::Presign) || limiter(route) == Some(Limiter::Grants)
}

/// Path and query as they stand on the wire; the `Host` is not looked at.
fn split_url(url: &str) -> (&str, Option<&str>) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.find('/').map_or("/", |at| &rest[at..]);
    let rest = rest.split('#').next().unwrap_or_default();
    match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    }
}

fn configuration(env: &Env) -> Result<&'static Config, ConfigErrors> {
    CONFIG.with(|slot| {
        slot.get_or_init(|| {
            Config::from_lookup(|name| platform::lookup(env, name))
                .map(|config| &*Box::leak(Box::new(config)))
        })
        .clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_as_it_stands() {
        assert_eq!(split_url("https://v.example/a//b?x=%20"), ("/a//b", Some("x=%20")));
        assert_eq!(split_url("http://localhost:8787/"), ("/", None));
        assert_eq!(split_url("http://localhost:8787"), ("/", None));
    }
}
