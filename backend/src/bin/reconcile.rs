//! The `reconcile` Lambda: finds uploads whose event was missed. Wiring only: logging, configuration, clients, event
//! loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_backend::aws::AwsClient;
use glimpse_backend::aws::sqs::{QueueAddress, SqsQueue};
use glimpse_backend::lambda::{self, Invocation};
use glimpse_backend::notify::http::client::HttpClient;
use glimpse_backend::reconcile::config::Config;
use glimpse_backend::reconcile::service::{ReconcileSummary, Reconciler, ScanWindow};
use glimpse_backend::store::s3::S3Store;

/// Time reserved for sending the response.
const MARGIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lambda::init_logging();
    let config = Config::from_lookup(|name| std::env::var(name).ok()).context("cannot start")?;
    let store = S3Store::new(&config.s3);
    let client = AwsClient {
        region: config.s3.region,
        credentials: config.s3.credentials,
        http_client: HttpClient::default(),
        now_ms: lambda::now_ms,
    };
    let address = QueueAddress::parse(&config.queue_url, config.queue_endpoint.as_deref())
        .context("cannot start: configuration: UPLOAD_QUEUE_URL is not a URL")?;
    let queue = SqsQueue::new(address, client);
    let reconciler = Arc::new(Reconciler {
        uploads: store.clone(),
        store,
        queue,
        bucket: config.s3.bucket,
        now_ms: lambda::now_ms,
    });
    lambda::run(MARGIN, move |event, deadline| {
        let reconciler = Arc::clone(&reconciler);
        async move {
            let result = match ScanWindow::from_payload(&event.payload) {
                Ok(window) => Box::pin(reconciler.run(window, deadline)).await,
                Err(error) => Err(error),
            };
            Invocation { result: result.map(ReconcileSummary::report), must_restart: false }
        }
    })
    .await
}
