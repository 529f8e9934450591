//! Decides how the outcome of a workflow is committed: in the same order and with the same documents as by a job that does
//! all of it at once.

use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use glimpse_contract::{
    Code, Failure, Key, MANIFEST_VERSION, Manifest, Output, Owner, Passthrough, Reads, RejectedBecause,
    Source, State, Variant, VideoId, Visibility, decode_name,
};

use crate::error::JobError;
use crate::preview::event::Job;
use crate::preview::outputs::{Album, Picture};
use crate::preview::publish::{self, FailureNote};
use crate::preview::service::Done;
use crate::store::{Store, StoreError};
use crate::workflow::state::{Face, Fault, Found, Handed, Made, Task};
use glimpse_media::size::Size;

/// The longest picture that is read back, in bytes: what a decoder's child may write.
const MAX_PICTURE_BYTES: u64 = 64 * 1024 * 1024;

/// Commits outcomes.
#[derive(Debug)]
pub struct Publisher<S> {
    /// The bucket.
    pub store: Arc<S>,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
}

/// What was made of a video, all of it.
#[derive(Default)]
struct Whole {
    outputs: Vec<Output>,
    face: Option<Face>,
    rendered: u64,
    reads: Reads,
}

impl<S: Store> Publisher<S> {
    /// Commits what the steps before it say: pictures or a refusal.
    ///
    /// # Errors
    /// The storage failed, or what is handed does not fit together.
    pub async fn publish(&self, handed: Handed) -> Result<Done, JobError> {
        match handed.found {
            Some(Found::Look(task)) => {
                let video = task.draft.video;
                let done = self.settle(*task, handed.parts).await?;
                self.clear(video).await;
                Ok(done)
            }
            Some(Found::Refused { code, draft }) => self.refuse(*draft, code).await,
            Some(Found::Superseded) => Ok(Done::Superseded),
            Some(Found::Already | Found::Ignored) => Ok(Done::Already),
            None => Err(JobError::internal("nothing was handed over that could be published")),
        }
    }

    async fn settle(&self, task: Task, parts: Vec<Made>) -> Result<Done, JobError> {
        let draft = task.draft;
        let mut whole = Whole { reads: draft.reads, ..Whole::default() };
        for part in parts {
            match part {
                Made::Made { outputs, face, rendered, reads } => {
                    whole.outputs.extend(outputs);
                    whole.face = whole.face.or(face);
                    whole.rendered = whole.rendered.max(rendered);
                    whole.reads = sum(whole.reads, reads);
                }
                Made::Refused { code } => return self.refuse(draft, code).await,
                Made::Superseded => return Ok(Done::Superseded),
                Made::Already if publish::is_done(&*self.store, draft.video).await? => {
                    return Ok(Done::Already);
                }
                Made::Already => return Err(JobError::internal("an outcome was there, and is not any more")),
            }
        }
        self.commit(draft, whole).await
    }

    async fn commit(&self, draft: Manifest, whole: Whole) -> Result<Done, JobError> {
        let staged = match self.staged(draft.video, &whole.outputs).await {
            Ok(album) => album,
            // A twin has published them, and cleared up.
            Err(StoreError::Gone) if publish::is_done(&*self.store, draft.video).await? => {
                return Ok(Done::Already);
            }
            Err(error) => return Err(JobError::storage(error)),
        };
        if staged.len() != Variant::DEFAULTS.len() {
            return Err(JobError::internal("not every default picture was made"));
        }
        let face = whole.face.ok_or_else(|| JobError::internal("nothing is known of the poster"))?;
        // Somebody was faster, or it was deleted: his pictures are not to be written over, and those not to come back.
        if publish::is_done(&*self.store, draft.video).await? {
            return Ok(Done::Already);
        }
        let outputs = publish::outputs(&*self.store, draft.video, draft.visibility, staged).await?;
        let mut timings = draft.timings;
        (timings.rendered, timings.committed) = (whole.rendered, (self.now_ms)());
        let manifest = Manifest {
            state: State::Ready,
            outputs,
            thumbhash: Some(face.thumbhash),
            dominant_color: Some(face.dominant_color),
            poster_ms: face.poster_ms,
            timings,
            reads: whole.reads,
            ..draft
        };
        let first = publish::commit(&*self.store, &manifest).await?;
        Ok(if first { Done::Ready } else { Done::Already })
    }

    /// What is staged, in the order of the defaults, each as it was made.
    async fn staged(&self, video: VideoId, outputs: &[Output]) -> Result<Album, StoreError> {
        let wanted = Variant::DEFAULTS.into_iter().filter_map(|variant| {
            Some((variant, outputs.iter().find(|o| o.variant == variant.file_name())?))
        });
        try_join_all(wanted.map(|(variant, output)| async move {
            let (head, bytes) = self.store.whole(&Key::Staged(video, variant), MAX_PICTURE_BYTES).await?;
            if head.etag != output.etag || head.bytes != output.bytes {
                return Err(StoreError::Transient("a picture is not staged as it was made".into()));
            }
            let size = Size { width: output.width, height: output.height };
            Ok((variant, Picture { bytes, size }))
        }))
        .await
    }

    async fn refuse(&self, draft: Manifest, code: Code) -> Result<Done, JobError> {
        let mut timings = draft.timings;
        timings.committed = (self.now_ms)();
        let manifest = Manifest {
            state: State::Rejected,
            rejected: Some(RejectedBecause { code }),
            outputs: Vec::new(),
            timings,
            ..draft
        };
        let first = publish::commit(&*self.store, &manifest).await?;
        Ok(if first { Done::Rejected(code) } else { Done::Already })
    }

    /// Writes down that the last try failed, unless something became of the video after all. `job` is what the event
    /// asked for, where nothing was found out.
    ///
    /// # Errors
    /// The storage failed at this too.
    pub async fn give_up(
        &self,
        fault: &Fault,
        found: Option<Found>,
        job: Option<&Job>,
    ) -> Result<bool, JobError> {
        let About { video, owner, source, visibility, passthrough } = match (found, job) {
            (Some(Found::Look(task)), _) => of_draft(task.draft),
            (Some(Found::Refused { draft, .. }), _) => of_draft(*draft),
            (_, Some(job)) => self.asked(job).await,
            _ => return Ok(false),
        };
        let is_done = publish::is_done(&*self.store, video).await?;
        if !is_done {
            let failure = Failure {
                version: MANIFEST_VERSION,
                video,
                owner,
                code: fault.code(),
                failed_at: (self.now_ms)(),
                passthrough,
            };
            let Source { name, bytes, content_type, .. } = source;
            let note = FailureNote { failure, name, bytes, content_type, visibility };
            publish::failure(&*self.store, &note).await?;
        }
        self.clear(video).await;
        Ok(!is_done)
    }

    /// What the upload says of itself, as far as anything can be asked about it.
    async fn asked(&self, job: &Job) -> About {
        let (video, owner) = (job.video, job.owner.clone());
        let Ok(head) = self.store.head(&job.key).await else {
            let (source, passthrough) = Default::default();
            return About { video, owner, source, visibility: None, passthrough };
        };
        let (content_type, name) = (head.content_type, decode_name(&head.name));
        let visibility = head.visibility.as_deref().map_or(Visibility::Public, Visibility::from_word);
        let source = Source { bytes: head.bytes, content_type, name, ..Source::default() };
        let passthrough = head.passthrough.traced(video);
        About { video, owner, source, visibility: Some(visibility), passthrough }
    }

    /// Removes what was staged. What is left goes by the bucket's own rule.
    async fn clear(&self, video: VideoId) {
        let keys = Variant::DEFAULTS.map(|variant| Key::Staged(video, variant));
        for error in
            join_all(keys.iter().map(|key| self.store.remove(key))).await.into_iter().filter_map(Result::err)
        {
            tracing::warn!(%video, %error, "what was staged could not be removed");
        }
    }
}

/// What is told of a video that failed.
struct About {
    video: VideoId,
    owner: Owner,
    source: Source,
    visibility: Option<Visibility>,
    passthrough: Passthrough,
}

fn of_draft(draft: Manifest) -> About {
    let Manifest { video, owner, source, visibility, passthrough, .. } = draft;
    About { video, owner, source, visibility: Some(visibility), passthrough }
}

fn sum(one: Reads, other: Reads) -> Reads {
    Reads {
        requests: one.requests + other.requests,
        bytes: one.bytes + other.bytes,
        round_trips: one.round_trips + other.round_trips,
    }
}
