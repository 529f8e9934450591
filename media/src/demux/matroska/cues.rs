//! Parses the cues, the index of keyframes of a track: RFC 9559, 5.1.5.

use crate::demux::matroska::ebml::{children, parse_uint};
use crate::demux::matroska::ids;
use crate::demux::matroska::timestamps::TimestampConverter;

/// A position where decoding can start, according to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cue {
    /// Presentation time, in ticks.
    pub(super) time: i64,
    /// Offset of the cluster's header in the source.
    pub(super) cluster: u64,
    /// Offset of the block in the body of the cluster, if present.
    pub(super) relative_position: Option<u64>,
}

/// Parses the cues of a track, ascending, without duplicate times. Cues outside of the segment are skipped.
pub(super) fn parse(
    body: &[u8],
    segment: &std::ops::Range<u64>,
    track: u64,
    clock: &TimestampConverter,
) -> Vec<Cue> {
    let mut cues = Vec::new();
    for (_, point) in children(body).filter(|(id, _)| *id == ids::CUE_POINT) {
        let Some((_, time)) = children(point).find(|(id, _)| *id == ids::CUE_TIME) else { continue };
        let time = clock.to_ticks(i64::try_from(parse_uint(time)).unwrap_or(i64::MAX));
        for (_, positions) in children(point).filter(|(id, _)| *id == ids::CUE_TRACK_POSITIONS) {
            let value =
                |wanted| children(positions).find(|(id, _)| *id == wanted).map(|(_, body)| parse_uint(body));
            let Some(cluster) = value(ids::CUE_CLUSTER_POSITION) else { continue };
            let cluster = segment.start.saturating_add(cluster);
            if value(ids::CUE_TRACK) == Some(track) && cluster < segment.end {
                cues.push(Cue { time, cluster, relative_position: value(ids::CUE_RELATIVE_POSITION) });
            }
        }
    }
    cues.sort_unstable();
    cues.dedup_by_key(|cue| cue.time);
    cues
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_cues_and_drops_those_outside() {
        let point = |time: u8, track: u8, at: u8, relative_position: Option<u8>| {
            let mut place = vec![0xf7, 0x81, track, 0xf1, 0x81, at];
            place.extend(relative_position.into_iter().flat_map(|relative| [0xf0, 0x81, relative]));
            let positions = [&[0xb7, 0x80 | place.len() as u8][..], &place].concat();
            [&[0xbb, 0x80 | (positions.len() + 3) as u8, 0xb3, 0x81, time][..], &positions].concat()
        };
        let body = [
            point(9, 1, 50, Some(7)),
            point(4, 1, 20, None),
            point(4, 1, 30, None),
            point(5, 2, 25, None),
            point(12, 1, 200, None),
            vec![0xbb, 0x83, 0xb3, 0x81, 3],
        ];
        let cue = |time, cluster, relative| Cue { time, cluster, relative_position: relative };
        assert_eq!(
            parse(&body.concat(), &(100..250), 1, &TimestampConverter::new(0)),
            [cue(4, 120, None), cue(9, 150, Some(7))]
        );
    }
}
