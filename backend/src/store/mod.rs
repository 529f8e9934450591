//! Decides how little of S3 the backend needs, and what each failure means for the caller.

pub mod memory;
pub mod s3;

use std::ops::Range;

use bytes::Bytes;
use futures::stream::BoxStream;
use glimpse_contract::{ClientMetadata, Key, Visibility};
use thiserror::Error;

/// What went wrong, by what the caller does next.
#[derive(Debug, Error)]
pub enum StoreError {
    /// 404: there is no such object, and trying again will not make one.
    #[error("the object does not exist")]
    NotFound,
    /// 412 to `If-Match`: the object is another one than the event was about.
    #[error("the object was replaced")]
    PreconditionFailed,
    /// 412 to `If-None-Match: *`: somebody else was first.
    #[error("the object exists already")]
    AlreadyExists,
    /// 409: another write is under way; ask again.
    #[error("another write is under way")]
    Conflict,
    /// 403, for what is there or may be written: the role is too narrow, or the signature does not count.
    #[error("{0}")]
    Denied(String),
    /// Anything that may pass: no answer, 5xx, a body that broke off.
    #[error("{0}")]
    Transient(String),
}

/// What is known about an object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectMeta {
    /// Quotes included.
    pub etag: String,
    /// Length in bytes.
    pub bytes: u64,
    /// The media type as stored.
    pub content_type: String,
    /// `x-amz-meta-name` as stored, still encoded; empty if absent.
    pub name: String,
    /// `x-amz-meta-visibility` as stored, if present.
    pub visibility: Option<String>,
    /// What the customer said about the video.
    pub passthrough: ClientMetadata,
}

/// Bytes of an object as they come.
pub type ObjectBody = BoxStream<'static, Result<Bytes, StoreError>>;

/// One bucket, narrowed to what the backend does with it.
pub trait Store: Send + Sync + 'static {
    /// Asks about an object.
    fn head(&self, key: &Key) -> impl Future<Output = Result<ObjectMeta, StoreError>> + Send;

    /// Reads a range of the object that has this ETag. The range is not empty and lies inside the object.
    fn get_range(
        &self,
        key: &Key,
        etag: &str,
        range: Range<u64>,
    ) -> impl Future<Output = Result<ObjectBody, StoreError>> + Send;

    /// Reads a small object whole, whatever its ETag. One that is longer than `max_bytes` is [`StoreError::Transient`].
    fn get(
        &self,
        key: &Key,
        max_bytes: u64,
    ) -> impl Future<Output = Result<(ObjectMeta, Bytes), StoreError>> + Send;

    /// Writes a picture and returns its ETag; writing the same bytes again changes nothing.
    fn put_output(
        &self,
        key: &Key,
        bytes: Bytes,
        content_type: &'static str,
        visibility: Visibility,
    ) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// Writes a picture if there is none under its key yet, and returns its ETag.
    fn create_output(
        &self,
        key: &Key,
        bytes: Bytes,
        content_type: &'static str,
        visibility: Visibility,
    ) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// Writes the manifest if there is none yet.
    fn create_manifest(&self, key: &Key, json: Bytes) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the manifest over the one of that ETag: else [`StoreError::AlreadyExists`].
    fn replace_manifest(
        &self,
        key: &Key,
        json: Bytes,
        if_match: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.put_json_conditional(key, json, Some(if_match))
    }

    /// Writes a choice of the poster over the one of that ETag, or where there is none: else [`StoreError::AlreadyExists`].
    fn put_json_conditional(
        &self,
        key: &Key,
        json: Bytes,
        if_match: Option<&str>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes what was handed from step to step; what is not there is removed already.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes down that the last try failed.
    fn put_json(&self, key: &Key, json: Bytes) -> impl Future<Output = Result<(), StoreError>> + Send;
}
