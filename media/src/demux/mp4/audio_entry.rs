//! Parses and rebuilds the sample entries of AAC (ISO 14496-12, 12.2.3; ISO 14496-14, 5.6; QuickTime File Format, sound
//! sample description).

use bytes::Bytes;

use crate::demux::aac::{self, AacConfig};
use crate::demux::mp4::boxes::{BoxReader, FourCc, child, children};
use crate::demux::mp4::sample_entry::{parse_esds, write_tag};
use crate::mux::boxes::write_box;

/// The object type of AAC in MPEG-4, and those of its profiles in MPEG-2: ISO 14496-1, table 5.
pub(super) const MPEG4_AUDIO: u8 = 0x40;
const MPEG2_AUDIO: std::ops::RangeInclusive<u8> = 0x66..=0x68;
/// The most child boxes that are read.
const MAX_CHILDREN: usize = 64;

/// The decoder configuration of a sample entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AacEntry<'a> {
    pub(super) object_type: u8,
    pub(super) config: &'a [u8],
    pub(super) aac: AacConfig,
}

impl AacEntry<'_> {
    /// Serializes the whole box.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut decoder = vec![self.object_type];
        // An audio stream, with no buffer size or bitrates: nothing reads them.
        decoder.extend([0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        write_tag(&mut decoder, 5, self.config);
        let mut stream = vec![0, 0, 0];
        write_tag(&mut stream, 4, &decoder);
        write_tag(&mut stream, 6, &[2]);
        let channels = if self.aac.channels == 0 { 2 } else { self.aac.channels };
        let mut out = Vec::new();
        write_box(&mut out, *b"mp4a", |out| {
            out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
            out.extend([0; 8]);
            out.extend(channels.to_be_bytes());
            // 16 bits per sample, as all writers state.
            out.extend([0, 16, 0, 0, 0, 0]);
            // A 16.16 fixed-point number; 0 if it does not fit.
            out.extend(u16::try_from(self.aac.sample_rate).unwrap_or(0).to_be_bytes());
            out.extend([0; 2]);
            write_box(out, *b"esds", |out| {
                out.extend([0; 4]);
                write_tag(out, 3, &stream);
            });
        });
        out.into()
    }
}

/// Parses an entry of `stsd`, without its header. `None` if it is not AAC, is encrypted, or refers to another file.
pub(super) fn parse<'a>(kind: FourCc, body: &'a [u8], self_contained: &[bool]) -> Option<AacEntry<'a>> {
    if kind != *b"mp4a" {
        return None;
    }
    let mut fields = BoxReader(body);
    fields.take(6)?;
    let reference = usize::from(fields.u16()?);
    let version = fields.u16()?;
    fields.take(18)?;
    if !reference.checked_sub(1).and_then(|place| self_contained.get(place)).copied().unwrap_or(true) {
        return None;
    }
    // QuickTime's versions 1 and 2 have more fields, but MP4's version 1 has not.
    let skipped: &[usize] = match version {
        1 => &[16, 0],
        2 => &[36, 0],
        _ => &[0],
    };
    skipped.iter().find_map(|skip| find_configuration(fields.0.get(*skip..)?))
}

/// The configuration among the child boxes of an entry. QuickTime stores it in a `wave` box.
fn find_configuration(boxes: &[u8]) -> Option<AacEntry<'_>> {
    let is_encrypted = children(boxes).take(MAX_CHILDREN).any(|(kind, _)| kind == *b"sinf");
    let esds = children(boxes).take(MAX_CHILDREN).find_map(|(kind, body)| match &kind {
        b"esds" => Some(body),
        b"wave" => child(body, *b"esds"),
        _ => None,
    });
    let (object_type, config) = parse_esds(esds.filter(|_| !is_encrypted)?)?;
    let is_aac = object_type == MPEG4_AUDIO || MPEG2_AUDIO.contains(&object_type);
    Some(AacEntry { object_type, config, aac: aac::parse(config)? }).filter(|_| is_aac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = &[0x12, 0x10];

    fn esds(object_type: u8) -> Vec<u8> {
        let aac = aac::parse(CONFIG).unwrap();
        let built = AacEntry { object_type, config: CONFIG, aac }.to_bytes();
        built[36..].to_vec()
    }

    /// An entry of this version, with this many bytes of additional fields before its child boxes.
    fn entry(version: u16, fields: usize, child_boxes: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1];
        body.extend(version.to_be_bytes());
        body.extend([0; 6]);
        body.extend([0, 2, 0, 16, 0, 0, 0, 0, 0xac, 0x44, 0, 0]);
        body.extend(vec![0; fields]);
        body.extend(child_boxes);
        body
    }

    #[test]
    fn finds_configuration_in_every_version() {
        let plain = esds(MPEG4_AUDIO);
        let mut wave = Vec::new();
        write_box(&mut wave, *b"wave", |out| {
            write_box(out, *b"frma", |out| out.extend(b"mp4a"));
            write_box(out, *b"mp4a", |out| out.extend([0; 4]));
            out.extend(&plain);
            out.extend([0; 8]);
        });
        for (name, body) in [
            ("MP4", entry(0, 0, &plain)),
            ("MP4, version 1", entry(1, 0, &plain)),
            ("QuickTime, version 0", entry(0, 0, &wave)),
            ("QuickTime, version 1", entry(1, 16, &wave)),
            ("QuickTime, version 2", entry(2, 36, &wave)),
            ("MPEG-2", entry(0, 0, &esds(0x67))),
        ] {
            let found = parse(*b"mp4a", &body, &[true]).expect(name);
            assert_eq!(
                (found.config, found.aac.sample_rate, found.aac.channels),
                (CONFIG, 44_100, 2),
                "{name}"
            );
            // Parsing the rebuilt entry has the same result.
            let built = found.to_bytes();
            assert_eq!(built[..8], [&(built.len() as u32).to_be_bytes()[..], b"mp4a"].concat()[..]);
            assert_eq!(parse(*b"mp4a", &built[8..], &[]), Some(found), "{name}");
        }
    }

    #[test]
    fn other_entries_have_no_configuration() {
        let plain = esds(MPEG4_AUDIO);
        let mut protected = plain.clone();
        write_box(&mut protected, *b"sinf", |_| ());
        assert_eq!(parse(*b"mp4a", &entry(0, 0, &protected), &[true]), None);
        assert_eq!(parse(*b"mp4a", &entry(0, 0, &esds(0x6b)), &[true]), None, "MP3");
        assert_eq!(parse(*b"ac-3", &entry(0, 0, &plain), &[true]), None);
        assert_eq!(parse(*b"mp4a", &entry(0, 0, &plain), &[false]), None, "in another file");
        let whole = entry(0, 0, &plain);
        for length in 0..whole.len() - plain.len() + 20 {
            assert_eq!(parse(*b"mp4a", &whole[..length], &[true]), None, "{length}");
        }
    }
}
