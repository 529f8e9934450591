//! The Lambda that makes one picture on demand, behind a function URL. Wiring only: log, configuration, clients, loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::config::{self, Config};
use glimpse_backend::frames::time_budget::Patience;
use glimpse_backend::lambda::{self, Ending};
use glimpse_backend::render::frame_source::Rental;
use glimpse_backend::render::service::Darkroom;
use glimpse_backend::store::s3::S3;

/// What is left of an invocation's time for the answer: somebody waits, and nothing has to be put away.
const MARGIN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::log();
    let lookup = |name: &str| std::env::var(name).ok();
    let config = Config::from_lookup(lookup).context("cannot start")?;
    let tag = config::on_demand_tag(lookup).context("cannot start")?;
    let store = Arc::new(S3::new(&config.place).with_on_demand_tag(tag));
    let cameras = Rental {
        store: Arc::clone(&store),
        tools: config.tools.clone(),
        random: lambda::random,
        patience: Patience::default(),
    };
    let room = Arc::new(Darkroom { store, cameras, now_ms: lambda::now_ms });
    lambda::serve(MARGIN, move |event, deadline| {
        let room = Arc::clone(&room);
        async move {
            let answer = Box::pin(room.answer(&event.payload, &event.context.request_id, deadline)).await;
            Ending { result: Ok(answer.response), tainted: answer.tainted }
        }
    })
    .await
}
