//! Clips of sources whose samples cannot be copied: they are decoded, encoded as H.264, and stored.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::frame_source::SourceOpener;
use glimpse_backend::render::service::RenderService;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{TestJob, make, reference_program};

/// The frames of a file from this second on, as raw `rgb24` of 320x180.
fn decode(file: &std::path::Path, start: &str) -> Vec<u8> {
    let output = Command::new(reference_program("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file)
        .args(["-ss", start, "-an", "-vf", "scale=320:180", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn clip_of_another_codec_shows_its_part() {
    const FRAME: usize = 320 * 180 * 3;
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=320x180:r=25:d=4 -f lavfi -i sine=d=4";
    for (name, codec) in [
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M -c:a libopus"),
        ("hevc.mp4", "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p -tag:v hvc1 -c:a aac"),
        ("two.ts", "-c:v mpeg2video -b:v 4M -c:a mp2"),
        ("pro.mov", "-c:v prores_ks -profile:v 0 -c:a aac"),
    ] {
        let job = TestJob::new(make(folder.path(), name, &format!("{source} {codec}")));
        assert_eq!(job.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let store = Arc::clone(&job.service.store);
        let frame_sources = SourceOpener {
            store: Arc::clone(&store),
            tools: job.service.tools.clone(),
            random: || [3; 16],
            time_budget: job.service.time_budget,
        };
        let service =
            RenderService { store: Arc::clone(&store), frame_sources, now_ms: || 1_700_000_100_000 };
        let key = format!("media/{}/clip-start_1-end_2.5.mp4", job.job.video).parse().unwrap();
        let event = json!({
            "rawPath": format!("/{}/clip-start_1-end_2.5.mp4", job.job.video),
            "requestContext": { "http": { "method": "POST" } },
        });
        let response =
            service.handle(&event, "r", Instant::now() + Duration::from_mins(1)).await.result.unwrap();
        assert_eq!(response["statusCode"], 204, "{name}: {response}");
        let clip = folder.path().join(format!("{name}.clip.mp4"));
        std::fs::write(&clip, &store.object(&key).unwrap().bytes).unwrap();
        let (found, expected) = (decode(&clip, "0"), decode(&folder.path().join(name), "1"));
        let frames = found.len() / FRAME;
        assert!((36..=39).contains(&frames), "{name}: {frames} frames");
        // The first, a middle and the last frame. The counter of the source makes each frame different.
        for place in [0, 18, frames - 1] {
            let at = place * FRAME..(place + 1) * FRAME;
            let difference = |other: &[u8]| {
                let pairs = found[at.clone()].iter().zip(other);
                pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / FRAME as f64
            };
            let nearest = expected.chunks_exact(FRAME).map(difference).enumerate();
            let (best, least) = nearest.min_by(|one, other| one.1.total_cmp(&other.1)).unwrap();
            assert!(
                best.abs_diff(place) <= 1 && least < 8.0,
                "{name}: frame {place} is {best}, off by {least}"
            );
        }
    }
}
