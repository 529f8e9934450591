//! Compares the samples that the MP4 demuxer finds with those of ffprobe: for real files, and for ones that ffmpeg
//! makes. To run: `GLIMPSE_MEDIA=/folder cargo test -p glimpse-backend --test backend demux_mp4 -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::drive;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::edits::with_edits;
use bytes::Bytes;
use glimpse_contract::Code;
use glimpse_media::container::{Container, sniff};
use glimpse_media::demux::buffer::SparseBuffer;
use glimpse_media::demux::demuxer::{Demuxer, Sample, SampleRequest, SeekMode};
use glimpse_media::demux::error::ReadError;
use glimpse_media::demux::mp4::{self, Mp4};
use proptest::prelude::*;
use serde_json::Value;

/// The size of the head that is read before anything is parsed.
const HEAD: u64 = 64 * 1024;

/// Parses repeatedly until there is a result, like a job, and counts the rounds.
struct Mp4Driver {
    source: Bytes,
    buffer: SparseBuffer,
    rounds: usize,
}

impl Mp4Driver {
    fn new(source: Vec<u8>) -> Self {
        let source = Bytes::from(source);
        let mut buffer = SparseBuffer::new(source.len() as u64);
        let head = if source.len() <= 1024 * 1024 { source.len() } else { HEAD as usize };
        buffer.insert(0, &source.slice(..head));
        Self { source, buffer, rounds: 1 }
    }

    fn read_until_ready<T>(
        &mut self,
        read: impl Fn(&SparseBuffer) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        loop {
            match read(&self.buffer) {
                Err(ReadError::NeedMore(ranges)) => {
                    assert!(!ranges.is_empty());
                    self.rounds += 1;
                    assert!(self.rounds < 64, "too many rounds");
                    for range in ranges {
                        assert!(range.start < range.end && range.end <= self.source.len() as u64);
                        assert!(
                            !self.buffer.missing_ranges(range.clone()).is_empty(),
                            "requests known bytes"
                        );
                        self.buffer.insert(
                            range.start,
                            &self.source.slice(range.start as usize..range.end as usize),
                        );
                    }
                }
                other => return other,
            }
        }
    }
}

/// A packet as ffprobe lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mp4Packet {
    pts: i64,
    dts: i64,
    duration: i64,
    size: u32,
    offset: u64,
    key: bool,
    discarded: bool,
}

fn ffprobe(arguments: &[&str], file: &Path) -> Value {
    let program = std::env::var("GLIMPSE_REFERENCE_FFPROBE").unwrap_or_else(|_| "ffprobe".into());
    let output =
        Command::new(program).args(["-v", "error", "-of", "json"]).args(arguments).arg(file).output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).unwrap_or(i64::MIN)
}

fn packets(file: &Path, stream: &str) -> Vec<Mp4Packet> {
    let report = ffprobe(
        &["-select_streams", stream, "-show_entries", "packet=pts,dts,duration,size,pos,flags"],
        file,
    );
    let packets = report["packets"].as_array().unwrap();
    packets
        .iter()
        .map(|packet| Mp4Packet {
            pts: number(&packet["pts"]),
            dts: number(&packet["dts"]),
            duration: number(&packet["duration"]).max(0),
            size: number(&packet["size"]) as u32,
            offset: number(&packet["pos"]) as u64,
            key: packet["flags"].as_str().unwrap().contains('K'),
            discarded: packet["flags"].as_str().unwrap().contains('D'),
        })
        .collect()
}

/// Checks that all samples of ffprobe are found, with the same times, bytes and keyframes, and that no other is shown.
fn compare(name: &str, samples: &[Sample], packets: &[Mp4Packet], end: i64) {
    let shown: Vec<_> = samples.iter().filter(|sample| (0..end).contains(&sample.pts)).collect();
    let expected: Vec<_> = packets.iter().filter(|packet| !packet.discarded).collect();
    assert_eq!(shown.len(), expected.len(), "{name}: of {} samples are shown", samples.len());
    let drift =
        shown.first().map_or(0, |sample| sample.dts) - expected.first().map_or(0, |packet| packet.dts);
    // If a fragment presents a frame before it is decoded, ffmpeg delays all frames by the difference.
    let late = if name == "negative.mp4" { 1024 } else { 0 };
    for (sample, packet) in shown.iter().zip(&expected) {
        let found = (sample.offset, sample.size, sample.pts + late, sample.dts - drift, sample.is_key);
        assert_eq!(found, (packet.offset, packet.size, packet.pts, packet.dts, packet.key), "{name}");
    }
}

fn media() -> Option<PathBuf> {
    let folder = std::env::var_os("GLIMPSE_MEDIA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("NOT RUN: GLIMPSE_MEDIA does not name a folder with `good` and `hostile` in it");
    }
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let of_family = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        ["mp4", "mov", "3gp", "m4v"].contains(&ending.as_str())
    };
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(of_family).collect();
    files.sort();
    files
}

fn is_close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs().max(1e-9)
}

/// Opens a file and compares the result with ffprobe's report about its stream.
fn check(file: &Path, stream: &str) -> (Mp4Driver, Mp4) {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let mut driver = Mp4Driver::new(std::fs::read(file).unwrap());
    let movie = driver.read_until_ready(mp4::open).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    let track = movie.track();
    eprintln!(
        "{name:45} {:10} {:2} rounds {:8} bytes of {:9} {:5} samples {:4} keys {:.3} fps",
        track.codec,
        driver.rounds,
        driver.buffer.buffered_bytes(),
        driver.source.len(),
        movie.all_samples().map_or(0, Iterator::count),
        track.keyframes.as_ref().map_or(0, Vec::len),
        track.fps,
    );
    let report = ffprobe(&["-select_streams", stream, "-show_streams"], file);
    let report = &report["streams"][0];
    assert_eq!(report["codec_name"], track.codec, "{name}");
    assert_eq!(report["time_base"], format!("1/{}", track.timescale), "{name}");
    let (num, den) = report["avg_frame_rate"].as_str().unwrap().split_once('/').unwrap();
    let rate = num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap();
    assert!(is_close(track.fps, rate, 0.01), "{name}: {} frames a second, not {rate}", track.fps);
    let samples: Vec<_> = movie.all_samples().unwrap().collect();
    let list = packets(file, stream);
    let end = list
        .iter()
        .filter(|packet| !packet.discarded)
        .map(|packet| packet.pts + packet.duration)
        .max()
        .unwrap();
    let frame = f64::from(track.timescale) / rate;
    let near = |ticks: i64| (track.video_end - ticks).abs() as f64 <= frame * 1.01;
    let length = report["duration_ts"].as_i64().unwrap();
    assert!(near(end) || near(length), "{name}: {} ticks, neither {end} nor {length}", track.video_end);
    assert!(track.duration >= track.video_end, "{name}");
    compare(&name, &samples, &list, track.video_end);
    if let Some(keyframes) = &track.keyframes {
        let shown =
            samples.iter().filter(|sample| sample.is_key && (0..track.duration).contains(&sample.pts));
        assert_eq!(*keyframes, shown.map(|sample| sample.pts).collect::<Vec<_>>(), "{name}");
    }
    (driver, movie)
}

/// Makes a video with ffmpeg and these arguments, and returns its path.
fn make(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let file = folder.join(name);
    let program = std::env::var("GLIMPSE_REFERENCE_FFMPEG").unwrap_or_else(|_| "ffmpeg".into());
    let output = Command::new(program)
        .args(["-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .args(["-threads", "1"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    file
}

const PICTURES: &str = "-f lavfi -i testsrc2=size=160x90:rate=25:duration=6";
const SOUND: &str = "-f lavfi -i sine=duration=6";
const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 2 -x264-params scenecut=0";
const OPEN: &str =
    "-c:v libx264 -preset fast -g 20 -bf 3 -x264-params open-gop=1:scenecut=0:b-pyramid=strict";

/// Progressive videos: name, arguments, and the stream that is shown.
fn progressive() -> Vec<(&'static str, String, &'static str)> {
    let with = |codec: &str, rest: &str| format!("{PICTURES} {SOUND} {codec} {rest}");
    vec![
        ("b_frames.mp4", with(H264, ""), "v:0"),
        ("front.mp4", with(H264, "-movflags +faststart"), "v:0"),
        ("open_gop.mp4", with(OPEN, ""), "v:0"),
        ("negative_shifts.mp4", with(OPEN, "-movflags +negative_cts_offsets"), "v:0"),
        ("timecode.mov", with(H264, "-timecode 01:00:00:00"), "v:0"),
        ("trimmed.mp4", with(H264, "-ss 1.3 -t 3"), "v:0"),
        ("no_edit_list.mp4", with(H264, "-use_editlist 0"), "v:0"),
        ("late.mp4", format!("-itsoffset 0.7 {PICTURES} {SOUND} {H264}"), "v:0"),
        ("two_tracks.mp4", with(H264, "-map 0:v -map 0:v -map 1:a"), "v:0"),
        ("two_tracks_unknown_first.mov", with("-c:v:0 png -c:v:1 mpeg4 -bf 2", "-map 0:v -map 0:v"), "v:1"),
        (
            "hevc.mp4",
            with("-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=20 -tag:v hvc1", ""),
            "v:0",
        ),
        ("mpeg4.mp4", with("-c:v mpeg4 -bf 2", ""), "v:0"),
        ("mpeg2.mov", with("-c:v mpeg2video -bf 2 -g 12", ""), "v:0"),
        ("mpeg1.mp4", with("-c:v mpeg1video", ""), "v:0"),
        ("mjpeg.mov", with("-c:v mjpeg -pix_fmt yuvj420p", ""), "v:0"),
        ("prores.mov", with("-c:v prores_ks -profile:v 1 -t 1", ""), "v:0"),
        ("dnxhr.mov", with("-c:v dnxhd -profile:v dnxhr_lb -s 256x144 -pix_fmt yuv422p -t 1", ""), "v:0"),
        ("vp9.mp4", with("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25", ""), "v:0"),
        ("h263.3gp", with("-c:v h263 -s 176x144 -c:a aac -t 2", ""), "v:0"),
        ("svq1.mov", with("-c:v svq1 -t 1", ""), "v:0"),
        ("variable.mp4", with(H264, "-vf select='not(mod(n\\,3))+gt(n\\,60)' -fps_mode vfr"), "v:0"),
        ("one.mp4", with(H264, "-frames:v 1"), "v:0"),
    ]
}

/// Fragmented videos.
fn fragmented() -> Vec<(&'static str, String, &'static str)> {
    let with = |codec: &str, rest: &str| format!("{PICTURES} {SOUND} {codec} {rest}");
    vec![
        ("keyframes.mp4", with(H264, "-movflags +frag_keyframe+empty_moov"), "v:0"),
        ("by_moof.mp4", with(H264, "-movflags +frag_keyframe+empty_moov+default_base_moof"), "v:0"),
        (
            "global_index.mp4",
            with(H264, "-movflags +frag_keyframe+empty_moov+default_base_moof+global_sidx"),
            "v:0",
        ),
        ("dash.mp4", with(H264, "-movflags +dash+frag_keyframe"), "v:0"),
        ("each_frame.mp4", with(OPEN, "-movflags +frag_every_frame+empty_moov+default_base_moof"), "v:0"),
        ("apart.mp4", with(OPEN, "-movflags +frag_keyframe+separate_moof+empty_moov"), "v:0"),
        ("mixed.mp4", with(H264, "-movflags +frag_keyframe"), "v:0"),
        ("delayed.mp4", with(OPEN, "-movflags +frag_keyframe+delay_moov"), "v:0"),
        ("negative.mp4", with(OPEN, "-movflags +cmaf+frag_keyframe"), "v:0"),
        ("short_pieces.mp4", with(H264, "-movflags +empty_moov -frag_duration 300000"), "v:0"),
    ]
}

#[test]
fn reads_generated_videos_like_ffprobe() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments, stream) in progressive() {
        let (driver, _) = check(&make(folder.path(), name, &arguments), stream);
        assert!(driver.rounds <= 3, "{name}: {} rounds", driver.rounds);
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../media/fuzz/corpus/mp4");
    for name in ["wide_offsets.mp4", "edited.mp4", "indexed.mp4"] {
        check(&corpus.join(name), "v:0");
    }
    for (name, arguments, stream) in fragmented() {
        check(&make(folder.path(), name, &arguments), stream);
    }
}

#[test]
fn stream_copied_cut_follows_edit_list() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codec) in [("closed.mp4", H264), ("open.mp4", OPEN)] {
        let whole = make(folder.path(), name, &format!("{PICTURES} {SOUND} {codec}"));
        for from in ["0.5", "1.3", "2.02"] {
            let name = format!("from_{from}_{name}");
            let cut = format!("-ss {from} -i {} -c copy -t 2.5", whole.display());
            let (driver, movie) = check(&make(folder.path(), &name, &cut), "v:0");
            assert_eq!(driver.rounds, 1);
            let hidden = movie.all_samples().unwrap().filter(|sample| sample.pts < 0).count();
            assert!(hidden > 0, "{name}: must begin within a group of pictures");
            // The first frame that is shown needs samples that are never shown.
            let request = SampleRequest { from: 0, until: 0, mode: SeekMode::Exact };
            let runs = movie.find_samples(&driver.buffer, &[request]).unwrap();
            assert!(runs[0][0].is_key && runs[0][0].pts < 0);
            assert_eq!(runs[0].last().unwrap().pts, 0, "{name}");
        }
    }
}

/// A fragmented video of more than 8 MiB.
fn make_large(folder: &Path, name: &str, flags: &str) -> PathBuf {
    let source = folder.join("large_source.mp4");
    if !source.exists() {
        let pictures = "-f lavfi -i testsrc2=size=640x360:rate=25:duration=48";
        let codec = "-c:v libx264 -preset ultrafast -qp 6 -g 40 -bf 2 -x264-params scenecut=0:open-gop=1";
        make(folder, "large_source.mp4", &format!("{pictures} -f lavfi -i sine=duration=48 {codec}"));
    }
    make(folder, name, &format!("-i {} -c copy {flags}", source.display()))
}

/// The offsets of the samples that are needed to show `from..until`, or the frame at `from`: the slow, obvious way.
fn needed_offsets(packets: &[Mp4Packet], from: i64, until: i64) -> Vec<u64> {
    let shown_at = packets.iter().map(|packet| packet.pts).filter(|pts| *pts <= from).max().unwrap_or(0);
    let key = packets.iter().rposition(|packet| packet.key && packet.pts <= from.max(0)).unwrap_or(0);
    let floor = packets[key].pts;
    let run = packets[key..].iter().filter(|packet| packet.pts >= floor);
    let run: Vec<_> = run.collect();
    let wanted = |packet: &&Mp4Packet| packet.pts == shown_at || (shown_at..until).contains(&packet.pts);
    let last = run.iter().rposition(wanted).unwrap_or(0);
    run[..=last].iter().map(|packet| packet.offset).collect()
}

#[test]
fn seeks_large_fragmented_file_in_few_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let base = "-movflags +frag_keyframe+empty_moov+default_base_moof";
    for (name, flags, most_open, most_near, most_exact) in [
        ("index_behind.mp4", base.to_owned(), 4, 2, 3),
        ("index_ahead.mp4", format!("{base}+global_sidx+skip_trailer"), 2, 2, 3),
        ("no_index.mp4", format!("{base}+skip_trailer"), 4, 6, 12),
        ("dash.mp4", "-movflags +dash+frag_keyframe+skip_trailer".into(), 4, 6, 12),
        ("mixed.mp4", "-movflags +frag_keyframe".into(), 4, 2, 3),
    ] {
        let file = make_large(folder.path(), name, &flags);
        let packets = packets(&file, "v:0");
        let mut driver = Mp4Driver::new(std::fs::read(&file).unwrap());
        let movie = driver.read_until_ready(mp4::open).unwrap();
        let (rounds, bytes) = (driver.rounds, driver.buffer.buffered_bytes());
        let track = movie.track();
        let (second, end) = (i64::from(track.timescale), track.duration);
        assert!((end - 48 * second).abs() < second / 5, "{name}: {end} ticks of {second}");
        assert!(is_close(track.fps, 25.0, 0.05), "{name}: {} frames a second", track.fps);
        assert!(rounds <= most_open, "{name}: {rounds} rounds to open");

        let tiles: Vec<_> = (0..50).map(|tile| (2 * tile + 1) * end / 100).collect();
        let near: Vec<_> = tiles
            .iter()
            .map(|from| SampleRequest { from: *from, until: 0, mode: SeekMode::Keyframe })
            .collect();
        driver.rounds = 0;
        let runs = driver.read_until_ready(|buffer| movie.find_samples(buffer, &near)).unwrap();
        let near_rounds = driver.rounds;
        for (request, run) in near.iter().zip(&runs) {
            let [key] = run[..] else { panic!("{name}: {} samples", run.len()) };
            let packet = packets.iter().find(|packet| packet.offset == key.offset).unwrap();
            assert!(
                packet.key && key.is_key && packet.pts == key.pts && packet.size == key.size,
                "{name}: {key:?}"
            );
            assert!((key.pts - request.from).abs() < 5 * second, "{name}: {} for {}", key.pts, request.from);
        }
        let exact: Vec<_> = [0, 1, 13, 26, 47]
            .into_iter()
            .flat_map(|at| [(at * second + 99, 0), (at * second, at * second + 3 * second / 2)])
            .map(|(from, until)| SampleRequest { from, until, mode: SeekMode::Exact })
            .collect();
        driver.rounds = 0;
        let runs = driver.read_until_ready(|buffer| movie.find_samples(buffer, &exact)).unwrap();
        for (request, run) in exact.iter().zip(&runs) {
            let found: Vec<_> = run.iter().map(|sample| sample.offset).collect();
            assert_eq!(found, needed_offsets(&packets, request.from, request.until), "{name}: {request:?}");
        }
        eprintln!(
            "{name:18} open {rounds} rounds {bytes} bytes, 50 tiles {near_rounds} rounds, 10 moments {} rounds, {} of {} bytes",
            driver.rounds,
            driver.buffer.buffered_bytes(),
            driver.source.len(),
        );
        assert!(near_rounds <= most_near && driver.rounds <= most_exact, "{name}");
    }
}

#[test]
fn presents_edit_list_segments_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = "-f lavfi -i testsrc2=size=160x90:rate=25:duration=10";
    for (name, codec) in [("closed.mov", H264), ("open.mov", OPEN)] {
        // The movie's timescale is milliseconds, the track's 12,800 ticks per second.
        let options = "-video_track_timescale 12800 -use_editlist 0";
        let path = make(folder.path(), name, &format!("{pictures} {codec} {options}"));
        let media = packets(&path, "v:0");
        let film = std::fs::read(&path).unwrap();
        let second = 12_800;
        for rows in [
            &[(2000, 6 * second), (2000, second), (1000, 4 * second)][..],
            &[(1000, -1), (2000, 6 * second), (3000, second)],
            &[(1000, 2 * second), (1000, 2 * second), (1000, 9 * second)],
            &[(1000, second), (2000, -1), (3000, 5 * second)],
        ] {
            // The presentation time and the offset of each frame.
            let (mut shown, mut begin) = (Vec::new(), 0);
            for (length, from) in rows {
                let (length, from) = (i64::from(*length) * i64::from(second) / 1000, i64::from(*from));
                let inside = media.iter().filter(|packet| (from..from + length).contains(&packet.pts));
                if from >= 0 {
                    shown.extend(inside.map(|packet| (packet.pts - from + begin, packet.offset, packet.key)));
                }
                begin += length;
            }
            shown.sort_unstable();
            let mut driver = Mp4Driver::new(with_edits(&film, rows));
            let movie = driver.read_until_ready(mp4::open).unwrap();
            let end = movie.track().duration;
            assert!((end - begin).abs() <= 512, "{name} {rows:?}: {end} ticks");
            let keys = shown.iter().filter(|(_, _, key)| *key).map(|(pts, _, _)| *pts);
            assert_eq!(movie.track().keyframes, Some(keys.collect()), "{name} {rows:?}: keyframes");
            // Each time alone, and all of them at once.
            for place in 0..60 {
                let at = end * place / 60;
                let request = SampleRequest { from: at, until: at, mode: SeekMode::Exact };
                let run = movie.find_samples(&driver.buffer, &[request]).unwrap().remove(0);
                let found = run.iter().filter(|sample| (0..=at).contains(&sample.pts));
                let found = found.max_by_key(|sample| sample.pts).or(run.last()).unwrap();
                let expected = shown.iter().rev().find(|(pts, _, _)| *pts <= at).unwrap_or(&shown[0]);
                assert_eq!(found.offset, expected.1, "{name} {rows:?}: at {at}");
                assert!(run[0].is_key, "{name} {rows:?}: at {at}");
            }
            let all = SampleRequest { from: 0, until: end, mode: SeekMode::Exact };
            let mut run = movie.find_samples(&driver.buffer, &[all]).unwrap().remove(0);
            assert!(run[0].is_key && run.is_sorted_by_key(|sample| sample.dts));
            run.retain(|sample| (0..end).contains(&sample.pts));
            run.sort_by_key(|sample| sample.pts);
            let found: Vec<_> = run.iter().map(|sample| (sample.pts, sample.offset)).collect();
            let expected: Vec<_> = shown.iter().map(|(pts, offset, _)| (*pts, *offset)).collect();
            assert_eq!(found, expected, "{name} {rows:?}");
        }
    }
}

#[test]
fn reads_file_with_leading_boxes() {
    let films = corpus();
    let film = &films.iter().find(|(name, _)| name == "fragments.mp4").unwrap().1;
    let whole: Vec<_> =
        Mp4Driver::new(film.clone()).read_until_ready(mp4::open).unwrap().all_samples().unwrap().collect();
    for kind in
        ["uuid", "prft", "emsg", "pdin", "meta", "udta", "free", "skip", "wide", "styp", "sidx", "mdat"]
    {
        // A list of brands is never long.
        for size in [16_u32, 64, if kind == "styp" { 4096 } else { 100_000 }] {
            let before = [&size.to_be_bytes()[..], kind.as_bytes(), &vec![0; size as usize - 8]].concat();
            for count in [1, 3] {
                let film = [&before.repeat(count)[..], film].concat();
                let name = format!("{count} of {size} bytes of {kind}");
                let head = &film[..film.len().min(4096)];
                assert_eq!(sniff(head, film.len() as u64), Ok(Container::Mov), "{name}");
                let found = Mp4Driver::new(film)
                    .read_until_ready(mp4::open)
                    .unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
                assert_eq!(found.all_samples().unwrap().count(), whole.len(), "{name}");
            }
        }
    }
}

#[test]
fn rejects_file_cut_within_moov() {
    let folder = tempfile::tempdir().unwrap();
    let with = |rest: &str| format!("{PICTURES} {SOUND} {H264} {rest} -movflags +faststart");
    for (name, arguments) in
        [("pictures_first.mp4", with("")), ("sound_first.mp4", with("-map 1:a -map 0:v"))]
    {
        let film = std::fs::read(make(folder.path(), name, &arguments)).unwrap();
        let moov = film.windows(4).position(|letters| letters == b"moov").unwrap() - 4;
        let size = u32::from_be_bytes(film[moov..moov + 4].try_into().unwrap()) as usize;
        for end in (moov + 8..moov + size).step_by(3) {
            let found = Mp4Driver::new(film[..end].to_vec())
                .read_until_ready(mp4::open)
                .map(|movie| movie.track().duration);
            assert_eq!(found, Err(ReadError::Rejected(Code::Truncated)), "{name}: {end} bytes");
        }
    }
}

/// The video with a box of `size` bytes inserted before one of its fragments, as if it had been edited without updating
/// its index, and its packets.
fn with_stale_index(
    film: &[u8],
    packets: &[Mp4Packet],
    size: usize,
    fragment: usize,
) -> (Vec<u8>, Vec<Mp4Packet>) {
    let fragments = film.windows(8).enumerate().filter(|(_, word)| word[4..] == *b"moof" && word[0] == 0);
    let place = fragments.map(|(place, _)| place).nth(fragment).unwrap();
    let free = [&(size as u32).to_be_bytes()[..], b"free", &vec![0; size - 8]].concat();
    let moved = |packet: &Mp4Packet| {
        let by = if packet.offset >= place as u64 { size as u64 } else { 0 };
        Mp4Packet { offset: packet.offset + by, ..*packet }
    };
    ([&film[..place], &free, &film[place..]].concat(), packets.iter().map(moved).collect())
}

/// The video with the `sidx` of another one: other positions, and half the durations. ISO 14496-12, 8.16.3.
fn with_foreign_index(film: &[u8]) -> Vec<u8> {
    let mut changed = film.to_vec();
    let mut change = |at: usize, to: fn(u32) -> u32| {
        let value = to(u32::from_be_bytes(film[at..at + 4].try_into().unwrap()));
        changed[at..at + 4].copy_from_slice(&value.to_be_bytes());
    };
    let first_fragment = film.windows(4).position(|word| word == b"moof").unwrap();
    let words = film[..first_fragment].windows(4).enumerate();
    for body in words.filter(|(_, word)| *word == b"sidx").map(|(place, _)| place + 4) {
        // The lower half of the first offset, which precedes the number of entries.
        let offset_at = body + if film[body] == 0 { 16 } else { 24 };
        change(offset_at, |offset| offset + 1000);
        let count = usize::from(u16::from_be_bytes([film[offset_at + 6], film[offset_at + 7]]));
        for entry in 0..count {
            change(offset_at + 8 + 12 * entry + 4, |ticks| ticks / 2);
        }
    }
    changed
}

/// Requests tiles and stills all over a large video, and compares each with the packets.
fn check_moments(name: &str, film: Vec<u8>, packets: &[Mp4Packet]) {
    let mut driver = Mp4Driver::new(film);
    let movie = driver.read_until_ready(mp4::open).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    let track = movie.track();
    let (second, end) = (i64::from(track.timescale), track.duration);
    let expected = packets.iter().map(|packet| packet.pts + packet.duration).max().unwrap();
    assert!((end - expected).abs() <= second / 10, "{name}: {end} ticks, not {expected}");
    let fps = packets.len() as f64 * second as f64 / expected as f64;
    assert!(is_close(track.fps, fps, 0.005), "{name}: {} frames a second, not {fps}", track.fps);
    let open = driver.rounds;
    let tiles = (0..100).map(|tile| (2 * tile + 1) * end / 200);
    let near: Vec<_> = tiles.map(|from| SampleRequest { from, until: 0, mode: SeekMode::Keyframe }).collect();
    driver.rounds = 0;
    let runs = driver.read_until_ready(|buffer| movie.find_samples(buffer, &near)).unwrap();
    let tile_rounds = driver.rounds;
    for (request, run) in near.iter().zip(&runs) {
        let key = run.first().unwrap_or_else(|| panic!("{name}: no samples for {request:?}"));
        let packet = packets.iter().find(|packet| packet.offset == key.offset).unwrap();
        assert!(packet.key && packet.pts == key.pts, "{name}: {key:?} is {packet:?}");
        assert!((key.pts - request.from).abs() <= 12 * second, "{name}: {} for {}", key.pts, request.from);
    }
    let stills: Vec<_> = (0..20).map(|place| place * end / 20 + second / 3).collect();
    let exact: Vec<_> =
        stills.iter().map(|from| SampleRequest { from: *from, until: 0, mode: SeekMode::Exact }).collect();
    driver.rounds = 0;
    let runs = driver.read_until_ready(|buffer| movie.find_samples(buffer, &exact)).unwrap();
    for (request, run) in exact.iter().zip(&runs) {
        let found: Vec<_> = run.iter().map(|sample| sample.offset).collect();
        assert_eq!(found, needed_offsets(packets, request.from, request.until), "{name}: {request:?}");
    }
    eprintln!(
        "{name:24} open {open}, tiles {tile_rounds}, stills {} rounds, {} of {} bytes, {} steps",
        driver.rounds,
        driver.buffer.buffered_bytes(),
        driver.source.len(),
        driver.buffer.budget().used_steps()
    );
    // A job allows 24 rounds for each.
    assert!(open <= 8 && tile_rounds <= 16 && driver.rounds <= 20, "{name}");
}

#[test]
fn ignores_stale_fragment_index() {
    let folder = tempfile::tempdir().unwrap();
    let base = "-movflags +frag_keyframe+empty_moov+default_base_moof";
    for (name, flags) in [
        ("index_behind.mp4", base.to_owned()),
        ("index_ahead.mp4", format!("{base}+global_sidx+skip_trailer")),
        ("both.mp4", format!("{base}+global_sidx")),
    ] {
        let path = make_large(folder.path(), name, &flags);
        let packets = packets(&path, "v:0");
        let film = std::fs::read(&path).unwrap();
        check_moments(name, film.clone(), &packets);
        check_moments(&format!("index of another video, {name}"), with_foreign_index(&film), &packets);
        for (size, fragment) in [(8, 0), (1000, 0), (70_000, 0), (1000, 12)] {
            let (film, packets) = with_stale_index(&film, &packets, size, fragment);
            check_moments(&format!("{size} more before {fragment}, {name}"), film, &packets);
        }
    }
}

#[test]
fn seeks_file_with_one_frame_per_fragment() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = "-f lavfi -i testsrc2=size=160x90:rate=30:duration=60";
    let codec = "-c:v libx264 -preset ultrafast -qp 16 -g 250 -bf 0 -x264-params scenecut=0";
    // The durations of single frames are rounded to milliseconds.
    let ticks = "-video_track_timescale 1000";
    let minute = make(folder.path(), "minute.mp4", &format!("{pictures} {codec}"));
    let base = "-movflags +frag_every_frame+empty_moov+default_base_moof";
    for (name, flags) in [
        ("index_behind.mp4", base.to_owned()),
        ("no_index.mp4", format!("{base}+skip_trailer")),
        ("index_ahead.mp4", format!("{base}+global_sidx+skip_trailer")),
    ] {
        let looped = format!("-stream_loop 19 -i {} -c copy {ticks} {flags}", minute.display());
        let path = make(folder.path(), name, &looped);
        let film = std::fs::read(&path).unwrap();
        assert!(film.len() > 8 * 1024 * 1024, "{name}: {} bytes are not enough", film.len());
        check_moments(name, film, &packets(&path, "v:0"));
    }
}

#[test]
fn stream_recording_starts_at_first_frame() {
    let folder = tempfile::tempdir().unwrap();
    // The stream has run for more than a day: for files that are read as a whole, and for larger ones.
    let late = "-output_ts_offset 100000";
    let flags = format!(
        "{late} -avoid_negative_ts disabled -use_editlist 0 -movflags +frag_discont+frag_keyframe+default_base_moof"
    );
    let pictures = format!("{PICTURES} {SOUND} {H264}");
    let segments = make(folder.path(), "s.m3u8", &format!("{pictures} {late} -hls_segment_type fmp4"));
    let segments: Vec<_> = ["init.mp4", "s0.m4s", "s1.m4s", "s2.m4s"]
        .map(|name| std::fs::read(segments.with_file_name(name)).unwrap())
        .concat();
    let joined = folder.path().join("segments.mp4");
    std::fs::write(&joined, segments).unwrap();
    for (file, seconds) in [
        (joined, 6),
        (make(folder.path(), "cut_out.mp4", &format!("{pictures} {late}")), 6),
        (make(folder.path(), "small.mp4", &format!("{pictures} {flags}+empty_moov")), 6),
        (make(folder.path(), "listed.mp4", &format!("{pictures} {flags}+delay_moov -use_editlist 1")), 6),
        (make_large(folder.path(), "index_behind.mp4", &format!("{flags}+empty_moov")), 48),
        (make_large(folder.path(), "no_index.mp4", &format!("{flags}+empty_moov+skip_trailer")), 48),
        (make_large(folder.path(), "index_ahead.mp4", &format!("{flags}+empty_moov+global_sidx")), 48),
    ] {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let packets = packets(&file, "v:0");
        let mut driver = Mp4Driver::new(std::fs::read(&file).unwrap());
        let movie = driver.read_until_ready(mp4::open).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        let second = i64::from(movie.track().timescale);
        let begin = packets.iter().map(|packet| packet.pts).min().unwrap();
        assert!(begin > 99_999 * second, "{name}: begins at {begin} ticks of {second}");
        let length = movie.track().duration;
        assert!((length - seconds * second).abs() < second / 5, "{name}: {length} ticks of {second}");
        let requests: Vec<_> = (0..6)
            .map(|place| SampleRequest { from: place * length / 6, until: 0, mode: SeekMode::Exact })
            .collect();
        let runs = driver.read_until_ready(|buffer| movie.find_samples(buffer, &requests)).unwrap();
        for (request, run) in requests.iter().zip(&runs) {
            let found: Vec<_> = run.iter().map(|sample| sample.offset).collect();
            let shown = run.last().unwrap();
            assert!(
                (shown.pts - request.from).abs() <= second / 10,
                "{name}: {} for {}",
                shown.pts,
                request.from
            );
            // Audio may begin some milliseconds before the video; the file then begins with it.
            let zero = begin - second / 5..=begin + second / 10;
            let packet = packets.iter().find(|packet| packet.offset == shown.offset).unwrap();
            assert!(zero.contains(&(packet.pts - shown.pts)), "{name}: {shown:?} is {packet:?}");
            assert!(run[0].is_key && found.len() < 50, "{name}: {} samples", found.len());
        }
    }
}

#[test]
fn reads_media_files_like_ffprobe() {
    let Some(folder) = media() else { return };
    for file in files(&folder.join("good")) {
        let (driver, _) = check(&file, "v:0");
        assert!(driver.rounds <= 3, "{}: {} rounds", file.display(), driver.rounds);
    }
}

#[test]
fn hostile_files_end_quickly() {
    let Some(folder) = media() else { return };
    for file in files(&folder.join("hostile")) {
        let started = std::time::Instant::now();
        let mut driver = Mp4Driver::new(std::fs::read(&file).unwrap());
        let result = driver.read_until_ready(mp4::open);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let result = result.map(|movie| movie.track().duration);
        eprintln!("{name:45} {result:?}");
        if let Some((_, code)) = HOSTILE.iter().find(|(known, _)| *known == name) {
            assert_eq!(result, Err(ReadError::Rejected(*code)), "{name}");
        }
        assert!(started.elapsed().as_millis() < 500, "{}", file.display());
    }
}

/// Small generated videos of every shape: the seeds of the fuzzer.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../media/fuzz/corpus/mp4");
    let mut films: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .collect();
    films.sort();
    assert!(!films.is_empty());
    films
}

#[test]
fn f9_f10_damaged_file_never_panics() {
    for (name, film) in corpus() {
        assert!(Mp4Driver::new(film.clone()).read_until_ready(mp4::open).is_ok(), "{name}");
        drive::mp4(&film);
        // Each position of the file in turn is overwritten with harmful values, and the file is truncated there.
        for at in (0..film.len()).step_by(film.len() / 300 + 1) {
            for bytes in [[0xff; 4], [0; 4], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 1]] {
                let mut damaged = film.clone();
                damaged.iter_mut().skip(at).zip(bytes).for_each(|(byte, other)| *byte = other);
                drive::mp4(&damaged);
            }
            drive::mp4(&film[..at]);
        }
        drive::mp4_large(&film);
        for at in (0..film.len()).step_by(film.len() / 40 + 1) {
            let mut damaged = film.clone();
            damaged[at] ^= 0x81;
            drive::mp4_large(&damaged);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn random_damage_never_panics(
        film: prop::sample::Index,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..64), 1..12),
    ) {
        let films = corpus();
        let mut film = film.get(&films).1.clone();
        for (at, byte, moved) in damage {
            let at = at.index(film.len());
            film[at] = byte;
            // Some bytes are duplicated or removed.
            let part: Vec<u8> = film[at..(at + moved).min(film.len())].to_vec();
            if byte % 3 == 0 {
                film.splice(at..at, part);
            } else if byte % 3 == 1 && film.len() > moved + 1 {
                film.drain(at..(at + moved).min(film.len()));
            }
            if film.is_empty() {
                film.push(0);
            }
        }
        drive::mp4(&film);
    }
}

/// The results for hostile files of this family on which every reader must agree.
const HOSTILE: &[(&str, Code)] = &[
    ("WrongFile.mp4", Code::Truncated),
    ("broken.mp4", Code::Truncated),
    ("fixture-dash.mp4", Code::Truncated),
    ("h264_8192x8192.mp4", Code::TooManyPixels),
    ("minimal_init.mp4", Code::Truncated),
    ("mp4_duration_max.mp4", Code::TooLong),
    ("mp4_truncated_25.mp4", Code::Truncated),
    ("only_ftyp.mp4", Code::Truncated),
    ("sample_init.enca.mp4", Code::Truncated),
    ("sample_qt.mp4", Code::Truncated),
    ("testMP4AudioOnly.mp4", Code::NoVideoStream),
    ("testMP4_QuickTimeMetadata.mov", Code::NoVideoStream),
    ("testMP4_StillImageTimeZero.mov", Code::NoVideoStream),
];

#[test]
fn truncated_file_keeps_available_samples() {
    let films = corpus();
    for (name, part) in [("front.mp4", 0.7), ("fragments.mp4", 0.7), ("mixed.mp4", 0.6)] {
        let film = &films.iter().find(|(found, _)| found == name).unwrap().1;
        let whole: Vec<_> = Mp4Driver::new(film.clone())
            .read_until_ready(mp4::open)
            .unwrap()
            .all_samples()
            .unwrap()
            .collect();
        let cut = film[..(film.len() as f64 * part) as usize].to_vec();
        let end = cut.len() as u64;
        let kept: Vec<_> =
            Mp4Driver::new(cut).read_until_ready(mp4::open).unwrap().all_samples().unwrap().collect();
        assert!(!kept.is_empty() && kept.len() < whole.len(), "{name}");
        assert!(
            kept.iter().all(|sample| sample.offset + u64::from(sample.size) <= end && whole.contains(sample))
        );
    }
}
