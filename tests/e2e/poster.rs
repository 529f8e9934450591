//! The owner chooses another poster, which all viewers see, and returns to the best frame.

use std::time::Duration;

use e2e::eventually;
use e2e::media;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{Options, Stack};
use reqwest::Method;
use serde_json::{Value, json};

async fn get(url: &str) -> ApiResponse {
    let answer = fetch(Method::GET, url, &[]).await;
    assert_eq!(answer.status, 200, "{url}: {}", String::from_utf8_lossy(&answer.body));
    answer
}

async fn set_poster(api: &ApiClient, video: &str, time: Value) -> ApiResponse {
    api.call(Method::PUT, &format!("/api/videos/{video}/poster"), Some(json!({ "time": time }))).await
}

#[tokio::test]
async fn chosen_poster_is_used_everywhere() {
    let stack = Stack::start(Options::default()).await;
    let (ann, bob) = (ApiClient::new(&stack, "ann"), ApiClient::new(&stack, "bob"));
    let video = ann.upload("a.mp4", "video/mp4", media::clip(8, "640x360")).await;
    let video_json = ann.wait_for_outcome(&video).await;
    let url = |video_json: &Value| video_json["urls"]["thumbnail.jpg"].as_str().unwrap().to_owned();
    let bare = format!("{}/{video}/thumbnail.jpg", stack.edge);
    let small = format!("{bare}?width=200");
    let best = get(&url(&video_json)).await;
    let (best_bare, best_small) = (get(&bare).await, get(&small).await);
    assert_eq!(best_bare.body, best.body);

    for (time, code) in [(json!("1"), 400), (json!(-1), 400), (json!(null), 400), (json!(8.5), 400)] {
        let refused = set_poster(&ann, &video, time.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (code, "bad_parameter"), "{time}");
    }
    assert_eq!(set_poster(&bob, &video, json!(1)).await.code(), "not_found", "not bob's");

    let answer = set_poster(&ann, &video, json!(6.5)).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let chosen = answer.json();
    assert_eq!(chosen["poster_ms"], 6500);
    assert_ne!(url(&chosen), url(&video_json), "another revision");
    assert_eq!(ann.get(&format!("/api/videos/{video}")).await.json(), chosen);

    // The new URL immediately; the unversioned one too, since the edge purged its entry here.
    let other = get(&url(&chosen)).await;
    assert_ne!(other.body, best.body);
    assert_eq!(other.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(get(&bare).await.body, other.body);
    assert_eq!(get(chosen["urls"]["thumbnail.webp"].as_str().unwrap()).await.status, 200);
    // The old URL keeps its image in the cache.
    assert_eq!(get(&url(&video_json)).await.body, best.body);

    // Another size is the frame of that time. The unversioned entry may remain in this cache; a format that was never
    // requested has none.
    let timed = get(&format!("{bare}?time=6.5&width=200")).await;
    let webp = small.replace(".jpg", ".webp");
    let timed_webp = get(&format!("{webp}&time=6.5")).await;
    assert_eq!(get(&webp).await.body, timed_webp.body);
    assert_eq!(get(&webp).await.header("cache-control"), "public, max-age=300, stale-while-revalidate=86400");
    assert_ne!(timed.body, best_small.body);
    let stored = stack.cloud.store().list(&format!("media/{video}/thumbnail-"));
    let names: Vec<_> = stored.iter().filter_map(|key| key.rsplit('/').next()).collect();
    assert_eq!(
        names,
        ["thumbnail-time_6.5-width_200.jpg", "thumbnail-time_6.5-width_200.webp", "thumbnail-width_200.jpg"],
        "no chosen poster is stored under a key without a time"
    );

    // Back to the best frame.
    let back = ann.call(Method::DELETE, &format!("/api/videos/{video}/poster"), None).await;
    assert_eq!(back.status, 200, "{}", String::from_utf8_lossy(&back.body));
    assert_eq!(back.json()["poster_ms"], video_json["poster_ms"]);
    let again = eventually("the best frame", Duration::from_secs(10), || async {
        let answer = get(&url(&back.json())).await;
        (answer.body != other.body).then_some(answer)
    })
    .await;
    assert_eq!(get(&bare).await.body, again.body);
}

#[tokio::test]
async fn poster_cannot_be_set_without_render() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let video = ann.upload("a.mp4", "video/mp4", b"x".to_vec()).await;
    let answer = set_poster(&ann, &video, json!(1)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (202, "processing"));
}
