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
use glimpse_media::demux::buffer::{Fault, Known};

/// What is read of every source before anything is known of it: the index of most short videos is in it.
pub(crate) const FIRST_BYTES: u64 = 64 * 1024;
/// A source up to this length is read as a whole: one request instead of three.
const SMALL_BYTES: u64 = 1024 * 1024;
/// A gap up to this length between two wanted ranges is read along: a request costs more than it.
const GAP_BYTES: u64 = 48 * 1024;
/// A range longer than this is fetched in parts, side by side. AWS advises 8 to 16 MB for throughput,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// How many requests are under way at once.
const SIDE_BY_SIDE: usize = 24;
/// How long S3 may be silent.
const SILENCE: Duration = Duration::from_secs(15);
/// How many reads in a row may bring nothing before the source counts as unreadable.
const FRUITLESS_READS: u32 = 3;
/// The most of one source that is held in memory.
pub const MAX_HELD_BYTES: u64 = 320 * 1024 * 1024;
/// How often a demuxer may ask for more before the file counts as unreadable that way.
pub const MAX_ROUNDS: u32 = 24;

/// What was read of a source so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Reads that S3 was asked for.
    pub requests: u64,
    /// Bytes that S3 sent.
    pub bytes: u64,
    /// Times that everything waited for S3, one after another.
    pub round_trips: u64,
    /// How long readers waited for S3, summed over all of them.
    pub waited: Duration,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            bytes: self.bytes + other.bytes,
            round_trips: self.round_trips + other.round_trips,
            waited: self.waited + other.waited,
        }
    }
}

/// Reads one object by ranges.
#[derive(Debug)]
pub struct Reader<S> {
    store: Arc<S>,
    key: Key,
    etag: String,
    total: u64,
    requests: AtomicU64,
    bytes: AtomicU64,
    round_trips: AtomicU64,
    waited_us: AtomicU64,
}

impl<S: Store> Reader<S> {
    /// A reader of the object that has this ETag and length.
    pub fn new(store: Arc<S>, key: Key, etag: String, total: u64) -> Self {
        Self {
            store,
            key,
            etag,
            total,
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
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
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        Counts {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.waited_us.load(Ordering::Relaxed)),
        }
    }

    /// Reads the beginning, and decides by it which container it is.
    ///
    /// # Errors
    /// The storage failed, or the file is none that is read here.
    pub async fn begin(&self) -> Result<(Known, Container), JobError> {
        let mut known = Known::new(self.total);
        let first = 0..if self.total <= SMALL_BYTES { self.total } else { FIRST_BYTES };
        self.fetch(&mut known, std::slice::from_ref(&first)).await?;
        let container = container::sniff(&known.available(first), self.total).map_err(JobError::Refused)?;
        Ok((known, container))
    }

    /// Fetches these ranges, all at once as far as may be, and learns them.
    ///
    /// # Errors
    /// The storage failed, the object is gone or another one, or more is asked for than may be held.
    pub async fn fetch(&self, known: &mut Known, ranges: &[Range<u64>]) -> Result<(), JobError> {
        let parts = missing_parts(known, ranges)?;
        if parts.is_empty() {
            return Ok(());
        }
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let fetched = self.all(parts).await;
        self.waited_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        for (at, bytes) in fetched.map_err(of_read)? {
            known.learn(at, &bytes);
        }
        Ok(())
    }

    /// Begins to fetch these ranges while something else is waited for or worked at, so that it counts as no round trip
    /// of its own. Dropped, it ends.
    ///
    /// # Errors
    /// More is asked for than may be held.
    pub fn order(self: &Arc<Self>, known: &Known, ranges: &[Range<u64>]) -> Result<Delivery, JobError> {
        let parts = missing_parts(known, ranges)?;
        let reader = Arc::clone(self);
        let mut under_way = JoinSet::new();
        under_way.spawn(async move { reader.all(parts).await });
        Ok(Delivery(under_way))
    }

    async fn all(&self, parts: Vec<Range<u64>>) -> Result<Vec<(u64, Bytes)>, StoreError> {
        futures::stream::iter(parts)
            .map(|part| async move { Ok((part.start, self.part(part).await?)) })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await
    }

    /// Asks `question` again and again, each time with what it said was missing.
    ///
    /// # Errors
    /// As [`Reader::fetch`], and what the question itself ends with.
    pub async fn ask<T>(
        &self,
        known: &mut Known,
        mut question: impl FnMut(&Known) -> Result<T, Fault>,
    ) -> Result<T, Stop> {
        for _ in 0..MAX_ROUNDS {
            match question(known) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Missing(ranges)) => self.fetch(known, &ranges).await?,
                Err(Fault::Refused(code)) => return Err(JobError::Refused(code).into()),
                Err(Fault::Foreign(why)) => return Err(Stop::Foreign(why)),
                Err(Fault::Late) => return Err(late().into()),
            }
            // Bytes that are there at once leave no moment in which the job's own deadline is looked at.
            tokio::task::yield_now().await;
        }
        Err(Stop::Foreign("it asks for more again and again"))
    }

    async fn part(&self, part: Range<u64>) -> Result<Bytes, StoreError> {
        let mut bytes = BytesMut::with_capacity((part.end - part.start) as usize);
        let mut fruitless = 0;
        loop {
            let before = bytes.len();
            let result = self.attempt(part.start + before as u64..part.end, &mut bytes).await;
            if bytes.len() as u64 >= part.end - part.start {
                // S3 never sends more than was asked for.
                bytes.truncate((part.end - part.start) as usize);
                return Ok(bytes.freeze());
            }
            fruitless = if bytes.len() > before { 0 } else { fruitless + 1 };
            match result {
                Ok(()) | Err(StoreError::Transient(_) | StoreError::Denied(_) | StoreError::Conflict)
                    if fruitless <= FRUITLESS_READS => {}
                Ok(()) => return Err(StoreError::Transient("the body ends early".into())),
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, range: Range<u64>, into: &mut BytesMut) -> Result<(), StoreError> {
        let silent = |_| StoreError::Transient("S3 fell silent".into());
        self.requests.fetch_add(1, Ordering::Relaxed);
        let wanted = (range.end - range.start) as usize + into.len();
        let mut body = self.store.read(&self.key, &self.etag, range).await?;
        while let Some(piece) = timeout(SILENCE, body.next()).await.map_err(silent)? {
            let piece = piece?;
            self.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
            into.extend_from_slice(&piece);
            if into.len() > wanted {
                break;
            }
        }
        Ok(())
    }
}

/// What it means that the deadline of a job passed while a demuxer was at work.
pub fn late() -> JobError {
    JobError::internal("the invocation's time ended while the file was read")
}

/// Ranges that are on their way.
#[derive(Debug)]
pub struct Delivery(JoinSet<Result<Vec<(u64, Bytes)>, StoreError>>);

impl Delivery {
    /// Waits for them, and learns them.
    ///
    /// # Errors
    /// The storage failed, or the object is gone or another one.
    pub async fn arrive(mut self, known: &mut Known) -> Result<(), JobError> {
        while let Some(fetched) = self.0.join_next().await {
            for (at, bytes) in fetched.map_err(JobError::internal)?.map_err(of_read)? {
                known.learn(at, &bytes);
            }
        }
        Ok(())
    }
}

/// Why a question about a source has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It ends the job.
    Job(JobError),
    /// Not by this way; ffmpeg may read it through the relay.
    Foreign(&'static str),
}

impl From<JobError> for Stop {
    fn from(error: JobError) -> Self {
        Self::Job(error)
    }
}

/// What a failed read means for the job.
fn of_read(error: StoreError) -> JobError {
    match error {
        StoreError::Gone => JobError::Refused(Code::SourceGone),
        StoreError::Changed => JobError::Superseded,
        other => JobError::storage(other),
    }
}

/// What is not known of these ranges, as it is fetched.
fn missing_parts(known: &Known, ranges: &[Range<u64>]) -> Result<Vec<Range<u64>>, JobError> {
    let parts = parts(ranges.iter().flat_map(|range| known.gaps(range.clone())).collect());
    let more: u64 = parts.iter().map(|part| part.end - part.start).sum();
    if known.held() + more > MAX_HELD_BYTES {
        return Err(JobError::Refused(Code::TooManyPixels));
    }
    Ok(parts)
}

/// What is left of these ranges without those others.
pub fn without(ranges: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut others = others.to_vec();
    others.sort_by_key(|other| other.start);
    let mut left = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut at = range.start;
        for other in others.iter().filter(|other| other.start < range.end && range.start < other.end) {
            if at < other.start {
                left.push(at..other.start);
            }
            at = at.max(other.end);
        }
        if at < range.end {
            left.push(at..range.end);
        }
    }
    left
}

/// Neighbours in one request, long ones in several.
fn parts(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    let mut parts = Vec::with_capacity(merged.len());
    for range in merged {
        let mut at = range.start;
        while at < range.end {
            // Nothing is left over that would be a request for a few bytes.
            let end = if range.end - at < PART_BYTES * 3 / 2 { range.end } else { at + PART_BYTES };
            parts.push(at..end);
            at = end;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_request_and_a_long_one_is_several() {
        let far = 10 * GAP_BYTES;
        assert_eq!(
            parts(vec![far..far + 5, 0..10, 8..20, 20 + GAP_BYTES..21 + GAP_BYTES, 7..7]),
            [0..21 + GAP_BYTES, far..far + 5]
        );
        let long = parts(vec![far..far, 0..PART_BYTES * 9 / 4]);
        assert_eq!(long, [0..PART_BYTES, PART_BYTES..PART_BYTES * 9 / 4]);
        assert!(parts(Vec::new()).is_empty());
    }

    #[test]
    fn what_is_on_its_way_already_is_not_asked_for_again() {
        let two = [0..10, 20..30];
        assert_eq!(without(&two, &[25..27, 5..8]), [0..5, 8..10, 20..25, 27..30]);
        assert_eq!(without(&two, &two), []);
        assert_eq!(without(&two, &[0..4, 2..12, 19..31]), []);
        assert_eq!(without(&two, &[10..20, 30..40]), two);
    }
}
