//! Compares every output with the result of the slow, obvious way: all frames decoded by a full ffmpeg build, rotated
//! and scaled, and the one selected that is shown at the time. Over a matrix of generated videos, and over real ones.
//! `GLIMPSE_MEDIA=/folder` names the real ones; `GLIMPSE_KEEP=/another` keeps the compared frames, as PPM, side by
//! side.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::compare::mean_difference;
use crate::support::{ProcessedFile, TestJob, make, process, process_once, reference_program};
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::service::{FrameSource as _, OpenFrameSource as _};
use glimpse_contract::Code;
use glimpse_media::size::Size;
use tokio::time::Instant;

/// The width at which frames are compared.
const WIDTH: u32 = 160;
/// Mean difference per channel, of 255, up to which two frames count as equal. Another scaler, or another order of
/// rotation and scaling, stays below it; the next frame of a moving picture, a wrong rotation or a wrong matrix does
/// not.
const SAME: f64 = 4.0;

/// All frames of a file with their presentation times in milliseconds.
struct ReferenceDecode {
    frames: Vec<(f64, Vec<u8>)>,
    size: Size,
}

impl ReferenceDecode {
    fn decode(file: &Path, size: Size) -> Self {
        let Size { width, height } = size;
        let chain = format!("scale={width}:{height}:flags=bicubic,setsar=1,format=rgb24");
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("times");
        let all = ["-map", "0:v:0", "-vf", &chain, "-fps_mode", "passthrough", "-enc_time_base", "-1"];
        let raw = Command::new(reference_program("ffmpeg"))
            .args(["-nostdin", "-v", "error", "-copyts", "-threads", "1", "-i"])
            .arg(file)
            .args(all)
            .args(["-f", "rawvideo", "-"])
            .args(all)
            .args(["-f", "framecrc"])
            .arg(&report)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let report = std::fs::read_to_string(report).unwrap();
        let base = report.lines().find_map(|line| line.strip_prefix("#tb 0: ")).unwrap();
        let (num, den) = base.split_once('/').unwrap();
        let tick_ms = num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap() * 1000.0;
        let times: Vec<f64> = report
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(',').nth(2).unwrap().trim().parse::<f64>().unwrap() * tick_ms)
            .collect();
        // Streams are cut from a clock without an origin: their first frame is at 0.
        let stream =
            file.extension().is_some_and(|kind| ["ts", "mts", "mpg"].iter().any(|other| kind == *other));
        let begin = if stream { times.first().copied().unwrap_or(0.0) } else { 0.0 };
        let times: Vec<f64> = times.into_iter().map(|time| time - begin).collect();
        let frames: Vec<Vec<u8>> = raw.stdout.chunks_exact(size.frame_bytes()).map(<[u8]>::to_vec).collect();
        assert!(!frames.is_empty(), "{}: {}", file.display(), String::from_utf8_lossy(&raw.stderr));
        assert_eq!(frames.len(), times.len(), "{}", file.display());
        Self { frames: times.into_iter().zip(frames).collect(), size }
    }

    /// The index of the frame that is shown at a time.
    fn frame_at(&self, ms: f64) -> usize {
        self.frames.iter().rposition(|(time, _)| *time <= ms + 0.6).unwrap_or(0)
    }

    /// The difference between a frame and the one at a time, allowing an error of one frame.
    fn distance(&self, picture: &[u8], ms: f64) -> f64 {
        let place = self.frame_at(ms);
        let near = place.saturating_sub(1)..(place + 2).min(self.frames.len());
        near.map(|place| mean_difference(picture, &self.frames[place].1)).fold(f64::MAX, f64::min)
    }
}

fn save_comparison(name: &str, size: Size, ours: &[u8], theirs: &[u8]) {
    let Some(folder) = std::env::var_os("GLIMPSE_KEEP") else { return };
    let line = size.width as usize * 3;
    let mut bytes = format!("P6 {} {} 255\n", size.width * 2, size.height).into_bytes();
    for (ours, theirs) in ours.chunks_exact(line).zip(theirs.chunks_exact(line)) {
        bytes.extend_from_slice(ours);
        bytes.extend_from_slice(theirs);
    }
    std::fs::write(Path::new(&folder).join(format!("{name}.ppm")), bytes).unwrap();
}

/// Generates the outputs of a file, and compares stills at several times with the reference.
async fn compare(name: &str, file: &Path, allowed: f64) -> Result<(), String> {
    compare_processed(name, file, &process(file).await, allowed).await
}

/// Compares a file whose outputs have been generated.
async fn compare_processed(
    name: &str,
    file: &Path,
    processed: &ProcessedFile,
    allowed: f64,
) -> Result<(), String> {
    let ProcessedFile { job: fixture, report, .. } = processed;
    if report.result != Ok(JobOutcome::Ready) {
        return Err(format!("{name}: {:?}", report.result));
    }
    let manifest = fixture.manifest().unwrap();
    let shown = Size { width: manifest.source.width, height: manifest.source.height };
    let size = shown.scale_to_fit(WIDTH);
    if manifest.source.hdr {
        // `pictures.rs` checks the brightness: a plain decode shows it as if it were not HDR.
        return Ok(());
    }
    let reference = ReferenceDecode::decode(file, size);
    let opener = fixture.source_opener();
    let deadline = Instant::now() + Duration::from_mins(2);
    let frame_source = opener.open(&manifest, deadline).await.map_err(|error| format!("{name}: {error}"))?;
    let last = reference.frames.last().unwrap().0;
    let mut wrong = Vec::new();
    for percent in [0, 33, 50, 71, 100] {
        let ms = (last * f64::from(percent) / 100.0).max(0.0) as u64;
        let (frame, found) = frame_source
            .frame_at(Some(ms), size)
            .await
            .map_err(|error| format!("{name} at {ms}: {error}"))?;
        assert_eq!(found, size);
        let off = reference.distance(&frame, ms as f64);
        save_comparison(
            &format!("{name}-{percent}"),
            size,
            &frame,
            &reference.frames[reference.frame_at(ms as f64)].1,
        );
        if off > allowed {
            wrong.push(format!("{name} at {ms} ms is off by {off:.1}"));
        }
    }
    // The best frame, as it was stored, is the frame of the video at the time in the manifest.
    if let Some(ms) = manifest.poster_ms {
        let poster = support::decode_pixels_at(
            tempfile::tempdir().unwrap().path(),
            &fixture.output("thumbnail.webp"),
            reference.size,
        );
        let off = reference.distance(&poster, ms as f64);
        if off > allowed + 3.0 {
            wrong.push(format!("{name}: the poster of {ms} ms is off by {off:.1}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Moves everywhere and never repeats, so that a frame too early or too late is detected.
const MOVING: &str = "-f lavfi -i testsrc2=s=320x180:r=RATE:d=SECONDS";
/// The same, as small as a video can be whose frames are scaled.
const SMALL: &str = "-f lavfi -i testsrc2=s=192x108:r=RATE:d=SECONDS";

#[tokio::test]
async fn generated_videos_match_a_full_decode() {
    let x264 = "-c:v libx264 -pix_fmt yuv420p";
    let cases: Vec<(&str, &str, String, (&str, &str))> = vec![
        ("progressive", "mp4", format!("{x264} -bf 2"), ("25", "4")),
        ("index-first", "mp4", format!("{x264} -bf 2 -movflags +faststart"), ("30000/1001", "9")),
        ("one-keyframe", "mp4", format!("{x264} -g 9999 -bf 3"), ("25", "8")),
        ("intra-only", "mov", "-c:v prores_ks -profile:v 0".into(), ("12", "3")),
        ("motion-jpeg", "mov", "-c:v mjpeg -q:v 3 -pix_fmt yuvj420p".into(), ("12", "3")),
        ("mpeg4", "mp4", "-c:v mpeg4 -q:v 3 -bf 2".into(), ("25", "5")),
        ("open-gop", "mp4", format!("{x264} -x264-params open-gop=1:keyint=12:bframes=3:scenecut=0"), ("25", "8")),
        ("hevc", "mp4", "-c:v libx265 -x265-params log-level=none:open-gop=1:keyint=15 -pix_fmt yuv420p -tag:v hvc1".into(), ("25", "7")),
        ("hevc-10", "mkv", "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p10le".into(), ("25", "3")),
        ("fragments", "mp4", format!("{x264} -g 25 -movflags frag_keyframe+empty_moov+default_base_moof"), ("25", "7")),
        ("fragments-indexed", "mp4", format!("{x264} -g 25 -movflags +dash+global_sidx -frag_duration 1000000"), ("25", "7")),
        ("late-start", "mp4", format!("{x264} -bf 2 -output_ts_offset 1.5"), ("25", "4")),
        ("trimmed", "mp4", format!("-ss 0.72 {x264} -bf 2 -g 20"), ("25", "5")),
        ("varying", "mp4", format!("-vf settb=1/1000,setpts='(N+0.4*mod(N*7,3)+20*floor(N/30))/(25*TB)' -fps_mode vfr -enc_time_base 1:1000 {x264} -bf 2"), ("25", "6")),
        ("varying-webm", "webm", "-vf settb=1/1000,setpts='(N*N/40)/(25*TB)' -fps_mode vfr -enc_time_base 1:1000 -c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M".into(), ("25", "4")),
        ("slow", "mp4", x264.to_owned(), ("2", "9")),
        ("fast", "mp4", format!("{x264} -bf 3"), ("120", "2")),
        ("full-range", "mp4", "-vf scale=out_range=pc:out_color_matrix=bt709 -color_range pc -colorspace bt709 -c:v libx264 -pix_fmt yuvj420p".into(), ("10", "3")),
        ("422", "mkv", "-c:v libx264 -pix_fmt yuv422p10le".into(), ("10", "3")),
        ("oblong", "mp4", format!("-vf setsar=4/3 {x264}"), ("10", "3")),
        ("vp8", "webm", "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M".into(), ("15", "4")),
        ("vp9", "webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M".into(), ("15", "4")),
        ("vp9-mp4", "mp4", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M".into(), ("15", "3")),
        ("live-webm", "webm", "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M -live 1".into(), ("15", "4")),
        ("av1", "webm", "-c:v libaom-av1 -cpu-used 8 -usage realtime -b:v 1M".into(), ("10", "2")),
        ("matroska", "mkv", format!("{x264} -bf 3 -g 30"), ("25", "7")),
        ("mpeg2-ts", "ts", "-c:v mpeg2video -q:v 3 -bf 2".into(), ("25", "5")),
        ("mpeg1", "mpg", "-c:v mpeg1video -q:v 3".into(), ("25", "5")),
        ("xvid", "avi", "-c:v mpeg4 -q:v 3 -vtag XVID".into(), ("25", "5")),
        ("flv", "flv", "-c:v flv -q:v 3".into(), ("25", "5")),
        ("wmv", "asf", "-c:v wmv2 -q:v 3".into(), ("25", "5")),
        ("gif", "gif", String::new(), ("10", "3")),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, extension, arguments, (rate, seconds)) in cases {
        let file = format!("{name}.{extension}");
        let source = SMALL.replace("RATE", rate).replace("SECONDS", seconds);
        make(folder.path(), &file, &format!("{source} {arguments}"));
        if let Err(why) = compare(name, &folder.path().join(&file), SAME).await {
            wrong.push(why);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn rotated_and_mirrored_videos_match_a_full_decode() {
    let folder = tempfile::tempdir().unwrap();
    let source = MOVING.replace("RATE", "10").replace("SECONDS", "2");
    let mp4 = make(folder.path(), "upright.mp4", &format!("{source} -c:v libx264 -pix_fmt yuv420p"));
    let mut wrong = Vec::new();
    for (name, matrix) in [
        ("not rotated", [1, 0, 0, 1]),
        ("90", [0, 1, -1, 0]),
        ("180", [-1, 0, 0, -1]),
        ("270", [0, -1, 1, 0]),
        ("mirrored", [-1, 0, 0, 1]),
        ("upside down", [1, 0, 0, -1]),
        ("90 and mirrored", [0, 1, 1, 0]),
        ("270 and mirrored", [0, -1, -1, 0]),
    ] {
        let file = folder.path().join("turned.mp4");
        std::fs::write(&file, support::with_matrix(mp4.clone(), matrix)).unwrap();
        if let Err(why) = compare(name, &file, SAME).await {
            wrong.push(why);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// If tiles are keyframes, each is that of its own time, regardless of frames that a decoder delays, or drops between
/// two ranges.
#[tokio::test]
async fn tiles_show_their_own_keyframes() {
    let folder = tempfile::tempdir().unwrap();
    let x265 = "-preset ultrafast -c:v libx265 -pix_fmt yuv420p -tag:v hvc1 -x265-params log-level=none:scenecut=0:keyint=5:min-keyint=5";
    for (name, codec) in [
        ("closed.mp4", "-preset veryfast -c:v libx264 -pix_fmt yuv420p -g 5 -bf 2 -sc_threshold 0".to_owned()),
        (
            "open.mp4",
            "-preset veryfast -c:v libx264 -pix_fmt yuv420p -x264-params open-gop=1:keyint=5:bframes=3:scenecut=0".into(),
        ),
        ("hevc-closed.mp4", format!("{x265}:open-gop=0:bframes=3")),
        ("hevc-open.mp4", format!("{x265}:open-gop=1:bframes=3")),
        ("hevc-open.mkv", format!("{x265}:open-gop=1:bframes=3")),
        // The picture order count has five bits (ITU-T H.265, 8.3.1), and tiles are up to 30 frames apart: treated as
        // one stream, every other tile would precede the one before it.
        (
            "hevc-thirty.mp4",
            "-preset ultrafast -c:v libx265 -pix_fmt yuv420p -tag:v hvc1 -x265-params log-level=none:scenecut=0:\
             keyint=15:min-keyint=15:open-gop=1:bframes=3:b-pyramid=0:log2-max-poc-lsb=4"
                .into(),
        ),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M -g 5".into()),
    ] {
        let file = folder.path().join(name);
        let rate = if name == "hevc-thirty.mp4" { "30" } else { "10" };
        let source = SMALL.replace("RATE", rate).replace("SECONDS", "30");
        let fixture = TestJob::new(make(folder.path(), name, &format!("{source} -vf hue=H=3*t {codec}")));
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let tile = Size { width: 192, height: 108 };
        let reference = ReferenceDecode::decode(&file, tile);
        for (place, shown) in (0..).zip(support::decode_tiles(folder.path(), &fixture, tile)) {
            // The keyframe at or before the middle of the tile's time: 600 ms per tile, a keyframe every 500 ms.
            let middle = place * 600 + 300;
            let off = [0, 500].map(|back| {
                let at = f64::from((middle / 500 * 500_u32).saturating_sub(back));
                reference.distance(&shown, at)
            });
            let least = off[0].min(off[1]);
            assert!(least < SAME + 4.0, "{name}: tile {place} is off by {least:.1}");
        }
    }
}

/// A cut by an editor or a phone without re-encoding: an edit list omits the frames before it.
#[tokio::test]
async fn edited_video_matches_a_full_decode() {
    let folder = tempfile::tempdir().unwrap();
    let source = MOVING.replace("RATE", "25").replace("SECONDS", "6");
    make(folder.path(), "whole.mp4", &format!("{source} -c:v libx264 -pix_fmt yuv420p -bf 2 -g 50"));
    let whole = folder.path().join("whole.mp4");
    for name in ["edited.mp4", "edited.mov"] {
        let file = make(folder.path(), name, &format!("-ss 2.72 -i {} -c copy", whole.display()));
        assert!(file.windows(4).any(|word| word == b"elst"), "{name} has no edit list");
        assert_eq!(compare(name, &folder.path().join(name), SAME).await, Ok(()));
    }
}

/// The measure detects the errors that it has to: a wrong rotation, a wrong matrix or a wrong time gives a large
/// difference.
#[tokio::test]
async fn comparison_detects_differences() {
    let folder = tempfile::tempdir().unwrap();
    let source = MOVING.replace("RATE", "10").replace("SECONDS", "3");
    make(folder.path(), "a.mp4", &format!("{source} -c:v libx264 -pix_fmt yuv420p"));
    let size = Size { width: WIDTH, height: 90 };
    let right = ReferenceDecode::decode(&folder.path().join("a.mp4"), size);
    let turned =
        make(folder.path(), "b.mp4", &format!("{source} -vf vflip,hflip -c:v libx264 -pix_fmt yuv420p"));
    assert!(!turned.is_empty());
    let turned = ReferenceDecode::decode(&folder.path().join("b.mp4"), size);
    let matrix = format!(
        "{source} -vf scale=out_color_matrix=bt709 -colorspace smpte170m -c:v libx264 -pix_fmt yuv420p"
    );
    make(folder.path(), "c.mp4", &matrix);
    let matrix = ReferenceDecode::decode(&folder.path().join("c.mp4"), size);
    for (name, other, at) in [("turned", &turned, 10), ("matrix", &matrix, 10), ("moment", &right, 16)] {
        let off = right.distance(&other.frames[at].1, right.frames[10].0);
        assert!(off > SAME, "{name} is off by {off:.1} only");
    }
}

#[tokio::test]
async fn real_videos_match_a_full_decode() {
    let Some(folder) = support::media_folder() else { return };
    let mut wrong = Vec::new();
    let mut files: Vec<_> =
        std::fs::read_dir(folder.join("good")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if support::is_rejected(&name) {
            continue;
        }
        // Interlaced videos are deinterlaced, which the reference is not; an elementary stream has no timestamps, so
        // seeks in it are estimates.
        let is = |other: &str| file.extension().is_some_and(|kind| kind == other);
        let allowed = if is("mts") {
            8.0
        } else if is("mpg") {
            12.0
        } else {
            SAME
        };
        let processed = process_once(&file).await;
        if let Err(why) = compare_processed(&name, &file, &processed, allowed).await {
            wrong.push(why);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn past_the_end_shows_last_frame_and_missing_source_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let source = MOVING.replace("RATE", "10").replace("SECONDS", "3");
    for name in ["end.mp4", "end.webm", "end.avi"] {
        let codec = if name.ends_with("webm") { "-c:v libvpx -b:v 1M" } else { "-c:v mpeg4 -q:v 3" };
        let bytes = make(folder.path(), name, &format!("{source} {codec}"));
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let manifest = fixture.manifest().unwrap();
        let opener = fixture.source_opener();
        let deadline = Instant::now() + Duration::from_mins(1);
        let size = Size { width: WIDTH, height: 90 };
        let frame_source = opener.open(&manifest, deadline).await.unwrap();
        let (late, _) = frame_source.frame_at(Some(3_600_000), size).await.unwrap();
        let reference = ReferenceDecode::decode(&folder.path().join(name), size);
        let off = mean_difference(&late, &reference.frames.last().unwrap().1);
        assert!(off <= SAME, "{name}: off by {off:.1}");
        let (frames, fps) = frame_source.frames_between(Some((500, 1500)), size, 5.0).await.unwrap();
        assert_eq!((frames.len(), fps), (5, 5.0), "{name}");
        assert!(reference.distance(&frames[0], 500.0) <= SAME, "{name}");

        fixture.service.store.remove_object(&fixture.job.key);
        let gone = opener.open(&manifest, deadline).await.map(|_| ()).map_err(|error| error.code());
        assert_eq!(gone, Err(Code::SourceGone));
    }
}
