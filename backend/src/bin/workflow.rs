//! The Lambda of one workflow step, selected by an environment variable. Wiring only: logging, configuration, clients,
//! event loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::lambda;
use glimpse_backend::preview::service::PreviewService;
use glimpse_backend::store::s3::S3Store;
use glimpse_backend::workflow::config::StepConfig;
use glimpse_backend::workflow::handler::{StepHandler, handle};
use glimpse_backend::workflow::publish::Publisher;

/// Time reserved for sending the response.
const MARGIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::init_logging();
    let config = StepConfig::from_lookup(|name| std::env::var(name).ok()).context("cannot start")?;
    let store = Arc::new(S3Store::new(&config.s3));
    let handler = Arc::new(match config.tools {
        Some(tools) => StepHandler::Decode(
            config.step,
            PreviewService {
                store,
                tools,
                now_ms: lambda::now_ms,
                random: lambda::random,
                // The state machine counts the attempts.
                max_receives: u32::MAX,
                time_budget: TimeBudget::default(),
            },
        ),
        None => StepHandler::Publish(Publisher { store, now_ms: lambda::now_ms }),
    });
    let bucket = Arc::new(config.s3.bucket);
    lambda::run(MARGIN, move |event, deadline| {
        let (handler, bucket) = (Arc::clone(&handler), Arc::clone(&bucket));
        async move { Box::pin(handle(&handler, &bucket, &event.payload, deadline)).await }
    })
    .await
}
