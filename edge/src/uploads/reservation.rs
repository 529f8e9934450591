//! Reserves the id of the next upload in the bucket, in the order of `reservation_choice`.

use std::collections::BTreeSet;

use futures_util::future::join;
use glimpse_contract::{Code, Grant, Key, Owner, Problem, VideoId, object};

use crate::auth::UploadToken;
use crate::context::ApiContext;
use crate::platform;
use crate::s3::client;
use crate::s3::{self, Condition, ListPage, Reservations, S3Request};
use crate::uploads::{ReservationCandidate, reservation_candidates};

/// How long an id stays reserved without an upload, in seconds: the maximum lifetime of a signed upload.
pub(crate) const LEASE_SECS: u64 = glimpse_contract::limits::MAX_UPLOAD_EXPIRES_SECS;
/// How many ids are tried before the client has to retry later.
const MAX_ATTEMPTS: usize = 8;

/// The id of the caller's next upload.
///
/// # Errors
/// `token_used_up` if the caller's token allows no further video; `busy` if all remaining ones are being uploaded.
pub(crate) async fn allocate_id(context: &ApiContext<'_>) -> Result<VideoId, Problem> {
    let video = pick_id(context).await?;
    if let Some(trace_id) = context.trace_id {
        platform::log_trace(context.request_id, video, trace_id);
    }
    Ok(video)
}

async fn pick_id(context: &ApiContext<'_>) -> Result<VideoId, Problem> {
    let Some(token) = &context.caller.token else {
        return Ok(VideoId::new(platform::now_ms(), platform::random_bytes()));
    };
    if token.only.is_some() {
        return Err(Problem::new(Code::Unauthorized));
    }
    let ids = token.video_ids();
    let [first, .., _] = ids.as_slice() else { return check_single_id(ids[0], context).await };
    reserve_one_of(&ids, *first, token, context).await
}

async fn check_single_id(video: VideoId, context: &ApiContext<'_>) -> Result<VideoId, Problem> {
    let key = Key::Source { owner: context.caller.owner.clone(), video };
    let request = client::map_sign_error(
        s3::head_object(&key, context.config, platform::now_ms()),
        context.request_id,
    )?;
    match client::send(&request, context.request_id).await?.status {
        404 if !has_manifest(video, context).await? => Ok(video),
        200 | 404 => Err(Problem::new(Code::TokenUsedUp)),
        status => Err(client::unexpected_status(status, context.request_id)),
    }
}

async fn reserve_one_of(
    ids: &[VideoId],
    first: VideoId,
    token: &UploadToken,
    context: &ApiContext<'_>,
) -> Result<VideoId, Problem> {
    let now_ms = platform::now_ms();
    let owner = &context.caller.owner;
    let sources = client::map_sign_error(
        s3::list_sources_of_same_ms(owner, first, context.config, now_ms),
        context.request_id,
    )?;
    let reservations = client::map_sign_error(
        s3::list_reservations_of_same_ms(owner, first, context.config, now_ms),
        context.request_id,
    )?;
    let (sources, slots) =
        join(fetch_list_page(&sources, context), fetch_list_page(&reservations, context)).await;
    let unreadable = || client::unexpected_status(200, context.request_id);
    let sources = ListPage::parse(&sources?).ok_or_else(unreadable)?;
    let slots = Reservations::parse(&slots?).ok_or_else(unreadable)?;
    let uploaded: BTreeSet<VideoId> = sources.items.iter().map(|item| item.video).collect();
    if ids.iter().all(|video| uploaded.contains(video)) {
        return Err(Problem::new(Code::TokenUsedUp));
    }
    let candidates = reservation_candidates(ids, &uploaded, &slots, LEASE_SECS, now_ms);
    // Concurrent uploads see the same candidates: each starts at a random one.
    let start = usize::from(u16::from_be_bytes(platform::random_bytes())) % candidates.len().max(1);
    let mut is_used_up = true;
    for candidate in candidates.iter().cycle().skip(start).take(candidates.len().min(MAX_ATTEMPTS)) {
        if has_manifest(candidate.video, context).await? {
            continue;
        }
        is_used_up = false;
        if reserve(candidate, token, context).await? {
            return Ok(candidate.video);
        }
    }
    if is_used_up && (1..=MAX_ATTEMPTS).contains(&candidates.len()) {
        return Err(Problem::new(Code::TokenUsedUp));
    }
    let detail = "All videos of this upload token are being uploaded. Try again if one fails, or request a token for \
                  more videos.";
    Err(Problem::with_detail(Code::Busy, detail))
}

/// Whether the video has a manifest: a deleted video has no source, and its id is not reused.
async fn has_manifest(video: VideoId, context: &ApiContext<'_>) -> Result<bool, Problem> {
    let manifest =
        client::get_manifest(video, context.config, platform::now_ms(), context.request_id).await?;
    Ok(manifest.is_some())
}

/// Stores the file's name beside a multipart upload, since S3 does not return the metadata of unfinished uploads. It is
/// stored in the reservation. Best effort: failures are only logged.
pub(crate) async fn remember_name(grant: &Grant, context: &ApiContext<'_>) {
    let now_ms = platform::now_ms();
    let json = object! { "name" => &grant.name, "taken_at" => now_ms }.to_string();
    let key = reservation_key(&grant.owner, grant.video);
    let signed = s3::put_json(&key, json, Condition::Always, context.config, now_ms);
    let Ok(request) = client::map_sign_error(signed, context.request_id) else { return };
    if let Ok(answer) = client::send(&request, context.request_id).await
        && answer.status != 200
    {
        client::unexpected_status(answer.status, context.request_id);
    }
}

/// The stored name.
pub(crate) async fn load_name(video: VideoId, context: &ApiContext<'_>) -> Result<Option<String>, Problem> {
    let key = reservation_key(&context.caller.owner, video);
    let note = client::get_json(&key, context.config, platform::now_ms(), context.request_id).await?;
    Ok(note.and_then(|note| note.get("name").as_str().map(str::to_owned)))
}

fn reservation_key(owner: &Owner, video: VideoId) -> Key {
    Key::Reservation { owner: owner.clone(), video }
}

async fn fetch_list_page(request: &S3Request, context: &ApiContext<'_>) -> Result<String, Problem> {
    let answer = client::send(request, context.request_id).await?;
    match answer.status {
        200 => Ok(client::read_text(answer).await),
        status => Err(client::unexpected_status(status, context.request_id)),
    }
}

/// Writes the reservation; `false` if another request was faster.
async fn reserve(
    candidate: &ReservationCandidate,
    token: &UploadToken,
    context: &ApiContext<'_>,
) -> Result<bool, Problem> {
    let now_ms = platform::now_ms();
    let key = reservation_key(&context.caller.owner, candidate.video);
    let condition = candidate.replaced_etag.as_deref().map_or(Condition::IfAbsent, Condition::IfMatch);
    let json = object! { "token" => &token.jti, "taken_at" => now_ms }.to_string();
    let request = client::map_sign_error(
        s3::put_json(&key, json, condition, context.config, now_ms),
        context.request_id,
    )?;
    match client::send(&request, context.request_id).await?.status {
        200 => Ok(true),
        404 | 409 | 412 => Ok(false),
        status => Err(client::unexpected_status(status, context.request_id)),
    }
}
