//! Writes excerpts: small MP4 files for the decoder, with the requested samples and their codec configuration. Does no
//! IO.
//!
//! The times in an excerpt differ from those of the source. Each requested frame is presented at a whole second: its
//! frame index. Samples that are only decoded have times shortly before the frame that depends on them. With `fps=1`,
//! ffmpeg therefore outputs exactly one frame per index: the right one or, if a frame cannot be decoded, its neighbor.
//! Output frames are identified by their number. ISO 14496-12 specifies the layout of the boxes.

use bytes::{BufMut as _, Bytes};
use glimpse_contract::limits;

use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{IDENTITY_MATRIX, Sample, Track};
use crate::demux::error::ReadError;
use crate::demux::reference;
use crate::excerpt::ExcerptSample;
use crate::mux::boxes::{write_box, write_full_box};
use crate::size::Size;

/// Ticks per second of an excerpt, which is the distance between two output frames.
const TIMESCALE: u32 = 1000;
/// How long before an output frame the samples are presented that are only decoded: ffmpeg rounds their times to that
/// frame's, and the output frame replaces them.
const LEAD_TICKS: i64 = 450;
/// A small MP4, and the number of frames that are output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The file.
    pub bytes: Bytes,
    /// The number of output frames: one for each sample with `is_output`.
    pub frame_count: u32,
}

/// Writes excerpts of these samples, which are in decoding order: one, or several if a segment starts in a way that
/// does not reset the decoder. Samples that are neither output nor referenced are dropped.
///
/// # Errors
/// [`ReadError::NeedMore`] if bytes of a sample are not buffered.
pub fn write_excerpts(
    track: &Track,
    buffer: &SparseBuffer,
    samples: &[ExcerptSample],
) -> Result<Vec<Excerpt>, ReadError> {
    let missing: Vec<_> =
        samples.iter().flat_map(|sample| buffer.missing_ranges(byte_range(&sample.source))).collect();
    if !missing.is_empty() {
        return Err(ReadError::NeedMore(missing));
    }
    let nal_length_size = track.nal_length_size();
    let mut bodies = Vec::with_capacity(samples.len());
    for sample in unpack_samples(track, buffer, samples)? {
        bodies.push((sample, prepend_prefix(track, buffer.get(byte_range(&sample.source))?)));
    }
    let layer = |bytes: &Bytes| reference::temporal_sub_layer(track.codec, bytes, nal_length_size);
    let top_layer = bodies.iter().map(|(_, bytes)| layer(bytes)).max().unwrap_or(0);
    bodies.retain(|(sample, bytes)| {
        let is_kept = sample.is_output || sample.is_discontinuity || sample.source.is_key;
        is_kept || !reference::is_non_reference(track.codec, bytes, nal_length_size, top_layer)
    });
    let mut groups: Vec<Vec<ExcerptSample>> = Vec::new();
    for (sample, bytes) in bodies {
        match groups.last_mut() {
            Some(group)
                if !sample.is_discontinuity
                    || reference::is_decoder_reset(track.codec, &bytes, nal_length_size) =>
            {
                group.push(sample);
            }
            _ => groups.push(vec![sample]),
        }
    }
    groups.iter().map(|group| write_excerpt(track, buffer, group)).collect()
}

/// The bytes of a sample with the track's prefix.
fn prepend_prefix(track: &Track, bytes: Bytes) -> Bytes {
    if track.sample_prefix.is_empty() { bytes } else { [&track.sample_prefix[..], &bytes].concat().into() }
}

/// Splits samples of MPEG-4 part 2 into samples of one picture each, if B-pictures are packed into the sample of their
/// reference picture.
fn unpack_samples(
    track: &Track,
    buffer: &SparseBuffer,
    samples: &[ExcerptSample],
) -> Result<Vec<ExcerptSample>, ReadError> {
    if track.codec != "mpeg4" {
        return Ok(samples.to_vec());
    }
    let mut all = Vec::with_capacity(samples.len());
    for segment in samples.chunk_by(|_, next| !next.is_discontinuity) {
        let mut bodies = Vec::with_capacity(segment.len());
        for sample in segment {
            bodies.push((*sample, buffer.get(byte_range(&sample.source))?));
        }
        all.extend(crate::excerpt::packed_bitstream::split(&bodies, &track.sample_prefix));
    }
    Ok(all)
}

/// Whether a sample is certainly not a keyframe, although it is marked as one or starts a segment, as far as its bytes
/// are buffered.
pub fn has_false_keyframe(track: &Track, buffer: &SparseBuffer, samples: &[ExcerptSample]) -> bool {
    let nal_length_size = track.nal_length_size();
    // With intra refresh, decoding starts at a sample that is not a keyframe. This has been detected before.
    let is_start = |sample: &&ExcerptSample| {
        !track.is_intra_refresh && (sample.source.is_key || sample.is_discontinuity)
    };
    samples.iter().filter(is_start).any(|sample| {
        let bytes = prepend_prefix(track, buffer.get_available(byte_range(&sample.source)));
        reference::is_false_keyframe(track.codec, &bytes, nal_length_size)
    })
}

/// The size in which frames are shown, if the keyframes of a track have several sizes: the largest; among equal areas,
/// the most frequent one. `None` if all have the same size. Keyframes that are not buffered are ignored.
pub fn main_size<'a>(
    track: &Track,
    buffer: &SparseBuffer,
    samples: impl IntoIterator<Item = &'a ExcerptSample>,
) -> Option<Size> {
    let mut counts: Vec<(Size, usize)> = Vec::new();
    for ExcerptSample { source: sample, .. } in samples.into_iter().filter(|sample| sample.source.is_key) {
        let bytes = buffer.get_available(byte_range(sample));
        let size = if bytes.is_empty() {
            None
        } else {
            crate::excerpt::frame_size::keyframe_size(track, sample.entry, &prepend_prefix(track, bytes))
        };
        // Larger frames are not decoded.
        let size = size.filter(|Size { width, height }| {
            (*width).max(*height) <= limits::MAX_DIMENSION
                && u64::from(*width) * u64::from(*height) <= limits::MAX_PIXELS
        });
        match (size, counts.iter_mut().find(|(known, _)| Some(*known) == size)) {
            (Some(_), Some((_, count))) => *count += 1,
            (Some(size), None) => counts.push((size, 1)),
            (None, _) => {}
        }
    }
    // If several are equal, `max_by_key` returns the last, which is the first in the video because of `rev`.
    let largest = counts.iter().rev().max_by_key(|(size, count)| (size.frame_bytes(), *count));
    if counts.len() > 1 { largest.map(|(size, _)| *size) } else { None }
}

/// Writes an excerpt of these samples, which are in decoding order.
///
/// # Errors
/// [`ReadError::NeedMore`] if bytes of a sample are not buffered.
pub fn write_excerpt(
    track: &Track,
    buffer: &SparseBuffer,
    samples: &[ExcerptSample],
) -> Result<Excerpt, ReadError> {
    let missing: Vec<_> =
        samples.iter().flat_map(|sample| buffer.missing_ranges(byte_range(&sample.source))).collect();
    if !missing.is_empty() {
        return Err(ReadError::NeedMore(missing));
    }
    let nal_length_size = track.nal_length_size();
    let mut bodies = Vec::with_capacity(samples.len());
    for sample in samples {
        let bytes = prepend_prefix(track, buffer.get(byte_range(&sample.source))?);
        bodies.push(if sample.is_discontinuity {
            reference::rewrite_cra_as_bla(track.codec, bytes, nal_length_size)
        } else {
            bytes
        });
    }
    let lengths: Vec<u32> = bodies.iter().map(|body| body.len() as u32).collect();
    let times = presentation_times(samples);
    let frame_count = samples.iter().filter(|sample| sample.is_output).count() as u32;

    let layout = ExcerptLayout { track, samples, times: &times, lengths: &lengths, frame_count };
    let write_header = |offset: u64| -> Vec<u8> {
        let mut out = Vec::new();
        write_box(&mut out, *b"ftyp", |out| out.extend_from_slice(b"isom\0\0\x02\0isomiso2mp41"));
        write_box(&mut out, *b"moov", |out| write_moov(out, &layout, offset));
        out
    };
    // The length of the header does not depend on the offset in it.
    let mut out = write_header(0);
    let data: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    let offset = out.len() as u64 + 16;
    out = write_header(offset);
    out.reserve(data as usize + 16);
    out.put_u32(1);
    out.extend_from_slice(b"mdat");
    out.put_u64(data + 16);
    for body in &bodies {
        out.extend_from_slice(body);
    }
    Ok(Excerpt { bytes: out.into(), frame_count })
}

/// The byte range of a sample.
pub fn byte_range(sample: &Sample) -> std::ops::Range<u64> {
    sample.offset..sample.offset.saturating_add(u64::from(sample.size))
}

/// The byte ranges of these samples.
pub fn byte_ranges(samples: &[ExcerptSample]) -> Vec<std::ops::Range<u64>> {
    samples.iter().map(|sample| byte_range(&sample.source)).collect()
}

/// The presentation time of each sample, in ticks of the excerpt.
fn presentation_times(samples: &[ExcerptSample]) -> Vec<i64> {
    // Each segment separately, in presentation order.
    let mut order: Vec<usize> = (0..samples.len()).collect();
    let mut segment = 0_usize;
    let segments: Vec<usize> = samples
        .iter()
        .map(|sample| {
            segment += usize::from(sample.is_discontinuity);
            segment
        })
        .collect();
    order.sort_by_key(|place| (segments[*place], samples[*place].source.pts, *place));
    let mut times = vec![0; samples.len()];
    let mut frame_index = 0_i64;
    let mut hidden: Vec<usize> = Vec::new();
    for place in order {
        if samples[place].is_output {
            assign_hidden_times(&mut times, &mut hidden, frame_index);
            times[place] = frame_index * i64::from(TIMESCALE);
            frame_index += 1;
        } else {
            hidden.push(place);
        }
    }
    assign_hidden_times(&mut times, &mut hidden, frame_index);
    times
}

/// Assigns times shortly before the output frame to the pending samples, in order.
fn assign_hidden_times(times: &mut [i64], hidden: &mut Vec<usize>, frame_index: i64) {
    // There are only as many different times as ticks. Further samples share the last one; all of them are dropped.
    for (place, rank) in hidden.drain(..).zip(0_i64..) {
        times[place] = frame_index * i64::from(TIMESCALE) - LEAD_TICKS + rank.min(LEAD_TICKS - 1);
    }
}

/// The parameters of an excerpt's header.
struct ExcerptLayout<'a> {
    track: &'a Track,
    samples: &'a [ExcerptSample],
    /// The presentation time of each sample, in ticks of the excerpt.
    times: &'a [i64],
    /// The size of each sample in bytes.
    lengths: &'a [u32],
    frame_count: u32,
}

fn write_moov(out: &mut Vec<u8>, layout: &ExcerptLayout<'_>, offset: u64) {
    let track = layout.track;
    let duration = layout.frame_count.max(1).saturating_mul(TIMESCALE);
    write_full_box(out, *b"mvhd", 0, 0, |out| {
        for number in [0, 0, TIMESCALE, duration, 0x1_0000] {
            out.put_u32(number);
        }
        out.put_u16(0x100);
        out.put_bytes(0, 10);
        for number in IDENTITY_MATRIX {
            out.put_i32(number);
        }
        out.put_bytes(0, 24);
        out.put_u32(2);
    });
    write_box(out, *b"trak", |out| {
        write_full_box(out, *b"tkhd", 0, 3, |out| {
            for number in [0, 0, 1, 0, duration] {
                out.put_u32(number);
            }
            out.put_bytes(0, 16);
            for number in track.matrix {
                out.put_i32(number);
            }
            for number in track.display_size {
                out.put_u32(number);
            }
        });
        write_box(out, *b"mdia", |out| {
            write_full_box(out, *b"mdhd", 0, 0, |out| {
                for number in [0, 0, TIMESCALE, duration] {
                    out.put_u32(number);
                }
                // `und`, packed in 15 bits.
                out.put_u16(0x55c4);
                out.put_u16(0);
            });
            write_full_box(out, *b"hdlr", 0, 0, |out| {
                out.extend_from_slice(b"\0\0\0\0vide\0\0\0\0\0\0\0\0\0\0\0\0\0");
            });
            write_box(out, *b"minf", |out| {
                write_full_box(out, *b"vmhd", 0, 1, |out| out.put_bytes(0, 8));
                write_box(out, *b"dinf", |out| {
                    write_full_box(out, *b"dref", 0, 0, |out| {
                        out.put_u32(1);
                        write_full_box(out, *b"url ", 0, 1, |_| {});
                    });
                });
                write_box(out, *b"stbl", |out| write_stbl(out, layout, offset));
            });
        });
    });
}

fn write_stbl(out: &mut Vec<u8>, layout: &ExcerptLayout<'_>, offset: u64) {
    let ExcerptLayout { track, samples: shots, times, lengths, .. } = *layout;
    let count = shots.len() as u32;
    write_full_box(out, *b"stsd", 0, 0, |out| {
        out.put_u32(track.sample_entries.len() as u32);
        for entry in &track.sample_entries {
            out.extend_from_slice(entry);
        }
    });
    // Decoders only need the order of decoding times: one tick each.
    write_full_box(out, *b"stts", 0, 0, |out| {
        for number in [1, count, 1] {
            out.put_u32(number);
        }
    });
    write_full_box(out, *b"ctts", 1, 0, |out| {
        out.put_u32(count);
        for (time, decoded) in times.iter().zip(0_i64..) {
            out.put_u32(1);
            out.put_i32((*time - decoded) as i32);
        }
    });
    write_full_box(out, *b"stss", 0, 0, |out| {
        let keys: Vec<u32> = shots
            .iter()
            .zip(1..)
            .filter(|(sample, _)| sample.source.is_key)
            .map(|(_, number)| number)
            .collect();
        out.put_u32(keys.len() as u32);
        for number in keys {
            out.put_u32(number);
        }
    });
    write_full_box(out, *b"stsz", 0, 0, |out| {
        out.put_u32(0);
        out.put_u32(count);
        for length in lengths {
            out.put_u32(*length);
        }
    });
    // One chunk for each run of samples with the same description.
    let mut chunks: Vec<(u64, u32, u32)> = Vec::new();
    let mut at = offset;
    let mut last = None;
    for (sample, length) in shots.iter().zip(lengths) {
        let entry = u32::from(sample.source.entry) + 1;
        if last == Some(entry) {
            if let Some(chunk) = chunks.last_mut() {
                chunk.1 += 1;
            }
        } else {
            chunks.push((at, 1, entry));
            last = Some(entry);
        }
        at += u64::from(*length);
    }
    write_full_box(out, *b"stsc", 0, 0, |out| {
        out.put_u32(chunks.len() as u32);
        for ((_, samples, entry), number) in chunks.iter().zip(1_u32..) {
            for value in [number, *samples, *entry] {
                out.put_u32(value);
            }
        }
    });
    write_full_box(out, *b"co64", 0, 0, |out| {
        out.put_u32(chunks.len() as u32);
        for (at, _, _) in chunks {
            out.put_u64(at);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt_sample(pts: i64, is_output: bool, is_discontinuity: bool) -> ExcerptSample {
        let source = Sample { offset: 0, size: 1, dts: 0, pts, is_key: is_discontinuity, entry: 0 };
        ExcerptSample { source, is_output, is_discontinuity }
    }

    #[test]
    fn each_wanted_frame_occupies_one_second() {
        // Decoding order I P B, twice; of the first segment B is requested, of the second I and P.
        let samples = [
            excerpt_sample(0, false, true),
            excerpt_sample(20, false, false),
            excerpt_sample(10, true, false),
            excerpt_sample(5, true, true),
            excerpt_sample(25, true, false),
            excerpt_sample(15, false, false),
        ];
        assert_eq!(presentation_times(&samples), [-450, 550, 0, 1000, 2000, 1550]);
    }

    #[test]
    fn excerpt_length_matches_its_boxes() {
        let track = Track {
            codec: "h264",
            timescale: 1000,
            sample_entries: vec![Bytes::from_static(b"\0\0\0\x08avc1")],
            matrix: IDENTITY_MATRIX,
            display_size: [0; 2],
            duration: 0,
            video_start: 0,
            video_end: 0,
            fps: 0.0,
            sample_prefix: Bytes::from_static(b"PP"),
            has_audio: false,
            keyframes: None,
            is_intra_refresh: false,
            crop: None,
            dolby_vision: None,
        };
        let mut buffer = SparseBuffer::new(10);
        let first = ExcerptSample {
            source: Sample { offset: 2, size: 3, ..excerpt_sample(0, true, true).source },
            ..excerpt_sample(0, true, true)
        };
        assert_eq!(write_excerpt(&track, &buffer, &[first]), Err(ReadError::from_missing_range(2..5)));
        buffer.insert(0, &Bytes::from_static(b"0123456789"));
        let excerpt = write_excerpt(&track, &buffer, &[first]).unwrap();
        assert_eq!(excerpt.frame_count, 1);
        assert!(excerpt.bytes.ends_with(b"PP234"), "{:?}", excerpt.bytes);
        let at = excerpt.bytes.windows(4).position(|word| word == b"co64").unwrap() + 12;
        let offset = u64::from_be_bytes(excerpt.bytes[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(&excerpt.bytes[offset..], b"PP234");
        let mut at = 0;
        while at < excerpt.bytes.len() {
            let size = u32::from_be_bytes(excerpt.bytes[at..at + 4].try_into().unwrap()) as usize;
            at += if size == 1 { excerpt.bytes.len() - at } else { size };
        }
        assert_eq!(at, excerpt.bytes.len());
    }
}
