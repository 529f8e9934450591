//! The page's story: `tests/browser/story.mjs` in a real Chromium, on a stack with a real OpenID provider.

use std::process::Stdio;

use e2e::stack::{Options, Stack};
use e2e::{media, named};
use tempfile::TempDir;
use tokio::process::Command;

#[tokio::test]
async fn a_person_signs_in_drops_a_video_and_sees_it_move() {
    let stack = Stack::start(Options { oidc: true, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let clip = folder.path().join("Ski trip.mp4");
    media::make(12, "1280x720", &clip);
    let root = named("GLIMPSE_ROOT");
    let status = Command::new(named("GLIMPSE_NODE"))
        .arg(root.join("tests/browser/story.mjs"))
        .env("GLIMPSE_EDGE_URL", &stack.edge)
        .env("GLIMPSE_CLIP", &clip)
        .env("GLIMPSE_SCREENSHOTS", root.join("target/screenshots"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .unwrap();
    if !status.success() {
        println!("{}", stack.lines().join("\n"));
    }
    assert!(status.success(), "the story did not end well: see above");
}
