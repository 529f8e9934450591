//! Decides which clocks are compared, and how far they may differ.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::edge::Grant;
use crate::issue::Ill;
use crate::{Found, Visit, ill};

/// How far tokens may be off, in seconds: what the Worker allows.
const OURS_SECS: i64 = 60;
/// How far S3's clock and the signer's may differ before it is worth a word, in seconds. S3 refuses beyond 15 minutes, and an
/// upload is signed for 15.
const BUCKETS_SECS: i64 = 5 * 60;

/// The Worker's clock against this machine's: a video's id holds the time when it was granted.
pub(crate) fn ours(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    compare(grant.at, (visit.now)())
}

fn compare(edges: Timestamp, ours: Timestamp) -> Found<()> {
    let ahead_secs = ours.as_second() - edges.as_second();
    let seen = format!("this machine's clock is {}", told(ahead_secs, "the Worker's"));
    if ahead_secs.abs() > OURS_SECS { ill(Ill::OurClock, seen) } else { Ok(((), seen)) }
}

/// S3's clock, by the `Date` of an answer, against the Worker's.
pub(crate) fn buckets(date: &str, edges: Timestamp) -> Found<()> {
    let Some(buckets) = DateTimeParser::new().parse_timestamp(date).ok() else {
        return Ok(((), "S3 says no time".into()));
    };
    let ahead_secs = buckets.as_second() - edges.as_second();
    let seen = format!("its clock is {}", told(ahead_secs, "the Worker's"));
    if ahead_secs.abs() > BUCKETS_SECS { ill(Ill::BucketClock, seen) } else { Ok(((), seen)) }
}

fn told(ahead_secs: i64, whose: &str) -> String {
    match ahead_secs {
        -2..=2 => format!("{whose} too"),
        ahead if ahead > 0 => format!("{ahead} s ahead of {whose}"),
        behind => format!("{} s behind {whose}", -behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_a_little() {
        let edges: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(compare(edges, at("2026-11-24T12:01:00Z")).is_ok());
        let finding = compare(edges, at("2026-11-24T11:58:00Z")).unwrap_err();
        assert_eq!(finding.ill, Ill::OurClock);
        assert_eq!(finding.seen, "this machine's clock is 120 s behind the Worker's");
        assert!(buckets("Tue, 24 Nov 2026 12:04:59 GMT", edges).is_ok());
        assert!(buckets("", edges).is_ok());
        let finding = buckets("Tue, 24 Nov 2026 13:00:00 GMT", edges).unwrap_err();
        assert_eq!(
            (finding.ill, finding.seen.as_str()),
            (Ill::BucketClock, "its clock is 3600 s ahead of the Worker's")
        );
    }
}
