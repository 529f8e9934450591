//! Who can play and download the uploaded file: `PLAYBACK`, on the watch page, at `/original` and by tokens.

use e2e::keys::now_secs;
use e2e::media;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{DELIVERY_TOKEN_SECRETS, Options, Stack};
use futures::future::join_all;
use glimpse_contract::VideoId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::abuse::post_form_of;
use crate::docs::snippet::{picture_path, picture_token};

async fn get(url: &str) -> ApiResponse {
    fetch(Method::GET, url, &[]).await
}

async fn stack(playback: &str) -> Stack {
    let vars = [("PLAYBACK".to_owned(), playback.to_owned())].into();
    Stack::start(Options { vars, ..Options::default() }).await
}

async fn upload(ann: &ApiClient, visibility: &str, clip: &[u8]) -> String {
    let more = json!({ "visibility": visibility });
    let (video, upload) = ann.create("party plan.mp4", "video/mp4", clip.len(), more).await;
    assert_eq!(ann.put(&upload, clip.to_vec()).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    video
}

/// Both forms of a valid token for the file, as the customer's own backend signs them.
fn token_urls(stack: &Stack, video: &str) -> [String; 2] {
    let (kid, secret) = DELIVERY_TOKEN_SECRETS.split(',').next().unwrap().split_once('=').unwrap();
    let until = now_secs() + 3600;
    let claims = json!({ "sub": video, "aud": "v", "exp": until });
    let path = format!("/{video}/original");
    let token = picture_token(&claims, kid, secret);
    [
        format!("{}{path}?token={token}", stack.edge),
        format!("{}{}", stack.edge, picture_path(&path, until, kid, secret)),
    ]
}

/// The status of `/original`, and the code of its problem.
fn outcome(answer: &ApiResponse) -> (u16, String) {
    let status = answer.status.as_u16();
    (status, if status == 302 { String::new() } else { answer.code() })
}

async fn check_policy(playback: &str, refused_token: Option<&str>, is_open: bool) {
    let stack = stack(playback).await;
    let (ann, bob) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "bob"));
    let clip = media::clip(2, "320x240");
    for visibility in ["public", "signed"] {
        let video = upload(&ann, visibility, &clip).await;
        let what = format!("{playback}, {visibility}");
        let is_open = is_open && visibility == "public";
        let original = format!("/{video}/original");
        let url = format!("{}{original}", stack.edge);

        let found = |status: u16, code: &str| (status, code.to_owned());
        let open_or = |closed: (u16, String)| if is_open { found(302, "") } else { closed };
        assert_eq!(outcome(&ann.get(&original).await), found(302, ""), "{what}: the owner");
        assert_eq!(
            outcome(&bob.get(&original).await),
            open_or(found(404, "not_found")),
            "{what}: another user"
        );
        let anonymous = get(&url).await;
        assert_eq!(outcome(&anonymous), open_or(found(401, "unauthorized")), "{what}: anonymous");
        let head = fetch(Method::HEAD, &url, &[]).await;
        assert_eq!(head.status, anonymous.status, "{what}: HEAD");
        let by_token = refused_token.map_or(found(302, ""), |code| found(403, code));
        for url in token_urls(&stack, &video) {
            assert_eq!(outcome(&get(&url).await), by_token, "{what}: a token");
        }
        if is_open {
            check_redirect(&anonymous, &clip).await;
            let with_parameter = get(&format!("{url}?inline=1")).await;
            assert_eq!(outcome(&with_parameter), found(400, "bad_parameter"));
        }

        let body = json!({ "types": ["original"] });
        let issued = ann.call(Method::POST, &format!("/api/videos/{video}/tokens"), Some(body)).await;
        match refused_token {
            Some(_) => {
                assert_eq!(outcome(&issued), found(400, "bad_parameter"), "{what}");
                assert!(issued.json()["detail"].as_str().unwrap().contains("PLAYBACK"), "{}", issued.json());
            }
            None => assert_eq!(issued.status, 201, "{what}"),
        }
        let images = ann.call(Method::POST, &format!("/api/videos/{video}/tokens"), Some(json!({}))).await;
        assert_eq!(images.status, 201, "{what}: tokens for images");
        check_watch_page(&stack, &ann, &video, is_open, &what).await;
    }
    check_other_sources(&stack, &ann, is_open).await;
}

/// The redirect gives the file, for a short time.
async fn check_redirect(answer: &ApiResponse, clip: &[u8]) {
    let location = answer.header("location");
    assert!(location.contains("X-Amz-Expires=300&"), "{location}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let file = get(location).await;
    assert_eq!(file.body, clip);
    assert!(file.header("content-disposition").starts_with("attachment"), "never shown as a page");
    let part = fetch(Method::GET, location, &[("range", "bytes=0-99")]).await;
    assert_eq!((part.status.as_u16(), part.body.len()), (206, 100), "players seek");
}

/// The owner can always play the file on its page, other viewers if it is open.
async fn check_watch_page(stack: &Stack, ann: &ApiClient, video: &str, is_open: bool, what: &str) {
    let plays = format!("data-original=\"/{video}/original\"");
    let endpoint = &stack.cloud.addresses().s3_endpoint;
    let can_play = |page: &ApiResponse| {
        let html = String::from_utf8(page.body.clone()).unwrap();
        let has_bucket = page.header("content-security-policy").contains(endpoint);
        assert_eq!(html.contains(&plays), has_bucket, "{what}: the policy fits the page");
        has_bucket
    };
    let page = format!("/{video}");
    assert!(can_play(&ann.get(&page).await), "{what}: the owner's page");
    for view in ["first view", "view from the cache"] {
        let answer = get(&format!("{}{page}", stack.edge)).await;
        let html = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(can_play(&answer), is_open, "{what}: {view}");
        assert!(!html.contains("party plan"), "{what}: only the owner sees the file's name");
    }
}

/// Only a ready video's own file is open: no rejected file, no replaced file, and no file of a deleted video.
async fn check_other_sources(stack: &Stack, ann: &ApiClient, is_open: bool) {
    let original = |video: &str| format!("{}/{video}/original", stack.edge);
    let notes = ann.upload("notes.mp4", "video/mp4", b"Dear diary.\n".to_vec()).await;
    assert_eq!(ann.wait_for_outcome(&notes).await["state"], "rejected");
    assert_eq!(get(&original(&notes)).await.status, 401, "a rejected file");
    let unknown = VideoId::new(now_secs() * 1000, [7; 10]).to_string();
    assert_eq!(get(&original(&unknown)).await.status, 401, "an unknown video, like a private one");
    if !is_open {
        return;
    }
    let (url, fields) = post_form_of(ann).await;
    let clip = media::clip(2, "320x240");
    assert_eq!(ann.post_form(&url, &fields, clip).await.status, 201);
    let key = &fields.iter().find(|(name, _)| name == "key").unwrap().1;
    let video = key.rsplit('/').next().unwrap().to_owned();
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    assert_eq!(get(&original(&video)).await.status, 302, "the control");
    assert_eq!(ann.post_form(&url, &fields, media::clip(3, "160x120")).await.status, 201);
    assert_eq!(outcome(&get(&original(&video)).await), (409, "superseded".to_owned()));
    assert_eq!(ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await.status, 200);
    assert_eq!(outcome(&get(&original(&video)).await), (410, "deleted".to_owned()));
}

#[tokio::test]
async fn owner_playback_is_for_the_owner_only() {
    check_policy("owner", Some("token_refused"), false).await;
}

#[tokio::test]
async fn token_playback_needs_a_token() {
    check_policy("token", None, false).await;
    check_policy("", None, false).await;
}

#[tokio::test]
async fn public_playback_opens_public_videos_only() {
    check_policy("public", None, true).await;
}

#[tokio::test]
async fn public_playback_is_limited_per_address() {
    let vars = [("PLAYBACK".to_owned(), "public".to_owned())].into();
    let stack = Stack::start(Options { vars, no_function: true, ..Options::default() }).await;
    let url = format!("{}/{}/original", stack.edge, VideoId::new(1, [1; 10]));
    let ask = |address: &'static str| fetch_from(&url, address);
    for round in 0.. {
        assert!(round < 20, "no request was rate limited");
        let answers = join_all((0..200).map(|_| ask("203.0.113.7"))).await;
        assert!(answers.iter().all(|(status, _)| matches!(status, 401 | 429)), "{answers:?}");
        let (stranger, _) = ask("203.0.113.8").await;
        assert_eq!(stranger, 401, "other clients are not limited");
        if let Some((_, body)) = answers.iter().find(|(status, _)| *status == 429) {
            assert_eq!(body["code"], "busy");
            return;
        }
    }
}

async fn fetch_from(url: &str, address: &str) -> (u16, Value) {
    let answer = fetch(Method::GET, url, &[("cf-connecting-ip", address)]).await;
    (answer.status.as_u16(), answer.json())
}
