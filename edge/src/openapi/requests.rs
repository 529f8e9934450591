//! Decides how the bodies that the API takes are described: one type each. Their examples are held against the parsers.

use std::collections::BTreeMap;

use glimpse_contract::{Visibility, limits};
use schemars::JsonSchema;

use crate::delivery::token_request::TOKEN_TYPES;
use crate::openapi::shape::{DeliveryType, NAME, UploadType};

/// A file that is to be uploaded.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub struct CreateVideoRequestSchema {
    /// The file's name.
    #[schemars(extend("pattern" = NAME))]
    pub name: String,
    /// Its length in bytes.
    #[schemars(range(min = 1, max = limits::MAX_SINGLE_UPLOAD_BYTES))]
    pub size: u64,
    /// Its media type, with or without parameters. One that is not known here, empty or left out is resolved by the name's
    /// ending, and is `application/octet-stream` otherwise; a type that browsers run is refused.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// Base64 of its SHA-256: then S3 refuses any other bytes.
    #[schemars(extend("pattern" = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"))]
    pub checksum_sha256: Option<String>,
    /// Who may see the pictures, if not everybody who knows the URL.
    pub visibility: Option<Visibility>,
    /// Your own name of the video; it comes back with it.
    #[schemars(length(max = limits::MAX_EXTERNAL_ID_BYTES))]
    pub external_id: Option<String>,
    /// Your own fields, at most 512 bytes as JSON; they come back with the video.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// What an upload token is to say; all of it may be left out.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUploadTokenRequest {
    /// The most bytes of each video.
    #[schemars(range(min = 1))]
    pub max_bytes: Option<u64>,
    /// The media types that may be uploaded.
    #[schemars(length(min = 1, max = 32), with = "Option<Vec<UploadType>>")]
    pub types: Option<Vec<String>>,
    /// How many videos; one if absent.
    #[schemars(range(min = 1, max = limits::MAX_TOKEN_VIDEOS))]
    pub videos: Option<u32>,
    /// How long it lives, in seconds; an hour if absent.
    #[schemars(range(min = 1, max = limits::MAX_UPLOAD_TOKEN_SECS))]
    pub expires_in: Option<u64>,
    /// Who may see the pictures.
    pub visibility: Option<Visibility>,
    /// Your own name of the video; it comes back with it.
    #[schemars(length(max = limits::MAX_EXTERNAL_ID_BYTES))]
    pub external_id: Option<String>,
    /// Your own fields, at most 512 bytes as JSON; they come back with the video.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Which private pictures somebody is to see.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDeliveryTokensRequest {
    /// What they open, each once: one token a type.
    #[schemars(length(min = 1), with = "Vec<DeliveryType>", extend("uniqueItems" = true))]
    #[serde(default = "every_kind_of_picture")]
    pub types: Vec<String>,
    /// The picture's parameters, beside a single one of `types`.
    #[serde(default)]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// How long they live, in seconds.
    #[schemars(range(min = 1, max = limits::MAX_DELIVERY_TOKEN_SECS))]
    #[serde(default = "delivery_token_secs")]
    pub expires_in: u64,
}

fn every_kind_of_picture() -> Vec<String> {
    let pictures = TOKEN_TYPES.into_iter().filter(|(_, kind)| kind.is_some());
    pictures.map(|(word, _)| word.to_owned()).collect()
}

fn delivery_token_secs() -> u64 {
    limits::DELIVERY_TOKEN_SECS
}

/// A file that is to be uploaded in parts.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub struct CreateMultipartRequest {
    /// The file's name.
    #[schemars(extend("pattern" = NAME))]
    pub filename: String,
    /// Its media type; one that is not known here, empty or left out is resolved by the name's ending.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
}

/// The parts that make an upload.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub struct CompleteMultipartRequest {
    /// The parts, each once.
    #[schemars(length(min = 1, max = limits::MAX_PARTS))]
    pub parts: Vec<CompletedPartSchema>,
}

/// A part that has arrived.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct CompletedPartSchema {
    /// Its number.
    #[schemars(range(min = 1, max = limits::MAX_PARTS))]
    pub part_number: u64,
    /// S3's ETag, with its quotes or without.
    #[serde(rename = "ETag")]
    pub etag: String,
}

/// A request to S3, as Uppy's `signRequest` describes it.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignRequest {
    /// The method.
    #[schemars(extend("enum" = ["PUT", "POST", "GET", "DELETE"]))]
    pub method: String,
    /// Where the upload goes, as it was given out; for a new upload any text that ends with the file's name.
    pub key: String,
    /// S3's name of the upload, if it is one in parts that was begun.
    #[schemars(extend("pattern" = "^[!-~]{1,1024}$"))]
    pub upload_id: Option<String>,
    /// The part's number, for a PUT of one.
    #[schemars(range(min = 1, max = limits::MAX_PARTS))]
    pub part_number: Option<u64>,
    /// The file's media type, for a new upload.
    pub content_type: Option<String>,
    /// The length in bytes of the file, for a new upload, or of the part: then S3 holds the client to it.
    #[schemars(range(min = 1))]
    pub size: Option<u64>,
}

/// The moment of a poster.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPosterRequest {
    /// In seconds.
    #[schemars(range(min = 0, max = 86_400))]
    pub time: f64,
}
