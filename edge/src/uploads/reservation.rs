//! Decides nothing by itself: which id the next upload gets, as `upload::slots` lays it out, with what the bucket knows.

use std::collections::BTreeSet;

use futures_util::future::join;
use glimpse_contract::{Code, Grant, Key, Owner, Problem, VideoId, object};

use crate::ApiContext;
use crate::auth::UploadToken;
use crate::platform;
use crate::s3::client;
use crate::s3::{self, Condition, ListPage, Reservations, S3Request};
use crate::uploads::{ReservationCandidate, reservation_candidates};

/// How long an id stays taken although nothing is uploaded, in seconds: as long as a signed upload may live.
pub(crate) const LEASE_SECS: u64 = glimpse_contract::limits::MAX_UPLOAD_EXPIRES_SECS;
/// How many ids are tried before somebody is asked to come again.
const MAX_ATTEMPTS: usize = 8;

/// The id of the next upload of this caller.
///
/// # Errors
/// `token_used_up` if the caller's token makes no further video; `busy` if all that it has left are being uploaded.
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
    // Uploads that begin side by side see the same choices: each starts at another one.
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
    let detail = "All videos of this upload token are being uploaded. Try again when one has failed, or ask for a token \
                  for more videos.";
    Err(Problem::with_detail(Code::Busy, detail))
}

/// Whether the video has been: one that was deleted has no source, and does not come back.
async fn has_manifest(video: VideoId, context: &ApiContext<'_>) -> Result<bool, Problem> {
    let manifest =
        client::get_manifest(video, context.config, platform::now_ms(), context.request_id).await?;
    Ok(manifest.is_some())
}

/// Notes the file's name beside an upload in parts: S3 tells nobody what it was told at the beginning. The note goes with
/// the mark, and is nobody's loss: what went wrong with it is in the log.
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

/// The name that was noted.
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

/// Whether the mark could be set: nobody else was faster.
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
