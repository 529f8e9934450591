//! Tests that an on-demand image of a video that was opened before is decoded without reading the index again, that it
//! does not depend on the images before it, and that a replaced, missing or unreadable source is detected.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::time::Duration;

use bytes::Bytes;
use glimpse_backend::error::JobError;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::frame_source::SourceOpener;
use glimpse_backend::render::service::{FrameSource as _, OpenFrameSource as _};
use glimpse_backend::store::StoreError;
use glimpse_backend::store::memory::{MemoryStore, ReadFault};
use glimpse_contract::{ClientMetadata, Code, Grant, Manifest, Visibility};
use glimpse_media::size::Size;
use tokio::time::Instant;

use crate::support::{TestJob, make};

const SIZE: Size = Size { width: 160, height: 90 };

/// A video that is ready, and the opener of its source.
struct ReadyVideo {
    fixture: TestJob,
    manifest: Manifest,
    opener: SourceOpener<MemoryStore>,
}

impl ReadyVideo {
    /// A video of ten seconds whose index is far behind the bytes that are read first.
    async fn process() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = "-f lavfi -i testsrc2=s=320x180:r=30:d=10 -c:v libx264 -preset ultrafast -b:v 4M -maxrate 4M \
                      -bufsize 4M -x264-params nal-hrd=cbr -pix_fmt yuv420p -g 30";
        let fixture = TestJob::new(make(folder.path(), "film.mp4", source));
        assert!(fixture.job.bytes > 2_000_000, "{} bytes are read at once", fixture.job.bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
        let (manifest, opener) = (fixture.manifest().unwrap(), fixture.source_opener());
        Self { fixture, manifest, opener }
    }

    async fn frame(&self, opener: &SourceOpener<MemoryStore>, at_ms: u64) -> Result<Bytes, JobError> {
        let source = opener.open(&self.manifest, Instant::now() + Duration::from_mins(2)).await?;
        source.frame_at(Some(at_ms), SIZE).await.map(|(frame, _)| frame)
    }

    /// The frame at a time, and how many reads it took.
    async fn counted_frame(&self, at_ms: u64) -> (Bytes, u64) {
        let reads = || self.fixture.service.store.counts().0;
        let before = reads();
        let frame = self.frame(&self.opener, at_ms).await.unwrap();
        (frame, reads() - before)
    }
}

#[tokio::test]
async fn recent_source_is_opened_without_its_index() {
    let video = ReadyVideo::process().await;
    let (_, cold_reads) = video.counted_frame(1_000).await;
    assert_eq!(cold_reads, 3, "the beginning, the index and the frame");
    for at_ms in [5_500, 9_900, 1_000] {
        let (frame, reads) = video.counted_frame(at_ms).await;
        assert_eq!(reads, 1, "only the frame at {at_ms} ms");
        assert_eq!(frame, video.frame(&video.fixture.source_opener(), at_ms).await.unwrap(), "at {at_ms} ms");
    }
}

#[tokio::test]
async fn replaced_recent_source_is_superseded() {
    let video = ReadyVideo::process().await;
    video.counted_frame(1_000).await;
    let (store, job) = (&video.fixture.service.store, &video.fixture.job);
    let grant = Grant {
        owner: job.owner.clone(),
        video: job.video,
        name: "other.mp4".into(),
        content_type: "video/mp4".into(),
        visibility: Visibility::Public,
        client_metadata: ClientMetadata::default(),
    };
    store.upload(&grant, vec![7; job.bytes as usize]);
    assert_eq!(video.frame(&video.opener, 2_000).await, Err(JobError::Superseded));
    store.remove_object(&job.key);
    assert_eq!(video.frame(&video.opener, 3_000).await, Err(JobError::Rejected(Code::SourceGone)));
}

#[tokio::test]
async fn source_is_read_again_after_a_failed_request() {
    let video = ReadyVideo::process().await;
    video.counted_frame(1_000).await;
    // More than the attempts of one read.
    for _ in 0..20 {
        let fault = ReadFault::Fail(StoreError::Transient("reset".into()));
        video.fixture.service.store.fail_next_read(fault);
    }
    assert!(video.frame(&video.opener, 2_000).await.is_err());
    video.fixture.service.store.clear_faults();
    let (_, reads) = video.counted_frame(2_000).await;
    assert_eq!(reads, 3, "the beginning, the index and the frame");
}
