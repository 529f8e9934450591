//! The event stream of a video: each state once, and the outcome without polling.

use e2e::media;
use e2e::person::ApiClient;
use e2e::stack::{Options, Stack};
use reqwest::Method;
use serde_json::{Value, json};

/// The events of a stream as `(id, event, data)`.
fn parse_events(body: &[u8]) -> Vec<(String, String, Value)> {
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    let line = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    text.split("\n\n")
        .filter(|block| block.contains("data: "))
        .map(|block| {
            let data = serde_json::from_str(&line(block, "data: ")).expect("JSON");
            (line(block, "id: "), line(block, "event: "), data)
        })
        .collect()
}

#[tokio::test]
async fn streams_events_from_upload_to_ready() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(2, "320x240");
    let (video, upload) = ann.create("a.mp4", "video/mp4", clip.len(), json!({})).await;
    let path = format!("/api/videos/{video}/events");
    let mut stream = ann.open(Method::GET, &path, &[], "").await;
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(stream.headers()["cache-control"], "no-store");
    // The upload starts once the stream has sent the state before it, and a heartbeat since that has not changed.
    let mut body = Vec::new();
    while !String::from_utf8_lossy(&body).contains("\n\n: \n\n") {
        body.extend(stream.chunk().await.unwrap().expect("the stream sends a heartbeat"));
    }
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    while let Some(chunk) = stream.chunk().await.unwrap() {
        body.extend(chunk);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.starts_with("retry: 1000\n\n") && text.contains("\n\n: \n\n"), "a heartbeat: {text}");
    let mut received_events = parse_events(&body);
    if received_events.last().is_none_or(|(_, name, _)| name != "ready") {
        // A slow machine: the stream has ended, and a browser reconnects with the last id.
        let last = received_events.last().map(|(id, ..)| id.clone()).unwrap_or_default();
        let again = ann.send(Method::GET, &path, &[("last-event-id", &last)], "").await;
        received_events.extend(parse_events(&again.body));
    }
    let names: Vec<_> = received_events.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"uploading"), Some(&"ready")), "{names:?}");
    assert!(received_events.windows(2).all(|pair| pair[0].0 < pair[1].0), "each state once: {names:?}");
    let video_json = ann.get(&format!("/api/videos/{video}")).await.json();
    assert_eq!(received_events.last().unwrap().2, video_json, "the last event equals the API's response");

    let again = ann.send(Method::GET, &path, &[("last-event-id", "4")], "").await;
    assert_eq!(
        (again.status.as_u16(), again.body.len()),
        (204, 0),
        "an EventSource stops reconnecting on 204"
    );
    let first = ann.get(&path).await;
    assert_eq!(first.status, 200, "a new client receives the outcome");
    assert_eq!(parse_events(&first.body).len(), 1);
}

#[tokio::test]
async fn stream_requires_owner_and_recent_id() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let (ann, bob) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "bob"));
    let video = ann.upload("a.mp4", "video/mp4", b"x".to_vec()).await;
    let unauthenticated = ApiClient::with_token(&stack, "x");
    assert_eq!(unauthenticated.get(&format!("/api/videos/{video}/events")).await.status, 401);
    let old = "7zzzzzzzzz0123456789abcdef";
    assert_eq!(bob.get(&format!("/api/videos/{old}/events")).await.status, 404, "granted in 1970");
}
