//! Decides how large a coded picture is, by its own headers: containers name one size, and a track may have several. Pure.

use bytes::Bytes;

use crate::demux::demuxer::Track;
use crate::size::Size;

/// How much of a NAL unit is read for its size: a sequence parameter set with all scaling lists is shorter.
const UNIT_BYTES: usize = 1024;

/// The size of a keyframe of this track in pixels, without what is cropped, as far as that is known.
pub fn of(track: &Track, entry: u16, sample: &[u8]) -> Option<Size> {
    let (entry, nal_length) = (track.entries.get(usize::from(entry))?, track.nal_length());
    match track.codec {
        // Their parameter sets may stand in the entry, in the sample, or in both.
        "h264" | "hevc" => of_bytes(track.codec, sample, nal_length)
            .or_else(|| of_configuration(entry))
            .or_else(|| of_entry(entry)),
        "vp8" | "vp9" | "av1" | "mpeg1video" | "mpeg2video" | "mjpeg" | "prores" => {
            of_bytes(track.codec, sample, nal_length)
        }
        _ => of_entry(entry),
    }
}

/// The size by the first sequence parameter set of a sample entry: ISO 14496-15, 5.3.3.1 and 8.3.3.1.
fn of_configuration(entry: &[u8]) -> Option<Size> {
    let behind = |kind: &[u8]| entry.get(entry.windows(4).position(|word| word == kind)? + 4..);
    if let Some(body) = behind(b"avcC") {
        return h264(&plain(body.get(8..)?));
    }
    let mut rest = behind(b"hvcC")?.get(23..)?;
    loop {
        let (head, body) = rest.split_at_checked(5)?;
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if head[0] & 63 == 33 {
            return hevc(&plain(body));
        }
        rest = body.get(length..)?;
    }
}

/// The size that a sample entry names: ISO 14496-12, 12.1.3.
pub fn of_entry(entry: &Bytes) -> Option<Size> {
    let side = |at: usize| Some(u32::from(u16::from_be_bytes(entry.get(at..at + 2)?.try_into().ok()?)));
    sized(side(32)?, side(34)?)
}

fn of_bytes(codec: &str, sample: &[u8], nal_length: usize) -> Option<Size> {
    match codec {
        "h264" => unit(sample, nal_length, |head| head & 31 == 7).and_then(|unit| h264(&unit)),
        "hevc" => unit(sample, nal_length, |head| (head >> 1) & 63 == 33).and_then(|unit| hevc(&unit)),
        "vp8" => vp8(sample),
        "vp9" => vp9(sample),
        "av1" => av1(sample),
        "mpeg1video" | "mpeg2video" => mpeg(sample),
        "mjpeg" => jpeg(sample),
        "prores" => prores(sample),
        _ => None,
    }
}

fn sized(width: u32, height: u32) -> Option<Size> {
    (width > 0 && height > 0).then_some(Size { width, height })
}

/// The beginning of a NAL unit without its emulation prevention bytes: ITU-T H.264, 7.3.1.
fn plain(unit: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let is_content = |byte: &&u8| {
        let is_prevention = zeros >= 2 && **byte == 3;
        zeros = if **byte == 0 && !is_prevention { zeros + 1 } else { 0 };
        !is_prevention
    };
    unit.iter().take(UNIT_BYTES).filter(is_content).copied().collect()
}

/// The first NAL unit of a kind, see [`plain`]: ISO 14496-15, 4.3.3.
fn unit(mut sample: &[u8], nal_length: usize, is_kind: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    if nal_length == 0 {
        return None;
    }
    loop {
        let (length, rest) = sample.split_at_checked(nal_length)?;
        let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        if unit.first().is_some_and(|head| is_kind(*head)) {
            return Some(plain(unit));
        }
        sample = rest;
    }
}

/// ITU-T H.264, 7.3.2.1.1.
fn h264(unit: &[u8]) -> Option<Size> {
    let mut bits = Bits::of(unit.get(1..)?);
    let profile = bits.number(8)?;
    bits.skip(16);
    bits.golomb()?;
    let mut chroma = 1;
    if matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244) {
        chroma = bits.golomb()?;
        if chroma == 3 {
            bits.skip(1);
        }
        bits.golomb()?;
        bits.golomb()?;
        bits.skip(1);
        if bits.flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    bits.scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.skip(1);
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb()?.min(255) {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.skip(1);
    let (columns, rows) = (bits.golomb()?.checked_add(1)?, bits.golomb()?.checked_add(1)?);
    let fields = 2 - bits.number(1)?;
    if fields == 2 {
        bits.skip(1);
    }
    bits.skip(1);
    let (across, down) = subsampling(chroma);
    let cropped = bits.window(across, down * fields)?;
    cropped.of(columns.checked_mul(16)?, rows.checked_mul(16)?.checked_mul(fields)?)
}

/// ITU-T H.265, 7.3.2.2.1 and 7.3.3.
fn hevc(unit: &[u8]) -> Option<Size> {
    let mut bits = Bits::of(unit.get(2..)?);
    bits.skip(4);
    let layers = bits.number(3)?;
    bits.skip(1 + 96);
    let mut present = 0;
    for _ in 0..layers {
        present += 88 * bits.number(1)? + 8 * bits.number(1)?;
    }
    if layers > 0 {
        bits.skip(2 * (8 - layers));
    }
    bits.skip(present);
    bits.golomb()?;
    let chroma = bits.golomb()?;
    if chroma == 3 {
        bits.skip(1);
    }
    let (width, height) = (bits.golomb()?, bits.golomb()?);
    let (across, down) = subsampling(chroma);
    bits.window(across, down)?.of(width, height)
}

/// Pixels for each of chroma, across and down, by `chroma_format_idc`.
fn subsampling(chroma: u32) -> (u32, u32) {
    match chroma {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    }
}

/// RFC 6386, 9.1.
fn vp8(sample: &[u8]) -> Option<Size> {
    let [tag, _, _, 0x9d, 0x01, 0x2a, sides @ ..] = sample else { return None };
    let side =
        |at: usize| Some(u32::from(u16::from_le_bytes(sides.get(at..at + 2)?.try_into().ok()?) & 0x3fff));
    (tag & 1 == 0).then(|| sized(side(0)?, side(2)?))?
}

/// VP9 bitstream specification, 6.2.
fn vp9(sample: &[u8]) -> Option<Size> {
    let mut bits = Bits::of(sample);
    let is_frame = bits.number(2)? == 2;
    let profile = bits.number(1)? + 2 * bits.number(1)?;
    if profile == 3 {
        bits.skip(1);
    }
    let (is_repeated, is_inter) = (bits.flag()?, bits.flag()?);
    bits.skip(2);
    if !is_frame || is_repeated || is_inter || bits.number(24)? != 0x0049_8342 {
        return None;
    }
    if profile >= 2 {
        bits.skip(1);
    }
    let is_rgb = bits.number(3)? == 7;
    bits.skip(match (is_rgb, profile % 2) {
        (false, 0) => 1,
        (false, _) => 4,
        (true, 0) => 0,
        (true, _) => 1,
    });
    sized(bits.number(16)? + 1, bits.number(16)? + 1)
}

/// AV1 bitstream specification, 5.3 and 5.5.
fn av1(mut sample: &[u8]) -> Option<Size> {
    loop {
        let (head, rest) = sample.split_first()?;
        let rest = rest.get(usize::from(head >> 2 & 1)..)?;
        let (length, rest) = if head & 2 == 2 { leb128(rest)? } else { (rest.len(), rest) };
        let (body, rest) = rest.split_at_checked(length)?;
        if head >> 3 & 15 == 1 {
            return av1_sequence(body);
        }
        sample = rest;
    }
}

fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}

fn av1_sequence(body: &[u8]) -> Option<Size> {
    let mut bits = Bits::of(body);
    bits.skip(4);
    if bits.flag()? {
        // A reduced header, of a still picture.
        bits.skip(5);
    } else {
        let mut delay = None;
        if bits.flag()? {
            bits.skip(64);
            if bits.flag()? {
                bits.golomb()?;
            }
            if bits.flag()? {
                delay = Some(bits.number(5)? + 1);
                bits.skip(42);
            }
        }
        let has_delays = bits.flag()?;
        for _ in 0..=bits.number(5)? {
            bits.skip(12);
            if bits.number(5)? > 7 {
                bits.skip(1);
            }
            if let Some(length) = delay
                && bits.flag()?
            {
                bits.skip(2 * length + 1);
            }
            if has_delays && bits.flag()? {
                bits.skip(4);
            }
        }
    }
    let (across, down) = (bits.number(4)? + 1, bits.number(4)? + 1);
    sized(bits.number(across)? + 1, bits.number(down)? + 1)
}

/// ISO 13818-2, 6.2.2.1: a sequence header.
fn mpeg(sample: &[u8]) -> Option<Size> {
    let at = sample.windows(4).position(|word| word == [0, 0, 1, 0xb3])?;
    let mut bits = Bits::of(sample.get(at + 4..)?);
    sized(bits.number(12)?, bits.number(12)?)
}

/// ITU-T T.81, B.2.2: a frame header.
fn jpeg(sample: &[u8]) -> Option<Size> {
    let mut rest = sample.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let [0xff, kind, body @ ..] = rest else { return None };
        if *kind == 0xff {
            rest = &rest[1..];
            continue;
        }
        let length = usize::from(u16::from_be_bytes(body.get(..2)?.try_into().ok()?));
        if matches!(kind, 0xc0..=0xc3) {
            let mut bits = Bits::of(body.get(3..)?);
            let (height, width) = (bits.number(16)?, bits.number(16)?);
            return sized(width, height);
        }
        rest = body.get(length.max(2)..)?;
    }
}

/// SMPTE RDD 36, 5.1.
fn prores(sample: &[u8]) -> Option<Size> {
    let mut bits = Bits::of(sample.get(16..)?);
    let is_frame = sample.get(4..8) == Some(b"icpf");
    is_frame.then(|| sized(bits.number(16)?, bits.number(16)?))?
}

/// What a conformance window leaves of a picture.
struct Window {
    across: u32,
    down: u32,
}

impl Window {
    fn of(&self, width: u32, height: u32) -> Option<Size> {
        sized(width.checked_sub(self.across)?, height.checked_sub(self.down)?)
    }
}

/// Bits, the high one of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn skip(&mut self, count: u32) {
        self.at += count as usize;
    }

    fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    fn number(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Exp-Golomb: ITU-T H.264, 9.1; AV1's `uvlc` is the same.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        if zeros > 31 {
            return None;
        }
        Some((1_u32 << zeros) - 1 + self.number(zeros)?)
    }

    /// The same with a sign.
    fn signed_golomb(&mut self) -> Option<i64> {
        let number = i64::from(self.golomb()?);
        Some(if number % 2 == 1 { number / 2 + 1 } else { -(number / 2) })
    }

    /// ITU-T H.264, 7.3.2.1.1.1.
    fn scaling_list(&mut self, length: usize) -> Option<()> {
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..length {
            if next != 0 {
                next = (last + self.signed_golomb()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Some(())
    }

    /// A conformance window in units of so many pixels.
    fn window(&mut self, across: u32, down: u32) -> Option<Window> {
        if !self.flag()? {
            return Some(Window { across: 0, down: 0 });
        }
        let [left, right, top, bottom] = [self.golomb()?, self.golomb()?, self.golomb()?, self.golomb()?];
        Some(Window {
            across: left.checked_add(right)?.checked_mul(across)?,
            down: top.checked_add(bottom)?.checked_mul(down)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of a text of hexadecimal digits.
    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.bytes().filter_map(|byte| (byte as char).to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// Parameter sets and first pictures that x264, x265, libvpx, libaom, SVT-AV1 and ffmpeg have written.
    #[test]
    fn a_picture_of_each_encoder_has_its_size() {
        let unit = |text: &str| -> Vec<u8> {
            // Another unit stands before it.
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
            assert_eq!(of_bytes(codec, &sample, 4), Some(Size { width, height }), "{codec} {text}");
            for length in 0..sample.len() {
                let _ = of_bytes(codec, &sample[..length], 4);
            }
        }
        // Pictures that build on others do not say, and neither do codecs that are not read here.
        for (codec, text) in
            [("vp8", "3159009d012a4201b6000007"), ("vp9", "8649834200"), ("av1", "1200"), ("svq1", "00")]
        {
            assert_eq!(of_bytes(codec, &hex(text), 4), None, "{codec}");
        }
    }

    #[test]
    fn a_picture_that_does_not_say_has_the_size_of_its_entry() {
        let entry = |width: u16, height: u16| {
            Bytes::from([&[0; 32][..], &width.to_be_bytes(), &height.to_be_bytes(), &[0; 50]].concat())
        };
        assert_eq!(of_entry(&entry(320, 180)), Some(Size { width: 320, height: 180 }));
        // Parameter sets as x264 and x265 write them, in an entry that names another size.
        for (kind, head, set) in [
            (b"avcC", "014d4015ffe1001b", "67640028acd940780227a9b0110000030001000003000a0f183196"),
            (
                b"hvcC",
                "0101600000009000000000003cf000fcfdf8f800000f03200001000240012100010030",
                "420101016000000300900000030000030078a003c08010e75596566924caf016808000000300800000030284",
            ),
        ] {
            let whole = [&entry(320, 180)[..], kind, &hex(head), &hex(set)].concat();
            assert_eq!(of_configuration(&whole), Some(Size { width: 1918, height: 1078 }), "{head}");
            for length in 0..whole.len() {
                let _ = of_configuration(&whole[..length]);
            }
        }
        assert_eq!(of_configuration(&entry(320, 180)), None);
        assert_eq!(of_entry(&entry(0, 180)), None);
        assert_eq!(of_entry(&entry(320, 180).slice(..33)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), nal_length in 0_usize..5) {
            for codec in ["h264", "hevc", "vp8", "vp9", "av1", "mpeg2video", "mjpeg", "prores", "svq1"] {
                if let Some(size) = of_bytes(codec, &bytes, nal_length) {
                    prop_assert!(size.width > 0 && size.height > 0);
                }
            }
            let headed: Vec<u8> = [&[0x67][..], &bytes].concat();
            let _ = (h264(&headed), hevc(&headed), av1_sequence(&bytes));
        }
    }
}
