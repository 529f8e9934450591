//! Parses the frame size from the headers of encoded samples: containers specify one size, but a track may have
//! several. Does no IO.

use bytes::Bytes;

use crate::bits::{BitReader, read_leb128, to_rbsp};
use crate::demux::demuxer::Track;
use crate::size::Size;

/// How many bytes of a NAL unit are read for its size: a sequence parameter set with all scaling lists is shorter.
const MAX_SPS_BYTES: usize = 1024;

/// The size of a track's keyframe in pixels, after cropping, if known.
pub fn keyframe_size(track: &Track, entry: u16, sample: &[u8]) -> Option<Size> {
    let (entry, nal_length) = (track.sample_entries.get(usize::from(entry))?, track.nal_length_size());
    match track.codec {
        // Their parameter sets may be in the sample entry, in the sample, or in both.
        "h264" | "hevc" => size_from_bitstream(track.codec, sample, nal_length)
            .or_else(|| size_from_configuration(entry))
            .or_else(|| size_from_entry(entry)),
        "vp8" | "vp9" | "av1" | "mpeg1video" | "mpeg2video" | "mjpeg" | "prores" => {
            size_from_bitstream(track.codec, sample, nal_length)
        }
        _ => size_from_entry(entry),
    }
}

/// The size from the first sequence parameter set of a sample entry: ISO 14496-15, 5.3.3.1 and 8.3.3.1.
fn size_from_configuration(entry: &[u8]) -> Option<Size> {
    let bytes_behind = |kind: &[u8]| entry.get(entry.windows(4).position(|word| word == kind)? + 4..);
    if let Some(body) = bytes_behind(b"avcC") {
        return h264_sps_size(&to_rbsp(body.get(8..)?, MAX_SPS_BYTES));
    }
    let mut rest = bytes_behind(b"hvcC")?.get(23..)?;
    loop {
        let (head, body) = rest.split_at_checked(5)?;
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if head[0] & 63 == 33 {
            return hevc_sps_size(&to_rbsp(body, MAX_SPS_BYTES));
        }
        rest = body.get(length..)?;
    }
}

/// The size in a sample entry: ISO 14496-12, 12.1.3.
pub fn size_from_entry(entry: &Bytes) -> Option<Size> {
    let side = |at: usize| Some(u32::from(u16::from_be_bytes(entry.get(at..at + 2)?.try_into().ok()?)));
    nonzero_size(side(32)?, side(34)?)
}

fn size_from_bitstream(codec: &str, sample: &[u8], nal_length_size: usize) -> Option<Size> {
    match codec {
        "h264" => find_nal_unit(sample, nal_length_size, |head| head & 31 == 7)
            .and_then(|unit| h264_sps_size(&unit)),
        "hevc" => find_nal_unit(sample, nal_length_size, |head| (head >> 1) & 63 == 33)
            .and_then(|unit| hevc_sps_size(&unit)),
        "vp8" => vp8_size(sample),
        "vp9" => vp9_size(sample),
        "av1" => av1_size(sample),
        "mpeg1video" | "mpeg2video" => mpeg_size(sample),
        "mjpeg" => jpeg_size(sample),
        "prores" => prores_size(sample),
        _ => None,
    }
}

fn nonzero_size(width: u32, height: u32) -> Option<Size> {
    (width > 0 && height > 0).then_some(Size { width, height })
}

/// The beginning of the first NAL unit of a type, see [`to_rbsp`]: ISO 14496-15, 4.3.3.
fn find_nal_unit(mut sample: &[u8], nal_length_size: usize, is_kind: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    if nal_length_size == 0 {
        return None;
    }
    loop {
        let (length, rest) = sample.split_at_checked(nal_length_size)?;
        let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        if unit.first().is_some_and(|head| is_kind(*head)) {
            return Some(to_rbsp(unit, MAX_SPS_BYTES));
        }
        sample = rest;
    }
}

/// ITU-T H.264, 7.3.2.1.1.
fn h264_sps_size(unit: &[u8]) -> Option<Size> {
    let mut bits = BitReader::new(unit.get(1..)?);
    let profile = bits.read_bits(8)?;
    bits.skip(16);
    bits.read_ue()?;
    let mut chroma = 1;
    if matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244) {
        chroma = bits.read_ue()?;
        if chroma == 3 {
            bits.skip(1);
        }
        bits.read_ue()?;
        bits.read_ue()?;
        bits.skip(1);
        if bits.read_flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.read_flag()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.read_ue()?;
    match bits.read_ue()? {
        0 => {
            bits.read_ue()?;
        }
        1 => {
            bits.skip(1);
            bits.read_ue()?;
            bits.read_ue()?;
            for _ in 0..bits.read_ue()?.min(255) {
                bits.read_ue()?;
            }
        }
        _ => {}
    }
    bits.read_ue()?;
    bits.skip(1);
    let (columns, rows) = (bits.read_ue()?.checked_add(1)?, bits.read_ue()?.checked_add(1)?);
    let fields = 2 - bits.read_bits(1)?;
    if fields == 2 {
        bits.skip(1);
    }
    bits.skip(1);
    let (chroma_width, chroma_height) = subsampling(chroma);
    let window = read_window(&mut bits, chroma_width, chroma_height * fields)?;
    window.crop(columns.checked_mul(16)?, rows.checked_mul(16)?.checked_mul(fields)?)
}

/// ITU-T H.265, 7.3.2.2.1 and 7.3.3.
fn hevc_sps_size(unit: &[u8]) -> Option<Size> {
    let mut bits = BitReader::new(unit.get(2..)?);
    bits.skip(4);
    let layers = bits.read_bits(3)?;
    bits.skip(1 + 96);
    let mut present = 0;
    for _ in 0..layers {
        present += 88 * bits.read_bits(1)? + 8 * bits.read_bits(1)?;
    }
    if layers > 0 {
        bits.skip(2 * (8 - layers));
    }
    bits.skip(present);
    bits.read_ue()?;
    let chroma = bits.read_ue()?;
    if chroma == 3 {
        bits.skip(1);
    }
    let (width, height) = (bits.read_ue()?, bits.read_ue()?);
    let (chroma_width, chroma_height) = subsampling(chroma);
    read_window(&mut bits, chroma_width, chroma_height)?.crop(width, height)
}

/// Luma samples per chroma sample, horizontally and vertically, by `chroma_format_idc`.
fn subsampling(chroma: u32) -> (u32, u32) {
    match chroma {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    }
}

/// RFC 6386, 9.1.
fn vp8_size(sample: &[u8]) -> Option<Size> {
    let [tag, _, _, 0x9d, 0x01, 0x2a, sides @ ..] = sample else { return None };
    let side =
        |at: usize| Some(u32::from(u16::from_le_bytes(sides.get(at..at + 2)?.try_into().ok()?) & 0x3fff));
    (tag & 1 == 0).then(|| nonzero_size(side(0)?, side(2)?))?
}

/// VP9 bitstream specification, 6.2.
fn vp9_size(sample: &[u8]) -> Option<Size> {
    let mut bits = BitReader::new(sample);
    let is_frame = bits.read_bits(2)? == 2;
    let profile = bits.read_bits(1)? + 2 * bits.read_bits(1)?;
    if profile == 3 {
        bits.skip(1);
    }
    let (is_repeated, is_inter) = (bits.read_flag()?, bits.read_flag()?);
    bits.skip(2);
    if !is_frame || is_repeated || is_inter || bits.read_bits(24)? != 0x0049_8342 {
        return None;
    }
    if profile >= 2 {
        bits.skip(1);
    }
    let is_rgb = bits.read_bits(3)? == 7;
    bits.skip(match (is_rgb, profile % 2) {
        (false, 0) => 1,
        (false, _) => 4,
        (true, 0) => 0,
        (true, _) => 1,
    });
    nonzero_size(bits.read_bits(16)? + 1, bits.read_bits(16)? + 1)
}

/// AV1 bitstream specification, 5.3 and 5.5.
fn av1_size(mut sample: &[u8]) -> Option<Size> {
    loop {
        let (head, rest) = sample.split_first()?;
        let rest = rest.get(usize::from(head >> 2 & 1)..)?;
        let (length, rest) = if head & 2 == 2 { read_leb128(rest)? } else { (rest.len() as u64, rest) };
        let (body, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if head >> 3 & 15 == 1 {
            return av1_sequence_size(body);
        }
        sample = rest;
    }
}

fn av1_sequence_size(body: &[u8]) -> Option<Size> {
    let mut bits = BitReader::new(body);
    bits.skip(4);
    if bits.read_flag()? {
        // The reduced header of a still picture.
        bits.skip(5);
    } else {
        let mut delay = None;
        if bits.read_flag()? {
            bits.skip(64);
            if bits.read_flag()? {
                bits.read_ue()?;
            }
            if bits.read_flag()? {
                delay = Some(bits.read_bits(5)? + 1);
                bits.skip(42);
            }
        }
        let has_delays = bits.read_flag()?;
        for _ in 0..=bits.read_bits(5)? {
            bits.skip(12);
            if bits.read_bits(5)? > 7 {
                bits.skip(1);
            }
            if let Some(length) = delay
                && bits.read_flag()?
            {
                bits.skip(2 * length + 1);
            }
            if has_delays && bits.read_flag()? {
                bits.skip(4);
            }
        }
    }
    let (width_bits, height_bits) = (bits.read_bits(4)? + 1, bits.read_bits(4)? + 1);
    nonzero_size(bits.read_bits(width_bits)? + 1, bits.read_bits(height_bits)? + 1)
}

/// ISO 13818-2, 6.2.2.1: a sequence header.
fn mpeg_size(sample: &[u8]) -> Option<Size> {
    let at = sample.windows(4).position(|word| word == [0, 0, 1, 0xb3])?;
    let mut bits = BitReader::new(sample.get(at + 4..)?);
    nonzero_size(bits.read_bits(12)?, bits.read_bits(12)?)
}

/// ITU-T T.81, B.2.2: a frame header.
fn jpeg_size(sample: &[u8]) -> Option<Size> {
    let mut rest = sample.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let [0xff, kind, body @ ..] = rest else { return None };
        if *kind == 0xff {
            rest = &rest[1..];
            continue;
        }
        let length = usize::from(u16::from_be_bytes(body.get(..2)?.try_into().ok()?));
        if matches!(kind, 0xc0..=0xc3) {
            let mut bits = BitReader::new(body.get(3..)?);
            let (height, width) = (bits.read_bits(16)?, bits.read_bits(16)?);
            return nonzero_size(width, height);
        }
        rest = body.get(length.max(2)..)?;
    }
}

/// SMPTE RDD 36, 5.1.
fn prores_size(sample: &[u8]) -> Option<Size> {
    let mut bits = BitReader::new(sample.get(16..)?);
    let is_frame = sample.get(4..8) == Some(b"icpf");
    is_frame.then(|| nonzero_size(bits.read_bits(16)?, bits.read_bits(16)?))?
}

/// The conformance window: the cropped part of a picture.
struct ConformanceWindow {
    crop_width: u32,
    crop_height: u32,
}

impl ConformanceWindow {
    fn crop(&self, width: u32, height: u32) -> Option<Size> {
        nonzero_size(width.checked_sub(self.crop_width)?, height.checked_sub(self.crop_height)?)
    }
}

/// ITU-T H.264, 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut BitReader<'_>, length: usize) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..length {
        if next != 0 {
            next = (last + bits.read_se()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// Reads a conformance window in units of this many pixels.
fn read_window(bits: &mut BitReader<'_>, unit_width: u32, unit_height: u32) -> Option<ConformanceWindow> {
    if !bits.read_flag()? {
        return Some(ConformanceWindow { crop_width: 0, crop_height: 0 });
    }
    let [left, right, top, bottom] = [bits.read_ue()?, bits.read_ue()?, bits.read_ue()?, bits.read_ue()?];
    Some(ConformanceWindow {
        crop_width: left.checked_add(right)?.checked_mul(unit_width)?,
        crop_height: top.checked_add(bottom)?.checked_mul(unit_height)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes hexadecimal digits.
    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.bytes().filter_map(|byte| (byte as char).to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// Parameter sets and first pictures that were written by x264, x265, libvpx, libaom, SVT-AV1 and ffmpeg.
    #[test]
    fn reads_size_from_every_codec() {
        let unit = |text: &str| -> Vec<u8> {
            // Another unit precedes it.
            let unit = hex(text);
            [&[0, 0, 0, 2, 9, 0xf0][..], &(unit.len() as u32).to_be_bytes(), &unit].concat()
        };
        for (codec, text, width, height) in [
            ("h264", "67640028acd940780227a9b0110000030001000003000a0f183196", 1918, 1078),
            ("h264", "6742c028d900780227e5c044000003000400000300283c60c920", 1920, 1080),
            ("h264", "67640016acd940b424d8088000000300800000050f8a14cb", 720, 576),
            ("h264", "677a000cb6cd941519e222f0110000030001000003000a0f142996", 322, 182),
            ("h264", "67f4000c919b282a33c7c5e022000003000200000300141e28532c", 322, 182),
            (
                "hevc",
                "420101016000000300900000030000030078a003c08010e75596566924caf016808000000300800000030284",
                1918,
                1078,
            ),
            (
                "hevc",
                "4201010408000003009d0800000300003cb00a480b9c96d96565924caf0168080000030008000003002840",
                322,
                182,
            ),
            ("vp8", "3059009d012a4201b60000070888", 322, 182),
            ("vp9", "824983420014100b560838241c184a00", 322, 182),
            ("vp9", "a2498342000282016ac1070483830940", 322, 182),
            ("vp9", "92498342000a0805ab031c120e0c2c00", 322, 182),
            ("vp9", "a2498342e014100b560838241c184a00", 322, 182),
            ("av1", "12000a0d200000043d06d4daf92021a00432cb08", 322, 182),
            ("av1", "12000a0b000000043d06d4fbf9004032cc111400", 322, 182),
            ("mpeg2video", "000001b31420b613ffffe018000001b5", 322, 182),
            ("mjpeg", "ffd8ffe000040000ffffc000110800b60142030122000211", 322, 182),
            ("prores", "00007c5269637066009400004c617663014200b6c000020202", 322, 182),
        ] {
            let sample = if codec.starts_with('h') { unit(text) } else { hex(text) };
            assert_eq!(
                size_from_bitstream(codec, &sample, 4),
                Some(Size { width, height }),
                "{codec} {text}"
            );
            for length in 0..sample.len() {
                let _ = size_from_bitstream(codec, &sample[..length], 4);
            }
        }
        // Dependent pictures do not contain a size; other codecs are not supported.
        for (codec, text) in
            [("vp8", "3159009d012a4201b6000007"), ("vp9", "8649834200"), ("av1", "1200"), ("svq1", "00")]
        {
            assert_eq!(size_from_bitstream(codec, &hex(text), 4), None, "{codec}");
        }
    }

    #[test]
    fn falls_back_to_size_of_sample_entry() {
        let entry = |width: u16, height: u16| {
            Bytes::from([&[0; 32][..], &width.to_be_bytes(), &height.to_be_bytes(), &[0; 50]].concat())
        };
        assert_eq!(size_from_entry(&entry(320, 180)), Some(Size { width: 320, height: 180 }));
        // Parameter sets as x264 and x265 write them, in an entry with another size.
        for (kind, head, set) in [
            (b"avcC", "014d4015ffe1001b", "67640028acd940780227a9b0110000030001000003000a0f183196"),
            (
                b"hvcC",
                "0101600000009000000000003cf000fcfdf8f800000f03200001000240012100010030",
                "420101016000000300900000030000030078a003c08010e75596566924caf016808000000300800000030284",
            ),
        ] {
            let whole = [&entry(320, 180)[..], kind, &hex(head), &hex(set)].concat();
            assert_eq!(size_from_configuration(&whole), Some(Size { width: 1918, height: 1078 }), "{head}");
            for length in 0..whole.len() {
                let _ = size_from_configuration(&whole[..length]);
            }
        }
        assert_eq!(size_from_configuration(&entry(320, 180)), None);
        assert_eq!(size_from_entry(&entry(0, 180)), None);
        assert_eq!(size_from_entry(&entry(320, 180).slice(..33)), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), nal_length in 0_usize..5) {
            for codec in ["h264", "hevc", "vp8", "vp9", "av1", "mpeg2video", "mjpeg", "prores", "svq1"] {
                if let Some(size) = size_from_bitstream(codec, &bytes, nal_length) {
                    prop_assert!(size.width > 0 && size.height > 0);
                }
            }
            let headed: Vec<u8> = [&[0x67][..], &bytes].concat();
            let _ = (h264_sps_size(&headed), hevc_sps_size(&headed), av1_sequence_size(&bytes));
        }
    }
}
