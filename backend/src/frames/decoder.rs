//! Decides how one job's frames are decoded: each child with its clock, judged by what was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use glimpse_contract::Code;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::Tools;
use crate::error::JobError;
use crate::frames::exit_status::{self, Evidence};
use crate::frames::process::{self, Finished, Limits, Output, ProcessError};
use crate::frames::time_budget::Patience;
use crate::source::proxy::Relay;
use glimpse_media::container::Container;
use glimpse_media::ffmpeg_args::{self, Input};
use glimpse_media::image::{dolby_vision, score};
use glimpse_media::probe::{self, MediaInfo, Transfer};
use glimpse_media::size::Size;

/// The largest report of ffprobe: a thousand streams fit.
const MAX_REPORT_BYTES: usize = 4 * 1024 * 1024;

/// How many jobs' worth of memory there has to be: two children work at once, and their pictures are kept and encoded
/// beside them.
const MEMORY_SHARES: u64 = 3;
/// Less than this no child can work with, in bytes: half of it are the stacks that its threads reserve.
const LEAST_MEMORY_BYTES: u64 = 192 * 1024 * 1024;

/// How much longer one pass over all of a source may take than looks at a few of its moments: a third of a minute.
const SWEEP_EXTRAS: u32 = 5;

/// When a job has to be done.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// The invocation's own end, with time left to report.
    pub invocation: Instant,
    /// The end of what any one file is worth.
    pub budget: Instant,
    /// The longest that one child may work.
    pub child: Duration,
    /// The longest that one step may take for what it can do without.
    pub extra: Duration,
}

/// How much a look at a source is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// There are no pictures without it.
    Needed,
    /// The pictures may be better for it, if it is done by then.
    Extra(Instant),
}

/// What frames come out of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Their size.
    pub size: Size,
    /// At most how many.
    pub count: u32,
    /// Whether they are Dolby Vision's planes, of which common colors are made here.
    ipt: bool,
}

impl Shape {
    /// That many frames of this size.
    pub fn of(info: &MediaInfo, size: Size, count: u32) -> Self {
        Self { size, count, ipt: info.is_ipt() }
    }

    /// Bytes of a frame as the decoder writes it.
    fn bytes(self) -> usize {
        if self.ipt {
            self.size.frame_bytes() / 3 * dolby_vision::PIXEL_BYTES
        } else {
            self.size.frame_bytes()
        }
    }

    /// A frame in `rgb24`.
    async fn rgb(self, frame: Bytes) -> Result<Bytes, JobError> {
        if !self.ipt {
            return Ok(frame);
        }
        spawn_blocking(move || dolby_vision::to_rgb(&frame, self.size)).await.map_err(JobError::internal)
    }
}

/// One job's tools and clocks.
#[derive(Debug, Clone)]
pub struct Studio {
    /// The programs.
    pub tools: Tools,
    /// When to end.
    pub deadlines: Deadlines,
    /// Whether a decoder of this job has reported an error.
    errors: Arc<AtomicBool>,
}

/// What a child reads.
#[derive(Debug, Clone, Copy)]
pub enum Feed<'a> {
    /// A digest, on standard input.
    Digest(&'a Bytes),
    /// The source, through the loopback.
    Relay(&'a Relay, Container),
}

impl<'a> Feed<'a> {
    /// What a child is told to read.
    pub fn input(self) -> Input<'a> {
        match self {
            Self::Digest(_) => Input::Digest,
            Self::Relay(relay, container) => Input::Relay(container, relay.url()),
        }
    }

    fn stdin(self) -> Option<Bytes> {
        match self {
            Self::Digest(bytes) => Some(bytes.clone()),
            Self::Relay(..) => None,
        }
    }

    fn relay(self) -> Option<&'a Relay> {
        match self {
            Self::Digest(_) => None,
            Self::Relay(relay, _) => Some(relay),
        }
    }

    fn waited(self) -> Duration {
        self.relay().map_or(Duration::ZERO, |relay| relay.counts().waited)
    }
}

impl Studio {
    /// The clocks of work that begins now and has to be over at `invocation`.
    pub fn new(tools: &Tools, patience: &Patience, invocation: Instant) -> Self {
        let Patience { child, extra, job } = *patience;
        let deadlines = Deadlines { invocation, budget: Instant::now() + job, child, extra };
        Self { tools: tools.clone(), deadlines, errors: Arc::default() }
    }

    /// Whether this frame is only what a decoder puts in the place of pixels that it has not got. A film may be as gray: it
    /// takes an error to tell.
    pub fn is_concealed(&self, frame: &[u8]) -> bool {
        self.errors.load(Ordering::Relaxed) && score::is_concealment(frame)
    }

    /// Asks ffprobe what there is to be seen.
    pub async fn probe(&self, feed: Feed<'_>) -> Result<MediaInfo, JobError> {
        let arguments = ffmpeg_args::probe(feed.input());
        let limits = (MAX_REPORT_BYTES, Worth::Needed);
        let (result, evidence) =
            self.run(&self.tools.ffprobe, &arguments, Some(feed), Output::Whole, limits).await;
        exit_status::of_storage(evidence.seen.clone())?;
        match result {
            // A size that no picture can have is reported as none at all, and complained about.
            Ok(finished) => probe::read(&finished.stdout)
                .map_err(|code| JobError::Refused(exit_status::refined(code, &finished.tail))),
            // A file that is cut off in the middle may still have told what it holds, and a frame of it may do.
            Err(ProcessError::Failed { stdout, .. }) if probe::read(&stdout).is_ok() => {
                probe::read(&stdout).map_err(JobError::Refused)
            }
            Err(error) => Err(exit_status::of_child(&error, evidence, Code::Truncated)),
        }
    }

    /// What ffprobe says to this.
    ///
    /// # Errors
    /// As [`Studio::decode`].
    pub async fn report(
        &self,
        feed: Feed<'_>,
        arguments: &[String],
        worth: Worth,
    ) -> Result<Bytes, JobError> {
        let limits = (MAX_REPORT_BYTES, worth);
        let (result, evidence) =
            self.run(&self.tools.ffprobe, arguments, Some(feed), Output::Whole, limits).await;
        exit_status::of_storage(evidence.seen.clone())?;
        match result {
            Ok(finished) => Ok(finished.stdout),
            Err(error) => Err(exit_status::of_child(&error, evidence, Code::Truncated)),
        }
    }

    /// Whether this ffmpeg can map tones; asked only for a source that needs it.
    pub async fn can_map_tones(&self, info: &MediaInfo) -> bool {
        if info.transfer == Transfer::Sdr {
            return false;
        }
        let limits = (MAX_REPORT_BYTES, Worth::Needed);
        let (result, _) =
            self.run(&self.tools.ffmpeg, &ffmpeg_args::list_filters(), None, Output::Whole, limits).await;
        result.is_ok_and(|finished| {
            let text = String::from_utf8_lossy(&finished.stdout);
            [" zscale ", " tonemap "].iter().all(|filter| text.contains(filter))
        })
    }

    /// The worth of one pass over all of a source that begins now and can be done without.
    pub fn sweep(&self) -> Worth {
        Worth::Extra(Instant::now() + SWEEP_EXTRAS * self.deadlines.extra)
    }

    /// The worth of looks that a step begins now and can do without.
    pub fn extra(&self) -> Worth {
        Worth::Extra(Instant::now() + self.deadlines.extra)
    }

    /// Decodes raw `rgb24` frames of this shape, and hands each to `to` as it comes. There may be none:
    /// an exit code proves nothing, what came out is looked at. Returns how many there were.
    ///
    /// # Errors
    /// A refusal is about this look: another moment of the same source may be decoded yet, see
    /// [`exit_status::of_a_look`].
    pub async fn decode(
        &self,
        feed: Feed<'_>,
        arguments: &[String],
        shape: Shape,
        worth: Worth,
        to: mpsc::Sender<Bytes>,
    ) -> Result<u32, JobError> {
        let bytes = shape.bytes();
        let (own, mut frames) = mpsc::channel(1);
        let output = Output::Pieces(bytes, own);
        let max = bytes * shape.count as usize;
        let pass = async {
            let mut passed = 0;
            while let Some(frame) = frames.recv().await {
                let Ok(frame) = shape.rgb(frame).await else { break };
                // Whoever is gone has seen enough.
                if to.send(frame).await.is_err() {
                    break;
                }
                passed += 1;
            }
            drop(to);
            passed
        };
        let run = self.run(&self.tools.ffmpeg, arguments, Some(feed), output, (max, worth));
        let ((result, evidence), passed) = tokio::join!(run, pass);
        // What broke a read also ends a stream early, as if it were all there is.
        exit_status::of_storage(evidence.seen.clone())?;
        if let Ok(Finished { tail, .. }) | Err(ProcessError::Failed { tail, .. }) = &result
            && !tail.trim().is_empty()
        {
            self.errors.store(true, Ordering::Relaxed);
        }
        match result {
            Ok(finished) if passed == 0 && exit_status::is_short_of_memory(&finished.tail) => {
                Err(JobError::Refused(Code::TooMuchMemory))
            }
            Ok(_) => Ok(passed),
            Err(ProcessError::Failed { .. }) if passed > 0 => Ok(passed),
            Err(ProcessError::TimedOut { .. }) if passed > 0 && !evidence.job_deadline => Ok(passed),
            // Its complaints about a codec are about other streams: this one's was looked at before.
            Err(ProcessError::Failed { tail, .. }) => {
                Err(JobError::Refused(exit_status::refined(Code::Truncated, &tail)))
            }
            Err(error) => Err(exit_status::of_child(&error, evidence, Code::Truncated)),
        }
    }

    /// As [`Studio::decode`], with all frames at once.
    pub async fn frames(
        &self,
        feed: Feed<'_>,
        arguments: &[String],
        shape: Shape,
        worth: Worth,
    ) -> Result<Vec<Bytes>, JobError> {
        let (to, mut from) = mpsc::channel(1);
        let gather = async {
            let mut list = Vec::new();
            while let Some(frame) = from.recv().await {
                list.push(frame);
            }
            list
        };
        let (passed, list) = tokio::join!(self.decode(feed, arguments, shape, worth, to), gather);
        passed.map(|_| list)
    }

    async fn run(
        &self,
        program: &std::path::Path,
        arguments: &[String],
        feed: Option<Feed<'_>>,
        output: Output,
        (max_stdout, worth): (usize, Worth),
    ) -> (Result<Finished, ProcessError>, Evidence) {
        let started = Instant::now();
        let relay = feed.and_then(Feed::relay);
        let before = feed.map_or(Duration::ZERO, Feed::waited);
        let own = (started + self.deadlines.child).min(self.deadlines.budget);
        let own = match worth {
            Worth::Needed => own,
            Worth::Extra(until) => own.min(until),
        };
        let memory_bytes = (self.tools.memory_bytes / MEMORY_SHARES).max(LEAST_MEMORY_BYTES);
        let limits = Limits { deadline: own.min(self.deadlines.invocation), max_stdout, memory_bytes };
        let secret = relay.map_or("", Relay::secret_path);
        let stdin = feed.and_then(Feed::stdin);
        let result = process::run(program, arguments, stdin, output, limits, secret).await;
        let evidence = Evidence {
            seen: relay.and_then(Relay::seen),
            job_deadline: self.deadlines.invocation < own,
            extra: matches!(worth, Worth::Extra(until) if until <= own),
            took: started.elapsed(),
            waited: feed.map_or(Duration::ZERO, Feed::waited).saturating_sub(before),
        };
        if let Err(error) = &result {
            tracing::debug!(%error, "a child ended badly");
        }
        (result, evidence)
    }
}
