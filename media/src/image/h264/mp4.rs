//! Makes the track of an encoded video for an MP4 file. ISO 14496-12 and 14496-15. Does no IO.

use bytes::BufMut as _;

use crate::demux::demuxer::IDENTITY_MATRIX;
use crate::image::h264::sps::{self, StreamRate};
use crate::image::h264::stream::Stream;
use crate::image::header::ImageError;
use crate::mux::boxes::{write_box, write_visual_entry};
use crate::mux::{Edit, MuxSample, MuxTrack, MuxTrackKind};
use crate::size::Size;

/// Ticks per second: a multiple of all usual frame rates.
pub(super) const TIMESCALE: u32 = 90_000;
/// The side of a macroblock, in pixels.
const BLOCK: u32 = 16;

/// Makes the track. `times` are those of the frames as they are shown, in ticks, and the end of the last one.
///
/// # Errors
/// The stream is not of the kind that the encoder writes.
pub(super) fn to_track(stream: &Stream, size: Size, times: &[u64]) -> Result<MuxTrack, ImageError> {
    let invalid = || ImageError::Encoder("H.264: the stream does not fit its times".to_owned());
    let fields = sps::parse(&stream.sequence_set).ok_or_else(invalid)?;
    // Frames are decoded at the times at which frames are shown, and shown later by as much as the latest one needs.
    let mut frames = Vec::with_capacity(stream.frames.len());
    for (place, frame) in stream.frames.iter().enumerate() {
        let [decoded, end] =
            times.get(place..place + 2).and_then(|pair| pair.try_into().ok()).ok_or_else(invalid)?;
        let shown = *times.get(frame.index).ok_or_else(invalid)?;
        frames.push((frame, decoded, end, shown));
    }
    let delay = frames.iter().map(|(_, decoded, _, shown)| decoded.saturating_sub(*shown)).max().unwrap_or(0);
    let samples: Vec<MuxSample> = frames
        .iter()
        .map(|(frame, decoded, end, shown)| MuxSample {
            size: frame.bytes.len() as u32,
            duration: (end - decoded) as u32,
            composition_offset: (shown + delay - decoded) as i32,
            is_sync: frame.is_key,
        })
        .collect();
    let duration = times.last().copied().unwrap_or(0);
    let level = sps::level(StreamRate {
        frame_blocks: u64::from(size.width.div_ceil(BLOCK)) * u64::from(size.height.div_ceil(BLOCK)),
        frames_per_second: (samples.len() as u64 * u64::from(TIMESCALE)).div_ceil(duration.max(1)),
        kept_frames: u64::from(fields.reference_frames),
        bits_per_second: samples.iter().map(|sample| u64::from(sample.size) * 8).sum::<u64>()
            * u64::from(TIMESCALE)
            / duration.max(1),
    });
    let sequence_set =
        sps::complete(&stream.sequence_set, level, reordered_frames(stream), fields.reference_frames)
            .ok_or_else(invalid)?;
    Ok(MuxTrack {
        kind: MuxTrackKind::Video {
            display_size: [size.width << 16, size.height << 16],
            matrix: IDENTITY_MATRIX,
        },
        timescale: TIMESCALE,
        sample_entry: sample_entry(size, &sequence_set, &stream.picture_set).into(),
        samples,
        edit: (delay > 0).then_some(Edit { media_time: delay, duration }),
        delay_ms: 0,
    })
}

/// How many frames are decoded before a frame and shown after it, at most.
fn reordered_frames(stream: &Stream) -> u32 {
    let frames = &stream.frames;
    let count =
        |place: usize| frames[..place].iter().filter(|frame| frame.index > frames[place].index).count();
    (0..frames.len()).map(count).max().unwrap_or(0) as u32
}

/// `avc1`: ISO 14496-12, 12.1.3, with the configuration (ISO 14496-15, 5.3.3), the colors and the shape of pixels.
fn sample_entry(size: Size, sequence_set: &[u8], picture_set: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let sides = [size.width, size.height].map(|side| side as u16);
    // 24 bits of color.
    write_visual_entry(&mut out, *b"avc1", sides, 24, |out| {
        write_box(out, *b"avcC", |out| {
            out.put_u8(1);
            // Profile, constraints and level, as in the sequence parameter set.
            out.extend_from_slice(&sequence_set[1..4]);
            // Lengths of four bytes; one set of each kind.
            out.put_u8(0xff);
            out.put_u8(0xe1);
            out.put_u16(sequence_set.len() as u16);
            out.extend_from_slice(sequence_set);
            out.put_u8(1);
            out.put_u16(picture_set.len() as u16);
            out.extend_from_slice(picture_set);
        });
        write_box(out, *b"colr", |out| {
            out.extend_from_slice(b"nclx");
            // Primaries, transfer and matrix of BT.709, limited range.
            for _ in 0..3 {
                out.put_u16(1);
            }
            out.put_u8(0);
        });
        write_box(out, *b"pasp", |out| {
            out.put_u32(1);
            out.put_u32(1);
        });
    });
    out
}
