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

use crate::delivery::RequestContext;
use crate::delivery::signed_url::DeliveryCredential;
use crate::http::response::Reply;
use crate::http::route::Route;
use crate::uploads::UploadPolicy;
use auth::Caller;
use config::{Config, ConfigErrors};
use platform::{Limiter, Request};

/// What every handler needs that answers somebody who has proven who they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiContext<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) config: &'static Config,
    pub(crate) request_id: &'a str,
    /// The trace that the request is part of, where something begins that can be part of one.
    pub(crate) trace_id: Option<TraceId>,
}

impl ApiContext<'_> {
    /// What this caller may upload.
    pub(crate) fn upload_policy(&self) -> UploadPolicy {
        let mut policy = UploadPolicy::from_caller(self.caller, self.config);
        policy.client_metadata.trace_id = self.trace_id.or(policy.client_metadata.trace_id);
        policy
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
    let mut future = Box::pin(handle_request(request, env, Context::new(context)));
    match future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        // The executor asks again whatever was asked here, which then knows whom to wake.
        Poll::Pending => Ok(future_to_promise(future).into()),
    }
}

/// The same for `entry.js`: where the cache has the whole answer if it has any, this is the entry's URL, and only if there
/// is none the request comes in by [`fetch`]. A promise that wakes the module to hand a stored response on costs more
/// than all that is decided about it.
#[wasm_bindgen]
pub fn cache_lookup_url(
    request: Request,
    env: Env,
    context: worker_sys::Context,
) -> Result<JsValue, JsValue> {
    let url = request.url();
    let (path, query) = split_url(&url);
    let cache_key = match configuration(&env) {
        Ok(config) => delivery::public_cache_key(&request.method(), path, query, config),
        Err(_) => None,
    };
    match cache_key {
        Some(key) => Ok(JsValue::from_str(&key)),
        None => fetch(request, env, context),
    }
}

async fn handle_request(request: Request, env: Env, context: Context) -> Result<JsValue, JsValue> {
    let request_id = hex::encode(platform::random_bytes::<8>());
    let is_head = request.method() == "HEAD";
    let mut reply = respond(request, &env, &context, &request_id).await;
    reply.set_header("x-request-id", &request_id);
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
            return Reply::problem(&Problem::with_detail(Code::Internal, detail), request_id);
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
            crate::http::cors::delivery_preflight_headers(requested.as_deref())
        };
        return reply;
    }
    let (token, sent_path) = crate::http::route::split_token(path);
    let negotiated = delivery::negotiate_path(sent_path, || platform::header(&request, "accept"));
    let path = negotiated.as_deref().unwrap_or(sent_path);
    // What proves something is taken out of a picture's query first: the rest names the picture, or the token does.
    let may_carry_credential =
        matches!(method.as_str(), "GET" | "HEAD") && !is_api && !crate::http::route::is_document(path);
    let proof = if may_carry_credential {
        delivery::verify_credential(sent_path, query, config, request_id).await
    } else {
        Ok(DeliveryCredential::Absent)
    };
    let matched =
        proof.map_err(|problem| crate::http::route::RouteError { problem, allow: None }).and_then(|proof| {
            let route = crate::http::route::route(&method, path, proof.query().or(query))?;
            let is_allowed = token.is_none() || route.allows_upload_token();
            is_allowed.then_some((route, proof)).ok_or_else(|| crate::http::route::RouteError {
                problem: Problem::with_detail(Code::NotFound, "An upload token is for uploads only."),
                allow: None,
            })
        });
    let result = match matched {
        Ok((route, proof)) => {
            let is_negotiated = negotiated.is_some();
            let ctx = &RequestContext { config, env, context, request_id, is_negotiated };
            let public =
                PublicContext { token, proof, query: query.unwrap_or_default(), ctx, config, request_id };
            dispatch(route, request, public).await
        }
        Err(error) => {
            let mut reply = Reply::problem(&error.problem, request_id);
            if let Some(allow) = error.allow {
                reply.set_header("allow", &allow);
            }
            Ok(reply)
        }
    };
    let mut reply = result.unwrap_or_else(|problem| {
        let mut reply = Reply::problem(&problem, request_id);
        if problem.code == Code::Unauthorized {
            reply.set_header("www-authenticate", "Bearer");
        }
        if problem.code == Code::Busy {
            reply.set_header("retry-after", RETRY_AFTER_SECS);
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
        reply.headers.extend(crate::http::cors::delivery_headers());
    }
    reply
}

/// What came with a request beside the request itself.
struct PublicContext<'a> {
    token: Option<&'a str>,
    proof: DeliveryCredential,
    query: &'a str,
    ctx: &'a RequestContext<'a>,
    config: &'static Config,
    request_id: &'a str,
}

async fn dispatch(route: Route, request: Request, public: PublicContext<'_>) -> Result<Reply, Problem> {
    let PublicContext { token, query, ctx, config, request_id, .. } = public;
    if let Some(response) = public_handler(&route, &request, &public) {
        return response.await;
    }
    let caller = crate::auth::authenticate::authenticate(&request, token, config, request_id).await?;
    if caller.token.as_ref().is_some_and(|token| token.only.is_some()) && !route.allows_follow_up_token() {
        return Err(Problem::new(Code::Unauthorized));
    }
    let (rate_limiter, key) = match limiter_for_route(&route) {
        Some(limiter) => (Some(limiter), rate_limit_key(&caller)),
        // The holder of an upload token is not authenticated further.
        None => (caller.token.as_ref().map(|_| Limiter::Reads), platform::request_client_key(&request)),
    };
    if let Some(rate_limiter) = rate_limiter
        && !platform::is_within_rate_limit(ctx.env, rate_limiter, &key).await
    {
        return Err(Problem::new(Code::Busy));
    }
    let trace_id = starts_trace(&route)
        .then(|| platform::header(&request, TRACEPARENT))
        .flatten()
        .and_then(|header| TraceId::from_traceparent(&header));
    let context = &ApiContext { caller: &caller, config, request_id, trace_id };
    api_handler(&route, &request, query, context).await
}

/// An answer on its way. Each is a state machine of its own behind a pointer: put into one another, as `async` does by
/// itself, they were a single function of 160 kilobytes and a sixth larger.
type HandlerFuture<'a> = LocalBoxFuture<'a, Result<Reply, Problem>>;

/// The answer to what nobody has to prove anything for; `None` for everything else.
fn public_handler<'a>(
    route: &'a Route,
    request: &'a Request,
    public: &'a PublicContext<'_>,
) -> Option<HandlerFuture<'a>> {
    let PublicContext { ref proof, query, ctx, config, request_id, .. } = *public;
    let document_handler = |document| -> HandlerFuture<'a> { Box::pin(page::serve(request, document, ctx)) };
    Some(match route {
        Route::Health => ready_response(Ok(Reply::empty(200).with_header("cache-control", "no-store"))),
        Route::Variant(wanted) => Box::pin(delivery::serve(request, wanted, proof, ctx)),
        Route::Original(video) if !matches!(proof, DeliveryCredential::Absent) => {
            Box::pin(delivery::download_by_token(*video, request, proof, ctx))
        }
        Route::Page(video) => document_handler(page::VideoDocument::Page(*video)),
        Route::Meta(video) => document_handler(page::VideoDocument::Meta(*video)),
        Route::Oembed => match page::OembedRequest::parse(query, &config.public_url) {
            Ok(embed) => document_handler(page::VideoDocument::Embed(embed)),
            Err(problem) => ready_response(Err(problem)),
        },
        Route::PageWithSlash(video) => ready_response(Ok(page::redirect_without_slash(*video, query))),
        Route::Login => Box::pin(crate::auth::login::login(request, Some(query), config, request_id)),
        Route::Callback => Box::pin(crate::auth::login::callback(request, Some(query), config, request_id)),
        _ => return None,
    })
}

/// The answer to somebody who has proven who they are.
fn api_handler<'a>(
    route: &'a Route,
    request: &'a Request,
    query: &'a str,
    context: &'a ApiContext<'a>,
) -> HandlerFuture<'a> {
    match route {
        Route::Health
        | Route::Variant(_)
        | Route::Page(_)
        | Route::PageWithSlash(_)
        | Route::Meta(_)
        | Route::Oembed
        | Route::Login
        | Route::Callback => ready_response(Err(Problem::new(Code::Internal))),
        Route::Logout => ready_response(Ok(crate::auth::login::logout(context.config))),
        Route::Me => ready_response(Ok(crate::uploads::handlers::me(context))),
        Route::CreateVideo => Box::pin(crate::uploads::handlers::create_video(request, query, context)),
        Route::UploadVideo { name } => {
            Box::pin(crate::uploads::handlers::upload_body(request, name.clone(), query, context))
        }
        Route::ListVideos => Box::pin(crate::videos::handlers::list(query, context)),
        Route::GetVideo(video) => Box::pin(crate::videos::handlers::show(*video, context)),
        Route::WatchVideo(video) => Box::pin(crate::videos::handlers::watch(*video, request, *context)),
        Route::CreateDeliveryTokens(video) => {
            Box::pin(crate::uploads::handlers::create_delivery_tokens(*video, request, context))
        }
        Route::DeleteVideo(video) => Box::pin(crate::videos::delete::delete(*video, context)),
        Route::SetPoster(video) => Box::pin(crate::uploads::handlers::set_poster(*video, request, context)),
        Route::ResetPoster(video) => Box::pin(crate::uploads::handlers::reset_poster(*video, context)),
        Route::Original(video) => Box::pin(delivery::download(*video, request, query, context)),
        Route::ListUploads => Box::pin(crate::uploads::companion::list_uploads(context)),
        Route::CreateUploadToken => Box::pin(crate::uploads::handlers::create_upload_token(request, context)),
        Route::UppyParams => Box::pin(crate::uploads::companion::params(query, context)),
        Route::CreateMultipart => Box::pin(crate::uploads::companion::create(request, context)),
        Route::ListParts { upload_id } => {
            Box::pin(crate::uploads::companion::list_parts(upload_id, query, context))
        }
        Route::SignPart { upload_id, part } => {
            Box::pin(crate::uploads::companion::sign_part(upload_id, part, query, context))
        }
        Route::SignParts { upload_id } => {
            Box::pin(crate::uploads::companion::sign_parts(upload_id, query, context))
        }
        Route::CompleteMultipart { upload_id } => {
            Box::pin(crate::uploads::companion::complete(upload_id, request, query, context))
        }
        Route::AbortMultipart { upload_id } => {
            Box::pin(crate::uploads::companion::abort(upload_id, query, context))
        }
        Route::Presign => Box::pin(crate::uploads::companion::presign(request, context)),
    }
}

fn ready_response(answer: Result<Reply, Problem>) -> HandlerFuture<'static> {
    Box::pin(ready(answer))
}

/// Under which key this caller is counted: an upload token by itself, so that its holder uses up nothing of its owner's.
fn rate_limit_key(caller: &Caller) -> String {
    let token = caller.token.as_ref().map(|token| ["/", &token.jti].concat());
    [caller.owner.to_string(), token.unwrap_or_default()].concat()
}

/// What is counted by whom, so that nobody runs up a bill: new uploads and tokens, signatures of parts, event streams.
fn limiter_for_route(route: &Route) -> Option<Limiter> {
    match route {
        Route::CreateVideo
        | Route::UploadVideo { .. }
        | Route::CreateUploadToken
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
fn starts_trace(route: &Route) -> bool {
    matches!(route, Route::Presign) || limiter_for_route(route) == Some(Limiter::Grants)
}

/// Path and query as they stand on the wire; the `Host` is not looked at.
fn split_url(url: &str) -> (&str, Option<&str>) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.find('/').map_or("/", |start| &rest[start..]);
    let rest = rest.split('#').next().unwrap_or_default();
    match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    }
}

fn configuration(env: &Env) -> Result<&'static Config, ConfigErrors> {
    CONFIG.with(|slot| {
        slot.get_or_init(|| {
            Config::from_lookup(|name| platform::env_var(env, name))
                .map(|config| &*Box::leak(Box::new(config)))
        })
        .clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_url_verbatim() {
        assert_eq!(split_url("https://v.example/a//b?x=%20"), ("/a//b", Some("x=%20")));
        assert_eq!(split_url("http://localhost:8787/"), ("/", None));
        assert_eq!(split_url("http://localhost:8787"), ("/", None));
    }
}
