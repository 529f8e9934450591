//! Decides where clusters begin in the midst of a file, where no index tells: by the ID of a cluster whose content
//! parses.

use crate::demux::budget::BYTES_PER_STEP;
use crate::demux::buffer::Known;
use crate::demux::matroska::cluster::{Reader, Walk};
use crate::demux::matroska::ebml::{self, Seen};
use crate::demux::matroska::ids;

/// The ID of a cluster as it stands in a file.
const CLUSTER: [u8; 4] = ids::CLUSTER.to_be_bytes();

/// What a search for a cluster ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A cluster.
    Cluster(Place),
    /// The bytes from here on have to be known to go on.
    Gap(u64),
    /// None begins in the stretch.
    Nothing,
}

/// A cluster, and when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Where its header begins.
    pub(super) at: u64,
    /// Its timestamp, in ticks.
    pub(super) time: i64,
}

/// The first cluster that begins in `from..to`.
pub(super) fn first(known: &Known, reader: Reader, from: u64, to: u64) -> Found {
    let to = to.min(reader.end);
    let bytes = known.available(from..to);
    let mut next = 0;
    while let Some(found) = find(&bytes, next) {
        known.budget().charge((found - next) as u64 / BYTES_PER_STEP);
        if known.budget().is_over() {
            return Found::Nothing;
        }
        match verify(known, reader, from + found as u64) {
            Ok(Some(place)) => return Found::Cluster(place),
            Ok(None) => next = found + 1,
            Err(gap) => return Found::Gap(gap),
        }
    }
    known.budget().charge((bytes.len() - next.min(bytes.len())) as u64 / BYTES_PER_STEP);
    let end = from.saturating_add(bytes.len() as u64);
    if end < to { Found::Gap(end) } else { Found::Nothing }
}

/// The last cluster that begins in `from..to`, of which all is known.
pub(super) fn last(known: &Known, reader: Reader, from: u64, to: u64) -> Option<Place> {
    let bytes = known.available(from..to.min(reader.end));
    known.budget().charge(bytes.len() as u64 / BYTES_PER_STEP);
    let mut end = bytes.len();
    while let Some(found) = bytes.get(..end)?.windows(CLUSTER.len()).rposition(|window| window == CLUSTER) {
        if let Ok(Some(place)) = verify(known, reader, from + found as u64) {
            return Some(place);
        }
        end = found + CLUSTER.len() - 1;
    }
    None
}

fn find(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| *byte == CLUSTER[0])?;
        if bytes.get(at..at + CLUSTER.len())? == CLUSTER {
            return Some(at);
        }
        at += 1;
    }
}

/// Whether a cluster begins there: a timestamp, and after it something that may stand there.
fn verify(known: &Known, reader: Reader, at: u64) -> Result<Option<Place>, u64> {
    let mut walk = Walk::new(known, reader, at);
    if !walk.enter()? {
        return Ok(None);
    }
    let is_right = match ebml::look(known, walk.at(), reader.end) {
        Seen::Element(element) => {
            matches!(element.id, ids::SIMPLE_BLOCK | ids::BLOCK_GROUP | ids::VOID | ids::CRC32)
                || matches!(element.id, ids::CLUSTER_POSITION | ids::PREV_SIZE | ids::SILENT_TRACKS)
                || ids::is_beside_clusters(element.id)
        }
        Seen::Gap(gap) => return Err(gap),
        Seen::End => true,
        Seen::Damaged => false,
    };
    Ok(walk.cluster_time().filter(|_| is_right).map(|time| Place { at, time }))
}
