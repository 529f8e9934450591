//! Decides nothing by itself: which id the next upload gets, as `upload::slots` lays it out, with what the bucket knows.

use std::collections::BTreeSet;

use futures_util::future::join;
use glimpse_contract::{Code, Grant, Key, Owner, Problem, VideoId, object};

use crate::Call;
use crate::auth::UploadToken;
use crate::platform;
use crate::s3::client;
use crate::s3::{self, Condition, Listing, S3Request, Slots};
use crate::uploads::{Choice, choose};

/// How long an id stays taken although nothing is uploaded, in seconds: as long as a signed upload may live.
pub(crate) const LEASE_SECS: u64 = glimpse_contract::limits::MAX_UPLOAD_EXPIRES_SECS;
/// How many ids are tried before somebody is asked to come again.
const TRIES: usize = 8;

/// The id of the next upload of this caller.
///
/// # Errors
/// `token_used_up` if the caller's token makes no further video; `busy` if all that it has left are being uploaded.
pub(crate) async fn next_video(call: &Call<'_>) -> Result<VideoId, Problem> {
    let video = an_id(call).await?;
    if let Some(trace_id) = call.trace_id {
        platform::log_trace(call.request_id, video, trace_id);
    }
    Ok(video)
}

async fn an_id(call: &Call<'_>) -> Result<VideoId, Problem> {
    let Some(token) = &call.caller.token else {
        return Ok(VideoId::new(platform::now_ms(), platform::random()));
    };
    if token.only.is_some() {
        return Err(Problem::new(Code::Unauthorized));
    }
    let ids = token.slots();
    let [first, .., _] = ids.as_slice() else { return only_video(ids[0], call).await };
    several(&ids, *first, token, call).await
}

async fn only_video(video: VideoId, call: &Call<'_>) -> Result<VideoId, Problem> {
    let key = Key::Source { owner: call.caller.owner.clone(), video };
    let request = client::sign(s3::head(&key, call.config, platform::now_ms()), call.request_id)?;
    match client::send(&request, call.request_id).await?.status {
        404 if !is_over(video, call).await? => Ok(video),
        200 | 404 => Err(Problem::new(Code::TokenUsedUp)),
        status => Err(client::unexpected(status, call.request_id)),
    }
}

async fn several(
    ids: &[VideoId],
    first: VideoId,
    token: &UploadToken,
    call: &Call<'_>,
) -> Result<VideoId, Problem> {
    let now_ms = platform::now_ms();
    let owner = &call.caller.owner;
    let sources = client::sign(s3::list_sources(owner, first, call.config, now_ms), call.request_id)?;
    let slots = client::sign(s3::list_slots(owner, first, call.config, now_ms), call.request_id)?;
    let (sources, slots) = join(page(&sources, call), page(&slots, call)).await;
    let unreadable = || client::unexpected(200, call.request_id);
    let sources = Listing::read(&sources?).ok_or_else(unreadable)?;
    let slots = Slots::read(&slots?).ok_or_else(unreadable)?;
    let uploaded: BTreeSet<VideoId> = sources.items.iter().map(|item| item.video).collect();
    if ids.iter().all(|video| uploaded.contains(video)) {
        return Err(Problem::new(Code::TokenUsedUp));
    }
    let choices = choose(ids, &uploaded, &slots, LEASE_SECS, now_ms);
    // Uploads that begin side by side see the same choices: each starts at another one.
    let start = usize::from(u16::from_be_bytes(platform::random())) % choices.len().max(1);
    let mut is_used_up = true;
    for choice in choices.iter().cycle().skip(start).take(choices.len().min(TRIES)) {
        if is_over(choice.video, call).await? {
            continue;
        }
        is_used_up = false;
        if mark(choice, token, call).await? {
            return Ok(choice.video);
        }
    }
    if is_used_up && (1..=TRIES).contains(&choices.len()) {
        return Err(Problem::new(Code::TokenUsedUp));
    }
    let detail = "All videos of this upload token are being uploaded. Try again when one has failed, or ask for a token \
                  for more videos.";
    Err(Problem::because(Code::Busy, detail))
}

/// Whether the video has been: one that was deleted has no source, and does not come back.
async fn is_over(video: VideoId, call: &Call<'_>) -> Result<bool, Problem> {
    let manifest = client::manifest(video, call.config, platform::now_ms(), call.request_id).await?;
    Ok(manifest.is_some())
}

/// Notes the file's name beside an upload in parts: S3 tells nobody what it was told at the beginning. The note goes with
/// the mark, and is nobody's loss: what went wrong with it is in the log.
pub(crate) async fn note(grant: &Grant, call: &Call<'_>) {
    let now_ms = platform::now_ms();
    let json = object! { "name" => &grant.name, "taken_at" => now_ms }.to_string();
    let key = slot(&grant.owner, grant.video);
    let signed = s3::put_json(&key, json, Condition::Always, call.config, now_ms);
    let Ok(request) = client::sign(signed, call.request_id) else { return };
    if let Ok(answer) = client::send(&request, call.request_id).await
        && answer.status != 200
    {
        client::unexpected(answer.status, call.request_id);
    }
}

/// The name that was noted.
pub(crate) async fn noted(video: VideoId, call: &Call<'_>) -> Result<Option<String>, Problem> {
    let key = slot(&call.caller.owner, video);
    let note = client::read_json(&key, call.config, platform::now_ms(), call.request_id).await?;
    Ok(note.and_then(|note| note.get("name").text().map(str::to_owned)))
}

fn slot(owner: &Owner, video: VideoId) -> Key {
    Key::Slot { owner: owner.clone(), video }
}

async fn page(request: &S3Request, call: &Call<'_>) -> Result<String, Problem> {
    let answer = client::send(request, call.request_id).await?;
    match answer.status {
        200 => Ok(client::text(answer).await),
        status => Err(client::unexpected(status, call.request_id)),
    }
}

/// Whether the mark could be set: nobody else was faster.
async fn mark(choice: &Choice, token: &UploadToken, call: &Call<'_>) -> Result<bool, Problem> {
    let now_ms = platform::now_ms();
    let key = slot(&call.caller.owner, choice.video);
    let condition = choice.replaces.as_deref().map_or(Condition::IfAbsent, Condition::IfMatch);
    let json = object! { "token" => &token.jti, "taken_at" => now_ms }.to_string();
    let request = client::sign(s3::put_json(&key, json, condition, call.config, now_ms), call.request_id)?;
    match client::send(&request, call.request_id).await?.status {
        200 => Ok(true),
        404 | 409 | 412 => Ok(false),
        status => Err(client::unexpected(status, call.request_id)),
    }
}
