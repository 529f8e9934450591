//! Reads clusters element by element and returns the frames of one track, in stored order. Only headers are read: the
//! data of frames need not be buffered.

use std::collections::VecDeque;

use crate::demux::budget::STEPS_PER_SAMPLE;
use crate::demux::buffer::SparseBuffer;
use crate::demux::index::VERIFY_HEAD_BYTES;
use crate::demux::matroska::block::{self, BlockError};
use crate::demux::matroska::codec::Codec;
use crate::demux::matroska::ebml::{self, Element, ElementRead, parse_uint};
use crate::demux::matroska::ids;
use crate::demux::matroska::timestamps::TimestampConverter;
use crate::demux::reference::{RandomAccess, random_access};

/// The longest block header that is read, including its lacing with the largest numbers.
const MAX_BLOCK_HEADER: u64 = 64 << 10;
/// The most elements that are read in a `BlockGroup`.
const MAX_GROUP_ELEMENTS: usize = 64;

/// A frame of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockFrame {
    /// Byte offset of its data in the source.
    pub(super) offset: u64,
    /// Size of its data in bytes; not 0.
    pub(super) size: u32,
    /// Presentation time, in ticks.
    pub(super) pts: i64,
    /// Whether decoding can start at this frame.
    pub(super) is_key: bool,
}

/// The result of reading on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClusterEvent {
    /// A frame of the track.
    Frame(BlockFrame),
    /// The bytes from this offset must be fetched to continue.
    Gap(u64),
    /// The end of the source or the segment.
    End,
    /// Neither a cluster nor part of one at this offset.
    Damaged(u64),
}

/// The parameters of reading, which are the same for all of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClusterContext {
    /// The number of the track.
    pub(super) track: u64,
    /// The codec, if frames are stored with their first bytes: those then identify keyframes.
    pub(super) codec: Option<Codec>,
    /// Size of a NAL unit's length field in bytes.
    pub(super) nal_length_size: usize,
    /// Whether a keyframe flag is ignored unless the frame itself confirms it. The data of frames must then be
    /// buffered.
    pub(super) verify_keyframes: bool,
    /// Converts timestamps to ticks.
    pub(super) clock: TimestampConverter,
    /// Ticks per frame, for frames that share a block; 0 if unknown.
    pub(super) frame_ticks: i64,
    /// End of the segment or of the source.
    pub(super) end: u64,
}

/// Reads consecutive clusters.
#[derive(Debug)]
pub(super) struct ClusterReader<'a> {
    buffer: &'a SparseBuffer,
    context: ClusterContext,
    /// Offset of the next element.
    position: u64,
    cluster: Option<Cluster>,
    /// Frames of the last block that have not been returned yet.
    laced: VecDeque<BlockFrame>,
    /// The earliest block time of any track so far.
    earliest: Option<i64>,
    /// The latest block time of any track so far.
    latest: i64,
    has_other_tracks: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cluster {
    /// Its timestamp, in units of the file.
    timestamp: i64,
    /// Start and end of its body.
    body: u64,
    end: u64,
    is_size_known: bool,
}

impl<'a> ClusterReader<'a> {
    /// Starts reading at the header of a cluster or of a sibling of one.
    pub(super) fn new(buffer: &'a SparseBuffer, context: ClusterContext, at: u64) -> Self {
        Self {
            buffer,
            context,
            position: at,
            cluster: None,
            laced: VecDeque::new(),
            earliest: None,
            latest: 0,
            has_other_tracks: false,
        }
    }

    /// The earliest block time of any track so far.
    pub(super) fn earliest(&self) -> Option<i64> {
        self.earliest
    }

    /// The latest block time of any track so far.
    pub(super) fn latest(&self) -> i64 {
        self.latest
    }

    /// Whether there was a block of another track.
    pub(super) fn has_other_tracks(&self) -> bool {
        self.has_other_tracks
    }

    /// Offset of the next element.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Continues at another element of the current cluster.
    pub(super) fn seek(&mut self, at: u64) {
        self.position = at;
    }

    /// Enters the cluster at the current position, past its timestamp. False if there is none.
    ///
    /// # Errors
    /// The offset from which bytes are missing.
    pub(super) fn enter_cluster(&mut self) -> Result<bool, u64> {
        let cluster = match ebml::read_element(self.buffer, self.position, self.context.end) {
            ElementRead::Element(element) if element.id == ids::CLUSTER => element,
            ElementRead::Gap(at) => return Err(at),
            ElementRead::Element(_) | ElementRead::End | ElementRead::Damaged => return Ok(false),
        };
        let end = cluster.range(self.context.end).end;
        let mut state =
            Cluster { timestamp: 0, body: cluster.body, end, is_size_known: cluster.size.is_some() };
        let mut at = cluster.body;
        for _ in 0..MAX_GROUP_ELEMENTS {
            let element = match ebml::read_element(self.buffer, at, end) {
                ElementRead::Element(element) => element,
                ElementRead::Gap(at) => return Err(at),
                ElementRead::End | ElementRead::Damaged => return Ok(false),
            };
            let range = element.range(end);
            if matches!(element.id, ids::SIMPLE_BLOCK | ids::BLOCK_GROUP)
                || ids::is_beside_clusters(element.id)
            {
                return Ok(false);
            }
            if element.id == ids::CLUSTER_TIMESTAMP && range.end - range.start <= 8 {
                let bytes = self.buffer.get_available(range.clone());
                if (bytes.len() as u64) < range.end - range.start {
                    return Err(range.start + bytes.len() as u64);
                }
                state.timestamp = i64::try_from(parse_uint(&bytes)).unwrap_or(i64::MAX);
                self.cluster = Some(state);
                self.position = range.end;
                return Ok(true);
            }
            at = range.end;
        }
        Ok(false)
    }

    /// Offset of the current cluster's body.
    pub(super) fn cluster_body(&self) -> Option<u64> {
        self.cluster.map(|cluster| cluster.body)
    }

    /// The time of the first frame of the track's block at `at`; `None` if there is no such block.
    ///
    /// # Errors
    /// The offset from which bytes are missing.
    pub(super) fn peek_time(&self, at: u64) -> Result<Option<i64>, u64> {
        let mut block_reader = ClusterReader {
            position: at,
            cluster: self.cluster,
            ..ClusterReader::new(self.buffer, self.context, at)
        };
        match ebml::read_element(self.buffer, at, self.context.end) {
            ElementRead::Element(element) if matches!(element.id, ids::SIMPLE_BLOCK | ids::BLOCK_GROUP) => {}
            ElementRead::Gap(gap) => return Err(gap),
            ElementRead::Element(_) | ElementRead::End | ElementRead::Damaged => return Ok(None),
        }
        match block_reader.next() {
            ClusterEvent::Frame(frame) => Ok(Some(frame.pts)),
            ClusterEvent::Gap(gap) => Err(gap),
            ClusterEvent::End | ClusterEvent::Damaged(_) => Ok(None),
        }
    }

    /// The timestamp of the current cluster, in ticks.
    pub(super) fn cluster_time(&self) -> Option<i64> {
        self.cluster.map(|cluster| self.context.clock.to_ticks(cluster.timestamp))
    }

    /// The next frame of the track, or why there is none.
    pub(super) fn next(&mut self) -> ClusterEvent {
        loop {
            if let Some(frame) = self.laced.pop_front() {
                return ClusterEvent::Frame(frame);
            }
            let limit = self.cluster.map_or(self.context.end, |cluster| cluster.end);
            if self.position >= limit && self.cluster.take().is_some() && self.position < self.context.end {
                continue;
            }
            let element = match ebml::read_element(self.buffer, self.position, limit) {
                ElementRead::Element(element) => element,
                ElementRead::Gap(at) => return ClusterEvent::Gap(at),
                ElementRead::End => return ClusterEvent::End,
                ElementRead::Damaged => return ClusterEvent::Damaged(self.position),
            };
            if let Some(cluster) = self.cluster
                && (cluster.is_size_known || !ids::is_beside_clusters(element.id))
            {
                if let Some(event) = self.read_element(&element, cluster) {
                    return event;
                }
                continue;
            }
            self.cluster = None;
            if element.id == ids::CLUSTER {
                let end = element.range(self.context.end).end;
                let is_size_known = element.size.is_some();
                self.cluster = Some(Cluster { timestamp: 0, body: element.body, end, is_size_known });
                self.position = element.body;
            } else if let Some(size) = element.size
                && (ids::is_beside_clusters(element.id) || matches!(element.id, ids::VOID | ids::CRC32))
                && !matches!(element.id, ids::EBML | ids::SEGMENT)
            {
                self.position = element.body.saturating_add(size);
            } else if matches!(element.id, ids::EBML | ids::SEGMENT) {
                // Another document starts. It is not shown.
                return ClusterEvent::End;
            } else {
                return ClusterEvent::Damaged(self.position);
            }
        }
    }

    /// Reads an element of a cluster and moves to the next one.
    fn read_element(&mut self, element: &Element, cluster: Cluster) -> Option<ClusterEvent> {
        let Some(size) = element.size else { return Some(ClusterEvent::Damaged(self.position)) };
        let end = element.body.saturating_add(size);
        if end > cluster.end {
            // A truncated file ends within a block; otherwise the file is damaged.
            return Some(if cluster.end == self.context.end {
                ClusterEvent::End
            } else {
                ClusterEvent::Damaged(self.position)
            });
        }
        match element.id {
            ids::CLUSTER_TIMESTAMP if size <= 8 => {
                let bytes = self.buffer.get_available(element.body..end);
                if (bytes.len() as u64) < size {
                    return Some(ClusterEvent::Gap(element.body + bytes.len() as u64));
                }
                let timestamp = i64::try_from(parse_uint(&bytes)).unwrap_or(i64::MAX);
                self.cluster = Some(Cluster { timestamp, ..cluster });
            }
            ids::SIMPLE_BLOCK => {
                let block = Block { body: element.body, size, is_key: None, duration: 0 };
                if let Err(step) = self.read_block(&block, cluster) {
                    return Some(step);
                }
            }
            ids::BLOCK_GROUP => {
                if let Err(step) = self.read_block_group(element.body, end, cluster) {
                    return Some(step);
                }
            }
            _ => {}
        }
        self.position = end;
        None
    }

    /// Reads a `BlockGroup`: its block is a keyframe if the group has no reference.
    fn read_block_group(&mut self, start: u64, end: u64, cluster: Cluster) -> Result<(), ClusterEvent> {
        let mut at = start;
        let mut block = None;
        let mut is_key = true;
        let mut duration = 0;
        for _ in 0..MAX_GROUP_ELEMENTS {
            let element = match ebml::read_element(self.buffer, at, end) {
                ElementRead::Element(element) => element,
                ElementRead::Gap(at) => return Err(ClusterEvent::Gap(at)),
                ElementRead::End | ElementRead::Damaged => break,
            };
            let range = element.range(end);
            match element.id {
                ids::BLOCK => {
                    block = Some(Block {
                        body: range.start,
                        size: range.end - range.start,
                        is_key: None,
                        duration: 0,
                    });
                    if !self.is_own_track(range.start, range.end, cluster)? {
                        return Ok(());
                    }
                }
                ids::REFERENCE_BLOCK => is_key = false,
                ids::BLOCK_DURATION => {
                    let bytes = self.buffer.get_available(range.clone());
                    if (bytes.len() as u64) < range.end - range.start {
                        return Err(ClusterEvent::Gap(range.start + bytes.len() as u64));
                    }
                    duration =
                        self.context.clock.duration_to_ticks(i64::try_from(parse_uint(&bytes)).unwrap_or(0));
                }
                _ => {}
            }
            at = range.end;
        }
        match block {
            Some(block) => self.read_block(&Block { is_key: Some(is_key), duration, ..block }, cluster),
            None => Ok(()),
        }
    }

    /// Whether a block belongs to the track, when the rest of its group is not buffered.
    fn is_own_track(&mut self, start: u64, end: u64, cluster: Cluster) -> Result<bool, ClusterEvent> {
        match self.read_block_header(start, end)? {
            Some((header, _)) => {
                self.record_block(&header, cluster);
                Ok(header.track == self.context.track)
            }
            None => Ok(false),
        }
    }

    fn record_block(&mut self, header: &block::BlockHeader, cluster: Cluster) -> i64 {
        let units = cluster.timestamp.saturating_add(i64::from(header.relative_timestamp));
        let pts = self.context.clock.to_ticks(units);
        self.earliest = Some(self.earliest.map_or(pts, |earliest| earliest.min(pts)));
        self.latest = self.latest.max(pts);
        self.has_other_tracks |= header.track != self.context.track;
        pts
    }

    /// The header of a block, and the buffered bytes of the block's beginning; `None` if it is damaged.
    fn read_block_header(
        &self,
        start: u64,
        end: u64,
    ) -> Result<Option<(block::BlockHeader, bytes::Bytes)>, ClusterEvent> {
        const ENOUGH: u64 = 11;
        let bytes = self.buffer.get_available(start..end.min(start + ENOUGH));
        match block::parse_header(&bytes) {
            Ok(header) => Ok(Some((header, bytes))),
            Err(BlockError::Incomplete) if (bytes.len() as u64) < ENOUGH.min(end - start) => {
                Err(ClusterEvent::Gap(start + bytes.len() as u64))
            }
            Err(_) => Ok(None),
        }
    }

    /// Queues the frames of a block of the track. A damaged block has none.
    fn read_block(&mut self, block: &Block, cluster: Cluster) -> Result<(), ClusterEvent> {
        let end = block.body + block.size;
        let Some((header, mut bytes)) = self.read_block_header(block.body, end)? else { return Ok(()) };
        let pts = self.record_block(&header, cluster);
        if header.track != self.context.track {
            return Ok(());
        }
        let mut ranges = block::frame_ranges(&header, &bytes, block.size);
        if ranges == Err(BlockError::Incomplete) {
            let max_bytes = block.size.min(MAX_BLOCK_HEADER);
            bytes = self.buffer.get_available(block.body..block.body + max_bytes);
            ranges = block::frame_ranges(&header, &bytes, block.size);
            if ranges == Err(BlockError::Incomplete) && (bytes.len() as u64) < max_bytes {
                return Err(ClusterEvent::Gap(block.body + bytes.len() as u64));
            }
        }
        let ranges = ranges.unwrap_or_default();
        self.buffer.budget().charge(ranges.len() as u64 * STEPS_PER_SAMPLE);
        // A block has at most 256 frames.
        let count = i64::try_from(ranges.len()).unwrap_or(1).max(1);
        let known_step = if block.duration > 0 { block.duration / count } else { self.context.frame_ticks };
        let step = known_step.max(1);
        let is_marked = block.is_key.unwrap_or(header.is_key);
        let mut pts = pts;
        for (start, size) in ranges {
            let first = bytes.get(usize::try_from(start).unwrap_or(usize::MAX));
            let from_bitstream =
                first.and_then(|first| self.context.codec.and_then(|codec| codec.is_key(*first)));
            let mut is_key = from_bitstream.unwrap_or(is_marked);
            if self.context.verify_keyframes
                && let Some(codec) = self.context.codec
            {
                is_key = self.verify_keyframe(codec, block.body + start, size, is_key)?;
            }
            if let Ok(size) = u32::try_from(size)
                && size > 0
            {
                self.laced.push_back(BlockFrame { offset: block.body + start, size, pts, is_key });
            }
            pts = pts.saturating_add(step);
        }
        Ok(())
    }
}

impl ClusterReader<'_> {
    /// Whether a frame is a keyframe, according to its own bytes; if they are inconclusive, according to its flag.
    fn verify_keyframe(
        &self,
        codec: Codec,
        start: u64,
        size: u64,
        is_marked: bool,
    ) -> Result<bool, ClusterEvent> {
        let max_bytes = size.min(VERIFY_HEAD_BYTES);
        let head = self.buffer.get_available(start..start + max_bytes);
        if (head.len() as u64) < max_bytes {
            return Err(ClusterEvent::Gap(start + head.len() as u64));
        }
        Ok(match random_access(codec.name(), &head, self.context.nal_length_size) {
            RandomAccess::Point => true,
            RandomAccess::Dependent => false,
            // Without a better keyframe, frames after a recovery point are approximately correct.
            RandomAccess::RecoveryPoint(_) | RandomAccess::Unknown => is_marked,
        })
    }
}

/// The byte range of a block, and the attributes from its group.
#[derive(Debug, Clone, Copy)]
struct Block {
    body: u64,
    size: u64,
    is_key: Option<bool>,
    duration: i64,
}

#[cfg(test)]
mod tests;
