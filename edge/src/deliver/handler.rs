//! Decides nothing by itself: cache, then bucket, then the function that makes pictures, then the answer that `policy`,
//! `precondition` and `render` choose.

use glimpse_contract::{Code, Key, Manifest, PictureRequest, Problem, RejectedBecause, State, Visibility};
use worker::Context;

use super::policy::{CachePolicy, NotThere, cache_control, missing};
use super::precondition::{Conditional, Served, decide};
use super::render::{self, Answer};
use crate::config::Config;
use crate::platform::{self, Outgoing, Request, Response, Sent};
use crate::reply::{Body, Reply};
use crate::{cors, s3, storage};

/// The largest picture that is served, in bytes.
const MAX_PICTURE_BYTES: usize = 32 * 1024 * 1024;
/// Headers of a stored picture that a client sees.
const KEPT: [&str; 4] = ["content-type", "etag", "cache-control", "content-length"];

/// The answer to a request for a picture.
pub(crate) async fn serve(
    request: &Request,
    wanted: &PictureRequest,
    config: &Config,
    context: &Context,
    request_id: &str,
) -> Result<Reply, Problem> {
    let cache_key = format!("{}{}", config.public_url, wanted.canonical());
    if let Some(stored) = platform::cache_get(&cache_key).await {
        return from_cache(request, stored).await;
    }
    let picture = match bucket(wanted, config, request_id).await? {
        Some(picture) => picture,
        None => match on_demand(wanted, config, request_id).await? {
            Found::Picture(picture) => picture,
            Found::Not(reply) => return Ok(reply),
        },
    };
    let Picture { etag, bytes, from } = picture;

    let policy = CachePolicy::of(wanted, &etag);
    let headers = vec![
        ("content-type", wanted.variant.format().content_type().to_owned()),
        ("etag", etag.clone()),
        ("cache-control", cache_control(policy).to_owned()),
        ("content-length", bytes.len().to_string()),
    ];
    // A revision that is not the picture's own fixes nothing, so it gets no entry of its own.
    let is_bare = wanted.revision.is_some() && policy == CachePolicy::Bare;
    let entry = if is_bare {
        let bare = PictureRequest { revision: None, ..wanted.clone() };
        format!("{}{}", config.public_url, bare.canonical())
    } else {
        cache_key
    };
    let stored = answer(Served::Whole, headers.clone(), &etag, bytes.len() as u64, None, "hit");
    platform::cache_put(context, entry, stored.headers, bytes.clone());

    let served = decide(conditional(&Asked::of(request)), &etag, bytes.len() as u64);
    Ok(answer(served, headers, &etag, bytes.len() as u64, Some(bytes), from))
}

/// A picture at hand.
struct Picture {
    etag: String,
    bytes: Vec<u8>,
    /// Where it came from, for `Server-Timing`.
    from: &'static str,
}

/// A picture, or the answer that there is none.
enum Found {
    Picture(Picture),
    Not(Reply),
}

/// The picture out of the bucket, if it is there.
async fn bucket(
    wanted: &PictureRequest,
    config: &Config,
    request_id: &str,
) -> Result<Option<Picture>, Problem> {
    let key = Key::Output(wanted.video, wanted.variant);
    let signed = storage::sign(s3::get(&key, config, platform::now_ms()), request_id)?;
    let found = storage::send(&signed, request_id).await?;
    match found.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(storage::unexpected(status, request_id)),
    }
    let visibility = found.header(glimpse_contract::META_VISIBILITY);
    if visibility.is_some_and(|word| Visibility::from_word(&word) != Visibility::Public) {
        return Err(Problem::new(Code::NotFound));
    }
    let etag = found.header("etag").ok_or_else(|| storage::unexpected(200, request_id))?;
    let bytes = found.bytes(MAX_PICTURE_BYTES).await.map_err(|error| trouble(&error, request_id))?;
    Ok(Some(Picture { etag, bytes, from: "miss" }))
}

/// The picture made by the `render` Lambda, if it is one that may be made.
async fn on_demand(wanted: &PictureRequest, config: &Config, request_id: &str) -> Result<Found, Problem> {
    let now_ms = platform::now_ms();
    let manifest = storage::manifest(wanted.video, config, now_ms, request_id).await?;
    let may_be_made = manifest.as_ref().is_some_and(|manifest| render::may_be_made(wanted, manifest));
    let request = render::request(wanted, config, now_ms).filter(|_| may_be_made);
    let Some(request) = request else {
        return Ok(Found::Not(not_there(wanted, manifest, now_ms, request_id)));
    };
    let request = request.map_err(|error| {
        platform::log_error("sign", request_id, &error.to_string());
        Problem::new(Code::Internal)
    })?;
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = platform::fetch(Outgoing {
        method: render::METHOD,
        url: &request.url,
        headers: &headers,
        body: Sent::Nothing,
        patience_ms: render::PATIENCE_MS,
    })
    .await
    .map_err(|error| trouble(&error, request_id))?;
    let (status, etag) = (answer.status, answer.header("etag"));
    let bytes = answer.bytes(render::MAX_ANSWER_BYTES).await.map_err(|error| trouble(&error, request_id))?;
    match (render::meaning(status, &bytes), etag) {
        (Answer::Made, Some(etag)) => Ok(Found::Picture(Picture { etag, bytes, from: "render" })),
        (Answer::Stored, _) => match bucket(wanted, config, request_id).await? {
            Some(picture) => Ok(Found::Picture(Picture { from: "render", ..picture })),
            None => Err(storage::unexpected(404, request_id)),
        },
        (Answer::Refused(problem), _) => Ok(Found::Not(negative(&problem, None, request_id))),
        (Answer::Trouble(problem), _) => {
            platform::log_error("render", request_id, &format!("the function answered {status}"));
            Err(problem)
        }
        (Answer::Made, None) => Err(trouble(&"the function named no ETag", request_id)),
    }
}

fn trouble(error: &impl std::fmt::Display, request_id: &str) -> Problem {
    platform::log_error("picture", request_id, &error.to_string());
    Problem::new(Code::Upstream)
}

/// What a request says about its copy, as owned text.
struct Asked {
    if_none_match: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let header = |name| platform::header(request, name);
        let range = header("range");
        let if_range = range.as_ref().and_then(|_| header("if-range"));
        Self { if_none_match: header("if-none-match"), range, if_range }
    }

    /// Whether the whole picture is wanted in any case.
    fn is_plain(&self) -> bool {
        self.if_none_match.is_none() && self.range.is_none()
    }
}

fn conditional(asked: &Asked) -> Conditional<'_> {
    Conditional {
        if_none_match: asked.if_none_match.as_deref(),
        range: asked.range.as_deref(),
        if_range: asked.if_range.as_deref(),
    }
}

async fn from_cache(request: &Request, stored: Response) -> Result<Reply, Problem> {
    let asked = Asked::of(request);
    // What is stored is the answer to whoever has no wish of their own.
    if asked.is_plain() && request.method() == "GET" {
        return Ok(Reply::stored(stored));
    }
    let headers: Vec<(&'static str, String)> =
        KEPT.into_iter().filter_map(|name| Some((name, platform::response_header(&stored, name)?))).collect();
    let of = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
    let etag = of("etag").unwrap_or_default();
    let length = of("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    match decide(conditional(&asked), &etag, length) {
        Served::Whole if platform::has_body(&stored) => {
            let mut reply = answer(Served::Whole, headers, &etag, length, None, "hit");
            reply.body = Body::Upstream(stored);
            Ok(reply)
        }
        Served::NotModified => Ok(answer(Served::NotModified, headers, &etag, length, None, "hit")),
        served => {
            let bytes = platform::response_bytes(&stored).await;
            let bytes = bytes.ok_or_else(|| Problem::new(Code::Internal))?;
            Ok(answer(served, headers, &etag, bytes.len() as u64, Some(bytes), "hit"))
        }
    }
}

/// The answer that was decided, with the headers that every picture has.
fn answer(
    served: Served,
    mut headers: Vec<(&'static str, String)>,
    etag: &str,
    length: u64,
    bytes: Option<Vec<u8>>,
    from: &str,
) -> Reply {
    headers.extend(cors::picture_headers());
    headers.push(("x-content-type-options", "nosniff".to_owned()));
    headers.push(("content-security-policy", "default-src 'none'; sandbox".to_owned()));
    headers.push(("accept-ranges", "bytes".to_owned()));
    headers.push(("server-timing", format!("cache;desc={from}")));
    let mut reply = Reply { status: 200, headers, body: bytes.map_or(Body::Empty, Body::Bytes) };
    match served {
        Served::Whole => {}
        Served::Part(first, last) => {
            reply.status = 206;
            reply.replace("content-range", &format!("bytes {first}-{last}/{length}"));
            reply.replace("content-length", &(last - first + 1).to_string());
            if let Body::Bytes(bytes) = reply.body {
                reply.body = Body::Bytes(bytes[first as usize..=last as usize].to_vec());
            }
        }
        Served::NotModified => {
            reply.status = 304;
            reply.headers.retain(|(name, _)| !matches!(*name, "content-length" | "content-type"));
            reply.replace("etag", etag);
            reply.body = Body::Empty;
        }
        Served::Unsatisfiable => {
            reply.status = 416;
            reply.replace("content-range", &format!("bytes */{length}"));
            reply.replace("cache-control", "no-store");
            reply.headers.retain(|(name, _)| !matches!(*name, "content-length" | "content-type"));
            reply.body = Body::Empty;
        }
    }
    reply
}

/// Why a picture is not there: on its way, refused, or unknown.
fn not_there(wanted: &PictureRequest, manifest: Option<Manifest>, now_ms: u64, request_id: &str) -> Reply {
    let committed = manifest.map(|manifest| match (manifest.state, manifest.rejected) {
        (State::Rejected, Some(RejectedBecause { code })) => Some(code),
        _ => None,
    });
    let NotThere { code, retry_after_secs } = missing(wanted.video, committed, now_ms);
    negative(&Problem::new(code), retry_after_secs, request_id)
}

/// An answer that there is no picture. Nothing negative is ever stored at the edge, and a browser asks again soon.
fn negative(problem: &Problem, retry_after_secs: Option<u32>, request_id: &str) -> Reply {
    let mut reply = Reply::problem(problem, request_id);
    reply.headers.extend(cors::picture_headers());
    if let Some(seconds) = retry_after_secs {
        reply.replace("retry-after", &seconds.to_string());
    }
    let seconds = if problem.code == Code::Processing { 2 } else { 5 };
    reply.replace("cache-control", &format!("public, max-age={seconds}"));
    reply
}
