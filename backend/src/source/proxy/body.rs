//! Streams the bytes of one range from the cache or from S3.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::time::Instant;

use crate::source::proxy::State;
use crate::source::range_stream::{RangeStream, SourceObject};
use crate::store::{Store, StoreError};

struct CachedRange<S> {
    store: Arc<S>,
    source: SourceObject,
    /// The bytes still to send.
    remaining: Range<u64>,
    /// The bytes that S3 is sending, up to the next cached ones.
    stream: Option<RangeStream<S>>,
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
    let mut cached_range = CachedRange { store, source, remaining: range, stream: None, state };
    let first = cached_range.next().await.unwrap_or(Ok(Bytes::new()))?;
    let rest = futures::stream::unfold(Some(cached_range), |reading| async {
        let mut reading = reading?;
        match reading.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    });
    let chunks = futures::stream::once(std::future::ready(Ok(first))).chain(rest);
    Ok(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync())
}

impl<S: Store> CachedRange<S> {
    /// The next bytes; `None` when the range is complete.
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        while self.remaining.start < self.remaining.end {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                slot => {
                    if let Some(bytes) = self.state.cache().get(&self.remaining) {
                        self.remaining.start += bytes.len() as u64;
                        return Some(Ok(bytes));
                    }
                    let end = self.state.cache().next_cached(&self.remaining);
                    let (store, counters) = (Arc::clone(&self.store), Arc::clone(&self.state.counters));
                    let range = self.remaining.start..end;
                    slot.insert(RangeStream::new(store, self.source.clone(), counters, range))
                }
            };
            let started = Instant::now();
            let chunk = stream.next().await;
            let wait_us = started.elapsed().as_micros() as u64;
            self.state.counters.wait_time_us.fetch_add(wait_us, Ordering::Relaxed);
            match chunk {
                Some(Ok(bytes)) => {
                    self.state.cache().insert(self.remaining.start, &bytes);
                    self.remaining.start += bytes.len() as u64;
                    return Some(Ok(bytes));
                }
                Some(Err(error)) => {
                    self.state.record_error(&error);
                    return Some(Err(error));
                }
                // The next bytes are cached.
                None => self.stream = None,
            }
        }
        None
    }
}
