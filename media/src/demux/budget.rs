//! Decides how much work demuxing one file may take: so many steps, in proportion to its bytes, and until when.
//!
//! A step is a few nanoseconds of work: a quarter of a sample that is indexed, a quarter of a look at bytes that are
//! known. Everything that is asked about one file has one budget together, so that questions that are asked again cost
//! as much as they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use glimpse_contract::Code;

use crate::demux::buffer::Fault;

/// The steps of every file, however small: a hundredfold of what a film of a minute takes.
const LEAST_STEPS: u64 = 32_000_000;
/// The steps for each byte of a file. Films take less than one in a hundred bytes.
const STEPS_PER_BYTE: u64 = 4;
/// The most bytes that add steps: a longer file has more data for each sample, and not more samples than are indexed.
const MOST_BYTES: u64 = 100 << 20;
/// How many steps may pass between two looks at the clock: a millisecond or less.
const CLOCK_STEPS: u64 = 1 << 16;

/// The steps to index one sample, and to use it later.
pub(super) const SAMPLE: u64 = 4;
/// The steps to look up bytes among those that are known.
pub(super) const LOOKUP: u64 = 4;
/// The bytes that are copied, or searched for a mark, in one step.
pub(super) const BYTES_PER_STEP: u64 = 64;
/// The bytes of nested boxes or elements that are parsed in one step.
pub(super) const PARSED_PER_STEP: u64 = 8;

/// How much work demuxing a file may take. Its clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    most: u64,
    deadline: Option<Instant>,
    used: Arc<Used>,
}

#[derive(Debug, Default)]
struct Used {
    steps: AtomicU64,
    is_late: AtomicBool,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(0)
    }
}

impl Budget {
    /// The budget of a file of so many bytes.
    pub fn of(bytes: u64) -> Self {
        Self { most: Self::most(bytes), deadline: None, used: Arc::default() }
    }

    /// How many steps a file of so many bytes may take.
    pub fn most(bytes: u64) -> u64 {
        LEAST_STEPS + STEPS_PER_BYTE * bytes.min(MOST_BYTES)
    }

    /// How many steps were used.
    pub fn used(&self) -> u64 {
        self.used.steps.load(Ordering::Relaxed)
    }

    /// Ends the work at a moment, however many steps are left then.
    pub(super) fn end_at(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Uses steps, for work that checks later whether there are any left.
    pub(super) fn charge(&self, steps: u64) {
        // Work that ends a little later than it should must not start from zero again.
        let before = self.used.steps.fetch_add(steps.min(u64::MAX >> 16), Ordering::Relaxed);
        let after = before.saturating_add(steps);
        if before / CLOCK_STEPS != after / CLOCK_STEPS
            && self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
        {
            self.used.is_late.store(true, Ordering::Relaxed);
        }
    }

    /// Uses steps.
    ///
    /// # Errors
    /// As [`Budget::check`].
    pub(super) fn spend(&self, steps: u64) -> Result<(), Fault> {
        self.charge(steps);
        self.check()
    }

    /// Whether there is nothing left.
    pub(super) fn is_over(&self) -> bool {
        self.check().is_err()
    }

    /// Whether the work may continue.
    ///
    /// # Errors
    /// [`Code::TimedOut`] where the file took all of its steps: no other try changes that, and a file of this kind would
    /// keep ffmpeg as busy. [`Fault::Late`] where the deadline has passed.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.used() > self.most {
            Err(Fault::Refused(Code::TimedOut))
        } else if self.used.is_late.load(Ordering::Relaxed) {
            Err(Fault::Late)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_with_its_steps() {
        let budget = Budget::of(1000);
        assert_eq!(budget.spend(LEAST_STEPS), Ok(()));
        assert_eq!(budget.clone().spend(4000), Ok(()));
        assert_eq!(budget.spend(1), Err(Fault::Refused(Code::TimedOut)));
        assert_eq!(budget.check(), Err(Fault::Refused(Code::TimedOut)));
        budget.charge(u64::MAX);
        budget.charge(u64::MAX);
        assert!(budget.is_over());
    }

    #[test]
    fn a_large_file_has_a_bounded_budget() {
        assert_eq!(Budget::most(u64::MAX), Budget::most(MOST_BYTES));
    }

    #[test]
    fn a_budget_ends_with_its_deadline() {
        let mut budget = Budget::of(1000);
        budget.end_at(Instant::now());
        assert_eq!(budget.spend(1), Ok(()), "the clock is read once in a while");
        assert_eq!(budget.spend(CLOCK_STEPS), Err(Fault::Late));
        assert_eq!(budget.check(), Err(Fault::Late));
    }
}
