//! The page's story: `tests/browser/story.mjs` in a real Chromium, on a stack with a real OpenID provider.

#[tokio::test]
async fn a_person_signs_in_drops_a_video_and_sees_it_move() {
    e2e::browser::tell("story.mjs").await;
}
