//! Decides which track of a movie is shown, and what is known of it before its samples: ISO 14496-12, 8.2 to 8.5.

use glimpse_contract::{Code, limits};

use crate::demux::buffer::Fault;
use crate::demux::demuxer::UPRIGHT;
use crate::demux::mp4::boxes::{Fields, child, children, marked_children};
use crate::demux::mp4::codec;
use crate::demux::mp4::edit_list;
use crate::demux::mp4::sample_entry::{self, Entry, Picture};
use crate::demux::mp4::sample_table;

/// The most sample descriptions of a track that are read.
const MAX_DESCRIPTIONS: usize = 64;

/// The movie, read as far as one track needs it.
#[derive(Debug)]
pub(super) struct Movie<'a> {
    /// Ticks a second of the movie; not 0.
    pub(super) timescale: u32,
    pub(super) chosen: Trak<'a>,
    /// Every track's number and ticks a second.
    pub(super) clocks: Vec<(u32, u32)>,
    /// What each sample description became: its place among `pictures`.
    pub(super) entries: Vec<Option<u16>>,
    /// At least one.
    pub(super) pictures: Vec<Picture>,
    pub(super) matrix: [i32; 9],
    pub(super) has_audio: bool,
    /// The tracks of sound that are played.
    pub(super) heard: Vec<Trak<'a>>,
    /// Length in ticks of the movie, as its header says; 0 if not told.
    pub(super) length: u64,
    /// How long nothing is shown or heard of any track, in ticks of the movie; 0 where that is a pause, not a clock.
    pub(super) wait: u64,
    /// What is said of fragments, if there can be any.
    pub(super) extends: Option<Extends>,
}

/// What `mvex` says: ISO 14496-12, 8.8.1 to 8.8.3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extends {
    /// What the fragments of each track take where they say nothing.
    pub(super) defaults: Vec<Defaults>,
    /// Length of all fragments in ticks of the movie; 0 if not told.
    pub(super) length: u64,
}

/// What samples take where their fragment says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) track: u32,
    pub(super) description: u32,
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// One track.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of a header")]
pub(super) struct Trak<'a> {
    pub(super) id: u32,
    enabled: bool,
    /// Whether it is part of the movie, as QuickTime says: not of its poster or preview alone.
    is_in_movie: bool,
    /// Whether it is there for another track: its thumbnails, its alpha or depth.
    is_auxiliary: bool,
    is_video: bool,
    is_audio: bool,
    matrix: [i32; 9],
    /// Width and height as 16.16 numbers.
    pub(super) display: [u32; 2],
    /// Ticks a second; not 0.
    pub(super) timescale: u32,
    /// Length in ticks; 0 if not told.
    pub(super) length: u64,
    pub(super) elst: Option<&'a [u8]>,
    pub(super) stbl: &'a [u8],
    /// Tracks that hold pictures of this one's chapters.
    chapters: Vec<u32>,
    /// Which data references are this very file.
    here: Vec<bool>,
}

impl Trak<'_> {
    /// Whether its first sample description is of JPEG pictures.
    fn is_motion_jpeg(&self) -> bool {
        let body = child(self.stbl, *b"stsd").and_then(|body| body.get(8..)).unwrap_or_default();
        let first = children(body).next();
        first.is_some_and(|(kind, _)| codec::by_letters(kind) == Some("mjpeg"))
    }
}

/// Reads the body of `moov`. Of a file that ends within it (`is_cut`) what is not there may have been a video track, or
/// what describes its samples.
///
/// # Errors
/// Why the file is refused, or left to the relay.
pub(super) fn read(moov: &[u8], is_cut: bool) -> Result<Movie<'_>, Fault> {
    let is_cut = is_cut || marked_children(moov).any(|(kind, _, is_whole)| kind == *b"trak" && !is_whole);
    let refused = |code| Err(Fault::Refused(code));
    if child(moov, *b"cmov").is_some() {
        return Err(Fault::Foreign("a compressed index"));
    }
    let bodies: Vec<_> = children(moov).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body).collect();
    if bodies.len() > limits::MAX_STREAMS {
        return refused(Code::TooManyStreams);
    }
    let (timescale, length, movie_matrix) =
        child(moov, *b"mvhd").and_then(movie_header).unwrap_or((1, 0, UPRIGHT));
    let mut traks: Vec<_> = bodies.into_iter().filter_map(read_trak).collect();
    let heard = traks.iter().filter(|trak| trak.is_video || trak.is_audio);
    let wait = heard.map(|trak| edit_list::wait(trak.elst)).min().unwrap_or(0);
    let wait = if wait / u64::from(timescale) >= edit_list::LATE_SECS { wait } else { 0 };
    if length.saturating_sub(wait) / u64::from(timescale) > limits::MAX_DURATION_MS / 1000 {
        return refused(Code::TooLong);
    }
    let has_audio = traks.iter().any(|trak| trak.is_audio);
    let chapters: Vec<u32> = traks.iter().flat_map(|trak| trak.chapters.clone()).collect();
    let clocks = traks.iter().map(|trak| (trak.id, trak.timescale)).collect();
    let heard = traks.iter().filter(|trak| trak.is_audio && trak.enabled).cloned().collect();
    traks.retain(|trak| trak.is_video && !chapters.contains(&trak.id));
    let extends = child(moov, *b"mvex").map(read_extends);
    // Stable: of equal ones the first. Tracks in which there is nothing come last, unless fragments fill them; before them
    // those that are not enabled, those that are there for others, and covers beside a film.
    traks.sort_by_key(|trak| {
        let count = sample_table::sample_count(trak.stbl);
        let is_empty = extends.is_none() && count == 0;
        let is_cover = trak.is_motion_jpeg() || extends.is_none() && count == 1;
        (is_empty, !trak.enabled, trak.is_auxiliary, is_cover, !trak.is_in_movie)
    });
    let mut first = None;
    for trak in traks {
        let (entries, pictures, trouble) = descriptions(&trak, is_cut);
        if pictures.is_empty() {
            first = first.or(Some(trouble));
            continue;
        }
        for picture in &pictures {
            let (width, height) = (u32::from(picture.width), u32::from(picture.height));
            if width.max(height) > limits::MAX_DIMENSION
                || u64::from(width) * u64::from(height) > limits::MAX_PIXELS
            {
                return refused(Code::TooManyPixels);
            }
        }
        let matrix = combine(trak.matrix, movie_matrix);
        return Ok(Movie {
            timescale,
            chosen: trak,
            clocks,
            entries,
            pictures,
            matrix,
            has_audio,
            heard,
            length,
            wait,
            extends,
        });
    }
    refused(first.unwrap_or(if is_cut { Code::Truncated } else { Code::NoVideoStream }))
}

/// The codec of the first track of pictures, as its sample entry names it.
pub(super) fn codec_name(moov: &[u8]) -> Option<String> {
    let traks = children(moov).filter(|(kind, _)| kind == b"trak").take(limits::MAX_STREAMS);
    let trak = traks.filter_map(|(_, body)| read_trak(body)).find(|trak| trak.is_video)?;
    let body = child(trak.stbl, *b"stsd").and_then(|body| body.get(8..))?;
    children(body).next().and_then(|(kind, _)| codec::name(kind))
}

/// Time scale, length and matrix of the movie: ISO 14496-12, 8.2.2.
fn movie_header(body: &[u8]) -> Option<(u32, u64, [i32; 9])> {
    let mut fields = Fields(body);
    let (timescale, length) = clock(&mut fields)?;
    fields.take(16)?;
    Some((timescale, length, read_matrix(&mut fields).unwrap_or(UPRIGHT)))
}

/// Time scale and length as both headers have them, from the beginning on. All ones mean an unknown length.
fn clock(fields: &mut Fields<'_>) -> Option<(u32, u64)> {
    let (version, _) = fields.full()?;
    fields.take(if version == 1 { 16 } else { 8 })?;
    let timescale = fields.u32()?.max(1);
    let length = fields.sized(version)?;
    let unknown = if version == 1 { u64::MAX } else { u32::MAX.into() };
    Some((timescale, if length == unknown { 0 } else { length }))
}

fn read_matrix(fields: &mut Fields<'_>) -> Option<[i32; 9]> {
    let mut matrix = [0; 9];
    for number in &mut matrix {
        *number = fields.i32()?;
    }
    // Some writers leave it empty.
    Some(if matrix.iter().all(|number| *number == 0) { UPRIGHT } else { matrix })
}

/// The track's matrix, and the movie's after it. The last column has 30 bits after the point, the others 16.
fn combine(track: [i32; 9], movie: [i32; 9]) -> [i32; 9] {
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

fn read_trak(body: &[u8]) -> Option<Trak<'_>> {
    let mut fields = Fields(child(body, *b"tkhd")?);
    let (version, flags) = fields.full()?;
    fields.take(if version == 1 { 16 } else { 8 })?;
    let id = fields.u32()?;
    fields.take(if version == 1 { 28 } else { 24 })?;
    let matrix = read_matrix(&mut fields).unwrap_or(UPRIGHT);
    let display = [fields.u32().unwrap_or(0), fields.u32().unwrap_or(0)];
    let mdia = child(body, *b"mdia")?;
    let handler = child(mdia, *b"hdlr").and_then(|body| body.get(8..12));
    let (timescale, length) =
        child(mdia, *b"mdhd").and_then(|body| clock(&mut Fields(body))).unwrap_or((1, 0));
    let minf = child(mdia, *b"minf").unwrap_or_default();
    let tref = child(body, *b"tref").unwrap_or_default();
    Some(Trak {
        id,
        enabled: flags & 1 != 0,
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
        length,
        elst: child(body, *b"edts").and_then(|edts| child(edts, *b"elst")),
        stbl: child(minf, *b"stbl").unwrap_or_default(),
        chapters: child(tref, *b"chap").map(numbers).unwrap_or_default(),
        here: child(minf, *b"dinf")
            .and_then(|dinf| child(dinf, *b"dref"))
            .map(references)
            .unwrap_or_default(),
    })
}

fn numbers(body: &[u8]) -> Vec<u32> {
    let mut fields = Fields(body);
    std::iter::from_fn(|| fields.u32()).take(limits::MAX_STREAMS).collect()
}

/// Which data references are this very file: ISO 14496-12, 8.7.2. No other is ever opened.
fn references(body: &[u8]) -> Vec<bool> {
    let list = children(body.get(8..).unwrap_or_default()).take(MAX_DESCRIPTIONS);
    // QuickTime writes aliases to nowhere without the flag; one that names a file has more bytes.
    list.map(|(_, body)| body.len() <= 12 || Fields(body).full().is_some_and(|(_, flags)| flags & 1 != 0))
        .collect()
}

/// What became of a track's sample descriptions, and why none can be decoded if so. `is_cut` says whether the file ends
/// within the movie.
fn descriptions(trak: &Trak<'_>, is_cut: bool) -> (Vec<Option<u16>>, Vec<Picture>, Code) {
    let body = child(trak.stbl, *b"stsd").and_then(|body| body.get(8..)).unwrap_or_default();
    let (mut entries, mut pictures, mut trouble) = (Vec::new(), Vec::<Picture>::new(), None);
    for (kind, body, is_whole) in marked_children(body).take(MAX_DESCRIPTIONS) {
        let place = match sample_entry::read(kind, body, &trak.here) {
            // Its codec, or what its decoder is configured with, was to come.
            Entry::Known(_) | Entry::Unknown if is_cut && !is_whole => {
                trouble = trouble.or(Some(Code::Truncated));
                None
            }
            // One track has one decoder.
            Entry::Known(picture) if pictures.first().is_none_or(|first| first.codec == picture.codec) => {
                pictures.push(picture);
                Some((pictures.len() - 1) as u16)
            }
            Entry::Known(_) => None,
            Entry::Encrypted => {
                trouble = trouble.or(Some(Code::Encrypted));
                None
            }
            // None of the samples is in this file, as if it had been cut off before them.
            Entry::Elsewhere => {
                trouble = trouble.or(Some(Code::Truncated));
                None
            }
            Entry::Unknown => {
                trouble = trouble.or(Some(Code::UnsupportedCodec));
                None
            }
        };
        entries.push(place);
    }
    let nothing = if is_cut { Code::Truncated } else { Code::UnsupportedCodec };
    (entries, pictures, trouble.unwrap_or(nothing))
}

fn read_extends(mvex: &[u8]) -> Extends {
    let defaults = children(mvex).filter(|(kind, _)| kind == b"trex").filter_map(|(_, body)| {
        let mut fields = Fields(body);
        fields.full()?;
        Some(Defaults {
            track: fields.u32()?,
            description: fields.u32()?,
            duration: fields.u32()?,
            size: fields.u32()?,
            flags: fields.u32()?,
        })
    });
    let length = child(mvex, *b"mehd").and_then(|body| {
        let mut fields = Fields(body);
        let (version, _) = fields.full()?;
        fields.sized(version)
    });
    Extends { defaults: defaults.take(limits::MAX_STREAMS).collect(), length: length.unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::mp4::boxes::{Kind, write};

    /// A track in short: its number, the flags of its header, its handler, its sample entries, and what else it has.
    struct Brief {
        /// 1 enabled, 2 in the movie.
        flags: u32,
        handler: Kind,
        letters: &'static [&'static Kind],
        width: u16,
        chapters: u32,
        describes: u32,
        elsewhere: bool,
        samples: u32,
    }

    const FILM: Brief = Brief {
        flags: 3,
        handler: *b"vide",
        letters: &[b"avc1"],
        width: 160,
        chapters: 0,
        describes: 0,
        elsewhere: false,
        samples: 2,
    };

    fn trak(out: &mut Vec<u8>, id: u32, brief: &Brief) {
        write(out, *b"trak", |out| {
            write(out, *b"tkhd", |out| {
                out.extend(brief.flags.to_be_bytes());
                out.extend([0; 8]);
                out.extend(id.to_be_bytes());
                out.extend([0; 24]);
                // A quarter turn.
                for number in [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000] {
                    out.extend(i32::to_be_bytes(number));
                }
                out.extend([0, 160, 0, 0, 0, 90, 0, 0]);
            });
            write(out, *b"tref", |out| {
                for (kind, id) in [(*b"chap", brief.chapters), (*b"cdsc", brief.describes)] {
                    if id > 0 {
                        write(out, kind, |out| out.extend(id.to_be_bytes()));
                    }
                }
            });
            write(out, *b"mdia", |out| {
                write(out, *b"mdhd", |out| {
                    out.extend([0; 12]);
                    out.extend(600_u32.to_be_bytes());
                    out.extend([0; 8]);
                });
                write(out, *b"hdlr", |out| {
                    out.extend([0; 8]);
                    out.extend(brief.handler);
                });
                write(out, *b"minf", |out| {
                    write(out, *b"dinf", |out| {
                        write(out, *b"dref", |out| {
                            out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
                            write(out, *b"alis", |out| {
                                out.extend(u32::from(!brief.elsewhere).to_be_bytes());
                                out.extend([0; 160]);
                            });
                        });
                    });
                    write(out, *b"stbl", |out| {
                        write(out, *b"stsd", |out| {
                            out.extend([0; 8]);
                            for letters in brief.letters {
                                write(out, **letters, |out| {
                                    out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
                                    out.extend([0; 16]);
                                    out.extend(brief.width.to_be_bytes());
                                    out.extend([0, 90]);
                                    out.extend([0; 50]);
                                });
                            }
                        });
                        write(out, *b"stsz", |out| {
                            out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
                            out.extend(brief.samples.to_be_bytes());
                        });
                    });
                });
            });
        });
    }

    fn movie(briefs: &[Brief]) -> Vec<u8> {
        let mut out = Vec::new();
        (1..).zip(briefs).for_each(|(id, brief)| trak(&mut out, id, brief));
        out
    }

    #[test]
    fn takes_the_first_track_that_can_be_shown() {
        const SOUND: Brief = Brief { handler: *b"soun", letters: &[b"mp4a"], ..FILM };
        const TEXT: Brief = Brief { handler: *b"text", letters: &[b"text"], ..FILM };
        const OFF: Brief = Brief { flags: 2, ..FILM };
        const ALONE: Brief = Brief { flags: 1, ..FILM };
        const COVER: Brief = Brief { samples: 1, ..FILM };
        const MOTION_JPEG: Brief = Brief { letters: &[b"jpeg"], ..FILM };
        const ABOUT: Brief = Brief { describes: 2, ..FILM };
        const STILLS: Brief = Brief { letters: &[b"png "], ..FILM };
        const LOCKED: Brief = Brief { letters: &[b"encv"], ..FILM };
        const LARGE: Brief = Brief { width: 8193, ..FILM };
        const ELSEWHERE: Brief = Brief { elsewhere: true, ..FILM };
        const CHAPTERED: Brief = Brief { chapters: 1, ..FILM };
        const VOID: Brief = Brief { samples: 0, ..FILM };
        for (briefs, expected) in [
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
            // The first one holds the pictures of the second one's chapters.
            (&[FILM, CHAPTERED], Ok(2)),
            (&[], Err(Code::NoVideoStream)),
            (&[SOUND, TEXT], Err(Code::NoVideoStream)),
            (&[STILLS], Err(Code::UnsupportedCodec)),
            (&[LOCKED, STILLS], Err(Code::Encrypted)),
            (&[LARGE], Err(Code::TooManyPixels)),
            (&[ELSEWHERE], Err(Code::Truncated)),
        ] {
            let bytes = movie(briefs);
            let found = read(&bytes, false).map(|movie| movie.chosen.id);
            assert_eq!(found, expected.map_err(Fault::Refused), "{}", briefs.len());
        }
        let many: Vec<_> = (0..=limits::MAX_STREAMS).map(|_| FILM).collect();
        assert_eq!(read(&movie(&many), false).err(), Some(Fault::Refused(Code::TooManyStreams)));
        let mut compressed = Vec::new();
        write(&mut compressed, *b"cmov", |_| ());
        assert!(matches!(read(&compressed, false), Err(Fault::Foreign(_))));
    }

    #[test]
    fn a_movie_cut_before_its_video_is_known_is_truncated() {
        const SOUND: Brief = Brief { handler: *b"soun", letters: &[b"mp4a"], ..FILM };
        const STILLS: Brief = Brief { letters: &[b"png "], ..FILM };
        for briefs in [&[SOUND, FILM][..], &[SOUND, STILLS], &[FILM]] {
            let bytes = movie(briefs);
            let end = bytes.windows(4).rposition(|word| word == b"stsz").unwrap();
            for length in 0..end - 4 {
                let found = read(&bytes[..length], true).map(|movie| movie.pictures.len());
                // Once its codec is known, it is that which counts.
                let is_told = length > end - 100;
                assert!(found == Err(Fault::Refused(Code::Truncated)) || is_told, "{length}: {found:?}");
            }
        }
        let bytes = movie(&[SOUND]);
        assert_eq!(read(&bytes, false).err(), Some(Fault::Refused(Code::NoVideoStream)));
        // The movie is whole, as it says itself, but what is in it is not.
        let short = &bytes[..bytes.len() - 9];
        assert_eq!(read(short, false).err(), Some(Fault::Refused(Code::Truncated)));
    }

    #[test]
    fn names_the_codec_that_cannot_be_decoded() {
        const VVC: Brief = Brief { letters: &[b"vvc1"], ..FILM };
        const SOUND: Brief = Brief { handler: *b"soun", letters: &[b"mp4a"], ..FILM };
        let bytes = movie(&[SOUND, VVC]);
        assert_eq!(read(&bytes, false).err(), Some(Fault::Refused(Code::UnsupportedCodec)));
        assert_eq!(codec_name(&bytes).as_deref(), Some("vvc"));
        assert_eq!(codec_name(&movie(&[SOUND])), None);
    }

    #[test]
    fn says_what_a_track_says() {
        let bytes = movie(&[FILM, Brief { handler: *b"soun", letters: &[b"mp4a"], ..FILM }]);
        let movie = read(&bytes, false).unwrap();
        assert_eq!(movie.matrix, [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000]);
        assert_eq!((movie.chosen.timescale, movie.chosen.display), (600, [160 << 16, 90 << 16]));
        assert!(movie.has_audio && movie.extends.is_none());
    }

    #[test]
    fn samples_of_another_codec_have_no_entry() {
        let bytes = movie(&[Brief { letters: &[b"png ", b"avc1", b"jpeg", b"avc3"], ..FILM }]);
        assert_eq!(read(&bytes, false).unwrap().entries, [None, Some(0), None, Some(1)]);
    }

    #[test]
    fn matrices_are_put_together() {
        let turn = [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000];
        assert_eq!(combine(turn, UPRIGHT), turn);
        assert_eq!(combine(UPRIGHT, turn), turn);
        assert_eq!(combine(turn, turn), [-0x1_0000, 0, 0, 0, -0x1_0000, 0, 0, 0, 0x4000_0000]);
        assert_eq!(combine([i32::MIN; 9], [i32::MIN; 9]).len(), 9);
    }

    #[test]
    fn f8_an_absurd_length_is_refused_and_an_unknown_one_is_not() {
        for (length, expected) in [
            (u32::MAX, None),
            (u32::MAX - 1, Some(Fault::Refused(Code::TooLong))),
            (86_400_000, Some(Fault::Refused(Code::NoVideoStream))),
        ] {
            let mut bytes = Vec::new();
            write(&mut bytes, *b"mvhd", |out| {
                out.extend([0; 12]);
                out.extend(1000_u32.to_be_bytes());
                out.extend(length.to_be_bytes());
                out.extend([0; 80]);
            });
            if expected.is_none() {
                trak(&mut bytes, 1, &FILM);
            }
            assert_eq!(read(&bytes, false).err(), expected, "{length}");
        }
    }
}
