//! The page in a browser: `tests/browser/story.mjs` in a real Chromium, on a stack with a real OpenID provider.

#[tokio::test]
async fn sign_in_upload_and_preview_in_a_browser() {
    e2e::browser::run_script("story.mjs").await;
}
