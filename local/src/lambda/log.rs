//! The log of recent invocations: lines, result, duration and memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// The maximum number of logged invocations.
const MAX_INVOCATIONS: usize = 500;
/// The maximum number of lines per invocation; the first ones are dropped.
const MAX_LINES: usize = 1000;

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvocationOutcome {
    /// The invocation is still running.
    Running,
    /// The function returned a response.
    Success(Bytes),
    /// The function reported an error, or its environment exited or timed out.
    Failure {
        /// `errorType` of the response, Lambda's or the function's.
        error_type: String,
        /// The JSON that the caller receives.
        payload: Bytes,
    },
}

impl InvocationOutcome {
    /// Whether the function returned a response.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success(_))
    }
}

/// The log of one invocation.
#[derive(Debug, Clone)]
pub struct LoggedInvocation {
    /// The request id.
    pub request_id: String,
    /// The number of the environment that ran it; a reused environment keeps its number.
    pub environment: u64,
    /// The payload of the function.
    pub payload: Bytes,
    /// The result.
    pub outcome: InvocationOutcome,
    /// All lines: those of the function, and Lambda's START, END and REPORT.
    pub lines: Vec<String>,
    /// The time from the handover of the payload to the response.
    pub duration: Duration,
    /// The time from the start of the process to its first request for work; only for an environment's first
    /// invocation.
    pub init_duration: Option<Duration>,
    /// The peak memory of the function's process, in bytes, without that of its children.
    pub max_memory_bytes: Option<u64>,
}

/// The recent invocations. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct InvocationLog(Arc<Mutex<VecDeque<LoggedInvocation>>>);

impl InvocationLog {
    fn lock(&self) -> MutexGuard<'_, VecDeque<LoggedInvocation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, invocation: LoggedInvocation) {
        let mut invocations = self.lock();
        if invocations.len() == MAX_INVOCATIONS {
            invocations.pop_front();
        }
        invocations.push_back(invocation);
    }

    /// Adds a line and prints it.
    pub(crate) fn add_line(&self, request_id: Option<&str>, line: &str) {
        tracing::info!(target: "function", "{line}");
        let Some(request_id) = request_id else { return };
        self.update(request_id, |invocation| {
            if invocation.lines.len() == MAX_LINES {
                invocation.lines.remove(0);
            }
            invocation.lines.push(line.to_owned());
        });
    }

    pub(crate) fn update(&self, request_id: &str, change: impl FnOnce(&mut LoggedInvocation)) {
        let mut invocations = self.lock();
        if let Some(invocation) =
            invocations.iter_mut().rev().find(|invocation| invocation.request_id == request_id)
        {
            change(invocation);
        }
    }

    pub(crate) fn list(&self) -> Vec<LoggedInvocation> {
        self.lock().iter().cloned().collect()
    }
}

/// The last line of an invocation's log, as Lambda prints it.
pub(crate) fn report_line(invocation: &LoggedInvocation, memory_mb: u32) -> String {
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let billed = ms(invocation.duration + invocation.init_duration.unwrap_or_default()).ceil();
    let used = invocation.max_memory_bytes.unwrap_or(0).div_ceil(1024 * 1024);
    let init = invocation.init_duration.map(|init| format!("\tInit Duration: {:.2} ms", ms(init)));
    format!(
        "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {billed:.0} ms\t\
         Memory Size: {memory_mb} MB\tMax Memory Used: {used} MB{}",
        invocation.request_id,
        ms(invocation.duration),
        init.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(id: usize) -> LoggedInvocation {
        LoggedInvocation {
            request_id: id.to_string(),
            environment: 1,
            payload: Bytes::new(),
            outcome: InvocationOutcome::Running,
            lines: Vec::new(),
            duration: Duration::from_micros(12_340),
            init_duration: Some(Duration::from_micros(15_300)),
            max_memory_bytes: Some(30 << 20),
        }
    }

    #[test]
    fn report_line_matches_lambda() {
        assert_eq!(
            report_line(&invocation(7), 128),
            "REPORT RequestId: 7\tDuration: 12.34 ms\tBilled Duration: 28 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 30 MB\tInit Duration: 15.30 ms"
        );
    }

    #[test]
    fn log_is_bounded() {
        let log = InvocationLog::default();
        for id in 0..=MAX_INVOCATIONS {
            log.push(invocation(id));
        }
        let last = MAX_INVOCATIONS.to_string();
        for line in 0..=MAX_LINES {
            log.add_line(Some(&last), &line.to_string());
        }
        let all = log.list();
        assert_eq!((all.len(), all[0].request_id.as_str()), (MAX_INVOCATIONS, "1"));
        let lines = &all.last().unwrap().lines;
        assert_eq!((lines.len(), lines[0].as_str()), (MAX_LINES, "1"));
    }
}
