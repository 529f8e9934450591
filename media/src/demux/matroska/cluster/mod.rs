//! Decides what a stretch of clusters holds: walks it element by element and gives the frames of one track, in stored
//! order. It reads headers only: the bytes of frames need not be known.

use std::collections::VecDeque;

use crate::demux::budget::SAMPLE;
use crate::demux::buffer::Known;
use crate::demux::index::VERIFIED_HEAD;
use crate::demux::matroska::block::{self, Trouble};
use crate::demux::matroska::codec::Codec;
use crate::demux::matroska::ebml::{self, Element, Seen, uint};
use crate::demux::matroska::ids;
use crate::demux::matroska::timestamps::Clock;
use crate::demux::reference::{Access, access};

/// The longest head of a block that is read: its lacing with the largest numbers.
const MAX_BLOCK_HEAD: u64 = 64 << 10;
/// Elements in a `BlockGroup` that are looked at.
const MAX_GROUP: usize = 64;

/// A frame of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where its bytes begin in the source.
    pub(super) offset: u64,
    /// How many they are; not 0.
    pub(super) size: u32,
    /// When it is shown, in ticks.
    pub(super) pts: i64,
    /// Whether decoding can begin with it.
    pub(super) is_key: bool,
}

/// What comes next in a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A frame of the track.
    Frame(Frame),
    /// The bytes from here on have to be known to go on.
    Gap(u64),
    /// Nothing: the source or the segment ends.
    End,
    /// What stands here is neither a cluster nor part of one.
    Damaged(u64),
}

/// What is read of a stretch: the same for all of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// The number of the track.
    pub(super) track: u64,
    /// The codec, if the bytes of a frame begin as its own do: then they tell keyframes.
    pub(super) codec: Option<Codec>,
    /// How many bytes the length of a NAL unit takes.
    pub(super) nal_length: usize,
    /// Whether frames are keyframes only if their own bytes say so: those have to be known.
    pub(super) verifies: bool,
    /// How times become ticks.
    pub(super) clock: Clock,
    /// Ticks from one frame to the next where several share a block; 0 if not known.
    pub(super) frame_ticks: i64,
    /// Where the segment, or the source, ends.
    pub(super) end: u64,
}

/// A walk over clusters.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    known: &'a Known,
    reader: Reader,
    /// Where the next element begins.
    at: u64,
    cluster: Option<Cluster>,
    /// Frames of the last block, and where they begin and end.
    laced: VecDeque<Frame>,
    /// The earliest time of any track's block that was met.
    earliest: Option<i64>,
    /// The latest one.
    latest: i64,
    others: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cluster {
    /// Its timestamp, in units of the file.
    timestamp: i64,
    /// Where its body begins and ends.
    body: u64,
    end: u64,
    is_size_known: bool,
}

impl<'a> Walk<'a> {
    /// Walks on from the header of a cluster, or of anything that stands beside one.
    pub(super) fn new(known: &'a Known, reader: Reader, at: u64) -> Self {
        Self {
            known,
            reader,
            at,
            cluster: None,
            laced: VecDeque::new(),
            earliest: None,
            latest: 0,
            others: false,
        }
    }

    /// The earliest time of a block of any track that was met.
    pub(super) fn earliest(&self) -> Option<i64> {
        self.earliest
    }

    /// The latest time of a block of any track that was met.
    pub(super) fn latest(&self) -> i64 {
        self.latest
    }

    /// Whether a block of another track was met.
    pub(super) fn has_met_others(&self) -> bool {
        self.others
    }

    /// Where the next element begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Goes on at another place of the cluster it is in, where an element is said to begin.
    pub(super) fn jump(&mut self, at: u64) {
        self.at = at;
    }

    /// Goes into the cluster whose header stands here, past its timestamp. False if there is none.
    ///
    /// # Errors
    /// From where on bytes have to be known.
    pub(super) fn enter(&mut self) -> Result<bool, u64> {
        let cluster = match ebml::look(self.known, self.at, self.reader.end) {
            Seen::Element(element) if element.id == ids::CLUSTER => element,
            Seen::Gap(at) => return Err(at),
            _ => return Ok(false),
        };
        let end = cluster.range(self.reader.end).end;
        let mut state =
            Cluster { timestamp: 0, body: cluster.body, end, is_size_known: cluster.size.is_some() };
        let mut at = cluster.body;
        for _ in 0..MAX_GROUP {
            let element = match ebml::look(self.known, at, end) {
                Seen::Element(element) => element,
                Seen::Gap(at) => return Err(at),
                Seen::End | Seen::Damaged => return Ok(false),
            };
            let range = element.range(end);
            if matches!(element.id, ids::SIMPLE_BLOCK | ids::BLOCK_GROUP)
                || ids::is_beside_clusters(element.id)
            {
                return Ok(false);
            }
            if element.id == ids::CLUSTER_TIMESTAMP && range.end - range.start <= 8 {
                let bytes = self.known.available(range.clone());
                if (bytes.len() as u64) < range.end - range.start {
                    return Err(range.start + bytes.len() as u64);
                }
                state.timestamp = i64::try_from(uint(&bytes)).unwrap_or(i64::MAX);
                self.cluster = Some(state);
                self.at = range.end;
                return Ok(true);
            }
            at = range.end;
        }
        Ok(false)
    }

    /// Where the body of the cluster it is in begins.
    pub(super) fn cluster_body(&self) -> Option<u64> {
        self.cluster.map(|cluster| cluster.body)
    }

    /// The time of the first frame of a block of the track that begins at `at`; none if no such block does.
    ///
    /// # Errors
    /// From where on bytes have to be known.
    pub(super) fn peek(&self, at: u64) -> Result<Option<i64>, u64> {
        let mut there = Walk { at, cluster: self.cluster, ..Walk::new(self.known, self.reader, at) };
        match ebml::look(self.known, at, self.reader.end) {
            Seen::Element(element) if matches!(element.id, ids::SIMPLE_BLOCK | ids::BLOCK_GROUP) => {}
            Seen::Gap(gap) => return Err(gap),
            _ => return Ok(None),
        }
        match there.next() {
            Step::Frame(frame) => Ok(Some(frame.pts)),
            Step::Gap(gap) => Err(gap),
            Step::End | Step::Damaged(_) => Ok(None),
        }
    }

    /// The timestamp of the cluster it is in, in ticks.
    pub(super) fn cluster_time(&self) -> Option<i64> {
        self.cluster.map(|cluster| self.reader.clock.ticks(cluster.timestamp))
    }

    /// The next frame of the track, or why there is none.
    pub(super) fn next(&mut self) -> Step {
        loop {
            if let Some(frame) = self.laced.pop_front() {
                return Step::Frame(frame);
            }
            let limit = self.cluster.map_or(self.reader.end, |cluster| cluster.end);
            if self.at >= limit && self.cluster.take().is_some() && self.at < self.reader.end {
                continue;
            }
            let element = match ebml::look(self.known, self.at, limit) {
                Seen::Element(element) => element,
                Seen::Gap(at) => return Step::Gap(at),
                Seen::End => return Step::End,
                Seen::Damaged => return Step::Damaged(self.at),
            };
            if let Some(cluster) = self.cluster
                && (cluster.is_size_known || !ids::is_beside_clusters(element.id))
            {
                if let Some(step) = self.inside(&element, cluster) {
                    return step;
                }
                continue;
            }
            self.cluster = None;
            if element.id == ids::CLUSTER {
                let end = element.range(self.reader.end).end;
                let is_size_known = element.size.is_some();
                self.cluster = Some(Cluster { timestamp: 0, body: element.body, end, is_size_known });
                self.at = element.body;
            } else if let Some(size) = element.size
                && (ids::is_beside_clusters(element.id) || matches!(element.id, ids::VOID | ids::CRC32))
                && !matches!(element.id, ids::EBML | ids::SEGMENT)
            {
                self.at = element.body.saturating_add(size);
            } else if matches!(element.id, ids::EBML | ids::SEGMENT) {
                // Another document begins: it is not shown.
                return Step::End;
            } else {
                return Step::Damaged(self.at);
            }
        }
    }

    /// Reads an element of a cluster, and goes to where the next begins.
    fn inside(&mut self, element: &Element, cluster: Cluster) -> Option<Step> {
        let Some(size) = element.size else { return Some(Step::Damaged(self.at)) };
        let end = element.body.saturating_add(size);
        if end > cluster.end {
            // A file that was cut off ends in the midst of a block; anything else is damage.
            return Some(if cluster.end == self.reader.end { Step::End } else { Step::Damaged(self.at) });
        }
        match element.id {
            ids::CLUSTER_TIMESTAMP if size <= 8 => {
                let bytes = self.known.available(element.body..end);
                if (bytes.len() as u64) < size {
                    return Some(Step::Gap(element.body + bytes.len() as u64));
                }
                let timestamp = i64::try_from(uint(&bytes)).unwrap_or(i64::MAX);
                self.cluster = Some(Cluster { timestamp, ..cluster });
            }
            ids::SIMPLE_BLOCK => {
                let block = Block { body: element.body, size, is_key: None, duration: 0 };
                if let Err(step) = self.block(&block, cluster) {
                    return Some(step);
                }
            }
            ids::BLOCK_GROUP => {
                if let Err(step) = self.group(element.body, end, cluster) {
                    return Some(step);
                }
            }
            _ => {}
        }
        self.at = end;
        None
    }

    /// Reads a `BlockGroup`: its block's frame is a keyframe if nothing is referred to.
    fn group(&mut self, start: u64, end: u64, cluster: Cluster) -> Result<(), Step> {
        let mut at = start;
        let mut block = None;
        let mut is_key = true;
        let mut duration = 0;
        for _ in 0..MAX_GROUP {
            let element = match ebml::look(self.known, at, end) {
                Seen::Element(element) => element,
                Seen::Gap(at) => return Err(Step::Gap(at)),
                Seen::End | Seen::Damaged => break,
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
                    if !self.is_ours(range.start, range.end, cluster)? {
                        return Ok(());
                    }
                }
                ids::REFERENCE_BLOCK => is_key = false,
                ids::BLOCK_DURATION => {
                    let bytes = self.known.available(range.clone());
                    if (bytes.len() as u64) < range.end - range.start {
                        return Err(Step::Gap(range.start + bytes.len() as u64));
                    }
                    duration = self.reader.clock.length(i64::try_from(uint(&bytes)).unwrap_or(0));
                }
                _ => {}
            }
            at = range.end;
        }
        match block {
            Some(block) => self.block(&Block { is_key: Some(is_key), duration, ..block }, cluster),
            None => Ok(()),
        }
    }

    /// Whether a block is of the track, without the rest of its group.
    fn is_ours(&mut self, start: u64, end: u64, cluster: Cluster) -> Result<bool, Step> {
        match self.head(start, end)? {
            Some((header, _)) => {
                self.meet(&header, cluster);
                Ok(header.track == self.reader.track)
            }
            None => Ok(false),
        }
    }

    fn meet(&mut self, header: &block::Header, cluster: Cluster) -> i64 {
        let units = cluster.timestamp.saturating_add(i64::from(header.relative));
        let pts = self.reader.clock.ticks(units);
        self.earliest = Some(self.earliest.map_or(pts, |earliest| earliest.min(pts)));
        self.latest = self.latest.max(pts);
        self.others |= header.track != self.reader.track;
        pts
    }

    /// The header of a block, and what is known of the block's head; none if it is damaged.
    fn head(&self, start: u64, end: u64) -> Result<Option<(block::Header, bytes::Bytes)>, Step> {
        const ENOUGH: u64 = 11;
        let bytes = self.known.available(start..end.min(start + ENOUGH));
        match block::header(&bytes) {
            Ok(header) => Ok(Some((header, bytes))),
            Err(Trouble::Short) if (bytes.len() as u64) < ENOUGH.min(end - start) => {
                Err(Step::Gap(start + bytes.len() as u64))
            }
            Err(_) => Ok(None),
        }
    }

    /// Queues the frames of a block, if it is of the track. A damaged one has none.
    fn block(&mut self, block: &Block, cluster: Cluster) -> Result<(), Step> {
        let end = block.body + block.size;
        let Some((header, mut bytes)) = self.head(block.body, end)? else { return Ok(()) };
        let pts = self.meet(&header, cluster);
        if header.track != self.reader.track {
            return Ok(());
        }
        let mut places = block::frames(&header, &bytes, block.size);
        if places == Err(Trouble::Short) {
            let wanted = block.size.min(MAX_BLOCK_HEAD);
            bytes = self.known.available(block.body..block.body + wanted);
            places = block::frames(&header, &bytes, block.size);
            if places == Err(Trouble::Short) && (bytes.len() as u64) < wanted {
                return Err(Step::Gap(block.body + bytes.len() as u64));
            }
        }
        let places = places.unwrap_or_default();
        self.known.budget().charge(places.len() as u64 * SAMPLE);
        // A block has at most 256 frames.
        let count = i64::try_from(places.len()).unwrap_or(1).max(1);
        let known_step = if block.duration > 0 { block.duration / count } else { self.reader.frame_ticks };
        let step = known_step.max(1);
        let marked = block.is_key.unwrap_or(header.is_key);
        let mut pts = pts;
        for (start, size) in places {
            let first = bytes.get(usize::try_from(start).unwrap_or(usize::MAX));
            let told = first.and_then(|first| self.reader.codec.and_then(|codec| codec.is_key(*first)));
            let mut is_key = told.unwrap_or(marked);
            if self.reader.verifies
                && let Some(codec) = self.reader.codec
            {
                is_key = self.is_key(codec, block.body + start, size, is_key)?;
            }
            if let Ok(size) = u32::try_from(size)
                && size > 0
            {
                self.laced.push_back(Frame { offset: block.body + start, size, pts, is_key });
            }
            pts = pts.saturating_add(step);
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Whether a frame that is called a keyframe, or not, is one by its own bytes.
    fn is_key(&self, codec: Codec, start: u64, size: u64, called: bool) -> Result<bool, Step> {
        let wanted = size.min(VERIFIED_HEAD);
        let head = self.known.available(start..start + wanted);
        if (head.len() as u64) < wanted {
            return Err(Step::Gap(start + head.len() as u64));
        }
        Ok(match access(codec.name(), &head, self.reader.nal_length) {
            Access::Point => true,
            Access::Dependent => false,
            // Where nothing better is at hand, what follows a recovery point is about right.
            Access::Gradual(_) | Access::Unknown => called,
        })
    }
}

/// Where the bytes of a block lie, and what its group says of it.
#[derive(Debug, Clone, Copy)]
struct Block {
    body: u64,
    size: u64,
    is_key: Option<bool>,
    duration: i64,
}

#[cfg(test)]
mod tests;
