//! Keeps the sources that were opened last: the next image of such a video is decoded without reading its index again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use glimpse_contract::VideoId;

use crate::frames::source_frames::SourceFrames;
use crate::store::Store;

/// How many sources are kept, at most.
const MAX_SOURCES: usize = 4;
/// The most bytes that were read to open a source that is kept: an index of a few hours. Its parsed form has a similar
/// size.
const MAX_INDEX_BYTES: u64 = 16 * 1024 * 1024;

/// Sources by video and ETag, the one used last at the end. Each is used by one request at a time.
pub(super) struct RecentSources<S>(Mutex<VecDeque<RecentSource<S>>>);

struct RecentSource<S> {
    video: VideoId,
    etag: String,
    frames: SourceFrames<S>,
}

impl<S> Default for RecentSources<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> fmt::Debug for RecentSources<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentSources").finish_non_exhaustive()
    }
}

impl<S: Store> RecentSources<S> {
    /// Removes and returns a source.
    pub(super) fn take(&self, video: VideoId, etag: &str) -> Option<SourceFrames<S>> {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = sources.iter().position(|source| source.video == video && source.etag == etag)?;
        sources.remove(place).map(|source| source.frames)
    }

    /// Keeps a source whose last request succeeded, if it is read natively and its index is small enough.
    pub(super) fn keep(&self, video: VideoId, etag: &str, mut frames: SourceFrames<S>) {
        if !frames.is_native() || frames.index_bytes() > MAX_INDEX_BYTES {
            return;
        }
        frames.release_buffer();
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|source| source.video != video);
        if sources.len() >= MAX_SOURCES {
            sources.pop_front();
        }
        sources.push_back(RecentSource { video, etag: etag.to_owned(), frames });
    }
}
