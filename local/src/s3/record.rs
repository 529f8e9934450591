//! Objects and unfinished uploads, in memory and as records on disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::checksum::{ChecksumAlgorithm, Checksums};
use super::disk::Blob;

/// The headers with which an object is served, names in lower case.
pub(crate) type ObjectHeaders = BTreeMap<String, String>;

/// A content file that is not yet, or already, part of an object.
#[derive(Debug, Clone)]
pub(crate) struct StoredContent {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) blob: Arc<Blob>,
}

/// A part of an object's content, as named in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) blob: String,
    pub(crate) bytes: u64,
}

/// The record of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectRecord {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) modified_ms: i64,
    /// Increases with every change of any object, so that events can be ordered.
    pub(crate) sequencer: u64,
    pub(crate) headers: ObjectHeaders,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) checksums: Checksums,
    /// Whether the checksums cover all bytes instead of the parts' checksums.
    pub(crate) checksum_of_all: bool,
    pub(crate) multipart: bool,
    pub(crate) segments: Vec<Segment>,
}

/// An object: its record and its content files.
#[derive(Debug)]
pub(crate) struct ObjectEntry {
    pub(crate) record: ObjectRecord,
    pub(crate) blobs: Vec<Arc<Blob>>,
}

impl ObjectEntry {
    pub(crate) fn modified(&self) -> s3s::dto::Timestamp {
        http_time(self.record.modified_ms)
    }
}

/// A time with HTTP's precision: whole seconds.
pub(crate) fn http_time(unix_ms: i64) -> s3s::dto::Timestamp {
    let secs = u64::try_from(unix_ms.div_euclid(1000)).unwrap_or(0);
    (SystemTime::UNIX_EPOCH + Duration::from_secs(secs)).into()
}

/// An object to be committed.
#[derive(Debug)]
pub(crate) struct NewObject {
    pub(crate) key: String,
    pub(crate) etag: String,
    pub(crate) headers: ObjectHeaders,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) checksums: Checksums,
    pub(crate) checksum_of_all: bool,
    pub(crate) multipart: bool,
    pub(crate) content: Vec<StoredContent>,
}

/// The record of a multipart upload, without its parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UploadRecord {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) started_ms: i64,
    pub(crate) headers: ObjectHeaders,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) algorithm: Option<ChecksumAlgorithm>,
    pub(crate) checksum_of_all: bool,
}

/// The record of one part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    pub(crate) number: u16,
    pub(crate) etag: String,
    pub(crate) modified_ms: i64,
    pub(crate) checksums: Checksums,
    pub(crate) segment: Segment,
}

/// A part with its file.
#[derive(Debug, Clone)]
pub(crate) struct PartEntry {
    pub(crate) record: PartRecord,
    pub(crate) blob: Arc<Blob>,
}

/// An unfinished multipart upload.
#[derive(Debug, Clone)]
pub(crate) struct UploadEntry {
    pub(crate) record: UploadRecord,
    pub(crate) parts: BTreeMap<u16, PartEntry>,
}
