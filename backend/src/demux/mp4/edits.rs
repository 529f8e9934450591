//! Decides which part of a track is shown, and when, by its edit list: ISO 14496-12, 8.6.6.

use super::super::known::Fault;
use super::boxes::Fields;
use super::index::Shown;

/// All of the media, from when it begins on.
const ALL: Shown = Shown { from: 0, until: i64::MAX, at: 0, to_picture: false };

/// Reads the body of an `elst`. Lengths in it are in ticks of the movie, times in those of the track.
///
/// Like ffmpeg, the first picture that is shown is shown at the edit's beginning, even if the edit begins within it;
/// and in fragments (`fragmented`), whose end is not known when the list is written, only the beginning counts.
///
/// # Errors
/// [`Fault::Foreign`] where the list puts several stretches together: ffmpeg has its own way with those.
pub(super) fn read(
    elst: Option<&[u8]>,
    timescale: u32,
    movie: u32,
    fragmented: bool,
) -> Result<Shown, Fault> {
    let Some(mut fields) = elst.map(Fields) else { return Ok(ALL) };
    let Some(((version, _), rows)) = fields.full().and_then(|full| Some((full, fields.u32()?))) else {
        return Ok(ALL);
    };
    let mut shown: Option<Shown> = None;
    let mut at = 0_i64;
    for _ in 0..rows {
        let length = fields.sized(version);
        let from =
            if version == 1 { fields.u64().map(u64::cast_signed) } else { fields.i32().map(i64::from) };
        let (Some(length), Some(from), Some(_rate)) = (length, from, fields.u32()) else { break };
        let length = rescale(length, timescale, movie);
        if from < 0 {
            if shown.is_none() {
                at = at.saturating_add(length);
            }
            continue;
        }
        let until = if length == 0 || fragmented { i64::MAX } else { from.saturating_add(length) };
        match &mut shown {
            None => shown = Some(Shown { from, until, at, to_picture: !fragmented }),
            // The next piece of the same stretch, as near as the two time scales can say.
            Some(before) if from.abs_diff(before.until) <= 1 => before.until = until,
            Some(_) if length == 0 => {}
            Some(_) => return Err(Fault::Foreign("an edit list of several stretches")),
        }
    }
    Ok(shown.unwrap_or(Shown { at, ..ALL }))
}

/// Ticks of one scale in those of another, rounded to the nearest.
pub(super) fn rescale(ticks: u64, to: u32, from: u32) -> i64 {
    let from = u128::from(from.max(1));
    i64::try_from((u128::from(ticks) * u128::from(to) + from / 2) / from).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: &[(u32, i32)]) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend((rows.len() as u32).to_be_bytes());
        for (length, from) in rows {
            body.extend(length.to_be_bytes());
            body.extend(from.to_be_bytes());
            body.extend([0, 1, 0, 0]);
        }
        body
    }

    /// A second, cut into a thousand pieces that follow one another.
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
    fn knows_what_is_shown() {
        for (rows, expected) in [
            (&[(1000, 0)][..], Some((0, 90_000, 0))),
            (&[(1000, 3000)], Some((3000, 93_000, 0))),
            (&[(500, -1), (1000, 3000)], Some((3000, 93_000, 45_000))),
            (&[(500, -1), (100, -1), (1000, 0)], Some((0, 90_000, 54_000))),
            (&[(1000, 0), (1000, 90_000)], Some((0, 180_000, 0))),
            (&[(1000, 0), (500, -1)], Some((0, 90_000, 0))),
            (&[(0, 2000)], Some((2000, i64::MAX, 0))),
            (&[(500, -1)], Some((0, i64::MAX, 45_000))),
            (&[(1000, 0), (1000, 0)], None),
            // Editors write a row for each picture.
            (&PIECES, Some((0, 90_000, 0))),
            (&[(1000, 180_000), (1000, 0)], None),
            (&[(1000, 0), (1000, 180_000)], None),
        ] {
            let shown = read(Some(&list(rows)), 90_000, 1000, false).ok();
            assert_eq!(shown.map(|shown| (shown.from, shown.until, shown.at)), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_list_that_is_cut_off_or_absurd_is_survived() {
        let mut body = list(&[(1000, 0)]);
        body[4..8].fill(0xff);
        assert_eq!(read(Some(&body), 90_000, 0, false).unwrap().from, 0);
        assert_eq!(read(Some(&body[..7]), 90_000, 1000, false), Ok(ALL));
        assert_eq!(rescale(u64::MAX, u32::MAX, 0), i64::MAX);
    }
}
