//! Runs one job of the `preview` Lambda: checks for an existing outcome, reads the source, decodes frames, encodes the
//! outputs, and commits the manifest.

use std::sync::Arc;
use std::time::Duration;

use glimpse_contract::{
    ClientMetadata, Code, Failure, Key, MANIFEST_VERSION, Manifest, Output, ReadStats, Rejection, Source,
    State, Timings, TraceId, Variant, VariantKind, VideoId, Visibility, decode_name,
};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::config::FfmpegTools;
use crate::error::JobError;
use crate::frames::DecodedFrames;
use crate::frames::decoder::Decoder;
use crate::frames::source_frames::{self, SourceEvent, SourceOptions};
use crate::frames::time_budget::TimeBudget;
use crate::preview::attempt::{self, Lease};
use crate::preview::event::Job;
use crate::preview::outputs::{self, EncodedOutputs};
use crate::preview::publish::{self, ExistingManifest, FailureRecord};
use crate::source::reader::{IoStats, RangeReader};
use crate::store::{ObjectMeta, Store, StoreError};
use glimpse_media::image::placeholder;
use glimpse_media::probe::MediaInfo;

/// The dependencies of a job.
#[derive(Debug)]
pub struct PreviewService<S> {
    /// The bucket.
    pub store: Arc<S>,
    /// Paths and limits of the programs.
    pub tools: FfmpegTools,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
    /// Random bits for the path of the source proxy.
    pub random: fn() -> [u8; 16],
    /// The delivery at which a failure is recorded as the last one. Errors that only the operator can fix are recorded
    /// at any delivery.
    pub max_receives: u32,
    /// The time budget of one file.
    pub time_budget: TimeBudget,
}

/// How a job ended, unless it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOutcome {
    /// The outputs are published.
    Ready,
    /// The file was rejected permanently.
    Rejected(Code),
    /// Another invocation published an outcome before: this job did nothing, or its result was dropped.
    AlreadyProcessed,
    /// The object of the event has been replaced.
    Superseded,
}

/// The result of a job, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobReport {
    /// The result; an error returns the message to the queue.
    pub result: Result<JobOutcome, JobError>,
    /// Whether a decoder crashed in this process: it must not run another job (threat F12).
    pub must_restart: bool,
    /// Statistics of the reads from the source.
    pub counts: IoStats,
    /// The duration of each step.
    pub steps: StepTimes,
    /// How long the job's message had waited in the queue when the job began, in milliseconds, including a cold start;
    /// `None` without a message.
    pub queued_ms: Option<u64>,
    /// The trace of the upload; `None` if its metadata could not be read.
    pub trace_id: Option<TraceId>,
}

/// The duration of each step of a job, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepTimes {
    /// Reading the upload's metadata, and checking for an existing outcome.
    pub check: u64,
    /// Reading the index of the file.
    pub index: u64,
    /// Waiting for the bytes of frames, while nothing was decoded.
    pub fetch: u64,
    /// Decoding.
    pub decode: u64,
    /// Encoding.
    pub encode: u64,
    /// Writing the outputs and the manifest.
    pub publish: u64,
}

impl StepTimes {
    /// The sum of all steps.
    pub fn total(self) -> u64 {
        let Self { check, index, fetch, decode, encode, publish } = self;
        check + index + fetch + decode + encode + publish
    }
}

/// The progress of a job.
#[derive(Debug, Default)]
pub(crate) struct JobProgress {
    pub(crate) source: Source,
    pub(crate) visibility: Visibility,
    pub(crate) passthrough: ClientMetadata,
    pub(crate) timings: Timings,
    pub(crate) counts: IoStats,
    steps: StepTimes,
    /// The lease of the last attempt, while the job runs.
    lease: Option<Lease>,
}

impl JobProgress {
    /// Whether the metadata of the source has been read.
    fn has_source_metadata(&self) -> bool {
        !self.source.etag.is_empty()
    }

    /// Fills the source's data from the event if its metadata could not be read.
    pub(crate) fn fill_source_from_event(&mut self, job: &Job) {
        if !self.has_source_metadata() {
            self.source.etag.clone_from(&job.etag);
            self.source.bytes = job.bytes;
        }
    }
}

impl<S: Store> PreviewService<S> {
    /// Runs one job. It must end by `deadline`.
    pub async fn run(&self, job: &Job, deadline: Instant) -> JobReport {
        self.run_replacing(job, None, deadline).await
    }

    /// Like [`PreviewService::run`], but its outcome replaces `existing`, if that is still the current outcome. A
    /// rejection does not replace existing outputs, and a poster that the owner chose is kept.
    pub async fn run_replacing(
        &self,
        job: &Job,
        existing: Option<&ExistingManifest>,
        deadline: Instant,
    ) -> JobReport {
        let mut progress = JobProgress::default();
        progress.timings.received = job.received_ms;
        let queued_ms = (job.sent_ms > 0).then(|| (self.now_ms)().saturating_sub(job.sent_ms));
        let mut must_restart = false;
        let processed = self.process(job, existing, deadline, &mut progress).await;
        let lease = progress.lease.take();
        let is_recorded = lease.is_some();
        if let Some(lease) = lease {
            lease.release().await;
        }
        let result = match processed {
            Ok(outcome) => Ok(outcome),
            Err(JobError::Superseded) => Ok(JobOutcome::Superseded),
            Err(error @ (JobError::Rejected(_) | JobError::Crashed(_))) => {
                must_restart = matches!(error, JobError::Crashed(_));
                self.reject(job, existing, &mut progress, error.code()).await
            }
            Err(error @ JobError::Transient { .. }) => Err(error),
        };
        if is_recorded && result.is_ok() {
            attempt::remove_failure(&*self.store, job.video).await;
        }
        if let Err(error) = &result
            && job.message.is_some()
            && (job.receives >= self.max_receives || error.code().needs_operator())
        {
            self.record_final_failure(job, &progress, error.code()).await;
        }
        let (counts, steps, trace_id) = (progress.counts, progress.steps, progress.passthrough.trace_id);
        JobReport { result, must_restart, counts, steps, queued_ms, trace_id }
    }

    async fn process(
        &self,
        job: &Job,
        existing: Option<&ExistingManifest>,
        deadline: Instant,
        progress: &mut JobProgress,
    ) -> Result<JobOutcome, JobError> {
        let mut started = Instant::now();
        let Some(head) = self.load_upload(job, existing, progress).await? else {
            return Ok(JobOutcome::AlreadyProcessed);
        };
        if attempt::is_duplicate(&*self.store, job).await? {
            return Ok(JobOutcome::AlreadyProcessed);
        }
        progress.lease = self.record_attempt(job, progress, deadline).await?;
        progress.steps.check = elapsed_ms(started);

        started = Instant::now();
        let extracted =
            timeout_at(deadline, Box::pin(self.extract_frames(job, &head, deadline, progress))).await;
        let frames = extracted
            .unwrap_or_else(|_| Err(JobError::internal("the invocation ended before the work was done")))?;
        set_media_info(&mut progress.source, &frames.info);
        let StepTimes { index, fetch, .. } = progress.steps;
        progress.steps.decode = elapsed_ms(started).saturating_sub(index + fetch);

        started = Instant::now();
        let (hash, color) = (
            placeholder::thumbhash(&frames.poster.rgb, frames.poster.size),
            placeholder::dominant_color(&frames.poster.rgb),
        );
        let poster_ms = frames.poster_ms;
        let encoded: EncodedOutputs = spawn_blocking(move || outputs::encode_all(&frames))
            .await
            .map_err(JobError::internal)?
            .map_err(JobError::internal)?;
        progress.timings.rendered = (self.now_ms)();
        progress.steps.encode = elapsed_ms(started);

        started = Instant::now();
        // Another invocation already committed; do not overwrite its outputs.
        if publish::has_other_manifest(&*self.store, job.video, existing).await? {
            return Ok(JobOutcome::AlreadyProcessed);
        }
        let owner_chosen = match existing {
            Some(existing) => self.owner_chosen_poster(existing).await?,
            None => None,
        };
        let encoded = encoded
            .into_iter()
            .filter(|(variant, _)| owner_chosen.is_none() || variant.kind() != VariantKind::Thumbnail);
        let outputs =
            publish::put_outputs(&*self.store, job.video, progress.visibility, encoded.collect()).await?;
        progress.timings.committed = (self.now_ms)();
        let mut manifest = Manifest {
            thumbhash: Some(hash),
            dominant_color: Some(color),
            poster_ms,
            ..build_manifest(job, progress, State::Ready)
        };
        if let Some(kept) = owner_chosen {
            manifest.outputs.extend(kept.outputs.iter().filter(|output| is_thumbnail(output)).cloned());
            manifest.thumbhash.clone_from(&kept.thumbhash);
            manifest.dominant_color.clone_from(&kept.dominant_color);
            manifest.poster_ms = kept.poster_ms;
        }
        manifest.outputs.extend(outputs);
        let is_first = publish::commit_replacing(&*self.store, &manifest, existing).await?;
        progress.steps.publish = elapsed_ms(started);
        Ok(if is_first { JobOutcome::Ready } else { JobOutcome::AlreadyProcessed })
    }

    /// The existing manifest, if the owner has chosen a poster or reset the choice: its thumbnails are stored under the
    /// keys of the defaults.
    async fn owner_chosen_poster<'a>(
        &self,
        existing: &'a ExistingManifest,
    ) -> Result<Option<&'a Manifest>, JobError> {
        match self.store.head(&Key::Poster(existing.manifest.video)).await {
            Ok(_) if existing.manifest.state == State::Ready => Ok(Some(&existing.manifest)),
            Ok(_) | Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(JobError::storage(error)),
        }
    }

    /// Reads the metadata of the upload; `None` if the video has an outcome already.
    pub(crate) async fn load_upload(
        &self,
        job: &Job,
        existing: Option<&ExistingManifest>,
        progress: &mut JobProgress,
    ) -> Result<Option<ObjectMeta>, JobError> {
        let has_outcome = publish::has_other_manifest(&*self.store, job.video, existing);
        let (has_outcome, head) = tokio::join!(has_outcome, self.store.head(&job.key));
        if let Ok(head) = &head {
            progress.passthrough = head.passthrough.clone().with_default_trace_id(job.video);
        }
        if has_outcome? {
            return Ok(None);
        }
        let head = match head {
            Ok(head) => head,
            Err(StoreError::NotFound) => return Err(JobError::Rejected(Code::SourceGone)),
            Err(error) => return Err(JobError::storage(error)),
        };
        if head.etag != job.etag {
            return Err(JobError::Superseded);
        }
        progress.visibility =
            head.visibility.as_deref().map_or(Visibility::Public, Visibility::parse_lenient);
        progress.source = source_from_meta(&head);
        Ok(Some(head))
    }

    pub(crate) async fn has_manifest(&self, video: VideoId) -> Result<bool, JobError> {
        publish::has_manifest(&*self.store, video).await
    }

    /// Decodes the frames of the source.
    async fn extract_frames(
        &self,
        job: &Job,
        head: &ObjectMeta,
        deadline: Instant,
        progress: &mut JobProgress,
    ) -> Result<DecodedFrames, JobError> {
        let started = Instant::now();
        let reader =
            RangeReader::new(Arc::clone(&self.store), job.key.clone(), head.etag.clone(), head.bytes);
        let reader = Arc::new(reader);
        let result = self.extract_frames_from(&reader, started, deadline, progress).await;
        progress.counts = progress.counts.merge(reader.stats());
        result
    }

    async fn extract_frames_from(
        &self,
        reader: &Arc<RangeReader<S>>,
        started: Instant,
        deadline: Instant,
        progress: &mut JobProgress,
    ) -> Result<DecodedFrames, JobError> {
        let decoder = Decoder::new(&self.tools, &self.time_budget, deadline);
        let options = SourceOptions { reports_codec: true, ..SourceOptions::new(self.random) };
        let JobProgress { source, timings, steps, counts, .. } = progress;
        let mut index_wait = Duration::ZERO;
        let mut observe = |event: SourceEvent<'_>| {
            record_event(source, event);
            if matches!(event, SourceEvent::OpenedNatively | SourceEvent::OpenedByFfmpeg(_)) {
                timings.probed = (self.now_ms)();
                steps.index = elapsed_ms(started);
                index_wait = reader.stats().wait_time;
            }
        };
        let mut frames = source_frames::open(Arc::clone(reader), decoder, options, &mut observe).await?;
        let extracted = frames.default_frames(&mut observe).await;
        steps.fetch = reader.stats().wait_time.saturating_sub(index_wait).as_millis() as u64;
        *counts = counts.merge(frames.ffmpeg_stats());
        extracted
    }

    async fn reject(
        &self,
        job: &Job,
        existing: Option<&ExistingManifest>,
        progress: &mut JobProgress,
        code: Code,
    ) -> Result<JobOutcome, JobError> {
        if existing.is_some_and(|over| over.manifest.state == State::Ready) {
            return Ok(JobOutcome::AlreadyProcessed);
        }
        progress.timings.committed = (self.now_ms)();
        progress.fill_source_from_event(job);
        let manifest =
            Manifest { rejected: Some(Rejection { code }), ..build_manifest(job, progress, State::Rejected) };
        let is_first = publish::commit_replacing(&*self.store, &manifest, existing).await?;
        Ok(if is_first { JobOutcome::Rejected(code) } else { JobOutcome::AlreadyProcessed })
    }

    /// Records the attempt before the file is opened, because from then on the file may cause this function to be
    /// killed.
    async fn record_attempt(
        &self,
        job: &Job,
        progress: &JobProgress,
        deadline: Instant,
    ) -> Result<Option<Lease>, JobError> {
        let Some(attempt) = attempt::from_job(job, (self.now_ms)()) else { return Ok(None) };
        if job.receives >= self.max_receives {
            let record = self.failure_record(job, progress, Code::Internal);
            return attempt::record_last(&self.store, record, attempt, self.now_ms, deadline).await;
        }
        if job.receives > 1 {
            attempt::record(&*self.store, job.video, &attempt).await?;
        }
        Ok(None)
    }

    /// Records the failure of a video about which nothing else is known.
    pub(crate) async fn record_failure(&self, job: &Job, code: Code) -> Result<(), JobError> {
        let mut progress = JobProgress::default();
        match self.store.head(&job.key).await {
            Ok(head) => {
                progress.passthrough = head.passthrough.clone().with_default_trace_id(job.video);
                progress.visibility =
                    head.visibility.as_deref().map_or(Visibility::Public, Visibility::parse_lenient);
                progress.source = source_from_meta(&head);
            }
            // The video was deleted in the meantime.
            Err(StoreError::NotFound) => return Ok(()),
            Err(error) => return Err(JobError::storage(error)),
        }
        publish::put_failure(&*self.store, &self.failure_record(job, &progress, code)).await
    }

    async fn record_final_failure(&self, job: &Job, progress: &JobProgress, code: Code) {
        // If the video was deleted in the meantime, write no record.
        if matches!(self.has_manifest(job.video).await, Ok(true)) {
            return;
        }
        let record = self.failure_record(job, progress, code);
        let attempt = attempt::from_job(job, (self.now_ms)());
        if let Err(error) = publish::put_failure_with_attempt(&*self.store, &record, attempt.as_ref()).await {
            // The message moves to the dead-letter queue regardless. The log is the only other report.
            tracing::error!(video = %job.video, %error, "could not write failure.json");
        }
    }

    fn failure_record(&self, job: &Job, progress: &JobProgress, code: Code) -> FailureRecord {
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: job.video,
            owner: job.owner.clone(),
            code,
            failed_at: (self.now_ms)(),
            client_metadata: progress.passthrough.clone(),
        };
        let Source { name, bytes, content_type, .. } = progress.source.clone();
        let visibility = progress.has_source_metadata().then_some(progress.visibility);
        FailureRecord { failure, name, bytes, content_type, visibility }
    }
}

/// The manifest with the data known so far.
pub(crate) fn build_manifest(job: &Job, progress: &JobProgress, state: State) -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        video: job.video,
        owner: job.owner.clone(),
        visibility: progress.visibility,
        client_metadata: progress.passthrough.clone(),
        state,
        rejected: None,
        source: progress.source.clone(),
        outputs: Vec::new(),
        thumbhash: None,
        dominant_color: None,
        poster_ms: None,
        timings: progress.timings,
        reads: read_stats(progress.counts),
    }
}

/// The read statistics in a manifest.
pub(crate) fn read_stats(counts: IoStats) -> ReadStats {
    ReadStats { requests: counts.requests, bytes: counts.bytes, round_trips: counts.round_trips }
}

pub(crate) fn source_from_meta(head: &ObjectMeta) -> Source {
    Source {
        etag: head.etag.clone(),
        bytes: head.bytes,
        content_type: head.content_type.clone(),
        name: decode_name(&head.name),
        ..Source::default()
    }
}

/// Records what is learned about a source before its frames are decoded.
pub(crate) fn record_event(source: &mut Source, event: SourceEvent<'_>) {
    match event {
        SourceEvent::Container(container) => container.ffmpeg_name().clone_into(&mut source.container),
        SourceEvent::Codec(name) => name.clone_into(&mut source.codec),
        SourceEvent::OpenedNatively => {}
        SourceEvent::OpenedByFfmpeg(info) => set_media_info(source, info),
    }
}

pub(crate) fn set_media_info(source: &mut Source, info: &MediaInfo) {
    source.codec.clone_from(&info.codec);
    source.width = info.display_size.width;
    source.height = info.display_size.height;
    source.duration_ms = info.duration_ms;
    source.fps = info.fps;
    source.rotation = info.rotation;
    source.hdr = info.is_hdr();
    source.has_audio = info.has_audio;
}

fn is_thumbnail(output: &Output) -> bool {
    Variant::from_file_name(&output.variant).is_some_and(|variant| variant.kind() == VariantKind::Thumbnail)
}

fn elapsed_ms(started: Instant) -> u64 {
    started.elapsed().as_millis() as u64
}
