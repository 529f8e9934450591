//! Clips: copied once, stored, and streamed from the bucket with ranges.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::keys::now_secs;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{DELIVERY_TOKEN_SECRETS, Options, Stack};
use e2e::{env_path, eventually, media};
use reqwest::Method;
use serde_json::json;
use tokio::process::Command;

use crate::docs::snippet::{picture_path, picture_token};

async fn get(url: &str) -> ApiResponse {
    fetch(Method::GET, url, &[]).await
}

fn render_count(stack: &Stack) -> usize {
    stack.cloud.render().map(|render| render.invocations().len()).unwrap_or_default()
}

/// A stack with a ready video of 8 s with a tone.
async fn stack_with_video(visibility: &str) -> (Stack, ApiClient, String) {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let film = media::clip(8, "640x360");
    let more = json!({ "visibility": visibility });
    let (video, upload) = ann.create("Ski trip.mp4", "video/mp4", film.len(), more).await;
    assert_eq!(ann.put(&upload, film).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    (stack, ann, video)
}

/// Checks the responses to all kinds of requests for a clip with this body.
async fn check_ranges(url: &str, clip: &ApiResponse) {
    let (etag, length) = (clip.header("etag"), clip.body.len());
    let last = length - 1;
    for (range, first, end) in [
        ("bytes=0-", 0, last),
        ("bytes=0-99", 0, 99),
        ("bytes=1000-1999", 1000, 1999),
        ("bytes=-10", length - 10, last),
        ("bytes=100-999999999", 100, last),
    ] {
        let part = fetch(Method::GET, url, &[("range", range), ("if-range", etag)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{end}/{length}"), "{range}");
        assert_eq!(part.header("content-length"), (end - first + 1).to_string(), "{range}");
        assert_eq!(part.header("etag"), etag, "{range}");
        assert!(part.body == clip.body[first..=end], "{range}");
    }
    let other = fetch(Method::GET, url, &[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await;
    assert_eq!((other.status.as_u16(), other.body.len()), (200, length));
    let behind = fetch(Method::GET, url, &[("range", &format!("bytes={length}-"))]).await;
    assert_eq!(
        (behind.status.as_u16(), behind.header("content-range")),
        (416, &*format!("bytes */{length}"))
    );
    let unchanged = fetch(Method::GET, url, &[("if-none-match", etag), ("range", "bytes=0-9")]).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    let head = fetch(Method::HEAD, url, &[]).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, &*length.to_string()));
    assert_eq!((head.header("etag"), head.header("accept-ranges")), (etag, "bytes"));
}

#[tokio::test]
async fn clip_is_made_once_and_streamed() {
    let (stack, ann, video) = stack_with_video("public").await;
    let before = render_count(&stack);
    let url = format!("{}/{video}/clip.mp4?start=3&end=5", stack.edge);
    let head = fetch(Method::HEAD, &url, &[]).await;
    assert_eq!((head.status.as_u16(), head.header("content-type")), (200, "video/mp4"));
    assert_eq!(render_count(&stack), before, "HEAD makes nothing");

    let clip = get(&url).await;
    assert_eq!(clip.status, 200, "{}", String::from_utf8_lossy(&clip.body));
    assert_eq!(clip.header("content-type"), "video/mp4");
    assert_eq!(clip.header("content-length"), clip.body.len().to_string());
    assert_eq!(clip.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(clip.header("x-content-type-options"), "nosniff");
    assert_eq!(&clip.body[4..8], b"ftyp");
    assert!(clip.body.windows(4).any(|word| word == b"mp4a"), "no sound");
    let key = format!("media/{video}/clip-start_3-end_5.mp4");
    assert!(stack.cloud.store().list("media/").contains(&key), "{key}");

    check_ranges(&url, &clip).await;
    // The cache answers in the same way.
    eventually("a cache hit", Duration::from_secs(10), || async {
        get(&url).await.header("server-timing").starts_with("cache;desc=hit").then_some(())
    })
    .await;
    assert_eq!(get(&url).await.body, clip.body);
    check_ranges(&url, &clip).await;
    let same = get(&format!("{}/{video}/clip.mp4?end=5.0&audio=true&start=3.00", stack.edge)).await;
    assert_eq!((same.status.as_u16(), same.header("etag")), (200, clip.header("etag")));
    assert_eq!(render_count(&stack), before + 1, "made once");

    let silent = get(&format!("{url}&audio=false")).await;
    assert_eq!(silent.status, 200);
    assert!(!silent.body.windows(4).any(|word| word == b"mp4a"), "it has sound");

    for (query, reason) in [
        ("end=61", "0.25 to 60 seconds after `start`"),
        ("start=1&end=1.2", "0.25 to 60 seconds after `start`"),
        ("start=9", "after the end of the video"),
        ("width=320", "not supported"),
    ] {
        let rejected = get(&format!("{}/{video}/clip.mp4?{query}", stack.edge)).await;
        assert_eq!((rejected.status.as_u16(), rejected.code().as_str()), (400, "bad_parameter"), "{query}");
        let detail = rejected.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(reason), "{query}: {detail}");
    }

    let answer = ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(stack.cloud.store().list(""), [format!("media/{video}/manifest.json")]);
    let deleted = get(&url).await;
    assert_eq!((deleted.status.as_u16(), deleted.code().as_str()), (410, "deleted"));
}

/// The peak memory of all running `render` functions, in bytes.
fn render_memory_bytes() -> u64 {
    let program = env_path("GLIMPSE_PREVIEW").with_file_name("render");
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let renders = processes.filter(|path| fs::read_link(path.join("exe")).is_ok_and(|exe| exe == program));
    let peaks = renders.filter_map(|path| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    });
    peaks.max().unwrap_or_default()
}

/// Row C13 of docs/threat-model.md.
#[tokio::test]
async fn clip_has_at_most_100_mb() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("long.mp4", "video/mp4", media::filled(60, 16)).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let url = |end: u32| format!("{}/{video}/clip.mp4?end={end}", stack.edge);
    let rejected = get(&url(60)).await;
    assert_eq!((rejected.status.as_u16(), rejected.code().as_str()), (400, "bad_parameter"));
    let detail = rejected.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("the limit is 100000000"), "{detail}");

    let started = Instant::now();
    let clip = get(&url(45)).await;
    let (took, peak) = (started.elapsed(), render_memory_bytes());
    println!("a clip of {} bytes in {took:?} with {peak} bytes of memory", clip.body.len());
    assert_eq!(clip.status, 200, "{}", String::from_utf8_lossy(&clip.body));
    assert!((80_000_000..100_000_000).contains(&clip.body.len()), "{}", clip.body.len());
    assert!((100_000_000..300_000_000).contains(&peak), "{peak}");
    check_ranges(&url(45), &clip).await;
}

/// Rows D1, D2 and D7 of docs/threat-model.md.
#[tokio::test]
async fn clip_of_private_video_needs_its_token() {
    let (stack, ann, video) = stack_with_video("signed").await;
    let url = format!("{}/{video}/clip.mp4", stack.edge);
    let until = now_secs() + 3600;
    let secret = DELIVERY_TOKEN_SECRETS.split(',').find_map(|pair| pair.strip_prefix("new=")).unwrap();
    let token = |audience: &str, end: u32| {
        let claims = json!({ "sub": video, "aud": audience, "exp": until, "start": 1, "end": end });
        format!("{url}?token={}", picture_token(&claims, "new", secret))
    };
    assert_eq!(get(&format!("{url}?start=1&end=3")).await.status, 401);
    assert_eq!(render_count(&stack), 0);
    for audience in ["t", "g", "s", "v"] {
        assert_eq!(get(&token(audience, 3)).await.code(), "token_refused", "{audience}");
    }
    let path = picture_path(&format!("/{video}/clip.mp4?start=1&end=3"), until, "new", secret);
    let clip = get(&format!("{}{path}", stack.edge)).await;
    assert_eq!(clip.status, 200, "{}", String::from_utf8_lossy(&clip.body));
    check_ranges(&token("c", 3), &clip).await;
    eventually("a cache hit", Duration::from_secs(10), || async {
        let answer = get(&token("c", 3)).await;
        assert!(answer.header("cache-control").starts_with("private, max-age="));
        answer.header("server-timing").starts_with("cache;desc=hit").then_some(())
    })
    .await;
    check_ranges(&token("c", 3), &clip).await;
    // It is now in the cache, which gives access to no one.
    let anonymous = fetch(Method::GET, &format!("{url}?start=1&end=3"), &[("range", "bytes=0-9")]).await;
    assert_eq!(anonymous.status, 401);

    let issued = ann
        .call(
            Method::POST,
            &format!("/api/videos/{video}/tokens"),
            Some(json!({ "types": ["clip"], "parameters": { "start": 1, "end": 3 } })),
        )
        .await
        .json();
    let links = &issued["tokens"][0]["urls"]["clip.mp4"];
    for form in ["token", "short"] {
        let answer = get(links[form].as_str().unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, clip.header("etag")), "{form}");
    }
}

/// The first frame is that of the start, not of the keyframe before it.
#[tokio::test]
async fn clip_plays_from_its_start_in_a_browser() {
    let (stack, _ann, video) = stack_with_video("public").await;
    let status = Command::new(env_path("GLIMPSE_NODE"))
        .arg(env_path("GLIMPSE_ROOT").join("tests/browser/clip.mjs"))
        .env("GLIMPSE_VIDEO_URL", format!("{}/{video}", stack.edge))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    assert!(status.unwrap().success(), "output of the stack:\n{}", stack.lines().join("\n"));
}
