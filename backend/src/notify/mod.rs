//! Webhooks and email about the outcome of a video.
//!
//! Events are derived from S3 events for `manifest.json` and `failure.json`. To add an event, add the object first.

pub mod backoff;
pub mod config;
pub mod email;
pub mod endpoint;
pub mod event;
pub mod http;
pub mod message;
pub mod service;
pub mod signature;
