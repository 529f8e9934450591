//! In-memory bucket that behaves like S3, with injectable faults, for tests.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use glimpse_contract::{ClientMetadata, Grant, Key, META_NAME, META_VISIBILITY};
use sha2::{Digest as _, Sha256};

use super::{ObjectBody, ObjectMeta, PutCondition, PutOptions, Store, StoreError};

/// The size of the chunks of a body, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryObject {
    /// The metadata that `HEAD` returns.
    pub head: ObjectMeta,
    /// The bytes.
    pub bytes: Bytes,
}

/// A fault of the next read.
#[derive(Debug)]
pub enum ReadFault {
    /// The request fails.
    Fail(StoreError),
    /// The body fails with an error after this many bytes.
    BreakAfter(usize),
    /// The body ends after this many bytes, as if it were complete.
    EndAfter(usize),
}

/// An in-memory bucket.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, MemoryObject>,
    read_faults: VecDeque<ReadFault>,
    put_faults: VecDeque<StoreError>,
    reads: u64,
    writes: u64,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an upload like a browser with the edge's grant, and returns its ETag.
    pub fn upload(&self, grant: &Grant, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let metadata = grant.metadata();
        let header =
            |name: &str| metadata.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let head = ObjectMeta {
            etag: etag(&bytes),
            bytes: bytes.len() as u64,
            content_type: grant.content_type.clone(),
            name: header(META_NAME).unwrap_or_default(),
            visibility: header(META_VISIBILITY),
            passthrough: ClientMetadata::from_headers(header),
        };
        let etag = head.etag.clone();
        self.lock().objects.insert(grant.key().to_string(), MemoryObject { head, bytes });
        etag
    }

    /// The object at a key.
    pub fn object(&self, key: &Key) -> Option<MemoryObject> {
        self.lock().objects.get(&key.to_string()).cloned()
    }

    /// Removes an object.
    pub fn remove_object(&self, key: &Key) {
        self.lock().objects.remove(&key.to_string());
    }

    /// All keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// Queues a fault for the next read that has none yet.
    pub fn fail_next_read(&self, fault: ReadFault) {
        self.lock().read_faults.push_back(fault);
    }

    /// Queues a fault for the next write with a condition, like that of a manifest or an on-demand image.
    pub fn fail_next_conditional_put(&self, error: StoreError) {
        self.lock().put_faults.push_back(error);
    }

    /// Removes all queued faults.
    pub fn clear_faults(&self) {
        let mut inner = self.lock();
        inner.read_faults.clear();
        inner.put_faults.clear();
    }

    /// The number of bodies that were requested, and of objects that were written.
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.reads, inner.writes)
    }
}

fn new_object(bytes: Bytes, options: PutOptions<'_>) -> MemoryObject {
    let head = ObjectMeta {
        etag: etag(&bytes),
        bytes: bytes.len() as u64,
        content_type: options.content_type.to_owned(),
        name: String::new(),
        visibility: options.visibility.map(|word| word.as_str().to_owned()),
        passthrough: ClientMetadata::default(),
    };
    MemoryObject { head, bytes }
}

impl Store for MemoryStore {
    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.object(key).map(|object| object.head).ok_or(StoreError::NotFound)
    }

    async fn read_range(&self, key: &Key, etag: &str, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let fault = {
            let mut inner = self.lock();
            inner.reads += 1;
            inner.read_faults.pop_front()
        };
        let object = self.object(key).ok_or(StoreError::NotFound)?;
        if object.head.etag != etag {
            return Err(StoreError::PreconditionFailed);
        }
        let end = range.end.min(object.head.bytes);
        if range.start >= end {
            return Err(StoreError::PreconditionFailed);
        }
        let mut bytes = object.bytes.slice(range.start as usize..end as usize);
        let mut trailing_error = None;
        match fault {
            Some(ReadFault::Fail(error)) => return Err(error),
            Some(ReadFault::BreakAfter(length)) => {
                bytes.truncate(length);
                trailing_error = Some(Err(StoreError::Transient("connection reset".into())));
            }
            Some(ReadFault::EndAfter(length)) => bytes.truncate(length),
            None => {}
        }
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            chunks.push(Ok(bytes.split_to(CHUNK_BYTES.min(bytes.len()))));
        }
        chunks.extend(trailing_error);
        Ok(futures::stream::iter(chunks).boxed())
    }

    async fn get(&self, key: &Key, max_bytes: u64) -> Result<(ObjectMeta, Bytes), StoreError> {
        let object = self.object(key).ok_or(StoreError::NotFound)?;
        if object.head.bytes > max_bytes {
            return Err(StoreError::Transient("the object is larger than expected".into()));
        }
        Ok((object.head, object.bytes))
    }

    async fn put(&self, key: &Key, bytes: Bytes, options: PutOptions<'_>) -> Result<String, StoreError> {
        let mut inner = self.lock();
        if options.condition != PutCondition::Always
            && let Some(error) = inner.put_faults.pop_front()
        {
            return Err(error);
        }
        let current = inner.objects.get(&key.to_string()).map(|object| object.head.etag.as_str());
        match options.condition {
            PutCondition::IfAbsent if current.is_some() => return Err(StoreError::AlreadyExists),
            PutCondition::IfMatch(etag) if current != Some(etag) => {
                return Err(StoreError::PreconditionFailed);
            }
            _ => {}
        }
        let object = new_object(bytes, options);
        let etag = object.head.etag.clone();
        inner.writes += 1;
        inner.objects.insert(key.to_string(), object);
        Ok(etag)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.remove_object(key);
        Ok(())
    }
}

/// An ETag in the format of S3: 32 hexadecimal digits in quotes. It need not be MD5, but depends on the bytes only.
fn etag(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::from("\"");
    for byte in &Sha256::digest(bytes)[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn conforms() {
        assert_eq!(conformance::find_violations(&MemoryStore::default()).await, Vec::<String>::new());
    }
}
