//! Decides which bytes of a source are kept in memory for the next reader. Pure.
//!
//! Every child opens the source anew: it reads the index again, and of a small file all of it. What passed by once is
//! therefore kept where it is likely to be asked for again: the whole of a small source, head and tail of a larger
//! one, where containers have their index. Nothing is read for the cache's own sake.

use std::ops::Range;

use bytes::Bytes;

/// A source up to this length is kept as a whole.
const WHOLE_BYTES: u64 = 64 * 1024 * 1024;
/// How much is kept of the beginning, and of the end, of a larger one: an index of hours of video fits.
const END_BYTES: u64 = 4 * 1024 * 1024;
/// The most that is handed out at once.
const PIECE_BYTES: u64 = 64 * 1024;
/// A read goes on through a kept part smaller than this: two requests would cost more than its bytes.
const ISLAND_BYTES: u64 = 256 * 1024;

/// What was kept of one source.
#[derive(Debug)]
pub(super) struct Cache {
    windows: Vec<Window>,
}

impl Cache {
    /// An empty cache of a source of this length.
    pub(super) fn new(total: u64) -> Self {
        let windows = if total <= WHOLE_BYTES {
            vec![Window::new(0..total)]
        } else {
            vec![Window::new(0..END_BYTES), Window::new(total - END_BYTES..total)]
        };
        Self { windows }
    }

    /// Keeps what of these bytes, which lie at `at`, is worth it.
    pub(super) fn keep(&mut self, at: u64, bytes: &[u8]) {
        for window in &mut self.windows {
            window.keep(at, bytes);
        }
    }

    /// Some of the kept bytes from `range.start` on, inside of `range`; none if that first one is not kept.
    pub(super) fn piece(&self, range: &Range<u64>) -> Option<Bytes> {
        let end = range.end.min(range.start.saturating_add(PIECE_BYTES));
        self.windows.iter().find_map(|window| window.piece(range.start..end))
    }

    /// Where a read of `range` may end, since what follows is kept.
    pub(super) fn gap_end(&self, range: &Range<u64>) -> u64 {
        let islands = self.windows.iter().flat_map(|window| &window.kept);
        islands
            .filter(|island| island.start > range.start && island.start < range.end)
            .filter(|island| island.end >= range.end || island.end - island.start >= ISLAND_BYTES)
            .map(|island| island.start)
            .min()
            .unwrap_or(range.end)
    }
}

/// One kept part of the source.
#[derive(Debug)]
struct Window {
    span: Range<u64>,
    /// As long as `span` once anything is kept.
    bytes: Vec<u8>,
    /// What of it is there: sorted, apart from each other.
    kept: Vec<Range<u64>>,
}

impl Window {
    fn new(span: Range<u64>) -> Self {
        Self { span, bytes: Vec::new(), kept: Vec::new() }
    }

    fn keep(&mut self, at: u64, bytes: &[u8]) {
        let start = at.max(self.span.start);
        let end = (at + bytes.len() as u64).min(self.span.end);
        if start >= end {
            return;
        }
        if self.bytes.is_empty() {
            self.bytes = vec![0; (self.span.end - self.span.start) as usize];
        }
        let place = (start - self.span.start) as usize..(end - self.span.start) as usize;
        self.bytes[place].copy_from_slice(&bytes[(start - at) as usize..(end - at) as usize]);
        // One range takes the place of all that it touches.
        let mut whole = start..end;
        self.kept.retain(|other| {
            let touches = other.start <= whole.end && whole.start <= other.end;
            if touches {
                whole = whole.start.min(other.start)..whole.end.max(other.end);
            }
            !touches
        });
        let index = self.kept.partition_point(|other| other.start < whole.start);
        self.kept.insert(index, whole);
    }

    fn piece(&self, range: Range<u64>) -> Option<Bytes> {
        let kept = self.kept.iter().find(|kept| kept.contains(&range.start))?;
        let end = kept.end.min(range.end);
        let base = self.span.start;
        Some(Bytes::copy_from_slice(&self.bytes[(range.start - base) as usize..(end - base) as usize]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(length: u64) -> Vec<u8> {
        (0..length).map(|place| (place % 251) as u8).collect()
    }

    #[test]
    fn a_small_source_is_kept_whole_and_a_large_one_at_both_ends() {
        let total = WHOLE_BYTES + 1;
        let mut large = Cache::new(total);
        large.keep(END_BYTES - 2, &[1; 10]);
        large.keep(total - END_BYTES - 5, &[2; 6]);
        assert_eq!(large.piece(&(END_BYTES - 2..total)), Some(Bytes::from_static(&[1, 1])));
        assert_eq!(large.piece(&(END_BYTES..total)), None);
        assert_eq!(large.piece(&(total - END_BYTES..total)), Some(Bytes::from_static(&[2])));

        let mut small = Cache::new(WHOLE_BYTES);
        small.keep(WHOLE_BYTES / 2, &[3; 2]);
        assert_eq!(small.piece(&(WHOLE_BYTES / 2..WHOLE_BYTES)), Some(Bytes::from_static(&[3, 3])));
    }

    #[test]
    fn a_read_ends_where_much_is_kept_and_goes_on_through_little() {
        let mut cache = Cache::new(4 * ISLAND_BYTES);
        cache.keep(100, &[0; 10]);
        assert_eq!(cache.gap_end(&(0..1000)), 1000);
        assert_eq!(cache.gap_end(&(0..105)), 100, "nothing is left to be read behind it");
        cache.keep(ISLAND_BYTES, &source(ISLAND_BYTES));
        assert_eq!(cache.gap_end(&(0..4 * ISLAND_BYTES)), ISLAND_BYTES);
        assert_eq!(cache.gap_end(&(2 * ISLAND_BYTES..3 * ISLAND_BYTES)), 3 * ISLAND_BYTES);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(
            parts in prop::collection::vec((0_u64..1000, 0_u64..200), 0..20), asked in 0_u64..1000,
        ) {
            let bytes = source(1000);
            let mut cache = Cache::new(1000);
            for (start, length) in parts.iter().copied() {
                let end = (start + length).min(1000);
                cache.keep(start, &bytes[start as usize..end as usize]);
            }
            let known = parts.iter().any(|(start, length)| (*start..start + length).contains(&asked));
            let piece = cache.piece(&(asked..1000));
            prop_assert_eq!(piece.is_some(), known);
            if let Some(piece) = piece {
                prop_assert_eq!(&piece[..], &bytes[asked as usize..][..piece.len()]);
            }
            let kept = &cache.windows[0].kept;
            prop_assert!(kept.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", kept);
        }
    }
}
