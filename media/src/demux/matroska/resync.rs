//! Finds clusters in the middle of a file without an index, by the ID of a cluster whose content is valid.

use crate::demux::budget::BYTES_PER_STEP;
use crate::demux::buffer::SparseBuffer;
use crate::demux::matroska::cluster::{ClusterContext, ClusterReader};
use crate::demux::matroska::ebml::{self, ElementRead};
use crate::demux::matroska::ids;

/// The ID of a cluster, as encoded in a file.
const CLUSTER: [u8; 4] = ids::CLUSTER.to_be_bytes();

/// The result of a search for a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClusterSearch {
    /// A cluster was found.
    Cluster(ClusterPosition),
    /// The bytes from this offset must be fetched to continue.
    Gap(u64),
    /// No cluster starts in the range.
    NotFound,
}

/// The position and time of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClusterPosition {
    /// Offset of its header.
    pub(super) offset: u64,
    /// Its timestamp, in ticks.
    pub(super) time: i64,
}

/// Finds the first cluster that starts in `from..to`.
pub(super) fn find_first(
    buffer: &SparseBuffer,
    context: ClusterContext,
    from: u64,
    to: u64,
) -> ClusterSearch {
    let to = to.min(context.end);
    let bytes = buffer.get_available(from..to);
    let mut next = 0;
    while let Some(found) = find_cluster_id(&bytes, next) {
        buffer.budget().charge((found - next) as u64 / BYTES_PER_STEP);
        if buffer.budget().is_exhausted() {
            return ClusterSearch::NotFound;
        }
        match verify_cluster(buffer, context, from + found as u64) {
            Ok(Some(place)) => return ClusterSearch::Cluster(place),
            Ok(None) => next = found + 1,
            Err(gap) => return ClusterSearch::Gap(gap),
        }
    }
    buffer.budget().charge((bytes.len() - next.min(bytes.len())) as u64 / BYTES_PER_STEP);
    let end = from.saturating_add(bytes.len() as u64);
    if end < to { ClusterSearch::Gap(end) } else { ClusterSearch::NotFound }
}

/// Finds the last cluster that starts in `from..to` and whose beginning is buffered.
pub(super) fn find_last(
    buffer: &SparseBuffer,
    context: ClusterContext,
    from: u64,
    to: u64,
) -> Option<ClusterPosition> {
    let bytes = buffer.get_available(from..to.min(context.end));
    buffer.budget().charge(bytes.len() as u64 / BYTES_PER_STEP);
    let mut end = bytes.len();
    while let Some(found) = bytes.get(..end)?.windows(CLUSTER.len()).rposition(|window| window == CLUSTER) {
        if let Ok(Some(place)) = verify_cluster(buffer, context, from + found as u64) {
            return Some(place);
        }
        end = found + CLUSTER.len() - 1;
    }
    None
}

fn find_cluster_id(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| *byte == CLUSTER[0])?;
        if bytes.get(at..at + CLUSTER.len())? == CLUSTER {
            return Some(at);
        }
        at += 1;
    }
}

/// Whether there is a valid cluster at this offset: a timestamp, followed by an element that may occur there.
fn verify_cluster(
    buffer: &SparseBuffer,
    context: ClusterContext,
    at: u64,
) -> Result<Option<ClusterPosition>, u64> {
    let mut clusters = ClusterReader::new(buffer, context, at);
    if !clusters.enter_cluster()? {
        return Ok(None);
    }
    let is_right = match ebml::read_element(buffer, clusters.position(), context.end) {
        ElementRead::Element(element) => {
            matches!(element.id, ids::SIMPLE_BLOCK | ids::BLOCK_GROUP | ids::VOID | ids::CRC32)
                || matches!(element.id, ids::CLUSTER_POSITION | ids::PREV_SIZE | ids::SILENT_TRACKS)
                || ids::is_beside_clusters(element.id)
        }
        ElementRead::Gap(gap) => return Err(gap),
        ElementRead::End => true,
        ElementRead::Damaged => false,
    };
    Ok(clusters.cluster_time().filter(|_| is_right).map(|time| ClusterPosition { offset: at, time }))
}
