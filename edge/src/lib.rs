//! Decides nothing: the Worker's wiring. Configuration, route, handler, reply.
//!
//! Pure modules (`auth`, `config`, `cors`, `moment`, `route`, `s3`, `sign`, `upload`, `video` and the parts of
//! `deliver` but its handler) take the clock, randomness and configuration as arguments and are tested natively.
//! `platform` and `reply` are the only others that know the Workers runtime; `api`, `identify`, `login`, `storage`
//! and `deliver::handler` join the two.

mod api;
pub mod auth;
pub mod config;
mod cors;
pub mod deliver;
mod identify;
mod login;
pub mod moment;
mod platform;
mod reply;
pub mod route;
pub mod s3;
pub mod sign;
mod storage;
pub mod upload;
pub mod video;

use std::cell::OnceCell;

use glimpse_contract::{Code, Problem};
use worker::{Context, Env, Request, Response, event};

use config::{Config, ConfigErrors};
use reply::Reply;
use route::Route;

thread_local! {
    // Read and checked once for the isolate's life.
    static CONFIG: OnceCell<Result<&'static Config, ConfigErrors>> = const { OnceCell::new() };
}

/// Every request comes in here.
#[event(fetch)]
async fn main(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    let request_id = hex::encode(platform::random::<8>());
    let is_head = request.method() == worker::Method::Head;
    let mut reply = respond(request, &env, &context, &request_id).await;
    reply.replace("x-request-id", &request_id);
    reply.into_response(is_head)
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
    let url = request.inner().url();
    let (path, query) = split_url(&url);
    let is_api = route::is_api(path);
    let origin = platform::header(&request, "origin");
    let method = request.method();

    if method == worker::Method::Options {
        let mut reply = Reply::empty(204);
        reply.headers =
            if is_api { cors::preflight_headers(config, origin.as_deref()) } else { cors::picture_headers() };
        return reply;
    }
    let result = match route::route(method.as_ref(), path, query) {
        Ok(route) => handle(route, request, query, config, context, request_id).await,
        Err(none) => {
            let mut reply = Reply::problem(&none.problem, request_id);
            if let Some(allow) = none.allow {
                reply.replace("allow", allow);
            }
            Ok(reply)
        }
    };
    let mut reply = result.unwrap_or_else(|problem| {
        let mut reply = Reply::problem(&problem, request_id);
        if problem.code == Code::Unauthorized {
            reply.replace("www-authenticate", "Bearer");
        }
        reply
    });
    if is_api {
        reply.headers.extend(cors::api_headers(config, origin.as_deref()));
    }
    reply
}

async fn handle(
    route: Route,
    mut request: Request,
    query: Option<&str>,
    config: &Config,
    context: &Context,
    request_id: &str,
) -> Result<Reply, Problem> {
    match route {
        Route::Health => Ok(Reply::empty(200).with("cache-control", "no-store")),
        Route::Picture(wanted) => deliver::serve(&request, &wanted, config, context, request_id).await,
        Route::Login => login::login(query, config, request_id).await,
        Route::Callback => login::callback(&request, query, config, request_id).await,
        Route::Logout => {
            identify::caller(&request, config).await?;
            Ok(login::logout(config))
        }
        Route::Me => Ok(api::me(&identify::caller(&request, config).await?, config)),
        Route::CreateVideo => {
            let caller = identify::caller(&request, config).await?;
            api::create(&mut request, &caller, config, request_id).await
        }
        Route::ListVideos => {
            let caller = identify::caller(&request, config).await?;
            api::list(query, &caller, config, request_id).await
        }
        Route::ShowVideo(video) => {
            let caller = identify::caller(&request, config).await?;
            api::show(video, &caller, config, request_id).await
        }
        Route::UppyParams => {
            let caller = identify::caller(&request, config).await?;
            api::uppy_params(query, &caller, config)
        }
    }
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
