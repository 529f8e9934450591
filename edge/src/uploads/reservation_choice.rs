//! Selects which video of an upload token the next upload becomes. Pure.
//!
//! The ids are derived from the token, and an upload cannot be replaced, so the number of ids is the number of videos.
//! A token for one video needs nothing more. With several, concurrent uploads must not get the same id: each reserves
//! its id in the bucket by a conditional write, and a reservation without an upload expires.

use std::collections::BTreeSet;

use glimpse_contract::VideoId;

use crate::s3::Reservations;
use crate::s3::sigv4::timestamp::format_rfc3339;

/// An id to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationCandidate {
    /// The id.
    pub video: VideoId,
    /// The ETag of the expired reservation to replace, if there is one.
    pub replaced_etag: Option<String>,
}

/// The available ids, in the order in which they are tried: those without a reservation, then those whose reservation
/// is older than `lease_secs` without an upload.
pub fn reservation_candidates(
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
