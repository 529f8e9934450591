//! The `render` Lambda: renders one on-demand image, behind a function URL. Wiring only: logging, configuration,
//! clients, event loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::config::{self, Config};
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::lambda;
use glimpse_backend::render::frame_source::SourceOpener;
use glimpse_backend::render::service::RenderService;
use glimpse_backend::store::s3::S3Store;

/// Time reserved for sending the response. It is short because the caller is waiting and no state has to be saved.
const MARGIN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::init_logging();
    let lookup = |name: &str| std::env::var(name).ok();
    let config = Config::from_lookup(lookup).context("cannot start")?;
    let tag = config::on_demand_tag(lookup).context("cannot start")?;
    let store = Arc::new(S3Store::new(&config.s3).with_on_demand_tag(tag));
    let time_budget = TimeBudget::default();
    let frame_sources =
        SourceOpener::new(Arc::clone(&store), config.tools.clone(), lambda::random, time_budget);
    let service = Arc::new(RenderService { store, frame_sources, now_ms: lambda::now_ms });
    lambda::run(MARGIN, move |event, deadline| {
        let service = Arc::clone(&service);
        async move { Box::pin(service.handle(&event.payload, &event.context.request_id, deadline)).await }
    })
    .await
}
