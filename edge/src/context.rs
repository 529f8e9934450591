//! Contexts of a request: the input of handlers beside the request itself.

use glimpse_contract::{Key, TraceId, VideoId};
use worker::{Context, Env};

use crate::auth::Caller;
use crate::config::Config;
use crate::platform;
use crate::s3::client::Bucket;
use crate::uploads::UploadPolicy;

/// The context of a request: the input of every step beside the request itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestContext<'a> {
    pub(crate) config: &'static Config,
    pub(crate) env: &'a Env,
    pub(crate) context: &'a Context,
    pub(crate) request_id: &'a str,
    /// When the request was received, in Unix milliseconds.
    pub(crate) now_ms: u64,
}

impl<'a> RequestContext<'a> {
    /// The bucket.
    pub(crate) fn bucket(&self) -> Bucket<'a> {
        Bucket::new(self.config, self.request_id)
    }
}

/// The context of a request of an authenticated caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiContext<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) config: &'static Config,
    pub(crate) request_id: &'a str,
    /// When the request was received, in Unix milliseconds.
    pub(crate) now_ms: u64,
    /// The trace of the request, if the route creates an upload or a grant.
    pub(crate) trace_id: Option<TraceId>,
}

impl<'a> ApiContext<'a> {
    /// The bucket.
    pub(crate) fn bucket(&self) -> Bucket<'a> {
        Bucket::new(self.config, self.request_id)
    }

    /// The key of the source of a video, if it is the caller's.
    pub(crate) fn source_key(&self, video: VideoId) -> Key {
        Key::Source { owner: self.caller.owner.clone(), video }
    }

    /// The upload policy of this caller.
    pub(crate) fn upload_policy(&self) -> UploadPolicy {
        let mut policy = UploadPolicy::from_caller(self.caller, self.config);
        policy.client_metadata.trace_id = self.trace_id.or(policy.client_metadata.trace_id);
        policy
    }

    /// The same context at the current time, for a step that began long after the request.
    pub(crate) fn at_current_time(&self) -> Self {
        Self { now_ms: platform::now_ms(), ..*self }
    }
}
