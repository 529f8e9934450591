//! The bytes of a source that have been fetched so far, from which demuxers read.
//!
//! Demuxers are pure functions of the buffered bytes and do no IO. If bytes are missing, a demuxer returns
//! [`ReadError::NeedMore`]; the caller fetches them and calls it again. Tests can therefore pass any bytes to it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use glimpse_contract::Code;

use crate::demux::budget::{BYTES_PER_STEP, STEPS_PER_LOOKUP, WorkBudget};
use crate::demux::error::ReadError;

/// The buffered byte ranges of a source.
#[derive(Debug, Clone, Default)]
pub struct SparseBuffer {
    total_bytes: u64,
    /// Pieces by their start offset. They do not overlap.
    pieces: BTreeMap<u64, Bytes>,
    /// The work budget for reading the source.
    budget: WorkBudget,
}

impl SparseBuffer {
    /// Creates an empty buffer for a source of this length.
    pub fn new(total_bytes: u64) -> Self {
        Self { total_bytes, pieces: BTreeMap::new(), budget: WorkBudget::new(total_bytes) }
    }

    /// Returns an empty buffer for the same source, with the same budget.
    #[must_use]
    pub fn to_empty(&self) -> Self {
        Self { pieces: BTreeMap::new(), ..self.clone() }
    }

    /// The work budget for reading the source, with the steps used so far.
    pub fn budget(&self) -> &WorkBudget {
        &self.budget
    }

    /// Stops all reading of the source at this time.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.budget.set_deadline(deadline);
    }

    /// Returns `result`, unless the budget is exhausted: the result of work that ran out of steps is not reliable.
    ///
    /// # Errors
    /// The error of `result`, or the reason why the budget is exhausted.
    pub(super) fn check_budget<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        self.budget.check().and(result)
    }

    /// The length of the source in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The number of buffered bytes.
    pub fn buffered_bytes(&self) -> u64 {
        self.pieces.values().map(|piece| piece.len() as u64).sum()
    }

    /// Adds the bytes at `offset`. Bytes that are already buffered are kept.
    pub fn insert(&mut self, offset: u64, bytes: &Bytes) {
        let end = offset.saturating_add(bytes.len() as u64).min(self.total_bytes);
        for gap in self.missing_ranges(offset..end) {
            let part = bytes.slice((gap.start - offset) as usize..(gap.end - offset) as usize);
            self.pieces.insert(gap.start, part);
        }
    }

    /// Removes pieces that do not overlap any of `ranges`. Pieces are removed or kept as a whole.
    pub fn retain(&mut self, ranges: &[Range<u64>]) {
        self.pieces.retain(|start, piece| {
            let end = start + piece.len() as u64;
            ranges.iter().any(|range| range.start < end && *start < range.end)
        });
    }

    /// The parts of `range` that are not buffered, up to the end of the source.
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

    /// Returns all bytes of the range. They are copied only if they span several pieces.
    ///
    /// # Errors
    /// [`ReadError::NeedMore`] with the missing ranges; [`Code::Truncated`] if the range extends past the end of the
    /// source; the reason why the budget is exhausted.
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

    /// Returns the contiguous buffered bytes from `range.start`, at most up to `range.end`.
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

    /// Copies the contiguous buffered bytes from `at` and returns their number.
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

    /// Returns the range if a single piece contains it.
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
            parts in prop::collection::vec((0_u64..1000, 0_u64..200), 0..20), start in 0_u64..1000, length in 0_u64..300,
        ) {
            let source = source();
            let mut buffer = SparseBuffer::new(1000);
            let mut is_present = vec![false; 1000];
            for (start, length) in parts {
                let end = (start + length).min(1000);
                buffer.insert(start, &source.slice(start as usize..end as usize));
                is_present[start as usize..end as usize].fill(true);
            }
            let end = (start + length).min(1000);
            let whole = is_present[start as usize..end as usize].iter().all(|known| *known);
            match buffer.get(start..end) {
                Ok(bytes) => {
                    prop_assert!(whole);
                    prop_assert_eq!(&bytes[..], &source[start as usize..end as usize]);
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
