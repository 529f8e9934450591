//! Images that are not in the cache: reads them from the bucket, or has the `render` Lambda render them, within the
//! limits of `cache_policy` and `render_client`.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::join;
use glimpse_contract::{
    Code, Key, Manifest, Owner, Poster, Problem, Rejection, State, VariantRequest, VideoId, Visibility,
};
use worker::Env;

use crate::config::Config;
use crate::context::ApiContext;
use crate::delivery::cache_policy::{absence_ttl_ms, missing_status};
use crate::delivery::recent::TtlSet;
use crate::delivery::render_client::{self, RenderRequest, RenderResponse};
use crate::platform::{self, FetchRequest, FetchResponse, Limiter, RequestBody};
use crate::s3::client::Bucket;
use crate::s3::sigv4::timestamp::format_rfc3339;
use crate::s3::{ObjectSelection, RecentRenders};

/// The largest image that is served, in bytes.
const MAX_IMAGE_BYTES: usize = 32 * 1024 * 1024;
/// How long it is remembered that a video has reached its daily limit of new images, in milliseconds.
const DAILY_LIMIT_TTL_MS: u64 = 60_000;
/// When an anonymous caller may retry after that, in seconds.
const DAILY_LIMIT_RETRY_SECS: u32 = 3_600;
/// The most list pages that are read to count the new images of a video: 5,000 objects.
const MAX_LIST_PAGES: usize = 5;
/// The period over which new images are counted, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

thread_local! {
    // Videos without a manifest, and videos that have reached their daily limit.
    static ABSENT_VIDEOS: RefCell<TtlSet> = const { RefCell::new(TtlSet::new()) };
    static DAILY_LIMIT_REACHED: RefCell<TtlSet> = const { RefCell::new(TtlSet::new()) };
}

/// The result of a lookup.
#[derive(Debug, Clone)]
pub(super) enum Lookup {
    /// The image.
    Hit(Rc<LoadedImage>),
    /// The image exists; these are its headers.
    Head(ImageHead),
    /// The image can be rendered, and was not, since the request needs no body.
    Renderable { is_private: bool },
    /// The image does not exist; retry after this many seconds, if at all.
    Missing(Problem, Option<u32>),
    /// The function rejected the image permanently.
    RenderFailed { problem: Problem, is_private: bool },
    /// The image is private, and the request is not authorized.
    Forbidden,
    /// The client with this address exceeded a rate limit. Other clients are not affected.
    RateLimited(String),
    /// The lookup failed.
    Failed(Problem),
}

/// An image that was read.
#[derive(Debug)]
pub(super) struct LoadedImage {
    pub(super) etag: String,
    pub(super) bytes: Bytes,
    /// Its source, for `Server-Timing`.
    pub(super) served_from: &'static str,
    /// Whether it is for authorized requests only.
    pub(super) is_private: bool,
}

/// The headers of an image in the bucket.
#[derive(Debug, Clone)]
pub(super) struct ImageHead {
    pub(super) etag: String,
    pub(super) length: u64,
    /// Whether it is for authorized requests only.
    pub(super) is_private: bool,
}

/// The access rights of a request, and its keys for limits.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    /// Whether it may see private images.
    pub(super) can_view_private: bool,
    /// The authenticated caller, if it is known and matters.
    pub(super) caller: Option<Owner>,
    /// The client's address, as returned by [`crate::http::client_address::client_key`].
    pub(super) client: String,
}

impl Rights {
    /// Equal for requests that get the same response.
    pub(super) fn coalescing_key(&self) -> String {
        let caller = self.caller.as_ref().map(Owner::to_string).unwrap_or_default();
        [if self.can_view_private { "granted" } else { "" }, &caller].concat()
    }

    /// Whether the limits of anonymous callers apply to an image of this owner.
    fn has_anonymous_limits(&self, owner: &Owner) -> bool {
        !self.can_view_private && self.caller.as_ref() != Some(owner)
    }
}

/// Whether a video had no manifest a moment ago.
pub(crate) fn is_known_absent(video: VideoId, now_ms: u64) -> bool {
    ABSENT_VIDEOS.with_borrow(|absent| absent.contains(video, now_ms))
}

/// Remembers for a moment that a video has no manifest.
pub(crate) fn remember_absent(video: VideoId, now_ms: u64) {
    ABSENT_VIDEOS.with_borrow_mut(|absent| absent.insert(video, absence_ttl_ms(video, now_ms), now_ms));
}

/// Marker code for "private image, unauthorized request"; nothing else returns it.
const PRIVATE_CODE: Code = Code::Unauthorized;

/// An image that is looked up in the bucket, and for whom.
pub(super) struct ImageLookup<'a> {
    pub(super) wanted: &'a VariantRequest,
    pub(super) rights: &'a Rights,
    pub(super) config: &'a Config,
    pub(super) env: &'a Env,
    pub(super) request_id: &'a str,
    /// When the lookup began, in Unix milliseconds.
    pub(super) now_ms: u64,
}

/// An object of the bucket that the request may see.
struct VisibleObject {
    response: FetchResponse,
    etag: String,
    is_private: bool,
}

impl ImageLookup<'_> {
    /// Loads the image, or the headers of a clip, which is never in memory. A private one is read only for an authorized
    /// request.
    pub(super) async fn load(&self) -> Lookup {
        into_lookup(self.get_or_render().await)
    }

    /// Loads the headers of the image, for HEAD and for revalidation. Nothing is rendered for it.
    pub(super) async fn head(&self) -> Lookup {
        into_lookup(self.head_image().await)
    }

    fn bucket(&self) -> Bucket<'_> {
        Bucket::new(self.config, self.request_id)
    }

    async fn get_or_render(&self) -> Result<Lookup, Problem> {
        if is_known_absent(self.wanted.video, self.now_ms) {
            return Ok(self.missing_image(None));
        }
        if self.wanted.variant.clip().is_some() {
            return match self.head_object(self.wanted).await? {
                Some(head) => Ok(Lookup::Head(head)),
                None => self.render_image(self.wanted).await,
            };
        }
        let get = async |shown: &VariantRequest| self.get_object(shown).await;
        let (resolved, image) = self.read_at_poster_time(get).await?;
        if let Some(image) = image {
            return Ok(Lookup::Hit(Rc::new(image)));
        }
        self.render_image(&resolved).await
    }

    async fn head_image(&self) -> Result<Lookup, Problem> {
        if is_known_absent(self.wanted.video, self.now_ms) {
            return Ok(self.missing_image(None));
        }
        let head = async |shown: &VariantRequest| self.head_object(shown).await;
        let (resolved, image_head) = self.read_at_poster_time(head).await?;
        if let Some(image_head) = image_head {
            return Ok(Lookup::Head(image_head));
        }
        let (manifest, is_private) = self.load_manifest().await?;
        let is_renderable = |manifest: &Manifest| render_client::is_renderable(&resolved, manifest);
        if self.config.render_url.is_some() && manifest.as_ref().is_some_and(is_renderable) {
            return Ok(Lookup::Renderable { is_private });
        }
        Ok(self.missing_image(manifest))
    }

    /// The result of `read` for the key of the image, and the variant of that key: the variant at the chosen time if
    /// the image follows the poster.
    async fn read_at_poster_time<T>(
        &self,
        read: impl AsyncFn(&VariantRequest) -> Result<Option<T>, Problem>,
    ) -> Result<(VariantRequest, Option<T>), Problem> {
        let mut resolved = self.wanted.clone();
        if !self.wanted.variant.depends_on_poster() {
            let found = read(&resolved).await?;
            return Ok((resolved, found));
        }
        let key = Key::Poster(self.wanted.video);
        let (poster, found) = join(self.bucket().get_json(&key), read(self.wanted)).await;
        match poster?.as_ref().and_then(Poster::from_json).and_then(|poster| poster.time_ms) {
            None => Ok((resolved, found?)),
            Some(time_ms) => {
                resolved.variant = self.wanted.variant.with_time_ms(time_ms);
                let found = read(&resolved).await?;
                Ok((resolved, found))
            }
        }
    }

    /// Loads the manifest, and whether the images are private; a missing manifest is remembered for a moment.
    async fn load_manifest(&self) -> Result<(Option<Manifest>, bool), Problem> {
        let manifest = self.bucket().get_manifest(self.wanted.video).await?;
        if manifest.is_none() {
            remember_absent(self.wanted.video, self.now_ms);
        }
        let visibility = manifest.as_ref().map_or(Visibility::Public, |manifest| manifest.visibility);
        let is_private = self.check_visibility(visibility)?;
        Ok((manifest, is_private))
    }

    /// Whether an image of that visibility is private; an error if the request may not see it.
    fn check_visibility(&self, visibility: Visibility) -> Result<bool, Problem> {
        let is_private = visibility != Visibility::Public;
        if is_private && !self.rights.can_view_private {
            Err(Problem::new(PRIVATE_CODE))
        } else {
            Ok(is_private)
        }
    }

    /// The object of a response, if it exists and the request may see it.
    async fn visible_object(
        &self,
        response: Option<FetchResponse>,
    ) -> Result<Option<VisibleObject>, Problem> {
        let Some(response) = response else { return Ok(None) };
        let visibility = response.header(glimpse_contract::META_VISIBILITY);
        let visibility = visibility.map_or(Visibility::Public, |word| Visibility::parse_lenient(&word));
        match self.check_visibility(visibility) {
            Ok(is_private) => {
                let etag = response.header("etag").ok_or_else(|| self.bucket().unexpected_status(200))?;
                Ok(Some(VisibleObject { response, etag, is_private }))
            }
            Err(problem) => {
                response.discard().await;
                Err(problem)
            }
        }
    }

    /// Reads the image from the bucket, if it exists.
    async fn get_object(&self, shown: &VariantRequest) -> Result<Option<LoadedImage>, Problem> {
        let response = self.bucket().get_object(&Key::Output(shown.video, shown.variant)).await?;
        let Some(object) = self.visible_object(response).await? else { return Ok(None) };
        let VisibleObject { response, etag, is_private } = object;
        let bytes = response.bytes(MAX_IMAGE_BYTES).await;
        let bytes = bytes.map_err(|error| upstream_problem(&error, self.request_id))?;
        Ok(Some(LoadedImage { etag, bytes: bytes.into(), served_from: "s3", is_private }))
    }

    /// Reads the headers of the image in the bucket, if it exists.
    async fn head_object(&self, shown: &VariantRequest) -> Result<Option<ImageHead>, Problem> {
        let response = self.bucket().head_object(&Key::Output(shown.video, shown.variant)).await?;
        let Some(object) = self.visible_object(response).await? else { return Ok(None) };
        let VisibleObject { response, etag, is_private } = object;
        let length = response.header("content-length").and_then(|text| text.parse().ok());
        let length = length.ok_or_else(|| self.bucket().unexpected_status(200))?;
        Ok(Some(ImageHead { etag, length, is_private }))
    }

    /// Has the `render` Lambda render the image, if that is allowed. `resolved` is the variant of its key.
    async fn render_image(&self, resolved: &VariantRequest) -> Result<Lookup, Problem> {
        let (wanted, rights) = (self.wanted, self.rights);
        let (manifest, is_private) = self.load_manifest().await?;
        let renderable =
            manifest.as_ref().filter(|manifest| render_client::is_renderable(resolved, manifest));
        let Some(owner) = renderable.map(|manifest| manifest.owner.clone()) else {
            return Ok(self.missing_image(manifest));
        };
        let name = resolved.variant.file_name();
        let Some(request) = sign_render_request(wanted.video, &name, self.bucket())? else {
            return Ok(self.missing_image(manifest));
        };
        // Default images at another time are not limited: there is one of each.
        if rights.has_anonymous_limits(&owner) && !wanted.variant.is_default() {
            if !platform::is_within_rate_limit(self.env, Limiter::ClientRenders, &rights.client).await {
                return Ok(Lookup::RateLimited(rights.client.clone()));
            }
            if !self.has_daily_quota().await? {
                let detail =
                    "The daily limit of new images of this video is reached. Existing images are served.";
                let problem = Problem::with_detail(Code::Busy, detail);
                return Ok(Lookup::Missing(problem, Some(DAILY_LIMIT_RETRY_SECS)));
            }
        }
        // Rendering costs the owner function time: callers that request many new images are limited.
        for (limiter, counter_key) in
            [(Limiter::VideoRenders, &wanted.video.to_string()), (Limiter::OwnerRenders, &owner.to_string())]
        {
            if !platform::is_within_rate_limit(self.env, limiter, counter_key).await {
                return Err(Problem::new(Code::Busy));
            }
        }
        let RenderResult { response, etag, bytes } = invoke_render(&request, self.request_id).await?;
        match (response, etag) {
            (RenderResponse::Rendered, Some(etag)) => Ok(Lookup::Hit(Rc::new(LoadedImage {
                etag,
                bytes: bytes.into(),
                served_from: "render",
                is_private,
            }))),
            (RenderResponse::Stored, _) if wanted.variant.clip().is_some() => {
                let head = self.head_object(wanted).await?;
                head.map(Lookup::Head).ok_or_else(|| self.bucket().unexpected_status(404))
            }
            (RenderResponse::Stored, _) => match self.get_object(resolved).await? {
                Some(image) => Ok(Lookup::Hit(Rc::new(LoadedImage { served_from: "render", ..image }))),
                None => Err(self.bucket().unexpected_status(404)),
            },
            (RenderResponse::Rejected(problem), _) if problem.code == Code::Processing => {
                Ok(Lookup::Missing(problem, Some(2)))
            }
            (RenderResponse::Rejected(problem), _) => Ok(Lookup::RenderFailed { problem, is_private }),
            (RenderResponse::Failed(problem), _) => Err(problem),
            (RenderResponse::Rendered, None) => {
                Err(upstream_problem(&"the function returned no ETag", self.request_id))
            }
        }
    }

    /// Whether another new image of this video may be rendered for an anonymous caller today. S3 is the only counter:
    /// the images in the folder of the video are listed, and those of the last day are counted. A listing costs a sixth
    /// of the function's cost for the image.
    async fn has_daily_quota(&self) -> Result<bool, Problem> {
        let (video, now_ms, limit) = (self.wanted.video, self.now_ms, self.config.public_variants_per_day);
        if limit == 0 || DAILY_LIMIT_REACHED.with_borrow(|full| full.contains(video, now_ms)) {
            return Ok(false);
        }
        let since = format_rfc3339(now_ms.saturating_sub(DAY_MS));
        let (mut count, mut after) = (0, None);
        for _ in 0..MAX_LIST_PAGES {
            let selection = ObjectSelection::media(video, after);
            let parse = |xml: &str| RecentRenders::parse(xml, &since);
            let page = self.bucket().list_objects(selection, parse).await?;
            count += page.count;
            if count >= limit {
                break;
            }
            after = page.next;
            if after.is_none() {
                return Ok(true);
            }
        }
        DAILY_LIMIT_REACHED.with_borrow_mut(|full| full.insert(video, DAILY_LIMIT_TTL_MS, now_ms));
        Ok(false)
    }

    /// Why the image is missing: in progress, rejected, or unknown.
    fn missing_image(&self, manifest: Option<Manifest>) -> Lookup {
        let rejection = manifest.map(|manifest| match (manifest.state, manifest.rejected) {
            (State::Rejected, Some(Rejection { code })) => Some(code),
            _ => None,
        });
        let status = missing_status(self.wanted.video, rejection, self.now_ms);
        Lookup::Missing(Problem::new(status.code), status.retry_after_secs)
    }
}

fn into_lookup(outcome: Result<Lookup, Problem>) -> Lookup {
    match outcome {
        Ok(found) => found,
        Err(problem) if problem.code == PRIVATE_CODE => Lookup::Forbidden,
        Err(problem) => Lookup::Failed(problem),
    }
}

/// The signed request for an image of this name; `None` if this deployment renders nothing on demand.
fn sign_render_request(
    video: VideoId,
    name: &str,
    bucket: Bucket<'_>,
) -> Result<Option<RenderRequest>, Problem> {
    bucket.sign(|config, now_ms| render_client::sign_request(video, name, config, now_ms).transpose())
}

/// The response of the function, with its ETag and body.
struct RenderResult {
    response: RenderResponse,
    etag: Option<String>,
    bytes: Vec<u8>,
}

async fn invoke_render(request: &RenderRequest, request_id: &str) -> Result<RenderResult, Problem> {
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let response = platform::fetch(FetchRequest {
        method: render_client::METHOD,
        url: &request.url,
        headers: &headers,
        body: RequestBody::Empty,
        timeout_ms: render_client::TIMEOUT_MS,
    })
    .await
    .map_err(|error| upstream_problem(&error, request_id))?;
    let (status, etag) = (response.status, response.header("etag"));
    let bytes = response
        .bytes(render_client::MAX_RESPONSE_BYTES)
        .await
        .map_err(|error| upstream_problem(&error, request_id))?;
    let outcome = render_client::interpret(status, &bytes);
    if matches!(outcome, RenderResponse::Failed(_)) {
        platform::log_error("render", request_id, &format!("the function returned {status}"));
    }
    Ok(RenderResult { response: outcome, etag, bytes })
}

/// Has the function make another frame the poster, and returns the new poster.
///
/// # Errors
/// No function is configured; its response is invalid; or it failed.
pub(crate) async fn set_poster(
    video: VideoId,
    time_ms: Option<u64>,
    context: &ApiContext<'_>,
) -> Result<Poster, Problem> {
    let request_id = context.request_id;
    let name = glimpse_contract::poster_target_name(time_ms);
    let request = sign_render_request(video, &name, context.bucket())?.ok_or_else(|| {
        Problem::with_detail(Code::NotFound, "On-demand images are not available: RENDER_URL is not set.")
    })?;
    let RenderResult { response, bytes, .. } = invoke_render(&request, request_id).await?;
    match response {
        RenderResponse::Rendered => glimpse_contract::Json::parse(&bytes)
            .as_ref()
            .and_then(Poster::from_json)
            .ok_or_else(|| upstream_problem(&"the function returned an invalid poster", request_id)),
        RenderResponse::Rejected(problem) | RenderResponse::Failed(problem) => Err(problem),
        RenderResponse::Stored => Err(Problem::new(Code::Upstream)),
    }
}

fn upstream_problem(error: &dyn std::fmt::Display, request_id: &str) -> Problem {
    platform::log_error("picture", request_id, &error.to_string());
    Problem::new(Code::Upstream)
}
