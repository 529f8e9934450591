//! Requests cannot run up the operator's bill: rows C1 to C12 of docs/threat-model.md, about requests without a
//! credential or with a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get as on_get;
use e2e::keys::now_secs;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{DELIVERY_TOKEN_SECRETS, Options, Stack};
use e2e::{eventually, media};
use futures::future::join_all;
use glimpse_contract::VideoId;
use glimpse_local::s3::call_log::LoggedCall;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::docs::snippet::picture_path;

async fn get(url: &str) -> ApiResponse {
    fetch(Method::GET, url, &[]).await
}

/// A stack with a ready video of Ann's.
async fn stack_with_video(
    vars: &[(&str, &str)],
    no_cache: bool,
    visibility: &str,
) -> (Stack, ApiClient, String) {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let stack = Stack::start(Options { vars, no_cache, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(4, "320x240");
    let more = json!({ "visibility": visibility });
    let (video, upload) = ann.create("a.mp4", "video/mp4", clip.len(), more).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    stack.cloud.call_log().take();
    (stack, ann, video)
}

/// Repeats a request until it is a cache hit.
async fn wait_for_cache_hit(url: &str) {
    eventually("a cache hit", Duration::from_secs(10), || async {
        get(url).await.header("server-timing").contains("hit").then_some(())
    })
    .await;
}

/// The edge's S3 calls since the last call of this function whose keys have this ending.
fn take_edge_calls(stack: &Stack, method: &str, ending: &str) -> Vec<LoggedCall> {
    let all = stack.cloud.call_log().take();
    let is_meant =
        |call: &LoggedCall| call.caller == "edge" && call.method == method && call.key.ends_with(ending);
    all.into_iter().filter(is_meant).collect()
}

fn bytes(calls: &[LoggedCall]) -> u64 {
    calls.iter().map(|call| call.bytes).sum()
}

fn render_count(stack: &Stack) -> usize {
    stack.cloud.render().map(|render| render.invocations().len()).unwrap_or_default()
}

/// Sends requests with invalid revisions until the edge revalidates its entry by HEAD. Returns all reads of the file by
/// the edge up to then.
async fn poll_until_revalidated(
    stack: &Stack,
    file: &str,
    ask: impl AsyncFn(String) -> ApiResponse,
) -> Vec<LoggedCall> {
    let mut read = Vec::new();
    for number in 0..1_000_u32 {
        let answer = ask(format!("v={number:08x}")).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let all: Vec<LoggedCall> = stack.cloud.call_log().take();
        let of_file = all.into_iter().filter(|call| call.caller == "edge" && call.key.ends_with(file));
        read.extend(of_file);
        if read.iter().any(|call| call.method == "HEAD" || call.method == "GET") {
            return read;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the entry of {file} was never revalidated");
}

#[tokio::test]
async fn c1_unknown_revisions_read_no_picture() {
    let (stack, _ann, video) = stack_with_video(&[], false, "public").await;
    let url = format!("{}/{video}/animated.gif", stack.edge);
    let whole = get(&url).await;
    assert_eq!(
        bytes(&take_edge_calls(&stack, "GET", "/animated.gif")),
        whole.body.len() as u64,
        "the control"
    );
    wait_for_cache_hit(&url).await;
    let head = async |query: String| fetch(Method::HEAD, &format!("{url}?{query}"), &[]).await;
    let read = poll_until_revalidated(&stack, "/animated.gif", head).await;
    assert_eq!(bytes(&read), 0, "an entry is revalidated without a body: {read:?}");

    let etag = whole.header("etag").to_owned();
    let other = "\"0123456789abcdef\"";
    for number in 0..8_u32 {
        let at = |more: &str| format!("{}/{video}/{more}v={:08x}", stack.edge, 0xf000 + number);
        let answers = [
            fetch(Method::HEAD, &at("animated.gif?"), &[]).await,
            fetch(Method::GET, &at("animated.gif?"), &[]).await,
            fetch(Method::GET, &at("animated.gif?"), &[("range", "bytes=0-0")]).await,
            fetch(Method::GET, &at("animated.gif?"), &[("range", "bytes=-1"), ("if-range", &etag)]).await,
            fetch(Method::GET, &at("animated.gif?"), &[("if-none-match", &etag)]).await,
            fetch(Method::GET, &at("animated.gif?"), &[("if-none-match", other)]).await,
            fetch(Method::GET, &at("animated.gif?"), &[("if-none-match", "*")]).await,
            fetch(
                Method::GET,
                &at("animated.gif?"),
                &[("cache-control", "no-cache"), ("pragma", "no-cache")],
            )
            .await,
            fetch(Method::GET, &at("animated?"), &[]).await,
            fetch(Method::HEAD, &at("animated?"), &[("cache-control", "no-store, max-age=0")]).await,
            fetch(Method::POST, &at("animated.gif?"), &[]).await,
            fetch(Method::PUT, &at("animated.gif?"), &[]).await,
            fetch(Method::OPTIONS, &at("animated.gif?"), &[]).await,
        ];
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses, [200, 200, 206, 206, 304, 200, 304, 200, 200, 200, 405, 405, 204]);
        assert_eq!(answers[0].header("content-length"), whole.body.len().to_string());
        assert_eq!(answers[0].header("etag"), etag);
        assert_eq!(answers[1].body, whole.body);
    }
    let all = stack.cloud.call_log().take();
    let edge: Vec<&LoggedCall> = all.iter().filter(|call| call.caller == "edge").collect();
    assert!(edge.iter().all(|call| call.method == "HEAD" && call.bytes == 0), "{edge:?}");
    assert!(edge.len() <= 4, "the response is cached for ten seconds: {edge:?}");

    // The same for tables, by GET.
    let sheet = format!("{}/{video}/storyboard.vtt", stack.edge);
    wait_for_cache_hit(&sheet).await;
    stack.cloud.call_log().take();
    let table = async |query: String| get(&format!("{sheet}?{query}")).await;
    let read = poll_until_revalidated(&stack, "/storyboard.vtt", table).await;
    assert_eq!(bytes(&read), 0, "{read:?}");
}

#[tokio::test]
async fn c2_unknown_private_revisions_read_nothing() {
    let (stack, ann, video) = stack_with_video(&[], false, "signed").await;
    let secret = DELIVERY_TOKEN_SECRETS.split(',').find_map(|pair| pair.strip_prefix("new=")).unwrap();
    let link = picture_path(&format!("/{video}/animated.gif"), now_secs() + 600, "new", secret);
    let url = format!("{}{link}", stack.edge);
    let whole = get(&url).await;
    assert_eq!(whole.status, 200);
    wait_for_cache_hit(&url).await;
    // Visibility and owner are read once.
    let own = format!("/{video}/animated.gif");
    eventually("a cache hit for the owner", Duration::from_secs(10), || async {
        ann.get(&own).await.header("server-timing").contains("hit").then_some(())
    })
    .await;
    stack.cloud.call_log().take();
    for number in 0..8 {
        let answer = get(&format!("{url}&v=0000000{number}")).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &whole.body));
        let path = format!("/{video}/animated.gif?v=0000001{number}");
        assert_eq!(ann.get(&path).await.body, whole.body, "the owner");
        let head = ann.send(Method::HEAD, &path, &[], "").await;
        assert_eq!((head.status.as_u16(), head.header("cache-control")), (200, "private, no-cache"));
    }
    let read = take_edge_calls(&stack, "GET", "/animated.gif");
    assert!(read.is_empty(), "a young entry is not revalidated: {read:?}");

    let head = async |query: String| fetch(Method::HEAD, &format!("{url}&{query}"), &[]).await;
    let read = poll_until_revalidated(&stack, "/animated.gif", head).await;
    assert_eq!(bytes(&read), 0, "{read:?}");
    for number in 0..8 {
        let answer = get(&format!("{url}&v=0000002{number}")).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &whole.body));
        assert!(answer.header("cache-control").starts_with("private, max-age="));
        let anonymous = get(&format!("{}/{video}/animated.gif?v=0000002{number}", stack.edge)).await;
        assert_eq!(anonymous.code(), "unauthorized");
    }
    assert_eq!(bytes(&take_edge_calls(&stack, "GET", "/animated.gif")), 0);
}

#[tokio::test]
async fn c3_uncached_head_costs_one_head() {
    let (stack, ann, video) = stack_with_video(&[], true, "public").await;
    let at = |more: &str| format!("{}/{video}/{more}", stack.edge);
    let whole = get(&at("animated.gif")).await;
    let etag = whole.header("etag").to_owned();
    stack.cloud.call_log().take();
    let renders = render_count(&stack);
    for number in 0..8 {
        for url in [at("animated.gif"), at(&format!("animated.gif?v=0000000{number}")), at("animated")] {
            let head = fetch(Method::HEAD, &url, &[("range", "bytes=0-0")]).await;
            assert_eq!(head.status, 200, "{url}");
            assert_eq!(head.header("content-length"), whole.body.len().to_string(), "{url}");
            assert_eq!((head.header("etag"), head.header("content-type")), (etag.as_str(), "image/gif"));
            let same = fetch(Method::GET, &url, &[("if-none-match", &etag)]).await;
            assert_eq!((same.status.as_u16(), same.header("etag")), (304, etag.as_str()), "{url}");
        }
        let new = fetch(Method::HEAD, &at(&format!("thumbnail.jpg?time=1&width=5{number}")), &[]).await;
        assert_eq!((new.status.as_u16(), new.header("content-type")), (200, "image/jpeg"));
        assert_eq!(new.header("cache-control"), "no-store");
    }
    assert_eq!(render_count(&stack), renders, "HEAD renders nothing");
    assert_eq!(bytes(&take_edge_calls(&stack, "GET", "/animated.gif")), 0);
    check_table_etags(&stack, &video).await;

    // The bucket does not send the body of a private image repeatedly only for the edge to discard it.
    let clip = media::clip(4, "320x240");
    let (private, upload) =
        ann.create("b.mp4", "video/mp4", clip.len(), json!({ "visibility": "signed" })).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&private).await["state"], "ready");
    stack.cloud.call_log().take();
    for number in 0..8 {
        let url = format!("{}/{private}/animated.gif?v=0000000{number}", stack.edge);
        assert_eq!(get(&url).await.code(), "unauthorized");
        assert_eq!(fetch(Method::HEAD, &url, &[]).await.status, 401);
    }
    let read = take_edge_calls(&stack, "GET", "");
    assert!(read.iter().filter(|call| call.key.contains(&private)).count() <= 2, "{read:?}");
}

/// A table that is served with other bytes than the stored ones is revalidated by its own ETag only.
async fn check_table_etags(stack: &Stack, video: &str) {
    let if_none_match = async |url: &str, etag: &str| {
        let answer = fetch(Method::GET, url, &[("if-none-match", etag)]).await;
        (answer.status.as_u16(), answer.header("etag").to_owned(), answer.body)
    };
    for (file, suffix) in [
        ("storyboard.json", "-url\""),
        ("storyboard.json?format=webp", "-webp\""),
        ("storyboard.vtt?format=webp", "-webp\""),
        ("storyboard.vtt", "\""),
    ] {
        let url = format!("{}/{video}/{file}", stack.edge);
        stack.cloud.call_log().take();
        let head = fetch(Method::HEAD, &url, &[]).await;
        let etag = head.header("etag").to_owned();
        assert!(head.status == 200 && etag.ends_with(suffix), "{file}: {} {etag}", head.status);
        let unchanged = if_none_match(&url, &etag).await;
        assert_eq!(unchanged, (304, etag.clone(), Vec::new()), "{file}");
        assert_eq!(bytes(&take_edge_calls(stack, "GET", "")), 0, "{file}: no response reads the table");

        let whole = get(&url).await;
        assert_eq!((whole.status.as_u16(), whole.header("etag")), (200, etag.as_str()), "{file}");
        let length = head.header("content-length");
        assert!(["", &whole.body.len().to_string()].contains(&length), "{file}: {length}");
        let stored = etag.split(['-', '"']).nth(1).unwrap();
        for other in ["", "-url", "-webp"].map(|kind| format!("\"{stored}{kind}\"")) {
            if other != etag {
                let changed = if_none_match(&url, &other).await;
                assert_eq!(changed, (200, etag.clone(), whole.body.clone()), "{file} {other}");
            }
        }
    }
}

#[tokio::test]
async fn c4_unknown_ids_are_read_once() {
    let stack = Stack::start(Options { no_function: true, no_cache: true, ..Options::default() }).await;
    let now_ms = now_secs() * 1000;
    let old = VideoId::new(now_ms - 72 * 3_600_000, [7; 10]);
    for file in
        ["", "/meta.json", "/thumbnail.jpg", "/animated.webp", "/storyboard.vtt", "/thumbnail.png?width=99"]
    {
        let url = format!("{}/{old}{file}", stack.edge);
        for method in [Method::GET, Method::HEAD] {
            let answers = join_all((0..5).map(|_| fetch(method.clone(), &url, &[]))).await;
            assert!(answers.iter().all(|answer| answer.status == 404), "{url}");
        }
    }
    let embed = format!("{}/oembed?url={}/{old}", stack.edge, stack.edge);
    assert!(join_all((0..5).map(|_| get(&embed))).await.iter().all(|answer| answer.status == 404));
    let calls_so_far: Vec<LoggedCall> = stack.cloud.call_log().take();
    // Concurrent requests before the first response may each read; on a slow machine the test lasts longer than the
    // cached response.
    assert!(calls_so_far.len() <= 24, "65 requests: {} reads, {calls_so_far:?}", calls_so_far.len());

    let young = VideoId::new(now_ms, [7; 10]);
    let url = format!("{}/{young}/thumbnail.jpg", stack.edge);
    for _ in 0..10 {
        assert_eq!(get(&url).await.code(), "processing");
    }
    let calls_after = stack.cloud.call_log().take();
    assert!(calls_after.len() < 20, "ten requests: {calls_after:?}");
}

/// Requests invalid ids as this client until one request is rate limited.
async fn poll_until_busy(stack: &Stack, address: &str) -> ApiResponse {
    let now_ms = now_secs() * 1000 - 72 * 3_600_000;
    for round in 0..20_u8 {
        let ask = |number: u8| {
            let url = format!(
                "{}/{}/thumbnail.jpg",
                stack.edge,
                VideoId::new(now_ms + u64::from(number), [round; 10])
            );
            async move { fetch(Method::GET, &url, &[("cf-connecting-ip", address)]).await }
        };
        let answers = join_all((0..200).map(ask)).await;
        assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 404 | 429)));
        if let Some(busy) = answers.into_iter().find(|answer| answer.status == 429) {
            return busy;
        }
    }
    panic!("no request was rate limited");
}

#[tokio::test]
async fn c5_bucket_reads_are_limited_per_address() {
    let (stack, _ann, video) = stack_with_video(&[], false, "public").await;
    let cached = format!("{}/{video}/thumbnail.jpg", stack.edge);
    wait_for_cache_hit(&cached).await;
    // A rate-limit window may end at any moment: compared requests are concurrent, and repeated if a window ended.
    for (address, neighbour, stranger) in [
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"),
    ] {
        eventually("a rate-limited client", Duration::from_mins(2), || async {
            let busy = poll_until_busy(&stack, address).await;
            assert_eq!((busy.code().as_str(), busy.header("retry-after")), ("busy", "10"));
            assert_eq!(busy.header("cache-control"), "no-store");
            let id = VideoId::new(1, [1; 10]);
            let ask = async |path: String, from: &str| {
                fetch(Method::GET, &format!("{}{path}", stack.edge), &[("cf-connecting-ip", from)])
                    .await
                    .status
                    .as_u16()
            };
            let oembed = format!("/oembed?url={}/{id}", stack.edge);
            let same = [
                ask(format!("/{id}/animated.gif"), neighbour).await,
                ask(format!("/{id}"), neighbour).await,
                ask(format!("/{id}/meta.json"), neighbour).await,
                ask(oembed, neighbour).await,
            ];
            let others = ask(format!("/{id}/animated.gif"), stranger).await;
            let hit = ask(format!("/{video}/thumbnail.jpg"), neighbour).await;
            assert_eq!((others, hit), (404, 200), "other clients are not limited, and cache hits are never");
            (same == [429; 4]).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn c7_new_pictures_per_day_are_limited() {
    let (stack, ann, video) = stack_with_video(&[("PUBLIC_VARIANTS_PER_DAY", "3")], false, "public").await;
    let path = |width: u32| format!("/{video}/thumbnail.jpg?time=1&width={width}");
    let url = |width: u32| format!("{}{}", stack.edge, path(width));
    for width in 50..53 {
        assert_eq!(get(&url(width)).await.status, 200);
    }
    let before = render_count(&stack);
    for width in [53, 54, 53] {
        let full = get(&url(width)).await;
        assert_eq!((full.status.as_u16(), full.code().as_str()), (429, "busy"));
        assert_eq!(full.header("retry-after"), "3600");
    }
    assert_eq!(render_count(&stack), before, "the function is not called");
    assert_eq!(get(&url(50)).await.status, 200, "existing images are served");
    assert_eq!(get(&format!("{}/{video}/animated.gif", stack.edge)).await.status, 200);
    assert_eq!(ann.get(&path(60)).await.status, 200, "the owner is not limited");
    assert_eq!(get(&url(60)).await.status, 200, "images rendered for the owner are available to all");
    let bob = ApiClient::new(&stack, "bob");
    assert_eq!(bob.get(&path(61)).await.status, 429, "another owner is limited");
    let secret = DELIVERY_TOKEN_SECRETS.split(',').find_map(|pair| pair.strip_prefix("new=")).unwrap();
    let signed = picture_path(&path(62), now_secs() + 600, "new", secret);
    assert_eq!(get(&format!("{}{signed}", stack.edge)).await.status, 200, "a token is not limited");
}

#[tokio::test]
async fn c7_renders_are_limited_per_address() {
    let (stack, ann, video) = stack_with_video(&[], false, "public").await;
    // Without the source no decoder runs: only the requests to the function are counted.
    for source in stack.cloud.store().list("uploads/") {
        stack.cloud.store().delete(&source).await.unwrap();
    }
    // Two videos, since each has its own limit.
    let second = VideoId::new(now_secs() * 1000, [9; 10]).to_string();
    let manifest = format!("media/{video}/manifest.json");
    let text = String::from_utf8(stack.cloud.store().get(&manifest).await.unwrap()).unwrap();
    let copied = text.replace(&video, &second).into_bytes();
    stack.cloud.store().put(&manifest.replace(&video, &second), copied, "application/json").await.unwrap();
    let counter = AtomicUsize::new(0);
    let ask = async |address: &str| {
        let index = counter.fetch_add(1, Ordering::Relaxed);
        let target_video = if index.is_multiple_of(2) { &video } else { &second };
        let url = format!(
            "{}/{target_video}/thumbnail.jpg?time=1.{:03}&width={}",
            stack.edge,
            index % 1000,
            50 + index / 1000
        );
        fetch(Method::GET, &url, &[("cf-connecting-ip", address)]).await
    };
    let busy = eventually("a rate-limited client", Duration::from_secs(150), || async {
        join_all((0..10).map(|_| ask("203.0.113.7"))).await;
        let (busy, stranger) = (ask("203.0.113.7").await, ask("203.0.113.8").await);
        (busy.status == 429 && stranger.status == 410).then_some(busy)
    })
    .await;
    assert_eq!((busy.code().as_str(), busy.header("cache-control")), ("busy", "no-store"));
    assert_eq!(
        ann.get(&format!("/{video}/thumbnail.jpg?time=2")).await.code(),
        "source_gone",
        "the owner is not limited"
    );
}

#[tokio::test]
async fn c8_anonymous_callers_get_only_listed_variants() {
    let vars = [("PUBLIC_VARIANTS", "listed"), ("PUBLIC_WIDTHS", "160,320")];
    let (stack, ann, video) = stack_with_video(&vars, false, "public").await;
    let path = |more: &str| format!("/{video}/{more}");
    let ask = async |more: &str| get(&format!("{}{}", stack.edge, path(more))).await;
    for allowed in [
        "thumbnail.jpg",
        "thumbnail",
        "thumbnail.jpg?width=160",
        "animated.webp?width=160",
        "thumbnail.jpg?width=640",
    ] {
        assert_eq!(ask(allowed).await.status, 200, "{allowed}");
    }
    stack.cloud.call_log().take();
    for refused in [
        "thumbnail.jpg?width=161",
        "thumbnail.jpg?width=160&time=1",
        "thumbnail.jpg?time=1",
        "thumbnail.jpg?rotate=90",
        "thumbnails/thumbnail.jpg?time=1s",
        "thumbnail?time=1",
        "animated.gif?fps=10",
        "animated.gif?max_bytes=20000",
        "animated.gif?start=1",
    ] {
        let answer = ask(refused).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_parameter"), "{refused}");
        let head = fetch(Method::HEAD, &format!("{}{}", stack.edge, path(refused)), &[]).await;
        assert_eq!(head.status, 400, "{refused}");
    }
    assert_eq!(stack.cloud.call_log().take(), [], "no S3 request");
    assert_eq!(
        ApiClient::new(&stack, "bob").get(&path("thumbnail.jpg?time=1")).await.code(),
        "bad_parameter"
    );
    assert_eq!(ann.get(&path("thumbnail.jpg?time=1")).await.status, 200, "the owner is not limited");
    assert_eq!(ask("thumbnail.jpg?time=1").await.code(), "bad_parameter", "still not available to others");
}

#[tokio::test]
async fn c9_failed_render_is_cached() {
    let (stack, _ann, video) = stack_with_video(&[], false, "public").await;
    let url = format!("{}/{video}/thumbnail.jpg?time=99", stack.edge);
    let before = render_count(&stack);
    let first = get(&url).await;
    assert_eq!((first.status.as_u16(), first.code().as_str()), (400, "bad_parameter"));
    assert_eq!(render_count(&stack), before + 1);
    stack.cloud.call_log().take();
    // For longer than an isolate's own memory of rejected clients lasts.
    let started = std::time::Instant::now();
    eventually("six seconds of requests", Duration::from_secs(30), || async {
        for spelling in [url.clone(), format!("{url}.0"), format!("{url}&v=01234567")] {
            let again = get(&spelling).await;
            assert_eq!(
                (again.code(), again.json()["detail"].clone()),
                (first.code(), first.json()["detail"].clone())
            );
        }
        (started.elapsed() > Duration::from_secs(6)).then_some(())
    })
    .await;
    assert_eq!(render_count(&stack), before + 1, "once");
    assert_eq!(stack.cloud.call_log().take(), [], "no S3 request either");
}

#[tokio::test]
async fn c10_token_requests_do_not_use_the_owners_quota() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let token_response = ann.call(Method::POST, "/api/upload-tokens", Some(json!({}))).await.json();
    let token = token_response["token"].as_str().unwrap();
    let holder = ApiClient::with_token(&stack, "");
    for path in ["/s3/params?filename=a.html&type=text/html", "/s3/multipart/x/1?key=wrong"] {
        let path = format!("/u/{token}{path}");
        let mut is_busy = false;
        for _ in 0..10 {
            let count = if path.contains("params") { 150 } else { 300 };
            for _ in 0..count / 50 {
                let pending = (0..50).map(|_| holder.send(Method::GET, &path, &[], ""));
                is_busy |= join_all(pending).await.iter().any(|answer| answer.status == 429);
                // Immediately, since a period of the rate limiter may end before the loop does.
                let granted = ann.get("/s3/params?filename=a.mp4&type=video/mp4").await;
                assert_eq!(granted.status, 200, "the owner is not limited");
            }
            if is_busy || path.contains("multipart") {
                break;
            }
        }
        assert!(is_busy || path.contains("multipart"), "a token is limited too");
        let granted = ann.get("/s3/params?filename=a.mp4&type=video/mp4").await;
        assert_eq!(granted.status, 200, "the owner is not limited");
        let part = ann.get("/s3/multipart/x/1?key=wrong").await;
        assert_ne!(part.status, 429, "the owner is not limited");
    }
}

#[tokio::test]
async fn c11_failing_provider_is_asked_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let fetches = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetches);
    let fails = move || async move {
        count.fetch_add(1, Ordering::Relaxed);
        StatusCode::SERVICE_UNAVAILABLE
    };
    let app = Router::new().route("/.well-known/openid-configuration", on_get(fails));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let vars = [("OIDC_ISSUER".to_owned(), issuer)].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let url = format!("{}/auth/login", stack.edge);
    let started = std::time::Instant::now();
    for _ in 0..4 {
        for answer in join_all((0..5).map(|_| get(&url))).await {
            assert_eq!(answer.code(), "upstream");
        }
    }
    let most = 1 + started.elapsed().as_secs() as usize / 10;
    assert!((1..=most).contains(&fetches.load(Ordering::Relaxed)), "{fetches:?}");
}

#[tokio::test]
async fn c12_stream_of_unknown_id_costs_one_request_per_poll() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let made_up = VideoId::new(now_secs() * 1000, [3; 10]);
    let path = format!("/api/videos/{made_up}/events");
    let started = std::time::Instant::now();
    let stream = ann.get(&path).await;
    assert_eq!(stream.status, 200, "the stream ends by itself");
    let polls = stream.body.windows(3).filter(|line| line == b": \n").count() + 1;
    let calls = stack.cloud.call_log().take();
    assert!(calls.len() <= polls + 2, "{polls} polls: {calls:?}");
    let elapsed = started.elapsed();
    println!("stream of an unknown id: {polls} polls, {} requests, {elapsed:?}", calls.len());
    assert!(polls == 15 && calls.len() <= 17, "as docs/operating.md states: {polls} polls, {calls:?}");
    assert!((20..60).contains(&elapsed.as_secs()), "{elapsed:?}");
    assert!(calls.iter().all(|call| call.bytes == 0 && call.method != "PUT"), "{calls:?}");
    // A browser reconnects by itself, with the id of the last event that it received.
    let again = ann.send(Method::GET, &path, &[("last-event-id", "1")], "").await;
    let calls = stack.cloud.call_log().take();
    assert!(again.status == 200 && calls.len() <= 17, "a reconnection costs no more: {calls:?}");
    // No stream is opened for an id that has expired or was not granted yet.
    for granted_secs in [now_secs() - 48 * 3600 - 60, now_secs() + 3600] {
        let other = VideoId::new(granted_secs * 1000, [3; 10]);
        let response = ann.get(&format!("/api/videos/{other}/events")).await;
        assert_eq!(response.status, 404, "{granted_secs}");
    }
    let mut is_busy = false;
    for _ in 0..10 {
        let url = format!("{}/api/videos/{made_up}/events", stack.edge);
        let token = e2e::keys::bearer_token("ann");
        let ask = || {
            let request = e2e::person::http_client().get(&url).bearer_auth(&token);
            async move { request.send().await.unwrap().status().as_u16() }
        };
        is_busy = join_all((0..80).map(|_| ask())).await.contains(&429);
        if is_busy {
            break;
        }
    }
    assert!(is_busy, "streams are limited");
    let bob = ApiClient::new(&stack, "bob");
    assert_eq!(
        bob.get("/api/videos/7zzzzzzzzz0123456789abcdef/events").await.status,
        404,
        "others are not limited"
    );
}
