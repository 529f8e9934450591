//! Reserves the id of the next upload.
//!
//! The ids of an upload token are derived from it, and an upload cannot be replaced, so the number of ids is the number
//! of videos. A token for one video needs nothing more. With several, concurrent uploads must not get the same id: each
//! reserves its id in the bucket by a conditional write, and a reservation without an upload expires.

use std::collections::BTreeSet;

use futures_util::future::join;
use glimpse_contract::{Code, Grant, Key, Owner, Problem, VideoId, object};

use crate::auth::UploadToken;
use crate::context::ApiContext;
use crate::platform;
use crate::s3::sigv4::timestamp::format_rfc3339;
use crate::s3::{Condition, ListPage, ObjectSelection, Reservations};

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
    let Some(token) = context.caller.upload_token() else {
        return Ok(VideoId::new(context.now_ms, platform::random_bytes()));
    };
    if token.only.is_some() {
        return Err(Problem::new(Code::Unauthorized));
    }
    let ids = token.video_ids();
    let [first, .., _] = ids.as_slice() else { return check_single_id(ids[0], context).await };
    reserve_one_of(&ids, *first, token, context).await
}

async fn check_single_id(video: VideoId, context: &ApiContext<'_>) -> Result<VideoId, Problem> {
    let has_source = context.bucket().head_object(&context.source_key(video)).await?.is_some();
    if has_source || has_manifest(video, context).await? {
        return Err(Problem::new(Code::TokenUsedUp));
    }
    Ok(video)
}

async fn reserve_one_of(
    ids: &[VideoId],
    first: VideoId,
    token: &UploadToken,
    context: &ApiContext<'_>,
) -> Result<VideoId, Problem> {
    let (bucket, owner) = (context.bucket(), &context.caller.owner);
    let (sources, reservations) = join(
        bucket.list_objects(ObjectSelection::sources_of_same_ms(owner, first), ListPage::parse),
        bucket.list_objects(ObjectSelection::reservations_of_same_ms(owner, first), Reservations::parse),
    )
    .await;
    let (sources, reservations) = (sources?, reservations?);
    let uploaded: BTreeSet<VideoId> = sources.items.iter().map(|item| item.video).collect();
    if ids.iter().all(|video| uploaded.contains(video)) {
        return Err(Problem::new(Code::TokenUsedUp));
    }
    let candidates = reservation_candidates(ids, &uploaded, &reservations, LEASE_SECS, context.now_ms);
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
    Ok(context.bucket().get_manifest(video).await?.is_some())
}

/// Stores the file's name beside a multipart upload, since S3 does not return the metadata of unfinished uploads. It is
/// stored in the reservation. Best effort: failures are only logged.
pub(crate) async fn remember_name(grant: &Grant, context: &ApiContext<'_>) {
    let json = object! { "name" => &grant.name, "taken_at" => context.now_ms }.to_string();
    let key = reservation_key(&grant.owner, grant.video);
    let _ = context.bucket().put_json(&key, json, Condition::Always).await;
}

/// The stored name.
pub(crate) async fn load_name(video: VideoId, context: &ApiContext<'_>) -> Result<Option<String>, Problem> {
    let note = context.bucket().get_json(&reservation_key(&context.caller.owner, video)).await?;
    Ok(note.and_then(|note| note.get("name").as_str().map(str::to_owned)))
}

fn reservation_key(owner: &Owner, video: VideoId) -> Key {
    Key::Reservation { owner: owner.clone(), video }
}

/// Writes the reservation; `false` if another request was faster.
async fn reserve(
    candidate: &ReservationCandidate,
    token: &UploadToken,
    context: &ApiContext<'_>,
) -> Result<bool, Problem> {
    let key = reservation_key(&context.caller.owner, candidate.video);
    let condition = candidate.replaced_etag.as_deref().map_or(Condition::IfAbsent, Condition::IfMatch);
    let json = object! { "token" => &token.jti, "taken_at" => context.now_ms }.to_string();
    context.bucket().put_json(&key, json, condition).await
}

/// An id to try.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReservationCandidate {
    /// The id.
    video: VideoId,
    /// The ETag of the expired reservation to replace, if there is one.
    replaced_etag: Option<String>,
}

/// The available ids, in the order in which they are tried: those without a reservation, then those whose reservation
/// is older than `lease_secs` without an upload.
fn reservation_candidates(
    ids: &[VideoId],
    uploaded: &BTreeSet<VideoId>,
    reservations: &Reservations,
    lease_secs: u64,
    now_ms: u64,
) -> Vec<ReservationCandidate> {
    let expired_before = format_rfc3339(now_ms.saturating_sub(lease_secs * 1000));
    let not_uploaded = ids.iter().filter(|video| !uploaded.contains(video));
    let (mut free, mut expired) = (Vec::new(), Vec::new());
    for &video in not_uploaded {
        match reservations.0.get(&video) {
            None => free.push(ReservationCandidate { video, replaced_etag: None }),
            // Both are RFC 3339 in UTC with milliseconds, so they can be compared as strings.
            Some((reserved_at, etag)) if *reserved_at < expired_before => {
                expired.push(ReservationCandidate { video, replaced_etag: Some(etag.clone()) });
            }
            Some(_) => {}
        }
    }
    free.append(&mut expired);
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn skips_uploaded_and_reserved_ids() {
        let ids: Vec<_> = (0..4).map(|n| VideoId::new(1, [n; 10])).collect();
        let reservation = |age_secs: u64| (format_rfc3339(NOW_MS - age_secs * 1000), "\"e\"".to_owned());
        let reservations = Reservations(
            [(ids[0], reservation(5000)), (ids[1], reservation(5)), (ids[2], reservation(5000))].into(),
        );
        let candidates = reservation_candidates(&ids, &[ids[0]].into(), &reservations, 900, NOW_MS);
        assert_eq!(
            candidates,
            [
                ReservationCandidate { video: ids[3], replaced_etag: None },
                ReservationCandidate { video: ids[2], replaced_etag: Some("\"e\"".into()) }
            ]
        );
        assert_eq!(
            reservation_candidates(&ids, &ids.iter().copied().collect(), &reservations, 900, NOW_MS),
            []
        );
    }
}
