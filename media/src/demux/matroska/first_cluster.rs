//! Decides what the first frames of a file tell: when it begins, how fast it runs, how large a keyframe is.

use std::ops::Range;

use crate::demux::buffer::{ReadError, SparseBuffer};
use crate::demux::matroska::cluster::{BlockFrame, ClusterContext, ClusterEvent, ClusterReader};

/// How much of the first cluster is looked at, at least: the beginnings of all tracks stand there.
const FIRST_CLUSTER_BYTES: u64 = 32 << 10;
/// How much of a file is known anyway.
const PREFETCHED_BYTES: u64 = 64 << 10;

/// What the first frames tell.
#[derive(Debug, Clone)]
pub(super) struct FirstFrames {
    /// The first moment of the file, in ticks from its own zero.
    pub(super) origin: i64,
    /// The first frames of the track in stored order, in ticks from the file's own zero.
    pub(super) frames: Vec<BlockFrame>,
}

/// The bytes that are looked at: those of the first cluster at `first`.
pub(super) fn prefetch_range(first: u64, context: ClusterContext) -> Range<u64> {
    first..(first + FIRST_CLUSTER_BYTES).max(PREFETCHED_BYTES).min(context.end)
}

/// Reads the first frames. `reader` still counts from the file's own zero.
///
/// # Errors
/// What is missing.
pub(super) fn read(
    buffer: &SparseBuffer,
    context: ClusterContext,
    first: u64,
    has_audio: bool,
) -> Result<FirstFrames, ReadError> {
    let range = prefetch_range(first, context);
    let gaps = buffer.missing_ranges(range.clone());
    if !gaps.is_empty() {
        return Err(ReadError::NeedMore(gaps));
    }
    let mut clusters = ClusterReader::new(buffer, context, first);
    let mut frames = Vec::new();
    while clusters.position() < range.end {
        match clusters.next() {
            ClusterEvent::Frame(frame) => frames.push(frame),
            ClusterEvent::Gap(_) | ClusterEvent::End | ClusterEvent::Damaged(_) => break,
        }
    }
    let earliest = clusters.earliest().unwrap_or(0).max(0);
    // A large first picture hides where sound begins, which is hardly ever later than the file.
    let is_hidden =
        has_audio && !clusters.has_other_tracks() && earliest < i64::from(context.clock.timescale);
    Ok(FirstFrames { origin: if is_hidden { 0 } else { earliest }, frames })
}

/// Frames a second, by the times of these; 0 if they do not tell.
pub(super) fn frame_rate(frames: &[BlockFrame], timescale: u32) -> f64 {
    let times = || frames.iter().map(|frame| frame.pts);
    match (times().min(), times().max()) {
        (Some(first), Some(last)) if last > first => {
            let rate = (frames.len() - 1) as f64 * f64::from(timescale) / (last - first) as f64;
            if rate <= 1000.0 { rate } else { 0.0 }
        }
        _ => 0.0,
    }
}
