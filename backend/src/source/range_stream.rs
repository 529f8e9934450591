//! Streams the bytes of one range of an object from S3, with a timeout, and resumes after an interrupted body.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use glimpse_contract::Key;
use tokio::time::timeout;

use crate::store::{ObjectBody, Store, StoreError};

/// Timeout for each read of a body from S3.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// After this many consecutive reads without data, the next one makes the object unreadable.
const MAX_EMPTY_READS: u32 = 3;

/// The object that is read.
#[derive(Debug, Clone)]
pub struct SourceObject {
    /// The key of the object.
    pub key: Key,
    /// The ETag that the object must have, with quotes.
    pub etag: String,
    /// The length of the object in bytes.
    pub bytes: u64,
}

/// Counters of the reads from S3.
#[derive(Debug, Default)]
pub(super) struct ReadCounters {
    pub(super) requests: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) wait_time_us: AtomicU64,
}

/// One range of an object while it is read.
pub(super) struct RangeStream<S> {
    store: Arc<S>,
    object: SourceObject,
    counters: Arc<ReadCounters>,
    /// The bytes still to read.
    remaining: Range<u64>,
    /// The body that S3 is sending.
    body: Option<ObjectBody>,
    /// Whether a read has returned data since the last interruption.
    has_data: bool,
    empty_reads: u32,
}

impl<S: Store> RangeStream<S> {
    pub(super) fn new(
        store: Arc<S>,
        object: SourceObject,
        counters: Arc<ReadCounters>,
        range: Range<u64>,
    ) -> Self {
        Self { store, object, counters, remaining: range, body: None, has_data: false, empty_reads: 0 }
    }

    /// The next bytes; `None` when the range is complete. After an error, there are none.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        while self.remaining.start < self.remaining.end {
            let error = match self.read_chunk().await {
                Ok(Some(mut bytes)) => {
                    // S3 never sends more than requested; surplus bytes of another server must not reach the decoder.
                    bytes.truncate((self.remaining.end - self.remaining.start) as usize);
                    if bytes.is_empty() {
                        continue;
                    }
                    self.remaining.start += bytes.len() as u64;
                    self.has_data = true;
                    self.counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Some(Ok(bytes));
                }
                Ok(None) => StoreError::Transient("the response body ended early".into()),
                Err(error) => error,
            };
            // The body ended or failed before the range was complete: resume from here.
            self.body = None;
            self.empty_reads = if self.has_data { 0 } else { self.empty_reads + 1 };
            self.has_data = false;
            if !may_resume(&error) || self.empty_reads > MAX_EMPTY_READS {
                self.remaining.start = self.remaining.end;
                return Some(Err(error));
            }
        }
        None
    }

    async fn read_chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        let body = match &mut self.body {
            Some(body) => body,
            slot => {
                self.counters.requests.fetch_add(1, Ordering::Relaxed);
                let SourceObject { key, etag, .. } = &self.object;
                slot.insert(self.store.read_range(key, etag, self.remaining.clone()).await?)
            }
        };
        match timeout(READ_TIMEOUT, body.next()).await {
            Ok(next) => next.transpose(),
            Err(_) => Err(StoreError::Transient("S3 timed out while sending a body".into())),
        }
    }
}

/// Whether another read may succeed.
fn may_resume(error: &StoreError) -> bool {
    matches!(error, StoreError::Transient(_) | StoreError::Denied(_) | StoreError::Conflict)
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VideoId;

    use super::*;
    use crate::store::PutOptions;
    use crate::store::memory::{MemoryStore, ReadFault};

    /// Reads `range` of the object `0123456789` with these faults; returns the bytes, the last error, and the number of
    /// requests.
    async fn read(range: Range<u64>, faults: Vec<ReadFault>) -> (String, Option<StoreError>, u64) {
        let store = Arc::new(MemoryStore::default());
        let key = Key::Manifest(VideoId::new(0, [0; 10]));
        let etag = store.put(&key, Bytes::from_static(b"0123456789"), PutOptions::JSON).await.unwrap();
        for fault in faults {
            store.fail_next_read(fault);
        }
        let counters = Arc::new(ReadCounters::default());
        let object = SourceObject { key, etag, bytes: 10 };
        let mut stream = RangeStream::new(store, object, Arc::clone(&counters), range);
        let (mut text, mut error) = (String::new(), None);
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Err(failure) => error = Some(failure),
            }
        }
        assert_eq!(counters.bytes.load(Ordering::Relaxed), text.len() as u64);
        (text, error, counters.requests.load(Ordering::Relaxed))
    }

    fn transient() -> ReadFault {
        ReadFault::Fail(StoreError::Transient("503".into()))
    }

    #[tokio::test]
    async fn e10_resumes_where_the_body_ended() {
        for (faults, requests) in [
            (vec![], 1),
            (vec![ReadFault::BreakAfter(3)], 2),
            (vec![ReadFault::EndAfter(3)], 2),
            (vec![ReadFault::EndAfter(0), ReadFault::BreakAfter(0), transient()], 4),
            // Data between two failures resets the count of reads without data.
            (
                vec![transient(), transient(), ReadFault::EndAfter(1), transient(), transient(), transient()],
                7,
            ),
            (
                vec![
                    ReadFault::Fail(StoreError::Denied("403".into())),
                    ReadFault::Fail(StoreError::Conflict),
                ],
                3,
            ),
        ] {
            let label = format!("{faults:?}");
            let (text, error, counted) = read(2..9, faults).await;
            assert_eq!((text.as_str(), counted), ("2345678", requests), "{label}");
            assert!(error.is_none(), "{label}: {error:?}");
        }
    }

    #[tokio::test]
    async fn gives_up_after_reads_without_data() {
        let (text, error, requests) = read(0..10, (0..9).map(|_| transient()).collect()).await;
        assert_eq!((text.as_str(), requests), ("", 4));
        assert!(matches!(error, Some(StoreError::Transient(_))), "{error:?}");
    }

    #[tokio::test]
    async fn deleted_or_replaced_object_ends_the_read() {
        for error in [StoreError::NotFound, StoreError::PreconditionFailed] {
            let label = format!("{error:?}");
            let faults = vec![ReadFault::BreakAfter(4), ReadFault::Fail(error)];
            let (text, found, requests) = read(0..10, faults).await;
            assert_eq!((text.as_str(), requests), ("0123", 2), "{label}");
            assert_eq!(format!("{:?}", found.unwrap()), label);
        }
    }
}
