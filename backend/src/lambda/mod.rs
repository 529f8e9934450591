//! Adapter to the Lambda Runtime API: logging, clock, deadlines, and the exit after a decoder crash.

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

/// The result of one invocation.
#[derive(Debug)]
pub struct Invocation<T = Value> {
    /// The response, or the error with which the invocation is retried.
    pub result: Result<T, JobError>,
    /// Whether a decoder crashed: the process must exit once the response has been sent (threat F12).
    pub must_restart: bool,
}

/// Configures logging as JSON lines on standard error, with the level of `RUST_LOG`, `info` by default. Metrics are
/// written to standard output, under the namespace of `METRICS_NAMESPACE` if it is set.
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

/// Random bits from the system.
///
/// # Panics
/// The system has no source of randomness.
pub fn random() -> [u8; 16] {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system has a source of randomness");
    bits
}

/// Handles invocations with `handler` until a decoder has crashed in this environment. Each invocation receives the
/// time until which it may work: its own deadline minus `margin`, which is reserved for the response (threat E11).
///
/// # Errors
/// The Runtime API is unavailable, or a decoder crashed.
pub async fn run<F, W>(margin: Duration, handler: F) -> anyhow::Result<()>
where
    F: Fn(LambdaEvent<Value>, Instant) -> W,
    W: Future<Output = Invocation>,
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
    // A layer sees the end of an invocation after its response was sent: only then may a compromised process exit.
    let (restart, sent) = (restart_requested, Arc::clone(&response_sent));
    let runtime = Runtime::new(service).layer(MapResultLayer::new(move |result: Result<(), Error>| {
        if restart.notified().now_or_never().is_some() {
            sent.notify_one();
        }
        result
    }));
    tokio::select! {
        result = runtime.run() => result.map_err(|error| anyhow::anyhow!(error)),
        () = response_sent.notified() => anyhow::bail!("a decoder crashed; the environment is discarded"),
    }
}
