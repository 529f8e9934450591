//! Decides nothing by itself: cache, then manifest, then the document that `facts`, `embed` and `html` make of it.

use glimpse_contract::{Code, Problem, VideoId};
use sha2::{Digest as _, Sha256};

use super::html;
use crate::auth::authenticate;
use crate::config::Config;
use crate::delivery::{self, CachePolicy, Conditional, Place, Served, cache_control, decide};
use crate::http::cors;
use crate::http::response::{Body, Reply};
use crate::page::meta::{NotShown, Shown, shown};
use crate::page::oembed::Embed;
use crate::platform::{self, Limiter, Request, Response};
use crate::s3::client;

/// When a client that asks too often may try again, in seconds: the period of the limit in wrangler.toml.
const BUSY_SECS: u32 = 10;

/// What is asked for about a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Document {
    /// `GET /{video}`: the page.
    Page(VideoId),
    /// `GET /{video}/meta.json`: the facts for programs.
    Meta(VideoId),
    /// `GET /oembed`: how another site shows it.
    Embed(Embed),
}

impl Document {
    fn video(&self) -> VideoId {
        match self {
            Self::Page(video) | Self::Meta(video) => *video,
            Self::Embed(embed) => embed.video,
        }
    }

    /// Path and query under which the cache keeps it.
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

/// Forgets what is kept about a video, here and now, and says how much that was: it is deleted, or has another poster.
pub(crate) async fn forget(video: VideoId, config: &Config) -> usize {
    let mut forgotten = 0;
    for document in [Document::Page(video), Document::Meta(video), Document::Embed(Embed::plain(video))] {
        let url = format!("{}{}", config.public_url, document.canonical());
        forgotten += usize::from(platform::cache_delete(&url).await);
    }
    forgotten
}

/// The page's address has one spelling: with a slash behind it the browser is sent to the one without. The query is that of
/// the site that linked here.
pub(crate) fn without_slash(video: VideoId, query: &str) -> Reply {
    let mark = if query.is_empty() { "" } else { "?" };
    let mut reply = Reply::redirect(&format!("/{video}{mark}{query}"));
    reply.status = 301;
    reply.replace("cache-control", cache_control(CachePolicy::Bare));
    reply
}

/// The answer to a request for a document, or the document that says why there is none.
pub(crate) async fn serve(
    request: &Request,
    document: Document,
    place: &Place<'_>,
) -> Result<Reply, Problem> {
    let found = found(request, document, place).await;
    Ok(found.unwrap_or_else(|none| refusal(none, document, place.config, place.request_id)))
}

async fn found(request: &Request, document: Document, place: &Place<'_>) -> Result<Reply, NotShown> {
    let Place { config, context, request_id, .. } = *place;
    let cache_key = format!("{}{}", config.public_url, document.canonical());
    // A page has more to show to its owner, and what is private is shown to its owner only; but no other site embeds it.
    let says_who = ["cookie", "authorization"].iter().any(|name| platform::header(request, name).is_some());
    let (is_page, is_embed) = (matches!(document, Document::Page(_)), matches!(document, Document::Embed(_)));
    let caller = if says_who && !is_embed {
        authenticate::caller(request, None, config, request_id).await.ok()
    } else {
        None
    };
    if (caller.is_none() || !is_page)
        && let Some(stored) = platform::cache_get(&cache_key).await
    {
        return from_cache(request, stored, document, config).await.map_err(NotShown::from);
    }
    let now_ms = platform::now_ms();
    let video = document.video();
    if !platform::is_within(place.env, Limiter::Reads, &platform::client_key_of(request)).await {
        return Err(NotShown { retry_after_secs: Some(BUSY_SECS), ..Problem::new(Code::Busy).into() });
    }
    let manifest = if delivery::is_absent(video) {
        None
    } else {
        let manifest = client::manifest_with_poster(video, config, now_ms, request_id).await?;
        if manifest.is_none() {
            delivery::note_absent(video);
        }
        manifest
    };
    let owned = manifest.as_ref().filter(|manifest| {
        caller.as_ref().is_some_and(|caller| caller.token.is_none() && caller.owner == manifest.owner)
    });
    let Shown { facts, is_public } = shown(video, manifest.as_ref(), owned.is_some(), config, now_ms)?;
    let text = match &document {
        Document::Page(_) => {
            let original = owned.map(|_| format!("/{video}/original"));
            html::watch(&facts, original.as_deref(), owned.map(|manifest| manifest.source.name.as_str()))
        }
        Document::Meta(_) => facts.meta().to_string(),
        Document::Embed(embed) => embed.answer(&facts).to_string(),
    };
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&text)[..16]));
    let is_for_all = is_public && (owned.is_none() || !is_page);
    if is_for_all {
        let headers =
            vec![("etag", etag.clone()), ("cache-control", cache_control(CachePolicy::Bare).to_owned())];
        let body = text.clone().into();
        platform::wait_until(context, async move {
            platform::cache_put(&cache_key, headers, body).await;
        });
    }
    Ok(answer(request, document, &etag, text.into_bytes(), is_for_all, "miss", config))
}

async fn from_cache(
    request: &Request,
    stored: Response,
    document: Document,
    config: &Config,
) -> Result<Reply, Problem> {
    let etag = platform::response_header(&stored, "etag").unwrap_or_default();
    let bytes = platform::response_bytes(&stored).await.ok_or(Problem::new(Code::Internal))?;
    Ok(answer(request, document, &etag, bytes, true, "hit", config))
}

fn answer(
    request: &Request,
    document: Document,
    etag: &str,
    bytes: Vec<u8>,
    is_for_all: bool,
    from: &str,
    config: &Config,
) -> Reply {
    let if_none_match = platform::header(request, "if-none-match");
    let asked = Conditional { if_none_match: if_none_match.as_deref(), ..Conditional::default() };
    let is_known = decide(asked, etag, bytes.len() as u64) == Served::NotModified;
    let (status, body) = if is_known { (304, Body::Empty) } else { (200, Body::Bytes(bytes.into())) };
    let mut reply = Reply { status, headers: Vec::new(), body }
        .with("etag", etag)
        .with("server-timing", format!("cache;desc={from}"))
        .with(
            "cache-control",
            if is_for_all { cache_control(CachePolicy::Bare) } else { "private, no-store" },
        );
    let bucket = (!is_for_all).then(|| config.location.bucket_url());
    dress(&mut reply, document, bucket.as_deref(), is_for_all);
    reply
}

/// The headers of every document of its kind, for everybody or for its owner.
fn dress(reply: &mut Reply, document: Document, bucket: Option<&str>, is_for_all: bool) {
    reply.replace("content-type", document.content_type());
    reply.replace("x-content-type-options", "nosniff");
    if matches!(document, Document::Page(_)) {
        reply.replace("content-security-policy", &html::policy(bucket, is_for_all));
        reply.replace("referrer-policy", "no-referrer");
        // Its owner sees more of it.
        reply.replace("vary", "Cookie, Authorization");
    } else if is_for_all {
        reply.headers.extend(cors::picture_headers());
    }
}

/// Says why there is no document: as a page to people, as a problem to programs.
fn refusal(none: NotShown, document: Document, config: &Config, request_id: &str) -> Reply {
    let NotShown { mut problem, retry_after_secs, is_public } = none;
    if matches!(document, Document::Embed(_)) && problem.code == Code::Processing {
        // 202 would look like an answer to whoever asks for a card.
        problem = Problem::because(Code::NotFound, problem.detail);
    }
    let code = problem.code;
    let is_refused = code == Code::Unauthorized;
    let mut reply = Reply::problem(&problem, request_id);
    if let Document::Page(video) = document {
        let sign_in =
            (is_refused && config.oidc.is_some()).then(|| format!("/auth/login?return_to=/{video}"));
        let html = html::state(&problem, retry_after_secs, sign_in.as_deref());
        reply = Reply { status: code.status(), headers: Vec::new(), body: Body::Bytes(html.into()) };
        dress(&mut reply, document, None, is_public);
    } else {
        reply.headers.extend(cors::picture_headers());
    }
    if is_refused {
        reply.replace("www-authenticate", "Bearer");
    }
    if let Some(seconds) = retry_after_secs {
        reply.replace("retry-after", &seconds.to_string());
    }
    let lasts = match code {
        Code::Processing => "public, max-age=2",
        _ if !is_public || code.status() >= 500 => "no-store",
        _ => "public, max-age=5",
    };
    reply.replace("cache-control", lasts);
    reply
}
