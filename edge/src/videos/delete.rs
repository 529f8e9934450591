//! HTTP handler that deletes a video, in an order after which it cannot reappear.
//!
//! First, a tombstone replaces the manifest: from then on no image is served, and a function that is still running
//! loses the race for the manifest. Then the source is deleted, then all images.

use futures_util::future::try_join_all;
use glimpse_contract::{Code, Key, MANIFEST_VERSION, Manifest, Problem, VideoId, Visibility, object};

use crate::context::ApiContext;
use crate::delivery;
use crate::http::response::Reply;
use crate::page;
use crate::platform;
use crate::s3::client;
use crate::s3::{self, Condition, ListPage, MAX_KEYS, UploadFilter};
use crate::uploads::unfinished;

/// How many uploads of one video are aborted concurrently.
const MAX_CONCURRENT_ABORTS: usize = 6;
/// How long caches out of reach may keep a copy that was already sent, in seconds: a year, for an immutable image.
const MAX_CACHED_COPY_SECS: u32 = 31_536_000;

/// `DELETE /api/videos/{video}`: deletes source and images, and returns what was deleted; a second request finds
/// nothing.
pub(crate) async fn delete(video: VideoId, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    let (config, request_id, owner) = (context.config, context.request_id, &context.caller.owner);
    let now_ms = platform::now_ms();
    let source = Key::Source { owner: owner.clone(), video };
    let manifest = client::get_manifest(video, config, now_ms, request_id).await?;
    if manifest.as_ref().is_some_and(|manifest| manifest.owner != *owner) {
        return Err(Problem::new(Code::NotFound));
    }
    let head = client::map_sign_error(s3::head_object(&source, config, now_ms), request_id)?;
    let has_source = match client::send(&head, request_id).await?.status {
        200 => true,
        404 => false,
        status => return Err(client::unexpected_status(status, request_id)),
    };
    let mut unfinished = unfinished::list_unfinished(UploadFilter::Video(video), MAX_KEYS, context).await?;
    if manifest.is_none() && !has_source && unfinished.uploads.is_empty() {
        return Err(Problem::new(Code::NotFound));
    }

    if !manifest.as_ref().is_some_and(Manifest::is_deleted) {
        put_tombstone(video, manifest.as_ref(), context).await?;
    }
    let mut aborted = 0;
    loop {
        for batch in unfinished.uploads.chunks(MAX_CONCURRENT_ABORTS) {
            let aborts = batch
                .iter()
                .map(|upload| unfinished::abort_multipart_upload(&upload.key, &upload.upload_id, context));
            aborted += try_join_all(aborts).await?.len();
        }
        if !unfinished.is_truncated || unfinished.uploads.is_empty() {
            break;
        }
        unfinished = unfinished::list_unfinished(UploadFilter::Video(video), MAX_KEYS, context).await?;
    }
    if has_source {
        let request =
            client::map_sign_error(s3::delete_object(&source, config, platform::now_ms()), request_id)?;
        match client::send(&request, request_id).await?.status {
            200 | 204 | 404 => {}
            status => return Err(client::unexpected_status(status, request_id)),
        }
    }
    // The reservation may contain the file's name.
    let reservation =
        s3::delete_object(&Key::Reservation { owner: owner.clone(), video }, config, platform::now_ms());
    let status = client::send(&client::map_sign_error(reservation, request_id)?, request_id).await?.status;
    if !matches!(status, 200 | 204 | 404) {
        return Err(client::unexpected_status(status, request_id));
    }
    let keys = delete_outputs(video, context).await?;
    let purged = delivery::purge(&delivery::paths_for_keys(video, &keys, manifest.as_ref()), config).await
        + page::purge(video, config).await;
    Ok(Reply::json(
        200,
        &object! {
            "id" => video,
            "removed" => object! {
                "source" => has_source,
                "pictures" => keys.len(),
                "unfinished_uploads" => aborted,
            },
            "caches" => object! {
                "purged" => purged,
                "may_last_secs" => MAX_CACHED_COPY_SECS,
                "note" => "Copies in browsers and other data centers of the CDN expire by their Cache-Control.",
            },
        },
    ))
}

/// Deletes the sources of videos that were deleted earlier: a signed upload cannot be revoked, and its file is never
/// shown. Errors are logged, and the deletion is retried with the next listing.
pub(crate) async fn delete_late_sources(videos: &[VideoId], context: &ApiContext<'_>) {
    let source =
        |video: &VideoId| Key::Source { owner: context.caller.owner.clone(), video: *video }.to_string();
    let keys: Vec<String> = videos.iter().map(source).collect();
    if let Err(problem) = delete_keys(&keys, context).await {
        platform::log_error("remove_late", context.request_id, problem.code.as_str());
    }
}

async fn delete_keys(keys: &[String], context: &ApiContext<'_>) -> Result<(), Problem> {
    if keys.is_empty() {
        return Ok(());
    }
    let request = s3::delete_objects(keys, context.config, platform::now_ms());
    let answer =
        client::send(&client::map_sign_error(request, context.request_id)?, context.request_id).await?;
    let (status, body) = (answer.status, client::read_text(answer).await);
    if status != 200 || body.contains("<Error>") {
        return Err(client::unexpected_status(status, context.request_id));
    }
    Ok(())
}

/// It contains nothing about the file: no name, no length.
async fn put_tombstone(
    video: VideoId,
    manifest: Option<&Manifest>,
    context: &ApiContext<'_>,
) -> Result<(), Problem> {
    let now_ms = platform::now_ms();
    let visibility = manifest.map_or(Visibility::Public, |manifest| manifest.visibility);
    let mut tombstone = object! {
        "version" => MANIFEST_VERSION,
        "video" => video,
        "owner" => &context.caller.owner,
        "visibility" => visibility.as_str(),
        "state" => "rejected",
        "rejected" => object! { "code" => Code::Deleted.as_str() },
        "source" => object! {},
        "timings" => object! { "committed" => now_ms },
    };
    if let Some(manifest) = manifest {
        manifest.client_metadata.insert_into(&mut tombstone);
    }
    let json = tombstone.to_string();
    let request = s3::put_json(&Key::Manifest(video), json, Condition::Always, context.config, now_ms);
    let answer =
        client::send(&client::map_sign_error(request, context.request_id)?, context.request_id).await?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(client::unexpected_status(answer.status, context.request_id))
    }
}

/// Deletes all outputs of a video but the manifest, and returns their keys.
async fn delete_outputs(video: VideoId, context: &ApiContext<'_>) -> Result<Vec<String>, Problem> {
    let manifest = Key::Manifest(video).to_string();
    let mut removed = Vec::new();
    loop {
        let request = s3::list_media(video, context.config, platform::now_ms());
        let answer =
            client::send(&client::map_sign_error(request, context.request_id)?, context.request_id).await?;
        if answer.status != 200 {
            return Err(client::unexpected_status(answer.status, context.request_id));
        }
        let listing = ListPage::parse(&client::read_text(answer).await);
        let listing = listing.ok_or_else(|| client::unexpected_status(200, context.request_id))?;
        let keys: Vec<String> = listing.keys.into_iter().filter(|key| *key != manifest).collect();
        let is_last = keys.is_empty() || !listing.is_truncated;
        delete_keys(&keys, context).await?;
        removed.extend(keys);
        if is_last {
            return Ok(removed);
        }
    }
}
