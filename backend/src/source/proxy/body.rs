//! Streams the bytes of one range from the cache or from S3, with a timeout, and resumes after an interrupted body.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::time::{Instant, timeout};

use crate::source::proxy::{SourceObject, State};
use crate::store::{ObjectBody, Store, StoreError};

/// Timeout for each read of a body from S3.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// After this many consecutive reads without data the source is unreadable.
const MAX_EMPTY_READS: u32 = 3;

struct RangeStream<S> {
    store: Arc<S>,
    source: SourceObject,
    /// The bytes still to send.
    remaining: Range<u64>,
    /// The body that S3 is sending, and its end.
    body: Option<(ObjectBody, u64)>,
    empty_reads: u32,
    state: Arc<State>,
}

/// Starts to read a range, which must not be empty.
///
/// # Errors
/// The first read failed. Later failures end the body with an error; both are recorded in `state`.
pub(super) async fn open<S: Store>(
    store: Arc<S>,
    source: SourceObject,
    range: Range<u64>,
    state: Arc<State>,
) -> Result<UnsyncBoxBody<Bytes, StoreError>, StoreError> {
    let mut range_stream = RangeStream { store, source, remaining: range, body: None, empty_reads: 0, state };
    let first = range_stream.next().await.unwrap_or(Ok(Bytes::new()))?;
    let rest = futures::stream::unfold(Some(range_stream), |reading| async {
        let mut reading = reading?;
        match reading.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    });
    let chunks = futures::stream::once(std::future::ready(Ok(first))).chain(rest);
    Ok(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync())
}

impl<S: Store> RangeStream<S> {
    /// The next bytes; `None` when the range is complete.
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        while self.remaining.start < self.remaining.end {
            if self.body.as_ref().is_some_and(|(_, end)| *end <= self.remaining.start) {
                self.body = None;
            }
            if self.body.is_none()
                && let Some(bytes) = self.state.cache().get(&self.remaining)
            {
                self.remaining.start += bytes.len() as u64;
                return Some(Ok(bytes));
            }
            let started = Instant::now();
            let chunk = self.read_chunk().await;
            let wait_us = started.elapsed().as_micros() as u64;
            self.state.wait_time_us.fetch_add(wait_us, Ordering::Relaxed);
            match chunk {
                Ok(Some(mut bytes)) if !bytes.is_empty() => {
                    // S3 never sends more than requested; surplus bytes of another server must not reach the decoder.
                    let end = self.body.as_ref().map_or(self.remaining.end, |(_, end)| *end);
                    bytes.truncate((end - self.remaining.start) as usize);
                    self.state.cache().insert(self.remaining.start, &bytes);
                    self.remaining.start += bytes.len() as u64;
                    self.empty_reads = 0;
                    self.state.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Some(Ok(bytes));
                }
                Ok(Some(_)) => {}
                // The body ended or failed before the range was complete: resume from here.
                Ok(None) | Err(StoreError::Transient(_) | StoreError::Conflict)
                    if self.empty_reads < MAX_EMPTY_READS =>
                {
                    self.empty_reads += 1;
                    self.body = None;
                }
                Ok(None) => {
                    return Some(Err(
                        self.record_failure(StoreError::Transient("the response body ended early".into()))
                    ));
                }
                Err(error) => return Some(Err(self.record_failure(error))),
            }
        }
        None
    }

    async fn read_chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        let body = match &mut self.body {
            Some((body, _)) => body,
            slot => {
                self.state.requests.fetch_add(1, Ordering::Relaxed);
                let end = self.state.cache().next_cached(&self.remaining);
                let range = self.remaining.start..end;
                let body = self.store.get_range(&self.source.key, &self.source.etag, range).await?;
                &mut slot.insert((body, end)).0
            }
        };
        match timeout(READ_TIMEOUT, body.next()).await {
            Ok(next) => next.transpose(),
            Err(_) => Err(StoreError::Transient("S3 timed out while sending a body".into())),
        }
    }

    fn record_failure(&self, error: StoreError) -> StoreError {
        self.state.record_error(&error);
        error
    }
}
