//! Decides what the first frames of a file tell: when it begins, how fast it runs, how large a keyframe is.

use std::ops::Range;

use crate::demux::buffer::{Fault, Known};
use crate::demux::matroska::cluster::{Frame, Reader, Step, Walk};

/// How much of the first cluster is looked at, at least: the beginnings of all tracks stand there.
const STRETCH: u64 = 32 << 10;
/// How much of a file is known anyway.
const HEAD: u64 = 64 << 10;

/// What the first frames tell.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    /// The first moment of the file, in ticks from its own zero.
    pub(super) origin: i64,
    /// The first frames of the track in stored order, in ticks from the file's own zero.
    pub(super) frames: Vec<Frame>,
}

/// The bytes that are looked at: those of the first cluster at `first`.
pub(super) fn range(first: u64, reader: Reader) -> Range<u64> {
    first..(first + STRETCH).max(HEAD).min(reader.end)
}

/// Reads the first frames. `reader` still counts from the file's own zero.
///
/// # Errors
/// What is missing.
pub(super) fn read(known: &Known, reader: Reader, first: u64, has_audio: bool) -> Result<Opening, Fault> {
    let range = range(first, reader);
    let gaps = known.gaps(range.clone());
    if !gaps.is_empty() {
        return Err(Fault::Missing(gaps));
    }
    let mut walk = Walk::new(known, reader, first);
    let mut frames = Vec::new();
    while walk.at() < range.end {
        match walk.next() {
            Step::Frame(frame) => frames.push(frame),
            Step::Gap(_) | Step::End | Step::Damaged(_) => break,
        }
    }
    let earliest = walk.earliest().unwrap_or(0).max(0);
    // A large first picture hides where sound begins, which is hardly ever later than the file.
    let is_hidden = has_audio && !walk.has_met_others() && earliest < i64::from(reader.clock.timescale);
    Ok(Opening { origin: if is_hidden { 0 } else { earliest }, frames })
}

/// Frames a second, by the times of these; 0 if they do not tell.
pub(super) fn rate(frames: &[Frame], timescale: u32) -> f64 {
    let times = || frames.iter().map(|frame| frame.pts);
    match (times().min(), times().max()) {
        (Some(first), Some(last)) if last > first => {
            let rate = (frames.len() - 1) as f64 * f64::from(timescale) / (last - first) as f64;
            if rate <= 1000.0 { rate } else { 0.0 }
        }
        _ => 0.0,
    }
}
