//! Decides what a child's bad end means for a job, by what was seen: the storage first, then clocks, then the child.

use std::time::Duration;

use glimpse_contract::Code;

use crate::error::JobError;
use crate::frames::process::ProcessError;
use crate::source::proxy::SourceError;

/// What was seen while a child was at work on a source.
#[derive(Debug, Clone, Default)]
pub struct ExitContext {
    /// The first failure of the storage.
    pub source_error: Option<SourceError>,
    /// Whether the child's time ended because the whole job's did.
    pub job_deadline: bool,
    /// Whether the child's time was what something is worth that can be done without.
    pub best_effort: bool,
    /// How long the child was at work.
    pub elapsed: Duration,
    /// How long the storage let it wait in that time, summed over its connections.
    pub wait_time: Duration,
}

/// The storage's own failure, if there was one: it outranks whatever a decoder made of it.
pub fn check_source(error: Option<SourceError>) -> Result<(), JobError> {
    match error {
        None => Ok(()),
        Some(SourceError::Deleted) => Err(JobError::Rejected(Code::SourceGone)),
        Some(SourceError::Replaced) => Err(JobError::Superseded),
        Some(SourceError::Unavailable(why)) => Err(JobError::upstream(why)),
    }
}

/// What it means that a child ended like this; `refusal` is the code if it simply gave up on the file.
pub fn classify_exit(error: &ProcessError, context: ExitContext, default_code: Code) -> JobError {
    if let Err(storage) = check_source(context.source_error) {
        return storage;
    }
    match error {
        ProcessError::TimedOut { .. } if context.job_deadline => {
            JobError::internal("the invocation's time ended before the work did")
        }
        // So short a time proves nothing against the storage, and nothing is lost with it.
        ProcessError::TimedOut { .. } if !context.best_effort && context.wait_time > context.elapsed / 2 => {
            JobError::upstream("most of the time was spent waiting for S3")
        }
        ProcessError::TimedOut { .. } => JobError::Rejected(Code::TimedOut),
        // Nobody but the kernel, short of memory, sends this one, and would again: memory is the same at every try.
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

/// The code that a child's complaints give, or else `code`.
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

/// What one look at a source brought: its frames, or the code with which it would be refused if no other look brings
/// any.
///
/// # Errors
/// Everything that ends a job whatever its other looks bring.
pub fn catch_rejection<T>(result: Result<T, JobError>) -> Result<Result<T, Code>, JobError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(JobError::Rejected(code)) if code != Code::SourceGone => Ok(Err(code)),
        Err(error) => Err(error),
    }
}

/// What libavutil says about a size that is over `-max_pixels`, or one that no picture can have.
fn is_too_large(tail: &str) -> bool {
    tail.contains("exceeds specified max pixel count")
        || tail.lines().any(|line| line.contains("Picture size ") && line.contains(" is invalid"))
}

/// What C's library says of an allocation that failed, of a block or of a thread's stack.
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
        let with_source_error = |seen| ExitContext { source_error: Some(seen), ..ExitContext::default() };
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
