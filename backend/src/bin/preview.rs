//! The Lambda that makes the default pictures of an upload. Wiring only: log, configuration, clients, loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::config::Config;
use glimpse_backend::frames::time_budget::Patience;
use glimpse_backend::lambda::{self, Ending};
use glimpse_backend::preview::handler::invoke;
use glimpse_backend::preview::service::Workshop;
use glimpse_backend::store::s3::S3;

/// What is left of an invocation's time for the answer.
const MARGIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::log();
    let config = Config::from_lookup(|name| std::env::var(name).ok()).context("cannot start")?;
    let workshop = Arc::new(Workshop {
        store: Arc::new(S3::new(&config.place)),
        tools: config.tools.clone(),
        now_ms: lambda::now_ms,
        random: lambda::random,
        max_receives: config.max_receives,
        patience: Patience::default(),
    });
    let bucket = Arc::new(config.place.bucket);
    lambda::serve(MARGIN, move |event, deadline| {
        let (workshop, bucket) = (Arc::clone(&workshop), Arc::clone(&bucket));
        async move {
            let answer = Box::pin(invoke(&workshop, &bucket, &event.payload, deadline)).await;
            Ending { result: answer.result, tainted: answer.tainted }
        }
    })
    .await
}
