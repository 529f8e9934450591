//! Decides nothing by itself: cache, then whoever fetches this picture already, then the bucket and the function that
//! makes pictures, then the answer that the other files of this folder choose.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_channel::oneshot;
use glimpse_contract::{Code, PictureRequest, Problem};
use worker::{Context, Env};

use super::access::Access;
use super::entry::{PRIVATE_FOLDER, place as entry};
use super::fetch::{self, Picture};
use super::flight::{Flights, Role};
use super::policy::{CachePolicy, cache_control, judge_bare};
use super::precondition::{Conditional, Served, decide};
use super::proof::Proof;
use crate::config::Config;
use crate::cors;
use crate::platform::{self, Request, Response};
use crate::reply::{Body, Reply};

/// Headers of a stored picture that a client sees.
const KEPT: [&str; 4] = ["content-type", "etag", "cache-control", "content-length"];
/// When an entry was stored, in Unix milliseconds.
const STORED_AT: &str = "x-stored-at";
/// How often somebody looks whether the picture has come that another request fetches, in milliseconds.
const LOOK_MS: u64 = 20;
/// How long it is remembered that there is no such picture, in milliseconds.
const NEGATIVE_MS: u64 = 5_000;

thread_local! {
    static FLIGHTS: RefCell<Flights<Found>> = RefCell::new(Flights::default());
}

/// Where an answer is made: what every step of it needs beside the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) config: &'static Config,
    pub(crate) env: &'a Env,
    pub(crate) context: &'a Context,
    pub(crate) request_id: &'a str,
    /// Whether the format follows from `Accept`.
    pub(crate) is_negotiated: bool,
}

/// A picture, or why there is none.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Here it is.
    Picture(Rc<Picture>),
    /// There is none; ask again in so many seconds, if at all.
    Not(Problem, Option<u32>),
    /// It is private, and the request was not granted.
    Private,
    /// It could not be found out.
    Trouble(Problem),
}

/// The answer to a request for a picture.
pub(crate) async fn serve(
    request: &Request,
    wanted: &PictureRequest,
    proof: &Proof,
    place: &Place<'_>,
) -> Result<Reply, Problem> {
    let began_ms = platform::now_ms();
    let mut access = Access::new(request, wanted, proof, place)?;
    let asked = Asked::of(request);
    if !access.is_granted() {
        fetch::check_width(wanted, place.config)?;
    } else if let Some(stored) = access.cached(wanted, asked.copy()).await {
        return from_cache(wanted, stored, None, &asked, &access, began_ms).await;
    }
    if let Some(stored) = platform::cache_get_unless(&entry(place.config, wanted, false), asked.copy()).await
    {
        return from_cache(wanted, stored, None, &asked, &access, began_ms).await;
    }
    let bare = PictureRequest { revision: None, ..wanted.clone() };
    // Whoever makes revisions up is answered from the bare entry, and costs no look into the bucket each time.
    if let Some(revision) = &wanted.revision
        && let Some(stored) = platform::cache_get(&entry(place.config, &bare, false)).await
        && let Some(policy) = judge(revision, &stored, began_ms)
    {
        return from_cache(wanted, stored, Some(policy), &asked, &access, began_ms).await;
    }
    if access.admit_by_note(wanted.video).await?
        && let Some(stored) = access.cached(wanted, None).await
    {
        return from_cache(wanted, stored, None, &asked, &access, began_ms).await;
    }
    let revision = wanted.revision.as_deref();
    let mut found = look(bare.clone(), revision, access.is_granted(), place).await;
    if matches!(found, Found::Private) {
        access.admit_owner_of(wanted.video).await?;
        found = look(bare, revision, true, place).await;
    }
    match found {
        Found::Picture(picture) => {
            access.is_private = picture.is_private;
            let headers = headers(wanted, &picture);
            let timing = (picture.from, began_ms);
            Ok(at_hand(wanted, headers, &picture.etag, picture.bytes.clone(), timing, &asked, &access))
        }
        Found::Not(problem, retry_after_secs) => Ok(negative(&problem, retry_after_secs, place.request_id)),
        Found::Trouble(problem) => Err(problem),
        Found::Private => Err(Problem::new(Code::Unauthorized)),
    }
}

/// The answer with a picture that was read.
fn at_hand(
    wanted: &PictureRequest,
    mut headers: Vec<(&'static str, String)>,
    etag: &str,
    mut bytes: Bytes,
    timing: (&str, u64),
    asked: &Asked,
    access: &Access<'_>,
) -> Reply {
    if let Some(grant) = access.private().filter(|grant| grant.changes(wanted)) {
        bytes = grant.with_sheet(bytes.into()).into();
        headers.retain(|(name, _)| *name != "content-length");
        headers.push(("content-length", bytes.len().to_string()));
    }
    let length = bytes.len() as u64;
    let served = decide(conditional(asked), etag, length);
    access.dress(answer(served, headers, etag, length, Some(bytes), timing))
}

fn judge(revision: &str, stored: &Response, now_ms: u64) -> Option<CachePolicy> {
    let header = |name| platform::response_header(stored, name);
    let stored_ms = header(STORED_AT)?.parse::<u64>().ok()?;
    judge_bare(revision, &header("etag")?, now_ms.saturating_sub(stored_ms))
}

/// What a stored or fresh picture is sent with.
fn headers(wanted: &PictureRequest, picture: &Picture) -> Vec<(&'static str, String)> {
    vec![
        ("content-type", wanted.variant.format().content_type().to_owned()),
        ("etag", picture.etag.clone()),
        ("cache-control", cache_control(CachePolicy::of(wanted, &picture.etag)).to_owned()),
        ("content-length", picture.bytes.len().to_string()),
    ]
}

/// The picture, fetched once for all that want it here and now.
async fn look(bare: PictureRequest, revision: Option<&str>, is_granted: bool, place: &Place<'_>) -> Found {
    // What a granted request finds is not for the others.
    let key = [if is_granted { "granted" } else { "" }, &bare.canonical()].concat();
    let mut is_waiting = false;
    loop {
        let role = FLIGHTS.with_borrow_mut(|all| all.join(&key, is_waiting, platform::now_ms()));
        let number = match role {
            Role::Lead(number) => number,
            Role::Known(found) => return found,
            Role::Wait => {
                is_waiting = true;
                platform::sleep_ms(LOOK_MS).await;
                continue;
            }
        };
        let (sender, receiver) = oneshot::channel();
        let wanted = PictureRequest { revision: revision.map(str::to_owned), ..bare };
        let (config, env, request_id) = (place.config, place.env.clone(), place.request_id.to_owned());
        // The work goes on when the one who asked first has gone, since others wait for it.
        platform::wait_until(place.context, async move {
            let found = fetch::find(&wanted, is_granted, config, &env, &request_id).await;
            let is_negative = matches!(&found, Found::Not(problem, _) if problem.code != Code::Processing);
            let keep_ms = if is_negative { NEGATIVE_MS } else { 0 };
            FLIGHTS.with_borrow_mut(|all| all.end(number, found.clone(), keep_ms, platform::now_ms()));
            let picture = if let Found::Picture(picture) = &found { Some(Rc::clone(picture)) } else { None };
            // Nobody listens where the one who asked first has gone.
            let _ = sender.send(found);
            if let Some(picture) = picture {
                store(wanted, &picture, config).await;
            }
        });
        return receiver.await.unwrap_or_else(|_| Found::Trouble(Problem::new(Code::Internal)));
    }
}

/// Keeps a picture in the cache of this place. A revision that is not the picture's own fixes nothing, so it gets no entry
/// of its own.
async fn store(wanted: PictureRequest, picture: &Picture, config: &Config) {
    let is_fixed = CachePolicy::of(&wanted, &picture.etag) == CachePolicy::Immutable;
    let revision = if is_fixed { wanted.revision } else { None };
    let wanted = PictureRequest { revision, ..wanted };
    let now_ms = platform::now_ms();
    let length = picture.bytes.len() as u64;
    let timing = ("hit", now_ms);
    let stored = answer(Served::Whole, headers(&wanted, picture), &picture.etag, length, None, timing);
    let stored = stored.with(STORED_AT, now_ms.to_string());
    platform::cache_put(&entry(config, &wanted, picture.is_private), stored.headers, picture.bytes.clone())
        .await;
}

/// Takes what lies under these paths out of the cache of this place, and says how many were there.
pub(crate) async fn purge(paths: &[String], config: &Config) -> usize {
    let mut purged = 0;
    for path in paths {
        for folder in ["", PRIVATE_FOLDER] {
            let url = [&config.public_url, folder, path.as_str()].concat();
            purged += usize::from(platform::cache_delete(&url).await);
        }
    }
    purged
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
        // RFC 9110, section 14.2: only GET has ranges.
        let range = header("range").filter(|_| request.method() == "GET");
        let if_range = range.as_ref().and_then(|_| header("if-range"));
        Self { if_none_match: header("if-none-match"), range, if_range }
    }

    /// The ETags of the copies that are there already.
    fn copy(&self) -> Option<&str> {
        self.if_none_match.as_deref()
    }

    /// Whether this answer of the cache's is what was asked for: the whole, or that a copy is the same.
    fn is_met_by(&self, stored: &Response) -> bool {
        stored.status() == 304 || (self.if_none_match.is_none() && self.range.is_none())
    }
}

fn conditional(asked: &Asked) -> Conditional<'_> {
    Conditional {
        if_none_match: asked.if_none_match.as_deref(),
        range: asked.range.as_deref(),
        if_range: asked.if_range.as_deref(),
    }
}

/// The answer out of an entry; with another life if it is the entry of another URL.
async fn from_cache(
    wanted: &PictureRequest,
    stored: Response,
    policy: Option<CachePolicy>,
    asked: &Asked,
    access: &Access<'_>,
    began_ms: u64,
) -> Result<Reply, Problem> {
    let is_changed = access.private().is_some_and(|grant| grant.changes(wanted));
    // What is stored is the answer to whoever has no wish of their own, and to a token but for its lifetime.
    if policy.is_none() && asked.is_met_by(&stored) && !access.is_owner() && access.request.method() == "GET"
    {
        if access.private().is_none() && !access.place.is_negotiated {
            return Ok(Reply::stored(stored));
        }
        if stored.status() == 304 || (!is_changed && platform::has_body(&stored)) {
            let lifetime = platform::response_header(&stored, "cache-control").unwrap_or_default();
            return Ok(access.dress(Reply::like(stored).with("cache-control", lifetime)));
        }
    }
    let mut headers: Vec<(&'static str, String)> =
        KEPT.into_iter().filter_map(|name| Some((name, platform::response_header(&stored, name)?))).collect();
    let of = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
    let etag = of("etag").unwrap_or_default();
    let length = of("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    if let Some(policy) = policy {
        headers.retain(|(name, _)| *name != "cache-control");
        headers.push(("cache-control", cache_control(policy).to_owned()));
    }
    let timing = ("hit", began_ms);
    if stored.status() == 304 {
        return Ok(access.dress(answer(Served::NotModified, headers, &etag, length, None, timing)));
    }
    match decide(conditional(asked), &etag, length) {
        Served::Whole if !is_changed && platform::has_body(&stored) => {
            let mut reply = access.dress(answer(Served::Whole, headers, &etag, length, None, timing));
            reply.body = Body::Upstream(stored);
            Ok(reply)
        }
        Served::NotModified => {
            Ok(access.dress(answer(Served::NotModified, headers, &etag, length, None, timing)))
        }
        _ => {
            let bytes = platform::response_bytes(&stored).await;
            let bytes = Bytes::from(bytes.ok_or_else(|| Problem::new(Code::Internal))?);
            Ok(at_hand(wanted, headers, &etag, bytes, timing, asked, access))
        }
    }
}

/// The answer that was decided, with the headers that every picture has.
fn answer(
    served: Served,
    mut headers: Vec<(&'static str, String)>,
    etag: &str,
    length: u64,
    bytes: Option<Bytes>,
    (from, began_ms): (&str, u64),
) -> Reply {
    headers.extend(cors::picture_headers());
    headers.push(("x-content-type-options", "nosniff".to_owned()));
    headers.push(("content-security-policy", "default-src 'none'; sandbox".to_owned()));
    headers.push(("accept-ranges", "bytes".to_owned()));
    let took_ms = platform::now_ms().saturating_sub(began_ms);
    headers.push(("server-timing", format!("cache;desc={from};dur={took_ms}")));
    let mut reply = Reply { status: 200, headers, body: bytes.map_or(Body::Empty, Body::Bytes) };
    match served {
        Served::Whole => {}
        Served::Part(first, last) => {
            reply.status = 206;
            reply.replace("content-range", &format!("bytes {first}-{last}/{length}"));
            reply.replace("content-length", &(last - first + 1).to_string());
            if let Body::Bytes(bytes) = reply.body {
                reply.body = Body::Bytes(bytes.slice(first as usize..=last as usize));
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

/// An answer that there is no picture. Nothing negative is ever stored in the cache, and a browser asks again soon.
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
