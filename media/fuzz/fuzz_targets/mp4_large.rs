//! Fuzz target: reads arbitrary bytes as a fragmented MP4 that is too large to be read completely.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../drive.rs"]
mod drive;

fuzz_target!(|bytes: &[u8]| drive::mp4_large(bytes));
