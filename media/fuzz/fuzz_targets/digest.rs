//! Any bytes as a file of which a digest is made, as for the default pictures.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../drive.rs"]
mod drive;

fuzz_target!(|bytes: &[u8]| drive::digest(bytes));
