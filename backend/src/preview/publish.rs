//! Decides what is written and in which order: pictures, then a look at each, then the manifest, once.

use bytes::Bytes;
use futures::future::try_join_all;
use glimpse_contract::{Attempt, Failure, Key, Manifest, Output, VideoId, Visibility};
use serde::{Deserialize, Serialize};

use crate::error::JobError;
use crate::preview::outputs::Album;
use crate::store::{Store, StoreError};

/// How often a manifest that meets another write (409) is tried.
const COMMIT_ATTEMPTS: u32 = 5;

/// What is written down of a last failure: what the edge reads, and what the upload said, for whoever is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
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
pub struct Standing {
    /// The manifest's ETag.
    pub etag: String,
    /// What it says.
    pub manifest: Manifest,
}

/// Whether something became of a video already: pictures, a refusal, or its deletion.
///
/// # Errors
/// The storage failed.
pub async fn is_done<S: Store>(store: &S, video: VideoId) -> Result<bool, JobError> {
    is_done_over(store, video, None).await
}

/// As [`is_done`], if what there is is not the outcome that may be replaced.
///
/// # Errors
/// The storage failed.
pub async fn is_done_over<S: Store>(
    store: &S,
    video: VideoId,
    over: Option<&Standing>,
) -> Result<bool, JobError> {
    match store.head(&Key::Manifest(video)).await {
        Ok(head) => Ok(over.is_none_or(|over| over.etag != head.etag)),
        Err(StoreError::Gone) => Ok(false),
        Err(error) => Err(JobError::storage(error)),
    }
}

/// Writes the pictures and makes sure that each is there as written.
///
/// # Errors
/// The storage failed, or holds other bytes than were written.
pub async fn outputs<S: Store>(
    store: &S,
    video: VideoId,
    visibility: Visibility,
    album: Album,
) -> Result<Vec<Output>, JobError> {
    try_join_all(album.into_iter().map(|(variant, picture)| async move {
        let key = Key::Output(video, variant);
        let bytes = picture.bytes.len() as u64;
        let content_type = variant.format().content_type();
        let etag = store
            .put_output(&key, picture.bytes, content_type, visibility)
            .await
            .map_err(JobError::storage)?;
        let head = store.head(&key).await.map_err(JobError::storage)?;
        if head.bytes != bytes || head.etag != etag {
            return Err(JobError::upstream("a picture is not stored as it was written"));
        }
        Ok(Output {
            variant: variant.file_name(),
            bytes,
            content_type: content_type.to_owned(),
            etag,
            width: picture.size.width,
            height: picture.size.height,
        })
    }))
    .await
}

/// Writes the manifest. True if this write is the one that counts, false if somebody else's was first.
///
/// # Errors
/// The storage failed.
pub async fn commit<S: Store>(store: &S, manifest: &Manifest) -> Result<bool, JobError> {
    commit_over(store, manifest, None).await
}

/// As [`commit`], over the outcome that may be replaced, if that still stands.
///
/// # Errors
/// The storage failed.
pub async fn commit_over<S: Store>(
    store: &S,
    manifest: &Manifest,
    over: Option<&Standing>,
) -> Result<bool, JobError> {
    let json = Bytes::from(serde_json::to_vec(manifest).map_err(JobError::internal)?);
    let key = Key::Manifest(manifest.video);
    for _ in 0..COMMIT_ATTEMPTS {
        let written = match over {
            Some(over) => store.replace_manifest(&key, json.clone(), &over.etag).await,
            None => store.create_manifest(&key, json.clone()).await,
        };
        match written {
            Ok(()) => return Ok(true),
            Err(StoreError::Lost) => return Ok(false),
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
pub async fn failure<S: Store>(store: &S, note: &FailureNote) -> Result<(), JobError> {
    failure_of(store, note, None).await
}

/// As [`failure`], with the attempt that failed.
///
/// # Errors
/// The storage failed at this too.
pub async fn failure_of<S: Store>(
    store: &S,
    note: &FailureNote,
    attempt: Option<&Attempt>,
) -> Result<(), JobError> {
    let json = failure_json(note, attempt)?;
    store.put_failure(&Key::Failure(note.failure.video), json).await.map_err(JobError::storage)
}

/// What `failure.json` holds.
///
/// # Errors
/// It cannot be written as JSON, which plain data can.
pub(crate) fn failure_json(note: &FailureNote, attempt: Option<&Attempt>) -> Result<Bytes, JobError> {
    #[derive(Serialize)]
    struct Noted<'a> {
        #[serde(flatten)]
        note: &'a FailureNote,
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<&'a Attempt>,
    }
    serde_json::to_vec(&Noted { note, attempt }).map(Bytes::from).map_err(JobError::internal)
}
