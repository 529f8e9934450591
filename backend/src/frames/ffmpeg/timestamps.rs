//! Decides whether a stream is one film or several that were joined, each with a clock of its own. Pure, but for what it
//! reads of the source.
//!
//! A recorder that was stopped and started, or two files that were copied together, begin their clock again. Then the
//! times at both ends tell nothing of the length, and a search by time finds one of the parts only. So the times on the
//! way are looked at: all of them in a small stream, and some in a large one, as near to a join as is needed.

use std::ops::Range;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::JobError;
use crate::frames::exit_status;
use crate::source::proxy::Relay;
use glimpse_media::container::{self, Container, SYNC};

/// A stream up to this length is read as a whole: the relay keeps it for the decoders.
const WHOLE_BYTES: u64 = 64 * 1024 * 1024;
/// How much is read at once of one that is read as a whole.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// Chunks overlap by this, so that no header is cut.
const OVERLAP_BYTES: u64 = 1024;
/// At how many places a larger one is looked at.
const PLACES: u64 = 64;
/// How much is read at each: the largest pictures are about as large.
const LOOK_BYTES: u64 = 256 * 1024;
/// A stream that is looked at is read this many places at once.
const AT_ONCE: usize = 8;
/// Ticks of a clock in a millisecond.
const TICKS: i64 = 90;
/// After so many ticks a clock begins again by itself.
const WRAP: i64 = 1 << 33;
/// How far back a clock may jump in one film, in ticks: less than two pictures of one that stood still.
const BACK: i64 = 100 * TICKS;
/// How far on a clock may jump in one film, in ticks: as long as no picture is shown.
const ON: i64 = 5 * 60 * 1000 * TICKS;
/// More joins than this are none.
const MOST_PIECES: usize = 1_000;

/// One of the films that a stream is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its bytes.
    pub(super) bytes: Range<u64>,
    /// When it begins in the whole, in milliseconds.
    pub(super) start_ms: u64,
    /// How long it is, in milliseconds.
    pub(super) length_ms: u64,
}

/// The time of one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Where its packet begins.
    at: u64,
    /// From where a decoder can be handed the stream to find it: where the stream is described before it.
    entry: u64,
    /// When it is decoded, in ticks.
    dts: i64,
    /// When it is shown, in ticks.
    pts: i64,
}

/// The films that a stream is made of, if those are several. `fps` is how many pictures it has a second.
///
/// # Errors
/// The storage failed.
pub(super) async fn pieces(relay: &Relay, container: Container, fps: f64) -> Result<Vec<Piece>, JobError> {
    let total = relay.total();
    let (stamps, on) = if total <= WHOLE_BYTES {
        (scanned(relay, container, 0..total).await?, ON)
    } else {
        sampled(relay, container, total).await?
    };
    let picture = if fps > 0.0 { (1000.0 / fps * TICKS as f64) as i64 } else { 0 };
    Ok(joined(&stamps, total, on, picture))
}

/// The stamps of all that lies between.
async fn scanned(relay: &Relay, container: Container, range: Range<u64>) -> Result<Vec<Stamp>, JobError> {
    let mut stamps: Vec<Stamp> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let end = (at + CHUNK_BYTES).min(range.end);
        for stamp in look(relay, container, at..end).await? {
            if stamps.last().is_none_or(|last| last.at < stamp.at) {
                stamps.push(stamp);
            }
        }
        at = if end == range.end { end } else { end - OVERLAP_BYTES };
    }
    Ok(stamps)
}

/// The stamps at some places, and all of those around a join; and how far on a clock may jump between them.
async fn sampled(relay: &Relay, container: Container, total: u64) -> Result<(Vec<Stamp>, i64), JobError> {
    let place = |place: u64| {
        let start = (total - LOOK_BYTES) / (PLACES - 1) * place;
        look(relay, container, start..start + LOOK_BYTES)
    };
    let looks: Vec<Vec<Stamp>> =
        futures::stream::iter((0..PLACES).map(place)).buffered(AT_ONCE).try_collect().await?;
    // Between two places a clock advances.
    let firsts: Vec<i64> = looks.iter().filter_map(|look| look.first()).map(|stamp| stamp.dts).collect();
    let mut ways: Vec<i64> = firsts.windows(2).map(|pair| forward(pair[0], pair[1])).collect();
    ways.sort_unstable();
    let on = ON.max(8 * ways.get(ways.len() / 2).copied().unwrap_or(0));
    let mut stamps: Vec<Stamp> = looks.into_iter().flatten().collect();
    let mut found = Vec::new();
    for pair in stamps.windows(2) {
        let (mut low, mut high) = (pair[0], pair[1]);
        if !is_join(&low, &high, on) {
            continue;
        }
        while high.at - low.at > 2 * LOOK_BYTES {
            let middle = low.at.midpoint(high.at);
            let Some(stamp) =
                look(relay, container, middle..(middle + LOOK_BYTES).min(high.at)).await?.first().copied()
            else {
                break;
            };
            if is_join(&low, &stamp, on) {
                high = stamp;
            } else {
                low = stamp;
            }
        }
        found.extend(scanned(relay, container, low.at..(high.at + LOOK_BYTES).min(total)).await?);
    }
    stamps.extend(found);
    stamps.sort_by_key(|stamp| stamp.at);
    stamps.dedup_by_key(|stamp| stamp.at);
    Ok((stamps, on))
}

async fn look(relay: &Relay, container: Container, range: Range<u64>) -> Result<Vec<Stamp>, JobError> {
    let start = range.start;
    let Ok(bytes) = relay.read(range).await else {
        exit_status::of_storage(relay.seen())?;
        return Err(JobError::upstream("the source could not be read"));
    };
    let mut stamps = match container {
        Container::Mpegts => transport_stamps(&bytes),
        Container::Mpeg => program_stamps(&bytes),
        _ => Vec::new(),
    };
    for stamp in &mut stamps {
        stamp.at += start;
        stamp.entry += start;
    }
    Ok(stamps)
}

/// How far a clock went on from one stamp to another, the shorter way around.
fn forward(from: i64, to: i64) -> i64 {
    let way = (to - from).rem_euclid(WRAP);
    if way > WRAP / 2 { way - WRAP } else { way }
}

fn is_join(one: &Stamp, other: &Stamp, on: i64) -> bool {
    !(-BACK..=on).contains(&forward(one.dts, other.dts))
}

/// The films between the joins of these stamps; none if there is no join. `picture` is how long a picture is shown.
fn joined(stamps: &[Stamp], total: u64, on: i64, picture: i64) -> Vec<Piece> {
    let mut films: Vec<&[Stamp]> = Vec::new();
    let mut begin = 0;
    for (place, pair) in stamps.windows(2).enumerate() {
        if is_join(&pair[0], &pair[1], on) {
            films.extend(stamps.get(begin..=place));
            begin = place + 1;
        }
    }
    films.extend(stamps.get(begin..).filter(|rest| !rest.is_empty()));
    if !(2..=MOST_PIECES).contains(&films.len()) {
        return Vec::new();
    }
    let mut start = 0;
    let mut pieces: Vec<Piece> = Vec::new();
    for (place, film) in films.iter().enumerate() {
        let first = film.first().map_or(0, |stamp| stamp.dts);
        let shown = film.iter().map(|stamp| forward(first, stamp.pts));
        let (least, most) = (shown.clone().min().unwrap_or(0), shown.max().unwrap_or(0));
        let length = (most - least + picture).max(0);
        let begin = if place == 0 { 0 } else { film.first().map_or(0, |stamp| stamp.entry) };
        let end = films.get(place + 1).and_then(|next| next.first()).map_or(total, |stamp| stamp.entry);
        pieces.push(Piece {
            bytes: begin..end,
            start_ms: (start / TICKS) as u64,
            length_ms: (length / TICKS) as u64,
        });
        start += length;
    }
    pieces
}

/// The stamps of a transport stream's first track of pictures: ISO 13818-1, 2.4.3.
fn transport_stamps(bytes: &[u8]) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    let mut track = None;
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(container::packets) {
        at += found.start;
        // Where the streams are listed, since the last picture.
        let mut list = None;
        while let Some(packet) = bytes.get(at..at + 188).filter(|packet| packet[0] == SYNC) {
            let id = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
            let begins = packet[1] & 0x40 != 0;
            if id == 0 && begins {
                list.get_or_insert(at as u64);
            }
            let payload = match packet[3] >> 4 & 3 {
                1 => packet.get(4..),
                3 => packet.get(5 + usize::from(packet[4])..),
                _ => None,
            };
            if begins
                && track.is_none_or(|track| track == id)
                && let Some((dts, pts)) = payload.and_then(times)
            {
                track = Some(id);
                stamps.push(Stamp { at: at as u64, entry: list.unwrap_or(at as u64), dts, pts });
                list = None;
            }
            at += found.length;
        }
        at += 1;
    }
    stamps
}

/// The stamps of a program stream's first track of pictures: ISO 13818-1, 2.5.3.
fn program_stamps(bytes: &[u8]) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    let mut track = None;
    let mut at = 0;
    let mut pack = None;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= 4) {
        if rest[..3] != [0, 0, 1] {
            at += 1;
            continue;
        }
        let id = rest[3];
        if id == 0xba {
            pack.get_or_insert(at as u64);
        }
        if track.is_none_or(|track| track == id)
            && let Some((dts, pts)) = times(rest)
        {
            track = Some(id);
            stamps.push(Stamp { at: at as u64, entry: pack.unwrap_or(at as u64), dts, pts });
            pack = None;
        }
        at += 4;
    }
    stamps
}

/// When the picture in a packet is decoded and shown, if that is one and says it: ISO 13818-1, 2.4.3.6, and of MPEG-1
/// ISO 11172-1, 2.4.3.3.
fn times(packet: &[u8]) -> Option<(i64, i64)> {
    let [0, 0, 1, 0xe0..=0xef, _, _, rest @ ..] = packet else { return None };
    let rest = if rest.first()? & 0xc0 == 0x80 {
        if rest.get(1)? & 0x80 == 0 {
            return None;
        }
        rest.get(3..)?
    } else {
        let stuffing = rest.iter().take_while(|byte| **byte == 0xff).count();
        let rest = rest.get(stuffing..)?;
        if rest.first()? & 0xc0 == 0x40 { rest.get(2..)? } else { rest }
    };
    let pts = time(rest)?;
    match rest[0] >> 4 {
        2 => Some((pts, pts)),
        3 => Some((time(rest.get(5..)?).unwrap_or(pts), pts)),
        _ => None,
    }
}

/// Thirty-three bits, with a bit that is set behind each part.
fn time(bytes: &[u8]) -> Option<i64> {
    let five: &[u8; 5] = bytes.first_chunk()?;
    if five[0] & five[2] & five[4] & 1 == 0 {
        return None;
    }
    let [top, high, middle, low, last] = five.map(i64::from);
    Some(((top >> 1) & 7) << 30 | high << 22 | (middle >> 1) << 15 | low << 7 | last >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(at: u64, ms: i64) -> Stamp {
        Stamp { at, entry: at, dts: ms * TICKS, pts: (ms + 40) * TICKS }
    }

    fn spans(stamps: &[Stamp]) -> Vec<(Range<u64>, u64, u64)> {
        let pieces = joined(stamps, 1000, ON, 40 * TICKS);
        pieces.into_iter().map(|piece| (piece.bytes, piece.start_ms, piece.length_ms)).collect()
    }

    #[test]
    fn a_clock_that_begins_again_begins_another_film() {
        let film = |at: u64, from: i64, to: i64| -> Vec<Stamp> {
            (from..to).map(|place| stamp(at + (place - from) as u64, place * 40)).collect()
        };
        let one = film(0, 10, 110);
        assert_eq!(spans(&one), [], "one film");
        let two = [film(0, 10, 110), film(500, 10, 60)].concat();
        assert_eq!(spans(&two), [(0..500, 0, 4000), (500..1000, 4000, 2000)]);
        let later = [film(0, 10, 110), film(500, 100_010, 100_060)].concat();
        assert_eq!(spans(&later), [(0..500, 0, 4000), (500..1000, 4000, 2000)], "an hour later");
        let shown = [film(0, 10, 110), film(500, 1010, 1060)].concat();
        assert_eq!(spans(&shown), [], "a picture that is shown for half a minute");
        let around = [stamp(0, (WRAP / TICKS) - 30), stamp(9, 10), stamp(20, 50)];
        assert_eq!(spans(&around), [], "a clock that is at its end");
    }

    #[test]
    fn times_are_read_of_both_kinds_of_packets() {
        let pts = [0x21, 0, 1, 0, 0xb5];
        let of = |head: &[u8]| times(&[&[0, 0, 1, 0xe0, 0, 0][..], head, &pts, &[0; 8]].concat());
        assert_eq!(of(&[0x80, 0x80, 5]), Some((90, 90)));
        assert_eq!(of(&[]), Some((90, 90)), "MPEG-1");
        assert_eq!(of(&[0xff, 0xff, 0x60, 0x20]), Some((90, 90)), "MPEG-1, stuffed");
        assert_eq!(of(&[0x80, 0, 0]), None, "no time");
        let both = [0x31, 0, 1, 1, 0x69, 0x11, 0, 1, 0, 0xb5];
        assert_eq!(times(&[&[0, 0, 1, 0xe1, 0, 0, 0x80, 0xc0, 10][..], &both].concat()), Some((90, 180)));
        assert_eq!(times(&[&[0, 0, 1, 0xc0, 0, 0, 0x80, 0x80, 5][..], &pts].concat()), None, "sound");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(prop::sample::select(
            vec![0_u8, 1, 0x47, 0xe0, 0xba, 0x80, 0xff, 0x21, 0x31]), 0..2000)) {
            let _ = (transport_stamps(&bytes), program_stamps(&bytes), times(&bytes));
        }
    }
}
