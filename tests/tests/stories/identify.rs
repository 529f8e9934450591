//! Only a proof that holds opens the API: bearer tokens of a key set, and a deployment that is configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use e2e::keys::{self, claims};
use e2e::person::{self, Answer, Person, fetch};
use e2e::stack::{APP_ORIGIN, Options, SESSION_SECRET, Stack};
use futures::future::join_all;
use glimpse_edge::auth::{Cookies, Oidc, Secret, Session};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

/// Rows J1 to J7 of the threat table, with tokens made by Node's own crypto.
#[tokio::test]
async fn tokens_of_a_key_set_are_judged_by_the_key_alone() {
    let minted = keys::minted();
    let jwks = minted["jwks"].to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let app = Router::new().route("/jwks", get(move || async move { jwks }));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let vars = [("JWT_JWKS_URL".to_owned(), url), ("JWT_SECRET".to_owned(), String::new())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    for (algorithm, token) in minted["good"].as_object().unwrap() {
        let answer = Person::with_token(&stack, token.as_str().unwrap()).get("/api/me").await;
        assert_eq!(answer.status, 200, "{algorithm}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["subject"], "carol");
    }
    let mut bodies = Vec::new();
    for (reason, token) in minted["bad"].as_object().unwrap() {
        let answer = Person::with_token(&stack, token.as_str().unwrap()).get("/api/me").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"), "{reason}");
        bodies.push(answer.json()["detail"].clone());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "J10: one answer for all");
}

/// Row J8 of the threat table: however many come at once to a place that has no keys yet, one fetch serves them all.
#[tokio::test]
async fn a_key_set_is_fetched_once_for_all_who_wait_for_it() {
    let minted = keys::minted();
    let jwks = minted["jwks"].to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let fetches = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetches);
    let slowly = move || async move {
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(700)).await;
        jwks
    };
    let app = Router::new().route("/jwks", get(slowly));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let vars = [("JWT_JWKS_URL".to_owned(), url), ("JWT_SECRET".to_owned(), String::new())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let carol = Person::with_token(&stack, minted["good"]["ES256"].as_str().unwrap());
    let answers = join_all((0..12).map(|_| carol.get("/api/me"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(fetches.load(Ordering::Relaxed), 1);

    // Row J2: a key that the set lacks is not asked for again so soon.
    let stranger = Person::with_token(&stack, minted["bad"]["J2 unknown kid"].as_str().unwrap());
    for answer in join_all((0..5).map(|_| stranger.get("/api/me"))).await {
        assert_eq!(answer.code(), "unauthorized");
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
}

/// Row J9 of the threat table: with a cookie alone, a page of another origin changes nothing.
#[tokio::test]
async fn a_cookie_changes_something_only_from_an_allowed_page() {
    const PROVIDER: &str = "http://localhost:1";
    let vars = [("OIDC_ISSUER".to_owned(), PROVIDER.to_owned())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let oidc = Oidc {
        issuer: PROVIDER.into(),
        client_id: "glimpse-dev".into(),
        client_secret: None,
        session_secret: Secret::new(SESSION_SECRET.as_bytes().to_vec()),
    };
    let now_ms = keys::now_secs() * 1000;
    let id_token = json!({ "iss": PROVIDER, "sub": "dora", "aud": "glimpse-dev", "exp": now_ms / 1000 + 60 });
    let session = Session::begin(claims(&id_token), &stack.edge, now_ms);
    let set = Cookies::new(false).set_session(&session, &oidc);
    let cookie = set.split(';').next().unwrap();

    let me = fetch(Method::GET, &format!("{}/api/me", stack.edge), &[("cookie", cookie)]).await;
    assert_eq!((me.status.as_u16(), &me.json()["subject"]), (200, &"dora".into()), "the control");

    let post = async |headers: &[(&str, &str)]| {
        let body = json!({ "name": "a.mp4", "size": 1, "type": "video/mp4" }).to_string();
        let mut request = person::client()
            .post(format!("{}/api/videos", stack.edge))
            .header("content-type", "application/json")
            .header("cookie", cookie)
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        (answer.status.as_u16(), answer.code())
    };
    let refused = (403, "forbidden_origin".to_owned());
    assert_eq!(post(&[]).await, refused, "no origin at all");
    assert_eq!(post(&[("origin", "https://evil.example")]).await, refused);
    assert_eq!(post(&[("origin", "null")]).await, refused);
    assert_eq!(post(&[("origin", &stack.edge)]).await, (201, String::new()));
    assert_eq!(post(&[("origin", APP_ORIGIN)]).await, (201, String::new()));

    // A cookie of another deployment, or of another secret, is nobody's.
    let foreign = Session::begin(
        claims(&json!({ "iss": PROVIDER, "sub": "eve", "aud": "x", "exp": now_ms })),
        "https://other.example",
        now_ms,
    );
    let set = Cookies::new(false).set_session(&foreign, &oidc);
    let me =
        fetch(Method::GET, &format!("{}/api/me", stack.edge), &[("cookie", set.split(';').next().unwrap())])
            .await;
    assert_eq!(me.code(), "unauthorized");
}

#[tokio::test]
async fn nobody_gets_in_without_a_proof() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    for headers in [
        &[][..],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic YTpi")],
        &[("cookie", "glimpse=e30.e30.e30")],
        &[("x-forwarded-user", "ann")],
    ] {
        for path in ["/api/me", "/api/videos", "/s3/params?filename=a&type=video/mp4"] {
            let answer = fetch(Method::GET, &format!("{}{path}", stack.edge), headers).await;
            assert_eq!(answer.code(), "unauthorized", "{path} with {headers:?}");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    }
}

#[tokio::test]
async fn a_deployment_that_is_not_configured_says_all_that_is_missing_in_its_log() {
    let vars = [("S3_REGION", ""), ("JWT_SECRET", "short"), ("MAX_UPLOAD_BYTES", "lots")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let answer = fetch(Method::GET, &format!("{}/api/me", stack.edge), &[]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "internal"));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!text.contains("S3_REGION") && text.contains("log"), "{text}");
    e2e::eventually("the log", std::time::Duration::from_secs(10), || async {
        let log = stack.lines().join("\n");
        ["S3_REGION", "JWT_SECRET", "MAX_UPLOAD_BYTES"].iter().all(|name| log.contains(name)).then_some(())
    })
    .await;
    assert!(!stack.lines().join("\n").contains("short\""), "values are not repeated");
}
