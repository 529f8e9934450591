//! Decides what a demuxer may look at: the bytes of a source that were fetched so far, and which it asks for next.
//!
//! A demuxer is a pure function of what is known. Where it needs more, it ends with [`Fault::Missing`]; the bytes are
//! fetched, and it is asked again. So it does no IO, and any bytes at all can be put before it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use glimpse_contract::Code;
use thiserror::Error;

use crate::demux::budget::{BYTES_PER_STEP, Budget, LOOKUP};

/// Why a demuxer has no answer, by what happens next.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// These bytes of the source have to be known first: all that are missing as far as can be told now, so that one
    /// round trip fetches them. Never empty, no range is empty or reaches over the end.
    #[error("{} ranges are not known yet", .0.len())]
    Missing(Vec<Range<u64>>),
    /// The file is refused for good.
    #[error("refused: {}", .0.as_str())]
    Refused(Code),
    /// It may be a good file, but one that this demuxer does not take: ffmpeg reads it through the relay.
    #[error("left to the relay: {0}")]
    Foreign(&'static str),
    /// The deadline of the work has passed: another try may have more time.
    #[error("the deadline has passed")]
    Late,
}

/// Keeps what is missing apart from the rest, so that all of it is asked for at once.
///
/// # Errors
/// Any other fault.
pub fn held<T>(result: Result<T, Fault>, missing: &mut Vec<Range<u64>>) -> Result<Option<T>, Fault> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Fault::Missing(ranges)) => {
            missing.extend(ranges);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

impl Fault {
    /// What is missing for several questions at once: in order, and nothing twice.
    pub fn all_missing(mut gaps: Vec<Range<u64>>) -> Self {
        gaps.sort_by_key(|gap| gap.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(gaps.len());
        for gap in gaps {
            match merged.last_mut() {
                Some(last) if gap.start <= last.end => last.end = last.end.max(gap.end),
                _ => merged.push(gap),
            }
        }
        Self::Missing(merged)
    }

    /// One range that is missing.
    pub fn missing(range: Range<u64>) -> Self {
        Self::Missing(vec![range])
    }
}

/// The bytes of a source that are known.
#[derive(Debug, Clone, Default)]
pub struct Known {
    total: u64,
    /// By where they begin; they neither overlap nor touch an equal start.
    pieces: BTreeMap<u64, Bytes>,
    /// What reading them may take.
    budget: Budget,
}

impl Known {
    /// Nothing of a source of this length.
    pub fn new(total: u64) -> Self {
        Self { total, pieces: BTreeMap::new(), budget: Budget::of(total) }
    }

    /// Nothing of the same source, with the same budget.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { pieces: BTreeMap::new(), ..self.clone() }
    }

    /// What reading the source may take, and what it took.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Ends all reading of the source at a moment.
    pub fn end_at(&mut self, deadline: Instant) {
        self.budget.end_at(deadline);
    }

    /// An answer, unless it took more than the budget: work that came to its end without steps has found anything or
    /// nothing.
    ///
    /// # Errors
    /// That of `answer`, or why there is no budget left.
    pub(super) fn within_budget<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        self.budget.check().and(answer)
    }

    /// The length of the source in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes are known.
    pub fn held(&self) -> u64 {
        self.pieces.values().map(|piece| piece.len() as u64).sum()
    }

    /// Learns the bytes that lie at `at`. What is known already stays as it is.
    pub fn learn(&mut self, at: u64, bytes: &Bytes) {
        let end = at.saturating_add(bytes.len() as u64).min(self.total);
        for gap in self.gaps(at..end) {
            let part = bytes.slice((gap.start - at) as usize..(gap.end - at) as usize);
            self.pieces.insert(gap.start, part);
        }
    }

    /// Forgets what lies outside of every one of `ranges`, in whole pieces.
    pub fn keep_only(&mut self, ranges: &[Range<u64>]) {
        self.pieces.retain(|start, piece| {
            let end = start + piece.len() as u64;
            ranges.iter().any(|range| range.start < end && *start < range.end)
        });
    }

    /// The parts of `range` that are not known, as far as the source reaches.
    pub fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let end = range.end.min(self.total);
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
    /// [`Fault::Missing`] with what is not known of them; [`Code::Truncated`] if the source ends before they do; why there
    /// is no budget left.
    pub fn bytes(&self, range: Range<u64>) -> Result<Bytes, Fault> {
        self.budget.spend(LOOKUP)?;
        if range.end > self.total || range.start > range.end {
            return Err(Fault::Refused(Code::Truncated));
        }
        if let Some(bytes) = self.within_a_piece(&range) {
            return Ok(bytes);
        }
        let gaps = self.gaps(range.clone());
        if !gaps.is_empty() {
            return Err(Fault::Missing(gaps));
        }
        Ok(self.gather(range))
    }

    /// As many of the bytes from `range.start` on as are known without a gap, at most up to `range.end`.
    pub fn available(&self, range: Range<u64>) -> Bytes {
        self.budget.charge(LOOKUP);
        let end = range.end.min(self.total);
        if range.start >= end {
            return Bytes::new();
        }
        if let Some(bytes) = self.within_a_piece(&(range.start..end)) {
            return bytes;
        }
        let end = self.gaps(range.start..end).first().map_or(end, |gap| gap.start);
        self.gather(range.start..end)
    }

    /// Copies the bytes from `at` on, as far as they are known without a gap, and says how many those are.
    pub(super) fn peek(&self, at: u64, into: &mut [u8]) -> usize {
        self.budget.charge(LOOKUP);
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
    fn within_a_piece(&self, range: &Range<u64>) -> Option<Bytes> {
        let (start, piece) = self.pieces.range(..=range.start).next_back()?;
        let (from, to) = ((range.start - start) as usize, (range.end - start) as usize);
        (to <= piece.len() && from < to).then(|| piece.slice(from..to))
    }

    fn gather(&self, range: Range<u64>) -> Bytes {
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
    fn says_what_is_missing_and_where_the_source_ends() {
        let mut known = Known::new(1000);
        assert_eq!(known.bytes(0..4), Err(Fault::missing(0..4)));
        known.learn(10, &source().slice(10..20));
        assert_eq!(known.bytes(0..30), Err(Fault::Missing(vec![0..10, 20..30])));
        assert_eq!(known.bytes(990..1001), Err(Fault::Refused(Code::Truncated)));
        assert_eq!(known.bytes(5..5), Ok(Bytes::new()));
        assert_eq!(known.available(12..900), source().slice(12..20));
        assert_eq!(known.available(9..900), Bytes::new());
        known.keep_only(&[]);
        assert_eq!(known.held(), 0);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(
            parts in prop::collection::vec((0_u64..1000, 0_u64..200), 0..20), asked in 0_u64..1000, length in 0_u64..300,
        ) {
            let source = source();
            let mut known = Known::new(1000);
            let mut there = vec![false; 1000];
            for (start, length) in parts {
                let end = (start + length).min(1000);
                known.learn(start, &source.slice(start as usize..end as usize));
                there[start as usize..end as usize].fill(true);
            }
            let end = (asked + length).min(1000);
            let whole = there[asked as usize..end as usize].iter().all(|known| *known);
            match known.bytes(asked..end) {
                Ok(bytes) => {
                    prop_assert!(whole);
                    prop_assert_eq!(&bytes[..], &source[asked as usize..end as usize]);
                }
                Err(Fault::Missing(gaps)) => {
                    prop_assert!(!whole);
                    prop_assert!(gaps.iter().all(|gap| gap.start < gap.end));
                    prop_assert!(gaps.iter().flat_map(Clone::clone).all(|place| !there[place as usize]));
                }
                Err(other) => prop_assert!(false, "{other:?}"),
            }
            prop_assert_eq!(known.held(), there.iter().filter(|known| **known).count() as u64);
        }
    }
}
