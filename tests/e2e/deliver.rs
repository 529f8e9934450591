//! Delivery of images: rendered once, then served from the cache, whole, in part or as 304.

use e2e::eventually;
use e2e::media;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{Options, Stack};
use glimpse_contract::VideoId;
use reqwest::Method;
use std::time::Duration;

async fn get(url: &str, headers: &[(&str, &str)]) -> ApiResponse {
    fetch(Method::GET, url, headers).await
}

/// Rows D2 (for public images), D5, D6 and F19 of docs/threat-model.md.
#[tokio::test]
async fn picture_is_served_from_cache() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(8, "640x360");
    let bytes = clip.len();
    let video = ann.upload("Ski trip.mp4", "video/mp4", clip).await;

    let bare = format!("{}/{video}/thumbnail.jpg", stack.edge);
    let early = get(&bare, &[]).await;
    if early.status == 202 {
        assert_eq!((early.code().as_str(), early.header("retry-after")), ("processing", "2"));
        assert_eq!(early.header("cache-control"), "public, max-age=2");
    }

    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!(video_json["state"], "ready", "{video_json}");
    assert_eq!(
        (video_json["width"].as_u64(), video_json["height"].as_u64(), video_json["bytes"].as_u64()),
        (Some(640), Some(360), Some(bytes as u64))
    );
    assert!((7_900..=8_100).contains(&video_json["duration_ms"].as_u64().unwrap()), "{video_json}");
    assert_eq!(video_json["has_audio"], true);

    for (file, kind, magic) in [
        ("thumbnail.jpg", "image/jpeg", &b"\xff\xd8\xff"[..]),
        ("thumbnail.webp", "image/webp", b"RIFF"),
        ("animated.gif", "image/gif", b"GIF89a"),
        ("animated.webp", "image/webp", b"RIFF"),
        ("animated.mp4", "video/mp4", b"\0\0\0"),
        ("storyboard.jpg", "image/jpeg", b"\xff\xd8\xff"),
        ("storyboard.webp", "image/webp", b"RIFF"),
        ("storyboard.vtt", "text/vtt; charset=utf-8", b"WEBVTT"),
        ("storyboard.json", "application/json", b"{"),
    ] {
        let url = video_json["urls"][file].as_str().unwrap();
        let first = get(url, &[]).await;
        assert_eq!((first.status.as_u16(), first.header("content-type")), (200, kind), "{file}");
        assert!(first.body.starts_with(magic), "{file}");
        assert!(first.header("server-timing").starts_with("cache;desc=s3;dur="), "{file}");
        assert_eq!(first.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(first.header("x-content-type-options"), "nosniff");
        assert_eq!(first.header("access-control-allow-origin"), "*");
        let second = wait_for_cache_hit(url).await;
        assert_eq!(second.body, first.body, "{file}");
        assert_eq!(second.header("etag"), first.header("etag"));
        assert_eq!(second.header("content-type"), kind);
    }

    let bare_answer = get(&bare, &[]).await;
    assert_eq!(bare_answer.header("cache-control"), "public, max-age=300, stale-while-revalidate=86400");
    let hit_answer = wait_for_cache_hit(&bare).await;
    assert_eq!(hit_answer.header("cache-control"), bare_answer.header("cache-control"));

    // A response to another revision than the image's is not cached as immutable.
    let made_up = get(&format!("{bare}?v=00000000"), &[]).await;
    assert_eq!(made_up.header("cache-control"), "public, max-age=5", "from the young unversioned entry");

    check_conditions_and_ranges(&bare, &bare_answer).await;
    // Safari plays a video only if ranges of it are answered.
    let film = format!("{}/{video}/animated.mp4", stack.edge);
    check_conditions_and_ranges(&film, &get(&film, &[]).await).await;
    check_range_is_not_cached_as_whole(&format!("{}/{video}/thumbnail.png?width=64", stack.edge)).await;

    // Row D4: headers that claim another host change nothing, and do not poison the cache.
    for poison in
        [("x-forwarded-host", "evil.example"), ("x-original-url", "/evil"), ("x-forwarded-proto", "ftp")]
    {
        let answer = get(&bare, &[poison]).await;
        assert_eq!(answer.body, bare_answer.body, "{poison:?}");
        assert!(answer.header("server-timing").starts_with("cache;desc=hit"), "{poison:?}");
    }
    let lies = [
        ("x-forwarded-host", "evil.example"),
        ("x-original-url", "/evil"),
        ("forwarded", "host=evil.example"),
    ];
    let cold = format!("{}/{video}/thumbnail.jpg?width=77", stack.edge);
    let rendered = get(&cold, &lies).await;
    assert_eq!(
        (rendered.status.as_u16(), &rendered.body),
        (200, &get(&cold, &[]).await.body),
        "the cached image is the rendered one"
    );
    let facts = get(&format!("{}/{video}/meta.json", stack.edge), &lies).await;
    assert!(
        facts.status == 200 && !String::from_utf8_lossy(&facts.body).contains("evil"),
        "no URL contains their host"
    );

    for (path, status, code) in [
        ("thumbnail.jpg?time=01", 400, "bad_parameter"),
        ("animated.avif", 400, "bad_parameter"),
        ("thumbnail.jpg?width=640&width=640", 400, "bad_parameter"),
        ("thumbnail.gif", 404, "not_found"),
        ("thumbnail.jpg/x.css", 404, "not_found"),
        ("manifest.json", 404, "not_found"),
    ] {
        let answer = get(&format!("{}/{video}/{path}", stack.edge), &[]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{path}");
    }
    let answer = fetch(Method::POST, &bare, &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET, HEAD, OPTIONS"));

    // A hit needs no S3 request: the cache responds although the object is deleted.
    for key in stack.cloud.store().list("media/") {
        stack.cloud.store().delete(&key).await.unwrap();
    }
    assert_eq!(get(&bare, &[]).await.status, 200);
}

/// The image from the cache, which stores it after the first response was sent.
async fn wait_for_cache_hit(url: &str) -> ApiResponse {
    eventually("a cache hit", Duration::from_secs(10), || async {
        let answer = get(url, &[]).await;
        (answer.header("server-timing").starts_with("cache;desc=hit;dur=")).then_some(answer)
    })
    .await
}

async fn check_conditions_and_ranges(url: &str, whole: &ApiResponse) {
    let etag = whole.header("etag");
    let length = whole.body.len();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "strong: {etag}");

    let head = fetch(Method::HEAD, url, &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), length.to_string());

    for tags in [etag, &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
        let answer = get(url, &[("if-none-match", tags)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{tags}");
        assert_eq!(answer.header("etag"), etag);
    }
    assert_eq!(get(url, &[("if-none-match", "\"x\"")]).await.status, 200);

    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=10-", 10, length - 1),
        ("bytes=-5", length - 5, length - 1),
        ("bytes=0-99999999", 0, length - 1),
    ] {
        let answer = get(url, &[("range", range)]).await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/{length}"), "{range}");
        assert_eq!(answer.body, whole.body[first..=last], "{range}");
    }
    let beyond = get(url, &[("range", &format!("bytes={length}-"))]).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.header("content-range")),
        (416, format!("bytes */{length}").as_str())
    );
    for range in ["bytes=0-1,4-5", "bytes=5-2", "lines=1-2"] {
        assert_eq!(get(url, &[("range", range)]).await.body.len(), length, "{range}");
    }
    let get_if_range = |tag| get_with_range(url, tag);
    assert_eq!(get_if_range(etag).await, 206);
    assert_eq!(get_if_range("\"x\"").await, 200);
}

/// After WPT's fetch/http-cache/partial.any.js: a resource whose first response is partial is stored whole or not at
/// all, and every later request gets its own range.
async fn check_range_is_not_cached_as_whole(url: &str) {
    let part = get(url, &[("range", "bytes=4-9")]).await;
    assert_eq!((part.status.as_u16(), part.body.len()), (206, 6));
    let length: usize = part.header("content-range").rsplit('/').next().unwrap().parse().unwrap();
    let whole = get(url, &[]).await;
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, length));
    assert_eq!(whole.body[4..10], part.body);
    for (range, status, bytes) in [
        ("bytes=0-3", 206, &whole.body[..4]),
        ("bytes=-2", 206, &whole.body[length - 2..]),
        ("bytes=4-9", 206, &part.body[..]),
    ] {
        let answer = get(url, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, bytes), "{range}");
        assert_eq!(answer.header("etag"), whole.header("etag"));
    }
    let head = fetch(Method::HEAD, url, &[("range", "bytes=0-3")]).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, length.to_string().as_str()));
}

async fn get_with_range(url: &str, if_range: &str) -> u16 {
    get(url, &[("range", "bytes=0-1"), ("if-range", if_range)]).await.status.as_u16()
}

/// Row D6: no negative response outlives its reason.
#[tokio::test]
async fn missing_picture_returns_its_problem() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let now_ms = e2e::keys::now_secs() * 1000;
    let fresh = VideoId::new(now_ms, [1; 10]);
    let answer = get(&format!("{}/{fresh}/animated.gif", stack.edge), &[]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (202, "processing"));
    for (when, id) in [
        ("two days ago", VideoId::new(now_ms - 48 * 3_600_000, [1; 10])),
        ("in an hour", VideoId::new(now_ms + 3_600_000, [1; 10])),
    ] {
        let answer = get(&format!("{}/{id}/animated.gif", stack.edge), &[]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"), "{when}");
        assert_eq!(answer.header("cache-control"), "public, max-age=5");
    }
}
