//! S3 requests of the edge, and parsers of S3's responses. Pure: `client::Bucket` sends them.

pub(crate) mod client;
mod list;
mod multipart;
pub mod sigv4;
mod xml;

pub(crate) use list::MAX_KEYS;
pub use list::{ListPage, ObjectSelection, ObjectSummary, RecentRenders, Reservations, list_objects};
pub use multipart::{
    CompletedPart, CompletionError, ListPartsPage, MultipartUpload, MultipartUploadsPage, PartId,
    PartSummary, UploadFilter, abort_multipart_upload, complete_multipart_upload, create_multipart_upload,
    list_multipart_uploads, list_parts, parse_upload_id, presign_part, upload_part,
};
pub(crate) use xml::{XmlDocument, escape};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use glimpse_contract::Key;
use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::s3::sigv4::{PresignParams, SignError, presign};

/// Lifetime of the signatures of the edge's own requests, in seconds: they are sent immediately.
const REQUEST_EXPIRES_SECS: u64 = 60;

/// A signed request to the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Request {
    /// The method.
    pub method: &'static str,
    /// The presigned URL: a secret, never logged.
    pub url: String,
    /// The signed headers, which must be sent.
    pub headers: Vec<(&'static str, String)>,
    /// The body, if it is text.
    pub body: Option<String>,
}

/// Reads an object.
pub fn get_object(key: &Key, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    RequestBuilder::object("GET", key, config).sign(config, now_ms)
}

/// Reads the object with this ETag: these bytes, both ends included, or all of them.
pub fn get_range(
    key: &Key,
    etag: &str,
    range: Option<(u64, u64)>,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let mut request = RequestBuilder::object("GET", key, config).header("if-match", etag);
    if let Some((first, last)) = range {
        request = request.header("range", format!("bytes={first}-{last}"));
    }
    request.sign(config, now_ms)
}

/// Checks whether an object exists, and returns its headers.
pub fn head_object(key: &Key, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    RequestBuilder::object("HEAD", key, config).sign(config, now_ms)
}

/// Lifetime of a download URL, in seconds: until the download has started.
const DOWNLOAD_EXPIRES_SECS: u64 = 300;

/// The URL of an object that a browser saves under this name. `META_NAME` holds the name percent-encoded, as RFC 8187
/// requires it in a header.
pub fn presign_download(
    method: &'static str,
    key: &Key,
    encoded_name: &str,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let disposition = match encoded_name {
        "" => "attachment".to_owned(),
        name => format!("attachment; filename*=UTF-8''{name}"),
    };
    let mut request =
        RequestBuilder::object(method, key, config).query("response-content-disposition", disposition);
    request.expires_secs = DOWNLOAD_EXPIRES_SECS;
    request.sign(config, now_ms)
}

/// Deletes an object; a missing one counts as deleted.
pub fn delete_object(key: &Key, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    RequestBuilder::object("DELETE", key, config).sign(config, now_ms)
}

/// The precondition of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// No precondition.
    Always,
    /// Only if the object does not exist.
    IfAbsent,
    /// Only if the object has this ETag.
    IfMatch(&'a str),
}

/// Writes a JSON document.
pub fn put_json(
    key: &Key,
    json: String,
    condition: Condition<'_>,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let mut request = RequestBuilder::object("PUT", key, config).header("content-type", "application/json");
    request = match condition {
        Condition::Always => request,
        Condition::IfAbsent => request.header("if-none-match", "*"),
        Condition::IfMatch(etag) => request.header("if-match", etag),
    };
    request.body = Some(json);
    request.sign(config, now_ms)
}

/// Deletes up to 1,000 objects at once, <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>. S3
/// requires a checksum of the list.
pub fn delete_objects(keys: &[String], config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    let objects: Vec<String> =
        keys.iter().map(|key| format!("<Object><Key>{}</Key></Object>", escape(key))).collect();
    let body = format!("<Delete><Quiet>true</Quiet>{}</Delete>", objects.concat());
    let mut request = RequestBuilder::bucket("POST", config)
        .query("delete", "")
        .header("content-type", "application/xml")
        .header("x-amz-checksum-sha256", STANDARD.encode(Sha256::digest(&body)));
    request.body = Some(body);
    request.sign(config, now_ms)
}

/// The code in an error response of S3 (`NoSuchUpload`, …).
pub fn parse_error_code(body: &[u8]) -> Option<String> {
    let mut document = XmlDocument::parse(&String::from_utf8_lossy(body), "")?;
    (document.root == "Error").then(|| document.fields.remove("Code")).flatten()
}

/// A builder of signed requests.
struct RequestBuilder {
    method: &'static str,
    url: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    expires_secs: u64,
}

impl RequestBuilder {
    fn new(method: &'static str, url: String) -> Self {
        Self {
            method,
            url,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            expires_secs: REQUEST_EXPIRES_SECS,
        }
    }

    fn object(method: &'static str, key: &Key, config: &Config) -> Self {
        Self::new(method, config.bucket.object_url(&key.to_string()))
    }

    fn bucket(method: &'static str, config: &Config) -> Self {
        Self::new(method, config.bucket.bucket_url())
    }

    fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn sign(self, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
        let query: Vec<(&str, &str)> =
            self.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = PresignParams {
            method: self.method,
            url: &self.url,
            query: &query,
            headers: &headers,
            expires_secs: self.expires_secs,
        };
        let url = presign(&request, &config.credentials, &config.bucket.region, now_ms)?;
        Ok(S3Request { method: self.method, url, headers: self.headers, body: self.body })
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VideoId;

    use super::*;
    use crate::testing::example_config;

    #[test]
    fn condition_header_is_signed() {
        let key = Key::Manifest(VideoId::new(1, [0; 10]));
        let request =
            put_json(&key, "{}".into(), Condition::IfAbsent, &example_config(), 1_700_000_000_000).unwrap();
        assert!(
            request.url.contains("X-Amz-SignedHeaders=content-type%3Bhost%3Bif-none-match&"),
            "{}",
            request.url
        );
        assert_eq!(request.headers[1], ("if-none-match", "*".to_owned()));
    }

    /// Row F19 of the threat model: a source is downloaded, never displayed.
    #[test]
    fn download_sets_content_disposition() {
        let key =
            Key::Source { owner: glimpse_contract::Owner::new("i", "s"), video: VideoId::new(1, [0; 10]) };
        let url = presign_download("GET", &key, "Ski%20trip.mp4", &example_config(), 1_700_000_000_000)
            .unwrap()
            .url;
        let disposition =
            "response-content-disposition=attachment%3B%20filename%2A%3DUTF-8%27%27Ski%2520trip.mp4";
        assert!(url.contains(disposition) && url.contains("X-Amz-Expires=300"), "{url}");
    }

    #[test]
    fn delete_objects_has_checksum() {
        let request = delete_objects(&["media/a&b".into()], &example_config(), 1_700_000_000_000).unwrap();
        let body = request.body.unwrap();
        assert!(body.contains("<Key>media/a&amp;b</Key>"), "{body}");
        let checksum = STANDARD.encode(Sha256::digest(&body));
        assert!(request.headers.contains(&("x-amz-checksum-sha256", checksum)));
    }

    #[test]
    fn parses_error_code() {
        assert_eq!(
            parse_error_code(b"<Error><Code>NoSuchUpload</Code><Message>x</Message></Error>").as_deref(),
            Some("NoSuchUpload")
        );
        for other in ["<CompleteMultipartUploadResult/>", "", "{}"] {
            assert_eq!(parse_error_code(other.as_bytes()), None);
        }
    }
}
