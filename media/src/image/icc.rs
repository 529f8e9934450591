//! Builds a small sRGB ICC profile. Does no IO.
//!
//! ICC.1:2022 (profile version 4.4), <https://www.color.org/specification/ICC.1-2022-05.pdf>: the header of section
//! 7.2, a tag table (7.3), the tags that 8.3 (three-component matrix display profile) requires, in the types of section
//! 10. The curve is IEC 61966-2-1's as a parametric one (10.18, function 3).

use std::sync::LazyLock;

/// The name of the profile.
const NAME: &str = "sRGB";
/// The license of the profile.
const COPYRIGHT: &str = "CC0";
/// The white point of the profile connection space, D50 (7.2.16).
const WHITE: [f64; 3] = [0.9642, 1.0, 0.8249];
/// The primaries of sRGB, adapted to that white point.
const RED: [f64; 3] = [0.43607, 0.22249, 0.01392];
const GREEN: [f64; 3] = [0.38515, 0.71687, 0.09708];
const BLUE: [f64; 3] = [0.14307, 0.06061, 0.71410];
/// The chromatic adaptation from D65: the matrix of annex E, Bradford's.
const ADAPTATION: [f64; 9] =
    [1.04788, 0.02292, -0.05022, 0.02959, 0.99048, -0.01707, -0.00925, 0.01508, 0.75168];
/// IEC 61966-2-1: `((x + 0.055) / 1.055)^2.4` from 0.04045 on, `x / 12.92` below.
const CURVE: [f64; 5] = [2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045];

static SRGB: LazyLock<Vec<u8>> = LazyLock::new(build_profile);

/// The sRGB profile, which always has the same bytes.
pub fn srgb() -> &'static [u8] {
    &SRGB
}

/// An `s15Fixed16Number` (4.6).
fn s15_fixed16(value: f64) -> [u8; 4] {
    ((value * 65536.0).round() as i32).to_be_bytes()
}

/// The reserved bytes between a type's signature and its content.
const RESERVED: [u8; 4] = [0; 4];

/// A text (10.15): one record, in American English.
fn text_element(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let words = [1, 12, u32::from_be_bytes(*b"enUS"), units.len() as u32, 28];
    [b"mluc".to_vec(), RESERVED.to_vec(), words.map(u32::to_be_bytes).concat(), units].concat()
}

fn number_element(signature: [u8; 4], values: &[f64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| s15_fixed16(*value)).collect();
    [signature.to_vec(), RESERVED.to_vec(), values].concat()
}

fn curve_element() -> Vec<u8> {
    let values: Vec<u8> = CURVE.iter().flat_map(|value| s15_fixed16(*value)).collect();
    [b"para".to_vec(), RESERVED.to_vec(), vec![0, 3, 0, 0], values].concat()
}

fn build_profile() -> Vec<u8> {
    let elements: [(&[&[u8; 4]], Vec<u8>); 8] = [
        (&[b"desc"], text_element(NAME)),
        (&[b"cprt"], text_element(COPYRIGHT)),
        (&[b"wtpt"], number_element(*b"XYZ ", &WHITE)),
        (&[b"chad"], number_element(*b"sf32", &ADAPTATION)),
        (&[b"rXYZ"], number_element(*b"XYZ ", &RED)),
        (&[b"gXYZ"], number_element(*b"XYZ ", &GREEN)),
        (&[b"bXYZ"], number_element(*b"XYZ ", &BLUE)),
        // One curve for all three (7.3.5 allows tags to share their data).
        (&[b"rTRC", b"gTRC", b"bTRC"], curve_element()),
    ];
    let count: usize = elements.iter().map(|(tags, _)| tags.len()).sum();
    let start = 128 + 4 + 12 * count;
    let (mut table, mut data) = ((count as u32).to_be_bytes().to_vec(), Vec::new());
    for (tags, element) in elements {
        for tag in tags {
            table.extend_from_slice(*tag);
            table.extend(((start + data.len()) as u32).to_be_bytes());
            table.extend((element.len() as u32).to_be_bytes());
        }
        data.extend(element);
        // Each element starts at a multiple of four (7.3.1).
        data.resize(data.len().next_multiple_of(4), 0);
    }
    let mut header = [0; 128];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &((start + data.len()) as u32).to_be_bytes());
    put(8, &[4, 0x40, 0, 0]);
    put(12, b"mntrRGB XYZ ");
    // A date is required (7.2.8): that of the layout of this profile.
    put(24, &[2026_u16, 1, 1, 0, 0, 0].map(u16::to_be_bytes).concat());
    put(36, b"acsp");
    put(68, &WHITE.map(s15_fixed16).concat());
    [header.to_vec(), table, data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn tags_lie_within_the_profile() {
        let profile = srgb();
        assert_eq!(word(profile, 0) as usize, profile.len());
        assert!(profile.len() <= 640, "{}", profile.len());
        let mut names = Vec::new();
        for tag in 0..word(profile, 128) as usize {
            let at = 132 + tag * 12;
            let (offset, length) = (word(profile, at + 4) as usize, word(profile, at + 8) as usize);
            assert_eq!(offset % 4, 0);
            assert!(profile.get(offset..offset + length).is_some());
            names.push(String::from_utf8_lossy(&profile[at..at + 4]).into_owned());
        }
        names.sort();
        let expected = ["bTRC", "bXYZ", "chad", "cprt", "desc", "gTRC", "gXYZ", "rTRC", "rXYZ", "wtpt"];
        assert_eq!(names, expected);
    }

    #[test]
    fn primaries_add_up_to_white() {
        for channel in 0..3 {
            let sum = RED[channel] + GREEN[channel] + BLUE[channel];
            assert!((sum - WHITE[channel]).abs() < 3e-4, "{channel}: {sum}");
        }
    }

    #[test]
    fn curve_is_continuous() {
        let [gamma, scale, offset, slope, knee] = CURVE;
        assert!(((knee * scale + offset).powf(gamma) - knee * slope).abs() < 1e-5);
        assert!(((scale + offset).powf(gamma) - 1.0).abs() < 1e-9);
    }
}
