//! Downloads of the source: redirects authorized callers to the bucket, as an attachment only.

use glimpse_contract::{Code, Key, META_NAME, Manifest, Owner, Problem, VideoId};

use crate::config::Config;
use crate::context::ApiContext;
use crate::http::response::Reply;
use crate::platform::{self, Request};
use crate::s3::{self, client};

/// `GET /{video}/original`: 302 to the bucket.
pub(crate) async fn download(
    video: VideoId,
    request: &Request,
    query: &str,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    if let Some(pair) = query.split('&').find(|pair| !pair.is_empty()) {
        let is_harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name = pair.split('=').next().unwrap_or_default();
        let name: String = name.chars().filter(is_harmless).take(32).collect();
        let detail = format!("Unknown parameter `{name}`.");
        return Err(Problem::with_detail(Code::BadParameter, detail));
    }
    let (config, request_id) = (context.config, context.request_id);
    let owner = &context.caller.owner;
    let manifest = client::get_manifest(video, config, platform::now_ms(), request_id).await?;
    if manifest.as_ref().is_some_and(|manifest| manifest.owner != *owner) {
        return Err(Problem::new(Code::NotFound));
    }
    redirect_to_source(video, owner, manifest.as_ref(), &request.method(), config, request_id).await
}

/// Redirects to a signed URL of this owner's source, valid for some minutes. The URL is a secret: it is not cached, and
/// not sent as a referrer.
///
/// The file has to be the one that the images were made from: a POST form can be sent again while it is valid, and
/// replaces the file.
///
/// # Errors
/// `not_found`, `deleted`, `source_gone` if only the images are left, or `superseded` if the file was replaced.
pub(crate) async fn redirect_to_source(
    video: VideoId,
    owner: &Owner,
    manifest: Option<&Manifest>,
    method: &str,
    config: &Config,
    request_id: &str,
) -> Result<Reply, Problem> {
    if manifest.is_some_and(Manifest::is_deleted) {
        return Err(Problem::new(Code::Deleted));
    }
    let key = Key::Source { owner: owner.clone(), video };
    let head = client::map_sign_error(s3::head_object(&key, config, platform::now_ms()), request_id)?;
    let head = client::send(&head, request_id).await?;
    match (head.status, manifest) {
        (200, Some(manifest)) if is_replaced(manifest, &head.header("etag").unwrap_or_default()) => {
            return Err(Problem::new(Code::Superseded));
        }
        (200, _) => {}
        (404, Some(_)) => return Err(Problem::new(Code::SourceGone)),
        (404, None) => return Err(Problem::new(Code::NotFound)),
        (status, _) => return Err(client::unexpected_status(status, request_id)),
    }
    let method = if method == "HEAD" { "HEAD" } else { "GET" };
    let name = head.header(META_NAME).unwrap_or_default();
    let signed = s3::presign_download(method, &key, &name, config, platform::now_ms());
    let url = client::map_sign_error(signed, request_id)?.url;
    Ok(Reply::redirect(&url).with_header("referrer-policy", "no-referrer"))
}

/// Whether the file is another one than that of the manifest. A manifest of a file that was not read has no ETag.
fn is_replaced(manifest: &Manifest, etag: &str) -> bool {
    let known = manifest.source.etag.trim_matches('"');
    !known.is_empty() && known != etag.trim_matches('"')
}
