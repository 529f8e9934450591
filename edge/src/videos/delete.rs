//! Decides nothing by itself: removes a video of its owner, in an order after which it cannot come back.
//!
//! First a manifest that says so takes the place of the present one: from then on no picture is served, and a function
//! that is still at work loses the race for the manifest. Then the source goes, then every picture.

use futures_util::future::try_join_all;
use glimpse_contract::{Code, Key, MANIFEST_VERSION, Manifest, Problem, VideoId, Visibility, object};

use crate::Call;
use crate::delivery;
use crate::http::response::Reply;
use crate::page;
use crate::platform;
use crate::s3::client;
use crate::s3::{self, Condition, Listing, MAX_KEYS, Uploads};
use crate::uploads::companion;

/// Uploads of one video that are given up side by side.
const SIDE_BY_SIDE: usize = 6;
/// How long a copy that was sent before may be kept where nothing here reaches it, in seconds: a picture under a URL that
/// fixes it, for a year.
const MAY_LAST_SECS: u32 = 31_536_000;

/// `DELETE /api/videos/{video}`: removes source and pictures, and says what it removed; a second time it finds nothing.
pub(crate) async fn delete(video: VideoId, call: &Call<'_>) -> Result<Reply, Problem> {
    let (config, request_id, owner) = (call.config, call.request_id, &call.caller.owner);
    let now_ms = platform::now_ms();
    let source = Key::Source { owner: owner.clone(), video };
    let manifest = client::manifest(video, config, now_ms, request_id).await?;
    if manifest.as_ref().is_some_and(|manifest| manifest.owner != *owner) {
        return Err(Problem::new(Code::NotFound));
    }
    let head = client::sign(s3::head(&source, config, now_ms), request_id)?;
    let has_source = match client::send(&head, request_id).await?.status {
        200 => true,
        404 => false,
        status => return Err(client::unexpected(status, request_id)),
    };
    let mut unfinished = companion::unfinished(Uploads::Of(video), MAX_KEYS, call).await?;
    if manifest.is_none() && !has_source && unfinished.uploads.is_empty() {
        return Err(Problem::new(Code::NotFound));
    }

    if !manifest.as_ref().is_some_and(Manifest::is_deleted) {
        put_tombstone(video, manifest.as_ref(), call).await?;
    }
    let mut given_up = 0;
    loop {
        for some in unfinished.uploads.chunks(SIDE_BY_SIDE) {
            let each = some.iter().map(|upload| companion::give_up(&upload.key, &upload.upload_id, call));
            given_up += try_join_all(each).await?.len();
        }
        if !unfinished.is_truncated || unfinished.uploads.is_empty() {
            break;
        }
        unfinished = companion::unfinished(Uploads::Of(video), MAX_KEYS, call).await?;
    }
    if has_source {
        let request = client::sign(s3::delete(&source, config, platform::now_ms()), request_id)?;
        match client::send(&request, request_id).await?.status {
            200 | 204 | 404 => {}
            status => return Err(client::unexpected(status, request_id)),
        }
    }
    // Its mark may hold the file's name.
    let mark = s3::delete(&Key::Slot { owner: owner.clone(), video }, config, platform::now_ms());
    let marked = client::send(&client::sign(mark, request_id)?, request_id).await?.status;
    if !matches!(marked, 200 | 204 | 404) {
        return Err(client::unexpected(marked, request_id));
    }
    let keys = delete_media(video, call).await?;
    let purged = delivery::purge(&delivery::of_keys(video, &keys, manifest.as_ref()), config).await
        + page::forget(video, config).await;
    Ok(Reply::json(
        200,
        &object! {
            "id" => video,
            "removed" => object! {
                "source" => has_source,
                "pictures" => keys.len(),
                "unfinished_uploads" => given_up,
            },
            "caches" => object! {
                "purged" => purged,
                "may_last_secs" => MAY_LAST_SECS,
                "note" => "Copies in browsers and at other places of the CDN last as long as their Cache-Control says.",
            },
        },
    ))
}

/// Removes the sources of videos that were deleted before: a signed upload cannot be taken back, and what it brings later
/// is shown nowhere. What goes wrong is in the log, and is tried again with the next listing.
pub(crate) async fn remove_late(videos: &[VideoId], call: &Call<'_>) {
    let source =
        |video: &VideoId| Key::Source { owner: call.caller.owner.clone(), video: *video }.to_string();
    let keys: Vec<String> = videos.iter().map(source).collect();
    if let Err(problem) = delete_keys(&keys, call).await {
        platform::log_error("remove_late", call.request_id, problem.code.as_str());
    }
}

async fn delete_keys(keys: &[String], call: &Call<'_>) -> Result<(), Problem> {
    if keys.is_empty() {
        return Ok(());
    }
    let request = s3::delete_many(keys, call.config, platform::now_ms());
    let answer = client::send(&client::sign(request, call.request_id)?, call.request_id).await?;
    let (status, body) = (answer.status, client::text(answer).await);
    if status != 200 || body.contains("<Error>") {
        return Err(client::unexpected(status, call.request_id));
    }
    Ok(())
}

/// Nothing of the file is kept in it: no name, no length.
async fn put_tombstone(video: VideoId, before: Option<&Manifest>, call: &Call<'_>) -> Result<(), Problem> {
    let now_ms = platform::now_ms();
    let visibility = before.map_or(Visibility::Public, |manifest| manifest.visibility);
    let mut tombstone = object! {
        "version" => MANIFEST_VERSION,
        "video" => video,
        "owner" => &call.caller.owner,
        "visibility" => visibility.as_str(),
        "state" => "rejected",
        "rejected" => object! { "code" => Code::Deleted.as_str() },
        "source" => object! {},
        "timings" => object! { "committed" => now_ms },
    };
    if let Some(before) = before {
        before.passthrough.put_into(&mut tombstone);
    }
    let json = tombstone.to_string();
    let request = s3::put_json(&Key::Manifest(video), json, Condition::Always, call.config, now_ms);
    let answer = client::send(&client::sign(request, call.request_id)?, call.request_id).await?;
    if answer.status == 200 { Ok(()) } else { Err(client::unexpected(answer.status, call.request_id)) }
}

/// Removes everything that was made of a video but the manifest, and says what that was.
async fn delete_media(video: VideoId, call: &Call<'_>) -> Result<Vec<String>, Problem> {
    let manifest = Key::Manifest(video).to_string();
    let mut removed = Vec::new();
    loop {
        let request = s3::list_media(video, call.config, platform::now_ms());
        let answer = client::send(&client::sign(request, call.request_id)?, call.request_id).await?;
        if answer.status != 200 {
            return Err(client::unexpected(answer.status, call.request_id));
        }
        let listing = Listing::read(&client::text(answer).await);
        let listing = listing.ok_or_else(|| client::unexpected(200, call.request_id))?;
        let keys: Vec<String> = listing.keys.into_iter().filter(|key| *key != manifest).collect();
        let is_last = keys.is_empty() || !listing.is_truncated;
        delete_keys(&keys, call).await?;
        removed.extend(keys);
        if is_last {
            return Ok(removed);
        }
    }
}
