//! `POST /api/videos` with JSON: one presigned PUT that binds length, type, checksum and metadata.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use glimpse_contract::{
    ClientMetadata, Code, Grant, InvalidMember, Json, Problem, Visibility, limits, object,
};

use crate::auth::{parse_metadata, parse_visibility};
use crate::config::Config;
use crate::s3::sigv4::timestamp::format_rfc3339;
use crate::s3::sigv4::{PresignParams, SignError, presign};
use crate::uploads::UploadPolicy;

/// A request to upload a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateVideoRequest {
    /// The file's name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its declared media type; empty if there is none.
    pub content_type: String,
    /// Base64 of its SHA-256: S3 then rejects any other content.
    pub checksum_sha256: Option<String>,
    /// The visibility of the images, if not the default.
    pub visibility: Option<Visibility>,
    /// The customer's id and fields of the video; they are returned in the manifest.
    pub client_metadata: ClientMetadata,
}

/// A presigned request that the client sends to S3 unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresignedUpload {
    /// The method.
    pub method: &'static str,
    /// The presigned URL.
    pub url: String,
    /// Every header that the client must set; a browser adds `content-length` by itself.
    pub headers: BTreeMap<&'static str, String>,
    /// Expiry of the signature, RFC 3339.
    pub expires_at: String,
}

impl CreateVideoRequest {
    fn from_json(json: &Json) -> Result<Self, InvalidMember> {
        Ok(Self {
            name: json.get_str("name")?,
            size: json.get_u64("size")?,
            content_type: json.get_opt_str("type")?.unwrap_or_default(),
            checksum_sha256: json.get_opt_str("checksum_sha256")?,
            visibility: parse_visibility(json)?,
            client_metadata: ClientMetadata {
                external_id: json.get_opt_str("external_id")?,
                metadata: parse_metadata(json)?,
                trace_id: None,
            },
        })
    }
}

impl PresignedUpload {
    /// The JSON of the API.
    pub fn to_json(&self) -> Json {
        object! {
            "method" => self.method,
            "url" => &self.url,
            "headers" => self.headers_json(),
            "expires_at" => &self.expires_at,
        }
    }

    /// The headers in the JSON of the API.
    pub fn headers_json(&self) -> Json {
        let mut headers = object! {};
        for (name, value) in &self.headers {
            headers.put(name, value.into());
        }
        headers
    }
}

/// Parses the body of a request.
///
/// # Errors
/// `bad_parameter`, with the name of the missing or invalid member.
pub fn parse_new_video(body: &[u8], policy: &UploadPolicy) -> Result<CreateVideoRequest, Problem> {
    let bad = |detail: &str| Problem::with_detail(Code::BadParameter, detail);
    let json = Json::parse_lenient(body).filter(Json::is_object);
    let json = json.ok_or_else(|| bad("The body must be a JSON object with name and size."))?;
    let video = CreateVideoRequest::from_json(&json).map_err(|wrong| bad(&format!("{wrong}.")))?;
    policy.check_size(video.size)?;
    if video.size > limits::MAX_SINGLE_UPLOAD_BYTES {
        let detail =
            "One request can upload at most 5368709120 bytes. Use POST /s3/multipart for larger files.";
        return Err(Problem::with_detail(Code::TooLarge, detail));
    }
    video.client_metadata.check().map_err(|why| bad(&format!("{why}.")))?;
    let is_sha256 = |text: &String| STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
    if video.checksum_sha256.as_ref().is_some_and(|text| !is_sha256(text)) {
        return Err(bad("`checksum_sha256` must be the base64 of 32 bytes."));
    }
    Ok(video)
}

/// A presigned request that creates a multipart upload, for clients that send their requests to S3.
///
/// # Errors
/// None that a client can cause: a checked grant can always be signed.
pub fn presign_create_multipart(
    grant: &Grant,
    config: &Config,
    now_ms: u64,
) -> Result<PresignedUpload, SignError> {
    let headers = grant_headers(grant);
    let request = GrantRequest { method: "POST", query: &[("uploads", "")], headers, bytes: None };
    request.presign(grant, config, now_ms)
}

fn grant_headers(grant: &Grant) -> BTreeMap<&'static str, String> {
    let mut headers: BTreeMap<_, _> = grant.metadata().into_iter().collect();
    headers.insert("content-type", grant.content_type.clone());
    headers
}

/// The presigned PUT: length, type, checksum, metadata and `if-none-match` are all signed, so that S3 rejects a body of
/// another length or type, other metadata, and a second upload to the same key.
///
/// # Errors
/// None that a client can cause: a checked grant can always be signed.
pub fn presign_upload(
    grant: &Grant,
    bytes: u64,
    checksum_sha256: Option<&str>,
    config: &Config,
    now_ms: u64,
) -> Result<PresignedUpload, SignError> {
    let mut headers = grant_headers(grant);
    headers.insert("if-none-match", "*".to_owned());
    if let Some(checksum) = checksum_sha256 {
        headers.insert("x-amz-checksum-sha256", checksum.to_owned());
    }
    GrantRequest { method: "PUT", query: &[], headers, bytes: Some(bytes) }.presign(grant, config, now_ms)
}

/// A request to the key of a grant, not signed.
struct GrantRequest<'a> {
    method: &'static str,
    query: &'a [(&'a str, &'a str)],
    headers: BTreeMap<&'static str, String>,
    /// The length of the body, if it is signed.
    bytes: Option<u64>,
}

impl GrantRequest<'_> {
    fn presign(self, grant: &Grant, config: &Config, now_ms: u64) -> Result<PresignedUpload, SignError> {
        let Self { method, query, headers, bytes } = self;
        let length = bytes.unwrap_or_default().to_string();
        let mut signed: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if bytes.is_some() {
            signed.push(("content-length", &length));
        }
        let url = presign(
            &PresignParams {
                method,
                url: &config.bucket.object_url(&grant.key().to_string()),
                query,
                headers: &signed,
                expires_secs: config.upload_expires_secs,
            },
            &config.credentials,
            &config.bucket.region,
            now_ms,
        )?;
        let expires_at = format_rfc3339(now_ms + config.upload_expires_secs * 1000);
        Ok(PresignedUpload { method, url, headers, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::{Owner, VideoId};

    use super::*;
    use crate::testing::example_config;
    use crate::uploads::create_grant;

    #[test]
    fn presigned_put_signs_all_grant_headers() {
        let config = example_config();
        let body = br#"{"name":"Ski trip.mp4","size":10,"type":"video/mp4","checksum_sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}"#;
        let policy = UploadPolicy::from_config(&config);
        let video_request = parse_new_video(body, &policy).unwrap();
        let video = VideoId::new(1, [0; 10]);
        let grant = create_grant(
            &Owner::new("i", "s"),
            video,
            &video_request.name,
            &video_request.content_type,
            &policy,
        )
        .unwrap();
        let checksum = video_request.checksum_sha256.as_deref();
        let upload =
            presign_upload(&grant, video_request.size, checksum, &config, 1_700_000_000_000).unwrap();
        let signed = "content-length%3Bcontent-type%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256\
                      %3Bx-amz-meta-name%3Bx-amz-meta-visibility";
        assert!(upload.url.contains(&format!("X-Amz-SignedHeaders={signed}&")), "{}", upload.url);
        assert_eq!(upload.headers["x-amz-meta-name"], "Ski%20trip.mp4");
        assert_eq!(upload.expires_at, "2023-11-14T22:28:20.000Z");
        assert!(!upload.headers.contains_key("content-length"), "browsers do not let pages set it");
    }

    #[test]
    fn names_invalid_member() {
        let policy = UploadPolicy::from_config(&example_config());
        for (body, code, word) in [
            ("", Code::BadParameter, "JSON"),
            ("[]", Code::BadParameter, "JSON"),
            (r#"{"size":1,"type":"video/mp4"}"#, Code::BadParameter, "name"),
            (r#"{"name":"a","size":"1","type":"video/mp4"}"#, Code::BadParameter, "integer"),
            (r#"{"name":"a","size":-1,"type":"video/mp4"}"#, Code::BadParameter, "size"),
            (r#"{"name":"a","size":0,"type":"video/mp4"}"#, Code::Empty, "empty"),
            (r#"{"name":"a","size":5368709121,"type":"video/mp4"}"#, Code::TooLarge, "5368709120"),
            (r#"{"name":"a","size":1,"type":"video/mp4","metadata":{"a":1}}"#, Code::BadParameter, "strings"),
            (
                r#"{"name":"a","size":1,"type":"video/mp4","external_id":"a\nb"}"#,
                Code::BadParameter,
                "external_id",
            ),
            (
                r#"{"name":"a","size":1,"type":"video/mp4","checksum_sha256":"abc"}"#,
                Code::BadParameter,
                "32 bytes",
            ),
        ] {
            let problem = parse_new_video(body.as_bytes(), &policy).unwrap_err();
            assert_eq!(problem.code, code, "{body}");
            assert!(problem.detail.contains(word), "{body}: {}", problem.detail);
        }
    }
}
