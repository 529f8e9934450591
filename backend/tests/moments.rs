//! Tests that a stored time returns the same frame again: the manifest's poster, a chosen poster, a clip, for any frame
//! rate and timescale. Neighboring frames are each other's negative, so that a frame too early is detected.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::time::Duration;

use crate::support::compare::mean_difference;
use crate::support::{TestJob, make};
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::frame_source::OpenedSource;
use glimpse_backend::render::service::{FrameSource as _, OpenFrameSource as _};
use glimpse_backend::store::memory::MemoryStore;
use glimpse_contract::Manifest;
use glimpse_media::size::Size;
use tokio::time::Instant;

/// Mean difference per channel up to which two frames count as equal; negatives differ by a hundred.
const SAME: f64 = 12.0;

async fn open_frame_source(fixture: &TestJob, manifest: &Manifest) -> OpenedSource<MemoryStore> {
    let opener = fixture.source_opener();
    opener.open(manifest, Instant::now() + Duration::from_mins(2)).await.unwrap()
}

/// The mismatches between a video's poster and its stills.
async fn poster_mismatches(name: &str, bytes: Vec<u8>) -> Vec<String> {
    let fixture = TestJob::new(bytes);
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
    let manifest = fixture.manifest().unwrap();
    let size = Size { width: manifest.source.width, height: manifest.source.height }.scale_to_fit(320);
    let folder = tempfile::tempdir().unwrap();
    let poster = support::decode_pixels_at(folder.path(), &fixture.output("thumbnail.jpg"), size);
    let ms = manifest.poster_ms.unwrap();
    let mut wrong = Vec::new();
    let mut check = |what: &str, frame: &[u8]| {
        let off = mean_difference(frame, &poster);
        if off > SAME {
            wrong.push(format!("{name}: {what} at {ms} ms is off by {off:.1}"));
        }
    };
    check(
        "a smaller poster",
        &open_frame_source(&fixture, &manifest).await.frame_at(None, size).await.unwrap().0,
    );
    check(
        "the chosen poster",
        &open_frame_source(&fixture, &manifest).await.frame_at(Some(ms), size).await.unwrap().0,
    );
    let span = Some((ms, ms + 250));
    check(
        "a clip",
        &open_frame_source(&fixture, &manifest).await.frames_between(span, size, 30.0).await.unwrap().0[0],
    );
    wrong
}

#[tokio::test]
async fn poster_is_the_same_frame_in_every_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for rate in ["24000/1001", "24", "30000/1001", "30", "60000/1001"] {
        for (name, codec) in [
            ("film.mp4", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 24"),
            ("ticks.mov", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 7 -video_track_timescale 600"),
            ("film.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M -g 24"),
        ] {
            let source =
                format!("-f lavfi -i testsrc2=s=320x180:r={rate}:d=4 -vf negate=enable='mod(n\\,2)' {codec}");
            found.extend(
                poster_mismatches(&format!("{name} at {rate}"), make(folder.path(), name, &source)).await,
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The poster is the frame at a cut, and the frame before it is black.
#[tokio::test]
async fn poster_after_a_cut_is_not_the_previous_frame() {
    let Some(folder) = support::media_folder() else { return };
    let bytes = std::fs::read(folder.join("bugs/scenes.mp4")).unwrap();
    let found = poster_mismatches("scenes.mp4", bytes).await;
    assert!(found.is_empty(), "{found:#?}");
}

/// A video that is black except for one second: the animation shows that second, like the poster, in every size.
#[tokio::test]
async fn animation_shows_what_the_poster_shows() {
    let folder = tempfile::tempdir().unwrap();
    // Between two keyframes, and outside the snippets.
    let made = make(
        folder.path(),
        "flash.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=10:d=40 -vf drawbox=t=fill:c=black:enable='not(between(t\\,12.3\\,13.5))' \
         -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 200",
    );
    let mut films = vec![("made", made)];
    if let Some(folder) = support::media_folder() {
        films.push(("flash.mp4", std::fs::read(folder.join("bugs/flash.mp4")).unwrap()));
    }
    for (name, bytes) in films {
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let manifest = fixture.manifest().unwrap();
        let size = Size { width: manifest.source.width, height: manifest.source.height }.scale_to_fit(320);
        let is_lit = |frame: &[u8]| !glimpse_media::image::score::score(frame, size.width).blank;
        let poster = support::decode_pixels_at(folder.path(), &fixture.output("thumbnail.jpg"), size);
        assert!(is_lit(&poster), "{name}: the poster is dark");
        let preview = support::decode_pixels_at(folder.path(), &fixture.output("animated.gif"), size);
        assert!(is_lit(&preview), "{name}: the animation is dark");
        let (frames, _) =
            open_frame_source(&fixture, &manifest).await.frames_between(None, size, 10.0).await.unwrap();
        assert!(frames.iter().any(|frame| is_lit(frame)), "{name}: the on-demand animation is dark");
    }
}
