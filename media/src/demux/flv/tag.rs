//! Decides where tags lie in a Flash video and what pictures are in them. Pure.
//!
//! Each tag has its time, and repeats its size behind itself, so that tags are found from any place on. Adobe Flash Video
//! File Format Specification 10.1, annex E; HEVC and AV1 by Enhanced RTMP v1,
//! <https://veovera.org/docs/enhanced/enhanced-rtmp-v1>.

/// Type, size, time and stream of a tag.
pub const HEAD_BYTES: usize = 11;
/// What repeats a tag's size behind it.
pub const FOOT_BYTES: usize = 4;
/// The most bytes at the beginning of a body that tell what is in it.
pub const LOOK_BYTES: usize = 8;
const SOUND: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

/// What a tag is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sound.
    Sound,
    /// A picture, or what its decoder is configured with.
    Video,
    /// Facts about the film.
    Script,
}

/// The head of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// What it is for.
    pub kind: Kind,
    /// When it is decoded, in milliseconds.
    pub time_ms: u64,
    /// Bytes of its body.
    pub size: usize,
}

impl Tag {
    /// The tag that these bytes begin with, if they do.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
        let kind = match head[0] {
            SOUND => Kind::Sound,
            VIDEO => Kind::Video,
            SCRIPT => Kind::Script,
            _ => return None,
        };
        let is_one = head[8..11] == [0; 3];
        let time_ms = (u64::from(head[7]) << 24) | number(&head[4..7]);
        is_one.then(|| Self { kind, time_ms, size: number(&head[1..4]) as usize })
    }

    /// Bytes of all of it, with what repeats its size.
    pub fn length(&self) -> usize {
        HEAD_BYTES + self.size + FOOT_BYTES
    }
}

/// The tags that are whole among these bytes, from wherever one is found, and where each begins.
pub fn tags(bytes: &[u8]) -> impl Iterator<Item = (usize, Tag)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at + HEAD_BYTES <= bytes.len() {
            let rest = &bytes[at..];
            let found = Tag::read(rest).filter(|tag| {
                let end = HEAD_BYTES + tag.size;
                let foot = rest.get(end..end + FOOT_BYTES);
                tag.size > 0 && foot.is_some_and(|foot| number(foot) == end as u64)
            });
            let Some(tag) = found else {
                at += 1;
                continue;
            };
            let begin = at;
            at += tag.length();
            return Some((begin, tag));
        }
        None
    })
}

/// The time of the last whole tag with a picture among the last bytes of a file, in milliseconds.
pub fn last_picture(tail: &[u8]) -> Option<u64> {
    tags(tail).filter(|(_, tag)| tag.kind == Kind::Video).map(|(_, tag)| tag.time_ms).last()
}

/// What is in the body of a tag of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// What the decoder is configured with, from this byte of the body on.
    Configuration(&'static str, usize),
    /// A coded picture, from this byte of the body on.
    Coded {
        /// Whether decoding can begin with it.
        key: bool,
        /// How much later than it is decoded it is shown, in milliseconds.
        shift: i32,
        /// Where it begins in the body.
        at: usize,
    },
    /// Nothing to be seen: an end, a command, facts of colour.
    Nothing,
    /// A codec that is not put into a digest.
    Foreign,
}

impl Picture {
    /// What is in a body that begins with these bytes: [`LOOK_BYTES`] of them, or all.
    pub fn read(body: &[u8]) -> Self {
        let Some(first) = body.first() else { return Self::Nothing };
        let kind = first >> 4 & 7;
        // A command to whoever plays.
        if kind == 5 {
            return Self::Nothing;
        }
        let key = kind == 1;
        if first & 0x80 != 0 {
            return Self::enhanced(first & 15, key, body);
        }
        if first & 15 != 7 {
            return Self::Foreign;
        }
        match body.get(1) {
            Some(0) => Self::Configuration("h264", 5),
            Some(1) => Self::shifted(key, body, 2),
            _ => Self::Nothing,
        }
    }

    fn enhanced(packet: u8, key: bool, body: &[u8]) -> Self {
        let codec = match body.get(1..5) {
            Some(b"avc1") => "h264",
            Some(b"hvc1") => "hevc",
            Some(b"av01") => "av1",
            _ => return Self::Foreign,
        };
        match packet {
            0 => Self::Configuration(codec, 5),
            1 if codec != "av1" => Self::shifted(key, body, 5),
            1 | 3 => Self::Coded { key, shift: 0, at: 5 },
            2 | 4 => Self::Nothing,
            _ => Self::Foreign,
        }
    }

    /// A picture behind its shift, a signed number of 24 bits.
    fn shifted(key: bool, body: &[u8], at: usize) -> Self {
        let Some(bytes) = body.get(at..at + 3) else { return Self::Nothing };
        let shift = (number(bytes) as i32) << 8 >> 8;
        Self::Coded { key, shift, at: at + 3 }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(kind: u8, time_ms: u32, size: usize) -> Vec<u8> {
        let [high, time @ ..] = time_ms.to_be_bytes();
        let size_bytes = (size as u32).to_be_bytes();
        let foot = (size as u32 + 11).to_be_bytes();
        [&[kind][..], &size_bytes[1..], &time, &[high, 0, 0, 0], &vec![kind; size], &foot].concat()
    }

    #[test]
    fn the_last_whole_picture_is_found_from_any_place_on() {
        let tags = [
            made(VIDEO, 1000, 300),
            made(8, 1010, 20),
            made(VIDEO, 0x0102_0304, 500),
            made(8, 0x0102_0400, 9),
        ]
        .concat();
        for from in 0..600 {
            assert_eq!(last_picture(&tags[from.min(300)..]), Some(0x0102_0304), "{from}");
        }
        assert_eq!(last_picture(&tags[..tags.len() - 60]), Some(1000), "the last one is cut off");
        assert_eq!(last_picture(&made(8, 5, 9)), None);
        assert_eq!(last_picture(b""), None);
    }

    #[test]
    fn knows_what_is_in_a_body() {
        let coded = |key, shift, at| Picture::Coded { key, shift, at };
        for (body, expected) in [
            (&b"\x17\x00\0\0\0\x01"[..], Picture::Configuration("h264", 5)),
            (b"\x17\x01\0\0\x50\0", coded(true, 80, 5)),
            (b"\x27\x01\xff\xff\xd8\0", coded(false, -40, 5)),
            (b"\x37\x01\0\0\0", coded(false, 0, 5)),
            (b"\x17\x02\0\0\0", Picture::Nothing),
            (b"\x57\x00", Picture::Nothing),
            (b"\x17\x01\0", Picture::Nothing),
            (b"", Picture::Nothing),
            (b"\x12\x00", Picture::Foreign),
            (b"\x90hvc1\x01", Picture::Configuration("hevc", 5)),
            (b"\x91hvc1\0\0\x28", coded(true, 40, 8)),
            (b"\xa3hvc1\0", coded(false, 0, 5)),
            (b"\x91av01\0", coded(true, 0, 5)),
            (b"\x94av01\0", Picture::Nothing),
            (b"\x90vvc1\0", Picture::Foreign),
            (b"\x91hv", Picture::Foreign),
        ] {
            assert_eq!(Picture::read(body), expected, "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = (last_picture(&bytes), Picture::read(&bytes));
        }

        #[test]
        fn any_bytes_before_and_behind_are_passed_over(
            before in prop::collection::vec(any::<u8>(), 0..100), time_ms: u32, size in 1_usize..400,
            behind in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let file = [&before[..], &made(VIDEO, time_ms, size), &behind].concat();
            prop_assert_eq!(last_picture(&file), Some(u64::from(time_ms)));
        }
    }
}
