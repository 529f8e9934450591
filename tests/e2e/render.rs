//! On-demand images: rendered at the first request, once, and stored under the canonical key.

use std::time::Duration;

use e2e::eventually;
use e2e::media;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{Options, Stack};
use glimpse_contract::{Key, VariantRequest, VideoId};
use glimpse_local::Config;
use reqwest::Method;
use serde_json::{Value, json};

async fn get(url: &str) -> ApiResponse {
    fetch(Method::GET, url, &[]).await
}

/// Width and height of a JPEG, from its first frame header (ITU-T T.81, B.2.2).
fn jpeg_size(jpeg: &[u8]) -> Option<(u16, u16)> {
    let mut rest = jpeg.strip_prefix(b"\xff\xd8")?;
    loop {
        let [0xff, marker, high, low, behind @ ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if matches!(marker, 0xc0..=0xc2) {
            let [_, h1, h0, w1, w0, ..] = behind else { return None };
            return Some((u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0])));
        }
        rest = behind.get(length.checked_sub(2)?..)?;
    }
}

fn render_count(stack: &Stack) -> usize {
    stack.cloud.render().map(|render| render.invocations().len()).unwrap_or_default()
}

#[tokio::test]
async fn picture_is_rendered_on_demand_once() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("Ski trip.mp4", "video/mp4", media::clip(8, "640x360")).await;
    let early = get(&format!("{}/{video}/thumbnail.jpg?time=1", stack.edge)).await;
    assert!(matches!(early.status.as_u16(), 200 | 202), "{}", early.status);
    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!(video_json["state"], "ready", "{video_json}");

    let before = render_count(&stack);
    let url = format!("{}/{video}/thumbnail.jpg?time=1&width=200", stack.edge);
    let first = get(&url).await;
    assert_eq!(first.status, 200, "{}", String::from_utf8_lossy(&first.body));
    assert_eq!(jpeg_size(&first.body), Some((200, 113)));
    assert_eq!(first.header("content-type"), "image/jpeg");
    assert!(first.header("server-timing").starts_with("cache;desc=render;dur="));
    assert_eq!(first.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(first.header("x-content-type-options"), "nosniff");
    assert_eq!(render_count(&stack), before + 1);

    // The stored object has the bytes of the response.
    let id: VideoId = video.parse().unwrap();
    let request = VariantRequest::parse(&format!("/{video}/thumbnail.jpg"), Some("width=200&time=1.0"));
    let key = Key::Output(id, request.unwrap().unwrap().variant).to_string();
    assert_eq!(key, format!("media/{video}/thumbnail-time_1-width_200.jpg"));
    assert!(stack.cloud.store().list("media/").contains(&key), "{key}");

    // Other spellings of the same variant share its cache entry.
    for same in [
        url.clone(),
        format!("{}/{video}/thumbnail.jpg?width=200&time=1.000", stack.edge),
        format!("{}/{video}/thumbnails/thumbnail.jpg?time=1s&width=200", stack.edge),
    ] {
        let second = eventually("a cache hit", Duration::from_secs(10), || async {
            let answer = get(&same).await;
            (answer.header("server-timing").starts_with("cache;desc=hit")).then_some(answer)
        })
        .await;
        assert_eq!(second.header("etag"), first.header("etag"), "{same}");
        assert_eq!(second.body, first.body, "{same}");
    }
    // A cache miss elsewhere reads the stored object: nothing is rendered again.
    assert_eq!(render_count(&stack), before + 1);

    for (query, status, code) in [
        ("time=9", 400, "bad_parameter"),
        ("time=1&time=1", 400, "bad_parameter"),
        ("width=99999", 400, "bad_parameter"),
    ] {
        let answer = get(&format!("{}/{video}/thumbnail.jpg?{query}", stack.edge)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{query}");
    }
    let moving = get(&format!("{}/{video}/animated.gif?start=1&end=2&width=160&fps=10", stack.edge)).await;
    assert_eq!((moving.status.as_u16(), moving.header("content-type")), (200, "image/gif"));
    assert!(moving.body.starts_with(b"GIF89a"));
    // A video that an earlier version has processed has no MP4: its first request makes it.
    stack.cloud.store().delete(&format!("media/{video}/animated.mp4")).await.unwrap();
    let film = get(&format!("{}/{video}/animated.mp4", stack.edge)).await;
    assert_eq!((film.status.as_u16(), film.header("content-type")), (200, "video/mp4"));
    assert!(
        film.header("server-timing").starts_with("cache;desc=render"),
        "{}",
        film.header("server-timing")
    );

    // Without the source, stored images remain available, and no new ones are rendered.
    let sources = stack.cloud.store().list("uploads/");
    for source in &sources {
        stack.cloud.store().delete(source).await.unwrap();
    }
    assert_eq!(get(&url).await.status, 200);
    let deleted = get(&format!("{}/{video}/thumbnail.jpg?time=2", stack.edge)).await;
    assert_eq!((deleted.status.as_u16(), deleted.code().as_str()), (410, "source_gone"));
}

/// Row D8, for storage: concurrent requests result in one object.
#[tokio::test]
async fn concurrent_renders_return_the_same_bytes() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("Ski trip.mp4", "video/mp4", media::clip(8, "640x360")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let url = format!("{}/{video}/thumbnail.webp?time=3&width=300&height=300&fit_mode=crop", stack.edge);
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { get(&url).await })
        })
        .collect();
    let mut bodies = Vec::new();
    for answer in asking {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        bodies.push((answer.header("etag").to_owned(), answer.body));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
}

/// The numbers of a metric record in CloudWatch's embedded metric format, and its kind; `None` for other lines.
fn parse_metric_record(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(|line: &Value| line["_aws"].is_object())
}

/// The metric records of the functions, as Lambda passes them to CloudWatch.
#[tokio::test]
async fn job_and_render_each_emit_one_metric() {
    let change = |config: &mut Config| {
        let render = config.render.as_mut().map(|render| &mut render.function);
        for function in [config.function.as_mut(), render].into_iter().flatten() {
            function.env.insert("METRICS_NAMESPACE".into(), "Glimpse/here".into());
        }
    };
    let stack = Stack::start(Options { configure: Some(change), ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("Ski trip.mp4", "video/mp4", media::clip(4, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    assert_eq!(get(&format!("{}/{video}/thumbnail.jpg?time=1&width=99", stack.edge)).await.status, 200);

    for is_render in [false, true] {
        let records = eventually("a record", Duration::from_secs(10), || async {
            let invocations = match stack.cloud.render() {
                Some(render) if is_render => render.invocations(),
                _ => stack.cloud.invocations(),
            };
            let lines = invocations.iter().flat_map(|invocation| &invocation.lines);
            Some(lines.filter_map(|line| parse_metric_record(line)).collect::<Vec<_>>())
                .filter(|found| !found.is_empty())
        })
        .await;
        assert_eq!(records.len(), 1, "{records:?}");
        let (record, names) = (
            &records[0],
            if is_render { ["render", "made", "RenderMs"] } else { ["preview", "ready", "JobMs"] },
        );
        assert_eq!([&record["Function"], &record["Outcome"]], names[..2], "{record}");
        assert!(record[names[2]].as_u64().is_some_and(|ms| ms > 0), "{record}");
        assert_eq!(record["video"], json!(video), "{record}");
        assert_eq!(record["_aws"]["CloudWatchMetrics"][0]["Namespace"], "Glimpse/here", "{record}");
        assert!(is_render || record["BytesRead"].as_u64() > Some(1_000), "{record}");
    }
}
