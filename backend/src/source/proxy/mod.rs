//! Decides how a decoder reads a source: through one address on the loopback, and nothing of it is stored on a disk.
//!
//! It answers `GET` and `HEAD` of one unguessable path. A range is forwarded to S3 as one ranged read with
//! `If-Match`, and its bytes are handed on as they come: the decoder's own pace is felt by S3, and a connection that
//! it drops ends the read. What is likely to be read again is kept in memory as it passes. A body that breaks off is resumed from where it was (THREATS E10).
//! What S3 did is remembered, so that a job's outcome is judged by what was seen and not by an exit code.

mod body;
mod cache;
mod range;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use glimpse_contract::Key;
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
use crate::source::proxy::range::Asked;
use crate::source::reader::{Counts, Reader};
use crate::store::{Store, StoreError};

/// How much may lie unread in a connection, in bytes.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// The one object that is read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it lies.
    pub key: Key,
    /// Which object it has to be, quotes included.
    pub etag: String,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Source {
    /// The object that a reader reads.
    pub fn of<S: Store>(reader: &Reader<S>) -> Self {
        Self { key: reader.key().clone(), etag: reader.etag().to_owned(), bytes: reader.total() }
    }
}

/// The first thing that S3 failed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The source was deleted meanwhile.
    Gone,
    /// The source was replaced meanwhile.
    Changed,
    /// S3 did not answer as it should; it may the next time.
    Trouble(String),
}

#[derive(Debug)]
struct State {
    requests: AtomicU64,
    bytes: AtomicU64,
    waited_us: AtomicU64,
    seen: Mutex<Option<Seen>>,
    cache: Mutex<Cache>,
    /// What decoders find before the source.
    before: OnceLock<Bytes>,
    /// How many bytes of the source's beginning decoders do not find.
    skipped: OnceLock<u64>,
}

impl State {
    fn new(total: u64) -> Self {
        Self {
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
            seen: Mutex::new(None),
            cache: Mutex::new(Cache::new(total)),
            before: OnceLock::new(),
            skipped: OnceLock::new(),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, error: &StoreError) {
        let seen = match error {
            StoreError::Gone => Seen::Gone,
            StoreError::Changed => Seen::Changed,
            other => Seen::Trouble(other.to_string()),
        };
        let mut first = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(seen);
    }
}

/// How the source's bytes are read for our own use.
struct Own(Box<dyn Fn(Range<u64>) -> Reading + Send + Sync>);

type Reading = BoxFuture<'static, Result<Bytes, StoreError>>;

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

/// The loopback reader of one source. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Relay {
    url: String,
    path: String,
    total: u64,
    own: Own,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Opens the reader on a free port. `secret` makes the path unguessable: 128 fresh random bits.
    ///
    /// # Errors
    /// The loopback has no port to give.
    pub fn open<S: Store>(store: Arc<S>, source: Source, secret: [u8; 16]) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // What lies in a socket when a decoder seeks away was read from S3 for nothing. Connections inherit this.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(16)?;
        let path = format!("/{:032x}", u128::from_be_bytes(secret));
        let url = format!("http://{}{path}", listener.local_addr()?);
        let total = source.bytes;
        let state = Arc::new(State::new(total));
        let shared = Arc::new(Shared { store, source, path: path.clone(), state: Arc::clone(&state) });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        let own = Own(Box::new(move |range| {
            let Shared { store, source, state, .. } = &*shared;
            let opened = body::open(Arc::clone(store), source.clone(), range, Arc::clone(state));
            async move { Ok(opened.await?.collect().await?.to_bytes()) }.boxed()
        }));
        Ok(Self { url, path, total, own, state, task })
    }

    /// How long the source is, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Lets decoders find these bytes before the source from now on, once: a header that it lacks.
    pub fn put_before(&self, bytes: Bytes) {
        self.state.before.get_or_init(|| bytes);
    }

    /// Lets decoders find the source without these bytes of its beginning from now on, once: what is no part of it.
    pub fn skip(&self, bytes: u64) {
        self.state.skipped.get_or_init(|| bytes);
    }

    /// Some of its bytes, read as a decoder's are: counted, and kept where those are.
    ///
    /// # Errors
    /// The storage failed, which is noted as well.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() { Ok(Bytes::new()) } else { (self.own.0)(range).await }
    }

    /// The address to hand to a decoder.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address of a part of the source, to hand to a decoder as if it were all of it.
    pub fn url_of(&self, part: &Range<u64>) -> String {
        format!("{}-{}-{}", self.url, part.start, part.end)
    }

    /// The part of the address that must not be logged.
    pub fn secret_path(&self) -> &str {
        &self.path
    }

    /// The first thing that S3 failed at, if it failed at anything.
    pub fn seen(&self) -> Option<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        Counts {
            requests: self.state.requests.load(Ordering::Relaxed),
            // ffmpeg asks for one thing after another.
            round_trips: self.state.requests.load(Ordering::Relaxed),
            bytes: self.state.bytes.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.state.waited_us.load(Ordering::Relaxed)),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared<S> {
    store: Arc<S>,
    source: Source,
    path: String,
    state: Arc<State>,
}

async fn accept<S: Store>(listener: TcpListener, shared: Arc<Shared<S>>) {
    // Owned by this task: when the relay is dropped, so are its connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<S: Store>(stream: TcpStream, shared: Arc<Shared<S>>) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&request, &shared).await) }
    });
    // A reader that goes away in the middle is how ffmpeg seeks: no error worth a word.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answer = Response<UnsyncBoxBody<Bytes, StoreError>>;

async fn answer<S: Store>(request: &Request<Incoming>, shared: &Shared<S>) -> Answer {
    let skipped = shared.state.skipped.get().copied().unwrap_or(0).min(shared.source.bytes);
    let part = match request.uri().path().strip_prefix(&shared.path) {
        Some("") => Some(skipped..shared.source.bytes),
        Some(part) => part_of(part, shared.source.bytes),
        None => None,
    };
    let (Some(part), None) = (part, request.uri().query()) else { return empty(StatusCode::NOT_FOUND) };
    let head_only = *request.method() == Method::HEAD;
    if !head_only && *request.method() != Method::GET {
        let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
        answer.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let before = shared.state.before.get().cloned().unwrap_or_default();
    let lead = before.len() as u64;
    let total = lead + part.end - part.start;
    let (status, range) = match Asked::parse(request.headers().get(RANGE), total) {
        Asked::All => (StatusCode::OK, 0..total),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => {
            let mut answer = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            if let Ok(value) = format!("bytes */{total}").parse() {
                answer.headers_mut().insert(CONTENT_RANGE, value);
            }
            return answer;
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
        nothing()
    } else {
        let before = before.slice(range.start.min(lead) as usize..range.end.min(lead) as usize);
        let offset = |at: u64| part.start + at.saturating_sub(lead);
        let range = offset(range.start)..offset(range.end);
        match opened(shared, before, range).await {
            Ok(body) => body,
            Err(StoreError::Gone) => return empty(StatusCode::NOT_FOUND),
            Err(StoreError::Changed) => return empty(StatusCode::PRECONDITION_FAILED),
            Err(_) => return empty(StatusCode::BAD_GATEWAY),
        }
    };
    builder.body(body).unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR))
}

/// The part that an address ends with, as [`Relay::url_of`] writes it.
fn part_of(text: &str, total: u64) -> Option<Range<u64>> {
    let (start, end) = text.strip_prefix('-')?.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start < end && end <= total).then_some(start..end)
}

/// These bytes, and then those of the source.
async fn opened<S: Store>(
    shared: &Shared<S>,
    before: Bytes,
    range: Range<u64>,
) -> Result<UnsyncBoxBody<Bytes, StoreError>, StoreError> {
    let body = if range.is_empty() {
        nothing()
    } else {
        let store = Arc::clone(&shared.store);
        body::open(store, shared.source.clone(), range, Arc::clone(&shared.state)).await?
    };
    if before.is_empty() {
        return Ok(body);
    }
    let first = futures::stream::once(std::future::ready(Ok(Frame::data(before))));
    Ok(StreamBody::new(first.chain(BodyStream::new(body))).boxed_unsync())
}

fn nothing() -> UnsyncBoxBody<Bytes, StoreError> {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(nothing());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests;
