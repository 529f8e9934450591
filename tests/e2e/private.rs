//! Access to private images: by a delivery token until it expires, and by the owner's session.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use e2e::keys::{self, now_secs};
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{DELIVERY_TOKEN_SECRETS, Options, SESSION_SECRET, Stack};
use e2e::{env_path, eventually, media};
use glimpse_edge::auth::{Cookies, DeliveryKeys, Oidc, Secret, Session};
use reqwest::Method;
use serde_json::{Value, json};

use crate::docs::snippet::{picture_path, picture_token};

const PROVIDER: &str = "http://localhost:1";

async fn get(url: &str) -> ApiResponse {
    fetch(Method::GET, url, &[]).await
}

fn secret(kid: &str) -> String {
    let pair = DELIVERY_TOKEN_SECRETS.split(',').find(|pair| pair.starts_with(kid)).unwrap();
    pair.split_once('=').unwrap().1.to_owned()
}

/// A stack with a ready private video of Ann's.
async fn stack_with_private_video(vars: &[(&str, &str)]) -> (Stack, ApiClient, String) {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let stack = Stack::start(Options { vars, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(8, "640x360");
    let more = json!({ "visibility": "signed" });
    let (video, upload) = ann.create("Ski trip.mp4", "video/mp4", clip.len(), more).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    (stack, ann, video)
}

struct LinkSigner<'a> {
    edge: &'a str,
    video: &'a str,
}

impl LinkSigner<'_> {
    fn signed_url(&self, target: &str, until: u64) -> String {
        let path = picture_path(&format!("/{}/{target}", self.video), until, "new", &secret("new"));
        format!("{}{path}", self.edge)
    }

    fn token_url(&self, file: &str, aud: &str, until: u64, more: &Value) -> String {
        let mut claims = json!({ "sub": self.video, "aud": aud, "exp": until });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let token = picture_token(&claims, "new", &secret("new"));
        format!("{}/{}/{file}?token={token}", self.edge, self.video)
    }
}

#[track_caller]
fn assert_rejected(answer: &ApiResponse, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert_eq!(answer.header("access-control-allow-origin"), "*", "{what}: a player can read the reason");
}

async fn wait_for_cache_hit(url: &str) -> ApiResponse {
    eventually("a cache hit", Duration::from_secs(10), || async {
        let answer = get(url).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.header("server-timing").contains("hit").then_some(answer)
    })
    .await
}

/// The seconds for which a browser may cache a private response.
#[track_caller]
fn private_max_age_secs(answer: &ApiResponse) -> u64 {
    let control = answer.header("cache-control");
    let secs = control.strip_prefix("private, max-age=").unwrap_or_else(|| panic!("{control}"));
    secs.parse().unwrap()
}

/// Rows D1, D2, D7 and J10 of docs/threat-model.md, in both forms of tokens.
#[tokio::test]
async fn token_is_bound_to_its_picture() {
    let (stack, _ann, video) = stack_with_private_video(&[]).await;
    let signer = LinkSigner { edge: &stack.edge, video: &video };
    let until = now_secs() + 3600;
    let bare = format!("{}/{video}/thumbnail.jpg", stack.edge);
    assert_rejected(&get(&bare).await, 401, "unauthorized", "no token");

    let short = signer.signed_url("thumbnail.jpg", until);
    let jwt = signer.token_url("thumbnail.jpg", "t", until, &json!({}));
    let first = get(&short).await;
    assert_eq!((first.status.as_u16(), first.header("content-type")), (200, "image/jpeg"));
    for url in [&short, &jwt] {
        let answer = wait_for_cache_hit(url).await;
        assert_eq!(answer.body, first.body, "one cache entry for both forms: {url}");
        assert_eq!(private_max_age_secs(&answer), 300, "no longer than a public image");
    }
    let unchanged = fetch(Method::GET, &short, &[("if-none-match", first.header("etag"))]).await;
    assert_eq!(unchanged.status, 304);
    assert!(unchanged.header("cache-control").starts_with("private, "));
    let part = fetch(Method::GET, &jwt, &[("range", "bytes=0-1")]).await;
    assert_eq!((part.status.as_u16(), part.body.len()), (206, 2));
    assert!(part.header("cache-control").starts_with("private, "));

    // The image is now in the cache, which gives access to no one.
    assert_rejected(&get(&bare).await, 401, "unauthorized", "no token, cached");
    assert_rejected(&get(&format!("{bare}?v=01234567")).await, 401, "unauthorized", "no token, cached");

    let query = short.split_once('?').unwrap().1;
    let token = jwt.split_once("?token=").unwrap().1;
    let edge = &stack.edge;
    let (mut words, mut reasons) = (Vec::new(), BTreeMap::new());
    for (what, url) in [
        ("a storyboard", format!("{edge}/{video}/storyboard.jpg?{query}")),
        ("an animation", format!("{edge}/{video}/animated.gif?{query}")),
        ("another second", format!("{bare}?time=1&{query}")),
        ("another size", format!("{bare}?width=320&{query}")),
        ("another format", format!("{edge}/{video}/thumbnail.png?{query}")),
        ("another end", format!("{bare}?{}", query.replace("expires=", "expires=1"))),
        ("another key", format!("{bare}?{}", query.replace("kid=new", "kid=old"))),
        ("an unknown key", format!("{bare}?{}", query.replace("kid=new", "kid=x"))),
        ("cut", bare.clone() + "?" + &query[..query.len() - 1]),
        ("a storyboard by JWT", format!("{edge}/{video}/storyboard.vtt?token={token}")),
        ("an animation by JWT", format!("{edge}/{video}/animated.webp?token={token}")),
        ("a truncated JWT", format!("{bare}?token={}", &token[..token.len() - 1])),
        ("no JWT", format!("{bare}?token=x")),
        ("J1: a JWT without algorithm", format!("{bare}?token=eyJhbGciOiJub25lIn0.e30.")),
        ("D2: over", signer.signed_url("thumbnail.jpg", now_secs() - 61)),
        ("D2: an expired JWT", signer.token_url("thumbnail.jpg", "t", now_secs() - 61, &json!({}))),
        ("J5: too long", signer.signed_url("thumbnail.jpg", now_secs() + 400 * 86_400)),
        (
            "another video",
            signer.token_url("thumbnail.jpg", "t", until, &json!({ "sub": "7zzzzzzzzz0123456789abcdef" })),
        ),
    ] {
        let answer = get(&url).await;
        assert_rejected(&answer, 403, "token_refused", what);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        // The error for a valid signature names the reason.
        let mut known = ["it has expired", "valid for too long", "another video", "another kind"].into_iter();
        match known.find(|reason| detail.contains(reason)) {
            Some(reason) => assert_eq!(reasons.insert(what, reason), None),
            None => words.push(detail),
        }
        check_rejection_is_logged(&stack, &answer).await;
    }
    words.dedup();
    assert_eq!(words.len(), 1, "J10: one response for all invalid signatures");
    let expected = [
        ("D2: an expired JWT", "it has expired"),
        ("D2: over", "it has expired"),
        ("J5: too long", "valid for too long"),
        ("a storyboard by JWT", "another kind"),
        ("an animation by JWT", "another kind"),
        ("another video", "another video"),
    ];
    assert_eq!(reasons, BTreeMap::from(expected));
    check_signatures_over_sent_url(&stack, &video).await;

    for (what, url) in [
        ("parameters beside a JWT", format!("{jwt}&time=1")),
        ("two JWTs", format!("{jwt}&token=x")),
        ("half a signature", format!("{bare}?expires={until}")),
        (
            "a claim that is not a parameter",
            signer.token_url("thumbnail.jpg", "t", until, &json!({ "colour": "red" })),
        ),
    ] {
        assert_eq!(get(&url).await.code(), "bad_parameter", "{what}");
    }

    // Rendered on demand for a valid token, with the parameters as claims or in the URL.
    let rendered =
        get(&signer.token_url("thumbnail.jpg", "t", until, &json!({ "time": 1.5, "width": "200" }))).await;
    assert_eq!(rendered.status, 200, "{}", String::from_utf8_lossy(&rendered.body));
    assert!((301..=3600).contains(&private_max_age_secs(&rendered)), "no longer than the token is valid");
    let same = wait_for_cache_hit(&signer.signed_url("thumbnail.jpg?time=1.5&width=200", until)).await;
    assert_eq!(same.body, rendered.body);
    let on_demand = get(&format!("{bare}?time=2")).await;
    assert_rejected(&on_demand, 401, "unauthorized", "nothing is rendered without a token");
}

/// The log contains the reason for a rejected token, with the request id and without the token.
async fn check_rejection_is_logged(stack: &Stack, answer: &ApiResponse) {
    let id = answer.header("x-request-id");
    let line = eventually("the log line", Duration::from_secs(10), || async {
        stack.lines().into_iter().find(|line| line.contains(id))
    })
    .await;
    assert!(line.contains("delivery_token") && !line.contains("sig=") && !line.contains("eyJ"), "{line}");
}

/// A backend that does not know the canonical form signs the URL that it sends.
async fn check_signatures_over_sent_url(stack: &Stack, video: &str) {
    let signer = LinkSigner { edge: &stack.edge, video };
    let until = now_secs() + 600;
    for target in [
        "thumbnail.jpg?width=320&time=1",
        "thumbnail.jpg?time=1.0&width=640",
        "thumbnail.jpg?width=640",
        "thumbnail.jpg?fit_mode=preserve&rotate=90&time=1",
        "animated.gif?fps=15",
        "thumbnails/thumbnail.jpg?width=320&time=1s",
        "thumbnail?width=320&time=1",
        "storyboard.vtt?format=jpg",
    ] {
        let url = signer.signed_url(target, until);
        let answer = get(&url).await;
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        let with_revision = get(&format!("{url}&v=01234567")).await;
        assert_eq!(with_revision.status, 200, "{target} with a revision");
        let changed = url.replace(target, &format!("{target}&flip_h=true"));
        if target.starts_with("thumbnail.jpg?") {
            assert_rejected(&get(&changed).await, 403, "token_refused", &changed);
        }
    }
    // The same parameters in canonical order: a signature over the canonical form is valid for that order only.
    let url = signer.signed_url("thumbnail.jpg?width=320&time=1", until);
    let swapped = url.replace("width=320&time=1", "time=1&width=320");
    assert_rejected(&get(&swapped).await, 403, "token_refused", "another order than the signed one");
}

/// Row D2: a cached image is no longer served once its token has expired. Tokens have a minute of leeway, so one that
/// expired 57 seconds ago has a few seconds left.
#[tokio::test]
async fn cached_picture_expires_with_its_token() {
    let (stack, _ann, video) = stack_with_private_video(&[]).await;
    let signer = LinkSigner { edge: &stack.edge, video: &video };
    let lasting = signer.signed_url("thumbnail.webp", now_secs() + 600);
    wait_for_cache_hit(&lasting).await;
    let ending = now_secs() - 57;
    let urls = [
        signer.signed_url("thumbnail.webp", ending),
        signer.token_url("thumbnail.webp", "t", ending, &json!({})),
    ];
    let answer = get(&urls[0]).await;
    assert_eq!((answer.status.as_u16(), private_max_age_secs(&answer)), (200, 0), "the control");
    for url in urls {
        let end = eventually("the token's expiry", Duration::from_secs(20), || async {
            let answer = get(&url).await;
            let is_over = now_secs() >= ending + 61;
            assert!(!is_over || answer.status == 403, "{} after its expiry", answer.status);
            (answer.status != 200).then_some(answer)
        })
        .await;
        assert_rejected(&end, 403, "token_refused", "over");
    }
    assert!(get(&lasting).await.header("server-timing").contains("hit"), "it is still in the cache");
}

/// A player gets one URL: the table refers to its sheet with the token that it was requested with.
#[tokio::test]
async fn one_token_covers_table_and_sheet() {
    let (stack, _ann, video) = stack_with_private_video(&[]).await;
    let signer = LinkSigner { edge: &stack.edge, video: &video };
    let until = now_secs() + 600;
    // As Mux's player requests it: the format is a parameter next to the token.
    let with_format = signer.token_url("storyboard.vtt", "s", until, &json!({})) + "&format=webp";
    let more = format!("{with_format}&width=9");
    assert_eq!(get(&more).await.code(), "bad_parameter", "no other parameter is allowed");
    for table in [
        signer.signed_url("storyboard.vtt", until),
        signer.signed_url("storyboard.json", until),
        signer.token_url("storyboard.vtt", "s", until, &json!({})),
        signer.token_url("storyboard.json", "s", until, &json!({ "format": "webp" })),
        signer.signed_url("storyboard.vtt?format=webp", until),
        signer.signed_url("storyboard.m3u8", until),
        signer.signed_url("storyboard.m3u8?tiles=9&width=160", until),
        signer.token_url("storyboard.m3u8", "s", until, &json!({ "tiles": 9, "format": "webp" })),
        signer.token_url("storyboard.json", "s", until, &json!({ "interval": 1.5 })),
        with_format,
    ] {
        let first = get(&table).await;
        let again = wait_for_cache_hit(&table).await;
        assert_eq!(first.body, again.body);
        let text = String::from_utf8(again.body.clone()).unwrap();
        let (file, kind) = if table.contains("format=webp") || text.contains(".webp?") {
            ("storyboard.webp?", "image/webp")
        } else {
            ("storyboard.jpg?", "image/jpeg")
        };
        let from = text.find(file).unwrap_or_else(|| panic!("{text}"));
        let sheet = text[from..].split(['#', '"', '\n']).next().unwrap();
        let answer = get(&format!("{}/{video}/{sheet}", stack.edge)).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, kind), "{sheet}");
        if table.contains("storyboard.json") {
            let json: Value = serde_json::from_slice(&again.body).unwrap();
            let absolute = format!("{}/{video}/{sheet}", stack.edge);
            assert_eq!(json["url"], absolute);
        }
        let part = fetch(Method::GET, &table, &[("range", "bytes=-5")]).await;
        assert_eq!(part.body, &again.body[again.body.len() - 5..], "a range of the served bytes");
    }
}

/// Owners see their videos with a cookie or a bearer token; other signed-in users do not.
#[tokio::test]
async fn owner_needs_no_token() {
    let (stack, ann, video) = stack_with_private_video(&[("OIDC_ISSUER", PROVIDER)]).await;
    let video_json = ann.get(&format!("/api/videos/{video}")).await.json();
    assert_eq!(video_json["visibility"], "signed");
    let path = format!("/{video}/thumbnail.jpg");
    let bearer = ann.get(&path).await;
    assert_eq!((bearer.status.as_u16(), bearer.header("cache-control")), (200, "private, no-cache"));
    assert_eq!(bearer.header("access-control-allow-origin"), "");
    assert_eq!(bearer.header("cross-origin-resource-policy"), "same-site");
    assert_eq!(ApiClient::new(&stack, "bob").get(&path).await.code(), "unauthorized");

    // A browser session, with a video of the same account.
    let oidc = Oidc {
        issuer: PROVIDER.into(),
        client_id: "glimpse-dev".into(),
        client_secret: None,
        session_secret: Secret::new(SESSION_SECRET.as_bytes().to_vec()),
    };
    let now_ms = now_secs() * 1000;
    let cookie = |subject: &str| {
        let id_token =
            json!({ "iss": PROVIDER, "sub": subject, "aud": "glimpse-dev", "exp": now_ms / 1000 + 60 });
        let session = Session::new(keys::claims(&id_token), &stack.edge, now_ms);
        Cookies::new(false).set_session(&session, &oidc).split(';').next().unwrap().to_owned()
    };
    let dora = cookie("dora");
    let clip = media::clip(3, "320x180");
    let sent = upload_with_cookie(&stack, &dora, clip).await;
    let url = format!("{}/{sent}/thumbnail.jpg", stack.edge);
    let picture = eventually("the image", Duration::from_secs(90), || async {
        let answer = fetch(Method::GET, &url, &[("cookie", &dora)]).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(picture.header("cache-control"), "private, no-cache");
    let etag = picture.header("etag");
    let unchanged = fetch(Method::GET, &url, &[("cookie", &dora), ("if-none-match", etag)]).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.header("cache-control")), (304, "private, no-cache"));
    for (who, headers) in [("no session", vec![]), ("another user", vec![("cookie", cookie("eve"))])] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_rejected(&fetch(Method::GET, &url, &headers).await, 401, "unauthorized", who);
    }
}

/// The page, `meta.json` and oEmbed of a private video: only the owner learns its name and sees its images; other
/// callers do not, with or without a token. Rows D2 and D7 of docs/threat-model.md.
#[tokio::test]
async fn page_and_meta_are_visible_to_owner_only() {
    let stack = Stack::start(Options::default()).await;
    let (ann, bob) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "bob"));
    let clip = media::clip(3, "320x180");
    let more = json!({ "visibility": "signed", "metadata": { "title": "Surprise party" } });
    let (video, upload) = ann.create("party plan.mp4", "video/mp4", clip.len(), more.clone()).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let (page, meta) = (format!("/{video}"), format!("/{video}/meta.json"));
    let oembed = format!("/oembed?url={}{page}", stack.edge);

    // The owner requests it first, so that a response that must not be cached could have been.
    let owner_page = ann.get(&page).await;
    let html = String::from_utf8(owner_page.body.clone()).unwrap();
    assert!(owner_page.status == 200 && html.contains("party plan.mp4"), "{}", owner_page.status);
    assert!(owner_page.header("content-security-policy").contains("frame-ancestors 'none'"));
    let facts = ann.get(&meta).await;
    assert_eq!((facts.status.as_u16(), &facts.json()["title"]), (200, &json!("Surprise party")));
    for answer in [&owner_page, &facts] {
        assert_eq!(answer.header("cache-control"), "private, no-store");
        assert_eq!(answer.header("access-control-allow-origin"), "", "pages of other origins cannot read it");
    }

    let signer = LinkSigner { edge: &stack.edge, video: &video };
    let until = now_secs() + 600;
    let valid_url = signer.token_url("thumbnail.jpg", "t", until, &json!({}));
    assert_eq!(get(&valid_url).await.status, 200, "control: this token is valid for an image");
    let token = valid_url.split_once('?').unwrap().1;
    let by_hmac = |target: &str| picture_path(target, until, "new", &secret("new"));
    let variants = [
        (page.clone(), ""),
        (format!("{page}?{token}"), ""),
        (by_hmac(&page), ""),
        (meta.clone(), ""),
        (format!("{meta}?{token}"), ""),
        (by_hmac(&meta), ""),
        (oembed.clone(), ""),
        (format!("{oembed}&{token}"), ""),
        (page.clone(), owner_page.header("etag")),
        (meta.clone(), facts.header("etag")),
    ];
    for (path, etag) in &variants {
        let headers = [("if-none-match", *etag)];
        let headers = if etag.is_empty() { &[][..] } else { &headers[..] };
        let answer = fetch(Method::GET, &format!("{}{path}", stack.edge), headers).await;
        assert_reveals_nothing(&answer, path);
    }
    for path in [&page, &meta, &oembed] {
        assert_reveals_nothing(&bob.get(path).await, path);
    }
    assert_reveals_nothing(&ann.get(&oembed).await, "a private video cannot be embedded");

    // Other callers do not learn the outcome either.
    let notes = b"Dear diary.\n".to_vec();
    let (refused, upload) = ann.create("notes.mp4", "video/mp4", notes.len(), more).await;
    assert_eq!(ann.put(&upload, notes).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&refused).await["state"], "rejected");
    for (video, status) in [(&refused, 422), (&video, 410)] {
        if status == 410 {
            assert_eq!(ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await.status, 200);
        }
        for path in [format!("/{video}"), format!("/{video}/meta.json")] {
            let answer = ann.get(&path).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("cache-control")),
                (status, "no-store"),
                "{path}"
            );
            assert_reveals_nothing(&get(&format!("{}{path}", stack.edge)).await, &path);
        }
    }
}

/// Asserts a 401 that reveals nothing about the video but its id.
#[track_caller]
fn assert_reveals_nothing(answer: &ApiResponse, what: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (401, "no-store"), "{what}");
    assert_eq!((answer.header("etag"), answer.header("www-authenticate")), ("", "Bearer"), "{what}");
    let text = String::from_utf8_lossy(&answer.body);
    for hidden in ["party", "Surprise", "thumb", "og:", "sig=", "not_a_video", "deleted"] {
        assert!(!text.contains(hidden), "{what}: {hidden} in {text}");
    }
}

/// Uploads a private video in one request, with this session cookie.
async fn upload_with_cookie(stack: &Stack, cookie: &str, clip: Vec<u8>) -> String {
    let form = reqwest::multipart::Form::new().text("visibility", "signed").part(
        "file",
        reqwest::multipart::Part::bytes(clip).file_name("a.mp4").mime_str("video/mp4").unwrap(),
    );
    let request = e2e::person::http_client()
        .post(format!("{}/api/videos", stack.edge))
        .header("cookie", cookie)
        .header("origin", &stack.edge)
        .multipart(form);
    let answer = ApiResponse::from_response(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["video"]["id"].as_str().unwrap().to_owned()
}

/// Links in a listing, and tokens in both forms, are valid for exactly what the API states.
#[tokio::test]
async fn api_issues_links_and_tokens_for_owner() {
    let (stack, ann, video) = stack_with_private_video(&[]).await;
    let video_json = ann.get(&format!("/api/videos/{video}")).await.json();
    for (file, url) in video_json["urls"].as_object().unwrap() {
        let url = url.as_str().unwrap();
        assert!(url.contains("sig=") && url.contains("v="), "{url}");
        assert_eq!(get(url).await.status, 200, "{file}");
    }
    let path = format!("/api/videos/{video}/tokens");
    let ask = async |body: Value| ann.call(Method::POST, &path, Some(body)).await;
    let all = ask(json!({ "expires_in": 600 })).await;
    assert_eq!(all.status, 201, "{}", String::from_utf8_lossy(&all.body));
    let mut url_count = 0;
    for token in all.json()["tokens"].as_array().unwrap() {
        for (file, links) in token["urls"].as_object().unwrap() {
            for form in ["token", "short"] {
                let answer = get(links[form].as_str().unwrap()).await;
                assert_eq!(answer.status, 200, "{file} {form}: {}", String::from_utf8_lossy(&answer.body));
                assert!(private_max_age_secs(&answer) <= 600);
                url_count += 1;
            }
        }
    }
    assert_eq!(url_count, 24, "four thumbnails, three animations, five storyboard files, in two forms");
    let one =
        ask(json!({ "types": ["animated"], "parameters": { "start": 1, "end": 2, "width": 160 } })).await;
    let links = one.json()["tokens"][0]["urls"]["animated.gif"].clone();
    let gif = get(links["short"].as_str().unwrap()).await;
    assert!(gif.body.starts_with(b"GIF89a"), "{}", gif.status);
    assert_eq!(get(links["token"].as_str().unwrap()).await.body, gif.body);

    assert_eq!(ask(json!({ "parameters": { "time": 1 } })).await.code(), "bad_parameter");
    let bob = ApiClient::new(&stack, "bob").call(Method::POST, &path, None).await;
    assert_eq!((bob.status.as_u16(), bob.code().as_str()), (404, "not_found"), "bob is not the owner");
    assert_eq!(fetch(Method::POST, &format!("{}{path}", stack.edge), &[]).await.code(), "unauthorized");
}

/// The first code block in this language after this heading of docs/private-videos.md.
fn docs_snippet(heading: &str, language: &str) -> String {
    let docs = std::fs::read_to_string(env_path("GLIMPSE_ROOT").join("docs/private-videos.md")).unwrap();
    let section = docs.split_once(heading).unwrap().1;
    let block = section.split_once(&format!("```{language}\n")).unwrap().1;
    block.split_once("```").unwrap().0.to_owned()
}

fn run(program: &str, args: &[&str]) -> Vec<String> {
    let output = Command::new(env_path(program)).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn docs_contain_the_rust_signing_code() {
    let file = include_str!("docs/snippet.rs");
    assert_eq!(file.split_once("\n\n").unwrap().1, docs_snippet("### Rust", "rust"));
}

/// The snippets of docs/private-videos.md, verbatim, against the Worker; and a signing key in Mux's format.
#[tokio::test]
async fn docs_signing_snippets_work() {
    let pair = run("GLIMPSE_NODE", &["-e", KEY_PAIR_SCRIPT]);
    let jwks = run(
        "GLIMPSE_NODE",
        &["--input-type=module", "-e", &docs_snippet("### With a signing key", "js"), "-", &pair[0], "mux"],
    );
    let (stack, _ann, video) = stack_with_private_video(&[("DELIVERY_TOKEN_JWKS", &jwks[0])]).await;
    let secret = secret("old");

    let node = docs_snippet("### Node", "js")
        + "const [origin, video, secret] = process.argv.slice(1);
           console.log(pictureUrl(origin, video, 'thumbnail.jpg', { time: 1, width: 320 }, 600, 'old', secret));
           console.log(pictureUrl(origin, video, 'storyboard.vtt', {}, 600, 'old', secret));
           console.log(pictureUrl(origin, video, 'thumbnail.jpg', { width: 320, time: 1 }, 600, 'old', secret));
           console.log(pictureUrl(origin, video, 'thumbnail.jpg', { width: 640, flip_v: false }, 600, 'old', secret));
           const token = pictureToken(video, 't', { time: 1, width: 320 }, 600, 'old', secret);
           console.log(`${origin}/${video}/thumbnail.jpg?token=${token}`);";
    let python = docs_snippet("### Python", "python")
        + "
import sys
origin, video, secret = sys.argv[1:]
print(picture_url(origin, video, 'thumbnail.jpg', {'time': 1, 'width': 320}, 600, 'old', secret))
print(picture_url(origin, video, 'storyboard.vtt', {}, 600, 'old', secret))
print(picture_url(origin, video, 'thumbnail.jpg', {'width': 320, 'time': 1.0}, 600, 'old', secret))
print(picture_url(origin, video, 'thumbnail.jpg', {'width': 640}, 600, 'old', secret))
token = picture_token(video, 't', {'time': 1, 'width': 320}, 600, 'old', secret)
print(f'{origin}/{video}/thumbnail.jpg?token={token}')
";
    let args = [stack.edge.as_str(), &video, &secret];
    let by_node = run("GLIMPSE_NODE", &[&["--input-type=module", "-e", &node], &args[..]].concat());
    let by_python = run("GLIMPSE_PYTHON", &[&["-c", &python], &args[..]].concat());
    let signer = LinkSigner { edge: &stack.edge, video: &video };
    let by_rust = [
        signer.signed_url("thumbnail.jpg?time=1&width=320", now_secs() + 600),
        signer.token_url("thumbnail.jpg", "t", now_secs() + 600, &json!({ "time": 1, "width": 320 })),
    ];
    let by_mux = run("GLIMPSE_NODE", &["-e", MUX_TOKEN_SCRIPT, &pair[0], &stack.edge, &video]);
    let urls: Vec<_> = by_node.iter().chain(&by_python).chain(&by_rust).chain(&by_mux).collect();
    assert_eq!(urls.len(), 13);
    for url in urls {
        let answer = get(url).await;
        assert_eq!(answer.status, 200, "{url}: {}", String::from_utf8_lossy(&answer.body));
        let changed =
            if url.contains("token=") { url.replace("thumbnail.", "animated.") } else { url.clone() + "A" };
        assert_ne!(get(&changed).await.status, 200, "{changed}");
    }
}

/// A private key in Mux's format: base64 of a PEM.
const KEY_PAIR_SCRIPT: &str = "const { generateKeyPairSync } = require('node:crypto');
    const pem = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'pem', type: 'pkcs1' });
    console.log(Buffer.from(pem).toString('base64'));";

/// A token as Mux's clients create it: RS256, `kid` in the header, no `iat`, parameters as claims.
const MUX_TOKEN_SCRIPT: &str = "const { createPrivateKey, sign } = require('node:crypto');
    const [key, origin, video] = process.argv.slice(1);
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = { time: '1', width: 320, sub: video, aud: 't', exp: Math.floor(Date.now() / 1000) + 600 };
    const signed = part({ alg: 'RS256', typ: 'JWT', kid: 'mux' }) + '.' + part(claims);
    const signature = sign('sha256', Buffer.from(signed), createPrivateKey(Buffer.from(key, 'base64')));
    console.log(`${origin}/${video}/thumbnail.jpg?token=${signed}.${signature.toString('base64url')}`);";

/// Rows J1 to J4 and D9 for tokens with configured public keys, verified by WebCrypto.
#[tokio::test]
async fn delivery_tokens_verify_with_public_keys() {
    let token_response = &keys::generate_tokens()["delivery"];
    let jwks = token_response["jwks"].to_string();
    let vars =
        [("DELIVERY_TOKEN_JWKS".to_owned(), jwks), ("DELIVERY_TOKEN_SECRETS".to_owned(), String::new())];
    let stack = Stack::start(Options { no_function: true, vars: vars.into(), ..Options::default() }).await;
    let video = token_response["video"].as_str().unwrap();
    let ask = async |token: &str| get(&format!("{}/{video}/thumbnail.jpg?token={token}", stack.edge)).await;
    for (algorithm, token) in token_response["good"].as_object().unwrap() {
        // There is no such video, which only an authorized caller learns.
        assert_eq!(ask(token.as_str().unwrap()).await.code(), "not_found", "{algorithm}");
    }
    for (why, token) in token_response["bad"].as_object().unwrap() {
        assert_rejected(&ask(token.as_str().unwrap()).await, 403, "token_refused", why);
    }
    let secret = DeliveryKeys {
        secrets: vec![("new".into(), Secret::new(secret("new").into_bytes()))],
        public: Vec::new(),
    };
    let link = secret.sign_url(&format!("/{video}/thumbnail.jpg"), now_secs() + 600).unwrap();
    let answer = get(&format!("{}{link}", stack.edge)).await;
    assert_rejected(&answer, 403, "token_refused", "D9: a removed secret");
}

/// Without a visibility in the request, the deployment's default applies; a public video stays public whatever
/// parameters its URL has.
#[tokio::test]
async fn default_visibility_applies_when_unset() {
    let vars = [("DEFAULT_VISIBILITY".to_owned(), "signed".to_owned())].into();
    let stack = Stack::start(Options { vars, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(3, "320x180");
    let unset = ann.upload("a.mp4", "video/mp4", clip.clone()).await;
    let (public, upload) =
        ann.create("b.mp4", "video/mp4", clip.len(), json!({ "visibility": "public" })).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&unset).await["visibility"], "signed");
    assert_eq!(ann.wait_for_outcome(&public).await["visibility"], "public");
    let url = |video: &str| format!("{}/{video}/thumbnail.jpg", stack.edge);
    assert_eq!(get(&url(&unset)).await.status, 401);
    let open = get(&url(&public)).await;
    assert_eq!(open.status, 200);
    assert!(open.header("cache-control").starts_with("public, "), "{}", open.header("cache-control"));
    let page = get(&format!("{}/{public}?token=x&sig=y", stack.edge)).await;
    assert_eq!(page.status, 200, "parameters that a site appends to a page's link are ignored");
    let with_token =
        LinkSigner { edge: &stack.edge, video: &public }.signed_url("thumbnail.jpg", now_secs() + 600);
    assert_eq!(wait_for_cache_hit(&with_token).await.header("cache-control"), open.header("cache-control"));
}
