//! Access control of image requests: verifies URL credentials, and keeps private images apart from public ones.
//!
//! A private image is cached under a key that is only looked up for authorized requests. The cache also records which
//! videos are private, with their owners, so that unauthenticated requests never reach the bucket.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use glimpse_contract::{
    Code, Json, Key, Manifest, Owner, Problem, State, VariantRequest, VideoId, Visibility,
};

use crate::auth::authenticate::{CONFIGURED_KEYS, authenticate, has_credentials};
use crate::auth::verified::{TokenDigest, VerifiedTokens};
use crate::auth::{DeliveryToken, MAX_TOKEN_BYTES, TokenError, UnverifiedToken, UrlSignature};
use crate::config::{Config, Playback};
use crate::context::RequestContext;
use crate::delivery::cache_key::{PRIVATE_PREFIX, cache_key, failure_cache_key};
use crate::delivery::cache_policy::check_public_variant;
use crate::delivery::download::{check_no_parameters, redirect_to_source};
use crate::delivery::lookup::Rights;
use crate::delivery::negotiate::is_negotiable;
use crate::delivery::recent::TtlSet;
use crate::delivery::signed_url::{
    CredentialError, DeliveryCredential, UrlCredential, ViewerAccess, parse_credential, token_problem,
};
use crate::delivery::storyboard_files::{is_sheet, remove_format};
use crate::http::query::Query;
use crate::http::response::Reply;
use crate::http::route::{self, PublicRoute, Route};
use crate::platform::{self, Limiter, Request};

/// The header of a cached record with the owner of the video.
const OWNER_HEADER: &str = "x-glimpse-owner";
/// How long a record is cached. A private video stays private.
const MARKER_CACHE_CONTROL: &str = "public, max-age=86400";

/// How long this isolate remembers that a video is private, in milliseconds.
const PRIVATE_TTL_MS: u64 = 60_000;

thread_local! {
    // Private videos, so that anonymous requests read nothing even where the cache stores no records.
    static PRIVATE_VIDEOS: RefCell<TtlSet> = const { RefCell::new(TtlSet::new()) };
    static DELIVERY_TOKENS: RefCell<VerifiedTokens<Rc<DeliveryToken>>> =
        const { RefCell::new(VerifiedTokens::new()) };
}

/// Verifies the credential of a URL.
///
/// # Errors
/// An incomplete or invalid credential.
pub(crate) async fn verify_credential(
    path: &str,
    query: Option<&str>,
    ctx: &RequestContext<'_>,
) -> Result<DeliveryCredential, Problem> {
    let request_id = ctx.request_id;
    let query = query.unwrap_or_default();
    match parse_credential(query)? {
        UrlCredential::Absent => Ok(DeliveryCredential::Absent),
        UrlCredential::Token(text, parameters) => {
            let token = verify_token(text, ctx).await.map_err(|error| reject(error, request_id))?;
            Ok(with_parameters(&token, text, &parameters, path))
        }
        UrlCredential::Signature(signature, parameters) => {
            let signature = parse_signature(signature, path, query);
            Ok(DeliveryCredential::Signature(
                signature.map_err(|error| reject(error, request_id))?,
                parameters,
            ))
        }
    }
}

/// The credential of a URL, if it can be verified without waiting: a JWT only if this isolate has verified it before.
fn known_credential(path: &str, query: &str, now_ms: u64) -> Option<DeliveryCredential> {
    match parse_credential(query).ok()? {
        UrlCredential::Absent => None,
        UrlCredential::Token(text, parameters) => {
            let token = remembered_token(TokenDigest::new(text), now_ms)?;
            Some(with_parameters(&token, text, &parameters, path))
        }
        UrlCredential::Signature(signature, parameters) => {
            let signature = parse_signature(signature, path, query).ok()?;
            Some(DeliveryCredential::Signature(signature, parameters))
        }
    }
}

/// A token with the parameters beside it.
fn with_parameters(token: &DeliveryToken, text: &str, parameters: &str, path: &str) -> DeliveryCredential {
    let mut token = token.clone();
    let separator = if token.query.is_empty() || parameters.is_empty() { "" } else { "&" };
    token.query.extend([separator, parameters]);
    if is_sheet(path) {
        token.query = remove_format(&token.query);
    }
    DeliveryCredential::Token(token, text.to_owned())
}

fn parse_signature(
    [expires, key_id, signature]: [&str; 3],
    path: &str,
    query: &str,
) -> Result<UrlSignature, TokenError> {
    Ok(UrlSignature::parse(expires, key_id, signature)?.with_sent_url(path, query))
}

/// The entry of a private image whose request has a valid credential, and when the credential expires, in Unix seconds.
/// `None` for requests that are not answered by the entry and a shorter lifetime alone.
pub(crate) fn private_cache_entry(
    path: &str,
    query: Option<&str>,
    config: &Config,
    now_ms: u64,
) -> Option<(String, u64)> {
    if route::is_api(path) || is_negotiable(path) {
        return None;
    }
    let credential = known_credential(path, query?, now_ms)?;
    let Ok(Route::Public(PublicRoute::Variant(wanted))) = route::route("GET", path, credential.query())
    else {
        return None;
    };
    // The sheet's URL in a table has the viewer's token.
    if wanted.variant.format().is_table() {
        return None;
    }
    match credential.authorize(&wanted, &config.delivery_keys, now_ms).ok()?? {
        ViewerAccess::Token { expires_at_secs, .. } => {
            Some((cache_key(config, &wanted, true), expires_at_secs))
        }
        ViewerAccess::Owner => None,
    }
}

/// The problem for a rejected token; the reason is always logged.
fn reject(error: impl Into<CredentialError>, request_id: &str) -> Problem {
    match error.into() {
        CredentialError::Token(error) => {
            platform::log_error("delivery_token", request_id, &error.to_string());
            token_problem(error)
        }
        CredentialError::Request(problem) => problem,
    }
}

fn remembered_token(digest: TokenDigest, now_ms: u64) -> Option<Rc<DeliveryToken>> {
    DELIVERY_TOKENS.with_borrow(|known| known.get(digest, CONFIGURED_KEYS, now_ms))
}

async fn verify_token(text: &str, ctx: &RequestContext<'_>) -> Result<Rc<DeliveryToken>, TokenError> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let (digest, now_ms) = (TokenDigest::new(text), ctx.now_ms);
    if let Some(token) = remembered_token(digest, now_ms) {
        return Ok(token);
    }
    let token = UnverifiedToken::parse(text)?;
    let claims = token.claims()?;
    if let Some(verification) = ctx.config.delivery_keys.verify(&token, &claims)?
        && !platform::verify(&verification).await
    {
        return Err(TokenError::Signature);
    }
    let token = Rc::new(DeliveryToken::from_claims(&claims, now_ms)?);
    DELIVERY_TOKENS.with_borrow_mut(|known| {
        known.insert(digest, Rc::clone(&token), CONFIGURED_KEYS, token.expires_at_secs, now_ms);
    });
    Ok(token)
}

/// `GET /{video}/original` with a token: 302 to the bucket.
pub(crate) async fn download_by_token(
    video: VideoId,
    request: &Request,
    credential: &DeliveryCredential,
    ctx: &RequestContext<'_>,
) -> Result<Reply, Problem> {
    if ctx.config.playback == Playback::Owner {
        let detail = "On this deployment, only the owner of a video can play or download its file.";
        return Err(Problem::with_detail(Code::TokenRefused, detail));
    }
    credential
        .check_original(video, &ctx.config.delivery_keys, ctx.now_ms)
        .map_err(|error| reject(error, ctx.request_id))?;
    if !platform::is_within_rate_limit(ctx.env, Limiter::Reads, &platform::request_client_key(request)).await
    {
        return Err(Problem::new(Code::Busy));
    }
    let manifest = ctx.bucket().get_manifest(video).await?;
    let manifest = manifest.ok_or_else(|| Problem::new(Code::NotFound))?;
    let source = Key::Source { owner: manifest.owner.clone(), video };
    redirect_to_source(&source, Some(&manifest), request.method(), ctx.bucket()).await
}

/// `GET /{video}/original` without a token, where everyone may play public videos: 302 to the bucket. `None` if the video
/// is private, was rejected or is not there: then the caller has to be its owner.
pub(crate) async fn download_public(
    video: VideoId,
    request: &Request,
    query: Query<'_>,
    ctx: &RequestContext<'_>,
) -> Result<Option<Reply>, Problem> {
    check_no_parameters(query)?;
    if !platform::is_within_rate_limit(ctx.env, Limiter::Reads, &platform::request_client_key(request)).await
    {
        return Err(Problem::new(Code::Busy));
    }
    let manifest = ctx.bucket().get_manifest(video).await?;
    let is_playable = |manifest: &Manifest| {
        manifest.visibility == Visibility::Public && (manifest.state == State::Ready || manifest.is_deleted())
    };
    let Some(manifest) = manifest.filter(is_playable) else { return Ok(None) };
    let source = Key::Source { owner: manifest.owner.clone(), video };
    redirect_to_source(&source, Some(&manifest), request.method(), ctx.bucket()).await.map(Some)
}

fn privacy_marker_url(config: &Config, video: VideoId) -> String {
    format!("{}{PRIVATE_PREFIX}/{video}", config.public_url)
}

fn private_video_problem() -> Problem {
    let detail = "This video is private: its images require a token or the owner's session.";
    Problem::with_detail(Code::Unauthorized, detail)
}

/// A request for an image, as it was routed.
#[derive(Clone, Copy)]
pub(crate) struct ImageRequest<'a> {
    pub(crate) request: &'a Request,
    pub(crate) wanted: &'a VariantRequest,
    pub(crate) credential: &'a DeliveryCredential,
    /// Whether the format was negotiated by `Accept`.
    pub(crate) is_negotiated: bool,
}

/// A request for an image, and its access rights.
pub(super) struct ViewerRequest<'a> {
    pub(super) request: &'a Request,
    pub(super) wanted: &'a VariantRequest,
    pub(super) is_negotiated: bool,
    pub(super) ctx: &'a RequestContext<'a>,
    /// Whether the image is private, as far as is known.
    pub(super) is_private: bool,
    /// The client's address, as the key of rate limits.
    pub(super) client: String,
    viewer_access: Option<ViewerAccess>,
}

impl<'a> ViewerRequest<'a> {
    /// A request with its credential.
    ///
    /// # Errors
    /// `token_refused`
    pub(super) fn new(image_request: ImageRequest<'a>, ctx: &'a RequestContext<'a>) -> Result<Self, Problem> {
        let ImageRequest { request, wanted, credential, is_negotiated } = image_request;
        let viewer_access = credential.authorize(wanted, &ctx.config.delivery_keys, ctx.now_ms);
        let viewer_access = viewer_access.map_err(|error| reject(error, ctx.request_id))?;
        let client = platform::request_client_key(request);
        Ok(Self { request, wanted, is_negotiated, ctx, is_private: false, client, viewer_access })
    }

    /// Whether the request may see the image even if it is private.
    pub(super) fn can_view_private(&self) -> bool {
        self.viewer_access.is_some()
    }

    /// The access right, if the image requires one.
    pub(super) fn private_access(&self) -> Option<&ViewerAccess> {
        self.viewer_access.as_ref().filter(|_| self.is_private)
    }

    /// Whether the owner requests a private image.
    pub(super) fn is_owner(&self) -> bool {
        self.private_access() == Some(&ViewerAccess::Owner)
    }

    /// Checks that the image is publicly available, or that the caller is the owner.
    ///
    /// # Errors
    /// `bad_parameter`, with the available parameters; or a storage error.
    pub(super) async fn check_variant_allowed(&self) -> Result<(), Problem> {
        let Err(problem) = check_public_variant(self.wanted.variant, self.ctx.config) else { return Ok(()) };
        let Some(caller) = self.authenticate().await else { return Err(problem) };
        let manifest = self.ctx.bucket().get_manifest(self.wanted.video).await?;
        if manifest.is_some_and(|manifest| manifest.owner == caller) { Ok(()) } else { Err(problem) }
    }

    /// The authenticated owner, if the request carries a valid credential.
    async fn authenticate(&self) -> Option<Owner> {
        if !has_credentials(self.request) {
            return None;
        }
        authenticate(self.request, None, self.ctx).await.ok().map(|caller| caller.owner.clone())
    }

    /// The access rights of the request, and its key for rate limits. The caller is authenticated only if an image may
    /// be rendered.
    pub(super) async fn rights(&self) -> Rights {
        let is_rendered = !self.can_view_private() && !self.wanted.variant.is_default();
        let caller = if is_rendered { self.authenticate().await } else { None };
        Rights { can_view_private: self.can_view_private(), caller, client: self.client.clone() }
    }

    /// The reason why the image cannot be rendered, if it was cached in the last minutes.
    pub(super) async fn cached_failure(&self) -> Option<Problem> {
        if !self.wanted.variant.is_made_on_demand() {
            return None;
        }
        let visibilities: &[bool] = if self.can_view_private() { &[true, false] } else { &[false] };
        for is_private in visibilities {
            let url = failure_cache_key(self.ctx.config, self.wanted, *is_private);
            let Some(failure) = platform::cache_get(&url).await else { continue };
            let failure = Json::parse(&platform::response_bytes(&failure).await?)?;
            return Some(Problem::with_detail(
                Code::from_json(failure.get("code")),
                failure.get("detail").as_str()?,
            ));
        }
        None
    }

    /// Authorizes the owner of a video that is known to be private. Returns whether it is one.
    ///
    /// # Errors
    /// `unauthorized`: the caller is not the owner.
    pub(super) async fn authorize_cached(&mut self) -> Result<bool, Problem> {
        if self.can_view_private() {
            return Ok(false);
        }
        let video = self.wanted.video;
        let is_known_private = PRIVATE_VIDEOS.with_borrow(|private| private.contains(video, self.ctx.now_ms));
        if is_known_private && !has_credentials(self.request) {
            return Err(private_video_problem());
        }
        let Some(marker) = platform::cache_get(&privacy_marker_url(self.ctx.config, video)).await else {
            return Ok(false);
        };
        let owner = platform::response_header(&marker, OWNER_HEADER).and_then(|text| text.parse().ok());
        self.authorize(owner.as_ref()).await?;
        Ok(true)
    }

    /// Authorizes the owner of a private video, and records that it is private.
    ///
    /// # Errors
    /// `unauthorized`, or a storage error.
    pub(super) async fn authorize_owner(&mut self) -> Result<(), Problem> {
        let video = self.wanted.video;
        let RequestContext { config, context, now_ms, .. } = *self.ctx;
        let manifest = self.ctx.bucket().get_manifest(video).await?;
        let owner = manifest.map(|manifest| manifest.owner);
        PRIVATE_VIDEOS.with_borrow_mut(|private| private.insert(video, PRIVATE_TTL_MS, now_ms));
        if let Some(owner) = &owner {
            let headers =
                vec![("cache-control", MARKER_CACHE_CONTROL.to_owned()), (OWNER_HEADER, owner.to_string())];
            platform::wait_until(context, async move {
                platform::cache_put(&privacy_marker_url(config, video), headers, Bytes::new()).await;
            });
        }
        self.authorize(owner.as_ref()).await
    }

    /// The owner needs no token.
    async fn authorize(&mut self, owner: Option<&Owner>) -> Result<(), Problem> {
        let caller = authenticate(self.request, None, self.ctx).await;
        if caller.is_ok_and(|caller| Some(&caller.owner) == owner) {
            self.viewer_access = Some(ViewerAccess::Owner);
            return Ok(());
        }
        Err(private_video_problem())
    }

    /// Sets the headers that keep the response to a private image private.
    pub(super) fn apply_cache_headers(&self, mut reply: Reply) -> Reply {
        let Some(viewer_access) = self.private_access() else { return reply };
        let public = reply.headers.iter().find(|(name, _)| *name == "cache-control");
        if let Some(public) = public.map(|(_, value)| value.clone()).filter(|value| value != "no-store") {
            // The image may have been rendered in the meantime: no copy may outlive the token.
            reply.set_header("cache-control", &viewer_access.cache_control(&public, platform::now_ms()));
        }
        if *viewer_access == ViewerAccess::Owner {
            // Authorized by a cookie: pages of other sites must not read it.
            reply.headers.retain(|(name, _)| *name != "access-control-allow-origin");
            reply.set_header("cross-origin-resource-policy", "same-site");
        }
        reply
    }
}
