//! An index of all frames of a track, built by reading a small file completely. Damaged parts are skipped.

use glimpse_contract::Code;

use crate::demux::budget::{STEPS_PER_LOOKUP, STEPS_PER_SAMPLE, WorkBudget};
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Sample, SampleRequest, SeekMode};
use crate::demux::error::ReadError;
use crate::demux::index::VERIFY_HEAD_BYTES;
use crate::demux::matroska::cluster::{BlockFrame, ClusterContext, ClusterEvent, ClusterReader};
use crate::demux::matroska::codec::Codec;
use crate::demux::matroska::collector::SampleCollector;
use crate::demux::matroska::resync::{self, ClusterSearch};
use crate::demux::reference::{RandomAccess, random_access};

/// The most frames in a file that is indexed completely: with more, each frame would have less than 17 bytes.
const MAX_FRAMES: usize = 500_000;

/// All frames of a track.
#[derive(Debug, Clone)]
pub(super) struct FrameIndex {
    /// In stored order.
    pub(super) frames: Vec<BlockFrame>,
    /// Presentation times of keyframes, and their index in `frames`; ascending.
    pub(super) keys: Vec<(i64, usize)>,
    /// Presentation times of the first correct frames after recovery points, and the indexes of those points;
    /// ascending.
    pub(super) recovery_points: Vec<(i64, usize)>,
    /// Start of the last block of any track.
    pub(super) latest: i64,
}

/// Detects keyframes from the bytes of frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyframeVerifier<'a> {
    pub(super) codec: Codec,
    /// The bytes that precede the data of each frame.
    pub(super) prefix: &'a [u8],
    /// Size of a NAL unit's length field in bytes.
    pub(super) nal_length_size: usize,
}

impl KeyframeVerifier<'_> {
    fn random_access(&self, buffer: &SparseBuffer, frame: &BlockFrame) -> RandomAccess {
        let size = u64::from(frame.size).min(VERIFY_HEAD_BYTES);
        let mut head = buffer.get_available(frame.offset..frame.offset + size);
        if !self.prefix.is_empty() {
            head = [self.prefix, &head].concat().into();
        }
        random_access(self.codec.name(), &head, self.nal_length_size)
    }
}

impl FrameIndex {
    /// Reads the segment from `first` to its end.
    ///
    /// # Errors
    /// The bytes that are missing; [`Code::Truncated`] if there is no frame.
    pub(super) fn read(
        buffer: &SparseBuffer,
        context: ClusterContext,
        first: u64,
        verifier: &KeyframeVerifier<'_>,
    ) -> Result<Self, ReadError> {
        // One piece, so that the bytes are not copied again for every element.
        let mut whole = buffer.to_empty();
        whole.insert(first, &buffer.get(first..context.end)?);
        let (mut frames, mut latest) = (Vec::new(), 0);
        let mut clusters = ClusterReader::new(&whole, context, first);
        loop {
            match clusters.next() {
                ClusterEvent::Frame(frame) if frames.len() < MAX_FRAMES => frames.push(frame),
                ClusterEvent::Frame(_) => return Err(ReadError::Unsupported("implausible number of frames")),
                ClusterEvent::Damaged(at) => match resync::find_first(&whole, context, at + 1, context.end) {
                    ClusterSearch::Cluster(place) => {
                        latest = latest.max(clusters.latest());
                        clusters = ClusterReader::new(&whole, context, place.offset);
                    }
                    ClusterSearch::Gap(_) | ClusterSearch::NotFound => break,
                },
                ClusterEvent::Gap(_) | ClusterEvent::End => break,
            }
        }
        buffer.budget().spend(frames.len() as u64 * STEPS_PER_SAMPLE)?;
        if frames.is_empty() {
            return Err(ReadError::Rejected(Code::Truncated));
        }
        latest = latest.max(clusters.latest());
        // All bytes are buffered, so keyframes are detected from the frames themselves instead of the flags.
        let mut unresolved_points = Vec::new();
        let mut is_verified = false;
        for (place, frame) in frames.iter_mut().enumerate() {
            let access = verifier.random_access(&whole, frame);
            is_verified |= access != RandomAccess::Unknown;
            match access {
                RandomAccess::Point => frame.is_key = true,
                RandomAccess::Dependent => frame.is_key = false,
                RandomAccess::RecoveryPoint(count) => {
                    frame.is_key = false;
                    unresolved_points.push((place, count));
                }
                RandomAccess::Unknown => {}
            }
        }
        let keyed = frames.iter().enumerate().filter(|(_, frame)| frame.is_key);
        let mut keys: Vec<_> = keyed.map(|(place, frame)| (frame.pts, place)).collect();
        if keys.is_empty() {
            if !is_verified {
                return Err(ReadError::Unsupported("no keyframe"));
            }
            // Decoding has to start somewhere.
            keys.extend(frames.first().map(|frame| (frame.pts, 0)));
        }
        keys.sort_unstable();
        let mut recovery_points: Vec<_> = unresolved_points
            .into_iter()
            .filter_map(|(place, count)| Some((frames.get(place + count as usize)?.pts, place)))
            .collect();
        recovery_points.sort_unstable();
        Ok(Self { frames, keys, recovery_points, latest })
    }

    /// Shifts all times to another origin.
    pub(super) fn rebase(&mut self, origin: i64) {
        for frame in &mut self.frames {
            frame.pts -= origin;
        }
        for (time, _) in self.keys.iter_mut().chain(&mut self.recovery_points) {
            *time -= origin;
        }
        self.latest -= origin;
    }

    /// End of the last frame, with `frame_ticks` or the average frame duration.
    pub(super) fn end(&self, frame_ticks: i64) -> i64 {
        let first = self.frames.iter().map(|frame| frame.pts).min().unwrap_or(0);
        let last = self.frames.iter().map(|frame| frame.pts).max().unwrap_or(0);
        let average =
            (last - first) / i64::try_from(self.frames.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
        last + if frame_ticks > 0 { frame_ticks } else { average.max(1) }
    }

    /// Returns the samples of a request.
    ///
    /// # Errors
    /// The reason why the budget is exhausted.
    pub(super) fn find_samples(
        &self,
        request: &SampleRequest,
        reorder_depth: usize,
        budget: &WorkBudget,
    ) -> Result<Vec<Sample>, ReadError> {
        let before = self.keys.partition_point(|(time, _)| *time <= request.from);
        let Some((time, place)) = self.keys.get(before.saturating_sub(1)).copied() else {
            return Ok(Vec::new());
        };
        let min_pts = if request.mode == SeekMode::Keyframe { time } else { i64::MIN };
        let mut collector = SampleCollector::new(*request, min_pts, before == 0, reorder_depth);
        let recovered = self.recovery_points.partition_point(|(time, _)| *time <= request.from);
        let recovery = recovered
            .checked_sub(1)
            .and_then(|at| self.recovery_points.get(at))
            .map_or(0, |(_, place)| *place);
        let place = if request.mode == SeekMode::Exact { place.max(recovery) } else { place };
        let mut pushed = 0;
        for (frame, at) in self.frames.iter().skip(place).zip(place..) {
            // Decoding starts at a recovery point as at a keyframe.
            collector.push(BlockFrame { is_key: frame.is_key || at == place, ..*frame });
            pushed += 1;
            if collector.is_done() {
                break;
            }
        }
        budget.spend(STEPS_PER_LOOKUP + pushed * STEPS_PER_SAMPLE)?;
        Ok(collector.into_samples())
    }
}
