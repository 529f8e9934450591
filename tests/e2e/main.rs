//! Stories through all of Glimpse: real workerd, real S3 protocol, real Lambda binary, real ffmpeg.
//!
//! `cargo xtask test` builds what they start and runs them. Each file is one part of the way; each test starts a
//! stack of its own, so that what it breaks is its own.

#![expect(clippy::unwrap_used, reason = "a panic of a test is its report")]
#![expect(clippy::print_stdout, reason = "what a story measured is shown with --nocapture")]

mod abuse;
mod backfill;
mod browser;
mod companion;
mod cost;
mod crowd;
mod deliver;
mod docs;
mod doctor;
mod identify;
mod negotiate;
mod openapi;
mod outcome;
mod pages;
mod poster;
mod private;
mod receive;
mod remove;
mod render;
mod signing;
mod tokens;
mod trace;
mod upload;
mod uppy;
mod watch;
mod webhooks;
mod workflow;
