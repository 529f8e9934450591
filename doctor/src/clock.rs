//! Checks that the clocks of this machine, the Worker and S3 agree.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::edge::ClipGrant;
use crate::issue::Issue;
use crate::{CheckContext, CheckResult, fail};

/// Maximum difference between this machine's clock and the Worker's, in seconds: the Worker's tolerance for tokens.
const MAX_LOCAL_OFFSET_SECS: i64 = 60;
/// Maximum difference between S3's clock and the Worker's before it is reported, in seconds. S3 rejects requests beyond
/// 15 minutes, and an upload is signed for 15 minutes.
const MAX_BUCKET_OFFSET_SECS: i64 = 5 * 60;

/// Compares the Worker's clock with this machine's. The id of a video contains the time of its grant.
pub(crate) fn check_local(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    compare(grant.granted_at, (context.now)())
}

fn compare(edge_time: Timestamp, local_time: Timestamp) -> CheckResult<()> {
    let ahead_secs = local_time.as_second() - edge_time.as_second();
    let observed = format!("this machine's clock {}", describe_offset(ahead_secs, "the Worker's"));
    if ahead_secs.abs() > MAX_LOCAL_OFFSET_SECS {
        fail(Issue::OurClock, observed)
    } else {
        Ok(((), observed))
    }
}

/// Compares S3's clock, from the `Date` header of a response, with the Worker's.
pub(crate) fn check_bucket(date: &str, edge_time: Timestamp) -> CheckResult<()> {
    let Some(bucket_time) = DateTimeParser::new().parse_timestamp(date).ok() else {
        return Ok(((), "S3 sends no Date header".into()));
    };
    let ahead_secs = bucket_time.as_second() - edge_time.as_second();
    let observed = format!("its clock {}", describe_offset(ahead_secs, "the Worker's"));
    if ahead_secs.abs() > MAX_BUCKET_OFFSET_SECS {
        fail(Issue::BucketClock, observed)
    } else {
        Ok(((), observed))
    }
}

fn describe_offset(ahead_secs: i64, reference: &str) -> String {
    match ahead_secs {
        -2..=2 => format!("agrees with {reference}"),
        ahead if ahead > 0 => format!("is {ahead} s ahead of {reference}"),
        behind => format!("is {} s behind {reference}", -behind),
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
