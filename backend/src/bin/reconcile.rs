//! The Lambda that finds uploads whose event was missed. Wiring only: log, configuration, clients, loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::lambda::{self, Ending};
use glimpse_backend::reconcile::config::Config;
use glimpse_backend::reconcile::queue::Sqs;
use glimpse_backend::reconcile::service::{Patrol, Tally, Window};
use glimpse_backend::store::s3::S3;

/// What is left of an invocation's time for the answer.
const MARGIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::log();
    let config = Config::from_lookup(|name| std::env::var(name).ok()).context("cannot start")?;
    let store = S3::new(&config.place);
    let patrol = Arc::new(Patrol {
        uploads: store.clone(),
        store,
        queue: Sqs::new(&config),
        bucket: config.place.bucket,
        now_ms: lambda::now_ms,
    });
    lambda::serve(MARGIN, move |event, deadline| {
        let patrol = Arc::clone(&patrol);
        async move {
            let result = match Window::read(&event.payload) {
                Ok(window) => Box::pin(patrol.run(window, deadline)).await,
                Err(error) => Err(error),
            };
            Ending { result: result.map(Tally::logged), tainted: false }
        }
    })
    .await
}
