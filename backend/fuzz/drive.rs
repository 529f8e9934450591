//! Takes any bytes for a file, has a demuxer read it as a job would, and holds the answers to what they promise.

use bytes::Bytes;

use super::demux::known::{Fault, Known};
use super::demux::movie::{Aim, Movie, Want};

/// How much is known at first. Less than in a job, so that small files are asked for in pieces, too.
const HEAD: usize = 48;
/// No file of a fuzzer's size needs more.
const MAX_ROUNDS: usize = 3000;

/// As [`drive`], with so much between the beginning of a fragmented film and its fragments, once more, that it is too
/// large to be read whole.
pub(crate) fn drive_large<M: Movie>(open: impl Fn(&Known) -> Result<M, Fault>, bytes: &[u8]) {
    const BETWEEN: u32 = 9 * 1024 * 1024;
    let Some(first) = bytes.windows(4).position(|letters| letters == b"moof") else { return };
    let mut large = Vec::with_capacity(2 * bytes.len() + BETWEEN as usize);
    large.extend_from_slice(bytes);
    large.extend_from_slice(&BETWEEN.to_be_bytes());
    large.extend_from_slice(b"mdat");
    large.resize(bytes.len() + BETWEEN as usize, 0);
    large.extend_from_slice(&bytes[first.saturating_sub(4)..]);
    drive(open, &large);
}

/// Opens `bytes` and asks for moments all over.
pub(crate) fn drive<M: Movie>(open: impl Fn(&Known) -> Result<M, Fault>, bytes: &[u8]) {
    let source = Bytes::copy_from_slice(bytes);
    let mut known = Known::new(source.len() as u64);
    known.learn(0, &source.slice(..source.len().min(HEAD)));
    let Some(movie) = ask(&source, &mut known, open) else { return };
    let track = movie.track();
    assert!(track.timescale > 0 && track.duration >= 0 && track.fps >= 0.0 && track.fps.is_finite());
    assert!(!track.entries.is_empty());
    if let Some(keyframes) = &track.keyframes {
        assert!(keyframes.is_sorted());
    }
    let (second, end) = (i64::from(track.timescale), track.duration);
    let mut wants = Vec::new();
    for from in [i64::MIN, -1, 0, second, end / 3, end / 2, end - 1, end, i64::MAX] {
        for until in [i64::MIN, from, from.saturating_add(1), from.saturating_add(second), i64::MAX] {
            wants.extend([Aim::Keyframe, Aim::Exact].map(|aim| Want { from, until, aim }));
        }
    }
    let Some(runs) = ask(&source, &mut known, |known| movie.runs(known, &wants)) else { return };
    assert_eq!(runs.len(), wants.len());
    for (run, want) in runs.iter().zip(&wants) {
        assert!(run.first().is_none_or(|sample| sample.key), "begins without a keyframe: {want:?}");
        assert!(run.is_sorted_by_key(|sample| sample.dts), "not in decoding order: {want:?}");
        for sample in run {
            assert!(sample.size > 0 && sample.offset + u64::from(sample.size) <= source.len() as u64);
            assert!(usize::from(sample.entry) < track.entries.len());
        }
    }
}

fn ask<T>(source: &Bytes, known: &mut Known, question: impl Fn(&Known) -> Result<T, Fault>) -> Option<T> {
    for _ in 0..MAX_ROUNDS {
        let ranges = match question(known) {
            Ok(answer) => return Some(answer),
            Err(Fault::Missing(ranges)) => ranges,
            Err(_) => return None,
        };
        assert!(!ranges.is_empty(), "asks for nothing");
        for range in ranges {
            assert!(range.start < range.end && range.end <= source.len() as u64, "asks beyond the end");
            assert!(!known.gaps(range.clone()).is_empty(), "asks for what is known");
            known.learn(range.start, &source.slice(range.start as usize..range.end as usize));
        }
    }
    panic!("asks for ever");
}
