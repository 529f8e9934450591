//! Reads byte ranges of the source from S3: few, parallel, resumed after an interruption.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::{Code, Key};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::JobError;
use crate::source::range_stream::{RangeStream, ReadCounters, SourceObject};
use crate::store::{Store, StoreError};
use glimpse_media::container::{self, Container};
use glimpse_media::demux::buffer::SparseBuffer;
use glimpse_media::demux::error::ReadError;

/// How many bytes of each source are read first: they contain the index of most short videos.
pub(crate) const HEAD_BYTES: u64 = 64 * 1024;
/// Sources up to this size are read as a whole, in bytes: one request instead of three.
const SMALL_BYTES: u64 = 1024 * 1024;
/// Ranges with a gap up to this size between them are read in one request, in bytes: another request would cost more.
const MAX_GAP_BYTES: u64 = 48 * 1024;
/// Longer ranges are fetched in parallel parts of this size, in bytes. AWS recommends 8 to 16 MB for throughput,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Maximum number of concurrent requests.
const MAX_CONCURRENT_READS: usize = 24;
/// Maximum number of concurrent requests for the bytes of a clip, each of which holds a part in memory.
const MAX_CLIP_READS: usize = 6;
/// Maximum number of bytes of one source in memory.
pub const MAX_BUFFERED_BYTES: u64 = 320 * 1024 * 1024;
/// How often a demuxer may request more bytes before the file counts as unsupported.
pub const MAX_ROUNDS: u32 = 24;

/// Statistics of the reads from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoStats {
    /// Number of read requests to S3.
    pub requests: u64,
    /// Number of bytes received from S3.
    pub bytes: u64,
    /// Number of consecutive waits for S3.
    pub round_trips: u64,
    /// Time that readers waited for S3, summed over all of them.
    pub wait_time: Duration,
}

impl IoStats {
    /// The sum of both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            bytes: self.bytes + other.bytes,
            round_trips: self.round_trips + other.round_trips,
            wait_time: self.wait_time + other.wait_time,
        }
    }
}

/// Reads one object in byte ranges.
#[derive(Debug)]
pub struct RangeReader<S> {
    store: Arc<S>,
    object: SourceObject,
    counters: Arc<ReadCounters>,
    round_trips: AtomicU64,
}

impl<S: Store> RangeReader<S> {
    /// A reader of the object with this ETag and length.
    pub fn new(store: Arc<S>, key: Key, etag: String, total_bytes: u64) -> Self {
        let object = SourceObject { key, etag, bytes: total_bytes };
        Self { store, object, counters: Arc::default(), round_trips: AtomicU64::new(0) }
    }

    /// The store of the object.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// The object.
    pub fn object(&self) -> &SourceObject {
        &self.object
    }

    /// Starts the statistics at zero.
    pub fn reset_stats(&self) {
        let ReadCounters { requests, bytes, wait_time_us } = &*self.counters;
        for counter in [requests, bytes, wait_time_us, &self.round_trips] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Statistics of the reads so far.
    pub fn stats(&self) -> IoStats {
        IoStats {
            requests: self.counters.requests.load(Ordering::Relaxed),
            bytes: self.counters.bytes.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            wait_time: Duration::from_micros(self.counters.wait_time_us.load(Ordering::Relaxed)),
        }
    }

    /// Reads the beginning of the file and detects its container.
    ///
    /// # Errors
    /// The error of the storage, or the container is not supported.
    pub async fn detect_container(&self) -> Result<(SparseBuffer, Container), JobError> {
        let total_bytes = self.object.bytes;
        let mut buffer = SparseBuffer::new(total_bytes);
        let head = 0..if total_bytes <= SMALL_BYTES { total_bytes } else { HEAD_BYTES };
        self.fetch(&mut buffer, std::slice::from_ref(&head)).await?;
        let container =
            container::sniff(&buffer.get_available(head), total_bytes).map_err(JobError::Rejected)?;
        Ok((buffer, container))
    }

    /// Fetches the missing parts of these ranges in parallel and adds them to the buffer.
    ///
    /// # Errors
    /// The error of the storage, the object was deleted or replaced, or the buffer limit is exceeded.
    pub async fn fetch(&self, buffer: &mut SparseBuffer, ranges: &[Range<u64>]) -> Result<(), JobError> {
        let parts = missing_ranges(buffer, ranges)?;
        if parts.is_empty() {
            return Ok(());
        }
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let fetched = self.read_ranges(parts).await;
        self.counters.wait_time_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        for (at, bytes) in fetched.map_err(map_read_error)? {
            buffer.insert(at, &bytes);
        }
        Ok(())
    }

    /// Reads these ranges, which may overlap, and returns `prefix` followed by each of them. Neighbors are read in one
    /// request.
    ///
    /// # Errors
    /// The error of the storage, or the object was deleted or replaced.
    pub async fn read_concatenated(&self, prefix: &[u8], ranges: &[Range<u64>]) -> Result<Bytes, JobError> {
        let mut total_bytes = prefix.len();
        let mut targets = Vec::with_capacity(ranges.len());
        for range in ranges {
            targets.push((range, total_bytes));
            total_bytes += (range.end - range.start) as usize;
        }
        let mut bytes = vec![0; total_bytes];
        bytes[..prefix.len()].copy_from_slice(prefix);
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let mut reads = futures::stream::iter(merge_ranges(ranges.to_vec()))
            .map(|part| async move { Ok::<_, StoreError>((part.start, self.read_range(part).await?)) })
            .buffer_unordered(MAX_CLIP_READS);
        while let Some((start, part)) = reads.try_next().await.map_err(map_read_error)? {
            let end = start + part.len() as u64;
            for (range, at) in &targets {
                let (from, until) = (range.start.max(start), range.end.min(end));
                if from < until {
                    let source = &part[(from - start) as usize..(until - start) as usize];
                    let at = at + (from - range.start) as usize;
                    bytes[at..at + source.len()].copy_from_slice(source);
                }
            }
        }
        self.counters.wait_time_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        Ok(bytes.into())
    }

    /// Starts to fetch these ranges in the background, during another wait or computation, so that it does not count as
    /// a round trip. Dropping the result cancels the reads.
    ///
    /// # Errors
    /// The buffer limit is exceeded.
    pub fn prefetch(
        self: &Arc<Self>,
        buffer: &SparseBuffer,
        ranges: &[Range<u64>],
    ) -> Result<PendingReads, JobError> {
        let parts = missing_ranges(buffer, ranges)?;
        let reader = Arc::clone(self);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { reader.read_ranges(parts).await });
        Ok(PendingReads(tasks))
    }

    async fn read_ranges(&self, parts: Vec<Range<u64>>) -> Result<Vec<(u64, Bytes)>, StoreError> {
        futures::stream::iter(parts)
            .map(|range| async move { Ok((range.start, self.read_range(range).await?)) })
            .buffer_unordered(MAX_CONCURRENT_READS)
            .try_collect()
            .await
    }

    /// Calls `parse` repeatedly, and fetches the ranges that it reports as missing after each call.
    ///
    /// # Errors
    /// Like [`RangeReader::fetch`], and the errors of `parse`.
    pub async fn read_until_ready<T>(
        &self,
        buffer: &mut SparseBuffer,
        mut parse: impl FnMut(&SparseBuffer) -> Result<T, ReadError>,
    ) -> Result<T, OpenError> {
        for _ in 0..MAX_ROUNDS {
            match parse(buffer) {
                Ok(value) => return Ok(value),
                Err(ReadError::NeedMore(ranges)) => self.fetch(buffer, &ranges).await?,
                Err(ReadError::Rejected(code)) => return Err(JobError::Rejected(code).into()),
                Err(ReadError::Unsupported(why)) => return Err(OpenError::Unsupported(why)),
                Err(ReadError::DeadlineExceeded) => return Err(deadline_error().into()),
            }
            // If all bytes are available immediately, no other point lets the job's deadline take effect.
            tokio::task::yield_now().await;
        }
        Err(OpenError::Unsupported("too many reads"))
    }

    async fn read_range(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
        let (store, object) = (Arc::clone(&self.store), self.object.clone());
        let mut stream = RangeStream::new(store, object, Arc::clone(&self.counters), range);
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes.freeze())
    }
}

/// The error of a job whose deadline passed during demuxing.
pub fn deadline_error() -> JobError {
    JobError::internal("the invocation ended while the file was read")
}

/// Reads in progress.
#[derive(Debug)]
pub struct PendingReads(JoinSet<Result<Vec<(u64, Bytes)>, StoreError>>);

impl PendingReads {
    /// Waits for the reads and adds their bytes to the buffer.
    ///
    /// # Errors
    /// The error of the storage, or the object was deleted or replaced.
    pub async fn join(mut self, buffer: &mut SparseBuffer) -> Result<(), JobError> {
        while let Some(fetched) = self.0.join_next().await {
            for (at, bytes) in fetched.map_err(JobError::internal)?.map_err(map_read_error)? {
                buffer.insert(at, &bytes);
            }
        }
        Ok(())
    }
}

/// Why a source cannot be read natively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The job ends with this error.
    Job(JobError),
    /// The native demuxers do not support the file; ffmpeg may read it through the source proxy.
    Unsupported(&'static str),
}

impl From<JobError> for OpenError {
    fn from(error: JobError) -> Self {
        Self::Job(error)
    }
}

/// Converts a failed read to the error of the job.
fn map_read_error(error: StoreError) -> JobError {
    match error {
        StoreError::NotFound => JobError::Rejected(Code::SourceGone),
        StoreError::PreconditionFailed => JobError::Superseded,
        other => JobError::storage(other),
    }
}

/// The missing parts of these ranges, merged and split for fetching.
fn missing_ranges(buffer: &SparseBuffer, ranges: &[Range<u64>]) -> Result<Vec<Range<u64>>, JobError> {
    let reads = merge_ranges(ranges.iter().flat_map(|range| buffer.missing_ranges(range.clone())).collect());
    let missing_bytes: u64 = reads.iter().map(|part| part.end - part.start).sum();
    if buffer.buffered_bytes() + missing_bytes > MAX_BUFFERED_BYTES {
        return Err(JobError::Rejected(Code::TooManyPixels));
    }
    Ok(reads)
}

/// The parts of `ranges` that are not in `others`.
pub fn subtract_ranges(ranges: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut others = others.to_vec();
    others.sort_by_key(|other| other.start);
    let mut remaining = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut at = range.start;
        for other in others.iter().filter(|other| other.start < range.end && range.start < other.end) {
            if at < other.start {
                remaining.push(at..other.start);
            }
            at = at.max(other.end);
        }
        if at < range.end {
            remaining.push(at..range.end);
        }
    }
    remaining
}

/// Merges neighboring ranges into one request and splits long ones.
fn merge_ranges(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(MAX_GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    let mut split = Vec::with_capacity(merged.len());
    for range in merged {
        let mut at = range.start;
        while at < range.end {
            // Extend the last part instead of leaving a request for a few bytes.
            let end = if range.end - at < PART_BYTES * 3 / 2 { range.end } else { at + PART_BYTES };
            split.push(at..end);
            at = end;
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VideoId;

    use super::*;
    use crate::store::PutOptions;
    use crate::store::memory::MemoryStore;

    #[test]
    fn merges_neighbors_and_splits_long_ranges() {
        let far = 10 * MAX_GAP_BYTES;
        assert_eq!(
            merge_ranges(vec![far..far + 5, 0..10, 8..20, 20 + MAX_GAP_BYTES..21 + MAX_GAP_BYTES, 7..7]),
            [0..21 + MAX_GAP_BYTES, far..far + 5]
        );
        let long = merge_ranges(vec![far..far, 0..PART_BYTES * 9 / 4]);
        assert_eq!(long, [0..PART_BYTES, PART_BYTES..PART_BYTES * 9 / 4]);
        assert!(merge_ranges(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn concatenates_ranges_in_any_order() {
        let store = Arc::new(MemoryStore::default());
        let key = Key::Manifest(VideoId::new(1, [1; 10]));
        let source: Vec<u8> = (0..PART_BYTES * 2).map(|at| (at / 1000 + at) as u8).collect();
        let etag = store.put(&key, source.clone().into(), PutOptions::JSON).await.unwrap();
        let reader = RangeReader::new(store, key, etag, source.len() as u64);
        let ranges = [PART_BYTES - 5..PART_BYTES * 2, 7..9, 0..8, 1_000_000..1_000_001];
        let bytes = reader.read_concatenated(b"head", &ranges).await.unwrap();
        let mut expected = b"head".to_vec();
        for range in &ranges {
            expected.extend_from_slice(&source[range.start as usize..range.end as usize]);
        }
        assert!(bytes == expected);
        let stats = reader.stats();
        assert_eq!((stats.requests, stats.bytes), (3, PART_BYTES + 5 + 9 + 1));
    }

    #[test]
    fn subtracts_pending_ranges() {
        let ranges = [0..10, 20..30];
        assert_eq!(subtract_ranges(&ranges, &[25..27, 5..8]), [0..5, 8..10, 20..25, 27..30]);
        assert_eq!(subtract_ranges(&ranges, &ranges), []);
        assert_eq!(subtract_ranges(&ranges, &[0..4, 2..12, 19..31]), []);
        assert_eq!(subtract_ranges(&ranges, &[10..20, 30..40]), ranges);
    }
}
