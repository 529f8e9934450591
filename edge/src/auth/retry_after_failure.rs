//! Decides when something that is fetched from another server is tried again after a failure. Pure.

/// How long a failure is remembered, in milliseconds.
const FAILED_MS: u64 = 10_000;

/// How the last fetch went, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attempt {
    /// There was none.
    #[default]
    None,
    /// One is on its way until then at the latest.
    Awaited(u64),
    /// It failed, and is not tried again until then.
    Failed(u64),
}

/// What a request has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Fetch it.
    Fetch,
    /// Wait for the request that fetches it.
    Wait,
    /// Report the failure.
    Fail,
}

impl Attempt {
    /// A fetch failed now.
    pub fn failed(now_ms: u64) -> Self {
        Self::Failed(now_ms + FAILED_MS)
    }

    /// What a request has to do now.
    pub fn next(self, now_ms: u64) -> Next {
        match self {
            Self::Awaited(until_ms) if now_ms < until_ms => Next::Wait,
            Self::Failed(until_ms) if now_ms < until_ms => Next::Fail,
            _ => Next::Fetch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_for_some_seconds() {
        assert_eq!(Attempt::default().next(0), Next::Fetch);
        let awaited = Attempt::Awaited(3_000);
        assert_eq!((awaited.next(2_999), awaited.next(3_000)), (Next::Wait, Next::Fetch));
        let failed = Attempt::failed(1_000);
        assert_eq!((failed.next(10_999), failed.next(11_000)), (Next::Fail, Next::Fetch));
    }
}
