//! Parses and builds the configuration of AAC decoders, the `AudioSpecificConfig` of ISO 14496-3, 1.6.2.1.

use crate::bits::BitReader;

/// The longest configuration that is copied, in bytes: a program config element with its comment is shorter.
pub(super) const MAX_CONFIG_BYTES: usize = 512;
/// Sampling frequencies by their index: ISO 14496-3, table 1.18.
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];
/// The index of a frequency that follows as a number.
const EXPLICIT_RATE: u32 = 15;
/// Audio object types: main, low complexity, scalable sample rate, long-term prediction, and the two that announce
/// spectral band replication and parametric stereo.
const CORE_TYPES: [u32; 4] = [1, 2, 3, 4];
const SPECTRAL_BAND_REPLICATION: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;

/// What a container needs to know about a decoder's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AacConfig {
    /// Samples per second of the core decoder, without spectral band replication. Not 0.
    pub(super) sample_rate: u32,
    /// The number of channels; 0 if only the stream has it.
    pub(super) channels: u16,
    /// Samples of the core decoder per frame.
    pub(super) frame_samples: u32,
}

/// Parses a configuration; `None` if it is not one of AAC, or of a variant that MP4 players do not decode.
pub(super) fn parse(config: &[u8]) -> Option<AacConfig> {
    if config.len() > MAX_CONFIG_BYTES {
        return None;
    }
    let mut bits = BitReader::new(config);
    let mut object_type = read_object_type(&mut bits)?;
    let sample_rate = read_sample_rate(&mut bits)?;
    let channels = match bits.read_bits(4)? {
        count @ 0..=6 => count,
        7 | 12 | 14 => 8,
        11 => 7,
        _ => return None,
    };
    if matches!(object_type, SPECTRAL_BAND_REPLICATION | PARAMETRIC_STEREO) {
        read_sample_rate(&mut bits)?;
        object_type = read_object_type(&mut bits)?;
    }
    if !CORE_TYPES.contains(&object_type) || sample_rate == 0 {
        return None;
    }
    // `frameLengthFlag` of `GASpecificConfig`: ISO 14496-3, 4.4.1.
    let frame_samples = if bits.read_flag()? { 960 } else { 1024 };
    Some(AacConfig { sample_rate, channels: channels as u16, frame_samples })
}

fn read_object_type(bits: &mut BitReader<'_>) -> Option<u32> {
    match bits.read_bits(5)? {
        31 => Some(32 + bits.read_bits(6)?),
        object_type => Some(object_type),
    }
}

fn read_sample_rate(bits: &mut BitReader<'_>) -> Option<u32> {
    match bits.read_bits(4)? {
        EXPLICIT_RATE => bits.read_bits(24),
        index => SAMPLE_RATES.get(index as usize).copied(),
    }
}

/// Builds the configuration of a low complexity stream, which some files do not have; `None` if the sampling frequency
/// is none of the table.
pub(super) fn build(object_type: u8, sample_rate: u32, channels: u8) -> Option<[u8; 2]> {
    let index = SAMPLE_RATES.iter().position(|rate| *rate == sample_rate)? as u16;
    let channels = match channels {
        count @ 1..=6 => count,
        8 => 7,
        _ => return None,
    };
    Some((u16::from(object_type) << 11 | index << 7 | u16::from(channels) << 3).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_configurations_of_encoders() {
        let parsed =
            |rate, channels, frame| Some(AacConfig { sample_rate: rate, channels, frame_samples: frame });
        for (name, config, expected) in [
            ("44.1 kHz stereo", &[0x12, 0x10][..], parsed(44_100, 2, 1024)),
            ("48 kHz mono", &[0x11, 0x88], parsed(48_000, 1, 1024)),
            ("48 kHz 5.1", &[0x11, 0xb0], parsed(48_000, 6, 1024)),
            ("960 samples", &[0x12, 0x14], parsed(44_100, 2, 960)),
            // Object type 5, 22.05 kHz, extended to 44.1 kHz.
            ("with SBR", &[0x2b, 0x92, 0x08, 0x00], parsed(22_050, 2, 1024)),
            ("with PS", &[0xeb, 0x8a, 0x08, 0x00], parsed(22_050, 1, 1024)),
            ("explicit rate", &[0x17, 0x80, 0x56, 0x22, 0x10], parsed(44_100, 2, 1024)),
            ("low delay", &[0xb9, 0x90], None),
            ("reserved rate", &[0x16, 0x90], None),
            ("truncated", &[0x12], None),
            ("empty", &[], None),
        ] {
            assert_eq!(parse(config), expected, "{name}");
        }
        assert_eq!(parse(&[0x12; MAX_CONFIG_BYTES + 1]), None);
    }

    #[test]
    fn builds_what_it_parses() {
        for (rate, channels) in [(44_100, 2), (48_000, 1), (8000, 6)] {
            let found = parse(&build(2, rate, channels).unwrap()).unwrap();
            assert_eq!((found.sample_rate, found.channels), (rate, channels.into()));
        }
        assert_eq!(build(2, 44_100, 2), Some([0x12, 0x10]));
        assert_eq!(build(2, 12_345, 2), None);
        assert_eq!(build(2, 44_100, 9), None);
    }

    proptest! {
        #[test]
        fn never_panics(config in prop::collection::vec(any::<u8>(), 0..40)) {
            let found = parse(&config);
            prop_assert!(found.is_none_or(|found| found.sample_rate > 0 && found.frame_samples > 0));
        }
    }
}
