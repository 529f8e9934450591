//! The S3 operations that the backend uses, and their errors by what the caller does next.

pub mod conformance;
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
    /// 412 to `If-Match`: the object is not the one that the caller read before, or that of the event.
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

/// When a write happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PutCondition<'a> {
    /// Always, over any existing object.
    #[default]
    Always,
    /// If there is no object: otherwise [`StoreError::AlreadyExists`].
    IfAbsent,
    /// If the object has this ETag: otherwise [`StoreError::PreconditionFailed`].
    IfMatch(&'a str),
}

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOptions<'a> {
    /// The media type.
    pub content_type: &'static str,
    /// The visibility of an object that the edge delivers; `None` for a record.
    pub visibility: Option<Visibility>,
    /// When it is written.
    pub condition: PutCondition<'a>,
    /// Whether it is an on-demand image, which the bucket's lifecycle rule may expire.
    pub is_on_demand: bool,
}

impl<'a> PutOptions<'a> {
    /// A JSON record.
    pub const JSON: Self = Self::new("application/json");

    /// A record of this type, over any existing object.
    pub const fn new(content_type: &'static str) -> Self {
        Self { content_type, visibility: None, condition: PutCondition::Always, is_on_demand: false }
    }

    /// With the visibility of an object that the edge delivers.
    #[must_use]
    pub const fn with_visibility(self, visibility: Visibility) -> Self {
        Self { visibility: Some(visibility), ..self }
    }

    /// With a condition.
    #[must_use]
    pub const fn with_condition(self, condition: PutCondition<'a>) -> Self {
        Self { condition, ..self }
    }
}

/// One bucket, with the operations that the backend uses. [`conformance`] checks an implementation.
pub trait Store: Send + Sync + 'static {
    /// Reads the metadata of an object.
    fn head(&self, key: &Key) -> impl Future<Output = Result<ObjectMeta, StoreError>> + Send;

    /// Reads a small object as a whole, with any ETag. If it is longer than `max_bytes`, the error is
    /// [`StoreError::Transient`].
    fn get(
        &self,
        key: &Key,
        max_bytes: u64,
    ) -> impl Future<Output = Result<(ObjectMeta, Bytes), StoreError>> + Send;

    /// Reads a range of the object with this ETag. The range must not be empty and must be within the object.
    fn read_range(
        &self,
        key: &Key,
        etag: &str,
        range: Range<u64>,
    ) -> impl Future<Output = Result<ObjectBody, StoreError>> + Send;

    /// Writes an object and returns its ETag, which depends on the bytes only.
    fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        options: PutOptions<'_>,
    ) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// Deletes an object. Succeeds if it does not exist.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<(), StoreError>> + Send;
}
