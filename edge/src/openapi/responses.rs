//! Decides how the answers of the API are described: one type each.
//!
//! The Worker writes its answers as trees, since types cost it size. What its pure parts write is held against these types
//! where `example.rs` makes them, member by member.

use std::collections::BTreeMap;

use glimpse_contract::{ClientMetadata, Code, Owner, TraceId, VideoId, Visibility};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::openapi::shape::DeliveryType;

/// What went wrong, RFC 9457.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemSchema {
    /// `urn:glimpse:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short name for people, the same for every occurrence.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// The sentence for people about this very occurrence.
    pub detail: String,
    /// The reason for machines.
    pub code: Code,
    /// The same sentence: what Uppy's clients show.
    pub message: String,
    /// The same sentence: what older clients of Companion look for.
    pub error: String,
    /// What the log knows the request by.
    pub request_id: String,
    /// The same in the spelling that Uppy v4 and v5 show.
    #[serde(rename = "requestId")]
    pub request_id_camel_case: String,
}

/// How far a video has come.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VideoState {
    /// It may be uploaded, and is not there yet.
    Uploading,
    /// It is there, and its pictures are being made.
    Processing,
    /// Its pictures are there.
    Ready,
    /// It is refused for good: `problem` says why.
    Rejected,
    /// The last try to make its pictures failed; it may be tried again.
    Failed,
}

/// A video, as the API shows it to its owner.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VideoSchema {
    /// Its id.
    pub id: VideoId,
    /// How far it has come.
    pub state: VideoState,
    /// Who may see the pictures; null while it is not known.
    pub visibility: Option<Visibility>,
    /// The file's name; empty while it is not known.
    pub name: String,
    /// The file's length in bytes.
    pub bytes: u64,
    /// The media type that the uploader declared.
    pub content_type: String,
    /// When the upload was granted, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// Width as shown, in pixels.
    pub width: Option<u32>,
    /// Height as shown, in pixels.
    pub height: Option<u32>,
    /// Length in milliseconds.
    pub duration_ms: Option<u64>,
    /// Whether there is sound.
    pub has_audio: Option<bool>,
    /// A blurred stand-in of the poster of about 25 bytes, base64, <https://evanw.github.io/thumbhash/>.
    pub thumbhash: Option<String>,
    /// The poster's dominant colour as `#rrggbb`.
    pub dominant_color: Option<String>,
    /// Which moment the poster shows, in milliseconds; null where that is not known.
    pub poster_ms: Option<u64>,
    /// Why it was rejected or has failed.
    pub problem: Option<VideoProblem>,
    /// What the customer said about it.
    #[serde(flatten)]
    pub client_metadata: ClientMetadata,
    /// The URLs of the default pictures by file name; of a video that is ready with their revisions.
    pub urls: BTreeMap<String, String>,
}

/// A video, as it is shown to the holder of an upload token: nothing about the file, its pictures or its owner.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VideoStatus {
    /// Its id.
    pub id: VideoId,
    /// How far it has come.
    pub state: VideoState,
    /// Why it was rejected or has failed.
    pub problem: Option<VideoProblem>,
    /// The trace that it is part of: in the answer to the request that began the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
}

/// Why a video was rejected or has failed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VideoProblem {
    /// The reason for machines.
    pub code: Code,
    /// A short name for people.
    pub title: String,
    /// The sentence for people.
    pub message: String,
}

/// A request that the client makes to S3, exactly so.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadSchema {
    /// The method.
    pub method: String,
    /// The address with its signature.
    pub url: String,
    /// Every header that the client must set; a browser adds `content-length` by itself.
    pub headers: BTreeMap<String, String>,
    /// When the signature ends, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: String,
}

/// A form that S3 takes one file by, as Companion answers it; or a PUT, where the storage takes no forms.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UppyUploadParameters {
    /// The method: POST, or PUT where the storage takes no forms.
    pub method: String,
    /// The bucket's address; of a PUT the file's, with its signature.
    pub url: String,
    /// Every header that a PUT must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// The fields, which go before the file; none of a PUT.
    pub fields: BTreeMap<String, String>,
    /// How long they are good for, in seconds.
    pub expires: u64,
}

/// Who asks, and what they may upload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct MeResponse {
    /// Whose videos are meant.
    pub owner: Owner,
    /// The subject, as its issuer names it.
    pub subject: String,
    /// A name to greet with.
    pub name: Option<String>,
    /// A mail address.
    pub email: Option<String>,
    /// What may be uploaded.
    pub limits: UploadLimits,
}

/// What somebody may upload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadLimits {
    /// The most bytes of one video.
    pub max_upload_bytes: u64,
    /// The most bytes that one signed request may carry; what is larger is sent in parts.
    pub max_single_upload_bytes: u64,
    /// The media types that may be uploaded.
    pub types: Vec<String>,
}

/// A video that may now be uploaded, and the request that does it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateVideoResponse {
    /// The video.
    pub video: VideoSchema,
    /// The request that the client makes to S3, exactly so.
    pub upload: UploadSchema,
}

/// The same for the holder of an upload token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateVideoStatusResponse {
    /// The video.
    pub video: VideoStatus,
    /// The request that the client makes to S3, exactly so.
    pub upload: UploadSchema,
}

/// The state of a video, for the holder of an upload token who sent it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadVideoStatusResponse {
    /// The video.
    pub video: VideoStatus,
}

/// A video that came through the Worker.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadVideoResponse {
    /// The video.
    pub video: VideoSchema,
}

/// One page of somebody's videos, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListVideosResponse {
    /// The videos.
    pub videos: Vec<VideoSchema>,
    /// What to ask for the next page with; null on the last one.
    pub cursor: Option<VideoId>,
}

/// What was removed of a video.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeleteVideoResponse {
    /// The video.
    pub id: VideoId,
    /// What there was of it. The second time, nothing.
    pub removed: DeletedObjects,
    /// What became of the copies in caches.
    pub caches: CachePurge,
}

/// What became of the copies of a video's pictures.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CachePurge {
    /// How many copies at this place of the network were removed.
    pub purged: usize,
    /// How long a copy may last that nothing here reaches, in seconds.
    pub may_last_secs: u32,
    /// The same for people.
    pub note: String,
}

/// The parts of a video that were removed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeletedObjects {
    /// Whether the uploaded file was there.
    pub source: bool,
    /// How many pictures and tables were made of it.
    pub pictures: usize,
    /// How many uploads of it were not finished.
    pub unfinished_uploads: usize,
}

/// An upload token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UploadTokenResponse {
    /// The token.
    pub token: String,
    /// The address below which its holder uploads: Uppy's `endpoint` (v4, v5) or `companionEndpoint` (v6).
    pub url: String,
    /// When it ends, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: String,
    /// The ids of the videos that it makes.
    pub videos: Vec<VideoId>,
}

/// Permissions to see a private video's pictures.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryTokensResponse {
    /// The video.
    pub video: VideoId,
    /// When they end, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: String,
    /// One of each kind that was asked for.
    pub tokens: Vec<IssuedDeliveryToken>,
}

/// What opens one kind of picture.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct IssuedDeliveryToken {
    /// What it opens.
    #[schemars(with = "DeliveryType")]
    #[serde(rename = "type")]
    pub kind: String,
    /// A JWT as Mux makes them, for `token=`.
    pub token: String,
    /// Ready links by file name.
    pub urls: BTreeMap<String, DeliveryLinks>,
}

/// Two links to the same picture.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryLinks {
    /// By the JWT.
    pub token: String,
    /// By a short signature.
    pub short: String,
}

/// Somebody's unfinished uploads in parts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListUploadsResponse {
    /// The uploads.
    pub uploads: Vec<UnfinishedUpload>,
    /// Whether there are more.
    pub more: bool,
}

/// An unfinished upload in parts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UnfinishedUpload {
    /// The video that it becomes.
    pub video: VideoId,
    /// The file's name; null if it is not known.
    pub name: Option<String>,
    /// Where it goes.
    pub key: String,
    /// S3's name of it.
    #[serde(rename = "uploadId")]
    pub upload_id: String,
    /// When it was begun, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub initiated_at: String,
    /// How many parts have arrived.
    pub parts: usize,
    /// How many bytes have arrived.
    pub bytes_uploaded: u64,
}

/// An upload in parts that was begun.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateMultipartResponse {
    /// Where it goes; every later call names it.
    pub key: String,
    /// S3's name of it.
    #[serde(rename = "uploadId")]
    pub upload_id: String,
    /// The bucket.
    pub bucket: String,
}

/// A part that has arrived.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PartSchema {
    /// Its number.
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
    /// The address with its signature.
    pub url: String,
    /// The method: PUT.
    pub method: String,
    /// How long it is good for, in seconds.
    pub expires: u64,
}

/// Signed requests for several parts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignPartsResponse {
    /// The addresses with their signatures, by part number.
    pub presigned_urls: BTreeMap<String, String>,
    /// How long they are good for, in seconds.
    pub expires: u64,
}

/// An upload in parts that has become a video.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CompleteMultipartResponse {
    /// Where it lies; its last segment is the video's id.
    pub location: String,
    /// Its key.
    pub key: String,
    /// The bucket.
    pub bucket: String,
    /// The video.
    pub video: Option<VideoSchema>,
}

/// The same for the holder of an upload token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CompleteMultipartStatusResponse {
    /// Where it lies; its last segment is the video's id.
    pub location: String,
    /// Its key.
    pub key: String,
    /// The bucket.
    pub bucket: String,
    /// The video.
    pub video: Option<VideoStatus>,
}

/// An upload in parts that was given up: an empty object, since Uppy reads one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AbortMultipartResponse {}

/// A signed request, as Uppy's `signRequest` hands it on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PresignResponse {
    /// The address with its signature.
    pub url: String,
    /// Where the upload goes: the edge chooses it, whatever was asked for.
    pub key: String,
    /// The method.
    pub method: String,
    /// Headers that the client must set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Fields of a form that go before the file; then the method is POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
    /// How long it is good for, in seconds.
    pub expires: u64,
}
