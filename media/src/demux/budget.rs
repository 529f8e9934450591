//! The work budget of one file: a number of steps in proportion to its bytes, and a deadline.
//!
//! A step is a few nanoseconds of work: a quarter of indexing a sample, or a quarter of a lookup of buffered bytes. All
//! operations on one file share one budget, so that repeated requests are charged each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use glimpse_contract::Code;

use crate::demux::error::ReadError;

/// Base number of steps for a file of any size: 100 times the steps of a one-minute video.
const BASE_STEPS: u64 = 32_000_000;
/// Steps for each byte of a file. Real videos use less than one step per hundred bytes.
const STEPS_PER_BYTE: u64 = 4;
/// The number of bytes above which no steps are added: larger files have more data per sample, and the number of
/// indexed samples is limited.
const MAX_BYTES: u64 = 100 << 20;
/// Steps between two reads of the clock: a millisecond or less.
const CLOCK_CHECK_STEPS: u64 = 1 << 16;

/// Steps to index one sample, including its later use.
pub(super) const STEPS_PER_SAMPLE: u64 = 4;
/// Steps for a lookup of buffered bytes.
pub(super) const STEPS_PER_LOOKUP: u64 = 4;
/// Bytes that are copied, or searched for a pattern, in one step.
pub(super) const BYTES_PER_STEP: u64 = 64;
/// Bytes of nested boxes or elements that are parsed in one step.
pub(super) const PARSED_BYTES_PER_STEP: u64 = 8;

/// The work budget of a file. Clones share the budget.
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
    /// Creates the budget of a file of this many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { max_steps: Self::max_steps(bytes), deadline: None, usage: Arc::default() }
    }

    /// The number of steps for a file of this many bytes.
    pub fn max_steps(bytes: u64) -> u64 {
        BASE_STEPS + STEPS_PER_BYTE * bytes.min(MAX_BYTES)
    }

    /// The number of steps that have been used.
    pub fn used_steps(&self) -> u64 {
        self.usage.steps.load(Ordering::Relaxed)
    }

    /// Stops the work at this time, even if steps are left.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Uses steps without checking the budget, for work that checks it later.
    pub(super) fn charge(&self, steps: u64) {
        // Limits each addition so that the counter cannot overflow to zero if work continues past the limit.
        let before = self.usage.steps.fetch_add(steps.min(u64::MAX >> 16), Ordering::Relaxed);
        let after = before.saturating_add(steps);
        if before / CLOCK_CHECK_STEPS != after / CLOCK_CHECK_STEPS
            && self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
        {
            self.usage.is_past_deadline.store(true, Ordering::Relaxed);
        }
    }

    /// Uses steps and checks the budget.
    ///
    /// # Errors
    /// See [`WorkBudget::check`].
    pub(super) fn spend(&self, steps: u64) -> Result<(), ReadError> {
        self.charge(steps);
        self.check()
    }

    /// Whether the budget is exhausted.
    pub(super) fn is_exhausted(&self) -> bool {
        self.check().is_err()
    }

    /// Checks that the budget is not exhausted.
    ///
    /// # Errors
    /// [`Code::TimedOut`] if the file used all of its steps. Retrying does not help, and such a file would keep ffmpeg
    /// as busy. [`ReadError::DeadlineExceeded`] if the deadline has passed.
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
        assert_eq!(budget.spend(1), Ok(()), "the clock is read only once per CLOCK_CHECK_STEPS");
        assert_eq!(budget.spend(CLOCK_CHECK_STEPS), Err(ReadError::DeadlineExceeded));
        assert_eq!(budget.check(), Err(ReadError::DeadlineExceeded));
    }
}
