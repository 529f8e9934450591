//! Collects the encoder's output: parameter sets, coded frames in decoding order, and the order in which they are shown.
//! ITU-T H.264, 7.3.1, 7.3.3 and annex B. Does no IO.

use crate::bits::{self, BitReader};
use crate::image::h264::sps::{self, SequenceFields};
use crate::image::header::ImageError;

/// `nal_unit_type`: table 7-1.
const SLICE: u8 = 1;
const KEY_SLICE: u8 = 5;
const SEQUENCE_SET: u8 = 7;
const PICTURE_SET: u8 = 8;
/// More than the fields of a slice header up to its order.
const SLICE_HEADER_BYTES: usize = 32;

/// A coded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodedFrame {
    /// Its slice units, each with a length of four bytes.
    pub(super) bytes: Vec<u8>,
    /// The index of the frame in the order in which frames are shown.
    pub(super) index: usize,
    /// Whether decoding can start here.
    pub(super) is_key: bool,
}

/// An encoded video.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The sequence parameter set.
    pub(super) sequence_set: Vec<u8>,
    /// The picture parameter set.
    pub(super) picture_set: Vec<u8>,
    /// The frames, in decoding order.
    pub(super) frames: Vec<CodedFrame>,
}

impl Stream {
    /// Appends the encoder's access units of a group of `count` frames, which begins with a keyframe.
    ///
    /// # Errors
    /// The units are not those of `count` frames, or not in the form that this encoder writes.
    pub(super) fn append(&mut self, units: &[Vec<u8>], count: usize) -> Result<(), ImageError> {
        let first = self.frames.len();
        // The index of the first frame since the last keyframe, from which orders are counted.
        let mut key_index = first;
        for unit in units {
            self.append_frame(unit, &mut key_index)?;
        }
        let mut shown = vec![false; count];
        for frame in &self.frames[first..] {
            match frame.index.checked_sub(first).and_then(|index| shown.get_mut(index)) {
                Some(shown) if !*shown => *shown = true,
                _ => return Err(unexpected("order of frames")),
            }
        }
        if shown.iter().all(|shown| *shown) { Ok(()) } else { Err(unexpected("number of frames")) }
    }

    fn append_frame(&mut self, access_unit: &[u8], key_index: &mut usize) -> Result<(), ImageError> {
        let mut frame = CodedFrame { bytes: Vec::with_capacity(access_unit.len()), index: 0, is_key: false };
        for unit in split_units(access_unit) {
            match unit.first().map_or(0, |first| first & 0x1f) {
                SEQUENCE_SET => set_once(&mut self.sequence_set, unit)?,
                PICTURE_SET => set_once(&mut self.picture_set, unit)?,
                kind @ (SLICE | KEY_SLICE) => {
                    if kind == KEY_SLICE && frame.bytes.is_empty() {
                        frame.is_key = true;
                        *key_index = self.frames.len();
                    }
                    let fields =
                        sps::parse(&self.sequence_set).ok_or_else(|| unexpected("sequence parameter set"))?;
                    let order =
                        picture_order(unit, fields).ok_or_else(|| unexpected("slice header"))? as usize;
                    // Orders count fields, of which a frame has two.
                    frame.index = *key_index + order / 2;
                    frame.bytes.extend((unit.len() as u32).to_be_bytes());
                    frame.bytes.extend_from_slice(unit);
                }
                _ => {}
            }
        }
        if frame.bytes.is_empty() {
            return Err(unexpected("access unit"));
        }
        self.frames.push(frame);
        Ok(())
    }
}

/// Whether decoding can start at this access unit.
pub(super) fn is_key(access_unit: &[u8]) -> bool {
    split_units(access_unit).any(|unit| unit.first().is_some_and(|first| first & 0x1f == KEY_SLICE))
}

fn unexpected(what: &str) -> ImageError {
    ImageError::Encoder(format!("H.264: unexpected {what}"))
}

/// Keeps a parameter set, which is repeated at each keyframe.
fn set_once(set: &mut Vec<u8>, unit: &[u8]) -> Result<(), ImageError> {
    if set.is_empty() {
        set.extend_from_slice(unit);
    }
    if set == unit { Ok(()) } else { Err(unexpected("change of a parameter set")) }
}

/// `pic_order_cnt_lsb` of a slice. The order of a frame is less than the range of this field.
fn picture_order(unit: &[u8], fields: SequenceFields) -> Option<u32> {
    let rbsp = bits::to_rbsp(unit, SLICE_HEADER_BYTES);
    let mut reader = BitReader::new(rbsp.get(1..)?);
    // The first macroblock, the type, the picture parameter set.
    for _ in 0..3 {
        reader.read_ue()?;
    }
    reader.skip(fields.frame_num_bits);
    if rbsp[0] & 0x1f == KEY_SLICE {
        reader.read_ue()?;
    }
    reader.read_bits(fields.order_bits)
}

/// The NAL units between start codes: annex B. Zeros at the end of a unit belong to the next start code.
fn split_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(bytes);
    std::iter::from_fn(move || {
        let current = rest?;
        let end = start_code(current).unwrap_or(current.len());
        rest = after_start_code(&current[end..]);
        let length = current[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&current[..length])
    })
}

/// The position of the next start code.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    // Search for the byte 1, which is rarer than 0 in coded frames.
    while let Some(found) = bytes.get(from..)?.iter().position(|byte| *byte == 1) {
        let at = from + found;
        if at >= 2 && bytes[at - 2..at] == [0, 0] {
            return Some(at - 2);
        }
        from = at + 1;
    }
    None
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(start_code(bytes)? + 3..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_units() {
        let units: Vec<_> = split_units(&[0, 0, 0, 1, 7, 9, 0, 0, 1, 8, 0, 0, 0, 1, 5, 1, 0, 1]).collect();
        assert_eq!(units, [&[7, 9][..], &[8], &[5, 1, 0, 1]]);
        for bytes in [&[][..], &[0, 0], &[1], &[5, 0, 1]] {
            assert_eq!(split_units(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn rejects_other_streams() {
        let unit = |bytes: &[u8]| vec![[&[0, 0, 0, 1], bytes].concat()];
        for (units, expected) in [
            (vec![], "H.264: unexpected number of frames"),
            (unit(&[9, 1]), "H.264: unexpected access unit"),
            (unit(&[0x65, 0x88]), "H.264: unexpected sequence parameter set"),
        ] {
            let error = Stream::default().append(&units, 1).unwrap_err();
            assert_eq!(error, ImageError::Encoder(expected.to_owned()));
        }
    }
}
