//! An upload cannot exceed its grant: the threats against signed uploads, and the test of each defense.
//! `xtask/tests/architecture.rs` checks that every row names tests.
//!
//! | | abuse | shown by |
//! |---|---|---|
//! | U1 | a longer or shorter body | `presigned_put_enforces_every_signed_header`, `form_cannot_exceed_the_length_range` |
//! | U2 | another type; one that a browser would run | `presigned_put_enforces_every_signed_header`, `no_upload_type_is_active`, `every_route_resolves_types_alike` |
//! | U3 | other bytes of the same length | `presigned_put_enforces_every_signed_header` |
//! | U4 | another owner's key | `rejects_multipart_calls_of_other_users`, `rejects_keys_of_other_owners` |
//! | U5 | a second upload over the first | `u5_second_upload_is_rejected` |
//! | U6 | ACL, tags, storage class, encryption, metadata or copy that were not granted | `u6_rejects_headers_that_were_not_granted`, `u6_rejects_form_fields_that_were_not_granted` |
//! | U7 | `${filename}` in a form's key | `post_policy_rejects_any_single_change` |
//! | U8 | a form that redirects | `u6_rejects_form_fields_that_were_not_granted` |
//! | U9 | a stored or stolen URL | `u9_signature_expires_on_time`, `error_names_each_invalid_value` |
//! | U10 | another host, region or bucket | `u10_signature_is_bound_to_host_region_and_bucket`, `presigned_urls_match_botocore` |
//! | U11 | parts that are too many, too large, missing, of another upload, or never completed | `u11_parts_cannot_exceed_the_limit`, `rejects_multipart_calls_of_other_users`, `token_limits_parts_and_unfinished_uploads` |
//! | U12 | unlimited signing requests | `upload_grants_are_rate_limited` |
//! | U13 | calls from pages of other origins | `cors_allows_only_configured_origins`, `echoes_only_configured_origins` |
//! | U14 | an overly permissive role | `deploy/check` |
//! | U15 | signed URLs and secrets in the log | `u15_log_contains_no_secrets` |
//! | U16 | a form that costs more than its bytes | `form_without_file_is_rejected_after_64_kib`, `bytes_before_file_are_limited` |
//! | U17 | a follow-up token that renews itself or permits more than its upload | `follow_up_token_completes_only_its_upload` |
//!
//! Not limited: the bytes that one caller uploads per day (U12). There is no database that could count them. Upload
//! tokens limit each upload, and Cloudflare's rate limits bound how often an upload starts.

use e2e::keys::{SECRET, now_secs};
use e2e::person::{ApiClient, ApiResponse, fetch, http_client};
use e2e::stack::{Options, SESSION_SECRET, Stack, UPLOAD_TOKEN_SECRETS};
use glimpse_edge::s3::sigv4::{Credentials, PostPolicy, PresignParams, S3Bucket, presign, sign_post_policy};
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use reqwest::Method;
use serde_json::{Value, json};

const BODY: &[u8] = b"not a video, but S3 does not mind";
const MIB: usize = 1024 * 1024;

async fn stack() -> Stack {
    Stack::start(Options { no_function: true, ..Options::default() }).await
}

fn text(answer: &ApiResponse) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// The bucket's key pair and location, with which the Worker signs.
fn bucket_access(stack: &Stack) -> (Credentials, S3Bucket) {
    let s3 = stack.cloud.settings();
    let credentials = Credentials {
        access_key_id: s3.access_key_id.clone(),
        secret_access_key: s3.secret_access_key.clone(),
        session_token: None,
    };
    (credentials, S3Bucket::path_style(&stack.cloud.addresses().s3_endpoint, &s3.bucket, &s3.region))
}

pub(crate) async fn post_form_of(api: &ApiClient) -> (String, Vec<(String, String)>) {
    let answer = api.get("/s3/params?filename=a.mp4&type=video/mp4").await.json();
    let fields = answer["fields"].as_object().unwrap().iter();
    let fields = fields.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    (answer["url"].as_str().unwrap().to_owned(), fields)
}

/// Creates a multipart upload and returns `(key, URL of a call for it)`.
async fn create_multipart(api: &ApiClient) -> (String, impl Fn(&str) -> String + use<>) {
    let body = json!({ "filename": "a.mp4", "type": "video/mp4" });
    let answer = api.call(Method::POST, "/s3/multipart", Some(body)).await.json();
    let (key, id) =
        (answer["key"].as_str().unwrap().to_owned(), answer["uploadId"].as_str().unwrap().to_owned());
    let query_key = key.clone();
    (key, move |rest: &str| format!("/s3/multipart/{id}{rest}?key={query_key}"))
}

async fn upload_part(api: &ApiClient, path: &str, body: Vec<u8>) -> String {
    let signed = api.get(path).await;
    assert_eq!(signed.status, 200, "{}", text(&signed));
    let request = http_client().put(signed.json()["url"].as_str().unwrap()).body(body);
    ApiResponse::from_response(request.send().await.unwrap()).await.header("etag").to_owned()
}

/// Row U5, for each upload method: a repeated PUT, a form, parts that complete second.
#[tokio::test]
async fn u5_second_upload_is_rejected() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let (_, upload) = ann.create("a.mp4", "video/mp4", BODY.len(), json!({})).await;
    assert_eq!(ann.put(&upload, BODY.to_vec()).await.status, 200, "the control");
    assert_eq!(ann.put(&upload, BODY.to_vec()).await.status, 412, "the same PUT again");

    // A token for one video: two multipart uploads start at the same key, and only one becomes the video.
    let token_response = ann.call(Method::POST, "/api/upload-tokens", Some(json!({}))).await.json();
    let (token, holder) =
        (token_response["token"].as_str().unwrap().to_owned(), ApiClient::with_token(&stack, ""));
    let create = async || {
        let body = json!({ "filename": "a.mp4", "type": "video/mp4" }).to_string();
        let headers = [("content-type", "application/json")];
        holder.send(Method::POST, &format!("/u/{token}/s3/multipart"), &headers, body).await.json()
    };
    let (first, second) = (create().await, create().await);
    assert_eq!(first["key"], second["key"]);
    let mut codes = Vec::new();
    for (begun, byte) in [(&first, b'1'), (&second, b'2')] {
        let path = |rest: &str| {
            let (id, key) = (begun["uploadId"].as_str().unwrap(), begun["key"].as_str().unwrap());
            format!("/u/{token}/s3/multipart/{id}{rest}?key={key}")
        };
        let etag = upload_part(&holder, &path("/1"), vec![byte]).await;
        let parts = json!({ "parts": [{ "PartNumber": 1, "ETag": etag }] }).to_string();
        let done = holder
            .send(Method::POST, &path("/complete"), &[("content-type", "application/json")], parts)
            .await;
        codes.push((done.status.as_u16(), done.code()));
    }
    assert_eq!(codes, [(200, String::new()), (409, "already_uploaded".to_owned())]);
    let video_json =
        ann.get(&format!("/api/videos/{}", token_response["videos"][0].as_str().unwrap())).await.json();
    assert_eq!((&video_json["bytes"], stack.cloud.store().list("uploads/").len()), (&json!(1), 2));
}

/// Row U6 for presigned requests: one header at a time that S3 would honor and that was not granted.
#[tokio::test]
async fn u6_rejects_headers_that_were_not_granted() {
    const HEADERS: &[(&str, &str)] = &[
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-full-control", "id=other"),
        ("x-amz-grant-read", "uri=http://acs.amazonaws.com/groups/global/AllUsers"),
        ("x-amz-grant-read-acp", "id=other"),
        ("x-amz-grant-write-acp", "id=other"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-website-redirect-location", "https://evil.example/"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "other"),
        ("x-amz-server-side-encryption-context", "e30="),
        ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ("x-amz-server-side-encryption-customer-key-md5", "hRasmdxgYDKV3nvbahU1MA=="),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-request-payer", "requester"),
        ("x-amz-expected-bucket-owner", "111122223333"),
        ("x-amz-copy-source", "/glimpse/uploads/other/video"),
        ("x-amz-meta-extra", "1"),
        ("x-amz-security-token", "other"),
        ("x-amz-write-offset-bytes", "0"),
    ];
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let (_, put) = ann.create("a.mp4", "video/mp4", BODY.len(), json!({})).await;
    let body = json!({ "method": "POST", "key": "6f9619ff-8b86-d011-b42d-00cf4fc964ff-a.mp4", "contentType": "video/mp4" });
    let creation = ann.call(Method::POST, "/s3/presign", Some(body)).await.json();
    let (_, path) = create_multipart(&ann).await;
    let part = ann.get(&path("/1")).await.json();
    for (what, signed, body) in [("PUT", &put, BODY), ("creation", &creation, b""), ("part", &part, BODY)] {
        let send = async |more: Option<&(&str, &str)>| {
            let method: Method = signed["method"].as_str().unwrap().parse().unwrap();
            let mut request = http_client().request(method, signed["url"].as_str().unwrap()).body(body);
            for (name, value) in signed["headers"].as_object().into_iter().flatten() {
                request = request.header(name, value.as_str().unwrap());
            }
            if let Some((name, value)) = more {
                request = request.header(*name, *value);
            }
            ApiResponse::from_response(request.send().await.unwrap()).await
        };
        for header in HEADERS {
            let answer = send(Some(header)).await;
            assert_eq!(answer.status, 403, "{what} with {header:?}: {}", text(&answer));
        }
        assert!(stack.cloud.store().list("uploads/").is_empty() || what != "PUT", "nothing was stored");
        let control = send(None).await;
        assert_eq!(control.status, 200, "{what}, the control: {}", text(&control));
    }
}

/// Rows U6 and U8 for forms: one field at a time that S3 would honor and that the policy does not name.
#[tokio::test]
async fn u6_rejects_form_fields_that_were_not_granted() {
    const FIELDS: &[(&str, &str)] = &[
        ("acl", "public-read"),
        ("tagging", "<Tagging><TagSet/></Tagging>"),
        ("success_action_redirect", "https://evil.example/"),
        ("redirect", "https://evil.example/"),
        ("Cache-Control", "max-age=1"),
        ("Content-Disposition", "inline"),
        ("Content-Encoding", "gzip"),
        ("Expires", "Thu, 01 Dec 2099 16:00:00 GMT"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-website-redirect-location", "https://evil.example/"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-meta-extra", "1"),
        ("x-amz-meta-", "1"),
        ("x-amz-security-token", "other"),
    ];
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let (url, fields) = post_form_of(&ann).await;
    for (name, value) in FIELDS {
        let mut more = fields.clone();
        more.push(((*name).to_owned(), (*value).to_owned()));
        let answer = ann.post_form(&url, &more, BODY.to_vec()).await;
        assert!([400, 403].contains(&answer.status.as_u16()), "{name}: {} {}", answer.status, text(&answer));
    }
    assert!(stack.cloud.store().list("uploads/").is_empty(), "nothing was stored");
    let control = ann.post_form(&url, &fields, BODY.to_vec()).await;
    assert_eq!(
        (control.status.as_u16(), control.header("location").is_empty()),
        (201, false),
        "{}",
        text(&control)
    );
}

/// Row U9: an expired URL and an expired form are rejected, and their expiry cannot be changed.
#[tokio::test]
async fn u9_signature_expires_on_time() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let (credentials, location) = bucket_access(&stack);
    let now_ms = now_secs() * 1000;
    let put = async |key: &str, signed_at_ms: u64, expires_secs: u64| {
        let headers = [("content-type", "video/mp4")];
        let request = PresignParams {
            method: "PUT",
            url: &location.object_url(key),
            query: &[],
            headers: &headers,
            expires_secs,
        };
        let url = presign(&request, &credentials, &location.region, signed_at_ms).unwrap();
        let request = http_client().put(url).header("content-type", "video/mp4").body("x");
        ApiResponse::from_response(request.send().await.unwrap()).await
    };
    let expired = put("uploads/over", now_ms - 901_000, 900).await;
    assert_eq!(expired.status, 403, "{}", text(&expired));
    assert!(
        text(&expired).contains("Request has expired"),
        "Uppy v4 and v5 look for this text: {}",
        text(&expired)
    );
    let early = put("uploads/early", now_ms + 24 * 3600 * 1000, 900).await;
    assert_eq!(early.status, 403, "signed tomorrow: {}", text(&early));
    assert_eq!(put("uploads/now", now_ms - 800_000, 900).await.status, 200, "the control");

    let (_, upload) = ann.create("a.mp4", "video/mp4", BODY.len(), json!({})).await;
    let url = upload["url"].as_str().unwrap();
    assert!(url.contains("X-Amz-Expires=900&"), "15 minutes: {url}");
    let mut longer = upload.clone();
    longer["url"] = json!(url.replace("X-Amz-Expires=900&", "X-Amz-Expires=86400&"));
    assert_eq!(ann.put(&longer, BODY.to_vec()).await.status, 403, "another expiry");

    for (age_ms, expected) in [(901_000, 403), (0, 201)] {
        let policy = PostPolicy {
            key: format!("uploads/form{age_ms}"),
            fields: vec![("success_action_status".into(), "201".into())],
            length_range: (1, 100),
            expires_secs: 900,
        };
        let form = sign_post_policy(&policy, &location, &credentials, now_ms - age_ms);
        let answer = ann.post_form(&location.bucket_url(), &form.fields, BODY.to_vec()).await;
        let refused = expected == 403 && [400, 403].contains(&answer.status.as_u16());
        assert!(
            refused || answer.status.as_u16() == expected,
            "a form {age_ms} ms old: {} {}",
            answer.status,
            text(&answer)
        );
    }
    let stored = stack.cloud.store().list("uploads/");
    assert_eq!(stored, ["uploads/form0", "uploads/now"], "nothing else is stored");
}

/// Row U10.
#[tokio::test]
async fn u10_signature_is_bound_to_host_region_and_bucket() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let (_, upload) = ann.create("a.mp4", "video/mp4", BODY.len(), json!({})).await;
    let url = upload["url"].as_str().unwrap().to_owned();
    let put = async |url: String, host: Option<&str>| {
        let mut request = http_client().put(url).body(BODY);
        for (name, value) in upload["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        if let Some(host) = host {
            request = request.header("host", host);
        }
        ApiResponse::from_response(request.send().await.unwrap()).await
    };
    assert!(url.contains("X-Amz-SignedHeaders=") && url.contains("%3Bhost%3B"), "the host is signed: {url}");
    let other_host = put(url.clone(), Some("s3.evil.example")).await;
    assert_eq!(other_host.status, 403, "another host: {}", text(&other_host));
    let other_bucket = put(url.replacen("/glimpse/", "/glimpse2/", 1), None).await;
    assert!([403, 404].contains(&other_bucket.status.as_u16()), "another bucket: {}", text(&other_bucket));
    let other_region = put(url.replace("us-east-1", "eu-west-1"), None).await;
    assert!([400, 403].contains(&other_region.status.as_u16()), "another scope: {}", text(&other_region));
    assert!(stack.cloud.store().list("uploads/").is_empty(), "nothing was stored");
    assert_eq!(put(url, None).await.status, 200, "the control");
}

/// Row U11: S3 does not limit multipart uploads, so the Worker checks the size before it completes one.
#[tokio::test]
async fn u11_parts_cannot_exceed_the_limit() {
    let vars = [("MAX_UPLOAD_BYTES".to_owned(), (10 * MIB).to_string())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let complete = async |path: String, parts: &[(u32, &str)]| {
        let parts: Vec<Value> =
            parts.iter().map(|(number, etag)| json!({ "PartNumber": number, "ETag": etag })).collect();
        ann.call(Method::POST, &path, Some(json!({ "parts": parts }))).await
    };
    let (_, path) = create_multipart(&ann).await;
    let third = ann.get(&path("/3")).await;
    assert_eq!((third.status.as_u16(), third.code().as_str()), (413, "too_large"), "10 MiB have two parts");
    for wrong in ["/0", "/10001", "/-1"] {
        assert_eq!(ann.get(&path(wrong)).await.code(), "bad_parameter", "{wrong}");
    }
    // Single parts may exceed the part size: only the sum is checked.
    let first = upload_part(&ann, &path("/1"), vec![1; 6 * MIB]).await;
    let second = upload_part(&ann, &path("/2"), vec![2; 6 * MIB]).await;
    let missing =
        complete(path("/complete"), &[(1, &first), (2, "\"0123456789abcdef0123456789abcdef\"")]).await;
    assert_eq!(missing.code(), "bad_parameter", "a missing part: {}", text(&missing));
    let too_large = complete(path("/complete"), &[(1, &first), (2, &second)]).await;
    assert_eq!((too_large.status.as_u16(), too_large.code().as_str()), (413, "too_large"));
    assert_eq!(
        ann.get(&path("")).await.code(),
        "not_found",
        "the upload was aborted, and its parts incur no cost"
    );
    assert!(stack.cloud.store().list("uploads/").is_empty());

    let (key, path) = create_multipart(&ann).await;
    upload_part(&ann, &path("/1"), vec![1; 6 * MIB]).await;
    let first = upload_part(&ann, &path("/1"), vec![1; 5 * MIB]).await;
    let second = upload_part(&ann, &path("/2"), vec![2; 5 * MIB]).await;
    let done = complete(path("/complete"), &[(1, &first), (2, &second)]).await;
    assert_eq!(done.status, 200, "control, with a part that was replaced by a smaller one: {}", text(&done));
    assert_eq!(stack.cloud.store().list("uploads/"), [key]);
}

/// Row U15: the Worker's error log contains request ids, but no signature, token or secret.
#[tokio::test]
async fn u15_log_contains_no_secrets() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let token_response =
        ann.call(Method::POST, "/api/upload-tokens", Some(json!({ "videos": 3 }))).await.json();
    let token = token_response["token"].as_str().unwrap();
    let holder = ApiClient::with_token(&stack, "");
    let (_, path) = create_multipart(&ann).await;
    let calls = [
        (&ann, Method::GET, "/api/videos".to_owned()),
        (&ann, Method::GET, path("")),
        (&holder, Method::GET, format!("/u/{token}/s3/params?filename=a.mp4&type=video/mp4")),
    ];
    for (person, method, path) in calls {
        for kind in [FaultKind::InternalError, FaultKind::SlowDown, FaultKind::Truncate { after_bytes: 3 }] {
            for prefix in ["", "uploads/", "media/"] {
                stack.cloud.fault_injector().add(InjectedFault {
                    method: Method::GET,
                    prefix: prefix.into(),
                    times: 1,
                    kind,
                });
            }
            let answer = person.send(method.clone(), &path, &[], "").await;
            let is_log =
                |line: &String| line.contains(answer.header("x-request-id")) && line.contains("\"event\"");
            let failed = [429, 502].contains(&answer.status.as_u16());
            assert!(failed, "{path} with {kind:?}: {} {}", answer.status, text(&answer));
            e2e::eventually("a log line", std::time::Duration::from_secs(15), || async {
                stack.lines().iter().any(is_log).then_some(())
            })
            .await;
            stack.cloud.fault_injector().clear();
        }
    }
    let logged: Vec<String> = stack.lines().into_iter().filter(|line| line.contains("\"event\"")).collect();
    let s3 = stack.cloud.settings();
    // A JWT begins with `eyJ`: neither a token nor a session may be in the log.
    let mut secrets = vec!["X-Amz-", "eyJ", SECRET, SESSION_SECRET, &s3.secret_access_key];
    secrets.extend(UPLOAD_TOKEN_SECRETS.split([',', '=']).filter(|text| text.len() > 8));
    for line in &logged {
        for secret in &secrets {
            assert!(!line.contains(secret), "{secret} is in the log: {line}");
        }
    }
    assert!(logged.len() >= 9, "the control: {logged:?}");
    let page = fetch(Method::GET, &format!("{}/", stack.edge), &[]).await;
    assert_eq!(page.header("referrer-policy"), "no-referrer", "URLs are not sent to other sites");
}

/// A form cannot be limited to one upload: it can be submitted again while it is valid. The result is not served.
#[tokio::test]
async fn resubmitted_form_does_not_change_served_source() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let (url, fields) = post_form_of(&ann).await;
    let first = e2e::media::clip(2, "320x240");
    let sent = ann.post_form(&url, &fields, first.clone()).await;
    assert_eq!(sent.status, 201, "{}", text(&sent));
    let key = &fields.iter().find(|(name, _)| name == "key").unwrap().1;
    let video = key.rsplit('/').next().unwrap().to_owned();
    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!(video_json["state"], "ready");
    let original = format!("/{video}/original");
    let address = format!("/api/videos/{video}/tokens");
    let token_response =
        ann.call(Method::POST, &address, Some(json!({ "types": ["original"] }))).await.json();
    let urls = token_response["tokens"][0]["urls"]["original"].clone();
    let by_token: Vec<String> = ["token", "short"].map(|form| urls[form].as_str().unwrap().to_owned()).into();
    let handed = ann.get(&original).await;
    assert_eq!(handed.status, 302, "the control: {}", text(&handed));
    assert_eq!(fetch(Method::GET, handed.header("location"), &[]).await.body, first);
    for url in &by_token {
        assert_eq!(fetch(Method::GET, url, &[]).await.status, 302, "the control");
    }

    let again = ann.post_form(&url, &fields, e2e::media::clip(3, "160x120")).await;
    assert_eq!(again.status, 201, "S3 accepts it: {}", text(&again));
    for method in [Method::GET, Method::HEAD] {
        let refused = ann.send(method.clone(), &original, &[], "").await;
        assert_eq!(refused.status, 409, "{method}");
        assert!(method == Method::HEAD || refused.code() == "superseded");
        assert_eq!(refused.header("location"), "");
        for url in &by_token {
            assert_eq!(fetch(method.clone(), url, &[]).await.status, 409, "{method} with a token");
        }
    }
    assert_eq!(ann.get(&format!("/api/videos/{video}")).await.json()["bytes"], video_json["bytes"]);

    // Identical bytes result in the same object.
    assert_eq!(ann.post_form(&url, &fields, first).await.status, 201);
    assert_eq!(ann.get(&original).await.status, 302);
    // After the video is deleted, an object that the form creates is never served.
    assert_eq!(ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await.status, 200);
    assert_eq!(ann.post_form(&url, &fields, BODY.to_vec()).await.status, 201, "S3 takes it");
    for url in &by_token {
        assert_eq!(fetch(Method::GET, url, &[]).await.code(), "deleted");
    }
    assert_eq!(ann.get(&original).await.code(), "deleted");
    assert_eq!(ann.get(&format!("/api/videos/{video}")).await.code(), "deleted");
    let again = ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await.json();
    assert_eq!(again["removed"]["source"], true, "a second DELETE removes it");
    assert_eq!(ann.get("/api/videos").await.json()["videos"], json!([]));
}
