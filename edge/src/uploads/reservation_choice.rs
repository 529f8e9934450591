//! Decides which of its videos the next upload under a token becomes. Pure.
//!
//! The ids follow from the token, and an upload cannot be replaced, so the number of ids is the number of videos. A
//! token for one video needs nothing more. With several, uploads that begin side by side must not get the same id: each
//! marks its own in the bucket by a conditional write, and a mark whose upload never came is free again later.

use std::collections::BTreeSet;

use glimpse_contract::VideoId;

use crate::s3::Slots;
use crate::s3::sigv4::timestamp::iso_date;

/// One id to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The id.
    pub video: VideoId,
    /// The ETag of the mark that is to be replaced, if an old one is there.
    pub replaces: Option<String>,
}

/// The ids that may be taken now, in the order in which they are tried: those that nobody has marked, then those whose
/// mark is older than `lease_secs` although nothing was uploaded.
pub fn choose(
    ids: &[VideoId],
    uploaded: &BTreeSet<VideoId>,
    marked: &Slots,
    lease_secs: u64,
    now_ms: u64,
) -> Vec<Choice> {
    let lapsed_before = iso_date(now_ms.saturating_sub(lease_secs * 1000));
    let open = ids.iter().filter(|video| !uploaded.contains(video));
    let (mut fresh, mut lapsed) = (Vec::new(), Vec::new());
    for &video in open {
        match marked.0.get(&video) {
            None => fresh.push(Choice { video, replaces: None }),
            // Both are RFC 3339 in UTC with milliseconds, so their order is that of their texts.
            Some((at, etag)) if *at < lapsed_before => {
                lapsed.push(Choice { video, replaces: Some(etag.clone()) });
            }
            Some(_) => {}
        }
    }
    fresh.append(&mut lapsed);
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn what_is_uploaded_or_marked_is_not_given_out_again() {
        let ids: Vec<_> = (0..4).map(|n| VideoId::new(1, [n; 10])).collect();
        let mark = |age_secs: u64| (iso_date(NOW_MS - age_secs * 1000), "\"e\"".to_owned());
        let marked = Slots([(ids[0], mark(5000)), (ids[1], mark(5)), (ids[2], mark(5000))].into());
        let chosen = choose(&ids, &[ids[0]].into(), &marked, 900, NOW_MS);
        assert_eq!(
            chosen,
            [
                Choice { video: ids[3], replaces: None },
                Choice { video: ids[2], replaces: Some("\"e\"".into()) }
            ]
        );
        assert_eq!(choose(&ids, &ids.iter().copied().collect(), &marked, 900, NOW_MS), []);
    }
}
