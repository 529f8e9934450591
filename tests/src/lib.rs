//! Test support for the end-to-end tests: a running stack, API clients, clips to upload, tokens.
//!
//! `cargo xtask test` builds the programs and names them in the environment: `GLIMPSE_ROOT`, `GLIMPSE_PREVIEW`,
//! `GLIMPSE_FFMPEG`, `GLIMPSE_FFPROBE` (the Lambda's), `GLIMPSE_REFERENCE_FFMPEG` (which creates clips),
//! `GLIMPSE_NODE`, `GLIMPSE_CHROMIUM`, `GLIMPSE_PYTHON`.

pub mod browser;
pub mod keys;
pub mod media;
pub mod person;
pub mod stack;
mod workerd;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The value of a variable that `cargo xtask test` sets.
///
/// # Panics
/// If it is not set.
pub fn env_path(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`, which sets it"))
        .into()
}

/// Polls until there is a result, for at most `limit`.
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
