//! Companion's S3 protocol at the edge.
//!
//! The requirements for a drop-in server, and the test of each. `run.mjs` is `tests/browser/uppy/run.mjs`: the released
//! Uppy v4, v5 and v6 in a browser. The others are tests in this file unless another file is named.
//!
//! | | a drop-in server … | shown by |
//! |---|---|---|
//! | 1 | accepts `//s3/…` for `/s3/…` | `accepts_double_slash_and_encoded_upload_id`; `run.mjs` (slash) |
//! | 2 | reads `metadata[…]`, encoded or not | `params_match_companion_and_post_succeeds` |
//! | 3 | distinguishes `batch` from a part number | `signs_parts_singly_and_in_batches` |
//! | 4 | lists `PartNumber` as a number | `lists_parts_across_all_pages`; `run.mjs` (resume) |
//! | 5 | follows S3's list pages of parts | `lists_parts_across_all_pages` |
//! | 6 | accepts ETags with and without quotes | `completes_with_quoted_and_bare_etags`; `run.mjs` |
//! | 7 | responds to `DELETE` with 200 and `{}` | `abort_returns_an_object`; `run.mjs` (cancel) |
//! | 8 | returns a POST form whose URL ends with `/` | `params_match_companion_and_post_succeeds`; `run.mjs` (single) |
//! | 9 | generates keys that need no escaping | `params_match_companion_and_post_succeeds` |
//! | 10 | returns `fields.key` and `fields.bucket` | `params_match_companion_and_post_succeeds`; `run.mjs` (single) |
//! | 11 | returns `error` and `message` | `errors_have_detail_and_companion_message`; `run.mjs` (refusals) |
//! | 12 | returns 401 to unauthenticated callers only | `errors_have_detail_and_companion_message` |
//! | 13 | echoes origins, with credentials, for a day | `preflight_is_cached_for_a_day`; `run.mjs` (another origin) |
//! | 14 | decodes the upload id | `accepts_double_slash_and_encoded_upload_id` |
//! | 15 | checks the key in every call | `rejects_multipart_calls_of_other_users` |
//! | 16 | detects an error in S3's 200 response | `completion_error_ignores_status` in edge/src/s3/multipart.rs |
//! | 17 | accepts a header, a cookie, a token in the path | `run.mjs` (bearer, cookie, path) |

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::person::{ApiClient, ApiResponse, fetch, http_client};
use e2e::stack::{APP_ORIGIN, Options, Stack};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

/// S3's minimum size of a part, except the last one.
const PART_BYTES: usize = 5 * 1024 * 1024;

async fn stack() -> Stack {
    Stack::start(Options { no_function: true, ..Options::default() }).await
}

/// A multipart upload in progress.
struct MultipartSession {
    key: String,
    id: String,
}

impl MultipartSession {
    async fn create(api: &ApiClient) -> Self {
        let body = json!({ "filename": "a.mp4", "type": "video/mp4", "metadata": { "name": "a.mp4", "n": 1, "x": null } });
        let answer = api.call(Method::POST, "/s3/multipart", Some(body)).await;
        assert_eq!(answer.status, 200, "{}", text(&answer));
        let answer = answer.json();
        let member =
            |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{name}: {answer}")).to_owned();
        assert_eq!(member("bucket"), "glimpse");
        Self { key: member("key"), id: member("uploadId") }
    }

    /// The path of a call for this upload.
    fn path(&self, rest: &str) -> String {
        format!("/s3/multipart/{}{rest}?key={}", self.id, self.key)
    }

    async fn sign(&self, api: &ApiClient, part: u32) -> String {
        let answer = api.get(&self.path(&format!("/{part}"))).await;
        assert_eq!(answer.status, 200, "{}", text(&answer));
        let answer = answer.json();
        assert_eq!((&answer["method"], &answer["expires"]), (&json!("PUT"), &json!(900)));
        answer["url"].as_str().unwrap().to_owned()
    }

    /// Sends a part and returns its ETag as S3 returned it: in quotes.
    async fn upload_part(&self, api: &ApiClient, part: u32, body: Vec<u8>) -> String {
        put_part(&self.sign(api, part).await, body).await
    }

    async fn complete(&self, api: &ApiClient, parts: Value) -> ApiResponse {
        api.call(Method::POST, &self.path("/complete"), Some(json!({ "parts": parts }))).await
    }
}

async fn put_part(url: &str, body: Vec<u8>) -> String {
    let answer = ApiResponse::from_response(http_client().put(url).body(body).send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    answer.header("etag").to_owned()
}

fn text(answer: &ApiResponse) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn params_match_companion_and_post_succeeds() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    for query in [
        "filename=a+%2B%20b.mp4&type=video%2Fmp4&metadata%5Bname%5D=x&metadata%5BrelativePath%5D=null",
        "filename=a+%2B%20b.mp4&type=video/mp4&metadata[name]=x&metadata[a][b]=y&metadata[]=z",
    ] {
        let answer = ann.get(&format!("/s3/params?{query}")).await.json();
        assert_eq!((&answer["method"], &answer["expires"]), (&json!("POST"), &json!(900)), "{query}");
        assert!(answer["url"].as_str().unwrap().ends_with("/glimpse/"), "Uppy v6.0 appends the key to it");
        let fields = answer["fields"].as_object().unwrap();
        assert_eq!((&fields["bucket"], &fields["success_action_status"]), (&json!("glimpse"), &json!("201")));
        assert!(fields.values().all(Value::is_string), "{fields:?}");
        assert!(!fields.keys().any(|name| name == "file" || name.contains("redirect")), "v6 would reject it");
        let key = fields["key"].as_str().unwrap();
        assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b)), "{key}");

        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let posted = ann.post_form(answer["url"].as_str().unwrap(), &fields, b"bytes".to_vec()).await;
        assert_eq!(posted.status, 201, "{}", text(&posted));
        assert!(!posted.header("etag").is_empty() && posted.header("location").ends_with(key));
        let video_json = ann.get(&format!("/api/videos/{}", key.rsplit('/').next().unwrap())).await.json();
        assert_eq!(video_json["name"], "a + b.mp4", "{query}");
    }
}

#[tokio::test]
async fn signs_parts_singly_and_in_batches() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let upload = MultipartSession::create(&ann).await;
    let batch = ann.get(&format!("{}&partNumbers=1,2%2C10", upload.path("/batch"))).await;
    assert_eq!(batch.status, 200, "{}", text(&batch));
    let urls = batch.json()["presignedUrls"].clone();
    assert_eq!(urls.as_object().unwrap().keys().collect::<Vec<_>>(), ["1", "10", "2"]);
    for part in [1, 2, 10] {
        let one = upload.sign(&ann, part).await;
        let of_batch = urls[part.to_string()].as_str().unwrap();
        assert!(
            one.contains(&format!("partNumber={part}&")) && of_batch.contains(&format!("partNumber={part}&"))
        );
        assert!(!put_part(of_batch, vec![1]).await.is_empty());
    }
    for wrong in ["0", "10001", "-1", "1.5", "1e3", "x", "%31%00", "99999999999999999999"] {
        let answer = ann.get(&upload.path(&format!("/{wrong}"))).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_parameter"), "part {wrong}");
    }
    for wrong in ["", "1,0", "1,x", "10001"] {
        let answer = ann.get(&format!("{}&partNumbers={wrong}", upload.path("/batch"))).await;
        assert_eq!(answer.code(), "bad_parameter", "parts {wrong}");
    }
}

#[tokio::test]
async fn lists_parts_across_all_pages() {
    /// More parts than one list page of S3 contains.
    const COUNT: u32 = 1_003;
    let vars = [("MAX_UPLOAD_BYTES".to_owned(), (u64::from(COUNT) * PART_BYTES as u64).to_string())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let upload = MultipartSession::create(&ann).await;
    assert_eq!(ann.get(&upload.path("")).await.json(), json!([]));

    let numbers: Vec<u32> = (1..=COUNT).collect();
    for numbers in numbers.chunks(100) {
        let list = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let urls = ann.get(&format!("{}&partNumbers={list}", upload.path("/batch"))).await.json();
        let sent = futures::stream::iter(numbers).map(|number| {
            let url = urls["presignedUrls"][number.to_string()].as_str().unwrap().to_owned();
            async move { put_part(&url, vec![7; *number as usize % 3 + 1]).await }
        });
        sent.buffer_unordered(8).collect::<Vec<_>>().await;
    }
    let listed = ann.get(&upload.path("")).await.json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), COUNT as usize);
    for (number, part) in numbers.iter().zip(listed) {
        assert_eq!((&part["PartNumber"], &part["Size"]), (&json!(number), &json!(number % 3 + 1)), "{part}");
        let etag = part["ETag"].as_str().unwrap();
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() == 34, "as S3 returns it: {etag}");
    }
    let next = ann.get(&upload.path(&format!("/{}", COUNT + 1))).await;
    assert_eq!(
        (next.status.as_u16(), next.code().as_str()),
        (413, "too_large"),
        "an allowed file has fewer parts"
    );
}

#[tokio::test]
async fn completes_with_quoted_and_bare_etags() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let upload = MultipartSession::create(&ann).await;
    let quoted = upload.upload_part(&ann, 1, vec![1; PART_BYTES]).await;
    let second = upload.upload_part(&ann, 2, vec![2]).await;
    assert!(quoted.starts_with('"') && quoted.ends_with('"'), "{quoted}");

    let wrong = json!([{ "PartNumber": 1, "ETag": second }, { "PartNumber": 2, "ETag": second }]);
    assert_eq!(upload.complete(&ann, wrong).await.code(), "bad_parameter", "another part's ETag");
    for parts in
        [json!([]), json!({}), json!([{ "PartNumber": "1", "ETag": quoted }]), json!([{ "PartNumber": 1 }])]
    {
        assert_eq!(upload.complete(&ann, parts.clone()).await.code(), "bad_parameter", "{parts}");
    }
    assert!(stack.cloud.store().list("uploads/").is_empty(), "no video was created");

    // Out of order, one entry in the form of v5 and one in that of v6.
    let parts = json!([
        { "PartNumber": 2, "ETag": second.trim_matches('"') },
        { "PartNumber": 1, "ETag": quoted },
    ]);
    let answer = upload.complete(&ann, parts.clone()).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let done = answer.json();
    let id = upload.key.rsplit('/').next().unwrap();
    assert_eq!((&done["key"], &done["bucket"]), (&json!(upload.key), &json!("glimpse")));
    assert!(done["location"].as_str().unwrap().ends_with(&format!("/{id}")), "{done}");
    assert_eq!(done.get("error"), None, "v4 and v5 would throw an error");
    assert_eq!(done["video"], ann.get(&format!("/api/videos/{id}")).await.json());
    assert_eq!((&done["video"]["id"], &done["video"]["bytes"]), (&json!(id), &json!(PART_BYTES + 1)));
    assert_eq!(stack.cloud.store().list("uploads/"), std::slice::from_ref(&upload.key));

    // The client repeats the request after a lost response.
    let again = upload.complete(&ann, parts).await;
    assert_eq!((again.status.as_u16(), &again.json()["video"]["id"]), (200, &json!(id)), "{}", text(&again));
}

/// Uppy's retry when the response to `complete` was lost: v6 lists the parts first, and completes with the ETags of
/// that list.
#[tokio::test]
async fn completing_twice_returns_the_same_answer() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let upload = MultipartSession::create(&ann).await;
    let first = upload.upload_part(&ann, 1, vec![1; PART_BYTES]).await;
    let second = upload.upload_part(&ann, 2, vec![2; 9]).await;
    let part = |number: u32, etag: &str| json!({ "PartNumber": number, "ETag": etag });
    let parts = json!([part(1, &first), part(2, &second)]);
    let done = upload.complete(&ann, parts.clone()).await;
    assert_eq!(done.status, 200, "{}", text(&done));

    let listed = ann.get(&upload.path("")).await;
    assert_eq!(listed.status, 200, "{}", text(&listed));
    let listed = listed.json();
    let numbers: Vec<_> = listed.as_array().unwrap().iter().map(|part| part["PartNumber"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(2)]);
    let bytes: u64 = listed.as_array().unwrap().iter().map(|part| part["Size"].as_u64().unwrap()).sum();
    assert_eq!(bytes, PART_BYTES as u64 + 9);
    for again in [parts, listed] {
        let answer = upload.complete(&ann, again).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, done.json()), "{}", text(&answer));
    }
    // Other parts mean another upload, whose bytes are missing.
    for other in [json!([part(1, &first)]), json!([part(1, &second), part(2, &first)])] {
        assert_eq!(upload.complete(&ann, other).await.code(), "already_uploaded");
    }
    // The same through signRequest: S3 itself would respond with 404.
    let sign = async |method: &str| {
        let body = json!({ "method": method, "key": upload.key, "uploadId": upload.id });
        let answer = ann.call(Method::POST, "/s3/presign", Some(body)).await;
        assert_eq!(answer.status, 200, "{}", text(&answer));
        answer.json()["url"].as_str().unwrap().to_owned()
    };
    let listed = fetch(Method::GET, &sign("GET").await, &[]).await;
    assert!(
        text(&listed).starts_with("<ListPartsResult><Part><PartNumber>1</PartNumber>"),
        "{}",
        text(&listed)
    );
    let etag = text(&listed).split("<ETag>").nth(1).unwrap().split("</ETag>").next().unwrap().to_owned();
    let xml = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         <Part><PartNumber>2</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let answer =
        ApiResponse::from_response(http_client().post(sign("POST").await).body(xml).send().await.unwrap())
            .await;
    assert!(answer.status == 200 && text(&answer).contains(&upload.key), "{}", text(&answer));
}

/// A part with a declared length is signed for that length; so is the part of a token whose file has only one.
#[tokio::test]
async fn part_with_declared_size_is_enforced() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let upload = MultipartSession::create(&ann).await;
    let query = format!("{}&size=9", upload.path("/1"));
    let presign =
        json!({ "method": "PUT", "key": upload.key, "uploadId": upload.id, "partNumber": 1, "size": 9 });
    let batch = format!("{}&partNumbers=1&size=9", upload.path("/batch"));
    let urls = [
        ann.get(&query).await.json()["url"].clone(),
        ann.call(Method::POST, "/s3/presign", Some(presign)).await.json()["url"].clone(),
        ann.get(&batch).await.json()["presignedUrls"]["1"].clone(),
    ];
    for url in urls {
        let url = url.as_str().unwrap();
        for (bytes, status) in [(10, 403), (8, 403), (9, 200)] {
            let answer = http_client().put(url).body(vec![7; bytes]).send().await.unwrap();
            assert_eq!(answer.status(), status, "{bytes} bytes");
        }
    }
    for wrong in ["0", "-1", "x", ""] {
        let answer = ann.get(&format!("{}&size={wrong}", upload.path("/1"))).await;
        assert_eq!(answer.code(), "bad_parameter", "{wrong}");
    }
}

#[tokio::test]
async fn abort_returns_an_object() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let upload = MultipartSession::create(&ann).await;
    let etag = upload.upload_part(&ann, 1, vec![1]).await;
    for time in ["first", "second"] {
        let answer = ann.call(Method::DELETE, &upload.path(""), None).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})), "the {time} time");
        assert!(answer.header("content-type").starts_with("application/json"));
    }
    assert_eq!(ann.get(&upload.path("")).await.code(), "not_found");
    let late = upload.complete(&ann, json!([{ "PartNumber": 1, "ETag": etag }])).await;
    assert_eq!((late.status.as_u16(), late.code().as_str()), (404, "not_found"));
    let late = http_client().put(upload.sign(&ann, 1).await).body("x").send().await.unwrap();
    assert_eq!(late.status(), 404, "S3 has deleted the upload");
}

/// As on Cloudflare R2, which responds to a POST form with 501.
#[tokio::test]
async fn without_post_forms_put_signs_the_length() {
    let vars = [("S3_POST_POLICY".to_owned(), "no".to_owned())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let params_path = "/s3/params?filename=a.mp4&type=video%2Fmp4";
    let sign = |size: Option<u32>| {
        let mut body = json!({ "method": "PUT", "key": "a.mp4", "contentType": "video/mp4" });
        if let Some(size) = size {
            body["size"] = json!(size);
        }
        ann.call(Method::POST, "/s3/presign", Some(body))
    };
    for rejected in
        [ann.get(params_path).await, ann.get(&format!("{params_path}&size=many")).await, sign(None).await]
    {
        assert_eq!(rejected.code(), "bad_parameter");
        assert!(text(&rejected).contains("`size`"), "{}", text(&rejected));
    }
    assert_eq!(ann.get(&format!("{params_path}&metadata[size]=0")).await.code(), "empty");

    for answer in [ann.get(&format!("{params_path}&metadata%5Bsize%5D=9")).await, sign(Some(9)).await] {
        let answer = answer.json();
        assert_eq!(answer["method"], "PUT", "{answer}");
        assert!(answer["fields"].as_object().is_none_or(serde_json::Map::is_empty), "{answer}");
        for (bytes, expected) in [(10, 403), (9, 200), (9, 412)] {
            let mut put = http_client().put(answer["url"].as_str().unwrap()).body(vec![7; bytes]);
            for (name, value) in answer["headers"].as_object().unwrap() {
                put = put.header(name, value.as_str().unwrap());
            }
            assert_eq!(put.send().await.unwrap().status(), expected, "{bytes} bytes");
        }
    }
    assert_eq!(stack.cloud.store().list("uploads/").len(), 2);
}

/// S3 does not list unfinished uploads to the client, so the edge records their ids.
#[tokio::test]
async fn lists_unfinished_uploads_until_deleted() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let body = json!({ "filename": "Ski trip ü.mp4", "type": "video/mp4" });
    let multipart = ann.call(Method::POST, "/s3/multipart", Some(body)).await.json();
    let body = json!({ "method": "POST", "key": "6f9619ff-8b86-d011-b42d-00cf4fc964ff-signed.mp4" });
    let signed = ann.call(Method::POST, "/s3/presign", Some(body)).await.json();
    let mut creation = http_client().post(signed["url"].as_str().unwrap());
    for (name, value) in signed["headers"].as_object().unwrap() {
        creation = creation.header(name, value.as_str().unwrap());
    }
    assert_eq!(creation.send().await.unwrap().status(), 200);

    let listed = ann.get("/api/uploads").await.json();
    let mut names: Vec<_> =
        listed["uploads"].as_array().unwrap().iter().map(|upload| upload["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Ski trip ü.mp4", "signed.mp4"]);
    for key in [&multipart["key"], &signed["key"]] {
        let video = key.as_str().unwrap().rsplit('/').next().unwrap();
        assert_eq!(ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await.status, 200);
    }
    assert!(stack.cloud.store().list("slots/").is_empty(), "a deleted video leaves no record of its uploads");
    assert_eq!(ann.get("/api/uploads").await.json()["uploads"], json!([]));
}

#[tokio::test]
async fn accepts_double_slash_and_encoded_upload_id() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let body = json!({ "filename": "a.mp4", "type": "video/mp4" });
    let multipart = ann.call(Method::POST, "//s3/multipart", Some(body)).await.json();
    let key = multipart["key"].as_str().unwrap().replace('/', "%2F");
    // Every character escaped, also those that need no escaping: the decoded id counts, not its spelling.
    let escaped = multipart["uploadId"].as_str().unwrap().bytes().map(|byte| format!("%{byte:02x}"));
    let id = escaped.collect::<Vec<_>>().concat();
    let path = |rest: &str| format!("//s3/multipart/{id}{rest}?key={key}");

    let signed = ann.get(&path("/1")).await;
    assert_eq!(signed.status, 200, "{}", text(&signed));
    let etag = put_part(signed.json()["url"].as_str().unwrap(), vec![1]).await;
    let batch = ann.get(&format!("{}&partNumbers=1", path("/batch"))).await.json();
    assert!(batch["presignedUrls"]["1"].is_string(), "{batch}");
    assert_eq!(ann.get(&path("")).await.json()[0]["ETag"], json!(etag));
    let parts = json!({ "parts": [{ "PartNumber": 1, "ETag": etag }] });
    let done = ann.call(Method::POST, &path("/complete"), Some(parts)).await;
    assert_eq!(done.status, 200, "{}", text(&done));
    assert_eq!(ann.call(Method::DELETE, &path(""), None).await.status, 200);
    assert_eq!(ann.get("//s3//params?filename=a&type=video/mp4").await.status, 200);
}

/// Rows U4 and U11 of docs/threat-model.md.
#[tokio::test]
async fn rejects_multipart_calls_of_other_users() {
    let stack = stack().await;
    let (ann, ben) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "ben"));
    let (upload, own) = (MultipartSession::create(&ann).await, MultipartSession::create(&ben).await);
    let etag = upload.upload_part(&ann, 1, vec![1]).await;
    let parts = json!({ "parts": [{ "PartNumber": 1, "ETag": etag }] });
    let keys = [
        upload.key.clone(),
        String::new(),
        format!("{}/", upload.key),
        upload.key.replace("uploads/", "media/"),
        format!("{}/../{}", own.key, upload.key),
        format!("{}%00", own.key),
        own.key.to_uppercase(),
    ];
    for key in keys {
        let path = |rest: &str| format!("/s3/multipart/{}{rest}?key={key}", upload.id);
        let calls = [
            (Method::GET, path("/1"), None),
            (Method::GET, format!("{}&partNumbers=1", path("/batch")), None),
            (Method::GET, path(""), None),
            (Method::POST, path("/complete"), Some(parts.clone())),
            (Method::DELETE, path(""), None),
        ];
        for (method, path, body) in calls {
            let answer = ben.call(method.clone(), &path, body).await;
            let refused = (answer.status.as_u16(), answer.code());
            assert_eq!(refused, (403, "forbidden_key".to_owned()), "{method} {path}: {}", text(&answer));
        }
        for (method, more) in [
            ("PUT", json!({ "uploadId": upload.id, "partNumber": 1 })),
            ("GET", json!({ "uploadId": upload.id })),
            ("POST", json!({ "uploadId": upload.id })),
            ("DELETE", json!({ "uploadId": upload.id })),
        ] {
            let mut body = json!({ "method": method, "key": key });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let answer = ben.call(Method::POST, "/s3/presign", Some(body)).await;
            assert!([400, 403].contains(&answer.status.as_u16()), "{method} {key}: {}", text(&answer));
        }
    }
    // The id of Ann's upload with one of Ben's keys: S3 has no such pair.
    let path = format!("/s3/multipart/{}?key={}", upload.id, own.key);
    assert_eq!(ben.get(&path).await.code(), "not_found");
    assert_eq!(
        ann.get(&upload.path("")).await.json().as_array().unwrap().len(),
        1,
        "the upload is unchanged"
    );
    let done = ann.call(Method::POST, &upload.path("/complete"), Some(parts)).await;
    assert_eq!(done.status, 200, "the control: {}", text(&done));
}

#[tokio::test]
async fn errors_have_detail_and_companion_message() {
    let stack = stack().await;
    let ann = ApiClient::new(&stack, "ann");
    let upload = MultipartSession::create(&ann).await;
    let nothing = || Some(json!({}));
    let cases = [
        (Method::GET, "/s3/params?type=video/mp4".to_owned(), None, 400, "bad_parameter"),
        (Method::GET, "/s3/params?filename=a&type=text/html".to_owned(), None, 415, "type_not_allowed"),
        (Method::POST, "/s3/multipart".to_owned(), nothing(), 400, "bad_parameter"),
        (
            Method::POST,
            "/s3/multipart".to_owned(),
            Some(json!({ "filename": "a", "type": 7 })),
            400,
            "bad_parameter",
        ),
        (
            Method::POST,
            "/s3/multipart".to_owned(),
            Some(json!({ "filename": "a", "type": "text/html" })),
            415,
            "type_not_allowed",
        ),
        (Method::GET, format!("/s3/multipart/{}", upload.id), None, 400, "bad_parameter"),
        (Method::GET, format!("/s3/multipart/nonsense?key={}", upload.key), None, 404, "not_found"),
        (Method::POST, upload.path("/complete"), nothing(), 400, "bad_parameter"),
        (Method::PUT, upload.path("/1"), None, 405, "method_not_allowed"),
        (Method::POST, "/s3/presign".to_owned(), nothing(), 400, "bad_parameter"),
        (
            Method::POST,
            "/s3/presign".to_owned(),
            Some(json!({ "method": "DELETE", "key": upload.key, "uploadId": "" })),
            400,
            "bad_parameter",
        ),
        (
            Method::POST,
            "/s3/presign".to_owned(),
            Some(json!({ "method": "POST", "key": upload.key, "uploadId": "nonsense" })),
            404,
            "not_found",
        ),
        (Method::GET, "/s3/sts".to_owned(), None, 404, "not_found"),
        (Method::GET, "/drive/list/root".to_owned(), None, 404, "not_found"),
        (Method::POST, "/drive/get/1".to_owned(), nothing(), 404, "not_found"),
        (Method::GET, "/dropbox/connect".to_owned(), None, 404, "not_found"),
        (Method::POST, "/url/meta".to_owned(), nothing(), 404, "not_found"),
        (Method::POST, "/url/get".to_owned(), nothing(), 404, "not_found"),
        (Method::GET, "/s3/nothing".to_owned(), None, 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = ann.call(method.clone(), &path, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{method} {path}: {}",
            text(&answer)
        );
        let problem = answer.json();
        assert!(
            problem["message"].as_str().is_some_and(|words| words.len() > 10),
            "{method} {path}: {problem}"
        );
        assert_eq!((&problem["error"], &problem["detail"]), (&problem["message"], &problem["message"]));
    }
    let calls = [
        (Method::GET, "/s3/params?filename=a&type=video/mp4".to_owned()),
        (Method::POST, "/s3/multipart".to_owned()),
        (Method::GET, upload.path("")),
        (Method::GET, upload.path("/1")),
        (Method::GET, upload.path("/batch")),
        (Method::POST, upload.path("/complete")),
        (Method::DELETE, upload.path("")),
        (Method::POST, "/s3/presign".to_owned()),
    ];
    for (method, path) in calls {
        for proof in [None, Some("Bearer nonsense")] {
            let headers: Vec<_> = proof.map(|proof| ("authorization", proof)).into_iter().collect();
            let answer = fetch(method.clone(), &format!("{}{path}", stack.edge), &headers).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code().as_str()),
                (401, "unauthorized"),
                "{method} {path}"
            );
        }
        let path = format!("{}/u/{}{path}", stack.edge, URL_SAFE_NO_PAD.encode("no token"));
        let answer = fetch(method.clone(), &path, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (401, "unauthorized"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn preflight_is_cached_for_a_day() {
    let stack = stack().await;
    let paths = [
        "/s3/params",
        "/s3/multipart",
        "/s3/multipart/x",
        "/s3/multipart/x/1",
        "//s3/presign",
        "/u/x/s3/multipart/x",
    ];
    for path in paths {
        let url = format!("{}{path}", stack.edge);
        let headers = [
            ("origin", APP_ORIGIN),
            ("access-control-request-method", "DELETE"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let answer = fetch(Method::OPTIONS, &url, &headers).await;
        assert_eq!(answer.status, 204, "{path}");
        let wanted = [
            ("access-control-allow-origin", APP_ORIGIN),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "86400"),
        ];
        for (name, value) in wanted {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        for (name, word) in [
            ("access-control-allow-methods", "DELETE"),
            ("access-control-allow-headers", "authorization"),
            ("access-control-allow-headers", "content-type"),
            ("vary", "Origin"),
        ] {
            assert!(answer.header(name).contains(word), "{path}: {name} is {}", answer.header(name));
        }
        let foreign = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
        let answer = fetch(Method::OPTIONS, &url, &foreign).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
}
