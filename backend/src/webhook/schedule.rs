//! Decides when a webhook that was not taken is tried again: after pauses that grow, for a day. Pure.

/// The pauses between one try and the next, in seconds. Together they are a day; the number of tries, one more, is the
/// notify queue's `maxReceiveCount`.
pub const PAUSES_SECS: [u64; 10] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 30_000];

/// How often a webhook is tried before it is a dead letter: `maxReceiveCount` of the notify queue's redrive policy.
pub const MAX_TRIES: u32 = PAUSES_SECS.len() as u32 + 1;

/// The longest that a receiver may put us off by `Retry-After`, in seconds.
const MAX_RETRY_AFTER_SECS: u64 = 3_600;

/// For how long, in seconds, a message is hidden whose `receives`th delivery failed. A tenth at the most comes on top,
/// by `dice`, so that messages that failed together do not come back together.
pub fn pause_secs(receives: u32, retry_after_secs: Option<u64>, dice: u8) -> u64 {
    let place = receives.saturating_sub(1).min(PAUSES_SECS.len() as u32 - 1);
    let pause = PAUSES_SECS[place as usize];
    let jitter = pause * u64::from(dice) / 2_550;
    (pause + jitter).max(retry_after_secs.unwrap_or(0).min(MAX_RETRY_AFTER_SECS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::sqs::MAX_HIDDEN_SECS;

    #[test]
    fn pauses_grow_for_a_day() {
        assert!(PAUSES_SECS.is_sorted_by(|one, next| one < next));
        let day: u64 = PAUSES_SECS.iter().sum();
        assert!((86_400..90_000).contains(&day), "{day}");
        assert!(PAUSES_SECS.iter().all(|pause| pause + pause / 10 <= MAX_HIDDEN_SECS));
        assert_eq!(MAX_TRIES, 11);
    }

    #[test]
    fn a_pause_is_spread_and_puts_up_with_the_receivers_wish() {
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
                pause_secs(receives, retry_after, dice),
                expected,
                "{receives} {retry_after:?} {dice}"
            );
        }
    }
}
