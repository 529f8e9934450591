//! Errors of a job: permanent ones with a problem code, and transient ones.

use glimpse_contract::Code;
use thiserror::Error;

use crate::store::StoreError;

/// Why a job produced no outputs. Each variant leads to a different reaction of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JobError {
    /// The file is rejected permanently: a manifest records it, and the message is acknowledged.
    #[error("rejected: {}", .0.as_str())]
    Rejected(Code),
    /// The decoder was killed by a signal. The file is rejected permanently, and this process must exit (threat F12).
    #[error("the decoder crashed: {0}")]
    Crashed(String),
    /// The source is no longer the object of the event. The event of the new object triggers the work.
    #[error("the source was replaced")]
    Superseded,
    /// A retry may succeed: the message is returned to the queue.
    #[error("{}: {why}", .code.as_str())]
    Transient {
        /// The problem code that clients receive after the last attempt.
        code: Code,
        /// The cause, for the log.
        why: String,
    },
}

impl JobError {
    /// A transient internal error.
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`, which passes the error by value")]
    pub fn internal(why: impl ToString) -> Self {
        Self::Transient { code: Code::Internal, why: why.to_string() }
    }

    /// A transient error of the storage.
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`, which passes the error by value")]
    pub fn upstream(why: impl ToString) -> Self {
        Self::Transient { code: Code::Upstream, why: why.to_string() }
    }

    /// The error of a job that cannot continue without a failed storage call.
    pub fn storage(error: StoreError) -> Self {
        match error {
            StoreError::Denied(why) => Self::Transient { code: Code::NoAccess, why },
            error => Self::upstream(error),
        }
    }

    /// The problem code.
    pub fn code(&self) -> Code {
        match self {
            Self::Rejected(code) | Self::Transient { code, .. } => *code,
            Self::Crashed(_) => Code::DecoderCrash,
            Self::Superseded => Code::Superseded,
        }
    }
}
