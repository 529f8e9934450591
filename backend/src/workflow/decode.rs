//! The workflow steps that read a video. They write only staged outputs, so a compromised decoder cannot publish.

use std::sync::Arc;

use futures::future::try_join_all;
use glimpse_contract::{Key, Manifest, Output, Source, State, TraceId, VariantKind};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::error::JobError;
use crate::frames::decoder::Decoder;
use crate::frames::source_frames::{self, SourceEvent, SourceInspection, SourceOptions, ignore_event};
use crate::frames::{KindFrames, RgbFrame};
use crate::preview::event::Job;
use crate::preview::outputs::{self, EncodedOutputs};
use crate::preview::service::{
    JobProgress, PreviewService, build_manifest, read_stats, record_event, set_media_info,
};
use crate::preview::upload::upload_output;
use crate::source::reader::{IoStats, RangeReader};
use crate::store::Store;
use crate::workflow::state::{PosterInfo, ProbeResult, StepInput, StepOutput};
use glimpse_media::image::placeholder;
use glimpse_media::size::Size;

/// The result of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport<T> {
    /// The output for the next step, or the error with which the step is retried.
    pub result: Result<T, JobError>,
    /// Whether a decoder crashed in this process: it must not run another job (threat F12).
    pub must_restart: bool,
    /// Statistics of the reads from the source.
    pub counts: IoStats,
    /// The trace of the upload; `None` if its metadata could not be read.
    pub trace_id: Option<TraceId>,
}

impl<S: Store> PreviewService<S> {
    /// Probes a source.
    pub async fn probe(&self, job: &Job, deadline: Instant) -> StepReport<ProbeResult> {
        let mut progress = JobProgress::default();
        progress.timings.received = job.received_ms;
        let probed = self.probe_source(job, deadline, &mut progress).await;
        let must_restart = matches!(probed, Err(JobError::Crashed(_)));
        let result = match probed {
            Err(JobError::Superseded) => Ok(ProbeResult::Superseded),
            Err(error @ (JobError::Rejected(_) | JobError::Crashed(_))) => {
                progress.fill_source_from_event(job);
                let draft = Box::new(build_manifest(job, &progress, State::Rejected));
                Ok(ProbeResult::Refused { code: error.code(), draft })
            }
            other => other,
        };
        StepReport { result, must_restart, counts: progress.counts, trace_id: progress.passthrough.trace_id }
    }

    async fn probe_source(
        &self,
        job: &Job,
        deadline: Instant,
        progress: &mut JobProgress,
    ) -> Result<ProbeResult, JobError> {
        let Some(head) = self.load_upload(job, None, progress).await? else {
            return Ok(ProbeResult::Already);
        };
        let reader = RangeReader::new(Arc::clone(&self.store), job.key.clone(), head.etag, head.bytes);
        let reader = Arc::new(reader);
        let probed = timeout_at(deadline, Box::pin(self.probe_reader(&reader, deadline, progress))).await;
        progress.counts = progress.counts.merge(reader.stats());
        let SourceInspection { info, uses_ffmpeg, has_bad_keyframes } =
            probed.unwrap_or_else(|_| Err(deadline_error()))?;
        set_media_info(&mut progress.source, &info);
        progress.timings.probed = (self.now_ms)();
        Ok(ProbeResult::Look(Box::new(StepInput {
            draft: build_manifest(job, progress, State::Ready),
            by_relay: uses_ffmpeg,
            amiss: has_bad_keyframes,
        })))
    }

    async fn probe_reader(
        &self,
        reader: &Arc<RangeReader<S>>,
        deadline: Instant,
        progress: &mut JobProgress,
    ) -> Result<SourceInspection, JobError> {
        let decoder = Decoder::new(&self.tools, &self.time_budget, deadline);
        let options = SourceOptions { reports_codec: true, ..SourceOptions::new(self.random) };
        let JobProgress { source, counts, .. } = progress;
        let mut observe = |event: SourceEvent<'_>| record_event(source, event);
        let mut frames = source_frames::open(Arc::clone(reader), decoder, options, &mut observe).await?;
        let inspected = frames.inspect(&mut observe).await;
        *counts = counts.merge(frames.ffmpeg_stats());
        inspected
    }

    /// Generates and stages the default outputs of one kind.
    pub async fn make_outputs(
        &self,
        kind: VariantKind,
        input: &StepInput,
        deadline: Instant,
    ) -> StepReport<StepOutput> {
        let Manifest { video, owner, source, .. } = &input.draft;
        let key = Key::Source { owner: owner.clone(), video: *video };
        let reader = RangeReader::new(Arc::clone(&self.store), key, source.etag.clone(), source.bytes);
        let reader = Arc::new(reader);
        let mut counts = IoStats::default();
        let staged = self.make_and_stage(kind, input, &reader, deadline, &mut counts).await;
        let must_restart = matches!(staged, Err(JobError::Crashed(_)));
        let result = match staged {
            Err(JobError::Superseded) => Ok(StepOutput::Superseded),
            Err(error @ (JobError::Rejected(_) | JobError::Crashed(_))) => {
                Ok(StepOutput::Refused { code: error.code() })
            }
            other => other,
        };
        let trace_id = input.draft.client_metadata.trace_id;
        StepReport { result, must_restart, counts: counts.merge(reader.stats()), trace_id }
    }

    async fn make_and_stage(
        &self,
        kind: VariantKind,
        input: &StepInput,
        reader: &Arc<RangeReader<S>>,
        deadline: Instant,
        counts: &mut IoStats,
    ) -> Result<StepOutput, JobError> {
        let video = input.draft.video;
        if self.has_manifest(video).await? {
            return Ok(StepOutput::Already);
        }
        let decode = Box::pin(self.decode_frames(kind, input, reader, deadline, counts));
        let frames = timeout_at(deadline, decode).await.unwrap_or_else(|_| Err(deadline_error()))?;
        let face = match &frames {
            KindFrames::Poster(RgbFrame { rgb, size }, poster_ms) => Some(PosterInfo {
                thumbhash: placeholder::thumbhash(rgb, *size),
                dominant_color: placeholder::dominant_color(rgb),
                poster_ms: *poster_ms,
            }),
            KindFrames::Animation(_) | KindFrames::Storyboard(_) => None,
        };
        let duration_ms = input.draft.source.duration_ms;
        let images = spawn_blocking(move || outputs::encode_kind(&frames, duration_ms))
            .await
            .map_err(JobError::internal)?
            .map_err(JobError::internal)?;
        let rendered = (self.now_ms)();
        // If the video was deleted in the meantime, stage nothing.
        if self.has_manifest(video).await? {
            return Ok(StepOutput::Already);
        }
        let outputs = self.stage_outputs(&input.draft, images).await?;
        Ok(StepOutput::Made { outputs, face, rendered, reads: read_stats(counts.merge(reader.stats())) })
    }

    async fn decode_frames(
        &self,
        kind: VariantKind,
        input: &StepInput,
        reader: &Arc<RangeReader<S>>,
        deadline: Instant,
        counts: &mut IoStats,
    ) -> Result<KindFrames, JobError> {
        let decoder = Decoder::new(&self.tools, &self.time_budget, deadline);
        let Source { width, height, duration_ms, .. } = input.draft.source;
        let options = SourceOptions {
            uses_ffmpeg: input.by_relay,
            display_size: Some(Size { width, height }),
            duration_ms: Some(duration_ms),
            ..SourceOptions::new(self.random)
        };
        let reader = Arc::clone(reader);
        let mut frames = source_frames::open(reader, decoder, options, &mut ignore_event).await?;
        // Natively, only the search for a non-blank poster reads samples that the probe step has not read.
        let extracted = frames.frames_for_kind(kind, input.amiss).await;
        *counts = counts.merge(frames.ffmpeg_stats());
        extracted
    }

    async fn stage_outputs(&self, draft: &Manifest, images: EncodedOutputs) -> Result<Vec<Output>, JobError> {
        try_join_all(images.into_iter().map(|(variant, image)| async move {
            let key = Key::Staged(draft.video, variant);
            upload_output(&*self.store, &key, variant, &image, draft.visibility).await
        }))
        .await
    }
}

fn deadline_error() -> JobError {
    JobError::internal("the invocation ended before the work was done")
}
