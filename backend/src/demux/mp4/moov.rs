//! Decides which track of a movie is shown, and what is known of it before its samples: ISO 14496-12, 8.2 to 8.5.

use glimpse_contract::{Code, limits};

use super::super::known::Fault;
use super::super::movie::UPRIGHT;
use super::boxes::{Fields, child, children};
use super::edits;
use super::entry::{self, Entry, Picture};
use super::tables;

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
pub(super) struct Trak<'a> {
    pub(super) id: u32,
    enabled: bool,
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

/// Reads the body of `moov`.
///
/// # Errors
/// Why the file is refused, or left to the relay.
pub(super) fn read(moov: &[u8]) -> Result<Movie<'_>, Fault> {
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
    let wait = heard.map(|trak| edits::wait(trak.elst)).min().unwrap_or(0);
    let wait = if wait / u64::from(timescale) >= edits::LATE_SECS { wait } else { 0 };
    if length.saturating_sub(wait) / u64::from(timescale) > limits::MAX_DURATION_MS / 1000 {
        return refused(Code::TooLong);
    }
    let has_audio = traks.iter().any(|trak| trak.is_audio);
    let chapters: Vec<u32> = traks.iter().flat_map(|trak| trak.chapters.clone()).collect();
    let clocks = traks.iter().map(|trak| (trak.id, trak.timescale)).collect();
    traks.retain(|trak| trak.is_video && !chapters.contains(&trak.id));
    let extends = child(moov, *b"mvex").map(read_extends);
    // Stable: tracks in which there is nothing come last, unless fragments fill them; before them those that are not enabled.
    traks.sort_by_key(|trak| (extends.is_none() && tables::is_without_samples(trak.stbl), !trak.enabled));
    let mut first = None;
    for trak in traks {
        let (entries, pictures, trouble) = descriptions(&trak);
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
            length,
            wait,
            extends,
        });
    }
    refused(first.unwrap_or(Code::NoVideoStream))
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
    Some(Trak {
        id,
        enabled: flags & 1 != 0,
        is_video: handler == Some(b"vide"),
        is_audio: handler == Some(b"soun"),
        matrix,
        display,
        timescale,
        length,
        elst: child(body, *b"edts").and_then(|edts| child(edts, *b"elst")),
        stbl: child(minf, *b"stbl").unwrap_or_default(),
        chapters: child(body, *b"tref")
            .and_then(|tref| child(tref, *b"chap"))
            .map(numbers)
            .unwrap_or_default(),
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

/// What became of a track's sample descriptions, and why none can be decoded if so.
fn descriptions(trak: &Trak<'_>) -> (Vec<Option<u16>>, Vec<Picture>, Code) {
    let body = child(trak.stbl, *b"stsd").and_then(|body| body.get(8..)).unwrap_or_default();
    let (mut entries, mut pictures, mut trouble) = (Vec::new(), Vec::<Picture>::new(), None);
    for (kind, body) in children(body).take(MAX_DESCRIPTIONS) {
        let place = match entry::read(kind, body, &trak.here) {
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
    (entries, pictures, trouble.unwrap_or(Code::UnsupportedCodec))
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
    use super::super::boxes::{Kind, write};
    use super::*;

    /// A track in short: its number, whether it is enabled, its handler, its sample entries, and what else it has.
    struct Brief {
        enabled: bool,
        handler: Kind,
        letters: &'static [&'static Kind],
        width: u16,
        chapters: u32,
        elsewhere: bool,
        samples: u32,
    }

    const FILM: Brief = Brief {
        enabled: true,
        handler: *b"vide",
        letters: &[b"avc1"],
        width: 160,
        chapters: 0,
        elsewhere: false,
        samples: 1,
    };

    fn trak(out: &mut Vec<u8>, id: u32, brief: &Brief) {
        write(out, *b"trak", |out| {
            write(out, *b"tkhd", |out| {
                out.extend(u32::from(brief.enabled).to_be_bytes());
                out.extend([0; 8]);
                out.extend(id.to_be_bytes());
                out.extend([0; 24]);
                // A quarter turn.
                for number in [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000] {
                    out.extend(i32::to_be_bytes(number));
                }
                out.extend([0, 160, 0, 0, 0, 90, 0, 0]);
            });
            if brief.chapters > 0 {
                write(out, *b"tref", |out| {
                    write(out, *b"chap", |out| out.extend(brief.chapters.to_be_bytes()));
                });
            }
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
        const OFF: Brief = Brief { enabled: false, ..FILM };
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
            let found = read(&bytes).map(|movie| movie.chosen.id);
            assert_eq!(found, expected.map_err(Fault::Refused), "{}", briefs.len());
        }
        let many: Vec<_> = (0..=limits::MAX_STREAMS).map(|_| FILM).collect();
        assert_eq!(read(&movie(&many)).err(), Some(Fault::Refused(Code::TooManyStreams)));
        let mut compressed = Vec::new();
        write(&mut compressed, *b"cmov", |_| ());
        assert!(matches!(read(&compressed), Err(Fault::Foreign(_))));
    }

    #[test]
    fn says_what_a_track_says() {
        let bytes = movie(&[FILM, Brief { handler: *b"soun", letters: &[b"mp4a"], ..FILM }]);
        let movie = read(&bytes).unwrap();
        assert_eq!(movie.matrix, [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000]);
        assert_eq!((movie.chosen.timescale, movie.chosen.display), (600, [160 << 16, 90 << 16]));
        assert!(movie.has_audio && movie.extends.is_none());
    }

    #[test]
    fn samples_of_another_codec_have_no_entry() {
        let bytes = movie(&[Brief { letters: &[b"png ", b"avc1", b"jpeg", b"avc3"], ..FILM }]);
        assert_eq!(read(&bytes).unwrap().entries, [None, Some(0), None, Some(1)]);
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
            assert_eq!(read(&bytes).err(), expected, "{length}");
        }
    }
}
