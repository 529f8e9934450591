//! Decides how a picture is served: by which headers, from which cache entry, whole or in part, made or found.

mod handler;
mod policy;
mod precondition;
mod render;

pub(crate) use handler::serve;
pub use policy::{CachePolicy, NotThere, cache_control, missing};
pub use precondition::{Conditional, Served, decide};
