//! S3 as a state machine calls it, with its role: signed requests over HTTP, and responses in the format of the states.
//!
//! <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>.

use std::net::SocketAddr;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::engine::ExecutionError;
use crate::clock::WallClock;
use crate::config::S3Settings;

/// RFC 3986's unreserved characters are not escaped.
const QUERY_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH_ESCAPES: &AsciiSet = &QUERY_ESCAPES.remove(b'/');

/// The bucket, accessed with a role.
#[derive(Debug)]
pub(crate) struct BucketClient {
    pub(crate) address: SocketAddr,
    /// The only key pair.
    pub(crate) settings: S3Settings,
    /// The role's name, which is its session token.
    pub(crate) role: String,
    /// The number of keys per list request.
    pub(crate) max_keys: u32,
    pub(crate) clock: WallClock,
}

/// A page of a listing, <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListObjectsOutput {
    #[serde(default)]
    contents: Vec<ListEntry>,
    #[serde(default)]
    next_continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListEntry {
    key: String,
    #[serde(rename = "ETag")]
    etag: String,
    last_modified: String,
    size: u64,
}

impl ListEntry {
    /// The item in a batch.
    fn into_item(self) -> Result<Value, ExecutionError> {
        let modified: Timestamp = self.last_modified.parse().map_err(s3_exception)?;
        Ok(
            json!({ "Key": self.key, "Etag": self.etag, "LastModified": modified.as_second(), "Size": self.size,
            "StorageClass": "STANDARD" }),
        )
    }
}

impl BucketClient {
    /// A page of keys.
    pub(super) async fn list(&self, parameters: &Value) -> Result<Value, ExecutionError> {
        let mut query = vec![("list-type", "2".to_owned()), ("max-keys", self.max_keys.to_string())];
        for (name, member) in [("prefix", "Prefix"), ("continuation-token", "ContinuationToken")] {
            query.extend(parameters[member].as_str().map(|value| (name, value.to_owned())));
        }
        let encode_pair =
            |(name, value): &(_, String)| format!("{name}={}", utf8_percent_encode(value, QUERY_ESCAPES));
        let query: Vec<String> = query.iter().map(encode_pair).collect();
        let body = self.send(Method::GET, parameters, &format!("?{}", query.join("&")), Bytes::new()).await?;
        let page: ListObjectsOutput = quick_xml::de::from_reader(&*body).map_err(s3_exception)?;
        let items: Result<Vec<Value>, ExecutionError> =
            page.contents.into_iter().map(ListEntry::into_item).collect();
        Ok(json!({ "Contents": items?, "NextContinuationToken": page.next_continuation_token }))
    }

    /// Puts an object with a JSON document as its body.
    pub(super) async fn put(&self, parameters: &Value) -> Result<Value, ExecutionError> {
        let key = parameters["Key"].as_str().unwrap_or_default();
        let key = utf8_percent_encode(key, PATH_ESCAPES).to_string();
        self.send(Method::PUT, parameters, &format!("/{key}"), parameters["Body"].to_string().into()).await?;
        Ok(json!({}))
    }

    async fn send(
        &self,
        method: Method,
        parameters: &Value,
        path_and_query: &str,
        body: Bytes,
    ) -> Result<Bytes, ExecutionError> {
        let target = format!("/{}{path_and_query}", parameters["Bucket"].as_str().unwrap_or_default());
        let request = self.sign_request(method, &target, body)?;
        let stream = TcpStream::connect(self.address).await.map_err(s3_exception)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(s3_exception)?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(s3_exception)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(s3_exception)?.to_bytes();
        connection.abort();
        if status.is_success() {
            return Ok(body);
        }
        Err(s3_exception(format!("{status}: {}", String::from_utf8_lossy(&body))))
    }

    fn sign_request(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ExecutionError> {
        let Self { address, settings, role, clock, .. } = self;
        let (id, secret) = (&settings.access_key_id, &settings.secret_access_key);
        let identity = Credentials::new(id, secret, Some(role.clone()), None, "role").into();
        let mut signing_settings = SigningSettings::default();
        signing_settings.percent_encoding_mode = PercentEncodingMode::Single;
        signing_settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        signing_settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let signing = SigningParams::builder()
            .identity(&identity)
            .region(&settings.region)
            .name("s3")
            .time(SystemTime::from(clock.now()))
            .settings(signing_settings)
            .build()
            .map_err(s3_exception)?
            .into();
        let url = format!("http://{address}{target}");
        let signable = SignableRequest::new(method.as_str(), url, [].into_iter(), SignableBody::Bytes(&body))
            .map_err(s3_exception)?;
        let (instructions, _) = sign(signable, &signing).map_err(s3_exception)?.into_parts();
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, address.to_string())
            .body(Full::new(body))
            .map_err(s3_exception)?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// An S3 error under Step Functions' name.
fn s3_exception(cause: impl std::fmt::Display) -> ExecutionError {
    ExecutionError::new("S3.S3Exception", cause)
}
