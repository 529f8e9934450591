//! Entry points of the Worker: the runtime calls `start` once per isolate, and `entry.js` calls the others for each
//! request.
//!
//! Pure modules take the clock, randomness and configuration as arguments and are tested natively. `platform` and
//! `http::response` are the only others that use the Workers runtime. `app` routes a request to the handlers of
//! `auth`, `uploads`, `videos`, `delivery` and `page`. `openapi` describes the routes and is not part of the Worker.

mod app;
pub mod auth;
pub mod config;
mod context;
pub mod delivery;
pub mod http;
#[cfg(not(target_arch = "wasm32"))]
pub mod openapi;
pub mod page;
mod platform;
pub mod s3;
#[cfg(test)]
mod testing;
pub mod uploads;
pub mod videos;

use std::future::Future as _;
use std::task::{self, Poll, Waker};

use glimpse_contract::{Code, Problem};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::future_to_promise;
use worker::{Context, Env, event, worker_sys};

use crate::http::response::Reply;
use crate::platform::Request;

/// Initializes an isolate. Without `queueMicrotask`, wasm-bindgen's executor schedules its tasks with promises: those
/// are V8's own, while workerd's microtasks propagate a context and cost ten times as much.
#[event(start)]
fn start() {
    // If it cannot be removed, scheduling is only slower.
    let _ = js_sys::Reflect::set(&js_sys::global(), &"queueMicrotask".into(), &JsValue::UNDEFINED);
}

/// Handles a request for `entry.js`, which passes its head beside it, and a short body that it has read. A response that
/// needs no I/O is returned synchronously: a promise and a task of the executor cost as much as a signature.
#[wasm_bindgen]
pub fn fetch(
    head: String,
    body: Option<Vec<u8>>,
    request: web_sys::Request,
    env: Env,
    context: worker_sys::Context,
) -> Result<JsValue, JsValue> {
    respond(Request::new(request, head, body), env, context)
}

fn respond(request: Request, env: Env, context: worker_sys::Context) -> Result<JsValue, JsValue> {
    let mut future = Box::pin(handle_request(request, env, Context::new(context)));
    match future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        // Polled with a no-op waker; the executor polls again and registers a real one.
        Poll::Pending => Ok(future_to_promise(future).into()),
    }
}

/// Handles a request for `entry.js`: returns the URL of the cache entry if an entry would be the complete response, so
/// that `entry.js` calls [`fetch`] only after a cache miss. A promise that wakes the module to pass on a cached response
/// costs more than all other work on it. In front of the entry of a private image there is the time at which its
/// request's credential expires, in Unix seconds, and a space.
#[wasm_bindgen]
pub fn cache_lookup_url(
    head: String,
    request: web_sys::Request,
    env: Env,
    context: worker_sys::Context,
) -> Result<JsValue, JsValue> {
    let request = Request::new(request, head, None);
    match app::configuration(&env).ok().and_then(|config| cache_entry(&request, config)) {
        Some(entry) => Ok(JsValue::from_str(&entry)),
        None => respond(request, env, context),
    }
}

fn cache_entry(request: &Request, config: &config::Config) -> Option<String> {
    let (path, query) = app::split_url(request.url());
    let method = request.method();
    if let Some(key) = delivery::public_cache_key(method, path, query, config) {
        return Some(key);
    }
    if method != "GET" {
        return None;
    }
    let (key, expires_at) = delivery::private_cache_entry(path, query, config, platform::now_ms())?;
    Some([&expires_at.to_string(), " ", &key].concat())
}

/// Responds to a request, with its id as a header.
async fn handle_request(request: Request, env: Env, context: Context) -> Result<JsValue, JsValue> {
    let request_id = hex::encode(platform::random_bytes::<8>());
    let is_head = request.method() == "HEAD";
    let mut reply = app::respond(&request, &env, &context, &request_id).await;
    reply.set_header("x-request-id", &request_id);
    let response = reply.into_response(is_head).or_else(|_| {
        platform::log_error("answer", &request_id, "invalid response header");
        Reply::problem(&Problem::new(Code::Internal), &request_id).into_response(is_head)
    });
    response.map(JsValue::from)
}
