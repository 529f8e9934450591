//! Tests that tiles, poster and animation of a short video are the same frames in one pass as in a pass for each.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::sync::Arc;
use std::time::Duration;

use glimpse_backend::frames::decoder::Decoder;
use glimpse_backend::frames::source_frames::{self, SourceFrames, SourceOptions, ignore_event};
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::frames::{DecodedFrames, KindFrames};
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::source::reader::RangeReader;
use glimpse_backend::store::memory::MemoryStore;
use glimpse_contract::VariantKind;
use tokio::time::Instant;

use crate::support::{TestJob, make, tools};

async fn open(fixture: &TestJob) -> SourceFrames<MemoryStore> {
    let job = &fixture.job;
    let store = Arc::clone(&fixture.service.store);
    let reader = Arc::new(RangeReader::new(store, job.key.clone(), job.etag.clone(), job.bytes));
    let decoder = Decoder::new(&tools(), &TimeBudget::default(), Instant::now() + Duration::from_mins(2));
    source_frames::open(reader, decoder, SourceOptions::new(|| [5; 16]), &mut ignore_event).await.unwrap()
}

async fn frames_for_kind(fixture: &TestJob, kind: VariantKind) -> KindFrames {
    open(fixture).await.frames_for_kind(kind, false).await.unwrap()
}

/// What differs between the frames of one pass and those of each kind.
async fn differences(fixture: &TestJob) -> Vec<&'static str> {
    let DecodedFrames { poster, poster_ms, animation, storyboard, .. } =
        open(fixture).await.default_frames(&mut ignore_event).await.unwrap();
    let mut found = Vec::new();
    match frames_for_kind(fixture, VariantKind::Thumbnail).await {
        KindFrames::Poster(other, other_ms) if other.rgb == poster.rgb && other_ms == poster_ms => {}
        _ => found.push("poster"),
    }
    match frames_for_kind(fixture, VariantKind::Animation).await {
        KindFrames::Animation(other) if other.frames == animation.frames => {}
        _ => found.push("animation"),
    }
    match frames_for_kind(fixture, VariantKind::Storyboard).await {
        KindFrames::Storyboard(other) if other.frames == storyboard.frames => {}
        _ => found.push("storyboard"),
    }
    found
}

#[tokio::test]
async fn one_pass_makes_the_frames_of_each_kind() {
    let folder = tempfile::tempdir().unwrap();
    let x264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 3";
    let films = [
        ("ten.mp4", "30", 10, format!("{x264} -g 60")),
        ("four.mp4", "30000/1001", 4, format!("{x264} -g 250")),
        ("open.mp4", "25", 12, format!("{x264} -g 50 -x264-params open-gop=1:scenecut=0")),
        ("hevc.mp4", "24", 9, "-c:v libx265 -x265-params log-level=none:keyint=48 -pix_fmt yuv420p".into()),
        ("film.mkv", "30", 8, format!("{x264} -g 90")),
        ("film.webm", "30", 7, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M -g 90".into()),
    ];
    let mut wrong = Vec::new();
    for (name, rate, secs, codec) in films {
        let source = format!("-f lavfi -i testsrc2=s=640x360:r={rate}:d={secs} {codec}");
        let fixture = TestJob::new(make(folder.path(), name, &source));
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let found = differences(&fixture).await;
        if !found.is_empty() {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
