//! Types shared by edge and backend. This crate does no IO, reads no clock, and depends neither on Workers nor on
//! Lambda.
//!
//! The protocol:
//!
//! 1. The edge grants an upload: a [`Grant`] contains a new [`VideoId`] of the caller's [`Owner`]. Its limits (name,
//!    type, size, visibility) become signed headers or policy conditions of one S3 request.
//! 2. The browser sends the bytes to [`Key::Source`]. S3 sends an event.
//! 3. The backend receives the event, generates the [`Variant::DEFAULTS`] and writes each to [`Key::Output`].
//! 4. The [`Manifest`] is written last and only once (`If-None-Match: *`): it commits the video as ready or
//!    rejected. A [`Failure`] records that the last attempt failed with a transient error; while its [`Attempt`] is
//!    running, it does not count yet.
//! 5. The edge reads manifest and outputs and sends the response. A client receives every error as a [`Problem`].
#![deny(missing_docs)]

mod grant;
mod id;
mod json;
mod key;
pub mod limits;
mod manifest;
mod problem;
#[cfg(not(target_arch = "wasm32"))]
mod schema;
mod time;
mod trace;
mod variant;
pub mod video;

pub use crate::time::format_rfc3339;
pub use grant::{
    Grant, META_CUSTOM, META_EXTERNAL_ID, META_NAME, META_TRACE_ID, META_VISIBILITY, decode_name,
    encode_name, truncate_name,
};
pub use id::{Owner, ParseIdError, VideoId};
pub use json::{InvalidMember, Json};
pub use key::{Key, Outcome, ParseKeyError};
pub use manifest::{
    Attempt, ClientMetadata, Failure, MANIFEST_VERSION, Manifest, Output, ParseVisibilityError, Poster,
    ReadStats, Rejection, Source, State, Timings, Visibility,
};
pub use problem::{Cause, Code, Problem};
pub use trace::{TRACEPARENT, TraceId};
pub use variant::{
    AnimationParams, BadParameter, Bounds, ClipParams, Fit, Orientation, OutputFormat, PARAMETERS, Parameter,
    ParameterType, REVISION_LEN, StoryboardParams, ThumbnailParams, TileSpacing, Variant, VariantKind,
    VariantRequest, poster_target_name, revision_from_etag,
};
