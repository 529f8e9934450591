//! Schema types of responses.
//!
//! The Worker writes its responses as untyped JSON, since types would enlarge it. `example.rs` compares the output of
//! its pure modules with these types, member by member.

use std::collections::BTreeMap;

use glimpse_contract::{ClientMetadata, Code, Owner, TraceId, VideoId, Visibility};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::openapi::shape::DeliveryType;

/// A problem, RFC 9457.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemSchema {
    /// `urn:glimpse:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short title for people, the same for every occurrence.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// An explanation for people of this occurrence.
    pub detail: String,
    /// The reason, for programs.
    pub code: Code,
    /// The same explanation, as displayed by Uppy's clients.
    pub message: String,
    /// The same explanation, as read by older clients of Companion.
    pub error: String,
    /// The id of the request in the log.
    pub request_id: String,
    /// The same in the spelling that Uppy v4 and v5 display.
    #[serde(rename = "requestId")]
    pub request_id_camel_case: String,
}

/// The state of a video.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VideoState {
    /// It can be uploaded, and is not uploaded yet.
    Uploading,
    /// It is uploaded, and its images are being generated.
    Processing,
    /// Its images are available.
    Ready,
    /// It was rejected permanently: `problem` contains the reason.
    Rejected,
    /// The last attempt to generate its images failed; another one is possible.
    Failed,
}

/// A video, as returned to its owner.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Video")]
pub struct VideoSchema {
    /// Its id.
    pub id: VideoId,
    /// Its state.
    pub state: VideoState,
    /// The visibility of the images; null while unknown.
    pub visibility: Option<Visibility>,
    /// The file's name; empty while unknown.
    pub name: String,
    /// The file's length in bytes.
    pub bytes: u64,
    /// The media type that the uploader declared.
    pub content_type: String,
    /// When the upload was granted, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// Width as displayed, in pixels.
    pub width: Option<u32>,
    /// Height as displayed, in pixels.
    pub height: Option<u32>,
    /// Duration in milliseconds.
    pub duration_ms: Option<u64>,
    /// Whether it has audio.
    pub has_audio: Option<bool>,
    /// A blurred placeholder of the poster of about 25 bytes, base64, <https://evanw.github.io/thumbhash/>.
    pub thumbhash: Option<String>,
    /// The poster's dominant color as `#rrggbb`.
    pub dominant_color: Option<String>,
    /// The time of the poster, in milliseconds; null if unknown.
    pub poster_ms: Option<u64>,
    /// Why it was rejected or has failed.
    pub problem: Option<VideoProblem>,
    /// The customer's id and fields of the video.
    #[serde(flatten)]
    pub client_metadata: ClientMetadata,
    /// The URLs of the default images by file name; with their revisions if the video is ready.
    pub urls: BTreeMap<String, String>,
}

/// A video, as returned with an upload token: nothing about the file, its images or its owner.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VideoStatus {
    /// Its id.
    pub id: VideoId,
    /// Its state.
    pub state: VideoState,
    /// Why it was rejected or has failed.
    pub problem: Option<VideoProblem>,
    /// Its trace: in the response to the request that created the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
}

/// Why a video was rejected or has failed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VideoProblem {
    /// The reason, for programs.
    pub code: Code,
    /// A short title for people.
    pub title: String,
    /// An explanation for people.
    pub message: String,
}

/// A presigned request that the client sends to S3 unchanged.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Upload")]
pub struct UploadSchema {
    /// The method.
    pub method: String,
    /// The presigned URL.
    pub url: String,
    /// Every header that the client must set; a browser adds `content-length` by itself.
    pub headers: BTreeMap<String, String>,
    /// Expiry of the signature, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: String,
}

/// A POST form of S3 for one file, in Companion's format; or a PUT, for storage without POST forms.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UppyUploadParameters {
    /// The method: POST, or PUT for storage without POST forms.
    pub method: String,
    /// The URL of the bucket; for a PUT the presigned URL of the file.
    pub url: String,
    /// Every required header of a PUT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// The form fields, which precede the file; empty for a PUT.
    pub fields: BTreeMap<String, String>,
    /// Lifetime in seconds.
    pub expires: u64,
}

/// The caller, and the limits of its uploads.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct MeResponse {
    /// The owner of the caller's videos.
    pub owner: Owner,
    /// The subject, as its issuer names it.
    pub subject: String,
    /// The display name.
    pub name: Option<String>,
    /// The email address.
    pub email: Option<String>,
    /// The limits of uploads.
    pub limits: UploadLimits,
}

/// The limits of the caller's uploads.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadLimits {
    /// The maximum size of one video in bytes.
    pub max_upload_bytes: u64,
    /// The maximum size of one signed request in bytes; larger files are uploaded in parts.
    pub max_single_upload_bytes: u64,
    /// The media types that may be uploaded.
    pub types: Vec<String>,
}

/// A granted video, and the request that uploads it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateVideoResponse {
    /// The video.
    pub video: VideoSchema,
    /// The presigned request that the client sends to S3 unchanged.
    pub upload: UploadSchema,
}

/// The same with an upload token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateVideoStatusResponse {
    /// The video.
    pub video: VideoStatus,
    /// The presigned request that the client sends to S3 unchanged.
    pub upload: UploadSchema,
}

/// The state of an uploaded video, for a caller with an upload token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadVideoStatusResponse {
    /// The video.
    pub video: VideoStatus,
}

/// A video that was uploaded through the Worker.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadVideoResponse {
    /// The video.
    pub video: VideoSchema,
}

/// A page of the caller's videos, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListVideosResponse {
    /// The videos.
    pub videos: Vec<VideoSchema>,
    /// The `cursor` of the next page; null on the last one.
    pub cursor: Option<VideoId>,
}

/// The deleted objects of a video.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeleteVideoResponse {
    /// The video.
    pub id: VideoId,
    /// What was deleted. Empty for a second request.
    pub removed: DeletedObjects,
    /// The state of cached copies.
    pub caches: CachePurge,
}

/// The state of the cached copies of a video's images.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CachePurge {
    /// How many copies in this data center were purged.
    pub purged: usize,
    /// How long a copy out of reach may last, in seconds.
    pub may_last_secs: u32,
    /// The same as text.
    pub note: String,
}

/// The deleted parts of a video.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeletedObjects {
    /// Whether the source existed.
    pub source: bool,
    /// How many images and tables existed.
    pub pictures: usize,
    /// How many unfinished uploads existed.
    pub unfinished_uploads: usize,
}

/// An upload token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadTokenResponse {
    /// The token.
    pub token: String,
    /// The URL prefix of uploads with the token: Uppy's `endpoint` (v4, v5) or `companionEndpoint` (v6).
    pub url: String,
    /// Expiry, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: String,
    /// The ids of its videos.
    pub videos: Vec<VideoId>,
}

/// Permissions to view a private video's images.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryTokensResponse {
    /// The video.
    pub video: VideoId,
    /// Expiry, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: String,
    /// One of each requested type.
    pub tokens: Vec<IssuedDeliveryToken>,
}

/// A delivery token for one type of file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct IssuedDeliveryToken {
    /// The type of file.
    #[schemars(with = "DeliveryType")]
    #[serde(rename = "type")]
    pub kind: String,
    /// A JWT in Mux's format, for `token=`.
    pub token: String,
    /// Links by file name.
    pub urls: BTreeMap<String, DeliveryLinks>,
}

/// Two links to the same image.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryLinks {
    /// With the JWT.
    pub token: String,
    /// With a short signature.
    pub short: String,
}

/// The caller's unfinished multipart uploads.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListUploadsResponse {
    /// The uploads.
    pub uploads: Vec<UnfinishedUpload>,
    /// Whether there are more.
    pub more: bool,
}

/// An unfinished multipart upload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UnfinishedUpload {
    /// The id of its video.
    pub video: VideoId,
    /// The file's name; null if unknown.
    pub name: Option<String>,
    /// The key of the upload.
    pub key: String,
    /// The upload id.
    #[serde(rename = "uploadId")]
    pub upload_id: String,
    /// When it was created, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub initiated_at: String,
    /// The number of uploaded parts.
    pub parts: usize,
    /// The number of uploaded bytes.
    pub bytes_uploaded: u64,
}

/// A created multipart upload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateMultipartResponse {
    /// The key of the upload, for all later requests.
    pub key: String,
    /// The upload id.
    #[serde(rename = "uploadId")]
    pub upload_id: String,
    /// The bucket.
    pub bucket: String,
}

/// An uploaded part.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Part")]
#[serde(rename_all = "PascalCase")]
pub struct PartSchema {
    /// The part number.
    #[schemars(range(min = 1, max = 10_000))]
    pub part_number: u64,
    /// S3's ETag, in quotes.
    #[serde(rename = "ETag")]
    pub etag: String,
    /// Its length in bytes.
    pub size: u64,
}

/// A signed request for one part.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SignPartResponse {
    /// The presigned URL.
    pub url: String,
    /// The method: PUT.
    pub method: String,
    /// Lifetime in seconds.
    pub expires: u64,
}

/// Signed requests for several parts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignPartsResponse {
    /// The presigned URLs, by part number.
    pub presigned_urls: BTreeMap<String, String>,
    /// Lifetime in seconds.
    pub expires: u64,
}

/// A completed multipart upload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CompleteMultipartResponse {
    /// Its URL; the last segment is the video's id.
    pub location: String,
    /// Its key.
    pub key: String,
    /// The bucket.
    pub bucket: String,
    /// The video.
    pub video: Option<VideoSchema>,
}

/// The same with an upload token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CompleteMultipartStatusResponse {
    /// Its URL; the last segment is the video's id.
    pub location: String,
    /// Its key.
    pub key: String,
    /// The bucket.
    pub bucket: String,
    /// The video.
    pub video: Option<VideoStatus>,
}

/// An aborted multipart upload: an empty object, since Uppy parses one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AbortMultipartResponse {}

/// A presigned request in the format of Uppy's `signRequest`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PresignResponse {
    /// The presigned URL.
    pub url: String,
    /// The key of the upload: the edge chooses it, independent of the request.
    pub key: String,
    /// The method.
    pub method: String,
    /// Headers that the client must set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Form fields, which precede the file; then the method is POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
    /// Lifetime in seconds.
    pub expires: u64,
}
