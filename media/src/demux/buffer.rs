//! Decides what a demuxer may look at: the bytes of a source that were fetched so far, and which it asks for next.
//!
//! A demuxer is a pure function of what is known. Where it needs more, it ends with [`ReadError::NeedMore`]; the bytes are
//! fetched, and it is asked again. So it does no IO, and any bytes at all can be put before it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use glimpse_contract::Code;
use thiserror::Error;

use crate::demux::budget::{BYTES_PER_STEP, STEPS_PER_LOOKUP, WorkBudget};

/// Why a demuxer has no answer, by what happens next.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// These bytes of the source have to be known first: all that are missing as far as can be told now, so that one
    /// round trip fetches them. Never empty, no range is empty or reaches over the end.
    #[error("{} ranges are not known yet", .0.len())]
    NeedMore(Vec<Range<u64>>),
    /// The file is refused for good.
    #[error("refused: {}", .0.as_str())]
    Rejected(Code),
    /// It may be a good file, but one that this demuxer does not take: ffmpeg reads it through the relay.
    #[error("left to the relay: {0}")]
    Unsupported(&'static str),
    /// The deadline of the work has passed: another try may have more time.
    #[error("the deadline has passed")]
    DeadlineExceeded,
}

/// Keeps what is missing apart from the rest, so that all of it is asked for at once.
///
/// # Errors
/// Any other fault.
pub fn collect_missing<T>(
    result: Result<T, ReadError>,
    missing: &mut Vec<Range<u64>>,
) -> Result<Option<T>, ReadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::NeedMore(ranges)) => {
            missing.extend(ranges);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

impl ReadError {
    /// What is missing for several questions at once: in order, and nothing twice.
    pub fn from_missing_ranges(mut missing: Vec<Range<u64>>) -> Self {
        missing.sort_by_key(|gap| gap.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(missing.len());
        for gap in missing {
            match merged.last_mut() {
                Some(last) if gap.start <= last.end => last.end = last.end.max(gap.end),
                _ => merged.push(gap),
            }
        }
        Self::NeedMore(merged)
    }

    /// One range that is missing.
    pub fn from_missing_range(range: Range<u64>) -> Self {
        Self::NeedMore(vec![range])
    }
}

/// The bytes of a source that are known.
#[derive(Debug, Clone, Default)]
pub struct SparseBuffer {
    total_bytes: u64,
    /// By where they begin; they neither overlap nor touch an equal start.
    pieces: BTreeMap<u64, Bytes>,
    /// What reading them may take.
    budget: WorkBudget,
}

impl SparseBuffer {
    /// Nothing of a source of this length.
    pub fn new(total_bytes: u64) -> Self {
        Self { total_bytes, pieces: BTreeMap::new(), budget: WorkBudget::new(total_bytes) }
    }

    /// Nothing of the same source, with the same budget.
    #[must_use]
    pub fn to_empty(&self) -> Self {
        Self { pieces: BTreeMap::new(), ..self.clone() }
    }

    /// What reading the source may take, and what it took.
    pub fn budget(&self) -> &WorkBudget {
        &self.budget
    }

    /// Ends all reading of the source at a moment.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.budget.set_deadline(deadline);
    }

    /// An answer, unless it took more than the budget: work that came to its end without steps has found anything or
    /// nothing.
    ///
    /// # Errors
    /// That of `answer`, or why there is no budget left.
    pub(super) fn check_budget<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        self.budget.check().and(result)
    }

    /// The length of the source in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// How many bytes are known.
    pub fn buffered_bytes(&self) -> u64 {
        self.pieces.values().map(|piece| piece.len() as u64).sum()
    }

    /// Learns the bytes that lie at `at`. What is known already stays as it is.
    pub fn insert(&mut self, offset: u64, bytes: &Bytes) {
        let end = offset.saturating_add(bytes.len() as u64).min(self.total_bytes);
        for gap in self.missing_ranges(offset..end) {
            let part = bytes.slice((gap.start - offset) as usize..(gap.end - offset) as usize);
            self.pieces.insert(gap.start, part);
        }
    }

    /// Forgets what lies outside of every one of `ranges`, in whole pieces.
    pub fn retain(&mut self, ranges: &[Range<u64>]) {
        self.pieces.retain(|start, piece| {
            let end = start + piece.len() as u64;
            ranges.iter().any(|range| range.start < end && *start < range.end)
        });
    }

    /// The parts of `range` that are not known, as far as the source reaches.
    pub fn missing_ranges(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let end = range.end.min(self.total_bytes);
        let mut at = range.start;
        let mut gaps = Vec::new();
        let before = self.pieces.range(..=at).next_back().into_iter();
        let inside = self.pieces.range(at.saturating_add(1)..end.max(at.saturating_add(1)));
        for (start, piece) in before.chain(inside) {
            if *start >= end {
                break;
            }
            if *start > at {
                gaps.push(at..*start);
            }
            at = at.max(start + piece.len() as u64);
        }
        if at < end {
            gaps.push(at..end);
        }
        gaps
    }

    /// These bytes, whole. A copy is made only where they come in several pieces.
    ///
    /// # Errors
    /// [`ReadError::NeedMore`] with what is not known of them; [`Code::Truncated`] if the source ends before they do; why there
    /// is no budget left.
    pub fn get(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.budget.spend(STEPS_PER_LOOKUP)?;
        if range.end > self.total_bytes || range.start > range.end {
            return Err(ReadError::Rejected(Code::Truncated));
        }
        if let Some(bytes) = self.get_contiguous(&range) {
            return Ok(bytes);
        }
        let gaps = self.missing_ranges(range.clone());
        if !gaps.is_empty() {
            return Err(ReadError::NeedMore(gaps));
        }
        Ok(self.copy_range(range))
    }

    /// As many of the bytes from `range.start` on as are known without a gap, at most up to `range.end`.
    pub fn get_available(&self, range: Range<u64>) -> Bytes {
        self.budget.charge(STEPS_PER_LOOKUP);
        let end = range.end.min(self.total_bytes);
        if range.start >= end {
            return Bytes::new();
        }
        if let Some(bytes) = self.get_contiguous(&(range.start..end)) {
            return bytes;
        }
        let end = self.missing_ranges(range.start..end).first().map_or(end, |gap| gap.start);
        self.copy_range(range.start..end)
    }

    /// Copies the bytes from `at` on, as far as they are known without a gap, and says how many those are.
    pub(super) fn peek(&self, at: u64, into: &mut [u8]) -> usize {
        self.budget.charge(STEPS_PER_LOOKUP);
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = at.saturating_add(filled as u64);
            let Some((start, piece)) = self.pieces.range(..=at).next_back() else { break };
            let Some(bytes) = piece.get((at - start) as usize..).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            let length = bytes.len().min(rest.len());
            rest[..length].copy_from_slice(&bytes[..length]);
            filled += length;
        }
        filled
    }

    /// These bytes, if one piece has all of them.
    fn get_contiguous(&self, range: &Range<u64>) -> Option<Bytes> {
        let (start, piece) = self.pieces.range(..=range.start).next_back()?;
        let (from, to) = ((range.start - start) as usize, (range.end - start) as usize);
        (to <= piece.len() && from < to).then(|| piece.slice(from..to))
    }

    fn copy_range(&self, range: Range<u64>) -> Bytes {
        self.budget.charge((range.end - range.start) / BYTES_PER_STEP);
        let mut all = BytesMut::with_capacity((range.end - range.start) as usize);
        let first = self.pieces.range(..=range.start).next_back();
        let from = first.map_or(range.start, |(start, _)| *start);
        for (start, piece) in self.pieces.range(from..range.end) {
            let low = range.start.max(*start);
            let high = range.end.min(start + piece.len() as u64);
            if low < high {
                all.extend_from_slice(&piece[(low - start) as usize..(high - start) as usize]);
            }
        }
        all.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> Bytes {
        (0..1000_u32).map(|place| (place % 251) as u8).collect()
    }

    #[test]
    fn reports_missing_ranges_and_source_end() {
        let mut buffer = SparseBuffer::new(1000);
        assert_eq!(buffer.get(0..4), Err(ReadError::from_missing_range(0..4)));
        buffer.insert(10, &source().slice(10..20));
        assert_eq!(buffer.get(0..30), Err(ReadError::NeedMore(vec![0..10, 20..30])));
        assert_eq!(buffer.get(990..1001), Err(ReadError::Rejected(Code::Truncated)));
        assert_eq!(buffer.get(5..5), Ok(Bytes::new()));
        assert_eq!(buffer.get_available(12..900), source().slice(12..20));
        assert_eq!(buffer.get_available(9..900), Bytes::new());
        buffer.retain(&[]);
        assert_eq!(buffer.buffered_bytes(), 0);
    }

    proptest! {
        #[test]
        fn returns_inserted_bytes(
            parts in prop::collection::vec((0_u64..1000, 0_u64..200), 0..20), asked in 0_u64..1000, length in 0_u64..300,
        ) {
            let source = source();
            let mut buffer = SparseBuffer::new(1000);
            let mut is_present = vec![false; 1000];
            for (start, length) in parts {
                let end = (start + length).min(1000);
                buffer.insert(start, &source.slice(start as usize..end as usize));
                is_present[start as usize..end as usize].fill(true);
            }
            let end = (asked + length).min(1000);
            let whole = is_present[asked as usize..end as usize].iter().all(|known| *known);
            match buffer.get(asked..end) {
                Ok(bytes) => {
                    prop_assert!(whole);
                    prop_assert_eq!(&bytes[..], &source[asked as usize..end as usize]);
                }
                Err(ReadError::NeedMore(gaps)) => {
                    prop_assert!(!whole);
                    prop_assert!(gaps.iter().all(|gap| gap.start < gap.end));
                    prop_assert!(gaps.iter().flat_map(Clone::clone).all(|place| !is_present[place as usize]));
                }
                Err(other) => prop_assert!(false, "{other:?}"),
            }
            prop_assert_eq!(buffer.buffered_bytes(), is_present.iter().filter(|known| **known).count() as u64);
        }
    }
}
