//! Tests with the real ffmpeg and an in-memory bucket. One binary: each would link all of the backend again.
//!
//! `cargo xtask test -p backend [NAME]` sets up what they need. `memory` is a binary of its own, because it observes all
//! children of its process.

#[expect(dead_code, reason = "the other targets run in the media crate")]
#[path = "../../media/fuzz/drive.rs"]
mod drive;
mod receiver;
mod support;

mod backfill;
mod clip;
mod colors;
mod concealed;
mod decoder;
mod demux_flv;
mod demux_matroska;
mod demux_mp4;
mod encoded_clip;
mod golden;
mod hostile;
mod media;
mod moments;
mod mp4;
mod odd;
mod pictures;
mod recent_sources;
mod render;
mod repeat;
mod shared_pass;
mod sizes;
mod steps;
mod stills;
mod storyboards;
mod streams;
mod tracks;
mod webhook;
