//! Decides what a file is by its own bytes.

pub mod sniff;
