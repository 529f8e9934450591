//! The `reconcile` function: finds uploads whose event was missed, and queues them again.

pub mod config;
mod list_uploads;
mod queue;
pub mod service;
