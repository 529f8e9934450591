//! Finds and parses the tags of a Flash video. Does no IO.
//!
//! Each tag has a timestamp and is followed by its size, so that tags can be found from any position. Adobe Flash Video
//! File Format Specification 10.1, annex E; HEVC and AV1 by Enhanced RTMP v1,
//! <https://veovera.org/docs/enhanced/enhanced-rtmp-v1>.

/// Type, size, timestamp and stream id of a tag.
pub const HEADER_BYTES: usize = 11;
/// The repeated size after a tag.
pub const PREVIOUS_TAG_SIZE_BYTES: usize = 4;
/// The most bytes of a video tag's body that are needed to classify it.
pub const VIDEO_HEADER_BYTES: usize = 8;
const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

/// The type of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagType {
    /// Audio.
    Audio,
    /// A video frame or a decoder configuration.
    Video,
    /// Metadata of the video.
    Script,
}

/// The header of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The type of the tag.
    pub tag_type: TagType,
    /// Decoding time, in milliseconds.
    pub time_ms: u64,
    /// Size of the body in bytes.
    pub body_bytes: usize,
}

impl Tag {
    /// Parses the tag at the start of `bytes`, if there is one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let tag_type = match head[0] {
            AUDIO => TagType::Audio,
            VIDEO => TagType::Video,
            SCRIPT => TagType::Script,
            _ => return None,
        };
        let is_valid = head[8..11] == [0; 3];
        let time_ms = (u64::from(head[7]) << 24) | read_be(&head[4..7]);
        is_valid.then(|| Self { tag_type, time_ms, body_bytes: read_be(&head[1..4]) as usize })
    }

    /// Size of the whole tag in bytes, including the repeated size.
    pub fn total_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes + PREVIOUS_TAG_SIZE_BYTES
    }
}

/// Finds the complete tags in `bytes`, from the first position at which one is found, with their offsets.
pub fn find_tags(bytes: &[u8]) -> impl Iterator<Item = (usize, Tag)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at + HEADER_BYTES <= bytes.len() {
            let rest = &bytes[at..];
            let found = Tag::parse(rest).filter(|tag| {
                let end = HEADER_BYTES + tag.body_bytes;
                let foot = rest.get(end..end + PREVIOUS_TAG_SIZE_BYTES);
                tag.body_bytes > 0 && foot.is_some_and(|foot| read_be(foot) == end as u64)
            });
            let Some(tag) = found else {
                at += 1;
                continue;
            };
            let begin = at;
            at += tag.total_bytes();
            return Some((begin, tag));
        }
        None
    })
}

/// The time of the last complete video tag in the last bytes of a file, in milliseconds.
pub fn last_video_time_ms(tail: &[u8]) -> Option<u64> {
    last_time_ms(tail, TagType::Video)
}

/// The time of the last complete audio tag in the last bytes of a file, in milliseconds.
pub fn last_audio_time_ms(tail: &[u8]) -> Option<u64> {
    last_time_ms(tail, TagType::Audio)
}

fn last_time_ms(tail: &[u8], tag_type: TagType) -> Option<u64> {
    find_tags(tail).filter(|(_, tag)| tag.tag_type == tag_type).map(|(_, tag)| tag.time_ms).last()
}

/// The content of a video tag's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoTag {
    /// The decoder configuration, which starts at this byte of the body.
    SequenceHeader(&'static str, usize),
    /// An encoded frame.
    CodedFrame {
        /// Whether decoding can start here.
        is_key: bool,
        /// Presentation time minus decoding time, in milliseconds.
        composition_time_ms: i32,
        /// Offset of the frame in the body.
        offset: usize,
    },
    /// Nothing to show: an end of sequence, a command, or color metadata.
    Empty,
    /// A codec that is not supported in an excerpt.
    Unsupported,
}

impl VideoTag {
    /// Classifies a body from its first [`VIDEO_HEADER_BYTES`], or from all of it.
    pub fn parse(body: &[u8]) -> Self {
        let Some(first) = body.first() else { return Self::Empty };
        let frame_type = first >> 4 & 7;
        // A command to the player.
        if frame_type == 5 {
            return Self::Empty;
        }
        let is_key = frame_type == 1;
        if first & 0x80 != 0 {
            return Self::parse_enhanced(first & 15, is_key, body);
        }
        if first & 15 != 7 {
            return Self::Unsupported;
        }
        match body.get(1) {
            Some(0) => Self::SequenceHeader("h264", 5),
            Some(1) => Self::parse_with_composition_time(is_key, body, 2),
            _ => Self::Empty,
        }
    }

    fn parse_enhanced(packet: u8, is_key: bool, body: &[u8]) -> Self {
        let codec = match body.get(1..5) {
            Some(b"avc1") => "h264",
            Some(b"hvc1") => "hevc",
            Some(b"av01") => "av1",
            _ => return Self::Unsupported,
        };
        match packet {
            0 => Self::SequenceHeader(codec, 5),
            1 if codec != "av1" => Self::parse_with_composition_time(is_key, body, 5),
            1 | 3 => Self::CodedFrame { is_key, composition_time_ms: 0, offset: 5 },
            2 | 4 => Self::Empty,
            _ => Self::Unsupported,
        }
    }

    /// Parses a frame that follows its composition time, a signed 24-bit number.
    fn parse_with_composition_time(is_key: bool, body: &[u8], offset: usize) -> Self {
        let Some(bytes) = body.get(offset..offset + 3) else { return Self::Empty };
        let composition_time_ms = (read_be(bytes) as i32) << 8 >> 8;
        Self::CodedFrame { is_key, composition_time_ms, offset: offset + 3 }
    }
}

fn read_be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build_tag(kind: u8, time_ms: u32, size: usize) -> Vec<u8> {
        let [high, time @ ..] = time_ms.to_be_bytes();
        let size_bytes = (size as u32).to_be_bytes();
        let foot = (size as u32 + 11).to_be_bytes();
        [&[kind][..], &size_bytes[1..], &time, &[high, 0, 0, 0], &vec![kind; size], &foot].concat()
    }

    #[test]
    fn finds_last_whole_video_tag() {
        let tags = [
            build_tag(VIDEO, 1000, 300),
            build_tag(8, 1010, 20),
            build_tag(VIDEO, 0x0102_0304, 500),
            build_tag(8, 0x0102_0400, 9),
        ]
        .concat();
        for from in 0..600 {
            assert_eq!(last_video_time_ms(&tags[from.min(300)..]), Some(0x0102_0304), "{from}");
        }
        assert_eq!(last_video_time_ms(&tags[..tags.len() - 60]), Some(1000), "the last one is truncated");
        assert_eq!(last_video_time_ms(&build_tag(8, 5, 9)), None);
        assert_eq!(last_audio_time_ms(&tags), Some(0x0102_0400));
        assert_eq!(last_video_time_ms(b""), None);
    }

    #[test]
    fn parses_video_bodies() {
        let coded =
            |key, shift, at| VideoTag::CodedFrame { is_key: key, composition_time_ms: shift, offset: at };
        for (body, expected) in [
            (&b"\x17\x00\0\0\0\x01"[..], VideoTag::SequenceHeader("h264", 5)),
            (b"\x17\x01\0\0\x50\0", coded(true, 80, 5)),
            (b"\x27\x01\xff\xff\xd8\0", coded(false, -40, 5)),
            (b"\x37\x01\0\0\0", coded(false, 0, 5)),
            (b"\x17\x02\0\0\0", VideoTag::Empty),
            (b"\x57\x00", VideoTag::Empty),
            (b"\x17\x01\0", VideoTag::Empty),
            (b"", VideoTag::Empty),
            (b"\x12\x00", VideoTag::Unsupported),
            (b"\x90hvc1\x01", VideoTag::SequenceHeader("hevc", 5)),
            (b"\x91hvc1\0\0\x28", coded(true, 40, 8)),
            (b"\xa3hvc1\0", coded(false, 0, 5)),
            (b"\x91av01\0", coded(true, 0, 5)),
            (b"\x94av01\0", VideoTag::Empty),
            (b"\x90vvc1\0", VideoTag::Unsupported),
            (b"\x91hv", VideoTag::Unsupported),
        ] {
            assert_eq!(VideoTag::parse(body), expected, "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = (last_video_time_ms(&bytes), VideoTag::parse(&bytes));
        }

        #[test]
        fn skips_bytes_around_tags(
            before in prop::collection::vec(any::<u8>(), 0..100), time_ms: u32, size in 1_usize..400,
            behind in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let file = [&before[..], &build_tag(VIDEO, time_ms, size), &behind].concat();
            prop_assert_eq!(last_video_time_ms(&file), Some(u64::from(time_ms)));
        }
    }
}
