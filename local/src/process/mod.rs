//! Child processes, each in its own process group; none outlives this process.

mod child;
mod tree;
mod watchdog;

pub(crate) use child::{KillGuard, ProcessHandle, spawn, wait_for_exit};
pub use child::{ManagedProcess, ProgramSpec, Readiness, StartError};
pub(crate) use tree::peak_memory_bytes;
pub use watchdog::Watchdog;
