//! The samples that are found in a Flash video are those that ffprobe finds, in small files and in large ones, whole, cut
//! off, and of a clock that began long before.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod support;

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use glimpse_contract::Code;
use glimpse_media::demux::buffer::{Fault, Known};
use glimpse_media::demux::demuxer::{Aim, Movie, Sample, Want};
use glimpse_media::demux::flv::tag::{self, Kind};
use glimpse_media::demux::flv::{self, Flv};
use glimpse_media::demux::mp4;
use serde_json::Value;
use support::{make, reference};

#[expect(dead_code, reason = "other targets' parts")]
#[path = "../../media/fuzz/drive.rs"]
mod drive;

const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 2 -x264-params scenecut=0";

/// A source that is read as a job reads it, and how often it was.
struct Read {
    source: Bytes,
    known: Known,
    rounds: Cell<usize>,
}

impl Read {
    fn new(source: Vec<u8>) -> Self {
        let source = Bytes::from(source);
        let known = Known::new(source.len() as u64);
        Self { source, known, rounds: Cell::new(0) }
    }

    fn ask<T>(&mut self, question: impl Fn(&Known) -> Result<T, Fault>) -> Option<T> {
        self.rounds.set(0);
        drive::ask(&self.source, &mut self.known, |known| {
            self.rounds.set(self.rounds.get() + 1);
            question(known)
        })
    }
}

/// A picture as ffprobe lists it: when it is shown and decoded, its bytes, and whether it is a keyframe.
#[derive(Debug, PartialEq, Eq)]
struct Packet(i64, i64, u32, bool);

fn packets(file: &Path) -> Vec<Packet> {
    let output = Command::new(reference("ffprobe"))
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
            Packet(number(&packet["pts"]), number(&packet["dts"]), number(&packet["size"]) as u32, is_key)
        })
        .collect()
}

fn packet(sample: &Sample, zero: i64) -> Packet {
    Packet(sample.pts + zero, sample.dts + zero, sample.size, sample.key)
}

/// Has ffmpeg make films of six seconds; one is cut off.
fn films(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
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
fn every_picture_is_found_that_ffprobe_finds() {
    let folder = tempfile::tempdir().unwrap();
    for (name, film) in films(folder.path()) {
        let mut expected = packets(&folder.path().join(name));
        if name == "cut.flv" {
            // The picture within which it was cut.
            expected.pop();
        }
        let mut read = Read::new(film);
        let movie = read.ask(flv::open).unwrap();
        let track = movie.track();
        let frames = i64::try_from(expected.len()).unwrap();
        assert_eq!((track.codec, track.has_audio), ("h264", name != "silent.flv"), "{name}");
        assert!((track.fps - 25.0).abs() < 0.1, "{name}: {} frames a second", track.fps);
        assert!((track.duration - frames * 40).abs() <= 120, "{name}: {} ms", track.duration);
        let all = Want { from: i64::MIN, until: i64::MAX, aim: Aim::Exact };
        let found = movie.runs(&read.known, &[all]).unwrap().concat();
        let zero = expected[0].0 - found[0].pts;
        assert!(
            zero == 0 || (name == "late.flv" && (89_990_000..=90_000_000).contains(&zero)),
            "{name}: {zero}"
        );
        assert_eq!(found.iter().map(|sample| packet(sample, zero)).collect::<Vec<_>>(), expected, "{name}");
        let keys = found.iter().filter(|sample| sample.key).map(|sample| sample.pts);
        assert_eq!(track.keyframes, Some(keys.collect()), "{name}");
    }
}

#[test]
fn a_film_cut_before_its_first_picture_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let films = films(folder.path());
    let film = &films.iter().find(|(name, _)| *name == "whole.flv").unwrap().1;
    let first = tag::tags(film).find(|(_, tag)| tag.kind == Kind::Video).unwrap();
    let end = first.0 + first.1.length() - tag::FOOT_BYTES;
    for length in 13..end {
        let mut known = Known::new(length as u64);
        known.learn(0, &Bytes::copy_from_slice(&film[..length]));
        let found = flv::open(&known).map(|movie| movie.track().duration);
        assert_eq!(found, Err(Fault::Refused(Code::Truncated)), "{length} of {end} bytes");
        // Without the promise it is a song.
        let mut song = film[..length].to_vec();
        song[4] &= !1;
        let mut known = Known::new(length as u64);
        known.learn(0, &song.into());
        assert!(matches!(flv::open(&known), Err(Fault::Foreign(_))), "{length} bytes of a song");
    }
}

#[test]
fn a_moment_of_a_large_film_is_found_in_few_rounds() {
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
        assert!(total > 20 * 1024 * 1024, "{name}: {total} bytes are few");
        let mut read = Read::new(film);
        let movie = read.ask(flv::open).unwrap();
        assert!(read.rounds.get() <= 3 && read.known.held() < total / 16, "{name}: to open");
        let track = movie.track();
        let length = packets.last().unwrap().1 - zero + 40;
        assert!((track.duration - length).abs() <= 120, "{name}: {} ms instead of {length}", track.duration);
        assert!(track.has_audio && (track.fps - 25.0).abs() < 0.1, "{name}: {track:?}");

        let tiles: Vec<_> = (0..10).map(|tile| (2 * tile + 1) * track.duration / 20).collect();
        let near = |length| move |from: &i64| Want { from: *from, until: from + length, aim: Aim::Keyframe };
        for length in [0, 1000] {
            let wants: Vec<_> = tiles.iter().map(near(length)).collect();
            let runs = read.ask(|known| movie.runs(known, &wants)).unwrap();
            assert!(read.rounds.get() <= 12, "{name}: {} rounds", read.rounds.get());
            for (want, run) in wants.iter().zip(&runs) {
                // Keyframes are two seconds apart.
                assert!(
                    run[0].key && (run[0].pts - want.from).abs() <= 3500,
                    "{name}: {:?} for {want:?}",
                    run[0]
                );
                assert!(run.iter().all(|sample| packets.contains(&packet(sample, zero))), "{name}");
                assert_eq!(run.len() > 1, length > 0, "{name}: {} samples", run.len());
                let end = run.iter().map(|sample| sample.pts).max().unwrap();
                assert!(length == 0 || end >= run[0].pts + 900, "{name}: ends at {end}, {:?}", run[0]);
            }
        }
        assert!(read.known.held() < total * 3 / 4, "{name}: {} of {total} bytes", read.known.held());
        let wants: Vec<_> = tiles.iter().map(|at| Want { from: *at, until: *at, aim: Aim::Exact }).collect();
        let runs = read.ask(|known| movie.runs(known, &wants)).unwrap();
        for (want, run) in wants.iter().zip(&runs) {
            let shown = run.last().unwrap().pts;
            assert!(run[0].key && (0..=80).contains(&(want.from - shown)), "{name}: {shown} for {want:?}");
            assert!(run.iter().all(|sample| packets.contains(&packet(sample, zero))), "{name}");
        }
    }
}

/// A tag of pictures with this body.
fn tag(time_ms: i64, body: &[u8]) -> Vec<u8> {
    let [_, _, _, _, high, time @ ..] = time_ms.to_be_bytes();
    let size = (body.len() as u32).to_be_bytes();
    let foot = (body.len() as u32 + 11).to_be_bytes();
    [&[9], &size[1..], &time[..], &[high, 0, 0, 0], body, &foot].concat()
}

/// The pictures of an MP4 in a Flash video, as Enhanced RTMP has them.
fn enhanced(film: &[u8], four: [u8; 4], configuration: [u8; 4]) -> Vec<u8> {
    let source = Bytes::copy_from_slice(film);
    let mut known = Known::new(source.len() as u64);
    known.learn(0, &source);
    let movie = mp4::open(&known).unwrap();
    let entry = &movie.track().entries[0];
    let at = entry.windows(4).position(|word| word == configuration).unwrap();
    let size = u32::from_be_bytes(entry[at - 4..at].try_into().unwrap()) as usize;
    let script = [&b"\x02\0\x0aonMetaData\x08\0\0\0\x02\0\x05width\0"[..], &160.0_f64.to_be_bytes()].concat();
    let script = [&script[..], b"\0\x06height\0", &90.0_f64.to_be_bytes(), b"\0\0\x09"].concat();
    let mut out = b"FLV\x01\x01\0\0\0\x09\0\0\0\0".to_vec();
    let mut first = tag(0, &script);
    first[0] = 18;
    out.extend(first);
    out.extend(tag(0, &[&[0x90][..], &four, &entry[at + 4..at - 4 + size]].concat()));
    for sample in movie.samples().unwrap() {
        let millis = |ticks: i64| ticks * 1000 / i64::from(movie.track().timescale);
        let shift = (millis(sample.pts) - millis(sample.dts)) as i32;
        let kind = if sample.key { 0x91 } else { 0xa1 };
        let data = &film[sample.offset as usize..sample.offset as usize + sample.size as usize];
        let head = [&[kind][..], &four, &shift.to_be_bytes()[1..]].concat();
        out.extend(tag(millis(sample.dts), &[&head, data].concat()));
    }
    out
}

#[tokio::test]
async fn hevc_in_a_flash_video_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25:bframes=0 -tag:v hvc1";
    let pictures = "-f lavfi -i testsrc2=size=160x90:rate=25:duration=8";
    let film = make(folder.path(), "film.mp4", &format!("{pictures} {hevc}"));
    let scene = support::Scene::new(enhanced(&film, *b"hvc1", *b"hvcC"));
    assert_eq!(scene.run().await.result, Ok(glimpse_backend::preview::service::Done::Ready));
    let source = scene.manifest().unwrap().source;
    let known = (source.codec.as_str(), source.container.as_str(), source.width, source.height);
    assert_eq!(known, ("hevc", "flv", 160, 90));
    assert!((7_900..=8_100).contains(&source.duration_ms), "{} ms", source.duration_ms);
}

#[test]
fn what_is_not_read_here_is_left_to_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let (_, whole) = films(folder.path()).remove(0);
    let old = make(folder.path(), "old.flv", "-f lavfi -i testsrc2=s=64x36:d=1 -c:v flv");
    let sound = make(folder.path(), "sound.flv", "-f lavfi -i sine=duration=1 -ar 22050 -vn");
    let mut sizeless = whole.clone();
    let at = sizeless.windows(5).position(|word| word == b"width").unwrap();
    sizeless[at] = b'W';
    // Behind the film the tags of another one: its decoder would have to be configured anew.
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
        let mut known = Known::new(source.len() as u64);
        known.learn(0, &source);
        let opened: Result<Flv, Fault> = flv::open(&known);
        assert!(matches!(opened, Err(Fault::Foreign(_))), "{name}: {opened:?}");
    }
}
