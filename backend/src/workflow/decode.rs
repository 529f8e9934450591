//! Decides how the steps that open a video look at it. They write nothing but what is staged: whoever takes a decoder over
//! publishes nothing.

use std::sync::Arc;

use futures::future::try_join_all;
use glimpse_contract::{Code, Key, Kind, Manifest, Output, Source, State, TraceId};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::error::JobError;
use crate::frames::decoder::Studio;
use crate::frames::ffmpeg::Relayed;
use crate::frames::native::{Digested, codec_name};
use crate::frames::{Frame, Part};
use crate::preview::event::Job;
use crate::preview::outputs::{self, Album};
use crate::preview::service::{Progress, Workshop, describe, manifest, reads};
use crate::source::proxy::{self, Relay};
use crate::source::reader::{Counts, Reader, Stop};
use crate::store::Store;
use crate::workflow::state::{Face, Found, Made, Task};
use glimpse_media::image::placeholder;
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended<T> {
    /// What is handed on, or why it is to be tried again.
    pub result: Result<T, JobError>,
    /// Whether a decoder crashed in this process's care: it must take no other job (THREATS F12).
    pub tainted: bool,
    /// What was read of the source.
    pub counts: Counts,
    /// The trace that the upload is part of; `None` if nothing could be asked about it.
    pub trace_id: Option<TraceId>,
}

impl<S: Store> Workshop<S> {
    /// Finds out what there is to be made of a source.
    pub async fn probe(&self, job: &Job, invocation: Instant) -> Ended<Found> {
        let mut progress = Progress::default();
        progress.timings.received = job.received_ms;
        let surveyed = self.survey(job, invocation, &mut progress).await;
        let tainted = matches!(surveyed, Err(JobError::Crashed(_)));
        let result = match surveyed {
            Err(JobError::Superseded) => Ok(Found::Superseded),
            Err(error @ (JobError::Refused(_) | JobError::Crashed(_))) => {
                progress.name_source(job);
                let draft = Box::new(manifest(job, &progress, State::Rejected));
                Ok(Found::Refused { code: error.code(), draft })
            }
            other => other,
        };
        Ended { result, tainted, counts: progress.counts, trace_id: progress.passthrough.trace_id }
    }

    async fn survey(
        &self,
        job: &Job,
        invocation: Instant,
        progress: &mut Progress,
    ) -> Result<Found, JobError> {
        let Some(head) = self.begin(job, None, progress).await? else { return Ok(Found::Already) };
        let reader = Reader::new(Arc::clone(&self.store), job.key.clone(), head.etag, head.bytes);
        let reader = Arc::new(reader);
        let surveyed = timeout_at(invocation, Box::pin(self.survey_by(&reader, invocation, progress))).await;
        progress.counts = progress.counts.and(reader.counts());
        let (info, by_relay, amiss) = surveyed.unwrap_or_else(|_| Err(late()))?;
        describe(&mut progress.source, &info);
        progress.timings.probed = (self.now_ms)();
        Ok(Found::Look(Box::new(Task { draft: manifest(job, progress, State::Ready), by_relay, amiss })))
    }

    async fn survey_by(
        &self,
        reader: &Arc<Reader<S>>,
        invocation: Instant,
        progress: &mut Progress,
    ) -> Result<(MediaInfo, bool, bool), JobError> {
        let studio = Studio::new(&self.tools, &self.patience, invocation);
        let (known, container) = reader.begin().await?;
        container.demuxer().clone_into(&mut progress.source.container);
        let surveyed = match Digested::open(studio.clone(), Arc::clone(reader), known, container).await {
            Ok(mut digested) => digested.survey().await,
            Err(stop) => Err(stop),
        };
        match surveyed {
            Ok((info, amiss)) => Ok((info, false, amiss)),
            Err(Stop::Job(error)) => {
                if error == JobError::Refused(Code::UnsupportedCodec) {
                    progress.source.codec = codec_name(reader, container).await.unwrap_or_default();
                }
                Err(error)
            }
            Err(Stop::Foreign(why)) => {
                tracing::debug!(why, "read by ffmpeg");
                let relayed = Relayed::open(studio, self.relay(reader)?, container, None).await?;
                progress.counts = progress.counts.and(relayed.counts());
                Ok((relayed.info, true, false))
            }
        }
    }

    /// Makes the default pictures of one kind, and stages them.
    pub async fn picture(&self, kind: Kind, task: &Task, invocation: Instant) -> Ended<Made> {
        let Manifest { video, owner, source, .. } = &task.draft;
        let key = Key::Source { owner: owner.clone(), video: *video };
        let reader = Reader::new(Arc::clone(&self.store), key, source.etag.clone(), source.bytes);
        let reader = Arc::new(reader);
        let mut counts = Counts::default();
        let made = self.make_part(kind, task, &reader, invocation, &mut counts).await;
        let tainted = matches!(made, Err(JobError::Crashed(_)));
        let result = match made {
            Err(JobError::Superseded) => Ok(Made::Superseded),
            Err(error @ (JobError::Refused(_) | JobError::Crashed(_))) => {
                Ok(Made::Refused { code: error.code() })
            }
            other => other,
        };
        let trace_id = task.draft.passthrough.trace_id;
        Ended { result, tainted, counts: counts.and(reader.counts()), trace_id }
    }

    async fn make_part(
        &self,
        kind: Kind,
        task: &Task,
        reader: &Arc<Reader<S>>,
        invocation: Instant,
        counts: &mut Counts,
    ) -> Result<Made, JobError> {
        let video = task.draft.video;
        if self.is_done(video).await? {
            return Ok(Made::Already);
        }
        let see = Box::pin(self.part(kind, task, reader, invocation, counts));
        let part = timeout_at(invocation, see).await.unwrap_or_else(|_| Err(late()))?;
        let face = match &part {
            Part::Poster(Frame { rgb, size }, poster_ms) => Some(Face {
                thumbhash: placeholder::thumbhash(rgb, *size),
                dominant_color: placeholder::dominant(rgb),
                poster_ms: *poster_ms,
            }),
            Part::Reel(_) | Part::Tiles(_) => None,
        };
        let duration_ms = task.draft.source.duration_ms;
        let album = spawn_blocking(move || outputs::of_part(&part, duration_ms))
            .await
            .map_err(JobError::internal)?
            .map_err(JobError::internal)?;
        let rendered = (self.now_ms)();
        // What was deleted meanwhile leaves nothing behind.
        if self.is_done(video).await? {
            return Ok(Made::Already);
        }
        let outputs = self.stage(&task.draft, album).await?;
        Ok(Made::Made { outputs, face, rendered, reads: reads(counts.and(reader.counts())) })
    }

    async fn part(
        &self,
        kind: Kind,
        task: &Task,
        reader: &Arc<Reader<S>>,
        invocation: Instant,
        counts: &mut Counts,
    ) -> Result<Part, JobError> {
        let studio = Studio::new(&self.tools, &self.patience, invocation);
        let (known, container) = reader.begin().await?;
        if !task.by_relay {
            let seen = match Digested::open(studio.clone(), Arc::clone(reader), known, container).await {
                Ok(digested) => {
                    let Source { width, height, .. } = task.draft.source;
                    digested.shown_in(Size { width, height }).part(kind, task.amiss).await
                }
                Err(stop) => Err(stop),
            };
            match seen {
                Ok((_, part)) => return Ok(part),
                Err(Stop::Job(error)) => return Err(error),
                // Only a search for a poster in the dark meets what the survey has not seen.
                Err(Stop::Foreign(why)) => tracing::debug!(why, "read by ffmpeg"),
            }
        }
        let length_ms = Some(task.draft.source.duration_ms);
        let relayed = Relayed::open(studio, self.relay(reader)?, container, length_ms).await?;
        let part = relayed.part(kind).await;
        *counts = counts.and(relayed.counts());
        part
    }

    fn relay(&self, reader: &Reader<S>) -> Result<Relay, JobError> {
        Relay::open(Arc::clone(&self.store), proxy::Source::of(reader), (self.random)())
            .map_err(JobError::internal)
    }

    async fn stage(&self, draft: &Manifest, album: Album) -> Result<Vec<Output>, JobError> {
        try_join_all(album.into_iter().map(|(variant, picture)| async move {
            let bytes = picture.bytes.len() as u64;
            let content_type = variant.format().content_type();
            let key = Key::Staged(draft.video, variant);
            let put = self.store.put_output(&key, picture.bytes, content_type, draft.visibility).await;
            Ok(Output {
                variant: variant.file_name(),
                bytes,
                content_type: content_type.to_owned(),
                etag: put.map_err(JobError::storage)?,
                width: picture.size.width,
                height: picture.size.height,
            })
        }))
        .await
    }
}

fn late() -> JobError {
    JobError::internal("the invocation's time ended in the work")
}
