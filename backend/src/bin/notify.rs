//! The Lambda that tells others of a video's outcome: webhooks, and a topic for mail. Wiring only: log, configuration,
//! clients, loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::lambda::{self, Ending};
use glimpse_backend::notify::config::Config;
use glimpse_backend::notify::http::client::Poster;
use glimpse_backend::notify::service::Mailroom;

/// What is left of an invocation's time to hide what failed and to answer.
const MARGIN: Duration = Duration::from_secs(12);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::log();
    let poster = Poster::default();
    let config = Config::from_lookup(|name| std::env::var(name).ok(), lambda::now_ms, &poster);
    let Config { bucket, store, public_url, queue, endpoints, topic, reach } =
        config.context("cannot start")?;
    let room = Arc::new(Mailroom {
        store: Arc::new(store),
        bucket,
        public_url,
        queue: Arc::new(queue),
        endpoints,
        topic,
        poster,
        reach,
        now_ms: lambda::now_ms,
        random: lambda::random,
    });
    lambda::serve(MARGIN, move |event, deadline| {
        let room = Arc::clone(&room);
        async move {
            let result = Box::pin(room.answer(&event.payload, deadline)).await;
            Ending { result, tainted: false }
        }
    })
    .await
}
