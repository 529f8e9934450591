//! Runs a script of `tests/browser` with a stack that includes a real OpenID provider, a clip, and a folder for
//! screenshots.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::stack::{Options, Stack};
use crate::{env_path, media};

/// Runs the script with Node.js, which drives a real Chromium. The Worker runs in `wrangler dev`, as for a developer.
///
/// # Panics
/// If the script fails, with the output of the stack.
pub async fn run_script(script: &str) {
    let stack = Stack::start(Options { oidc: true, wrangler: true, ..Options::default() }).await;
    let folder = TempDir::new().expect("a folder for the clip");
    let clip = folder.path().join("Ski trip.mp4");
    media::write_clip(12, "1280x720", &clip);
    run_script_on(&stack, script, &[("GLIMPSE_CLIP", &clip.display().to_string())]).await;
}

/// Runs the script on that stack, with further environment variables.
///
/// # Panics
/// If the script fails, with the output of the stack.
pub async fn run_script_on(stack: &Stack, script: &str, variables: &[(&str, &str)]) {
    let root = env_path("GLIMPSE_ROOT");
    let status = Command::new(env_path("GLIMPSE_NODE"))
        .arg(root.join("tests/browser").join(script))
        .env("GLIMPSE_EDGE_URL", &stack.edge)
        .env("GLIMPSE_SCREENSHOTS", root.join("target/screenshots"))
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("node starts");
    assert!(status.success(), "the script failed; output of the stack:\n{}", stack.lines().join("\n"));
}

/// Runs `shaka.mjs` with a video that is ready, and the file that it was made of.
///
/// # Panics
/// If the script fails, with the output of the stack.
pub async fn run_shaka(stack: &Stack, video: &str, clip: &Path) {
    let root = env_path("GLIMPSE_ROOT");
    let status = Command::new(env_path("GLIMPSE_NODE"))
        .arg(root.join("tests/browser/shaka.mjs"))
        .env("GLIMPSE_EDGE_URL", &stack.edge)
        .env("GLIMPSE_VIDEO", video)
        .env("GLIMPSE_CLIP", clip)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("node starts");
    assert!(status.success(), "the script failed; output of the stack:\n{}", stack.lines().join("\n"));
}
