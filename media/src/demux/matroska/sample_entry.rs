//! Builds the MP4 sample entry of an excerpt from a track's codec, color and aspect ratio. ISO 14496-12, 8.5.2 and
//! 12.1; ISO 14496-15 for AVC and HEVC; ISO 14496-14 for `esds`; the bindings of VP8/VP9
//! (<https://www.webmproject.org/vp9/mp4/>) and AV1 (<https://aomediacodec.github.io/av1-isobmff/>).

use bytes::Bytes;

use crate::demux::error::ReadError;
use crate::demux::matroska::codec::Codec;
use crate::demux::matroska::track::SelectedTrack;
use crate::demux::matroska::video::ColorInfo;

/// Builds the complete sample entry of a track. `has_start_codes` indicates whether the NAL units of its frames follow
/// start codes.
///
/// # Errors
/// [`ReadError::Unsupported`] if the file lacks data that the entry needs.
pub(super) fn write(track: &SelectedTrack, has_start_codes: bool) -> Result<Bytes, ReadError> {
    let (name, decoder_box) = configuration_box(track, has_start_codes)?;
    let video = &track.video;
    let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1];
    body.extend([0; 16]);
    // Both are at most `limits::MAX_DIMENSION`.
    body.extend((video.width as u16).to_be_bytes());
    body.extend((video.height as u16).to_be_bytes());
    // The values that all writers use: 72 dots per inch, one frame per sample, no name, 24 bits, no color table.
    body.extend([0, 0x48, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 1]);
    body.extend([0; 32]);
    body.extend([0, 24, 0xff, 0xff]);
    body.extend(decoder_box);
    if let Some(fields) = video.fiel_body() {
        body.extend(build_box(*b"fiel", &fields));
    }
    if let Some((wide, high)) = video.pixel_aspect_ratio() {
        body.extend(build_box(*b"pasp", &[wide.to_be_bytes(), high.to_be_bytes()].concat()));
    }
    if let Some(color) = &video.color {
        body.extend(color_boxes(color));
    }
    Ok(build_box(name, &body).into())
}

/// The entry's name, and the box that configures the decoder, if there is one.
fn configuration_box(track: &SelectedTrack, has_start_codes: bool) -> Result<([u8; 4], Vec<u8>), ReadError> {
    let private = &track.codec_private[..];
    Ok(match track.codec {
        // Without a configuration record, decoders expect start codes. The parameter sets also precede the keyframes,
        // as annex B of ITU-T H.264 and H.265 requires.
        Codec::H264 if has_start_codes => (*b"avc1", glbl_box(&parameter_sets(private, 5, false))),
        Codec::Hevc if has_start_codes => (*b"hvc1", glbl_box(&parameter_sets(private, 22, true))),
        // AVCDecoderConfigurationRecord and HEVCDecoderConfigurationRecord, both version 1; early writers set HEVC's to
        // 0.
        Codec::H264 if private.len() >= 7 && private[0] == 1 => (*b"avc1", build_box(*b"avcC", private)),
        Codec::Hevc if private.len() >= 23 && private[0] <= 1 && !starts_with_start_code(private) => {
            (*b"hvc1", build_box(*b"hvcC", private))
        }
        // A record without parameter sets, with four-byte lengths: each keyframe contains its parameter sets.
        Codec::H264 if private.is_empty() => (*b"avc1", build_box(*b"avcC", &[1, 100, 0, 40, 0xff, 0xe0, 0])),
        Codec::Hevc if private.is_empty() => {
            let mut record = [0; 23];
            (record[0], record[21]) = (1, 3);
            (*b"hvc1", build_box(*b"hvcC", &record))
        }
        Codec::H264 | Codec::Hevc => return Err(ReadError::Unsupported("no configuration record")),
        Codec::Vp8 => (*b"vp08", build_box(*b"vpcC", &vpcc(track, &[]))),
        Codec::Vp9 => (*b"vp09", build_box(*b"vpcC", &vpcc(track, private))),
        Codec::Av1 => (*b"av01", build_box(*b"av1C", &av1c(private))),
        Codec::Mpeg4 => (*b"mp4v", esds(0x20, private)),
        // MPEG-2 main profile: decoders read the stream itself.
        Codec::Mpeg2 => (*b"mp4v", esds(0x61, private)),
        Codec::Mpeg1 => (*b"mp4v", esds(0x6a, private)),
        Codec::Mjpeg => (*b"jpeg", Vec::new()),
        Codec::FfmpegOnly | Codec::Unknown => return Err(ReadError::Unsupported("no sample entry")),
    })
}

/// Whether NAL units follow start codes, by the beginning of a frame: ITU-T H.264, annex B. Bytes that look like a
/// start code may also be a length of `nal_length_size` bytes.
pub(super) fn has_start_codes(frame: &[u8], size: u64, nal_length_size: usize) -> bool {
    if !starts_with_start_code(frame) || nal_length_size == 0 {
        return starts_with_start_code(frame);
    }
    // If these were lengths, the second unit would extend past the end.
    let number = |at: usize| {
        let bytes = frame.get(at..at + nal_length_size)?;
        Some(bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let first = number(0).unwrap_or(0);
    let behind = first.saturating_add(nal_length_size as u64);
    if behind >= size {
        return behind > size;
    }
    let second = usize::try_from(behind).ok().and_then(number);
    second.is_some_and(|second| behind.saturating_add(nal_length_size as u64).saturating_add(second) > size)
}

fn starts_with_start_code(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0, 0, 1]) || bytes.starts_with(&[0, 0, 0, 1])
}

/// ffmpeg's box for a decoder configuration of any format.
fn glbl_box(private: &[u8]) -> Vec<u8> {
    if private.is_empty() { Vec::new() } else { build_box(*b"glbl", private) }
}

/// The parameter sets of a configuration, after start codes: either the configuration itself, or those of a record
/// whose lists begin at `at`. HEVC has one list per NAL unit type.
fn parameter_sets(private: &[u8], at: usize, is_hevc: bool) -> Vec<u8> {
    if starts_with_start_code(private) {
        return private.to_vec();
    }
    let mut sets = Vec::new();
    let mut rest = private.get(at..).unwrap_or_default();
    let mut take = |count: usize| {
        let (taken, others) = rest.split_at_checked(count)?;
        rest = others;
        Some(taken)
    };
    let mut read = || {
        let lists = if is_hevc { take(1)?[0] } else { 2 };
        for list in 0..lists {
            let units = match take(if is_hevc { 3 } else { 1 })? {
                [_, high, low] => usize::from(*high) << 8 | usize::from(*low),
                [count] => usize::from(if list == 0 { count & 31 } else { *count }),
                _ => return None,
            };
            for _ in 0..units {
                let [high, low] = take(2)? else { return None };
                let unit = take(usize::from(*high) << 8 | usize::from(*low))?;
                sets.extend([&[0, 0, 0, 1], unit].concat());
            }
        }
        Some(())
    };
    let _ = read();
    sets
}

/// VPCodecConfigurationRecord. Matroska's private data of VP9 is a list of features, each with an ID, a length and a
/// value: profile, level, bit depth, chroma subsampling.
fn vpcc(track: &SelectedTrack, private: &[u8]) -> Vec<u8> {
    let feature = |wanted: u8, default: u8| {
        private
            .chunks_exact(3)
            .find(|chunk| chunk[0] == wanted && chunk[1] == 1)
            .map_or(default, |chunk| chunk[2])
    };
    let profile = feature(1, 0).min(3);
    let depth = feature(3, if profile >= 2 { 10 } else { 8 }).clamp(8, 12);
    let chroma = feature(4, 1).min(3);
    let color = track.video.color.as_ref();
    let code = |value: Option<u16>| value.map_or(2, |value| value as u8);
    vec![
        1,
        0,
        0,
        0,
        profile,
        feature(2, 0),
        depth << 4 | chroma << 1 | u8::from(color.is_some_and(|colour| colour.is_full_range)),
        code(color.map(|colour| colour.primaries)),
        code(color.map(|colour| colour.transfer)),
        code(color.map(|colour| colour.matrix)),
        0,
        0,
    ]
}

/// AV1CodecConfigurationRecord. If the file has none, a minimal one: each keyframe contains the sequence header.
fn av1c(private: &[u8]) -> Vec<u8> {
    const PLAIN: [u8; 4] = [0x81, 0x00, 0x0c, 0x00];
    match private.first() {
        Some(0x81) if private.len() >= 4 => private.to_vec(),
        _ => PLAIN.to_vec(),
    }
}

/// The elementary stream descriptor of a visual stream, with the decoder-specific configuration.
fn esds(object_type: u8, private: &[u8]) -> Vec<u8> {
    const VISUAL_STREAM: u8 = 0x11;
    let mut decoder = vec![object_type, VISUAL_STREAM];
    // Buffer size and bitrates, which are not read.
    decoder.extend([0; 11]);
    if !private.is_empty() {
        decoder.extend(build_descriptor(5, private));
    }
    let stream = [&[0, 0, 0][..], &build_descriptor(4, &decoder), &build_descriptor(6, &[2])].concat();
    build_box(*b"esds", &[&[0; 4][..], &build_descriptor(3, &stream)].concat())
}

/// A descriptor with its size in four groups of seven bits, ISO 14496-1, 8.3.3.
fn build_descriptor(tag: u8, body: &[u8]) -> Vec<u8> {
    let size = body.len();
    let group = |shift: u32| (size >> shift) as u8 & 0x7f;
    [&[tag, 0x80 | group(21), 0x80 | group(14), 0x80 | group(7), group(0)][..], body].concat()
}

fn color_boxes(color: &ColorInfo) -> Vec<u8> {
    let mut boxes = Vec::new();
    if (color.primaries, color.transfer, color.matrix) != (2, 2, 2) || color.is_full_range {
        let mut body = b"nclx".to_vec();
        for code in [color.primaries, color.transfer, color.matrix] {
            body.extend(code.to_be_bytes());
        }
        body.push(u8::from(color.is_full_range) << 7);
        boxes.extend(build_box(*b"colr", &body));
    }
    if let Some([red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, max, min]) =
        color.mastering
    {
        // In units of 0.00002, green first; luminance in units of 0.0001 candela (ISO 14496-12, 12.1.5 by ISO 23008-2,
        // D.3.28).
        let mut body = Vec::new();
        for place in [green_x, green_y, blue_x, blue_y, red_x, red_y, white_x, white_y] {
            body.extend(((place * 50_000.0).round() as u16).to_be_bytes());
        }
        for light in [max, min] {
            body.extend(((light * 10_000.0).round() as u32).to_be_bytes());
        }
        boxes.extend(build_box(*b"mdcv", &body));
    }
    if let Some((max, mean)) = color.light {
        boxes.extend(build_box(*b"clli", &[max.to_be_bytes(), mean.to_be_bytes()].concat()));
    }
    boxes
}

/// Builds a box. No body here is close to 4 GiB.
fn build_box(name: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], &name, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::matroska::video::{self, VideoElement};

    fn write_entry(
        codec: Codec,
        private: &'static [u8],
        video: VideoElement,
        has_start_codes: bool,
    ) -> Result<Bytes, ReadError> {
        let track = SelectedTrack {
            number: 1,
            codec,
            codec_private: Bytes::from_static(private),
            default_duration: 0,
            video,
            prefix: Bytes::new(),
            has_audio: false,
            dolby_vision: None,
            aac: None,
        };
        write(&track, has_start_codes)
    }

    fn write_entry_with_lengths(
        codec: Codec,
        private: &'static [u8],
        video: VideoElement,
    ) -> Result<Bytes, ReadError> {
        write_entry(codec, private, video, false)
    }

    /// The body of the child box with this name in an entry.
    fn child(entry: &[u8], name: [u8; 4]) -> Option<Vec<u8>> {
        let mut rest = &entry[86..];
        while let Some(size) = rest.get(..4) {
            let size = u32::from_be_bytes(size.try_into().unwrap()) as usize;
            if rest[4..8] == name {
                return Some(rest[8..size].to_vec());
            }
            rest = &rest[size..];
        }
        None
    }

    #[test]
    fn missing_configuration_is_unsupported() {
        for codec in [Codec::H264, Codec::Hevc] {
            for private in [
                &b"\x01\x64\0"[..],
                b"\0\0\0\x01\x67\x64\0\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\0\0\x03\0\x10",
            ] {
                assert_eq!(
                    write_entry_with_lengths(codec, private, VideoElement::default()),
                    Err(ReadError::Unsupported("no configuration record"))
                );
            }
        }
    }

    #[test]
    fn start_codes_need_no_record() {
        let sets = b"\0\0\0\x01\x67\x42\x01\0\0\0\x01\x68";
        let record = b"\x01\x42\0\x1e\xff\xe1\0\x03\x67\x42\x01\x01\0\x01\x68";
        let hevc = b"\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x5d\xf0\0\xfc\xfd\xf8\xf8\0\0\x0f\x02\
            \xa1\0\x01\0\x02\x42\x01\xa2\0\x01\0\x01\x44";
        for (codec, private, expected) in [
            (Codec::H264, &b""[..], None),
            (Codec::H264, sets, Some(&sets[..])),
            (Codec::H264, record, Some(sets)),
            (Codec::H264, &record[..9], None),
            (Codec::Hevc, b"", None),
            (Codec::Hevc, hevc, Some(b"\0\0\0\x01\x42\x01\0\0\0\x01\x44")),
        ] {
            let entry = write_entry(codec, private, VideoElement::default(), true).unwrap();
            assert_eq!(child(&entry, *b"glbl").as_deref(), expected, "{codec:?} {private:?}");
            assert!(child(&entry, *b"avcC").is_none() && child(&entry, *b"hvcC").is_none());
        }
        // Lengths without a record: the parameter sets are in the stream.
        assert!(
            child(&write_entry_with_lengths(Codec::H264, b"", VideoElement::default()).unwrap(), *b"avcC")
                .is_some()
        );
        assert!(
            child(&write_entry_with_lengths(Codec::Hevc, b"", VideoElement::default()).unwrap(), *b"hvcC")
                .is_some()
        );
    }

    #[test]
    fn distinguishes_start_codes_from_lengths() {
        for (frame, size, nal_length, expected) in [
            (&b"\0\0\0\x01\x09\xf0\0\0\0\x01\x67"[..], 11, 4, true),
            (b"\0\0\x01\x67\x42\0\0\x01\x68", 9, 4, true),
            (b"\0\0\0\x01\x09\xf0\0\0", 400, 0, true),
            (b"\0\0\0\x02\x09\xf0\0\0", 400, 4, false),
            // A unit of one byte, and one of 300.
            (b"\0\0\0\x01\x0a\0\0\0\x02\x09\xf0", 11, 4, false),
            (b"\0\0\x01\x2c\x65\x88", 304, 4, false),
            (b"\x65", 1, 4, false),
            (b"", 0, 0, false),
        ] {
            assert_eq!(has_start_codes(frame, size, nal_length), expected, "{frame:?}");
        }
    }

    #[test]
    fn entry_carries_its_configuration() {
        for (codec, private, name, configuration) in [
            (Codec::H264, &b"\x01\x64\0\x1f\xff\xe0\0"[..], *b"avcC", &b"\x01\x64\0\x1f\xff\xe0\0"[..]),
            (Codec::Av1, b"", *b"av1C", b"\x81\0\x0c\0"),
            (Codec::Av1, b"\x81\x04\x0c\0obu", *b"av1C", b"\x81\x04\x0c\0obu"),
            (Codec::Vp8, b"", *b"vpcC", b"\x01\0\0\0\0\0\x82\x02\x02\x02\0\0"),
            (Codec::Vp9, b"", *b"vpcC", b"\x01\0\0\0\0\0\x82\x02\x02\x02\0\0"),
            (
                Codec::Vp9,
                b"\x01\x01\x02\x02\x01\x1e\x03\x01\x0a\x04\x01\x01",
                *b"vpcC",
                b"\x01\0\0\0\x02\x1e\xa2\x02\x02\x02\0\0",
            ),
        ] {
            let entry =
                write_entry_with_lengths(codec, private, video::parse(b"\xb0\x82\x02\x80\xba\x82\x01\x68"))
                    .unwrap();
            assert_eq!(entry[..4], (entry.len() as u32).to_be_bytes());
            assert_eq!(entry[32..36], [2, 128, 1, 104]);
            assert_eq!(child(&entry, name).as_deref(), Some(configuration), "{codec:?}");
        }
    }

    #[test]
    fn esds_carries_decoder_configuration() {
        let esds = child(
            &write_entry_with_lengths(Codec::Mpeg4, b"vol", VideoElement::default()).unwrap(),
            *b"esds",
        )
        .unwrap();
        assert!(esds.ends_with(b"\x05\x80\x80\x80\x03vol\x06\x80\x80\x80\x01\x02"), "{esds:x?}");
        assert_eq!(build_descriptor(4, &[0; 200])[..5], [4, 0x80, 0x80, 0x81, 0x48]);
    }
}
