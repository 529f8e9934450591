//! Compares the samples that the FLV demuxer finds with those of ffprobe, in small and large files, complete and
//! truncated, also with a clock that started long before.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::drive;
use crate::support;
use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use crate::support::{TestJob, make, reference_program};
use bytes::Bytes;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_contract::Code;
use glimpse_media::demux::buffer::SparseBuffer;
use glimpse_media::demux::demuxer::{Demuxer, Sample, SampleRequest, SeekMode};
use glimpse_media::demux::error::ReadError;
use glimpse_media::demux::flv::tag::{self, TagType};
use glimpse_media::demux::flv::{self, Flv};
use glimpse_media::demux::mp4;
use serde_json::Value;

const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 2 -x264-params scenecut=0";

/// A source that is read like in a job, with the number of reads.
struct FlvDriver {
    source: Bytes,
    buffer: SparseBuffer,
    rounds: Cell<usize>,
}

impl FlvDriver {
    fn new(source: Vec<u8>) -> Self {
        let source = Bytes::from(source);
        let buffer = SparseBuffer::new(source.len() as u64);
        Self { source, buffer, rounds: Cell::new(0) }
    }

    fn read_until_ready<T>(&mut self, read: impl Fn(&SparseBuffer) -> Result<T, ReadError>) -> Option<T> {
        self.rounds.set(0);
        drive::read_until_ready(&self.source, &mut self.buffer, |known| {
            self.rounds.set(self.rounds.get() + 1);
            read(known)
        })
    }
}

/// A frame as ffprobe lists it: its times, its bytes, and whether it is a keyframe.
#[derive(Debug, PartialEq, Eq)]
struct FlvPacket(i64, i64, u32, bool);

fn packets(file: &Path) -> Vec<FlvPacket> {
    let output = Command::new(reference_program("ffprobe"))
        .args(["-v", "error", "-of", "json", "-select_streams", "v:0"])
        .args(["-show_entries", "packet=pts,dts,size,flags"])
        .arg(file)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap();
    let packets = report["packets"].as_array().unwrap().iter();
    packets
        .map(|packet| {
            let is_key = packet["flags"].as_str().unwrap().contains('K');
            FlvPacket(number(&packet["pts"]), number(&packet["dts"]), number(&packet["size"]) as u32, is_key)
        })
        .collect()
}

fn packet(sample: &Sample, zero: i64) -> FlvPacket {
    FlvPacket(sample.pts + zero, sample.dts + zero, sample.size, sample.is_key)
}

/// Makes videos of six seconds with ffmpeg; one is truncated.
fn make_videos(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let pictures = "-f lavfi -i testsrc2=size=160x90:rate=25:duration=6";
    let sound = "-f lavfi -i sine=duration=6 -ar 22050";
    let made = |name: &str, arguments: &str| make(folder, name, &format!("{pictures} {arguments}"));
    let whole = made("whole.flv", &format!("{sound} {H264}"));
    let cut = whole[..whole.len() * 7 / 10].to_vec();
    std::fs::write(folder.join("cut.flv"), &cut).unwrap();
    let late = "-output_ts_offset 90000 -flvflags no_duration_filesize";
    vec![
        ("whole.flv", whole),
        ("cut.flv", cut),
        ("silent.flv", made("silent.flv", &format!("{H264} -flvflags no_sequence_end"))),
        ("late.flv", made("late.flv", &format!("{sound} {H264} {late}"))),
    ]
}

#[test]
fn finds_same_frames_as_ffprobe() {
    let folder = tempfile::tempdir().unwrap();
    for (name, film) in make_videos(folder.path()) {
        let mut expected = packets(&folder.path().join(name));
        if name == "cut.flv" {
            // The frame that was truncated.
            expected.pop();
        }
        let mut read = FlvDriver::new(film);
        let movie = read.read_until_ready(flv::open).unwrap();
        let track = movie.track();
        let frames = i64::try_from(expected.len()).unwrap();
        assert_eq!((track.codec, track.has_audio), ("h264", name != "silent.flv"), "{name}");
        assert!((track.fps - 25.0).abs() < 0.1, "{name}: {} frames a second", track.fps);
        assert!((track.duration - frames * 40).abs() <= 120, "{name}: {} ms", track.duration);
        let all = SampleRequest { from: i64::MIN, until: i64::MAX, mode: SeekMode::Exact };
        let found = movie.find_samples(&read.buffer, &[all]).unwrap().concat();
        let zero = expected[0].0 - found[0].pts;
        assert!(
            zero == 0 || (name == "late.flv" && (89_990_000..=90_000_000).contains(&zero)),
            "{name}: {zero}"
        );
        assert_eq!(found.iter().map(|sample| packet(sample, zero)).collect::<Vec<_>>(), expected, "{name}");
        let keys = found.iter().filter(|sample| sample.is_key).map(|sample| sample.pts);
        assert_eq!(track.keyframes, Some(keys.collect()), "{name}");
    }
}

#[test]
fn rejects_file_cut_before_first_frame() {
    let folder = tempfile::tempdir().unwrap();
    let films = make_videos(folder.path());
    let film = &films.iter().find(|(name, _)| *name == "whole.flv").unwrap().1;
    let first = tag::find_tags(film).find(|(_, tag)| tag.tag_type == TagType::Video).unwrap();
    let end = first.0 + first.1.total_bytes() - tag::PREVIOUS_TAG_SIZE_BYTES;
    for length in 13..end {
        let mut buffer = SparseBuffer::new(length as u64);
        buffer.insert(0, &Bytes::copy_from_slice(&film[..length]));
        let found = flv::open(&buffer).map(|movie| movie.track().duration);
        assert_eq!(found, Err(ReadError::Rejected(Code::Truncated)), "{length} of {end} bytes");
        // Without the declaration of video it is audio only.
        let mut song = film[..length].to_vec();
        song[4] &= !1;
        let mut buffer = SparseBuffer::new(length as u64);
        buffer.insert(0, &song.into());
        assert!(
            matches!(flv::open(&buffer), Err(ReadError::Unsupported(_))),
            "{length} bytes of an audio file"
        );
    }
}

/// Inserts audio tags before the first video tag.
fn with_leading_audio(video: &[u8], tag_count: usize, body_bytes: usize) -> Vec<u8> {
    let (first, _) = tag::find_tags(video).find(|(_, tag)| tag.tag_type == TagType::Video).unwrap();
    let mut audio = tag(0, &vec![0x2f; body_bytes]);
    audio[0] = 8;
    [&video[..first], &audio.repeat(tag_count), &video[first..]].concat()
}

#[tokio::test]
async fn finds_video_after_much_audio() {
    let folder = tempfile::tempdir().unwrap();
    let (_, video) = make_videos(folder.path()).swap_remove(0);
    for (name, tag_count, body_bytes) in
        [("many tags", 20_000, 5), ("many bytes", 900, 12_000), ("both", 90_000, 200)]
    {
        let late = with_leading_audio(&video, tag_count, body_bytes);
        let mut read = FlvDriver::new(late.clone());
        let movie = read.read_until_ready(flv::open).unwrap_or_else(|| panic!("{name}"));
        assert!(read.rounds.get() <= 12, "{name}: {} rounds", read.rounds.get());
        assert!((movie.track().duration - 6000).abs() <= 120, "{name}: {} ms", movie.track().duration);
        let fixture = TestJob::new(late.clone());
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");

        let fixture = TestJob::new(late[..late.len() - video.len()].to_vec());
        let result = fixture.run().await.result;
        assert_eq!(result, Ok(JobOutcome::Rejected(Code::Truncated)), "{name}, truncated");
    }
    // More audio than is searched.
    let fixture = TestJob::new(with_leading_audio(&video, 5_700, 12_000));
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Rejected(Code::Truncated)));
}

#[test]
fn seeks_large_file_in_few_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let pictures =
        "-f lavfi -i testsrc2=size=640x360:rate=25:duration=20 -f lavfi -i sine=duration=20 -ar 22050";
    let once = format!("{pictures} -vf noise=alls=20:allf=t {H264} -g 50 -b:v 6M -maxrate 6M -bufsize 3M");
    make(folder.path(), "once.flv", &once);
    let looped = format!("-stream_loop 4 -i {} -c copy", folder.path().join("once.flv").display());
    let whole = make(folder.path(), "whole.flv", &looped);
    let late = format!("{looped} -output_ts_offset 7200 -flvflags no_duration_filesize");
    let late = make(folder.path(), "late.flv", &late);
    let cut = whole[..whole.len() * 6 / 10].to_vec();
    std::fs::write(folder.path().join("cut.flv"), &cut).unwrap();
    for (name, film) in [("whole.flv", whole), ("cut.flv", cut), ("late.flv", late)] {
        let packets = packets(&folder.path().join(name));
        let zero = if name == "late.flv" { packets[0].1 } else { 0 };
        let total = film.len() as u64;
        assert!(total > 20 * 1024 * 1024, "{name}: {total} bytes are not enough");
        let mut read = FlvDriver::new(film);
        let movie = read.read_until_ready(flv::open).unwrap();
        assert!(
            read.rounds.get() <= 3 && read.buffer.buffered_bytes() < total / 16,
            "{name}: opening needs too many reads"
        );
        let track = movie.track();
        let length = packets.last().unwrap().1 - zero + 40;
        assert!((track.duration - length).abs() <= 120, "{name}: {} ms instead of {length}", track.duration);
        assert!(track.has_audio && (track.fps - 25.0).abs() < 0.1, "{name}: {track:?}");

        let tiles: Vec<_> = (0..10).map(|tile| (2 * tile + 1) * track.duration / 20).collect();
        let near = |length| {
            move |from: &i64| SampleRequest { from: *from, until: from + length, mode: SeekMode::Keyframe }
        };
        for length in [0, 1000] {
            let requests: Vec<_> = tiles.iter().map(near(length)).collect();
            let runs = read.read_until_ready(|buffer| movie.find_samples(buffer, &requests)).unwrap();
            assert!(read.rounds.get() <= 12, "{name}: {} rounds", read.rounds.get());
            for (request, run) in requests.iter().zip(&runs) {
                // Keyframes are two seconds apart.
                assert!(
                    run[0].is_key && (run[0].pts - request.from).abs() <= 3500,
                    "{name}: {:?} for {request:?}",
                    run[0]
                );
                assert!(run.iter().all(|sample| packets.contains(&packet(sample, zero))), "{name}");
                assert_eq!(run.len() > 1, length > 0, "{name}: {} samples", run.len());
                let end = run.iter().map(|sample| sample.pts).max().unwrap();
                assert!(length == 0 || end >= run[0].pts + 900, "{name}: ends at {end}, {:?}", run[0]);
            }
        }
        assert!(
            read.buffer.buffered_bytes() < total * 3 / 4,
            "{name}: {} of {total} bytes",
            read.buffer.buffered_bytes()
        );
        let requests: Vec<_> =
            tiles.iter().map(|at| SampleRequest { from: *at, until: *at, mode: SeekMode::Exact }).collect();
        let runs = read.read_until_ready(|buffer| movie.find_samples(buffer, &requests)).unwrap();
        for (request, run) in requests.iter().zip(&runs) {
            let shown = run.last().unwrap().pts;
            assert!(
                run[0].is_key && (0..=80).contains(&(request.from - shown)),
                "{name}: {shown} for {request:?}"
            );
            assert!(run.iter().all(|sample| packets.contains(&packet(sample, zero))), "{name}");
        }
    }
}

/// A video tag with this body.
fn tag(time_ms: i64, body: &[u8]) -> Vec<u8> {
    let [_, _, _, _, high, time @ ..] = time_ms.to_be_bytes();
    let size = (body.len() as u32).to_be_bytes();
    let foot = (body.len() as u32 + 11).to_be_bytes();
    [&[9], &size[1..], &time[..], &[high, 0, 0, 0], body, &foot].concat()
}

/// The samples of an MP4 in a Flash video, as in Enhanced RTMP.
fn to_enhanced_flv(film: &[u8], four: [u8; 4], configuration: [u8; 4]) -> Vec<u8> {
    let source = Bytes::copy_from_slice(film);
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source);
    let movie = mp4::open(&buffer).unwrap();
    let entry = &movie.track().sample_entries[0];
    let at = entry.windows(4).position(|word| word == configuration).unwrap();
    let size = u32::from_be_bytes(entry[at - 4..at].try_into().unwrap()) as usize;
    let script = [&b"\x02\0\x0aonMetaData\x08\0\0\0\x02\0\x05width\0"[..], &160.0_f64.to_be_bytes()].concat();
    let script = [&script[..], b"\0\x06height\0", &90.0_f64.to_be_bytes(), b"\0\0\x09"].concat();
    let mut out = b"FLV\x01\x01\0\0\0\x09\0\0\0\0".to_vec();
    let mut first = tag(0, &script);
    first[0] = 18;
    out.extend(first);
    out.extend(tag(0, &[&[0x90][..], &four, &entry[at + 4..at - 4 + size]].concat()));
    for sample in movie.all_samples().unwrap() {
        let millis = |ticks: i64| ticks * 1000 / i64::from(movie.track().timescale);
        let shift = (millis(sample.pts) - millis(sample.dts)) as i32;
        let kind = if sample.is_key { 0x91 } else { 0xa1 };
        let data = &film[sample.offset as usize..sample.offset as usize + sample.size as usize];
        let head = [&[kind][..], &four, &shift.to_be_bytes()[1..]].concat();
        out.extend(tag(millis(sample.dts), &[&head, data].concat()));
    }
    out
}

#[tokio::test]
async fn reads_hevc() {
    let folder = tempfile::tempdir().unwrap();
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25:bframes=0 -tag:v hvc1";
    let pictures = "-f lavfi -i testsrc2=size=160x90:rate=25:duration=8";
    let film = make(folder.path(), "film.mp4", &format!("{pictures} {hevc}"));
    let fixture = support::TestJob::new(to_enhanced_flv(&film, *b"hvc1", *b"hvcC"));
    assert_eq!(fixture.run().await.result, Ok(glimpse_backend::preview::service::JobOutcome::Ready));
    let source = fixture.manifest().unwrap().source;
    let known = (source.codec.as_str(), source.container.as_str(), source.width, source.height);
    assert_eq!(known, ("hevc", "flv", 160, 90));
    assert!((7_900..=8_100).contains(&source.duration_ms), "{} ms", source.duration_ms);
}

#[test]
fn unsupported_codecs_are_left_to_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let (_, whole) = make_videos(folder.path()).remove(0);
    let old = make(folder.path(), "old.flv", "-f lavfi -i testsrc2=s=64x36:d=1 -c:v flv");
    let sound = make(folder.path(), "sound.flv", "-f lavfi -i sine=duration=1 -ar 22050 -vn");
    let mut sizeless = whole.clone();
    let at = sizeless.windows(5).position(|word| word == b"width").unwrap();
    sizeless[at] = b'W';
    // The video is followed by the tags of another one, for which the decoder would have to be configured again.
    let other = make(folder.path(), "other.flv", &format!("-f lavfi -i testsrc2=s=64x36:d=1 {H264}"));
    let joined = [&whole[..], &other[13..]].concat();
    let mut damaged = whole.clone();
    let at = damaged.windows(5).position(|five| five == b"\x17\0\0\0\0").unwrap();
    damaged[at + 5] = 9;
    for (name, film) in [
        ("another configuration", joined),
        ("a damaged one", damaged),
        ("Sorenson", old),
        ("sound", sound),
        ("no size", sizeless),
    ] {
        let source = Bytes::from(film);
        let mut buffer = SparseBuffer::new(source.len() as u64);
        buffer.insert(0, &source);
        let opened: Result<Flv, ReadError> = flv::open(&buffer);
        assert!(matches!(opened, Err(ReadError::Unsupported(_))), "{name}: {opened:?}");
    }
}
