//! Decides how one job's frames are decoded: each child with its clock, judged by what was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use glimpse_contract::Code;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::FfmpegTools;
use crate::error::JobError;
use crate::frames::exit_status::{self, ExitContext};
use crate::frames::process::{self, OutputMode, ProcessError, ProcessLimits, ProcessOutput};
use crate::frames::time_budget::TimeBudget;
use crate::source::proxy::SourceProxy;
use glimpse_media::container::Container;
use glimpse_media::ffmpeg_args::{self, Input};
use glimpse_media::image::{dolby_vision, score};
use glimpse_media::probe::{self, ColorTransfer, MediaInfo};
use glimpse_media::size::Size;

/// The largest report of ffprobe: a thousand streams fit.
const MAX_REPORT_BYTES: usize = 4 * 1024 * 1024;

/// How many jobs' worth of memory there has to be: two children work at once, and their pictures are kept and encoded
/// beside them.
const MEMORY_SHARES: u64 = 3;
/// Less than this no child can work with, in bytes: half of it are the stacks that its threads reserve.
const MIN_MEMORY_BYTES: u64 = 192 * 1024 * 1024;

/// How much longer one pass over all of a source may take than looks at a few of its moments: a third of a minute.
const FULL_SCAN_FACTOR: u32 = 5;

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
    pub best_effort: Duration,
}

/// How much a look at a source is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// There are no pictures without it.
    Required,
    /// The pictures may be better for it, if it is done by then.
    BestEffort(Instant),
}

/// What frames come out of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameFormat {
    /// Their size.
    pub size: Size,
    /// At most how many.
    pub count: u32,
    /// Whether they are Dolby Vision's planes, of which common colors are made here.
    ipt: bool,
}

impl FrameFormat {
    /// That many frames of this size.
    pub fn new(info: &MediaInfo, size: Size, count: u32) -> Self {
        Self { size, count, ipt: info.is_ipt() }
    }

    /// Bytes of a frame as the decoder writes it.
    fn frame_bytes(self) -> usize {
        if self.ipt {
            self.size.frame_bytes() / 3 * dolby_vision::PIXEL_BYTES
        } else {
            self.size.frame_bytes()
        }
    }

    /// A frame in `rgb24`.
    async fn to_rgb(self, frame: Bytes) -> Result<Bytes, JobError> {
        if !self.ipt {
            return Ok(frame);
        }
        spawn_blocking(move || dolby_vision::to_rgb(&frame, self.size)).await.map_err(JobError::internal)
    }
}

/// One job's tools and clocks.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// The programs.
    pub tools: FfmpegTools,
    /// When to end.
    pub deadlines: Deadlines,
    /// Whether a decoder of this job has reported an error.
    has_reported_errors: Arc<AtomicBool>,
}

/// What a child reads.
#[derive(Debug, Clone, Copy)]
pub enum DecoderInput<'a> {
    /// A digest, on standard input.
    Excerpt(&'a Bytes),
    /// The source, through the loopback.
    Proxy(&'a SourceProxy, Container),
}

impl<'a> DecoderInput<'a> {
    /// What a child is told to read.
    pub fn ffmpeg_input(self) -> Input<'a> {
        match self {
            Self::Excerpt(_) => Input::Excerpt,
            Self::Proxy(proxy, container) => Input::Proxy(container, proxy.url()),
        }
    }

    fn stdin(self) -> Option<Bytes> {
        match self {
            Self::Excerpt(bytes) => Some(bytes.clone()),
            Self::Proxy(..) => None,
        }
    }

    fn proxy(self) -> Option<&'a SourceProxy> {
        match self {
            Self::Excerpt(_) => None,
            Self::Proxy(proxy, _) => Some(proxy),
        }
    }

    fn wait_time(self) -> Duration {
        self.proxy().map_or(Duration::ZERO, |relay| relay.stats().wait_time)
    }
}

impl Decoder {
    /// The clocks of work that begins now and has to be over at `invocation`.
    pub fn new(tools: &FfmpegTools, time_budget: &TimeBudget, invocation: Instant) -> Self {
        let TimeBudget { child, best_effort, job } = *time_budget;
        let deadlines = Deadlines { invocation, budget: Instant::now() + job, child, best_effort };
        Self { tools: tools.clone(), deadlines, has_reported_errors: Arc::default() }
    }

    /// Whether this frame is only what a decoder puts in the place of pixels that it has not got. A film may be as gray: it
    /// takes an error to tell.
    pub fn is_concealed(&self, frame: &[u8]) -> bool {
        self.has_reported_errors.load(Ordering::Relaxed) && score::is_concealment(frame)
    }

    /// Asks ffprobe what there is to be seen.
    pub async fn probe(&self, input: DecoderInput<'_>) -> Result<MediaInfo, JobError> {
        let arguments = ffmpeg_args::probe(input.ffmpeg_input());
        let limits = (MAX_REPORT_BYTES, Priority::Required);
        let (result, context) =
            self.run(&self.tools.ffprobe, &arguments, Some(input), OutputMode::Buffered, limits).await;
        exit_status::check_source(context.source_error.clone())?;
        match result {
            // A size that no picture can have is reported as none at all, and complained about.
            Ok(output) => probe::parse(&output.stdout)
                .map_err(|code| JobError::Rejected(exit_status::refine_code(code, &output.stderr_tail))),
            // A file that is cut off in the middle may still have told what it holds, and a frame of it may do.
            Err(ProcessError::Failed { stdout, .. }) if probe::parse(&stdout).is_ok() => {
                probe::parse(&stdout).map_err(JobError::Rejected)
            }
            Err(error) => Err(exit_status::classify_exit(&error, context, Code::Truncated)),
        }
    }

    /// What ffprobe says to this.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub async fn run_ffprobe(
        &self,
        input: DecoderInput<'_>,
        arguments: &[String],
        priority: Priority,
    ) -> Result<Bytes, JobError> {
        let limits = (MAX_REPORT_BYTES, priority);
        let (result, context) =
            self.run(&self.tools.ffprobe, arguments, Some(input), OutputMode::Buffered, limits).await;
        exit_status::check_source(context.source_error.clone())?;
        match result {
            Ok(output) => Ok(output.stdout),
            Err(error) => Err(exit_status::classify_exit(&error, context, Code::Truncated)),
        }
    }

    /// Whether this ffmpeg can map tones; asked only for a source that needs it.
    pub async fn can_tone_map(&self, info: &MediaInfo) -> bool {
        if info.transfer == ColorTransfer::Sdr {
            return false;
        }
        let limits = (MAX_REPORT_BYTES, Priority::Required);
        let (result, _) = self
            .run(&self.tools.ffmpeg, &ffmpeg_args::list_filters(), None, OutputMode::Buffered, limits)
            .await;
        result.is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout);
            [" zscale ", " tonemap "].iter().all(|filter| text.contains(filter))
        })
    }

    /// The worth of one pass over all of a source that begins now and can be done without.
    pub fn full_scan(&self) -> Priority {
        Priority::BestEffort(Instant::now() + FULL_SCAN_FACTOR * self.deadlines.best_effort)
    }

    /// The worth of looks that a step begins now and can do without.
    pub fn best_effort(&self) -> Priority {
        Priority::BestEffort(Instant::now() + self.deadlines.best_effort)
    }

    /// Decodes raw `rgb24` frames of this shape, and hands each to `sender` as it comes. There may be none:
    /// an exit code proves nothing, what came out is looked at. Returns how many there were.
    ///
    /// # Errors
    /// A refusal is about this look: another moment of the same source may be decoded yet, see
    /// [`exit_status::catch_rejection`].
    pub async fn decode(
        &self,
        input: DecoderInput<'_>,
        arguments: &[String],
        format: FrameFormat,
        priority: Priority,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<u32, JobError> {
        let bytes = format.frame_bytes();
        let (raw_sender, mut raw_frames) = mpsc::channel(1);
        let output = OutputMode::Chunks(bytes, raw_sender);
        let max = bytes * format.count as usize;
        let forward = async {
            let mut count = 0;
            while let Some(frame) = raw_frames.recv().await {
                let Ok(frame) = format.to_rgb(frame).await else { break };
                // Whoever is gone has seen enough.
                if sender.send(frame).await.is_err() {
                    break;
                }
                count += 1;
            }
            drop(sender);
            count
        };
        let run = self.run(&self.tools.ffmpeg, arguments, Some(input), output, (max, priority));
        let ((result, context), count) = tokio::join!(run, forward);
        // What broke a read also ends a stream early, as if it were all there is.
        exit_status::check_source(context.source_error.clone())?;
        if let Ok(ProcessOutput { stderr_tail: tail, .. }) | Err(ProcessError::Failed { tail, .. }) = &result
            && !tail.trim().is_empty()
        {
            self.has_reported_errors.store(true, Ordering::Relaxed);
        }
        match result {
            Ok(process_output)
                if count == 0 && exit_status::is_out_of_memory(&process_output.stderr_tail) =>
            {
                Err(JobError::Rejected(Code::TooMuchMemory))
            }
            Ok(_) => Ok(count),
            Err(ProcessError::Failed { .. }) if count > 0 => Ok(count),
            Err(ProcessError::TimedOut { .. }) if count > 0 && !context.job_deadline => Ok(count),
            // Its complaints about a codec are about other streams: this one's was looked at before.
            Err(ProcessError::Failed { tail, .. }) => {
                Err(JobError::Rejected(exit_status::refine_code(Code::Truncated, &tail)))
            }
            Err(error) => Err(exit_status::classify_exit(&error, context, Code::Truncated)),
        }
    }

    /// As [`Decoder::decode`], with all frames at once.
    pub async fn decode_frames(
        &self,
        input: DecoderInput<'_>,
        arguments: &[String],
        format: FrameFormat,
        priority: Priority,
    ) -> Result<Vec<Bytes>, JobError> {
        let (sender, mut receiver) = mpsc::channel(1);
        let collect = async {
            let mut list = Vec::new();
            while let Some(frame) = receiver.recv().await {
                list.push(frame);
            }
            list
        };
        let (count, list) = tokio::join!(self.decode(input, arguments, format, priority, sender), collect);
        count.map(|_| list)
    }

    async fn run(
        &self,
        program: &std::path::Path,
        arguments: &[String],
        input: Option<DecoderInput<'_>>,
        output: OutputMode,
        (max_stdout, priority): (usize, Priority),
    ) -> (Result<ProcessOutput, ProcessError>, ExitContext) {
        let started = Instant::now();
        let proxy = input.and_then(DecoderInput::proxy);
        let waited_before = input.map_or(Duration::ZERO, DecoderInput::wait_time);
        let child_deadline = (started + self.deadlines.child).min(self.deadlines.budget);
        let own = match priority {
            Priority::Required => child_deadline,
            Priority::BestEffort(until) => child_deadline.min(until),
        };
        let memory_bytes = (self.tools.memory_bytes / MEMORY_SHARES).max(MIN_MEMORY_BYTES);
        let limits = ProcessLimits { deadline: own.min(self.deadlines.invocation), max_stdout, memory_bytes };
        let secret = proxy.map_or("", SourceProxy::secret_path);
        let stdin = input.and_then(DecoderInput::stdin);
        let result = process::run(program, arguments, stdin, output, limits, secret).await;
        let context = ExitContext {
            source_error: proxy.and_then(SourceProxy::first_error),
            job_deadline: self.deadlines.invocation < own,
            best_effort: matches!(priority, Priority::BestEffort(until) if until <= own),
            elapsed: started.elapsed(),
            wait_time: input.map_or(Duration::ZERO, DecoderInput::wait_time).saturating_sub(waited_before),
        };
        if let Err(error) = &result {
            tracing::debug!(%error, "a child ended badly");
        }
        (result, context)
    }
}
