//! The `preview` Lambda: generates the default outputs of an upload. Wiring only: logging, configuration, clients,
//! event loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::config::Config;
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::lambda;
use glimpse_backend::preview::handler::handle;
use glimpse_backend::preview::service::PreviewService;
use glimpse_backend::store::s3::S3Store;
use glimpse_backend::workflow::backfill;

/// Time reserved for sending the response.
const MARGIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::init_logging();
    let config = Config::from_lookup(|name| std::env::var(name).ok()).context("cannot start")?;
    let service = Arc::new(PreviewService {
        store: Arc::new(S3Store::new(&config.s3)),
        tools: config.tools.clone(),
        now_ms: lambda::now_ms,
        random: lambda::random,
        max_receives: config.max_receives,
        time_budget: TimeBudget::default(),
    });
    let bucket = Arc::new(config.s3.bucket);
    lambda::run(MARGIN, move |event, deadline| {
        let (service, bucket) = (Arc::clone(&service), Arc::clone(&bucket));
        async move {
            if backfill::find_batch(&event.payload).is_some() {
                return Box::pin(backfill::handle(&service, &event.payload, deadline)).await;
            }
            Box::pin(handle(&service, &bucket, &event.payload, deadline)).await
        }
    })
    .await
}
