//! The `preview` function: from an S3 event to the published manifest.

pub mod attempt;
pub mod event;
pub mod handler;
pub mod outputs;
pub mod publish;
pub mod service;
pub mod upload;
