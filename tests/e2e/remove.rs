//! Deletion: a deleted video is gone, stays gone, and is reported as deleted.

use std::time::Duration;

use e2e::eventually;
use e2e::media;
use e2e::person::{ApiClient, fetch, http_client};
use e2e::stack::{Options, Stack};
use reqwest::Method;
use serde_json::json;

async fn delete(api: &ApiClient, video: &str) -> e2e::person::ApiResponse {
    api.call(Method::DELETE, &format!("/api/videos/{video}"), None).await
}

#[tokio::test]
async fn deleted_video_leaves_only_a_tombstone() {
    let stack = Stack::start(Options::default()).await;
    let (ann, bob) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "bob"));
    let video = ann.upload("a.mp4", "video/mp4", media::clip(2, "320x240")).await;
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    let poster = format!("{}/{video}/thumbnail.png?width=100", stack.edge);
    assert_eq!(fetch(Method::GET, &poster, &[]).await.status, 200);
    let video_json = ann.get(&format!("/api/videos/{video}")).await.json();
    let thumbnail = video_json["urls"]["thumbnail.jpg"].as_str().unwrap().to_owned();
    let bare = format!("{}/{video}/thumbnail.jpg", stack.edge);
    for url in [&poster, &thumbnail, &bare] {
        eventually("a cache hit", Duration::from_secs(10), || async {
            let answer = fetch(Method::GET, url, &[]).await;
            answer.header("server-timing").starts_with("cache;desc=hit").then_some(())
        })
        .await;
    }
    let before = stack.cloud.store().list(&format!("media/{video}/")).len();

    assert_eq!(delete(&bob, &video).await.status, 404, "not bob's");
    assert_eq!(ann.get(&format!("/api/videos/{video}")).await.status, 200, "nothing was deleted");
    let answer = delete(&ann, &video).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let removed = answer.json()["removed"].clone();
    assert!(answer.json()["caches"]["purged"].as_u64().unwrap() >= 2, "{}", answer.json()["caches"]);
    assert_eq!(answer.json()["caches"]["may_last_secs"], 31_536_000);
    for url in [&poster, &thumbnail, &bare] {
        let picture = fetch(Method::GET, url, &[]).await;
        assert_eq!((picture.status.as_u16(), picture.code().as_str()), (410, "deleted"), "{url}");
    }
    assert_eq!(removed, json!({ "source": true, "pictures": before - 1, "unfinished_uploads": 0 }));
    assert_eq!(stack.cloud.store().list(""), [format!("media/{video}/manifest.json")]);

    let again = delete(&ann, &video).await;
    assert_eq!(again.status, 200, "a second DELETE has the same response");
    assert_eq!(again.json()["removed"], json!({ "source": false, "pictures": 0, "unfinished_uploads": 0 }));
    let video_json = ann.get(&format!("/api/videos/{video}")).await;
    assert_eq!((video_json.status.as_u16(), video_json.code().as_str()), (410, "deleted"));
    assert_eq!(ann.get("/api/videos").await.json()["videos"], json!([]));
    let other = format!("{}/{video}/thumbnail.png?width=101", stack.edge);
    let picture = fetch(Method::GET, &other, &[]).await;
    assert_eq!((picture.status.as_u16(), picture.code().as_str()), (410, "deleted"));
}

/// A function that is still running when its video is deleted cannot publish it.
#[tokio::test]
async fn video_deleted_while_processing_stays_deleted() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", b"x".to_vec()).await;
    let (unsent, _) = ann.create("b.mp4", "video/mp4", 5, json!({})).await;
    assert_eq!(delete(&ann, &unsent).await.status, 404, "nothing was uploaded");
    let pending_multipart =
        ann.call(Method::POST, "/s3/multipart", Some(json!({ "filename": "c.mp4", "type": "video/mp4" })));
    let multipart = pending_multipart.await.json();
    let third = multipart["key"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(ann.get("/api/uploads").await.json()["uploads"][0]["video"], json!(third));

    assert_eq!(delete(&ann, &video).await.json()["removed"]["source"], true);
    assert_eq!(delete(&ann, &third).await.json()["removed"]["unfinished_uploads"], 1);
    assert_eq!(ann.get("/api/uploads").await.json()["uploads"], json!([]));
    let remaining_keys = stack.cloud.store().list("");
    assert_eq!(remaining_keys.len(), 2);
    assert!(remaining_keys.iter().all(|key| key.ends_with("/manifest.json")), "{remaining_keys:?}");
    for deleted in [&video, &third] {
        let picture = fetch(Method::GET, &format!("{}/{deleted}/thumbnail.jpg", stack.edge), &[]).await;
        assert_eq!((picture.status.as_u16(), picture.code().as_str()), (410, "deleted"));
    }
}

/// After a deletion nothing of the video remains, however many uploads of it were started, and whatever was signed for
/// it before.
#[tokio::test]
async fn delete_aborts_all_unfinished_uploads() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let (video, upload) = ann.create("a.mp4", "video/mp4", 5, json!({})).await;
    assert_eq!(ann.put(&upload, b"bytes".to_vec()).await.status, 200);
    let key = stack.cloud.store().list("uploads/")[0].clone();
    // In addition to the upload that created the video: a signed CreateMultipartUpload can be reused until it expires.
    let body = json!({ "method": "POST", "key": "a.mp4" });
    let signed = ann.call(Method::POST, "/s3/presign", Some(body)).await.json();
    let second = signed["key"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    for _ in 0..23 {
        let mut creation = http_client().post(signed["url"].as_str().unwrap());
        for (name, value) in signed["headers"].as_object().unwrap() {
            creation = creation.header(name, value.as_str().unwrap());
        }
        assert_eq!(creation.send().await.unwrap().status(), 200);
    }
    assert_eq!(stack.cloud.store().multipart_upload_count(), 23);
    assert_eq!(delete(&ann, &second).await.json()["removed"]["unfinished_uploads"], 23);
    assert_eq!(stack.cloud.store().multipart_upload_count(), 0);

    assert_eq!(delete(&ann, &video).await.status, 200);
    assert_eq!(
        ann.put(&upload, b"bytes".to_vec()).await.status,
        200,
        "S3 accepts a signed request until it expires"
    );
    let video_json = ann.get(&format!("/api/videos/{video}")).await;
    assert_eq!((video_json.status.as_u16(), video_json.code().as_str()), (410, "deleted"));
    assert_eq!(ann.get("/api/videos").await.json()["videos"], json!([]));
    assert!(!stack.cloud.store().list("uploads/").contains(&key), "the next listing removes it");
}

/// Row A9 of the threat model: S3 accepts a PUT that was signed before the deletion. Its event creates nothing.
#[tokio::test]
async fn put_after_deletion_creates_no_video() {
    let stack = Stack::start(Options::default()).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(2, "320x240");
    let (video, upload) = ann.create("a.mp4", "video/mp4", clip.len(), json!({})).await;
    assert_eq!(ann.put(&upload, clip.clone()).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    assert_eq!(delete(&ann, &video).await.status, 200);
    let manifest = format!("media/{video}/manifest.json");
    let store = stack.cloud.store();
    let tombstone = store.head(&manifest).unwrap();
    let before = stack.cloud.invocations().len();

    assert_eq!(ann.put(&upload, clip).await.status, 200, "S3 accepts a signed request until it expires");
    eventually("the event was handled", Duration::from_secs(90), || async {
        let is_done = stack.cloud.invocations().len() > before && stack.cloud.queue().messages().is_empty();
        is_done.then_some(())
    })
    .await;
    assert!(stack.cloud.invocations().iter().all(|invocation| invocation.outcome.is_success()));
    assert!(stack.cloud.queue().dead_letters().is_empty());
    assert_eq!(
        store.list(&format!("media/{video}/")),
        std::slice::from_ref(&manifest),
        "no image is created"
    );
    assert_eq!(store.head(&manifest).unwrap(), tombstone, "the manifest is unchanged");
    for path in [format!("/api/videos/{video}"), format!("/api/videos/{video}/events")] {
        let response = ann.get(&path).await;
        assert_eq!((response.status.as_u16(), response.code().as_str()), (410, "deleted"), "{path}");
    }
    for file in
        ["thumbnail.jpg", "thumbnail.jpg?time=1&width=51", "animated.gif", "storyboard.vtt", "meta.json"]
    {
        let response = fetch(Method::GET, &format!("{}/{video}/{file}", stack.edge), &[]).await;
        assert_eq!((response.status.as_u16(), response.code().as_str()), (410, "deleted"), "{file}");
    }
    assert_eq!(ann.get(&format!("/{video}/original")).await.code(), "deleted");
    assert_eq!(store.list("uploads/").len(), 1, "the file remains until the next listing");
    assert_eq!(ann.get("/api/videos").await.json()["videos"], json!([]));
    assert_eq!(store.list(""), [manifest], "the next listing removes it");
}
