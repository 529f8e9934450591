//! Decides how much work demuxing one file may take: so many steps, in proportion to its bytes, and until when.
//!
//! A step is a few nanoseconds of work: a quarter of a sample that is indexed, a quarter of a look at bytes that are
//! known. Everything that is asked about one file has one budget together, so that questions that are asked again cost
//! as much as they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use glimpse_contract::Code;

use crate::demux::buffer::ReadError;

/// The steps of every file, however small: a hundredfold of what a film of a minute takes.
const BASE_STEPS: u64 = 32_000_000;
/// The steps for each byte of a file. Films take less than one in a hundred bytes.
const STEPS_PER_BYTE: u64 = 4;
/// The most bytes that add steps: a longer file has more data for each sample, and not more samples than are indexed.
const MAX_BYTES: u64 = 100 << 20;
/// How many steps may pass between two looks at the clock: a millisecond or less.
const CLOCK_CHECK_STEPS: u64 = 1 << 16;

/// The steps to index one sample, and to use it later.
pub(super) const STEPS_PER_SAMPLE: u64 = 4;
/// The steps to look up bytes among those that are known.
pub(super) const STEPS_PER_LOOKUP: u64 = 4;
/// The bytes that are copied, or searched for a mark, in one step.
pub(super) const BYTES_PER_STEP: u64 = 64;
/// The bytes of nested boxes or elements that are parsed in one step.
pub(super) const PARSED_BYTES_PER_STEP: u64 = 8;

/// How much work demuxing a file may take. Its clones are the same budget.
#[derive(Debug, Clone)]
pub struct WorkBudget {
    max_steps: u64,
    deadline: Option<Instant>,
    usage: Arc<BudgetUsage>,
}

#[derive(Debug, Default)]
struct BudgetUsage {
    steps: AtomicU64,
    is_past_deadline: AtomicBool,
}

impl Default for WorkBudget {
    fn default() -> Self {
        Self::new(0)
    }
}

impl WorkBudget {
    /// The budget of a file of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { max_steps: Self::max_steps(bytes), deadline: None, usage: Arc::default() }
    }

    /// How many steps a file of so many bytes may take.
    pub fn max_steps(bytes: u64) -> u64 {
        BASE_STEPS + STEPS_PER_BYTE * bytes.min(MAX_BYTES)
    }

    /// How many steps were used.
    pub fn used_steps(&self) -> u64 {
        self.usage.steps.load(Ordering::Relaxed)
    }

    /// Ends the work at a moment, however many steps are left then.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Uses steps, for work that checks later whether there are any left.
    pub(super) fn charge(&self, steps: u64) {
        // Work that ends a little later than it should must not start from zero again.
        let before = self.usage.steps.fetch_add(steps.min(u64::MAX >> 16), Ordering::Relaxed);
        let after = before.saturating_add(steps);
        if before / CLOCK_CHECK_STEPS != after / CLOCK_CHECK_STEPS
            && self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
        {
            self.usage.is_past_deadline.store(true, Ordering::Relaxed);
        }
    }

    /// Uses steps.
    ///
    /// # Errors
    /// As [`WorkBudget::check`].
    pub(super) fn spend(&self, steps: u64) -> Result<(), ReadError> {
        self.charge(steps);
        self.check()
    }

    /// Whether there is nothing left.
    pub(super) fn is_exhausted(&self) -> bool {
        self.check().is_err()
    }

    /// Whether the work may continue.
    ///
    /// # Errors
    /// [`Code::TimedOut`] where the file took all of its steps: no other try changes that, and a file of this kind would
    /// keep ffmpeg as busy. [`ReadError::DeadlineExceeded`] where the deadline has passed.
    pub(super) fn check(&self) -> Result<(), ReadError> {
        if self.used_steps() > self.max_steps {
            Err(ReadError::Rejected(Code::TimedOut))
        } else if self.usage.is_past_deadline.load(Ordering::Relaxed) {
            Err(ReadError::DeadlineExceeded)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_its_steps() {
        let budget = WorkBudget::new(1000);
        assert_eq!(budget.spend(BASE_STEPS), Ok(()));
        assert_eq!(budget.clone().spend(4000), Ok(()));
        assert_eq!(budget.spend(1), Err(ReadError::Rejected(Code::TimedOut)));
        assert_eq!(budget.check(), Err(ReadError::Rejected(Code::TimedOut)));
        budget.charge(u64::MAX);
        budget.charge(u64::MAX);
        assert!(budget.is_exhausted());
    }

    #[test]
    fn budget_of_large_file_is_bounded() {
        assert_eq!(WorkBudget::max_steps(u64::MAX), WorkBudget::max_steps(MAX_BYTES));
    }

    #[test]
    fn ends_with_its_deadline() {
        let mut budget = WorkBudget::new(1000);
        budget.set_deadline(Instant::now());
        assert_eq!(budget.spend(1), Ok(()), "the clock is read once in a while");
        assert_eq!(budget.spend(CLOCK_CHECK_STEPS), Err(ReadError::DeadlineExceeded));
        assert_eq!(budget.check(), Err(ReadError::DeadlineExceeded));
    }
}
