//! Decides which videos something was found out about a moment ago, so that repeated requests need no look into the bucket.
//! Pure.

use glimpse_contract::VideoId;

/// The most videos that are remembered. The oldest entry is removed first.
const MOST: usize = 256;

/// A bounded set of videos, each with the time until which it is known, in Unix milliseconds.
#[derive(Debug, Default)]
pub struct Recent(Vec<(VideoId, u64)>);

impl Recent {
    /// An empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Remembers the video for so many milliseconds.
    pub fn note(&mut self, video: VideoId, keep_ms: u64, now_ms: u64) {
        self.0.retain(|(known, until_ms)| *known != video && now_ms < *until_ms);
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push((video, now_ms + keep_ms));
    }

    /// Whether the video is in the set.
    pub fn has(&self, video: VideoId, now_ms: u64) -> bool {
        self.0.iter().any(|(known, until_ms)| *known == video && now_ms < *until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_is_remembered_for_as_long_as_is_said() {
        let (a, b) = (VideoId::new(1, [1; 10]), VideoId::new(1, [2; 10]));
        let mut recent = Recent::new();
        recent.note(a, 1_000, 0);
        recent.note(b, 5_000, 0);
        assert!(recent.has(a, 999) && !recent.has(a, 1_000) && recent.has(b, 4_999));
        recent.note(a, 1_000, 2_000);
        assert!(recent.has(a, 2_999) && recent.0.len() == 2);
        assert!(!recent.has(VideoId::new(1, [3; 10]), 0));
    }

    #[test]
    fn a_flood_of_ids_is_bounded() {
        let mut recent = Recent::new();
        let id = |number: usize| VideoId::new(number as u64, [1; 10]);
        for number in 0..3 * MOST {
            recent.note(id(number), 1_000, 0);
        }
        assert_eq!(recent.0.len(), MOST);
        assert!(recent.has(id(3 * MOST - 1), 0), "the last one is known");
        assert!(!recent.has(id(0), 0), "the oldest one was removed");
    }
}
