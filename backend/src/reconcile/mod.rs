//! The `reconcile` function: finds uploads whose event was lost, and queues them again.

pub mod config;
mod list_uploads;
pub mod queue;
pub mod service;
