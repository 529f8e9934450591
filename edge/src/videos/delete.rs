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
use crate::s3::{Condition, ListPage, MAX_KEYS, ObjectSelection, UploadFilter};

/// How many uploads of one video are aborted concurrently.
const MAX_CONCURRENT_ABORTS: usize = 6;
/// How long caches out of reach may keep a copy that was already sent, in seconds: a year, for an immutable image.
const MAX_CACHED_COPY_SECS: u32 = 31_536_000;

/// `DELETE /api/videos/{video}`: deletes source and images, and returns what was deleted; a second request finds
/// nothing.
pub(crate) async fn delete(video: VideoId, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    let (bucket, config, owner) = (context.bucket(), context.config, &context.caller.owner);
    let source = context.source_key(video);
    let manifest = bucket.get_manifest(video).await?;
    if manifest.as_ref().is_some_and(|manifest| manifest.owner != *owner) {
        return Err(Problem::new(Code::NotFound));
    }
    let has_source = bucket.head_object(&source).await?.is_some();
    let list_unfinished = || bucket.list_multipart_uploads(owner, UploadFilter::Video(video), MAX_KEYS);
    let mut unfinished = list_unfinished().await?;
    if manifest.is_none() && !has_source && unfinished.uploads.is_empty() {
        return Err(Problem::new(Code::NotFound));
    }

    if !manifest.as_ref().is_some_and(Manifest::is_deleted) {
        put_tombstone(video, manifest.as_ref(), context).await?;
    }
    let mut aborted = 0;
    loop {
        for batch in unfinished.uploads.chunks(MAX_CONCURRENT_ABORTS) {
            let aborts =
                batch.iter().map(|upload| bucket.abort_multipart_upload(&upload.key, &upload.upload_id));
            aborted += try_join_all(aborts).await?.len();
        }
        if !unfinished.is_truncated || unfinished.uploads.is_empty() {
            break;
        }
        unfinished = list_unfinished().await?;
    }
    if has_source {
        bucket.delete_object(&source).await?;
    }
    // The reservation may contain the file's name.
    bucket.delete_object(&Key::Reservation { owner: owner.clone(), video }).await?;
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
    let keys: Vec<String> = videos.iter().map(|video| context.source_key(*video).to_string()).collect();
    if let Err(problem) = context.bucket().delete_objects(&keys).await {
        platform::log_error("remove_late", context.request_id, problem.code.as_str());
    }
}

/// It contains nothing about the file: no name, no length.
async fn put_tombstone(
    video: VideoId,
    manifest: Option<&Manifest>,
    context: &ApiContext<'_>,
) -> Result<(), Problem> {
    let visibility = manifest.map_or(Visibility::Public, |manifest| manifest.visibility);
    let mut tombstone = object! {
        "version" => MANIFEST_VERSION,
        "video" => video,
        "owner" => &context.caller.owner,
        "visibility" => visibility.as_str(),
        "state" => "rejected",
        "rejected" => object! { "code" => Code::Deleted.as_str() },
        "source" => object! {},
        "timings" => object! { "committed" => context.now_ms },
    };
    if let Some(manifest) = manifest {
        manifest.client_metadata.insert_into(&mut tombstone);
    }
    let json = tombstone.to_string();
    context.bucket().put_json(&Key::Manifest(video), json, Condition::Always).await.map(|_| ())
}

/// Deletes all outputs of a video but the manifest, and returns their keys.
async fn delete_outputs(video: VideoId, context: &ApiContext<'_>) -> Result<Vec<String>, Problem> {
    let bucket = context.bucket();
    let manifest = Key::Manifest(video).to_string();
    let mut removed = Vec::new();
    loop {
        let listing = bucket.list_objects(ObjectSelection::media(video, None), ListPage::parse).await?;
        let keys: Vec<String> = listing.keys.into_iter().filter(|key| *key != manifest).collect();
        let is_last = keys.is_empty() || !listing.is_truncated;
        bucket.delete_objects(&keys).await?;
        removed.extend(keys);
        if is_last {
            return Ok(removed);
        }
    }
}
