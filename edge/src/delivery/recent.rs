//! A bounded set of videos with an expiry each: recent results that save repeated reads of the bucket. Pure.

use glimpse_contract::VideoId;

/// The most videos in a set. The oldest entry is removed first.
const MAX_VIDEOS: usize = 256;

/// A bounded set of videos, each with its expiry in Unix milliseconds.
#[derive(Debug, Default)]
pub struct TtlSet(Vec<(VideoId, u64)>);

impl TtlSet {
    /// An empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds the video for this many milliseconds.
    pub fn insert(&mut self, video: VideoId, ttl_ms: u64, now_ms: u64) {
        self.0.retain(|(known, until_ms)| *known != video && now_ms < *until_ms);
        if self.0.len() == MAX_VIDEOS {
            self.0.remove(0);
        }
        self.0.push((video, now_ms + ttl_ms));
    }

    /// Whether the video is in the set.
    pub fn contains(&self, video: VideoId, now_ms: u64) -> bool {
        self.0.iter().any(|(known, until_ms)| *known == video && now_ms < *until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_expire_after_ttl() {
        let (a, b) = (VideoId::new(1, [1; 10]), VideoId::new(1, [2; 10]));
        let mut recent = TtlSet::new();
        recent.insert(a, 1_000, 0);
        recent.insert(b, 5_000, 0);
        assert!(recent.contains(a, 999) && !recent.contains(a, 1_000) && recent.contains(b, 4_999));
        recent.insert(a, 1_000, 2_000);
        assert!(recent.contains(a, 2_999) && recent.0.len() == 2);
        assert!(!recent.contains(VideoId::new(1, [3; 10]), 0));
    }

    #[test]
    fn evicts_oldest_when_full() {
        let mut recent = TtlSet::new();
        let id = |number: usize| VideoId::new(number as u64, [1; 10]);
        for number in 0..3 * MAX_VIDEOS {
            recent.insert(id(number), 1_000, 0);
        }
        assert_eq!(recent.0.len(), MAX_VIDEOS);
        assert!(recent.contains(id(3 * MAX_VIDEOS - 1), 0), "the last one is present");
        assert!(!recent.contains(id(0), 0), "the oldest one was removed");
    }
}
