//! Takes any bytes for a file, has a demuxer read it as a job would, and holds the answers to what they promise.

use bytes::Bytes;

use glimpse_media::container::{SNIFF_BYTES, sniff as sniffed};
use glimpse_media::demux::buffer::{Fault, Known};
use glimpse_media::demux::demuxer::{Aim, Movie, Sample, Want};
use glimpse_media::demux::{flv as flash, matroska as mkv, mp4 as mov, reference};
use glimpse_media::excerpt::mp4_writer::{digests, ranges};
use glimpse_media::plan;

/// How much is known at first. Less than in a job, so that small files are asked for in pieces, too.
const HEAD: usize = 48;
/// No file of a fuzzer's size needs more.
const MAX_ROUNDS: usize = 3000;
/// The most steps that one round of one question may take, and the most for each byte of the file and each want: each
/// byte is a sample, is indexed, and is looked at again for what is wanted.
const STEPS: u64 = 2_000;
const STEPS_PER_BYTE: u64 = 16;

/// Any bytes as an MP4.
pub(crate) fn mp4(bytes: &[u8]) {
    drive(mov::open, bytes);
}

/// Any bytes as a fragmented MP4 that is too large to be read whole.
pub(crate) fn mp4_large(bytes: &[u8]) {
    drive_large(mov::open, bytes);
}

/// Any bytes as a Matroska file.
pub(crate) fn matroska(bytes: &[u8]) {
    drive(mkv::open, bytes);
    mkv::survive(bytes);
}

/// Any bytes as a Flash video, read whole and searched.
pub(crate) fn flv(bytes: &[u8]) {
    drive(flash::open, bytes);
    drive(flash::open_searching, bytes);
}

/// Any bytes as the beginning of a file.
pub(crate) fn sniff(bytes: &[u8]) {
    let head = Bytes::copy_from_slice(&bytes[..bytes.len().min(SNIFF_BYTES)]);
    let _ = sniffed(&head, bytes.len() as u64);
    let _ = sniffed(&head, u64::MAX);
    for codec in ["h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mpeg4", "h263"] {
        for length in 1..=4 {
            let top = reference::sub_layer(codec, bytes, length);
            let _ = reference::is_disposable(codec, bytes, length, top);
            let _ = reference::begins_anew(codec, bytes, length);
            let _ = reference::is_no_keyframe(codec, bytes, length);
        }
    }
}

/// Any bytes as a file of which a digest is made, as for the default pictures.
pub(crate) fn digest(bytes: &[u8]) {
    drive_digest(mov::open, bytes);
    drive_digest(mkv::open, bytes);
    drive_digest(flash::open, bytes);
}

/// Plans, fetches and makes digests, and reads those again.
fn drive_digest<M: Movie>(open: impl Fn(&Known) -> Result<M, Fault>, bytes: &[u8]) {
    const PIXELS: u64 = 320 * 240;
    let source = Bytes::copy_from_slice(bytes);
    let mut known = Known::new(source.len() as u64);
    known.learn(0, &source.slice(..source.len().min(HEAD)));
    let Some(movie) = ask(&source, &mut known, open) else { return };
    let track = movie.track();
    let (mut board, places) = plan::storyboard(track, PIXELS);
    assert!(places.iter().all(|(stretch, place)| *place < board[*stretch].moments.len()));
    if let Some(others) = plan::alternatives(track, &board) {
        let wants: Vec<Want> = others.iter().flatten().map(|stretch| stretch.want).collect();
        let Some(runs) = ask(&source, &mut known, |known| movie.runs(known, &wants)) else { return };
        board = plan::lightest(others, &runs);
        assert_eq!(board.len(), places.len());
    }
    let reel = plan::reel(track, 15.0, PIXELS, &board);
    for stretches in [board, reel, vec![plan::search(track, PIXELS)]] {
        let wants: Vec<Want> = stretches.iter().map(|stretch| stretch.want).collect();
        let Some(runs) = ask(&source, &mut known, |known| movie.runs(known, &wants)) else { return };
        let layout = plan::lay(&stretches, runs);
        // Overlapping samples can add up to far more than the file has: such a digest is thinned out elsewhere.
        if plan::is_too_much(&layout, PIXELS) {
            continue;
        }
        for range in ranges(&layout.shots) {
            known.learn(range.start, &source.slice(range.start as usize..range.end as usize));
        }
        let made = digests(track, &known, &layout.shots).unwrap_or_else(|fault| panic!("{fault:?}"));
        let slots: usize = made.iter().map(|digest| digest.slots as usize).sum();
        assert_eq!(slots, layout.shots.iter().filter(|shot| shot.shown).count());
        for digest in &made {
            let mut own = Known::new(digest.bytes.len() as u64);
            own.learn(0, &digest.bytes);
            let again =
                mov::open(&own).unwrap_or_else(|fault| panic!("our own file cannot be read: {fault:?}"));
            assert_eq!(again.track().codec, track.codec);
            let all = Want { from: i64::MIN, until: i64::MAX, aim: Aim::Exact };
            let found: Vec<Sample> = again.runs(&own, &[all]).unwrap_or_default().concat();
            assert!(found.len() >= digest.slots as usize, "{} of {} slots", found.len(), digest.slots);
        }
        for slot in (0..slots as u32).step_by(7) {
            assert!(layout.alone(slot).iter().filter(|shot| shot.shown).count() == 1, "slot {slot}");
        }
    }
}

/// As [`drive`], with so much between the beginning of a fragmented film and its fragments, once more, that it is too
/// large to be read whole.
fn drive_large<M: Movie>(open: impl Fn(&Known) -> Result<M, Fault>, bytes: &[u8]) {
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
    let Some(movie) = ask_within(1, &source, &mut known, open) else { return };
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
    let questions = wants.len() as u64;
    let runs = ask_within(questions, &source, &mut known, |known| movie.runs(known, &wants));
    let Some(runs) = runs else { return };
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

/// As [`ask`], of so many wants, and holds each round to its steps: what a file costs follows from its bytes.
fn ask_within<T>(
    wants: u64,
    source: &Bytes,
    known: &mut Known,
    question: impl Fn(&Known) -> Result<T, Fault>,
) -> Option<T> {
    ask(source, known, |known| {
        let before = known.budget().used();
        let answer = question(known);
        let steps = known.budget().used() - before;
        let most = wants * (STEPS + STEPS_PER_BYTE * source.len() as u64);
        assert!(steps <= most, "{steps} steps of {} bytes and {wants} wants", source.len());
        answer
    })
}

pub(crate) fn ask<T>(
    source: &Bytes,
    known: &mut Known,
    question: impl Fn(&Known) -> Result<T, Fault>,
) -> Option<T> {
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
