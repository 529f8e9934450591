//! Why a command failed, and its exit status.

use std::fmt;
use std::io;

use serde_json::{Value, json};

/// The exit status of the program. The numbers are part of the interface: docs/cli.md lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// The reader of the output has closed it: nothing is left to do.
    OutputClosed = 0,
    /// Anything that has no other number.
    Failed = 1,
    /// The command line is invalid.
    Usage = 2,
    /// There is no credential, or the deployment does not accept it.
    Unauthenticated = 3,
    /// The video or another resource does not exist.
    NotFound = 4,
    /// A video was rejected or could not be processed.
    Rejected = 5,
    /// The deployment or the storage did not respond, or reports too many requests or an error of its own.
    Unavailable = 6,
    /// Interrupted by Ctrl-C or a signal.
    Interrupted = 130,
}

/// Why a command failed. The message contains no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) status: ExitStatus,
    /// One sentence, or several.
    pub(crate) message: String,
    /// The deployment's problem code.
    pub(crate) code: Option<String>,
    /// The id of the request in the deployment's log.
    pub(crate) request_id: Option<String>,
}

/// The result of a step of a command.
pub(crate) type CommandResult<T> = Result<T, Failure>;

impl Failure {
    /// A failure with this exit status.
    pub(crate) fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code: None, request_id: None }
    }

    /// A failure without a special exit status.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Failed, message)
    }

    /// An invalid command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, message)
    }

    /// A file that cannot be read or written.
    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        Self::failed(format!("{what}: {error}"))
    }

    /// The same failure with `context` before its message.
    pub(crate) fn context(self, context: &str) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    /// The failure as a JSON document.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "code": self.code,
            "request_id": self.request_id,
            "exit_status": self.status as u8,
        } })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (&self.code, &self.request_id) {
            (Some(code), Some(id)) => write!(f, " ({code}, request {id})"),
            (Some(code), None) => write!(f, " ({code})"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_code_and_request() {
        let mut failure = Failure::new(ExitStatus::NotFound, "There is nothing at this URL.").context("a");
        assert_eq!(failure.to_string(), "a: There is nothing at this URL.");
        failure.code = Some("not_found".into());
        failure.request_id = Some("r1".into());
        assert_eq!(failure.to_string(), "a: There is nothing at this URL. (not_found, request r1)");
        assert_eq!(failure.to_json()["error"]["exit_status"], 4);
    }
}
