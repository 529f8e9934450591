//! Retry policy for documents that are fetched from another server: a failure is remembered for some seconds. Pure.

/// How long a failure is remembered, in milliseconds.
const FAILURE_TTL_MS: u64 = 10_000;

/// The state of the last fetch, with times in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FetchState {
    /// No fetch yet.
    #[default]
    Idle,
    /// A fetch is in progress until this time at the latest.
    Pending(u64),
    /// The fetch failed, and is not retried before this time.
    Failed(u64),
}

/// The next action of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchDecision {
    /// Fetch the document.
    Fetch,
    /// Wait for the request that is fetching it.
    Wait,
    /// Report the failure.
    Fail,
}

impl FetchState {
    /// The state after a fetch that failed now.
    pub fn new_failed(now_ms: u64) -> Self {
        Self::Failed(now_ms + FAILURE_TTL_MS)
    }

    /// The next action of a request at this time.
    pub fn decide(self, now_ms: u64) -> FetchDecision {
        match self {
            Self::Pending(until_ms) if now_ms < until_ms => FetchDecision::Wait,
            Self::Failed(until_ms) if now_ms < until_ms => FetchDecision::Fail,
            _ => FetchDecision::Fetch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_cached_for_ten_seconds() {
        assert_eq!(FetchState::default().decide(0), FetchDecision::Fetch);
        let pending = FetchState::Pending(3_000);
        assert_eq!(
            (pending.decide(2_999), pending.decide(3_000)),
            (FetchDecision::Wait, FetchDecision::Fetch)
        );
        let failed = FetchState::new_failed(1_000);
        assert_eq!(
            (failed.decide(10_999), failed.decide(11_000)),
            (FetchDecision::Fail, FetchDecision::Fetch)
        );
    }
}
