//! The pipeline of a request: configuration, credential, route, caller, rate limit, handler, response headers.

use std::cell::OnceCell;

use futures_util::future::{LocalBoxFuture, ready};
use glimpse_contract::{Code, Problem, TRACEPARENT, TraceId};
use wasm_bindgen::JsValue;
use worker::{Context, Env};

use crate::auth::{Caller, authenticate, login};
use crate::config::{Config, ConfigErrors};
use crate::context::{ApiContext, PublicContext, RequestContext};
use crate::delivery::signed_url::DeliveryCredential;
use crate::http::cors;
use crate::http::response::Reply;
use crate::http::route::{self, Route};
use crate::platform::{self, Limiter, Request};
use crate::uploads::{companion, handlers as upload_handlers};
use crate::videos::{delete, handlers as video_handlers};
use crate::{delivery, page};

/// When a rate-limited client may retry, in seconds: the period of the limits in wrangler.toml.
const RETRY_AFTER_SECS: &str = "10";

thread_local! {
    // Read and validated once per isolate.
    static CONFIG: OnceCell<Result<&'static Config, ConfigErrors>> = const { OnceCell::new() };
}

pub(crate) async fn handle_request(request: Request, env: Env, context: Context) -> Result<JsValue, JsValue> {
    let request_id = hex::encode(platform::random_bytes::<8>());
    let is_head = request.method() == "HEAD";
    let mut reply = respond(request, &env, &context, &request_id).await;
    reply.set_header("x-request-id", &request_id);
    let response = reply.into_response(is_head).or_else(|_| {
        platform::log_error("answer", &request_id, "invalid response header");
        Reply::problem(&Problem::new(Code::Internal), &request_id).into_response(is_head)
    });
    response.map(JsValue::from)
}

async fn respond(request: Request, env: &Env, context: &Context, request_id: &str) -> Reply {
    let config = match configuration(env) {
        Ok(config) => config,
        Err(errors) => {
            platform::log_error("configuration", request_id, &errors.to_string());
            let detail = "This deployment is not configured. Its log lists the missing variables.";
            return Reply::problem(&Problem::with_detail(Code::Internal, detail), request_id);
        }
    };
    let url = request.url();
    let (path, query) = split_url(&url);
    let is_api = route::is_api(path);
    let origin = is_api.then(|| platform::header(&request, "origin")).flatten();
    let method = request.method();

    if method == "OPTIONS" {
        let mut reply = Reply::empty(204);
        let requested = platform::header(&request, "access-control-request-headers");
        reply.headers = if is_api {
            cors::preflight_headers(config, origin.as_deref(), requested.as_deref())
        } else {
            cors::delivery_preflight_headers(requested.as_deref())
        };
        return reply;
    }
    let (token, sent_path) = route::split_token(path);
    let negotiated = delivery::negotiate_path(sent_path, || platform::header(&request, "accept"));
    let path = negotiated.as_deref().unwrap_or(sent_path);
    // Extract the credential from the query first: the rest, or the token, contains the image parameters.
    let may_carry_credential =
        matches!(method.as_str(), "GET" | "HEAD") && !is_api && !route::is_document(path);
    let proof = if may_carry_credential {
        delivery::verify_credential(sent_path, query, config, request_id).await
    } else {
        Ok(DeliveryCredential::Absent)
    };
    let matched = proof.map_err(|problem| route::RouteError { problem, allow: None }).and_then(|proof| {
        let route = route::route(&method, path, proof.query().or(query))?;
        let is_allowed = token.is_none() || route.allows_upload_token();
        is_allowed.then_some((route, proof)).ok_or_else(|| route::RouteError {
            problem: Problem::with_detail(Code::NotFound, "Upload tokens are valid for uploads only."),
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
        reply.headers.extend(cors::api_headers(config, origin.as_deref()));
    } else if reply.status >= 400
        && reply.headers.iter().all(|(name, _)| *name != "access-control-allow-origin")
    {
        // Players of other origins may read the error of an image.
        reply.headers.extend(cors::delivery_headers());
    }
    reply
}

async fn dispatch(route: Route, request: Request, public: PublicContext<'_>) -> Result<Reply, Problem> {
    let PublicContext { token, query, ctx, config, request_id, .. } = public;
    if let Some(response) = public_handler(&route, &request, &public) {
        return response.await;
    }
    let caller = authenticate::authenticate(&request, token, config, request_id).await?;
    if caller.token.as_ref().is_some_and(|token| token.only.is_some()) && !route.allows_follow_up_token() {
        return Err(Problem::new(Code::Unauthorized));
    }
    let (rate_limiter, key) = match limiter_for_route(&route) {
        Some(limiter) => (Some(limiter), rate_limit_key(&caller)),
        // An upload token authenticates no user, so limit by client address.
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

/// The future of a response. Each handler is a separate state machine behind a pointer: nested, as `async` does by
/// default, they were a single function of 160 kilobytes and a sixth larger.
type HandlerFuture<'a> = LocalBoxFuture<'a, Result<Reply, Problem>>;

/// The handler of a route without authentication; `None` for all other routes.
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
        Route::Login => Box::pin(login::login(request, Some(query), config, request_id)),
        Route::Callback => Box::pin(login::callback(request, Some(query), config, request_id)),
        _ => return None,
    })
}

/// The handler of a route for an authenticated caller.
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
        Route::Logout => ready_response(Ok(login::logout(context.config))),
        Route::Me => ready_response(Ok(upload_handlers::me(context))),
        Route::CreateVideo => Box::pin(upload_handlers::create_video(request, query, context)),
        Route::UploadVideo { name } => {
            Box::pin(upload_handlers::upload_body(request, name.clone(), query, context))
        }
        Route::ListVideos => Box::pin(video_handlers::list(query, context)),
        Route::GetVideo(video) => Box::pin(video_handlers::show(*video, context)),
        Route::WatchVideo(video) => Box::pin(video_handlers::watch(*video, request, *context)),
        Route::CreateDeliveryTokens(video) => {
            Box::pin(upload_handlers::create_delivery_tokens(*video, request, context))
        }
        Route::DeleteVideo(video) => Box::pin(delete::delete(*video, context)),
        Route::SetPoster(video) => Box::pin(upload_handlers::set_poster(*video, request, context)),
        Route::ResetPoster(video) => Box::pin(upload_handlers::reset_poster(*video, context)),
        Route::Original(video) => Box::pin(delivery::download(*video, request, query, context)),
        Route::ListUploads => Box::pin(companion::list_uploads(context)),
        Route::CreateUploadToken => Box::pin(upload_handlers::create_upload_token(request, context)),
        Route::UppyParams => Box::pin(companion::params(query, context)),
        Route::CreateMultipart => Box::pin(companion::create(request, context)),
        Route::ListParts { upload_id } => Box::pin(companion::list_parts(upload_id, query, context)),
        Route::SignPart { upload_id, part } => {
            Box::pin(companion::sign_part(upload_id, part, query, context))
        }
        Route::SignParts { upload_id } => Box::pin(companion::sign_parts(upload_id, query, context)),
        Route::CompleteMultipart { upload_id } => {
            Box::pin(companion::complete(upload_id, request, query, context))
        }
        Route::AbortMultipart { upload_id } => Box::pin(companion::abort(upload_id, query, context)),
        Route::Presign => Box::pin(companion::presign(request, context)),
    }
}

fn ready_response(answer: Result<Reply, Problem>) -> HandlerFuture<'static> {
    Box::pin(ready(answer))
}

/// The rate limit key of a caller: an upload token has its own, so that its use does not count against its owner.
fn rate_limit_key(caller: &Caller) -> String {
    let token = caller.token.as_ref().map(|token| ["/", &token.jti].concat());
    [caller.owner.to_string(), token.unwrap_or_default()].concat()
}

/// The rate limit of a route, per caller, which bounds the cost: new uploads and tokens, signed parts, event streams.
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

/// Whether the route creates an upload or a grant for one, which becomes part of the trace.
fn starts_trace(route: &Route) -> bool {
    matches!(route, Route::Presign) || limiter_for_route(route) == Some(Limiter::Grants)
}

/// Path and query exactly as received; the `Host` is ignored.
pub(crate) fn split_url(url: &str) -> (&str, Option<&str>) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.find('/').map_or("/", |start| &rest[start..]);
    let rest = rest.split('#').next().unwrap_or_default();
    match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    }
}

pub(crate) fn configuration(env: &Env) -> Result<&'static Config, ConfigErrors> {
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
