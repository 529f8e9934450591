//! Decides nothing by itself: sends somebody who may have the uploaded file to the bucket, to save it and never to show it.

use glimpse_contract::{Code, Key, META_NAME, Owner, Problem, VideoId};

use crate::Call;
use crate::config::Config;
use crate::platform::{self, Request};
use crate::reply::Reply;
use crate::{s3, storage};

/// `GET /{video}/original`: 302 to the bucket.
pub(crate) async fn original(
    video: VideoId,
    request: &Request,
    query: &str,
    call: &Call<'_>,
) -> Result<Reply, Problem> {
    if let Some(pair) = query.split('&').find(|pair| !pair.is_empty()) {
        let is_harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name = pair.split('=').next().unwrap_or_default();
        let name: String = name.chars().filter(is_harmless).take(32).collect();
        let detail = format!("The parameter `{name}` is not known here.");
        return Err(Problem::because(Code::BadParameter, detail));
    }
    hand_over(video, &call.caller.owner, &request.method(), call.config, call.request_id).await
}

/// Where the source of this owner's video is fetched, for some minutes. The address is a secret: it is not kept, and the
/// next page is not told it.
///
/// # Errors
/// `not_found`, `deleted`, or `source_gone` where only pictures are left.
pub(crate) async fn hand_over(
    video: VideoId,
    owner: &Owner,
    method: &str,
    config: &Config,
    request_id: &str,
) -> Result<Reply, Problem> {
    let key = Key::Source { owner: owner.clone(), video };
    let head = storage::sign(s3::head(&key, config, platform::now_ms()), request_id)?;
    let head = storage::send(&head, request_id).await?;
    match head.status {
        200 => {}
        404 => return Err(Problem::new(why_gone(video, owner, config, request_id).await?)),
        status => return Err(storage::unexpected(status, request_id)),
    }
    let method = if method == "HEAD" { "HEAD" } else { "GET" };
    let name = head.header(META_NAME).unwrap_or_default();
    let signed = s3::download(method, &key, &name, config, platform::now_ms());
    let url = storage::sign(signed, request_id)?.url;
    Ok(Reply::redirect(&url).with("referrer-policy", "no-referrer"))
}

async fn why_gone(video: VideoId, owner: &Owner, config: &Config, request_id: &str) -> Result<Code, Problem> {
    let manifest = storage::manifest(video, config, platform::now_ms(), request_id).await?;
    Ok(match manifest {
        Some(manifest) if manifest.owner != *owner => Code::NotFound,
        Some(manifest) if manifest.is_deleted() => Code::Deleted,
        Some(_) => Code::SourceGone,
        None => Code::NotFound,
    })
}
