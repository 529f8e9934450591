//! Clips of sources whose samples cannot be copied: they are decoded, encoded as H.264 with the sound of the source, and
//! stored.

#![cfg(feature = "h264")]
#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::service::RenderService;
use serde_json::json;
use tokio::time::Instant;

use crate::clip::{self, duration, make_film, sync};
use crate::support::{TestJob, compare, make, reference_program};

/// The bytes of a frame of [`decode`].
const FRAME: usize = 160 * 90 * 3;

/// The frames of a file from this second on, as raw `rgb24` of 160x90.
fn decode(file: &Path, start: &str) -> Vec<u8> {
    let output = Command::new(reference_program("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file)
        .args(["-ss", start, "-an", "-vf", "scale=160:90", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The number of the audio tracks of a file.
fn audio_tracks(file: &Path) -> usize {
    let output = Command::new(reference_program("ffprobe"))
        .args(["-v", "error", "-select_streams", "a", "-show_entries", "stream=codec_name", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| *line == "aac").count()
}

/// Uploads a video and requests a clip of it; returns the stored clip.
async fn make_clip(folder: &Path, name: &str, source: Vec<u8>, clip_name: &str) -> PathBuf {
    let job = TestJob::new(source);
    assert_eq!(job.run().await.result, Ok(JobOutcome::Ready), "{name}");
    let store = Arc::clone(&job.service.store);
    let frame_sources = job.source_opener();
    let service = RenderService { store: Arc::clone(&store), frame_sources, now_ms: || 1_700_000_100_000 };
    let key = format!("media/{}/{clip_name}", job.job.video).parse().unwrap();
    let event = json!({
        "rawPath": format!("/{}/{clip_name}", job.job.video),
        "requestContext": { "http": { "method": "POST" } },
    });
    let response = service.handle(&event, "r", Instant::now() + Duration::from_mins(2)).await.result.unwrap();
    assert_eq!(response["statusCode"], 204, "{name}: {response}");
    let clip = folder.join(format!("{name}.clip.mp4"));
    std::fs::write(&clip, &store.object(&key).unwrap().bytes).unwrap();
    clip
}

/// For each frame of a clip the index of the frame of the source that is most similar, and the mean difference.
fn nearest_frames(clip: &[u8], source: &[u8]) -> Vec<(usize, f64)> {
    let source: Vec<&[u8]> = source.chunks_exact(FRAME).collect();
    let nearest = |frame: &[u8]| {
        let (place, sum) = compare::nearest(frame, &source);
        (place, sum as f64 / FRAME as f64)
    };
    clip.chunks_exact(FRAME).map(nearest).collect()
}

#[tokio::test]
async fn clip_of_another_codec_shows_its_part() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = ("320x180", "1280x720");
    for (name, size, audio, codec) in [
        ("vp9.webm", small, 0, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M -c:a libopus"),
        (
            "hevc.mp4",
            small,
            1,
            "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p -tag:v hvc1 -c:a aac",
        ),
        ("two.ts", small, 0, "-c:v mpeg2video -b:v 4M -c:a mp2"),
        ("pro.mov", small, 1, "-c:v prores_ks -profile:v 0 -c:a aac"),
        // Not in memory as a whole: groups of frames of the encoder, and pieces of those that ffmpeg demuxes.
        ("large.ts", large, 0, "-c:v mpeg2video -b:v 12M -c:a mp2"),
        ("large.mov", large, 1, "-c:v mpeg4 -b:v 12M -c:a aac"),
    ] {
        let source = format!("-f lavfi -i testsrc2=s={size}:r=25:d=4 -f lavfi -i sine=d=4 {codec}");
        let film = make(folder.path(), name, &source);
        let clip = make_clip(folder.path(), name, film, "clip-start_1-end_3.5.mp4").await;
        assert_eq!(audio_tracks(&clip), audio, "{name}");
        let found = nearest_frames(&decode(&clip, "0"), &decode(&folder.path().join(name), "1"));
        assert!((61..=64).contains(&found.len()), "{name}: {} frames", found.len());
        // The counter of the source makes each frame different. A frame that began before the clip may be shown first:
        // it is not among those of the source, and the others are one later.
        for (place, (nearest, difference)) in found.iter().enumerate() {
            assert!(
                place.saturating_sub(*nearest) <= 1 && *nearest <= place && *difference < 10.0,
                "{name}: frame {place} is {nearest}, off by {difference}"
            );
        }
        let order: Vec<usize> = found[1..].iter().map(|frame| frame.0).collect();
        assert!(order.is_sorted_by(|one, next| *next == one + 1), "{name}: {order:?}");
    }
}

#[tokio::test]
async fn sound_of_an_encoded_clip_is_in_sync() {
    let folder = tempfile::tempdir().unwrap();
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=none -tag:v hvc1";
    let film = make_film(folder.path(), "film.mp4", (8, "30000/1001", 44_100), hevc);
    let path = folder.path().join("film.mp4");
    let source = clip::decode(&path, true);
    let expected = sync(&source.flashes, &source.beeps);
    for (clip_name, start) in [("clip-start_0-end_6.mp4", 0.0), ("clip-start_1.7-end_7.3.mp4", 1.7)] {
        let clip = make_clip(folder.path(), clip_name, film.clone(), clip_name).await;
        assert!((duration(&clip) - if start > 0.0 { 5.6 } else { 6.0 }).abs() < 0.04, "{clip_name}");
        let shown = clip::decode(&clip, true);
        let found = sync(&shown.flashes, &shown.beeps);
        assert!(found.len() >= 2, "{clip_name}: {found:?}");
        for (flash, apart) in found {
            let same = expected.iter().find(|(time, _)| (time - start - flash).abs() < 0.034);
            let (_, source_apart) = same.unwrap_or_else(|| panic!("{clip_name}: no flash at {flash}"));
            assert!((apart - source_apart).abs() < 0.034, "{clip_name}: {apart} s instead of {source_apart}");
        }
    }
    let silent = make_clip(folder.path(), "silent", film, "clip-start_0-end_2-audio_false.mp4").await;
    assert_eq!(audio_tracks(&silent), 0);
}
