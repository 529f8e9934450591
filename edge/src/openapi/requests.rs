//! Schema types of request bodies. Tests check their examples with the parsers.

use std::collections::BTreeMap;

use glimpse_contract::{VariantKind, Visibility, limits};
use schemars::JsonSchema;

use crate::delivery::token_request::TOKEN_TYPES;
use crate::openapi::shape::{DeliveryType, NAME, UploadType};

/// A file to upload.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[schemars(rename = "CreateVideoRequest")]
pub struct CreateVideoRequestSchema {
    /// The file's name.
    #[schemars(extend("pattern" = NAME))]
    pub name: String,
    /// Its length in bytes.
    #[schemars(range(min = 1, max = limits::MAX_SINGLE_UPLOAD_BYTES))]
    pub size: u64,
    /// Its media type, with or without parameters. If it is unknown, empty or absent, the type follows from the file
    /// extension, and is `application/octet-stream` otherwise. Types that browsers execute are rejected.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// Base64 of its SHA-256: S3 then rejects any other content.
    #[schemars(extend("pattern" = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"))]
    pub checksum_sha256: Option<String>,
    /// The visibility of the images, if not the default.
    pub visibility: Option<Visibility>,
    /// Your own id of the video; it is returned with the video.
    #[schemars(length(max = limits::MAX_EXTERNAL_ID_BYTES))]
    pub external_id: Option<String>,
    /// Your own fields, at most 512 bytes as JSON; they are returned with the video.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The limits of an upload token; every member is optional.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUploadTokenRequest {
    /// The maximum size of each video in bytes.
    #[schemars(range(min = 1))]
    pub max_bytes: Option<u64>,
    /// The media types that may be uploaded.
    #[schemars(length(min = 1, max = 32), with = "Option<Vec<UploadType>>")]
    pub types: Option<Vec<String>>,
    /// The number of videos; one if absent.
    #[schemars(range(min = 1, max = limits::MAX_TOKEN_VIDEOS))]
    pub videos: Option<u32>,
    /// The lifetime in seconds; an hour if absent.
    #[schemars(range(min = 1, max = limits::MAX_UPLOAD_TOKEN_SECS))]
    pub expires_in: Option<u64>,
    /// The visibility of the images.
    pub visibility: Option<Visibility>,
    /// Your own id of the video; it is returned with the video.
    #[schemars(length(max = limits::MAX_EXTERNAL_ID_BYTES))]
    pub external_id: Option<String>,
    /// Your own fields, at most 512 bytes as JSON; they are returned with the video.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The private images to give access to.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDeliveryTokensRequest {
    /// The types of files to give access to, each once: one token per type.
    #[schemars(length(min = 1), with = "Vec<DeliveryType>", extend("uniqueItems" = true))]
    #[serde(default = "image_types")]
    pub types: Vec<String>,
    /// The parameters of the image, with exactly one of `types`.
    #[serde(default)]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// The lifetime in seconds.
    #[schemars(range(min = 1, max = limits::MAX_DELIVERY_TOKEN_SECS))]
    #[serde(default = "delivery_token_secs")]
    pub expires_in: u64,
}

/// The types of files that are images.
fn image_types() -> Vec<String> {
    let is_image = |kind: Option<VariantKind>| kind.is_some_and(|kind| kind != VariantKind::Clip);
    let images = TOKEN_TYPES.into_iter().filter(|(_, kind)| is_image(*kind));
    images.map(|(word, _)| word.to_owned()).collect()
}

fn delivery_token_secs() -> u64 {
    limits::DELIVERY_TOKEN_SECS
}

/// A file to upload in parts.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub struct CreateMultipartRequest {
    /// The file's name.
    #[schemars(extend("pattern" = NAME))]
    pub filename: String,
    /// Its media type. If it is unknown, empty or absent, the type follows from the file extension.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
}

/// The parts of a multipart upload.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub struct CompleteMultipartRequest {
    /// The parts, each once.
    #[schemars(length(min = 1, max = limits::MAX_PARTS))]
    pub parts: Vec<CompletedPartSchema>,
}

/// An uploaded part.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[schemars(rename = "CompletedPart")]
#[serde(rename_all = "PascalCase")]
pub struct CompletedPartSchema {
    /// The part number.
    #[schemars(range(min = 1, max = limits::MAX_PARTS))]
    pub part_number: u64,
    /// S3's ETag, with or without quotes.
    #[serde(rename = "ETag")]
    pub etag: String,
}

/// A request to S3, as in Uppy's `signRequest`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignRequest {
    /// The method.
    #[schemars(extend("enum" = ["PUT", "POST", "GET", "DELETE"]))]
    pub method: String,
    /// The key of the upload, unchanged; for a new upload any text that ends with the file's name.
    pub key: String,
    /// The upload id, for an existing multipart upload.
    #[schemars(extend("pattern" = "^[!-~]{1,1024}$"))]
    pub upload_id: Option<String>,
    /// The part number, for the PUT of a part.
    #[schemars(range(min = 1, max = limits::MAX_PARTS))]
    pub part_number: Option<u64>,
    /// The file's media type, for a new upload.
    pub content_type: Option<String>,
    /// The length in bytes of the file, for a new upload, or of the part: S3 then enforces it.
    #[schemars(range(min = 1))]
    pub size: Option<u64>,
}

/// The time of a poster.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPosterRequest {
    /// In seconds.
    #[schemars(range(min = 0, max = 86_400))]
    pub time: f64,
}
