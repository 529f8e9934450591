//! Fuzz target: reads arbitrary bytes as an MP4.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../drive.rs"]
mod drive;

fuzz_target!(|bytes: &[u8]| drive::mp4(bytes));
