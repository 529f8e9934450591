//! Only a proof that holds opens the API: bearer tokens of a key set, and a deployment that is configured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use e2e::keys::{self, claims};
use e2e::person::{self, ApiClient, ApiResponse, fetch};
use e2e::stack::{APP_ORIGIN, Options, SESSION_SECRET, Stack};
use futures::future::join_all;
use glimpse_edge::auth::{Cookies, Oidc, Secret, Session};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

/// Rows J1 to J7 of the threat table, with tokens made by Node's own crypto.
#[tokio::test]
async fn jwks_tokens_are_verified_by_their_key() {
    let token_response = keys::generate_tokens();
    let jwks = token_response["jwks"].to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let app = Router::new().route("/jwks", get(move || async move { jwks }));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let vars = [("JWT_JWKS_URL".to_owned(), url), ("JWT_SECRET".to_owned(), String::new())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    for (algorithm, token) in token_response["good"].as_object().unwrap() {
        let answer = ApiClient::with_token(&stack, token.as_str().unwrap()).get("/api/me").await;
        assert_eq!(answer.status, 200, "{algorithm}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["subject"], "carol");
    }
    let mut bodies = Vec::new();
    for (reason, token) in token_response["bad"].as_object().unwrap() {
        let answer = ApiClient::with_token(&stack, token.as_str().unwrap()).get("/api/me").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"), "{reason}");
        bodies.push(answer.json()["detail"].clone());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "J10: one answer for all");
}

/// Row J8 of the threat table: however many come at once to a place that has no keys yet, one fetch serves them all.
#[tokio::test]
async fn concurrent_requests_fetch_the_key_set_once() {
    let token_response = keys::generate_tokens();
    let jwks = token_response["jwks"].to_string();
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
    let carol = ApiClient::with_token(&stack, token_response["good"]["ES256"].as_str().unwrap());
    let answers = join_all((0..12).map(|_| carol.get("/api/me"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(fetches.load(Ordering::Relaxed), 1);

    // Row J2: a key that the set lacks is not asked for again so soon.
    let stranger = ApiClient::with_token(&stack, token_response["bad"]["J2 unknown kid"].as_str().unwrap());
    for answer in join_all((0..5).map(|_| stranger.get("/api/me"))).await {
        assert_eq!(answer.code(), "unauthorized");
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
}

/// Row J9 of the threat table: with a cookie alone, a page of another origin changes nothing.
#[tokio::test]
async fn cookie_writes_require_an_allowed_origin() {
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
    let session = Session::new(claims(&id_token), &stack.edge, now_ms);
    let set = Cookies::new(false).set_session(&session, &oidc);
    let cookie = set.split(';').next().unwrap();

    let me = fetch(Method::GET, &format!("{}/api/me", stack.edge), &[("cookie", cookie)]).await;
    assert_eq!((me.status.as_u16(), &me.json()["subject"]), (200, &"dora".into()), "the control");

    let post = async |headers: &[(&str, &str)]| {
        let body = json!({ "name": "a.mp4", "size": 1, "type": "video/mp4" }).to_string();
        let mut request = person::http_client()
            .post(format!("{}/api/videos", stack.edge))
            .header("content-type", "application/json")
            .header("cookie", cookie)
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = ApiResponse::from_response(request.send().await.unwrap()).await;
        (answer.status.as_u16(), answer.code())
    };
    let refused = (403, "forbidden_origin".to_owned());
    assert_eq!(post(&[]).await, refused, "no origin at all");
    assert_eq!(post(&[("origin", "https://evil.example")]).await, refused);
    assert_eq!(post(&[("origin", "null")]).await, refused);
    assert_eq!(post(&[("origin", &stack.edge)]).await, (201, String::new()));
    assert_eq!(post(&[("origin", APP_ORIGIN)]).await, (201, String::new()));

    // A cookie of another deployment, or of another secret, is nobody's.
    let foreign = Session::new(
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

/// A browser as far as a sign-in needs one: cookies of this machine, whatever the port.
#[derive(Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    fn cookies(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    async fn request(&mut self, method: Method, url: &str, form: Option<&str>) -> ApiResponse {
        let mut request = person::http_client().request(method, url).header("cookie", self.cookies());
        if let Some(form) = form {
            request =
                request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        }
        let answer = ApiResponse::from_response(request.send().await.unwrap()).await;
        for set in answer.headers.get_all("set-cookie") {
            let (name, rest) = set.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Follows redirects until one leads to `stop`, and returns that address; or the last address that was no redirect.
    async fn follow_redirects(&mut self, url: &str, form: Option<&str>, stop: &str) -> String {
        let mut url = url.to_owned();
        let mut form = form;
        for _ in 0..10 {
            let method = if form.is_some() { Method::POST } else { Method::GET };
            let answer = self.request(method, &url, form.take()).await;
            let Some(location) = answer.headers.get("location") else { return url };
            url = reqwest::Url::parse(&url).unwrap().join(location.to_str().unwrap()).unwrap().to_string();
            if url.starts_with(stop) {
                return url;
            }
        }
        panic!("{url}: redirects in circles")
    }

    /// Types a name at the provider, and returns the address that the provider sends the browser back to.
    async fn sign_in(&mut self, edge: &str, name: &str, return_to: &str) -> String {
        let callback = format!("{edge}/auth/callback");
        let form =
            self.follow_redirects(&format!("{edge}/auth/login?return_to={return_to}"), None, &callback).await;
        self.follow_redirects(&form, Some(&format!("name={name}")), &callback).await
    }
}

/// Each tab has a cookie of its own, and a HEAD spends no code.
#[tokio::test]
async fn two_tabs_can_sign_in_concurrently() {
    let stack = Stack::start(Options { no_function: true, oidc: true, ..Options::default() }).await;
    let mut browser = Browser::default();
    let first = browser.sign_in(&stack.edge, "Ada", "/one").await;
    // The provider ends the codes of a session with it, so the second tab has another session there.
    browser.0.retain(|name, _| name.starts_with("glimpse"));
    let second = browser.sign_in(&stack.edge, "Ada", "/two").await;
    let creation =
        |browser: &Browser| browser.0.keys().filter(|name| name.starts_with("glimpse-login-")).count();
    assert_eq!(creation(&browser), 2, "{:?}", browser.0.keys());

    for (callback, return_to) in [(second, "/two"), (first, "/one")] {
        let head = browser.request(Method::HEAD, &callback, None).await;
        assert_eq!((head.status.as_u16(), head.header("cache-control")), (200, "no-store"));
        assert_eq!((head.header("set-cookie"), head.header("location")), ("", ""));
        let back = browser.request(Method::GET, &callback, None).await;
        assert_eq!((back.status.as_u16(), back.header("location")), (302, return_to), "{callback}");
        let me = browser.request(Method::GET, &format!("{}/api/me", stack.edge), None).await;
        assert_eq!(me.json()["name"], "Ada");
    }
    assert_eq!(creation(&browser), 0, "both cookies are gone");

    // A state that nobody began, and one of another browser, sign nobody in.
    let foreign = Browser::default().sign_in(&stack.edge, "Eve", "/").await;
    for callback in [&foreign, &format!("{}/auth/callback?code=x&state=AAAAAAAAAAAAAAAAAAAA", stack.edge)] {
        let back = Browser::default().request(Method::GET, callback, None).await;
        assert_eq!(back.header("location"), "/?sign_in=failed");
        let cookies = back.headers.get_all("set-cookie");
        assert!(cookies.iter().all(|cookie| cookie.to_str().unwrap().contains("Max-Age=0")), "{cookies:?}");
        let back = browser.request(Method::GET, callback, None).await;
        assert_eq!(back.header("location"), "/", "this browser is signed in");
        let me = browser.request(Method::GET, &format!("{}/api/me", stack.edge), None).await;
        assert_eq!(me.json()["name"], "Ada");
    }
    // A sign-in that was begun and is denied is a failure, also with a session.
    let creation = browser.request(Method::GET, &format!("{}/auth/login", stack.edge), None).await;
    let state =
        creation.header("location").split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let denied = format!("{}/auth/callback?error=access_denied&state={state}", stack.edge);
    let back = browser.request(Method::GET, &denied, None).await;
    assert_eq!(back.header("location"), "/?sign_in=failed");
}

/// A reload of the address that completed a sign-in leads to the page, and a browser without a session learns of the failure.
#[tokio::test]
async fn reloaded_callback_redirects_to_the_page() {
    let stack = Stack::start(Options { no_function: true, oidc: true, ..Options::default() }).await;
    let mut browser = Browser::default();
    let callback = browser.sign_in(&stack.edge, "Ada", "/one").await;
    for location in ["/one", "/"] {
        let back = browser.request(Method::GET, &callback, None).await;
        assert_eq!((back.status.as_u16(), back.header("location")), (302, location));
    }
    browser.0.clear();
    let back = browser.request(Method::GET, &callback, None).await;
    assert_eq!(back.header("location"), "/?sign_in=failed");
}

/// What real clients and providers send, over the wire.
#[tokio::test]
async fn accepts_bearer_tokens_of_real_clients() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let until = keys::now_secs() + 600;
    let sign = |more: serde_json::Value| {
        let mut claims = json!({ "iss": keys::ISSUER, "sub": "ann", "aud": keys::AUDIENCE, "exp": until });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        glimpse_edge::auth::sign_hs256(
            &keys::to_json(&claims),
            &Secret::new(keys::SECRET.as_bytes().to_vec()),
        )
    };
    let me = format!("{}/api/me", stack.edge);
    let ask = async |header: String| fetch(Method::GET, &me, &[("authorization", &header)]).await;
    let plain = sign(json!({}));
    let groups = vec!["00000000-0000-0000-0000-000000000000"; 300];
    let long = sign(json!({ "groups": groups }));
    assert!(long.len() > 15_000, "{}", long.len());
    for (what, header) in [
        ("two spaces", format!("Bearer  {plain}")),
        ("lower case", format!("bearer {plain}")),
        (
            "a list of mail addresses",
            format!("Bearer {}", sign(json!({ "email": ["a@b.example"], "name": {} }))),
        ),
        (
            "what decides nothing",
            format!("Bearer {}", sign(json!({ "nonce": 1, "azp": ["x"], "client_id": 7 }))),
        ),
        ("16 KiB", format!("Bearer {long}")),
        (
            "no audience, but a client",
            format!("Bearer {}", sign(json!({ "aud": null, "client_id": keys::AUDIENCE }))),
        ),
    ] {
        let answer = ask(header).await;
        assert_eq!(answer.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["subject"], "ann", "{what}");
    }
    for (what, header, reason) in [
        ("another client", sign(json!({ "aud": null, "azp": "other" })), "wrong issuer, audience or subject"),
        (
            "another API",
            sign(json!({ "aud": "other", "azp": keys::AUDIENCE })),
            "wrong issuer, audience or subject",
        ),
        ("expired", sign(json!({ "exp": 1 })), "expired"),
        ("not yet", sign(json!({ "nbf": until })), "not valid yet"),
    ] {
        let answer = ask(format!("Bearer {header}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"), "{what}");
        let id = answer.header("x-request-id").to_owned();
        let line = e2e::eventually("the log", Duration::from_secs(10), || async {
            stack.lines().into_iter().find(|line| line.contains(&id))
        })
        .await;
        assert!(line.contains(reason) && !line.contains("eyJ"), "{what}: {line}");
    }
}

/// Monitoring scripts add headers to every request, apps have schemes of their own, and errors are read too.
#[tokio::test]
async fn allowed_origins_may_send_any_header() {
    const APP: &str = "capacitor://localhost";
    let stack =
        Stack::start(Options { no_function: true, origins: vec![APP.into()], ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let edge = &stack.edge;
    let preflight = async |path: &str, origin: &str, names: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", names),
        ];
        fetch(Method::OPTIONS, &format!("{edge}{path}"), &headers).await
    };
    for origin in [APP_ORIGIN, APP] {
        let answer = preflight("/api/videos", origin, "authorization,baggage,sentry-trace").await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (204, origin));
        let allowed: Vec<_> = answer.header("access-control-allow-headers").split([',', ' ']).collect();
        assert!(allowed.contains(&"baggage") && allowed.contains(&"sentry-trace"), "{allowed:?}");
    }
    let foreign = preflight("/api/videos", "https://evil.example", "baggage").await;
    assert_eq!(
        (foreign.header("access-control-allow-origin"), foreign.header("access-control-allow-headers")),
        ("", "")
    );
    let video = "7zzzzzzzzz0123456789abcdef";
    let picture =
        preflight(&format!("/{video}/thumbnail.jpg"), "https://any.example", "x-datadog-trace-id").await;
    assert!(picture.header("access-control-allow-headers").contains("x-datadog-trace-id"));
    assert_eq!(picture.header("access-control-allow-origin"), "*");

    for (method, path, status) in [
        (Method::GET, "/api/nothing".to_owned(), 404),
        (Method::PATCH, "/api/videos".to_owned(), 405),
        (Method::GET, "/api/videos?limit=x".to_owned(), 400),
    ] {
        let answer = ann.send(method, &path, &[("origin", APP)], "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("access-control-allow-origin")),
            (status, APP),
            "{path}"
        );
        assert!(answer.header("access-control-expose-headers").contains("retry-after"), "{path}");
    }
    for (method, path, status) in [
        (Method::GET, format!("/{video}/thumbnail.jpg?time=x"), 400),
        (Method::GET, format!("/{video}/nothing.jpg"), 404),
        (Method::POST, format!("/{video}/thumbnail.jpg"), 405),
        (Method::GET, format!("/{video}/thumbnail.jpg"), 404),
        (Method::GET, format!("/{video}/meta.json"), 404),
    ] {
        let answer = fetch(method, &format!("{edge}{path}"), &[("origin", "https://any.example")]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("access-control-allow-origin")),
            (status, "*"),
            "{path}"
        );
        assert!(answer.header("access-control-expose-headers").contains("retry-after"), "{path}");
    }
}

#[tokio::test]
async fn rejects_requests_without_credentials() {
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
async fn logs_all_configuration_errors_at_once() {
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
