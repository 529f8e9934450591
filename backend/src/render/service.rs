//! Renders one on-demand image or clip: reads the manifest, returns what is stored, and otherwise makes and stores it.
//!
//! An image is written with `If-None-Match: *`, so there is at most one object of it. When several functions render it
//! concurrently, all of them return the bytes of the first write.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use glimpse_contract::{
    AnimationParams, Code, Key, Manifest, OutputFormat, Problem, Rejection, State, ThumbnailParams, TraceId,
    Variant, VideoId, limits,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::error::JobError;
use crate::lambda::Invocation;
use crate::lambda::metrics::{self, MetricRecord, Subject, metric};
use crate::render::http::{OnDemandRequest, RenderTarget};
use crate::store::{PutCondition, PutOptions, Store, StoreError};
use glimpse_media::clip::{ClipError, ClipPlan, ClipRequest, ClipTrack};
use glimpse_media::image::header::ImageError;
use glimpse_media::image::storyboard::StoryboardPlan;
use glimpse_media::image::{self, EncoderInput, blur, play_button, resize};
use glimpse_media::plan::TileTimes;
use glimpse_media::size::Size;

/// The maximum size of a manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;
/// The maximum size of an image, in bytes: the limit of the edge.
const MAX_IMAGE_BYTES: usize = 32 * 1024 * 1024;
/// How long before the deadline rendering stops, so that the timeout can still be recorded.
const REFUSAL_WRITE_MARGIN: Duration = Duration::from_millis(500);
/// Maximum number of attempts to write after a conflict with another write (409).
const WRITE_ATTEMPTS: u32 = 5;

/// Decodes frames of one video.
pub trait FrameSource: Send + Sync {
    /// The display size, after rotation and pixel aspect ratio.
    fn display_size(&self) -> Size;

    /// The frame at this time in milliseconds, or the best frame, as raw `rgb24`: the whole frame scaled to `size`. A
    /// time after the last frame returns the last frame.
    fn frame_at(
        &self,
        at_ms: Option<u64>,
        size: Size,
    ) -> impl Future<Output = Result<(Bytes, Size), JobError>> + Send;

    /// The frames between two times in milliseconds, or snippets over the whole video, as raw `rgb24` of `size`, at
    /// least one, and their rate per second: at most `fps`.
    fn frames_between(
        &self,
        span_ms: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> impl Future<Output = Result<(Vec<Bytes>, f64), JobError>> + Send;

    /// The frame rate of the video, at most `max_fps`: the rate of its animations and clips, per second.
    fn frame_rate(&self, max_fps: f64) -> f64;

    /// Sends the frames between two times in milliseconds, `fps` per second, as raw `rgb24` of `size`, at least one. They
    /// are not in memory together.
    fn send_frames(
        &self,
        span_ms: (u64, u64),
        size: Size,
        fps: f64,
        sender: mpsc::Sender<Bytes>,
    ) -> impl Future<Output = Result<(), JobError>> + Send;

    /// The frames of a storyboard's tiles, as raw `rgb24` of `size`, one for each tile.
    fn tile_frames(
        &self,
        tile_times: &TileTimes,
        size: Size,
    ) -> impl Future<Output = Result<Vec<Bytes>, JobError>> + Send;

    /// Plans a clip whose samples are copied, or returns why there is none.
    fn plan_clip(
        &self,
        request: ClipRequest,
    ) -> impl Future<Output = Result<Result<ClipPlan, ClipError>, JobError>> + Send;

    /// The sound of a clip whose frames are encoded, and the bytes of its samples; `None` if none can be copied.
    fn read_clip_audio(
        &self,
        request: ClipRequest,
    ) -> impl Future<Output = Result<Option<(ClipTrack, Bytes)>, JobError>> + Send;

    /// Reads the bytes of a planned clip.
    fn read_clip(&self, plan: &ClipPlan) -> impl Future<Output = Result<Bytes, JobError>> + Send;
}

/// Opens the sources of videos.
pub trait OpenFrameSource: Send + Sync + 'static {
    /// The type of an open source.
    type Source: FrameSource;

    /// Opens the source of a video that is ready. All work on it ends by `deadline`.
    ///
    /// # Errors
    /// `Rejected(SourceGone)` if the source no longer exists, or any other error that prevents reading it.
    fn open(
        &self,
        manifest: &Manifest,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Source, JobError>> + Send;
}

/// The dependencies of a request.
#[derive(Debug)]
pub struct RenderService<S, C> {
    /// The bucket.
    pub store: Arc<S>,
    /// Opens sources and decodes their frames.
    pub frame_sources: C,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
}

/// Why there is no image.
#[derive(Debug)]
pub enum RenderError {
    /// A problem of the request or the video, which is returned to the client.
    Problem(Problem),
    /// The rendering failed.
    Job(JobError),
}

impl From<JobError> for RenderError {
    fn from(error: JobError) -> Self {
        Self::Job(error)
    }
}

impl From<Problem> for RenderError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// An image in the bucket.
struct StoredImage {
    /// `None` for a clip, which is not returned.
    bytes: Option<Bytes>,
    etag: String,
    /// The result for the log and the metrics.
    how: &'static str,
}

impl<S: Store, C: OpenFrameSource> RenderService<S, C> {
    /// Handles one event of the function URL. `deadline` must leave time to respond before Lambda's own deadline.
    pub async fn handle(&self, event: &Value, request_id: &str, deadline: Instant) -> Invocation {
        let started = Instant::now();
        let request = match crate::render::http::parse(event) {
            Ok(request) => request,
            Err(problem) => {
                info!(code = problem.code.as_str(), "refused");
                let ms = started.elapsed().as_millis() as u64;
                metrics::emit(&render_record(None, "refused", ms));
                let response = crate::render::http::problem_response(&problem, request_id);
                return Invocation { result: Ok(response), must_restart: false };
            }
        };
        let mut trace_id = None;
        let rendered = timeout_at(deadline, self.render(request, deadline, &mut trace_id)).await;
        let rendered = rendered.unwrap_or_else(|_| {
            Err(JobError::internal("the invocation ended before the work was done").into())
        });
        let ms = started.elapsed().as_millis() as u64;
        let (video, name) = (request.video, request.target.name());
        let trace_id_field = trace_id.map(tracing::field::display);
        let emit_metric = |how| metrics::emit(&render_record(Some(Subject { video, trace_id }), how, ms));
        let (problem, must_restart) = match rendered {
            Ok((how, response)) => {
                info!(%video, trace_id = trace_id_field, name, how, ms, "responded");
                emit_metric(how);
                return Invocation { result: Ok(response), must_restart: false };
            }
            Err(RenderError::Problem(problem)) => {
                info!(%video, trace_id = trace_id_field, name, code = problem.code.as_str(), ms, "refused");
                emit_metric("refused");
                (problem, false)
            }
            Err(RenderError::Job(error)) => {
                warn!(%video, trace_id = trace_id_field, name, %error, ms, "failed");
                emit_metric("failed");
                (Problem::new(error.code()), matches!(error, JobError::Crashed(_)))
            }
        };
        let response = crate::render::http::problem_response(&problem, request_id);
        Invocation { result: Ok(response), must_restart }
    }

    /// Handles a parsed request. Returns the result for the log, and the response. `trace_id` is set to the trace of
    /// the video's upload once it is known.
    async fn render(
        &self,
        request: OnDemandRequest,
        deadline: Instant,
        trace_id: &mut Option<TraceId>,
    ) -> Result<(&'static str, Value), RenderError> {
        match request.target {
            RenderTarget::Image(variant) => {
                let image = self.render_image(request.video, variant, deadline, trace_id).await?;
                let StoredImage { bytes, etag, how } = image;
                Ok((how, crate::render::http::image_response(variant, bytes.as_ref(), &etag)))
            }
            RenderTarget::Poster(time_ms) => {
                let poster = self.set_poster(request.video, time_ms, deadline, trace_id).await?;
                Ok(("chosen", crate::render::http::poster_response(&poster)))
            }
        }
    }

    async fn render_image(
        &self,
        video: VideoId,
        variant: Variant,
        deadline: Instant,
        trace_id: &mut Option<TraceId>,
    ) -> Result<StoredImage, RenderError> {
        let key = Key::Output(video, variant);
        let (manifest, stored, recorded_refusal) = tokio::join!(
            self.ready_manifest(video),
            self.existing_image(&key, variant, "found"),
            self.recorded_refusal(video, variant)
        );
        let manifest = manifest?;
        *trace_id = Some(manifest.client_metadata.trace_id_or_default(video));
        if let Some(stored) = stored? {
            return Ok(stored);
        }
        check_encoder(variant, image::has_encoder)?;
        check_time(variant, manifest.source.duration_ms)?;
        check_pixels(variant, &manifest)?;
        let board = Self::plan_storyboard(variant, &manifest)?;
        if let Some(bytes) = self.make_table(variant, &manifest, board.as_ref()).await? {
            return self.create_image(&key, variant, &manifest, bytes).await;
        }
        if let Some(record) = recorded_refusal.filter(|note| note.is_current(&manifest, (self.now_ms)())) {
            return Err(record.into_problem().into());
        }
        // The existence and the permissions of the source are checked on each request, its content only once.
        let source = self.frame_sources.open(&manifest, deadline).await?;
        let encode_deadline =
            deadline.checked_sub(REFUSAL_WRITE_MARGIN).filter(|until| *until > Instant::now());
        let timeout_error = |_| match encode_deadline {
            Some(_) => Err(JobError::Rejected(Code::TimedOut).into()),
            None => Err(JobError::internal("the invocation ended before the work was done").into()),
        };
        let duration_ms = manifest.source.duration_ms;
        let image = async {
            match variant.clip() {
                Some(clip) => Self::make_clip(&source, clip, duration_ms).await,
                None => make_image(&source, variant, board, duration_ms).await,
            }
        };
        let encoded = timeout_at(encode_deadline.unwrap_or(deadline), image).await;
        let bytes = match encoded.unwrap_or_else(timeout_error) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.record_refusal(video, variant, manifest.visibility, &error).await;
                return Err(error);
            }
        };
        self.create_image(&key, variant, &manifest, bytes).await
    }

    /// The manifest of a video that is ready, or the problem why there is none.
    pub async fn ready_manifest(&self, video: VideoId) -> Result<Manifest, RenderError> {
        let json = match self.store.get(&Key::Manifest(video), MAX_MANIFEST_BYTES).await {
            Ok((_, json)) => json,
            Err(StoreError::NotFound) => return Err(self.missing_manifest_problem(video).into()),
            Err(error) => return Err(JobError::storage(error).into()),
        };
        let manifest: Manifest = serde_json::from_slice(&json).map_err(JobError::internal)?;
        match (manifest.state, &manifest.rejected) {
            (State::Ready, _) if manifest.video == video => Ok(manifest),
            (State::Ready, _) => Err(JobError::internal("the manifest is that of another video").into()),
            (State::Rejected, Some(Rejection { code })) => Err(Problem::new(*code).into()),
            (State::Rejected, None) => Err(Problem::new(Code::NotAVideo).into()),
        }
    }

    /// The problem of a video without a manifest, derived from its id as at the edge.
    fn missing_manifest_problem(&self, video: VideoId) -> Problem {
        let is_processing = video.is_within_processing_window((self.now_ms)());
        Problem::new(if is_processing { Code::Processing } else { Code::NotFound })
    }

    async fn existing_image(
        &self,
        key: &Key,
        variant: Variant,
        how: &'static str,
    ) -> Result<Option<StoredImage>, RenderError> {
        let read = match variant.clip() {
            Some(_) => self.store.head(key).await.map(|head| (head, None)),
            None => {
                self.store.get(key, MAX_IMAGE_BYTES as u64).await.map(|(head, bytes)| (head, Some(bytes)))
            }
        };
        match read {
            Ok((head, bytes)) => Ok(Some(StoredImage { bytes, etag: head.etag, how })),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(JobError::storage(error).into()),
        }
    }

    async fn create_image(
        &self,
        key: &Key,
        variant: Variant,
        manifest: &Manifest,
        bytes: Bytes,
    ) -> Result<StoredImage, RenderError> {
        let options = PutOptions {
            content_type: variant.format().content_type(),
            visibility: Some(manifest.visibility),
            condition: PutCondition::IfAbsent,
            is_on_demand: true,
        };
        for _ in 0..WRITE_ATTEMPTS {
            match self.store.put(key, bytes.clone(), options).await {
                Ok(etag) => {
                    let bytes = Some(bytes).filter(|_| variant.clip().is_none());
                    return Ok(StoredImage { bytes, etag, how: "made" });
                }
                Err(StoreError::AlreadyExists) => {
                    // If it was deleted again in the meantime, the loop retries the write.
                    if let Some(winner) = self.existing_image(key, variant, "lost").await? {
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

/// Rejects a format for which this build has no encoder. Most clips need none: their samples are copied.
fn check_encoder(variant: Variant, has_encoder: fn(OutputFormat) -> bool) -> Result<(), Problem> {
    if variant.clip().is_some() || has_encoder(variant.format()) {
        return Ok(());
    }
    let supported: Vec<&str> = variant
        .kind()
        .formats()
        .iter()
        .filter(|format| has_encoder(**format))
        .map(|format| format.extension())
        .collect();
    let detail = format!(
        "This deployment was built without an encoder for {}. Supported formats: {}.",
        variant.format().extension(),
        supported.join(", ")
    );
    Err(Problem::with_detail(Code::BadParameter, detail))
}

/// Rejects a time after the end of the video.
fn check_time(variant: Variant, duration_ms: u64) -> Result<(), Problem> {
    let clip_span_ms = variant.clip().map(|clip| clip.span_ms);
    match (
        variant.thumbnail().and_then(|still| still.time_ms),
        variant.animation().and_then(|moving| moving.span_ms).or(clip_span_ms),
    ) {
        (Some(time), _) => check_within_duration("time", time, duration_ms),
        (_, Some((start, _))) => check_within_duration("start", start, duration_ms),
        _ => Ok(()),
    }
}

/// Rejects a PNG or AVIF that is too large to be rendered and served on each request.
fn check_pixels(variant: Variant, manifest: &Manifest) -> Result<(), Problem> {
    let (Some(still), Some((max_pixels, largest))) = (variant.thumbnail(), pixel_limit(variant.format()))
    else {
        return Ok(());
    };
    let display_size = Size { width: manifest.source.width, height: manifest.source.height };
    let Size { width, height } = resize::thumbnail_geometry(display_size, &still).size;
    if u64::from(width) * u64::from(height) <= max_pixels {
        return Ok(());
    }
    let detail = format!(
        "A {} of {width}x{height} is too large: at most {max_pixels} pixels, as in {largest}. Request a smaller \
         image, or JPEG or WebP.",
        variant.format().extension().to_uppercase()
    );
    Err(Problem::with_detail(Code::BadParameter, detail))
}

/// The maximum number of pixels in this format, if it has one, and an example of a size.
fn pixel_limit(format: OutputFormat) -> Option<(u64, &'static str)> {
    match format {
        OutputFormat::Png => Some((limits::MAX_PNG_PIXELS, "3840x2160")),
        OutputFormat::Avif => Some((limits::MAX_AVIF_PIXELS, "2560x1440")),
        _ => None,
    }
}

pub fn check_within_duration(name: &str, at_ms: u64, duration_ms: u64) -> Result<(), Problem> {
    if duration_ms == 0 || at_ms <= duration_ms {
        return Ok(());
    }
    let detail = format!("The parameter `{name}` is after the end of the video.");
    Err(Problem::with_detail(Code::BadParameter, detail))
}

async fn make_image<C: FrameSource>(
    source: &C,
    variant: Variant,
    board: Option<StoryboardPlan>,
    duration_ms: u64,
) -> Result<Bytes, RenderError> {
    let bytes = if let Some(still) = variant.thumbnail() {
        make_thumbnail(source, still, variant.format(), duration_ms).await?
    } else if let Some(moving) = variant.animation() {
        make_animation(source, moving, variant.format()).await?
    } else if let Some(board) = board {
        make_sheet(source, board, variant.format()).await?
    } else {
        // The default storyboard is not rendered on demand.
        return Err(Problem::new(Code::NotFound).into());
    };
    if bytes.len() > MAX_IMAGE_BYTES {
        let detail = format!(
            "The image has {} bytes; the limit is {MAX_IMAGE_BYTES}. Request a smaller one.",
            bytes.len()
        );
        return Err(Problem::with_detail(Code::BadParameter, detail).into());
    }
    Ok(bytes)
}

async fn make_thumbnail<C: FrameSource>(
    source: &C,
    still: ThumbnailParams,
    format: OutputFormat,
    duration_ms: u64,
) -> Result<Bytes, RenderError> {
    let framing = resize::thumbnail_geometry(source.display_size(), &still);
    let (frame, decoded) = source.frame_at(still.time_ms, framing.decode_size).await?;
    let encode = move || {
        let size = framing.size;
        let mut frame = framing.apply(frame, decoded)?;
        if let Some(radius) = still.blur {
            frame = blur::blur(&frame, size, radius)?.into();
        }
        if still.has_play_button {
            frame = play_button::draw(&frame, size, duration_ms)?.into();
        }
        image::encode_requested_thumbnail(format, &frame, size, still.quality)
    };
    let bytes = spawn_blocking(encode).await.map_err(JobError::internal)?;
    bytes.map_err(|error| JobError::internal(error).into())
}

async fn make_sheet<C: FrameSource>(
    source: &C,
    board: StoryboardPlan,
    format: OutputFormat,
) -> Result<Bytes, RenderError> {
    let frames = source.tile_frames(&board.times, board.tile).await?;
    let encode = move || {
        let sheet = board.build_sheet(&frames)?;
        drop(frames);
        image::encode(format, EncoderInput::Storyboard(&sheet))
    };
    let bytes = spawn_blocking(encode).await.map_err(JobError::internal)?;
    bytes.map_err(|error| JobError::internal(error).into())
}

async fn make_animation<C: FrameSource>(
    source: &C,
    moving: AnimationParams,
    format: OutputFormat,
) -> Result<Bytes, RenderError> {
    let size = resize::animation_size(source.display_size(), &moving);
    let (frames, fps) = source.frames_between(moving.span_ms, size, f64::from(moving.fps)).await?;
    let max_bytes = moving.max_bytes.map(|bytes| bytes as usize);
    let encode =
        move || image::encode(format, EncoderInput::Animation { frames: &frames, size, fps, max_bytes });
    let bytes = spawn_blocking(encode).await.map_err(JobError::internal)?;
    bytes.map_err(|error| match error {
        ImageError::TooManyBytes { least_bytes, .. } => {
            let detail =
                format!("The parameter `max_bytes` is too small: the minimum is {least_bytes} bytes.");
            Problem::with_detail(Code::BadParameter, detail).into()
        }
        error => JobError::internal(error).into(),
    })
}

/// The record of a request for an image; `subject` is `None` if the request could not be parsed. `how` is the result:
/// `made`, `found`, `lost`, `chosen`, `refused` or `failed`.
pub(crate) fn render_record(subject: Option<Subject>, how: &'static str, ms: u64) -> MetricRecord {
    let metrics = vec![
        metric("RenderMs", "Milliseconds", ms),
        metric("Made", "Count", u8::from(how == "made")),
        metric("Found", "Count", u8::from(how == "found")),
    ];
    let fields = subject.map(Subject::fields).unwrap_or_default();
    MetricRecord { function: "render", outcome: Some(how), metrics, fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_without_h264_makes_all_but_mp4() {
        let is_made = |name: &str| {
            let video = VideoId::new(1, [0; 10]);
            let variant = match format!("media/{video}/{name}").parse() {
                Ok(Key::Output(_, variant)) => variant,
                other => panic!("{name}: {other:?}"),
            };
            check_encoder(variant, |format| format != OutputFormat::Mp4).map_err(|problem| problem.detail)
        };
        for name in ["thumbnail.jpg", "animated.gif", "animated-start_1-end_2.webp", "clip-start_0-end_1.mp4"]
        {
            assert_eq!(is_made(name), Ok(()), "{name}");
        }
        let expected = "This deployment was built without an encoder for mp4. Supported formats: gif, webp.";
        assert_eq!(is_made("animated-start_1-end_2.mp4"), Err(expected.to_owned()));
    }
}
