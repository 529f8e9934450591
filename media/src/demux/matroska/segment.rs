//! Locates the parts of a file: reads the EBML header, walks the segment up to its first cluster and follows its seek
//! heads, so that info, tracks and cues are completely buffered.

use std::ops::Range;

use bytes::Bytes;
use glimpse_contract::Code;

use crate::demux::buffer::SparseBuffer;
use crate::demux::error::ReadError;
use crate::demux::matroska::ebml::{self, Element, ElementRead};
use crate::demux::matroska::ids;

/// How much of the beginning of a file is prefetched, and how much is fetched for an element of unknown size.
const WINDOW_BYTES: u64 = 64 << 10;
/// How much is fetched at the position of the cues: enough for most videos of several hours.
const CUES_WINDOW: u64 = 256 << 10;
/// The largest element that is read. Tracks are a few hundred bytes; the cues of a 24-hour video are 2 MiB.
const MAX_ELEMENT_BYTES: u64 = 8 << 20;
/// The most elements before the first cluster, and the most entries of seek heads, that are read.
const MAX_ELEMENTS: usize = 256;

/// The top-level elements of a segment, other than its clusters.
#[derive(Debug, Clone)]
pub(super) struct SegmentHeader {
    /// The byte range of the segment's body, up to the end of the source.
    pub(super) segment: Range<u64>,
    /// Whether the source ends before its segment does.
    pub(super) is_truncated: bool,
    /// The body of `SegmentInfo`.
    pub(super) info: Bytes,
    /// The body of `Tracks`.
    pub(super) tracks: Bytes,
    /// The body of `Cues`, if there are any.
    pub(super) cues: Option<Bytes>,
    /// Offset of the first cluster's header, if the cluster was found before all other elements.
    pub(super) first_cluster: Option<u64>,
}

/// Reads the header of a file.
///
/// # Errors
/// The bytes that are missing, or the reason why the file is not read natively.
pub(super) fn read(buffer: &SparseBuffer) -> Result<SegmentHeader, ReadError> {
    let after = read_ebml_header(buffer)?;
    let (segment, is_truncated) = find_segment(buffer, after)?;
    let mut walker =
        SeekHeadWalker { buffer, segment, elements: TopLevelElements::default(), missing: Vec::new() };
    let walk_end = walker.walk_to_cluster();
    walker.follow_seek_heads()?;
    let SeekHeadWalker { segment, elements: parts, mut missing, .. } = walker;

    // Elements may extend past the buffered bytes. All missing ranges are requested together.
    let mut read_whole = |part: Option<Element>| -> Result<Option<Bytes>, ReadError> {
        match part.map(|element| ebml::read_body(buffer, &element)) {
            Some(Err(ReadError::NeedMore(ranges))) => {
                missing.extend(ranges);
                Ok(None)
            }
            other => other.transpose(),
        }
    };
    let info = read_whole(parts.info)?;
    let tracks = read_whole(parts.tracks)?;
    let cues = match read_whole(parts.cues) {
        // Cues that extend past the end of the file are ignored.
        Err(ReadError::Rejected(_)) => None,
        other => other?,
    };
    let is_walk_needed = parts.info.is_none() || parts.tracks.is_none() || parts.cues.is_none();
    if let WalkEnd::Gap(at) = walk_end
        && is_walk_needed
    {
        missing.push(at..at.saturating_add(WINDOW_BYTES).min(segment.end));
    }
    if !missing.is_empty() {
        return Err(ReadError::NeedMore(missing));
    }
    let Some(tracks) = tracks else {
        return Err(match walk_end {
            WalkEnd::Cluster(_) => ReadError::Rejected(Code::NoVideoStream),
            WalkEnd::Damaged => ReadError::Unsupported("damaged segment header"),
            WalkEnd::End | WalkEnd::Gap(_) => ReadError::Rejected(Code::Truncated),
        });
    };
    let first_cluster = if let WalkEnd::Cluster(at) = walk_end { Some(at) } else { None };
    Ok(SegmentHeader { segment, is_truncated, info: info.unwrap_or_default(), tracks, cues, first_cluster })
}

/// Reads the EBML header and returns its end.
fn read_ebml_header(buffer: &SparseBuffer) -> Result<u64, ReadError> {
    let element = match ebml::read_element(buffer, 0, buffer.total_bytes()) {
        ElementRead::Element(element) if element.id == ids::EBML => element,
        ElementRead::Gap(at) => {
            return Err(ReadError::from_missing_range(
                at..at.saturating_add(WINDOW_BYTES).min(buffer.total_bytes()),
            ));
        }
        _ => return Err(ReadError::Rejected(Code::NotAVideo)),
    };
    let Some(size) = element.size.filter(|size| *size <= WINDOW_BYTES) else {
        return Err(ReadError::Unsupported("EBML header of unknown or implausible size"));
    };
    for (id, body) in ebml::children(&ebml::read_body(buffer, &element)?) {
        match id {
            ids::DOC_TYPE if !matches!(ebml::parse_string(body), b"matroska" | b"webm") => {
                return Err(ReadError::Rejected(Code::NotAVideo));
            }
            ids::EBML_MAX_ID_LENGTH if ebml::parse_uint(body) > 4 => {
                return Err(ReadError::Unsupported("long EBML IDs"));
            }
            ids::EBML_MAX_SIZE_LENGTH if ebml::parse_uint(body) > 8 => {
                return Err(ReadError::Unsupported("long EBML sizes"));
            }
            _ => {}
        }
    }
    Ok(element.body + size)
}

/// Finds the segment. Returns the range of its body and whether the source ends before it does.
fn find_segment(buffer: &SparseBuffer, mut at: u64) -> Result<(Range<u64>, bool), ReadError> {
    for _ in 0..MAX_ELEMENTS {
        match ebml::read_element(buffer, at, buffer.total_bytes()) {
            ElementRead::Element(element) if element.id == ids::SEGMENT => {
                // A size of 0 was never filled in.
                let size = element.size.filter(|size| *size > 0);
                let end = size.map_or(buffer.total_bytes(), |size| element.body.saturating_add(size));
                return Ok((element.body..end.min(buffer.total_bytes()), end > buffer.total_bytes()));
            }
            ElementRead::Element(Element { size: Some(size), body, .. }) => at = body.saturating_add(size),
            ElementRead::Gap(gap) => {
                return Err(ReadError::from_missing_range(
                    gap..gap.saturating_add(WINDOW_BYTES).min(buffer.total_bytes()),
                ));
            }
            ElementRead::Element(_) | ElementRead::Damaged => {
                return Err(ReadError::Unsupported("no segment after the EBML header"));
            }
            ElementRead::End => break,
        }
    }
    Err(ReadError::Rejected(Code::Truncated))
}

#[derive(Debug, Default)]
struct TopLevelElements {
    info: Option<Element>,
    tracks: Option<Element>,
    cues: Option<Element>,
    /// Entries of seek heads: IDs and element offsets.
    seeks: Vec<(u32, u64)>,
}

/// How the walk to the first cluster ended.
#[derive(Debug, Clone, Copy)]
enum WalkEnd {
    Cluster(u64),
    Gap(u64),
    Damaged,
    End,
}

struct SeekHeadWalker<'a> {
    buffer: &'a SparseBuffer,
    segment: Range<u64>,
    elements: TopLevelElements,
    missing: Vec<Range<u64>>,
}

impl SeekHeadWalker<'_> {
    fn walk_to_cluster(&mut self) -> WalkEnd {
        let mut at = self.segment.start;
        for _ in 0..MAX_ELEMENTS {
            match ebml::read_element(self.buffer, at, self.segment.end) {
                ElementRead::Element(element) if element.id == ids::CLUSTER => return WalkEnd::Cluster(at),
                ElementRead::Element(element) => {
                    let Some(size) = element.size else { return WalkEnd::Damaged };
                    self.record_element(&element);
                    at = element.body.saturating_add(size);
                }
                ElementRead::Gap(gap) => return WalkEnd::Gap(gap),
                ElementRead::Damaged => return WalkEnd::Damaged,
                ElementRead::End => return WalkEnd::End,
            }
        }
        WalkEnd::Damaged
    }

    /// Stores a required element; only the first of each kind.
    fn record_element(&mut self, element: &Element) {
        let Some(size) = element.size else { return };
        if size > MAX_ELEMENT_BYTES {
            return;
        }
        match element.id {
            ids::INFO => _ = self.elements.info.get_or_insert(*element),
            ids::TRACKS => _ = self.elements.tracks.get_or_insert(*element),
            ids::CUES if size > 0 => _ = self.elements.cues.get_or_insert(*element),
            ids::SEEK_HEAD => match ebml::read_body(self.buffer, element) {
                Ok(body) => self.parse_seek_head(&body),
                Err(ReadError::NeedMore(ranges)) => self.missing.extend(ranges),
                Err(_) => {}
            },
            _ => {}
        }
    }

    fn parse_seek_head(&mut self, body: &[u8]) {
        for (_, seek) in ebml::children(body).filter(|(id, _)| *id == ids::SEEK) {
            let value = |wanted| {
                ebml::children(seek).find(|(id, _)| *id == wanted).map(|(_, body)| ebml::parse_uint(body))
            };
            if let (Some(id), Some(position)) = (value(ids::SEEK_ID), value(ids::SEEK_POSITION))
                && self.elements.seeks.len() < MAX_ELEMENTS
                && matches!(id as u32, ids::INFO | ids::TRACKS | ids::CUES | ids::SEEK_HEAD)
            {
                self.elements.seeks.push((id as u32, self.segment.start.saturating_add(position)));
            }
        }
    }

    /// Follows the entries of seek heads, including those of a second seek head.
    fn follow_seek_heads(&mut self) -> Result<(), ReadError> {
        let mut next = 0;
        while let Some((id, at)) = self.elements.seeks.get(next).copied() {
            next += 1;
            let is_found = match id {
                ids::INFO => self.elements.info.is_some(),
                ids::TRACKS => self.elements.tracks.is_some(),
                ids::CUES => self.elements.cues.is_some(),
                _ => false,
            };
            let window = if id == ids::CUES { CUES_WINDOW } else { WINDOW_BYTES };
            match ebml::read_element(self.buffer, at, self.segment.end) {
                _ if is_found => {}
                ElementRead::Element(element) if element.id == id => {
                    if element.size.is_some_and(|size| size > MAX_ELEMENT_BYTES) && id == ids::TRACKS {
                        return Err(ReadError::Unsupported("implausible size of the tracks element"));
                    }
                    self.record_element(&element);
                }
                ElementRead::Gap(gap) => {
                    self.missing.push(gap..gap.saturating_add(window).min(self.segment.end));
                }
                // No such element at this position: ignore the entry.
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

    fn seek_head(entries: &[(u32, u64)]) -> Vec<u8> {
        let one = |(id, at): &(u32, u64)| {
            let parts =
                [element(ids::SEEK_ID, &id.to_be_bytes()), element(ids::SEEK_POSITION, &at.to_be_bytes())];
            element(ids::SEEK, &parts.concat())
        };
        element(ids::SEEK_HEAD, &entries.iter().flat_map(one).collect::<Vec<u8>>())
    }

    /// Reads a document of which only the first `head` bytes are buffered at first. Returns the number of round trips,
    /// too.
    fn read_in_rounds(source: &Bytes, head: usize) -> (Result<SegmentHeader, ReadError>, usize) {
        let mut buffer = SparseBuffer::new(source.len() as u64);
        buffer.insert(0, &source.slice(..head.min(source.len())));
        for rounds in 0..8 {
            match read(&buffer) {
                Err(ReadError::NeedMore(ranges)) => {
                    for range in ranges {
                        buffer.insert(range.start, &source.slice(range.start as usize..range.end as usize));
                    }
                }
                other => return (other, rounds),
            }
        }
        panic!("does not finish within 8 rounds");
    }

    #[test]
    fn rejects_other_files() {
        for (source, expected) in [
            (document("matroska", &[]), ReadError::Rejected(Code::Truncated)),
            (document("avi", &[]), ReadError::Rejected(Code::NotAVideo)),
            (Bytes::from_static(b"no EBML at all"), ReadError::Rejected(Code::NotAVideo)),
            (document("webm", &element(ids::CLUSTER, b"")), ReadError::Rejected(Code::NoVideoStream)),
            (document("webm", &[0; 30]), ReadError::Unsupported("damaged segment header")),
        ] {
            assert_eq!(read_in_rounds(&source, 64).0.map(|_| ()), Err(expected));
        }
    }

    #[test]
    fn follows_second_seek_head() {
        let clusters = element(ids::CLUSTER, &vec![0; 100_000]);
        let tracks = element(ids::TRACKS, b"tracks");
        let length = seek_head(&[(ids::SEEK_HEAD, 0), (ids::INFO, 0)]).len() as u64;
        let second = length + tracks.len() as u64 + clusters.len() as u64;
        let cues = second + seek_head(&[(ids::CUES, 0)]).len() as u64;
        let first = seek_head(&[(ids::SEEK_HEAD, second), (ids::INFO, 5)]);
        let parts = [first, tracks, clusters, seek_head(&[(ids::CUES, cues)]), element(ids::CUES, b"cues")];
        let source = document("matroska", &parts.concat());
        let (header, rounds) = read_in_rounds(&source, 1000);
        let head = header.unwrap();
        assert_eq!(
            (&head.tracks[..], &head.info[..], head.cues.as_deref()),
            (&b"tracks"[..], &b""[..], Some(&b"cues"[..]))
        );
        assert_eq!(head.first_cluster, Some(head.segment.start + length + 18));
        assert!(rounds <= 1, "{rounds}");
    }

    #[test]
    fn fetches_tracks_after_attachments_in_one_round() {
        let parts = [
            element(ids::INFO, b"info"),
            element(ids::ATTACHMENTS, &vec![0; 200_000]),
            element(ids::TRACKS, b"tracks"),
            element(ids::CLUSTER, b""),
        ];
        let (header, rounds) = read_in_rounds(&document("matroska", &parts.concat()), 1000);
        assert_eq!((&header.unwrap().tracks[..], rounds), (&b"tracks"[..], 1));
    }
}
