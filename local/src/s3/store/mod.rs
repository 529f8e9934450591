//! Objects on disk. A change is complete once its record is renamed into place.
//!
//! Layout of the folder: `objects/{hh}/{sha256 of the key}.json` records, `blobs/{name}` immutable content,
//! `uploads/{id}/…` unfinished multipart uploads, `outbox/{sequencer}.json` events that are not in the queue yet.

pub(crate) mod multipart;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::condition::{WriteConditionError, WriteConditions};
use super::disk::{Blob, read_records, remove_record, write_record};
use super::record::{NewObject, ObjectEntry, ObjectRecord, Segment, StoredContent, UploadEntry};
use crate::clock::{Entropy, WallClock};

/// The reason why an operation of the store failed.
#[derive(Debug, Error)]
pub enum ObjectStoreError {
    /// There is no object under the key.
    #[error("no such key")]
    NoSuchKey,
    /// A condition of the write does not hold.
    #[error("precondition failed")]
    PreconditionFailed,
    /// The multipart upload does not exist, or belongs to another key.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part is missing, or is not the expected one.
    #[error("part {0} is missing or has another ETag or checksum")]
    InvalidPart(i32),
    /// Parts are not in ascending order.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A part that is not the last one is smaller than 5 MiB.
    #[error("part {0} is smaller than 5 MiB and not the last one")]
    PartTooSmall(u16),
    /// The object does not match the client's size or checksum.
    #[error("the object does not match the given size or checksum")]
    BadDigest,
    /// A disk operation failed.
    #[error("disk error")]
    Io(#[from] io::Error),
}

/// The origin of an object, as described in its event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventOrigin {
    /// `ObjectCreated:Put` and similar names.
    pub event: String,
    /// The request that created the object.
    pub request_id: String,
    /// The caller's access key id.
    pub principal: String,
    /// The caller's IP address.
    pub source_ip: String,
}

/// The creation of an object, as described in its event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObjectCreatedEvent {
    /// The key, unescaped.
    pub key: String,
    /// The object's size.
    pub bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// Increases with every change.
    pub sequencer: u64,
    /// The time, in Unix milliseconds.
    pub at_ms: i64,
    /// The origin.
    pub origin: EventOrigin,
}

/// Receives events from the store; returns once the event can no longer be lost.
pub type EventSink = Arc<dyn Fn(&ObjectCreatedEvent) -> io::Result<()> + Send + Sync>;

/// Selects the keys whose objects send events.
pub type EventFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The objects of the only bucket. Clones share them.
#[derive(Clone)]
pub struct ObjectStore(pub(crate) Arc<Inner>);

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectStore").field("root", &self.0.root).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) clock: WallClock,
    pub(crate) entropy: Entropy,
    has_event: EventFilter,
    event_sink: EventSink,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, Arc<ObjectEntry>>,
    /// By key and id: the order in which uploads are listed.
    pub(crate) uploads: BTreeMap<(String, String), UploadEntry>,
    sequencer: u64,
}

impl ObjectStore {
    /// Opens the folder: reads every record, sends events that a crash left in the outbox, removes unreferenced files.
    ///
    /// # Errors
    /// If the folder cannot be read or written, or contains an invalid record.
    pub fn open(
        root: &Path,
        has_event: EventFilter,
        clock: WallClock,
        entropy: Entropy,
        event_sink: EventSink,
    ) -> io::Result<Self> {
        for folder in ["objects", "blobs", "uploads", "outbox"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let mut referenced_blobs = HashSet::new();
        let mut objects = BTreeMap::new();
        let mut sequencer = 0;
        for (_, record) in read_records::<ObjectRecord>(&root.join("objects"))? {
            sequencer = sequencer.max(record.sequencer);
            referenced_blobs.extend(record.segments.iter().map(|segment| segment.blob.clone()));
            let blobs = record
                .segments
                .iter()
                .map(|segment| Blob::existing(root.join("blobs").join(&segment.blob)))
                .collect();
            objects.insert(record.key.clone(), Arc::new(ObjectEntry { record, blobs }));
        }
        let uploads = crate::s3::store::multipart::load_uploads(root, &mut referenced_blobs)?;
        for entry in fs::read_dir(root.join("blobs"))? {
            let entry = entry?;
            if !referenced_blobs.contains(entry.file_name().to_string_lossy().as_ref()) {
                fs::remove_file(entry.path())?;
            }
        }
        for (path, event) in read_records::<ObjectCreatedEvent>(&root.join("outbox"))? {
            let committed =
                objects.get(&event.key).is_some_and(|object| object.record.sequencer >= event.sequencer);
            if committed {
                event_sink(&event)?;
            }
            sequencer = sequencer.max(event.sequencer);
            remove_record(&path)?;
        }
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            clock,
            entropy,
            has_event,
            event_sink,
            state: Mutex::new(State { objects, uploads, sequencer }),
        })))
    }

    /// The object under the key.
    pub(crate) fn find(&self, key: &str) -> Option<Arc<ObjectEntry>> {
        self.0.state().objects.get(key).cloned()
    }

    /// A new file for content.
    pub(crate) fn new_blob(&self) -> (String, Arc<Blob>) {
        self.0.new_blob()
    }

    /// Runs a change of the store on a thread that may block.
    pub(crate) async fn run_blocking<T, F>(&self, change: F) -> Result<T, ObjectStoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, ObjectStoreError> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || change(&inner))
            .await
            .map_err(|error| ObjectStoreError::Io(io::Error::other(error)))?
    }

    /// Makes the draft the object of its key, if the conditions hold, and sends the event.
    pub(crate) async fn commit(
        &self,
        new_object: NewObject,
        conditions: WriteConditions,
        origin: EventOrigin,
    ) -> Result<Arc<ObjectEntry>, ObjectStoreError> {
        self.run_blocking(move |inner| {
            let (object, event) = inner.commit(&mut inner.state(), new_object, &conditions, origin)?;
            inner.send_event(event);
            Ok(object)
        })
        .await
    }

    /// Removes the object, if the conditions hold. A missing object is not an error.
    pub(crate) async fn remove(
        &self,
        key: String,
        conditions: WriteConditions,
    ) -> Result<(), ObjectStoreError> {
        self.run_blocking(move |inner| {
            let mut state = inner.state();
            conditions.evaluate(state.objects.get(&key).map(|object| object.record.etag.as_str()))?;
            if let Some(object) = state.objects.remove(&key) {
                remove_record(&inner.record_path(&key))?;
                for blob in &object.blobs {
                    blob.mark_unreferenced();
                }
            }
            Ok(())
        })
        .await
    }
}

impl From<WriteConditionError> for ObjectStoreError {
    fn from(refusal: WriteConditionError) -> Self {
        match refusal {
            WriteConditionError::PreconditionFailed => Self::PreconditionFailed,
            WriteConditionError::NoSuchKey => Self::NoSuchKey,
        }
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A change is complete once its record is in place, so a panic leaves no partial change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new_blob(&self) -> (String, Arc<Blob>) {
        let name = self.entropy.random_hex();
        let blob = Blob::new(self.root.join("blobs").join(&name));
        (name, blob)
    }

    fn record_path(&self, key: &str) -> PathBuf {
        let name = hex::encode(Sha256::digest(key.as_bytes()));
        self.root.join("objects").join(&name[..2]).join(format!("{name}.json"))
    }

    fn outbox_path(&self, sequencer: u64) -> PathBuf {
        self.root.join("outbox").join(format!("{sequencer:020}.json"))
    }

    /// The commit, under the lock: of two writers that require the key to be absent, one fails.
    pub(crate) fn commit(
        &self,
        state: &mut State,
        new_object: NewObject,
        conditions: &WriteConditions,
        origin: EventOrigin,
    ) -> Result<(Arc<ObjectEntry>, Option<ObjectCreatedEvent>), ObjectStoreError> {
        let NewObject { key, etag, headers, metadata, checksums, checksum_of_all, multipart, content } =
            new_object;
        conditions.evaluate(state.objects.get(&key).map(|object| object.record.etag.as_str()))?;
        let now = self.clock.now();
        // Microseconds, so that the number also increases across restarts, whatever was deleted in between.
        let sequencer = (state.sequencer + 1).max(u64::try_from(now.as_microsecond()).unwrap_or(0));
        let record = ObjectRecord {
            bytes: content.iter().map(|content| content.bytes).sum(),
            segments: content
                .iter()
                .map(|StoredContent { name, bytes, .. }| Segment { blob: name.clone(), bytes: *bytes })
                .collect(),
            modified_ms: now.as_millisecond(),
            key: key.clone(),
            etag,
            sequencer,
            headers,
            metadata,
            checksums,
            checksum_of_all,
            multipart,
        };
        let event = (self.has_event)(&key).then(|| ObjectCreatedEvent {
            key: key.clone(),
            bytes: record.bytes,
            etag: record.etag.clone(),
            sequencer,
            at_ms: record.modified_ms,
            origin,
        });
        if let Some(event) = &event {
            write_record(&self.outbox_path(sequencer), event)?;
        }
        let path = self.record_path(&key);
        fs::create_dir_all(path.parent().expect("a record's path has a folder"))?;
        if let Err(error) = write_record(&path, &record) {
            remove_record(&self.outbox_path(sequencer))?;
            return Err(error.into());
        }
        state.sequencer = sequencer;
        let blobs: Vec<_> = content.into_iter().map(|content| content.blob).collect();
        for blob in &blobs {
            blob.mark_referenced();
        }
        let object = Arc::new(ObjectEntry { record, blobs });
        if let Some(old) = state.objects.insert(key, Arc::clone(&object)) {
            for blob in &old.blobs {
                blob.mark_unreferenced();
            }
        }
        Ok((object, event))
    }

    /// Sends the event. If that fails, it stays in the outbox until the next start.
    pub(crate) fn send_event(&self, event: Option<ObjectCreatedEvent>) {
        let Some(event) = event else { return };
        let result =
            (self.event_sink)(&event).and_then(|()| remove_record(&self.outbox_path(event.sequencer)));
        if let Err(error) = result {
            tracing::error!(key = event.key, %error, "the event stays in the outbox until the next start");
        }
    }
}
