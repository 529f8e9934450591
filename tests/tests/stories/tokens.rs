//! Who holds an upload token can upload what it says, and nothing else.

use std::collections::BTreeSet;

use e2e::keys::{self, now_secs};
use e2e::person::{Answer, Person};
use e2e::stack::{Options, Stack, UPLOAD_TOKEN_SECRETS};
use futures::future::join_all;
use glimpse_edge::auth::{Secret, sign_hs256_by};
use reqwest::Method;
use serde_json::{Value, json};

const BODY: &[u8] = b"not a video, but S3 does not mind";

async fn stack() -> Stack {
    Stack::start(Options { no_function: true, ..Options::default() }).await
}

/// Somebody who has no token but the one in the path.
fn holder(stack: &Stack) -> Person {
    Person::with_token(stack, "")
}

async fn call(holder: &Person, method: Method, path: &str, body: Option<Value>) -> Answer {
    let text = body.map(|body| body.to_string()).unwrap_or_default();
    holder.send(method, path, &[("content-type", "application/json")], text).await
}

async fn mint(ann: &Person, what: Value) -> (String, Vec<Value>) {
    let answer = ann.call(Method::POST, "/api/upload-tokens", Some(what)).await;
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    let minted = answer.json();
    assert_eq!(minted["url"].as_str().unwrap().split_once("/u/").unwrap().1, minted["token"]);
    (format!("/u/{}", minted["token"].as_str().unwrap()), minted["videos"].as_array().unwrap().clone())
}

fn describe(name: &str, size: usize) -> Value {
    json!({ "name": name, "size": size, "type": "video/mp4" })
}

#[tokio::test]
async fn a_token_uploads_its_one_video_and_opens_nothing_else() {
    let stack = stack().await;
    let ann = Person::new(&stack, "ann");
    let bob = holder(&stack);
    let what = json!({ "max_bytes": 100, "types": ["video/mp4"], "external_id": "order 7",
        "metadata": { "colour": "blå" } });
    let (base, videos) = mint(&ann, what).await;

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
    let too_large = call(&bob, Method::POST, &create, Some(describe("a.mp4", 101))).await;
    assert_eq!(too_large.code(), "too_large");
    let mut other = describe("a.webm", 5);
    other["type"] = "video/webm".into();
    assert_eq!(call(&bob, Method::POST, &create, Some(other)).await.code(), "type_not_allowed");
    let mut said = describe("a.mp4", 5);
    said["external_id"] = "order 8".into();
    assert_eq!(call(&bob, Method::POST, &create, Some(said)).await.code(), "bad_parameter");

    let created = call(&bob, Method::POST, &create, Some(describe("a.mp4", BODY.len()))).await;
    assert_eq!(created.status, 201, "{}", String::from_utf8_lossy(&created.body));
    let created = created.json();
    assert_eq!(created["video"]["id"], videos[0]);
    assert_eq!(bob.put(&created["upload"], BODY.to_vec()).await.status, 200);

    let path = format!("{base}/api/videos/{}", videos[0].as_str().unwrap());
    let shown = call(&bob, Method::GET, &path, None).await.json();
    assert_eq!((&shown["state"], &shown["external_id"]), (&json!("processing"), &json!("order 7")));
    assert_eq!(shown["metadata"]["colour"], "blå");
    let again = call(&bob, Method::POST, &create, Some(describe("b.mp4", 5))).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (403, "token_used_up"));
    let listed = ann.get("/api/videos").await.json();
    assert_eq!(listed["videos"][0]["id"], videos[0], "it is its owner's");

    let foreign = ann.upload("mine.mp4", "video/mp4", BODY.to_vec()).await;
    let peeked = call(&bob, Method::GET, &format!("{base}/api/videos/{foreign}"), None).await;
    assert_eq!(peeked.status, 404, "another video of the same owner");
}

/// However many ask at once, a token makes as many videos as it says.
#[tokio::test]
async fn a_token_for_three_makes_three() {
    let stack = stack().await;
    let ann = Person::new(&stack, "ann");
    let bob = holder(&stack);
    let (base, videos) = mint(&ann, json!({ "videos": 3 })).await;
    let params = format!("{base}/s3/params?filename=a.mp4&type=video/mp4");
    let asked = join_all((0..3).map(|_| call(&bob, Method::GET, &params, None))).await;
    let mut forms = Vec::new();
    let mut keys = BTreeSet::new();
    for answer in asked {
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let form = answer.json();
        keys.insert(form["fields"]["key"].as_str().unwrap().to_owned());
        forms.push(form);
    }
    assert_eq!(keys.len(), 3, "side by side, and each got its own");
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

/// A video that its owner has deleted was one of the token's all the same.
#[tokio::test]
async fn a_deleted_video_is_not_made_again_by_its_token() {
    let stack = stack().await;
    let ann = Person::new(&stack, "ann");
    let bob = holder(&stack);
    for count in [1, 2] {
        let (base, videos) = mint(&ann, json!({ "videos": count })).await;
        for _ in 0..count {
            let path = format!("{base}/api/videos");
            let created = call(&bob, Method::POST, &path, Some(describe("a.mp4", BODY.len()))).await.json();
            assert_eq!(bob.put(&created["upload"], BODY.to_vec()).await.status, 200);
        }
        for video in &videos {
            let path = format!("/api/videos/{}", video.as_str().unwrap());
            assert_eq!(ann.call(Method::DELETE, &path, None).await.status, 200);
        }
        let again = call(&bob, Method::POST, &format!("{base}/api/videos"), Some(describe("b.mp4", 5))).await;
        assert_eq!((again.status.as_u16(), again.code().as_str()), (403, "token_used_up"), "{count}");
    }
}

/// A customer's own backend signs tokens with the shared secret; what is not so signed is refused in the same words.
#[tokio::test]
async fn a_token_of_the_customers_own_backend_is_as_good() {
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
        keys::tree(&claims)
    };
    let ask = async |token: String| {
        call(&bob, Method::GET, &format!("/u/{token}/s3/params?filename=a.mp4&type=video/mp4"), None).await
    };
    for key in ["new", "old"] {
        let answer = ask(sign_hs256_by(key, &claims(json!({})), &secret(key))).await;
        assert_eq!(answer.status, 200, "{key}: {}", String::from_utf8_lossy(&answer.body));
    }
    let good = sign_hs256_by("new", &claims(json!({})), &secret("new"));
    let bearer = Person::with_token(&stack, &good);
    assert_eq!(bearer.get("/api/me").await.status, 401, "it is no bearer token");
    let login = keys::secret_token("ann");
    for (why, token) in [
        ("a bearer token", login),
        ("another key's secret", sign_hs256_by("old", &claims(json!({})), &secret("new"))),
        ("an unknown key", sign_hs256_by("other", &claims(json!({})), &secret("new"))),
        (
            "another deployment",
            sign_hs256_by("new", &claims(json!({ "aud": "https://other.example/u" })), &secret("new")),
        ),
        ("over", sign_hs256_by("new", &claims(json!({ "iat": 1, "exp": 2 })), &secret("new"))),
        ("a claim with a slip", sign_hs256_by("new", &claims(json!({ "max_byte": 2 })), &secret("new"))),
        ("cut", good[..good.len() - 2].to_owned()),
        ("nothing", "x".to_owned()),
    ] {
        let answer = ask(token).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"), "{why}");
    }
}

#[tokio::test]
async fn what_no_token_may_say_is_not_minted() {
    let stack = stack().await;
    let ann = Person::new(&stack, "ann");
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
    let nobody = Person::with_token(&stack, "x");
    assert_eq!(nobody.call(Method::POST, "/api/upload-tokens", None).await.status, 401);
}

/// Row U12: signing is counted per owner.
#[tokio::test]
async fn whoever_begins_too_many_uploads_is_asked_to_wait() {
    let stack = stack().await;
    let ann = Person::new(&stack, "ann");
    let bob = Person::new(&stack, "bob");
    let mut busy = None;
    // Side by side, and again where a busy machine did not get a hundred of them into ten seconds.
    for _ in 0..10 {
        let asked = (0..150).map(|_| ann.get("/s3/params?filename=a.mp4&type=video/mp4"));
        let (refused, taken): (Vec<_>, Vec<_>) =
            join_all(asked).await.into_iter().partition(|answer| answer.status == 429);
        assert!(taken.iter().all(|answer| answer.status == 200));
        busy = refused.into_iter().next();
        if busy.is_some() {
            break;
        }
    }
    let busy = busy.expect("after a hundred in ten seconds it is enough");
    assert_eq!((busy.code().as_str(), busy.header("retry-after")), ("busy", "10"));
    assert_eq!(
        bob.get("/s3/params?filename=a.mp4&type=video/mp4").await.status,
        200,
        "others are not counted"
    );
    assert_eq!(ann.get("/api/me").await.status, 200, "what costs nothing goes on");
}
