//! Decides nothing by itself: cache, then whoever fetches this picture already, then the bucket and the function that
//! makes pictures, then the answer that the other files of this folder choose.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_channel::oneshot;
use glimpse_contract::{Code, PictureRequest, Problem, object};
use worker::{Context, Env};

use crate::config::Config;
use crate::delivery::access::Access;
use crate::delivery::cache_key::{PRIVATE_FOLDER, place as entry, refusal_place};
use crate::delivery::cache_policy::{
    BELIEVED_MS, CachePolicy, NEGATIVE_MS, PROCESSING_MS, cache_control, judge_bare,
};
use crate::delivery::coalesce::{Flights, Role};
use crate::delivery::conditional::{Conditional, Served, decide};
use crate::delivery::lookup::{self, Headers, Picture};
use crate::delivery::signed_url::Proof;
use crate::delivery::storyboard_files;
use crate::http::cors;
use crate::http::response::{Body, Reply};
use crate::platform::{self, Limiter, Request, Response};

/// Headers of a stored picture that a client sees.
const KEPT: [&str; 4] = ["content-type", "etag", "cache-control", "content-length"];
/// When an entry was stored, in Unix milliseconds.
const STORED_AT: &str = "x-stored-at";
/// How often somebody looks whether the picture has come that another request fetches, in milliseconds.
const LOOK_MS: u64 = 20;
/// How long it is noted that a picture cannot be made. A video does not change.
const REFUSAL_CONTROL: &str = "public, max-age=300";

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
    /// It is there, and this is known about it.
    Headers(Headers),
    /// It can be made, and was not: nobody wants to see it.
    NotMade { is_private: bool },
    /// There is none; ask again in so many seconds, if at all.
    Not(Problem, Option<u32>),
    /// The function does not make it, and never will.
    Refused { problem: Problem, is_private: bool },
    /// It is private, and the request was not granted.
    Private,
    /// The client of this address asks too often. Others are not concerned.
    Limited(String),
    /// It could not be found out.
    Trouble(Problem),
}

/// What the cache has for a request.
enum Kept {
    /// The answer; with another lifetime if it is the entry of another URL.
    Answer(Response, Option<CachePolicy>),
    /// The entry of the bare URL. Whether it is still the picture is not known.
    InDoubt(Response),
    /// Nothing.
    Nothing,
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
    let mut kept = Kept::Nothing;
    if access.is_granted() {
        kept = access.kept(wanted, &asked, true, began_ms).await;
    } else {
        access.check_open(wanted).await?;
    }
    if matches!(kept, Kept::Nothing) {
        kept = access.kept(wanted, &asked, false, began_ms).await;
    }
    if matches!(kept, Kept::Nothing) && access.admit_by_note(wanted.video).await? {
        kept = access.kept(wanted, &asked, true, began_ms).await;
    }
    let in_doubt = match kept {
        Kept::Answer(stored, policy) => {
            return from_cache(wanted, stored, policy, &asked, &access, began_ms).await;
        }
        Kept::InDoubt(stored) => Some(stored),
        Kept::Nothing => None,
    };
    if let Some(problem) = access.noted_refusal(wanted).await {
        return Ok(negative(&problem, None, place.request_id));
    }
    // From here on, the bucket is read.
    if !platform::is_within(place.env, Limiter::Reads, &access.client).await {
        return match in_doubt {
            Some(stored) => {
                let policy = Some(CachePolicy::Doubtful);
                from_cache(wanted, stored, policy, &asked, &access, began_ms).await
            }
            None => Err(Problem::new(Code::Busy)),
        };
    }
    let seek = Seek { wanted, asked: &asked, began_ms };
    if let Some(reply) = seek.answer(in_doubt, &mut access).await? {
        return Ok(reply);
    }
    access.admit_owner_of(wanted.video).await?;
    let in_doubt = match access.kept(wanted, &asked, true, began_ms).await {
        Kept::Answer(stored, policy) => {
            return from_cache(wanted, stored, policy, &asked, &access, began_ms).await;
        }
        Kept::InDoubt(stored) => Some(stored),
        Kept::Nothing => None,
    };
    seek.answer(in_doubt, &mut access).await?.ok_or_else(|| Problem::new(Code::Unauthorized))
}

/// A picture that the cache has no answer for.
struct Seek<'a> {
    wanted: &'a PictureRequest,
    asked: &'a Asked,
    began_ms: u64,
}

impl Seek<'_> {
    /// The answer with what the bucket and the function have; `None` if it is private and the request is not granted.
    ///
    /// HEAD, a copy that may be the same, and an entry in doubt cost a HEAD of the bucket. Only a picture that is sent is
    /// read.
    async fn answer(
        &self,
        in_doubt: Option<Response>,
        access: &mut Access<'_>,
    ) -> Result<Option<Reply>, Problem> {
        let Self { wanted, asked, began_ms } = *self;
        let is_head = access.request.method() == "HEAD";
        if is_head || in_doubt.is_some() || asked.if_none_match.is_some() {
            let found = look(wanted, true, access).await;
            match (found, in_doubt) {
                (Found::Headers(known), Some(stored)) if etag_of(&stored) == known.etag => {
                    let policy = Some(CachePolicy::of(wanted, &known.etag));
                    return from_cache(wanted, stored, policy, asked, access, began_ms).await.map(Some);
                }
                (Found::Headers(known), _) => {
                    access.is_private = known.is_private;
                    let served = decide(conditional(asked), &known.etag, known.length);
                    if is_head || served == Served::NotModified {
                        return Ok(Some(self.described(served, &known, access)));
                    }
                }
                // An entry is better than no answer.
                (Found::Trouble(_), Some(stored)) => {
                    let policy = Some(CachePolicy::Doubtful);
                    return from_cache(wanted, stored, policy, asked, access, began_ms).await.map(Some);
                }
                (Found::NotMade { is_private }, _) if is_head => {
                    access.is_private = is_private;
                    return Ok(Some(access.dress(not_made(wanted))));
                }
                (Found::NotMade { .. }, _) => {}
                (found, _) => return self.reply(found, access),
            }
        }
        let found = look(wanted, false, access).await;
        self.reply(found, access)
    }

    fn reply(&self, found: Found, access: &mut Access<'_>) -> Result<Option<Reply>, Problem> {
        let Self { wanted, asked, began_ms } = *self;
        match found {
            Found::Picture(picture) => {
                access.is_private = picture.is_private;
                let headers = headers(wanted, &picture.etag, picture.bytes.len() as u64);
                let timing = (picture.from, began_ms);
                let bytes = picture.bytes.clone();
                Ok(Some(at_hand(wanted, headers, &picture.etag, bytes, timing, asked, access)))
            }
            Found::Not(problem, retry_after_secs) => {
                Ok(Some(negative(&problem, retry_after_secs, access.place.request_id)))
            }
            Found::Refused { problem, .. } => Ok(Some(negative(&problem, None, access.place.request_id))),
            Found::Trouble(problem) => Err(problem),
            Found::Limited(_) => Err(Problem::new(Code::Busy)),
            Found::Private => Ok(None),
            Found::Headers(_) | Found::NotMade { .. } => Err(Problem::new(Code::Internal)),
        }
    }

    /// The answer without a body to what the bucket knows.
    fn described(&self, served: Served, known: &lookup::Headers, access: &Access<'_>) -> Reply {
        let mut headers = headers(self.wanted, &known.etag, known.length);
        let is_changed = access.private().is_some_and(|grant| grant.changes(self.wanted));
        if is_changed || storyboard_files::delivered_etag(self.wanted, &known.etag).is_some() {
            // The table that is sent is longer than the one that is stored.
            headers.retain(|(name, _)| *name != "content-length");
        }
        let timing = ("s3", self.began_ms);
        access.dress(answer(served, headers, &known.etag, known.length, None, timing))
    }
}

/// The answer to HEAD for a picture that would be made for GET: its type, and nothing that is not known yet.
fn not_made(wanted: &PictureRequest) -> Reply {
    let mut reply = Reply::empty(200)
        .with("content-type", wanted.variant.format().content_type())
        .with("cache-control", "no-store")
        .with("x-content-type-options", "nosniff");
    reply.headers.extend(cors::picture_headers());
    reply
}

fn etag_of(stored: &Response) -> String {
    platform::response_header(stored, "etag").unwrap_or_default()
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
        bytes = grant.with_sheet(wanted, bytes.into()).into();
        headers.retain(|(name, _)| *name != "content-length");
        headers.push(("content-length", bytes.len().to_string()));
    }
    let length = bytes.len() as u64;
    let served = decide(conditional(asked), etag, length);
    access.dress(answer(served, headers, etag, length, Some(bytes), timing))
}

impl Access<'_> {
    /// What the cache has for this request among the public or the private pictures. Whoever makes revisions up is
    /// answered from the bare entry.
    async fn kept(&mut self, wanted: &PictureRequest, asked: &Asked, is_private: bool, now_ms: u64) -> Kept {
        let config = self.place.config;
        let url = entry(config, wanted, is_private);
        let mut kept = match platform::cache_get_unless(&url, asked.copy()).await {
            Some(stored) => Kept::Answer(stored, None),
            None => Kept::Nothing,
        };
        if let (Kept::Nothing, Some(revision)) = (&kept, &wanted.revision) {
            let bare = PictureRequest { revision: None, ..wanted.clone() };
            if let Some(stored) = platform::cache_get(&entry(config, &bare, is_private)).await {
                kept = match judge(revision, &stored, now_ms) {
                    Some(policy) => Kept::Answer(stored, Some(policy)),
                    None => Kept::InDoubt(stored),
                };
            }
        }
        self.is_private = is_private && !matches!(kept, Kept::Nothing);
        kept
    }
}

fn judge(revision: &str, stored: &Response, now_ms: u64) -> Option<CachePolicy> {
    let header = |name| platform::response_header(stored, name);
    let stored_ms = header(STORED_AT)?.parse::<u64>().ok()?;
    judge_bare(revision, &header("etag")?, now_ms.saturating_sub(stored_ms))
}

/// What a stored or fresh picture is sent with.
fn headers(wanted: &PictureRequest, etag: &str, length: u64) -> Vec<(&'static str, String)> {
    vec![
        ("content-type", wanted.variant.format().content_type().to_owned()),
        ("etag", etag.to_owned()),
        ("cache-control", cache_control(CachePolicy::of(wanted, etag)).to_owned()),
        ("content-length", length.to_string()),
    ]
}

/// The picture, or what is known about it, fetched once for all that want it here and now.
async fn look(wanted: &PictureRequest, is_headers_only: bool, access: &Access<'_>) -> Found {
    let (place, rights) = (access.place, access.rights(wanted).await);
    let bare = PictureRequest { revision: None, ..wanted.clone() };
    let kind = if is_headers_only { "headers " } else { "" };
    // What a granted request finds is not for the others.
    let key = [kind, &rights.key(), &bare.canonical()].concat();
    let mut is_waiting = false;
    loop {
        let role = FLIGHTS.with_borrow_mut(|all| all.join(&key, is_waiting, platform::now_ms()));
        let number = match role {
            Role::Lead(number) => number,
            Role::Known(Found::Limited(client)) if client != rights.client => {
                // Another client asks too often: that outcome is forgotten in a moment.
                is_waiting = true;
                platform::sleep_ms(LOOK_MS).await;
                continue;
            }
            Role::Known(found) => return found,
            Role::Wait => {
                is_waiting = true;
                platform::sleep_ms(LOOK_MS).await;
                continue;
            }
        };
        let (sender, receiver) = oneshot::channel();
        let wanted = wanted.clone();
        let (config, env, request_id) = (place.config, place.env.clone(), place.request_id.to_owned());
        // The work goes on when the one who asked first has gone, since others wait for it.
        platform::wait_until(place.context, async move {
            let found = if is_headers_only {
                lookup::describe(&bare, &rights, config, &request_id).await
            } else {
                lookup::find(&bare, &rights, config, &env, &request_id).await
            };
            let found = as_delivered(found, &bare, config);
            let keep_ms = keep_ms(&found);
            FLIGHTS.with_borrow_mut(|all| all.end(number, found.clone(), keep_ms, platform::now_ms()));
            // Nobody listens where the one who asked first has gone.
            let _ = sender.send(found.clone());
            match found {
                Found::Picture(picture) => store(wanted, &picture, config).await,
                Found::Refused { problem, is_private } => {
                    note_refusal(&wanted, &problem, is_private, config).await;
                }
                _ => {}
            }
        });
        return receiver.await.unwrap_or_else(|_| Found::Trouble(Problem::new(Code::Internal)));
    }
}

/// How long an outcome answers later requests of this isolate, in milliseconds. A picture is kept by the cache instead.
fn keep_ms(found: &Found) -> u64 {
    match found {
        Found::Headers(_) | Found::NotMade { .. } => BELIEVED_MS,
        Found::Not(problem, _) if problem.code == Code::Processing => PROCESSING_MS,
        Found::Not(..) | Found::Refused { .. } | Found::Private => NEGATIVE_MS,
        Found::Picture(_) | Found::Limited(_) | Found::Trouble(_) => 0,
    }
}

/// Notes in the cache of this place for some minutes that a picture cannot be made.
async fn note_refusal(wanted: &PictureRequest, problem: &Problem, is_private: bool, config: &Config) {
    let text = object! { "code" => problem.code.as_str(), "detail" => &problem.detail }.to_string();
    let headers = vec![("cache-control", REFUSAL_CONTROL.to_owned())];
    platform::cache_put(&refusal_place(config, wanted, is_private), headers, text.into()).await;
}

/// What was found, with the tables of a storyboard as they are delivered.
fn as_delivered(found: Found, wanted: &PictureRequest, config: &Config) -> Found {
    match found {
        Found::Picture(picture) => {
            match storyboard_files::delivered(wanted, &picture.bytes, &picture.etag, &config.public_url) {
                None => Found::Picture(picture),
                Some((bytes, etag)) => {
                    let (from, is_private) = (picture.from, picture.is_private);
                    Found::Picture(Rc::new(Picture { etag, bytes: bytes.into(), from, is_private }))
                }
            }
        }
        Found::Headers(known) => {
            let etag = storyboard_files::delivered_etag(wanted, &known.etag).unwrap_or(known.etag);
            Found::Headers(Headers { etag, ..known })
        }
        found => found,
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
    let headers = headers(&wanted, &picture.etag, length);
    let stored = answer(Served::Whole, headers, &picture.etag, length, None, timing);
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
        // The paths are those of one video.
        let video = path.split('/').nth(1).unwrap_or_default();
        FLIGHTS.with_borrow_mut(|all| all.forget(|key| key.contains(video)));
    }
    purged
}

/// What a request says about its copy, as owned text.
pub(super) struct Asked {
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
