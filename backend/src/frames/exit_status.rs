//! Decides what a child's bad end means for a job, by what was seen: the storage first, then clocks, then the child.

use std::time::Duration;

use glimpse_contract::Code;

use crate::error::JobError;
use crate::frames::process::ProcessError;
use crate::source::proxy::Seen;

/// What was seen while a child was at work on a source.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The first failure of the storage.
    pub seen: Option<Seen>,
    /// Whether the child's time ended because the whole job's did.
    pub job_deadline: bool,
    /// Whether the child's time was what something is worth that can be done without.
    pub extra: bool,
    /// How long the child was at work.
    pub took: Duration,
    /// How long the storage let it wait in that time, summed over its connections.
    pub waited: Duration,
}

/// The storage's own failure, if there was one: it outranks whatever a decoder made of it.
pub fn of_storage(seen: Option<Seen>) -> Result<(), JobError> {
    match seen {
        None => Ok(()),
        Some(Seen::Gone) => Err(JobError::Refused(Code::SourceGone)),
        Some(Seen::Changed) => Err(JobError::Superseded),
        Some(Seen::Trouble(why)) => Err(JobError::upstream(why)),
    }
}

/// What it means that a child ended like this; `refusal` is the code if it simply gave up on the file.
pub fn of_child(error: &ProcessError, evidence: Evidence, refusal: Code) -> JobError {
    if let Err(storage) = of_storage(evidence.seen) {
        return storage;
    }
    match error {
        ProcessError::TimedOut { .. } if evidence.job_deadline => {
            JobError::internal("the invocation's time ended before the work did")
        }
        // So short a time proves nothing against the storage, and nothing is lost with it.
        ProcessError::TimedOut { .. } if !evidence.extra && evidence.waited > evidence.took / 2 => {
            JobError::upstream("most of the time was spent waiting for S3")
        }
        ProcessError::TimedOut { .. } => JobError::Refused(Code::TimedOut),
        // Nobody but the kernel, short of memory, sends this one, and would again: memory is the same at every try.
        ProcessError::Crashed { signal: 9, .. } => JobError::Refused(Code::TooMuchMemory),
        ProcessError::Crashed { tail, .. } if is_short_of_memory(tail) => {
            JobError::Refused(Code::TooMuchMemory)
        }
        ProcessError::Crashed { .. } => JobError::Crashed(error.to_string()),
        ProcessError::Failed { tail, .. } if tail.contains("not on whitelist") => {
            JobError::Refused(Code::UnsupportedCodec)
        }
        ProcessError::Failed { tail, .. } => JobError::Refused(refined(refusal, tail)),
        ProcessError::TooMuchOutput => JobError::Refused(refusal),
        ProcessError::NotFound | ProcessError::PermissionDenied | ProcessError::WrongFormat => {
            JobError::Transient { code: Code::NoDecoder, why: error.to_string() }
        }
        ProcessError::Io(_) => JobError::internal(error),
    }
}

/// The code that a child's complaints give, or else `code`.
pub fn refined(code: Code, tail: &str) -> Code {
    if code != Code::Truncated {
        code
    } else if tail.contains("exceeds max_streams") {
        Code::TooManyStreams
    } else if is_too_large(tail) {
        Code::TooManyPixels
    } else if is_short_of_memory(tail) {
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
pub fn of_a_look<T>(result: Result<T, JobError>) -> Result<Result<T, Code>, JobError> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(JobError::Refused(code)) if code != Code::SourceGone => Ok(Err(code)),
        Err(error) => Err(error),
    }
}

/// What libavutil says about a size that is over `-max_pixels`, or one that no picture can have.
fn is_too_large(tail: &str) -> bool {
    tail.contains("exceeds specified max pixel count")
        || tail.lines().any(|line| line.contains("Picture size ") && line.contains(" is invalid"))
}

/// What C's library says of an allocation that failed, of a block or of a thread's stack.
pub fn is_short_of_memory(tail: &str) -> bool {
    ["Cannot allocate memory", "error code: -11 ("].iter().any(|words| tail.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(tail: &str) -> ProcessError {
        ProcessError::Failed { status: 1, tail: tail.into(), stdout: bytes::Bytes::new() }
    }

    fn timed_out() -> ProcessError {
        ProcessError::TimedOut { stdout: bytes::Bytes::new() }
    }

    fn crashed(signal: i32) -> ProcessError {
        ProcessError::Crashed { signal, tail: String::new() }
    }

    #[test]
    fn what_was_seen_decides() {
        let slow =
            Evidence { took: Duration::from_mins(1), waited: Duration::from_secs(50), ..Evidence::default() };
        let busy =
            Evidence { took: Duration::from_mins(1), waited: Duration::from_secs(5), ..Evidence::default() };
        let hasty = Evidence { extra: true, ..slow.clone() };
        let late = Evidence { job_deadline: true, ..Evidence::default() };
        let seen = |seen| Evidence { seen: Some(seen), ..Evidence::default() };
        for (error, evidence, code, permanent) in [
            (failed("Invalid data"), Evidence::default(), Code::Truncated, true),
            (
                failed("Number of streams exceeds max_streams parameter"),
                Evidence::default(),
                Code::TooManyStreams,
                true,
            ),
            (
                failed("[gif] Picture size 65535x65535 is invalid"),
                Evidence::default(),
                Code::TooManyPixels,
                true,
            ),
            (
                failed("8192x8192 exceeds specified max pixel count 1"),
                Evidence::default(),
                Code::TooManyPixels,
                true,
            ),
            (failed("Codec (magicyuv) not on whitelist"), Evidence::default(), Code::UnsupportedCodec, true),
            (failed("Invalid data"), seen(Seen::Gone), Code::SourceGone, true),
            (failed("Invalid data"), seen(Seen::Changed), Code::Superseded, true),
            (failed("Invalid data"), seen(Seen::Trouble("503".into())), Code::Upstream, false),
            (crashed(11), seen(Seen::Trouble("503".into())), Code::Upstream, false),
            (crashed(11), Evidence::default(), Code::DecoderCrash, true),
            (crashed(6), Evidence::default(), Code::DecoderCrash, true),
            (crashed(9), Evidence::default(), Code::TooMuchMemory, true),
            (failed("Error: Cannot allocate memory"), Evidence::default(), Code::TooMuchMemory, true),
            (
                failed("Task finished with error code: -11 (Resource temporarily unavailable)"),
                Evidence::default(),
                Code::TooMuchMemory,
                true,
            ),
            (timed_out(), busy, Code::TimedOut, true),
            (timed_out(), slow, Code::Upstream, false),
            (timed_out(), hasty, Code::TimedOut, true),
            (timed_out(), late, Code::Internal, false),
            (ProcessError::NotFound, Evidence::default(), Code::NoDecoder, false),
            (ProcessError::PermissionDenied, Evidence::default(), Code::NoDecoder, false),
            (ProcessError::WrongFormat, Evidence::default(), Code::NoDecoder, false),
            (
                ProcessError::Io(std::io::ErrorKind::OutOfMemory.into()),
                Evidence::default(),
                Code::Internal,
                false,
            ),
        ] {
            let text = format!("{error:?} {evidence:?}");
            let outcome = of_child(&error, evidence, Code::Truncated);
            assert_eq!(outcome.code(), code, "{text}");
            assert_eq!(!matches!(outcome, JobError::Transient { .. }), permanent, "{text}");
        }
    }
}
