//! The watch page of a video, its link preview on other sites, and its metadata for programs.

use std::time::Duration;

use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{Options, Stack};
use e2e::{eventually, media};
use glimpse_contract::VideoId;
use reqwest::Method;
use serde_json::json;

const CACHE_CONTROL: &str = "public, max-age=300, stale-while-revalidate=86400";

async fn get(url: &str) -> ApiResponse {
    fetch(Method::GET, url, &[]).await
}

fn text(answer: &ApiResponse) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

/// The `content` of a meta tag of this name or property, the first one.
fn meta_content(html: &str, name: &str) -> String {
    let at =
        html.find(&format!("=\"{name}\" content=\"")).unwrap_or_else(|| panic!("{name} is not in {html}"));
    let value = html[at..].split("content=\"").nth(1).unwrap();
    value.split('"').next().unwrap().replace("&amp;", "&")
}

#[tokio::test]
async fn page_has_metadata_and_card_tags() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(8, "1280x720");
    let more = json!({ "metadata": { "title": "Ski \"trip\" <2026>" } });
    let (video, upload) = ann.create("my secret plan.mp4", "video/mp4", clip.len(), more).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    let page = format!("{}/{video}", stack.edge);
    let early = get(&page).await;
    if early.status == 202 {
        assert_eq!((early.header("retry-after"), early.header("cache-control")), ("2", "public, max-age=2"));
        assert!(text(&early).contains("http-equiv=\"refresh\""));
    }
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");

    let answer = get(&page).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), CACHE_CONTROL);
    let vary: Vec<_> = answer.header("vary").split(", ").collect();
    assert!(vary.contains(&"Cookie") && vary.contains(&"Authorization"), "{vary:?}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let html = text(&answer);
    assert_eq!(meta_content(&html, "og:title"), "Ski &quot;trip&quot; &lt;2026&gt;");
    assert_eq!(meta_content(&html, "og:url"), page);
    assert_eq!(
        (meta_content(&html, "og:image:width"), meta_content(&html, "og:image:height")),
        ("640".into(), "360".into())
    );
    assert_eq!(meta_content(&html, "og:description"), "0:08 · 1280 × 720");
    for hidden in
        ["secret", "uploads/", "media/", "data-original=\"/", stack.cloud.settings().bucket.as_str()]
    {
        assert!(!html.contains(hidden), "{hidden} is in the page");
    }
    // The images of the card exist.
    for (name, kind) in [("og:image", "image/jpeg"), ("twitter:image", "image/jpeg")] {
        let url = meta_content(&html, name);
        let picture = get(&url).await;
        assert_eq!((picture.status.as_u16(), picture.header("content-type")), (200, kind), "{url}");
        assert!(picture.header("cache-control").ends_with("immutable"), "{url}");
    }

    check_documents_are_cached(&page, &answer).await;
    check_oembed(&stack, &html, &video).await;

    for (path, status, code) in [
        (format!("{page}/meta.json?x=1"), 200, ""),
        (format!("{page}?utm_source=mail"), 200, ""),
        (format!("{page}//"), 404, "not_found"),
        (format!("{page}//meta.json"), 404, "not_found"),
    ] {
        let answer = get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{path}");
    }
    assert_eq!(fetch(Method::POST, &page, &[]).await.header("allow"), "GET, HEAD, OPTIONS");
    for (sent, location) in [
        (format!("{page}/"), format!("/{video}")),
        (format!("{page}/?utm_source=mail&token=x"), format!("/{video}?utm_source=mail&token=x")),
    ] {
        let answer = get(&sent).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (301, location.as_str()), "{sent}");
    }
}

/// The second request is a cache hit, and 304 and HEAD work as for images.
async fn check_documents_are_cached(page: &str, first: &ApiResponse) {
    let etag = first.header("etag");
    assert!(etag.starts_with('"'), "strong: {etag}");
    let hit = eventually("a cache hit", Duration::from_secs(10), || async {
        let answer = get(page).await;
        (answer.header("server-timing") == "cache;desc=hit").then_some(answer)
    })
    .await;
    assert_eq!((&hit.body, hit.header("etag")), (&first.body, etag));
    for name in ["content-type", "content-security-policy", "cache-control", "vary"] {
        assert_eq!(hit.header(name), first.header(name), "{name} of a hit");
    }
    let known = fetch(Method::GET, page, &[("if-none-match", etag)]).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let head = fetch(Method::HEAD, page, &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len(), head.header("etag")), (200, 0, etag));

    let meta = get(&format!("{page}/meta.json")).await;
    assert_eq!((meta.status.as_u16(), meta.header("cache-control")), (200, CACHE_CONTROL));
    assert_eq!(meta.header("access-control-allow-origin"), "*");
    let facts = meta.json();
    assert_eq!((&facts["width"], &facts["height"]), (&json!(1280), &json!(720)));
    assert!((7_900..=8_100).contains(&facts["duration_ms"].as_u64().unwrap()), "{facts}");
    assert!(facts["thumbhash"].is_string() && facts["dominant_color"].is_string(), "{facts}");
    let urls = facts["urls"].as_object().unwrap();
    assert_eq!(urls.len(), 9, "{facts}");
    for (file, url) in urls {
        let url = url.as_str().unwrap();
        assert!(url.contains(&format!("/{file}?v=")), "{url}");
        assert_eq!(get(url).await.status, 200, "{url}");
    }
    for entry in facts["srcset"]["jpg"].as_str().unwrap().split(", ") {
        let (url, width) = entry.split_once(' ').unwrap();
        let picture = get(url).await;
        assert_eq!((picture.status.as_u16(), picture.header("content-type")), (200, "image/jpeg"), "{width}");
    }
    let text = facts.to_string();
    for hidden in ["secret", "uploads/", "media/", "owner"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
}

/// oEmbed, starting at the page's discovery link.
async fn check_oembed(stack: &Stack, html: &str, video: &str) {
    let link = html.split("type=\"application/json+oembed\" href=\"").nth(1).unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let answer = get(&link).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, "application/json; charset=utf-8")
    );
    let card = answer.json();
    assert_eq!((&card["version"], &card["type"]), (&json!("1.0"), &json!("video")));
    assert_eq!((&card["width"], &card["height"]), (&json!(640), &json!(360)));
    assert_eq!(card["title"], "Ski \"trip\" <2026>");
    assert!(card["html"].as_str().unwrap().contains(&format!("src=\"{}/{video}\"", stack.edge)), "{card}");

    let with_slash = get(&format!("{}/oembed?url={}%2F{video}%2F", stack.edge, stack.edge)).await;
    assert_eq!(with_slash.json(), card, "a slash at the end is the same page");

    let small = get(&format!("{link}&maxwidth=200&maxheight=150")).await.json();
    let side = |name: &str| small[name].as_u64().unwrap();
    assert!(side("width") == 200 && side("height") == 112, "{small}");
    assert!(side("thumbnail_width") <= 200 && side("thumbnail_height") <= 150, "{small}");
    let thumbnail = get(small["thumbnail_url"].as_str().unwrap()).await;
    assert_eq!(thumbnail.status, 200, "{small}");

    let edge = &stack.edge;
    for (query, status, code) in [
        (format!("url=https%3A%2F%2Fother.example%2F{video}"), 404, "not_found"),
        (format!("url={edge}/{video}/thumbnail.jpg"), 404, "not_found"),
        (format!("url={edge}/{video}&format=xml"), 501, "format_not_made"),
        (format!("url={edge}/{video}&maxwidth=wide"), 400, "bad_parameter"),
        (String::new(), 400, "bad_parameter"),
        (format!("url={edge}/{}", VideoId::new(e2e::keys::now_secs() * 1000, [9; 10])), 404, "not_found"),
    ] {
        let answer = get(&format!("{edge}/oembed?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{query}");
    }
}

#[tokio::test]
async fn page_explains_missing_videos() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let now_ms = e2e::keys::now_secs() * 1000;
    let states = |video: String, status: u16, cache: &'static str, says: &'static str| {
        let edge = stack.edge.clone();
        async move {
            let page = get(&format!("{edge}/{video}")).await;
            assert_eq!((page.status.as_u16(), page.header("cache-control")), (status, cache), "{video}");
            assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
            assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
            assert!(text(&page).contains(says), "{says}: {}", text(&page));
            let meta = get(&format!("{edge}/{video}/meta.json")).await;
            assert_eq!((meta.status.as_u16(), meta.header("cache-control")), (status, cache), "{video}");
            assert!(meta.header("content-type").starts_with("application/problem+json"));
        }
    };
    states(VideoId::new(now_ms, [1; 10]).to_string(), 202, "public, max-age=2", "still being generated")
        .await;
    states(VideoId::new(1, [1; 10]).to_string(), 404, "public, max-age=5", "There is nothing at this URL")
        .await;

    let text_file = ann.upload("notes.mp4", "video/mp4", b"Dear diary.\n".to_vec()).await;
    assert_eq!(ann.wait_for_outcome(&text_file).await["state"], "rejected");
    states(text_file, 422, "public, max-age=5", "not a video").await;

    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let page = format!("{}/{video}", stack.edge);
    eventually("a cached page", Duration::from_secs(10), || async {
        (get(&page).await.header("server-timing") == "cache;desc=hit").then_some(())
    })
    .await;
    assert_eq!(get(&format!("{page}/meta.json")).await.status, 200);
    assert_eq!(ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await.status, 200);
    states(video, 410, "public, max-age=5", "deleted by its owner").await;
}

/// A link is pasted into a page that does what Discord documents: `tests/browser/link-preview.mjs`.
#[tokio::test]
async fn pasted_link_plays_preview() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(3, "640x480");
    let more = json!({ "metadata": { "title": "Ski trip" } });
    let (video, upload) = ann.create("a.mp4", "video/mp4", clip.len(), more).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let page = format!("{}/{video}", stack.edge);
    e2e::browser::run_script_on(&stack, "link-preview.mjs", &[("GLIMPSE_PAGE", &page)]).await;
}

/// Pages in a real browser: `tests/browser/pages.mjs`.
#[tokio::test]
async fn watch_page_works_in_a_browser() {
    e2e::browser::run_script("pages.mjs").await;
}
