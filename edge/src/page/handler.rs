//! HTTP handlers for the documents of a video: the page, `meta.json` and oEmbed, from the cache or the manifest.

use glimpse_contract::{Code, Problem, VideoId};
use sha2::{Digest as _, Sha256};

use super::html::{self, PageOptions};
use crate::auth::authenticate::{authenticate, has_credentials};
use crate::auth::carrier;
use crate::config::{Config, Playback};
use crate::context::RequestContext;
use crate::delivery::{
    self, CachePolicy, Conditional, ConditionalResponse, cache_control, evaluate_preconditions,
};
use crate::http::cors;
use crate::http::response::{Reply, ReplyBody};
use crate::page::meta::{Unavailable, VideoView, view_video};
use crate::page::oembed::OembedRequest;
use crate::platform::{self, Limiter, Request};

/// When a rate-limited client may retry, in seconds: the period of the limit in wrangler.toml.
const BUSY_RETRY_SECS: u32 = 10;

/// A document about a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VideoDocument {
    /// `GET /{video}`: the page.
    Page(VideoId),
    /// `GET /{video}/meta.json`: metadata for programs.
    Meta(VideoId),
    /// `GET /oembed`: the embed code for other sites.
    Embed(OembedRequest),
}

impl VideoDocument {
    fn video(&self) -> VideoId {
        match self {
            Self::Page(video) | Self::Meta(video) => *video,
            Self::Embed(embed) => embed.video,
        }
    }

    /// The path and query of the cache key.
    fn canonical(&self) -> String {
        match self {
            Self::Page(video) => format!("/{video}"),
            Self::Meta(video) => format!("/{video}/meta.json"),
            Self::Embed(embed) => embed.canonical(),
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Page(_) => "text/html; charset=utf-8",
            Self::Meta(_) | Self::Embed(_) => "application/json; charset=utf-8",
        }
    }
}

/// Purges the cached documents of a video in this data center, and returns their number: the video was deleted, or has
/// another poster.
pub(crate) async fn purge(video: VideoId, config: &Config) -> usize {
    let mut purged = 0;
    for document in [
        VideoDocument::Page(video),
        VideoDocument::Meta(video),
        VideoDocument::Embed(OembedRequest::without_limits(video)),
    ] {
        let url = format!("{}{}", config.public_url, document.canonical());
        purged += usize::from(platform::cache_delete(&url).await);
    }
    purged
}

/// Redirects to the canonical URL of the page, without the trailing slash. The query is that of the linking site.
pub(crate) fn redirect_without_slash(video: VideoId, query: &str) -> Reply {
    let mark = if query.is_empty() { "" } else { "?" };
    let mut reply = Reply::redirect(&format!("/{video}{mark}{query}"));
    reply.status = 301;
    reply.set_header("cache-control", cache_control(CachePolicy::StaleWhileRevalidate));
    reply
}

/// Responds with a document, or with the reason why there is none.
pub(crate) async fn serve(
    request: &Request,
    document: VideoDocument,
    ctx: &RequestContext<'_>,
) -> Result<Reply, Problem> {
    let reply = document_reply(request, document, ctx).await;
    Ok(reply.unwrap_or_else(|none| error_reply(none, document, ctx.config, ctx.request_id)))
}

async fn document_reply(
    request: &Request,
    document: VideoDocument,
    ctx: &RequestContext<'_>,
) -> Result<Reply, Unavailable> {
    let RequestContext { config, context, now_ms, .. } = *ctx;
    let cache_key = format!("{}{}", config.public_url, document.canonical());
    let (is_page, is_embed) =
        (matches!(document, VideoDocument::Page(_)), matches!(document, VideoDocument::Embed(_)));
    // The owner sees more on a page, and only the owner sees a private video; other sites embed neither.
    let caller = if !is_embed && has_credentials(request) {
        authenticate(request, None, ctx).await.ok()
    } else {
        None
    };
    if (caller.is_none() || !is_page)
        && let Some(stored) = platform::cache_get(&cache_key).await
    {
        let etag = platform::response_header(&stored, "etag").unwrap_or_default();
        let bytes = platform::response_bytes(&stored).await.ok_or(Problem::new(Code::Internal))?;
        let rendered = RenderedDocument { document, etag, bytes, is_shared: true, served_from: "hit" };
        return Ok(rendered.into_reply(request, config));
    }
    let video = document.video();
    if !platform::is_within_rate_limit(ctx.env, Limiter::Reads, &platform::request_client_key(request)).await
    {
        return Err(Unavailable {
            retry_after_secs: Some(BUSY_RETRY_SECS),
            ..Problem::new(Code::Busy).into()
        });
    }
    let manifest = if delivery::is_known_absent(video, now_ms) {
        None
    } else {
        let manifest = ctx.bucket().get_manifest_with_poster(video).await?;
        if manifest.is_none() {
            delivery::remember_absent(video, now_ms);
        }
        manifest
    };
    let owned_manifest = manifest
        .as_ref()
        .filter(|manifest| caller.as_ref().is_some_and(|caller| caller.owner == manifest.owner));
    let VideoView { meta, is_public } =
        view_video(video, manifest.as_ref(), owned_manifest.is_some(), config, now_ms)?;
    let text = match &document {
        VideoDocument::Page(_) => {
            let original = format!("/{video}/original");
            let can_play = owned_manifest.is_some() || (is_public && config.playback == Playback::Public);
            let name = owned_manifest.map(|manifest| manifest.source.name.as_str());
            let original = can_play.then_some(original.as_str());
            html::video_page(&meta, PageOptions { original, name, is_public })
        }
        VideoDocument::Meta(_) => meta.to_json().to_string(),
        VideoDocument::Embed(embed) => embed.response(&meta).to_string(),
    };
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&text)[..16]));
    let is_shared = is_public && (owned_manifest.is_none() || !is_page);
    if is_shared {
        let headers = vec![
            ("etag", etag.clone()),
            ("cache-control", cache_control(CachePolicy::StaleWhileRevalidate).to_owned()),
        ];
        let body = text.clone().into();
        platform::wait_until(context, async move {
            platform::cache_put(&cache_key, headers, body).await;
        });
    }
    let bytes = text.into_bytes();
    Ok(RenderedDocument { document, etag, bytes, is_shared, served_from: "miss" }.into_reply(request, config))
}

/// A document as it is sent.
struct RenderedDocument {
    document: VideoDocument,
    etag: String,
    bytes: Vec<u8>,
    /// Whether it is the same for every caller.
    is_shared: bool,
    /// Its source, for `Server-Timing`.
    served_from: &'static str,
}

impl RenderedDocument {
    fn into_reply(self, request: &Request, config: &Config) -> Reply {
        let if_none_match = platform::header(request, "if-none-match");
        let conditions = Conditional { if_none_match: if_none_match.as_deref(), ..Conditional::default() };
        let outcome = evaluate_preconditions(conditions, &self.etag, self.bytes.len() as u64);
        let (status, body) = match outcome {
            ConditionalResponse::NotModified => (304, ReplyBody::Empty),
            _ => (200, ReplyBody::Bytes(self.bytes.into())),
        };
        let lifetime = if self.is_shared {
            cache_control(CachePolicy::StaleWhileRevalidate)
        } else {
            "private, no-store"
        };
        let mut reply = Reply { status, headers: Vec::new(), body }
            .with_header("etag", self.etag)
            .with_header("server-timing", format!("cache;desc={}", self.served_from))
            .with_header("cache-control", lifetime);
        let can_play = !self.is_shared || config.playback == Playback::Public;
        let bucket = can_play.then(|| config.bucket.bucket_url());
        apply_document_headers(&mut reply, self.document, bucket.as_deref(), self.is_shared);
        reply
    }
}

/// The headers of all documents of a kind, public or private.
fn apply_document_headers(reply: &mut Reply, document: VideoDocument, bucket: Option<&str>, is_shared: bool) {
    reply.set_header("content-type", document.content_type());
    reply.set_header("x-content-type-options", "nosniff");
    if matches!(document, VideoDocument::Page(_)) {
        reply.set_header("content-security-policy", &html::content_security_policy(bucket, is_shared));
        reply.set_header("referrer-policy", "no-referrer");
        // The owner sees more.
        reply.set_header("vary", carrier::VARY);
    } else if is_shared {
        reply.headers.extend(cors::delivery_headers());
    }
}

/// The response without a document: a page for people, a problem for programs.
fn error_reply(
    unavailable: Unavailable,
    document: VideoDocument,
    config: &Config,
    request_id: &str,
) -> Reply {
    let Unavailable { mut problem, retry_after_secs, is_public } = unavailable;
    if matches!(document, VideoDocument::Embed(_)) && problem.code == Code::Processing {
        // A consumer of oEmbed would take 202 for a success.
        problem = Problem::with_detail(Code::NotFound, problem.detail);
    }
    let code = problem.code;
    let is_unauthorized = code == Code::Unauthorized;
    let mut reply = Reply::problem(&problem, request_id);
    if let VideoDocument::Page(video) = document {
        let sign_in =
            (is_unauthorized && config.oidc.is_some()).then(|| format!("/auth/login?return_to=/{video}"));
        let html = html::state_page(&problem, retry_after_secs, sign_in.as_deref());
        reply = Reply { status: code.status(), headers: Vec::new(), body: ReplyBody::Bytes(html.into()) };
        apply_document_headers(&mut reply, document, None, is_public);
    } else {
        reply.headers.extend(cors::delivery_headers());
    }
    if is_unauthorized {
        reply.set_header("www-authenticate", "Bearer");
    }
    if let Some(seconds) = retry_after_secs {
        reply.set_header("retry-after", &seconds.to_string());
    }
    let cache_policy = match code {
        Code::Processing => "public, max-age=2",
        _ if !is_public || code.status() >= 500 => "no-store",
        _ => "public, max-age=5",
    };
    reply.set_header("cache-control", cache_policy);
    reply
}
