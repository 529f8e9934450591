//! Decides which refusals of a picture on demand are remembered, and for how long: work that cannot succeed is done once.
//!
//! A refusal is stored beside the picture that it is about (`….recorded_refusal.json`), so that every function knows it, and goes
//! with the video.

use bytes::Bytes;
use glimpse_contract::{Code, Key, Manifest, Problem, Variant, VideoId, Visibility};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::error::JobError;
use crate::render::service::{OpenFrameSource, RenderError, RenderService};
use crate::store::{Store, StoreError};

/// How long a refusal counts that follows from the file and from what was asked for, in milliseconds: a day.
const PERMANENT_TTL_MS: u64 = 24 * 60 * 60 * 1000;
/// How long it counts that a picture took too long, in milliseconds: the storage may have been slow.
const TIMED_OUT_TTL_MS: u64 = 10 * 60 * 1000;
/// The longest note that is read, in bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// `media/{video}/{variant}.{ext}.recorded_refusal.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusalRecord {
    code: Code,
    detail: String,
    /// In Unix milliseconds.
    refused_at: u64,
    /// Until when it counts, in Unix milliseconds.
    until: u64,
}

impl RefusalRecord {
    /// The note about a refusal, if the next try would end alike.
    fn from_error(error: &RenderError, now_ms: u64) -> Option<Self> {
        let problem = match error {
            RenderError::Problem(problem) if problem.code == Code::BadParameter => problem.clone(),
            RenderError::Problem(_) => return None,
            // Whether a source is there is asked each time, for little.
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

    /// Whether it still counts: not for pictures that were made again since.
    pub(super) fn is_current(&self, manifest: &Manifest, now_ms: u64) -> bool {
        now_ms < self.until && manifest.timings.committed <= self.refused_at
    }

    /// What the client is told.
    pub(super) fn into_problem(self) -> Problem {
        Problem::with_detail(self.code, self.detail)
    }
}

impl<S: Store, C: OpenFrameSource> RenderService<S, C> {
    /// What is remembered about a picture. A note that cannot be read is none.
    pub(super) async fn recorded_refusal(&self, video: VideoId, variant: Variant) -> Option<RefusalRecord> {
        let (_, json) = self.store.get(&Key::Refusal(video, variant), MAX_BYTES).await.ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Remembers why a picture cannot be made, if the next try would end alike.
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
            self.store.put_output(&key, Bytes::from(json), "application/json", visibility).await.map(drop)
        }
        .await;
        if let Err(error) = result {
            // The client is told the same; the next request does the work once more.
            warn!(%video, %error, "a refusal could not be remembered");
        }
    }
}
