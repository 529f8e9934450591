//! The Lambda that does one step of a workflow; which one, its environment says. Wiring only: log, configuration, clients,
//! loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::frames::time_budget::Patience;
use glimpse_backend::lambda::{self, Ending};
use glimpse_backend::preview::service::Workshop;
use glimpse_backend::store::s3::S3;
use glimpse_backend::workflow::config::StepConfig;
use glimpse_backend::workflow::handler::{Station, answer};
use glimpse_backend::workflow::publish::Publisher;

/// What is left of an invocation's time for the answer.
const MARGIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::log();
    let config = StepConfig::from_lookup(|name| std::env::var(name).ok()).context("cannot start")?;
    let store = Arc::new(S3::new(&config.place));
    let station = Arc::new(match config.tools {
        Some(tools) => Station::Look(
            config.step,
            Workshop {
                store,
                tools,
                now_ms: lambda::now_ms,
                random: lambda::random,
                // The state machine counts the tries.
                max_receives: u32::MAX,
                patience: Patience::default(),
            },
        ),
        None => Station::Commit(Publisher { store, now_ms: lambda::now_ms }),
    });
    let bucket = Arc::new(config.place.bucket);
    lambda::serve(MARGIN, move |event, deadline| {
        let (station, bucket) = (Arc::clone(&station), Arc::clone(&bucket));
        async move {
            let answer = Box::pin(answer(&station, &bucket, &event.payload, deadline)).await;
            Ending { result: answer.result, tainted: answer.tainted }
        }
    })
    .await
}
