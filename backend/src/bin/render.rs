//! The Lambda that makes one picture on demand, behind a function URL. Wiring only: log, configuration, clients, loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use glimpse_backend::camera::Rental;
use glimpse_backend::config::Config;
use glimpse_backend::job::Patience;
use glimpse_backend::render::Darkroom;
use glimpse_backend::store::s3::S3;
use jiff::Timestamp;
use lambda_runtime::tower::util::MapResultLayer;
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What is left of an invocation's time for the answer (THREATS E11): somebody waits, and nothing has to be put away.
const MARGIN: Duration = Duration::from_secs(2);

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
    let store = Arc::new(S3::new(&config));
    let cameras = Rental {
        store: Arc::clone(&store),
        tools: config.tools.clone(),
        random,
        patience: Patience::default(),
    };
    let room = Arc::new(Darkroom { store, cameras, now_ms });
    let (tainted, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let taint = Arc::clone(&tainted);
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let (room, taint) = (Arc::clone(&room), Arc::clone(&taint));
        async move {
            let left = Duration::from_millis(event.context.deadline.saturating_sub(now_ms()));
            let deadline = Instant::now() + left.saturating_sub(MARGIN);
            let answer = Box::pin(room.answer(&event.payload, &event.context.request_id, deadline)).await;
            if answer.tainted {
                taint.notify_one();
            }
            Ok::<_, Error>(answer.response)
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
