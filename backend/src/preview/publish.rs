//! Decides what is written and in which order: pictures, then a look at each, then the manifest, once.

use bytes::Bytes;
use futures::future::try_join_all;
use glimpse_contract::{Attempt, Failure, Key, Manifest, Output, VideoId, Visibility};
use serde::{Deserialize, Serialize};

use crate::error::JobError;
use crate::preview::outputs::EncodedOutputs;
use crate::store::{Store, StoreError};

/// How often a manifest that meets another write (409) is tried.
const COMMIT_ATTEMPTS: u32 = 5;

/// What is written down of a last failure: what the edge reads, and what the upload said, for whoever is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// What the edge reads.
    #[serde(flatten)]
    pub failure: Failure,
    /// The file's name; empty if nothing could be asked about it.
    #[serde(default)]
    pub name: String,
    /// Its length in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Its declared type.
    #[serde(default)]
    pub content_type: String,
    /// Who may see its pictures; `None` if nothing could be asked about it.
    #[serde(default)]
    pub visibility: Option<Visibility>,
}

/// An outcome that stands, and may be replaced by a newer one.
#[derive(Debug, Clone, PartialEq)]
pub struct ExistingManifest {
    /// The manifest's ETag.
    pub etag: String,
    /// What it says.
    pub manifest: Manifest,
}

/// Whether something became of a video already: pictures, a refusal, or its deletion.
///
/// # Errors
/// The storage failed.
pub async fn has_manifest<S: Store>(store: &S, video: VideoId) -> Result<bool, JobError> {
    has_other_manifest(store, video, None).await
}

/// As [`has_manifest`], if what there is is not the outcome that may be replaced.
///
/// # Errors
/// The storage failed.
pub async fn has_other_manifest<S: Store>(
    store: &S,
    video: VideoId,
    existing: Option<&ExistingManifest>,
) -> Result<bool, JobError> {
    match store.head(&Key::Manifest(video)).await {
        Ok(head) => Ok(existing.is_none_or(|over| over.etag != head.etag)),
        Err(StoreError::NotFound) => Ok(false),
        Err(error) => Err(JobError::storage(error)),
    }
}

/// Writes the pictures and makes sure that each is there as written.
///
/// # Errors
/// The storage failed, or holds other bytes than were written.
pub async fn put_outputs<S: Store>(
    store: &S,
    video: VideoId,
    visibility: Visibility,
    outputs: EncodedOutputs,
) -> Result<Vec<Output>, JobError> {
    try_join_all(outputs.into_iter().map(|(variant, image)| async move {
        let key = Key::Output(video, variant);
        let bytes = image.bytes.len() as u64;
        let content_type = variant.format().content_type();
        let etag =
            store.put_output(&key, image.bytes, content_type, visibility).await.map_err(JobError::storage)?;
        let head = store.head(&key).await.map_err(JobError::storage)?;
        if head.bytes != bytes || head.etag != etag {
            return Err(JobError::upstream("a picture is not stored as it was written"));
        }
        Ok(Output {
            variant: variant.file_name(),
            bytes,
            content_type: content_type.to_owned(),
            etag,
            width: image.size.width,
            height: image.size.height,
        })
    }))
    .await
}

/// Writes the manifest. True if this write is the one that counts, false if somebody else's was first.
///
/// # Errors
/// The storage failed.
pub async fn commit_manifest<S: Store>(store: &S, manifest: &Manifest) -> Result<bool, JobError> {
    commit_replacing(store, manifest, None).await
}

/// As [`commit_manifest`], over the outcome that may be replaced, if that still stands.
///
/// # Errors
/// The storage failed.
pub async fn commit_replacing<S: Store>(
    store: &S,
    manifest: &Manifest,
    existing: Option<&ExistingManifest>,
) -> Result<bool, JobError> {
    let json = Bytes::from(serde_json::to_vec(manifest).map_err(JobError::internal)?);
    let key = Key::Manifest(manifest.video);
    for _ in 0..COMMIT_ATTEMPTS {
        let result = match existing {
            Some(existing) => store.replace_manifest(&key, json.clone(), &existing.etag).await,
            None => store.create_manifest(&key, json.clone()).await,
        };
        match result {
            Ok(()) => return Ok(true),
            Err(StoreError::AlreadyExists) => return Ok(false),
            Err(StoreError::Conflict) => tokio::task::yield_now().await,
            Err(error) => return Err(JobError::storage(error)),
        }
    }
    Err(JobError::upstream(StoreError::Conflict))
}

/// Writes down that the last try failed.
///
/// # Errors
/// The storage failed at this too.
pub async fn put_failure<S: Store>(store: &S, record: &FailureRecord) -> Result<(), JobError> {
    put_failure_with_attempt(store, record, None).await
}

/// As [`put_failure`], with the attempt that failed.
///
/// # Errors
/// The storage failed at this too.
pub async fn put_failure_with_attempt<S: Store>(
    store: &S,
    record: &FailureRecord,
    attempt: Option<&Attempt>,
) -> Result<(), JobError> {
    let json = failure_json(record, attempt)?;
    store.put_json(&Key::Failure(record.failure.video), json).await.map_err(JobError::storage)
}

/// What `put_failure.json` holds.
///
/// # Errors
/// It cannot be written as JSON, which plain data can.
pub(crate) fn failure_json(record: &FailureRecord, attempt: Option<&Attempt>) -> Result<Bytes, JobError> {
    #[derive(Serialize)]
    struct FailureWithAttempt<'a> {
        #[serde(flatten)]
        record: &'a FailureRecord,
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<&'a Attempt>,
    }
    serde_json::to_vec(&FailureWithAttempt { record, attempt }).map(Bytes::from).map_err(JobError::internal)
}
