//! The holder of an upload token can upload within its limits, and do nothing else.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::keys::{self, now_secs};
use e2e::person::{self, ApiClient, ApiResponse, http_client};
use e2e::stack::{Options, Stack, UPLOAD_TOKEN_SECRETS};
use futures::future::join_all;
use glimpse_edge::auth::{Secret, sign_hs256_with_kid};
use reqwest::Method;
use serde_json::{Value, json};

const BODY: &[u8] = b"not a video, but S3 does not mind";

async fn stack() -> Stack {
    Stack::start(Options { no_function: true, ..Options::default() }).await
}

/// A client without credentials except the token in the path.
fn holder(stack: &Stack) -> ApiClient {
    ApiClient::with_token(stack, "")
}

async fn call(holder: &ApiClient, method: Method, path: &str, body: Option<Value>) -> ApiResponse {
    let text = body.map(|body| body.to_string()).unwrap_or_default();
    holder.send(method, path, &[("content-type", "application/json")], text).await
}

async fn issue_token(ann: &ApiClient, what: Value) -> (String, Vec<Value>) {
    let answer = ann.call(Method::POST, "/api/upload-tokens", Some(what)).await;
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    let token_response = answer.json();
    assert_eq!(token_response["url"].as_str().unwrap().split_once("/u/").unwrap().1, token_response["token"]);
    (
        format!("/u/{}", token_response["token"].as_str().unwrap()),
        token_response["videos"].as_array().unwrap().clone(),
    )
}

fn create_request(name: &str, size: usize) -> Value {
    json!({ "name": name, "size": size, "type": "video/mp4" })
}

#[tokio::test]
async fn token_uploads_one_video_and_allows_nothing_else() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let bob = holder(&stack);
    let what = json!({ "max_bytes": 100, "types": ["video/mp4"], "external_id": "order 7",
        "metadata": { "colour": "blå" } });
    let (base, videos) = issue_token(&ann, what).await;

    let limits = call(&bob, Method::GET, &format!("{base}/api/me"), None).await.json();
    assert_eq!(limits["limits"]["max_upload_bytes"], 100);
    assert_eq!(limits["limits"]["types"], json!(["video/mp4"]));

    for (what, method, path) in [
        ("listing", Method::GET, "/api/videos"),
        ("deleting", Method::DELETE, &format!("/api/videos/{}", videos[0].as_str().unwrap()) as &str),
        ("unfinished uploads", Method::GET, "/api/uploads"),
        ("another token", Method::POST, "/api/upload-tokens"),
    ] {
        let answer = call(&bob, method, &format!("{base}{path}"), None).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"), "{what}");
    }
    let create = format!("{base}/api/videos");
    let too_large = call(&bob, Method::POST, &create, Some(create_request("a.mp4", 101))).await;
    assert_eq!(too_large.code(), "too_large");
    let mut other = create_request("a.webm", 5);
    other["type"] = "video/webm".into();
    assert_eq!(call(&bob, Method::POST, &create, Some(other)).await.code(), "type_not_allowed");
    let mut request_body = create_request("a.mp4", 5);
    request_body["external_id"] = "order 8".into();
    assert_eq!(call(&bob, Method::POST, &create, Some(request_body)).await.code(), "bad_parameter");

    let created = call(&bob, Method::POST, &create, Some(create_request("a.mp4", BODY.len()))).await;
    assert_eq!(created.status, 201, "{}", String::from_utf8_lossy(&created.body));
    let created = created.json();
    assert_eq!(created["video"]["id"], videos[0]);
    assert_eq!(bob.put(&created["upload"], BODY.to_vec()).await.status, 200);

    let path = format!("/api/videos/{}", videos[0].as_str().unwrap());
    let video_json = ann.get(&path).await.json();
    assert_eq!((&video_json["state"], &video_json["external_id"]), (&json!("processing"), &json!("order 7")));
    assert_eq!(video_json["metadata"]["colour"], "blå");
    let again = call(&bob, Method::POST, &create, Some(create_request("b.mp4", 5))).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (403, "token_used_up"));
    let listed = ann.get("/api/videos").await.json();
    assert_eq!(listed["videos"][0]["id"], videos[0], "the video belongs to the token's user");

    let foreign = ann.upload("mine.mp4", "video/mp4", BODY.to_vec()).await;
    let peeked = call(&bob, Method::GET, &format!("{base}/api/videos/{foreign}"), None).await;
    assert_eq!(peeked.status, 404, "another video of the same owner");
}

fn member_names(video: &Value) -> Vec<&str> {
    video.as_object().unwrap_or_else(|| panic!("{video}")).keys().map(String::as_str).collect()
}

/// The ids of a token's videos can be computed from the token, which is in URLs: its holder sees only their status.
#[tokio::test]
async fn token_shows_only_the_status_of_its_videos() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let bob = holder(&stack);
    let what =
        json!({ "videos": 3, "visibility": "signed", "external_id": "order 7", "metadata": { "a": "b" } });
    let (base, _) = issue_token(&ann, what).await;

    let described =
        call(&bob, Method::POST, &format!("{base}/api/videos"), Some(create_request("a.mp4", BODY.len())))
            .await
            .json();
    assert_eq!(member_names(&described["video"]), ["id", "problem", "state", "trace_id"]);
    assert_eq!(bob.put(&described["upload"], BODY.to_vec()).await.status, 200);
    let headers = [("content-type", "video/mp4"), ("prefer", "wait=30")];
    let sent =
        bob.send(Method::PUT, &format!("{base}/api/videos/plan.mp4"), &headers, BODY.to_vec()).await.json();
    assert_eq!(member_names(&sent["video"]), ["id", "problem", "state", "trace_id"]);
    let part = json!({ "filename": "b.mp4", "type": "video/mp4" });
    let creation = call(&bob, Method::POST, &format!("{base}/s3/multipart"), Some(part)).await.json();
    let (key, upload_id) = (creation["key"].as_str().unwrap(), creation["uploadId"].as_str().unwrap());
    let of_part = |rest: &str| format!("{base}/s3/multipart/{upload_id}{rest}?key={key}");
    let signed = call(&bob, Method::GET, &of_part("/1"), None).await.json();
    let stored =
        person::http_client().put(signed["url"].as_str().unwrap()).body(BODY.to_vec()).send().await.unwrap();
    let etag = stored.headers()["etag"].to_str().unwrap().to_owned();
    let parts = json!({ "parts": [{ "PartNumber": 1, "ETag": etag }] });
    let completed = call(&bob, Method::POST, &of_part("/complete"), Some(parts)).await;
    assert_eq!(completed.status, 200, "{}", String::from_utf8_lossy(&completed.body));
    assert_eq!(member_names(&completed.json()["video"]), ["id", "problem", "state"]);

    for video in [&described["video"], &sent["video"], &completed.json()["video"]] {
        let id = video["id"].as_str().unwrap();
        let outcome = ann.wait_for_outcome(id).await;
        assert_eq!((&outcome["state"], &outcome["external_id"]), (&json!("rejected"), &json!("order 7")));
        let path = format!("{base}/api/videos/{id}");
        let video_json = call(&bob, Method::GET, &path, None).await.json();
        let expected = json!({ "id": id, "state": "rejected", "problem": outcome["problem"] });
        assert_eq!(video_json, expected);
        let events = call(&bob, Method::GET, &format!("{path}/events"), None).await;
        let events = String::from_utf8(events.body).unwrap();
        let data =
            events.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("{events}"));
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), expected);
    }
}

/// A token creates exactly as many videos as it permits, also with concurrent requests.
#[tokio::test]
async fn token_for_three_videos_creates_three() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let bob = holder(&stack);
    let (base, videos) = issue_token(&ann, json!({ "videos": 3 })).await;
    let params = format!("{base}/s3/params?filename=a.mp4&type=video/mp4");
    let responses = join_all((0..3).map(|_| call(&bob, Method::GET, &params, None))).await;
    let mut forms = Vec::new();
    let mut keys = BTreeSet::new();
    for answer in responses {
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let form = answer.json();
        keys.insert(form["fields"]["key"].as_str().unwrap().to_owned());
        forms.push(form);
    }
    assert_eq!(keys.len(), 3, "concurrent requests get different keys");
    assert!(keys.iter().all(|key| videos.contains(&json!(key.rsplit('/').next().unwrap()))));
    let more = call(&bob, Method::GET, &params, None).await;
    assert_eq!((more.status.as_u16(), more.code().as_str()), (429, "busy"), "all are being uploaded");
    assert_eq!(more.header("retry-after"), "10");
    for form in forms {
        let fields = form["fields"].as_object().unwrap().iter();
        let fields: Vec<_> =
            fields.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        assert_eq!(bob.post_form(form["url"].as_str().unwrap(), &fields, BODY.to_vec()).await.status, 201);
    }
    assert_eq!(call(&bob, Method::GET, &params, None).await.code(), "token_used_up");
    assert_eq!(stack.cloud.store().list("uploads/").len(), 3);
}

/// A follow-up token is valid for one upload only, and expires with the token that it was derived from.
#[tokio::test]
async fn follow_up_token_completes_only_its_upload() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let bob = holder(&stack);
    let (base, _) = issue_token(&ann, json!({ "expires_in": 60 })).await;
    let expiry = |url: &str| -> u64 {
        let token = url.split("/u/").nth(1).unwrap().split('/').next().unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice::<Value>(&claims).unwrap()["exp"].as_u64().unwrap()
    };
    let parent = expiry(&base);
    let creation = json!({ "filename": "a.mp4", "type": "video/mp4" });
    let creation = call(&bob, Method::POST, &format!("{base}/s3/multipart"), Some(creation)).await.json();
    let (key, id) = (creation["key"].as_str().unwrap(), creation["uploadId"].as_str().unwrap());
    let sign = async |base: &str, id: &str| {
        let body = json!({ "method": "POST", "key": key, "uploadId": id });
        call(&bob, Method::POST, &format!("{base}/s3/presign"), Some(body)).await
    };
    for made_up in ["nonsense", "", &id[1..]] {
        let answer = sign(&base, made_up).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{made_up}: {}", answer.status);
    }
    let url = sign(&base, id).await.json()["url"].as_str().unwrap().to_owned();
    assert!(expiry(&url) <= parent, "it does not outlive its parent token");

    let follow_up = format!("/u/{}", url.split("/u/").nth(1).unwrap().split('/').next().unwrap());
    let video = key.rsplit('/').next().unwrap();
    for (method, path) in [
        (Method::GET, "/api/me".to_owned()),
        (Method::GET, format!("/api/videos/{video}")),
        (Method::GET, format!("/api/videos/{video}/events")),
        (Method::POST, "/api/videos".to_owned()),
        (Method::GET, "/s3/params?filename=a.mp4&type=video/mp4".to_owned()),
        (Method::POST, "/s3/multipart".to_owned()),
        (Method::GET, format!("/s3/multipart/{id}/1?key={key}")),
        (Method::DELETE, format!("/s3/multipart/{id}?key={key}")),
    ] {
        let answer =
            call(&bob, method.clone(), &format!("{follow_up}{path}"), Some(create_request("a.mp4", 5))).await;
        assert_eq!(answer.status, 401, "{method} {path}");
    }
    assert_eq!(sign(&follow_up, id).await.status, 401, "it does not renew itself");
    let other =
        call(&bob, Method::POST, &format!("{follow_up}/s3/multipart/other/complete?key={key}"), None).await;
    assert_eq!(other.code(), "forbidden_key");

    let part = call(&bob, Method::GET, &format!("{base}/s3/multipart/{id}/1?key={key}"), None).await.json();
    let sent = http_client().put(part["url"].as_str().unwrap()).body(BODY).send().await.unwrap();
    let etag = sent.headers()["etag"].to_str().unwrap().to_owned();
    let xml = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let done = http_client().post(&url).body(xml).send().await.unwrap();
    assert_eq!(done.status(), 200, "the control");
}

/// Multipart uploads with a token are limited: the size of a part, the sum of all parts, and the number of unfinished
/// uploads.
#[tokio::test]
async fn token_limits_parts_and_unfinished_uploads() {
    const PART: usize = 5 * 1024 * 1024;
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let bob = holder(&stack);
    let create = async |base: &str| {
        let body = json!({ "filename": "a.mp4", "type": "video/mp4" });
        call(&bob, Method::POST, &format!("{base}/s3/multipart"), Some(body)).await
    };
    let sign = async |base: &str, creation: &Value, rest: &str| {
        let (id, key) = (creation["uploadId"].as_str().unwrap(), creation["key"].as_str().unwrap());
        let (part, query) = rest.split_once('?').unwrap_or((rest, ""));
        call(&bob, Method::GET, &format!("{base}/s3/multipart/{id}/{part}?key={key}&{query}"), None).await
    };
    let put = async |signed: &ApiResponse, bytes: usize| {
        let url = signed.json()["url"].as_str().unwrap().to_owned();
        http_client().put(url).body(vec![7; bytes]).send().await.unwrap().status().as_u16()
    };

    let (small, _) = issue_token(&ann, json!({ "max_bytes": 1000 })).await;
    let creation = create(&small).await.json();
    assert_eq!(sign(&small, &creation, "1").await.code(), "bad_parameter", "the length is required");
    assert_eq!(sign(&small, &creation, "1?size=1001").await.code(), "too_large");
    assert_eq!(sign(&small, &creation, "2?size=10").await.code(), "too_large");
    let signed = sign(&small, &creation, "1?size=1000").await;
    assert_eq!((put(&signed, 1001).await, put(&signed, 1000).await), (403, 200));

    let (large, _) = issue_token(&ann, json!({ "max_bytes": PART + 1000 })).await;
    let creation = create(&large).await.json();
    assert_eq!(put(&sign(&large, &creation, "1").await, PART + 1001).await, 200, "without a declared length");
    assert_eq!(sign(&large, &creation, "2").await.code(), "too_large");
    assert_eq!(stack.cloud.store().multipart_upload_count(), 1, "an upload that is too large is aborted");

    let (one, _) = issue_token(&ann, json!({})).await;
    let answers = join_all((0..20).map(|_| create(&one))).await;
    let (created, rejected): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!created.is_empty());
    assert!(rejected.iter().all(|answer| answer.code() == "busy"));
    // The request that lists last aborts the uploads that concurrent requests created beyond the limit.
    let upload_count = stack.cloud.store().multipart_upload_count() - 1;
    assert!(
        (1..=5).contains(&upload_count) && upload_count <= created.len(),
        "{upload_count} of {} were kept",
        created.len()
    );
    if upload_count == 5 {
        let sign = json!({ "method": "POST", "key": "a.mp4" });
        let signed = call(&bob, Method::POST, &format!("{one}/s3/presign"), Some(sign)).await;
        assert_eq!(signed.code(), "busy", "no upload is signed either");
    }
    for upload in created {
        let upload = upload.json();
        let (id, key) = (upload["uploadId"].as_str().unwrap(), upload["key"].as_str().unwrap());
        call(&bob, Method::DELETE, &format!("{one}/s3/multipart/{id}?key={key}"), None).await;
    }
    assert_eq!(create(&one).await.status, 200, "there is room again");
}

/// A limit of types applies to the signed type, whatever the client declares.
#[tokio::test]
async fn type_limit_applies_to_resolved_type() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let bob = holder(&stack);
    let (base, _) =
        issue_token(&ann, json!({ "videos": 20, "types": ["video/mp4", "video/x-msvideo"] })).await;
    for (kind, name, status) in [
        ("", "a.mp4", 201),
        ("application/mp4", "a.mp4", 201),
        ("video/avi", "a.avi", 201),
        ("video/vnd.avi", "a.avi", 201),
        ("", "a.webm", 415),
        ("", "a", 415),
        ("video/webm", "a.mp4", 415),
        ("text/html", "a.mp4", 415),
    ] {
        let body = json!({ "name": name, "size": 5, "type": kind });
        let answer = call(&bob, Method::POST, &format!("{base}/api/videos"), Some(body)).await;
        assert_eq!(answer.status, status, "{kind} {name}: {}", String::from_utf8_lossy(&answer.body));
    }
}

/// A deleted video still counts toward the token's limit.
#[tokio::test]
async fn token_cannot_recreate_a_deleted_video() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let bob = holder(&stack);
    for count in [1, 2] {
        let (base, videos) = issue_token(&ann, json!({ "videos": count })).await;
        for _ in 0..count {
            let path = format!("{base}/api/videos");
            let created =
                call(&bob, Method::POST, &path, Some(create_request("a.mp4", BODY.len()))).await.json();
            assert_eq!(bob.put(&created["upload"], BODY.to_vec()).await.status, 200);
        }
        for video in &videos {
            let path = format!("/api/videos/{}", video.as_str().unwrap());
            assert_eq!(ann.call(Method::DELETE, &path, None).await.status, 200);
        }
        let again =
            call(&bob, Method::POST, &format!("{base}/api/videos"), Some(create_request("b.mp4", 5))).await;
        assert_eq!((again.status.as_u16(), again.code().as_str()), (403, "token_used_up"), "{count}");
    }
}

/// A customer's backend signs tokens with the shared secret; all invalid signatures get the same error.
#[tokio::test]
async fn accepts_tokens_signed_by_customers_backend() {
    let stack = stack().await;
    let bob = holder(&stack);
    let secret = |key: &str| {
        let pair = UPLOAD_TOKEN_SECRETS.split(',').find(|pair| pair.starts_with(key)).unwrap();
        Secret::new(pair.split_once('=').unwrap().1.as_bytes().to_vec())
    };
    let claims = |change: Value| {
        let mut claims = json!({ "iss": keys::ISSUER, "sub": "ann", "aud": format!("{}/u", stack.edge),
            "iat": now_secs(), "exp": now_secs() + 600, "jti": "0123456789abcdef", "external_id": "x" });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        keys::to_json(&claims)
    };
    let ask = async |token: String| {
        call(&bob, Method::GET, &format!("/u/{token}/s3/params?filename=a.mp4&type=video/mp4"), None).await
    };
    for key in ["new", "old"] {
        let answer = ask(sign_hs256_with_kid(key, &claims(json!({})), &secret(key))).await;
        assert_eq!(answer.status, 200, "{key}: {}", String::from_utf8_lossy(&answer.body));
    }
    for (what, more) in [
        ("a list of audiences", json!({ "aud": ["other", format!("{}/u", stack.edge)] })),
        (
            "claims that libraries add",
            json!({ "nbf": now_secs(), "email": ["a@b.example"], "name": {}, "nonce": "x", "azp": "y" }),
        ),
    ] {
        let answer = ask(sign_hs256_with_kid("new", &claims(more), &secret("new"))).await;
        assert_eq!(answer.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
    }
    let good = sign_hs256_with_kid("new", &claims(json!({})), &secret("new"));
    let bearer = ApiClient::with_token(&stack, &good);
    assert_eq!(bearer.get("/api/me").await.status, 401, "an upload token is not a bearer token");
    let login = keys::bearer_token("ann");
    for (why, token) in [
        ("a bearer token", login),
        ("another key's secret", sign_hs256_with_kid("old", &claims(json!({})), &secret("new"))),
        ("an unknown key", sign_hs256_with_kid("other", &claims(json!({})), &secret("new"))),
        (
            "another deployment",
            sign_hs256_with_kid("new", &claims(json!({ "aud": "https://other.example/u" })), &secret("new")),
        ),
        ("over", sign_hs256_with_kid("new", &claims(json!({ "iat": 1, "exp": 2 })), &secret("new"))),
        ("a misspelled claim", sign_hs256_with_kid("new", &claims(json!({ "max_byte": 2 })), &secret("new"))),
        ("cut", good[..good.len() - 2].to_owned()),
        ("nothing", "x".to_owned()),
    ] {
        let answer = ask(token).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"), "{why}");
    }
}

#[tokio::test]
async fn rejects_invalid_token_requests() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    for (what, word) in [
        (json!({ "videos": 0 }), "videos"),
        (json!({ "videos": 101 }), "videos"),
        (json!({ "expires_in": 86_401 }), "expires_in"),
        (json!({ "types": ["text/html"] }), "types"),
        (json!({ "max_bytes": 0 }), "max_bytes"),
        (json!({ "external_id": "x".repeat(200) }), "external_id"),
        (json!({ "max_byte": 5 }), "max_byte"),
        (json!([]), "JSON object"),
    ] {
        let answer = ann.call(Method::POST, "/api/upload-tokens", Some(what.clone())).await;
        assert_eq!(answer.code(), "bad_parameter", "{what}");
        assert!(
            answer.json()["detail"].as_str().unwrap().contains(word),
            "{what}: {}",
            answer.json()["detail"]
        );
    }
    let unauthenticated = ApiClient::with_token(&stack, "x");
    assert_eq!(unauthenticated.call(Method::POST, "/api/upload-tokens", None).await.status, 401);
}

/// Row U12: signing requests are counted per owner.
#[tokio::test]
async fn upload_grants_are_rate_limited() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let bob = ApiClient::new(&stack, "bob");
    let mut busy = None;
    // Concurrent, and repeated if a busy machine needs more than ten seconds for a hundred of them.
    for _ in 0..10 {
        let requests = (0..150).map(|_| ann.get("/s3/params?filename=a.mp4&type=video/mp4"));
        let (refused, taken): (Vec<_>, Vec<_>) =
            join_all(requests).await.into_iter().partition(|answer| answer.status == 429);
        assert!(taken.iter().all(|answer| answer.status == 200));
        busy = refused.into_iter().next();
        if busy.is_some() {
            break;
        }
    }
    let busy = busy.expect("a hundred requests in ten seconds exceed the limit");
    assert_eq!((busy.code().as_str(), busy.header("retry-after")), ("busy", "10"));
    assert_eq!(
        bob.get("/s3/params?filename=a.mp4&type=video/mp4").await.status,
        200,
        "other owners are not limited"
    );
    assert_eq!(ann.get("/api/me").await.status, 200, "requests without S3 calls are not limited");
}
