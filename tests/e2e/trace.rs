//! One trace id follows a video from its upload to its webhooks: the caller's, or the video's own.

use std::time::Duration;

use e2e::eventually;
use e2e::media;
use e2e::person::{ApiClient, ApiResponse, fetch};
use e2e::stack::{APP_ORIGIN, NotifyOptions, Options, Stack};
use glimpse_contract::{TraceId, VideoId};
use glimpse_local::Config;
use glimpse_local::lambda::LoggedInvocation;
use reqwest::Method;
use serde_json::{Value, json};

use crate::webhooks::{OLD_SECRET, WebhookSink};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const HEADER: (&str, &str) = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// The trace id of a video whose upload had none.
fn own_trace_id(video: &str) -> Value {
    TraceId::from_video(video.parse::<VideoId>().unwrap()).to_string().into()
}

/// The log lines of a function that name the video, once there are `count`.
async fn log_lines_of(
    video: &str,
    count: usize,
    invocations: impl Fn() -> Vec<LoggedInvocation>,
) -> Vec<Value> {
    eventually("lines in a function's log", LIMIT, || async {
        let invocations = invocations();
        let lines = invocations.iter().flat_map(|invocation| &invocation.lines);
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<_> = lines.filter(|line| line["video"] == video).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}

fn json_with_status(answer: &ApiResponse, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

#[tokio::test]
async fn trace_id_reaches_logs_and_webhook() {
    let change = |config: &mut Config| {
        let render = config.render.as_mut().map(|render| &mut render.function);
        for function in [config.function.as_mut(), render].into_iter().flatten() {
            function.env.insert("METRICS_NAMESPACE".into(), "Glimpse/here".into());
        }
    };
    let receiver = WebhookSink::ok().await;
    let (urls, secrets) = (format!("crm={}", receiver.url), format!("crm={OLD_SECRET}"));
    let notify = Some(NotifyOptions { urls, secrets, ..NotifyOptions::default() });
    let stack = Stack::start(Options { notify, configure: Some(change), ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let clip = media::clip(4, "320x240");

    let body = json!({ "name": "a.mp4", "size": clip.len(), "type": "video/mp4" }).to_string();
    let headers = [HEADER, ("content-type", "application/json")];
    let created = json_with_status(&ann.send(Method::POST, "/api/videos", &headers, body).await, 201);
    let video = created["video"]["id"].as_str().unwrap().to_owned();
    assert_eq!(created["video"]["trace_id"], TRACE);
    assert_eq!(created["upload"]["headers"]["x-amz-meta-trace-id"], TRACE);
    let changed = |headers: &mut Vec<(String, String)>| {
        headers.retain(|(name, _)| name != "x-amz-meta-trace-id");
    };
    let forged = ann.put_with_headers(&created["upload"], clip.clone(), changed).await;
    assert_eq!(forged.status, 403, "the signature covers the trace");
    assert_eq!(ann.put(&created["upload"], clip).await.status, 200);

    let video_json = ann.wait_for_outcome(&video).await;
    assert_eq!((&video_json["state"], &video_json["trace_id"]), (&json!("ready"), &json!(TRACE)));
    let manifest = stack.cloud.store().get(&format!("media/{video}/manifest.json")).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&manifest).unwrap()["trace_id"], TRACE);
    let events = ann.get(&format!("/api/videos/{video}/events")).await;
    assert!(String::from_utf8_lossy(&events.body).contains(TRACE), "the event stream contains the trace");

    let delivery = receiver.wait_for(1).await.remove(0);
    assert_eq!(delivery.event()["data"]["trace_id"], TRACE);
    let traceparent = &delivery.headers["traceparent"];
    assert!(
        traceparent.starts_with(&format!("00-{TRACE}-")) && traceparent.ends_with("-01"),
        "{traceparent}"
    );
    assert_ne!(traceparent[36..52], HEADER.1[36..52], "the delivery is a span of its own");

    assert_eq!(ann.get(&format!("/{video}/thumbnail.jpg?time=1&width=99")).await.status, 200);
    let preview = log_lines_of(&video, 2, || stack.cloud.invocations()).await;
    let render = log_lines_of(&video, 2, || stack.cloud.render().unwrap().invocations()).await;
    let notify = log_lines_of(&video, 2, || stack.cloud.notify().unwrap().invocations()).await;
    for line in preview.iter().chain(&render).chain(&notify) {
        assert_eq!(line["trace_id"], TRACE, "{line}");
    }
    assert!(preview.iter().any(|line| line["metric"] == "job"), "the log's: {preview:?}");
    assert!(preview.iter().any(|line| line["_aws"].is_object()), "the metrics': {preview:?}");
    let tied = eventually("the Worker's log line", LIMIT, || async {
        stack.lines().into_iter().find(|line| line.contains("\"traced\""))
    })
    .await;
    assert!(tied.contains(TRACE) && tied.contains(&video) && tied.contains("request_id"), "{tied}");

    // The event of the deletion has the same trace.
    assert_eq!(ann.call(Method::DELETE, &format!("/api/videos/{video}"), None).await.status, 200);
    let delivery = receiver.wait_for(2).await.remove(1);
    assert_eq!(
        (delivery.event_type().as_str(), &delivery.event()["data"]["trace_id"]),
        ("video.deleted", &json!(TRACE))
    );
    assert!(delivery.headers["traceparent"].contains(TRACE));
}

#[tokio::test]
async fn every_upload_method_keeps_the_trace_id() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let traces = |video: String| {
        let ann = ann.clone();
        async move { json_with_status(&ann.get(&format!("/api/videos/{video}")).await, 200)["trace_id"].clone() }
    };
    let of_key = |key: &Value| key.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let json = ("content-type", "application/json");

    for traced in [true, false] {
        let headers: &[(&str, &str)] = if traced { &[HEADER] } else { &[] };
        let wanted = |video: &str| if traced { json!(TRACE) } else { own_trace_id(video) };

        // A form, as Uppy's single upload sends it.
        let form = ann.send(Method::GET, "/s3/params?filename=a.mp4&type=video/mp4", headers, "").await;
        let form = json_with_status(&form, 200);
        assert_eq!(form["fields"].get("x-amz-meta-trace-id").is_some(), traced, "{form}");
        let fields = form["fields"].as_object().unwrap().iter();
        let fields: Vec<_> =
            fields.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let sent = ann.post_form(form["url"].as_str().unwrap(), &fields, b"x".to_vec()).await;
        assert_eq!(sent.status, 201, "{}", String::from_utf8_lossy(&sent.body));
        let video = of_key(&form["fields"]["key"]);
        assert_eq!(traces(video.clone()).await, wanted(&video));

        // As a multipart upload.
        let headers: Vec<_> = headers.iter().copied().chain([json]).collect();
        let body = json!({ "filename": "a.mp4", "type": "video/mp4" }).to_string();
        let creation = json_with_status(&ann.send(Method::POST, "/s3/multipart", &headers, body).await, 200);
        let path = |rest: &str| {
            let (id, key) = (creation["uploadId"].as_str().unwrap(), creation["key"].as_str().unwrap());
            format!("/s3/multipart/{id}{rest}?key={key}")
        };
        let part = json_with_status(&ann.get(&path("/1")).await, 200);
        let sent =
            e2e::person::http_client().put(part["url"].as_str().unwrap()).body("x").send().await.unwrap();
        let etag = sent.headers()["etag"].to_str().unwrap().to_owned();
        let parts = json!({ "parts": [{ "PartNumber": 1, "ETag": etag }] });
        json_with_status(&ann.call(Method::POST, &path("/complete"), Some(parts)).await, 200);
        let video = of_key(&creation["key"]);
        assert_eq!(traces(video.clone()).await, wanted(&video));

        // Signed request by request.
        let body = json!({ "method": "PUT", "key": "a.mp4", "contentType": "video/mp4", "size": 1 });
        let signed =
            json_with_status(&ann.send(Method::POST, "/s3/presign", &headers, body.to_string()).await, 200);
        assert_eq!(ann.put(&signed, b"x".to_vec()).await.status, 200);
        let video = of_key(&signed["key"]);
        assert_eq!(traces(video.clone()).await, wanted(&video));

        // In a single request, with a field of the customer's.
        let kind = ("content-type", "multipart/form-data; boundary=XX");
        let headers: Vec<_> =
            headers.iter().copied().filter(|header| *header != json).chain([kind]).collect();
        let body = "--XX\r\nContent-Disposition: form-data; name=\"external_id\"\r\n\r\norder 7\r\n--XX\r\n\
                    Content-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\
                    Content-Type: video/mp4\r\n\r\nx\r\n--XX--\r\n";
        let sent = json_with_status(&ann.send(Method::POST, "/api/videos", &headers, body).await, 201);
        let video = sent["video"]["id"].as_str().unwrap();
        assert_eq!(
            (&sent["video"]["trace_id"], &sent["video"]["external_id"]),
            (&wanted(video), &json!("order 7"))
        );
    }

    // A malformed header is ignored, as the standard requires.
    for bad in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "x",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ] {
        let sent = ann.send(Method::PUT, "/api/videos/a.mp4", &[("traceparent", bad)], "x").await;
        let sent = json_with_status(&sent, 201);
        assert_eq!(sent["video"]["trace_id"], own_trace_id(sent["video"]["id"].as_str().unwrap()), "{bad}");
    }
}

/// The request for an upload token is often the only one that a backend traces.
#[tokio::test]
async fn upload_trace_overrides_token_trace() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let (ann, holder) = (ApiClient::new(&stack, "ann"), ApiClient::with_token(&stack, ""));
    let headers = [HEADER, ("content-type", "application/json")];
    let token_response = ann.send(Method::POST, "/api/upload-tokens", &headers, r#"{"videos":2}"#).await;
    let base = format!("/u/{}", json_with_status(&token_response, 201)["token"].as_str().unwrap());
    let put = async |headers: &[(&str, &str)]| {
        let sent = holder.send(Method::PUT, &format!("{base}/api/videos/a.mp4"), headers, "x").await;
        json_with_status(&sent, 201)["video"]["trace_id"].clone()
    };
    assert_eq!(put(&[]).await, TRACE);
    let other = HEADER.1.replace("4bf9", "0000");
    assert_eq!(put(&[("traceparent", &other)]).await, TRACE.replace("4bf9", "0000"));
}

/// A page that traces its own requests sends headers that cause a CORS preflight.
#[tokio::test]
async fn cross_origin_pages_may_send_traceparent() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let headers = [
        ("origin", APP_ORIGIN),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "traceparent,tracestate"),
    ];
    let answer = fetch(Method::OPTIONS, &format!("{}/api/videos", stack.edge), &headers).await;
    let allowed = answer.header("access-control-allow-headers");
    for name in ["traceparent", "tracestate"] {
        assert!(allowed.split(", ").any(|known| known == name), "{name}: {allowed}");
    }
}
