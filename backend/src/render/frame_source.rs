//! Decodes frames of a video that is ready for on-demand images, natively or with ffmpeg like the default outputs.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use glimpse_contract::{Code, Key, Manifest};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::config::FfmpegTools;
use crate::error::JobError;
use crate::frames::animation_fps;
use crate::frames::decoder::Decoder;
use crate::frames::ffmpeg::FfmpegSource;
use crate::frames::native::NativeSource;
use crate::frames::time_budget::TimeBudget;
use crate::render::service::{FrameSource, OpenFrameSource};
use crate::source::proxy::{self, SourceProxy};
use crate::source::reader::{OpenError, RangeReader};
use crate::store::{Store, StoreError};
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
    source: Mutex<SourceReader<S>>,
    display_size: Size,
    fps: f64,
    poster_ms: Option<u64>,
    duration_ms: u64,
    random: fn() -> [u8; 16],
    decoder: Decoder,
    reader: Arc<RangeReader<S>>,
    deadline: Instant,
}

#[derive(Debug)]
enum SourceReader<S> {
    Native(Box<NativeSource<S>>),
    Ffmpeg(Box<FfmpegSource>),
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
        let open = async {
            let (known, container) = reader.detect_container().await?;
            match NativeSource::open(decoder.clone(), Arc::clone(&reader), known, container).await {
                Ok(native) => Ok(SourceReader::Native(Box::new(native.with_display_size(display_size)))),
                Err(OpenError::Job(error)) => Err(error),
                Err(OpenError::Unsupported(_)) => {
                    open_with_ffmpeg(&decoder, &reader, self.random, manifest.source.duration_ms).await
                }
            }
        };
        let opened = run_until(deadline, open).await?;
        Ok(OpenedSource {
            source: Mutex::new(opened),
            display_size,
            fps: source.fps,
            poster_ms: manifest.poster_ms,
            duration_ms: source.duration_ms,
            random: self.random,
            decoder,
            reader,
            deadline,
        })
    }
}

async fn open_with_ffmpeg<S: Store>(
    decoder: &Decoder,
    reader: &Arc<RangeReader<S>>,
    random: fn() -> [u8; 16],
    length_ms: u64,
) -> Result<SourceReader<S>, JobError> {
    let (_, container) = reader.detect_container().await?;
    let proxy =
        SourceProxy::open(Arc::clone(reader.store()), proxy::SourceObject::from_reader(reader), random())
            .map_err(JobError::internal)?;
    Ok(SourceReader::Ffmpeg(Box::new(
        FfmpegSource::open(decoder.clone(), proxy, container, Some(length_ms)).await?,
    )))
}

async fn run_until<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, JobError>>,
) -> Result<T, JobError> {
    let late = |_| JobError::internal("the invocation ended before the work was done");
    timeout_at(deadline, Box::pin(work)).await.map_err(late)?
}

impl<S: Store> OpenedSource<S> {
    /// Decodes frames. If the index turns out to be unsupported, ffmpeg reads the file.
    async fn extract(&self, selection: FrameSelection, size: Size) -> Result<Vec<Bytes>, JobError> {
        let mut source = self.source.lock().await;
        if let SourceReader::Native(native) = &mut *source {
            let extracted = match selection {
                FrameSelection::At(at_ms) => native.frame_at(at_ms, size).await.map(|frame| vec![frame]),
                FrameSelection::Best => match self.poster_ms {
                    Some(poster_ms) => native.poster_frame(poster_ms, size).await.map(|frame| vec![frame]),
                    // ffmpeg selected this poster, and selects the same one again.
                    None => Err(OpenError::Unsupported("the time of the poster is unknown")),
                },
                FrameSelection::Range(span, fps) => {
                    native.animation_frames(span, self.poster_ms, size, fps).await
                }
            };
            match extracted {
                Ok(frames) => return Ok(frames),
                Err(OpenError::Job(error)) => return Err(error),
                Err(OpenError::Unsupported(_)) => {
                    *source =
                        open_with_ffmpeg(&self.decoder, &self.reader, self.random, self.duration_ms).await?;
                }
            }
        }
        match (&*source, selection) {
            (SourceReader::Ffmpeg(ffmpeg), FrameSelection::At(at_ms)) => {
                ffmpeg.frame_at(at_ms, size).await.map(|frame| vec![frame])
            }
            (SourceReader::Ffmpeg(ffmpeg), FrameSelection::Best) => {
                ffmpeg.best_frame(size).await.map(|frame| vec![frame])
            }
            (SourceReader::Ffmpeg(ffmpeg), FrameSelection::Range(span, fps)) => {
                ffmpeg.animation_frames(span, size, fps).await
            }
            (SourceReader::Native(_), _) => Err(JobError::internal("no reader left")),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum FrameSelection {
    At(u64),
    Best,
    Range(Option<(u64, u64)>, f64),
}

impl<S: Store> FrameSource for OpenedSource<S> {
    fn display_size(&self) -> Size {
        self.display_size
    }

    async fn frame_at(&self, at_ms: Option<u64>, size: Size) -> Result<(Bytes, Size), JobError> {
        let selection = at_ms.map_or(FrameSelection::Best, FrameSelection::At);
        let frames = run_until(self.deadline, self.extract(selection, size)).await?;
        let frame = frames.into_iter().next().ok_or(JobError::Rejected(Code::Truncated))?;
        Ok((frame, size))
    }

    async fn frames_between(
        &self,
        span_ms: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<(Vec<Bytes>, f64), JobError> {
        let fps = animation_fps(self.fps, fps.ceil().clamp(1.0, 120.0) as u32).min(fps.max(1.0));
        let frames =
            run_until(self.deadline, self.extract(FrameSelection::Range(span_ms, fps), size)).await?;
        Ok((frames, fps))
    }
}
