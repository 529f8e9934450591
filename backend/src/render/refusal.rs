//! Refusal records of on-demand images: work that cannot succeed is done only once per validity period.
//!
//! A refusal is stored next to the image that it is about (`….refused.json`), so that every function sees it, and is
//! deleted with the video.

use bytes::Bytes;
use glimpse_contract::{Code, Key, Manifest, Problem, Variant, VideoId, Visibility};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::error::JobError;
use crate::render::service::{OpenFrameSource, RenderError, RenderService};
use crate::store::{PutOptions, Store, StoreError};

/// Validity of a refusal caused by the file or the parameters, in milliseconds: one day.
const PERMANENT_TTL_MS: u64 = 24 * 60 * 60 * 1000;
/// Validity of a refusal after a timeout, in milliseconds: the storage may have been slow.
const TIMED_OUT_TTL_MS: u64 = 10 * 60 * 1000;
/// The maximum size of a record, in bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// The content of `media/{video}/{variant}.{ext}.refused.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusalRecord {
    code: Code,
    detail: String,
    /// When the request was refused, in Unix milliseconds.
    refused_at: u64,
    /// The end of its validity, in Unix milliseconds.
    until: u64,
}

impl RefusalRecord {
    /// The record of a refusal, if a retry would end the same way.
    fn from_error(error: &RenderError, now_ms: u64) -> Option<Self> {
        let problem = match error {
            RenderError::Problem(problem) if problem.code == Code::BadParameter => problem.clone(),
            RenderError::Problem(_) => return None,
            // The existence of the source is checked on each request, which is cheap.
            RenderError::Job(
                JobError::Rejected(Code::SourceGone) | JobError::Superseded | JobError::Transient { .. },
            ) => {
                return None;
            }
            RenderError::Job(error @ (JobError::Rejected(_) | JobError::Crashed(_))) => {
                Problem::new(error.code())
            }
        };
        let ttl_ms = if problem.code == Code::TimedOut { TIMED_OUT_TTL_MS } else { PERMANENT_TTL_MS };
        let Problem { code, detail } = problem;
        Some(Self { code, detail, refused_at: now_ms, until: now_ms + ttl_ms })
    }

    /// Whether the record is still valid: not if the outputs have been published again since.
    pub(super) fn is_current(&self, manifest: &Manifest, now_ms: u64) -> bool {
        now_ms < self.until && manifest.timings.committed <= self.refused_at
    }

    /// The problem for the client.
    pub(super) fn into_problem(self) -> Problem {
        Problem::with_detail(self.code, self.detail)
    }
}

impl<S: Store, C: OpenFrameSource> RenderService<S, C> {
    /// The refusal record of an image; `None` if there is none or it cannot be read.
    pub(super) async fn recorded_refusal(&self, video: VideoId, variant: Variant) -> Option<RefusalRecord> {
        let (_, json) = self.store.get(&Key::Refusal(video, variant), MAX_BYTES).await.ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Records why an image cannot be rendered, if a retry would end the same way.
    pub(super) async fn record_refusal(
        &self,
        video: VideoId,
        variant: Variant,
        visibility: Visibility,
        error: &RenderError,
    ) {
        let Some(record) = RefusalRecord::from_error(error, (self.now_ms)()) else { return };
        let result: Result<(), StoreError> = async {
            let json =
                serde_json::to_vec(&record).map_err(|error| StoreError::Transient(error.to_string()))?;
            let key = Key::Refusal(video, variant);
            let options = PutOptions::JSON.with_visibility(visibility);
            self.store.put(&key, Bytes::from(json), options).await.map(drop)
        }
        .await;
        if let Err(error) = result {
            // The client receives the same problem; only the next request repeats the work.
            warn!(%video, %error, "could not write the refusal record");
        }
    }
}
