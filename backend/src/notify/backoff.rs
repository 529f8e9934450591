//! Backoff of webhook deliveries: growing pauses between the attempts, for one day. Pure.

use std::time::UNIX_EPOCH;

/// The pauses between attempts, in seconds. Together they are one day. The number of attempts, which is one more, is
/// the `maxReceiveCount` of the notify queue.
pub const BACKOFF_SECS: [u64; 10] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 30_000];

/// The number of attempts before a webhook is moved to the dead-letter queue: `maxReceiveCount` in the notify queue's
/// redrive policy.
pub const MAX_ATTEMPTS: u32 = BACKOFF_SECS.len() as u32 + 1;

/// The longest delay that a receiver can request with `Retry-After`, in seconds.
const MAX_RETRY_AFTER_SECS: u64 = 3_600;

/// The delay in seconds that a receiver's `Retry-After` requests. RFC 9110, section 10.2.3, allows seconds or a date in
/// one of three formats. A date in the past means now; any other value is ignored.
pub fn retry_after_secs(text: &str, now_secs: u64) -> Option<u64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean a very long delay.
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date_secs = date.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Some(date_secs.saturating_sub(now_secs))
}

/// For how many seconds a message is hidden after its delivery number `receives` has failed. Up to a tenth is added,
/// from `random_byte`, so that messages that failed together are not retried together.
pub fn backoff_secs(receives: u32, retry_after_secs: Option<u64>, random_byte: u8) -> u64 {
    let index = receives.saturating_sub(1).min(BACKOFF_SECS.len() as u32 - 1);
    let backoff = BACKOFF_SECS[index as usize];
    let jitter = backoff * u64::from(random_byte) / 2_550;
    (backoff + jitter).max(retry_after_secs.unwrap_or(0).min(MAX_RETRY_AFTER_SECS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::sqs::MAX_VISIBILITY_TIMEOUT_SECS;

    #[test]
    fn backoff_grows_for_a_day() {
        assert!(BACKOFF_SECS.is_sorted_by(|one, next| one < next));
        let day: u64 = BACKOFF_SECS.iter().sum();
        assert!((86_400..90_000).contains(&day), "{day}");
        assert!(BACKOFF_SECS.iter().all(|pause| pause + pause / 10 <= MAX_VISIBILITY_TIMEOUT_SECS));
        assert_eq!(MAX_ATTEMPTS, 11);
    }

    #[test]
    fn parses_retry_after_seconds_or_date() {
        // 1994-11-06T08:49:37Z, the example of RFC 9110 section 5.6.7.
        const NOW: u64 = 784_111_777 - 90;
        for (text, expected) in [
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("99999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(90)),
            ("Sun Nov  6 08:49:37 1994", Some(90)),
            ("Sun, 06 Nov 1994 08:48:07 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Fri, 06 Nov 2099 08:49:37 GMT", Some(4_097_638_177 - NOW)),
            ("", None),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
            ("1994-11-06T08:49:37Z", None),
            ("Sun, 06 Nov 1994 08:49:37 +0200", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(retry_after_secs(text, NOW), expected, "{text}");
        }
    }

    #[test]
    fn backoff_has_jitter_and_honors_retry_after() {
        for (receives, retry_after, dice, expected) in [
            (0, None, 0, 5),
            (1, None, 0, 5),
            (2, None, 0, 30),
            (2, None, 255, 33),
            (4, None, 127, 629),
            (10, None, 255, 33_000),
            (11, None, 0, 30_000),
            (1_000, None, 0, 30_000),
            (1, Some(60), 0, 60),
            (1, Some(u64::MAX), 0, 3_600),
            (10, Some(60), 0, 30_000),
        ] {
            assert_eq!(
                backoff_secs(receives, retry_after, dice),
                expected,
                "{receives} {retry_after:?} {dice}"
            );
        }
    }
}
