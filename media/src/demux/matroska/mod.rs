//! Demuxes Matroska and WebM: RFC 8794 (EBML) and RFC 9559 (Matroska).
//!
//! The cues list the keyframes; around the requested ones, the headers of blocks are read. A file without usable cues
//! is read completely if it is small; otherwise it is searched for clusters. Nothing is recursive, and memory use is
//! proportional to the buffered bytes.

mod audio;
mod bisect;
mod block;
mod cluster;
mod codec;
mod collector;
mod cue_seek;
mod cues;
mod ebml;
mod first_cluster;
mod full_index;
mod ids;
mod resync;
mod sample_entry;
mod segment;
mod timestamps;
mod track;
mod video;

use std::ops::Range;

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::audio::AudioRun;
use crate::demux::budget::PARSED_BYTES_PER_STEP;
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Demuxer, Sample, SampleRequest, SeekMode, Track, nal_length_size};
use crate::demux::error::{ReadError, collect_missing};
use crate::demux::index::{VERIFY_ALL_BYTES, VERIFY_HEAD_BYTES};
use crate::demux::matroska::audio::AacTrack;
use crate::demux::matroska::cluster::{BlockFrame, ClusterContext, ClusterEvent, ClusterReader};
use crate::demux::matroska::codec::Codec;
use crate::demux::matroska::cue_seek::MatroskaSeeker;
use crate::demux::matroska::cues::Cue;
use crate::demux::matroska::first_cluster::FirstFrames;
use crate::demux::matroska::full_index::{FrameIndex, KeyframeVerifier};
use crate::demux::matroska::resync::ClusterPosition;
use crate::demux::matroska::segment::SegmentHeader;
use crate::demux::matroska::timestamps::TimestampConverter;
use crate::demux::matroska::track::SelectedTrack;

/// The sizes up to which files are read completely.
#[derive(Debug, Clone, Copy)]
struct ReadAllLimits {
    /// All files: those are fetched completely at the start.
    always: u64,
    /// Files without cues.
    without_cues: u64,
}

const READ_ALL_LIMITS: ReadAllLimits = ReadAllLimits { always: 1 << 20, without_cues: 8 << 20 };
/// How many bytes at the end of a file are searched for its last cluster, in this order.
const TAIL_WINDOWS: [u64; 4] = [256 << 10, 1 << 20, 4 << 20, 16 << 20];
/// If more seconds than this follow the last cue, the frames after it are read, within this many bytes.
const LONG_GOP_SECS: i64 = 15;
const AFTER_LAST_CUE_BYTES: u64 = 2 << 20;
/// Cues with a larger average distance in seconds are not used as an index.
const MAX_CUE_DISTANCE_SECS: i64 = 30;

/// A file whose header was read.
#[derive(Debug, Clone)]
pub struct Matroska {
    track: Track,
    codec: Codec,
    aac: Option<AacTrack>,
    context: ClusterContext,
    reorder_depth: usize,
    keyframe_bytes: u64,
    cues: Vec<Cue>,
    index: Option<FrameIndex>,
    first_cluster: ClusterPosition,
    end: ClusterPosition,
}

/// Reads the header of a file: the track's properties and the index.
///
/// # Errors
/// The bytes that are missing, or the reason why the file is rejected or left to ffmpeg.
pub fn open(buffer: &SparseBuffer) -> Result<Matroska, ReadError> {
    merge_missing(buffer, open_with_limits(buffer, READ_ALL_LIMITS))
}

/// The codec of the first video track, for a file that is rejected because of it.
///
/// # Errors
/// The bytes that are missing.
pub fn codec_name(buffer: &SparseBuffer) -> Result<Option<String>, ReadError> {
    Ok(track::codec_name(&merge_missing(buffer, segment::read(buffer))?.tracks))
}

fn open_with_limits(buffer: &SparseBuffer, limits: ReadAllLimits) -> Result<Matroska, ReadError> {
    let header = segment::read(buffer)?;
    let parsed = header.info.len() + header.tracks.len() + header.cues.as_ref().map_or(0, Bytes::len);
    buffer.budget().spend(parsed as u64 / PARSED_BYTES_PER_STEP)?;
    let selected = track::select(&header.tracks)?;
    let info = SegmentInfo::parse(&header.info);
    let clock = TimestampConverter::new(info.timestamp_scale);
    let declared = clock.fractional_to_ticks(info.duration).filter(|_| !header.is_truncated);
    if declared.is_some_and(|ticks| is_too_long(&clock, ticks)) {
        return Err(ReadError::Rejected(Code::TooLong));
    }
    // Checks that the codec's configuration is present. How NAL units are delimited is read from the frames later.
    let mut entries =
        vec![sample_entry::write(&selected, false).or_else(|_| sample_entry::write(&selected, true))?];
    let mut context = initial_context(&selected, clock, nal_length_size(&entries), header.segment.end);
    let frame_ticks = context.frame_ticks;
    let mut cues = match &header.cues {
        Some(body) => cues::parse(body, &header.segment, selected.number, &clock),
        None => Vec::new(),
    };
    let first = first_cluster_offset(&header, &cues)?;
    if !is_usable_index(&cues, &clock, declared) {
        cues.clear();
    }
    let reads_all = context.end - first <= limits.always
        || (cues.is_empty() && context.end - first <= limits.without_cues);
    if reads_all {
        let gaps = buffer.missing_ranges(first..context.end);
        if !gaps.is_empty() {
            return Err(ReadError::NeedMore(gaps));
        }
    }

    let cue = cues.last().filter(|_| !reads_all);
    let FileBoundaries { first_frames, last_cluster: tail, video_end } =
        read_boundaries(buffer, context, first, &selected, (cue, declared, reads_all))?;
    if let Some(entry) = entry_from_frames(buffer, &selected, &first_frames, context.nal_length_size)? {
        entries = vec![entry];
        context.nal_length_size = nal_length_size(&entries);
    }
    // No frame is marked as a keyframe, not even the first: detect keyframes from the frames themselves.
    context.verify_keyframes =
        !first_frames.frames.is_empty() && first_frames.frames.iter().all(|frame| !frame.is_key);
    let verifier = KeyframeVerifier {
        codec: selected.codec,
        prefix: &selected.prefix,
        nal_length_size: context.nal_length_size,
    };
    let mut index = if reads_all { Some(FrameIndex::read(buffer, context, first, &verifier)?) } else { None };

    let origin = first_frames.origin;
    context.clock.origin = origin;
    for cue in &mut cues {
        cue.time -= origin;
    }
    if let Some(index) = &mut index {
        index.rebase(origin);
    }
    let duration = match (declared, &index) {
        (Some(declared), _) => duration_from_origin(declared, origin, &cues, index.as_ref()),
        (None, Some(index)) => index.end(frame_ticks).max(index.latest),
        (None, None) => tail.map_or(0, |tail| tail.time - origin),
    };
    let duration = duration.max(0);
    if is_too_long(&context.clock, duration) {
        return Err(ReadError::Rejected(Code::TooLong));
    }
    let last_end = index.as_ref().map(|index| index.end(frame_ticks)).or(video_end.map(|time| time - origin));
    let picture_end = last_end.map_or(duration, |end| end.clamp(0, duration));
    let frames = index.as_ref().map_or(&first_frames.frames, |index| &index.frames);
    let fps = frame_rate(&selected, frames, clock.timescale);
    let keyframes = match &index {
        Some(index) => Some(index.keys.iter().map(|(time, _)| *time).collect()),
        None => (!cues.is_empty()).then(|| cues.iter().map(|cue| cue.time).collect()),
    };
    let first_time = first_frames.frames.first().map_or(0, |frame| frame.pts - origin);
    Ok(Matroska {
        track: Track {
            codec: selected.codec.name(),
            timescale: clock.timescale,
            sample_entries: entries,
            matrix: selected.video.display_matrix(),
            display_size: [0; 2],
            duration,
            video_start: first_time.clamp(0, picture_end),
            video_end: picture_end,
            fps,
            sample_prefix: selected.prefix,
            has_audio: selected.has_audio,
            keyframes,
            is_intra_refresh: index.as_ref().is_some_and(|index| !index.recovery_points.is_empty()),
            crop: selected.video.crop(),
            dolby_vision: selected.dolby_vision,
        },
        codec: selected.codec,
        aac: selected.aac,
        context,
        reorder_depth: selected.codec.reorder_depth(),
        keyframe_bytes: first_keyframe_bytes(&first_frames.frames),
        cues,
        index,
        first_cluster: ClusterPosition { offset: first, time: first_time },
        end: ClusterPosition { offset: tail.map_or(header.segment.end, |tail| tail.offset), time: duration },
    })
}

/// The context of the first cluster: keyframes are as the file marks them.
fn initial_context(
    selected: &SelectedTrack,
    clock: TimestampConverter,
    nal_length_size: usize,
    end: u64,
) -> ClusterContext {
    ClusterContext {
        track: selected.number,
        codec: Some(selected.codec).filter(|_| selected.prefix.is_empty()),
        nal_length_size,
        verify_keyframes: false,
        clock,
        frame_ticks: clock.nanos_to_ticks(i128::from(selected.default_duration)),
        end,
    }
}

/// Frames per second: as declared, if that is plausible, else as the first frames have it.
fn frame_rate(selected: &SelectedTrack, frames: &[BlockFrame], timescale: u32) -> f64 {
    let declared_rate = 1e9 / selected.default_duration as f64;
    if declared_rate <= 1000.0 { declared_rate } else { first_cluster::frame_rate(frames, timescale) }
}

/// The size of the first keyframe, in bytes. 0 if there is none.
fn first_keyframe_bytes(frames: &[BlockFrame]) -> u64 {
    frames.iter().find(|frame| frame.is_key).map_or(0, |frame| u64::from(frame.size))
}

/// The data from the beginning and the end of a file.
struct FileBoundaries {
    first_frames: FirstFrames,
    /// The last cluster, if no duration is declared.
    last_cluster: Option<ClusterPosition>,
    /// End of the last frame, if the audio is longer.
    video_end: Option<i64>,
}

/// Reads the first frames of a file, and its end if needed. All missing ranges are requested together.
fn read_boundaries(
    buffer: &SparseBuffer,
    context: ClusterContext,
    first: u64,
    selected: &SelectedTrack,
    (cue, declared, reads_all): (Option<&Cue>, Option<i64>, bool),
) -> Result<FileBoundaries, ReadError> {
    let mut missing = Vec::new();
    let first_frames =
        collect_missing(first_cluster::read(buffer, context, first, selected.has_audio), &mut missing)?;
    let last_cluster = if reads_all || declared.is_some() {
        None
    } else {
        collect_missing(find_last_cluster(buffer, context, first), &mut missing)?.flatten()
    };
    let long_gop = context.clock.seconds_to_ticks(LONG_GOP_SECS);
    let video_end = match cue {
        Some(cue) if declared.is_some_and(|end| end - cue.time > long_gop) => {
            collect_missing(last_frame_end(buffer, context, cue), &mut missing)?.flatten()
        }
        _ => None,
    };
    let first_frames = first_frames.filter(|_| missing.is_empty()).ok_or(ReadError::NeedMore(missing))?;
    Ok(FileBoundaries { first_frames, last_cluster, video_end })
}

/// The sample entry of an H.264 or HEVC track, after the delimiters of its NAL units were detected from the first
/// frame; `None` for other codecs.
fn entry_from_frames(
    buffer: &SparseBuffer,
    selected: &SelectedTrack,
    first_frames: &FirstFrames,
    nal_length_size: usize,
) -> Result<Option<Bytes>, ReadError> {
    let has_nal_units = matches!(selected.codec, Codec::H264 | Codec::Hevc);
    let Some(frame) = first_frames.frames.first().filter(|_| has_nal_units) else { return Ok(None) };
    let frame_head =
        buffer.get_available(frame.offset..frame.offset + u64::from(frame.size).min(VERIFY_HEAD_BYTES));
    let frame_head = [&selected.prefix[..], &frame_head].concat();
    let size = u64::from(frame.size) + selected.prefix.len() as u64;
    sample_entry::write(selected, sample_entry::has_start_codes(&frame_head, size, nal_length_size)).map(Some)
}

fn is_too_long(clock: &TimestampConverter, ticks: i64) -> bool {
    u64::try_from(clock.to_ms(ticks)).is_ok_and(|length| length > limits::MAX_DURATION_MS)
}

/// The parsed fields of `SegmentInfo`.
#[derive(Debug, Clone, Copy)]
struct SegmentInfo {
    timestamp_scale: u64,
    duration: f64,
}

impl SegmentInfo {
    fn parse(body: &[u8]) -> Self {
        let mut info = Self { timestamp_scale: 0, duration: 0.0 };
        for (id, body) in ebml::children(body) {
            match id {
                ids::TIMESTAMP_SCALE => info.timestamp_scale = ebml::parse_uint(body),
                ids::DURATION => info.duration = ebml::parse_float(body),
                _ => {}
            }
        }
        info
    }
}

/// Offset of the first cluster: found in the segment, or the first one in the cues.
fn first_cluster_offset(header: &SegmentHeader, cues: &[Cue]) -> Result<u64, ReadError> {
    header
        .first_cluster
        .or_else(|| cues.iter().map(|cue| cue.cluster).min())
        .ok_or(ReadError::Rejected(Code::Truncated))
}

/// Whether the cues cover the whole file: their average distance is small enough.
fn is_usable_index(cues: &[Cue], clock: &TimestampConverter, duration: Option<i64>) -> bool {
    let (Some(first), Some(last)) = (cues.first(), cues.last()) else { return false };
    let length = duration.unwrap_or(last.time - first.time);
    length / i64::try_from(cues.len()).unwrap_or(i64::MAX)
        <= MAX_CUE_DISTANCE_SECS * i64::from(clock.timescale)
}

/// The duration of a file that starts at `origin`. Some writers count it from there, some from time 0.
fn duration_from_origin(declared: i64, origin: i64, cues: &[Cue], index: Option<&FrameIndex>) -> i64 {
    let last = cues.last().map(|cue| cue.time).max(index.map(|index| index.end(0)));
    if last.is_some_and(|last| last + origin > declared) { declared } else { declared - origin }
}

/// End of the last frame of a file whose audio continues long after its last cue. `None` if it is not within
/// `AFTER_LAST_CUE_BYTES`.
fn last_frame_end(
    buffer: &SparseBuffer,
    context: ClusterContext,
    cue: &Cue,
) -> Result<Option<i64>, ReadError> {
    let until = cue.cluster.saturating_add(AFTER_LAST_CUE_BYTES).min(context.end);
    let gaps = buffer.missing_ranges(cue.cluster..until);
    if !gaps.is_empty() {
        return Err(ReadError::NeedMore(gaps));
    }
    let mut clusters = ClusterReader::new(buffer, context, cue.cluster);
    let (mut end, mut at) = (None, cue.cluster);
    while let ClusterEvent::Frame(frame) = clusters.next() {
        if frame.offset >= until {
            break;
        }
        end = end.max(Some(frame.pts.saturating_add(context.frame_ticks.max(1))));
        at = frame.offset;
    }
    Ok(end.filter(|_| until == context.end || at < cue.cluster + AFTER_LAST_CUE_BYTES / 2))
}

/// The last cluster of a file, and the end of its last frame.
fn find_last_cluster(
    buffer: &SparseBuffer,
    context: ClusterContext,
    first: u64,
) -> Result<Option<ClusterPosition>, ReadError> {
    for length in TAIL_WINDOWS {
        let from = context.end.saturating_sub(length).max(first);
        let gaps = buffer.missing_ranges(from..context.end);
        if !gaps.is_empty() {
            return Err(ReadError::NeedMore(gaps));
        }
        if let Some(place) = resync::find_last(buffer, context, from, context.end) {
            let mut end = place.time;
            let mut clusters = ClusterReader::new(buffer, context, place.offset);
            while let ClusterEvent::Frame(frame) = clusters.next() {
                end = end.max(frame.pts.saturating_add(context.frame_ticks.max(1)));
            }
            end = end.max(clusters.latest());
            return Ok(Some(ClusterPosition { offset: place.offset, time: end }));
        }
        if from == first {
            break;
        }
    }
    Ok(None)
}

impl Demuxer for Matroska {
    fn track(&self) -> &Track {
        &self.track
    }

    fn with_verified_keyframes(&self, buffer: &SparseBuffer) -> Result<Option<Box<dyn Demuxer>>, ReadError> {
        if self.index.is_some() {
            // Its keyframes already come from the frames.
            return Ok(None);
        }
        let mut demuxer = self.clone();
        if self.context.end - self.first_cluster.offset <= VERIFY_ALL_BYTES {
            let Track { sample_prefix: prefix, .. } = &self.track;
            let verifier =
                KeyframeVerifier { codec: self.codec, prefix, nal_length_size: self.context.nal_length_size };
            let index = FrameIndex::read(buffer, self.context, self.first_cluster.offset, &verifier)?;
            demuxer.track.keyframes = Some(index.keys.iter().map(|(time, _)| *time).collect());
            demuxer.track.is_intra_refresh = !index.recovery_points.is_empty();
            demuxer.index = Some(index);
        } else {
            // The cues are still used to find clusters.
            demuxer.context.verify_keyframes = true;
            demuxer.track.keyframes = None;
        }
        Ok(Some(Box::new(demuxer)))
    }

    fn find_samples(
        &self,
        buffer: &SparseBuffer,
        requests: &[SampleRequest],
    ) -> Result<Vec<Vec<Sample>>, ReadError> {
        if let Some(index) = &self.index {
            let budget = buffer.budget();
            return requests
                .iter()
                .map(|want| index.find_samples(want, self.reorder_depth, budget))
                .collect();
        }
        merge_missing(buffer, self.find_in_large_file(buffer, requests))
    }

    fn find_audio(&self, buffer: &SparseBuffer, range_ms: Range<u64>) -> Result<Option<AudioRun>, ReadError> {
        let Some(aac) = &self.aac else { return Ok(None) };
        merge_missing(buffer, aac.find_samples(&self.seeker(buffer), self.index.is_some(), range_ms))
            .map(Some)
    }
}

impl Matroska {
    fn seeker<'a>(&'a self, buffer: &'a SparseBuffer) -> MatroskaSeeker<'a> {
        MatroskaSeeker {
            buffer,
            context: self.context,
            cues: &self.cues,
            first_cluster: self.first_cluster,
            end: self.end,
            reorder_depth: self.reorder_depth,
            keyframe_bytes: self.keyframe_bytes,
        }
    }

    fn find_in_large_file(
        &self,
        buffer: &SparseBuffer,
        requests: &[SampleRequest],
    ) -> Result<Vec<Vec<Sample>>, ReadError> {
        let seeker = self.seeker(buffer);
        let mut missing = Vec::new();
        let mut runs = vec![Vec::new(); requests.len()];
        let mut unresolved = Vec::new();
        for (place, request) in requests.iter().enumerate() {
            match collect_missing(seeker.find_by_cues(request), &mut missing)? {
                Some(Some(run)) => runs[place] = run,
                Some(None) => unresolved.push(place),
                None => {}
            }
        }
        let unresolved_requests: Vec<SampleRequest> =
            unresolved.iter().filter_map(|place| requests.get(*place).copied()).collect();
        if !unresolved_requests.is_empty()
            && let Some(found) =
                collect_missing(seeker.find_by_bisection(&unresolved_requests), &mut missing)?
        {
            for (place, run) in unresolved.into_iter().zip(found) {
                runs[place] = run;
            }
        }
        if missing.is_empty() { Ok(runs) } else { Err(ReadError::NeedMore(missing)) }
    }
}

/// Reads arbitrary bytes as a file, including a few seeks, and provides missing ranges like a real caller. For fuzzing:
/// it terminates for any input, and all samples are inside of the file.
pub fn fuzz(bytes: &[u8]) {
    fuzz_with_limits(bytes, READ_ALL_LIMITS);
    // As if the file were a large one, with and without cues.
    fuzz_with_limits(bytes, ReadAllLimits { always: 0, without_cues: READ_ALL_LIMITS.without_cues });
    fuzz_with_limits(bytes, ReadAllLimits { always: 0, without_cues: 0 });
}

fn fuzz_with_limits(bytes: &[u8], limits: ReadAllLimits) {
    const ROUNDS: usize = 64;
    let source = Bytes::copy_from_slice(bytes);
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source.slice(..source.len().min(4096)));
    for _ in 0..ROUNDS {
        let outcome = merge_missing(&buffer, open_with_limits(&buffer, limits)).and_then(|movie| {
            let length = movie.track().duration;
            let request =
                |mode, from: i64, span: i64| SampleRequest { from, until: from.saturating_add(span), mode };
            let runs = movie.find_samples(
                &buffer,
                &[
                    request(SeekMode::Keyframe, 0, 0),
                    request(SeekMode::Keyframe, length / 2, length / 8),
                    request(SeekMode::Exact, length / 3, 0),
                    request(SeekMode::Exact, length.saturating_mul(3) / 4, 1000),
                ],
            )?;
            for sample in runs.iter().flatten() {
                assert!(
                    sample.size > 0 && sample.offset + u64::from(sample.size) <= buffer.total_bytes(),
                    "{sample:?}"
                );
            }
            Ok(())
        });
        let Err(ReadError::NeedMore(ranges)) = outcome else { return };
        assert!(!ranges.is_empty(), "no range is missing");
        for range in ranges {
            assert!(range.start < range.end && range.end <= buffer.total_bytes(), "{range:?}");
            assert!(!buffer.missing_ranges(range.clone()).is_empty(), "{range:?} is already buffered");
            buffer.insert(range.start, &source.slice(range.start as usize..range.end as usize));
        }
    }
    panic!("more than {ROUNDS} round trips");
}

/// Sorts missing ranges and merges those that touch. If the budget is exhausted, the result is discarded.
fn merge_missing<T>(buffer: &SparseBuffer, result: Result<T, ReadError>) -> Result<T, ReadError> {
    let result = buffer.check_budget(result);
    let Err(ReadError::NeedMore(mut ranges)) = result else { return result };
    ranges.retain(|range| range.start < range.end);
    if ranges.is_empty() {
        // No bytes that could be fetched would help.
        return Err(ReadError::Rejected(Code::Truncated));
    }
    Err(ReadError::from_missing_ranges(ranges))
}
