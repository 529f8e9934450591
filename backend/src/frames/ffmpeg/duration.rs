//! Determines the duration of a video: from its container or, if that reports none or a wrong one, from its last
//! packets or by counting packets.
//!
//! Recordings cut off by a crash report no duration or the planned one. Recordings of a stream count from the start of
//! that stream. Elementary streams have no timestamps at all. A reported duration is kept if it is about right.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::error::JobError;
use crate::frames::decoder::{Decoder, DecoderInput};
use crate::frames::exit_status;
use crate::frames::ffmpeg::missing_index::is_index_missing;
use crate::frames::ffmpeg::timestamps::TimelineSegment;
use crate::source::proxy::SourceProxy;
use glimpse_media::container::{Container, DurationCheck};
use glimpse_media::demux::flv::tag;
use glimpse_media::ffmpeg_args::{self, Input};
use glimpse_media::probe::{self, MediaInfo, is_close_duration};

/// How many bytes of the end are read to find the last tag: at first, and if those contain none.
const TAIL_BYTES: [u64; 2] = [256 * 1024, 4 * 1024 * 1024];
/// Sources up to this size are read as a whole to count their packets, in bytes.
const COUNTED_BYTES: u64 = 1024 * 1024 * 1024;
/// A joined stream up to this size, which the source proxy caches, and with up to this many segments is read again to
/// count its frames.
const RECOUNTED_BYTES: u64 = 64 * 1024 * 1024;
const RECOUNTED_SEGMENTS: usize = 20;

/// Frames per second. For elementary streams the averages of ffprobe are a guess of its demuxer.
pub(super) fn frame_rate(container: Container, info: &MediaInfo) -> f64 {
    let is_elementary = container == Container::Mpegvideo && info.frame_ms > 0.0;
    if is_elementary { 1000.0 / info.frame_ms } else { info.fps }
}

/// The duration of a source with this many packets. `None` if the reported duration is right: the AVI is complete, and
/// its audio is longer than its video.
fn counted_duration_ms(container: Container, info: &MediaInfo, packets: u64) -> Option<u64> {
    let counted_ms = info.frames_duration_ms(packets);
    let is_complete = container == Container::Avi && info.frame_count > 0 && packets >= info.frame_count;
    Some(counted_ms).filter(|counted_ms| !is_complete || *counted_ms >= info.duration_ms)
}

/// The duration of a source in milliseconds; 0 if it cannot be determined.
///
/// # Errors
/// Any error that ends the job; [`Code::TooLong`] if the video is too long.
pub(super) async fn measure(
    decoder: &Decoder,
    proxy: &SourceProxy,
    container: Container,
    info: &MediaInfo,
) -> Result<u64, JobError> {
    let input = DecoderInput::Proxy(proxy, container);
    // The header of a truncated MXF contains the duration of the complete file.
    let is_truncated = container == Container::Mxf && is_index_missing(proxy, container).await?;
    let check = if is_truncated { DurationCheck::CountPackets } else { container.duration_check(info) };
    let measured_ms = match check {
        DurationCheck::LastTag => last_tag_end_ms(proxy, info).await?,
        DurationCheck::LastPackets => {
            let args = ffmpeg_args::last_packets(input.ffmpeg_input(), info.start_ms);
            let report = try_ffprobe(decoder, input, &args).await?;
            report
                .and_then(|report| probe::parse_end_ms(&report))
                .map(|end| end.saturating_sub(info.start_ms))
        }
        DurationCheck::CountPackets if proxy.total_bytes() <= COUNTED_BYTES => {
            let args = ffmpeg_args::count_packets(input.ffmpeg_input(), info.stream);
            let report = try_ffprobe(decoder, input, &args).await?;
            report
                .and_then(|report| probe::parse_packet_count(&report))
                .and_then(|packets| counted_duration_ms(container, info, packets))
        }
        // Counting the packets of a larger source would take too long.
        DurationCheck::None | DurationCheck::CountPackets => None,
    };
    resolve_duration(info.duration_ms, measured_ms).map_err(JobError::Rejected)
}

/// The duration to use for this reported and this measured one.
pub(super) fn resolve_duration(reported_ms: u64, measured_ms: Option<u64>) -> Result<u64, Code> {
    // A measurement beyond the maximum duration means that the timestamps jump; it is ignored.
    let found = measured_ms.filter(|found| (1..=limits::MAX_DURATION_MS).contains(found));
    let length = found.filter(|found| !is_close_duration(*found, reported_ms)).unwrap_or(reported_ms);
    if length > limits::MAX_DURATION_MS { Err(Code::TooLong) } else { Ok(length) }
}

/// Corrects the durations and start times of segments in which not every frame has a timestamp, as far as their packets
/// can be counted.
///
/// # Errors
/// Any error that ends the job.
pub(super) async fn recount(
    decoder: &Decoder,
    proxy: &SourceProxy,
    info: &MediaInfo,
    segments: &mut [TimelineSegment],
) -> Result<(), JobError> {
    let is_counted = segments.iter().all(|segment| segment.is_counted);
    if is_counted || proxy.total_bytes() > RECOUNTED_BYTES || segments.len() > RECOUNTED_SEGMENTS {
        return Ok(());
    }
    let mut start_ms = 0;
    for segment in segments {
        let url = proxy.range_url(&segment.bytes);
        let args = ffmpeg_args::count_packets(Input::Proxy(Container::Mpeg, &url), info.stream);
        let report = try_ffprobe(decoder, DecoderInput::Proxy(proxy, Container::Mpeg), &args).await?;
        let counted = report
            .and_then(|report| probe::parse_packet_count(&report))
            .map(|count| info.frames_duration_ms(count));
        segment.start_ms = start_ms;
        segment.duration_ms = counted.filter(|length| *length > 0).unwrap_or(segment.duration_ms);
        start_ms += segment.duration_ms;
    }
    Ok(())
}

async fn last_tag_end_ms(proxy: &SourceProxy, info: &MediaInfo) -> Result<Option<u64>, JobError> {
    let total = proxy.total_bytes();
    for tail_bytes in TAIL_BYTES {
        let Ok(tail) = proxy.read(total.saturating_sub(tail_bytes)..total).await else {
            exit_status::check_source(proxy.first_error())?;
            return Ok(None);
        };
        let frame_ms = info.frames_duration_ms(1);
        let video_end_ms = tag::last_video_time_ms(&tail).map(|start_ms| start_ms + frame_ms);
        // Audio after the last frame is played.
        if let Some(end_ms) = video_end_ms.max(tag::last_audio_time_ms(&tail)) {
            let length = end_ms.saturating_sub(info.start_ms);
            // If the stream ends before its start time, its timestamps were reset on the way.
            return Ok((length > frame_ms).then_some(length));
        }
        if total <= tail_bytes {
            break;
        }
    }
    Ok(None)
}

/// The report of ffprobe, if it succeeds in time.
pub(super) async fn try_ffprobe(
    decoder: &Decoder,
    input: DecoderInput<'_>,
    args: &[String],
) -> Result<Option<Bytes>, JobError> {
    Ok(exit_status::catch_rejection(decoder.run_ffprobe(input, args, decoder.full_scan()).await)?.ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_avi_keeps_reported_duration() {
        let reported = |duration_ms, frame_count| MediaInfo {
            duration_ms,
            frame_count,
            fps: 10.0,
            ..MediaInfo::default()
        };
        for (info, packets, expected) in [
            // One minute of audio and twelve seconds of video.
            (reported(60_000, 120), 120, None),
            (reported(60_000, 120), 119, Some(11_900)),
            (reported(60_000, 600), 360, Some(36_000)),
            (reported(0, 120), 120, Some(12_000)),
            (reported(60_000, 0), 120, Some(12_000)),
        ] {
            assert_eq!(counted_duration_ms(Container::Avi, &info, packets), expected, "{info:?}");
        }
        assert_eq!(
            counted_duration_ms(Container::Mpegvideo, &reported(60_000, 120), 120),
            Some(12_000),
            "the reported duration is an estimate"
        );
    }

    #[test]
    fn f8_measured_duration_wins_and_too_long_is_rejected() {
        let most = limits::MAX_DURATION_MS;
        for (reported_ms, measured_ms, expected) in [
            (60_000, None, Ok(60_000)),
            (60_000, Some(59_960), Ok(60_000)),
            (60_000, Some(36_000), Ok(36_000)),
            (0, Some(36_000), Ok(36_000)),
            (0, None, Ok(0)),
            (60_000, Some(0), Ok(60_000)),
            (60_000, Some(most + 1), Ok(60_000)),
            (most, None, Ok(most)),
            (most + 1, None, Err(Code::TooLong)),
            (u64::MAX, Some(36_000), Ok(36_000)),
            (u64::MAX, Some(u64::MAX), Err(Code::TooLong)),
        ] {
            assert_eq!(resolve_duration(reported_ms, measured_ms), expected, "{reported_ms} {measured_ms:?}");
        }
    }
}
