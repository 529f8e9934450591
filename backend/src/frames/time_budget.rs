//! Decides how long one file may keep the Lambdas busy.

use std::time::Duration;

/// How long a file may keep a job busy (THREATS F8). Whatever takes longer is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBudget {
    /// One child.
    pub child: Duration,
    /// What makes the poster better, and what the preview, but without which there are some: each.
    pub best_effort: Duration,
    /// The whole job.
    pub job: Duration,
}

impl Default for TimeBudget {
    fn default() -> Self {
        Self {
            child: Duration::from_mins(1),
            // Ten seconds of common video are decoded in this time on one core: as far as most keyframes lie apart.
            best_effort: Duration::from_secs(4),
            job: Duration::from_mins(4),
        }
    }
}
