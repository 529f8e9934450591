//! The steps of the state machines: decoding in parts, publishing, and backfills.

pub mod backfill;
pub mod config;
pub mod decode;
pub mod handler;
pub mod publish;
pub mod state;
