//! Decides how one job's frames are decoded and pictures encoded: each child with its clock, judged by what was seen.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use glimpse_contract::{Code, Format};
use tokio::time::Instant;

use crate::config::Tools;
use crate::decode::arguments::{self, Encoding, Frames};
use crate::decode::process::{self, Limits, ProcessError};
use crate::demux::sniff::Container;
use crate::error::JobError;
use crate::outcome::{self, Evidence};
use crate::picture::check;
use crate::probe::{self, MediaInfo, Transfer};
use crate::relay::Relay;
use crate::size::Size;

/// The largest report of ffprobe: a thousand streams fit.
const MAX_REPORT_BYTES: usize = 4 * 1024 * 1024;
/// The largest picture: THREATS F14's 64 MiB.
const MAX_PICTURE_BYTES: usize = 64 * 1024 * 1024;

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

/// One job's tools, source and clocks.
#[derive(Debug)]
pub struct Studio<'a> {
    /// The programs.
    pub tools: &'a Tools,
    /// The source.
    pub relay: &'a Relay,
    /// Its container.
    pub container: Container,
    /// When to end.
    pub deadlines: Deadlines,
}

/// A picture and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The encoded bytes.
    pub bytes: Bytes,
    /// Its size.
    pub size: Size,
}

impl Studio<'_> {
    /// Asks ffprobe what the source holds.
    pub async fn probe(&self) -> Result<MediaInfo, JobError> {
        let arguments = arguments::probe(self.container, self.relay.url());
        let (result, evidence) =
            self.run(&self.tools.ffprobe, &arguments, None, MAX_REPORT_BYTES, Worth::Needed).await;
        outcome::of_storage(evidence.seen.clone())?;
        match result {
            // A size that no picture can have is reported as none at all, and complained about.
            Ok(finished) => probe::read(&finished.stdout)
                .map_err(|code| JobError::Refused(outcome::refined(code, &finished.tail))),
            // A file that is cut off in the middle may still have told what it holds, and a frame of it may do.
            Err(ProcessError::Failed { stdout, .. }) if probe::read(&stdout).is_ok() => {
                probe::read(&stdout).map_err(JobError::Refused)
            }
            Err(error) => Err(outcome::of_child(&error, evidence, Code::Truncated)),
        }
    }

    /// Whether this ffmpeg can map tones; asked only for a source that needs it.
    pub async fn can_map_tones(&self, info: &MediaInfo) -> bool {
        if info.transfer == Transfer::Sdr {
            return false;
        }
        let (result, _) = self
            .run(&self.tools.ffmpeg, &arguments::list_filters(), None, MAX_REPORT_BYTES, Worth::Needed)
            .await;
        result.is_ok_and(|finished| {
            let text = String::from_utf8_lossy(&finished.stdout);
            [" zscale ", " tonemap "].iter().all(|filter| text.contains(filter))
        })
    }

    /// The worth of looks that a step begins now and can do without.
    pub fn extra(&self) -> Worth {
        Worth::Extra(Instant::now() + self.deadlines.extra)
    }

    /// Decodes raw `rgb24` frames. There may be none: an exit code proves nothing, the output is looked at.
    ///
    /// # Errors
    /// A refusal is about this look: another moment of the same source may be decoded yet, see
    /// [`outcome::of_a_look`].
    pub async fn decode(
        &self,
        info: &MediaInfo,
        tone_map: bool,
        frames: &Frames,
        worth: Worth,
    ) -> Result<Vec<Bytes>, JobError> {
        let size = frames.size.frame_bytes();
        let arguments = arguments::decode(self.container, self.relay.url(), info, tone_map, frames);
        let max = size * frames.count as usize;
        let (result, evidence) = self.run(&self.tools.ffmpeg, &arguments, None, max, worth).await;
        // What broke a read also ends a stream early, as if it were all there is.
        outcome::of_storage(evidence.seen.clone())?;
        let mut raw = match result {
            Ok(finished) => finished.stdout,
            Err(ProcessError::Failed { stdout, .. }) if stdout.len() >= size => stdout,
            Err(ProcessError::TimedOut { stdout }) if stdout.len() >= size && !evidence.job_deadline => {
                stdout
            }
            // Its complaints about a codec are about other streams: this one's was looked at before.
            Err(ProcessError::Failed { tail, .. }) => {
                return Err(JobError::Refused(outcome::refined(Code::Truncated, &tail)));
            }
            Err(error) => return Err(outcome::of_child(&error, evidence, Code::Truncated)),
        };
        let mut list = Vec::with_capacity(frames.count as usize);
        while raw.len() >= size {
            list.push(raw.split_to(size));
        }
        Ok(list)
    }

    /// Encodes raw frames, and looks whether the result is a picture of that size.
    pub async fn encode(
        &self,
        encoding: Encoding,
        size: Size,
        fps: f64,
        frames: &[Bytes],
    ) -> Result<Picture, JobError> {
        let mut raw = BytesMut::with_capacity(size.frame_bytes() * frames.len());
        for frame in frames {
            raw.extend_from_slice(frame);
        }
        let arguments = arguments::encode(encoding, size, fps);
        let (result, _) = self
            .run(&self.tools.ffmpeg, &arguments, Some(raw.freeze()), MAX_PICTURE_BYTES, Worth::Needed)
            .await;
        // An encoder reads frames of our own making: whatever ails it is no fault of the file.
        let bytes = result.map_err(JobError::internal)?.stdout;
        let format = match encoding {
            Encoding::Jpeg => Format::Jpg,
            Encoding::Gif => Format::Gif,
            Encoding::Webp | Encoding::AnimatedWebp => Format::Webp,
        };
        match check::facts(format, &bytes) {
            Some(facts) if facts.size == size => Ok(Picture { bytes, size }),
            facts => {
                Err(JobError::internal(format!("{encoding:?} made {facts:?}, not a picture of {size:?}")))
            }
        }
    }

    async fn run(
        &self,
        program: &std::path::Path,
        arguments: &[String],
        stdin: Option<Bytes>,
        max_stdout: usize,
        worth: Worth,
    ) -> (Result<process::Finished, ProcessError>, Evidence) {
        let started = Instant::now();
        let waited = self.relay.counts().waited;
        let own = (started + self.deadlines.child).min(self.deadlines.budget);
        let own = match worth {
            Worth::Needed => own,
            Worth::Extra(until) => own.min(until),
        };
        let limits = Limits { deadline: own.min(self.deadlines.invocation), max_stdout };
        let result = process::run(program, arguments, stdin, limits, self.relay.secret_path()).await;
        let evidence = Evidence {
            seen: self.relay.seen(),
            job_deadline: self.deadlines.invocation < own,
            took: started.elapsed(),
            waited: self.relay.counts().waited.saturating_sub(waited),
        };
        if let Err(error) = &result {
            tracing::debug!(%error, "a child ended badly");
        }
        (result, evidence)
    }
}
