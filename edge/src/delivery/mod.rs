//! Decides how a picture is served: by which headers, from which cache entry, whole or in part, made or found.

mod access;
mod cache_key;
mod cache_policy;
mod coalesce;
mod conditional;
mod download;
mod handler;
mod lookup;
mod negotiate;
mod purge;
mod recent;
mod render_client;
pub mod signed_url;
mod storyboard_files;
pub mod token_request;

pub(crate) use crate::delivery::access::{original_by_token, proof};
pub use crate::delivery::cache_key::entry_for_all;
pub use crate::delivery::cache_policy::{
    CachePolicy, NotThere, absent_for_ms, cache_control, check_open, judge_bare, missing,
};
pub use crate::delivery::coalesce::{Flights, Role};
pub use crate::delivery::conditional::{Conditional, Served, decide};
pub(crate) use crate::delivery::download::original;
pub(crate) use crate::delivery::handler::{Place, purge, serve};
pub(crate) use crate::delivery::lookup::{choose_poster, is_absent, note_absent};
pub use crate::delivery::negotiate::negotiated;
pub use crate::delivery::purge::{bare_thumbnails, of_keys};
pub use crate::delivery::recent::Recent;
