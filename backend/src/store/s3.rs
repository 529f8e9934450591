//! S3 client: its timeouts and retries, and the conversion of its errors to [`StoreError`].

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use glimpse_contract::{ClientMetadata, Key, META_NAME, META_VISIBILITY};
use tokio::time::timeout;

use super::{ObjectBody, ObjectMeta, PutCondition, PutOptions, Store, StoreError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time to the first byte of a response. Bodies have their own timeout where they are read.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(40);
/// Bodies above this size, in bytes, are sent within [`LARGE_BODY_TIMEOUT`] instead.
const LARGE_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Time to send a large body and to receive the response: at 5 MB/s for the largest clip.
const LARGE_BODY_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_ATTEMPTS: u32 = 4;
/// The owner can replace an image under a URL without a revision. The edge sets the header that browsers receive.
const CACHE_CONTROL: &str = "public, max-age=300";
const METADATA_PREFIX: &str = "x-amz-meta-";

/// The bucket on S3.
#[derive(Debug, Clone)]
pub struct S3Store {
    pub(crate) client: Client,
    pub(crate) bucket: String,
    /// The tags of on-demand images, which the bucket's lifecycle rule matches; `None` for no tags.
    on_demand_tag: Option<String>,
}

/// Location and credentials of the bucket. Its `Debug` output contains no secrets.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The region of the bucket.
    pub region: String,
    /// The role's credentials.
    pub credentials: Credentials,
    /// Replaces the S3 endpoint of AWS; addressed in path style.
    pub endpoint: Option<String>,
    /// The bucket's name.
    pub bucket: String,
}

impl S3Store {
    /// A client for a bucket. It connects on its first call.
    pub fn new(config: &S3Config) -> Self {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(config.credentials.clone())
            .http_client(http)
            // Exponential backoff with full jitter. The client also has a retry budget for all calls.
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .operation_timeout(OPERATION_TIMEOUT)
                    .build(),
            )
            // A body is read at the decoder's pace, which is not a stall.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint).force_path_style(true);
        }
        Self {
            client: Client::from_conf(builder.build()),
            bucket: config.bucket.clone(),
            on_demand_tag: None,
        }
    }

    /// Sets the tags of on-demand images, as a query string.
    #[must_use]
    pub fn with_on_demand_tag(self, tag: Option<String>) -> Self {
        Self { on_demand_tag: tag, ..self }
    }

    /// Classifies a failed read. S3 returns 403 for missing objects to a role without the permission to list the
    /// bucket, so that a compromised decoder cannot discover keys. The role may list a single complete key, which shows
    /// whether the object exists.
    async fn classify_read_error<E>(&self, key: &Key, error: &SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let classified = classify(error, StoreError::PreconditionFailed);
        if http_status(error) != Some(403) {
            return classified;
        }
        let key = key.to_string();
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&key).max_keys(1);
        match request.send().await {
            Ok(listing) if listing.contents().iter().all(|object| object.key() != Some(&key)) => {
                StoreError::NotFound
            }
            _ => classified,
        }
    }
}

impl Store for S3Store {
    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        let response = self.client.head_object().bucket(&self.bucket).key(key.to_string()).send().await;
        let response = match response {
            Ok(response) => response,
            Err(error) => return Err(self.classify_read_error(key, &error).await),
        };
        let length = response.content_length();
        Ok(object_meta(response.e_tag(), length, response.content_type(), response.metadata()))
    }

    async fn read_range(&self, key: &Key, etag: &str, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let response = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key.to_string())
            .if_match(etag)
            .range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))
            .send()
            .await;
        let response = match response {
            Ok(response) => response,
            Err(error) => return Err(self.classify_read_error(key, &error).await),
        };
        let body = futures::stream::unfold(response.body, |mut body| async {
            let next = body.next().await?;
            Some((next.map_err(|error| StoreError::Transient(error.to_string())), body))
        });
        Ok(body.boxed())
    }

    async fn get(&self, key: &Key, max_bytes: u64) -> Result<(ObjectMeta, Bytes), StoreError> {
        let request = self.client.get_object().bucket(&self.bucket).key(key.to_string());
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.classify_read_error(key, &error).await),
        };
        let length = response.content_length();
        let head = object_meta(response.e_tag(), length, response.content_type(), response.metadata());
        if head.bytes > max_bytes {
            return Err(StoreError::Transient("the object is larger than expected".into()));
        }
        let mut bytes = BytesMut::with_capacity(head.bytes as usize);
        let read = async {
            while let Some(chunk) = response.body.next().await {
                bytes.extend_from_slice(&chunk.map_err(|error| StoreError::Transient(error.to_string()))?);
            }
            Ok(())
        };
        timeout(OPERATION_TIMEOUT, read)
            .await
            .map_err(|_| StoreError::Transient("S3 timed out".into()))??;
        if bytes.len() as u64 != head.bytes {
            return Err(StoreError::Transient("the response body ended early".into()));
        }
        Ok((head, bytes.freeze()))
    }

    async fn put(&self, key: &Key, bytes: Bytes, options: PutOptions<'_>) -> Result<String, StoreError> {
        let is_large = bytes.len() > LARGE_BODY_BYTES;
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key.to_string())
            .content_type(options.content_type)
            .body(ByteStream::from(bytes));
        request = match options.visibility {
            Some(visibility) => {
                let name = META_VISIBILITY.strip_prefix(METADATA_PREFIX).unwrap_or(META_VISIBILITY);
                request.cache_control(CACHE_CONTROL).metadata(name, visibility.as_str())
            }
            None => request.cache_control("no-cache"),
        };
        if options.is_on_demand {
            request = request.set_tagging(self.on_demand_tag.clone());
        }
        let (request, failed_condition) = match options.condition {
            PutCondition::Always => (request, StoreError::Conflict),
            PutCondition::IfAbsent => (request.if_none_match("*"), StoreError::AlreadyExists),
            PutCondition::IfMatch(etag) => (request.if_match(etag), StoreError::PreconditionFailed),
        };
        let mut request = request.customize();
        if is_large {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(LARGE_BODY_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build();
            request = request.config_override(aws_sdk_s3::Config::builder().timeout_config(timeouts));
        }
        let response = request.send().await.map_err(|error| classify(&error, failed_condition));
        match (response, options.condition) {
            (Ok(response), _) => Ok(response.e_tag().unwrap_or_default().to_owned()),
            // S3 answers 404 to `If-Match` on a missing object.
            (Err(StoreError::NotFound), PutCondition::IfMatch(_)) => Err(StoreError::PreconditionFailed),
            (Err(error), _) => Err(error),
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key.to_string());
        request.send().await.map_err(|error| classify(&error, StoreError::Conflict))?;
        Ok(())
    }
}

fn object_meta(
    etag: Option<&str>,
    length: Option<i64>,
    content_type: Option<&str>,
    metadata: Option<&HashMap<String, String>>,
) -> ObjectMeta {
    let header_value = |header: &str| {
        let name = header.strip_prefix(METADATA_PREFIX).unwrap_or(header);
        metadata.and_then(|all| all.get(name)).cloned()
    };
    ObjectMeta {
        etag: etag.unwrap_or_default().to_owned(),
        bytes: length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0),
        content_type: content_type.unwrap_or_default().to_owned(),
        name: header_value(META_NAME).unwrap_or_default(),
        visibility: header_value(META_VISIBILITY),
        passthrough: ClientMetadata::from_headers(header_value),
    }
}

/// Classifies a failed call. `precondition` is the error for a 412.
pub fn classify<E>(error: &SdkError<E>, precondition: StoreError) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = http_status(error);
    error_from_status(status, precondition).unwrap_or_else(|| match status {
        Some(403) => StoreError::Denied(error_text(error)),
        _ => StoreError::Transient(error_text(error)),
    })
}

fn http_status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn error_from_status(status: Option<u16>, precondition: StoreError) -> Option<StoreError> {
    match status? {
        404 => Some(StoreError::NotFound),
        412 => Some(precondition),
        409 => Some(StoreError::Conflict),
        // The length in the event differs from that of the object, so the object was replaced.
        416 => Some(StoreError::PreconditionFailed),
        _ => None,
    }
}

/// One line for the log, with status, S3's error code and the chain of causes, and without credentials or signatures.
fn error_text<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (http_status(error), error.code()) {
        (Some(status), code) => format!("S3 answered {status} {}", code.unwrap_or_default()),
        (None, _) => format!("{}", DisplayErrorContext(error)),
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::Visibility;

    use super::*;

    #[test]
    fn e13_status_maps_to_store_error() {
        assert!(matches!(
            error_from_status(Some(404), StoreError::PreconditionFailed),
            Some(StoreError::NotFound)
        ));
        assert!(matches!(
            error_from_status(Some(412), StoreError::PreconditionFailed),
            Some(StoreError::PreconditionFailed)
        ));
        assert!(matches!(
            error_from_status(Some(412), StoreError::AlreadyExists),
            Some(StoreError::AlreadyExists)
        ));
        assert!(matches!(
            error_from_status(Some(409), StoreError::AlreadyExists),
            Some(StoreError::Conflict)
        ));
        assert!(matches!(
            error_from_status(Some(416), StoreError::PreconditionFailed),
            Some(StoreError::PreconditionFailed)
        ));
        for transient in [None, Some(403), Some(500), Some(503), Some(400)] {
            assert!(error_from_status(transient, StoreError::PreconditionFailed).is_none(), "{transient:?}");
        }
    }

    fn config(endpoint: &str) -> S3Config {
        S3Config {
            region: "us-east-1".into(),
            credentials: aws_credential_types::Credentials::new(
                "AKIDEXAMPLE",
                "very-secret-key",
                Some("very-secret-token".into()),
                None,
                "test",
            ),
            endpoint: Some(endpoint.into()),
            bucket: "glimpse".into(),
        }
    }

    /// A server that accepts one request and returns its head.
    async fn serve_one_request() -> (String, tokio::task::JoinHandle<String>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let head = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                assert_ne!(
                    connection.read_buf(&mut head).await.unwrap(),
                    0,
                    "the connection closed before the end of the head"
                );
            }
            let answer = b"HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            connection.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&head).to_lowercase()
        });
        (endpoint, head)
    }

    #[tokio::test]
    async fn only_on_demand_outputs_are_tagged() {
        let key: Key = "media/7yegr1n5zz040g2081040g2081/thumbnail-width_200.jpg".parse().unwrap();
        for (tag, is_on_demand, expected) in [
            (Some("glimpse=on-demand"), true, true),
            (Some("glimpse=on-demand"), false, false),
            (None, true, false),
        ] {
            let (endpoint, head) = serve_one_request().await;
            let store = S3Store::new(&config(&endpoint)).with_on_demand_tag(tag.map(str::to_owned));
            let (bytes, kind) = (Bytes::from_static(b"x"), "image/jpeg");
            let options =
                PutOptions { is_on_demand, ..PutOptions::new(kind).with_visibility(Visibility::Public) };
            assert_eq!(store.put(&key, bytes, options).await.unwrap(), "\"e\"");
            let head = head.await.unwrap();
            let is_tagged = head.contains("x-amz-tagging: glimpse=on-demand\r\n");
            assert_eq!(is_tagged, expected, "{tag:?} {is_on_demand}: {head}");
        }
    }

    #[test]
    fn debug_hides_secrets() {
        let config = config("http://127.0.0.1:9000");
        let text = format!("{:?} {config:?}", S3Store::new(&config));
        assert!(text.contains("glimpse") && !text.contains("very-secret"), "{text}");
    }
}
