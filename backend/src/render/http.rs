//! Decides how a function URL's event is read and answered: payload format 2.0,
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use glimpse_contract::{Code, Poster, Problem, Variant, VideoId, poster_name};
use serde::Deserialize;
use serde_json::{Value, json};

/// The largest picture that an answer carries, in bytes. Lambda allows 6 MB of payload,
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>, and base64 makes four bytes of three.
pub const MAX_CARRIED_BYTES: usize = 4_500_000;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Of which video.
    pub video: VideoId,
    /// What of it.
    pub wish: Wish,
}

/// What somebody wants of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// One picture.
    Picture(Variant),
    /// Another poster: the frame of that moment in milliseconds, or the best one.
    Poster(Option<u64>),
}

impl Wish {
    /// The wish behind the last segment of a path, in its one spelling.
    fn read(name: &str) -> Option<Self> {
        let Some(rest) = name.strip_prefix("poster") else {
            return Variant::from_file_name(name).map(Self::Picture);
        };
        if rest.is_empty() {
            return Some(Self::Poster(None));
        }
        // Spelled as in a picture's name, so that there is one grammar of moments.
        let still = Variant::from_file_name(&format!("thumbnail{rest}.jpg"))?.still()?;
        let wish = Self::Poster(Some(still.time_ms?));
        (wish.name() == name).then_some(wish)
    }

    /// The last segment of its path.
    pub fn name(self) -> String {
        match self {
            Self::Picture(variant) => variant.file_name(),
            Self::Poster(time_ms) => poster_name(time_ms),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    raw_path: String,
    #[serde(default)]
    raw_query_string: String,
    request_context: Context,
}

#[derive(Deserialize)]
struct Context {
    http: Http,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

/// Reads an event: `GET` or `POST` of `/{video}/{canonical name}`, or `POST` of `/{video}/poster[-time_{seconds}]`, in its
/// one spelling and without a query.
///
/// # Errors
/// What is no such event, method or picture.
pub fn read(event: &Value) -> Result<Asked, Problem> {
    let event = Event::deserialize(event).map_err(|_| {
        Problem::because(Code::BadParameter, "This is no event of a function URL, payload format 2.0.")
    })?;
    let picture = event.raw_path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let asked =
        picture.and_then(|(video, name)| Some(Asked { video: video.parse().ok()?, wish: Wish::read(name)? }));
    let asked = asked.ok_or_else(|| Problem::new(Code::NotFound))?;
    match (asked.wish, event.request_context.http.method.as_str()) {
        (_, "POST") | (Wish::Picture(_), "GET") => {}
        (Wish::Picture(_), _) => {
            return Err(Problem::because(Code::MethodNotAllowed, "This address answers GET and POST."));
        }
        (Wish::Poster(_), _) => {
            return Err(Problem::because(Code::MethodNotAllowed, "This address answers POST."));
        }
    }
    if !event.raw_query_string.is_empty() {
        let detail = "A picture is asked for by its name alone, without a query.";
        return Err(Problem::because(Code::BadParameter, detail));
    }
    Ok(asked)
}

/// The answer with a picture; one that is too large for it is left in the bucket, and 204 says so.
pub fn picture(variant: Variant, bytes: &Bytes, etag: &str) -> Value {
    let content_type = variant.format().content_type();
    if bytes.len() > MAX_CARRIED_BYTES {
        return json!({ "statusCode": 204, "headers": { "etag": etag, "cache-control": "no-store" } });
    }
    json!({
        "statusCode": 200,
        "headers": { "content-type": content_type, "etag": etag, "cache-control": "no-store" },
        "body": STANDARD.encode(bytes),
        "isBase64Encoded": true,
    })
}

/// The answer with a poster that was chosen.
pub fn poster(poster: &Poster) -> Value {
    json!({
        "statusCode": 200,
        "headers": { "content-type": "application/json", "cache-control": "no-store" },
        "body": serde_json::to_string(poster).expect("our own types are plain data"),
        "isBase64Encoded": false,
    })
}

/// The answer that there is none, RFC 9457.
pub fn refusal(problem: &Problem, request_id: &str) -> Value {
    let body = serde_json::to_string(&problem.body(request_id)).expect("our own types are plain data");
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
    fn a_picture_is_asked_for_by_its_canonical_name() {
        for method in ["GET", "POST"] {
            let asked = read(&event(method, &format!("/{VIDEO}/thumbnail-width_200.jpg"), "")).unwrap();
            assert_eq!(asked.video.to_string(), VIDEO);
            assert_eq!(asked.wish.name(), "thumbnail-width_200.jpg");
        }
    }

    #[test]
    fn a_poster_is_chosen_by_its_moment() {
        for (name, time_ms) in [("poster", None), ("poster-time_0", Some(0)), ("poster-time_1.5", Some(1500))]
        {
            let asked = read(&event("POST", &format!("/{VIDEO}/{name}"), "")).unwrap();
            assert_eq!((asked.wish, asked.wish.name()), (Wish::Poster(time_ms), name.to_owned()));
        }
        for name in ["poster-", "poster-time_1.50", "poster-width_200", "poster-time_1-width_200", "posters"]
        {
            assert_eq!(
                read(&event("POST", &format!("/{VIDEO}/{name}"), "")).unwrap_err().code,
                Code::NotFound
            );
        }
        let reading = read(&event("GET", &format!("/{VIDEO}/poster"), ""));
        assert_eq!(reading.unwrap_err().code, Code::MethodNotAllowed);
    }

    #[test]
    fn everything_else_is_refused() {
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
            assert_eq!(read(&event).unwrap_err().code, code, "{event}");
        }
    }

    #[test]
    fn answers_are_pinned() {
        let variant = Variant::from_file_name("thumbnail.jpg").unwrap();
        assert_eq!(
            picture(variant, &Bytes::from_static(b"\xff\xd8"), "\"e\""),
            json!({
                "statusCode": 200,
                "headers": { "content-type": "image/jpeg", "etag": "\"e\"", "cache-control": "no-store" },
                "body": "/9g=", "isBase64Encoded": true,
            })
        );
        let large = picture(variant, &Bytes::from(vec![0; MAX_CARRIED_BYTES + 1]), "\"e\"");
        assert_eq!((&large["statusCode"], &large["body"]), (&json!(204), &Value::Null));
        let longest = picture(variant, &Bytes::from(vec![0; MAX_CARRIED_BYTES]), "\"e\"").to_string();
        assert!(longest.len() < 6 * 1024 * 1024 + 1, "{}", longest.len());
        let refused = refusal(&Problem::new(Code::SourceGone), "r1");
        assert_eq!(refused["statusCode"], 410);
        let body: Value = serde_json::from_str(refused["body"].as_str().unwrap()).unwrap();
        assert_eq!((&body["code"], &body["request_id"]), (&json!("source_gone"), &json!("r1")));
    }

    proptest! {
        /// Whatever the path, what is read or written is one picture below `media/`.
        #[test]
        fn any_path_is_survived(path in "\\PC{0,60}|/[0-9a-z]{26}/[a-z0-9_.-]{0,40}|(/?(\\.\\.|media|uploads|thumbnail\\.jpg)){0,6}") {
            if let Ok(asked) = read(&event("GET", &path, "")) {
                prop_assert_eq!(format!("/{}/{}", asked.video, asked.wish.name()), path);
            }
        }
    }
}
