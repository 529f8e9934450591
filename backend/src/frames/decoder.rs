//! Runs ffmpeg and ffprobe for one job, with a deadline for each process and a classification of its errors.

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

/// Maximum size of an ffprobe report: enough for a thousand streams.
const MAX_REPORT_BYTES: usize = 4 * 1024 * 1024;

/// The memory is divided into this many shares: two child processes work at the same time, and their frames are held
/// and encoded in this process.
const MEMORY_SHARES: u64 = 3;
/// Minimum memory limit of a child, in bytes. Below it no child can work: half of it is the stacks that its threads
/// reserve.
const MIN_MEMORY_BYTES: u64 = 192 * 1024 * 1024;

/// How much longer a pass over the whole source may take than the decoding of a few of its positions: 20 seconds.
const FULL_SCAN_FACTOR: u32 = 5;

/// Deadlines of a job.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// The end of the invocation, minus the time to report.
    pub invocation: Instant,
    /// The end of the time budget of one file.
    pub budget: Instant,
    /// The longest time that one child may run.
    pub child: Duration,
    /// The longest time that a step may spend on best-effort work.
    pub best_effort: Duration,
}

/// Priority of a decode request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Without it the job fails.
    Required,
    /// It may improve the outputs, if it ends by this time.
    BestEffort(Instant),
}

/// Limits of one child.
#[derive(Debug, Clone, Copy)]
struct RunLimits {
    /// The maximum size of its output, in bytes.
    max_stdout: usize,
    priority: Priority,
}

/// Format of the frames that a decoder returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameFormat {
    /// The size of each frame.
    pub size: Size,
    /// The maximum number of frames.
    pub count: u32,
    /// Whether the frames are in Dolby Vision's IPT color space and have to be converted to RGB here.
    ipt: bool,
}

impl FrameFormat {
    /// This many frames of this size.
    pub fn new(info: &MediaInfo, size: Size, count: u32) -> Self {
        Self { size, count, ipt: info.is_ipt() }
    }

    /// Bytes per frame, as the decoder writes it.
    fn frame_bytes(self) -> usize {
        if self.ipt {
            self.size.frame_bytes() / 3 * dolby_vision::PIXEL_BYTES
        } else {
            self.size.frame_bytes()
        }
    }

    /// Converts a frame to `rgb24`.
    async fn to_rgb(self, frame: Bytes) -> Result<Bytes, JobError> {
        if !self.ipt {
            return Ok(frame);
        }
        spawn_blocking(move || dolby_vision::to_rgb(&frame, self.size)).await.map_err(JobError::internal)
    }
}

/// Tools and deadlines of one job.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Paths and limits of the programs.
    pub tools: FfmpegTools,
    /// When to stop.
    pub deadlines: Deadlines,
    /// Whether a decoder of this job has reported an error.
    has_reported_errors: Arc<AtomicBool>,
}

/// The input of a child.
#[derive(Debug, Clone, Copy)]
pub enum DecoderInput<'a> {
    /// An excerpt, on standard input.
    Excerpt(&'a Bytes),
    /// The source, through the source proxy.
    Proxy(&'a SourceProxy, Container),
}

impl<'a> DecoderInput<'a> {
    /// The input as an argument of ffmpeg.
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
    /// Computes the deadlines of work that begins now and must end at `invocation`.
    pub fn new(tools: &FfmpegTools, time_budget: &TimeBudget, invocation: Instant) -> Self {
        let TimeBudget { child, best_effort, job } = *time_budget;
        let deadlines = Deadlines { invocation, budget: Instant::now() + job, child, best_effort };
        Self { tools: tools.clone(), deadlines, has_reported_errors: Arc::default() }
    }

    /// Whether a frame consists only of the gray with which a decoder conceals missing pixels. Since a video can
    /// contain such a gray frame, the decoder must also have reported an error.
    pub fn is_concealed(&self, frame: &[u8]) -> bool {
        self.has_reported_errors.load(Ordering::Relaxed) && score::is_concealment(frame)
    }

    /// Probes the streams of the input with ffprobe.
    pub async fn probe(&self, input: DecoderInput<'_>) -> Result<MediaInfo, JobError> {
        self.probe_with(input, ffmpeg_args::probe(input.ffmpeg_input())).await
    }

    /// Like [`Decoder::probe`], for an input whose headers are far from its beginning.
    pub async fn probe_far(&self, input: DecoderInput<'_>) -> Result<MediaInfo, JobError> {
        self.probe_with(input, ffmpeg_args::probe_far(input.ffmpeg_input())).await
    }

    async fn probe_with(
        &self,
        input: DecoderInput<'_>,
        arguments: Vec<String>,
    ) -> Result<MediaInfo, JobError> {
        let limits = RunLimits { max_stdout: MAX_REPORT_BYTES, priority: Priority::Required };
        let (result, context) =
            self.run(&self.tools.ffprobe, &arguments, Some(input), OutputMode::Buffered, limits).await;
        exit_status::check_source(context.source_error.clone())?;
        match result {
            // ffprobe reports an impossible frame size as no size at all, and logs a message.
            Ok(output) => probe::parse(&output.stdout)
                .map_err(|code| JobError::Rejected(exit_status::refine_code(code, &output.stderr_tail))),
            // A truncated file may still have reported its streams, and one of its frames may suffice.
            Err(ProcessError::Failed { stdout, .. }) if probe::parse(&stdout).is_ok() => {
                probe::parse(&stdout).map_err(JobError::Rejected)
            }
            Err(error) => Err(exit_status::classify_exit(&error, context, Code::Truncated)),
        }
    }

    /// Runs ffprobe with these arguments and returns its report.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub async fn run_ffprobe(
        &self,
        input: DecoderInput<'_>,
        arguments: &[String],
        priority: Priority,
    ) -> Result<Bytes, JobError> {
        let limits = RunLimits { max_stdout: MAX_REPORT_BYTES, priority };
        let (result, context) =
            self.run(&self.tools.ffprobe, arguments, Some(input), OutputMode::Buffered, limits).await;
        exit_status::check_source(context.source_error.clone())?;
        match result {
            Ok(output) => Ok(output.stdout),
            Err(error) => Err(exit_status::classify_exit(&error, context, Code::Truncated)),
        }
    }

    /// Whether this ffmpeg supports tone mapping. Checked only for sources that need it.
    pub async fn can_tone_map(&self, info: &MediaInfo) -> bool {
        if info.transfer == ColorTransfer::Sdr {
            return false;
        }
        let limits = RunLimits { max_stdout: MAX_REPORT_BYTES, priority: Priority::Required };
        let (result, _) = self
            .run(&self.tools.ffmpeg, &ffmpeg_args::list_filters(), None, OutputMode::Buffered, limits)
            .await;
        result.is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout);
            [" zscale ", " tonemap "].iter().all(|filter| text.contains(filter))
        })
    }

    /// The priority of a best-effort pass over the whole source that begins now.
    pub fn full_scan(&self) -> Priority {
        Priority::BestEffort(Instant::now() + FULL_SCAN_FACTOR * self.deadlines.best_effort)
    }

    /// The priority of best-effort work that begins now.
    pub fn best_effort(&self) -> Priority {
        Priority::BestEffort(Instant::now() + self.deadlines.best_effort)
    }

    /// Decodes raw `rgb24` frames in this format, sends each to `sender` as it arrives, and returns their number. There
    /// may be none: an exit status of zero proves nothing, so the output itself is checked.
    ///
    /// # Errors
    /// A rejection applies only to this request: another position of the same source may still be decodable, see
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
        let limits = RunLimits { max_stdout: bytes * format.count as usize, priority };
        let forward = async {
            let mut count = 0;
            while let Some(frame) = raw_frames.recv().await {
                let Ok(frame) = format.to_rgb(frame).await else { break };
                // The receiver is gone: it needs no more frames.
                if sender.send(frame).await.is_err() {
                    break;
                }
                count += 1;
            }
            drop(sender);
            count
        };
        let run = self.run(&self.tools.ffmpeg, arguments, Some(input), output, limits);
        let ((result, context), count) = tokio::join!(run, forward);
        // A read error also ends a stream early, as if the source ended there.
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
            // Messages about a codec concern other streams: the codec of this one was checked before.
            Err(ProcessError::Failed { tail, .. }) => {
                Err(JobError::Rejected(exit_status::refine_code(Code::Truncated, &tail)))
            }
            Err(error) => Err(exit_status::classify_exit(&error, context, Code::Truncated)),
        }
    }

    /// Like [`Decoder::decode`], but returns all frames at once.
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
        RunLimits { max_stdout, priority }: RunLimits,
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
            tracing::debug!(%error, "child process failed");
        }
        (result, context)
    }
}
