//! In-memory cache of the bytes of a source. Pure.
//!
//! Each child process opens the source again: it reads the index again, and all of a small file. Bytes that pass
//! through the proxy are therefore cached if they are likely to be requested again: all of a small source, and the
//! beginning and end of a larger one, where containers have their index. Nothing is read only to fill the cache.

use std::ops::Range;

use bytes::Bytes;

/// Sources up to this size are cached as a whole, in bytes.
const MAX_WHOLE_BYTES: u64 = 64 * 1024 * 1024;
/// How much of the beginning and of the end of a larger source is cached, in bytes: enough for the index of hours of
/// video.
const END_BYTES: u64 = 4 * 1024 * 1024;
/// Maximum number of bytes returned at once.
const MAX_CHUNK_BYTES: u64 = 64 * 1024;
/// A read does not stop at cached parts smaller than this, in bytes: two requests would cost more.
const MIN_SPLIT_BYTES: u64 = 256 * 1024;

/// The cached bytes of one source.
#[derive(Debug)]
pub(super) struct Cache {
    windows: Vec<CacheWindow>,
}

impl Cache {
    /// An empty cache for a source of this length.
    pub(super) fn new(total_bytes: u64) -> Self {
        let windows = if total_bytes <= MAX_WHOLE_BYTES {
            vec![CacheWindow::new(0..total_bytes)]
        } else {
            vec![CacheWindow::new(0..END_BYTES), CacheWindow::new(total_bytes - END_BYTES..total_bytes)]
        };
        Self { windows }
    }

    /// Adds those of these bytes, which begin at `offset`, that are worth caching.
    pub(super) fn insert(&mut self, offset: u64, bytes: &[u8]) {
        for window in &mut self.windows {
            window.insert(offset, bytes);
        }
    }

    /// Cached bytes from `range.start`, within `range`; `None` if the first byte is not cached.
    pub(super) fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        let end = range.end.min(range.start.saturating_add(MAX_CHUNK_BYTES));
        self.windows.iter().find_map(|window| window.get(range.start..end))
    }

    /// Where a read of `range` may end, because the next bytes are cached.
    pub(super) fn next_cached(&self, range: &Range<u64>) -> u64 {
        let cached = self.windows.iter().flat_map(|window| &window.ranges);
        cached
            .filter(|cached_range| cached_range.start > range.start && cached_range.start < range.end)
            .filter(|island| island.end >= range.end || island.end - island.start >= MIN_SPLIT_BYTES)
            .map(|island| island.start)
            .min()
            .unwrap_or(range.end)
    }
}

/// One cached window of the source.
#[derive(Debug)]
struct CacheWindow {
    span: Range<u64>,
    /// Empty, or as long as `span`.
    bytes: Vec<u8>,
    /// The cached ranges: sorted, neither overlapping nor adjacent.
    ranges: Vec<Range<u64>>,
}

impl CacheWindow {
    fn new(span: Range<u64>) -> Self {
        Self { span, bytes: Vec::new(), ranges: Vec::new() }
    }

    fn insert(&mut self, offset: u64, bytes: &[u8]) {
        let start = offset.max(self.span.start);
        let end = (offset + bytes.len() as u64).min(self.span.end);
        if start >= end {
            return;
        }
        if self.bytes.is_empty() {
            self.bytes = vec![0; (self.span.end - self.span.start) as usize];
        }
        let target = (start - self.span.start) as usize..(end - self.span.start) as usize;
        self.bytes[target].copy_from_slice(&bytes[(start - offset) as usize..(end - offset) as usize]);
        // One range replaces all ranges that it touches.
        let mut merged = start..end;
        self.ranges.retain(|other| {
            let touches = other.start <= merged.end && merged.start <= other.end;
            if touches {
                merged = merged.start.min(other.start)..merged.end.max(other.end);
            }
            !touches
        });
        let index = self.ranges.partition_point(|other| other.start < merged.start);
        self.ranges.insert(index, merged);
    }

    fn get(&self, range: Range<u64>) -> Option<Bytes> {
        let cached = self.ranges.iter().find(|kept| kept.contains(&range.start))?;
        let end = cached.end.min(range.end);
        let base = self.span.start;
        Some(Bytes::copy_from_slice(&self.bytes[(range.start - base) as usize..(end - base) as usize]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(length: u64) -> Vec<u8> {
        (0..length).map(|place| (place % 251) as u8).collect()
    }

    #[test]
    fn caches_small_sources_whole_and_large_ones_at_both_ends() {
        let total = MAX_WHOLE_BYTES + 1;
        let mut large = Cache::new(total);
        large.insert(END_BYTES - 2, &[1; 10]);
        large.insert(total - END_BYTES - 5, &[2; 6]);
        assert_eq!(large.get(&(END_BYTES - 2..total)), Some(Bytes::from_static(&[1, 1])));
        assert_eq!(large.get(&(END_BYTES..total)), None);
        assert_eq!(large.get(&(total - END_BYTES..total)), Some(Bytes::from_static(&[2])));

        let mut small = Cache::new(MAX_WHOLE_BYTES);
        small.insert(MAX_WHOLE_BYTES / 2, &[3; 2]);
        assert_eq!(small.get(&(MAX_WHOLE_BYTES / 2..MAX_WHOLE_BYTES)), Some(Bytes::from_static(&[3, 3])));
    }

    #[test]
    fn read_ends_at_large_cached_ranges_only() {
        let mut cache = Cache::new(4 * MIN_SPLIT_BYTES);
        cache.insert(100, &[0; 10]);
        assert_eq!(cache.next_cached(&(0..1000)), 1000);
        assert_eq!(cache.next_cached(&(0..105)), 100, "the rest of the range is cached");
        cache.insert(MIN_SPLIT_BYTES, &pattern(MIN_SPLIT_BYTES));
        assert_eq!(cache.next_cached(&(0..4 * MIN_SPLIT_BYTES)), MIN_SPLIT_BYTES);
        assert_eq!(cache.next_cached(&(2 * MIN_SPLIT_BYTES..3 * MIN_SPLIT_BYTES)), 3 * MIN_SPLIT_BYTES);
    }

    proptest! {
        #[test]
        fn cached_bytes_roundtrip(
            parts in prop::collection::vec((0_u64..1000, 0_u64..200), 0..20), requested in 0_u64..1000,
        ) {
            let bytes = pattern(1000);
            let mut cache = Cache::new(1000);
            for (start, length) in parts.iter().copied() {
                let end = (start + length).min(1000);
                cache.insert(start, &bytes[start as usize..end as usize]);
            }
            let is_cached = parts.iter().any(|(start, length)| (*start..start + length).contains(&requested));
            let chunk = cache.get(&(requested..1000));
            prop_assert_eq!(chunk.is_some(), is_cached);
            if let Some(piece) = chunk {
                prop_assert_eq!(&piece[..], &bytes[requested as usize..][..piece.len()]);
            }
            let ranges = &cache.windows[0].ranges;
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", ranges);
        }
    }
}
