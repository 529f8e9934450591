//! The Lambda functions of Glimpse, without their `main`: they turn an uploaded video into outputs and events.

pub mod aws;
pub mod config;
pub mod error;
pub mod frames;
pub mod lambda;
pub mod notify;
pub mod preview;
pub mod reconcile;
pub mod render;
pub mod source;
pub mod store;
pub mod workflow;
