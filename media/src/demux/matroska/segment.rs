//! Decides where the parts of a file lie: reads the EBML header, walks the segment up to its first cluster and
//! follows its seek heads, so that info, tracks and cues are known whole.

use std::ops::Range;

use bytes::Bytes;
use glimpse_contract::Code;

use crate::demux::buffer::{Fault, Known};
use crate::demux::matroska::ebml::{self, Element, Seen};
use crate::demux::matroska::ids;

/// How much of a file is known from the beginning on: what is asked for where a part is met whose size is not known.
const WINDOW: u64 = 64 << 10;
/// What is asked for where cues are said to begin: most hours fit.
const CUES_WINDOW: u64 = 256 << 10;
/// The largest part that is read. Tracks are a few hundred bytes, the cues of a day of video 2 MiB.
const MAX_PART: u64 = 8 << 20;
/// Parts before the first cluster, and entries of seek heads, that are looked at.
const MAX_PARTS: usize = 256;

/// The parts of a file that tell of its clusters.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// The body of the segment, as far as the source reaches.
    pub(super) segment: Range<u64>,
    /// Whether the source ends before its segment does.
    pub(super) is_cut: bool,
    /// The body of `Info`.
    pub(super) info: Bytes,
    /// The body of `Tracks`.
    pub(super) tracks: Bytes,
    /// The body of `Cues`, if there are any.
    pub(super) cues: Option<Bytes>,
    /// Where the header of the first cluster begins, if it was met before all else was found.
    pub(super) first_cluster: Option<u64>,
}

/// Reads the head of a file.
///
/// # Errors
/// What is missing, or why the file is none that is read here.
pub(super) fn read(known: &Known) -> Result<Head, Fault> {
    let after = document(known)?;
    let (segment, is_cut) = segment(known, after)?;
    let mut search = Search { known, segment, parts: Parts::default(), missing: Vec::new() };
    let walk = search.walk();
    search.follow()?;
    let Search { segment, parts, mut missing, .. } = search;

    // What was met may reach beyond what is known; all of it is asked for at once.
    let mut whole = |part: Option<Element>| -> Result<Option<Bytes>, Fault> {
        match part.map(|element| ebml::body(known, &element)) {
            Some(Err(Fault::Missing(ranges))) => {
                missing.extend(ranges);
                Ok(None)
            }
            other => other.transpose(),
        }
    };
    let info = whole(parts.info)?;
    let tracks = whole(parts.tracks)?;
    let cues = match whole(parts.cues) {
        // Cues that reach over the end are none.
        Err(Fault::Refused(_)) => None,
        other => other?,
    };
    let is_walk_needed = parts.info.is_none() || parts.tracks.is_none() || parts.cues.is_none();
    if let Walk::Gap(at) = walk
        && is_walk_needed
    {
        missing.push(at..at.saturating_add(WINDOW).min(segment.end));
    }
    if !missing.is_empty() {
        return Err(Fault::Missing(missing));
    }
    let Some(tracks) = tracks else {
        return Err(match walk {
            Walk::Cluster(_) => Fault::Refused(Code::NoVideoStream),
            Walk::Damaged => Fault::Foreign("a damaged head"),
            Walk::End | Walk::Gap(_) => Fault::Refused(Code::Truncated),
        });
    };
    let first_cluster = if let Walk::Cluster(at) = walk { Some(at) } else { None };
    Ok(Head { segment, is_cut, info: info.unwrap_or_default(), tracks, cues, first_cluster })
}

/// Reads the EBML header, and says where it ends.
fn document(known: &Known) -> Result<u64, Fault> {
    let element = match ebml::look(known, 0, known.total()) {
        Seen::Element(element) if element.id == ids::EBML => element,
        Seen::Gap(at) => return Err(Fault::missing(at..at.saturating_add(WINDOW).min(known.total()))),
        _ => return Err(Fault::Refused(Code::NotAVideo)),
    };
    let Some(size) = element.size.filter(|size| *size <= WINDOW) else {
        return Err(Fault::Foreign("an EBML header of unknown or absurd size"));
    };
    for (id, body) in ebml::children(&ebml::body(known, &element)?) {
        match id {
            ids::DOC_TYPE if !matches!(ebml::text(body), b"matroska" | b"webm") => {
                return Err(Fault::Refused(Code::NotAVideo));
            }
            ids::EBML_MAX_ID_LENGTH if ebml::uint(body) > 4 => return Err(Fault::Foreign("long EBML IDs")),
            ids::EBML_MAX_SIZE_LENGTH if ebml::uint(body) > 8 => {
                return Err(Fault::Foreign("long EBML sizes"));
            }
            _ => {}
        }
    }
    Ok(element.body + size)
}

/// Finds the segment, and says where its body lies and whether the source ends before it does.
fn segment(known: &Known, mut at: u64) -> Result<(Range<u64>, bool), Fault> {
    for _ in 0..MAX_PARTS {
        match ebml::look(known, at, known.total()) {
            Seen::Element(element) if element.id == ids::SEGMENT => {
                // A size of 0 was never filled in.
                let size = element.size.filter(|size| *size > 0);
                let end = size.map_or(known.total(), |size| element.body.saturating_add(size));
                return Ok((element.body..end.min(known.total()), end > known.total()));
            }
            Seen::Element(Element { size: Some(size), body, .. }) => at = body.saturating_add(size),
            Seen::Gap(gap) => return Err(Fault::missing(gap..gap.saturating_add(WINDOW).min(known.total()))),
            Seen::Element(_) | Seen::Damaged => {
                return Err(Fault::Foreign("no segment after the EBML header"));
            }
            Seen::End => break,
        }
    }
    Err(Fault::Refused(Code::Truncated))
}

#[derive(Debug, Default)]
struct Parts {
    info: Option<Element>,
    tracks: Option<Element>,
    cues: Option<Element>,
    /// What seek heads say: IDs, and where those elements begin.
    seeks: Vec<(u32, u64)>,
}

/// How the walk to the first cluster ended.
#[derive(Debug, Clone, Copy)]
enum Walk {
    Cluster(u64),
    Gap(u64),
    Damaged,
    End,
}

struct Search<'a> {
    known: &'a Known,
    segment: Range<u64>,
    parts: Parts,
    missing: Vec<Range<u64>>,
}

impl Search<'_> {
    fn walk(&mut self) -> Walk {
        let mut at = self.segment.start;
        for _ in 0..MAX_PARTS {
            match ebml::look(self.known, at, self.segment.end) {
                Seen::Element(element) if element.id == ids::CLUSTER => return Walk::Cluster(at),
                Seen::Element(element) => {
                    let Some(size) = element.size else { return Walk::Damaged };
                    self.meet(&element);
                    at = element.body.saturating_add(size);
                }
                Seen::Gap(gap) => return Walk::Gap(gap),
                Seen::Damaged => return Walk::Damaged,
                Seen::End => return Walk::End,
            }
        }
        Walk::Damaged
    }

    /// Remembers a part that is needed; the first of each kind counts.
    fn meet(&mut self, element: &Element) {
        let Some(size) = element.size else { return };
        if size > MAX_PART {
            return;
        }
        match element.id {
            ids::INFO => _ = self.parts.info.get_or_insert(*element),
            ids::TRACKS => _ = self.parts.tracks.get_or_insert(*element),
            ids::CUES if size > 0 => _ = self.parts.cues.get_or_insert(*element),
            ids::SEEK_HEAD => match ebml::body(self.known, element) {
                Ok(body) => self.read_seeks(&body),
                Err(Fault::Missing(ranges)) => self.missing.extend(ranges),
                Err(_) => {}
            },
            _ => {}
        }
    }

    fn read_seeks(&mut self, body: &[u8]) {
        for (_, seek) in ebml::children(body).filter(|(id, _)| *id == ids::SEEK) {
            let value =
                |wanted| ebml::children(seek).find(|(id, _)| *id == wanted).map(|(_, body)| ebml::uint(body));
            if let (Some(id), Some(position)) = (value(ids::SEEK_ID), value(ids::SEEK_POSITION))
                && self.parts.seeks.len() < MAX_PARTS
                && matches!(id as u32, ids::INFO | ids::TRACKS | ids::CUES | ids::SEEK_HEAD)
            {
                self.parts.seeks.push((id as u32, self.segment.start.saturating_add(position)));
            }
        }
    }

    /// Goes where seek heads point, a second seek head's entries included.
    fn follow(&mut self) -> Result<(), Fault> {
        let mut next = 0;
        while let Some((id, at)) = self.parts.seeks.get(next).copied() {
            next += 1;
            let is_found = match id {
                ids::INFO => self.parts.info.is_some(),
                ids::TRACKS => self.parts.tracks.is_some(),
                ids::CUES => self.parts.cues.is_some(),
                _ => false,
            };
            let window = if id == ids::CUES { CUES_WINDOW } else { WINDOW };
            match ebml::look(self.known, at, self.segment.end) {
                _ if is_found => {}
                Seen::Element(element) if element.id == id => {
                    if element.size.is_some_and(|size| size > MAX_PART) && id == ids::TRACKS {
                        return Err(Fault::Foreign("tracks of absurd size"));
                    }
                    self.meet(&element);
                }
                Seen::Gap(gap) => self.missing.push(gap..gap.saturating_add(window).min(self.segment.end)),
                // It does not stand where it is said to: as if nothing had been said.
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(id: u32, body: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        [&id[..], &(1_u64 << 56 | body.len() as u64).to_be_bytes(), body].concat()
    }

    fn document(kind: &str, segment: &[u8]) -> Bytes {
        let header = element(ids::EBML, &element(ids::DOC_TYPE, kind.as_bytes()));
        [header, element(ids::SEGMENT, segment)].concat().into()
    }

    fn seek(entries: &[(u32, u64)]) -> Vec<u8> {
        let one = |(id, at): &(u32, u64)| {
            let parts =
                [element(ids::SEEK_ID, &id.to_be_bytes()), element(ids::SEEK_POSITION, &at.to_be_bytes())];
            element(ids::SEEK, &parts.concat())
        };
        element(ids::SEEK_HEAD, &entries.iter().flat_map(one).collect::<Vec<u8>>())
    }

    /// Reads a document of which at first only the first `head` bytes are known; says how often it asked.
    fn asked(source: &Bytes, head: usize) -> (Result<Head, Fault>, usize) {
        let mut known = Known::new(source.len() as u64);
        known.learn(0, &source.slice(..head.min(source.len())));
        for rounds in 0..8 {
            match read(&known) {
                Err(Fault::Missing(ranges)) => {
                    for range in ranges {
                        known.learn(range.start, &source.slice(range.start as usize..range.end as usize));
                    }
                }
                other => return (other, rounds),
            }
        }
        panic!("asks for ever");
    }

    #[test]
    fn refuses_what_is_no_matroska() {
        for (source, expected) in [
            (document("matroska", &[]), Fault::Refused(Code::Truncated)),
            (document("avi", &[]), Fault::Refused(Code::NotAVideo)),
            (Bytes::from_static(b"no EBML at all"), Fault::Refused(Code::NotAVideo)),
            (document("webm", &element(ids::CLUSTER, b"")), Fault::Refused(Code::NoVideoStream)),
            (document("webm", &[0; 30]), Fault::Foreign("a damaged head")),
        ] {
            assert_eq!(asked(&source, 64).0.map(|_| ()), Err(expected));
        }
    }

    #[test]
    fn follows_a_second_seek_head_to_what_stands_at_the_end() {
        let clusters = element(ids::CLUSTER, &vec![0; 100_000]);
        let tracks = element(ids::TRACKS, b"tracks");
        let length = seek(&[(ids::SEEK_HEAD, 0), (ids::INFO, 0)]).len() as u64;
        let second = length + tracks.len() as u64 + clusters.len() as u64;
        let cues = second + seek(&[(ids::CUES, 0)]).len() as u64;
        let first = seek(&[(ids::SEEK_HEAD, second), (ids::INFO, 5)]);
        let parts = [first, tracks, clusters, seek(&[(ids::CUES, cues)]), element(ids::CUES, b"cues")];
        let source = document("matroska", &parts.concat());
        let (head, rounds) = asked(&source, 1000);
        let head = head.unwrap();
        assert_eq!(
            (&head.tracks[..], &head.info[..], head.cues.as_deref()),
            (&b"tracks"[..], &b""[..], Some(&b"cues"[..]))
        );
        assert_eq!(head.first_cluster, Some(head.segment.start + length + 18));
        assert!(rounds <= 1, "{rounds}");
    }

    #[test]
    fn asks_once_for_what_stands_behind_attachments() {
        let parts = [
            element(ids::INFO, b"info"),
            element(ids::ATTACHMENTS, &vec![0; 200_000]),
            element(ids::TRACKS, b"tracks"),
            element(ids::CLUSTER, b""),
        ];
        let (head, rounds) = asked(&document("matroska", &parts.concat()), 1000);
        assert_eq!((&head.unwrap().tracks[..], rounds), (&b"tracks"[..], 1));
    }
}
