//! Delivery of images: cache entries, response headers, access control, and rendering on demand.

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
pub(crate) mod token_handler;
pub mod token_request;

pub(crate) use crate::delivery::access::{
    ImageRequest, download_by_token, download_public, private_cache_entry, verify_credential,
};
pub use crate::delivery::cache_key::public_cache_key;
pub use crate::delivery::cache_policy::{
    CachePolicy, MissingStatus, absence_ttl_ms, cache_control, check_public_variant, missing_status,
    revision_policy,
};
pub use crate::delivery::coalesce::{RequestCoalescer, Role};
pub use crate::delivery::conditional::{Conditional, ConditionalResponse, evaluate_preconditions};
pub(crate) use crate::delivery::download::download;
pub(crate) use crate::delivery::handler::{purge, serve};
pub(crate) use crate::delivery::lookup::{is_known_absent, remember_absent, set_poster};
pub use crate::delivery::negotiate::{negotiate_path, parse_formats};
pub use crate::delivery::purge::{paths_for_keys, poster_paths};
pub use crate::delivery::recent::TtlSet;
