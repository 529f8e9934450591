//! Decides who fetches a picture that many want at once: the first; the others wait for what it finds. Pure.
//!
//! Requests of one isolate share memory and nothing else: what one waits for, the runtime lets no other wait for, and a
//! future that is woken out of another request is cut off
//! (<https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request>).
//! So those that wait look here again and again, each by timers of its own.

/// How long a flight may take before it counts as lost, in milliseconds: longer than its requests may.
const LEADER_TIMEOUT_MS: u64 = 45_000;
/// How long the outcome is kept for those that wait and have not looked again, in milliseconds.
const FOLLOWER_GRACE_MS: u64 = 1_000;
/// The most flights and outcomes that are remembered. Beyond it, everybody flies alone.
const MAX_ENTRIES: usize = 256;

/// What has become of the pictures that somebody asked for of late.
#[derive(Debug)]
pub struct RequestCoalescer<T> {
    requests: Vec<InFlightRequest<T>>,
    next_id: u64,
}

#[derive(Debug)]
struct InFlightRequest<T> {
    key: String,
    id: u64,
    /// How many wait for it.
    followers: u32,
    outcome: Option<T>,
    /// When it is forgotten, in Unix milliseconds.
    expires_at_ms: u64,
}

/// What somebody is to do who wants a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role<T> {
    /// Fetch it, and say by this number what came of it.
    Leader(u64),
    /// Look again later: somebody else fetches it.
    Follower,
    /// Nothing: this came of it.
    Cached(T),
}

impl<T> Default for RequestCoalescer<T> {
    fn default() -> Self {
        Self { requests: Vec::new(), next_id: 0 }
    }
}

impl<T: Clone> RequestCoalescer<T> {
    /// What somebody is to do who wants the picture of this key. `is_waiting` if they were told to wait before.
    pub fn join(&mut self, key: &str, is_waiting: bool, now_ms: u64) -> Role<T> {
        self.requests.retain(|flight| now_ms < flight.expires_at_ms);
        let Some(request) = self.requests.iter_mut().find(|flight| flight.key == key) else {
            self.next_id += 1;
            if self.requests.len() == MAX_ENTRIES {
                // An outcome that only waits for later requests gives way to a flight that others may join.
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

    /// Removes the outcomes of the keys that match. A flight that has not ended stays: others wait for it.
    pub fn invalidate(&mut self, matches: impl Fn(&str) -> bool) {
        self.requests.retain(|flight| flight.outcome.is_none() || !matches(&flight.key));
    }

    /// What came of a flight. It is told to those that wait, and for `keep_ms` to everybody: pictures lie in caches, but
    /// that there is none is kept nowhere else.
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
        assert_eq!(coalescer.join("b", false, 1), Role::Leader(2), "another picture is another flight");
        assert_eq!(coalescer.join("a", false, 2), Role::Follower);
        coalescer.complete(1, "found", 0, 100);
        assert_eq!(coalescer.join("a", true, 110), Role::Cached("found"));
        assert_eq!(coalescer.join("a", true, 120), Role::Cached("found"));
        assert_eq!(
            coalescer.join("a", false, 121),
            Role::Leader(3),
            "all that waited know it: no bytes are kept"
        );
    }

    #[test]
    fn outcome_without_followers_is_dropped() {
        let mut coalescer = RequestCoalescer::default();
        assert_eq!(coalescer.join("a", false, 0), Role::Leader(1));
        coalescer.complete(1, "found", 0, 5);
        assert!(coalescer.requests.is_empty());
    }

    /// Row D6: what is negative is known for a moment, and no longer.
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
            "whoever is lost tells nobody"
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
        assert_eq!(
            coalescer.join("1", false, 1),
            Role::Cached("none"),
            "one outcome was removed, and no more"
        );
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
        assert_eq!(coalescer.join("/a/y", false, 1), Role::Follower, "a flight that has not ended stays");
    }
}
