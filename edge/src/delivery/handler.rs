//! HTTP handler for images: looks in the cache, joins a fetch in progress, then reads the bucket or calls the `render`
//! Lambda. The other files of this folder determine the response.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_channel::oneshot;
use glimpse_contract::{Code, Key, OutputFormat, Problem, VariantRequest, object};

use crate::config::Config;
use crate::context::RequestContext;
use crate::delivery::access::{ImageRequest, ViewerRequest};
use crate::delivery::cache_key::{PRIVATE_PREFIX, cache_key as entry, failure_cache_key};
use crate::delivery::cache_policy::{
    CachePolicy, NEGATIVE_TTL_MS, PROCESSING_TTL_MS, REVISION_MISS_TTL_MS, cache_control, revision_policy,
};
use crate::delivery::coalesce::{RequestCoalescer, Role};
use crate::delivery::conditional::{Conditional, ConditionalResponse, evaluate_preconditions};
use crate::delivery::lookup::{ImageHead, ImageLookup, LoadedImage, Lookup};
use crate::delivery::signed_url::ViewerAccess;
use crate::delivery::storyboard_files;
use crate::http::cors;
use crate::http::response::{Reply, ReplyBody};
use crate::platform::{self, Limiter, Request, Response};
use crate::s3::client::Bucket;

/// Headers of a cached image that are sent to the client.
const STORED_HEADERS: [&str; 4] = ["content-type", "etag", "cache-control", "content-length"];
/// The longest clip that is cached, in bytes: it is read a second time for it, within the time that a Worker has after
/// its response.
const MAX_CACHED_CLIP_BYTES: u64 = 32 * 1024 * 1024;
/// When an entry was stored, in Unix milliseconds.
const STORED_AT_HEADER: &str = "x-stored-at";
/// How often a follower checks whether the leader has fetched the image, in milliseconds.
const POLL_INTERVAL_MS: u64 = 20;
/// How long it is cached that an image cannot be rendered. A video does not change.
const FAILURE_CACHE_CONTROL: &str = "public, max-age=300";

thread_local! {
    static COALESCER: RefCell<RequestCoalescer<Lookup>> = RefCell::new(RequestCoalescer::default());
}

/// The result of a cache lookup.
enum CacheLookup {
    /// The response; with another lifetime if it is the entry of another URL.
    Hit(Response, Option<CachePolicy>),
    /// The entry of the unversioned URL, which may be outdated.
    Unverified(Response),
    /// No entry.
    Miss,
}

/// Responds to a request for an image.
pub(crate) async fn serve(
    image_request: ImageRequest<'_>,
    ctx: &RequestContext<'_>,
) -> Result<Reply, Problem> {
    let conditions = RequestConditions::from_request(image_request.request);
    let mut delivery = ImageDelivery { viewer: ViewerRequest::new(image_request, ctx)?, conditions };
    let mut cached = CacheLookup::Miss;
    if delivery.viewer.can_view_private() {
        cached = delivery.lookup_cache(true).await;
    } else {
        delivery.viewer.check_variant_allowed().await?;
    }
    if matches!(cached, CacheLookup::Miss) {
        cached = delivery.lookup_cache(false).await;
    }
    if matches!(cached, CacheLookup::Miss) && delivery.viewer.authorize_cached().await? {
        cached = delivery.lookup_cache(true).await;
    }
    let unverified = match cached {
        CacheLookup::Hit(stored, policy) => return delivery.respond_from_cache(stored, policy).await,
        CacheLookup::Unverified(stored) => Some(stored),
        CacheLookup::Miss => None,
    };
    if let Some(problem) = delivery.viewer.cached_failure().await {
        return Ok(error_reply(&problem, None, ctx.request_id));
    }
    // From here on, the bucket is read.
    if !platform::is_within_rate_limit(ctx.env, Limiter::Reads, &delivery.viewer.client).await {
        return match unverified {
            Some(stored) => delivery.respond_from_cache(stored, Some(CachePolicy::ShortLived)).await,
            None => Err(Problem::new(Code::Busy)),
        };
    }
    if let Some(reply) = delivery.respond_from_origin(unverified).await? {
        return Ok(reply);
    }
    delivery.viewer.authorize_owner().await?;
    let unverified = match delivery.lookup_cache(true).await {
        CacheLookup::Hit(stored, policy) => return delivery.respond_from_cache(stored, policy).await,
        CacheLookup::Unverified(stored) => Some(stored),
        CacheLookup::Miss => None,
    };
    delivery.respond_from_origin(unverified).await?.ok_or_else(|| Problem::new(Code::Unauthorized))
}

/// One request for an image, on its way through the cache and the bucket.
struct ImageDelivery<'a> {
    viewer: ViewerRequest<'a>,
    conditions: RequestConditions,
}

/// An image or its headers, before the conditions of the request are evaluated.
struct ImageResponse<'a> {
    headers: Vec<(&'static str, String)>,
    etag: &'a str,
    length: u64,
    /// The image, if it is in memory.
    bytes: Option<Bytes>,
    /// Its source, for `Server-Timing`.
    served_from: &'a str,
    /// When the request was received, in Unix milliseconds.
    began_ms: u64,
}

impl ImageDelivery<'_> {
    /// Looks the request up among the public or the private images. Requests with invalid revisions are answered from
    /// the unversioned entry.
    async fn lookup_cache(&mut self, is_private: bool) -> CacheLookup {
        let (config, wanted) = (self.viewer.ctx.config, self.viewer.wanted);
        let url = entry(config, wanted, is_private);
        let mut cached = match platform::cache_get_unless(&url, self.conditions.client_etags()).await {
            Some(stored) => CacheLookup::Hit(stored, None),
            None => CacheLookup::Miss,
        };
        if let (CacheLookup::Miss, Some(revision)) = (&cached, &wanted.revision) {
            let bare = VariantRequest { revision: None, ..wanted.clone() };
            if let Some(stored) = platform::cache_get(&entry(config, &bare, is_private)).await {
                cached = match stored_revision_policy(revision, &stored, self.viewer.ctx.now_ms) {
                    Some(policy) => CacheLookup::Hit(stored, Some(policy)),
                    None => CacheLookup::Unverified(stored),
                };
            }
        }
        self.viewer.is_private = is_private && !matches!(cached, CacheLookup::Miss);
        cached
    }

    /// Responds from the bucket or the function; `None` if the image is private and the request is not authorized.
    ///
    /// HEAD, revalidation and an unverified entry need a HEAD request to the bucket. Only an image that is sent is
    /// read.
    async fn respond_from_origin(&mut self, unverified: Option<Response>) -> Result<Option<Reply>, Problem> {
        let wanted = self.viewer.wanted;
        let is_head = self.viewer.request.method() == "HEAD";
        if is_head || unverified.is_some() || self.conditions.if_none_match.is_some() {
            match (self.load_coalesced(true).await, unverified) {
                (Lookup::Head(head), Some(stored)) if etag_of(&stored) == head.etag => {
                    let policy = CachePolicy::from_request(wanted, &head.etag);
                    return self.respond_from_cache(stored, Some(policy)).await.map(Some);
                }
                (Lookup::Head(head), _) => {
                    self.viewer.is_private = head.is_private;
                    let outcome = self.evaluate(&head.etag, head.length);
                    if is_head || outcome == ConditionalResponse::NotModified {
                        return Ok(Some(self.head_reply(outcome, &head)));
                    }
                }
                // A possibly outdated entry is better than an error.
                (Lookup::Failed(_), Some(stored)) => {
                    let policy = Some(CachePolicy::ShortLived);
                    return self.respond_from_cache(stored, policy).await.map(Some);
                }
                (Lookup::Renderable { is_private }, _) if is_head => {
                    self.viewer.is_private = is_private;
                    return Ok(Some(self.viewer.apply_cache_headers(renderable_head_reply(wanted))));
                }
                (Lookup::Renderable { .. }, _) => {}
                (found, _) => return self.lookup_reply(found),
            }
        }
        match self.load_coalesced(false).await {
            Lookup::Head(head) => self.stream_clip(&head).await.map(Some),
            lookup => self.lookup_reply(lookup),
        }
    }

    /// Responds with a clip from the bucket. Its bytes pass through unread: they may be more than a Worker's memory.
    async fn stream_clip(&mut self, head: &ImageHead) -> Result<Reply, Problem> {
        let wanted = self.viewer.wanted;
        self.viewer.is_private = head.is_private;
        let outcome = self.evaluate(&head.etag, head.length);
        let mut reply = self.head_reply(outcome, head);
        let range = match outcome {
            ConditionalResponse::Full => None,
            ConditionalResponse::Partial(first, last) => Some((first, last)),
            ConditionalResponse::NotModified | ConditionalResponse::Unsatisfiable => return Ok(reply),
        };
        let key = Key::Output(wanted.video, wanted.variant);
        let ctx = self.viewer.ctx;
        let stream = ctx.bucket().stream_object(&key, &head.etag, range).await?;
        reply.body = ReplyBody::ResponseBody(stream);
        // A player begins at the first byte; its other requests find the clip in the cache.
        if head.length <= MAX_CACHED_CLIP_BYTES && range.is_none_or(|(first, _)| first == 0) {
            let (wanted, head, request_id) = (wanted.clone(), head.clone(), ctx.request_id.to_owned());
            let config = ctx.config;
            platform::wait_until(ctx.context, async move {
                let bucket = Bucket::new(config, &request_id);
                if let Ok(stream) = bucket.stream_object(&key, &head.etag, None).await {
                    store(wanted, &head, ReplyBody::ResponseBody(stream), config).await;
                }
            });
        }
        Ok(reply)
    }

    fn lookup_reply(&mut self, lookup: Lookup) -> Result<Option<Reply>, Problem> {
        let request_id = self.viewer.ctx.request_id;
        match lookup {
            Lookup::Hit(image) => {
                self.viewer.is_private = image.is_private;
                let headers = image_headers(self.viewer.wanted, &image.etag, image.bytes.len() as u64);
                let bytes = image.bytes.clone();
                Ok(Some(self.respond_with_bytes(headers, &image.etag, bytes, image.served_from)))
            }
            Lookup::Missing(problem, retry_after_secs) => {
                Ok(Some(error_reply(&problem, retry_after_secs, request_id)))
            }
            Lookup::RenderFailed { problem, .. } => Ok(Some(error_reply(&problem, None, request_id))),
            Lookup::Failed(problem) => Err(problem),
            Lookup::RateLimited(_) => Err(Problem::new(Code::Busy)),
            Lookup::Forbidden => Ok(None),
            Lookup::Head(_) | Lookup::Renderable { .. } => Err(Problem::new(Code::Internal)),
        }
    }

    /// The kind of response, by the conditions of the request.
    fn evaluate(&self, etag: &str, length: u64) -> ConditionalResponse {
        let RequestConditions { if_none_match, range, if_range } = &self.conditions;
        let conditions = Conditional {
            if_none_match: if_none_match.as_deref(),
            range: range.as_deref(),
            if_range: if_range.as_deref(),
        };
        evaluate_preconditions(conditions, etag, length)
    }

    /// The access right if the image is a table that is delivered with it in the URL of the sheet.
    fn table_access(&self) -> Option<&ViewerAccess> {
        self.viewer.private_access().filter(|access| access.has_signed_sheet(self.viewer.wanted))
    }

    /// The response without a body, from the headers in the bucket.
    fn head_reply(&self, outcome: ConditionalResponse, head: &ImageHead) -> Reply {
        let wanted = self.viewer.wanted;
        let mut headers = image_headers(wanted, &head.etag, head.length);
        if self.table_access().is_some() || storyboard_files::delivered_etag(wanted, &head.etag).is_some() {
            // The delivered table is longer than the stored one.
            headers.retain(|(name, _)| *name != "content-length");
        }
        self.image_reply(outcome, self.image_response(headers, &head.etag, head.length, "s3"))
    }

    /// The response with an image that was read.
    fn respond_with_bytes(
        &self,
        mut headers: Vec<(&'static str, String)>,
        etag: &str,
        mut bytes: Bytes,
        served_from: &str,
    ) -> Reply {
        if let Some(access) = self.table_access() {
            bytes = access.sign_sheet_url(self.viewer.wanted, bytes.into()).into();
            headers.retain(|(name, _)| *name != "content-length");
            headers.push(("content-length", bytes.len().to_string()));
        }
        let length = bytes.len() as u64;
        let response = self.image_response(headers, etag, length, served_from);
        self.image_reply(self.evaluate(etag, length), ImageResponse { bytes: Some(bytes), ..response })
    }

    fn image_response<'b>(
        &self,
        headers: Vec<(&'static str, String)>,
        etag: &'b str,
        length: u64,
        served_from: &'b str,
    ) -> ImageResponse<'b> {
        let began_ms = self.viewer.ctx.now_ms;
        ImageResponse { headers, etag, length, bytes: None, served_from, began_ms }
    }

    fn image_reply(&self, outcome: ConditionalResponse, response: ImageResponse<'_>) -> Reply {
        self.viewer.apply_cache_headers(response.into_reply(outcome))
    }

    /// The response from an entry; with another lifetime if it is the entry of another URL.
    async fn respond_from_cache(
        &self,
        stored: Response,
        policy: Option<CachePolicy>,
    ) -> Result<Reply, Problem> {
        let viewer = &self.viewer;
        let is_rewritten = self.table_access().is_some();
        // The entry is the response to requests without special headers, and to those with a token except for its
        // lifetime.
        if policy.is_none()
            && self.conditions.is_fully_answered_by(&stored)
            && !viewer.is_owner()
            && viewer.request.method() == "GET"
        {
            if viewer.private_access().is_none() && !viewer.is_negotiated {
                return Ok(Reply::from_response(stored));
            }
            if stored.status() == 304 || (!is_rewritten && platform::has_body(&stored)) {
                let lifetime = platform::response_header(&stored, "cache-control").unwrap_or_default();
                return Ok(viewer.apply_cache_headers(
                    Reply::from_response_with_headers(stored).with_header("cache-control", lifetime),
                ));
            }
        }
        let mut headers: Vec<(&'static str, String)> = STORED_HEADERS
            .into_iter()
            .filter_map(|name| Some((name, platform::response_header(&stored, name)?)))
            .collect();
        let header =
            |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
        let etag = header("etag").unwrap_or_default();
        let length = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        if let Some(policy) = policy {
            headers.retain(|(name, _)| *name != "cache-control");
            headers.push(("cache-control", cache_control(policy).to_owned()));
        }
        let outcome = if stored.status() == 304 {
            ConditionalResponse::NotModified
        } else {
            self.evaluate(&etag, length)
        };
        let is_passed_through =
            outcome == ConditionalResponse::Full && !is_rewritten && platform::has_body(&stored);
        if is_passed_through || outcome == ConditionalResponse::NotModified {
            let response = self.image_response(headers, &etag, length, "hit");
            let mut reply = self.image_reply(outcome, response);
            if is_passed_through {
                reply.body = ReplyBody::ResponseBody(stored);
            }
            return Ok(reply);
        }
        if let (ConditionalResponse::Partial(first, last), Some(_)) = (outcome, viewer.wanted.variant.clip())
        {
            let url = entry(viewer.ctx.config, viewer.wanted, viewer.is_private);
            if let Some(part) = platform::cache_get_range(&url, first, last).await {
                let mut reply = self.image_reply(outcome, self.image_response(headers, &etag, length, "hit"));
                reply.body = ReplyBody::ResponseBody(part);
                return Ok(reply);
            }
        }
        let bytes = platform::response_bytes(&stored).await;
        let bytes = Bytes::from(bytes.ok_or_else(|| Problem::new(Code::Internal))?);
        Ok(self.respond_with_bytes(headers, &etag, bytes, "hit"))
    }

    /// The image, or its headers, fetched once for all concurrent requests of this isolate.
    async fn load_coalesced(&self, is_headers_only: bool) -> Lookup {
        let (ctx, wanted, rights) = (self.viewer.ctx, self.viewer.wanted, self.viewer.rights().await);
        let bare = VariantRequest { revision: None, ..wanted.clone() };
        let kind = if is_headers_only { "headers " } else { "" };
        // The outcome of an authorized request is not shared with other requests.
        let key = [kind, &rights.coalescing_key(), &bare.canonical()].concat();
        let mut is_waiting = false;
        let leader_id = loop {
            let role =
                COALESCER.with_borrow_mut(|coalescer| coalescer.join(&key, is_waiting, platform::now_ms()));
            match role {
                Role::Leader(number) => break number,
                // Another client exceeded its limit: that outcome expires in a moment.
                Role::Cached(Lookup::RateLimited(client)) if client != rights.client => {}
                Role::Cached(found) => return found,
                Role::Follower => {}
            }
            is_waiting = true;
            platform::sleep_ms(POLL_INTERVAL_MS).await;
        };
        let (sender, receiver) = oneshot::channel();
        let wanted = wanted.clone();
        let (config, env, request_id) = (ctx.config, ctx.env.clone(), ctx.request_id.to_owned());
        // The fetch continues when its client has disconnected, since other requests wait for it.
        platform::wait_until(ctx.context, async move {
            let image_lookup = ImageLookup {
                wanted: &bare,
                rights: &rights,
                config,
                env: &env,
                request_id: &request_id,
                now_ms: platform::now_ms(),
            };
            let lookup = if is_headers_only { image_lookup.head().await } else { image_lookup.load().await };
            let lookup = rewrite_storyboard(lookup, &bare, config);
            let ttl_ms = outcome_ttl_ms(&lookup);
            COALESCER.with_borrow_mut(|coalescer| {
                coalescer.complete(leader_id, lookup.clone(), ttl_ms, platform::now_ms());
            });
            // The receiver is gone if the client has disconnected.
            let _ = sender.send(lookup.clone());
            match lookup {
                Lookup::Hit(image) => {
                    let LoadedImage { etag, bytes, is_private, .. } = image.as_ref();
                    let (etag, length) = (etag.clone(), bytes.len() as u64);
                    let head = ImageHead { etag, length, is_private: *is_private };
                    store(wanted, &head, ReplyBody::Bytes(bytes.clone()), config).await;
                }
                Lookup::RenderFailed { problem, is_private } => {
                    cache_failure(&wanted, &problem, is_private, config).await;
                }
                _ => {}
            }
        });
        receiver.await.unwrap_or_else(|_| Lookup::Failed(Problem::new(Code::Internal)))
    }
}

/// The response to HEAD for an image that GET would render: its type, and no headers that are not known yet.
fn renderable_head_reply(wanted: &VariantRequest) -> Reply {
    let mut reply = Reply::empty(200)
        .with_header("content-type", wanted.variant.format().content_type())
        .with_header("cache-control", "no-store")
        .with_header("x-content-type-options", "nosniff");
    reply.headers.extend(cors::delivery_headers());
    reply
}

fn etag_of(stored: &Response) -> String {
    platform::response_header(stored, "etag").unwrap_or_default()
}

fn stored_revision_policy(revision: &str, stored: &Response, now_ms: u64) -> Option<CachePolicy> {
    let header = |name| platform::response_header(stored, name);
    let stored_ms = header(STORED_AT_HEADER)?.parse::<u64>().ok()?;
    revision_policy(revision, &header("etag")?, now_ms.saturating_sub(stored_ms))
}

/// The headers of a cached or fresh image.
fn image_headers(wanted: &VariantRequest, etag: &str, length: u64) -> Vec<(&'static str, String)> {
    vec![
        ("content-type", wanted.variant.format().content_type().to_owned()),
        ("etag", etag.to_owned()),
        ("cache-control", cache_control(CachePolicy::from_request(wanted, etag)).to_owned()),
        ("content-length", length.to_string()),
    ]
}

/// How long an outcome answers later requests of this isolate, in milliseconds. Images are in the cache instead.
fn outcome_ttl_ms(lookup: &Lookup) -> u64 {
    match lookup {
        Lookup::Head(_) | Lookup::Renderable { .. } => REVISION_MISS_TTL_MS,
        Lookup::Missing(problem, _) if problem.code == Code::Processing => PROCESSING_TTL_MS,
        Lookup::Missing(..) | Lookup::RenderFailed { .. } | Lookup::Forbidden => NEGATIVE_TTL_MS,
        Lookup::Hit(_) | Lookup::RateLimited(_) | Lookup::Failed(_) => 0,
    }
}

/// Records in the cache of this data center for some minutes that an image cannot be rendered.
async fn cache_failure(wanted: &VariantRequest, problem: &Problem, is_private: bool, config: &Config) {
    let text = object! { "code" => problem.code.as_str(), "detail" => &problem.detail }.to_string();
    let headers = vec![("cache-control", FAILURE_CACHE_CONTROL.to_owned())];
    platform::cache_put(&failure_cache_key(config, wanted, is_private), headers, text.into()).await;
}

/// The outcome, with the tables of a storyboard as they are delivered.
fn rewrite_storyboard(lookup: Lookup, wanted: &VariantRequest, config: &Config) -> Lookup {
    match lookup {
        Lookup::Hit(image) => {
            match storyboard_files::rewrite_sheet_url(wanted, &image.bytes, &image.etag, &config.public_url) {
                None => Lookup::Hit(image),
                Some((bytes, etag)) => {
                    let (from, is_private) = (image.served_from, image.is_private);
                    Lookup::Hit(Rc::new(LoadedImage {
                        etag,
                        bytes: bytes.into(),
                        served_from: from,
                        is_private,
                    }))
                }
            }
        }
        Lookup::Head(head) => {
            let etag = storyboard_files::delivered_etag(wanted, &head.etag).unwrap_or(head.etag);
            Lookup::Head(ImageHead { etag, ..head })
        }
        found => found,
    }
}

/// Stores an image in the cache of this data center. A revision of another image determines nothing, so it gets no
/// entry.
async fn store(wanted: VariantRequest, image: &ImageHead, body: ReplyBody, config: &Config) {
    let is_fixed = CachePolicy::from_request(&wanted, &image.etag) == CachePolicy::Immutable;
    let revision = if is_fixed { wanted.revision } else { None };
    let wanted = VariantRequest { revision, ..wanted };
    let now_ms = platform::now_ms();
    let length = image.length;
    let headers = image_headers(&wanted, &image.etag, length);
    let response = ImageResponse {
        headers,
        etag: &image.etag,
        length,
        bytes: None,
        served_from: "hit",
        began_ms: now_ms,
    };
    let stored = response.into_reply(ConditionalResponse::Full);
    let stored = stored.with_header(STORED_AT_HEADER, now_ms.to_string());
    platform::cache_put_body(&entry(config, &wanted, image.is_private), stored.headers, body).await;
}

/// Deletes the entries of these paths from the cache of this data center, and returns how many there were.
pub(crate) async fn purge(paths: &[String], config: &Config) -> usize {
    let mut purged = 0;
    for path in paths {
        for folder in ["", PRIVATE_PREFIX] {
            let url = [&config.public_url, folder, path.as_str()].concat();
            purged += usize::from(platform::cache_delete(&url).await);
        }
        // All paths belong to one video.
        let video = path.split('/').nth(1).unwrap_or_default();
        COALESCER.with_borrow_mut(|coalescer| coalescer.invalidate(|key| key.contains(video)));
    }
    purged
}

/// The conditional headers of a request, as owned strings.
struct RequestConditions {
    if_none_match: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
}

impl RequestConditions {
    fn from_request(request: &Request) -> Self {
        let header = |name| platform::header(request, name);
        // RFC 9110, section 14.2: only GET has ranges.
        let range = header("range").filter(|_| request.method() == "GET");
        let if_range = range.as_ref().and_then(|_| header("if-range"));
        Self { if_none_match: header("if-none-match"), range, if_range }
    }

    /// The ETags of the client's copies.
    fn client_etags(&self) -> Option<&str> {
        self.if_none_match.as_deref()
    }

    /// Whether this cached response answers the request: the whole image, or a matching 304.
    fn is_fully_answered_by(&self, stored: &Response) -> bool {
        stored.status() == 304 || (self.if_none_match.is_none() && self.range.is_none())
    }
}

impl ImageResponse<'_> {
    /// The evaluated response, with the headers of all images.
    fn into_reply(self, outcome: ConditionalResponse) -> Reply {
        let Self { mut headers, etag, length, bytes, served_from, began_ms } = self;
        headers.extend(cors::delivery_headers());
        headers.push(("x-content-type-options", "nosniff".to_owned()));
        // A browser shows a video in a page of its own, which loads it once more.
        let is_video = headers.contains(&("content-type", OutputFormat::Mp4.content_type().to_owned()));
        let policy =
            if is_video { "default-src 'none'; media-src 'self'" } else { "default-src 'none'; sandbox" };
        headers.push(("content-security-policy", policy.to_owned()));
        headers.push(("accept-ranges", "bytes".to_owned()));
        let took_ms = platform::now_ms().saturating_sub(began_ms);
        headers.push(("server-timing", format!("cache;desc={served_from};dur={took_ms}")));
        let mut reply =
            Reply { status: 200, headers, body: bytes.map_or(ReplyBody::Empty, ReplyBody::Bytes) };
        match outcome {
            ConditionalResponse::Full => {}
            ConditionalResponse::Partial(first, last) => {
                reply.status = 206;
                reply.set_header("content-range", &format!("bytes {first}-{last}/{length}"));
                reply.set_header("content-length", &(last - first + 1).to_string());
                if let ReplyBody::Bytes(bytes) = reply.body {
                    reply.body = ReplyBody::Bytes(bytes.slice(first as usize..=last as usize));
                }
            }
            ConditionalResponse::NotModified => {
                reply.status = 304;
                reply.headers.retain(|(name, _)| !matches!(*name, "content-length" | "content-type"));
                reply.set_header("etag", etag);
                reply.body = ReplyBody::Empty;
            }
            ConditionalResponse::Unsatisfiable => {
                reply.status = 416;
                reply.set_header("content-range", &format!("bytes */{length}"));
                reply.set_header("cache-control", "no-store");
                reply.headers.retain(|(name, _)| !matches!(*name, "content-length" | "content-type"));
                reply.body = ReplyBody::Empty;
            }
        }
        reply
    }
}

/// The response for a missing image. Negative responses are never stored in the cache, and a browser retries soon.
fn error_reply(problem: &Problem, retry_after_secs: Option<u32>, request_id: &str) -> Reply {
    let mut reply = Reply::problem(problem, request_id);
    reply.headers.extend(cors::delivery_headers());
    if let Some(seconds) = retry_after_secs {
        reply.set_header("retry-after", &seconds.to_string());
    }
    let seconds = if problem.code == Code::Processing { 2 } else { 5 };
    reply.set_header("cache-control", &format!("public, max-age={seconds}"));
    reply
}
