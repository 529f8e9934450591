//! Decides how a picture is served: by which headers, from which cache entry, whole or in part, made or found.

mod access;
mod entry;
mod fetch;
mod flight;
mod handler;
mod known;
pub mod mint;
mod negotiate;
mod original;
mod policy;
mod precondition;
pub mod proof;
mod recent;
mod render;
mod table;

pub(crate) use access::{original_by_token, proof};
pub use entry::entry_for_all;
pub(crate) use fetch::{choose_poster, is_absent, note_absent};
pub use flight::{Flights, Role};
pub(crate) use handler::{Place, purge, serve};
pub use known::{bare_thumbnails, of_keys};
pub use negotiate::negotiated;
pub(crate) use original::original;
pub use policy::{CachePolicy, NotThere, absent_for_ms, cache_control, check_open, judge_bare, missing};
pub use precondition::{Conditional, Served, decide};
pub use recent::Recent;
