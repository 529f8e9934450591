//! Decides what of a sample entry reaches the decoder: it is built anew, field by field, out of what was understood
//! (ISO 14496-12, 8.5.2 and 12.1.3; QuickTime File Format, video sample description).

use bytes::Bytes;

use crate::demux::demuxer::{Crop, DolbyVision};
use crate::demux::mp4::boxes::{Fields, Kind, children, write};
use crate::demux::mp4::codec;

/// The longest codec configuration that is passed on, in bytes: parameter sets of real encoders stay under 1 KiB.
const MAX_CONFIGURATION: usize = 64 * 1024;

/// What became of a sample entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// It can be decoded.
    Known(Picture),
    /// It is encrypted.
    Encrypted,
    /// The samples lie in another file.
    Elsewhere,
    /// Nobody here decodes it.
    Unknown,
}

/// A sample entry that can be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) codec: &'static str,
    pub(super) width: u16,
    pub(super) height: u16,
    /// The part that is shown, if that is not all.
    pub(super) crop: Option<Crop>,
    pub(super) dolby_vision: Option<DolbyVision>,
    kind: Kind,
    depth: u16,
    /// The boxes inside, as they are written.
    inside: Vec<u8>,
}

impl Picture {
    /// The whole box.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.inside.len() + 128);
        write(&mut out, self.kind, |out| {
            out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
            out.extend_from_slice(&[0; 16]);
            out.extend_from_slice(&self.width.to_be_bytes());
            out.extend_from_slice(&self.height.to_be_bytes());
            // 72 dots an inch, both ways; no data; one frame a sample; no name.
            out.extend_from_slice(&[0, 0x48, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 1]);
            out.extend_from_slice(&[0; 32]);
            out.extend_from_slice(&self.depth.to_be_bytes());
            out.extend_from_slice(&[0xff, 0xff]);
            out.extend_from_slice(&self.inside);
        });
        out.into()
    }
}

/// Reads one entry of `stsd`, without its head. `here` says which data references are this very file.
pub(super) fn read(kind: Kind, body: &[u8], here: &[bool]) -> Entry {
    if kind == *b"encv" || kind == *b"drmi" {
        return Entry::Encrypted;
    }
    read_picture(kind, body, here).unwrap_or(Entry::Unknown)
}

fn read_picture(kind: Kind, body: &[u8], here: &[bool]) -> Option<Entry> {
    let mut fields = Fields(body);
    fields.take(6)?;
    let reference = usize::from(fields.u16()?);
    fields.take(16)?;
    let (width, height) = (fields.u16()?, fields.u16()?);
    fields.take(46)?;
    let depth = fields.u16()?;
    fields.take(2)?;

    let mut codec = codec::by_letters(kind);
    let (mut inside, mut crop, mut dolby_vision) = (Vec::new(), None, None);
    for (kind, body) in children(fields.0).take(64) {
        match &kind {
            // It is cut out here, since demuxers differ in whether they do it.
            b"clap" => crop = clean_aperture(body, width, height),
            b"dvcC" | b"dvvC" | b"dvwC" => dolby_vision = dolby_vision.or(DolbyVision::read(body)),
            b"sinf" => return Some(Entry::Encrypted),
            b"esds" => {
                if let Some((object_type, configuration)) = descriptor(body) {
                    codec = codec::by_object_type(object_type);
                    write(&mut inside, kind, |out| write_descriptor(out, object_type, configuration));
                }
            }
            b"pasp" if body.len() >= 8 => {
                write(&mut inside, kind, |out| out.extend_from_slice(&body[..8]));
            }
            b"colr" => {
                if let Some(colour) = colour(body) {
                    write(&mut inside, kind, |out| out.extend_from_slice(colour));
                }
            }
            _ => {
                if let Some(kept) = kept(kind, body) {
                    write(&mut inside, kind, |out| out.extend_from_slice(kept));
                }
            }
        }
    }
    // A reference that is not in the table means this file, as every player takes it.
    if !reference.checked_sub(1).and_then(|place| here.get(place)).copied().unwrap_or(true) {
        return Some(Entry::Elsewhere);
    }
    let depth = if depth == 32 { 32 } else { 24 };
    let kind = codec::plain(kind);
    Some(Entry::Known(Picture { codec: codec?, width, height, crop, dolby_vision, kind, depth, inside }))
}

/// The part of a picture of this size that a `clap` shows: ISO 14496-12, 12.1.4. Its centre is so far from the picture's;
/// fractions of pixels are rounded to the outside.
fn clean_aperture(body: &[u8], width: u16, height: u16) -> Option<Crop> {
    let mut fields = Fields(body);
    let mut numbers = [(0_i64, 1_i64); 4];
    for number in &mut numbers {
        *number = (fields.i32()?.into(), fields.i32()?.into());
    }
    let [across, down, right, below] = numbers;
    // From where on, and how far, along one side of so many pixels.
    let along = |(size, of): (i64, i64), (apart, of_apart): (i64, i64), all: u16| {
        if size <= 0 || of <= 0 || of_apart <= 0 {
            return None;
        }
        let (size, apart) = (size as f64 / of as f64, apart as f64 / of_apart as f64);
        let first = f64::from(all) / 2.0 + apart - size / 2.0;
        let (from, to) = ((first + 0.001).floor(), (first + size - 0.001).ceil());
        let is_inside = from >= 0.0 && to <= f64::from(all) && to > from;
        is_inside.then_some((from as u32, (to - from) as u32))
    };
    let ((left, width_shown), (top, height_shown)) =
        (along(across, right, width)?, along(down, below, height)?);
    let is_all = (width_shown, height_shown) == (width.into(), height.into());
    (!is_all).then_some(Crop { left, top, width: width_shown, height: height_shown })
}

/// What of a box inside a sample entry is passed on as it is.
fn kept(kind: Kind, body: &[u8]) -> Option<&[u8]> {
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

/// The colours' three numbers, and for `nclx` the range: ISO 14496-12, 12.1.5. No profile is passed on.
fn colour(body: &[u8]) -> Option<&[u8]> {
    match body.get(..4)? {
        b"nclx" => body.get(..11),
        b"nclc" => body.get(..10),
        _ => None,
    }
}

fn is_avc_configuration(body: &[u8]) -> bool {
    let check = || {
        let mut fields = Fields(body);
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
        let mut fields = Fields(body);
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

/// The object type and the decoder's configuration in an elementary stream descriptor: ISO 14496-1, 7.2.6.
fn descriptor(body: &[u8]) -> Option<(u8, &[u8])> {
    let mut fields = Fields(body);
    fields.full()?;
    let mut stream = Fields(tagged(&mut fields, 3)?);
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
    let mut decoder = Fields(tagged(&mut stream, 4)?);
    let object_type = decoder.u8()?;
    decoder.take(12)?;
    let configuration = tagged(&mut decoder, 5).unwrap_or_default();
    (configuration.len() <= MAX_CONFIGURATION).then_some((object_type, configuration))
}

/// The body of the descriptor with this tag, if it comes next. One that is too long is cut.
fn tagged<'a>(fields: &mut Fields<'a>, tag: u8) -> Option<&'a [u8]> {
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

fn write_descriptor(out: &mut Vec<u8>, object_type: u8, configuration: &[u8]) {
    // A visual stream, no buffer size and no rates: nothing reads them.
    let mut decoder = vec![object_type, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if !configuration.is_empty() {
        write_tagged(&mut decoder, 5, configuration);
    }
    let mut stream = vec![0, 0, 0];
    write_tagged(&mut stream, 4, &decoder);
    write_tagged(&mut stream, 6, &[2]);
    out.extend_from_slice(&[0; 4]);
    write_tagged(out, 3, &stream);
}

fn write_tagged(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
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

    /// An entry of this size, with what is inside.
    fn entry(width: u16, inside: &[(Kind, &[u8])]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1];
        body.extend([0x55; 16]);
        body.extend(width.to_be_bytes());
        body.extend(90_u16.to_be_bytes());
        body.extend([0x55; 50]);
        for (kind, inner) in inside {
            write(&mut body, *kind, |out| out.extend_from_slice(inner));
        }
        body
    }

    /// Baseline, one parameter set of each kind.
    const AVC: &[u8] = &[1, 66, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 66, 1, 0, 1, 0x68];

    fn inside(built: &[u8]) -> &[u8] {
        &built[86..]
    }

    #[test]
    fn an_entry_is_built_anew_of_what_is_understood() {
        let colour = b"nclx\0\x09\0\x10\0\x09\0and a tail";
        let body = entry(
            160,
            &[
                (*b"avcC", AVC),
                (*b"colr", colour),
                (*b"pasp", &[0, 0, 0, 4, 0, 0, 0, 3]),
                (*b"uuid", b"where it was filmed"),
                (*b"mdcv", b"too short"),
            ],
        );
        let Entry::Known(picture) = read(*b"avc1", &body, &[true]) else { panic!() };
        assert_eq!((picture.codec, picture.width, picture.height), ("h264", 160, 90));
        let built = picture.to_bytes();
        assert_eq!(built[..4], (built.len() as u32).to_be_bytes());
        assert_eq!(built[4..8], *b"avc1");
        assert!(!built.contains(&0x55), "nothing is copied that has no meaning");
        assert_eq!(child(inside(&built), *b"avcC"), Some(AVC));
        assert_eq!(child(inside(&built), *b"colr"), Some(&colour[..11]));
        assert!(child(inside(&built), *b"pasp").is_some());
        assert!(child(inside(&built), *b"uuid").is_none() && child(inside(&built), *b"mdcv").is_none());
        // What was built is read as the same.
        assert_eq!(read(*b"avc1", &built[8..], &[]), Entry::Known(picture));
    }

    #[test]
    fn the_descriptor_tells_the_codec() {
        for (object_type, codec) in [(0x20, Some("mpeg4")), (0x61, Some("mpeg2video")), (0x6d, None)] {
            let mut descriptor = Vec::new();
            write_descriptor(&mut descriptor, object_type, &[0, 0, 1, 0xb0]);
            let found = read(*b"mp4v", &entry(160, &[(*b"esds", &descriptor)]), &[]);
            let Entry::Known(picture) = found else {
                assert_eq!((found, codec), (Entry::Unknown, None));
                continue;
            };
            assert_eq!(Some(picture.codec), codec);
            let built = picture.to_bytes();
            assert_eq!(child(inside(&built), *b"esds"), Some(descriptor.as_slice()));
        }
    }

    #[test]
    fn a_clean_aperture_is_read_and_not_passed_on() {
        let clap =
            |numbers: [i32; 8]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
        let crop = |left, top, width, height| Some(Crop { left, top, width, height });
        for (numbers, expected) in [
            ([160, 1, 90, 1, 0, 1, 0, 1], None),
            ([120, 1, 80, 1, 0, 1, 0, 1], crop(20, 5, 120, 80)),
            ([120, 1, 80, 1, -20, 1, 5, 1], crop(0, 10, 120, 80)),
            ([240, 2, 88, 1, 0, 1, -1, 1], crop(20, 0, 120, 88)),
            // Half pixels of both sides.
            ([159, 1, 89, 1, 0, 1, 0, 1], None),
            ([157, 1, 90, 1, 1, 2, 0, 1], crop(2, 0, 157, 90)),
            // More than there is, nothing, and no numbers.
            ([200, 1, 90, 1, 0, 1, 0, 1], None),
            ([120, 1, 90, 1, 40, 1, 0, 1], None),
            ([0, 1, 90, 1, 0, 1, 0, 1], None),
            ([120, 0, 90, 1, 0, 1, 0, 1], None),
        ] {
            let body = entry(160, &[(*b"avcC", AVC), (*b"clap", &clap(numbers))]);
            let Entry::Known(picture) = read(*b"avc1", &body, &[true]) else { panic!() };
            assert_eq!(picture.crop, expected, "{numbers:?}");
            assert!(child(inside(&picture.to_bytes()), *b"clap").is_none());
        }
        let Entry::Known(picture) = read(*b"avc1", &entry(160, &[(*b"clap", &[0; 31])]), &[]) else {
            panic!()
        };
        assert_eq!(picture.crop, None);
    }

    #[test]
    fn dolby_vision_is_read_and_its_base_layer_is_decoded() {
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
            let Entry::Known(picture) = read(kind, &entry(160, &[(*box_kind, body)]), &[]) else { panic!() };
            let expected = DolbyVision { profile: body[2] >> 1, compatibility: body[4] >> 4 };
            assert_eq!((picture.codec, picture.dolby_vision), (codec, Some(expected)));
            assert_eq!(picture.to_bytes()[4..8], plain);
        }
        let Entry::Known(picture) = read(*b"dvh1", &entry(160, &[(*b"dvcC", &[1, 0])]), &[]) else {
            panic!()
        };
        assert_eq!(picture.dolby_vision, None);
    }

    #[test]
    fn damaged_and_foreign_configurations_do_not_pass() {
        for (kind, inner) in [
            (b"avcC", &[1, 66, 0, 30, 0xff, 0xe1, 0xff, 0xff, 0x67][..]),
            (b"hvcC", &[1; 30]),
            (b"av1C", &[0x81]),
            (b"colr", b"prof a whole profile"),
            (b"fiel", &[1, 2, 3]),
            (b"esds", &[0; 8]),
        ] {
            let Entry::Known(picture) = read(*b"avc1", &entry(160, &[(*kind, inner)]), &[]) else { panic!() };
            assert!(inside(&picture.to_bytes()).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn f4_f22_what_lies_elsewhere_or_is_encrypted_is_said() {
        let plain = entry(160, &[(*b"avcC", AVC)]);
        assert_eq!(read(*b"avc1", &plain, &[false]), Entry::Elsewhere);
        assert_eq!(read(*b"encv", &plain, &[true]), Entry::Encrypted);
        assert_eq!(read(*b"avc1", &entry(160, &[(*b"sinf", b"")]), &[true]), Entry::Encrypted);
        assert_eq!(read(*b"png ", &plain, &[true]), Entry::Unknown);
        for cut in 0..78 {
            assert_eq!(read(*b"avc1", &plain[..cut], &[true]), Entry::Unknown);
        }
    }
}
