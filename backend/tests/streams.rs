//! Tests of videos that ffmpeg demuxes: each time shows its own frame, joined streams are decoded completely, and
//! packets are found after foreign bytes. Frames are identified by their brightness; the reference is a full decode by
//! a full ffmpeg build.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{TestJob, decode_pixels_at, decode_tiles, make, reference_program};
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::frame_source::OpenedSource;
use glimpse_backend::render::service::{FrameSource as _, OpenFrameSource as _};
use glimpse_backend::store::memory::MemoryStore;
use glimpse_media::size::Size;

const SIZE: Size = Size { width: 96, height: 54 };

/// A gray video whose brightness encodes the number of the frame, distinguishable up to twenty-nine frames apart.
fn numbered_video(rate: &str, seconds: &str, first: u32) -> String {
    format!(
        "-f lavfi -i color=black:s=96x54:r={rate}:d={seconds},format=yuv420p,\
         geq=lum='20+mod({first}+N*7,200)':cb=128:cr=128"
    )
}

fn mean(frame: &[u8]) -> f64 {
    frame.iter().map(|value| f64::from(*value)).sum::<f64>() / frame.len().max(1) as f64
}

/// The presentation time of each frame of a file, in milliseconds from the first, and its brightness.
fn reference_frames(file: &Path) -> Vec<(f64, f64)> {
    let run = |program: &str, before: &[&str], after: &[&str]| {
        let mut command = Command::new(reference_program(program));
        command.args(["-v", "error"]).args(before).arg(file).args(after).stdin(Stdio::null());
        command.output().unwrap().stdout
    };
    let chain = "scale=96:54,setsar=1,format=rgb24";
    let raw = run(
        "ffmpeg",
        &["-nostdin", "-i"],
        &["-map", "0:v:0", "-vf", chain, "-fps_mode", "passthrough", "-f", "rawvideo", "-"],
    );
    let entries =
        ["-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0"];
    let times = String::from_utf8(run("ffprobe", &entries, &[])).unwrap();
    let fields = times.lines().filter_map(|line| line.split(',').next());
    let mut times: Vec<f64> = Vec::new();
    for field in fields {
        match (field.parse::<f64>(), times.as_slice()) {
            (Ok(secs), _) => times.push(secs * 1000.0),
            // The last frame of a program stream may have no timestamp.
            (Err(_), [.., one, other]) if field == "N/A" => times.push(2.0 * other - one),
            (Err(_), _) => {}
        }
    }
    let first = times.first().copied().unwrap_or(0.0);
    let shades = raw.chunks_exact(SIZE.frame_bytes()).map(mean);
    assert_eq!(times.len(), shades.len(), "{}", file.display());
    times.into_iter().map(|time| time - first).zip(shades).collect()
}

/// The brightness of the frame that is shown at a time.
fn brightness_at(reference_frames: &[(f64, f64)], ms: f64) -> f64 {
    reference_frames.iter().rev().find(|(time, _)| *time <= ms + 0.6).or(reference_frames.first()).unwrap().1
}

async fn open_source(fixture: &TestJob) -> OpenedSource<MemoryStore> {
    let opener = fixture.source_opener();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(5);
    opener.open(&fixture.manifest().unwrap(), deadline).await.unwrap()
}

/// The times at which stills and clips differ from a full decode.
async fn differences(name: &str, fixture: &TestJob, oracle: &[(f64, f64)], moments: &[u64]) -> Vec<String> {
    let result = fixture.run().await.result;
    if result != Ok(JobOutcome::Ready) {
        return vec![format!("{name}: {result:?}")];
    }
    let frame_source = open_source(fixture).await;
    let mut wrong = Vec::new();
    for &ms in moments {
        let (frame, _) = frame_source.frame_at(Some(ms), SIZE).await.unwrap();
        let (found, expected) = (mean(&frame), brightness_at(oracle, ms as f64));
        if (found - expected).abs() > 2.5 {
            wrong.push(format!("{name} at {ms} ms: {found:.0} and not {expected:.0}"));
        }
    }
    if let [.., from, until, _] = moments {
        let (frames, fps) = frame_source.frames_between(Some((*from, *until)), SIZE, 5.0).await.unwrap();
        for (place, frame) in frames.iter().enumerate() {
            let ms = *from as f64 + place as f64 * 1000.0 / fps;
            let (found, expected) = (mean(frame), brightness_at(oracle, ms));
            if (found - expected).abs() > 2.5 {
                wrong.push(format!("{name}: {ms:.0} ms of a clip: {found:.0} and not {expected:.0}"));
            }
        }
    }
    wrong
}

#[tokio::test]
async fn stills_and_clips_match_full_decode() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, codec) in [
        ("a.ts", "-c:v libx264 -bf 2 -g 50"),
        ("two.ts", "-c:v mpeg2video -q:v 2 -bf 2 -g 15"),
        ("a.mpg", "-c:v mpeg2video -q:v 2 -bf 2 -g 15"),
        ("a.avi", "-c:v mpeg4 -q:v 2 -g 40"),
        ("a.flv", "-c:v flv -q:v 2 -g 40"),
        ("a.wmv", "-c:v wmv2 -q:v 2 -g 40"),
        ("a.ogv", "-c:v libtheora -q:v 9 -g 40"),
        ("a.gif", ""),
        ("a.mxf", "-c:v mpeg2video -q:v 2 -g 15"),
    ] {
        let bytes = make(folder.path(), name, &format!("{} {codec}", numbered_video("25", "8", 0)));
        let oracle = reference_frames(&folder.path().join(name));
        // Between frames, at them, and just before them.
        let moments = [0, 39, 41, 1_000, 1_030, 2_399, 3_321, 5_000, 6_000, 7_900];
        wrong.extend(differences(name, &TestJob::new(bytes), &oracle, &moments).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Frames of ten seconds each, in a stream without an index: the current frame began long before.
#[tokio::test]
async fn slide_is_shown_until_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, codec, rate) in [
        ("slides.ts", "-c:v libx264 -g 1", "1/10"),
        ("long.ts", "-c:v libx264 -g 1", "1/40"),
        ("slides.flv", "-c:v flv -q:v 2 -g 1", "1/10"),
        ("slides.wmv", "-c:v wmv2 -q:v 2 -g 1", "1/10"),
    ] {
        let source =
            format!("{} -fps_mode passthrough -enc_time_base 1:1000", numbered_video(rate, "200", 3));
        let bytes = make(folder.path(), name, &format!("{source} {codec}"));
        let oracle = reference_frames(&folder.path().join(name));
        let moments = [0, 5_000, 9_999, 10_000, 35_000, 99_000, 121_000, 125_000, 139_000];
        wrong.extend(differences(name, &TestJob::new(bytes), &oracle, &moments).await);
    }
    if let Some(media) = support::media_folder() {
        let file = media.join("bugs/slides.ts");
        let moments = [0, 5_000, 9_999, 10_000, 35_000, 78_000, 82_000, 90_000];
        let fixture = TestJob::new(std::fs::read(&file).unwrap());
        wrong.extend(differences("slides.ts of a bug", &fixture, &reference_frames(&file), &moments).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Two recordings, concatenated in one file, each of which starts its clock at the same time.
#[tokio::test]
async fn concatenated_streams_are_fully_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, codec) in [
        ("a.ts", "-c:v libx264 -bf 2 -g 25"),
        ("two.ts", "-c:v mpeg2video -q:v 2 -bf 2 -g 15"),
        // Frames that take several packs each, as is typical: the last frames have no timestamps.
        ("noisy.vob", "-vf noise=c0s=20:c0f=t -c:v mpeg2video -q:v 2 -bf 2 -g 15 -f vob"),
        ("a.mpg", "-vf noise=c0s=20:c0f=t -c:v mpeg1video -q:v 2 -g 15"),
        // Several frames in one pack: most of them have no timestamps.
        ("tiny.vob", "-c:v mpeg2video -q:v 2 -bf 2 -g 15 -f vob"),
        // Too large to be read as a whole.
        (
            "large.vob",
            "-vf scale=640:360:flags=neighbor,noise=c0s=60:c0f=t -c:v mpeg2video -q:v 3 -bf 2 -g 15 -f vob -muxrate 80M",
        ),
    ] {
        let films = [("one", 0, "8"), ("two", 90, "5"), ("three", 40, "7")].map(|(part, first, seconds)| {
            let name = format!("{part}-{name}");
            let bytes =
                make(folder.path(), &name, &format!("{} {codec}", numbered_video("25", seconds, first)));
            (bytes, reference_frames(&folder.path().join(name)))
        });
        let mut oracle = Vec::new();
        let mut start = 0.0;
        for (_, part) in &films {
            oracle.extend(part.iter().map(|(time, shade)| (start + time, *shade)));
            start += part.len() as f64 * 40.0;
        }
        let fixture = TestJob::new(films.map(|(bytes, _)| bytes).concat());
        let moments = [0, 4_020, 7_900, 8_060, 12_020, 13_500, 16_020, 18_500, 19_500];
        wrong.extend(differences(name, &fixture, &oracle, &moments).await);
        let Some(manifest) = fixture.manifest() else { continue };
        if manifest.source.duration_ms.abs_diff(20_000) > 300 {
            wrong.push(format!("{name} is {} ms long", manifest.source.duration_ms));
        }
        // Each tile shows its own time: all three segments are there.
        let tile = Size { width: 96, height: 54 };
        let sheet = Size { width: 5 * tile.width, height: 10 * tile.height };
        let pixels = decode_pixels_at(folder.path(), &fixture.output("storyboard.webp"), sheet);
        for place in 0..50_u32 {
            let line = |y: u32| {
                let at = ((place / 5 * tile.height + y) * sheet.width + place % 5 * tile.width) as usize;
                mean(&pixels[at * 3..(at + tile.width as usize) * 3])
            };
            let found = (0..tile.height).map(line).sum::<f64>() / f64::from(tile.height);
            let ms = 400.0 * f64::from(place);
            // The frame of any time near it: a keyframe may replace its neighbors.
            let near = oracle.iter().filter(|(time, _)| (*time - ms).abs() <= 1_100.0);
            if !near.clone().any(|(_, shade)| (found - shade).abs() <= 6.0) {
                wrong.push(format!("{name}: tile {place} is {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn concatenated_stream_has_total_duration() {
    let Some(media) = support::media_folder() else { return };
    let fixture = TestJob::new(std::fs::read(media.join("bugs/ts-joined.ts")).unwrap());
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
    assert!(fixture.manifest().unwrap().source.duration_ms.abs_diff(30_000) < 200);
}

/// Bytes before the first packet, and packets of other lengths.
#[tokio::test]
async fn finds_stream_after_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let source = numbered_video("25", "4", 0);
    let plain = make(folder.path(), "plain.ts", &format!("{source} -c:v libx264 -g 25"));
    let oracle = reference_frames(&folder.path().join("plain.ts"));
    let camcorder: Vec<u8> =
        plain.chunks(188).flat_map(|packet| [&[0_u8, 1, 2, 3][..], packet].concat()).collect();
    let checked: Vec<u8> = plain.chunks(188).flat_map(|packet| [packet, &[9; 16]].concat()).collect();
    let others = |length: usize| (0..length).map(|place| (place * 31 % 251) as u8).collect::<Vec<u8>>();
    let mut wrong = Vec::new();
    for (name, bytes) in [
        ("192 bytes", camcorder.clone()),
        ("204 bytes", checked.clone()),
        ("behind 1083", [others(1083), plain.clone()].concat()),
        ("behind 9000", [others(9_000), plain.clone()].concat()),
        ("192 behind 5000", [others(5_000), camcorder].concat()),
        ("204 behind 20000", [others(20_000), checked].concat()),
        ("in the middle of a packet", plain[100..].to_vec()),
    ] {
        let moments = [0, 500, 1_010, 2_030, 2_500, 3_000, 3_500];
        wrong.extend(differences(name, &TestJob::new(bytes), &oracle, &moments).await);
    }
    if let Some(media) = support::media_folder() {
        let fixture = TestJob::new(std::fs::read(media.join("bugs/ts-garbage.ts")).unwrap());
        let result = fixture.run().await.result;
        if result != Ok(JobOutcome::Ready)
            || fixture.manifest().unwrap().source.duration_ms.abs_diff(10_000) > 100
        {
            wrong.push(format!("ts-garbage.ts: {result:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The header of a GIF of this size, with two colors.
fn gif_header(side: u16) -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend_from_slice(&side.to_le_bytes());
    bytes.extend_from_slice(&side.to_le_bytes());
    bytes.extend_from_slice(&[0x80, 0, 0, 40, 90, 200, 240, 200, 60]);
    bytes
}

/// 100,000 frames of 4000 by 4000, each of which changes one pixel.
#[tokio::test]
async fn f8_gif_of_many_large_frames_ends_soon() {
    let mut bytes = gif_header(4000);
    for place in 0..100_000_u32 {
        // Shown for a tenth of a second; one pixel, encoded with a code of two bits.
        bytes.extend_from_slice(&[0x21, 0xf9, 4, 4, 10, 0, 0, 0, 0x2c]);
        for number in [place % 4000, place / 4000, 1, 1] {
            bytes.extend_from_slice(&(number as u16).to_le_bytes());
        }
        bytes.extend_from_slice(&[0, 2, 2, 0x4c, 1, 0]);
    }
    bytes.push(0x3b);
    let fixture = TestJob::new(bytes);
    let started = Instant::now();
    let result = fixture.run().await.result;
    let took = started.elapsed();
    eprintln!("{result:?} after {took:?}");
    assert_eq!(result, Ok(JobOutcome::Ready));
    assert!(took < Duration::from_secs(40), "{took:?}");
}

/// A truncated file has no index: a seek reads everything before its position, or ends at a wrong one.
#[tokio::test]
async fn large_file_without_index_is_read_few_times() {
    let folder = tempfile::tempdir().unwrap();
    for (name, pattern, codec, max_reads) in [
        // One pass to count its frames, and one for all outputs.
        ("large.avi", "s=640x360:r=10", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p", 2.2),
        ("large.mxf", "s=352x208:r=25", "-c:v mpeg2video -q:v 2 -g 15", 2.2),
        // Its duration follows from its last tag.
        ("large.flv", "s=640x360:r=5", "-c:v flv -q:v 2 -g 10", 1.2),
    ] {
        let source =
            format!("-f lavfi -i testsrc2={pattern}:d=60,fade=in:st=0:d=60,noise=alls=60:allf=t {codec}");
        let mut bytes = make(folder.path(), name, &source);
        bytes.truncate(bytes.len() / 10 * 8);
        let length = bytes.len() as u64;
        assert!(length > 64 * 1024 * 1024, "{name}: {length} bytes");
        let fixture = TestJob::new(bytes);
        let report = fixture.run().await;
        assert_eq!(report.result, Ok(JobOutcome::Ready), "{name}");
        let reads = report.counts.bytes as f64 / length as f64;
        eprintln!("{name}: {length} bytes are read {reads:.2} times");
        assert!(reads < max_reads, "{name}: read {reads:.2} times");
        let manifest = fixture.manifest().unwrap();
        let duration_ms = manifest.source.duration_ms;
        assert!(duration_ms.abs_diff(48_000) < 1_500, "{name}: {duration_ms} ms");
        // Its brightness increases all the time, and so does that of the tiles.
        let tiles = decode_tiles(folder.path(), &fixture, Size { width: 192, height: 108 });
        let lights: Vec<f64> = tiles.iter().map(|pixels| mean(pixels)).collect();
        assert!(lights[49] > lights[25] + 10.0 && lights[25] > lights[5] + 10.0, "{name}: {lights:?}");
    }
}
