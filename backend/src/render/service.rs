//! Decides how one picture is made on demand: is the video ready? is the picture there? frames, fit, bytes;
//! and who wins when several make it at once.
//!
//! A picture is written with `If-None-Match: *`, so that whatever happens there is one object of it at most. Whoever
//! loses answers with the winner's bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use glimpse_contract::{
    Code, Format, Key, Manifest, Moving, Problem, RejectedBecause, State, Still, TraceId, Variant, VideoId,
    limits,
};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::error::JobError;
use crate::lambda::metrics::{self, Subject};
use crate::render::http::{Asked, Wish};
use crate::store::{Store, StoreError};
use glimpse_media::image::header::{self, PictureError};
use glimpse_media::image::{gif, jpeg, png, resize, webp};
use glimpse_media::size::Size;

/// The longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;
/// The largest picture that is made, in bytes: what the edge serves.
const MAX_PICTURE_BYTES: usize = 32 * 1024 * 1024;
/// How long before its end the work on a picture stops, so that it is still written down that it took too long.
const REMEMBERED_IN: Duration = Duration::from_millis(500);
/// How often a write that meets another one (409) is tried.
const WRITE_ATTEMPTS: u32 = 5;
/// How far a clock may be behind that made an id, in milliseconds.
const SKEW_MS: u64 = 60 * 1000;

/// Takes frames of one video.
pub trait Camera: Send + Sync {
    /// The size as shown, rotation and pixel shape applied.
    fn shown(&self) -> Size;

    /// The frame of that moment in milliseconds, or the best frame, raw `rgb24`: the whole picture scaled to `size`. A
    /// moment behind the last frame is the last frame's.
    fn still(
        &self,
        at_ms: Option<u64>,
        size: Size,
    ) -> impl Future<Output = Result<(Bytes, Size), JobError>> + Send;

    /// The frames between two moments in milliseconds, or a reel over the whole video, raw `rgb24` of `size`, at least
    /// one, and how many a second they are: at most `fps`.
    fn moving(
        &self,
        span_ms: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> impl Future<Output = Result<(Vec<Bytes>, f64), JobError>> + Send;
}

/// Opens videos.
pub trait Cameras: Send + Sync + 'static {
    /// What it opens them with.
    type Camera: Camera;

    /// A camera on the source of a video that is ready. All its work ends by `deadline`.
    ///
    /// # Errors
    /// `Refused(SourceGone)` if the source is there no more; whatever else keeps it from being read.
    fn open(
        &self,
        manifest: &Manifest,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Camera, JobError>> + Send;
}

/// What a request needs beside its event.
#[derive(Debug)]
pub struct Darkroom<S, C> {
    /// The bucket.
    pub store: Arc<S>,
    /// What takes the frames.
    pub cameras: C,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
}

/// How an invocation is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The function URL's response.
    pub response: Value,
    /// Whether a decoder crashed: the process must end once the answer is given (THREATS F12).
    pub tainted: bool,
}

/// Why there is no picture.
#[derive(Debug)]
pub enum Refusal {
    /// The client is told.
    Problem(Problem),
    /// The work failed.
    Job(JobError),
}

impl From<JobError> for Refusal {
    fn from(error: JobError) -> Self {
        Self::Job(error)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// A picture that lies in the bucket.
struct Stored {
    bytes: Bytes,
    etag: String,
    /// What was done for it, for the log.
    how: &'static str,
}

impl<S: Store, C: Cameras> Darkroom<S, C> {
    /// Answers one event of the function URL. `deadline` leaves time to answer before Lambda's own.
    pub async fn answer(&self, event: &Value, request_id: &str, deadline: Instant) -> Answer {
        let started = Instant::now();
        let asked = match crate::render::http::read(event) {
            Ok(asked) => asked,
            Err(problem) => {
                info!(code = problem.code.as_str(), "refused");
                let ms = started.elapsed().as_millis() as u64;
                metrics::emit(&metrics::of_render(None, "refused", ms));
                return Answer {
                    response: crate::render::http::refusal(&problem, request_id),
                    tainted: false,
                };
            }
        };
        let mut trace_id = None;
        let made = timeout_at(deadline, self.fulfil(asked, deadline, &mut trace_id)).await;
        let made = made.unwrap_or_else(|_| Err(JobError::internal("the invocation's time ended").into()));
        let ms = started.elapsed().as_millis() as u64;
        let (video, name) = (asked.video, asked.wish.name());
        let traced = trace_id.map(tracing::field::display);
        let measured = |how| metrics::emit(&metrics::of_render(Some(Subject { video, trace_id }), how, ms));
        let (problem, tainted) = match made {
            Ok((how, response)) => {
                info!(%video, trace_id = traced, name, how, ms, "answered");
                measured(how);
                return Answer { response, tainted: false };
            }
            Err(Refusal::Problem(problem)) => {
                info!(%video, trace_id = traced, name, code = problem.code.as_str(), ms, "refused");
                measured("refused");
                (problem, false)
            }
            Err(Refusal::Job(error)) => {
                warn!(%video, trace_id = traced, name, %error, ms, "failed");
                measured("failed");
                (Problem::new(error.code()), matches!(error, JobError::Crashed(_)))
            }
        };
        Answer { response: crate::render::http::refusal(&problem, request_id), tainted }
    }

    /// What was done, for the log, and the answer. `traced` becomes the trace of the video's upload, once it is known.
    async fn fulfil(
        &self,
        asked: Asked,
        deadline: Instant,
        traced: &mut Option<TraceId>,
    ) -> Result<(&'static str, Value), Refusal> {
        match asked.wish {
            Wish::Picture(variant) => {
                let made = self.picture(asked.video, variant, deadline, traced).await?;
                let Stored { bytes, etag, how } = made;
                Ok((how, crate::render::http::picture(variant, &bytes, &etag)))
            }
            Wish::Poster(time_ms) => {
                let poster = self.choose(asked.video, time_ms, deadline, traced).await?;
                Ok(("chosen", crate::render::http::poster(&poster)))
            }
        }
    }

    async fn picture(
        &self,
        video: VideoId,
        variant: Variant,
        deadline: Instant,
        traced: &mut Option<TraceId>,
    ) -> Result<Stored, Refusal> {
        let key = Key::Output(video, variant);
        let (manifest, stored, refused) =
            tokio::join!(self.manifest(video), self.stored(&key, "found"), self.refused(video, variant));
        let manifest = manifest?;
        *traced = Some(manifest.passthrough.trace(video));
        if let Some(stored) = stored? {
            return Ok(stored);
        }
        check_time(variant, manifest.source.duration_ms)?;
        check_pixels(variant, &manifest)?;
        if let Some(note) = refused.filter(|note| note.counts(&manifest, (self.now_ms)())) {
            return Err(note.problem().into());
        }
        // Whether the source is there, and may be read, is asked each time; what it shows is not.
        let camera = self.cameras.open(&manifest, deadline).await?;
        let until = deadline.checked_sub(REMEMBERED_IN).filter(|until| *until > Instant::now());
        let late = |_| match until {
            Some(_) => Err(JobError::Refused(Code::TimedOut).into()),
            None => Err(JobError::internal("the invocation's time ended").into()),
        };
        let made = timeout_at(until.unwrap_or(deadline), take(&camera, variant)).await;
        let bytes = match made.unwrap_or_else(late) {
            Ok(bytes) => bytes,
            Err(refusal) => {
                self.remember(video, variant, manifest.visibility, &refusal).await;
                return Err(refusal);
            }
        };
        self.write(&key, variant, &manifest, bytes).await
    }

    /// The manifest of a video that is ready, or why there is none.
    pub async fn manifest(&self, video: VideoId) -> Result<Manifest, Refusal> {
        let json = match self.store.whole(&Key::Manifest(video), MAX_MANIFEST_BYTES).await {
            Ok((_, json)) => json,
            Err(StoreError::Gone) => return Err(self.without_manifest(video).into()),
            Err(error) => return Err(JobError::storage(error).into()),
        };
        let manifest: Manifest = serde_json::from_slice(&json).map_err(JobError::internal)?;
        match (manifest.state, &manifest.rejected) {
            (State::Ready, _) if manifest.video == video => Ok(manifest),
            (State::Ready, _) => Err(JobError::internal("the manifest is another video's").into()),
            (State::Rejected, Some(RejectedBecause { code })) => Err(Problem::new(*code).into()),
            (State::Rejected, None) => Err(Problem::new(Code::NotAVideo).into()),
        }
    }

    /// What is said of a video without a manifest: by its id, as the edge does.
    fn without_manifest(&self, video: VideoId) -> Problem {
        let (granted, now_ms) = (video.granted_at_ms(), (self.now_ms)());
        let is_on_its_way = granted <= now_ms + SKEW_MS && now_ms < granted + limits::PROCESSING_WINDOW_MS;
        Problem::new(if is_on_its_way { Code::Processing } else { Code::NotFound })
    }

    async fn stored(&self, key: &Key, how: &'static str) -> Result<Option<Stored>, Refusal> {
        match self.store.whole(key, MAX_PICTURE_BYTES as u64).await {
            Ok((head, bytes)) => Ok(Some(Stored { bytes, etag: head.etag, how })),
            Err(StoreError::Gone) => Ok(None),
            Err(error) => Err(JobError::storage(error).into()),
        }
    }

    async fn write(
        &self,
        key: &Key,
        variant: Variant,
        manifest: &Manifest,
        bytes: Bytes,
    ) -> Result<Stored, Refusal> {
        let content_type = variant.format().content_type();
        for _ in 0..WRITE_ATTEMPTS {
            let written =
                self.store.create_output(key, bytes.clone(), content_type, manifest.visibility).await;
            match written {
                Ok(etag) => return Ok(Stored { bytes, etag, how: "made" }),
                Err(StoreError::Lost) => {
                    // Deleted again in between: then it is simply tried again.
                    if let Some(winner) = self.stored(key, "lost").await? {
                        return Ok(winner);
                    }
                }
                Err(StoreError::Conflict) => tokio::task::yield_now().await,
                Err(error) => return Err(JobError::storage(error).into()),
            }
        }
        Err(JobError::upstream(StoreError::Conflict).into())
    }
}

/// Refuses a moment that the video does not have.
fn check_time(variant: Variant, duration_ms: u64) -> Result<(), Problem> {
    match (
        variant.still().and_then(|still| still.time_ms),
        variant.moving().and_then(|moving| moving.span_ms),
    ) {
        (Some(time), _) => check_moment("time", time, duration_ms),
        (_, Some((start, _))) => check_moment("start", start, duration_ms),
        _ => Ok(()),
    }
}

/// Refuses a PNG that is too large to be made and served each time.
fn check_pixels(variant: Variant, manifest: &Manifest) -> Result<(), Problem> {
    let Some(still) = variant.still().filter(|_| variant.format() == Format::Png) else { return Ok(()) };
    let shown = Size { width: manifest.source.width, height: manifest.source.height };
    let Size { width, height } = resize::still(shown, &still).size;
    if u64::from(width) * u64::from(height) <= limits::MAX_PNG_PIXELS {
        return Ok(());
    }
    let detail = format!(
        "A PNG of {width}x{height} is too large: at most {} pixels, as 3840x2160 has. Ask for a smaller one, or for \
         JPEG or WebP.",
        limits::MAX_PNG_PIXELS
    );
    Err(Problem::because(Code::BadParameter, detail))
}

pub fn check_moment(name: &str, at_ms: u64, duration_ms: u64) -> Result<(), Problem> {
    if duration_ms == 0 || at_ms <= duration_ms {
        return Ok(());
    }
    let detail = format!("The parameter `{name}` lies behind the end of the video.");
    Err(Problem::because(Code::BadParameter, detail))
}

async fn take<C: Camera>(camera: &C, variant: Variant) -> Result<Bytes, Refusal> {
    let bytes = if let Some(still) = variant.still() {
        take_still(camera, still, variant.format()).await?
    } else if let Some(moving) = variant.moving() {
        take_moving(camera, moving, variant.format()).await?
    } else {
        // A storyboard exists before anybody asks, or never will.
        return Err(Problem::new(Code::NotFound).into());
    };
    if bytes.len() > MAX_PICTURE_BYTES {
        let detail = format!(
            "The picture has {} bytes, and at most {MAX_PICTURE_BYTES} are served: ask for a smaller one.",
            bytes.len()
        );
        return Err(Problem::because(Code::BadParameter, detail).into());
    }
    Ok(bytes)
}

async fn take_still<C: Camera>(camera: &C, still: Still, format: Format) -> Result<Bytes, Refusal> {
    let framing = resize::still(camera.shown(), &still);
    let (frame, decoded) = camera.still(still.time_ms, framing.scale).await?;
    let encode = move || {
        let frame = framing.apply(frame, decoded)?;
        encode_still(&frame, framing.size, format)
    };
    let bytes = spawn_blocking(encode).await.map_err(JobError::internal)?;
    bytes.map_err(|error| JobError::internal(error).into())
}

pub fn encode_still(frame: &[u8], size: Size, format: Format) -> Result<Bytes, PictureError> {
    let bytes = match format {
        Format::Png => png::encode(frame, size),
        Format::Webp => webp::still(frame, size, webp::POSTER_QUALITY),
        _ => jpeg::encode(frame, size, jpeg::POSTER_QUALITY),
    }?;
    checked(bytes, format, |found| found == size)
}

async fn take_moving<C: Camera>(camera: &C, moving: Moving, format: Format) -> Result<Bytes, Refusal> {
    let size = resize::moving(camera.shown(), &moving);
    let (frames, fps) = camera.moving(moving.span_ms, size, f64::from(moving.fps)).await?;
    let encode = move || {
        let bytes = match (format, moving.max_bytes.map(|bytes| bytes as usize)) {
            (Format::Webp, None) => webp::animation(&frames, size, fps, webp::FINE),
            (Format::Webp, Some(max_bytes)) => webp::animation_within(&frames, size, fps, max_bytes),
            (_, None) => gif::encode(&frames, size, fps, &gif::FINE),
            (_, Some(max_bytes)) => gif::encode_within(&frames, size, fps, max_bytes),
        }?;
        // To keep within bytes, pixels may go too.
        let may_shrink = moving.max_bytes.is_some();
        checked(bytes, format, |found| {
            found == size || (may_shrink && found.width <= size.width && found.height <= size.height)
        })
    };
    let bytes = spawn_blocking(encode).await.map_err(JobError::internal)?;
    bytes.map_err(|error| match error {
        PictureError::DoesNotFit { least_bytes, .. } => {
            let detail = format!("The parameter `max_bytes` is too small: the least is {least_bytes} bytes.");
            Problem::because(Code::BadParameter, detail).into()
        }
        error => JobError::internal(error).into(),
    })
}

/// The picture, if by its own bytes it is one of that format and a right size.
fn checked(bytes: Bytes, format: Format, is_right: impl Fn(Size) -> bool) -> Result<Bytes, PictureError> {
    match header::facts(format, &bytes) {
        Some(facts) if is_right(facts.size) => Ok(bytes),
        facts => Err(PictureError::Encoder(format!("it made {facts:?}"))),
    }
}
