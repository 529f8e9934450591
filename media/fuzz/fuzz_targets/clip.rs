//! Fuzz target: reads arbitrary bytes as a file, and cuts clips out of it.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../drive.rs"]
mod drive;

fuzz_target!(|bytes: &[u8]| drive::clip(bytes));
