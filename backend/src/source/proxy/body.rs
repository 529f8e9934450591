//! Decides how the bytes of one range come out of the cache or of S3: streamed, timed, resumed where a body broke off.

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

use crate::source::proxy::{Source, State};
use crate::store::{Body, Store, StoreError};

/// How long S3 may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(15);
/// How many reads in a row may bring nothing before the source counts as unreadable.
const FRUITLESS_READS: u32 = 3;

struct Reading<S> {
    store: Arc<S>,
    source: Source,
    /// What is still to come.
    left: Range<u64>,
    /// The body that S3 is sending, and where it ends.
    body: Option<(Body, u64)>,
    fruitless: u32,
    state: Arc<State>,
}

/// Starts reading a range that is not empty.
///
/// # Errors
/// S3 refuses the first read. Later failures end the body with an error; both are noted in `state`.
pub(super) async fn open<S: Store>(
    store: Arc<S>,
    source: Source,
    range: Range<u64>,
    state: Arc<State>,
) -> Result<UnsyncBoxBody<Bytes, StoreError>, StoreError> {
    let mut reading = Reading { store, source, left: range, body: None, fruitless: 0, state };
    let first = reading.next().await.unwrap_or(Ok(Bytes::new()))?;
    let rest = futures::stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    });
    let stream = futures::stream::once(std::future::ready(Ok(first))).chain(rest);
    Ok(StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync())
}

impl<S: Store> Reading<S> {
    /// The next bytes; none when the range is complete.
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        while self.left.start < self.left.end {
            if self.body.as_ref().is_some_and(|(_, end)| *end <= self.left.start) {
                self.body = None;
            }
            if self.body.is_none()
                && let Some(bytes) = self.state.cache().piece(&self.left)
            {
                self.left.start += bytes.len() as u64;
                return Some(Ok(bytes));
            }
            let started = Instant::now();
            let piece = self.piece().await;
            let waited = started.elapsed().as_micros() as u64;
            self.state.waited_us.fetch_add(waited, Ordering::Relaxed);
            match piece {
                Ok(Some(mut bytes)) if !bytes.is_empty() => {
                    // S3 never sends more than was asked for; whoever does is not to confuse the decoder.
                    let end = self.body.as_ref().map_or(self.left.end, |(_, end)| *end);
                    bytes.truncate((end - self.left.start) as usize);
                    self.state.cache().keep(self.left.start, &bytes);
                    self.left.start += bytes.len() as u64;
                    self.fruitless = 0;
                    self.state.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Some(Ok(bytes));
                }
                Ok(Some(_)) => {}
                // The body ended or broke before the range was complete: go on from here.
                Ok(None) | Err(StoreError::Transient(_) | StoreError::Conflict)
                    if self.fruitless < FRUITLESS_READS =>
                {
                    self.fruitless += 1;
                    self.body = None;
                }
                Ok(None) => return Some(Err(self.fail(StoreError::Transient("the body ends early".into())))),
                Err(error) => return Some(Err(self.fail(error))),
            }
        }
        None
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        let body = match &mut self.body {
            Some((body, _)) => body,
            none => {
                self.state.requests.fetch_add(1, Ordering::Relaxed);
                let end = self.state.cache().gap_end(&self.left);
                let range = self.left.start..end;
                let body = self.store.read(&self.source.key, &self.source.etag, range).await?;
                &mut none.insert((body, end)).0
            }
        };
        match timeout(SILENCE, body.next()).await {
            Ok(next) => next.transpose(),
            Err(_) => Err(StoreError::Transient("S3 fell silent in the middle of a body".into())),
        }
    }

    fn fail(&self, error: StoreError) -> StoreError {
        self.state.note(&error);
        error
    }
}
