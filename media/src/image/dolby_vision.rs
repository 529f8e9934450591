//! Converts the planes of Dolby Vision profile 5 to sRGB. Does no IO.
//!
//! The planes are IPT-PQ-c2: the intensity and two color differences of Ebner and Fairchild's IPT, computed from cone
//! responses with 2 % crosstalk and coded by SMPTE ST 2084. The matrices are those that every such stream contains in
//! its metadata (ETSI GS CCM 001). The per-scene curves are not read, so that brightness is approximate and hues are
//! correct.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::size::Size;

/// Bytes per pixel: three planes of 16 bits.
pub const PIXEL_BYTES: usize = 6;

/// From I, P and T to the coded cone responses.
const IPT_TO_LMS: Matrix = [[1.0, 0.0976, 0.2052], [1.0, -0.1139, 0.1332], [1.0, 0.0326, -0.6769]];
/// Removes the crosstalk of 2 %.
const CROSSTALK_INVERSE: Matrix =
    [[1.0425, -0.0213, -0.0213], [-0.0213, 1.0425, -0.0213], [-0.0213, -0.0213, 1.0425]];
/// From cone responses to linear light of ITU-R BT.2020.
const LMS_TO_BT2020: Matrix = [
    [3.064_418_8, -2.165_976_8, 0.101_558_2],
    [-0.656_121_1, 1.785_541_2, -0.129_437_5],
    [0.017_363_2, -0.047_251_5, 1.030_042_5],
];
/// From the primaries of ITU-R BT.2020 to those of BT.709, ITU-R BT.2087.
const BT2020_TO_BT709: Matrix =
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]];
/// White, in cd/m2: ITU-R BT.2408.
const WHITE_NITS: f32 = 203.0;
/// The peak of the tone curve, as a multiple of white: 1000 cd/m2.
const PEAK: f32 = 4.93;
/// Values up to this are not compressed, as a multiple of white.
const KNEE: f32 = 0.5;
/// The number of entries in the table of the transfer function.
const CURVE_STEPS: usize = 4096;

type Matrix = [[f32; 3]; 3];

fn multiply(matrix: &Matrix, [a, b, c]: [f32; 3]) -> [f32; 3] {
    matrix.map(|[x, y, z]| x * a + y * b + z * c)
}

/// Converts a raw frame in `yuv444p16le` with full-range samples to `rgb24`.
pub fn to_rgb(planes: &[u8], size: Size) -> Bytes {
    let count = size.width as usize * size.height as usize;
    let mut rgb = Vec::with_capacity(count * 3);
    let (first, rest) = planes.split_at(planes.len().min(count * 2));
    let (second, third) = rest.split_at(rest.len().min(count * 2));
    let number = |pair: &[u8]| f32::from(u16::from_le_bytes([pair[0], pair[1]])) / f32::from(u16::MAX);
    let pixels = first.chunks_exact(2).zip(second.chunks_exact(2)).zip(third.chunks_exact(2));
    for ((i, p), t) in pixels {
        rgb.extend_from_slice(&ipt_to_rgb([number(i), number(p) - 0.5, number(t) - 0.5]));
    }
    rgb.into()
}

fn ipt_to_rgb(ipt: [f32; 3]) -> [u8; 3] {
    let responses = multiply(&IPT_TO_LMS, ipt).map(pq_to_linear);
    let light = multiply(&LMS_TO_BT2020, multiply(&CROSSTALK_INVERSE, responses));
    let light = multiply(&BT2020_TO_BT709, light).map(|value| (value / WHITE_NITS).max(0.0));
    // The brightest channel is tone-mapped and the others are scaled by the same factor, which preserves the hue.
    let brightest = light[0].max(light[1]).max(light[2]);
    let scale = if brightest > KNEE { tone_map(brightest) / brightest } else { 1.0 };
    light.map(|value| bt1886_encode(value * scale))
}

/// The Möbius tone curve, as in the conversion of other HDR formats: linear up to the knee, and 1 at the peak.
fn tone_map(value: f32) -> f32 {
    let (a, b) = {
        let a = -KNEE * KNEE * (PEAK - 1.0) / (KNEE * KNEE - 2.0 * KNEE + PEAK);
        let b = (KNEE * KNEE - 2.0 * KNEE * PEAK + PEAK) / (PEAK - 1.0).max(1e-6);
        (a, b)
    };
    let gain = (b * b + 2.0 * b * KNEE + KNEE * KNEE) / (b - a);
    (gain * (value + a) / (value + b)).min(1.0)
}

/// SMPTE ST 2084, in cd/m2.
fn pq_to_linear(coded: f32) -> f32 {
    static TABLE: OnceLock<Vec<f32>> = OnceLock::new();
    let last = usize::from(u16::MAX);
    let table = TABLE.get_or_init(|| (0..=last).map(|step| pq_eotf(step as f32 / last as f32)).collect());
    let index = (coded.clamp(0.0, 1.0) * last as f32).round() as usize;
    table.get(index).copied().unwrap_or(0.0)
}

fn pq_eotf(coded: f32) -> f32 {
    const M1: f32 = 2610.0 / 16384.0;
    const M2: f32 = 2523.0 / 4096.0 * 128.0;
    const C1: f32 = 3424.0 / 4096.0;
    const C2: f32 = 2413.0 / 4096.0 * 32.0;
    const C3: f32 = 2392.0 / 4096.0 * 32.0;
    let power = coded.powf(1.0 / M2);
    10_000.0 * ((power - C1).max(0.0) / (C2 - C3 * power)).powf(1.0 / M1)
}

/// The transfer function of a display, ITU-R BT.1886.
fn bt1886_encode(light: f32) -> u8 {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let step =
            |step: usize| (255.0 * (step as f32 / CURVE_STEPS as f32).powi(2).powf(1.0 / 2.4)).round() as u8;
        (0..=CURVE_STEPS).map(step).collect()
    });
    // Indexed by the square root, so that dark values have as fine steps as bright ones.
    let index = (light.clamp(0.0, 1.0).sqrt() * CURVE_STEPS as f32).round() as usize;
    table.get(index).copied().unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse conversion, from linear light of ITU-R BT.709 in cd/m2 to the planes.
    fn ipt_planes(light: [f64; 3]) -> [u16; 3] {
        let times = |matrix: &[[f64; 3]; 3], v: [f64; 3]| {
            matrix.map(|row| row.iter().zip(v).map(|(one, other)| one * other).sum::<f64>())
        };
        let to_2020 = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]];
        // ITU-R BT.2020 to XYZ, and that to the cone responses of Hunt, Pointer and Estevez (D65).
        let to_xyz = [
            [0.636_958, 0.144_617, 0.168_881],
            [0.262_700, 0.677_998, 0.059_302],
            [0.0, 0.028_073, 1.060_985],
        ];
        let to_lms = [[0.400_24, 0.707_60, -0.080_81], [-0.226_30, 1.165_32, 0.045_70], [0.0, 0.0, 0.918_22]];
        let mix = [[0.96, 0.02, 0.02], [0.02, 0.96, 0.02], [0.02, 0.02, 0.96]];
        let to_ipt = [[0.4, 0.4, 0.2], [4.455, -4.851, 0.396], [0.8056, 0.3572, -1.1628]];
        let encode = |nits: f64| {
            let power = (nits / 10_000.0).max(0.0).powf(2610.0 / 16384.0);
            ((3424.0 / 4096.0 + 2413.0 / 128.0 * power) / (1.0 + 2392.0 / 128.0 * power))
                .powf(2523.0 / 4096.0 * 128.0)
        };
        let lms = times(&mix, times(&to_lms, times(&to_xyz, times(&to_2020, light)))).map(encode);
        let [i, p, t] = times(&to_ipt, lms);
        [i, p + 0.5, t + 0.5].map(|value| (value * 65535.0).round() as u16)
    }

    fn convert(light: [f64; 3]) -> [u8; 3] {
        let bytes: Vec<u8> = ipt_planes(light).iter().flat_map(|value| value.to_le_bytes()).collect();
        to_rgb(&bytes, Size { width: 1, height: 1 }).to_vec().try_into().unwrap()
    }

    #[test]
    fn converts_known_colors() {
        for ([r, g, b], name) in [
            ([0.2, 0.2, 0.2], "gray"),
            ([0.4, 0.1, 0.05], "red"),
            ([0.05, 0.4, 0.1], "green"),
            ([0.1, 0.2, 0.45], "sky"),
            ([0.45, 0.3, 0.2], "skin"),
            ([0.0, 0.0, 0.0], "black"),
        ] {
            let expected = [r, g, b].map(|value: f64| (255.0 * value.powf(1.0 / 2.4)).round());
            let found = convert([r, g, b].map(|value| value * f64::from(WHITE_NITS)));
            let off = expected.iter().zip(found).map(|(one, other)| (one - f64::from(other)).abs());
            assert!(off.fold(0.0, f64::max) <= 4.0, "{name}: {found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn highlights_keep_their_order() {
        let white = convert([203.0; 3]);
        let bright = convert([1000.0; 3]);
        let brightest = convert([4000.0; 3]);
        assert!(white[0] > 200 && white[0] < bright[0] && bright[0] >= 253, "{white:?} {bright:?}");
        assert_eq!(brightest, [255; 3]);
    }

    #[test]
    fn truncated_planes_end_the_frame() {
        assert_eq!(to_rgb(&[0; 7], Size { width: 2, height: 1 }).len(), 0);
    }
}
