//! Decides how S3 is asked: which client, timeouts and retries, and how its answers become [`StoreError`]s.

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
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use glimpse_contract::{Key, META_NAME, META_VISIBILITY, Passthrough, Visibility};
use tokio::time::timeout;

pub use super::{Body, Head, Store, StoreError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Until an answer's first byte; a body has its own clock, where it is read.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(40);
const MAX_ATTEMPTS: u32 = 4;
/// A picture under a bare URL may be replaced by its owner; the edge decides what browsers are told.
const CACHE_CONTROL: &str = "public, max-age=300";
const PREFIX_OF_METADATA: &str = "x-amz-meta-";

/// The bucket on S3 itself.
#[derive(Debug, Clone)]
pub struct S3 {
    pub(crate) client: Client,
    pub(crate) bucket: String,
    /// The tags of what is made on demand, by which the bucket's lifecycle rule knows it; none: no tags.
    on_demand_tag: Option<String>,
}

/// Where a bucket is, and who asks for it. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Place {
    /// The bucket's region.
    pub region: String,
    /// The role's credentials.
    pub credentials: Credentials,
    /// Another S3 than AWS's, addressed by path.
    pub endpoint: Option<String>,
    /// The bucket's name.
    pub bucket: String,
}

impl S3 {
    /// A client for a bucket. It connects when it is first asked.
    pub fn new(place: &Place) -> Self {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(place.region.clone()))
            .credentials_provider(place.credentials.clone())
            .http_client(http)
            // Exponential back-off with full jitter; the client has a budget of retries as a whole too.
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .operation_timeout(OPERATION_TIMEOUT)
                    .build(),
            )
            // A body is read as slowly as the decoder wants it: that is no stall.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &place.endpoint {
            builder = builder.endpoint_url(endpoint).force_path_style(true);
        }
        Self { client: Client::from_conf(builder.build()), bucket: place.bucket.clone(), on_demand_tag: None }
    }

    /// The same with tags for what is made on demand, as a query string.
    #[must_use]
    pub fn with_on_demand_tag(self, tag: Option<String>) -> Self {
        Self { on_demand_tag: tag, ..self }
    }

    /// The meaning of a read that failed. To a role that may not list the bucket S3 answers 403 for what is not there, so
    /// that whoever takes a decoder over finds nothing by trying. Ours may ask for one whole key, and that tells.
    async fn refused<E>(&self, key: &Key, error: &SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let meaning = classify(error, StoreError::Changed);
        if status_of(error) != Some(403) {
            return meaning;
        }
        let key = key.to_string();
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&key).max_keys(1);
        match request.send().await {
            Ok(listing) if listing.contents().iter().all(|object| object.key() != Some(&key)) => {
                StoreError::Gone
            }
            _ => meaning,
        }
    }

    fn output(
        &self,
        key: &Key,
        bytes: Bytes,
        content_type: &'static str,
        visibility: Visibility,
    ) -> PutObjectFluentBuilder {
        let name = META_VISIBILITY.strip_prefix(PREFIX_OF_METADATA).unwrap_or(META_VISIBILITY);
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key.to_string())
            .content_type(content_type)
            .cache_control(CACHE_CONTROL)
            .metadata(name, visibility.as_str())
            .body(ByteStream::from(bytes))
    }
}

impl Store for S3 {
    async fn head(&self, key: &Key) -> Result<Head, StoreError> {
        let answer = self.client.head_object().bucket(&self.bucket).key(key.to_string()).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused(key, &error).await),
        };
        let length = answer.content_length();
        Ok(head_of(answer.e_tag(), length, answer.content_type(), answer.metadata()))
    }

    async fn read(&self, key: &Key, etag: &str, range: Range<u64>) -> Result<Body, StoreError> {
        let answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key.to_string())
            .if_match(etag)
            .range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused(key, &error).await),
        };
        let body = futures::stream::unfold(answer.body, |mut body| async {
            let next = body.next().await?;
            Some((next.map_err(|error| StoreError::Transient(error.to_string())), body))
        });
        Ok(body.boxed())
    }

    async fn put_output(
        &self,
        key: &Key,
        bytes: Bytes,
        content_type: &'static str,
        visibility: Visibility,
    ) -> Result<String, StoreError> {
        let request = self.output(key, bytes, content_type, visibility);
        let answer = request.send().await.map_err(|error| classify(&error, StoreError::Conflict))?;
        Ok(answer.e_tag().unwrap_or_default().to_owned())
    }

    async fn whole(&self, key: &Key, max_bytes: u64) -> Result<(Head, Bytes), StoreError> {
        let request = self.client.get_object().bucket(&self.bucket).key(key.to_string());
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused(key, &error).await),
        };
        let length = answer.content_length();
        let head = head_of(answer.e_tag(), length, answer.content_type(), answer.metadata());
        if head.bytes > max_bytes {
            return Err(StoreError::Transient("the object is longer than expected".into()));
        }
        let mut bytes = BytesMut::with_capacity(head.bytes as usize);
        let read = async {
            while let Some(piece) = answer.body.next().await {
                bytes.extend_from_slice(&piece.map_err(|error| StoreError::Transient(error.to_string()))?);
            }
            Ok(())
        };
        timeout(OPERATION_TIMEOUT, read)
            .await
            .map_err(|_| StoreError::Transient("S3 fell silent".into()))??;
        if bytes.len() as u64 != head.bytes {
            return Err(StoreError::Transient("the body ends early".into()));
        }
        Ok((head, bytes.freeze()))
    }

    async fn create_output(
        &self,
        key: &Key,
        bytes: Bytes,
        content_type: &'static str,
        visibility: Visibility,
    ) -> Result<String, StoreError> {
        let request = self.output(key, bytes, content_type, visibility).if_none_match("*");
        let request = request.set_tagging(self.on_demand_tag.clone());
        let answer = request.send().await.map_err(|error| classify(&error, StoreError::Lost))?;
        Ok(answer.e_tag().unwrap_or_default().to_owned())
    }

    async fn create_manifest(&self, key: &Key, json: Bytes) -> Result<(), StoreError> {
        let request = self.client.put_object().bucket(&self.bucket).key(key.to_string());
        request
            .if_none_match("*")
            .content_type("application/json")
            .cache_control("no-cache")
            .body(ByteStream::from(json))
            .send()
            .await
            .map_err(|error| classify(&error, StoreError::Lost))?;
        Ok(())
    }

    async fn put_poster(&self, key: &Key, json: Bytes, over: Option<&str>) -> Result<(), StoreError> {
        let request = self.client.put_object().bucket(&self.bucket).key(key.to_string());
        let request = match over {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match("*"),
        };
        let answer = request
            .content_type("application/json")
            .cache_control("no-cache")
            .body(ByteStream::from(json))
            .send()
            .await;
        match answer.map_err(|error| classify(&error, StoreError::Lost)) {
            Ok(_) => Ok(()),
            // `If-Match` on what is not there any more.
            Err(StoreError::Gone) => Err(StoreError::Lost),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key.to_string());
        request.send().await.map_err(|error| classify(&error, StoreError::Conflict))?;
        Ok(())
    }

    async fn put_failure(&self, key: &Key, json: Bytes) -> Result<(), StoreError> {
        let request = self.client.put_object().bucket(&self.bucket).key(key.to_string());
        request
            .content_type("application/json")
            .cache_control("no-cache")
            .body(ByteStream::from(json))
            .send()
            .await
            .map_err(|error| classify(&error, StoreError::Conflict))?;
        Ok(())
    }
}

fn head_of(
    etag: Option<&str>,
    length: Option<i64>,
    content_type: Option<&str>,
    metadata: Option<&HashMap<String, String>>,
) -> Head {
    let meta = |header: &str| {
        let name = header.strip_prefix(PREFIX_OF_METADATA).unwrap_or(header);
        metadata.and_then(|all| all.get(name)).cloned()
    };
    Head {
        etag: etag.unwrap_or_default().to_owned(),
        bytes: length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0),
        content_type: content_type.unwrap_or_default().to_owned(),
        name: meta(META_NAME).unwrap_or_default(),
        visibility: meta(META_VISIBILITY),
        passthrough: Passthrough::from_headers(meta),
    }
}

/// The meaning of a failed call. `precondition` is what 412 says about this one.
pub fn classify<E>(error: &SdkError<E>, precondition: StoreError) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = status_of(error);
    by_status(status, precondition).unwrap_or_else(|| match status {
        Some(403) => StoreError::Denied(describe(error)),
        _ => StoreError::Transient(describe(error)),
    })
}

fn status_of<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn by_status(status: Option<u16>, precondition: StoreError) -> Option<StoreError> {
    match status? {
        404 => Some(StoreError::Gone),
        412 => Some(precondition),
        409 => Some(StoreError::Conflict),
        // The event's length and the object's differ, so the object is another one.
        416 => Some(StoreError::Changed),
        _ => None,
    }
}

/// One line for the log: it holds status, S3's own code and the chain of causes, and no credential or signature.
fn describe<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (status_of(error), error.code()) {
        (Some(status), code) => format!("S3 answered {status} {}", code.unwrap_or_default()),
        (None, _) => format!("{}", DisplayErrorContext(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e13_an_answer_means_what_the_caller_does_next() {
        assert!(matches!(by_status(Some(404), StoreError::Changed), Some(StoreError::Gone)));
        assert!(matches!(by_status(Some(412), StoreError::Changed), Some(StoreError::Changed)));
        assert!(matches!(by_status(Some(412), StoreError::Lost), Some(StoreError::Lost)));
        assert!(matches!(by_status(Some(409), StoreError::Lost), Some(StoreError::Conflict)));
        assert!(matches!(by_status(Some(416), StoreError::Changed), Some(StoreError::Changed)));
        for transient in [None, Some(403), Some(500), Some(503), Some(400)] {
            assert!(by_status(transient, StoreError::Changed).is_none(), "{transient:?}");
        }
    }

    fn place(endpoint: &str) -> Place {
        Place {
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

    /// A server that takes one request and returns its head.
    async fn one_request() -> (String, tokio::task::JoinHandle<String>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let head = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                assert_ne!(connection.read_buf(&mut head).await.unwrap(), 0, "the head is whole");
            }
            let answer = b"HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            connection.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&head).to_lowercase()
        });
        (endpoint, head)
    }

    #[tokio::test]
    async fn only_what_is_made_on_demand_has_the_tag() {
        let key: Key = "media/7yegr1n5zz040g2081040g2081/thumbnail-width_200.jpg".parse().unwrap();
        for (tag, is_on_demand, expected) in [
            (Some("glimpse=on-demand"), true, true),
            (Some("glimpse=on-demand"), false, false),
            (None, true, false),
        ] {
            let (endpoint, head) = one_request().await;
            let store = S3::new(&place(&endpoint)).with_on_demand_tag(tag.map(str::to_owned));
            let (bytes, kind) = (Bytes::from_static(b"x"), "image/jpeg");
            let etag = if is_on_demand {
                store.create_output(&key, bytes, kind, Visibility::Public).await
            } else {
                store.put_output(&key, bytes, kind, Visibility::Public).await
            };
            assert_eq!(etag.unwrap(), "\"e\"");
            let head = head.await.unwrap();
            let is_tagged = head.contains("x-amz-tagging: glimpse=on-demand\r\n");
            assert_eq!(is_tagged, expected, "{tag:?} {is_on_demand}: {head}");
        }
    }

    #[test]
    fn a_client_cannot_print_its_secret() {
        let place = place("http://127.0.0.1:9000");
        let text = format!("{:?} {place:?}", S3::new(&place));
        assert!(text.contains("glimpse") && !text.contains("very-secret"), "{text}");
    }
}
