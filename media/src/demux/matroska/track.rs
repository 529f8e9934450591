//! Selects the video track from the body of `Tracks` and parses its properties. RFC 9559, 5.1.4.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::demuxer::DolbyVision;
use crate::demux::error::ReadError;
use crate::demux::matroska::audio::{self, AacTrack, AudioElement};
use crate::demux::matroska::codec::{self, Codec};
use crate::demux::matroska::ebml::{children, parse_string, parse_uint};
use crate::demux::matroska::ids;
use crate::demux::matroska::video::{self, VideoElement};

/// `TrackType` of video and of audio.
const VIDEO: u64 = 1;
const AUDIO: u64 = 2;
/// The longest codec configuration that is copied to an excerpt.
const MAX_PRIVATE: usize = 1 << 20;
/// The longest prefix of each frame that header stripping may remove.
const MAX_PREFIX: usize = 4096;

/// The selected video track.
#[derive(Debug, Clone)]
pub(super) struct SelectedTrack {
    /// The track number in its blocks.
    pub(super) number: u64,
    /// The codec of its samples.
    pub(super) codec: Codec,
    /// The codec's configuration, as stored in the file.
    pub(super) codec_private: Bytes,
    /// Nanoseconds per frame; 0 if unspecified.
    pub(super) default_duration: u64,
    /// Size, aspect ratio and color.
    pub(super) video: VideoElement,
    /// The bytes that were stripped from the beginning of each frame.
    pub(super) prefix: Bytes,
    /// Whether there is also audio.
    pub(super) has_audio: bool,
    /// Its Dolby Vision configuration, if there is one.
    pub(super) dolby_vision: Option<DolbyVision>,
    /// The AAC track that is played with it, if there is one.
    pub(super) aac: Option<AacTrack>,
}

#[derive(Debug, Default)]
struct TrackEntry {
    number: u64,
    kind: u64,
    is_disabled: bool,
    is_not_default: bool,
    codec_id: Vec<u8>,
    codec_private: Bytes,
    default_duration: u64,
    video: VideoElement,
    audio: AudioElement,
    codec_delay: u64,
    encodings: Vec<ContentEncoding>,
    dolby_vision: Option<DolbyVision>,
}

#[derive(Debug)]
struct ContentEncoding {
    scope: u64,
    is_encryption: bool,
    algorithm: u64,
    settings: Bytes,
}

/// Selects the video track that players show, like `probe::read`: with a known codec, enabled, with the default flag,
/// and not a cover image beside a video; the first of equal ones. `FlagForced` applies to subtitles (RFC 9559,
/// 5.1.4.1.6).
///
/// # Errors
/// The reason why the file is rejected, or left to ffmpeg.
pub(super) fn select(tracks: &Bytes) -> Result<SelectedTrack, ReadError> {
    let mut entries = Vec::new();
    for (_, body) in children(tracks).filter(|(id, _)| *id == ids::TRACK_ENTRY) {
        if entries.len() >= limits::MAX_STREAMS {
            return Err(ReadError::Rejected(Code::TooManyStreams));
        }
        entries.push(parse_entry(tracks, body)?);
    }
    let has_audio = entries.iter().any(|entry| entry.kind == AUDIO);
    let rank = |entry: &&TrackEntry| {
        let codec = Codec::from_codec_id(&entry.codec_id);
        (codec == Codec::Unknown, entry.is_disabled, entry.is_not_default, codec == Codec::Mjpeg)
    };
    let selected = entries
        .iter()
        .filter(|entry| entry.kind == VIDEO)
        .min_by_key(rank)
        .ok_or(ReadError::Rejected(Code::NoVideoStream))?;

    if selected.encodings.iter().any(|encoding| encoding.is_encryption) {
        return Err(ReadError::Rejected(Code::Encrypted));
    }
    let codec = match Codec::from_codec_id(&selected.codec_id) {
        Codec::Unknown => return Err(ReadError::Rejected(Code::UnsupportedCodec)),
        Codec::FfmpegOnly => return Err(ReadError::Unsupported("codec cannot be remuxed to MP4")),
        codec => codec,
    };
    check_size(&selected.video)?;
    if selected.codec_private.len() > MAX_PRIVATE {
        return Err(ReadError::Unsupported("implausible size of the codec configuration"));
    }
    let (prefix, codec_private) = undo_header_stripping(selected)?;
    Ok(SelectedTrack {
        number: selected.number,
        codec,
        codec_private,
        default_duration: selected.default_duration,
        video: selected.video.clone(),
        prefix,
        has_audio,
        dolby_vision: selected.dolby_vision,
        aac: select_aac(&entries),
    })
}

/// Selects the AAC track that players play: enabled, and with the default flag; the first of equal ones.
fn select_aac(entries: &[TrackEntry]) -> Option<AacTrack> {
    let audio = entries.iter().filter(|entry| entry.kind == AUDIO && entry.encodings.is_empty());
    let tracks = audio.filter_map(|entry| {
        let aac = AacTrack::new(
            (entry.number, &entry.codec_id),
            &entry.codec_private,
            &entry.audio,
            (entry.default_duration, entry.codec_delay),
        )?;
        Some((entry, aac))
    });
    tracks.min_by_key(|(entry, _)| (entry.is_disabled, entry.is_not_default)).map(|(_, aac)| aac)
}

/// The codec of the first video track, by its `CodecID`.
pub(super) fn codec_name(tracks: &Bytes) -> Option<String> {
    let bodies = children(tracks).filter(|(id, _)| *id == ids::TRACK_ENTRY).take(limits::MAX_STREAMS);
    let first =
        bodies.filter_map(|(_, body)| parse_entry(tracks, body).ok()).find(|entry| entry.kind == VIDEO)?;
    codec::display_name(&first.codec_id)
}

fn check_size(video: &VideoElement) -> Result<(), ReadError> {
    let (width, height) = (video.width, video.height);
    if width > u64::from(limits::MAX_DIMENSION)
        || height > u64::from(limits::MAX_DIMENSION)
        || width * height > limits::MAX_PIXELS
    {
        return Err(ReadError::Rejected(Code::TooManyPixels));
    }
    if width == 0 || height == 0 {
        return Err(ReadError::Unsupported("no frame size in the container"));
    }
    Ok(())
}

/// The frames' prefix and the configuration, with header stripping undone (RFC 9559, 5.1.4.1.31).
fn undo_header_stripping(entry: &TrackEntry) -> Result<(Bytes, Bytes), ReadError> {
    const FRAMES: u64 = 1;
    const PRIVATE: u64 = 2;
    const HEADER_STRIPPING: u64 = 3;
    match entry.encodings.as_slice() {
        [] => Ok((Bytes::new(), entry.codec_private.clone())),
        [only] if only.algorithm == HEADER_STRIPPING && only.settings.len() <= MAX_PREFIX => {
            let prefix = if only.scope & FRAMES != 0 { only.settings.clone() } else { Bytes::new() };
            let codec_private = if only.scope & PRIVATE != 0 {
                [&only.settings[..], &entry.codec_private].concat().into()
            } else {
                entry.codec_private.clone()
            };
            Ok((prefix, codec_private))
        }
        _ => Err(ReadError::Unsupported("compressed frames")),
    }
}

fn parse_entry(tracks: &Bytes, body: &[u8]) -> Result<TrackEntry, ReadError> {
    let mut entry = TrackEntry::default();
    for (id, body) in children(body) {
        match id {
            ids::TRACK_NUMBER => entry.number = parse_uint(body),
            ids::TRACK_TYPE => entry.kind = parse_uint(body),
            ids::FLAG_ENABLED => entry.is_disabled = !body.is_empty() && parse_uint(body) == 0,
            ids::FLAG_DEFAULT => entry.is_not_default = !body.is_empty() && parse_uint(body) == 0,
            ids::CODEC_ID => entry.codec_id = parse_string(body).to_vec(),
            ids::CODEC_PRIVATE => entry.codec_private = tracks.slice_ref(body),
            ids::DEFAULT_DURATION => entry.default_duration = parse_uint(body),
            ids::VIDEO => entry.video = video::parse(body),
            ids::AUDIO => entry.audio = audio::parse(body),
            ids::CODEC_DELAY => entry.codec_delay = parse_uint(body),
            ids::BLOCK_ADDITION_MAPPING => {
                entry.dolby_vision = entry.dolby_vision.or(parse_dolby_vision(body));
            }
            ids::CONTENT_ENCODINGS => {
                for (_, body) in children(body).filter(|(id, _)| *id == ids::CONTENT_ENCODING) {
                    if entry.encodings.len() >= 8 {
                        return Err(ReadError::Unsupported("too many content encodings"));
                    }
                    entry.encodings.push(parse_encoding(tracks, body));
                }
            }
            _ => {}
        }
    }
    Ok(entry)
}

/// The Dolby Vision configuration in the body of a `BlockAdditionMapping`. Its type is the four-character code of the
/// box in MP4 (Matroska, "Block Addition Mapping", 4.1 to 4.3).
fn parse_dolby_vision(body: &[u8]) -> Option<DolbyVision> {
    let child_body = |wanted| children(body).find(|(id, _)| *id == wanted).map(|(_, body)| body);
    let kind = u32::try_from(parse_uint(child_body(ids::BLOCK_ADD_ID_TYPE)?)).ok()?.to_be_bytes();
    let is_dolby_vision = [*b"dvcC", *b"dvvC", *b"dvwC"].contains(&kind);
    child_body(ids::BLOCK_ADD_ID_EXTRA_DATA).filter(|_| is_dolby_vision).and_then(DolbyVision::parse)
}

fn parse_encoding(tracks: &Bytes, body: &[u8]) -> ContentEncoding {
    let mut encoding =
        ContentEncoding { scope: 1, is_encryption: false, algorithm: 0, settings: Bytes::new() };
    for (id, body) in children(body) {
        match id {
            ids::ENCODING_SCOPE => encoding.scope = parse_uint(body),
            ids::ENCODING_TYPE => encoding.is_encryption |= parse_uint(body) == 1,
            ids::ENCRYPTION => encoding.is_encryption = true,
            ids::COMPRESSION => {
                for (id, body) in children(body) {
                    match id {
                        ids::COMPRESSION_ALGORITHM => encoding.algorithm = parse_uint(body),
                        ids::COMPRESSION_SETTINGS => encoding.settings = tracks.slice_ref(body),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    encoding
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element with a size of one or two bytes.
    fn element(id: u32, body: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        [&id[..], &(0x4000 | body.len() as u16).to_be_bytes(), body].concat()
    }

    fn track(kind: u8, codec: &str, more: &[u8]) -> Vec<u8> {
        let video = [element(ids::PIXEL_WIDTH, &[64]), element(ids::PIXEL_HEIGHT, &[36])].concat();
        let number = element(ids::TRACK_NUMBER, &[kind + 1]);
        let parts = [number, element(ids::TRACK_TYPE, &[kind]), element(ids::CODEC_ID, codec.as_bytes())];
        element(ids::TRACK_ENTRY, &[parts.concat(), element(ids::VIDEO, &video), more.to_vec()].concat())
    }

    fn select_from(tracks: &[Vec<u8>]) -> Result<SelectedTrack, ReadError> {
        select(&tracks.concat().into())
    }

    fn content_encodings(parts: &[Vec<u8>]) -> Vec<u8> {
        element(ids::CONTENT_ENCODINGS, &element(ids::CONTENT_ENCODING, &parts.concat()))
    }

    #[test]
    fn rejects_unsupported_tracks() {
        let encryption = content_encodings(&[element(ids::ENCODING_TYPE, &[1])]);
        let zlib =
            content_encodings(&[element(ids::COMPRESSION, &element(ids::COMPRESSION_ALGORITHM, &[0]))]);
        let huge = element(
            ids::VIDEO,
            &[element(ids::PIXEL_WIDTH, &[0x20, 1]), element(ids::PIXEL_HEIGHT, &[9])].concat(),
        );
        for (tracks, expected) in [
            (vec![], ReadError::Rejected(Code::NoVideoStream)),
            (vec![track(2, "A_OPUS", &[])], ReadError::Rejected(Code::NoVideoStream)),
            (vec![track(1, "V_FFV1", &[])], ReadError::Rejected(Code::UnsupportedCodec)),
            (vec![track(1, "V_VP8", &encryption)], ReadError::Rejected(Code::Encrypted)),
            (vec![track(1, "V_VP8", &huge)], ReadError::Rejected(Code::TooManyPixels)),
            (vec![track(2, "A_OPUS", &[]); 65], ReadError::Rejected(Code::TooManyStreams)),
            (vec![track(1, "V_VP8", &zlib)], ReadError::Unsupported("compressed frames")),
            (vec![track(1, "V_THEORA", &[])], ReadError::Unsupported("codec cannot be remuxed to MP4")),
        ] {
            assert_eq!(select_from(&tracks).map(|_| ()), Err(expected));
        }
    }

    #[test]
    fn selects_track_that_players_show() {
        let off = element(ids::FLAG_ENABLED, &[0]);
        let no_default = element(ids::FLAG_DEFAULT, &[0]);
        let numbered = |number: u8, codec: &str, more: &[u8]| {
            track(1, codec, &[&element(ids::TRACK_NUMBER, &[number])[..], more].concat())
        };
        let film = |number| numbered(number, "V_VP9", &[]);
        for (name, tracks, expected) in [
            ("the first", vec![film(1), film(2)], 1),
            ("the default", vec![numbered(1, "V_VP8", &no_default), film(2)], 2),
            ("the default after a cover", vec![numbered(1, "V_MJPEG", &no_default), film(2)], 2),
            ("no cover image beside a video", vec![numbered(1, "V_MJPEG", &[]), film(2)], 2),
            (
                "a cover that is the default",
                vec![numbered(1, "V_VP9", &no_default), numbered(2, "V_MJPEG", &[])],
                2,
            ),
            ("the enabled one", vec![numbered(1, "V_VP8", &off), numbered(2, "V_VP8", &no_default)], 2),
            ("the known codec", vec![film(1), numbered(2, "V_FFV1", &[])], 1),
            ("known but disabled", vec![numbered(1, "V_FFV1", &[]), numbered(2, "V_VP8", &off)], 2),
            (
                "none is the default",
                vec![numbered(1, "V_VP8", &no_default), numbered(2, "V_VP8", &no_default)],
                1,
            ),
        ] {
            assert_eq!(select_from(&tracks).unwrap().number, expected, "{name}");
        }
    }

    #[test]
    fn parses_dolby_vision_mapping() {
        let mapping = |kind: &[u8; 4], record: &[u8]| {
            let parts =
                [element(ids::BLOCK_ADD_ID_TYPE, kind), element(ids::BLOCK_ADD_ID_EXTRA_DATA, record)];
            element(ids::BLOCK_ADDITION_MAPPING, &parts.concat())
        };
        let record = [1, 0, 5 << 1, 0x0d, 0, 0];
        let parse = |more: &[u8]| select_from(&[track(1, "V_VP9", more)]).unwrap().dolby_vision;
        let expected = Some(DolbyVision { profile: 5, compatibility: 0 });
        assert_eq!(parse(&mapping(b"dvcC", &record)), expected);
        assert_eq!(parse(&[mapping(b"hvcE", &record), mapping(b"dvvC", &record)].concat()), expected);
        assert_eq!(parse(&mapping(b"hvcE", &record)), None);
        assert_eq!(parse(&mapping(b"dvcC", &record[..3])), None);
    }

    #[test]
    fn selects_first_enabled_decodable_track() {
        let off = element(ids::FLAG_ENABLED, &[0]);
        let tracks = [
            track(1, "V_FFV1", &[]),
            track(1, "V_MJPEG", &off),
            track(1, "V_VP9", &element(ids::DEFAULT_DURATION, &[1, 0])),
            track(2, "A_OPUS", &[]),
        ];
        let track = select_from(&tracks).unwrap();
        assert_eq!((track.codec, track.has_audio, track.default_duration), (Codec::Vp9, true, 256));
        assert_eq!(select_from(&tracks[..2]).unwrap().codec, Codec::Mjpeg);
        assert!(!select_from(&tracks[..2]).unwrap().has_audio);
    }

    #[test]
    fn selects_audio_that_players_play() {
        let off = element(ids::FLAG_ENABLED, &[0]);
        let no_default = element(ids::FLAG_DEFAULT, &[0]);
        let numbered = |number: u8, codec: &str, more: &[u8]| {
            let config = element(ids::CODEC_PRIVATE, &[0x12, 0x10]);
            track(2, codec, &[&element(ids::TRACK_NUMBER, &[number]), &config[..], more].concat())
        };
        let zlib =
            content_encodings(&[element(ids::COMPRESSION, &element(ids::COMPRESSION_ALGORITHM, &[0]))]);
        for (name, tracks, expected) in [
            ("none", vec![], None),
            ("the first", vec![numbered(3, "A_AAC", &[]), numbered(4, "A_AAC", &[])], Some(3)),
            ("the default", vec![numbered(3, "A_AAC", &no_default), numbered(4, "A_AAC", &[])], Some(4)),
            ("the enabled one", vec![numbered(3, "A_AAC", &off), numbered(4, "A_AAC", &no_default)], Some(4)),
            ("only AAC", vec![numbered(3, "A_OPUS", &[]), numbered(4, "A_AAC", &no_default)], Some(4)),
            ("not compressed", vec![numbered(3, "A_AAC", &zlib)], None),
        ] {
            let tracks = [vec![track(1, "V_VP9", &[])], tracks].concat();
            assert_eq!(select_from(&tracks).unwrap().aac.map(|aac| aac.number), expected, "{name}");
        }
    }

    #[test]
    fn undoes_header_stripping_by_scope() {
        for (scope, expected) in [(1, ("ab", "xy")), (2, ("", "abxy")), (3, ("ab", "abxy"))] {
            let settings =
                [element(ids::COMPRESSION_ALGORITHM, &[3]), element(ids::COMPRESSION_SETTINGS, b"ab")];
            let more = [
                content_encodings(&[
                    element(ids::ENCODING_SCOPE, &[scope]),
                    element(ids::COMPRESSION, &settings.concat()),
                ]),
                element(ids::CODEC_PRIVATE, b"xy"),
            ];
            let track = select_from(&[track(1, "V_MPEG4/ISO/ASP", &more.concat())]).unwrap();
            assert_eq!(
                (&track.prefix[..], &track.codec_private[..]),
                (expected.0.as_bytes(), expected.1.as_bytes())
            );
        }
    }
}
