//! Finds the samples of a time in a Flash video without an index: by interpolation and bisection over byte positions,
//! assuming a constant bitrate, and reading from the next tag.

use std::ops::Range;

use bytes::Bytes;

use crate::demux::budget::STEPS_PER_SAMPLE;
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Sample, SampleRequest, SeekMode};
use crate::demux::error::{ReadError, collect_missing};
use crate::demux::flv::tag::{HEADER_BYTES, Tag, TagType, VIDEO_HEADER_BYTES, VideoTag, find_tags};
use crate::demux::flv::{SCANNED_BYTES_PER_STEP, TagPosition};
use crate::demux::index::{PresentedSpan, SampleIndex, VERIFY_HEAD_BYTES};
use crate::demux::reference::{RandomAccess, random_access};

/// How many bytes are fetched ahead while tags are read.
pub(super) const READ_AHEAD_BYTES: u64 = 256 * 1024;
pub(super) const MAX_READ_AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// How far a tag is searched from a position: the window has to contain the largest tag completely.
const SCAN_WINDOWS: [u64; 2] = [512 * 1024, 2 * 1024 * 1024];
/// The most bytes that are scanned for tags in one call.
pub(super) const MAX_SCAN_BYTES: u64 = 128 << 20;
/// The precision at which the search stops, in bytes or milliseconds. The rest is read sequentially.
const WALK_BYTES: u64 = 512 * 1024;
const WALK_MS: i64 = 1_500;
/// The number of interpolated guesses, and of all guesses: the rest are bisections.
const MAX_INTERPOLATIONS: usize = 5;
const MAX_GUESSES: usize = 10;
/// The most bytes that are read to find keyframes for all requests together, which is the memory that a job has beside
/// its decoder; and the range of the share of one request.
const MAX_SEARCH_BYTES: u64 = 96 << 20;
const REQUEST_BYTES: Range<u64> = (512 << 10)..(8 << 20);
/// The most bytes that are read for an exact time.
pub(super) const MAX_RUN_BYTES: u64 = 64 << 20;
/// How many earlier positions are tried if there is no keyframe before the requested time, and the first step back in
/// milliseconds. Each step is twice as long as the one before.
const MAX_STEPS_BACK: u32 = 4;
const STEP_BACK_MS: i64 = 5_000;

/// A tag, with its content if it is a video tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct TagContent {
    pub(super) tag: Tag,
    pub(super) video: VideoTag,
}

/// Reads the tag at `at`. `None` if the file ends before it does, or if there is no valid tag.
///
/// # Errors
/// The bytes that are missing: `read_ahead` of them.
pub(super) fn read_tag(
    buffer: &SparseBuffer,
    at: u64,
    read_ahead: u64,
) -> Result<Option<TagContent>, ReadError> {
    let end = at.saturating_add((HEADER_BYTES + VIDEO_HEADER_BYTES) as u64).min(buffer.total_bytes());
    if end < at.saturating_add(HEADER_BYTES as u64) {
        return Ok(None);
    }
    let bytes = match buffer.get(at..end) {
        Err(ReadError::NeedMore(_)) => {
            return Err(ReadError::NeedMore(
                buffer.missing_ranges(at..at.saturating_add(read_ahead).max(end)),
            ));
        }
        other => other?,
    };
    let Some(tag) = Tag::parse(&bytes) else { return Ok(None) };
    if at + (HEADER_BYTES + tag.body_bytes) as u64 > buffer.total_bytes() {
        return Ok(None);
    }
    let body = bytes.get(HEADER_BYTES..bytes.len().min(HEADER_BYTES + tag.body_bytes)).unwrap_or_default();
    let video = if tag.tag_type == TagType::Video { VideoTag::parse(body) } else { VideoTag::Empty };
    Ok(Some(TagContent { tag, video }))
}

/// Where reading of tags stops.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReadUntil {
    /// At the end of the file.
    End,
    /// After a keyframe and this many milliseconds after it, but within this many bytes.
    Keyframe(i64, u64),
    /// When all frames that are shown before this time have been read.
    Time(i64),
}

/// A file that is searched by time.
#[derive(Debug, Clone)]
pub(super) struct FlvSeeker {
    pub(super) codec: &'static str,
    /// Size of a NAL unit's length field in bytes.
    pub(super) nal_length_size: usize,
    /// Whether a keyframe flag is ignored unless the sample itself confirms it.
    pub(super) verify_keyframes: bool,
    pub(super) span: PresentedSpan,
    pub(super) first_keyframe: TagPosition,
    /// The last frame, and the end of the presentation.
    pub(super) end: TagPosition,
    /// Duration of a frame, in milliseconds.
    pub(super) frame_ms: i64,
    /// The decoder configuration.
    pub(super) decoder_config: Bytes,
}

impl FlvSeeker {
    /// Returns the samples of each request. If no keyframe is near, those of the nearest other request.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn find_samples(
        &self,
        buffer: &SparseBuffer,
        requests: &[SampleRequest],
    ) -> Result<Vec<Vec<Sample>>, ReadError> {
        let budget =
            (MAX_SEARCH_BYTES / requests.len().max(1) as u64).clamp(REQUEST_BYTES.start, REQUEST_BYTES.end);
        let (mut runs, mut missing) = (Vec::with_capacity(requests.len()), Vec::new());
        let mut remaining_bytes = MAX_SCAN_BYTES;
        for request in requests {
            runs.extend(collect_missing(
                self.find_one(buffer, *request, budget, &mut remaining_bytes),
                &mut missing,
            )?);
        }
        if !missing.is_empty() {
            return Err(ReadError::from_missing_ranges(missing));
        }
        let found = runs.clone();
        for (run, want) in runs.iter_mut().zip(requests).filter(|(run, _)| run.is_empty()) {
            let distance =
                |run: &&Vec<Sample>| run.first().map_or(u64::MAX, |key| key.pts.abs_diff(want.from));
            *run = found.iter().min_by_key(distance).cloned().unwrap_or_default();
        }
        Ok(runs)
    }

    fn find_one(
        &self,
        buffer: &SparseBuffer,
        request: SampleRequest,
        budget: u64,
        remaining_bytes: &mut u64,
    ) -> Result<Vec<Sample>, ReadError> {
        let media_start = self.span.media_start;
        let from = request.from.max(0).saturating_add(media_start).min(self.end.time_ms.saturating_sub(1));
        let length = request.until.saturating_sub(request.from).max(0);
        let is_keyframe_seek = request.mode == SeekMode::Keyframe;
        let until = if is_keyframe_seek {
            ReadUntil::Keyframe(length, budget)
        } else {
            ReadUntil::Time(from.saturating_add(length.max(1)))
        };
        for back in 0..=MAX_STEPS_BACK {
            let earlier = STEP_BACK_MS * ((1 << back) - 1);
            let position = self.locate(buffer, from.saturating_sub(earlier), remaining_bytes)?;
            let mut index = self.read_samples(buffer, position, until)?;
            index.map_to_presentation(self.span, self.frame_ms);
            let samples = index.find_samples(request, buffer.budget())?;
            let is_found = if is_keyframe_seek {
                !samples.is_empty() || back > 0
            } else {
                samples.first().is_some_and(|key| key.pts <= request.from)
            };
            if is_found || position.offset <= self.first_keyframe.offset {
                return Ok(samples);
            }
        }
        Ok(Vec::new())
    }

    /// Finds a tag shortly before a time. `remaining_bytes` is the number of bytes that may still be scanned.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn locate(
        &self,
        buffer: &SparseBuffer,
        time: i64,
        remaining_bytes: &mut u64,
    ) -> Result<TagPosition, ReadError> {
        let (mut low, mut high) = (self.first_keyframe, self.end);
        for guess in 0..MAX_GUESSES {
            let bytes = high.offset.saturating_sub(low.offset);
            if time.saturating_sub(low.time_ms) <= WALK_MS || bytes <= WALK_BYTES {
                break;
            }
            let part = if guess < MAX_INTERPOLATIONS {
                (time - low.time_ms) as f64 / (high.time_ms - low.time_ms).max(1) as f64
            } else {
                0.5
            };
            let at = low.offset + (bytes as f64 * part.clamp(0.0, 1.0)) as u64;
            let at = at.saturating_sub(WALK_BYTES / 2).clamp(low.offset + 1, high.offset);
            match find_video_tag(buffer, at, high.offset, remaining_bytes)? {
                Some(found) if found.time_ms <= time => low = found,
                Some(found) => high = TagPosition { offset: at, time_ms: found.time_ms.min(high.time_ms) },
                None => high = TagPosition { offset: at, time_ms: high.time_ms },
            }
        }
        Ok(low)
    }

    /// Reads samples, starting at a tag.
    ///
    /// # Errors
    /// The bytes that are missing; [`ReadError::Unsupported`] if the decoder configuration changes.
    pub(super) fn read_samples(
        &self,
        buffer: &SparseBuffer,
        from: TagPosition,
        until: ReadUntil,
    ) -> Result<SampleIndex, ReadError> {
        let (mut index, mut at) = (SampleIndex::default(), from.offset);
        loop {
            let read_bytes = at - from.offset;
            let max_bytes = match until {
                ReadUntil::End => u64::MAX,
                ReadUntil::Keyframe(_, budget) if !index.has_keys() => budget,
                ReadUntil::Keyframe(..) | ReadUntil::Time(_) => MAX_RUN_BYTES,
            };
            if read_bytes > max_bytes {
                break;
            }
            let Some(TagContent { tag, video: picture }) =
                read_tag(buffer, at, (read_bytes / 2).clamp(READ_AHEAD_BYTES, MAX_READ_AHEAD_BYTES))?
            else {
                break;
            };
            let body = at + HEADER_BYTES as u64;
            match picture {
                VideoTag::SequenceHeader(_, from) => {
                    let record = body + from.min(tag.body_bytes) as u64..body + tag.body_bytes as u64;
                    if buffer.get(record)? != self.decoder_config {
                        return Err(ReadError::Unsupported("codec configuration changes"));
                    }
                }
                VideoTag::Unsupported => return Err(ReadError::Unsupported("codec changes")),
                VideoTag::CodedFrame { is_key: marked_key, composition_time_ms: shift, offset: at }
                    if at < tag.body_bytes =>
                {
                    let dts = tag.time_ms.cast_signed();
                    let (offset, size) = (body + at as u64, (tag.body_bytes - at) as u32);
                    let pts = dts.saturating_add(shift.into());
                    buffer.budget().spend(STEPS_PER_SAMPLE)?;
                    let is_key = if self.verify_keyframes {
                        self.verify_keyframe(buffer, offset, size, marked_key)?
                    } else {
                        marked_key
                    };
                    index.push(Sample { offset, size, dts, pts, is_key, entry: 0 });
                    if is_complete(&index, until) {
                        break;
                    }
                }
                VideoTag::CodedFrame { .. } | VideoTag::Empty => {}
            }
            at += tag.total_bytes() as u64;
        }
        Ok(index)
    }
}

impl FlvSeeker {
    /// Whether a sample is a keyframe, according to its own bytes; if they are inconclusive, according to its flag.
    fn verify_keyframe(
        &self,
        buffer: &SparseBuffer,
        offset: u64,
        size: u32,
        is_marked: bool,
    ) -> Result<bool, ReadError> {
        let head = buffer.get(offset..offset + u64::from(size).min(VERIFY_HEAD_BYTES))?;
        Ok(match random_access(self.codec, &head, self.nal_length_size) {
            RandomAccess::Point => true,
            RandomAccess::Dependent => false,
            RandomAccess::RecoveryPoint(_) | RandomAccess::Unknown => is_marked,
        })
    }
}

/// The first video tag that starts in `from..to`, if there is one within reach. `remaining_bytes` is the number of
/// bytes that may still be scanned.
fn find_video_tag(
    buffer: &SparseBuffer,
    from: u64,
    to: u64,
    remaining_bytes: &mut u64,
) -> Result<Option<TagPosition>, ReadError> {
    for window in SCAN_WINDOWS {
        let end = from.saturating_add(window).min(buffer.total_bytes());
        let bytes = buffer.get(from..end)?;
        let found = find_tags(&bytes).find(|(_, tag)| tag.tag_type == TagType::Video);
        let cost = found.map_or(bytes.len(), |(at, _)| at) as u64;
        buffer.budget().spend(cost / SCANNED_BYTES_PER_STEP)?;
        *remaining_bytes =
            remaining_bytes.checked_sub(cost).ok_or(ReadError::Unsupported("too many bytes without tags"))?;
        if let Some((at, tag)) = found {
            let position = TagPosition { offset: from + at as u64, time_ms: tag.time_ms.cast_signed() };
            return Ok(Some(position).filter(|place| place.offset < to));
        }
        if end >= buffer.total_bytes() {
            break;
        }
    }
    Ok(None)
}

fn is_complete(index: &SampleIndex, until: ReadUntil) -> bool {
    // No later sample is shown before this time.
    let Some(presented_until) =
        index.last_dts().map(|dts| dts.saturating_add(index.min_composition_offset()))
    else {
        return false;
    };
    match until {
        ReadUntil::End => false,
        ReadUntil::Keyframe(0, _) => index.has_keys(),
        ReadUntil::Keyframe(length, _) => {
            index.first_key_pts().is_some_and(|key| presented_until >= key.saturating_add(length))
        }
        ReadUntil::Time(moment) => presented_until >= moment,
    }
}
