//! The Lambda service: environments that run a real function binary, and the pool that shares work among them.

mod environment;
mod log;
mod pool;
mod runtime_api;

pub use log::{InvocationOutcome, LoggedInvocation};
pub use pool::Function;
