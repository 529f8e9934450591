//! End-to-end tests of Glimpse: real workerd, real S3 protocol, real Lambda binary, real ffmpeg.
//!
//! `cargo xtask test` builds the programs and runs the tests. Each file covers one area; each test starts its own
//! stack, so that a broken stack affects one test only.

#![expect(clippy::unwrap_used, reason = "a panic of a test is its report")]
#![expect(clippy::print_stdout, reason = "measurements are shown with --nocapture")]

mod abuse;
mod backfill;
mod browser;
mod cli;
mod clients;
mod clip;
mod companion;
mod cost;
mod crowd;
mod deliver;
mod docs;
mod doctor;
mod examples;
mod identify;
mod negotiate;
mod openapi;
mod outcome;
mod pages;
mod playback;
mod poster;
mod private;
mod receive;
mod remove;
mod render;
mod signing;
mod storyboards;
mod tokens;
mod trace;
mod upload;
mod uppy;
mod watch;
mod webhooks;
mod workflow;
