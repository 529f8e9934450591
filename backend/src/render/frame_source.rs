//! Decodes frames, and copies samples, of a video that is ready for on-demand images and clips.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use glimpse_contract::{Code, Key, Manifest};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::config::FfmpegTools;
use crate::error::JobError;
use crate::frames::animation_fps;
use crate::frames::decoder::Decoder;
use crate::frames::source_frames::{self, AnimationRange, SourceFrames, SourceOptions, ignore_event};
use crate::frames::time_budget::TimeBudget;
use crate::render::service::{FrameSource, OpenFrameSource};
use crate::source::reader::RangeReader;
use crate::store::{Store, StoreError};
use glimpse_media::clip::{ClipError, ClipPlan, ClipRequest, ClipTrack};
use glimpse_media::plan::TileTimes;
use glimpse_media::size::Size;

/// Opens sources for on-demand images.
#[derive(Debug)]
pub struct SourceOpener<S> {
    /// The bucket.
    pub store: Arc<S>,
    /// Paths and limits of the programs.
    pub tools: FfmpegTools,
    /// Random bits for the path of the source proxy.
    pub random: fn() -> [u8; 16],
    /// The time budget of one file.
    pub time_budget: TimeBudget,
}

/// The source of one video.
pub struct OpenedSource<S> {
    frames: Mutex<SourceFrames<S>>,
    display_size: Size,
    fps: f64,
    poster_ms: Option<u64>,
    deadline: Instant,
}

impl<S> fmt::Debug for OpenedSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedSource")
            .field("display_size", &self.display_size)
            .field("poster_ms", &self.poster_ms)
            .finish_non_exhaustive()
    }
}

impl<S: Store> OpenFrameSource for SourceOpener<S> {
    type Source = OpenedSource<S>;

    async fn open(&self, manifest: &Manifest, deadline: Instant) -> Result<OpenedSource<S>, JobError> {
        let key = Key::Source { owner: manifest.owner.clone(), video: manifest.video };
        let head = match self.store.head(&key).await {
            Ok(head) => head,
            Err(StoreError::NotFound) => return Err(JobError::Rejected(Code::SourceGone)),
            Err(error) => return Err(JobError::storage(error)),
        };
        // Another object under the same key is not the video of the manifest.
        if head.etag != manifest.source.etag {
            return Err(JobError::Superseded);
        }
        let source = &manifest.source;
        let display_size = Size { width: source.width, height: source.height };
        let decoder = Decoder::new(&self.tools, &self.time_budget, deadline);
        let reader = Arc::new(RangeReader::new(Arc::clone(&self.store), key, head.etag, head.bytes));
        let options = SourceOptions {
            display_size: Some(display_size),
            duration_ms: Some(source.duration_ms),
            ..SourceOptions::new(self.random)
        };
        let mut observer = ignore_event;
        let open = source_frames::open(reader, decoder, options, &mut observer);
        let frames = run_until(deadline, open).await?;
        Ok(OpenedSource {
            frames: Mutex::new(frames),
            display_size,
            fps: source.fps,
            poster_ms: manifest.poster_ms,
            deadline,
        })
    }
}

async fn run_until<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, JobError>>,
) -> Result<T, JobError> {
    let late = |_| JobError::internal("the invocation ended before the work was done");
    timeout_at(deadline, Box::pin(work)).await.map_err(late)?
}

impl<S: Store> FrameSource for OpenedSource<S> {
    fn display_size(&self) -> Size {
        self.display_size
    }

    async fn frame_at(&self, at_ms: Option<u64>, size: Size) -> Result<(Bytes, Size), JobError> {
        let decode = async {
            let mut frames = self.frames.lock().await;
            match at_ms {
                Some(at_ms) => frames.frame_at(at_ms, size).await,
                None => frames.poster_frame(self.poster_ms, size).await,
            }
        };
        let frame = run_until(self.deadline, decode).await?;
        Ok((frame, size))
    }

    async fn frames_between(
        &self,
        span_ms: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<(Vec<Bytes>, f64), JobError> {
        let fps = self.frame_rate(fps);
        let range = AnimationRange { span_ms, poster_ms: self.poster_ms, fps };
        let decode = async { self.frames.lock().await.animation_frames(range, size).await };
        let frames = run_until(self.deadline, decode).await?;
        Ok((frames, fps))
    }

    fn frame_rate(&self, max_fps: f64) -> f64 {
        animation_fps(self.fps, max_fps.ceil().clamp(1.0, 120.0) as u32).min(max_fps.max(1.0))
    }

    async fn send_frames(
        &self,
        span_ms: (u64, u64),
        size: Size,
        fps: f64,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<(), JobError> {
        let send = async { self.frames.lock().await.send_frames(span_ms, size, fps, &sender).await };
        run_until(self.deadline, send).await
    }

    async fn tile_frames(&self, tile_times: &TileTimes, size: Size) -> Result<Vec<Bytes>, JobError> {
        let decode = async { self.frames.lock().await.tile_frames(tile_times, size).await };
        run_until(self.deadline, decode).await
    }

    async fn plan_clip(&self, request: ClipRequest) -> Result<Result<ClipPlan, ClipError>, JobError> {
        let plan = async { self.frames.lock().await.plan_clip(request).await };
        run_until(self.deadline, plan).await
    }

    async fn read_clip_audio(&self, request: ClipRequest) -> Result<Option<(ClipTrack, Bytes)>, JobError> {
        let read = async { self.frames.lock().await.read_clip_audio(request).await };
        run_until(self.deadline, read).await
    }

    async fn read_clip(&self, plan: &ClipPlan) -> Result<Bytes, JobError> {
        let read = async { self.frames.lock().await.read_clip(plan).await };
        run_until(self.deadline, read).await
    }
}
