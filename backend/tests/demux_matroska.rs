//! Compares the samples that the Matroska demuxer finds with those of ffprobe, limits the round trips, and checks that
//! they decode to the frames of the file: for real files, and for ones that ffmpeg makes. To run:
//! `GLIMPSE_MEDIA=/folder cargo test -p glimpse-backend --test backend demux_matroska -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use glimpse_contract::Code;
use glimpse_media::demux::buffer::SparseBuffer;
use glimpse_media::demux::demuxer::{Demuxer, Sample, SampleRequest, SeekMode};
use glimpse_media::demux::error::ReadError;
use glimpse_media::demux::matroska::{self, Matroska};
use glimpse_media::excerpt::{ExcerptSample, mp4_writer};
use proptest::prelude::*;
use serde_json::Value;

/// The size of the head that is read before anything is parsed; files up to this size are known completely.
const HEAD: usize = 64 << 10;
const WHOLE: usize = 1 << 20;
const FOREVER: i64 = 1 << 50;

/// Parses repeatedly until there is a result, like a job, and counts the rounds.
struct MatroskaDriver {
    source: Bytes,
    buffer: SparseBuffer,
    rounds: usize,
    requests: usize,
}

impl MatroskaDriver {
    fn new(source: impl Into<Bytes>) -> Self {
        let source = source.into();
        let mut buffer = SparseBuffer::new(source.len() as u64);
        let head = if source.len() <= WHOLE { source.len() } else { HEAD };
        buffer.insert(0, &source.slice(..head));
        Self { source, buffer, rounds: 1, requests: 1 }
    }

    fn read_until_ready<T>(
        &mut self,
        read: impl Fn(&SparseBuffer) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        loop {
            let ranges = match read(&self.buffer) {
                Err(ReadError::NeedMore(ranges)) => ranges,
                other => return other,
            };
            assert!(!ranges.is_empty());
            self.rounds += 1;
            assert!(self.rounds < 64, "too many rounds");
            for range in ranges {
                assert!(range.start < range.end && range.end <= self.source.len() as u64, "{range:?}");
                assert!(
                    !self.buffer.missing_ranges(range.clone()).is_empty(),
                    "requests known bytes: {range:?}"
                );
                let bytes = self.source.slice(range.start as usize..range.end as usize);
                self.buffer.insert(range.start, &bytes);
                self.requests += 1;
            }
        }
    }

    fn open(&mut self) -> Result<Matroska, ReadError> {
        self.read_until_ready(matroska::open)
    }

    fn find_samples(&mut self, movie: &Matroska, requests: &[SampleRequest]) -> Vec<Vec<Sample>> {
        self.read_until_ready(|buffer| movie.find_samples(buffer, requests)).unwrap()
    }

    /// All samples from the first keyframe on.
    fn all_samples(&mut self, movie: &Matroska) -> Vec<Sample> {
        self.find_samples(movie, &[SampleRequest { from: -1, until: FOREVER, mode: SeekMode::Exact }])
            .remove(0)
    }
}

fn program(variable: &str, name: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| name.into())
}

fn ffmpeg() -> Command {
    let mut command = Command::new(program("GLIMPSE_REFERENCE_FFMPEG", "ffmpeg"));
    command.args(["-v", "error", "-nostdin", "-y"]);
    command
}

fn ffprobe(file: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(program("GLIMPSE_REFERENCE_FFPROBE", "ffprobe"))
        .args(["-v", "error", "-of", "json"])
        .args(arguments)
        .arg(file)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A packet as ffprobe lists it, with its times in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MatroskaPacket {
    pts: i64,
    size: u32,
    offset: u64,
    key: bool,
}

fn packets(file: &Path, timescale: u32) -> Vec<MatroskaPacket> {
    let report =
        ffprobe(file, &["-select_streams", "v:0", "-show_entries", "packet=pts_time,size,pos,flags"]);
    let number =
        |packet: &Value, name: &str| packet[name].as_str().unwrap_or_default().parse::<f64>().unwrap();
    report["packets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|packet| MatroskaPacket {
            pts: (number(packet, "pts_time") * f64::from(timescale)).round() as i64,
            size: number(packet, "size") as u32,
            offset: number(packet, "pos") as u64,
            key: packet["flags"].as_str().unwrap().contains('K'),
        })
        .collect()
}

/// The start time of a file according to ffprobe: the earliest of its streams.
fn start_ticks(file: &Path, timescale: u32) -> i64 {
    let report = ffprobe(file, &["-show_entries", "stream=start_time,codec_type"]);
    let streams = report["streams"].as_array().unwrap();
    let times =
        streams.iter().filter(|stream| matches!(stream["codec_type"].as_str(), Some("audio" | "video")));
    let times = times.filter_map(|stream| stream["start_time"].as_str()?.parse::<f64>().ok());
    // A file never begins before zero.
    let first = times.fold(f64::MAX, f64::min).max(0.0);
    (first * f64::from(timescale)).round() as i64
}

/// Compares all samples with the packets of ffprobe.
fn check_all(name: &str, file: &Path) -> (MatroskaDriver, Matroska) {
    let mut driver = MatroskaDriver::new(std::fs::read(file).unwrap());
    let movie = driver.open().unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    let opened = (driver.rounds, driver.buffer.buffered_bytes());
    let samples = driver.all_samples(&movie);
    let track = movie.track();
    let origin = start_ticks(file, track.timescale);
    let expected = packets(file, track.timescale);
    let first_key = expected.iter().position(|packet| packet.key).unwrap();
    let expected = &expected[first_key..];
    // ffmpeg subtracts a codec's delay from the times of audio, so a file may begin some milliseconds earlier.
    let shift = expected[0].pts - samples[0].pts;
    assert!(
        (shift - origin).abs() * 100 <= i64::from(track.timescale),
        "{name}: begins at {shift}, not {origin}"
    );
    let origin = shift;
    eprintln!(
        "{name:40} {:10} {:4} samples {:9} ticks {:7.3} fps; opened in {} rounds, {} of {} bytes; origin {origin}",
        track.codec,
        samples.len(),
        track.duration,
        track.fps,
        opened.0,
        opened.1,
        driver.source.len(),
    );
    let prefix = track.sample_prefix.len() as u32;
    for (at, (sample, packet)) in samples.iter().zip(expected).enumerate() {
        let found = (sample.pts + origin, sample.size + prefix, sample.is_key);
        assert!((found.0 - packet.pts).abs() <= 1, "{name}: sample {at} {sample:?} {packet:?}");
        assert_eq!((found.1, found.2), (packet.size, packet.key), "{name}: sample {at}");
        // ffprobe returns the offset of the block: its header of four bytes precedes the only frame.
        assert_eq!(sample.offset, packet.offset + 4, "{name}: sample {at}");
    }
    assert_eq!(samples.len(), expected.len(), "{name}");
    if let Some(keys) = &track.keyframes {
        let sample_keys: Vec<i64> =
            samples.iter().filter(|sample| sample.is_key).map(|sample| sample.pts).collect();
        assert_eq!(*keys, sample_keys, "{name}: keyframes of the index");
    }
    let report = ffprobe(file, &["-show_entries", "format=duration"]);
    if let Some(secs) = report["format"]["duration"].as_str().and_then(|text| text.parse::<f64>().ok()) {
        let shown = (track.duration + origin) as f64 / f64::from(track.timescale);
        let last =
            expected.iter().map(|packet| packet.pts).max().unwrap() as f64 / f64::from(track.timescale);
        // For a truncated file the existing samples count, regardless of the duration in its header.
        let is_cut = secs - last > 10.0;
        let expected = if is_cut { last } else { secs };
        assert!((shown - expected).abs() < 0.25 || origin > 0, "{name}: {shown} s, not {expected}");
    }
    (driver, movie)
}

/// Compares the display properties that ffprobe reports for an excerpt with those of the file.
fn check_display(name: &str, file: &Path, driver: &mut MatroskaDriver, movie: &Matroska) {
    const LOOKS: &[&str] = &[
        "codec_name",
        "width",
        "height",
        "sample_aspect_ratio",
        "field_order",
        "pix_fmt",
        "color_range",
        "color_space",
        "color_transfer",
        "color_primaries",
        "side_data_list",
    ];
    let run = driver
        .find_samples(movie, &[SampleRequest { from: 0, until: 0, mode: SeekMode::Keyframe }])
        .remove(0);
    let shots = [ExcerptSample { source: run[0], is_output: true, is_discontinuity: true }];
    let digests =
        driver.read_until_ready(|buffer| mp4_writer::write_excerpts(movie.track(), buffer, &shots)).unwrap();
    let mut made = tempfile::NamedTempFile::new().unwrap();
    made.write_all(&digests[0].bytes).unwrap();
    let looks = |file: &Path| {
        let report = ffprobe(file, &["-select_streams", "v:0", "-show_streams"]);
        let mut stream = report["streams"][0].clone();
        // The frames of both eyes are shown side by side, as they are stored.
        if let Some(list) = stream["side_data_list"].as_array_mut() {
            list.retain(|side| side["side_data_type"] != "Stereo 3D");
            if list.is_empty() {
                stream["side_data_list"] = Value::Null;
            }
        }
        // Without a declaration, pixels are square and frames are progressive.
        for (look, plain) in
            [("sample_aspect_ratio", "1:1"), ("field_order", "progressive"), ("color_range", "tv")]
        {
            if stream[look].is_null() || stream[look] == "unknown" {
                stream[look] = plain.into();
            }
        }
        stream
    };
    let (made, expected) = (looks(made.path()), looks(file));
    for look in LOOKS {
        assert_eq!(made[look], expected[look], "{name}: {look}");
    }
}

/// The plane to compare: alpha, which WebM stores next to the frames, is not copied.
const LUMA: &str = "extractplanes=y";

/// Decodes excerpts of some of the samples, and compares each frame with that of the file at the same time.
fn check_pictures(name: &str, file: &Path, driver: &mut MatroskaDriver, movie: &Matroska) {
    let track = movie.track();
    let origin = packets(file, track.timescale)[0].pts - driver.all_samples(movie)[0].pts;
    let frames = |command: &mut Command, input: Option<&[u8]>| -> Vec<(f64, String)> {
        let mut child = command
            .args([
                "-map",
                "0:v:0",
                "-fps_mode",
                "passthrough",
                "-enc_time_base",
                "-1",
                "-f",
                "framemd5",
                "-",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                let _ = stdin.write_all(input.unwrap_or_default());
            });
            child.wait_with_output().unwrap()
        });
        let text = String::from_utf8(output.stdout).unwrap();
        let base = text.lines().find_map(|line| line.strip_prefix("#tb 0: ")).unwrap_or("0/1");
        let (num, den) = base.split_once('/').unwrap();
        let base = num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let fields: Vec<&str> = line.split(',').map(str::trim).collect();
                (fields[2].parse::<f64>().unwrap() * base, fields[5].to_string())
            })
            .collect()
    };
    let whole: HashMap<i64, String> =
        frames(ffmpeg().args(["-copyts", "-i"]).arg(file).args(["-vf", LUMA]), None)
            .into_iter()
            .map(|(secs, hash)| ((secs * f64::from(track.timescale)).round() as i64 - origin, hash))
            .collect();
    check_display(name, file, driver, movie);
    let middle = track.duration / 2;
    let requests = [
        SampleRequest { from: 0, until: 0, mode: SeekMode::Keyframe },
        SampleRequest {
            from: middle,
            until: middle + i64::from(track.timescale) / 2,
            mode: SeekMode::Keyframe,
        },
        SampleRequest { from: middle, until: middle, mode: SeekMode::Exact },
    ];
    for (request, run) in requests.iter().zip(driver.find_samples(movie, &requests)) {
        let last = run.iter().map(|sample| sample.pts).filter(|pts| *pts <= request.from).max();
        let shown = |sample: &Sample| match request.mode {
            SeekMode::Keyframe => true,
            SeekMode::Exact => Some(sample.pts) == last,
        };
        let shots: Vec<ExcerptSample> = run
            .iter()
            .enumerate()
            .map(|(at, sample)| ExcerptSample {
                source: *sample,
                is_output: shown(sample),
                is_discontinuity: at == 0,
            })
            .collect();
        let digests =
            driver.read_until_ready(|buffer| mp4_writer::write_excerpts(track, buffer, &shots)).unwrap();
        assert_eq!(digests.len(), 1, "{name} {request:?}");
        let mut times: Vec<i64> =
            run.iter().filter(|sample| shown(sample)).map(|sample| sample.pts).collect();
        times.sort_unstable();
        let filters = format!("fps=1:start_time=0:round=near:eof_action=pass,{LUMA}");
        let count = digests[0].frame_count.to_string();
        let arguments = ["-f", "mov", "-i", "-", "-vf", &filters, "-frames:v", &count];
        let made = frames(ffmpeg().args(arguments), Some(&digests[0].bytes));
        assert_eq!(made.len(), times.len(), "{name} {request:?}: frames of {} samples", run.len());
        for ((_, hash), pts) in made.iter().zip(times) {
            let expected = (-1..=1).find_map(|off| whole.get(&(pts + off)));
            assert_eq!(Some(hash), expected, "{name} {request:?}: the frame at {pts}");
        }
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
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "mkv" || kind == "webm"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap().to_string_lossy().into_owned()
}

/// Makes a video of a moving, noisy test pattern.
fn make(folder: &Path, name: &str, source: &str, arguments: &str) -> PathBuf {
    let file = folder.join(name);
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i"]).arg(source);
    command.args(arguments.split_whitespace());
    let status = if arguments.ends_with("pipe:1") {
        command.stdout(std::fs::File::create(&file).unwrap()).status()
    } else {
        command.arg(&file).status()
    };
    assert!(status.unwrap().success(), "{name}");
    file
}

const SMALL: &str = "testsrc2=size=192x108:rate=25:duration=4";
/// 60 seconds of noise: more than 8 MiB with the codecs below.
const LONG: &str = "testsrc2=size=320x180:rate=25:duration=60,noise=alls=40:allf=t";

#[test]
fn reads_media_files_like_ffprobe() {
    let Some(folder) = media() else { return };
    for file in files(&folder.join("good")) {
        let name = file_name(&file);
        let (mut driver, movie) = check_all(&name, &file);
        assert!(driver.rounds <= 3, "{name}: {} rounds", driver.rounds);
        check_pictures(&name, &file, &mut driver, &movie);
    }
}

#[test]
fn reads_and_decodes_every_codec() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("h264.mkv", "-c:v libx264 -preset veryfast -bf 3 -g 25"),
        ("h264-open.mkv", "-c:v libx264 -preset veryfast -bf 3 -g 25 -x264-params open-gop=1"),
        ("hevc.mkv", "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25:bframes=4"),
        ("vp8.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -g 25"),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25"),
        (
            "vp9-10bit.webm",
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -pix_fmt yuv420p10le -profile:v 2",
        ),
        ("av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 25 -t 2"),
        ("mpeg4.mkv", "-c:v mpeg4 -bf 2 -g 25"),
        ("mpeg2.mkv", "-c:v mpeg2video -bf 2 -g 25"),
        ("mpeg1.mkv", "-c:v mpeg1video -bf 2 -g 25"),
        ("mjpeg.mkv", "-c:v mjpeg -pix_fmt yuvj420p"),
        ("piped.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -g 25 -f webm pipe:1"),
        ("live.mkv", "-c:v libx264 -preset veryfast -bf 2 -g 25 -live 1 -f matroska pipe:1"),
        ("late.mkv", "-c:v libx264 -preset veryfast -g 25 -output_ts_offset 10"),
        ("oblong.mkv", "-c:v libx264 -preset veryfast -g 25 -vf setsar=16/11"),
        ("oblong.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -g 25 -vf setsar=16/11"),
        ("fields.mkv", "-c:v mpeg2video -flags +ildct+ilme -top 1 -g 25"),
        (
            "hdr.webm",
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -pix_fmt yuv420p10le -profile:v 2 \
             -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range tv",
        ),
        (
            "full.mkv",
            "-c:v libx264 -preset veryfast -g 25 -color_primaries bt709 -color_trc bt709 -colorspace bt709 \
             -pix_fmt yuvj420p",
        ),
        (
            "tracks.mkv",
            "-f lavfi -i sine=duration=4 -f lavfi -i testsrc2=size=96x54:rate=10:duration=4 \
             -map 0 -map 1 -map 2 -c:v libx264 -preset veryfast -g 25 -c:a aac",
        ),
    ] {
        let file = make(folder.path(), name, SMALL, arguments);
        let (mut driver, movie) = check_all(name, &file);
        check_pictures(name, &file, &mut driver, &movie);
    }
}

/// Limits for seeking in a large file.
struct SeekLimits {
    rounds: usize,
    share: f64,
}

/// Seeks to many times in a large file, and compares the results with ffprobe's packets.
fn check_moments(name: &str, file: &Path, has_cues: bool, limits: &SeekLimits) {
    let source = Bytes::from(std::fs::read(file).unwrap());
    assert!(source.len() > 8 << 20, "{name} is too small for this test: {} bytes", source.len());
    let mut driver = MatroskaDriver::new(source.clone());
    let movie = driver.open().unwrap();
    let opened = (driver.rounds, driver.buffer.buffered_bytes());
    let track = movie.track();
    assert_eq!(track.keyframes.is_some(), has_cues, "{name}");
    let second = i64::from(track.timescale);
    assert!((track.duration - 60 * second).abs() < second, "{name}: {} ticks", track.duration);
    let origin = start_ticks(file, track.timescale);
    let packets = packets(file, track.timescale);
    let keys: Vec<i64> =
        packets.iter().filter(|packet| packet.key).map(|packet| packet.pts - origin).collect();

    let tiles: Vec<SampleRequest> = (0..10)
        .map(|tile| track.duration * (2 * tile + 1) / 20)
        .map(|at| SampleRequest { from: at, until: at, mode: SeekMode::Keyframe })
        .collect();
    let runs = driver.find_samples(&movie, &tiles);
    let share = driver.buffer.buffered_bytes() as f64 / source.len() as f64;
    eprintln!("{name:20} opened in {opened:?}; tiles in {} rounds, {share:.3} of the bytes", driver.rounds);
    assert!(driver.rounds <= limits.rounds, "{name}: {} rounds", driver.rounds);
    assert!(share <= limits.share, "{name}: {share}");
    for (request, run) in tiles.iter().zip(&runs) {
        let [sample] = run.as_slice() else { panic!("{name} {request:?}: {run:?}") };
        assert!(sample.is_key);
        let expected = keys[keys.partition_point(|key| *key <= request.from).max(1) - 1];
        if has_cues {
            assert!((sample.pts - expected).abs() <= 1, "{name}: {sample:?} for {request:?}");
        } else {
            assert!((sample.pts - request.from).abs() < 6 * second, "{name}: {sample:?} for {request:?}");
        }
        let packet = packets.iter().find(|packet| packet.offset + 4 == sample.offset).unwrap();
        assert_eq!((packet.size, packet.key), (sample.size, true));
        assert!((packet.pts - origin - sample.pts).abs() <= 1);
    }

    for aim in [SeekMode::Exact, SeekMode::Keyframe] {
        for (from, long) in [(0, 0), (31_337, 0), (17_000, 1500), (47_100, 40), (59_500, 5000)] {
            let from = from * second / 1000;
            let request = SampleRequest { from, until: from + long * second / 1000, mode: aim };
            let mut driver = MatroskaDriver::new(source.clone());
            let movie = driver.open().unwrap();
            let run = driver.find_samples(&movie, &[request]).remove(0);
            let share = driver.buffer.buffered_bytes() as f64 / source.len() as f64;
            assert!(driver.rounds <= limits.rounds + 6, "{name} {request:?}: {} rounds", driver.rounds);
            assert!(run[0].is_key && run.windows(2).all(|pair| pair[0].dts < pair[1].dts));
            assert!(run.iter().all(|sample| sample.dts <= sample.pts));
            let begin = run[0].pts;
            let (low, high) = match aim {
                SeekMode::Exact => (from.max(begin), request.until.max(from + 1)),
                SeekMode::Keyframe if long == 0 => (begin, begin + 1),
                SeekMode::Keyframe => (begin, begin + long * second / 1000),
            };
            let in_range = |pts: i64| low <= pts && pts < high;
            let mut found: Vec<i64> =
                run.iter().map(|sample| sample.pts).filter(|pts| in_range(*pts)).collect();
            let shown = packets.iter().map(|packet| packet.pts - origin);
            let mut expected: Vec<i64> = shown.filter(|pts| in_range(*pts)).collect();
            found.sort_unstable();
            expected.sort_unstable();
            eprintln!(
                "  {aim:?} {from}+{long}: {} samples from {begin}, {} rounds, {share:.3} of the bytes",
                run.len(),
                driver.rounds
            );
            assert_eq!(found, expected, "{name} {request:?}");
            if aim == SeekMode::Exact {
                let key = keys[keys.partition_point(|key| *key <= from).max(1) - 1];
                assert!((begin - key).abs() <= 1, "{name}: begins at {begin}, not {key}");
            } else {
                assert!((begin - from).abs() < 6 * second, "{name}: begins at {begin} for {from}");
            }
        }
    }
}

#[test]
fn seeks_large_files_in_few_rounds() {
    const MPEG4: &str = "-c:v mpeg4 -b:v 2M -bf 2 -g 50 -threads 1";
    let folder = tempfile::tempdir().unwrap();
    let long = |name: &str, more: &str| make(folder.path(), name, LONG, &format!("{MPEG4} {more}"));
    let end = long("end.mkv", "");
    check_moments("cues at the end", &end, true, &SeekLimits { rounds: 4, share: 0.12 });
    let copy = |name: &str, more: &str| {
        let file = folder.path().join(name);
        let mut command = ffmpeg();
        command.arg("-i").arg(&end).args(["-c", "copy"]).args(more.split_whitespace());
        let status = if more.ends_with("pipe:1") {
            command.stdout(std::fs::File::create(&file).unwrap()).status()
        } else {
            command.arg(&file).status()
        };
        assert!(status.unwrap().success(), "{name}");
        file
    };
    let front = copy("front.mkv", "-cues_to_front 1");
    check_moments("cues in front", &front, true, &SeekLimits { rounds: 3, share: 0.12 });
    let late = copy("late.mkv", "-output_ts_offset 10");
    check_moments("late", &late, true, &SeekLimits { rounds: 4, share: 0.12 });
    let piped = copy("piped.mkv", "-f matroska pipe:1");
    check_moments("no cues", &piped, false, &SeekLimits { rounds: 5, share: 0.6 });
    let live = copy("live.mkv", "-live 1 -f matroska pipe:1");
    check_moments("live", &live, false, &SeekLimits { rounds: 5, share: 0.6 });
    let vast = copy("vast.mkv", "-cluster_size_limit 3M -cluster_time_limit 60000");
    check_moments("large clusters", &vast, true, &SeekLimits { rounds: 4, share: 0.15 });

    // Cues that point to wrong positions: the clusters are searched.
    let mut lying = std::fs::read(&end).unwrap();
    let cues = lying.windows(4).rposition(|window| window == [0x1c, 0x53, 0xbb, 0x6b]).unwrap();
    let mut at = cues;
    while let Some(found) =
        lying[at..].windows(2).position(|window| window[0] == 0xf1 && window[1] & 0xf8 == 0x80)
    {
        let last = at + found + 1 + usize::from(lying[at + found + 1] & 7);
        lying[last] ^= 0x55;
        at = last;
    }
    let file = folder.path().join("lying.mkv");
    std::fs::write(&file, &lying).unwrap();
    let mut driver = MatroskaDriver::new(lying);
    let movie = driver.open().unwrap();
    let request = SampleRequest { from: 30_000, until: 30_000, mode: SeekMode::Exact };
    let run = driver.find_samples(&movie, &[request]).remove(0);
    assert!(run[0].is_key && run[0].pts <= 30_000 && run[0].pts > 27_000, "{:?}", run[0]);
    assert!(run.iter().any(|sample| (29_961..=30_000).contains(&sample.pts)));
    assert!(driver.rounds <= 8, "{} rounds", driver.rounds);
}

#[test]
fn reads_truncated_file_up_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = make(folder.path(), "whole.mkv", SMALL, "-c:v libx264 -preset veryfast -bf 2 -g 25");
    let whole = std::fs::read(&file).unwrap();
    let mut driver = MatroskaDriver::new(whole.clone());
    let movie = driver.open().unwrap();
    let all = driver.all_samples(&movie);
    for (share, longest) in [(3, 1500), (5, 2300), (9, 3900)] {
        let cut = whole.len() * share / 10;
        let mut driver = MatroskaDriver::new(whole[..cut].to_vec());
        let movie = driver.open().unwrap();
        let found = driver.all_samples(&movie);
        let there = all.iter().filter(|sample| sample.offset + u64::from(sample.size) <= cut as u64).count();
        assert_eq!(found.len(), there, "{share}");
        assert!(movie.track().duration < longest, "{share}: {}", movie.track().duration);
    }
    for cut in [40, 300, 600] {
        assert_eq!(
            MatroskaDriver::new(whole[..cut].to_vec()).open().unwrap_err(),
            ReadError::Rejected(Code::Truncated),
            "{cut}"
        );
    }
}

#[test]
fn hostile_files_are_read_or_rejected() {
    let Some(folder) = media() else { return };
    let expected = [
        ("mkv_400_streams.mkv", Err(ReadError::Rejected(Code::TooManyStreams))),
        ("subsample_encrypted.webm", Err(ReadError::Rejected(Code::Encrypted))),
        ("tiny_2x2.mkv", Err(ReadError::Unsupported("codec cannot be remuxed to MP4"))),
        ("dancer1rb.webm", Ok(())),
        ("fixture-null.webm", Ok(())),
        ("projection.webm", Ok(())),
        ("seek_sub.webm", Ok(())),
        ("split.webm", Ok(())),
    ];
    for file in files(&folder.join("hostile")) {
        let name = file_name(&file);
        let started = Instant::now();
        let bytes = std::fs::read(&file).unwrap();
        matroska::fuzz(&bytes);
        let mut driver = MatroskaDriver::new(bytes);
        let answer = driver.open();
        let took = started.elapsed();
        let samples = answer.as_ref().map(|movie| driver.all_samples(movie).len()).unwrap_or_default();
        eprintln!(
            "{name:58} {:5} ms {samples:5} samples {:?}",
            took.as_millis(),
            answer.as_ref().map(|movie| movie.track().codec)
        );
        assert!(took < Duration::from_secs(2), "{name} took {took:?}");
        if let Some((_, expected)) = expected.iter().find(|(known, _)| *known == name) {
            assert_eq!(answer.map(|_| ()), *expected, "{name}");
        }
    }
}

/// Small files of every kind, made once.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    SEEDS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let source = "testsrc2=size=64x36:rate=10:duration=2";
        [
            ("a.mkv", "-c:v libx264 -preset ultrafast -bf 2 -g 5"),
            ("b.webm", "-c:v libvpx -deadline realtime -g 5 -f webm pipe:1"),
            ("c.mkv", "-c:v mpeg4 -g 5 -live 1 -f matroska pipe:1"),
            ("d.mkv", "-f lavfi -i sine=duration=2 -c:v mjpeg -pix_fmt yuvj420p -c:a aac -cues_to_front 1"),
        ]
        .into_iter()
        .map(|(name, arguments)| std::fs::read(make(folder.path(), name, source, arguments)).unwrap())
        .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn modified_file_never_panics(
        seed in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        head_changes in prop::collection::vec((0_usize..700, any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(), is_cut: bool, pad in 0_usize..20_000,
    ) {
        let mut bytes = seeds()[seed].clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        for (place, byte) in head_changes {
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(std::iter::repeat_n(0x1f, pad));
        matroska::fuzz(&bytes);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        matroska::fuzz(&bytes);
        let head = [&[0x1a, 0x45, 0xdf, 0xa3, 0x80, 0x18, 0x53, 0x80, 0x67, 0xff][..], &bytes].concat();
        matroska::fuzz(&head);
    }
}
