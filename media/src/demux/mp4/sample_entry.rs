//! Parses sample entries and rebuilds them, field by field, from the parts that were parsed (ISO 14496-12, 8.5.2 and
//! 12.1.3; QuickTime File Format, video sample description).

use bytes::Bytes;

use crate::demux::demuxer::{Crop, DolbyVision};
use crate::demux::mp4::boxes::{BoxReader, FourCc, children};
use crate::demux::mp4::codec;
use crate::mux::boxes::{write_box, write_visual_entry};

/// The longest codec configuration that is copied, in bytes: parameter sets of real encoders are smaller than 1 KiB.
const MAX_CONFIGURATION: usize = 64 * 1024;

/// The result of parsing a sample entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SampleEntry {
    /// It can be decoded.
    Visual(VisualSampleEntry),
    /// It is encrypted.
    Encrypted,
    /// The samples are in another file.
    External,
    /// The codec is not supported.
    Unsupported,
}

/// A sample entry that can be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VisualSampleEntry {
    pub(super) codec: &'static str,
    pub(super) width: u16,
    pub(super) height: u16,
    /// The visible part of the frame, if it is not all of it.
    pub(super) crop: Option<Crop>,
    pub(super) dolby_vision: Option<DolbyVision>,
    kind: FourCc,
    depth: u16,
    /// The child boxes, serialized.
    child_boxes: Vec<u8>,
}

impl VisualSampleEntry {
    /// Serializes the whole box.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.child_boxes.len() + 128);
        write_visual_entry(&mut out, self.kind, [self.width, self.height], self.depth, |out| {
            out.extend_from_slice(&self.child_boxes);
        });
        out.into()
    }
}

/// Parses an entry of `stsd`, without its header. `self_contained` indicates which data references refer to the file
/// itself.
pub(super) fn parse(kind: FourCc, body: &[u8], self_contained: &[bool]) -> SampleEntry {
    if kind == *b"encv" || kind == *b"drmi" {
        return SampleEntry::Encrypted;
    }
    parse_visual(kind, body, self_contained).unwrap_or(SampleEntry::Unsupported)
}

fn parse_visual(kind: FourCc, body: &[u8], self_contained: &[bool]) -> Option<SampleEntry> {
    let mut fields = BoxReader(body);
    fields.take(6)?;
    let reference = usize::from(fields.u16()?);
    fields.take(16)?;
    let (width, height) = (fields.u16()?, fields.u16()?);
    fields.take(46)?;
    let depth = fields.u16()?;
    fields.take(2)?;

    let mut codec = codec::from_fourcc(kind);
    let (mut child_boxes, mut crop, mut dolby_vision) = (Vec::new(), None, None);
    for (kind, body) in children(fields.0).take(64) {
        match &kind {
            // The crop is applied after decoding, since demuxers differ in whether they apply it.
            b"clap" => crop = clean_aperture(body, width, height),
            b"dvcC" | b"dvvC" | b"dvwC" => dolby_vision = dolby_vision.or(DolbyVision::parse(body)),
            b"sinf" => return Some(SampleEntry::Encrypted),
            b"esds" => {
                if let Some((object_type, configuration)) = parse_esds(body) {
                    codec = codec::from_object_type(object_type);
                    write_box(&mut child_boxes, kind, |out| write_esds(out, object_type, configuration));
                }
            }
            b"pasp" if body.len() >= 8 => {
                write_box(&mut child_boxes, kind, |out| out.extend_from_slice(&body[..8]));
            }
            b"colr" => {
                if let Some(color) = color(body) {
                    write_box(&mut child_boxes, kind, |out| out.extend_from_slice(color));
                }
            }
            _ => {
                if let Some(validated) = validated_body(kind, body) {
                    write_box(&mut child_boxes, kind, |out| out.extend_from_slice(validated));
                }
            }
        }
    }
    // A data reference that is not in the table refers to this file, as in all players.
    if !reference.checked_sub(1).and_then(|place| self_contained.get(place)).copied().unwrap_or(true) {
        return Some(SampleEntry::External);
    }
    let depth = if depth == 32 { 32 } else { 24 };
    let kind = codec::without_dolby_vision(kind);
    Some(SampleEntry::Visual(VisualSampleEntry {
        codec: codec?,
        width,
        height,
        crop,
        dolby_vision,
        kind,
        depth,
        child_boxes,
    }))
}

/// The visible part of a frame of this size according to `clap`: ISO 14496-12, 12.1.4. Its offsets are those of its
/// center from the frame's center. Fractions of pixels are rounded outward.
fn clean_aperture(body: &[u8], width: u16, height: u16) -> Option<Crop> {
    let mut fields = BoxReader(body);
    let mut ratios = [(0_i64, 1_i64); 4];
    for ratio in &mut ratios {
        *ratio = (fields.i32()?.into(), fields.i32()?.into());
    }
    let [ratio_width, ratio_height, offset_x, offset_y] = ratios;
    // Start and length along one side of the frame.
    let visible_range =
        |(size, denominator): (i64, i64), (offset, offset_denominator): (i64, i64), full_side: u16| {
            if size <= 0 || denominator <= 0 || offset_denominator <= 0 {
                return None;
            }
            let (size, apart) = (size as f64 / denominator as f64, offset as f64 / offset_denominator as f64);
            let first = f64::from(full_side) / 2.0 + apart - size / 2.0;
            let (from, to) = ((first + 0.001).floor(), (first + size - 0.001).ceil());
            let is_inside = from >= 0.0 && to <= f64::from(full_side) && to > from;
            is_inside.then_some((from as u32, (to - from) as u32))
        };
    let ((left, width_shown), (top, height_shown)) =
        (visible_range(ratio_width, offset_x, width)?, visible_range(ratio_height, offset_y, height)?);
    let is_all = (width_shown, height_shown) == (width.into(), height.into());
    (!is_all).then_some(Crop { left, top, width: width_shown, height: height_shown })
}

/// The part of a child box that is copied unchanged, if it is valid.
fn validated_body(kind: FourCc, body: &[u8]) -> Option<&[u8]> {
    let sizes = match &kind {
        // ISO 14496-15, 5.3.3.1 and 8.3.3.1: version, profile, and lists of parameter sets.
        b"avcC" => return is_avc_configuration(body).then_some(body),
        b"hvcC" => return is_hevc_configuration(body).then_some(body),
        // AV1-ISOBMFF, 2.3.3; VP Codec ISO Media File Format Binding, 2.2; the others are QuickTime's and ffmpeg's.
        b"av1C" => 4..=MAX_CONFIGURATION,
        b"vpcC" | b"glbl" | b"SMI " | b"dvc1" => 1..=MAX_CONFIGURATION,
        // 3GPP TS 26.244, 6.8.
        b"d263" => 7..=32,
        b"fiel" => 2..=2,
        b"ACLR" => 16..=64,
        b"mdcv" => 24..=24,
        b"clli" => 4..=4,
        b"SmDm" => 28..=28,
        b"CoLL" => 8..=8,
        _ => return None,
    };
    sizes.contains(&body.len()).then_some(body)
}

/// The three color code points, and for `nclx` the range: ISO 14496-12, 12.1.5. ICC profiles are not copied.
fn color(body: &[u8]) -> Option<&[u8]> {
    match body.get(..4)? {
        b"nclx" => body.get(..11),
        b"nclc" => body.get(..10),
        _ => None,
    }
}

fn is_avc_configuration(body: &[u8]) -> bool {
    let check = || {
        let mut fields = BoxReader(body);
        let version = fields.u8()?;
        fields.take(4)?;
        for mask in [0x1f, 0xff] {
            for _ in 0..fields.u8()? & mask {
                let size = fields.u16()?;
                fields.take(size.into())?;
            }
        }
        Some(version == 1)
    };
    body.len() <= MAX_CONFIGURATION && check() == Some(true)
}

fn is_hevc_configuration(body: &[u8]) -> bool {
    let check = || {
        let mut fields = BoxReader(body);
        fields.take(22)?;
        for _ in 0..fields.u8()? {
            fields.u8()?;
            for _ in 0..fields.u16()? {
                let size = fields.u16()?;
                fields.take(size.into())?;
            }
        }
        Some(())
    };
    body.len() <= MAX_CONFIGURATION && check().is_some()
}

/// The object type and the decoder configuration in an elementary stream descriptor: ISO 14496-1, 7.2.6.
pub(super) fn parse_esds(body: &[u8]) -> Option<(u8, &[u8])> {
    let mut fields = BoxReader(body);
    fields.version_and_flags()?;
    let mut stream = BoxReader(read_tag(&mut fields, 3)?);
    stream.take(2)?;
    let flags = stream.u8()?;
    if flags & 0x80 != 0 {
        stream.take(2)?;
    }
    if flags & 0x40 != 0 {
        let length = stream.u8()?;
        stream.take(length.into())?;
    }
    if flags & 0x20 != 0 {
        stream.take(2)?;
    }
    let mut decoder = BoxReader(read_tag(&mut stream, 4)?);
    let object_type = decoder.u8()?;
    decoder.take(12)?;
    let configuration = read_tag(&mut decoder, 5).unwrap_or_default();
    (configuration.len() <= MAX_CONFIGURATION).then_some((object_type, configuration))
}

/// The body of the next descriptor, if it has this tag. A descriptor that is too long is truncated.
fn read_tag<'a>(fields: &mut BoxReader<'a>, tag: u8) -> Option<&'a [u8]> {
    if fields.u8()? != tag {
        return None;
    }
    let mut length = 0_usize;
    for _ in 0..4 {
        let byte = fields.u8()?;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    fields.take(length.min(fields.0.len()))
}

fn write_esds(out: &mut Vec<u8>, object_type: u8, configuration: &[u8]) {
    // A visual stream, with no buffer size or bitrates: nothing reads them.
    let mut decoder = vec![object_type, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if !configuration.is_empty() {
        write_tag(&mut decoder, 5, configuration);
    }
    let mut stream = vec![0, 0, 0];
    write_tag(&mut stream, 4, &decoder);
    write_tag(&mut stream, 6, &[2]);
    out.extend_from_slice(&[0; 4]);
    write_tag(out, 3, &stream);
}

pub(super) fn write_tag(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    let length = body.len();
    out.push(tag);
    out.extend([21, 14, 7].map(|shift| (length >> shift) as u8 & 0x7f | 0x80));
    out.push(length as u8 & 0x7f);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::mp4::boxes::child;

    /// An entry of this size with child boxes.
    fn build_entry(width: u16, child_boxes: &[(FourCc, &[u8])]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1];
        body.extend([0x55; 16]);
        body.extend(width.to_be_bytes());
        body.extend(90_u16.to_be_bytes());
        body.extend([0x55; 50]);
        for (kind, inner) in child_boxes {
            write_box(&mut body, *kind, |out| out.extend_from_slice(inner));
        }
        body
    }

    /// Baseline profile, one parameter set of each kind.
    const AVC: &[u8] = &[1, 66, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 66, 1, 0, 1, 0x68];

    fn child_boxes(built: &[u8]) -> &[u8] {
        &built[86..]
    }

    #[test]
    fn rebuilds_entry_from_known_boxes() {
        let color = b"nclx\0\x09\0\x10\0\x09\0and a tail";
        let body = build_entry(
            160,
            &[
                (*b"avcC", AVC),
                (*b"colr", color),
                (*b"pasp", &[0, 0, 0, 4, 0, 0, 0, 3]),
                (*b"uuid", b"where it was filmed"),
                (*b"mdcv", b"too short"),
            ],
        );
        let SampleEntry::Visual(picture) = parse(*b"avc1", &body, &[true]) else { panic!() };
        assert_eq!((picture.codec, picture.width, picture.height), ("h264", 160, 90));
        let built = picture.to_bytes();
        assert_eq!(built[..4], (built.len() as u32).to_be_bytes());
        assert_eq!(built[4..8], *b"avc1");
        assert!(!built.contains(&0x55), "unknown bytes are not copied");
        assert_eq!(child(child_boxes(&built), *b"avcC"), Some(AVC));
        assert_eq!(child(child_boxes(&built), *b"colr"), Some(&color[..11]));
        assert!(child(child_boxes(&built), *b"pasp").is_some());
        assert!(
            child(child_boxes(&built), *b"uuid").is_none() && child(child_boxes(&built), *b"mdcv").is_none()
        );
        // Parsing the rebuilt entry has the same result.
        assert_eq!(parse(*b"avc1", &built[8..], &[]), SampleEntry::Visual(picture));
    }

    #[test]
    fn esds_object_type_selects_codec() {
        for (object_type, codec) in [(0x20, Some("mpeg4")), (0x61, Some("mpeg2video")), (0x6d, None)] {
            let mut descriptor = Vec::new();
            write_esds(&mut descriptor, object_type, &[0, 0, 1, 0xb0]);
            let found = parse(*b"mp4v", &build_entry(160, &[(*b"esds", &descriptor)]), &[]);
            let SampleEntry::Visual(picture) = found else {
                assert_eq!((found, codec), (SampleEntry::Unsupported, None));
                continue;
            };
            assert_eq!(Some(picture.codec), codec);
            let built = picture.to_bytes();
            assert_eq!(child(child_boxes(&built), *b"esds"), Some(descriptor.as_slice()));
        }
    }

    #[test]
    fn clean_aperture_becomes_crop() {
        let clap =
            |numbers: [i32; 8]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
        let crop = |left, top, width, height| Some(Crop { left, top, width, height });
        for (numbers, expected) in [
            ([160, 1, 90, 1, 0, 1, 0, 1], None),
            ([120, 1, 80, 1, 0, 1, 0, 1], crop(20, 5, 120, 80)),
            ([120, 1, 80, 1, -20, 1, 5, 1], crop(0, 10, 120, 80)),
            ([240, 2, 88, 1, 0, 1, -1, 1], crop(20, 0, 120, 88)),
            // Half pixels on both sides.
            ([159, 1, 89, 1, 0, 1, 0, 1], None),
            ([157, 1, 90, 1, 1, 2, 0, 1], crop(2, 0, 157, 90)),
            // Too large, empty, and zero denominators.
            ([200, 1, 90, 1, 0, 1, 0, 1], None),
            ([120, 1, 90, 1, 40, 1, 0, 1], None),
            ([0, 1, 90, 1, 0, 1, 0, 1], None),
            ([120, 0, 90, 1, 0, 1, 0, 1], None),
        ] {
            let body = build_entry(160, &[(*b"avcC", AVC), (*b"clap", &clap(numbers))]);
            let SampleEntry::Visual(picture) = parse(*b"avc1", &body, &[true]) else { panic!() };
            assert_eq!(picture.crop, expected, "{numbers:?}");
            assert!(child(child_boxes(&picture.to_bytes()), *b"clap").is_none());
        }
        let SampleEntry::Visual(picture) = parse(*b"avc1", &build_entry(160, &[(*b"clap", &[0; 31])]), &[])
        else {
            panic!()
        };
        assert_eq!(picture.crop, None);
    }

    #[test]
    fn dolby_vision_decodes_base_layer() {
        let record = |profile: u8, compatibility: u8| {
            [&[1, 0, profile << 1, 0x0d, compatibility << 4][..], &[0; 19]].concat()
        };
        for (kind, configuration, codec, plain) in [
            (*b"dvh1", (*b"dvcC", record(5, 0)), "hevc", *b"hvc1"),
            (*b"dvhe", (*b"dvvC", record(8, 4)), "hevc", *b"hev1"),
            (*b"hvc1", (*b"dvvC", record(8, 1)), "hevc", *b"hvc1"),
            (*b"dav1", (*b"dvvC", record(10, 0)), "av1", *b"av01"),
            (*b"dva1", (*b"dvcC", record(9, 2)), "h264", *b"avc1"),
            (*b"dvav", (*b"dvcC", record(9, 2)), "h264", *b"avc3"),
        ] {
            let (box_kind, body) = &configuration;
            let SampleEntry::Visual(picture) = parse(kind, &build_entry(160, &[(*box_kind, body)]), &[])
            else {
                panic!()
            };
            let expected = DolbyVision { profile: body[2] >> 1, compatibility: body[4] >> 4 };
            assert_eq!((picture.codec, picture.dolby_vision), (codec, Some(expected)));
            assert_eq!(picture.to_bytes()[4..8], plain);
        }
        let SampleEntry::Visual(picture) = parse(*b"dvh1", &build_entry(160, &[(*b"dvcC", &[1, 0])]), &[])
        else {
            panic!()
        };
        assert_eq!(picture.dolby_vision, None);
    }

    #[test]
    fn drops_damaged_configurations() {
        for (kind, inner) in [
            (b"avcC", &[1, 66, 0, 30, 0xff, 0xe1, 0xff, 0xff, 0x67][..]),
            (b"hvcC", &[1; 30]),
            (b"av1C", &[0x81]),
            (b"colr", b"prof a whole profile"),
            (b"fiel", &[1, 2, 3]),
            (b"esds", &[0; 8]),
        ] {
            let SampleEntry::Visual(picture) = parse(*b"avc1", &build_entry(160, &[(*kind, inner)]), &[])
            else {
                panic!()
            };
            assert!(child_boxes(&picture.to_bytes()).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn f4_f22_detects_external_and_encrypted_entries() {
        let plain = build_entry(160, &[(*b"avcC", AVC)]);
        assert_eq!(parse(*b"avc1", &plain, &[false]), SampleEntry::External);
        assert_eq!(parse(*b"encv", &plain, &[true]), SampleEntry::Encrypted);
        assert_eq!(parse(*b"avc1", &build_entry(160, &[(*b"sinf", b"")]), &[true]), SampleEntry::Encrypted);
        assert_eq!(parse(*b"png ", &plain, &[true]), SampleEntry::Unsupported);
        for cut in 0..78 {
            assert_eq!(parse(*b"avc1", &plain[..cut], &[true]), SampleEntry::Unsupported);
        }
    }
}
