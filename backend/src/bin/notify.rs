//! The `notify` Lambda: sends webhooks and publishes to the SNS topic when a video's outcome is final. Wiring only:
//! logging, configuration, clients, event loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::lambda::{self, Invocation};
use glimpse_backend::notify::config::Config;
use glimpse_backend::notify::http::client::HttpClient;
use glimpse_backend::notify::service::Notifier;

/// Time reserved for changing the visibility of failed messages and for sending the response.
const MARGIN: Duration = Duration::from_secs(12);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::init_logging();
    let http_client = HttpClient::default();
    let config = Config::from_lookup(|name| std::env::var(name).ok(), lambda::now_ms, &http_client);
    let Config { bucket, store, public_url, queue, endpoints, topic, address_policy } =
        config.context("cannot start")?;
    let notifier = Arc::new(Notifier {
        store: Arc::new(store),
        bucket,
        public_url,
        queue: Arc::new(queue),
        endpoints,
        topic,
        http_client,
        address_policy,
        now_ms: lambda::now_ms,
        random: lambda::random,
    });
    lambda::run(MARGIN, move |event, deadline| {
        let notifier = Arc::clone(&notifier);
        async move {
            let result = Box::pin(notifier.handle(&event.payload, deadline)).await;
            Invocation { result, must_restart: false }
        }
    })
    .await
}
