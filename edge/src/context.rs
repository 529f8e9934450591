//! Contexts of a request: the input of handlers beside the request itself.

use glimpse_contract::TraceId;
use worker::{Context, Env};

use crate::auth::Caller;
use crate::config::Config;
use crate::delivery::signed_url::DeliveryCredential;
use crate::uploads::UploadPolicy;

/// The context of a request: the input of every step beside the request itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestContext<'a> {
    pub(crate) config: &'static Config,
    pub(crate) env: &'a Env,
    pub(crate) context: &'a Context,
    pub(crate) request_id: &'a str,
    /// Whether the format was negotiated by `Accept`.
    pub(crate) is_negotiated: bool,
}

/// The context of a route without authentication.
pub(crate) struct PublicContext<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) proof: DeliveryCredential,
    pub(crate) query: &'a str,
    pub(crate) ctx: &'a RequestContext<'a>,
    pub(crate) config: &'static Config,
    pub(crate) request_id: &'a str,
}

/// The context of a request of an authenticated caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiContext<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) config: &'static Config,
    pub(crate) request_id: &'a str,
    /// The trace of the request, if the route creates an upload or a grant.
    pub(crate) trace_id: Option<TraceId>,
}

impl ApiContext<'_> {
    /// The upload policy of this caller.
    pub(crate) fn upload_policy(&self) -> UploadPolicy {
        let mut policy = UploadPolicy::from_caller(self.caller, self.config);
        policy.client_metadata.trace_id = self.trace_id.or(policy.client_metadata.trace_id);
        policy
    }
}
