//! Source proxy: an HTTP server on the loopback interface through which ffmpeg reads a source without storing it on
//! disk.
//!
//! It responds to `GET` and `HEAD` requests for one unguessable path. Each range is forwarded to S3 as one ranged read
//! with `If-Match` and streamed: the decoder's pace applies backpressure to S3, and a closed connection ends the read.
//! Bytes that are likely to be read again are cached in memory. An interrupted body is resumed where it ended (threat
//! E10). The first error of S3 is recorded, so that the result of a job depends on the cause and not on an exit status.

mod body;
mod cache;
mod range;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::source::proxy::cache::Cache;
use crate::source::proxy::range::RequestedRange;
use crate::source::range_stream::{ReadCounters, SourceObject};
use crate::source::reader::IoStats;
use crate::store::{Store, StoreError};

/// The send buffer of a connection, in bytes.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// The first error of S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceError {
    /// The source was deleted in the meantime.
    Deleted,
    /// The source was replaced in the meantime.
    Replaced,
    /// Any other error; a retry may succeed.
    Unavailable(String),
}

#[derive(Debug)]
struct State {
    counters: Arc<ReadCounters>,
    first_error: Mutex<Option<SourceError>>,
    cache: Mutex<Cache>,
    /// Bytes that decoders receive before the source.
    prefix: OnceLock<Bytes>,
    /// How many bytes at the beginning of the source are hidden from decoders.
    skipped_bytes: OnceLock<u64>,
}

impl State {
    fn new(total_bytes: u64) -> Self {
        Self {
            counters: Arc::default(),
            first_error: Mutex::new(None),
            cache: Mutex::new(Cache::new(total_bytes)),
            prefix: OnceLock::new(),
            skipped_bytes: OnceLock::new(),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_error(&self, error: &StoreError) {
        let source_error = match error {
            StoreError::NotFound => SourceError::Deleted,
            StoreError::PreconditionFailed => SourceError::Replaced,
            other => SourceError::Unavailable(other.to_string()),
        };
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(source_error);
    }
}

/// Reads ranges of the source for this process.
struct RangeFn(Box<dyn Fn(Range<u64>) -> RangeFuture + Send + Sync>);

type RangeFuture = BoxFuture<'static, Result<Bytes, StoreError>>;

impl std::fmt::Debug for RangeFn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RangeFn")
    }
}

/// The proxy of one source. Dropping it closes the listener and all connections.
#[derive(Debug)]
pub struct SourceProxy {
    url: String,
    path: String,
    total_bytes: u64,
    read_fn: RangeFn,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl SourceProxy {
    /// Opens the proxy on a free port. `secret` makes the path unguessable: 128 fresh random bits.
    ///
    /// # Errors
    /// The loopback interface has no free port.
    pub fn open<S: Store>(store: Arc<S>, source: SourceObject, secret: [u8; 16]) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Bytes in the socket when a decoder seeks were read from S3 needlessly, so the buffer is small. Connections
        // inherit it.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(16)?;
        let path = format!("/{:032x}", u128::from_be_bytes(secret));
        let url = format!("http://{}{path}", listener.local_addr()?);
        let total_bytes = source.bytes;
        let state = Arc::new(State::new(total_bytes));
        let context = Arc::new(ProxyContext { store, source, path: path.clone(), state: Arc::clone(&state) });
        let task = tokio::spawn(accept(listener, Arc::clone(&context)));
        let read_fn = RangeFn(Box::new(move |range| {
            let ProxyContext { store, source, state, .. } = &*context;
            let body = body::open(Arc::clone(store), source.clone(), range, Arc::clone(state));
            async move { Ok(body.await?.collect().await?.to_bytes()) }.boxed()
        }));
        Ok(Self { url, path, total_bytes, read_fn, state, task })
    }

    /// The length of the source in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Inserts these bytes before the source for all later reads of decoders: a header that the source lacks. Can be
    /// called once.
    pub fn prepend(&self, bytes: Bytes) {
        self.state.prefix.get_or_init(|| bytes);
    }

    /// Hides this many bytes at the beginning of the source from all later reads of decoders: bytes that are not part
    /// of the container. Can be called once.
    pub fn skip(&self, bytes: u64) {
        self.state.skipped_bytes.get_or_init(|| bytes);
    }

    /// Reads a range like a decoder: the read is counted, and cached where a decoder's is.
    ///
    /// # Errors
    /// The error of the storage, which is also recorded.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() { Ok(Bytes::new()) } else { (self.read_fn.0)(range).await }
    }

    /// The URL for a decoder.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a range of the source, which a decoder reads like a whole file.
    pub fn range_url(&self, range: &Range<u64>) -> String {
        format!("{}-{}-{}", self.url, range.start, range.end)
    }

    /// The part of the URL that must not be logged.
    pub fn secret_path(&self) -> &str {
        &self.path
    }

    /// The first error of S3, if there was one.
    pub fn first_error(&self) -> Option<SourceError> {
        self.state.first_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Statistics of the reads so far.
    pub fn stats(&self) -> IoStats {
        let counters = &self.state.counters;
        let requests = counters.requests.load(Ordering::Relaxed);
        IoStats {
            requests,
            // ffmpeg sends one request after another.
            round_trips: requests,
            bytes: counters.bytes.load(Ordering::Relaxed),
            wait_time: Duration::from_micros(counters.wait_time_us.load(Ordering::Relaxed)),
        }
    }
}

impl Drop for SourceProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct ProxyContext<S> {
    store: Arc<S>,
    source: SourceObject,
    path: String,
    state: Arc<State>,
}

async fn accept<S: Store>(listener: TcpListener, context: Arc<ProxyContext<S>>) {
    // Owned by this task, so that the connections close when the proxy is dropped.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve(stream, Arc::clone(&context)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<S: Store>(stream: TcpStream, context: Arc<ProxyContext<S>>) {
    let service = service_fn(|request| {
        let context = Arc::clone(&context);
        async move { Ok::<_, Infallible>(respond(&request, &context).await) }
    });
    // ffmpeg closes the connection to seek; not an error.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type ProxyResponse = Response<UnsyncBoxBody<Bytes, StoreError>>;

async fn respond<S: Store>(request: &Request<Incoming>, context: &ProxyContext<S>) -> ProxyResponse {
    let skipped_bytes = context.state.skipped_bytes.get().copied().unwrap_or(0).min(context.source.bytes);
    let bounds = match request.uri().path().strip_prefix(&context.path) {
        Some("") => Some(skipped_bytes..context.source.bytes),
        Some(suffix) => parse_range_suffix(suffix, context.source.bytes),
        None => None,
    };
    let (Some(bounds), None) = (bounds, request.uri().query()) else {
        return empty_response(StatusCode::NOT_FOUND);
    };
    let head_only = *request.method() == Method::HEAD;
    if !head_only && *request.method() != Method::GET {
        let mut response = empty_response(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let prefix = context.state.prefix.get().cloned().unwrap_or_default();
    let prefix_bytes = prefix.len() as u64;
    let total = prefix_bytes + bounds.end - bounds.start;
    let (status, range) = match RequestedRange::parse(request.headers().get(RANGE), total) {
        RequestedRange::Full => (StatusCode::OK, 0..total),
        RequestedRange::Partial(range) => (StatusCode::PARTIAL_CONTENT, range),
        RequestedRange::Unsatisfiable => {
            let mut response = empty_response(StatusCode::RANGE_NOT_SATISFIABLE);
            if let Ok(value) = format!("bytes */{total}").parse() {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            return response;
        }
    };
    let mut builder = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(ACCEPT_RANGES, "bytes")
        .header(CONTENT_LENGTH, range.end - range.start);
    if status == StatusCode::PARTIAL_CONTENT {
        builder = builder.header(CONTENT_RANGE, format!("bytes {}-{}/{total}", range.start, range.end - 1));
    }
    let body = if head_only || range.is_empty() {
        empty_body()
    } else {
        let prefix =
            prefix.slice(range.start.min(prefix_bytes) as usize..range.end.min(prefix_bytes) as usize);
        let offset = |at: u64| bounds.start + at.saturating_sub(prefix_bytes);
        let range = offset(range.start)..offset(range.end);
        match open_body(context, prefix, range).await {
            Ok(body) => body,
            Err(StoreError::NotFound) => return empty_response(StatusCode::NOT_FOUND),
            Err(StoreError::PreconditionFailed) => return empty_response(StatusCode::PRECONDITION_FAILED),
            Err(_) => return empty_response(StatusCode::BAD_GATEWAY),
        }
    };
    builder.body(body).unwrap_or_else(|_| empty_response(StatusCode::INTERNAL_SERVER_ERROR))
}

/// Parses the suffix that [`SourceProxy::range_url`] appends.
fn parse_range_suffix(text: &str, total_bytes: u64) -> Option<Range<u64>> {
    let (start, end) = text.strip_prefix('-')?.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start < end && end <= total_bytes).then_some(start..end)
}

/// A body with the bytes of `prefix`, followed by the range of the source.
async fn open_body<S: Store>(
    context: &ProxyContext<S>,
    prefix: Bytes,
    range: Range<u64>,
) -> Result<UnsyncBoxBody<Bytes, StoreError>, StoreError> {
    let body = if range.is_empty() {
        empty_body()
    } else {
        let store = Arc::clone(&context.store);
        body::open(store, context.source.clone(), range, Arc::clone(&context.state)).await?
    };
    if prefix.is_empty() {
        return Ok(body);
    }
    let first = futures::stream::once(std::future::ready(Ok(Frame::data(prefix))));
    Ok(StreamBody::new(first.chain(BodyStream::new(body))).boxed_unsync())
}

fn empty_body() -> UnsyncBoxBody<Bytes, StoreError> {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn empty_response(status: StatusCode) -> ProxyResponse {
    let mut response = Response::new(empty_body());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
