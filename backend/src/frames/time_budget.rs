//! Time budget of one file.

use std::time::Duration;

/// How long a file may occupy a job (threat F8). Files that need longer are rejected permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBudget {
    /// One child process.
    pub child: Duration,
    /// Each piece of best-effort work, which improves the poster or the animation.
    pub best_effort: Duration,
    /// The whole job.
    pub job: Duration,
}

impl Default for TimeBudget {
    fn default() -> Self {
        Self {
            child: Duration::from_mins(1),
            // On one core, ten seconds of ordinary video are decoded in this time: the usual maximum distance between
            // keyframes.
            best_effort: Duration::from_secs(4),
            job: Duration::from_mins(4),
        }
    }
}
