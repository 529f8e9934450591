//! Decides which coded pictures nothing else refers to, and after which a decoder has forgotten all that was before.
//!
//! Both are read from the first bytes of a coded picture. Where they say nothing certain, the answer is the one with
//! which nothing is left out that somebody needs. Pure.

use bytes::{Bytes, BytesMut};

/// Whether no other picture needs this one, so that it can be left out if it is not shown itself.
///
/// `nal_length` is how many bytes the length of a NAL unit takes, where the codec has those. `top_layer` is the highest
/// temporal sub-layer among the pictures around it (see [`sub_layer`]).
pub fn is_disposable(codec: &str, sample: &[u8], nal_length: usize, top_layer: u8) -> bool {
    match codec {
        // ITU-T H.264, 7.4.1: nal_ref_idc is 0 in every slice of a picture that is not used for reference.
        "h264" => all_slices(sample, nal_length, |unit| {
            let kind = unit.first()? & 31;
            (1..=5).contains(&kind).then(|| unit.first().is_some_and(|byte| byte & 0x60 == 0))
        }),
        // ITU-T H.265, table 7-1: types up to 14 that are even are sub-layer non-reference pictures, which only
        // pictures of higher sub-layers may use.
        "hevc" => all_slices(sample, nal_length, |unit| {
            let kind = (unit.first()? >> 1) & 63;
            let layer = unit.get(1)? & 7;
            (kind < 32).then_some(kind <= 14 && kind % 2 == 0 && layer >= top_layer)
        }),
        // ISO 13818-2, 6.2.3: picture_coding_type 3 is B, which nothing refers to; the same in MPEG-1.
        "mpeg1video" | "mpeg2video" => {
            let header = after(sample, [0, 0, 1, 0]);
            header.and_then(|rest| rest.get(1)).is_some_and(|byte| (byte >> 3) & 7 == 3)
        }
        // ISO 14496-2, 6.2.5: vop_coding_type 2 is B. More than one picture may be packed into a sample.
        "mpeg4" => {
            const VOP: [u8; 4] = [0, 0, 1, 0xb6];
            let header = after(sample, VOP);
            header.and_then(|rest| rest.first()).is_some_and(|byte| byte >> 6 == 2)
                && header.and_then(|rest| after(rest, VOP)).is_none()
        }
        _ => false,
    }
}

/// The temporal sub-layer of a picture of HEVC, as `nuh_temporal_id_plus1`; 0 for everything else.
pub fn sub_layer(codec: &str, sample: &[u8], nal_length: usize) -> u8 {
    if codec != "hevc" {
        return 0;
    }
    units(sample, nal_length)
        .filter(|unit| unit.first().is_some_and(|byte| (byte >> 1) & 63 < 32))
        .filter_map(|unit| unit.get(1))
        .map(|byte| byte & 7)
        .max()
        .unwrap_or(0)
}

/// Whether a decoder that meets this keyframe in the middle of a stream begins anew. A keyframe of H.264 that is no IDR
/// picture (an open group of pictures) leaves the numbering of pictures as it was.
pub fn begins_anew(codec: &str, sample: &[u8], nal_length: usize) -> bool {
    codec != "h264" || units(sample, nal_length).any(|unit| unit.first().is_some_and(|byte| byte & 31 == 5))
}

/// A keyframe of another place in its film, as one with which a decoder begins anew.
///
/// Of HEVC a CRA picture (of an open group) becomes a BLA picture: the two have the same syntax, and this is what the
/// latter is there for (ITU-T H.265, 7.4.2.2 and table 7-1). An end of sequence before it would do that, too, but then
/// what waits to be shown is dropped (C.5.2.2: NoOutputOfPriorPicsFlag of a CRA picture is 1).
pub fn spliced(codec: &str, sample: Bytes, nal_length: usize) -> Bytes {
    const CRA: u8 = 21;
    const BLA: u8 = 16;
    if codec != "hevc" {
        return sample;
    }
    let kind = |byte: u8| (byte >> 1) & 63;
    let heads: Vec<usize> = units(&sample, nal_length)
        .filter(|unit| unit.first().is_some_and(|byte| kind(*byte) == CRA))
        .map(|unit| unit.as_ptr() as usize - sample.as_ptr() as usize)
        .collect();
    if heads.is_empty() {
        return sample;
    }
    let mut spliced = BytesMut::from(&sample[..]);
    for head in heads {
        spliced[head] = spliced[head] & 0x81 | BLA << 1;
    }
    spliced.freeze()
}

/// Whether a picture that the index calls a keyframe surely is none: decoding cannot begin with it. Some cameras mark
/// every n-th picture.
pub fn is_no_keyframe(codec: &str, sample: &[u8], nal_length: usize) -> bool {
    match codec {
        // ITU-T H.263, 5.1: bit 9 of PTYPE says whether the picture refers to others; with an extended PTYPE (source
        // format 7) it stands elsewhere.
        "h263" => sample.get(4).is_some_and(|byte| (byte >> 2) & 7 != 7 && byte & 2 != 0),
        "mpeg4" => {
            after(sample, [0, 0, 1, 0xb6]).and_then(|rest| rest.first()).is_some_and(|byte| byte >> 6 != 0)
        }
        "mpeg1video" | "mpeg2video" => {
            let header = after(sample, [0, 0, 1, 0]);
            header.and_then(|rest| rest.get(1)).is_some_and(|byte| (byte >> 3) & 7 != 1)
        }
        // RFC 6386, 9.1: the first bit of the frame tag.
        "vp8" => sample.first().is_some_and(|byte| byte & 1 == 1),
        // ITU-T H.265, table 7-1: types 16 to 23 are random access points.
        "hevc" => all_slices(sample, nal_length, |unit| {
            let kind = (unit.first()? >> 1) & 63;
            (kind < 32).then_some(!(16..=23).contains(&kind))
        }),
        _ => false,
    }
}

/// Whether there are slices and `judge` says yes of every one; it says nothing of units that are no slices.
fn all_slices(sample: &[u8], nal_length: usize, judge: impl Fn(&[u8]) -> Option<bool>) -> bool {
    let mut slices = units(sample, nal_length).filter_map(judge).peekable();
    slices.peek().is_some() && slices.all(|disposable| disposable)
}

/// The NAL units of a sample, each behind its length: ISO 14496-15, 4.3.3. One that is cut off is left out.
fn units(mut sample: &[u8], nal_length: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = sample.split_at_checked(nal_length)?;
        let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        sample = rest;
        // Without a length there would be no end.
        (nal_length > 0).then_some(unit)
    })
}

/// What follows the first of these codes, looked for where headers are.
fn after(sample: &[u8], code: [u8; 4]) -> Option<&[u8]> {
    let at = sample.windows(4).position(|word| word == code)?;
    sample.get(at + 4..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// NAL units behind lengths of four bytes.
    fn sample(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect()
    }

    #[test]
    fn pictures_that_nothing_refers_to_are_told_by_their_headers() {
        let hevc = |kind: u8, layer: u8| [kind << 1, layer, 0];
        for (name, codec, bytes, disposable) in [
            ("B of H.264, after an SEI", "h264", sample(&[&[6, 1], &[0x01, 9]]), true),
            ("reference B", "h264", sample(&[&[0x21, 9]]), false),
            ("one slice of two is a reference", "h264", sample(&[&[0x01, 9], &[0x61, 9]]), false),
            ("IDR", "h264", sample(&[&[0x65, 9]]), false),
            ("no slice at all", "h264", sample(&[&[6, 1]]), false),
            ("cut off", "h264", vec![0, 0, 0, 9, 1], false),
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
            assert_eq!(is_disposable(codec, &bytes, 4, 2), disposable, "{name}");
        }
        assert_eq!(sub_layer("hevc", &sample(&[&hevc(35, 7), &hevc(0, 2)]), 4), 2);
    }

    #[test]
    fn what_is_only_called_a_keyframe_is_told_by_its_header() {
        for (codec, bytes, lie) in [
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
            ("h264", sample(&[&[0x41, 1]]), false),
        ] {
            assert_eq!(is_no_keyframe(codec, &bytes, 4), lie, "{codec} {bytes:?}");
        }
    }

    #[test]
    fn a_keyframe_of_an_open_group_is_spliced() {
        let cra = sample(&[&[35 << 1, 1, 5], &[21 << 1, 1, 0x80], &[21 << 1 | 1, 1, 42]]);
        let bla = sample(&[&[35 << 1, 1, 5], &[16 << 1, 1, 0x80], &[16 << 1 | 1, 1, 42]]);
        assert_eq!(spliced("hevc", cra.clone().into(), 4), bla);
        assert_eq!(spliced("h264", cra.clone().into(), 4), cra);
        let idr = sample(&[&[19 << 1, 1, 0x80]]);
        assert_eq!(spliced("hevc", idr.clone().into(), 4), idr);
    }

    #[test]
    fn only_an_idr_picture_of_h264_begins_anew() {
        assert!(begins_anew("h264", &sample(&[&[0x67, 1], &[0x65, 1]]), 4));
        assert!(!begins_anew("h264", &sample(&[&[6, 1], &[0x61, 1]]), 4));
        assert!(begins_anew("vp8", &[], 4));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64), length in 0_usize..5) {
            for codec in ["h264", "hevc", "mpeg2video", "mpeg4", "av1"] {
                let _ = (is_disposable(codec, &bytes, length, 1), sub_layer(codec, &bytes, length));
                let _ = begins_anew(codec, &bytes, length);
            }
        }
    }
}
