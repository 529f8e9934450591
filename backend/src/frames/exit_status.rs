//! Maps the failure of a child process to a job error. Storage errors come first, then deadlines, then the child's own
//! exit status.

use std::time::Duration;

use glimpse_contract::Code;

use crate::error::JobError;
use crate::frames::process::ProcessError;
use crate::source::proxy::SourceError;

/// Observations made while a child worked on a source.
#[derive(Debug, Clone, Default)]
pub struct ExitContext {
    /// The first error of the storage.
    pub source_error: Option<SourceError>,
    /// Whether the child was stopped because the deadline of the whole job passed.
    pub job_deadline: bool,
    /// Whether the child's deadline was that of best-effort work.
    pub best_effort: bool,
    /// How long the child ran.
    pub elapsed: Duration,
    /// How long the child waited for the storage in that time, summed over its connections.
    pub wait_time: Duration,
}

/// Returns the storage's own error, if there was one. It outranks the decoder's error, which may only be its
/// consequence.
pub fn check_source(error: Option<SourceError>) -> Result<(), JobError> {
    match error {
        None => Ok(()),
        Some(SourceError::Deleted) => Err(JobError::Rejected(Code::SourceGone)),
        Some(SourceError::Replaced) => Err(JobError::Superseded),
        Some(SourceError::Unavailable(why)) => Err(JobError::upstream(why)),
    }
}

/// The job error for this failure of a child; `default_code` is the code if the child only exited with an error.
pub fn classify_exit(error: &ProcessError, context: ExitContext, default_code: Code) -> JobError {
    if let Err(storage) = check_source(context.source_error) {
        return storage;
    }
    match error {
        ProcessError::TimedOut { .. } if context.job_deadline => {
            JobError::internal("the invocation ended before the work was done")
        }
        // Best-effort deadlines are too short to blame the storage, and the job loses nothing required.
        ProcessError::TimedOut { .. } if !context.best_effort && context.wait_time > context.elapsed / 2 => {
            JobError::upstream("most of the time was spent waiting for S3")
        }
        ProcessError::TimedOut { .. } => JobError::Rejected(Code::TimedOut),
        // Only the kernel sends this signal here, when memory runs out. A retry would have the same memory.
        ProcessError::Crashed { signal: 9, .. } => JobError::Rejected(Code::TooMuchMemory),
        ProcessError::Crashed { tail, .. } if is_out_of_memory(tail) => {
            JobError::Rejected(Code::TooMuchMemory)
        }
        ProcessError::Crashed { .. } => JobError::Crashed(error.to_string()),
        ProcessError::Failed { tail, .. } if tail.contains("not on whitelist") => {
            JobError::Rejected(Code::UnsupportedCodec)
        }
        ProcessError::Failed { tail, .. } => JobError::Rejected(refine_code(default_code, tail)),
        ProcessError::TooMuchOutput => JobError::Rejected(default_code),
        ProcessError::NotFound | ProcessError::PermissionDenied | ProcessError::WrongFormat => {
            JobError::Transient { code: Code::NoDecoder, why: error.to_string() }
        }
        ProcessError::Io(_) => JobError::internal(error),
    }
}

/// The code that the child's messages indicate, or else `code`.
pub fn refine_code(code: Code, tail: &str) -> Code {
    if code != Code::Truncated {
        code
    } else if tail.contains("exceeds max_streams") {
        Code::TooManyStreams
    } else if is_too_large(tail) {
        Code::TooManyPixels
    } else if is_out_of_memory(tail) {
        Code::TooMuchMemory
    } else {
        code
    }
}

/// The result of one decode request: its frames, or the code with which the source is rejected if no other request
/// returns any.
///
/// # Errors
/// Errors that end a job regardless of its other requests.
pub fn catch_rejection<T>(result: Result<T, JobError>) -> Result<Result<T, Code>, JobError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(JobError::Rejected(code)) if code != Code::SourceGone => Ok(Err(code)),
        Err(error) => Err(error),
    }
}

/// The messages of libavutil for a size above `-max_pixels` and for impossible sizes.
fn is_too_large(tail: &str) -> bool {
    tail.contains("exceeds specified max pixel count")
        || tail.lines().any(|line| line.contains("Picture size ") && line.contains(" is invalid"))
}

/// The messages of the C library for a failed allocation, of a block or of a thread's stack.
pub fn is_out_of_memory(tail: &str) -> bool {
    ["Cannot allocate memory", "error code: -11 ("].iter().any(|words| tail.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_failure(tail: &str) -> ProcessError {
        ProcessError::Failed { status: 1, tail: tail.into(), stdout: bytes::Bytes::new() }
    }

    fn timeout_error() -> ProcessError {
        ProcessError::TimedOut { stdout: bytes::Bytes::new() }
    }

    fn crash_error(signal: i32) -> ProcessError {
        ProcessError::Crashed { signal, tail: String::new() }
    }

    #[test]
    fn classifies_exits_by_context() {
        let storage_bound = ExitContext {
            elapsed: Duration::from_mins(1),
            wait_time: Duration::from_secs(50),
            ..ExitContext::default()
        };
        let decoder_bound = ExitContext {
            elapsed: Duration::from_mins(1),
            wait_time: Duration::from_secs(5),
            ..ExitContext::default()
        };
        let best_effort = ExitContext { best_effort: true, ..storage_bound.clone() };
        let past_job_deadline = ExitContext { job_deadline: true, ..ExitContext::default() };
        let with_source_error =
            |source_error| ExitContext { source_error: Some(source_error), ..ExitContext::default() };
        for (error, context, code, permanent) in [
            (exit_failure("Invalid data"), ExitContext::default(), Code::Truncated, true),
            (
                exit_failure("Number of streams exceeds max_streams parameter"),
                ExitContext::default(),
                Code::TooManyStreams,
                true,
            ),
            (
                exit_failure("[gif] Picture size 65535x65535 is invalid"),
                ExitContext::default(),
                Code::TooManyPixels,
                true,
            ),
            (
                exit_failure("8192x8192 exceeds specified max pixel count 1"),
                ExitContext::default(),
                Code::TooManyPixels,
                true,
            ),
            (
                exit_failure("Codec (magicyuv) not on whitelist"),
                ExitContext::default(),
                Code::UnsupportedCodec,
                true,
            ),
            (exit_failure("Invalid data"), with_source_error(SourceError::Deleted), Code::SourceGone, true),
            (exit_failure("Invalid data"), with_source_error(SourceError::Replaced), Code::Superseded, true),
            (
                exit_failure("Invalid data"),
                with_source_error(SourceError::Unavailable("503".into())),
                Code::Upstream,
                false,
            ),
            (
                crash_error(11),
                with_source_error(SourceError::Unavailable("503".into())),
                Code::Upstream,
                false,
            ),
            (crash_error(11), ExitContext::default(), Code::DecoderCrash, true),
            (crash_error(6), ExitContext::default(), Code::DecoderCrash, true),
            (crash_error(9), ExitContext::default(), Code::TooMuchMemory, true),
            (
                exit_failure("Error: Cannot allocate memory"),
                ExitContext::default(),
                Code::TooMuchMemory,
                true,
            ),
            (
                exit_failure("Task finished with error code: -11 (Resource temporarily unavailable)"),
                ExitContext::default(),
                Code::TooMuchMemory,
                true,
            ),
            (timeout_error(), decoder_bound, Code::TimedOut, true),
            (timeout_error(), storage_bound, Code::Upstream, false),
            (timeout_error(), best_effort, Code::TimedOut, true),
            (timeout_error(), past_job_deadline, Code::Internal, false),
            (ProcessError::NotFound, ExitContext::default(), Code::NoDecoder, false),
            (ProcessError::PermissionDenied, ExitContext::default(), Code::NoDecoder, false),
            (ProcessError::WrongFormat, ExitContext::default(), Code::NoDecoder, false),
            (
                ProcessError::Io(std::io::ErrorKind::OutOfMemory.into()),
                ExitContext::default(),
                Code::Internal,
                false,
            ),
        ] {
            let text = format!("{error:?} {context:?}");
            let job_error = classify_exit(&error, context, Code::Truncated);
            assert_eq!(job_error.code(), code, "{text}");
            assert_eq!(!matches!(job_error, JobError::Transient { .. }), permanent, "{text}");
        }
    }
}
