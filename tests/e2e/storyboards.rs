//! Requested storyboards: rendered at the first request, with tables that refer to the same sheet; in Shaka Player; of
//! private videos.

use std::fs;

use e2e::media;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{Options, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

async fn get(url: &str) -> ApiResponse {
    fetch(Method::GET, url, &[]).await
}

fn render_count(stack: &Stack) -> usize {
    stack.cloud.render().map(|render| render.invocations().len()).unwrap_or_default()
}

/// The URL of the sheet in a table, absolute.
fn sheet_url(table: &ApiResponse, base: &str) -> String {
    let text = String::from_utf8(table.body.clone()).unwrap();
    let start = text.find("storyboard.").unwrap_or_else(|| panic!("{text}"));
    let file = text[start..].split(['#', '"', '\n']).next().unwrap();
    format!("{base}/{file}")
}

#[tokio::test]
async fn requested_storyboard_has_matching_files() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(12, "640x360");
    let video = ann.upload("Ski trip.mp4", "video/mp4", clip.clone()).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let base = format!("{}/{video}", stack.edge);

    // The playlist of the default storyboard exists without a backfill.
    let playlist = get(&format!("{base}/storyboard.m3u8")).await;
    assert_eq!(
        (playlist.status.as_u16(), playlist.header("content-type")),
        (200, "application/vnd.apple.mpegurl")
    );
    assert_eq!(sheet_url(&playlist, &base), format!("{base}/storyboard.jpg"));

    let before = render_count(&stack);
    let query = "width=160&tiles=9";
    for (file, sheet) in [
        ("storyboard.json", "storyboard.jpg"),
        ("storyboard.vtt", "storyboard.jpg"),
        ("storyboard.m3u8", "storyboard.jpg"),
        ("storyboard.json?format=webp", "storyboard.webp"),
        ("storyboard.m3u8?format=webp", "storyboard.webp"),
    ] {
        let separator = if file.contains('?') { '&' } else { '?' };
        let table = get(&format!("{base}/{file}{separator}{query}")).await;
        assert_eq!(table.status, 200, "{file}: {}", String::from_utf8_lossy(&table.body));
        assert_eq!(sheet_url(&table, &base), format!("{base}/{sheet}?tiles=9&width=160"), "{file}");
        let image = get(&sheet_url(&table, &base)).await;
        assert_eq!(image.status, 200, "{file}");
    }
    assert_eq!(render_count(&stack), before + 5, "three tables and two sheets, once each");
    let keys = stack.cloud.store().list(&format!("media/{video}/storyboard-"));
    assert_eq!(keys.len(), 5, "{keys:?}");

    for (query, parameter) in [
        ("tiles=1", "tiles"),
        ("tiles=9&interval=1", "interval"),
        ("interval=0.01", "interval"),
        ("width=321", "width"),
        ("asset_start_time=99", "asset_start_time"),
        ("program_start_time=1", "program_start_time"),
    ] {
        let answer = get(&format!("{base}/storyboard.vtt?{query}")).await;
        let problem: Value = answer.json();
        assert_eq!((answer.status.as_u16(), &problem["code"]), (400, &json!("bad_parameter")), "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(parameter), "{query}: {problem}");
    }

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("Ski trip.mp4");
    fs::write(&path, clip).unwrap();
    e2e::browser::run_shaka(&stack, &video, &path).await;

    let gone = ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await;
    assert_eq!(gone.status, 200);
    assert!(stack.cloud.store().list(&format!("media/{video}/storyboard")).is_empty());
}
