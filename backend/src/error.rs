//! Decides how a job can fail: for good with a code for people, or in a way that may pass.

use glimpse_contract::Code;
use thiserror::Error;

use crate::store::StoreError;

/// Why a job made no pictures, by what happens next.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JobError {
    /// The file is refused for good: a manifest says so, and the queue hears of a success.
    #[error("refused: {}", .0.as_str())]
    Rejected(Code),
    /// The decoder died of a signal: refused for good, and this process must not go on (THREATS F12).
    #[error("the decoder crashed: {0}")]
    Crashed(String),
    /// The source is not the object of the event any more; the event of the new one does the work.
    #[error("the source was replaced")]
    Superseded,
    /// It may work the next time: the queue hears of a failure.
    #[error("{}: {why}", .code.as_str())]
    Transient {
        /// What a client is told after the last try.
        code: Code,
        /// For the log.
        why: String,
    },
}

impl JobError {
    /// A fault of ours that may pass.
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`, which hands over the error")]
    pub fn internal(why: impl ToString) -> Self {
        Self::Transient { code: Code::Internal, why: why.to_string() }
    }

    /// A fault of the storage that may pass.
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`, which hands over the error")]
    pub fn upstream(why: impl ToString) -> Self {
        Self::Transient { code: Code::Upstream, why: why.to_string() }
    }

    /// What a failed call of the storage means for a job that cannot do without it.
    pub fn storage(error: StoreError) -> Self {
        match error {
            StoreError::Denied(why) => Self::Transient { code: Code::NoAccess, why },
            error => Self::upstream(error),
        }
    }

    /// The problem's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Rejected(code) | Self::Transient { code, .. } => *code,
            Self::Crashed(_) => Code::DecoderCrash,
            Self::Superseded => Code::Superseded,
        }
    }
}
