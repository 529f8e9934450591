//! Decides the order of one job: done already? whose bytes? which container? what is in it? pictures, manifest.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use glimpse_contract::{
    Code, Failure, Format, Key, Kind, MANIFEST_VERSION, Manifest, RejectedBecause, Source, State, Timings,
    Variant, Visibility, decode_name,
};
use tokio::time::{Instant, timeout};

use crate::config::Tools;
use crate::decode::arguments::Encoding;
use crate::demux::sniff::{self, SNIFF_BYTES};
use crate::error::JobError;
use crate::event::Job;
use crate::outcome;
use crate::picture::studio::{Deadlines, Picture, Studio};
use crate::picture::{animation, colour, poster};
use crate::probe::{MediaInfo, Transfer};
use crate::publish;
use crate::relay::{self, Counts, Relay};
use crate::store::{Head, Store, StoreError};

/// How long the first bytes may take to come.
const SNIFF_TIME: Duration = Duration::from_secs(20);

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
    /// At this delivery a failure is written down as the last one.
    pub max_receives: u32,
    /// How long a file may keep it busy.
    pub patience: Patience,
}

/// How long a file may keep a job busy (THREATS F8). Whatever takes longer is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// One child.
    pub child: Duration,
    /// What makes the poster better, and what the preview, but without which there are some: each.
    pub extra: Duration,
    /// The whole job.
    pub job: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            child: Duration::from_mins(1),
            // Ten seconds of common video are decoded in this time on one core: as far as most keyframes lie apart.
            extra: Duration::from_secs(4),
            job: Duration::from_mins(4),
        }
    }
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
    /// How long each step took, in milliseconds: probe, poster, animation, publish.
    pub steps_ms: [u64; 4],
}

#[derive(Default)]
struct Progress {
    source: Source,
    visibility: Visibility,
    timings: Timings,
    counts: Counts,
    steps_ms: [u64; 4],
}

impl<S: Store> Workshop<S> {
    /// Does one job. `invocation` is when it has to be over.
    pub async fn run(&self, job: &Job, invocation: Instant) -> Report {
        let mut progress = Progress::default();
        progress.timings.received = job.received_ms;
        let mut tainted = false;
        let made = self.make(job, invocation, &mut progress).await;
        let result = match made {
            Ok(done) => Ok(done),
            Err(JobError::Superseded) => Ok(Done::Superseded),
            Err(error @ (JobError::Refused(_) | JobError::Crashed(_))) => {
                tainted = matches!(error, JobError::Crashed(_));
                self.refuse(job, &mut progress, error.code()).await
            }
            Err(error @ JobError::Transient { .. }) => Err(error),
        };
        if let Err(error) = &result
            && job.message.is_some()
            && job.receives >= self.max_receives
        {
            self.give_up(job, error.code()).await;
        }
        Report { result, tainted, counts: progress.counts, steps_ms: progress.steps_ms }
    }

    async fn make(&self, job: &Job, invocation: Instant, progress: &mut Progress) -> Result<Done, JobError> {
        if self.is_done(job).await? {
            return Ok(Done::Already);
        }
        let head = match self.store.head(&job.key).await {
            Ok(head) => head,
            Err(StoreError::Gone) => return Err(JobError::Refused(Code::SourceGone)),
            Err(error) => return Err(JobError::upstream(error)),
        };
        if head.etag != job.etag {
            return Err(JobError::Superseded);
        }
        progress.visibility = head.visibility.as_deref().map_or(Visibility::Public, Visibility::from_word);
        progress.source = source_of(&head);

        let first = self.first_bytes(job, head.bytes).await?;
        let container = sniff::sniff(&first, head.bytes).map_err(JobError::Refused)?;
        container.demuxer().clone_into(&mut progress.source.container);

        let source = relay::Source { key: job.key.clone(), etag: head.etag, bytes: head.bytes };
        let relay =
            Relay::open(Arc::clone(&self.store), source, (self.random)()).map_err(JobError::internal)?;
        let Patience { child, extra, job: whole } = self.patience;
        let deadlines = Deadlines { invocation, budget: Instant::now() + whole, child, extra };
        let studio = Studio { tools: &self.tools, relay: &relay, container, deadlines };
        let made = self.pictures(&studio, progress).await;
        progress.counts = relay.counts();
        drop(relay);
        let (pictures, hash, color) = made?;

        let started = Instant::now();
        // Somebody was faster: his manifest names his pictures, which are not to be written over.
        if self.is_done(job).await? {
            return Ok(Done::Already);
        }
        let outputs = publish::outputs(&*self.store, job.video, progress.visibility, pictures).await?;
        progress.timings.committed = (self.now_ms)();
        let manifest = Manifest {
            outputs,
            thumbhash: Some(hash),
            dominant_color: Some(color),
            ..manifest(job, progress, State::Ready)
        };
        let first = publish::commit(&*self.store, &manifest).await?;
        progress.steps_ms[3] = millis(started);
        Ok(if first { Done::Ready } else { Done::Already })
    }

    async fn is_done(&self, job: &Job) -> Result<bool, JobError> {
        match self.store.head(&Key::Manifest(job.video)).await {
            Ok(_) => Ok(true),
            Err(StoreError::Gone) => Ok(false),
            Err(error) => Err(JobError::upstream(error)),
        }
    }

    async fn first_bytes(&self, job: &Job, total: u64) -> Result<Bytes, JobError> {
        let end = total.min(SNIFF_BYTES as u64);
        if end == 0 {
            return Ok(Bytes::new());
        }
        let read = async {
            let mut body = self.store.read(&job.key, &job.etag, 0..end).await?;
            let mut bytes = BytesMut::new();
            while let Some(piece) = body.next().await {
                bytes.extend_from_slice(&piece?);
            }
            if (bytes.len() as u64) < end {
                return Err(StoreError::Transient("the body ends early".into()));
            }
            Ok(bytes.freeze())
        };
        match timeout(SNIFF_TIME, read).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(StoreError::Gone)) => Err(JobError::Refused(Code::SourceGone)),
            Ok(Err(StoreError::Changed)) => Err(JobError::Superseded),
            Ok(Err(error)) => Err(JobError::upstream(error)),
            Err(_) => Err(JobError::upstream("S3 fell silent")),
        }
    }

    async fn pictures(
        &self,
        studio: &Studio<'_>,
        progress: &mut Progress,
    ) -> Result<(Vec<(Variant, Picture)>, String, String), JobError> {
        let mut started = Instant::now();
        let info = studio.probe().await?;
        describe(&mut progress.source, &info);
        progress.timings.probed = (self.now_ms)();
        let tone_map = studio.can_map_tones(&info).await;
        progress.steps_ms[0] = millis(started);

        started = Instant::now();
        let poster = poster::choose(studio, &info, tone_map).await?;
        let still = [poster.frame.clone()];
        let stills = async {
            tokio::try_join!(
                studio.encode(Encoding::Jpeg, poster.size, 1.0, &still),
                studio.encode(Encoding::Webp, poster.size, 1.0, &still),
            )
        };
        let (jpeg, webp) = stills.await?;
        let (hash, color) = (colour::thumbhash(&poster.frame, poster.size), colour::dominant(&poster.frame));
        progress.steps_ms[1] = millis(started);

        started = Instant::now();
        let reel = animation::reel(studio, &info, tone_map, &poster).await?;
        let (gif, animated) = tokio::try_join!(
            studio.encode(Encoding::Gif, reel.size, reel.fps, &reel.frames),
            studio.encode(Encoding::AnimatedWebp, reel.size, reel.fps, &reel.frames),
        )?;
        outcome::of_storage(studio.relay.seen())?;
        progress.steps_ms[2] = millis(started);
        progress.timings.rendered = (self.now_ms)();

        let pictures = Variant::DEFAULTS.map(|variant| {
            let picture = match (variant.kind(), variant.format()) {
                (Kind::Thumbnail, Format::Webp) => &webp,
                (Kind::Thumbnail, _) => &jpeg,
                (Kind::Animated, Format::Webp) => &animated,
                (Kind::Animated, _) => &gif,
            };
            (variant, picture.clone())
        });
        Ok((pictures.into(), hash, color))
    }

    async fn refuse(&self, job: &Job, progress: &mut Progress, code: Code) -> Result<Done, JobError> {
        progress.timings.committed = (self.now_ms)();
        if progress.source.etag.is_empty() {
            progress.source.etag.clone_from(&job.etag);
            progress.source.bytes = job.bytes;
        }
        let manifest =
            Manifest { rejected: Some(RejectedBecause { code }), ..manifest(job, progress, State::Rejected) };
        let first = publish::commit(&*self.store, &manifest).await?;
        Ok(if first { Done::Rejected(code) } else { Done::Already })
    }

    async fn give_up(&self, job: &Job, code: Code) {
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: job.video,
            owner: job.owner.clone(),
            code,
            failed_at: (self.now_ms)(),
        };
        if let Err(error) = publish::failure(&*self.store, &failure).await {
            // The message goes to the dead letters all the same, and the log is all that is left to tell.
            tracing::error!(video = %job.video, %error, "the last failure could not be written down");
        }
    }
}

fn manifest(job: &Job, progress: &Progress, state: State) -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        video: job.video,
        owner: job.owner.clone(),
        visibility: progress.visibility,
        state,
        rejected: None,
        source: progress.source.clone(),
        outputs: Vec::new(),
        thumbhash: None,
        dominant_color: None,
        timings: progress.timings,
    }
}

fn source_of(head: &Head) -> Source {
    Source {
        etag: head.etag.clone(),
        bytes: head.bytes,
        content_type: head.content_type.clone(),
        name: decode_name(&head.name),
        ..Source::default()
    }
}

fn describe(source: &mut Source, info: &MediaInfo) {
    source.codec.clone_from(&info.codec);
    source.width = info.shown.width;
    source.height = info.shown.height;
    source.duration_ms = info.duration_ms;
    source.fps = info.fps;
    source.rotation = info.rotation;
    source.hdr = info.transfer != Transfer::Sdr;
    source.has_audio = info.has_audio;
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}
