//! The Lambda that makes the default pictures of an upload. Wiring only: log, configuration, clients, loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use glimpse_backend::config::Config;
use glimpse_backend::invoke::invoke;
use glimpse_backend::job::{Patience, Workshop};
use glimpse_backend::store::s3::S3;
use jiff::Timestamp;
use lambda_runtime::tower::util::MapResultLayer;
use lambda_runtime::{Diagnostic, Error, LambdaEvent, Runtime, service_fn};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What is left of an invocation's time for the answer (THREATS E11).
const MARGIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let config = Config::from_lookup(|name| std::env::var(name).ok()).context("cannot start")?;
    let workshop = Arc::new(Workshop {
        store: Arc::new(S3::new(&config)),
        tools: config.tools.clone(),
        now_ms,
        random,
        max_receives: config.max_receives,
        patience: Patience::default(),
    });
    let (tainted, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (taint, bucket) = (Arc::clone(&tainted), Arc::new(config.bucket));
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let (workshop, taint, bucket) = (Arc::clone(&workshop), Arc::clone(&taint), Arc::clone(&bucket));
        async move {
            let left = Duration::from_millis(event.context.deadline.saturating_sub(now_ms()));
            let deadline = Instant::now() + left.saturating_sub(MARGIN);
            let answer = invoke(&workshop, &bucket, &event.payload, deadline).await;
            if answer.tainted {
                taint.notify_one();
            }
            answer.result.map_err(|error| Diagnostic {
                error_type: error.code().as_str().to_owned(),
                error_message: error.to_string(),
            })
        }
    });
    // A layer sees an invocation end after its answer was sent: only then may a tainted process go.
    let (mark, end) = (tainted, Arc::clone(&ended));
    let runtime = Runtime::new(handler).layer(MapResultLayer::new(move |result: Result<(), Error>| {
        if mark.notified().now_or_never().is_some() {
            end.notify_one();
        }
        result
    }));
    tokio::select! {
        result = runtime.run() => result.map_err(|error| anyhow::anyhow!(error)),
        () = ended.notified() => anyhow::bail!("a decoder crashed in this environment: it is given up"),
    }
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn random() -> [u8; 16] {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system has randomness");
    bits
}
