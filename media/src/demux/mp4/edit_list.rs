//! Decides which part of a track is shown, and when, by its edit list: ISO 14496-12, 8.6.6.

use crate::demux::buffer::Fault;
use crate::demux::index::Shown;
use crate::demux::mp4::boxes::Fields;

/// All of the media, from when it begins on.
const ALL: Shown = Shown { from: 0, until: i64::MAX, at: 0, to_picture: false };

/// From how many seconds before the first picture on a film counts as a piece with the clock of a longer one. A shorter wait
/// is one: every player waits so long, too.
pub(super) const LATE_SECS: u64 = 10;

/// How long nothing is shown of a track before its first edit, in ticks of the movie. A film of which every track has such
/// a wait begins after the shortest: it was cut out of a longer one, with its clock.
pub(super) fn wait(elst: Option<&[u8]>) -> u64 {
    rows(elst)
        .into_iter()
        .flatten()
        .take_while(|row| row.from < 0)
        .fold(0, |sum, row| sum.saturating_add(row.length))
}

/// When a track of sound is over that lasts so many ticks, in ticks of its own: as [`read`] says, or after all stretches
/// that its list puts together.
pub(super) fn end(elst: Option<&[u8]>, timescale: u32, (movie, waited): (u32, u64), ticks: i64) -> i64 {
    if let Ok(stretches) = read(elst, timescale, (movie, waited), false)
        && let [shown] = stretches[..]
    {
        return ticks.min(shown.until).saturating_sub(shown.from).saturating_add(shown.at).max(0);
    }
    let all = rows(elst).into_iter().flatten().fold(0_u64, |sum, row| sum.saturating_add(row.length));
    rescale(all.saturating_sub(waited), timescale, movie)
}

/// A row of the list.
struct Row {
    /// Ticks of the movie.
    length: u64,
    /// Ticks of the track; less than 0 where nothing is shown.
    from: i64,
}

/// The rows of a list, as far as it goes; nothing if there is none.
fn rows(elst: Option<&[u8]>) -> Option<impl Iterator<Item = Row>> {
    let mut fields = Fields(elst?);
    let (version, _) = fields.full()?;
    let mut left = fields.u32()?;
    Some(std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let length = fields.sized(version)?;
        let from = if version == 1 { fields.u64()?.cast_signed() } else { fields.i32()?.into() };
        let _rate = fields.u32()?;
        Some(Row { length, from })
    }))
}

/// The most stretches that a list may put together.
const MAX_STRETCHES: usize = 512;

/// Reads the body of an `elst`: what is shown, one stretch of the media after another, at least one. Lengths in it are in
/// ticks of the movie, times in those of the track. What all tracks wait for is left out.
///
/// Like ffmpeg, the first picture that is shown is shown at the edit's beginning, even if the edit begins within it;
/// and in fragments (`fragmented`), whose end is not known when the list is written, only the beginning counts.
///
/// # Errors
/// [`Fault::Foreign`] where the list puts more stretches together than are read: those of fragments, or hundreds.
pub(super) fn read(
    elst: Option<&[u8]>,
    timescale: u32,
    (movie, waited): (u32, u64),
    fragmented: bool,
) -> Result<Vec<Shown>, Fault> {
    let Some(rows) = rows(elst) else { return Ok(vec![ALL]) };
    let mut stretches: Vec<Shown> = Vec::new();
    // In ticks of the movie, so that what is rounded does not add up.
    let mut come = 0_u64;
    let mut is_apart = true;
    for Row { length, from } in rows {
        let at = rescale(come, timescale, movie).saturating_sub(rescale(waited, timescale, movie)).max(0);
        come = come.saturating_add(length);
        if from < 0 {
            is_apart = true;
            continue;
        }
        let whole = length == 0 || fragmented;
        let until = if whole { i64::MAX } else { from.saturating_add(rescale(length, timescale, movie)) };
        let is_full = fragmented || stretches.len() >= MAX_STRETCHES;
        match stretches.last_mut() {
            // The next piece of the same stretch, as near as the two time scales can say.
            Some(before) if !is_apart && from.abs_diff(before.until) <= 1 => before.until = until,
            Some(_) if length == 0 => {}
            Some(_) if is_full => {
                return Err(Fault::Foreign("an edit list of several stretches"));
            }
            _ => stretches.push(Shown { from, until, at, to_picture: !fragmented }),
        }
        is_apart = false;
    }
    if stretches.is_empty() {
        let at = rescale(come, timescale, movie).saturating_sub(rescale(waited, timescale, movie));
        stretches.push(Shown { at: at.max(0), ..ALL });
    }
    Ok(stretches)
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
            (&[(1000, 0)][..], &[(0, 90_000, 0)][..]),
            (&[(1000, 3000)], &[(3000, 93_000, 0)]),
            (&[(500, -1), (1000, 3000)], &[(3000, 93_000, 45_000)]),
            (&[(500, -1), (100, -1), (1000, 0)], &[(0, 90_000, 54_000)]),
            (&[(1000, 0), (1000, 90_000)], &[(0, 180_000, 0)]),
            (&[(1000, 0), (500, -1)], &[(0, 90_000, 0)]),
            (&[(0, 2000)], &[(2000, i64::MAX, 0)]),
            (&[(500, -1)], &[(0, i64::MAX, 45_000)]),
            // Editors write a row for each picture.
            (&PIECES, &[(0, 90_000, 0)]),
            (&[(1000, 0), (1000, 0)], &[(0, 90_000, 0), (0, 90_000, 90_000)]),
            (&[(1000, 180_000), (1000, 0)], &[(180_000, 270_000, 0), (0, 90_000, 90_000)]),
            (&[(1000, 0), (1000, 180_000)], &[(0, 90_000, 0), (180_000, 270_000, 90_000)]),
            // Nothing is shown for a while, and then it continues.
            (&[(1000, 0), (500, -1), (1000, 90_000)], &[(0, 90_000, 0), (90_000, 180_000, 135_000)]),
            (&[(1000, 0), (1000, 180_000), (0, 0)], &[(0, 90_000, 0), (180_000, 270_000, 90_000)]),
        ] {
            let shown = read(Some(&list(rows)), 90_000, (1000, 0), false).unwrap();
            let shown: Vec<_> = shown.iter().map(|shown| (shown.from, shown.until, shown.at)).collect();
            assert_eq!(shown, expected, "{rows:?}");
        }
        let several = list(&[(1000, 0), (1000, 180_000)]);
        assert!(matches!(read(Some(&several), 90_000, (1000, 0), true), Err(Fault::Foreign(_))));
        let many: Vec<_> = (0..1000).map(|place| (10, place * 2000 % 7777)).collect();
        assert!(matches!(read(Some(&list(&many)), 90_000, (1000, 0), false), Err(Fault::Foreign(_))));
    }

    #[test]
    fn what_all_tracks_wait_for_is_left_out() {
        let rows = &[(500, -1), (100, -1), (1000, 3000), (9, -1)];
        assert_eq!((wait(Some(&list(rows))), wait(Some(&list(&rows[2..]))), wait(None)), (600, 0, 0));
        for (waited, at) in [(0, 54_000), (500, 9000), (600, 0), (u64::MAX, 0)] {
            assert_eq!(read(Some(&list(rows)), 90_000, (1000, waited), false).unwrap()[0].at, at, "{waited}");
        }
    }

    #[test]
    fn sound_ends_where_its_edits_end() {
        for (rows, expected) in [
            (&[][..], 500_000),
            (&[(1000, 3000)][..], 90_000),
            (&[(9000, 3000)], 497_000),
            (&[(500, -1), (1000, 3000)], 135_000),
            (&[(0, 3000)], 497_000),
            (&[(1000, 0), (2000, 0)], 270_000),
        ] {
            let list = Some(list(rows)).filter(|_| !rows.is_empty());
            assert_eq!(end(list.as_deref(), 90_000, (1000, 0), 500_000), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_list_that_is_cut_off_or_absurd_is_survived() {
        let mut body = list(&[(1000, 0)]);
        body[4..8].fill(0xff);
        assert_eq!(read(Some(&body), 90_000, (0, 0), false).unwrap()[0].from, 0);
        assert_eq!(read(Some(&body[..7]), 90_000, (1000, 0), false), Ok(vec![ALL]));
        assert_eq!(rescale(u64::MAX, u32::MAX, 0), i64::MAX);
    }
}
