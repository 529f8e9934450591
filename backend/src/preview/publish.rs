//! Publishes outputs: writes them, and then commits the manifest, once.

use bytes::Bytes;
use futures::future::try_join_all;
use glimpse_contract::{Attempt, Failure, Key, Manifest, Output, VideoId, Visibility};
use serde::{Deserialize, Serialize};

use crate::error::JobError;
use crate::preview::outputs::EncodedOutputs;
use crate::preview::upload::upload_output;
use crate::store::{PutCondition, PutOptions, Store, StoreError};

/// Maximum number of attempts to write a manifest after a conflict with another write (409).
const COMMIT_ATTEMPTS: u32 = 5;

/// The content of `failure.json`: the part that the edge reads, and the upload's own data for events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// The part that the edge reads.
    #[serde(flatten)]
    pub failure: Failure,
    /// The name of the file; empty if its metadata could not be read.
    #[serde(default)]
    pub name: String,
    /// Its length in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Its declared type.
    #[serde(default)]
    pub content_type: String,
    /// The visibility of the video; `None` if its metadata could not be read.
    #[serde(default)]
    pub visibility: Option<Visibility>,
}

/// An existing outcome that a newer one may replace.
#[derive(Debug, Clone, PartialEq)]
pub struct ExistingManifest {
    /// The ETag of the manifest.
    pub etag: String,
    /// The manifest.
    pub manifest: Manifest,
}

/// Whether a video has an outcome already: outputs, a rejection, or its deletion.
///
/// # Errors
/// The error of the storage.
pub async fn has_manifest<S: Store>(store: &S, video: VideoId) -> Result<bool, JobError> {
    has_other_manifest(store, video, None).await
}

/// Like [`has_manifest`], except for the outcome that may be replaced.
///
/// # Errors
/// The error of the storage.
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

/// Writes the outputs. Nothing is read back: S3 compares the body with the signed hash, responds to a PUT after the
/// object is stored, and returns it to every later read.
///
/// # Errors
/// The error of the storage.
pub async fn put_outputs<S: Store>(
    store: &S,
    video: VideoId,
    visibility: Visibility,
    outputs: EncodedOutputs,
) -> Result<Vec<Output>, JobError> {
    try_join_all(outputs.into_iter().map(|(variant, image)| async move {
        let key = Key::Output(video, variant);
        upload_output(store, &key, variant, &image, visibility).await
    }))
    .await
}

/// Writes the manifest. Returns true if this write committed, false if another one did before.
///
/// # Errors
/// The error of the storage.
pub async fn commit_manifest<S: Store>(store: &S, manifest: &Manifest) -> Result<bool, JobError> {
    commit_replacing(store, manifest, None).await
}

/// Like [`commit_manifest`], but replaces `existing`, if that is still the current outcome.
///
/// # Errors
/// The error of the storage.
pub async fn commit_replacing<S: Store>(
    store: &S,
    manifest: &Manifest,
    existing: Option<&ExistingManifest>,
) -> Result<bool, JobError> {
    let json = Bytes::from(serde_json::to_vec(manifest).map_err(JobError::internal)?);
    let key = Key::Manifest(manifest.video);
    let condition = existing.map_or(PutCondition::IfAbsent, |existing| PutCondition::IfMatch(&existing.etag));
    for _ in 0..COMMIT_ATTEMPTS {
        match store.put(&key, json.clone(), PutOptions::JSON.with_condition(condition)).await {
            Ok(_) => return Ok(true),
            Err(StoreError::AlreadyExists | StoreError::PreconditionFailed) => return Ok(false),
            Err(StoreError::Conflict) => tokio::task::yield_now().await,
            Err(error) => return Err(JobError::storage(error)),
        }
    }
    Err(JobError::upstream(StoreError::Conflict))
}

/// Records that the last attempt failed.
///
/// # Errors
/// The error of the storage.
pub async fn put_failure<S: Store>(store: &S, record: &FailureRecord) -> Result<(), JobError> {
    put_failure_with_attempt(store, record, None).await
}

/// Like [`put_failure`], with the attempt that failed.
///
/// # Errors
/// The error of the storage.
pub async fn put_failure_with_attempt<S: Store>(
    store: &S,
    record: &FailureRecord,
    attempt: Option<&Attempt>,
) -> Result<(), JobError> {
    let json = failure_json(record, attempt)?;
    let key = Key::Failure(record.failure.video);
    store.put(&key, json, PutOptions::JSON).await.map_err(JobError::storage)?;
    Ok(())
}

/// The content of `failure.json`.
///
/// # Errors
/// Serialization to JSON failed, which does not happen with plain data.
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
