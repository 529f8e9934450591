//! Decides how long a video is: as its container tells, or, where it tells nothing or nothing true, as is found out by
//! its last packets or by counting them.
//!
//! Recordings that a crash cut off tell no length or that of the plan; recordings of a stream count from where that
//! began; bare streams have no times at all. What is told is kept where it is about right.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::error::JobError;
use crate::frames::decoder::{Feed, Studio};
use crate::frames::exit_status;
use crate::frames::ffmpeg::timestamps::Piece;
use crate::source::proxy::Relay;
use glimpse_media::container::Container;
use glimpse_media::demux::flv::tag;
use glimpse_media::ffmpeg_args::{self, Input};
use glimpse_media::probe::{self, MediaInfo};

/// How much is read of the end for its last tag: at first, and if there is none in it.
const TAIL_BYTES: [u64; 2] = [256 * 1024, 4 * 1024 * 1024];
/// A source up to this length is read as a whole for its packets to be counted.
const COUNTED_BYTES: u64 = 1024 * 1024 * 1024;
/// A joined stream up to this length, which the relay keeps, and of so many films is read again for its pictures to be
/// counted.
const RECOUNTED_BYTES: u64 = 64 * 1024 * 1024;
const RECOUNTED_PIECES: usize = 20;
/// A start up to this is what muxers leave for reordering, in milliseconds.
const EARLY_MS: u64 = 2_000;

/// What is told, and what is found out about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The container says it where it ends, or its demuxer looked there.
    None,
    /// The time of the last tag, which takes one read, is held against it.
    LastTag,
    /// The demuxer can go near the end, and is asked what there is.
    LastPackets,
    /// Only counting tells.
    Count,
}

fn doubt(container: Container, info: &MediaInfo) -> Doubt {
    let untold = info.duration_ms == 0;
    match container {
        Container::Flv => Doubt::LastTag,
        // Its length is told from zero on, wherever it starts.
        Container::Asf if untold || info.start_ms > EARLY_MS => Doubt::LastPackets,
        Container::Ogg if untold => Doubt::LastPackets,
        // Its header has the number of frames that were meant: half of all that can be, in a pipe. Without an index its
        // length is told by its bytes.
        Container::Avi
            if !about(info.duration_ms, lasting(info.frames, info.fps))
                || !(1..=limits::MAX_DURATION_MS).contains(&info.duration_ms) =>
        {
            Doubt::Count
        }
        // What is told is an estimate out of the bit rate, which may be variable.
        Container::Mpegvideo => Doubt::Count,
        Container::Mpeg | Container::Mpegts if untold => Doubt::Count,
        _ => Doubt::None,
    }
}

/// Whether two lengths are the same but for a frame or two.
fn about(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= (one / 50).max(500)
}

/// Frames a second. Of a bare stream ffprobe's averages are its demuxer's guess.
pub(super) fn rate(container: Container, info: &MediaInfo) -> f64 {
    let is_bare = container == Container::Mpegvideo && info.picture_ms > 0.0;
    if is_bare { 1000.0 / info.picture_ms } else { info.fps }
}

/// How long so many frames last, in milliseconds.
fn lasting(frames: u64, fps: f64) -> u64 {
    if fps > 0.0 { (frames as f64 * 1000.0 / fps) as u64 } else { 0 }
}

/// The length of a source, in milliseconds; 0 if it cannot be found out.
///
/// # Errors
/// What ends the job; [`Code::TooLong`] if it is.
pub(super) async fn measure(
    studio: &Studio,
    relay: &Relay,
    container: Container,
    info: &MediaInfo,
) -> Result<u64, JobError> {
    let feed = Feed::Relay(relay, container);
    let found = match doubt(container, info) {
        Doubt::LastTag => last_tag(relay, info).await?,
        Doubt::LastPackets => {
            let words = ffmpeg_args::last_packets(feed.input(), info.stream, info.start_ms);
            let report = ask(studio, feed, &words).await?;
            report.and_then(|report| probe::end(&report)).map(|end| end.saturating_sub(info.start_ms))
        }
        Doubt::Count if relay.total() <= COUNTED_BYTES => {
            let words = ffmpeg_args::count_packets(feed.input(), info.stream);
            let report = ask(studio, feed, &words).await?;
            report.and_then(|report| probe::count(&report)).map(|count| lasting(count, info.fps))
        }
        // One that is larger would take too long.
        Doubt::None | Doubt::Count => None,
    };
    settled(info.duration_ms, found).map_err(JobError::Refused)
}

/// The length of what is told so long and found so long.
pub(super) fn settled(told: u64, found: Option<u64>) -> Result<u64, Code> {
    // Whoever jumps in its times to where no video is let through is not believed.
    let found = found.filter(|found| (1..=limits::MAX_DURATION_MS).contains(found));
    let length = found.filter(|found| !about(*found, told)).unwrap_or(told);
    if length > limits::MAX_DURATION_MS { Err(Code::TooLong) } else { Ok(length) }
}

/// How long each of these films is in which not every picture tells its time, and when it begins, as far as that can be
/// counted.
///
/// # Errors
/// What ends the job.
pub(super) async fn recount(
    studio: &Studio,
    relay: &Relay,
    info: &MediaInfo,
    pieces: &mut [Piece],
) -> Result<(), JobError> {
    if relay.total() > RECOUNTED_BYTES || pieces.len() > RECOUNTED_PIECES {
        return Ok(());
    }
    let mut start_ms = 0;
    for piece in pieces {
        let url = relay.url_of(&piece.bytes);
        let words = ffmpeg_args::count_packets(Input::Relay(Container::Mpeg, &url), info.stream);
        let report = ask(studio, Feed::Relay(relay, Container::Mpeg), &words).await?;
        let counted = report.and_then(|report| probe::count(&report)).map(|count| lasting(count, info.fps));
        piece.start_ms = start_ms;
        piece.length_ms = counted.filter(|length| *length > 0).unwrap_or(piece.length_ms);
        start_ms += piece.length_ms;
    }
    Ok(())
}

async fn last_tag(relay: &Relay, info: &MediaInfo) -> Result<Option<u64>, JobError> {
    let total = relay.total();
    for most in TAIL_BYTES {
        let Ok(tail) = relay.read(total.saturating_sub(most)..total).await else {
            exit_status::of_storage(relay.seen())?;
            return Ok(None);
        };
        if let Some(last) = tag::last_picture(&tail) {
            let length = last.saturating_sub(info.start_ms);
            // One that ends before it starts began to count anew on the way.
            return Ok((length > 0).then(|| length + lasting(1, info.fps)));
        }
        if total <= most {
            break;
        }
    }
    Ok(None)
}

/// What ffprobe says, if it ends in time and well.
pub(super) async fn ask(
    studio: &Studio,
    feed: Feed<'_>,
    words: &[String],
) -> Result<Option<Bytes>, JobError> {
    Ok(exit_status::of_a_look(studio.report(feed, words, studio.sweep()).await)?.ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_to_be_trusted_is_looked_after() {
        let told = |duration_ms, start_ms, frames| MediaInfo {
            duration_ms,
            start_ms,
            frames,
            fps: 25.0,
            ..MediaInfo::default()
        };
        for (container, info, expected) in [
            (Container::Mpegts, told(60_000, 3_600_000, 0), Doubt::None),
            (Container::Mpegts, told(0, 0, 0), Doubt::Count),
            (Container::Mpeg, told(60_000, 540, 0), Doubt::None),
            (Container::Mpegvideo, told(1064, 0, 0), Doubt::Count),
            (Container::Avi, told(60_000, 0, 1500), Doubt::None),
            (Container::Avi, told(36_000, 0, 1500), Doubt::Count),
            (Container::Avi, told(46_458_440, 0, 1 << 30), Doubt::Count),
            (Container::Avi, told(42_949_672_960, 0, 1 << 30), Doubt::Count),
            (Container::Avi, told(0, 0, 0), Doubt::Count),
            (Container::Asf, told(60_000, 0, 0), Doubt::None),
            (Container::Asf, told(0, 0, 0), Doubt::LastPackets),
            (Container::Asf, told(3_660_000, 3_600_000, 0), Doubt::LastPackets),
            (Container::Flv, told(60_000, 0, 0), Doubt::LastTag),
            (Container::Ogg, told(60_000, 0, 0), Doubt::None),
            (Container::Mxf, told(0, 0, 0), Doubt::None),
        ] {
            assert_eq!(doubt(container, &info), expected, "{container:?} {info:?}");
        }
    }

    #[test]
    fn f8_what_is_found_is_told_and_what_is_too_long_is_refused() {
        let most = limits::MAX_DURATION_MS;
        for (told, found, expected) in [
            (60_000, None, Ok(60_000)),
            (60_000, Some(59_960), Ok(60_000)),
            (60_000, Some(36_000), Ok(36_000)),
            (0, Some(36_000), Ok(36_000)),
            (0, None, Ok(0)),
            (60_000, Some(0), Ok(60_000)),
            (60_000, Some(most + 1), Ok(60_000)),
            (most, None, Ok(most)),
            (most + 1, None, Err(Code::TooLong)),
            (u64::MAX, Some(36_000), Ok(36_000)),
            (u64::MAX, Some(u64::MAX), Err(Code::TooLong)),
        ] {
            assert_eq!(settled(told, found), expected, "{told} {found:?}");
        }
    }
}
