//! The S3 operations that the backend uses, and their errors by what the caller does next.

pub mod memory;
pub mod s3;

use std::ops::Range;

use bytes::Bytes;
use futures::stream::BoxStream;
use glimpse_contract::{ClientMetadata, Key, Visibility};
use thiserror::Error;

/// An error, by what the caller does next.
#[derive(Debug, Error)]
pub enum StoreError {
    /// 404: the object does not exist, and a retry will not change that.
    #[error("the object does not exist")]
    NotFound,
    /// 412 to `If-Match`: the object is not the one of the event.
    #[error("the object was replaced")]
    PreconditionFailed,
    /// 412 to `If-None-Match: *`: another write was first.
    #[error("the object exists already")]
    AlreadyExists,
    /// 409: another write is in progress; retry.
    #[error("another write is in progress")]
    Conflict,
    /// 403 for an object that exists or may be written: the role lacks a permission, or the signature is invalid.
    #[error("{0}")]
    Denied(String),
    /// Transient errors: no response, 5xx, an interrupted body.
    #[error("{0}")]
    Transient(String),
}

/// The metadata of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectMeta {
    /// The ETag, with quotes.
    pub etag: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The stored media type.
    pub content_type: String,
    /// `x-amz-meta-name` as stored, still encoded; empty if absent.
    pub name: String,
    /// `x-amz-meta-visibility` as stored, if present.
    pub visibility: Option<String>,
    /// The customer's client metadata.
    pub passthrough: ClientMetadata,
}

/// The bytes of an object as they arrive.
pub type ObjectBody = BoxStream<'static, Result<Bytes, StoreError>>;

/// One bucket, with the operations that the backend uses.
pub trait Store: Send + Sync + 'static {
    /// Reads the metadata of an object.
    fn head(&self, key: &Key) -> impl Future<Output = Result<ObjectMeta, StoreError>> + Send;

    /// Reads a range of the object with this ETag. The range must not be empty and must be within the object.
    fn get_range(
        &self,
        key: &Key,
        etag: &str,
        range: Range<u64>,
    ) -> impl Future<Output = Result<ObjectBody, StoreError>> + Send;

    /// Reads a small object as a whole, with any ETag. If it is longer than `max_bytes`, the error is
    /// [`StoreError::Transient`].
    fn get(
        &self,
        key: &Key,
        max_bytes: u64,
    ) -> impl Future<Output = Result<(ObjectMeta, Bytes), StoreError>> + Send;

    /// Writes an output and returns its ETag. Idempotent for the same bytes.
    fn put_output(
        &self,
        key: &Key,
        bytes: Bytes,
        content_type: &'static str,
        visibility: Visibility,
    ) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// Writes an output if its key does not exist yet, and returns its ETag.
    fn create_output(
        &self,
        key: &Key,
        bytes: Bytes,
        content_type: &'static str,
        visibility: Visibility,
    ) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// Writes the manifest if there is none yet.
    fn create_manifest(&self, key: &Key, json: Bytes) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Replaces the manifest with this ETag; [`StoreError::AlreadyExists`] if it has another one.
    fn replace_manifest(
        &self,
        key: &Key,
        json: Bytes,
        if_match: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.put_json_conditional(key, json, Some(if_match))
    }

    /// Writes a JSON document over the one with this ETag, or if there is none: otherwise
    /// [`StoreError::AlreadyExists`].
    fn put_json_conditional(
        &self,
        key: &Key,
        json: Bytes,
        if_match: Option<&str>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes an object. Succeeds if it does not exist.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes a JSON document, over any existing one.
    fn put_json(&self, key: &Key, json: Bytes) -> impl Future<Output = Result<(), StoreError>> + Send;
}
