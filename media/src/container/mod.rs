//! The supported containers: detects that of a file from its first bytes, before a decoder reads it, and lists what is
//! particular to each. Does no IO, and ignores file names.
//!
//! Files that are not clearly one of the containers listed here are rejected, and ffmpeg is then called with the
//! detected demuxer. A playlist (HLS, ffconcat, DASH, SDP) with the name or type of a video is therefore never opened
//! as a playlist (docs/threat-model.md, F1 to F3).

mod missing_index;

use glimpse_contract::{Code, limits};

use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::Demuxer;
use crate::demux::error::ReadError;
use crate::demux::{flv, matroska, mp4};
use crate::probe::{MediaInfo, is_close_duration};

/// How many bytes are enough for detection.
pub const SNIFF_BYTES: usize = 4096;

/// A supported container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// ISO base media: MP4, QuickTime, 3GP, M4V; progressive or fragmented.
    Mov,
    /// Matroska and WebM.
    Matroska,
    /// AVI.
    Avi,
    /// Flash video.
    Flv,
    /// MPEG transport stream, with packets of 188, 192 or 204 bytes.
    Mpegts,
    /// MPEG program stream.
    Mpeg,
    /// An MPEG-1 or MPEG-2 video stream without a container, as in old `.mpg` files.
    Mpegvideo,
    /// Ogg.
    Ogg,
    /// ASF: WMV.
    Asf,
    /// MXF.
    Mxf,
    /// GIF.
    Gif,
}

impl Container {
    /// All containers.
    pub const ALL: [Self; 11] = [
        Self::Mov,
        Self::Matroska,
        Self::Avi,
        Self::Flv,
        Self::Mpegts,
        Self::Mpeg,
        Self::Mpegvideo,
        Self::Ogg,
        Self::Asf,
        Self::Mxf,
        Self::Gif,
    ];

    /// The name of ffmpeg's demuxer, which is also the value in the manifest.
    pub fn ffmpeg_name(self) -> &'static str {
        match self {
            Self::Mov => "mov",
            Self::Matroska => "matroska",
            Self::Avi => "avi",
            Self::Flv => "flv",
            Self::Mpegts => "mpegts",
            Self::Mpeg => "mpeg",
            Self::Mpegvideo => "mpegvideo",
            Self::Ogg => "ogg",
            Self::Asf => "asf",
            Self::Mxf => "mxf",
            Self::Gif => "gif",
        }
    }

    /// The demuxer of this crate, if there is one. All other containers are read by ffmpeg alone.
    pub fn native_demuxer(self) -> Option<NativeDemuxer> {
        match self {
            Self::Mov => Some(NativeDemuxer {
                open: |buffer| Ok(Box::new(mp4::open(buffer)?)),
                codec_name: Some(mp4::codec_name),
            }),
            Self::Matroska => Some(NativeDemuxer {
                open: |buffer| Ok(Box::new(matroska::open(buffer)?)),
                codec_name: Some(matroska::codec_name),
            }),
            Self::Flv => {
                Some(NativeDemuxer { open: |buffer| Ok(Box::new(flv::open(buffer)?)), codec_name: None })
            }
            Self::Avi
            | Self::Mpegts
            | Self::Mpeg
            | Self::Mpegvideo
            | Self::Ogg
            | Self::Asf
            | Self::Mxf
            | Self::Gif => None,
        }
    }

    /// The stream with a running clock, if timestamps are those of one. They may jump: where recordings were joined, the
    /// clock starts again.
    pub fn running_clock(self) -> Option<ClockStream> {
        match self {
            Self::Mpegts => Some(ClockStream::Transport),
            Self::Mpeg => Some(ClockStream::Program),
            Self::Mov
            | Self::Matroska
            | Self::Avi
            | Self::Flv
            | Self::Mpegvideo
            | Self::Ogg
            | Self::Asf
            | Self::Mxf
            | Self::Gif => None,
        }
    }

    /// The check for a missing index. `None` for a container whose beginning does not tell.
    pub fn index_check(self) -> Option<IsIndexMissing> {
        match self {
            Self::Avi => Some(missing_index::is_avi_truncated),
            Self::Flv => Some(|head, _| missing_index::is_keyframe_index_missing(head)),
            Self::Mxf => Some(missing_index::is_mxf_footer_missing),
            Self::Mov
            | Self::Matroska
            | Self::Mpegts
            | Self::Mpeg
            | Self::Mpegvideo
            | Self::Ogg
            | Self::Asf
            | Self::Gif => None,
        }
    }

    /// How long before the requested time ffmpeg starts to read, in milliseconds and in the order of attempts: without
    /// an index, a seek may end after the intended keyframe.
    pub fn pre_rolls_ms(self) -> &'static [u64] {
        match self {
            Self::Mpegts | Self::Mpeg => &PRE_ROLLS_MS,
            // It has no timestamps: times can only be found by counting from the first frame.
            Self::Mpegvideo => &[u64::MAX],
            Self::Mov
            | Self::Matroska
            | Self::Avi
            | Self::Flv
            | Self::Ogg
            | Self::Asf
            | Self::Mxf
            | Self::Gif => &INDEXED_PRE_ROLLS_MS,
        }
    }

    /// What ffmpeg finds a time with.
    pub fn seek_support(self) -> SeekSupport {
        match self {
            Self::Mpegvideo | Self::Gif => SeekSupport::Unsupported,
            Self::Avi | Self::Flv | Self::Mxf | Self::Asf | Self::Ogg => SeekSupport::OptionalIndex,
            Self::Mov | Self::Matroska | Self::Mpegts | Self::Mpeg => SeekSupport::Reliable,
        }
    }

    /// How ffmpeg decodes the frames of a storyboard of a source of `bytes`.
    pub fn storyboard_strategy(self, bytes: u64) -> StoryboardStrategy {
        match self {
            // These formats have no index, and no timestamps to search for.
            Self::Mpegvideo | Self::Gif => StoryboardStrategy::SinglePass,
            Self::Mpegts | Self::Mpeg | Self::Ogg | Self::Asf => {
                if bytes <= SEARCHED_BYTES {
                    StoryboardStrategy::SinglePass
                } else {
                    StoryboardStrategy::Seeks
                }
            }
            Self::Avi | Self::Flv => {
                if bytes <= INDEXED_BYTES {
                    StoryboardStrategy::SinglePass
                } else {
                    StoryboardStrategy::ProbedSeeks
                }
            }
            Self::Mov | Self::Matroska | Self::Mxf => StoryboardStrategy::Seeks,
        }
    }

    /// How the duration that ffprobe reports is verified.
    pub fn duration_check(self, info: &MediaInfo) -> DurationCheck {
        let check_if = |is_doubtful, check| if is_doubtful { check } else { DurationCheck::None };
        let is_unknown = info.duration_ms == 0;
        match self {
            Self::Flv => DurationCheck::LastTag,
            // Its duration counts from zero, regardless of the start time.
            Self::Asf => check_if(is_unknown || info.start_ms > MAX_REORDER_MS, DurationCheck::LastPackets),
            Self::Ogg => check_if(is_unknown, DurationCheck::LastPackets),
            // The header contains the planned number of frames; in a pipe, that is half of the maximum. Without an
            // index, the duration is estimated from the file size.
            Self::Avi => check_if(
                !is_close_duration(info.duration_ms, info.frames_duration_ms(info.frame_count))
                    || !(1..=limits::MAX_DURATION_MS).contains(&info.duration_ms),
                DurationCheck::CountPackets,
            ),
            // The reported duration is an estimate from the bit rate, which may be variable.
            Self::Mpegvideo => DurationCheck::CountPackets,
            Self::Mpeg | Self::Mpegts => check_if(is_unknown, DurationCheck::CountPackets),
            Self::Mov | Self::Matroska | Self::Mxf | Self::Gif => DurationCheck::None,
        }
    }
}

/// The functions of a demuxer of this crate.
#[derive(Debug, Clone, Copy)]
pub struct NativeDemuxer {
    /// Reads the header of a file.
    pub open: fn(&SparseBuffer) -> Result<Box<dyn Demuxer>, ReadError>,
    /// Reads the codec of the first video track, for a file that is rejected because of it. `None` if no file of the
    /// container names it.
    pub codec_name: Option<ReadCodecName>,
}

/// Reads a codec's name, if the container names it.
pub type ReadCodecName = fn(&SparseBuffer) -> Result<Option<String>, ReadError>;

/// Tells from the beginning and the number of bytes of a file whether its index is certainly missing.
pub type IsIndexMissing = fn(&[u8], u64) -> bool;

/// A stream whose timestamps are those of a running clock, ISO 13818-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockStream {
    /// A transport stream.
    Transport,
    /// A program stream.
    Program,
}

/// The pre-rolls in a stream without an index, in milliseconds: first, more than the keyframe distance of broadcasts
/// and discs; if no earlier frame is found, 10 and 100 times as long.
const PRE_ROLLS_MS: [u64; 4] = [3_000, 30_000, 300_000, u64::MAX];
/// The same for a stream that may have an index, which may be wrong.
const INDEXED_PRE_ROLLS_MS: [u64; 3] = [0, 30_000, u64::MAX];

/// What ffmpeg finds a time in a source with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekSupport {
    /// Nothing: there is no index, and there are no timestamps to search for.
    Unsupported,
    /// With an index that some files do not have: then it reads everything up to the time.
    OptionalIndex,
    /// With the index or by searching timestamps: in few bytes.
    Reliable,
}

/// How ffmpeg decodes the frames of a storyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoryboardStrategy {
    /// In one pass over the whole source.
    SinglePass,
    /// With seeks.
    Seeks,
    /// With seeks, which a request near the end has shown to be cheap.
    ProbedSeeks,
}

/// Sources up to this size are decoded in one pass where a seek is a search, in bytes.
const SEARCHED_BYTES: u64 = 256 * 1024 * 1024;
/// Sources up to this size are decoded in one pass although they may have an index, in bytes.
const INDEXED_BYTES: u64 = 64 * 1024 * 1024;

/// How a reported duration is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationCheck {
    /// Not at all: the container stores the duration at its end, or its demuxer reads the end.
    None,
    /// Against the time of the last tag, which takes one read.
    LastTag,
    /// With ffprobe, which seeks near the end and lists the packets there.
    LastPackets,
    /// By counting all packets.
    CountPackets,
}

/// Muxers leave a start time up to this for reordering, in milliseconds.
const MAX_REORDER_MS: u64 = 2_000;

/// Detects the container of a file of `total_bytes` that starts with `head`, its first [`SNIFF_BYTES`] or all of it.
///
/// # Errors
/// The code with which the file is permanently rejected.
pub fn sniff(head: &[u8], total_bytes: u64) -> Result<Container, Code> {
    if total_bytes == 0 || head.is_empty() {
        return Err(Code::Empty);
    }
    if head.starts_with(b".RMF") {
        return Err(Code::UnsupportedCodec);
    }
    let checks: [(Container, bool); 11] = [
        (Container::Mov, is_mov(head, total_bytes)),
        (Container::Matroska, is_matroska(head)),
        (Container::Avi, is_avi(head)),
        (Container::Flv, is_flv(head)),
        (Container::Ogg, head.starts_with(b"OggS\0")),
        (Container::Asf, head.starts_with(&ASF_HEADER)),
        (Container::Mxf, is_mxf(head)),
        (Container::Gif, is_gif(head)),
        (Container::Mpeg, is_program_stream(head)),
        (Container::Mpegvideo, is_sequence_header(head)),
        (Container::Mpegts, find_packets(head).is_some()),
    ];
    checks.into_iter().find(|(_, is_match)| *is_match).map(|(container, _)| container).ok_or(Code::NotAVideo)
}

/// The GUID of the ASF header object, [MS-ASF] 10.1.
const ASF_HEADER: [u8; 16] =
    [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, 0xa6, 0xd9, 0x00, 0xaa, 0x00, 0x62, 0xce, 0x6c];

/// Boxes that a file of this family may start with.
const FIRST_BOXES: [&[u8; 4]; 10] =
    [b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot", b"moof", b"styp", b"sidx"];

/// Boxes that may precede one of those: metadata from a streaming server, a camera or an editor. Registered at
/// <https://mp4ra.org/registered-types/boxes>.
const LEADING_BOXES: [&[u8; 4]; 10] =
    [b"uuid", b"prft", b"emsg", b"pdin", b"meta", b"udta", b"ssix", b"mfra", b"imda", b"PICT"];
/// The most boxes that are searched for one of this family.
const MAX_LEADING_BOXES: usize = 64;

/// Whether there is a box of this family, possibly after boxes that may precede it, as far as `head` extends.
fn is_mov(head: &[u8], total_bytes: u64) -> bool {
    let mut at = 0_u64;
    for _ in 0..MAX_LEADING_BOXES {
        let rest = usize::try_from(at).ok().and_then(|at| head.get(at..)).filter(|rest| rest.len() >= 8);
        let Some(rest) = rest else {
            // The next box is beyond `head`. All boxes before it were of this family.
            return at > 0 && at < total_bytes;
        };
        let room = total_bytes.saturating_sub(at);
        let Some((size, kind)) = box_header(rest, room) else { return false };
        if FIRST_BOXES.iter().any(|known| known.as_slice() == kind) {
            return is_first_box(kind, size, room);
        }
        if !LEADING_BOXES.iter().any(|known| known.as_slice() == kind) || size < 8 || size > room {
            return false;
        }
        at = at.saturating_add(size);
    }
    false
}

/// Size and four-character code of the box at the start of `bytes`.
fn box_header(bytes: &[u8], room: u64) -> Option<(u64, &[u8])> {
    // ISO 14496-12, 4.2: 1 means that a 64-bit size follows, 0 that the box extends to the end of the file.
    let size = match big_endian(bytes, 0, 4)? {
        0 => room,
        1 => big_endian(bytes, 8, 8).unwrap_or(0),
        size => size,
    };
    Some((size, bytes.get(4..8)?))
}

fn is_first_box(kind: &[u8], size: u64, room: u64) -> bool {
    match kind {
        // Brand, version, and a list that is short in all real files.
        b"ftyp" | b"styp" => (16..=4096).contains(&size) && size <= room,
        // A file that is truncated within its media data or index still belongs to this family.
        b"mdat" | b"moov" | b"moof" => size >= 8,
        _ => size >= 8 && size <= room,
    }
}

/// EBML's magic number, and the document type in the header that follows.
fn is_matroska(head: &[u8]) -> bool {
    head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3])
        && [b"matroska".as_slice(), b"webm"].iter().any(|kind| contains(&head[..head.len().min(512)], kind))
}

fn is_avi(head: &[u8]) -> bool {
    let kind = head.get(8..12);
    (head.starts_with(b"RIFF") && matches!(kind, Some(b"AVI " | b"AVIX" | b"AVI\x19")))
        || (head.starts_with(b"ON2 ") && kind == Some(b"ON2f"))
}

/// Signature, version 1, only the flags for audio and video, and a header of nine bytes.
fn is_flv(head: &[u8]) -> bool {
    head.starts_with(b"FLV\x01")
        && head.get(4).is_some_and(|flags| flags & 0b1111_1010 == 0)
        && big_endian(head, 5, 4) == Some(9)
}

/// The key of a partition pack, SMPTE ST 377-1, 7.1. A run-in before it is allowed but does not occur in practice, so
/// it is not supported.
fn is_mxf(head: &[u8]) -> bool {
    head.starts_with(&[0x06, 0x0e, 0x2b, 0x34, 0x02, 0x05, 0x01, 0x01, 0x0d, 0x01, 0x02, 0x01, 0x01, 0x02])
}

fn is_gif(head: &[u8]) -> bool {
    (head.starts_with(b"GIF89a") || head.starts_with(b"GIF87a")) && head.len() >= 13
}

/// A pack header (MPEG-1 or 2) and, if `head` extends that far, another start code after it. Hikvision's cameras write
/// 40 vendor-specific bytes before it.
fn is_program_stream(head: &[u8]) -> bool {
    let head = if head.starts_with(b"IMKH") { head.get(40..).unwrap_or_default() } else { head };
    if !head.starts_with(&[0, 0, 1, 0xba]) {
        return false;
    }
    let next = match head.get(4) {
        Some(byte) if byte & 0xc0 == 0x40 => head.get(13).map(|byte| 14 + usize::from(byte & 7)),
        Some(byte) if byte & 0xf0 == 0x20 => Some(12),
        _ => return false,
    };
    next.and_then(|at| head.get(at..at + 3)).is_none_or(|code| code == [0, 0, 1])
}

/// A sequence header, ISO 13818-2, 6.2.2.1: a size, valid codes for aspect ratio and frame rate, and the marker bit.
fn is_sequence_header(head: &[u8]) -> bool {
    head.starts_with(&[0, 0, 1, 0xb3])
        && big_endian(head, 4, 3).is_some_and(|size| size >> 12 != 0 && size & 0xfff != 0)
        && head.get(7).is_some_and(|byte| (1..=14).contains(&(byte >> 4)) && (1..=8).contains(&(byte & 15)))
        && head.get(10).is_some_and(|byte| byte & 0x20 != 0)
}

/// The packets of a transport stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketLayout {
    /// Offset of the first packet's sync byte.
    pub start: usize,
    /// Distance between packets: 188 bytes; four more with a timestamp before each packet (AVCHD); 16 more with parity
    /// bytes after each packet (DVB, as some receivers record it).
    pub length: usize,
}

/// The sync byte of a transport packet, ISO 13818-1, 2.4.3.2.
pub const SYNC_BYTE: u8 = 0x47;

/// Finds sync bytes at the distance of a packet: five of them, or as many as fit, if they start within the first
/// packet; twelve if other bytes precede them.
pub fn find_packets(head: &[u8]) -> Option<PacketLayout> {
    const LENGTHS: [usize; 3] = [188, 192, 204];
    const SYNCS: usize = 5;
    const SYNCS_BEHIND_OTHERS: usize = 12;
    for (start, _) in head.iter().enumerate().filter(|(_, byte)| **byte == SYNC_BYTE) {
        for length in LENGTHS {
            let max_syncs = if start < length { SYNCS } else { SYNCS_BEHIND_OTHERS };
            let sync_run = head
                .iter()
                .skip(start)
                .step_by(length)
                .take(max_syncs)
                .take_while(|byte| **byte == SYNC_BYTE);
            let min_syncs = if start < length {
                // Three in a row at this distance do not occur in text. A file of one or two packets contains no frame.
                max_syncs.min((head.len() - start).div_ceil(length)).max(3)
            } else {
                max_syncs
            };
            if sync_run.count() >= min_syncs {
                return Some(PacketLayout { start, length });
            }
        }
    }
    None
}

fn big_endian(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let slice = bytes.get(at..at + length)?;
    Some(slice.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(head: &[u8], expected: Result<Container, Code>) {
        assert_eq!(sniff(head, head.len() as u64), expected, "{}", head.escape_ascii());
    }

    fn stream(size: usize, lead: usize) -> Vec<u8> {
        let mut bytes = vec![0_u8; lead + size * 12];
        for start in (lead..bytes.len()).step_by(size) {
            bytes[start] = SYNC_BYTE;
        }
        bytes
    }

    #[test]
    fn small_unindexed_sources_use_a_single_pass() {
        const MIB: u64 = 1024 * 1024;
        for (container, size_mib, expected) in [
            (Container::Mpegts, 80, StoryboardStrategy::SinglePass),
            (Container::Mpegts, 2000, StoryboardStrategy::Seeks),
            (Container::Mpeg, 256, StoryboardStrategy::SinglePass),
            (Container::Asf, 257, StoryboardStrategy::Seeks),
            (Container::Mpegvideo, 2000, StoryboardStrategy::SinglePass),
            (Container::Avi, 64, StoryboardStrategy::SinglePass),
            (Container::Avi, 65, StoryboardStrategy::ProbedSeeks),
            (Container::Flv, 2000, StoryboardStrategy::ProbedSeeks),
            (Container::Mxf, 10, StoryboardStrategy::Seeks),
            // Damaged files that are not read by their index have one nevertheless.
            (Container::Mov, 10, StoryboardStrategy::Seeks),
            (Container::Matroska, 10, StoryboardStrategy::Seeks),
        ] {
            assert_eq!(
                container.storyboard_strategy(size_mib * MIB),
                expected,
                "{container:?} of {size_mib} MiB"
            );
        }
    }

    #[test]
    fn last_attempt_to_seek_reads_from_the_beginning() {
        for container in Container::ALL {
            let pre_rolls_ms = container.pre_rolls_ms();
            assert!(pre_rolls_ms.is_sorted_by(|one, next| one < next), "{container:?}: {pre_rolls_ms:?}");
            assert_eq!(pre_rolls_ms.last(), Some(&u64::MAX), "{container:?}");
        }
    }

    #[test]
    fn checks_only_unreliable_durations() {
        let reported = |duration_ms, start_ms, frames| MediaInfo {
            duration_ms,
            start_ms,
            frame_count: frames,
            fps: 25.0,
            ..MediaInfo::default()
        };
        for (container, info, expected) in [
            (Container::Mpegts, reported(60_000, 3_600_000, 0), DurationCheck::None),
            (Container::Mpegts, reported(0, 0, 0), DurationCheck::CountPackets),
            (Container::Mpeg, reported(60_000, 540, 0), DurationCheck::None),
            (Container::Mpegvideo, reported(1064, 0, 0), DurationCheck::CountPackets),
            (Container::Avi, reported(60_000, 0, 1500), DurationCheck::None),
            (Container::Avi, reported(36_000, 0, 1500), DurationCheck::CountPackets),
            (Container::Avi, reported(46_458_440, 0, 1 << 30), DurationCheck::CountPackets),
            (Container::Avi, reported(42_949_672_960, 0, 1 << 30), DurationCheck::CountPackets),
            (Container::Avi, reported(0, 0, 0), DurationCheck::CountPackets),
            (Container::Asf, reported(60_000, 0, 0), DurationCheck::None),
            (Container::Asf, reported(0, 0, 0), DurationCheck::LastPackets),
            (Container::Asf, reported(3_660_000, 3_600_000, 0), DurationCheck::LastPackets),
            (Container::Flv, reported(60_000, 0, 0), DurationCheck::LastTag),
            (Container::Ogg, reported(60_000, 0, 0), DurationCheck::None),
            (Container::Mxf, reported(0, 0, 0), DurationCheck::None),
        ] {
            assert_eq!(container.duration_check(&info), expected, "{container:?} {info:?}");
        }
    }

    /// The media types of a container's files. All that an upload can declare are among them.
    fn mime_types(container: Container) -> &'static [&'static str] {
        match container {
            Container::Mov => &["video/3gpp", "video/3gpp2", "video/mp4", "video/quicktime", "video/x-m4v"],
            Container::Matroska => &["video/matroska", "video/webm", "video/x-matroska"],
            Container::Avi => &["video/avi", "video/divx", "video/msvideo", "video/x-msvideo"],
            Container::Flv => &["video/x-flv"],
            Container::Mpegts => &["video/mp2t", "video/vnd.dlna.mpeg-tts"],
            Container::Mpeg | Container::Mpegvideo => &["video/mpeg"],
            Container::Ogg => &["application/ogg", "video/ogg"],
            Container::Asf => &["application/vnd.ms-asf", "video/x-ms-asf", "video/x-ms-wmv"],
            Container::Mxf => &["application/mxf"],
            Container::Gif => &["image/gif"],
        }
    }

    #[test]
    fn every_container_can_be_uploaded() {
        let mut types: Vec<_> = Container::ALL.into_iter().flat_map(mime_types).copied().collect();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types, limits::UPLOAD_TYPES);
    }

    #[test]
    fn finds_packets_after_other_bytes() {
        for (length, start) in [(188, 0), (192, 4), (204, 0), (188, 1083), (192, 5000), (204, 40_000)] {
            let found = find_packets(&stream(length, start));
            assert_eq!(found, Some(PacketLayout { start, length }), "{length} {start}");
        }
        // A few of them may occur by chance.
        let few = &stream(188, 1083)[..1083 + 188 * 9];
        assert_eq!(find_packets(few), None);
    }

    #[test]
    fn detects_every_container() {
        check(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", Ok(Container::Mov));
        check(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", Ok(Container::Mov));
        check(b"\0\0\0\x08wide\0\0\0\x10mdat12345678", Ok(Container::Mov));
        check(b"\0\0\0\x01mdat\0\0\0\0\x00\xff\0\0", Ok(Container::Mov));
        check(b"\0\0\0\x00mdat12345678", Ok(Container::Mov));
        for before in LEADING_BOXES {
            let first = [&b"\0\0\0\x18"[..], before, &[7; 16]].concat();
            let large = [&b"\0\0\0\x01"[..], before, b"\0\0\0\0\0\0\0\x18", &[7; 8]].concat();
            check(&[&first[..], b"\0\0\0\x10ftypisom\0\0\0\0"].concat(), Ok(Container::Mov));
            check(&[&first[..], &large, b"\0\0\0\x08free", b"\0\0\0\x10moov"].concat(), Ok(Container::Mov));
            // The box after a long one is beyond `head`.
            let long = [&b"\0\0\x20\0"[..], before, &[7; 4088]].concat();
            assert_eq!(sniff(&long, 1 << 20), Ok(Container::Mov));
            assert_eq!(sniff(&long, 8192), Err(Code::NotAVideo), "the file ends after the box");
            check(&[&first[..], b"\x89PNG\r\n\x1a\n"].concat(), Err(Code::NotAVideo));
            check(&[&b"\xff\0\0\x18"[..], before, &[7; 16]].concat(), Err(Code::NotAVideo));
        }
        check(b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x84webm", Ok(Container::Matroska));
        check(b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska", Ok(Container::Matroska));
        check(b"RIFF\0\0\0\0AVI LIST", Ok(Container::Avi));
        check(b"FLV\x01\x05\0\0\0\x09\0\0\0\0", Ok(Container::Flv));
        check(b"OggS\0\x02\0\0", Ok(Container::Ogg));
        check(&ASF_HEADER, Ok(Container::Asf));
        check(b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02\x04\0", Ok(Container::Mxf));
        check(b"GIF89a\x01\0\x01\0\0\0\0", Ok(Container::Gif));
        check(b"\0\0\x01\xba\x44\0\x04\0\x04\x01\0\x01\x89\xf8\0\0\x01\xbb", Ok(Container::Mpeg));
        check(b"\0\0\x01\xba\x21\0\x01\0\x01\x80\0\x01\0\0\x01\xbb", Ok(Container::Mpeg));
        let recorder =
            [&b"IMKH"[..], &[0; 36], b"\0\0\x01\xba\x44\0\x04\0\x04\x01\0\x01\x89\xf8\0\0\x01\xbb"];
        check(&recorder.concat(), Ok(Container::Mpeg));
        check(b"\0\0\x01\xb3\x14\0\xf0\x14\0\xc8\x20\xa0", Ok(Container::Mpegvideo));
        check(&stream(188, 0), Ok(Container::Mpegts));
        check(&stream(192, 4), Ok(Container::Mpegts));
        check(&stream(188, 90), Ok(Container::Mpegts));
        check(&stream(204, 0), Ok(Container::Mpegts));
        check(&stream(188, 1083), Ok(Container::Mpegts));
    }

    /// The first bytes of a file in this container.
    fn example(container: Container) -> Vec<u8> {
        match container {
            Container::Mov => b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec(),
            Container::Matroska => b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska".to_vec(),
            Container::Avi => b"RIFF\0\0\0\0AVI LIST".to_vec(),
            Container::Flv => b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec(),
            Container::Mpegts => stream(188, 0),
            Container::Mpeg => b"\0\0\x01\xba\x44\0\x04\0\x04\x01\0\x01\x89\xf8\0\0\x01\xbb".to_vec(),
            Container::Mpegvideo => b"\0\0\x01\xb3\x14\0\xf0\x14\0\xc8\x20\xa0".to_vec(),
            Container::Ogg => b"OggS\0\x02\0\0".to_vec(),
            Container::Asf => ASF_HEADER.to_vec(),
            Container::Mxf => b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02\x04\0".to_vec(),
            Container::Gif => b"GIF89a\x01\0\x01\0\0\0\0".to_vec(),
        }
    }

    #[test]
    fn no_container_is_left_out_of_detection() {
        for container in Container::ALL {
            check(&example(container), Ok(container));
        }
    }

    #[test]
    fn layer_has_every_demuxer_and_decoder() {
        let flags = include_str!("../../../layer/flags.txt");
        let names = |kind: &str| -> Vec<&str> {
            let line = |line: &'static str| line.strip_prefix(kind)?.strip_prefix(' ')?.split(' ').next();
            // `name=listed`: the second name is that of the binary's own list.
            flags.lines().filter_map(line).flat_map(|name| name.split(['=', ','])).collect()
        };
        let demuxers = names("demuxer");
        for container in Container::ALL {
            assert!(demuxers.contains(&container.ffmpeg_name()), "{container:?} in {demuxers:?}");
        }
        // AV1 has one of three decoders.
        let others = ["libaom-av1", "av1"];
        let decoders = names("decoder");
        for decoder in crate::codec::DECODERS.iter().filter(|decoder| !others.contains(decoder)) {
            assert!(decoders.contains(decoder), "{decoder} in {decoders:?}");
        }
    }

    #[test]
    fn f1_f2_f3_rejects_other_formats() {
        check(b"", Err(Code::Empty));
        check(b".RMF\0\0\0\x12", Err(Code::UnsupportedCodec));
        for other in [
            b"x".as_slice(),
            b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\nhttp://169.254.169.254/\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"<!DOCTYPE html><script>alert(1)</script>",
            b"<?xml version=\"1.0\"?><MPD/>",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
            b"YUV4MPEG2 W32767 H32767 F25:1\nFRAME\n",
            b"PK\x03\x04\x14\0\0\0",
            b"\0\0\0\x01\x67\x42\0\x1e",
            b"\0\0\x01\xb3\x16\0\xf0\x14\0\xc8\0\0",
            b"ID3\x04\0\0\0\0\0\0",
            b"\xff\xfb\x90\x64\0",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"RIFF\x24\0\0\0WEBPVP8 ",
            b"fLaC\0\0\0\x22",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            b"%PDF-1.7",
            b"\x7fELF\x02\x01\x01",
            b"IMKH and what else may follow",
            b"FLV\x02\x05\0\0\0\x09",
            b"FLV\x01\xff\0\0\0\x09",
            b"\0\0\0\x02ftypmp42\0\0\0\0",
            b"\xff\xff\xff\xffftypmp42\0\0\0\0",
            b"\0\0\0\x18ftyp",
            b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88nothing!",
            b"GIF89a",
            b"GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG",
        ] {
            check(other, Err(Code::NotAVideo));
        }
    }

    proptest! {
        #[test]
        fn never_panics(head: Vec<u8>, total: u64) {
            let _ = sniff(&head, total);
        }

        #[test]
        fn never_panics_after_magic(
            magic in prop::sample::select(vec![
                b"\0\0\0\x01mdat".to_vec(), b"\0\0\x01\xba".to_vec(), b"RIFF".to_vec(), b"FLV\x01".to_vec(),
                b"GIF89a".to_vec(), b"\x1a\x45\xdf\xa3".to_vec(), b"\x47".to_vec(),
            ]),
            tail in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = sniff(&[magic, tail].concat(), 1 << 20);
        }

        #[test]
        fn rejects_any_text(text in "[ -~\n\t]{1,2000}") {
            // A row of `G` at the distance of transport packets would match, but does not occur in text by chance.
            prop_assert!(sniff(text.as_bytes(), text.len() as u64).is_err());
        }
    }
}
