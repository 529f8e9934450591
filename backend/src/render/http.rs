//! Parses the events of a function URL and builds its responses: payload format 2.0,
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use glimpse_contract::{Code, Poster, Problem, Variant, VideoId, poster_target_name};
use serde::Deserialize;
use serde_json::{Value, json};

/// Maximum size of an image in a response, in bytes. Lambda allows 6 MB of payload,
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>, and base64 encodes three bytes as four.
pub const MAX_RESPONSE_IMAGE_BYTES: usize = 4_500_000;

/// A request to the `render` function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnDemandRequest {
    /// The video.
    pub video: VideoId,
    /// The requested image or poster.
    pub target: RenderTarget,
}

/// What is requested of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderTarget {
    /// One image.
    Image(Variant),
    /// Another poster: the frame at this time in milliseconds, or the best frame.
    Poster(Option<u64>),
}

impl RenderTarget {
    /// Parses the last segment of a path, in canonical form only.
    fn parse(name: &str) -> Option<Self> {
        let Some(rest) = name.strip_prefix("poster") else {
            return Variant::from_file_name(name).map(Self::Image);
        };
        if rest.is_empty() {
            return Some(Self::Poster(None));
        }
        // The same syntax as in the name of an image, so that there is one grammar of times.
        let still = Variant::from_file_name(&format!("thumbnail{rest}.jpg"))?.thumbnail()?;
        let target = Self::Poster(Some(still.time_ms?));
        (target.name() == name).then_some(target)
    }

    /// The last segment of the path.
    pub fn name(self) -> String {
        match self {
            Self::Image(variant) => variant.file_name(),
            Self::Poster(time_ms) => poster_target_name(time_ms),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionUrlEvent {
    raw_path: String,
    #[serde(default)]
    raw_query_string: String,
    request_context: FunctionUrlContext,
}

#[derive(Deserialize)]
struct FunctionUrlContext {
    http: FunctionUrlHttp,
}

#[derive(Deserialize)]
struct FunctionUrlHttp {
    method: String,
}

/// Parses an event: `GET` or `POST` of `/{video}/{canonical name}`, or `POST` of `/{video}/poster[-time_{seconds}]`, in
/// canonical form and without a query.
///
/// # Errors
/// The event has another format, another method, or names no image.
pub fn parse(event: &Value) -> Result<OnDemandRequest, Problem> {
    let event = FunctionUrlEvent::deserialize(event).map_err(|_| {
        Problem::with_detail(
            Code::BadParameter,
            "This is not an event of a function URL, payload format 2.0.",
        )
    })?;
    let segments = event.raw_path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let request = segments.and_then(|(video, name)| {
        Some(OnDemandRequest { video: video.parse().ok()?, target: RenderTarget::parse(name)? })
    });
    let request = request.ok_or_else(|| Problem::new(Code::NotFound))?;
    match (request.target, event.request_context.http.method.as_str()) {
        (_, "POST") | (RenderTarget::Image(_), "GET") => {}
        (RenderTarget::Image(_), _) => {
            return Err(Problem::with_detail(Code::MethodNotAllowed, "Allowed methods: GET, POST."));
        }
        (RenderTarget::Poster(_), _) => {
            return Err(Problem::with_detail(Code::MethodNotAllowed, "Allowed methods: POST."));
        }
    }
    if !event.raw_query_string.is_empty() {
        let detail = "Request an image by its name alone, without a query.";
        return Err(Problem::with_detail(Code::BadParameter, detail));
    }
    Ok(request)
}

/// The response with an image. A clip, or an image that is too large for a response, stays in the bucket, and the status
/// is 204.
pub fn image_response(variant: Variant, bytes: Option<&Bytes>, etag: &str) -> Value {
    let content_type = variant.format().content_type();
    let Some(bytes) = bytes.filter(|bytes| bytes.len() <= MAX_RESPONSE_IMAGE_BYTES) else {
        return json!({ "statusCode": 204, "headers": { "etag": etag, "cache-control": "no-store" } });
    };
    json!({
        "statusCode": 200,
        "headers": { "content-type": content_type, "etag": etag, "cache-control": "no-store" },
        "body": STANDARD.encode(bytes),
        "isBase64Encoded": true,
    })
}

/// The response with the chosen poster.
pub fn poster_response(poster: &Poster) -> Value {
    json!({
        "statusCode": 200,
        "headers": { "content-type": "application/json", "cache-control": "no-store" },
        "body": serde_json::to_string(poster).expect("a poster serializes to JSON"),
        "isBase64Encoded": false,
    })
}

/// The response with a problem, RFC 9457.
pub fn problem_response(problem: &Problem, request_id: &str) -> Value {
    let body = serde_json::to_string(&problem.body(request_id)).expect("a problem serializes to JSON");
    json!({
        "statusCode": problem.code.status(),
        "headers": { "content-type": "application/problem+json; charset=utf-8", "cache-control": "no-store" },
        "body": body,
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VIDEO: &str = "7zzzzzzzzz0123456789abcdef";

    fn event(method: &str, path: &str, query: &str) -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
            "headers": { "host": "abc.lambda-url.eu-central-1.on.aws", "x-forwarded-for": "192.0.2.1" },
            "requestContext": {
                "accountId": "123456789012", "apiId": "abc", "domainName": "abc.lambda-url.eu-central-1.on.aws",
                "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1" },
                "requestId": "id", "routeKey": "$default", "stage": "$default", "timeEpoch": 1_700_000_000_000_u64,
            },
            "isBase64Encoded": false,
        })
    }

    #[test]
    fn parses_canonical_image_path() {
        for method in ["GET", "POST"] {
            let request = parse(&event(method, &format!("/{VIDEO}/thumbnail-width_200.jpg"), "")).unwrap();
            assert_eq!(request.video.to_string(), VIDEO);
            assert_eq!(request.target.name(), "thumbnail-width_200.jpg");
        }
    }

    #[test]
    fn parses_poster_time() {
        for (name, time_ms) in [("poster", None), ("poster-time_0", Some(0)), ("poster-time_1.5", Some(1500))]
        {
            let request = parse(&event("POST", &format!("/{VIDEO}/{name}"), "")).unwrap();
            assert_eq!(
                (request.target, request.target.name()),
                (RenderTarget::Poster(time_ms), name.to_owned())
            );
        }
        for name in ["poster-", "poster-time_1.50", "poster-width_200", "poster-time_1-width_200", "posters"]
        {
            assert_eq!(
                parse(&event("POST", &format!("/{VIDEO}/{name}"), "")).unwrap_err().code,
                Code::NotFound
            );
        }
        let get_poster = parse(&event("GET", &format!("/{VIDEO}/poster"), ""));
        assert_eq!(get_poster.unwrap_err().code, Code::MethodNotAllowed);
    }

    #[test]
    fn rejects_other_requests() {
        let path = format!("/{VIDEO}/thumbnail-width_200.jpg");
        for (event, code) in [
            (event("DELETE", &path, ""), Code::MethodNotAllowed),
            (event("HEAD", &path, ""), Code::MethodNotAllowed),
            (event("GET", &path, "width=300"), Code::BadParameter),
            (event("GET", "/", ""), Code::NotFound),
            (event("GET", &format!("{path}/"), ""), Code::NotFound),
            (event("GET", &format!("/{path}"), ""), Code::NotFound),
            (event("GET", &format!("/media{path}"), ""), Code::NotFound),
            (event("GET", &format!("/{VIDEO}/manifest.json"), ""), Code::NotFound),
            (event("GET", &format!("/{VIDEO}/../{VIDEO}/thumbnail.jpg"), ""), Code::NotFound),
            (event("GET", &format!("/{VIDEO}/thumbnail-width_640.jpg"), ""), Code::NotFound),
            (event("GET", &format!("/{VIDEO}/thumbnail.jpg%00"), ""), Code::NotFound),
            (json!({ "Records": [] }), Code::BadParameter),
            (json!(null), Code::BadParameter),
            (json!({ "rawPath": 1 }), Code::BadParameter),
        ] {
            assert_eq!(parse(&event).unwrap_err().code, code, "{event}");
        }
    }

    #[test]
    fn response_snapshots() {
        let variant = Variant::from_file_name("thumbnail.jpg").unwrap();
        assert_eq!(
            image_response(variant, Some(&Bytes::from_static(b"\xff\xd8")), "\"e\""),
            json!({
                "statusCode": 200,
                "headers": { "content-type": "image/jpeg", "etag": "\"e\"", "cache-control": "no-store" },
                "body": "/9g=", "isBase64Encoded": true,
            })
        );
        for bytes in [None, Some(&Bytes::from(vec![0; MAX_RESPONSE_IMAGE_BYTES + 1]))] {
            let stored = image_response(variant, bytes, "\"e\"");
            assert_eq!((&stored["statusCode"], &stored["body"]), (&json!(204), &Value::Null));
            assert_eq!(stored["headers"]["etag"], "\"e\"");
        }
        let longest = Bytes::from(vec![0; MAX_RESPONSE_IMAGE_BYTES]);
        let longest = image_response(variant, Some(&longest), "\"e\"").to_string();
        assert!(longest.len() < 6 * 1024 * 1024 + 1, "{}", longest.len());
        let problem = problem_response(&Problem::new(Code::SourceGone), "r1");
        assert_eq!(problem["statusCode"], 410);
        let body: Value = serde_json::from_str(problem["body"].as_str().unwrap()).unwrap();
        assert_eq!((&body["code"], &body["request_id"]), (&json!("source_gone"), &json!("r1")));
    }

    proptest! {
        /// For any path, only an image below `media/` is read or written.
        #[test]
        fn any_path_roundtrips_or_is_rejected(path in "\\PC{0,60}|/[0-9a-z]{26}/[a-z0-9_.-]{0,40}|(/?(\\.\\.|media|uploads|thumbnail\\.jpg)){0,6}") {
            if let Ok(request) = parse(&event("GET", &path, "")) {
                prop_assert_eq!(format!("/{}/{}", request.video, request.target.name()), path);
            }
        }
    }
}
