//! Fuzz target: reads arbitrary bytes as the beginning of a file.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../drive.rs"]
mod drive;

fuzz_target!(|bytes: &[u8]| drive::sniff(bytes));
