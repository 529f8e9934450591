//! Videos of a caller: their state, events, poster, links and deletion.

pub(crate) mod delete;
pub mod events;
pub(crate) mod handlers;
pub mod links;
pub(crate) mod poster;
