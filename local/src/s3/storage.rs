//! Direct access of tests to the store, without the protocol.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::body::{ExpectedBody, read_range, receive};
use super::condition::WriteConditions;
use super::record::NewObject;
use super::store::{EventOrigin, ObjectStore, ObjectStoreError};

/// An object, as tests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// The key, unescaped.
    pub key: String,
    /// The size.
    pub bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// The modification time, in Unix milliseconds.
    pub modified_ms: i64,
    /// The headers with which it is served, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The values of `x-amz-meta-*`, without that prefix.
    pub metadata: BTreeMap<String, String>,
}

impl ObjectStore {
    /// The properties of the object under the key.
    pub fn head(&self, key: &str) -> Option<StoredObject> {
        let object = self.find(key)?;
        Some(StoredObject {
            key: object.record.key.clone(),
            bytes: object.record.bytes,
            etag: object.record.etag.clone(),
            modified_ms: object.record.modified_ms,
            headers: object.record.headers.clone(),
            metadata: object.record.metadata.clone(),
        })
    }

    /// All bytes of the object under the key.
    ///
    /// # Errors
    /// If there is none, or on a disk error.
    pub async fn get(&self, key: &str) -> Result<Vec<u8>, ObjectStoreError> {
        let object = self.find(key).ok_or(ObjectStoreError::NoSuchKey)?;
        let mut bytes = Vec::new();
        let mut body = Box::pin(read_range(&object, 0..object.record.bytes));
        while let Some(data) = body.try_next().await? {
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    /// The keys with this prefix, in byte order.
    pub fn list(&self, prefix: &str) -> Vec<String> {
        let state = self.0.state();
        let keys = state.objects.range(prefix.to_owned()..).map(|(key, _)| key);
        keys.take_while(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Stores an object, as a client would; it sends an event if its key matches the notification filter.
    ///
    /// # Errors
    /// On a disk error.
    pub async fn put(&self, key: &str, bytes: Vec<u8>, content_type: &str) -> Result<(), ObjectStoreError> {
        let body = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(bytes))]);
        let received = receive(self, Some(body), ExpectedBody::default())
            .await
            .map_err(|error| ObjectStoreError::Io(std::io::Error::other(error)))?;
        let new_object = NewObject {
            key: key.to_owned(),
            etag: received.etag,
            headers: BTreeMap::from([("content-type".to_owned(), content_type.to_owned())]),
            metadata: BTreeMap::new(),
            checksums: received.checksums,
            checksum_of_all: true,
            multipart: false,
            content: vec![received.content],
        };
        let origin = EventOrigin {
            event: "ObjectCreated:Put".into(),
            request_id: self.0.entropy.random_hex(),
            principal: "test".into(),
            source_ip: "127.0.0.1".into(),
        };
        self.commit(new_object, WriteConditions::default(), origin).await.map(drop)
    }

    /// Deletes the object under the key, if there is one.
    ///
    /// # Errors
    /// On a disk error.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectStoreError> {
        self.remove(key.to_owned(), WriteConditions::default()).await
    }

    /// The number of unfinished multipart uploads.
    pub fn multipart_upload_count(&self) -> usize {
        self.0.state().uploads.len()
    }
}
