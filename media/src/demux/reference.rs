//! Detects non-reference pictures and random access points from the first bytes of a sample.
//!
//! If the bytes are inconclusive, the result is the one that discards nothing that other pictures need. Does no IO.

use bytes::{Bytes, BytesMut};

use crate::bits::{BitReader, read_leb128, to_rbsp};

/// Whether no other picture references this one, so that it can be dropped if it is not shown itself.
///
/// `nal_length_size` is the size of a NAL unit's length field in bytes, for codecs with NAL units. `top_layer` is the
/// highest temporal sub-layer of the surrounding pictures (see [`temporal_sub_layer`]).
pub fn is_non_reference(codec: &str, sample: &[u8], nal_length_size: usize, top_layer: u8) -> bool {
    match codec {
        // ITU-T H.264, 7.4.1: nal_ref_idc is 0 in every slice of a non-reference picture.
        "h264" => all_slices(sample, nal_length_size, |unit| {
            let kind = unit.first()? & 31;
            (1..=5).contains(&kind).then(|| unit.first().is_some_and(|byte| byte & 0x60 == 0))
        }),
        // ITU-T H.265, table 7-1: even types up to 14 are sub-layer non-reference pictures, which only pictures of
        // higher sub-layers may reference.
        "hevc" => all_slices(sample, nal_length_size, |unit| {
            let kind = (unit.first()? >> 1) & 63;
            let layer = unit.get(1)? & 7;
            (kind < 32).then_some(kind <= 14 && kind % 2 == 0 && layer >= top_layer)
        }),
        // ISO 13818-2, 6.2.3: picture_coding_type 3 is B, which is never referenced; the same in MPEG-1.
        "mpeg1video" | "mpeg2video" => {
            let header = bytes_after(sample, [0, 0, 1, 0]);
            header.and_then(|rest| rest.get(1)).is_some_and(|byte| (byte >> 3) & 7 == 3)
        }
        // ISO 14496-2, 6.2.5: vop_coding_type 2 is B. A sample may contain more than one packed picture.
        "mpeg4" => {
            const VOP: [u8; 4] = [0, 0, 1, 0xb6];
            let header = bytes_after(sample, VOP);
            header.and_then(|rest| rest.first()).is_some_and(|byte| byte >> 6 == 2)
                && header.and_then(|rest| bytes_after(rest, VOP)).is_none()
        }
        _ => false,
    }
}

/// The temporal sub-layer of an HEVC picture, as `nuh_temporal_id_plus1`; 0 for all other codecs.
pub fn temporal_sub_layer(codec: &str, sample: &[u8], nal_length_size: usize) -> u8 {
    if codec != "hevc" {
        return 0;
    }
    nal_units(sample, nal_length_size)
        .filter(|unit| unit.first().is_some_and(|byte| (byte >> 1) & 63 < 32))
        .filter_map(|unit| unit.get(1))
        .map(|byte| byte & 7)
        .max()
        .unwrap_or(0)
}

/// Whether a decoder resets at this keyframe in the middle of a stream. An H.264 keyframe that is not an IDR picture
/// (an open GOP) does not reset the picture numbering.
pub fn is_decoder_reset(codec: &str, sample: &[u8], nal_length_size: usize) -> bool {
    codec != "h264"
        || nal_units(sample, nal_length_size).any(|unit| unit.first().is_some_and(|byte| byte & 31 == 5))
}

/// Rewrites a keyframe from another position of the video so that a decoder resets at it.
///
/// An HEVC CRA picture (of an open GOP) becomes a BLA picture. Both have the same syntax, and BLA pictures exist for
/// this purpose (ITU-T H.265, 7.4.2.2 and table 7-1). An end of sequence before the picture would also work, but then
/// pictures that have not been output are dropped (C.5.2.2: NoOutputOfPriorPicsFlag of a CRA picture is 1).
pub fn rewrite_cra_as_bla(codec: &str, sample: Bytes, nal_length_size: usize) -> Bytes {
    const CRA: u8 = 21;
    const BLA: u8 = 16;
    if codec != "hevc" {
        return sample;
    }
    let kind = |byte: u8| (byte >> 1) & 63;
    let headers: Vec<usize> = nal_units(&sample, nal_length_size)
        .filter(|unit| unit.first().is_some_and(|byte| kind(*byte) == CRA))
        .map(|unit| unit.as_ptr() as usize - sample.as_ptr() as usize)
        .collect();
    if headers.is_empty() {
        return sample;
    }
    let mut rewritten = BytesMut::from(&sample[..]);
    for head in headers {
        rewritten[head] = rewritten[head] & 0x81 | BLA << 1;
    }
    rewritten.freeze()
}

/// Whether decoding can start at a sample, according to its own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RandomAccess {
    /// A random access point: decoding can start here.
    Point,
    /// A recovery point: pictures are correct after this many pictures (periodic intra refresh).
    RecoveryPoint(u32),
    /// The picture references other pictures.
    Dependent,
    /// The bytes are inconclusive.
    Unknown,
}

/// Whether a picture that the index marks as a keyframe is certainly not one: decoding cannot start at it. Some cameras
/// mark every n-th picture, and some muxers mark all of them.
pub fn is_false_keyframe(codec: &str, sample: &[u8], nal_length_size: usize) -> bool {
    matches!(
        random_access(codec, sample, nal_length_size),
        RandomAccess::Dependent | RandomAccess::RecoveryPoint(_)
    )
}

/// Whether decoding can start at a picture. `sample` is all of it or its beginning.
pub fn random_access(codec: &str, sample: &[u8], nal_length_size: usize) -> RandomAccess {
    let point_if = |is_point: bool| if is_point { RandomAccess::Point } else { RandomAccess::Dependent };
    match codec {
        "h264" => h264_random_access(sample, nal_length_size),
        "hevc" => hevc_random_access(sample, nal_length_size),
        "av1" => av1_random_access(sample),
        // RFC 6386, 9.1: the first bit of the frame tag.
        "vp8" => sample.first().map_or(RandomAccess::Unknown, |byte| point_if(byte & 1 == 0)),
        // VP9 bitstream specification, 6.2: `show_existing_frame` and `frame_type` are 0. Profile 3 has one more bit
        // before them.
        "vp9" => sample.first().map_or(RandomAccess::Unknown, |byte| match byte {
            byte if byte >> 6 != 2 => RandomAccess::Unknown,
            byte if byte & 0x30 == 0x30 => point_if(byte & 0b110 == 0),
            byte => point_if(byte & 0b1100 == 0),
        }),
        // ITU-T H.263, 5.1: bit 9 of PTYPE indicates whether the picture references others. With an extended PTYPE
        // (source format 7) it has another position.
        "h263" => match sample.get(4) {
            Some(byte) if (byte >> 2) & 7 != 7 => point_if(byte & 2 == 0),
            _ => RandomAccess::Unknown,
        },
        "mpeg4" => {
            let header = bytes_after(sample, [0, 0, 1, 0xb6]).and_then(|rest| rest.first());
            header.map_or(RandomAccess::Unknown, |byte| point_if(byte >> 6 == 0))
        }
        "mpeg1video" | "mpeg2video" => {
            let header = bytes_after(sample, [0, 0, 1, 0]).and_then(|rest| rest.get(1));
            header.map_or(RandomAccess::Unknown, |byte| point_if((byte >> 3) & 7 == 1))
        }
        // Every picture is coded independently.
        "mjpeg" | "prores" | "dnxhd" => RandomAccess::Point,
        _ => RandomAccess::Unknown,
    }
}

/// ITU-T H.264: an IDR picture (7.4.1.2.4), or one with a recovery point SEI message (D.2.8). Only the first slice
/// counts: the second field of an intra picture may reference the first.
fn h264_random_access(sample: &[u8], nal_length_size: usize) -> RandomAccess {
    let (mut recovery, mut is_intra) = (None, None);
    for unit in nal_units_with_partial(sample, nal_length_size) {
        match unit.first().map(|byte| byte & 31) {
            Some(5) => return RandomAccess::Point,
            Some(6) => recovery = recovery.or_else(|| recovery_point(unit.get(1..)?, false)),
            Some(1 | 2) if is_intra.is_none() => {
                // Slice types 2, 4, 7 and 9 are I and SI: table 7-6.
                is_intra = unit.get(1..).and_then(|header| {
                    let header = to_rbsp(header, SLICE_HEADER_BYTES);
                    let mut bits = BitReader::new(&header);
                    bits.read_ue()?;
                    Some(matches!(bits.read_ue()? % 5, 2 | 4))
                });
            }
            _ => {}
        }
    }
    match (is_intra, recovery) {
        (Some(_), Some(count)) if count > 0 => RandomAccess::RecoveryPoint(count),
        (Some(true), Some(_)) => RandomAccess::Point,
        (Some(false), _) => RandomAccess::Dependent,
        // An intra picture without such a message may be a keyframe, if the container marks it.
        _ => RandomAccess::Unknown,
    }
}

/// ITU-T H.265, table 7-1: types 16 to 23 are intra random access points; the recovery point SEI message is that of
/// D.2.8.
fn hevc_random_access(sample: &[u8], nal_length_size: usize) -> RandomAccess {
    const PREFIX_SEI: u8 = 39;
    let (mut recovery, mut is_dependent) = (None, false);
    for unit in nal_units_with_partial(sample, nal_length_size) {
        match unit.first().map(|byte| (byte >> 1) & 63) {
            Some(16..=23) => return RandomAccess::Point,
            Some(0..=15) => is_dependent = true,
            Some(PREFIX_SEI) => {
                recovery = recovery.or_else(|| recovery_point(unit.get(2..)?, true));
            }
            _ => {}
        }
    }
    match recovery {
        _ if !is_dependent => RandomAccess::Unknown,
        Some(count) if count > 0 => RandomAccess::RecoveryPoint(count),
        _ => RandomAccess::Dependent,
    }
}

/// AV1 bitstream specification, 5.3 to 5.9: the first frame of a temporal unit.
fn av1_random_access(sample: &[u8]) -> RandomAccess {
    const SEQUENCE_HEADER: u8 = 1;
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    let mut rest = sample;
    while let Some((head, mut body)) = rest.split_first() {
        let kind = head >> 3 & 15;
        if head & 4 != 0 {
            body = body.get(1..).unwrap_or_default();
        }
        let mut size = body.len();
        if head & 2 != 0 {
            let Some((value, rest)) = read_leb128(body) else { return RandomAccess::Unknown };
            body = rest;
            size = usize::try_from(value).unwrap_or(usize::MAX);
        }
        match (kind, body.first()) {
            // `reduced_still_picture_header`: every frame is a keyframe.
            (SEQUENCE_HEADER, Some(byte)) if byte & 8 != 0 => return RandomAccess::Point,
            (FRAME_HEADER | FRAME, Some(byte)) => {
                let (shows_existing, frame_type, is_shown) =
                    (byte & 0x80 != 0, byte >> 5 & 3, byte & 0x10 != 0);
                return match (shows_existing, frame_type) {
                    (false, 0) if is_shown => RandomAccess::Point,
                    // A keyframe that is shown later: frames after it may reference frames before it.
                    (false, 0) => RandomAccess::Unknown,
                    _ => RandomAccess::Dependent,
                };
            }
            _ => {}
        }
        rest = body.get(size..).unwrap_or_default();
    }
    RandomAccess::Unknown
}

/// How many bytes of a slice header contain its type, and how many bytes of an SEI message are read.
const SLICE_HEADER_BYTES: usize = 16;
const SEI_BYTES: usize = 4096;

/// The number of pictures after this one that are not correct yet, from a recovery point SEI message: ITU-T H.264 and
/// H.265, 7.3.2.3.1 and D.1.8.
fn recovery_point(message: &[u8], is_signed: bool) -> Option<u32> {
    const RECOVERY_POINT: u32 = 6;
    let bytes = to_rbsp(message, SEI_BYTES);
    let mut rest = &bytes[..];
    let read_number = |rest: &mut &[u8]| {
        let mut sum = 0_u32;
        loop {
            let (byte, others) = rest.split_first()?;
            *rest = others;
            sum = sum.saturating_add(u32::from(*byte));
            if *byte != 0xff {
                return Some(sum);
            }
        }
    };
    loop {
        let (kind, size) = (read_number(&mut rest)?, read_number(&mut rest)? as usize);
        if kind == RECOVERY_POINT {
            let mut bits = BitReader::new(rest.get(..size.min(rest.len()))?);
            // A negative number is that of a picture before this one.
            let read_signed = |bits: &mut BitReader<'_>| Some(u32::try_from(bits.read_se()?).unwrap_or(0));
            return if is_signed { read_signed(&mut bits) } else { bits.read_ue() };
        }
        rest = rest.get(size..)?;
    }
}

/// Whether there are slices and `predicate` is true for all of them. It returns `None` for units that are not slices.
fn all_slices(sample: &[u8], nal_length_size: usize, predicate: impl Fn(&[u8]) -> Option<bool>) -> bool {
    let mut slices = nal_units(sample, nal_length_size).filter_map(predicate).peekable();
    slices.peek().is_some() && slices.all(|disposable| disposable)
}

/// The NAL units of a sample, each after its length: ISO 14496-15, 4.3.3. A truncated unit is skipped. If the length
/// size is 0, the units follow start codes: ITU-T H.264, annex B.
fn nal_units(sample: &[u8], nal_length_size: usize) -> impl Iterator<Item = &[u8]> {
    split_nal_units(sample, nal_length_size, false)
}

/// Like [`nal_units`], including the beginning of a truncated unit.
fn nal_units_with_partial(sample: &[u8], nal_length_size: usize) -> impl Iterator<Item = &[u8]> {
    split_nal_units(sample, nal_length_size, true)
}

fn split_nal_units(
    mut sample: &[u8],
    nal_length_size: usize,
    keeps_partial: bool,
) -> impl Iterator<Item = &[u8]> {
    // Some muxers keep the record of a stream with lengths, but write start codes: a length of 1, then one that exceeds
    // the sample.
    let second_length =
        sample.get(5..9).map_or(0, |bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
    let has_start_codes =
        nal_length_size == 4 && sample.starts_with(&[0, 0, 0, 1]) && second_length > sample.len();
    let nal_length_size = if has_start_codes { 0 } else { nal_length_size };
    if nal_length_size == 0 {
        sample = find_start_code(sample).and_then(|at| sample.get(at + 3..)).unwrap_or_default();
    }
    std::iter::from_fn(move || {
        if nal_length_size == 0 {
            if sample.is_empty() {
                return None;
            }
            let end = find_start_code(sample).unwrap_or(sample.len());
            let (unit, rest) = sample.split_at(end);
            sample = rest.get(3..).unwrap_or_default();
            // A four-byte start code begins with a zero, and zeros may follow a unit.
            let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            return unit.get(..length);
        }
        let (length, rest) = sample.split_at_checked(nal_length_size)?;
        let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let Some((unit, rest)) = rest.split_at_checked(length) else {
            sample = &[];
            return Some(rest).filter(|rest| keeps_partial && !rest.is_empty());
        };
        sample = rest;
        Some(unit)
    })
}

/// Position of the next start code.
fn find_start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|word| word == [0, 0, 1])
}

/// The bytes after the first occurrence of `code`.
fn bytes_after(sample: &[u8], code: [u8; 4]) -> Option<&[u8]> {
    let at = sample.windows(4).position(|word| word == code)?;
    sample.get(at + 4..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// NAL units with four-byte lengths.
    fn sample(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect()
    }

    #[test]
    fn detects_non_reference_pictures() {
        let hevc = |kind: u8, layer: u8| [kind << 1, layer, 0];
        for (name, codec, bytes, disposable) in [
            ("B of H.264, after an SEI", "h264", sample(&[&[6, 1], &[0x01, 9]]), true),
            ("reference B", "h264", sample(&[&[0x21, 9]]), false),
            ("one slice of two is a reference", "h264", sample(&[&[0x01, 9], &[0x61, 9]]), false),
            ("IDR", "h264", sample(&[&[0x65, 9]]), false),
            ("no slice", "h264", sample(&[&[6, 1]]), false),
            ("truncated", "h264", vec![0, 0, 0, 9, 1], false),
            ("TRAIL_N on top", "hevc", sample(&[&hevc(0, 2)]), true),
            ("TRAIL_N below", "hevc", sample(&[&hevc(0, 1)]), false),
            ("TRAIL_R", "hevc", sample(&[&hevc(1, 2)]), false),
            ("CRA", "hevc", sample(&[&hevc(21, 1)]), false),
            ("B of MPEG-2", "mpeg2video", vec![0, 0, 1, 0, 0, 3 << 3], true),
            ("P of MPEG-2", "mpeg2video", vec![0, 0, 1, 0, 0, 2 << 3], false),
            ("B of MPEG-4", "mpeg4", vec![0, 0, 1, 0xb6, 0x80], true),
            ("P packed with B", "mpeg4", vec![0, 0, 1, 0xb6, 0x40, 0, 0, 1, 0xb6, 0x80], false),
            ("anything else", "vp9", vec![0; 20], false),
        ] {
            assert_eq!(is_non_reference(codec, &bytes, 4, 2), disposable, "{name}");
        }
        assert_eq!(temporal_sub_layer("hevc", &sample(&[&hevc(35, 7), &hevc(0, 2)]), 4), 2);
    }

    #[test]
    fn detects_false_keyframes() {
        for (codec, bytes, expected) in [
            ("h263", vec![0, 0, 0x80, 2, 0b0000_1010], true),
            ("h263", vec![0, 0, 0x80, 2, 0b0000_1000], false),
            ("h263", vec![0, 0, 0x80, 2, 0b0001_1110], false),
            ("mpeg4", vec![0, 0, 1, 0xb6, 0x40], true),
            ("mpeg4", vec![0, 0, 1, 0xb6, 0x00], false),
            ("mpeg4", vec![1, 2, 3], false),
            ("mpeg2video", vec![0, 0, 1, 0, 0, 1 << 3], false),
            ("mpeg2video", vec![0, 0, 1, 0, 0, 2 << 3], true),
            ("vp8", vec![1], true),
            ("vp8", vec![0], false),
            ("hevc", sample(&[&[1 << 1, 1]]), true),
            ("hevc", sample(&[&[21 << 1, 1]]), false),
            ("h264", sample(&[&[6, 5, 1, 0, 0x80], &P_SLICE]), true),
            ("h264", sample(&[&I_SLICE]), false),
            ("h264", sample(&[&I_SLICE, &P_SLICE]), false),
            ("h264", sample(&[&[6, 5, 1, 0, 0x80]]), false),
            ("vp9", vec![0x86], true),
            ("vp9", vec![0x82], false),
            ("vp9", vec![0x88], true),
            ("av1", vec![0x12, 0, 0x32, 1, 0x30], true),
            ("av1", vec![0x12, 0, 0x32, 1, 0x10], false),
            ("av1", vec![0x12, 0, 0x1a, 1, 0x80], true),
        ] {
            assert_eq!(is_false_keyframe(codec, &bytes, 4), expected, "{codec} {bytes:?}");
        }
    }

    /// `first_mb_in_slice` 0, and a slice type of 5 or 7.
    const P_SLICE: [u8; 3] = [0x41, 0b1001_1000, 0x80];
    const I_SLICE: [u8; 3] = [0x41, 0b1000_1000, 0x80];
    /// A recovery point SEI message with a count of 0, and one with a count of 19.
    const RECOVERY: [u8; 5] = [6, 6, 1, 0b1110_0000, 0x80];
    const REFRESH: [u8; 6] = [6, 6, 2, 0b0000_1010, 0b0100_0000, 0x80];

    #[test]
    fn detects_random_access_points() {
        let annex_b =
            |units: &[&[u8]]| units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect();
        let long = [&[6, 5, 0xff, 0x01][..], &[7; 256], &[6, 1, 0x80, 0x80]].concat();
        for (name, codec, bytes, nal_length, expected) in [
            (
                "IDR after parameter sets",
                "h264",
                sample(&[&[0x67, 1], &[0x68, 1], &[0x65, 1]]),
                4,
                RandomAccess::Point,
            ),
            ("the same, truncated in its slice", "h264", vec![0, 0, 0, 9, 0x65, 1], 4, RandomAccess::Point),
            (
                "IDR after start codes",
                "h264",
                annex_b(&[&[9, 0xf0], &[0x67, 1], &[0x65, 1]]),
                0,
                RandomAccess::Point,
            ),
            (
                "the same with a configuration record",
                "h264",
                annex_b(&[&[9, 0xf0], &[0x67, 1], &[0x65, 1]]),
                4,
                RandomAccess::Point,
            ),
            ("P after start codes", "h264", annex_b(&[&[9, 0xf0], &P_SLICE]), 0, RandomAccess::Dependent),
            ("I of an open group", "h264", sample(&[&RECOVERY, &I_SLICE]), 4, RandomAccess::Point),
            ("I, two fields", "h264", sample(&[&RECOVERY, &I_SLICE, &P_SLICE]), 4, RandomAccess::Point),
            ("after another message", "h264", sample(&[&long, &I_SLICE]), 4, RandomAccess::Point),
            ("intra refresh", "h264", sample(&[&REFRESH, &P_SLICE]), 4, RandomAccess::RecoveryPoint(19)),
            ("I without recovery point", "h264", sample(&[&I_SLICE]), 4, RandomAccess::Unknown),
            (
                "intra refresh of HEVC",
                "hevc",
                sample(&[&[78, 1, 6, 1, 0b0010_0000], &[2, 1]]),
                4,
                RandomAccess::RecoveryPoint(2),
            ),
            ("TRAIL_R of HEVC", "hevc", sample(&[&[2, 1]]), 4, RandomAccess::Dependent),
            ("no slice of HEVC", "hevc", sample(&[&[78, 1, 1, 1, 0]]), 4, RandomAccess::Unknown),
            ("a keyframe of AV1", "av1", vec![0x12, 0, 0x0a, 2, 0, 0, 0x32, 1, 0x10], 4, RandomAccess::Point),
            ("keyframe shown later", "av1", vec![0x12, 0, 0x32, 1, 0x00], 4, RandomAccess::Unknown),
            ("an intra-only frame of AV1", "av1", vec![0x12, 0, 0x32, 1, 0x50], 4, RandomAccess::Dependent),
            ("a still of AV1", "av1", vec![0x0a, 1, 0x18, 0x32, 1, 0x20], 4, RandomAccess::Point),
            ("with an extension and without sizes", "av1", vec![0x34, 0, 0x30], 4, RandomAccess::Dependent),
            ("a keyframe of VP9's profile 3", "vp9", vec![0xb0], 4, RandomAccess::Point),
            ("no frame of VP9", "vp9", vec![0x02], 4, RandomAccess::Unknown),
            ("motion JPEG", "mjpeg", vec![], 4, RandomAccess::Point),
            ("unsupported codec", "vp6", vec![0x80], 4, RandomAccess::Unknown),
        ] {
            assert_eq!(random_access(codec, &bytes, nal_length), expected, "{name}");
        }
    }

    #[test]
    fn splits_annex_b_units_at_start_codes() {
        let bytes = [0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 7, 0, 0, 0, 0, 1, 0x65, 8, 9];
        let found: Vec<&[u8]> = nal_units(&bytes, 0).collect();
        assert_eq!(found, [&[9, 0xf0][..], &[0x67, 7], &[0x65, 8, 9]]);
        assert_eq!(nal_units(&[1, 2, 3], 0).count(), 0);
    }

    #[test]
    fn rewrites_only_cra_pictures() {
        let cra = sample(&[&[35 << 1, 1, 5], &[21 << 1, 1, 0x80], &[21 << 1 | 1, 1, 42]]);
        let bla = sample(&[&[35 << 1, 1, 5], &[16 << 1, 1, 0x80], &[16 << 1 | 1, 1, 42]]);
        assert_eq!(rewrite_cra_as_bla("hevc", cra.clone().into(), 4), bla);
        assert_eq!(rewrite_cra_as_bla("h264", cra.clone().into(), 4), cra);
        let idr = sample(&[&[19 << 1, 1, 0x80]]);
        assert_eq!(rewrite_cra_as_bla("hevc", idr.clone().into(), 4), idr);
    }

    #[test]
    fn h264_decoder_resets_only_at_idr() {
        assert!(is_decoder_reset("h264", &sample(&[&[0x67, 1], &[0x65, 1]]), 4));
        assert!(!is_decoder_reset("h264", &sample(&[&[6, 1], &[0x61, 1]]), 4));
        assert!(is_decoder_reset("vp8", &[], 4));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), length in 0_usize..5) {
            for codec in ["h264", "hevc", "mpeg2video", "mpeg4", "av1"] {
                let _ = (is_non_reference(codec, &bytes, length, 1), temporal_sub_layer(codec, &bytes, length));
                let _ = (is_decoder_reset(codec, &bytes, length), random_access(codec, &bytes, length));
            }
        }
    }
}
