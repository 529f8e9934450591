//! Selects the video track of a movie and parses its properties: ISO 14496-12, 8.2 to 8.5.

use glimpse_contract::{Code, limits};

use crate::demux::audio::AudioTrack;
use crate::demux::demuxer::IDENTITY_MATRIX;
use crate::demux::error::ReadError;
use crate::demux::mp4::audio_entry;
use crate::demux::mp4::boxes::{BoxReader, child, children, marked_children};
use crate::demux::mp4::codec;
use crate::demux::mp4::edit_list;
use crate::demux::mp4::sample_entry::{self, SampleEntry, VisualSampleEntry};
use crate::demux::mp4::sample_table;

/// The most sample descriptions of a track that are read.
const MAX_DESCRIPTIONS: usize = 64;

/// The parts of the movie that one track needs.
#[derive(Debug)]
pub(super) struct MovieBox<'a> {
    /// Ticks per second of the movie; not 0.
    pub(super) timescale: u32,
    pub(super) track: TrackBox<'a>,
    /// Track ids and timescales of all tracks.
    pub(super) timescales: Vec<(u32, u32)>,
    /// The index in `sample_entries` for each sample description; `None` if it is not supported.
    pub(super) entry_indices: Vec<Option<u16>>,
    /// At least one.
    pub(super) sample_entries: Vec<VisualSampleEntry>,
    pub(super) matrix: [i32; 9],
    pub(super) has_audio: bool,
    /// The enabled audio tracks.
    pub(super) audio_tracks: Vec<TrackBox<'a>>,
    /// The AAC track that is played with the video: the first enabled one, otherwise the first.
    pub(super) aac_track: Option<AacTrackBox<'a>>,
    /// Duration in ticks of the movie, from its header; 0 if unspecified.
    pub(super) duration: u64,
    /// Delay before the first sample of all tracks, in ticks of the movie; 0 if it is short enough to be a pause rather
    /// than a clock.
    pub(super) start_delay: u64,
    /// The defaults of fragments, if the file can have any.
    pub(super) extends: Option<MovieExtends>,
}

/// The contents of `mvex`: ISO 14496-12, 8.8.1 to 8.8.3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MovieExtends {
    /// The defaults of each track's fragments.
    pub(super) defaults: Vec<TrackExtends>,
    /// Duration of all fragments in ticks of the movie; 0 if unspecified.
    pub(super) fragment_duration: u64,
}

/// The defaults for samples in fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrackExtends {
    pub(super) track_id: u32,
    pub(super) description_index: u32,
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// A track.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of a header")]
pub(super) struct TrackBox<'a> {
    pub(super) id: u32,
    is_enabled: bool,
    /// Whether the track is used in the movie (a QuickTime flag), not only in its poster or preview.
    is_in_movie: bool,
    /// Whether it belongs to another track: its thumbnails, its alpha or depth.
    is_auxiliary: bool,
    is_video: bool,
    is_audio: bool,
    matrix: [i32; 9],
    /// Width and height as 16.16 fixed-point numbers.
    pub(super) display: [u32; 2],
    /// Ticks per second; not 0.
    pub(super) timescale: u32,
    /// Duration in ticks; 0 if unspecified.
    pub(super) duration: u64,
    pub(super) elst: Option<&'a [u8]>,
    pub(super) stbl: &'a [u8],
    /// Tracks with the images of this track's chapters.
    chapters: Vec<u32>,
    /// Whether each data reference refers to the file itself.
    self_contained: Vec<bool>,
}

/// An AAC track.
#[derive(Debug, Clone)]
pub(super) struct AacTrackBox<'a> {
    pub(super) track_box: TrackBox<'a>,
    pub(super) track: AudioTrack,
    /// For each sample description, whether it has the configuration of the track: 0, or `None`.
    pub(super) entry_indices: Vec<Option<u16>>,
}

impl<'a> AacTrackBox<'a> {
    /// Parses the sample descriptions of an audio track; `None` if none of them is AAC.
    fn parse(track_box: &TrackBox<'a>) -> Option<Self> {
        let body = child(track_box.stbl, *b"stsd").and_then(|body| body.get(8..))?;
        let entries: Vec<_> = children(body)
            .take(MAX_DESCRIPTIONS)
            .map(|(kind, body)| audio_entry::parse(kind, body, &track_box.self_contained))
            .collect();
        let first = entries.iter().flatten().next()?;
        Some(Self {
            track_box: track_box.clone(),
            track: AudioTrack { timescale: track_box.timescale, sample_entry: first.to_bytes() },
            entry_indices: entries
                .iter()
                .map(|entry| entry.as_ref().filter(|entry| *entry == first).map(|_| 0))
                .collect(),
        })
    }
}

impl TrackBox<'_> {
    /// Whether its first sample description is motion JPEG.
    fn is_motion_jpeg(&self) -> bool {
        let body = child(self.stbl, *b"stsd").and_then(|body| body.get(8..)).unwrap_or_default();
        let first = children(body).next();
        first.is_some_and(|(kind, _)| codec::from_fourcc(kind) == Some("mjpeg"))
    }
}

/// Parses the body of `moov`. If the file ends within it (`is_truncated`), the missing part may have contained a video
/// track or its sample description.
///
/// # Errors
/// The reason why the file is rejected, or left to ffmpeg.
pub(super) fn parse(moov: &[u8], is_truncated: bool) -> Result<MovieBox<'_>, ReadError> {
    let is_truncated =
        is_truncated || marked_children(moov).any(|(kind, _, is_whole)| kind == *b"trak" && !is_whole);
    let reject = |code| Err(ReadError::Rejected(code));
    if child(moov, *b"cmov").is_some() {
        return Err(ReadError::Unsupported("compressed movie box"));
    }
    let bodies: Vec<_> = children(moov).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body).collect();
    if bodies.len() > limits::MAX_STREAMS {
        return reject(Code::TooManyStreams);
    }
    let (timescale, duration, movie_matrix) =
        child(moov, *b"mvhd").and_then(parse_mvhd).unwrap_or((1, 0, IDENTITY_MATRIX));
    let mut traks: Vec<_> = bodies.into_iter().filter_map(parse_trak).collect();
    let media_tracks = traks.iter().filter(|trak| trak.is_video || trak.is_audio);
    let start_delay = media_tracks.map(|trak| edit_list::empty_edit_ticks(trak.elst)).min().unwrap_or(0);
    let wait = if start_delay / u64::from(timescale) >= edit_list::LATE_SECS { start_delay } else { 0 };
    if duration.saturating_sub(wait) / u64::from(timescale) > limits::MAX_DURATION_MS / 1000 {
        return reject(Code::TooLong);
    }
    let has_audio = traks.iter().any(|trak| trak.is_audio);
    let chapters: Vec<u32> = traks.iter().flat_map(|trak| trak.chapters.clone()).collect();
    let timescales = traks.iter().map(|trak| (trak.id, trak.timescale)).collect();
    let audio_tracks = traks.iter().filter(|trak| trak.is_audio && trak.is_enabled).cloned().collect();
    let aac_tracks = traks.iter().filter(|trak| trak.is_audio).filter_map(AacTrackBox::parse);
    // The first of equal ones is used.
    let aac_track = aac_tracks.min_by_key(|aac| (!aac.track_box.is_enabled, !aac.track_box.is_in_movie));
    traks.retain(|trak| trak.is_video && !chapters.contains(&trak.id));
    let extends = child(moov, *b"mvex").map(parse_mvex);
    // The sort is stable: the first of equal tracks wins. Empty tracks come last, unless fragments fill them; then, in
    // this order of precedence, disabled tracks, auxiliary tracks, and cover images beside a video.
    traks.sort_by_key(|trak| {
        let count = sample_table::sample_count(trak.stbl);
        let is_empty = extends.is_none() && count == 0;
        let is_cover = trak.is_motion_jpeg() || extends.is_none() && count == 1;
        (is_empty, !trak.is_enabled, trak.is_auxiliary, is_cover, !trak.is_in_movie)
    });
    let mut first_error = None;
    for trak in traks {
        let (entry_indices, sample_entries, error) = parse_sample_entries(&trak, is_truncated);
        if sample_entries.is_empty() {
            first_error = first_error.or(Some(error));
            continue;
        }
        for picture in &sample_entries {
            let (width, height) = (u32::from(picture.width), u32::from(picture.height));
            if width.max(height) > limits::MAX_DIMENSION
                || u64::from(width) * u64::from(height) > limits::MAX_PIXELS
            {
                return reject(Code::TooManyPixels);
            }
        }
        let matrix = multiply_matrices(trak.matrix, movie_matrix);
        return Ok(MovieBox {
            timescale,
            track: trak,
            timescales,
            entry_indices,
            sample_entries,
            matrix,
            has_audio,
            audio_tracks,
            aac_track,
            duration,
            start_delay: wait,
            extends,
        });
    }
    reject(first_error.unwrap_or(if is_truncated { Code::Truncated } else { Code::NoVideoStream }))
}

/// The codec of the first video track, from its sample entry.
pub(super) fn codec_name(moov: &[u8]) -> Option<String> {
    let traks = children(moov).filter(|(kind, _)| kind == b"trak").take(limits::MAX_STREAMS);
    let trak = traks.filter_map(|(_, body)| parse_trak(body)).find(|trak| trak.is_video)?;
    let body = child(trak.stbl, *b"stsd").and_then(|body| body.get(8..))?;
    children(body).next().and_then(|(kind, _)| codec::display_name(kind))
}

/// Timescale, duration and matrix of the movie: ISO 14496-12, 8.2.2.
fn parse_mvhd(body: &[u8]) -> Option<(u32, u64, [i32; 9])> {
    let mut fields = BoxReader(body);
    let (timescale, duration) = parse_timescale_and_duration(&mut fields)?;
    fields.take(16)?;
    Some((timescale, duration, parse_matrix(&mut fields).unwrap_or(IDENTITY_MATRIX)))
}

/// Timescale and duration, which both headers contain in the same layout. All ones mean an unknown duration.
fn parse_timescale_and_duration(fields: &mut BoxReader<'_>) -> Option<(u32, u64)> {
    let (version, _) = fields.version_and_flags()?;
    fields.take(if version == 1 { 16 } else { 8 })?;
    let timescale = fields.u32()?.max(1);
    let duration = fields.versioned_uint(version)?;
    let unknown = if version == 1 { u64::MAX } else { u32::MAX.into() };
    Some((timescale, if duration == unknown { 0 } else { duration }))
}

fn parse_matrix(fields: &mut BoxReader<'_>) -> Option<[i32; 9]> {
    let mut matrix = [0; 9];
    for number in &mut matrix {
        *number = fields.i32()?;
    }
    // Some writers leave it empty.
    Some(if matrix.iter().all(|number| *number == 0) { IDENTITY_MATRIX } else { matrix })
}

/// The product of the track's matrix and the movie's. The last column has 30 fractional bits, the others 16.
fn multiply_matrices(track: [i32; 9], movie: [i32; 9]) -> [i32; 9] {
    std::array::from_fn(|place| {
        let (row, column) = (place / 3, place % 3);
        let sum: i64 = (0..3)
            .map(|step| {
                let (left, right) = (track[row * 3 + step], movie[step * 3 + column]);
                (i64::from(left) * i64::from(right)) >> if step == 2 { 30 } else { 16 }
            })
            .sum();
        sum as i32
    })
}

fn parse_trak(body: &[u8]) -> Option<TrackBox<'_>> {
    let mut fields = BoxReader(child(body, *b"tkhd")?);
    let (version, flags) = fields.version_and_flags()?;
    fields.take(if version == 1 { 16 } else { 8 })?;
    let id = fields.u32()?;
    fields.take(if version == 1 { 28 } else { 24 })?;
    let matrix = parse_matrix(&mut fields).unwrap_or(IDENTITY_MATRIX);
    let display = [fields.u32().unwrap_or(0), fields.u32().unwrap_or(0)];
    let mdia = child(body, *b"mdia")?;
    let handler = child(mdia, *b"hdlr").and_then(|body| body.get(8..12));
    let (timescale, duration) = child(mdia, *b"mdhd")
        .and_then(|body| parse_timescale_and_duration(&mut BoxReader(body)))
        .unwrap_or((1, 0));
    let minf = child(mdia, *b"minf").unwrap_or_default();
    let tref = child(body, *b"tref").unwrap_or_default();
    Some(TrackBox {
        id,
        is_enabled: flags & 1 != 0,
        is_in_movie: flags & 2 != 0,
        // ISO 14496-12, 8.3.3: it describes another track, or is its thumbnails or an auxiliary picture.
        is_auxiliary: [*b"cdsc", *b"thmb", *b"auxl", *b"vdep"]
            .iter()
            .any(|kind| child(tref, *kind).is_some()),
        is_video: handler == Some(b"vide"),
        is_audio: handler == Some(b"soun"),
        matrix,
        display,
        timescale,
        duration,
        elst: child(body, *b"edts").and_then(|edts| child(edts, *b"elst")),
        stbl: child(minf, *b"stbl").unwrap_or_default(),
        chapters: child(tref, *b"chap").map(parse_track_ids).unwrap_or_default(),
        self_contained: child(minf, *b"dinf")
            .and_then(|dinf| child(dinf, *b"dref"))
            .map(parse_data_references)
            .unwrap_or_default(),
    })
}

fn parse_track_ids(body: &[u8]) -> Vec<u32> {
    let mut fields = BoxReader(body);
    std::iter::from_fn(|| fields.u32()).take(limits::MAX_STREAMS).collect()
}

/// Whether each data reference refers to the file itself: ISO 14496-12, 8.7.2. Other files are never opened.
fn parse_data_references(body: &[u8]) -> Vec<bool> {
    let list = children(body.get(8..).unwrap_or_default()).take(MAX_DESCRIPTIONS);
    // QuickTime writes empty aliases without the flag. An alias that names a file is longer.
    list.map(|(_, body)| {
        body.len() <= 12 || BoxReader(body).version_and_flags().is_some_and(|(_, flags)| flags & 1 != 0)
    })
    .collect()
}

/// Parses a track's sample descriptions, and returns why none can be decoded if that is the case. `is_truncated`
/// indicates whether the file ends within the movie.
fn parse_sample_entries(
    trak: &TrackBox<'_>,
    is_truncated: bool,
) -> (Vec<Option<u16>>, Vec<VisualSampleEntry>, Code) {
    let body = child(trak.stbl, *b"stsd").and_then(|body| body.get(8..)).unwrap_or_default();
    let (mut entry_indices, mut sample_entries, mut error) =
        (Vec::new(), Vec::<VisualSampleEntry>::new(), None);
    for (kind, body, is_whole) in marked_children(body).take(MAX_DESCRIPTIONS) {
        let place = match sample_entry::parse(kind, body, &trak.self_contained) {
            // Its codec or decoder configuration may be in the missing part.
            SampleEntry::Visual(_) | SampleEntry::Unsupported if is_truncated && !is_whole => {
                error = error.or(Some(Code::Truncated));
                None
            }
            // A track has only one decoder.
            SampleEntry::Visual(picture)
                if sample_entries.first().is_none_or(|first| first.codec == picture.codec) =>
            {
                sample_entries.push(picture);
                Some((sample_entries.len() - 1) as u16)
            }
            SampleEntry::Visual(_) => None,
            SampleEntry::Encrypted => {
                error = error.or(Some(Code::Encrypted));
                None
            }
            // None of the samples is in this file: treat it like a file that was truncated before them.
            SampleEntry::External => {
                error = error.or(Some(Code::Truncated));
                None
            }
            SampleEntry::Unsupported => {
                error = error.or(Some(Code::UnsupportedCodec));
                None
            }
        };
        entry_indices.push(place);
    }
    let default_error = if is_truncated { Code::Truncated } else { Code::UnsupportedCodec };
    (entry_indices, sample_entries, error.unwrap_or(default_error))
}

fn parse_mvex(mvex: &[u8]) -> MovieExtends {
    let defaults = children(mvex).filter(|(kind, _)| kind == b"trex").filter_map(|(_, body)| {
        let mut fields = BoxReader(body);
        fields.version_and_flags()?;
        Some(TrackExtends {
            track_id: fields.u32()?,
            description_index: fields.u32()?,
            duration: fields.u32()?,
            size: fields.u32()?,
            flags: fields.u32()?,
        })
    });
    let fragment_duration = child(mvex, *b"mehd").and_then(|body| {
        let mut fields = BoxReader(body);
        let (version, _) = fields.version_and_flags()?;
        fields.versioned_uint(version)
    });
    MovieExtends {
        defaults: defaults.take(limits::MAX_STREAMS).collect(),
        fragment_duration: fragment_duration.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::mp4::boxes::FourCc;
    use crate::mux::boxes::write_box;

    /// A description of a track for tests: its id, the flags of its header, its handler, its sample entries, and other
    /// boxes.
    struct TrackSpec {
        /// 1 is enabled, 2 is in the movie.
        flags: u32,
        handler: FourCc,
        fourccs: &'static [&'static FourCc],
        width: u16,
        chapters: u32,
        described_track: u32,
        is_external: bool,
        samples: u32,
    }

    const FILM: TrackSpec = TrackSpec {
        flags: 3,
        handler: *b"vide",
        fourccs: &[b"avc1"],
        width: 160,
        chapters: 0,
        described_track: 0,
        is_external: false,
        samples: 2,
    };

    fn write_trak(out: &mut Vec<u8>, id: u32, spec: &TrackSpec) {
        write_box(out, *b"trak", |out| {
            write_box(out, *b"tkhd", |out| {
                out.extend(spec.flags.to_be_bytes());
                out.extend([0; 8]);
                out.extend(id.to_be_bytes());
                out.extend([0; 24]);
                // A quarter turn.
                for number in [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000] {
                    out.extend(i32::to_be_bytes(number));
                }
                out.extend([0, 160, 0, 0, 0, 90, 0, 0]);
            });
            write_box(out, *b"tref", |out| {
                for (kind, id) in [(*b"chap", spec.chapters), (*b"cdsc", spec.described_track)] {
                    if id > 0 {
                        write_box(out, kind, |out| out.extend(id.to_be_bytes()));
                    }
                }
            });
            write_box(out, *b"mdia", |out| {
                write_box(out, *b"mdhd", |out| {
                    out.extend([0; 12]);
                    out.extend(600_u32.to_be_bytes());
                    out.extend([0; 8]);
                });
                write_box(out, *b"hdlr", |out| {
                    out.extend([0; 8]);
                    out.extend(spec.handler);
                });
                write_box(out, *b"minf", |out| {
                    write_box(out, *b"dinf", |out| {
                        write_box(out, *b"dref", |out| {
                            out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
                            write_box(out, *b"alis", |out| {
                                out.extend(u32::from(!spec.is_external).to_be_bytes());
                                out.extend([0; 160]);
                            });
                        });
                    });
                    write_box(out, *b"stbl", |out| {
                        write_box(out, *b"stsd", |out| {
                            out.extend([0; 8]);
                            for letters in spec.fourccs {
                                write_box(out, **letters, |out| {
                                    out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
                                    out.extend([0; 16]);
                                    out.extend(spec.width.to_be_bytes());
                                    out.extend([0, 90]);
                                    out.extend([0; 50]);
                                });
                            }
                        });
                        write_box(out, *b"stsz", |out| {
                            out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
                            out.extend(spec.samples.to_be_bytes());
                        });
                    });
                });
            });
        });
    }

    fn build_moov(specs: &[TrackSpec]) -> Vec<u8> {
        let mut out = Vec::new();
        (1..).zip(specs).for_each(|(id, brief)| write_trak(&mut out, id, brief));
        out
    }

    #[test]
    fn selects_first_presentable_track() {
        const SOUND: TrackSpec = TrackSpec { handler: *b"soun", fourccs: &[b"mp4a"], ..FILM };
        const TEXT: TrackSpec = TrackSpec { handler: *b"text", fourccs: &[b"text"], ..FILM };
        const OFF: TrackSpec = TrackSpec { flags: 2, ..FILM };
        const ALONE: TrackSpec = TrackSpec { flags: 1, ..FILM };
        const COVER: TrackSpec = TrackSpec { samples: 1, ..FILM };
        const MOTION_JPEG: TrackSpec = TrackSpec { fourccs: &[b"jpeg"], ..FILM };
        const ABOUT: TrackSpec = TrackSpec { described_track: 2, ..FILM };
        const STILLS: TrackSpec = TrackSpec { fourccs: &[b"png "], ..FILM };
        const LOCKED: TrackSpec = TrackSpec { fourccs: &[b"encv"], ..FILM };
        const LARGE: TrackSpec = TrackSpec { width: 8193, ..FILM };
        const ELSEWHERE: TrackSpec = TrackSpec { is_external: true, ..FILM };
        const CHAPTERED: TrackSpec = TrackSpec { chapters: 1, ..FILM };
        const VOID: TrackSpec = TrackSpec { samples: 0, ..FILM };
        for (specs, expected) in [
            (&[FILM][..], Ok(1)),
            (&[SOUND, TEXT, FILM], Ok(3)),
            (&[OFF, FILM], Ok(2)),
            (&[OFF, SOUND], Ok(1)),
            (&[OFF, OFF], Ok(1)),
            (&[ALONE, FILM], Ok(2)),
            (&[ALONE, COVER], Ok(1)),
            (&[COVER, FILM], Ok(2)),
            (&[COVER, OFF], Ok(1)),
            (&[MOTION_JPEG, SOUND, FILM], Ok(3)),
            (&[MOTION_JPEG, OFF], Ok(1)),
            (&[ABOUT, FILM], Ok(2)),
            (&[ABOUT, OFF], Ok(1)),
            (&[VOID, FILM], Ok(2)),
            (&[VOID, OFF], Ok(2)),
            (&[OFF, VOID, SOUND], Ok(1)),
            (&[STILLS, FILM], Ok(2)),
            (&[LOCKED, FILM], Ok(2)),
            // The first one contains the images of the second one's chapters.
            (&[FILM, CHAPTERED], Ok(2)),
            (&[], Err(Code::NoVideoStream)),
            (&[SOUND, TEXT], Err(Code::NoVideoStream)),
            (&[STILLS], Err(Code::UnsupportedCodec)),
            (&[LOCKED, STILLS], Err(Code::Encrypted)),
            (&[LARGE], Err(Code::TooManyPixels)),
            (&[ELSEWHERE], Err(Code::Truncated)),
        ] {
            let bytes = build_moov(specs);
            let found = parse(&bytes, false).map(|movie| movie.track.id);
            assert_eq!(found, expected.map_err(ReadError::Rejected), "{}", specs.len());
        }
        let many: Vec<_> = (0..=limits::MAX_STREAMS).map(|_| FILM).collect();
        assert_eq!(parse(&build_moov(&many), false).err(), Some(ReadError::Rejected(Code::TooManyStreams)));
        let mut compressed = Vec::new();
        write_box(&mut compressed, *b"cmov", |_| ());
        assert!(matches!(parse(&compressed, false), Err(ReadError::Unsupported(_))));
    }

    #[test]
    fn truncated_moov_is_rejected() {
        const SOUND: TrackSpec = TrackSpec { handler: *b"soun", fourccs: &[b"mp4a"], ..FILM };
        const STILLS: TrackSpec = TrackSpec { fourccs: &[b"png "], ..FILM };
        for specs in [&[SOUND, FILM][..], &[SOUND, STILLS], &[FILM]] {
            let bytes = build_moov(specs);
            let end = bytes.windows(4).rposition(|word| word == b"stsz").unwrap();
            for length in 0..end - 4 {
                let found = parse(&bytes[..length], true).map(|movie| movie.sample_entries.len());
                // Once the codec is known, it determines the result.
                let has_codec = length > end - 100;
                assert!(
                    found == Err(ReadError::Rejected(Code::Truncated)) || has_codec,
                    "{length}: {found:?}"
                );
            }
        }
        let bytes = build_moov(&[SOUND]);
        assert_eq!(parse(&bytes, false).err(), Some(ReadError::Rejected(Code::NoVideoStream)));
        // The movie is complete according to its size, but its contents are not.
        let short = &bytes[..bytes.len() - 9];
        assert_eq!(parse(short, false).err(), Some(ReadError::Rejected(Code::Truncated)));
    }

    #[test]
    fn reports_name_of_unsupported_codec() {
        const VVC: TrackSpec = TrackSpec { fourccs: &[b"vvc1"], ..FILM };
        const SOUND: TrackSpec = TrackSpec { handler: *b"soun", fourccs: &[b"mp4a"], ..FILM };
        let bytes = build_moov(&[SOUND, VVC]);
        assert_eq!(parse(&bytes, false).err(), Some(ReadError::Rejected(Code::UnsupportedCodec)));
        assert_eq!(codec_name(&bytes).as_deref(), Some("vvc"));
        assert_eq!(codec_name(&build_moov(&[SOUND])), None);
    }

    #[test]
    fn parses_track_header() {
        let bytes = build_moov(&[FILM, TrackSpec { handler: *b"soun", fourccs: &[b"mp4a"], ..FILM }]);
        let movie = parse(&bytes, false).unwrap();
        assert_eq!(movie.matrix, [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000]);
        assert_eq!((movie.track.timescale, movie.track.display), (600, [160 << 16, 90 << 16]));
        assert!(movie.has_audio && movie.extends.is_none());
    }

    #[test]
    fn other_codecs_have_no_entry() {
        let bytes = build_moov(&[TrackSpec { fourccs: &[b"png ", b"avc1", b"jpeg", b"avc3"], ..FILM }]);
        assert_eq!(parse(&bytes, false).unwrap().entry_indices, [None, Some(0), None, Some(1)]);
    }

    #[test]
    fn multiplies_matrices() {
        let turn = [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000];
        assert_eq!(multiply_matrices(turn, IDENTITY_MATRIX), turn);
        assert_eq!(multiply_matrices(IDENTITY_MATRIX, turn), turn);
        assert_eq!(multiply_matrices(turn, turn), [-0x1_0000, 0, 0, 0, -0x1_0000, 0, 0, 0, 0x4000_0000]);
        assert_eq!(multiply_matrices([i32::MIN; 9], [i32::MIN; 9]).len(), 9);
    }

    #[test]
    fn f8_rejects_absurd_duration() {
        for (length, expected) in [
            (u32::MAX, None),
            (u32::MAX - 1, Some(ReadError::Rejected(Code::TooLong))),
            (86_400_000, Some(ReadError::Rejected(Code::NoVideoStream))),
        ] {
            let mut bytes = Vec::new();
            write_box(&mut bytes, *b"mvhd", |out| {
                out.extend([0; 12]);
                out.extend(1000_u32.to_be_bytes());
                out.extend(length.to_be_bytes());
                out.extend([0; 80]);
            });
            if expected.is_none() {
                write_trak(&mut bytes, 1, &FILM);
            }
            assert_eq!(parse(&bytes, false).err(), expected, "{length}");
        }
    }
}
