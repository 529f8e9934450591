//! When a failed request is sent again. Pure: randomness is an argument.

use std::time::Duration;

/// How often a request is sent, at most. With the longest delays, the attempts take two minutes.
pub(crate) const MAX_ATTEMPTS: u32 = 9;
/// Delay after the first failure.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// Longest delay, unless the response asks for a longer one.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Longest delay that a response can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(2);

/// The delay before the attempt after that number of failures: it doubles with each failure, and half of it is random,
/// so that several clients do not return at once. `random` is from 0 to 1.
pub(crate) fn delay(failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let backoff = doubled.min(MAX_DELAY).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    retry_after.map_or(backoff, |requested| requested.min(MAX_RETRY_AFTER).max(backoff))
}

/// Whether a response with this status may be different when the request is sent again.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502..=504)
}

/// The value of `Retry-After` in seconds, RFC 9110 section 10.2.3. A date is ignored.
pub(crate) fn parse_retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_its_maximum() {
        let ms = |failures, random| delay(failures, None, random).as_millis();
        assert_eq!([1, 2, 3, 4].map(|failures| ms(failures, 1.0)), [500, 1000, 2000, 4000]);
        assert_eq!([1, 2].map(|failures| ms(failures, 0.0)), [250, 500]);
        assert_eq!((ms(7, 1.0), ms(60, 1.0)), (30_000, 30_000));
    }

    #[test]
    fn delay_honors_retry_after() {
        let secs = |requested| delay(1, Some(Duration::from_secs(requested)), 1.0).as_secs_f64();
        assert_eq!((secs(10), secs(0), secs(86_400)), (10.0, 0.5, 120.0));
        assert_eq!(parse_retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn client_errors_are_permanent() {
        for status in [400, 401, 403, 404, 409, 412, 501] {
            assert!(!is_transient(status), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(is_transient(status), "{status}");
        }
    }

    #[test]
    fn attempts_last_about_two_minutes() {
        let total: Duration = (1..MAX_ATTEMPTS).map(|failures| delay(failures, None, 1.0)).sum();
        assert!((60..150).contains(&total.as_secs()), "{total:?}");
    }
}
