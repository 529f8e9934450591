//! Decides what the decoder is handed instead of a source: a small MP4 of our own making, with the samples that are
//! wanted and the codec configuration that they need. Pure.
//!
//! Its times are not the source's. Every picture that is wanted has the next whole second to itself (a *slot*), and
//! what is there only to be decoded stands shortly before the slot that it helps. With `fps=1` ffmpeg therefore gives
//! exactly one frame a slot, the right one, and where a frame cannot be decoded its neighbour, so that the frames that
//! come back are known by their number. ISO 14496-12 says how the boxes are laid out.

use bytes::{BufMut as _, Bytes, BytesMut};
use glimpse_contract::limits;

use crate::demux::buffer::{Fault, Known};
use crate::demux::demuxer::{Sample, Track, UPRIGHT};
use crate::demux::reference;
use crate::size::Size;

/// Ticks a second of a digest, and so of a slot.
const TICKS: u32 = 1000;
/// How long before its slot a picture stands that is there only to be decoded: it is rounded to the slot, and gives
/// way to the one that has it.
const BEFORE: i64 = 450;
/// One sample of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    /// The sample.
    pub sample: Sample,
    /// Whether its picture comes back.
    pub shown: bool,
    /// Whether a new stretch begins with it, which nothing before it may reach into.
    pub cut: bool,
}

/// A small MP4, and how many frames come out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The file.
    pub bytes: Bytes,
    /// How many slots it has: one a shown sample.
    pub slots: u32,
}

/// Makes digests of these samples, which are in decoding order: one, or more where a stretch begins in a way after which
/// a decoder does not begin anew. What is neither shown nor needed by others is left out.
///
/// # Errors
/// [`Fault::Missing`] if bytes of a sample are not known.
pub fn digests(track: &Track, known: &Known, shots: &[Shot]) -> Result<Vec<Digest>, Fault> {
    let missing: Vec<_> = shots.iter().flat_map(|shot| known.gaps(range_of(&shot.sample))).collect();
    if !missing.is_empty() {
        return Err(Fault::Missing(missing));
    }
    let nal_length = track.nal_length();
    let mut bodies = Vec::with_capacity(shots.len());
    for shot in unpacked(track, known, shots)? {
        bodies.push((shot, body(track, known.bytes(range_of(&shot.sample))?)));
    }
    let layer = |bytes: &Bytes| reference::sub_layer(track.codec, bytes, nal_length);
    let top = bodies.iter().map(|(_, bytes)| layer(bytes)).max().unwrap_or(0);
    bodies.retain(|(shot, bytes)| {
        let keeps = shot.shown || shot.cut || shot.sample.key;
        keeps || !reference::is_disposable(track.codec, bytes, nal_length, top)
    });
    let mut groups: Vec<Vec<Shot>> = Vec::new();
    for (shot, bytes) in bodies {
        match groups.last_mut() {
            Some(group) if !shot.cut || reference::begins_anew(track.codec, &bytes, nal_length) => {
                group.push(shot);
            }
            _ => groups.push(vec![shot]),
        }
    }
    groups.iter().map(|group| mux(track, known, group)).collect()
}

/// The bytes of a sample with what stands before them.
fn body(track: &Track, bytes: Bytes) -> Bytes {
    if track.prefix.is_empty() { bytes } else { [&track.prefix[..], &bytes].concat().into() }
}

/// The samples with one picture each, where B-pictures of MPEG-4 part 2 are packed into the sample of the picture that they
/// refer to.
fn unpacked(track: &Track, known: &Known, shots: &[Shot]) -> Result<Vec<Shot>, Fault> {
    if track.codec != "mpeg4" {
        return Ok(shots.to_vec());
    }
    let mut all = Vec::with_capacity(shots.len());
    for stretch in shots.chunk_by(|_, next| !next.cut) {
        let mut bodies = Vec::with_capacity(stretch.len());
        for shot in stretch {
            bodies.push((*shot, known.bytes(range_of(&shot.sample))?));
        }
        all.extend(crate::excerpt::packed_bitstream::split(&bodies, &track.prefix));
    }
    Ok(all)
}

/// Whether one of these is called a keyframe that surely is none, or begins a stretch as one, as far as their bytes are
/// known.
pub fn begins_amiss(track: &Track, known: &Known, shots: &[Shot]) -> bool {
    let nal_length = track.nal_length();
    // Where pictures are renewed bit by bit, decoding begins with what is no keyframe: that was found out before.
    let begins = |shot: &&Shot| !track.gradual && (shot.sample.key || shot.cut);
    shots.iter().filter(begins).any(|shot| {
        let bytes = body(track, known.available(range_of(&shot.sample)));
        reference::is_no_keyframe(track.codec, &bytes, nal_length)
    })
}

/// The size that pictures of a track are shown in whose keyframes have several: the largest, and of those the one that
/// most have. None where all have one. Keyframes that are not known yet do not count.
pub fn main_size<'a>(
    track: &Track,
    known: &Known,
    shots: impl IntoIterator<Item = &'a Shot>,
) -> Option<Size> {
    let mut counts: Vec<(Size, usize)> = Vec::new();
    for Shot { sample, .. } in shots.into_iter().filter(|shot| shot.sample.key) {
        let bytes = known.available(range_of(sample));
        let size = if bytes.is_empty() {
            None
        } else {
            crate::excerpt::frame_size::of(track, sample.entry, &body(track, bytes))
        };
        // What is larger is not decoded.
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
    // Of several the last one counts: here that which comes first in the film.
    let largest = counts.iter().rev().max_by_key(|(size, count)| (size.frame_bytes(), *count));
    if counts.len() > 1 { largest.map(|(size, _)| *size) } else { None }
}

/// Makes a digest of these samples, which are in decoding order.
///
/// # Errors
/// [`Fault::Missing`] if bytes of a sample are not known.
pub fn mux(track: &Track, known: &Known, shots: &[Shot]) -> Result<Digest, Fault> {
    let missing: Vec<_> = shots.iter().flat_map(|shot| known.gaps(range_of(&shot.sample))).collect();
    if !missing.is_empty() {
        return Err(Fault::Missing(missing));
    }
    let nal_length = track.nal_length();
    let mut bodies = Vec::with_capacity(shots.len());
    for shot in shots {
        let bytes = body(track, known.bytes(range_of(&shot.sample))?);
        bodies.push(if shot.cut { reference::spliced(track.codec, bytes, nal_length) } else { bytes });
    }
    let lengths: Vec<u32> = bodies.iter().map(|body| body.len() as u32).collect();
    let times = times(shots);
    let shown = shots.iter().filter(|shot| shot.shown).count() as u32;

    let plan = Plan { track, shots, times: &times, lengths: &lengths, slots: shown };
    let head = |offset: u64| -> BytesMut {
        let mut out = BytesMut::new();
        boxed(&mut out, *b"ftyp", |out| out.extend_from_slice(b"isom\0\0\x02\0isomiso2mp41"));
        boxed(&mut out, *b"moov", |out| movie(out, &plan, offset));
        out
    };
    // The header is as long whatever the offset in it.
    let mut out = head(0);
    let data: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    let offset = out.len() as u64 + 16;
    out = head(offset);
    out.reserve(data as usize + 16);
    out.put_u32(1);
    out.extend_from_slice(b"mdat");
    out.put_u64(data + 16);
    for body in &bodies {
        out.extend_from_slice(body);
    }
    Ok(Digest { bytes: out.freeze(), slots: shown })
}

/// The bytes of a sample.
pub fn range_of(sample: &Sample) -> std::ops::Range<u64> {
    sample.offset..sample.offset.saturating_add(u64::from(sample.size))
}

/// The bytes of these samples.
pub fn ranges(shots: &[Shot]) -> Vec<std::ops::Range<u64>> {
    shots.iter().map(|shot| range_of(&shot.sample)).collect()
}

/// When each sample is shown, in ticks of the digest.
fn times(shots: &[Shot]) -> Vec<i64> {
    // Each stretch by itself, in the order in which its pictures are shown.
    let mut order: Vec<usize> = (0..shots.len()).collect();
    let mut stretch = 0_usize;
    let stretches: Vec<usize> = shots
        .iter()
        .map(|shot| {
            stretch += usize::from(shot.cut);
            stretch
        })
        .collect();
    order.sort_by_key(|place| (stretches[*place], shots[*place].sample.pts, *place));
    let mut times = vec![0; shots.len()];
    let mut slot = 0_i64;
    let mut waiting: Vec<usize> = Vec::new();
    for place in order {
        if shots[place].shown {
            settle(&mut times, &mut waiting, slot);
            times[place] = slot * i64::from(TICKS);
            slot += 1;
        } else {
            waiting.push(place);
        }
    }
    settle(&mut times, &mut waiting, slot);
    times
}

/// Those that wait get their times shortly before the slot, in order.
fn settle(times: &mut [i64], waiting: &mut Vec<usize>, slot: i64) {
    // In so little time there is room for as many pictures as ticks; more share the last one's, and all are dropped.
    for (place, rank) in waiting.drain(..).zip(0_i64..) {
        times[place] = slot * i64::from(TICKS) - BEFORE + rank.min(BEFORE - 1);
    }
}

fn boxed(out: &mut BytesMut, kind: [u8; 4], fill: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.extend_from_slice(&kind);
    fill(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn full(out: &mut BytesMut, kind: [u8; 4], version: u8, flags: u32, fill: impl FnOnce(&mut BytesMut)) {
    boxed(out, kind, |out| {
        out.put_u32(u32::from(version) << 24 | flags);
        fill(out);
    });
}

/// What a digest's header is about.
struct Plan<'a> {
    track: &'a Track,
    shots: &'a [Shot],
    /// When each is shown, in ticks of the digest.
    times: &'a [i64],
    /// How many bytes each takes.
    lengths: &'a [u32],
    slots: u32,
}

fn movie(out: &mut BytesMut, plan: &Plan<'_>, offset: u64) {
    let track = plan.track;
    let duration = plan.slots.max(1).saturating_mul(TICKS);
    full(out, *b"mvhd", 0, 0, |out| {
        for number in [0, 0, TICKS, duration, 0x1_0000] {
            out.put_u32(number);
        }
        out.put_u16(0x100);
        out.put_bytes(0, 10);
        for number in UPRIGHT {
            out.put_i32(number);
        }
        out.put_bytes(0, 24);
        out.put_u32(2);
    });
    boxed(out, *b"trak", |out| {
        full(out, *b"tkhd", 0, 3, |out| {
            for number in [0, 0, 1, 0, duration] {
                out.put_u32(number);
            }
            out.put_bytes(0, 16);
            for number in track.matrix {
                out.put_i32(number);
            }
            for number in track.display {
                out.put_u32(number);
            }
        });
        boxed(out, *b"mdia", |out| {
            full(out, *b"mdhd", 0, 0, |out| {
                for number in [0, 0, TICKS, duration] {
                    out.put_u32(number);
                }
                // `und`, packed in 15 bits.
                out.put_u16(0x55c4);
                out.put_u16(0);
            });
            full(out, *b"hdlr", 0, 0, |out| out.extend_from_slice(b"\0\0\0\0vide\0\0\0\0\0\0\0\0\0\0\0\0\0"));
            boxed(out, *b"minf", |out| {
                full(out, *b"vmhd", 0, 1, |out| out.put_bytes(0, 8));
                boxed(out, *b"dinf", |out| {
                    full(out, *b"dref", 0, 0, |out| {
                        out.put_u32(1);
                        full(out, *b"url ", 0, 1, |_| {});
                    });
                });
                boxed(out, *b"stbl", |out| tables(out, plan, offset));
            });
        });
    });
}

fn tables(out: &mut BytesMut, plan: &Plan<'_>, offset: u64) {
    let Plan { track, shots, times, lengths, .. } = *plan;
    let count = shots.len() as u32;
    full(out, *b"stsd", 0, 0, |out| {
        out.put_u32(track.entries.len() as u32);
        for entry in &track.entries {
            out.extend_from_slice(entry);
        }
    });
    // Decoding order is all that a decoder needs of decoding times: a tick each.
    full(out, *b"stts", 0, 0, |out| {
        for number in [1, count, 1] {
            out.put_u32(number);
        }
    });
    full(out, *b"ctts", 1, 0, |out| {
        out.put_u32(count);
        for (time, decoded) in times.iter().zip(0_i64..) {
            out.put_u32(1);
            out.put_i32((*time - decoded) as i32);
        }
    });
    full(out, *b"stss", 0, 0, |out| {
        let keys: Vec<u32> =
            shots.iter().zip(1..).filter(|(shot, _)| shot.sample.key).map(|(_, number)| number).collect();
        out.put_u32(keys.len() as u32);
        for number in keys {
            out.put_u32(number);
        }
    });
    full(out, *b"stsz", 0, 0, |out| {
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
    for (shot, length) in shots.iter().zip(lengths) {
        let entry = u32::from(shot.sample.entry) + 1;
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
    full(out, *b"stsc", 0, 0, |out| {
        out.put_u32(chunks.len() as u32);
        for ((_, samples, entry), number) in chunks.iter().zip(1_u32..) {
            for value in [number, *samples, *entry] {
                out.put_u32(value);
            }
        }
    });
    full(out, *b"co64", 0, 0, |out| {
        out.put_u32(chunks.len() as u32);
        for (at, _, _) in chunks {
            out.put_u64(at);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shot(pts: i64, shown: bool, cut: bool) -> Shot {
        let sample = Sample { offset: 0, size: 1, dts: 0, pts, key: cut, entry: 0 };
        Shot { sample, shown, cut }
    }

    #[test]
    fn what_is_shown_has_a_second_to_itself_and_what_it_needs_stands_before_it() {
        // Decoding order I P B, twice; of the first stretch B is wanted, of the second I and P.
        let shots = [
            shot(0, false, true),
            shot(20, false, false),
            shot(10, true, false),
            shot(5, true, true),
            shot(25, true, false),
            shot(15, false, false),
        ];
        assert_eq!(times(&shots), [-450, 550, 0, 1000, 2000, 1550]);
    }

    #[test]
    fn a_digest_is_as_long_as_its_boxes_say() {
        let track = Track {
            codec: "h264",
            timescale: 1000,
            entries: vec![Bytes::from_static(b"\0\0\0\x08avc1")],
            matrix: UPRIGHT,
            display: [0; 2],
            duration: 0,
            picture_begin: 0,
            picture_end: 0,
            fps: 0.0,
            prefix: Bytes::from_static(b"PP"),
            has_audio: false,
            keyframes: None,
            gradual: false,
            crop: None,
            dolby_vision: None,
        };
        let mut known = Known::new(10);
        let first = Shot {
            sample: Sample { offset: 2, size: 3, ..shot(0, true, true).sample },
            ..shot(0, true, true)
        };
        assert_eq!(mux(&track, &known, &[first]), Err(Fault::missing(2..5)));
        known.learn(0, &Bytes::from_static(b"0123456789"));
        let digest = mux(&track, &known, &[first]).unwrap();
        assert_eq!(digest.slots, 1);
        assert!(digest.bytes.ends_with(b"PP234"), "{:?}", digest.bytes);
        let at = digest.bytes.windows(4).position(|word| word == b"co64").unwrap() + 12;
        let offset = u64::from_be_bytes(digest.bytes[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(&digest.bytes[offset..], b"PP234");
        let mut at = 0;
        while at < digest.bytes.len() {
            let size = u32::from_be_bytes(digest.bytes[at..at + 4].try_into().unwrap()) as usize;
            at += if size == 1 { digest.bytes.len() - at } else { size };
        }
        assert_eq!(at, digest.bytes.len());
    }
}
