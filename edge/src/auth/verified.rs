//! Tokens that this isolate has verified, remembered until they expire, for some minutes at most. Pure.
//!
//! Only the holder of a valid token causes an entry, so other texts cost no memory. An entry is found by the SHA-256 of
//! the whole token, its signature included, so that no other text has it. Each kind of token has a memory of its own:
//! what was verified as one kind is unknown as another.

use sha2::{Digest as _, Sha256};

use super::SKEW_SECS;

/// How long a verification is remembered, in milliseconds: less than a key set is used before it is fetched again.
const MAX_AGE_MS: u64 = 5 * 60 * 1000;
/// How many tokens of one kind are remembered. What is kept of one has some hundred bytes, and never more than the token.
const MAX_ENTRIES: usize = 512;

/// The SHA-256 of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of this token.
    pub(crate) fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

/// A token that was verified.
#[derive(Debug, Clone)]
struct Entry<T> {
    digest: TokenDigest,
    holder: T,
    /// The version of the keys that verified it.
    keys: u64,
    /// When it was verified, in Unix milliseconds. The token may not have been valid before.
    from_ms: u64,
    /// When the entry ends, in Unix milliseconds.
    until_ms: u64,
}

/// The remembered tokens of one kind, with what each gives access to.
#[derive(Debug, Clone)]
pub(crate) struct VerifiedTokens<T> {
    /// In the order of their digests.
    entries: Vec<Entry<T>>,
}

impl<T: Clone> VerifiedTokens<T> {
    /// No tokens.
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// What a token gives access to, if these keys have verified it and it is still valid.
    pub(crate) fn get(&self, digest: TokenDigest, keys: u64, now_ms: u64) -> Option<T> {
        let place = self.find(digest).ok()?;
        let entry = &self.entries[place];
        let is_valid = entry.keys == keys && (entry.from_ms..entry.until_ms).contains(&now_ms);
        is_valid.then(|| entry.holder.clone())
    }

    /// Remembers a token that these keys have just verified, and that expires at this time, in Unix seconds. If there
    /// is no space, the entry that would end first is dropped.
    pub(crate) fn insert(&mut self, digest: TokenDigest, holder: T, keys: u64, expires_at: u64, now_ms: u64) {
        let expires_at_ms = expires_at.saturating_add(SKEW_SECS).saturating_mul(1000);
        let until_ms = expires_at_ms.min(now_ms.saturating_add(MAX_AGE_MS));
        let entry = Entry { digest, holder, keys, from_ms: now_ms, until_ms };
        if let Ok(place) = self.find(digest) {
            self.entries[place] = entry;
            return;
        }
        if self.entries.len() == MAX_ENTRIES {
            let ends = self.entries.iter().enumerate().map(|(place, entry)| (entry.until_ms, place));
            if let Some((_, first)) = ends.min() {
                self.entries.remove(first);
            }
        }
        if let Err(place) = self.find(digest) {
            self.entries.insert(place, entry);
        }
    }

    fn find(&self, digest: TokenDigest) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.digest.cmp(&digest))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;
    const NOW: u64 = NOW_MS / 1000;

    fn remember(expires_at: u64) -> (VerifiedTokens<&'static str>, TokenDigest) {
        let (mut tokens, digest) = (VerifiedTokens::new(), TokenDigest::new("a.b.c"));
        tokens.insert(digest, "alice", 1, expires_at, NOW_MS);
        (tokens, digest)
    }

    #[test]
    fn token_is_known_until_its_end() {
        let (tokens, digest) = remember(NOW + 100);
        let end_ms = (NOW + 100 + SKEW_SECS) * 1000;
        for (now_ms, expected) in [
            (NOW_MS, Some("alice")),
            (end_ms - 1, Some("alice")),
            (end_ms, None),
            (NOW_MS - 1, None),
            (u64::MAX, None),
        ] {
            assert_eq!(tokens.get(digest, 1, now_ms), expected, "{now_ms}");
        }
    }

    #[test]
    fn token_is_known_for_five_minutes_at_most() {
        for expires_at in [NOW + 3600, u64::MAX] {
            let (tokens, digest) = remember(expires_at);
            assert_eq!(tokens.get(digest, 1, NOW_MS + MAX_AGE_MS - 1), Some("alice"));
            assert_eq!(tokens.get(digest, 1, NOW_MS + MAX_AGE_MS), None);
        }
    }

    #[test]
    fn token_is_unknown_to_other_keys() {
        let (mut tokens, digest) = remember(NOW + 100);
        assert_eq!(tokens.get(digest, 2, NOW_MS), None);
        tokens.insert(digest, "alice", 2, NOW + 100, NOW_MS + 1);
        assert_eq!(
            (tokens.get(digest, 1, NOW_MS + 1), tokens.get(digest, 2, NOW_MS + 1)),
            (None, Some("alice"))
        );
    }

    #[test]
    fn other_spelling_of_token_is_unknown() {
        let (tokens, _) = remember(NOW + 100);
        for other in ["a.b.d", "a.b.c ", "a.b.", "a.b.c=", "A.b.c", ""] {
            assert_eq!(tokens.get(TokenDigest::new(other), 1, NOW_MS), None, "{other}");
        }
    }

    #[test]
    fn number_of_tokens_is_bounded() {
        let mut tokens = VerifiedTokens::new();
        let digest = |number: usize| TokenDigest::new(&number.to_string());
        for number in 0..3 * MAX_ENTRIES {
            // The first one ends last.
            let expires_at = if number == 0 { NOW + 200 } else { NOW + 100 };
            tokens.insert(digest(number), number, 1, expires_at, NOW_MS);
            assert!(tokens.entries.len() <= MAX_ENTRIES);
        }
        assert_eq!(tokens.get(digest(0), 1, NOW_MS), Some(0));
        let last = 3 * MAX_ENTRIES - 1;
        assert_eq!(tokens.get(digest(last), 1, NOW_MS), Some(last));
        let known = (0..=last).filter(|number| tokens.get(digest(*number), 1, NOW_MS).is_some());
        assert_eq!(known.count(), MAX_ENTRIES);
    }

    proptest! {
        /// A token that is known is valid, and has its own holder, whatever was remembered before.
        #[test]
        fn holder_is_that_of_the_token(
            steps in prop::collection::vec((0_u64..40, 0_u64..3, 0_u64..400, 0_u64..60_000), 1..80),
        ) {
            let (mut tokens, mut valid) = (VerifiedTokens::new(), HashMap::new());
            let mut now_ms = NOW_MS;
            for (user, keys, lifetime, pause_ms) in steps {
                now_ms += pause_ms;
                let digest = TokenDigest::new(&user.to_string());
                tokens.insert(digest, user, keys, now_ms / 1000 + lifetime, now_ms);
                let end_ms = (now_ms / 1000 + lifetime + SKEW_SECS) * 1000;
                valid.insert(user, (keys, end_ms.min(now_ms + MAX_AGE_MS)));
                for user in 0..40 {
                    for keys in 0..3 {
                        let found = tokens.get(TokenDigest::new(&user.to_string()), keys, now_ms);
                        let expected = valid.get(&user).filter(|(by, end_ms)| *by == keys && now_ms < *end_ms);
                        prop_assert_eq!(found, expected.map(|_| user));
                    }
                }
            }
        }
    }
}
