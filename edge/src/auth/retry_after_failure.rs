//! Decides when something that is fetched from another server is tried again after a failure. Pure.

/// How long a failure is remembered, in milliseconds.
const FAILURE_TTL_MS: u64 = 10_000;

/// How the last fetch went, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FetchState {
    /// There was none.
    #[default]
    Idle,
    /// One is on its way until then at the latest.
    Pending(u64),
    /// It failed, and is not tried again until then.
    Failed(u64),
}

/// What a request has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchDecision {
    /// Fetch it.
    Fetch,
    /// Wait for the request that fetches it.
    Wait,
    /// Report the failure.
    Fail,
}

impl FetchState {
    /// A fetch failed now.
    pub fn new_failed(now_ms: u64) -> Self {
        Self::Failed(now_ms + FAILURE_TTL_MS)
    }

    /// What a request has to do now.
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
