//! Opens a source and decodes its frames: natively if its container and index are supported, otherwise with ffmpeg
//! through the source proxy. The only place that decides between the two.

use std::sync::Arc;

use bytes::Bytes;
use glimpse_contract::{Code, VariantKind};
use tokio::sync::mpsc;

use crate::error::JobError;
use crate::frames::decoder::Decoder;
use crate::frames::ffmpeg::FfmpegSource;
use crate::frames::native::{NativeSource, codec_name};
use crate::frames::{DecodedFrames, KindFrames};
use crate::source::proxy::SourceProxy;
use crate::source::reader::{IoStats, OpenError, RangeReader};
use crate::store::Store;
use glimpse_media::clip::{ClipError, ClipPlan, ClipRequest, ClipTrack, ReencodeReason};
use glimpse_media::container::Container;
use glimpse_media::plan::TileTimes;
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// How a source is opened.
#[derive(Debug, Clone, Copy)]
pub struct SourceOptions {
    /// Random bits for the path of the source proxy.
    pub random: fn() -> [u8; 16],
    /// Whether ffmpeg reads the source in any case, because an earlier step found that it must.
    pub uses_ffmpeg: bool,
    /// Whether the codec of a source that is rejected for it is determined, and reported as [`SourceEvent::Codec`].
    pub reports_codec: bool,
    /// The display size, if an earlier step determined it.
    pub display_size: Option<Size>,
    /// The duration, if an earlier step determined it.
    pub duration_ms: Option<u64>,
}

impl SourceOptions {
    /// The options for a source about which nothing is known.
    pub fn new(random: fn() -> [u8; 16]) -> Self {
        Self { random, uses_ffmpeg: false, reports_codec: false, display_size: None, duration_ms: None }
    }
}

/// What is learned about a source, even if it is rejected later.
#[derive(Debug, Clone, Copy)]
pub enum SourceEvent<'a> {
    /// Its container.
    Container(Container),
    /// The codec for which it is rejected; empty if its container does not name it.
    Codec(&'a str),
    /// It was opened natively.
    OpenedNatively,
    /// It was opened by ffmpeg, which returned this information.
    OpenedByFfmpeg(&'a MediaInfo),
}

/// Receives the events of a source.
pub type SourceObserver<'a> = dyn FnMut(SourceEvent<'_>) + Send + 'a;

/// The observer of a caller to whom the events do not matter.
pub fn ignore_event(_: SourceEvent<'_>) {}

/// The result of an inspection.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInspection {
    /// Information about the video.
    pub info: MediaInfo,
    /// Whether ffmpeg reads the source.
    pub uses_ffmpeg: bool,
    /// Whether the keyframes in the index must be distrusted.
    pub has_bad_keyframes: bool,
}

/// A time span in milliseconds, or the whole video, for an animation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnimationRange {
    /// The start and the end in milliseconds; `None` for snippets over the whole video.
    pub span_ms: Option<(u64, u64)>,
    /// The time of the poster in milliseconds, if it is known.
    pub poster_ms: Option<u64>,
    /// Frames per second.
    pub fps: f64,
}

/// An open source.
#[derive(Debug)]
pub struct SourceFrames<S> {
    reader: Arc<RangeReader<S>>,
    decoder: Decoder,
    container: Container,
    options: SourceOptions,
    demuxed: DemuxedSource<S>,
    /// How many bytes were read to open it.
    index_bytes: u64,
}

/// A source by the program that demuxes it.
#[derive(Debug)]
enum DemuxedSource<S> {
    Native(Box<NativeSource<S>>),
    Ffmpeg(Box<FfmpegSource>),
}

/// Opens a source. `decoder` has the time budget for all work on it.
///
/// # Errors
/// Any error that ends the job.
pub async fn open<S: Store>(
    reader: Arc<RangeReader<S>>,
    decoder: Decoder,
    options: SourceOptions,
    observer: &mut SourceObserver<'_>,
) -> Result<SourceFrames<S>, JobError> {
    let (buffer, container) = reader.detect_container().await?;
    observer(SourceEvent::Container(container));
    let opened = if options.uses_ffmpeg {
        Err(OpenError::Unsupported("read by ffmpeg before"))
    } else {
        NativeSource::open(decoder.clone(), Arc::clone(&reader), buffer, container).await
    };
    let demuxed = match opened {
        Ok(native) => {
            observer(SourceEvent::OpenedNatively);
            let native = match options.display_size {
                Some(size) => native.with_display_size(size),
                None => native,
            };
            DemuxedSource::Native(Box::new(native))
        }
        Err(OpenError::Job(error)) => {
            if options.reports_codec {
                report_codec(&reader, container, &error, observer).await;
            }
            return Err(error);
        }
        Err(OpenError::Unsupported(why)) => {
            tracing::debug!(why, "read by ffmpeg");
            let ffmpeg = open_with_ffmpeg(&reader, &decoder, container, options).await?;
            observer(SourceEvent::OpenedByFfmpeg(&ffmpeg.info));
            DemuxedSource::Ffmpeg(Box::new(ffmpeg))
        }
    };
    let index_bytes = reader.stats().bytes;
    Ok(SourceFrames { reader, decoder, container, options, demuxed, index_bytes })
}

impl<S: Store> SourceFrames<S> {
    /// Whether a native demuxer reads the source.
    pub fn is_native(&self) -> bool {
        matches!(self.demuxed, DemuxedSource::Native(_))
    }

    /// How many bytes were read to open the source, by a native demuxer.
    pub fn index_bytes(&self) -> u64 {
        self.index_bytes
    }

    /// Frees the memory of the bytes that were read natively; they are read again if they are needed.
    pub fn release_buffer(&mut self) {
        if let DemuxedSource::Native(native) = &mut self.demuxed {
            native.release_buffer();
        }
    }

    /// Prepares a natively read source for another request: `decoder` has its time budget, and the statistics of reads
    /// begin again. Only the index is kept.
    pub fn renew(&mut self, decoder: Decoder) {
        self.reader.reset_stats();
        if let DemuxedSource::Native(native) = &mut self.demuxed {
            native.renew(decoder.clone());
        }
        self.decoder = decoder;
    }

    /// Statistics of the reads of ffmpeg so far. Those of the native demuxers are in [`RangeReader::stats`].
    pub fn ffmpeg_stats(&self) -> IoStats {
        match &self.demuxed {
            DemuxedSource::Native(_) => IoStats::default(),
            DemuxedSource::Ffmpeg(ffmpeg) => ffmpeg.stats(),
        }
    }

    /// The frames of the default outputs.
    ///
    /// # Errors
    /// Any error that ends the job.
    pub async fn default_frames(
        &mut self,
        observer: &mut SourceObserver<'_>,
    ) -> Result<DecodedFrames, JobError> {
        loop {
            let result = match &mut self.demuxed {
                DemuxedSource::Native(native) => native.default_frames().await,
                DemuxedSource::Ffmpeg(ffmpeg) => ffmpeg.default_frames().await.map_err(OpenError::Job),
            };
            if let Some(frames) = self.resolve(result, observer).await? {
                return Ok(frames);
            }
        }
    }

    /// Determines what the steps of a workflow must know of the source; decodes nothing.
    ///
    /// # Errors
    /// Any error that ends the job.
    pub async fn inspect(&mut self, observer: &mut SourceObserver<'_>) -> Result<SourceInspection, JobError> {
        loop {
            let result = match &mut self.demuxed {
                DemuxedSource::Native(native) => native.inspect().await.map(|(info, has_bad_keyframes)| {
                    SourceInspection { info, uses_ffmpeg: false, has_bad_keyframes }
                }),
                DemuxedSource::Ffmpeg(ffmpeg) => Ok(SourceInspection {
                    info: ffmpeg.info.clone(),
                    uses_ffmpeg: true,
                    has_bad_keyframes: false,
                }),
            };
            if let Some(inspection) = self.resolve(result, observer).await? {
                return Ok(inspection);
            }
        }
    }

    /// The frames of one kind of default output. `distrust_keyframes` is the result of an inspection.
    ///
    /// # Errors
    /// Any error that ends the job.
    pub async fn frames_for_kind(
        &mut self,
        kind: VariantKind,
        distrust_keyframes: bool,
    ) -> Result<KindFrames, JobError> {
        loop {
            let result = match &mut self.demuxed {
                DemuxedSource::Native(native) => {
                    native.frames_for_kind(kind, distrust_keyframes).await.map(|(_, frames)| frames)
                }
                DemuxedSource::Ffmpeg(ffmpeg) => ffmpeg.frames_for_kind(kind).await.map_err(OpenError::Job),
            };
            if let Some(frames) = self.resolve(result, &mut ignore_event).await? {
                return Ok(frames);
            }
        }
    }

    /// The frame shown at a time, in this size.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there is no frame.
    pub async fn frame_at(&mut self, at_ms: u64, size: Size) -> Result<Bytes, JobError> {
        loop {
            let result = match &mut self.demuxed {
                DemuxedSource::Native(native) => native.frame_at(at_ms, size).await,
                DemuxedSource::Ffmpeg(ffmpeg) => ffmpeg.frame_at(at_ms, size).await.map_err(OpenError::Job),
            };
            if let Some(frame) = self.resolve(result, &mut ignore_event).await? {
                return Ok(frame);
            }
        }
    }

    /// The poster, in this size; `poster_ms` is its time, if it is known.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there is no frame.
    pub async fn poster_frame(&mut self, poster_ms: Option<u64>, size: Size) -> Result<Bytes, JobError> {
        loop {
            let result = match (&mut self.demuxed, poster_ms) {
                (DemuxedSource::Native(native), Some(at_ms)) => native.poster_frame(at_ms, size).await,
                // ffmpeg selected this poster, and selects the same one again.
                (DemuxedSource::Native(_), None) => {
                    Err(OpenError::Unsupported("the time of the poster is unknown"))
                }
                (DemuxedSource::Ffmpeg(ffmpeg), _) => ffmpeg.best_frame(size).await.map_err(OpenError::Job),
            };
            if let Some(frame) = self.resolve(result, &mut ignore_event).await? {
                return Ok(frame);
            }
        }
    }

    /// The frames of an animation, in this size.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there are none.
    pub async fn animation_frames(
        &mut self,
        range: AnimationRange,
        size: Size,
    ) -> Result<Vec<Bytes>, JobError> {
        let AnimationRange { span_ms, poster_ms, fps } = range;
        loop {
            let result = match &mut self.demuxed {
                DemuxedSource::Native(native) => native.animation_frames(span_ms, poster_ms, size, fps).await,
                DemuxedSource::Ffmpeg(ffmpeg) => {
                    ffmpeg.animation_frames(span_ms, size, fps).await.map_err(OpenError::Job)
                }
            };
            if let Some(frames) = self.resolve(result, &mut ignore_event).await? {
                return Ok(frames);
            }
        }
    }

    /// Sends the frames of a time span, in this size, `fps` per second. Few of them are in memory together.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there are none.
    pub async fn send_frames(
        &mut self,
        span_ms: (u64, u64),
        size: Size,
        fps: f64,
        sender: &mpsc::Sender<Bytes>,
    ) -> Result<(), JobError> {
        loop {
            let sender = sender.clone();
            let result = match &mut self.demuxed {
                DemuxedSource::Native(native) => native.send_frames(span_ms, size, fps, sender).await,
                DemuxedSource::Ffmpeg(ffmpeg) => {
                    ffmpeg.send_frames(span_ms, size, fps, sender).await.map_err(OpenError::Job)
                }
            };
            if let Some(()) = self.resolve(result, &mut ignore_event).await? {
                return Ok(());
            }
        }
    }

    /// The frames of a storyboard's tiles, in this size, one for each tile.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there are none.
    pub async fn tile_frames(&mut self, tile_times: &TileTimes, size: Size) -> Result<Vec<Bytes>, JobError> {
        loop {
            let result = match &mut self.demuxed {
                DemuxedSource::Native(native) => native.tile_frames(tile_times, size).await,
                DemuxedSource::Ffmpeg(ffmpeg) => {
                    ffmpeg.tile_frames(tile_times, size).await.map_err(OpenError::Job)
                }
            };
            if let Some(frames) = self.resolve(result, &mut ignore_event).await? {
                return Ok(frames);
            }
        }
    }

    /// Plans a clip whose samples are copied. Those of a source that ffmpeg reads cannot be.
    ///
    /// # Errors
    /// The outer error: any error that ends the job. The inner error: why there is no such clip.
    pub async fn plan_clip(&mut self, request: ClipRequest) -> Result<Result<ClipPlan, ClipError>, JobError> {
        loop {
            let result = match &mut self.demuxed {
                DemuxedSource::Native(native) => native.plan_clip(request).await,
                DemuxedSource::Ffmpeg(_) => Ok(Err(ClipError::Reencode(ReencodeReason::Format))),
            };
            if let Some(planned) = self.resolve(result, &mut ignore_event).await? {
                return Ok(planned);
            }
        }
    }

    /// Reads the bytes of a planned clip.
    ///
    /// # Errors
    /// The error of the storage, or the source was deleted or replaced.
    pub async fn read_clip(&self, plan: &ClipPlan) -> Result<Bytes, JobError> {
        let bytes = self.reader.read_concatenated(&plan.header, &plan.ranges).await?;
        let IoStats { requests, bytes: read_bytes, .. } = self.reader.stats();
        tracing::info!(clip_bytes = bytes.len(), read_bytes, requests, "copied the samples");
        Ok(bytes)
    }

    /// The sound of a clip whose frames are encoded, and the bytes of its samples; `None` if none can be copied.
    ///
    /// # Errors
    /// Any error that ends the job.
    pub async fn read_clip_audio(
        &mut self,
        request: ClipRequest,
    ) -> Result<Option<(ClipTrack, Bytes)>, JobError> {
        let planned = match &mut self.demuxed {
            DemuxedSource::Native(native) => native.plan_clip_audio(request).await,
            DemuxedSource::Ffmpeg(_) => Ok(None),
        };
        match planned {
            Ok(Some(track)) => {
                let bytes = self.reader.read_concatenated(&[], &track.sources).await?;
                Ok(Some((track, bytes)))
            }
            Ok(None) | Err(OpenError::Unsupported(_)) => Ok(None),
            Err(OpenError::Job(error)) => Err(error),
        }
    }

    /// The value of a result; `None` if the work must be repeated, because ffmpeg has opened the source after the
    /// native demuxers could not read it.
    async fn resolve<T>(
        &mut self,
        result: Result<T, OpenError>,
        observer: &mut SourceObserver<'_>,
    ) -> Result<Option<T>, JobError> {
        match (result, &mut self.demuxed) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(OpenError::Job(error)), DemuxedSource::Native(_)) if self.options.reports_codec => {
                report_codec(&self.reader, self.container, &error, observer).await;
                Err(error)
            }
            (Err(OpenError::Job(error)), _) => Err(error),
            (Err(OpenError::Unsupported(why)), DemuxedSource::Ffmpeg(_)) => Err(JobError::internal(why)),
            (Err(OpenError::Unsupported(why)), DemuxedSource::Native(native)) => {
                tracing::debug!(why, "read by ffmpeg");
                native.release_buffer();
                let ffmpeg =
                    open_with_ffmpeg(&self.reader, &self.decoder, self.container, self.options).await?;
                observer(SourceEvent::OpenedByFfmpeg(&ffmpeg.info));
                self.demuxed = DemuxedSource::Ffmpeg(Box::new(ffmpeg));
                Ok(None)
            }
        }
    }
}

async fn open_with_ffmpeg<S: Store>(
    reader: &RangeReader<S>,
    decoder: &Decoder,
    container: Container,
    options: SourceOptions,
) -> Result<FfmpegSource, JobError> {
    let (store, source) = (Arc::clone(reader.store()), reader.object().clone());
    let proxy = SourceProxy::open(store, source, (options.random)()).map_err(JobError::internal)?;
    FfmpegSource::open(decoder.clone(), proxy, container, options.duration_ms).await
}

/// Reports the codec of a source that is rejected for it.
async fn report_codec<S: Store>(
    reader: &RangeReader<S>,
    container: Container,
    error: &JobError,
    observer: &mut SourceObserver<'_>,
) {
    if *error == JobError::Rejected(Code::UnsupportedCodec) {
        let name = codec_name(reader, container).await.unwrap_or_default();
        observer(SourceEvent::Codec(&name));
    }
}
