//! The pipeline of a request: configuration, credential of the URL, route, caller, rate limit, handler, headers.

use std::cell::OnceCell;

use futures_util::future::{LocalBoxFuture, ready};
use glimpse_contract::{Code, OutputFormat, Problem, TRACEPARENT, TraceId};
use worker::{Context, Env};

use crate::auth::authenticate::authenticate;
use crate::auth::{Caller, login};
use crate::config::{Config, ConfigErrors, Playback};
use crate::context::{ApiContext, RequestContext};
use crate::delivery::signed_url::DeliveryCredential;
use crate::delivery::{self, ImageRequest, token_handler};
use crate::http::cors;
use crate::http::query::Query;
use crate::http::response::Reply;
use crate::http::route::{self, ApiRoute, PublicRoute, Route, RouteError};
use crate::page;
use crate::platform::{self, Limiter, Request};
use crate::uploads::{companion, handlers as upload_handlers};
use crate::videos::{delete, handlers as video_handlers, poster};

/// When a rate-limited client may retry, in seconds: the period of the limits in wrangler.toml.
const RETRY_AFTER_SECS: &str = "10";

thread_local! {
    // Read and validated once per isolate.
    static CONFIG: OnceCell<Result<&'static Config, ConfigErrors>> = const { OnceCell::new() };
}

pub(crate) async fn respond(request: &Request, env: &Env, context: &Context, request_id: &str) -> Reply {
    let config = match configuration(env) {
        Ok(config) => config,
        Err(errors) => {
            platform::log_error("configuration", request_id, &errors.to_string());
            let detail = "This deployment is not configured. Its log lists the missing variables.";
            return Reply::problem(&Problem::with_detail(Code::Internal, detail), request_id);
        }
    };
    let ctx = RequestContext { config, env, context, request_id, now_ms: platform::now_ms() };
    let mut incoming = IncomingRequest::parse(request, config);
    if incoming.method == "OPTIONS" {
        return incoming.preflight(config);
    }
    let mut reply = incoming.respond(&ctx).await;
    // The other formats would be refused, too, without credentials or outside of the range.
    if reply.status >= 400 && !matches!(reply.status, 401 | 416) && incoming.replace_avif(config) {
        reply = incoming.respond(&ctx).await;
    }
    incoming.finish(reply, config)
}

/// A request, with the parts that determine its route and the headers of its response.
struct IncomingRequest<'a> {
    request: &'a Request,
    method: &'a str,
    /// The upload token of the path.
    token: Option<&'a str>,
    /// The path without the token, as it was sent.
    sent_path: &'a str,
    /// The path with the format of an image that was negotiated by `Accept`.
    negotiated_path: Option<String>,
    query: Option<&'a str>,
    /// Whether the CORS headers of the API apply.
    is_api: bool,
    /// The origin of the page that calls the API.
    origin: Option<String>,
}

impl<'a> IncomingRequest<'a> {
    fn parse(request: &'a Request, config: &Config) -> Self {
        let (path, query) = split_url(request.url());
        let is_api = route::is_api(path);
        let (token, sent_path) = route::split_token(path);
        Self {
            request,
            method: request.method(),
            token,
            sent_path,
            negotiated_path: negotiate(request, sent_path, &config.negotiated_formats),
            query,
            is_api,
            origin: is_api.then(|| platform::header(request, "origin")).flatten(),
        }
    }

    fn path(&self) -> &str {
        self.negotiated_path.as_deref().unwrap_or(self.sent_path)
    }

    /// Negotiates again without AVIF, if it was negotiated: the image may exceed its limits, or the deployment may
    /// render no image, or not for this caller. WebP and JPEG posters always exist.
    fn replace_avif(&mut self, config: &Config) -> bool {
        let is_avif = self.negotiated_path.as_ref().is_some_and(|path| path.strip_suffix(".avif").is_some());
        if is_avif {
            let others = config.negotiated_formats.iter().copied();
            let others: Vec<_> = others.filter(|format| *format != OutputFormat::Avif).collect();
            self.negotiated_path = negotiate(self.request, self.sent_path, &others);
        }
        is_avif
    }

    async fn respond(&self, ctx: &RequestContext<'_>) -> Reply {
        let reply = Box::pin(self.handle(ctx)).await;
        reply.unwrap_or_else(|problem| problem_reply(&problem, ctx.request_id))
    }

    /// The response to a preflight request of a browser.
    fn preflight(&self, config: &Config) -> Reply {
        let mut reply = Reply::empty(204);
        let requested = platform::header(self.request, "access-control-request-headers");
        reply.headers = if self.is_api {
            cors::preflight_headers(config, self.origin.as_deref(), requested.as_deref())
        } else {
            cors::delivery_preflight_headers(requested.as_deref())
        };
        reply
    }

    async fn handle(&self, ctx: &RequestContext<'_>) -> Result<Reply, Problem> {
        // Extract the credential from the query first: the rest, or the token, contains the image parameters.
        let may_carry_credential =
            matches!(self.method, "GET" | "HEAD") && !self.is_api && !route::is_document(self.path());
        let credential = if may_carry_credential {
            delivery::verify_credential(self.sent_path, self.query, ctx).await?
        } else {
            DeliveryCredential::Absent
        };
        let route = match route::route(self.method, self.path(), credential.query().or(self.query)) {
            Ok(route) => route,
            Err(error) => return Ok(route_error_reply(&error, ctx.request_id)),
        };
        if self.token.is_some() && !route.allows_upload_token() {
            let detail = "Upload tokens are valid for uploads only.";
            return Err(Problem::with_detail(Code::NotFound, detail));
        }
        match route {
            Route::Public(route) => self.public_handler(&route, &credential, ctx).await,
            // The credential of the URL replaces the caller's.
            Route::Api(ApiRoute::Original(video)) if !matches!(credential, DeliveryCredential::Absent) => {
                Box::pin(delivery::download_by_token(video, self.request, &credential, ctx)).await
            }
            Route::Api(ApiRoute::Original(video)) if ctx.config.playback == Playback::Public => {
                let query = Query(self.query.unwrap_or_default());
                match Box::pin(delivery::download_public(video, self.request, query, ctx)).await? {
                    Some(reply) => Ok(reply),
                    None => self.handle_api(&ApiRoute::Original(video), ctx).await,
                }
            }
            Route::Api(route) => self.handle_api(&route, ctx).await,
        }
    }

    async fn handle_api(&self, route: &ApiRoute, ctx: &RequestContext<'_>) -> Result<Reply, Problem> {
        let caller = authenticate(self.request, self.token, ctx).await?;
        if caller.follow_up_video().is_some() && !route.allows_follow_up_token() {
            return Err(Problem::new(Code::Unauthorized));
        }
        self.check_rate_limit(route, &caller, ctx).await?;
        let trace_id = starts_trace(route)
            .then(|| platform::header(self.request, TRACEPARENT))
            .flatten()
            .and_then(|header| TraceId::from_traceparent(&header));
        let RequestContext { config, request_id, now_ms, .. } = *ctx;
        self.api_handler(route, &ApiContext { caller: &caller, config, request_id, now_ms, trace_id }).await
    }

    async fn check_rate_limit(
        &self,
        route: &ApiRoute,
        caller: &Caller,
        ctx: &RequestContext<'_>,
    ) -> Result<(), Problem> {
        let (limiter, key) = match limiter_for_route(route) {
            Some(limiter) => (limiter, rate_limit_key(caller)),
            // An upload token authenticates no user, so limit by client address.
            None if caller.upload_token().is_some() => {
                (Limiter::Reads, platform::request_client_key(self.request))
            }
            None => return Ok(()),
        };
        let is_within_limit = platform::is_within_rate_limit(ctx.env, limiter, &key).await;
        if is_within_limit { Ok(()) } else { Err(Problem::new(Code::Busy)) }
    }

    /// The handler of a route without authentication.
    fn public_handler<'b>(
        &'b self,
        route: &'b PublicRoute,
        credential: &'b DeliveryCredential,
        ctx: &'b RequestContext<'_>,
    ) -> HandlerFuture<'b> {
        let request = self.request;
        let query = self.query.unwrap_or_default();
        let document_handler =
            |document| -> HandlerFuture<'b> { Box::pin(page::serve(request, document, ctx)) };
        match route {
            PublicRoute::Health => {
                ready_response(Ok(Reply::empty(200).with_header("cache-control", "no-store")))
            }
            PublicRoute::Variant(wanted) => {
                let is_negotiated = self.negotiated_path.is_some();
                let image_request = ImageRequest { request, wanted, credential, is_negotiated };
                Box::pin(delivery::serve(image_request, ctx))
            }
            PublicRoute::Page(video) => document_handler(page::VideoDocument::Page(*video)),
            PublicRoute::Meta(video) => document_handler(page::VideoDocument::Meta(*video)),
            PublicRoute::Oembed => match page::OembedRequest::parse(Query(query), &ctx.config.public_url) {
                Ok(embed) => document_handler(page::VideoDocument::Embed(embed)),
                Err(problem) => ready_response(Err(problem)),
            },
            PublicRoute::PageWithSlash(video) => {
                ready_response(Ok(page::redirect_without_slash(*video, query)))
            }
            PublicRoute::Login => Box::pin(login::login(request, Query(query), ctx)),
            PublicRoute::Callback => Box::pin(login::callback(request, Query(query), ctx)),
        }
    }

    /// The handler of a route for an authenticated caller.
    fn api_handler<'b>(&'b self, route: &'b ApiRoute, context: &'b ApiContext<'b>) -> HandlerFuture<'b> {
        let request = self.request;
        let query = Query(self.query.unwrap_or_default());
        match route {
            ApiRoute::Logout => ready_response(Ok(login::logout(context.config))),
            ApiRoute::Me => ready_response(Ok(upload_handlers::me(context))),
            ApiRoute::CreateVideo => Box::pin(upload_handlers::create_video(request, query, context)),
            ApiRoute::UploadVideo { name } => {
                Box::pin(upload_handlers::upload_body(request, name.clone(), query, context))
            }
            ApiRoute::ListVideos => Box::pin(video_handlers::list(query, context)),
            ApiRoute::GetVideo(video) => Box::pin(video_handlers::show(*video, context)),
            ApiRoute::WatchVideo(video) => Box::pin(video_handlers::watch(*video, request, *context)),
            ApiRoute::CreateDeliveryTokens(video) => {
                Box::pin(token_handler::create_delivery_tokens(*video, request, context))
            }
            ApiRoute::DeleteVideo(video) => Box::pin(delete::delete(*video, context)),
            ApiRoute::SetPoster(video) => Box::pin(poster::set_poster(*video, request, context)),
            ApiRoute::ResetPoster(video) => Box::pin(poster::reset_poster(*video, context)),
            ApiRoute::Original(video) => Box::pin(delivery::download(*video, request, query, context)),
            ApiRoute::ListUploads => Box::pin(companion::list_uploads(context)),
            ApiRoute::CreateUploadToken => Box::pin(upload_handlers::create_upload_token(request, context)),
            ApiRoute::UppyParams => Box::pin(companion::params(query, context)),
            ApiRoute::CreateMultipart => Box::pin(companion::create(request, context)),
            ApiRoute::ListParts { upload_id } => Box::pin(companion::list_parts(upload_id, query, context)),
            ApiRoute::SignPart { upload_id, part } => {
                Box::pin(companion::sign_part(upload_id, part, query, context))
            }
            ApiRoute::SignParts { upload_id } => Box::pin(companion::sign_parts(upload_id, query, context)),
            ApiRoute::CompleteMultipart { upload_id } => {
                Box::pin(companion::complete(upload_id, request, query, context))
            }
            ApiRoute::AbortMultipart { upload_id } => Box::pin(companion::abort(upload_id, query, context)),
            ApiRoute::Presign => Box::pin(companion::presign(request, context)),
        }
    }

    /// Adds the headers that depend on the request.
    fn finish(&self, mut reply: Reply, config: &Config) -> Reply {
        if self.negotiated_path.is_some() {
            reply.headers.push(("vary", "Accept".to_owned()));
        }
        if self.is_api {
            reply.headers.extend(cors::api_headers(config, self.origin.as_deref()));
        } else if reply.status >= 400
            && reply.headers.iter().all(|(name, _)| *name != "access-control-allow-origin")
        {
            // Players of other origins may read the error of an image.
            reply.headers.extend(cors::delivery_headers());
        }
        reply
    }
}

/// The path with the format that the request's `Accept` selects, if it is negotiable.
fn negotiate(request: &Request, path: &str, formats: &[OutputFormat]) -> Option<String> {
    delivery::negotiate_path(path, formats, || platform::header(request, "accept"))
}

/// The future of a response. Each handler is a separate state machine behind a pointer: nested, as `async` does by
/// default, they were a single function of 160 kilobytes and a sixth larger.
type HandlerFuture<'a> = LocalBoxFuture<'a, Result<Reply, Problem>>;

fn ready_response(answer: Result<Reply, Problem>) -> HandlerFuture<'static> {
    Box::pin(ready(answer))
}

/// The response to a request without a route.
fn route_error_reply(error: &RouteError, request_id: &str) -> Reply {
    let mut reply = Reply::problem(&error.problem, request_id);
    if let Some(allow) = &error.allow {
        reply.set_header("allow", allow);
    }
    reply
}

/// The response to a request that a step or its handler rejected.
fn problem_reply(problem: &Problem, request_id: &str) -> Reply {
    let mut reply = Reply::problem(problem, request_id);
    match problem.code {
        Code::Unauthorized => reply.set_header("www-authenticate", "Bearer"),
        Code::Busy => reply.set_header("retry-after", RETRY_AFTER_SECS),
        _ => {}
    }
    reply
}

/// The rate limit key of a caller: an upload token has its own, so that its use does not count against its owner.
fn rate_limit_key(caller: &Caller) -> String {
    let token = caller.upload_token().map(|token| ["/", &token.jti].concat());
    [caller.owner.to_string(), token.unwrap_or_default()].concat()
}

/// The rate limit of a route, per caller, which bounds the cost: new uploads and tokens, signed parts, event streams.
fn limiter_for_route(route: &ApiRoute) -> Option<Limiter> {
    match route {
        ApiRoute::CreateVideo
        | ApiRoute::UploadVideo { .. }
        | ApiRoute::CreateUploadToken
        | ApiRoute::SetPoster(_)
        | ApiRoute::ResetPoster(_)
        | ApiRoute::UppyParams
        | ApiRoute::CreateMultipart => Some(Limiter::Grants),
        ApiRoute::SignPart { .. } | ApiRoute::SignParts { .. } | ApiRoute::Presign => Some(Limiter::Parts),
        ApiRoute::WatchVideo(_) => Some(Limiter::Streams),
        _ => None,
    }
}

/// Whether the route creates an upload or a grant for one, which becomes part of the trace.
fn starts_trace(route: &ApiRoute) -> bool {
    matches!(route, ApiRoute::Presign) || limiter_for_route(route) == Some(Limiter::Grants)
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
