//! SQS queue of S3's events, as the reconciler uses it.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use aws_sdk_sqs::types::QueueAttributeName;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::config::Config;
use crate::error::JobError;
use crate::reconcile::service::UploadQueue;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ATTEMPTS: u32 = 4;

/// An SQS queue.
#[derive(Debug, Clone)]
pub struct SqsUploadQueue {
    client: Client,
    url: String,
}

impl SqsUploadQueue {
    /// A client for the configured queue. It connects on its first call.
    pub fn new(config: &Config) -> Self {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut builder = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.s3.region.clone()))
            .credentials_provider(config.s3.credentials.clone())
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build());
        if let Some(endpoint) = &config.queue_endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(builder.build()), url: config.queue_url.clone() }
    }
}

impl UploadQueue for SqsUploadQueue {
    async fn depth(&self) -> Result<u64, JobError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let response =
            request.send().await.map_err(|error| JobError::upstream(error.into_service_error()))?;
        let count = response.attributes().and_then(|attributes| attributes.get(&name));
        count
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| JobError::upstream("the response of SQS does not contain the number of messages"))
    }

    async fn send(&self, body: String) -> Result<(), JobError> {
        let request = self.client.send_message().queue_url(&self.url).message_body(body);
        request.send().await.map(drop).map_err(|error| JobError::upstream(error.into_service_error()))
    }
}
