//! Request coalescing: of concurrent requests for the same image, the first one fetches it and the others wait for the
//! result. Pure.
//!
//! Requests of one isolate share memory and nothing else: the runtime does not let one request await the I/O of
//! another, and cancels a future that another request wakes
//! (<https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request>).
//! Waiting requests therefore poll here, each with its own timers.

/// The timeout of a fetch, in milliseconds: longer than the timeouts of its requests.
const LEADER_TIMEOUT_MS: u64 = 45_000;
/// How long the outcome is kept for waiting requests that have not polled again, in milliseconds.
const FOLLOWER_GRACE_MS: u64 = 1_000;
/// The most fetches and outcomes that are remembered. Beyond that, requests are not coalesced.
const MAX_ENTRIES: usize = 256;

/// The recent fetches and their outcomes.
#[derive(Debug)]
pub struct RequestCoalescer<T> {
    requests: Vec<InFlightRequest<T>>,
    next_id: u64,
}

#[derive(Debug)]
struct InFlightRequest<T> {
    key: String,
    id: u64,
    /// The number of waiting requests.
    followers: u32,
    outcome: Option<T>,
    /// When it expires, in Unix milliseconds.
    expires_at_ms: u64,
}

/// The role of a request for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role<T> {
    /// Fetch the image, and report the outcome with this number.
    Leader(u64),
    /// Poll again later: another request is fetching the image.
    Follower,
    /// The outcome is known.
    Cached(T),
}

impl<T> Default for RequestCoalescer<T> {
    fn default() -> Self {
        Self { requests: Vec::new(), next_id: 0 }
    }
}

impl<T: Clone> RequestCoalescer<T> {
    /// The role of a request for the image of this key. `is_waiting` if it has already been a follower.
    pub fn join(&mut self, key: &str, is_waiting: bool, now_ms: u64) -> Role<T> {
        self.requests.retain(|flight| now_ms < flight.expires_at_ms);
        let Some(request) = self.requests.iter_mut().find(|flight| flight.key == key) else {
            self.next_id += 1;
            if self.requests.len() == MAX_ENTRIES {
                // An outcome that only serves later requests is replaced by a fetch that others may join.
                let idle =
                    self.requests.iter().position(|flight| flight.outcome.is_some() && flight.followers == 0);
                idle.map(|index| self.requests.remove(index));
            }
            if self.requests.len() < MAX_ENTRIES {
                let (id, expires_at_ms) = (self.next_id, now_ms + LEADER_TIMEOUT_MS);
                self.requests.push(InFlightRequest {
                    key: key.to_owned(),
                    id,
                    followers: 0,
                    outcome: None,
                    expires_at_ms,
                });
            }
            return Role::Leader(self.next_id);
        };
        let Some(outcome) = &request.outcome else {
            request.followers += u32::from(!is_waiting);
            return Role::Follower;
        };
        let (cached, id) = (outcome.clone(), request.id);
        if is_waiting {
            request.followers = request.followers.saturating_sub(1);
            if request.followers == 0 && request.expires_at_ms <= now_ms + FOLLOWER_GRACE_MS {
                self.requests.retain(|flight| flight.id != id);
            }
        }
        Role::Cached(cached)
    }

    /// Removes the outcomes of the matching keys. A fetch in progress stays: other requests wait for it.
    pub fn invalidate(&mut self, matches: impl Fn(&str) -> bool) {
        self.requests.retain(|flight| flight.outcome.is_none() || !matches(&flight.key));
    }

    /// Records the outcome of a fetch, for the waiting requests and, for `ttl_ms`, for all later ones: images are
    /// cached elsewhere, but nothing else stores that an image is missing.
    pub fn complete(&mut self, id: u64, outcome: T, ttl_ms: u64, now_ms: u64) {
        self.requests.retain_mut(|flight| {
            if flight.id != id {
                return true;
            }
            let grace_ms = if flight.followers > 0 { FOLLOWER_GRACE_MS } else { 0 };
            flight.expires_at_ms = now_ms + ttl_ms.max(grace_ms);
            flight.outcome = Some(outcome.clone());
            flight.expires_at_ms > now_ms
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_request_waits_for_first() {
        let mut coalescer = RequestCoalescer::default();
        assert_eq!(coalescer.join("a", false, 0), Role::Leader(1));
        assert_eq!(coalescer.join("a", false, 1), Role::Follower);
        assert_eq!(coalescer.join("b", false, 1), Role::Leader(2), "another image is another fetch");
        assert_eq!(coalescer.join("a", false, 2), Role::Follower);
        coalescer.complete(1, "found", 0, 100);
        assert_eq!(coalescer.join("a", true, 110), Role::Cached("found"));
        assert_eq!(coalescer.join("a", true, 120), Role::Cached("found"));
        assert_eq!(
            coalescer.join("a", false, 121),
            Role::Leader(3),
            "all followers have the outcome: no bytes are kept"
        );
    }

    #[test]
    fn outcome_without_followers_is_dropped() {
        let mut coalescer = RequestCoalescer::default();
        assert_eq!(coalescer.join("a", false, 0), Role::Leader(1));
        coalescer.complete(1, "found", 0, 5);
        assert!(coalescer.requests.is_empty());
    }

    /// Row D6: a negative outcome is remembered for a moment only.
    #[test]
    fn negative_outcome_expires_after_ttl() {
        let mut coalescer = RequestCoalescer::default();
        assert_eq!(coalescer.join("a", false, 0), Role::Leader(1));
        coalescer.complete(1, "none", 5_000, 0);
        assert_eq!(coalescer.join("a", false, 4_999), Role::Cached("none"));
        assert_eq!(coalescer.join("a", false, 5_000), Role::Leader(2));
    }

    #[test]
    fn stale_leader_times_out() {
        let mut coalescer = RequestCoalescer::<&str>::default();
        assert_eq!(coalescer.join("a", false, 0), Role::Leader(1));
        assert_eq!(coalescer.join("a", true, LEADER_TIMEOUT_MS - 1), Role::Follower);
        assert_eq!(coalescer.join("a", true, LEADER_TIMEOUT_MS), Role::Leader(2));
        coalescer.complete(1, "too late", 9_000, LEADER_TIMEOUT_MS);
        assert_eq!(
            coalescer.join("a", true, LEADER_TIMEOUT_MS),
            Role::Follower,
            "the outcome of a lost leader is ignored"
        );
    }

    #[test]
    fn entries_are_bounded() {
        let mut coalescer = RequestCoalescer::<&str>::default();
        for number in 0..3 * MAX_ENTRIES {
            assert!(matches!(coalescer.join(&number.to_string(), false, 0), Role::Leader(_)));
        }
        assert_eq!(coalescer.requests.len(), MAX_ENTRIES);
    }

    #[test]
    fn new_leader_evicts_cached_outcome() {
        let mut coalescer = RequestCoalescer::default();
        for number in 0..MAX_ENTRIES as u64 {
            assert_eq!(coalescer.join(&number.to_string(), false, 0), Role::Leader(number + 1));
            coalescer.complete(number + 1, "none", 5_000, 0);
        }
        assert!(matches!(coalescer.join("new", false, 1), Role::Leader(_)));
        assert_eq!(coalescer.join("new", false, 1), Role::Follower, "the second request waits for the first");
        assert_eq!(coalescer.join("1", false, 1), Role::Cached("none"), "exactly one outcome was removed");
    }

    #[test]
    fn invalidated_outcomes_are_fetched_again() {
        let mut coalescer = RequestCoalescer::default();
        for (number, key) in [(1, "/a/x"), (2, "/b/x")] {
            assert_eq!(coalescer.join(key, false, 0), Role::Leader(number));
            coalescer.complete(number, "known", 5_000, 0);
        }
        coalescer.join("/a/y", false, 0);
        coalescer.invalidate(|key| key.contains("/a/"));
        assert_eq!(coalescer.join("/a/x", false, 1), Role::Leader(4));
        assert_eq!(coalescer.join("/b/x", false, 1), Role::Cached("known"));
        assert_eq!(coalescer.join("/a/y", false, 1), Role::Follower, "a fetch in progress stays");
    }
}
