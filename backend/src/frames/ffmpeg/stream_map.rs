//! Builds the program stream map that a program stream lacks. Pure.
//!
//! MPEG-2 program streams declare H.264 and HEVC in a map (ISO 13818-1, 2.5.4). Some recorders and muxers omit it. A
//! demuxer then guesses, and treats everything except MPEG-1 and MPEG-2 video as audio or ignores it. A map with one
//! entry, inserted before the file, declares the codec of the file's first frame.

/// How many bytes of the beginning are searched: the parameter sets of a frame are in its first packet.
pub(super) const HEAD_BYTES: u64 = 64 * 1024;

const PACK_HEADER: u8 = 0xba;
const PROGRAM_STREAM_MAP: u8 = 0xbc;
const H264: u8 = 0x1b;
const HEVC: u8 = 0x24;
/// The profiles of ITU-T H.264 with which a sequence parameter set may begin.
const PROFILES: [u8; 8] = [66, 77, 88, 100, 110, 122, 144, 244];

/// The map to insert before a file with this beginning, if the file has none and its video is H.264 or HEVC.
pub(super) fn build_missing(head: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    while let Some([0, 0, 1, id]) = head.get(at..at + 4) {
        let rest = &head[at..];
        at += match *id {
            PROGRAM_STREAM_MAP => return None,
            PACK_HEADER if rest.get(4)? & 0xc0 == 0x40 => 14 + usize::from(rest.get(13)? & 7),
            PACK_HEADER => 12,
            _ => 6 + usize::from(u16::from_be_bytes([*rest.get(4)?, *rest.get(5)?])),
        };
        if (0xe0..=0xef).contains(id) {
            return Some(program_stream_map(stream_type(pes_payload(rest)?)?, *id));
        }
    }
    None
}

/// The payload of a PES packet: of MPEG-2, or of MPEG-1 (ISO 11172-1, 2.4.3.3), after stuffing, buffer size and
/// timestamps.
fn pes_payload(packet: &[u8]) -> Option<&[u8]> {
    if packet.get(6)? & 0xc0 == 0x80 {
        return packet.get(9 + usize::from(*packet.get(8)?)..);
    }
    let mut rest = packet.get(6..)?;
    while let [0xff, more @ ..] = rest {
        rest = more;
    }
    if rest.first()? & 0xc0 == 0x40 {
        rest = rest.get(2..)?;
    }
    match rest.first()? >> 4 {
        2 => rest.get(5..),
        3 => rest.get(10..),
        _ => rest.get(1..),
    }
}

/// The stream type of video that begins with these bytes.
fn stream_type(bytes: &[u8]) -> Option<u8> {
    // NAL units before the parameter sets: an access unit delimiter and SEI messages.
    for unit in bytes.windows(5).filter(|five| five.starts_with(&[0, 0, 1])) {
        match (unit[3], unit[4]) {
            (0x27 | 0x47 | 0x67, profile) if PROFILES.contains(&profile) => return Some(H264),
            (0x40, 1) => return Some(HEVC),
            (0x06 | 0x09, _) | (0x46 | 0x4e, 1) => {}
            _ => return None,
        }
    }
    None
}

fn program_stream_map(stream_type: u8, id: u8) -> Vec<u8> {
    // Length; `current_next_indicator` and version; no descriptors; one entry without descriptors; no checksum, which
    // demuxers do not verify.
    vec![0, 0, 1, PROGRAM_STREAM_MAP, 0, 14, 0xe0, 0xff, 0, 0, 0, 4, stream_type, id, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADERS: &[u8] = b"\0\0\x01\xba\x44\0\x04\0\x04\x01\0\x01\x89\xf8\0\0\x01\xbb\0\x02\x80\0";

    fn file(between: &[u8], picture: &[u8]) -> Vec<u8> {
        let head = [&b"\0\0\x01\xe0\x01\0\x81\x80\x05"[..], &[0x21; 5], picture, &[0; 300]].concat();
        [HEADERS, between, &head].concat()
    }

    #[test]
    fn builds_map_only_where_missing() {
        let sound = [&b"\0\0\x01\xc0\0\x10"[..], &[0xff; 16]].concat();
        let delimited = b"\0\0\0\x01\x09\xf0\0\0\0\x01\x06\x05\x04abcd\x80\0\0\0\x01\x67\x64\0\x1f";
        for (name, between, picture, expected) in [
            ("parameters first", &b""[..], &b"\0\0\0\x01\x67\x42\xc0\x1e"[..], Some(H264)),
            ("after audio, a delimiter and a message", &sound, delimited, Some(H264)),
            ("HEVC", b"", b"\0\0\0\x01\x46\x01\x50\0\0\0\x01\x40\x01\x0c", Some(HEVC)),
            ("MPEG-2", b"", b"\0\0\x01\xb3\x14\0\xf0\x14\0\0\x01\x67\x42\0", None),
            ("a slice of MPEG video", b"", b"\0\0\x01\x67\x9b\0\0", None),
            ("MPEG-4", b"", b"\0\0\x01\xb0\x01\0\0\x01\xb5", None),
            ("a map that is there", b"\0\0\x01\xbc\0\x02\0\0", b"\0\0\0\x01\x67\x42\xc0\x1e", None),
            ("nothing", b"", b"", None),
        ] {
            let found = build_missing(&file(between, picture));
            assert_eq!(
                found.as_ref().map(|map| (map[12], map[13])),
                expected.map(|kind| (kind, 0xe0)),
                "{name}"
            );
            assert!(found.is_none_or(|map| map.len() == 6 + 14), "{name}");
        }
        assert_eq!(build_missing(b""), None);
        let packet = b"\0\0\x01\xba\x21\0\x01\0\x01\x80\0\x01\0\0\x01\xe2\x01\0\xff\xff\x60\x20\x31";
        let old = [&packet[..], &[0x11; 9], b"\0\0\x01\x67\x42\xc0\x1e"].concat();
        assert_eq!(
            build_missing(&old).map(|map| (map[12], map[13])),
            Some((H264, 0xe2)),
            "a packet of MPEG-1"
        );
    }

    proptest! {
        #[test]
        fn never_panics(begins: bool, bytes: Vec<u8>) {
            let _ = build_missing(&[if begins { HEADERS } else { b"" }, &bytes].concat());
        }
    }
}
