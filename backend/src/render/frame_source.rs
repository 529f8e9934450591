//! Decodes frames, and copies samples, of a video that is ready for on-demand images and clips.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use glimpse_contract::{Key, Manifest, VideoId};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::config::FfmpegTools;
use crate::error::JobError;
use crate::frames::animation_fps;
use crate::frames::decoder::Decoder;
use crate::frames::source_frames::{self, AnimationRange, SourceFrames, SourceOptions, ignore_event};
use crate::frames::time_budget::TimeBudget;
use crate::render::recent_sources::RecentSources;
use crate::render::service::{FrameSource, OpenFrameSource};
use crate::source::reader::RangeReader;
use crate::store::Store;
use glimpse_media::clip::{ClipError, ClipPlan, ClipRequest, ClipTrack};
use glimpse_media::plan::TileTimes;
use glimpse_media::size::Size;

/// Opens sources for on-demand images.
#[derive(Debug)]
pub struct SourceOpener<S> {
    store: Arc<S>,
    tools: FfmpegTools,
    random: fn() -> [u8; 16],
    time_budget: TimeBudget,
    recent_sources: Arc<RecentSources<S>>,
}

impl<S> SourceOpener<S> {
    /// Opens sources of this bucket with these programs. `random` returns random bits for the path of the source proxy;
    /// `time_budget` is that of one file.
    pub fn new(store: Arc<S>, tools: FfmpegTools, random: fn() -> [u8; 16], time_budget: TimeBudget) -> Self {
        Self { store, tools, random, time_budget, recent_sources: Arc::default() }
    }
}

/// The source of one video.
pub struct OpenedSource<S: Store> {
    /// `None` only while it is dropped.
    frames: Mutex<Option<SourceFrames<S>>>,
    /// Whether the last request succeeded, so that the source may serve another one.
    is_intact: AtomicBool,
    video: VideoId,
    etag: String,
    display_size: Size,
    fps: f64,
    poster_ms: Option<u64>,
    deadline: Instant,
    recent_sources: Arc<RecentSources<S>>,
}

impl<S: Store> fmt::Debug for OpenedSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedSource")
            .field("display_size", &self.display_size)
            .field("poster_ms", &self.poster_ms)
            .finish_non_exhaustive()
    }
}

impl<S: Store> Drop for OpenedSource<S> {
    fn drop(&mut self) {
        let frames = self.frames.get_mut().take();
        if let Some(frames) = frames.filter(|_| *self.is_intact.get_mut()) {
            self.recent_sources.keep(self.video, &self.etag, frames);
        }
    }
}

impl<S: Store> OpenedSource<S> {
    /// Runs work on the frames until the deadline.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut SourceFrames<S>) -> Result<T, JobError>,
    ) -> Result<T, JobError> {
        let work = async {
            let mut frames = self.frames.lock().await;
            let frames = frames.as_mut().ok_or_else(|| JobError::internal("the source was closed"))?;
            work(frames).await
        };
        // Neither an error nor an interruption leaves a source that may be used again.
        self.is_intact.store(false, Ordering::Relaxed);
        let result = run_until(self.deadline, work).await?;
        self.is_intact.store(true, Ordering::Relaxed);
        Ok(result)
    }
}

impl<S: Store> OpenFrameSource for SourceOpener<S> {
    type Source = OpenedSource<S>;

    /// Opens the object that the manifest names. Every read of it requires its ETag, so a missing or another object is
    /// reported by the first read.
    async fn open(&self, manifest: &Manifest, deadline: Instant) -> Result<OpenedSource<S>, JobError> {
        let source = &manifest.source;
        let display_size = Size { width: source.width, height: source.height };
        let decoder = Decoder::new(&self.tools, &self.time_budget, deadline);
        let frames = if let Some(mut frames) = self.recent_sources.take(manifest.video, &source.etag) {
            frames.renew(decoder);
            frames
        } else {
            let key = Key::Source { owner: manifest.owner.clone(), video: manifest.video };
            let store = Arc::clone(&self.store);
            let reader = Arc::new(RangeReader::new(store, key, source.etag.clone(), source.bytes));
            let options = SourceOptions {
                display_size: Some(display_size),
                duration_ms: Some(source.duration_ms),
                ..SourceOptions::new(self.random)
            };
            let mut observer = ignore_event;
            let open = source_frames::open(reader, decoder, options, &mut observer);
            run_until(deadline, open).await?
        };
        Ok(OpenedSource {
            frames: Mutex::new(Some(frames)),
            is_intact: AtomicBool::new(true),
            video: manifest.video,
            etag: source.etag.clone(),
            display_size,
            fps: source.fps,
            poster_ms: manifest.poster_ms,
            deadline,
            recent_sources: Arc::clone(&self.recent_sources),
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
        let decode = async |frames: &mut SourceFrames<S>| match at_ms {
            Some(at_ms) => frames.frame_at(at_ms, size).await,
            None => frames.poster_frame(self.poster_ms, size).await,
        };
        Ok((self.run(decode).await?, size))
    }

    async fn frames_between(
        &self,
        span_ms: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<(Vec<Bytes>, f64), JobError> {
        let fps = self.frame_rate(fps);
        let range = AnimationRange { span_ms, poster_ms: self.poster_ms, fps };
        let frames =
            self.run(async |frames: &mut SourceFrames<S>| frames.animation_frames(range, size).await).await?;
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
        self.run(async |frames: &mut SourceFrames<S>| frames.send_frames(span_ms, size, fps, &sender).await)
            .await
    }

    async fn tile_frames(&self, tile_times: &TileTimes, size: Size) -> Result<Vec<Bytes>, JobError> {
        self.run(async |frames: &mut SourceFrames<S>| frames.tile_frames(tile_times, size).await).await
    }

    async fn plan_clip(&self, request: ClipRequest) -> Result<Result<ClipPlan, ClipError>, JobError> {
        self.run(async |frames: &mut SourceFrames<S>| frames.plan_clip(request).await).await
    }

    async fn read_clip_audio(&self, request: ClipRequest) -> Result<Option<(ClipTrack, Bytes)>, JobError> {
        self.run(async |frames: &mut SourceFrames<S>| frames.read_clip_audio(request).await).await
    }

    async fn read_clip(&self, plan: &ClipPlan) -> Result<Bytes, JobError> {
        self.run(async |frames: &mut SourceFrames<S>| frames.read_clip(plan).await).await
    }
}
