//! Commits the outcome of a workflow: in the same order and with the same documents as a single job.

use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use glimpse_contract::{
    ClientMetadata, Code, Failure, Key, MANIFEST_VERSION, Manifest, Output, Owner, ReadStats, Rejection,
    Source, State, Variant, VideoId, Visibility, decode_name,
};

use crate::error::JobError;
use crate::preview::event::Job;
use crate::preview::outputs::{EncodedImage, EncodedOutputs, default_variants};
use crate::preview::publish::{self, FailureRecord};
use crate::preview::service::JobOutcome;
use crate::store::{Store, StoreError};
use crate::workflow::state::{ErrorOutput, PosterInfo, ProbeResult, StepInput, StepOutput, WorkflowState};
use glimpse_media::size::Size;

/// Maximum size of a staged image, in bytes: the output limit of a decoder process.
const MAX_IMAGE_BYTES: u64 = 64 * 1024 * 1024;

/// Commits outcomes.
#[derive(Debug)]
pub struct Publisher<S> {
    /// The bucket.
    pub store: Arc<S>,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
}

/// The combined results of all decode steps.
#[derive(Default)]
struct CombinedOutput {
    outputs: Vec<Output>,
    poster: Option<PosterInfo>,
    rendered: u64,
    reads: ReadStats,
}

impl<S: Store> Publisher<S> {
    /// Commits the results of the steps before: outputs or a rejection.
    ///
    /// # Errors
    /// The error of the storage, or the input is inconsistent.
    pub async fn publish(&self, input: WorkflowState) -> Result<JobOutcome, JobError> {
        match input.found {
            Some(ProbeResult::Look(task)) => {
                let video = task.draft.video;
                let outcome = self.publish_parts(*task, input.parts).await?;
                self.delete_staged(video).await;
                Ok(outcome)
            }
            Some(ProbeResult::Refused { code, draft }) => self.reject(*draft, code).await,
            Some(ProbeResult::Superseded) => Ok(JobOutcome::Superseded),
            Some(ProbeResult::Already | ProbeResult::Ignored) => Ok(JobOutcome::AlreadyProcessed),
            None => Err(JobError::internal("the input contains nothing to publish")),
        }
    }

    async fn publish_parts(&self, input: StepInput, parts: Vec<StepOutput>) -> Result<JobOutcome, JobError> {
        let draft = input.draft;
        let mut combined = CombinedOutput { reads: draft.reads, ..CombinedOutput::default() };
        for part in parts {
            match part {
                StepOutput::Made { outputs, face, rendered, reads } => {
                    combined.outputs.extend(outputs);
                    combined.poster = combined.poster.or(face);
                    combined.rendered = combined.rendered.max(rendered);
                    combined.reads = add_reads(combined.reads, reads);
                }
                StepOutput::Refused { code } => return self.reject(draft, code).await,
                StepOutput::Superseded => return Ok(JobOutcome::Superseded),
                StepOutput::Already if publish::has_manifest(&*self.store, draft.video).await? => {
                    return Ok(JobOutcome::AlreadyProcessed);
                }
                StepOutput::Already => {
                    return Err(JobError::internal("the existing outcome has disappeared"));
                }
            }
        }
        self.commit(draft, combined).await
    }

    async fn commit(&self, draft: Manifest, combined: CombinedOutput) -> Result<JobOutcome, JobError> {
        let images = match self.load_staged(draft.video, &combined.outputs).await {
            Ok(images) => images,
            // A duplicate execution has published them and deleted the staged ones.
            Err(StoreError::NotFound) if publish::has_manifest(&*self.store, draft.video).await? => {
                return Ok(JobOutcome::AlreadyProcessed);
            }
            Err(error) => return Err(JobError::storage(error)),
        };
        if images.len() != default_variants().count() {
            return Err(JobError::internal("default outputs are missing"));
        }
        let poster = combined.poster.ok_or_else(|| JobError::internal("the poster's data is missing"))?;
        // Another execution already committed, or the video was deleted: do not overwrite or restore outputs.
        if publish::has_manifest(&*self.store, draft.video).await? {
            return Ok(JobOutcome::AlreadyProcessed);
        }
        let outputs = publish::put_outputs(&*self.store, draft.video, draft.visibility, images).await?;
        let mut timings = draft.timings;
        (timings.rendered, timings.committed) = (combined.rendered, (self.now_ms)());
        let manifest = Manifest {
            state: State::Ready,
            outputs,
            thumbhash: Some(poster.thumbhash),
            dominant_color: Some(poster.dominant_color),
            poster_ms: poster.poster_ms,
            timings,
            reads: combined.reads,
            ..draft
        };
        let is_first = publish::commit_manifest(&*self.store, &manifest).await?;
        Ok(if is_first { JobOutcome::Ready } else { JobOutcome::AlreadyProcessed })
    }

    /// Loads the staged outputs in the order of the defaults, and verifies each.
    async fn load_staged(&self, video: VideoId, outputs: &[Output]) -> Result<EncodedOutputs, StoreError> {
        let expected = default_variants().filter_map(|variant| {
            Some((variant, outputs.iter().find(|o| o.variant == variant.file_name())?))
        });
        try_join_all(expected.map(|(variant, output)| async move {
            let (head, bytes) = self.store.get(&Key::Staged(video, variant), MAX_IMAGE_BYTES).await?;
            if head.etag != output.etag || head.bytes != output.bytes {
                return Err(StoreError::Transient(
                    "a staged output differs from the one that was made".into(),
                ));
            }
            let size = Size { width: output.width, height: output.height };
            Ok((variant, EncodedImage { bytes, size }))
        }))
        .await
    }

    async fn reject(&self, draft: Manifest, code: Code) -> Result<JobOutcome, JobError> {
        let mut timings = draft.timings;
        timings.committed = (self.now_ms)();
        let manifest = Manifest {
            state: State::Rejected,
            rejected: Some(Rejection { code }),
            outputs: Vec::new(),
            timings,
            ..draft
        };
        let is_first = publish::commit_manifest(&*self.store, &manifest).await?;
        Ok(if is_first { JobOutcome::Rejected(code) } else { JobOutcome::AlreadyProcessed })
    }

    /// Records that the last attempt failed, unless the video has an outcome after all. `job` is the upload of the
    /// event, for the case that `probe` returned nothing.
    ///
    /// # Errors
    /// The error of the storage.
    pub async fn record_failure(
        &self,
        error: &ErrorOutput,
        found: Option<ProbeResult>,
        job: Option<&Job>,
    ) -> Result<bool, JobError> {
        let UploadInfo { video, owner, source, visibility, passthrough } = match (found, job) {
            (Some(ProbeResult::Look(task)), _) => info_from_draft(task.draft),
            (Some(ProbeResult::Refused { draft, .. }), _) => info_from_draft(*draft),
            (_, Some(job)) => self.load_upload_info(job).await,
            _ => return Ok(false),
        };
        let is_done = publish::has_manifest(&*self.store, video).await?;
        if !is_done {
            let failure = Failure {
                version: MANIFEST_VERSION,
                video,
                owner,
                code: error.code(),
                failed_at: (self.now_ms)(),
                client_metadata: passthrough,
            };
            let Source { name, bytes, content_type, .. } = source;
            let note = FailureRecord { failure, name, bytes, content_type, visibility };
            publish::put_failure(&*self.store, &note).await?;
        }
        self.delete_staged(video).await;
        Ok(!is_done)
    }

    /// The metadata of the upload, as far as it can be read.
    async fn load_upload_info(&self, job: &Job) -> UploadInfo {
        let (video, owner) = (job.video, job.owner.clone());
        let Ok(head) = self.store.head(&job.key).await else {
            let (source, passthrough) = Default::default();
            return UploadInfo { video, owner, source, visibility: None, passthrough };
        };
        let (content_type, name) = (head.content_type, decode_name(&head.name));
        let visibility = head.visibility.as_deref().map_or(Visibility::Public, Visibility::parse_lenient);
        let source = Source { bytes: head.bytes, content_type, name, ..Source::default() };
        let passthrough = head.passthrough.with_default_trace_id(video);
        UploadInfo { video, owner, source, visibility: Some(visibility), passthrough }
    }

    /// Deletes the staged outputs. The bucket's lifecycle rule deletes any that remain.
    async fn delete_staged(&self, video: VideoId) {
        let keys = Variant::DEFAULTS.map(|variant| Key::Staged(video, variant));
        for error in
            join_all(keys.iter().map(|key| self.store.delete(key))).await.into_iter().filter_map(Result::err)
        {
            tracing::warn!(%video, %error, "could not delete a staged output");
        }
    }
}

/// The data of a failed video.
struct UploadInfo {
    video: VideoId,
    owner: Owner,
    source: Source,
    visibility: Option<Visibility>,
    passthrough: ClientMetadata,
}

fn info_from_draft(draft: Manifest) -> UploadInfo {
    let Manifest { video, owner, source, visibility, client_metadata: passthrough, .. } = draft;
    UploadInfo { video, owner, source, visibility: Some(visibility), passthrough }
}

fn add_reads(one: ReadStats, other: ReadStats) -> ReadStats {
    ReadStats {
        requests: one.requests + other.requests,
        bytes: one.bytes + other.bytes,
        round_trips: one.round_trips + other.round_trips,
    }
}
