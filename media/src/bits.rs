//! Reads the bits of codec headers: fixed-length fields, Exp-Golomb numbers, LEB128, and NAL units without emulation
//! prevention. Does no IO.

/// Reads bits, most significant first.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn skip(&mut self, count: u32) {
        self.position += count as usize;
    }

    pub(crate) fn read_flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    pub(crate) fn read_bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.read_flag()?);
        }
        Some(value)
    }

    /// Reads an unsigned Exp-Golomb number: ITU-T H.264, 9.1; AV1's `uvlc` is the same.
    pub(crate) fn read_ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.read_flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.read_bits(zeros)?)
    }

    /// Reads a signed Exp-Golomb number: ITU-T H.264, 9.1.1.
    pub(crate) fn read_se(&mut self) -> Option<i64> {
        let number = i64::from(self.read_ue()?);
        Some(if number % 2 == 1 { number / 2 + 1 } else { -(number / 2) })
    }
}

/// The first bytes of a NAL unit without emulation prevention: ITU-T H.264, 7.4.1.1. `max_bytes` are read.
pub(crate) fn to_rbsp(unit: &[u8], max_bytes: usize) -> Vec<u8> {
    let mut zeros = 0;
    let is_content = |byte: &&u8| {
        let is_prevention = zeros >= 2 && **byte == 3;
        zeros = if **byte == 0 && !is_prevention { zeros + 1 } else { 0 };
        !is_prevention
    };
    unit.iter().take(max_bytes).filter(is_content).copied().collect()
}

/// Reads a LEB128 number (seven bits per byte, at most eight bytes), and returns it with the bytes after it: AV1
/// bitstream specification, 4.10.5.
pub(crate) fn read_leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ITU-T H.264, tables 9-2 and 9-3.
    #[test]
    fn reads_exp_golomb_numbers() {
        let bytes = [0b1010_0110, 0b0100_0010, 0b1001_1000];
        let mut unsigned = BitReader::new(&bytes);
        assert_eq!([(); 5].map(|()| unsigned.read_ue()), [0, 1, 2, 3, 4].map(Some));
        let mut signed = BitReader::new(&bytes);
        assert_eq!([(); 5].map(|()| signed.read_se()), [0, 1, -1, 2, -2].map(Some));
        // 32 zeros begin a number of more than 32 bits.
        assert_eq!(BitReader::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).read_ue(), None);
        assert_eq!(BitReader::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).read_ue(), Some(u32::MAX - 1));
        assert_eq!(BitReader::new(&[0]).read_ue(), None);
    }

    #[test]
    fn removes_emulation_prevention() {
        for (unit, expected) in [
            (&[0, 0, 3, 1][..], &[0, 0, 1][..]),
            (&[0, 0, 3, 0, 0, 3, 0, 0], &[0, 0, 0, 0, 0, 0]),
            (&[0, 3, 0, 0, 0, 3], &[0, 3, 0, 0, 0]),
            (&[1, 2, 3], &[1, 2, 3]),
        ] {
            assert_eq!(to_rbsp(unit, 8), expected, "{unit:?}");
        }
        assert_eq!(to_rbsp(&[0, 0, 3, 1, 2], 4), [0, 0, 1]);
    }

    #[test]
    fn reads_leb128() {
        assert_eq!(read_leb128(&[0xe5, 0x8e, 0x26, 7]), Some((624_485, &[7][..])));
        assert_eq!(read_leb128(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), Some((1 << 49, &[][..])));
        assert_eq!(read_leb128(&[0x80; 9]), None);
        assert_eq!(read_leb128(&[0x80]), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bits = BitReader::new(&bytes);
            let _ = (bits.read_ue(), bits.read_se(), bits.read_bits(32), bits.read_ue());
            let _ = (read_leb128(&bytes), to_rbsp(&bytes, 30));
        }
    }
}
