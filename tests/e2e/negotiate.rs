//! Content negotiation for URLs without an extension, and the owner's download of the source.

use e2e::media;
use e2e::person::{ApiClient, ApiResponse, fetch, http_client};
use e2e::stack::{Options, Stack};
use reqwest::Method;

async fn get(url: &str, accept: &str) -> ApiResponse {
    fetch(Method::GET, url, &[("accept", accept)]).await
}

#[tokio::test]
async fn negotiates_avif_and_falls_back() {
    let vars = [("NEGOTIATE", "avif,webp,jpeg"), ("PUBLIC_VARIANTS", "listed"), ("PUBLIC_WIDTHS", "160")];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let stack = Stack::start(Options { vars, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let at = |file: &str| format!("{}/{video}/{file}", stack.edge);

    let chrome = "image/avif,image/webp,*/*;q=0.8";
    for (file, accept, kind) in [
        ("thumbnail?width=160", chrome, "image/avif"),
        ("thumbnail?width=160", chrome, "image/avif"),
        ("thumbnail?width=160", "image/webp,*/*", "image/webp"),
        ("thumbnail", chrome, "image/avif"),
    ] {
        let answer = get(&at(file), accept).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, kind), "{file} {accept}");
        assert_eq!(answer.header("vary"), "Accept", "{file}");
    }
    // Without its source, an image that was not rendered before cannot be rendered: the poster is in its place.
    let other = ann.upload("b.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&other).await["state"], "ready");
    for source in stack.cloud.store().list("uploads/") {
        stack.cloud.store().delete(&source).await.unwrap();
    }
    let answer = get(&format!("{}/{other}/thumbnail", stack.edge), chrome).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "image/webp"));
    assert_eq!(get(&format!("{}/{other}/thumbnail.avif", stack.edge), "*/*").await.code(), "source_gone");
}

/// Rows D3 and F19 of docs/threat-model.md.
#[tokio::test]
async fn negotiates_format_and_redirects_owner_to_source() {
    let stack = Stack::start(Options::default()).await;
    let (ann, bob) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "bob"));
    let clip = media::clip(2, "320x240");
    let video = ann.upload("Ski trip \u{e9}.mp4", "video/mp4", clip.clone()).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let at = |file: &str| format!("{}/{video}/{file}", stack.edge);

    for (file, accept, kind) in [
        ("thumbnail", "image/avif,image/webp,*/*", "image/webp"),
        ("thumbnail", "*/*", "image/jpeg"),
        ("thumbnail?width=100", "image/webp;q=0.2,image/jpeg;q=0.9", "image/jpeg"),
        ("animated", "image/webp", "image/webp"),
        ("animated", "image/png", "image/gif"),
    ] {
        let answer = get(&at(file), accept).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, kind), "{file} {accept}");
        assert_eq!(answer.header("vary"), "Accept", "{file}");
    }
    // The cache key contains the format, not the header: an equivalent `Accept` is a hit, and so is the extension.
    for (url, accept) in [(at("thumbnail"), "image/webp;q=0.9"), (at("thumbnail.webp"), "x/y")] {
        let answer = get(&url, accept).await;
        assert!(answer.header("server-timing").starts_with("cache;desc=hit"), "{url} {accept}");
    }
    assert_eq!(get(&at("thumbnail.webp"), "*/*").await.header("vary"), "", "no negotiation took place");
    let bad = get(&at("thumbnail?wide=1"), "*/*").await;
    assert_eq!(
        (bad.status.as_u16(), bad.code().as_str(), bad.header("vary")),
        (400, "bad_parameter", "Accept")
    );
    assert_eq!(get(&at("storyboard"), "*/*").await.status, 404);

    // The source: never without a credential, never to another user, never displayed inline.
    let stranger = fetch(Method::GET, &at("original"), &[]).await;
    assert_eq!((stranger.status.as_u16(), stranger.header("cache-control")), (401, "no-store"));
    assert_eq!(bob.get(&format!("/{video}/original")).await.code(), "not_found");
    let with_parameter = ann.get(&format!("/{video}/original?inline=1")).await;
    assert!(
        with_parameter.code() == "bad_parameter"
            && with_parameter.json()["detail"].as_str().unwrap().contains("`inline`")
    );
    let answer = ann.get(&format!("/{video}/original")).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (302, "no-store"));
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let file =
        ApiResponse::from_response(http_client().get(answer.header("location")).send().await.unwrap()).await;
    assert_eq!(file.body, clip);
    assert_eq!(file.header("content-disposition"), "attachment; filename*=UTF-8''Ski%20trip%20%C3%A9.mp4");

    for source in stack.cloud.store().list("uploads/") {
        stack.cloud.store().delete(&source).await.unwrap();
    }
    let deleted = ann.get(&format!("/{video}/original")).await;
    assert_eq!((deleted.status.as_u16(), deleted.code().as_str()), (410, "source_gone"));
}
