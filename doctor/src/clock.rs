//! Decides which clocks are compared, and how far they may differ.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::edge::ClipGrant;
use crate::issue::Issue;
use crate::{CheckContext, CheckResult, fail};

/// How far tokens may be off, in seconds: what the Worker allows.
const MAX_LOCAL_OFFSET_SECS: i64 = 60;
/// How far S3's clock and the signer's may differ before it is worth a word, in seconds. S3 refuses beyond 15 minutes, and an
/// upload is signed for 15.
const MAX_BUCKET_OFFSET_SECS: i64 = 5 * 60;

/// The Worker's clock against this machine's: a video's id holds the time when it was granted.
pub(crate) fn check_local(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    compare(grant.granted_at, (context.now)())
}

fn compare(edge_time: Timestamp, local_time: Timestamp) -> CheckResult<()> {
    let ahead_secs = local_time.as_second() - edge_time.as_second();
    let observed = format!("this machine's clock is {}", describe_offset(ahead_secs, "the Worker's"));
    if ahead_secs.abs() > MAX_LOCAL_OFFSET_SECS {
        fail(Issue::OurClock, observed)
    } else {
        Ok(((), observed))
    }
}

/// S3's clock, by the `Date` of an answer, against the Worker's.
pub(crate) fn check_bucket(date: &str, edge_time: Timestamp) -> CheckResult<()> {
    let Some(bucket_time) = DateTimeParser::new().parse_timestamp(date).ok() else {
        return Ok(((), "S3 says no time".into()));
    };
    let ahead_secs = bucket_time.as_second() - edge_time.as_second();
    let observed = format!("its clock is {}", describe_offset(ahead_secs, "the Worker's"));
    if ahead_secs.abs() > MAX_BUCKET_OFFSET_SECS {
        fail(Issue::BucketClock, observed)
    } else {
        Ok(((), observed))
    }
}

fn describe_offset(ahead_secs: i64, reference: &str) -> String {
    match ahead_secs {
        -2..=2 => format!("{reference} too"),
        ahead if ahead > 0 => format!("{ahead} s ahead of {reference}"),
        behind => format!("{} s behind {reference}", -behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerates_small_clock_offsets() {
        let edges: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(compare(edges, at("2026-11-24T12:01:00Z")).is_ok());
        let finding = compare(edges, at("2026-11-24T11:58:00Z")).unwrap_err();
        assert_eq!(finding.issue, Issue::OurClock);
        assert_eq!(finding.observed, "this machine's clock is 120 s behind the Worker's");
        assert!(check_bucket("Tue, 24 Nov 2026 12:04:59 GMT", edges).is_ok());
        assert!(check_bucket("", edges).is_ok());
        let finding = check_bucket("Tue, 24 Nov 2026 13:00:00 GMT", edges).unwrap_err();
        assert_eq!(
            (finding.issue, finding.observed.as_str()),
            (Issue::BucketClock, "its clock is 3600 s ahead of the Worker's")
        );
    }
}
