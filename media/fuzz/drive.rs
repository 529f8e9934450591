//! Runs the demuxers on arbitrary bytes as a job would, and checks the invariants of their results.

use bytes::Bytes;

use glimpse_media::clip::{self, ClipRequest};
use glimpse_media::container::{SNIFF_BYTES, sniff as sniffed};
use glimpse_media::demux::buffer::SparseBuffer;
use glimpse_media::demux::demuxer::{Demuxer, Sample, SampleRequest, SeekMode};
use glimpse_media::demux::error::ReadError;
use glimpse_media::demux::{flv as flash, matroska as mkv, mp4 as mov, reference};
use glimpse_media::excerpt::mp4_writer::{byte_ranges, write_excerpts};
use glimpse_media::{excerpt, plan};

/// How many bytes are buffered at first. Fewer than in a job, so that small files are also read in several rounds.
const PREFETCHED_BYTES: usize = 48;
/// More than any file of a fuzzer's size needs.
const MAX_ROUNDS: usize = 3000;
/// The most steps of one round, and the most for each byte of the file and each request: each byte can be a sample that
/// is indexed and read again for each request.
const MAX_STEPS: u64 = 2_000;
const MAX_STEPS_PER_BYTE: u64 = 16;

/// Reads arbitrary bytes as an MP4.
pub(crate) fn mp4(bytes: &[u8]) {
    drive(mov::open, bytes);
}

/// Reads arbitrary bytes as a fragmented MP4 that is too large to be read completely.
pub(crate) fn mp4_large(bytes: &[u8]) {
    drive_large(mov::open, bytes);
}

/// Reads arbitrary bytes as a Matroska file.
pub(crate) fn matroska(bytes: &[u8]) {
    drive(mkv::open, bytes);
    mkv::fuzz(bytes);
}

/// Reads arbitrary bytes as a Flash video, completely and by bisection.
pub(crate) fn flv(bytes: &[u8]) {
    drive(flash::open, bytes);
    drive(flash::open_by_bisection, bytes);
}

/// Reads arbitrary bytes as the beginning of a file.
pub(crate) fn sniff(bytes: &[u8]) {
    let head = Bytes::copy_from_slice(&bytes[..bytes.len().min(SNIFF_BYTES)]);
    let _ = sniffed(&head, bytes.len() as u64);
    let _ = sniffed(&head, u64::MAX);
    for codec in ["h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mpeg4", "h263"] {
        for length in 1..=4 {
            let top = reference::temporal_sub_layer(codec, bytes, length);
            let _ = reference::is_non_reference(codec, bytes, length, top);
            let _ = reference::is_decoder_reset(codec, bytes, length);
            let _ = reference::is_false_keyframe(codec, bytes, length);
        }
    }
}

/// Reads arbitrary bytes as a file, and writes the excerpts of its default outputs.
pub(crate) fn digest(bytes: &[u8]) {
    drive_excerpt(mov::open, bytes);
    drive_excerpt(mkv::open, bytes);
    drive_excerpt(flash::open, bytes);
}

/// Reads arbitrary bytes as a file, and cuts clips out of it.
pub(crate) fn clip(bytes: &[u8]) {
    drive_clip(mov::open, bytes);
    drive_clip(mkv::open, bytes);
    drive_clip(flash::open, bytes);
    drive_clip(flash::open_by_bisection, bytes);
}

/// Plans clips, and reads them again.
fn drive_clip<M: Demuxer>(open: impl Fn(&SparseBuffer) -> Result<M, ReadError>, bytes: &[u8]) {
    /// Overlapping samples can add up to far more than the file has.
    const MAX_CLIP_BYTES: u64 = 1 << 20;
    let source = Bytes::copy_from_slice(bytes);
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source.slice(..source.len().min(PREFETCHED_BYTES)));
    let Some(demuxer) = read_until_ready(&source, &mut buffer, open) else { return };
    let length_ms = plan::ms_from_ticks(demuxer.track(), demuxer.track().duration);
    for (start_ms, end_ms) in [
        (0, u64::MAX),
        (length_ms / 3, length_ms / 3 + 700),
        (length_ms.saturating_sub(1), length_ms + 1),
        (length_ms, u64::MAX),
        (u64::MAX - 1, u64::MAX),
    ] {
        let request = ClipRequest { start_ms, end_ms, has_audio: true };
        let planned =
            read_within_steps(4, &source, &mut buffer, |known| clip::plan(&demuxer, known, request));
        let Some(Ok(planned)) = planned else { continue };
        let data: u64 = planned.ranges.iter().map(|range| range.end - range.start).sum();
        assert_eq!(planned.total_bytes, planned.header.len() as u64 + data);
        assert!(
            start_ms <= planned.start_ms && planned.start_ms < planned.end_ms && planned.end_ms <= end_ms
        );
        assert!(
            planned.ranges.iter().all(|range| range.start < range.end && range.end <= source.len() as u64)
        );
        if planned.total_bytes > MAX_CLIP_BYTES {
            continue;
        }
        let mut file = planned.header.to_vec();
        for range in &planned.ranges {
            file.extend_from_slice(&source[range.start as usize..range.end as usize]);
        }
        let mut clip_buffer = SparseBuffer::new(file.len() as u64);
        clip_buffer.insert(0, &file.into());
        let reopened =
            mov::open(&clip_buffer).unwrap_or_else(|fault| panic!("the clip cannot be read: {fault:?}"));
        assert_eq!(reopened.track().codec, "h264");
        let sound = reopened.find_audio(&clip_buffer, 0..u64::MAX).unwrap_or_default();
        assert_eq!(sound.is_some_and(|run| !run.samples.is_empty()), planned.has_audio);
    }
}

/// Plans, fetches and writes excerpts, and reads them again.
fn drive_excerpt<M: Demuxer>(open: impl Fn(&SparseBuffer) -> Result<M, ReadError>, bytes: &[u8]) {
    const PIXELS: u64 = 320 * 240;
    let source = Bytes::copy_from_slice(bytes);
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source.slice(..source.len().min(PREFETCHED_BYTES)));
    let Some(demuxer) = read_until_ready(&source, &mut buffer, open) else { return };
    let track = demuxer.track();
    let tile_times = plan::default_tile_times(track);
    let (mut tile_requests, places) = plan::storyboard(track, PIXELS, &tile_times);
    assert!(places.iter().all(|(stretch, place)| *place < tile_requests[*stretch].times.len()));
    if let Some(alternatives) = plan::tile_alternatives(track, &tile_times, &tile_requests) {
        let requests: Vec<SampleRequest> =
            alternatives.iter().flatten().map(|frame_request| frame_request.samples).collect();
        let Some(runs) =
            read_until_ready(&source, &mut buffer, |known| demuxer.find_samples(known, &requests))
        else {
            return;
        };
        tile_requests = plan::choose_lightest(alternatives, &runs);
        assert_eq!(tile_requests.len(), places.len());
    }
    let animation = plan::animation(track, 15.0, PIXELS, &tile_requests);
    for frame_requests in [tile_requests, animation, vec![plan::fallback_search(track, PIXELS)]] {
        let requests: Vec<SampleRequest> =
            frame_requests.iter().map(|frame_request| frame_request.samples).collect();
        let Some(runs) =
            read_until_ready(&source, &mut buffer, |known| demuxer.find_samples(known, &requests))
        else {
            return;
        };
        let plan = excerpt::plan::plan_excerpt(&frame_requests, runs);
        // Overlapping samples can add up to far more than the file has. The caller reduces such an excerpt.
        if excerpt::plan::is_over_budget(&plan, PIXELS) {
            continue;
        }
        for range in byte_ranges(&plan.samples) {
            buffer.insert(range.start, &source.slice(range.start as usize..range.end as usize));
        }
        let excerpts =
            write_excerpts(track, &buffer, &plan.samples).unwrap_or_else(|fault| panic!("{fault:?}"));
        let frame_count: usize = excerpts.iter().map(|excerpt| excerpt.frame_count as usize).sum();
        assert_eq!(frame_count, plan.samples.iter().filter(|sample| sample.is_output).count());
        for excerpt in &excerpts {
            let mut excerpt_buffer = SparseBuffer::new(excerpt.bytes.len() as u64);
            excerpt_buffer.insert(0, &excerpt.bytes);
            let reopened = mov::open(&excerpt_buffer)
                .unwrap_or_else(|fault| panic!("the excerpt cannot be read: {fault:?}"));
            assert_eq!(reopened.track().codec, track.codec);
            let all = SampleRequest { from: i64::MIN, until: i64::MAX, mode: SeekMode::Exact };
            let samples: Vec<Sample> =
                reopened.find_samples(&excerpt_buffer, &[all]).unwrap_or_default().concat();
            assert!(
                samples.len() >= excerpt.frame_count as usize,
                "{} of {} frames",
                samples.len(),
                excerpt.frame_count
            );
        }
        for frame_index in (0..frame_count as u32).step_by(7) {
            assert!(
                plan.samples_for_frame(frame_index).iter().filter(|sample| sample.is_output).count() == 1,
                "frame {frame_index}"
            );
        }
    }
}

/// Like [`drive`], with a copy of the fragments after so many bytes that the file is too large to be read completely.
fn drive_large<M: Demuxer>(open: impl Fn(&SparseBuffer) -> Result<M, ReadError>, bytes: &[u8]) {
    const BETWEEN: u32 = 9 * 1024 * 1024;
    let Some(first) = bytes.windows(4).position(|letters| letters == b"moof") else { return };
    let mut large = Vec::with_capacity(2 * bytes.len() + BETWEEN as usize);
    large.extend_from_slice(bytes);
    large.extend_from_slice(&BETWEEN.to_be_bytes());
    large.extend_from_slice(b"mdat");
    large.resize(bytes.len() + BETWEEN as usize, 0);
    large.extend_from_slice(&bytes[first.saturating_sub(4)..]);
    drive(open, &large);
}

/// Opens `bytes` and requests times all over the file.
pub(crate) fn drive<M: Demuxer>(open: impl Fn(&SparseBuffer) -> Result<M, ReadError>, bytes: &[u8]) {
    let source = Bytes::copy_from_slice(bytes);
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source.slice(..source.len().min(PREFETCHED_BYTES)));
    let Some(demuxer) = read_within_steps(1, &source, &mut buffer, open) else { return };
    let track = demuxer.track();
    assert!(track.timescale > 0 && track.duration >= 0 && track.fps >= 0.0 && track.fps.is_finite());
    assert!(!track.sample_entries.is_empty());
    if let Some(keyframes) = &track.keyframes {
        assert!(keyframes.is_sorted());
    }
    let (second, end) = (i64::from(track.timescale), track.duration);
    let mut requests = Vec::new();
    for from in [i64::MIN, -1, 0, second, end / 3, end / 2, end - 1, end, i64::MAX] {
        for until in [i64::MIN, from, from.saturating_add(1), from.saturating_add(second), i64::MAX] {
            requests.extend([SeekMode::Keyframe, SeekMode::Exact].map(|aim| SampleRequest {
                from,
                until,
                mode: aim,
            }));
        }
    }
    let request_count = requests.len() as u64;
    let runs = read_within_steps(request_count, &source, &mut buffer, |known| {
        demuxer.find_samples(known, &requests)
    });
    let Some(runs) = runs else { return };
    assert_eq!(runs.len(), requests.len());
    for (run, request) in runs.iter().zip(&requests) {
        assert!(run.first().is_none_or(|sample| sample.is_key), "run starts without a keyframe: {request:?}");
        assert!(run.is_sorted_by_key(|sample| sample.dts), "run is not in decoding order: {request:?}");
        for sample in run {
            assert!(sample.size > 0 && sample.offset + u64::from(sample.size) <= source.len() as u64);
            assert!(usize::from(sample.entry) < track.sample_entries.len());
        }
    }
}

/// Like [`read_until_ready`], with a limit on the steps of each round: the cost of a file is bounded by its size.
fn read_within_steps<T>(
    request_count: u64,
    source: &Bytes,
    buffer: &mut SparseBuffer,
    read: impl Fn(&SparseBuffer) -> Result<T, ReadError>,
) -> Option<T> {
    read_until_ready(source, buffer, |known| {
        let before = known.budget().used_steps();
        let result = read(known);
        let steps = known.budget().used_steps() - before;
        let max_steps = request_count * (MAX_STEPS + MAX_STEPS_PER_BYTE * source.len() as u64);
        assert!(steps <= max_steps, "{steps} steps for {} bytes and {request_count} requests", source.len());
        result
    })
}

pub(crate) fn read_until_ready<T>(
    source: &Bytes,
    buffer: &mut SparseBuffer,
    read: impl Fn(&SparseBuffer) -> Result<T, ReadError>,
) -> Option<T> {
    for _ in 0..MAX_ROUNDS {
        let ranges = match read(buffer) {
            Ok(value) => return Some(value),
            Err(ReadError::NeedMore(ranges)) => ranges,
            Err(_) => return None,
        };
        assert!(!ranges.is_empty(), "no range is missing");
        for range in ranges {
            assert!(range.start < range.end && range.end <= source.len() as u64, "beyond the end");
            assert!(!buffer.missing_ranges(range.clone()).is_empty(), "missing range is already buffered");
            buffer.insert(range.start, &source.slice(range.start as usize..range.end as usize));
        }
    }
    panic!("does not finish within {MAX_ROUNDS} rounds");
}
