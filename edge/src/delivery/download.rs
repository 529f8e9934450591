//! Downloads of the source: redirects authorized callers to the bucket, as an attachment only.

use glimpse_contract::{Code, Key, META_NAME, Manifest, Problem, VideoId};

use crate::context::ApiContext;
use crate::http::query::Query;
use crate::http::response::Reply;
use crate::platform::Request;
use crate::s3;
use crate::s3::client::Bucket;

/// `GET /{video}/original`: 302 to the bucket.
pub(crate) async fn download(
    video: VideoId,
    request: &Request,
    query: Query<'_>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    check_no_parameters(query)?;
    let (bucket, owner) = (context.bucket(), &context.caller.owner);
    let manifest = bucket.get_manifest(video).await?;
    if manifest.as_ref().is_some_and(|manifest| manifest.owner != *owner) {
        return Err(Problem::new(Code::NotFound));
    }
    redirect_to_source(&context.source_key(video), manifest.as_ref(), request.method(), bucket).await
}

/// Checks that the URL of a source has no query.
///
/// # Errors
/// `bad_parameter`, with the name of the first parameter.
pub(super) fn check_no_parameters(query: Query<'_>) -> Result<(), Problem> {
    let Some(pair) = query.pairs().next() else { return Ok(()) };
    let is_harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String = pair.name.chars().filter(is_harmless).take(32).collect();
    Err(Problem::with_detail(Code::BadParameter, format!("Unknown parameter `{name}`.")))
}

/// Redirects to a signed URL of a source, valid for some minutes. The URL is a secret: it is not cached, and
/// not sent as a referrer.
///
/// The file has to be the one that the images were made from: a POST form can be sent again while it is valid, and
/// replaces the file.
///
/// # Errors
/// `not_found`, `deleted`, `source_gone` if only the images are left, or `superseded` if the file was replaced.
pub(crate) async fn redirect_to_source(
    source: &Key,
    manifest: Option<&Manifest>,
    method: &str,
    bucket: Bucket<'_>,
) -> Result<Reply, Problem> {
    if manifest.is_some_and(Manifest::is_deleted) {
        return Err(Problem::new(Code::Deleted));
    }
    let head = bucket.head_object(source).await?;
    let missing = if manifest.is_some() { Code::SourceGone } else { Code::NotFound };
    let head = head.ok_or_else(|| Problem::new(missing))?;
    let etag = head.header("etag").unwrap_or_default();
    if manifest.is_some_and(|manifest| is_replaced(manifest, &etag)) {
        return Err(Problem::new(Code::Superseded));
    }
    let method = if method == "HEAD" { "HEAD" } else { "GET" };
    let name = head.header(META_NAME).unwrap_or_default();
    let signed = bucket.sign(|config, now_ms| s3::presign_download(method, source, &name, config, now_ms))?;
    Ok(Reply::redirect(&signed.url).with_header("referrer-policy", "no-referrer"))
}

/// Whether the file is another one than that of the manifest. A manifest of a file that was not read has no ETag.
fn is_replaced(manifest: &Manifest, etag: &str) -> bool {
    let known = manifest.source.etag.trim_matches('"');
    !known.is_empty() && known != etag.trim_matches('"')
}
