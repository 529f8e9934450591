//! The codecs of sample entries, by the four-character codes that cameras, phones and editors write.

use crate::demux::mp4::boxes::FourCc;

/// Codecs by ffmpeg's names, with the four-character codes of their sample entries: those of QuickTime, of
/// <https://mp4ra.org/registered-types/sampleentries>, and the AVI codes that some writers use in MOV files.
const FOURCCS: &[(&str, &[&[u8; 4]])] = &[
    ("h264", &[b"avc1", b"avc2", b"avc3", b"avc4", b"dva1", b"dvav", b"H264", b"h264", b"X264", b"x264"]),
    ("h264", &[b"ai5p", b"ai5q", b"ai52", b"ai53", b"ai55", b"ai56", b"ai1p", b"ai1q", b"ai12", b"ai13"]),
    ("h264", &[b"ai15", b"ai16", b"AVin", b"aivx", b"xalg"]),
    ("hevc", &[b"hvc1", b"hev1", b"dvh1", b"dvhe"]),
    ("vp8", &[b"vp08", b"VP80"]),
    ("vp9", &[b"vp09", b"VP90"]),
    ("av1", &[b"av01", b"dav1"]),
    ("mpeg4", &[b"mp4v", b"DIVX", b"XVID", b"xvid", b"divx", b"DX50", b"3IV2", b"FMP4"]),
    ("mpeg1video", &[b"mpeg", b"m1v1", b"m1v ", b"mp1v"]),
    (
        "mpeg2video",
        &[b"m2v1", b"mp2v", b"AVmp", b"mpg2", b"hdv1", b"hdv2", b"hdv3", b"hdv4", b"hdv5", b"hdv6"],
    ),
    (
        "mpeg2video",
        &[b"hdv7", b"hdv8", b"hdv9", b"hdva", b"mx5n", b"mx5p", b"mx4n", b"mx4p", b"mx3n", b"mx3p"],
    ),
    (
        "mpeg2video",
        &[b"xd51", b"xd54", b"xd55", b"xd59", b"xd5a", b"xd5b", b"xd5c", b"xd5d", b"xd5e", b"xd5f"],
    ),
    (
        "mpeg2video",
        &[b"xdv1", b"xdv2", b"xdv3", b"xdv4", b"xdv5", b"xdv6", b"xdv7", b"xdv8", b"xdv9", b"xdva"],
    ),
    ("mpeg2video", &[b"xdvb", b"xdvc", b"xdvd", b"xdve", b"xdvf", b"xdhd", b"xdh2"]),
    ("mjpeg", &[b"jpeg", b"mjpa", b"AVDJ", b"dmb1", b"MJPG", b"mjpg"]),
    ("prores", &[b"apch", b"apcn", b"apcs", b"apco", b"ap4h", b"ap4x"]),
    ("dnxhd", &[b"AVdn", b"AVdh"]),
    ("h263", &[b"h263", b"s263", b"H263"]),
    ("svq1", &[b"SVQ1", b"svq1", b"svqi"]),
    ("svq3", &[b"SVQ3"]),
    ("vc1", &[b"vc-1", b"ovc1", b"WVC1"]),
    ("wmv1", &[b"WMV1"]),
    ("wmv2", &[b"WMV2"]),
    ("wmv3", &[b"WMV3"]),
    ("flv1", &[b"FLV1"]),
    ("vp6", &[b"VP60", b"VP61", b"VP62"]),
    ("vp6a", &[b"VP6A"]),
    ("vp6f", &[b"VP6F"]),
    ("msmpeg4v2", &[b"MP42", b"DIV2"]),
    ("msmpeg4v3", &[b"MP43", b"DIV3", b"3IVD"]),
    ("gif", &[b"gif "]),
    ("theora", &[b"XiTh"]),
];

/// The codec of a sample entry, if its four-character code alone identifies it.
pub(super) fn from_fourcc(kind: FourCc) -> Option<&'static str> {
    FOURCCS.iter().find(|(_, letters)| letters.contains(&&kind)).map(|(codec, _)| *codec)
}

/// The codec name of a sample entry for error messages: ffmpeg's name, or the four-character code itself.
pub(super) fn display_name(kind: FourCc) -> Option<String> {
    let known = match &kind {
        b"vvc1" | b"vvi1" => Some("vvc"),
        b"evc1" => Some("evc"),
        b"apv1" => Some("apv"),
        b"lvc1" => Some("lcevc"),
        _ => from_fourcc(kind),
    };
    let printable_fourcc = || {
        let is_printed = kind.iter().all(|letter| letter.is_ascii_graphic() || *letter == b' ');
        let text = String::from_utf8_lossy(&kind).trim().to_lowercase();
        (is_printed && !text.is_empty()).then_some(text)
    };
    known.map(str::to_owned).or_else(printable_fourcc)
}

/// The four-character code of the same codec without Dolby Vision, which every demuxer and decoder supports; other
/// codes are returned unchanged.
pub(super) fn without_dolby_vision(kind: FourCc) -> FourCc {
    match &kind {
        b"dvh1" => *b"hvc1",
        b"dvhe" => *b"hev1",
        b"dva1" => *b"avc1",
        b"dvav" => *b"avc3",
        b"dav1" => *b"av01",
        _ => kind,
    }
}

/// The codec of an `mp4v` by the object type in its descriptor: ISO 14496-1, table 5, and mp4ra.org.
pub(super) fn from_object_type(object_type: u8) -> Option<&'static str> {
    Some(match object_type {
        0x20 => "mpeg4",
        0x21 => "h264",
        0x23 => "hevc",
        0x60..=0x65 => "mpeg2video",
        0x6a => "mpeg1video",
        0x6c => "mjpeg",
        0xa3 => "vc1",
        0xb1 => "vp9",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_every_fourcc_to_one_codec() {
        let mut seen = std::collections::BTreeSet::new();
        for (codec, letters) in FOURCCS {
            for kind in *letters {
                assert!(seen.insert(**kind), "{codec}: {kind:?} twice");
                assert_eq!(from_fourcc(**kind), Some(*codec));
            }
        }
        for kind in [*b"dvh1", *b"dvhe", *b"dva1", *b"dvav", *b"dav1"] {
            assert_ne!(without_dolby_vision(kind), kind);
            assert_eq!(from_fourcc(without_dolby_vision(kind)), from_fourcc(kind));
        }
        assert_eq!(without_dolby_vision(*b"hvc1"), *b"hvc1");
        for (kind, expected) in [(b"vvc1", Some("vvc")), (b"vvi1", Some("vvc")), (b"hvc1", Some("hevc"))] {
            assert_eq!(display_name(*kind).as_deref(), expected);
        }
        assert_eq!((display_name(*b"PNG ").as_deref(), display_name([0, 1, 2, 3])), (Some("png"), None));
        assert_eq!(from_fourcc(*b"encv"), None);
        assert_eq!(from_fourcc(*b"png "), None);
        assert_eq!(from_object_type(0x6d), None);
    }
}
