//! Decides how the bytes that a demuxer asks for are fetched: few requests, side by side, resumed where one breaks off.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use glimpse_contract::{Code, Key};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::error::JobError;
use crate::store::{Store, StoreError};
use glimpse_media::container::{self, Container};
use glimpse_media::demux::buffer::{ReadError, SparseBuffer};

/// What is read of every source before anything is known of it: the index of most short videos is in it.
pub(crate) const HEAD_BYTES: u64 = 64 * 1024;
/// A source up to this length is read as a whole: one request instead of three.
const SMALL_BYTES: u64 = 1024 * 1024;
/// A gap up to this length between two wanted ranges is read along: a request costs more than it.
const MAX_GAP_BYTES: u64 = 48 * 1024;
/// A range longer than this is fetched in parts, side by side. AWS advises 8 to 16 MB for throughput,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// How many requests are under way at once.
const MAX_CONCURRENT_READS: usize = 24;
/// How long S3 may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// How many reads in a row may bring nothing before the source counts as unreadable.
const MAX_EMPTY_READS: u32 = 3;
/// The most of one source that is held in memory.
pub const MAX_BUFFERED_BYTES: u64 = 320 * 1024 * 1024;
/// How often a demuxer may ask for more before the file counts as unreadable that way.
pub const MAX_ROUNDS: u32 = 24;

/// What was read of a source so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoStats {
    /// Reads that S3 was asked for.
    pub requests: u64,
    /// Bytes that S3 sent.
    pub bytes: u64,
    /// Times that everything waited for S3, one after another.
    pub round_trips: u64,
    /// How long readers waited for S3, summed over all of them.
    pub wait_time: Duration,
}

impl IoStats {
    /// Both together.
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

/// Reads one object by ranges.
#[derive(Debug)]
pub struct RangeReader<S> {
    store: Arc<S>,
    key: Key,
    etag: String,
    total_bytes: u64,
    requests: AtomicU64,
    bytes: AtomicU64,
    round_trips: AtomicU64,
    wait_time_us: AtomicU64,
}

impl<S: Store> RangeReader<S> {
    /// A reader of the object that has this ETag and length.
    pub fn new(store: Arc<S>, key: Key, etag: String, total_bytes: u64) -> Self {
        Self {
            store,
            key,
            etag,
            total_bytes,
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            wait_time_us: AtomicU64::new(0),
        }
    }

    /// The bucket that it lies in.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// Where the object lies.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Which object it has to be, quotes included.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The object's length in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// What was read so far.
    pub fn stats(&self) -> IoStats {
        IoStats {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            wait_time: Duration::from_micros(self.wait_time_us.load(Ordering::Relaxed)),
        }
    }

    /// Reads the beginning, and decides by it which container it is.
    ///
    /// # Errors
    /// The storage failed, or the file is none that is read here.
    pub async fn detect_container(&self) -> Result<(SparseBuffer, Container), JobError> {
        let mut buffer = SparseBuffer::new(self.total_bytes);
        let head = 0..if self.total_bytes <= SMALL_BYTES { self.total_bytes } else { HEAD_BYTES };
        self.fetch(&mut buffer, std::slice::from_ref(&head)).await?;
        let container =
            container::sniff(&buffer.get_available(head), self.total_bytes).map_err(JobError::Rejected)?;
        Ok((buffer, container))
    }

    /// Fetches these ranges, all at once as far as may be, and learns them.
    ///
    /// # Errors
    /// The storage failed, the object is gone or another one, or more is asked for than may be held.
    pub async fn fetch(&self, buffer: &mut SparseBuffer, ranges: &[Range<u64>]) -> Result<(), JobError> {
        let parts = missing_ranges(buffer, ranges)?;
        if parts.is_empty() {
            return Ok(());
        }
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let fetched = self.read_ranges(parts).await;
        self.wait_time_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        for (at, bytes) in fetched.map_err(map_read_error)? {
            buffer.insert(at, &bytes);
        }
        Ok(())
    }

    /// Begins to fetch these ranges while something else is waited for or worked at, so that it counts as no round trip
    /// of its own. Dropped, it ends.
    ///
    /// # Errors
    /// More is asked for than may be held.
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

    /// Asks `question` again and again, each time with what it said was missing.
    ///
    /// # Errors
    /// As [`RangeReader::fetch`], and what the question itself ends with.
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
            // Bytes that are there at once leave no moment in which the job's own deadline is looked at.
            tokio::task::yield_now().await;
        }
        Err(OpenError::Unsupported("it asks for more again and again"))
    }

    async fn read_range(&self, part: Range<u64>) -> Result<Bytes, StoreError> {
        let mut bytes = BytesMut::with_capacity((part.end - part.start) as usize);
        let mut empty_reads = 0;
        loop {
            let before = bytes.len();
            let result = self.read_once(part.start + before as u64..part.end, &mut bytes).await;
            if bytes.len() as u64 >= part.end - part.start {
                // S3 never sends more than was asked for.
                bytes.truncate((part.end - part.start) as usize);
                return Ok(bytes.freeze());
            }
            empty_reads = if bytes.len() > before { 0 } else { empty_reads + 1 };
            match result {
                Ok(()) | Err(StoreError::Transient(_) | StoreError::Denied(_) | StoreError::Conflict)
                    if empty_reads <= MAX_EMPTY_READS => {}
                Ok(()) => return Err(StoreError::Transient("the body ends early".into())),
                Err(error) => return Err(error),
            }
        }
    }

    async fn read_once(&self, range: Range<u64>, into: &mut BytesMut) -> Result<(), StoreError> {
        let timed_out = |_| StoreError::Transient("S3 fell silent".into());
        self.requests.fetch_add(1, Ordering::Relaxed);
        let expected_len = (range.end - range.start) as usize + into.len();
        let mut body = self.store.get_range(&self.key, &self.etag, range).await?;
        while let Some(chunk) = timeout(READ_TIMEOUT, body.next()).await.map_err(timed_out)? {
            let chunk = chunk?;
            self.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            into.extend_from_slice(&chunk);
            if into.len() > expected_len {
                break;
            }
        }
        Ok(())
    }
}

/// What it means that the deadline of a job passed while a demuxer was at work.
pub fn deadline_error() -> JobError {
    JobError::internal("the invocation's time ended while the file was read")
}

/// Ranges that are on their way.
#[derive(Debug)]
pub struct PendingReads(JoinSet<Result<Vec<(u64, Bytes)>, StoreError>>);

impl PendingReads {
    /// Waits for them, and learns them.
    ///
    /// # Errors
    /// The storage failed, or the object is gone or another one.
    pub async fn join(mut self, buffer: &mut SparseBuffer) -> Result<(), JobError> {
        while let Some(fetched) = self.0.join_next().await {
            for (at, bytes) in fetched.map_err(JobError::internal)?.map_err(map_read_error)? {
                buffer.insert(at, &bytes);
            }
        }
        Ok(())
    }
}

/// Why a question about a source has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// It ends the job.
    Job(JobError),
    /// Not by this way; ffmpeg may read it through the relay.
    Unsupported(&'static str),
}

impl From<JobError> for OpenError {
    fn from(error: JobError) -> Self {
        Self::Job(error)
    }
}

/// What a failed read means for the job.
fn map_read_error(error: StoreError) -> JobError {
    match error {
        StoreError::NotFound => JobError::Rejected(Code::SourceGone),
        StoreError::PreconditionFailed => JobError::Superseded,
        other => JobError::storage(other),
    }
}

/// What is not known of these ranges, as it is fetched.
fn missing_ranges(buffer: &SparseBuffer, ranges: &[Range<u64>]) -> Result<Vec<Range<u64>>, JobError> {
    let reads = merge_ranges(ranges.iter().flat_map(|range| buffer.missing_ranges(range.clone())).collect());
    let missing_bytes: u64 = reads.iter().map(|part| part.end - part.start).sum();
    if buffer.buffered_bytes() + missing_bytes > MAX_BUFFERED_BYTES {
        return Err(JobError::Rejected(Code::TooManyPixels));
    }
    Ok(reads)
}

/// What is left of these ranges without those others.
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

/// Neighbours in one request, long ones in several.
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
            // Nothing is left over that would be a request for a few bytes.
            let end = if range.end - at < PART_BYTES * 3 / 2 { range.end } else { at + PART_BYTES };
            split.push(at..end);
            at = end;
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn subtracts_pending_ranges() {
        let ranges = [0..10, 20..30];
        assert_eq!(subtract_ranges(&ranges, &[25..27, 5..8]), [0..5, 8..10, 20..25, 27..30]);
        assert_eq!(subtract_ranges(&ranges, &ranges), []);
        assert_eq!(subtract_ranges(&ranges, &[0..4, 2..12, 19..31]), []);
        assert_eq!(subtract_ranges(&ranges, &[10..20, 30..40]), ranges);
    }
}
