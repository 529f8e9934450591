//! The `notify` Lambda: sends webhooks and publishes to the SNS topic when a video's outcome is final. Wiring only:
//! logging, configuration, clients, event loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::aws::AwsClient;
use glimpse_backend::aws::sns::SnsTopic;
use glimpse_backend::aws::sqs::SqsQueue;
use glimpse_backend::lambda::{self, Invocation};
use glimpse_backend::notify::config::Config;
use glimpse_backend::notify::http::client::HttpClient;
use glimpse_backend::notify::service::Notifier;
use glimpse_backend::store::s3::S3Store;

/// Time reserved for changing the visibility of failed messages and for sending the response.
const MARGIN: Duration = Duration::from_secs(12);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::init_logging();
    let http_client = HttpClient::default();
    let config = Config::from_lookup(|name| std::env::var(name).ok());
    let Config { s3, public_url, queue, endpoints, topic, address_policy } =
        config.context("cannot start")?;
    let store = S3Store::new(&s3);
    let client = AwsClient {
        region: s3.region,
        credentials: s3.credentials,
        http_client: http_client.clone(),
        now_ms: lambda::now_ms,
    };
    let notifier = Arc::new(Notifier {
        store: Arc::new(store),
        bucket: s3.bucket,
        public_url,
        queue: Arc::new(SqsQueue::new(queue, client.clone())),
        endpoints,
        topic: topic.map(|topic| SnsTopic::new(topic, client)),
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
