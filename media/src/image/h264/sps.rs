//! Reads the parameters of an H.264 stream that are needed to write a file, and adds what the encoder leaves out: the
//! level for bit rate and frame rate, colors, and the number of reordered frames. ITU-T H.264, 7.3.2.1.1, annexes A and
//! E. Does no IO.

use crate::bits::{self, BitReader};

/// `profile_idc` of the High profile, whose sets have more fields.
const HIGH_PROFILE: u8 = 100;
/// The position of `level_idc` in the unit.
const LEVEL_OFFSET: usize = 3;
/// Longer than any set of an encoder.
const MAX_BYTES: usize = 256;

/// The fields of a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SequenceFields {
    /// The bits of `frame_num`.
    pub(super) frame_num_bits: u32,
    /// The bits of `pic_order_cnt_lsb`.
    pub(super) order_bits: u32,
    /// `max_num_ref_frames`.
    pub(super) reference_frames: u32,
}

/// Parses a NAL unit of a sequence parameter set, of the kind that the encoder writes: not of the High profile, with
/// picture order counts of type 0.
pub(super) fn parse(unit: &[u8]) -> Option<SequenceFields> {
    let rbsp = bits::to_rbsp(unit, MAX_BYTES);
    let mut reader = BitReader::new(rbsp.get(LEVEL_OFFSET + 1..)?);
    reader.read_ue()?;
    let frame_num_bits = reader.read_ue()? + 4;
    let is_supported = reader.read_ue()? == 0;
    let order_bits = reader.read_ue()? + 4;
    let reference_frames = reader.read_ue()?;
    (rbsp[1] < HIGH_PROFILE && is_supported && frame_num_bits <= 16 && order_bits <= 16)
        .then_some(SequenceFields { frame_num_bits, order_bits, reference_frames })
}

/// What a stream contains, for the choice of its level.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamRate {
    /// Macroblocks of a frame.
    pub(super) frame_blocks: u64,
    /// Frames per second, rounded up.
    pub(super) frames_per_second: u64,
    /// Frames that a decoder keeps.
    pub(super) kept_frames: u64,
    /// Bits per second.
    pub(super) bits_per_second: u64,
}

/// ITU-T H.264, table A-1: `level_idc`, macroblocks per second and per frame, macroblocks of the kept frames, and
/// thousands of bits per second in the Main profile.
const LEVELS: [[u64; 5]; 13] = [
    [13, 11_880, 396, 2_376, 768],
    [20, 11_880, 396, 2_376, 2_000],
    [21, 19_800, 792, 4_752, 4_000],
    [22, 20_250, 1_620, 8_100, 4_000],
    [30, 40_500, 1_620, 8_100, 10_000],
    [31, 108_000, 3_600, 18_000, 14_000],
    [32, 216_000, 5_120, 20_480, 20_000],
    [40, 245_760, 8_192, 32_768, 20_000],
    [41, 245_760, 8_192, 32_768, 50_000],
    [42, 522_240, 8_704, 34_816, 50_000],
    [50, 589_824, 22_080, 110_400, 135_000],
    [51, 983_040, 36_864, 184_320, 240_000],
    [52, 2_073_600, 36_864, 184_320, 240_000],
];

/// The lowest level that allows this stream; the highest one if none does.
pub(super) fn level(rate: StreamRate) -> u8 {
    let fits = |[_, per_second, per_frame, kept, kilobits]: &&[u64; 5]| {
        rate.frame_blocks <= *per_frame
            && rate.frame_blocks * rate.frames_per_second <= *per_second
            && rate.frame_blocks * rate.kept_frames <= *kept
            && rate.bits_per_second <= kilobits * 1000
    };
    LEVELS.iter().find(fits).or(LEVELS.last()).map_or(52, |[level, ..]| *level as u8)
}

/// The unit with this level, and with usability information (annex E): square pixels, BT.709 in limited range, and how
/// many frames are reordered. `None` if the unit has such information already.
pub(super) fn complete(unit: &[u8], level: u8, reordered_frames: u32, kept_frames: u32) -> Option<Vec<u8>> {
    let mut rbsp = bits::to_rbsp(unit, MAX_BYTES);
    *rbsp.get_mut(LEVEL_OFFSET)? = level;
    // The last field of the set is the flag for this information. A bit of 1 and zeros follow it.
    let mut writer = BitWriter::from_trailing_bits(rbsp)?;
    if writer.pop()? {
        return None;
    }
    writer.put(1, 1);
    // Aspect ratio: square. Overscan: unspecified.
    writer.put(1, 1);
    writer.put(1, 8);
    writer.put(0, 1);
    // Video signal: unspecified format, limited range, then primaries, transfer and matrix of BT.709.
    writer.put(1, 1);
    writer.put(5, 3);
    writer.put(0, 1);
    writer.put(1, 1);
    for _ in 0..3 {
        writer.put(1, 8);
    }
    // No location of chroma (the default is used), no timing (the file has it), no buffering models, no structures.
    writer.put(0, 5);
    // Restrictions: vectors beyond the edges, no limits of sizes, vectors of any length.
    writer.put(1, 1);
    writer.put(1, 1);
    for number in [0, 0, 15, 15, reordered_frames, kept_frames.max(reordered_frames)] {
        writer.put_ue(number);
    }
    Some(escape(&writer.finish()))
}

/// Adds emulation prevention: ITU-T H.264, 7.4.1.1.
fn escape(rbsp: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rbsp.len() + 4);
    let mut zeros = 0;
    for byte in rbsp {
        if zeros >= 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

/// Writes bits, most significant first.
struct BitWriter {
    bytes: Vec<u8>,
    /// The number of bits.
    length: usize,
}

impl BitWriter {
    /// Continues a payload after its last field: drops the bit of 1 and the zeros after it.
    fn from_trailing_bits(mut bytes: Vec<u8>) -> Option<Self> {
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        let length = bytes.len() * 8 - bytes.last()?.trailing_zeros() as usize;
        let mut writer = Self { bytes, length };
        writer.pop()?;
        Some(writer)
    }

    /// Removes the last bit.
    fn pop(&mut self) -> Option<bool> {
        self.length = self.length.checked_sub(1)?;
        let byte = self.bytes.get_mut(self.length / 8)?;
        let mask = 0x80 >> (self.length % 8);
        let bit = *byte & mask != 0;
        *byte &= !mask;
        Some(bit)
    }

    fn put(&mut self, value: u32, bits: u32) {
        for bit in (0..bits).rev() {
            if self.length / 8 == self.bytes.len() {
                self.bytes.push(0);
            }
            if value >> bit & 1 == 1 {
                self.bytes[self.length / 8] |= 0x80 >> (self.length % 8);
            }
            self.length += 1;
        }
    }

    /// Writes an unsigned Exp-Golomb number: ITU-T H.264, 9.1.
    fn put_ue(&mut self, number: u32) {
        let bits = (number + 1).ilog2();
        self.put(0, bits);
        self.put(number + 1, bits + 1);
    }

    /// The bytes, with a bit of 1 and zeros after the last field.
    fn finish(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.bytes.truncate(self.length.div_ceil(8));
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of the Main profile, 320x192 pixels, `frame_num` of 4 bits, order of 8 bits, two reference frames.
    fn set() -> Vec<u8> {
        let mut writer = BitWriter { bytes: vec![0x67, 77, 0x40, 30], length: 32 };
        for number in [0, 0, 0, 4, 2] {
            writer.put_ue(number);
        }
        writer.put(0, 1);
        writer.put_ue(19);
        writer.put_ue(11);
        // Frames only, direct inference, no cropping, no usability information.
        writer.put(0b1100, 4);
        writer.finish()
    }

    #[test]
    fn reads_fields() {
        let expected = SequenceFields { frame_num_bits: 4, order_bits: 8, reference_frames: 2 };
        assert_eq!(parse(&set()), Some(expected));
        for length in 0..6 {
            assert_eq!(parse(&set()[..length]), None);
        }
    }

    #[test]
    fn adds_usability_information_once() {
        let completed = complete(&set(), 21, 1, 2).unwrap();
        assert_eq!(completed[..4], [0x67, 77, 0x40, 21]);
        assert_eq!(parse(&completed), parse(&set()));
        assert_eq!(complete(&completed, 21, 1, 2), None);
        let rbsp = bits::to_rbsp(&completed, MAX_BYTES);
        let set_bits = BitWriter::from_trailing_bits(set()).unwrap().length;
        let mut reader = BitReader::new(&rbsp);
        reader.skip(set_bits as u32 - 1);
        let fields = [1, 1, 8, 1, 1, 3, 1, 1, 8, 8, 8, 5, 1, 1].map(|bits| reader.read_bits(bits).unwrap());
        assert_eq!(fields, [1, 1, 1, 0, 1, 5, 0, 1, 1, 1, 1, 0, 1, 1]);
        assert_eq!([(); 6].map(|()| reader.read_ue().unwrap()), [0, 0, 15, 15, 1, 2]);
        assert_eq!(reader.read_flag(), Some(true), "the trailing bit");
    }

    #[test]
    fn level_follows_size_rate_and_bits() {
        let rate = |frame_blocks, frames_per_second, kilobits: u64| StreamRate {
            frame_blocks,
            frames_per_second,
            kept_frames: 2,
            bits_per_second: kilobits * 1000,
        };
        for (stream, expected) in [
            (rate(240, 15, 300), 13),
            (rate(240, 15, 1_500), 20),
            (rate(1600, 15, 3_000), 30),
            (rate(1600, 30, 3_000), 31),
            (rate(1600, 30, 30_000), 41),
            (rate(240, 15, 900_000), 52),
            (rate(99_999, 15, 1), 52),
        ] {
            assert_eq!(level(stream), expected, "{stream:?}");
        }
    }

    #[test]
    fn escapes_start_codes() {
        assert_eq!(escape(&[0, 0, 0, 0, 1, 0, 0, 4]), [0, 0, 3, 0, 0, 3, 1, 0, 0, 4]);
        assert_eq!(bits::to_rbsp(&escape(&[0, 0, 0, 2, 0, 0, 3]), 99), [0, 0, 0, 2, 0, 0, 3]);
    }
}
