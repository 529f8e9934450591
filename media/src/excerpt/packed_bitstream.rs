//! Decides how samples of MPEG-4 part 2 are taken apart that hold two pictures ("packed bitstream"). Pure.
//!
//! AVI gives a picture no time of its own, so encoders of that age put a B-picture into the sample of the later picture that
//! it refers to, and a placeholder (a picture that is not coded) where the later one is shown. Such samples were copied into
//! Matroska and MP4, each with the time of its place. Here every sample becomes one picture with its own time: ISO
//! 14496-2, 6.2.5.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::demux::demuxer::Sample;
use crate::excerpt::mp4_writer::Shot;

/// The start code of a picture.
const VOP: [u8; 4] = [0, 0, 1, 0xb6];
/// `vop_coding_type` of a B-picture.
const B: u8 = 2;
/// The longest placeholder, in bytes: it has its head alone.
const MAX_PLACEHOLDER: usize = 19;

/// A picture in decoding order.
#[derive(Debug, Clone)]
struct Picture {
    /// The sample that it is part of, cut to its bytes.
    sample: Sample,
    is_b: bool,
}

/// The samples of a stretch with one picture each. `prefix` stands before the bytes of every sample.
pub(super) fn split(stretch: &[(Shot, Bytes)], prefix: &[u8]) -> Vec<Shot> {
    let found: Vec<Vec<(Range<usize>, u8)>> =
        stretch.iter().map(|(_, bytes)| pictures(bytes, prefix)).collect();
    if found.iter().all(|pictures| pictures.len() < 2) {
        return stretch.iter().map(|(shot, _)| *shot).collect();
    }
    let mut waiting: VecDeque<Picture> = VecDeque::new();
    let mut pictures: Vec<Picture> = Vec::with_capacity(stretch.len());
    let mut references = 0;
    for ((shot, bytes), found) in stretch.iter().zip(found) {
        let is_placeholder = found.len() == 1 && bytes.len() <= MAX_PLACEHOLDER && !waiting.is_empty();
        if found.is_empty() {
            waiting.push_back(Picture { sample: shot.sample, is_b: false });
        }
        for (range, kind) in found.iter().filter(|_| !is_placeholder) {
            let part = Sample {
                offset: shot.sample.offset + range.start as u64,
                size: (range.end - range.start) as u32,
                key: shot.sample.key && *kind != B,
                ..shot.sample
            };
            waiting.push_back(Picture { sample: part, is_b: *kind == B });
        }
        let Some(next) = waiting.pop_front() else { continue };
        references += usize::from(!next.is_b);
        // A B-picture behind the first reference refers to one that is not here: that reference is shown instead.
        let first = pictures.first().filter(|_| next.is_b && references < 2).cloned();
        pictures.push(first.unwrap_or(next));
    }
    // What is left is decoded but not shown: its time comes later.
    let left = waiting.into_iter().filter(|picture| !(picture.is_b && references < 2));
    pictures.extend(left);

    // In the order in which pictures are shown, a reference waits for the B-pictures that follow it.
    let (mut order, mut held) = (Vec::with_capacity(pictures.len()), None);
    for (place, picture) in pictures.iter().enumerate() {
        if picture.is_b {
            order.push(place);
        } else {
            order.extend(held.replace(place));
        }
    }
    order.extend(held);
    let mut times: Vec<(i64, bool)> = stretch.iter().map(|(shot, _)| (shot.sample.pts, shot.shown)).collect();
    times.sort_by_key(|(pts, _)| *pts);
    let last = times.last().map_or(0, |(pts, _)| *pts);
    let mut shots: Vec<Shot> =
        pictures.iter().map(|picture| Shot { sample: picture.sample, shown: false, cut: false }).collect();
    let later = (1..).map(|ticks| (last.saturating_add(ticks), false));
    for (place, (pts, shown)) in order.into_iter().zip(times.into_iter().chain(later)) {
        if let Some(shot) = shots.get_mut(place) {
            shot.sample.pts = pts;
            shot.shown = shown;
        }
    }
    if let (Some(first), Some((begin, _))) = (shots.first_mut(), stretch.first()) {
        first.cut = begin.cut;
    }
    shots
}

/// Where the pictures of a sample lie, with what stands before the first, and the type of each.
fn pictures(bytes: &[u8], prefix: &[u8]) -> Vec<(Range<usize>, u8)> {
    // Only the first picture may begin with bytes that are not there.
    let whole = [prefix, bytes].concat();
    let starts: Vec<usize> = whole
        .windows(5)
        .enumerate()
        .filter(|(_, window)| window.starts_with(&VOP))
        .map(|(place, _)| place)
        .collect();
    let mut found = Vec::with_capacity(starts.len());
    for (at, start) in starts.iter().enumerate() {
        let begin = if at == 0 { 0 } else { *start };
        let end = starts.get(at + 1).copied().unwrap_or(whole.len());
        // Behind the first, a picture gets the prefix instead of the same bytes of its own.
        let own = if at > 0 && whole.get(begin..end).is_some_and(|part| part.starts_with(prefix)) {
            begin
        } else {
            begin.saturating_sub(prefix.len())
        };
        let kind = whole.get(start + 4).map_or(0, |byte| byte >> 6);
        found.push((own.min(bytes.len())..end.saturating_sub(prefix.len()).min(bytes.len()), kind));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const I: u8 = 0x00;
    const P: u8 = 0x40;
    const B_VOP: u8 = 0x80;

    /// A picture of this type, of 30 bytes or, as a placeholder, of 7.
    fn vop(kind: u8, length: usize) -> Vec<u8> {
        [&VOP[..], &[kind], &vec![kind | 1; length - 5]].concat()
    }

    /// Samples of these pictures, each shown one tick after the last.
    fn stretch(samples: &[&[u8]], shown: &[i64]) -> Vec<(Shot, Bytes)> {
        let mut offset = 100;
        let mut all = Vec::new();
        for (pts, kinds) in (0_i64..).zip(samples) {
            let bytes: Vec<u8> =
                kinds.iter().flat_map(|kind| vop(kind & 0xc0, if kind & 1 == 1 { 7 } else { 30 })).collect();
            let sample =
                Sample { offset, size: bytes.len() as u32, dts: pts, pts, key: kinds[0] == I, entry: 0 };
            offset += bytes.len() as u64;
            all.push((Shot { sample, shown: shown.contains(&pts), cut: pts == 0 }, bytes.into()));
        }
        all
    }

    /// A placeholder.
    const N: u8 = P | 1;

    /// What became of them: offset and size, when each is shown, and whether it comes back.
    fn found(samples: &[&[u8]], shown: &[i64]) -> Vec<(u64, u32, i64, bool)> {
        let shots = split(&stretch(samples, shown), b"");
        assert!(shots[0].cut && shots[1..].iter().all(|shot| !shot.cut));
        shots.iter().map(|shot| (shot.sample.offset, shot.sample.size, shot.sample.pts, shot.shown)).collect()
    }

    #[test]
    fn a_packed_picture_takes_the_place_of_the_placeholder() {
        // I, P with B, placeholder: shown I, B, P.
        assert_eq!(
            found(&[&[I], &[P, B_VOP], &[N]], &[0, 1, 2]),
            [(100, 30, 0, true), (130, 30, 2, true), (160, 30, 1, true)]
        );
        // Two B-pictures in a row: the second has a sample of its own.
        assert_eq!(
            found(&[&[I], &[P, B_VOP], &[B_VOP], &[N]], &[1, 3]),
            [(100, 30, 0, false), (130, 30, 3, true), (160, 30, 1, true), (190, 30, 2, false)]
        );
    }

    #[test]
    fn a_stretch_may_end_before_the_placeholder() {
        assert_eq!(
            found(&[&[I], &[P, B_VOP]], &[1]),
            [(100, 30, 0, false), (130, 30, 2, false), (160, 30, 1, true)]
        );
    }

    #[test]
    fn what_refers_to_before_the_stretch_is_not_decoded() {
        // The first picture holds a B-picture that is shown before it.
        assert_eq!(
            found(&[&[I, B_VOP], &[N], &[P, B_VOP], &[N]], &[0, 1, 2]),
            [(100, 30, 0, true), (100, 30, 1, true), (167, 30, 3, false), (197, 30, 2, true)]
        );
        assert_eq!(found(&[&[I, B_VOP]], &[0]), [(100, 30, 0, true)]);
    }

    #[test]
    fn what_is_not_packed_stays_as_it_is() {
        let plain = stretch(&[&[I], &[P], &[B_VOP], &[N]], &[0, 2]);
        let shots: Vec<Shot> = plain.iter().map(|(shot, _)| *shot).collect();
        assert_eq!(split(&plain, b""), shots);
    }

    #[test]
    fn a_stripped_head_is_not_doubled() {
        // Matroska's header stripping: the first three bytes of a start code are kept once for all.
        let prefix = &[0, 0, 1];
        let stripped: Vec<(Shot, Bytes)> = stretch(&[&[I], &[P, B_VOP], &[N]], &[0, 1, 2])
            .into_iter()
            .map(|(mut shot, bytes)| {
                shot.sample.offset += 3;
                shot.sample.size -= 3;
                (shot, bytes.slice(3..))
            })
            .collect();
        let shots = split(&stripped, prefix);
        let places: Vec<_> = shots.iter().map(|shot| (shot.sample.offset, shot.sample.size)).collect();
        assert_eq!(places, [(103, 27), (133, 27), (163, 27)]);
    }
}
