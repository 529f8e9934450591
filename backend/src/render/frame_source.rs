//! Decides how single pictures of a video that is ready are taken: the same two ways as its default ones.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use glimpse_contract::{Code, Key, Manifest};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::config::Tools;
use crate::error::JobError;
use crate::frames::decoder::Studio;
use crate::frames::ffmpeg::Relayed;
use crate::frames::native::Digested;
use crate::frames::rate;
use crate::frames::time_budget::Patience;
use crate::render::service::{Camera, Cameras};
use crate::source::proxy::{self, Relay};
use crate::source::reader::{Reader, Stop};
use crate::store::{Store, StoreError};
use glimpse_media::size::Size;

/// What cameras are made with.
#[derive(Debug)]
pub struct Rental<S> {
    /// The bucket.
    pub store: Arc<S>,
    /// The programs.
    pub tools: Tools,
    /// Fresh random bits for a relay's path.
    pub random: fn() -> [u8; 16],
    /// How long a file may keep them busy.
    pub patience: Patience,
}

/// A camera on one video.
pub struct Lens<S> {
    way: Mutex<Way<S>>,
    shown: Size,
    fps: f64,
    poster_ms: Option<u64>,
    duration_ms: u64,
    random: fn() -> [u8; 16],
    studio: Studio,
    reader: Arc<Reader<S>>,
    deadline: Instant,
}

#[derive(Debug)]
enum Way<S> {
    Digested(Box<Digested<S>>),
    Relayed(Box<Relayed>),
}

impl<S> fmt::Debug for Lens<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lens")
            .field("shown", &self.shown)
            .field("poster_ms", &self.poster_ms)
            .finish_non_exhaustive()
    }
}

impl<S: Store> Cameras for Rental<S> {
    type Camera = Lens<S>;

    async fn open(&self, manifest: &Manifest, deadline: Instant) -> Result<Lens<S>, JobError> {
        let key = Key::Source { owner: manifest.owner.clone(), video: manifest.video };
        let head = match self.store.head(&key).await {
            Ok(head) => head,
            Err(StoreError::Gone) => return Err(JobError::Refused(Code::SourceGone)),
            Err(error) => return Err(JobError::storage(error)),
        };
        // Another object under the same key is not the video that the manifest is about.
        if head.etag != manifest.source.etag {
            return Err(JobError::Superseded);
        }
        let source = &manifest.source;
        let shown = Size { width: source.width, height: source.height };
        let studio = Studio::new(&self.tools, &self.patience, deadline);
        let reader = Arc::new(Reader::new(Arc::clone(&self.store), key, head.etag, head.bytes));
        let open = async {
            let (known, container) = reader.begin().await?;
            match Digested::open(studio.clone(), Arc::clone(&reader), known, container).await {
                Ok(digested) => Ok(Way::Digested(Box::new(digested.shown_in(shown)))),
                Err(Stop::Job(error)) => Err(error),
                Err(Stop::Foreign(_)) => {
                    relayed(&studio, &reader, self.random, manifest.source.duration_ms).await
                }
            }
        };
        let way = in_time(deadline, open).await?;
        Ok(Lens {
            way: Mutex::new(way),
            shown,
            fps: source.fps,
            poster_ms: manifest.poster_ms,
            duration_ms: source.duration_ms,
            random: self.random,
            studio,
            reader,
            deadline,
        })
    }
}

async fn relayed<S: Store>(
    studio: &Studio,
    reader: &Arc<Reader<S>>,
    random: fn() -> [u8; 16],
    length_ms: u64,
) -> Result<Way<S>, JobError> {
    let (_, container) = reader.begin().await?;
    let relay = Relay::open(Arc::clone(reader.store()), proxy::Source::of(reader), random())
        .map_err(JobError::internal)?;
    Ok(Way::Relayed(Box::new(Relayed::open(studio.clone(), relay, container, Some(length_ms)).await?)))
}

async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, JobError>>,
) -> Result<T, JobError> {
    let late = |_| JobError::internal("the invocation's time ended in the work");
    timeout_at(deadline, Box::pin(work)).await.map_err(late)?
}

impl<S: Store> Lens<S> {
    /// Takes pictures; where the index turns out to be unreadable after all, by ffmpeg.
    async fn take(&self, what: What, size: Size) -> Result<Vec<Bytes>, JobError> {
        let mut way = self.way.lock().await;
        if let Way::Digested(digested) = &mut *way {
            let taken = match what {
                What::Still(at_ms) => digested.still(at_ms, size).await.map(|frame| vec![frame]),
                What::Best => match self.poster_ms {
                    Some(poster_ms) => digested.poster(poster_ms, size).await.map(|frame| vec![frame]),
                    // Chosen by ffmpeg's way, which chooses the same again.
                    None => Err(Stop::Foreign("the moment of its poster is not known")),
                },
                What::Moving(span, fps) => digested.moving(span, self.poster_ms, size, fps).await,
            };
            match taken {
                Ok(frames) => return Ok(frames),
                Err(Stop::Job(error)) => return Err(error),
                Err(Stop::Foreign(_)) => {
                    *way = relayed(&self.studio, &self.reader, self.random, self.duration_ms).await?;
                }
            }
        }
        match (&*way, what) {
            (Way::Relayed(relayed), What::Still(at_ms)) => {
                relayed.still(at_ms, size).await.map(|frame| vec![frame])
            }
            (Way::Relayed(relayed), What::Best) => relayed.best(size).await.map(|frame| vec![frame]),
            (Way::Relayed(relayed), What::Moving(span, fps)) => relayed.moving(span, size, fps).await,
            (Way::Digested(_), _) => Err(JobError::internal("no way is left")),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Still(u64),
    Best,
    Moving(Option<(u64, u64)>, f64),
}

impl<S: Store> Camera for Lens<S> {
    fn shown(&self) -> Size {
        self.shown
    }

    async fn still(&self, at_ms: Option<u64>, size: Size) -> Result<(Bytes, Size), JobError> {
        let what = at_ms.map_or(What::Best, What::Still);
        let frames = in_time(self.deadline, self.take(what, size)).await?;
        let frame = frames.into_iter().next().ok_or(JobError::Refused(Code::Truncated))?;
        Ok((frame, size))
    }

    async fn moving(
        &self,
        span_ms: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<(Vec<Bytes>, f64), JobError> {
        let fps = rate(self.fps, fps.ceil().clamp(1.0, 120.0) as u32).min(fps.max(1.0));
        let frames = in_time(self.deadline, self.take(What::Moving(span_ms, fps), size)).await?;
        Ok((frames, fps))
    }
}
