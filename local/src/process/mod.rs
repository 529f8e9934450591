//! Decides how programs live and die: each in a process group of its own, and none of them outlives us.

mod child;
mod tree;
mod watchdog;

pub(crate) use child::{KillGuard, ProcessHandle, spawn, wait_for_exit};
pub use child::{ManagedProcess, ProgramSpec, Readiness, StartError};
pub(crate) use tree::peak_memory_bytes;
pub use watchdog::Watchdog;
