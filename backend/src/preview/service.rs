//! Decides the order of one job: done already? whose bytes? which container? what is in it? pictures, manifest.

use std::sync::Arc;

use glimpse_contract::{
    Code, Failure, Key, Kind, MANIFEST_VERSION, Manifest, Output, Passthrough, Reads, RejectedBecause,
    Source, State, Timings, TraceId, Variant, VideoId, Visibility, decode_name,
};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::config::Tools;
use crate::error::JobError;
use crate::frames::Footage;
use crate::frames::decoder::Studio;
use crate::frames::ffmpeg::Relayed;
use crate::frames::native::{Digested, codec_name};
use crate::frames::time_budget::Patience;
use crate::preview::attempt::{self, Lease};
use crate::preview::event::Job;
use crate::preview::outputs::{self, Album};
use crate::preview::publish::{self, FailureNote, Standing};
use crate::source::proxy::{self, Relay};
use crate::source::reader::{Counts, Reader, Stop};
use crate::store::{Head, Store, StoreError};
use glimpse_media::image::placeholder;
use glimpse_media::probe::MediaInfo;

/// What a job needs beside its event.
#[derive(Debug)]
pub struct Workshop<S> {
    /// The bucket.
    pub store: Arc<S>,
    /// The programs.
    pub tools: Tools,
    /// The clock: Unix milliseconds.
    pub now_ms: fn() -> u64,
    /// Fresh random bits for the relay's path.
    pub random: fn() -> [u8; 16],
    /// At this delivery a failure is written down as the last one; before, one that no other try mends.
    pub max_receives: u32,
    /// How long a file may keep it busy.
    pub patience: Patience,
}

/// How a job ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The pictures exist.
    Ready,
    /// The file is refused for good.
    Rejected(Code),
    /// Somebody was here before: nothing was done or nothing counts.
    Already,
    /// The event is about an object that was replaced since.
    Superseded,
}

/// What a job did, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it ended; an error goes back to the queue.
    pub result: Result<Done, JobError>,
    /// Whether a decoder crashed in this process's care: it must take no other job (THREATS F12).
    pub tainted: bool,
    /// What was read of the source.
    pub counts: Counts,
    /// How long each step took, in milliseconds: index, look, encode, publish.
    pub steps_ms: [u64; 4],
    /// The trace that the upload is part of; `None` if nothing could be asked about it.
    pub trace_id: Option<TraceId>,
}

/// How far a job has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) source: Source,
    pub(crate) visibility: Visibility,
    pub(crate) passthrough: Passthrough,
    pub(crate) timings: Timings,
    pub(crate) counts: Counts,
    steps_ms: [u64; 4],
    /// The record of the last attempt, while it works.
    lease: Option<Lease>,
}

impl Progress {
    /// Whether the source has said anything of itself yet.
    fn is_asked(&self) -> bool {
        !self.source.etag.is_empty()
    }

    /// What is known of the source, even where nothing could be asked about it.
    pub(crate) fn name_source(&mut self, job: &Job) {
        if !self.is_asked() {
            self.source.etag.clone_from(&job.etag);
            self.source.bytes = job.bytes;
        }
    }
}

impl<S: Store> Workshop<S> {
    /// Does one job. `invocation` is when it has to be over.
    pub async fn run(&self, job: &Job, invocation: Instant) -> Report {
        self.run_over(job, None, invocation).await
    }

    /// As [`Workshop::run`], with its outcome in the place of one that stands, if it still does then. Pictures are not
    /// given up for a refusal, and a poster that was chosen stays.
    pub async fn run_over(&self, job: &Job, over: Option<&Standing>, invocation: Instant) -> Report {
        let mut progress = Progress::default();
        progress.timings.received = job.received_ms;
        let mut tainted = false;
        let made = self.make(job, over, invocation, &mut progress).await;
        let lease = progress.lease.take();
        let is_recorded = lease.is_some();
        if let Some(lease) = lease {
            lease.end().await;
        }
        let result = match made {
            Ok(done) => Ok(done),
            Err(JobError::Superseded) => Ok(Done::Superseded),
            Err(error @ (JobError::Refused(_) | JobError::Crashed(_))) => {
                tainted = matches!(error, JobError::Crashed(_));
                self.refuse(job, over, &mut progress, error.code()).await
            }
            Err(error @ JobError::Transient { .. }) => Err(error),
        };
        if is_recorded && result.is_ok() {
            attempt::forget(&*self.store, job.video).await;
        }
        if let Err(error) = &result
            && job.message.is_some()
            && (job.receives >= self.max_receives || error.code().is_operators())
        {
            self.give_up(job, &progress, error.code()).await;
        }
        let (counts, steps_ms, trace_id) =
            (progress.counts, progress.steps_ms, progress.passthrough.trace_id);
        Report { result, tainted, counts, steps_ms, trace_id }
    }

    async fn make(
        &self,
        job: &Job,
        over: Option<&Standing>,
        invocation: Instant,
        progress: &mut Progress,
    ) -> Result<Done, JobError> {
        let Some(head) = self.begin(job, over, progress).await? else { return Ok(Done::Already) };
        if attempt::is_duplicate(&*self.store, job).await? {
            return Ok(Done::Already);
        }
        progress.lease = self.record(job, progress, invocation).await?;
        let mut started = Instant::now();
        let seen = timeout_at(invocation, Box::pin(self.see(job, &head, invocation, progress))).await;
        let footage =
            seen.unwrap_or_else(|_| Err(JobError::internal("the invocation's time ended in the work")))?;
        describe(&mut progress.source, &footage.info);
        progress.steps_ms[1] = millis(started).saturating_sub(progress.steps_ms[0]);

        started = Instant::now();
        let (hash, color) = (
            placeholder::thumbhash(&footage.poster.rgb, footage.poster.size),
            placeholder::dominant(&footage.poster.rgb),
        );
        let poster_ms = footage.poster_ms;
        let album: Album = spawn_blocking(move || outputs::of(&footage))
            .await
            .map_err(JobError::internal)?
            .map_err(JobError::internal)?;
        progress.timings.rendered = (self.now_ms)();
        progress.steps_ms[2] = millis(started);

        started = Instant::now();
        // Somebody was faster: his manifest names his pictures, which are not to be written over.
        if publish::is_done_over(&*self.store, job.video, over).await? {
            return Ok(Done::Already);
        }
        let kept = match over {
            Some(over) => self.kept_poster(over).await?,
            None => None,
        };
        let album =
            album.into_iter().filter(|(variant, _)| kept.is_none() || variant.kind() != Kind::Thumbnail);
        let made = publish::outputs(&*self.store, job.video, progress.visibility, album.collect()).await?;
        progress.timings.committed = (self.now_ms)();
        let mut manifest = Manifest {
            thumbhash: Some(hash),
            dominant_color: Some(color),
            poster_ms,
            ..manifest(job, progress, State::Ready)
        };
        if let Some(old) = kept {
            manifest.outputs.extend(old.outputs.iter().filter(|output| is_thumbnail(output)).cloned());
            manifest.thumbhash.clone_from(&old.thumbhash);
            manifest.dominant_color.clone_from(&old.dominant_color);
            manifest.poster_ms = old.poster_ms;
        }
        manifest.outputs.extend(made);
        let first = publish::commit_over(&*self.store, &manifest, over).await?;
        progress.steps_ms[3] = millis(started);
        Ok(if first { Done::Ready } else { Done::Already })
    }

    /// The outcome whose thumbnails are its owner's choice, or went back from one: those lie under the defaults' keys.
    async fn kept_poster<'a>(&self, over: &'a Standing) -> Result<Option<&'a Manifest>, JobError> {
        match self.store.head(&Key::Poster(over.manifest.video)).await {
            Ok(_) if over.manifest.state == State::Ready => Ok(Some(&over.manifest)),
            Ok(_) | Err(StoreError::Gone) => Ok(None),
            Err(error) => Err(JobError::storage(error)),
        }
    }

    /// What the upload says; none if something became of the video already.
    pub(crate) async fn begin(
        &self,
        job: &Job,
        over: Option<&Standing>,
        progress: &mut Progress,
    ) -> Result<Option<Head>, JobError> {
        let done = publish::is_done_over(&*self.store, job.video, over);
        let (done, head) = tokio::join!(done, self.store.head(&job.key));
        if let Ok(head) = &head {
            progress.passthrough = head.passthrough.clone().traced(job.video);
        }
        if done? {
            return Ok(None);
        }
        let head = match head {
            Ok(head) => head,
            Err(StoreError::Gone) => return Err(JobError::Refused(Code::SourceGone)),
            Err(error) => return Err(JobError::storage(error)),
        };
        if head.etag != job.etag {
            return Err(JobError::Superseded);
        }
        progress.visibility = head.visibility.as_deref().map_or(Visibility::Public, Visibility::from_word);
        progress.source = source_of(&head);
        Ok(Some(head))
    }

    pub(crate) async fn is_done(&self, video: VideoId) -> Result<bool, JobError> {
        publish::is_done(&*self.store, video).await
    }

    /// Looks at the source, by its index where that is read here, else by seeks through the relay.
    async fn see(
        &self,
        job: &Job,
        head: &Head,
        invocation: Instant,
        progress: &mut Progress,
    ) -> Result<Footage, JobError> {
        let started = Instant::now();
        let reader = Reader::new(Arc::clone(&self.store), job.key.clone(), head.etag.clone(), head.bytes);
        let reader = Arc::new(reader);
        let result = self.see_with(&reader, started, invocation, progress).await;
        progress.counts = progress.counts.and(reader.counts());
        result
    }

    async fn see_with(
        &self,
        reader: &Arc<Reader<S>>,
        started: Instant,
        invocation: Instant,
        progress: &mut Progress,
    ) -> Result<Footage, JobError> {
        let studio = Studio::new(&self.tools, &self.patience, invocation);
        let (known, container) = reader.begin().await?;
        container.demuxer().clone_into(&mut progress.source.container);
        let digested = match Digested::open(studio.clone(), Arc::clone(reader), known, container).await {
            Ok(mut digested) => {
                progress.timings.probed = (self.now_ms)();
                progress.steps_ms[0] = millis(started);
                digested.footage().await
            }
            Err(stop) => Err(stop),
        };
        let why = match digested {
            Ok(footage) => return Ok(footage),
            Err(Stop::Job(error)) => {
                if error == JobError::Refused(Code::UnsupportedCodec) {
                    progress.source.codec = codec_name(reader, container).await.unwrap_or_default();
                }
                return Err(error);
            }
            Err(Stop::Foreign(why)) => why,
        };
        tracing::debug!(why, "read by ffmpeg");
        let relay = Relay::open(Arc::clone(&self.store), proxy::Source::of(reader), (self.random)())
            .map_err(JobError::internal)?;
        let relayed = Relayed::open(studio, relay, container, None).await?;
        progress.timings.probed = (self.now_ms)();
        progress.steps_ms[0] = millis(started);
        describe(&mut progress.source, &relayed.info);
        let footage = relayed.footage().await;
        progress.counts = progress.counts.and(relayed.counts());
        footage
    }

    async fn refuse(
        &self,
        job: &Job,
        over: Option<&Standing>,
        progress: &mut Progress,
        code: Code,
    ) -> Result<Done, JobError> {
        if over.is_some_and(|over| over.manifest.state == State::Ready) {
            return Ok(Done::Already);
        }
        progress.timings.committed = (self.now_ms)();
        progress.name_source(job);
        let manifest =
            Manifest { rejected: Some(RejectedBecause { code }), ..manifest(job, progress, State::Rejected) };
        let first = publish::commit_over(&*self.store, &manifest, over).await?;
        Ok(if first { Done::Rejected(code) } else { Done::Already })
    }

    /// Records the attempt before the file is opened: from here on the file may get this function killed.
    async fn record(
        &self,
        job: &Job,
        progress: &Progress,
        invocation: Instant,
    ) -> Result<Option<Lease>, JobError> {
        let Some(attempt) = attempt::of(job, (self.now_ms)()) else { return Ok(None) };
        if job.receives >= self.max_receives {
            let note = self.note(job, progress, Code::Internal);
            return attempt::record_last(&self.store, note, attempt, self.now_ms, invocation).await;
        }
        if job.receives > 1 {
            attempt::record(&*self.store, job.video, &attempt).await?;
        }
        Ok(None)
    }

    /// Writes down that a video failed of which nothing else is known.
    pub(crate) async fn record_failure(&self, job: &Job, code: Code) -> Result<(), JobError> {
        let mut progress = Progress::default();
        match self.store.head(&job.key).await {
            Ok(head) => {
                progress.passthrough = head.passthrough.clone().traced(job.video);
                progress.visibility =
                    head.visibility.as_deref().map_or(Visibility::Public, Visibility::from_word);
                progress.source = source_of(&head);
            }
            // The video was deleted meanwhile.
            Err(StoreError::Gone) => return Ok(()),
            Err(error) => return Err(JobError::storage(error)),
        }
        publish::failure(&*self.store, &self.note(job, &progress, code)).await
    }

    async fn give_up(&self, job: &Job, progress: &Progress, code: Code) {
        // One that was deleted meanwhile leaves no note.
        if matches!(self.is_done(job.video).await, Ok(true)) {
            return;
        }
        let note = self.note(job, progress, code);
        let attempt = attempt::of(job, (self.now_ms)());
        if let Err(error) = publish::failure_of(&*self.store, &note, attempt.as_ref()).await {
            // The message goes to the dead letters all the same, and the log is all that is left to tell.
            tracing::error!(video = %job.video, %error, "the last failure could not be written down");
        }
    }

    fn note(&self, job: &Job, progress: &Progress, code: Code) -> FailureNote {
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: job.video,
            owner: job.owner.clone(),
            code,
            failed_at: (self.now_ms)(),
            passthrough: progress.passthrough.clone(),
        };
        let Source { name, bytes, content_type, .. } = progress.source.clone();
        let visibility = progress.is_asked().then_some(progress.visibility);
        FailureNote { failure, name, bytes, content_type, visibility }
    }
}

/// The manifest of what is known so far.
pub(crate) fn manifest(job: &Job, progress: &Progress, state: State) -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        video: job.video,
        owner: job.owner.clone(),
        visibility: progress.visibility,
        passthrough: progress.passthrough.clone(),
        state,
        rejected: None,
        source: progress.source.clone(),
        outputs: Vec::new(),
        thumbhash: None,
        dominant_color: None,
        poster_ms: None,
        timings: progress.timings,
        reads: reads(progress.counts),
    }
}

/// What a manifest says of what was read.
pub(crate) fn reads(counts: Counts) -> Reads {
    Reads { requests: counts.requests, bytes: counts.bytes, round_trips: counts.round_trips }
}

pub(crate) fn source_of(head: &Head) -> Source {
    Source {
        etag: head.etag.clone(),
        bytes: head.bytes,
        content_type: head.content_type.clone(),
        name: decode_name(&head.name),
        ..Source::default()
    }
}

pub(crate) fn describe(source: &mut Source, info: &MediaInfo) {
    source.codec.clone_from(&info.codec);
    source.width = info.shown.width;
    source.height = info.shown.height;
    source.duration_ms = info.duration_ms;
    source.fps = info.fps;
    source.rotation = info.rotation;
    source.hdr = info.is_hdr();
    source.has_audio = info.has_audio;
}

fn is_thumbnail(output: &Output) -> bool {
    Variant::from_file_name(&output.variant).is_some_and(|variant| variant.kind() == Kind::Thumbnail)
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}
