//! Reads the first frames of a file to find its start time, its frame rate and the size of a keyframe.

use std::ops::Range;

use crate::demux::buffer::SparseBuffer;
use crate::demux::error::ReadError;
use crate::demux::matroska::cluster::{BlockFrame, ClusterContext, ClusterEvent, ClusterReader};

/// The fewest bytes that are read of the first cluster: all tracks start there.
const FIRST_CLUSTER_BYTES: u64 = 32 << 10;
/// How much of the beginning of a file is prefetched.
const PREFETCHED_BYTES: u64 = 64 << 10;

/// The result of reading the first frames.
#[derive(Debug, Clone)]
pub(super) struct FirstFrames {
    /// The earliest time in the file, in ticks, before it is subtracted.
    pub(super) origin: i64,
    /// The first frames of the track in stored order. Their times are not relative to `origin`.
    pub(super) frames: Vec<BlockFrame>,
}

/// The range that is read, in the first cluster at `first`.
pub(super) fn prefetch_range(first: u64, context: ClusterContext) -> Range<u64> {
    first..(first + FIRST_CLUSTER_BYTES).max(PREFETCHED_BYTES).min(context.end)
}

/// Reads the first frames. The origin of `context.clock` is not set yet.
///
/// # Errors
/// The bytes that are missing.
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
    // A large first frame may hide the start of the audio, which is almost never later than the start of the file.
    let is_hidden =
        has_audio && !clusters.has_other_tracks() && earliest < i64::from(context.clock.timescale);
    Ok(FirstFrames { origin: if is_hidden { 0 } else { earliest }, frames })
}

/// Frames per second, by the times of `frames`; 0 if unknown.
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
