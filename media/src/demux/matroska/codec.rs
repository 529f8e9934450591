//! The codecs that can be remuxed from Matroska to MP4, by the names of Matroska's codec registry
//! (<https://www.matroska.org/technical/codec_specs.html>).

/// The codec of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    H264,
    Hevc,
    Vp8,
    Vp9,
    Av1,
    /// MPEG-4 part 2.
    Mpeg4,
    Mpeg1,
    Mpeg2,
    Mjpeg,
    /// ffmpeg may decode it, but Matroska does not store enough to rebuild a sample entry.
    FfmpegOnly,
    /// Not supported.
    Unknown,
}

/// Codec IDs by prefix, as ffmpeg matches them: `V_MPEG4/ISO/ASP` and its variants are the same codec.
const CODECS: [(&str, Codec); 17] = [
    ("V_MPEG4/ISO/AVC", Codec::H264),
    ("V_MPEGH/ISO/HEVC", Codec::Hevc),
    ("V_VP8", Codec::Vp8),
    ("V_VP9", Codec::Vp9),
    ("V_AV1", Codec::Av1),
    ("V_MPEG4/ISO/SP", Codec::Mpeg4),
    ("V_MPEG4/ISO/ASP", Codec::Mpeg4),
    ("V_MPEG4/ISO/AP", Codec::Mpeg4),
    ("V_MPEG1", Codec::Mpeg1),
    ("V_MPEG2", Codec::Mpeg2),
    ("V_MJPEG", Codec::Mjpeg),
    ("V_MPEG4/MS/V3", Codec::FfmpegOnly),
    ("V_MS/VFW/FOURCC", Codec::FfmpegOnly),
    ("V_QUICKTIME", Codec::FfmpegOnly),
    ("V_PRORES", Codec::FfmpegOnly),
    ("V_THEORA", Codec::FfmpegOnly),
    ("V_SVQ", Codec::FfmpegOnly),
];

impl Codec {
    /// The codec of a `CodecID`.
    pub(super) fn from_codec_id(codec_id: &[u8]) -> Self {
        CODECS
            .iter()
            .find(|(name, _)| codec_id.starts_with(name.as_bytes()))
            .map_or(Self::Unknown, |(_, codec)| *codec)
    }

    /// Its name in ffmpeg.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
            Self::Mpeg4 => "mpeg4",
            Self::Mpeg1 => "mpeg1video",
            Self::Mpeg2 => "mpeg2video",
            Self::Mjpeg => "mjpeg",
            Self::FfmpegOnly | Self::Unknown => "",
        }
    }

    /// Whether a frame with this first byte is a keyframe, if the stream indicates it: old writers of WebM with alpha
    /// mark every frame as one. RFC 6386, 9.1; VP9 bitstream specification, 6.2.
    pub(super) fn is_key(self, first: u8) -> Option<bool> {
        match self {
            Self::Vp8 => Some(first & 1 == 0),
            // Profile 3 has one more bit before `show_existing_frame` and `frame_type`.
            Self::Vp9 if first & 0x30 == 0x30 => Some(first & 0b110 == 0),
            Self::Vp9 => Some(first & 0b1100 == 0),
            Self::H264
            | Self::Hevc
            | Self::Av1
            | Self::Mpeg4
            | Self::Mpeg1
            | Self::Mpeg2
            | Self::Mjpeg
            | Self::FfmpegOnly
            | Self::Unknown => None,
        }
    }

    /// The number of consecutive frames after the end of a range, after which no frame within it can follow. A pyramid
    /// of 16 pictures between two references has five levels; the other codecs keep frames in presentation order.
    pub(super) fn reorder_depth(self) -> usize {
        match self {
            Self::H264 | Self::Hevc => 8,
            Self::Mpeg4 | Self::Mpeg1 | Self::Mpeg2 => 3,
            Self::Vp8 | Self::Vp9 | Self::Av1 | Self::Mjpeg | Self::FfmpegOnly | Self::Unknown => 1,
        }
    }
}

/// The codec name of a `CodecID` for error messages: ffmpeg's name, or the ID itself.
pub(super) fn display_name(codec_id: &[u8]) -> Option<String> {
    let known = match codec_id {
        b"V_MPEGI/ISO/VVC" => "vvc",
        codec_id => Codec::from_codec_id(codec_id).name(),
    };
    if !known.is_empty() {
        return Some(known.to_owned());
    }
    let is_printed =
        !codec_id.is_empty() && codec_id.len() <= 64 && codec_id.iter().all(u8::is_ascii_graphic);
    let text = String::from_utf8_lossy(codec_id);
    is_printed.then(|| text.strip_prefix("V_").unwrap_or(&text).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::CODECS as DECODED;

    #[test]
    fn every_native_codec_can_be_decoded() {
        for (id, codec) in CODECS {
            assert!(codec == Codec::FfmpegOnly || DECODED.contains(&codec.name()), "{id}");
            assert_eq!(Codec::from_codec_id(id.as_bytes()), codec);
        }
        assert_eq!(Codec::from_codec_id(b"V_FFV1"), Codec::Unknown);
        assert_eq!(Codec::from_codec_id(b""), Codec::Unknown);
        for (id, expected) in [
            (&b"V_MPEGI/ISO/VVC"[..], Some("vvc")),
            (b"V_VP9", Some("vp9")),
            (b"V_FFV1", Some("ffv1")),
            (b"", None),
            (b"V_\xff", None),
        ] {
            assert_eq!(display_name(id).as_deref(), expected);
        }
    }
}
