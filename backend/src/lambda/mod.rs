//! Decides how a program of ours lives on the Lambda Runtime API: its log, its clock, and when it gives itself up.

pub mod metrics;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use lambda_runtime::tower::util::MapResultLayer;
use lambda_runtime::{Diagnostic, Error, LambdaEvent, Runtime, service_fn};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::JobError;

/// How one invocation ends.
#[derive(Debug)]
pub struct InvocationResult {
    /// The response, or why it is to be tried again.
    pub result: Result<Value, JobError>,
    /// Whether a decoder crashed: the process must end once the answer is given (THREATS F12).
    pub must_restart: bool,
}

/// Logs lines of JSON to standard error; `RUST_LOG` says how much, `info` by default. Metrics go to standard output, if
/// `METRICS_NAMESPACE` says under which name.
pub fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    metrics::init(std::env::var("METRICS_NAMESPACE").ok(), now_ms);
}

/// The clock: Unix milliseconds.
pub fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Fresh random bits.
///
/// # Panics
/// The system has none.
pub fn random() -> [u8; 16] {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system has randomness");
    bits
}

/// Answers invocations by `handler` until a decoder has crashed in this environment. Each is given the time until which
/// it may work: its own deadline but for `margin`, which is left for the answer (THREATS E11).
///
/// # Errors
/// The Runtime API is gone, or the environment is given up.
pub async fn run<F, W>(margin: Duration, handler: F) -> anyhow::Result<()>
where
    F: Fn(LambdaEvent<Value>, Instant) -> W,
    W: Future<Output = InvocationResult>,
{
    let (restart_requested, response_sent) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let restart = Arc::clone(&restart_requested);
    let service = service_fn(move |event: LambdaEvent<Value>| {
        let left = Duration::from_millis(event.context.deadline.saturating_sub(now_ms()));
        let work = handler(event, Instant::now() + left.saturating_sub(margin));
        let restart = Arc::clone(&restart);
        async move {
            let outcome = work.await;
            if outcome.must_restart {
                restart.notify_one();
            }
            outcome.result.map_err(|error| Diagnostic {
                error_type: error.code().as_str().to_owned(),
                error_message: error.to_string(),
            })
        }
    });
    // A layer sees an invocation end after its answer was sent: only then may a tainted process go.
    let (restart, sent) = (restart_requested, Arc::clone(&response_sent));
    let runtime = Runtime::new(service).layer(MapResultLayer::new(move |result: Result<(), Error>| {
        if restart.notified().now_or_never().is_some() {
            sent.notify_one();
        }
        result
    }));
    tokio::select! {
        result = runtime.run() => result.map_err(|error| anyhow::anyhow!(error)),
        () = response_sent.notified() => anyhow::bail!("a decoder crashed in this environment: it is given up"),
    }
}
