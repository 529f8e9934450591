//! Splits samples of MPEG-4 part 2 that contain two pictures ("packed bitstream"). Does no IO.
//!
//! AVI stores no presentation times, so encoders put a B-picture into the sample of the later picture that it
//! references, and a placeholder (a picture that is not coded) at the position where the later one is shown. Such
//! samples were copied to Matroska and MP4 with the times of their positions. After splitting, every sample contains
//! one picture with the correct time: ISO 14496-2, 6.2.5.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::demux::demuxer::Sample;
use crate::excerpt::ExcerptSample;

/// The start code of a picture (VOP).
const VOP_START_CODE: [u8; 4] = [0, 0, 1, 0xb6];
/// `vop_coding_type` of a B-picture.
const VOP_TYPE_B: u8 = 2;
/// The longest placeholder, in bytes: it consists only of its header.
const MAX_PLACEHOLDER: usize = 19;

/// A picture in decoding order.
#[derive(Debug, Clone)]
struct Vop {
    /// The sample that contains it, reduced to its bytes.
    sample: Sample,
    is_b: bool,
}

/// Splits the samples of a segment into samples with one picture each. `prefix` precedes the bytes of every sample.
pub(super) fn split(segment: &[(ExcerptSample, Bytes)], prefix: &[u8]) -> Vec<ExcerptSample> {
    let sample_vops: Vec<Vec<(Range<usize>, u8)>> =
        segment.iter().map(|(_, bytes)| find_vops(bytes, prefix)).collect();
    if sample_vops.iter().all(|pictures| pictures.len() < 2) {
        return segment.iter().map(|(sample, _)| *sample).collect();
    }
    let mut waiting: VecDeque<Vop> = VecDeque::new();
    let mut vops_in_order: Vec<Vop> = Vec::with_capacity(segment.len());
    let mut references = 0;
    for ((sample, bytes), vops) in segment.iter().zip(sample_vops) {
        let is_placeholder = vops.len() == 1 && bytes.len() <= MAX_PLACEHOLDER && !waiting.is_empty();
        if vops.is_empty() {
            waiting.push_back(Vop { sample: sample.source, is_b: false });
        }
        for (range, kind) in vops.iter().filter(|_| !is_placeholder) {
            let source = Sample {
                offset: sample.source.offset + range.start as u64,
                size: (range.end - range.start) as u32,
                is_key: sample.source.is_key && *kind != VOP_TYPE_B,
                ..sample.source
            };
            waiting.push_back(Vop { sample: source, is_b: *kind == VOP_TYPE_B });
        }
        let Some(next) = waiting.pop_front() else { continue };
        references += usize::from(!next.is_b);
        // A B-picture after the first reference references a missing picture: show the first reference instead.
        let first = vops_in_order.first().filter(|_| next.is_b && references < 2).cloned();
        vops_in_order.push(first.unwrap_or(next));
    }
    // The remaining pictures are decoded but not shown: their times are later.
    let left = waiting.into_iter().filter(|picture| !(picture.is_b && references < 2));
    vops_in_order.extend(left);

    // In presentation order, a reference follows the B-pictures that come after it.
    let (mut order, mut pending_reference) = (Vec::with_capacity(vops_in_order.len()), None);
    for (place, picture) in vops_in_order.iter().enumerate() {
        if picture.is_b {
            order.push(place);
        } else {
            order.extend(pending_reference.replace(place));
        }
    }
    order.extend(pending_reference);
    let mut times: Vec<(i64, bool)> =
        segment.iter().map(|(sample, _)| (sample.source.pts, sample.is_output)).collect();
    times.sort_by_key(|(pts, _)| *pts);
    let last = times.last().map_or(0, |(pts, _)| *pts);
    let mut samples: Vec<ExcerptSample> = vops_in_order
        .iter()
        .map(|picture| ExcerptSample { source: picture.sample, is_output: false, is_discontinuity: false })
        .collect();
    let later = (1..).map(|ticks| (last.saturating_add(ticks), false));
    for (place, (pts, shown)) in order.into_iter().zip(times.into_iter().chain(later)) {
        if let Some(sample) = samples.get_mut(place) {
            sample.source.pts = pts;
            sample.is_output = shown;
        }
    }
    if let (Some(first), Some((begin, _))) = (samples.first_mut(), segment.first()) {
        first.is_discontinuity = begin.is_discontinuity;
    }
    samples
}

/// The byte ranges of a sample's pictures, and the type of each. The first range includes bytes before the first
/// picture.
fn find_vops(bytes: &[u8], prefix: &[u8]) -> Vec<(Range<usize>, u8)> {
    // Only the first picture may start with bytes of the prefix, which are not in the sample.
    let whole = [prefix, bytes].concat();
    let starts: Vec<usize> = whole
        .windows(5)
        .enumerate()
        .filter(|(_, window)| window.starts_with(&VOP_START_CODE))
        .map(|(place, _)| place)
        .collect();
    let mut vops = Vec::with_capacity(starts.len());
    for (at, start) in starts.iter().enumerate() {
        let begin = if at == 0 { 0 } else { *start };
        let end = starts.get(at + 1).copied().unwrap_or(whole.len());
        // Later pictures get the prefix instead of the same bytes in the sample.
        let start_offset = if at > 0 && whole.get(begin..end).is_some_and(|part| part.starts_with(prefix)) {
            begin
        } else {
            begin.saturating_sub(prefix.len())
        };
        let kind = whole.get(start + 4).map_or(0, |byte| byte >> 6);
        vops.push((start_offset.min(bytes.len())..end.saturating_sub(prefix.len()).min(bytes.len()), kind));
    }
    vops
}

#[cfg(test)]
mod tests {
    use super::*;

    const I: u8 = 0x00;
    const P: u8 = 0x40;
    const B_VOP: u8 = 0x80;

    /// A picture of this type, of 30 bytes or, as a placeholder, of 7.
    fn vop(kind: u8, length: usize) -> Vec<u8> {
        [&VOP_START_CODE[..], &[kind], &vec![kind | 1; length - 5]].concat()
    }

    /// Samples of these pictures, each shown one tick after the previous one.
    fn segment(samples: &[&[u8]], outputs: &[i64]) -> Vec<(ExcerptSample, Bytes)> {
        let mut offset = 100;
        let mut all = Vec::new();
        for (pts, kinds) in (0_i64..).zip(samples) {
            let bytes: Vec<u8> =
                kinds.iter().flat_map(|kind| vop(kind & 0xc0, if kind & 1 == 1 { 7 } else { 30 })).collect();
            let source =
                Sample { offset, size: bytes.len() as u32, dts: pts, pts, is_key: kinds[0] == I, entry: 0 };
            offset += bytes.len() as u64;
            all.push((
                ExcerptSample { source, is_output: outputs.contains(&pts), is_discontinuity: pts == 0 },
                bytes.into(),
            ));
        }
        all
    }

    /// A placeholder.
    const N: u8 = P | 1;

    /// The split samples: offset and size, presentation time, and whether it is output.
    fn split_samples(samples: &[&[u8]], outputs: &[i64]) -> Vec<(u64, u32, i64, bool)> {
        let samples = split(&segment(samples, outputs), b"");
        assert!(samples[0].is_discontinuity && samples[1..].iter().all(|sample| !sample.is_discontinuity));
        samples
            .iter()
            .map(|sample| (sample.source.offset, sample.source.size, sample.source.pts, sample.is_output))
            .collect()
    }

    #[test]
    fn packed_b_vop_replaces_placeholder() {
        // I, P with B, placeholder: shown I, B, P.
        assert_eq!(
            split_samples(&[&[I], &[P, B_VOP], &[N]], &[0, 1, 2]),
            [(100, 30, 0, true), (130, 30, 2, true), (160, 30, 1, true)]
        );
        // Two B-pictures in a row: the second is in a separate sample.
        assert_eq!(
            split_samples(&[&[I], &[P, B_VOP], &[B_VOP], &[N]], &[1, 3]),
            [(100, 30, 0, false), (130, 30, 3, true), (160, 30, 1, true), (190, 30, 2, false)]
        );
    }

    #[test]
    fn segment_may_end_before_placeholder() {
        assert_eq!(
            split_samples(&[&[I], &[P, B_VOP]], &[1]),
            [(100, 30, 0, false), (130, 30, 2, false), (160, 30, 1, true)]
        );
    }

    #[test]
    fn drops_b_vop_without_its_reference() {
        // The first sample contains a B-picture that is shown before it.
        assert_eq!(
            split_samples(&[&[I, B_VOP], &[N], &[P, B_VOP], &[N]], &[0, 1, 2]),
            [(100, 30, 0, true), (100, 30, 1, true), (167, 30, 3, false), (197, 30, 2, true)]
        );
        assert_eq!(split_samples(&[&[I, B_VOP]], &[0]), [(100, 30, 0, true)]);
    }

    #[test]
    fn leaves_unpacked_samples_unchanged() {
        let plain = segment(&[&[I], &[P], &[B_VOP], &[N]], &[0, 2]);
        let samples: Vec<ExcerptSample> = plain.iter().map(|(sample, _)| *sample).collect();
        assert_eq!(split(&plain, b""), samples);
    }

    #[test]
    fn does_not_repeat_stripped_prefix() {
        // Matroska's header stripping: the first three bytes of a start code are stored only once.
        let prefix = &[0, 0, 1];
        let stripped: Vec<(ExcerptSample, Bytes)> = segment(&[&[I], &[P, B_VOP], &[N]], &[0, 1, 2])
            .into_iter()
            .map(|(mut sample, bytes)| {
                sample.source.offset += 3;
                sample.source.size -= 3;
                (sample, bytes.slice(3..))
            })
            .collect();
        let samples = split(&stripped, prefix);
        let places: Vec<_> =
            samples.iter().map(|sample| (sample.source.offset, sample.source.size)).collect();
        assert_eq!(places, [(103, 27), (133, 27), (163, 27)]);
    }
}
