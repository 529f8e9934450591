//! Tests of valid but unusual files: still images with the name of a video, truncated recordings, streams without a
//! duration.

use std::path::Path;
use std::time::Duration;

use crate::support::edits::with_edits;
use crate::support::{TestJob, decode_tiles, install_program, make, tools};
use glimpse_backend::config::FfmpegTools;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::workflow::state::ProbeResult;
use glimpse_contract::Code;
use glimpse_media::size::Size;
use tokio::time::Instant;

fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], &kind, body].concat()
}

/// The top-level boxes of a file without a movie, with a `meta` of this handler.
fn with_meta(brand: [u8; 4], handler: [u8; 4]) -> Vec<u8> {
    let handler = boxed(*b"hdlr", &[&[0; 8][..], &handler, &[0; 13]].concat());
    let meta = boxed(*b"meta", &[&[0; 4][..], &handler, &[0; 64]].concat());
    let head = boxed(*b"ftyp", &[&brand[..], b"\0\0\0\0mif1", &brand[..]].concat());
    [head, meta, boxed(*b"mdat", &[7; 900])].concat()
}

#[tokio::test]
async fn distinguishes_still_images_from_truncated_videos() {
    for (brand, handler, expected) in [
        (*b"heic", *b"pict", Code::NotAVideo),
        (*b"avif", *b"pict", Code::NotAVideo),
        // A video with tags at the beginning, truncated before its index.
        (*b"isom", *b"mdir", Code::Truncated),
    ] {
        let result = TestJob::new(with_meta(brand, handler)).run().await.result;
        assert_eq!(result, Ok(JobOutcome::Rejected(expected)), "{}", brand.escape_ascii());
    }
}

/// Sixty seconds with a keyframe each second; the brightness of the right half encodes the time.
const CLOCK: &str = "-f lavfi -i testsrc2=s=192x108:r=10:d=60,format=yuv420p,\
     geq=lum='if(lt(X,96),lum(X,Y),20+T*3.5)':cb='if(lt(X,48),cb(X,Y),128)':cr='if(lt(X,48),cr(X,Y),128)'";

/// Encodes [`CLOCK`], which is generated once for a folder.
fn make_clock(folder: &Path, name: &str, codec: &str) -> Vec<u8> {
    let clock = folder.join("clock.nut");
    if !clock.exists() {
        make(folder, "clock.nut", &format!("{CLOCK} -c:v rawvideo"));
    }
    make(folder, name, &format!("-i {} -g 10 {codec}", clock.display()))
}

/// The first part of a file, in percent.
fn truncate(bytes: &[u8], percent: usize) -> Vec<u8> {
    bytes[..bytes.len() * percent / 100].to_vec()
}

/// The duration follows from the frames in a file, regardless of its header.
#[tokio::test]
async fn measures_missing_or_wrong_durations() {
    let folder = tempfile::tempdir().unwrap();
    let film = |name: &str, codec: &str| make_clock(folder.path(), name, codec);
    let again = |name: &str, of: &str, words: &str| {
        make(folder.path(), name, &format!("-i {} -c copy {words}", folder.path().join(of).display()))
    };
    let flv = film("a.flv", "-c:v flv -q:v 6");
    let live = again("live.flv", "a.flv", "-flvflags no_duration_filesize");
    let late = again("late.flv", "a.flv", "-output_ts_offset 3600 -flvflags no_duration_filesize");
    let wmv = film("a.wmv", "-c:v wmv2 -q:v 6");
    let late_wmv = again("late.wmv", "a.wmv", "-output_ts_offset 3600");
    let avi = film("a.avi", "-c:v mpeg4 -q:v 6");
    let piped = film("piped.avi", "-c:v mpeg4 -q:v 6 -seekable 0");
    let bare = film("a.m2v", "-c:v mpeg2video -q:v 6");
    let old = film("a.m1v", "-c:v mpeg1video -r 25 -q:v 6");
    let seconds = |low: u64, high: u64| low * 1000..=high * 1000;
    let mut wrong = Vec::new();
    for (name, bytes, expected) in [
        ("a whole FLV", flv.clone(), seconds(60, 60)),
        ("a truncated FLV with a duration of a minute", truncate(&flv, 60), seconds(33, 39)),
        ("a truncated FLV without a duration", truncate(&live, 60), seconds(33, 39)),
        ("an FLV of a stream that started an hour ago", late.clone(), seconds(59, 60)),
        ("the same, truncated", truncate(&late, 60), seconds(33, 39)),
        ("a whole WMV", wmv.clone(), seconds(60, 60)),
        ("a truncated WMV", truncate(&wmv, 60), seconds(33, 39)),
        ("a WMV that starts an hour late", late_wmv, seconds(59, 61)),
        ("an AVI from a pipe", piped, seconds(59, 61)),
        ("a truncated AVI", truncate(&avi, 60), seconds(33, 39)),
        ("a bare MPEG-2 stream", bare.clone(), seconds(59, 61)),
        ("a truncated bare MPEG-2 stream", truncate(&bare, 60), seconds(33, 39)),
        ("a bare MPEG-1 stream", old, seconds(59, 61)),
    ] {
        let fixture = TestJob::new(bytes);
        let found = fixture.service.probe(&fixture.job, Instant::now() + Duration::from_mins(1)).await.result;
        let Ok(ProbeResult::Look(task)) = found else { panic!("{name}: {found:?}") };
        let found = task.draft.source.duration_ms;
        if !expected.contains(&found) {
            wrong.push((name, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The time that each tile of a storyboard of [`CLOCK`] shows, in seconds.
fn tile_times_secs(folder: &Path, fixture: &TestJob) -> Vec<f64> {
    let tile = Size { width: 192, height: 108 };
    let time_secs = |pixels: Vec<u8>| {
        let at = |x: u32, y: u32| f64::from(pixels[(y * tile.width + x) as usize * 3]);
        let sum: f64 = (120..170).flat_map(|x| (20..90).map(move |y| (x, y))).map(|(x, y)| at(x, y)).sum();
        (sum / 3500.0 * 219.0 / 255.0 + 16.0 - 20.0) / 3.5
    };
    decode_tiles(folder, fixture, tile).into_iter().map(time_secs).collect()
}

/// Every tile shows its own time, with or without an index, and the whole decodable part has tiles.
#[tokio::test]
async fn unindexed_video_has_tiles_of_its_whole_length() {
    let folder = tempfile::tempdir().unwrap();
    let film = |name: &str, codec: &str| make_clock(folder.path(), name, codec);
    let mut wrong = Vec::new();
    for (name, bytes) in [
        ("a truncated AVI", truncate(&film("a.avi", "-c:v mpeg4 -q:v 4"), 70)),
        ("a truncated FLV", truncate(&film("a.flv", "-c:v flv -q:v 4"), 70)),
        ("a truncated WMV", truncate(&film("a.wmv", "-c:v wmv2 -q:v 4"), 70)),
        ("a bare MPEG-2 stream", film("a.m2v", "-c:v mpeg2video -r 25 -g 25 -q:v 4")),
        ("a transport stream", film("a.ts", "-c:v mpeg2video -r 25 -g 25 -q:v 4 -output_ts_offset 3600")),
        ("a program stream", film("a.mpg", "-c:v mpeg2video -r 25 -g 25 -q:v 4")),
        // One keyframe every twelve seconds: the frames between them are decoded.
        ("an AVI of few keyframes", film("b.avi", "-c:v mpeg4 -q:v 4 -g 120 -sc_threshold 1000000000")),
    ] {
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let length = fixture.manifest().unwrap().source.duration_ms as f64 / 1000.0;
        // A keyframe each second; frames of a stream without timestamps have those of the next keyframe.
        let late = if name.contains("bare") { 3.0 } else { 2.0 };
        for (place, shown) in tile_times_secs(folder.path(), &fixture).into_iter().enumerate() {
            let middle = length * (place as f64 + 0.5) / 50.0;
            if !(middle - late..=middle + 1.0).contains(&shown) {
                wrong.push(format!("{name}: tile {place} of {middle:.1} s shows {shown:.1} s"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A video composed of several edits, and one that begins late: each tile shows the frame that players show then.
#[tokio::test]
async fn tiles_follow_the_edit_list() {
    let folder = tempfile::tempdir().unwrap();
    let second = 12_800;
    let codec = "-c:v libx264 -preset ultrafast -bf 2 -g 30 -video_track_timescale 12800";
    let film = make_clock(folder.path(), "a.mov", codec);
    // The first frame is presented two frames after it is decoded.
    let media = |at: i32| at * second + 2560;
    let several = with_edits(&film, &[(20_000, media(35)), (20_000, media(5)), (10_000, media(50))]);
    let later = format!("-itsoffset 6 -i {}", folder.path().join("a.mov").display());
    let late = format!("{later} -f lavfi -i sine=d=66 -map 0:v -map 1:a -c:v copy -c:a aac");
    let late = make(folder.path(), "late.mp4", &late);
    let edited = |at: f64| match at {
        at if at < 20.0 => 35.0 + at,
        at if at < 40.0 => at - 15.0,
        at => at + 10.0,
    };
    let mut wrong = Vec::new();
    for (name, bytes, length, shown_at) in [
        ("several edits", several, 50.0, &edited as &dyn Fn(f64) -> f64),
        ("a late start", late, 66.0, &|at: f64| (at - 6.0).max(0.0)),
    ] {
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let source = fixture.manifest().unwrap().source;
        assert!((source.duration_ms as f64 / 1000.0 - length).abs() < 0.2, "{name}: {source:?}");
        assert_eq!(source.container, "mov", "{name}");
        for (place, shown) in tile_times_secs(folder.path(), &fixture).into_iter().enumerate() {
            let expected = shown_at(length * (place as f64 + 0.5) / 50.0);
            // The time is read from the tile's brightness, with a precision of one second.
            if (shown - expected).abs() > 1.5 {
                wrong.push(format!("{name}: tile {place} of {expected:.1} s shows {shown:.1} s"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn unindexed_video_is_read_at_most_twice() {
    let folder = tempfile::tempdir().unwrap();
    let film = "-f lavfi -i testsrc2=s=480x270:r=10:d=60,noise=alls=40:allf=t -c:v flv -q:v 8 -g 10";
    let bytes = truncate(&make(folder.path(), "noisy.flv", film), 90);
    let length = bytes.len() as u64;
    assert!(length > 17 * 1024 * 1024, "{length} bytes are not enough");
    let fixture = TestJob::new(bytes);
    let report = fixture.run().await;
    assert_eq!(report.result, Ok(JobOutcome::Ready));
    assert!(report.counts.bytes < 2 * length, "{:?} of {length} bytes", report.counts);
    assert!(report.counts.requests < 40, "{:?}", report.counts);
}

/// A minimal build of ffprobe recognizes H.264 in a program stream only by the stream map, which some muxers omit.
#[tokio::test]
async fn detects_h264_in_program_stream_without_map() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    // That build's response to the first probe; later probes see the input that they are given.
    let unknown = r#"{"streams": [{"index": 0, "codec_type": "video", "codec_name": "unknown"}], "format": {"nb_streams": 1}}"#;
    let probe = tools().ffprobe;
    let script = format!(
        "#!/bin/sh\nif [ ! -e {at}/asked ]; then : > {at}/asked; echo '{unknown}'; exit 0; fi\nexec {} \"$@\"\n",
        probe.display()
    );
    for (name, codec) in
        [("a.vob", "-c:v libx264 -preset ultrafast -f vob"), ("a.mpg", "-c:v libx264 -bf 2 -f mpeg")]
    {
        let bytes = make_clock(folder.path(), name, codec);
        assert!(!bytes.windows(4).any(|word| word == [0, 0, 1, 0xbc]), "{name} has a map");
        let _ = std::fs::remove_file(folder.path().join("asked"));
        let ffprobe = install_program(folder.path(), script.as_bytes());
        let fixture = TestJob::with_tools(bytes, FfmpegTools { ffprobe, ..tools() });
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let source = fixture.manifest().unwrap().source;
        assert_eq!((source.codec.as_str(), source.width), ("h264", 192), "{name}");
        assert!((58_000..=61_000).contains(&source.duration_ms), "{name}: {} ms", source.duration_ms);
        let last = tile_times_secs(folder.path(), &fixture)[49];
        assert!((55.0..61.0).contains(&last), "{name}: the last tile is of {last:.1} s");
    }
}
