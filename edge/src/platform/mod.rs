//! Clock, randomness, fetches, cache, rate limits and WebCrypto of the Workers runtime. Besides `http/response.rs` and
//! `lib.rs`, it is the only module that uses `worker::`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use glimpse_contract::{Json, TraceId, VideoId, object};
use thiserror::Error;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{CryptoKey, ReadableStream, ReadableStreamDefaultReader, SubtleCrypto};
use worker::worker_sys::RateLimiter;
use worker::{Context, Delay, Env};

use crate::auth::{Algorithm, Verification};
use crate::http::client_address::client_key;
use crate::http::response::Reply;

/// A response, cached or received. It is the browser's interface, like that of requests: the wrappers of the `worker`
/// crate include every error of a Worker in each call, and take up a tenth of this Worker.
pub(crate) type Response = web_sys::Response;

/// A request to the Worker.
#[derive(Debug)]
pub(crate) struct Request {
    inner: web_sys::Request,
    /// Its method, its URL and none, some or all of its [`HEADERS`], one on each line.
    head: String,
    /// Its body, if `entry.js` has read it, until it is taken.
    body: RefCell<Option<Vec<u8>>>,
}

/// The headers that `entry.js` reads, in its order. They arrive with the request, without a call for each of them.
const HEADERS: [&str; 4] = ["authorization", "origin", "content-type", "content-length"];
/// What `entry.js` writes for an absent header. No value contains it.
const ABSENT: &str = "\r";

impl Request {
    /// A request, with its head as `entry.js` has written it and its body if `entry.js` has read it.
    pub(crate) fn new(inner: web_sys::Request, head: String, body: Option<Vec<u8>>) -> Self {
        Self { inner, head, body: RefCell::new(body) }
    }

    /// The method.
    pub(crate) fn method(&self) -> &str {
        self.head.split('\n').next().unwrap_or_default()
    }

    /// The URL.
    pub(crate) fn url(&self) -> &str {
        self.head.split('\n').nth(1).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<String> {
        let place = HEADERS.iter().position(|known| *known == name);
        match place.and_then(|place| self.head.split('\n').nth(place + 2)) {
            Some(ABSENT) => None,
            Some(value) => Some(value.to_owned()),
            None => self.inner.headers().get(name).ok().flatten(),
        }
    }
}

/// Timeout until the storage starts its response, in milliseconds.
pub(crate) const FETCH_TIMEOUT_MS: u32 = 10_000;

/// Another server did not respond, or its response is too large.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// No response: refused, reset or timed out.
    #[error("no response: {0}")]
    NoResponse(String),
    /// More bytes than the limit.
    #[error("the response is too large")]
    BodyTooLarge,
}

/// The time now, in Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}

thread_local! {
    // Unused random bytes: one call of WebCrypto is enough for dozens of requests.
    static RANDOM_POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    // Public keys as imported by WebCrypto, for the lifetime of this isolate.
    static CRYPTO_KEYS: RefCell<Vec<(Json, CryptoKey)>> = const { RefCell::new(Vec::new()) };
}

/// How many random bytes are generated at once.
const RANDOM_POOL_BYTES: usize = 1024;
/// How many imported keys are cached: those of a few issuers, each with its next one.
const MAX_CRYPTO_KEYS: usize = 16;

/// Random bytes, suitable for keys; none is used twice.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    RANDOM_POOL.with_borrow_mut(|pool| {
        if pool.len() < N {
            pool.resize(RANDOM_POOL_BYTES.max(N), 0);
            getrandom::fill(pool).expect("WebCrypto's getRandomValues cannot fail for so few bytes");
        }
        let (remaining, mut bytes) = (pool.len() - N, [0; N]);
        bytes.copy_from_slice(&pool[remaining..]);
        pool.truncate(remaining);
        bytes
    })
}

/// A variable or secret of the deployment.
pub(crate) fn env_var(env: &Env, name: &str) -> Option<String> {
    js_sys::Reflect::get(env, &JsValue::from_str(name)).ok()?.as_string()
}

/// Logs an error as JSON. It must not contain a URL with its query, a token or a cookie.
pub(crate) fn log_error(event: &str, request_id: &str, detail: &str) {
    let line =
        object! { "level" => "error", "event" => event, "request_id" => request_id, "detail" => detail };
    worker::console_error!("{line}");
}

/// Logs the trace of a request, and the video that the request creates.
pub(crate) fn log_trace(request_id: &str, video: VideoId, trace_id: TraceId) {
    let line = object! { "level" => "info", "event" => "traced", "request_id" => request_id, "video" => video,
    "trace_id" => trace_id };
    worker::console_log!("{line}");
}

/// The body of a request to another server.
#[derive(Debug)]
pub(crate) enum RequestBody<'a> {
    /// No body.
    Empty,
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// The body of the incoming request, passed through unread.
    Stream(ReadableStream),
}

/// A request to another server.
#[derive(Debug)]
pub(crate) struct FetchRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: RequestBody<'a>,
    /// Timeout of the request, in milliseconds.
    pub(crate) timeout_ms: u32,
}

impl<'a> FetchRequest<'a> {
    /// A request without headers or body.
    pub(crate) fn new(method: &'a str, url: &'a str) -> Self {
        Self { method, url, headers: &[], body: RequestBody::Empty, timeout_ms: FETCH_TIMEOUT_MS }
    }
}

/// The response of another server.
#[derive(Debug)]
pub(crate) struct FetchResponse {
    pub(crate) status: u16,
    response: Response,
}

impl FetchResponse {
    /// A header of the response.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        response_header(&self.response, name)
    }

    /// The response with its body, which is not read.
    pub(crate) fn into_inner(self) -> Response {
        self.response
    }

    /// Cancels the body, so that the server stops sending it.
    pub(crate) async fn discard(self) {
        if let Some(body) = self.response.body() {
            let _ = JsFuture::from(body.cancel()).await;
        }
    }

    /// Reads the body, at most `limit` bytes.
    pub(crate) async fn bytes(self, limit: usize) -> Result<Vec<u8>, FetchError> {
        let declared = self.header("content-length").and_then(|text| text.parse::<usize>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(FetchError::BodyTooLarge);
        }
        let bytes = response_bytes(&self.response).await;
        let bytes = bytes.ok_or_else(|| FetchError::NoResponse("interrupted".to_owned()))?;
        if bytes.len() > limit { Err(FetchError::BodyTooLarge) } else { Ok(bytes) }
    }
}

/// Sends a request to another server. Redirects are not followed: a signature is valid for one URL only.
pub(crate) async fn fetch(request: FetchRequest<'_>) -> Result<FetchResponse, FetchError> {
    let response: Response = send(request).await.map_err(|error| {
        // The message may contain the URL, and the URL a signature: only the name of the error is used.
        let text = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.name()));
        FetchError::NoResponse(text.unwrap_or_else(|| "unknown".to_owned()))
    })?;
    Ok(FetchResponse { status: response.status(), response })
}

async fn send(request: FetchRequest<'_>) -> Result<Response, JsValue> {
    let headers = web_sys::Headers::new()?;
    for (name, value) in request.headers {
        headers.set(name, value)?;
    }
    let init = web_sys::RequestInit::new();
    init.set_method(request.method);
    init.set_headers(&headers);
    init.set_redirect(web_sys::RequestRedirect::Manual);
    init.set_signal(Some(&web_sys::AbortSignal::timeout_with_u32(request.timeout_ms)));
    match request.body {
        RequestBody::Empty => {}
        RequestBody::Text(text) => init.set_body(&JsValue::from_str(text)),
        RequestBody::Bytes(bytes) => init.set_body(&js_sys::Uint8Array::from(bytes)),
        RequestBody::Stream(stream) => init.set_body(&stream),
    }
    let promise = worker_scope().fetch_with_str_and_init(request.url, &init);
    JsFuture::from(promise).await?.dyn_into()
}

fn worker_scope() -> web_sys::WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// The cache of this data center, Cloudflare's `caches.default`.
fn default_cache() -> Result<web_sys::Cache, JsValue> {
    let all: JsValue = worker_scope().caches()?.into();
    js_sys::Reflect::get(&all, &JsValue::from_str("default"))?.dyn_into()
}

/// Returns the cache entry of this URL.
pub(crate) async fn cache_get(url: &str) -> Option<Response> {
    let found = JsFuture::from(default_cache().ok()?.match_with_str(url)).await.ok()?;
    found.dyn_into().ok()
}

/// Returns the cache entry of this URL, or the cache's 304 if its ETag is among `if_none_match`: then an unneeded body
/// is not read. <https://developers.cloudflare.com/workers/runtime-apis/cache/#match>
pub(crate) async fn cache_get_unless(url: &str, if_none_match: Option<&str>) -> Option<Response> {
    match if_none_match {
        Some(etags) => cache_get_with(url, "if-none-match", etags).await,
        None => cache_get(url).await,
    }
}

/// Returns these bytes, both ends included, of the cache entry of this URL, as a response with status 206.
pub(crate) async fn cache_get_range(url: &str, first: u64, last: u64) -> Option<Response> {
    let part = cache_get_with(url, "range", &format!("bytes={first}-{last}")).await;
    part.filter(|part| part.status() == 206)
}

async fn cache_get_with(url: &str, header: &str, value: &str) -> Option<Response> {
    let headers = web_sys::Headers::new().ok()?;
    headers.set(header, value).ok()?;
    let init = web_sys::RequestInit::new();
    init.set_headers(&headers);
    let request = web_sys::Request::new_with_str_and_init(url, &init).ok()?;
    let found = JsFuture::from(default_cache().ok()?.match_with_request(&request)).await.ok()?;
    found.dyn_into().ok()
}

/// Stores a response under this URL. Best effort: a failure only causes a later cache miss.
pub(crate) async fn cache_put(url: &str, headers: Vec<(&'static str, String)>, body: Bytes) {
    cache_put_body(url, headers, crate::http::response::ReplyBody::Bytes(body)).await;
}

/// Like [`cache_put`], with any body. That of another response is passed through unread.
pub(crate) async fn cache_put_body(
    url: &str,
    headers: Vec<(&'static str, String)>,
    body: crate::http::response::ReplyBody,
) {
    let reply = Reply { status: 200, headers, body };
    if let (Ok(response), Ok(cache)) = (reply.into_response(false), default_cache()) {
        let _ = JsFuture::from(cache.put_with_str(url, &response)).await;
    }
}

/// Deletes the cache entry of this URL. Returns whether there was one.
pub(crate) async fn cache_delete(url: &str) -> bool {
    let Ok(cache) = default_cache() else { return false };
    JsFuture::from(cache.delete_with_str(url)).await.is_ok_and(|found| found.is_truthy())
}

/// Runs a future after the response was sent, or the client has disconnected: for at most 30 s,
/// <https://developers.cloudflare.com/workers/runtime-apis/context/#waituntil>.
pub(crate) fn wait_until(context: &Context, work: impl Future<Output = ()> + 'static) {
    context.wait_until(work);
}

/// A header of a request.
pub(crate) fn header(request: &Request, name: &str) -> Option<String> {
    request.header(name)
}

/// The rate limit key of this client.
pub(crate) fn request_client_key(request: &Request) -> String {
    client_key(header(request, "cf-connecting-ip").as_deref())
}

/// Reads the body of a request, at most `limit` bytes; `None` if it is longer or interrupted. A body of a declared length
/// is read at once; without one, bytes are counted as they arrive.
pub(crate) async fn read_body(request: &Request, limit: usize) -> Option<Vec<u8>> {
    if let Some(body) = request.body.take() {
        return Some(body).filter(|body| body.len() <= limit);
    }
    if let Some(length) = header(request, "content-length").and_then(|text| text.parse::<usize>().ok()) {
        if length > limit {
            return None;
        }
        // The runtime ends the body at the declared length.
        let buffer = JsFuture::from(request.inner.array_buffer().ok()?).await.ok()?;
        return Some(js_sys::Uint8Array::new(&buffer).to_vec()).filter(|body| body.len() <= limit);
    }
    let Some(stream) = body_stream(request) else { return Some(Vec::new()) };
    let mut chunks = ChunkReader::new(&stream).ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await.ok()? {
        if body.len() + chunk.len() > limit {
            chunks.drain().await;
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

/// The body of a request as a stream.
pub(crate) fn body_stream(request: &Request) -> Option<ReadableStream> {
    request.inner.body()
}

/// Reads the chunks of a stream.
#[derive(Debug)]
pub(crate) struct ChunkReader(ReadableStreamDefaultReader);

/// The most bytes of a rejected body that are read to its end.
const MAX_DRAINED_BYTES: u32 = 32 * 1024 * 1024;

/// The stream was interrupted.
#[derive(Debug)]
pub(crate) struct StreamError;

impl ChunkReader {
    /// Starts to read a stream that has no other reader.
    pub(crate) fn new(stream: &ReadableStream) -> Result<Self, StreamError> {
        stream.get_reader().dyn_into().map(Self).map_err(|_| StreamError)
    }

    /// The next chunk; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        Ok(self.read().await?.map(|chunk| chunk.to_vec()))
    }

    async fn read(&mut self) -> Result<Option<js_sys::Uint8Array>, StreamError> {
        let read = JsFuture::from(self.0.read()).await.map_err(|_| StreamError)?;
        let get = |name| js_sys::Reflect::get(&read, &JsValue::from_str(name)).map_err(|_| StreamError);
        if get("done")?.is_truthy() {
            return Ok(None);
        }
        Ok(Some(js_sys::Uint8Array::new(&get("value")?)))
    }

    /// Reads and discards the rest of the body, up to [`MAX_DRAINED_BYTES`]: a client that is still sending when it
    /// receives the response may report a broken connection instead.
    pub(crate) async fn drain(&mut self) {
        let mut drained = 0;
        while let Ok(Some(chunk)) = self.read().await {
            drained += chunk.length();
            if drained > MAX_DRAINED_BYTES {
                break;
            }
        }
    }
}

/// Sleeps. `Delay` keeps the first waker that polls it, and the first poll of a request has a no-op waker (`lib.rs`):
/// so the delay starts at the second poll.
pub(crate) async fn sleep_ms(ms: u64) {
    let mut is_second_poll = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_second_poll, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    Delay::from(std::time::Duration::from_millis(ms)).await;
}

/// The rate limits of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limiter {
    /// Create an upload, or request a token.
    Grants,
    /// Sign a part.
    Parts,
    /// Render an image, by video.
    VideoRenders,
    /// Render an image, by owner.
    OwnerRenders,
    /// Render an image, by client address.
    ClientRenders,
    /// Read the bucket after a cache miss, by client address.
    Reads,
    /// Open an event stream.
    Streams,
}

/// Checks a rate limit with Cloudflare's Rate Limiting binding. Without a binding nothing is limited; an error of the
/// binding allows the request.
pub(crate) async fn is_within_rate_limit(env: &Env, limiter: Limiter, key: &str) -> bool {
    let name = match limiter {
        Limiter::Grants => "GRANT_LIMITER",
        Limiter::Parts => "PART_LIMITER",
        Limiter::VideoRenders => "VIDEO_RENDER_LIMITER",
        Limiter::OwnerRenders => "OWNER_RENDER_LIMITER",
        Limiter::ClientRenders => "CLIENT_RENDER_LIMITER",
        Limiter::Reads => "READ_LIMITER",
        Limiter::Streams => "STREAM_LIMITER",
    };
    call_rate_limiter(env, name, key).await.unwrap_or(true)
}

async fn call_rate_limiter(env: &Env, name: &str, key: &str) -> Result<bool, JsValue> {
    let binding = js_sys::Reflect::get(env, &JsValue::from_str(name))?;
    if binding.is_undefined() {
        return Ok(true);
    }
    let binding: RateLimiter = binding.unchecked_into();
    let options = js_sys::Object::new();
    js_sys::Reflect::set(&options, &JsValue::from_str("key"), &JsValue::from_str(key))?;
    let outcome = JsFuture::from(binding.limit(options)?).await?;
    Ok(js_sys::Reflect::get(&outcome, &JsValue::from_str("success"))?.is_truthy())
}

/// A header of a response.
pub(crate) fn response_header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

/// Reads the whole body of a response; `None` if it was interrupted.
pub(crate) async fn response_bytes(response: &Response) -> Option<Vec<u8>> {
    let buffer = JsFuture::from(response.array_buffer().ok()?).await.ok()?;
    Some(js_sys::Uint8Array::new(&buffer).to_vec())
}

/// Whether a response has a body that can be passed through.
pub(crate) fn has_body(response: &Response) -> bool {
    response.body().is_some()
}

/// Verifies a signature with WebCrypto. The algorithm is that of the key.
pub(crate) async fn verify(verification: &Verification<'_>) -> bool {
    verify_by_webcrypto(verification).await.unwrap_or(false)
}

async fn verify_by_webcrypto(verification: &Verification<'_>) -> Result<bool, JsValue> {
    let algorithm = match verification.key.algorithm {
        Algorithm::Rs256 => object! { "name" => "RSASSA-PKCS1-v1_5", "hash" => "SHA-256" },
        Algorithm::Es256 => object! { "name" => "ECDSA", "namedCurve" => "P-256", "hash" => "SHA-256" },
        Algorithm::EdDsa => object! { "name" => "Ed25519" },
        Algorithm::Hs256 => return Ok(false),
    };
    let algorithm: js_sys::Object = js_sys::JSON::parse(&algorithm.to_string())?.unchecked_into();
    let subtle = worker_scope().crypto()?.subtle();
    let key = import_key(&subtle, &algorithm, &verification.key.members).await?;
    let promise = subtle.verify_with_object_and_u8_array_and_u8_array(
        &algorithm,
        &key,
        verification.signature,
        verification.signing_input,
    )?;
    Ok(JsFuture::from(promise).await?.is_truthy())
}

/// Imports a public key into WebCrypto, once. Its members determine its algorithm.
async fn import_key(
    subtle: &SubtleCrypto,
    algorithm: &js_sys::Object,
    members: &Json,
) -> Result<CryptoKey, JsValue> {
    let cached =
        CRYPTO_KEYS.with_borrow(|keys| keys.iter().find(|(of, _)| of == members).map(|(_, key)| key.clone()));
    if let Some(key) = cached {
        return Ok(key);
    }
    let jwk: js_sys::Object = js_sys::JSON::parse(&members.to_string())?.unchecked_into();
    let usages = js_sys::Array::of1(&JsValue::from_str("verify"));
    let promise = subtle.import_key_with_object("jwk", &jwk, algorithm, false, &usages)?;
    let key: CryptoKey = JsFuture::from(promise).await?.unchecked_into();
    CRYPTO_KEYS.with_borrow_mut(|keys| {
        if keys.len() == MAX_CRYPTO_KEYS {
            keys.remove(0);
        }
        keys.push((members.clone(), key.clone()));
    });
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_reads_the_same_headers() {
        let entry = include_str!("../../entry.js");
        let listed = format!("const HEADERS = {HEADERS:?};");
        assert!(entry.contains(&listed), "{listed}");
    }
}
