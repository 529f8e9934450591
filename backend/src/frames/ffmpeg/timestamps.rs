//! Finds the segments of an MPEG stream that was joined from several recordings, each with its own clock. Pure, except
//! for the reads of the source.
//!
//! A recorder that is stopped and started resets its clock, and so do two files that are concatenated. Then the first
//! and last timestamps do not give the duration, and a seek by time finds only one of the parts. Therefore the
//! timestamps between them are read: all of them in a small stream, and samples of a large one, with a binary search
//! for each join.

use std::ops::Range;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::JobError;
use crate::frames::exit_status;
use crate::source::proxy::SourceProxy;
use glimpse_media::container::{self, ClockStream, SYNC_BYTE};

/// Streams up to this size are read as a whole, in bytes: the source proxy caches them for the decoders.
const WHOLE_BYTES: u64 = 64 * 1024 * 1024;
/// How many bytes of such a stream are read at once.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// The overlap of chunks, so that no header is split.
const OVERLAP_BYTES: u64 = 1024;
/// The number of sample points in a larger stream.
const SAMPLE_POINTS: u64 = 64;
/// How many bytes are read at each: about the size of the largest frames.
const SAMPLE_BYTES: u64 = 256 * 1024;
/// How many sample points are read concurrently.
const MAX_CONCURRENT_READS: usize = 8;
/// Clock ticks per millisecond.
const TICKS_PER_MS: i64 = 90;
/// The clock wraps around after this many ticks.
const CLOCK_WRAP: i64 = 1 << 33;
/// How far back timestamps may jump within a segment, in ticks: less than two frames of a still video.
const MAX_BACKWARD: i64 = 100 * TICKS_PER_MS;
/// How far forward timestamps may jump within a segment, in ticks: the longest time without a frame.
const MAX_FORWARD: i64 = 5 * 60 * 1000 * TICKS_PER_MS;
/// More segments than this are treated as none.
const MAX_SEGMENTS: usize = 1_000;

/// One segment of a joined stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimelineSegment {
    /// Its byte range.
    pub(super) bytes: Range<u64>,
    /// Its start on the common timeline, in milliseconds.
    pub(super) start_ms: u64,
    /// Its duration, in milliseconds.
    pub(super) duration_ms: u64,
    /// Whether its frames were counted for this duration.
    pub(super) is_counted: bool,
}

/// The timestamps of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PacketTimestamp {
    /// The offset of the packet.
    offset: u64,
    /// The offset at which a decoder can start to find it: that of the stream's tables before it.
    entry_offset: u64,
    /// The decoding time, in ticks.
    dts: i64,
    /// The presentation time, in ticks.
    pts: i64,
    /// How many frames start between here and the next timestamp; 0 if every frame has a timestamp.
    frame_count: i64,
}

/// The segments of a stream; empty if there is only one. `fps` is its frame rate.
///
/// # Errors
/// The error of the storage.
pub(super) async fn find_segments(
    proxy: &SourceProxy,
    stream: ClockStream,
    fps: f64,
) -> Result<Vec<TimelineSegment>, JobError> {
    let total_bytes = proxy.total_bytes();
    let (timestamps, max_forward) = if total_bytes <= WHOLE_BYTES {
        (scan_timestamps(proxy, stream, 0..total_bytes).await?, MAX_FORWARD)
    } else {
        sample_timestamps(proxy, stream, total_bytes).await?
    };
    let frame_ticks = if fps > 0.0 { (1000.0 / fps * TICKS_PER_MS as f64) as i64 } else { 0 };
    Ok(split_segments(&timestamps, total_bytes, max_forward, frame_ticks))
}

/// The timestamps of all packets in a range.
async fn scan_timestamps(
    proxy: &SourceProxy,
    stream: ClockStream,
    range: Range<u64>,
) -> Result<Vec<PacketTimestamp>, JobError> {
    let mut timestamps: Vec<PacketTimestamp> = Vec::new();
    let mut offset = range.start;
    while offset < range.end {
        let end = (offset + CHUNK_BYTES).min(range.end);
        for timestamp in read_timestamps(proxy, stream, offset..end).await? {
            if timestamps.last().is_none_or(|last| last.offset < timestamp.offset) {
                timestamps.push(timestamp);
            }
        }
        offset = if end == range.end { end } else { end - OVERLAP_BYTES };
    }
    Ok(timestamps)
}

/// The timestamps at the sample points, and all of those around a join; and the maximum forward jump between sample
/// points.
async fn sample_timestamps(
    proxy: &SourceProxy,
    stream: ClockStream,
    total_bytes: u64,
) -> Result<(Vec<PacketTimestamp>, i64), JobError> {
    let sample = |place: u64| {
        let start = (total_bytes - SAMPLE_BYTES) / (SAMPLE_POINTS - 1) * place;
        read_timestamps(proxy, stream, start..start + SAMPLE_BYTES)
    };
    let samples: Vec<Vec<PacketTimestamp>> = futures::stream::iter((0..SAMPLE_POINTS).map(sample))
        .buffered(MAX_CONCURRENT_READS)
        .try_collect()
        .await?;
    // The clock advances between two sample points.
    let firsts: Vec<i64> = samples.iter().filter_map(|look| look.first()).map(|stamp| stamp.dts).collect();
    let mut deltas: Vec<i64> = firsts.windows(2).map(|pair| clock_delta(pair[0], pair[1])).collect();
    deltas.sort_unstable();
    let max_forward = MAX_FORWARD.max(8 * deltas.get(deltas.len() / 2).copied().unwrap_or(0));
    let mut timestamps: Vec<PacketTimestamp> = samples.into_iter().flatten().collect();
    let mut near_joins = Vec::new();
    for pair in timestamps.windows(2) {
        let (mut low, mut high) = (pair[0], pair[1]);
        if !is_discontinuity(&low, &high, max_forward) {
            continue;
        }
        while high.offset - low.offset > 2 * SAMPLE_BYTES {
            let middle = low.offset.midpoint(high.offset);
            let Some(timestamp) =
                read_timestamps(proxy, stream, middle..(middle + SAMPLE_BYTES).min(high.offset))
                    .await?
                    .first()
                    .copied()
            else {
                break;
            };
            if is_discontinuity(&low, &timestamp, max_forward) {
                high = timestamp;
            } else {
                low = timestamp;
            }
        }
        near_joins.extend(
            scan_timestamps(proxy, stream, low.offset..(high.offset + SAMPLE_BYTES).min(total_bytes)).await?,
        );
    }
    timestamps.extend(near_joins);
    timestamps.sort_by_key(|stamp| stamp.offset);
    timestamps.dedup_by_key(|stamp| stamp.offset);
    Ok((timestamps, max_forward))
}

async fn read_timestamps(
    proxy: &SourceProxy,
    stream: ClockStream,
    range: Range<u64>,
) -> Result<Vec<PacketTimestamp>, JobError> {
    let start = range.start;
    let Ok(bytes) = proxy.read(range).await else {
        exit_status::check_source(proxy.first_error())?;
        return Err(JobError::upstream("the source could not be read"));
    };
    let mut timestamps = match stream {
        ClockStream::Transport => parse_transport_stream(&bytes),
        ClockStream::Program => parse_program_stream(&bytes),
    };
    for timestamp in &mut timestamps {
        timestamp.offset += start;
        timestamp.entry_offset += start;
    }
    Ok(timestamps)
}

/// The difference between two timestamps, the shorter way around the wrap.
fn clock_delta(from: i64, to: i64) -> i64 {
    let delta = (to - from).rem_euclid(CLOCK_WRAP);
    if delta > CLOCK_WRAP / 2 { delta - CLOCK_WRAP } else { delta }
}

fn is_discontinuity(one: &PacketTimestamp, other: &PacketTimestamp, max_forward: i64) -> bool {
    !(-MAX_BACKWARD..=max_forward).contains(&clock_delta(one.dts, other.dts))
}

/// The segments between the discontinuities of these timestamps; empty if there are none. `frame_ticks` is the duration
/// of a frame.
fn split_segments(
    timestamps: &[PacketTimestamp],
    total_bytes: u64,
    max_forward: i64,
    frame_ticks: i64,
) -> Vec<TimelineSegment> {
    let mut runs: Vec<&[PacketTimestamp]> = Vec::new();
    let mut begin = 0;
    for (index, pair) in timestamps.windows(2).enumerate() {
        if is_discontinuity(&pair[0], &pair[1], max_forward) {
            runs.extend(timestamps.get(begin..=index));
            begin = index + 1;
        }
    }
    runs.extend(timestamps.get(begin..).filter(|rest| !rest.is_empty()));
    if !(2..=MAX_SEGMENTS).contains(&runs.len()) {
        return Vec::new();
    }
    let mut start = 0;
    let mut segments: Vec<TimelineSegment> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let first = run.first().map_or(0, |stamp| stamp.dts);
        let pts_deltas = run.iter().map(|stamp| clock_delta(first, stamp.pts));
        let (least, most) = (pts_deltas.clone().min().unwrap_or(0), pts_deltas.max().unwrap_or(0));
        // In a program stream not every frame has a timestamp: others may follow the last one that has.
        let decoded_ticks =
            run.last().map_or(0, |last| clock_delta(first, last.dts) + last.frame_count * frame_ticks);
        let length = (most - least + frame_ticks).max(decoded_ticks).max(0);
        let begin = if index == 0 { 0 } else { run.first().map_or(0, |stamp| stamp.entry_offset) };
        let end =
            runs.get(index + 1).and_then(|next| next.first()).map_or(total_bytes, |stamp| stamp.entry_offset);
        segments.push(TimelineSegment {
            bytes: begin..end,
            start_ms: (start / TICKS_PER_MS) as u64,
            duration_ms: (length / TICKS_PER_MS) as u64,
            is_counted: run.last().is_some_and(|last| last.frame_count > 0),
        });
        start += length;
    }
    segments
}

/// The timestamps of the first video track in a transport stream: ISO 13818-1, 2.4.3.
fn parse_transport_stream(bytes: &[u8]) -> Vec<PacketTimestamp> {
    let mut timestamps = Vec::new();
    let mut track = None;
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(container::find_packets) {
        at += found.start;
        // The offset of the first program association table since the last frame.
        let mut pat_offset = None;
        while let Some(packet) = bytes.get(at..at + 188).filter(|packet| packet[0] == SYNC_BYTE) {
            let id = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
            let begins = packet[1] & 0x40 != 0;
            if id == 0 && begins {
                pat_offset.get_or_insert(at as u64);
            }
            let payload = match packet[3] >> 4 & 3 {
                1 => packet.get(4..),
                3 => packet.get(5 + usize::from(packet[4])..),
                _ => None,
            };
            if begins
                && track.is_none_or(|track| track == id)
                && let Some((dts, pts)) = payload.and_then(parse_pes_timestamps)
            {
                track = Some(id);
                timestamps.push(PacketTimestamp {
                    offset: at as u64,
                    entry_offset: pat_offset.unwrap_or(at as u64),
                    dts,
                    pts,
                    frame_count: 0,
                });
                pat_offset = None;
            }
            at += found.length;
        }
        at += 1;
    }
    timestamps
}

/// The timestamps of the first video track in a program stream: ISO 13818-1, 2.5.3.
fn parse_program_stream(bytes: &[u8]) -> Vec<PacketTimestamp> {
    let mut timestamps = Vec::new();
    let mut track = None;
    let mut at = 0;
    let (mut pack_offset, mut clock) = (None, None);
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= 4) {
        if rest[..3] != [0, 0, 1] {
            at += 1;
            continue;
        }
        let id = rest[3];
        match id {
            0xba => {
                // A pack without a frame's timestamp may still belong to the previous segment; its own clock decides.
                let pack_clock = parse_pack_clock(rest);
                let is_reset = clock.zip(pack_clock).is_some_and(|(last, pack_clock)| {
                    !(-MAX_BACKWARD..=MAX_FORWARD).contains(&clock_delta(last, pack_clock))
                });
                if is_reset || pack_offset.is_none() {
                    pack_offset = Some(at as u64);
                }
                clock = pack_clock.or(clock);
            }
            // A picture header: ISO 13818-2, 6.2.3.
            0 => {
                if let Some(PacketTimestamp { frame_count, .. }) = timestamps.last_mut() {
                    *frame_count += 1;
                }
            }
            _ => {}
        }
        if track.is_none_or(|track| track == id)
            && let Some((dts, pts)) = parse_pes_timestamps(rest)
        {
            track = Some(id);
            timestamps.push(PacketTimestamp {
                offset: at as u64,
                entry_offset: pack_offset.unwrap_or(at as u64),
                dts,
                pts,
                frame_count: 0,
            });
            pack_offset = None;
        }
        at += 4;
    }
    timestamps
}

/// The clock of the pack at the start of these bytes, in ticks: ISO 13818-1, 2.5.3.3, and for MPEG-1 ISO 11172-1,
/// 2.4.3.2.
fn parse_pack_clock(pack: &[u8]) -> Option<i64> {
    let five: &[u8; 5] = pack.get(4..)?.first_chunk()?;
    if five[0] & 0xf0 == 0x20 {
        return parse_timestamp(five);
    }
    let bits = pack.get(4..10)?.iter().fold(0_i64, |bits, byte| bits << 8 | i64::from(*byte));
    let is_mpeg2 = five[0] & 0xc0 == 0x40;
    // 33 bits in parts of 3, 15 and 15, with a marker bit after each.
    is_mpeg2.then_some((bits >> 43 & 7) << 30 | (bits >> 27 & 0x7fff) << 15 | bits >> 11 & 0x7fff)
}

/// The decoding and presentation times of a video packet, if it has them: ISO 13818-1, 2.4.3.6, and for MPEG-1 ISO
/// 11172-1, 2.4.3.3.
fn parse_pes_timestamps(packet: &[u8]) -> Option<(i64, i64)> {
    let [0, 0, 1, 0xe0..=0xef, _, _, rest @ ..] = packet else { return None };
    let rest = if rest.first()? & 0xc0 == 0x80 {
        if rest.get(1)? & 0x80 == 0 {
            return None;
        }
        rest.get(3..)?
    } else {
        let stuffing = rest.iter().take_while(|byte| **byte == 0xff).count();
        let rest = rest.get(stuffing..)?;
        if rest.first()? & 0xc0 == 0x40 { rest.get(2..)? } else { rest }
    };
    let pts = parse_timestamp(rest)?;
    match rest[0] >> 4 {
        2 => Some((pts, pts)),
        3 => Some((parse_timestamp(rest.get(5..)?).unwrap_or(pts), pts)),
        _ => None,
    }
}

/// 33 bits, with a marker bit after each part.
fn parse_timestamp(bytes: &[u8]) -> Option<i64> {
    let five: &[u8; 5] = bytes.first_chunk()?;
    if five[0] & five[2] & five[4] & 1 == 0 {
        return None;
    }
    let [top, high, middle, low, last] = five.map(i64::from);
    Some(((top >> 1) & 7) << 30 | high << 22 | (middle >> 1) << 15 | low << 7 | last >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timestamp(at: u64, ms: i64) -> PacketTimestamp {
        PacketTimestamp {
            offset: at,
            entry_offset: at,
            dts: ms * TICKS_PER_MS,
            pts: (ms + 40) * TICKS_PER_MS,
            frame_count: 0,
        }
    }

    fn segment_spans(stamps: &[PacketTimestamp]) -> Vec<(Range<u64>, u64, u64)> {
        let segments = split_segments(stamps, 1000, MAX_FORWARD, 40 * TICKS_PER_MS);
        segments.into_iter().map(|segment| (segment.bytes, segment.start_ms, segment.duration_ms)).collect()
    }

    #[test]
    fn clock_reset_starts_a_new_segment() {
        let timestamps_of = |at: u64, from: i64, to: i64| -> Vec<PacketTimestamp> {
            (from..to).map(|place| timestamp(at + (place - from) as u64, place * 40)).collect()
        };
        let single = timestamps_of(0, 10, 110);
        assert_eq!(segment_spans(&single), [], "one segment");
        let restarted = [timestamps_of(0, 10, 110), timestamps_of(500, 10, 60)].concat();
        assert_eq!(segment_spans(&restarted), [(0..500, 0, 4000), (500..1000, 4000, 2000)]);
        let jumped = [timestamps_of(0, 10, 110), timestamps_of(500, 100_010, 100_060)].concat();
        assert_eq!(segment_spans(&jumped), [(0..500, 0, 4000), (500..1000, 4000, 2000)], "a jump of an hour");
        let paused = [timestamps_of(0, 10, 110), timestamps_of(500, 1010, 1060)].concat();
        assert_eq!(segment_spans(&paused), [], "a frame that is shown for half a minute");
        let wrapped = [timestamp(0, (CLOCK_WRAP / TICKS_PER_MS) - 30), timestamp(9, 10), timestamp(20, 50)];
        assert_eq!(segment_spans(&wrapped), [], "a clock that wraps around");
    }

    #[test]
    fn parses_mpeg1_and_mpeg2_timestamps() {
        let pts = [0x21, 0, 1, 0, 0xb5];
        let parse =
            |head: &[u8]| parse_pes_timestamps(&[&[0, 0, 1, 0xe0, 0, 0][..], head, &pts, &[0; 8]].concat());
        assert_eq!(parse(&[0x80, 0x80, 5]), Some((90, 90)));
        assert_eq!(parse(&[]), Some((90, 90)), "MPEG-1");
        assert_eq!(parse(&[0xff, 0xff, 0x60, 0x20]), Some((90, 90)), "MPEG-1, stuffed");
        assert_eq!(parse(&[0x80, 0, 0]), None, "no timestamp");
        let both = [0x31, 0, 1, 1, 0x69, 0x11, 0, 1, 0, 0xb5];
        assert_eq!(
            parse_pes_timestamps(&[&[0, 0, 1, 0xe1, 0, 0, 0x80, 0xc0, 10][..], &both].concat()),
            Some((90, 180))
        );
        assert_eq!(
            parse_pes_timestamps(&[&[0, 0, 1, 0xc0, 0, 0, 0x80, 0x80, 5][..], &pts].concat()),
            None,
            "sound"
        );
    }

    #[test]
    fn joined_program_stream_is_split_where_clock_resets() {
        let encode_clock = |ticks: i64, prefix: u8| {
            let top = (ticks >> 30 & 7) as u8;
            let (high, low) = ((ticks >> 15 & 0x7fff) << 1 | 1, (ticks & 0x7fff) << 1 | 1);
            [
                vec![prefix | top << 1 | 1],
                (high as u16).to_be_bytes().to_vec(),
                (low as u16).to_be_bytes().to_vec(),
            ]
            .concat()
        };
        // MPEG-1 packs, each with one packet that contains one frame.
        let pack = |ms: i64, has_timestamp: bool| {
            let clock = encode_clock(ms * TICKS_PER_MS, 0x20);
            let timestamp = if has_timestamp { clock.clone() } else { vec![0x0f] };
            let header = [&[0, 0, 1, 0xba][..], &clock, &[0x80, 0, 1]].concat();
            [&header[..], &[0, 0, 1, 0xe0, 0, 9], &timestamp, &[0, 0, 1, 0, 7, 7]].concat()
        };
        let packs: Vec<Vec<u8>> = [(0, true), (400, false), (800, true), (1200, false), (1600, false)]
            .into_iter()
            .map(|(ms, has_timestamp)| pack(ms, has_timestamp))
            .collect();
        let recording = packs.concat();
        let length = recording.len() as u64;
        let timestamps = parse_program_stream(&recording.repeat(2));
        let segments = split_segments(&timestamps, 2 * length, MAX_FORWARD, 400 * TICKS_PER_MS);
        let segment = |begin: u64, start_ms: u64| TimelineSegment {
            bytes: begin..begin + length,
            start_ms,
            duration_ms: 2000,
            is_counted: true,
        };
        assert_eq!(segments, [segment(0, 0), segment(length, 2000)]);
    }

    #[test]
    fn parses_mpeg2_pack_clock() {
        let zero = [0, 0, 1, 0xba, 0x44, 0, 4, 0, 4, 1];
        assert_eq!(parse_pack_clock(&zero), Some(0));
        assert_eq!(
            parse_pack_clock(&[0, 0, 1, 0xba, 0x64, 0x0b, 0xc7, 0x0a, 0x74, 1]),
            Some((1 << 32) + 12_345_678)
        );
        assert_eq!(parse_pack_clock(&zero[..8]), None, "truncated");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(prop::sample::select(
            vec![0_u8, 1, 0x47, 0xe0, 0xba, 0x80, 0xff, 0x21, 0x31]), 0..2000)) {
            let _ = (parse_transport_stream(&bytes), parse_program_stream(&bytes));
            let _ = (parse_pes_timestamps(&bytes), parse_pack_clock(&bytes));
        }
    }
}
