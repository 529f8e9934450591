//! Parses edit lists, which map the media of a track to its presentation: ISO 14496-12, 8.6.6.

use crate::demux::error::ReadError;
use crate::demux::index::PresentedSpan;
use crate::demux::mp4::boxes::BoxReader;

/// All of the media, from its beginning.
const WHOLE_MEDIA: PresentedSpan =
    PresentedSpan { media_start: 0, media_end: i64::MAX, presentation_start: 0, starts_at_frame: false };

/// A video whose first frame is at least this many seconds late was cut from a longer one with the clock of that one. A
/// shorter delay is kept, as in all players.
pub(super) const LATE_SECS: u64 = 10;

/// Duration of the empty edits before the first edit of a track, in ticks of the movie. If every track has such a
/// delay, the presentation starts after the shortest: the file was cut from a longer one, with its clock.
pub(super) fn empty_edit_ticks(elst: Option<&[u8]>) -> u64 {
    parse_entries(elst)
        .into_iter()
        .flatten()
        .take_while(|row| row.media_time < 0)
        .fold(0, |sum, row| sum.saturating_add(row.segment_duration))
}

/// End of an audio track that lasts `ticks`, in ticks of the track: with the span that [`parse`] returns, or after all
/// spans if there are several.
pub(super) fn presentation_end(
    elst: Option<&[u8]>,
    timescale: u32,
    (movie, start_delay): (u32, u64),
    ticks: i64,
) -> i64 {
    if let Ok(spans) = parse(elst, timescale, (movie, start_delay), false)
        && let [span] = spans[..]
    {
        return ticks
            .min(span.media_end)
            .saturating_sub(span.media_start)
            .saturating_add(span.presentation_start)
            .max(0);
    }
    let all = parse_entries(elst)
        .into_iter()
        .flatten()
        .fold(0_u64, |sum, row| sum.saturating_add(row.segment_duration));
    rescale(all.saturating_sub(start_delay), timescale, movie)
}

/// An entry of the list.
struct EditListEntry {
    /// In ticks of the movie.
    segment_duration: u64,
    /// In ticks of the track; negative in an empty edit.
    media_time: i64,
}

/// The complete entries of a list; `None` if there is no list.
fn parse_entries(elst: Option<&[u8]>) -> Option<impl Iterator<Item = EditListEntry>> {
    let mut fields = BoxReader(elst?);
    let (version, _) = fields.version_and_flags()?;
    let mut left = fields.u32()?;
    Some(std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let length = fields.versioned_uint(version)?;
        let from = if version == 1 { fields.u64()?.cast_signed() } else { fields.i32()?.into() };
        let _rate = fields.u32()?;
        Some(EditListEntry { segment_duration: length, media_time: from })
    }))
}

/// The most spans in a list.
const MAX_SPANS: usize = 512;

/// Parses the body of an `elst` into presented spans of the media, at least one. Durations in the list are in ticks of
/// the movie, media times in ticks of the track. The delay that all tracks share is subtracted.
///
/// Like in ffmpeg, the first frame is presented at the start of the edit, even if the edit starts within it. In
/// fragmented files (`is_fragmented`), whose end is not known when the list is written, only the start is used.
///
/// # Errors
/// [`ReadError::Unsupported`] if the list has more spans than are supported: several in a fragmented file, or hundreds.
pub(super) fn parse(
    elst: Option<&[u8]>,
    timescale: u32,
    (movie, start_delay): (u32, u64),
    is_fragmented: bool,
) -> Result<Vec<PresentedSpan>, ReadError> {
    let Some(rows) = parse_entries(elst) else { return Ok(vec![WHOLE_MEDIA]) };
    let mut spans: Vec<PresentedSpan> = Vec::new();
    // In ticks of the movie, so that rounding errors do not accumulate.
    let mut elapsed = 0_u64;
    let mut is_discontinuous = true;
    for EditListEntry { segment_duration: length, media_time: from } in rows {
        let at =
            rescale(elapsed, timescale, movie).saturating_sub(rescale(start_delay, timescale, movie)).max(0);
        elapsed = elapsed.saturating_add(length);
        if from < 0 {
            is_discontinuous = true;
            continue;
        }
        let is_open_ended = length == 0 || is_fragmented;
        let until =
            if is_open_ended { i64::MAX } else { from.saturating_add(rescale(length, timescale, movie)) };
        let is_full = is_fragmented || spans.len() >= MAX_SPANS;
        match spans.last_mut() {
            // A continuation of the same span, within the precision of both timescales.
            Some(before) if !is_discontinuous && from.abs_diff(before.media_end) <= 1 => {
                before.media_end = until;
            }
            Some(_) if length == 0 => {}
            Some(_) if is_full => {
                return Err(ReadError::Unsupported("edit list with several spans"));
            }
            _ => spans.push(PresentedSpan {
                media_start: from,
                media_end: until,
                presentation_start: at,
                starts_at_frame: !is_fragmented,
            }),
        }
        is_discontinuous = false;
    }
    if spans.is_empty() {
        let at = rescale(elapsed, timescale, movie).saturating_sub(rescale(start_delay, timescale, movie));
        spans.push(PresentedSpan { presentation_start: at.max(0), ..WHOLE_MEDIA });
    }
    Ok(spans)
}

/// Converts ticks from one timescale to another, rounded to the nearest.
pub(super) fn rescale(ticks: u64, to: u32, from: u32) -> i64 {
    let from = u128::from(from.max(1));
    i64::try_from((u128::from(ticks) * u128::from(to) + from / 2) / from).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit_list(rows: &[(u32, i32)]) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend((rows.len() as u32).to_be_bytes());
        for (length, from) in rows {
            body.extend(length.to_be_bytes());
            body.extend(from.to_be_bytes());
            body.extend([0, 1, 0, 0]);
        }
        body
    }

    /// A second, divided into a thousand consecutive edits.
    const PIECES: [(u32, i32); 1000] = {
        let mut rows = [(1, 0); 1000];
        let (mut place, mut from) = (0, 0);
        while place < rows.len() {
            rows[place].1 = from;
            from += 90;
            place += 1;
        }
        rows
    };

    #[test]
    fn parses_presented_spans() {
        for (rows, expected) in [
            (&[(1000, 0)][..], &[(0, 90_000, 0)][..]),
            (&[(1000, 3000)], &[(3000, 93_000, 0)]),
            (&[(500, -1), (1000, 3000)], &[(3000, 93_000, 45_000)]),
            (&[(500, -1), (100, -1), (1000, 0)], &[(0, 90_000, 54_000)]),
            (&[(1000, 0), (1000, 90_000)], &[(0, 180_000, 0)]),
            (&[(1000, 0), (500, -1)], &[(0, 90_000, 0)]),
            (&[(0, 2000)], &[(2000, i64::MAX, 0)]),
            (&[(500, -1)], &[(0, i64::MAX, 45_000)]),
            // Some editors write an entry for each frame.
            (&PIECES, &[(0, 90_000, 0)]),
            (&[(1000, 0), (1000, 0)], &[(0, 90_000, 0), (0, 90_000, 90_000)]),
            (&[(1000, 180_000), (1000, 0)], &[(180_000, 270_000, 0), (0, 90_000, 90_000)]),
            (&[(1000, 0), (1000, 180_000)], &[(0, 90_000, 0), (180_000, 270_000, 90_000)]),
            // An empty edit in between.
            (&[(1000, 0), (500, -1), (1000, 90_000)], &[(0, 90_000, 0), (90_000, 180_000, 135_000)]),
            (&[(1000, 0), (1000, 180_000), (0, 0)], &[(0, 90_000, 0), (180_000, 270_000, 90_000)]),
        ] {
            let shown = parse(Some(&edit_list(rows)), 90_000, (1000, 0), false).unwrap();
            let shown: Vec<_> = shown
                .iter()
                .map(|shown| (shown.media_start, shown.media_end, shown.presentation_start))
                .collect();
            assert_eq!(shown, expected, "{rows:?}");
        }
        let several = edit_list(&[(1000, 0), (1000, 180_000)]);
        assert!(matches!(parse(Some(&several), 90_000, (1000, 0), true), Err(ReadError::Unsupported(_))));
        let many: Vec<_> = (0..1000).map(|place| (10, place * 2000 % 7777)).collect();
        assert!(matches!(
            parse(Some(&edit_list(&many)), 90_000, (1000, 0), false),
            Err(ReadError::Unsupported(_))
        ));
    }

    #[test]
    fn subtracts_common_start_delay() {
        let rows = &[(500, -1), (100, -1), (1000, 3000), (9, -1)];
        assert_eq!(
            (
                empty_edit_ticks(Some(&edit_list(rows))),
                empty_edit_ticks(Some(&edit_list(&rows[2..]))),
                empty_edit_ticks(None)
            ),
            (600, 0, 0)
        );
        for (waited, at) in [(0, 54_000), (500, 9000), (600, 0), (u64::MAX, 0)] {
            assert_eq!(
                parse(Some(&edit_list(rows)), 90_000, (1000, waited), false).unwrap()[0].presentation_start,
                at,
                "{waited}"
            );
        }
    }

    #[test]
    fn audio_ends_with_its_edits() {
        for (rows, expected) in [
            (&[][..], 500_000),
            (&[(1000, 3000)][..], 90_000),
            (&[(9000, 3000)], 497_000),
            (&[(500, -1), (1000, 3000)], 135_000),
            (&[(0, 3000)], 497_000),
            (&[(1000, 0), (2000, 0)], 270_000),
        ] {
            let list = Some(edit_list(rows)).filter(|_| !rows.is_empty());
            assert_eq!(presentation_end(list.as_deref(), 90_000, (1000, 0), 500_000), expected, "{rows:?}");
        }
    }

    #[test]
    fn ignores_truncated_and_absurd_lists() {
        let mut body = edit_list(&[(1000, 0)]);
        body[4..8].fill(0xff);
        assert_eq!(parse(Some(&body), 90_000, (0, 0), false).unwrap()[0].media_start, 0);
        assert_eq!(parse(Some(&body[..7]), 90_000, (1000, 0), false), Ok(vec![WHOLE_MEDIA]));
        assert_eq!(rescale(u64::MAX, u32::MAX, 0), i64::MAX);
    }
}
