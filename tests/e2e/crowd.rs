//! Cost of many concurrent requests for one image, and of one client that requests ever new images.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::eventually;
use e2e::media;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{Options, Stack};
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use reqwest::Method;

const MAX_COUNT: u32 = 100_000;

async fn get(url: &str) -> ApiResponse {
    fetch(Method::GET, url, &[]).await
}

/// Starts to count the reads of keys with this prefix, and delays each of them.
fn start_counting(stack: &Stack, prefix: &str, delay_ms: u64) {
    let kind = FaultKind::Delay(Duration::from_millis(delay_ms));
    stack.cloud.fault_injector().add(InjectedFault {
        method: Method::GET,
        prefix: prefix.into(),
        times: MAX_COUNT,
        kind,
    });
}

fn stop_counting(stack: &Stack) -> u32 {
    MAX_COUNT - stack.cloud.fault_injector().clear()
}

async fn get_concurrently(urls: Vec<String>) -> Vec<ApiResponse> {
    let asking: Vec<_> = urls.into_iter().map(|url| tokio::spawn(async move { get(&url).await })).collect();
    let mut answers = Vec::new();
    for task in asking {
        answers.push(task.await.unwrap());
    }
    answers
}

fn render_count(stack: &Stack) -> usize {
    stack.cloud.render().map(|render| render.invocations().len()).unwrap_or_default()
}

/// Row D8 of docs/threat-model.md: one render, one read and one object, however many requests arrive.
#[tokio::test]
async fn concurrent_requests_are_coalesced() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(4, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let at = |file: &str| format!("{}/{video}/{file}", stack.edge);

    let before = render_count(&stack);
    let answers = get_concurrently(vec![at("thumbnail.jpg?time=2&width=200"); 20]).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.body, answers[0].body);
    }
    assert_eq!(render_count(&stack), before + 1, "one render");

    // Slow reads, so that all requests arrive before the first response.
    start_counting(&stack, &format!("media/{video}/animated.webp"), 500);
    let answers = get_concurrently(vec![at("animated.webp"); 20]).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(stop_counting(&stack), 1, "one read");

    // Requests with invalid revisions are cache hits.
    eventually("a cache hit", Duration::from_secs(10), || async {
        get(&at("animated.webp")).await.header("server-timing").starts_with("cache;desc=hit").then_some(())
    })
    .await;
    start_counting(&stack, "media/", 0);
    for number in 0..10 {
        let answer = get(&at(&format!("animated.webp?v=0000000{number}"))).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "public, max-age=5"));
    }
    assert!(stop_counting(&stack) <= 2, "young entries are not revalidated");

    // A problem with the source is reported and cached for a short time (row D6).
    for source in stack.cloud.store().list("uploads/") {
        stack.cloud.store().delete(&source).await.unwrap();
    }
    let before = render_count(&stack);
    for answer in get_concurrently(vec![at("thumbnail.jpg?time=3"); 10]).await {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (410, "source_gone"));
        assert_eq!(answer.header("cache-control"), "public, max-age=5");
    }
    assert_eq!(render_count(&stack), before + 1);
}

/// A client that requests ever new variants is rate limited, and a deployment can restrict the sizes that are public.
#[tokio::test]
async fn flood_of_new_variants_is_limited() {
    let vars = BTreeMap::from([("PUBLIC_WIDTHS".to_owned(), "160,320".to_owned())]);
    let stack = Stack::start(Options { vars, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(4, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let at = |file: &str| format!("{}/{video}/{file}", stack.edge);

    start_counting(&stack, "media/", 0);
    for refused in ["thumbnail.jpg?width=161", "thumbnail.jpg?height=160", "animated.gif?width=640"] {
        let answer = get(&at(refused)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_parameter"), "{refused}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("`width` must be one of 160, 320"));
    }
    assert_eq!(stop_counting(&stack), 0, "no S3 request");
    for allowed in ["thumbnail.jpg?width=160", "thumbnail.jpg", "thumbnail.png", "animated.webp?width=320"] {
        assert_eq!(get(&at(allowed)).await.status, 200, "{allowed}");
    }

    // Without the source no decoder runs: only the requests to the function are counted.
    for source in stack.cloud.store().list("uploads/") {
        stack.cloud.store().delete(&source).await.unwrap();
    }
    let before = render_count(&stack);
    let urls = (0..45).map(|index| at(&format!("thumbnail.jpg?width=160&time=3.{index:03}"))).collect();
    let answers = get_concurrently(urls).await;
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!busy.is_empty(), "45 new variants of one video at once");
    assert_eq!(render_count(&stack) - before, answers.len() - busy.len());
    for answer in busy {
        assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("busy", "10"));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 410 | 429)));
    assert_eq!(get(&at("thumbnail.jpg?width=160")).await.status, 200, "existing images are served");
}
