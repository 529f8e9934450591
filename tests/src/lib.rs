//! The verbs of the stories: a stack that runs, people who use it, clips to upload, tokens to try.
//!
//! `cargo xtask test` builds what is started here and names it in the environment: `GLIMPSE_ROOT`,
//! `GLIMPSE_PREVIEW`, `GLIMPSE_FFMPEG`, `GLIMPSE_FFPROBE` (the Lambda's), `GLIMPSE_REFERENCE_FFMPEG` (which makes clips),
//! `GLIMPSE_NODE`, `GLIMPSE_CHROMIUM`, `GLIMPSE_PYTHON`.

pub mod browser;
pub mod keys;
pub mod media;
pub mod person;
pub mod stack;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A variable that `cargo xtask test` sets.
///
/// # Panics
/// If it is not set.
pub fn env_path(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`, which sets it"))
        .into()
}

/// Asks again until there is an answer, for at most `limit`.
///
/// # Panics
/// If there was none in time.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut poll: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = poll().await {
            return answer;
        }
        assert!(started.elapsed() < limit, "{what}: not within {} s", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
