//! Decides how programs live and die: each in a process group of its own, and none of them outlives us.

mod child;
mod tree;
mod watchdog;

pub(crate) use child::{Guard, Handle, spawn, wait_for_end};
pub use child::{Program, Ready, Running, StartError};
pub(crate) use tree::peak_memory_bytes;
pub use watchdog::Watchdog;
