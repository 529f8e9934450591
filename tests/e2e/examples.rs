//! The examples in a browser: `tests/browser/examples.mjs` builds each one, and uploads with it in a real Chromium.

use e2e::keys::bearer_token;
use e2e::stack::{Options, Stack, free_port};
use e2e::{browser, media};
use tempfile::TempDir;

#[tokio::test]
async fn examples_upload_and_show_the_poster() {
    let port = free_port().to_string();
    let stack =
        Stack::start(Options { origins: vec![format!("http://127.0.0.1:{port}")], ..Options::default() })
            .await;
    let folder = TempDir::new().unwrap();
    let clip = folder.path().join("Ski trip.mp4");
    media::write_clip(6, "1280x720", &clip);
    let variables = [
        ("GLIMPSE_TOKEN", bearer_token("examples")),
        ("GLIMPSE_CLIP", clip.display().to_string()),
        ("PORT", port),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    browser::run_script_on(&stack, "examples.mjs", &variables).await;
}
