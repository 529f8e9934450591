//! Decides who fetches a picture that many want at once: the first; the others wait for what it finds. Pure.
//!
//! Requests of one isolate share memory and nothing else: what one waits for, the runtime lets no other wait for, and a
//! future that is woken out of another request is cut off
//! (<https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request>).
//! So those that wait look here again and again, each by timers of its own.

/// How long a flight may take before it counts as lost, in milliseconds: longer than its requests may.
const LOST_MS: u64 = 45_000;
/// How long the outcome is kept for those that wait and have not looked again, in milliseconds.
const LINGER_MS: u64 = 1_000;
/// The most flights and outcomes that are remembered. Beyond it, everybody flies alone.
const MOST: usize = 256;

/// What has become of the pictures that somebody asked for of late.
#[derive(Debug)]
pub struct Flights<T> {
    all: Vec<Flight<T>>,
    next: u64,
}

#[derive(Debug)]
struct Flight<T> {
    key: String,
    number: u64,
    /// How many wait for it.
    waiting: u32,
    outcome: Option<T>,
    /// When it is forgotten, in Unix milliseconds.
    until_ms: u64,
}

/// What somebody is to do who wants a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role<T> {
    /// Fetch it, and say by this number what came of it.
    Lead(u64),
    /// Look again later: somebody else fetches it.
    Wait,
    /// Nothing: this came of it.
    Known(T),
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { all: Vec::new(), next: 0 }
    }
}

impl<T: Clone> Flights<T> {
    /// What somebody is to do who wants the picture of this key. `is_waiting` if they were told to wait before.
    pub fn join(&mut self, key: &str, is_waiting: bool, now_ms: u64) -> Role<T> {
        self.all.retain(|flight| now_ms < flight.until_ms);
        let Some(flight) = self.all.iter_mut().find(|flight| flight.key == key) else {
            self.next += 1;
            if self.all.len() == MOST {
                // An outcome that only waits for later requests gives way to a flight that others may join.
                let idle = self.all.iter().position(|flight| flight.outcome.is_some() && flight.waiting == 0);
                idle.map(|place| self.all.remove(place));
            }
            if self.all.len() < MOST {
                let (number, until_ms) = (self.next, now_ms + LOST_MS);
                self.all.push(Flight { key: key.to_owned(), number, waiting: 0, outcome: None, until_ms });
            }
            return Role::Lead(self.next);
        };
        let Some(outcome) = &flight.outcome else {
            flight.waiting += u32::from(!is_waiting);
            return Role::Wait;
        };
        let (known, number) = (outcome.clone(), flight.number);
        if is_waiting {
            flight.waiting = flight.waiting.saturating_sub(1);
            if flight.waiting == 0 && flight.until_ms <= now_ms + LINGER_MS {
                self.all.retain(|flight| flight.number != number);
            }
        }
        Role::Known(known)
    }

    /// Removes the outcomes of the keys that match. A flight that has not ended stays: others wait for it.
    pub fn forget(&mut self, matches: impl Fn(&str) -> bool) {
        self.all.retain(|flight| flight.outcome.is_none() || !matches(&flight.key));
    }

    /// What came of a flight. It is told to those that wait, and for `keep_ms` to everybody: pictures lie in caches, but
    /// that there is none is kept nowhere else.
    pub fn end(&mut self, number: u64, outcome: T, keep_ms: u64, now_ms: u64) {
        self.all.retain_mut(|flight| {
            if flight.number != number {
                return true;
            }
            let linger_ms = if flight.waiting > 0 { LINGER_MS } else { 0 };
            flight.until_ms = now_ms + keep_ms.max(linger_ms);
            flight.outcome = Some(outcome.clone());
            flight.until_ms > now_ms
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flies_and_the_others_wait() {
        let mut flights = Flights::default();
        assert_eq!(flights.join("a", false, 0), Role::Lead(1));
        assert_eq!(flights.join("a", false, 1), Role::Wait);
        assert_eq!(flights.join("b", false, 1), Role::Lead(2), "another picture is another flight");
        assert_eq!(flights.join("a", false, 2), Role::Wait);
        flights.end(1, "found", 0, 100);
        assert_eq!(flights.join("a", true, 110), Role::Known("found"));
        assert_eq!(flights.join("a", true, 120), Role::Known("found"));
        assert_eq!(
            flights.join("a", false, 121),
            Role::Lead(3),
            "all that waited know it: no bytes are kept"
        );
    }

    #[test]
    fn nobody_waits_and_nothing_is_kept() {
        let mut flights = Flights::default();
        assert_eq!(flights.join("a", false, 0), Role::Lead(1));
        flights.end(1, "found", 0, 5);
        assert!(flights.all.is_empty());
    }

    /// Row D6: what is negative is known for a moment, and no longer.
    #[test]
    fn what_is_not_there_is_remembered_for_as_long_as_is_said() {
        let mut flights = Flights::default();
        assert_eq!(flights.join("a", false, 0), Role::Lead(1));
        flights.end(1, "none", 5_000, 0);
        assert_eq!(flights.join("a", false, 4_999), Role::Known("none"));
        assert_eq!(flights.join("a", false, 5_000), Role::Lead(2));
    }

    #[test]
    fn a_flight_that_never_ends_is_given_up() {
        let mut flights = Flights::<&str>::default();
        assert_eq!(flights.join("a", false, 0), Role::Lead(1));
        assert_eq!(flights.join("a", true, LOST_MS - 1), Role::Wait);
        assert_eq!(flights.join("a", true, LOST_MS), Role::Lead(2));
        flights.end(1, "too late", 9_000, LOST_MS);
        assert_eq!(flights.join("a", true, LOST_MS), Role::Wait, "whoever is lost tells nobody");
    }

    #[test]
    fn a_flood_of_keys_is_not_remembered() {
        let mut flights = Flights::<&str>::default();
        for number in 0..3 * MOST {
            assert!(matches!(flights.join(&number.to_string(), false, 0), Role::Lead(_)));
        }
        assert_eq!(flights.all.len(), MOST);
    }

    #[test]
    fn kept_outcomes_do_not_keep_new_flights_out() {
        let mut flights = Flights::default();
        for number in 0..MOST as u64 {
            assert_eq!(flights.join(&number.to_string(), false, 0), Role::Lead(number + 1));
            flights.end(number + 1, "none", 5_000, 0);
        }
        assert!(matches!(flights.join("new", false, 1), Role::Lead(_)));
        assert_eq!(flights.join("new", false, 1), Role::Wait, "the second request waits for the first");
        assert_eq!(flights.join("1", false, 1), Role::Known("none"), "one outcome was removed, and no more");
    }

    #[test]
    fn forgotten_outcomes_are_fetched_again() {
        let mut flights = Flights::default();
        for (number, key) in [(1, "/a/x"), (2, "/b/x")] {
            assert_eq!(flights.join(key, false, 0), Role::Lead(number));
            flights.end(number, "known", 5_000, 0);
        }
        flights.join("/a/y", false, 0);
        flights.forget(|key| key.contains("/a/"));
        assert_eq!(flights.join("/a/x", false, 1), Role::Lead(4));
        assert_eq!(flights.join("/b/x", false, 1), Role::Known("known"));
        assert_eq!(flights.join("/a/y", false, 1), Role::Wait, "a flight that has not ended stays");
    }
}
