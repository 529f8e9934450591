//! LZW encoder for GIF frames (GIF89a, appendix F), which can choose between several acceptable indexes for a pixel.
//! Does no IO.

/// The maximum number of codes: they have twelve bits.
const MAX_CODES: usize = 4096;

/// Slots of the hash table: twice as many as there are codes, and 32 KiB, which fits in the L1 cache.
const SLOTS: usize = 2 * MAX_CODES;

/// The dictionary: maps a code and the next index to the code of both.
#[derive(Debug)]
struct Dictionary {
    /// Twelve bits for the first code, eight for the index, twelve for the code of both; 0 if empty, since no code of
    /// two indexes is 0. Collisions are resolved by linear probing.
    slots: Box<[u32; SLOTS]>,
    /// For each code, the set of indexes that may follow it, by their lowest six bits.
    followers: Box<[u64; MAX_CODES]>,
}

impl Dictionary {
    fn new() -> Self {
        // Allocated on the heap from the start: the arrays are too large for the stack.
        Self {
            slots: vec![0; SLOTS].try_into().expect("the vector has the length of the array"),
            followers: vec![0; MAX_CODES].try_into().expect("the vector has the length of the array"),
        }
    }

    #[inline]
    fn hash_slot(code: u16, index: u8) -> (u32, usize) {
        let pair = u32::from(code) << 8 | u32::from(index);
        // Knuth's multiplicative hashing: the golden ratio of 2^32.
        (pair, pair.wrapping_mul(2_654_435_769) as usize >> (32 - SLOTS.trailing_zeros()))
    }

    /// The code for this code followed by this index.
    #[inline]
    fn find(&self, code: u16, index: u8) -> Option<u16> {
        if self.followers[usize::from(code) % MAX_CODES] >> (index % 64) & 1 == 0 {
            return None;
        }
        let (pair, mut at) = Self::hash_slot(code, index);
        loop {
            match self.slots[at % SLOTS] {
                0 => return None,
                slot if slot >> 12 == pair => return Some((slot & 0xfff) as u16),
                _ => at += 1,
            }
        }
    }

    /// Adds a code. There are never more than half as many codes as slots.
    #[inline]
    fn add(&mut self, code: u16, index: u8, new: u16) {
        self.followers[usize::from(code) % MAX_CODES] |= 1 << (index % 64);
        let (pair, mut at) = Self::hash_slot(code, index);
        while self.slots[at % SLOTS] != 0 {
            at += 1;
        }
        self.slots[at % SLOTS] = pair << 12 | u32::from(new);
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.followers.fill(0);
    }
}

/// The continuations of the current code in the dictionary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Continuations<'a> {
    dictionary: &'a Dictionary,
    code: u16,
}

impl Continuations<'_> {
    /// Whether any index continues the code.
    #[inline]
    pub(crate) fn has_any(self) -> bool {
        self.dictionary.followers[usize::from(self.code) % MAX_CODES] != 0
    }

    /// Whether this index continues the code instead of ending it.
    #[inline]
    pub(crate) fn contains(self, index: u8) -> bool {
        self.dictionary.find(self.code, index).is_some()
    }
}

/// An encoder for several frames, which reuses its memory.
#[derive(Debug)]
pub(crate) struct LzwEncoder {
    /// The size of an index in bits, 2 to 8.
    bits: u32,
    dictionary: Dictionary,
}

/// Writes codes of a varying number of bits, least significant bit first.
struct BitWriter {
    out: Vec<u8>,
    buffer: u64,
    count: u32,
}

impl BitWriter {
    fn write(&mut self, code: u16, bits: u32) {
        self.buffer |= u64::from(code) << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.out.push(self.buffer as u8);
            self.buffer >>= 8;
            self.count -= 8;
        }
    }
}

impl LzwEncoder {
    pub(crate) fn new(bits: u32) -> Self {
        Self { bits, dictionary: Dictionary::new() }
    }

    /// Returns the minimum code size and the codes of these indexes, in rows of `row_len`, without the lengths of
    /// sub-blocks.
    ///
    /// If a pixel's index would end a code, `alternative` may return an equally good index for its position (x, y) that
    /// continues the code and replaces it.
    pub(crate) fn encode(
        &mut self,
        pixels: &mut [u8],
        row_len: usize,
        alternative: impl Fn(usize, usize, Continuations<'_>) -> Option<u8>,
    ) -> Vec<u8> {
        let (bits, dictionary) = (self.bits, &mut self.dictionary);
        let clear = 1_u16 << bits;
        let mut to = Vec::with_capacity(pixels.len() / 3);
        to.push(bits as u8);
        let mut out = BitWriter { out: to, buffer: 0, count: 0 };
        let mut width = bits + 1;
        let mut next_code = usize::from(clear) + 2;
        dictionary.clear();
        out.write(clear, width);
        let mut prefix: Option<u16> = None;
        for (y, pixels) in pixels.chunks_mut(row_len.max(1)).enumerate() {
            for (x, pixel) in pixels.iter_mut().enumerate() {
                let Some(code) = prefix else {
                    prefix = Some(u16::from(*pixel));
                    continue;
                };
                let mut longer_code = dictionary.find(code, *pixel);
                if longer_code.is_none()
                    && let Some(alternative) = alternative(x, y, Continuations { dictionary, code })
                {
                    *pixel = alternative;
                    longer_code = dictionary.find(code, alternative);
                }
                if longer_code.is_some() {
                    prefix = longer_code;
                    continue;
                }
                out.write(code, width);
                if next_code < MAX_CODES {
                    dictionary.add(code, *pixel, next_code as u16);
                    // The decoder is one entry behind.
                    if next_code == 1 << width {
                        width += 1;
                    }
                    next_code += 1;
                } else {
                    out.write(clear, width);
                    width = bits + 1;
                    next_code = usize::from(clear) + 2;
                    dictionary.clear();
                }
                prefix = Some(u16::from(*pixel));
            }
        }
        if let Some(code) = prefix {
            out.write(code, width);
            // For that code, the decoder added an entry, which may have been the last one of this width.
            if next_code == 1 << width && width < 12 {
                width += 1;
            }
        }
        out.write(clear + 1, width);
        let partial_bits = out.count;
        out.write(0, (8 - partial_bits) % 8);
        out.out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A straightforward decoder, GIF89a, appendix F.
    fn decode(data: &[u8]) -> Vec<u8> {
        let (bits, data) = (u32::from(data[0]), &data[1..]);
        let clear = 1_usize << bits;
        let mut strings: Vec<Vec<u8>> = Vec::new();
        let (mut width, mut at) = (bits + 1, 0);
        let mut before: Option<Vec<u8>> = None;
        let mut out = Vec::new();
        loop {
            let code = (0..width).fold(0, |code, bit| {
                let place = at + bit as usize;
                code | usize::from(data[place / 8] >> (place % 8) & 1) << bit
            });
            at += width as usize;
            if code == clear {
                strings = (0..clear + 2).map(|index| vec![index as u8]).collect();
                (width, before) = (bits + 1, None);
                continue;
            }
            if code == clear + 1 {
                assert_eq!(data.len(), at.div_ceil(8), "bytes after the end");
                return out;
            }
            if let Some(before) = &before
                && strings.len() < MAX_CODES
            {
                let next = strings.get(code).unwrap_or(before)[0];
                strings.push([before.as_slice(), &[next]].concat());
            }
            out.extend_from_slice(&strings[code]);
            before = Some(strings[code].clone());
            if strings.len() == 1 << width && width < 12 {
                width += 1;
            }
        }
    }

    fn check(bits: u32, pixels: &[u8]) {
        let codes = LzwEncoder::new(bits).encode(&mut pixels.to_vec(), 7, |_, _, _| None);
        assert!(decode(&codes) == pixels, "{bits} bits, {} pixels", pixels.len());
    }

    #[test]
    fn roundtrips_runs_and_noise() {
        let noise = |at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8;
        for bits in [2, 7, 8] {
            let most = ((1_u32 << bits) - 1) as u8;
            for length in (0..600).chain([3839, 3840, 3841, 40_000]) {
                check(bits, &vec![most; length as usize]);
                check(bits, &(0..length).map(|at| noise(at) & most).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn alternative_index_saves_codes() {
        let pixels: Vec<u8> =
            (0..10_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 31) as u8).collect();
        let exact = LzwEncoder::new(2).encode(&mut pixels.clone(), 100, |_, _, _| None);
        let mut chosen = pixels.clone();
        let loose = LzwEncoder::new(2).encode(&mut chosen, 100, |x, y, follows| {
            let other = 1 - pixels[y * 100 + x];
            follows.contains(other).then_some(other)
        });
        assert!(loose.len() * 2 < exact.len(), "{} of {}", loose.len(), exact.len());
        assert_eq!(decode(&loose), chosen, "`pixels` contains the chosen indexes");
        assert_ne!(chosen, pixels);
    }

    proptest! {
        #[test]
        fn any_pixels_roundtrip(pixels in prop::collection::vec(0_u8..16, 0..3000)) {
            check(4, &pixels);
        }
    }
}
