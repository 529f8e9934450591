//! Decides which track is shown, out of the body of `Tracks`, and what is known of it. RFC 9559, 5.1.4.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::buffer::Fault;
use crate::demux::demuxer::DolbyVision;
use crate::demux::matroska::codec::{self, Codec};
use crate::demux::matroska::ebml::{children, text, uint};
use crate::demux::matroska::ids;
use crate::demux::matroska::video::{self, Video};

/// `TrackType` of pictures and of sound.
const VIDEO: u64 = 1;
const AUDIO: u64 = 2;
/// The longest codec configuration that is carried into a digest.
const MAX_PRIVATE: usize = 1 << 20;
/// The longest prefix that header stripping is believed to take from each frame.
const MAX_PREFIX: usize = 4096;

/// The track that is shown.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// The number that its blocks carry.
    pub(super) number: u64,
    /// How its samples are coded.
    pub(super) codec: Codec,
    /// The codec's configuration, as the file gives it.
    pub(super) private: Bytes,
    /// Nanoseconds a frame, 0 if the file does not say.
    pub(super) default_duration: u64,
    /// Size, shape and colours.
    pub(super) video: Video,
    /// What was stripped from the head of each frame.
    pub(super) prefix: Bytes,
    /// Whether there is sound beside it.
    pub(super) has_audio: bool,
    /// Its Dolby Vision configuration, if there is one.
    pub(super) dolby_vision: Option<DolbyVision>,
}

#[derive(Debug, Default)]
struct Entry {
    number: u64,
    kind: u64,
    is_disabled: bool,
    is_no_default: bool,
    codec_id: Vec<u8>,
    private: Bytes,
    default_duration: u64,
    video: Video,
    encodings: Vec<Encoding>,
    dolby_vision: Option<DolbyVision>,
}

#[derive(Debug)]
struct Encoding {
    scope: u64,
    is_encryption: bool,
    algorithm: u64,
    settings: Bytes,
}

/// Chooses the picture track that players show, as `probe::read` does: one whose codec is known, which is enabled, which is
/// flagged as default, and no cover beside a film; of equal ones the first. `FlagForced` is about subtitles (RFC 9559,
/// 5.1.4.1.6).
///
/// # Errors
/// Why the file is refused, or left to the relay.
pub(super) fn choose(tracks: &Bytes) -> Result<Chosen, Fault> {
    let mut entries = Vec::new();
    for (_, body) in children(tracks).filter(|(id, _)| *id == ids::TRACK_ENTRY) {
        if entries.len() >= limits::MAX_STREAMS {
            return Err(Fault::Refused(Code::TooManyStreams));
        }
        entries.push(entry(tracks, body)?);
    }
    let has_audio = entries.iter().any(|entry| entry.kind == AUDIO);
    let rank = |entry: &&Entry| {
        let codec = Codec::of(&entry.codec_id);
        (codec == Codec::Unknown, entry.is_disabled, entry.is_no_default, codec == Codec::Mjpeg)
    };
    let shown = entries
        .iter()
        .filter(|entry| entry.kind == VIDEO)
        .min_by_key(rank)
        .ok_or(Fault::Refused(Code::NoVideoStream))?;

    if shown.encodings.iter().any(|encoding| encoding.is_encryption) {
        return Err(Fault::Refused(Code::Encrypted));
    }
    let codec = match Codec::of(&shown.codec_id) {
        Codec::Unknown => return Err(Fault::Refused(Code::UnsupportedCodec)),
        Codec::Foreign => return Err(Fault::Foreign("a codec that is not rebuilt as MP4")),
        codec => codec,
    };
    check_size(&shown.video)?;
    if shown.private.len() > MAX_PRIVATE {
        return Err(Fault::Foreign("a codec configuration of absurd size"));
    }
    let (prefix, private) = decoded(shown)?;
    Ok(Chosen {
        number: shown.number,
        codec,
        private,
        default_duration: shown.default_duration,
        video: shown.video.clone(),
        prefix,
        has_audio,
        dolby_vision: shown.dolby_vision,
    })
}

/// The codec of the first track of pictures, as its `CodecID` names it.
pub(super) fn codec_name(tracks: &Bytes) -> Option<String> {
    let bodies = children(tracks).filter(|(id, _)| *id == ids::TRACK_ENTRY).take(limits::MAX_STREAMS);
    let first = bodies.filter_map(|(_, body)| entry(tracks, body).ok()).find(|entry| entry.kind == VIDEO)?;
    codec::name(&first.codec_id)
}

fn check_size(video: &Video) -> Result<(), Fault> {
    let (width, height) = (video.width, video.height);
    if width > u64::from(limits::MAX_DIMENSION)
        || height > u64::from(limits::MAX_DIMENSION)
        || width * height > limits::MAX_PIXELS
    {
        return Err(Fault::Refused(Code::TooManyPixels));
    }
    if width == 0 || height == 0 {
        return Err(Fault::Foreign("a size that only the stream tells"));
    }
    Ok(())
}

/// The frames' prefix and the configuration, with header stripping undone (RFC 9559, 5.1.4.1.31).
fn decoded(entry: &Entry) -> Result<(Bytes, Bytes), Fault> {
    const FRAMES: u64 = 1;
    const PRIVATE: u64 = 2;
    const HEADER_STRIPPING: u64 = 3;
    match entry.encodings.as_slice() {
        [] => Ok((Bytes::new(), entry.private.clone())),
        [only] if only.algorithm == HEADER_STRIPPING && only.settings.len() <= MAX_PREFIX => {
            let prefix = if only.scope & FRAMES != 0 { only.settings.clone() } else { Bytes::new() };
            let private = if only.scope & PRIVATE != 0 {
                [&only.settings[..], &entry.private].concat().into()
            } else {
                entry.private.clone()
            };
            Ok((prefix, private))
        }
        _ => Err(Fault::Foreign("compressed frames")),
    }
}

fn entry(tracks: &Bytes, body: &[u8]) -> Result<Entry, Fault> {
    let mut entry = Entry::default();
    for (id, body) in children(body) {
        match id {
            ids::TRACK_NUMBER => entry.number = uint(body),
            ids::TRACK_TYPE => entry.kind = uint(body),
            ids::FLAG_ENABLED => entry.is_disabled = !body.is_empty() && uint(body) == 0,
            ids::FLAG_DEFAULT => entry.is_no_default = !body.is_empty() && uint(body) == 0,
            ids::CODEC_ID => entry.codec_id = text(body).to_vec(),
            ids::CODEC_PRIVATE => entry.private = tracks.slice_ref(body),
            ids::DEFAULT_DURATION => entry.default_duration = uint(body),
            ids::VIDEO => entry.video = video::read(body),
            ids::BLOCK_ADDITION_MAPPING => entry.dolby_vision = entry.dolby_vision.or(dolby_vision(body)),
            ids::CONTENT_ENCODINGS => {
                for (_, body) in children(body).filter(|(id, _)| *id == ids::CONTENT_ENCODING) {
                    if entry.encodings.len() >= 8 {
                        return Err(Fault::Foreign("frames encoded over and over"));
                    }
                    entry.encodings.push(encoding(tracks, body));
                }
            }
            _ => {}
        }
    }
    Ok(entry)
}

/// The configuration of Dolby Vision in the body of a `BlockAdditionMapping`: its type is the four letters of the box in
/// MP4 (Matroska, "Block Addition Mapping", 4.1 to 4.3).
fn dolby_vision(body: &[u8]) -> Option<DolbyVision> {
    let of = |wanted| children(body).find(|(id, _)| *id == wanted).map(|(_, body)| body);
    let kind = u32::try_from(uint(of(ids::BLOCK_ADD_ID_TYPE)?)).ok()?.to_be_bytes();
    let is_dolby_vision = [*b"dvcC", *b"dvvC", *b"dvwC"].contains(&kind);
    of(ids::BLOCK_ADD_ID_EXTRA_DATA).filter(|_| is_dolby_vision).and_then(DolbyVision::read)
}

fn encoding(tracks: &Bytes, body: &[u8]) -> Encoding {
    let mut encoding = Encoding { scope: 1, is_encryption: false, algorithm: 0, settings: Bytes::new() };
    for (id, body) in children(body) {
        match id {
            ids::ENCODING_SCOPE => encoding.scope = uint(body),
            ids::ENCODING_TYPE => encoding.is_encryption |= uint(body) == 1,
            ids::ENCRYPTION => encoding.is_encryption = true,
            ids::COMPRESSION => {
                for (id, body) in children(body) {
                    match id {
                        ids::COMPRESSION_ALGORITHM => encoding.algorithm = uint(body),
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

    fn chosen(tracks: &[Vec<u8>]) -> Result<Chosen, Fault> {
        choose(&tracks.concat().into())
    }

    fn encoded(parts: &[Vec<u8>]) -> Vec<u8> {
        element(ids::CONTENT_ENCODINGS, &element(ids::CONTENT_ENCODING, &parts.concat()))
    }

    #[test]
    fn refuses_what_cannot_be_shown() {
        let encryption = encoded(&[element(ids::ENCODING_TYPE, &[1])]);
        let zlib = encoded(&[element(ids::COMPRESSION, &element(ids::COMPRESSION_ALGORITHM, &[0]))]);
        let huge = element(
            ids::VIDEO,
            &[element(ids::PIXEL_WIDTH, &[0x20, 1]), element(ids::PIXEL_HEIGHT, &[9])].concat(),
        );
        for (tracks, expected) in [
            (vec![], Fault::Refused(Code::NoVideoStream)),
            (vec![track(2, "A_OPUS", &[])], Fault::Refused(Code::NoVideoStream)),
            (vec![track(1, "V_FFV1", &[])], Fault::Refused(Code::UnsupportedCodec)),
            (vec![track(1, "V_VP8", &encryption)], Fault::Refused(Code::Encrypted)),
            (vec![track(1, "V_VP8", &huge)], Fault::Refused(Code::TooManyPixels)),
            (vec![track(2, "A_OPUS", &[]); 65], Fault::Refused(Code::TooManyStreams)),
            (vec![track(1, "V_VP8", &zlib)], Fault::Foreign("compressed frames")),
            (vec![track(1, "V_THEORA", &[])], Fault::Foreign("a codec that is not rebuilt as MP4")),
        ] {
            assert_eq!(chosen(&tracks).map(|_| ()), Err(expected));
        }
    }

    #[test]
    fn the_track_that_players_show_is_chosen() {
        let off = element(ids::FLAG_ENABLED, &[0]);
        let no_default = element(ids::FLAG_DEFAULT, &[0]);
        let numbered = |number: u8, codec: &str, more: &[u8]| {
            track(1, codec, &[&element(ids::TRACK_NUMBER, &[number])[..], more].concat())
        };
        let film = |number| numbered(number, "V_VP9", &[]);
        for (name, tracks, expected) in [
            ("the first", vec![film(1), film(2)], 1),
            ("the default", vec![numbered(1, "V_VP8", &no_default), film(2)], 2),
            ("the default behind a cover", vec![numbered(1, "V_MJPEG", &no_default), film(2)], 2),
            ("no cover beside a film", vec![numbered(1, "V_MJPEG", &[]), film(2)], 2),
            (
                "a cover that is the default",
                vec![numbered(1, "V_VP9", &no_default), numbered(2, "V_MJPEG", &[])],
                2,
            ),
            ("what is enabled", vec![numbered(1, "V_VP8", &off), numbered(2, "V_VP8", &no_default)], 2),
            ("what is known", vec![film(1), numbered(2, "V_FFV1", &[])], 1),
            ("what is known and off", vec![numbered(1, "V_FFV1", &[]), numbered(2, "V_VP8", &off)], 2),
            (
                "none is the default",
                vec![numbered(1, "V_VP8", &no_default), numbered(2, "V_VP8", &no_default)],
                1,
            ),
        ] {
            assert_eq!(chosen(&tracks).unwrap().number, expected, "{name}");
        }
    }

    #[test]
    fn dolby_vision_is_read_from_its_mapping() {
        let mapping = |kind: &[u8; 4], record: &[u8]| {
            let parts =
                [element(ids::BLOCK_ADD_ID_TYPE, kind), element(ids::BLOCK_ADD_ID_EXTRA_DATA, record)];
            element(ids::BLOCK_ADDITION_MAPPING, &parts.concat())
        };
        let record = [1, 0, 5 << 1, 0x0d, 0, 0];
        let of = |more: &[u8]| chosen(&[track(1, "V_VP9", more)]).unwrap().dolby_vision;
        let expected = Some(DolbyVision { profile: 5, compatibility: 0 });
        assert_eq!(of(&mapping(b"dvcC", &record)), expected);
        assert_eq!(of(&[mapping(b"hvcE", &record), mapping(b"dvvC", &record)].concat()), expected);
        assert_eq!(of(&mapping(b"hvcE", &record)), None);
        assert_eq!(of(&mapping(b"dvcC", &record[..3])), None);
    }

    #[test]
    fn takes_the_first_enabled_track_that_can_be_decoded() {
        let off = element(ids::FLAG_ENABLED, &[0]);
        let tracks = [
            track(1, "V_FFV1", &[]),
            track(1, "V_MJPEG", &off),
            track(1, "V_VP9", &element(ids::DEFAULT_DURATION, &[1, 0])),
            track(2, "A_OPUS", &[]),
        ];
        let track = chosen(&tracks).unwrap();
        assert_eq!((track.codec, track.has_audio, track.default_duration), (Codec::Vp9, true, 256));
        assert_eq!(chosen(&tracks[..2]).unwrap().codec, Codec::Mjpeg);
        assert!(!chosen(&tracks[..2]).unwrap().has_audio);
    }

    #[test]
    fn undoes_header_stripping_where_its_scope_says() {
        for (scope, expected) in [(1, ("ab", "xy")), (2, ("", "abxy")), (3, ("ab", "abxy"))] {
            let settings =
                [element(ids::COMPRESSION_ALGORITHM, &[3]), element(ids::COMPRESSION_SETTINGS, b"ab")];
            let more = [
                encoded(&[
                    element(ids::ENCODING_SCOPE, &[scope]),
                    element(ids::COMPRESSION, &settings.concat()),
                ]),
                element(ids::CODEC_PRIVATE, b"xy"),
            ];
            let track = chosen(&[track(1, "V_MPEG4/ISO/ASP", &more.concat())]).unwrap();
            assert_eq!(
                (&track.prefix[..], &track.private[..]),
                (expected.0.as_bytes(), expected.1.as_bytes())
            );
        }
    }
}
